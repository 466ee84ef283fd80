/* SPDX-License-Identifier: Apache-2.0 */
/* test_order.c - order = "service": no client has output that the backup's server has not given. */
#include "flows.h"

static void make_ordered(struct ftt_flow *f, const struct ends *x)
{
	make_primary(f, x, MS);
	f->bits |= FTT_F_SERVICE; /* as OPEN is sent */
}

/* The backup's server has said so much. */
static uint32_t said(struct ftt_flow *f, const struct ends *x, uint32_t out)
{
	struct ftt_record r = commit_of(x, 0, 5000, out);

	return ftt_primary_record(f, &r, at(2 * MS));
}

static void test_output_waits_until_it_is_said_on_both(const struct ends *x)
{
	struct arrival first = from_primary(x, TCP_ACK, 0, 0, 100), second = from_primary(x, TCP_ACK, 100, 0, 50);
	struct ftt_flow f;

	make_ordered(&f, x);
	CHECK_EQ(step(&f, first, MS), FTT_HOLD);
	f.held_since_ns = MS; /* the engine's doing */
	said(&f, x, 99);
	CHECK_EQ(gate(&f, first, 2 * MS), FTT_HOLD);
	CHECK(said(&f, x, 100) & FTT_ACT_RELEASE);
	CHECK_EQ(gate(&f, first, 2 * MS), FTT_PASS);
	f.held_since_ns = 0;
	CHECK_EQ(step(&f, first, 3 * MS), FTT_PASS); /* again */
	CHECK_EQ(step(&f, from_primary(x, TCP_ACK, 100, 0, 0), 3 * MS), FTT_PASS); /* an acknowledgement */
	CHECK_EQ(step(&f, second, 3 * MS), FTT_HOLD);
	policy.eager = true;
	CHECK_EQ(gate(&f, second, 3 * MS), FTT_PASS);
	policy.eager = false;
	f.bits &= ~(uint32_t)FTT_F_SERVICE; /* the order of each flow */
	CHECK_EQ(gate(&f, second, 3 * MS), FTT_PASS);
}

static void test_who_has_no_backup_waits_for_nobody(void)
{
	struct arrival s = from_primary(&plain, TCP_ACK, 0, 0, 100);
	struct ftt_flow f;

	make_ordered(&f, &plain);
	CHECK_EQ(step(&f, s, MS), FTT_HOLD);
	CHECK(ftt_flow_solo(&f) & FTT_ACT_RELEASE);
	s.mode = FTT_MODE_SOLO;
	CHECK_EQ(gate(&f, s, 2 * MS), FTT_PASS);
	make_ordered(&f, &plain);
	ftt_flow_alone(&f, FTT_DETACHED, FTT_WHY_OUTPUT_LAG);
	CHECK_EQ(step(&f, from_primary(&plain, TCP_ACK, 0, 0, 100), MS), FTT_PASS);
}

/* Asked for soon, again and again, and not for ever. */
static void test_the_wait_is_bounded(void)
{
	struct ftt_flow f;
	uint32_t needed = 0;

	make_ordered(&f, &plain);
	CHECK_EQ(told_flags(&f, FTT_REC_PROBE), 0);
	CHECK_EQ(step(&f, from_primary(&plain, TCP_ACK, 0, 0, 100), 100 * MS), FTT_HOLD);
	f.held_since_ns = 100 * MS;
	for (uint64_t t = 100 * MS; t <= 2100 * MS; t += MS) {
		uint32_t actions = ftt_flow_tick(&f, at(t));

		CHECK(!actions || actions == FTT_ACT_PROBE);
		needed += actions && told_flags(&f, FTT_REC_PROBE) == FTT_REC_NEEDS;
	}
	CHECK(needed > 10);
	CHECK_EQ(ftt_flow_tick(&f, at(2100 * MS + 1)), FTT_ACT_DETACH);
	CHECK_EQ(f.reason, FTT_WHY_OUTPUT_LAG);
	CHECK_EQ(told_flags(&f, FTT_REC_PROBE), 0);
}

/* What waits for a COMMIT of the client's bytes waits for that first. */
static void test_input_that_is_not_committed_is_another_reason(void)
{
	struct ftt_flow f;

	make_ordered(&f, &plain);
	step(&f, of_client(&plain, FTT_MODE_PAIRED, 0, 0, 10), MS);
	CHECK_EQ(step(&f, from_primary(&plain, TCP_ACK, 0, 10, 100), MS), FTT_HOLD);
	f.held_since_ns = MS;
	CHECK_EQ(told_flags(&f, FTT_REC_PROBE), 0);
	CHECK_EQ(ftt_flow_tick(&f, at(3000 * MS)), FTT_ACT_DETACH);
	CHECK_EQ(f.reason, FTT_WHY_COMMIT_LAG);
}

static void test_both_nodes_agree_by_the_handshake(void)
{
	struct ftt_record open = record_of(&plain, FTT_REC_OPEN);
	struct ftt_flow f;

	make_ordered(&f, &plain);
	CHECK_EQ(told_flags(&f, FTT_REC_OPEN), FTT_REC_TS | FTT_REC_WSCALE | FTT_REC_SERVICE);
	ftt_flow_init(&f, plain.irs, MS);
	step(&f, syn_of(&plain, FTT_MODE_BACKUP), MS);
	step(&f, synack_of(&plain, FTT_MODE_BACKUP), MS);
	open.flags |= FTT_REC_SERVICE;
	CHECK_EQ(ftt_backup_open(&f, &open, at(MS)), FTT_ACT_OPENED);
	CHECK(f.bits & FTT_F_SERVICE);
	step(&f, from_backup(&plain, TCP_ACK, 0, 0, 100), MS); /* the primary waits for it */
	CHECK(edit.actions & FTT_ACT_COMMIT);
}

static uint32_t asked(struct ftt_flow *f, const struct ends *x, uint8_t flags, const struct ftt_retained *kept)
{
	struct ftt_record r = record_of(x, FTT_REC_PROBE);

	r.flags = flags;
	r.client_acked = f->client_acked;
	r.client_wnd = f->client_wnd;
	return ftt_backup_probe(f, &r, kept);
}

/* The backup's stack is acknowledged what the client cannot have yet, if it is at hand for the client. */
static void test_what_the_primary_needs_is_owed(const struct ends *x)
{
	struct ftt_retained kept = {.seq = x->service_iss + 1, .n = 99};
	struct ftt_flow f;

	make_backup(&f, x, MS);
	f.bits |= FTT_F_SERVICE;
	step(&f, from_backup(x, TCP_ACK, 0, 0, 100), MS);
	CHECK_EQ(asked(&f, x, FTT_REC_NEEDS, &kept) & FTT_ACT_INJECT, 0);
	kept.n = 100;
	CHECK_EQ(asked(&f, x, 0, &kept) & FTT_ACT_INJECT, 0);
	CHECK(!ftt_flow_owes(&f));
	CHECK(asked(&f, x, FTT_REC_NEEDS, &kept) & FTT_ACT_INJECT);
	CHECK_EQ(ftt_deliverable(&f, FTT_MODE_BACKUP), x->service_iss + 101);
	CHECK(ftt_flow_owes(&f));
	/* what the client says of its window the stack would take for old: it is told */
	step(&f, of_client(x, FTT_MODE_BACKUP, 0, 40, 0), MS);
	CHECK(edit.actions & FTT_ACT_INJECT);
	CHECK_EQ(ftt_deliverable(&f, FTT_MODE_BACKUP), x->service_iss + 101);
	step(&f, of_client(x, FTT_MODE_BACKUP, 0, 100, 0), MS);
	CHECK(!ftt_flow_owes(&f) && !(edit.actions & FTT_ACT_INJECT));
}

/* An end is not acknowledged before the client has: it has rules of its own. */
static void test_an_end_is_not_owed(void)
{
	struct ftt_retained kept = {.seq = plain.service_iss + 1, .n = 100};
	struct ftt_flow f;

	make_backup(&f, &plain, MS);
	step(&f, from_backup(&plain, TCP_ACK | TCP_FIN, 0, 0, 100), MS);
	CHECK(asked(&f, &plain, FTT_REC_NEEDS, &kept) & FTT_ACT_INJECT);
	CHECK_EQ(f.delivered_ack, plain.service_iss + 101);
	CHECK_EQ(asked(&f, &plain, FTT_REC_NEEDS, &kept) & FTT_ACT_INJECT, 0);
}

/* The old primary has said so much, so there was room for it, whatever this node has heard of the window. */
static void test_a_takeover_shows_the_room_that_there_was(void)
{
	struct ftt_flow f;

	make_backup(&f, &plain, MS);
	f.bits |= FTT_F_SUMS;
	f.client_wnd = 0;
	f.told = 1000;
	ftt_flow_takeover(&f, at(MS));
	CHECK(f.bits & FTT_F_UNVERIFIED);
	CHECK((ftt_client_window(&f, f.client_acked, f.client_wnd, f.client_acked) << f.hard.client_wscale) >= 1000);
}

/* What the client has acknowledged it had room for, be it less than a unit of its window, which is closed now. */
static void test_there_is_room_for_the_last_bytes(void)
{
	struct ftt_flow f;

	make_backup(&f, &plain, MS);
	f.hard.client_wscale = 10;
	f.client_acked += 424;
	CHECK_EQ(ftt_client_window(&f, f.client_acked, 0, f.client_acked - 424), 1);
	CHECK_EQ(ftt_client_window(&f, f.client_acked, 0, f.client_acked), 0);
	CHECK_EQ(ftt_client_window(&f, f.client_acked, 2, f.client_acked - 424), 3);
}

/* What waits has not been given to our stack: its time makes nothing older that waited before it. */
static void test_what_waits_is_not_older_for_what_came_later(void)
{
	struct arrival first = stamped(of_client(&plain, FTT_MODE_BACKUP, 100, 50, 100), 110, 0), second = first, third = first;
	struct ftt_flow f;

	second.seq -= 100; /* overtaken, */
	third.seq -= 100;  /* and said again */
	third.tsval += 10;
	make_backup(&f, &plain, MS);
	CHECK(step(&f, first, MS) == FTT_HOLD && step(&f, second, MS) == FTT_HOLD && step(&f, third, MS) == FTT_HOLD);
	CHECK_EQ(step(&f, from_backup(&plain, TCP_ACK, 0, 0, 50), 2 * MS), FTT_DROP);
	CHECK(held_step(&f, first, 2 * MS) == FTT_PASS && edit.taken);
	CHECK(held_step(&f, second, 2 * MS) == FTT_PASS && edit.taken);
	CHECK(held_step(&f, third, 2 * MS) == FTT_PASS && edit.taken);
	CHECK_EQ(f.ts_recent, 120);
}

int main(void)
{
	test_there_is_room_for_the_last_bytes();
	test_output_waits_until_it_is_said_on_both(&plain);
	test_output_waits_until_it_is_said_on_both(&wrapping);
	test_who_has_no_backup_waits_for_nobody();
	test_the_wait_is_bounded();
	test_input_that_is_not_committed_is_another_reason();
	test_both_nodes_agree_by_the_handshake();
	test_what_the_primary_needs_is_owed(&plain);
	test_what_the_primary_needs_is_owed(&wrapping);
	test_an_end_is_not_owed();
	test_a_takeover_shows_the_room_that_there_was();
	test_what_waits_is_not_older_for_what_came_later();
	return 0;
}
