/* SPDX-License-Identifier: Apache-2.0 */
/* checkpoint.c - see checkpoint.h. */
#define _GNU_SOURCE
#include "engine/flows/act.h"
#include "engine/flows/checkpoint.h"
#include "engine/flows/cold.h"
#include "engine/flows/log.h"
#include "engine/flows/renew.h"
#include "engine/flows/udp_cold.h"
#include "core/tcp/cold.h"

static void part_on_primary(struct ftt_worker *w, struct ftt_tcp *c, uint64_t now_ns)
{
	if (ftt_renewal(c))
		ftt_renew_give_up(w, c, FTT_BEFORE_CHECKPOINT, now_ns);
	ftt_log_end(w, c, FTT_BEFORE_CHECKPOINT);
	if (c->flow.protection == FTT_OPENING || c->flow.protection == FTT_PROTECTED)
		ftt_tcp_act(w, c, ftt_flow_detach(&c->flow, FTT_WHY_BEFORE_CHECKPOINT, now_ns), now_ns);
}

static void part_on_backup(struct ftt_worker *w, struct ftt_tcp *c, uint64_t now_ns)
{
	if (ftt_renewal(c))
		ftt_renewal_end(w, c);
	ftt_tcp_act(w, c, ftt_cold_outlived(&c->flow), now_ns);
}

void ftt_checkpoint(struct ftt_worker *w, bool told, uint64_t now_ns)
{
	bool emits = ftt_flow_emits((uint8_t)w->mode);

	w->checkpointed = told && emits;
	if (emits || ftt_cold(w))
		ftt_udp_checkpoint(w, now_ns);
	for (struct ftt_tcp *c = NULL; (emits || ftt_cold(w)) && (c = ftt_table_next(&w->table, c));) {
		if (c->closed || c->flow.protection == FTT_NEW) /* of a mere SYN no server knows */
			continue;
		if (!emits && c->flow.protection == FTT_DETACHED) /* it was let go before */
			continue;
		if (emits)
			part_on_primary(w, c, now_ns);
		else
			part_on_backup(w, c, now_ns);
	}
}
