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
 * Offsets count from the first byte of the client's stream. The caller has the memory, and the bounds. The oldest pieces may be elsewhere
 * (spool.h): a place in the log stays the same.
 */
#ifndef FTTCP_LOG_H
#define FTTCP_LOG_H
#include <stdbool.h>
#include "core/packet/bytes.h"
#include "core/packet/mem.h"
#include "core/records/record.h"
#include "core/spool.h"

#define FTT_PIECE_HEADER 20u
#define FTT_PIECE_MAX 32768u       /* bytes in one piece: with what is around it, it fits into a message of the lane */
#define FTT_LOG_MAX (1u << 30)      /* bytes of a log: offsets stay far from a turn */
#define FTT_LOG_SHORT 4096u         /* up to here a log has no room to spare: there may be very many, and idle */
#define FTT_LOG_SHARE 4u            /* ... of what is left for all */
#define FTT_LOG_READS 32u           /* pieces that may be looked at again for each that comes ... */
#define FTT_LOG_READS_MAX 65535u    /* ... and at once: a window of small pieces with some losses takes less */

enum { FTT_PIECE_FIN = 1, FTT_PIECE_PUSH = 2 };

struct ftt_piece {
	uint32_t offset;
	uint32_t tsval; /* when the client sent it: by its timestamps, or as servers in step were shown it, in ms since its SYN's TSval */
	uint16_t len;
	uint8_t flags; /* FTT_PIECE_* */
	uint64_t after; /* bytes of the server's that the client had acknowledged, and 1 for its end */
	const uint8_t *bytes;
};

/* It was not renewed this time, and may be the next time: its log is kept. */
static inline bool ftt_renewal_rests(uint8_t why)
{
	return why == FTT_NOT_IN_TIME || why == FTT_STACK_UNLIKE || why == FTT_NOT_REOPENED;
}

/* ... but not with the same backup. */
static inline bool ftt_renewal_vain(uint8_t why)
{
	return why == FTT_STACK_UNLIKE || why == FTT_NOT_REOPENED;
}

/* Is a log of no use any more? */
static inline bool ftt_unrenewable(uint8_t why)
{
	return why && !ftt_renewal_rests(why);
}

struct ftt_renewal;

/* Pieces that have to wait: others, which came before them, are not here yet. */
struct ftt_later {
	uint8_t *bytes;
	uint32_t len, size;
};

struct ftt_log {
	uint8_t *bytes; /* the SYN, then pieces, but for those that are elsewhere */
	uint32_t size;  /* there is room for */
	uint32_t len;   /* of all of it */
	uint32_t last;  /* where the last piece is; 0: there is none */
	uint32_t end;   /* up to this offset of the stream there is no hole */
	uint32_t hole;   /* where the first piece that lies behind a hole is, in the log, */
	uint32_t nearest; /* and the lowest offset of any */
	uint16_t beyond; /* how many there are */
	uint16_t reads;  /* pieces that may still be looked at again */
	uint16_t syn_len;
	bool fin;       /* the end of the stream is in it, at `end` unless there is a hole */
	struct ftt_spooled *spooled; /* where those are that are away; NULL: none is */
	struct ftt_later *later; /* NULL: none has to wait */
	struct ftt_renewal *renewal; /* the caller's, while the connection is renewed */
};

_Static_assert(sizeof(struct ftt_log) <= 64, "there may be very many, and idle");

/* Of the first pieces, bytes that are elsewhere. */
static inline uint32_t ftt_log_away(const struct ftt_log *l)
{
	return l->spooled ? l->spooled->away : 0;
}

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

/* The bytes at a place of the log that is in memory: `last`, what lies behind a hole, and all that came since. */
static inline uint8_t *ftt_log_here(const struct ftt_log *l, uint32_t at)
{
	return l->bytes + (at - ftt_log_away(l));
}

/*
 * The bytes of the log from a place on, and in `room` how many there are side by side: 0 at the end. NULL: they are elsewhere; from here on
 * their block is wanted.
 */
static inline const uint8_t *ftt_log_at(const struct ftt_log *l, uint32_t at, uint32_t *room)
{
	if (l->spooled && at < l->syn_len + l->spooled->away)
		return ftt_spooled_at(l->spooled, at, room);
	*room = l->len - at;
	return ftt_log_here(l, at);
}

/* Reads the piece there; returns its length in all, 0 at the end, and where it is elsewhere. */
static inline uint32_t ftt_log_piece(const struct ftt_log *l, uint32_t at, struct ftt_piece *x)
{
	uint32_t room;
	const uint8_t *bytes = ftt_log_at(l, at, &room);

	return bytes ? ftt_piece_get(bytes, room, x) : 0;
}

/* What comes next is a piece of its own: the last one was handed on as it is. */
static inline void ftt_log_close_piece(struct ftt_log *l)
{
	l->last = 0;
}

/* What is before this place is elsewhere by now, as blocks that l->spooled has. */
static inline void ftt_log_moved(struct ftt_log *l, uint32_t upto)
{
	memmove(l->bytes + l->syn_len, ftt_log_here(l, upto), l->len - upto);
	l->spooled->away = upto - l->syn_len;
	l->last = l->last < upto ? 0 : l->last;
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

	return !apart && l->last && !l->fin && ftt_piece_get(ftt_log_here(l, l->last), l->len - l->last, &last) &&
	       last.offset + last.len == x->offset && last.after == x->after && last.len + x->len <= (int)FTT_PIECE_MAX;
}

/* How many bytes the log grows by with a piece of which something is new. */
static inline uint32_t ftt_log_growth(const struct ftt_log *l, const struct ftt_piece *x, bool apart)
{
	return ftt_log_joins(l, x, apart) ? x->len : FTT_PIECE_HEADER + x->len;
}

/*
 * A log of `size` bytes needs `need` of memory, and may have `most`, where all logs have `used`: so large it becomes, in *to. Else why it
 * ends. There is room to spare but for short ones, which are many, and beyond renew_flow, where a spool takes what there is.
 *
 * shares: none grows beyond a part of what is left for all. Of those that grow for ever the longest end first, and the short ones do not
 * notice (dynamic thresholds, as switches share their buffers). A history is lost with any of its logs: then they do not share.
 */
static inline enum ftt_unrenewable ftt_log_room_for(uint32_t size, uint32_t need, uint32_t most, uint64_t used, bool shares,
						    const struct ftt_policy *policy, uint32_t *to)
{
	uint64_t left = used < policy->renew_bytes ? policy->renew_bytes - used : 0;

	*to = size;
	if (need <= size)
		return FTT_RENEWABLE;
	if (need > most || need > FTT_LOG_MAX)
		return FTT_LOG_TOO_LONG;
	*to = need < FTT_LOG_SHORT ? (need + 7) / 16 * 16 + 8 : need + need / 2; /* what malloc() gives anyway */
	if (*to > policy->renew_flow)
		*to = need > policy->renew_flow ? need : policy->renew_flow;
	return (shares && need > left / FTT_LOG_SHARE) || *to - size > left ? FTT_LOGS_TOO_LONG : FTT_RENEWABLE;
}

/* May one more begin, that takes so much? */
static inline bool ftt_log_may_begin(uint64_t used, uint64_t more, const struct ftt_policy *policy)
{
	return used + more <= policy->renew_bytes;
}

/* Is there a place for so many bytes behind all others? */
static inline bool ftt_log_has_place(const struct ftt_log *l, uint32_t more)
{
	return l->len + more <= FTT_LOG_MAX;
}

/*
 * A hole is filled: how far does what lay behind it reach? A client that says its stream backwards would have all pieces looked at
 * for each byte of it: false when they were looked at too often.
 */
static inline bool ftt_log_close_up(struct ftt_log *l)
{
	while (l->beyond && l->nearest <= l->end) {
		uint32_t hole = 0, n;
		struct ftt_piece x;

		l->beyond = 0;
		l->nearest = UINT32_MAX;
		for (uint32_t at = l->hole; at < l->len && (n = ftt_piece_get(ftt_log_here(l, at), l->len - at, &x)); at += n) {
			if (!l->reads)
				return false;
			l->reads--;
			if (x.offset > l->end) {
				hole = hole ? hole : at;
				l->nearest = x.offset < l->nearest ? x.offset : l->nearest;
				l->beyond++;
			} else if (x.offset + x.len > l->end) {
				l->end = x.offset + x.len;
			}
		}
		l->hole = hole;
	}
	return true;
}

/* Puts what ftt_log_fresh() left of the piece behind all others; there is room for it. False: the log is of no use any more. */
static inline bool ftt_log_put(struct ftt_log *l, const struct ftt_piece *x, bool apart)
{
	if (ftt_log_joins(l, x, apart)) {
		uint8_t *last = ftt_log_here(l, l->last);

		if (x->len)
			memcpy(ftt_log_here(l, l->len), x->bytes, x->len);
		put_be16(last + 4, (uint16_t)(get_be16(last + 4) + x->len));
		last[6] |= x->flags;
		l->len += x->len;
	} else {
		ftt_piece_put(ftt_log_here(l, l->len), x);
		l->last = l->len;
		l->len += FTT_PIECE_HEADER + x->len;
	}
	l->fin |= (x->flags & FTT_PIECE_FIN) != 0;
	l->reads = (uint16_t)(l->reads < FTT_LOG_READS_MAX - FTT_LOG_READS ? l->reads + FTT_LOG_READS : FTT_LOG_READS_MAX);
	if (x->offset <= l->end) {
		l->end = x->offset + x->len;
		return ftt_log_close_up(l);
	}
	if (l->beyond == UINT16_MAX)
		return false;
	if (!l->beyond++) {
		l->hole = l->last;
		l->nearest = x->offset;
	}
	l->nearest = x->offset < l->nearest ? x->offset : l->nearest;
	return true;
}

/* Up to where, from the first piece on, a log in memory may be moved elsewhere: no hole is in what lies before. */
static inline uint32_t ftt_log_done(const struct ftt_log *l)
{
	return l->beyond ? l->hole : l->len;
}

/* Whole pieces in memory, from this place on, as many as fit into a block. */
static inline struct ftt_block ftt_log_block(const struct ftt_log *l, uint32_t at)
{
	struct ftt_block b = {.at = at, .low = UINT32_MAX};
	uint32_t end = ftt_log_done(l), n;
	struct ftt_piece x;

	for (; b.at + b.len < end && (n = ftt_log_piece(l, b.at + b.len, &x)) && b.len + n <= FTT_BLOCK_MAX; b.len += n) {
		uint32_t high = x.offset + x.len + !!(x.flags & FTT_PIECE_FIN);

		b.low = x.offset < b.low ? x.offset : b.low;
		b.high = high > b.high ? high : b.high;
	}
	return b;
}

/* Who reads a log in the order of the stream: all zero in the beginning. */
struct ftt_log_reader {
	uint32_t offset; /* was looked for last, */
	uint32_t at;     /* and found there, if it was in memory */
	uint32_t low;    /* in memory, before that everything lies before the offset */
	uint32_t block;  /* of those that are elsewhere, all before this one lie before the offset, */
	uint32_t tried;  /* and none before that one has it */
	uint32_t there;  /* where something was found elsewhere */
};

/* Is the byte at `offset`, or the end of the stream there, in the piece at `at`? Then x is cut so that it begins with it. */
static inline bool ftt_log_has(const struct ftt_log *l, uint32_t offset, uint32_t at, struct ftt_piece *x, uint32_t *n)
{
	uint32_t skip;

	*n = at < l->len ? ftt_log_piece(l, at, x) : 0;
	skip = offset - x->offset;
	if (!*n || x->offset > offset || skip > x->len || (skip == x->len && !(x->flags & FTT_PIECE_FIN)))
		return false;
	x->offset += skip;
	x->bytes += skip;
	x->len = (uint16_t)(x->len - skip);
	return true;
}

/* Pieces that the reader at `offset` is done with are not looked at again. */
static inline void ftt_log_pass(const struct ftt_log *l, uint32_t offset, struct ftt_log_reader *r)
{
	uint32_t begin = l->syn_len + ftt_log_away(l), blocks = l->spooled ? l->spooled->n : 0;
	struct ftt_piece x;
	uint32_t n;

	if (offset < r->offset)
		r->low = r->at = r->block = 0;
	while (r->block < blocks && l->spooled->block[r->block].high <= offset)
		r->block++;
	if (offset != r->offset || r->tried < r->block)
		r->tried = r->block;
	r->offset = offset;
	r->low = r->low < begin ? begin : r->low;
	while (r->low < l->len && (n = ftt_piece_get(ftt_log_here(l, r->low), l->len - r->low, &x)) &&
	       x.offset + x.len + (x.flags & FTT_PIECE_FIN) <= offset)
		r->low += n;
	r->at = r->at < r->low ? r->low : r->at;
}

/* Is it between these two places, which are in one block, in memory? It mostly comes behind what was found there before. */
static inline bool ftt_log_between(const struct ftt_log *l, uint32_t offset, uint32_t at, uint32_t end, struct ftt_log_reader *r, struct ftt_piece *x)
{
	for (uint32_t n; at < end; at += n) {
		if (ftt_log_has(l, offset, at, x, &n)) {
			r->there = at;
			return true;
		}
		if (!n)
			return false;
	}
	return false;
}

/*
 * The piece with the byte at `offset`, or with the end of the stream there, cut so that it begins with it. It mostly comes soon behind
 * the one before; or it lay behind a hole, and then is not far from the first that is not done. Looking from both places in turn costs
 * no more, in all, than it took to put the log together. False: there is none, or it is elsewhere (ftt_log_at()).
 */
static inline bool ftt_log_find(const struct ftt_log *l, uint32_t offset, struct ftt_log_reader *r, struct ftt_piece *x)
{
	uint32_t n;

	if (offset > l->end || (offset == l->end && !l->fin))
		return false;
	ftt_log_pass(l, offset, r);
	for (uint32_t blocks = l->spooled ? l->spooled->n : 0; r->tried < blocks; r->tried++) {
		const struct ftt_block *b = &l->spooled->block[r->tried];
		uint32_t end = b->at + b->len, from = r->there > b->at && r->there < end ? r->there : b->at;

		if (b->low > offset || b->high <= offset)
			continue;
		if (!ftt_spooled_page(l->spooled, r->tried))
			return false;
		if (ftt_log_between(l, offset, from, end, r, x) || ftt_log_between(l, offset, b->at, from, r, x))
			return true;
	}
	for (uint32_t low = r->low, near = r->at; low < l->len; low += n) {
		if (ftt_log_has(l, offset, near, x, &n)) {
			r->at = near;
			return true;
		}
		near += n;
		if (ftt_log_has(l, offset, low, x, &n)) {
			r->at = low;
			return true;
		}
		if (!n)
			break;
	}
	return false;
}

#endif
