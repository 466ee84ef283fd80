/* SPDX-License-Identifier: Apache-2.0 */
/* stray.h - UDP: what becomes of a client's datagram that comes to the wrong node while the service changes hands, and for how long. */
#ifndef FTTCP_UDP_STRAY_H
#define FTTCP_UDP_STRAY_H
#include "core/udp/backup.h"

#define FTT_STRAYS 256u                    /* kept by a worker */
#define FTT_STRAY_PARTS_NS 100000000ull     /* how long one is kept, and the rest of it waited for */
#define FTT_STRAY_LATE_NS 10000000ull       /* in this time go on to the other node ... */
#define FTT_STRAY_LATE 512u                 /* ... at most so many: a flood is not doubled onto the peer link */

enum ftt_stray_fate {
	FTT_STRAY_PASSED_ON, /* to the other node, once */
	FTT_STRAY_KEPT,      /* until this node serves, or the rest of it is here */
	FTT_STRAY_GIVEN,     /* to our server */
	FTT_STRAY_STALE      /* nobody is to have it */
};

/* Those that a node which does not serve has passed on of late. */
struct ftt_strays_late {
	uint64_t since_ns;
	uint32_t n;
};

/* It came from a client. expects: this node is about to serve. */
static inline enum ftt_stray_fate ftt_stray_of_client(bool expects, const struct ftt_env *env)
{
	return expects && !ftt_flow_emits(env->mode) ? FTT_STRAY_KEPT : FTT_STRAY_PASSED_ON;
}

/* It came from the other node, as STRAY, or as EVENT to one that serves alone. known: its session has had that event here. */
static inline enum ftt_stray_fate ftt_stray_of_peer(const struct ftt_record *r, bool expects, bool known, const struct ftt_env *env)
{
	bool serves = ftt_flow_emits(env->mode);

	if (r->flags & FTT_REC_PORT || (!serves && env->mode != FTT_MODE_BACKUP && !expects) || (r->type == FTT_REC_EVENT && known))
		return FTT_STRAY_STALE;
	return serves && r->data_len == r->total ? FTT_STRAY_GIVEN : FTT_STRAY_KEPT;
}

/* One that is kept since then, in whole or not. */
static inline enum ftt_stray_fate ftt_stray_kept(bool whole, uint64_t since_ns, const struct ftt_env *env)
{
	if (env->now_ns - since_ns > FTT_STRAY_PARTS_NS)
		return FTT_STRAY_STALE;
	return whole && ftt_flow_emits(env->mode) ? FTT_STRAY_GIVEN : FTT_STRAY_KEPT;
}

/* May one more be kept beside so many? */
static inline bool ftt_strays_have_room(uint32_t n)
{
	return n < FTT_STRAYS;
}

/* May one more be passed on? */
static inline bool ftt_strays_take(struct ftt_strays_late *l, uint64_t now_ns)
{
	if (now_ns - l->since_ns >= FTT_STRAY_LATE_NS)
		*l = (struct ftt_strays_late){.since_ns = now_ns};
	return ++l->n <= FTT_STRAY_LATE;
}

#endif
