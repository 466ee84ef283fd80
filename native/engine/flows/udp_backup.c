/* SPDX-License-Identifier: Apache-2.0 */
/* udp_backup.c - the backup's half of UDP: orders events for its server, keeps its replies; see udp.h. */
#define _GNU_SOURCE
#include <stdlib.h>
#include <string.h>
#include "engine/worker.h"

#define ORDER_WAIT_NS 100000000ull /* how long a datagram waits for replies that may never come */
#define EARLY 8 /* small datagrams that it is given in that time all the same; one of 1,468 bytes takes 2,304 of a socket's 212,992 */
#define BEHIND (FTT_UDP_WINDOW / 2) /* events that a server may not have had yet, for the primary's replies to go */

/* Is our server so far behind that the primary has to wait, with its replies, for it? */
static bool behind(const struct ftt_udp_session *u)
{
	return u->events - u->acked > BEHIND;
}

static void acknowledge(struct ftt_worker *w, struct ftt_udp_session *u)
{
	struct ftt_record r = {.type = FTT_REC_EVENT_ACK, .key = u->key, .irs = u->start, .number = u->events};

	r.outputs = behind(u) ? u->acked + BEHIND : u->events;
	ftt_channel_put_record(&w->channel, u->peer_worker, &r, &w->n);
}

/* A port of the primary's server whose counterpart here has not shown itself yet. */
static bool unmapped(const struct ftt_udp_session *u, uint16_t port)
{
	for (uint32_t i = 0; i < FTT_UDP_PORTS; i++)
		if (u->client_port_of[i] == port)
			return !u->local_port_of[i];
	return false;
}

/*
 * Has our server given the replies that the primary's had given when this datagram came? One that is silent for
 * long may have none to give: then it gets the datagram, and is not waited for for those replies again. But it does not get
 * all that have come since: a server that did not run has a socket that holds only so many.
 */
static bool its_turn(const struct ftt_worker *w, struct ftt_udp_session *u, const struct ftt_udp_event *e, uint64_t now_ns)
{
	uint32_t given = u->outputs + u->missing;
	uint64_t waited_ns = now_ns - e->since_ns;
	uint32_t cost = 1 + e->len / 1024;
	bool absent = unmapped(u, e->port); /* nobody would get it */

	if (!absent && !seq_lt(given, e->outputs))
		return true;
	if (!u->silent_ns)
		u->silent_ns = now_ns;
	if (waited_ns < (absent ? w->e->cfg.policy.detach_after_ns : ORDER_WAIT_NS))
		return false;
	if (now_ns - u->early_ns >= ORDER_WAIT_NS) {
		u->early_ns = now_ns;
		u->early = 0;
	}
	if (u->early && u->early + cost > EARLY)
		return false;
	u->early += cost;
	if (seq_lt(given, e->outputs))
		u->missing += e->outputs - given;
	return true;
}

/* A server that was only slow is waited for again when it has caught up. */
static void count_missing(struct ftt_udp_session *u, const struct ftt_udp_event *newest)
{
	uint32_t fewer = seq_lt(u->outputs, newest->outputs) ? newest->outputs - u->outputs : 0;

	if (u->missing > fewer)
		u->missing = fewer;
}

static void give_turns(struct ftt_worker *w, struct ftt_udp_session *u, uint64_t now_ns)
{
	while (u->acked != u->events) {
		struct ftt_udp_event *e = u->ring[(u->acked + 1) % FTT_UDP_WINDOW];

		if (!e->is_port) {
			size_t len;

			if (!its_turn(w, u, e, now_ns))
				return;
			len = ftt_udp_build(&w->udp, u->key.client, u->key.client_port, u->key.service,
					    ftt_udp_to_local(u, e->port), e->bytes, e->len);
			w->n.injected += !ftt_plane_now(w->plane, w->udp.scratch, len, false);
		}
		ftt_udp_free_event(u, ++u->acked);
	}
}

static void deliver(struct ftt_worker *w, struct ftt_udp_session *u, uint64_t now_ns)
{
	uint32_t before = u->acked;
	bool waited = behind(u);

	give_turns(w, u, now_ns);
	if (u->events - u->acked < BEHIND / 2)
		u->behind_ns = 0;
	else if (behind(u) && !u->behind_ns)
		u->behind_ns = now_ns;
	if (waited && u->acked != before && w->mode == FTT_MODE_BACKUP)
		acknowledge(w, u);
}

/* A place for an event of so many bytes; NULL when there is none. */
static struct ftt_udp_event *keep(struct ftt_worker *w, struct ftt_udp_session *u, struct ftt_udp_event **slot, uint32_t len)
{
	struct ftt_udp_event *e;

	if (!slot || u->bytes + len > w->e->cfg.policy.max_udp_bytes || !(e = calloc(1, sizeof(*e))))
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
	struct ftt_udp_event **slot = ftt_udp_slot(u, r->number), *e = slot ? *slot : NULL;

	if (!slot || !ftt_part_good(r))
		return false;
	if (!e) {
		if (!(e = keep(w, u, slot, r->total)))
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

/*
 * A port that nobody has is no fault where the session has ended on both nodes, as a transfer after its last datagram. But here
 * the primary's server has said more than ours, which is gone and will never say it. What is said to another port says nothing of it.
 */
static bool given_up(const struct ftt_udp_session *u, uint16_t local_port)
{
	return u->nobody && u->nobody == local_port && seq_lt(u->outputs, u->answered);
}

static void event(struct ftt_worker *w, struct ftt_udp_session *u, const struct ftt_record *r, uint64_t now_ns)
{
	uint32_t ahead = r->number - u->events;
	bool over = false;

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
		count_missing(u, e);
		if (e->is_port) {
			ftt_udp_client_port(u, e->port);
		} else {
			u->answered = e->outputs;
			over |= given_up(u, ftt_udp_to_local(u, e->port));
		}
	}
	if (over) {
		ftt_udp_backup_give_up(w, u, 0);
		return;
	}
	acknowledge(w, u);
	deliver(w, u, now_ns);
}

void ftt_udp_backup_nobody(struct ftt_worker *w, const struct ftt_pkt *k)
{
	struct ftt_udp_session *u = ftt_udp_of(w, k, true);

	if (!u || u->role != w->udp.role)
		return;
	u->nobody = k->dport;
	if (given_up(u, k->dport))
		ftt_udp_backup_give_up(w, u, 0);
}

void ftt_udp_backup_give_up(struct ftt_worker *w, struct ftt_udp_session *u, uint8_t why)
{
	struct ftt_record r = {.type = FTT_REC_DETACHED, .flags = why, .key = u->key, .irs = u->start};

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
			ftt_udp_backup_give_up(w, u, FTT_REC_DIVERGED);
			break;
		}
		u->sent = seq_max(u->sent, r->number);
		while (u->replies && seq_leq(u->replies->number, u->sent))
			ftt_udp_keep_last(w, u, ftt_udp_take_reply(u), now_ns);
		if (r->flags & FTT_REC_ASK)
			acknowledge(w, u);
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

static struct ftt_udp_reply *keep_reply(const struct ftt_udp_session *u, const struct ftt_packet *p, const struct ftt_pkt *k)
{
	struct ftt_udp_reply *r = p->cap == p->len ? calloc(1, sizeof(*r)) : NULL;

	if (!r || !(r->bytes = malloc(k->payload_len ? k->payload_len : 1))) {
		free(r);
		return NULL;
	}
	memcpy(r->bytes, p->bytes + k->payload, k->payload_len);
	r->len = k->payload_len;
	r->number = u->outputs;
	r->port = k->sport;
	return r;
}

void ftt_udp_backup_out(struct ftt_worker *w, struct ftt_udp_session *u, const struct ftt_packet *p,
			const struct ftt_pkt *k, uint64_t now_ns)
{
	struct ftt_udp_reply *r;

	if (ftt_udp_new_port(w, u->local_port_of, u->n_local_ports, k->sport))
		ftt_udp_local_port(u, k->sport);
	u->outputs++;
	if (u->nobody == k->sport)
		u->nobody = 0;
	u->silent_ns = 0;
	ftt_udp_sum(w, u, p, k);
	w->n.drop_suppressed++;
	ftt_worker_verdict(w, p, false, NULL);
	if (ftt_udp_compare_late(w, u)) {
		ftt_udp_backup_give_up(w, u, FTT_REC_DIVERGED);
		return;
	}
	if ((r = keep_reply(u, p, k))) {
		w->n.retained++;
		if (seq_gt(r->number, u->sent))
			ftt_udp_append_reply(u, r);
		else
			ftt_udp_keep_last(w, u, r, now_ns);
		while (u->n_replies > FTT_UDP_RETAINED)
			ftt_udp_free_reply(u);
	}
	deliver(w, u, now_ns);
}

bool ftt_udp_backup_lags(const struct ftt_worker *w, const struct ftt_udp_session *u, uint64_t now_ns)
{
	uint64_t limit_ns = w->e->cfg.policy.detach_after_ns;

	return u->acked != u->events && ((u->silent_ns && now_ns - u->silent_ns > limit_ns) ||
					 (u->behind_ns && now_ns - u->behind_ns > limit_ns));
}

bool ftt_udp_backup_tick(struct ftt_worker *w, struct ftt_udp_session *u, uint64_t now_ns)
{
	deliver(w, u, now_ns);
	return u->acked != u->events;
}

void ftt_udp_backup_later(struct ftt_worker *w, struct ftt_udp_session *u, const uint8_t *payload, uint32_t len, uint16_t port,
			  uint64_t now_ns)
{
	struct ftt_udp_event *e = NULL;

	if (u->events - u->acked < FTT_UDP_WINDOW)
		e = keep(w, u, ftt_udp_slot(u, u->events + 1), len);
	if (!e) {
		w->n.drop_bound++;
		return;
	}
	memcpy(e->bytes, payload, len);
	e->port = port;
	e->outputs = u->outputs;
	e->whole = true;
	e->since_ns = now_ns;
	u->events++;
}

/*
 * Replies that the client may not have leave first, then the server goes on with what it had to wait for. What came
 * behind a gap was never acknowledged: the client has no answer to it, and will say it again.
 */
void ftt_udp_backup_take_over(struct ftt_worker *w, struct ftt_udp_session *u, uint64_t now_ns)
{
	u->followed = u->events;
	if (u->replies)
		ftt_udp_drop_last(u);
	ftt_udp_say_again(w, u, now_ns);
	while (u->replies) {
		w->n.udp_retained_released += ftt_udp_say(w, u, u->replies);
		ftt_udp_free_reply(u);
	}
	for (uint32_t i = u->events + 1; i - u->acked <= FTT_UDP_WINDOW; i++)
		ftt_udp_free_event(u, i);
	deliver(w, u, now_ns);
}
