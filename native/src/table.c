/* SPDX-License-Identifier: Apache-2.0 */
/* table.c - the flows of one worker: a chained hash over the key, and a list of all. */
#define _GNU_SOURCE
#include <stdlib.h>
#include <string.h>
#include <sodium.h>
#include "worker.h"

int ftt_table_open(struct ftt_table *t, uint32_t max_flows)
{
	uint32_t size = 1024;

	memset(t, 0, sizeof(*t));
	while (size < max_flows && size < 1u << 20)
		size <<= 1;
	t->bucket = calloc(size, sizeof(*t->bucket));
	t->mask = size - 1;
	t->seed = randombytes_random(); /* clients choose the keys: they must not choose the buckets */
	return t->bucket ? 0 : -1;
}

void ftt_table_close(struct ftt_table *t)
{
	free(t->bucket);
	memset(t, 0, sizeof(*t));
}

static uint32_t hash_key(const struct ftt_table *t, const struct ftt_key *k)
{
	uint32_t h = ftt_crc32c(t->seed, (const uint8_t *)k, sizeof(*k));

	h ^= h >> 16; /* murmur3's finalizer: CRC alone is linear */
	h *= 0x85ebca6b;
	h ^= h >> 13;
	return (h ^ t->seed) & t->mask;
}

struct ftt_tcp *ftt_table_find(struct ftt_table *t, const struct ftt_key *k)
{
	struct ftt_tcp *c = t->bucket[hash_key(t, k)];

	while (c && memcmp(&c->key, k, sizeof(*k)))
		c = c->hash_next;
	return c;
}

struct ftt_tcp *ftt_table_add(struct ftt_table *t, const struct ftt_key *k, uint64_t now_ns)
{
	struct ftt_tcp *c = calloc(1, sizeof(*c)), **b = &t->bucket[hash_key(t, k)];

	if (!c)
		return NULL;
	c->key = *k;
	c->created_ns = now_ns;
	c->held_tail = &c->held;
	c->hash_next = *b;
	*b = c;
	c->next = t->all;
	if (t->all)
		t->all->prev = c;
	t->all = c;
	t->n++;
	return c;
}

void ftt_table_remove(struct ftt_table *t, struct ftt_tcp *c)
{
	struct ftt_tcp **at = &t->bucket[hash_key(t, &c->key)];

	while (*at != c)
		at = &(*at)->hash_next;
	*at = c->hash_next;
	if (c->prev)
		c->prev->next = c->next;
	else
		t->all = c->next;
	if (c->next)
		c->next->prev = c->prev;
	t->n--;
	free(c->syn);
	free(c->ring);
	free(c);
}
