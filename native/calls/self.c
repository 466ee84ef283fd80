/* SPDX-License-Identifier: Apache-2.0 */
/* self.c - who and where a process is: the follower is told the leader's numbers of processes, names and addresses. */
#define _GNU_SOURCE
#include <string.h>
#include "calls.h"
#include "next.h"

EXPORT pid_t getpid(void)
{
	struct calls_call c = calls_begin(CALLS_GETPID, 0);

	if (c.role != CALLS_FOLLOWS)
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

	return !waitid(P_PID, (id_t)number, &info, WEXITED | WNOHANG | WNOWAIT);
}

/*
 * It is done on both hosts. A number that the follower does not know is one of the leader's host: it may be anybody here. Whom the
 * server means runs its handler when the log tells so.
 */
EXPORT int kill(pid_t pid, int signal)
{
	int whom = pid < 0 ? -pid : pid, own = calls_own_pid(whom);

	if (own)
		whom = own;
	else if (calls_role == CALLS_FOLLOWS && calls_follows(CALLS_GETPID) && whom > 1 && !is_child(whom))
		return 0;
	return NEXT(kill)(pid < -1 ? -whom : pid > 0 ? whom : pid, signal);
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

/* --- children that have ended -------------------------------------------------------------------------- */

EXPORT pid_t wait4(pid_t pid, int *status, int options, struct rusage *used)
{
	struct calls_call c = calls_begin(CALLS_WAIT, (uint64_t)pid << 32 | (unsigned)options);
	struct rusage spent;
	int code = 0, own;
	pid_t got;

	if (c.role == CALLS_FOLLOWS) {
		own = calls_own_pid((int)c.said.result);
		if (own && !(options & (WUNTRACED | WCONTINUED)))
			if (NEXT(wait4)(own, &code, 0, NULL) == own) /* it ends here as it did there */
				calls_leave_rings_of(own);
		if (calls_hear(&c, &code, sizeof(code)) && status)
			*status = code;
		if (used)
			calls_hear(&c, used, sizeof(*used));
		return (pid_t)calls_end(&c);
	}
	if (c.role == CALLS_ALONE && pid > 0 && (own = calls_own_pid(pid)))
		pid = own;
	got = NEXT(wait4)(pid, &code, options, &spent);
	if (c.role == CALLS_LEADS && got > 0 && (WIFEXITED(code) || WIFSIGNALED(code)))
		calls_leave_rings_of(got);
	if (status && got > 0)
		*status = code;
	if (used && got > 0)
		*used = spent;
	struct iovec parts[] = {{&code, sizeof(code)}, {&spent, sizeof(spent)}};
	return (pid_t)calls_tell_parts(&c, got, parts, got > 0 ? 2 : 0);
}

EXPORT pid_t waitpid(pid_t pid, int *status, int options)
{
	return wait4(pid, status, options, NULL);
}

EXPORT pid_t wait3(int *status, int options, struct rusage *used)
{
	return wait4(-1, status, options, used);
}

EXPORT pid_t wait(int *status)
{
	return wait4(-1, status, 0, NULL);
}
