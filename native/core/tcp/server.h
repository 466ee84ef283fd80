/* SPDX-License-Identifier: Apache-2.0 */
/*
 * server.h - segments from the local stack: what is learnt, and the gate of a primary.
 */
#ifndef FTTCP_SERVER_H
#define FTTCP_SERVER_H
#include "core/gate.h"
#include "core/tcp/client.h"
#include "core/tcp/spaces.h"
#include "core/compare/verify.h"

/* --- from the local stack: what is learnt ------------------------------------------------------ */

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
		   (s->options & FTT_OPT_SACK_OK ? FTT_F_SACK : 0) | (s->options & FTT_OPT_WSCALE ? FTT_F_WSCALE : 0);
	f->hard.signer = s->signer;
	f->local_iss = s->seq;
	f->hard.local_wscale = f->hard.service_wscale = s->options & FTT_OPT_WSCALE ? s->wscale : 0;
	if (!(s->options & FTT_OPT_WSCALE)) /* both sides or none (RFC 7323 2.2) */
		f->hard.client_wscale = 0;
	f->local_rcv_nxt = f->told_ack = s->ack;
	f->local_edge = f->advertised_edge = f->peer_edge = s->ack + s->wnd; /* unscaled, RFC 7323 2.2 */
	ftt_server_clock(f, s, now_ns);
	f->synack_ns = now_ns;
	return true;
}

/*
 * The stack echoes the latest time that it took of the client. That may be one that we did not learn: segments that waited go
 * together, and the first ones move the window that the last ones were beyond. What we say in the client's name must not be older.
 */
static inline void ftt_server_echo(struct ftt_flow *f, const struct ftt_seg *s)
{
	if (!(f->bits & FTT_F_TS) || !s->tsecr)
		return;
	f->client_tsval = seq_max(f->client_tsval, s->tsecr);
	f->ts_recent = seq_max(f->ts_recent, s->tsecr);
}

/*
 * A RST that ends nothing: the stack answers with one what belongs to no connection (RFC 9293 3.10.7.4), with the number
 * of that segment. During the handshake that is any which acknowledges something else. Linux also says so to one that waited in
 * our queue while the handshake ended: it stays with the request that it was given to when it came (early demultiplexing). An
 * end of the connection has a number that its client may expect.
 */
static inline bool ftt_answers_stray(const struct ftt_flow *f, const struct ftt_seg *s)
{
	uint32_t seq = s->seq - f->hard.delta;

	if (!(s->flags & TCP_RST) || f->bits & FTT_F_LOCAL_RST)
		return false;
	if (!(f->bits & FTT_F_ESTABLISHED))
		return !(s->flags & TCP_ACK);
	return f->bits & FTT_F_MAPPED && (seq_lt(seq, f->delivered_ack) || seq_gt(seq, f->local_snd_nxt));
}

/* Any later segment of the stack: moves what we know of it. Returns the end of the segment, service space. */
static inline uint32_t ftt_server_observe(struct ftt_flow *f, const struct ftt_seg *s, uint64_t now_ns)
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
		f->bits &= ~(uint32_t)FTT_F_HOLE;
		if (s->options & FTT_OPT_SACK && s->sack_left != s->ack) {
			f->bits |= FTT_F_HOLE;
			f->local_hole_end = s->sack_left;
		}
	}
	if (s->options & FTT_OPT_TS) {
		ftt_server_clock(f, s, now_ns);
		ftt_server_echo(f, s);
		/* never behind what the client has echoed, or PAWS (RFC 7323 5) drops us */
		if (f->bits & FTT_F_TS && seq_lt(s->tsval - f->hard.ts_delta, f->max_tsecr))
			f->hard.ts_delta = s->tsval - f->max_tsecr;
	}
	if (f->bits & FTT_F_BEHIND && seq_geq(f->local_snd_nxt, f->client_acked))
		f->bits &= ~(uint32_t)FTT_F_BEHIND;
	return end;
}

/* --- from the primary's stack ------------------------------------------------------------------- */

/*
 * The window that the client is shown behind the SYN-ACK: the smaller of both stacks', and no less than promised but for
 * what scaling cuts off (RFC 7323 2.4). Rounded up, each acknowledgement would promise a little more than a stack has, and
 * Linux drops a segment that ends beyond its window while something is unread (since 6.17, tcp_sequence()). Returns the
 * field's value for a segment that acknowledges `ack`.
 */
static inline uint16_t ftt_window(const struct ftt_flow *f, uint32_t ack, uint32_t edge, bool in_step)
{
	uint32_t room;

	if (in_step)
		edge = seq_min(edge, f->peer_edge);
	edge = seq_max(edge, f->advertised_edge);
	room = seq_gt(edge, ack) ? (edge - ack) >> f->hard.service_wscale : 0;
	return room > 0xffff ? 0xffff : (uint16_t)room;
}

/*
 * The client was told less than both stacks take by now: is that worth a segment of our own? Not while it has room, unless it gets
 * twice as much (so does Linux, tcp_cleanup_rbuf()): the acknowledgement of what it sends next says the same.
 */
static inline bool ftt_window_opens(const struct ftt_flow *f)
{
	uint32_t edge = seq_min(f->local_edge, f->peer_edge), at = seq_max(f->client_nxt, f->committed);
	bool room = seq_geq(f->advertised_edge, at + f->mss);

	return seq_geq(edge, f->advertised_edge + FTT_WINDOW_STEP) && (!room || edge - at >= 2 * (f->advertised_edge - at));
}

/* Turns a segment of the local stack into what the client is to see. */
static inline void ftt_edit_out(struct ftt_flow *f, const struct ftt_seg *s, const struct ftt_env *env, struct ftt_edit *e)
{
	const struct ftt_flow_hard *h = &f->hard;

	if (h->delta) {
		e->seq = s->seq - h->delta;
		e->change |= FTT_EDIT_SEQ;
	}
	if (ftt_flow_port_delta(f)) {
		e->port_add = (uint16_t)-ftt_flow_port_delta(f);
		e->change |= FTT_EDIT_SPORT;
	}
	if (s->options & FTT_OPT_TS && h->ts_delta) {
		e->tsval = s->tsval - h->ts_delta;
		e->change |= FTT_EDIT_TSVAL;
	}
	if (s->options & FTT_OPT_TS && ftt_client_repairs(f, env->mode)) {
		e->tsecr = 0;
		e->change |= FTT_EDIT_TSECR;
	}
	if (s->options & FTT_OPT_DSACK && ftt_repaired_lately(f, env))
		e->change |= FTT_EDIT_NO_SACK;
	if (s->flags & TCP_ACK && !(s->flags & (TCP_RST | TCP_SYN))) {
		uint32_t edge = s->ack + ((uint32_t)s->wnd << h->local_wscale);
		uint16_t wnd = ftt_window(f, s->ack, edge, ftt_flow_in_step(f, env->mode));

		if (wnd != s->wnd) {
			e->wnd = wnd;
			e->change |= FTT_EDIT_WND;
		}
		f->advertised_edge = seq_max(f->advertised_edge, s->ack + ((uint32_t)wnd << h->service_wscale));
		f->told_ack = seq_max(f->told_ack, s->ack);
	}
}

/* The segment went without its edit, so the client is promised what our stack shows. That holds now. */
static inline void ftt_promised(struct ftt_flow *f, const struct ftt_seg *s)
{
	f->advertised_edge = seq_max(f->advertised_edge, s->ack + ((uint32_t)s->wnd << f->hard.local_wscale));
}

/*
 * Is the end that our stack has come to a real one? A client that has reset the connection does not wait for it. A dying
 * server's kernel ends its connections before anybody knows of the death; the takeover that follows carries a protected
 * flow on and resets any other one, and a FIN would make what was cut look complete. So while there is a backup the end
 * waits for the backup's, or, where there is none to come, for health's word (ftt_tick_end).
 */
static inline bool ftt_end_is_real(const struct ftt_flow *f)
{
	if (f->bits & FTT_F_CLIENT_RST)
		return true;
	if (f->protection == FTT_CATCHING_UP) /* a server that is not in step yet proves nothing */
		return f->bits & FTT_F_END_REAL;
	return f->protection == FTT_PROTECTED && !(f->bits & FTT_F_COLD) ? ftt_ends_alike(f) : f->bits & (FTT_F_END_REAL | FTT_F_PEER_FIN | FTT_F_PEER_RST);
}

/*
 * Would this segment be a last word, if the server's main process were dead? Its children outlive it for a moment, and
 * say what the backup's server never will. That this one has said as much proves nothing: it answered the client instead.
 * And no end is real then, nor is "refused" to a client that would be served a moment later.
 */
static inline bool ftt_is_last_word(const struct ftt_flow *f, const struct ftt_seg *s, const struct ftt_env *env)
{
	return env->mode == FTT_MODE_PAIRED &&
	       (s->flags & (TCP_FIN | TCP_RST) || (s->len && f->protection == FTT_PROTECTED));
}

/* A segment goes to the client, up to `end`: the backup is told of what is new. */
static inline void ftt_leaves(struct ftt_flow *f, const struct ftt_seg *s, uint32_t end, const struct ftt_env *env, struct ftt_edit *e)
{
	bool again = s->len && f->bits & FTT_F_SUMS && f->verified != f->told; /* something was lost: the OUTPUT, too? */

	if (s->flags & TCP_RST || (!seq_gt(end, f->sent) && !again))
		return;
	f->sent = seq_max(f->sent, end);
	e->actions |= ftt_flow_in_step(f, env->mode) ? FTT_ACT_COMMIT : 0;
}

/* The end of a flow whose spaces were never related: nothing of it is edited. */
static inline enum ftt_verdict ftt_gate_unmapped(struct ftt_flow *f, const struct ftt_seg *s, const struct ftt_env *env,
						 struct ftt_edit *e)
{
	bool ends = s->flags & (TCP_FIN | TCP_RST) && f->bits & FTT_F_ESTABLISHED;

	if (s->orphan && env->mode == FTT_MODE_PAIRED)
		return ftt_hold(e, FTT_WAIT_LAST_WORD);
	if (f->opener == FTT_OPENED_LOCAL) { /* it contradicts what is no answer to its SYN */
		ftt_edit_out(f, s, env, e);
		return FTT_PASS;
	}
	if (env->mode != FTT_MODE_PAIRED || !ends || ftt_end_is_real(f)) {
		e->actions |= s->flags & TCP_RST ? FTT_ACT_CLOSED : 0;
		return FTT_PASS;
	}
	if (!f->end_since_ns)
		f->end_since_ns = env->now_ns;
	return ftt_hold(e, FTT_WAIT_END);
}

/*
 * Is input no matter any more? Both stacks have reset the connection; or the backup's has, whose server closed it: then nothing more of the
 * client will ever reach that one, and what it has said by then needs no more input.
 */
static inline bool ftt_input_is_over(const struct ftt_flow *f, uint32_t end)
{
	bool behind_fin = f->bits & FTT_F_LOCAL_FIN && end == f->fin_end; /* it brings the FIN, or comes later */
	uint32_t said = end - (f->hard.service_iss + 1) - behind_fin;

	return ftt_both_reset(f) || (f->bits & FTT_F_PEER_RST && seq_leq(said, ftt_peer_end(f)));
}

/*
 * What a segment of our stack depends on, when it is said: all input that it acknowledges. With order = "service" no client is to
 * have what the backup's server has not given: what any client does next, on whichever connection, would reach that server first.
 * What is new to the client depends on all calls that are in the log by then.
 */
static inline struct ftt_places ftt_segment_after(const struct ftt_flow *f, const struct ftt_seg *s, const struct ftt_env *env)
{
	bool says = (s->len || s->flags & (TCP_FIN | TCP_RST)) && (s->flags & TCP_RST || seq_gt(ftt_seg_end(s) - f->hard.delta, f->sent));

	return (struct ftt_places){
		.input = s->flags & TCP_ACK ? s->ack : f->committed,
		.output = f->bits & FTT_F_SERVICE && s->len ? s->seq - f->hard.delta + s->len : f->peer_snd_nxt,
		.calls = says ? env->calls_there : env->calls_held,
	};
}

/* Our stack's answer to what belongs to no connection: its numbers are those of the segment. A server that has died gives none. */
static inline bool ftt_is_stray_answer(const struct ftt_flow *f, const struct ftt_seg *s, const struct ftt_env *env)
{
	return f->bits & FTT_F_MAPPED && ftt_answers_stray(f, s) && !(s->orphan && env->mode == FTT_MODE_PAIRED);
}

/* The places to which the flow's backup has come. */
static inline struct ftt_places ftt_flow_held(const struct ftt_flow *f)
{
	return (struct ftt_places){.input = f->committed, .output = f->peer_snd_nxt};
}

/* The output rule, see gate.h. Where no backup follows it is the lease alone. */
static inline enum ftt_wait ftt_segment_waits(const struct ftt_flow *f, const struct ftt_seg *s, struct ftt_places after,
					      const struct ftt_env *env)
{
	struct ftt_places held = ftt_flow_held(f);

	held.calls = env->calls ? env->calls_held : after.calls;
	if (!ftt_flow_in_step(f, env->mode) || !(f->bits & FTT_F_MAPPED) || f->bits & FTT_F_CLIENT_RST)
		return ftt_gate_alone(env);
	if (seq_gt(after.input, held.input) && ftt_input_is_over(f, ftt_seg_end(s) - f->hard.delta))
		after.input = held.input;
	return ftt_gate_waits(after, held, env);
}

/* All output of a flow waits while its backup has yet to say that it follows, or has let go. */
static inline enum ftt_wait ftt_backup_waits(const struct ftt_flow *f, const struct ftt_env *env)
{
	if (env->mode != FTT_MODE_PAIRED)
		return FTT_WAIT_NONE;
	return f->protection == FTT_OPENING ? FTT_WAIT_OPENED : f->protection == FTT_DETACHING ? FTT_WAIT_LET_GO : FTT_WAIT_NONE;
}

/* Our stack's SYN, which may wait for the backup's. */
static inline enum ftt_verdict ftt_gate_syn(struct ftt_flow *f, const struct ftt_seg *s, const struct ftt_env *env, struct ftt_edit *e)
{
	enum ftt_wait why = ftt_backup_waits(f, env);

	if (f->opener != FTT_OPENED_LOCAL || s->seq != f->local_iss)
		return FTT_PASS; /* of another connection: nothing of this one is edited into it */
	if (why)
		return ftt_hold(e, why);
	e->change |= s->options & FTT_OPT_MPTCP && f->protection == FTT_PROTECTED ? FTT_EDIT_MPTCP : 0; /* see ftt_client_step() */
	ftt_edit_out(f, s, env, e);
	return FTT_PASS;
}

/* ftt_gate() of a segment that is no answer to a stray. */
static inline enum ftt_verdict ftt_gate_own(struct ftt_flow *f, const struct ftt_seg *s, const struct ftt_places *after,
					    const struct ftt_env *env, struct ftt_edit *e)
{
	uint32_t end = ftt_seg_end(s) - f->hard.delta;
	enum ftt_wait why = ftt_segment_waits(f, s, *after, env);

	if (why)
		return ftt_hold(e, why);
	if (ftt_is_syn(s))
		return ftt_gate_syn(f, s, env, e);
	if (!(f->bits & FTT_F_MAPPED))
		return ftt_gate_unmapped(f, s, env, e);
	why = ftt_backup_waits(f, env);
	if (why)
		return ftt_hold(e, why);
	if (env->mode == FTT_MODE_PAIRED) {
		if (s->orphan)
			return ftt_hold(e, FTT_WAIT_LAST_WORD); /* for the takeover */
		if (s->flags & (TCP_FIN | TCP_RST) && !ftt_end_is_real(f)) {
			if (!f->end_since_ns)
				f->end_since_ns = env->now_ns;
			/* the data must not wait: the backup's stack may need the client's word on it to come as far */
			if (!(s->flags & TCP_FIN) || !s->len || !s->whole)
				return ftt_hold(e, FTT_WAIT_END);
			f->bits |= FTT_F_FIN_OWED;
			e->change |= FTT_EDIT_FIN;
		} else if (s->flags & (TCP_FIN | TCP_RST)) {
			f->end_since_ns = 0;
			f->bits &= ~(uint32_t)FTT_F_FIN_OWED;
			e->actions |= s->flags & TCP_RST && !(f->bits & FTT_F_CLIENT_RST) ? FTT_ACT_ABORT : 0;
		}
	}
	/* where the client may have bytes of the old primary, it gets ours only if they are known to be the same */
	if (f->bits & FTT_F_UNVERIFIED && ftt_seg_end(s) != s->seq) {
		e->drop = FTT_DROP_UNVERIFIED; /* it is kept; but the acknowledgement in it is the only one */
		e->actions |= s->flags & TCP_ACK && seq_gt(s->ack, f->told_ack) ? FTT_ACT_ACK_CLIENT : 0;
		return FTT_DROP;
	}
	if (f->bits & FTT_F_BEHIND && s->len && seq_leq(end, f->client_acked)) {
		e->drop = FTT_DROP_ACKED;
		return FTT_DROP;
	}
	ftt_edit_out(f, s, env, e);
	ftt_leaves(f, s, end - !!(e->change & FTT_EDIT_FIN), env, e);
	e->actions |= ftt_close_if_ended(f);
	return FTT_PASS;
}

/*
 * May this segment of the primary's stack, which depends on `after`, go to the client now? For a new one and, again, for a
 * held one. PASS comes with the edit to make.
 */
static inline enum ftt_verdict ftt_gate(struct ftt_flow *f, const struct ftt_seg *s, const struct ftt_places *after, const struct ftt_env *env,
					struct ftt_edit *e)
{
	enum ftt_wait why;

	if (!ftt_is_stray_answer(f, s, env))
		return ftt_gate_own(f, s, after, env, e);
	why = ftt_gate_alone(env);
	if (why)
		return ftt_hold(e, why);
	ftt_edit_out(f, s, env, e);
	return FTT_PASS;
}

static inline enum ftt_verdict ftt_serve_synack(struct ftt_flow *f, const struct ftt_seg *s, const struct ftt_env *env,
						struct ftt_edit *e)
{
	uint32_t iss = s->seq, ts = s->tsval;

	if (!ftt_server_synack(f, s, env->now_ns)) {
		if (f->protection == FTT_NEW && !(f->bits & FTT_F_SYNACK)) { /* it acknowledges data in the SYN (RFC 7413) */
			f->protection = FTT_UNPROTECTED;
			f->reason = FTT_WHY_UNSUPPORTED;
			e->actions |= FTT_ACT_REPORT;
		}
		if (ftt_backup_waits(f, env)) {
			e->drop = FTT_DROP_REPEATED;
			return FTT_DROP;
		}
		ftt_edit_out(f, s, env, e);
		return FTT_PASS;
	}
	ftt_spaces_choose(&env->policy->shift, f->hard.irs, &iss, &ts);
	ftt_flow_map(f, iss);
	ftt_flow_map_ts(f, s->tsval, ts);
	if (env->mode != FTT_MODE_PAIRED || f->protection == FTT_UNPROTECTED) {
		f->protection = FTT_UNPROTECTED;
		if (!f->reason)
			f->reason = FTT_WHY_NO_BACKUP;
		ftt_edit_out(f, s, env, e);
		return FTT_PASS;
	}
	f->protection = FTT_OPENING;
	f->opened_ns = f->held_since_ns = env->now_ns;
	f->tries = 1;
	f->ask_ns = env->now_ns + 5000000;
	e->actions |= FTT_ACT_OPEN;
	return ftt_hold(e, FTT_WAIT_OPENED);
}

/* Our server opens a connection. */
static inline enum ftt_verdict ftt_serve_syn(struct ftt_flow *f, const struct ftt_seg *s, const struct ftt_env *env,
					     struct ftt_edit *e)
{
	enum ftt_verdict v = ftt_gate_syn(f, s, env, e);

	if (f->opener == FTT_OPENED_LOCAL && s->seq == f->local_iss)
		ftt_server_clock(f, s, env->now_ns);
	if (v != FTT_HOLD || !f->held_since_ns)
		return v;
	e->drop = FTT_DROP_REPEATED;
	return FTT_DROP;
}

/* Without a lease not a word: what would go, and is not queued, is lost. */
static inline enum ftt_verdict ftt_serve_alone(enum ftt_verdict v, const struct ftt_env *env, struct ftt_edit *e)
{
	if (v != FTT_PASS || !ftt_gate_alone(env))
		return v;
	e->drop = FTT_DROP_LEASE;
	return FTT_DROP;
}

/* Why a segment is queued: behind others, or for the lease. */
static inline enum ftt_wait ftt_waits_behind(const struct ftt_env *env)
{
	enum ftt_wait why = ftt_gate_alone(env);

	return why ? why : FTT_WAIT_TURN;
}

static inline enum ftt_verdict ftt_serve_step(struct ftt_flow *f, const struct ftt_seg *s, const struct ftt_env *env,
					      struct ftt_edit *e)
{
	struct ftt_places after;
	uint32_t end;

	f->last_ns = env->now_ns;
	if (s->flags & TCP_SYN)
		return ftt_serve_alone(s->flags & TCP_ACK ? ftt_serve_synack(f, s, env, e) : ftt_serve_syn(f, s, env, e), env, e);
	if (!(f->bits & FTT_F_MAPPED) && f->end_since_ns && (f->held_since_ns || ftt_gate_alone(env)))
		return ftt_hold(e, ftt_waits_behind(env));
	if (!(f->bits & FTT_F_MAPPED)) /* e.g. the RST of a closed port */
		return ftt_serve_alone(ftt_gate_unmapped(f, s, env, e), env, e);
	end = ftt_server_observe(f, s, env->now_ns);
	if (f->bits & FTT_F_TAKEN && (seq_gt(ftt_deliverable(f, env->mode), f->delivered_ack) ||
				      (s->len && seq_leq(end, f->delivered_ack)))) /* it did not take our word */
		e->actions |= FTT_ACT_INJECT;
	if (ftt_is_stray_answer(f, s, env)) {
		ftt_edit_out(f, s, env, e);
		return ftt_serve_alone(FTT_PASS, env, e);
	}
	if (f->held_since_ns) /* in order, behind those that wait */
		return ftt_hold(e, ftt_waits_behind(env));
	after = ftt_segment_after(f, s, env);
	return ftt_gate_own(f, s, &after, env, e);
}

#endif
