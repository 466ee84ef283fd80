/* SPDX-License-Identifier: Apache-2.0 */
/*
 * gate.h - the output rule: what a server says leaves when the backup has come as far as it depends on.
 *
 * What a server is given is numbered: a client's bytes by their sequence numbers, datagrams one after the other. So is
 * what it says. Each output carries the places that it may depend on, its `after`: input up to there, and with
 * order = "service" output of all that was said before. The backup tells how far it has come on both. Both counters only
 * grow, modulo 2^32. TCP's commit rule and UDP's order of events are this rule with other counters.
 *
 * The other half of the question is the lease: not a word without it.
 */
#ifndef FTTCP_GATE_H
#define FTTCP_GATE_H
#include "core/env.h"
#include "core/tcp/seq.h"

struct ftt_places {
	uint32_t input;
	uint32_t output;
};

/* Does an output that depends on what is before `after` wait for a backup that has come to `held`? */
static inline bool ftt_gate_waits(struct ftt_places after, struct ftt_places held, const struct ftt_env *env)
{
	return !env->policy->eager && (seq_gt(after.input, held.input) || seq_gt(after.output, held.output));
}

#endif
