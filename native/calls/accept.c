/* SPDX-License-Identifier: Apache-2.0 */
/* accept.c - connections that come: the follower takes the one of the same client, under the same number. */
#define _GNU_SOURCE
#include <netinet/in.h>
#include <sched.h>
#include <string.h>
#include "calls.h"
#include "next.h"

#define STASHED 4096 /* connections that came to the follower before their turn */

struct client {
	socklen_t n;
	struct sockaddr_storage address;
};

static struct {
	int listener, fd; /* fd 0: free */
	struct client who;
} stash[STASHED];
static atomic_flag busy = ATOMIC_FLAG_INIT;

static bool same(const struct client *a, const struct client *b)
{
	const struct sockaddr_in *a4 = (const void *)&a->address, *b4 = (const void *)&b->address;
	const struct sockaddr_in6 *a6 = (const void *)&a->address, *b6 = (const void *)&b->address;

	if (a->address.ss_family != b->address.ss_family)
		return false;
	if (a->address.ss_family == AF_INET)
		return a4->sin_port == b4->sin_port && a4->sin_addr.s_addr == b4->sin_addr.s_addr;
	return a->address.ss_family == AF_INET6 && a6->sin6_port == b6->sin6_port && !memcmp(&a6->sin6_addr, &b6->sin6_addr, 16);
}

void calls_hold_stash(void)
{
	while (atomic_flag_test_and_set(&busy))
		sched_yield(); /* for a call of the system or two */
}

void calls_free_stash(void)
{
	atomic_flag_clear(&busy);
}

void calls_forget_stashed(int listener)
{
	if (calls_role != CALLS_FOLLOWS)
		return;
	calls_hold_stash();
	for (int i = 0; i < STASHED; i++)
		if (stash[i].fd && stash[i].listener == listener) {
			NEXT(close)(stash[i].fd);
			stash[i].fd = 0;
		}
	calls_free_stash();
}

/* Out of the way of the numbers that the leader gives. */
static bool put_aside(int listener, int fd, const struct client *who)
{
	struct rlimit most = {.rlim_cur = 1024};

	getrlimit(RLIMIT_NOFILE, &most);
	for (int i = 0; i < STASHED; i++)
		if (!stash[i].fd) {
			int high = NEXT(fcntl)(fd, F_DUPFD_CLOEXEC, (int)(most.rlim_cur < 1 << 20 ? most.rlim_cur / 2 : 1 << 19));

			NEXT(close)(fd);
			stash[i].listener = listener;
			stash[i].who = *who;
			stash[i].fd = high;
			return high > 0;
		}
	return false;
}

static int take_stashed(int listener, const struct client *who)
{
	for (int i = 0; i < STASHED; i++)
		if (stash[i].fd && stash[i].listener == listener && (!who || same(&stash[i].who, who))) {
			int fd = stash[i].fd;

			stash[i].fd = 0;
			return fd;
		}
	return -1;
}

enum looked { FOUND, NOT_YET, NO_ROOM };

/* What comes for others is put aside. */
static enum looked look_for(int listener, int flags, const struct client *who, int *fd)
{
	struct pollfd ready = {.fd = listener, .events = POLLIN};

	*fd = take_stashed(listener, who);
	while (*fd < 0 && NEXT(poll)(&ready, 1, 0) > 0) {
		struct client came = {.n = sizeof(came.address)};

		*fd = NEXT(accept4)(listener, (struct sockaddr *)&came.address, &came.n, flags | SOCK_CLOEXEC);
		if (*fd < 0 && errno != EINTR && errno != EAGAIN && errno != ECONNABORTED)
			return NO_ROOM; /* this host has no descriptor left */
		if (*fd < 0 || same(&came, who))
			continue;
		if (!put_aside(listener, *fd, &came))
			return NO_ROOM;
		*fd = -1;
	}
	return *fd < 0 ? NOT_YET : FOUND;
}

/* The connection of this client; -1: it did not come. Another thread may find it. */
static int await_client(int listener, int flags, const struct client *who)
{
	struct pollfd ready = {.fd = listener, .events = POLLIN};
	enum looked found;
	int fd;

	for (;;) {
		calls_hold_stash();
		found = look_for(listener, flags, who, &fd);
		calls_free_stash();
		if (found != NOT_YET)
			return fd;
		if (!calls_still())
			return -1;
		NEXT(poll)(&ready, 1, CALLS_LOOK_MS);
	}
}

/* It gets the leader's number. If something else has that here, or this host has no such number, it keeps its own. */
static int numbered(int fd, int number)
{
	if (fd == number || NEXT(fcntl)(number, F_GETFD) >= 0 || NEXT(dup3)(fd, number, O_CLOEXEC) < 0)
		return fd;
	NEXT(close)(fd);
	return number;
}

static int flagged(int fd, int flags)
{
	NEXT(fcntl)(fd, F_SETFD, flags & SOCK_CLOEXEC ? FD_CLOEXEC : 0);
	NEXT(fcntl)(fd, F_SETFL, O_RDWR | (flags & SOCK_NONBLOCK ? O_NONBLOCK : 0));
	return calls_fresh(fd);
}

static int follow_accept(struct calls_call *c, int listener, int flags, struct client *who)
{
	int fd;

	if (c->said.result < 0)
		return (int)calls_end(c);
	if (calls_hear(c, who, sizeof(*who)) != sizeof(*who)) {
		calls_break(FTT_CALLS_DAMAGED, c);
		return -2;
	}
	fd = await_client(listener, flags, who);
	if (fd >= 0)
		fd = flagged(numbered(fd, (int)c->said.result), flags);
	if (fd != c->said.result)
		calls_break(fd < 0 ? FTT_CALLS_ENDED : FTT_CALLS_REFUSED, c);
	calls_end(c);
	if (fd < 0)
		errno = ECONNABORTED; /* it may come yet, or not: the server asks again */
	return fd;
}

static int take_any_stashed(int listener)
{
	int fd;

	calls_hold_stash();
	fd = take_stashed(listener, NULL);
	calls_free_stash();
	return fd;
}

static int accept_any(int listener, int flags, struct client *who)
{
	struct calls_call c = calls_begin(CALLS_ACCEPT, (uint64_t)listener);
	int fd;

	if (c.role == CALLS_FOLLOWS && (fd = follow_accept(&c, listener, flags, who)) != -2)
		return fd;
	fd = calls_role == CALLS_FOLLOWS ? take_any_stashed(listener) : -1;
	who->n = sizeof(who->address);
	if (fd >= 0) { /* it came before its turn, and the log has ended */
		getpeername(fd, (struct sockaddr *)&who->address, &who->n);
		return flagged(fd, flags);
	}
	fd = calls_fresh(NEXT(accept4)(listener, (struct sockaddr *)&who->address, &who->n, flags));
	if (fd >= 0 && c.role == CALLS_LEADS && who->address.ss_family != AF_INET && who->address.ss_family != AF_INET6)
		calls_break(FTT_CALLS_REFUSED, &c); /* a client of this host, which the other has not */
	return (int)calls_tell(&c, fd, who, fd < 0 ? 0 : sizeof(*who));
}

EXPORT int accept4(int listener, struct sockaddr *restrict address, socklen_t *restrict n, int flags)
{
	struct client who = {0};
	int fd = accept_any(listener, flags, &who);

	if (fd >= 0 && address && n) {
		memcpy(address, &who.address, *n < who.n ? *n : who.n);
		*n = who.n;
	}
	return fd;
}

EXPORT int accept(int listener, struct sockaddr *restrict address, socklen_t *restrict n)
{
	return accept4(listener, address, n, 0);
}
