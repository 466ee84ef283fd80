/* SPDX-License-Identifier: Apache-2.0 */
/* What the mirror lost: the client is asked for it, and repairs it. */
#include "flows.h"

/* What the backup only holds back for its server the client need not send again. */
static void test_the_client_is_not_asked_for_what_waits_at_the_backup(const struct ends *x)
{
	struct ftt_record r = commit_of(x, 0, 1000, 0);
	struct ftt_flow f;

	make_primary(&f, x, MS);
	step(&f, of_client(x, FTT_MODE_PAIRED, 0, 0, 10), MS);
	CHECK_EQ(step(&f, from_primary(x, TCP_ACK, 0, 10, 5), MS), FTT_HOLD);
	f.held_since_ns = MS;
	CHECK_EQ(ftt_flow_tick(&f, at(2 * MS)), 0);
	CHECK_EQ(ftt_flow_tick(&f, at(9 * MS)), FTT_ACT_PROBE);
	r.flags = FTT_REC_WAITS;
	CHECK(!(ftt_primary_record(&f, &r, at(10 * MS)) & FTT_ACT_NUDGE));
	f.ask_ns = 0;
	f.tries = 1;
	r.flags = 0;
	CHECK(ftt_primary_record(&f, &r, at(10 * MS)) & FTT_ACT_NUDGE); /* lost */
	f.nudged = 0;
	r.flags = FTT_REC_WAITS | FTT_REC_HOLE;
	r.hole_end = r.rcv_nxt + 5;
	CHECK(ftt_primary_record(&f, &r, at(10 * MS)) & FTT_ACT_NUDGE); /* some waits, some was lost */
}

/*
 * Of what lies beyond the hole the client is told one segment: the backup may lack more there, and what a client takes for received
 * it does not send again until its timer ends.
 */
static void test_the_client_is_told_of_one_segment_beyond_the_hole(void)
{
	struct ftt_record r = commit_of(&plain, 0, 1000, 0);
	uint32_t begin = plain.irs + 1;
	struct ftt_key k = {0};
	struct ftt_bare b;
	struct ftt_flow f;

	make_primary(&f, &plain, MS);
	f.bits |= FTT_F_SACK;
	f.mss = 10;
	step(&f, of_client(&plain, FTT_MODE_PAIRED, 0, 0, 100), MS);
	CHECK_EQ(step(&f, from_primary(&plain, TCP_ACK, 0, 100, 5), MS), FTT_HOLD);
	f.held_since_ns = MS;
	r.flags = FTT_REC_HOLE;
	r.hole_end = begin + 30;
	CHECK(ftt_primary_record(&f, &r, at(10 * MS)) & FTT_ACT_NUDGE);
	ftt_bare_nudge(&f, &k, &b);
	CHECK_EQ(b.ack, begin);
	CHECK_EQ(b.sack_left, begin + 30);
	CHECK_EQ(b.sack_right, begin + 40);
	f.nudged = 0;
	r.hole_end = begin + 95; /* a short one is the last */
	CHECK(ftt_primary_record(&f, &r, at(20 * MS)) & FTT_ACT_NUDGE);
	ftt_bare_nudge(&f, &k, &b);
	CHECK_EQ(b.sack_left, begin + 95);
	CHECK_EQ(b.sack_right, begin + 100);
	f.nudged = 0;
	f.tries = 1;
	r.flags = 0; /* nothing is known there: all is sent again but for the end, which follows */
	CHECK(ftt_primary_record(&f, &r, at(30 * MS)) & FTT_ACT_NUDGE);
	ftt_bare_nudge(&f, &k, &b);
	CHECK_EQ(b.sack_left, begin + 90);
	CHECK_EQ(b.sack_right, begin + 100);
	f.nudged = 0;
	f.tries = 1;
	r.rcv_nxt = begin + 90; /* only the last segment is lacking: there is nothing to tell of */
	f.committed = r.rcv_nxt;
	CHECK(ftt_primary_record(&f, &r, at(40 * MS)) & FTT_ACT_NUDGE);
	ftt_bare_nudge(&f, &k, &b);
	CHECK_EQ(b.sack_left, b.sack_right);
}

/*
 * The client's second copy fills the hole, where our stack had the first one: it must not hear of that, or it undoes its repair, and Linux
 * repairs what else was lost by its timer alone.
 */
static void test_a_repair_that_our_stack_did_not_need_is_none_for_the_client_to_undo(void)
{
	struct ftt_record r = commit_of(&plain, 0, 1000, 0);
	struct arrival twice = from_primary(&plain, TCP_ACK, 0, 100, 0);
	struct ftt_key k = {0};
	struct ftt_bare b;
	struct ftt_flow f;

	twice.seg.options |= FTT_OPT_SACK | FTT_OPT_DSACK;
	make_primary(&f, &plain, MS);
	f.mss = 10;
	step(&f, of_client(&plain, FTT_MODE_PAIRED, 0, 0, 100), MS);
	CHECK_EQ(step(&f, from_primary(&plain, TCP_ACK, 0, 60, 0), MS), FTT_HOLD);
	f.held_since_ns = MS;
	r.flags = FTT_REC_HOLE;
	r.hole_end = plain.irs + 1 + 30;
	CHECK(ftt_primary_record(&f, &r, at(10 * MS)) & FTT_ACT_NUDGE);
	r = commit_of(&plain, 60, 1000, 0);
	ftt_primary_record(&f, &r, at(11 * MS));
	CHECK_EQ(gate(&f, from_primary(&plain, TCP_ACK, 0, 60, 0), 11 * MS), FTT_PASS);
	CHECK(edit.change & FTT_EDIT_TSECR);
	CHECK_EQ(edit.tsecr, 0);
	f.held_since_ns = 0;
	r = commit_of(&plain, 80, 1000, 0);
	ftt_primary_record(&f, &r, at(12 * MS));
	f.local_rcv_nxt = plain.irs + 1 + 80;
	ftt_bare_for_client(&f, &k, FTT_MODE_PAIRED, &b); /* a word of our own says no more */
	CHECK_EQ(b.ack, plain.irs + 1 + 80);
	CHECK_EQ(b.tsecr, 0);
	r = commit_of(&plain, 100, 1000, 0);
	ftt_primary_record(&f, &r, at(13 * MS));
	CHECK_EQ(step(&f, from_primary(&plain, TCP_ACK, 0, 100, 0), 13 * MS), FTT_PASS);
	CHECK(edit.change & FTT_EDIT_TSECR); /* the last one of what it had sent */
	CHECK_EQ(step(&f, from_primary(&plain, TCP_ACK, 0, 100, 0), 13 * MS), FTT_PASS);
	CHECK(!(edit.change & (FTT_EDIT_TSECR | FTT_EDIT_NO_SACK)));
	ftt_bare_for_client(&f, &k, FTT_MODE_PAIRED, &b);
	CHECK_EQ(b.tsecr, f.client_tsval);
	CHECK_EQ(step(&f, twice, 13 * MS), FTT_PASS);
	CHECK(edit.change & FTT_EDIT_NO_SACK);
	CHECK_EQ(step(&f, twice, 11 * MS + ((uint64_t)FTT_REPAIRED << FTT_NUDGE_SHIFT)), FTT_PASS); /* of something else, by then */
	CHECK(!(edit.change & FTT_EDIT_NO_SACK));
}

int main(void)
{
	for (size_t i = 0; i < sizeof(all_ends) / sizeof(all_ends[0]); i++)
		test_the_client_is_not_asked_for_what_waits_at_the_backup(all_ends[i]);
	test_the_client_is_told_of_one_segment_beyond_the_hole();
	test_a_repair_that_our_stack_did_not_need_is_none_for_the_client_to_undo();
	return 0;
}
