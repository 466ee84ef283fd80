/* SPDX-License-Identifier: Apache-2.0 */
/*
 * calls.h - the log of calls: the memory through which one copy of a server (the leader) tells the other one (the follower)
 * what its calls returned.
 *
 * The library native/calls is loaded into both copies. A call whose result may differ between two hosts is *followed*: the
 * leader makes it and appends its result; the follower takes the result from the log, and waits for it if it is not there
 * yet. So both copies compute the same from the same results. What a call does to the world is done on both: bytes are
 * read and written, connections accepted, processes forked.
 *
 * A file: a page with the head, a page with the heads of the rings, and the rings. Each thread has a ring of its own, found by
 * its *name*: the first thread's is FTT_CALLS_FIRST; that of a child follows from its parent's, and from how many
 * threads and processes the parent has made before. One thread writes a ring, one reads it, without locks. A record is
 * published by one store; no call of the system is made for it, unless the other side sleeps.
 *
 *   leader    call -> result -> [record] .. written ->
 *   follower                                -> read .. [record] -> result, and the same bytes moved
 *
 * A record says which call it was, its result and errno, a word about its arguments, and what the call wrote to memory, if that
 * may differ (a time, a random number, a stat; not the bytes of a connection: both hosts have these). The follower's call
 * must be the same one, with the same word; else the log is *broken*: at the first call that differs, not at the first wrong byte.
 *
 * Signals are calls, too: a handler runs while the leader is in a followed call, or waits for the next one. Its record stands before
 * that call's, and the follower runs the handler there.
 *
 * How it ends: the ring is full, or none is free, and stays so for `patience_ms`; a call differs; what a copy needs does not come; a call
 * was made that cannot be followed; the memory is damaged. The first reason is kept (struct ftt_calls_break). Then each copy goes
 * on with results of its own: so it does when somebody sets the state to FTT_CALLS_ALONE, after the records that
 * are there. Time does not run back then, and each descriptor is reported ready by epoll once more if it is.
 *
 * The server can write all of it at any time. Sizes are looked at once, positions are kept in the process and compared.
 */
#ifndef FTTCP_CALLS_LOG_H
#define FTTCP_CALLS_LOG_H
#include <stdatomic.h>
#include <stdint.h>

#define FTT_CALLS_MAGIC 0x31736c6c61637466ull /* "ftcalls1", little-endian */
#define FTT_CALLS_PAGE 4096u
#define FTT_CALLS_RINGS 32u /* threads at once, of all processes; their heads fill a page */
#define FTT_CALLS_FIRST 1ull

enum ftt_calls_state { FTT_CALLS_RUNS = 0, FTT_CALLS_BROKEN = 1, FTT_CALLS_ALONE = 2 };

enum ftt_calls_family { /* bits of ftt_calls_log.families: those that are followed */
	FTT_CALLS_CHANCE = 1,
	FTT_CALLS_TIME = 2,
	FTT_CALLS_SELF = 4,   /* who and where it is: numbers of processes, names, addresses */
	FTT_CALLS_EVENTS = 8, /* what it waits for, and in which order that comes */
	FTT_CALLS_ACCEPT = 16,
	FTT_CALLS_READ = 32,
	FTT_CALLS_WRITE = 64,
	FTT_CALLS_FILES = 128,
	FTT_CALLS_SIGNALS = 256,
	FTT_CALLS_CHILDREN = 512,
	FTT_CALLS_LOCKS = 1024 /* in which order threads get them */
};

enum ftt_calls_end { /* why it is broken */
	FTT_CALLS_DIFFERS = 1, /* another call than the leader's, or other arguments */
	FTT_CALLS_FULL = 2,    /* the follower did not keep up */
	FTT_CALLS_ENDED = 3,   /* bytes or a connection that the leader had did not come */
	FTT_CALLS_REFUSED = 4, /* cannot be followed */
	FTT_CALLS_DAMAGED = 5,
	FTT_CALLS_NO_RING = 6, /* more than FTT_CALLS_RINGS threads at once */
	FTT_CALLS_ASKED = 7    /* somebody sent the follower a signal */
};

struct ftt_calls_break {
	uint32_t why;                 /* enum ftt_calls_end; 0: it is not broken */
	uint16_t made, said;          /* the call, and the leader's where they differ: enum calls_call of native/calls */
	uint32_t pid, thread;         /* of this copy; the number of the thread's ring */
	uint64_t number;              /* of the call in its thread, from 1 on */
	uint64_t made_about, said_about;
	char program[16];
};

struct ftt_calls_log { /* the first page */
	uint64_t magic;
	uint32_t ring_size;   /* bytes, a power of two */
	uint32_t families;    /* enum ftt_calls_family */
	uint32_t patience_ms; /* how long the leader waits for room, or for a ring */
	_Atomic uint32_t state;
	_Atomic uint32_t breaking; /* somebody writes `first` */
	_Atomic uint32_t freed; /* how many rings have become free: the leader waits for one by it */
	struct ftt_calls_break first;
};

/* Positions count bytes from the ring's begin on, and never go back. */
struct ftt_calls_ring {
	_Atomic uint64_t name; /* 0: free */
	_Atomic uint64_t written, records;
	_Atomic uint32_t leader, leader_waits; /* its process */
	uint64_t apart[4]; /* the other side's are in another line of the cache */
	_Atomic uint64_t read;
	_Atomic uint32_t follower, follower_waits;
	_Atomic uint32_t over, reserved; /* of how many copies the thread has ended; of both: the ring is free again */
	uint64_t end[5];
};

struct ftt_calls_record { /* behind it are `size` bytes, filled up to a multiple of 8 */
	uint16_t call, error; /* errno, if result says that there is one */
	uint32_t size;
	int64_t result;
	uint64_t about;
};

_Static_assert(sizeof(struct ftt_calls_ring) == 128 && FTT_CALLS_RINGS * 128 == FTT_CALLS_PAGE, "a page of heads");
_Static_assert(sizeof(struct ftt_calls_record) == 24, "no gap");

static inline struct ftt_calls_ring *ftt_calls_rings(struct ftt_calls_log *log)
{
	return (struct ftt_calls_ring *)((uint8_t *)log + FTT_CALLS_PAGE);
}

#endif
