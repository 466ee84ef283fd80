/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lockstep.h - the memory that an engine shares with the library in its server (native/shim): who is who among the
 * group's connections.
 *
 * A file of one page, and behind it a table of rows for each worker, which alone writes there. A row belongs to one connection
 * for as long as the engine knows it. It holds the seed from which both nodes' servers draw its random numbers, and a
 * number of its own (`generation`) by which a reader sees that it still belongs to the same connection. The row is written before the
 * handshake is complete, so it is there when accept() returns. A seed is gone with its flow.
 *
 * Each process that draws for a connection takes a *lineage* of it, one after the other, and each draws from a key of its
 * own. So no two of them ever draw the same, however they came to have the connection: by fork, exec, or a descriptor
 * that was passed on.
 */
#ifndef FTTCP_LOCKSTEP_H
#define FTTCP_LOCKSTEP_H
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include "fttcp/abi.h"
#include "fttcp/chacha.h"

#define FTT_LS_MAGIC 0x3170657473636f6cull /* "locstep1", little-endian */
#define FTT_LS_PAGE 4096
#define FTT_LS_WAYS 8      /* rows of a bucket */
#define FTT_LS_STRANGERS 32
#define FTT_LS_BY_ADDRESS 1 /* header.flags: no engine writes here; the library makes rows itself, see ftt_ls_admit() */

enum ftt_ls_purpose { /* of derived keys */
	FTT_LS_GROUP = 1,   /* of this pair and group, from the key of the key file */
	FTT_LS_SEED = 2,    /* of a connection */
	FTT_LS_CONTEXT = 3, /* of one process's part in it */
	FTT_LS_BUCKET = 4,
	FTT_LS_START = 5,   /* of a process that has not served yet */
	FTT_LS_FORK = 6,
	FTT_LS_TAG = 7      /* of a key of the key file: which one it is */
};

enum ftt_ls_count { /* header.count */
	FTT_LS_OF_CONNECTIONS = 0, /* draws for connections */
	FTT_LS_AT_START = 1,       /* before the first connection */
	FTT_LS_WITHOUT = 2,        /* from the kernel: for no connection, or one without identity */
	FTT_LS_ACCEPTED = 3,
	FTT_LS_UNKNOWN = 4,        /* of those: without identity */
	FTT_LS_COUNTS = 8
};

struct ftt_ls_addresses {
	uint8_t client[16], service[16];
	uint16_t client_port, service_port;
};

/* A connection that was accepted and has no identity. */
struct ftt_ls_stranger {
	struct ftt_ls_addresses who;
	uint32_t pid;
	uint64_t number; /* of its kind; 0: nothing here */
};

struct ftt_ls_header {
	uint64_t magic;
	uint32_t flags, tables;   /* one for each worker */
	uint32_t rows;            /* of a table; a power of two */
	uint32_t pad;
	uint8_t bucket_secret[32]; /* this node's: clients do not choose buckets */
	uint8_t start_secret[32];  /* the pair's: what a server draws before it serves. BY_ADDRESS: the root of all seeds */
	_Atomic uint64_t count[FTT_LS_COUNTS];
	struct ftt_ls_stranger stranger[FTT_LS_STRANGERS];
};

struct ftt_ls_row {
	_Atomic uint64_t generation; /* even: valid, or 0: empty; odd: being written */
	struct ftt_ls_addresses who;
	_Atomic uint32_t lineage;    /* the next one */
	uint8_t seed[32];
	uint8_t id[FTT_IDENTITY];
	uint32_t used;               /* 0: the generation is of a row that is empty again */
	uint8_t pad[24];
};

_Static_assert(sizeof(struct ftt_ls_header) <= FTT_LS_PAGE, "the header is one page");
_Static_assert(offsetof(struct ftt_ls_header, count) == 88 && offsetof(struct ftt_ls_header, stranger) == 152,
	       "fttcp/runtime/lockstep.py reads it");
_Static_assert(sizeof(struct ftt_ls_stranger) == 48, "... and this");
_Static_assert(sizeof(struct ftt_ls_row) == 128, "two lines of the cache");

struct ftt_ls_map {
	struct ftt_ls_header *header; /* NULL: there is none */
	struct ftt_ls_row *rows;
	size_t size;
};

static inline size_t ftt_ls_size(uint32_t tables, uint32_t rows)
{
	return FTT_LS_PAGE + (size_t)tables * rows * sizeof(struct ftt_ls_row);
}

/* Is this mapping of `size` bytes one of ours? */
static inline bool ftt_ls_take(struct ftt_ls_map *m, void *at, size_t size)
{
	struct ftt_ls_header *h = at;

	if (size < FTT_LS_PAGE || h->magic != FTT_LS_MAGIC || !h->tables || h->tables > FTT_MAX_WORKERS || h->rows < FTT_LS_WAYS ||
	    h->rows & (h->rows - 1) || h->rows > 1u << 24 || ftt_ls_size(h->tables, h->rows) != size)
		return false;
	m->header = h;
	m->rows = (struct ftt_ls_row *)((uint8_t *)at + FTT_LS_PAGE);
	m->size = size;
	return true;
}

static inline void ftt_ls_who(struct ftt_ls_addresses *who, const struct ftt_key *k)
{
	memcpy(who->client, k->client, 16);
	memcpy(who->service, k->service, 16);
	who->client_port = k->client_port;
	who->service_port = k->service_port;
}

/*
 * Where a connection can be: in one of two buckets, the emptier one when it came. With half of the rows in use hardly any pair of
 * them is ever full.
 */
struct ftt_ls_buckets {
	uint32_t first[2];
};

static inline struct ftt_ls_buckets ftt_ls_buckets(const struct ftt_ls_map *m, const struct ftt_ls_addresses *who)
{
	uint32_t mask = (m->header->rows - 1) & ~(uint32_t)(FTT_LS_WAYS - 1);
	uint8_t out[FTT_CHACHA_KEY];

	ftt_chacha_derive(out, m->header->bucket_secret, FTT_LS_BUCKET, who, sizeof(*who));
	return (struct ftt_ls_buckets){{ftt_chacha_get(out) & mask, ftt_chacha_get(out + 4) & mask}};
}

static inline bool ftt_ls_is(const struct ftt_ls_row *row, const struct ftt_ls_addresses *who)
{
	return row->used && !memcmp(&row->who, who, sizeof(*who));
}

/* A row of a bucket: the i-th of both. */
static inline struct ftt_ls_row *ftt_ls_at(const struct ftt_ls_map *m, uint32_t table, struct ftt_ls_buckets b, int i)
{
	return m->rows + (size_t)table * m->header->rows + b.first[i / FTT_LS_WAYS] + (uint32_t)i % FTT_LS_WAYS;
}

static inline struct ftt_ls_row *ftt_ls_in(const struct ftt_ls_map *m, uint32_t table, const struct ftt_ls_addresses *who,
					    struct ftt_ls_buckets b)
{
	for (int i = 0; i < 2 * FTT_LS_WAYS; i++)
		if (ftt_ls_is(ftt_ls_at(m, table, b, i), who))
			return ftt_ls_at(m, table, b, i);
	return NULL;
}

static inline struct ftt_ls_row *ftt_ls_room(const struct ftt_ls_map *m, uint32_t table, struct ftt_ls_buckets b)
{
	struct ftt_ls_row *room[2] = {NULL, NULL};
	int n[2] = {0, 0};

	for (int i = 0; i < 2 * FTT_LS_WAYS; i++) {
		struct ftt_ls_row *row = ftt_ls_at(m, table, b, i);

		if (row->used)
			n[i / FTT_LS_WAYS]++;
		else
			room[i / FTT_LS_WAYS] = row;
	}
	return n[0] <= n[1] ? room[0] : room[1];
}

/* --- the writer of a table: its worker ----------------------------------------------------------- */

static inline void ftt_ls_begin(struct ftt_ls_row *row)
{
	atomic_fetch_add(&row->generation, 1);
}

static inline void ftt_ls_end(struct ftt_ls_row *row)
{
	atomic_fetch_add(&row->generation, 1);
}

static inline void ftt_ls_clear(struct ftt_ls_row *row)
{
	ftt_ls_begin(row);
	ftt_wipe(row->seed, sizeof(row->seed));
	ftt_wipe(row->id, sizeof(row->id));
	row->used = 0;
	ftt_ls_end(row);
}

/* Gives a connection its row; false if there is no room for it. What had the same addresses before has none any more. */
static inline bool ftt_ls_publish(const struct ftt_ls_map *m, uint32_t table, const struct ftt_ls_addresses *who,
				  const uint8_t seed[32], const uint8_t id[FTT_IDENTITY])
{
	struct ftt_ls_buckets b = ftt_ls_buckets(m, who);
	struct ftt_ls_row *row = ftt_ls_in(m, table, who, b);

	if (!row)
		row = ftt_ls_room(m, table, b);
	if (!row)
		return false;
	ftt_ls_begin(row);
	row->who = *who;
	memcpy(row->seed, seed, sizeof(row->seed));
	memcpy(row->id, id, sizeof(row->id));
	atomic_store(&row->lineage, 0);
	row->used = 1;
	ftt_ls_end(row);
	return true;
}

/* --- the reader: the library ------------------------------------------------------------------- */

/* A row as a reader found it. */
struct ftt_ls_found {
	struct ftt_ls_row *row;
	uint64_t generation;
};

static inline bool ftt_ls_still(const struct ftt_ls_found *f)
{
	return atomic_load(&f->row->generation) == f->generation;
}

static inline bool ftt_ls_find(const struct ftt_ls_map *m, const struct ftt_ls_addresses *who, struct ftt_ls_found *f)
{
	struct ftt_ls_buckets b = ftt_ls_buckets(m, who);

	for (uint32_t table = 0; table < m->header->tables; table++) {
		for (int i = 0; i < 2 * FTT_LS_WAYS; i++) {
			f->row = ftt_ls_at(m, table, b, i);
			f->generation = atomic_load(&f->row->generation);
			if (!(f->generation & 1) && f->generation && ftt_ls_is(f->row, who) && ftt_ls_still(f))
				return true;
		}
	}
	return false;
}

/* A key that nobody else has, of the connection in this row; false if the row is another one's by now. */
static inline bool ftt_ls_context(const struct ftt_ls_found *f, uint8_t key[FTT_CHACHA_KEY])
{
	uint8_t seed[32], lineage[4];

	memcpy(seed, f->row->seed, sizeof(seed));
	if (!ftt_ls_still(f))
		return false;
	ftt_chacha_put(lineage, atomic_fetch_add(&f->row->lineage, 1));
	if (!ftt_ls_still(f))
		return false;
	ftt_chacha_derive(key, seed, FTT_LS_CONTEXT, lineage, sizeof(lineage));
	ftt_wipe(seed, sizeof(seed));
	return true;
}

/*
 * Without an engine, for two copies that are only compared: the n-th connection of a client's address and port. No two files have
 * the same secret, so what is drawn is drawn for one run of a comparison. Callers take turns.
 */
static inline bool ftt_ls_admit(const struct ftt_ls_map *m, const struct ftt_ls_addresses *who)
{
	struct {
		uint8_t client[16];
		uint16_t client_port, service_port;
		uint32_t nth;
	} in = {.client_port = who->client_port, .service_port = who->service_port};
	struct ftt_ls_row *row = ftt_ls_in(m, 0, who, ftt_ls_buckets(m, who));
	uint8_t seed[32], id[FTT_IDENTITY] = {0};
	bool done;

	memcpy(in.client, who->client, 16);
	in.nth = row ? ftt_chacha_get(row->id) + 1 : 0;
	ftt_chacha_put(id, in.nth);
	ftt_chacha_derive(seed, m->header->start_secret, FTT_LS_SEED, &in, sizeof(in));
	done = ftt_ls_publish(m, 0, who, seed, id);
	ftt_wipe(seed, sizeof(seed));
	return done;
}

#endif
