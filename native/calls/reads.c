/* SPDX-License-Identifier: Apache-2.0 */
/*
 * reads.c - bytes that come. A read of n bytes at the leader is one of exactly n bytes at the follower, which waits until they are
 * there. What differs on the two hosts (devices, timers, datagrams, /proc) the leader tells.
 */
#define _GNU_SOURCE
#include <string.h>
#include "calls.h"
#include "next.h"

struct reading {
	int fd, flags, n;
	struct iovec *parts;
	struct msghdr *message; /* NULL: bytes only */
};

static size_t room_of(const struct reading *r)
{
	size_t n = 0;

	for (int i = 0; i < r->n; i++)
		n += r->parts[i].iov_len;
	return n;
}

static ssize_t read_here(const struct reading *r)
{
	if (r->message)
		return NEXT(recvmsg)(r->fd, r->message, r->flags);
	if (calls_kind(r->fd) == CALLS_SOCKET && r->n == 1)
		return NEXT(recv)(r->fd, r->parts->iov_base, r->parts->iov_len, r->flags);
	return NEXT(readv)(r->fd, r->parts, r->n);
}

/* --- the follower --------------------------------------------------------------------------------------- */

/* The first n bytes of what is to be read. False: they do not come. */
static bool await_bytes(int fd, size_t n)
{
	int most = n < 1u << 30 ? (int)n : 1 << 30, one = 1;
	bool there;

	setsockopt(fd, SOL_SOCKET, SO_RCVLOWAT, &most, sizeof(most));
	there = calls_await(fd, POLLIN);
	setsockopt(fd, SOL_SOCKET, SO_RCVLOWAT, &one, sizeof(one));
	return there;
}

/* What comes with the first byte: descriptors. */
static ssize_t read_first(const struct reading *r, uint8_t *to, size_t n)
{
	struct iovec one = {to, n};
	struct msghdr m = *r->message;
	ssize_t got;

	m.msg_iov = &one;
	m.msg_iovlen = 1;
	got = NEXT(recvmsg)(r->fd, &m, r->flags & ~MSG_WAITALL);
	r->message->msg_controllen = m.msg_controllen;
	r->message->msg_flags = m.msg_flags;
	r->message->msg_namelen = m.msg_namelen;
	return got;
}

/* Returns how many bytes it has taken: less than n if no more come. */
static size_t read_exactly(const struct reading *r, uint8_t *to, size_t n, bool first)
{
	bool waits = calls_kind(r->fd) != CALLS_FILE;
	size_t taken = 0;

	while (taken < n) {
		ssize_t got;

		if (waits && !(r->flags & MSG_PEEK ? await_bytes(r->fd, n) : calls_await(r->fd, POLLIN)))
			break;
		if (first && r->message)
			got = read_first(r, to + taken, n - taken);
		else if (r->flags & MSG_PEEK)
			got = NEXT(recv)(r->fd, to, n, MSG_PEEK | MSG_DONTWAIT);
		else
			got = NEXT(read)(r->fd, to + taken, n - taken);
		if (!got || (got < 0 && errno != EINTR && errno != EAGAIN))
			break;
		if (got > 0 && r->flags & MSG_PEEK && (size_t)got < n)
			break; /* they are not taken */
		first = first && got < 0;
		taken += got > 0 ? (size_t)got : 0;
	}
	return taken;
}

/* Its own timers and datagrams are taken, if they are there, so that they are not there later. */
static void drain(const struct reading *r)
{
	struct pollfd p = {.fd = r->fd, .events = POLLIN};
	uint8_t bytes[2048];
	size_t n = room_of(r);

	if (NEXT(poll)(&p, 1, 0) > 0)
		(void)!NEXT(read)(r->fd, bytes, n < sizeof(bytes) ? n : sizeof(bytes));
}

static ssize_t follow_told(struct calls_call *c, const struct reading *r)
{
	struct sockaddr_storage from;
	socklen_t n = 0;
	size_t left = (size_t)c->said.result;

	calls_hear(c, &n, sizeof(n));
	n = n < sizeof(from) ? n : sizeof(from);
	calls_hear(c, &from, n);
	for (int i = 0; i < r->n && left; i++)
		left -= calls_hear(c, r->parts[i].iov_base, left < r->parts[i].iov_len ? left : r->parts[i].iov_len);
	if (r->message) {
		if (r->message->msg_name)
			memcpy(r->message->msg_name, &from, n < r->message->msg_namelen ? n : r->message->msg_namelen);
		r->message->msg_namelen = n;
		r->message->msg_controllen = 0;
		r->message->msg_flags = 0;
	}
	drain(r);
	return calls_end(c);
}

static ssize_t follow_read(struct calls_call *c, const struct reading *r)
{
	size_t left = c->said.result > 0 ? (size_t)c->said.result : 0, got = 0;

	if (left && c->said.size)
		return follow_told(c, r);
	for (int i = 0; i < r->n && left; i++) {
		size_t n = left < r->parts[i].iov_len ? left : r->parts[i].iov_len;
		size_t taken = read_exactly(r, r->parts[i].iov_base, n, !i);

		got += taken;
		left -= taken;
		if (taken < n) {
			calls_break(FTT_CALLS_ENDED, c);
			calls_end(c);
			return got ? (ssize_t)got : read_here(r); /* as it is here */
		}
	}
	return calls_end(c);
}

/* --- both -------------------------------------------------------------------------------------------------- */

static ssize_t tell_read(struct calls_call *c, const struct reading *r, ssize_t got)
{
	struct iovec parts[2 + 64];
	socklen_t n = r->message && r->message->msg_name ? r->message->msg_namelen : 0;
	size_t left = got > 0 ? (size_t)got : 0;
	int used = 2;

	if (got <= 0 || c->role != CALLS_LEADS || calls_kind(r->fd) != CALLS_TOLD)
		return calls_tell(c, got, NULL, 0);
	parts[0] = (struct iovec){&n, sizeof(n)};
	parts[1] = (struct iovec){n ? r->message->msg_name : NULL, n};
	for (int i = 0; i < r->n && left && used < 66; i++, used++) {
		parts[used] = (struct iovec){r->parts[i].iov_base, left < r->parts[i].iov_len ? left : r->parts[i].iov_len};
		left -= parts[used].iov_len;
	}
	return calls_tell_parts(c, got, parts, used);
}

static ssize_t read_any(const struct reading *r)
{
	struct calls_call c;

	if (calls_role == CALLS_ALONE)
		return read_here(r);
	c = calls_begin_within(CALLS_READ, (uint64_t)r->fd << 32 ^ room_of(r), r->flags & MSG_TRUNC ? INT64_MAX : (int64_t)room_of(r));
	if (c.role == CALLS_FOLLOWS)
		return follow_read(&c, r);
	return tell_read(&c, r, read_here(r));
}

EXPORT ssize_t read(int fd, void *to, size_t n)
{
	struct iovec part = {to, n};

	if (calls_role == CALLS_ALONE)
		return NEXT(read)(fd, to, n);
	return read_any(&(struct reading){.fd = fd, .n = 1, .parts = &part});
}

EXPORT ssize_t readv(int fd, const struct iovec *parts, int n)
{
	return read_any(&(struct reading){.fd = fd, .n = n, .parts = (struct iovec *)parts});
}

EXPORT ssize_t recvmsg(int fd, struct msghdr *m, int flags)
{
	return read_any(&(struct reading){.fd = fd, .flags = flags, .n = (int)m->msg_iovlen, .parts = m->msg_iov, .message = m});
}

EXPORT ssize_t recvfrom(int fd, void *restrict to, size_t n, int flags, struct sockaddr *restrict from, socklen_t *restrict len)
{
	struct iovec part = {to, n};
	struct msghdr m = {.msg_iov = &part, .msg_iovlen = 1, .msg_name = from, .msg_namelen = from && len ? *len : 0};
	ssize_t got = recvmsg(fd, &m, flags);

	if (got >= 0 && from && len)
		*len = m.msg_namelen;
	return got;
}

EXPORT ssize_t recv(int fd, void *to, size_t n, int flags)
{
	return recvfrom(fd, to, n, flags, NULL, NULL);
}

/* --- as a compiler calls them that checks the room of buffers -------------------------------------------------- */

EXPORT ssize_t __read_chk(int fd, void *to, size_t n, size_t room)
{
	if (n > room)
		__builtin_trap();
	return read(fd, to, n);
}

EXPORT ssize_t __recv_chk(int fd, void *to, size_t n, size_t room, int flags)
{
	if (n > room)
		__builtin_trap();
	return recv(fd, to, n, flags);
}

EXPORT ssize_t __recvfrom_chk(int fd, void *restrict to, size_t n, size_t room, int flags, struct sockaddr *restrict from,
			      socklen_t *restrict len)
{
	if (n > room)
		__builtin_trap();
	return recvfrom(fd, to, n, flags, from, len);
}
