/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tcp.c - a worker's TCP: finds the flow of a packet, lets flow.h decide, and carries it out.
 *
 * A packet is passed, dropped, or held: a held one stays in the kernel's queue, in order, until
 * ftt_tcp_release() asks the gate again. Whatever leaves for a client passes two questions here:
 * the lease (ftt_may_emit) and the gate (ftt_gate).
 */
#define _GNU_SOURCE
#include <stdlib.h>
#include <string.h>
#include "worker.h"

#define HELD_BYTES_MAX (64u << 20) /* copies of held packets, per worker */

/* --- verdicts -------------------------------------------------------------------------------- */

static void count_drop(struct ftt_worker *w, uint16_t why)
{
	switch (why) {
	case FTT_DROP_SUPPRESSED:
		w->n.drop_suppressed++;
		break;
	case FTT_DROP_ACKED:
		w->n.drop_acked++;
		break;
	case FTT_DROP_REPEATED:
		w->n.drop_repeated++;
		break;
	default:
		w->n.drop_unknown_flow++;
		break;
	}
}

static void drop(struct ftt_worker *w, const struct ftt_nfq_packet *p, uint64_t *counter)
{
	++*counter;
	ftt_worker_verdict(w, p, false, NULL);
}

static void pass(struct ftt_worker *w, const struct ftt_nfq_packet *p)
{
	w->n.passed++;
	ftt_worker_verdict(w, p, true, NULL);
}

/*
 * Lets a packet go with its edit. Without all its bytes it cannot be edited: a window is then left
 * as it is (the commit rule does not depend on it), anything else is dropped for the stack to send again.
 */
static void pass_edited(struct ftt_worker *w, struct ftt_flow *f, const struct ftt_nfq_packet *p,
			const struct ftt_pkt *k, const struct ftt_seg *s, const struct ftt_edit *e)
{
	if (!e->change) {
		pass(w, p);
	} else if (p->bytes && p->cap == p->len) {
		ftt_apply(p->bytes, k, e, p->csum_ready);
		w->n.translated++;
		w->n.window_limited += !!(e->change & FTT_EDIT_WND);
		ftt_worker_verdict(w, p, true, p->bytes);
	} else if (e->change == FTT_EDIT_WND && s->dir == FTT_FROM_SERVER) { /* the client is promised more than was meant: that holds now */
		f->advertised_edge = seq_max(f->advertised_edge, s->ack + ((uint32_t)s->wnd << f->hard.local_wscale));
		pass(w, p);
	} else {
		drop(w, p, &w->n.drop_truncated);
	}
}

/* --- holding --------------------------------------------------------------------------------- */

static void hold(struct ftt_worker *w, struct ftt_tcp *c, const struct ftt_nfq_packet *p, const struct ftt_pkt *k,
		 const struct ftt_seg *s, uint64_t now_ns)
{
	struct ftt_held *h;

	if (c->n_held >= w->e->cfg.max_held || w->held_now >= w->e->cfg.max_held_total || !(h = calloc(1, sizeof(*h)))) {
		w->n.hold_overflow++;
		drop(w, p, &w->n.drop_bound); /* as if the network had: the stack sends it again */
		if (!c->n_held)
			c->flow.held_since_ns = 0;
		return;
	}
	h->since_ns = now_ns;
	h->id = p->id;
	h->queue = p->queue;
	h->csum_ready = p->csum_ready;
	h->seg = *s;
	h->pkt = *k;
	h->len = p->len;
	/* its header may have to be edited when it goes; without a copy, see pass_edited() */
	if (p->cap == p->len && p->len <= FTT_NFQ_HEADERS)
		h->bytes = h->small;
	else if (p->cap == p->len && w->held_bytes + p->len <= HELD_BYTES_MAX && (h->bytes = malloc(p->len)))
		w->held_bytes += p->len;
	if (h->bytes)
		memcpy(h->bytes, p->bytes, p->len);
	*c->held_tail = h;
	c->held_tail = &h->next;
	if (!c->n_held++)
		c->flow.held_since_ns = now_ns;
	w->held_now++;
	w->n.held++;
}

static void unlink_held(struct ftt_worker *w, struct ftt_tcp *c, uint64_t now_ns)
{
	struct ftt_held *h = c->held;

	c->held = h->next;
	if (!c->held)
		c->held_tail = &c->held;
	c->n_held--;
	w->held_now--;
	w->lag_ns[w->n_lag++ % FTT_LAG_SAMPLES] = now_ns - h->since_ns;
	c->flow.held_since_ns = c->held ? c->held->since_ns : 0;
	h->next = w->spent; /* its bytes may be part of a verdict that is not sent yet */
	w->spent = h;
}

void ftt_tcp_free_spent(struct ftt_worker *w)
{
	while (w->spent) {
		struct ftt_held *h = w->spent;

		w->spent = h->next;
		if (h->bytes && h->bytes != h->small) {
			w->held_bytes -= h->len;
			free(h->bytes);
		}
		free(h);
	}
}

void ftt_tcp_release(struct ftt_worker *w, struct ftt_tcp *c, uint64_t now_ns)
{
	uint32_t actions = 0;

	while (c->held) {
		struct ftt_held *h = c->held;
		struct ftt_nfq_packet p = {.id = h->id, .queue = h->queue, .csum_ready = h->csum_ready,
					   .bytes = h->bytes, .cap = h->bytes ? h->len : 0, .len = h->len};
		struct ftt_edit e;
		enum ftt_verdict v;

		if (!ftt_may_emit(&w->e->shared, now_ns))
			break;
		memset(&e, 0, sizeof(e));
		h->seg.mode = (uint8_t)w->mode;
		v = ftt_gate(&c->flow, &h->seg, now_ns, &e);
		if (v == FTT_HOLD)
			break;
		actions |= e.actions;
		if (v == FTT_DROP) {
			count_drop(w, e.drop);
			ftt_worker_verdict(w, &p, false, NULL);
		} else {
			w->n.released++;
			pass_edited(w, &c->flow, &p, &h->pkt, &h->seg, &e);
		}
		unlink_held(w, c, now_ns);
	}
	ftt_tcp_act(w, c, actions, now_ns);
}

void ftt_tcp_drop_held(struct ftt_worker *w, struct ftt_tcp *c)
{
	while (c->held) {
		w->n.drop_mode++;
		ftt_nfq_verdict(&w->nfq, c->held->queue, c->held->id, false, NULL, 0);
		unlink_held(w, c, c->held->since_ns);
	}
}

/* --- what decisions ask for ------------------------------------------------------------------ */

static void send_record(struct ftt_worker *w, struct ftt_tcp *c, uint8_t type)
{
	struct ftt_record r = {.type = type, .key = c->key, .irs = c->flow.hard.irs};

	r.rcv_nxt = c->flow.local_rcv_nxt;
	r.edge = c->flow.local_edge;
	r.client_acked = c->flow.client_acked;
	r.client_wnd = c->flow.client_wnd;
	ftt_channel_put_record(&w->channel, c->peer_worker, &r, &w->n);
}

/* OPEN goes to every worker of the peer: which of them its kernel gave the flow to, it alone knows. */
static void send_open(struct ftt_worker *w, struct ftt_tcp *c, uint64_t now_ns)
{
	struct ftt_flow *f = &c->flow;
	struct ftt_record r = {.type = FTT_REC_OPEN, .key = c->key, .irs = f->hard.irs};

	r.service_iss = f->hard.service_iss;
	r.tsval = f->local_tsval - f->hard.ts_delta;
	r.age_ms = (uint32_t)((now_ns - f->synack_ns) / 1000000);
	r.wscale = f->hard.service_wscale;
	r.attempt = f->tries > 255 ? 255 : (uint8_t)f->tries;
	r.data = c->syn;
	r.data_len = c->syn_len;
	for (uint8_t k = 0; k < w->e->cfg.workers; k++)
		ftt_channel_put_record(&w->channel, k, &r, &w->n);
	w->n.opens_sent++;
}

static void send_detach(struct ftt_worker *w, struct ftt_tcp *c)
{
	struct ftt_record r = {.type = FTT_REC_DETACH, .key = c->key, .irs = c->flow.hard.irs};

	for (uint8_t k = 0; k < w->e->cfg.workers; k++)
		ftt_channel_put_record(&w->channel, k, &r, &w->n);
}

static void inject(struct ftt_worker *w, struct ftt_tcp *c)
{
	struct ftt_bare b;
	uint32_t ack = ftt_deliverable(&c->flow, (uint8_t)w->mode);

	c->flow.delivered_ack = ack;
	ftt_bare_for_stack(&c->flow, &c->key, ack, &b);
	ftt_emit_bare(&w->emit, &b, false);
	w->n.injected++;
}

static void ack_client(struct ftt_worker *w, struct ftt_tcp *c, uint64_t now_ns)
{
	struct ftt_bare b;

	if (!ftt_may_emit(&w->e->shared, now_ns)) {
		w->n.drop_lease++;
		return;
	}
	ftt_bare_for_client(&c->flow, &c->key, (uint8_t)w->mode, &b);
	ftt_emit_bare(&w->emit, &b, true);
	w->n.emitted++;
}

/* Three duplicates are what a client without SACK goes by (RFC 5681 3.2). */
static void nudge(struct ftt_worker *w, struct ftt_tcp *c, uint64_t now_ns)
{
	struct ftt_bare b;

	if (!ftt_may_emit(&w->e->shared, now_ns))
		return;
	ftt_bare_nudge(&c->flow, &c->key, &b);
	for (int i = 0; i < (c->flow.bits & FTT_F_SACK ? 1 : 3); i++)
		ftt_emit_bare(&w->emit, &b, true);
	w->n.nudges++;
}

static void post_flow_event(struct ftt_worker *w, const struct ftt_tcp *c, uint32_t kind)
{
	struct ftt_event ev = {.kind = kind, .key = c->key, .reason = c->flow.reason};

	ftt_event_post(w->e, &ev);
}

static void set_waiting(struct ftt_worker *w, struct ftt_tcp *c)
{
	bool waits = (!c->closed && ftt_flow_waits(&c->flow)) || c->held;

	if (waits == c->waiting)
		return;
	c->waiting = waits;
	if (waits) {
		c->wait_prev = NULL;
		c->wait_next = w->waiting;
		if (w->waiting)
			w->waiting->wait_prev = c;
		w->waiting = c;
		return;
	}
	if (c->wait_prev)
		c->wait_prev->wait_next = c->wait_next;
	else
		w->waiting = c->wait_next;
	if (c->wait_next)
		c->wait_next->wait_prev = c->wait_prev;
}

static void act_records(struct ftt_worker *w, struct ftt_tcp *c, uint32_t actions, uint64_t now_ns)
{
	if (actions & FTT_ACT_OPEN)
		send_open(w, c, now_ns);
	if (actions & FTT_ACT_OPENED)
		send_record(w, c, FTT_REC_OPENED);
	if (actions & FTT_ACT_REFUSED)
		send_record(w, c, FTT_REC_REFUSED);
	if (actions & FTT_ACT_PROBE) {
		send_record(w, c, FTT_REC_PROBE);
		w->n.probes_sent++;
	}
	if (actions & FTT_ACT_DETACH)
		send_detach(w, c);
	if (actions & FTT_ACT_ABORT && c->flow.protection == FTT_PROTECTED)
		send_record(w, c, FTT_REC_CLOSE);
	if (actions & FTT_ACT_COMMIT && !c->dirty) {
		c->dirty = true;
		c->dirty_next = w->dirty;
		w->dirty = c;
	}
}

void ftt_tcp_act(struct ftt_worker *w, struct ftt_tcp *c, uint32_t actions, uint64_t now_ns)
{
	act_records(w, c, actions, now_ns);
	if (actions & FTT_ACT_INJECT)
		inject(w, c);
	if (actions & FTT_ACT_ACK_CLIENT)
		ack_client(w, c, now_ns);
	if (actions & FTT_ACT_NUDGE)
		nudge(w, c, now_ns);
	if (actions & FTT_ACT_DETACHED) {
		w->n.flows_detached++;
		post_flow_event(w, c, FTT_EV_FLOW_DETACHED);
	}
	if (actions & FTT_ACT_REPORT)
		post_flow_event(w, c, FTT_EV_UNSUPPORTED);
	if (actions & FTT_ACT_CLOSED && !c->closed) {
		c->closed = true;
		w->n.flows_closed++;
	}
	set_waiting(w, c);
	if (actions & FTT_ACT_RELEASE)
		ftt_tcp_release(w, c, now_ns);
	if (c->syn && c->flow.protection != FTT_NEW && c->flow.protection != FTT_OPENING &&
	    !(c->flow.bits & FTT_F_SYN_AGAIN)) {
		free(c->syn);
		c->syn = NULL;
		c->syn_len = 0;
	}
}

void ftt_tcp_send_commits(struct ftt_worker *w)
{
	while (w->dirty) {
		struct ftt_tcp *c = w->dirty;
		const struct ftt_flow *f = &c->flow;
		struct ftt_record r = {.type = FTT_REC_COMMIT, .key = c->key, .irs = f->hard.irs};

		w->dirty = c->dirty_next;
		c->dirty = false;
		r.rcv_nxt = f->local_rcv_nxt;
		r.edge = f->local_edge;
		r.snd_nxt = f->local_snd_nxt;
		r.flags = (f->bits & FTT_F_LOCAL_FIN ? FTT_REC_FIN : 0) | (f->bits & FTT_F_LOCAL_RST ? FTT_REC_RST : 0);
		if (f->bits & FTT_F_HOLE) {
			r.flags |= FTT_REC_HOLE;
			r.hole_end = f->local_hole_end;
		}
		if (w->e->cfg.compare && !c->digest.broken) {
			r.flags |= FTT_REC_POINT;
			r.point = c->digest.next;
			r.point_crc = c->digest.crc;
		}
		ftt_channel_put_record(&w->channel, c->peer_worker, &r, &w->n);
		w->n.commits_sent++;
	}
}

void ftt_tcp_forget(struct ftt_worker *w, struct ftt_tcp *c, bool reset)
{
	struct ftt_tcp **at = &w->dirty;

	ftt_tcp_drop_held(w, c);
	if (reset && !c->closed && c->flow.bits & FTT_F_SYNACK) {
		struct ftt_bare b;

		ftt_bare_reset_stack(&c->key, c->flow.local_rcv_nxt, &b);
		ftt_emit_bare(&w->emit, &b, false);
	}
	if (c->waiting) {
		c->flow.protection = FTT_UNPROTECTED;
		set_waiting(w, c);
	}
	while (c->dirty && *at != c)
		at = &(*at)->dirty_next;
	if (c->dirty)
		*at = c->dirty_next;
	w->table.half_open -= !(c->flow.bits & FTT_F_ESTABLISHED);
	ftt_table_remove(&w->table, c);
}

void ftt_tcp_let_go(struct ftt_worker *w, struct ftt_tcp *c)
{
	struct ftt_bare b;

	if (!c->closed && c->flow.bits & FTT_F_SYNACK) {
		ftt_bare_reset_stack(&c->key, c->flow.local_rcv_nxt, &b);
		ftt_emit_bare(&w->emit, &b, false);
	}
	c->flow.protection = FTT_DETACHED;
	w->n.flows_detached++;
}

void ftt_tcp_reset_client(struct ftt_worker *w, struct ftt_tcp *c, uint64_t now_ns)
{
	struct ftt_bare b;

	if (c->flow.bits & FTT_F_ESTABLISHED && !c->closed && ftt_may_emit(&w->e->shared, now_ns)) {
		ftt_bare_reset_client(&c->flow, &c->key, &b);
		ftt_emit_bare(&w->emit, &b, true);
		w->n.emitted++;
	}
	ftt_tcp_forget(w, c, false);
}

/* --- packets --------------------------------------------------------------------------------- */

/* A SYN makes a flow; the half-open and the whole table are bounded. */
static struct ftt_tcp *begin(struct ftt_worker *w, const struct ftt_key *key,
			     const struct ftt_seg *s, uint64_t now_ns)
{
	struct ftt_tcp *c;

	if (w->table.n >= w->e->cfg.max_flows || w->table.half_open >= w->e->cfg.max_half_open ||
	    !(c = ftt_table_add(&w->table, key, now_ns))) {
		w->n.syn_floods++;
		return NULL;
	}
	ftt_flow_init(&c->flow, s->seq, now_ns);
	w->table.half_open++;
	w->n.flows_opened++;
	if (s->options & FTT_OPT_SIGNED) {
		c->flow.protection = FTT_UNPROTECTED;
		c->flow.reason = FTT_WHY_UNSUPPORTED;
		post_flow_event(w, c, FTT_EV_UNSUPPORTED);
	} else if (w->mode == FTT_MODE_SOLO) {
		c->flow.protection = FTT_UNPROTECTED;
		c->flow.reason = FTT_WHY_NO_BACKUP;
	}
	return c;
}

/* Keeps a SYN for the backup, whose own copy of it may be lost on the mirror. */
static void keep_syn(struct ftt_worker *w, struct ftt_tcp *c, const struct ftt_nfq_packet *p, const struct ftt_pkt *k)
{
	static const struct ftt_edit none;

	if (w->mode != FTT_MODE_PAIRED || p->cap < p->len || p->len > FTT_SYN_MAX)
		return;
	if (!c->syn && !(c->syn = malloc(FTT_SYN_MAX)))
		return;
	memcpy(c->syn, p->bytes, p->len);
	c->syn_len = (uint8_t)p->len;
	ftt_apply(c->syn, k, &none, p->csum_ready); /* it will need a real checksum */
}

/* The stack took a new connection under an old key: what belonged to the old one goes. */
static void begin_again(struct ftt_worker *w, struct ftt_tcp *c, uint64_t now_ns)
{
	ftt_tcp_drop_held(w, c);
	free(c->ring);
	c->ring = NULL;
	memset(&c->digest, 0, sizeof(c->digest));
	c->closed = false;
	c->let_go = 0;
	c->created_ns = now_ns;
	c->bytes_in = c->bytes_out = 0;
	c->divergences = 0;
	w->n.flows_opened++;
}

static void key_of(struct ftt_key *key, const struct ftt_pkt *k, bool from_client)
{
	memset(key, 0, sizeof(*key));
	memcpy(key->client, from_client ? k->src : k->dst, 16);
	memcpy(key->service, from_client ? k->dst : k->src, 16);
	key->client_port = from_client ? k->sport : k->dport;
	key->service_port = from_client ? k->dport : k->sport;
	key->proto = k->proto;
}

static void track_half_open(struct ftt_worker *w, uint16_t before, const struct ftt_flow *f)
{
	bool was = before & FTT_F_ESTABLISHED, is = f->bits & FTT_F_ESTABLISHED;

	if (was != is)
		w->table.half_open += was ? 1 : -1u;
}

void ftt_tcp_from_client(struct ftt_worker *w, struct ftt_nfq_packet *p, struct ftt_pkt *k, struct ftt_seg *s,
			 uint64_t now_ns)
{
	struct ftt_key key;
	struct ftt_tcp *c;
	struct ftt_edit e;
	struct ftt_shift none = {0};
	uint16_t before;

	if (p->csum_unknown && p->csum_ready && p->cap == p->len && ftt_l4_sum(p->bytes, k) != 0xffff) {
		if (w->mode == FTT_MODE_BACKUP) {
			drop(w, p, &w->n.drop_malformed);
		} else { /* the stack will drop it; nothing may be learnt from it */
			w->n.pass_malformed++;
			pass(w, p);
		}
		return;
	}
	key_of(&key, k, true);
	c = ftt_table_find(&w->table, &key);
	if (c && w->mode == FTT_MODE_BACKUP && c->flow.protection == FTT_DETACHED) {
		if (ftt_detached_step(&c->flow, s, now_ns)) {
			drop(w, p, &w->n.drop_unknown_flow);
			return;
		}
		ftt_tcp_forget(w, c, false); /* a new connection */
		c = NULL;
	}
	if (!c && (s->flags & (TCP_SYN | TCP_ACK | TCP_RST)) == TCP_SYN)
		c = begin(w, &key, s, now_ns);
	if (!c) {
		if (w->mode == FTT_MODE_BACKUP) {
			drop(w, p, &w->n.drop_unknown_flow);
		} else {
			w->n.pass_unmatched++;
			pass(w, p);
		}
		return;
	}
	w->n.pass_malformed += !!(s->options & FTT_OPT_BAD); /* read like the kernel does: up to the bad one */
	before = c->flow.bits;
	if ((s->flags & (TCP_SYN | TCP_ACK)) == TCP_SYN)
		keep_syn(w, c, p, k);
	if (ftt_segment_step(&c->flow, s, now_ns, &none, false, &e) == FTT_PASS) {
		c->bytes_in += s->len;
		pass_edited(w, &c->flow, p, k, s, &e);
	} else {
		count_drop(w, e.drop);
		ftt_worker_verdict(w, p, false, NULL);
	}
	track_half_open(w, before, &c->flow);
	ftt_tcp_act(w, c, e.actions, now_ns);
}

/* The stack speaks for a flow that we do not know. */
static void unknown_from_server(struct ftt_worker *w, const struct ftt_nfq_packet *p, const struct ftt_key *key,
				const struct ftt_seg *s, uint64_t now_ns)
{
	struct ftt_bare b;

	if (ftt_flow_emits((uint8_t)w->mode)) {
		if (ftt_may_emit(&w->e->shared, now_ns)) {
			w->n.pass_unmatched++;
			pass(w, p);
		} else {
			drop(w, p, &w->n.drop_lease);
		}
		return;
	}
	drop(w, p, &w->n.drop_suppressed);
	if (s->flags & TCP_RST || !(s->flags & TCP_ACK))
		return;
	/* a connection that this node will not carry on: end it in the stack, or it lingers for minutes */
	ftt_bare_reset_stack(key, s->ack, &b);
	ftt_emit_bare(&w->emit, &b, false);
}

void ftt_tcp_from_server(struct ftt_worker *w, struct ftt_nfq_packet *p, struct ftt_pkt *k, struct ftt_seg *s,
			 uint64_t now_ns)
{
	const struct ftt_config *cfg = &w->e->cfg;
	struct ftt_shift shift = {.on = cfg->shift_spaces, .iss = cfg->force_iss, .ts = cfg->force_ts};
	struct ftt_key key;
	struct ftt_tcp *c;
	struct ftt_edit e;
	enum ftt_verdict v;
	bool silent;
	uint16_t before;
	uint32_t irs;

	key_of(&key, k, false);
	c = ftt_table_find(&w->table, &key);
	if (!c || (w->mode == FTT_MODE_BACKUP && c->flow.protection == FTT_DETACHED)) {
		unknown_from_server(w, p, &key, s, now_ns);
		return;
	}
	before = c->flow.bits;
	irs = c->flow.hard.irs;
	silent = ftt_flow_emits((uint8_t)w->mode) && !ftt_may_emit(&w->e->shared, now_ns);
	v = ftt_segment_step(&c->flow, s, now_ns, &shift, c->held || silent, &e);
	if (c->flow.hard.irs != irs)
		begin_again(w, c, now_ns);
	if (cfg->compare && (w->mode == FTT_MODE_BACKUP || c->flow.protection == FTT_PROTECTED))
		ftt_compare_output(w, c, p, k, s);
	c->bytes_out += s->len;
	if (v == FTT_PASS && silent) /* handshakes and the like are not queued behind others: not a word without a lease */
		drop(w, p, &w->n.drop_lease);
	else if (v == FTT_PASS)
		pass_edited(w, &c->flow, p, k, s, &e);
	else if (v == FTT_HOLD)
		hold(w, c, p, k, s, now_ns);
	else {
		count_drop(w, e.drop);
		ftt_worker_verdict(w, p, false, NULL);
	}
	track_half_open(w, before, &c->flow);
	ftt_tcp_act(w, c, e.actions, now_ns);
}
