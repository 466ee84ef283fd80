/* SPDX-License-Identifier: Apache-2.0 */
/* opening.c - the list of opening.h. */
#define _GNU_SOURCE
#include <stdlib.h>
#include <string.h>
#include "core/tcp/taken.h"
#include "engine/flows/opening.h"

static struct ftt_opening *at(const struct ftt_worker *w, struct ftt_list *l)
{
	return l == &w->opens ? NULL : FTT_ENTRY(l, struct ftt_opening, order);
}

struct ftt_opening *ftt_opening_first(const struct ftt_worker *w)
{
	return w->n_opens ? at(w, w->opens.next) : NULL;
}

struct ftt_opening *ftt_opening_next(const struct ftt_worker *w, struct ftt_opening *o)
{
	return at(w, o->order.next);
}

bool ftt_opening_add(struct ftt_worker *w, struct ftt_tcp *c, uint64_t now_ns)
{
	struct ftt_opening *o = ftt_opening_fits(w->n_opens) ? malloc(sizeof(*o)) : NULL;

	if (!o)
		return false;
	*o = (struct ftt_opening){.flow = c, .since_ns = now_ns};
	ftt_list_add(&o->order, w->opens.prev);
	w->n_opens++;
	return true;
}

static struct ftt_opening *opening_of(const struct ftt_worker *w, const struct ftt_tcp *c)
{
	struct ftt_opening *o = c->flow.opener == FTT_OPENED_LOCAL ? ftt_opening_first(w) : NULL;

	while (o && o->flow != c)
		o = at(w, o->order.next);
	return o;
}

void ftt_opening_leave(struct ftt_worker *w, const struct ftt_tcp *c)
{
	struct ftt_opening *o = opening_of(w, c);

	if (!o)
		return;
	ftt_list_remove(&o->order);
	free(o);
	w->n_opens--;
}

struct ftt_tcp *ftt_opening_to(const struct ftt_worker *w, const struct ftt_key *key, enum ftt_opening_kind kind)
{
	for (struct ftt_opening *o = ftt_opening_first(w); o; o = at(w, o->order.next)) {
		const struct ftt_key *k = &o->flow->key;

		if (ftt_opening_kind(o->flow) == kind && k->remote_port == key->remote_port &&
		    !memcmp(k->remote, key->remote, sizeof(k->remote)) && !memcmp(k->local, key->local, sizeof(k->local)))
			return o->flow;
	}
	return NULL;
}

bool ftt_opening_turn(const struct ftt_worker *w, const struct ftt_tcp *c)
{
	const struct ftt_tcp *first = ftt_opening_to(w, &c->key, FTT_OPENING_ASKED);

	return !first || first == c;
}

struct ftt_tcp *ftt_opening_answered(struct ftt_worker *w, struct ftt_tcp *c)
{
	if (c->flow.protection == FTT_OPENING || w->mode == FTT_MODE_BACKUP || !opening_of(w, c))
		return NULL;
	ftt_opening_leave(w, c);
	return ftt_opening_to(w, &c->key, FTT_OPENING_ASKED);
}
