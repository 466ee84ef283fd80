/* SPDX-License-Identifier: Apache-2.0 */
/* primary.h - UDP, the primary: when a reply leaves, what the backup's words and time do. */
#ifndef FTTCP_UDP_PRIMARY_H
#define FTTCP_UDP_PRIMARY_H
#include "core/udp/session.h"

#define FTT_UDP_RESEND_NS 5000000ull

/* Our server speaks: the number of its reply. */
static inline uint32_t ftt_session_speaks(struct ftt_session *s)
{
	return ++s->outputs;
}

/* What that depends on: all events that there are. */
static inline struct ftt_places ftt_session_after(const struct ftt_session *s)
{
	return (struct ftt_places){.input = s->events};
}

/*
 * The output rule, see gate.h, of a reply that depends on `after`. Where no backup follows it is the lease alone. `orphan`: of a
 * server that has died, and a takeover may come.
 */
static inline bool ftt_session_holds(const struct ftt_session *s, struct ftt_places after, bool orphan, const struct ftt_env *env)
{
	const struct ftt_places held = {.input = s->granted};
	bool followed = ftt_session_is_numbered(s);

	return ftt_gate_waits(followed ? after : held, held, env) || (followed && orphan);
}

/* May one more reply wait, beside so many of the session? */
static inline bool ftt_session_may_hold(uint32_t held, const struct ftt_env *env)
{
	return held < env->policy->max_held;
}

/* Reply `number` went to the client. */
static inline void ftt_session_leaves(struct ftt_session *s, uint32_t number)
{
	s->sent = number;
}

/* Why did the backup let it go? */
static inline uint8_t ftt_session_left(uint8_t flags)
{
	if (flags & FTT_REC_DIVERGED)
		return FTT_WHY_DIVERGENCE;
	if (flags & FTT_REC_LAGS)
		return FTT_WHY_OUTPUT_LAG;
	if (flags & FTT_REC_BEFORE)
		return FTT_WHY_BEFORE_CHECKPOINT;
	return flags & FTT_REC_NO_ROOM ? FTT_WHY_BOUND : FTT_WHY_REFUSED;
}

/*
 * A word of the backup. Events up to s->acked need not be kept any more afterwards.
 */
static inline uint32_t ftt_session_record(struct ftt_session *s, const struct ftt_record *r)
{
	if (r->type == FTT_REC_DETACHED && ftt_session_is_numbered(s)) {
		if (s->protection != FTT_DETACHING) /* a backup that does not follow sessions says so to each event */
			s->reason = ftt_session_left(r->flags);
		s->protection = FTT_DETACHED;
		s->acked = s->events;
		return FTT_UDP_DETACHED | FTT_UDP_RELEASE;
	}
	if (r->type != FTT_REC_EVENT_ACK || r->flags & FTT_REC_CATCHING || (s->protection != FTT_PROTECTED && s->protection != FTT_OPENING) ||
	    r->number - s->acked > s->events - s->acked || seq_gt(r->outputs, r->number))
		return 0;
	s->acked = r->number;
	if (s->protection == FTT_OPENING && seq_gt(r->outputs, s->granted)) {
		s->protection = FTT_PROTECTED;
		s->reason = FTT_WHY_NONE;
		s->silent_ns = 0;
	}
	s->granted = seq_max(s->granted, r->outputs);
	return FTT_UDP_RELEASE;
}

/* The backup is asked to let it go. */
static inline void ftt_session_detach(struct ftt_session *s, uint8_t reason)
{
	s->protection = FTT_DETACHING;
	s->reason = reason;
}

/* What waits in a session: since when the first event that is not acknowledged, and the first reply (0: none). */
struct ftt_session_waits {
	uint64_t event_ns, reply_ns;
	struct ftt_places after; /* of that reply */
};

static inline uint32_t ftt_session_asks(struct ftt_session *s, uint32_t what, const struct ftt_env *env)
{
	if (env->now_ns - s->asked_ns <= FTT_UDP_RESEND_NS)
		return 0;
	s->asked_ns = env->now_ns;
	return what;
}

/* Time passed; a backup that lags for too long is asked to let go. `gone`: our server has died, which a takeover answers. */
static inline uint32_t ftt_session_tick(struct ftt_session *s, const struct ftt_session_waits *w, bool gone, const struct ftt_env *env)
{
	/* the backup's server is too far behind for the next reply, and its word may be lost that it is no longer */
	bool opening = s->protection == FTT_OPENING, follows = s->protection == FTT_PROTECTED || opening;
	bool server = opening || (follows && w->reply_ns && seq_gt(w->after.input, s->granted));
	uint64_t since_ns = opening ? s->silent_ns : w->event_ns ? w->event_ns : w->reply_ns;
	uint32_t actions = FTT_UDP_WAITS;

	if (!w->event_ns && !server && s->protection != FTT_DETACHING)
		return FTT_UDP_RELEASE;
	if (follows && !gone && env->now_ns - since_ns > env->policy->detach_after_ns)
		ftt_session_detach(s, FTT_WHY_COMMIT_LAG);
	if (s->protection == FTT_DETACHING)
		actions |= ftt_session_asks(s, FTT_UDP_ASK_DETACH, env);
	else if (opening || !w->event_ns)
		actions |= ftt_session_asks(s, FTT_UDP_ASK_SERVER, env);
	/* who takes the role over does not acknowledge, and would have it twice */
	return actions | (!ftt_gate_alone(env) && ftt_session_is_numbered(s) && s->protection != FTT_DETACHING ? FTT_UDP_RESEND : 0);
}

#endif
