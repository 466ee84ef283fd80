/* SPDX-License-Identifier: Apache-2.0 */
/* udp_backup.c - the backup's half of UDP: orders events for its server, keeps its replies; see udp.h. */
#define _GNU_SOURCE
#include <stdlib.h>
#include <string.h>
#include "worker.h"

#define ORDER_WAIT_NS 100000000ull /* how long a datagram waits for replies that may never come */

static void acknowledge(struct ftt_worker *w, struct ftt_udp_session *u)
{
	struct ftt_record r = {.type = FTT_REC_EVENT_ACK, .key = u->key, .irs = u->start, .number = u->events,
			       .outputs = u->outputs};

	ftt_channel_put_record(&w->channel, u->peer_worker, &r, &w->n);
}

/* Gives the server what is its turn. */
static void deliver(struct ftt_worker *w, struct ftt_udp_session *u, uint64_t now_ns)
{
	while (u->acked != u->events) {
		struct ftt_udp_event *e = u->ring[(u->acked + 1) % FTT_UDP_WINDOW];

		if (!e->is_port) {
			size_t len;

			if (u->ordered && seq_lt(u->outputs, e->outputs) && now_ns - e->since_ns < ORDER_WAIT_NS)
				return;
			len = ftt_udp_build(&w->udp, u->key.client, u->key.client_port, u->key.service,
					    ftt_udp_to_local(u, e->port), e->bytes, e->len);
			w->n.injected += !ftt_emit_now(&w->emit, w->udp.scratch, len, false);
		}
		ftt_udp_free_event(u, ++u->acked);
	}
}

/* One part of an event; true when the event is complete now. */
static bool store(struct ftt_worker *w, struct ftt_udp_session *u, const struct ftt_record *r, uint64_t now_ns)
{
	struct ftt_udp_event **slot = ftt_udp_slot(u, r->number), *e = slot ? *slot : NULL;
	uint32_t parts = r->total ? (r->total + FTT_PART_MAX - 1) / FTT_PART_MAX : 1;

	if (!slot || r->offset % FTT_PART_MAX || (r->data_len != FTT_PART_MAX && r->offset + r->data_len != r->total))
		return false;
	if (!e) {
		if (u->bytes + r->total > w->e->cfg.max_udp_bytes || !(e = calloc(1, sizeof(*e))))
			return false; /* the primary sends it again */
		if (!(e->bytes = malloc(r->total ? r->total : 1))) {
			free(e);
			return false;
		}
		e->len = r->total;
		e->port = r->port;
		e->outputs = r->outputs;
		e->is_port = r->flags & FTT_REC_PORT;
		u->bytes += e->len;
		*slot = e;
		u->n_events++;
	}
	if (e->len != r->total || e->whole)
		return false;
	if (r->data_len)
		memcpy(e->bytes + r->offset, r->data, r->data_len);
	e->parts |= (uint8_t)(1u << r->offset / FTT_PART_MAX);
	e->whole = e->parts == (1u << parts) - 1;
	e->since_ns = now_ns;
	return e->whole;
}

static void event(struct ftt_worker *w, struct ftt_udp_session *u, const struct ftt_record *r, uint64_t now_ns)
{
	uint32_t ahead = r->number - u->events;

	u->last_ns = now_ns;
	/* the ring also holds what the server has not had yet */
	if (ahead == 0 || ahead > FTT_UDP_WINDOW || r->number - u->acked > FTT_UDP_WINDOW) {
		acknowledge(w, u);
		return;
	}
	if (!store(w, u, r, now_ns))
		return;
	for (;;) {
		const struct ftt_udp_event *e = u->ring[(u->events + 1) % FTT_UDP_WINDOW];

		if (u->events + 1 - u->acked > FTT_UDP_WINDOW || !e || !e->whole)
			break;
		u->events++;
		if (e->is_port)
			u->client_port_of[u->n_client_ports++ % FTT_UDP_PORTS] = e->port;
	}
	acknowledge(w, u);
	deliver(w, u, now_ns);
}

/* Our server's replies differ from the primary's, and policy says that they must not be served. */
static void give_up(struct ftt_worker *w, struct ftt_udp_session *u)
{
	struct ftt_record r = {.type = FTT_REC_DETACHED, .flags = FTT_REC_DIVERGED, .key = u->key, .irs = u->start};

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
		if (ftt_udp_compare(w, u, r)) {
			give_up(w, u);
			break;
		}
		u->sent = seq_max(u->sent, r->number);
		while (u->replies && seq_leq(u->replies->number, u->sent))
			ftt_udp_free_reply(u);
		break;
	case FTT_REC_DETACH: {
		struct ftt_record answer = {.type = FTT_REC_DETACHED, .key = r->key, .irs = r->irs};

		ftt_channel_put_record(&w->channel, u->peer_worker, &answer, &w->n);
		ftt_udp_forget(w, u);
		break;
	}
	default:
		w->n.channel_malformed++;
		break;
	}
}

void ftt_udp_backup_out(struct ftt_worker *w, struct ftt_udp_session *u, const struct ftt_nfq_packet *p,
			const struct ftt_pkt *k, uint64_t now_ns)
{
	struct ftt_udp_reply *r;

	if (ftt_udp_new_port(w, u->local_port_of, u->n_local_ports, k->sport))
		u->local_port_of[u->n_local_ports++ % FTT_UDP_PORTS] = k->sport;
	u->outputs++;
	ftt_udp_sum(w, u, p, k);
	w->n.drop_suppressed++;
	ftt_worker_verdict(w, p, false, NULL);
	if (ftt_udp_compare_late(w, u)) {
		give_up(w, u);
		return;
	}
	if (seq_gt(u->outputs, u->sent) && p->cap == p->len && (r = calloc(1, sizeof(*r)))) {
		r->bytes = malloc(k->payload_len ? k->payload_len : 1);
		if (!r->bytes) {
			free(r);
		} else {
			memcpy(r->bytes, p->bytes + k->payload, k->payload_len);
			r->len = k->payload_len;
			r->number = u->outputs;
			r->port = k->sport;
			ftt_udp_append_reply(u, r);
			w->n.retained++;
			while (u->n_replies > FTT_UDP_RETAINED)
				ftt_udp_free_reply(u);
		}
	}
	deliver(w, u, now_ns);
}

bool ftt_udp_backup_tick(struct ftt_worker *w, struct ftt_udp_session *u, uint64_t now_ns)
{
	deliver(w, u, now_ns);
	return u->acked != u->events;
}

/* Replies that the client may not have leave first, then the server gets what it had to wait for. */
void ftt_udp_backup_take_over(struct ftt_worker *w, struct ftt_udp_session *u, uint64_t now_ns)
{
	while (u->replies && ftt_may_emit(&w->e->shared, now_ns)) {
		const struct ftt_udp_reply *r = u->replies;
		size_t len = ftt_udp_build(&w->udp, u->key.service, ftt_udp_to_client(u, r->port), u->key.client,
					   u->key.client_port, r->bytes, r->len);

		if (!ftt_emit_now(&w->emit, w->udp.scratch, len, true))
			w->n.udp_retained_released++;
		ftt_udp_free_reply(u);
	}
	u->ordered = false;
	deliver(w, u, now_ns);
}
