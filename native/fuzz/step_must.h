/* SPDX-License-Identifier: Apache-2.0 */
/* step_must.h - the world of fuzz_step.c, and what must hold whenever something is shown to its client or told to a stack. Included once. */
#ifndef FTTCP_STEP_MUST_H
#define FTTCP_STEP_MUST_H
#include "core/tcp/pair.h"
#include "core/tcp/say.h"
#include "must.h"

enum { HELD_MAX = 16, FLYING_MAX = 8 };

struct side {
	struct ftt_flow flow;
	uint8_t mode;
	bool alive, vouched, taken; /* taken: became the primary of a flow begun before */
	/* its stack */
	uint32_t iss, ts;
	uint8_t wscale;
	bool synack, spoke; /* spoke: more than its SYN-ACK */
	uint16_t syn_wnd;
	uint32_t sent, has;   /* out and in */
	uint32_t edge;        /* in */
	uint32_t told;        /* out: highest acknowledgement given to it */
	struct ftt_seg held[HELD_MAX];
	uint32_t n_held;
	struct ftt_seg refused; /* the last one that its DISCARD is about */
	struct ftt_record flying[FLYING_MAX]; /* its records on their way to the other */
	uint32_t n_flying;
};

static struct pair {
	const uint8_t *data;
	size_t left;
	uint64_t now;
	struct side p, b;
	uint32_t irs, client_ts, iss; /* iss: of the service */
	uint8_t service_wscale;
	/* the client's view */
	uint32_t edge;
	bool edge_known, established;
	uint32_t shown_ts; /* latest TSval */
	bool plain_echo; /* the client has never echoed a time that it was not shown */
} w;

static inline uint32_t byte(void)
{
	if (!w.left)
		return 0;
	w.left--;
	return *w.data++;
}

static inline uint32_t word(void)
{
	uint32_t a = byte(), b = byte(), c = byte();

	return a << 24 | b << 16 | c << 8 | byte();
}

/* A number near `base`, or any at all. */
static inline uint32_t near(uint32_t base)
{
	uint32_t how = byte();

	if (how < 200)
		return base + (uint32_t)((int32_t)(how % 40) * 25 - 100 * (int32_t)(how / 100));
	return how < 240 ? base + (word() >> 16) : word();
}

static inline struct ftt_key key(void)
{
	return (struct ftt_key){.remote_port = 40000, .local_port = 80, .proto = 6};
}

static inline struct side *other(struct side *s)
{
	return s == &w.p ? &w.b : &w.p;
}

/* May the client learn that this side's server has ended its output? (I3) */
static inline bool end_is_free(const struct side *s)
{
	return s->mode != FTT_MODE_PAIRED || s->flow.protection != FTT_PROTECTED || s->flow.bits & FTT_F_CLIENT_RST ||
	       ftt_ends_alike(&s->flow);
}

/*
 * The backup's stack has what this acknowledges, or it has reset the connection and its server has said as much (I2). If both have
 * reset it, nobody carries it on.
 */
static inline bool is_committed(const struct side *s, const struct ftt_seg *g, uint32_t end)
{
	return seq_leq(g->ack - w.irs, w.b.has) ||
	       (w.b.flow.bits & FTT_F_LOCAL_RST && (seq_leq(end, w.b.sent) || ftt_both_reset(&s->flow)));
}

static inline void shown_to_client(struct side *s, const struct ftt_seg *g, const struct ftt_edit *e)
{
	uint16_t wnd = e->change & FTT_EDIT_WND ? e->wnd : g->wnd;
	uint32_t seq = e->change & FTT_EDIT_SEQ ? e->seq : g->seq;
	uint32_t tsval = e->change & FTT_EDIT_TSVAL ? e->tsval : g->tsval;
	uint32_t edge = g->ack - w.irs + ((uint32_t)wnd << (g->flags & TCP_SYN ? 0 : s->flow.hard.service_wscale));

	MUST(s->alive && ftt_flow_emits(s->mode));
	MUST(seq + s->flow.hard.delta == g->seq);
	MUST(!(g->flags & TCP_FIN) || e->change & FTT_EDIT_FIN || end_is_free(s));
	if (s->mode == FTT_MODE_PAIRED) {
		MUST(s->flow.protection != FTT_OPENING && s->flow.protection != FTT_DETACHING);
		bool asked = s->flow.protection == FTT_PROTECTED && !(s->flow.bits & FTT_F_CLIENT_RST); /* else nobody listens */

		if (asked && g->flags & TCP_ACK)
			MUST(is_committed(s, g, seq + g->len - w.iss));
		if (asked && s->flow.bits & FTT_F_SERVICE && g->len) /* order = "service" */
			MUST(seq_leq(seq + g->len - w.iss, w.b.sent));
	}
	if (g->options & FTT_OPT_TS && !(g->flags & TCP_RST)) {
		MUST(g->flags & TCP_SYN || !w.plain_echo || seq_geq(tsval, s->flow.max_tsecr));
		w.shown_ts = tsval;
	}
	if (!(g->flags & TCP_ACK) || g->flags & TCP_RST || (g->flags & TCP_SYN && w.edge_known))
		return;
	MUST(!w.edge_known || seq_geq(edge, w.edge));
	w.established = true;
	w.edge = edge;
	w.edge_known = true;
}

static inline void told_to_stack(struct side *s, uint32_t ack, bool must_clamp)
{
	uint32_t out = ack - s->iss;

	if (must_clamp)
		MUST(seq_leq(out, s->sent));
	if (seq_leq(out, s->sent) && seq_gt(out, s->told))
		s->told = out;
}

#endif
