/* SPDX-License-Identifier: Apache-2.0 */
/* beat_group.c - what other threads ask of a group's part in the heartbeats. beat.c tells how it works. */
#define _GNU_SOURCE
#include <errno.h>
#include <string.h>
#include "engine/liveness/beat.h"

void ftt_beat_look(struct ftt_beat *b)
{
	ftt_beat_wake(b);
}

static void look_soon(struct ftt_beat *b)
{
	if (!ftt_owe(b->engine, FTT_OWED_BEAT))
		ftt_beat_wake(b);
}

void ftt_beat_lease_changed(struct ftt_beat *b, uint64_t decided_ns)
{
	pthread_mutex_lock(&b->lock);
	ftt_lease_set_limit(&b->lease, atomic_load_explicit(&b->engine->shared.lease_limit_ns, memory_order_acquire));
	ftt_lease_set_policy(&b->lease, atomic_load_explicit(&b->engine->shared.lease_policy, memory_order_acquire),
			     decided_ns, ftt_now_ns());
	ftt_beat_publish_lease(b);
	pthread_mutex_unlock(&b->lock);
	look_soon(b); /* the timer must know the new end; and a new primary's grants come the sooner */
}

void ftt_beat_partner_changed(struct ftt_beat *b)
{
	pthread_mutex_lock(&b->lock);
	ftt_lease_set_partner(&b->lease, atomic_load_explicit(&b->engine->shared.partner, memory_order_acquire), ftt_now_ns());
	ftt_beat_publish_lease(b);
	pthread_mutex_unlock(&b->lock);
	look_soon(b);
}

void ftt_beat_set_body(struct ftt_beat *b, const uint8_t *body, uint32_t len, uint32_t grant_to)
{
	bool other, changed;

	if (len > FTT_BEAT_BODY_MAX) {
		ftt_beat_post(b, FTT_EV_ERROR, EMSGSIZE, 0, 0); /* half a body would be a lie: the last one stays */
		return;
	}
	pthread_mutex_lock(&b->lock);
	other = !b->version || len != b->body_len || (len && memcmp(b->body, body, len) != 0);
	changed = other || grant_to != b->grant;
	if (other) {
		if (len)
			memcpy(b->body, body, len);
		b->body_len = len;
		b->version = atomic_fetch_add(&b->node->versions, 1) + 1;
	}
	b->grant = grant_to;
	b->withdrawn &= grant_to;
	pthread_mutex_unlock(&b->lock);
	if (changed)
		look_soon(b);
}

int ftt_beat_get_peer_body(struct ftt_beat *b, uint32_t peer, uint8_t *out, uint32_t max, uint64_t *boot_id)
{
	struct ftt_beat_view *v = &b->view[peer];
	int len;

	if (peer >= b->n_peers)
		return -1;
	pthread_mutex_lock(&b->lock);
	len = v->body_len;
	if (len > 0 && max)
		memcpy(out, v->body, (uint32_t)len < max ? (uint32_t)len : max);
	if (boot_id)
		*boot_id = v->body_boot;
	pthread_mutex_unlock(&b->lock);
	return len;
}

uint64_t ftt_beat_get_heard_ns(const struct ftt_beat *b, uint32_t peer)
{
	return atomic_load(&b->view[peer].last_beat_ns);
}

uint64_t ftt_beat_get_node_heard_ns(const struct ftt_beat *b, uint32_t peer)
{
	return atomic_load(&b->node->peer[peer].heard_ns);
}

int ftt_beat_get_intervals(struct ftt_beat *b, uint32_t peer, uint64_t *out, int max)
{
	struct ftt_beat_view *v = &b->view[peer];
	uint32_t n;

	pthread_mutex_lock(&b->lock);
	n = v->n_intervals < FTT_BEAT_INTERVALS ? v->n_intervals : FTT_BEAT_INTERVALS;
	n = max < (int)n ? (uint32_t)(max > 0 ? max : 0) : n;
	for (uint32_t i = 0; i < n; i++)
		out[i] = v->interval_ns[(v->n_intervals - n + i) % FTT_BEAT_INTERVALS];
	v->n_intervals = 0; /* each is told once */
	pthread_mutex_unlock(&b->lock);
	return (int)n;
}

void ftt_beat_change_patience(struct ftt_beat *b, uint32_t peer, uint64_t lost_ns, uint64_t suspect_ns)
{
	atomic_store(&b->view[peer].patience_ns, lost_ns);
	atomic_store(&b->view[peer].suspect_ns, suspect_ns);
	ftt_beat_wake(b);
}

void ftt_beat_status(struct ftt_beat *b, struct ftt_status *out)
{
	out->beat_thread = atomic_load(&b->node->allowed);
	for (uint32_t i = 0; i < b->n_peers; i++) {
		struct ftt_beat_view *v = &b->view[i];

		out->peer_alive |= (uint32_t)atomic_load(&v->alive) << i;
		out->links_up[i] = atomic_load(&v->links_up);
		out->peer_intrusions[i] = atomic_load(&b->node->peer[i].intrusions);
	}
}
