/* SPDX-License-Identifier: Apache-2.0 */
/*
 * udp_stray.c - a client's datagrams that come to the wrong node while the service changes hands.
 *
 * The network leads them to the old owner for a moment after its gate is shut, and its queue may hold some more. Nobody
 * would say them again: UDP has no timers of its own. So a node that does not serve, or has no lease for a session that is not
 * numbered, sends what clients say to it to its partner, once, as a STRAY. (TCP is led there by the mirror.) That one gives it to
 * its server, if it serves or soon does; it never sends it on. What comes to the new owner before its worker has the role
 * is kept until then. So is a part of a long datagram. An EVENT that the old primary had under way when the new one took over
 * is the same: nobody acknowledges it any more.
 */
#define _GNU_SOURCE
#include <stdlib.h>
#include <string.h>
#include "engine/worker.h"

/* Is this worker about to serve? */
static bool expects(const struct ftt_worker *w)
{
	return ftt_flow_emits((uint8_t)atomic_load(&w->e->shared.mode));
}

/* The server gets it, as if it had come here. */
static void take(struct ftt_worker *w, const struct ftt_key *key, uint16_t port, const uint8_t *payload, uint32_t len, uint64_t now_ns)
{
	struct ftt_udp_session *u = ftt_udp_called(w, key, port, now_ns);

	w->n.udp_strays_taken++;
	if (u && !ftt_udp_said(w, u, payload, len, port, now_ns))
		return;
	len = (uint32_t)ftt_udp_build(&w->udp, key->remote, key->remote_port, key->local, u ? ftt_session_to_local(&u->s, port) : port,
				      payload, len);
	w->n.injected += !ftt_plane_now(w->plane, w->udp.scratch, len, false);
}

/* The place for this part's datagram; NULL when there is none. */
static struct ftt_udp_stray **place(struct ftt_worker *w, const struct ftt_record *r, uint64_t now_ns)
{
	struct ftt_udp_table *t = &w->udp;
	struct ftt_udp_stray **at = &t->strays, *s;

	for (; (s = *at); at = &s->next)
		if (s->irs == r->irs && s->number == r->number && s->len == r->total && !memcmp(&s->key, &r->key, sizeof(s->key)))
			return at;
	if (!ftt_strays_have_room(t->n_strays) || !(s = calloc(1, sizeof(*s))))
		return NULL;
	if (!(s->bytes = malloc(r->total ? r->total : 1))) {
		free(s);
		return NULL;
	}
	s->key = r->key;
	s->irs = r->irs;
	s->number = r->number;
	s->port = r->port;
	s->len = r->total;
	s->since_ns = now_ns;
	*t->strays_tail = s;
	t->strays_tail = &s->next;
	t->n_strays++;
	return at;
}

/* One part of a datagram that waits; given when it is whole, if this node serves. */
static void keep(struct ftt_worker *w, const struct ftt_record *r, uint64_t now_ns)
{
	struct ftt_env env = ftt_worker_env(w, now_ns);
	struct ftt_udp_stray **at, *s;

	ftt_udp_sweep_strays(w, now_ns);
	at = place(w, r, now_ns);
	if (!at) {
		w->n.drop_bound++;
		return;
	}
	s = *at;
	s->whole = ftt_part_put(s->bytes, &s->parts, r);
	if (ftt_stray_kept(s->whole, now_ns, &env) != FTT_STRAY_GIVEN)
		return;
	take(w, &s->key, s->port, s->bytes, s->len, now_ns);
	ftt_udp_drop_stray(&w->udp, at);
}

void ftt_udp_stray(struct ftt_worker *w, const struct ftt_key *key, const struct ftt_packet *p, const struct ftt_pkt *k,
		   uint64_t now_ns)
{
	struct ftt_record r = {.type = FTT_REC_STRAY, .key = *key, .port = k->dport, .total = k->payload_len};
	struct ftt_env env = ftt_worker_env(w, now_ns);
	bool here = ftt_stray_of_client(expects(w), &env) == FTT_STRAY_KEPT, left = !here;

	ftt_worker_verdict(w, p, false, NULL);
	if (p->cap < p->len || ftt_udp_refused(p, k)) {
		w->n.drop_mode++;
		return;
	}
	if (!here && !ftt_strays_take(&w->udp.strays_late, now_ns)) {
		w->n.drop_bound++;
		return;
	}
	r.number = ++w->udp.strays_sent;
	r.irs = here; /* the other node's have numbers, too */
	do {
		ftt_part_cut(&r, p->bytes + k->payload);
		if (here)
			keep(w, &r, now_ns);
		else
			left &= ftt_channel_send_apart(&w->channel, w->index, &r, &w->n);
		r.offset += r.data_len;
	} while (r.offset < r.total);
	w->n.udp_strays_sent += left;
}

/* Has this node had the event when it took over? Then from here on. */
static bool is_known(struct ftt_worker *w, const struct ftt_record *r)
{
	struct ftt_udp_session *u = ftt_udp_find(&w->udp, &r->key);

	return u && u->start == r->irs && ftt_session_has_had(&u->s, r->number, r->offset + r->data_len == r->total);
}

void ftt_udp_stray_record(struct ftt_worker *w, const struct ftt_record *r, uint64_t now_ns)
{
	struct ftt_env env = ftt_worker_env(w, now_ns);
	bool good = ftt_part_good(r), known = good && !(r->flags & FTT_REC_PORT) && r->type == FTT_REC_EVENT && is_known(w, r);
	enum ftt_stray_fate fate = good ? ftt_stray_of_peer(r, expects(w), known, &env) : FTT_STRAY_STALE;

	if (fate == FTT_STRAY_GIVEN)
		take(w, &r->key, r->port, r->data, r->data_len, now_ns);
	else if (fate == FTT_STRAY_KEPT)
		keep(w, r, now_ns);
	else
		w->n.channel_stale++;
}

void ftt_udp_strays(struct ftt_worker *w, uint64_t now_ns)
{
	struct ftt_env env = ftt_worker_env(w, now_ns);
	struct ftt_udp_stray **at = &w->udp.strays;

	ftt_udp_sweep_strays(w, now_ns);
	while (*at) {
		struct ftt_udp_stray *s = *at;

		if (ftt_stray_kept(s->whole, s->since_ns, &env) != FTT_STRAY_GIVEN) {
			at = &s->next;
			continue;
		}
		take(w, &s->key, s->port, s->bytes, s->len, now_ns);
		ftt_udp_drop_stray(&w->udp, at);
	}
}

void ftt_udp_sweep_strays(struct ftt_worker *w, uint64_t now_ns)
{
	struct ftt_env env = ftt_worker_env(w, now_ns);

	while (w->udp.strays && ftt_stray_kept(false, w->udp.strays->since_ns, &env) == FTT_STRAY_STALE) {
		w->n.drop_mode++;
		ftt_udp_drop_stray(&w->udp, &w->udp.strays);
	}
}
