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
#include <string.h>

#define FTT_BLOCK 65536u
#define FTT_RING 128u /* blocks by which the nodes may be apart and still be compared */

struct ftt_digest {
	uint32_t next;  /* stream offset (modulo 2^32) up to which the output was summed */
	uint32_t crc;   /* of the present block so far */
	uint32_t block; /* number of the present block */
	bool broken;    /* bytes of the present block were not seen */
};

/* Primary only: sums waiting for the other node's, of either origin. */
struct ftt_ring {
	struct { uint32_t block, crc; uint8_t from; } slot[FTT_RING]; /* from: 0 empty, 1 ours, 2 theirs */
	uint32_t used; /* slots */
	uint32_t point, point_crc; /* their running sum at an offset that we have not reached */
	bool point_set;
};

uint32_t ftt_crc32c(uint32_t crc, const uint8_t *p, size_t n);

enum ftt_compared { FTT_SAME, FTT_DIFFERENT, FTT_LATER };

/* One block's sum from one side (1 ours, 2 theirs); *lost counts sums that were overtaken uncompared. */
static inline enum ftt_compared ftt_ring_put(struct ftt_ring *r, uint32_t block, uint32_t crc, uint8_t from, uint64_t *lost)
{
	uint32_t i = block % FTT_RING;

	if (r->slot[i].from && r->slot[i].block == block && r->slot[i].from != from) {
		r->slot[i].from = 0;
		r->used--;
		return r->slot[i].crc == crc ? FTT_SAME : FTT_DIFFERENT;
	}
	if (r->slot[i].from && r->slot[i].block != block) {
		++*lost;
		if ((int32_t)(block - r->slot[i].block) < 0)
			return FTT_LATER; /* keep the newer one */
	}
	r->used += !r->slot[i].from;
	r->slot[i].block = block;
	r->slot[i].crc = crc;
	r->slot[i].from = from;
	return FTT_LATER;
}

#endif
