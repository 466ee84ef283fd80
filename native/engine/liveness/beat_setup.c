/* SPDX-License-Identifier: Apache-2.0 */
/*
 * beat_setup.c - birth and end of the heartbeat thread, and groups that come and go. beat.c tells how it works.
 *
 * Whatever the configuration can have wrong is found here, before a thread runs, and told in one
 * sentence. A link whose interface or address is missing at the moment is not an error: it works as
 * soon as that is there.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/timerfd.h>
#include <unistd.h>
#include "engine/liveness/beat.h"
#include "engine/thread.h"

static const struct ftt_link_kind *const kinds[] = {
	[FTT_UDP] = &ftt_link_udp,
	[FTT_MULTICAST] = &ftt_link_multicast,
	[FTT_ETHERNET] = &ftt_link_ethernet,
	[FTT_SERIAL] = &ftt_link_serial,
};

/* Returns the endpoint of a link, which other links may use already. NULL with a reason. */
static struct ftt_endpoint *endpoint_of(struct ftt_liveness *l, const struct ftt_link_kind *kind, const struct ftt_link *link,
					char *why, size_t why_len)
{
	struct ftt_endpoint *e;

	for (e = l->endpoint; e < l->endpoint + l->n_endpoints; e++)
		if (e->kind == kind && kind->same(e->link, link))
			return e;
	e->kind = kind;
	e->link = link;
	e->fd = -1;
	l->n_endpoints++; /* also when it fails: what was opened is closed at the end */
	if (!kind->open(e, &l->cfg, why, why_len))
		return NULL;
	if (kind->attach)
		kind->attach(e);
	return e;
}

static bool open_links(struct ftt_liveness *l, uint32_t i, char *err, size_t err_len)
{
	const struct ftt_peer_config *c = &l->cfg.peer[i];
	struct ftt_beat_node *p = &l->peer[i];
	char why[300];

	for (uint32_t k = 0; k < c->n_links; k++) {
		const struct ftt_link_kind *kind = kinds[c->link[k].transport];

		if (kind->resolve(&c->link[k], l->cfg.port, &p->link[k].to, why, sizeof(why)))
			p->link[k].endpoint = endpoint_of(l, kind, &c->link[k], why, sizeof(why));
		if (!p->link[k].endpoint) {
			snprintf(err, err_len, "peer[%u].link[%u]: %s", i, k, why);
			return false;
		}
	}
	p->n_links = c->n_links;
	l->n_peers = i + 1;
	return true;
}

static const char *wrong_links(const struct ftt_peer_config *peer)
{
	if (peer->n_links < 1 || peer->n_links > FTT_MAX_LINKS)
		return "the number of links to a peer must be 1 to 8";
	if (peer->link[0].transport != FTT_UDP)
		return "the first link to a peer must be UDP";
	for (uint32_t k = 0; k < peer->n_links; k++)
		if (peer->link[k].transport >= sizeof(kinds) / sizeof(kinds[0]))
			return "a link has a transport that this engine does not know";
	return NULL;
}

static bool check_node(const struct ftt_liveness_config *cfg, char *err, size_t err_len)
{
	const char *what = NULL;

	if (cfg->n_peers < 1 || cfg->n_peers > FTT_MAX_PEERS)
		what = "the number of peers must be 1 to 7";
	else if (!cfg->boot_id)
		what = "boot_id must not be 0";
	else if (!ftt_keys_good(&cfg->keys))
		what = "one to four keys are needed, and one of them to send with";
	for (uint32_t i = 0; !what && i < cfg->n_peers; i++) {
		what = wrong_links(&cfg->peer[i]);
		for (uint32_t k = 0; k < i; k++)
			if (cfg->peer[i].node_id == cfg->peer[k].node_id)
				what = "two peers have the same name";
		if (cfg->peer[i].node_id == cfg->node_id)
			what = "a peer has this node's own name";
	}
	if (what)
		snprintf(err, err_len, "heartbeats: %s: correct the configuration", what);
	return !what;
}

static bool open_parts(struct ftt_liveness *l, char *err, size_t err_len)
{
	l->timer_fd = timerfd_create(CLOCK_BOOTTIME, TFD_CLOEXEC | TFD_NONBLOCK);
	l->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	l->turn_made = ftt_lending_mutex(&l->turn);
	l->ring_made = ftt_lending_mutex(&l->keyring.lock);
	if (l->turn_made && l->ring_made && l->timer_fd >= 0 && l->wake_fd >= 0)
		return true;
	snprintf(err, err_len, "heartbeats: no timer, eventfd or mutex: %s; raise the limit on open files", strerror(errno));
	return false;
}

struct ftt_liveness *ftt_liveness_open(const struct ftt_liveness_config *cfg, char *err, size_t err_len)
{
	struct ftt_liveness *l;
	int error;

	if (!check_node(cfg, err, err_len))
		return NULL;
	l = calloc(1, sizeof(*l));
	if (!l || sodium_init() < 0) {
		snprintf(err, err_len, "heartbeats: %s", l ? "libsodium does not start: reinstall it" : "out of memory");
		free(l);
		return NULL;
	}
	l->cfg = *cfg;
	if (!open_parts(l, err, err_len) || !(l->neighbours = ftt_neighbours_open(err, err_len)))
		goto fail;
	ftt_keyring_set(&l->keyring, &cfg->keys);
	sodium_memzero(&l->cfg.keys, sizeof(l->cfg.keys));
	ftt_beat_follow_keys(l);
	for (uint32_t i = 0; i < cfg->n_peers; i++)
		if (!open_links(l, i, err, err_len))
			goto fail;
	error = ftt_thread_start(&l->thread, "ftt-beat", ftt_beat_main, l);
	l->thread_made = !error;
	if (!error)
		return l;
	snprintf(err, err_len, "heartbeats: cannot start a thread: %s; raise the limit on threads", strerror(error));
fail:
	ftt_liveness_close(l);
	return NULL;
}

void ftt_liveness_close(struct ftt_liveness *l)
{
	if (!l)
		return;
	if (l->thread_made) {
		atomic_store(&l->stop, true);
		ftt_liveness_wake(l);
		pthread_join(l->thread, NULL);
	}
	ftt_neighbours_close(l->neighbours);
	for (uint32_t i = 0; i < l->n_endpoints; i++)
		if (l->endpoint[i].fd >= 0)
			close(l->endpoint[i].fd);
	if (l->timer_fd >= 0)
		close(l->timer_fd);
	if (l->wake_fd >= 0)
		close(l->wake_fd);
	if (l->turn_made)
		pthread_mutex_destroy(&l->turn);
	if (l->ring_made)
		pthread_mutex_destroy(&l->keyring.lock);
	sodium_memzero(l, sizeof(*l));
	free(l);
}

struct ftt_neighbours *ftt_liveness_neighbours(struct ftt_liveness *l)
{
	return l->neighbours;
}

int ftt_liveness_set_keys(struct ftt_liveness *l, const struct ftt_keys *keys)
{
	if (!ftt_keys_good(keys))
		return EINVAL;
	ftt_keyring_set(&l->keyring, keys);
	return 0;
}

bool ftt_liveness_delay(struct ftt_liveness *l, uint32_t peer, int64_t *least_ns)
{
	bool heard;

	if (peer >= l->n_peers)
		return false;
	pthread_mutex_lock(&l->turn);
	heard = ftt_delay_least(&l->peer[peer].delay, ftt_now_ns(), least_ns);
	pthread_mutex_unlock(&l->turn);
	return heard;
}

/* ---- peers ------------------------------------------------------------------------------------ */

static const char *wrong_peer(const struct ftt_liveness *l, const struct ftt_peer_config *peer)
{
	const char *what = l->n_peers == FTT_MAX_PEERS ? "there were seven peers since the start: restart the daemon" : wrong_links(peer);

	for (uint32_t i = 0; !what && i < l->n_peers; i++)
		if (peer->node_id == l->cfg.node_id || (peer->node_id == l->cfg.peer[i].node_id && !l->peer[i].gone))
			what = "the new peer has the name of another node";
	return what;
}

/* In the thread's turn. What was opened for a peer that cannot be is closed: others would take it for theirs. */
static int open_peer(struct ftt_liveness *l, const struct ftt_peer_config *peer, char *err, size_t err_len)
{
	uint32_t i = l->n_peers, endpoints = l->n_endpoints;

	l->cfg.peer[i] = *peer;
	l->peer[i] = (struct ftt_beat_node){0};
	if (open_links(l, i, err, err_len)) {
		for (uint32_t k = 0; k < l->n_groups; k++) {
			l->group[k]->view[i].body_len = -1;
			l->group[k]->n_peers = l->n_peers;
		}
		l->cfg.n_peers = l->n_peers;
		return 0;
	}
	while (l->n_endpoints > endpoints) {
		struct ftt_endpoint *e = &l->endpoint[--l->n_endpoints];

		if (e->fd >= 0)
			close(e->fd);
		memset(e, 0, sizeof(*e));
	}
	return -1;
}

int ftt_liveness_add_peer(struct ftt_liveness *l, const struct ftt_peer_config *peer, char *err, size_t err_len)
{
	const char *what;
	int failed = -1;

	pthread_mutex_lock(&l->turn);
	what = wrong_peer(l, peer);
	if (what)
		snprintf(err, err_len, "heartbeats: %s", what);
	else
		failed = open_peer(l, peer, err, err_len);
	if (!failed)
		l->peer[l->n_peers - 1].gone = true;
	pthread_mutex_unlock(&l->turn);
	ftt_liveness_wake(l);
	return failed;
}

void ftt_liveness_part_with(struct ftt_liveness *l, uint32_t peer, bool gone)
{
	pthread_mutex_lock(&l->turn);
	if (peer < l->n_peers)
		l->peer[peer].gone = gone;
	pthread_mutex_unlock(&l->turn);
	ftt_liveness_wake(l);
}

/* ---- groups ----------------------------------------------------------------------------------- */

/*
 * Asks for what makes the thread punctual: priority before all that is no real-time work, and
 * pages that stay once they are there (what was never touched costs nothing). Both are wishes: it
 * works without, less evenly. The thread allocates nothing.
 */
static void ask_for_punctuality(struct ftt_liveness *l)
{
	struct sched_param param = {.sched_priority = (int)l->priority};

	if (l->priority && !pthread_setschedparam(l->thread, SCHED_FIFO, &param))
		atomic_fetch_or(&l->allowed, FTT_BEAT_REALTIME);
	if (!mlockall(MCL_CURRENT | MCL_ONFAULT))
		atomic_fetch_or(&l->allowed, FTT_BEAT_LOCKED);
}

/* In the thread's turn: the list has changed. */
static void settle(struct ftt_liveness *l)
{
	uint64_t interval = 0;
	uint32_t priority = 0;

	for (uint32_t k = 0; k < l->n_groups; k++) {
		const struct ftt_config *cfg = &l->group[k]->engine->cfg;

		if (!interval || cfg->beat_interval_ns < interval)
			interval = cfg->beat_interval_ns;
		if (cfg->rt_priority > priority)
			priority = cfg->rt_priority;
	}
	if (interval && (!l->interval_ns || interval < l->interval_ns))
		l->next_tick_ns = ftt_now_ns();
	l->interval_ns = interval;
	l->priority = priority;
}

static const char *wrong_group(const struct ftt_liveness_config *node, const struct ftt_config *cfg)
{
	if (!cfg->beat_interval_ns || cfg->lease_ns < cfg->beat_interval_ns)
		return "the heartbeat interval must be above 0 and at most the lease time";
	if (cfg->lease_ns > 3600 * FTT_BEAT_NS || cfg->drift_ppm > 1000000)
		return "the lease time must be at most one hour and drift_ppm at most 1000000";
	if (!cfg->boot_id)
		return "boot_id must not be 0";
	if (cfg->n_peers != node->n_peers)
		return "the group has other peers than the node";
	for (uint32_t i = 0; i < cfg->n_peers; i++)
		if (cfg->peer[i].node_id != node->peer[i].node_id)
			return "the group has other peers than the node";
	return NULL;
}

/* Takes the group into the list, which is ordered by id. Returns what is in the way, or NULL. */
static const char *enter(struct ftt_liveness *l, struct ftt_beat *b)
{
	uint64_t id = b->engine->cfg.cluster_id;
	const char *what = NULL;
	uint32_t k;

	pthread_mutex_lock(&l->turn);
	for (k = l->n_groups; k && l->group[k - 1]->engine->cfg.cluster_id >= id; k--)
		if (l->group[k - 1]->engine->cfg.cluster_id == id)
			what = "the group is there already";
	if (l->ended)
		what = "their thread has ended";
	else if (l->n_groups == FTT_MAX_GROUPS)
		what = "there are too many groups";
	if (!what) {
		for (uint32_t i = 0; i < b->n_peers; i++) /* what was sent before is not news, though no link has brought it yet */
			b->view[i].counter = l->peer[i].known.counter;
		memmove(&l->group[k + 1], &l->group[k], (l->n_groups - k) * sizeof(l->group[0]));
		l->group[k] = b;
		l->n_groups++;
		settle(l);
	}
	pthread_mutex_unlock(&l->turn);
	if (!what)
		ask_for_punctuality(l); /* mlockall() may wait for a fork: not in the thread's turn */
	return what;
}

static void leave(struct ftt_liveness *l, const struct ftt_beat *b)
{
	pthread_mutex_lock(&l->turn);
	for (uint32_t k = 0; k < l->n_groups; k++)
		if (l->group[k] == b) {
			memmove(&l->group[k], &l->group[k + 1], (l->n_groups - k - 1) * sizeof(l->group[0]));
			l->n_groups--;
			break;
		}
	settle(l);
	pthread_mutex_unlock(&l->turn);
}

struct ftt_beat *ftt_beat_attach(struct ftt_liveness *l, struct ftt_engine *e, char *err, size_t err_len)
{
	const struct ftt_config *cfg = &e->cfg;
	const char *what = wrong_group(&l->cfg, cfg);
	struct ftt_beat *b = what ? NULL : calloc(1, sizeof(*b));
	uint64_t now = ftt_now_ns();

	if (b && ftt_lending_mutex(&b->lock)) {
		b->lock_made = true;
		b->node = l;
		b->engine = e;
		b->n_peers = cfg->n_peers;
		b->timeout_ns = cfg->lease_ns + cfg->lease_ns / 1000000 * cfg->drift_ppm +
				(cfg->lease_ns % 1000000 * cfg->drift_ppm + 999999) / 1000000;
		for (uint32_t i = 0; i < b->n_peers; i++)
			b->view[i].body_len = -1;
		ftt_lease_init(&b->lease, cfg->lease_ns, atomic_load(&e->shared.partner), now);
		ftt_lease_set_policy(&b->lease, atomic_load(&e->shared.lease_policy), now, now);
		ftt_beat_publish_lease(b);
		atomic_store(&b->send_now, true);
		what = enter(l, b);
		if (!what) {
			ftt_liveness_wake(l);
			return b;
		}
	}
	snprintf(err, err_len, "heartbeats: %s", what ? what : "out of memory");
	if (b && b->lock_made)
		pthread_mutex_destroy(&b->lock);
	free(b);
	return NULL;
}

void ftt_beat_detach(struct ftt_beat *b)
{
	if (!b)
		return;
	leave(b->node, b);
	atomic_store_explicit(&b->engine->shared.lease_until_ns, 0, memory_order_release);
	pthread_mutex_destroy(&b->lock);
	sodium_memzero(b, sizeof(*b));
	free(b);
}
