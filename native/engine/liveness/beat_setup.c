/* SPDX-License-Identifier: Apache-2.0 */
/*
 * beat_setup.c - birth and end of the heartbeat thread. beat.c tells how it works.
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
static struct ftt_endpoint *endpoint_of(struct ftt_beat *b, const struct ftt_link_kind *kind, const struct ftt_link *l,
					char *why, size_t why_len)
{
	struct ftt_endpoint *e;

	for (e = b->endpoint; e < b->endpoint + b->n_endpoints; e++)
		if (e->kind == kind && kind->same(e->link, l))
			return e;
	e->kind = kind;
	e->link = l;
	e->fd = -1;
	b->n_endpoints++; /* also when it fails: what was opened is closed at the end */
	if (!kind->open(e, &b->engine->cfg, why, why_len))
		return NULL;
	if (kind->attach)
		kind->attach(e);
	return e;
}

static bool open_links(struct ftt_beat *b, uint32_t i, char *err, size_t err_len)
{
	const struct ftt_peer_config *c = &b->engine->cfg.peer[i];
	struct ftt_peer *p = &b->peer[i];
	char why[300];

	for (uint32_t k = 0; k < c->n_links; k++) {
		const struct ftt_link_kind *kind = kinds[c->link[k].transport];
		struct ftt_beat_link *l = &p->link[k];

		if (kind->resolve(&c->link[k], b->engine->cfg.channel_port, &l->to, why, sizeof(why)))
			l->endpoint = endpoint_of(b, kind, &c->link[k], why, sizeof(why));
		if (!l->endpoint) {
			snprintf(err, err_len, "peer[%u].link[%u]: %s", i, k, why);
			return false;
		}
	}
	p->n_links = c->n_links;
	p->body_len = -1;
	b->n_peers = i + 1;
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

static bool check_config(const struct ftt_config *cfg, char *err, size_t err_len)
{
	const char *what = NULL;

	if (cfg->n_peers < 1 || cfg->n_peers > FTT_MAX_PEERS)
		what = "the number of peers must be 1 to 7";
	else if (!cfg->beat_interval_ns || cfg->lease_ns < cfg->beat_interval_ns)
		what = "the heartbeat interval must be above 0 and at most the lease time";
	else if (cfg->lease_ns > 3600 * FTT_BEAT_NS || cfg->drift_ppm > 1000000)
		what = "the lease time must be at most one hour and drift_ppm at most 1000000";
	else if (!cfg->boot_id)
		what = "boot_id must not be 0";
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

struct ftt_beat *ftt_beat_start(struct ftt_engine *e, char *err, size_t err_len)
{
	const struct ftt_config *cfg = &e->cfg;
	struct ftt_beat *b;
	int error = 0;

	if (!check_config(cfg, err, err_len))
		return NULL;
	b = calloc(1, sizeof(*b));
	if (!b || sodium_init() < 0) {
		snprintf(err, err_len, "heartbeats: %s", b ? "libsodium does not start: reinstall it" : "out of memory");
		free(b);
		return NULL;
	}
	b->engine = e;
	ftt_beat_follow_keys(b);
	b->timeout_ns = cfg->lease_ns + cfg->lease_ns / 1000000 * cfg->drift_ppm +
			(cfg->lease_ns % 1000000 * cfg->drift_ppm + 999999) / 1000000;
	b->lease.worth_ns = cfg->lease_ns;
	b->next_tick_ns = ftt_now_ns();
	b->timer_fd = timerfd_create(CLOCK_BOOTTIME, TFD_CLOEXEC | TFD_NONBLOCK);
	b->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	b->lock_made = ftt_lending_mutex(&b->lock);
	if (!b->lock_made || b->timer_fd < 0 || b->wake_fd < 0) {
		snprintf(err, err_len, "heartbeats: no timer, eventfd or mutex: %s; raise the limit on open files", strerror(errno));
		goto fail;
	}
	for (uint32_t i = 0; i < cfg->n_peers; i++)
		if (!open_links(b, i, err, err_len))
			goto fail;
	b->lease.partner = atomic_load(&e->shared.partner);
	ftt_lease_set_policy(&b->lease, atomic_load(&e->shared.lease_policy), b->next_tick_ns, b->next_tick_ns);
	ftt_beat_publish_lease(b);
	error = ftt_thread_start(&b->thread, "ftt-beat", ftt_beat_main, b);
	b->thread_made = !error;
	if (!error)
		return b;
	snprintf(err, err_len, "heartbeats: cannot start a thread: %s; raise the limit on threads", strerror(error));
fail:
	ftt_beat_stop(b);
	return NULL;
}

void ftt_beat_stop(struct ftt_beat *b)
{
	if (!b)
		return;
	if (b->thread_made) {
		atomic_store(&b->stop, true);
		ftt_beat_wake(b);
		pthread_join(b->thread, NULL);
	}
	atomic_store_explicit(&b->engine->shared.lease_until_ns, 0, memory_order_release);
	for (uint32_t i = 0; i < b->n_endpoints; i++)
		if (b->endpoint[i].fd >= 0)
			close(b->endpoint[i].fd);
	if (b->timer_fd >= 0)
		close(b->timer_fd);
	if (b->wake_fd >= 0)
		close(b->wake_fd);
	if (b->lock_made)
		pthread_mutex_destroy(&b->lock);
	sodium_memzero(b, sizeof(*b));
	free(b);
}
