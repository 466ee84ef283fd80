/* SPDX-License-Identifier: Apache-2.0 */
/*
 * handshake.h - what both SYNs of a connection tell, whichever end has opened it.
 *
 * A connection that the local end opens is known and shown, and passes as any that is not protected: no backup follows it.
 */
#ifndef FTTCP_HANDSHAKE_H
#define FTTCP_HANDSHAKE_H
#include "core/tcp/state.h"

/* --- the remote end's SYN --------------------------------------------------------------------------- */

/* The largest payload of our segments, by its word. */
static inline uint16_t ftt_client_mss(const struct ftt_seg *s)
{
	return (s->mss > 48 ? s->mss : 536) - (s->options & FTT_OPT_TS ? 12 : 0); /* RFC 9293 3.7.1 */
}

/* What a SYN tells, taken up when it begins the flow. */
static inline void ftt_client_begin(struct ftt_flow *f, uint32_t tsval, uint16_t wnd, uint16_t mss, uint8_t wscale)
{
	f->client_tsval = f->ts_recent = tsval;
	f->client_wnd = wnd;
	f->max_wnd = wnd >> wscale; /* this one is not scaled (RFC 7323 2.2) */
	f->mss = mss;
	f->hard.client_wscale = wscale;
}

/* --- both ------------------------------------------------------------------------------------------- */

/* Relates the spaces; both sides of the handshake are known. */
static inline void ftt_flow_map(struct ftt_flow *f, uint32_t service_iss)
{
	f->hard.service_iss = service_iss;
	f->hard.delta = f->local_iss - service_iss;
	f->client_acked = f->local_snd_nxt = f->delivered_ack = f->peer_snd_nxt = f->sent = service_iss + 1;
	f->in_order = f->hard.irs + 1;
	f->bits |= FTT_F_MAPPED;
}

/* ... and their timestamps; the client may have seen `service_tsval`, and nothing later. */
static inline void ftt_flow_map_ts(struct ftt_flow *f, uint32_t local_tsval, uint32_t service_tsval)
{
	f->hard.ts_delta = f->bits & FTT_F_TS ? local_tsval - service_tsval : 0;
	f->max_tsecr = service_tsval;
}

static inline void ftt_server_clock(struct ftt_flow *f, const struct ftt_seg *s, uint64_t now_ns)
{
	f->local_tsval = s->tsval;
	f->local_ts_ns = now_ns;
}

/* --- a connection that the local end opens ---------------------------------------------------------- */

/* Our stack's SYN. */
static inline void ftt_opened_begin(struct ftt_flow *f, const struct ftt_seg *s, uint64_t now_ns)
{
	ftt_flow_init(f, 0, now_ns);
	f->opener = FTT_OPENED_LOCAL;
	ftt_flow_unprotect(f, FTT_WHY_OPENED_HERE);
	f->local_iss = s->seq;
	f->local_edge = s->wnd; /* from where on is known when it is answered */
	f->hard.local_wscale = s->wscale;
	ftt_server_clock(f, s, now_ns);
}

/* The remote end's answer: options are in use that both have offered, and it offers only such. */
static inline void ftt_opened_answered(struct ftt_flow *f, const struct ftt_seg *s, uint64_t now_ns)
{
	bool scales = s->options & FTT_OPT_WSCALE;

	if (s->ack != f->local_iss + 1)
		return;
	f->hard.irs = s->seq;
	f->client_nxt = f->committed = f->local_rcv_nxt = f->told_ack = s->seq + 1;
	f->local_edge = f->advertised_edge = f->peer_edge = s->seq + 1 + f->local_edge;
	f->hard.service_wscale = f->hard.local_wscale = scales ? f->hard.local_wscale : 0;
	f->synack_ns = now_ns;
	f->bits = FTT_F_SYNACK | FTT_F_ESTABLISHED | (s->options & FTT_OPT_TS ? FTT_F_TS : 0) |
		  (s->options & FTT_OPT_SACK_OK ? FTT_F_SACK : 0) | (scales ? FTT_F_WSCALE : 0);
	ftt_client_begin(f, s->tsval, s->wnd, ftt_client_mss(s), scales ? s->wscale : 0);
	ftt_flow_map(f, f->local_iss);
	ftt_flow_map_ts(f, f->local_tsval, f->local_tsval);
}

/*
 * Our stack's SYN under the key of a connection that was known. Its own again, or of another one: then the old one is no more,
 * and FTT_ACT_ANEW asks to put away what belonged to it. One that a backup holds is not forgotten for it: that end is its primary's to tell.
 */
static inline uint32_t ftt_opened_again(struct ftt_flow *f, const struct ftt_seg *s, uint64_t now_ns)
{
	bool same = f->opener == FTT_OPENED_LOCAL && s->seq == f->local_iss;
	bool held = f->protection != FTT_UNPROTECTED && f->protection != FTT_DETACHED && !ftt_flow_ended(f);

	if (same || held)
		return 0;
	ftt_opened_begin(f, s, now_ns);
	return FTT_ACT_ANEW;
}

#endif
