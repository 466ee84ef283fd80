/* SPDX-License-Identifier: Apache-2.0 */
/* history.c - writes the history of the server that this node runs; see history.h. */
#define _GNU_SOURCE
#include <stdlib.h>
#include "engine/flows/frame.h"
#include "engine/flows/history.h"

struct ftt_history *ftt_history_new(uint64_t now_ns)
{
	struct ftt_history *h = calloc(1, sizeof(*h));

	if (!h)
		return NULL;
	h->began_ns = now_ns;
	h->why = FTT_LOG_GAP; /* until a server starts */
	h->kept_tail = &h->kept;
	return h;
}

/* Frames that were sent may go, too: whoever reads them has to begin anew. */
static void drop(struct ftt_history *h)
{
	for (struct ftt_history_part *p = h->first, *next; p; p = next) {
		next = p->next;
		free(p);
	}
	h->first = h->last = h->at_part = NULL;
	h->at = 0;
	h->bytes = 0;
}

void ftt_history_free(struct ftt_history *h)
{
	if (!h)
		return;
	drop(h);
	free(h);
}

void ftt_history_lose(struct ftt_worker *w, enum ftt_unrenewable why)
{
	struct ftt_history *h = w->history;

	if (!h || h->why)
		return;
	h->why = (uint8_t)why;
	if (h->stage != FTT_HISTORY_MARKED)
		h->stage = FTT_HISTORY_FAILED;
	drop(h);
}

/*
 * What was written before the server started is of the one before it. The engine hears of a server a moment after it began to
 * listen: so what was written since then stays.
 */
static void begin_at(struct ftt_history *h, uint64_t start_ns)
{
	for (struct ftt_history_part *p; (p = h->first);) {
		uint32_t at = 0;

		while (at < p->len && h->began_ns + get_be64(p->bytes + at + FTT_HISTORY_FRAME + 4) < start_ns)
			at += ftt_history_length(p->bytes + at);
		if (at < p->len) {
			memmove(p->bytes, p->bytes + at, p->len - at);
			p->len -= at;
			return;
		}
		h->first = p->next;
		h->bytes -= sizeof(*p);
		free(p);
	}
	h->last = NULL;
}

/* A connection. */
struct opened {
	struct ftt_key key;
	uint32_t irs;
};

static int order(const void *a, const void *b)
{
	return memcmp(a, b, sizeof(struct opened));
}

static struct opened opened_of(const uint8_t *frame, uint32_t len)
{
	struct ftt_history_event x;
	struct opened o;

	ftt_history_read(frame, len, &x, &len);
	memset(&o, 0, sizeof(o));
	o.key = x.key;
	o.irs = x.irs;
	return o;
}

/* All whose beginning is there, in order(); NULL: there is none, or no memory. */
static struct opened *all_opened(const struct ftt_history *h, uint32_t *n)
{
	struct opened *all = NULL;
	uint32_t size = 0;

	*n = 0;
	for (const struct ftt_history_part *p = h->first; p; p = p->next)
		for (uint32_t at = 0; at < p->len; at += ftt_history_length(p->bytes + at)) {
			if (p->bytes[at + FTT_HISTORY_FRAME] != FTT_HISTORY_OPEN)
				continue;
			if (*n == size) {
				struct opened *more = realloc(all, (size = size ? 2 * size : 64) * sizeof(*all));

				if (!more) {
					free(all);
					return NULL;
				}
				all = more;
			}
			all[(*n)++] = opened_of(p->bytes + at, p->len - at);
		}
	if (all)
		qsort(all, *n, sizeof(*all), order);
	return all;
}

/*
 * A connection to the server before ends when that does, or a moment later: so what is told of one whose beginning is not there is
 * of that server. False: no memory.
 */
static bool drop_others(struct ftt_history *h)
{
	uint32_t n_all, n;
	struct opened *all = all_opened(h, &n_all);

	if (!all) {
		drop(h);
		return !n_all;
	}
	for (struct ftt_history_part **to = &h->first, *p; (p = *to);) {
		uint32_t kept = 0;

		for (uint32_t at = 0; at < p->len; at += n) {
			struct opened o = opened_of(p->bytes + at, p->len - at);

			n = ftt_history_length(p->bytes + at);
			if (!bsearch(&o, all, n_all, sizeof(*all), order))
				continue;
			memmove(p->bytes + kept, p->bytes + at, n);
			kept += n;
		}
		p->len = kept;
		if (kept) {
			h->last = p;
			to = &p->next;
			continue;
		}
		*to = p->next;
		h->bytes -= sizeof(*p);
		free(p);
	}
	free(all);
	return true;
}

void ftt_history_look(struct ftt_worker *w)
{
	struct ftt_history *h = w->history;
	uint32_t life = h ? atomic_load(&w->e->server_life) : 0;
	uint64_t start_ns;

	if (!h || life == h->life)
		return;
	h->life = life;
	if (w->mode == FTT_MODE_PAIRED && h->stage != FTT_HISTORY_IDLE) { /* what the other server was told is of the one before */
		h->stage = FTT_HISTORY_FAILED;
		h->undo = true;
	}
	h->start_ns = start_ns = atomic_load(&w->e->server_start_ns);
	if (!start_ns) { /* it was there before this engine: what it has heard is not known */
		ftt_history_lose(w, FTT_LOG_GAP);
		return;
	}
	if (h->why) /* nothing was written since then, but what may have come in that moment */
		drop(h);
	begin_at(h, start_ns);
	h->at_part = NULL;
	h->at = 0;
	h->why = drop_others(h) ? FTT_RENEWABLE : FTT_LOGS_TOO_LONG;
	h->sent = h->played = ftt_history_begin(h);
}

/* --- of the mirror -------------------------------------------------------------------------------- */

void ftt_history_keep(struct ftt_worker *w, const struct ftt_packet *p)
{
	struct ftt_history *h = w->history;
	struct ftt_history_kept *k = NULL;

	if (!ftt_history_keeps(h->kept_bytes, p->cap) || !(k = malloc(sizeof(*k) + p->cap))) { /* its client says it again */
		w->n.drop_bound++;
		ftt_worker_verdict(w, p, false, NULL);
		return;
	}
	k->next = NULL;
	k->packet = *p;
	k->packet.bytes = k->bytes;
	memcpy(k->bytes, p->bytes, p->cap);
	h->kept_bytes += sizeof(*k) + p->cap;
	*h->kept_tail = k;
	h->kept_tail = &k->next;
}

void ftt_history_drop_kept(struct ftt_worker *w)
{
	struct ftt_history *h = w->history;

	for (struct ftt_history_kept *k = h->kept, *next; k; k = next) {
		next = k->next;
		w->n.drop_suppressed++;
		ftt_worker_verdict(w, &k->packet, false, NULL);
		free(k);
	}
	h->kept = NULL;
	h->kept_tail = &h->kept;
	h->kept_bytes = 0;
}

void ftt_history_role(struct ftt_worker *w)
{
	struct ftt_history *h = w->history;

	if (!h)
		return;
	ftt_history_drop_kept(w);
	h->stage = FTT_HISTORY_IDLE;
	h->live = h->aligns = h->blocked = h->appended = h->failed = false;
	h->undo = false;
	h->in_message = 0;
	h->taken = 0;
	h->at_part = NULL;
	h->at = 0;
}

/* --- frames --------------------------------------------------------------------------------------- */

static uint8_t *room_for(struct ftt_worker *w, uint32_t most)
{
	struct ftt_history *h = w->history;
	struct ftt_history_part *p = h->last;

	if (p && sizeof(p->bytes) - p->len >= most)
		return p->bytes + p->len;
	if (!ftt_history_may_grow(h->bytes + w->log_bytes, sizeof(*p), &w->e->cfg.policy) || !(p = malloc(sizeof(*p)))) {
		ftt_history_lose(w, FTT_LOGS_TOO_LONG);
		return NULL;
	}
	p->next = NULL;
	p->len = 0;
	*(h->last ? &h->last->next : &h->first) = p;
	h->last = p;
	h->bytes += sizeof(*p);
	return p->bytes;
}

static void put(struct ftt_worker *w, const struct ftt_tcp *c, struct ftt_history_event x)
{
	bool followed = c->flow.protection == FTT_PROTECTED || c->flow.protection == FTT_OPENING;
	struct ftt_history *h = w->history;
	uint32_t most = FTT_HISTORY_FRAME_MAX - 65536 + (x.kind == FTT_HISTORY_INPUT ? x.piece.len : 0), n;
	uint8_t *frame = room_for(w, most);

	if (!frame)
		return;
	x.when_ns = ftt_now_ns() - h->began_ns;
	x.flags |= followed ? 0 : FTT_HISTORY_ALONE;
	n = ftt_history_put(frame, most, &x);
	if (!n) {
		ftt_history_lose(w, FTT_LOG_GAP);
		return;
	}
	h->last->len += n;
	h->end += n;
}

/* Before anything else is told: how far the servers' answers are. */
static void tell_said(struct ftt_worker *w)
{
	struct ftt_history *h = w->history;
	struct ftt_tcp *c;

	for (uint32_t at = 0; (c = ftt_moved_next(&h->moved, &at, FTT_MOVED_HISTORY));)
		if (!h->why)
			put(w, c, ftt_frame_output(w, c));
}

/* What its client has said before the engine heard of the server. */
static void put_log(struct ftt_worker *w, struct ftt_tcp *c)
{
	struct ftt_piece x;

	for (uint32_t at = c->log->syn_len, n; !w->history->why; at += n) {
		if (!(n = ftt_piece_get(c->log->bytes + at, c->log->len - at, &x)))
			return;
		put(w, c, ftt_frame_input(c, &x));
	}
}

void ftt_history_open(struct ftt_worker *w, struct ftt_tcp *c)
{
	if (w->history->why)
		return;
	if (!c->log) {
		ftt_history_lose(w, c->unrenewable == FTT_LOGS_TOO_LONG ? FTT_LOGS_TOO_LONG : FTT_LOG_GAP);
		return;
	}
	if (c->flow.opened_ns < w->history->start_ns) /* of the server before */
		return;
	c->in_history = true;
	c->history_over = false;
	tell_said(w);
	put(w, c, ftt_frame_open(w, c, c->log->bytes, c->log->syn_len));
	put_log(w, c);
}

void ftt_history_input(struct ftt_worker *w, struct ftt_tcp *c, const struct ftt_piece *x)
{
	tell_said(w);
	if (ftt_history_needs(w, c))
		put(w, c, ftt_frame_input(c, x));
}

void ftt_history_said(struct ftt_worker *w, struct ftt_tcp *c)
{
	struct ftt_history *h = w->history;

	ftt_history_enter(w, c, true);
	if (!ftt_history_needs(w, c) || ftt_moved_add(&h->moved, c, FTT_MOVED_HISTORY))
		return;
	tell_said(w);
	ftt_moved_add(&h->moved, c, FTT_MOVED_HISTORY);
}

void ftt_history_over(struct ftt_worker *w, struct ftt_tcp *c, enum ftt_history_end how)
{
	struct ftt_history *h = w->history;

	if (!ftt_history_has(h, c))
		return;
	tell_said(w);
	if (!h->why)
		put(w, c, ftt_frame_end(c, how));
	c->history_over = true;
}
