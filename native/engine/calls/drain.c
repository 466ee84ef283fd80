/* SPDX-License-Identifier: Apache-2.0 */
/* drain.c - the leader's log becomes a stream: see drain.h. */
#define _GNU_SOURCE
#include "engine/calls/drain.h"
#include <stdlib.h>

void ftt_drain_drop(struct ftt_drain *d)
{
	for (struct ftt_drain_part *p = d->first, *next; p; p = next) {
		next = p->next;
		free(p);
	}
	d->first = d->last = NULL;
	d->bytes = 0;
	d->begin = d->end;
	d->cut = true;
}

/* Parts that the follower has, for room. */
static void cut(struct ftt_drain *d, uint64_t held)
{
	for (struct ftt_drain_part *p; (p = d->first) && p != d->last && d->begin + p->len <= held;) {
		d->begin += p->len;
		d->bytes -= sizeof(*p);
		d->cut = true;
		d->first = p->next;
		free(p);
	}
}

/* Room for n bytes at the end of the stream; NULL: there is none. */
static uint8_t *room(struct ftt_drain *d, uint32_t n, uint64_t held, const struct ftt_policy *policy)
{
	struct ftt_drain_part *p = d->last;

	if (p && sizeof(p->bytes) - p->len >= n)
		return p->bytes + p->len;
	if (!ftt_calls_may_keep(d->bytes, sizeof(*p), policy))
		cut(d, held);
	if (!ftt_calls_may_keep(d->bytes, sizeof(*p), policy) || !(p = malloc(sizeof(*p))))
		return NULL;
	p->next = NULL;
	p->len = 0;
	*(d->last ? &d->last->next : &d->first) = p;
	d->last = p;
	d->bytes += sizeof(*p);
	return p->bytes;
}

static void copy(const struct ftt_calls_memory *m, uint32_t ring, uint64_t at, uint8_t *to, uint32_t n)
{
	const uint8_t *from = ftt_calls_bytes_of(m, ring);
	uint32_t place = (uint32_t)(at & (m->ring_size - 1)), first = n < m->ring_size - place ? n : m->ring_size - place;

	memcpy(to, from + place, first);
	memcpy(to + first, from, n - first);
}

/* n bytes of a ring, and maybe its end. False: there is no room. */
static bool take(struct ftt_drain *d, uint32_t ring, uint32_t n, bool last, uint64_t held, const struct ftt_policy *policy)
{
	struct ftt_drain_ring *own = &d->ring[ring];

	do {
		uint32_t part = n < FTT_CALLS_FRAME_MAX ? n : FTT_CALLS_FRAME_MAX;
		uint8_t *to = room(d, FTT_CALLS_FRAME + part, held, policy);

		if (!to)
			return false;
		n -= part;
		ftt_calls_frame_put(to, own->name, part, last && !n);
		copy(&d->memory, ring, own->at, to + FTT_CALLS_FRAME, part);
		own->at += part;
		d->last->len += FTT_CALLS_FRAME + part;
		d->end += FTT_CALLS_FRAME + part;
	} while (n);
	return true;
}

static enum ftt_drained one_ring(struct ftt_drain *d, uint32_t i, uint64_t held, const struct ftt_policy *policy)
{
	struct ftt_calls_ring *r = ftt_calls_ring_at(&d->memory, i);
	struct ftt_drain_ring *own = &d->ring[i];
	uint64_t name = atomic_load_explicit(&r->name, memory_order_acquire), written;
	bool last = name && atomic_load_explicit(&r->over, memory_order_acquire); /* then it has written all */
	uint32_t n;

	if (!name && !own->name)
		return FTT_DRAIN_SAME;
	if (!own->name)
		own->name = name;
	written = atomic_load_explicit(&r->written, memory_order_acquire);
	if (name != own->name || !ftt_calls_there(own->at, written, d->memory.ring_size, &n)) {
		ftt_calls_break_it(&d->memory, FTT_CALLS_DAMAGED, i);
		return FTT_DRAIN_BROKEN;
	}
	if (!n && !last)
		return FTT_DRAIN_SAME;
	if (!take(d, i, n, last, held, policy))
		return FTT_DRAIN_FULL;
	if (last) {
		own->name = 0;
		ftt_calls_free_ring(&d->memory, r, own->at);
		return FTT_DRAIN_MORE;
	}
	atomic_store(&r->read, own->at);
	if (atomic_load(&r->leader_waits))
		ftt_calls_wake(&r->read);
	return FTT_DRAIN_MORE;
}

enum ftt_drained ftt_drain(struct ftt_drain *d, uint64_t held, const struct ftt_policy *policy)
{
	enum ftt_drained all = FTT_DRAIN_SAME;

	for (uint32_t i = 0; i < FTT_CALLS_RINGS && all <= FTT_DRAIN_MORE; i++) {
		enum ftt_drained one = one_ring(d, i, held, policy);

		all = one > all ? one : all;
	}
	return all <= FTT_DRAIN_MORE && ftt_calls_state(&d->memory) != FTT_CALLS_RUNS ? FTT_DRAIN_BROKEN : all;
}

const uint8_t *ftt_drain_frames(const struct ftt_drain *d, uint64_t at, uint32_t most, uint32_t *len)
{
	bool new = d->last && at >= d->end - d->last->len; /* as nearly always: no walk over all that is kept */
	uint64_t begin = new ? d->end - d->last->len : d->begin;
	struct ftt_calls_frame f;

	*len = 0;
	for (const struct ftt_drain_part *p = new ? d->last : d->first; p && at >= begin; begin += p->len, p = p->next) {
		const uint8_t *from = p->bytes + (at - begin);

		if (at - begin >= p->len)
			continue;
		for (uint32_t n, there = p->len - (uint32_t)(at - begin); *len < there; *len += n) {
			n = ftt_calls_frame_get(from + *len, there - *len, &f);
			if (!n || *len + n > most) /* 0: no frame begins there */
				break;
		}
		return *len ? from : NULL;
	}
	return NULL;
}
