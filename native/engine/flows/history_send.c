/* SPDX-License-Identifier: Apache-2.0 */
/* history_send.c - the primary's side of history.h: its history leaves, as the lane has room, up to MARK and behind it. */
#define _GNU_SOURCE
#include "engine/flows/act.h"
#include "engine/flows/calls.h"
#include "engine/flows/history_send.h"
#include "engine/flows/renew.h"
#include "engine/flows/renew_begin.h"
#include "core/tcp/pair.h"
#include "core/tcp/renew.h"

#define NEAR 32768u /* bytes that may be missing when the backup begins to keep what the mirror brings */

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
		ftt_log_close_piece(r->c->log);
	}
	h->stage = FTT_HISTORY_MARKS;
}

static void give_up(struct ftt_worker *w, enum ftt_unrenewable why, uint64_t now_ns)
{
	struct ftt_renewal *r;

	ftt_renewals_stir(w);
	while ((r = ftt_renewals_first(w)))
		ftt_renew_give_up(w, r->c, why, now_ns);
}

/*
 * Nothing goes on with that server in this pairing: what is protected with it has no protection. What is in its way is in no way of
 * the next one: our logs are as good as before.
 */
static void undone(struct ftt_worker *w, enum ftt_unrenewable why, enum ftt_reason reason, uint64_t now_ns)
{
	w->history->stage = FTT_HISTORY_FAILED;
	w->history->undo = false;
	give_up(w, ftt_unrenewable((uint8_t)why) ? FTT_NOT_IN_TIME : why, now_ns);
	for (struct ftt_tcp *c = ftt_table_next(&w->table, NULL), *next; c; c = next) {
		next = ftt_table_next(&w->table, c);
		if (!c->closed && c->flow.protection == FTT_NEW) { /* its handshake is under way */
			ftt_flow_unprotect(&c->flow, (uint8_t)reason);
			ftt_table_update(&w->table, c, w->mode);
		} else if (!c->closed && (c->flow.protection == FTT_PROTECTED || c->flow.protection == FTT_OPENING)) {
			ftt_tcp_act(w, c, ftt_flow_detach(&c->flow, (uint8_t)reason, now_ns), now_ns);
		}
	}
}

void ftt_history_undo(struct ftt_worker *w, enum ftt_reason why, uint64_t now_ns)
{
	if (w->history && w->history->stage != FTT_HISTORY_IDLE)
		undone(w, FTT_NOT_IN_TIME, why, now_ns);
}

void ftt_history_pump(struct ftt_worker *w, uint64_t now_ns)
{
	struct ftt_history *h = w->history;
	uint8_t none = 0;

	if (h->undo)
		undone(w, FTT_NOT_IN_TIME, FTT_WHY_HISTORY, now_ns);
	if (h->stage == FTT_HISTORY_FAILED && (w->n_renewing[FTT_RENEW_BEGUN] || w->n_renewing[FTT_RENEW_CATCHING]))
		give_up(w, h->why ? (enum ftt_unrenewable)h->why : FTT_NOT_IN_TIME, now_ns);
	if (h->stage == FTT_HISTORY_IDLE || h->stage == FTT_HISTORY_FAILED || ftt_calls_behind(w))
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
	ftt_event_post(w->e, &(struct ftt_event){.kind = FTT_EV_HISTORY, .value = h->end - h->sent, .reason = h->why});
	ftt_history_pump(w, now_ns);
}

enum ftt_lane_answer ftt_history_send_message(struct ftt_worker *w, uint8_t kind, const uint8_t *bytes, uint32_t len, uint64_t now_ns)
{
	bool primary = w->mode == FTT_MODE_PAIRED;
	struct ftt_history *h = w->history;
	uint64_t played;

	if (!h || !ftt_lane_fits(kind, len))
		return FTT_LANE_BAD;
	switch (kind) {
	case FTT_LANE_PLAYED:
		played = get_be64(bytes);
		if (primary && played <= h->sent && played > h->played)
			h->played = played;
		return FTT_LANE_TAKEN;
	case FTT_LANE_ALIGNED:
		if (primary && h->stage == FTT_HISTORY_ALIGNS)
			h->stage = FTT_HISTORY_LAST;
		return FTT_LANE_TAKEN;
	case FTT_LANE_MARKED:
		if (primary && h->stage == FTT_HISTORY_MARKS)
			all_told(w, now_ns);
		return FTT_LANE_TAKEN;
	case FTT_LANE_NOT_PLAYED:
		if (primary && h->stage != FTT_HISTORY_IDLE && h->stage != FTT_HISTORY_FAILED)
			undone(w, bytes[0] <= FTT_STACK_UNLIKE && bytes[0] ? (enum ftt_unrenewable)bytes[0] : FTT_NOT_IN_TIME, FTT_WHY_HISTORY,
			       now_ns);
		return FTT_LANE_TAKEN;
	default:
		return FTT_LANE_BAD;
	}
}

void ftt_history_send_lane(struct ftt_worker *w, bool up, uint64_t now_ns)
{
	struct ftt_history *h = w->history;

	if (up && h->stage == FTT_HISTORY_IDLE) {
		begin(w, now_ns);
	} else if (!up && h->stage != FTT_HISTORY_IDLE) {
		if (h->stage == FTT_HISTORY_MARKED)
			go_back(h);
		else
			h->stage = FTT_HISTORY_FAILED; /* how much the other server was given, nobody knows */
		give_up(w, FTT_NOT_IN_TIME, now_ns);
	}
}
