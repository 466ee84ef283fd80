/* SPDX-License-Identifier: Apache-2.0 */
/* descriptors.c - descriptors come and go. */
#define _GNU_SOURCE
#include <stdarg.h>
#include "calls.h"
#include "next.h"

EXPORT int close(int fd)
{
	if (calls_log) {
		calls_fresh(fd);
		calls_unwatch(fd);
		calls_forget_stashed(fd);
	}
	return NEXT(close)(fd);
}

EXPORT int socket(int domain, int type, int protocol)
{
	return calls_fresh(NEXT(socket)(domain, type, protocol));
}

EXPORT int socketpair(int domain, int type, int protocol, int fds[2])
{
	int rc = NEXT(socketpair)(domain, type, protocol, fds);

	if (!rc)
		calls_fresh(fds[0]), calls_fresh(fds[1]);
	return rc;
}

EXPORT int pipe2(int fds[2], int flags)
{
	int rc = NEXT(pipe2)(fds, flags);

	if (!rc)
		calls_fresh(fds[0]), calls_fresh(fds[1]);
	return rc;
}

EXPORT int pipe(int fds[2])
{
	return pipe2(fds, 0);
}

EXPORT int eventfd(unsigned initial, int flags)
{
	return calls_fresh(NEXT(eventfd)(initial, flags));
}

EXPORT int timerfd_create(int clock, int flags)
{
	return calls_fresh(NEXT(timerfd_create)(clock, flags));
}

EXPORT int signalfd(int fd, const sigset_t *mask, int flags)
{
	return calls_fresh(NEXT(signalfd)(fd, mask, flags));
}

EXPORT int dup(int fd)
{
	return calls_fresh(NEXT(dup)(fd));
}

EXPORT int dup2(int fd, int to)
{
	return calls_fresh(NEXT(dup2)(fd, to));
}

EXPORT int dup3(int fd, int to, int flags)
{
	return calls_fresh(NEXT(dup3)(fd, to, flags));
}

EXPORT int fcntl(int fd, int command, ...)
{
	va_list list;
	void *argument;
	int got;

	va_start(list, command);
	argument = va_arg(list, void *); /* an int, a pointer, or nothing: the kernel knows which */
	va_end(list);
	got = NEXT(fcntl)(fd, command, argument);
	return command == F_DUPFD || command == F_DUPFD_CLOEXEC ? calls_fresh(got) : got;
}

EXPORT int fcntl64(int fd, int command, ...) __attribute__((alias("fcntl")));

static mode_t mode_of(int flags, va_list list)
{
	return flags & (O_CREAT | __O_TMPFILE) ? va_arg(list, mode_t) : 0;
}

EXPORT int open(const char *path, int flags, ...)
{
	va_list list;
	mode_t mode;

	va_start(list, flags);
	mode = mode_of(flags, list);
	va_end(list);
	return calls_fresh(NEXT(open)(path, flags, mode));
}

EXPORT int open64(const char *path, int flags, ...) __attribute__((alias("open")));

EXPORT int openat(int at, const char *path, int flags, ...)
{
	va_list list;
	mode_t mode;

	va_start(list, flags);
	mode = mode_of(flags, list);
	va_end(list);
	return calls_fresh(NEXT(openat)(at, path, flags, mode));
}

EXPORT int openat64(int at, const char *path, int flags, ...) __attribute__((alias("openat")));
