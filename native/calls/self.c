/* SPDX-License-Identifier: Apache-2.0 */
/* self.c - who and where a process is: the follower is told the leader's numbers of processes, names and addresses. */
#define _GNU_SOURCE
#include <string.h>
#include "calls.h"
#include "next.h"

EXPORT pid_t getpid(void)
{
	struct calls_call c = calls_begin(CALLS_GETPID, 0);

	if (c.role == CALLS_ALONE)
		return calls_told_pid(NEXT(getpid)());
	if (c.role == CALLS_LEADS)
		return (pid_t)calls_tell(&c, NEXT(getpid)(), NULL, 0);
	if (!calls_own_pid((int)c.said.result))
		calls_know_child((int)c.said.result, NEXT(getpid)());
	return (pid_t)calls_end(&c);
}

EXPORT pid_t getppid(void)
{
	struct calls_call c = calls_begin(CALLS_GETPPID, 0);

	if (c.role != CALLS_FOLLOWS)
		return (pid_t)calls_tell(&c, NEXT(getppid)(), NULL, 0);
	if (!calls_own_pid((int)c.said.result))
		calls_know_child((int)c.said.result, NEXT(getppid)());
	return (pid_t)calls_end(&c);
}

static bool is_child(int number)
{
	siginfo_t info;

	return !NEXT(waitid)(P_PID, (id_t)number, &info, WEXITED | WNOHANG | WNOWAIT);
}

/*
 * It is done on both hosts. A number that the follower does not know is one of the leader's host: it may be anybody here. Whom the
 * server means runs its handler when the log tells so.
 */
EXPORT int kill(pid_t pid, int signal)
{
	struct calls_call c = calls_begin(CALLS_KILL, (uint64_t)signal);
	int whom = pid < 0 ? -pid : pid, own = calls_own_pid(whom);

	if (c.role == CALLS_LEADS)
		return (int)calls_tell(&c, NEXT(kill)(pid, signal), NULL, 0);
	if (own)
		whom = own;
	else if (calls_role == CALLS_FOLLOWS && calls_follows(CALLS_KILL) && whom > 1 && !is_child(whom))
		return c.role == CALLS_FOLLOWS ? (int)calls_end(&c) : 0;
	own = NEXT(kill)(pid < -1 ? -whom : pid > 0 ? whom : pid, signal);
	return c.role == CALLS_FOLLOWS ? (int)calls_end(&c) : own;
}

EXPORT pid_t gettid(void)
{
	struct calls_call c = calls_begin(CALLS_GETTID, 0);

	return (pid_t)(c.role == CALLS_FOLLOWS ? calls_end(&c) : calls_tell(&c, NEXT(gettid)(), NULL, 0));
}

EXPORT int sysinfo(struct sysinfo *about)
{
	struct calls_call c = calls_begin(CALLS_SYSINFO, 0);
	int rc;

	if (c.role == CALLS_FOLLOWS) {
		calls_hear(&c, about, sizeof(*about));
		return (int)calls_end(&c);
	}
	rc = NEXT(sysinfo)(about);
	return (int)calls_tell(&c, rc, about, rc ? 0 : sizeof(*about));
}

EXPORT int gethostname(char *name, size_t n)
{
	struct calls_call c = calls_begin(CALLS_GETHOSTNAME, n);
	int rc;

	if (c.role == CALLS_FOLLOWS) {
		calls_hear(&c, name, n);
		return (int)calls_end(&c);
	}
	rc = NEXT(gethostname)(name, n);
	return (int)calls_tell(&c, rc, name, rc ? 0 : strnlen(name, n - 1) + 1);
}

EXPORT int uname(struct utsname *u)
{
	struct calls_call c = calls_begin(CALLS_UNAME, 0);
	int rc;

	if (c.role == CALLS_FOLLOWS) {
		calls_hear(&c, u, sizeof(*u));
		return (int)calls_end(&c);
	}
	rc = NEXT(uname)(u);
	return (int)calls_tell(&c, rc, u, rc ? 0 : sizeof(*u));
}

EXPORT int getsockname(int fd, struct sockaddr *restrict name, socklen_t *restrict n)
{
	struct calls_call c = calls_begin(CALLS_GETSOCKNAME, (uint64_t)fd);
	socklen_t room = *n;
	int rc;

	if (c.role == CALLS_FOLLOWS) {
		calls_hear(&c, n, sizeof(*n));
		calls_hear(&c, name, room);
		return (int)calls_end(&c);
	}
	rc = NEXT(getsockname)(fd, name, n);
	struct iovec parts[] = {{n, sizeof(*n)}, {name, *n < room ? *n : room}};
	return (int)calls_tell_parts(&c, rc, parts, rc ? 0 : 2);
}
