/* SPDX-License-Identifier: Apache-2.0 */
/* locks.h - whose turn it is: how often a lock was taken, or a semaphore given and taken. See locks.c. */
#ifndef FTTCP_CALLS_LOCKS_H
#define FTTCP_CALLS_LOCKS_H
#include "calls.h"

struct calls_turn {
	_Atomic uint32_t count;
	_Atomic uint16_t waits; /* followers that wait for another count */
	_Atomic uint16_t name;  /* by who took it first, as the how manyth; 0: nobody yet */
};

/* The follower's turn has come, or it is alone now: 0; else the leader's error. It ends the call. */
int calls_await_turn(struct calls_call *c, struct calls_turn *turn);
/* The lock was taken, if error is 0: the next one's turn has come, and the leader tells. Returns error. */
int calls_pass_turn(struct calls_call *c, struct calls_turn *turn, int error);
void calls_find_allocator(void); /* at the start */
/* Whether code at this place is the allocator's, if that is a library other than the C library. */
bool calls_is_allocators(const void *code);
/* A limit by a clock that we show is `own` by this host's. */
const struct timespec *calls_own_limit(clockid_t clock, const struct timespec *limit, struct timespec *own);

#endif
