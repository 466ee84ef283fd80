/* SPDX-License-Identifier: Apache-2.0 */
/*
 * measure.c - many connections in one thread, each byte verified, each silence of them timed.
 *
 * A connection owes progress from the moment at which something of the server is due: an answer, the next byte of a download,
 * the byte that answers so many of an upload, the end after our own. The time without is a silence; a *gap* if it is long.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>
#include "client.h"
#include "report.h"

#define AT_ONCE 256
#define TURN_NS 1000000ull /* between two looks at what time brings */

struct conn {
	int fd; /* -1: over */
	uint32_t number;
	bool connected, writes, closing;
	bool again;       /* connect: the next one begins at next_ns */
	uint64_t said;    /* connect: bytes of the connections before */
	char line[LINE_MAX_BYTES];
	uint32_t line_len, line_sent;
	uint64_t sent, received;
	uint64_t due_ns;  /* since when progress is due; 0: none is */
	uint64_t next_ns; /* echo: when the next message goes */
	uint64_t began_ns;
};

struct run {
	const struct options *o;
	struct report report;
	struct conn *conn;
	uint32_t open;
	struct ramp up, down;
	uint64_t began_ns, ends_ns;
	int epoll_fd;
	bool waking; /* some connection waits for time to pass */
};

static bool sends(const struct run *r)
{
	return r->o->mode != MODE_DOWN;
}

/* What is sent comes back. */
static bool echoes(const struct run *r)
{
	return r->o->mode == MODE_ECHO || r->o->mode == MODE_CONNECT;
}

static const struct ramp *expected(const struct run *r)
{
	return echoes(r) ? &r->up : &r->down;
}

static bool over(const struct run *r)
{
	return r->ends_ns && now_ns() >= r->ends_ns;
}

static void end(struct run *r, struct conn *c, const char *kind, const char *why)
{
	if (c->fd < 0)
		return;
	if (kind)
		report_loss(&r->report, c->number, kind, c->received, why);
	close(c->fd);
	c->fd = -1;
	r->open--;
}

static void watch(struct run *r, struct conn *c, bool writes)
{
	struct epoll_event ev = {.events = EPOLLIN | (writes ? EPOLLOUT : 0), .data.ptr = c};

	if (c->writes != writes && !epoll_ctl(r->epoll_fd, EPOLL_CTL_MOD, c->fd, &ev))
		c->writes = writes;
}

/* How many bytes of the ramp may go now; what has to wait for time sets `waking`. */
static uint64_t allowed(struct run *r, const struct conn *c)
{
	const struct options *o = r->o;
	uint64_t now = now_ns(), due = o->bytes ? o->bytes : UINT64_MAX;

	if (c->closing || over(r))
		return 0;
	if (echoes(r)) {
		uint64_t message = c->sent % o->size;

		if (message)
			return o->size - message;
		if (c->sent != c->received || c->sent >= due)
			return 0;
		r->waking |= now < c->next_ns;
		return now < c->next_ns ? 0 : o->size;
	}
	if (o->rate) {
		uint64_t paced = (uint64_t)((double)(now - c->began_ns) / 1e9 * (double)o->rate) + 1;

		due = paced < due ? paced : due;
		r->waking = true;
	}
	return due > c->sent ? due - c->sent : 0;
}

/* A download has its end at the first byte behind the last moment: a silence in which the time runs out is not cut short. */
static bool hangs_up(const struct run *r, const struct conn *c)
{
	return (r->o->mode == MODE_DOWN || (r->o->mode == MODE_BOTH && !r->o->bytes)) && over(r) && c->due_ns >= r->ends_ns;
}

/* Nothing more is to be said: the rest of what the server owes is waited for. */
static bool says_end(const struct run *r, const struct conn *c)
{
	bool said_all = r->o->bytes && sends(r) && c->sent >= r->o->bytes;

	if (r->o->mode == MODE_DOWN || (r->o->mode == MODE_BOTH && !r->o->bytes))
		return false;
	return (over(r) || said_all) && (!echoes(r) || c->sent == c->received);
}

static void maybe_close(struct run *r, struct conn *c)
{
	if (c->closing || !c->connected || c->line_sent < c->line_len)
		return;
	if (hangs_up(r, c)) {
		end(r, c, NULL, NULL);
	} else if (says_end(r, c)) {
		c->closing = true;
		shutdown(c->fd, SHUT_WR);
		if (!c->due_ns)
			c->due_ns = now_ns(); /* the server's end */
	}
}

static void speak(struct run *r, struct conn *c)
{
	while (c->fd >= 0 && c->line_sent < c->line_len) {
		ssize_t n = send(c->fd, c->line + c->line_sent, c->line_len - c->line_sent, MSG_NOSIGNAL);

		if (n < 0)
			return errno == EAGAIN ? watch(r, c, true) : end(r, c, "reset", strerror(errno));
		c->line_sent += (uint32_t)n;
	}
	while (c->fd >= 0 && sends(r)) {
		uint64_t most = allowed(r, c), now = now_ns(); /* the answer may be there before send() returns */
		ssize_t n;

		if (!most)
			break;
		n = send(c->fd, ramp_at(&r->up, c->sent), most < RAMP_CHUNK ? most : RAMP_CHUNK, MSG_NOSIGNAL);
		if (n < 0)
			return errno == EAGAIN ? watch(r, c, true) : end(r, c, "reset", strerror(errno));
		if (!c->due_ns && r->o->mode != MODE_BOTH)
			c->due_ns = now;
		c->sent += (uint64_t)n;
		r->report.sent += (uint64_t)n;
	}
	if (c->fd >= 0)
		watch(r, c, false);
	maybe_close(r, c);
}

static bool try_to_begin(struct run *r, struct conn *c)
{
	const struct options *o = r->o;
	uint64_t seed = o->seed;
	int one = 1;
	struct epoll_event ev = {.events = EPOLLIN | EPOLLOUT, .data.ptr = c};

	c->fd = socket(o->to.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (c->fd < 0)
		return false;
	setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	*c = (struct conn){.fd = c->fd, .number = c->number, .said = c->said};
	if (!o->plain && echoes(r))
		c->line_len = (uint32_t)snprintf(c->line, sizeof(c->line), "echo\n");
	else if (o->mode == MODE_UP)
		c->line_len = (uint32_t)snprintf(c->line, sizeof(c->line), "up %llu\n", (unsigned long long)seed);
	else if (!o->plain)
		c->line_len = (uint32_t)snprintf(c->line, sizeof(c->line), "%s %llu %llu %llu\n", mode_name[o->mode],
						 (unsigned long long)(seed), (unsigned long long)o->bytes, (unsigned long long)o->rate);
	if (connect(c->fd, (const struct sockaddr *)&o->to, o->to_len) && errno != EINPROGRESS)
		return false;
	if (epoll_ctl(r->epoll_fd, EPOLL_CTL_ADD, c->fd, &ev))
		return false;
	r->open++;
	c->writes = true;
	c->began_ns = now_ns();
	return true;
}

/* One that cannot begin is told, and over. */
static void begin(struct run *r, struct conn *c)
{
	int error;

	if (try_to_begin(r, c))
		return;
	error = errno;
	report_loss(&r->report, c->number, "lost", 0, strerror(error));
	if (c->fd >= 0)
		close(c->fd);
	c->fd = -1;
}

/* Something has come: the time without it is known. */
static void progress(struct run *r, struct conn *c, uint64_t now)
{
	bool more = c->closing || r->o->mode == MODE_DOWN || r->o->mode == MODE_BOTH ||
		    (r->o->mode == MODE_UP ? c->sent / ACK_EVERY > c->received : c->received < c->sent);

	if (c->due_ns)
		report_silence(&r->report, c->number, c->due_ns, now);
	if (echoes(r) && c->due_ns && c->received == c->sent) {
		report_answer(&r->report, now - (r->o->mode == MODE_CONNECT ? c->began_ns : c->due_ns));
		c->next_ns = now + r->o->interval_ns;
	}
	c->due_ns = more ? now : 0;
}

static bool right(struct run *r, struct conn *c, const uint8_t *bytes, uint32_t n)
{
	uint32_t good = 0;

	if (r->o->mode == MODE_UP)
		while (good < n && !bytes[good])
			good++;
	else
		good = ramp_right(expected(r), c->received, bytes, n);
	c->received += good;
	if (good == n)
		return true;
	end(r, c, "wrong", "this byte is not the one that was expected");
	return false;
}

/* The server has ended. Was all there? */
static void ended(struct run *r, struct conn *c)
{
	const struct options *o = r->o;
	bool all = o->mode == MODE_UP ? c->closing && c->received == c->sent / ACK_EVERY
		 : echoes(r) ? c->closing && c->received == c->sent
					: o->bytes && c->received == o->bytes;

	if (c->due_ns)
		report_silence(&r->report, c->number, c->due_ns, now_ns());
	end(r, c, all ? NULL : "closed", "the server ended before all was there");
}

static void listen_to(struct run *r, struct conn *c)
{
	static uint8_t bytes[RAMP_CHUNK];

	for (int k = 0; k < 16 && c->fd >= 0; k++) {
		ssize_t n = recv(c->fd, bytes, sizeof(bytes), 0);

		if (n < 0 && errno == EAGAIN)
			break;
		if (n < 0)
			return end(r, c, errno == ECONNRESET ? "reset" : "lost", strerror(errno));
		if (!n)
			return ended(r, c);
		if (!right(r, c, bytes, (uint32_t)n))
			return;
		r->report.received += (uint64_t)n;
		progress(r, c, now_ns());
	}
	if (c->fd >= 0 && r->o->mode == MODE_CONNECT && c->sent && c->sent == c->received) {
		end(r, c, NULL, NULL);
		c->again = !over(r) && !(r->o->bytes && (c->said += c->sent) >= r->o->bytes);
		if (c->again && !r->o->interval_ns)
			return begin(r, c);
		r->waking |= c->again;
	}
	if (c->fd >= 0)
		speak(r, c);
}

static void connected(struct run *r, struct conn *c)
{
	int error = 0;
	socklen_t len = sizeof(error);

	getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &len);
	if (error)
		return end(r, c, error == ECONNREFUSED ? "refused" : "lost", strerror(error));
	c->connected = true;
	if (r->o->mode != MODE_CONNECT) /* it is paced from now on; an answer on a new connection is waited for from its SYN on */
		c->began_ns = now_ns();
	c->due_ns = r->o->mode == MODE_ECHO || r->o->mode == MODE_UP ? 0 : c->began_ns;
	speak(r, c);
}

static void look_inside(struct run *r)
{
	struct report *out = &r->report;

	for (uint32_t i = 0; i < r->o->connections && i < r->o->looked_at; i++) {
		struct tcp_info info = {0};
		socklen_t len = sizeof(info);

		if (r->conn[i].fd >= 0 && !getsockopt(r->conn[i].fd, IPPROTO_TCP, TCP_INFO, &info, &len))
			report_info(out, &info);
	}
}

/* What comes with time: the next message or bytes, the end, silence for too long. */
static void turn(struct run *r, uint64_t now)
{
	bool is_over = over(r);

	if (r->waking || is_over) {
		r->waking = false;
		for (uint32_t i = 0; i < r->o->connections; i++)
			if (r->conn[i].fd >= 0 && r->conn[i].connected)
				speak(r, &r->conn[i]);
			else if (r->conn[i].fd < 0 && r->conn[i].again && !is_over)
				now >= r->conn[i].next_ns ? begin(r, &r->conn[i]) : (void)(r->waking = true);
	}
	for (uint32_t i = 0; i < r->o->connections; i++) {
		struct conn *c = &r->conn[i];
		uint64_t since = c->connected ? c->due_ns : c->began_ns;

		if (c->fd >= 0 && since && now >= since + r->o->patience_ns) {
			report_silence(&r->report, c->number, since, now);
			end(r, c, "silence",
			    c->closing ? "the server did not end for as long as --patience says" : "nothing came for as long as --patience says");
		}
	}
	if (now >= r->report.bucket_ns + r->o->bucket_ns) {
		look_inside(r);
		report_bucket(&r->report, now, r->open);
	}
}

static int wait_ms(const struct run *r, uint64_t now)
{
	uint64_t bucket = r->report.bucket_ns + r->o->bucket_ns;

	if (r->waking)
		return 1;
	return bucket <= now ? 0 : (int)((bucket - now) / 1000000) + 1;
}

static bool prepare(struct run *r)
{
	const struct options *o = r->o;

	r->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	r->conn = calloc(o->connections, sizeof(*r->conn));
	if (r->epoll_fd < 0 || !r->conn || !ramp_make(&r->down, o->seed) ||
	    !ramp_make(&r->up, o->mode == MODE_BOTH ? o->seed + 1 : o->seed))
		return false;
	for (uint32_t i = 0; i < o->connections; i++)
		r->conn[i] = (struct conn){.fd = -1, .number = i};
	return true;
}

int measure(const struct options *o, FILE *out)
{
	struct run r = {.o = o};
	struct epoll_event got[AT_ONCE];
	uint64_t looked_ns = 0;
	bool ok;

	report_begin(&r.report, out, o);
	if (!prepare(&r)) {
		fprintf(stderr, "fttcp-client: %s\n", strerror(errno));
		return 2;
	}
	r.began_ns = now_ns();
	r.ends_ns = o->duration_ns ? r.began_ns + o->duration_ns : 0;
	for (uint32_t i = 0; i < o->connections; i++)
		begin(&r, &r.conn[i]);
	while (r.open || r.waking) {
		int n = epoll_wait(r.epoll_fd, got, AT_ONCE, wait_ms(&r, now_ns()));
		uint64_t now;

		for (int i = 0; i < n; i++) {
			struct conn *c = got[i].data.ptr;

			if (c->fd >= 0 && !c->connected)
				connected(&r, c);
			if (c->fd >= 0 && got[i].events & (EPOLLIN | EPOLLERR | EPOLLHUP))
				listen_to(&r, c);
			if (c->fd >= 0 && got[i].events & EPOLLOUT)
				speak(&r, c);
		}
		now = now_ns();
		if (now >= looked_ns + TURN_NS) {
			looked_ns = now;
			turn(&r, now);
		}
	}
	ok = report_end(&r.report, now_ns());
	free(r.conn);
	free(r.up.bytes);
	free(r.down.bytes);
	close(r.epoll_fd);
	return ok ? 0 : 1;
}
