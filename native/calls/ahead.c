/* SPDX-License-Identifier: Apache-2.0 */
/* ahead.c - what the leader's clocks showed last, and from there on this host's. */
#define _GNU_SOURCE
#include "calls.h"
#include "next.h"

#define CLOCKS 12 /* the kernel's */

/* Of the follower: what each clock showed last, and how far it is before this host's since it is alone. */
static _Atomic int64_t shown[CLOCKS], ahead[CLOCKS];

void calls_note_time(unsigned clock, int64_t ns)
{
	if (clock < CLOCKS && ns > atomic_load_explicit(&shown[clock], memory_order_relaxed))
		atomic_store_explicit(&shown[clock], ns, memory_order_relaxed);
}

/* Another thread may be alone since an earlier time: 0 is what none has set. */
static void raise_to(_Atomic int64_t *ns, int64_t to)
{
	int64_t at = atomic_load(ns);

	while ((!at || to > at) && !atomic_compare_exchange_weak(ns, &at, to))
		continue;
}

/*
 * The wall clock is right on both hosts, but for a little: it only must not run back. All others go on from what the
 * leader's showed last: the hosts began at different times.
 */
void calls_keep_time(void)
{
	struct timespec now;

	calls_note_time(CLOCK_REALTIME_COARSE, atomic_load(&shown[CLOCK_REALTIME]));
	calls_note_time(CLOCK_REALTIME, atomic_load(&shown[CLOCK_REALTIME_COARSE]));
	calls_note_time(CLOCK_MONOTONIC_COARSE, atomic_load(&shown[CLOCK_MONOTONIC]));
	calls_note_time(CLOCK_MONOTONIC, atomic_load(&shown[CLOCK_MONOTONIC_COARSE]));
	for (unsigned i = 0; i < CLOCKS; i++) {
		int64_t last = atomic_load(&shown[i]), apart;

		if (!last || NEXT(clock_gettime)((clockid_t)i, &now))
			continue;
		apart = last - calls_ns(&now);
		if (apart > 0 || (i != CLOCK_REALTIME && i != CLOCK_REALTIME_COARSE))
			raise_to(&ahead[i], apart);
	}
}

int calls_own_time(clockid_t clock, struct timespec *now)
{
	int rc = NEXT(clock_gettime)(clock, now);
	int64_t apart = (unsigned)clock < CLOCKS ? atomic_load_explicit(&ahead[clock], memory_order_relaxed) : 0, ns;

	if (rc || !apart)
		return rc;
	ns = calls_ns(now) + apart;
	now->tv_sec = ns / CALLS_NS;
	now->tv_nsec = ns % CALLS_NS;
	return 0;
}

int64_t calls_ahead(clockid_t clock)
{
	return (unsigned)clock < CLOCKS ? atomic_load(&ahead[clock]) : 0;
}

int64_t calls_now_ms(void)
{
	struct timespec now;

	NEXT(clock_gettime)(CLOCK_MONOTONIC, &now);
	return calls_ns(&now) / 1000000;
}
