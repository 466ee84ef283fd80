/* SPDX-License-Identifier: Apache-2.0 */
/* test_lockstep.c - identities of connections, as two engines agree on them. */
#define _GNU_SOURCE
#include <fcntl.h>
#include "lockstep_side.h"
#include "engine/thread.h"

static bool draw_key(struct side *s, const struct ftt_key *k, uint8_t key[32])
{
	struct ftt_ls_addresses who;
	struct ftt_ls_found found;

	ftt_ls_who(&who, k);
	return ftt_ls_find(&s->e.lockstep, &who, &found) && context(&s->e.lockstep, &found, key);
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

int main(void)
{
	test_identities();
	test_refused();
	test_a_server_that_writes();
	test_an_engine_that_ends();
	test_a_file_that_is_cut_short();
	test_one_row_for_a_connection();
	return 0;
}
