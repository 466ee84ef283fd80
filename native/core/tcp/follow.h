/* SPDX-License-Identifier: Apache-2.0 */
/* follow.h - segments from a backup's stack: nothing goes out, and what they show is told to the primary. */
#ifndef FTTCP_TCP_FOLLOW_H
#define FTTCP_TCP_FOLLOW_H
#include "core/tcp/server.h"

/*
 * Both SYN-ACKs are known: the backup follows. Timestamps are related by the two SYN-ACKs
 * themselves, so that what the client echoes of the one is what our stack sent in the other (SYN
 * cookies keep options in it). How much later ours was is made good at a takeover.
 */
static inline uint32_t ftt_flow_join(struct ftt_flow *f)
{
	uint32_t open_tsval = f->open_tsval;

	if (!ftt_flow_alike(f)) { /* SYN cookies leave options out: the client would speak by rules that our stack does not know */
		f->bits |= FTT_F_UNLIKE;
		return FTT_ACT_REFUSED | FTT_ACT_LET_GO;
	}
	ftt_flow_map(f, f->hard.service_iss);
	ftt_flow_map_ts(f, f->local_tsval, open_tsval);
	if (f->protection == FTT_CATCHING_UP)
		return FTT_ACT_INJECT | FTT_ACT_COMMIT;
	f->protection = FTT_PROTECTED;
	return FTT_ACT_OPENED;
}

/* It opens a connection, as the primary's may: the SYN waits for that, and goes only at a takeover. */
static inline enum ftt_verdict ftt_follow_syn(struct ftt_flow *f, const struct ftt_seg *s, const struct ftt_env *env, struct ftt_edit *e)
{
	if (f->opener != FTT_OPENED_LOCAL || s->seq != f->local_iss)
		return FTT_DROP;
	ftt_server_clock(f, s, env->now_ns);
	return f->protection == FTT_NEW && !f->held_since_ns ? ftt_hold(e, FTT_WAIT_PARTNER) : FTT_DROP;
}

static inline enum ftt_verdict ftt_follow_step(struct ftt_flow *f, const struct ftt_seg *s, const struct ftt_env *env,
					       struct ftt_edit *e)
{
	uint32_t rcv_nxt = f->local_rcv_nxt, edge = f->local_edge, snd_nxt = f->local_snd_nxt, end;
	const uint32_t told = FTT_F_LOCAL_FIN | FTT_F_LOCAL_RST | FTT_F_HOLE;
	uint32_t bits = f->bits;

	e->drop = FTT_DROP_SUPPRESSED;
	f->last_ns = env->now_ns;
	if (s->flags & TCP_SYN) {
		uint8_t service_wscale = f->hard.service_wscale;

		if (!(s->flags & TCP_ACK))
			return ftt_follow_syn(f, s, env, e);
		if (!ftt_server_synack(f, s, env->now_ns)) {
			ftt_server_clock(f, s, env->now_ns);
		} else if (f->bits & FTT_F_OPEN_SEEN) {
			f->hard.service_wscale = service_wscale;
			e->actions |= ftt_flow_join(f);
		}
		return FTT_DROP;
	}
	if (!(f->bits & FTT_F_MAPPED)) {
		if (f->opener == FTT_OPENED_LOCAL)
			return FTT_DROP; /* it contradicts what is no answer to its SYN */
		if (s->flags & TCP_RST) {
			f->bits |= FTT_F_LOCAL_RST;
			e->actions |= FTT_ACT_REFUSED | FTT_ACT_CLOSED;
		} else if (s->flags & TCP_ACK && !(f->bits & FTT_F_SYNACK)) {
			e->actions |= FTT_ACT_RESET; /* a challenge (RFC 5961 4.2), out of TIME-WAIT: our SYN met an old connection */
		}
		return FTT_DROP;
	}
	end = ftt_server_observe(f, s, env->now_ns);
	/* the client's acknowledgement and window, or output, wait for the first, on the primary; what else is told is for its watch */
	if (f->local_rcv_nxt != rcv_nxt || (f->bits ^ bits) & told || seq_geq(f->local_edge, edge + FTT_WINDOW_STEP) ||
	    (f->bits & FTT_F_SERVICE && f->local_snd_nxt != snd_nxt))
		e->actions |= FTT_ACT_COMMIT;
	else if (f->local_edge != edge || f->local_snd_nxt != snd_nxt)
		e->actions |= FTT_ACT_COMMIT_LATER;
	if (f->bits & FTT_F_CLAIM && s->len && seq_leq(end, snd_nxt)) { /* sent again, and the client says that it has it */
		f->bits |= FTT_F_WHERE;
		e->actions |= FTT_ACT_COMMIT;
	}
	if (f->held_since_ns && (f->local_snd_nxt != snd_nxt || f->local_rcv_nxt != rcv_nxt || f->bits != bits))
		e->actions |= FTT_ACT_RELEASE;
	/* the client has more, or the stack sends again what it was told of: it did not take our word */
	if (seq_gt(ftt_deliverable(f, FTT_MODE_BACKUP), f->delivered_ack) ||
	    (s->len && seq_leq(end, f->delivered_ack)))
		e->actions |= FTT_ACT_INJECT;
	e->actions |= ftt_close_if_ended(f);
	return FTT_DROP;
}

#endif
