/* SPDX-License-Identifier: Apache-2.0 */
/* renewal.c - the lists of flows that are renewed; see renewal.h. */
#define _GNU_SOURCE
#include <stdlib.h>
#include "engine/flows/lockstep.h"
#include "engine/flows/renewal.h"
#include "engine/flows/spill.h"

static struct ftt_list *list_of(struct ftt_worker *w, const struct ftt_renewal *r)
{
	return r->stage != FTT_RENEW_WAITS ? &w->renew_active : r->reopens ? &w->reopen_waiting : &w->renew_waiting;
}

static void leave(struct ftt_worker *w, struct ftt_renewal *r)
{
	ftt_list_remove(&r->order);
	w->n_renewing[r->stage]--;
	w->n_reopening[r->stage] -= r->reopens;
}

static void enter(struct ftt_worker *w, struct ftt_renewal *r, uint8_t stage)
{
	r->stage = stage;
	r->resting = false;
	ftt_list_add(&r->order, list_of(w, r)->prev);
	w->n_renewing[stage]++;
	w->n_reopening[stage] += r->reopens;
}

void ftt_renewals_open(struct ftt_worker *w)
{
	ftt_list_init(&w->renew_waiting);
	ftt_list_init(&w->reopen_waiting);
	ftt_list_init(&w->renew_active);
	ftt_list_init(&w->renew_resting);
	ftt_again_anew(&w->renew_again);
	w->log_whole = 1; /* until it shows to be too much */
}

struct ftt_renewal *ftt_renewals_first(struct ftt_worker *w)
{
	struct ftt_list *lists[] = {&w->renew_waiting, &w->reopen_waiting, &w->renew_active};

	for (unsigned i = 0; i < sizeof(lists) / sizeof(lists[0]); i++)
		if (!ftt_list_empty(lists[i]))
			return FTT_ENTRY(lists[i]->next, struct ftt_renewal, order);
	return NULL;
}

struct ftt_renewal *ftt_renewal_begin(struct ftt_worker *w, struct ftt_tcp *c, uint64_t now_ns)
{
	struct ftt_renewal *r = calloc(1, sizeof(*r));

	if (!r)
		return NULL;
	r->c = c;
	r->moved_ns = now_ns;
	r->reopens = w->mode != FTT_MODE_BACKUP && c->flow.opener == FTT_OPENED_LOCAL;
	c->log->renewal = r;
	c->unrenewable = FTT_RENEWABLE; /* what was in the way the last time may not be any more */
	ftt_table_count_why(&w->table, c);
	enter(w, r, FTT_RENEW_WAITS);
	return r;
}

void ftt_renewal_stage(struct ftt_worker *w, struct ftt_renewal *r, enum ftt_renewal_stage stage)
{
	leave(w, r);
	enter(w, r, (uint8_t)stage);
}

void ftt_renewal_rest(struct ftt_worker *w, struct ftt_renewal *r)
{
	r->resting = true;
	ftt_list_remove(&r->order);
	ftt_list_add(&r->order, w->renew_resting.prev);
}

void ftt_renewal_stir(struct ftt_worker *w, struct ftt_renewal *r)
{
	if (!r->resting)
		return;
	r->resting = false;
	ftt_list_remove(&r->order);
	ftt_list_add(&r->order, w->renew_active.prev);
}

void ftt_renewals_stir(struct ftt_worker *w)
{
	while (!ftt_list_empty(&w->renew_resting))
		ftt_renewal_stir(w, FTT_ENTRY(w->renew_resting.next, struct ftt_renewal, order));
}

void ftt_renewal_end(struct ftt_worker *w, struct ftt_tcp *c)
{
	struct ftt_renewal *r = ftt_renewal(c);

	if (!r)
		return;
	leave(w, r);
	if (c->row && r->told && !r->current) /* what was not given yet comes again, and at another time */
		c->unrenewable = ftt_unrenewable(c->unrenewable) ? c->unrenewable : FTT_LOG_GAP;
	free(r->word);
	free(r);
	c->log->renewal = NULL;
	ftt_spill_unread(w, c->log);
	ftt_lockstep_caught_up(w, c);
	if (c->unrenewable)
		ftt_log_end(w, c, (enum ftt_unrenewable)c->unrenewable);
}

void ftt_renewal_move(struct ftt_worker *w, struct ftt_tcp *to, struct ftt_tcp *from)
{
	to->log = from->log;
	to->log->renewal->c = to;
	ftt_spill_move(to);
	to->unrenewable = from->unrenewable;
	to->attempt = from->attempt;
	from->log = NULL;
	from->unrenewable = FTT_LOG_GAP;
	ftt_table_count_why(&w->table, to);
	ftt_table_count_why(&w->table, from);
}

void ftt_renewal_forget(struct ftt_worker *w, struct ftt_tcp *c)
{
	ftt_renewal_end(w, c);
	ftt_log_forget(w, c);
}
