/* SPDX-License-Identifier: Apache-2.0 */
/* test_retain.c - what is retained, and when it leaves after a takeover. */
#include "core/tcp/retain.h"
#include "check.h"

#define MSS 1000u
#define QUIET FTT_RETAIN_QUIET_NS
#define STUCK FTT_RETAIN_STUCK_NS

#define MS 1000000ull
#define CLOCK 500u /* of the stack when time begins */

static const struct ftt_flow with_times = {.bits = FTT_F_TS, .mss = MSS, .local_tsval = CLOCK};
static const struct ftt_flow without = {.mss = MSS};

/* An acknowledgement of the client that echoes `tsecr`; 0: no timestamps. */
static struct ftt_seg ack_of(uint32_t tsecr)
{
	return (struct ftt_seg){.flags = TCP_ACK, .options = tsecr ? FTT_OPT_TS : 0, .tsecr = tsecr};
}

static enum ftt_retained_echo echo(const struct ftt_retained *r, uint32_t tsecr)
{
	struct ftt_seg s = ack_of(tsecr);

	return ftt_retained_echo(r, &with_times, &s);
}

/* `gone` bytes more are acknowledged: how many leave? */
static uint32_t more(struct ftt_retained *r, uint32_t gone, uint32_t tsecr, uint64_t now_ns)
{
	struct ftt_seg s = ack_of(tsecr);

	CHECK_EQ(ftt_retained_ack(r, r->seq + gone), gone);
	return ftt_retained_more(r, tsecr ? &with_times : &without, &s, gone, now_ns);
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
	CHECK_EQ(ftt_retained_ack(&r, ISS + 5000), 4870); /* more than we have */
	CHECK_EQ(r.n, 0);
	CHECK_EQ(ftt_retained_ack(&r, ISS + 6000), 0); /* there is nothing */
	CHECK_EQ(ftt_retained_add(&r, ISS + 5000, ISS + 7000, 10, 1000), 10); /* empty: it begins anew anywhere */
	CHECK_EQ(r.seq, ISS + 7000);
}

/* A takeover at 1 ms, `n` bytes retained, the first window sent. */
static struct ftt_retained begun(uint32_t n)
{
	struct ftt_retained r = {0};
	uint32_t first = n < 10 * MSS ? n : 10 * MSS;

	CHECK_EQ(ftt_retained_add(&r, ISS, ISS, n, FTT_RETAIN_MAX), n);
	CHECK_EQ(ftt_retained_begin(&r, &with_times, MS), first);
	r.next += first;
	return r;
}

static void test_nothing_leaves_before_a_takeover(void)
{
	struct ftt_retained r = {0};

	CHECK_EQ(ftt_retained_add(&r, ISS, ISS, 5000, FTT_RETAIN_MAX), 5000);
	CHECK_EQ(more(&r, 1000, CLOCK + 9, MS), 0);
	CHECK_EQ(ftt_retained_tick(&r, &with_times, 1000 * QUIET), 0);
}

static void test_slow_start_on_echoes_of_our_own(void)
{
	struct ftt_retained r = begun(100 * MSS);

	CHECK_EQ(echo(&r, CLOCK + 1), FTT_ECHO_OURS);
	CHECK_EQ(echo(&r, CLOCK), FTT_ECHO_OLD);
	CHECK_EQ(more(&r, 2 * MSS, CLOCK + 1, 2 * MS), 4 * MSS);
	r.next += 4 * MSS;
	CHECK_EQ(more(&r, 2 * MSS, 0, 3 * MS), 3 * MSS); /* we cannot tell: half the growth */
	r.next += 3 * MSS;
	CHECK_EQ(more(&r, 2 * MSS, CLOCK, 3 * MS), 0);
	r.next = ISS + 99 * MSS;
	r.window = 200 * MSS;
	CHECK_EQ(more(&r, 2 * MSS, CLOCK + 1, 3 * MS), MSS); /* no more than there is */
}

static void test_a_queue_that_fills_ends_slow_start(void)
{
	struct ftt_retained r = begun(100 * MSS);

	CHECK_EQ(more(&r, 2 * MSS, CLOCK + 1, 3 * MS), 4 * MSS); /* a round trip of 2 ms */
	r.next += 4 * MSS;
	CHECK_EQ(r.window, 12 * MSS);
	CHECK_EQ(more(&r, 2 * MSS, CLOCK + 3, (3 + 2 + FTT_RETAIN_DELAY_MS) * MS), 4 * MSS);
	r.next += 4 * MSS;
	CHECK_EQ(more(&r, 2 * MSS, CLOCK + 3, (3 + 2 + FTT_RETAIN_DELAY_MS + 1) * MS), 2 * MSS); /* whole segments */
	CHECK_EQ(r.window, 14 * MSS + 2 * MSS / 14 + 1);
}

static void test_old_segments_that_still_come_are_not_copied(void)
{
	struct ftt_retained r = begun(100 * MSS);

	CHECK_EQ(more(&r, 30 * MSS, CLOCK, 10 * MS), 0);
	CHECK_EQ(r.next, ISS + 30 * MSS);
	CHECK_EQ(ftt_retained_tick(&r, &with_times, 10 * MS + QUIET - 1), 0); /* they may still come */
	CHECK_EQ(ftt_retained_tick(&r, &with_times, 10 * MS + QUIET), 10 * MSS); /* they have ceased */
	CHECK_EQ(ftt_retained_tick(&r, &with_times, 10 * MS + 2 * QUIET), 0);
	CHECK_EQ(ftt_retained_tick(&r, &with_times, 10 * MS + 3 * QUIET), 10 * MSS); /* and the time doubles */
}

/* The client has everything of the old primary: the first of ours that it has twice came behind that. */
static void test_what_came_twice_ends_the_wait(void)
{
	struct ftt_retained r = begun(100 * MSS), other = begun(100 * MSS);
	struct ftt_seg twice = ack_of(CLOCK);

	CHECK_EQ(more(&r, 30 * MSS, CLOCK, 2 * MS), 0);
	twice.options |= FTT_OPT_DSACK;
	twice.dsack = ISS + 30 * MSS; /* we have not sent that */
	CHECK_EQ(ftt_retained_more(&r, &with_times, &twice, 0, 3 * MS), 0);
	twice.dsack = ISS - 1;
	CHECK_EQ(ftt_retained_more(&r, &with_times, &twice, 0, 3 * MS), 0);
	twice.dsack = ISS;
	CHECK_EQ(ftt_retained_more(&r, &with_times, &twice, 0, 3 * MS), 10 * MSS);
	r.next += 10 * MSS;
	twice.dsack = ISS + MSS;
	CHECK_EQ(ftt_retained_more(&r, &with_times, &twice, 0, 3 * MS), 0); /* of the same window */
	CHECK_EQ(more(&r, 2 * MSS, CLOCK + 1, 4 * MS), 4 * MSS);

	twice.dsack = ISS; /* and if it is this that acknowledges, the window grows by half */
	CHECK_EQ(ftt_retained_ack(&other, ISS + 30 * MSS), 30 * MSS);
	CHECK_EQ(ftt_retained_more(&other, &with_times, &twice, 30 * MSS, 3 * MS), 25 * MSS);
	CHECK_EQ(other.next, ISS + 30 * MSS);
}

static void test_what_is_under_way_is_left_to_the_stacks_timer(void)
{
	struct ftt_retained r = begun(100 * MSS);

	CHECK_EQ(ftt_retained_tick(&r, &with_times, 1000 * QUIET), 0);
}

static void test_the_stack_is_shown_the_same_window(void)
{
	struct ftt_retained r = {0};
	struct ftt_flow f = {.hard.client_wscale = 2};
	struct ftt_seg s = {.flags = TCP_ACK, .wnd = 30000};
	struct ftt_edit e = {0};

	ftt_retained_limit(&r, &f, &s, &e);
	CHECK_EQ(e.change, 0); /* no takeover */
	r = begun(20 * MSS);
	ftt_retained_limit(&r, &f, &s, &e);
	CHECK_EQ(e.change, FTT_EDIT_WND);
	CHECK_EQ(e.wnd, 10 * MSS / 4);
	f.hard.client_wscale = 14;
	CHECK_EQ(ftt_retained_wnd(&r, &f, 30), 1); /* never closed */
	f.hard.client_wscale = 2;
	e = (struct ftt_edit){.change = FTT_EDIT_WND, .wnd = 100}; /* smaller by another rule */
	ftt_retained_limit(&r, &f, &s, &e);
	CHECK_EQ(e.wnd, 100);
	CHECK(r.window);
	ftt_retained_ack(&r, ISS + 20 * MSS);
	r.window = 120000;
	e.change = 0;
	ftt_retained_limit(&r, &f, &s, &e);
	CHECK_EQ(e.change, 0); /* the client's window is what limits: over */
	CHECK_EQ(r.window, 0);
}

static void test_the_stacks_own_repair_ends_it(void)
{
	struct ftt_retained r = {0};

	ftt_retained_add(&r, ISS, ISS, 100, 1000);
	CHECK(!ftt_retained_superseded(&r, &with_times, ISS, 10, 10 * STUCK)); /* a backup's stack repeats itself as it likes */
	ftt_retained_begin(&r, &with_times, 1);
	CHECK(!ftt_retained_superseded(&r, &with_times, ISS, 10, STUCK)); /* ours may still get on */
	CHECK(ftt_retained_superseded(&r, &with_times, ISS, 10, STUCK + 2));
	CHECK(!ftt_retained_superseded(&r, &with_times, ISS - 10, 10, STUCK + 2)); /* the client has that already */
	CHECK(ftt_retained_superseded(&r, &with_times, ISS - 10, 11, STUCK + 2));
	CHECK(!ftt_retained_superseded(&r, &with_times, ISS + 50, 10, STUCK + 2)); /* a probe of its tail (RFC 8985 7) */
	ftt_retained_stop(&r);
	CHECK_EQ(r.n, 0);
	CHECK(r.window); /* what the stack is shown stays small */
}

/* A worker that got no processor for a while meets an old packet of its stack before the acknowledgements that came meanwhile. */
static void test_what_the_stack_does_not_have_any_more_is_never_left_to_it(void)
{
	struct ftt_flow f = with_times;
	struct ftt_retained r = {0};

	ftt_retained_add(&r, ISS, ISS, 10 * MSS, 1 << 20);
	ftt_retained_begin(&r, &f, 1);
	f.client_acked = ISS;
	f.delivered_ack = ISS + MSS; /* told to the stack, and owed to the client */
	CHECK(!ftt_retained_superseded(&r, &f, ISS, 10, 100 * STUCK));
	f.client_acked = ISS + MSS;
	CHECK(ftt_retained_superseded(&r, &f, ISS, 10, 100 * STUCK));
}

int main(void)
{
	test_nothing_leaves_before_a_takeover();
	test_a_queue_that_fills_ends_slow_start();
	test_only_what_is_new_and_next_is_added();
	test_what_the_client_has_is_not_kept();
	test_slow_start_on_echoes_of_our_own();
	test_old_segments_that_still_come_are_not_copied();
	test_what_came_twice_ends_the_wait();
	test_what_is_under_way_is_left_to_the_stacks_timer();
	test_the_stack_is_shown_the_same_window();
	test_the_stacks_own_repair_ends_it();
	test_what_the_stack_does_not_have_any_more_is_never_left_to_it();
	return 0;
}
