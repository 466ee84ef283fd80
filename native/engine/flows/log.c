/* SPDX-License-Identifier: Apache-2.0 */
/* log.c - memory of the input logs, within the bounds of one flow and of all; see log.h. */
#define _GNU_SOURCE
#include <stdlib.h>
#include "engine/flows/history.h"
#include "engine/flows/lockstep.h"
#include "engine/flows/log.h"
#include "engine/flows/spill.h"
#include "core/tcp/renew.h"

#define WHOLE 64u      /* long packets that no log needs, before headers alone are copied again */

static void drop_later(struct ftt_worker *w, struct ftt_log *l)
{
	if (!l->later)
		return;
	w->log_bytes -= l->later->size;
	free(l->later->bytes);
	free(l->later);
	l->later = NULL;
}

static void release(struct ftt_worker *w, struct ftt_tcp *c)
{
	drop_later(w, c->log);
	ftt_spill_forget(w, c->log);
	w->log_bytes -= sizeof(*c->log) + c->log->size;
	w->n_logs--;
	free(c->log->bytes);
	free(c->log);
	c->log = NULL;
}

void ftt_log_end(struct ftt_worker *w, struct ftt_tcp *c, enum ftt_unrenewable why)
{
	c->unrenewable = (uint8_t)why;
	ftt_table_count_why(&w->table, c);
	if (c->log && !c->log->renewal && !ftt_renewal_rests(c->unrenewable) && !ftt_history_needs(w, c)) /* else it ends with that */
		release(w, c);
}

void ftt_log_forget(struct ftt_worker *w, struct ftt_tcp *c)
{
	if (!c->unrenewable)
		c->unrenewable = FTT_LOG_GAP;
	ftt_table_count_why(&w->table, c);
	if (c->log)
		release(w, c);
}

/* Something of it is missing. So it is in a history. */
static void lose(struct ftt_worker *w, struct ftt_tcp *c, enum ftt_unrenewable why)
{
	if (ftt_history_needs(w, c))
		ftt_history_lose(w, why);
	ftt_log_end(w, c, why);
}

static bool is_told(const struct ftt_worker *w, const struct ftt_tcp *c)
{
	return w->mode == FTT_MODE_BACKUP && c->log->renewal;
}

static bool grow(struct ftt_worker *w, struct ftt_tcp *c, uint32_t more)
{
	struct ftt_log *l = c->log;
	uint32_t need = l->len - ftt_log_away(l) + more;
	bool fits = ftt_log_has_place(l, more), told = is_told(w, c);
	enum ftt_unrenewable why = FTT_LOG_TOO_LONG, moved;

	if (fits)
		why = ftt_log_room(w, &l->bytes, &l->size, need, w->e->cfg.policy.renew_flow, told);
	if (why && fits && w->spool) {
		moved = ftt_spill(w, c, why);
		need = l->len - ftt_log_away(l) + more + FTT_PIECE_HEADER; /* it joins none any more */
		why = ftt_log_room(w, &l->bytes, &l->size, need, FTT_SPILL_MOST, told);
		why = why && moved ? moved : why;
	}
	if (why)
		lose(w, c, why);
	return !why;
}

static void begin(struct ftt_worker *w, struct ftt_tcp *c, const uint8_t *syn, size_t len)
{
	bool renews = w->e->cfg.policy.renew;

	if (c->log)
		release(w, c);
	c->unrenewable = renews ? FTT_LOG_GAP : FTT_NO_RENEWAL;
	if (!renews || !len || len > FTT_SYN_MAX)
		return;
	if (!(c->log = calloc(1, sizeof(*c->log)))) {
		c->unrenewable = FTT_LOGS_TOO_LONG;
		return;
	}
	w->n_logs++;
	w->log_bytes += sizeof(*c->log);
	if (!grow(w, c, (uint32_t)len))
		return;
	memcpy(c->log->bytes, syn, len);
	c->log->len = c->log->syn_len = (uint16_t)len;
	c->unrenewable = FTT_RENEWABLE;
}

void ftt_log_begin(struct ftt_worker *w, struct ftt_tcp *c, const uint8_t *syn, size_t len)
{
	begin(w, c, syn, len);
	ftt_table_count_why(&w->table, c);
}

bool ftt_log_append(struct ftt_worker *w, struct ftt_tcp *c, struct ftt_piece *x)
{
	bool apart = w->e->lockstep.header; /* servers in step are told when each piece came, and that it was one */

	if (!ftt_log_fresh(c->log, x))
		return true;
	if (!grow(w, c, ftt_log_growth(c->log, x, apart)))
		return false;
	ftt_history_enter(w, c, true); /* who speaks is no mere handshake */
	if (ftt_history_needs(w, c))
		ftt_history_input(w, c, x);
	if (ftt_log_put(c->log, x, apart))
		return true;
	lose(w, c, FTT_LOG_GAP);
	return false;
}

/* --- what has to wait ----------------------------------------------------------------------------- */

void ftt_log_defer(struct ftt_worker *w, struct ftt_tcp *c)
{
	if (!c->log->later && !(c->log->later = calloc(1, sizeof(*c->log->later))))
		ftt_log_end(w, c, FTT_LOGS_TOO_LONG);
}

static void put_later(struct ftt_worker *w, struct ftt_tcp *c, const struct ftt_piece *x)
{
	struct ftt_later *l = c->log->later;
	uint32_t more = FTT_PIECE_HEADER + x->len;
	enum ftt_unrenewable why = ftt_log_room(w, &l->bytes, &l->size, l->len + more, w->e->cfg.policy.renew_flow, is_told(w, c));

	if (why) {
		ftt_log_end(w, c, why);
		return;
	}
	ftt_piece_put(l->bytes + l->len, x);
	l->len += more;
}

void ftt_log_resume(struct ftt_worker *w, struct ftt_tcp *c)
{
	const struct ftt_later *l = c->log->later;
	struct ftt_piece x;

	for (uint32_t at = 0, n; l && !c->unrenewable && (n = ftt_piece_get(l->bytes + at, l->len - at, &x)); at += n)
		ftt_log_append(w, c, &x);
	if (c->log)
		drop_later(w, c->log);
}

/* --- what comes of the client ---------------------------------------------------------------------- */

/* A connection that cannot be renewed any more may be a part of a history. */
static bool is_kept(const struct ftt_worker *w, const struct ftt_tcp *c)
{
	return c->log && (!ftt_unrenewable(c->unrenewable) || ftt_history_needs(w, c));
}

/* Where the segment is in the client's stream, if it brings something that the log has not. */
static bool brings(const struct ftt_tcp *c, const struct ftt_seg *s)
{
	uint32_t offset = s->seq - (c->flow.hard.irs + 1), end = offset + s->len;
	bool fin = s->flags & TCP_FIN && !c->log->fin;

	return !(s->flags & (TCP_SYN | TCP_RST)) && (s->len || fin) && c->flow.bits & FTT_F_MAPPED &&
	       ((int32_t)(end - c->log->end) > 0 || fin);
}

void ftt_log_input(struct ftt_worker *w, struct ftt_tcp *c, const struct ftt_packet *p, const struct ftt_pkt *k,
		   const struct ftt_seg *s)
{
	uint32_t offset = s->seq - (c->flow.hard.irs + 1), skip = 0;
	uint64_t after;

	if (!is_kept(w, c) || !brings(c, s))
		return;
	/* urgent data would be said again without that */
	if (s->flags & TCP_URG || (s->len && (!p->bytes || p->cap < p->len))) {
		lose(w, c, FTT_LOG_GAP);
		return;
	}
	if ((int32_t)offset < 0) { /* its beginning is from before the stream: a SYN's place */
		skip = -offset;
		offset = 0;
	}
	after = ftt_output_place(&c->flow, c->bytes_out, ftt_output_offset(&c->flow, s->ack));
	for (uint32_t at = skip; is_kept(w, c) && (at < s->len || s->flags & TCP_FIN);) {
		uint32_t n = s->len - at < FTT_PIECE_MAX ? s->len - at : FTT_PIECE_MAX;
		bool last = at + n == s->len;
		struct ftt_piece x = {.offset = offset + (at - skip), .len = (uint16_t)n, .after = after, .bytes = p->bytes + k->payload + at,
				      .tsval = ftt_lockstep_tsval(w, c, s)};

		x.flags = (uint8_t)((last && s->flags & TCP_FIN ? FTT_PIECE_FIN : 0) | (last && s->flags & TCP_PSH ? FTT_PIECE_PUSH : 0));
		if (x.offset > FTT_LOG_MAX) {
			lose(w, c, FTT_LOG_TOO_LONG);
			return;
		}
		if (c->log->later)
			put_later(w, c, &x);
		else
			ftt_log_append(w, c, &x);
		at += n;
		if (last)
			break;
	}
}

bool ftt_log_lacks(struct ftt_worker *w, const struct ftt_tcp *c, const struct ftt_packet *p, const struct ftt_seg *s)
{
	if (p->len <= FTT_PLANE_HEADERS || !s->len)
		return false;
	if (!is_kept(w, c)) {
		w->log_whole -= w->log_whole > 0;
		return false;
	}
	w->log_whole = WHOLE;
	return p->cap < p->len && p->cap <= FTT_PLANE_HEADERS && brings(c, s);
}
