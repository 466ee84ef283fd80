/* SPDX-License-Identifier: Apache-2.0 */
/* compare.c - sums a server's output on both nodes; the backup compares. See digest.h and verify.h. */
#define _GNU_SOURCE
#include <stdlib.h>
#include "engine/flows/compare.h"
#include "engine/flows/retain.h"
#include "core/tcp/renew.h"
#include "engine/flows/renewal.h"

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

/* The primary's, beyond what our stack has said; or our own, beyond what the primary has told. Never both. */
static void keep_point(struct ftt_worker *w, struct ftt_tcp *c, uint32_t at, uint32_t crc, bool own)
{
	if (c->points && c->points->own != own)
		c->points->n = 0;
	if (!c->points && !(c->points = calloc(1, sizeof(*c->points)))) {
		give_up(w, c);
		return;
	}
	c->points->own = own;
	if (own && c->points->n == FTT_POINTS) /* the latest ones are near what is told next */
		ftt_points_pop(c->points);
	ftt_points_put(c->points, at, crc);
}

static bool has_theirs(const struct ftt_tcp *c)
{
	return c->points && c->points->n && !c->points->own;
}

/* --- the primary ------------------------------------------------------------------------------- */

static void post(struct ftt_worker *w, const struct ftt_tcp *c, uint32_t how)
{
	struct ftt_event ev = {.kind = FTT_EV_DIVERGENCE, .key = c->key, .reason = how,
			       .value = c->bytes_out - (ftt_output_end(&c->flow) - c->flow.verified)};

	ftt_event_post(w->e, &ev);
}

/* The backup's sum at the end of what is summed here, or of a packet that waits. */
static bool is_ours(const struct ftt_tcp *c, struct ftt_point theirs)
{
	if (theirs.at == c->digest.next)
		return theirs.crc == c->digest.crc;
	for (const struct ftt_held *h = c->held; h; h = h->next)
		if (h->point.at == theirs.at)
			return h->point.crc == theirs.crc;
	return false;
}

/* The backup has offered its own sum. If it is ahead, ours will come there. */
static void take_offer(struct ftt_tcp *c, struct ftt_point theirs)
{
	if (seq_gt(theirs.at, c->digest.next))
		c->offer = theirs;
	else if (seq_gt(theirs.at, c->flow.assured) && is_ours(c, theirs))
		ftt_output_assured(&c->flow, theirs.at);
}

/* What a COMMIT tells of differences, and offers; it is taken into the flow afterwards. */
uint32_t ftt_compare_commit(struct ftt_worker *w, struct ftt_tcp *c, const struct ftt_record *r, uint64_t now_ns)
{
	struct ftt_flow *f = &c->flow;
	bool differed = f->bits & FTT_F_DIFFERS, differs = r->flags & FTT_REC_DIFFERS;
	uint32_t more = r->differences - c->divergences;

	if (!(f->bits & FTT_F_SUMS) || f->protection != FTT_PROTECTED || more >= 1u << 30)
		return 0;
	if (r->flags & FTT_REC_OFFER && !c->digest.broken)
		take_offer(c, (struct ftt_point){r->point, r->crc});
	w->n.divergences += more;
	c->divergences += more;
	if (!differs && (more || differed) && !c->difference_told) { /* of each flow's the first is news */
		c->difference_told = true;
		post(w, c, FTT_WHY_NONE);
	}
	return more && w->e->cfg.policy.detach_divergent ? ftt_flow_detach(f, FTT_WHY_DIVERGENCE, now_ns) : 0;
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
	if (got == FTT_EQUAL && ftt_renewal(c))
		ftt_renewal(c)->same = true;
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
		bool theirs = has_theirs(c);
		uint32_t left = theirs ? c->points->point[0].at - d->next : n, part = left < n ? left : n;

		d->crc = ftt_crc32c(d->crc, bytes, part);
		d->next += part;
		bytes += part;
		n -= part;
		if (part != left || !theirs)
			continue;
		actions |= judge(w, c, c->points->point[0].crc);
		ftt_points_pop(c->points);
	}
	if (c->points && !c->points->n)
		ftt_compare_forget(c);
	return actions;
}

/* ... from `crc` at `from` on, of what was seen before and is retained. */
static uint32_t crc_retained(const struct ftt_tcp *c, uint32_t crc, uint32_t from, uint32_t to)
{
	while (from != to) {
		const uint8_t *at;
		uint32_t n = ftt_retain_piece(c, ftt_output_seq(&c->flow, from), to - from, &at);

		crc = ftt_crc32c(crc, at, n);
		from += n;
	}
	return crc;
}

/* Our output up to here is summed, up to the end or a point on the way; what is missing is read again. */
static void come_to(struct ftt_tcp *c, uint32_t to)
{
	struct ftt_digest *d = &c->digest;

	if (to == d->seen) {
		d->crc = c->seen_crc;
		d->next = to;
		if (c->points && c->points->own)
			ftt_compare_forget(c);
		return;
	}
	while (c->points && c->points->own && c->points->n && seq_leq(c->points->point[0].at, to)) {
		d->next = c->points->point[0].at;
		d->crc = c->points->point[0].crc;
		ftt_points_pop(c->points);
	}
	d->crc = crc_retained(c, d->crc, d->next, to);
	d->next = to;
}

/*
 * Up to here the backup sums what its server says as it says it: the primary has told of so much; or, catching up, the client
 * has so much, and no point will be told that lies before.
 */
static uint32_t limit(const struct ftt_tcp *c)
{
	bool replays = c->flow.protection == FTT_CATCHING_UP && !has_theirs(c);

	return replays ? ftt_output_acked(&c->flow) : c->flow.told;
}

/* What the primary has told of all before d->next, which we had summed beyond. */
static uint32_t judge_behind(struct ftt_worker *w, struct ftt_tcp *c, uint32_t theirs)
{
	struct ftt_digest *d = &c->digest;
	bool same = d->crc == theirs;
	uint32_t actions = judge(w, c, theirs);

	if (same)
		return actions;
	if (c->points && c->points->own) /* they go on from another sum */
		ftt_compare_forget(c);
	c->seen_crc = crc_retained(c, theirs, d->next, d->seen);
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

/* The primary's sum of all its output up to r->point, which has left. */
uint32_t ftt_compare_record(struct ftt_worker *w, struct ftt_tcp *c, const struct ftt_record *r, uint64_t now_ns)
{
	struct ftt_digest *d = &c->digest;
	uint32_t actions = 0;

	if (c->flow.bits & FTT_F_SUMS && !(r->flags & FTT_REC_SUM)) { /* the primary can compare no more: an offer proves nothing */
		give_up(w, c);
		ftt_output_unoffered(&c->flow);
	}
	if (c->flow.bits & FTT_F_SUMS && !is_retained(c)) /* it was dropped, for the flow is over: nothing can be read again */
		give_up(w, c);
	if (!(r->flags & FTT_REC_SUM) || !ftt_output_tell(&c->flow, r->point) || d->broken)
		return 0;
	if (seq_gt(r->point, d->seen)) {
		come_to(c, d->seen);
		keep_point(w, c, r->point, r->crc, false);
	} else if (seq_geq(r->point, d->next)) {
		come_to(c, r->point);
		actions = judge_behind(w, c, r->crc);
	} else {
		w->n.uncompared_blocks++; /* summed beyond it for want of room; where both stand still they meet again */
	}
	ftt_retain_acked(w, c, NULL, now_ns);
	return actions;
}

/*
 * Our sum of all that our server has said, with a COMMIT that acknowledges input for the first time: the primary, which
 * waits for it, has let out no answer to that input yet.
 */
void ftt_compare_offer(struct ftt_tcp *c, struct ftt_record *r)
{
	if (c->digest.broken || !ftt_output_offers(&c->flow, c->digest.seen))
		return;
	r->point = c->digest.seen;
	r->flags |= FTT_REC_OFFER;
	r->crc = c->seen_crc;
}

/* --- both -------------------------------------------------------------------------------------- */

/* What of this segment is new: its bytes, and how many; 0 also when they were not all seen, which ends the sums. */
static uint32_t fresh(struct ftt_worker *w, struct ftt_tcp *c, const struct ftt_packet *p, const struct ftt_pkt *k,
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

/* The backup needs it when it looks at what answers it. A PROBE wakes it, and it reads this one first. */
void ftt_compare_tell(struct ftt_worker *w, struct ftt_tcp *c)
{
	struct ftt_record r = {.type = FTT_REC_OUTPUT, .key = c->key, .irs = c->flow.hard.irs, .quiet = true, .snd_nxt = c->flow.sent,
			       .flags = (c->flow.bits & FTT_F_SUMS && !c->digest.broken ? FTT_REC_SUM : 0) |
					(c->flow.bits & FTT_F_LOCAL_FIN && c->flow.sent == c->flow.fin_end ? FTT_REC_ENDED : 0),
			       .point = c->flow.told, .crc = c->told_crc};

	ftt_channel_put_record(&w->channel, c->peer_worker, &r, &w->n);
}

/* The primary: sums what is new. */
void ftt_compare_output(struct ftt_worker *w, struct ftt_tcp *c, const struct ftt_packet *p,
			const struct ftt_pkt *k, const struct ftt_seg *s)
{
	struct ftt_digest *d = &c->digest;
	const uint8_t *bytes;
	uint32_t n = fresh(w, c, p, k, s, &bytes), part;

	for (d->seen += n; n; n -= part, bytes += part) {
		uint32_t left = c->offer.at - d->next;

		part = left && left < n ? left : n; /* also of an offer of long ago, 2^31 bytes and more behind */
		d->crc = ftt_crc32c(d->crc, bytes, part);
		d->next += part;
		if (part == left)
			take_offer(c, c->offer);
	}
}

/* The primary: a packet leaves, with which all before `point` has. */
void ftt_compare_leaves(struct ftt_worker *w, struct ftt_tcp *c, struct ftt_point point, uint64_t now_ns)
{
	if (c->digest.broken) {
		w->told |= !!(c->flow.bits & FTT_F_SUMS);
	} else if (c->flow.bits & FTT_F_SUMS && seq_gt(point.at, c->flow.told)) {
		c->told_crc = point.crc;
		w->told |= ftt_output_leaves(&c->flow, point.at);
	}
	ftt_table_commit_by(&w->table, c, now_ns);
}

/*
 * The backup, and after a takeover whoever has not come as far as the old primary's server had: sums, compares as far
 * as was told, and retains the rest.
 */
uint32_t ftt_compare_suppressed(struct ftt_worker *w, struct ftt_tcp *c, const struct ftt_packet *p,
				const struct ftt_pkt *k, const struct ftt_seg *s)
{
	struct ftt_digest *d = &c->digest;
	const uint8_t *bytes;
	uint32_t before = d->seen, n = fresh(w, c, p, k, s, &bytes), told = limit(c) - d->next, actions = 0;

	d->seen += n;
	if (n && d->next == before) { /* else what was seen before comes first */
		if (seq_gt(limit(c), d->next))
			actions = sum(w, c, bytes, told < n ? told : n);
		c->seen_crc = d->crc;
		bytes += d->next - before;
		n = d->seen - d->next;
	}
	if (n && c->flow.bits & FTT_F_SUMS) { /* now, while it is in the cache */
		if (seq_lt(d->next, before))
			keep_point(w, c, before, c->seen_crc, true);
		c->seen_crc = ftt_crc32c(c->seen_crc, bytes, n);
	}
	ftt_retain_output(w, c, p, k, s);
	if (w->mode != FTT_MODE_BACKUP && !is_kept(c))
		ftt_output_lost(&c->flow); /* there was no room */
	if (n && c->flow.bits & FTT_F_SUMS && !is_retained(c))
		come_to(c, d->seen); /* no room to read it again */
	return actions;
}

/* --- a flow that is renewed ---------------------------------------------------------------------- */

void ftt_compare_whole(struct ftt_tcp *c)
{
	if (c->digest.next != c->digest.seen) /* it was a backup's, and all of it is verified */
		come_to(c, c->digest.seen);
}

void ftt_compare_alone(struct ftt_worker *w, struct ftt_tcp *c, const struct ftt_packet *p, const struct ftt_pkt *k,
		       const struct ftt_seg *s)
{
	ftt_compare_whole(c);
	ftt_compare_output(w, c, p, k, s);
}

void ftt_compare_acked(struct ftt_worker *w, struct ftt_tcp *c)
{
	struct ftt_digest *d = &c->digest;
	uint32_t to = limit(c);

	if (c->flow.protection != FTT_CATCHING_UP || !(c->flow.bits & FTT_F_SUMS) || d->broken || has_theirs(c))
		return;
	if (seq_gt(to, d->seen))
		to = d->seen;
	if (seq_leq(to, d->next))
		return;
	if (to != d->seen && !is_retained(c)) {
		give_up(w, c);
		return;
	}
	come_to(c, to);
	ftt_retain_acked(w, c, NULL, 0);
}

uint32_t ftt_compare_renewal(struct ftt_worker *w, struct ftt_tcp *c, const struct ftt_record *r)
{
	struct ftt_digest *d = &c->digest;
	uint32_t actions = 0;

	if (!(c->flow.bits & FTT_F_SUMS) || d->broken || seq_lt(r->point, d->next))
		return 0;
	if (seq_gt(r->point, d->seen)) {
		come_to(c, d->seen);
		keep_point(w, c, r->point, r->crc, false);
		ftt_renew_told_of(&c->flow, seq_max(c->flow.told, r->point));
	} else if (is_retained(c)) {
		come_to(c, r->point);
		ftt_renew_told_of(&c->flow, r->point);
		actions = judge_behind(w, c, r->crc);
	} else {
		give_up(w, c);
	}
	return actions;
}
