/* SPDX-License-Identifier: Apache-2.0 */
/*
 * retain.h - what of the backup's output is retained for a takeover, and when it is sent.
 *
 * When the primary dies, what it had in flight may be lost. The backup's stack holds the same bytes
 * as sent (and more: nothing ever held it up) and waits for its retransmission timer, which counts
 * from round trips through full queues. So the backup's engine keeps a copy of the bytes that the client
 * has not acknowledged, and is the sender after a takeover, until all of it is acknowledged, or
 * nothing moves any more and the stack begins to repair by itself.
 *
 * The path is begun anew, with the initial window of RFC 6928, which grows by what is acknowledged, as in
 * slow start (RFC 5681 3.1), and by a segment for each round trip once these get longer (a queue fills, as in
 * RFC 9406). The stack, whose own window knows nothing of this path, is shown no more than that of the
 * client's window, until that is what limits. An acknowledgement says what it is for by the time that it echoes
 * (as in RFC 3522): while segments of the old primary still come out of some queue, copies would only
 * fill it, so none are sent. They have come to their end when the client says that it has one of ours
 * twice (RFC 2883), or when nothing more is acknowledged: then another window goes.
 *
 * This is the reckoning only; who calls has the bytes, in a ring (struct ftt_store). Numbers are service
 * space. What is retained has no holes: bytes that come behind one are not, until all before it are
 * acknowledged.
 */
#ifndef FTTCP_RETAIN_H
#define FTTCP_RETAIN_H
#include <stdbool.h>
#include <stdint.h>
#include "core/tcp/state.h"

#define FTT_RETAIN_MAX (8u << 20) /* bytes for each flow; no send buffer of Linux is larger by default */
#define FTT_RETAIN_LEAST 4096u    /* bytes of a ring */
#define FTT_RETAIN_FIRST 10u      /* segments that leave at the takeover */
#define FTT_RETAIN_BURST 65536u   /* bytes by which one acknowledgement lets the window grow, at most */
#define FTT_RETAIN_QUIET_NS 5000000ull /* of a client whose acknowledgements have ceased */
#define FTT_RETAIN_DELAY_MS 8u /* by which a round trip may be longer than the shortest before the window grows slowly */
#define FTT_RETAIN_OWED_NS 200000000ull /* Linux's smallest retransmission timeout: of what our stack was told that the client has */
#define FTT_RETAIN_STUCK_NS 50000000ull /* without an acknowledgement that moves */

struct ftt_retained {
	uint32_t seq;   /* of the first byte */
	uint32_t n;     /* bytes */
	uint32_t next;  /* after a takeover: the first one that was not sent yet */
	uint32_t window; /* bytes that may be under way, ours or the stack's; 0 before a takeover and when it is over */
	uint32_t begun; /* the first byte that was sent */
	uint32_t tsval; /* the clock at the takeover, service space */
	uint32_t rtt_ms; /* shortest round trip since */
	uint8_t backoff;  /* how often we sent because the acknowledgement did not move: doubles the time */
	uint64_t heard_ns; /* when it moved, or we last did that */
};

/* Bytes of a stream in a ring, each at its sequence number modulo the size. */
struct ftt_store {
	uint32_t size; /* a power of two */
	uint8_t bytes[];
};

/* How large is a ring that had `had` bytes, and is to have `need`, where all of a worker's have `used`? 0: a bound forbids it. */
static inline uint32_t ftt_store_size(uint32_t had, uint32_t need, uint64_t used, const struct ftt_policy *policy)
{
	uint32_t size = had ? had : FTT_RETAIN_LEAST;

	if (need > FTT_RETAIN_MAX)
		return 0;
	while (size < need)
		size *= 2;
	return used - had + size > policy->max_retained ? 0 : size;
}

/* The longest run of its bytes from `seq` on, `n` at most, that lies in one piece; valid until more is put there. */
static inline uint32_t ftt_store_piece(const struct ftt_store *ring, uint32_t seq, uint32_t n, const uint8_t **at)
{
	uint32_t offset = seq & (ring->size - 1);

	*at = ring->bytes + offset;
	return ring->size - offset < n ? ring->size - offset : n;
}

/* What an acknowledgement is known to be for. */
enum ftt_retained_echo { FTT_ECHO_OLD = 0, FTT_ECHO_UNKNOWN = 1, FTT_ECHO_TWICE = 2, FTT_ECHO_OURS = 3 };

static inline uint32_t ftt_retained_end(const struct ftt_retained *r)
{
	return r->seq + r->n;
}

/* Is this output of our stack's kept? Who serves after a takeover may have to send it. */
static inline bool ftt_retains(const struct ftt_flow *f, const struct ftt_seg *s)
{
	return s->len && s->whole && !(s->flags & TCP_RST) &&
	       (f->protection == FTT_PROTECTED || f->protection == FTT_CATCHING_UP || f->bits & FTT_F_UNVERIFIED);
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

/* The client acknowledged: returns how many bytes more. What is retained of them is needed no longer. */
static inline uint32_t ftt_retained_ack(struct ftt_retained *r, uint32_t acked)
{
	uint32_t gone;

	if (!(r->n || r->window) || seq_leq(acked, r->seq))
		return 0;
	gone = acked - r->seq;
	r->seq = acked;
	r->n -= gone < r->n ? gone : r->n;
	return gone;
}

/* How many bytes from `next` on may leave now: whole segments, except for the last one (RFC 9293 3.8.6.2.1). */
static inline uint32_t ftt_retained_allow(const struct ftt_retained *r, const struct ftt_flow *f)
{
	uint32_t under_way = r->next - r->seq, room = r->window > under_way ? r->window - under_way : 0;
	uint32_t left = r->n > under_way ? r->n - under_way : 0;

	if (room >= left)
		return left;
	return f->mss ? room - room % f->mss : 0;
}

/* A takeover: returns how many bytes are to leave at once. */
static inline uint32_t ftt_retained_begin(struct ftt_retained *r, const struct ftt_flow *f, uint64_t now_ns)
{
	r->window = FTT_RETAIN_FIRST * f->mss;
	r->begun = r->next = r->seq;
	r->tsval = ftt_flow_clock(f, now_ns);
	r->rtt_ms = UINT32_MAX;
	r->heard_ns = now_ns;
	return ftt_retained_allow(r, f);
}

/* What `s` is for, which acknowledges. */
static inline enum ftt_retained_echo ftt_retained_echo(const struct ftt_retained *r, const struct ftt_flow *f,
						       const struct ftt_seg *s)
{
	bool times = s->options & FTT_OPT_TS && f->bits & FTT_F_TS;

	if (times && seq_geq(s->tsecr, r->tsval))
		return FTT_ECHO_OURS;
	if (s->options & FTT_OPT_DSACK && seq_geq(s->dsack, r->begun) && seq_lt(s->dsack, r->next))
		return FTT_ECHO_TWICE; /* it echoes no time: what came twice is not looked at */
	return times ? FTT_ECHO_OLD : FTT_ECHO_UNKNOWN;
}

/* By how much the window grows for `gone` bytes that `s` acknowledged of ours. */
static inline uint32_t ftt_retained_growth(struct ftt_retained *r, const struct ftt_flow *f, const struct ftt_seg *s,
					   uint32_t gone, uint64_t now_ns)
{
	uint32_t rtt_ms = ftt_flow_clock(f, now_ns) - s->tsecr;

	if (rtt_ms < r->rtt_ms)
		r->rtt_ms = rtt_ms;
	if (rtt_ms <= r->rtt_ms + FTT_RETAIN_DELAY_MS)
		return gone;
	return (uint32_t)((uint64_t)f->mss * gone / r->window) + 1;
}

/* `s` acknowledged `gone` bytes more: returns how many are to leave. */
static inline uint32_t ftt_retained_more(struct ftt_retained *r, const struct ftt_flow *f, const struct ftt_seg *s,
					 uint32_t gone, uint64_t now_ns)
{
	enum ftt_retained_echo echo = ftt_retained_echo(r, f, s);
	bool ahead = seq_lt(r->next, r->seq); /* of all that we sent */

	if (!r->window || (!gone && echo != FTT_ECHO_TWICE))
		return 0;
	r->heard_ns = now_ns;
	if (gone > FTT_RETAIN_BURST)
		gone = FTT_RETAIN_BURST;
	if (echo != FTT_ECHO_OLD)
		r->window += echo == FTT_ECHO_OURS ? ftt_retained_growth(r, f, s, gone, now_ns) : gone / 2;
	if (ahead)
		r->next = r->seq;
	return echo >= FTT_ECHO_TWICE || (echo == FTT_ECHO_UNKNOWN && !ahead) ? ftt_retained_allow(r, f) : 0;
}

/* Time passed: returns how many are to leave because the client is silent and nothing of ours is under way. */
static inline uint32_t ftt_retained_tick(struct ftt_retained *r, const struct ftt_flow *f, uint64_t now_ns)
{
	bool under_way = r->next != r->seq, owed = ftt_flow_owes(f);

	if (!r->window || !r->n || (under_way && !owed) ||
	    now_ns - r->heard_ns < (under_way ? FTT_RETAIN_OWED_NS : FTT_RETAIN_QUIET_NS) << r->backoff)
		return 0;
	r->next = r->seq; /* nobody else sends it again */
	r->heard_ns = now_ns;
	r->backoff += r->backoff < 8;
	return ftt_retained_allow(r, f);
}

/* The window that the stack is shown instead of `wnd`, a field. */
static inline uint16_t ftt_retained_wnd(const struct ftt_retained *r, const struct ftt_flow *f, uint16_t wnd)
{
	uint32_t most = r->window >> f->hard.client_wscale;

	most += !most; /* a unit of a large scale is more than the first window: never show it closed */
	return r->window && !(f->bits & FTT_F_BEHIND) && wnd > most ? (uint16_t)most : wnd;
}

/* Shows the stack that window with `s`; once it is the client's own that limits, and nothing is retained, it is over. */
static inline void ftt_retained_limit(struct ftt_retained *r, const struct ftt_flow *f, const struct ftt_seg *s,
				      struct ftt_edit *e)
{
	uint16_t wnd = e->change & FTT_EDIT_WND ? e->wnd : s->wnd;

	if (!r->window || f->bits & FTT_F_BEHIND || !(s->flags & TCP_ACK))
		return;
	e->wnd = ftt_retained_wnd(r, f, wnd);
	if (e->wnd != wnd)
		e->change |= FTT_EDIT_WND;
	else if (!r->n)
		r->window = 0;
}

/*
 * Our stack sends the `len` bytes at `seq` itself: is the repair its own from here on? Not while ours gets on, which can look to
 * the stack like reordering: its first attempts at repair are short. Nor if it repeats only what the client has: it has not seen that
 * acknowledgement yet. Never of what it was told that the client has: it has that no more.
 */
static inline bool ftt_retained_superseded(const struct ftt_retained *r, const struct ftt_flow *f, uint32_t seq, uint32_t len, uint64_t now_ns)
{
	return r->window && r->n && !ftt_flow_owes(f) && seq_leq(seq, r->seq) && seq_gt(seq + len, r->seq) &&
	       now_ns - r->heard_ns > FTT_RETAIN_STUCK_NS;
}

/* Then no bytes are needed any more, but the window goes on. */
static inline void ftt_retained_stop(struct ftt_retained *r)
{
	r->n = 0;
}

/* The flow is over, or another one. */
static inline void ftt_retained_begin_anew(struct ftt_retained *r)
{
	memset(r, 0, sizeof(*r));
}

/* So many bytes from `next` on are sent. */
static inline void ftt_retained_sends(struct ftt_retained *r, uint32_t len)
{
	r->next += len;
}

#endif
