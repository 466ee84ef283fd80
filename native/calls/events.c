/* SPDX-License-Identifier: Apache-2.0 */
/* events.c - what a server waits for: the follower is told what came to the leader, in that order. */
#define _GNU_SOURCE
#include <alloca.h>
#include <limits.h>
#include <string.h>
#include "calls.h"
#include "next.h"

#define MOST 16384 /* events, or descriptors, of one call */

struct came {
	int fd;
	uint32_t events;
};

/* --- epoll ------------------------------------------------------------------------------------------------- */

static int follow_epoll(struct calls_call *c, int epoll, struct epoll_event *events, int most)
{
	struct came one;

	for (int i = 0; i < c->said.result && i < most && calls_hear(c, &one, sizeof(one)); i++) {
		uint64_t data;

		if (!calls_registered(epoll, one.fd, &data)) {
			calls_break(FTT_CALLS_DIFFERS, c);
			return i; /* those before it have come */
		}
		events[i] = (struct epoll_event){.events = one.events, .data.u64 = data};
	}
	return (int)calls_end(c);
}

EXPORT int epoll_pwait(int epoll, struct epoll_event *events, int most, int ms, const sigset_t *mask)
{
	struct calls_call c;
	struct came *came;
	int n, *fds;

	if (!calls_log)
		return NEXT(epoll_pwait)(epoll, events, most, ms, mask);
	c = calls_begin_within(CALLS_EPOLL_WAIT, (uint64_t)epoll << 32 | (unsigned)most, most);
	if (c.role == CALLS_FOLLOWS)
		return follow_epoll(&c, epoll, events, most);
	n = c.interrupted ? calls_interrupted() : NEXT(epoll_pwait)(epoll, events, most < MOST ? most : MOST, ms, mask);
	if (n <= 0)
		return (int)calls_tell(&c, n, NULL, 0);
	fds = alloca((size_t)n * sizeof(*fds));
	n = calls_watched(events, n, fds);
	came = alloca((size_t)n * sizeof(*came));
	for (int i = 0; i < n; i++)
		came[i] = (struct came){fds[i], events[i].events};
	return (int)calls_tell(&c, n, came, (size_t)n * sizeof(*came));
}

EXPORT int epoll_wait(int epoll, struct epoll_event *events, int most, int ms)
{
	return epoll_pwait(epoll, events, most, ms, NULL);
}

EXPORT int epoll_pwait2(int epoll, struct epoll_event *events, int most, const struct timespec *limit, const sigset_t *mask)
{
	int64_t ms = limit ? limit->tv_sec * 1000 + (limit->tv_nsec + 999999) / 1000000 : -1;

	return epoll_pwait(epoll, events, most, ms < INT_MAX ? (int)ms : INT_MAX, mask);
}

/* --- poll ---------------------------------------------------------------------------------------------------- */

/* Apart from ppoll(), of which the C library's header says that it only writes there. */
__attribute__((noinline)) static int poll_any(struct pollfd *fds, nfds_t n, const struct timespec *limit, const sigset_t *mask)
{
	uint64_t sum = n;
	struct calls_call c;
	short *came;
	int rc;

	if (calls_role == CALLS_ALONE || n > MOST)
		return NEXT(ppoll)(fds, n, limit, mask);
	for (nfds_t i = 0; i < n; i++)
		sum = sum * 31 + (unsigned)fds[i].fd * 65536u + (unsigned short)fds[i].events;
	c = calls_begin_within(CALLS_POLL, sum, (int64_t)n);
	came = alloca((n + 1) * sizeof(*came));
	if (c.role == CALLS_FOLLOWS) {
		memset(came, 0, n * sizeof(*came));
		calls_hear(&c, came, n * sizeof(*came));
		for (nfds_t i = 0; i < n && c.said.result >= 0; i++)
			fds[i].revents = came[i];
		return (int)calls_end(&c);
	}
	rc = c.interrupted ? calls_interrupted() : NEXT(ppoll)(fds, n, limit, mask);
	for (nfds_t i = 0; i < n; i++)
		came[i] = fds[i].revents;
	return (int)calls_tell(&c, rc, came, rc > 0 ? n * sizeof(*came) : 0);
}

EXPORT int ppoll(struct pollfd *fds, nfds_t n, const struct timespec *limit, const sigset_t *mask)
{
	return poll_any(fds, n, limit, mask);
}

EXPORT int poll(struct pollfd *fds, nfds_t n, int ms)
{
	struct timespec limit = {ms / 1000, ms % 1000 * 1000000l};

	return poll_any(fds, n, ms < 0 ? NULL : &limit, NULL);
}

EXPORT int __poll_chk(struct pollfd *fds, nfds_t n, int ms, size_t room)
{
	if (n > room / sizeof(*fds))
		__builtin_trap();
	return poll(fds, n, ms);
}

EXPORT int __ppoll_chk(struct pollfd *fds, nfds_t n, const struct timespec *limit, const sigset_t *mask, size_t room)
{
	if (n > room / sizeof(*fds))
		__builtin_trap();
	return ppoll(fds, n, limit, mask);
}

/* --- select -------------------------------------------------------------------------------------------------- */

/* The words of the sets that are in use, one set after the other. */
static size_t words_of(int n)
{
	return (size_t)(n + NFDBITS - 1) / NFDBITS * sizeof(fd_mask);
}

static int follow_select(struct calls_call *c, fd_set *sets[3], size_t size)
{
	for (int i = 0; i < 3; i++)
		if (sets[i] && c->said.result >= 0) {
			memset(sets[i], 0, size);
			if (c->said.result > 0)
				calls_hear(c, sets[i], size);
		}
	return (int)calls_end(c);
}

static int select_any(int n, fd_set *sets[3], const struct timespec *limit, const sigset_t *mask)
{
	struct calls_call c = calls_begin_within(CALLS_SELECT, (uint64_t)n, 3ll * n);
	size_t size = words_of(n);
	struct iovec parts[3];
	int rc, used = 0;

	if (c.role == CALLS_FOLLOWS)
		return follow_select(&c, sets, size);
	rc = c.interrupted ? calls_interrupted() : NEXT(pselect)(n, sets[0], sets[1], sets[2], limit, mask);
	for (int i = 0; i < 3; i++)
		if (sets[i] && rc > 0)
			parts[used++] = (struct iovec){sets[i], size};
	return (int)calls_tell_parts(&c, rc, parts, used);
}

EXPORT int pselect(int n, fd_set *in, fd_set *out, fd_set *odd, const struct timespec *limit, const sigset_t *mask)
{
	fd_set *sets[3] = {in, out, odd};

	return select_any(n, sets, limit, mask);
}

/* Linux tells in `limit` how much is left of it; that differs on hosts, and POSIX lets it be. */
EXPORT int select(int n, fd_set *in, fd_set *out, fd_set *odd, struct timeval *limit)
{
	fd_set *sets[3] = {in, out, odd};
	struct timespec own;

	if (limit)
		own = (struct timespec){limit->tv_sec + limit->tv_usec / 1000000, limit->tv_usec % 1000000 * 1000};
	return select_any(n, sets, limit ? &own : NULL, NULL);
}

/* --- connections that the server opens ------------------------------------------------------------------------------ */

EXPORT int connect(int fd, const struct sockaddr *to, socklen_t n)
{
	struct calls_call c = calls_begin(CALLS_CONNECT, (uint64_t)fd);

	if (c.role != CALLS_FOLLOWS)
		return (int)calls_tell(&c, NEXT(connect)(fd, to, n), NULL, 0);
	if (!c.said.result || c.said.error == EINPROGRESS)
		NEXT(connect)(fd, to, n); /* what came of it is seen when it is used */
	return (int)calls_end(&c);
}

EXPORT int getsockopt(int fd, int level, int name, void *restrict value, socklen_t *restrict n)
{
	struct calls_call c = calls_begin(CALLS_GETSOCKOPT, (uint64_t)fd << 32 | (unsigned)level << 16 | (unsigned)name);
	socklen_t room = *n;
	int rc;

	if (c.role == CALLS_FOLLOWS) {
		calls_hear(&c, n, sizeof(*n));
		calls_hear(&c, value, room);
		return (int)calls_end(&c);
	}
	rc = NEXT(getsockopt)(fd, level, name, value, n);
	struct iovec parts[] = {{n, sizeof(*n)}, {value, *n < room ? *n : room}};
	return (int)calls_tell_parts(&c, rc, parts, rc ? 0 : 2);
}
