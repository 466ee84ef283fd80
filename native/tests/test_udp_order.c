/* SPDX-License-Identifier: Apache-2.0 */
/* In which order, and when, the backup's server is given what the primary's has had. */
#define _GNU_SOURCE
#include <string.h>
#include "udp_rig.h"

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


/* The stack found no server at the port to which the client spoke last. */
static void nobody(struct node *n)
{
	struct packet k = datagram(4, true, SERVER, "ask", 3);
	struct ftt_pkt pkt;
	struct ftt_seg seg;

	CHECK_EQ(ftt_parse(k.bytes, k.len, k.len, &pkt, &seg), FTT_PARSED_UDP);
	ftt_udp_backup_nobody(&n->worker, &pkt);
}

/* Where the primary's server has more to say: at once, or when that is known. */
static void test_a_session_that_our_server_gave_up_is_not_followed(bool known)
{
	uint64_t now = 1000 * MS;

	begin_order();
	converse(3, now);
	answer(&b, now);
	answer(&b, now);
	CHECK_EQ(b.worker.udp.n, 1);
	if (!known) {
		answer(&b, now); /* as much as the primary's */
		nobody(&b);
		CHECK_EQ(b.worker.udp.n, 1);
		answer(&b, now); /* somebody speaks: it was another port */
		ask(&p, now);
		hear(&p, &b, FTT_REC_EVENT, now);
		answer(&p, now);
		answer(&p, now);
		CHECK_EQ(b.worker.udp.n, 1);
		nobody(&b);
		CHECK_EQ(b.worker.udp.n, 1);
		ask(&p, now);
		hear(&p, &b, FTT_REC_EVENT, now);
	} else {
		ask(&p, now);
		hear(&p, &b, FTT_REC_EVENT, now);
		CHECK_EQ(b.worker.udp.n, 1);
		nobody(&b);
	}
	CHECK_EQ(b.worker.udp.n, 0);
	CHECK_EQ(hear(&b, &p, FTT_REC_DETACHED, now), 1);
	CHECK_EQ(p.n_detached, 1);
	CHECK_EQ(p.why, FTT_WHY_REFUSED);
	CHECK_EQ(p.worker.held_now, 0); /* what waited for it leaves */
	end_pair();
}

/* A server has given one port up, and is only slow at another. */
static void test_a_port_that_nobody_has_says_nothing_of_others(void)
{
	const uint64_t now = 1000 * MS;
	struct packet k = datagram(4, true, SERVER + 1, "ask", 3);
	struct ftt_pkt pkt;
	struct ftt_seg seg;

	begin_order();
	converse(3, now);
	for (int i = 0; i < 3; i++)
		answer(&b, now);
	CHECK_EQ(ftt_parse(k.bytes, k.len, k.len, &pkt, &seg), FTT_PARSED_UDP);
	ftt_udp_backup_nobody(&b.worker, &pkt);
	answer(&p, now);
	ask(&p, now);
	hear(&p, &b, FTT_REC_EVENT, now);
	CHECK_EQ(b.worker.udp.n, 1);
	nobody(&b);
	CHECK_EQ(b.worker.udp.n, 0);
	end_pair();
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
	CHECK_EQ(only(&b)->s.missing, 8);
	ask(&p, now);
	hear(&p, &b, FTT_REC_EVENT, now);
	CHECK_EQ(b.n_emitted, 15);
	CHECK_EQ(only(&b)->s.missing, 0); /* it has caught up */
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
		CHECK_EQ(only(&b)->s.missing, 1);
	}
	end_pair();
}

/* Before the backup can hold no more, the primary's replies wait: a client that waits for them asks for no more. */
static void fall_behind(uint64_t now)
{
	begin_order();
	p.engine.cfg.policy.max_held = 200;
	converse(200, now);
	CHECK_EQ(only(&p)->s.acked, 200);
	CHECK_EQ(only(&p)->s.granted, 1 + FTT_UDP_WINDOW / 2);
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
		CHECK_EQ(only(&p)->s.granted, 1 + i + FTT_UDP_WINDOW / 2 < 200 ? 1 + i + FTT_UDP_WINDOW / 2 : 200);
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
	CHECK_EQ(only(&p)->s.protection, known ? FTT_PROTECTED : FTT_DETACHING);
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
	p.engine.cfg.policy.max_udp_bytes = b.engine.cfg.policy.max_udp_bytes = 1 << 20;
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
	p.engine.cfg.policy.max_held = 400;
	for (uint64_t next = now; now < last && (!p.worker.udp.n || only(&p)->s.protection == FTT_PROTECTED); now += 2 * MS) {
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
	CHECK_EQ(only(&p)->s.protection, FTT_DETACHED);
	CHECK_EQ(only(&p)->s.reason, FTT_WHY_OUTPUT_LAG);
	CHECK_EQ(p.n_detached, 1);
	CHECK_EQ(b.worker.udp.n, 0);
	CHECK_EQ(p.worker.held_now, 0);
	CHECK(now < 1000 * MS + 2 * b.engine.cfg.policy.detach_after_ns);
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
	CHECK_EQ(only(&p)->s.protection, FTT_PROTECTED);
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

int main(void)
{
	test_the_backup_waits_for_its_server_but_not_for_ever();
	test_a_session_that_our_server_gave_up_is_not_followed(false);
	test_a_session_that_our_server_gave_up_is_not_followed(true);
	test_a_port_that_nobody_has_says_nothing_of_others();
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
	return 0;
}
