/* SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include "engine/channel/lane_conn.h"
#include <errno.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>
#include "engine/channel/channel.h"

#define HELLO_NS 3000000000ull   /* from a connection's begin to its first authentic frame */
#define RETRY_NS 20000000ull     /* before a connection is tried again, the first time; doubled up to */
#define RETRY_MAX_NS 1000000000ull
#define ACCEPTED_AT_ONCE 8
#define IN_FLIGHT (256 << 10)    /* what live traffic may find before it in a queue of the link, at most */
#define SILENCE_MS 5000          /* a partner that acknowledges nothing for so long is not there */
#define LOWER_EFFORT 0x04        /* DSCP 1, RFC 8622 */
#define BEHIND_ALL 1             /* a priority that the default qdiscs with bands put into the last one */

struct ftt_lane_ends ftt_lane_ends_of(const struct ftt_bulk_lane *l)
{
	return (struct ftt_lane_ends){
		.node = l->e->cfg.node_id,
		.partner = l->e->cfg.peer[l->with.partner].node_id,
		.pairing = l->with.pairing,
		.version = l->with.version,
		.worker = l->worker,
		.workers = (uint8_t)l->e->cfg.workers,
		.keys = &l->keys,
	};
}

uint16_t ftt_lane_port(const struct ftt_bulk_lane *l, uint8_t worker)
{
	return (uint16_t)(l->e->cfg.channel_port + 1 + worker);
}

/* --- events ---------------------------------------------------------------------------------- */

void ftt_lane_tell(struct ftt_bulk_lane *l, uint32_t kind, uint32_t bit, uint64_t value)
{
	struct ftt_event ev = {.kind = kind, .value = value, .peer = l->with.partner, .link = l->worker};

	if (l->told & bit)
		return;
	l->told |= bit;
	ftt_event_post(l->e, &ev);
}

/* Counts why a connection was refused or cut. Some tell of somebody else than a partner that is early or late. */
static void count_refusal(struct ftt_bulk_lane *l, enum ftt_lane_refusal why)
{
	l->n->lane_refused++;
	if (why == FTT_LANE_GARBAGE || why == FTT_LANE_VERSION_OTHER || why == FTT_LANE_WRONG_KEY)
		ftt_lane_tell(l, FTT_EV_LANE_REFUSED, 1u << why, why);
}

/* --- epoll and time -------------------------------------------------------------------------- */

bool ftt_lane_poll(struct ftt_bulk_lane *l, int operation, int fd, uint32_t events, unsigned slot)
{
	struct epoll_event ev = {.events = events, .data.u32 = slot};

	return !epoll_ctl(l->epoll_fd, operation, fd, &ev);
}

/* What a connection waits for now. */
void ftt_lane_look(struct ftt_bulk_lane *l, unsigned slot)
{
	struct ftt_lane_conn *c = *ftt_lane_slot(l, slot);
	uint32_t events = (ftt_lane_reads(l, c) ? EPOLLIN : 0) | (c->connecting || c->s.out_len ? EPOLLOUT : 0);

	if (events != c->events && ftt_lane_poll(l, EPOLL_CTL_MOD, c->fd, events, slot))
		c->events = events;
}

static void earlier(uint64_t *next, uint64_t ns)
{
	if (ns && (!*next || ns < *next))
		*next = ns;
}

/* Sets the timer to what comes first. */
void ftt_lane_arm(struct ftt_bulk_lane *l)
{
	struct itimerspec t = {0};
	uint64_t next = 0;

	for (unsigned slot = 0; slot < FTT_LANE_SLOTS; slot++) {
		const struct ftt_lane_conn *c = *ftt_lane_slot(l, slot);

		if (c)
			earlier(&next, c->resumed ? 1 : c->deadline_ns);
	}
	for (unsigned k = 0; k < FTT_MAX_WORKERS; k++)
		earlier(&next, l->retry_ns[k]);
	if (l->down_since_ns && !(l->told & FTT_LANE_TOLD_DOWN))
		earlier(&next, l->down_since_ns + FTT_LANE_DOWN_NS);
	if (next == l->armed_ns)
		return;
	l->armed_ns = next;
	t.it_value.tv_sec = (time_t)(next / 1000000000);
	t.it_value.tv_nsec = (long)(next % 1000000000);
	timerfd_settime(l->timer_fd, TFD_TIMER_ABSTIME, &t, NULL);
}

/* --- connections ----------------------------------------------------------------------------- */

static void retry_later(struct ftt_bulk_lane *l, unsigned worker, uint64_t now_ns)
{
	uint64_t wait = l->wait_ns[worker] ? 2 * l->wait_ns[worker] : RETRY_NS;

	l->wait_ns[worker] = wait < RETRY_MAX_NS ? wait : RETRY_MAX_NS;
	l->retry_ns[worker] = now_ns + l->wait_ns[worker];
}

void ftt_lane_drop(struct ftt_bulk_lane *l, unsigned slot)
{
	struct ftt_lane_conn *c = *ftt_lane_slot(l, slot);
	bool was_up = ftt_lane_is_up(c);

	if (!c)
		return;
	*ftt_lane_slot(l, slot) = NULL;
	close(c->fd); /* epoll forgets it, too */
	ftt_lane_stream_end(&c->s);
	for (struct ftt_lane_kept *k; (k = c->kept); free(k))
		c->kept = k->next;
	free(c);
	if (!was_up)
		return;
	l->n->lane_ended++;
	if (!ftt_lane_count(l) && l->role != FTT_LANE_OFF)
		l->down_since_ns = ftt_now_ns();
	l->user.changed(l->user.of, (uint8_t)slot, false);
}

/* It ended by itself, or has to. */
void ftt_lane_lose(struct ftt_bulk_lane *l, unsigned slot, uint64_t now_ns)
{
	struct ftt_lane_conn *c = *ftt_lane_slot(l, slot);

	if (ftt_lane_is_up(c) && now_ns - c->since_ns > RETRY_MAX_NS)
		l->wait_ns[slot] = 0;
	ftt_lane_drop(l, slot);
	if (slot < FTT_MAX_WORKERS && l->role == FTT_LANE_CONNECTS)
		retry_later(l, slot, now_ns);
}

void ftt_lane_refuse(struct ftt_bulk_lane *l, unsigned slot, enum ftt_lane_refusal why, uint64_t now_ns)
{
	count_refusal(l, why);
	ftt_lane_lose(l, slot, now_ns);
}

/* Behind live traffic on the link, and soon sure that the other end is not there any more. */
static void set_manners(int fd, sa_family_t family)
{
	const int flight = IN_FLIGHT, effort = LOWER_EFFORT, behind = BEHIND_ALL, one = 1, idle_s = 2, tries = 3;
	const unsigned silence = SILENCE_MS;

	/* without one of them it works as well */
	(void)setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &flight, sizeof(flight));
	(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)); /* what is queued leaves together anyway */
	if (family == AF_INET)
		(void)setsockopt(fd, IPPROTO_IP, IP_TOS, &effort, sizeof(effort));
	else
		(void)setsockopt(fd, IPPROTO_IPV6, IPV6_TCLASS, &effort, sizeof(effort));
	(void)setsockopt(fd, SOL_SOCKET, SO_PRIORITY, &behind, sizeof(behind));
	(void)setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &silence, sizeof(silence));
	(void)setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof(one));
	(void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle_s, sizeof(idle_s));
	(void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &one, sizeof(one));
	(void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &tries, sizeof(tries));
}

/* A connection of this socket in an empty slot; false: none, and the socket is closed. */
static bool take_in(struct ftt_bulk_lane *l, unsigned slot, int fd, bool connecting, uint64_t now_ns)
{
	struct ftt_lane_conn *c = calloc(1, sizeof(*c));

	if (!c || !ftt_lane_poll(l, EPOLL_CTL_ADD, fd, connecting ? EPOLLOUT : EPOLLIN, slot)) {
		free(c);
		close(fd);
		return false;
	}
	c->kept_tail = &c->kept;
	c->fd = fd;
	c->events = connecting ? EPOLLOUT : EPOLLIN;
	c->connecting = connecting;
	c->deadline_ns = now_ns + HELLO_NS;
	*ftt_lane_slot(l, slot) = c;
	return true;
}

void ftt_lane_connect(struct ftt_bulk_lane *l, uint8_t worker, uint64_t now_ns)
{
	const struct ftt_link *link = &l->e->cfg.peer[l->with.partner].link[0];
	struct ftt_lane_ends ends = ftt_lane_ends_of(l);
	struct sockaddr_storage from, to;
	socklen_t len = ftt_sockaddr(link->local, 0, &from);
	int fd;

	l->retry_ns[worker] = 0;
	(void)ftt_sockaddr(link->remote, ftt_lane_port(l, worker), &to); /* the commit channel has checked both */
	fd = socket(to.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd >= 0)
		set_manners(fd, to.ss_family);
	if (fd < 0 || bind(fd, (struct sockaddr *)&from, len) ||
	    (connect(fd, (struct sockaddr *)&to, len) && errno != EINPROGRESS)) {
		l->why = errno;
		if (fd >= 0)
			close(fd);
		retry_later(l, worker, now_ns);
		return;
	}
	if (take_in(l, worker, fd, true, now_ns))
		ftt_lane_stream_begin(&l->conn[worker]->s, &ends, worker);
	else
		retry_later(l, worker, now_ns);
}

static bool is_partner(const struct ftt_bulk_lane *l, const struct sockaddr_storage *from)
{
	struct sockaddr_storage partner;

	(void)ftt_sockaddr(l->e->cfg.peer[l->with.partner].link[0].remote, 0, &partner);
	if (from->ss_family != partner.ss_family)
		return false;
	if (from->ss_family == AF_INET)
		return ((const struct sockaddr_in *)from)->sin_addr.s_addr == ((const struct sockaddr_in *)&partner)->sin_addr.s_addr;
	return !memcmp(&((const struct sockaddr_in6 *)from)->sin6_addr, &((const struct sockaddr_in6 *)&partner)->sin6_addr, 16);
}

/* A slot for a stranger; the one that has waited longest gives way. */
static unsigned room_for_stranger(struct ftt_bulk_lane *l)
{
	unsigned oldest = 0;

	for (unsigned i = 0; i < FTT_LANE_STRANGERS; i++) {
		if (!l->stranger[i])
			return FTT_MAX_WORKERS + i;
		if (l->stranger[i]->deadline_ns < l->stranger[oldest]->deadline_ns)
			oldest = i;
	}
	count_refusal(l, FTT_LANE_LATE);
	ftt_lane_drop(l, FTT_MAX_WORKERS + oldest);
	return FTT_MAX_WORKERS + oldest;
}

void ftt_lane_accept(struct ftt_bulk_lane *l, uint64_t now_ns)
{
	for (int i = 0; i < ACCEPTED_AT_ONCE; i++) {
		struct sockaddr_storage from;
		socklen_t len = sizeof(from);
		int fd = accept4(l->listen_fd, (struct sockaddr *)&from, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
		unsigned slot;

		if (fd < 0)
			return; /* no more, or none that has lived so long */
		if (!is_partner(l, &from)) {
			count_refusal(l, FTT_LANE_GARBAGE);
			close(fd);
			continue;
		}
		set_manners(fd, from.ss_family);
		slot = room_for_stranger(l);
		if (take_in(l, slot, fd, false, now_ns))
			ftt_lane_stream_begin(&(*ftt_lane_slot(l, slot))->s, NULL, 0);
	}
}

/* Its first frame was authentic. Where the partner had a connection already, that one is dead: it has begun this one. */
unsigned ftt_lane_begin(struct ftt_bulk_lane *l, unsigned slot, uint64_t now_ns)
{
	struct ftt_lane_conn *c = *ftt_lane_slot(l, slot);
	unsigned worker = c->s.worker;

	if (slot != worker) {
		ftt_lane_drop(l, worker);
		*ftt_lane_slot(l, slot) = NULL;
		l->conn[worker] = c;
		(void)ftt_lane_poll(l, EPOLL_CTL_MOD, c->fd, c->events, worker);
	}
	c->deadline_ns = 0;
	c->since_ns = now_ns;
	l->down_since_ns = 0;
	l->n->lane_begun++;
	if (l->told & FTT_LANE_TOLD_DOWN) {
		l->told &= ~FTT_LANE_TOLD_DOWN;
		ftt_lane_tell(l, FTT_EV_LANE_UP, 0, worker);
	}
	l->user.changed(l->user.of, (uint8_t)worker, true);
	return worker;
}

/* --- which are up ---------------------------------------------------------------------------- */

uint32_t ftt_lane_count(const struct ftt_bulk_lane *l)
{
	uint32_t n = 0;

	for (unsigned k = 0; k < FTT_MAX_WORKERS; k++)
		n += ftt_lane_is_up(l->conn[k]);
	return n;
}

bool ftt_lane_up(const struct ftt_bulk_lane *l, uint8_t worker)
{
	return worker < FTT_MAX_WORKERS && ftt_lane_is_up(l->conn[worker]);
}
