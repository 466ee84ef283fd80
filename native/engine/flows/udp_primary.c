/* SPDX-License-Identifier: Apache-2.0 */
/* udp_primary.c - the primary's half of UDP: numbers events, keeps them, holds replies; see udp.h. */
#define _GNU_SOURCE
#include <stdlib.h>
#include <string.h>
#include "engine/flows/udp_log.h"

static void send_event(struct ftt_worker *w, struct ftt_udp_session *u, uint32_t number, uint64_t now_ns)
{
	struct ftt_udp_event *e = u->ring[number % FTT_UDP_WINDOW];
	struct ftt_record r = {.type = FTT_REC_EVENT, .key = u->key, .irs = u->start, .attempt = u->attempt, .number = number};

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
	struct ftt_env env = ftt_worker_env(w, now_ns);
	struct ftt_udp_event *e, **slot;

	if (!ftt_session_has_room(&u->s, u->bytes, len, &env) || !(slot = ftt_udp_slot(u, u->s.events + 1)) || !(e = calloc(1, sizeof(*e))))
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
	e->outputs = u->s.outputs;
	e->since_ns = now_ns;
	u->bytes += len;
	*slot = e;
	u->n_events++;
	ftt_udp_note(w, u, &(struct ftt_noted){.outputs = e->outputs, .len = (uint16_t)len, .port = port, .is_port = is_port, .bytes = e->bytes});
	send_event(w, u, ftt_session_number(&u->s), now_ns);
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

/* Our server speaks from this port, maybe for the first time. False: a bound is reached, or no memory. */
static bool port(struct ftt_worker *w, struct ftt_udp_session *u, uint16_t local, uint64_t now_ns)
{
	if (!ftt_udp_new_port(w, u->s.local_port_of, u->s.n_local_ports, local))
		return true;
	if (u->s.n_local_ports >= u->s.n_client_ports) { /* else the client knows its counterpart */
		if (!add_event(w, u, NULL, 0, local, true, now_ns))
			return false;
		ftt_session_client_port(&u->s, local);
	}
	ftt_session_local_port(&u->s, local);
	return true;
}

/* A reply to be kept; NULL without memory, or when its end is needed, and was not copied. */
static struct ftt_udp_reply *keep(const struct ftt_udp_session *u, struct ftt_packet *p, const struct ftt_pkt *k)
{
	enum ftt_udp_edit edit = ftt_udp_edit(p, k, 0, ftt_session_to_client(&u->s, k->sport));
	struct ftt_udp_reply *r = edit == FTT_UDP_CUT ? NULL : calloc(1, sizeof(*r));

	if (r && edit == FTT_UDP_EDITED && !(r->edited = malloc(p->len))) {
		free(r);
		return NULL;
	}
	if (r && r->edited)
		memcpy(r->edited, p->bytes, r->packet_len = p->len);
	return r;
}

void ftt_udp_primary_out(struct ftt_worker *w, struct ftt_udp_session *u, struct ftt_packet *p,
			 struct ftt_pkt *k, uint64_t now_ns)
{
	struct ftt_env env = ftt_worker_env(w, now_ns);
	struct ftt_udp_reply *r;
	uint32_t number;

	if (!port(w, u, k->sport, now_ns)) {
		w->n.drop_bound++;
		ftt_worker_verdict(w, p, false, NULL);
		return;
	}
	number = ftt_session_speaks(&u->s);
	ftt_udp_sum(w, u, p, k);
	if (!ftt_session_may_hold(u->n_replies, &env) || !(r = keep(u, p, k))) {
		w->n.hold_overflow++;
		w->n.drop_bound++;
		ftt_worker_verdict(w, p, false, NULL);
		return;
	}
	w->n.translated += !!r->edited;
	r->number = number;
	r->after = ftt_session_after(&u->s);
	r->crc = u->s.sums.crc;
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

/* It left. */
static void spend(struct ftt_worker *w, struct ftt_udp_reply *r)
{
	if (!r->edited) {
		ftt_udp_drop_reply(r);
		return;
	}
	r->next = w->udp.spent;
	w->udp.spent = r;
}

/* Lets go, in order, every reply that nothing holds. */
void ftt_udp_primary_release(struct ftt_worker *w, struct ftt_udp_session *u, uint64_t now_ns)
{
	struct ftt_env env = ftt_worker_env_out(w, now_ns);
	uint32_t before = u->s.sent, crc = 0;
	bool waits = ftt_session_is_numbered(&u->s);

	for (struct ftt_udp_reply *r; (r = u->replies); spend(w, ftt_udp_take_reply(u))) {
		if (ftt_session_holds(&u->s, r->after, r->orphan && ftt_server_known_gone(w->e, now_ns), &env))
			break;
		ftt_session_leaves(&u->s, r->number);
		crc = r->crc;
		ftt_plane_verdict(w->plane, r->queue, r->id, true, r->edited, r->packet_len);
		w->lag_ns[w->n_lag++ % FTT_LAG_SAMPLES] = now_ns - r->since_ns;
		w->held_now--;
		w->n.released++;
	}
	if (u->s.sent != before && waits) {
		struct ftt_record r = {.type = FTT_REC_SENT, .key = u->key, .irs = u->start, .attempt = u->attempt, .number = u->s.sent,
				      .crc = crc};

		r.flags = w->e->cfg.policy.compare && !u->s.sums.broken ? FTT_REC_SUM : 0;
		ftt_channel_put_record(&w->channel, u->peer_worker, &r, &w->n);
	}
}

void ftt_udp_primary_record(struct ftt_worker *w, struct ftt_udp_session *u, const struct ftt_record *r,
			    uint64_t now_ns)
{
	uint32_t acked = u->s.acked, actions = ftt_session_record(&u->s, r);

	ftt_udp_free_acked(u, acked);
	if (u->counted != u->s.protection)
		ftt_udp_update(&w->udp, u);
	if (actions & FTT_UDP_DETACHED) {
		struct ftt_event ev = {.kind = FTT_EV_FLOW_DETACHED, .key = u->key, .reason = u->s.reason};

		w->n.flows_detached++;
		ftt_event_post(w->e, &ev);
	}
	if (actions & FTT_UDP_RELEASE)
		ftt_udp_primary_release(w, u, now_ns);
}

static void ask(struct ftt_worker *w, struct ftt_udp_session *u, uint8_t type, uint8_t flags)
{
	struct ftt_record r = {.type = type, .flags = flags, .key = u->key, .irs = u->start, .attempt = u->attempt, .number = u->s.sent};

	ftt_channel_put_record(&w->channel, u->peer_worker, &r, &w->n);
}

/* Sends again what is not acknowledged. */
bool ftt_udp_primary_tick(struct ftt_worker *w, struct ftt_udp_session *u, const struct ftt_env *env)
{
	const struct ftt_udp_event *first = u->s.acked != u->s.events ? u->ring[(u->s.acked + 1) % FTT_UDP_WINDOW] : NULL;
	const struct ftt_session_waits waits = {.event_ns = first ? first->since_ns : 0,
						.reply_ns = u->replies ? u->replies->since_ns : 0,
						.after = u->replies ? u->replies->after : (struct ftt_places){0}};
	uint32_t actions = ftt_session_tick(&u->s, &waits, ftt_server_known_gone(w->e, env->now_ns), env);

	ftt_udp_update(&w->udp, u);
	if (actions & FTT_UDP_RELEASE)
		ftt_udp_primary_release(w, u, env->now_ns);
	if (actions & FTT_UDP_ASK_DETACH)
		ask(w, u, FTT_REC_DETACH, 0);
	if (actions & FTT_UDP_ASK_SERVER)
		ask(w, u, FTT_REC_SENT, FTT_REC_ASK);
	for (uint32_t i = u->s.acked + 1; actions & FTT_UDP_RESEND && seq_leq(i, u->s.events); i++) {
		if (env->now_ns - u->ring[i % FTT_UDP_WINDOW]->sent_ns > FTT_UDP_RESEND_NS) {
			send_event(w, u, i, env->now_ns);
			w->n.udp_resent++;
		}
	}
	return actions & FTT_UDP_WAITS || u->replies;
}
