/* SPDX-License-Identifier: Apache-2.0 */
/* The output rule: TCP and UDP are the same rule with other counters. */
#include "core/udp/primary.h"
#include "flows.h"

static bool waits(uint32_t input, uint32_t output, struct ftt_places held, bool eager)
{
	struct ftt_policy rule = {.eager = eager};
	struct ftt_env env = {.policy = &rule};

	return ftt_gate_waits((struct ftt_places){input, output}, held, &env);
}

/* Both places are asked, across a turn of the numbers, too. */
static void test_the_rule(void)
{
	const struct ftt_places held = {.input = 2, .output = 0xfffffff0};

	CHECK(!waits(2, 0xfffffff0, held, false));
	CHECK(!waits(0xfffffffe, 5, (struct ftt_places){2, 5}, false));
	CHECK(waits(3, 0xfffffff0, held, false));
	CHECK(waits(2, 1, held, false));
	CHECK(!waits(3, 1, held, true)); /* an experiment */
}

/* What a segment depends on: input that it acknowledges; with the order of the service also what it brings. */
static void test_a_segment(void)
{
	static const struct {
		uint32_t in, out, len;
		bool service, waits;
	} rows[] = {
		{10, 20, 0, false, false}, {11, 20, 0, false, true}, {10, 20, 5, false, false}, {10, 20, 5, true, true},
		{10, 15, 5, true, false}, {10, 20, 0, true, false}, {11, 15, 5, true, true},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct ftt_record r = commit_of(&plain, 10, 1000, 20);
		struct ftt_flow f;
		struct arrival s = from_primary(&plain, TCP_ACK, rows[i].out, rows[i].in, rows[i].len);

		make_primary(&f, &plain, MS);
		f.bits |= rows[i].service ? FTT_F_SERVICE : 0;
		step(&f, of_client(&plain, FTT_MODE_PAIRED, 0, 0, 20), MS);
		ftt_primary_record(&f, &r, at(MS));
		CHECK_EQ(step(&f, s, 2 * MS), rows[i].waits ? FTT_HOLD : FTT_PASS);
	}
}

/* What a reply depends on: all events before it. */
static void test_a_reply(void)
{
	struct ftt_record ack = {.type = FTT_REC_EVENT_ACK, .number = 2, .outputs = 1};
	struct ftt_env *env = node_at(FTT_MODE_PAIRED, MS);
	struct ftt_session s;

	ftt_session_init(&s, MS);
	ftt_session_begin(&s, env);
	for (uint32_t i = 1; i <= 3; i++)
		CHECK_EQ(ftt_session_number(&s), i);
	CHECK(ftt_session_holds(&s, 1, false, env));
	CHECK_EQ(ftt_session_record(&s, &ack), FTT_UDP_RELEASE); /* held, but its server has not had the second */
	CHECK(!ftt_session_holds(&s, 1, false, env) && ftt_session_holds(&s, 2, false, env));
	CHECK(ftt_session_holds(&s, 1, true, env)); /* of a server that has died */
	env->lease = false;
	CHECK(ftt_session_holds(&s, 1, false, env));
	env->lease = true;
	ack.number = 4; /* more than there were */
	CHECK_EQ(ftt_session_record(&s, &ack), 0);
	ftt_session_alone(&s, false);
	CHECK(!ftt_session_holds(&s, 3, true, env));
	CHECK_EQ(s.acked, s.events);
}

int main(void)
{
	test_the_rule();
	test_a_segment();
	test_a_reply();
	return 0;
}
