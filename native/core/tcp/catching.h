/* SPDX-License-Identifier: Apache-2.0 */
/*
 * catching.h - a flow that a new backup catches up with (renew.h): what its primary does next, and when it gives up.
 *
 * Places count bytes of the server's stream, in 64 bits.
 */
#ifndef FTTCP_CATCHING_H
#define FTTCP_CATCHING_H
#include "core/log.h"
#include "core/renewal.h"
#include "core/tcp/renew.h"

#define FTT_CATCH_ASK_NS 20000000ull       /* the backup is told again after 20 ms, then less and less often */
#define FTT_CATCH_ASKS 4u                  /* so often a word is said again of which one at least arrives */
#define FTT_CATCH_DIFFERS_NS 3000000000ull /* for outputs that differ: after a rest they may turn out to be of equal length */

enum ftt_renewal_stage {
	FTT_RENEW_WAITS,    /* primary: its turn comes */
	FTT_RENEW_BEGUN,    /* ... the new backup was told, and has not answered */
	FTT_RENEW_CATCHING, /* the backup's stack gets on */
	FTT_RENEW_ASKED,    /* primary: FINAL was said */
	FTT_RENEW_HELD      /* protected; the rest of the log is on its way */
};

/* What a primary knows of it. */
struct ftt_catching {
	enum ftt_renewal_stage stage;
	bool closed;         /* the flow has ended */
	uint8_t unrenewable; /* enum ftt_unrenewable */
	bool told;           /* the whole log was handed to the lane */
	bool behind;         /* the backup's server has yet to hear what ours was told before */
	bool crowded;        /* others wait for its place */
	bool same;           /* outputs were equal somewhere */
	uint64_t said, peer_said; /* where our server is, and the backup's, */
	uint64_t client;     /* ... the client, */
	uint64_t word;       /* ... and where it was by the word that the backup was told */
	uint64_t differs_ns; /* outputs differ since; 0: they do not */
	uint64_t moved_ns;   /* when the backup last got on */
	uint64_t next_ns;    /* when it is told again */
	uint8_t tries;       /* ... it was, in vain */
};

/* How fast it comes nearer: what the backup's server lacked of what the client has, at that time. */
struct ftt_pace {
	uint64_t behind;
	uint64_t at_ns;
};

enum ftt_catching_next {
	FTT_CATCH_NOTHING,
	FTT_CATCH_TELL,    /* where the client stands */
	FTT_CATCH_ASK,     /* FINAL: from here on output waits */
	FTT_CATCH_GIVE_UP, /* and let the backup know */
	FTT_CATCH_LOST     /* the flow's own tick gave it up, and has told */
};

/* Is the backup's server so near that 32 bits tell how far? */
static inline bool ftt_catching_near(const struct ftt_flow *f, const struct ftt_catching *x)
{
	return f->bits & FTT_F_COLD || (int64_t)(x->said - x->peer_said) < (int64_t)FTT_RENEW_AHEAD;
}

/* It has come to where it was told that the client stands, who has moved on. */
static inline bool ftt_catching_is_news(const struct ftt_catching *x)
{
	return x->stage == FTT_RENEW_CATCHING && (int64_t)(x->peer_said - x->word) >= 0 && x->client > x->word;
}

/* The backup has all that it needs to be asked. */
static inline bool ftt_catching_ready(const struct ftt_flow *f, const struct ftt_retained *kept, const struct ftt_catching *x,
				      const struct ftt_env *env)
{
	return x->stage == FTT_RENEW_CATCHING && !x->behind && !x->closed && x->told && ftt_catching_near(f, x) &&
	       ftt_renew_clear(f, kept) && ftt_renew_reached(f) && (!env->policy->compare || (x->same && !x->differs_ns));
}

/* When is it told again what it was told so often? */
static inline uint64_t ftt_catching_ask_ns(uint8_t tries, uint64_t now_ns)
{
	return now_ns + (FTT_CATCH_ASK_NS << (tries < FTT_CATCH_ASKS ? tries : FTT_CATCH_ASKS));
}

/* What comes to an end by itself is not renewed any more. */
static inline bool ftt_catching_goes_on(const struct ftt_flow *f, const struct ftt_catching *x)
{
	struct ftt_flow then = *f;

	then.protection = FTT_UNPROTECTED;
	then.bits &= ~(uint32_t)FTT_F_UNVERIFIED;
	return !x->closed && !x->unrenewable && (x->stage == FTT_RENEW_WAITS || ftt_flow_renewable(&then));
}

/*
 * A server that paces its output says it no faster than the client gets it: it stays behind, and gets on all the time. Where others
 * wait for its place it is given up.
 */
static inline bool ftt_catching_comes_near(const struct ftt_catching *x, struct ftt_pace *p, uint64_t now_ns)
{
	uint64_t behind = x->client > x->peer_said ? x->client - x->peer_said : 0;
	bool nearer = behind <= p->behind - p->behind / 4;

	if (x->stage != FTT_RENEW_CATCHING || (p->at_ns && now_ns - p->at_ns < FTT_RENEW_STALL_NS))
		return true;
	if (p->at_ns && !nearer && x->crowded)
		return false;
	*p = (struct ftt_pace){.behind = behind, .at_ns = now_ns};
	return true;
}

/* Is it something of this node that is waited for? */
static inline bool ftt_catching_is_ours(const struct ftt_flow *f, const struct ftt_retained *kept, const struct ftt_catching *x)
{
	return x->behind || (x->stage == FTT_RENEW_CATCHING && !ftt_renew_clear(f, kept));
}

static inline enum ftt_catching_next ftt_catching_fails(enum ftt_unrenewable *why, enum ftt_unrenewable reason)
{
	*why = reason;
	return FTT_CATCH_GIVE_UP;
}

/* Time passed. why: of what is given up, or lost; FTT_RENEWABLE: the flow has ended. */
static inline enum ftt_catching_next ftt_catching_tick(const struct ftt_flow *f, const struct ftt_retained *kept, struct ftt_catching *x,
						       struct ftt_pace *p, const struct ftt_env *env, enum ftt_unrenewable *why)
{
	if (x->stage == FTT_RENEW_HELD || (x->stage == FTT_RENEW_ASKED && f->protection == FTT_OPENING && !x->closed))
		return FTT_CATCH_NOTHING; /* the lane's, and the flow's own tick */
	if (x->stage == FTT_RENEW_ASKED && !x->closed) {
		*why = FTT_NOT_IN_TIME;
		return FTT_CATCH_LOST;
	}
	if (!ftt_catching_goes_on(f, x))
		return ftt_catching_fails(why, x->closed ? FTT_RENEWABLE : (enum ftt_unrenewable)x->unrenewable);
	if (x->differs_ns && env->now_ns - x->differs_ns > FTT_CATCH_DIFFERS_NS)
		return ftt_catching_fails(why, FTT_NOT_REPEATED);
	if (ftt_catching_is_ours(f, kept, x))
		x->moved_ns = env->now_ns;
	if (ftt_renewal_stalls(x->moved_ns, env->now_ns) || !ftt_catching_comes_near(x, p, env->now_ns))
		return ftt_catching_fails(why, x->stage == FTT_RENEW_BEGUN && f->opener == FTT_OPENED_LOCAL ? FTT_NOT_REOPENED : FTT_NOT_IN_TIME);
	if (ftt_catching_ready(f, kept, x, env))
		return FTT_CATCH_ASK;
	return x->stage == FTT_RENEW_CATCHING && (env->now_ns >= x->next_ns || ftt_catching_is_news(x)) ? FTT_CATCH_TELL : FTT_CATCH_NOTHING;
}

/* A COMMIT was taken in, which shows that the backup `moved`, or has both outputs differ so often. */
static inline enum ftt_catching_next ftt_catching_heard(const struct ftt_flow *f, const struct ftt_retained *kept, const struct ftt_catching *x,
							bool moved, uint32_t differences, const struct ftt_env *env)
{
	bool first = !x->next_ns;

	if (differences && env->policy->detach_divergent)
		return FTT_CATCH_GIVE_UP;
	if (ftt_catching_ready(f, kept, x, env))
		return FTT_CATCH_ASK;
	if (((moved || first) && ftt_catching_near(f, x) && ftt_renew_reached(f)) || ftt_catching_is_news(x))
		return FTT_CATCH_TELL; /* what moves nothing is not answered: that would be answered as well */
	return FTT_CATCH_NOTHING;
}

/*
 * Does nothing but what happens to it move it? While the backup hears what its server was told before, a primary says where a client
 * stands that has moved on, and asks nothing.
 */
static inline bool ftt_catching_rests(const struct ftt_catching *x)
{
	return !x->closed && !x->unrenewable && x->behind && (x->stage == FTT_RENEW_BEGUN || (x->tries == FTT_CATCH_ASKS && x->client == x->word));
}

/* --- backup ------------------------------------------------------------------------------------- */

#define FTT_CATCH_AGAIN_NS 50000000ull  /* our stack is given again what it does not acknowledge */
#define FTT_CATCH_SYN_NS 1000000000ull  /* ... its SYN (RFC 6298) */

/* What a backup knows of it. */
struct ftt_caught {
	bool closed;
	uint8_t unrenewable; /* enum ftt_unrenewable */
	bool current;        /* all of the log is here, and known to a server in step */
	bool expected;       /* the primary has to speak of it: else a history does */
	bool begins;         /* its SYN is for this worker to give */
	uint32_t end;        /* bytes of the client's stream that are here */
	uint64_t heard_ns;   /* when the primary spoke of it last */
	uint64_t next_ns;    /* when our stack is given something again */
};

enum ftt_caught_next {
	FTT_CAUGHT_NOTHING,
	FTT_CAUGHT_END,    /* it is over, in whichever way */
	FTT_CAUGHT_LET_GO, /* the primary has forgotten it */
	FTT_CAUGHT_SYN,    /* our stack is given its SYN again */
	FTT_CAUGHT_ANSWER, /* ... the remote end's answer to its own SYN */
	FTT_CAUGHT_AGAIN   /* ... what it has not acknowledged */
};

/* Time passed. */
static inline enum ftt_caught_next ftt_caught_tick(const struct ftt_flow *f, const struct ftt_caught *x, const struct ftt_env *env)
{
	bool drained = seq_geq(f->local_rcv_nxt, f->hard.irs + 1 + x->end);

	if (x->closed || x->unrenewable || (f->protection == FTT_PROTECTED && x->current && drained))
		return FTT_CAUGHT_END;
	if (f->protection == FTT_CATCHING_UP && x->expected && ftt_renewal_deserted(x->heard_ns, env->now_ns))
		return FTT_CAUGHT_LET_GO;
	if (env->now_ns < x->next_ns)
		return FTT_CAUGHT_NOTHING;
	if (!(f->bits & FTT_F_SYNACK))
		return x->begins ? FTT_CAUGHT_SYN : FTT_CAUGHT_NOTHING;
	if (!(f->bits & FTT_F_MAPPED))
		return FTT_CAUGHT_NOTHING;
	return ftt_opened_unanswered(f) ? FTT_CAUGHT_ANSWER : FTT_CAUGHT_AGAIN;
}

#endif
