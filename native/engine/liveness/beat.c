/* SPDX-License-Identifier: Apache-2.0 */
/*
 * beat.c - heartbeats, the lease, and the silence of the peer.
 *
 * Theory of operation
 * -------------------
 * A node has one thread, one endpoint (link.h) per way to the peers, one absolute timer, for all of its groups. Each
 * round of the loop:
 *
 *   wait   until a datagram, a wake-up by another thread, or the earliest of: next tick, and of each group the end
 *          of the lease, the moment at which the peer or a link has been silent for too long.
 *   now    is read *before* the sockets are drained, and everything is judged by it. Whatever had
 *          arrived by `now` has been read when silence is judged, however long this thread was
 *          stopped between any two of these lines; what arrives later only postpones a verdict.
 *   drain  every endpoint. A datagram's receipt is the time read after it was taken from there:
 *          later than it came, so later than the peer sent it, which is the safe side for a
 *          promise that is counted from the receipt.
 *   judge  for each group the lease, the peers, the links.
 *   send   to each peer over all links: of all groups when a tick is due, else of those that have published something.
 *
 * Groups share thread, sockets and datagrams, and nothing else. Each has its lease, its D, its view of each peer:
 * a peer lives for a group while its beats speak of that group, so one that has given a group up is silent there. The beats come as often
 * as the fastest group wants it.
 *
 * Ticks lie on a fixed grid, so lateness does not add up. A tick that comes a whole interval late
 * is counted in beats_late once for each tick missed, and none of those is sent afterwards.
 *
 * The lease (lease.h has its rules) belongs to this thread: only its own ticks and receipts extend
 * it, so a stopped process falls silent by itself. It is guarded by the group's `lock`, and so is the policy
 * copy that the rules use. ftt_beat_lease_changed() applies the stored policy under the lock;
 * the thread extends only under the lock and by that copy. So once ftt_beat_lease_changed() has
 * returned, every later extension is one that the new policy (or a newer one) allows: after NONE
 * there is none. An extension never uses a clock reading older than its round, and a stale reading
 * yields a stale lease.
 *
 * Groups come and go while the thread runs: the list of them is changed in its `turn`, which it leaves to others
 * while it waits.
 *
 * A SELF lease that ran out while we were stopped is not renewed: FTT_EV_LEASE_LAPSED is posted, and
 * emission stays shut until the policy is set again. A GRANTED lease that ran out is told likewise,
 * if the node was primary, but later grants extend it: whether the peer still grants is the peer's
 * decision, and it knows.
 *
 * Grants stop by themselves at PEER_LOST. Between the moment this thread finds a peer silent and
 * the moment its owner has taken over, the peer may be heard again; a grant sent then would give
 * both nodes the right to emit. So beats carry no grant from PEER_LOST on, until the owner has
 * published once without grant, and then with it.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/timerfd.h>
#include <unistd.h>
#include "engine/liveness/beat.h"

/* ---- judging ---------------------------------------------------------------------------------- */

static void judge_lease(struct ftt_beat *b, uint64_t now, bool tick)
{
	uint32_t mode = atomic_load_explicit(&b->engine->shared.mode, memory_order_acquire);
	uint64_t until;
	uint32_t policy;
	bool lapsed;

	pthread_mutex_lock(&b->lock);
	lapsed = ftt_lease_ran_out(&b->lease, now);
	policy = b->lease.policy;
	until = b->lease.until_ns;
	if (tick)
		ftt_lease_renew(&b->lease, now);
	ftt_beat_publish_lease(b);
	pthread_mutex_unlock(&b->lock);
	if (lapsed && (policy == FTT_LEASE_SELF || mode == FTT_MODE_PAIRED || mode == FTT_MODE_SOLO))
		ftt_beat_post(b, FTT_EV_LEASE_LAPSED, now - until, 0, 0);
}

static bool silent(uint64_t last_ns, uint64_t patience_ns, uint64_t now)
{
	return now > last_ns && now - last_ns > patience_ns; /* last_ns may be later than this round's now */
}

/*
 * How long a silence of this peer is borne: D * (1 + drift), which others rely on, or longer if somebody
 * has learnt that its way is uneven. An owner does not wait longer: its lease ends all the same.
 */
static uint64_t patience(const struct ftt_beat *b, const struct ftt_beat_view *v)
{
	uint32_t mode = atomic_load_explicit(&b->engine->shared.mode, memory_order_acquire);
	uint64_t learnt = atomic_load(&v->patience_ns);

	return mode == FTT_MODE_PAIRED || mode == FTT_MODE_SOLO || learnt < b->timeout_ns ? b->timeout_ns : learnt;
}

/* 0: no silence is told of before it is a loss, or this one was. */
static uint64_t suspicion(const struct ftt_beat_view *v)
{
	return v->suspected ? 0 : atomic_load(&v->suspect_ns);
}

/* The silence at which something may be done in time for a loss; 0: there is none, or it was told. */
static uint64_t quiet_after(const struct ftt_beat *b, const struct ftt_beat_view *v)
{
	uint64_t ahead = b->engine->cfg.quiet_ahead_ns, lost = patience(b, v);

	return v->quiet || !ahead || ahead >= lost ? 0 : lost - ahead;
}

static void judge_peer(struct ftt_beat *b, uint32_t i, uint64_t now)
{
	struct ftt_beat_view *v = &b->view[i];
	uint64_t last = atomic_load(&v->last_beat_ns);

	if (atomic_load(&v->alive) && suspicion(v) && silent(last, suspicion(v), now)) {
		v->suspected = true;
		ftt_beat_post(b, FTT_EV_PEER_SUSPECTED, now - last, i, 0);
	}
	if (atomic_load(&v->alive) && quiet_after(b, v) && silent(last, quiet_after(b, v), now)) {
		v->quiet = true;
		ftt_beat_post(b, FTT_EV_PEER_QUIET, now - last, i, 0);
	}
	if (atomic_load(&v->alive) && silent(last, patience(b, v), now)) {
		pthread_mutex_lock(&b->lock);
		b->withdrawn |= b->grant & 1u << i;
		pthread_mutex_unlock(&b->lock);
		atomic_store(&v->alive, false);
		ftt_beat_post(b, FTT_EV_PEER_LOST, now - last, i, 0);
	}
	for (uint32_t k = 0; k < b->node->peer[i].n_links; k++) {
		if (!v->link[k].up || !silent(v->link[k].last_ns, b->timeout_ns, now))
			continue;
		v->link[k].up = false;
		atomic_fetch_and(&v->links_up, ~(1u << k));
		ftt_beat_post(b, FTT_EV_LINK_LOST, now - v->link[k].last_ns, i, k);
	}
}

static void judge_silence(struct ftt_beat *b, uint64_t now)
{
	if (now < b->judge_after_ns)
		return;
	for (uint32_t i = 0; i < b->n_peers; i++)
		judge_peer(b, i, now);
}

/* Takes the tick that is due, if one is, off the grid. */
static bool take_tick(struct ftt_liveness *l, uint64_t now)
{
	uint64_t interval = l->interval_ns, missed;

	/* Stopped for long ourselves: perhaps all of the machine was, and the peers' beats are not in
	 * the sockets. They get two intervals in which to be heard. */
	for (uint32_t k = 0; k < l->n_groups; k++)
		if (now > l->deadline_ns && now - l->deadline_ns > l->group[k]->engine->cfg.lease_ns / 2)
			l->group[k]->judge_after_ns = now + 2 * l->group[k]->engine->cfg.beat_interval_ns;
	if (!interval || now < l->next_tick_ns)
		return false;
	missed = (now - l->next_tick_ns) / interval;
	FTT_BEAT_COUNT_ALL(l, beats_late, missed);
	l->next_tick_ns += (missed + 1) * interval;
	return true;
}

/* Links follow their interfaces and devices. */
static void attach(struct ftt_liveness *l, uint64_t now)
{
	if (now < l->attach_ns)
		return;
	l->attach_ns = now + FTT_BEAT_NS;
	for (struct ftt_endpoint *e = l->endpoint; e < l->endpoint + l->n_endpoints; e++)
		if (e->kind->attach)
			e->kind->attach(e);
}

/* ---- the loop --------------------------------------------------------------------------------- */

static uint64_t earlier(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static uint64_t silence_deadline(const struct ftt_beat *b, uint64_t last_ns, uint64_t patience_ns)
{
	uint64_t at = last_ns + patience_ns + 1;

	return at > b->judge_after_ns ? at : b->judge_after_ns;
}

/* The earliest moment at which there is something to do for a group. */
static uint64_t deadline(struct ftt_beat *b)
{
	uint64_t at = FTT_BEAT_NEVER;

	for (uint32_t i = 0; i < b->n_peers; i++) {
		struct ftt_beat_view *v = &b->view[i];
		uint64_t last = atomic_load(&v->last_beat_ns);

		if (atomic_load(&v->alive))
			at = earlier(at, silence_deadline(b, last, patience(b, v)));
		if (atomic_load(&v->alive) && suspicion(v))
			at = earlier(at, silence_deadline(b, last, suspicion(v)));
		if (atomic_load(&v->alive) && quiet_after(b, v))
			at = earlier(at, silence_deadline(b, last, quiet_after(b, v)));
		for (uint32_t k = 0; k < b->node->peer[i].n_links; k++)
			if (v->link[k].up)
				at = earlier(at, silence_deadline(b, v->link[k].last_ns, b->timeout_ns));
	}
	pthread_mutex_lock(&b->lock);
	if (b->lease.open)
		at = earlier(at, b->lease.until_ns);
	pthread_mutex_unlock(&b->lock);
	return at;
}

/* Sets the timer to the earliest moment at which there is something to do. 0 or errno. */
static int arm(struct ftt_liveness *l)
{
	struct itimerspec when = {0};
	uint64_t at = l->interval_ns ? l->next_tick_ns : FTT_BEAT_NEVER;

	for (uint32_t k = 0; k < l->n_groups; k++)
		at = earlier(at, deadline(l->group[k]));
	at = at ? at : 1; /* 0 would disarm the timer */
	l->deadline_ns = at;
	when.it_value.tv_sec = (time_t)(at / FTT_BEAT_NS);
	when.it_value.tv_nsec = (long)(at % FTT_BEAT_NS);
	return timerfd_settime(l->timer_fd, TFD_TIMER_ABSTIME, &when, NULL) ? errno : 0;
}

/* Blocks until something is to be done; others may have their turn meanwhile. Returns 0 or an errno that cannot be survived. */
static int wait_for_work(struct ftt_liveness *l)
{
	struct pollfd fds[2 + FTT_MAX_PEERS * FTT_MAX_LINKS];
	uint32_t n_endpoints = l->n_endpoints;
	int error = arm(l), n;
	uint64_t ignored;

	if (error)
		return error;
	fds[0] = (struct pollfd){.fd = l->timer_fd, .events = POLLIN};
	fds[1] = (struct pollfd){.fd = l->wake_fd, .events = POLLIN};
	for (uint32_t i = 0; i < n_endpoints; i++)
		fds[2 + i] = (struct pollfd){.fd = l->endpoint[i].fd, .events = POLLIN};
	pthread_mutex_unlock(&l->turn);
	n = poll(fds, 2 + n_endpoints, -1);
	error = n < 0 && errno != EINTR ? errno : 0;
	pthread_mutex_lock(&l->turn);
	if (n <= 0)
		return error;
	for (int i = 0; i < 2; i++)
		if (fds[i].revents && read(fds[i].fd, &ignored, sizeof(ignored)) < 0 && errno != EAGAIN)
			return errno;
	return 0;
}

static void do_round(struct ftt_liveness *l)
{
	uint64_t now = ftt_now_ns();
	bool tick = take_tick(l, now);

	ftt_beat_follow_keys(l);
	for (uint32_t k = 0; k < l->n_groups; k++)
		judge_lease(l->group[k], now, tick);
	for (uint32_t i = 0; i < l->n_endpoints; i++)
		ftt_beat_drain(l, &l->endpoint[i]);
	for (uint32_t k = 0; k < l->n_groups; k++)
		judge_silence(l->group[k], now);
	attach(l, now);
	ftt_beat_send(l, tick);
}

void *ftt_beat_main(void *arg)
{
	struct ftt_liveness *l = arg;
	int error = 0;

	pthread_mutex_lock(&l->turn);
	while (!error && !atomic_load(&l->stop)) {
		error = wait_for_work(l);
		do_round(l);
	}
	l->ended = true;
	for (uint32_t k = 0; error && k < l->n_groups; k++)
		ftt_beat_post(l->group[k], FTT_EV_ERROR, (uint64_t)error, 0, 0); /* and the lease runs out: closed */
	pthread_mutex_unlock(&l->turn);
	return NULL;
}

void ftt_liveness_wake(struct ftt_liveness *l)
{
	uint64_t one = 1;
	ssize_t n;

	do
		n = write(l->wake_fd, &one, sizeof(one));
	while (n < 0 && errno == EINTR); /* EAGAIN: so many wake-ups wait already that one more says nothing */
}
