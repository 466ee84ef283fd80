/* SPDX-License-Identifier: Apache-2.0 */
/* engine.c - the API of abi.h: life of an engine, and its role. */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "engine/flows/calls.h"
#include "engine/flows/kept.h"
#include "engine/flows/lockstep.h"
#include "engine/history/file.h"
#include "engine/planes/nfqueue/stamp.h"
#include "engine/worker.h"

#define PLACE_SET_MODE 3 /* reason of FTT_EV_ERROR */

/* --- life ------------------------------------------------------------------------------------ */

static int check_config(const struct ftt_config *c, char *err, size_t err_len)
{
	const struct ftt_policy *p = &c->policy;
	const char *wrong = NULL;

	if (!c->workers || c->workers > (c->hooks ? 1 : FTT_MAX_WORKERS))
		wrong = "workers is out of range";
	else if (c->n_peers < 1 || c->n_peers > FTT_MAX_PEERS || c->peer[0].n_links < 1)
		wrong = "there must be one to seven peers, each with a link";
	else if (c->n_ports > FTT_MAX_PORTS || c->n_service_addrs < 1 || c->n_service_addrs > FTT_MAX_ADDRS)
		wrong = "a group needs 1 to 16 addresses, and has up to 32 ports";
	else if (!c->mark || !c->lease_ns || !c->beat_interval_ns || c->lease_ns < c->beat_interval_ns)
		wrong = "mark, beat interval and lease must be set, the lease not shorter than a beat";
	else if (!p->max_flows || !p->max_half_open || !p->max_held || !p->max_held_total || !c->queue_maxlen)
		wrong = "every bound must be above zero";
	else if (!ftt_keys_good(&c->keys))
		wrong = "one to four keys are needed, and one of them to send with";
	if (!wrong)
		return 0;
	snprintf(err, err_len, "engine configuration: %s", wrong);
	return -1;
}

/* Without them (a kernel before 5.18, no nftables) long packets go through the engine whole, which works as well. */
static void open_stamps(struct ftt_engine *e)
{
	struct ftt_event ev = {.kind = FTT_EV_WHOLE_PACKETS};

	if (e->worker[0]->udp.on || e->worker[0]->stored || !e->cfg.n_ports)
		return; /* they do anyway, or none comes */
	e->stamp_fd = ftt_stamp_open(&e->cfg, FTT_PLANE_HEADERS);
	for (int k = 0; k < e->cfg.workers; k++)
		e->worker[k]->plane->can |= e->stamp_fd >= 0 ? FTT_PLANE_STAMPS : 0;
	if (e->stamp_fd >= 0)
		return;
	ev.value = e->whole_packets = (uint32_t)-e->stamp_fd;
	ftt_event_post(e, &ev);
}

struct ftt_engine *ftt_engine_open(const struct ftt_config *cfg, char *err, size_t err_len)
{
	struct ftt_engine *e;

	if (check_config(cfg, err, err_len))
		return NULL;
	if (sodium_init() < 0 || !(e = calloc(1, sizeof(*e)))) {
		snprintf(err, err_len, "engine: no memory, or no random numbers");
		return NULL;
	}
	e->cfg = *cfg;
	e->stamp_fd = -1;
	e->opened_ns = ftt_now_ns();
	if (!ftt_lending_mutex(&e->keyring.lock)) {
		snprintf(err, err_len, "engine: no mutex");
		free(e);
		return NULL;
	}
	pthread_mutex_init(&e->probes_lock, NULL);
	ftt_keyring_set(&e->keyring, &cfg->keys);
	sodium_memzero(&e->cfg.keys, sizeof(e->cfg.keys));
	atomic_store(&e->shared.vouched, 1);
	e->events = ftt_events_open();
	if (!e->events) {
		snprintf(err, err_len, "engine: event ring: %s", strerror(errno));
		ftt_engine_close(e);
		return NULL;
	}
	if (ftt_lockstep_open(e, err, err_len)) {
		ftt_engine_close(e);
		return NULL;
	}
	for (uint8_t k = 0; k < cfg->workers; k++) {
		e->worker[k] = ftt_worker_open(e, k, err, err_len);
		if (!e->worker[k]) {
			ftt_engine_close(e);
			return NULL;
		}
	}
	if (!cfg->hooks)
		open_stamps(e);
	return e;
}

int ftt_engine_start(struct ftt_engine *e, struct ftt_liveness *l, char *err, size_t err_len)
{
	for (int k = 0; k < e->cfg.workers; k++)
		if (ftt_worker_start(e->worker[k], err, err_len))
			return -1;
	e->neigh = ftt_neigh_attach(ftt_liveness_neighbours(l), e, err, err_len);
	if (!e->neigh)
		return -1;
	e->beat = ftt_beat_attach(l, e, err, err_len);
	return e->beat ? 0 : -1;
}

void ftt_engine_close(struct ftt_engine *e)
{
	if (!e)
		return;
	atomic_store(&e->shared.lease_policy, FTT_LEASE_NONE);
	atomic_store(&e->shared.mode, FTT_MODE_IDLE);
	if (e->history_file) /* which is the caller's */
		ftt_history_file_tell(e->history_file, NULL, NULL);
	ftt_beat_detach(e->beat);
	ftt_neigh_detach(e->neigh);
	for (int k = 0; k < FTT_MAX_WORKERS; k++)
		ftt_worker_close(e->worker[k]);
	ftt_lockstep_close(e);
	ftt_server_watch(e, NULL, 0);
	if (e->stamp_fd >= 0)
		close(e->stamp_fd);
	ftt_events_close(e->events);
	pthread_mutex_destroy(&e->probes_lock);
	pthread_mutex_destroy(&e->keyring.lock);
	sodium_memzero(&e->keyring, sizeof(e->keyring));
	free(e);
}

/* --- role ------------------------------------------------------------------------------------ */

static void wake_all(struct ftt_engine *e)
{
	for (int k = 0; k < e->cfg.workers; k++)
		ftt_worker_wake(e->worker[k]);
}

static bool choose_partner(struct ftt_engine *e, uint32_t peer)
{
	struct ftt_event ev = {.kind = FTT_EV_ERROR, .value = EINVAL, .reason = PLACE_SET_MODE};

	if (peer >= e->cfg.n_peers) {
		ftt_event_post(e, &ev);
		return false;
	}
	atomic_store(&e->shared.partner, peer);
	if (e->beat)
		ftt_beat_partner_changed(e->beat);
	return true;
}

/* A takeover is announced before the workers hear of it: a flow that is kicked makes its client answer at once, and the answer must find us. */
static void tell_role(struct ftt_engine *e)
{
	if (atomic_load(&e->role_takeover) && e->neigh)
		ftt_neigh_announce_now(e->neigh);
	atomic_fetch_add(&e->shared.generation, 1);
	wake_all(e);
}

static void settle(struct ftt_engine *e)
{
	uint32_t owed = e->owed;

	e->owed = 0;
	if (owed & FTT_OWED_ROLE)
		tell_role(e);
	else if (owed & FTT_OWED_WORKERS)
		wake_all(e);
	if (owed & FTT_OWED_BEAT)
		ftt_beat_look(e->beat);
	if (owed & FTT_OWED_NEIGH)
		ftt_neigh_look(e->neigh);
}

void ftt_engine_hold(struct ftt_engine *e)
{
	e->held = true;
}

void ftt_engine_release(struct ftt_engine *e)
{
	e->held = false;
	settle(e);
}

/* The gate opens with the store of the mode. */
void ftt_engine_set_mode(struct ftt_engine *e, uint32_t mode, uint64_t session, uint32_t peer)
{
	uint32_t old = atomic_load(&e->shared.mode);
	bool takeover = old == FTT_MODE_BACKUP && ftt_flow_emits((uint8_t)mode);
	struct ftt_event ev = {.kind = FTT_EV_GATE_OPEN};

	if (mode != FTT_MODE_IDLE && !choose_partner(e, peer))
		return;
	if (e->owed & FTT_OWED_ROLE) /* each role is told of */
		settle(e);
	atomic_store(&e->role_flows, 0);
	atomic_store(&e->role_pending, e->cfg.workers);
	atomic_store(&e->role_takeover, takeover);
	atomic_store(&e->shared.session, session);
	atomic_store(&e->shared.mode, mode);
	if (!ftt_flow_emits((uint8_t)old) && ftt_may_emit(&e->shared, ftt_now_ns()))
		ftt_event_post(e, &ev);
	if (!ftt_owe(e, FTT_OWED_ROLE))
		tell_role(e);
}

void ftt_engine_speak(struct ftt_engine *e, uint32_t peer, uint32_t version)
{
	if (peer < e->cfg.n_peers && atomic_exchange(&e->shared.channel_version[peer], version) != version)
		wake_all(e);
}

void ftt_engine_set_lease(struct ftt_engine *e, uint32_t policy, uint64_t limit_ns, uint64_t decided_ns)
{
	atomic_store(&e->shared.lease_limit_ns, limit_ns);
	atomic_store(&e->shared.lease_policy, policy);
	if (e->beat) /* before the start there is no thread that could renew a lease */
		ftt_beat_lease_changed(e->beat, decided_ns);
	if (!ftt_owe(e, FTT_OWED_WORKERS))
		wake_all(e); /* what was held for want of a lease may go */
}

static void kept_more(void *of)
{
	struct ftt_engine *e = of;

	if (atomic_exchange(&e->file_awaited, false))
		wake_all(e);
}

struct ftt_history_file *ftt_engine_record(struct ftt_engine *e, struct ftt_history_file *h)
{
	struct ftt_history_file *before = e->history_file;

	if (before)
		ftt_history_file_tell(before, NULL, NULL);
	ftt_engine_pause(e);
	for (int k = 0; k < e->cfg.workers; k++)
		ftt_kept_anew(e->worker[k]);
	e->history_file = h;
	e->file_number = (uint8_t)(e->file_number + !!h) % FTT_FILE_NONE;
	e->file_number += !e->file_number;
	e->file_began_ns = ftt_now_ns();
	ftt_engine_resume(e);
	if (h)
		ftt_history_file_tell(h, kept_more, e);
	return before;
}

int64_t ftt_engine_lease_left_ns(struct ftt_engine *e)
{
	return (int64_t)(atomic_load(&e->shared.lease_until_ns) - ftt_now_ns());
}

void ftt_engine_vouch(struct ftt_engine *e, int alive)
{
	atomic_store(&e->shared.vouched, !!alive);
}

void ftt_engine_doubt(struct ftt_engine *e, uint64_t for_ns)
{
	atomic_store(&e->shared.doubted_ns, for_ns ? ftt_now_ns() + for_ns : 0);
}

void ftt_engine_promote(struct ftt_engine *e)
{
	atomic_fetch_add(&e->shared.promoted, 1);
	wake_all(e);
}

void ftt_engine_pause(struct ftt_engine *e)
{
	for (int k = 0; k < e->cfg.workers; k++)
		ftt_fair_lock(&e->worker[k]->lock); /* in order; a worker takes its own only */
}

void ftt_engine_resume(struct ftt_engine *e)
{
	for (int k = e->cfg.workers; k-- > 0;)
		ftt_fair_unlock(&e->worker[k]->lock);
	wake_all(e);
}

int ftt_engine_calls(struct ftt_engine *e, const char *path, uint8_t part, char *err, size_t err_len)
{
	struct ftt_calls_memory memory = {0};
	int rc;

	if (part != FTT_CALLS_PART_NONE && ftt_calls_map(&memory, path, err, err_len))
		return -1;
	ftt_engine_pause(e);
	rc = ftt_calls_anew(e->worker[0], &memory, part);
	ftt_engine_resume(e);
	if (!rc)
		return 0;
	ftt_calls_unmap(&memory);
	snprintf(err, err_len, "log of calls: %s: out of memory", path);
	return -1;
}

void ftt_engine_calls_listens(struct ftt_engine *e)
{
	ftt_engine_pause(e);
	if (e->worker[0]->calls)
		e->worker[0]->calls->listens = true;
	ftt_engine_resume(e);
}

void ftt_engine_checkpoint(struct ftt_engine *e, int told)
{
	atomic_store(&e->shared.checkpoint_told, !!told);
	atomic_fetch_add(&e->shared.checkpoints, 1);
	wake_all(e);
}

int ftt_engine_watch_server(struct ftt_engine *e, const int32_t *pids, uint32_t n)
{
	int rc;

	ftt_engine_pause(e);
	rc = ftt_server_watch(e, pids, n);
	ftt_engine_resume(e);
	return rc;
}

int ftt_engine_add_peer(struct ftt_engine *e, const struct ftt_peer_config *peer, char *err, size_t err_len)
{
	uint32_t i = e->cfg.n_peers;
	bool found = i < FTT_MAX_PEERS;

	if (!found) {
		snprintf(err, err_len, "there were seven peers since the start: restart the daemon");
		return -1;
	}
	ftt_engine_pause(e);
	e->cfg.peer[i] = *peer;
	for (int k = 0; found && k < e->cfg.workers; k++)
		found = ftt_channel_find_peer(&e->worker[k]->channel, i, err, err_len);
	if (found)
		e->cfg.n_peers = i + 1;
	ftt_engine_resume(e);
	return found ? 0 : -1;
}

void ftt_engine_tune(struct ftt_engine *e, const struct ftt_config *cfg)
{
	const struct ftt_policy fixed = e->cfg.policy; /* tables have that size, and flows began so */

	ftt_engine_pause(e);
	e->cfg.policy = cfg->policy;
	e->cfg.policy.max_flows = fixed.max_flows;
	e->cfg.policy.compare = fixed.compare;
	e->cfg.policy.renew = fixed.renew;
	e->cfg.policy.cold = fixed.cold;
	e->cfg.policy.warm = fixed.warm;
	if (!fixed.history_bytes || !e->cfg.policy.history_bytes)
		e->cfg.policy.history_bytes = fixed.history_bytes;
	e->cfg.policy.eager = fixed.eager;
	e->cfg.policy.shift = fixed.shift;
	memcpy(e->cfg.md5, cfg->md5, sizeof(e->cfg.md5));
	e->cfg.n_md5 = cfg->n_md5;
	e->cfg.announce_refresh_ns = cfg->announce_refresh_ns;
	if (e->neigh)
		ftt_neigh_refresh(e->neigh, cfg->announce_refresh_ns);
	ftt_engine_resume(e);
}

int ftt_engine_set_keys(struct ftt_engine *e, const struct ftt_keys *keys)
{
	if (!ftt_keys_good(keys))
		return EINVAL;
	ftt_keyring_set(&e->keyring, keys);
	wake_all(e);
	return 0;
}

void ftt_beat_publish(struct ftt_engine *e, const uint8_t *body, uint32_t len, uint32_t grant_to)
{
	if (e->beat)
		ftt_beat_set_body(e->beat, body, len, grant_to);
}

int ftt_beat_peer_body(struct ftt_engine *e, uint32_t peer, uint8_t *out, uint32_t max, uint64_t *boot_id)
{
	return e->beat ? ftt_beat_get_peer_body(e->beat, peer, out, max, boot_id) : -1;
}

uint64_t ftt_beat_heard_ns(struct ftt_engine *e, uint32_t peer)
{
	return e->beat && peer < e->cfg.n_peers ? ftt_beat_get_heard_ns(e->beat, peer) : 0;
}

uint64_t ftt_beat_node_heard_ns(struct ftt_engine *e, uint32_t peer)
{
	return e->beat && peer < e->cfg.n_peers ? ftt_beat_get_node_heard_ns(e->beat, peer) : 0;
}

int ftt_beat_intervals(struct ftt_engine *e, uint32_t peer, uint64_t *out, int max)
{
	return e->beat && peer < e->cfg.n_peers ? ftt_beat_get_intervals(e->beat, peer, out, max) : 0;
}

void ftt_beat_set_patience(struct ftt_engine *e, uint32_t peer, uint64_t lost_ns, uint64_t suspect_ns)
{
	if (e->beat && peer < e->cfg.n_peers)
		ftt_beat_change_patience(e->beat, peer, lost_ns, suspect_ns);
}

int ftt_engine_use_interface(struct ftt_engine *e, const char *interface)
{
	char name[sizeof(e->cfg.service_interface)] = "";

	if (!*interface || strlen(interface) >= sizeof(name))
		return EINVAL;
	strcpy(name, interface);
	if (e->neigh)
		ftt_neigh_use_interface(e->neigh, name);
	else
		memcpy(e->cfg.service_interface, name, sizeof(name));
	return 0;
}

void ftt_engine_set_neighbours(struct ftt_engine *e, const struct ftt_neighbour *known, uint32_t n)
{
	if (e->neigh)
		ftt_neigh_set_known(e->neigh, known, n);
}

void ftt_engine_announce(struct ftt_engine *e, uint32_t rounds, uint64_t interval_ns)
{
	if (!e->neigh)
		return;
	ftt_neigh_ask(e->neigh, rounds, interval_ns);
	if (!ftt_owe(e, FTT_OWED_NEIGH))
		ftt_neigh_look(e->neigh);
}
