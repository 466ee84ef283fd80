/* SPDX-License-Identifier: Apache-2.0 */
/* test_lockstep_clock.c - clocks, which follow from what a client says, and what is said again to another node's server. */
#define _GNU_SOURCE
#include "lockstep_side.h"

#define MS 1000000ll

static int64_t clock_of(struct side *s, const struct ftt_tcp *c, bool ahead, int64_t real_ns)
{
	struct ftt_ls_addresses who;
	struct ftt_ls_found found;
	int64_t ns = -1;

	ftt_ls_who(&who, &c->key);
	CHECK(ftt_ls_find(&s->e.lockstep, &who, &found));
	CHECK(ftt_ls_clock(&s->e.lockstep, &found, ahead, real_ns, &ns));
	return ns;
}

static void reads(struct side *s, const struct ftt_tcp *c, uint32_t n)
{
	atomic_fetch_add(&ftt_lockstep_row(&s->w, c)->consumed, n);
}

/* The connection was opened so long ago. */
static void lives(struct side *s, const struct ftt_tcp *c, uint64_t ms)
{
	ftt_lockstep_own(&s->w, c)->began_ns = ftt_now_ns() - ms * 1000000;
}

/* What the clock shows follows from what the client said and the server has read, whatever has come since. */
static void test_clock(void)
{
	static struct side p, b;
	static struct ftt_tcp at_p, at_b;
	int64_t opened, now, both[2];

	at_p.key = key_of(7);
	at_p.flow.hard.irs = at_b.flow.hard.irs = 0xffffff00; /* streams wrap, and so do ticks */
	begin(&p, 1);
	begin(&b, 2);
	at_p.flow.bits = at_b.flow.bits = FTT_F_TS;
	ftt_lockstep_begin(&p.w, &at_p, 0xfffffff0);
	tell(&p, &at_p, &b, &at_b);
	opened = ftt_lockstep_row(&p.w, &at_p)->origin.opened_ns;
	ftt_lockstep_row(&b.w, &at_b)->origin.ahead_ns = -100000 * MS; /* the backup's clock is 100 s fast */
	lives(&p, &at_p, 700);
	lives(&b, &at_b, 1600);
	now = opened + 1;
	CHECK_EQ(clock_of(&p, &at_p, false, now), opened);
	CHECK_EQ(clock_of(&b, &at_b, false, now + 100000 * MS), opened);
	said(&p, &at_p, 0, 500, 0xfffffff0 + 600);
	said(&b, &at_b, 0, 500, 0xfffffff0 + 600);
	said(&b, &at_b, 500, 100, 0xfffffff0 + 1700); /* here the next segment has come already */
	now = opened + 700 * MS;
	both[0] = clock_of(&p, &at_p, true, now);
	both[1] = clock_of(&b, &at_b, true, now + 100000 * MS + 900 * MS);
	CHECK_EQ(both[0], both[1]);
	CHECK_EQ(both[0], opened + 512 * MS);
	reads(&p, &at_p, 500);
	reads(&b, &at_b, 500);
	CHECK_EQ(clock_of(&p, &at_p, false, now), both[0]);
	CHECK_EQ(clock_of(&b, &at_b, false, now + 100000 * MS), both[0]);
	CHECK_EQ(clock_of(&b, &at_b, true, opened + 101700 * MS), opened + 1536 * MS);
	/* a copy, and a segment of the past, change nothing */
	said(&p, &at_p, 0, 500, 0xfffffff0 + 5000);
	said(&p, &at_p, 500, 100, 0xfffffff0 + 100);
	CHECK_EQ(clock_of(&p, &at_p, true, now), both[0]);
	/* bounds: it follows the real clock, and is not far ahead of it */
	CHECK_EQ(clock_of(&p, &at_p, true, opened + 10000 * MS), opened + 8000 * MS);
	lives(&p, &at_p, 99000);
	said(&p, &at_p, 600, 100, 0xfffffff0 + 100000);
	reads(&p, &at_p, 100);
	CHECK_EQ(clock_of(&p, &at_p, true, opened + 10000 * MS), opened + 11000 * MS);
	end(&p);
	end(&b);
}

/*
 * A client that has no timestamps, or counts in other units than milliseconds: its clock follows from when its bytes came, and not from
 * when a server reads them.
 */
static void test_clients_that_do_not_count(void)
{
	const struct { uint32_t bits, tick, said[3]; } as[] = {
		{0, 0, {0, 0, 0}},                                   /* none were offered */
		{0, 0x80001000, {0x80009000, 7, 0}},                 /* ... or our stack did not take them */
		{FTT_F_TS, 5, {5 + 700000, 5 + 3000000, 5 + 9000000}}, /* microseconds */
		{FTT_F_TS, 5, {5 + 7, 5 + 30, 5 + 90}},              /* hundredths of a second: once they are far off */
	};
	static const uint32_t came[] = {700, 3000, 9000};
	static struct side p, b;

	for (size_t i = 0; i < sizeof(as) / sizeof(*as); i++) {
		struct ftt_tcp at_p = {.key = key_of(7), .flow.bits = as[i].bits}, at_b = at_p;
		int64_t opened;

		begin(&p, 1);
		begin(&b, 2);
		ftt_lockstep_begin(&p.w, &at_p, as[i].tick);
		tell(&p, &at_p, &b, &at_b);
		opened = ftt_lockstep_own(&p.w, &at_p)->origin.opened_ns;
		for (uint32_t k = 0; k < 3; k++) {
			bool far = !as[i].bits || i == 2 || k;
			int64_t step = (far ? came[k] : as[i].said[k] - as[i].tick) >> FTT_LS_STEP_SHIFT;
			int64_t real = opened + (came[k] + 20) * MS, shown = opened + (step << FTT_LS_STEP_SHIFT) * MS;

			lives(&p, &at_p, came[k]);
			lives(&b, &at_b, came[k] + 2);
			said(&p, &at_p, 100 * k, 100, as[i].said[k]);
			said(&b, &at_b, 100 * k, 100, as[i].said[k]);
			CHECK_EQ(clock_of(&p, &at_p, true, real), shown);
			CHECK_EQ(clock_of(&b, &at_b, true, real + 1200 * MS), shown); /* its server comes later */
			reads(&p, &at_p, 100);
			reads(&b, &at_b, 100);
		}
		end(&p);
		end(&b);
	}
}

/* Who begins late counts from where the client is. */
static void test_ticks_that_were_agreed(void)
{
	static struct side b;
	struct ftt_tcp late = {.key = key_of(8), .flow = {.bits = FTT_F_TS, .client_tsval = 900000}};
	int64_t opened;

	begin(&b, 2);
	ftt_lockstep_ensure(&b.w, &late);
	opened = ftt_lockstep_own(&b.w, &late)->origin.opened_ns;
	said(&b, &late, 0, 100, 900300);
	CHECK_EQ(clock_of(&b, &late, true, opened), opened + 256 * MS);
	end(&b);
}

/* --- what is said again --------------------------------------------------------------------------- */

static uint8_t logged[1 << 16];
static struct ftt_log kept;

/* The client has said this, so long after its SYN; its server has read what it could. */
static void says(struct side *s, struct ftt_tcp *c, uint32_t at, uint32_t len, uint32_t ms, bool pushes)
{
	static const uint8_t bytes[1000];
	struct ftt_seg seg = {.seq = c->flow.hard.irs + 1 + at, .len = len, .tsval = ftt_lockstep_own(&s->w, c)->origin.tick + ms,
			      .flags = pushes ? TCP_PSH : 0};
	struct ftt_piece x = {.offset = at, .len = (uint16_t)len, .flags = pushes ? FTT_PIECE_PUSH : 0, .bytes = bytes};

	lives(s, c, ms);
	ftt_lockstep_input(&s->w, c, &seg);
	x.tsval = ftt_lockstep_tsval(&s->w, c, &seg);
	CHECK(ftt_log_fresh(&kept, &x) && kept.len + FTT_PIECE_HEADER + len <= sizeof(logged));
	CHECK(ftt_log_put(&kept, &x, true));
}

/* A minute later another node's server is told all of it again, piece by piece: it has the same clock and the same edges everywhere. */
static void test_replay(uint32_t bits)
{
	static struct side p, b;
	struct ftt_tcp at_p = {.key = key_of(7), .flow.bits = bits}, at_b = at_p;
	struct ftt_record r = {.type = FTT_REC_OPEN};
	uint32_t told = 0, end_of = 0;
	int64_t opened, late;

	kept = (struct ftt_log){.bytes = logged, .size = sizeof(logged), .reads = FTT_LOG_READS};
	at_p.log = at_b.log = &kept;
	begin(&p, 1);
	begin(&b, 2);
	ftt_lockstep_begin(&p.w, &at_p, 0x7fffff00);
	opened = ftt_lockstep_own(&p.w, &at_p)->origin.opened_ns;
	says(&p, &at_p, 0, 200, 100, true);
	says(&p, &at_p, 300, 100, 700, true); /* the one before was lost, */
	says(&p, &at_p, 200, 100, 1500, true); /* and comes now: of all of them the last one tells the time */
	for (uint32_t i = 0; i < 90; i++, end_of = 400 + 10 * i)
		says(&p, &at_p, 400 + 10 * i, 10, 1600 + 333 * i, i % 3);
	ftt_lockstep_tell(&p.w, &at_p, &r);
	r.age_ms = 60000;
	ftt_lockstep_again(&b.w, &at_b, &r);
	at_b.flow.bits |= FTT_F_SYNACK;
	ftt_lockstep_answered(&b.w, &at_b);
	late = opened; /* by its own clock, which is a minute slow */
	CHECK_EQ(clock_of(&b, &at_b, false, late), opened);
	CHECK_EQ(ftt_lockstep_age(&b.w, &at_b, ftt_now_ns()), 60000);
	for (uint32_t at = 0; at < end_of; at++) {
		const struct ftt_ls_row *here = ftt_lockstep_row(&b.w, &at_b);
		struct ftt_ls_row there = {0};
		struct ftt_ls_own own = {0};
		int64_t shown;

		/* as the first server read it, at once */
		for (uint32_t i = 0, n; i < kept.len; i += n) {
			struct ftt_piece x;

			n = ftt_piece_get(logged + i, kept.len - i, &x);
			ftt_ls_input(&own, &there, x.offset + x.len, x.tsval - 0x7fffff00, x.flags & FTT_PIECE_PUSH);
			if (ftt_ls_end_of(&own) > at && !(at >= 200 && at < 300 && x.offset != 200))
				break;
		}
		CHECK(ftt_lockstep_replay(&b.w, &at_b, &told, at + 1, false));
		there.consumed = at;
		CHECK_EQ(ftt_ls_step(here, at), ftt_ls_step(&there, at));
		CHECK_EQ(ftt_ls_piece(here, 5), ftt_ls_piece(&there, 5));
		shown = opened + ((int64_t)ftt_ls_step(&there, at) << FTT_LS_STEP_SHIFT) * MS;
		CHECK_EQ(clock_of(&b, &at_b, true, late), shown);
		reads(&b, &at_b, 1);
		CHECK_EQ(clock_of(&b, &at_b, false, late), shown);
	}
	CHECK_EQ(told, kept.len);
	CHECK_EQ(memcmp(ftt_lockstep_row(&b.w, &at_b)->edge, ftt_lockstep_row(&p.w, &at_p)->edge, sizeof(uint32_t[FTT_LS_EDGES])), 0);
	ftt_lockstep_caught_up(&b.w, &at_b);
	late += ftt_lockstep_own(&b.w, &at_b)->origin.ahead_ns - FTT_LS_LAG_NS;
	CHECK_EQ(clock_of(&b, &at_b, false, opened), late); /* it answers late from now on */
	end(&p);
	end(&b);
}

/* A server that does not read is told no more than can be remembered, and the rest as it reads. */
static void test_a_replay_does_not_run_ahead(void)
{
	static struct side p, b;
	struct ftt_tcp at_p = {.key = key_of(7), .flow.bits = FTT_F_TS}, at_b = at_p;
	struct ftt_record r = {.type = FTT_REC_OPEN};
	uint32_t told = 0, edges;

	kept = (struct ftt_log){.bytes = logged, .size = sizeof(logged), .reads = FTT_LOG_READS};
	at_p.log = at_b.log = &kept;
	begin(&p, 1);
	begin(&b, 2);
	ftt_lockstep_begin(&p.w, &at_p, 5);
	for (uint32_t i = 0; i < 200; i++)
		says(&p, &at_p, 10 * i, 10, i < 100 ? 0 : 1000 * i, i < 100);
	ftt_lockstep_tell(&p.w, &at_p, &r);
	ftt_lockstep_again(&b.w, &at_b, &r);
	at_b.flow.bits |= FTT_F_SYNACK;
	ftt_lockstep_answered(&b.w, &at_b);
	CHECK(!ftt_lockstep_replay(&b.w, &at_b, &told, UINT32_MAX, false) && told < kept.len);
	edges = ftt_lockstep_own(&b.w, &at_b)->edges;
	CHECK(edges > 50 && edges <= FTT_LS_EDGES);
	for (uint32_t i = 0; i < 200; i++) {
		CHECK_EQ(ftt_ls_step(ftt_lockstep_row(&b.w, &at_b), 10 * i), i < 100 ? 0 : 1000 * i >> FTT_LS_STEP_SHIFT);
		reads(&b, &at_b, 10);
		ftt_lockstep_replay(&b.w, &at_b, &told, UINT32_MAX, false);
	}
	CHECK_EQ(told, kept.len);
	ftt_lockstep_begin(&b.w, &at_b, 5); /* one that does not read at all, while its client goes on */
	told = 0;
	CHECK(!ftt_lockstep_replay(&b.w, &at_b, &told, UINT32_MAX, false) && told < kept.len && !ftt_lockstep_keeps_up(&b.w, &at_b));
	ftt_lockstep_replay(&b.w, &at_b, &told, UINT32_MAX, true);
	CHECK_EQ(told, kept.len);
	end(&p);
	end(&b);
}

int main(void)
{
	test_replay(FTT_F_TS);
	test_replay(0);
	test_a_replay_does_not_run_ahead();
	test_clock();
	test_clients_that_do_not_count();
	test_ticks_that_were_agreed();
	return 0;
}
