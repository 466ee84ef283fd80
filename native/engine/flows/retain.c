/* SPDX-License-Identifier: Apache-2.0 */
/* retain.c - copies of a backup's output, in a ring for each flow, sent after a takeover; see retain.h. */
#define _GNU_SOURCE
#include <stdlib.h>
#include <string.h>
#include "core/tcp/say.h"
#include "engine/flows/retain.h"

#define SEGMENT_MAX 65535u

static void empty(struct ftt_worker *w, struct ftt_tcp *c)
{
	w->retained_bytes -= c->store ? c->store->size : 0;
	free(c->store);
	c->store = NULL;
}

void ftt_retain_stop(struct ftt_worker *w, struct ftt_tcp *c)
{
	empty(w, c);
	ftt_retained_stop(&c->retained);
}

void ftt_retain_drop(struct ftt_worker *w, struct ftt_tcp *c)
{
	empty(w, c);
	ftt_retained_begin_anew(&c->retained);
}

/* ... to be written. */
static uint32_t piece(struct ftt_store *ring, uint32_t seq, uint32_t n, uint8_t **at)
{
	const uint8_t *there;

	n = ftt_store_piece(ring, seq, n, &there);
	*at = ring->bytes + (there - ring->bytes);
	return n;
}

static void put(struct ftt_store *ring, uint32_t seq, const uint8_t *bytes, uint32_t n)
{
	uint8_t *at;

	for (uint32_t part; n; seq += part, bytes += part, n -= part) {
		part = piece(ring, seq, n, &at);
		memcpy(at, bytes, part);
	}
}

static void get(struct ftt_store *ring, uint32_t seq, uint8_t *bytes, uint32_t n)
{
	uint8_t *at;

	for (uint32_t part; n; seq += part, bytes += part, n -= part) {
		part = piece(ring, seq, n, &at);
		memcpy(bytes, at, part);
	}
}

/* Makes the ring, which holds `r`, large enough for `n` bytes; false when a bound or the memory forbids it. */
static bool grow(struct ftt_worker *w, struct ftt_store **ring, const struct ftt_retained *r, uint32_t n)
{
	uint32_t had = *ring ? (*ring)->size : 0, size;
	struct ftt_store *wider;
	uint8_t *at;

	if (n <= had)
		return true;
	size = ftt_store_size(had, n, w->retained_bytes, &w->e->cfg.policy);
	if (!size || !(wider = malloc(sizeof(*wider) + size)))
		return false;
	wider->size = size;
	for (uint32_t done = 0, part; done < r->n; done += part) {
		part = piece(*ring, r->seq + done, r->n - done, &at);
		put(wider, r->seq + done, at, part);
	}
	w->retained_bytes += size - had;
	free(*ring);
	*ring = wider;
	return true;
}

void ftt_retain_output(struct ftt_worker *w, struct ftt_tcp *c, const struct ftt_packet *p, const struct ftt_pkt *k,
		       const struct ftt_seg *s)
{
	const struct ftt_flow *f = &c->flow;
	struct ftt_retained before;
	uint32_t take;

	if (!ftt_retains(f, s) || !w->e->cfg.policy.max_retained)
		return;
	before = c->retained;
	take = ftt_retained_add(&c->retained, ftt_output_needed(f, &c->digest), s->seq - f->hard.delta, s->len, FTT_RETAIN_MAX);
	if (!take)
		return;
	if (!grow(w, &c->store, &before, c->retained.n)) {
		c->retained = before;
		w->n.retain_overflow++;
		return;
	}
	put(c->store, ftt_retained_end(&c->retained) - take, p->bytes + k->payload + s->len - take, take);
	w->n.retained++;
}

/* Sends `n` bytes from `next` on, in segments. */
static void send_retained(struct ftt_worker *w, struct ftt_tcp *c, uint32_t n, uint64_t now_ns)
{
	const struct ftt_flow *f = &c->flow;
	struct ftt_env env = ftt_worker_env_out(w, now_ns);
	uint8_t packet[FTT_BARE_MAX + SEGMENT_MAX], payload[SEGMENT_MAX];
	struct ftt_bare b;

	if (!n || !f->mss || ftt_say_waits(f, &env))
		return;
	while (n) {
		uint32_t len = n < f->mss ? n : f->mss;

		ftt_bare_data(&c->flow, &c->key, c->retained.next, len, &env, &b);
		get(c->store, b.seq, payload, len);
		ftt_plane_now(w->plane, packet, ftt_worker_build(w, packet, &b, true, payload, len), true);
		w->n.retained_released++;
		ftt_retained_sends(&c->retained, len);
		n -= len;
	}
}

void ftt_retain_acked(struct ftt_worker *w, struct ftt_tcp *c, const struct ftt_seg *s, uint64_t now_ns)
{
	struct ftt_retained *r = &c->retained;
	uint32_t gone = ftt_retained_ack(r, ftt_output_needed(&c->flow, &c->digest));

	if (s && r->window) /* each client packet comes here, and few after a takeover */
		send_retained(w, c, ftt_retained_more(r, &c->flow, s, gone, now_ns), now_ns);
	if (gone && !r->n)
		empty(w, c);
}

void ftt_retain_release(struct ftt_worker *w, struct ftt_tcp *c, uint64_t now_ns)
{
	ftt_retain_acked(w, c, NULL, now_ns);
	if (c->retained.n)
		send_retained(w, c, ftt_retained_begin(&c->retained, &c->flow, now_ns), now_ns);
}

void ftt_retain_tick(struct ftt_worker *w, struct ftt_tcp *c, uint64_t now_ns)
{
	send_retained(w, c, ftt_retained_tick(&c->retained, &c->flow, now_ns), now_ns);
}
