/* SPDX-License-Identifier: Apache-2.0 */
/*
 * watched.c - what is registered with epoll.
 *
 * Epoll gives back a word that the server chose, often an address, which is not the other copy's. The log names descriptors. So the
 * kernel is given the number of an entry here, which knows both.
 */
#define _GNU_SOURCE
#include <sched.h>
#include "calls.h"
#include "next.h"

#define FDS (1 << 20)
#define ENTRIES (1u << 17) /* registrations at once */

static struct {
	int epoll, fd; /* fd < 0: free */
	uint32_t events, next; /* of the same descriptor, or of the free ones; 0: none */
	uint64_t data;
} entries[ENTRIES];
static uint32_t first_of[FDS], untouched = 1, freed;
static atomic_flag busy = ATOMIC_FLAG_INIT;

static void lock(void)
{
	while (atomic_flag_test_and_set_explicit(&busy, memory_order_acquire))
		sched_yield(); /* some nanoseconds */
}

static void unlock(void)
{
	atomic_flag_clear_explicit(&busy, memory_order_release);
}

void calls_hold_watched(void)
{
	lock();
}

void calls_free_watched(void)
{
	unlock();
}

static uint32_t find(int epoll, int fd)
{
	uint32_t i = (unsigned)fd < FDS ? first_of[fd] : 0;

	while (i && entries[i].epoll != epoll)
		i = entries[i].next;
	return i;
}

static uint32_t make(int epoll, int fd)
{
	uint32_t i = freed;

	if ((unsigned)fd >= FDS)
		return 0;
	if (i)
		freed = entries[i].next;
	else if (untouched < ENTRIES)
		i = untouched++;
	else
		return 0;
	entries[i].epoll = epoll;
	entries[i].fd = fd;
	entries[i].next = first_of[fd];
	first_of[fd] = i;
	return i;
}

static void drop(int fd, uint32_t which)
{
	uint32_t *at = &first_of[fd];

	while (*at && *at != which)
		at = &entries[*at].next;
	if (!*at)
		return;
	*at = entries[which].next;
	entries[which].fd = -1;
	entries[which].next = freed;
	freed = which;
}

void calls_unwatch(int fd)
{
	if ((unsigned)fd >= FDS || !first_of[fd])
		return;
	lock();
	while (first_of[fd])
		drop(fd, first_of[fd]);
	unlock();
}

bool calls_registered(int epoll, int fd, uint64_t *data)
{
	uint32_t i;

	lock();
	i = find(epoll, fd);
	*data = entries[i].data;
	unlock();
	return i != 0;
}

int calls_watched(struct epoll_event *events, int n, int *fds)
{
	int known = 0;

	lock();
	for (int i = 0; i < n; i++) {
		uint64_t which = events[i].data.u64;

		if (which >= ENTRIES || entries[which].fd < 0)
			continue; /* closed, but held open by another process: epoll reports it still */
		fds[known] = entries[which].fd;
		events[known].events = events[i].events;
		events[known++].data.u64 = entries[which].data;
	}
	unlock();
	return known;
}

void calls_rearm(void)
{
	int before = errno;

	lock();
	for (uint32_t i = 1; i < untouched; i++)
		if (entries[i].fd >= 0)
			NEXT(epoll_ctl)(entries[i].epoll, EPOLL_CTL_MOD, entries[i].fd,
					&(struct epoll_event){.events = entries[i].events, .data.u64 = i});
	unlock();
	errno = before;
}

EXPORT int epoll_ctl(int epoll, int op, int fd, struct epoll_event *e)
{
	struct epoll_event own = {0};
	uint32_t i;
	int rc;

	if (!calls_log)
		return NEXT(epoll_ctl)(epoll, op, fd, e);
	lock();
	i = find(epoll, fd);
	if (!i && op == EPOLL_CTL_ADD)
		i = make(epoll, fd);
	if (e)
		own.events = e->events;
	own.data.u64 = i;
	if (i || op == EPOLL_CTL_DEL) {
		rc = NEXT(epoll_ctl)(epoll, op, fd, &own);
	} else {
		errno = op == EPOLL_CTL_ADD ? ENOSPC : ENOENT;
		rc = -1;
	}
	if (!rc && op == EPOLL_CTL_DEL && i) {
		drop(fd, i);
	} else if (!rc && i) {
		entries[i].events = e->events;
		entries[i].data = e->data.u64;
	}
	unlock();
	return rc;
}
