/* SPDX-License-Identifier: Apache-2.0 */
/* UDP sessions after a takeover: the order goes on, ports are told apart, what the client has is not said again. */
#define _GNU_SOURCE
#include <string.h>
#include "udp_rig.h"

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
	CHECK_EQ(only(&b)->s.sent, 3);
	answer(&b, now); /* ... two here */
	answer(&b, now);
	ask(&p, now);
	hear(&p, &b, FTT_REC_EVENT, now);
	ftt_udp_tick(&b.worker, now + WAIT);
	CHECK_EQ(only(&b)->s.missing, 1);
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

/* The client asks, both servers answer, and the client has the answer. */
static void answered_question(uint64_t now)
{
	ask(&p, now);
	hear(&p, &b, FTT_REC_EVENT, now);
	answer(&b, now);
	hear(&b, &p, FTT_REC_EVENT_ACK, now);
	answer(&p, now);
	hear(&p, &b, FTT_REC_SENT, now);
}

static void take_over(uint64_t now)
{
	new_role(&b, FTT_MODE_SOLO);
	CHECK(ftt_udp_rest(&b.worker, 10, now));
}

/* The client has the last reply; what it said then died with the primary. `first`: the backup's server was quicker. */
static void test_the_last_reply_is_said_again(bool first)
{
	uint64_t now = 1000 * MS;

	begin_order();
	for (int i = 0; i < 2; i++) {
		ask(&p, now);
		hear(&p, &b, FTT_REC_EVENT, now);
		hear(&b, &p, FTT_REC_EVENT_ACK, now);
		if (first)
			answer(&b, now);
		answer(&p, now);
		hear(&p, &b, FTT_REC_SENT, now);
		if (!first)
			answer(&b, now);
	}
	CHECK(only(&b)->last);
	b.n_emitted = 0;
	take_over(now + 900 * MS);
	CHECK_EQ(b.n_emitted, 1);
	CHECK(b.to_client[0]);
	says(&b.emitted[0], "answer");
	CHECK_EQ(b.worker.n.udp_said_again, 1);
	CHECK(!only(&b)->last);
	take_over(now + 900 * MS); /* once */
	CHECK_EQ(b.n_emitted, 1);
	end_pair();
}

/* Not one that the client has answered, nor an old one; and who has another one to give gives that. */
static void test_no_other_reply_is_said_again(void)
{
	uint64_t now = 1000 * MS;

	for (int answered = 0; answered < 2; answered++) {
		begin_order();
		answered_question(now);
		if (answered) {
			ask(&p, now);
			hear(&p, &b, FTT_REC_EVENT, now);
		}
		b.n_emitted = 0;
		take_over(answered ? now : now + 1001 * MS);
		CHECK_EQ(b.n_emitted, 0);
		end_pair();
	}
	begin_order();
	answered_question(now);
	answer(&b, now);
	b.n_emitted = 0;
	take_over(now);
	CHECK_EQ(b.n_emitted, 1);
	CHECK_EQ(b.worker.n.udp_said_again, 0);
	CHECK_EQ(b.worker.n.udp_retained_released, 1);
	end_pair();
}

/* The primary told of the last reply, and our server gives it only now. */
static void test_the_last_reply_is_owed(bool goes_on, bool fresh)
{
	uint64_t now = 1000 * MS;

	begin_order();
	for (int i = 0; i < (fresh ? 2 : 1); i++) { /* else one that has waited is given early */
		ask(&p, now);
		hear(&p, &b, FTT_REC_EVENT, now);
		hear(&b, &p, FTT_REC_EVENT_ACK, now);
		answer(&p, now);
		hear(&p, &b, FTT_REC_SENT, now);
	}
	now += fresh ? 0 : 1001 * MS;
	take_over(now);
	if (goes_on) /* its question waits for our server's answers, so its place is behind them */
		client_says("more", now);
	if (fresh)
		answer(&b, now);
	CHECK_EQ(b.n_passed, 0);
	answer(&b, now);
	CHECK_EQ(b.n_passed, fresh && !goes_on);
	CHECK_EQ(b.worker.n.udp_said_again, fresh && !goes_on);
	answer(&b, now);
	CHECK_EQ(b.n_passed, 1 + (fresh && !goes_on));
	end_pair();
}

/* Idle sessions keep no payload. */
static void test_an_idle_session_keeps_no_reply(void)
{
	uint64_t now = 1000 * MS;

	begin_order();
	answered_question(now);
	ftt_udp_sweep(&b.worker, now + 1000 * MS);
	CHECK(only(&b)->last);
	ftt_udp_sweep(&b.worker, now + 1001 * MS);
	CHECK(!only(&b)->last);
	CHECK(ftt_list_empty(&b.worker.udp.fresh));
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
	CHECK_EQ(only(&b)->s.events, 3);
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
	CHECK_EQ(b.worker.n.drop_lease, 2); /* what was kept, and the answer */
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
	b.engine.cfg.policy.max_udp_bytes = only(&b)->bytes + 3;
	client_says("four", now);
	CHECK_EQ(b.worker.n.drop_bound, 1);
	client_says("abc", now);
	CHECK_EQ(b.worker.n.drop_bound, 1);
	CHECK_EQ(only(&b)->bytes, b.engine.cfg.policy.max_udp_bytes);
	b.engine.cfg.policy.max_udp_bytes = 1 << 20;
	while (only(&b)->s.events - only(&b)->s.acked < FTT_UDP_WINDOW) {
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
	test_a_takeover_keeps_the_order();
	test_the_last_reply_is_said_again(true);
	test_the_last_reply_is_said_again(false);
	test_no_other_reply_is_said_again();
	test_the_last_reply_is_owed(false, true);
	test_the_last_reply_is_owed(true, true);
	test_the_last_reply_is_owed(false, false);
	test_an_idle_session_keeps_no_reply();
	test_after_a_takeover_a_missing_reply_holds_nothing_back();
	test_after_a_takeover_a_port_is_still_told_apart();
	test_after_a_takeover_time_goes_on(FTT_MODE_SOLO);
	test_after_a_takeover_time_goes_on(FTT_MODE_PAIRED);
	test_after_a_takeover_a_gap_is_forgotten();
	test_a_takeover_without_a_lease();
	test_what_cannot_wait_is_counted();
	return 0;
}
