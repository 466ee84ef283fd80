/* SPDX-License-Identifier: Apache-2.0 */
/* What a primary makes of a difference, of which the backup has told: is it slower there, or of another mind? */
#include "flows.h"

/* Our server has said `out` bytes, of which the client has all. */
static void make_answered(struct ftt_flow *f, const struct ends *x, uint32_t out)
{
	make_primary(f, x, MS);
	f->bits |= FTT_F_SUMS;
	CHECK_EQ(step(f, from_primary(x, TCP_ACK, 0, 0, out), MS), FTT_PASS);
}

static uint32_t commit(struct ftt_flow *f, const struct ends *x, uint32_t out, bool differs, uint64_t now_ns)
{
	struct ftt_record r = commit_of(x, 0, 1000, out);

	r.flags = differs ? FTT_REC_DIFFERS : 0;
	return ftt_primary_record(f, &r, at(now_ns));
}

static void test_a_backup_that_is_slower_at_a_difference(const struct ends *x)
{
	struct ftt_flow f;

	make_answered(&f, x, 30);
	commit(&f, x, 10, true, 2 * MS);
	CHECK_EQ(ftt_flow_tick(&f, at(1900 * MS)) & FTT_ACT_DETACH, 0); /* it may go on equally */
	commit(&f, x, 20, true, 1901 * MS);
	CHECK_EQ(ftt_flow_tick(&f, at(2100 * MS)) & FTT_ACT_DETACH, 0);
	CHECK_EQ(ftt_flow_tick(&f, at(2102 * MS)), FTT_ACT_DETACH); /* it did not */
	CHECK_EQ(f.reason, FTT_WHY_DIVERGENCE);
}

static void test_each_difference_has_its_own_time(const struct ends *x)
{
	struct ftt_flow f;

	make_answered(&f, x, 30);
	commit(&f, x, 10, true, 2 * MS);
	commit(&f, x, 15, true, 3 * MS);
	commit(&f, x, 20, false, 100 * MS);
	commit(&f, x, 25, true, 150 * MS);
	CHECK_EQ(ftt_flow_tick(&f, at(400 * MS)) & FTT_ACT_DETACH, 0);
}

static void test_a_backup_that_has_said_more(const struct ends *x)
{
	struct ftt_flow f;

	make_answered(&f, x, 10);
	commit(&f, x, 11, true, 2 * MS);
	CHECK_EQ(ftt_flow_tick(&f, at(202 * MS)) & FTT_ACT_DETACH, 0);
	CHECK_EQ(ftt_flow_tick(&f, at(203 * MS)), FTT_ACT_DETACH);
	CHECK_EQ(f.reason, FTT_WHY_DIVERGENCE);
}

static void test_a_backup_that_never_says_more(const struct ends *x)
{
	struct ftt_flow f;

	make_answered(&f, x, 30);
	commit(&f, x, 10, true, 2 * MS);
	CHECK_EQ(ftt_flow_tick(&f, at(2003 * MS)), FTT_ACT_DETACH);
}

/* --- the backup, at a takeover ------------------------------------------------------------------ */

/* Both servers said 300 bytes; those up to 200 were told, and differ before 100. */
static void make_differed(struct ftt_flow *f, const struct ends *x, uint32_t acked)
{
	make_backup(f, x, MS);
	f->bits |= FTT_F_SUMS;
	step(f, from_backup(x, TCP_ACK, 0, 0, 300), MS);
	CHECK(ftt_output_tell(f, 100));
	CHECK_EQ(ftt_output_judge(f, 100, 1, 2), FTT_DIFFERENT);
	CHECK(!ftt_output_continues(f));
	CHECK(ftt_output_tell(f, 200));
	f->client_acked = ftt_output_seq(f, acked);
	CHECK_EQ(ftt_output_judge(f, 200, 3, 3), FTT_EQUAL);
}

/* With the rest from the other server it would be neither server's. */
static void test_a_client_with_a_part_of_what_differed_is_reset(const struct ends *x)
{
	struct ftt_flow f;

	make_differed(&f, x, 99);
	CHECK(!ftt_output_continues(&f));
	f.client_acked = ftt_output_seq(&f, 100);
	CHECK(ftt_output_continues(&f));
	make_differed(&f, x, 150);
	CHECK(ftt_output_continues(&f));
}

/* OUTPUT was lost, and the client's word of it was not: it may have bytes of the other server's that are not ours. */
static void test_a_client_that_has_more_than_was_told_is_reset(const struct ends *x)
{
	struct ftt_flow f;

	make_backup(&f, x, MS);
	f.bits |= FTT_F_SUMS;
	step(&f, from_backup(x, TCP_ACK, 0, 0, 300), MS);
	CHECK(ftt_output_tell(&f, 100));
	CHECK_EQ(ftt_output_judge(&f, 100, 1, 1), FTT_EQUAL);
	CHECK(ftt_output_continues(&f));
	f.sent = ftt_output_seq(&f, 100);
	CHECK_EQ(step(&f, of_client(x, FTT_MODE_BACKUP, 0, 101, 0), MS), FTT_DROP);
	CHECK(f.bits & FTT_F_CLAIM);
	CHECK(!ftt_output_continues(&f));
	f.assured = 101; /* it is told of, after all */
	CHECK(ftt_output_continues(&f));
}

/* Who forges blindly knows neither the window nor the time: nothing is claimed by that, and no flow is reset for it. */
static void test_only_what_the_kernel_would_take_claims(const struct ends *x)
{
	struct ftt_flow f;
	struct arrival s;

	make_backup(&f, x, MS);
	f.bits |= FTT_F_SUMS;
	step(&f, from_backup(x, TCP_ACK, 0, 0, 300), MS);
	CHECK(ftt_output_tell(&f, 100));
	CHECK_EQ(ftt_output_judge(&f, 100, 1, 1), FTT_EQUAL);
	f.sent = ftt_output_seq(&f, 100);
	CHECK_EQ(step(&f, of_client(x, FTT_MODE_BACKUP, 1u << 24, 101, 0), MS), FTT_DROP); /* beyond the window */
	CHECK_EQ(step(&f, of_client(x, FTT_MODE_BACKUP, (uint32_t)-1000, 101, 0), MS), FTT_DROP); /* before it */
	if (x->client_ts) {
		s = stamped(of_client(x, FTT_MODE_BACKUP, 0, 101, 0), x->client_ts - 1000, x->service_ts + 1);
		CHECK_EQ(step(&f, s, MS), FTT_DROP);
	}
	CHECK(!(f.bits & FTT_F_CLAIM));
	CHECK(ftt_output_continues(&f));
	step(&f, of_client(x, FTT_MODE_BACKUP, 0, 101, 0), MS);
	CHECK(f.bits & FTT_F_CLAIM);
	f.bits &= ~(uint32_t)FTT_F_CLAIM;

	f.bits |= FTT_F_TAKEN; /* and here it would stand in the way of the client's own */
	CHECK_EQ(step(&f, of_client(x, FTT_MODE_SOLO, 1u << 24, 301, 0), MS), FTT_DROP);
	CHECK(!(f.bits & FTT_F_CLAIM));
}

/* An end is no byte: a client that has it, and all that was told, has nothing that need not be ours. */
static void test_an_end_is_no_more_than_was_told(const struct ends *x)
{
	struct ftt_flow f;

	make_backup(&f, x, MS);
	f.bits |= FTT_F_SUMS;
	step(&f, from_backup(x, TCP_ACK | TCP_FIN, 0, 0, 100), MS);
	CHECK(ftt_output_tell(&f, 100));
	CHECK_EQ(ftt_output_judge(&f, 100, 1, 1), FTT_EQUAL);
	f.sent = ftt_output_seq(&f, 100);
	CHECK_EQ(step(&f, of_client(x, FTT_MODE_BACKUP, 0, 101, 0), MS), FTT_DROP);
	CHECK(f.bits & FTT_F_CLAIM);
	CHECK(ftt_output_continues(&f));
}

/* ... also where both are found to be the same only afterwards. */
static void test_a_client_with_a_part_of_it_is_reset_after_a_takeover(const struct ends *x)
{
	struct ftt_flow f;

	make_differed(&f, x, 99);
	f.bits |= FTT_F_UNVERIFIED | FTT_F_TAKEN;
	CHECK(!ftt_output_done(&f));
	CHECK(ftt_flow_hopeless(&f, at(2 * MS)));
}

static void test_what_was_offered_may_be_with_the_client(const struct ends *x)
{
	struct ftt_flow f;

	make_backup(&f, x, MS);
	f.bits |= FTT_F_SUMS;
	step(&f, from_backup(x, TCP_ACK, 0, 0, 300), MS);
	f.client_acked = ftt_output_seq(&f, 50);
	CHECK(!ftt_output_continues(&f));
	f.assured = 50;
	CHECK(ftt_output_continues(&f));
}

int main(void)
{
	for (int i = 0; i < 2; i++) {
		test_a_backup_that_is_slower_at_a_difference(all_ends[i]);
		test_each_difference_has_its_own_time(all_ends[i]);
		test_a_backup_that_has_said_more(all_ends[i]);
		test_a_backup_that_never_says_more(all_ends[i]);
		test_a_client_with_a_part_of_what_differed_is_reset(all_ends[i]);
		test_a_client_that_has_more_than_was_told_is_reset(all_ends[i]);
		test_only_what_the_kernel_would_take_claims(all_ends[i]);
		test_an_end_is_no_more_than_was_told(all_ends[i]);
		test_a_client_with_a_part_of_it_is_reset_after_a_takeover(all_ends[i]);
		test_what_was_offered_may_be_with_the_client(all_ends[i]);
	}
	return 0;
}
