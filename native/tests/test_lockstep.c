/* SPDX-License-Identifier: Apache-2.0 */
/* test_lockstep.c - identities of connections, as two engines agree on them, and what clocks follow from. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <string.h>
#include "lockstep_file.h"
#include "engine/flows/lockstep.h"
#include "engine/thread.h"

uint64_t ftt_now_ns(void)
{
	return 1000000000000000;
}

struct side {
	char path[32];
	struct ftt_engine e;
	struct ftt_worker w;
};

static void begin(struct side *s, uint64_t boot_id)
{
	char err[200];
	size_t size;
	struct ftt_keys keys = {.n = 2, .send = boot_id & 1};

	memset(s, 0, sizeof(*s));
	strcpy(s->path, "/tmp/fttcp-lockstep-XXXXXX");
	munmap(make_file(s->path, 1, 4096, &size), ftt_ls_size(1, 4096));
	strcpy(s->e.cfg.lockstep, s->path);
	s->e.cfg.workers = 1;
	s->e.cfg.cluster_id = 77;
	s->e.cfg.boot_id = boot_id;
	s->w.e = &s->e;
	memset(keys.key[0], 1, 32);
	memset(keys.key[1], 2, 32);
	pthread_mutex_init(&s->e.keyring.lock, NULL);
	ftt_keyring_set(&s->e.keyring, &keys);
	CHECK_EQ(ftt_lockstep_open(&s->e, err, sizeof(err)), 0);
}

static void end(struct side *s)
{
	ftt_lockstep_close(&s->e);
	pthread_mutex_destroy(&s->e.keyring.lock);
	unlink(s->path);
}

static bool draw_key(struct side *s, const struct ftt_key *k, uint8_t key[32])
{
	struct ftt_ls_addresses who;
	struct ftt_ls_found found;

	ftt_ls_who(&who, k);
	return ftt_ls_find(&s->e.lockstep, &who, &found) && context(&s->e.lockstep, &found, key);
}

/* Over the wire, as it is. */
static void tell(struct side *from, const struct ftt_tcp *c, struct side *to, struct ftt_tcp *copy)
{
	struct ftt_record r = {.type = FTT_REC_OPEN, .key = c->key, .flags = FTT_REC_TS}, got;
	uint8_t wire[256];
	size_t n;

	ftt_lockstep_tell(&from->w, c, &r);
	CHECK(r.flags & FTT_REC_IDENTITY);
	n = ftt_record_put(wire, sizeof(wire), &r);
	CHECK(n && ftt_record_get(wire, n, &got) == n);
	copy->key = c->key;
	copy->flow.bits |= FTT_F_SYNACK;
	ftt_lockstep_join(&to->w, copy, &got);
	ftt_lockstep_join(&to->w, copy, &got); /* said again */
}

/* Both nodes' servers draw the same for a connection, and never the same for two. */
static void test_identities(void)
{
	enum { N = 3000 };
	static struct ftt_tcp at_p[N / 2], at_b[N / 2];
	static uint8_t drawn[3 * N][32];
	static struct side p, b;
	uint8_t other[32];
	int n = 0;

	begin(&p, 0x1234567800000001);
	begin(&b, 0x8765432100000002); /* it sends with the other key: the exchange of keys goes on */
	for (int round = 0; round < 2; round++)
		for (uint16_t i = 0; i < N / 2; i++) { /* each port twice */
			at_p[i].key = key_of(i);
			ftt_lockstep_begin(&p.w, &at_p[i], 0);
			tell(&p, &at_p[i], &b, &at_b[i]);
			CHECK(draw_key(&p, &at_p[i].key, drawn[n]) && draw_key(&b, &at_b[i].key, other));
			CHECK(!memcmp(drawn[n++], other, 32));
		}
	for (uint16_t i = 0; i < N / 2; i++) { /* after a takeover; connections that go on keep what they have */
		ftt_lockstep_ensure(&b.w, &at_b[i]);
		CHECK(draw_key(&b, &at_b[i].key, drawn[n++]));
		CHECK(draw_key(&p, &at_p[i].key, other) && !memcmp(drawn[n - 1], other, 32)); /* the second lineage on both */
		ftt_lockstep_begin(&b.w, &at_b[i], 0);
		CHECK(draw_key(&b, &at_b[i].key, drawn[n++]));
	}
	for (int i = 0; i < n; i++)
		for (int j = 0; j < i; j++)
			CHECK(memcmp(drawn[i], drawn[j], 32));
	end(&b);
	/* its daemon starts again: nothing of before is there, and nothing comes again */
	end(&p);
	begin(&p, 0x1234567800000003);
	memset(at_p, 0, sizeof(at_p));
	for (uint16_t i = 0; i < 100; i++) {
		at_p[i].key = key_of(i);
		CHECK(!draw_key(&p, &at_p[i].key, other));
		ftt_lockstep_begin(&p.w, &at_p[i], 0);
		CHECK(draw_key(&p, &at_p[i].key, other));
		for (int j = 0; j < n; j++)
			CHECK(memcmp(other, drawn[j], 32));
		ftt_lockstep_end(&p.w, &at_p[i]);
		CHECK(!draw_key(&p, &at_p[i].key, other));
	}
	end(&p);
}

/* A key that is not believed here, an OPEN without: no identity, and no other one's. */
static void test_refused(void)
{
	static struct side b;
	struct ftt_record r = {.type = FTT_REC_OPEN, .flags = FTT_REC_IDENTITY, .identity = {9}};
	struct ftt_tcp c = {.key = key_of(5)};
	uint8_t key[32];

	begin(&b, 2);
	ftt_lockstep_join(&b.w, &c, &r);
	CHECK(!draw_key(&b, &c.key, key));
	CHECK_EQ(b.w.n.identities_refused, 1);
	r.flags = 0;
	ftt_lockstep_join(&b.w, &c, &r);
	CHECK(!draw_key(&b, &c.key, key));
	end(&b);
}

static void said(struct side *s, struct ftt_tcp *c, uint32_t seq, uint32_t len, uint32_t tsval)
{
	struct ftt_seg seg = {.seq = c->flow.hard.irs + 1 + seq, .len = len, .tsval = tsval};

	ftt_lockstep_input(&s->w, c, &seg);
}

/* A server that is not ours any more writes what it likes. What the engine tells, and where it writes, it knows by itself. */
static void test_a_server_that_writes(void)
{
	static struct side p;
	struct ftt_record before = {0}, after = {0};
	struct ftt_tcp c[2] = {{.key = key_of(1)}, {.key = key_of(2)}};
	uint64_t used = 0, input;
	struct ftt_ls_row *row;
	uint8_t key[32];

	begin(&p, 1);
	ftt_lockstep_begin(&p.w, &c[0], 5);
	ftt_lockstep_tell(&p.w, &c[0], &before);
	row = ftt_lockstep_row(&p.w, &c[0]);
	said(&p, &c[0], 0, 100, 1);
	input = row->input[0];
	memset(p.e.lockstep.rows, 0xff, 4096 * sizeof(*row)); /* all is full, and being written */
	ftt_lockstep_tell(&p.w, &c[0], &after);
	CHECK(!memcmp(&before, &after, sizeof(before)));
	CHECK_EQ(after.tick, 5);
	said(&p, &c[0], 0, 100, 1); /* a copy */
	CHECK_EQ(row->input[0], UINT64_MAX);
	said(&p, &c[0], 100, 100, 1);
	CHECK_EQ(row->input[0], input + (100ull << 32));
	ftt_lockstep_begin(&p.w, &c[1], 0);
	CHECK(c[1].row && draw_key(&p, &c[1].key, key));
	ftt_lockstep_end(&p.w, &c[0]);
	CHECK(!row->used && !(row->generation & 1));
	memset(p.e.lockstep.rows, 0, 4096 * sizeof(*row)); /* all is empty */
	for (uint32_t i = 0; i < 4096; i++)
		used += p.e.lockstep.own[i].used;
	CHECK_EQ(used, 1);
	end(&p);
}

/* Whoever maps the memory after the engine has ended finds no seed. A row that it was about to write is not what it was before. */
static void test_an_engine_that_ends(void)
{
	static struct side p;
	struct ftt_tcp c = {.key = key_of(1)};
	struct ftt_ls_found found;
	struct ftt_ls_addresses who;
	uint8_t seed[32], key[32];
	char err[200];
	struct ftt_ls_row *row;
	size_t size = ftt_ls_size(1, 4096), at;
	uint8_t *kept;
	int fd;

	begin(&p, 1);
	fd = open(p.path, O_RDWR);
	kept = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	CHECK(kept != MAP_FAILED);
	close(fd);
	ftt_lockstep_begin(&p.w, &c, 0);
	at = c.row - 1;
	memcpy(seed, ftt_ls_seed(&p.e.lockstep, at), sizeof(seed));
	CHECK(memmem(kept, size, seed, sizeof(seed)));
	ftt_lockstep_close(&p.e);
	CHECK(!memmem(kept, size, seed, sizeof(seed)));
	/* one that was killed while it wrote */
	CHECK_EQ(ftt_lockstep_open(&p.e, err, sizeof(err)), 0);
	c.row = 0;
	ftt_lockstep_begin(&p.w, &c, 0);
	ftt_ls_who(&who, &c.key);
	CHECK(ftt_ls_find(&p.e.lockstep, &who, &found));
	row = ftt_lockstep_row(&p.w, &c);
	atomic_fetch_add(&row->generation, 1);
	memset(p.e.lockstep.own, 0, 4096 * sizeof(*p.e.lockstep.own));
	ftt_lockstep_close(&p.e);
	found.row = (struct ftt_ls_row *)(kept + FTT_LS_PAGE) + (c.row - 1);
	CHECK_EQ(ftt_lockstep_open(&p.e, err, sizeof(err)), 0);
	CHECK(found.row->generation > found.generation + 2 && !found.row->used);
	CHECK(!ftt_ls_context(&found, seed, key));
	munmap(kept, size);
	end(&p);
}

static void *serves_on(void *of)
{
	static struct ftt_tcp c[500];
	struct side *s = of;

	for (uint16_t i = 0; i < 500; i++) {
		c[i].key = key_of(i);
		ftt_lockstep_begin(&s->w, &c[i], 0);
	}
	CHECK_EQ(s->w.n.identities, 500);
	for (uint16_t i = 0; i < 500; i++) {
		said(s, &c[i], 0, 100, 1);
		ftt_lockstep_end(&s->w, &c[i]);
	}
	return NULL;
}

/* A server cuts the file short: the daemon lives, in all its threads, and the other groups with it. */
static void test_a_file_that_is_cut_short(void)
{
	static struct side p, other;
	struct ftt_tcp c = {.key = key_of(1)};
	pthread_t thread;
	uint8_t key[32];

	begin(&p, 1);
	begin(&other, 2);
	CHECK_EQ(truncate(p.path, FTT_LS_PAGE), 0);
	CHECK_EQ(ftt_thread_start(&thread, "test", serves_on, &p), 0);
	CHECK_EQ(pthread_join(thread, NULL), 0);
	ftt_lockstep_begin(&other.w, &c, 0);
	CHECK(draw_key(&other, &c.key, key));
	end(&p);
	end(&other);
}

/* A worker that has put in a SYN, whose answer another worker gets: one connection has one row. */
static void test_one_row_for_a_connection(void)
{
	static struct side p, b;
	static struct ftt_worker other;
	struct ftt_record r = {.type = FTT_REC_OPEN};
	struct ftt_tcp at_p = {.key = key_of(9)}, first = {.key = key_of(9)}, right = {.key = key_of(9)};
	uint8_t one[32], two[32];

	begin(&p, 1);
	begin(&b, 2);
	b.e.lockstep.tables = 2; /* two halves of what is there */
	b.e.lockstep.length = 2048;
	other.e = &b.e;
	other.index = 1;
	ftt_lockstep_begin(&p.w, &at_p, 0);
	ftt_lockstep_tell(&p.w, &at_p, &r);
	ftt_lockstep_join(&b.w, &first, &r);
	ftt_lockstep_answered(&b.w, &first); /* it was not */
	CHECK(!draw_key(&b, &first.key, one));
	ftt_lockstep_join(&other, &right, &r);
	right.flow.bits |= FTT_F_SYNACK;
	ftt_lockstep_answered(&other, &right);
	CHECK(draw_key(&p, &at_p.key, two) && draw_key(&b, &right.key, one) && !memcmp(one, two, 32));
	ftt_lockstep_join(&b.w, &first, &r); /* said again */
	ftt_lockstep_end(&b.w, &first);
	CHECK(draw_key(&p, &at_p.key, two) && draw_key(&b, &right.key, one) && !memcmp(one, two, 32));
	CHECK_EQ(b.w.n.identities + other.n.identities, 1);
	end(&p);
	end(&b);
}

/* --- clocks ------------------------------------------------------------------------------------------- */

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
	test_identities();
	test_refused();
	test_a_server_that_writes();
	test_an_engine_that_ends();
	test_a_file_that_is_cut_short();
	test_one_row_for_a_connection();
	test_clock();
	test_clients_that_do_not_count();
	test_ticks_that_were_agreed();
	return 0;
}
