/* SPDX-License-Identifier: Apache-2.0 */
/* UDP sessions that a new backup catches up with: order, ports, what waits meanwhile, what ends it, bounds. */
#define _GNU_SOURCE
#include <string.h>
#include "core/udp/renew.h"
#include "engine/flows/udp_renew.h"
#include "udp_rig.h"

#define OWN 2000 /* a port of a server's own choice: OWN of the one, OWN + 1 of the other */

static uint64_t now;

static void tick(struct node *n)
{
	now += 2 * MS;
	ftt_udp_renew_tick(&n->worker, now);
	ftt_udp_renew_pump(&n->worker, now);
	ftt_udp_tick(&n->worker, now);
}

/* p serves alone, and has had `questions`, each answered. */
static void alone(unsigned questions)
{
	now = 1000 * MS;
	begin_order();
	renewals();
	p.engine.cfg.policy.compare = b.engine.cfg.policy.compare = 1;
	role(&p, FTT_MODE_SOLO);
	for (unsigned i = 0; i < questions; i++) {
		p.n_passed = 0; /* the rig keeps a few only */
		ask(&p, now);
		answer(&p, now);
	}
	CHECK_EQ(only(&p)->s.protection, FTT_UNPROTECTED);
}

/* b comes, as a backup that knows nothing. */
static void join(void)
{
	role(&p, FTT_MODE_PAIRED);
	p.lane_up = b.lane_up = true;
	CHECK_EQ(ftt_udp_renew_find(&p.worker), 1);
	tick(&p);
}

static uint8_t protection(struct node *n)
{
	return only(n)->s.protection;
}

/* All is heard, and b's server answers, until nothing moves. */
static unsigned catch_up(unsigned questions)
{
	unsigned given = 0;

	for (int rounds = 0; rounds < 200 && given < questions; rounds++) {
		uint32_t had;

		hear_lane(&p, &b, now);
		while ((had = b.n_emitted)) { /* each answer lets it have the next */
			given += had;
			b.n_emitted = 0;
			for (; had; had--)
				answer(&b, now);
		}
		tick(&b);
		hear(&b, &p, FTT_REC_EVENT_ACK, now);
		tick(&p);
	}
	return given;
}

static void meet(void)
{
	for (int rounds = 0; rounds < 10; rounds++) {
		hear_lane(&p, &b, now);
		hear(&p, &b, FTT_REC_SENT, now);
		tick(&b);
		hear(&b, &p, FTT_REC_EVENT_ACK, now);
		tick(&p);
	}
}

static void renewed(unsigned questions)
{
	alone(questions);
	join();
	CHECK_EQ(catch_up(questions), questions);
	meet();
	CHECK_EQ(protection(&p), FTT_PROTECTED);
	CHECK_EQ(protection(&b), FTT_PROTECTED);
	CHECK_EQ(p.worker.udp.n_renewed + b.worker.udp.n_renewed, 0);
	CHECK_EQ(p.worker.n.renewed, 1);
	CHECK_EQ(b.worker.n.divergences, 0);
	CHECK(b.worker.n.compared_blocks > 0);
}

static void test_a_new_backup_is_given_all_and_follows(void)
{
	renewed(500);
	p.n_passed = b.n_passed = 0;
	ask(&p, now); /* as any protected one: the answer waits */
	CHECK_EQ(p.n_passed, 1);
	answer(&p, now);
	CHECK_EQ(p.n_passed, 1);
	hear(&p, &b, FTT_REC_EVENT, now);
	CHECK_EQ(b.n_emitted, 1);
	hear(&b, &p, FTT_REC_EVENT_ACK, now);
	CHECK_EQ(p.n_passed, 2);
	CHECK_EQ(only(&p)->s.events, 501);
	CHECK_EQ(only(&b)->s.events, 501);
	CHECK_EQ(only(&b)->log->len, only(&p)->log->len);
	CHECK(!memcmp(only(&b)->log->bytes, only(&p)->log->bytes, only(&p)->log->len));
	end_pair();
}

/* No reply leaves between `all` and the answer, and none is lost. */
static void test_replies_wait_until_the_backup_has_all(void)
{
	alone(3);
	join();
	CHECK_EQ(catch_up(3), 3); /* what is near is asked at once */
	hear(&b, &p, FTT_REC_EVENT_ACK, now);
	tick(&p);
	CHECK_EQ(protection(&p), FTT_OPENING);
	CHECK_EQ(protection(&b), FTT_CATCHING_UP);
	p.n_passed = 0;
	answer(&p, now); /* without a question */
	ask(&p, now);
	answer(&p, now);
	CHECK_EQ(p.n_passed, 1); /* the question */
	CHECK_EQ(p.n_dropped, 0);
	hear(&p, &b, FTT_REC_EVENT, now); /* it overtakes the lane: the backup does not say that it follows */
	CHECK(hear(&b, &p, FTT_REC_EVENT_ACK, now) >= 1);
	CHECK_EQ(protection(&p), FTT_OPENING);
	CHECK_EQ(p.n_passed, 1);
	CHECK_EQ(hear_lane(&p, &b, now), 1);
	CHECK_EQ(protection(&b), FTT_PROTECTED);
	CHECK_EQ(only(&b)->s.events, 4);
	hear(&b, &p, FTT_REC_EVENT_ACK, now);
	CHECK_EQ(protection(&p), FTT_PROTECTED);
	CHECK_EQ(p.n_passed, 3);
	end_pair();
}

/* Its word is lost: the primary asks until it has it. */
static void test_the_primary_asks_again(void)
{
	alone(1);
	join();
	CHECK_EQ(catch_up(1), 1);
	tick(&p);
	hear_lane(&p, &b, now);
	lose(&b, FTT_REC_EVENT_ACK);
	CHECK_EQ(protection(&p), FTT_OPENING);
	now += 6 * MS;
	tick(&p);
	CHECK(hear(&p, &b, FTT_REC_SENT, now) >= 1);
	hear(&b, &p, FTT_REC_EVENT_ACK, now);
	CHECK_EQ(protection(&p), FTT_PROTECTED);
	end_pair();
}

/* A backup that takes over before it has all knows nothing of the session; the primary's is as before. */
static void test_who_has_not_all_knows_nothing(void)
{
	alone(2);
	join();
	hear_lane(&p, &b, now);
	CHECK_EQ(protection(&b), FTT_CATCHING_UP);
	b.n_emitted = 0;
	ftt_udp_renew_role(&b.worker);
	new_role(&b, FTT_MODE_SOLO);
	CHECK(ftt_udp_rest(&b.worker, 8, now));
	CHECK_EQ(b.worker.udp.n, 0);
	CHECK_EQ(b.n_emitted, 0);
	ftt_udp_renew_role(&p.worker);
	new_role(&p, FTT_MODE_SOLO);
	CHECK(ftt_udp_rest(&p.worker, 8, now));
	CHECK_EQ(protection(&p), FTT_UNPROTECTED);
	p.n_passed = 0;
	ask(&p, now);
	answer(&p, now);
	CHECK_EQ(p.n_passed, 2);
	end_pair();
}

/* A third life: the backup takes over, and has a new backup, that is given the same. */
static void test_who_took_over_is_renewed_as_well(void)
{
	uint8_t first[4096];
	uint32_t len;

	renewed(20);
	len = only(&p)->log->len;
	memcpy(first, only(&p)->log->bytes, len);
	ftt_udp_renew_role(&b.worker);
	new_role(&b, FTT_MODE_SOLO);
	CHECK(ftt_udp_rest(&b.worker, 8, now));
	ftt_udp_forget_all(&p.worker); /* its host is begun anew */
	p.worker.udp.role++;
	role(&p, FTT_MODE_BACKUP);
	p.said_len = b.said_len = p.lane_len = b.lane_len = p.n_emitted = b.n_emitted = 0;
	b.n_passed = 0;
	ask(&b, now);
	answer(&b, now);
	CHECK_EQ(b.n_passed, 2);
	role(&b, FTT_MODE_PAIRED);
	CHECK_EQ(ftt_udp_renew_find(&b.worker), 1);
	for (int rounds = 0; rounds < 30; rounds++) {
		tick(&b);
		hear_lane(&b, &p, now);
		hear(&b, &p, FTT_REC_SENT, now);
		while (p.n_emitted) {
			p.n_emitted--;
			answer(&p, now);
		}
		tick(&p);
		hear(&p, &b, FTT_REC_EVENT_ACK, now);
	}
	CHECK_EQ(protection(&b), FTT_PROTECTED);
	CHECK_EQ(protection(&p), FTT_PROTECTED);
	CHECK_EQ(only(&p)->s.outputs, 21);
	CHECK(!memcmp(only(&p)->log->bytes, first, len));
	CHECK_EQ(p.worker.n.divergences, 0);
	end_pair();
}

static void says_from(struct node *n, uint16_t port)
{
	give(n, datagram(4, false, port, "answer", 6), false, true, now);
}

/* b, whose server's port is another than the client's, has a new backup: both directions are translated, held or not. */
static void third_life(void)
{
	ftt_udp_forget_all(&p.worker); /* its host is begun anew */
	role(&p, FTT_MODE_BACKUP);
	p.said_len = b.said_len = p.lane_len = p.n_emitted = b.n_emitted = b.n_passed = 0;
	role(&b, FTT_MODE_PAIRED);
	CHECK_EQ(ftt_udp_renew_find(&b.worker), 1);
	tick(&b);
	hear_lane(&b, &p, now);
	answer(&p, now);
	for (int i = 0; i < 3; i++) /* as often as b's has spoken from it */
		says_from(&p, OWN + 2);
	for (int rounds = 0; rounds < 5; rounds++) {
		tick(&p);
		hear(&p, &b, FTT_REC_EVENT_ACK, now);
		tick(&b);
		hear_lane(&b, &p, now);
	}
	CHECK_EQ(protection(&b), FTT_PROTECTED);
	CHECK_EQ(protection(&p), FTT_PROTECTED);
	give(&b, datagram(4, true, OWN, "held", 4), true, true, now);
	CHECK_EQ(b.n_passed, 1);
	CHECK_EQ(get_be16(b.passed[0].bytes + 22), OWN + 1);
	says_from(&b, OWN + 1);
	CHECK_EQ(b.n_passed, 1);
	p.n_emitted = 0;
	hear(&b, &p, FTT_REC_EVENT, now);
	CHECK_EQ(get_be16(p.emitted[0].bytes + 22), OWN + 2);
	hear(&p, &b, FTT_REC_EVENT_ACK, now);
	CHECK_EQ(b.n_passed, 2);
	CHECK_EQ(get_be16(b.passed[1].bytes + 20), OWN);
}

/* A port of the server's own choice, that appeared while it served alone, is the client's port on the new backup as well. */
static void test_ports_are_told_apart(void)
{
	const struct packet *k;

	alone(1);
	says_from(&p, OWN);
	give(&p, datagram(4, true, OWN, "more", 4), true, true, now);
	CHECK_EQ(only(&p)->s.events, 3);
	join();
	hear_lane(&p, &b, now);
	CHECK_EQ(b.n_emitted, 1); /* "ask" */
	answer(&b, now);
	CHECK_EQ(b.n_emitted, 1); /* two answers first, and one from that port */
	says_from(&b, OWN + 1);
	CHECK_EQ(b.n_emitted, 2);
	k = &b.emitted[1];
	CHECK_EQ(get_be16(k->bytes + k->l4 + 2), OWN + 1);
	CHECK(!memcmp(k->bytes + k->l4 + 8, "more", 4));
	tick(&b);
	hear(&b, &p, FTT_REC_EVENT_ACK, now);
	meet();
	CHECK_EQ(protection(&p), FTT_PROTECTED);
	b.n_passed = 0;
	new_role(&b, FTT_MODE_SOLO);
	CHECK(ftt_udp_rest(&b.worker, 8, now));
	says_from(&b, OWN + 1);
	CHECK_EQ(b.n_passed, 1);
	CHECK_EQ(get_be16(b.passed[0].bytes + 20), OWN);
	says_from(&b, OWN + 1);
	CHECK_EQ(b.n_passed, 2);
	third_life();
	end_pair();
}

/* A server that says nothing is not given more at once than its socket holds. */
static void test_a_silent_server_gets_some_at_a_time(void)
{
	now = 1000 * MS;
	begin_order();
	renewals();
	role(&p, FTT_MODE_SOLO);
	for (unsigned i = 0; i < 12; i++)
		ask(&p, now);
	join();
	hear_lane(&p, &b, now);
	CHECK_EQ(b.n_emitted, FTT_UDP_BURST);
	ftt_udp_tick(&b.worker, now);
	CHECK_EQ(b.n_emitted, FTT_UDP_BURST);
	tick(&b);
	CHECK_EQ(b.n_emitted, 12);
	end_pair();
}

/* What was said twice by a timer, long ago, is waited for for a moment, and then not compared. */
static void test_a_reply_that_does_not_come_again(void)
{
	alone(1);
	answer(&p, now); /* once more */
	ask(&p, now);
	join();
	hear_lane(&p, &b, now);
	CHECK_EQ(b.n_emitted, 1);
	answer(&b, now);
	tick(&b);
	CHECK_EQ(b.n_emitted, 1);
	now += WAIT;
	tick(&b);
	CHECK_EQ(b.n_emitted, 2);
	hear(&b, &p, FTT_REC_EVENT_ACK, now);
	tick(&p);
	meet();
	CHECK_EQ(protection(&p), FTT_PROTECTED);
	CHECK_EQ(b.worker.n.divergences, 0);
	end_pair();
}

static void test_other_replies_are_seen(void)
{
	alone(1);
	join();
	hear_lane(&p, &b, now);
	give(&b, datagram(4, false, SERVER, "ANSWER", 6), false, true, now);
	CHECK_EQ(b.worker.n.divergences, 1);
	CHECK_EQ(b.worker.udp.n, 1); /* which the policy allows */
	end_pair();

	alone(1);
	b.engine.cfg.policy.detach_divergent = 1;
	join();
	hear_lane(&p, &b, now);
	give(&b, datagram(4, false, SERVER, "ANSWER", 6), false, true, now);
	CHECK_EQ(b.worker.udp.n, 0);
	CHECK_EQ(hear(&b, &p, FTT_REC_DETACHED, now), 1);
	CHECK_EQ(only(&p)->unrenewable, FTT_NOT_REPEATED);
	end_pair();
}

/* The lane is lost: nothing is believed of what it may have carried, and the next one brings all. */
static void test_a_lane_that_is_lost(void)
{
	alone(3);
	join();
	hear_lane(&p, &b, now);
	ftt_udp_renew_cut(&b.worker);
	ftt_udp_renew_cut(&p.worker);
	CHECK_EQ(b.worker.udp.n, 0);
	CHECK_EQ(protection(&p), FTT_UNPROTECTED);
	b.n_emitted = 0;
	join();
	CHECK_EQ(catch_up(3), 3);
	tick(&p);
	CHECK_EQ(protection(&p), FTT_OPENING); /* now `all` is lost with the lane, which the primary cannot know */
	ftt_udp_renew_cut(&b.worker);
	ftt_udp_renew_cut(&p.worker);
	p.lane_len = 0;
	CHECK_EQ(protection(&p), FTT_DETACHING);
	p.said_len = b.said_len = 0;
	now += 5 * MS;
	tick(&p);
	CHECK_EQ(hear(&p, &b, FTT_REC_DETACH, now), 1);
	CHECK_EQ(hear(&b, &p, FTT_REC_DETACHED, now), 1);
	CHECK_EQ(protection(&p), FTT_DETACHED);
	CHECK_EQ(ftt_udp_renew_find(&p.worker), 1);
	tick(&p);
	CHECK_EQ(catch_up(3), 3);
	meet();
	CHECK_EQ(protection(&p), FTT_PROTECTED);
	end_pair();
}

/* Beyond a bound it is not renewable, and is served as ever; on either node. */
static void test_bounds(void)
{
	alone(1);
	p.engine.cfg.policy.renew_flow = 64;
	for (int i = 0; i < 4; i++)
		ask(&p, now);
	CHECK_EQ(p.n_passed, 6);
	CHECK_EQ(only(&p)->unrenewable, FTT_LOG_TOO_LONG);
	CHECK(!only(&p)->log);
	role(&p, FTT_MODE_PAIRED);
	CHECK_EQ(ftt_udp_renew_find(&p.worker), 0);
	end_pair();

	alone(8);
	b.engine.cfg.policy.renew_flow = 64;
	join();
	hear_lane(&p, &b, now);
	CHECK_EQ(b.worker.udp.n, 0);
	CHECK_EQ(hear(&b, &p, FTT_REC_DETACHED, now), 1);
	CHECK_EQ(protection(&p), FTT_UNPROTECTED);
	CHECK_EQ(p.worker.n.renewals_failed, 1);
	CHECK_EQ(p.worker.udp.n_renewed, 0);
	end_pair();
}

/* A server that does not get on is not waited for for ever. */
static void test_a_backup_that_does_not_get_on(void)
{
	alone(200);
	join();
	hear_lane(&p, &b, now);
	now += 11000 * MS;
	tick(&p);
	CHECK_EQ(protection(&p), FTT_UNPROTECTED);
	CHECK_EQ(p.worker.n.renewals_failed, 1);
	CHECK(p.dropped);
	CHECK_EQ(only(&p)->unrenewable, FTT_NOT_IN_TIME);
	CHECK_EQ(hear(&p, &b, FTT_REC_DETACH, now), 1);
	CHECK_EQ(hear(&b, &p, FTT_REC_DETACHED, now), 1);
	CHECK_EQ(b.worker.udp.n, 0);
	CHECK(hear(&p, &b, FTT_REC_DETACH, now) > 0); /* the answer to what b said before it heard */
	b.n_emitted = 0;
	CHECK_EQ(ftt_udp_renew_find(&p.worker), 1); /* its log was kept: it is tried again */
	tick(&p);
	CHECK(hear(&b, &p, FTT_REC_DETACHED, now) > 0); /* that is about the attempt before */
	CHECK(protection(&p) == FTT_CATCHING_UP && p.worker.n.records_late > 0);
	CHECK_EQ(catch_up(200), 200);
	meet();
	CHECK_EQ(protection(&p), FTT_PROTECTED);
	CHECK_EQ(only(&p)->unrenewable, FTT_RENEWABLE);
	end_pair();
}

static void test_messages_that_are_none(void)
{
	struct ftt_record head = {.type = FTT_REC_SENT, .key.proto = 17, .flags = FTT_REC_ALL};
	uint8_t bytes[256] = {0};
	uint32_t len;

	alone(1);
	join();
	head.key = only(&p)->key;
	len = (uint32_t)ftt_record_put(bytes, sizeof(bytes), &head);
	CHECK_EQ(ftt_udp_renew_message(&b.worker, 0, bytes, len, now), FTT_LANE_TAKEN); /* of a session that is not known */
	CHECK_EQ(b.worker.udp.n, 0);
	CHECK_EQ(ftt_udp_renew_message(&b.worker, 0, bytes, len - 1, now), FTT_LANE_BAD);
	CHECK_EQ(ftt_udp_renew_message(&b.worker, 0, bytes, len + 9, now), FTT_LANE_BAD);
	bytes[len + 8] = 2; /* flags of an event */
	CHECK_EQ(ftt_udp_renew_message(&b.worker, 0, bytes, len + 10, now), FTT_LANE_BAD);
	head.key.proto = 6;
	len = (uint32_t)ftt_record_put(bytes, sizeof(bytes), &head);
	CHECK_EQ(ftt_udp_renew_message(&b.worker, 0, bytes, len, now), FTT_LANE_BAD);
	end_pair();
}

int main(void)
{
	test_a_new_backup_is_given_all_and_follows();
	test_replies_wait_until_the_backup_has_all();
	test_the_primary_asks_again();
	test_who_has_not_all_knows_nothing();
	test_who_took_over_is_renewed_as_well();
	test_ports_are_told_apart();
	test_a_silent_server_gets_some_at_a_time();
	test_a_reply_that_does_not_come_again();
	test_other_replies_are_seen();
	test_a_lane_that_is_lost();
	test_bounds();
	test_a_backup_that_does_not_get_on();
	test_messages_that_are_none();
	return 0;
}
