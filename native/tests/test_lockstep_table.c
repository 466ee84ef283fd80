/* SPDX-License-Identifier: Apache-2.0 */
/* test_lockstep_table.c - the table of connections that an engine and its server share. */
#define _GNU_SOURCE
#include <sodium.h>
#include <string.h>
#include <sys/wait.h>
#include "lockstep_file.h"

#define ROWS 64u

static void test_shape(void)
{
	char path[] = "/tmp/fttcp-lockstep-XXXXXX";
	struct ftt_ls_map m;
	size_t size;
	struct ftt_ls_header *h = make_file(path, 2, ROWS, &size);

	CHECK(ftt_ls_take(&m, h, size));
	CHECK(!ftt_ls_take(&m, h, size - 1));
	CHECK(!ftt_ls_take(&m, h, 100));
	h->rows = ROWS + 1;
	CHECK(!ftt_ls_take(&m, h, size));
	h->rows = ROWS;
	h->tables = 0;
	CHECK(!ftt_ls_take(&m, h, size));
	h->tables = 2;
	h->magic++;
	CHECK(!ftt_ls_take(&m, h, size));
	munmap(h, size);
	unlink(path);
}

static bool publish(const struct ftt_ls_map *m, uint32_t table, const struct ftt_ls_addresses *who, const uint8_t seed[32],
		    const uint8_t id[FTT_IDENTITY], const struct ftt_ls_origin *origin)
{
	size_t at = ftt_ls_place(m, table, who);

	if (at != FTT_LS_NONE)
		ftt_ls_show(m, at, who, seed, id, origin);
	return at != FTT_LS_NONE;
}

static void test_rows(void)
{
	char path[] = "/tmp/fttcp-lockstep-XXXXXX";
	uint8_t seed[32] = {3}, id[FTT_IDENTITY] = {4}, key[4][32];
	struct ftt_ls_addresses who, full;
	struct ftt_ls_found found, before;
	struct ftt_ls_origin origin = {0};
	struct ftt_ls_map m;
	struct ftt_key k = key_of(1000);
	size_t size;
	unsigned n = 0;

	CHECK(ftt_ls_take(&m, make_file(path, 2, ROWS, &size), ftt_ls_size(2, ROWS)));
	ftt_ls_who(&who, &k);
	CHECK(!ftt_ls_find(&m, &who, &found));
	CHECK(publish(&m, 1, &who, seed, id, &origin));
	CHECK(ftt_ls_find(&m, &who, &found));
	/* who draws for it has a key of its own, the same on the node that has the same seed */
	CHECK(context(&m, &found, key[0]) && context(&m, &found, key[1]));
	CHECK(memcmp(key[0], key[1], 32));
	/* the same addresses again: the row is the new connection's, and what was found is not it */
	before = found;
	CHECK(publish(&m, 1, &who, seed, id, &origin));
	CHECK(!ftt_ls_still(&before) && !context(&m, &before, key[2]));
	CHECK(ftt_ls_find(&m, &who, &found) && context(&m, &found, key[2]));
	CHECK(!memcmp(key[2], key[0], 32)); /* the same seed on purpose: the first lineage again */
	seed[0]++;
	CHECK(publish(&m, 1, &who, seed, id, &origin));
	CHECK(ftt_ls_find(&m, &who, &found) && context(&m, &found, key[3]));
	CHECK(memcmp(key[3], key[0], 32));
	/* over: its seed is nowhere */
	ftt_ls_clear(&m, (size_t)(found.row - m.rows));
	CHECK(!ftt_ls_still(&found) && !ftt_ls_find(&m, &who, &found));
	CHECK(!memmem(m.rows, size - FTT_LS_PAGE, seed, sizeof(seed)));
	/* a bucket has a bound, the others go on */
	for (uint16_t port = 1; port < 2000; port++) {
		k = key_of(port);
		ftt_ls_who(&full, &k);
		n += !!publish(&m, 0, &full, seed, id, &origin);
	}
	CHECK_EQ(n, ROWS);
	CHECK(!publish(&m, 0, &who, seed, id, &origin));
	CHECK(publish(&m, 1, &who, seed, id, &origin) && ftt_ls_find(&m, &who, &found));
	munmap(m.header, size);
	unlink(path);
}

/* The server can write the header at any time. What was looked at when it was taken goes on to count. */
static void test_a_header_that_changes(void)
{
	char path[] = "/tmp/fttcp-lockstep-XXXXXX";
	uint8_t seed[32] = {3}, id[FTT_IDENTITY] = {4};
	struct ftt_ls_origin origin = {0};
	struct ftt_ls_addresses who;
	struct ftt_ls_found found;
	struct ftt_ls_map m;
	size_t size;

	CHECK(ftt_ls_take(&m, make_file(path, 2, ROWS, &size), ftt_ls_size(2, ROWS)));
	m.header->rows = 1 << 20;
	m.header->tables = 8;
	m.header->flags = FTT_LS_BY_ADDRESS;
	memset(m.header->bucket_secret, 0xff, sizeof(m.header->bucket_secret));
	for (uint16_t port = 1; port < 50; port++) {
		struct ftt_key k = key_of(port);
		size_t at;

		ftt_ls_who(&who, &k);
		at = ftt_ls_place(&m, 1, &who);
		CHECK(at >= ROWS && at < 2 * ROWS);
		ftt_ls_show(&m, at, &who, seed, id, &origin);
		CHECK(ftt_ls_find(&m, &who, &found) && found.row == &m.rows[at]);
	}
	munmap(m.header, size);
	unlink(path);
}

/* As many flows as the daemon makes room for (lockstep.py): half of the rows. */
static void test_room(void)
{
	char path[] = "/tmp/fttcp-lockstep-XXXXXX";
	uint8_t seed[32] = {0}, id[FTT_IDENTITY] = {0};
	struct ftt_ls_origin origin = {0};
	struct ftt_ls_map m;
	size_t size;

	CHECK(ftt_ls_take(&m, make_file(path, 1, 1 << 16, &size), ftt_ls_size(1, 1 << 16)));
	for (uint32_t i = 0; i < 1 << 15; i++) {
		struct ftt_key k = key_of((uint16_t)i);
		struct ftt_ls_addresses who;

		ftt_ls_who(&who, &k);
		CHECK(publish(&m, 0, &who, seed, id, &origin));
	}
	munmap(m.header, size);
	unlink(path);
}

/* Without an engine: the n-th connection of an address draws what the n-th drew in the other copy, and nothing twice. */
static void test_by_address(void)
{
	char path[2][32] = {"/tmp/fttcp-lockstep-XXXXXX", "/tmp/fttcp-lockstep-XXXXXX"};
	uint8_t key[2][3][32];
	size_t size;

	for (int copy = 0; copy < 2; copy++) {
		struct ftt_ls_addresses who;
		struct ftt_ls_map m;
		struct ftt_key k = key_of(1000);
		void *at = make_file(path[copy], 1, ROWS, &size);

		k.local[15] = (uint8_t)copy; /* where a copy listens does not matter */
		ftt_ls_who(&who, &k);
		CHECK(ftt_ls_take(&m, at, size));
		for (int nth = 0; nth < 3; nth++) {
			struct ftt_ls_found found;

			CHECK(ftt_ls_admit(&m, &who) && ftt_ls_find(&m, &who, &found) && context(&m, &found, key[copy][nth]));
		}
		munmap(at, size);
		unlink(path[copy]);
	}
	CHECK(!memcmp(key[0], key[1], sizeof(key[0])));
	CHECK(memcmp(key[0][0], key[0][1], 32) && memcmp(key[0][1], key[0][2], 32));
}

/* One process of a server: each connection that it admits is found from then on. */
static int admits(const struct ftt_ls_map *m, uint16_t first, uint16_t n)
{
	struct ftt_ls_addresses who;
	struct ftt_ls_found found;

	while (!atomic_load(&m->header->count[0]))
		sched_yield();
	for (uint16_t i = 0; i < n; i++) {
		struct ftt_key k = key_of((uint16_t)(first + i));

		ftt_ls_who(&who, &k);
		if (!ftt_ls_admit(m, &who))
			return 1;
	}
	for (uint16_t i = 0; i < n; i++) {
		struct ftt_key k = key_of((uint16_t)(first + i));

		ftt_ls_who(&who, &k);
		if (!ftt_ls_find(m, &who, &found))
			return 2;
	}
	return 0;
}

/* A server of several processes: no two make one row. One that was killed while it made one stops nobody. */
static void test_processes_take_turns(void)
{
	enum { ROUNDS = 40, PROCESSES = 4, EACH = 250 };

	for (int round = 0; round < ROUNDS; round++) {
		char path[] = "/tmp/fttcp-lockstep-XXXXXX";
		pid_t child[PROCESSES];
		struct ftt_ls_map m;
		size_t size;
		void *at = make_file(path, 1, 4096, &size);

		CHECK(ftt_ls_take(&m, at, size));
		atomic_store(&m.header->admits, round == 0);
		for (int i = 0; i < PROCESSES; i++) {
			child[i] = fork();
			CHECK(child[i] >= 0);
			if (!child[i])
				_exit(admits(&m, (uint16_t)(i * EACH), EACH));
		}
		atomic_store(&m.header->count[0], 1);
		for (int i = 0; i < PROCESSES; i++) {
			int status;

			CHECK_EQ(waitpid(child[i], &status, 0), child[i]);
			CHECK_EQ(status, 0);
		}
		munmap(at, size);
		unlink(path);
	}
}

/* Of more steps than are remembered the last ones are, and none goes back. */
static void test_steps(void)
{
	static struct ftt_ls_row row;
	static struct ftt_ls_own own;

	for (uint32_t i = 1; i <= 40; i++)
		ftt_ls_input(&own, &row, i * 100, i << FTT_LS_STEP_SHIFT, false);
	CHECK_EQ(ftt_ls_step(&row, 3999), 40);
	CHECK_EQ(ftt_ls_step(&row, 3900), 40);
	CHECK_EQ(ftt_ls_step(&row, 3899), 39);
	CHECK_EQ(ftt_ls_step(&row, 3300), 34);
	CHECK_EQ(ftt_ls_step(&row, 0), 41 - FTT_LS_INPUTS);
	ftt_ls_input(&own, &row, 5000, 0, false);
	CHECK_EQ(ftt_ls_step(&row, 4999), 40);
}

/* A reader is given what the client pushed at once, also when more has come since; of too many pieces several together. */
static void test_edges(void)
{
	static struct ftt_ls_row row;
	static struct ftt_ls_own own;

	CHECK_EQ(ftt_ls_piece(&row, 1000), 1000);
	ftt_ls_input(&own, &row, 100, 0, true);
	ftt_ls_input(&own, &row, 200, 0, false);
	ftt_ls_input(&own, &row, 350, 0, true);
	ftt_ls_input(&own, &row, 350, 0, true);
	CHECK_EQ(row.edges, 2);
	CHECK_EQ(ftt_ls_piece(&row, 1000), 100);
	CHECK_EQ(ftt_ls_piece(&row, 30), 30);
	row.consumed = 30;
	CHECK_EQ(ftt_ls_piece(&row, 1000), 70);
	row.consumed = 100;
	CHECK_EQ(ftt_ls_piece(&row, 1000), 250);
	row.consumed = 350; /* the next one has not been seen yet */
	CHECK_EQ(ftt_ls_piece(&row, 1000), 1000);
	for (uint32_t i = 1; i <= FTT_LS_EDGES + 2; i++)
		ftt_ls_input(&own, &row, 350 + i * 10, 0, true);
	CHECK_EQ(ftt_ls_piece(&row, 1000), 30);
	ftt_ls_input(&own, &row, 20000, 0, true); /* far from the one before, and near to the next one */
	row.consumed = FTT_LS_PIECE;
	CHECK_EQ(ftt_ls_piece(&row, 10000), 10000);
	ftt_ls_input(&own, &row, 20010, 0, true);
	CHECK_EQ(ftt_ls_piece(&row, 10000), 20000 - FTT_LS_PIECE);
	row.consumed = FTT_LS_PIECE - 1;
	CHECK_EQ(ftt_ls_piece(&row, 1000), 1);
	row.consumed = 0xfffffff0; /* offsets come round */
	own = (struct ftt_ls_own){0};
	row.edges = 0;
	ftt_ls_input(&own, &row, 5, 0, true);
	CHECK_EQ(ftt_ls_piece(&row, 1000), 16);
	row.consumed = 0;
	CHECK_EQ(ftt_ls_piece(&row, 1000), 5);
}

/* Where a connection is to be found follows from SipHash as others have it. */
static void test_siphash(void)
{
	uint8_t key[FTT_SIPHASH_KEY], input[72], out[crypto_shorthash_BYTES];

	randombytes_buf(key, sizeof(key));
	randombytes_buf(input, sizeof(input));
	for (size_t n = 0; n <= sizeof(input); n++) {
		crypto_shorthash(out, input, n, key);
		CHECK_EQ(ftt_siphash(key, input, n), ftt_siphash_get(out, sizeof(out)));
	}
}

int main(void)
{
	test_siphash();
	test_shape();
	test_rows();
	test_a_header_that_changes();
	test_room();
	test_by_address();
	test_processes_take_turns();
	test_steps();
	test_edges();
	return 0;
}
