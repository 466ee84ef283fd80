/* SPDX-License-Identifier: Apache-2.0 */
/*
 * locks.c - mutexes and locks of readers and writers: in both copies a lock goes from thread to thread in the same order.
 *
 * Each lock counts how often it was taken. The leader tells the count that it found, while it has the lock; the follower's thread waits
 * until its lock has come to that count. A thread's n-th call is about the same lock in both copies, wherever that is in memory; a name
 * tells if it is not. The count lives in the lock, in bytes that the C library sets to 0 and does not use: it begins anew when the lock does, and locks in memory of
 * several processes count for all of them. Giving a lock back is not told. A process that has made no thread yet takes its own locks
 * without counting, and so does an allocator: which memory it gives depends on more than the program.
 */
#define _GNU_SOURCE
#include "calls.h"
#include "locks.h"
#include "next.h"

#define ROBUST 16 /* of a mutex's kind: its list is in use */
#define SHARED 128

static struct calls_turn *turn_of_mutex(pthread_mutex_t *m)
{
	return (struct calls_turn *)&m->__data.__list;
}

static struct calls_turn *turn_of_rwlock(pthread_rwlock_t *l)
{
	return (struct calls_turn *)&l->__data.__pad3;
}

_Static_assert(sizeof(struct calls_turn) <= sizeof(__pthread_list_t), "in a mutex");
_Static_assert(offsetof(pthread_rwlock_t, __data.__pad4) == offsetof(pthread_rwlock_t, __data.__pad3) + 4, "in a lock of readers");

/* `take` is evaluated once the thread's turn has come, and by who does not follow. */
#define IN_TURN(number, shared, turn, take)                                          \
	struct calls_call c = {0};                                                   \
	if ((calls_threads || (shared)) && !calls_is_allocators(__builtin_return_address(0))) \
		c = calls_begin(number, 0);                                          \
	int error = c.role == CALLS_FOLLOWS ? calls_await_turn(&c, turn) : 0;        \
	if (!error)                                                                  \
		error = (take);                                                      \
	return calls_pass_turn(&c, turn, error)

/* --- mutexes -------------------------------------------------------------------------------------------- */

EXPORT int pthread_mutex_lock(pthread_mutex_t *m)
{
	if (m->__data.__kind & ROBUST)
		calls_refuse(CALLS_MUTEX);
	IN_TURN(CALLS_MUTEX, m->__data.__kind & SHARED, turn_of_mutex(m), NEXT(pthread_mutex_lock)(m));
}

/* Whose turn has come waits for who has it still. */
EXPORT int pthread_mutex_trylock(pthread_mutex_t *m)
{
	IN_TURN(CALLS_MUTEX, m->__data.__kind & SHARED, turn_of_mutex(m), c.role == CALLS_FOLLOWS ? NEXT(pthread_mutex_lock)(m) : NEXT(pthread_mutex_trylock)(m));
}

EXPORT int pthread_mutex_clocklock(pthread_mutex_t *m, clockid_t clock, const struct timespec *limit)
{
	struct timespec own;

	IN_TURN(CALLS_MUTEX, m->__data.__kind & SHARED, turn_of_mutex(m),
		c.role == CALLS_FOLLOWS ? NEXT(pthread_mutex_lock)(m)
					: NEXT(pthread_mutex_clocklock)(m, clock, calls_own_limit(clock, limit, &own)));
}

EXPORT int pthread_mutex_timedlock(pthread_mutex_t *m, const struct timespec *limit)
{
	return pthread_mutex_clocklock(m, CLOCK_REALTIME, limit);
}

/* --- conditions: what a thread is told is when it has the mutex again ------------------------------------------------ */

/* Nobody sleeps on a follower's condition. Who is alone meanwhile has woken up for no reason, as POSIX allows. */
static int follow_wait(pthread_mutex_t *m)
{
	int error = pthread_mutex_unlock(m), told = 0;
	struct calls_call c;

	if (error)
		return error;
	c = calls_begin(CALLS_CONDITION, 0);
	if (c.role == CALLS_FOLLOWS)
		told = calls_await_turn(&c, turn_of_mutex(m));
	error = NEXT(pthread_mutex_lock)(m);
	calls_pass_turn(&c, turn_of_mutex(m), told);
	return error ? error : c.role == CALLS_FOLLOWS ? c.said.error : 0;
}

static bool follows(enum calls_number call)
{
	return calls_role == CALLS_FOLLOWS && calls_self.name && calls_follows(call);
}

/* The leader has the mutex when its time is over, too. */
static int tell_wait(struct calls_call *c, pthread_mutex_t *m, int error)
{
	bool has = !error || error == ETIMEDOUT;

	c->error = (uint16_t)error;
	calls_pass_turn(c, turn_of_mutex(m), has ? 0 : error);
	return error;
}

EXPORT int pthread_cond_wait(pthread_cond_t *condition, pthread_mutex_t *m)
{
	struct calls_call c;

	if (follows(CALLS_CONDITION))
		return follow_wait(m);
	c = calls_begin(CALLS_CONDITION, 0);
	return tell_wait(&c, m, NEXT(pthread_cond_wait)(condition, m));
}

EXPORT int pthread_cond_timedwait(pthread_cond_t *condition, pthread_mutex_t *m, const struct timespec *limit)
{
	clockid_t clock = condition->__data.__wrefs & 2 ? CLOCK_MONOTONIC : CLOCK_REALTIME; /* of its attributes */
	struct timespec own;
	struct calls_call c;

	if (follows(CALLS_CONDITION))
		return follow_wait(m);
	c = calls_begin(CALLS_CONDITION, 0);
	return tell_wait(&c, m, NEXT(pthread_cond_timedwait)(condition, m, calls_own_limit(clock, limit, &own)));
}

EXPORT int pthread_cond_clockwait(pthread_cond_t *condition, pthread_mutex_t *m, clockid_t clock, const struct timespec *limit)
{
	struct timespec own;
	struct calls_call c;

	if (follows(CALLS_CONDITION))
		return follow_wait(m);
	c = calls_begin(CALLS_CONDITION, 0);
	return tell_wait(&c, m, NEXT(pthread_cond_clockwait)(condition, m, clock, calls_own_limit(clock, limit, &own)));
}

/* --- readers and writers ---------------------------------------------------------------------------------------------- */

EXPORT int pthread_rwlock_rdlock(pthread_rwlock_t *l)
{
	IN_TURN(CALLS_RWLOCK, l->__data.__shared, turn_of_rwlock(l), NEXT(pthread_rwlock_rdlock)(l));
}

EXPORT int pthread_rwlock_wrlock(pthread_rwlock_t *l)
{
	IN_TURN(CALLS_RWLOCK, l->__data.__shared, turn_of_rwlock(l), NEXT(pthread_rwlock_wrlock)(l));
}

EXPORT int pthread_rwlock_tryrdlock(pthread_rwlock_t *l)
{
	IN_TURN(CALLS_RWLOCK, l->__data.__shared, turn_of_rwlock(l), c.role == CALLS_FOLLOWS ? NEXT(pthread_rwlock_rdlock)(l) : NEXT(pthread_rwlock_tryrdlock)(l));
}

EXPORT int pthread_rwlock_trywrlock(pthread_rwlock_t *l)
{
	IN_TURN(CALLS_RWLOCK, l->__data.__shared, turn_of_rwlock(l), c.role == CALLS_FOLLOWS ? NEXT(pthread_rwlock_wrlock)(l) : NEXT(pthread_rwlock_trywrlock)(l));
}

EXPORT int pthread_rwlock_clockrdlock(pthread_rwlock_t *l, clockid_t clock, const struct timespec *limit)
{
	struct timespec own;

	IN_TURN(CALLS_RWLOCK, l->__data.__shared, turn_of_rwlock(l),
		c.role == CALLS_FOLLOWS ? NEXT(pthread_rwlock_rdlock)(l)
					: NEXT(pthread_rwlock_clockrdlock)(l, clock, calls_own_limit(clock, limit, &own)));
}

EXPORT int pthread_rwlock_clockwrlock(pthread_rwlock_t *l, clockid_t clock, const struct timespec *limit)
{
	struct timespec own;

	IN_TURN(CALLS_RWLOCK, l->__data.__shared, turn_of_rwlock(l),
		c.role == CALLS_FOLLOWS ? NEXT(pthread_rwlock_wrlock)(l)
					: NEXT(pthread_rwlock_clockwrlock)(l, clock, calls_own_limit(clock, limit, &own)));
}

EXPORT int pthread_rwlock_timedrdlock(pthread_rwlock_t *l, const struct timespec *limit)
{
	return pthread_rwlock_clockrdlock(l, CLOCK_REALTIME, limit);
}

EXPORT int pthread_rwlock_timedwrlock(pthread_rwlock_t *l, const struct timespec *limit)
{
	return pthread_rwlock_clockwrlock(l, CLOCK_REALTIME, limit);
}
