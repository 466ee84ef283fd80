/* SPDX-License-Identifier: Apache-2.0 */
/* udp_backup.c - the backup's half of UDP: orders events for its server, keeps its replies; see udp.h. */
#define _GNU_SOURCE
#include <stdlib.h>
#include <string.h>
#include "core/udp/cold.h"
#include "core/udp/compare.h"
#include "core/udp/renew.h"
#include "engine/flows/cold.h"
#include "engine/flows/udp_log.h"

void ftt_udp_backup_acknowledge(struct ftt_worker *w, struct ftt_udp_session *u)
{
	struct ftt_record r = {.type = FTT_REC_EVENT_ACK, .key = u->key, .irs = u->start, .attempt = u->attempt, .number = u->s.events};

	bool catching = u->s.protection == FTT_CATCHING_UP;

	r.flags = catching ? FTT_REC_CATCHING : 0;
	r.outputs = catching ? u->s.acked : ftt_session_grants(&u->s);
	ftt_channel_put_record(&w->channel, u->peer_worker, &r, &w->n);
}

static void give(struct ftt_worker *w, struct ftt_udp_session *u, uint16_t port, const uint8_t *bytes, uint32_t len)
{
	size_t all;

	if (ftt_udp_forgot_port(w, u, port)) { /* by the same number it may be another server's */
		ftt_session_lacks(&u->s, port);
		w->n.drop_bound++;
		return;
	}
	all = ftt_udp_build(&w->udp, u->key.remote, u->key.remote_port, u->key.local, ftt_session_to_local(&u->s, port), bytes, len);
	w->n.injected += !ftt_plane_now(w->plane, w->udp.scratch, all, false);
}

/* What came by the lane. False: the rest has to wait. */
static bool give_log(struct ftt_worker *w, struct ftt_udp_session *u, const struct ftt_env *env)
{
	struct ftt_udp_log *l = u->log;

	while (l && l->left) {
		struct ftt_noted x = {0};
		uint32_t n = ftt_noted_get(l->bytes + l->at, l->len - l->at, &x);

		if (!x.is_port) {
			if (!ftt_session_turn(&u->s, x.outputs, x.len, x.port, l->moved_ns, env) || !ftt_burst_takes(&l->burst, x.len, env->now_ns))
				return false;
			if (u->s.missing) /* said twice by a timer, long ago: no two servers do that alike */
				ftt_session_unsummed(&u->s);
			give(w, u, x.port, x.bytes, x.len);
			w->n.renew_bytes += x.len;
		} else {
			ftt_session_client_port(&u->s, x.port);
		}
		l->at += n;
		l->moved_ns = env->now_ns;
		ftt_session_given(&u->s);
		if (!--l->left && u->unrenewable) {
			ftt_udp_log_end(w, u, (enum ftt_unrenewable)u->unrenewable);
			l = u->log;
		}
	}
	return true;
}

void ftt_udp_name_ports(struct ftt_worker *w, struct ftt_udp_session *u, bool late)
{
	while ((late ? ftt_session_names(&u->s) : u->s.acked == u->s.events) && u->s.n_client_ports < u->s.n_local_ports) {
		struct ftt_noted x = {.outputs = u->s.outputs + u->s.missing, .is_port = true,
				      .port = u->s.local_port_of[u->s.n_client_ports % FTT_UDP_PORTS]};

		if (late) /* it is not known between which datagrams it appeared */
			ftt_udp_log_end(w, u, FTT_LOG_GAP);
		else if (ftt_udp_note(w, u, &x))
			ftt_session_note(&u->s);
		ftt_session_client_port(&u->s, x.port);
	}
}

static void give_turns(struct ftt_worker *w, struct ftt_udp_session *u, const struct ftt_env *env)
{
	if (!give_log(w, u, env))
		return;
	for (;;) {
		struct ftt_udp_event *e;

		if (ftt_flow_emits(env->mode)) /* what comes next may be to one of these */
			ftt_udp_name_ports(w, u, true);
		if (u->s.acked == u->s.events)
			return;
		e = u->ring[(u->s.acked + 1) % FTT_UDP_WINDOW];
		if (!e->is_port) {
			if (!ftt_session_turn(&u->s, e->outputs, e->len, e->port, e->since_ns, env))
				return;
			give(w, u, e->port, e->bytes, e->len);
		} else {
			ftt_session_client_port(&u->s, e->port);
		}
		ftt_udp_free_event(u, ftt_session_given(&u->s));
	}
}

static void deliver(struct ftt_worker *w, struct ftt_udp_session *u, uint64_t now_ns)
{
	struct ftt_env env = ftt_worker_env(w, now_ns);
	uint32_t before = u->s.acked;
	bool waited = ftt_session_behind(&u->s);

	if (u->log && u->log->rests)
		return;
	give_turns(w, u, &env);
	if (ftt_session_delivered(&u->s, before, waited, &env) & FTT_UDP_ACKNOWLEDGE)
		ftt_udp_backup_acknowledge(w, u);
	if (w->promoting && u->s.protection == FTT_CATCHING_UP && u->s.acked == u->s.events) {
		w->n.renewed++;
		ftt_session_caught_up(&u->s);
		ftt_udp_update(&w->udp, u);
	}
}

/* A place for an event of so many bytes; NULL when there is no memory. */
static struct ftt_udp_event *keep(struct ftt_udp_session *u, struct ftt_udp_event **slot, uint32_t len)
{
	struct ftt_udp_event *e;

	if (!slot || !(e = calloc(1, sizeof(*e))))
		return NULL;
	if (!(e->bytes = malloc(len ? len : 1))) {
		free(e);
		return NULL;
	}
	e->len = len;
	u->bytes += len;
	*slot = e;
	u->n_events++;
	return e;
}

/* One part of an event; true when the event is complete now. */
static bool store(struct ftt_worker *w, struct ftt_udp_session *u, const struct ftt_record *r, uint64_t now_ns)
{
	struct ftt_env env = ftt_worker_env(w, now_ns);
	struct ftt_udp_event **slot = ftt_udp_slot(u, r->number), *e = slot ? *slot : NULL;

	if (!slot || !ftt_part_good(r))
		return false;
	if (!e) {
		if (!ftt_session_fits(u->bytes, r->total, &env) || !(e = keep(u, slot, r->total)))
			return false; /* the primary sends it again */
		e->port = r->port;
		e->outputs = r->outputs;
		e->is_port = r->flags & FTT_REC_PORT;
	}
	if (e->len != r->total || e->whole)
		return false;
	e->whole = ftt_part_put(e->bytes, &e->parts, r);
	e->since_ns = now_ns;
	return e->whole;
}

/* Without a server what came is in the log. False: it has no room, so the session is given up. */
static bool keep_cold(struct ftt_worker *w, struct ftt_udp_session *u)
{
	uint32_t given = u->s.acked;

	if (!ftt_udp_notes(u)) {
		ftt_udp_backup_give_up(w, u, FTT_REC_NO_ROOM);
		return false;
	}
	ftt_session_keeps(&u->s);
	ftt_udp_free_acked(u, given);
	return true;
}

/* Takes up what is here without a gap. False: the session is given up. */
static bool advance(struct ftt_worker *w, struct ftt_udp_session *u)
{
	bool goes_on = true;

	for (;;) {
		const struct ftt_udp_event *e = u->ring ? u->ring[(u->s.events + 1) % FTT_UDP_WINDOW] : NULL;

		if (!ftt_session_wants(&u->s, u->s.events + 1) || !e || !e->whole)
			break;
		ftt_udp_note(w, u, &(struct ftt_noted){.outputs = e->outputs, .len = (uint16_t)e->len, .port = e->port, .is_port = e->is_port,
						       .bytes = e->bytes});
		goes_on &= ftt_session_follows(&u->s, e->is_port, e->port, e->outputs);
	}
	if (!goes_on)
		ftt_udp_backup_give_up(w, u, 0);
	return goes_on && (!ftt_cold(w) || keep_cold(w, u));
}

bool ftt_udp_backup_more(struct ftt_worker *w, struct ftt_udp_session *u, uint64_t now_ns)
{
	bool goes_on = advance(w, u);

	if (goes_on)
		deliver(w, u, now_ns);
	return goes_on;
}

static void event(struct ftt_worker *w, struct ftt_udp_session *u, const struct ftt_record *r, uint64_t now_ns)
{
	ftt_session_heard(&u->s, now_ns);
	if (!ftt_session_wants(&u->s, r->number)) {
		ftt_udp_backup_acknowledge(w, u);
		return;
	}
	if (!store(w, u, r, now_ns) || (u->s.protection != FTT_CATCHING_UP && !advance(w, u)))
		return;
	ftt_udp_backup_acknowledge(w, u);
	deliver(w, u, now_ns);
}

void ftt_udp_backup_nobody(struct ftt_worker *w, const struct ftt_pkt *k)
{
	struct ftt_udp_session *u = ftt_udp_of(w, k, true);

	if (u && u->role == w->udp.role && !ftt_session_nobody(&u->s, k->dport))
		ftt_udp_backup_give_up(w, u, 0);
}

void ftt_udp_backup_give_up(struct ftt_worker *w, struct ftt_udp_session *u, uint8_t why)
{
	struct ftt_record r = {.type = FTT_REC_DETACHED, .flags = why, .key = u->key, .irs = u->start, .attempt = u->attempt};

	ftt_channel_put_record(&w->channel, u->peer_worker, &r, &w->n);
	ftt_udp_forget(w, u);
}

void ftt_udp_backup_record(struct ftt_worker *w, struct ftt_udp_session *u, const struct ftt_record *r,
			   uint64_t now_ns)
{
	switch (r->type) {
	case FTT_REC_EVENT:
		event(w, u, r, now_ns);
		break;
	case FTT_REC_SENT:
		if (ftt_udp_compared(w, u, ftt_session_compare(&u->s, r, &w->e->cfg.policy))) {
			ftt_udp_backup_give_up(w, u, FTT_REC_DIVERGED);
			break;
		}
		ftt_session_sent(&u->s, r->number);
		while (u->replies && seq_leq(u->replies->number, u->s.sent))
			ftt_udp_keep_last(w, u, ftt_udp_take_reply(u), now_ns);
		if (r->flags & FTT_REC_ASK)
			ftt_udp_backup_acknowledge(w, u);
		break;
	case FTT_REC_DETACH: {
		struct ftt_record answer = {.type = FTT_REC_DETACHED, .key = r->key, .irs = r->irs, .attempt = r->attempt};

		ftt_channel_put_record(&w->channel, u->peer_worker, &answer, &w->n);
		ftt_udp_forget(w, u);
		break;
	}
	default:
		w->n.channel_malformed++;
		break;
	}
}

static struct ftt_udp_reply *keep_reply(const struct ftt_udp_session *u, const struct ftt_packet *p, const struct ftt_pkt *k)
{
	struct ftt_udp_reply *r = p->cap == p->len ? calloc(1, sizeof(*r)) : NULL;

	if (!r || !(r->bytes = malloc(k->payload_len ? k->payload_len : 1))) {
		free(r);
		return NULL;
	}
	memcpy(r->bytes, p->bytes + k->payload, k->payload_len);
	r->len = k->payload_len;
	r->number = u->s.outputs;
	r->port = k->sport;
	return r;
}

void ftt_udp_backup_out(struct ftt_worker *w, struct ftt_udp_session *u, const struct ftt_packet *p,
			const struct ftt_pkt *k, uint64_t now_ns)
{
	struct ftt_udp_reply *r;

	if (ftt_udp_new_port(w, u->s.local_port_of, u->s.n_local_ports, k->sport))
		ftt_session_local_port(&u->s, k->sport);
	ftt_session_murmurs(&u->s, k->sport);
	if (u->log)
		u->log->burst.given = 0;
	ftt_udp_sum(w, u, p, k);
	w->n.drop_suppressed++;
	ftt_worker_verdict(w, p, false, NULL);
	if (ftt_udp_compared(w, u, ftt_session_compare_late(&u->s, &w->e->cfg.policy))) {
		ftt_udp_backup_give_up(w, u, FTT_REC_DIVERGED);
		return;
	}
	if ((r = keep_reply(u, p, k))) {
		w->n.retained++;
		if (seq_gt(r->number, u->s.sent))
			ftt_udp_append_reply(u, r);
		else
			ftt_udp_keep_last(w, u, r, now_ns);
		while (u->n_replies > FTT_UDP_RETAINED)
			ftt_udp_free_reply(u);
	}
	deliver(w, u, now_ns);
}

bool ftt_udp_backup_tick(struct ftt_worker *w, struct ftt_udp_session *u, uint64_t now_ns)
{
	deliver(w, u, now_ns);
	return u->s.acked != u->s.events;
}

void ftt_udp_backup_later(struct ftt_worker *w, struct ftt_udp_session *u, const uint8_t *payload, uint32_t len, uint16_t port,
			  uint64_t now_ns)
{
	struct ftt_env env = ftt_worker_env(w, now_ns);
	uint32_t logged = u->log ? u->log->left : 0; /* these are not in the ring */
	struct ftt_udp_event *e = NULL;

	if (u->log)
		u->log->rests = false;
	if (u->s.events - u->s.acked - logged < FTT_UDP_WINDOW && ftt_session_fits(u->bytes, len, &env))
		e = keep(u, ftt_udp_slot(u, u->s.events + 1), len);
	if (!e) {
		w->n.drop_bound++;
		return;
	}
	memcpy(e->bytes, payload, len);
	e->port = port;
	e->outputs = u->s.outputs;
	e->whole = true;
	e->since_ns = now_ns;
	ftt_udp_note(w, u, &(struct ftt_noted){.outputs = e->outputs, .len = (uint16_t)len, .port = port, .bytes = e->bytes});
	ftt_session_number(&u->s);
}

/*
 * Replies that the client may not have leave first, then the server goes on with what it had to wait for. What came
 * behind a gap was never acknowledged: the client has no answer to it, and will say it again.
 */
void ftt_udp_backup_take_over(struct ftt_worker *w, struct ftt_udp_session *u, uint64_t now_ns)
{
	ftt_udp_name_ports(w, u, false);
	if (u->replies)
		ftt_udp_drop_last(u);
	ftt_udp_say_again(w, u, now_ns);
	while (u->replies) {
		w->n.udp_retained_released += ftt_udp_say(w, u, u->replies, now_ns);
		ftt_udp_free_reply(u);
	}
	for (uint32_t i = u->s.events + 1; i - u->s.acked <= FTT_UDP_WINDOW; i++)
		ftt_udp_free_event(u, i);
	deliver(w, u, now_ns);
}
