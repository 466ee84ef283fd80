/* SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include "engine/channel/lane.h"
#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>
#include "engine/channel/channel.h"
#include "engine/channel/lane_conn.h"

#define BACKLOG 32

/* --- bytes ----------------------------------------------------------------------------------- */

/* It waits, behind those that do. */
static bool keep(struct ftt_lane_conn *c, uint8_t kind, const uint8_t *bytes, uint32_t len)
{
	struct ftt_lane_kept *k = malloc(sizeof(*k) + len);

	if (!k)
		return false;
	k->next = NULL;
	k->kind = kind;
	k->len = len;
	memcpy(k->bytes, bytes, len);
	*c->kept_tail = k;
	c->kept_tail = &k->next;
	c->kept_bytes += len;
	return true;
}

/* False: the connection is no more. */
static bool answered(struct ftt_bulk_lane *l, unsigned slot, uint8_t kind, enum ftt_lane_answer answer, uint64_t now_ns)
{
	if (answer == FTT_LANE_BAD && kind & FTT_LANE_MAY_SKIP) {
		l->n->records_skipped++; /* another release's */
	} else if (answer == FTT_LANE_BAD) {
		ftt_lane_refuse(l, slot, FTT_LANE_GARBAGE, now_ns);
		return false;
	} else {
		l->n->lane_messages_received++;
	}
	return true;
}

/* One that has come. False: the connection is no more. */
static bool give(struct ftt_bulk_lane *l, unsigned slot, uint8_t kind, uint32_t len, uint64_t now_ns)
{
	struct ftt_lane_conn *c = *ftt_lane_slot(l, slot);
	enum ftt_lane_answer answer = FTT_LANE_NOT_NOW;

	if (!c->kept || ftt_lane_of_calls(kind))
		answer = l->user.message(l->user.of, (uint8_t)slot, kind, c->s.message, len);
	if (answer != FTT_LANE_NOT_NOW)
		return answered(l, slot, kind, answer, now_ns);
	if (keep(c, kind, c->s.message, len))
		return true;
	ftt_lane_refuse(l, slot, FTT_LANE_NO_MEMORY, now_ns);
	return false;
}

/* Those that wait, as far as they are wanted now. */
static bool give_kept(struct ftt_bulk_lane *l, unsigned slot, uint64_t now_ns)
{
	struct ftt_lane_conn *c = *ftt_lane_slot(l, slot);
	struct ftt_lane_kept *k;

	while ((k = c->kept)) {
		enum ftt_lane_answer answer = l->user.message(l->user.of, (uint8_t)slot, k->kind, k->bytes, k->len);
		uint8_t kind = k->kind;

		if (answer == FTT_LANE_NOT_NOW)
			return true;
		c->kept = k->next;
		if (!c->kept)
			c->kept_tail = &c->kept;
		c->kept_bytes -= k->len;
		free(k);
		if (!answered(l, slot, kind, answer, now_ns))
			return false;
	}
	return true;
}

/* Gives the user what has come, until it wants no more. */
static void read_messages(struct ftt_bulk_lane *l, unsigned slot, uint64_t now_ns)
{
	struct ftt_lane_ends ends = ftt_lane_ends_of(l);
	struct ftt_lane_conn *c = *ftt_lane_slot(l, slot);

	while (ftt_lane_reads(l, c)) {
		uint8_t kind;
		uint32_t len;
		int got = ftt_lane_stream_next(&c->s, &ends, &kind, &len);

		if (got < 0) {
			ftt_lane_refuse(l, slot, (enum ftt_lane_refusal)(-1 - got), now_ns);
			return;
		}
		if (!got)
			break;
		if (kind == FTT_LANE_READY)
			slot = ftt_lane_begin(l, slot, now_ns);
		else if (!give(l, slot, kind, len, now_ns))
			return;
	}
	ftt_lane_look(l, slot);
}

static void receive(struct ftt_bulk_lane *l, unsigned slot, uint32_t budget, uint64_t now_ns)
{
	struct ftt_lane_conn *c = *ftt_lane_slot(l, slot);
	uint32_t room;
	uint8_t *to = ftt_lane_stream_space(&c->s, &room);
	ssize_t n = recv(c->fd, to, room < budget ? room : budget, 0);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		l->why = n ? errno : ECONNRESET;
		ftt_lane_lose(l, slot, now_ns);
		return;
	}
	l->n->lane_bytes_received += (uint64_t)n;
	ftt_lane_stream_came(&c->s, (uint32_t)n);
	read_messages(l, slot, now_ns);
}

/* False: the connection is no more. */
static bool transmit(struct ftt_bulk_lane *l, unsigned slot, uint32_t budget, uint64_t now_ns)
{
	struct ftt_lane_conn *c = *ftt_lane_slot(l, slot);
	uint32_t len = c->s.out_len < budget ? c->s.out_len : budget;
	ssize_t n = len ? send(c->fd, c->s.out + c->s.out_at, len, MSG_NOSIGNAL) : 0;

	if (n < 0 && errno != EAGAIN && errno != EINTR) {
		l->why = errno;
		ftt_lane_lose(l, slot, now_ns);
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
	ftt_lane_look(l, slot);
	return true;
}

static bool connected(struct ftt_bulk_lane *l, unsigned slot, uint64_t now_ns)
{
	struct ftt_lane_conn *c = *ftt_lane_slot(l, slot);
	socklen_t len = sizeof(l->why);

	if (getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &l->why, &len) || l->why) {
		ftt_lane_lose(l, slot, now_ns);
		return false;
	}
	c->connecting = false;
	return true;
}

static void serve(struct ftt_bulk_lane *l, unsigned slot, uint32_t events, uint32_t budget, uint64_t now_ns)
{
	struct ftt_lane_conn *c = *ftt_lane_slot(l, slot);

	if (!c)
		return; /* it ended with one before it */
	if (c->connecting && !connected(l, slot, now_ns))
		return;
	if (events & EPOLLOUT && !transmit(l, slot, budget, now_ns))
		return;
	if (ftt_lane_reads(l, c) && events & (EPOLLIN | EPOLLERR | EPOLLHUP))
		receive(l, slot, budget, now_ns); /* which finds the error */
	else if (events & (EPOLLERR | EPOLLHUP))
		ftt_lane_lose(l, slot, now_ns);
}

/* What the user wants again, and what was waited for too long. */
static void look_at_time(struct ftt_bulk_lane *l, uint64_t now_ns)
{
	for (unsigned slot = 0; slot < FTT_LANE_SLOTS; slot++) {
		struct ftt_lane_conn *c = *ftt_lane_slot(l, slot);

		if (c && c->deadline_ns && now_ns >= c->deadline_ns) {
			l->why = ETIMEDOUT;
			ftt_lane_refuse(l, slot, FTT_LANE_LATE, now_ns);
		} else if (c && c->resumed) {
			c->resumed = false;
			if (give_kept(l, slot, now_ns))
				read_messages(l, slot, now_ns);
		}
	}
	for (uint8_t k = 0; k < FTT_MAX_WORKERS; k++)
		if (l->retry_ns[k] && now_ns >= l->retry_ns[k])
			ftt_lane_connect(l, k, now_ns);
	if (l->down_since_ns && now_ns >= l->down_since_ns + FTT_LANE_DOWN_NS)
		ftt_lane_tell(l, FTT_EV_LANE_DOWN, FTT_LANE_TOLD_DOWN, (uint64_t)l->why);
}

void ftt_lane_turn(struct ftt_bulk_lane *l, uint32_t budget, uint64_t now_ns)
{
	struct epoll_event got[FTT_LANE_SLOTS + 2];
	int n = epoll_wait(l->epoll_fd, got, FTT_LANE_SLOTS + 2, 0);

	for (int i = 0; i < n; i++) {
		uint64_t times;

		if (got[i].data.u32 == FTT_SLOT_LISTEN)
			ftt_lane_accept(l, now_ns);
		else if (got[i].data.u32 != FTT_SLOT_TIMER)
			serve(l, got[i].data.u32, got[i].events, budget, now_ns);
		else if (read(l->timer_fd, &times, sizeof(times)) > 0)
			l->armed_ns = 0;
	}
	look_at_time(l, now_ns);
	ftt_lane_arm(l);
}

/* --- the user -------------------------------------------------------------------------------- */

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
	ftt_lane_look(l, to);
	return true;
}

void ftt_lane_push(struct ftt_bulk_lane *l, uint8_t to, uint64_t now_ns)
{
	if (ftt_lane_up(l, to))
		(void)transmit(l, to, FTT_LANE_MAX, now_ns);
}

void ftt_lane_resume(struct ftt_bulk_lane *l, uint8_t from)
{
	if (!ftt_lane_up(l, from) || !l->conn[from]->kept)
		return;
	l->conn[from]->resumed = true;
	ftt_lane_arm(l);
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
		const struct ftt_lane_conn *c = *ftt_lane_slot(l, slot);
		bool ours = false;

		for (uint32_t i = 0; c && i < l->keys.n; i++)
			ours |= !sodium_memcmp(c->s.key, l->keys.key[i], sizeof(c->s.key));
		if (c && !ours && (c->s.connects || c->s.step != FTT_LANE_HEARS_HELLO)) /* else it has none yet */
			ftt_lane_lose(l, slot, ftt_now_ns());
	}
	ftt_lane_arm(l);
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
		ftt_lane_drop(l, slot);
	memset(l->retry_ns, 0, sizeof(l->retry_ns));
	memset(l->wait_ns, 0, sizeof(l->wait_ns));
	l->role = role;
	l->with = *with;
	l->told = l->keys_generation = 0;
	l->down_since_ns = role == FTT_LANE_OFF ? 0 : now_ns;
	follow_keys(l);
	/* whoever connects too early waits in the socket's queue until we know of the pairing */
	(void)ftt_lane_poll(l, EPOLL_CTL_MOD, l->listen_fd, role == FTT_LANE_ACCEPTS ? EPOLLIN : 0, FTT_SLOT_LISTEN);
	for (uint8_t k = 0; role == FTT_LANE_CONNECTS && k < l->e->cfg.workers; k++)
		ftt_lane_connect(l, k, now_ns);
	ftt_lane_arm(l);
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
	len = ftt_sockaddr(local, ftt_lane_port(l, worker), &at); /* the commit channel has checked it */
	l->listen_fd = open_listener(&at, len);
	if (l->listen_fd < 0)
		snprintf(err, err_len, "bulk lane on %s port %u/tcp: %s (is the peer link's address up, the port free?)", local,
			 ftt_lane_port(l, worker), strerror(errno));
	l->timer_fd = timerfd_create(CLOCK_BOOTTIME, TFD_NONBLOCK | TFD_CLOEXEC);
	l->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (l->listen_fd < 0)
		return -1;
	if (l->timer_fd < 0 || l->epoll_fd < 0 || !ftt_lane_poll(l, EPOLL_CTL_ADD, l->listen_fd, 0, FTT_SLOT_LISTEN) ||
	    !ftt_lane_poll(l, EPOLL_CTL_ADD, l->timer_fd, EPOLLIN, FTT_SLOT_TIMER)) {
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
