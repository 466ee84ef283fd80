/* SPDX-License-Identifier: Apache-2.0 */
/*
 * drain.h - the leader's log: what its threads have written is taken out of their rings into a stream (core/calls_stream.h), and kept
 * in memory from the server's start on, so that a follower may begin later. No call of the system is made for it, but where a thread waits
 * for room.
 */
#ifndef FTTCP_CALLS_DRAIN_H
#define FTTCP_CALLS_DRAIN_H
#include "engine/calls/memory.h"

#define FTT_DRAIN_PART (128u << 10) /* bytes of memory at once */

struct ftt_drain_part {
	struct ftt_drain_part *next;
	uint32_t len;
	uint8_t bytes[FTT_DRAIN_PART];
};

struct ftt_drain_ring {
	uint64_t name; /* 0: free */
	uint64_t at;   /* what is before this place was taken */
};

struct ftt_drain {
	struct ftt_calls_memory memory;
	struct ftt_drain_ring ring[FTT_CALLS_RINGS];
	struct ftt_drain_part *first, *last;
	uint64_t begin, end; /* of the stream, as far as it is kept; `end` counts from 0 on */
	uint64_t bytes;      /* of memory */
	bool cut;            /* its beginning is not there any more */
};

enum ftt_drained {
	FTT_DRAIN_SAME = 0,   /* there was nothing new */
	FTT_DRAIN_MORE = 1,
	FTT_DRAIN_FULL = 2,   /* there is no room for it, or no memory */
	FTT_DRAIN_BROKEN = 3  /* its state says so; or it is damaged, and says so now */
};

/* Takes what is there. `most`: bytes of memory; `held`: a follower has all before that place; it may go if there is no room. */
enum ftt_drained ftt_drain(struct ftt_drain *d, uint64_t held, const struct ftt_policy *policy);
/* Frames from that place of the stream on, which is where one begins, up to `most` bytes: whole ones; NULL: there are none. */
const uint8_t *ftt_drain_frames(const struct ftt_drain *d, uint64_t at, uint32_t most, uint32_t *len);
/* Nothing of it is kept any more. */
void ftt_drain_drop(struct ftt_drain *d);

#endif
