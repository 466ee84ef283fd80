/* SPDX-License-Identifier: Apache-2.0 */
/*
 * reset.h - a connection that is over for this node, and whose client is to learn it, surely.
 *
 * A RST counts only with exactly the number that the client expects next (RFC 5961 3.2), and only the client knows
 * that: its last acknowledgements may have gone to a primary that died. So it is asked. It is sent an octet that it has long
 * acknowledged, as some keep-alives do (RFC 1122 4.2.3.6); a segment that is not acceptable is answered with
 * an acknowledgement (RFC 9293 3.10.7.4), which Linux does not limit in rate when the segment carries data. This answer, and
 * whatever else the client says, is answered as a host without that connection would, <SEQ=SEG.ACK><CTL=RST> (3.10.7.1).
 * The questions go on, since a RST may be lost, until the client answers with a RST: it has no such connection.
 */
#ifndef FTTCP_RESET_H
#define FTTCP_RESET_H
#include "core/tcp/client.h"

#define FTT_RESET_FIRST_NS 50000000ull /* ask again after 50 ms, then after twice as long each time */
#define FTT_RESET_TRIES 9u             /* questions; the last one has 12.8 s for its answer */

/* Time passed, or the flow has just ended. */
static inline uint32_t ftt_reset_tick(struct ftt_flow *f, const struct ftt_env *env)
{
	if (env->now_ns < f->ask_ns)
		return 0;
	if (f->tries >= FTT_RESET_TRIES)
		return FTT_ACT_CLOSED | (f->bits & FTT_F_TOLD ? 0 : FTT_ACT_UNREACHED);
	f->ask_ns = env->now_ns + (FTT_RESET_FIRST_NS << f->tries++);
	return FTT_ACT_ASK_PLACE;
}

/* The flow is over. Without a word of its client nobody knows where it stands: it learns of the end when it speaks. */
static inline uint32_t ftt_reset_begin(struct ftt_flow *f, const struct ftt_env *env)
{
	bool answered = f->bits & (FTT_F_MAPPED | FTT_F_OPEN_SEEN), known = answered || f->bits & FTT_F_ESTABLISHED;

	if (!(f->bits & (FTT_F_MAPPED | FTT_F_ESTABLISHED)))
		f->client_acked = f->hard.service_iss + 1;
	f->protection = FTT_RESETTING;
	f->bits = (f->bits | FTT_F_ESTABLISHED) & ~(uint32_t)FTT_F_UNVERIFIED;
	f->tries = 0;
	f->ask_ns = f->held_since_ns = f->end_since_ns = f->lag_since_ns = 0;
	return known && !(f->bits & FTT_F_CLIENT_RST) ? ftt_reset_tick(f, env) : FTT_ACT_CLOSED;
}

/* A segment of its client, which never reaches our stack. A SYN is the caller's: it begins another connection. */
static inline uint32_t ftt_reset_step(struct ftt_flow *f, const struct ftt_seg *s, const struct ftt_env *env)
{
	f->last_ns = env->now_ns;
	if (s->flags & TCP_RST)
		return s->seq == f->client_nxt ? FTT_ACT_CLOSED : 0;
	if (!(s->flags & TCP_ACK))
		return 0;
	ftt_client_place(f, s);
	f->bits |= FTT_F_TOLD;
	return FTT_ACT_RST_CLIENT;
}

/*
 * Backup, a flow that it has let go: only where the client stands is followed. False for a SYN that
 * begins another connection.
 */
static inline bool ftt_detached_step(struct ftt_flow *f, const struct ftt_seg *s, const struct ftt_env *env)
{
	if ((s->flags & (TCP_SYN | TCP_ACK)) == TCP_SYN && s->seq != f->hard.irs)
		return false;
	f->last_ns = env->now_ns;
	if (s->flags & TCP_RST && s->seq == f->client_nxt)
		f->bits |= FTT_F_CLIENT_RST;
	ftt_client_place(f, s);
	return true;
}

/*
 * This node gives its role up, and every flow with it. May the client wait for a word? Who serves next asks it. One whose handshake
 * our stack has not answered asks again itself; one that has reset the connection, or ended it with us, waits for nothing.
 */
static inline bool ftt_flow_waited_for(const struct ftt_flow *f, bool closed)
{
	bool known = f->bits & (FTT_F_MAPPED | FTT_F_OPEN_SEEN | FTT_F_ESTABLISHED);
	bool unsaid = f->protection == FTT_OPENING && !(f->bits & FTT_F_ESTABLISHED); /* the answer waits for the backup */

	return known && !unsaid && !(f->bits & FTT_F_CLIENT_RST) && (!closed || ftt_flow_cut(f));
}

/* ... then only its place is remembered from here on; one of which it was so before grows no younger. */
static inline void ftt_flow_remember(struct ftt_flow *f, bool before, const struct ftt_env *env)
{
	ftt_flow_let_go(f);
	f->reason = FTT_WHY_NO_BACKUP;
	f->bits &= ~(uint32_t)(FTT_F_UNVERIFIED | FTT_F_SYN_AGAIN);
	f->held_since_ns = f->end_since_ns = f->lag_since_ns = 0;
	if (!before)
		f->last_ns = env->now_ns;
}

/* A backup that meets a segment of a connection whose beginning it has not seen: it will not carry it on, either. */
static inline void ftt_stranger_init(struct ftt_flow *f, const struct ftt_seg *s, const struct ftt_env *env)
{
	ftt_flow_init(f, s->seq - 1, env->now_ns);
	ftt_client_place(f, s);
	f->hard.signer = s->signer;
	f->protection = FTT_DETACHED;
	f->reason = FTT_WHY_NO_BACKUP;
}

#endif
