/* SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include "engine/channel/lane.h"
#include <errno.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>
#include "engine/channel/channel.h"

#define HELLO_NS 3000000000ull   /* from a connection's begin to its first authentic frame */
#define RETRY_NS 20000000ull     /* before a connection is tried again, the first time; doubled up to */
#define RETRY_MAX_NS 1000000000ull
#define DOWN_NS 3000000000ull    /* told when no connection was up for so long */
#define BACKLOG 32
#define ACCEPTED_AT_ONCE 8
#define IN_FLIGHT (256 << 10)    /* what live traffic may find before it in a queue of the link, at most */
#define SILENCE_MS 5000          /* a partner that acknowledges nothing for so long is not there */
#define LOWER_EFFORT 0x04        /* DSCP 1, RFC 8622 */
#define BEHIND_ALL 1             /* a priority that the default qdiscs with bands put into the last one */

enum { SLOT_LISTEN = 100, SLOT_TIMER = 101 };
#define TOLD_DOWN (1u << 31)     /* among the bits of what was told */

/* A slot of the lane: the partner's worker, or FTT_MAX_WORKERS + the number of a stranger. */
struct ftt_lane_conn {
	int fd;
	uint32_t events;  /* that epoll looks for */
	bool connecting;
	bool full;        /* the user was told that there is no room */
	bool kept;        /* a message that the user does not want now */
	uint8_t kept_kind;
	uint32_t kept_len;
	bool resumed;
	uint64_t deadline_ns; /* 0: none */
	uint64_t since_ns;    /* up */
	struct ftt_lane_stream s;
};

static struct ftt_lane_conn **slot_of(struct ftt_bulk_lane *l, unsigned slot)
{
	return slot < FTT_MAX_WORKERS ? &l->conn[slot] : &l->stranger[slot - FTT_MAX_WORKERS];
}

static bool is_up(const struct ftt_lane_conn *c)
{
	return c && c->s.step == FTT_LANE_IS_UP;
}

static struct ftt_lane_ends ends_of(const struct ftt_bulk_lane *l)
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

static uint16_t port_of(const struct ftt_bulk_lane *l, uint8_t worker)
{
	return (uint16_t)(l->e->cfg.channel_port + 1 + worker);
}

/* --- events ---------------------------------------------------------------------------------- */

static void tell(struct ftt_bulk_lane *l, uint32_t kind, uint32_t bit, uint64_t value)
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
		tell(l, FTT_EV_LANE_REFUSED, 1u << why, why);
}

/* --- epoll and time -------------------------------------------------------------------------- */

static bool poll_for(struct ftt_bulk_lane *l, int operation, int fd, uint32_t events, unsigned slot)
{
	struct epoll_event ev = {.events = events, .data.u32 = slot};

	return !epoll_ctl(l->epoll_fd, operation, fd, &ev);
}

/* What a connection waits for now. */
static void look_for(struct ftt_bulk_lane *l, unsigned slot)
{
	struct ftt_lane_conn *c = *slot_of(l, slot);
	uint32_t events = (c->kept ? 0 : EPOLLIN) | (c->connecting || c->s.out_len ? EPOLLOUT : 0);

	if (events != c->events && poll_for(l, EPOLL_CTL_MOD, c->fd, events, slot))
		c->events = events;
}

static void earlier(uint64_t *next, uint64_t ns)
{
	if (ns && (!*next || ns < *next))
		*next = ns;
}

/* Sets the timer to what comes first. */
static void arm(struct ftt_bulk_lane *l)
{
	struct itimerspec t = {0};
	uint64_t next = 0;

	for (unsigned slot = 0; slot < FTT_LANE_SLOTS; slot++) {
		const struct ftt_lane_conn *c = *slot_of(l, slot);

		if (c)
			earlier(&next, c->resumed ? 1 : c->deadline_ns);
	}
	for (unsigned k = 0; k < FTT_MAX_WORKERS; k++)
		earlier(&next, l->retry_ns[k]);
	if (l->down_since_ns && !(l->told & TOLD_DOWN))
		earlier(&next, l->down_since_ns + DOWN_NS);
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

static void drop(struct ftt_bulk_lane *l, unsigned slot)
{
	struct ftt_lane_conn *c = *slot_of(l, slot);
	bool was_up = is_up(c);

	if (!c)
		return;
	*slot_of(l, slot) = NULL;
	close(c->fd); /* epoll forgets it, too */
	ftt_lane_stream_end(&c->s);
	free(c);
	if (!was_up)
		return;
	l->n->lane_ended++;
	if (!ftt_lane_count(l) && l->role != FTT_LANE_OFF)
		l->down_since_ns = ftt_now_ns();
	l->user.changed(l->user.of, (uint8_t)slot, false);
}

/* It ended by itself, or has to. */
static void lose(struct ftt_bulk_lane *l, unsigned slot, uint64_t now_ns)
{
	struct ftt_lane_conn *c = *slot_of(l, slot);

	if (is_up(c) && now_ns - c->since_ns > RETRY_MAX_NS)
		l->wait_ns[slot] = 0;
	drop(l, slot);
	if (slot < FTT_MAX_WORKERS && l->role == FTT_LANE_CONNECTS)
		retry_later(l, slot, now_ns);
}

static void refuse(struct ftt_bulk_lane *l, unsigned slot, enum ftt_lane_refusal why, uint64_t now_ns)
{
	count_refusal(l, why);
	lose(l, slot, now_ns);
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

	if (!c || !poll_for(l, EPOLL_CTL_ADD, fd, connecting ? EPOLLOUT : EPOLLIN, slot)) {
		free(c);
		close(fd);
		return false;
	}
	c->fd = fd;
	c->events = connecting ? EPOLLOUT : EPOLLIN;
	c->connecting = connecting;
	c->deadline_ns = now_ns + HELLO_NS;
	*slot_of(l, slot) = c;
	return true;
}

static void connect_to(struct ftt_bulk_lane *l, uint8_t worker, uint64_t now_ns)
{
	const struct ftt_link *link = &l->e->cfg.peer[l->with.partner].link[0];
	struct ftt_lane_ends ends = ends_of(l);
	struct sockaddr_storage from, to;
	socklen_t len = ftt_sockaddr(link->local, 0, &from);
	int fd;

	l->retry_ns[worker] = 0;
	(void)ftt_sockaddr(link->remote, port_of(l, worker), &to); /* the commit channel has checked both */
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
	drop(l, FTT_MAX_WORKERS + oldest);
	return FTT_MAX_WORKERS + oldest;
}

static void accept_some(struct ftt_bulk_lane *l, uint64_t now_ns)
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
			ftt_lane_stream_begin(&(*slot_of(l, slot))->s, NULL, 0);
	}
}

/* Its first frame was authentic. Where the partner had a connection already, that one is dead: it has begun this one. */
static unsigned begin(struct ftt_bulk_lane *l, unsigned slot, uint64_t now_ns)
{
	struct ftt_lane_conn *c = *slot_of(l, slot);
	unsigned worker = c->s.worker;

	if (slot != worker) {
		drop(l, worker);
		*slot_of(l, slot) = NULL;
		l->conn[worker] = c;
		(void)poll_for(l, EPOLL_CTL_MOD, c->fd, c->events, worker);
	}
	c->deadline_ns = 0;
	c->since_ns = now_ns;
	l->down_since_ns = 0;
	l->n->lane_begun++;
	if (l->told & TOLD_DOWN) {
		l->told &= ~TOLD_DOWN;
		tell(l, FTT_EV_LANE_UP, 0, worker);
	}
	l->user.changed(l->user.of, (uint8_t)worker, true);
	return worker;
}

/* --- bytes ----------------------------------------------------------------------------------- */

/* False: the connection is no more. */
static bool give(struct ftt_bulk_lane *l, unsigned slot, uint8_t kind, uint32_t len, uint64_t now_ns)
{
	struct ftt_lane_conn *c = *slot_of(l, slot);
	enum ftt_lane_answer answer = l->user.message(l->user.of, (uint8_t)slot, kind, c->s.message, len);

	c->kept = answer == FTT_LANE_NOT_NOW;
	if (c->kept) {
		c->kept_kind = kind;
		c->kept_len = len;
	} else if (answer == FTT_LANE_BAD && kind & FTT_LANE_MAY_SKIP) {
		l->n->records_skipped++; /* another release's */
	} else if (answer == FTT_LANE_BAD) {
		refuse(l, slot, FTT_LANE_GARBAGE, now_ns);
		return false;
	} else {
		l->n->lane_messages_received++;
	}
	return true;
}

/* Gives the user what has come, until it wants no more. */
static void read_messages(struct ftt_bulk_lane *l, unsigned slot, uint64_t now_ns)
{
	struct ftt_lane_ends ends = ends_of(l);
	struct ftt_lane_conn *c = *slot_of(l, slot);

	while (!c->kept) {
		uint8_t kind;
		uint32_t len;
		int got = ftt_lane_stream_next(&c->s, &ends, &kind, &len);

		if (got < 0) {
			refuse(l, slot, (enum ftt_lane_refusal)(-1 - got), now_ns);
			return;
		}
		if (!got)
			break;
		if (kind == FTT_LANE_READY)
			slot = begin(l, slot, now_ns);
		else if (!give(l, slot, kind, len, now_ns))
			return;
	}
	look_for(l, slot);
}

static void receive(struct ftt_bulk_lane *l, unsigned slot, uint32_t budget, uint64_t now_ns)
{
	struct ftt_lane_conn *c = *slot_of(l, slot);
	uint32_t room;
	uint8_t *to = ftt_lane_stream_space(&c->s, &room);
	ssize_t n = recv(c->fd, to, room < budget ? room : budget, 0);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		l->why = n ? errno : ECONNRESET;
		lose(l, slot, now_ns);
		return;
	}
	l->n->lane_bytes_received += (uint64_t)n;
	ftt_lane_stream_came(&c->s, (uint32_t)n);
	read_messages(l, slot, now_ns);
}

/* False: the connection is no more. */
static bool transmit(struct ftt_bulk_lane *l, unsigned slot, uint32_t budget, uint64_t now_ns)
{
	struct ftt_lane_conn *c = *slot_of(l, slot);
	uint32_t len = c->s.out_len < budget ? c->s.out_len : budget;
	ssize_t n = len ? send(c->fd, c->s.out + c->s.out_at, len, MSG_NOSIGNAL) : 0;

	if (n < 0 && errno != EAGAIN && errno != EINTR) {
		l->why = errno;
		lose(l, slot, now_ns);
		return false;
	}
	if (n > 0) {
		l->n->lane_bytes_sent += (uint64_t)n;
		ftt_lane_stream_left(&c->s, (uint32_t)n);
	}
	if (c->full && c->s.out_len <= FTT_LANE_QUEUE / 2) {
		c->full = false;
		l->user.room(l->user.of, (uint8_t)slot);
	}
	look_for(l, slot);
	return true;
}

static bool connected(struct ftt_bulk_lane *l, unsigned slot, uint64_t now_ns)
{
	struct ftt_lane_conn *c = *slot_of(l, slot);
	socklen_t len = sizeof(l->why);

	if (getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &l->why, &len) || l->why) {
		lose(l, slot, now_ns);
		return false;
	}
	c->connecting = false;
	return true;
}

static void serve(struct ftt_bulk_lane *l, unsigned slot, uint32_t events, uint32_t budget, uint64_t now_ns)
{
	struct ftt_lane_conn *c = *slot_of(l, slot);

	if (!c)
		return; /* it ended with one before it */
	if (c->connecting && !connected(l, slot, now_ns))
		return;
	if (events & EPOLLOUT && !transmit(l, slot, budget, now_ns))
		return;
	if (!c->kept && events & (EPOLLIN | EPOLLERR | EPOLLHUP))
		receive(l, slot, budget, now_ns); /* which finds the error */
	else if (events & (EPOLLERR | EPOLLHUP))
		lose(l, slot, now_ns);
}

/* What the user wants again, and what was waited for too long. */
static void look_at_time(struct ftt_bulk_lane *l, uint64_t now_ns)
{
	for (unsigned slot = 0; slot < FTT_LANE_SLOTS; slot++) {
		struct ftt_lane_conn *c = *slot_of(l, slot);

		if (c && c->deadline_ns && now_ns >= c->deadline_ns) {
			l->why = ETIMEDOUT;
			refuse(l, slot, FTT_LANE_LATE, now_ns);
		} else if (c && c->resumed) {
			c->resumed = false;
			if (c->kept && give(l, slot, c->kept_kind, c->kept_len, now_ns))
				read_messages(l, slot, now_ns);
		}
	}
	for (uint8_t k = 0; k < FTT_MAX_WORKERS; k++)
		if (l->retry_ns[k] && now_ns >= l->retry_ns[k])
			connect_to(l, k, now_ns);
	if (l->down_since_ns && now_ns >= l->down_since_ns + DOWN_NS)
		tell(l, FTT_EV_LANE_DOWN, TOLD_DOWN, (uint64_t)l->why);
}

void ftt_lane_turn(struct ftt_bulk_lane *l, uint32_t budget, uint64_t now_ns)
{
	struct epoll_event got[FTT_LANE_SLOTS + 2];
	int n = epoll_wait(l->epoll_fd, got, FTT_LANE_SLOTS + 2, 0);

	for (int i = 0; i < n; i++) {
		uint64_t times;

		if (got[i].data.u32 == SLOT_LISTEN)
			accept_some(l, now_ns);
		else if (got[i].data.u32 != SLOT_TIMER)
			serve(l, got[i].data.u32, got[i].events, budget, now_ns);
		else if (read(l->timer_fd, &times, sizeof(times)) > 0)
			l->armed_ns = 0;
	}
	look_at_time(l, now_ns);
	arm(l);
}

/* --- the user -------------------------------------------------------------------------------- */

uint32_t ftt_lane_count(const struct ftt_bulk_lane *l)
{
	uint32_t n = 0;

	for (unsigned k = 0; k < FTT_MAX_WORKERS; k++)
		n += is_up(l->conn[k]);
	return n;
}

bool ftt_lane_up(const struct ftt_bulk_lane *l, uint8_t worker)
{
	return worker < FTT_MAX_WORKERS && is_up(l->conn[worker]);
}

uint32_t ftt_lane_room(struct ftt_bulk_lane *l, uint8_t to)
{
	uint32_t room = ftt_lane_up(l, to) ? ftt_lane_stream_room(&l->conn[to]->s) : 0;

	if (ftt_lane_up(l, to) && room < FTT_LANE_MAX)
		l->conn[to]->full = true;
	return room;
}

bool ftt_lane_send(struct ftt_bulk_lane *l, uint8_t to, uint8_t kind, const uint8_t *bytes, uint32_t len)
{
	struct ftt_lane_conn *c = ftt_lane_up(l, to) ? l->conn[to] : NULL;

	if (!c || kind < FTT_LANE_FIRST_KIND || len > FTT_LANE_MAX)
		return false;
	if (!ftt_lane_stream_put(&c->s, kind, bytes, len)) {
		c->full = true;
		return false;
	}
	l->n->lane_messages_sent++;
	look_for(l, to);
	return true;
}

void ftt_lane_resume(struct ftt_bulk_lane *l, uint8_t from)
{
	if (!ftt_lane_up(l, from) || !l->conn[from]->kept)
		return;
	l->conn[from]->resumed = true;
	arm(l);
}

uint32_t ftt_lane_waiting(const struct ftt_bulk_lane *l, uint8_t to)
{
	return ftt_lane_up(l, to) ? l->conn[to]->s.out_len : 0;
}

/* --- life ------------------------------------------------------------------------------------ */

/* Cuts what was made with a key that is not among ours any more. */
static void follow_keys(struct ftt_bulk_lane *l)
{
	if (l->role == FTT_LANE_OFF || !ftt_keyring_follow(&l->e->keyring, &l->keys_generation, &l->keys))
		return;
	ftt_lane_keys(&l->keys, l->with.commit_session, l->with.pairing);
	for (unsigned slot = 0; slot < FTT_LANE_SLOTS; slot++) {
		const struct ftt_lane_conn *c = *slot_of(l, slot);
		bool ours = false;

		for (uint32_t i = 0; c && i < l->keys.n; i++)
			ours |= !sodium_memcmp(c->s.key, l->keys.key[i], sizeof(c->s.key));
		if (c && !ours && (c->s.connects || c->s.step != FTT_LANE_HEARS_HELLO)) /* else it has none yet */
			lose(l, slot, ftt_now_ns());
	}
	arm(l);
}

void ftt_lane_follow(struct ftt_bulk_lane *l, enum ftt_lane_role role, const struct ftt_lane_pairing *with)
{
	const struct ftt_lane_pairing *now = &l->with;
	uint64_t now_ns;

	if (!with->commit_session || !with->pairing || !with->version)
		role = FTT_LANE_OFF;
	if (role == l->role && (role == FTT_LANE_OFF || (with->partner == now->partner && with->version == now->version &&
							 with->commit_session == now->commit_session && with->pairing == now->pairing))) {
		follow_keys(l);
		return;
	}
	now_ns = ftt_now_ns();
	l->role = FTT_LANE_OFF;
	for (unsigned slot = 0; slot < FTT_LANE_SLOTS; slot++)
		drop(l, slot);
	memset(l->retry_ns, 0, sizeof(l->retry_ns));
	memset(l->wait_ns, 0, sizeof(l->wait_ns));
	l->role = role;
	l->with = *with;
	l->told = l->keys_generation = 0;
	l->down_since_ns = role == FTT_LANE_OFF ? 0 : now_ns;
	follow_keys(l);
	/* whoever connects too early waits in the socket's queue until we know of the pairing */
	(void)poll_for(l, EPOLL_CTL_MOD, l->listen_fd, role == FTT_LANE_ACCEPTS ? EPOLLIN : 0, SLOT_LISTEN);
	for (uint8_t k = 0; role == FTT_LANE_CONNECTS && k < l->e->cfg.workers; k++)
		connect_to(l, k, now_ns);
	arm(l);
}

static int open_listener(const struct sockaddr_storage *at, socklen_t len)
{
	int one = 1, fd = socket(at->ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd >= 0 && (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) ||
			bind(fd, (const struct sockaddr *)at, len) || listen(fd, BACKLOG))) {
		int error = errno;

		close(fd);
		errno = error;
		return -1;
	}
	return fd;
}

int ftt_lane_open(struct ftt_bulk_lane *l, struct ftt_engine *e, uint8_t worker, struct ftt_counters *n,
		  const struct ftt_lane_user *user, char *err, size_t err_len)
{
	const char *local = e->cfg.peer[0].link[0].local;
	struct sockaddr_storage at;
	socklen_t len;

	memset(l, 0, sizeof(*l));
	l->e = e;
	l->n = n;
	l->user = *user;
	l->worker = worker;
	len = ftt_sockaddr(local, port_of(l, worker), &at); /* the commit channel has checked it */
	l->listen_fd = open_listener(&at, len);
	if (l->listen_fd < 0)
		snprintf(err, err_len, "bulk lane on %s port %u/tcp: %s (is the peer link's address up, the port free?)", local,
			 port_of(l, worker), strerror(errno));
	l->timer_fd = timerfd_create(CLOCK_BOOTTIME, TFD_NONBLOCK | TFD_CLOEXEC);
	l->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (l->listen_fd < 0)
		return -1;
	if (l->timer_fd < 0 || l->epoll_fd < 0 || !poll_for(l, EPOLL_CTL_ADD, l->listen_fd, 0, SLOT_LISTEN) ||
	    !poll_for(l, EPOLL_CTL_ADD, l->timer_fd, EPOLLIN, SLOT_TIMER)) {
		snprintf(err, err_len, "bulk lane: epoll: %s", strerror(errno));
		return -1;
	}
	return 0;
}

void ftt_lane_close(struct ftt_bulk_lane *l)
{
	if (!l->e)
		return; /* it was never opened */
	ftt_lane_follow(l, FTT_LANE_OFF, &(struct ftt_lane_pairing){0});
	for (int *fd = (int[]){l->listen_fd, l->timer_fd, l->epoll_fd}, i = 0; i < 3; i++)
		if (fd[i] >= 0)
			close(fd[i]);
	sodium_memzero(&l->keys, sizeof(l->keys));
	l->e = NULL;
}
