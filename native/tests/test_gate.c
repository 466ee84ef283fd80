/* SPDX-License-Identifier: Apache-2.0 */
/* The output rule: TCP and UDP are the same rule with other counters. */
#include "core/udp/primary.h"
#include "flows.h"
#include "core/tcp/unheld.h"

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

/* A plane that keeps no packets: an answer leaves without its acknowledgement, which follows when the backup has the input. */
static void test_what_cannot_wait_is_lowered(void)
{
	struct arrival answer = from_primary(&plain, TCP_ACK, 0, 100, 30), ack = from_primary(&plain, TCP_ACK, 30, 100, 0);
	struct ftt_record commit = commit_of(&plain, 100, 60000, 0);
	struct ftt_flow f;

	make_primary(&f, &plain, MS);
	CHECK_EQ(step(&f, of_client(&plain, FTT_MODE_PAIRED, 0, 0, 100), 2 * MS), FTT_PASS);
	answer.whole = ack.whole = true;
	CHECK_EQ(step(&f, answer, 3 * MS), FTT_HOLD);
	CHECK_EQ(ftt_unheld_step(&f, &answer.seg, at(3 * MS), &edit), FTT_PASS);
	CHECK(edit.change & FTT_EDIT_ACK && edit.actions & FTT_ACT_COMMIT);
	CHECK_EQ(edit.ack, plain.irs + 1);
	CHECK_EQ(f.told_ack, plain.irs + 1);
	CHECK_EQ(f.sent, plain.service_iss + 31);
	CHECK_EQ(step(&f, ack, 3 * MS), FTT_HOLD);
	CHECK_EQ(ftt_unheld_step(&f, &ack.seg, at(3 * MS), &edit), FTT_DROP); /* it would say nothing */
	CHECK_EQ(ftt_unheld_step(&f, &answer.seg, node_at(FTT_MODE_PAIRED, 3 * MS), &edit), FTT_PASS);
	CHECK_EQ(ftt_unheld_release(&f, at(4 * MS)), 0);
	CHECK(f.held_since_ns); /* the backup is asked, and after detach_after given up, as for what is held */
	CHECK(ftt_primary_record(&f, &commit, at(5 * MS)) & FTT_ACT_RELEASE);
	CHECK_EQ(ftt_unheld_release(&f, at(5 * MS)), FTT_ACT_ACK_CLIENT);
	CHECK(!f.held_since_ns);
}

/* No word without a lease, no end that is not real, and nothing that depends on more than input. */
static void test_what_can_be_neither_held_nor_lowered_is_lost(void)
{
	struct arrival answer = from_primary(&plain, TCP_ACK, 0, 100, 30), fin = from_primary(&plain, TCP_ACK | TCP_FIN, 0, 0, 0);
	struct ftt_flow f;
	struct ftt_env *env;

	make_primary(&f, &plain, MS);
	answer.whole = fin.whole = true;
	CHECK_EQ(step(&f, fin, 2 * MS), FTT_HOLD);
	CHECK_EQ(ftt_unheld_step(&f, &fin.seg, at(2 * MS), &edit), FTT_DROP);
	make_primary(&f, &plain, MS);
	CHECK_EQ(step(&f, of_client(&plain, FTT_MODE_PAIRED, 0, 0, 100), 2 * MS), FTT_PASS);
	CHECK_EQ(step(&f, answer, 3 * MS), FTT_HOLD);
	env = node_at(FTT_MODE_PAIRED, 3 * MS);
	env->lease = false;
	CHECK_EQ(ftt_unheld_step(&f, &answer.seg, env, &edit), FTT_DROP);
	f.bits |= FTT_F_SERVICE;
	CHECK_EQ(ftt_unheld_step(&f, &answer.seg, at(3 * MS), &edit), FTT_DROP);
	open_primary(&f, &plain, MS);
	answer = synack_of(&plain, FTT_MODE_PAIRED);
	CHECK_EQ(ftt_unheld_step(&f, &answer.seg, at(2 * MS), &edit), FTT_DROP);
}

int main(void)
{
	test_the_rule();
	test_a_segment();
	test_a_reply();
	test_what_cannot_wait_is_lowered();
	test_what_can_be_neither_held_nor_lowered_is_lost();
	return 0;
}
