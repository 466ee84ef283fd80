/* SPDX-License-Identifier: Apache-2.0 */
/*
 * renew.h - a flow whose backup is gone gets a new one: what is decided while it catches up.
 *
 * The primary has what the client has sent from its SYN on (core/log.h). The new backup's stack is given all of it, by an engine
 * that stands for the client: it acknowledges what the stack says at once, up to where the client stands. Both nodes have the
 * flow as FTT_CATCHING_UP meanwhile; the primary serves it as an unprotected one, and nothing waits for the backup.
 *
 *   P   BEGIN (lane): OPEN, the SYN            the backup's stack is given the SYN, answers, and the spaces are related
 *   P   LOG (lane): pieces                     ... is given these, each when its server has said what the client had by then
 *   B   COMMIT                                 how far its stack and its server are
 *   P   RENEW                                  where the client stands; near the end also the sum of the output
 *   P   RENEW, FINAL                           the backup has come there, with the same output: from here on output is held (FTT_OPENING)
 *   B   OPENED                                 it will go on with the flow: FTT_PROTECTED, on both
 *
 * A backup that has to take over before OPENED resets the client: it was told of no protection. The primary lets out nothing
 * between FINAL and OPENED, so a backup that has said OPENED has all that the client knows of.
 *
 * A stream may be longer than 2^31 bytes, and the backup's stack begins at its first one. So how far both servers are is counted in
 * 64 bits beside the flow, and the backup's flow has its client never further ahead of its server than FTT_RENEW_AHEAD.
 */
#ifndef FTTCP_RENEW_H
#define FTTCP_RENEW_H
#include "core/tcp/pair.h"

#define FTT_RENEW_AHEAD (1u << 28)

/* Where `seq` is in the server's stream, of which this node's server has said `said` bytes. */
static inline uint64_t ftt_output_place(const struct ftt_flow *f, uint64_t said, uint32_t offset)
{
	return said + (uint64_t)(int64_t)(int32_t)(offset - ftt_output_end(f));
}

/* --- primary ------------------------------------------------------------------------------------ */

/* Is it of a kind that no other stack takes up, now or later? */
static inline bool ftt_flow_unfit(const struct ftt_flow *f)
{
	return f->reason == FTT_WHY_UNSUPPORTED || f->reason == FTT_WHY_SIGNED;
}

/* Is it worth a new backup, and known well enough? A flow that is about to end is not. */
static inline bool ftt_flow_renewable(const struct ftt_flow *f)
{
	const uint32_t ends = FTT_F_LOCAL_FIN | FTT_F_LOCAL_RST | FTT_F_CLIENT_RST | FTT_F_SYN_AGAIN;

	return (f->protection == FTT_UNPROTECTED || f->protection == FTT_DETACHED) && f->bits & FTT_F_MAPPED &&
	       f->bits & FTT_F_ESTABLISHED && !ftt_flow_unfit(f) && !(f->bits & (ends | FTT_F_UNVERIFIED));
}

static inline void ftt_renew_begin(struct ftt_flow *f)
{
	f->protection = FTT_CATCHING_UP;
	f->committed = f->hard.irs + 1;
	f->peer_edge = f->committed;
	f->peer_snd_nxt = f->hard.service_iss + 1;
	f->bits &= ~(uint32_t)(FTT_F_PEER_FIN | FTT_F_PEER_RST | FTT_F_DIFFERS | FTT_F_DIFFERS_ON | FTT_F_AHEAD | FTT_F_SUMS);
	f->lag_since_ns = f->differs_ns = 0;
}

/* It comes to nothing. How the other server ended tells nothing of ours. */
static inline void ftt_renew_cancel(struct ftt_flow *f)
{
	if (f->protection == FTT_CATCHING_UP)
		f->protection = FTT_UNPROTECTED;
	f->bits &= ~(uint32_t)(FTT_F_SUMS | FTT_F_PEER_FIN | FTT_F_PEER_RST);
}

/* OPEN of the flow as it is now, for a stack that begins it anew. */
static inline void ftt_renew_open(struct ftt_flow *f, struct ftt_record *r, const struct ftt_env *env)
{
	ftt_open_tell(f, r, env);
	r->tsval = seq_max(ftt_flow_clock(f, env->now_ns), f->max_tsecr);
	r->age_ms = 0;
	r->tries = 0;
}

/* Nothing waits for the backup any more: it was asked in vain, of a flow that began at `opened_ns`. */
static inline uint32_t ftt_renew_unasked(struct ftt_flow *f, uint64_t opened_ns)
{
	f->opened_ns = opened_ns;
	return ftt_flow_alone(f, FTT_UNPROTECTED, FTT_WHY_SOLO);
}

/* OPENED. */
static inline uint32_t ftt_renew_opened(struct ftt_flow *f, const struct ftt_record *r, uint64_t opened_ns, const struct ftt_env *env)
{
	f->opened_ns = opened_ns;
	f->reason = FTT_WHY_NONE;
	return ftt_primary_record(f, r, env);
}

/* A COMMIT: returns by how much the backup's server has got on. */
static inline uint32_t ftt_renew_commit(struct ftt_flow *f, const struct ftt_record *r)
{
	uint32_t more = r->snd_nxt - f->peer_snd_nxt;

	if (r->rcv_nxt - f->committed < 1u << 30)
		f->committed = r->rcv_nxt;
	if (r->edge - f->peer_edge < 1u << 30)
		f->peer_edge = r->edge;
	if (more >= 1u << 30)
		return 0;
	f->peer_snd_nxt = r->snd_nxt;
	f->bits |= (r->flags & FTT_REC_FIN ? FTT_F_PEER_FIN : 0) | (r->flags & FTT_REC_RST ? FTT_F_PEER_RST : 0);
	return more;
}

/* Is there anything of the time before a takeover that only this node can still do? */
static inline bool ftt_renew_clear(const struct ftt_flow *f, const struct ftt_retained *kept)
{
	return !(f->bits & (FTT_F_BEHIND | FTT_F_CLAIM | FTT_F_UNVERIFIED | FTT_F_FIN_OWED)) && !ftt_flow_owes(f) && !kept->n &&
	       !f->held_since_ns && !f->end_since_ns;
}

/* Has the backup all that the client was told of, and has its server said all that the client has? Both are near: 32 bits will do. */
static inline bool ftt_renew_reached(const struct ftt_flow *f)
{
	return seq_geq(f->committed, f->told_ack) && (f->bits & FTT_F_COLD || seq_geq(f->peer_snd_nxt, f->client_acked));
}

/* ... then from here on output waits, and the backup is asked. `at` is where the output ends, all of which has left. */
static inline uint32_t ftt_renew_hold(struct ftt_flow *f, bool sums, uint32_t at, uint32_t verified, uint64_t now_ns)
{
	f->protection = FTT_OPENING;
	f->sent = seq_max(f->sent, f->local_snd_nxt);
	if (f->bits & FTT_F_COLD) /* no server: it has said what ours has */
		f->peer_snd_nxt = f->client_acked;
	f->bits &= ~(uint32_t)FTT_F_TAKEN;
	f->told = f->assured = at;
	f->verified = verified;
	f->bits |= sums ? FTT_F_SUMS : 0;
	f->opened_ns = now_ns;
	f->lag_since_ns = f->differs_ns = 0;
	f->tries = 0;
	f->ask_ns = ftt_ask_again(f, now_ns);
	return FTT_ACT_OPEN;
}

/* --- backup ------------------------------------------------------------------------------------- */

/* Our stack is to be given this SYN, and what follows it. */
static inline void ftt_renew_follow(struct ftt_flow *f, const struct ftt_seg *syn)
{
	ftt_client_syn(f, syn);
	f->protection = FTT_CATCHING_UP;
}

/* The primary has told its sum of all output up to `at`. */
static inline void ftt_renew_told_of(struct ftt_flow *f, uint32_t at)
{
	f->told = f->assured = at;
}

/* The client has acknowledged `acked` bytes of the stream, our server has said `said`: so far may our stack be told. */
static inline void ftt_renew_feed(struct ftt_flow *f, uint64_t acked, uint64_t said)
{
	uint64_t most = said + FTT_RENEW_AHEAD;

	if (!(f->bits & FTT_F_MAPPED))
		return;
	f->client_acked = f->hard.service_iss + 1 + (uint32_t)(acked < most ? acked : most);
	f->bits |= FTT_F_ESTABLISHED;
}

/* ... or it is gone, and has all that our server says. */
static inline uint32_t ftt_renew_past(struct ftt_flow *f)
{
	if (!(f->bits & FTT_F_MAPPED))
		return 0;
	f->client_acked = f->local_snd_nxt;
	return ftt_close_if_ended(f);
}

/* Our stack was given a segment of the log. */
static inline void ftt_renew_given(struct ftt_flow *f, const struct ftt_seg *s)
{
	ftt_client_follows(f, s);
	f->client_nxt = seq_max(f->client_nxt, ftt_seg_end(s));
	f->bits |= s->flags & TCP_FIN ? FTT_F_CLIENT_FIN : 0;
}

/* Where the client stands, by the primary's word. */
static inline void ftt_renew_word(struct ftt_flow *f, const struct ftt_record *r)
{
	f->client_wnd = r->client_wnd;
	if (f->max_wnd < r->client_wnd)
		f->max_wnd = r->client_wnd;
	if (f->bits & FTT_F_TS)
		f->client_tsval = seq_max(f->client_tsval, r->tsval);
}

/* FINAL: does this backup hold the flow from here on? */
static inline bool ftt_renew_take(struct ftt_flow *f, const struct ftt_record *r)
{
	if (f->bits & FTT_F_LOCAL_FIN && r->client_acked == f->fin_end && f->client_acked + 1 == f->fin_end) /* no byte of the stream */
		f->client_acked = r->client_acked;
	if (!(f->bits & FTT_F_MAPPED) || seq_lt(f->local_rcv_nxt, r->rcv_nxt) || f->client_acked != r->client_acked ||
	    ftt_flow_ended(f))
		return false;
	f->sent = r->snd_nxt;
	f->protection = FTT_PROTECTED;
	return true;
}

#endif
