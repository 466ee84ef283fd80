/* SPDX-License-Identifier: Apache-2.0 */
/* compare.c - sums a server's output and compares it with the other node's; see digest.h. */
#define _GNU_SOURCE
#include <stdlib.h>
#include "worker.h"

static void report(struct ftt_worker *w, struct ftt_tcp *c, uint64_t offset)
{
	struct ftt_event ev = {.kind = FTT_EV_DIVERGENCE, .key = c->key, .value = offset};

	w->n.divergences++;
	if (!c->divergences++) /* the first of each flow is news */
		ftt_event_post(w->e, &ev);
	if (w->e->cfg.detach_divergent && c->flow.protection == FTT_PROTECTED && w->mode == FTT_MODE_PAIRED)
		ftt_tcp_act(w, c, ftt_flow_detach(&c->flow, FTT_WHY_DIVERGENCE, ftt_now_ns()), ftt_now_ns());
}

/* Nothing waits to be compared: an idle flow has no ring. */
static void drop_empty(struct ftt_tcp *c)
{
	if (!c->ring || c->ring->used || c->ring->point_set)
		return;
	free(c->ring);
	c->ring = NULL;
}

static void put_block(struct ftt_worker *w, struct ftt_tcp *c, uint32_t block, uint32_t crc, uint8_t from)
{
	enum ftt_compared got = ftt_ring_put(&c->ring, block, crc, from, &w->n.uncompared_blocks);

	w->n.compared_blocks += got != FTT_LATER;
	drop_empty(c);
	if (got == FTT_DIFFERENT)
		report(w, c, (uint64_t)block * FTT_BLOCK);
}

static void block_done(struct ftt_worker *w, struct ftt_tcp *c)
{
	struct ftt_digest *d = &c->digest;

	if (d->broken) {
		w->n.uncompared_blocks++;
	} else if (w->mode == FTT_MODE_BACKUP) {
		struct ftt_record r = {.type = FTT_REC_BLOCK, .key = c->key, .irs = c->flow.hard.irs,
				       .block = d->block, .crc = d->crc};

		ftt_channel_put_record(&w->channel, c->peer_worker, &r, &w->n);
	} else {
		put_block(w, c, d->block, d->crc, 1);
	}
	d->block++;
	d->crc = 0;
	d->broken = false;
}

/* Their running sum, where both stand at the same offset. */
static void compare_point(struct ftt_worker *w, struct ftt_tcp *c, uint32_t crc)
{
	w->n.compared_blocks++;
	if (c->digest.crc != crc)
		report(w, c, c->digest.next);
}

/* ... once both do. One that was passed by will never be met. */
static void meet_point(struct ftt_worker *w, struct ftt_tcp *c)
{
	const struct ftt_digest *d = &c->digest;
	uint32_t crc;

	if (!c->ring || !c->ring->point_set || seq_lt(d->next, c->ring->point))
		return;
	crc = c->ring->point_crc;
	c->ring->point_set = false;
	if (!d->broken && d->next == c->ring->point)
		compare_point(w, c, crc);
	drop_empty(c);
}

/* Bytes up to `offset` were not seen: the blocks that they touch cannot be compared. */
static void skip_to(struct ftt_worker *w, struct ftt_tcp *c, uint32_t offset)
{
	struct ftt_digest *d = &c->digest;

	while (seq_gt(offset, d->next)) {
		uint32_t room = FTT_BLOCK - d->next % FTT_BLOCK, gap = offset - d->next;

		d->broken = true;
		d->next += gap < room ? gap : room;
		if (gap >= room)
			block_done(w, c);
	}
}

/* Sums what of this segment is new. Segments leave a stack in order the first time. */
void ftt_compare_output(struct ftt_worker *w, struct ftt_tcp *c, const struct ftt_nfq_packet *p,
			const struct ftt_pkt *k, const struct ftt_seg *s)
{
	struct ftt_digest *d = &c->digest;
	uint32_t offset = s->seq - c->flow.hard.delta - (c->flow.hard.service_iss + 1), left;
	const uint8_t *bytes;

	if (!s->len || s->flags & (TCP_SYN | TCP_RST) || !(c->flow.bits & FTT_F_MAPPED) ||
	    seq_leq(offset + s->len, d->next))
		return;
	skip_to(w, c, p->cap < p->len ? offset + s->len : offset);
	if (p->cap < p->len)
		return;
	bytes = p->bytes + k->payload + (d->next - offset);
	left = offset + s->len - d->next;
	while (left) {
		uint32_t room = FTT_BLOCK - d->next % FTT_BLOCK, n = left < room ? left : room;

		d->crc = ftt_crc32c(d->crc, bytes, n);
		d->next += n;
		bytes += n;
		left -= n;
		if (n == room)
			block_done(w, c);
	}
	if (w->mode != FTT_MODE_BACKUP)
		meet_point(w, c);
}

void ftt_compare_record(struct ftt_worker *w, struct ftt_tcp *c, const struct ftt_record *r)
{
	if (!w->e->cfg.compare || c->flow.protection != FTT_PROTECTED)
		return;
	if (r->type == FTT_REC_BLOCK) {
		put_block(w, c, r->block, r->crc, 2);
		return;
	}
	if (!(r->flags & FTT_REC_POINT) || seq_lt(r->point, c->digest.next))
		return;
	if (r->point == c->digest.next) {
		if (!c->digest.broken)
			compare_point(w, c, r->point_crc);
		return;
	}
	if (!c->ring && !(c->ring = ftt_ring_new(FTT_RING)))
		return;
	c->ring->point = r->point;
	c->ring->point_crc = r->point_crc;
	c->ring->point_set = true;
}
