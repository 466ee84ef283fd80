/* SPDX-License-Identifier: Apache-2.0 */
/*
 * client.h - segments from the client: what is learnt, and what the local stack is to see of them.
 */
#ifndef FTTCP_CLIENT_H
#define FTTCP_CLIENT_H
#include "core/tcp/lag.h"
#include "core/tcp/opened.h"

#define FTT_CLAIM_NS 250000000ull  /* a round trip, at most: within it the client contradicts what is forged */
#define FTT_ECHO_SLACK_MS 1000u    /* by which the primary's clock may be ahead of what we know of it */
#define FTT_TIME_WRAPS_NS 2073600000000000ull /* 24 days, as Linux: a timestamp that old proves nothing (TCP_PAWS_WRAP) */

/*
 * The stack has it in order, or will when it gets to it: it takes all before the edge that it showed. It does not say so at once, and
 * what comes meanwhile it judges by it: the RST of a client that closes without having read everything is right behind its last bytes.
 */
static inline void ftt_client_follows(struct ftt_flow *f, const struct ftt_seg *s)
{
	uint32_t end = ftt_seg_end(s);

	if (end != s->seq && seq_leq(s->seq, seq_max(f->in_order, f->local_rcv_nxt)) && seq_leq(end, f->local_edge))
		f->in_order = seq_max(f->in_order, end);
}

/* Where the stack stands, as far as what it said and was given tells. A FIN that came behind a hole it has not received yet. */
static inline struct ftt_place ftt_flow_place(const struct ftt_flow *f, uint64_t silent_ns)
{
	uint32_t rcv_nxt = seq_max(f->local_rcv_nxt, f->in_order);

	return (struct ftt_place){.rcv_nxt = rcv_nxt, .rcv_wup = f->local_rcv_nxt, .edge = f->local_edge,
				  .snd_first = f->hard.service_iss + 1, .snd_una = f->client_acked,
				  .snd_nxt = ftt_flow_sent(f), .max_wnd = (uint32_t)f->max_wnd << f->hard.client_wscale, .ts_recent = f->ts_recent,
				  .times = f->bits & FTT_F_TS && silent_ns < FTT_TIME_WRAPS_NS,
				  .fin = f->bits & FTT_F_CLIENT_FIN && rcv_nxt == f->client_nxt};
}

/*
 * A time that the client echoes was sent: later ones than that are not learnt, or our clock would be moved there. The
 * primary's may be ahead of ours by as much as its SYN-ACK was earlier.
 */
static inline bool ftt_echo_possible(const struct ftt_flow *f, const struct ftt_seg *s, uint64_t now_ns)
{
	uint64_t late_ns = f->open_ns && f->synack_ns > f->open_ns ? f->synack_ns - f->open_ns : 0;

	return seq_leq(s->tsecr, ftt_flow_clock(f, now_ns) + FTT_ECHO_SLACK_MS + (uint32_t)(late_ns / 1000000));
}

static inline void ftt_client_learn_times(struct ftt_flow *f, const struct ftt_seg *s, uint64_t now_ns)
{
	if (!(f->bits & FTT_F_TS) || !(s->options & FTT_OPT_TS))
		return;
	if (seq_gt(s->tsval, f->client_tsval))
		f->client_tsval = s->tsval;
	if (seq_gt(s->tsecr, f->max_tsecr) && ftt_echo_possible(f, s, now_ns))
		f->max_tsecr = s->tsecr;
}

/* The client has all before `ack`, and that was sent. */
static inline void ftt_client_acks(struct ftt_flow *f, uint8_t mode, uint32_t ack, uint16_t wnd)
{
	if (ack - f->client_acked >= 1u << 30)
		return;
	if (f->max_wnd < wnd && ack != f->client_acked) /* Linux: whenever it takes the window up; this way it is not larger */
		f->max_wnd = wnd;
	f->client_acked = ack;
	f->client_wnd = wnd;
	f->bits |= FTT_F_ESTABLISHED;
	if (ftt_flow_emits(mode) && f->bits & FTT_F_TAKEN && seq_gt(ack, f->local_snd_nxt))
		f->bits |= FTT_F_BEHIND;
}

/*
 * A RST is exact on a backup while bytes of the client wait for its server that the primary's has. There it is an old one, of a client that is gone for
 * what the primary said by then: that stack goes on. So does ours, until CLOSE comes.
 */
static inline enum ftt_judgement ftt_client_ends(const struct ftt_flow *f, const struct ftt_seg *s, enum ftt_judgement judged,
						   const struct ftt_env *env)
{
	bool old = env->mode == FTT_MODE_BACKUP && seq_lt(s->seq + !!(f->bits & FTT_F_CLIENT_FIN), f->client_nxt);

	return judged == FTT_ENDS && old ? FTT_REFUSED_RST : judged;
}

/* Learns from what the stack takes as well, and from nothing else. */
static inline void ftt_client_observe(struct ftt_flow *f, const struct ftt_place *at, const struct ftt_seg *s,
				      enum ftt_judgement judged, const struct ftt_env *env, struct ftt_edit *e)
{
	if (judged == FTT_ENDS && !(f->bits & FTT_F_CLIENT_RST)) {
		f->bits |= FTT_F_CLIENT_RST;
		e->actions |= env->mode == FTT_MODE_PAIRED ? FTT_ACT_ABORT | (f->held_since_ns ? FTT_ACT_RELEASE : 0) : 0;
	}
	if (judged != FTT_TAKEN)
		return;
	ftt_client_acks(f, env->mode, s->ack, s->wnd);
	if (ftt_flow_in_step(f, env->mode))
		ftt_lag_mark(f, env->now_ns);
	f->client_nxt = seq_max(f->client_nxt, ftt_seg_end(s));
	if (s->flags & TCP_FIN && seq_gt(ftt_seg_end(s), at->rcv_nxt)) /* else that place is a byte of data */
		f->bits |= FTT_F_CLIENT_FIN;
	ftt_client_learn_times(f, s, env->now_ns);
}

/* Backup: does the segment bring new bytes, or the end, to a flow in step? What comes on the mirror behind a CLOSE does not. */
static inline bool ftt_client_brings(const struct ftt_flow *f, const struct ftt_seg *s, const struct ftt_env *env)
{
	bool follows = f->protection == FTT_PROTECTED || f->protection == FTT_CATCHING_UP;

	return env->mode == FTT_MODE_BACKUP && follows && !ftt_flow_ended(f) && (s->len || s->flags & TCP_FIN) &&
	       (s->flags & (TCP_ACK | TCP_SYN | TCP_RST)) == TCP_ACK && seq_gt(ftt_seg_end(s), f->local_rcv_nxt);
}

/*
 * Backup: does the segment wait? Its new bytes were written by a client that had output which our server has not
 * given yet, and no server is spoken to so. Old bytes and acknowledgements do not wait; each segment waits for its own
 * acknowledgement, not for those before it: one sent again may bring a later one, and a forged one stops nobody.
 */
static inline bool ftt_client_waits(const struct ftt_flow *f, const struct ftt_seg *s, const struct ftt_env *env)
{
	return ftt_client_brings(f, s, env) && seq_gt(s->ack, f->local_snd_nxt) &&
	       !(f->bits & (FTT_F_LOCAL_FIN | FTT_F_LOCAL_RST)); /* else nothing more will come */
}

/* --- acknowledgements of what was not sent ------------------------------------------------------------ */

/* Backup: the primary tells that it has sent what was claimed. Our stack is to hear of it. */
static inline uint32_t ftt_claim_confirmed(struct ftt_flow *f)
{
	if (!(f->bits & FTT_F_CLAIM) || seq_gt(f->claim, ftt_flow_sent(f)))
		return 0;
	f->bits &= ~(uint32_t)FTT_F_CLAIM;
	ftt_client_acks(f, FTT_MODE_BACKUP, f->claim, f->claim_wnd);
	return FTT_ACT_INJECT | ftt_close_if_ended(f); /* it may have been the last word of both */
}

/*
 * A claim at a node that took over: the client may have it of the old primary, which told us a moment too late, or
 * somebody forges. A client that stands elsewhere contradicts when it is asked (ftt_bare_ask); so what is said again
 * after FTT_CLAIM_NS without that is believed. A client that is right repeats itself: nothing else goes on.
 */
static inline bool ftt_claim_believed(struct ftt_flow *f, const struct ftt_seg *s, uint64_t now_ns, struct ftt_edit *e)
{
	bool asked = f->bits & FTT_F_CLAIM && f->claim_ns; /* of before the takeover: the client was asked by that */

	if (asked && s->ack == f->claim)
		return now_ns - f->claim_ns >= FTT_CLAIM_NS;
	if (asked && seq_gt(s->ack, f->claim))
		return false; /* of two that contradict each other the lower one is the safer */
	f->bits |= FTT_F_CLAIM;
	f->claim = s->ack;
	f->claim_ns = now_ns;
	e->actions |= FTT_ACT_ASK_CLIENT;
	return false;
}

/*
 * The segment acknowledges what was not sent, as far as this node knows. A primary knows, so nobody is to take it:
 * it is dropped as the stack would drop it, which may have sent more by the time it gets there. A backup does not
 * know yet: what may be the client's (`claims`) is kept apart until the primary has confirmed it, and new bytes wait as long.
 */
static inline enum ftt_verdict ftt_client_unsent(struct ftt_flow *f, const struct ftt_seg *s, bool claims,
						 const struct ftt_env *env, struct ftt_edit *e)
{
	e->drop = FTT_DROP_REFUSED;
	if (env->mode == FTT_MODE_BACKUP) {
		if (claims) {
			f->bits |= FTT_F_CLAIM;
			f->claim = s->ack;
			f->claim_wnd = s->wnd;
			f->claim_ns = 0;
		}
		if (ftt_client_brings(f, s, env))
			return ftt_hold(e, FTT_WAIT_SENT);
	} else if (ftt_flow_in_step(f, env->mode)) {
		e->actions |= FTT_ACT_DISCARD;
	}
	return FTT_DROP;
}

/* What tells a refused segment from what the client says at the same place: those that are old by their time, too. */
static inline uint32_t ftt_discard_sum(uint32_t seq, uint32_t ack, uint32_t tsval)
{
	uint32_t sum = (seq * 0x9e3779b1u ^ ack) * 0x85ebca77u ^ tsval * 0xc2b2ae3du;

	return sum + !sum;
}

/* Backup: the primary refused this one. Its DISCARD was faster than the mirror, or the segment waited. Told once, taken once. */
static inline bool ftt_client_discarded(struct ftt_flow *f, const struct ftt_seg *s)
{
	uint32_t sum;

	if (!f->discards[0])
		return false;
	sum = ftt_discard_sum(s->seq, s->ack, s->options & FTT_OPT_TS ? s->tsval : 0);
	for (uint32_t i = 0; i < FTT_DISCARDS && f->discards[i]; i++) {
		if (f->discards[i] != sum)
			continue;
		for (; i < FTT_DISCARDS - 1; i++)
			f->discards[i] = f->discards[i + 1];
		f->discards[FTT_DISCARDS - 1] = 0;
		return true;
	}
	return false;
}

/*
 * What our stack would refuse and the backup's might take: new bytes, or an end. (Old ones may be what the backup
 * lacks.) On its fast path Linux takes data with an acknowledgement that is too old; so nobody gets them.
 */
static inline bool ftt_client_refuse(const struct ftt_flow *f, const struct ftt_seg *s, enum ftt_judgement judged,
				     const struct ftt_env *env, struct ftt_edit *e)
{
	bool differs = judged == FTT_REFUSED_TIME || judged == FTT_REFUSED_SEQ || judged == FTT_REFUSED_OLD_ACK;

	if (judged == FTT_REFUSED_RST && env->mode == FTT_MODE_BACKUP) { /* see ftt_client_meddles() */
		e->drop = FTT_DROP_REFUSED;
		return true;
	}
	if (!differs || !(s->len || s->flags & TCP_FIN) || seq_leq(ftt_seg_end(s), f->local_rcv_nxt))
		return false;
	if (ftt_flow_in_step(f, env->mode))
		e->actions |= FTT_ACT_DISCARD;
	if (judged != FTT_REFUSED_OLD_ACK)
		return false;
	e->drop = FTT_DROP_REFUSED;
	return true;
}

/* A SYN that this node has not seen before begins a flow. */
static inline uint32_t ftt_flow_begin(struct ftt_flow *f, const struct ftt_seg *s, const struct ftt_env *env)
{
	bool signed_ = s->signer == FTT_SIGNED_ALIEN;

	if (signed_ || env->mode == FTT_MODE_SOLO)
		ftt_flow_unprotect(f, signed_ ? FTT_WHY_SIGNED : FTT_WHY_NO_BACKUP);
	else if (env->mode == FTT_MODE_PAIRED && env->behind)
		ftt_flow_unprotect(f, env->behind);
	f->hard.signer = s->signer == FTT_SIGNED_OURS ? FTT_SIGNED_OURS : FTT_SIGNED_NOT; /* until our stack answers */
	return signed_ ? FTT_ACT_REPORT : 0;
}

static inline enum ftt_verdict ftt_client_syn(struct ftt_flow *f, const struct ftt_seg *s)
{
	uint16_t mss = ftt_client_mss(s);
	uint8_t wscale = s->options & FTT_OPT_WSCALE ? s->wscale : 0;

	/* whether it is a new connection, the stack decides: see its SYN-ACK. Some hosts have but one ISN */
	if (s->seq != f->hard.irs || ftt_flow_ended(f)) {
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

/* To the port of our stack. */
static inline void ftt_edit_port_in(const struct ftt_flow *f, struct ftt_edit *e)
{
	e->port_add = ftt_flow_port_delta(f);
	e->change |= e->port_add ? FTT_EDIT_DPORT : 0;
}

/* In the spaces of the local stack, and never of what that has not sent. */
static inline void ftt_edit_in(struct ftt_flow *f, const struct ftt_seg *s, enum ftt_judgement judged, const struct ftt_env *env,
			       struct ftt_edit *e)
{
	uint32_t ack = s->ack;

	if (env->mode == FTT_MODE_BACKUP || f->bits & FTT_F_TAKEN)
		ack = seq_min(ack, ftt_deliverable(f, env->mode));
	if (judged == FTT_TAKEN && seq_gt(ack, f->delivered_ack) && seq_leq(ack, f->local_snd_nxt))
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
	if (s->options & FTT_OPT_TS && (f->hard.ts_delta || env->mode == FTT_MODE_BACKUP)) {
		/* never a time that our stack has not sent yet: it rejects a handshake that echoes one */
		e->tsecr = seq_min(s->tsecr + f->hard.ts_delta, f->local_tsval);
		e->change |= FTT_EDIT_TSECR;
	}
}

/* Is there a stack that will judge the acknowledgement? A handshake of ours that meets a wrong one is reset. */
static inline bool ftt_client_claims(const struct ftt_flow *f, const struct ftt_seg *s, const struct ftt_env *env)
{
	return (s->flags & (TCP_ACK | TCP_RST | TCP_SYN)) == TCP_ACK && seq_gt(s->ack, ftt_flow_sent(f)) &&
	       (env->mode == FTT_MODE_BACKUP || f->bits & (FTT_F_ESTABLISHED | FTT_F_TAKEN));
}

/*
 * What our stack is to see of a segment: at once, or `again` when it has waited. What is refused is not seen, and
 * not learnt from; what nobody is known to have sent is a claim, and may wait for that, too.
 */
static inline enum ftt_verdict ftt_client_gate(struct ftt_flow *f, const struct ftt_seg *s, bool again,
					       const struct ftt_env *env, struct ftt_edit *e)
{
	struct ftt_place at = ftt_flow_place(f, env->now_ns - f->last_ns);
	enum ftt_judgement judged;

	if (!again)
		f->last_ns = env->now_ns;
	if (env->mode == FTT_MODE_BACKUP && ftt_client_discarded(f, s)) {
		e->drop = FTT_DROP_REFUSED;
		return FTT_DROP;
	}
	if (ftt_client_claims(f, s, env)) {
		bool claims;

		at.snd_nxt = s->ack; /* who does not know the window and the time is no client, whatever was sent */
		claims = !again && ftt_judge(&at, s) == FTT_TAKEN;
		if (!(f->bits & FTT_F_TAKEN) || !ftt_flow_emits(env->mode) || !claims || !ftt_claim_believed(f, s, env->now_ns, e))
			return ftt_client_unsent(f, s, claims, env, e);
	}
	judged = ftt_client_ends(f, s, ftt_judge(&at, s), env);
	e->taken = judged == FTT_TAKEN;
	if (judged == FTT_TAKEN && !again)
		f->bits &= ~(uint32_t)FTT_F_CLAIM; /* who claims more does not say less later */
	ftt_client_observe(f, &at, s, judged, env, e);
	e->actions |= ftt_flow_owes(f) ? FTT_ACT_INJECT : 0;
	if (ftt_client_refuse(f, s, judged, env, e))
		return FTT_DROP;
	if (ftt_client_waits(f, s, env))
		return ftt_hold(e, FTT_WAIT_ANSWERED);
	if (judged == FTT_TAKEN) {
		ftt_client_follows(f, s);
		at.snd_una = again ? s->ack : at.snd_una; /* of one that waited our stack is shown an acknowledgement of now */
		if (f->bits & FTT_F_TS && ftt_renews_time(&at, s)) /* not before it is given it: what waited longer would be too old */
			f->ts_recent = s->tsval;
	}
	if (s->flags & TCP_ACK)
		ftt_edit_in(f, s, judged, env, e);
	ftt_edit_port_in(f, e);
	e->actions |= ftt_close_if_ended(f);
	return FTT_PASS;
}

/* Of a flow that our stack does not carry, only where its client stands is followed: the first signed word says it anew. */
static inline void ftt_client_place(struct ftt_flow *f, const struct ftt_seg *s)
{
	const uint32_t slack = 1u << 24, ahead = 1u << 30;
	bool proven = s->signer == FTT_SIGNED_OURS && f->hard.signer != FTT_SIGNED_OURS, first = proven || !(f->bits & FTT_F_ESTABLISHED);

	if ((s->flags & (TCP_SYN | TCP_RST | TCP_ACK)) != TCP_ACK || (!proven && s->seq - f->client_nxt + slack >= 2 * slack))
		return;
	if (proven) {
		f->hard.signer = FTT_SIGNED_OURS;
		f->client_nxt = s->seq;
	}
	f->bits |= FTT_F_ESTABLISHED | (s->options & FTT_OPT_TS ? FTT_F_TS : 0);
	if (first || s->ack - f->client_acked < ahead)
		f->client_acked = s->ack;
	f->client_nxt = seq_max(f->client_nxt, ftt_seg_end(s));
	if (s->options & FTT_OPT_TS) {
		f->client_tsval = first ? s->tsval : seq_max(f->client_tsval, s->tsval);
		f->max_tsecr = first ? s->tsecr : seq_max(f->max_tsecr, s->tsecr);
	}
}

/*
 * What an established stack would challenge, and one that still shakes hands answers with a RST. On a primary that is one with
 * a SYN and an acknowledgement, which no end sends that opens a connection: what waited in our queue while the handshake ended is still answered so
 * (ftt_answers_stray), with the number that it asks for. A backup's stack may not have the end of the handshake yet, which the
 * mirror lost or a SYN overtook; there, neither a SYN nor an inexact RST may end what goes on at the primary.
 */
static inline bool ftt_client_meddles(const struct ftt_flow *f, const struct ftt_seg *s, const struct ftt_env *env)
{
	if (!(f->bits & FTT_F_MAPPED) || ftt_flow_ended(f) || !(s->flags & TCP_SYN))
		return false;
	if (f->opener == FTT_OPENED_LOCAL)
		return s->seq != f->hard.irs || !(s->flags & TCP_ACK); /* else it repeats its answer, for it has not heard ours */
	return s->flags & TCP_ACK || (env->mode == FTT_MODE_BACKUP && f->protection == FTT_PROTECTED && s->seq != f->hard.irs);
}

/* What acknowledges our SYN and no more; of a time that our stack has not sent yet it is shown the latest one. */
static inline void ftt_edit_answer(const struct ftt_flow *f, const struct ftt_seg *s, struct ftt_edit *e)
{
	e->ack = s->ack + f->hard.delta;
	e->change |= f->hard.delta ? FTT_EDIT_ACK : 0;
	if (!(s->options & FTT_OPT_TS))
		return;
	e->tsecr = seq_min(s->tsecr + f->hard.ts_delta, f->local_tsval);
	e->change |= e->tsecr != s->tsecr ? FTT_EDIT_TSECR : 0;
}

/*
 * The remote end's first word, of a connection that our server opens: its answer, or that it refuses (RFC 9293 3.10.7.3). Where both
 * open at once, ours is answered as well: its own SYN nobody is shown. Anything else our stack contradicts; a backup's need not.
 */
static inline enum ftt_verdict ftt_opened_step(struct ftt_flow *f, const struct ftt_seg *s, const struct ftt_env *env, struct ftt_edit *e)
{
	bool ours = s->flags & TCP_ACK && s->ack == f->hard.service_iss + 1;

	f->last_ns = env->now_ns;
	e->drop = FTT_DROP_REFUSED;
	if (ftt_is_syn(s) || (!ours && env->mode == FTT_MODE_BACKUP))
		return FTT_DROP;
	if (ours && s->flags & TCP_RST) {
		f->bits |= FTT_F_CLIENT_RST;
		e->actions |= FTT_ACT_CLOSED | (env->mode == FTT_MODE_PAIRED ? FTT_ACT_ABORT : 0);
	} else if (ours && s->flags & TCP_SYN) {
		ftt_opened_answered(f, s);
	}
	if (s->flags & TCP_ACK)
		ftt_edit_answer(f, s, e);
	ftt_edit_port_in(f, e);
	return FTT_PASS;
}

static inline enum ftt_verdict ftt_client_step(struct ftt_flow *f, const struct ftt_seg *s, const struct ftt_env *env,
					       struct ftt_edit *e)
{
	if (f->opener == FTT_OPENED_LOCAL && !(f->bits & FTT_F_MAPPED) && f->bits & FTT_F_SYNACK)
		return ftt_opened_step(f, s, env, e);
	if (ftt_client_meddles(f, s, env)) {
		e->drop = FTT_DROP_REFUSED;
		return FTT_DROP;
	}
	if ((s->flags & (TCP_SYN | TCP_ACK | TCP_RST)) == TCP_SYN) {
		/* each kernel would answer with a key of its own (RFC 8684): without the option both ends fall back to TCP */
		e->change |= s->options & FTT_OPT_MPTCP ? FTT_EDIT_MPTCP : 0;
		return ftt_client_syn(f, s);
	}
	if (!(f->bits & FTT_F_MAPPED)) {
		if (env->mode == FTT_MODE_BACKUP || f->protection == FTT_UNPROTECTED)
			ftt_client_place(f, s);
		if (env->mode != FTT_MODE_BACKUP)
			return FTT_PASS;
		/* it has an answer to its SYN, which a primary that wants us to follow would have told first */
		e->actions |= f->bits & FTT_F_ESTABLISHED && f->protection == FTT_NEW ? FTT_ACT_LET_GO : 0;
		e->drop = FTT_DROP_UNMAPPED;
		return FTT_DROP;
	}
	return ftt_client_gate(f, s, false, env, e);
}

#endif
