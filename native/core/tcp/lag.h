/* SPDX-License-Identifier: Apache-2.0 */
/* lag.h - one server has not said yet what the other has: since when, and for how long that is borne. */
#ifndef FTTCP_LAG_H
#define FTTCP_LAG_H
#include "core/env.h"
#include "core/tcp/state.h"

/* For how long one server's output may stay behind the other's. */
static inline uint64_t ftt_lag_limit(const struct ftt_env *env)
{
	const struct ftt_policy *policy = env->policy;

	return policy->output_lag_ns > policy->detach_after_ns ? policy->output_lag_ns : policy->detach_after_ns;
}

/*
 * The backup's output is measured against the client's acknowledgements, ours against the backup's: which is
 * behind, and for how long?
 */
static inline void ftt_lag_mark(struct ftt_flow *f, uint64_t now_ns)
{
	uint32_t behind = f->bits & FTT_F_AHEAD ? f->local_snd_nxt : f->peer_snd_nxt;
	bool over = f->bits & FTT_F_CLIENT_RST || ftt_ends_alike(f);

	if (over || (f->lag_since_ns && seq_geq(behind, f->lag_mark)))
		f->lag_since_ns = 0;
	if (over || f->lag_since_ns)
		return;
	f->bits &= ~(uint32_t)FTT_F_AHEAD;
	if (seq_lt(f->peer_snd_nxt, f->client_acked)) {
		f->lag_since_ns = now_ns;
		f->lag_mark = f->client_acked;
	} else if (seq_gt(f->peer_snd_nxt, f->local_snd_nxt)) {
		f->bits |= FTT_F_AHEAD;
		f->lag_since_ns = now_ns;
		f->lag_mark = f->peer_snd_nxt;
	}
}

/*
 * Primary: is the client's window too small for a segment of a stack that has sent up to here? Such a stack waits for more room, or until its
 * persist timer sends what fits (RFC 9293 3.8.6.2.1; Linux tcp_output.c, tcp_snd_wnd_test, tcp_write_wakeup). The two kernels' timers differ.
 */
static inline bool ftt_window_narrow(const struct ftt_flow *f, uint32_t at)
{
	uint32_t edge = f->client_acked + ((uint32_t)f->client_wnd << f->hard.client_wscale);
	uint32_t most = (uint32_t)f->max_wnd << f->hard.client_wscale;

	return seq_lt(edge, at + (f->mss < most / 2 ? f->mss : most / 2));
}

/*
 * Primary: a server is behind, but is it for it to speak? Not while the client's window has no room. Ours neither while it is not vouched for, or
 * looks as if it hung, which is answered by a takeover; nor while the client has not acknowledged all of it: then our kernel's congestion window may
 * be what is narrower than the backup's.
 */
static inline bool ftt_lag_excused(const struct ftt_flow *f, const struct ftt_env *env)
{
	if (!(f->bits & FTT_F_AHEAD))
		return ftt_window_narrow(f, f->peer_snd_nxt);
	return !env->vouched || env->doubted || seq_lt(f->client_acked, f->local_snd_nxt) || ftt_window_narrow(f, f->local_snd_nxt);
}

/* Primary: does output wait for the backup's server, and for nothing else? */
static inline bool ftt_output_needs(const struct ftt_flow *f)
{
	return f->bits & FTT_F_SERVICE && f->protection == FTT_PROTECTED && f->held_since_ns &&
	       seq_leq(f->local_rcv_nxt, f->committed) && seq_gt(f->local_snd_nxt, f->peer_snd_nxt);
}

/* Primary: does output wait for the backup's server, or for input that waits there for its server? */
static inline bool ftt_peer_owes(const struct ftt_flow *f)
{
	return seq_lt(f->peer_snd_nxt, f->client_acked) || ftt_output_needs(f);
}

#define FTT_OWED_SHIFT 20 /* 2^20 ns, about a millisecond */

/* Primary: output waits for too long. What a server owes is borne for as long as its lag is; all else counts from then on. */
static inline bool ftt_held_too_long(struct ftt_flow *f, const struct ftt_env *env)
{
	uint64_t since_ns = f->held_since_ns;
	uint32_t now = (uint32_t)(env->now_ns >> FTT_OWED_SHIFT), since = (uint32_t)(since_ns >> FTT_OWED_SHIFT);

	if (!since_ns || f->end_since_ns)
		return false;
	if (ftt_peer_owes(f))
		f->owed = now ? now : 1;
	if (ftt_output_needs(f) && ftt_window_narrow(f, f->peer_snd_nxt))
		return false;
	if (env->now_ns - since_ns > ftt_lag_limit(env))
		return true;
	if (f->owed && seq_gt(f->owed, since) && env->policy->output_lag_ns > env->policy->detach_after_ns)
		since_ns = env->now_ns - ((uint64_t)(now - f->owed) << FTT_OWED_SHIFT);
	return env->now_ns - since_ns > env->policy->detach_after_ns;
}

#endif
