/* SPDX-License-Identifier: Apache-2.0 */
/* place.c - a thread's place in the log: its name, and the ring of that name. */
#define _GNU_SOURCE
#include <limits.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include "calls.h"
#include "next.h"

_Thread_local struct calls_thread calls_self;
struct ftt_calls_log *calls_log;
volatile sig_atomic_t calls_role, calls_threads;

/* The next child's name; not 0. */
uint64_t calls_name_child(struct calls_thread *parent)
{
	uint64_t x = parent->name + 0x9e3779b97f4a7c15ull * ++parent->children;

	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9ull;
	x = (x ^ x >> 27) * 0x94d049bb133111ebull;
	x ^= x >> 31;
	return x > FTT_CALLS_FIRST ? x : x + 2;
}

void calls_map_ring(struct calls_thread *t, struct ftt_calls_ring *ring)
{
	t->bytes = (uint8_t *)calls_log + 2 * FTT_CALLS_PAGE + (size_t)(ring - ftt_calls_rings(calls_log)) * calls_log->ring_size;
	t->at = calls_role == CALLS_LEADS ? atomic_load(&ring->written) : atomic_load(&ring->read);
	t->number = calls_role == CALLS_LEADS ? atomic_load(&ring->records) : 0;
	t->ring = ring;
}

static struct ftt_calls_ring *claim_free(uint64_t name)
{
	for (struct ftt_calls_ring *first = ftt_calls_rings(calls_log), *r = first; r < first + FTT_CALLS_RINGS; r++) {
		uint64_t none = 0;

		if (atomic_load(&r->name) || !atomic_compare_exchange_strong(&r->name, &none, name))
			continue;
		NEXT(syscall)(SYS_futex, &r->name, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
		return r;
	}
	return NULL;
}

/* The follower may be behind, and its threads have rings that are over here. */
static struct ftt_calls_ring *claim(uint64_t name)
{
	struct timespec most = {.tv_nsec = CALLS_LOOK_MS * 1000000l};
	int64_t since = calls_now_ms();
	struct ftt_calls_ring *ring;
	uint32_t freed;

	do {
		freed = atomic_load(&calls_log->freed);
		ring = claim_free(name);
		if (!ring)
			NEXT(syscall)(SYS_futex, &calls_log->freed, FUTEX_WAIT, freed, &most, NULL, 0);
	} while (!ring && calls_still() && calls_now_ms() - since <= calls_log->patience_ms);
	return ring;
}

static struct ftt_calls_ring *find(uint64_t name)
{
	struct timespec most = {.tv_nsec = CALLS_LOOK_MS * 1000000l};

	for (;;) {
		struct ftt_calls_ring *first = ftt_calls_rings(calls_log), *next = NULL;
		bool still = calls_still(); /* what was there before the end is seen after it */

		for (struct ftt_calls_ring *r = first; r < first + FTT_CALLS_RINGS; r++) {
			uint64_t there = atomic_load(&r->name);

			if (there == name)
				return r;
			if (!there && !next)
				next = r;
		}
		if (!still)
			return NULL;
		if (next) /* the leader claims this one, but for one that has become free meanwhile */
			NEXT(syscall)(SYS_futex, &next->name, FUTEX_WAIT, 0, &most, NULL, 0);
		else
			NEXT(clock_nanosleep)(CLOCK_MONOTONIC, 0, &most, NULL); /* until a thread ends there */
	}
}

static void leave(struct ftt_calls_ring *ring, _Atomic uint32_t *own)
{
	if (!atomic_exchange(own, 0) || !atomic_fetch_add(&ring->over, 1))
		return;
	atomic_store(&ring->read, atomic_load(&ring->written));
	atomic_store(&ring->over, 0);
	atomic_store(&ring->name, 0);
	atomic_fetch_add(&calls_log->freed, 1);
	NEXT(syscall)(SYS_futex, &calls_log->freed, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
}

void calls_leave_ring(struct calls_thread *t)
{
	if (t->ring && calls_role != CALLS_ALONE)
		leave(t->ring, calls_role == CALLS_LEADS ? &t->ring->leader : &t->ring->follower);
	t->ring = NULL;
	t->name = 0;
}

void calls_leave_rings_of(int pid)
{
	struct ftt_calls_ring *first = ftt_calls_rings(calls_log);

	for (struct ftt_calls_ring *r = first; r < first + FTT_CALLS_RINGS && calls_role != CALLS_ALONE; r++) {
		_Atomic uint32_t *own = calls_role == CALLS_LEADS ? &r->leader : &r->follower;

		if (atomic_load(own) == (uint32_t)pid)
			leave(r, own);
	}
}

bool calls_has_followed(int pid)
{
	for (struct ftt_calls_ring *first = ftt_calls_rings(calls_log), *r = first; r < first + FTT_CALLS_RINGS; r++)
		if (atomic_load(&r->follower) == (uint32_t)pid && atomic_load(&r->read) != atomic_load(&r->written))
			return false;
	return true;
}

bool calls_has_ring(struct calls_thread *t)
{
	struct calls_call none = {0};
	struct ftt_calls_ring *ring;

	if (t->ring)
		return true;
	ring = calls_role == CALLS_LEADS ? claim(t->name) : find(t->name);
	if (!ring) {
		calls_break(FTT_CALLS_NO_RING, &none);
		return false;
	}
	calls_map_ring(t, ring);
	atomic_store(calls_role == CALLS_LEADS ? &ring->leader : &ring->follower, (uint32_t)NEXT(getpid)());
	return true;
}
