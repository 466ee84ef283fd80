/* SPDX-License-Identifier: Apache-2.0 */
/*
 * log.h - what a client has sent on one connection, from its SYN on: enough to say all of it again to another stack.
 *
 * A log is the SYN, then pieces of the stream in the order in which the stack was given them. Pieces may overlap, and lie behind a
 * hole that a later one fills. Each tells what the client had acknowledged when it sent it (`after`): a server that has not said as
 * much yet is not given it, for what a client says may answer that (I5).
 *
 * A piece is written in the same way in memory and on the lane:
 *
 *   offset u32 | length u16 | flags u8 | 0 | after u64 | tsval u32 | bytes
 *
 * Offsets count from the first byte of the client's stream. The caller has the memory, and the bounds.
 */
#ifndef FTTCP_LOG_H
#define FTTCP_LOG_H
#include <stdbool.h>
#include "core/packet/bytes.h"
#include "core/packet/mem.h"
#include "core/records/record.h"

#define FTT_PIECE_HEADER 20u
#define FTT_PIECE_MAX 32768u       /* bytes in one piece: with what is around it, it fits into a message of the lane */
#define FTT_LOG_MAX (64u << 20)     /* bytes of a log: offsets stay far from a turn */

enum { FTT_PIECE_FIN = 1, FTT_PIECE_PUSH = 2 };

struct ftt_piece {
	uint32_t offset, tsval;
	uint16_t len;
	uint8_t flags; /* FTT_PIECE_* */
	uint64_t after; /* bytes of the server's that the client had acknowledged */
	const uint8_t *bytes;
};

struct ftt_renewal;

struct ftt_log {
	uint8_t *bytes; /* the SYN, then pieces */
	uint32_t size;  /* there is room for */
	uint32_t len;
	uint32_t last;  /* where the last piece is; 0: there is none */
	uint32_t end;   /* up to this offset of the stream there is no hole */
	uint32_t beyond; /* pieces that lie behind a hole */
	uint16_t syn_len;
	bool fin;       /* the end of the stream is in it, at `end` unless there is a hole */
	struct ftt_renewal *renewal; /* the caller's, while the connection is renewed */
};

static inline void ftt_piece_put(uint8_t *p, const struct ftt_piece *x)
{
	put_be32(p, x->offset);
	put_be16(p + 4, x->len);
	p[6] = x->flags;
	p[7] = 0;
	put_be64(p + 8, x->after);
	put_be32(p + 16, x->tsval);
	if (x->len)
		memcpy(p + FTT_PIECE_HEADER, x->bytes, x->len);
}

/* Reads the piece at p; returns its length in all, 0 when it is none. */
static inline uint32_t ftt_piece_get(const uint8_t *p, uint32_t room, struct ftt_piece *x)
{
	if (room < FTT_PIECE_HEADER)
		return 0;
	x->offset = get_be32(p);
	x->len = get_be16(p + 4);
	x->flags = p[6];
	x->after = get_be64(p + 8);
	x->tsval = get_be32(p + 16);
	x->bytes = p + FTT_PIECE_HEADER;
	if (x->len > room - FTT_PIECE_HEADER || x->flags & ~(FTT_PIECE_FIN | FTT_PIECE_PUSH) || p[7] || x->offset > FTT_LOG_MAX ||
	    (!x->len && !(x->flags & FTT_PIECE_FIN)))
		return 0;
	return FTT_PIECE_HEADER + x->len;
}

/* What of the piece is new: its beginning moves behind what is there. False: nothing is. */
static inline bool ftt_log_fresh(const struct ftt_log *l, struct ftt_piece *x)
{
	uint32_t old = x->offset < l->end ? l->end - x->offset : 0;

	if (old > x->len)
		return false;
	x->offset += old;
	x->bytes += old;
	x->len = (uint16_t)(x->len - old);
	return x->len || (x->flags & FTT_PIECE_FIN && !l->fin);
}

/* May it become a part of the last piece? Not where each has its own time (`apart`). */
static inline bool ftt_log_joins(const struct ftt_log *l, const struct ftt_piece *x, bool apart)
{
	struct ftt_piece last;

	return !apart && l->last && !l->fin && ftt_piece_get(l->bytes + l->last, l->len - l->last, &last) &&
	       last.offset + last.len == x->offset && last.after == x->after && last.len + x->len <= (int)FTT_PIECE_MAX;
}

/* How many bytes the log grows by with a piece of which something is new. */
static inline uint32_t ftt_log_growth(const struct ftt_log *l, const struct ftt_piece *x, bool apart)
{
	return ftt_log_joins(l, x, apart) ? x->len : FTT_PIECE_HEADER + x->len;
}

/* A hole is filled: how far does what lay behind it reach? */
static inline void ftt_log_close_up(struct ftt_log *l)
{
	bool more = l->beyond;

	while (more) {
		struct ftt_piece x;
		uint32_t n;

		more = false;
		l->beyond = 0;
		for (uint32_t at = l->syn_len; at < l->len && (n = ftt_piece_get(l->bytes + at, l->len - at, &x)); at += n) {
			if (x.offset > l->end) {
				l->beyond++;
			} else if (x.offset + x.len > l->end) {
				l->end = x.offset + x.len;
				more = true;
			}
		}
		more = more && l->beyond;
	}
}

/* Puts what ftt_log_fresh() left of the piece behind all others; there is room for it. */
static inline void ftt_log_put(struct ftt_log *l, const struct ftt_piece *x, bool apart)
{
	if (ftt_log_joins(l, x, apart)) {
		uint8_t *last = l->bytes + l->last;

		if (x->len)
			memcpy(l->bytes + l->len, x->bytes, x->len);
		put_be16(last + 4, (uint16_t)(get_be16(last + 4) + x->len));
		last[6] |= x->flags;
		l->len += x->len;
	} else {
		ftt_piece_put(l->bytes + l->len, x);
		l->last = l->len;
		l->len += FTT_PIECE_HEADER + x->len;
	}
	l->fin |= (x->flags & FTT_PIECE_FIN) != 0;
	if (x->offset > l->end) {
		l->beyond++;
	} else {
		l->end = x->offset + x->len;
		ftt_log_close_up(l);
	}
}

/*
 * The piece with the byte at `offset`, or with the end of the stream there, cut so that it begins with it. `at` is where
 * the search begins, and where it ended: what comes next is mostly right there.
 */
static inline bool ftt_log_find(const struct ftt_log *l, uint32_t offset, uint32_t *at, struct ftt_piece *x)
{
	uint32_t from = *at < l->syn_len || *at >= l->len ? l->syn_len : *at, n;

	for (int round = 0; round < 2; round++, from = l->syn_len) {
		for (uint32_t i = from; i < l->len && (n = ftt_piece_get(l->bytes + i, l->len - i, x)); i += n) {
			uint32_t skip = offset - x->offset;

			if (x->offset > offset || skip > x->len || (skip == x->len && !(x->flags & FTT_PIECE_FIN)))
				continue;
			*at = i;
			x->offset += skip;
			x->bytes += skip;
			x->len = (uint16_t)(x->len - skip);
			return true;
		}
	}
	return false;
}

#endif
