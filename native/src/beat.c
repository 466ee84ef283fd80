/* SPDX-License-Identifier: Apache-2.0 */
/*
 * beat.c - heartbeats, the lease, and the silence of the peer.
 *
 * Theory of operation
 * -------------------
 * One thread, one UDP socket per link, one absolute timer. Each round of the loop:
 *
 *   wait   until a datagram, a wake-up by another thread, or the earliest of: next tick, the end
 *          of the lease, the moment at which the peer or a link has been silent for too long.
 *   now    is read *before* the sockets are drained, and everything is judged by it. Whatever had
 *          arrived by `now` has been read when silence is judged, however long this thread was
 *          stopped between any two of these lines; what arrives later only postpones a verdict.
 *   drain  every socket. A datagram's receipt is the time read after it was taken from the socket:
 *          later than it came, so later than the peer sent it, which is the safe side for a
 *          promise that is counted from the receipt.
 *   judge  the lease, the peer, the links.
 *   send   one beat over all links, when a tick is due or something was published.
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
 * Grants stop by themselves at PEER_LOST. Between the moment this thread finds the peer silent and
 * the moment its owner has taken over, the peer may be heard again; a grant sent then would give
 * both nodes the right to emit. So beats carry no grant from PEER_LOST on, until the owner has
 * published once without grant, and then with it.
 *
 * Links: sockets are bound to the link's own address (IP_FREEBIND, so it may come and go) and never
 * connected. Errors in sending and receiving are a link's normal life (ENETUNREACH, EHOSTUNREACH,
 * ENETDOWN, EINVAL while the address is away...): the beat is lost, as if on the wire, silence is
 * what reports it, and the next beat tries again.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/timerfd.h>
#include <unistd.h>
#include "beat.h"

static void count(uint64_t *counter, uint64_t n)
{
	__atomic_store_n(counter, *counter + n, __ATOMIC_RELAXED);
}

static void post(struct ftt_beat *b, uint32_t kind, uint64_t value, uint32_t link)
{
	struct ftt_event ev = {.kind = kind, .value = value, .link = link};

	ftt_event_post(b->engine, &ev);
}

static void post_intrusion(struct ftt_beat *b, uint64_t kind, uint32_t link, uint64_t now)
{
	if (b->intrusion_ns[kind] && now - b->intrusion_ns[kind] < FTT_BEAT_NS)
		return;
	b->intrusion_ns[kind] = now;
	post(b, FTT_EV_INTRUSION, kind, link);
}

/* ---- sending ---------------------------------------------------------------------------------- */

static void send_beat(struct ftt_beat *b)
{
	const struct ftt_config *cfg = &b->engine->cfg;
	uint8_t body[FTT_BEAT_BODY_MAX], out[FTT_BEAT_MAX];
	struct ftt_beat_msg m = {.cluster_id = cfg->cluster_id,
				 .node_id = cfg->node_id,
				 .boot_id = cfg->boot_id,
				 .key_id = b->key_id,
				 .counter = ++b->counter,
				 .echo_boot_id = b->peer.boot_id,
				 .echo_t_ns = b->echo_t_ns,
				 .body = body};

	pthread_mutex_lock(&b->lock);
	memcpy(body, b->body, b->body_len);
	m.body_len = (uint16_t)b->body_len;
	m.flags = b->grant && !b->grant_withdrawn ? FTT_BEAT_GRANT : 0;
	pthread_mutex_unlock(&b->lock);
	m.t_send_ns = ftt_now_ns();
	for (uint32_t i = 0; i < b->n_links; i++) {
		size_t len;

		m.link = (uint8_t)i;
		len = ftt_beat_encode(out, sizeof(out), &m, cfg->key);
		if (sendto(b->link[i].fd, out, len, MSG_DONTWAIT | MSG_NOSIGNAL, &b->link[i].remote.any,
			   b->link[i].address_len) == (ssize_t)len)
			count(&b->engine->counters_beat.beats_sent, 1);
	}
}

/* ---- receiving -------------------------------------------------------------------------------- */

static void learn_boot(struct ftt_beat *b, uint64_t boot_id)
{
	const struct ftt_config *cfg = &b->engine->cfg;
	uint64_t session = ftt_beat_commit_session(cfg->key, cfg->node_id, cfg->boot_id, cfg->peer_node_id, boot_id);

	atomic_store_explicit(&b->engine->shared.commit_session, session, memory_order_release);
	atomic_store_explicit(&b->engine->shared.peer_boot_id, boot_id, memory_order_release);
}

/* Keeps the body of the newest beat; true when it is not the one kept already. */
static bool keep_body(struct ftt_beat *b, const struct ftt_beat_msg *m)
{
	bool changed;

	pthread_mutex_lock(&b->lock);
	changed = b->peer_body_len != m->body_len || b->peer_body_boot != m->boot_id ||
		  memcmp(b->peer_body, m->body, m->body_len) != 0;
	if (changed) {
		memcpy(b->peer_body, m->body, m->body_len);
		b->peer_body_len = m->body_len;
		b->peer_body_boot = m->boot_id;
	}
	pthread_mutex_unlock(&b->lock);
	return changed;
}

/* The newest beat of all: it speaks for the peer, not only for its link. */
static void hear_peer(struct ftt_beat *b, const struct ftt_beat_msg *m, uint32_t i, bool new_boot, uint64_t now)
{
	bool returned = !atomic_load(&b->alive);
	bool changed;

	b->echo_t_ns = m->t_send_ns;
	atomic_store(&b->last_beat_ns, now);
	atomic_store(&b->alive, true);
	if (new_boot)
		learn_boot(b, m->boot_id);
	if (m->flags & FTT_BEAT_GRANT && m->echo_boot_id == b->engine->cfg.boot_id) {
		pthread_mutex_lock(&b->lock);
		ftt_lease_grant(&b->lease, m->echo_t_ns, now);
		ftt_beat_publish_lease(b);
		pthread_mutex_unlock(&b->lock);
	}
	changed = keep_body(b, m);
	if (new_boot || returned) {
		b->send_now = true; /* let the peer hear its echo without waiting for our tick */
		post(b, FTT_EV_PEER_UP, m->boot_id, i);
	}
	if (new_boot || returned || changed)
		post(b, FTT_EV_PEER_BODY, m->boot_id, i);
}

static void hear_link(struct ftt_beat *b, uint32_t i, uint64_t now)
{
	b->link[i].last_ns = now;
	if (b->link[i].up)
		return;
	b->link[i].up = true;
	atomic_fetch_or(&b->links_up, 1u << i);
	post(b, FTT_EV_LINK_UP, 0, i);
}

static void hear(struct ftt_beat *b, uint32_t i, const uint8_t *datagram, size_t len)
{
	const struct ftt_config *cfg = &b->engine->cfg;
	struct ftt_counters *c = &b->engine->counters_beat;
	enum ftt_beat_news news = FTT_BEAT_REPLAY;
	enum ftt_beat_error error;
	struct ftt_beat_msg m;
	uint64_t now = ftt_now_ns();

	error = ftt_beat_decode(datagram, len, cfg->key, b->key_id, &m);
	if (error == FTT_BEAT_E_KEY_ID || error == FTT_BEAT_E_MAC) {
		count(&c->beats_bad_mac, 1);
		post_intrusion(b, 0, i, now);
		return;
	}
	if (error) {
		count(&c->channel_malformed, 1);
		return;
	}
	/* Made with our key but out of place or out of time: someone sends on what he has recorded. */
	if (!ftt_beat_check_place(&m, cfg->cluster_id, cfg->peer_node_id, i))
		news = ftt_beat_admit(&b->peer, &m, cfg->boot_id, atomic_load(&b->alive));
	if (news == FTT_BEAT_REPLAY) {
		count(&c->beats_replay, 1);
		post_intrusion(b, 1, i, now);
		return;
	}
	count(&c->beats_received, 1);
	if (news == FTT_BEAT_STALE || news == FTT_BEAT_UNPROVEN) {
		count(&c->channel_stale, 1);
		return;
	}
	if (news == FTT_BEAT_NEWEST || news == FTT_BEAT_NEW_BOOT)
		hear_peer(b, &m, i, news == FTT_BEAT_NEW_BOOT, now);
	hear_link(b, i, now);
}

static void drain(struct ftt_beat *b, uint32_t i)
{
	uint8_t datagram[FTT_BEAT_MAX + 1]; /* one more: a longer datagram shows itself */

	for (int k = 0; k < FTT_BEAT_DRAIN_MAX; k++) {
		ssize_t n = recv(b->link[i].fd, datagram, sizeof(datagram), MSG_DONTWAIT);

		if (n >= 0)
			hear(b, i, datagram, (size_t)n);
		else if (errno == EAGAIN)
			return;
		/* else: a pending error of the socket; reading it has cleared it */
	}
}

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
		post(b, FTT_EV_LEASE_LAPSED, now - until, 0);
}

static bool silent(const struct ftt_beat *b, uint64_t last_ns, uint64_t now)
{
	return now > last_ns && now - last_ns > b->timeout_ns; /* last_ns may be later than this round's now */
}

static void judge_silence(struct ftt_beat *b, uint64_t now)
{
	uint64_t last = atomic_load(&b->last_beat_ns);

	if (now < b->judge_after_ns)
		return;
	if (atomic_load(&b->alive) && silent(b, last, now)) {
		pthread_mutex_lock(&b->lock);
		b->grant_withdrawn = b->grant;
		pthread_mutex_unlock(&b->lock);
		atomic_store(&b->alive, false);
		post(b, FTT_EV_PEER_LOST, now - last, 0);
	}
	for (uint32_t i = 0; i < b->n_links; i++) {
		struct ftt_beat_link *l = &b->link[i];

		if (!l->up || !silent(b, l->last_ns, now))
			continue;
		l->up = false;
		atomic_fetch_and(&b->links_up, ~(1u << i));
		post(b, FTT_EV_LINK_LOST, now - l->last_ns, i);
	}
}

/* Takes the tick that is due, if one is, off the grid. */
static bool take_tick(struct ftt_beat *b, uint64_t now)
{
	uint64_t interval = b->engine->cfg.beat_interval_ns;
	uint64_t missed;

	/* Stopped for long ourselves: perhaps all of the machine was, and the peer's beats are not in
	 * the sockets. It gets two intervals in which to be heard. */
	if (now > b->deadline_ns && now - b->deadline_ns > b->engine->cfg.lease_ns / 2)
		b->judge_after_ns = now + 2 * interval;
	if (now < b->next_tick_ns)
		return false;
	missed = (now - b->next_tick_ns) / interval;
	count(&b->engine->counters_beat.beats_late, missed);
	b->next_tick_ns += (missed + 1) * interval;
	return true;
}

/* ---- the loop --------------------------------------------------------------------------------- */

static uint64_t earlier(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static uint64_t silence_deadline(const struct ftt_beat *b, uint64_t last_ns)
{
	uint64_t at = last_ns + b->timeout_ns + 1;

	return at > b->judge_after_ns ? at : b->judge_after_ns;
}

/* Sets the timer to the earliest moment at which there is something to do. 0 or errno. */
static int arm(struct ftt_beat *b)
{
	struct itimerspec when = {0};
	uint64_t at = b->next_tick_ns;

	if (atomic_load(&b->alive))
		at = earlier(at, silence_deadline(b, atomic_load(&b->last_beat_ns)));
	for (uint32_t i = 0; i < b->n_links; i++)
		if (b->link[i].up)
			at = earlier(at, silence_deadline(b, b->link[i].last_ns));
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
	struct pollfd fds[2 + FTT_MAX_LINKS];
	uint64_t n;
	int error = arm(b);

	if (error)
		return error;
	fds[0] = (struct pollfd){.fd = b->timer_fd, .events = POLLIN};
	fds[1] = (struct pollfd){.fd = b->wake_fd, .events = POLLIN};
	for (uint32_t i = 0; i < b->n_links; i++)
		fds[2 + i] = (struct pollfd){.fd = b->link[i].fd, .events = POLLIN};
	if (poll(fds, 2 + b->n_links, -1) < 0)
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

void *ftt_beat_main(void *arg)
{
	struct ftt_beat *b = arg;
	int error = 0;

	while (!error && !atomic_load(&b->stop)) {
		uint64_t now;
		bool tick;

		error = wait_for_work(b);
		now = ftt_now_ns();
		tick = take_tick(b, now);
		judge_lease(b, now, tick);
		for (uint32_t i = 0; i < b->n_links; i++)
			drain(b, i);
		judge_silence(b, now);
		if (tick || b->send_now) {
			b->send_now = false;
			send_beat(b);
		}
	}
	if (error)
		post(b, FTT_EV_ERROR, (uint64_t)error, 0); /* and the lease runs out: closed */
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

void ftt_beat_lease_changed(struct ftt_beat *b)
{
	pthread_mutex_lock(&b->lock);
	ftt_lease_set_policy(&b->lease, atomic_load_explicit(&b->engine->shared.lease_policy, memory_order_acquire),
			     ftt_now_ns());
	ftt_beat_publish_lease(b);
	pthread_mutex_unlock(&b->lock);
	ftt_beat_wake(b); /* the timer must know the new end; and a new primary's grants come the sooner */
}

void ftt_beat_set_body(struct ftt_beat *b, const uint8_t *body, uint32_t len, bool grant)
{
	bool changed;

	if (len > FTT_BEAT_BODY_MAX) {
		post(b, FTT_EV_ERROR, EMSGSIZE, 0); /* half a body would be a lie: the last one stays */
		return;
	}
	pthread_mutex_lock(&b->lock);
	changed = len != b->body_len || grant != b->grant || (len && memcmp(b->body, body, len) != 0);
	if (len)
		memcpy(b->body, body, len);
	b->body_len = len;
	b->grant = grant;
	if (!grant)
		b->grant_withdrawn = false;
	pthread_mutex_unlock(&b->lock);
	if (changed)
		ftt_beat_wake(b);
}

int ftt_beat_get_peer_body(struct ftt_beat *b, uint8_t *out, uint32_t max, uint64_t *boot_id)
{
	int len;

	pthread_mutex_lock(&b->lock);
	len = b->peer_body_len;
	if (len > 0 && max)
		memcpy(out, b->peer_body, (uint32_t)len < max ? (uint32_t)len : max);
	if (boot_id)
		*boot_id = b->peer_body_boot;
	pthread_mutex_unlock(&b->lock);
	return len;
}

void ftt_beat_status(struct ftt_beat *b, struct ftt_status *out)
{
	out->peer_alive = atomic_load(&b->alive);
	out->links_up = atomic_load(&b->links_up);
	out->last_beat_ns = atomic_load(&b->last_beat_ns);
}
