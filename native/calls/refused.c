/* SPDX-License-Identifier: Apache-2.0 */
/*
 * refused.c - what cannot be followed: the log ends at such a call, by name, and the call is made.
 *
 * io_uring moves bytes without calls. The others are not written yet. What does not pass the C library is not seen.
 */
#define _GNU_SOURCE
#include <stdarg.h>
#include <sys/syscall.h>
#include "calls.h"
#include "next.h"

static void refuse(enum calls_number call)
{
	if (calls_role != CALLS_ALONE && calls_self.name)
		calls_break(FTT_CALLS_REFUSED, &(struct calls_call){.call = (uint16_t)call});
}

EXPORT long syscall(long number, ...)
{
	long a[6];
	va_list list;

	va_start(list, number);
	for (int i = 0; i < 6; i++)
		a[i] = va_arg(list, long);
	va_end(list);
	if (number == SYS_getrandom) /* some ask the kernel by this */
		return getrandom((void *)a[0], (size_t)a[1], (unsigned)a[2]);
	if (number == SYS_io_uring_setup)
		refuse(CALLS_IO_URING);
	return NEXT(syscall)(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}

EXPORT int recvmmsg(int fd, struct mmsghdr *m, unsigned n, int flags, struct timespec *limit)
{
	refuse(CALLS_RECVMMSG);
	return NEXT(recvmmsg)(fd, m, n, flags, limit);
}

EXPORT int sendmmsg(int fd, struct mmsghdr *m, unsigned n, int flags)
{
	refuse(CALLS_SENDMMSG);
	return NEXT(sendmmsg)(fd, m, n, flags);
}

EXPORT ssize_t splice(int from, off64_t *at, int to, off64_t *there, size_t n, unsigned flags)
{
	refuse(CALLS_SPLICE);
	return NEXT(splice)(from, at, to, there, n, flags);
}

EXPORT int sigtimedwait(const sigset_t *restrict set, siginfo_t *restrict info, const struct timespec *restrict limit)
{
	refuse(CALLS_SIGWAIT);
	return NEXT(sigtimedwait)(set, info, limit);
}

EXPORT int sigwaitinfo(const sigset_t *restrict set, siginfo_t *restrict info)
{
	refuse(CALLS_SIGWAIT);
	return NEXT(sigwaitinfo)(set, info);
}

EXPORT int sigwait(const sigset_t *restrict set, int *restrict n)
{
	refuse(CALLS_SIGWAIT);
	return NEXT(sigwait)(set, n);
}
