/* SPDX-License-Identifier: Apache-2.0 */
/* waits.c - children that have ended, and programs that are started. */
#define _GNU_SOURCE
#include <spawn.h>
#include "calls.h"
#include "next.h"

static bool has_ended(int own)
{
	siginfo_t info = {0};

	return NEXT(waitid)(P_PID, (id_t)own, &info, WEXITED | WNOHANG | WNOWAIT) || info.si_pid;
}

/* It ends here as it did there. Who was killed there may not be here: he has no more to do when he has followed all there is. */
static void reap(int own, bool killed)
{
	struct timespec look = {.tv_nsec = CALLS_LOOK_MS * 1000000l};

	for (bool first = true; killed && !has_ended(own); first = false)
		if (!first && calls_has_followed(own))
			NEXT(kill)(own, SIGKILL);
		else
			NEXT(clock_nanosleep)(CLOCK_MONOTONIC, 0, &look, NULL);
	if (NEXT(wait4)(own, NULL, 0, NULL) != own)
		return;
	calls_leave_rings_of(own);
	calls_forget_child(own);
}

static pid_t follow_wait4(struct calls_call *c, int *status, int options, struct rusage *used)
{
	int code = 0, own = calls_own_pid((int)c->said.result);

	calls_hear(c, &code, sizeof(code));
	if (own && !(options & (WUNTRACED | WCONTINUED)))
		reap(own, WIFSIGNALED(code));
	if (status && c->said.size)
		*status = code;
	if (used)
		calls_hear(c, used, sizeof(*used));
	return (pid_t)calls_end(c);
}

/* What is done once a child was waited for here; the number that the server knows it by. */
static pid_t note_end(const struct calls_call *c, pid_t own, bool ended)
{
	pid_t told = own > 0 ? calls_told_pid(own) : own;

	if (own > 0 && ended && c->role == CALLS_LEADS)
		calls_leave_rings_of(own);
	if (own > 0 && ended)
		calls_forget_child(own);
	return told;
}

EXPORT pid_t wait4(pid_t pid, int *status, int options, struct rusage *used)
{
	struct calls_call c = calls_begin(CALLS_WAIT, (uint64_t)pid << 32 | (unsigned)options);
	struct rusage spent;
	int code = 0, own;
	pid_t got;

	if (c.role == CALLS_FOLLOWS)
		return follow_wait4(&c, status, options, used);
	if (c.role == CALLS_ALONE && pid > 0 && (own = calls_own_pid(pid)))
		pid = own;
	got = NEXT(wait4)(pid, &code, options, &spent);
	if (status && got > 0)
		*status = code;
	if (used && got > 0)
		*used = spent;
	got = note_end(&c, got, WIFEXITED(code) || WIFSIGNALED(code));
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

static bool tells_end(const siginfo_t *info)
{
	return info->si_code == CLD_EXITED || info->si_code == CLD_KILLED || info->si_code == CLD_DUMPED;
}

EXPORT int waitid(idtype_t type, id_t id, siginfo_t *info, int options)
{
	struct calls_call c = calls_begin(CALLS_WAIT, (uint64_t)id << 32 ^ (uint64_t)type << 60 ^ (unsigned)options);
	siginfo_t got = {0};
	int rc, own;

	if (c.role == CALLS_FOLLOWS) {
		calls_hear(&c, &got, sizeof(got));
		own = calls_own_pid(got.si_pid);
		if (own && tells_end(&got) && !(options & WNOWAIT))
			reap(own, got.si_code != CLD_EXITED);
		if (info)
			*info = got;
		return (int)calls_end(&c);
	}
	if (c.role == CALLS_ALONE && type == P_PID && (own = calls_own_pid((int)id)))
		id = (id_t)own;
	rc = NEXT(waitid)(type, id, &got, options);
	if (!rc)
		got.si_pid = note_end(&c, got.si_pid, tells_end(&got) && !(options & WNOWAIT));
	if (info && !rc)
		*info = got;
	return (int)calls_tell(&c, rc, &got, rc ? 0 : sizeof(got));
}

/* --- programs: they follow nobody ---------------------------------------------------------------------- */

typedef int spawning(pid_t *, const char *, const posix_spawn_file_actions_t *, const posix_spawnattr_t *, char *const[], char *const[]);

static int spawn_any(spawning *spawn, pid_t *pid, const char *path, const posix_spawn_file_actions_t *actions,
		     const posix_spawnattr_t *attributes, char *const argv[], char *const environment[])
{
	struct calls_call c = calls_begin(CALLS_SPAWN, 0);
	pid_t own = 0;
	int error;

	if (c.role == CALLS_FOLLOWS && c.said.result <= 0) {
		calls_end(&c);
		return c.said.error;
	}
	error = spawn(&own, path, actions, attributes, argv, environment);
	if (c.role == CALLS_FOLLOWS && !error)
		calls_know_child((int)c.said.result, own);
	else if (c.role == CALLS_FOLLOWS)
		calls_break(FTT_CALLS_ENDED, &c);
	if (c.role == CALLS_LEADS) {
		errno = error;
		calls_tell(&c, error ? -1 : own, NULL, 0);
	} else if (c.role == CALLS_FOLLOWS) {
		calls_end(&c);
	}
	if (pid && !error)
		*pid = c.role == CALLS_FOLLOWS ? (pid_t)c.said.result : own;
	return error;
}

EXPORT int posix_spawn(pid_t *restrict pid, const char *restrict path, const posix_spawn_file_actions_t *restrict actions,
		       const posix_spawnattr_t *restrict attributes, char *const argv[restrict], char *const environment[restrict])
{
	return spawn_any(NEXT(posix_spawn), pid, path, actions, attributes, argv, environment);
}

EXPORT int posix_spawnp(pid_t *pid, const char *path, const posix_spawn_file_actions_t *actions, const posix_spawnattr_t *attributes,
			char *const argv[], char *const environment[])
{
	return spawn_any(NEXT(posix_spawnp), pid, path, actions, attributes, argv, environment);
}
