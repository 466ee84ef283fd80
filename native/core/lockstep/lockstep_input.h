/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lockstep_input.h - what a client has said, and when: by it the clocks of both servers show the same, and both read the same pieces.
 * The engine writes it into the connection's row (lockstep.h), the library reads it there.
 */
#ifndef FTTCP_LOCKSTEP_INPUT_H
#define FTTCP_LOCKSTEP_INPUT_H
#include "core/lockstep/lockstep.h"

/*
 * A connection's clock is a function of what its client said: it was opened then, and between its SYN and the segment that brought the last
 * byte that the server has read, the client counted so many milliseconds (RFC 7323). Both nodes see the same counts. In steps of a
 * quarter of a second, for which alone places in the stream are remembered.
 *
 * Of a client that does not count, or in other units, what counts is when that segment came here. It came to the other node within a
 * millisecond or so; when each server gets round to it does not matter.
 *
 * A backup that catches up with a connection has its clock from the log: what is said again is as old as it was then.
 */
#define FTT_LS_STEP_SHIFT 8   /* of TSvals; they are taken for milliseconds, as most are */
#define FTT_LS_LAG_NS 2000000000ll  /* never further behind the real clock; a client that counts otherwise is not believed for longer */
#define FTT_LS_LEAD_NS 1000000000ll /* ... nor ahead */

/*
 * What the client sent at once ends at an *edge*, the end of a segment that pushes (RFC 9293, 3.9.1.2): both nodes see the same ones, however the
 * kernel joins segments. A server that has but one connection reads up to the next edge, or the next multiple of FTT_LS_PIECE, so that both
 * copies read the same pieces. Of edges that are further apart than that no two are in one piece, so they need not be remembered.
 */
#define FTT_LS_PIECE 16384u

/* --- the writer ------------------------------------------------------------------------------ */

/* Its client has not said anything yet. */
static inline void ftt_ls_no_input(struct ftt_ls_own *own)
{
	own->last = 0;
	own->inputs = own->edges = own->pushed = 0;
	own->apart = false;
}

static inline void ftt_ls_edge(struct ftt_ls_own *own, struct ftt_ls_row *row, uint32_t end)
{
	atomic_store_explicit(&row->edge[own->edges % FTT_LS_EDGES], end, memory_order_relaxed);
	atomic_store_explicit(&row->edges, ++own->edges, memory_order_release);
}

/*
 * How many milliseconds after its SYN the client has sent this: `counted`, by its own timestamps, if both have agreed to have any. Who
 * counts otherwise is not believed. lived: since it was opened, by us.
 */
static inline uint32_t ftt_ls_elapsed(uint32_t counted, bool ticks, uint32_t lived)
{
	int32_t ahead = (int32_t)(counted - lived);

	return ticks && ahead <= FTT_LS_LEAD_NS / 1000000 && ahead >= -FTT_LS_LAG_NS / 1000000 ? counted : lived;
}

/* The row's client has sent bytes up to this stream offset, so many milliseconds after its SYN, and pushed them. */
static inline void ftt_ls_input(struct ftt_ls_own *own, struct ftt_ls_row *row, uint32_t end, uint32_t elapsed, bool pushed)
{
	uint32_t n = own->inputs, last = (uint32_t)own->last, step = elapsed >> FTT_LS_STEP_SHIFT;

	if (n && (int32_t)(end - (uint32_t)(own->last >> 32)) <= 0)
		return; /* a copy, or what fills a hole */
	if (step > 1u << 31 >> FTT_LS_STEP_SHIFT || (n && step < last))
		step = last; /* it never goes back */
	if (n && step == last)
		n--;
	own->last = (uint64_t)end << 32 | step;
	own->inputs = n + 1;
	atomic_store_explicit(&row->input[n % FTT_LS_INPUTS], own->last, memory_order_relaxed);
	atomic_store_explicit(&row->inputs, n + 1, memory_order_release);
	if (!pushed)
		return;
	if (end - own->pushed >= FTT_LS_PIECE) {
		own->apart = true;
	} else {
		if (own->apart)
			ftt_ls_edge(own, row, own->pushed);
		ftt_ls_edge(own, row, end);
		own->apart = false;
	}
	own->pushed = end;
}

/* May more input be told, in a replay? Not before its server has read all by which it knows what would be forgotten. */
static inline bool ftt_ls_keeps_up(const struct ftt_ls_own *own, const struct ftt_ls_row *row)
{
	uint32_t read = atomic_load_explicit(&row->consumed, memory_order_relaxed);
	uint64_t step = atomic_load_explicit(&row->input[own->inputs % FTT_LS_INPUTS], memory_order_relaxed);
	uint32_t edge = atomic_load_explicit(&row->edge[(own->edges + 1) % FTT_LS_EDGES], memory_order_relaxed); /* two may come at once */

	return (own->inputs < FTT_LS_INPUTS || (int32_t)(read - (uint32_t)(step >> 32)) > 0) &&
	       (own->edges + 1 < FTT_LS_EDGES || (int32_t)(read - edge) >= 0);
}

/* Up to which stream offset there was input. */
static inline uint32_t ftt_ls_end_of(const struct ftt_ls_own *own)
{
	return (uint32_t)(own->last >> 32);
}

/* So many milliseconds after its SYN the client sent its last bytes, as its server is shown it. */
static inline uint32_t ftt_ls_shown(const struct ftt_ls_own *own)
{
	return (uint32_t)own->last << FTT_LS_STEP_SHIFT;
}

/* --- the reader ------------------------------------------------------------------------------ */

/* The step in which the byte at this stream offset came; of one that has not come yet, the last one. */
static inline uint32_t ftt_ls_step(const struct ftt_ls_row *row, uint32_t offset)
{
	uint32_t n = atomic_load_explicit(&row->inputs, memory_order_acquire), step = 0;

	for (uint32_t i = 0; i < FTT_LS_INPUTS && i < n; i++) {
		uint64_t one = atomic_load_explicit(&row->input[(n - 1 - i) % FTT_LS_INPUTS], memory_order_relaxed);

		if (i && (int32_t)((uint32_t)(one >> 32) - offset) <= 0)
			break; /* it came before that byte */
		step = (uint32_t)one;
	}
	return step;
}

/* How much of n bytes may be read at once. */
static inline size_t ftt_ls_piece(const struct ftt_ls_row *row, size_t n)
{
	uint32_t read = atomic_load_explicit(&row->consumed, memory_order_relaxed);
	uint32_t edges = atomic_load_explicit(&row->edges, memory_order_acquire);

	if (n > FTT_LS_PIECE - read % FTT_LS_PIECE)
		n = FTT_LS_PIECE - read % FTT_LS_PIECE;
	for (uint32_t i = edges > FTT_LS_EDGES ? edges - FTT_LS_EDGES : 0; i != edges; i++) {
		uint32_t left = atomic_load_explicit(&row->edge[i % FTT_LS_EDGES], memory_order_relaxed) - read;

		if ((int32_t)left > 0)
			return left < n ? left : n;
	}
	return n;
}

/*
 * What the wall clock shows for a connection: `ahead` tells that its server was just told of bytes that it has not read.
 * False if there is no clock for it (any more). real_ns: ours, at this moment.
 */
static inline bool ftt_ls_clock(const struct ftt_ls_map *m, const struct ftt_ls_found *f, bool ahead, int64_t real_ns, int64_t *ns)
{
	struct ftt_ls_origin o = f->row->origin;
	uint32_t read = atomic_load_explicit(&f->row->consumed, memory_order_relaxed);
	uint32_t step = read || ahead ? ftt_ls_step(f->row, read - !ahead) : 0;
	int64_t real = real_ns + o.ahead_ns, t = o.opened_ns + ((int64_t)step << FTT_LS_STEP_SHIFT) * 1000000;
	bool again = read + ahead < atomic_load_explicit(&f->row->replayed, memory_order_relaxed);

	if (!ftt_ls_still(f) || !o.opened_ns)
		return false;
	if (m->flags & FTT_LS_BY_ADDRESS)
		t = o.opened_ns;
	else if (again)
		; /* it is of then */
	else if (t < real - FTT_LS_LAG_NS)
		t = real - FTT_LS_LAG_NS;
	else if (t > real + FTT_LS_LEAD_NS)
		t = real + FTT_LS_LEAD_NS;
	*ns = t;
	return true;
}

#endif
