/* SPDX-License-Identifier: Apache-2.0 */
/* filed.c - see filed.h. Before anything that a client did, all outputs that have moved since the last such thing are told. */
#define _GNU_SOURCE
#include "engine/flows/frame.h"
#include "engine/flows/filed.h"
#include "engine/history/file.h"

#define SMALL 1024u        /* bytes of a frame without what a client said */
#define MOST (64u << 20) /* bytes of one client's */

static void put(struct ftt_worker *w, struct ftt_history_event x)
{
	uint8_t frame[SMALL + FTT_PIECE_MAX];
	uint64_t place;
	uint32_t n;

	x.when_ns = ftt_now_ns() - w->e->file_began_ns;
	n = ftt_history_put(frame, sizeof(frame), &x);
	place = n ? ftt_history_file_put(w->e->history_file, frame, n) : 0;
	w->filed_place = place ? place : w->filed_place;
}

static void tell_said(struct ftt_worker *w)
{
	struct ftt_tcp *c;

	for (uint32_t at = 0; (c = ftt_moved_next(&w->filed, &at, FTT_MOVED_FILE));)
		if (ftt_filed(w, c))
			put(w, ftt_frame_output(w, c));
}

void ftt_filed_begin(struct ftt_worker *w, struct ftt_tcp *c)
{
	bool logged = c->log && c->log->syn_len;

	c->filed = w->e->history_file ? w->e->file_number : FTT_FILE_NONE;
	c->filed_over = !w->e->history_file || c->flow.opener == FTT_OPENED_LOCAL;
	if (c->filed_over)
		return;
	if (!logged && !c->syn_len) {
		c->filed_over = true;
		w->n.unrecorded++;
		return;
	}
	tell_said(w);
	put(w, logged ? ftt_frame_open(w, c, c->log->bytes, c->log->syn_len) : ftt_frame_open(w, c, c->syn, c->syn_len));
}

static void end(struct ftt_worker *w, struct ftt_tcp *c, enum ftt_history_end how)
{
	tell_said(w);
	put(w, ftt_frame_end(c, how));
	c->filed_over = true;
}

/* What its client says from here on is missing. */
static void lose(struct ftt_worker *w, struct ftt_tcp *c)
{
	end(w, c, FTT_HISTORY_FORGOTTEN);
	w->n.unrecorded++;
}

void ftt_filed_piece(struct ftt_worker *w, struct ftt_tcp *c, const struct ftt_piece *x)
{
	if (x->offset > MOST) {
		lose(w, c);
		return;
	}
	tell_said(w);
	put(w, ftt_frame_input(c, x));
}

void ftt_filed_input(struct ftt_worker *w, struct ftt_tcp *c, const struct ftt_packet *p, const struct ftt_pkt *k, const struct ftt_seg *s)
{
	uint32_t offset = s->seq - (c->flow.hard.irs + 1), at = (int32_t)offset < 0 ? -offset : 0;
	bool fin = s->flags & TCP_FIN, urgent = s->flags & TCP_URG;
	uint64_t after = ftt_output_place(&c->flow, c->bytes_out, ftt_output_offset(&c->flow, s->ack));

	if (s->flags & (TCP_SYN | TCP_RST) || (!s->len && !fin) || !(c->flow.bits & FTT_F_MAPPED) ||
	    seq_leq(ftt_seg_end(s), c->flow.local_rcv_nxt)) /* our stack has it */
		return;
	if (urgent || (s->len && (!p->bytes || p->cap < p->len))) {
		lose(w, c);
		return;
	}
	do {
		uint32_t n = s->len - at < FTT_PIECE_MAX ? s->len - at : FTT_PIECE_MAX;
		bool last = at + n == s->len;
		struct ftt_piece x = {.offset = offset + at, .len = (uint16_t)n, .after = after, .bytes = p->bytes + k->payload + at,
				      .tsval = s->options & FTT_OPT_TS ? s->tsval : 0};

		x.flags = (uint8_t)((last && fin ? FTT_PIECE_FIN : 0) | (last && s->flags & TCP_PSH ? FTT_PIECE_PUSH : 0));
		ftt_filed_piece(w, c, &x);
		at += n;
	} while (at < s->len && !c->filed_over);
}

void ftt_filed_said(struct ftt_worker *w, struct ftt_tcp *c)
{
	if (ftt_moved_add(&w->filed, c, FTT_MOVED_FILE))
		return;
	tell_said(w);
	ftt_moved_add(&w->filed, c, FTT_MOVED_FILE);
}

void ftt_filed_over(struct ftt_worker *w, struct ftt_tcp *c, bool ended)
{
	if (ftt_filed(w, c))
		end(w, c, ended ? ftt_frame_how(&c->flow) : FTT_HISTORY_FORGOTTEN);
	ftt_moved_forget(&w->filed, c, FTT_MOVED_FILE);
}
