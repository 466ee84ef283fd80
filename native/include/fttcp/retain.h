/* SPDX-License-Identifier: Apache-2.0 */
/*
 * retain.h - what of the backup's output is retained for a takeover, and when it is sent.
 *
 * When the primary dies, what it had in flight may be lost. The backup's stack holds the same bytes
 * as sent and waits for its retransmission timer, which counts from round trips through full queues.
 * So the backup's engine keeps a copy of the bytes that the client has not acknowledged, and is the
 * sender after a takeover until the stack itself sends one of them again.
 *
 * An initial window (RFC 6928) leaves at once. What follows depends on what the client's
 * acknowledgements tell. If they go beyond what we sent, or echo times from before the takeover
 * (RFC 3522), the old primary's segments are still coming out of some queue: more copies would only
 * fill it. When these acknowledgements cease, another initial window goes. If they are for our own
 * segments, two bytes leave for each one that is acknowledged, as in slow start (RFC 5681 3.1); one for
 * one without timestamps, when we cannot tell.
 *
 * This is the reckoning only; who calls has the bytes, in a ring or otherwise. Numbers are service
 * space. What is retained has no holes: bytes that come behind one are not, until all before it are
 * acknowledged.
 */
#ifndef FTTCP_RETAIN_H
#define FTTCP_RETAIN_H
#include <stdbool.h>
#include <stdint.h>
#include "fttcp/state.h"

#define FTT_RETAIN_MAX (8u << 20) /* bytes for each flow; no send buffer of Linux is larger by default */
#define FTT_RETAIN_FIRST 10u      /* segments that leave at the takeover */
#define FTT_RETAIN_BURST 32768u   /* acknowledged bytes that count, of one acknowledgement */
#define FTT_RETAIN_QUIET_NS 5000000ull /* of a client whose acknowledgements have ceased */

struct ftt_retained {
	uint32_t seq;   /* of the first byte */
	uint32_t n;     /* bytes */
	uint32_t next;  /* after a takeover: the first one that was not sent yet */
	uint32_t tsval; /* of what was sent first, service space */
	uint64_t heard_ns; /* when the client's acknowledgement moved, or we last sent because it did not */
	uint8_t patience;  /* how often we did that: doubles the time */
	bool sending;   /* a takeover has begun to send them */
};

/* What an acknowledgement is known to be for. */
enum ftt_retained_echo { FTT_ECHO_OLD = 0, FTT_ECHO_UNKNOWN = 1, FTT_ECHO_OURS = 2 };

static inline uint32_t ftt_retained_end(const struct ftt_retained *r)
{
	return r->seq + r->n;
}

/*
 * Output of `len` bytes at `seq` was seen; the client has all before `acked`. Returns how many of
 * its bytes, its last ones, are to be appended; with `bound`, not beyond that many in all.
 */
static inline uint32_t ftt_retained_add(struct ftt_retained *r, uint32_t acked, uint32_t seq, uint32_t len, uint32_t bound)
{
	uint32_t from = r->n ? ftt_retained_end(r) : seq_max(seq, acked), take = seq + len - from;

	if (seq_gt(seq, from) || seq_leq(seq + len, from) || take > bound - r->n)
		return 0;
	if (!r->n)
		r->seq = from;
	r->n += take;
	return take;
}

/* The client acknowledged: returns how many bytes at the front are needed no more. */
static inline uint32_t ftt_retained_ack(struct ftt_retained *r, uint32_t acked)
{
	uint32_t gone;

	if (!r->n || seq_leq(acked, r->seq))
		return 0;
	gone = seq_lt(acked, ftt_retained_end(r)) ? acked - r->seq : r->n;
	r->seq += gone;
	r->n -= gone;
	return gone;
}

static inline uint32_t ftt_retained_allow(const struct ftt_retained *r, uint32_t want)
{
	uint32_t left = ftt_retained_end(r) - r->next;

	return want < left ? want : left;
}

/* A takeover: returns how many bytes from `next` on are to leave at once, with times not before `tsval`. */
static inline uint32_t ftt_retained_begin(struct ftt_retained *r, uint32_t mss, uint32_t tsval, uint64_t now_ns)
{
	r->sending = true;
	r->next = r->seq;
	r->tsval = tsval;
	r->heard_ns = now_ns;
	return ftt_retained_allow(r, FTT_RETAIN_FIRST * mss);
}

/* `s` acknowledges, NULL when we do not know what did. */
static inline enum ftt_retained_echo ftt_retained_echo(const struct ftt_retained *r, const struct ftt_flow *f,
						       const struct ftt_seg *s)
{
	if (!s || !(s->options & FTT_OPT_TS) || !(f->bits & FTT_F_TS))
		return FTT_ECHO_UNKNOWN;
	return seq_geq(s->tsecr, r->tsval) ? FTT_ECHO_OURS : FTT_ECHO_OLD;
}

/* The client acknowledged `gone` of them: returns how many more are to leave. */
static inline uint32_t ftt_retained_more(struct ftt_retained *r, uint32_t gone, enum ftt_retained_echo echo, uint64_t now_ns)
{
	if (!r->sending || !gone)
		return 0;
	r->heard_ns = now_ns;
	if (seq_lt(r->next, r->seq)) {
		r->next = r->seq;
		return 0;
	}
	return ftt_retained_allow(r, echo * (gone < FTT_RETAIN_BURST ? gone : FTT_RETAIN_BURST));
}

/* Time passed: returns how many are to leave because the client is silent and nothing of ours is under way. */
static inline uint32_t ftt_retained_tick(struct ftt_retained *r, uint32_t mss, uint64_t now_ns)
{
	if (!r->sending || r->next != r->seq || now_ns - r->heard_ns < FTT_RETAIN_QUIET_NS << r->patience)
		return 0;
	r->heard_ns = now_ns;
	r->patience += r->patience < 8;
	return ftt_retained_allow(r, FTT_RETAIN_FIRST * mss);
}

/* Our stack sends `seq` itself: has it begun to repair, so that our part is over? */
static inline bool ftt_retained_superseded(const struct ftt_retained *r, uint32_t seq)
{
	return r->sending && seq_lt(seq, ftt_retained_end(r));
}

#endif
