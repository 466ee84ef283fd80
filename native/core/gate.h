/* SPDX-License-Identifier: Apache-2.0 */
/*
 * gate.h - the output rule: what a server says leaves when the backup has come as far as it depends on, and under the lease.
 *
 * What a server is given is numbered: a client's bytes by their sequence numbers, datagrams one after the other. So is
 * what it says. Each output carries the places that it may depend on, its `after`: input up to there, and with
 * order = "service" output of all that was said before. The backup tells how far it has come on both. Both counters only
 * grow, modulo 2^32. TCP's commit rule and UDP's order of events are this rule with other counters. Where the backup's server follows the
 * calls of ours, so is what is in their log, of the whole server.
 */
#ifndef FTTCP_GATE_H
#define FTTCP_GATE_H
#include "core/env.h"
#include "core/tcp/seq.h"

/* Why a packet waits. Those of the rule are INPUT, OUTPUT and LEASE. */
enum ftt_wait {
	FTT_WAIT_NONE = 0,
	FTT_WAIT_OPENED = 1,    /* the backup has not said that it follows */
	FTT_WAIT_LET_GO = 2,    /* ... that it has let go */
	FTT_WAIT_INPUT = 3,     /* it acknowledges what the backup has not committed */
	FTT_WAIT_OUTPUT = 4,    /* the backup's server has not said it, see order_service */
	FTT_WAIT_END = 5,       /* the backup's server has not ended the connection */
	FTT_WAIT_LAST_WORD = 6, /* its server is dead: a takeover decides */
	FTT_WAIT_TURN = 7,      /* behind others that are held */
	FTT_WAIT_LEASE = 8,     /* there is no lease */
	FTT_WAIT_ANSWERED = 9,  /* backup: it answers what our server has not said yet */
	FTT_WAIT_SENT = 10,     /* backup: ... what the primary is not known to have sent */
	FTT_WAIT_PARTNER = 11,  /* backup: the primary's server has not opened it */
	FTT_WAIT_CALLS = 12     /* the backup does not hold the calls that are before it */
};

struct ftt_places {
	uint32_t input;
	uint32_t output;
	uint32_t calls;
};

/* What does an output wait for that depends on what is before `after`, of a backup that has come to `held`? FTT_WAIT_NONE: it may leave. */
static inline enum ftt_wait ftt_gate_waits(struct ftt_places after, struct ftt_places held, const struct ftt_env *env)
{
	if (!env->lease)
		return FTT_WAIT_LEASE;
	if (env->policy->eager)
		return FTT_WAIT_NONE;
	if (seq_gt(after.input, held.input))
		return FTT_WAIT_INPUT;
	if (seq_gt(after.output, held.output))
		return FTT_WAIT_OUTPUT;
	return seq_gt(after.calls, held.calls) ? FTT_WAIT_CALLS : FTT_WAIT_NONE;
}

/* ... that depends on nothing: what is no flow's, or one's that nobody follows. */
static inline enum ftt_wait ftt_gate_alone(const struct ftt_env *env)
{
	const struct ftt_places anywhere = {0};

	return ftt_gate_waits(anywhere, anywhere, env);
}

#endif
