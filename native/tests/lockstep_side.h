/* SPDX-License-Identifier: Apache-2.0 */
/* lockstep_side.h - an engine of either node with its file, as far as lock step goes. Included once. */
#ifndef FTTCP_TESTS_LOCKSTEP_SIDE_H
#define FTTCP_TESTS_LOCKSTEP_SIDE_H
#include <string.h>
#include "lockstep_file.h"
#include "engine/flows/lockstep.h"

uint64_t ftt_now_ns(void)
{
	return 1000000000000000;
}

struct side {
	char path[32];
	struct ftt_engine e;
	struct ftt_worker w;
};

static inline void begin(struct side *s, uint64_t boot_id)
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

static inline void end(struct side *s)
{
	ftt_lockstep_close(&s->e);
	pthread_mutex_destroy(&s->e.keyring.lock);
	unlink(s->path);
}

/* Over the wire, as it is. */
static inline void tell(struct side *from, const struct ftt_tcp *c, struct side *to, struct ftt_tcp *copy)
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

static inline void said(struct side *s, struct ftt_tcp *c, uint32_t seq, uint32_t len, uint32_t tsval)
{
	struct ftt_seg seg = {.seq = c->flow.hard.irs + 1 + seq, .len = len, .tsval = tsval};

	ftt_lockstep_input(&s->w, c, &seg);
}

#endif
