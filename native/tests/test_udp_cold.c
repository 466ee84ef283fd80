/* SPDX-License-Identifier: Apache-2.0 */
/* UDP sessions of a backup that runs no server: kept, renewed, given to a server that starts, and taken over. */
#define _GNU_SOURCE
#include <string.h>
#include "core/udp/renew.h"
#include "engine/flows/udp_cold.h"
#include "engine/flows/udp_renew.h"
#include "udp_rig.h"

static uint64_t now;

static void begin_cold(void)
{
	now = 1000 * MS;
	begin_order();
	renewals();
	p.engine.cfg.policy.cold = b.engine.cfg.policy.cold = 1;
	p.engine.cfg.policy.compare = b.engine.cfg.policy.compare = 1;
}

/* So many questions, each answered, of which the cold backup hears. */
static void talk(unsigned questions)
{
	begin_cold();
	converse(questions, now);
	CHECK_EQ(b.n_emitted, 0);
	CHECK_EQ(only(&b)->s.protection, FTT_PROTECTED);
	CHECK_EQ(only(&b)->s.sent, questions);
}

static void promote(bool again)
{
	b.worker.promoting = true;
	ftt_udp_promote(&b.worker, again, now);
	CHECK(!ftt_udp_is_promoted(&b.worker, now));
	ftt_udp_tick(&b.worker, now);
}

static void take_over(void)
{
	b.worker.promoting = false;
	new_role(&b, FTT_MODE_SOLO);
	CHECK(ftt_udp_rest(&b.worker, 8, now));
}

/* What the primary says waits for no server, and the backup has nothing but its log. */
static void test_nothing_waits_for_a_server(void)
{
	begin_cold();
	ask(&p, now);
	answer(&p, now);
	CHECK_EQ(p.n_passed, 1); /* the question */
	hear(&p, &b, FTT_REC_EVENT, now);
	CHECK_EQ(hear(&b, &p, FTT_REC_EVENT_ACK, now), 1);
	CHECK_EQ(p.n_passed, 2);
	for (int i = 0; i < 500; i++) { /* more than a server may be behind */
		p.n_passed = 0;
		converse(1, now);
		CHECK_EQ(p.n_passed, 2);
	}
	now += 10000 * MS;
	ftt_udp_tick(&b.worker, now);
	CHECK_EQ(b.n_emitted, 0);
	CHECK(only(&b)->bytes == 0 && !only(&b)->ring && !b.worker.udp.waiting);
	CHECK_EQ(only(&b)->s.events, 501);
	CHECK_EQ(only(&b)->log->len, only(&p)->log->len);
	CHECK(!memcmp(only(&b)->log->bytes, only(&p)->log->bytes, only(&p)->log->len));
	end_pair();
}

/* Each question after the answer to the one before; none of these leaves; then the session goes on. */
static void test_a_server_is_told_everything(void)
{
	talk(20);
	promote(false);
	for (unsigned i = 1; i <= 20; i++) {
		CHECK_EQ(only(&b)->s.protection, i < 20 ? FTT_CATCHING_UP : FTT_PROTECTED);
		CHECK_EQ(b.n_emitted, 1);
		b.n_emitted = 0;
		answer(&b, now);
	}
	CHECK(ftt_udp_is_promoted(&b.worker, now));
	CHECK_EQ(b.worker.n.renewed, 1);
	CHECK(b.worker.n.compared_blocks == 1 && !b.worker.n.divergences);
	take_over();
	CHECK_EQ(b.n_passed + b.n_emitted, 1); /* the last answer is fresh, and said again */
	b.n_passed = b.n_emitted = 0;
	ask(&b, now);
	answer(&b, now);
	CHECK_EQ(b.n_passed, 2);
	CHECK_EQ(only(&b)->s.events, 21);
	CHECK_EQ(only(&b)->log->len, 21 * (FTT_NOTED_HEADER + 3));
	end_pair();
}

/* It died before it had all: another one is told everything again. */
static void test_a_second_server_is_told_again(void)
{
	talk(3);
	promote(false);
	b.n_emitted = 0;
	answer(&b, now);
	CHECK_EQ(b.n_emitted, 1);
	b.n_emitted = 0;
	promote(true);
	for (int i = 0; i < 3; i++) {
		CHECK_EQ(b.n_emitted, 1);
		b.n_emitted = 0;
		answer(&b, now);
	}
	CHECK(ftt_udp_is_promoted(&b.worker, now));
	CHECK_EQ(b.worker.n.divergences, 0);
	end_pair();
}

/* A server that says otherwise is seen where the primary's word of it ends. */
static void test_another_answer_is_seen(void)
{
	talk(2);
	promote(false);
	answer(&b, now);
	CHECK_EQ(b.worker.n.divergences, 0);
	give(&b, datagram(4, false, SERVER, "ANSWER", 6), false, true, now);
	CHECK_EQ(b.worker.n.divergences, 1);
	end_pair();
}

/* One that says nothing is given a few now and then, and the others wait for it no longer than they must. */
static void test_a_silent_server(void)
{
	talk(200);
	promote(false);
	CHECK_EQ(b.n_emitted, 1);
	b.n_emitted = 0;
	now += 3000 * MS;
	ftt_udp_tick(&b.worker, now);
	CHECK(b.n_emitted && b.n_emitted <= FTT_UDP_EARLY);
	CHECK(!ftt_udp_is_promoted(&b.worker, now));
	CHECK_EQ(b.worker.udp.n, 1);
	now += 8000 * MS;
	CHECK(ftt_udp_is_promoted(&b.worker, now));
	take_over();
	CHECK_EQ(b.worker.udp.n, 0);
	end_pair();
}

static void talk_as(uint16_t client)
{
	p.n_passed = 0;
	ask_as(&p, client, now);
	answer_to(&p, client, now);
	hear(&p, &b, FTT_REC_EVENT, now);
	hear(&b, &p, FTT_REC_EVENT_ACK, now);
	hear(&p, &b, FTT_REC_SENT, now);
}

/* The gate waits for those alone whose clients spoke last; the others are told of after it, some at a time. */
static void test_who_rests_is_told_of_later(void)
{
	begin_cold();
	for (uint16_t client = 1; client <= 12; client++)
		talk_as(client);
	now += 3000 * MS;
	talk_as(99);
	talk_as(99);
	promote(false);
	CHECK_EQ(b.worker.udp.count[FTT_CATCHING_UP], 1);
	CHECK_EQ(b.n_emitted, FTT_UDP_AT_ONCE);
	CHECK_EQ(get_be16(b.emitted[0].bytes + 20), 99);
	answer_to(&b, 99, now);
	answer_to(&b, 99, now);
	CHECK(ftt_udp_is_promoted(&b.worker, now));
	b.worker.promoting = false;
	new_role(&b, FTT_MODE_SOLO);
	CHECK(ftt_udp_rest(&b.worker, 20, now));
	CHECK_EQ(b.worker.udp.n, 13);
	b.n_emitted = b.n_passed = 0;
	ask_as(&b, 1, now); /* the one that rested longest: it is told of now */
	ftt_udp_tick(&b.worker, now);
	CHECK(b.n_emitted >= 1);
	for (uint16_t client = 1; client <= 12; client++) {
		b.n_passed = b.n_emitted = 0;
		answer_to(&b, client, now);
		CHECK_EQ(b.n_passed, 0); /* its client has that */
		ftt_udp_tick(&b.worker, now);
	}
	answer_to(&b, 1, now);
	CHECK_EQ(b.n_passed, 1);
	CHECK_EQ(b.worker.udp.waiting, 0);
	end_pair();
}

/* A new cold backup has the log, which is all. */
static void test_a_cold_backup_catches_up(void)
{
	begin_cold();
	role(&p, FTT_MODE_SOLO);
	for (int i = 0; i < 300; i++) {
		p.n_passed = 0;
		ask(&p, now);
		answer(&p, now);
	}
	role(&p, FTT_MODE_PAIRED);
	p.lane_up = b.lane_up = true;
	CHECK_EQ(ftt_udp_renew_find(&p.worker), 1);
	for (int rounds = 0; rounds < 5; rounds++) {
		now += 2 * MS;
		ftt_udp_renew_pump(&p.worker, now);
		ftt_udp_tick(&p.worker, now);
		hear_lane(&p, &b, now);
		ftt_udp_renew_tick(&b.worker, now);
		hear(&b, &p, FTT_REC_EVENT_ACK, now);
	}
	CHECK_EQ(only(&p)->s.protection, FTT_PROTECTED);
	CHECK_EQ(only(&b)->s.protection, FTT_PROTECTED);
	CHECK_EQ(b.n_emitted, 0);
	converse(1, now);
	CHECK_EQ(only(&b)->s.events, 301);
	promote(false);
	CHECK_EQ(b.n_emitted, 1);
	end_pair();
}

/* What its log has no room for is not followed, and the primary says why. */
static void test_a_log_without_room(void)
{
	begin_cold();
	b.engine.cfg.policy.renew_flow = 40;
	converse(3, now);
	CHECK_EQ(only(&b)->s.events, 3);
	p.n_passed = 0;
	ask(&p, now);
	answer(&p, now);
	hear(&p, &b, FTT_REC_EVENT, now);
	CHECK_EQ(hear(&b, &p, FTT_REC_DETACHED, now), 1);
	CHECK_EQ(b.worker.udp.n, 0);
	CHECK(only(&p)->s.protection == FTT_DETACHED && only(&p)->s.reason == FTT_WHY_BOUND);
	CHECK_EQ(p.n_passed, 2);
	end_pair();
}

/* A part of an event is no session that a server could be told of. */
static void test_what_was_never_whole(void)
{
	struct ftt_record r = {.type = FTT_REC_EVENT, .key.proto = 17, .irs = 7, .number = 1, .total = FTT_PART_MAX + 1};
	static const uint8_t part[FTT_PART_MAX];

	begin_cold();
	b.engine.cfg.policy.renew_bytes = 1; /* nor is there room for a log */
	b.engine.cfg.policy.max_udp_bytes = 1 << 20;
	ftt_part_cut(&r, part);
	ftt_udp_record(&b.worker, &r, 0, now);
	CHECK_EQ(b.worker.udp.n, 1);
	b.worker.promoting = true;
	ftt_udp_promote(&b.worker, false, now);
	CHECK(!b.worker.udp.n && ftt_udp_is_promoted(&b.worker, now));
	end_pair();
}

/* A warm group: nothing is protected before the first checkpoint, and what is older than the last one not any more. */
static void test_a_checkpoint(void)
{
	talk(2);
	ftt_udp_checkpoint(&p.worker, now);
	CHECK(only(&p)->s.protection == FTT_DETACHING && only(&p)->unrenewable == FTT_BEFORE_CHECKPOINT);
	ftt_udp_checkpoint(&b.worker, now);
	CHECK_EQ(b.worker.udp.n, 0);
	CHECK_EQ(hear(&b, &p, FTT_REC_DETACHED, now), 1);
	CHECK(only(&p)->s.protection == FTT_DETACHED && only(&p)->s.reason == FTT_WHY_BEFORE_CHECKPOINT);
	role(&p, FTT_MODE_PAIRED);
	CHECK_EQ(ftt_udp_renew_find(&p.worker), 0);
	end_pair();

	talk(1); /* the backup has heard of a checkpoint that began later */
	ftt_udp_checkpoint(&b.worker, now);
	hear(&b, &p, FTT_REC_DETACHED, now);
	CHECK_EQ(only(&p)->s.reason, FTT_WHY_BEFORE_CHECKPOINT);
	end_pair();

	begin_cold();
	p.engine.cfg.policy.warm = 1;
	ask(&p, now);
	CHECK(only(&p)->s.protection == FTT_UNPROTECTED && only(&p)->s.reason == FTT_WHY_BEFORE_CHECKPOINT);
	end_pair();
}

int main(void)
{
	test_nothing_waits_for_a_server();
	test_a_server_is_told_everything();
	test_a_second_server_is_told_again();
	test_another_answer_is_seen();
	test_a_silent_server();
	test_who_rests_is_told_of_later();
	test_a_cold_backup_catches_up();
	test_a_log_without_room();
	test_what_was_never_whole();
	test_a_checkpoint();
	return 0;
}
