/* SPDX-License-Identifier: Apache-2.0 */
/* act.c - what decisions about TCP flows ask for: records for the other node, segments of our own, the end. */
#define _GNU_SOURCE
#include <stdlib.h>
#include <string.h>
#include "engine/flows/act.h"
#include "engine/flows/cold.h"
#include "engine/flows/compare.h"
#include "engine/flows/frame.h"
#include "engine/flows/history.h"
#include "engine/flows/hold.h"
#include "engine/flows/kept.h"
#include "engine/flows/lockstep.h"
#include "engine/flows/opening.h"
#include "engine/flows/filed.h"
#include "engine/flows/renewal.h"
#include "engine/flows/retain.h"
#include "core/tcp/renew.h"
#include "core/tcp/reset.h"
#include "core/tcp/say.h"

static void send_record(struct ftt_worker *w, struct ftt_tcp *c, uint8_t type)
{
	struct ftt_record r = {.type = type, .key = c->key, .irs = ftt_flow_name(&c->flow), .attempt = c->attempt};

	ftt_flow_tell(&c->flow, &r);
	w->n.order_waits += type == FTT_REC_PROBE && r.flags;
	if (type == FTT_REC_OPENED && ftt_cold(w))
		ftt_kept_tell(w, c->peer_worker, &r);
	else
		ftt_channel_put_record(&w->channel, c->peer_worker, &r, &w->n);
}

/* OPEN goes to every worker of the peer: which of them its kernel gave the flow to, it alone knows. */
static void send_open(struct ftt_worker *w, struct ftt_tcp *c, uint64_t now_ns)
{
	struct ftt_record r = {.type = FTT_REC_OPEN, .key = c->key, .irs = ftt_flow_name(&c->flow)};
	struct ftt_env env = ftt_worker_env(w, now_ns);

	if (c->flow.opener == FTT_OPENED_LOCAL && !ftt_opening_turn(w, c))
		return;
	ftt_open_tell(&c->flow, &r, &env);
	ftt_lockstep_tell(w, c, &r);
	r.data = c->syn;
	r.data_len = c->syn_len;
	for (uint8_t k = 0; k < w->e->cfg.workers; k++)
		ftt_channel_put_record(&w->channel, k, &r, &w->n);
	w->n.opens_sent++;
}

void ftt_tcp_tell_renewal(struct ftt_worker *w, struct ftt_tcp *c, uint8_t flags)
{
	const struct ftt_flow *f = &c->flow;
	bool asked = f->protection == FTT_OPENING;
	struct ftt_record r = {.type = FTT_REC_RENEW, .key = c->key, .irs = ftt_flow_name(f), .attempt = c->attempt, .flags = flags,
			      .client_acked = f->client_acked, .client_wnd = f->client_wnd, .rcv_nxt = f->told_ack, .snd_nxt = seq_max(f->sent, f->local_snd_nxt),
			      .tsval = f->client_tsval, .point = asked ? f->told : c->digest.next,
			      .crc = asked ? c->told_crc : c->digest.crc};

	r.place = ftt_output_place(f, c->bytes_out, ftt_output_offset(f, f->client_acked));
	if (asked) { /* what is held has not been said to anybody */
		r.snd_nxt = f->sent;
		r.flags |= FTT_REC_FINAL | (f->bits & FTT_F_SUMS ? FTT_REC_SUM : 0);
	}
	if (c->digest.broken)
		r.flags &= (uint8_t)~FTT_REC_SUM;
	ftt_channel_put_record(&w->channel, c->peer_worker, &r, &w->n);
}

static void send_detach(struct ftt_worker *w, struct ftt_tcp *c)
{
	struct ftt_record r = {.type = FTT_REC_DETACH, .key = c->key, .irs = ftt_flow_name(&c->flow), .attempt = c->attempt};

	if (c->flow.tries <= 1) /* the first one: answers to an earlier one, of another backup's, do not count */
		c->let_go = 0;
	for (uint8_t k = 0; k < w->e->cfg.workers; k++)
		ftt_channel_put_record(&w->channel, k, &r, &w->n);
}

/* Acknowledgements are cumulative: of several that one batch of packets asks for, the last says all. */
void ftt_tcp_send_injected(struct ftt_worker *w)
{
	for (uint32_t i = 0; i < w->n_to_inject; i++) {
		struct ftt_tcp *c = w->to_inject[i];
		struct ftt_bare b;
		uint32_t ack;

		if (!c)
			continue; /* forgotten */
		c->to_inject = false;
		ack = ftt_flow_delivers(&c->flow, (uint8_t)w->mode);
		ftt_bare_for_stack(&c->flow, &c->key, ack, &b);
		b.wnd = ftt_retained_wnd(&c->retained, &c->flow, b.wnd);
		ftt_worker_say(w, &b, false);
		w->n.injected++;
	}
	w->n_to_inject = 0;
}

static void inject(struct ftt_worker *w, struct ftt_tcp *c)
{
	if (c->to_inject)
		return;
	if (w->n_to_inject == FTT_TO_INJECT)
		ftt_tcp_send_injected(w);
	c->to_inject = true;
	w->to_inject[w->n_to_inject++] = c;
}

/* A word of our own leaves, in `copies`, if `why` is none to wait. */
static bool leaves(struct ftt_worker *w, struct ftt_bare *b, enum ftt_wait why, unsigned copies)
{
	w->n.drop_lease += why == FTT_WAIT_LEASE;
	if (why)
		return false;
	for (unsigned i = 0; i < copies; i++)
		ftt_worker_say(w, b, true);
	return true;
}

static bool say(struct ftt_worker *w, struct ftt_tcp *c, enum ftt_say what, uint64_t now_ns)
{
	struct ftt_env env = ftt_worker_env_out(w, now_ns);
	struct ftt_bare b;
	/* three duplicates are what a client without SACK goes by (RFC 5681 3.2) */
	unsigned copies = what == FTT_SAY_NUDGE && !(c->flow.bits & FTT_F_SACK) ? 3 : 1;

	return leaves(w, &b, ftt_flow_says(&c->flow, &c->key, what, &env, &b), copies);
}

static void act_words(struct ftt_worker *w, struct ftt_tcp *c, uint32_t actions, uint64_t now_ns)
{
	if (actions & FTT_ACT_ACK_CLIENT)
		w->n.emitted += say(w, c, FTT_SAY_ACK, now_ns);
	if (actions & FTT_ACT_ASK_CLIENT)
		w->n.emitted += say(w, c, FTT_SAY_ASK, now_ns);
	if (actions & FTT_ACT_NUDGE)
		w->n.nudges += say(w, c, FTT_SAY_NUDGE, now_ns);
	if (actions & FTT_ACT_FIN)
		w->n.emitted += say(w, c, FTT_SAY_FIN, now_ns);
}

/* The client of a flow that is over, which is RESETTING: asked where it stands. */
static void ask_place(struct ftt_worker *w, struct ftt_tcp *c, uint64_t now_ns)
{
	bool said = say(w, c, FTT_SAY_PLACE, now_ns);

	w->n.emitted += said;
	w->n.resets_asked += said;
}

/* ... and reset there, by what it said. */
static void reset_place(struct ftt_worker *w, struct ftt_tcp *c, const struct ftt_seg *s, uint64_t now_ns)
{
	struct ftt_env env = ftt_worker_env_out(w, now_ns);
	struct ftt_bare b;
	bool said;

	ftt_bare_reset_client(&c->flow, &c->key, s->ack, &b);
	said = leaves(w, &b, ftt_say_waits(&c->flow, &env), 1);
	w->n.emitted += said;
	w->n.resets_sent += said;
}

void ftt_tcp_post_event(struct ftt_worker *w, const struct ftt_tcp *c, uint32_t kind)
{
	struct ftt_event ev = {.kind = kind, .key = c->key, .reason = c->flow.reason};

	ftt_event_post(w->e, &ev);
}

static void act_records(struct ftt_worker *w, struct ftt_tcp *c, uint32_t actions, uint64_t now_ns)
{
	if (actions & FTT_ACT_OPEN && ftt_renewal(c))
		ftt_tcp_tell_renewal(w, c, 0);
	else if (actions & FTT_ACT_OPEN)
		send_open(w, c, now_ns);
	if (actions & FTT_ACT_OPENED)
		send_record(w, c, FTT_REC_OPENED);
	if (actions & FTT_ACT_REFUSED)
		send_record(w, c, FTT_REC_REFUSED);
	if (actions & FTT_ACT_PROBE) {
		ftt_compare_tell(w, c);
		send_record(w, c, FTT_REC_PROBE);
		w->n.probes_sent++;
	}
	if (actions & FTT_ACT_DETACH)
		send_detach(w, c);
	if (actions & FTT_ACT_ABORT && c->flow.protection == FTT_PROTECTED)
		send_record(w, c, FTT_REC_CLOSE);
	if (actions & FTT_ACT_COMMIT)
		ftt_table_commit_by(&w->table, c, now_ns);
	else if (actions & FTT_ACT_COMMIT_LATER)
		ftt_table_commit_by(&w->table, c, w->table.dirty ? w->table.commit_by_ns : now_ns + FTT_COMMIT_LATER_NS);
}

void ftt_tcp_act(struct ftt_worker *w, struct ftt_tcp *c, uint32_t actions, uint64_t now_ns)
{
	struct ftt_tcp *next;

	if (w->mode == FTT_MODE_PAIRED && ftt_peer_contradicts(&c->flow)) {
		struct ftt_env env = ftt_worker_look(w, now_ns);

		actions |= ftt_flow_part(&c->flow, &env);
	}
	if (!c->filed && c->flow.bits & FTT_F_MAPPED && !c->closed)
		ftt_filed_begin(w, c);
	act_records(w, c, actions, now_ns);
	if (actions & FTT_ACT_INJECT && !ftt_cold(w))
		inject(w, c);
	act_words(w, c, actions, now_ns);
	if (actions & FTT_ACT_DETACH && c->flow.reason == FTT_WHY_DIVERGENCE && c->flow.tries == 1)
		ftt_compare_shifted(w, c);
	if (actions & FTT_ACT_DETACHED) {
		w->n.flows_detached++;
		ftt_tcp_post_event(w, c, FTT_EV_FLOW_DETACHED);
	}
	if (actions & FTT_ACT_REPORT)
		ftt_tcp_post_event(w, c, FTT_EV_UNSUPPORTED);
	if (actions & FTT_ACT_LET_GO)
		ftt_tcp_let_go(w, c);
	if (actions & FTT_ACT_ASK_PLACE)
		ask_place(w, c, now_ns);
	w->n.resets_unanswered += !!(actions & FTT_ACT_UNREACHED);
	ftt_history_enter(w, c, false);
	if (actions & FTT_ACT_CLOSED && !c->closed) {
		c->closed = true;
		ftt_filed_over(w, c, true);
		w->n.flows_closed++;
		ftt_history_over(w, c, ftt_frame_how(&c->flow));
		ftt_log_end(w, c, FTT_LOG_GAP);
		if (ftt_flow_rests(&c->flow))
			ftt_lockstep_end(w, c);
	}
	ftt_table_set_waiting(&w->table, c, ftt_table_waits(c));
	ftt_table_update(&w->table, c, w->mode);
	if (actions & FTT_ACT_RELEASE)
		ftt_tcp_act(w, c, ftt_tcp_release(w, c, now_ns), now_ns);
	if ((next = ftt_opening_answered(w, c)))
		ftt_tcp_act(w, next, FTT_ACT_OPEN, now_ns);
	if (c->points && w->mode != FTT_MODE_BACKUP && c->flow.protection != FTT_PROTECTED && !(c->flow.bits & FTT_F_UNVERIFIED))
		ftt_compare_forget(c);
	if (c->syn && !ftt_flow_needs_syn(&c->flow, c->closed, (uint8_t)w->mode)) {
		free(c->syn);
		c->syn = NULL;
		c->syn_len = 0;
	}
}

bool ftt_tcp_keep_syn(struct ftt_tcp *c, const uint8_t *bytes, size_t len)
{
	if (len > FTT_SYN_MAX || (!c->syn && !(c->syn = malloc(FTT_SYN_MAX))))
		return false;
	memcpy(c->syn, bytes, len);
	c->syn_len = (uint8_t)len;
	return true;
}

void ftt_tcp_syn_again(struct ftt_worker *w, const struct ftt_tcp *c)
{
	if (!c->syn || c->closed || c->flow.bits & FTT_F_ESTABLISHED)
		return;
	ftt_worker_give_first(w, c->syn, c->syn_len);
}

static void send_commit(struct ftt_worker *w, struct ftt_tcp *c)
{
	struct ftt_record r = {.type = FTT_REC_COMMIT, .key = c->key, .irs = ftt_flow_name(&c->flow), .attempt = c->attempt,
			      .differences = c->divergences};

	if (w->promoting) /* the one that it would tell is gone */
		return;
	if (ftt_commit_awaited(&c->flow) && c->flow.protection != FTT_CATCHING_UP && !ftt_cold(w))
		ftt_compare_offer(c, &r);
	ftt_commit_tell(&c->flow, &r);
	r.flags |= ftt_renewal(c) && ftt_renewal(c)->same ? FTT_REC_SAME : 0;
	if (ftt_cold(w))
		ftt_kept_tell(w, c->peer_worker, &r);
	else
		ftt_channel_put_record(&w->channel, c->peer_worker, &r, &w->n);
	w->n.commits_sent++;
}

void ftt_tcp_send_commits(struct ftt_worker *w)
{
	while (w->table.dirty) {
		struct ftt_tcp *c = w->table.dirty;

		w->table.dirty = c->dirty_next;
		c->dirty = false;
		if (w->mode == FTT_MODE_BACKUP && !(ftt_renewal(c) && ftt_renewal(c)->past)) /* else nobody asks */
			send_commit(w, c);
		else if (w->mode == FTT_MODE_PAIRED && c->flow.protection == FTT_PROTECTED)
			ftt_compare_tell(w, c);
	}
}

void ftt_tcp_discard(struct ftt_worker *w, struct ftt_tcp *c, const struct ftt_seg *s)
{
	struct ftt_record r = {.type = FTT_REC_DISCARD, .key = c->key, .irs = ftt_flow_name(&c->flow), .quiet = true, .seq = s->seq, .ack = s->ack,
			      .tsval = s->options & FTT_OPT_TS ? s->tsval : 0};

	ftt_channel_put_record(&w->channel, c->peer_worker, &r, &w->n);
}

/* All that a worker has for the flow, but for its place in the table. `reset`: our stack is to lose it, too. */
static void release(struct ftt_worker *w, struct ftt_tcp *c, bool reset)
{
	ftt_lockstep_end(w, c);
	ftt_history_over(w, c, reset ? FTT_HISTORY_CLIENT_RST : FTT_HISTORY_FORGOTTEN);
	ftt_filed_over(w, c, false);
	ftt_renewal_forget(w, c);
	ftt_tcp_drop_held(w, c);
	ftt_retain_drop(w, c);
	ftt_compare_forget(c);
	if (reset && !c->closed && c->flow.bits & FTT_F_SYNACK) {
		struct ftt_bare b;

		ftt_bare_end(&c->flow, &c->key, &b);
		ftt_worker_say(w, &b, false);
	}
	ftt_table_part(&w->table, c); /* what our stack has under that port from here on is another one */
	ftt_opening_leave(w, c);
	free(c->syn);
	c->syn = NULL;
	c->syn_len = 0;
	for (uint32_t i = 0; c->to_inject && i < w->n_to_inject; i++)
		if (w->to_inject[i] == c)
			w->to_inject[i] = NULL;
	c->to_inject = false;
}

void ftt_tcp_forget(struct ftt_worker *w, struct ftt_tcp *c, bool reset)
{
	release(w, c, reset);
	ftt_table_remove(&w->table, c);
}

bool ftt_tcp_give_up(struct ftt_worker *w, struct ftt_tcp *c, uint64_t now_ns)
{
	struct ftt_env env = ftt_worker_env(w, now_ns);
	bool before = ftt_age_is_memory((enum ftt_age)c->age);

	if (!ftt_flow_waited_for(&c->flow, c->closed) || c->key.space != FTT_SPACE_SERVICE) {
		ftt_tcp_forget(w, c, true);
		return false;
	}
	w->n.flows_remembered += !before;
	release(w, c, true);
	ftt_flow_remember(&c->flow, before, &env);
	c->closed = false;
	ftt_table_forget_dirty(&w->table, c);
	ftt_table_set_waiting(&w->table, c, ftt_table_waits(c));
	ftt_table_update(&w->table, c, w->mode);
	return true;
}

/* --- flows that are over ---------------------------------------------------------------------------- */

static void end_in_stack(struct ftt_worker *w, struct ftt_tcp *c)
{
	struct ftt_bare b;

	ftt_history_over(w, c, FTT_HISTORY_CLIENT_RST); /* for our server that is what it looks like */
	ftt_renewal_forget(w, c);
	ftt_tcp_drop_held(w, c);
	ftt_retain_drop(w, c);
	if (c->closed || c->flow.protection == FTT_DETACHED || !(c->flow.bits & FTT_F_SYNACK))
		return;
	ftt_bare_end(&c->flow, &c->key, &b);
	ftt_worker_say(w, &b, false);
	ftt_table_part(&w->table, c); /* what our stack has under that port from here on is another one */
}

void ftt_tcp_let_go(struct ftt_worker *w, struct ftt_tcp *c)
{
	end_in_stack(w, c);
	ftt_flow_let_go(&c->flow);
	ftt_table_set_waiting(&w->table, c, ftt_table_waits(c));
	ftt_table_update(&w->table, c, w->mode);
	w->n.flows_detached++;
}

/*
 * Records come before packets: the last ones of a connection that was reset may be under way on the mirror.
 * Of a forgotten flow they would be a stranger's.
 */
void ftt_tcp_aborted(struct ftt_worker *w, struct ftt_tcp *c, const struct ftt_record *r, uint64_t now_ns)
{
	end_in_stack(w, c);
	ftt_tcp_act(w, c, ftt_backup_close(&c->flow, r), now_ns);
}

void ftt_tcp_reset_client(struct ftt_worker *w, struct ftt_tcp *c, uint64_t now_ns)
{
	struct ftt_env env = ftt_worker_env(w, now_ns);

	if (c->flow.protection == FTT_RESETTING)
		return;
	end_in_stack(w, c);
	if (ftt_flow_cut(&c->flow)) /* closed by our server alone: its client is not done with it */
		c->closed = false;
	ftt_tcp_act(w, c, ftt_reset_begin(&c->flow, &env), now_ns);
}

bool ftt_tcp_over_from_client(struct ftt_worker *w, struct ftt_tcp *c, const struct ftt_seg *s, uint64_t now_ns)
{
	struct ftt_env env = ftt_worker_env(w, now_ns);
	uint32_t actions;

	if (c->flow.protection == FTT_DETACHED) {
		if (!ftt_detached_step(&c->flow, s, &env))
			return false;
		ftt_table_update(&w->table, c, w->mode);
		return true;
	}
	if ((s->flags & (TCP_SYN | TCP_ACK)) == TCP_SYN)
		return false;
	actions = ftt_reset_step(&c->flow, s, &env);
	if (actions & FTT_ACT_RST_CLIENT)
		reset_place(w, c, s, now_ns);
	ftt_tcp_act(w, c, actions, now_ns);
	return true;
}
