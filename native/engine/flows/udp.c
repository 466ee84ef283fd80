/* SPDX-License-Identifier: Apache-2.0 */
/* udp.c - a worker's UDP: packets, records and time, and to whom they are given; see udp.h. */
#define _GNU_SOURCE
#include <string.h>
#include "engine/worker.h"

void ftt_udp_from_client(struct ftt_worker *w, struct ftt_packet *p, struct ftt_pkt *k, uint64_t now_ns)
{
	struct ftt_key key;
	struct ftt_udp_session *u;
	bool given;

	ftt_udp_key_of(&key, k, true);
	if (!ftt_flow_emits((uint8_t)w->mode)) { /* datagrams come over the channel, numbered */
		ftt_udp_stray(w, &key, p, k, now_ns);
		return;
	}
	u = ftt_udp_called(w, &key, k->dport, now_ns);
	if ((!u || !ftt_udp_is_numbered(u)) && !ftt_may_emit(&w->e->shared, now_ns)) { /* its answer could not leave */
		ftt_udp_stray(w, &key, p, k, now_ns);
		return;
	}
	if (!u) {
		w->n.pass_unmatched++;
		ftt_worker_verdict(w, p, true, NULL);
		return;
	}
	if (!ftt_udp_is_numbered(u) && u->acked == u->events) {
		ftt_udp_said(w, u, NULL, k->payload_len, k->dport, now_ns);
		ftt_udp_pass(w, p, k, 2, ftt_udp_to_local(u, k->dport));
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
	w->n.passed += given;
	ftt_worker_verdict(w, p, given, NULL);
}

/*
 * A reply in a session that nobody follows. After a takeover our server may still give those that the client
 * has of the old primary, and speak for the first time from a port that the client knows.
 */
static void reply_alone(struct ftt_worker *w, struct ftt_udp_session *u, struct ftt_packet *p,
			const struct ftt_pkt *k, bool may, uint64_t now_ns)
{
	uint32_t number = ++u->outputs + u->missing;

	u->silent_ns = 0;
	if (u->n_local_ports < u->n_client_ports && ftt_udp_new_port(w, u->local_port_of, u->n_local_ports, k->sport))
		ftt_udp_local_port(u, k->sport);
	if (!may || (seq_leq(number, u->sent) && !ftt_udp_is_owed(w, u, number))) {
		*(may ? &w->n.drop_acked : &w->n.drop_lease) += 1;
		ftt_worker_verdict(w, p, false, NULL);
	} else {
		u->sent = number;
		ftt_udp_pass(w, p, k, 0, ftt_udp_to_client(u, k->sport));
	}
	ftt_udp_backup_tick(w, u, now_ns);
}

void ftt_udp_from_server(struct ftt_worker *w, struct ftt_packet *p, struct ftt_pkt *k, uint64_t now_ns)
{
	struct ftt_key key;
	struct ftt_udp_session *u;
	bool primary = ftt_flow_emits((uint8_t)w->mode), may = ftt_may_emit(&w->e->shared, now_ns);

	ftt_udp_key_of(&key, k, false);
	u = ftt_udp_heard(w, &key, now_ns);
	if (u) {
		u->last_ns = now_ns;
		u->bytes_out += k->payload_len;
	}
	if (u && w->mode == FTT_MODE_BACKUP) {
		ftt_udp_backup_out(w, u, p, k, now_ns);
	} else if (u && primary && !ftt_udp_is_numbered(u)) {
		reply_alone(w, u, p, k, may, now_ns);
	} else if (!primary || !may) {
		*(primary ? &w->n.drop_lease : &w->n.drop_suppressed) += 1;
		ftt_worker_verdict(w, p, false, NULL);
	} else if (u) {
		ftt_udp_primary_out(w, u, p, k, now_ns);
	} else {
		w->n.pass_unmatched++;
		ftt_worker_verdict(w, p, true, NULL);
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
		if (u && u->start != r->irs && r->type == FTT_REC_EVENT) {
			ftt_udp_forget(w, u); /* the client's port serves a new session */
			u = NULL;
		}
		if (!u && r->type == FTT_REC_EVENT && (u = ftt_udp_begin(w, &r->key, r->irs, now_ns)))
			ftt_udp_protect(&w->udp, u, FTT_PROTECTED);
		if (u && u->start == r->irs) {
			u->peer_worker = from;
			ftt_udp_backup_record(w, u, r, now_ns);
		} else if (r->type == FTT_REC_DETACH) { /* never held, or let go before */
			struct ftt_record answer = {.type = FTT_REC_DETACHED, .key = r->key, .irs = r->irs};

			ftt_channel_put_record(&w->channel, from, &answer, &w->n);
		}
		return;
	}
	if (w->mode == FTT_MODE_PAIRED && u && u->start == r->irs) {
		u->peer_worker = from;
		ftt_udp_primary_record(w, u, r, now_ns);
	} else {
		w->n.channel_stale++;
	}
}

void ftt_udp_tick(struct ftt_worker *w, uint64_t now_ns)
{
	w->udp.waiting = 0;
	for (struct ftt_list *at = w->udp.due.next, *next; at != &w->udp.due; at = next) {
		struct ftt_udp_session *u = FTT_ENTRY(at, struct ftt_udp_session, due);
		bool waits = false;

		next = at->next;
		if (u->role != w->udp.role)
			continue; /* its turn comes with the others */
		if (w->mode == FTT_MODE_BACKUP && ftt_udp_backup_lags(w, u, now_ns)) {
			ftt_udp_backup_give_up(w, u, FTT_REC_LAGS);
			continue;
		}
		if (u->acked != u->events && (w->mode == FTT_MODE_BACKUP || u->protection == FTT_UNPROTECTED))
			waits = ftt_udp_backup_tick(w, u, now_ns);
		else if (w->mode == FTT_MODE_PAIRED)
			waits = ftt_udp_primary_tick(w, u, now_ns);
		w->udp.waiting += waits;
		if (waits)
			continue;
		ftt_list_remove(at); /* until something is heard of it */
		ftt_list_init(at);
	}
}

void ftt_udp_sweep(struct ftt_worker *w, uint64_t now_ns)
{
	/* the backup remembers longer: the primary decides when a session is over */
	uint64_t limit = w->e->cfg.policy.udp_idle_timeout_ns * (w->mode == FTT_MODE_BACKUP ? 2 : 1);

	ftt_udp_sweep_last(w, now_ns);
	ftt_udp_sweep_strays(w, now_ns);
	while (!ftt_list_empty(&w->udp.order)) {
		struct ftt_udp_session *u = FTT_ENTRY(w->udp.order.prev, struct ftt_udp_session, order);

		if (now_ns - u->last_ns <= limit)
			return;
		if (u->replies || u->acked != u->events) { /* it is not over, and the others need not wait for it */
			ftt_list_remove(&u->order);
			ftt_list_add(&u->order, &w->udp.order);
			return;
		}
		w->n.flows_expired++;
		ftt_udp_forget(w, u);
	}
}
