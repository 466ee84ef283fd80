/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tcp.c - a worker's TCP: finds the flow of a packet, lets flow.h decide, and carries it out.
 *
 * A packet is passed, dropped, or held (hold.c). Whatever leaves for a client passes the gate (core/gate.h).
 */
#define _GNU_SOURCE
#include <stdlib.h>
#include <string.h>
#include "engine/flows/act.h"
#include "engine/flows/calls.h"
#include "engine/flows/compare.h"
#include "engine/flows/role.h"
#include "engine/flows/hear.h"
#include "engine/flows/history.h"
#include "engine/flows/checkpoint.h"
#include "engine/flows/hold.h"
#include "engine/flows/lockstep.h"
#include "engine/flows/opens.h"
#include "engine/flows/filed.h"
#include "engine/flows/renew.h"
#include "engine/flows/retain.h"
#include "engine/flows/tcp.h"
#include "core/tcp/renew.h"
#include "core/tcp/reset.h"

/* The surroundings of a flow that begins. */
static struct ftt_env env_of_begin(struct ftt_worker *w, uint64_t now_ns)
{
	struct ftt_env env = ftt_worker_env_out(w, now_ns);

	env.behind = ftt_calls_lost(w) ? FTT_WHY_CALLS : ftt_history_behind(w) ? FTT_WHY_HISTORY : ftt_checkpoint_awaited(w) ? FTT_WHY_BEFORE_CHECKPOINT : FTT_WHY_NONE;
	return env;
}

static struct ftt_tcp *begin(struct ftt_worker *w, const struct ftt_key *key, const struct ftt_seg *s, uint64_t now_ns)
{
	struct ftt_env env = env_of_begin(w, now_ns);
	struct ftt_tcp *c = ftt_flows_begin(w, key, s->seq, now_ns);

	if (!c)
		return NULL;
	if (ftt_flow_emits((uint8_t)w->mode))
		ftt_lockstep_begin(w, c, s->tsval);
	if (ftt_flow_begin(&c->flow, s, &env) & FTT_ACT_REPORT)
		ftt_tcp_post_event(w, c, FTT_EV_UNSUPPORTED);
	return c;
}

/*
 * Keeps a SYN as our stack is to see it: a primary for its backup, whose own copy of it may be lost on the mirror, a backup
 * for a takeover, see ftt_tcp_syn_again().
 */
static void keep_syn(struct ftt_worker *w, struct ftt_tcp *c, const struct ftt_packet *p, const struct ftt_pkt *k,
		     const struct ftt_edit *e)
{
	bool logs = w->e->cfg.policy.renew && (c->flow.bits & FTT_F_SYN_AGAIN || !c->log);

	if ((w->mode == FTT_MODE_SOLO && !logs) || p->cap < p->len || !ftt_tcp_keep_syn(c, p->bytes, p->len))
		return;
	ftt_worker_edit(w, c->syn, k, true, e, p->csum_ready); /* it will need a real checksum */
	if (logs && !(c->flow.bits & FTT_F_SYN_AGAIN))
		ftt_log_begin(w, c, c->syn, c->syn_len);
}

/* What a connection that our server opens begins with, for a new backup: the remote end's answer, as that has said it. */
static void keep_answer(struct ftt_worker *w, struct ftt_tcp *c, const struct ftt_packet *p, const struct ftt_pkt *k)
{
	const struct ftt_edit nothing = {0};
	uint8_t answer[FTT_SYN_MAX];

	if (!ftt_opens_to(w, c->key.remote_port) || p->len > sizeof(answer) || p->cap < p->len)
		return;
	memcpy(answer, p->bytes, p->len);
	ftt_worker_edit(w, answer, k, true, &nothing, p->csum_ready); /* it will need a real checksum */
	ftt_log_begin(w, c, answer, p->len);
}

/* What belonged to the connection that had this key before. */
static void forget_past(struct ftt_worker *w, struct ftt_tcp *c)
{
	ftt_history_over(w, c, FTT_HISTORY_FORGOTTEN);
	c->in_history = false;
	ftt_filed_over(w, c, false);
	c->filed = 0;
	ftt_renewal_forget(w, c);
	ftt_tcp_drop_held(w, c);
	ftt_compare_forget(c);
	ftt_retain_drop(w, c);
	ftt_digest_begin(&c->digest);
	c->offer = (struct ftt_point){0};
	c->told_crc = 0;
	c->closed = false;
	c->let_go = 0;
	c->bytes_in = c->bytes_out = 0;
	c->divergences = 0;
	c->difference_told = false;
}

/* The stack took a new connection under an old key. */
static void begin_again(struct ftt_worker *w, struct ftt_tcp *c)
{
	if (ftt_flow_emits((uint8_t)w->mode))
		ftt_lockstep_begin(w, c, c->flow.client_tsval);
	else
		ftt_lockstep_end(w, c);
	forget_past(w, c);
	ftt_log_begin(w, c, c->syn, c->syn_len);
	w->n.flows_opened++;
}

/*
 * Nobody below us has looked at the checksum. It takes the whole packet: of one whose headers alone were copied another
 * copy is asked for, of the next ones whole ones at once. False when there is nothing to go on with.
 */
static bool verified(struct ftt_worker *w, struct ftt_packet *p, const struct ftt_pkt *k)
{
	if (p->cap == p->len && ftt_l4_sum(p->bytes, k) == 0xffff)
		return true;
	w->sum_unknown |= p->cap < p->len;
	if (p->cap < p->len && p->cap <= FTT_PLANE_HEADERS) {
		ftt_plane_again(w->plane, p->queue, p->id);
	} else if (w->mode == FTT_MODE_BACKUP) {
		ftt_tcp_drop(w, p, &w->n.drop_malformed);
	} else { /* if it is wrong the stack will drop it; nothing may be learnt from it */
		w->n.pass_malformed++;
		ftt_tcp_pass(w, p);
	}
	return false;
}

/*
 * Is a client's segment signed as its flow is? What is not, or with another key than ours, a kernel drops, and nobody learns from it
 * (RFC 2385 2.0). A primary lets it go to its kernel, which counts it, and by whose key it may be right; but not with numbers of the service
 * space to a stack that has others. False when there is nothing to go on with.
 */
static bool signed_well(struct ftt_worker *w, struct ftt_packet *p, const struct ftt_pkt *k, const struct ftt_key *key, struct ftt_seg *s,
			uint64_t now_ns)
{
	bool has_key = k->md5_at && ftt_worker_key(w, k->src);
	const struct ftt_tcp *c = ftt_flows_find(w, key, now_ns);

	if (has_key && p->cap < p->len && p->cap <= FTT_PLANE_HEADERS) {
		ftt_plane_again(w->plane, p->queue, p->id);
		return false;
	}
	if (p->cap == p->len) /* else it is longer than any copy: nobody has looked */
		ftt_worker_look_at_signer(w, p->bytes, k, true, s);
	if (ftt_signed_well(c && !(c->closed && ftt_is_syn(s)) ? &c->flow : NULL, s, has_key))
		return true;
	w->n.bad_signatures++;
	ftt_worker_verdict(w, p, w->mode != FTT_MODE_BACKUP && !(c && (ftt_flow_shifted(&c->flow) || ftt_flow_port_delta(&c->flow))), NULL);
	return false;
}

/* Nothing of it reaches our stack, nothing of our stack reaches its client. */
static bool is_over(const struct ftt_worker *w, const struct ftt_tcp *c)
{
	return c->flow.protection == FTT_RESETTING || (!ftt_flow_emits((uint8_t)w->mode) && c->flow.protection == FTT_DETACHED);
}

/*
 * The primary serves a connection that this backup has not seen begin: after a takeover its client is to be reset,
 * also one that only waits. It is remembered where that costs no other flow its place.
 */
static void meet_stranger(struct ftt_worker *w, const struct ftt_key *key, const struct ftt_seg *s, uint64_t now_ns)
{
	struct ftt_env env = ftt_worker_env(w, now_ns);
	struct ftt_tcp *c;

	if ((s->flags & (TCP_SYN | TCP_RST | TCP_ACK)) != TCP_ACK ||
	    (ftt_flows_full(w->table.n, &env) && !ftt_flows_make_room(w, FTT_COMES_STRANGER, now_ns)) ||
	    !(c = ftt_table_add(&w->table, key, now_ns)))
		return;
	ftt_stranger_init(&c->flow, s, &env);
	ftt_table_update(&w->table, c, w->mode);
}

static struct ftt_tcp *touch(struct ftt_worker *w, struct ftt_tcp *c, uint64_t now_ns)
{
	if (c)
		ftt_table_touch(&w->table, c, now_ns);
	return c;
}

static struct ftt_tcp *find(struct ftt_worker *w, const struct ftt_key *key, uint64_t now_ns)
{
	return touch(w, ftt_flows_find(w, key, now_ns), now_ns);
}

/*
 * A backup: a segment acknowledges what the primary is not known to have sent, or brings bytes, which that may have refused. What it
 * told before that came is on the quiet lane, also of those that came with this one. Returns the flow, if it still goes on.
 */
static struct ftt_tcp *hear_primary(struct ftt_worker *w, const struct ftt_key *key, uint64_t now_ns)
{
	struct ftt_tcp *c;

	w->heard = true;
	ftt_hear_records(w, FTT_ON_QUIET, now_ns);
	c = find(w, key, now_ns);
	return c && !is_over(w, c) ? c : NULL;
}

/* A segment of a client's of a flow that is not known. */
static void unknown_from_client(struct ftt_worker *w, const struct ftt_packet *p, const struct ftt_key *key,
				const struct ftt_seg *s, uint64_t now_ns)
{
	if (w->mode == FTT_MODE_BACKUP) {
		meet_stranger(w, key, s, now_ns);
		ftt_tcp_drop(w, p, &w->n.drop_unknown_flow);
	} else if (ftt_table_find_apart(&w->table, key)) { /* our stack has that port with another one */
		ftt_tcp_drop(w, p, &w->n.drop_unknown_flow);
	} else {
		w->n.pass_unmatched++;
		ftt_tcp_pass(w, p);
	}
}

/* The flow of a client's segment, which may begin it. NULL: that is of none that goes on, and has its verdict. */
static struct ftt_tcp *find_of_client(struct ftt_worker *w, const struct ftt_packet *p, const struct ftt_key *key,
				      const struct ftt_seg *s, uint64_t now_ns)
{
	struct ftt_tcp *c = find(w, key, now_ns);

	if (c && c->in_history && w->mode == FTT_MODE_BACKUP && (s->flags & (TCP_SYN | TCP_ACK)) == TCP_SYN && s->seq == c->flow.hard.irs) {
		ftt_tcp_drop(w, p, &w->n.drop_repeated); /* it came out of the history: to the stack it would be another connection */
		return NULL;
	}
	if (c && c->closed && ftt_history_behind(w) && (s->flags & (TCP_SYN | TCP_ACK)) == TCP_SYN) {
		ftt_tcp_forget(w, c, false); /* what begins now is not followed: that is a flow of its own */
		c = NULL;
	}
	if (c && c->closed && c->flow.opener == FTT_OPENED_LOCAL && ftt_is_syn(s)) {
		ftt_tcp_forget(w, c, false); /* now the remote end opens one */
		c = NULL;
	}
	if (c && is_over(w, c)) {
		if (ftt_tcp_over_from_client(w, c, s, now_ns)) {
			ftt_tcp_drop(w, p, &w->n.drop_unknown_flow);
			return NULL;
		}
		ftt_tcp_forget(w, c, false); /* a new connection */
		c = NULL;
	}
	if (!c && (s->flags & (TCP_SYN | TCP_ACK | TCP_RST | TCP_FIN)) == TCP_SYN && !ftt_history_waits(w))
		c = begin(w, key, s, now_ns);
	if (!c)
		unknown_from_client(w, p, key, s, now_ns);
	return c;
}

void ftt_tcp_from_client(struct ftt_worker *w, struct ftt_packet *p, struct ftt_pkt *k, struct ftt_seg *s,
			 uint64_t now_ns)
{
	struct ftt_env env = ftt_worker_env(w, now_ns);
	struct ftt_key key;
	struct ftt_tcp *c;
	struct ftt_edit e;
	enum ftt_verdict v;
	bool answers;

	if (p->csum_unknown && p->csum_ready && !verified(w, p, k))
		return;
	if (ftt_history_waits(w) && w->history->aligns) {
		ftt_history_keep(w, p);
		return;
	}
	ftt_key_of(&key, k, true);
	if (w->e->cfg.n_md5 && !signed_well(w, p, k, &key, s, now_ns))
		return;
	if (!(c = find_of_client(w, p, &key, s, now_ns)))
		return;
	if (c->flow.protection == FTT_CATCHING_UP && w->mode == FTT_MODE_BACKUP && !(w->history && w->history->live)) { /* what it says comes over the lane, in its order */
		if (!(c->flow.bits & FTT_F_SYNACK) && c->flow.opener == FTT_OPENED_LOCAL)
			ftt_opened_place(&c->flow, s);
		ftt_tcp_drop(w, p, &w->n.drop_suppressed);
		return;
	}
	if (ftt_log_lacks(w, c, p, s) || ftt_filed_lacks(w, c, p, s)) {
		ftt_plane_again(w->plane, p->queue, p->id);
		return;
	}
	if (w->mode == FTT_MODE_BACKUP && !w->heard && (ftt_client_claims(&c->flow, s, &env) || ftt_client_brings(&c->flow, s, &env)) &&
	    !(c = hear_primary(w, &key, now_ns))) {
		ftt_tcp_drop(w, p, &w->n.drop_unknown_flow);
		return;
	}
	w->n.pass_malformed += !!(s->options & FTT_OPT_BAD); /* read like the kernel does: up to the bad one */
	if (c->flow.protection == FTT_CATCHING_UP && ftt_renewal(c))
		ftt_renewal_stir(w, ftt_renewal(c));
	answers = c->flow.opener == FTT_OPENED_LOCAL && !(c->flow.bits & FTT_F_MAPPED);
	v = ftt_segment_step(&c->flow, s, &env, &e);
	if ((s->flags & (TCP_SYN | TCP_ACK)) == TCP_SYN)
		keep_syn(w, c, p, k, &e);
	else if (answers && c->flow.bits & FTT_F_MAPPED)
		keep_answer(w, c, p, k);
	if (v == FTT_PASS) {
		ftt_tcp_give(w, c, p, k, s, &e);
	} else if (v == FTT_HOLD) {
		e.actions |= ftt_tcp_hold(w, c, p, k, s, e.wait, now_ns);
	} else {
		ftt_tcp_count_drop(w, e.drop);
		ftt_worker_verdict(w, p, false, NULL);
	}
	if (e.actions & FTT_ACT_DISCARD)
		ftt_tcp_discard(w, c, s);
	if (w->mode == FTT_MODE_BACKUP && ftt_output_even(&c->flow, c->digest.seen, now_ns))
		e.actions |= FTT_ACT_COMMIT_LATER;
	ftt_retain_acked(w, c, v == FTT_PASS ? s : NULL, now_ns);
	ftt_tcp_act(w, c, e.actions, now_ns);
	if (c->flow.bits & FTT_F_TAKEN && !(c->flow.bits & FTT_F_LOCAL_RST) && ftt_flow_cut(&c->flow))
		ftt_tcp_reset_client(w, c, now_ns);
}

/* A connection that this node will not carry on, or one of the past: end it in the stack, or it lingers for minutes. */
static void reset_stack(struct ftt_worker *w, const struct ftt_key *key, const struct ftt_seg *s)
{
	struct ftt_bare b;

	ftt_bare_reset_stack(key, s->ack, s->signer, &b);
	ftt_worker_say(w, &b, false);
}

static void silence(struct ftt_worker *w, const struct ftt_packet *p, const struct ftt_key *key, const struct ftt_seg *s)
{
	ftt_tcp_drop(w, p, &w->n.drop_suppressed);
	if (!(s->flags & TCP_RST) && s->flags & TCP_ACK)
		reset_stack(w, key, s);
}

/* Our server opens a connection: known from here on, where there is room for it. */
static struct ftt_tcp *open_here(struct ftt_worker *w, const struct ftt_key *key, const struct ftt_seg *s, uint64_t now_ns)
{
	struct ftt_env env = env_of_begin(w, now_ns);
	bool speaks = ftt_flow_emits(env.mode) && !ftt_gate_alone(&env), opens = ftt_opens_to(w, key->remote_port);
	bool follows = opens && w->mode == FTT_MODE_BACKUP;
	struct ftt_key own = *key;
	struct ftt_tcp *c;

	own.space = follows ? FTT_SPACE_STACK : FTT_SPACE_SERVICE;
	if (!(speaks || follows) || !(c = ftt_flows_begin(w, &own, 0, now_ns)))
		return NULL;
	if (opens) {
		ftt_opens_begin(w, c, s, &env);
		return c;
	}
	ftt_opened_begin(&c->flow, s, now_ns);
	ftt_log_end(w, c, w->e->cfg.policy.renew ? FTT_SERVER_OPENED : FTT_NO_RENEWAL);
	return c;
}

/* The stack speaks for a flow that we do not know. */
static void unknown_from_server(struct ftt_worker *w, const struct ftt_packet *p, const struct ftt_key *key,
				const struct ftt_seg *s, uint64_t now_ns)
{
	struct ftt_env env = ftt_worker_env_out(w, now_ns);

	if (!ftt_flow_emits(env.mode)) {
		silence(w, p, key, s);
	} else if (ftt_gate_alone(&env)) {
		ftt_tcp_drop(w, p, &w->n.drop_lease);
	} else {
		if (w->e->cfg.n_md5 && s->flags & TCP_SYN && s->signer == FTT_SIGNED_ALIEN) { /* our stack has answered what we did not believe: its key is not ours */
			struct ftt_event ev = {.kind = FTT_EV_UNSUPPORTED, .key = *key, .reason = FTT_WHY_SIGNED};

			ftt_event_post(w->e, &ev);
		}
		if (s->len) /* it was told something that is not in the history */
			ftt_history_lose(w, FTT_LOG_GAP);
		w->n.pass_unmatched++;
		ftt_tcp_pass(w, p);
	}
}

/* Our stack has answered a SYN, which may have been an `again` one. */
static void said_synack(struct ftt_worker *w, struct ftt_tcp *c, bool again)
{
	if (again && !(c->flow.bits & FTT_F_SYN_AGAIN))
		begin_again(w, c);
	ftt_lockstep_answered(w, c);
}

/*
 * The flow of a packet of our stack; `begun` with its SYN. The remote end knows the port of a connection that was taken over by another
 * number than our stack, which may choose that number, too: then it has to choose again.
 */
static struct ftt_tcp *find_own(struct ftt_worker *w, const struct ftt_packet *p, const struct ftt_key *key, const struct ftt_seg *s,
				bool *begun, uint64_t now_ns)
{
	bool syn = ftt_is_syn(s);
	struct ftt_tcp *c = touch(w, ftt_flows_find_own(w, key, syn, now_ns), now_ns);
	struct ftt_bare refused;

	*begun = false;
	if (c && is_over(w, c)) {
		silence(w, p, key, s);
		return NULL;
	}
	if (c && syn && ftt_opened_renews(&c->flow, s)) {
		ftt_tcp_forget(w, c, false);
		c = NULL;
	}
	if (!c && syn && w->mode != FTT_MODE_BACKUP && ftt_table_find(&w->table, key)) {
		ftt_bare_refuse(key, s, &refused);
		ftt_worker_say(w, &refused, false);
		ftt_tcp_drop(w, p, &w->n.drop_refused);
		return NULL;
	}
	if (!c && syn)
		*begun = (c = open_here(w, key, s, now_ns));
	if (!c)
		unknown_from_server(w, p, key, s, now_ns);
	return c;
}

/* What our server says is compared with the other one's, or summed for that. Returns what follows from it. */
static uint32_t compare(struct ftt_worker *w, struct ftt_tcp *c, struct ftt_packet *p, const struct ftt_pkt *k, const struct ftt_seg *s)
{
	if (w->mode == FTT_MODE_BACKUP)
		return ftt_compare_suppressed(w, c, p, k, s);
	if (c->flow.bits & FTT_F_SUMS && w->mode == FTT_MODE_PAIRED && c->flow.protection == FTT_PROTECTED)
		ftt_compare_output(w, c, p, k, s);
	else if (c->log && w->e->cfg.policy.compare && !(c->flow.bits & FTT_F_UNVERIFIED))
		ftt_compare_alone(w, c, p, k, s);
	return 0;
}

void ftt_tcp_from_server(struct ftt_worker *w, struct ftt_packet *p, struct ftt_pkt *k, struct ftt_seg *s,
			 uint64_t now_ns)
{
	struct ftt_env env = ftt_worker_env_out(w, now_ns);
	struct ftt_key key;
	struct ftt_tcp *c;
	struct ftt_edit e;
	enum ftt_verdict v;
	bool done, again, replays, begun;
	uint32_t said;

	ftt_key_of(&key, k, false);
	if (s->flags & TCP_SYN && p->cap == p->len)
		ftt_worker_look_at_signer(w, p->bytes, k, false, s);
	if (!(c = find_own(w, p, &key, s, &begun, now_ns)))
		return;
	again = c->flow.bits & FTT_F_SYN_AGAIN;
	replays = w->mode == FTT_MODE_BACKUP && c->flow.protection == FTT_CATCHING_UP && ftt_renewal(c);
	said = ftt_output_end(&c->flow);
	s->orphan = ftt_is_last_word(&c->flow, s, &env) && ftt_worker_server_gone(w, now_ns);
	w->n.last_words += s->orphan;
	if (c->flow.bits & FTT_F_UNVERIFIED) /* does this one make it whole? */
		ftt_compare_suppressed(w, c, p, k, s);
	done = ftt_output_done(&c->flow);
	if (replays)
		ftt_renew_ahead(w, c);
	v = ftt_segment_step(&c->flow, s, &env, &e);
	if (s->flags & TCP_SYN && s->flags & TCP_ACK)
		said_synack(w, c, again);
	c->bytes_out += s->len ? ftt_output_end(&c->flow) - said : 0;
	if (w->history && s->len)
		ftt_history_said(w, c);
	e.actions |= compare(w, c, p, k, s);
	if (w->mode != FTT_MODE_BACKUP &&
	    ftt_retained_superseded(&c->retained, &c->flow, s->seq - c->flow.hard.delta, s->len, now_ns))
		ftt_retain_stop(w, c);
	if (ftt_output_end(&c->flow) != said && ftt_filed(w, c))
		ftt_filed_said(w, c);
	if (v == FTT_PASS) {
		if (w->mode == FTT_MODE_PAIRED && e.actions & FTT_ACT_COMMIT)
			ftt_compare_leaves(w, c, (struct ftt_point){c->digest.next, c->digest.crc}, now_ns);
		ftt_tcp_pass_edited(w, &c->flow, p, k, s, &e);
	} else if (v == FTT_HOLD) {
		e.actions |= ftt_tcp_hold(w, c, p, k, s, e.wait, now_ns);
	} else {
		ftt_tcp_count_drop(w, e.drop);
		ftt_worker_verdict(w, p, false, NULL);
	}
	if (e.actions & FTT_ACT_RESET)
		reset_stack(w, &key, s);
	if (done)
		ftt_retain_release(w, c, now_ns);
	if (replays)
		ftt_compare_acked(w, c);
	if (replays && ftt_renewal(c)->past)
		e.actions |= ftt_renew_past(&c->flow);
	ftt_tcp_act(w, c, e.actions, now_ns);
	if (begun) {
		ftt_opens_begun(w, c, now_ns);
		return;
	}
	if (w->mode == FTT_MODE_BACKUP && ftt_renewal(c)) {
		ftt_renew_play(w, c, now_ns);
		if (w->history)
			w->history->stirred = true;
	}
}
