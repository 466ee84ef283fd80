/* SPDX-License-Identifier: Apache-2.0 */
/*
 * flow.h - one TCP flow on one node: what is decided for each of its segments.
 *
 * Theory of operation
 *
 * Two kernels hold the same connection. The client knows the sequence space in which the primary
 * shook hands, the *service space*; each kernel lives in its own *local space*, and
 * delta = local_iss - service_iss, ts_delta likewise for timestamps. A segment is turned into
 * service space as soon as it is seen, and every number in struct ftt_flow is in service space
 * unless its name says local. Client sequence numbers are the same everywhere.
 *
 * ftt_segment_step() observes a segment, then decides. It reads no clock, no packet, allocates
 * nothing; what it wants done comes back as a verdict, an edit of the header and a set of
 * actions. The second half, ftt_held_step(), is asked again for a held segment whenever something
 * changed. ftt_*_step() for records, ticks and role changes work alike.
 *
 *   client  --> primary --> stack     tracked, translated (only flows taken over need it)
 *   client  ==> backup  --> stack     translated, ack clamped to what this stack has sent; bytes that answer
 *                                     more than that are held until it has sent it
 *   stack   --> primary --> client    held until the backup committed what it acknowledges
 *   stack   --> backup  --x           dropped; it is the commit record, and the client's
 *                                     acknowledgement is put back into the stack
 *
 * One segment is kept back from the backup's stack: while it has more in flight, it is never told
 * of the last segment's worth that the client acknowledged. At a takeover these bytes are a
 * cumulative acknowledgement that advances over a whole segment, which restarts a sender at once
 * and resets its timer (bare duplicates do neither).
 */
#ifndef FTTCP_FLOW_H
#define FTTCP_FLOW_H
#include "core/tcp/client.h"
#include "core/tcp/follow.h"
#include "core/tcp/server.h"

/*
 * The one entry: what is to happen to segment s of flow f. s->dir says where it comes from.
 */
static inline enum ftt_verdict ftt_segment_step(struct ftt_flow *f, const struct ftt_seg *s, const struct ftt_env *env,
						struct ftt_edit *e)
{
	memset(e, 0, sizeof(*e));
	if (s->dir == FTT_FROM_CLIENT)
		return ftt_client_step(f, s, env, e);
	if (env->mode == FTT_MODE_BACKUP)
		return ftt_follow_step(f, s, env, e);
	return ftt_serve_step(f, s, env, e);
}

/* May the held segment s go now? after: what a server's depends on; e is set as by ftt_segment_step(). */
static inline enum ftt_verdict ftt_held_step(struct ftt_flow *f, const struct ftt_seg *s, const struct ftt_places *after,
					     const struct ftt_env *env, struct ftt_edit *e)
{
	memset(e, 0, sizeof(*e));
	return s->dir == FTT_FROM_CLIENT ? ftt_client_gate(f, s, true, env, e) : ftt_gate(f, s, after, env, e);
}

#endif
