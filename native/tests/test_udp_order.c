/* SPDX-License-Identifier: Apache-2.0 */
/* In which order, and when, the backup's server is given what the primary's has had, also after a takeover. */
#define _GNU_SOURCE
#include <string.h>
#include "udp_rig.h"

#define WAIT (100 * MS) /* for replies that may never come */

/* The backup's server gets a datagram when it has answered as often as the primary's had, or after 100 ms. */
static void test_the_backup_waits_for_its_server_but_not_for_ever(void)
{
	uint64_t now = 1000 * MS;

	begin_pair();
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
		ask(&p, now);
		answer(&p, now);
	}
	hear(&p, &b, FTT_REC_EVENT, now);
	hear(&b, &p, FTT_REC_EVENT_ACK, now);
	hear(&p, &b, FTT_REC_SENT, now);
}

/* A server that does not run is given one datagram more in each 100 ms, not all that have come: its socket holds only so many. */
static void test_a_slow_server_is_not_flooded(void)
{
	uint64_t now = 1000 * MS;

	begin_pair();
	converse(6, now);
	CHECK_EQ(b.n_emitted, 1);
	ftt_udp_tick(&b.worker, now += WAIT);
	CHECK_EQ(b.n_emitted, 2);
	ftt_udp_tick(&b.worker, now + WAIT - 1);
	CHECK_EQ(b.n_emitted, 2);
	ftt_udp_tick(&b.worker, now += WAIT);
	CHECK_EQ(b.n_emitted, 3);
	for (uint32_t answers = 1; answers <= 6; answers++) { /* it runs again */
		answer(&b, now);
		CHECK_EQ(b.n_emitted, answers < 3 ? 3 + answers : 6);
	}
	CHECK_EQ(only(&b)->missing, 2);
	ask(&p, now);
	hear(&p, &b, FTT_REC_EVENT, now);
	CHECK_EQ(b.n_emitted, 7);
	CHECK_EQ(only(&b)->missing, 0); /* it has caught up */
	answer(&p, now);
	ask(&p, now);
	hear(&p, &b, FTT_REC_EVENT, now);
	CHECK_EQ(b.n_emitted, 7); /* and is waited for as ever */
	answer(&b, now);
	CHECK_EQ(b.n_emitted, 8);
	end_pair();
}

/* The primary's server has repeated itself, ours has not: for that reply we wait once. */
static void test_a_reply_that_is_missing_for_good_is_waited_for_once(void)
{
	uint64_t now = 1000 * MS;

	begin_pair();
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
static void test_a_server_that_is_far_behind_holds_the_primary(void)
{
	uint64_t now = 1000 * MS;

	begin_pair();
	p.engine.cfg.max_held = 200;
	for (uint32_t i = 1; i <= 200; i++) {
		p.n_passed = 0; /* the rig keeps a few only */
		converse(1, now);
		CHECK_EQ(only(&p)->acked, i < 1 + FTT_UDP_WINDOW / 2 ? i : 1 + FTT_UDP_WINDOW / 2);
	}
	CHECK_EQ(p.worker.held_now, 200 - 1 - FTT_UDP_WINDOW / 2);
	for (uint32_t i = 1; i <= 199; i++) {
		p.n_passed = b.n_emitted = b.n_dropped = 0;
		answer(&b, now);
		CHECK_EQ(b.n_emitted, 1);
		hear(&b, &p, FTT_REC_EVENT_ACK, now);
		CHECK_EQ(only(&p)->acked, 1 + i + FTT_UDP_WINDOW / 2 < 200 ? 1 + i + FTT_UDP_WINDOW / 2 : 200);
	}
	CHECK_EQ(p.worker.held_now, 0);
	CHECK_EQ(p.worker.n.drop_bound, 0);
	end_pair();
}

/* A backup whose server never answers falls behind until it is let go, which is told: not a takeover is to show it. */
static void test_a_server_that_stands_still_costs_the_session_its_backup(void)
{
	uint64_t now = 1000 * MS;

	begin_pair();
	for (unsigned i = 0; i < 2 * FTT_UDP_WINDOW; i++, now += 10 * MS) {
		p.n_passed = p.n_dropped = b.n_emitted = 0; /* the rig keeps a few only */
		ask(&p, now);
		answer(&p, now);
		ftt_udp_tick(&p.worker, now);
		hear(&p, &b, FTT_REC_EVENT, now);
		ftt_udp_tick(&b.worker, now);
		hear(&b, &p, FTT_REC_EVENT_ACK, now);
	}
	CHECK_EQ(only(&p)->protection, FTT_DETACHED);
	CHECK_EQ(only(&p)->reason, FTT_WHY_COMMIT_LAG);
	CHECK_EQ(p.n_detached, 1);
	CHECK_EQ(b.worker.udp.n, 0);
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

/* Five questions, of which the backup's server has had one, and answered none; then the primary is lost. */
static void lose_the_primary(uint64_t now)
{
	begin_pair();
	converse(5, now);
	new_role(&b, FTT_MODE_SOLO);
	CHECK(ftt_udp_rest(&b.worker, 1, now));
	CHECK_EQ(b.n_emitted, 1);
}

/* The order goes on: each question comes after the answers that came before it, what the client says now at the end. */
static void test_a_takeover_keeps_the_order(void)
{
	uint64_t now = 1000 * MS;

	lose_the_primary(now);
	client_says("more", now);
	CHECK_EQ(b.n_emitted, 1);
	CHECK_EQ(b.n_passed, 0);
	for (uint32_t answers = 1; answers <= 4; answers++) {
		answer(&b, now);
		CHECK_EQ(b.n_passed, answers); /* to the client, who asked again or has it already */
		CHECK_EQ(b.n_emitted, answers < 4 ? answers + 1 : 6);
	}
	says(&b.emitted[4], "ask");
	says(&b.emitted[5], "more");
	CHECK(!b.to_client[4] && !b.to_client[5]);
	client_says("directly", now);
	CHECK_EQ(b.n_emitted, 6);
	CHECK_EQ(b.n_passed, 5);
	CHECK_EQ(only(&b)->bytes, 0);
	ftt_udp_tick(&b.worker, now);
	CHECK_EQ(b.worker.udp.waiting, 0);
	end_pair();
}

/* A server that is silent after the takeover gets them all the same; a new partner changes nothing. */
static void test_after_a_takeover_time_goes_on(uint32_t mode)
{
	uint64_t now = 1000 * MS;

	lose_the_primary(now);
	role(&b, mode);
	client_says("more", now);
	for (uint32_t emitted = 2; emitted <= 6; emitted++) {
		ftt_udp_tick(&b.worker, now + WAIT - 1);
		CHECK_EQ(b.n_emitted, emitted - 1);
		CHECK_EQ(b.worker.udp.waiting, 1);
		now += WAIT;
		ftt_udp_tick(&b.worker, now);
		CHECK_EQ(b.n_emitted, emitted < 5 ? emitted : 6); /* what came last waits for nobody */
		if (b.n_emitted == 6)
			break;
	}
	CHECK_EQ(b.worker.udp.waiting, 0);
	end_pair();
}

/* What cannot wait is lost, as on a network, and counted; what the stack would drop, it drops. */
static void test_what_cannot_wait_is_counted(void)
{
	uint64_t now = 1000 * MS;
	struct packet bad = datagram(4, true, SERVER, "bad", 3);

	lose_the_primary(now);
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
	test_a_server_that_stands_still_costs_the_session_its_backup();
	test_a_takeover_keeps_the_order();
	test_after_a_takeover_time_goes_on(FTT_MODE_SOLO);
	test_after_a_takeover_time_goes_on(FTT_MODE_PAIRED);
	test_what_cannot_wait_is_counted();
	return 0;
}
