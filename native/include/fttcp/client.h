/* SPDX-License-Identifier: Apache-2.0 */
/*
 * client.h - segments from the client: what is learnt, and what the local stack is to see of them.
 */
#ifndef FTTCP_CLIENT_H
#define FTTCP_CLIENT_H
#include "fttcp/state.h"

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

/*
 * Backup: does the segment wait? Its new bytes were written by a client that had output which our server has not
 * given yet, and no server is spoken to so. Old bytes and acknowledgements do not wait; each segment waits for its own
 * acknowledgement, not for those before it: one sent again may bring a later one, and a forged one stops nobody.
 */
static inline bool ftt_client_waits(const struct ftt_flow *f, const struct ftt_seg *s)
{
	return s->mode == FTT_MODE_BACKUP && f->protection == FTT_PROTECTED && (s->len || s->flags & TCP_FIN) &&
	       (s->flags & (TCP_ACK | TCP_SYN | TCP_RST)) == TCP_ACK && seq_gt(ftt_seg_end(s), f->local_rcv_nxt) &&
	       seq_gt(s->ack, f->local_snd_nxt) &&
	       !(f->bits & (FTT_F_LOCAL_FIN | FTT_F_LOCAL_RST)); /* else nothing more will come */
}

/* What our stack is to see of a segment that was observed: at once, or, again, when it has waited. */
static inline enum ftt_verdict ftt_client_gate(struct ftt_flow *f, const struct ftt_seg *s, struct ftt_edit *e)
{
	uint32_t ack;

	if (ftt_client_waits(f, s))
		return FTT_HOLD;
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

static inline enum ftt_verdict ftt_client_step(struct ftt_flow *f, const struct ftt_seg *s, uint64_t now_ns,
					       struct ftt_edit *e)
{
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
	return ftt_client_gate(f, s, e);
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

#endif
