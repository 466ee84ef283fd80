/* SPDX-License-Identifier: Apache-2.0 */
/*
 * history_lane.c - a new backup's server is brought to where ours is, by all that ours was ever sent.
 *
 *   P   HISTORY  end u64 | frames of core/history.h, up to that place
 *   P   BEGIN    the OPEN of a connection that still lives (renew_begin.c)
 *   B   PLAYED   end u64: my server was given all before it, and has said as much
 *   P   ALIGN    you have nearly all: keep what the mirror brings from here on
 *   B   ALIGNED  I do
 *   P   MARK     this was the last frame; what comes after it is on the mirror
 *   B   MARKED   all before it was played, and the mirror goes on. Until then nothing that begins is followed
 *   B   NOT_PLAYED  why u8: I give it up
 *
 * After MARK frames go on of connections that no backup follows: one that shook hands with the primary alone would be missing else.
 *
 * Until MARK the backup's server is given nothing but frames, in their order. What begins meanwhile is served, and not followed:
 * it is in the history as all else. Packets of the mirror that were kept are given to it behind the last frame, then those that
 * come. So it is given everything in the order of the primary, and nothing twice: what is in both, its stack knows already.
 * From MARK on living connections go the way of any renewal.
 */
#define _GNU_SOURCE
#include <stdlib.h>
#include "engine/flows/act.h"
#include "engine/flows/follow.h"
#include "engine/flows/history_lane.h"
#include "engine/flows/renew.h"
#include "engine/flows/renew_begin.h"
#include "engine/flows/tcp.h"
#include "core/tcp/pair.h"
#include "core/tcp/renew.h"

#define NEAR 32768u                  /* bytes that may be missing when the backup begins to keep what the mirror brings */
#define PATIENCE_NS 10000000000ull   /* for a server that does not come to what it has to say */
#define ROOM_NS 1000000000ull        /* ... for one that does not read */

static void send_u64(struct ftt_worker *w, uint8_t to, uint8_t kind, uint64_t x)
{
	uint8_t bytes[8];

	put_be64(bytes, x);
	ftt_lane_send(&w->lane, to, kind, bytes, sizeof(bytes));
}

/* --- primary ------------------------------------------------------------------------------------ */

static void post(struct ftt_worker *w, uint32_t kind, uint64_t value, uint32_t reason)
{
	struct ftt_event ev = {.kind = kind, .value = value, .reason = reason};

	ftt_event_post(w->e, &ev);
}

/* The frame that is sent next. */
static const uint8_t *next_frame(struct ftt_history *h)
{
	if (!h->at_part) {
		h->at_part = h->first;
		h->at = 0;
	}
	while (h->at_part && h->at == h->at_part->len && h->at_part->next) {
		h->at_part = h->at_part->next;
		h->at = 0;
	}
	return h->at_part && h->at < h->at_part->len ? h->at_part->bytes + h->at : NULL;
}

static void passed(struct ftt_history *h, uint32_t len)
{
	h->at += len;
	h->sent += len;
}

/* What was on the lane when that ended comes again. The backup knows what it has. */
static void go_back(struct ftt_history *h)
{
	uint64_t begin = ftt_history_begin(h);

	h->sent = h->played;
	h->at_part = h->first;
	for (; h->at_part && h->at_part->next && h->played - begin > h->at_part->len; h->at_part = h->at_part->next)
		begin += h->at_part->len;
	h->at = (uint32_t)(h->played - begin);
}

/* The connection that this frame opens, if it lives and can be renewed. */
static struct ftt_renewal *living(struct ftt_worker *w, const uint8_t *frame, uint64_t now_ns)
{
	struct ftt_record open;
	struct ftt_tcp *c;
	uint32_t before = FTT_HISTORY_FRAME + FTT_HISTORY_BODY;

	if (frame[FTT_HISTORY_FRAME] != FTT_HISTORY_OPEN || !ftt_record_get(frame + before, ftt_history_length(frame) - before, &open))
		return NULL;
	c = ftt_table_find(&w->table, &open.key);
	if (!c || c->flow.hard.irs != open.irs || c->closed || !c->log || ftt_unrenewable(c->unrenewable) || !ftt_flow_renewable(&c->flow))
		return NULL;
	return ftt_renewal(c) ? ftt_renewal(c) : ftt_renewal_begin(w, c, now_ns);
}

/* One message. False: there is no room, or nothing to be sent. */
static bool send_some(struct ftt_worker *w, uint64_t now_ns)
{
	bool marked = w->history->stage >= FTT_HISTORY_MARKS;
	struct ftt_history *h = w->history;
	uint32_t room = ftt_lane_room(&w->lane, 0), len = 8;
	uint8_t bytes[8 + FTT_PIECE_MAX + FTT_HISTORY_FRAME_MAX - 65536]; /* the longest frame fits, or it would never leave */
	const uint8_t *frame;
	struct ftt_renewal *r = NULL;

	if (room < sizeof(bytes))
		return false;
	while ((frame = next_frame(h)) && (marked || !(r = living(w, frame, now_ns)))) {
		uint32_t n = ftt_history_length(frame);

		bool mirrored = marked && !(frame[FTT_HISTORY_FRAME + 1] & FTT_HISTORY_ALONE);

		if (len + n > sizeof(bytes) || (mirrored && len > 8)) /* in a message there is no gap */
			break;
		if (mirrored) {
			h->played += h->played == h->sent ? n : 0;
			passed(h, n);
			continue;
		}
		memcpy(bytes + len, frame, n);
		len += n;
		passed(h, n);
	}
	if (len > 8) {
		put_be64(bytes, h->sent);
		ftt_lane_send(&w->lane, 0, FTT_LANE_HISTORY, bytes, len);
	}
	if (r && len == 8) {
		ftt_renew_send_begin(w, r, now_ns);
		passed(h, ftt_history_length(frame));
	}
	return len > 8 || r;
}

/* The backup has all: what comes now is told of each flow by itself, as of any that is renewed. */
static void mark(struct ftt_worker *w)
{
	struct ftt_history *h = w->history;

	ftt_renewals_stir(w);
	for (struct ftt_list *at = w->renew_active.next; at != &w->renew_active; at = at->next) {
		struct ftt_renewal *r = FTT_ENTRY(at, struct ftt_renewal, order);

		r->sent = r->c->log->len;
		r->c->log->last = 0;
	}
	h->stage = FTT_HISTORY_MARKS;
}

static void give_up(struct ftt_worker *w, enum ftt_unrenewable why, uint64_t now_ns)
{
	struct ftt_list *lists[] = {&w->renew_waiting, &w->renew_active};

	ftt_renewals_stir(w);
	for (unsigned i = 0; i < 2; i++)
		while (!ftt_list_empty(lists[i]))
			ftt_renew_give_up(w, FTT_ENTRY(lists[i]->next, struct ftt_renewal, order)->c, why, now_ns);
}

/* Nothing goes on with that server in this pairing: what is protected with it has no protection. */
static void undone(struct ftt_worker *w, enum ftt_unrenewable why, uint64_t now_ns)
{
	w->history->stage = FTT_HISTORY_FAILED;
	w->history->undo = false;
	give_up(w, why, now_ns);
	for (struct ftt_tcp *c = ftt_table_next(&w->table, NULL), *next; c; c = next) {
		next = ftt_table_next(&w->table, c);
		if (!c->closed && (c->flow.protection == FTT_PROTECTED || c->flow.protection == FTT_OPENING))
			ftt_tcp_act(w, c, ftt_flow_detach(&c->flow, FTT_WHY_HISTORY, now_ns), now_ns);
	}
}

void ftt_history_pump(struct ftt_worker *w, uint64_t now_ns)
{
	struct ftt_history *h = w->history;
	uint8_t none = 0;

	if (h->undo)
		undone(w, FTT_NOT_IN_TIME, now_ns);
	if (h->stage == FTT_HISTORY_FAILED && (w->n_renewing[FTT_RENEW_BEGUN] || w->n_renewing[FTT_RENEW_CATCHING]))
		give_up(w, h->why ? (enum ftt_unrenewable)h->why : FTT_NOT_IN_TIME, now_ns);
	if (h->stage == FTT_HISTORY_IDLE || h->stage == FTT_HISTORY_FAILED)
		return;
	while (send_some(w, now_ns))
		;
	if (next_frame(h) || ftt_lane_room(&w->lane, 0) < sizeof(none))
		return;
	if (h->stage == FTT_HISTORY_SENDS && h->sent - h->played < NEAR && ftt_lane_send(&w->lane, 0, FTT_LANE_ALIGN, &none, 1))
		h->stage = FTT_HISTORY_ALIGNS;
	else if (h->stage == FTT_HISTORY_LAST && ftt_lane_send(&w->lane, 0, FTT_LANE_MARK, &none, 1))
		mark(w);
}

/* From here on the backup is waited for, with each connection that lives. */
static void all_told(struct ftt_worker *w, uint64_t now_ns)
{
	w->history->stage = FTT_HISTORY_MARKED;
	ftt_renewals_stir(w);
	for (struct ftt_list *at = w->renew_active.next; at != &w->renew_active; at = at->next)
		FTT_ENTRY(at, struct ftt_renewal, order)->moved_ns = now_ns;
}

static void begin(struct ftt_worker *w, uint64_t now_ns)
{
	struct ftt_history *h = w->history;

	h->at_part = NULL;
	h->at = 0;
	h->sent = h->played = ftt_history_begin(h);
	w->renewed_before = w->n.renewed;
	w->failed_before = w->n.renewals_failed;
	h->stage = h->why ? FTT_HISTORY_FAILED : FTT_HISTORY_SENDS;
	w->renewing = !h->why;
	post(w, FTT_EV_HISTORY, h->end - h->sent, h->why);
	ftt_history_pump(w, now_ns);
}

/* --- backup ------------------------------------------------------------------------------------- */

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

static void fail(struct ftt_worker *w, uint8_t to, enum ftt_history_failure how, enum ftt_unrenewable why)
{
	struct ftt_history *h = w->history;
	uint8_t reason = (uint8_t)why;

	if (h->failed)
		return;
	h->failed = true;
	h->blocked = h->appended = h->aligns = false; /* a MARK that is on its way finds nobody */
	h->in_message = 0;
	ftt_history_drop_kept(w);
	ftt_lane_send(&w->lane, to, FTT_LANE_NOT_PLAYED, &reason, 1);
	post(w, FTT_EV_HISTORY_FAILED, how, reason);
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
	bool full = seq_leq(c->flow.local_edge, r->given) && waited_ns > ROOM_NS;

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
		if (found == FTT_HISTORY_EVENT && !play(w, from, &x, now_ns) && !h->failed && !(h->live && now_ns - h->moved_ns > PATIENCE_NS)) {
			h->in_message = at;
			h->blocked = true;
			if (now_ns - h->moved_ns > PATIENCE_NS)
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

	for (struct ftt_list *at = w->renew_active.next; at != &w->renew_active && now_ns - h->moved_ns < ROOM_NS; at = at->next) {
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

/* --- both --------------------------------------------------------------------------------------- */

enum ftt_lane_answer ftt_history_message(struct ftt_worker *w, uint8_t from, uint8_t kind, const uint8_t *bytes, uint32_t len,
					 uint64_t now_ns)
{
	struct ftt_history *h = w->history;
	bool backup = w->mode == FTT_MODE_BACKUP, primary = w->mode == FTT_MODE_PAIRED;

	if (!h)
		return FTT_LANE_BAD;
	if (kind == FTT_LANE_HISTORY)
		return backup ? frames(w, from, bytes, len, now_ns) : FTT_LANE_TAKEN;
	if (kind == FTT_LANE_ALIGN && len == 1) {
		h->aligns = backup && !h->live && !h->failed;
		if (h->aligns)
			send_u64(w, from, FTT_LANE_ALIGNED, 0);
		return FTT_LANE_TAKEN;
	}
	if (kind == FTT_LANE_MARK && len == 1)
		return h->aligns && backup ? marked(w, from, now_ns) : FTT_LANE_TAKEN;
	if (kind == FTT_LANE_PLAYED && len == 8) {
		uint64_t played = get_be64(bytes);

		if (primary && played <= h->sent && played > h->played)
			h->played = played;
		return FTT_LANE_TAKEN;
	}
	if (kind == FTT_LANE_ALIGNED && len == 8) {
		if (primary && h->stage == FTT_HISTORY_ALIGNS)
			h->stage = FTT_HISTORY_LAST;
		return FTT_LANE_TAKEN;
	}
	if (kind == FTT_LANE_MARKED && len == 1) {
		if (primary && h->stage == FTT_HISTORY_MARKS)
			all_told(w, now_ns);
		return FTT_LANE_TAKEN;
	}
	if (kind == FTT_LANE_NOT_PLAYED && len == 1) {
		if (primary && h->stage != FTT_HISTORY_IDLE && h->stage != FTT_HISTORY_FAILED)
			undone(w, bytes[0] <= FTT_STACK_UNLIKE && bytes[0] ? (enum ftt_unrenewable)bytes[0] : FTT_NOT_IN_TIME, now_ns);
		return FTT_LANE_TAKEN;
	}
	return FTT_LANE_BAD;
}

void ftt_history_lane(struct ftt_worker *w, bool up, uint64_t now_ns)
{
	struct ftt_history *h = w->history;

	if (up && w->mode == FTT_MODE_PAIRED && h->stage == FTT_HISTORY_IDLE) {
		begin(w, now_ns);
	} else if (up && w->mode == FTT_MODE_BACKUP && h->live) {
		h->in_message = 0; /* the frame that waited comes again */
		h->blocked = false;
	} else if (up && w->mode == FTT_MODE_BACKUP) {
		h->moved_ns = now_ns;
		if (h->why || h->first)
			fail(w, 0, FTT_HISTORY_NOT_FRESH, FTT_LOG_GAP);
	} else if (!up && w->mode == FTT_MODE_PAIRED && h->stage != FTT_HISTORY_IDLE) {
		if (h->stage == FTT_HISTORY_MARKED)
			go_back(h);
		else
			h->stage = FTT_HISTORY_FAILED; /* how much the other server was given, nobody knows */
		give_up(w, FTT_NOT_IN_TIME, now_ns);
	} else if (!up && w->mode == FTT_MODE_BACKUP && !h->live && !h->failed) {
		h->failed = true;
		h->blocked = h->appended = h->aligns = false;
		h->in_message = 0;
		ftt_history_drop_kept(w);
		post(w, FTT_EV_HISTORY_FAILED, FTT_HISTORY_CUT, FTT_NOT_IN_TIME);
	}
}
