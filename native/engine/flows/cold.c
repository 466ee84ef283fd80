/* SPDX-License-Identifier: Apache-2.0 */
/* cold.c - what the primary tells of flows to a backup without a server; see core/tcp/cold.h. */
#define _GNU_SOURCE
#include "engine/flows/act.h"
#include "engine/flows/cold.h"
#include "engine/flows/filed.h"
#include "core/tcp/cold.h"

void ftt_cold_opened(struct ftt_worker *w, struct ftt_tcp *c, const struct ftt_record *r, uint64_t now_ns)
{
	struct ftt_env env = ftt_worker_env(w, now_ns);
	uint32_t actions;

	if (!c->log && !(c->flow.bits & FTT_F_MAPPED))
		ftt_log_begin(w, c, r->data, r->data_len);
	actions = c->log && !c->unrenewable ? ftt_cold_open(&c->flow, r, &env) : ftt_cold_refuse(&c->flow);
	ftt_tcp_act(w, c, actions, now_ns);
}

uint32_t ftt_cold_output(struct ftt_worker *w, struct ftt_tcp *c, const struct ftt_record *r)
{
	struct ftt_flow *f = &c->flow;
	uint32_t more = ftt_cold_said(f, r->type == FTT_REC_OUTPUT && r->flags & FTT_REC_ENDED && r->snd_nxt == f->sent);

	c->bytes_out += more;
	if (more && ftt_filed(w, c))
		ftt_filed_said(w, c);
	if (r->type == FTT_REC_OUTPUT && f->bits & FTT_F_SUMS && !(r->flags & FTT_REC_SUM)) {
		w->n.uncompared_blocks += ftt_digest_breaks(&c->digest);
	} else if (r->type == FTT_REC_OUTPUT && f->bits & FTT_F_SUMS && !c->digest.broken && seq_gt(r->point, f->told)) {
		ftt_cold_told(f, r->point);
		c->seen_crc = r->crc;
	}
	return FTT_ACT_COMMIT_LATER | ftt_close_if_ended(f);
}

void ftt_cold_word_of(struct ftt_tcp *c, const struct ftt_record *r)
{
	ftt_cold_word(&c->flow, r);
	c->bytes_out = r->place;
	if (r->flags & FTT_REC_SUM) {
		ftt_cold_told(&c->flow, r->point);
		c->seen_crc = r->crc;
	}
}

void ftt_cold_taken(struct ftt_tcp *c)
{
	c->bytes_out += ftt_cold_said(&c->flow, false);
}

void ftt_cold_kept(struct ftt_worker *w, struct ftt_tcp *c, uint64_t now_ns)
{
	if (c->flow.bits & FTT_F_MAPPED && !c->closed && !c->unrenewable)
		ftt_tcp_act(w, c, ftt_cold_keeps(&c->flow, c->log), now_ns);
}
