/* SPDX-License-Identifier: Apache-2.0 */
/* compare.c - sums a server's output on both nodes; the backup compares. See digest.h and verify.h. */
#define _GNU_SOURCE
#include <stdlib.h>
#include "worker.h"

/* --- points -------------------------------------------------------------------------------------- */

void ftt_compare_forget(struct ftt_tcp *c)
{
	free(c->points);
	c->points = NULL;
}

static void give_up(struct ftt_worker *w, struct ftt_tcp *c)
{
	if (!c->digest.broken)
		w->n.uncompared_blocks++;
	c->digest.broken = true;
	ftt_compare_forget(c);
}

/* Room for more points: those before `needless` go, else there will be twice as much. */
static void make_room(struct ftt_tcp *c, uint32_t needless)
{
	uint32_t size = c->points ? 2 * c->points->size : FTT_POINTS;
	struct ftt_points *wider;

	if (c->points) {
		ftt_points_prune(c->points, needless);
		if (c->points->n <= c->points->size / 2)
			return;
	}
	if (size > FTT_POINTS_MAX || !(wider = realloc(c->points, sizeof(*wider) + size * sizeof(wider->point[0]))))
		return;
	wider->n = c->points ? wider->n : 0;
	wider->size = size;
	c->points = wider;
}

/* A backup's stack has not come so far; or its verification has not, as far as a primary knows. */
static void keep_point(struct ftt_worker *w, struct ftt_tcp *c, uint32_t at, uint32_t crc)
{
	if (!c->points || c->points->n == c->points->size)
		make_room(c, w->mode == FTT_MODE_BACKUP ? ftt_output_acked(&c->flow) : c->flow.verified);
	if (c->points)
		ftt_points_put(c->points, at, crc);
	else
		give_up(w, c);
}

/* --- the primary ------------------------------------------------------------------------------- */

static void post(struct ftt_worker *w, const struct ftt_tcp *c, uint32_t how)
{
	struct ftt_event ev = {.kind = FTT_EV_DIVERGENCE, .key = c->key, .reason = how,
			       .value = c->bytes_out - (ftt_output_end(&c->flow) - c->flow.verified)};

	ftt_event_post(w->e, &ev);
}

/* What a COMMIT tells of differences; it is taken into the flow afterwards. */
void ftt_compare_commit(struct ftt_worker *w, struct ftt_tcp *c, const struct ftt_record *r, uint64_t now_ns)
{
	struct ftt_flow *f = &c->flow;
	bool differed = f->bits & FTT_F_DIFFERS, differs = r->flags & FTT_REC_DIFFERS;
	uint32_t more = r->differences - c->divergences;

	if (!(f->bits & FTT_F_SUMS) || f->protection != FTT_PROTECTED || more >= 1u << 30)
		return;
	if (c->points && r->verified == f->told)
		ftt_compare_forget(c);
	w->n.divergences += more;
	c->divergences += more;
	if (!differs && (more || differed) && !c->difference_told) { /* of each flow's the first is news */
		c->difference_told = true;
		post(w, c, FTT_WHY_NONE);
	}
	if (more && w->e->cfg.detach_divergent)
		ftt_tcp_act(w, c, ftt_flow_detach(f, FTT_WHY_DIVERGENCE, now_ns), now_ns);
}

/* The flow is let go because of it. */
void ftt_compare_shifted(struct ftt_worker *w, const struct ftt_tcp *c)
{
	post(w, c, FTT_WHY_DIVERGENCE);
}

/* --- the backup -------------------------------------------------------------------------------- */

/* Returns what is to be done, as the others here. */
static uint32_t judge(struct ftt_worker *w, struct ftt_tcp *c, uint32_t theirs)
{
	struct ftt_digest *d = &c->digest;
	enum ftt_judged got = ftt_output_judge(&c->flow, d->next, d->crc, theirs);

	d->crc = theirs;
	w->n.compared_blocks++;
	if (got == FTT_DIFFERENT) {
		w->n.divergences++;
		c->divergences++;
	}
	if (w->mode != FTT_MODE_BACKUP)
		return 0;
	return got == FTT_EQUAL ? FTT_ACT_COMMIT_LATER : FTT_ACT_COMMIT;
}

/* Sums the next `n` bytes of our output, and compares where the primary has told of it. */
static uint32_t sum(struct ftt_worker *w, struct ftt_tcp *c, const uint8_t *bytes, uint32_t n)
{
	struct ftt_digest *d = &c->digest;
	uint32_t actions = 0;

	while (n) {
		uint32_t left = c->points ? c->points->point[0].at - d->next : n, part = left < n ? left : n;

		d->crc = ftt_crc32c(d->crc, bytes, part);
		d->next += part;
		bytes += part;
		n -= part;
		if (part != left || !c->points)
			continue;
		actions |= judge(w, c, c->points->point[0].crc);
		ftt_points_pop(c->points);
		if (!c->points->n)
			ftt_compare_forget(c);
	}
	return actions;
}

/* ... up to `to`, of what was seen before and is retained. */
static uint32_t sum_retained(struct ftt_worker *w, struct ftt_tcp *c, uint32_t to)
{
	struct ftt_digest *d = &c->digest;
	uint32_t actions = 0;

	while (d->next != to) {
		const uint8_t *at;
		uint32_t n = ftt_retain_piece(c, ftt_output_seq(&c->flow, d->next), to - d->next, &at);

		actions |= sum(w, c, at, n);
	}
	return actions;
}

/* After a takeover: is all at hand that the client may lack? */
static bool is_kept(const struct ftt_tcp *c)
{
	uint32_t seen = ftt_output_seq(&c->flow, c->digest.seen);

	return seq_leq(seen, c->flow.client_acked) ||
	       (c->retained.n && seq_leq(c->retained.seq, c->flow.client_acked) && seq_geq(ftt_retained_end(&c->retained), seen));
}

static bool is_retained(const struct ftt_tcp *c)
{
	const struct ftt_retained *r = &c->retained;

	return c->digest.next == c->digest.seen ||
	       (r->n && seq_leq(r->seq, ftt_output_seq(&c->flow, c->digest.next)) &&
		seq_geq(ftt_retained_end(r), ftt_output_seq(&c->flow, c->digest.seen)));
}

static void keep_points(struct ftt_worker *w, struct ftt_tcp *c, const struct ftt_record *r)
{
	uint32_t n = r->data_len / 4, at = r->point - r->rest - (n - 1) * r->step;

	for (uint32_t i = 0; i < n; i++, at += r->step)
		if (seq_gt(at, c->digest.seen))
			keep_point(w, c, at, get_be32(r->data + 4 * i));
	keep_point(w, c, r->point, r->crc);
}

/* The primary's sum of all its output up to r->point, and those at its segments. */
uint32_t ftt_compare_record(struct ftt_worker *w, struct ftt_tcp *c, const struct ftt_record *r, uint64_t now_ns)
{
	struct ftt_digest *d = &c->digest;
	bool sums = c->flow.bits & FTT_F_SUMS && r->flags & FTT_REC_SUM, news = sums && ftt_output_tell(&c->flow, r->point);
	uint32_t actions = 0;

	if (!sums || d->broken)
		return 0;
	if (seq_gt(r->point, d->seen)) {
		actions = sum_retained(w, c, d->seen);
		keep_points(w, c, r);
	} else if (!news) {
		return 0;
	} else if (seq_geq(r->point, d->next)) {
		actions = sum_retained(w, c, r->point);
		actions |= judge(w, c, r->crc);
	} else {
		w->n.uncompared_blocks++; /* summed beyond it for want of room; where both stand still they meet again */
	}
	ftt_retain_acked(w, c, NULL, now_ns);
	return actions;
}

/* --- both -------------------------------------------------------------------------------------- */

/* What of this segment is new: its bytes, and how many; 0 also when they were not all seen, which ends the sums. */
static uint32_t fresh(struct ftt_worker *w, struct ftt_tcp *c, const struct ftt_nfq_packet *p, const struct ftt_pkt *k,
		      const struct ftt_seg *s, const uint8_t **bytes)
{
	struct ftt_digest *d = &c->digest;
	uint32_t offset = ftt_output_offset(&c->flow, s->seq - c->flow.hard.delta), end = offset + s->len;

	if (!s->len || s->flags & (TCP_SYN | TCP_RST) || !(c->flow.bits & FTT_F_MAPPED) || seq_leq(end, d->seen) || d->broken)
		return 0;
	if (p->cap < p->len || seq_gt(offset, d->seen)) {
		give_up(w, c);
		return 0;
	}
	*bytes = p->bytes + k->payload + (d->seen - offset);
	return end - d->seen;
}

void ftt_compare_tell(struct ftt_worker *w, struct ftt_tcp *c)
{
	struct ftt_record r = {.type = FTT_REC_OUTPUT, .key = c->key, .irs = c->flow.hard.irs, .snd_nxt = c->flow.local_snd_nxt};

	if (ftt_server_known_gone(w->e, ftt_now_ns())) /* last words are part of it */
		return;
	if (c->flow.bits & FTT_F_SUMS && !c->digest.broken) {
		r.flags = FTT_REC_SUM;
		r.step = c->flow.mss;
		if (c->points)
			ftt_points_prune(c->points, c->flow.verified);
		for (uint32_t i = 0; c->points && i < c->points->n && i < FTT_TOLD_AGAIN; i++) {
			r.point = c->points->point[i].at;
			r.crc = c->points->point[i].crc;
			ftt_channel_put_record(&w->channel, c->peer_worker, &r, &w->n);
		}
		r.point = c->digest.next;
		r.crc = c->digest.crc;
	}
	ftt_channel_put_record(&w->channel, c->peer_worker, &r, &w->n);
}

/* The primary: sums what is new, and tells of it before any of it leaves; of a last word, if ever it leaves. */
uint32_t ftt_compare_output(struct ftt_worker *w, struct ftt_tcp *c, const struct ftt_nfq_packet *p,
			    const struct ftt_pkt *k, const struct ftt_seg *s)
{
	struct ftt_digest *d = &c->digest;
	struct ftt_record r = {.type = FTT_REC_OUTPUT, .key = c->key, .irs = c->flow.hard.irs, .flags = FTT_REC_SUM,
			       .snd_nxt = c->flow.local_snd_nxt, .step = c->flow.mss};
	uint8_t sums[4 * FTT_SUMS_MAX];
	const uint8_t *bytes;
	uint32_t n = fresh(w, c, p, k, s, &bytes);

	if (!n)
		return 0;
	d->seen += n;
	for (; r.step && n > r.step && r.data_len < sizeof(sums); n -= r.step, bytes += r.step) {
		d->crc = ftt_crc32c(d->crc, bytes, r.step);
		d->next += r.step;
		keep_point(w, c, d->next, d->crc);
		put_be32(sums + r.data_len, d->crc);
		r.data_len += 4;
	}
	d->crc = ftt_crc32c(d->crc, bytes, n);
	d->next = d->seen;
	if (s->orphan)
		return FTT_ACT_COMMIT;
	r.point = c->flow.told = d->next;
	r.crc = d->crc;
	keep_point(w, c, r.point, r.crc);
	r.rest = n > 0xffff ? 0 : (uint16_t)n;
	r.data_len = r.rest ? r.data_len : 0;
	r.data = sums;
	ftt_channel_put_record(&w->channel, c->peer_worker, &r, &w->n);
	w->told = true;
	return FTT_ACT_COMMIT;
}

/*
 * The backup, and after a takeover whoever has not come as far as the old primary's server had: sums as far as was
 * told, and retains the rest.
 */
uint32_t ftt_compare_suppressed(struct ftt_worker *w, struct ftt_tcp *c, const struct ftt_nfq_packet *p,
				const struct ftt_pkt *k, const struct ftt_seg *s)
{
	struct ftt_digest *d = &c->digest;
	const uint8_t *bytes;
	uint32_t before = d->seen, n = fresh(w, c, p, k, s, &bytes), told = c->flow.told - d->next, actions = 0;

	d->seen += n;
	if (n && d->next == before && seq_gt(c->flow.told, d->next)) /* else what was seen before comes first */
		actions = sum(w, c, bytes, told < n ? told : n);
	ftt_retain_output(w, c, p, k, s);
	if (w->mode != FTT_MODE_BACKUP && !is_kept(c))
		c->flow.bits |= FTT_F_DIFFERS; /* no room: it cannot be vouched for */
	if (!n || !(c->flow.bits & FTT_F_SUMS) || is_retained(c))
		return actions;
	if (seq_lt(d->next, before)) /* no room: summed now, while it is there */
		actions |= sum_retained(w, c, before);
	return actions | sum(w, c, bytes + (d->next - before), d->seen - d->next);
}
