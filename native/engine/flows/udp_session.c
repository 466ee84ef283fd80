/* SPDX-License-Identifier: Apache-2.0 */
/* udp_session.c - the table of a worker's sessions, and what belongs to one of them; see udp.h. */
#define _GNU_SOURCE
#include <sodium.h>
#include <stdlib.h>
#include <string.h>
#include "engine/flows/udp_log.h"

#define PACKET_MAX 65576 /* IPv6 header and the largest datagram */

int ftt_udp_open(struct ftt_udp_table *t, const struct ftt_config *cfg)
{
	uint32_t size = 1024;

	memset(t, 0, sizeof(*t));
	ftt_list_init(&t->order);
	ftt_list_init(&t->due);
	ftt_list_init(&t->rest);
	ftt_list_init(&t->fresh);
	ftt_list_init(&t->renewed);
	t->strays_tail = &t->strays;
	for (uint32_t i = 0; i < cfg->n_ports; i++)
		t->on |= cfg->port[i].proto == 17 && !cfg->stored.dir[0];
	while (t->on && size < cfg->policy.max_flows && size < 1u << 20)
		size <<= 1;
	randombytes_buf(&t->secret, sizeof(t->secret));
	t->next_start = randombytes_random();
	t->mask = size - 1;
	t->bucket = calloc(size, sizeof(*t->bucket));
	t->scratch = malloc(PACKET_MAX);
	return t->bucket && t->scratch ? 0 : -1;
}

void ftt_udp_drop_stray(struct ftt_udp_table *t, struct ftt_udp_stray **at)
{
	struct ftt_udp_stray *s = *at;

	*at = s->next;
	if (!*at)
		t->strays_tail = at;
	t->n_strays--;
	free(s->bytes);
	free(s);
}

void ftt_udp_close(struct ftt_udp_table *t)
{
	while (t->strays)
		ftt_udp_drop_stray(t, &t->strays);
	free(t->bucket);
	free(t->scratch);
	memset(t, 0, sizeof(*t));
}

static struct ftt_udp_session **bucket(struct ftt_udp_table *t, const struct ftt_key *k)
{
	return &t->bucket[ftt_key_hash(&t->secret, k) & t->mask];
}

struct ftt_udp_session *ftt_udp_find(struct ftt_udp_table *t, const struct ftt_key *k)
{
	struct ftt_udp_session *u = *bucket(t, k);

	while (u && memcmp(&u->key, k, sizeof(*k)))
		u = u->hash_next;
	return u;
}

struct ftt_udp_session *ftt_udp_of(struct ftt_worker *w, const struct ftt_pkt *k, bool from_client)
{
	struct ftt_key key;

	ftt_udp_key_of(&key, k, from_client);
	return ftt_udp_find(&w->udp, &key);
}

struct ftt_udp_session *ftt_udp_add(struct ftt_worker *w, const struct ftt_key *k, uint32_t start, uint64_t now_ns)
{
	struct ftt_env env = ftt_worker_env(w, now_ns);
	struct ftt_udp_table *t = &w->udp;
	struct ftt_udp_session *u, **b = bucket(t, k);

	if (!ftt_session_admitted(t->n, &env) || !(u = calloc(1, sizeof(*u)))) {
		w->n.flows_refused++;
		return NULL;
	}
	u->key = *k;
	u->role = t->role;
	u->start = start;
	u->created_ns = now_ns;
	ftt_session_init(&u->s, now_ns);
	u->replies_tail = &u->replies;
	u->hash_next = *b;
	*b = u;
	ftt_list_add(&u->order, &t->order);
	ftt_list_add(&u->due, &t->due);
	t->count[u->counted]++;
	t->why[u->unrenewable]++;
	t->n++;
	w->n.udp_sessions++;
	return u;
}

struct ftt_udp_session *ftt_udp_next(const struct ftt_udp_table *t, const struct ftt_udp_session *u)
{
	const struct ftt_list *at = u ? u->order.next : t->order.next;

	if (at == &t->order)
		at = t->rest.next;
	return at == &t->rest ? NULL : FTT_ENTRY(at, struct ftt_udp_session, order);
}

void ftt_udp_update(struct ftt_udp_table *t, struct ftt_udp_session *u)
{
	t->count[u->counted]--;
	t->count[u->s.protection]++;
	u->counted = u->s.protection;
}

struct ftt_udp_event **ftt_udp_slot(struct ftt_udp_session *u, uint32_t number)
{
	if (!u->ring)
		u->ring = calloc(FTT_UDP_WINDOW, sizeof(*u->ring));
	return u->ring ? &u->ring[number % FTT_UDP_WINDOW] : NULL;
}

void ftt_udp_free_event(struct ftt_udp_session *u, uint32_t number)
{
	struct ftt_udp_event **e = u->ring ? &u->ring[number % FTT_UDP_WINDOW] : NULL;

	if (!e || !*e)
		return;
	u->bytes -= (*e)->len;
	free((*e)->bytes);
	free(*e);
	*e = NULL;
	if (--u->n_events)
		return;
	free(u->ring); /* an idle session has none */
	u->ring = NULL;
}

void ftt_udp_free_acked(struct ftt_udp_session *u, uint32_t before)
{
	while (before != u->s.acked)
		ftt_udp_free_event(u, ++before);
}

void ftt_udp_append_reply(struct ftt_udp_session *u, struct ftt_udp_reply *r)
{
	*u->replies_tail = r;
	u->replies_tail = &r->next;
	u->n_replies++;
	if (r->bytes)
		u->bytes += r->len;
}

struct ftt_udp_reply *ftt_udp_take_reply(struct ftt_udp_session *u)
{
	struct ftt_udp_reply *r = u->replies;

	u->replies = r->next;
	if (!u->replies)
		u->replies_tail = &u->replies;
	u->n_replies--;
	if (r->bytes)
		u->bytes -= r->len;
	return r;
}

void ftt_udp_drop_reply(struct ftt_udp_reply *r)
{
	free(r->edited);
	free(r->bytes);
	free(r);
}

void ftt_udp_free_spent(struct ftt_udp_table *t)
{
	for (struct ftt_udp_reply *r; (r = t->spent);) {
		t->spent = r->next;
		ftt_udp_drop_reply(r);
	}
}

void ftt_udp_free_reply(struct ftt_udp_session *u)
{
	ftt_udp_drop_reply(ftt_udp_take_reply(u));
}

void ftt_udp_drop_last(struct ftt_udp_session *u)
{
	if (!u->last)
		return;
	ftt_udp_drop_reply(u->last);
	u->last = NULL;
	ftt_list_remove(&u->fresh);
}

void ftt_udp_forget(struct ftt_worker *w, struct ftt_udp_session *u)
{
	struct ftt_udp_table *t = &w->udp;
	struct ftt_udp_session **at = bucket(t, &u->key);

	while (*at != u)
		at = &(*at)->hash_next;
	*at = u->hash_next;
	ftt_list_remove(&u->order);
	ftt_list_remove(&u->due);
	ftt_udp_drop_last(u);
	ftt_udp_log_forget(w, u);
	t->count[u->counted]--;
	t->why[u->unrenewable]--;
	t->n--;
	while (u->replies) {
		if (u->replies->id) { /* still in the kernel's queue */
			ftt_plane_verdict(w->plane, u->replies->queue, u->replies->id, false, NULL, 0);
			w->held_now--;
			w->n.drop_mode++;
		}
		ftt_udp_free_reply(u);
	}
	for (uint32_t i = 0; u->ring && i < FTT_UDP_WINDOW; i++)
		ftt_udp_free_event(u, i);
	free(u->ring);
	free(u);
}

static bool is_of_service(const struct ftt_worker *w, uint16_t port)
{
	const struct ftt_config *cfg = &w->e->cfg;

	for (uint32_t i = 0; i < cfg->n_ports; i++)
		if (ftt_port_is(&cfg->port[i], port, 17))
			return true;
	return false;
}

bool ftt_udp_new_port(const struct ftt_worker *w, const uint16_t *ports, uint32_t n, uint16_t port)
{
	return !is_of_service(w, port) && ftt_session_which(ports, n, port) == n;
}

bool ftt_udp_forgot_port(const struct ftt_worker *w, const struct ftt_udp_session *u, uint16_t port)
{
	return !is_of_service(w, port) && ftt_session_forgot(&u->s, port);
}

uint16_t ftt_udp_to_client(const struct ftt_udp_session *u, uint16_t port)
{
	uint32_t ahead = ftt_session_unnamed(&u->s, port), left = u->log ? u->log->left : 0;
	struct ftt_noted x = {0};

	if (ahead == UINT32_MAX)
		return ftt_session_to_client(&u->s, port);
	for (uint32_t i = 0, at = left ? u->log->at : 0; i < left; i++) {
		at += ftt_noted_get(u->log->bytes + at, u->log->len - at, &x);
		if (x.is_port && !ahead--)
			return x.port;
	}
	for (uint32_t i = u->s.acked + left; u->ring && i++ != u->s.events;) {
		const struct ftt_udp_event *e = u->ring[i % FTT_UDP_WINDOW];

		if (e->is_port && !ahead--)
			return e->port;
	}
	return port;
}

void ftt_udp_forget_all(struct ftt_worker *w)
{
	struct ftt_udp_session *u;

	while ((u = ftt_udp_next(&w->udp, NULL)))
		ftt_udp_forget(w, u);
}

bool ftt_udp_is_late(struct ftt_worker *w, const struct ftt_udp_session *u, const struct ftt_record *r)
{
	bool late = ftt_record_late(r, u->attempt);

	w->n.records_late += late;
	return late;
}
