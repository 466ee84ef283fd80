/* SPDX-License-Identifier: Apache-2.0 */
/*
 * handshake.h - what both SYNs of a connection tell, whichever end has opened it; opened.h has those of the local end.
 */
#ifndef FTTCP_HANDSHAKE_H
#define FTTCP_HANDSHAKE_H
#include "core/tcp/seal.h"

/* --- the remote end's SYN --------------------------------------------------------------------------- */

/* The largest payload of our segments, by its word. A signed one has more of a header. */
static inline uint16_t ftt_client_mss(const struct ftt_seg *s)
{
	return (s->mss > 48 ? s->mss : 536) - (s->options & FTT_OPT_TS ? 12 : 0) - (s->signer ? FTT_SEAL_OPTION : 0); /* RFC 9293 3.7.1 */
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

#endif
