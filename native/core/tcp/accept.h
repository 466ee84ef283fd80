/* SPDX-License-Identifier: Apache-2.0 */
/*
 * accept.h - which segments of a client Linux takes, of an established connection, and which it refuses.
 *
 * What a kernel refuses must teach the engine nothing: it is not the client's word. The order of the
 * questions is that of tcp_validate_incoming() and tcp_ack() (net/ipv4/tcp_input.c). All of RFC 9293 3.10.7.4,
 * RFC 5961 (blind attacks) and RFC 7323 5 (PAWS) that looks at numbers is here. Urgent data is taken as any other (RFC 6093).
 */
#ifndef FTTCP_ACCEPT_H
#define FTTCP_ACCEPT_H
#include "core/packet/parse.h"
#include "core/tcp/seq.h"

enum ftt_judgement {
	FTT_TAKEN = 0,
	FTT_ENDS,          /* a RST at exactly the right place */
	FTT_REFUSED_TIME,  /* PAWS: its timestamp is older than one that was taken */
	FTT_REFUSED_SEQ,   /* all of it is old, or beyond the window */
	FTT_REFUSED_RST,   /* in the window, but not exact: challenged (one right behind all that came out of order Linux takes) */
	FTT_REFUSED_SYN,   /* challenged wherever it is */
	FTT_REFUSED_NO_ACK,
	FTT_REFUSED_OLD_ACK, /* of what was acknowledged more than a window ago, or never sent: challenged */
	FTT_REFUSED_UNSENT   /* acknowledges what was not sent yet: discarded in silence */
};

/* Where the kernel stands. Sequence numbers of both directions in the spaces of the segment. */
struct ftt_place {
	uint32_t rcv_nxt; /* what it expects next */
	uint32_t rcv_wup; /* what it last acknowledged */
	uint32_t edge;    /* end of the window that it showed then */
	uint32_t snd_first; /* first byte that it ever sent */
	uint32_t snd_una, snd_nxt;
	uint32_t max_wnd;   /* largest window that the client has shown, bytes */
	uint32_t ts_recent;
	bool times;    /* timestamps are in use, and ts_recent is not too old to count */
	bool fin;      /* the client's FIN was received */
};

/* Linux takes some late ones that repeat an acknowledgement (tcp_disordered_ack_check): they say nothing, so it is the same. */
static inline bool ftt_refused_by_time(const struct ftt_place *at, const struct ftt_seg *s)
{
	return at->times && s->options & FTT_OPT_TS && at->ts_recent && (int32_t)(at->ts_recent - s->tsval) > 1;
}

static inline bool ftt_refused_by_window(const struct ftt_place *at, const struct ftt_seg *s)
{
	return seq_lt(ftt_seg_end(s), at->rcv_wup) || seq_gt(s->seq, seq_max(at->edge, at->rcv_nxt));
}

static inline enum ftt_judgement ftt_judge_ack(const struct ftt_place *at, const struct ftt_seg *s)
{
	uint32_t sent = at->snd_una - at->snd_first;

	if (seq_lt(s->ack, at->snd_una - (at->max_wnd < sent ? at->max_wnd : sent)))
		return FTT_REFUSED_OLD_ACK;
	return seq_gt(s->ack, at->snd_nxt) ? FTT_REFUSED_UNSENT : FTT_TAKEN;
}

static inline enum ftt_judgement ftt_judge(const struct ftt_place *at, const struct ftt_seg *s)
{
	if (!(s->flags & (TCP_ACK | TCP_RST | TCP_SYN)))
		return FTT_REFUSED_NO_ACK;
	if (!(s->flags & TCP_RST) && ftt_refused_by_time(at, s))
		return s->flags & TCP_SYN ? FTT_REFUSED_SYN : FTT_REFUSED_TIME;
	if (s->flags & TCP_RST) {
		if (s->seq == at->rcv_nxt - 1 && at->fin)
			return FTT_ENDS;
		if (ftt_refused_by_window(at, s))
			return FTT_REFUSED_SEQ;
		return s->seq == at->rcv_nxt ? FTT_ENDS : FTT_REFUSED_RST;
	}
	if (s->flags & TCP_SYN)
		return FTT_REFUSED_SYN;
	if (ftt_refused_by_window(at, s))
		return FTT_REFUSED_SEQ;
	return ftt_judge_ack(at, s);
}

/*
 * Does the kernel remember the time of this segment, which it takes, from now on (tcp_replace_ts_recent)? With an old
 * acknowledgement it does so on its fast path only: then we do not.
 */
static inline bool ftt_renews_time(const struct ftt_place *at, const struct ftt_seg *s)
{
	return s->options & FTT_OPT_TS && seq_leq(s->seq, at->rcv_wup) && seq_geq(s->ack, at->snd_una) &&
	       (!at->times || !at->ts_recent || (int32_t)(at->ts_recent - s->tsval) <= 0);
}

#endif
