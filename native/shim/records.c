/* SPDX-License-Identifier: Apache-2.0 */
/*
 * records.c - what a client says over TLS is read record by record.
 *
 * A server that reads until nothing more comes, and answers then, answers otherwise if the client's next words are there already: two
 * answers in one record, where its copy makes two. So, behind each record of the client, it is told once that nothing has come: in both
 * copies, whatever waits there.
 *
 * This is for servers that wait with epoll, and whose sockets do not block. If such a one is told of changes only (EPOLLET), epoll is made
 * to look again: else it would never hear of what waits there.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include "next.h"
#include "shim.h"

#define HEAD 5u
#define LARGEST (16384u + 2048u)

enum { CHANGE_CIPHER = 20, HANDSHAKE = 22, DATA = 23 };

/*
 * To look before a connection's first bytes are read costs a system call, and only those of TLS 1.3 that come too early (RFC 8446, 2.3)
 * need it. So where the last client spoke no TLS the next one's first bytes are looked at when they were read.
 */
static _Atomic bool plain[UINT16_MAX + 1];

struct shim_records shim_expected(uint16_t port)
{
	bool none = atomic_load_explicit(&plain[port], memory_order_relaxed);

	return (struct shim_records){.state = none ? SHIM_NO_TLS_YET : SHIM_IN_HEAD, .port = port};
}

static void learn(const struct shim_records *r)
{
	bool none = r->state == SHIM_NO_RECORDS;

	if (atomic_load_explicit(&plain[r->port], memory_order_relaxed) != none)
		atomic_store_explicit(&plain[r->port], none, memory_order_relaxed);
}

/* The head is complete. */
static bool makes_sense(const struct shim_records *r)
{
	return r->head[0] >= CHANGE_CIPHER && r->head[0] <= DATA && r->head[1] == 3 && r->head[2] <= 4 && r->left && r->left <= LARGEST;
}

/* A server acts on what is encrypted. What is said of a handshake before that takes no turns. */
static enum shim_reading behind(const struct shim_records *r)
{
	return r->head[0] == DATA || (r->head[0] == HANDSHAKE && r->sealed) ? SHIM_BETWEEN : SHIM_IN_HEAD;
}

/* Goes on with these bytes; returns how many of them there are until the server is to act, all if it is not. */
static size_t advance(struct shim_records *r, const uint8_t *bytes, size_t n)
{
	size_t at = 0;

	while (at < n && (r->state == SHIM_IN_HEAD || r->state == SHIM_IN_BODY)) {
		if (r->state == SHIM_IN_HEAD) {
			r->head[r->have++] = bytes[at++];
			if (r->have < HEAD)
				continue;
			r->have = 0;
			r->left = (uint32_t)r->head[3] << 8 | r->head[4];
			r->state = makes_sense(r) ? SHIM_IN_BODY : SHIM_NO_RECORDS;
		} else {
			uint32_t part = n - at < r->left ? (uint32_t)(n - at) : r->left;

			at += part;
			r->left -= part;
			if (r->left)
				continue;
			r->state = behind(r);
			r->sealed |= r->head[0] == CHANGE_CIPHER;
		}
	}
	return r->state == SHIM_BETWEEN ? at : n;
}

void shim_took(uint32_t slot, const void *bytes, size_t n)
{
	struct shim_records r = shim_slots[slot].records; /* of its own: threads that read at once shall not get beyond its ends */
	const uint8_t *from = bytes;

	if (!bytes) /* they are in several places */
		r.state = SHIM_NO_RECORDS;
	for (size_t part; n && r.state != SHIM_NO_RECORDS; from += part, n -= part) {
		if (r.state == SHIM_BETWEEN || r.state == SHIM_NO_TLS_YET)
			r.state = SHIM_IN_HEAD;
		part = advance(&r, from, n);
	}
	if (bytes)
		learn(&r);
	shim_slots[slot].records = r;
}

/* Whoever is told of changes only hears of what is there already. */
static bool told_again(uint32_t slot)
{
	const struct shim_slot *s = &shim_slots[slot];

	return !(s->events & EPOLLET) || s->events & EPOLLONESHOT || shim_tell_again(s->epoll, s->fd, s->events, atomic_load(&s->data));
}

/* A read of all that it asks for would not go beyond where it is to act. */
static bool fits(const struct shim_records *r, size_t n)
{
	return r->state == SHIM_IN_BODY ? n <= r->left : n <= HEAD - r->have;
}

/* Between two records: true if it is to act first, which errno says. */
static bool pauses(uint32_t slot, int fd, int flags)
{
	char one;

	shim_slots[slot].records.state = SHIM_IN_HEAD;
	if (NEXT(recv)(fd, &one, 1, flags | MSG_PEEK) < 0)
		return true; /* there is nothing, or an error */
	if (shim_blocks(fd, flags) || !told_again(slot))
		return false;
	errno = EAGAIN;
	return true;
}

ssize_t shim_read(uint32_t slot, int fd, void *to, size_t n, int flags)
{
	struct shim_records ahead;
	size_t part = n < HEAD + LARGEST + 1 ? n : HEAD + LARGEST + 1;
	ssize_t waits;

	if (shim_slots[slot].records.state == SHIM_NO_TLS_YET || !shim_slots[slot].events || shim_slots[slot].fd != fd || !n ||
	    flags & ~(MSG_DONTWAIT | MSG_NOSIGNAL))
		return NEXT(recv)(fd, to, n, flags);
	if (shim_slots[slot].records.state == SHIM_BETWEEN && pauses(slot, fd, flags))
		return -1;
	ahead = shim_slots[slot].records;
	if (fits(&ahead, n))
		return NEXT(recv)(fd, to, n, flags);
	waits = NEXT(recv)(fd, to, part, flags | MSG_PEEK);
	if (waits < 0)
		return waits;
	part = advance(&ahead, to, (size_t)waits);
	if (ahead.state == SHIM_NO_RECORDS || !waits)
		return NEXT(recv)(fd, to, n, flags);
	if (part < (size_t)waits && !told_again(slot))
		part = (size_t)waits;
	return NEXT(recv)(fd, to, part, flags);
}
