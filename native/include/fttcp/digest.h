/* SPDX-License-Identifier: Apache-2.0 */
/*
 * digest.h - checksums of a server's output stream, to be compared between both nodes.
 *
 * The stream is cut in blocks of 64 KiB; each has a CRC-32C of its own, so that one difference
 * (a Date header) spoils one block. Segment boundaries differ between the nodes: besides the
 * whole blocks, the running sum at the stream's present end is compared when both ends meet.
 */
#ifndef FTTCP_DIGEST_H
#define FTTCP_DIGEST_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define FTT_BLOCK 65536u
#define FTT_RING 128u       /* blocks by which the nodes may be apart at first ... */
#define FTT_RING_MAX 16384u /* ... and at most, to be compared still */

struct ftt_digest {
	uint32_t next;  /* stream offset (modulo 2^32) up to which the output was summed */
	uint32_t crc;   /* of the present block so far */
	uint32_t block; /* number of the present block */
	bool broken;    /* bytes of the present block were not seen */
};

struct ftt_sum {
	uint32_t block, crc;
	uint8_t from; /* 0 empty, 1 ours, 2 theirs */
};

/* Primary only: sums waiting for the other node's, of either origin. As wide as the nodes have been apart. */
struct ftt_ring {
	uint32_t used, size;       /* slots */
	uint32_t next[2];          /* block that each origin is to tell of */
	uint32_t point, point_crc; /* their running sum at an offset that we have not reached */
	bool point_set;
	struct ftt_sum slot[];
};

uint32_t ftt_crc32c(uint32_t crc, const uint8_t *p, size_t n);

enum ftt_compared { FTT_SAME, FTT_DIFFERENT, FTT_LATER };

static inline struct ftt_ring *ftt_ring_new(uint32_t size)
{
	struct ftt_ring *r = calloc(1, sizeof(*r) + size * sizeof(r->slot[0]));

	if (r)
		r->size = size;
	return r;
}

/* Whether another block has this one's slot, and its other sum may come yet. */
static inline bool ftt_ring_narrow(const struct ftt_ring *r, uint32_t block)
{
	const struct ftt_sum *s = &r->slot[block % r->size];

	return s->from && s->block != block && (int32_t)(s->block - r->next[2 - s->from]) >= 0;
}

/* Makes room for blocks that are further apart; false when a bound or the memory forbids it. */
static inline bool ftt_ring_widen(struct ftt_ring **ring)
{
	struct ftt_ring *old = *ring, *wide = old->size < FTT_RING_MAX ? ftt_ring_new(2 * old->size) : NULL;

	if (!wide)
		return false;
	wide->used = old->used;
	memcpy(wide->next, old->next, sizeof(wide->next));
	wide->point = old->point;
	wide->point_crc = old->point_crc;
	wide->point_set = old->point_set;
	for (uint32_t i = 0; i < old->size; i++)
		if (old->slot[i].from)
			wide->slot[old->slot[i].block % wide->size] = old->slot[i];
	free(old);
	*ring = wide;
	return true;
}

/*
 * One block's sum from one side (1 ours, 2 theirs), into the ring, which may move; *lost counts sums that were
 * overtaken uncompared.
 */
static inline enum ftt_compared ftt_ring_put(struct ftt_ring **ring, uint32_t block, uint32_t crc, uint8_t from, uint64_t *lost)
{
	struct ftt_ring *r;
	struct ftt_sum *s;

	if (!*ring && !(*ring = ftt_ring_new(FTT_RING))) {
		++*lost;
		return FTT_LATER;
	}
	while (ftt_ring_narrow(*ring, block) && ftt_ring_widen(ring))
		;
	r = *ring;
	r->next[from - 1] = block + 1;
	s = &r->slot[block % r->size];
	if (s->from && s->block == block && s->from != from) {
		s->from = 0;
		r->used--;
		return s->crc == crc ? FTT_SAME : FTT_DIFFERENT;
	}
	if (s->from && s->block != block) {
		++*lost;
		if ((int32_t)(block - s->block) < 0)
			return FTT_LATER; /* keep the newer one */
	}
	r->used += !s->from;
	*s = (struct ftt_sum){.block = block, .crc = crc, .from = from};
	return FTT_LATER;
}

#endif
