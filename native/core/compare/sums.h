/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sums.h - what the backup does with its server's output as it comes, and with the primary's word of its own; see digest.h.
 *
 * Who calls has the bytes, the memory for points, and the counters: what is to be done with these comes back in
 * struct ftt_summed.
 */
#ifndef FTTCP_SUMS_H
#define FTTCP_SUMS_H
#include "core/compare/verify.h"
#include "core/tcp/renew.h"
#include "core/tcp/retain.h"

/* A flow's output on this node, beside what the flow has. */
struct ftt_sums {
	struct ftt_flow *f;
	struct ftt_digest *d;
	struct ftt_points *points; /* the primary's, beyond what our stack has said; or our own, beyond what it has told. NULL: none */
	uint32_t *seen_crc;        /* at d->seen */
	const struct ftt_retained *kept;
	const struct ftt_store *store; /* its bytes */
	uint8_t mode;
};

struct ftt_summed {
	uint32_t actions;
	uint8_t compared, different, uncompared; /* times: no more than there are points */
	bool equal; /* both outputs were, somewhere */
	bool keeps, own; /* this point is to be kept, of ours or the primary's: ftt_points_keep() */
	struct ftt_point point;
};

static inline bool ftt_sums_theirs(const struct ftt_sums *o)
{
	return o->points && o->points->n && !o->points->own;
}

static inline bool ftt_sums_own(const struct ftt_sums *o)
{
	return o->points && o->points->n && o->points->own;
}

/* Points of one kind only; the latest ones of ours are near what is told next. */
static inline void ftt_points_keep(struct ftt_points *p, struct ftt_point point, bool own)
{
	if (p->own != own)
		p->n = 0;
	p->own = own;
	if (own && p->n == FTT_POINTS)
		ftt_points_pop(p);
	ftt_points_put(p, point.at, point.crc);
}

static inline void ftt_sums_keep(struct ftt_summed *out, struct ftt_point point, bool own)
{
	out->keeps = true;
	out->own = own;
	out->point = point;
}

/* Bytes are missing: what comes behind them is compared no more. */
static inline void ftt_sums_give_up(const struct ftt_sums *o, struct ftt_summed *out)
{
	out->uncompared += !o->d->broken;
	o->d->broken = true;
	if (o->points)
		o->points->n = 0;
}

static inline void ftt_sums_judge(const struct ftt_sums *o, uint32_t theirs, struct ftt_summed *out)
{
	enum ftt_judged got = ftt_output_judge(o->f, o->d->next, o->d->crc, theirs);

	o->d->crc = theirs;
	out->compared++;
	out->different += got == FTT_DIFFERENT;
	out->equal |= got == FTT_EQUAL;
	if (o->mode == FTT_MODE_BACKUP)
		out->actions |= got == FTT_EQUAL ? FTT_ACT_COMMIT_LATER : FTT_ACT_COMMIT;
}

/* Sums the next `n` bytes of our output, and compares where the primary has told of it. */
static inline void ftt_sums_add(const struct ftt_sums *o, const uint8_t *bytes, uint32_t n, struct ftt_summed *out)
{
	struct ftt_digest *d = o->d;

	while (n) {
		bool theirs = ftt_sums_theirs(o);
		uint32_t left = theirs ? o->points->point[0].at - d->next : n, part = left < n ? left : n;

		d->crc = ftt_crc32c(d->crc, bytes, part);
		d->next += part;
		bytes += part;
		n -= part;
		if (part != left || !theirs)
			continue;
		ftt_sums_judge(o, o->points->point[0].crc, out);
		ftt_points_pop(o->points);
	}
}

/* ... from `crc` at `from` on, of what was seen before and is retained. */
static inline uint32_t ftt_sums_retained(const struct ftt_sums *o, uint32_t crc, uint32_t from, uint32_t to)
{
	while (from != to) {
		const uint8_t *at;
		uint32_t n = ftt_store_piece(o->store, ftt_output_seq(o->f, from), to - from, &at);

		crc = ftt_crc32c(crc, at, n);
		from += n;
	}
	return crc;
}

/* Our output up to here is summed, up to the end or a point on the way; what is missing is read again. */
static inline void ftt_sums_come_to(const struct ftt_sums *o, uint32_t to)
{
	struct ftt_digest *d = o->d;

	if (to == d->seen) {
		d->crc = *o->seen_crc;
		d->next = to;
		if (ftt_sums_own(o))
			o->points->n = 0;
		return;
	}
	while (ftt_sums_own(o) && seq_leq(o->points->point[0].at, to)) {
		d->next = o->points->point[0].at;
		d->crc = o->points->point[0].crc;
		ftt_points_pop(o->points);
	}
	d->crc = ftt_sums_retained(o, d->crc, d->next, to);
	d->next = to;
}

/*
 * Up to here the backup sums what its server says as it says it: the primary has told of so much; or, catching up, the client
 * has so much, and no point will be told that lies before.
 */
static inline uint32_t ftt_sums_limit(const struct ftt_sums *o)
{
	bool replays = o->f->protection == FTT_CATCHING_UP && !ftt_sums_theirs(o);

	return replays ? ftt_output_acked(o->f) : o->f->told;
}

/* What the primary has told of all before d->next, which we had summed beyond. */
static inline void ftt_sums_judge_behind(const struct ftt_sums *o, uint32_t theirs, struct ftt_summed *out)
{
	bool same = o->d->crc == theirs;

	ftt_sums_judge(o, theirs, out);
	if (same)
		return;
	if (ftt_sums_own(o)) /* they go on from another sum */
		o->points->n = 0;
	*o->seen_crc = ftt_sums_retained(o, theirs, o->d->next, o->d->seen);
}

/* After a takeover: is all at hand that the client may lack? */
static inline bool ftt_sums_whole(const struct ftt_sums *o)
{
	uint32_t seen = ftt_output_seq(o->f, o->d->seen);

	return seq_leq(seen, o->f->client_acked) ||
	       (o->kept->n && seq_leq(o->kept->seq, o->f->client_acked) && seq_geq(ftt_retained_end(o->kept), seen));
}

/* Can what is not summed yet be read again? */
static inline bool ftt_sums_readable(const struct ftt_sums *o)
{
	return o->d->next == o->d->seen || (o->kept->n && seq_leq(o->kept->seq, ftt_output_seq(o->f, o->d->next)) &&
					    seq_geq(ftt_retained_end(o->kept), ftt_output_seq(o->f, o->d->seen)));
}

/* The primary's sum of all its output up to r->point, which has left. True where that is something to go by. */
static inline bool ftt_sums_told(const struct ftt_sums *o, const struct ftt_record *r, struct ftt_summed *out)
{
	bool sums = o->f->bits & FTT_F_SUMS;

	if (sums && !(r->flags & FTT_REC_SUM)) { /* the primary can compare no more: an offer proves nothing */
		ftt_sums_give_up(o, out);
		ftt_output_unoffered(o->f);
	}
	if (sums && !ftt_sums_readable(o)) /* it was dropped, for the flow is over: nothing can be read again */
		ftt_sums_give_up(o, out);
	if (!(r->flags & FTT_REC_SUM) || !ftt_output_tell(o->f, r->point) || o->d->broken)
		return false;
	if (seq_gt(r->point, o->d->seen)) {
		ftt_sums_come_to(o, o->d->seen);
		ftt_sums_keep(out, (struct ftt_point){r->point, r->crc}, false);
	} else if (seq_geq(r->point, o->d->next)) {
		ftt_sums_come_to(o, r->point);
		ftt_sums_judge_behind(o, r->crc, out);
	} else {
		out->uncompared++; /* summed beyond it for want of room; where both stand still they meet again */
	}
	return true;
}

/* What of a segment is new, of `whole` bytes that are all at hand or not: how much; 0 also when it does not follow, which ends the sums. */
static inline uint32_t ftt_sums_fresh(const struct ftt_sums *o, const struct ftt_seg *s, bool whole, struct ftt_summed *out)
{
	uint32_t offset = ftt_output_offset(o->f, s->seq - o->f->hard.delta), end = offset + s->len;

	if (!s->len || s->flags & (TCP_SYN | TCP_RST) || !(o->f->bits & FTT_F_MAPPED) || seq_leq(end, o->d->seen) || o->d->broken)
		return 0;
	if (!whole || seq_gt(offset, o->d->seen)) {
		ftt_sums_give_up(o, out);
		return 0;
	}
	return end - o->d->seen;
}

/* Our server says these `n` new bytes: summed and compared as far as was told. Returns how many go beyond that. */
static inline uint32_t ftt_sums_said(const struct ftt_sums *o, const uint8_t *bytes, uint32_t n, struct ftt_summed *out)
{
	struct ftt_digest *d = o->d;
	uint32_t before = d->seen, limit = ftt_sums_limit(o), told = limit - d->next;

	d->seen += n;
	if (n && d->next == before) { /* else what was seen before comes first */
		if (seq_gt(limit, d->next))
			ftt_sums_add(o, bytes, told < n ? told : n, out);
		*o->seen_crc = d->crc;
		bytes += d->next - before;
		n = d->seen - d->next;
	}
	if (n && o->f->bits & FTT_F_SUMS) { /* now, while it is in the cache */
		if (seq_lt(d->next, before))
			ftt_sums_keep(out, (struct ftt_point){before, *o->seen_crc}, true);
		*o->seen_crc = ftt_crc32c(*o->seen_crc, bytes, n);
	}
	return n;
}

/* ... and was retained, if there was room. */
static inline void ftt_sums_behind(const struct ftt_sums *o, uint32_t n)
{
	if (o->mode != FTT_MODE_BACKUP && !ftt_sums_whole(o))
		ftt_output_lost(o->f);
	if (n && o->f->bits & FTT_F_SUMS && !ftt_sums_readable(o))
		ftt_sums_come_to(o, o->d->seen); /* no room to read it again */
}

/* Catching up: the client has more, so that is summed. True where something was. */
static inline bool ftt_sums_acked(const struct ftt_sums *o, struct ftt_summed *out)
{
	uint32_t to = ftt_sums_limit(o);

	if (o->f->protection != FTT_CATCHING_UP || !(o->f->bits & FTT_F_SUMS) || o->d->broken || ftt_sums_theirs(o))
		return false;
	if (seq_gt(to, o->d->seen))
		to = o->d->seen;
	if (seq_leq(to, o->d->next))
		return false;
	if (to != o->d->seen && !ftt_sums_readable(o)) {
		ftt_sums_give_up(o, out);
		return false;
	}
	ftt_sums_come_to(o, to);
	return true;
}

/* ... and the primary tells its sum of all its output. */
static inline void ftt_sums_renewal(const struct ftt_sums *o, const struct ftt_record *r, struct ftt_summed *out)
{
	if (!(o->f->bits & FTT_F_SUMS) || o->d->broken || seq_lt(r->point, o->d->next))
		return;
	if (seq_gt(r->point, o->d->seen)) {
		ftt_sums_come_to(o, o->d->seen);
		ftt_sums_keep(out, (struct ftt_point){r->point, r->crc}, false);
		ftt_renew_told_of(o->f, seq_max(o->f->told, r->point));
	} else if (ftt_sums_readable(o)) {
		ftt_sums_come_to(o, r->point);
		ftt_renew_told_of(o->f, r->point);
		ftt_sums_judge_behind(o, r->crc, out);
	} else {
		ftt_sums_give_up(o, out);
	}
}

#endif
