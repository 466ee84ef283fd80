/* SPDX-License-Identifier: Apache-2.0 */
/* test_retain.c - what is retained, and when it leaves after a takeover. */
#include "fttcp/retain.h"
#include "check.h"

#define MSS 1000u
#define QUIET FTT_RETAIN_QUIET_NS

static const struct ftt_flow with_times = {.bits = FTT_F_TS};

static enum ftt_retained_echo echo(const struct ftt_retained *r, uint32_t tsecr)
{
	struct ftt_seg s = {.options = FTT_OPT_TS, .tsecr = tsecr};

	return ftt_retained_echo(r, &with_times, &s);
}

/* The first byte of every stream here: it wraps within the first segment. */
#define ISS 0xfffffff0u

static void test_only_what_is_new_and_next_is_added(void)
{
	struct ftt_retained r = {0};

	CHECK_EQ(ftt_retained_add(&r, ISS, ISS, 100, 1000), 100);
	CHECK_EQ(r.seq, ISS);
	CHECK_EQ(ftt_retained_add(&r, ISS, ISS, 100, 1000), 0); /* sent again */
	CHECK_EQ(ftt_retained_add(&r, ISS, ISS + 50, 100, 1000), 50); /* half of it is new */
	CHECK_EQ(ftt_retained_add(&r, ISS, ISS + 151, 10, 1000), 0); /* behind a hole */
	CHECK_EQ(ftt_retained_add(&r, ISS, ISS + 150, 850, 1000), 850); /* just up to the bound */
	CHECK_EQ(ftt_retained_add(&r, ISS, ISS + 1000, 1, 1000), 0);
	CHECK_EQ(r.n, 1000);
}

static void test_what_the_client_has_is_not_kept(void)
{
	struct ftt_retained r = {0};

	CHECK_EQ(ftt_retained_add(&r, ISS + 100, ISS, 100, 1000), 0);
	CHECK_EQ(ftt_retained_add(&r, ISS + 100, ISS, 150, 1000), 50);
	CHECK_EQ(r.seq, ISS + 100);
	CHECK_EQ(ftt_retained_ack(&r, ISS + 100), 0);
	CHECK_EQ(ftt_retained_ack(&r, ISS + 130), 30);
	CHECK_EQ(ftt_retained_ack(&r, ISS), 0); /* an old one */
	CHECK_EQ(ftt_retained_ack(&r, ISS + 5000), 20); /* more than we have */
	CHECK_EQ(r.n, 0);
	CHECK_EQ(ftt_retained_add(&r, ISS + 5000, ISS + 7000, 10, 1000), 10); /* empty: it begins anew anywhere */
	CHECK_EQ(r.seq, ISS + 7000);
}

static struct ftt_retained begun(uint32_t n)
{
	struct ftt_retained r = {0};

	CHECK_EQ(ftt_retained_add(&r, ISS, ISS, n, FTT_RETAIN_MAX), n);
	CHECK_EQ(ftt_retained_more(&r, 1, FTT_ECHO_OURS, 1), 0); /* not before a takeover */
	CHECK_EQ(ftt_retained_begin(&r, MSS, 500, 1), n < 10 * MSS ? n : 10 * MSS);
	r.next += n < 10 * MSS ? n : 10 * MSS;
	return r;
}

static void test_slow_start_on_echoes_of_our_own(void)
{
	struct ftt_retained r = begun(100 * MSS);

	CHECK_EQ(echo(&r, 500), FTT_ECHO_OURS);
	CHECK_EQ(echo(&r, 499), FTT_ECHO_OLD);
	CHECK_EQ(ftt_retained_echo(&r, &with_times, NULL), FTT_ECHO_UNKNOWN);
	CHECK_EQ(ftt_retained_ack(&r, ISS + 2 * MSS), 2 * MSS);
	CHECK_EQ(ftt_retained_more(&r, 2 * MSS, FTT_ECHO_OURS, 2), 4 * MSS);
	r.next += 4 * MSS;
	CHECK_EQ(ftt_retained_more(&r, 2 * MSS, FTT_ECHO_UNKNOWN, 3), 2 * MSS);
	CHECK_EQ(ftt_retained_more(&r, 2 * MSS, FTT_ECHO_OLD, 3), 0);
	r.next = ISS + 99 * MSS;
	CHECK_EQ(ftt_retained_more(&r, 2 * MSS, FTT_ECHO_OURS, 3), MSS); /* no more than there is */
}

static void test_old_segments_that_still_come_are_not_copied(void)
{
	struct ftt_retained r = begun(100 * MSS);

	ftt_retained_ack(&r, ISS + 30 * MSS);
	CHECK_EQ(ftt_retained_more(&r, 30 * MSS, FTT_ECHO_OLD, 1000), 0);
	CHECK_EQ(r.next, ISS + 30 * MSS);
	CHECK_EQ(ftt_retained_tick(&r, MSS, 1000 + QUIET - 1), 0); /* they may still come */
	CHECK_EQ(ftt_retained_tick(&r, MSS, 1000 + QUIET), 10 * MSS); /* they have ceased */
	CHECK_EQ(ftt_retained_tick(&r, MSS, 1000 + 2 * QUIET), 0);
	CHECK_EQ(ftt_retained_tick(&r, MSS, 1000 + 3 * QUIET), 10 * MSS); /* and the patience doubles */
}

static void test_what_is_under_way_is_left_to_the_stacks_timer(void)
{
	struct ftt_retained r = begun(100 * MSS);

	CHECK_EQ(ftt_retained_tick(&r, MSS, 1000 * QUIET), 0);
}

static void test_the_stacks_own_repair_ends_it(void)
{
	struct ftt_retained r = {0};

	ftt_retained_add(&r, ISS, ISS, 100, 1000);
	CHECK(!ftt_retained_superseded(&r, ISS)); /* a backup's stack repeats itself as it likes */
	ftt_retained_begin(&r, MSS, 500, 1);
	CHECK(ftt_retained_superseded(&r, ISS + 99));
	CHECK(!ftt_retained_superseded(&r, ISS + 100)); /* new data */
}

int main(void)
{
	test_only_what_is_new_and_next_is_added();
	test_what_the_client_has_is_not_kept();
	test_slow_start_on_echoes_of_our_own();
	test_old_segments_that_still_come_are_not_copied();
	test_what_is_under_way_is_left_to_the_stacks_timer();
	test_the_stacks_own_repair_ends_it();
	return 0;
}
