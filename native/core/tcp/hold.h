/* SPDX-License-Identifier: Apache-2.0 */
/* hold.h - segments that wait for their verdict: how many may, and for how long. */
#ifndef FTTCP_HOLD_RULES_H
#define FTTCP_HOLD_RULES_H
#include "core/tcp/pair.h"

/* May another one wait, beside so many of its flow and of all? */
static inline bool ftt_may_hold(uint32_t of_flow, uint32_t of_all, const struct ftt_env *env)
{
	return of_flow < env->policy->max_held && of_all < env->policy->max_held_total;
}

#define FTT_COPIES_MAX (64u << 20) /* bytes of copies of held packets, per worker */

/* May the packet itself be kept as well, beside so many bytes? Without it, it cannot be edited when it goes. */
static inline bool ftt_may_copy(uint32_t copied, uint32_t len)
{
	return copied + len <= FTT_COPIES_MAX;
}

/* There was no room for it: it is lost as if the network had, and sent again. `others` of its flow wait. */
static inline uint32_t ftt_flow_overflows(struct ftt_flow *f, const struct ftt_seg *s, bool others, const struct ftt_env *env)
{
	if (!others)
		ftt_flow_holds(f, 0);
	if (others && ftt_flow_in_step(f, env->mode) && !s->orphan)
		return ftt_flow_detach(f, FTT_WHY_BOUND, env->now_ns); /* its part of the bound is its own doing */
	return 0;
}

/* Has a client's segment waited for so long that the primary has given the flow up? Or nobody sent it but a forger. */
static inline bool ftt_held_enough(const struct ftt_seg *s, uint64_t since_ns, const struct ftt_env *env)
{
	return s->dir == FTT_FROM_CLIENT && env->now_ns - since_ns > ftt_lag_limit(env);
}

#endif
