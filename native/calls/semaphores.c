/* SPDX-License-Identifier: Apache-2.0 */
/*
 * semaphores.c - semaphores, barriers, what is done once, spin locks, and the end of threads.
 *
 * What is given to a semaphore counts as well as what is taken from it: who takes has seen all that was done before.
 */
#define _GNU_SOURCE
#include <linux/futex.h>
#include <semaphore.h>
#include <string.h>
#include <sys/syscall.h>
#include "calls.h"
#include "locks.h"
#include "next.h"

#define USED 16 /* bytes of a semaphore that the C library uses */
#define DONE 2  /* bit of a pthread_once_t */

static struct calls_turn *turn_of(sem_t *s)
{
	return (struct calls_turn *)((uint8_t *)s + USED);
}

_Static_assert(sizeof(sem_t) >= USED + sizeof(struct calls_turn), "in a semaphore");

EXPORT int sem_init(sem_t *s, int shared, unsigned value)
{
	memset(s, 0, sizeof(*s));
	return NEXT(sem_init)(s, shared, value);
}

/* It counts before it is given, and after it was taken. */
EXPORT int sem_post(sem_t *s)
{
	struct calls_call c = calls_begin(CALLS_SEMAPHORE, 1);

	if (c.role == CALLS_FOLLOWS)
		calls_await_turn(&c, turn_of(s));
	calls_pass_turn(&c, turn_of(s), 0);
	return NEXT(sem_post)(s);
}

/* `take` sets errno. */
#define TAKE(s, take)                                                                      \
	struct calls_call c = calls_begin(CALLS_SEMAPHORE, 0);                             \
	int error = c.role == CALLS_FOLLOWS ? calls_await_turn(&c, turn_of(s)) : 0;        \
	if (!error && (take))                                                              \
		error = errno;                                                             \
	calls_pass_turn(&c, turn_of(s), error);                                            \
	if (error)                                                                         \
		errno = error;                                                             \
	return error ? -1 : 0

/* Whose turn it is takes what was given to it, after what interrupts it here. */
static int take_told(sem_t *s)
{
	int rc;

	do
		rc = NEXT(sem_wait)(s);
	while (rc && errno == EINTR);
	return rc;
}

EXPORT int sem_wait(sem_t *s)
{
	TAKE(s, c.role == CALLS_FOLLOWS ? take_told(s) : NEXT(sem_wait)(s));
}

EXPORT int sem_trywait(sem_t *s)
{
	TAKE(s, c.role == CALLS_FOLLOWS ? take_told(s) : NEXT(sem_trywait)(s));
}

EXPORT int sem_clockwait(sem_t *s, clockid_t clock, const struct timespec *limit)
{
	struct timespec own;

	TAKE(s, c.role == CALLS_FOLLOWS ? take_told(s) : NEXT(sem_clockwait)(s, clock, calls_own_limit(clock, limit, &own)));
}

EXPORT int sem_timedwait(sem_t *s, const struct timespec *limit)
{
	return sem_clockwait(s, CLOCK_REALTIME, limit);
}

EXPORT int sem_getvalue(sem_t *s, int *value)
{
	struct calls_call c = calls_begin(CALLS_SEMAPHORE, 2);

	if (c.role == CALLS_FOLLOWS) {
		*value = (int)calls_end(&c);
		return 0;
	}
	NEXT(sem_getvalue)(s, value);
	calls_tell(&c, *value, NULL, 0);
	return 0;
}

/* --- barriers: of as many threads as they count ------------------------------------------------------------------------- */

EXPORT int pthread_barrier_wait(pthread_barrier_t *barrier)
{
	struct calls_call c;
	int rc;

	if (calls_role != CALLS_FOLLOWS) {
		c = calls_begin(CALLS_BARRIER, 0);
		rc = NEXT(pthread_barrier_wait)(barrier);
		calls_tell(&c, rc == PTHREAD_BARRIER_SERIAL_THREAD, NULL, 0);
		return rc;
	}
	rc = NEXT(pthread_barrier_wait)(barrier);
	c = calls_begin(CALLS_BARRIER, 0);
	if (c.role == CALLS_FOLLOWS)
		rc = calls_end(&c) == 1 ? PTHREAD_BARRIER_SERIAL_THREAD : 0;
	return rc;
}

/* --- once ----------------------------------------------------------------------------------------------------------------- */

static _Thread_local struct {
	void (*run)(void);
	struct calls_call *call; /* not told of yet */
} once __attribute__((tls_model("initial-exec")));

/* The leader's thread that does it tells so before what it does. */
static void run_once(void)
{
	calls_tell(once.call, 1, NULL, 0);
	once.call->role = CALLS_ALONE;
	once.run();
}

/* Another thread does it. */
static void await_done(pthread_once_t *control)
{
	struct timespec most = {.tv_nsec = CALLS_LOOK_MS * 1000000l};
	int at;

	while (!((at = __atomic_load_n(control, __ATOMIC_ACQUIRE)) & DONE) && calls_still())
		NEXT(syscall)(SYS_futex, control, FUTEX_WAIT_PRIVATE, at, &most, NULL, 0);
}

EXPORT int pthread_once(pthread_once_t *control, void (*run)(void))
{
	struct calls_call c;
	int error, before = errno;

	if (calls_role == CALLS_ALONE || !calls_threads)
		return NEXT(pthread_once)(control, run);
	c = calls_begin(CALLS_ONCE, 0);
	if (c.role == CALLS_LEADS) {
		__typeof__(once) outer = once;

		once.run = run;
		once.call = &c;
		error = NEXT(pthread_once)(control, run_once);
		once = outer;
		calls_tell(&c, 0, NULL, 0);
		return error;
	}
	if (c.role == CALLS_FOLLOWS && !calls_end(&c))
		await_done(control);
	errno = before;
	return NEXT(pthread_once)(control, run);
}

/* --- threads that end ------------------------------------------------------------------------------------------------------- */

EXPORT int pthread_join(pthread_t thread, void **result)
{
	struct calls_call c = calls_begin(CALLS_JOIN, 0);
	int error = c.role == CALLS_FOLLOWS ? (int)calls_end(&c) : 0;

	if (!error)
		error = NEXT(pthread_join)(thread, result);
	calls_tell(&c, error, NULL, 0);
	return error;
}

/* It would end at a call that the other copy's has not come to. */
EXPORT int pthread_cancel(pthread_t thread)
{
	calls_refuse(CALLS_CANCEL);
	return NEXT(pthread_cancel)(thread);
}
