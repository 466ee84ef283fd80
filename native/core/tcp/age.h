/* SPDX-License-Identifier: Apache-2.0 */
/* age.h - how long a flow may be silent, and which one goes when there is no room for another. */
#ifndef FTTCP_AGE_H
#define FTTCP_AGE_H
#include "core/tcp/state.h"

#define FTT_LINGER_NS 60000000000ull       /* a flow that ended is remembered as long as Linux's TIME-WAIT */
#define FTT_SYN_LINGER_NS 120000000000ull
#define FTT_LET_GO_NS 3600000000000ull     /* memory of a flow that was let go, or given up with the role */
#define FTT_HANDSHAKE_NS 1000000000ull     /* an honest client asks again after a second (RFC 6298) */
#define FTT_ESTABLISHED_NS 432000000000000ull /* 5 days, as nf_conntrack: the client may still come back */

/* What a flow's state says of how long it may be silent. */
enum ftt_age {
	FTT_AGE_LIVING,
	FTT_AGE_ENDING,    /* one side has ended it */
	FTT_AGE_HALF_OPEN,
	FTT_AGE_LET_GO,    /* only where its client stands is remembered */
	FTT_AGE_STRANGER,  /* ... and nobody but that says that there is such a connection: anybody can forge it */
	FTT_AGE_CLOSED,
	FTT_AGE_REFUSED,   /* closed before it was established, or before it was more than a stranger */
	FTT_AGES
};

static inline bool ftt_age_is_memory(enum ftt_age age)
{
	return age == FTT_AGE_LET_GO || age == FTT_AGE_STRANGER;
}

static inline enum ftt_age ftt_flow_age(const struct ftt_flow *f, bool closed, uint8_t mode)
{
	bool let_go = !ftt_flow_emits(mode) && f->protection == FTT_DETACHED, known = f->bits & (FTT_F_MAPPED | FTT_F_OPEN_SEEN);

	if (closed)
		return f->bits & FTT_F_ESTABLISHED ? FTT_AGE_CLOSED : FTT_AGE_REFUSED;
	if (let_go && f->bits & FTT_F_CLIENT_RST)
		return known ? FTT_AGE_CLOSED : FTT_AGE_REFUSED; /* its client waits for nothing */
	if (let_go || f->protection == FTT_RESETTING)
		return known ? FTT_AGE_LET_GO : FTT_AGE_STRANGER;
	if (!(f->bits & FTT_F_ESTABLISHED))
		return FTT_AGE_HALF_OPEN;
	if (f->bits & (FTT_F_CLIENT_FIN | FTT_F_LOCAL_FIN | FTT_F_CLIENT_RST | FTT_F_LOCAL_RST))
		return FTT_AGE_ENDING;
	return FTT_AGE_LIVING;
}

/* Is the client's SYN still needed? A primary's backup may not have it yet; who takes over may have to have it answered. */
static inline bool ftt_flow_needs_syn(const struct ftt_flow *f, bool closed, uint8_t mode)
{
	if (f->bits & FTT_F_SYN_AGAIN)
		return true;
	return mode == FTT_MODE_BACKUP ? !(f->bits & FTT_F_ESTABLISHED) && !closed :
					 f->protection == FTT_NEW || f->protection == FTT_OPENING;
}

/* How long a flow of this age may be silent before it is forgotten. */
static inline uint64_t ftt_age_idle_ns(enum ftt_age age, const struct ftt_env *env)
{
	switch (age) {
	case FTT_AGE_CLOSED:
		return FTT_LINGER_NS;
	case FTT_AGE_REFUSED: /* they must not fill the half-open table */
		return 0;
	case FTT_AGE_LET_GO:
	case FTT_AGE_STRANGER:
		return FTT_LET_GO_NS;
	case FTT_AGE_HALF_OPEN:
		return FTT_SYN_LINGER_NS;
	case FTT_AGE_ENDING:
		return env->policy->idle_timeout_ns;
	default:
		return FTT_ESTABLISHED_NS;
	}
}

/* Has a worker no place for one more flow, or handshake, beside so many? */
static inline bool ftt_flows_full(uint32_t known, const struct ftt_env *env)
{
	return known >= env->policy->max_flows;
}

static inline bool ftt_half_open_full(uint32_t half_open, const struct ftt_env *env)
{
	return half_open >= env->policy->max_half_open;
}

#define FTT_YIELDING_AGES 5u

/* For what is room made? */
enum ftt_newcomer {
	FTT_COMES_FLOW,      /* the table is full */
	FTT_COMES_HANDSHAKE, /* ... of handshakes */
	FTT_COMES_STRANGER   /* the table is full, and only where a client stands is to be remembered */
};

/*
 * A full table: flows of which age make room, the oldest ones first? Those that have ended, then strangers, and then those that were
 * let go. A full table of handshakes: those that have not got on for longer than an honest client needs. So a flood of SYNs costs so
 * many handshakes a second their protection, and is over when it ends. A stranger costs no flow its place, and of what is remembered
 * one; once there are as many as handshakes may be (`many`), only another stranger: forged ones forget nobody else.
 */
static inline enum ftt_age ftt_age_yielding(unsigned i, enum ftt_newcomer to)
{
	if (i < 3)
		return i == 0 ? FTT_AGE_REFUSED : i == 1 ? FTT_AGE_CLOSED : FTT_AGE_HALF_OPEN;
	return (i == 3) == (to == FTT_COMES_STRANGER) ? FTT_AGE_LET_GO : FTT_AGE_STRANGER;
}

static inline bool ftt_age_gives_way(enum ftt_age age, enum ftt_newcomer to, uint64_t silent_ns, bool many)
{
	if (to == FTT_COMES_HANDSHAKE && age != FTT_AGE_REFUSED && age != FTT_AGE_HALF_OPEN)
		return false;
	if (to == FTT_COMES_STRANGER)
		return age == FTT_AGE_REFUSED || age == FTT_AGE_STRANGER || (age != FTT_AGE_HALF_OPEN && !many);
	return age != FTT_AGE_HALF_OPEN || silent_ns >= FTT_HANDSHAKE_NS;
}

#endif
