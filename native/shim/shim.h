/* SPDX-License-Identifier: Apache-2.0 */
/*
 * shim.h - a library that is loaded into a server before it starts, so that its two copies draw the same random numbers.
 *
 *   life.c     the shared memory, and what becomes of a process: its start, its forks
 *   who.c      which connection a thread is busy with: the one whose bytes it read last
 *   draw.c     what it draws then
 *   time.c     what its clocks show
 *
 * It writes nothing anywhere but into that memory, allocates nothing, and takes no lock that a fork could meet.
 */
#ifndef FTTCP_SHIM_H
#define FTTCP_SHIM_H
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include "fttcp/lockstep.h"

#define EXPORT __attribute__((visibility("default")))
#define SHIM_FDS (1u << 20)   /* descriptors above are nobody's */
#define SHIM_SLOTS (1u << 17) /* connections that a process may have open at once */
#define SHIM_NOBODY 0u        /* no slot */

/* A connection of this process. Nothing of this is secret; a child inherits it. */
struct shim_slot {
	_Atomic uint32_t refs;  /* descriptors; 0: free */
	_Atomic uint32_t epoch; /* which connection of this slot: a thread may remember one that was closed */
	struct ftt_ls_found found; /* row NULL: without identity */
	_Atomic uint64_t data;     /* what it is registered with in epoll */
	_Atomic int64_t shown_ns;  /* the latest time that was shown for it */
};

/*
 * ... and what it draws from. The kernel clears this memory in a child, whatever made it, so that no two processes have the
 * same key.
 */
#define SHIM_COUNTS 16u

struct shim_secret {
	_Atomic uint32_t state; /* enum shim_state */
	uint8_t key[FTT_CHACHA_KEY];
	_Atomic uint64_t drawn[SHIM_COUNTS]; /* by kind and length; those of several may share a count */
};

enum shim_state { SHIM_FRESH = 0, SHIM_BUSY, SHIM_READY, SHIM_LOST };

struct shim_current {
	uint32_t slot, epoch;
};

extern struct ftt_ls_map shim_map; /* .header NULL: the library does nothing */
extern struct shim_slot shim_slots[SHIM_SLOTS];
extern struct shim_secret *shim_secrets; /* [SHIM_SLOTS]; the one of slot 0 is the process's own, until it serves */
extern _Atomic bool shim_serves;         /* it has accepted a connection, or is the child of a process that had */
extern _Thread_local struct shim_current shim_current __attribute__((tls_model("initial-exec")));
/* It was told that there is something to read, and has not read yet. */
extern _Thread_local bool shim_ahead __attribute__((tls_model("initial-exec")));

/* The slot that this thread is busy with, or SHIM_NOBODY. */
static inline uint32_t shim_now(void)
{
	struct shim_current c = shim_current;

	return c.slot && atomic_load_explicit(&shim_slots[c.slot].epoch, memory_order_relaxed) == c.epoch ? c.slot : SHIM_NOBODY;
}

static inline void shim_count(enum ftt_ls_count what)
{
	atomic_fetch_add_explicit(&shim_map.header->count[what], 1, memory_order_relaxed);
}

/* draw.c */
/* The slot has this key, of which nothing is drawn yet. */
void shim_set_key(uint32_t slot, const uint8_t key[FTT_CHACHA_KEY]);
/* Has the slot's key, taking a lineage if it has none yet; false if its connection has no identity (any more). */
bool shim_keyed(uint32_t slot);
void shim_forget_key(uint32_t slot);

/* who.c */
void shim_find_functions(void);
/* Descriptors that were there when the program started: one that executes itself anew knows its connection by them. */
void shim_look_at_descriptors(void);
/* The connection of a descriptor, or SHIM_NOBODY. */
uint32_t shim_slot_of(int fd);

/* time.c */
void shim_find_clocks(void);

#endif
