/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The plain TCP server of the bench: one thread, one epoll, any number of connections. serve PORT [PROCESSES]
 * PROCESSES that share the port: for more connections than one process may have files.
 *
 * The first line of a connection says what to do. What it answers depends on nothing but what it received, so
 * two copies of it agree:
 *
 *   down       send the content for ever, with sendfile
 *   up STEP    read to the client's FIN; after every STEP bytes (0: never), and at the end, send the number of
 *              bytes so far, as 8 bytes in network order; then close
 *   echo       send back what comes
 *   ask        for every 4 bytes, a number in network order, send that many bytes of content, with sendfile
 */
#define _GNU_SOURCE
#include <endian.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include "process.h"

#define CONTENT_BYTES (1u << 20)
#define BUFFER_BYTES (1u << 18)
#define LINE_BYTES 32
#define EVENTS 256
#define TURNS 4 /* reads or writes of one connection before the others have their turn */

enum verb { LINE, DOWN, UP, ECHO, ASK };

struct connection {
	int fd;
	enum verb verb;
	bool ended;		   /* the client's FIN has been read */
	bool waits_to_write;	   /* epoll tells us about room to send, and not about what comes */
	uint32_t line_len;	   /* of the first line, or of a number of ASK */
	char line[LINE_BYTES];
	uint64_t step, total, told; /* UP */
	uint64_t to_send;	   /* DOWN, ASK: bytes of content */
	off_t at;		   /* where in the content */
	char *pending;		   /* ECHO, UP: answers that the socket did not take; NULL for most */
	size_t pending_len, pending_at;
};

static int epoll_fd, content_fd;
static char buffer[BUFFER_BYTES];

/* The same pseudo-random bytes in every copy of this server: xorshift64* from a fixed seed. */
static void make_content(void)
{
	uint64_t x = 88172645463325252ull;
	uint64_t *word;

	content_fd = memfd_create("content", MFD_CLOEXEC);
	if (content_fd < 0 || ftruncate(content_fd, CONTENT_BYTES))
		die("content");
	word = mmap(NULL, CONTENT_BYTES, PROT_WRITE, MAP_SHARED, content_fd, 0);
	if (word == MAP_FAILED)
		die("content");
	for (size_t i = 0; i < CONTENT_BYTES / sizeof(*word); i++) {
		x ^= x >> 12;
		x ^= x << 25;
		x ^= x >> 27;
		word[i] = htole64(x * 2685821657736338717ull);
	}
	munmap(word, CONTENT_BYTES);
}

static void forget(struct connection *c)
{
	close(c->fd);
	free(c->pending);
	free(c);
}

/* Look for room to send while something waits, else for what comes. False when epoll refuses. */
static bool watch(struct connection *c, bool write)
{
	struct epoll_event event = {.events = write ? EPOLLOUT : EPOLLIN, .data.ptr = c};

	if (write == c->waits_to_write)
		return true;
	c->waits_to_write = write;
	return epoll_ctl(epoll_fd, EPOLL_CTL_MOD, c->fd, &event) == 0;
}

/* Send, or keep what the socket does not take. False when the connection is lost. */
static bool answer(struct connection *c, const char *data, size_t len)
{
	ssize_t n = c->pending ? 0 : send(c->fd, data, len, MSG_NOSIGNAL);
	char *more;

	if (n < 0 && errno != EAGAIN)
		return false;
	if (n < 0)
		n = 0;
	if ((size_t)n == len)
		return true;
	more = realloc(c->pending, c->pending_len + len - (size_t)n);
	if (!more)
		die("memory");
	memcpy(more + c->pending_len, data + n, len - (size_t)n);
	c->pending = more;
	c->pending_len += len - (size_t)n;
	return true;
}

/* Send what waits. False when the connection is lost. */
static bool flush(struct connection *c)
{
	while (c->pending) {
		ssize_t n = send(c->fd, c->pending + c->pending_at, c->pending_len - c->pending_at, MSG_NOSIGNAL);

		if (n < 0)
			return errno == EAGAIN;
		c->pending_at += (size_t)n;
		if (c->pending_at == c->pending_len) {
			free(c->pending);
			c->pending = NULL;
			c->pending_len = c->pending_at = 0;
		}
	}
	for (int turn = 0; c->to_send && turn < TURNS; turn++) {
		size_t piece = CONTENT_BYTES - (size_t)c->at;
		ssize_t n = sendfile(c->fd, content_fd, &c->at, piece < c->to_send ? piece : c->to_send);

		if (n < 0)
			return errno == EAGAIN;
		c->at %= CONTENT_BYTES;
		if (c->verb == ASK)
			c->to_send -= (uint64_t)n;
	}
	return true;
}

static bool tell(struct connection *c, uint64_t count)
{
	uint64_t word = htobe64(count);

	return answer(c, (const char *)&word, sizeof(word));
}

static bool take(struct connection *c, const char *data, size_t len);

/* Collect the first line; what is behind it is for the verb that it names. False when it names none. */
static bool take_line(struct connection *c, const char *data, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		if (data[i] != '\n') {
			if (c->line_len + 1 == LINE_BYTES)
				return false;
			c->line[c->line_len++] = data[i];
			continue;
		}
		c->line[c->line_len] = 0;
		c->line_len = 0;
		if (!strcmp(c->line, "down")) {
			c->verb = DOWN;
			c->to_send = UINT64_MAX;
		} else if (!strcmp(c->line, "echo")) {
			c->verb = ECHO;
		} else if (!strcmp(c->line, "ask")) {
			c->verb = ASK;
		} else if (sscanf(c->line, "up %lu", &c->step) == 1) {
			c->verb = UP;
		} else {
			return false;
		}
		return take(c, data + i + 1, len - i - 1);
	}
	return true;
}

/* What has come. False when the connection is to be closed. */
static bool take(struct connection *c, const char *data, size_t len)
{
	switch (c->verb) {
	case LINE:
		return take_line(c, data, len);
	case DOWN:
		return true;
	case ECHO:
		return !len || answer(c, data, len);
	case UP:
		c->total += len;
		while (c->step && c->total - c->told >= c->step) {
			c->told += c->step;
			if (!tell(c, c->told))
				return false;
		}
		return true;
	case ASK:
		for (size_t i = 0; i < len; i++) {
			c->line[c->line_len++] = data[i];
			if (c->line_len == sizeof(uint32_t)) {
				uint32_t word;

				memcpy(&word, c->line, sizeof(word));
				c->to_send += be32toh(word);
				c->line_len = 0;
			}
		}
		return true;
	}
	return false;
}

/* One turn of a connection that can be read or written. False when it is over. */
static bool serve(struct connection *c)
{
	if (!flush(c))
		return false;
	for (int turn = 0; turn < TURNS && !c->pending && !c->to_send && !c->ended; turn++) {
		ssize_t n = recv(c->fd, buffer, sizeof(buffer), 0);

		if (n < 0 && errno == EAGAIN)
			break;
		if (n < 0 || (n > 0 && !take(c, buffer, (size_t)n)))
			return false;
		if (n == 0) {
			c->ended = true;
			if (c->verb == UP && !tell(c, c->total))
				return false;
		}
		if (!flush(c))
			return false;
	}
	if (c->ended && !c->pending && !c->to_send)
		return false;
	return watch(c, c->pending || c->to_send);
}

static void accept_all(int listener)
{
	for (;;) {
		struct connection *c;
		struct epoll_event event = {.events = EPOLLIN};
		int one = 1, fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

		if (fd < 0) {
			if (errno == EAGAIN || errno == ECONNABORTED || errno == EINTR)
				return;
			die("accept");
		}
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
		c = calloc(1, sizeof(*c));
		if (!c)
			die("memory");
		c->fd = fd;
		event.data.ptr = c;
		if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event))
			die("epoll");
	}
}

static int listen_on(const char *port)
{
	struct sockaddr_in6 any = {.sin6_family = AF_INET6, .sin6_port = htons((uint16_t)atoi(port)), .sin6_addr = in6addr_any};
	int one = 1, zero = 0, fd = socket(AF_INET6, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) || setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof(one)) ||
	    setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &zero, sizeof(zero)) || bind(fd, (struct sockaddr *)&any, sizeof(any)) ||
	    listen(fd, 65535))
		die(port);
	return fd;
}

int main(int argc, char **argv)
{
	struct epoll_event events[EVENTS], first = {.events = EPOLLIN, .data.ptr = NULL};
	int listener;

	if (argc != 2 && argc != 3) {
		fprintf(stderr, "usage: serve PORT [PROCESSES]\n");
		return 2;
	}
	signal(SIGPIPE, SIG_IGN); /* sendfile has no MSG_NOSIGNAL */
	all_files();
	become(argc == 3 ? (unsigned)atoi(argv[2]) : 1);
	make_content();
	listener = listen_on(argv[1]);
	epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (epoll_fd < 0 || epoll_ctl(epoll_fd, EPOLL_CTL_ADD, listener, &first))
		die("epoll");
	for (;;) {
		int count = epoll_wait(epoll_fd, events, EVENTS, -1);

		if (count < 0 && errno != EINTR)
			die("epoll");
		for (int i = 0; i < count; i++) {
			struct connection *c = events[i].data.ptr;

			if (!c)
				accept_all(listener);
			else if (!serve(c))
				forget(c);
		}
	}
}
