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

void calls_refuse(enum calls_number call)
{
	if (calls_role != CALLS_ALONE && calls_self.name && calls_follows(call))
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
		calls_refuse(CALLS_IO_URING);
	if (number == SYS_futex) /* a lock that the C library does not know: Rust's, C++'s atomic waits */
		calls_refuse(CALLS_FUTEX);
	return NEXT(syscall)(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}

EXPORT int recvmmsg(int fd, struct mmsghdr *m, unsigned n, int flags, struct timespec *limit)
{
	calls_refuse(CALLS_RECVMMSG);
	return NEXT(recvmmsg)(fd, m, n, flags, limit);
}

EXPORT int sendmmsg(int fd, struct mmsghdr *m, unsigned n, int flags)
{
	calls_refuse(CALLS_SENDMMSG);
	return NEXT(sendmmsg)(fd, m, n, flags);
}

EXPORT ssize_t splice(int from, off64_t *at, int to, off64_t *there, size_t n, unsigned flags)
{
	calls_refuse(CALLS_SPLICE);
	return NEXT(splice)(from, at, to, there, n, flags);
}

EXPORT int sigtimedwait(const sigset_t *restrict set, siginfo_t *restrict info, const struct timespec *restrict limit)
{
	calls_refuse(CALLS_SIGWAIT);
	return NEXT(sigtimedwait)(set, info, limit);
}

EXPORT int sigwaitinfo(const sigset_t *restrict set, siginfo_t *restrict info)
{
	calls_refuse(CALLS_SIGWAIT);
	return NEXT(sigwaitinfo)(set, info);
}

EXPORT int sigwait(const sigset_t *restrict set, int *restrict n)
{
	calls_refuse(CALLS_SIGWAIT);
	return NEXT(sigwait)(set, n);
}

/* It has no room for a count. */
EXPORT int pthread_spin_lock(pthread_spinlock_t *lock)
{
	calls_refuse(CALLS_SPIN);
	return NEXT(pthread_spin_lock)(lock);
}

EXPORT int pthread_spin_trylock(pthread_spinlock_t *lock)
{
	calls_refuse(CALLS_SPIN);
	return NEXT(pthread_spin_trylock)(lock);
}
