/* SPDX-License-Identifier: Apache-2.0 */
/* clock.c - time. */
#define _GNU_SOURCE
#include <string.h>
#include "calls.h"
#include "next.h"

EXPORT int clock_gettime(clockid_t clock, struct timespec *now)
{
	struct calls_call c = calls_begin(CALLS_CLOCK_GETTIME, (uint64_t)clock);
	int rc;

	if (c.role == CALLS_FOLLOWS) {
		if (calls_hear(&c, now, sizeof(*now)))
			calls_note_time((unsigned)clock, calls_ns(now));
		return (int)calls_end(&c);
	}
	rc = calls_own_time(clock, now);
	return (int)calls_tell(&c, rc, now, rc ? 0 : sizeof(*now));
}

EXPORT int gettimeofday(struct timeval *restrict now, void *restrict zone)
{
	struct calls_call c = calls_begin(CALLS_GETTIMEOFDAY, 0);
	struct timespec t;

	if (zone)
		memset(zone, 0, sizeof(struct timezone));
	if (c.role == CALLS_FOLLOWS) {
		calls_hear(&c, now, sizeof(*now));
		calls_note_time(CLOCK_REALTIME, now->tv_sec * CALLS_NS + now->tv_usec * 1000ll);
		return (int)calls_end(&c);
	}
	calls_own_time(CLOCK_REALTIME, &t);
	*now = (struct timeval){t.tv_sec, t.tv_nsec / 1000};
	return (int)calls_tell(&c, 0, now, sizeof(*now));
}

EXPORT time_t time(time_t *out)
{
	struct calls_call c = calls_begin(CALLS_TIME, 0);
	struct timespec t;
	time_t now;

	if (c.role == CALLS_FOLLOWS) {
		now = (time_t)calls_end(&c);
		calls_note_time(CLOCK_REALTIME, now * CALLS_NS);
	} else {
		calls_own_time(CLOCK_REALTIME_COARSE, &t);
		now = (time_t)calls_tell(&c, t.tv_sec, NULL, 0);
	}
	if (out)
		*out = now;
	return now;
}

/* --- waiting: the follower has waited for the leader ------------------------------------------------------------- */

EXPORT int clock_nanosleep(clockid_t clock, int flags, const struct timespec *wish, struct timespec *left)
{
	struct calls_call c = calls_begin(CALLS_NANOSLEEP, (uint64_t)clock);
	struct timespec own = *wish;
	int error;

	if (c.role == CALLS_FOLLOWS) {
		if (left)
			calls_hear(&c, left, sizeof(*left));
		return (int)calls_end(&c);
	}
	if (flags & TIMER_ABSTIME) { /* by the clock that we show */
		int64_t ns = calls_ns(wish) - calls_ahead(clock);

		own = (struct timespec){ns > 0 ? ns / CALLS_NS : 0, ns > 0 ? ns % CALLS_NS : 0};
	}
	error = c.interrupted ? EINTR : NEXT(clock_nanosleep)(clock, flags, &own, left);
	if (c.interrupted && left)
		*left = own;
	return (int)calls_tell(&c, error, left, left && error == EINTR ? sizeof(*left) : 0);
}

EXPORT int nanosleep(const struct timespec *wish, struct timespec *left)
{
	int error = clock_nanosleep(CLOCK_REALTIME, 0, wish, left);

	if (error)
		errno = error;
	return error ? -1 : 0;
}

EXPORT int usleep(useconds_t us)
{
	return nanosleep(&(struct timespec){us / 1000000, us % 1000000 * 1000}, NULL);
}

EXPORT unsigned sleep(unsigned s)
{
	struct timespec left = {0};

	return nanosleep(&(struct timespec){.tv_sec = s}, &left) ? (unsigned)left.tv_sec + (left.tv_nsec > 0) : 0;
}

EXPORT int getrusage(__rusage_who_t who, struct rusage *used)
{
	struct calls_call c = calls_begin(CALLS_GETRUSAGE, (uint64_t)who);
	int rc;

	if (c.role == CALLS_FOLLOWS) {
		calls_hear(&c, used, sizeof(*used));
		return (int)calls_end(&c);
	}
	rc = NEXT(getrusage)(who, used);
	return (int)calls_tell(&c, rc, used, rc ? 0 : sizeof(*used));
}
