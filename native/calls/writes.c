/* SPDX-License-Identifier: Apache-2.0 */
/* writes.c - bytes that go: as many at the follower as at the leader, which may have had less room. */
#define _GNU_SOURCE
#include "calls.h"
#include "next.h"

static uint64_t about(int fd, const struct iovec *parts, size_t n)
{
	uint64_t sum = (uint64_t)fd << 32;

	for (size_t i = 0; i < n; i++)
		sum += parts[i].iov_len;
	return sum;
}

static struct calls_call begin_write(int fd, const struct iovec *parts, size_t n)
{
	uint64_t sum = about(fd, parts, n);

	return calls_begin_within(CALLS_WRITE, sum, (int64_t)(sum - ((uint64_t)fd << 32)));
}

/* A connection that has ended here takes nothing more, and the leader's result stands: nobody hears what a follower says. */
static size_t write_exactly(int fd, const uint8_t *from, size_t n)
{
	bool socket = calls_kind(fd) == CALLS_SOCKET, waits = socket || calls_kind(fd) == CALLS_PIPE;
	size_t written = 0;

	while (written < n) {
		const uint8_t *at = from + written;
		size_t left = n - written;
		ssize_t done = socket ? NEXT(send)(fd, at, left, MSG_NOSIGNAL | MSG_DONTWAIT) : NEXT(write)(fd, at, left);

		if (done < 0 && errno == EAGAIN && waits && calls_await(fd, POLLOUT))
			continue;
		if (done < 0 && errno == EINTR)
			continue;
		if (done <= 0)
			break;
		written += (size_t)done;
	}
	return written;
}

/* Of the leader's bytes `left` were not taken here. If the log has ended meanwhile, the server hears of it: it has to say them. */
static bool is_cut(struct calls_call *c, size_t left)
{
	if (!left || calls_still())
		return false;
	calls_end(c);
	calls_go_alone();
	return true;
}

static ssize_t follow_write(struct calls_call *c, int fd, const struct iovec *parts, size_t n, int flags)
{
	size_t left = c->said.result > 0 ? (size_t)c->said.result : 0, written = 0;

	for (size_t i = 0; i < n && left; i++) {
		size_t piece = left < parts[i].iov_len ? left : parts[i].iov_len;
		size_t done = write_exactly(fd, parts[i].iov_base, piece);

		written += done;
		left -= done;
		if (done < piece)
			break;
	}
	if (!is_cut(c, left))
		return calls_end(c);
	if (written)
		return (ssize_t)written;
	if (calls_kind(fd) != CALLS_SOCKET)
		return NEXT(writev)(fd, parts, (int)n);
	return NEXT(sendmsg)(fd, &(struct msghdr){.msg_iov = (struct iovec *)parts, .msg_iovlen = n}, flags | MSG_NOSIGNAL);
}

EXPORT ssize_t write(int fd, const void *from, size_t n)
{
	struct iovec part = {(void *)from, n};
	struct calls_call c = begin_write(fd, &part, 1);

	if (c.role == CALLS_FOLLOWS)
		return follow_write(&c, fd, &part, 1, 0);
	return calls_tell(&c, NEXT(write)(fd, from, n), NULL, 0);
}

EXPORT ssize_t writev(int fd, const struct iovec *parts, int n)
{
	struct calls_call c = begin_write(fd, parts, n > 0 ? (size_t)n : 0);

	if (c.role == CALLS_FOLLOWS)
		return follow_write(&c, fd, parts, n > 0 ? (size_t)n : 0, 0);
	return calls_tell(&c, NEXT(writev)(fd, parts, n), NULL, 0);
}

/* Datagrams, and what carries descriptors, go as they are. */
EXPORT ssize_t sendmsg(int fd, const struct msghdr *m, int flags)
{
	struct calls_call c = begin_write(fd, m->msg_iov, m->msg_iovlen);

	if (c.role != CALLS_FOLLOWS)
		return calls_tell(&c, NEXT(sendmsg)(fd, m, flags), NULL, 0);
	if (calls_kind(fd) == CALLS_SOCKET && !m->msg_controllen)
		return follow_write(&c, fd, m->msg_iov, m->msg_iovlen, flags);
	if (c.said.result >= 0)
		NEXT(sendmsg)(fd, m, flags | MSG_NOSIGNAL);
	return calls_end(&c);
}

EXPORT ssize_t sendto(int fd, const void *from, size_t n, int flags, const struct sockaddr *to, socklen_t len)
{
	struct iovec part = {(void *)from, n};
	struct msghdr m = {.msg_iov = &part, .msg_iovlen = 1, .msg_name = (void *)to, .msg_namelen = to ? len : 0};

	return sendmsg(fd, &m, flags);
}

EXPORT ssize_t send(int fd, const void *from, size_t n, int flags)
{
	return sendto(fd, from, n, flags, NULL, 0);
}

EXPORT ssize_t sendfile(int out, int in, off_t *at, size_t n)
{
	struct calls_call c = calls_begin_within(CALLS_WRITE, (uint64_t)out << 32 ^ (uint64_t)in << 48 ^ n, (int64_t)n);
	size_t left, all;

	if (c.role != CALLS_FOLLOWS)
		return calls_tell(&c, NEXT(sendfile)(out, in, at, n), NULL, 0);
	left = all = c.said.result > 0 ? (size_t)c.said.result : 0;
	while (left) {
		ssize_t done = calls_await(out, POLLOUT) ? NEXT(sendfile)(out, in, at, left) : -1;

		if (done < 0 && (errno == EINTR || errno == EAGAIN) && calls_still())
			continue;
		if (done <= 0)
			break;
		left -= (size_t)done;
	}
	if (!is_cut(&c, left))
		return calls_end(&c);
	return left < all ? (ssize_t)(all - left) : NEXT(sendfile)(out, in, at, n);
}

EXPORT ssize_t sendfile64(int out, int in, off_t *at, size_t n) __attribute__((alias("sendfile")));
