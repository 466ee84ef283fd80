/* SPDX-License-Identifier: Apache-2.0 */
/* udp_primary.c - the primary's half of UDP: numbers events, keeps them, holds replies; see udp.h. */
#define _GNU_SOURCE
#include <stdlib.h>
#include <string.h>
#include "engine/worker.h"

#define RESEND_NS 5000000ull

static void send_event(struct ftt_worker *w, struct ftt_udp_session *u, uint32_t number, uint64_t now_ns)
{
	struct ftt_udp_event *e = u->ring[number % FTT_UDP_WINDOW];
	struct ftt_record r = {.type = FTT_REC_EVENT, .key = u->key, .irs = u->start, .number = number};

	r.flags = e->is_port ? FTT_REC_PORT : 0;
	r.port = e->port;
	r.outputs = e->outputs;
	r.total = e->len;
	do {
		ftt_part_cut(&r, e->bytes);
		ftt_channel_put_record(&w->channel, u->peer_worker, &r, &w->n);
		r.offset += r.data_len;
	} while (r.offset < e->len);
	e->sent_ns = now_ns;
	w->n.udp_events++;
}

/* Numbers an event and sends it. False: a bound is reached, or no memory. */
static bool add_event(struct ftt_worker *w, struct ftt_udp_session *u, const uint8_t *bytes, uint32_t len,
		      uint16_t port, bool is_port, uint64_t now_ns)
{
	struct ftt_udp_event *e, **slot;

	if (u->events - u->acked >= FTT_UDP_WINDOW || u->bytes + len > w->e->cfg.policy.max_udp_bytes ||
	    !(slot = ftt_udp_slot(u, u->events + 1)) || !(e = calloc(1, sizeof(*e))))
		return false;
	if (!is_port && !(e->bytes = malloc(len ? len : 1))) {
		free(e);
		return false;
	}
	if (len)
		memcpy(e->bytes, bytes, len);
	e->len = len;
	e->port = port;
	e->is_port = is_port;
	e->outputs = u->outputs;
	e->since_ns = now_ns;
	u->bytes += len;
	*slot = e;
	u->n_events++;
	u->events++;
	send_event(w, u, u->events, now_ns);
	return true;
}

bool ftt_udp_primary_in(struct ftt_worker *w, struct ftt_udp_session *u, const uint8_t *payload, uint32_t len, uint16_t port,
			uint64_t now_ns)
{
	if (add_event(w, u, payload, len, port, false, now_ns))
		return true;
	w->n.drop_bound++; /* what the backup cannot have, our server must not have either */
	return false;
}

void ftt_udp_primary_out(struct ftt_worker *w, struct ftt_udp_session *u, struct ftt_packet *p,
			 struct ftt_pkt *k, uint64_t now_ns)
{
	struct ftt_udp_reply *r;

	if (ftt_udp_new_port(w, u->client_port_of, u->n_client_ports, k->sport)) {
		if (!add_event(w, u, NULL, 0, k->sport, true, now_ns)) {
			w->n.drop_bound++;
			ftt_worker_verdict(w, p, false, NULL);
			return;
		}
		ftt_udp_client_port(u, k->sport);
		ftt_udp_local_port(u, k->sport);
	}
	u->outputs++;
	ftt_udp_sum(w, u, p, k);
	if (u->n_replies >= w->e->cfg.policy.max_held || !(r = calloc(1, sizeof(*r)))) {
		w->n.hold_overflow++;
		w->n.drop_bound++;
		ftt_worker_verdict(w, p, false, NULL);
		return;
	}
	r->number = u->outputs;
	r->after = u->events;
	r->crc = u->sums.crc;
	r->id = p->id;
	r->queue = p->queue;
	r->since_ns = now_ns;
	r->orphan = ftt_worker_server_gone(w, now_ns);
	w->n.last_words += r->orphan;
	ftt_udp_append_reply(u, r);
	w->held_now++;
	w->n.held++;
	ftt_udp_primary_release(w, u, now_ns);
}

/* Lets go, in order, every reply whose earlier events the backup holds. */
void ftt_udp_primary_release(struct ftt_worker *w, struct ftt_udp_session *u, uint64_t now_ns)
{
	uint32_t before = u->sent, crc = 0;
	bool waits = ftt_udp_is_numbered(u);

	while (u->replies && ftt_may_emit(&w->e->shared, now_ns)) {
		struct ftt_udp_reply *r = u->replies;

		if (waits && !w->e->cfg.policy.eager && seq_gt(r->after, u->granted))
			break;
		if (r->orphan && waits && ftt_server_known_gone(w->e, now_ns))
			break;
		u->sent = r->number;
		crc = r->crc;
		ftt_plane_verdict(w->plane, r->queue, r->id, true, NULL, 0);
		w->lag_ns[w->n_lag++ % FTT_LAG_SAMPLES] = now_ns - r->since_ns;
		w->held_now--;
		w->n.released++;
		ftt_udp_free_reply(u);
	}
	if (u->sent != before && waits) {
		struct ftt_record r = {.type = FTT_REC_SENT, .key = u->key, .irs = u->start, .number = u->sent, .crc = crc};

		r.flags = w->e->cfg.policy.compare && !u->sums.broken ? FTT_REC_SUM : 0;
		ftt_channel_put_record(&w->channel, u->peer_worker, &r, &w->n);
	}
}

static void alone(struct ftt_worker *w, struct ftt_udp_session *u, uint64_t now_ns)
{
	struct ftt_event ev = {.kind = FTT_EV_FLOW_DETACHED, .key = u->key, .reason = u->reason};

	ftt_udp_protect(&w->udp, u, FTT_DETACHED);
	for (; u->acked != u->events; u->acked++)
		ftt_udp_free_event(u, u->acked + 1);
	w->n.flows_detached++;
	ftt_event_post(w->e, &ev);
	ftt_udp_primary_release(w, u, now_ns);
}

void ftt_udp_part(struct ftt_worker *w, const struct ftt_key *key, uint32_t start, uint8_t reason, uint64_t now_ns)
{
	struct ftt_udp_session *u = ftt_udp_heard(w, key, now_ns);

	if (!u || u->start != start || u->protection != FTT_PROTECTED)
		return;
	ftt_udp_protect(&w->udp, u, FTT_DETACHING); /* the next tick asks for it */
	u->reason = reason;
}

void ftt_udp_primary_record(struct ftt_worker *w, struct ftt_udp_session *u, const struct ftt_record *r,
			    uint64_t now_ns)
{
	if (r->type == FTT_REC_DETACHED && (u->protection == FTT_DETACHING || u->protection == FTT_PROTECTED)) {
		if (u->protection == FTT_PROTECTED) /* a backup that does not follow sessions says so to each event */
			u->reason = r->flags & FTT_REC_DIVERGED ? FTT_WHY_DIVERGENCE :
				    r->flags & FTT_REC_LAGS ? FTT_WHY_OUTPUT_LAG : FTT_WHY_REFUSED;
		alone(w, u, now_ns);
		return;
	}
	if (r->type != FTT_REC_EVENT_ACK || u->protection != FTT_PROTECTED ||
	    r->number - u->acked > u->events - u->acked || seq_gt(r->outputs, r->number))
		return;
	while (u->acked != r->number)
		ftt_udp_free_event(u, ++u->acked);
	u->granted = seq_max(u->granted, r->outputs);
	ftt_udp_primary_release(w, u, now_ns);
}

/* The backup's server is too far behind for the next reply, and its word may be lost that it is no longer. */
static bool awaits_server(const struct ftt_udp_session *u)
{
	return u->protection == FTT_PROTECTED && u->replies && seq_gt(u->replies->after, u->granted);
}

static void ask(struct ftt_worker *w, struct ftt_udp_session *u, uint8_t type, uint8_t flags, uint64_t now_ns)
{
	struct ftt_record r = {.type = type, .flags = flags, .key = u->key, .irs = u->start, .number = u->sent};

	if (now_ns - u->asked_ns <= RESEND_NS)
		return;
	u->asked_ns = now_ns;
	ftt_channel_put_record(&w->channel, u->peer_worker, &r, &w->n);
}

/* Sends again what is not acknowledged; a backup that lags for too long is asked to let go. */
bool ftt_udp_primary_tick(struct ftt_worker *w, struct ftt_udp_session *u, uint64_t now_ns)
{
	const struct ftt_udp_event *first = u->acked != u->events ? u->ring[(u->acked + 1) % FTT_UDP_WINDOW] : NULL;
	bool may = ftt_may_emit(&w->e->shared, now_ns);

	if (!first && !awaits_server(u) && u->protection != FTT_DETACHING) {
		ftt_udp_primary_release(w, u, now_ns);
		return u->replies != NULL;
	}
	if (u->protection == FTT_PROTECTED && !ftt_server_known_gone(w->e, now_ns) &&
	    now_ns - (first ? first->since_ns : u->replies->since_ns) > w->e->cfg.policy.detach_after_ns) {
		ftt_udp_protect(&w->udp, u, FTT_DETACHING);
		u->reason = FTT_WHY_COMMIT_LAG;
	}
	if (u->protection == FTT_DETACHING)
		ask(w, u, FTT_REC_DETACH, 0, now_ns);
	else if (!first)
		ask(w, u, FTT_REC_SENT, FTT_REC_ASK, now_ns);
	/* who takes the role over does not acknowledge, and would have it twice */
	for (uint32_t i = u->acked + 1; may && u->protection == FTT_PROTECTED && seq_leq(i, u->events); i++) {
		if (now_ns - u->ring[i % FTT_UDP_WINDOW]->sent_ns > RESEND_NS) {
			send_event(w, u, i, now_ns);
			w->n.udp_resent++;
		}
	}
	return true;
}
