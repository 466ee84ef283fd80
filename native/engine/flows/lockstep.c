/* SPDX-License-Identifier: Apache-2.0 */
/* lockstep.c - identities of connections, written for the server of this node: see lockstep.h. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include "engine/flows/lockstep.h"
#include "engine/shared_file.h"

#define ID 16
#define TAG (FTT_IDENTITY - ID)

/* What an engine before left there is nobody's. */
static void clear_all(const struct ftt_ls_map *m)
{
	for (size_t i = 0; i < (size_t)m->tables * m->length; i++) {
		uint64_t generation = atomic_load(&m->rows[i].generation);

		m->own[i].generation = generation; /* and its page is there */
		if (!generation && !m->rows[i].used)
			continue;
		m->own[i].generation = (generation | 1) + 1; /* nobody has had that one: the connection of before is not here any more */
		ftt_ls_clear(m, i);
	}
}

int ftt_lockstep_open(struct ftt_engine *e, char *err, size_t err_len)
{
	const char *path = e->cfg.lockstep;
	struct ftt_ls_map map;
	size_t size;
	void *at;

	if (!*path)
		return 0;
	at = ftt_shared_map(path, &size);
	if (!at) {
		snprintf(err, err_len, "lockstep: %s: %s", path, strerror(errno));
		return -1;
	}
	(void)madvise(at, size, MADV_POPULATE_WRITE); /* no packet waits for a page; before Linux 5.14 the first ones do */
	if (!ftt_ls_take(&map, at, size) || map.tables < e->cfg.workers) {
		snprintf(err, err_len, "lockstep: %s: is none of ours; remove it, and start again", path);
	} else if (!(map.own = calloc((size_t)map.tables * map.length, sizeof(*map.own)))) {
		snprintf(err, err_len, "lockstep: %s", strerror(errno));
	} else {
		clear_all(&map);
		e->lockstep = map;
		return 0;
	}
	ftt_shared_unmap(at, size);
	return -1;
}

/* Its server may go on. The seeds of its connections do not outlive the engine. */
void ftt_lockstep_close(struct ftt_engine *e)
{
	struct ftt_ls_map *m = &e->lockstep;

	if (!m->header)
		return;
	for (size_t i = 0; i < (size_t)m->tables * m->length; i++)
		if (m->own[i].used)
			ftt_ls_clear(m, i);
	ftt_shared_unmap(m->header, m->size);
	free(m->own);
	*m = (struct ftt_ls_map){0};
}

/* The pair's secrets for this group, one for each key that is believed. */
static void follow_keys(struct ftt_worker *w)
{
	struct ftt_identities *own = &w->identities;
	struct ftt_keys ring;

	if (!ftt_keyring_follow(&w->e->keyring, &own->generation, &ring))
		return;
	own->n = ring.n;
	own->send = ring.send;
	for (uint32_t i = 0; i < ring.n; i++) {
		uint8_t tag[FTT_CHACHA_KEY];

		ftt_chacha_derive(own->secret[i], ring.key[i], FTT_LS_GROUP, &w->e->cfg.cluster_id, sizeof(w->e->cfg.cluster_id));
		ftt_chacha_derive(tag, ring.key[i], FTT_LS_TAG, NULL, 0);
		memcpy(own->tag[i], tag, TAG);
	}
	ftt_wipe(&ring, sizeof(ring));
}

static int64_t wall_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

/* Which of the keys that are believed an identity is made with; -1: none. */
static int key_of(const struct ftt_worker *w, const uint8_t identity[FTT_IDENTITY])
{
	for (uint32_t i = 0; i < w->identities.n; i++)
		if (!memcmp(w->identities.tag[i], identity + ID, TAG))
			return (int)i;
	return -1;
}

/* Keeps a row for the connection. Nobody sees it yet. */
static void reserve(struct ftt_worker *w, struct ftt_tcp *c, const uint8_t identity[FTT_IDENTITY], const struct ftt_ls_origin *origin,
		    uint64_t age_ns)
{
	const struct ftt_ls_map *m = &w->e->lockstep;
	struct ftt_ls_addresses who;
	struct ftt_ls_own *own;
	size_t at;

	ftt_lockstep_end(w, c);
	ftt_ls_who(&who, &c->key);
	at = ftt_ls_place(m, w->index, &who);
	if (at == FTT_LS_NONE) {
		w->n.identities_refused++;
		return;
	}
	own = &m->own[at];
	if (own->shown)
		ftt_ls_clear(m, at);
	own->who = who;
	own->origin = *origin;
	own->began_ns = ftt_now_ns() - age_ns;
	own->replays = false;
	ftt_ls_no_input(own);
	own->used = true;
	memcpy(own->id, identity, FTT_IDENTITY);
	c->row = (uint32_t)at + 1;
}

/* The server may find it from now on. */
static void show(struct ftt_worker *w, struct ftt_tcp *c)
{
	struct ftt_ls_own *own = ftt_lockstep_own(w, c);
	struct {
		uint8_t id[ID];
		struct ftt_ls_addresses who;
	} in;
	uint8_t seed[FTT_CHACHA_KEY];
	int key;

	if (!own || own->shown)
		return;
	follow_keys(w);
	key = key_of(w, own->id);
	if (key < 0) { /* it was taken away meanwhile */
		w->n.identities_refused++;
		ftt_lockstep_end(w, c);
		return;
	}
	memcpy(in.id, own->id, ID);
	in.who = own->who;
	ftt_chacha_derive(seed, w->identities.secret[key], FTT_LS_SEED, &in, sizeof(in));
	ftt_ls_show(&w->e->lockstep, c->row - 1, &own->who, seed, own->id, &own->origin);
	ftt_wipe(seed, sizeof(seed));
	own->shown = true;
	ftt_ls_no_input(own);
	w->n.identities++;
}

/*
 * This daemon's number, which was drawn at its start, the worker's, and a count. So it is no other connection's for ever, and
 * tells nothing.
 */
void ftt_lockstep_begin(struct ftt_worker *w, struct ftt_tcp *c, uint32_t tick)
{
	struct ftt_ls_origin origin = {.tick = tick};
	uint8_t identity[FTT_IDENTITY];

	if (!w->e->lockstep.header)
		return;
	follow_keys(w);
	put_be64(identity, w->e->cfg.boot_id);
	put_be64(identity + 8, (uint64_t)w->index << 56 | ++w->identities.count);
	memcpy(identity + ID, w->identities.tag[w->identities.send], TAG);
	origin.opened_ns = wall_ns();
	reserve(w, c, identity, &origin, 0);
	show(w, c);
}

void ftt_lockstep_join(struct ftt_worker *w, struct ftt_tcp *c, const struct ftt_record *open)
{
	struct ftt_ls_origin origin = {.opened_ns = (int64_t)open->opened_ns, .tick = open->tick};

	if (!w->e->lockstep.header || !(open->flags & FTT_REC_IDENTITY) ||
	    (c->row && !memcmp(ftt_lockstep_own(w, c)->id, open->identity, FTT_IDENTITY)))
		return; /* or it was said before */
	origin.ahead_ns = origin.opened_ns + (int64_t)open->age_ms * 1000000 - wall_ns();
	follow_keys(w);
	if (key_of(w, open->identity) < 0) {
		w->n.identities_refused++;
		return;
	}
	reserve(w, c, open->identity, &origin, open->age_ms * 1000000ull);
	ftt_lockstep_answered(w, c);
}

void ftt_lockstep_again(struct ftt_worker *w, struct ftt_tcp *c, const struct ftt_record *open)
{
	ftt_lockstep_join(w, c, open);
	if (c->row)
		ftt_lockstep_own(w, c)->replays = true;
}

bool ftt_lockstep_replay(struct ftt_worker *w, const struct ftt_tcp *c, uint32_t *told, uint32_t upto, bool anyway)
{
	struct ftt_ls_own *own = ftt_lockstep_own(w, c);
	const struct ftt_log *l = c->log;
	struct ftt_ls_row *row;
	struct ftt_piece x;

	if (!own)
		return true;
	row = ftt_lockstep_row(w, c);
	for (uint32_t n; ftt_ls_end_of(own) < upto; *told += n) {
		n = ftt_log_piece(l, *told, &x);
		if (!n || !(anyway || ftt_ls_keeps_up(own, row)))
			return false;
		if (x.len)
			ftt_ls_input(own, row, x.offset + x.len, x.tsval - own->origin.tick, x.flags & FTT_PIECE_PUSH);
		atomic_store_explicit(&row->replayed, 1 + ftt_ls_end_of(own), memory_order_release);
	}
	return true;
}

void ftt_lockstep_caught_up(struct ftt_worker *w, const struct ftt_tcp *c)
{
	struct ftt_ls_own *own = ftt_lockstep_own(w, c);

	if (!own || !own->replays)
		return;
	own->replays = false;
	if (own->shown)
		atomic_store_explicit(&ftt_lockstep_row(w, c)->replayed, 0, memory_order_release);
}

/*
 * A worker may have a flow whose stack's answer another worker gets (inject_syn() in hear.c). Two rows of one connection would
 * give each lineage twice.
 */
void ftt_lockstep_answered(struct ftt_worker *w, struct ftt_tcp *c)
{
	if (c->row && c->flow.bits & FTT_F_SYNACK)
		show(w, c);
}

void ftt_lockstep_ensure(struct ftt_worker *w, struct ftt_tcp *c)
{
	if (!c->row)
		ftt_lockstep_begin(w, c, c->flow.client_tsval);
}

void ftt_lockstep_tell(struct ftt_worker *w, const struct ftt_tcp *c, struct ftt_record *open)
{
	const struct ftt_ls_own *own = ftt_lockstep_own(w, c);

	if (!own)
		return;
	memcpy(open->identity, own->id, FTT_IDENTITY);
	open->opened_ns = (uint64_t)own->origin.opened_ns;
	open->tick = own->origin.tick;
	open->flags |= FTT_REC_IDENTITY;
}

void ftt_lockstep_end(struct ftt_worker *w, struct ftt_tcp *c)
{
	if (c->row)
		ftt_ls_clear(&w->e->lockstep, c->row - 1);
	c->row = 0;
}
