/* SPDX-License-Identifier: Apache-2.0 */
/* renew.c - flows that a new backup catches up with: records, time, and the client that the backup's engine stands for. */
#define _GNU_SOURCE
#include "engine/flows/act.h"
#include "engine/flows/cold.h"
#include "engine/flows/compare.h"
#include "engine/flows/history.h"
#include "engine/flows/lockstep.h"
#include "engine/flows/opens.h"
#include "engine/flows/filed.h"
#include "engine/flows/renew.h"
#include "engine/flows/retain.h"
#include "engine/flows/spill.h"
#include "engine/flows/udp_renew.h"

#define SEGMENT 8192u           /* bytes that our stack is given at once; they do not come over a network */

/* --- primary ------------------------------------------------------------------------------------ */

/* Nothing waits for it any more, if anything did. */
static uint32_t unasked(struct ftt_tcp *c, const struct ftt_renewal *r)
{
	bool asked = r->stage == FTT_RENEW_ASKED && c->flow.protection == FTT_OPENING;

	return asked ? ftt_renew_unasked(&c->flow, r->opened_ns) : 0;
}

/* Behind all that was said of the flow on the lane: the backup lets go of it. Without room there it does so when it hears no more. */
static void drop(struct ftt_worker *w, const struct ftt_tcp *c, bool everywhere)
{
	struct ftt_record r = {.type = FTT_REC_DETACH, .key = c->key, .irs = ftt_flow_name(&c->flow), .attempt = c->attempt};
	uint8_t bytes[64];
	uint32_t len = (uint32_t)ftt_record_put(bytes, sizeof(bytes), &r);

	for (uint8_t k = 0; k < w->e->cfg.workers; k++)
		if (everywhere || k == c->peer_worker)
			ftt_lane_send(&w->lane, k, FTT_LANE_DROP, bytes, len);
}

void ftt_renew_give_up(struct ftt_worker *w, struct ftt_tcp *c, enum ftt_unrenewable why, uint64_t now_ns)
{
	struct ftt_renewal *r = ftt_renewal(c);
	uint32_t actions = unasked(c, r);
	bool played = w->history && (why == FTT_RENEWABLE || ftt_history_behind(w)); /* to its end, as all that is in a history */

	if (r->stage != FTT_RENEW_WAITS && r->stage != FTT_RENEW_HELD && !played) {
		actions |= FTT_ACT_DETACH; /* it may overtake what waits on the lane */
		drop(w, c, r->stage == FTT_RENEW_BEGUN);
	}
	if (r->stage != FTT_RENEW_HELD)
		ftt_renew_cancel(&c->flow);
	ftt_renewal_failed(w, why, now_ns);
	if (why)
		c->unrenewable = (uint8_t)why;
	ftt_renewal_end(w, c);
	ftt_tcp_act(w, c, actions, now_ns);
}

static uint64_t client_place(const struct ftt_tcp *c)
{
	return ftt_output_place(&c->flow, c->bytes_out, ftt_output_offset(&c->flow, c->flow.client_acked));
}

/* How far it is, as the core wants to know it. */
static struct ftt_catching catching(const struct ftt_worker *w, const struct ftt_tcp *c, const struct ftt_renewal *r)
{
	return (struct ftt_catching){
		.stage = (enum ftt_renewal_stage)r->stage, .closed = c->closed, .unrenewable = c->unrenewable, .told = r->sent == c->log->len,
		.behind = ftt_history_behind(w), .crowded = ftt_renewals_full(w) && w->n_renewing[FTT_RENEW_WAITS], .same = r->same,
		.said = c->bytes_out, .peer_said = r->said, .client = client_place(c), .word = r->acked, .differs_ns = r->heard_ns,
		.moved_ns = r->moved_ns, .next_ns = r->next_ns, .tries = r->tries,
	};
}

static void tell(struct ftt_worker *w, struct ftt_tcp *c, struct ftt_renewal *r, uint64_t now_ns)
{
	struct ftt_catching x = catching(w, c, r);

	r->next_ns = ftt_catching_ask_ns(r->tries, now_ns);
	r->tries += r->tries < FTT_CATCH_ASKS;
	r->acked = x.client;
	ftt_tcp_tell_renewal(w, c, w->e->cfg.policy.compare && ftt_catching_near(&c->flow, &x) ? FTT_REC_SUM : 0);
}

static void ask(struct ftt_worker *w, struct ftt_tcp *c, struct ftt_renewal *r, uint64_t now_ns)
{
	uint32_t actions;

	c->told_crc = c->digest.crc;
	r->opened_ns = c->flow.opened_ns;
	actions = ftt_renew_hold(&c->flow, w->e->cfg.policy.compare, ftt_output_end(&c->flow), r->verified, now_ns);
	ftt_renewal_stage(w, r, FTT_RENEW_ASKED);
	ftt_tcp_act(w, c, actions, now_ns);
}

/* What the core has decided about it. */
static void next(struct ftt_worker *w, struct ftt_tcp *c, enum ftt_catching_next what, enum ftt_unrenewable why, uint64_t now_ns)
{
	if (what == FTT_CATCH_GIVE_UP) {
		ftt_renew_give_up(w, c, why, now_ns);
	} else if (what == FTT_CATCH_LOST) {
		ftt_renewal_failed(w, why, now_ns);
		c->unrenewable = (uint8_t)why;
		ftt_renewal_end(w, c);
	} else if (what == FTT_CATCH_ASK) {
		ask(w, c, ftt_renewal(c), now_ns);
	} else if (what == FTT_CATCH_TELL) {
		tell(w, c, ftt_renewal(c), now_ns);
	}
}

/* The backup's worker that has the flow: the others let go of it. */
static void found(struct ftt_worker *w, struct ftt_tcp *c, struct ftt_renewal *r, uint8_t from)
{
	c->peer_worker = from;
	ftt_renewal_stage(w, r, FTT_RENEW_CATCHING);
	for (uint8_t k = 0; k < w->e->cfg.workers; k++) {
		struct ftt_record detach = {.type = FTT_REC_DETACH, .key = c->key, .irs = ftt_flow_name(&c->flow), .attempt = c->attempt};

		if (k != from)
			ftt_channel_put_record(&w->channel, k, &detach, &w->n);
	}
}

static void commit(struct ftt_worker *w, struct ftt_tcp *c, struct ftt_renewal *r, const struct ftt_record *rec, uint64_t now_ns)
{
	struct ftt_env env = ftt_worker_env(w, now_ns);
	uint32_t had = c->flow.committed, more = ftt_renew_commit(&c->flow, rec);
	bool moved = more || c->flow.committed != had;
	struct ftt_catching x;

	r->said += more;
	r->verified = rec->verified;
	r->same |= rec->flags & FTT_REC_SAME || c->flow.bits & FTT_F_COLD; /* that one has no server which could differ */
	if (!(rec->flags & FTT_REC_DIFFERS))
		r->heard_ns = 0;
	else if (!r->heard_ns)
		r->heard_ns = now_ns;
	if (moved) {
		w->n.renewal_steps++;
		r->moved_ns = now_ns;
		r->tries = 0;
	}
	c->divergences = rec->differences;
	x = catching(w, c, r);
	next(w, c, ftt_catching_heard(&c->flow, &c->retained, &x, moved, rec->differences, &env), FTT_NOT_REPEATED, now_ns);
}

static void opened(struct ftt_worker *w, struct ftt_tcp *c, struct ftt_renewal *r, const struct ftt_record *rec, uint64_t now_ns)
{
	struct ftt_env env = ftt_worker_env(w, now_ns);

	w->n.renewed++;
	ftt_renewal_stage(w, r, FTT_RENEW_HELD);
	ftt_tcp_act(w, c, ftt_renew_opened(&c->flow, rec, r->opened_ns, &env), now_ns);
	if (c->flow.bits & FTT_F_CLIENT_RST) /* meanwhile: nobody else tells the backup */
		ftt_tcp_act(w, c, FTT_ACT_ABORT, now_ns);
}

bool ftt_renew_told(struct ftt_worker *w, struct ftt_tcp *c, const struct ftt_record *rec, uint8_t from, uint64_t now_ns)
{
	struct ftt_renewal *r = ftt_renewal(c);

	if (!r || r->stage == FTT_RENEW_WAITS || r->stage == FTT_RENEW_HELD) {
		bool lost = rec->type == FTT_REC_COMMIT && c->flow.protection == FTT_UNPROTECTED && !w->history;

		if (lost) /* it was given up, which the backup has not heard */
			ftt_tcp_act(w, c, FTT_ACT_DETACH, now_ns);
		return lost;
	}
	ftt_renewal_stir(w, r);
	if (r->stage == FTT_RENEW_BEGUN && rec->type == FTT_REC_COMMIT)
		found(w, c, r, from);
	if (r->stage != FTT_RENEW_BEGUN && from != c->peer_worker)
		return true;
	if (rec->type == FTT_REC_COMMIT)
		commit(w, c, r, rec, now_ns);
	else if (rec->type == FTT_REC_OPENED && c->flow.protection == FTT_OPENING)
		opened(w, c, r, rec, now_ns);
	else if (rec->type == FTT_REC_REFUSED)
		ftt_renew_give_up(w, c, FTT_STACK_UNLIKE, now_ns);
	else if (rec->type == FTT_REC_DETACHED && r->stage != FTT_RENEW_BEGUN)
		ftt_renew_give_up(w, c, FTT_NOT_IN_TIME, now_ns);
	return true;
}

static void primary_tick(struct ftt_worker *w, struct ftt_tcp *c, struct ftt_renewal *r, uint64_t now_ns)
{
	struct ftt_env env = ftt_worker_env(w, now_ns);
	struct ftt_catching x = catching(w, c, r);
	enum ftt_unrenewable why = FTT_RENEWABLE;
	enum ftt_catching_next what = ftt_catching_tick(&c->flow, &c->retained, &x, &r->pace, &env, &why);

	r->moved_ns = x.moved_ns;
	next(w, c, what, why, now_ns);
}

/* --- backup ------------------------------------------------------------------------------------- */

void ftt_renew_ahead(struct ftt_worker *w, struct ftt_tcp *c)
{
	(void)w;
	ftt_renew_feed(&c->flow, ftt_renewal(c)->acked, c->bytes_out);
}

/* Our server in step is told of the log up to there; false: not yet. */
static bool tell_times(struct ftt_worker *w, struct ftt_tcp *c, struct ftt_renewal *r, uint32_t upto, uint64_t now_ns)
{
	if (ftt_lockstep_keeps_up(w, c))
		r->full_ns = 0;
	else if (!r->full_ns)
		r->full_ns = now_ns;
	return ftt_lockstep_replay(w, c, &r->told, upto, r->full_ns && now_ns - r->full_ns > FTT_RENEW_UNREAD_NS);
}

/* All of the log is here: what comes from now on comes in its order again, once a server in step knows of all before. */
static void be_current(struct ftt_worker *w, struct ftt_tcp *c, struct ftt_renewal *r, uint64_t now_ns)
{
	if (!r->whole || r->current || c->unrenewable)
		return;
	ftt_log_resume(w, c);
	tell_times(w, c, r, UINT32_MAX, now_ns);
	r->current = !c->row || r->told == c->log->len;
	if (!r->current)
		ftt_log_defer(w, c);
}

static void give(struct ftt_worker *w, struct ftt_tcp *c, struct ftt_renewal *r, const struct ftt_piece *x, uint32_t n, bool fin)
{
	/* in step, x->tsval may be no time of the client's */
	struct ftt_seg s = {.seq = r->given, .len = n, .options = c->flow.bits & FTT_F_TS && !c->row ? FTT_OPT_TS : 0, .tsval = x->tsval};
	uint8_t packet[FTT_BARE_MAX + SEGMENT];
	struct ftt_bare b;
	uint32_t ack = ftt_deliverable(&c->flow, (uint8_t)w->mode);
	bool last = n == x->len;

	s.flags = (uint8_t)(TCP_ACK | (fin ? TCP_FIN : 0) | (last && x->flags & FTT_PIECE_PUSH ? TCP_PSH : 0));
	ftt_bare_for_stack(&c->flow, &c->key, ack, &b);
	b.seq = s.seq;
	b.flags = s.flags | TCP_PSH; /* the server is to have it at once */
	if (ftt_filed(w, c)) {
		struct ftt_piece part = *x;

		part.len = (uint16_t)n;
		part.flags &= (uint8_t)(last ? 0xff : 0);
		ftt_filed_piece(w, c, &part);
	}
	ftt_plane_now(w->plane, packet, ftt_worker_build(w, packet, &b, false, x->bytes, n), false);
	c->bytes_in += n;
	r->given += n + fin;
	ftt_renew_given(&c->flow, &s);
	if (fin) /* it is about to end */
		ftt_table_update(&w->table, c, w->mode);
	w->n.renew_bytes += n;
}

void ftt_renew_play(struct ftt_worker *w, struct ftt_tcp *c, uint64_t now_ns)
{
	struct ftt_renewal *r = ftt_renewal(c);
	struct ftt_flow *f = &c->flow;
	struct ftt_piece x;

	if (!r || !(f->bits & FTT_F_MAPPED) || c->closed || f->bits & FTT_F_LOCAL_RST || ftt_opened_unanswered(f))
		return;
	ftt_renewal_stir(w, r);
	if (ftt_cold(w)) {
		ftt_cold_kept(w, c, now_ns);
		return;
	}
	be_current(w, c, r, now_ns);
	r->given = seq_max(r->given, f->local_rcv_nxt); /* more of it comes on the mirror, once the flow is protected */
	while (ftt_log_find(c->log, r->given - (f->hard.irs + 1), &r->reader, &x)) {
		uint32_t room = seq_gt(f->local_edge, r->given) ? f->local_edge - r->given : 0, n = x.len;
		bool fin;

		n = n < room ? n : room;
		n = n < SEGMENT ? n : SEGMENT;
		fin = n == x.len && x.flags & FTT_PIECE_FIN;
		if (x.after > c->bytes_out + !!(f->bits & FTT_F_LOCAL_FIN) || (!n && !fin))
			break; /* our server has not said what this answers; or there is no room */
		if (!tell_times(w, c, r, x.offset + n, now_ns))
			break;
		give(w, c, r, &x, n, fin);
	}
	ftt_spill_fetch(w, c);
	if (seq_leq(r->given, f->local_rcv_nxt))
		r->next_ns = now_ns + FTT_CATCH_AGAIN_NS;
}

/* Compares, and tells. */
static uint32_t judged(struct ftt_worker *w, struct ftt_tcp *c, struct ftt_renewal *r, const struct ftt_record *rec, uint64_t now_ns)
{
	uint32_t actions = 0;

	if (rec && rec->flags & FTT_REC_SUM)
		actions = ftt_compare_renewal(w, c, rec);
	if (ftt_output_even(&c->flow, c->digest.seen, now_ns)) {
		r->same = true;
		actions |= FTT_ACT_COMMIT;
	}
	return actions;
}

void ftt_renew_word_of(struct ftt_worker *w, struct ftt_tcp *c, const struct ftt_record *rec, uint64_t now_ns)
{
	struct ftt_renewal *r = ftt_renewal(c);
	uint32_t actions = FTT_ACT_COMMIT, wnd = c->flow.client_wnd;
	bool moves;

	if (c->flow.protection == FTT_PROTECTED) {
		ftt_tcp_act(w, c, rec->flags & FTT_REC_FINAL ? FTT_ACT_OPENED : 0, now_ns);
		return;
	}
	if (c->flow.protection != FTT_CATCHING_UP || !r)
		return;
	r->heard_ns = now_ns;
	r->found = true;
	moves = rec->place > r->acked || rec->client_wnd != wnd;
	r->acked = rec->place > r->acked ? rec->place : r->acked;
	ftt_renew_word(&c->flow, rec);
	if (ftt_cold(w)) {
		ftt_cold_word_of(c, rec);
	} else {
		ftt_renew_ahead(w, c);
		ftt_compare_acked(w, c);
		/* what is no news puts off the probe of a stack whose window is too small for a segment (RFC 9293 3.8.6.1) */
		actions |= judged(w, c, r, rec, now_ns) | (moves && c->flow.bits & FTT_F_MAPPED ? FTT_ACT_INJECT : 0);
	}
	if (rec->flags & FTT_REC_FINAL && ftt_renew_take(&c->flow, rec)) {
		if (ftt_cold(w))
			ftt_cold_taken(c);
		actions |= FTT_ACT_OPENED;
		w->n.renewed++;
		ftt_renewal_stage(w, r, FTT_RENEW_HELD);
		if (c->row && !r->current)
			ftt_log_defer(w, c);
	}
	ftt_tcp_act(w, c, actions, now_ns);
	ftt_renew_play(w, c, now_ns);
}

static void play_again(struct ftt_worker *w, struct ftt_tcp *c, struct ftt_renewal *r, uint64_t now_ns)
{
	if (seq_gt(r->given, c->flow.local_rcv_nxt)) /* it was lost on the way to our stack */
		r->given = c->flow.local_rcv_nxt;
	r->next_ns = now_ns + FTT_CATCH_AGAIN_NS;
	ftt_renew_play(w, c, now_ns);
	if (c->flow.protection == FTT_CATCHING_UP && !r->found && !r->past) /* our first word was lost: nobody asks for it */
		ftt_tcp_act(w, c, FTT_ACT_COMMIT, now_ns);
}

static void backup_tick(struct ftt_worker *w, struct ftt_tcp *c, struct ftt_renewal *r, uint64_t now_ns)
{
	struct ftt_env env = ftt_worker_env(w, now_ns);
	struct ftt_caught x;
	enum ftt_caught_next what;

	be_current(w, c, r, now_ns);
	x = (struct ftt_caught){.closed = c->closed, .unrenewable = c->unrenewable, .current = r->current, .begins = !w->index,
				.expected = r->over || !(r->past || ftt_history_waits(w)), .end = c->log->end, .heard_ns = r->heard_ns,
				.next_ns = r->next_ns};
	what = ftt_caught_tick(&c->flow, &x, &env);
	if (what == FTT_CAUGHT_END || what == FTT_CAUGHT_LET_GO) {
		ftt_renewal_end(w, c);
		if (what == FTT_CAUGHT_LET_GO)
			ftt_tcp_let_go(w, c);
		return;
	}
	if (what == FTT_CAUGHT_SYN) {
		r->next_ns = now_ns + FTT_CATCH_SYN_NS;
		ftt_worker_give_first(w, c->log->bytes, c->log->syn_len);
	} else if (what == FTT_CAUGHT_AGAIN) {
		play_again(w, c, r, now_ns);
	} else if (what == FTT_CAUGHT_ANSWER) {
		ftt_opens_answer(w, c, now_ns);
	}
	if (c->flow.protection == FTT_CATCHING_UP && c->flow.bits & FTT_F_MAPPED)
		ftt_tcp_act(w, c, judged(w, c, r, NULL, now_ns), now_ns);
}

/* --- both --------------------------------------------------------------------------------------- */

/* Primary: all of them are protected, or will not be. */
static void tell_end(struct ftt_worker *w)
{
	struct ftt_event ev = {.kind = FTT_EV_RENEWED, .value = w->n.renewed - w->renewed_before,
			       .reason = (uint32_t)(w->n.renewals_failed - w->failed_before)};

	for (unsigned stage = 0; stage < FTT_RENEW_HELD; stage++)
		if (w->n_renewing[stage])
			return;
	if (w->udp.n_renewed || (ftt_history_behind(w) && w->history->stage != FTT_HISTORY_FAILED))
		return;
	w->renewing = false;
	ftt_event_post(w->e, &ev);
}

/* Of a history only what is under way needs a look now and then: on a backup what its stack has not acknowledged yet. */
static bool rests(const struct ftt_worker *w, const struct ftt_renewal *r)
{
	const struct ftt_tcp *c = r->c;

	if (w->mode != FTT_MODE_BACKUP) {
		struct ftt_catching x = catching(w, c, r);

		return ftt_catching_rests(&x);
	}
	return !c->closed && !c->unrenewable && (r->past || (r->found && ftt_history_waits(w))) && !r->over && c->flow.bits & FTT_F_MAPPED && seq_leq(r->given, c->flow.local_rcv_nxt);
}

void ftt_renew_tick(struct ftt_worker *w, uint64_t now_ns)
{
	for (struct ftt_list *at = w->renew_active.next, *next; at != &w->renew_active; at = next) {
		struct ftt_renewal *r = FTT_ENTRY(at, struct ftt_renewal, order);

		next = at->next;
		if (rests(w, r))
			ftt_renewal_rest(w, r);
		else
			(w->mode == FTT_MODE_BACKUP ? backup_tick : primary_tick)(w, r->c, r, now_ns);
	}
	ftt_udp_renew_tick(w, now_ns);
	if (w->renewing && w->mode != FTT_MODE_BACKUP)
		tell_end(w);
}

void ftt_renew_role(struct ftt_worker *w)
{
	struct ftt_renewal *r;

	w->renewing = false;
	ftt_renewals_stir(w);
	ftt_udp_renew_role(w);
	while ((r = ftt_renewals_first(w))) {
		struct ftt_tcp *c = r->c;
		bool open = c->flow.protection == FTT_CATCHING_UP || c->flow.protection == FTT_OPENING;

		if (w->mode == FTT_MODE_PAIRED && open) { /* the mode that ends */
			ftt_renew_cancel(&c->flow);
			ftt_table_update(&w->table, c, w->mode);
		}
		ftt_renewal_end(w, c);
	}
}
