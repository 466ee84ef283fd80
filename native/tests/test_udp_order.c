/* SPDX-License-Identifier: Apache-2.0 */
/* In which order, and when, the backup's server is given what the primary's has had, also after a takeover. */
#define _GNU_SOURCE
#include <string.h>
#include "udp_rig.h"

#define WAIT (100 * MS) /* for replies that may never come */

static void begin_order(void)
{
	begin_pair();
	p.engine.cfg.detach_after_ns = b.engine.cfg.detach_after_ns = 2000 * MS;
}

/* The backup's server gets a datagram when it has answered as often as the primary's had, or after 100 ms. */
static void test_the_backup_waits_for_its_server_but_not_for_ever(void)
{
	uint64_t now = 1000 * MS;

	begin_order();
	ask(&p, now);
	answer(&p, now);
	ask(&p, now); /* comes after one answer */
	hear(&p, &b, FTT_REC_EVENT, now);
	CHECK_EQ(hear(&b, &p, FTT_REC_EVENT_ACK, now), 2); /* both are held: that is what the primary waits for */
	CHECK_EQ(p.worker.held_now, 0);
	CHECK_EQ(b.n_emitted, 1);
	ftt_udp_tick(&b.worker, now + 99 * MS);
	CHECK_EQ(b.n_emitted, 1);
	CHECK_EQ(b.worker.udp.waiting, 1);
	answer(&b, now + 99 * MS);
	CHECK_EQ(b.n_emitted, 2);
	CHECK_EQ(b.n_passed, 0);
	CHECK_EQ(b.n_dropped, 1);
	ask(&p, now + 100 * MS);
	answer(&p, now + 100 * MS);
	ask(&p, now + 100 * MS);
	hear(&p, &b, FTT_REC_EVENT, now + 100 * MS);
	CHECK_EQ(b.n_emitted, 3); /* its server is silent now */
	ftt_udp_tick(&b.worker, now + 199 * MS);
	CHECK_EQ(b.n_emitted, 3);
	ftt_udp_tick(&b.worker, now + 201 * MS);
	CHECK_EQ(b.n_emitted, 4);
	CHECK_EQ(b.worker.udp.waiting, 0);
	for (uint32_t i = 0; i < b.n_emitted; i++)
		CHECK(!b.to_client[i]);
	end_pair();
}

/* So many questions, each after the answer to the one before, and an answer to the last. */
static void converse(unsigned n, uint64_t now)
{
	for (unsigned i = 0; i < n; i++) {
		p.n_passed = 0; /* the rig keeps a few only */
		ask(&p, now);
		answer(&p, now);
		hear(&p, &b, FTT_REC_EVENT, now);
		hear(&b, &p, FTT_REC_EVENT_ACK, now);
		hear(&p, &b, FTT_REC_SENT, now);
	}
}

/* A server that does not run is given eight datagrams in each 100 ms, not all that have come: its socket holds only so many. */
static void test_a_slow_server_is_not_flooded(void)
{
	uint64_t now = 1000 * MS;

	begin_order();
	converse(14, now);
	CHECK_EQ(b.n_emitted, 1);
	ftt_udp_tick(&b.worker, now += WAIT);
	CHECK_EQ(b.n_emitted, 9);
	ftt_udp_tick(&b.worker, now + WAIT - 1);
	CHECK_EQ(b.n_emitted, 9);
	for (uint32_t i = 1; i <= 14; i++) { /* it runs again, and gets one more for each that it has read */
		answer(&b, now);
		CHECK_EQ(b.n_emitted, i < 5 ? 9 + i : 14);
	}
	CHECK_EQ(only(&b)->missing, 8);
	ask(&p, now);
	hear(&p, &b, FTT_REC_EVENT, now);
	CHECK_EQ(b.n_emitted, 15);
	CHECK_EQ(only(&b)->missing, 0); /* it has caught up */
	answer(&p, now);
	ask(&p, now);
	hear(&p, &b, FTT_REC_EVENT, now);
	CHECK_EQ(b.n_emitted, 15); /* and is waited for as ever */
	answer(&b, now);
	CHECK_EQ(b.n_emitted, 16);
	end_pair();
}

/* The primary's server has repeated itself, ours has not: for that reply we wait once. */
static void test_a_reply_that_is_missing_for_good_is_waited_for_once(void)
{
	uint64_t now = 1000 * MS;

	begin_order();
	ask(&p, now);
	answer(&p, now);
	converse(1, now);
	answer(&b, now);
	CHECK_EQ(b.n_emitted, 2); /* one answer, one question */
	answer(&p, now);
	ask(&p, now);
	hear(&p, &b, FTT_REC_EVENT, now);
	answer(&b, now);
	CHECK_EQ(b.n_emitted, 2); /* three answers there, two here */
	ftt_udp_tick(&b.worker, now += WAIT);
	CHECK_EQ(b.n_emitted, 3);
	for (uint32_t i = 4; i < 10; i++) {
		answer(&p, now);
		ask(&p, now);
		hear(&p, &b, FTT_REC_EVENT, now);
		CHECK_EQ(b.n_emitted, i - 1);
		answer(&b, now);
		CHECK_EQ(b.n_emitted, i);
		CHECK_EQ(only(&b)->missing, 1);
	}
	end_pair();
}

/* Before the backup can hold no more, the primary's replies wait: a client that waits for them asks for no more. */
static void fall_behind(uint64_t now)
{
	begin_order();
	p.engine.cfg.max_held = 200;
	converse(200, now);
	CHECK_EQ(only(&p)->acked, 200);
	CHECK_EQ(only(&p)->granted, 1 + FTT_UDP_WINDOW / 2);
	CHECK_EQ(p.worker.held_now, 200 - 1 - FTT_UDP_WINDOW / 2);
	b.n_dropped = 0;
}

static void test_a_server_that_is_far_behind_holds_the_primary(void)
{
	uint64_t now = 1000 * MS;

	fall_behind(now);
	for (uint32_t i = 1; i <= 199; i++) {
		p.n_passed = b.n_emitted = b.n_dropped = 0;
		answer(&b, now);
		CHECK_EQ(b.n_emitted, 1);
		hear(&b, &p, FTT_REC_EVENT_ACK, now);
		CHECK_EQ(only(&p)->granted, 1 + i + FTT_UDP_WINDOW / 2 < 200 ? 1 + i + FTT_UDP_WINDOW / 2 : 200);
	}
	CHECK_EQ(p.worker.held_now, 0);
	CHECK_EQ(p.worker.n.drop_bound, 0);
	ftt_udp_tick(&p.worker, now);
	CHECK_EQ(p.worker.udp.waiting, 0);
	end_pair();
}

/* Nothing is sent again meanwhile but a question; its answer, or the end of patience, moves the replies. */
static void test_a_lost_word_of_the_backup_is_asked_for(bool known)
{
	uint64_t now = 1000 * MS;

	fall_behind(now);
	for (uint32_t i = 1; i <= 199; i++) {
		p.n_passed = b.n_emitted = b.n_dropped = 0;
		answer(&b, now);
		if (i <= 60)
			hear(&b, &p, FTT_REC_EVENT_ACK, now);
	}
	CHECK_EQ(lose(&b, FTT_REC_EVENT_ACK), 11);
	CHECK_EQ(p.worker.held_now, 11);
	if (!known)
		ftt_udp_forget_all(&b.worker);
	p.n_passed = 0;
	lose(&p, FTT_REC_SENT);
	for (unsigned i = 0; i < 3; i++) {
		int asked = p.worker.held_now > 0;

		ftt_udp_tick(&p.worker, now += 6 * MS);
		CHECK_EQ(hear(&p, &b, FTT_REC_SENT, now), asked);
		CHECK_EQ(hear(&b, &p, FTT_REC_EVENT_ACK, now), asked && known);
		lose(&p, FTT_REC_SENT);
	}
	CHECK_EQ(p.worker.n.udp_resent, 0);
	CHECK_EQ(p.worker.held_now, known ? 0 : 11);
	ftt_udp_tick(&p.worker, now = 3001 * MS);
	CHECK_EQ(only(&p)->protection, known ? FTT_PROTECTED : FTT_DETACHING);
	CHECK_EQ(hear(&p, &b, FTT_REC_DETACH, now), !known);
	hear(&b, &p, FTT_REC_DETACHED, now);
	CHECK_EQ(p.worker.held_now, 0);
	CHECK_EQ(p.n_passed, 11);
	end_pair();
}

/* Large ones take more of what the socket holds. */
static void test_a_slow_server_is_given_few_large_datagrams(void)
{
	static const char block[1100];
	uint64_t now = 1000 * MS;

	begin_order();
	p.engine.cfg.max_udp_bytes = b.engine.cfg.max_udp_bytes = 1 << 20;
	for (unsigned i = 0; i < 6; i++) {
		p.n_passed = 0;
		give(&p, datagram(4, true, SERVER, block, sizeof(block)), true, true, now);
		answer(&p, now);
		hear(&p, &b, FTT_REC_EVENT, now);
		hear(&b, &p, FTT_REC_EVENT_ACK, now);
	}
	ftt_udp_tick(&b.worker, now + WAIT);
	CHECK_EQ(b.n_emitted, 1 + 4);
	end_pair();
}

/*
 * A backup whose server does not go on is let go, which is told: not a takeover is to show it. It may be silent, or have
 * lost its place, and say the same again every `repeats_ns`.
 */
static void test_a_server_that_stands_still_costs_the_session_its_backup(uint64_t pace_ns, uint64_t repeats_ns)
{
	uint64_t now = 1000 * MS, last = now + 5000 * MS, repeats = now + repeats_ns;

	begin_order();
	p.engine.cfg.max_held = 400;
	for (uint64_t next = now; now < last && (!p.worker.udp.n || only(&p)->protection == FTT_PROTECTED); now += 2 * MS) {
		p.n_passed = p.n_dropped = b.n_emitted = b.n_dropped = 0;
		if (now >= next && !p.worker.held_now) { /* a client that waits for its answer */
			ask(&p, now);
			answer(&p, now);
			next = now + pace_ns;
		}
		if (repeats_ns && now >= repeats) {
			answer(&b, now);
			repeats += repeats_ns;
		}
		ftt_udp_tick(&p.worker, now);
		hear(&p, &b, FTT_REC_EVENT, now);
		ftt_udp_tick(&b.worker, now);
		hear(&b, &p, FTT_REC_EVENT_ACK, now);
	}
	CHECK_EQ(only(&p)->protection, FTT_DETACHED);
	CHECK_EQ(only(&p)->reason, FTT_WHY_OUTPUT_LAG);
	CHECK_EQ(p.n_detached, 1);
	CHECK_EQ(b.worker.udp.n, 0);
	CHECK_EQ(p.worker.held_now, 0);
	CHECK(now < 1000 * MS + 2 * b.engine.cfg.detach_after_ns);
	end_pair();
}

/* One that leaves one question of twenty unanswered, fifty a second, is in nobody's way. */
static void test_a_server_that_answers_less_does_not_slow_the_primary(void)
{
	uint64_t now = 1000 * MS;

	unsigned unread = 0, read = 0;

	begin_order();
	for (unsigned i = 0; i < 2000; i++, now += MS) {
		p.n_passed = p.n_dropped = b.n_dropped = 0;
		ask(&p, now);
		answer(&p, now);
		hear(&p, &b, FTT_REC_EVENT, now);
		ftt_udp_tick(&b.worker, now);
		for (unsigned most = 10; most; most--) { /* what it does in a millisecond */
			unread += b.n_emitted;
			b.n_emitted = 0;
			if (!unread)
				break;
			unread--;
			if (++read % 20)
				answer(&b, now);
		}
		hear(&b, &p, FTT_REC_EVENT_ACK, now);
		CHECK_EQ(p.worker.held_now, 0);
	}
	CHECK_EQ(only(&p)->protection, FTT_PROTECTED);
	end_pair();
}

/* A datagram for a port that our server does not speak from yet would reach nobody: it waits. */
static void test_an_early_datagram_is_not_for_a_port_without_a_server(void)
{
	uint64_t now = 1000 * MS;

	begin_order();
	ask(&p, now);
	give(&p, datagram(4, false, 7001, "data", 4), false, true, now);
	give(&p, datagram(4, true, 7001, "on", 2), true, true, now);
	hear(&p, &b, FTT_REC_EVENT, now);
	CHECK_EQ(b.n_emitted, 1);
	ftt_udp_tick(&b.worker, now += 5 * WAIT);
	CHECK_EQ(b.n_emitted, 1);
	give(&b, datagram(4, false, 9009, "data", 4), false, true, now);
	CHECK_EQ(b.n_emitted, 2);
	CHECK_EQ(get_be16(b.emitted[1].bytes + b.emitted[1].l4 + 2), 9009);
	end_pair();
}

/* --- after a takeover ------------------------------------------------------------------------------------ */

static void says(const struct packet *k, const char *payload)
{
	CHECK_EQ(k->len, k->l4 + 8 + strlen(payload));
	CHECK(!memcmp(k->bytes + k->l4 + 8, payload, strlen(payload)));
}

static void client_says(const char *payload, uint64_t now)
{
	give(&b, datagram(4, true, SERVER, payload, (uint32_t)strlen(payload)), true, true, now);
}

/* So many questions, of which the backup's server has had one, and answered none; then the primary is lost. */
static void lose_the_primary(unsigned questions, uint64_t now)
{
	begin_order();
	converse(questions, now);
	new_role(&b, FTT_MODE_SOLO);
	CHECK(ftt_udp_rest(&b.worker, 1, now));
	CHECK_EQ(b.n_emitted, 1);
}

/* The order goes on: each question comes after the answers that came before it, what the client says now at the end. */
static void test_a_takeover_keeps_the_order(void)
{
	uint64_t now = 1000 * MS;

	lose_the_primary(5, now);
	client_says("more", now);
	CHECK_EQ(b.n_emitted, 1);
	CHECK_EQ(b.n_passed, 0);
	for (uint32_t answers = 1; answers <= 5; answers++) {
		answer(&b, now);
		CHECK_EQ(b.n_emitted, answers < 4 ? answers + 1 : 6);
	}
	CHECK_EQ(b.n_passed, 0); /* the client has these of the old primary */
	CHECK_EQ(b.worker.n.drop_acked, 5);
	answer(&b, now);
	CHECK_EQ(b.n_passed, 1);
	says(&b.emitted[4], "ask");
	says(&b.emitted[5], "more");
	CHECK(!b.to_client[4] && !b.to_client[5]);
	client_says("directly", now);
	CHECK_EQ(b.n_emitted, 6);
	CHECK_EQ(b.n_passed, 2);
	CHECK_EQ(only(&b)->bytes, 0);
	ftt_udp_tick(&b.worker, now);
	CHECK_EQ(b.worker.udp.waiting, 0);
	end_pair();
}

/* A reply that the old primary may not have sent goes out, though fewer were counted here: it was waited for in vain. */
static void test_after_a_takeover_a_missing_reply_holds_nothing_back(void)
{
	uint64_t now = 1000 * MS;

	begin_order();
	ask(&p, now);
	answer(&p, now);
	converse(1, now); /* three answers there ... */
	answer(&p, now);
	hear(&p, &b, FTT_REC_SENT, now);
	CHECK_EQ(only(&b)->sent, 3);
	answer(&b, now); /* ... two here */
	answer(&b, now);
	ask(&p, now);
	hear(&p, &b, FTT_REC_EVENT, now);
	ftt_udp_tick(&b.worker, now + WAIT);
	CHECK_EQ(only(&b)->missing, 1);
	new_role(&b, FTT_MODE_SOLO);
	CHECK(ftt_udp_rest(&b.worker, 1, now + WAIT));
	answer(&b, now + WAIT);
	CHECK_EQ(b.n_passed, 1);
	end_pair();
}

/* The server's own port, which the client knows of the old primary, appears here after the takeover only. */
static void test_after_a_takeover_a_port_is_still_told_apart(void)
{
	uint64_t now = 1000 * MS;
	struct ftt_pkt k;
	struct ftt_seg s;

	begin_order();
	ask(&p, now);
	give(&p, datagram(4, false, 7001, "data", 4), false, true, now);
	hear(&p, &b, FTT_REC_EVENT, now);
	new_role(&b, FTT_MODE_SOLO);
	CHECK(ftt_udp_rest(&b.worker, 1, now));
	give(&b, datagram(4, false, 9009, "data", 4), false, true, now);
	CHECK_EQ(b.n_passed, 1);
	CHECK_EQ(ftt_parse(b.passed[0].bytes, b.passed[0].len, b.passed[0].len, &k, &s), FTT_PARSED_UDP);
	CHECK_EQ(k.sport, 7001);
	give(&b, datagram(4, true, 7001, "on", 2), true, true, now);
	CHECK_EQ(ftt_parse(b.passed[1].bytes, b.passed[1].len, b.passed[1].len, &k, &s), FTT_PARSED_UDP);
	CHECK_EQ(k.dport, 9009);
	end_pair();
}

/* A server that is silent after the takeover gets them all the same; a new partner changes nothing. */
static void test_after_a_takeover_time_goes_on(uint32_t mode)
{
	uint64_t now = 1000 * MS;

	lose_the_primary(12, now);
	role(&b, mode);
	client_says("more", now);
	ftt_udp_tick(&b.worker, now + WAIT - 1);
	CHECK_EQ(b.n_emitted, 1);
	CHECK_EQ(b.worker.udp.waiting, 1);
	ftt_udp_tick(&b.worker, now += WAIT);
	CHECK_EQ(b.n_emitted, 9);
	ftt_udp_tick(&b.worker, now += WAIT);
	CHECK_EQ(b.n_emitted, 13); /* what came last waits for nobody */
	says(&b.emitted[12], "more");
	CHECK_EQ(b.worker.udp.waiting, 0);
	end_pair();
}

/* What the backup held behind a gap was not acknowledged, and makes room. */
static void test_after_a_takeover_a_gap_is_forgotten(void)
{
	uint64_t now = 1000 * MS;

	begin_order();
	converse(3, now);
	ask(&p, now);
	answer(&p, now);
	CHECK_EQ(lose(&p, FTT_REC_EVENT), 1);
	ask(&p, now);
	hear(&p, &b, FTT_REC_EVENT, now);
	CHECK_EQ(only(&b)->events, 3);
	CHECK_EQ(only(&b)->n_events, 3); /* two that wait, one behind the gap */
	new_role(&b, FTT_MODE_SOLO);
	CHECK(ftt_udp_rest(&b.worker, 1, now));
	CHECK_EQ(only(&b)->n_events, 2);
	client_says("more", now);
	client_says("still more", now);
	CHECK_EQ(only(&b)->n_events, 4);
	for (unsigned i = 0; i < 3; i++)
		answer(&b, now);
	CHECK_EQ(b.n_emitted, 5);
	says(&b.emitted[3], "more");
	says(&b.emitted[4], "still more");
	CHECK_EQ(only(&b)->bytes, 0);
	CHECK(!only(&b)->ring);
	end_pair();
}

/* Without a lease nothing goes out, and nothing is left that later would; the server is counted all the same. */
static void test_a_takeover_without_a_lease(void)
{
	uint64_t now = 1000 * MS;

	begin_order();
	ask(&p, now);
	answer(&p, now);
	ask(&p, now);
	hear(&p, &b, FTT_REC_EVENT, now);
	answer(&b, now); /* kept: the primary did not say that it had sent it */
	ask(&p, now);
	answer(&p, now);
	ask(&p, now);
	hear(&p, &b, FTT_REC_EVENT, now);
	CHECK_EQ(b.n_emitted, 3);
	new_role(&b, FTT_MODE_SOLO);
	lease(&b, false);
	CHECK(ftt_udp_rest(&b.worker, 1, now));
	CHECK(!only(&b)->replies);
	answer(&b, now);
	CHECK_EQ(b.n_passed, 0);
	CHECK_EQ(b.worker.n.drop_lease, 1);
	CHECK_EQ(b.n_emitted, 4);
	lease(&b, true);
	role(&b, FTT_MODE_PAIRED);
	ftt_udp_tick(&b.worker, now + WAIT);
	CHECK_EQ(b.worker.held_now, 0);
	CHECK_EQ(b.worker.udp.waiting, 0);
	end_pair();
}

/* What cannot wait is lost, as on a network, and counted; what the stack would drop, it drops. */
static void test_what_cannot_wait_is_counted(void)
{
	uint64_t now = 1000 * MS;
	struct packet bad = datagram(4, true, SERVER, "bad", 3);

	lose_the_primary(5, now);
	put_be16(bad.bytes + bad.l4 + 6, get_be16(bad.bytes + bad.l4 + 6) ^ 0x5555);
	give(&b, bad, true, true, now);
	CHECK_EQ(b.n_passed, 1);
	CHECK_EQ(b.worker.n.pass_malformed, 1);
	b.engine.cfg.max_udp_bytes = only(&b)->bytes + 3;
	client_says("four", now);
	CHECK_EQ(b.worker.n.drop_bound, 1);
	client_says("abc", now);
	CHECK_EQ(b.worker.n.drop_bound, 1);
	CHECK_EQ(only(&b)->bytes, b.engine.cfg.max_udp_bytes);
	b.engine.cfg.max_udp_bytes = 1 << 20;
	while (only(&b)->events - only(&b)->acked < FTT_UDP_WINDOW) {
		b.n_dropped = 0;
		client_says("abc", now);
	}
	CHECK_EQ(b.worker.n.drop_bound, 1);
	client_says("abc", now);
	CHECK_EQ(b.worker.n.drop_bound, 2);
	end_pair();
}

int main(void)
{
	test_the_backup_waits_for_its_server_but_not_for_ever();
	test_a_slow_server_is_not_flooded();
	test_a_reply_that_is_missing_for_good_is_waited_for_once();
	test_a_server_that_is_far_behind_holds_the_primary();
	test_a_lost_word_of_the_backup_is_asked_for(true);
	test_a_lost_word_of_the_backup_is_asked_for(false);
	test_a_server_that_stands_still_costs_the_session_its_backup(0, 0);
	test_a_server_that_stands_still_costs_the_session_its_backup(20 * MS, 0);
	test_a_server_that_stands_still_costs_the_session_its_backup(0, 1000 * MS);
	test_a_slow_server_is_given_few_large_datagrams();
	test_a_server_that_answers_less_does_not_slow_the_primary();
	test_an_early_datagram_is_not_for_a_port_without_a_server();
	test_a_takeover_keeps_the_order();
	test_after_a_takeover_a_missing_reply_holds_nothing_back();
	test_after_a_takeover_a_port_is_still_told_apart();
	test_after_a_takeover_time_goes_on(FTT_MODE_SOLO);
	test_after_a_takeover_time_goes_on(FTT_MODE_PAIRED);
	test_after_a_takeover_a_gap_is_forgotten();
	test_a_takeover_without_a_lease();
	test_what_cannot_wait_is_counted();
	return 0;
}
