/* SPDX-License-Identifier: Apache-2.0 */
/*
 * flow.h - one TCP flow on one node: its state, and what is decided for each of its segments.
 *
 * Theory of operation
 *
 * Two kernels hold the same connection. The client knows the sequence space in which the primary
 * shook hands, the *service space*; each kernel lives in its own *local space*, and
 * delta = local_iss - service_iss, ts_delta likewise for timestamps. A segment is turned into
 * service space as soon as it is seen, and every number in struct ftt_flow is in service space
 * unless its name says local. Client sequence numbers are the same everywhere.
 *
 * ftt_segment_step() observes a segment, then decides. It reads no clock, no packet, allocates
 * nothing; what it wants done comes back as a verdict, an edit of the header and a set of
 * actions. On the primary the second half, ftt_gate(), is asked again for a held segment
 * whenever something changed. ftt_*_step() for records, ticks and role changes work alike.
 *
 *   client  --> primary --> stack     tracked, translated (only flows taken over need it)
 *   client  ==> backup  --> stack     translated, ack clamped to what this stack has sent
 *   stack   --> primary --> client    held until the backup committed what it acknowledges
 *   stack   --> backup  --x           dropped; it is the commit record, and the client's
 *                                     acknowledgement is put back into the stack
 *
 * One segment is kept back from the backup's stack: while it has more in flight, it is never told
 * of the last segment's worth that the client acknowledged. At a takeover these bytes are a
 * cumulative acknowledgement that advances over a whole segment, which restarts a sender at once
 * and resets its timer (bare duplicates do neither).
 */
#ifndef FTTCP_FLOW_H
#define FTTCP_FLOW_H
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include "fttcp/abi.h"
#include "fttcp/parse.h"
#include "fttcp/seq.h"

enum ftt_dir { FTT_FROM_CLIENT = 0, FTT_FROM_SERVER = 1 };

enum ftt_verdict { FTT_PASS = 0, FTT_DROP = 1, FTT_HOLD = 2 };

/* Why a segment is dropped: which counter moves. */
enum ftt_drop {
	FTT_DROP_NONE = 0,
	FTT_DROP_SUPPRESSED, /* the backup's output */
	FTT_DROP_UNMAPPED,   /* mirrored before the handshake was agreed */
	FTT_DROP_ACKED,      /* the client has it from the old primary */
	FTT_DROP_REPEATED    /* a SYN-ACK that is held already */
};

/* What the caller is to do besides the verdict: a set. */
enum ftt_action {
	FTT_ACT_OPEN = 1,       /* send OPEN: may the backup follow? */
	FTT_ACT_OPENED = 2,     /* send OPENED: this backup holds the flow */
	FTT_ACT_REFUSED = 4,    /* send REFUSED: this backup's stack does not take it */
	FTT_ACT_COMMIT = 8,     /* send COMMIT: where this backup's stack stands */
	FTT_ACT_INJECT = 16,    /* hand ftt_deliverable() to the local stack as an acknowledgement */
	FTT_ACT_RELEASE = 32,   /* held segments may go: ask ftt_gate() again */
	FTT_ACT_DETACH = 64,    /* send DETACH */
	FTT_ACT_DETACHED = 128, /* the flow left protection for good: report it */
	FTT_ACT_PROBE = 256,    /* send PROBE: where does the backup stand? */
	FTT_ACT_ACK_CLIENT = 512, /* send the client our current acknowledgement */
	FTT_ACT_CLOSED = 1024,  /* the flow has ended on this node */
	FTT_ACT_REPORT = 2048,  /* tell Python that the flow cannot be protected */
	FTT_ACT_ABORT = 4096,   /* send CLOSE: the client reset the flow */
	FTT_ACT_NUDGE = 8192    /* make the client send again what only the backup lacks */
};

enum { /* struct ftt_flow.bits */
	FTT_F_SYNACK = 1,      /* the local stack has answered the SYN: local_iss is known */
	FTT_F_MAPPED = 2,      /* delta is known: both spaces are related */
	FTT_F_OPEN_SEEN = 4,   /* backup: the primary told its side of the handshake */
	FTT_F_TS = 8,          /* timestamps in use */
	FTT_F_CLIENT_FIN = 16,
	FTT_F_LOCAL_FIN = 32,
	FTT_F_LOCAL_RST = 64,
	FTT_F_CLIENT_RST = 128,
	FTT_F_PEER_FIN = 256,
	FTT_F_PEER_RST = 512,
	FTT_F_BEHIND = 1024,   /* after takeover: the client has more than our stack has sent */
	FTT_F_SYN_AGAIN = 2048, /* a SYN with another ISN was seen: next_irs */
	FTT_F_ESTABLISHED = 4096, /* the client has acknowledged the SYN-ACK */
	FTT_F_TAKEN = 8192,    /* taken over: the client may know of bytes that our stack has not sent */
	FTT_F_HOLE = 16384,    /* the local stack has data behind a hole that ends at local_hole_end */
	FTT_F_SACK = 32768     /* the client understands SACK */
};

/* What a node must know to carry the flow on; the rest can be found again. */
struct ftt_flow_hard {
	uint32_t irs;          /* the client's ISN */
	uint32_t service_iss;
	uint32_t delta;        /* local_iss - service_iss */
	uint32_t ts_delta;     /* local TSval - service TSval */
	uint8_t local_wscale;  /* of our stack's windows */
	uint8_t service_wscale; /* what the client was told */
	uint8_t client_wscale;
	uint8_t pad;
};

struct ftt_flow {
	struct ftt_flow_hard hard;
	uint8_t protection; /* enum ftt_protection */
	uint8_t reason;     /* enum ftt_reason, why it is not protected */
	uint16_t bits;      /* FTT_F_* */

	/* the client's side */
	uint32_t client_acked; /* highest acknowledgement seen */
	uint32_t client_nxt;   /* end of the furthest segment seen */
	uint32_t client_tsval; /* latest */
	uint32_t max_tsecr;    /* latest of our timestamps that it echoed, service space */
	uint16_t client_wnd;   /* field of its last segment */
	uint16_t mss;          /* largest payload of our segments to it */
	uint32_t advertised_edge; /* right edge that it was promised */
	uint32_t told_ack;     /* highest acknowledgement that it was sent */

	/* our own stack */
	uint32_t local_iss;    /* local space */
	uint32_t local_snd_nxt;
	uint32_t local_rcv_nxt;
	uint32_t local_edge;   /* right edge of its receive window */
	uint32_t local_tsval;  /* local space, of its last segment */
	uint32_t local_hole_end;
	uint32_t delivered_ack; /* highest acknowledgement given to it */
	uint64_t synack_ns;
	uint32_t fin_end;      /* sequence number behind its FIN */
	uint32_t next_irs;     /* with FTT_F_SYN_AGAIN: the new SYN's numbers */
	uint32_t next_tsval;
	uint16_t next_wnd, next_mss;
	uint8_t next_wscale, pad[3];

	/* the other node, as last told (primary) */
	uint32_t committed;    /* its stack's rcv_nxt */
	uint32_t peer_edge;
	uint32_t peer_snd_nxt;
	uint32_t peer_hole_end; /* where the first thing begins that it has beyond committed */
	uint32_t open_tsval;   /* backup: TSval of the primary's SYN-ACK */
	uint64_t open_ns;      /* backup: when that was sent, at the latest */

	/* waiting */
	uint64_t held_since_ns; /* the first held segment waits since; 0 = none held */
	uint64_t end_since_ns;  /* a FIN or RST waits for the backup's since; 0 = none */
	uint64_t lag_since_ns;  /* the backup's output is behind lag_mark since; 0 = it is not */
	uint32_t lag_mark;
	uint32_t tries;         /* requests sent without an answer */
	uint64_t ask_ns;        /* when to ask again; 0 = nothing asked */
	uint64_t nudge_ns;      /* when the client was last made to send again */
	uint64_t opened_ns;     /* start of the handshake */
	uint64_t last_ns;       /* last segment seen */
};

_Static_assert(sizeof(struct ftt_flow_hard) == 20, "what survives a failover is 20 bytes");
_Static_assert(sizeof(struct ftt_flow) <= 256, "a flow's state is four cache lines");

enum { /* struct ftt_edit.change */
	FTT_EDIT_SEQ = 1, FTT_EDIT_ACK = 2, FTT_EDIT_TSVAL = 4, FTT_EDIT_TSECR = 8, FTT_EDIT_SACK = 16,
	FTT_EDIT_WND = 32
};

struct ftt_edit {
	uint32_t change; /* FTT_EDIT_* */
	uint32_t seq, ack, tsval, tsecr; /* new values */
	uint32_t sack_add;               /* added to every edge */
	uint16_t wnd;
	uint16_t drop;    /* enum ftt_drop */
	uint32_t actions; /* enum ftt_action */
};

struct ftt_limits {
	uint64_t detach_after_ns, end_grace_ns, open_timeout_ns;
};

/* A flow whose client shows ISN `irs`. */
static inline void ftt_flow_init(struct ftt_flow *f, uint32_t irs, uint64_t now_ns)
{
	memset(f, 0, sizeof(*f));
	f->hard.irs = irs;
	f->client_nxt = f->committed = f->local_rcv_nxt = irs + 1;
	f->opened_ns = f->last_ns = now_ns;
}

/* Does the flow need every header edited? Not on the node that shook hands. */
static inline bool ftt_flow_shifted(const struct ftt_flow *f)
{
	return f->hard.delta || f->hard.ts_delta || f->hard.local_wscale != f->hard.service_wscale;
}

static inline bool ftt_flow_emits(uint8_t mode)
{
	return mode == FTT_MODE_PAIRED || mode == FTT_MODE_SOLO;
}

/*
 * How far the local stack may be told that the client has acknowledged: never beyond what it has
 * sent (the kernel drops such an ACK, RFC 9293 3.10.7.4, and the flow would wedge); as a backup
 * with data in flight one segment less, see above.
 */
static inline uint32_t ftt_deliverable(const struct ftt_flow *f, uint8_t mode)
{
	uint32_t ack = seq_min(f->client_acked, f->local_snd_nxt);

	if (mode == FTT_MODE_BACKUP && seq_lt(ack, f->local_snd_nxt))
		ack -= f->mss;
	return seq_max(ack, f->delivered_ack);
}

/* Both directions are over, on this node. */
static inline bool ftt_flow_ended(const struct ftt_flow *f)
{
	if (f->bits & (FTT_F_CLIENT_RST | FTT_F_LOCAL_RST))
		return true;
	return f->bits & FTT_F_CLIENT_FIN && f->bits & FTT_F_LOCAL_FIN && seq_geq(f->client_acked, f->fin_end);
}

/*
 * The window field that goes with an acknowledgement lowered to `ack`: the client's right edge stays
 * where it is. What lies between it has, so our stack may "send" it even into a closed window.
 */
static inline uint16_t ftt_client_window(const struct ftt_flow *f, uint32_t client_ack, uint16_t wnd, uint32_t ack)
{
	uint64_t room = ((uint64_t)wnd << f->hard.client_wscale) + (client_ack - ack);

	room >>= f->hard.client_wscale;
	return room > 0xffff ? 0xffff : (uint16_t)room;
}

/* --- from the client ------------------------------------------------------------------------- */

/* The backup's output is measured against the client's acknowledgements: behind for how long? */
static inline void ftt_lag_mark(struct ftt_flow *f, uint64_t now_ns)
{
	if (f->lag_since_ns && seq_geq(f->peer_snd_nxt, f->lag_mark))
		f->lag_since_ns = 0;
	if (!f->lag_since_ns && seq_lt(f->peer_snd_nxt, f->client_acked)) {
		f->lag_since_ns = now_ns;
		f->lag_mark = f->client_acked;
	}
}

/* Plausible enough to learn from: near the window, as RFC 9293 3.10.7.4 tests it. */
static inline bool ftt_client_in_window(const struct ftt_flow *f, const struct ftt_seg *s)
{
	uint32_t slack = 1u << 24;

	return seq_geq(ftt_seg_end(s), f->local_rcv_nxt - slack) &&
	       seq_leq(s->seq, seq_max(f->local_edge, f->local_rcv_nxt + slack));
}

static inline void ftt_client_observe(struct ftt_flow *f, const struct ftt_seg *s, uint64_t now_ns,
				      struct ftt_edit *e)
{
	uint32_t end = ftt_seg_end(s);

	if (!(f->bits & FTT_F_MAPPED) || !ftt_client_in_window(f, s))
		return;
	if (s->flags & TCP_RST) {
		/* exact, as RFC 5961 3.2 wants it; anything else is challenged by the stack */
		if (s->seq == f->local_rcv_nxt && !(f->bits & FTT_F_CLIENT_RST)) {
			f->bits |= FTT_F_CLIENT_RST;
			e->actions |= s->mode == FTT_MODE_PAIRED ? FTT_ACT_ABORT : 0;
		}
		return;
	}
	if (!(s->flags & TCP_ACK))
		return;
	/* the primary's stack has sent all that can be acknowledged; a backup's may be behind */
	if (ftt_flow_emits(s->mode) && seq_gt(s->ack, f->local_snd_nxt)) {
		if (!(f->bits & FTT_F_TAKEN))
			return;
		f->bits |= FTT_F_BEHIND;
	}
	if (s->ack - f->client_acked < 1u << 30) {
		f->client_acked = s->ack;
		f->client_wnd = s->wnd;
		f->bits |= FTT_F_ESTABLISHED;
		if (s->mode == FTT_MODE_PAIRED && f->protection == FTT_PROTECTED)
			ftt_lag_mark(f, now_ns);
	}
	f->client_nxt = seq_max(f->client_nxt, end);
	if (s->flags & TCP_FIN)
		f->bits |= FTT_F_CLIENT_FIN;
	if (f->bits & FTT_F_TS && s->options & FTT_OPT_TS) {
		if (seq_gt(s->tsval, f->client_tsval))
			f->client_tsval = s->tsval;
		if (seq_gt(s->tsecr, f->max_tsecr))
			f->max_tsecr = s->tsecr;
	}
}

/* What a SYN tells, taken up when it begins the flow. */
static inline void ftt_client_begin(struct ftt_flow *f, uint32_t tsval, uint16_t wnd, uint16_t mss, uint8_t wscale)
{
	f->client_tsval = tsval;
	f->client_wnd = wnd;
	f->mss = mss;
	f->hard.client_wscale = wscale;
}

static inline enum ftt_verdict ftt_client_syn(struct ftt_flow *f, const struct ftt_seg *s)
{
	uint16_t mss = (s->mss > 48 ? s->mss : 536) - (s->options & FTT_OPT_TS ? 12 : 0); /* RFC 9293 3.7.1 */
	uint8_t wscale = s->options & FTT_OPT_WSCALE ? s->wscale : 0;

	if (s->seq != f->hard.irs) { /* whether it is a new connection, the stack decides: see its SYN-ACK */
		f->next_irs = s->seq;
		f->next_tsval = s->tsval;
		f->next_wnd = s->wnd;
		f->next_mss = mss;
		f->next_wscale = wscale;
		f->bits |= FTT_F_SYN_AGAIN;
	} else if (!(f->bits & FTT_F_SYNACK)) {
		ftt_client_begin(f, s->tsval, s->wnd, mss, wscale);
	}
	return FTT_PASS;
}

static inline enum ftt_verdict ftt_client_step(struct ftt_flow *f, const struct ftt_seg *s, uint64_t now_ns,
					       struct ftt_edit *e)
{
	uint32_t ack;

	if ((s->flags & (TCP_SYN | TCP_ACK)) == TCP_SYN)
		return ftt_client_syn(f, s);
	if (!(f->bits & FTT_F_MAPPED)) {
		if (s->mode != FTT_MODE_BACKUP)
			return FTT_PASS;
		e->drop = FTT_DROP_UNMAPPED;
		return FTT_DROP;
	}
	f->last_ns = now_ns;
	ftt_client_observe(f, s, now_ns, e);
	if (s->flags & TCP_ACK) {
		ack = s->ack;
		if (s->mode == FTT_MODE_BACKUP || f->bits & FTT_F_BEHIND)
			ack = seq_min(ack, ftt_deliverable(f, s->mode));
		if (seq_gt(ack, f->delivered_ack) && seq_leq(ack, f->local_snd_nxt))
			f->delivered_ack = ack;
		if (ack != s->ack) {
			e->wnd = ftt_client_window(f, s->ack, s->wnd, ack);
			e->change |= e->wnd != s->wnd ? FTT_EDIT_WND : 0;
		}
		if (ack + f->hard.delta != s->ack) {
			e->ack = ack + f->hard.delta;
			e->change |= FTT_EDIT_ACK;
		}
		if (s->options & FTT_OPT_SACK && f->hard.delta) {
			e->sack_add = f->hard.delta;
			e->change |= FTT_EDIT_SACK;
		}
		if (s->options & FTT_OPT_TS && (f->hard.ts_delta || s->mode == FTT_MODE_BACKUP)) {
			/* never a time that our stack has not sent yet: it rejects a handshake that echoes one */
			e->tsecr = seq_min(s->tsecr + f->hard.ts_delta, f->local_tsval);
			e->change |= FTT_EDIT_TSECR;
		}
	}
	if (ftt_flow_ended(f))
		e->actions |= FTT_ACT_CLOSED;
	return FTT_PASS;
}

/*
 * Backup, a flow that it has let go: only where the client stands is followed. False for a SYN that
 * begins another connection.
 */
static inline bool ftt_detached_step(struct ftt_flow *f, const struct ftt_seg *s, uint64_t now_ns)
{
	if ((s->flags & (TCP_SYN | TCP_ACK)) == TCP_SYN && s->seq != f->hard.irs)
		return false;
	f->last_ns = now_ns;
	if (s->flags & TCP_ACK && s->ack - f->client_acked < 1u << 30)
		f->client_acked = s->ack;
	if (ftt_seg_end(s) - f->client_nxt < 1u << 30)
		f->client_nxt = ftt_seg_end(s);
	return true;
}

/* --- from the local stack: what is learnt ------------------------------------------------------ */

/* Relates the spaces; both sides of the handshake are known. */
static inline void ftt_flow_map(struct ftt_flow *f, uint32_t service_iss)
{
	f->hard.service_iss = service_iss;
	f->hard.delta = f->local_iss - service_iss;
	f->client_acked = f->local_snd_nxt = f->delivered_ack = f->peer_snd_nxt = service_iss + 1;
	f->bits |= FTT_F_MAPPED;
}

/* ... and their timestamps; the client may have seen `service_tsval`, and nothing later. */
static inline void ftt_flow_map_ts(struct ftt_flow *f, uint32_t local_tsval, uint32_t service_tsval)
{
	f->hard.ts_delta = f->bits & FTT_F_TS ? local_tsval - service_tsval : 0;
	f->max_tsecr = service_tsval;
}

/* The stack's SYN-ACK. Returns false when it repeats one that is known. */
static inline bool ftt_server_synack(struct ftt_flow *f, const struct ftt_seg *s, uint64_t now_ns)
{
	if (f->bits & FTT_F_SYN_AGAIN && s->ack == f->next_irs + 1 && s->seq != f->local_iss) {
		struct ftt_flow old = *f; /* the stack took the new connection: so do we */

		ftt_flow_init(f, s->ack - 1, now_ns);
		ftt_client_begin(f, old.next_tsval, old.next_wnd, old.next_mss, old.next_wscale);
	}
	if (f->bits & FTT_F_SYNACK && s->seq == f->local_iss)
		return false;
	if (s->ack != f->hard.irs + 1)
		return false;
	f->bits |= FTT_F_SYNACK | (s->options & FTT_OPT_TS ? FTT_F_TS : 0) |
		   (s->options & FTT_OPT_SACK_OK ? FTT_F_SACK : 0);
	f->local_iss = s->seq;
	f->hard.local_wscale = f->hard.service_wscale = s->options & FTT_OPT_WSCALE ? s->wscale : 0;
	if (!(s->options & FTT_OPT_WSCALE)) /* both sides or none (RFC 7323 2.2) */
		f->hard.client_wscale = 0;
	f->local_rcv_nxt = f->told_ack = s->ack;
	f->local_edge = f->advertised_edge = f->peer_edge = s->ack + s->wnd; /* unscaled, RFC 7323 2.2 */
	f->local_tsval = s->tsval;
	f->synack_ns = now_ns;
	return true;
}

/* A RST that ends nothing: during the handshake the stack answers a stray segment so (RFC 9293 3.10.7.4). */
static inline bool ftt_answers_stray(const struct ftt_flow *f, const struct ftt_seg *s)
{
	return (s->flags & (TCP_RST | TCP_ACK)) == TCP_RST && !(f->bits & FTT_F_ESTABLISHED);
}

/* Any later segment of the stack: moves what we know of it. Returns the end of the segment, service space. */
static inline uint32_t ftt_server_observe(struct ftt_flow *f, const struct ftt_seg *s)
{
	uint32_t end = ftt_seg_end(s) - f->hard.delta;

	if (s->flags & TCP_RST) {
		if (!ftt_answers_stray(f, s))
			f->bits |= FTT_F_LOCAL_RST;
		return end;
	}
	if (seq_gt(end, f->local_snd_nxt))
		f->local_snd_nxt = end;
	if (s->flags & TCP_FIN) {
		f->bits |= FTT_F_LOCAL_FIN;
		f->fin_end = end;
	}
	if (s->flags & TCP_ACK) {
		uint32_t edge = s->ack + ((uint32_t)s->wnd << f->hard.local_wscale);

		f->local_rcv_nxt = seq_max(f->local_rcv_nxt, s->ack);
		f->local_edge = seq_max(f->local_edge, edge);
		f->bits &= (uint16_t)~FTT_F_HOLE;
		if (s->options & FTT_OPT_SACK && s->sack_left != s->ack) {
			f->bits |= FTT_F_HOLE;
			f->local_hole_end = s->sack_left;
		}
	}
	if (s->options & FTT_OPT_TS) {
		f->local_tsval = s->tsval;
		/* never behind what the client has echoed, or PAWS (RFC 7323 5) drops us */
		if (f->bits & FTT_F_TS && seq_lt(s->tsval - f->hard.ts_delta, f->max_tsecr))
			f->hard.ts_delta = s->tsval - f->max_tsecr;
	}
	if (f->bits & FTT_F_BEHIND && seq_geq(f->local_snd_nxt, f->client_acked))
		f->bits &= (uint16_t)~FTT_F_BEHIND;
	return end;
}

/* --- from the backup's stack: nothing goes out -------------------------------------------------- */

/*
 * Both SYN-ACKs are known: the backup follows. Timestamps are related by the two SYN-ACKs
 * themselves, so that what the client echoes of the one is what our stack sent in the other (SYN
 * cookies keep options in it). How much later ours was is made good at a takeover.
 */
static inline void ftt_flow_join(struct ftt_flow *f)
{
	ftt_flow_map(f, f->hard.service_iss);
	ftt_flow_map_ts(f, f->local_tsval, f->open_tsval);
	f->protection = FTT_PROTECTED;
}

static inline enum ftt_verdict ftt_follow_step(struct ftt_flow *f, const struct ftt_seg *s, uint64_t now_ns,
					       struct ftt_edit *e)
{
	uint32_t rcv_nxt = f->local_rcv_nxt, edge = f->local_edge, snd_nxt = f->local_snd_nxt, end;
	uint16_t bits = f->bits;

	e->drop = FTT_DROP_SUPPRESSED;
	f->last_ns = now_ns;
	if ((s->flags & (TCP_SYN | TCP_ACK)) == (TCP_SYN | TCP_ACK)) {
		uint8_t service_wscale = f->hard.service_wscale;

		if (!ftt_server_synack(f, s, now_ns)) {
			f->local_tsval = s->tsval;
		} else if (f->bits & FTT_F_OPEN_SEEN) {
			f->hard.service_wscale = service_wscale;
			ftt_flow_join(f);
			e->actions |= FTT_ACT_OPENED;
		}
		return FTT_DROP;
	}
	if (!(f->bits & FTT_F_MAPPED)) {
		if (s->flags & TCP_RST) {
			f->bits |= FTT_F_LOCAL_RST;
			e->actions |= FTT_ACT_REFUSED | FTT_ACT_CLOSED;
		}
		return FTT_DROP;
	}
	end = ftt_server_observe(f, s);
	if (f->local_rcv_nxt != rcv_nxt || f->local_edge != edge || f->bits != bits ||
	    f->local_snd_nxt != snd_nxt)
		e->actions |= FTT_ACT_COMMIT;
	/* the client has more, or the stack sends again what it was told of: it did not take our word */
	if (seq_gt(ftt_deliverable(f, FTT_MODE_BACKUP), f->delivered_ack) ||
	    (s->len && seq_leq(end, f->delivered_ack)))
		e->actions |= FTT_ACT_INJECT;
	if (ftt_flow_ended(f))
		e->actions |= FTT_ACT_CLOSED;
	return FTT_DROP;
}

/* --- from the primary's stack ------------------------------------------------------------------- */

/* Has the backup's server ended the flow where ours has? */
static inline bool ftt_ended_alike(const struct ftt_flow *f, const struct ftt_seg *s)
{
	if (s->flags & TCP_RST)
		return f->bits & (FTT_F_PEER_RST | FTT_F_CLIENT_RST);
	return f->bits & FTT_F_PEER_FIN && f->peer_snd_nxt == f->fin_end; /* one byte more is another end */
}

/*
 * The window that the client is shown: the smaller of both stacks', but never less than promised.
 * Returns the field's value for a segment that acknowledges `ack`.
 */
static inline uint16_t ftt_window(const struct ftt_flow *f, uint32_t ack, uint32_t edge, bool in_step)
{
	uint8_t scale = f->hard.service_wscale;
	uint32_t room, promised;

	if (in_step && seq_gt(edge, seq_max(f->peer_edge, f->advertised_edge)))
		edge = seq_max(f->peer_edge, f->advertised_edge);
	room = seq_gt(edge, ack) ? (edge - ack) >> scale : 0;
	promised = seq_gt(f->advertised_edge, ack) ? (f->advertised_edge - ack + (1u << scale) - 1) >> scale : 0;
	room = room > promised ? room : promised;
	return room > 0xffff ? 0xffff : (uint16_t)room;
}

/* Turns a segment of the local stack into what the client is to see. */
static inline void ftt_edit_out(struct ftt_flow *f, const struct ftt_seg *s, struct ftt_edit *e)
{
	const struct ftt_flow_hard *h = &f->hard;

	if (h->delta) {
		e->seq = s->seq - h->delta;
		e->change |= FTT_EDIT_SEQ;
	}
	if (s->options & FTT_OPT_TS && h->ts_delta) {
		e->tsval = s->tsval - h->ts_delta;
		e->change |= FTT_EDIT_TSVAL;
	}
	if (s->flags & TCP_ACK && !(s->flags & (TCP_RST | TCP_SYN))) {
		bool in_step = s->mode == FTT_MODE_PAIRED && f->protection == FTT_PROTECTED;
		uint32_t edge = s->ack + ((uint32_t)s->wnd << h->local_wscale);
		uint16_t wnd = ftt_window(f, s->ack, edge, in_step);

		if (wnd != s->wnd) {
			e->wnd = wnd;
			e->change |= FTT_EDIT_WND;
		}
		f->advertised_edge = seq_max(f->advertised_edge, s->ack + ((uint32_t)wnd << h->service_wscale));
		f->told_ack = seq_max(f->told_ack, s->ack);
	}
}

/*
 * May this segment of the primary's stack go to the client now? For a new one and, again, for a
 * held one. PASS comes with the edit to make.
 */
static inline enum ftt_verdict ftt_gate(struct ftt_flow *f, const struct ftt_seg *s, uint64_t now_ns,
					struct ftt_edit *e)
{
	uint32_t end = ftt_seg_end(s) - f->hard.delta;

	if (s->mode == FTT_MODE_PAIRED) {
		if (f->protection == FTT_OPENING || f->protection == FTT_DETACHING)
			return FTT_HOLD;
		if (f->protection == FTT_PROTECTED) {
			if (s->flags & TCP_ACK && seq_gt(s->ack, f->committed))
				return FTT_HOLD; /* the output rule */
			if (s->flags & (TCP_FIN | TCP_RST) && !ftt_answers_stray(f, s) && !ftt_ended_alike(f, s)) {
				if (!f->end_since_ns)
					f->end_since_ns = now_ns;
				return FTT_HOLD;
			}
			if (s->flags & (TCP_FIN | TCP_RST))
				f->end_since_ns = 0; /* both servers are at one */
		}
	}
	if (f->bits & FTT_F_BEHIND && s->len && seq_leq(end, f->client_acked)) {
		e->drop = FTT_DROP_ACKED;
		return FTT_DROP;
	}
	ftt_edit_out(f, s, e);
	if (ftt_flow_ended(f))
		e->actions |= FTT_ACT_CLOSED;
	return FTT_PASS;
}

/* `shift`: experiments choose the service space, see struct ftt_config.shift_spaces. */
struct ftt_shift {
	bool on;
	uint32_t iss, ts;
};

static inline enum ftt_verdict ftt_serve_synack(struct ftt_flow *f, const struct ftt_seg *s, uint64_t now_ns,
						const struct ftt_shift *shift, struct ftt_edit *e)
{
	if (!ftt_server_synack(f, s, now_ns)) {
		if (f->protection == FTT_NEW && !(f->bits & FTT_F_SYNACK)) { /* it acknowledges data in the SYN (RFC 7413) */
			f->protection = FTT_UNPROTECTED;
			f->reason = FTT_WHY_UNSUPPORTED;
			e->actions |= FTT_ACT_REPORT;
		}
		if (s->mode == FTT_MODE_PAIRED && (f->protection == FTT_OPENING || f->protection == FTT_DETACHING)) {
			e->drop = FTT_DROP_REPEATED;
			return FTT_DROP;
		}
		ftt_edit_out(f, s, e);
		return FTT_PASS;
	}
	ftt_flow_map(f, shift->on ? shift->iss : s->seq);
	ftt_flow_map_ts(f, s->tsval, shift->on ? shift->ts : s->tsval);
	if (s->mode != FTT_MODE_PAIRED || f->protection == FTT_UNPROTECTED) {
		f->protection = FTT_UNPROTECTED;
		if (!f->reason)
			f->reason = FTT_WHY_NO_BACKUP;
		ftt_edit_out(f, s, e);
		return FTT_PASS;
	}
	f->protection = FTT_OPENING;
	f->opened_ns = f->held_since_ns = now_ns;
	f->tries = 1;
	f->ask_ns = now_ns + 5000000;
	e->actions |= FTT_ACT_OPEN;
	return FTT_HOLD;
}

static inline enum ftt_verdict ftt_serve_step(struct ftt_flow *f, const struct ftt_seg *s, uint64_t now_ns,
					      const struct ftt_shift *shift, bool queue_behind, struct ftt_edit *e)
{
	f->last_ns = now_ns;
	if ((s->flags & (TCP_SYN | TCP_ACK)) == (TCP_SYN | TCP_ACK))
		return ftt_serve_synack(f, s, now_ns, shift, e);
	if (!(f->bits & FTT_F_MAPPED)) { /* e.g. the RST of a closed port */
		if (s->flags & TCP_RST)
			e->actions |= FTT_ACT_CLOSED;
		return FTT_PASS;
	}
	ftt_server_observe(f, s);
	if (f->bits & FTT_F_TAKEN && seq_gt(ftt_deliverable(f, s->mode), f->delivered_ack))
		e->actions |= FTT_ACT_INJECT;
	if (queue_behind)
		return FTT_HOLD; /* in order behind those that wait */
	return ftt_gate(f, s, now_ns, e);
}

/*
 * The one entry: what is to happen to segment s of flow f. s->dir and s->mode say where it comes
 * from and what this node is. queue_behind: earlier segments of this direction are still held.
 */
static inline enum ftt_verdict ftt_segment_step(struct ftt_flow *f, const struct ftt_seg *s, uint64_t now_ns,
						const struct ftt_shift *shift, bool queue_behind, struct ftt_edit *e)
{
	memset(e, 0, sizeof(*e));
	if (s->dir == FTT_FROM_CLIENT)
		return ftt_client_step(f, s, now_ns, e);
	if (s->mode == FTT_MODE_BACKUP)
		return ftt_follow_step(f, s, now_ns, e);
	return ftt_serve_step(f, s, now_ns, shift, queue_behind, e);
}

#endif
