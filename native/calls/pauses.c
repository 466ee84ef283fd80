/* SPDX-License-Identifier: Apache-2.0 */
/* pauses.c - waits for a signal. */
#define _GNU_SOURCE
#include "calls.h"
#include "next.h"

/* What came since the call before has been waited for. */
static int pause_any(const sigset_t *mask)
{
	struct calls_call c = calls_begin(CALLS_PAUSE, 0);

	if (c.role == CALLS_FOLLOWS)
		return (int)calls_end(&c);
	errno = EINTR;
	if (!c.interrupted)
		mask ? NEXT(sigsuspend)(mask) : NEXT(pause)();
	return (int)calls_tell(&c, -1, NULL, 0);
}

EXPORT int pause(void)
{
	return pause_any(NULL);
}

EXPORT int sigsuspend(const sigset_t *mask)
{
	return pause_any(mask);
}
