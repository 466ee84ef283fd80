/* SPDX-License-Identifier: Apache-2.0 */
/* next.h - the C library's own functions, those that this library stands in for. One that it does not have is NULL. */
#ifndef FTTCP_CALLS_NEXT_H
#define FTTCP_CALLS_NEXT_H
#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/select.h>
#include <sys/sendfile.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysinfo.h>
#include <sys/time.h>
#include <sys/timerfd.h>
#include <sys/uio.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define CALLS_NEXT(X)                                                                                                       \
	X(accept) X(accept4) X(bind) X(clock_gettime) X(clock_nanosleep) X(close) X(closedir) X(connect) X(dup) X(dup2)         \
	X(dup3) X(epoll_ctl) X(epoll_pwait) X(epoll_wait) X(eventfd) X(fcntl) X(fopen) X(fork) X(fstat) X(fstatat)              \
	X(getentropy) X(gethostname) X(getpid) X(getppid) X(getrandom) X(getrusage) X(getsockname) X(getsockopt) X(gettid)      \
	X(gettimeofday) X(kill) X(lstat) X(nanosleep) X(open) X(openat) X(pause) X(pipe) X(pipe2) X(poll) X(posix_spawn)        \
	X(posix_spawnp) X(ppoll) X(pselect) X(pthread_barrier_wait) X(pthread_cancel) X(pthread_cond_clockwait)                 \
	X(pthread_cond_timedwait) X(pthread_cond_wait) X(pthread_create) X(pthread_join) X(pthread_mutex_clocklock)             \
	X(pthread_mutex_lock) X(pthread_mutex_trylock) X(pthread_once) X(pthread_rwlock_clockrdlock)                            \
	X(pthread_rwlock_clockwrlock) X(pthread_rwlock_rdlock) X(pthread_rwlock_tryrdlock) X(pthread_rwlock_trywrlock)          \
	X(pthread_rwlock_wrlock) X(pthread_spin_lock) X(pthread_spin_trylock) X(read) X(readdir) X(readv) X(recv)               \
	X(recvfrom) X(recvmmsg) X(recvmsg) X(select) X(sem_clockwait) X(sem_getvalue) X(sem_init) X(sem_post) X(sem_trywait)    \
	X(sem_wait) X(send) X(sendfile) X(sendmmsg) X(sendmsg) X(sendto) X(sigaction) X(signalfd) X(sigsuspend)                 \
	X(sigtimedwait) X(sigwait) X(sigwaitinfo) X(socket) X(socketpair) X(splice) X(stat) X(statx) X(syscall) X(sysinfo)      \
	X(time) X(timerfd_create) X(uname) X(wait4) X(waitid) X(write) X(writev)

#define CALLS_POINTER(name) __typeof__(name) *name;
struct calls_next {
	CALLS_NEXT(CALLS_POINTER)
};
#undef CALLS_POINTER

extern struct calls_next calls_next;
void calls_find_functions(void);

/* Another library's constructor may call before ours was run. */
#define NEXT(name) (calls_next.writev ? (void)0 : calls_find_functions(), calls_next.name)

#endif
