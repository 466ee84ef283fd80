/* SPDX-License-Identifier: Apache-2.0 */
/* What clients say to the wrong node while the service changes hands: the new owner's server has it, once. */
#define _GNU_SOURCE
#include <string.h>
#include "udp_rig.h"

static const uint64_t now = 1000 * MS;

/* The engine has the role, the worker not yet. */
static void expect_role(struct node *n, uint32_t mode)
{
	atomic_store(&n->engine.shared.mode, mode);
}

static void take_role(struct node *n, uint32_t mode)
{
	new_role(n, mode);
	CHECK(ftt_udp_rest(&n->worker, UINT32_MAX, now));
	ftt_udp_strays(&n->worker, now);
}

static void begin_change(unsigned questions)
{
	begin_order();
	converse(questions, now);
	for (unsigned i = 0; i < questions; i++)
		answer(&b, now);
	p.n_passed = p.n_dropped = b.n_emitted = b.n_passed = b.n_dropped = 0;
}

static void is_question(const struct packet *k)
{
	CHECK_EQ(k->len, k->l4 + 8 + 3);
	CHECK(!memcmp(k->bytes + k->l4 + 8, "ask", 3));
}

/* `questions` before it, in the same session. */
static void test_what_comes_to_the_old_owner_goes_to_the_new_one(unsigned questions)
{
	begin_change(questions);
	take_role(&b, FTT_MODE_SOLO);
	b.n_emitted = 0; /* the last reply was said again */
	take_role(&p, FTT_MODE_IDLE);
	ask(&p, now);
	CHECK_EQ(p.n_passed, 0);
	CHECK_EQ(p.n_dropped, 1);
	CHECK_EQ(hear(&p, &b, FTT_REC_STRAY, now), 1);
	CHECK_EQ(b.n_emitted, 1);
	CHECK(!b.to_client[0]);
	is_question(&b.emitted[0]);
	answer(&b, now);
	CHECK_EQ(b.n_passed, 1);
	CHECK_EQ(b.worker.n.udp_strays_taken, 1);
	CHECK_EQ(p.worker.n.udp_strays_sent, 1);
	end_pair();
}

/* ... also if that is in step with a new backup, whose server is to have it, too. */
static void test_a_stray_is_numbered_for_a_backup(void)
{
	begin_change(0);
	take_role(&b, FTT_MODE_PAIRED);
	take_role(&p, FTT_MODE_BACKUP);
	ask(&p, now);
	CHECK_EQ(hear(&p, &b, FTT_REC_STRAY, now), 1);
	CHECK_EQ(b.n_emitted, 1);
	CHECK_EQ(hear(&b, &p, FTT_REC_EVENT, now), 1);
	CHECK_EQ(p.n_emitted, 1);
	is_question(&p.emitted[0]);
	end_pair();
}

static void test_what_comes_before_the_role_waits_for_it(void)
{
	begin_change(1);
	take_role(&p, FTT_MODE_IDLE);
	expect_role(&b, FTT_MODE_SOLO);
	ask(&p, now);                       /* it comes to the old owner ... */
	ask(&b, now);                       /* ... and to the new one */
	CHECK_EQ(hear(&p, &b, FTT_REC_STRAY, now), 1);
	CHECK_EQ(b.n_emitted, 0);
	CHECK_EQ(b.said_len, 0);
	take_role(&b, FTT_MODE_SOLO);
	CHECK_EQ(b.n_emitted, 3);
	CHECK(b.to_client[0]); /* the last reply, said again */
	is_question(&b.emitted[1]);
	is_question(&b.emitted[2]);
	CHECK_EQ(b.worker.udp.n_strays, 0);
	end_pair();
}

/* The old owner's gate is shut, and it does not know of the new one yet: what it numbers arrives late. */
static void test_an_event_under_way_is_no_loss(unsigned questions)
{
	begin_change(questions);
	lease(&p, false);
	ask(&p, now);
	take_role(&b, FTT_MODE_SOLO);
	b.n_emitted = 0;
	CHECK_EQ(hear(&p, &b, FTT_REC_EVENT, now), 1);
	CHECK_EQ(b.n_emitted, 1);
	is_question(&b.emitted[0]);
	ftt_udp_tick(&p.worker, now + 100 * MS); /* it would be given twice */
	CHECK_EQ(lose(&p, FTT_REC_EVENT), 0);
	lease(&p, true); /* nobody took it: it goes on */
	ftt_udp_tick(&p.worker, now + 100 * MS);
	CHECK_EQ(lose(&p, FTT_REC_EVENT), 1);
	end_pair();
}

static void test_an_event_that_was_followed_is_not_given_again(void)
{
	begin_change(1);
	lease(&p, false);
	ask(&p, now);
	memcpy(b.said, p.said, p.said_len); /* the network doubles it */
	b.said_len = p.said_len;
	CHECK_EQ(hear(&p, &b, FTT_REC_EVENT, now), 1);
	CHECK_EQ(b.n_emitted, 1);
	take_role(&b, FTT_MODE_SOLO);
	for (size_t len = b.said_len; len; len = 0) {
		struct ftt_record r;

		for (size_t at = 0, used; at < len && (used = ftt_record_get(b.said + at, len - at, &r)); at += used)
			if (r.type == FTT_REC_EVENT)
				ftt_udp_record(&b.worker, &r, 0, now);
	}
	CHECK_EQ(b.n_emitted, 1);
	CHECK_EQ(b.worker.n.channel_stale, 1);
	end_pair();
}

static void test_who_does_not_serve_sends_nothing_on(uint32_t mode)
{
	begin_change(0);
	role(&b, mode);
	role(&p, FTT_MODE_IDLE);
	ask(&p, now);
	CHECK_EQ(hear(&p, &b, FTT_REC_STRAY, now), 1);
	CHECK_EQ(b.said_len, 0);
	CHECK_EQ(b.n_emitted, 0);
	ftt_udp_sweep(&b.worker, now + 101 * MS);
	CHECK_EQ(b.worker.n.channel_stale + b.worker.n.drop_mode, 1);
	CHECK_EQ(b.worker.udp.n_strays, 0);
	end_pair();
}

/* A session that nobody follows has no events: what its client says to a shut gate is for the next owner. */
static void test_what_is_not_followed_waits_for_the_next_owner(void)
{
	begin_change(1);
	ftt_session_alone(&only(&p)->s, false);
	ftt_udp_update(&p.worker.udp, only(&p));
	lease(&p, false);
	ask(&p, now);
	CHECK_EQ(p.n_passed, 0);
	CHECK_EQ(hear(&p, &b, FTT_REC_STRAY, now), 1);
	CHECK_EQ(b.n_emitted, 0);
	ftt_udp_drop_last(only(&b));
	take_role(&b, FTT_MODE_SOLO);
	CHECK_EQ(b.n_emitted, 1);
	is_question(&b.emitted[0]);
	end_pair();
}

static void part(uint32_t number, uint32_t total, uint32_t offset, uint32_t len)
{
	static const uint8_t bytes[FTT_PART_MAX];
	struct ftt_record r = {.type = FTT_REC_STRAY, .number = number, .port = SERVER, .total = total, .offset = offset,
			       .data = bytes, .data_len = len};

	r.key.proto = 17;
	r.key.remote[10] = r.key.remote[11] = r.key.local[10] = r.key.local[11] = 0xff;
	r.key.remote_port = 5;
	ftt_udp_record(&b.worker, &r, 0, now);
}

/* One that is longer than a record is given when all of it is there; what never gets whole is forgotten. */
static void test_a_long_one_is_put_together(void)
{
	begin_change(0);
	take_role(&b, FTT_MODE_SOLO);
	part(1, FTT_PART_MAX + 9, 0, FTT_PART_MAX);
	part(2, FTT_PART_MAX + 9, FTT_PART_MAX, 9);
	part(2, FTT_PART_MAX + 9, 7, 9); /* no such part */
	CHECK_EQ(b.worker.n.udp_strays_taken, 0);
	part(1, FTT_PART_MAX + 9, FTT_PART_MAX, 9);
	CHECK_EQ(b.worker.n.udp_strays_taken, 1);
	CHECK_EQ(b.emitted[0].len, 20 + 8 + FTT_PART_MAX + 9);
	CHECK_EQ(b.worker.udp.n_strays, 1);
	ftt_udp_sweep(&b.worker, now + 101 * MS);
	CHECK_EQ(b.worker.udp.n_strays, 0);
	end_pair();
}

static void test_what_is_kept_is_bounded(void)
{
	begin_change(0);
	expect_role(&b, FTT_MODE_SOLO);
	for (unsigned i = 0; i < 300; i++)
		ask(&b, now);
	CHECK_EQ(b.worker.udp.n_strays, 256);
	CHECK_EQ(b.worker.n.drop_bound, 44);
	end_pair(); /* all is freed */
}

/* What is older than the 100 ms for which one is kept is given to nobody, though no sweep has come by. */
static void test_an_old_one_is_not_given(void)
{
	begin_change(0);
	expect_role(&b, FTT_MODE_SOLO);
	ask(&b, now);
	CHECK_EQ(b.worker.udp.n_strays, 1);
	new_role(&b, FTT_MODE_SOLO);
	CHECK(ftt_udp_rest(&b.worker, UINT32_MAX, now));
	ftt_udp_strays(&b.worker, now + 101 * MS);
	CHECK_EQ(b.n_emitted, 0);
	CHECK_EQ(b.worker.udp.n_strays, 0);
	CHECK_EQ(b.worker.n.drop_mode, 1);
	end_pair();
}

static void test_a_flood_is_not_sent_on(void)
{
	begin_change(0);
	role(&p, FTT_MODE_IDLE);
	p.cut = true;
	ask(&p, now);
	CHECK_EQ(p.worker.n.udp_strays_sent, 0); /* it did not leave */
	p.cut = false;
	for (unsigned i = 0; i < 600; i++, p.said_len = 0)
		ask(&p, now);
	CHECK_EQ(p.worker.n.udp_strays_sent, 511);
	CHECK_EQ(p.worker.n.drop_bound, 89);
	ask(&p, now + 10 * MS);
	CHECK_EQ(p.worker.n.udp_strays_sent, 512);
	end_pair();
}

int main(void)
{
	test_an_old_one_is_not_given();
	test_a_flood_is_not_sent_on();
	test_what_comes_to_the_old_owner_goes_to_the_new_one(0);
	test_what_comes_to_the_old_owner_goes_to_the_new_one(2);
	test_a_stray_is_numbered_for_a_backup();
	test_what_comes_before_the_role_waits_for_it();
	test_an_event_under_way_is_no_loss(0);
	test_an_event_under_way_is_no_loss(2);
	test_an_event_that_was_followed_is_not_given_again();
	test_who_does_not_serve_sends_nothing_on(FTT_MODE_BACKUP);
	test_who_does_not_serve_sends_nothing_on(FTT_MODE_IDLE);
	test_what_is_not_followed_waits_for_the_next_owner();
	test_a_long_one_is_put_together();
	test_what_is_kept_is_bounded();
	return 0;
}
