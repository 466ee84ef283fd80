/* SPDX-License-Identifier: Apache-2.0 */
/* history_play.c - the backup's side of history.h: our server is given each frame, and says what the other one had said. */
#define _GNU_SOURCE
#include <stdlib.h>
#include "engine/flows/act.h"
#include "engine/flows/history_play.h"
#include "engine/flows/renew.h"
#include "engine/flows/renew_begin.h"
#include "engine/flows/tcp.h"

static void send_u64(struct ftt_worker *w, uint8_t to, uint8_t kind, uint64_t x)
{
	uint8_t bytes[8];

	put_be64(bytes, x);
	ftt_lane_send(&w->lane, to, kind, bytes, sizeof(bytes));
}

/* What the mirror brought since ALIGN, in its order. What comes now finds the way open. */
static void give_kept(struct ftt_worker *w)
{
	struct ftt_history *h = w->history;
	struct ftt_history_kept *first = h->kept;

	h->kept = NULL;
	h->kept_tail = &h->kept;
	h->kept_bytes = 0;
	for (struct ftt_history_kept *k = first; k; k = k->next) {
		struct ftt_pkt pkt;
		struct ftt_seg s;

		ftt_parse(k->bytes, k->packet.cap, k->packet.len, &pkt, &s); /* as before */
		s.dir = FTT_FROM_CLIENT;
		ftt_tcp_from_client(w, &k->packet, &pkt, &s, ftt_now_ns());
	}
	ftt_plane_flush(w->plane); /* the verdicts have their bytes */
	for (struct ftt_history_kept *k = first, *next; k; k = next) {
		next = k->next;
		free(k);
	}
}

static void stop(struct ftt_worker *w, enum ftt_history_failure how, enum ftt_unrenewable why)
{
	struct ftt_history *h = w->history;

	h->failed = true;
	h->blocked = h->appended = h->aligns = false; /* a MARK that is on its way finds nobody */
	h->in_message = 0;
	ftt_history_drop_kept(w);
	ftt_event_post(w->e, &(struct ftt_event){.kind = FTT_EV_HISTORY_FAILED, .value = how, .reason = why});
}

static void fail(struct ftt_worker *w, uint8_t to, enum ftt_history_failure how, enum ftt_unrenewable why)
{
	struct ftt_history *h = w->history;
	uint8_t reason = (uint8_t)why;

	if (h->failed)
		return;
	stop(w, how, why);
	ftt_lane_send(&w->lane, to, FTT_LANE_NOT_PLAYED, &reason, 1);
	ftt_renewals_stir(w);
	while (!ftt_list_empty(&w->renew_active)) {
		struct ftt_tcp *c = FTT_ENTRY(w->renew_active.next, struct ftt_renewal, order)->c;

		ftt_renewal_end(w, c);
		ftt_tcp_let_go(w, c);
	}
}

static struct ftt_tcp *find(struct ftt_worker *w, const struct ftt_history_event *x)
{
	struct ftt_tcp *c = ftt_table_find(&w->table, &x->key);

	return c && c->flow.hard.irs == x->irs ? c : NULL;
}

/* What the frame is about, if our stack still has it. */
static struct ftt_tcp *about(struct ftt_worker *w, const struct ftt_history_event *x)
{
	struct ftt_tcp *c = find(w, x);

	return c && !c->closed && ftt_renewal(c) ? c : NULL;
}

/*
 * Our stack has it no more, and the history goes on. A server that has said all that the other one had said until then has only ended
 * it sooner. One that has not was lost to it: what comes next would be told to another server. Behind MARK that is as with any
 * connection that is let go.
 */
static bool play_without(struct ftt_worker *w, uint8_t from, const struct ftt_history_event *x)
{
	uint64_t place = x->kind == FTT_HISTORY_OUTPUT ? x->place : x->kind == FTT_HISTORY_INPUT ? x->piece.after : 0;
	const struct ftt_tcp *c = find(w, x);
	uint64_t said = c ? c->bytes_out + (x->kind == FTT_HISTORY_INPUT) : 0; /* the place of an INPUT may be behind the FIN */

	if (!w->history->live && place > said)
		fail(w, from, FTT_HISTORY_NOT_SAID, FTT_NOT_IN_TIME);
	return !w->history->failed;
}

/* Its stack answers before anything else is said to it: they are accepted in that order. */
static bool play_open(struct ftt_worker *w, uint8_t from, const struct ftt_history_event *x, uint64_t now_ns)
{
	struct ftt_history *h = w->history;
	struct ftt_renewal *r = NULL;
	const struct ftt_tcp *c;

	if (!h->appended && (r = ftt_renew_enter(w, from, &x->open, UINT64_MAX, x->open.age_ms, now_ns)))
		r->past = true;
	if (!h->appended && !r && !h->live)
		fail(w, from, FTT_HISTORY_NO_ROOM, FTT_LOGS_TOO_LONG);
	if (!h->appended && !r)
		return !h->failed;
	h->appended = true;
	c = find(w, x);
	if (!h->live && (!c || (c->closed && !(c->flow.bits & FTT_F_MAPPED)))) /* it was refused */
		fail(w, from, FTT_HISTORY_NOT_SAID, FTT_STACK_UNLIKE);
	return !h->failed && (!c || c->closed || c->flow.bits & FTT_F_MAPPED);
}

/* Is all of the stream given to the stack that it may have by now? */
static bool is_given(const struct ftt_tcp *c, uint64_t waited_ns)
{
	const struct ftt_renewal *r = ftt_renewal(c);
	uint32_t end = c->flow.hard.irs + 1 + c->log->end + (c->log->fin && !c->log->beyond);
	bool full = seq_leq(c->flow.local_edge, r->given) && waited_ns > FTT_RENEW_UNREAD_NS;

	return seq_geq(r->given, end) || full;
}

static bool play_input(struct ftt_worker *w, uint8_t from, struct ftt_tcp *c, const struct ftt_history_event *x, uint64_t now_ns)
{
	struct ftt_history *h = w->history;
	struct ftt_piece piece = x->piece;

	if (!(c->flow.bits & FTT_F_MAPPED))
		return false;
	if (!h->appended && !ftt_log_append(w, c, &piece)) { /* the log is at its end */
		if (!h->live)
			fail(w, from, FTT_HISTORY_NO_ROOM, FTT_LOGS_TOO_LONG);
		return !h->failed;
	}
	h->appended = true;
	ftt_renew_play(w, c, now_ns);
	return is_given(c, now_ns - h->moved_ns);
}

/* Its server has said as much; or as much as its client has read, who can hold up nobody but itself. */
static bool has_said(struct ftt_worker *w, struct ftt_tcp *c, const struct ftt_history_event *x)
{
	const struct ftt_renewal *r = ftt_renewal(c);
	const struct ftt_digest *d = &c->digest;

	if (c->bytes_out < x->place && (r->past || c->bytes_out < r->acked))
		return false;
	if (x->flags & FTT_HISTORY_SUM && w->e->cfg.policy.compare && c->bytes_out == x->place && !d->broken &&
	    d->next == (uint32_t)x->place && d->crc != x->crc && !c->divergences++)
		w->n.divergences++;
	return true;
}

static bool play_end(struct ftt_worker *w, struct ftt_tcp *c, const struct ftt_history_event *x, uint64_t now_ns)
{
	struct ftt_renewal *r = ftt_renewal(c);

	if (x->how == FTT_HISTORY_CLIENT_RST) {
		if (c->flow.bits & FTT_F_MAPPED && seq_lt(c->flow.local_rcv_nxt, r->given)) /* it would be no RST of this place */
			return false;
		ftt_tcp_forget(w, c, true);
		return true;
	}
	r->past = r->over = true; /* its client has all, and what our server has still to say is its own affair */
	r->acked = UINT64_MAX;
	r->heard_ns = now_ns;
	ftt_renew_ahead(w, c);
	ftt_tcp_act(w, c, FTT_ACT_INJECT, now_ns);
	return true;
}

/* False: not yet. */
static bool play(struct ftt_worker *w, uint8_t from, const struct ftt_history_event *x, uint64_t now_ns)
{
	struct ftt_tcp *c = about(w, x);

	switch (x->kind) {
	case FTT_HISTORY_OPEN:
		return play_open(w, from, x, now_ns);
	case FTT_HISTORY_INPUT:
		return c ? play_input(w, from, c, x, now_ns) : play_without(w, from, x);
	case FTT_HISTORY_OUTPUT:
		return c ? has_said(w, c, x) : play_without(w, from, x);
	case FTT_HISTORY_END:
		return !c || play_end(w, c, x, now_ns);
	default:
		return true;
	}
}

static enum ftt_lane_answer frames(struct ftt_worker *w, uint8_t from, const uint8_t *bytes, uint32_t len, uint64_t now_ns)
{
	struct ftt_history *h = w->history;
	uint32_t at = h->in_message ? h->in_message : 8, n;
	struct ftt_history_event x;
	uint64_t end;

	if (len < 8 || (end = get_be64(bytes)) < len - 8)
		return FTT_LANE_BAD;
	for (; at < len && !h->failed; at += n) {
		enum ftt_history_found found = ftt_history_read(bytes + at, len - at, &x, &n);

		if (found != FTT_HISTORY_EVENT && found != FTT_HISTORY_SKIPPED)
			return FTT_LANE_BAD;
		if (end - (len - at) < h->taken) /* it came on an earlier connection of the lane */
			continue;
		if (found == FTT_HISTORY_EVENT && !play(w, from, &x, now_ns) && !h->failed && !(h->live && ftt_renewal_stalls(h->moved_ns, now_ns))) {
			h->in_message = at;
			h->blocked = true;
			if (ftt_renewal_stalls(h->moved_ns, now_ns))
				fail(w, from, FTT_HISTORY_NOT_SAID, FTT_NOT_IN_TIME);
			return h->failed ? FTT_LANE_TAKEN : FTT_LANE_NOT_NOW;
		}
		h->appended = false;
		h->moved_ns = now_ns;
		h->taken = end - (len - at) + n;
	}
	h->blocked = false;
	h->in_message = 0;
	if (!h->failed)
		send_u64(w, from, FTT_LANE_PLAYED, end);
	return FTT_LANE_TAKEN;
}

/* All frames were played. What comes of a connection finds its stack's answer to its SYN. */
static enum ftt_lane_answer marked(struct ftt_worker *w, uint8_t from, uint64_t now_ns)
{
	struct ftt_history *h = w->history;
	uint8_t none = 0;

	for (struct ftt_list *at = w->renew_active.next; at != &w->renew_active && now_ns - h->moved_ns < FTT_RENEW_UNREAD_NS; at = at->next) {
		const struct ftt_tcp *c = FTT_ENTRY(at, struct ftt_renewal, order)->c;

		h->blocked = !c->closed && !(c->flow.bits & FTT_F_MAPPED);
		if (h->blocked)
			return FTT_LANE_NOT_NOW;
	}
	ftt_renewals_stir(w);
	for (struct ftt_list *at = w->renew_active.next; at != &w->renew_active; at = at->next)
		FTT_ENTRY(at, struct ftt_renewal, order)->heard_ns = now_ns; /* until here it was the history's to tell */
	h->blocked = !ftt_lane_send(&w->lane, from, FTT_LANE_MARKED, &none, 1);
	if (h->blocked)
		return FTT_LANE_NOT_NOW;
	h->live = true;
	h->aligns = false;
	give_kept(w);
	return FTT_LANE_TAKEN;
}

void ftt_history_tick(struct ftt_worker *w)
{
	w->history->stirred = false;
	if (w->history->blocked)
		ftt_lane_resume(&w->lane, 0);
}

enum ftt_lane_answer ftt_history_play_message(struct ftt_worker *w, uint8_t from, uint8_t kind, const uint8_t *bytes, uint32_t len,
					      uint64_t now_ns)
{
	struct ftt_history *h = w->history;
	bool backup = w->mode == FTT_MODE_BACKUP;

	if (!h || !ftt_lane_fits(kind, len))
		return FTT_LANE_BAD;
	switch (kind) {
	case FTT_LANE_HISTORY:
		return backup ? frames(w, from, bytes, len, now_ns) : FTT_LANE_TAKEN;
	case FTT_LANE_ALIGN:
		h->aligns = backup && !h->live && !h->failed;
		if (h->aligns)
			send_u64(w, from, FTT_LANE_ALIGNED, 0);
		return FTT_LANE_TAKEN;
	case FTT_LANE_MARK:
		return h->aligns && backup ? marked(w, from, now_ns) : FTT_LANE_TAKEN;
	default:
		return FTT_LANE_BAD;
	}
}

void ftt_history_play_lane(struct ftt_worker *w, bool up, uint64_t now_ns)
{
	struct ftt_history *h = w->history;

	if (up && h->live) {
		h->in_message = 0; /* the frame that waited comes again */
		h->blocked = false;
	} else if (up) {
		h->moved_ns = now_ns;
		if (h->why || h->first)
			fail(w, 0, FTT_HISTORY_NOT_FRESH, FTT_LOG_GAP);
	} else if (!h->live && !h->failed) {
		stop(w, FTT_HISTORY_CUT, FTT_NOT_IN_TIME);
	}
}
