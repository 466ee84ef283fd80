/* SPDX-License-Identifier: Apache-2.0 */
/* spill.c - logs on their way to the spool and back; see spill.h. */
#define _GNU_SOURCE
#include <stdlib.h>
#include "engine/flows/spill.h"

static struct ftt_spilled *of_log(const struct ftt_log *l)
{
	return FTT_ENTRY(l->spooled, struct ftt_spilled, in);
}

/* --- out of memory ---------------------------------------------------------------------------------- */

static struct ftt_block *new_block(struct ftt_spooled *s)
{
	if (s->n == s->size) {
		uint32_t size = s->size ? s->size * 2 : 8;
		struct ftt_block *more = realloc(s->block, size * sizeof(*more));

		if (!more)
			return NULL;
		s->block = more;
		s->size = size;
	}
	return &s->block[s->n];
}

static enum ftt_unrenewable write_one(struct ftt_worker *w, struct ftt_spilled *sp, struct ftt_block b)
{
	struct ftt_block *to = new_block(&sp->in);
	struct ftt_spool_order *o = to ? malloc(sizeof(*o) + b.len) : NULL;

	if (!o)
		return FTT_LOGS_TOO_LONG;
	b.slot = ftt_spool_takes(ftt_spool_waiting(w->spool), b.len) ? ftt_spool_slot(w->spool, w->e->cfg.policy.spool_bytes) : UINT32_MAX;
	if (b.slot == UINT32_MAX) {
		free(o);
		return FTT_SPOOL_FULL;
	}
	*o = (struct ftt_spool_order){.kind = FTT_SPOOL_WRITE, .of = sp, .bytes = (uint8_t *)(o + 1), .slot = b.slot, .len = b.len,
				      .sum = b.at, .block = sp->in.n++};
	memcpy(o->bytes, ftt_log_here(sp->c->log, b.at), b.len);
	*to = b;
	ftt_spool_put(w->spool, o);
	return FTT_RENEWABLE;
}

/* What this log may have, or all, is at its bound: room that it does not need is given back. */
static void shrink(struct ftt_worker *w, struct ftt_log *l)
{
	uint32_t size = l->len - ftt_log_away(l);
	uint8_t *less = realloc(l->bytes, size);

	if (!less)
		return;
	l->bytes = less;
	w->log_bytes -= l->size - size;
	l->size = size;
}

enum ftt_unrenewable ftt_spill(struct ftt_worker *w, struct ftt_tcp *c, enum ftt_unrenewable why)
{
	struct ftt_log *l = c->log;
	uint32_t begin = l->syn_len + ftt_log_away(l), at = begin;
	struct ftt_block b = ftt_log_block(l, at);
	struct ftt_spilled *sp;
	enum ftt_unrenewable end = FTT_RENEWABLE;

	if (b.len < FTT_BLOCK_LEAST)
		return why;
	if (!l->spooled) {
		sp = calloc(1, sizeof(*sp));
		if (!sp)
			return FTT_LOGS_TOO_LONG;
		sp->c = c;
		l->spooled = &sp->in;
	}
	for (; b.len && !(end = write_one(w, of_log(l), b)); b = ftt_log_block(l, at))
		at += b.len;
	if (at == begin)
		return end;
	ftt_log_moved(l, at);
	if (why == FTT_LOGS_TOO_LONG || l->size > w->e->cfg.policy.renew_flow)
		shrink(w, l);
	return FTT_RENEWABLE;
}

/* --- back into memory --------------------------------------------------------------------------------- */

void ftt_spill_drop(struct ftt_worker *w, struct ftt_page *p)
{
	if (!p->bytes)
		return;
	free(p->bytes);
	*p = (struct ftt_page){0};
	w->n_pages--;
}

void ftt_spill_unread(struct ftt_worker *w, struct ftt_log *l)
{
	struct ftt_spilled *sp = l->spooled ? of_log(l) : NULL;

	for (uint32_t i = 0; sp && i < FTT_SPOOL_PAGES; i++)
		if (&sp->in.page[i] != sp->reads) /* else when that is done */
			ftt_spill_drop(w, &sp->in.page[i]);
}

/* A page for the next block, with memory. NULL: there is none at the moment. */
static struct ftt_page *page_for(struct ftt_worker *w, struct ftt_spooled *s)
{
	struct ftt_page *p = ftt_spooled_oldest(s, w->n_pages);

	if (!p)
		return NULL;
	if (!p->bytes) {
		if (!(p->bytes = malloc(FTT_BLOCK_MAX)))
			return NULL;
		w->n_pages++;
	}
	p->block = 0;
	return p;
}

void ftt_spill_fetch(struct ftt_worker *w, struct ftt_tcp *c)
{
	struct ftt_spilled *sp = c->log && c->log->spooled ? of_log(c->log) : NULL;
	const struct ftt_block *b;

	if (!sp || !sp->in.wanted || sp->reads || !(sp->reads = page_for(w, &sp->in)))
		return;
	b = &sp->in.block[sp->in.wanted - 1];
	sp->read = (struct ftt_spool_order){.kind = FTT_SPOOL_READ, .of = sp, .bytes = sp->reads->bytes, .slot = b->slot, .len = b->len,
					    .sum = b->at, .block = sp->in.wanted - 1};
	sp->in.wanted = 0;
	ftt_spool_put(w->spool, &sp->read);
}

void ftt_spill_move(struct ftt_tcp *c)
{
	if (c->log->spooled)
		of_log(c->log)->c = c;
}

void ftt_spill_forget(struct ftt_worker *w, struct ftt_log *l)
{
	struct ftt_spilled *sp;
	uint32_t *slots;

	if (!l->spooled)
		return;
	ftt_spill_unread(w, l);
	sp = of_log(l);
	sp->c = NULL;
	slots = (uint32_t *)(void *)sp->in.block; /* which are not needed any more, and larger */
	for (uint32_t i = 0; i < sp->in.n; i++)
		slots[i] = sp->in.block[i].slot;
	sp->free = (struct ftt_spool_order){.kind = FTT_SPOOL_FREE, .of = sp, .slots = slots, .n_slots = sp->in.n};
	ftt_spool_put(w->spool, &sp->free);
	l->spooled = NULL;
}

bool ftt_spill_behind(struct ftt_worker *w, uint8_t from)
{
	if (!w->spool || !ftt_spool_lags(ftt_spool_waiting(w->spool)))
		return false;
	w->lane_waits |= 1u << from;
	return true;
}
