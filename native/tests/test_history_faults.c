/* SPDX-License-Identifier: Apache-2.0 */
/* A new backup that cannot be brought to where the primary's server is: nothing is called protected with it. */
#define _GNU_SOURCE
#include "history_rig.h"

/* The backup's server was given all but what follows an answer of the living connection, which it has not said yet. */
static const struct ftt_tcp *play_up_to_an_answer(void)
{
	const struct ftt_tcp *c = live_a_little();

	pair();
	settle();
	CHECK_EQ(first_had, 10);
	CHECK_EQ(stack_received(&backup.stack), 10);
	CHECK(backup.worker.history->blocked && !backup.worker.history->live);
	return c;
}

static void rest(void)
{
	ftt_history_tick(&backup.worker);
	settle();
}

/* Until the flow is protected. */
static const struct ftt_tcp *catch_up(void)
{
	const struct ftt_tcp *c = play_up_to_an_answer();

	answers(&backup, 20);
	rest();
	CHECK(backup.worker.history->live);
	catches_up(c);
	return c;
}

static void expect_failure(enum ftt_unrenewable why)
{
	const struct ftt_history *h = backup.worker.history;

	CHECK(h->failed && !h->live && !h->aligns && !h->blocked && !h->in_message && !h->kept && !h->kept_bytes);
	CHECK_EQ(backup.events[FTT_EV_HISTORY_FAILED], 1);
	CHECK_EQ(last_why, why);
	CHECK_EQ(primary.worker.history->stage, FTT_HISTORY_FAILED);
	CHECK(ftt_history_behind(&primary.worker) && ftt_history_waits(&backup.worker));
	CHECK_EQ(backup.worker.n_renewing[FTT_RENEW_CATCHING], 0);
}

/* The server does not say it in one of the last frames; MARK is on its way behind them. */
static void test_a_mark_behind_a_failure(void)
{
	play_up_to_an_answer();
	CHECK_EQ(hears(&backup, FTT_LANE_ALIGN, (const uint8_t[1]){0}, 1), FTT_LANE_TAKEN);
	says(2, TCP_ACK, 16, 7);
	CHECK(backup.worker.history->aligns && backup.worker.history->kept);
	model_now += 11 * S;
	rest();
	CHECK_EQ(hears(&backup, FTT_LANE_MARK, (const uint8_t[1]){0}, 1), FTT_LANE_TAKEN);
	expect_failure(FTT_NOT_IN_TIME);
	says(2, TCP_ACK, 16, 7); /* nothing is kept for it any more */
	CHECK(!backup.worker.history->kept);
	close_both();
}

/* That news comes to a primary that has said MARK. */
static void test_news_of_a_failure_behind_mark(void)
{
	const struct ftt_tcp *c = catch_up();
	const uint8_t why = FTT_NOT_IN_TIME;

	CHECK_EQ(hears(&primary, FTT_LANE_NOT_PLAYED, &why, 1), FTT_LANE_TAKEN);
	CHECK_EQ(primary.worker.history->stage, FTT_HISTORY_FAILED);
	settle();
	CHECK_EQ(c->flow.protection, FTT_DETACHED);
	CHECK_EQ(c->flow.reason, FTT_WHY_HISTORY);
	close_both();
}

/* The longest piece that there is, as any other, leaves. */
static void test_the_longest_frame(void)
{
	static const uint8_t bytes[FTT_PIECE_MAX];
	const struct ftt_history *h;
	const struct ftt_piece longest = {.offset = 15, .len = FTT_PIECE_MAX, .bytes = bytes};
	struct ftt_tcp *c = live_a_little();

	h = primary.worker.history;
	ftt_history_input(&primary.worker, c, &longest);
	pair();
	ftt_renew_pump(&primary.worker, model_now);
	CHECK(h->end > FTT_PIECE_MAX);
	CHECK_EQ(h->sent, h->end);
	close_both();
}

/* The backup's server resets a connection of which the other one said more. */
static void test_a_connection_that_is_lost(void)
{
	play_up_to_an_answer();
	backup.stack.over = NULL;
	aborts(&backup);
	rest();
	expect_failure(FTT_NOT_IN_TIME);
	close_both();
}

/* ... and one of which it has said all: it has only been faster. */
static void test_a_connection_that_ended_sooner(void)
{
	play_up_to_an_answer();
	backup.stack.over = NULL;
	answers(&backup, 20);
	aborts(&backup);
	rest();
	CHECK(backup.worker.history->live && !backup.worker.history->failed);
	close_both();
}

/* Its bounds are smaller: a connection that it cannot take is not left out. */
static void test_no_room_for_a_connection(void)
{
	live_a_little();
	backup.engine.cfg.policy.renew_bytes = 0;
	pair();
	settle();
	expect_failure(FTT_LOGS_TOO_LONG);
	CHECK_EQ(backup.stack.state, STACK_LISTEN);
	close_both();
}

/* MARK is on its way to a backup that has still to play what is before it: what begins meanwhile does not wait for that. */
static void test_what_begins_before_it_is_there(void)
{
	const struct ftt_tcp *c;

	live_a_little();
	pair();
	settle();
	answers(&backup, 20);
	ftt_history_tick(&backup.worker);
	for (unsigned i = 0; !n_kind[FTT_LANE_MARK]; i++) {
		CHECK(i < 1000);
		ftt_renew_pump(&primary.worker, model_now);
		node_run(&backup);
		if (!n_kind[FTT_LANE_MARK])
			(void)(carry(1) || carry(0));
	}
	CHECK(!backup.worker.history->live && ftt_history_behind(&primary.worker));
	c = opens(3);
	CHECK_EQ(c->flow.protection, FTT_UNPROTECTED);
	settle();
	CHECK(backup.worker.history->live && !ftt_history_behind(&primary.worker));
	close_both();
}

/* The primary's server is another one, and the pairing is the same: the backup's was told what that one was. */
static void test_another_life_within_a_pairing(void)
{
	const struct ftt_tcp *c = catch_up();

	server_starts(&primary);
	settle();
	CHECK_EQ(primary.worker.history->stage, FTT_HISTORY_FAILED);
	CHECK_EQ(c->flow.protection, FTT_DETACHED);
	close_both();
}

int main(void)
{
	test_what_begins_before_it_is_there();
	test_another_life_within_a_pairing();
	test_a_mark_behind_a_failure();
	test_news_of_a_failure_behind_mark();
	test_the_longest_frame();
	test_a_connection_that_is_lost();
	test_a_connection_that_ended_sooner();
	test_no_room_for_a_connection();
	return 0;
}
