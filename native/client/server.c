/* SPDX-License-Identifier: Apache-2.0 */
/*
 * server.c - the other end of a measurement. What it says depends on nothing but what the client said: copies of it agree.
 *
 * The first line of a connection says what to do:
 *
 *   echo                    send back every byte
 *   down SEED COUNT RATE    send COUNT bytes of the ramp (0: for ever), RATE bytes per second (0: no limit), and close
 *   up SEED                 check what comes up to the client's FIN; one byte for each ACK_EVERY
 *   both SEED COUNT RATE    both at once: the ramp of SEED down, that of SEED + 1 up, without those bytes
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>
#include "client.h"

#define AT_ONCE 64

struct peer {
	int fd;
	bool reading;      /* the line has not ended */
	bool ended;        /* the client's FIN has come */
	uint8_t line[LINE_MAX_BYTES];
	uint32_t line_len;
	enum mode mode;
	uint64_t count, rate, began_ns;
	uint64_t sent, received, owed; /* owed: bytes of `echo`, or answers of `up`, that are not sent yet */
	struct ramp down, up;
	uint8_t *echo;     /* ACK_EVERY bytes that wait to go back */
	struct peer *next; /* of those that are paced */
	bool paced;
};

static int epoll_fd;
static struct peer *paced;

static void forget(struct peer *p)
{
	for (struct peer **at = &paced; *at; at = &(*at)->next)
		if (*at == p) {
			*at = p->next;
			break;
		}
	close(p->fd);
	free(p->down.bytes);
	free(p->up.bytes);
	free(p->echo);
	free(p);
}

static bool watch(struct peer *p, bool writes)
{
	bool reads = !p->ended && !(p->mode == MODE_ECHO && p->owed == ACK_EVERY);
	struct epoll_event ev = {.events = (reads ? EPOLLIN : 0) | (writes ? EPOLLOUT : 0), .data.ptr = p};

	return !epoll_ctl(epoll_fd, EPOLL_CTL_MOD, p->fd, &ev);
}

/* false: it is over. */
static bool understand(struct peer *p)
{
	char verb[8];
	unsigned long long seed = 0, count = 0, rate = 0;
	int n = sscanf((const char *)p->line, "%7s %llu %llu %llu", verb, &seed, &count, &rate);

	p->count = count ? count : UINT64_MAX;
	p->rate = rate;
	p->began_ns = now_ns();
	if (n >= 1 && !strcmp(verb, "echo")) {
		p->mode = MODE_ECHO;
		return (p->echo = malloc(ACK_EVERY));
	}
	if (n >= 2 && !strcmp(verb, "up")) {
		p->mode = MODE_UP;
		return ramp_make(&p->up, seed);
	}
	if (n < 4 || (strcmp(verb, "down") && strcmp(verb, "both")))
		return false;
	p->mode = strcmp(verb, "both") ? MODE_DOWN : MODE_BOTH;
	return ramp_make(&p->down, seed) && (p->mode == MODE_DOWN || ramp_make(&p->up, seed + 1));
}

/* How many bytes of the ramp may go now. */
static uint64_t allowed(const struct peer *p)
{
	uint64_t due = p->count;

	if (p->rate) {
		double seconds = (double)(now_ns() - p->began_ns) / 1e9;

		due = (uint64_t)(seconds * (double)p->rate) + 1;
	}
	return (due < p->count ? due : p->count) - p->sent;
}

/* Sends what is due. false: the connection is over. */
static bool speak(struct peer *p)
{
	while (p->mode == MODE_DOWN || p->mode == MODE_BOTH ? p->sent < p->count : p->owed) {
		static const uint8_t answer[64];
		const uint8_t *from = p->mode == MODE_ECHO ? p->echo : p->mode == MODE_UP ? answer : ramp_at(&p->down, p->sent);
		uint64_t most = p->mode == MODE_ECHO ? p->owed : p->mode == MODE_UP ? (p->owed < 64 ? p->owed : 64) : allowed(p);
		ssize_t n;

		if (!most)
			break; /* paced: the next turn goes on */
		n = send(p->fd, from, most < RAMP_CHUNK ? most : RAMP_CHUNK, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (n < 0)
			return (errno == EAGAIN || errno == EINTR) && watch(p, true);
		p->sent += (uint64_t)n;
		if (p->mode == MODE_ECHO || p->mode == MODE_UP)
			p->owed -= (uint64_t)n;
		if (p->mode == MODE_ECHO)
			memmove(p->echo, p->echo + n, p->owed);
	}
	if ((p->mode == MODE_DOWN || p->mode == MODE_BOTH) && p->sent < p->count && p->rate && !p->paced) {
		p->paced = true;
		p->next = paced;
		paced = p;
	}
	if (p->mode == MODE_DOWN ? p->sent == p->count : p->ended && !p->owed && (p->mode != MODE_BOTH || p->sent == p->count))
		return false;
	return watch(p, false);
}

/* Takes what has come. false: the connection is over. */
static bool listen_to(struct peer *p)
{
	static uint8_t bytes[RAMP_CHUNK];
	uint8_t *at = p->reading ? p->line + p->line_len : bytes;
	size_t room = p->reading ? sizeof(p->line) - 1 - p->line_len : p->mode == MODE_ECHO ? ACK_EVERY - p->owed : sizeof(bytes);
	ssize_t n = room ? recv(p->fd, at, p->reading ? 1 : room, MSG_DONTWAIT) : -1;

	if (!room && !p->reading)
		return true; /* what it has is to go back first */
	if (n < 0)
		return room && (errno == EAGAIN || errno == EINTR);
	p->ended = !n;
	if (p->reading) {
		p->line_len += (uint32_t)n;
		if (!n)
			return false;
		if (*at != '\n')
			return listen_to(p);
		p->reading = false;
		return understand(p);
	}
	if (p->mode == MODE_ECHO) {
		memcpy(p->echo + p->owed, bytes, (size_t)n);
		p->owed += (uint64_t)n;
	} else if (p->up.bytes) {
		if (ramp_right(&p->up, p->received, bytes, (uint32_t)n) != n)
			return false; /* the client sees that it is closed before its time */
		if (p->mode == MODE_UP)
			p->owed += (p->received + (uint64_t)n) / ACK_EVERY - p->received / ACK_EVERY;
		p->received += (uint64_t)n;
	}
	return true;
}

static void come(int listener)
{
	int one = 1, fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	struct peer *p = fd < 0 ? NULL : calloc(1, sizeof(*p));
	struct epoll_event ev = {.events = EPOLLIN, .data.ptr = p};

	if (!p) {
		if (fd >= 0)
			close(fd);
		return;
	}
	p->fd = fd;
	p->reading = true;
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &ev))
		forget(p);
}

static void go_on_with_paced(void)
{
	struct peer *p = paced, *next;

	paced = NULL;
	for (; p; p = next) {
		next = p->next;
		p->paced = false;
		if (!speak(p))
			forget(p);
	}
}

int serve(const struct sockaddr_storage *at, socklen_t len)
{
	int one = 1, zero = 0, listener = socket(at->ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	struct epoll_event ev = {.events = EPOLLIN}, got[AT_ONCE];

	epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (at->ss_family == AF_INET6)
		setsockopt(listener, IPPROTO_IPV6, IPV6_V6ONLY, &zero, sizeof(zero));
	if (listener < 0 || bind(listener, (const struct sockaddr *)at, len) || listen(listener, 4096) || epoll_fd < 0 ||
	    epoll_ctl(epoll_fd, EPOLL_CTL_ADD, listener, &ev)) {
		fprintf(stderr, "fttcp-client: cannot serve there: %s\n", strerror(errno));
		return 2;
	}
	for (;;) {
		int n = epoll_wait(epoll_fd, got, AT_ONCE, paced ? 1 : -1);

		for (int i = 0; i < n; i++) {
			struct peer *p = got[i].data.ptr;

			if (!p)
				come(listener);
			else if ((got[i].events & EPOLLERR) || (!p->ended && !listen_to(p)) || (!p->reading && !speak(p)))
				forget(p);
		}
		go_on_with_paced();
	}
}
