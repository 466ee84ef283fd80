/* SPDX-License-Identifier: Apache-2.0 */
/* feed.c - the leader's stream becomes a log that a follower reads: see feed.h. */
#define _GNU_SOURCE
#include "engine/calls/feed.h"
#include <stdlib.h>

#define THREADS_MAX 4096u /* that wait for a ring, or have one */

void ftt_feed_begin(struct ftt_feed *f)
{
	f->tail = &f->threads;
}

static void free_parts(struct ftt_feed *f, struct ftt_feed_thread *t)
{
	for (struct ftt_feed_part *p = t->first, *next; p; p = next) {
		next = p->next;
		f->bytes -= sizeof(*p);
		free(p);
	}
	t->first = t->last = NULL;
}

static void forget(struct ftt_feed *f, struct ftt_feed_thread **at)
{
	struct ftt_feed_thread *t = *at;

	free_parts(f, t);
	*at = t->next;
	if (!*at)
		f->tail = at;
	f->bytes -= sizeof(*t);
	free(t);
}

void ftt_feed_drop(struct ftt_feed *f)
{
	while (f->threads)
		forget(f, &f->threads);
}

/* --- what comes ----------------------------------------------------------------------------------------- */

static struct ftt_feed_thread *thread_of(struct ftt_feed *f, uint64_t name, const struct ftt_policy *policy)
{
	struct ftt_feed_thread *t;
	uint32_t n = 0;

	for (t = f->threads; t && t->name != name; t = t->next)
		n++;
	if (t)
		return t;
	if (n >= THREADS_MAX || !ftt_calls_may_keep(f->bytes, sizeof(*t), policy) || !(t = calloc(1, sizeof(*t))))
		return NULL;
	t->name = name;
	t->ring = -1;
	f->bytes += sizeof(*t);
	*f->tail = t;
	f->tail = &t->next;
	return t;
}

static bool keep(struct ftt_feed *f, struct ftt_feed_thread *t, const uint8_t *bytes, uint32_t len, const struct ftt_policy *policy)
{
	while (len) {
		struct ftt_feed_part *p = t->last;
		uint32_t n;

		if (!p || p->len == sizeof(p->bytes)) {
			/* beside what the leader may keep there are heads of parts, and parts that are not full */
			if (!ftt_calls_may_keep(f->bytes / 2, sizeof(*p), policy) || !(p = malloc(sizeof(*p))))
				return false;
			p->next = NULL;
			p->at = p->len = 0;
			*(t->last ? &t->last->next : &t->first) = p;
			t->last = p;
			f->bytes += sizeof(*p);
		}
		n = len < sizeof(p->bytes) - p->len ? len : (uint32_t)sizeof(p->bytes) - p->len;
		memcpy(p->bytes + p->len, bytes, n);
		p->len += n;
		bytes += n;
		len -= n;
	}
	return true;
}

enum ftt_fed ftt_feed_frames(struct ftt_feed *f, uint64_t end, const uint8_t *bytes, uint32_t len, const struct ftt_policy *policy)
{
	uint64_t at = end - len;

	if (end < len || at > f->held)
		return FTT_FEED_BAD;
	for (uint32_t i = 0, n; i < len; i += n, at += n) {
		struct ftt_calls_frame frame;
		struct ftt_feed_thread *t;

		n = ftt_calls_frame_get(bytes + i, len - i, &frame);
		if (!n || (at < f->held && at + n > f->held))
			return FTT_FEED_BAD;
		if (at < f->held) /* it came on an earlier connection of the lane */
			continue;
		t = thread_of(f, frame.name, policy);
		if (t && t->over) { /* the leader's memory is damaged */
			ftt_calls_break_it(&f->memory, FTT_CALLS_DAMAGED, UINT32_MAX);
			return FTT_FEED_BROKEN;
		}
		if (!t || !keep(f, t, frame.bytes, frame.len, policy))
			return FTT_FEED_FULL;
		t->over = frame.last;
		f->got += frame.len;
		f->behind += frame.len;
		f->held = at + n;
	}
	return FTT_FEED_GOOD;
}

/* --- into the rings --------------------------------------------------------------------------------------- */

/* A free one is this thread's from now on. */
static void find_ring(struct ftt_feed *f, struct ftt_feed_thread *t)
{
	for (uint32_t i = 0; i < FTT_CALLS_RINGS && t->ring < 0; i++) {
		struct ftt_calls_ring *r = ftt_calls_ring_at(&f->memory, i);
		uint64_t none = 0;

		if (f->ring[i].name || !atomic_compare_exchange_strong(&r->name, &none, t->name))
			continue;
		f->ring[i].name = t->name;
		t->ring = (int)i;
		ftt_calls_wake(&r->name);
	}
}

static void copy(struct ftt_feed *f, uint32_t ring, uint64_t at, const uint8_t *from, uint32_t n)
{
	uint32_t size = f->memory.ring_size, place = (uint32_t)(at & (size - 1)), first = n < size - place ? n : size - place;
	uint8_t *to = ftt_calls_bytes_of(&f->memory, ring);

	memcpy(to + place, from, first);
	memcpy(to, from + first, n - first);
}

/* As much of it as has room; then its reader is told. */
static void put(struct ftt_feed *f, struct ftt_feed_thread *t, uint32_t room)
{
	struct ftt_calls_ring *r = ftt_calls_ring_at(&f->memory, (uint32_t)t->ring);
	struct ftt_feed_ring *own = &f->ring[t->ring];
	uint64_t before = own->written;

	for (struct ftt_feed_part *p; room && (p = t->first);) {
		uint32_t n = p->len - p->at < room ? p->len - p->at : room;

		copy(f, (uint32_t)t->ring, own->written, p->bytes + p->at, n);
		own->written += n;
		p->at += n;
		room -= n;
		if (p->at < p->len)
			break;
		t->first = p->next;
		if (!t->first)
			t->last = NULL;
		f->bytes -= sizeof(*p);
		free(p);
	}
	if (own->written == before)
		return;
	atomic_store(&r->written, own->written);
	if (atomic_load(&r->follower_waits))
		ftt_calls_wake(&r->written);
}

/* The leader's thread has ended. If the follower's has not, that frees the ring. */
static void leave(struct ftt_feed *f, struct ftt_feed_thread *t)
{
	struct ftt_calls_ring *r = ftt_calls_ring_at(&f->memory, (uint32_t)t->ring);

	if (atomic_fetch_add(&r->over, 1))
		ftt_calls_free_ring(&f->memory, r, f->ring[t->ring].written);
	f->ring[t->ring].name = 0;
	t->ring = -1;
}

/* False: it is damaged. */
static bool one_thread(struct ftt_feed *f, struct ftt_feed_thread *t)
{
	struct ftt_feed_ring *own;
	struct ftt_calls_ring *r;
	uint64_t read;
	uint32_t room;

	if (t->ring < 0)
		find_ring(f, t);
	if (t->ring < 0)
		return true;
	own = &f->ring[t->ring];
	r = ftt_calls_ring_at(&f->memory, (uint32_t)t->ring);
	read = atomic_load_explicit(&r->read, memory_order_acquire);
	if (atomic_load(&r->name) != own->name || !ftt_calls_room(own->read, read, own->written, f->memory.ring_size, &room)) {
		ftt_calls_break_it(&f->memory, FTT_CALLS_DAMAGED, (uint32_t)t->ring);
		return false;
	}
	own->read = read;
	put(f, t, room);
	return true;
}

enum ftt_fed ftt_feed_look(struct ftt_feed *f)
{
	struct ftt_feed_thread **at = &f->threads, *t;

	f->behind = 0;
	while ((t = *at)) {
		if (!one_thread(f, t))
			return FTT_FEED_BROKEN;
		for (const struct ftt_feed_part *p = t->first; p; p = p->next)
			f->behind += p->len - p->at;
		if (t->ring >= 0)
			f->behind += f->ring[t->ring].written - f->ring[t->ring].read;
		if (t->ring >= 0 && t->over && !t->first && f->ring[t->ring].read == f->ring[t->ring].written) {
			leave(f, t);
			forget(f, at);
			continue;
		}
		at = &t->next;
	}
	return ftt_calls_state(&f->memory) == FTT_CALLS_RUNS ? FTT_FEED_GOOD : FTT_FEED_BROKEN;
}
