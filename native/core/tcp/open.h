/* SPDX-License-Identifier: Apache-2.0 */
/* open.h - OPEN: what the primary tells of a handshake, and what the backup makes of it. */
#ifndef FTTCP_OPEN_H
#define FTTCP_OPEN_H
#include "core/tcp/flow.h"
#include "core/records/record.h"

/* OPEN: what the backup has to know of the handshake, and how both are to follow the flow. */
static inline void ftt_open_tell(struct ftt_flow *f, struct ftt_record *r, const struct ftt_env *env)
{
	f->bits |= (env->policy->order_service ? FTT_F_SERVICE : 0) | (env->policy->compare ? FTT_F_SUMS : 0) |
		   (env->policy->cold ? FTT_F_COLD : 0);
	r->service_iss = f->hard.service_iss;
	r->tsval = f->local_tsval - f->hard.ts_delta;
	r->age_ms = (uint32_t)((env->now_ns - f->synack_ns) / 1000000);
	r->wscale = f->hard.service_wscale;
	r->flags = (f->bits & FTT_F_TS ? FTT_REC_TS : 0) | (f->bits & FTT_F_WSCALE ? FTT_REC_WSCALE : 0) |
		   (f->bits & FTT_F_SERVICE ? FTT_REC_SERVICE : 0) | (f->bits & FTT_F_SUMS ? FTT_REC_SUMS : 0) |
		   (f->opener == FTT_OPENED_LOCAL ? FTT_REC_OUTWARD : 0);
	r->tries = f->tries > 255 ? 255 : (uint8_t)f->tries;
}

/* What OPEN says of the primary's side of the handshake. */
static inline void ftt_backup_told(struct ftt_flow *f, const struct ftt_record *r, const struct ftt_env *env)
{
	if (!(f->bits & FTT_F_OPEN_SEEN)) {
		f->bits |= FTT_F_OPEN_SEEN | (r->flags & FTT_REC_TS ? FTT_F_PEER_TS : 0) |
			   (r->flags & FTT_REC_WSCALE ? FTT_F_PEER_WSCALE : 0);
		f->open_tsval = r->tsval;
		f->open_ns = env->now_ns - (uint64_t)r->age_ms * 1000000;
	}
	f->hard.service_iss = r->service_iss;
	f->hard.service_wscale = r->wscale;
	f->bits |= (r->flags & FTT_REC_SUMS ? FTT_F_SUMS : 0) | (r->flags & FTT_REC_SERVICE ? FTT_F_SERVICE : 0);
}

/* The primary's OPEN at the backup, for a flow whose SYN this stack has. */
static inline uint32_t ftt_backup_open(struct ftt_flow *f, const struct ftt_record *r, const struct ftt_env *env)
{
	if (f->bits & FTT_F_MAPPED)
		return f->hard.service_iss == r->service_iss ? FTT_ACT_OPENED : 0;
	ftt_backup_told(f, r, env);
	if (!(f->bits & FTT_F_SYNACK))
		return 0;
	return ftt_flow_join(f);
}

/* ... for one that its server opens. Whether ours opens such a one is seen when it does: ftt_opened_join(). */
static inline void ftt_opened_told(struct ftt_flow *f, const struct ftt_record *r, const struct ftt_env *env)
{
	f->opener = FTT_OPENED_LOCAL;
	ftt_backup_told(f, r, env);
}

/* ... that it has opened long ago, and ours is to open again: what the remote end has said since comes out of the primary's log. */
static inline void ftt_opened_again(struct ftt_flow *f, const struct ftt_record *r, const struct ftt_env *env)
{
	ftt_opened_told(f, r, env);
	f->protection = FTT_CATCHING_UP;
}

/* Until ours has, only where the remote end stands is followed: a takeover resets it there. */
static inline void ftt_opened_place(struct ftt_flow *f, const struct ftt_seg *s)
{
	if (!(f->bits & FTT_F_ESTABLISHED) && (s->flags & (TCP_SYN | TCP_RST | TCP_ACK)) == TCP_ACK)
		f->client_nxt = s->seq;
	ftt_client_place(f, s);
}

#endif
