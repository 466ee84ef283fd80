/* SPDX-License-Identifier: Apache-2.0 */
/* record.c - see record.h. Before anything that a client did, all outputs that have moved since the last such thing are told. */
#define _GNU_SOURCE
#include "core/history.h"
#include "core/tcp/renew.h"
#include "engine/flows/record.h"
#include "engine/history/file.h"

#define SMALL 1024u /* bytes of a frame without what a client said */

static void put(struct ftt_worker *w, struct ftt_history_event *x)
{
	uint8_t frame[SMALL + FTT_PIECE_MAX];
	uint64_t place;
	uint32_t n;

	x->when_ns = ftt_now_ns() - w->e->record_began_ns;
	n = ftt_history_put(frame, sizeof(frame), x);
	place = n ? ftt_history_file_put(w->e->record, frame, n) : 0;
	w->record_place = place ? place : w->record_place;
}

/* The sum of all that our server has said, if it is known. */
static bool sum_of(const struct ftt_worker *w, const struct ftt_tcp *c, uint32_t *crc)
{
	uint32_t said = (uint32_t)c->bytes_out;
	bool summed = c->digest.next == said, seen = w->mode == FTT_MODE_BACKUP && c->digest.seen == said;

	*crc = summed ? c->digest.crc : c->seen_crc;
	return !c->digest.broken && (summed || seen);
}

static void tell_said(struct ftt_worker *w)
{
	for (uint32_t i = 0; i < w->n_record_said; i++) {
		struct ftt_tcp *c = w->record_said[i];
		struct ftt_history_event x = {.kind = FTT_HISTORY_OUTPUT, .key = c->key, .irs = c->flow.hard.irs, .place = c->bytes_out};

		c->record_said = false;
		if (!ftt_recorded(w, c))
			continue;
		x.flags = sum_of(w, c, &x.crc) ? FTT_HISTORY_SUM : 0;
		put(w, &x);
	}
	w->n_record_said = 0;
}

void ftt_record_begin(struct ftt_worker *w, struct ftt_tcp *c)
{
	struct ftt_history_event x = {.kind = FTT_HISTORY_OPEN};
	struct ftt_env env = ftt_worker_env(w, ftt_now_ns());
	struct ftt_flow f = c->flow; /* to tell of it changes nothing of what was agreed */
	bool logged = c->log && c->log->syn_len;

	c->recorded = w->e->record ? w->e->record_number : FTT_RECORD_NONE;
	c->record_over = !w->e->record || c->flow.opener == FTT_OPENED_LOCAL;
	if (c->record_over)
		return;
	if (!logged && !c->syn_len) {
		c->record_over = true;
		w->n.unrecorded++;
		return;
	}
	tell_said(w);
	x.open = (struct ftt_record){.type = FTT_REC_OPEN, .key = c->key, .irs = c->flow.hard.irs, .data = logged ? c->log->bytes : c->syn,
				     .data_len = logged ? c->log->syn_len : c->syn_len};
	ftt_renew_open(&f, &x.open, &env);
	put(w, &x);
}

static void end(struct ftt_worker *w, struct ftt_tcp *c, enum ftt_history_end how)
{
	struct ftt_history_event x = {.kind = FTT_HISTORY_END, .key = c->key, .irs = c->flow.hard.irs, .how = (uint8_t)how};

	tell_said(w);
	put(w, &x);
	c->record_over = true;
}

/* What its client says from here on is missing. */
static void lose(struct ftt_worker *w, struct ftt_tcp *c)
{
	end(w, c, FTT_HISTORY_FORGOTTEN);
	w->n.unrecorded++;
}

void ftt_record_piece(struct ftt_worker *w, struct ftt_tcp *c, const struct ftt_piece *x)
{
	struct ftt_history_event input = {.kind = FTT_HISTORY_INPUT, .key = c->key, .irs = c->flow.hard.irs, .piece = *x};

	if (x->offset > FTT_LOG_MAX) {
		lose(w, c);
		return;
	}
	tell_said(w);
	put(w, &input);
}

void ftt_record_input(struct ftt_worker *w, struct ftt_tcp *c, const struct ftt_packet *p, const struct ftt_pkt *k, const struct ftt_seg *s)
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
		ftt_record_piece(w, c, &x);
		at += n;
	} while (at < s->len && !c->record_over);
}

void ftt_record_said(struct ftt_worker *w, struct ftt_tcp *c)
{
	if (c->record_said)
		return;
	if (w->n_record_said == FTT_RECORD_SAID)
		tell_said(w);
	c->record_said = true;
	w->record_said[w->n_record_said++] = c;
}

void ftt_record_over(struct ftt_worker *w, struct ftt_tcp *c, bool ended)
{
	uint32_t bits = c->flow.bits;

	if (ftt_recorded(w, c))
		end(w, c, !ended                     ? FTT_HISTORY_FORGOTTEN :
			  bits & FTT_F_CLIENT_RST    ? FTT_HISTORY_CLIENT_RST :
			  bits & FTT_F_LOCAL_RST     ? FTT_HISTORY_SERVER_RST :
						       FTT_HISTORY_CLOSED);
	for (uint32_t i = 0; c->record_said && i < w->n_record_said; i++)
		if (w->record_said[i] == c)
			w->record_said[i--] = w->record_said[--w->n_record_said];
	c->record_said = false;
}
