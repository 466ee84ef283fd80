/* SPDX-License-Identifier: Apache-2.0 */
/*
 * memory.h - the log of calls that this node's server writes or reads (core/lockstep/calls.h), as its engine shares it: for the
 * leader's it is the follower, for the follower's the leader.
 *
 * The server can write all of it at any time. What is read is looked at once, and compared with numbers of our own.
 */
#ifndef FTTCP_CALLS_MEMORY_H
#define FTTCP_CALLS_MEMORY_H
#include <stdbool.h>
#include <stddef.h>
#include "core/calls_stream.h"
#include "core/lockstep/calls.h"

struct ftt_calls_memory {
	struct ftt_calls_log *log; /* NULL: there is none */
	size_t size;
	uint32_t ring_size; /* as it was when it was mapped */
};

/* A fresh log, of a server that has not started. 0, or -1 with a sentence in err. */
int ftt_calls_map(struct ftt_calls_memory *m, const char *path, char *err, size_t err_len);
void ftt_calls_unmap(struct ftt_calls_memory *m);

static inline uint32_t ftt_calls_state(const struct ftt_calls_memory *m)
{
	return atomic_load_explicit(&m->log->state, memory_order_acquire);
}

static inline struct ftt_calls_ring *ftt_calls_ring_at(const struct ftt_calls_memory *m, uint32_t i)
{
	return ftt_calls_rings(m->log) + i;
}

static inline uint8_t *ftt_calls_bytes_of(const struct ftt_calls_memory *m, uint32_t i)
{
	return (uint8_t *)m->log + 2 * FTT_CALLS_PAGE + (size_t)i * m->ring_size;
}

/* Each copy goes on by itself, the follower after what is there. */
void ftt_calls_part_ways(struct ftt_calls_memory *m);
/* It is broken, for a reason that we have found; of ring i. One that is there stays. */
void ftt_calls_break_it(struct ftt_calls_memory *m, enum ftt_calls_end why, uint32_t ring);
/* Where it broke. */
void ftt_calls_broken_at(const struct ftt_calls_memory *m, struct ftt_calls_broke *b);
/* Whoever waits for this word of the log to change. */
void ftt_calls_wake(void *word);
/* The thread of this ring has ended on both sides: it is free again. */
void ftt_calls_free_ring(struct ftt_calls_memory *m, struct ftt_calls_ring *r, uint64_t position);

#endif
