/* SPDX-License-Identifier: Apache-2.0 */
/* taken.h - the fate of a flow at a takeover: who was a backup goes on with it, or ends it. */
#ifndef FTTCP_TAKEN_H
#define FTTCP_TAKEN_H
#include "core/tcp/opened.h"
#include "core/tcp/pair.h"

enum ftt_fate {
	FTT_FATE_GOES_ON,
	FTT_FATE_RESET,      /* it was not followed to the end: its client is asked where it stands, and reset there */
	FTT_FATE_UNVERIFIED, /* ... or what its client has need not be what our server said */
	FTT_FATE_FORGOTTEN,  /* opened by the local end: the remote one knows nothing of it */
	FTT_FATE_REFUSED     /* ... or would take it for another one: our server is told that it is refused */
};

/* Does our server's stream go on where the client stands, as far as both outputs tell? */
static inline bool ftt_flow_carries_on(const struct ftt_flow *f, const struct ftt_compared *c, const struct ftt_env *env)
{
	return !ftt_flow_cut(f) && ftt_output_goes_on(f, c, ftt_output_continues(f), env);
}

static inline enum ftt_fate ftt_flow_fate(struct ftt_flow *f, const struct ftt_compared *c, const struct ftt_env *env)
{
	ftt_output_even(f, c->seen, env->now_ns);
	if (f->protection == FTT_DETACHED || f->protection == FTT_CATCHING_UP)
		return FTT_FATE_RESET;
	return ftt_flow_carries_on(f, c, env) ? FTT_FATE_GOES_ON : FTT_FATE_UNVERIFIED;
}

/* Would a takeover at this moment go on with it? Of a primary, whose backup has it: as far as it has been told. */
static inline bool ftt_flow_would_go_on(const struct ftt_flow *f, const struct ftt_compared *c, const struct ftt_env *env)
{
	struct ftt_flow then = *f;

	if (f->protection != FTT_NEW && f->protection != FTT_OPENING && f->protection != FTT_PROTECTED)
		return false;
	if (env->mode != FTT_MODE_BACKUP)
		return ftt_output_goes_on(f, c, ftt_output_covered(f), env);
	return ftt_flow_fate(&then, c, env) == FTT_FATE_GOES_ON;
}

/*
 * The fate of a connection that the local end opens. own: it is our stack's, which has not found its partner; known: there is one with
 * its addresses and ports already. GOES_ON: an own one by those addresses and ports, any other as ftt_flow_fate() says.
 */
static inline enum ftt_fate ftt_opened_fate(const struct ftt_flow *f, bool own, bool known)
{
	if (!(f->bits & FTT_F_SYNACK) && f->protection != FTT_DETACHED && f->protection != FTT_CATCHING_UP)
		return FTT_FATE_FORGOTTEN; /* its SYN has not left the old primary */
	if (own)
		return known ? FTT_FATE_REFUSED : FTT_FATE_GOES_ON;
	return f->protection != FTT_PROTECTED || ftt_opened_continues(f) ? FTT_FATE_GOES_ON : FTT_FATE_REFUSED;
}

#define FTT_OPENING_MAX 1024u /* on their way to a partner at once, of a worker */

/* May one more connection that the local end opens be on its way to a partner, beside so many? */
static inline bool ftt_opening_fits(uint32_t n)
{
	return n < FTT_OPENING_MAX;
}

/*
 * Backup: one is on its way since then. GOES_ON: it waits. Else it has no partner: our server's is refused; what was asked about waits no
 * more, but is told to its remote end at a takeover if that may know of it (RESET), and is another worker's if not.
 */
static inline enum ftt_fate ftt_opening_fate(const struct ftt_flow *f, bool own, uint64_t since_ns, const struct ftt_env *env)
{
	if (f->protection == FTT_CATCHING_UP || env->now_ns - since_ns <= ftt_opened_patience(own, env))
		return FTT_FATE_GOES_ON; /* the first is the primary's to give up */
	return own ? FTT_FATE_REFUSED : f->bits & FTT_F_ESTABLISHED ? FTT_FATE_RESET : FTT_FATE_FORGOTTEN;
}

#endif
