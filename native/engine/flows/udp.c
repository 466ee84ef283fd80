/* SPDX-License-Identifier: Apache-2.0 */
/* udp.c - a worker's UDP: packets, records and time, and to whom they are given; see udp.h. */
#define _GNU_SOURCE
#include <string.h>
#include "core/udp/renew.h"
#include "engine/flows/udp_renew.h"

void ftt_udp_from_client(struct ftt_worker *w, struct ftt_packet *p, struct ftt_pkt *k, uint64_t now_ns)
{
	struct ftt_env env = ftt_worker_env_out(w, now_ns);
	struct ftt_key key;
	struct ftt_udp_session *u;
	bool given;

	ftt_udp_key_of(&key, k, true);
	if (!ftt_flow_emits((uint8_t)w->mode)) { /* datagrams come over the channel, numbered */
		ftt_udp_stray(w, &key, p, k, now_ns);
		return;
	}
	u = ftt_udp_called(w, &key, k->dport, now_ns);
	if ((!u || !ftt_session_is_numbered(&u->s)) && ftt_gate_alone(&env)) { /* its answer could not leave */
		ftt_udp_stray(w, &key, p, k, now_ns);
		return;
	}
	if (!u) {
		w->n.pass_unmatched++;
		ftt_worker_verdict(w, p, true, NULL);
		return;
	}
	if (!ftt_udp_knows(w, u, k->dport)) {
		w->n.drop_bound++;
		ftt_worker_verdict(w, p, false, NULL);
		return;
	}
	if (!ftt_session_is_numbered(&u->s) && u->s.acked == u->s.events) {
		if (!ftt_udp_refused(p, k)) /* else it is no event */
			ftt_udp_said(w, u, p->cap < p->len ? NULL : p->bytes + k->payload, k->payload_len, k->dport, now_ns);
		ftt_udp_pass(w, p, k, 2, ftt_session_to_local(&u->s, k->dport));
		return;
	}
	if (ftt_udp_refused(p, k)) {
		w->n.pass_malformed++; /* the stack will drop it: it is no event */
		ftt_worker_verdict(w, p, true, NULL);
		return;
	}
	if (p->cap < p->len) {
		w->n.drop_bound++;
		w->n.udp_truncated++;
		ftt_worker_verdict(w, p, false, NULL);
		return;
	}
	given = ftt_udp_said(w, u, p->bytes + k->payload, k->payload_len, k->dport, now_ns);
	if (given)
		ftt_udp_pass(w, p, k, 2, ftt_session_to_local(&u->s, k->dport));
	else
		ftt_worker_verdict(w, p, false, NULL);
}

/* The port that our server speaks from in a session that nobody follows: of those that the client knows, or a new one. */
static void port_alone(struct ftt_worker *w, struct ftt_udp_session *u, uint16_t port)
{
	if (!ftt_udp_new_port(w, u->s.local_port_of, u->s.n_local_ports, port))
		return;
	ftt_session_local_port(&u->s, port);
	ftt_udp_name_ports(w, u, false);
}

/*
 * A reply in a session that nobody follows. After a takeover our server may still give those that the client
 * has of the old primary, and speak for the first time from a port that the client knows.
 */
static void reply_alone(struct ftt_worker *w, struct ftt_udp_session *u, struct ftt_packet *p,
			const struct ftt_pkt *k, const struct ftt_env *env)
{
	enum ftt_session_reply reply;

	port_alone(w, u, k->sport);
	reply = ftt_session_speaks_alone(&u->s, env);
	if (ftt_udp_notes(u))
		ftt_udp_sum(w, u, p, k);
	else
		ftt_session_unsummed(&u->s);
	w->n.udp_said_again += reply == FTT_REPLY_OWED;
	if (reply == FTT_REPLY_SILENT || reply == FTT_REPLY_ACKED) {
		*(reply == FTT_REPLY_ACKED ? &w->n.drop_acked : &w->n.drop_lease) += 1;
		ftt_worker_verdict(w, p, false, NULL);
	} else {
		ftt_udp_pass(w, p, k, 0, ftt_udp_to_client(u, k->sport));
	}
	ftt_udp_backup_tick(w, u, env->now_ns);
}

void ftt_udp_from_server(struct ftt_worker *w, struct ftt_packet *p, struct ftt_pkt *k, uint64_t now_ns)
{
	struct ftt_key key;
	struct ftt_udp_session *u;
	struct ftt_env env = ftt_worker_env_out(w, now_ns);
	bool primary = ftt_flow_emits(env.mode);

	ftt_udp_key_of(&key, k, false);
	u = ftt_udp_heard(w, &key, now_ns);
	if (u) {
		ftt_session_heard(&u->s, now_ns);
		u->bytes_out += k->payload_len;
	}
	if (u && w->mode == FTT_MODE_BACKUP) {
		ftt_udp_backup_out(w, u, p, k, now_ns);
	} else if (u && primary && !ftt_session_is_numbered(&u->s)) {
		reply_alone(w, u, p, k, &env);
	} else if (!primary || ftt_gate_alone(&env)) {
		*(primary ? &w->n.drop_lease : &w->n.drop_suppressed) += 1;
		ftt_worker_verdict(w, p, false, NULL);
	} else if (u) {
		ftt_udp_primary_out(w, u, p, k, now_ns);
	} else {
		w->n.pass_unmatched++;
		ftt_worker_verdict(w, p, true, NULL);
	}
}

static void backup_record(struct ftt_worker *w, struct ftt_udp_session *u, const struct ftt_record *r, uint8_t from, uint64_t now_ns)
{
	struct ftt_record answer = {.type = FTT_REC_DETACHED, .key = r->key, .irs = r->irs, .attempt = r->attempt};

	if (u && u->start != r->irs && r->type == FTT_REC_EVENT) {
		ftt_udp_forget(w, u); /* the client's port serves a new session */
		u = NULL;
	}
	if (!u && r->type == FTT_REC_EVENT && (u = ftt_udp_begin(w, &r->key, r->irs, now_ns)))
		u->attempt = r->attempt;
	if (u && u->start == r->irs && !ftt_udp_is_late(w, u, r)) {
		u->peer_worker = from;
		ftt_udp_backup_record(w, u, r, now_ns);
	} else if (r->type == FTT_REC_DETACH) { /* never held, or let go before */
		ftt_channel_put_record(&w->channel, from, &answer, &w->n);
	}
}

void ftt_udp_record(struct ftt_worker *w, const struct ftt_record *r, uint8_t from, uint64_t now_ns)
{
	struct ftt_udp_session *u;

	if (!w->udp.on || r->key.proto != 17) {
		w->n.channel_malformed++;
		return;
	}
	if (r->type == FTT_REC_STRAY || (w->mode == FTT_MODE_SOLO && r->type == FTT_REC_EVENT)) {
		ftt_udp_stray_record(w, r, now_ns);
		return;
	}
	u = ftt_udp_heard(w, &r->key, now_ns);
	if (w->mode == FTT_MODE_BACKUP) {
		backup_record(w, u, r, from, now_ns);
		return;
	}
	if (w->mode == FTT_MODE_PAIRED && u && u->start == r->irs) {
		if (ftt_udp_is_late(w, u, r))
			return;
		u->peer_worker = from;
		if (ftt_udp_renew_told(w, u, r, now_ns))
			return;
		ftt_udp_primary_record(w, u, r, now_ns);
	} else {
		w->n.channel_stale++;
	}
}

void ftt_udp_part(struct ftt_worker *w, const struct ftt_key *key, uint32_t start, uint8_t reason, uint64_t now_ns)
{
	struct ftt_udp_session *u = ftt_udp_heard(w, key, now_ns);

	if (!u || u->start != start || u->s.protection != FTT_PROTECTED)
		return;
	ftt_session_detach(&u->s, reason); /* the next tick asks for it */
	ftt_udp_update(&w->udp, u);
}

/* A server that has started is told of so many at once: its socket holds only so much. */
static void begin_some(struct ftt_udp_session *u, uint32_t *told)
{
	if (!u->log || !u->log->left)
		return;
	u->log->rests &= *told >= FTT_UDP_AT_ONCE;
	*told += !u->log->rests;
}

void ftt_udp_tick(struct ftt_worker *w, uint64_t now_ns)
{
	struct ftt_env env = ftt_worker_look(w, now_ns);
	uint32_t told = 0;

	w->udp.waiting = 0;
	for (struct ftt_list *at = w->udp.due.next, *next; at != &w->udp.due; at = next) {
		struct ftt_udp_session *u = FTT_ENTRY(at, struct ftt_udp_session, due);
		bool waits = false;

		next = at->next;
		if (u->role != w->udp.role)
			continue; /* its turn comes with the others */
		begin_some(u, &told);
		if (w->mode == FTT_MODE_BACKUP && !w->promoting && (ftt_udp_unsure(w, u) || ftt_session_lags(&u->s, &env))) {
			ftt_udp_backup_give_up(w, u, ftt_udp_unsure(w, u) ? FTT_REC_DIVERGED : FTT_REC_LAGS);
			continue;
		}
		if (u->s.acked != u->s.events && (w->mode == FTT_MODE_BACKUP || u->s.protection == FTT_UNPROTECTED))
			waits = ftt_udp_backup_tick(w, u, now_ns);
		else if (w->mode == FTT_MODE_PAIRED)
			waits = ftt_udp_primary_tick(w, u, &env);
		w->udp.waiting += waits;
		if (waits)
			continue;
		ftt_list_remove(at); /* until something is heard of it */
		ftt_list_init(at);
	}
}

void ftt_udp_sweep(struct ftt_worker *w, uint64_t now_ns)
{
	struct ftt_env env = ftt_worker_env(w, now_ns);
	uint64_t limit = ftt_session_idle_ns(&env);

	ftt_udp_sweep_last(w, now_ns);
	ftt_udp_sweep_strays(w, now_ns);
	while (!ftt_list_empty(&w->udp.order)) {
		struct ftt_udp_session *u = FTT_ENTRY(w->udp.order.prev, struct ftt_udp_session, order);

		if (now_ns - u->s.last_ns <= limit)
			return;
		if (u->replies || u->s.acked != u->s.events) { /* it is not over, and the others need not wait for it */
			ftt_list_remove(&u->order);
			ftt_list_add(&u->order, &w->udp.order);
			return;
		}
		w->n.flows_expired++;
		ftt_udp_forget(w, u);
	}
}
