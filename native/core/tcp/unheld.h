/* SPDX-License-Identifier: Apache-2.0 */
/*
 * unheld.h - what the gate holds, on a data plane that decides about packets as they pass and keeps none.
 *
 * Output that waits for input alone leaves with its acknowledgement lowered to what the backup has. The client keeps what it was
 * not acknowledged, and says it again to whoever takes over, whose server then says what the client has already. All else that
 * waits is lost, as if the network had lost it, and our stack sends it again: an answer to a SYN, an end, and with
 * order = "service" output that the backup's server has not given. The price is a takeover's: a client may have more output than
 * the backup's server has the input for, and waits until it has said that again; whoever takes longer than a lag may is reset.
 */
#ifndef FTTCP_UNHELD_H
#define FTTCP_UNHELD_H
#include "core/tcp/pair.h"

/* The segment as it may leave now: its right edge stays where it is. */
static inline struct ftt_seg ftt_seg_lowered(const struct ftt_flow *f, const struct ftt_seg *s)
{
	struct ftt_seg low = *s;
	uint32_t wnd = (((uint32_t)s->wnd << f->hard.local_wscale) + (s->ack - f->committed)) >> f->hard.local_wscale;

	low.ack = f->committed;
	low.wnd = wnd > 0xffff ? 0xffff : (uint16_t)wnd;
	return low;
}

/* It waits for input that the backup lacks, and is more than an acknowledgement of what was acknowledged. */
static inline bool ftt_may_lower(const struct ftt_flow *f, const struct ftt_seg *s, const struct ftt_env *env)
{
	return ftt_flow_in_step(f, env->mode) && s->flags & TCP_ACK && s->whole &&
	       !(s->flags & (TCP_SYN | TCP_RST)) && seq_gt(s->ack, f->committed) && (s->len || seq_gt(f->committed, f->told_ack));
}

/* The verdict on a segment of our stack's that the gate would have wait, and e as by ftt_segment_step(). */
static inline enum ftt_verdict ftt_unheld_step(struct ftt_flow *f, const struct ftt_seg *s, const struct ftt_env *env,
					       struct ftt_edit *e)
{
	struct ftt_places after;
	enum ftt_verdict v;
	struct ftt_seg low;

	memset(e, 0, sizeof(*e));
	if (s->dir == FTT_FROM_CLIENT)
		return FTT_DROP;
	after = ftt_segment_after(f, s, env);
	v = ftt_gate(f, s, &after, env, e); /* it may only have been behind others */
	if (v != FTT_HOLD)
		return v;
	if (e->wait == FTT_WAIT_LEASE)
		return FTT_DROP;
	if (!f->held_since_ns)
		ftt_flow_holds(f, env->now_ns); /* something waits, as far as time and the other node are asked about it */
	if (!ftt_may_lower(f, s, env))
		return FTT_DROP;
	low = ftt_seg_lowered(f, s);
	after = ftt_segment_after(f, &low, env);
	if (ftt_gate(f, &low, &after, env, e) != FTT_PASS)
		return FTT_DROP;
	e->ack = low.ack;
	e->wnd = e->change & FTT_EDIT_WND ? e->wnd : low.wnd;
	e->change = (e->change & ~(uint32_t)FTT_EDIT_WND) | FTT_EDIT_ACK | (e->wnd != s->wnd ? FTT_EDIT_WND : 0);
	return FTT_PASS;
}

/* ftt_segment_step() on such a plane: PASS or DROP. */
static inline enum ftt_verdict ftt_unheld_segment(struct ftt_flow *f, const struct ftt_seg *s, const struct ftt_env *env, struct ftt_edit *e)
{
	enum ftt_verdict v = ftt_segment_step(f, s, env, e);
	uint32_t actions = e->actions;

	if (v != FTT_HOLD)
		return v;
	v = ftt_unheld_step(f, s, env, e);
	e->actions |= actions;
	return v;
}

/* Is something of our stack's lowered, or lost, until the backup has come further? */
static inline bool ftt_unheld_waits(const struct ftt_flow *f, const struct ftt_env *env)
{
	if (!ftt_flow_in_step(f, env->mode))
		return f->protection == FTT_OPENING || f->protection == FTT_DETACHING;
	return seq_gt(f->local_rcv_nxt, f->committed) || (f->bits & FTT_F_SERVICE && seq_gt(f->local_snd_nxt, f->peer_snd_nxt));
}

/* What was waited for may have come: the client is told what it was not. */
static inline uint32_t ftt_unheld_release(struct ftt_flow *f, const struct ftt_env *env)
{
	uint32_t most = ftt_flow_in_step(f, env->mode) ? seq_min(f->committed, f->local_rcv_nxt) : f->local_rcv_nxt;

	if (!ftt_unheld_waits(f, env))
		ftt_flow_holds(f, 0);
	return f->bits & FTT_F_ESTABLISHED && seq_gt(most, f->told_ack) ? FTT_ACT_ACK_CLIENT : 0;
}

#endif
