/* SPDX-License-Identifier: Apache-2.0 */
/* udp_log.c - memory of the logs of UDP sessions, within the bounds that TCP's have; see udp_log.h. */
#define _GNU_SOURCE
#include <stdlib.h>
#include "engine/flows/log.h"
#include "engine/flows/udp_log.h"

static void release(struct ftt_worker *w, struct ftt_udp_session *u)
{
	w->log_bytes -= sizeof(*u->log) + u->log->size;
	w->n_logs--;
	free(u->log->bytes);
	free(u->log);
	u->log = NULL;
}

void ftt_udp_log_why(struct ftt_udp_table *t, struct ftt_udp_session *u, enum ftt_unrenewable why)
{
	t->why[u->unrenewable]--;
	t->why[why]++;
	u->unrenewable = (uint8_t)why;
}

void ftt_udp_log_begin(struct ftt_worker *w, struct ftt_udp_session *u)
{
	bool renews = w->e->cfg.policy.renew;

	ftt_udp_log_why(&w->udp, u, renews ? FTT_LOGS_TOO_LONG : FTT_NO_RENEWAL);
	if (!renews || !ftt_log_may_begin(w->log_bytes, sizeof(*u->log), &w->e->cfg.policy) || !(u->log = calloc(1, sizeof(*u->log))))
		return;
	ftt_list_init(&u->log->order);
	u->log->u = u;
	ftt_udp_log_why(&w->udp, u, FTT_RENEWABLE);
	w->n_logs++;
	w->log_bytes += sizeof(*u->log);
}

bool ftt_udp_note(struct ftt_worker *w, struct ftt_udp_session *u, const struct ftt_noted *x)
{
	struct ftt_udp_log *l = u->log;
	enum ftt_unrenewable why;

	if (!ftt_udp_notes(u))
		return false;
	why = x->len > FTT_NOTED_MOST ? FTT_LOG_TOO_LONG : ftt_log_room(w, &l->bytes, &l->size, l->len + FTT_NOTED_HEADER + x->len,
									  w->e->cfg.policy.renew_flow, w->mode == FTT_MODE_BACKUP && l->stage);
	if (why) {
		ftt_udp_log_end(w, u, why);
		return false;
	}
	ftt_noted_put(l->bytes + l->len, x);
	l->len += FTT_NOTED_HEADER + x->len;
	return true;
}

void ftt_udp_log_end(struct ftt_worker *w, struct ftt_udp_session *u, enum ftt_unrenewable why)
{
	ftt_udp_log_why(&w->udp, u, why);
	if (u->log && !ftt_renewal_rests(u->unrenewable) && !u->log->stage && !u->log->left) /* else it ends with that */
		release(w, u);
}

void ftt_udp_log_stage(struct ftt_worker *w, struct ftt_udp_session *u, enum ftt_udp_stage stage)
{
	struct ftt_udp_log *l = u->log;

	w->udp.n_renewed += !l->stage;
	ftt_list_remove(&l->order);
	ftt_list_init(&l->order);
	l->stage = (uint8_t)stage;
	if (stage)
		ftt_list_add(&l->order, w->udp.renewed.prev);
	w->udp.n_renewed -= !stage;
	if (u->unrenewable)
		ftt_udp_log_end(w, u, (enum ftt_unrenewable)u->unrenewable);
}

void ftt_udp_log_forget(struct ftt_worker *w, struct ftt_udp_session *u)
{
	if (!u->log)
		return;
	u->log->left = 0;
	ftt_udp_log_stage(w, u, FTT_UDP_STILL);
	ftt_udp_log_end(w, u, FTT_LOG_GAP);
}
