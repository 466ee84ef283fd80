/* SPDX-License-Identifier: Apache-2.0 */
/* The output rule: TCP and UDP are the same rule with other counters. */
#include "core/udp/primary.h"
#include "flows.h"
#include "core/tcp/unheld.h"

/* Both places are asked, across a turn of the numbers, too; and the lease. `eager`: an experiment. */
static void test_the_rule(void)
{
	static const struct {
		uint32_t input, output;
		struct ftt_places held;
		bool eager, lease;
		enum ftt_wait waits;
	} rows[] = {
		{2, 0xfffffff0, {.input = 2, .output = 0xfffffff0}, false, true, FTT_WAIT_NONE},
		{0xfffffffe, 5, {.input = 2, .output = 5}, false, true, FTT_WAIT_NONE},
		{3, 0xfffffff0, {.input = 2, .output = 0xfffffff0}, false, true, FTT_WAIT_INPUT},
		{2, 1, {.input = 2, .output = 0xfffffff0}, false, true, FTT_WAIT_OUTPUT},
		{3, 1, {.input = 2, .output = 0xfffffff0}, false, true, FTT_WAIT_INPUT},
		{3, 1, {.input = 2, .output = 0xfffffff0}, true, true, FTT_WAIT_NONE},
		{2, 5, {.input = 2, .output = 5}, false, false, FTT_WAIT_LEASE},
		{3, 6, {.input = 2, .output = 5}, true, false, FTT_WAIT_LEASE},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct ftt_policy rule = {.eager = rows[i].eager};
		struct ftt_env env = {.policy = &rule, .lease = rows[i].lease};

		CHECK_EQ(ftt_gate_waits((struct ftt_places){.input = rows[i].input, .output = rows[i].output}, rows[i].held, &env), rows[i].waits);
	}
}

/* Without a lease: data waits, and its word stays what it was; a handshake's answer and one to a stray are lost. */
static void test_no_lease(void)
{
	struct arrival answer = from_primary(&plain, TCP_ACK, 0, 100, 30), synack = synack_of(&plain, FTT_MODE_SOLO);
	struct arrival stray = from_primary(&plain, TCP_RST, 1 << 20, 0, 0);
	struct ftt_places after = {.input = plain.irs + 101, .output = plain.service_iss + 1};
	struct ftt_env *env;
	struct ftt_flow f;

	make_primary(&f, &plain, MS);
	env = node_at(FTT_MODE_PAIRED, 2 * MS);
	env->lease = false;
	CHECK_EQ(ftt_segment_step(&f, &answer.seg, env, &edit), FTT_HOLD);
	CHECK_EQ(edit.wait, FTT_WAIT_LEASE);
	CHECK_EQ(ftt_segment_after(&f, &answer.seg, env).input, after.input);
	CHECK_EQ(ftt_held_step(&f, &answer.seg, &after, env, &edit), FTT_HOLD);
	CHECK_EQ(edit.wait, FTT_WAIT_LEASE);
	CHECK_EQ(ftt_segment_step(&f, &stray.seg, env, &edit), FTT_DROP);
	CHECK_EQ(edit.drop, FTT_DROP_LEASE);
	env->lease = true;
	CHECK_EQ(ftt_held_step(&f, &answer.seg, &after, env, &edit), FTT_HOLD);
	CHECK_EQ(edit.wait, FTT_WAIT_INPUT);
	env->mode = FTT_MODE_SOLO;
	CHECK_EQ(ftt_held_step(&f, &answer.seg, &after, env, &edit), FTT_PASS);

	ftt_flow_init(&f, plain.irs, MS);
	CHECK_EQ(step(&f, syn_of(&plain, FTT_MODE_SOLO), MS), FTT_PASS);
	env = node_at(FTT_MODE_SOLO, 2 * MS);
	env->lease = false;
	CHECK_EQ(ftt_segment_step(&f, &synack.seg, env, &edit), FTT_DROP);
	CHECK_EQ(edit.drop, FTT_DROP_LEASE);
	env->lease = true;
	CHECK_EQ(ftt_segment_step(&f, &synack.seg, env, &edit), FTT_PASS); /* it says it again */
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

/*
 * Where the backup's server follows the calls of ours: what is new to the client depends on all that are in the log by then, modulo
 * 2^32. What it has been sent depends on none, nor does an acknowledgement.
 */
static void test_calls(void)
{
	enum { FOLLOWS = 1 };
	static const struct {
		uint32_t there, held;
		uint16_t flags;
		uint8_t len, follows;
		bool waits;
	} rows[] = {
		{100, 99, TCP_ACK, 30, FOLLOWS, true}, {100, 100, TCP_ACK, 30, FOLLOWS, false}, {2, 0xfffffff0, TCP_ACK, 30, FOLLOWS, true},
		{0xfffffff0, 2, TCP_ACK, 30, FOLLOWS, false}, {100, 99, TCP_ACK, 20, FOLLOWS, false}, {100, 99, TCP_ACK, 0, FOLLOWS, false},
		{100, 99, TCP_RST | TCP_ACK, 0, FOLLOWS, true}, {100, 99, TCP_ACK, 30, !FOLLOWS, false},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct arrival s = from_primary(&plain, rows[i].flags, 0, 0, rows[i].len);
		struct ftt_env *env;
		struct ftt_flow f;

		make_primary(&f, &plain, MS);
		CHECK_EQ(step(&f, from_primary(&plain, TCP_ACK, 0, 0, 20), MS), FTT_PASS); /* its client was sent these */
		env = node_at(FTT_MODE_PAIRED, 2 * MS);
		env->calls = rows[i].follows;
		env->calls_there = rows[i].there;
		env->calls_held = rows[i].held;
		CHECK_EQ(ftt_segment_step(&f, &s.seg, env, &edit) == FTT_HOLD && edit.wait == FTT_WAIT_CALLS, rows[i].waits);
	}
}

static struct ftt_places after(uint32_t events)
{
	return (struct ftt_places){.input = events};
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
	CHECK_EQ(ftt_session_after(&s).input, 3);
	CHECK(ftt_session_holds(&s, after(1), false, env));
	CHECK_EQ(ftt_session_record(&s, &ack), FTT_UDP_RELEASE); /* held, but its server has not had the second */
	CHECK(!ftt_session_holds(&s, after(1), false, env) && ftt_session_holds(&s, after(2), false, env));
	CHECK(ftt_session_holds(&s, after(1), true, env)); /* of a server that has died */
	env->lease = false;
	CHECK(ftt_session_holds(&s, after(1), false, env));
	env->lease = true;
	ack.number = 4; /* more than there were */
	CHECK_EQ(ftt_session_record(&s, &ack), 0);
	ftt_session_alone(&s, false);
	CHECK(!ftt_session_holds(&s, after(3), true, env));
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

/* What the node itself says passes the same gate: not while it is unknown whether the backup holds the flow. */
static void test_own_words(void)
{
	static const struct {
		uint8_t mode, protection;
		bool lease;
		enum ftt_wait waits;
	} rows[] = {
		{FTT_MODE_PAIRED, FTT_PROTECTED, true, FTT_WAIT_NONE},
		{FTT_MODE_PAIRED, FTT_PROTECTED, false, FTT_WAIT_LEASE},
		{FTT_MODE_PAIRED, FTT_OPENING, true, FTT_WAIT_OPENED},
		{FTT_MODE_PAIRED, FTT_DETACHING, true, FTT_WAIT_LET_GO},
		{FTT_MODE_PAIRED, FTT_DETACHING, false, FTT_WAIT_LEASE},
		{FTT_MODE_PAIRED, FTT_DETACHED, true, FTT_WAIT_NONE},
		{FTT_MODE_PAIRED, FTT_CATCHING_UP, true, FTT_WAIT_NONE},
		{FTT_MODE_PAIRED, FTT_RESETTING, true, FTT_WAIT_NONE},
		{FTT_MODE_SOLO, FTT_UNPROTECTED, true, FTT_WAIT_NONE},
		{FTT_MODE_SOLO, FTT_UNPROTECTED, false, FTT_WAIT_LEASE},
	};
	static const struct ftt_key key = {.remote_port = 40000, .local_port = 80, .proto = 6};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct ftt_flow f, before;
		struct ftt_env *env;
		struct ftt_bare b;

		make_primary(&f, &plain, MS);
		step(&f, of_client(&plain, FTT_MODE_PAIRED, 0, 0, 100), 2 * MS);
		CHECK_EQ(step(&f, from_primary(&plain, TCP_ACK, 0, 100, 0), 2 * MS), FTT_HOLD);
		f.protection = rows[i].protection;
		before = f;
		env = node_at(rows[i].mode, 3 * MS);
		env->lease = rows[i].lease;
		for (enum ftt_say what = FTT_SAY_ACK; what <= FTT_SAY_PLACE; what++) {
			CHECK_EQ(ftt_flow_says(&f, &key, what, env, &b), rows[i].waits);
			if (rows[i].waits)
				CHECK(!memcmp(&f, &before, sizeof(f)));
			else if (rows[i].protection == FTT_PROTECTED && what != FTT_SAY_PLACE)
				CHECK_EQ(b.ack, plain.irs + 1); /* what the backup has */
		}
	}
}

int main(void)
{
	test_the_rule();
	test_own_words();
	test_no_lease();
	test_a_segment();
	test_calls();
	test_a_reply();
	test_what_cannot_wait_is_lowered();
	test_what_can_be_neither_held_nor_lowered_is_lost();
	return 0;
}
