/* SPDX-License-Identifier: Apache-2.0 */
/* spill_done.c - what the disk has done for logs, and who waited for it; see spill.h. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdlib.h>
#include "engine/flows/renew.h"
#include "engine/flows/renew_lane.h"
#include "engine/flows/spill.h"

/* People are told of the first trouble, and of the next when something was written meanwhile. */
static void tell_trouble(struct ftt_worker *w, int error)
{
	struct ftt_event ev = {.kind = FTT_EV_SPOOL, .value = (uint64_t)error};

	if (error && !w->spool_error)
		ftt_event_post(w->e, &ev);
	w->spool_error = error;
}

static void fail(struct ftt_worker *w, struct ftt_spilled *sp, int error, uint64_t now_ns)
{
	tell_trouble(w, error);
	if (sp->c && !ftt_unrenewable(sp->c->unrenewable))
		ftt_renew_log_lost(w, sp->c, FTT_SPOOL_FAILED, now_ns);
}

/* ... as the worker knows it. */
static bool is_same(const struct ftt_spilled *sp, const struct ftt_spool_order *o)
{
	return sp->c && o->sum == sp->in.block[o->block].sum;
}

/* True: a primary's lane may go on with it. */
static bool was_read(struct ftt_worker *w, struct ftt_spilled *sp, uint64_t now_ns)
{
	struct ftt_page *p = sp->reads;
	int error = sp->read.error;

	sp->reads = NULL;
	if (!sp->c || !ftt_renewal(sp->c)) {
		ftt_spill_drop(w, p);
		return false;
	}
	if (error || !is_same(sp, &sp->read)) {
		fail(w, sp, error ? error : EBADMSG, now_ns);
		return false;
	}
	p->block = sp->read.block + 1;
	p->used = ++sp->in.clock;
	if (sp->in.wanted == p->block) /* it was looked for again meanwhile */
		sp->in.wanted = 0;
	if (ftt_flow_emits((uint8_t)w->mode))
		return true;
	ftt_renew_play(w, sp->c, now_ns);
	return false;
}

static void was_written(struct ftt_worker *w, struct ftt_spilled *sp, const struct ftt_spool_order *o, uint64_t now_ns)
{
	if (o->error)
		fail(w, sp, o->error, now_ns);
	else
		tell_trouble(w, 0);
	if (sp->c)
		sp->in.block[o->block].sum = o->sum;
}

static bool one_done(struct ftt_worker *w, struct ftt_spool_order *o, uint64_t now_ns)
{
	struct ftt_spilled *sp = o->of;

	if (o->kind == FTT_SPOOL_READ)
		return was_read(w, sp, now_ns);
	if (o->kind == FTT_SPOOL_WRITE) {
		was_written(w, sp, o, now_ns);
		free(o);
		return false;
	}
	free(sp->in.block);
	free(sp);
	return false;
}

static bool all_done(struct ftt_worker *w, struct ftt_spool_order *o, uint64_t now_ns)
{
	bool pump = false;

	for (struct ftt_spool_order *next; o; o = next) {
		next = o->next;
		pump |= one_done(w, o, now_ns);
	}
	return pump;
}

void ftt_spill_done(struct ftt_worker *w, uint64_t now_ns)
{
	if (!w->spool)
		return;
	if (all_done(w, ftt_spool_done(w->spool), now_ns))
		ftt_renew_pump(w, now_ns);
	if (!ftt_spool_is_near(ftt_spool_waiting(w->spool)))
		return;
	for (uint8_t k = 0; w->lane_waits; k++) {
		if (w->lane_waits & 1u << k)
			ftt_lane_resume(&w->lane, k);
		w->lane_waits &= ~(1u << k);
	}
}

/* --- life ------------------------------------------------------------------------------------------------ */

void ftt_spill_open(struct ftt_worker *w, void (*told)(void *w))
{
	if (!w->e->cfg.spool[0])
		return;
	w->spool = ftt_spool_open(w->e->cfg.spool, told, w);
	if (!w->spool)
		tell_trouble(w, errno);
}

void ftt_spill_close(struct ftt_worker *w)
{
	if (w->spool)
		all_done(w, ftt_spool_close(w->spool), ftt_now_ns());
	w->spool = NULL;
}
