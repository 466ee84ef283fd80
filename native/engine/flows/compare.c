/* SPDX-License-Identifier: Apache-2.0 */
/* compare.c - sums a server's output on both nodes; the backup compares. See digest.h and verify.h. */
#define _GNU_SOURCE
#include <stdlib.h>
#include "engine/flows/compare.h"
#include "engine/flows/retain.h"
#include "core/compare/sums.h"
#include "engine/flows/renewal.h"

/* --- points -------------------------------------------------------------------------------------- */

void ftt_compare_forget(struct ftt_tcp *c)
{
	free(c->points);
	c->points = NULL;
}

static struct ftt_sums sums_of(const struct ftt_worker *w, struct ftt_tcp *c)
{
	return (struct ftt_sums){.f = &c->flow, .d = &c->digest, .points = c->points, .seen_crc = &c->seen_crc, .kept = &c->retained,
				 .store = c->store, .mode = (uint8_t)w->mode};
}

/* Keeps a point, where that is asked for, and drops those that are none. */
static void keep(struct ftt_worker *w, struct ftt_tcp *c, struct ftt_summed *out)
{
	if (out->keeps && !c->points && !(c->points = calloc(1, sizeof(*c->points)))) {
		struct ftt_sums o = sums_of(w, c);

		ftt_sums_give_up(&o, out);
	} else if (out->keeps) {
		ftt_points_keep(c->points, out->point, out->own);
	}
	out->keeps = false;
	if (c->points && !c->points->n)
		ftt_compare_forget(c);
}

/* ... and counts what came of it. Returns what is to be done. */
static uint32_t done(struct ftt_worker *w, struct ftt_tcp *c, struct ftt_summed *out)
{
	keep(w, c, out);
	if (!(out->compared | out->uncompared))
		return out->actions;
	w->n.uncompared_blocks += out->uncompared;
	w->n.compared_blocks += out->compared;
	w->n.divergences += out->different;
	c->divergences += out->different;
	if (out->equal && ftt_renewal(c))
		ftt_renewal(c)->same = true;
	return out->actions;
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

/* The primary's sum of all its output up to r->point, which has left. */
uint32_t ftt_compare_record(struct ftt_worker *w, struct ftt_tcp *c, const struct ftt_record *r, uint64_t now_ns)
{
	struct ftt_sums o = sums_of(w, c);
	struct ftt_summed out = {0};
	bool moved = ftt_sums_told(&o, r, &out);
	uint32_t actions = done(w, c, &out);

	if (moved)
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

/* The backup needs it when it looks at what answers it. A PROBE wakes it, and it reads this one first. */
void ftt_compare_tell(struct ftt_worker *w, struct ftt_tcp *c)
{
	struct ftt_record r = {.type = FTT_REC_OUTPUT, .key = c->key, .irs = ftt_flow_name(&c->flow), .quiet = true, .snd_nxt = c->flow.sent,
			       .flags = (c->flow.bits & FTT_F_SUMS && !c->digest.broken ? FTT_REC_SUM : 0) |
					(c->flow.bits & FTT_F_LOCAL_FIN && c->flow.sent == c->flow.fin_end ? FTT_REC_ENDED : 0),
			       .point = c->flow.told, .crc = c->told_crc};

	ftt_channel_put_record(&w->channel, c->peer_worker, &r, &w->n);
}

/* The primary: sums what is new. */
void ftt_compare_output(struct ftt_worker *w, struct ftt_tcp *c, const struct ftt_packet *p,
			const struct ftt_pkt *k, const struct ftt_seg *s)
{
	struct ftt_summed out = {0};
	struct ftt_digest *d = &c->digest;
	const uint8_t *bytes;
	struct ftt_sums o;
	uint32_t n, part;

	if (!s->len)
		return;
	o = sums_of(w, c);
	n = ftt_sums_fresh(&o, s, p->cap >= p->len, &out);
	bytes = p->bytes + k->payload + s->len - n;
	if (out.uncompared)
		done(w, c, &out);
	ftt_digest_sees(d, n);
	for (; n; n -= part, bytes += part) {
		uint32_t left = c->offer.at - d->next;

		part = left && left < n ? left : n; /* also of an offer of long ago, 2^31 bytes and more behind */
		ftt_digest_sums(d, part, ftt_crc32c(d->crc, bytes, part));
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
	struct ftt_summed out = {0};
	struct ftt_sums o;
	uint32_t n, beyond;

	if (!s->len && w->mode == FTT_MODE_BACKUP) /* an acknowledgement */
		return 0;
	o = sums_of(w, c);
	n = ftt_sums_fresh(&o, s, p->cap >= p->len, &out);
	beyond = ftt_sums_said(&o, p->bytes + k->payload + s->len - n, n, &out);
	if (out.keeps)
		keep(w, c, &out);
	ftt_retain_output(w, c, p, k, s);
	o.points = c->points;
	o.store = c->store; /* it may be another, larger one */
	ftt_sums_behind(&o, beyond);
	return done(w, c, &out);
}

/* --- a flow that is renewed ---------------------------------------------------------------------- */

void ftt_compare_whole(struct ftt_worker *w, struct ftt_tcp *c)
{
	struct ftt_sums o = sums_of(w, c);
	struct ftt_summed out = {0};

	if (c->digest.next == c->digest.seen)
		return;
	ftt_sums_come_to(&o, c->digest.seen); /* it was a backup's, and all of it is verified */
	keep(w, c, &out);
}

void ftt_compare_alone(struct ftt_worker *w, struct ftt_tcp *c, const struct ftt_packet *p, const struct ftt_pkt *k,
		       const struct ftt_seg *s)
{
	ftt_compare_whole(w, c);
	ftt_compare_output(w, c, p, k, s);
}

void ftt_compare_acked(struct ftt_worker *w, struct ftt_tcp *c)
{
	struct ftt_sums o = sums_of(w, c);
	struct ftt_summed out = {0};
	bool moved = ftt_sums_acked(&o, &out);

	done(w, c, &out);
	if (moved)
		ftt_retain_acked(w, c, NULL, 0);
}

uint32_t ftt_compare_renewal(struct ftt_worker *w, struct ftt_tcp *c, const struct ftt_record *r)
{
	struct ftt_sums o = sums_of(w, c);
	struct ftt_summed out = {0};

	ftt_sums_renewal(&o, r, &out);
	return done(w, c, &out);
}
