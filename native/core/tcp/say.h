/* SPDX-License-Identifier: Apache-2.0 */
/*
 * say.h - what this node itself says to the client of a flow, beside what the stack says: an acknowledgement, a question, a FIN that was
 * kept back, output of a backup that was retained, a reset.
 *
 * It passes the gate as the stack's words do (gate.h). What may not leave is not said at all, and the flow is as it was: the stack, a
 * record or a tick has it said again.
 */
#ifndef FTTCP_SAY_H
#define FTTCP_SAY_H
#include "core/tcp/rewrite.h"

/* See reset.h: what a client is asked of a flow that is over. Whatever it stands for lies before what it acknowledged. */
static inline void ftt_bare_ask_place(const struct ftt_flow *f, const struct ftt_key *k, struct ftt_bare *b)
{
	*b = ftt_bare_outward(k);
	b->seq = f->client_acked - 2; /* ends before what it expects: it answers before it looks at more */
	b->ack = f->client_nxt;
	b->flags = TCP_ACK;
	b->octet = true;
	b->sealed = f->hard.signer;
	b->timestamps = f->bits & FTT_F_TS;
	b->tsval = f->max_tsecr;
	b->tsecr = f->client_tsval;
}

/* ... and the answer to a segment that acknowledges `ack`. */
static inline void ftt_bare_reset_client(const struct ftt_flow *f, const struct ftt_key *k, uint32_t ack, struct ftt_bare *b)
{
	*b = ftt_bare_outward(k);
	b->seq = ack;
	b->sealed = f->hard.signer;
	b->flags = TCP_RST;
}

/* Up to here we acknowledge. */
static inline uint32_t ftt_client_ack(const struct ftt_flow *f, uint8_t mode)
{
	return ftt_flow_in_step(f, mode) ? seq_min(f->local_rcv_nxt, f->committed) : f->local_rcv_nxt;
}

/* Our present acknowledgement, for the client, in service space. */
static inline void ftt_bare_for_client(struct ftt_flow *f, const struct ftt_key *k, uint8_t mode, struct ftt_bare *b)
{
	bool in_step = ftt_flow_in_step(f, mode);
	uint32_t tsval = f->local_tsval - f->hard.ts_delta;

	*b = ftt_bare_outward(k);
	b->seq = f->bits & FTT_F_BEHIND ? f->client_acked : f->local_snd_nxt;
	b->ack = ftt_client_ack(f, mode);
	b->tsecr = ftt_client_repairs(f, mode) ? 0 : f->client_tsval;
	/* segments that are held carry older windows: nothing is promised here that they would take back */
	b->wnd = ftt_window(f, b->ack, in_step && f->held_since_ns ? f->advertised_edge : f->local_edge, in_step);
	f->told_ack = seq_max(f->told_ack, b->ack);
	f->advertised_edge = seq_max(f->advertised_edge, b->ack + ((uint32_t)b->wnd << f->hard.service_wscale));
	b->flags = TCP_ACK;
	b->sealed = f->hard.signer;
	b->timestamps = f->bits & FTT_F_TS;
	b->tsval = seq_max(tsval, f->max_tsecr);
}

/* What a client answers with its own place: a byte that it has (RFC 9293 3.8.4 has the idea). */
static inline void ftt_bare_ask(struct ftt_flow *f, const struct ftt_key *k, uint8_t mode, struct ftt_bare *b)
{
	ftt_bare_for_client(f, k, mode, b);
	b->seq = f->client_acked - 1;
}

/* The FIN that was kept back when the data before it went. */
static inline void ftt_bare_fin(struct ftt_flow *f, const struct ftt_key *k, uint8_t mode, struct ftt_bare *b)
{
	ftt_bare_for_client(f, k, mode, b);
	b->seq = f->fin_end - 1;
	b->flags = TCP_FIN | TCP_ACK;
}

/* A segment of `len` bytes of our output at `seq`; the FIN goes with the last one. */
static inline void ftt_bare_data(struct ftt_flow *f, const struct ftt_key *k, uint32_t seq, uint32_t len, const struct ftt_env *env,
				 struct ftt_bare *b)
{
	ftt_bare_for_client(f, k, env->mode, b);
	b->tsval = seq_max(b->tsval, ftt_flow_clock(f, env->now_ns));
	b->seq = seq;
	b->flags = TCP_ACK | TCP_PSH | (f->bits & FTT_F_LOCAL_FIN && seq + len + 1 == f->fin_end ? TCP_FIN : 0);
}

/*
 * It asks for what the backup lacks: to a client that reads it, a SACK of one segment beyond, and of no more. What the backup lacks
 * there as well would not be sent again in a recovery: the client takes it for received until its timer ends.
 */
static inline void ftt_bare_hole(const struct ftt_flow *f, struct ftt_bare *b)
{
	if (f->bits & FTT_F_SACK && seq_lt(f->peer_hole_end, f->local_rcv_nxt) && seq_gt(f->peer_hole_end, b->ack)) {
		b->sack_left = f->peer_hole_end;
		b->sack_right = seq_min(f->peer_hole_end + f->mss, f->local_rcv_nxt);
	}
}

/* Our acknowledgement, asking for that. */
static inline void ftt_bare_nudge(struct ftt_flow *f, const struct ftt_key *k, struct ftt_bare *b)
{
	ftt_bare_for_client(f, k, FTT_MODE_PAIRED, b);
	ftt_bare_hole(f, b);
}

/* --- the gate --------------------------------------------------------------------------------------------- */

/*
 * What does a word of ours wait for? FTT_WAIT_NONE: it may leave. It acknowledges nothing that a backup lacks (ftt_client_ack), unless
 * that is about to follow, or to let go: then nobody knows which of the two holds.
 */
static inline enum ftt_wait ftt_say_waits(const struct ftt_flow *f, const struct ftt_env *env)
{
	enum ftt_wait why = ftt_gate_alone(env);

	return why ? why : ftt_backup_waits(f, env);
}

enum ftt_say {
	FTT_SAY_ACK,   /* our present acknowledgement */
	FTT_SAY_ASK,   /* where does the client of a flow that was taken over stand? */
	FTT_SAY_FIN,   /* the end that was kept back */
	FTT_SAY_NUDGE, /* let the client send again what the backup lacks */
	FTT_SAY_PLACE  /* where does the client of a flow that is over stand? */
};

/* Builds it, if it may leave now. */
static inline enum ftt_wait ftt_flow_says(struct ftt_flow *f, const struct ftt_key *k, enum ftt_say what, const struct ftt_env *env,
					  struct ftt_bare *b)
{
	enum ftt_wait why = ftt_say_waits(f, env);

	if (why)
		return why;
	switch (what) {
	case FTT_SAY_ASK:
		ftt_bare_ask(f, k, env->mode, b);
		break;
	case FTT_SAY_FIN:
		ftt_bare_fin(f, k, env->mode, b);
		break;
	case FTT_SAY_NUDGE:
		ftt_bare_nudge(f, k, b);
		break;
	case FTT_SAY_PLACE:
		ftt_bare_ask_place(f, k, b);
		break;
	default:
		ftt_bare_for_client(f, k, env->mode, b);
	}
	return FTT_WAIT_NONE;
}

#endif
