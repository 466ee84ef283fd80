/* SPDX-License-Identifier: Apache-2.0 */
/* renew_begin.c - a flow begins again, with a new backup; see core/tcp/renew.h. */
#define _GNU_SOURCE
#include "engine/flows/act.h"
#include "engine/flows/cold.h"
#include "engine/flows/compare.h"
#include "engine/flows/role.h"
#include "engine/flows/lockstep.h"
#include "engine/flows/opens.h"
#include "engine/flows/renew_begin.h"
#include "core/tcp/cold.h"

#define HEAD FTT_LANE_BEGIN_HEAD

/* --- primary ------------------------------------------------------------------------------------ */

void ftt_renew_send_begin(struct ftt_worker *w, struct ftt_renewal *r, uint64_t now_ns)
{
	struct ftt_env env = ftt_worker_env(w, now_ns);
	struct ftt_tcp *c = r->c;
	struct ftt_flow *f = &c->flow;
	uint8_t kind = f->opener == FTT_OPENED_LOCAL ? FTT_LANE_OUTWARD : FTT_LANE_BEGIN;
	struct ftt_record open = {.type = FTT_REC_OPEN, .key = c->key, .irs = ftt_flow_name(f), .data = c->log->bytes, .data_len = c->log->syn_len};
	uint8_t bytes[FTT_BEGIN_MAX];
	struct ftt_lane_begin begin;
	size_t len;

	ftt_compare_whole(w, c); /* or the sum of another place is told in the end, if its server says nothing more */
	ftt_renew_open(f, &open, &env);
	ftt_lockstep_tell(w, c, &open);
	begin.acked = ftt_output_place(f, c->bytes_out, ftt_output_offset(f, f->client_acked));
	begin.age_ms = ftt_lockstep_age(w, c, now_ns);
	begin.attempt = ++c->attempt;
	ftt_lane_begin_put(bytes, &begin);
	len = ftt_record_put(bytes + HEAD, sizeof(bytes) - HEAD, &open);
	for (uint8_t k = 0; k < w->e->cfg.workers; k++)
		ftt_lane_send(&w->lane, k, kind, bytes, (uint32_t)(HEAD + len));
	ftt_renew_begin(f);
	*r = (struct ftt_renewal){.order = r->order, .c = c, .stage = r->stage, .reopens = r->reopens, .moved_ns = now_ns,
				   .acked = begin.acked, .sent = c->log->syn_len};
	ftt_renewal_stage(w, r, FTT_RENEW_BEGUN);
	ftt_table_update(&w->table, c, w->mode);
}

/* --- backup ------------------------------------------------------------------------------------- */

bool ftt_renew_opens(const struct ftt_record *open, struct ftt_seg *syn)
{
	struct ftt_pkt k;

	return open->type == FTT_REC_OPEN && open->key.proto == 6 && ftt_record_syn(open, &k, syn);
}

/* A flow of the OPEN, with a log that begins with the remote end's first word, `first`; NULL: there is no room for it. */
static struct ftt_renewal *enter(struct ftt_worker *w, uint8_t from, const struct ftt_record *open, const struct ftt_seg *first,
				 uint64_t acked, uint64_t now_ns)
{
	struct ftt_tcp *c = ftt_flows_find(w, &open->key, now_ns);
	struct ftt_renewal *r;

	if (c) /* a stranger, of whom only a later word was heard; or an earlier attempt, or connection */
		ftt_tcp_forget(w, c, true);
	ftt_plane_send(w->plane);
	c = ftt_flows_begin(w, &open->key, first->seq, now_ns);
	if (!c)
		return NULL;
	c->peer_worker = from;
	c->attempt = open->attempt;
	ftt_flow_told_signed(&c->flow, first, ftt_worker_key(w, open->key.remote));
	ftt_log_begin(w, c, open->data, open->data_len);
	r = c->log ? ftt_renewal_begin(w, c, now_ns) : NULL;
	if (!r) {
		ftt_tcp_forget(w, c, false);
		return NULL;
	}
	r->acked = acked;
	r->given = first->seq + 1;
	r->told = open->data_len;
	r->heard_ns = now_ns;
	ftt_renewal_stage(w, r, FTT_RENEW_CATCHING);
	return r;
}

/* ... that the primary's server has opened: it waits until ours does. */
static void enter_opened(struct ftt_worker *w, uint8_t from, const struct ftt_record *open, const struct ftt_seg *answer, uint64_t acked,
			 uint64_t now_ns)
{
	struct ftt_env env = ftt_worker_env(w, now_ns);
	struct ftt_renewal *r = ftt_opens_to(w, open->key.remote_port) && !ftt_cold(w) ? enter(w, from, open, answer, acked, now_ns) : NULL;

	if (!r)
		return;
	r->next_ns = UINT64_MAX;
	ftt_opened_again(&r->c->flow, open, &env);
	ftt_table_update(&w->table, r->c, w->mode);
	ftt_opens_again(w, r->c, now_ns);
}

struct ftt_renewal *ftt_renew_enter(struct ftt_worker *w, uint8_t from, const struct ftt_record *open, uint64_t acked, uint32_t age_ms,
				    uint64_t now_ns)
{
	struct ftt_env env = ftt_worker_env(w, now_ns);
	struct ftt_record aged = *open;
	struct ftt_renewal *r;
	struct ftt_tcp *c;
	struct ftt_seg s;

	if (!ftt_renew_opens(open, &s) || !(r = enter(w, from, open, &s, acked, now_ns)))
		return NULL;
	c = r->c;
	ftt_renew_follow(&c->flow, &s);
	r->next_ns = w->index ? UINT64_MAX : now_ns + 1000000000ull;
	if (ftt_cold(w)) {
		ftt_tcp_act(w, c, ftt_cold_open(&c->flow, open, &env), now_ns);
		return r;
	}
	aged.age_ms = age_ms;
	ftt_lockstep_again(w, c, &aged);
	ftt_backup_open(&c->flow, open, &env);
	ftt_table_update(&w->table, c, w->mode);
	if (!w->index)
		ftt_worker_give_first(w, open->data, open->data_len);
	return r;
}

/* Does the OPEN bring what such a message does? */
static bool fits(uint8_t kind, const struct ftt_record *open, struct ftt_seg *first)
{
	struct ftt_pkt k;

	if (kind == FTT_LANE_BEGIN)
		return ftt_renew_opens(open, first);
	return open->type == FTT_REC_OPEN && open->key.proto == 6 && ftt_record_answer(open, &k, first);
}

enum ftt_lane_answer ftt_renew_begin_message(struct ftt_worker *w, uint8_t from, uint8_t kind, const uint8_t *bytes, uint32_t len,
					     uint64_t now_ns)
{
	struct ftt_lane_begin begin;
	struct ftt_record open;
	struct ftt_tcp *c;
	struct ftt_seg s;

	if (len < HEAD || ftt_record_get(bytes + HEAD, len - HEAD, &open) != len - HEAD || !fits(kind, &open, &s))
		return FTT_LANE_BAD;
	if (w->mode != FTT_MODE_BACKUP)
		return FTT_LANE_TAKEN;
	ftt_lane_begin_get(bytes, &begin);
	open.attempt = begin.attempt;
	c = ftt_flows_find(w, &open.key, now_ns);
	if (c && c->flow.protection == FTT_PROTECTED && ftt_flow_name(&c->flow) == open.irs)
		return FTT_LANE_TAKEN;
	if (kind == FTT_LANE_OUTWARD)
		enter_opened(w, from, &open, &s, begin.acked, now_ns);
	else
		ftt_renew_enter(w, from, &open, begin.acked, begin.age_ms, now_ns);
	return FTT_LANE_TAKEN;
}
