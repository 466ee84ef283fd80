/* SPDX-License-Identifier: Apache-2.0 */
/* memory.c - the memory of a log of calls: see memory.h. */
#define _GNU_SOURCE
#include "engine/calls/memory.h"
#include "engine/shared_file.h"
#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>

int ftt_calls_map(struct ftt_calls_memory *m, const char *path, char *err, size_t err_len)
{
	size_t size = 0;
	struct ftt_calls_log *log = ftt_shared_map(path, &size);
	uint32_t ring = log && size >= 2 * FTT_CALLS_PAGE && log->magic == FTT_CALLS_MAGIC ? log->ring_size : 0;

	if (!log) {
		snprintf(err, err_len, "log of calls: %s: %s", path, strerror(errno));
		return -1;
	}
	if (ring < FTT_CALLS_PAGE || ring & (ring - 1) || (size - 2 * FTT_CALLS_PAGE) / ring < FTT_CALLS_RINGS) {
		snprintf(err, err_len, "log of calls: %s: is none of ours; remove it, and start again", path);
		ftt_shared_unmap(log, size);
		return -1;
	}
	*m = (struct ftt_calls_memory){.log = log, .size = size, .ring_size = ring};
	return 0;
}

void ftt_calls_unmap(struct ftt_calls_memory *m)
{
	if (m->log)
		ftt_shared_unmap(m->log, m->size);
	m->log = NULL;
}

void ftt_calls_wake(void *word)
{
	syscall(SYS_futex, word, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
}

void ftt_calls_part_ways(struct ftt_calls_memory *m)
{
	uint32_t runs = FTT_CALLS_RUNS;

	atomic_compare_exchange_strong(&m->log->state, &runs, FTT_CALLS_ALONE);
}

void ftt_calls_break_it(struct ftt_calls_memory *m, enum ftt_calls_end why, uint32_t ring)
{
	struct ftt_calls_break *at = &m->log->first;
	uint32_t none = 0, runs = FTT_CALLS_RUNS;

	if (ftt_calls_state(m) == FTT_CALLS_RUNS && atomic_compare_exchange_strong(&m->log->breaking, &none, 1)) {
		*at = (struct ftt_calls_break){.why = why, .pid = (uint32_t)getpid(), .thread = ring, .program = "fttcp"};
	}
	atomic_compare_exchange_strong(&m->log->state, &runs, FTT_CALLS_BROKEN);
}

void ftt_calls_broken_at(const struct ftt_calls_memory *m, struct ftt_calls_broke *b)
{
	const struct ftt_calls_break *at = &m->log->first;

	*b = (struct ftt_calls_broke){.why = at->why, .pid = at->pid, .thread = at->thread, .made = at->made, .said = at->said, .number = at->number};
	memcpy(b->program, at->program, sizeof(b->program));
	if (!b->why || b->why > FTT_CALLS_ASKED) /* it says nothing that we know */
		b->why = FTT_CALLS_DAMAGED;
}

void ftt_calls_free_ring(struct ftt_calls_memory *m, struct ftt_calls_ring *r, uint64_t position)
{
	atomic_store(&r->read, position);
	atomic_store(&r->over, 0);
	atomic_store(&r->name, 0);
	atomic_fetch_add(&m->log->freed, 1);
	ftt_calls_wake(&m->log->freed);
}
