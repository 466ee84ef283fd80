/* SPDX-License-Identifier: Apache-2.0 */
/*
 * beat.c - heartbeats, the lease, and the silence of the peer.
 *
 * Theory of operation
 * -------------------
 * One thread, one endpoint (link.h) per way to the peers, one absolute timer. Each round of the loop:
 *
 *   wait   until a datagram, a wake-up by another thread, or the earliest of: next tick, the end
 *          of the lease, the moment at which the peer or a link has been silent for too long.
 *   now    is read *before* the sockets are drained, and everything is judged by it. Whatever had
 *          arrived by `now` has been read when silence is judged, however long this thread was
 *          stopped between any two of these lines; what arrives later only postpones a verdict.
 *   drain  every endpoint. A datagram's receipt is the time read after it was taken from there:
 *          later than it came, so later than the peer sent it, which is the safe side for a
 *          promise that is counted from the receipt.
 *   judge  the lease, the peers, the links.
 *   send   one beat to each peer over all links, when a tick is due or something was published.
 *
 * Ticks lie on a fixed grid, so lateness does not add up. A tick that comes a whole interval late
 * is counted in beats_late once for each tick missed, and none of those is sent afterwards.
 *
 * The lease (lease.h has its rules) belongs to this thread: only its own ticks and receipts extend
 * it, so a stopped process falls silent by itself. It is guarded by `lock`, and so is the policy
 * copy that the rules use. ftt_beat_lease_changed() applies the stored policy under the lock;
 * the thread extends only under the lock and by that copy. So once ftt_beat_lease_changed() has
 * returned, every later extension is one that the new policy (or a newer one) allows: after NONE
 * there is none. An extension never uses a clock reading older than its round, and a stale reading
 * yields a stale lease.
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
static uint64_t patience(const struct ftt_beat *b, const struct ftt_peer *p)
{
	uint32_t mode = atomic_load_explicit(&b->engine->shared.mode, memory_order_acquire);
	uint64_t learnt = atomic_load(&p->patience_ns);

	return mode == FTT_MODE_PAIRED || mode == FTT_MODE_SOLO || learnt < b->timeout_ns ? b->timeout_ns : learnt;
}

/* 0: no silence is told of before it is a loss, or this one was. */
static uint64_t suspicion(const struct ftt_peer *p)
{
	return p->suspected ? 0 : atomic_load(&p->suspect_ns);
}

/* The silence at which something may be done in time for a loss; 0: there is none, or it was told. */
static uint64_t quiet_after(const struct ftt_beat *b, const struct ftt_peer *p)
{
	uint64_t ahead = b->engine->cfg.quiet_ahead_ns, lost = patience(b, p);

	return p->quiet || !ahead || ahead >= lost ? 0 : lost - ahead;
}

static void judge_peer(struct ftt_beat *b, uint32_t i, uint64_t now)
{
	struct ftt_peer *p = &b->peer[i];
	uint64_t last = atomic_load(&p->last_beat_ns);

	if (atomic_load(&p->alive) && suspicion(p) && silent(last, suspicion(p), now)) {
		p->suspected = true;
		ftt_beat_post(b, FTT_EV_PEER_SUSPECTED, now - last, i, 0);
	}
	if (atomic_load(&p->alive) && quiet_after(b, p) && silent(last, quiet_after(b, p), now)) {
		p->quiet = true;
		ftt_beat_post(b, FTT_EV_PEER_QUIET, now - last, i, 0);
	}
	if (atomic_load(&p->alive) && silent(last, patience(b, p), now)) {
		pthread_mutex_lock(&b->lock);
		b->withdrawn |= b->grant & 1u << i;
		pthread_mutex_unlock(&b->lock);
		atomic_store(&p->alive, false);
		ftt_beat_post(b, FTT_EV_PEER_LOST, now - last, i, 0);
	}
	for (uint32_t k = 0; k < p->n_links; k++) {
		struct ftt_beat_link *l = &p->link[k];

		if (!l->up || !silent(l->last_ns, b->timeout_ns, now))
			continue;
		l->up = false;
		atomic_fetch_and(&p->links_up, ~(1u << k));
		ftt_beat_post(b, FTT_EV_LINK_LOST, now - l->last_ns, i, k);
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
static bool take_tick(struct ftt_beat *b, uint64_t now)
{
	uint64_t interval = b->engine->cfg.beat_interval_ns;
	uint64_t missed;

	/* Stopped for long ourselves: perhaps all of the machine was, and the peers' beats are not in
	 * the sockets. They get two intervals in which to be heard. */
	if (now > b->deadline_ns && now - b->deadline_ns > b->engine->cfg.lease_ns / 2)
		b->judge_after_ns = now + 2 * interval;
	if (now < b->next_tick_ns)
		return false;
	missed = (now - b->next_tick_ns) / interval;
	ftt_beat_count(&b->engine->counters_beat.beats_late, missed);
	b->next_tick_ns += (missed + 1) * interval;
	return true;
}

/* Links follow their interfaces and devices. */
static void attach(struct ftt_beat *b, uint64_t now)
{
	if (now < b->attach_ns)
		return;
	b->attach_ns = now + FTT_BEAT_NS;
	for (struct ftt_endpoint *e = b->endpoint; e < b->endpoint + b->n_endpoints; e++)
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

/* Sets the timer to the earliest moment at which there is something to do. 0 or errno. */
static int arm(struct ftt_beat *b)
{
	struct itimerspec when = {0};
	uint64_t at = b->next_tick_ns;

	for (uint32_t i = 0; i < b->n_peers; i++) {
		struct ftt_peer *p = &b->peer[i];

		uint64_t last = atomic_load(&p->last_beat_ns);

		if (atomic_load(&p->alive))
			at = earlier(at, silence_deadline(b, last, patience(b, p)));
		if (atomic_load(&p->alive) && suspicion(p))
			at = earlier(at, silence_deadline(b, last, suspicion(p)));
		if (atomic_load(&p->alive) && quiet_after(b, p))
			at = earlier(at, silence_deadline(b, last, quiet_after(b, p)));
		for (uint32_t k = 0; k < p->n_links; k++)
			if (p->link[k].up)
				at = earlier(at, silence_deadline(b, p->link[k].last_ns, b->timeout_ns));
	}
	pthread_mutex_lock(&b->lock);
	if (b->lease.open)
		at = earlier(at, b->lease.until_ns);
	pthread_mutex_unlock(&b->lock);
	at = at ? at : 1; /* 0 would disarm the timer */
	b->deadline_ns = at;
	when.it_value.tv_sec = (time_t)(at / FTT_BEAT_NS);
	when.it_value.tv_nsec = (long)(at % FTT_BEAT_NS);
	return timerfd_settime(b->timer_fd, TFD_TIMER_ABSTIME, &when, NULL) ? errno : 0;
}

/* Blocks until something is to be done. Returns 0 or an errno that cannot be survived. */
static int wait_for_work(struct ftt_beat *b)
{
	struct pollfd fds[2 + FTT_MAX_PEERS * FTT_MAX_LINKS];
	uint64_t n;
	int error = arm(b);

	if (error)
		return error;
	fds[0] = (struct pollfd){.fd = b->timer_fd, .events = POLLIN};
	fds[1] = (struct pollfd){.fd = b->wake_fd, .events = POLLIN};
	for (uint32_t i = 0; i < b->n_endpoints; i++)
		fds[2 + i] = (struct pollfd){.fd = b->endpoint[i].fd, .events = POLLIN};
	if (poll(fds, 2 + b->n_endpoints, -1) < 0)
		return errno == EINTR ? 0 : errno;
	if (fds[0].revents && read(b->timer_fd, &n, sizeof(n)) < 0 && errno != EAGAIN)
		return errno;
	if (fds[1].revents) {
		if (read(b->wake_fd, &n, sizeof(n)) < 0 && errno != EAGAIN)
			return errno;
		b->send_now = true;
	}
	return 0;
}

/*
 * Asks for what makes the thread punctual: priority before all that is no real-time work, and
 * pages that stay once they are there (what was never touched costs nothing). Both are wishes: it
 * works without, less evenly. Nothing is allocated from here on.
 */
static void settle_in(struct ftt_beat *b)
{
	struct sched_param param = {.sched_priority = (int)b->engine->cfg.rt_priority};

	if (param.sched_priority > 0 && !pthread_setschedparam(pthread_self(), SCHED_FIFO, &param))
		atomic_fetch_or(&b->allowed, FTT_BEAT_REALTIME);
	if (!mlockall(MCL_CURRENT | MCL_ONFAULT))
		atomic_fetch_or(&b->allowed, FTT_BEAT_LOCKED);
}

void *ftt_beat_main(void *arg)
{
	struct ftt_beat *b = arg;
	int error = 0;

	settle_in(b);
	while (!error && !atomic_load(&b->stop)) {
		uint64_t now;
		bool tick;

		error = wait_for_work(b);
		now = ftt_now_ns();
		tick = take_tick(b, now);
		ftt_beat_follow_keys(b);
		judge_lease(b, now, tick);
		for (uint32_t i = 0; i < b->n_endpoints; i++)
			ftt_beat_drain(b, &b->endpoint[i]);
		judge_silence(b, now);
		attach(b, now);
		if (tick || b->send_now) {
			b->send_now = false;
			ftt_beat_send(b);
		}
	}
	if (error)
		ftt_beat_post(b, FTT_EV_ERROR, (uint64_t)error, 0, 0); /* and the lease runs out: closed */
	return NULL;
}

void ftt_beat_wake(struct ftt_beat *b)
{
	uint64_t one = 1;
	ssize_t n;

	do
		n = write(b->wake_fd, &one, sizeof(one));
	while (n < 0 && errno == EINTR); /* EAGAIN: so many wake-ups wait already that one more says nothing */
}

/* ---- for other threads ------------------------------------------------------------------------ */

void ftt_beat_lease_changed(struct ftt_beat *b, uint64_t decided_ns)
{
	pthread_mutex_lock(&b->lock);
	b->lease.limit_ns = atomic_load_explicit(&b->engine->shared.lease_limit_ns, memory_order_acquire);
	ftt_lease_set_policy(&b->lease, atomic_load_explicit(&b->engine->shared.lease_policy, memory_order_acquire),
			     decided_ns, ftt_now_ns());
	ftt_beat_publish_lease(b);
	pthread_mutex_unlock(&b->lock);
	ftt_beat_wake(b); /* the timer must know the new end; and a new primary's grants come the sooner */
}

void ftt_beat_partner_changed(struct ftt_beat *b)
{
	pthread_mutex_lock(&b->lock);
	ftt_lease_set_partner(&b->lease, atomic_load_explicit(&b->engine->shared.partner, memory_order_acquire), ftt_now_ns());
	ftt_beat_publish_lease(b);
	pthread_mutex_unlock(&b->lock);
	ftt_beat_wake(b);
}

void ftt_beat_set_body(struct ftt_beat *b, const uint8_t *body, uint32_t len, uint32_t grant_to)
{
	bool changed;

	if (len > FTT_BEAT_BODY_MAX) {
		ftt_beat_post(b, FTT_EV_ERROR, EMSGSIZE, 0, 0); /* half a body would be a lie: the last one stays */
		return;
	}
	pthread_mutex_lock(&b->lock);
	changed = len != b->body_len || grant_to != b->grant || (len && memcmp(b->body, body, len) != 0);
	if (len)
		memcpy(b->body, body, len);
	b->body_len = len;
	b->grant = grant_to;
	b->withdrawn &= grant_to;
	pthread_mutex_unlock(&b->lock);
	if (changed)
		ftt_beat_wake(b);
}

int ftt_beat_get_peer_body(struct ftt_beat *b, uint32_t peer, uint8_t *out, uint32_t max, uint64_t *boot_id)
{
	struct ftt_peer *p = &b->peer[peer];
	int len;

	if (peer >= b->n_peers)
		return -1;
	pthread_mutex_lock(&b->lock);
	len = p->body_len;
	if (len > 0 && max)
		memcpy(out, p->body, (uint32_t)len < max ? (uint32_t)len : max);
	if (boot_id)
		*boot_id = p->body_boot;
	pthread_mutex_unlock(&b->lock);
	return len;
}

uint64_t ftt_beat_get_heard_ns(const struct ftt_beat *b, uint32_t peer)
{
	return atomic_load(&b->peer[peer].last_beat_ns);
}

int ftt_beat_get_intervals(struct ftt_beat *b, uint32_t peer, uint64_t *out, int max)
{
	struct ftt_peer *p = &b->peer[peer];
	uint32_t n;

	pthread_mutex_lock(&b->lock);
	n = p->n_intervals < FTT_BEAT_INTERVALS ? p->n_intervals : FTT_BEAT_INTERVALS;
	n = max < (int)n ? (uint32_t)(max > 0 ? max : 0) : n;
	for (uint32_t i = 0; i < n; i++)
		out[i] = p->interval_ns[(p->n_intervals - n + i) % FTT_BEAT_INTERVALS];
	p->n_intervals = 0; /* each is told once */
	pthread_mutex_unlock(&b->lock);
	return (int)n;
}

void ftt_beat_change_patience(struct ftt_beat *b, uint32_t peer, uint64_t lost_ns, uint64_t suspect_ns)
{
	atomic_store(&b->peer[peer].patience_ns, lost_ns);
	atomic_store(&b->peer[peer].suspect_ns, suspect_ns);
	ftt_beat_wake(b);
}

void ftt_beat_status(struct ftt_beat *b, struct ftt_status *out)
{
	out->beat_thread = atomic_load(&b->allowed);
	for (uint32_t i = 0; i < b->n_peers; i++) {
		struct ftt_peer *p = &b->peer[i];

		out->peer_alive |= (uint32_t)atomic_load(&p->alive) << i;
		out->links_up[i] = atomic_load(&p->links_up);
		out->peer_intrusions[i] = atomic_load(&p->intrusions);
	}
}
