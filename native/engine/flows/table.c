/* SPDX-License-Identifier: Apache-2.0 */
/* table.c - the flows of one worker: a chained hash over the key, and lists by age and activity. */
#define _GNU_SOURCE
#include <sodium.h>
#include <stdlib.h>
#include <string.h>
#include "engine/flows/table.h"

/* --- lists ----------------------------------------------------------------------------------- */

static struct ftt_tcp *flow_at(const struct ftt_table *t, const struct ftt_list *at)
{
	if (at >= t->list && at < t->list + 2 * FTT_AGES)
		return NULL; /* the head of a list */
	return FTT_ENTRY(at, struct ftt_tcp, order);
}

void ftt_table_to_front(struct ftt_table *t, struct ftt_tcp *c)
{
	ftt_list_remove(&c->order);
	ftt_list_add(&c->order, &t->list[c->age]);
}

void ftt_table_to_back(struct ftt_table *t, struct ftt_tcp *c)
{
	ftt_list_remove(&c->order);
	ftt_list_add(&c->order, t->list[c->age].prev);
}

struct ftt_tcp *ftt_table_newest(const struct ftt_table *t, unsigned list)
{
	return flow_at(t, t->list[list].next);
}

struct ftt_tcp *ftt_table_oldest(const struct ftt_table *t, unsigned list)
{
	return flow_at(t, t->list[list].prev);
}

struct ftt_tcp *ftt_table_next(const struct ftt_table *t, const struct ftt_tcp *c)
{
	const struct ftt_list *at = c ? c->order.next : t->list[0].next;

	while (!flow_at(t, at))
		if (++at == t->list + 2 * FTT_AGES)
			return NULL;
		else
			at = at->next;
	return flow_at(t, at);
}

void ftt_table_new_role(struct ftt_table *t)
{
	t->role++;
	for (unsigned age = 0; age < FTT_AGES; age++)
		ftt_list_move(&t->list[age], &t->list[FTT_AGES + age]);
}

void ftt_table_update(struct ftt_table *t, struct ftt_tcp *c, uint32_t mode)
{
	enum ftt_age age = ftt_flow_age(&c->flow, c->closed, (uint8_t)mode);
	uint8_t counted = c->closed ? FTT_COUNT_CLOSED : c->flow.protection;

	t->count[c->counted]--;
	t->count[counted]++;
	c->counted = counted;
	ftt_table_count_why(t, c);
	if (age == c->age)
		return;
	t->of_age[c->age]--;
	t->of_age[age]++;
	c->age = (uint8_t)age;
	if (c->role == t->role)
		ftt_table_to_front(t, c);
}

bool ftt_table_waits(const struct ftt_tcp *c)
{
	return (!c->closed && ftt_flow_waits(&c->flow)) || c->held || (c->retained.window && c->retained.n);
}

void ftt_table_set_waiting(struct ftt_table *t, struct ftt_tcp *c, bool waits)
{
	if (waits == c->waiting)
		return;
	c->waiting = waits;
	if (waits) {
		c->wait_prev = NULL;
		c->wait_next = t->waiting;
		if (t->waiting)
			t->waiting->wait_prev = c;
		t->waiting = c;
		return;
	}
	if (c->wait_prev)
		c->wait_prev->wait_next = c->wait_next;
	else
		t->waiting = c->wait_next;
	if (c->wait_next)
		c->wait_next->wait_prev = c->wait_prev;
}

void ftt_table_commit_by(struct ftt_table *t, struct ftt_tcp *c, uint64_t by_ns)
{
	t->commit_by_ns = by_ns;
	if (c->dirty)
		return;
	c->dirty = true;
	c->dirty_next = t->dirty;
	t->dirty = c;
}

/* --- the table ------------------------------------------------------------------------------- */

int ftt_table_open(struct ftt_table *t, uint32_t max_flows)
{
	uint32_t size = 1024;

	memset(t, 0, sizeof(*t));
	while (size < max_flows && size < 1u << 20)
		size <<= 1;
	t->bucket = calloc(size, sizeof(*t->bucket));
	t->mask = size - 1;
	for (unsigned i = 0; i < 2 * FTT_AGES; i++)
		ftt_list_init(&t->list[i]);
	randombytes_buf(&t->secret, sizeof(t->secret));
	return t->bucket ? 0 : -1;
}

void ftt_table_close(struct ftt_table *t)
{
	free(t->bucket);
	free(t->by_stack);
	memset(t, 0, sizeof(*t));
}

static struct ftt_tcp **bucket(struct ftt_table *t, const struct ftt_key *k)
{
	return &t->bucket[ftt_key_hash(&t->secret, k) & t->mask];
}

struct ftt_tcp *ftt_table_find(struct ftt_table *t, const struct ftt_key *k)
{
	struct ftt_tcp *c = *bucket(t, k);

	while (c && memcmp(&c->key, k, sizeof(*k)))
		c = c->hash_next;
	return c;
}

struct ftt_tcp *ftt_table_add(struct ftt_table *t, const struct ftt_key *k, uint64_t now_ns)
{
	struct ftt_tcp *c = calloc(1, sizeof(*c)), **b = bucket(t, k);

	if (!c)
		return NULL;
	c->key = *k;
	c->held_tail = &c->held;
	c->hash_next = *b;
	*b = c;
	c->age = FTT_AGE_HALF_OPEN;
	c->role = t->role;
	c->recent = (uint32_t)(now_ns >> FTT_RECENT_SHIFT);
	ftt_list_add(&c->order, &t->list[c->age]);
	t->count[c->counted]++;
	t->why[c->counted_why]++;
	t->of_age[c->age]++;
	t->n++;
	t->n_apart += k->space == FTT_SPACE_STACK;
	return c;
}

static void unlink_flow(struct ftt_table *t, struct ftt_tcp *c)
{
	struct ftt_tcp **at = bucket(t, &c->key);

	while (*at != c)
		at = &(*at)->hash_next;
	*at = c->hash_next;
}

static void rename_flow(struct ftt_table *t, struct ftt_tcp *c, const struct ftt_key *k)
{
	struct ftt_tcp **b = bucket(t, k);

	unlink_flow(t, c);
	c->key = *k;
	c->hash_next = *b;
	*b = c;
}

/* --- flows whose port our stack knows by another number ------------------------------------------ */

static struct ftt_key key_of_stack(const struct ftt_tcp *c)
{
	struct ftt_key k = c->key;

	k.local_port = (uint16_t)(k.local_port + ftt_flow_port_delta(&c->flow));
	k.space = FTT_SPACE_STACK;
	return k;
}

static struct ftt_paired **bucket_of_stack(struct ftt_table *t, const struct ftt_key *k)
{
	return &t->by_stack[ftt_key_hash(&t->secret, k) & t->mask];
}

struct ftt_tcp *ftt_table_find_apart(struct ftt_table *t, const struct ftt_key *k)
{
	struct ftt_key own = *k, other;
	struct ftt_tcp *c;

	if (!t->n_apart)
		return NULL;
	own.space = FTT_SPACE_STACK;
	if ((c = ftt_table_find(t, &own)) || !t->by_stack)
		return c;
	for (struct ftt_paired *p = *bucket_of_stack(t, &own); p; p = p->next) {
		other = key_of_stack(p->flow);
		if (!memcmp(&other, &own, sizeof(own)))
			return p->flow;
	}
	return NULL;
}

bool ftt_table_pair(struct ftt_table *t, struct ftt_tcp *c, const struct ftt_key *k)
{
	struct ftt_key own = c->key;
	struct ftt_paired *p, **b;

	if (!t->by_stack && !(t->by_stack = calloc((size_t)t->mask + 1, sizeof(*t->by_stack))))
		return false;
	if (!(p = malloc(sizeof(*p))))
		return false;
	b = bucket_of_stack(t, &own);
	*p = (struct ftt_paired){.next = *b, .flow = c};
	*b = p;
	rename_flow(t, c, k);
	return true;
}

void ftt_table_part(struct ftt_table *t, struct ftt_tcp *c)
{
	struct ftt_key own = key_of_stack(c);

	if (c->flow.opener != FTT_OPENED_LOCAL || !t->by_stack || c->key.space == FTT_SPACE_STACK)
		return;
	for (struct ftt_paired **at = bucket_of_stack(t, &own), *p; (p = *at); at = &p->next) {
		if (p->flow != c)
			continue;
		*at = p->next;
		free(p);
		t->n_apart--;
		return;
	}
}

void ftt_table_to_service(struct ftt_table *t, struct ftt_tcp *c)
{
	struct ftt_key k = c->key;

	k.space = FTT_SPACE_SERVICE;
	rename_flow(t, c, &k);
	t->n_apart--;
}

void ftt_table_forget_dirty(struct ftt_table *t, struct ftt_tcp *c)
{
	struct ftt_tcp **at = &t->dirty;

	if (!c->dirty)
		return;
	while (*at != c)
		at = &(*at)->dirty_next;
	*at = c->dirty_next;
	c->dirty = false;
}

void ftt_table_remove(struct ftt_table *t, struct ftt_tcp *c)
{
	ftt_table_part(t, c);
	t->n_apart -= c->key.space == FTT_SPACE_STACK;
	unlink_flow(t, c);
	ftt_table_set_waiting(t, c, false);
	ftt_table_forget_dirty(t, c);
	ftt_list_remove(&c->order);
	t->count[c->counted]--;
	t->why[c->counted_why]--;
	t->of_age[c->age]--;
	t->n--;
	free(c->syn);
	free(c->points);
	free(c);
}
