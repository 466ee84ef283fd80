/* SPDX-License-Identifier: Apache-2.0 */
/* observe.c - the API of abi.h: what can be seen of an engine. Changes nothing. */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include "engine/flows/calls.h"
#include "engine/flows/role.h"
#include "engine/flows/history.h"
#include "engine/flows/renewal.h"
#include "engine/flows/stored.h"
#include "engine/flows/udp_log.h"
#include "engine/spool/spool.h"

#define ALLOCATION 16 /* bytes that malloc adds, at most */

static void add_counters(struct ftt_counters *sum, const struct ftt_counters *one)
{
	uint64_t *to = (uint64_t *)sum;
	const uint64_t *from = (const uint64_t *)one;

	for (size_t i = 0; i < sizeof(*sum) / sizeof(*to); i++)
		to[i] += __atomic_load_n(&from[i], __ATOMIC_RELAXED); /* its thread goes on counting */
}

void ftt_engine_counters(struct ftt_engine *e, struct ftt_counters *out)
{
	_Static_assert(sizeof(*out) % sizeof(uint64_t) == 0, "counters are all uint64_t");
	memset(out, 0, sizeof(*out));
	for (int k = 0; k < e->cfg.workers; k++) {
		struct ftt_worker *w = e->worker[k];

		ftt_fair_lock(&w->lock);
		add_counters(out, &w->n);
		out->held_now += w->held_now;
		ftt_plane_count(w->plane, out);
		ftt_fair_unlock(&w->lock);
	}
	add_counters(out, &e->counters_beat);
	add_counters(out, &e->counters_neigh);
}

static int compare_u64(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

static void count_protection(struct ftt_status *s, uint8_t protection, uint32_t flows)
{
	switch (protection) {
	case FTT_PROTECTED:
	case FTT_DETACHING:
		s->flows_protected += flows;
		break;
	case FTT_DETACHED:
	case FTT_RESETTING:
		s->flows_detached += flows;
		break;
	case FTT_UNPROTECTED:
	case FTT_CATCHING_UP:
		s->flows_unprotected += flows;
		break;
	default:
		s->flows_opening += flows;
		break;
	}
}

/*
 * The flows that a takeover would end, and those whose end is held. On a primary a followed one whose output is not known to be
 * the same waits for that to change; a backup does not see all.
 */
static void count_ending(const struct ftt_worker *w, struct ftt_status *s, uint64_t now_ns)
{
	uint32_t n = w->udp.count[FTT_UNPROTECTED], unverified = 0;

	for (uint8_t protection = FTT_PROTECTED + 1; protection < FTT_COUNT_CLOSED; protection++)
		n += protection == FTT_RESETTING ? 0 : w->table.count[protection];
	for (const struct ftt_tcp *c = w->table.waiting; c; c = c->wait_next) { /* as each tick does */
		unverified += c->flow.protection == FTT_PROTECTED && !c->closed && !ftt_flows_continues(w, c, now_ns);
		s->ends_held += ftt_end_held(&c->flow);
	}
	s->flows_unverified += unverified;
	s->flows_ending += n + unverified;
}

/* With a history that is not whole nothing can be renewed; 0: that is not so. Without a server there is nothing either. */
static uint8_t history_lost(const struct ftt_worker *w)
{
	return w->history && w->history->life ? w->history->why : 0;
}

static void count_renewable(const struct ftt_worker *w, struct ftt_status *out)
{
	uint8_t lost = history_lost(w);

	for (unsigned why = FTT_RENEWABLE + 1; why < FTT_UNRENEWABLES; why++)
		out->flows_unrenewable[why] += w->table.why[why] + w->udp.why[why];
	if (lost) /* closed ones are counted as renewable */
		out->flows_unrenewable[lost] += w->table.why[FTT_RENEWABLE] - w->table.count[FTT_COUNT_CLOSED];
	else
		out->flows_renewable += w->n_logs;
}

static uint32_t worker_status(struct ftt_worker *w, struct ftt_status *out, uint64_t *lag)
{
	uint32_t n = w->n_lag < FTT_LAG_SAMPLES ? w->n_lag : FTT_LAG_SAMPLES;

	for (uint8_t protection = 0; protection < FTT_COUNT_CLOSED; protection++)
		count_protection(out, protection, w->table.count[protection]);
	for (uint8_t protection = 0; protection <= FTT_CATCHING_UP; protection++)
		count_protection(out, protection, w->udp.count[protection]);
	count_ending(w, out, ftt_now_ns());
	out->udp_sessions += w->udp.n;
	out->flow_bytes += w->table.n * (sizeof(struct ftt_tcp) + ALLOCATION) + (w->table.mask + 1ull) * sizeof(*w->table.bucket) +
			   w->udp.n * (sizeof(struct ftt_udp_session) + ALLOCATION) +
			   (w->udp.mask + 1ull) * sizeof(*w->udp.bucket);
	out->held_now += w->held_now;
	out->flows_catching += ftt_renewals_awaited(w) + w->udp.n_renewed;
	count_renewable(w, out);
	out->log_memory_bytes += w->log_bytes;
	out->spool_bytes += w->spool ? ftt_spool_bytes(w->spool) : 0;
	out->spool_error = w->spool_error ? (uint32_t)w->spool_error : out->spool_error;
	if (w->history) { /* there is one worker */
		out->history_bytes = w->history->bytes;
		out->history_sent = w->history->sent;
		out->history_played = w->history->played;
		out->history_why = w->history->why;
		out->history_stage = w->history->stage;
	}
	if (w->stored)
		ftt_stored_status(w->stored, out);
	out->lanes_up += ftt_lane_count(&w->lane);
	memcpy(lag, w->lag_ns, n * sizeof(*lag));
	return n;
}

void ftt_engine_calls_shown(struct ftt_engine *e, struct ftt_calls_shown *out)
{
	struct ftt_worker *w = e->worker[0];

	memset(out, 0, sizeof(*out));
	ftt_fair_lock(&w->lock);
	ftt_calls_show(w, out);
	ftt_fair_unlock(&w->lock);
}

void ftt_engine_status(struct ftt_engine *e, struct ftt_status *out)
{
	uint64_t *lag = malloc(sizeof(*lag) * FTT_LAG_SAMPLES * e->cfg.workers);
	uint32_t n = 0;

	memset(out, 0, sizeof(*out));
	out->mode = atomic_load(&e->shared.mode);
	out->lease_policy = atomic_load(&e->shared.lease_policy);
	out->session = atomic_load(&e->shared.session);
	out->strict_commit = !e->cfg.policy.eager;
	out->whole_packets = e->whole_packets;
	out->partner = atomic_load(&e->shared.partner);
	out->lease_left_ns = ftt_engine_lease_left_ns(e);
	if (out->mode == FTT_MODE_BACKUP || out->mode == FTT_MODE_PAIRED)
		out->lanes = (uint32_t)e->cfg.workers * e->cfg.workers; /* each of ours with each of theirs */
	if (!lag)
		return;
	for (int k = 0; k < e->cfg.workers; k++) {
		struct ftt_worker *w = e->worker[k];

		ftt_fair_lock(&w->lock);
		n += worker_status(w, out, lag + n);
		ftt_fair_unlock(&w->lock);
	}
	if (n) {
		qsort(lag, n, sizeof(*lag), compare_u64);
		out->commit_lag_p50_ns = lag[n / 2];
		out->commit_lag_p99_ns = lag[(uint64_t)n * 99 / 100];
	}
	free(lag);
	if (e->beat)
		ftt_beat_status(e->beat, out);
}

static void tcp_info(const struct ftt_worker *w, const struct ftt_tcp *c, uint64_t now_ns, struct ftt_flow_info *o)
{
	const struct ftt_flow *f = &c->flow;

	memset(o, 0, sizeof(*o));
	o->key = c->key;
	o->protection = f->protection;
	o->reason = f->reason;
	o->delta = f->hard.delta;
	o->ts_delta = f->hard.ts_delta;
	o->client_acked = f->client_acked;
	o->local_snd_nxt = f->local_snd_nxt;
	o->local_rcv_nxt = f->local_rcv_nxt;
	o->committed = f->committed;
	o->peer_snd_nxt = w->mode == FTT_MODE_BACKUP ? f->sent : f->peer_snd_nxt;
	o->held = c->n_held;
	o->divergences = c->divergences;
	o->closed = c->closed;
	o->unrenewable = c->unrenewable || c->closed ? c->unrenewable : history_lost(w);
	o->opener = c->flow.opener;
	o->catching = ftt_renewal(c) && ftt_renewal(c)->stage < FTT_RENEW_HELD && !ftt_renewal_is_unopened(ftt_renewal(c));
	o->spool_bytes = c->log ? ftt_log_away(c->log) : 0;
	o->log_memory_bytes = c->log ? c->log->size + (c->log->later ? c->log->later->size : 0) : 0;
	o->continues = ftt_flows_continues(w, c, now_ns);
	o->verified = f->bits & FTT_F_SUMS ? c->bytes_out - (ftt_output_end(f) - f->verified) : 0;
	o->bytes_in = c->bytes_in;
	o->bytes_out = c->bytes_out;
	o->age_ns = now_ns - f->opened_ns;
	o->idle_ns = now_ns - f->last_ns;
}

static void udp_info(const struct ftt_udp_session *u, uint64_t now_ns, struct ftt_flow_info *o)
{
	memset(o, 0, sizeof(*o));
	o->key = u->key;
	o->protection = u->s.protection;
	o->reason = u->s.reason;
	o->client_acked = u->s.events;
	o->committed = u->s.acked;
	o->local_snd_nxt = u->s.outputs;
	o->unrenewable = u->unrenewable;
	o->catching = ftt_udp_stage(u);
	o->log_memory_bytes = u->log ? u->log->size : 0;
	o->held = u->n_replies;
	o->divergences = u->s.divergences;
	o->continues = u->s.protection == FTT_PROTECTED;
	o->bytes_in = u->bytes_in;
	o->bytes_out = u->bytes_out;
	o->age_ns = now_ns - u->created_ns;
	o->idle_ns = now_ns - u->s.last_ns;
}

bool ftt_engine_flow(struct ftt_engine *e, const struct ftt_key *key, struct ftt_flow_info *out)
{
	struct ftt_worker *w = e->worker[0]; /* whose thread this is, and whose lock is held */
	const struct ftt_tcp *c = ftt_table_find(&w->table, key);

	if (c)
		tcp_info(w, c, ftt_now_ns(), out);
	return c;
}

int ftt_engine_flows(struct ftt_engine *e, struct ftt_flow_info *out, int max, int with_closed)
{
	int n = 0;

	for (int k = 0; k < e->cfg.workers; k++) {
		struct ftt_worker *w = e->worker[k];
		uint64_t now_ns;

		ftt_fair_lock(&w->lock);
		now_ns = ftt_now_ns(); /* no packet that it knows of is later */
		for (const struct ftt_tcp *c = NULL; n < max && (c = ftt_table_next(&w->table, c));)
			if (with_closed || !c->closed)
				tcp_info(w, c, now_ns, &out[n++]);
		for (const struct ftt_udp_session *u = NULL; n < max && (u = ftt_udp_next(&w->udp, u));)
			udp_info(u, now_ns, &out[n++]);
		ftt_fair_unlock(&w->lock);
	}
	return n;
}
