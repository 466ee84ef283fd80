/* SPDX-License-Identifier: Apache-2.0 */
/*
 * spaces.h - experiments: a service space that differs from the local one on the node that shakes hands.
 *
 * Hosts draw their initial numbers from secrets of their own, so the two spaces of a pair lie anywhere. Namespaces of
 * one kernel share the secret: there they are neighbours, and faults at far and wrapping distances stay unseen.
 */
#ifndef FTTCP_SPACES_H
#define FTTCP_SPACES_H
#include <stdbool.h>
#include <stdint.h>
#include "core/types.h"

/* murmur3's finalizer */
static inline uint32_t ftt_spaces_mix(uint32_t h)
{
	h ^= h >> 16;
	h *= 0x85ebca6b;
	h ^= h >> 13;
	h *= 0xc2b2ae35;
	return h ^ h >> 16;
}

/* A number for the service space where the stack says `local`: `near` is how far before a turn it lies at most. */
static inline uint32_t ftt_spaces_draw(uint32_t local, uint32_t h, uint32_t near)
{
	uint32_t some = ftt_spaces_mix(h + 1);

	switch (h & 7) {
	case 0: /* as on a node that took nothing over */
		return local;
	case 1: /* it begins anew soon ... */
		return 0u - 1 - some % near;
	case 2: /* ... or at some time */
		return 0u - 1 - some % (near << 7);
	case 3: /* as signed numbers go: it is negative soon */
		return 0x7fffffffu - some % near;
	case 4: /* as far away as can be: about which of the two is ahead there are two opinions */
		return local + 0x80000000u - near / 2 + some % near;
	case 5: /* far behind */
		return local - 0x40000000u - some % 0x30000000u;
	case 6: /* far ahead */
		return local + 0x40000000u + some % 0x30000000u;
	default: /* anywhere */
		return some;
	}
}

#define FTT_NEAR_BYTES 65536u
#define FTT_NEAR_MS 1024u

/* What the client of a flow is to see of a SYN-ACK: pure, so that a seed gives the same again. */
static inline void ftt_spaces_choose(const struct ftt_shift *shift, uint32_t irs, uint32_t *iss, uint32_t *ts)
{
	uint32_t h = ftt_spaces_mix(shift->seed ^ ftt_spaces_mix(irs));

	if (!shift->on)
		return;
	*iss = shift->seed ? ftt_spaces_draw(*iss, h, FTT_NEAR_BYTES) : shift->iss;
	*ts = shift->seed ? ftt_spaces_draw(*ts, ftt_spaces_mix(h + 2), FTT_NEAR_MS) : shift->ts;
}

#endif
