/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lockstep.h - the memory that an engine shares with the library in its server (native/shim): who is who among the
 * group's connections.
 *
 * A file of one page, and behind it a table of rows for each worker, which alone writes there. A row belongs to one connection
 * for as long as the engine knows it, and has a number of its own (`generation`) by which a reader sees that it still belongs to the
 * same connection. The row is written before the handshake is complete, so it is there when accept() returns.
 *
 * Behind the tables, from a page of their own on, are the secrets: what a server draws from before it serves, and for each row
 * the seed from which both nodes' servers draw the random numbers of its connection. A process that was made for one connection
 * keeps that seed, and has the others mapped no more. A seed is gone with its flow.
 *
 * Each process that draws for a connection takes a *lineage* of it, one after the other, and each draws from a key of its
 * own. So no two of them ever draw the same, however they came to have the connection: by fork, exec, or a descriptor
 * that was passed on.
 *
 * The server can write all of it, at any time. So the engine decides by nothing that it reads there, but how fast a server that
 * catches up is told of the past: how large the tables are it has looked at once, and what it knows of its rows it keeps for itself (struct ftt_ls_own).
 */
#ifndef FTTCP_LOCKSTEP_H
#define FTTCP_LOCKSTEP_H
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include "core/types.h"
#include "core/lockstep/chacha.h"
#include "core/lockstep/siphash.h"

#define FTT_LS_MAGIC 0x3570657473636f6cull /* "locstep5", little-endian */
#define FTT_LS_PAGE 4096
#define FTT_LS_WAYS 8      /* rows of a bucket */
#define FTT_LS_STRANGERS 32
#define FTT_LS_OUTWARDS 8
#define FTT_LS_SECRET 32
#define FTT_LS_MOST_ROWS (1u << 20) /* of a table; fttcp/group/lockstep.py makes no more */
#define FTT_LS_BY_ADDRESS 1 /* header.flags: no engine writes here; the library makes rows itself, see ftt_ls_admit() */

enum ftt_ls_purpose { /* of derived keys */
	FTT_LS_GROUP = 1,   /* of this pair and group, from the key of the key file */
	FTT_LS_SEED = 2,    /* of a connection */
	FTT_LS_CONTEXT = 3, /* of one process's part in it */
	FTT_LS_START = 5,   /* of a process that has not served yet */
	FTT_LS_FORK = 6,
	FTT_LS_TAG = 7,     /* of a key of the key file: which one it is */
	FTT_LS_CHANCE = 8   /* random(), if it is asked for */
};

enum ftt_ls_count { /* header.count */
	FTT_LS_OF_CONNECTIONS = 0, /* draws for connections */
	FTT_LS_AT_START = 1,       /* before the first connection */
	FTT_LS_WITHOUT = 2,        /* from the kernel: for no connection, or one without identity */
	FTT_LS_ACCEPTED = 3,
	FTT_LS_UNKNOWN = 4,        /* of those: without identity */
	FTT_LS_OUTWARD = 5,        /* opened to one of `opens` from another address than the service's */
	FTT_LS_BOUND = 6,          /* ... which the library has bound to the service's */
	FTT_LS_COUNTS = 8
};

struct ftt_ls_addresses {
	uint8_t remote[16], local[16];
	uint16_t remote_port, local_port;
};

/* A connection that was accepted and has no identity; or that was opened from another address than the service's. */
struct ftt_ls_stranger {
	struct ftt_ls_addresses who;
	uint32_t pid;
	uint64_t number; /* of its kind; 0: nothing here */
};

/* Connections of the server to these ports of others are protected, from these addresses. The daemon writes it. */
struct ftt_ls_opens {
	uint32_t bind; /* 1: the library binds what the program has not bound */
	uint32_t addresses, ports;
	uint8_t address[FTT_MAX_ADDRS][16]; /* IPv4 as mapped */
	struct {
		uint16_t first, last;
	} port[FTT_MAX_PORTS];
};

struct ftt_ls_header {
	uint64_t magic;
	uint32_t flags, tables;   /* one for each worker */
	uint32_t rows;            /* of a table; a power of two */
	_Atomic uint32_t admits;  /* BY_ADDRESS: a process of the server makes a row, see ftt_ls_admit() */
	uint8_t bucket_secret[32]; /* this node's: clients do not choose buckets */
	int64_t made_ns;           /* BY_ADDRESS: the clock of all connections, which stands */
	_Atomic uint64_t count[FTT_LS_COUNTS];
	struct ftt_ls_stranger stranger[FTT_LS_STRANGERS], outward[FTT_LS_OUTWARDS];
	struct ftt_ls_opens opens;
};

/* When a connection began, and by what its client counts. */
struct ftt_ls_origin {
	int64_t opened_ns; /* by the wall clock of the node that shook hands; 0: there is no clock for it */
	int64_t ahead_ns;  /* that clock was ahead of ours by so much */
	uint32_t tick;     /* the TSval of its SYN */
};

#define FTT_LS_INPUTS 19u /* what they and edges are: lockstep_input.h */
#define FTT_LS_EDGES 62u

struct ftt_ls_row {
	_Atomic uint64_t generation; /* even: valid, or 0: empty; odd: being written */
	struct ftt_ls_addresses who;
	_Atomic uint32_t lineage;    /* the next one */
	uint8_t id[FTT_IDENTITY];
	uint32_t used;               /* 0: the generation is of a row that is empty again */
	struct ftt_ls_origin origin;
	_Atomic uint32_t consumed;   /* bytes that the server has read, of all its processes */
	_Atomic uint32_t inputs;     /* steps so far, the last FTT_LS_INPUTS of which are there: */
	_Atomic uint64_t input[FTT_LS_INPUTS]; /* stream offset at which it ends, and its number */
	_Atomic uint32_t edges;      /* so far, the last FTT_LS_EDGES of which are there: */
	_Atomic uint32_t edge[FTT_LS_EDGES]; /* stream offsets */
	_Atomic uint32_t replayed;   /* 1 + how many bytes were said again, to a backup that catches up; 0: it does not, or not any more */
};

_Static_assert(sizeof(struct ftt_ls_header) <= FTT_LS_PAGE, "the header is one page");
_Static_assert(offsetof(struct ftt_ls_header, count) == 64 && offsetof(struct ftt_ls_header, stranger) == 128,
	       "fttcp/group/lockstep.py reads it");
_Static_assert(sizeof(struct ftt_ls_stranger) == 48 && offsetof(struct ftt_ls_header, opens) == 2048, "... and this");
_Static_assert(sizeof(struct ftt_ls_row) == 512, "eight lines of the cache; lockstep.py counts with it");

/* What an engine knows of a row; first what it looks at in all rows of a bucket. */
struct ftt_ls_own {
	bool used, shown; /* shown: it is in the shared memory */
	bool replays; /* it began before this server, which is to be told all of it again */
	bool apart;   /* `pushed` is not remembered yet */
	struct ftt_ls_addresses who;
	uint64_t generation; /* the last one that it wrote */
	uint64_t last;       /* of the inputs */
	uint64_t began_ns;   /* when it was opened, by this engine's clock */
	struct ftt_ls_origin origin;
	uint8_t id[FTT_IDENTITY];
	uint32_t inputs, edges, pushed; /* pushed: the last edge */
};

struct ftt_ls_map {
	struct ftt_ls_header *header; /* NULL: there is none. For counts, and what readers are told */
	struct ftt_ls_row *rows;
	uint8_t (*secrets)[FTT_LS_SECRET]; /* the first is the server's own, before it serves; BY_ADDRESS: the root of all seeds */
	struct ftt_ls_own *own;       /* one for each row; NULL in the library */
	size_t size;
	uint32_t tables, length, flags; /* as they were when it was taken; length: rows of a table */
	uint8_t bucket_secret[32];
};

#define FTT_LS_NONE SIZE_MAX /* no row */

static inline uint8_t *ftt_ls_seed(const struct ftt_ls_map *m, size_t i)
{
	return m->secrets[i + 1];
}

static inline size_t ftt_ls_secrets_at(uint32_t tables, uint32_t rows)
{
	size_t end = FTT_LS_PAGE + (size_t)tables * rows * sizeof(struct ftt_ls_row);

	return (end + FTT_LS_PAGE - 1) & ~(size_t)(FTT_LS_PAGE - 1);
}

static inline size_t ftt_ls_size(uint32_t tables, uint32_t rows)
{
	return ftt_ls_secrets_at(tables, rows) + ((size_t)tables * rows + 1) * FTT_LS_SECRET;
}

/* Is this mapping of `size` bytes one of ours? Others can write there meanwhile: what was looked at is what is taken. */
static inline bool ftt_ls_take(struct ftt_ls_map *m, void *at, size_t size)
{
	struct ftt_ls_header h;

	if (size < FTT_LS_PAGE)
		return false;
	memcpy(&h, at, offsetof(struct ftt_ls_header, made_ns));
	if (h.magic != FTT_LS_MAGIC || !h.tables || h.tables > FTT_MAX_WORKERS || h.rows < FTT_LS_WAYS || h.rows & (h.rows - 1) ||
	    h.rows > FTT_LS_MOST_ROWS || ftt_ls_size(h.tables, h.rows) != size)
		return false;
	*m = (struct ftt_ls_map){.header = at, .rows = (struct ftt_ls_row *)((uint8_t *)at + FTT_LS_PAGE),
				 .secrets = (void *)((uint8_t *)at + ftt_ls_secrets_at(h.tables, h.rows)), .size = size,
				 .tables = h.tables, .length = h.rows, .flags = h.flags};
	memcpy(m->bucket_secret, h.bucket_secret, sizeof(m->bucket_secret));
	return true;
}

static inline void ftt_ls_who(struct ftt_ls_addresses *who, const struct ftt_key *k)
{
	memcpy(who->remote, k->remote, 16);
	memcpy(who->local, k->local, 16);
	who->remote_port = k->remote_port;
	who->local_port = k->local_port;
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
	uint32_t mask = (m->length - 1) & ~(uint32_t)(FTT_LS_WAYS - 1);
	uint64_t hash = ftt_siphash(m->bucket_secret, who, sizeof(*who));

	return (struct ftt_ls_buckets){{(uint32_t)hash & mask, (uint32_t)(hash >> 32) & mask}};
}

static inline bool ftt_ls_used(const struct ftt_ls_map *m, size_t i)
{
	return m->own ? m->own[i].used : m->rows[i].used;
}

static inline bool ftt_ls_is(const struct ftt_ls_map *m, size_t i, const struct ftt_ls_addresses *who)
{
	return ftt_ls_used(m, i) && !memcmp(m->own ? &m->own[i].who : &m->rows[i].who, who, sizeof(*who));
}

/* A row of a bucket: the i-th of both. */
static inline size_t ftt_ls_at(const struct ftt_ls_map *m, uint32_t table, struct ftt_ls_buckets b, int i)
{
	return (size_t)table * m->length + b.first[i / FTT_LS_WAYS] + (uint32_t)i % FTT_LS_WAYS;
}

static inline size_t ftt_ls_in(const struct ftt_ls_map *m, uint32_t table, const struct ftt_ls_addresses *who, struct ftt_ls_buckets b)
{
	for (int i = 0; i < 2 * FTT_LS_WAYS; i++)
		if (ftt_ls_is(m, ftt_ls_at(m, table, b, i), who))
			return ftt_ls_at(m, table, b, i);
	return FTT_LS_NONE;
}

static inline size_t ftt_ls_room(const struct ftt_ls_map *m, uint32_t table, struct ftt_ls_buckets b)
{
	size_t room[2] = {FTT_LS_NONE, FTT_LS_NONE};
	int n[2] = {0, 0};

	for (int i = 0; i < 2 * FTT_LS_WAYS; i++) {
		size_t at = ftt_ls_at(m, table, b, i);

		if (ftt_ls_used(m, at))
			n[i / FTT_LS_WAYS]++;
		else if (room[i / FTT_LS_WAYS] == FTT_LS_NONE) /* the first: readers look there first */
			room[i / FTT_LS_WAYS] = at;
	}
	return n[0] <= n[1] ? room[0] : room[1];
}

/* --- the writer of a table: its worker ----------------------------------------------------------- */

/* What a reader finds from here on is no connection's. Returns the number that ends it. */
static inline uint64_t ftt_ls_begin(const struct ftt_ls_map *m, size_t i)
{
	struct ftt_ls_row *row = &m->rows[i];
	uint64_t now = m->own ? m->own[i].generation : atomic_load_explicit(&row->generation, memory_order_relaxed);

	atomic_store_explicit(&row->generation, now + 1, memory_order_relaxed);
	atomic_thread_fence(memory_order_release); /* who sees any of what follows sees that, too */
	return now + 2;
}

static inline void ftt_ls_end(const struct ftt_ls_map *m, size_t i, uint64_t generation)
{
	atomic_store_explicit(&m->rows[i].generation, generation, memory_order_release);
	if (m->own)
		m->own[i].generation = generation;
}

static inline void ftt_ls_clear(const struct ftt_ls_map *m, size_t i)
{
	struct ftt_ls_row *row = &m->rows[i];
	uint64_t generation = ftt_ls_begin(m, i);

	ftt_wipe(ftt_ls_seed(m, i), FTT_LS_SECRET);
	ftt_wipe(row->id, sizeof(row->id));
	row->used = 0;
	ftt_ls_end(m, i, generation);
	if (m->own)
		m->own[i].used = m->own[i].shown = false;
}

/* Where a connection's row is to be; FTT_LS_NONE if there is no room. What had the same addresses before has none any more. */
static inline size_t ftt_ls_place(const struct ftt_ls_map *m, uint32_t table, const struct ftt_ls_addresses *who)
{
	struct ftt_ls_buckets b = ftt_ls_buckets(m, who);
	size_t at = ftt_ls_in(m, table, who, b);

	return at != FTT_LS_NONE ? at : ftt_ls_room(m, table, b);
}

static inline void ftt_ls_show(const struct ftt_ls_map *m, size_t i, const struct ftt_ls_addresses *who, const uint8_t seed[32],
			       const uint8_t id[FTT_IDENTITY], const struct ftt_ls_origin *origin)
{
	struct ftt_ls_row *row = &m->rows[i];
	uint64_t generation = ftt_ls_begin(m, i);

	row->who = *who;
	memcpy(ftt_ls_seed(m, i), seed, FTT_LS_SECRET);
	memcpy(row->id, id, sizeof(row->id));
	row->origin = *origin;
	atomic_store(&row->lineage, 0);
	atomic_store(&row->consumed, 0);
	atomic_store(&row->inputs, 0);
	atomic_store(&row->edges, 0);
	atomic_store(&row->replayed, m->own && m->own[i].replays);
	row->used = 1;
	ftt_ls_end(m, i, generation);
}

/* --- the reader: the library ------------------------------------------------------------------- */

/* A row as a reader found it. */
struct ftt_ls_found {
	struct ftt_ls_row *row;
	uint64_t generation;
};

static inline bool ftt_ls_still(const struct ftt_ls_found *f)
{
	atomic_thread_fence(memory_order_acquire); /* what was read before is of before */
	return atomic_load_explicit(&f->row->generation, memory_order_relaxed) == f->generation;
}

static inline bool ftt_ls_find(const struct ftt_ls_map *m, const struct ftt_ls_addresses *who, struct ftt_ls_found *f)
{
	struct ftt_ls_buckets b = ftt_ls_buckets(m, who);

	for (uint32_t table = 0; table < m->tables; table++) {
		for (int i = 0; i < 2 * FTT_LS_WAYS; i++) {
			f->row = &m->rows[ftt_ls_at(m, table, b, i)];
			f->generation = atomic_load_explicit(&f->row->generation, memory_order_acquire);
			if (!(f->generation & 1) && f->generation && f->row->used && !memcmp(&f->row->who, who, sizeof(*who)) &&
			    ftt_ls_still(f))
				return true;
		}
	}
	return false;
}

/* A key that nobody else has, of the connection in this row, whose seed is there; false if the row is another one's by now. */
static inline bool ftt_ls_context(const struct ftt_ls_found *f, const uint8_t from[FTT_LS_SECRET], uint8_t key[FTT_CHACHA_KEY])
{
	uint8_t seed[FTT_LS_SECRET], lineage[4];
	bool still;

	memcpy(seed, from, sizeof(seed));
	if (!ftt_ls_still(f))
		return false;
	ftt_chacha_put(lineage, atomic_fetch_add(&f->row->lineage, 1));
	still = ftt_ls_still(f);
	if (still)
		ftt_chacha_derive(key, seed, FTT_LS_CONTEXT, lineage, sizeof(lineage));
	ftt_wipe(seed, sizeof(seed));
	return still;
}

/*
 * Without an engine, for two copies that are only compared: the n-th connection of a client's address and port. No two files have
 * the same secret, so what is drawn is drawn for one run of a comparison.
 */
static inline bool ftt_ls_make(const struct ftt_ls_map *m, const struct ftt_ls_addresses *who)
{
	struct {
		uint8_t remote[16];
		uint16_t remote_port, local_port;
		uint32_t nth;
	} in = {.remote_port = who->remote_port, .local_port = who->local_port};
	size_t at = ftt_ls_place(m, 0, who);
	struct ftt_ls_origin origin = {.opened_ns = m->header->made_ns};
	uint8_t seed[32], id[FTT_IDENTITY] = {0};

	if (at == FTT_LS_NONE)
		return false;
	memcpy(in.remote, who->remote, 16);
	in.nth = ftt_ls_used(m, at) ? ftt_chacha_get(m->rows[at].id) + 1 : 0;
	ftt_chacha_put(id, in.nth);
	ftt_chacha_derive(seed, m->secrets[0], FTT_LS_SEED, &in, sizeof(in));
	ftt_ls_show(m, at, who, seed, id, &origin);
	ftt_wipe(seed, sizeof(seed));
	return true;
}

/*
 * ... one after the other, of all threads and processes that accept. The turn is in the shared memory, so a child that is forked
 * meanwhile sees it end. It is odd while somebody has it. One that does not end, for who had it was killed, is the next one's.
 */
#define FTT_LS_YIELDS 100000

static inline uint32_t ftt_ls_turn(_Atomic uint32_t *turn)
{
	uint32_t before = atomic_load(turn);

	for (int i = 0;; i++) {
		uint32_t now = atomic_load(turn), mine = (now | 1) + (now & 1) * 2;

		if (now != before)
			i = 0;
		if ((!(now & 1) || i >= FTT_LS_YIELDS) && atomic_compare_exchange_strong(turn, &now, mine))
			return mine;
		before = now;
		sched_yield();
	}
}

static inline bool ftt_ls_admit(const struct ftt_ls_map *m, const struct ftt_ls_addresses *who)
{
	uint32_t mine = ftt_ls_turn(&m->header->admits);
	bool made = ftt_ls_make(m, who);

	atomic_compare_exchange_strong(&m->header->admits, &mine, mine + 1);
	return made;
}

#endif
