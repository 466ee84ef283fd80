/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pair.h - what the records of the other node, time, and a change of role do to a flow.
 *
 * Like ftt_segment_step(): pure, and what is to be done comes back as a set of FTT_ACT_*.
 */
#ifndef FTTCP_PAIR_H
#define FTTCP_PAIR_H
#include "core/tcp/open.h"
#include "core/tcp/retain.h"
#include "core/compare/verify.h"

#define FTT_ASK_FIRST_NS 3000000ull  /* ask the other node again after 3 ms, then less and less often */
#define FTT_ASK_MAX_NS 100000000ull
#define FTT_NUDGES 5u                /* between two requests to the client to send again, in FTT_NUDGE_SHIFT */
#define FTT_PARTIAL_NS 10000000ull   /* what is held for longer is acknowledged as far as the backup has it */
#define FTT_ALONE_GRACE_NS 20000000ull /* a signal to a group of processes ends them one after the other */
#define FTT_LAST_WORD_NS 20000000ull /* a planned takeover takes less */
#define FTT_TS_LEAD 5u        /* ms; covers what the old primary may have sent that was not echoed yet */

static inline uint64_t ftt_ask_again(struct ftt_flow *f, uint64_t now_ns)
{
	uint64_t wait = FTT_ASK_FIRST_NS << (f->tries < 6 ? f->tries : 6);

	f->tries++;
	return now_ns + (wait > FTT_ASK_MAX_NS ? FTT_ASK_MAX_NS : wait);
}

static inline uint32_t ftt_flow_detach(struct ftt_flow *f, uint8_t reason, uint64_t now_ns)
{
	f->protection = FTT_DETACHING;
	f->reason = reason;
	f->tries = 0;
	f->ask_ns = ftt_ask_again(f, now_ns);
	return FTT_ACT_DETACH;
}

/* Nothing keeps the FIN back any more whose data went before. */
static inline uint32_t ftt_pay_fin(struct ftt_flow *f)
{
	if (!(f->bits & FTT_F_FIN_OWED))
		return 0;
	f->bits &= ~(uint32_t)FTT_F_FIN_OWED;
	f->end_since_ns = 0;
	f->sent = f->fin_end;
	return FTT_ACT_FIN | (f->protection == FTT_PROTECTED ? FTT_ACT_COMMIT : 0);
}

/* The backup let go (or is gone): the flow goes on alone. */
static inline uint32_t ftt_flow_alone(struct ftt_flow *f, uint8_t protection, uint8_t reason)
{
	f->protection = protection;
	f->reason = reason;
	f->tries = 0;
	f->ask_ns = f->lag_since_ns = f->differs_ns = 0;
	if (protection == FTT_DETACHED && f->bits & FTT_F_FIN_OWED && !(f->bits & FTT_F_END_REAL))
		return FTT_ACT_RELEASE | FTT_ACT_DETACHED; /* the end still waits for health's word */
	f->end_since_ns = 0;
	return FTT_ACT_RELEASE | ftt_pay_fin(f) | (protection == FTT_DETACHED ? FTT_ACT_DETACHED : 0);
}

/*
 * The backup shows that it lacks what we have: data behind a hole, or no progress although it was
 * asked. Our own stack will not ask the client for it, so we do: a duplicate acknowledgement of what
 * is committed, with a SACK of what it has behind the hole. If it tells of nothing there, of the end of what we have: all before is
 * sent again then.
 */
static inline uint32_t ftt_nudge_step(struct ftt_flow *f, const struct ftt_record *r, bool progress, uint64_t now_ns)
{
	bool lacks = r->flags & FTT_REC_HOLE || (f->tries && !progress && !(r->flags & FTT_REC_WAITS));

	if (f->protection != FTT_PROTECTED || !f->held_since_ns || !lacks || seq_leq(f->local_rcv_nxt, f->committed) ||
	    f->committed == f->hard.irs || /* it lacks the answer to its SYN, which the remote end repeats by itself */
	    (f->nudged && ftt_since_nudge(f, now_ns) < FTT_NUDGES))
		return 0;
	f->nudged = (uint32_t)(now_ns >> FTT_NUDGE_SHIFT);
	f->nudged += !f->nudged;
	f->repair_end = f->client_nxt;
	f->peer_hole_end = r->flags & FTT_REC_HOLE ? r->hole_end : f->local_rcv_nxt - f->mss;
	return FTT_ACT_NUDGE;
}

static inline uint32_t ftt_commit_step(struct ftt_flow *f, const struct ftt_record *r, uint64_t now_ns)
{
	bool progress = r->rcv_nxt != f->committed;
	uint32_t actions = 0;

	if (r->rcv_nxt - f->committed < 1u << 30)
		f->committed = r->rcv_nxt;
	if (r->edge - f->peer_edge < 1u << 30)
		f->peer_edge = r->edge;
	if (r->type == FTT_REC_COMMIT) {
		bool more = seq_gt(r->snd_nxt, f->peer_snd_nxt);

		if (r->snd_nxt - f->peer_snd_nxt < 1u << 30) {
			if (f->end_since_ns && r->snd_nxt != f->peer_snd_nxt)
				f->end_since_ns = now_ns; /* it is on its way to the end */
			f->peer_snd_nxt = r->snd_nxt;
		}
		actions = ftt_nudge_step(f, r, progress, now_ns) | (r->flags & FTT_REC_WHERE ? FTT_ACT_PROBE : 0);
		f->bits |= (r->flags & FTT_REC_FIN ? FTT_F_PEER_FIN : 0) | (r->flags & FTT_REC_RST ? FTT_F_PEER_RST : 0);
		if (f->bits & FTT_F_SUMS)
			ftt_output_commit(f, r->verified, r->flags & FTT_REC_DIFFERS, more, now_ns);
		if (ftt_ends_alike(f))
			actions |= ftt_pay_fin(f);
	}
	f->tries = 0;
	ftt_lag_mark(f, now_ns);
	if (f->held_since_ns)
		return actions | FTT_ACT_RELEASE;
	f->ask_ns = 0;
	/* the client waits for a window that only the backup kept small: nobody else tells it */
	if (f->protection == FTT_PROTECTED && ftt_window_opens(f))
		actions |= FTT_ACT_ACK_CLIENT;
	return actions;
}

/* A record from the backup about a flow of this primary. */
static inline uint32_t ftt_primary_record(struct ftt_flow *f, const struct ftt_record *r, const struct ftt_env *env)
{
	switch (r->type) {
	case FTT_REC_OPENED:
		if (f->protection != FTT_OPENING)
			return 0;
		f->protection = FTT_PROTECTED;
		if (!(f->bits & FTT_F_MAPPED)) { /* the remote end has yet to answer: there is nothing to count from */
			f->ask_ns = f->tries = 0;
			return FTT_ACT_RELEASE;
		}
		return ftt_commit_step(f, r, env->now_ns) | FTT_ACT_RELEASE;
	case FTT_REC_COMMIT:
		if (f->protection == FTT_PROTECTED && !(f->bits & FTT_F_MAPPED)) { /* the mirror is faster than our own queue */
			f->committed = r->rcv_nxt;
			f->peer_edge = r->edge;
			return 0;
		}
		return f->protection == FTT_PROTECTED ? ftt_commit_step(f, r, env->now_ns) : 0;
	case FTT_REC_REFUSED:
		if (f->protection == FTT_OPENING || f->protection == FTT_PROTECTED)
			return ftt_flow_alone(f, FTT_DETACHED, r->flags & FTT_REC_UNLIKE ? FTT_WHY_UNSUPPORTED :
							       r->flags & FTT_REC_OLDER ? FTT_WHY_BEFORE_CHECKPOINT :
							       r->flags & FTT_REC_FULL ? FTT_WHY_BOUND : FTT_WHY_REFUSED);
		return 0;
	case FTT_REC_DETACHED:
		if (f->protection == FTT_DETACHING)
			return ftt_flow_alone(f, FTT_DETACHED, f->reason);
		if (f->protection == FTT_PROTECTED) /* it does not know the flow that we asked about */
			return ftt_flow_alone(f, FTT_DETACHED, FTT_WHY_PEER_END);
		return 0;
	default:
		return 0;
	}
}

/* Backup: does the primary's output wait for the COMMIT that is told next? Then it offers our own sum with it. */
static inline bool ftt_commit_awaited(const struct ftt_flow *f)
{
	return seq_gt(f->local_rcv_nxt, f->committed) || f->bits & FTT_F_SERVICE;
}

/* COMMIT: where the backup's stack stands. */
static inline void ftt_commit_tell(struct ftt_flow *f, struct ftt_record *r)
{
	r->rcv_nxt = f->committed = f->local_rcv_nxt;
	r->edge = f->local_edge;
	r->snd_nxt = f->local_snd_nxt;
	r->verified = f->verified;
	r->flags |= (f->bits & FTT_F_LOCAL_FIN ? FTT_REC_FIN : 0) | (f->bits & FTT_F_LOCAL_RST ? FTT_REC_RST : 0) |
		    (f->bits & FTT_F_DIFFERS ? FTT_REC_DIFFERS : 0) |
		    (f->bits & FTT_F_WHERE ? FTT_REC_WHERE : 0) | (f->held_since_ns ? FTT_REC_WAITS : 0) |
		    (f->bits & FTT_F_HOLE ? FTT_REC_HOLE : 0);
	f->bits &= ~(uint32_t)FTT_F_WHERE;
	if (f->bits & FTT_F_HOLE)
		r->hole_end = f->local_hole_end;
}

/* Did the backup's server end a flow that ours carries on? */
static inline bool ftt_peer_ended_alone(const struct ftt_flow *f)
{
	if (f->bits & (FTT_F_LOCAL_FIN | FTT_F_LOCAL_RST | FTT_F_CLIENT_RST))
		return false;
	return f->bits & FTT_F_PEER_RST || (f->bits & FTT_F_PEER_FIN && seq_geq(f->local_snd_nxt, f->peer_snd_nxt));
}

/*
 * Is it certain that the backup's server has ended the flow otherwise than ours? Ours said more, or ended elsewhere;
 * else it may only be the slower one.
 */
static inline bool ftt_peer_contradicts(const struct ftt_flow *f)
{
	if (!(f->bits & (FTT_F_PEER_FIN | FTT_F_PEER_RST)) || f->protection != FTT_PROTECTED ||
	    f->bits & (FTT_F_LOCAL_RST | FTT_F_CLIENT_RST))
		return false;
	return f->bits & FTT_F_LOCAL_FIN ? !ftt_ends_alike(f) : seq_gt(ftt_output_end(f), ftt_peer_end(f));
}

/* ... then nothing is gained by waiting, if our server lives; if not, a takeover follows. */
static inline uint32_t ftt_flow_part(struct ftt_flow *f, const struct ftt_env *env)
{
	return ftt_peer_contradicts(f) && env->vouched ? ftt_flow_detach(f, FTT_WHY_PEER_END, env->now_ns) : 0;
}

/* Backup: has the client acknowledged a FIN of the primary's, where our server's stream ends, too? */
static inline bool ftt_output_told(const struct ftt_flow *f)
{
	uint32_t end = ftt_output_end(f);

	return f->bits & FTT_F_SUMS && f->told == end && ftt_output_offset(f, f->client_acked) == end + 1;
}

/*
 * After a takeover: our server has ended what the client carries on. It reset the flow, or it came to its end before
 * the bytes that the client has of the old primary.
 */
static inline bool ftt_flow_cut(const struct ftt_flow *f)
{
	if (!(f->bits & FTT_F_MAPPED) || f->bits & FTT_F_CLIENT_RST)
		return false;
	if (f->bits & FTT_F_LOCAL_RST)
		return !ftt_output_told(f);
	return f->bits & FTT_F_LOCAL_FIN && seq_gt(f->client_acked, f->fin_end);
}

/*
 * The primary's output waits for ours (FTT_REC_NEEDS), so the client cannot acknowledge, and our stack may wait for that: its
 * congestion window may be smaller than one packet that the primary holds, or it gathers (Nagle). So we acknowledge
 * what it has said, and owe it to the client: it is retained, and after a takeover sent until the client has it.
 */
static inline uint32_t ftt_backup_owe(struct ftt_flow *f, const struct ftt_retained *kept)
{
	uint32_t said = f->local_snd_nxt - !!(f->bits & FTT_F_LOCAL_FIN);

	if (seq_leq(said, f->delivered_ack) || !kept->n || seq_gt(kept->seq, f->client_acked) ||
	    seq_lt(ftt_retained_end(kept), said))
		return 0;
	f->delivered_ack = said;
	return FTT_ACT_INJECT;
}

/*
 * A PROBE tells the backup how far the client has acknowledged. The last pure ACK of a client that
 * has nothing more to say is sent once; if the mirror lost it, nobody else would tell.
 */
static inline uint32_t ftt_backup_probe(struct ftt_flow *f, const struct ftt_record *r, const struct ftt_retained *kept)
{
	uint32_t ahead = r->client_acked - f->client_acked;
	uint32_t actions = FTT_ACT_COMMIT | (f->held_since_ns ? FTT_ACT_RELEASE : 0);

	f->sent = seq_max(f->sent, r->client_acked);
	if (ahead < 1u << 30 && (ahead || r->client_wnd != f->client_wnd)) {
		f->client_acked = r->client_acked;
		f->client_wnd = r->client_wnd;
		f->bits |= FTT_F_ESTABLISHED;
		actions |= FTT_ACT_INJECT | ftt_close_if_ended(f);
	}
	return actions | (r->flags & FTT_REC_NEEDS ? ftt_backup_owe(f, kept) : 0);
}

/* So far has the primary sent: what the client acknowledges up to there is its word. */
static inline uint32_t ftt_backup_output(struct ftt_flow *f, const struct ftt_record *r)
{
	if (r->snd_nxt - f->sent < 1u << 30)
		f->sent = r->snd_nxt;
	return ftt_claim_confirmed(f) | (f->held_since_ns ? FTT_ACT_RELEASE : 0);
}

/* What the other records tell of a flow: where it stands, and in the flags what belongs to the type. */
static inline void ftt_flow_tell(const struct ftt_flow *f, struct ftt_record *r)
{
	r->rcv_nxt = f->local_rcv_nxt;
	r->edge = f->local_edge;
	r->client_acked = f->client_acked;
	r->client_wnd = f->client_wnd;
	if (r->type == FTT_REC_REFUSED && f->bits & FTT_F_UNLIKE)
		r->flags = FTT_REC_UNLIKE;
	else if (r->type == FTT_REC_REFUSED && f->reason == FTT_WHY_BEFORE_CHECKPOINT)
		r->flags = FTT_REC_OLDER;
	else if (r->type == FTT_REC_REFUSED && f->bits & FTT_F_COLD)
		r->flags = FTT_REC_FULL;
	else if (r->type == FTT_REC_PROBE && ftt_output_needs(f))
		r->flags = FTT_REC_NEEDS;
	else if (r->type == FTT_REC_CLOSE && !(f->bits & FTT_F_CLIENT_RST))
		r->flags = FTT_REC_OURS;
}

/* The connection was reset, by its client, or by the primary's stack: then the client may not have heard of it yet. */
static inline uint32_t ftt_backup_close(struct ftt_flow *f, const struct ftt_record *r)
{
	f->bits |= r->flags & FTT_REC_OURS ? FTT_F_LOCAL_RST : FTT_F_CLIENT_RST;
	return FTT_ACT_CLOSED;
}

/* The primary refused a segment. Ours may wait, or be on its way yet. */
static inline uint32_t ftt_backup_discard(struct ftt_flow *f, const struct ftt_record *r)
{
	if (f->bits & FTT_F_CLAIM && f->claim == r->ack)
		f->bits &= ~(uint32_t)FTT_F_CLAIM;
	memmove(f->discards + 1, f->discards, (FTT_DISCARDS - 1) * sizeof(f->discards[0]));
	f->discards[0] = ftt_discard_sum(r->seq, r->ack, r->tsval);
	return f->held_since_ns ? FTT_ACT_RELEASE : 0;
}

/*
 * For how long the end of a flow that nobody follows waits for health's word. Where the main processes are looked at, one
 * that has died is known before such an end comes; what its children said in the same moment is not, hence a little time.
 */
static inline uint64_t ftt_alone_grace(const struct ftt_env *env)
{
	uint64_t most_ns = env->policy->end_grace_ns;

	return env->watched && most_ns > FTT_ALONE_GRACE_NS ? FTT_ALONE_GRACE_NS : most_ns;
}

/* One side's server ended the flow, the other's has not (yet), or there is none: after a grace that is final. */
static inline uint32_t ftt_tick_end(struct ftt_flow *f, const struct ftt_env *env)
{
	bool alone = f->protection != FTT_PROTECTED || f->bits & FTT_F_COLD;
	uint64_t grace_ns = alone ? ftt_alone_grace(env) : env->policy->end_grace_ns;

	if (!alone && ftt_ends_alike(f)) { /* what still waits, waits for input */
		f->end_since_ns = 0;
		return 0;
	}
	if (!alone && !f->end_since_ns && ftt_peer_ended_alone(f))
		f->end_since_ns = env->now_ns;
	if (!f->end_since_ns || env->now_ns - f->end_since_ns <= grace_ns)
		return 0;
	if (!alone && ftt_peer_ended_alone(f))
		return ftt_flow_detach(f, FTT_WHY_PEER_END, env->now_ns);
	/* ours: a real end, or our server's death, which is answered by a takeover? */
	if (!env->vouched)
		return 0;
	f->bits |= FTT_F_END_REAL;
	if (!alone)
		return ftt_flow_detach(f, FTT_WHY_END, env->now_ns);
	f->end_since_ns = 0;
	return FTT_ACT_RELEASE | ftt_pay_fin(f);
}

/* The backup still carries what our own server has ended. */
static inline bool ftt_end_held(const struct ftt_flow *f)
{
	return f->protection == FTT_PROTECTED && f->end_since_ns && !(f->bits & (FTT_F_PEER_FIN | FTT_F_PEER_RST));
}

/* Is there anything that only time will move? */
static inline bool ftt_flow_waits(const struct ftt_flow *f)
{
	return f->protection == FTT_OPENING || f->protection == FTT_DETACHING || f->protection == FTT_RESETTING ||
	       f->end_since_ns || f->bits & FTT_F_UNVERIFIED ||
	       (f->protection == FTT_PROTECTED && (f->held_since_ns || f->end_since_ns || f->lag_since_ns || ftt_output_open(f) ||
						   f->bits & (FTT_F_PEER_FIN | FTT_F_PEER_RST)));
}

/* Time passed, on the primary. */
static inline uint32_t ftt_flow_tick(struct ftt_flow *f, const struct ftt_env *env)
{
	uint32_t actions = 0;

	if (f->protection == FTT_OPENING && env->now_ns - f->opened_ns > ftt_open_patience(f, env))
		return ftt_flow_detach(f, ftt_opens_alone(f) ? FTT_WHY_NOT_OPENED : FTT_WHY_OPEN_TIMEOUT, env->now_ns);
	if (f->protection == FTT_DETACHED || f->protection == FTT_UNPROTECTED || f->protection == FTT_CATCHING_UP)
		return ftt_tick_end(f, env);
	if (f->protection == FTT_PROTECTED && f->bits & FTT_F_CLIENT_RST)
		return 0; /* nobody waits for anything */
	if (f->protection == FTT_PROTECTED) {
		actions = ftt_tick_end(f, env);
		if (actions)
			return actions;
		if (ftt_held_too_long(f, env))
			return ftt_flow_detach(f, ftt_peer_owes(f) ? FTT_WHY_OUTPUT_LAG : FTT_WHY_COMMIT_LAG, env->now_ns);
		ftt_lag_mark(f, env->now_ns);
		if (ftt_lag_excused(f, env))
			f->lag_since_ns = env->now_ns;
		if (f->lag_since_ns && env->now_ns - f->lag_since_ns > ftt_lag_limit(env))
			return ftt_flow_detach(f, f->bits & FTT_F_AHEAD ? FTT_WHY_OUTPUT_AHEAD : FTT_WHY_OUTPUT_LAG, env->now_ns);
		if (ftt_output_overdue(f, env->now_ns, env->policy->detach_after_ns))
			return ftt_flow_detach(f, FTT_WHY_DIVERGENCE, env->now_ns);
		/*
		 * The backup missed more than we did: our acknowledgements are held, and without one the client
		 * sends the same segment again and again, never what only the backup lacks. A partial
		 * acknowledgement (RFC 6675, and a reneged SACK at worst) makes it go on.
		 */
		if (f->held_since_ns && env->now_ns - f->held_since_ns > FTT_PARTIAL_NS && seq_gt(f->committed, f->told_ack))
			actions |= FTT_ACT_ACK_CLIENT;
		if (!f->ask_ns && (f->held_since_ns || ftt_output_open(f)))
			f->ask_ns = ftt_ask_again(f, env->now_ns);
		else if (!f->ask_ns && f->lag_since_ns)
			f->ask_ns = env->now_ns + FTT_REST_NS;
	}
	if (f->ask_ns && env->now_ns >= f->ask_ns) {
		f->ask_ns = ftt_ask_again(f, env->now_ns);
		if (f->protection == FTT_OPENING)
			actions |= FTT_ACT_OPEN;
		else if (f->protection == FTT_DETACHING)
			actions |= FTT_ACT_DETACH;
		else if (f->protection == FTT_PROTECTED)
			actions |= FTT_ACT_PROBE;
	}
	return actions;
}

/* Our clock must not seem to go back; ours may have begun to count later. */
static inline void ftt_takeover_clock(struct ftt_flow *f)
{
	if (f->bits & FTT_F_TS && (f->bits & FTT_F_MAPPED || f->open_ns))
		f->hard.ts_delta -= FTT_TS_LEAD + (f->synack_ns > f->open_ns && f->open_ns ?
						   (uint32_t)((f->synack_ns - f->open_ns) / 1000000) : 0);
}

/* This backup becomes the owner: from here the flow is carried on, or was never promised. */
static inline uint32_t ftt_flow_takeover(struct ftt_flow *f, const struct ftt_env *env)
{
	memset(f->discards, 0, sizeof(f->discards)); /* from here on a primary's fields */
	if (!(f->bits & FTT_F_MAPPED) && f->opener == FTT_OPENED_LOCAL) {
		f->protection = FTT_UNPROTECTED;
		f->reason = FTT_WHY_SOLO;
		f->bits |= f->bits & FTT_F_OPEN_SEEN ? FTT_F_TAKEN : 0; /* else it is ours alone */
		ftt_takeover_clock(f);
		return 0;
	}
	if (!(f->bits & FTT_F_MAPPED)) {
		if (!(f->bits & FTT_F_SYNACK) || f->bits & FTT_F_ESTABLISHED)
			return 0;
		ftt_flow_map(f, f->local_iss); /* the old primary never answered this SYN: our stack's answer counts */
		ftt_flow_map_ts(f, f->local_tsval, f->local_tsval);
		f->hard.service_wscale = f->hard.local_wscale;
	}
	f->bits |= FTT_F_TAKEN;
	f->protection = FTT_UNPROTECTED;
	f->reason = FTT_WHY_SOLO;
	f->advertised_edge = f->local_edge;
	ftt_takeover_clock(f);
	if (seq_lt(f->local_snd_nxt, f->client_acked))
		f->bits |= FTT_F_BEHIND;
	f->lag_since_ns = f->ask_ns = 0;
	f->owed = 0;
	if (f->bits & FTT_F_SUMS && f->verified != f->told && !env->policy->continue_unverified)
		f->bits |= FTT_F_UNVERIFIED;
	if (!(f->bits & FTT_F_ESTABLISHED) || f->bits & FTT_F_CLIENT_RST || ftt_opened_unanswered(f))
		return 0;
	return FTT_ACT_ACK_CLIENT | (f->bits & FTT_F_CLAIM ? FTT_ACT_ASK_CLIENT : 0) |
	       (f->bits & FTT_F_LOCAL_FIN && f->client_acked + 1 == f->fin_end ? FTT_ACT_FIN : 0) |
	       (f->bits & FTT_F_UNVERIFIED || ftt_flow_owes(f) || seq_gt(ftt_deliverable(f, FTT_MODE_SOLO), f->delivered_ack) ?
			FTT_ACT_INJECT : 0);
}

/*
 * A takeover: a flow that is over on this node. Did its client say its last word so shortly before that the old primary may not have
 * answered? Nobody else does before its timer: the stack's answer was suppressed, and one that has the answer takes no other.
 */
static inline uint32_t ftt_closed_takeover(const struct ftt_flow *f, const struct ftt_env *env)
{
	const uint32_t resets = FTT_F_CLIENT_RST | FTT_F_LOCAL_RST;
	bool recent = env->now_ns - f->last_ns < FTT_LAST_WORD_NS;

	return recent && f->bits & FTT_F_CLIENT_FIN && f->bits & FTT_F_MAPPED && !(f->bits & resets) ? FTT_ACT_ACK_CLIENT : 0;
}

/*
 * Time passed on an owner that serves alone: true when this server does not come as far as the old primary's had,
 * so that what its client has can never be verified.
 */
static inline bool ftt_flow_hopeless(struct ftt_flow *f, const struct ftt_env *env)
{
	if (!(f->bits & FTT_F_UNVERIFIED))
		return false;
	if (f->bits & FTT_F_DIFFERS || ftt_output_short(f) || ftt_output_torn(f))
		return true;
	/* our stack has the input of all that has left the primary, so it gets on */
	if (!f->lag_since_ns || f->lag_mark != f->local_snd_nxt + f->verified) {
		f->lag_since_ns = env->now_ns;
		f->lag_mark = f->local_snd_nxt + f->verified;
	}
	return env->now_ns - f->lag_since_ns > ftt_lag_limit(env);
}

/* The primary lost its backup: nothing waits any more. */
static inline uint32_t ftt_flow_solo(struct ftt_flow *f)
{
	if (f->protection == FTT_NEW || f->protection == FTT_RESETTING)
		return 0;
	if (f->protection == FTT_DETACHED || f->protection == FTT_UNPROTECTED) {
		if (!f->end_since_ns)
			return 0;
		f->end_since_ns = 0;
		return FTT_ACT_RELEASE | ftt_pay_fin(f);
	}
	return ftt_flow_alone(f, FTT_UNPROTECTED, FTT_WHY_SOLO);
}

#endif
