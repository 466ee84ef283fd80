/* SPDX-License-Identifier: Apache-2.0 */
/* lockstep.c - identities of connections, written for the server of this node: see lockstep.h. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include "lockstep.h"

#define ID 16
#define TAG (FTT_IDENTITY - ID)

int ftt_lockstep_open(struct ftt_engine *e, char *err, size_t err_len)
{
	const char *path = e->cfg.lockstep;
	struct ftt_ls_map map;
	struct stat st;
	void *at = MAP_FAILED;
	int fd;

	if (!*path)
		return 0;
	fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0 || fstat(fd, &st) ||
	    (at = mmap(NULL, (size_t)st.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0)) == MAP_FAILED) {
		snprintf(err, err_len, "lockstep: %s: %s", path, strerror(errno));
	} else if (!ftt_ls_take(&map, at, (size_t)st.st_size) || map.header->tables < e->cfg.workers) {
		snprintf(err, err_len, "lockstep: %s: is none of ours; remove it, and start again", path);
		munmap(at, (size_t)st.st_size);
		at = MAP_FAILED;
	}
	if (fd >= 0)
		close(fd);
	if (at == MAP_FAILED)
		return -1;
	for (size_t i = 0; i < (size_t)map.header->tables * map.header->rows; i++)
		if (map.rows[i].used || map.rows[i].generation & 1) { /* of an engine before */
			atomic_store(&map.rows[i].generation, (map.rows[i].generation | 1) - 1);
			ftt_ls_clear(&map.rows[i]);
		}
	e->lockstep = map;
	return 0;
}

void ftt_lockstep_close(struct ftt_engine *e)
{
	if (e->lockstep.header)
		munmap(e->lockstep.header, e->lockstep.size);
	e->lockstep.header = NULL;
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

static void publish(struct ftt_worker *w, struct ftt_tcp *c, const uint8_t identity[FTT_IDENTITY], uint32_t key,
		    const struct ftt_ls_origin *origin)
{
	struct {
		uint8_t id[ID];
		struct ftt_ls_addresses who;
	} in;
	uint8_t seed[FTT_CHACHA_KEY];
	struct ftt_ls_row *row;

	ftt_lockstep_end(w, c);
	memcpy(in.id, identity, ID);
	ftt_ls_who(&in.who, &c->key);
	ftt_chacha_derive(seed, w->identities.secret[key], FTT_LS_SEED, &in, sizeof(in));
	row = ftt_ls_publish(&w->e->lockstep, w->index, &in.who, seed, identity, origin);
	if (row) {
		c->row = (uint32_t)(row - w->e->lockstep.rows) + 1;
		w->n.identities++;
	} else {
		w->n.identities_refused++;
	}
	ftt_wipe(seed, sizeof(seed));
}

/*
 * This daemon's number, which was drawn at its start, the worker's, and a count. So it is no other connection's for ever, and
 * tells nothing.
 */
void ftt_lockstep_begin(struct ftt_worker *w, struct ftt_tcp *c, uint32_t tick, bool ticks)
{
	struct ftt_ls_origin origin = {.tick = tick, .ticks = ticks};
	uint8_t identity[FTT_IDENTITY];

	if (!w->e->lockstep.header)
		return;
	follow_keys(w);
	put_be64(identity, w->e->cfg.boot_id);
	put_be64(identity + 8, (uint64_t)w->index << 56 | ++w->identities.count);
	memcpy(identity + ID, w->identities.tag[w->identities.send], TAG);
	origin.opened_ns = wall_ns();
	publish(w, c, identity, w->identities.send, &origin);
}

void ftt_lockstep_join(struct ftt_worker *w, struct ftt_tcp *c, const struct ftt_record *open)
{
	struct ftt_ls_origin origin = {.opened_ns = (int64_t)open->opened_ns, .tick = open->tick, .ticks = open->flags & FTT_REC_TS};

	if (!w->e->lockstep.header || !(open->flags & FTT_REC_IDENTITY) ||
	    (c->row && !memcmp(ftt_lockstep_row(w, c)->id, open->identity, FTT_IDENTITY)))
		return; /* or it was said before */
	origin.ahead_ns = origin.opened_ns + (int64_t)open->age_ms * 1000000 - wall_ns();
	follow_keys(w);
	for (uint32_t i = 0; i < w->identities.n; i++) {
		if (memcmp(w->identities.tag[i], open->identity + ID, TAG))
			continue;
		publish(w, c, open->identity, i, &origin);
		return;
	}
	w->n.identities_refused++;
}

void ftt_lockstep_ensure(struct ftt_worker *w, struct ftt_tcp *c)
{
	if (!c->row)
		ftt_lockstep_begin(w, c, 0, false);
}

void ftt_lockstep_tell(struct ftt_worker *w, const struct ftt_tcp *c, struct ftt_record *open)
{
	struct ftt_ls_row *row = ftt_lockstep_row(w, c);

	if (!row)
		return;
	memcpy(open->identity, row->id, FTT_IDENTITY);
	open->opened_ns = (uint64_t)row->origin.opened_ns;
	open->tick = row->origin.tick;
	open->flags |= FTT_REC_IDENTITY;
}

void ftt_lockstep_end(struct ftt_worker *w, struct ftt_tcp *c)
{
	if (c->row)
		ftt_ls_clear(ftt_lockstep_row(w, c));
	c->row = 0;
}
