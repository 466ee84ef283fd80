/* SPDX-License-Identifier: Apache-2.0 */
/* renew_lane.c - input logs on their way to a new backup; see core/tcp/renew.h, and renewal.h for what is said. */
#define _GNU_SOURCE
#include "engine/flows/act.h"
#include "engine/flows/calls.h"
#include "engine/flows/checkpoint.h"
#include "engine/flows/cold.h"
#include "engine/flows/compare.h"
#include "engine/flows/role.h"
#include "engine/flows/history_play.h"
#include "engine/flows/history_send.h"
#include "engine/flows/renew.h"
#include "engine/flows/renew_begin.h"
#include "engine/flows/filed.h"
#include "engine/flows/renew_lane.h"
#include "engine/flows/spill.h"
#include "engine/flows/stored.h"
#include "engine/flows/udp_renew.h"
#include "core/tcp/cold.h"

#define RECORD_MAX 256u /* of addresses, a SYN, an identity */
#define MESSAGE 32768u  /* of pieces in one message, about */

/* --- primary ------------------------------------------------------------------------------------ */

static bool all_up(const struct ftt_worker *w)
{
	for (uint8_t k = 0; k < w->e->cfg.workers; k++)
		if (!ftt_lane_up(&w->lane, k))
			return false;
	return true;
}

static bool has_room(struct ftt_worker *w, uint32_t len)
{
	for (uint8_t k = 0; k < w->e->cfg.workers; k++)
		if (ftt_lane_room(&w->lane, k) < len)
			return false;
	return true;
}

/* Are all bytes there that our stack has acknowledged? */
static bool is_whole(const struct ftt_tcp *c)
{
	uint32_t have = c->flow.hard.irs + 1 + c->log->end + c->log->fin;

	return seq_geq(have, c->flow.local_rcv_nxt);
}

static bool begin_one(struct ftt_worker *w, struct ftt_renewal *r, uint64_t now_ns)
{
	struct ftt_tcp *c = r->c;

	if (c->closed || c->unrenewable || !is_whole(c)) {
		if (!c->closed && !c->unrenewable)
			c->unrenewable = FTT_LOG_GAP;
		ftt_renewal_end(w, c);
		return true;
	}
	if (!ftt_flow_renewable(&c->flow)) { /* not now */
		bool never = ftt_flow_unfit(&c->flow) || (c->flow.protection != FTT_UNPROTECTED && c->flow.protection != FTT_DETACHED);

		if (never || c->flow.bits & (FTT_F_LOCAL_FIN | FTT_F_LOCAL_RST | FTT_F_CLIENT_RST))
			ftt_renewal_end(w, c);
		else
			ftt_renewal_stage(w, r, FTT_RENEW_WAITS); /* the last again */
		return true;
	}
	if (!has_room(w, FTT_BEGIN_MAX))
		return false;
	ftt_renew_send_begin(w, r, now_ns);
	return true;
}

/* Pieces that were not handed to the lane yet. False: there is no room, or they have to be read first. */
static bool send_log(struct ftt_worker *w, struct ftt_renewal *r)
{
	struct ftt_tcp *c = r->c;
	struct ftt_log *l = c->log;
	struct ftt_record head = {.type = FTT_REC_RENEW, .key = c->key, .irs = ftt_flow_name(&c->flow), .attempt = c->attempt};
	uint8_t bytes[RECORD_MAX + MESSAGE + FTT_PIECE_HEADER + FTT_PIECE_MAX];
	bool last = r->stage == FTT_RENEW_HELD;

	while (r->sent < l->len || last) {
		uint32_t room = ftt_lane_room(&w->lane, c->peer_worker), n = 0, piece, there;
		const uint8_t *from = ftt_log_at(l, r->sent, &there);
		struct ftt_piece x;
		size_t len;

		if (!from) {
			ftt_spill_fetch(w, c);
			return false;
		}
		while (n < MESSAGE && (piece = ftt_piece_get(from + n, there - n, &x)))
			n += piece;
		head.flags = last && r->sent + n == l->len ? FTT_REC_FINAL : 0;
		len = ftt_record_put(bytes, sizeof(bytes), &head);
		if (room < len + n || !len)
			return false;
		memcpy(bytes + len, from, n);
		if (!ftt_lane_send(&w->lane, c->peer_worker, FTT_LANE_LOG, bytes, (uint32_t)len + n))
			return false;
		r->sent += n;
		if (r->sent == l->len)
			ftt_log_close_piece(l);
		if (head.flags) {
			ftt_renewal_end(w, c);
			return true;
		}
	}
	return true;
}

/* All flows that nobody follows, and that began where this node has seen it. `again`: of the same backup. */
static void find_flows(struct ftt_worker *w, bool again, uint64_t now_ns)
{
	struct ftt_event ev = {.kind = FTT_EV_CATCHING_UP, .value = ftt_udp_renew_find(w)};

	for (struct ftt_tcp *c = NULL; (c = ftt_table_next(&w->table, c));) {
		bool alone = c->flow.protection == FTT_UNPROTECTED || c->flow.protection == FTT_DETACHED;

		if (!alone || c->closed || !c->log || c->log->renewal || ftt_flow_unfit(&c->flow) || ftt_unrenewable(c->unrenewable) ||
		    (again && (ftt_renewal_vain(c->unrenewable) || c->flow.reason == FTT_WHY_NOT_OPENED))) /* it is what it was */
			continue;
		ev.value += ftt_renewal_begin(w, c, now_ns) != NULL;
	}
	if (!ev.value)
		return;
	if (!w->renewing) {
		w->renewed_before = w->n.renewed;
		w->failed_before = w->n.renewals_failed;
	}
	w->renewing = true;
	ftt_event_post(w->e, &ev);
}

/* Their turn comes: of clients' connections, or of those that the backup's server has to open again. False: the lane has no room. */
static bool begin_some(struct ftt_worker *w, bool reopens, uint64_t now_ns)
{
	const struct ftt_list *waiting = reopens ? &w->reopen_waiting : &w->renew_waiting;
	uint32_t unopened = w->n_reopening[FTT_RENEW_WAITS], most = reopens ? unopened : w->n_renewing[FTT_RENEW_WAITS] - unopened;

	for (; most; most--) {
		uint32_t active = ftt_renewals_active(w);

		if (reopens ? !ftt_renewal_may_reopen(w->n_reopening[FTT_RENEW_BEGUN], active) : !ftt_renewal_may_begin(ftt_renewals_unanswered(w), active))
			return true;
		if (!begin_one(w, FTT_ENTRY(waiting->next, struct ftt_renewal, order), now_ns))
			return false;
	}
	return true;
}

void ftt_renew_pump(struct ftt_worker *w, uint64_t now_ns)
{
	struct ftt_list *next;

	if (w->mode != FTT_MODE_PAIRED || ftt_checkpoint_awaited(w))
		return;
	ftt_udp_renew_pump(w, now_ns);
	if (w->history) {
		ftt_history_pump(w, now_ns);
		if (ftt_history_behind(w))
			return;
	}
	for (struct ftt_list *at = w->renew_active.next; at != &w->renew_active; at = next) {
		struct ftt_renewal *r = FTT_ENTRY(at, struct ftt_renewal, order);

		next = at->next;
		if (r->stage == FTT_RENEW_HELD && !ftt_lane_up(&w->lane, r->c->peer_worker))
			ftt_renewal_end(w, r->c); /* it has all that its client was told of */
		else if (r->stage == FTT_RENEW_HELD || (r->stage > FTT_RENEW_BEGUN && !r->c->unrenewable))
			send_log(w, r); /* of a held one what there is, and that it is all: either renewal ends with that */
	}
	if (w->history || !all_up(w))
		return;
	if (ftt_again_due(&w->renew_again, now_ns))
		find_flows(w, true, now_ns);
	if (begin_some(w, false, now_ns))
		begin_some(w, true, now_ns);
}

/* The lane to that worker is gone: what it carried begins anew with the next one, also what it may have carried. */
static void begin_again(struct ftt_worker *w, uint8_t worker)
{
	struct ftt_list *next;

	for (struct ftt_list *at = w->renew_active.next; at != &w->renew_active; at = next) {
		struct ftt_renewal *r = FTT_ENTRY(at, struct ftt_renewal, order);

		next = at->next;
		if (r->stage != FTT_RENEW_BEGUN && (r->stage != FTT_RENEW_CATCHING || r->c->peer_worker != worker))
			continue;
		ftt_renew_cancel(&r->c->flow);
		ftt_renewal_stage(w, r, FTT_RENEW_WAITS);
		ftt_table_update(&w->table, r->c, w->mode);
	}
}

/* --- backup ------------------------------------------------------------------------------------- */

/* Of an earlier attempt, or of a later one, whose BEGIN we did not take? */
static bool is_late(struct ftt_worker *w, const struct ftt_tcp *c, const struct ftt_record *r)
{
	bool late = ftt_record_late(r, c->attempt);

	w->n.records_late += late;
	return late;
}

/* Its log is not whole here, so our stack will not come to where its client is: the primary is to give it up. */
static void refuse(struct ftt_worker *w, struct ftt_tcp *c)
{
	struct ftt_record gone = {.type = FTT_REC_DETACHED, .key = c->key, .irs = ftt_flow_name(&c->flow), .attempt = c->attempt};

	ftt_channel_put_record(&w->channel, c->peer_worker, &gone, &w->n);
	ftt_tcp_let_go(w, c);
}

void ftt_renew_log_lost(struct ftt_worker *w, struct ftt_tcp *c, enum ftt_unrenewable why, uint64_t now_ns)
{
	struct ftt_renewal *r = ftt_renewal(c);
	bool held = r && r->stage == FTT_RENEW_HELD, emits = ftt_flow_emits((uint8_t)w->mode);

	ftt_log_end(w, c, why);
	if (emits && held) { /* the rest of it does not come; the tick gives up what is in another stage */
		ftt_renewal_end(w, c);
		ftt_tcp_act(w, c, ftt_flow_detach(&c->flow, FTT_WHY_BOUND, now_ns), now_ns);
	} else if (!emits && c->flow.protection == FTT_CATCHING_UP) {
		refuse(w, c);
	} else if (!emits && c->flow.bits & FTT_F_COLD && c->flow.protection == FTT_PROTECTED && !ftt_flow_ended(&c->flow)) {
		ftt_tcp_act(w, c, ftt_cold_refuse(&c->flow), now_ns);
	}
}

static enum ftt_lane_answer log_of(struct ftt_worker *w, uint8_t from, const uint8_t *bytes, uint32_t len, uint64_t now_ns)
{
	struct ftt_record head;
	struct ftt_renewal *r;
	struct ftt_piece x;
	struct ftt_tcp *c;
	size_t at = ftt_record_get(bytes, len, &head);

	if (!at || head.type != FTT_REC_RENEW)
		return FTT_LANE_BAD;
	c = w->mode == FTT_MODE_BACKUP ? ftt_flows_find(w, &head.key, now_ns) : NULL;
	r = c && ftt_flow_name(&c->flow) == head.irs && !is_late(w, c, &head) ? ftt_renewal(c) : NULL;
	if (r && ftt_spill_behind(w, from))
		return FTT_LANE_NOT_NOW;
	for (uint32_t n; at < len; at += n) {
		n = ftt_piece_get(bytes + at, (uint32_t)(len - at), &x);
		if (!n)
			return FTT_LANE_BAD;
		if (r && ftt_cold(w) && ftt_filed(w, c))
			ftt_filed_piece(w, c, &x);
		if (r && !c->unrenewable)
			ftt_log_append(w, c, &x);
	}
	if (!r)
		return FTT_LANE_TAKEN;
	if (c->unrenewable && c->flow.protection == FTT_CATCHING_UP) { /* our bounds are smaller */
		refuse(w, c);
		return FTT_LANE_TAKEN;
	}
	r->whole |= (head.flags & FTT_REC_FINAL) != 0;
	r->heard_ns = now_ns;
	r->found = true;
	ftt_renew_play(w, c, now_ns);
	return FTT_LANE_TAKEN;
}

/* Not carried on. Its client is known to the worker whose stack has it: it is reset if this node has to take over. */
static void part(struct ftt_worker *w, struct ftt_tcp *c)
{
	if (c->flow.bits & FTT_F_SYNACK)
		ftt_tcp_let_go(w, c);
	else
		ftt_tcp_forget(w, c, false);
}

/* The primary has given up. A flow that is protected it lets go of by records alone. */
static enum ftt_lane_answer drop(struct ftt_worker *w, const uint8_t *bytes, uint32_t len, uint64_t now_ns)
{
	struct ftt_record r;
	struct ftt_tcp *c;

	if (ftt_record_get(bytes, len, &r) != len || r.type != FTT_REC_DETACH)
		return FTT_LANE_BAD;
	if (w->mode == FTT_MODE_BACKUP && r.key.proto == 17) {
		ftt_udp_renew_drop(w, &r);
		return FTT_LANE_TAKEN;
	}
	c = w->mode == FTT_MODE_BACKUP ? ftt_flows_find(w, &r.key, now_ns) : NULL;
	if (!c || ftt_flow_name(&c->flow) != r.irs || c->flow.protection != FTT_CATCHING_UP || is_late(w, c, &r))
		return FTT_LANE_TAKEN;
	part(w, c);
	return FTT_LANE_TAKEN;
}

/* Without the rest of the logs of that worker's flows: those that are protected have what their clients were told of, the others go. */
static void cut_off(struct ftt_worker *w, uint8_t worker)
{
	struct ftt_list *next;

	for (struct ftt_list *at = w->renew_active.next; at != &w->renew_active; at = next) {
		struct ftt_renewal *r = FTT_ENTRY(at, struct ftt_renewal, order);

		next = at->next;
		if (r->word || r->past || r->c->peer_worker != worker) /* what begins anew with our own server, or belongs to a history, goes on */
			continue;
		if (r->c->flow.protection == FTT_PROTECTED)
			r->whole = true;
		else
			part(w, r->c);
	}
}

/* --- the lane's user ------------------------------------------------------------------------------ */

static enum ftt_lane_answer message(void *of, uint8_t from, uint8_t kind, const uint8_t *bytes, uint32_t len)
{
	uint64_t now_ns = ftt_now_ns();

	if (kind == FTT_LANE_STORED || kind == FTT_LANE_STORED_TO)
		return ftt_stored_message(of, kind, bytes, len);
	if (ftt_lane_of_calls(kind))
		return ftt_calls_message(of, kind, bytes, len, now_ns);
	if (((struct ftt_worker *)of)->promoting) /* of one that does not serve any more */
		return FTT_LANE_TAKEN;
	switch (kind) {
	case FTT_LANE_BEGIN:
	case FTT_LANE_OUTWARD:
		return ftt_renew_begin_message(of, from, kind, bytes, len, now_ns);
	case FTT_LANE_LOG:
		return log_of(of, from, bytes, len, now_ns);
	case FTT_LANE_DROP:
		return drop(of, bytes, len, now_ns);
	case FTT_LANE_SESSION:
		return ftt_udp_renew_message(of, from, bytes, len, now_ns);
	case FTT_LANE_HISTORY:
	case FTT_LANE_ALIGN:
	case FTT_LANE_MARK:
		return ftt_history_play_message(of, from, kind, bytes, len, now_ns);
	default:
		return ftt_history_send_message(of, kind, bytes, len, now_ns);
	}
}

static void room(void *of, uint8_t to)
{
	(void)to;
	ftt_calls_look(of, ftt_now_ns());
	ftt_renew_pump(of, ftt_now_ns());
	ftt_stored_pump(of);
}

static void changed(void *of, uint8_t worker, bool up)
{
	struct ftt_worker *w = of;

	if (!up && !worker) /* all UDP is the first worker's */
		ftt_udp_renew_cut(w);
	if (!worker) {
		ftt_stored_lane(w, up);
		ftt_calls_lane(w, up, ftt_now_ns());
	}
	if (ftt_calls_delays(w) || (up && ftt_calls_on(w) && w->mode == FTT_MODE_BACKUP)) /* it is begun there */
		return;
	if (w->history && w->mode == FTT_MODE_PAIRED)
		ftt_history_send_lane(w, up, ftt_now_ns());
	else if (w->history && w->mode == FTT_MODE_BACKUP && (up || ftt_history_waits(w)))
		ftt_history_play_lane(w, up, ftt_now_ns());
	else if (!up && w->mode == FTT_MODE_BACKUP)
		cut_off(w, worker);
	else if (!up)
		begin_again(w, worker);
	else if (w->mode == FTT_MODE_PAIRED && all_up(w)) {
		ftt_again_anew(&w->renew_again);
		find_flows(w, false, ftt_now_ns());
	}
}

struct ftt_lane_user ftt_renew_lane_user(struct ftt_worker *w)
{
	return (struct ftt_lane_user){.of = w, .message = message, .room = room, .changed = changed};
}
