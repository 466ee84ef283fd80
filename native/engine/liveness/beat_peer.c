/* SPDX-License-Identifier: Apache-2.0 */
/* beat_peer.c - what the heartbeat thread says to peers and hears from them. beat.c tells how it works. */
#define _GNU_SOURCE
#include <errno.h>
#include <string.h>
#include "engine/liveness/beat.h"

void ftt_beat_follow_keys(struct ftt_beat *b)
{
	if (!ftt_keyring_follow(&b->engine->keyring, &b->keys_generation, &b->keys))
		return;
	for (uint32_t i = 0; i < b->keys.n; i++)
		b->key_id[i] = ftt_beat_key_id(b->keys.key[i]);
}

/* ---- sending ---------------------------------------------------------------------------------- */

static void send_to(struct ftt_beat *b, struct ftt_peer *p, struct ftt_beat_msg *m)
{
	uint8_t out[FTT_BEAT_MAX];

	m->counter = ++p->counter;
	m->echo_boot_id = p->known.boot_id;
	m->echo_t_ns = p->echo_t_ns;
	m->t_send_ns = ftt_now_ns();
	for (uint32_t i = 0; i < p->n_links; i++) {
		struct ftt_beat_link *l = &p->link[i];
		size_t len;

		m->link = (uint8_t)i;
		len = ftt_beat_encode(out, sizeof(out), m, b->keys.key[b->keys.send]);
		if (l->endpoint->kind->send(l->endpoint, &l->to, out, len))
			ftt_beat_count(&b->engine->counters_beat.beats_sent, 1);
	}
}

void ftt_beat_send(struct ftt_beat *b)
{
	const struct ftt_config *cfg = &b->engine->cfg;
	uint8_t body[FTT_BEAT_BODY_MAX];
	struct ftt_beat_msg m = {.cluster_id = cfg->cluster_id,
				 .node_id = cfg->node_id,
				 .boot_id = cfg->boot_id,
				 .key_id = b->key_id[b->keys.send],
				 .intrusions = b->intrusions,
				 .body = body};
	uint8_t sealed = cfg->encrypt ? FTT_BEAT_SEALED : 0;
	uint32_t grant;

	pthread_mutex_lock(&b->lock);
	memcpy(body, b->body, b->body_len);
	m.body_len = (uint16_t)b->body_len;
	grant = b->grant & ~b->withdrawn;
	pthread_mutex_unlock(&b->lock);
	for (uint32_t i = 0; i < b->n_peers; i++) {
		m.to_node_id = cfg->peer[i].node_id;
		m.flags = (grant >> i & 1 ? FTT_BEAT_GRANT : 0) | sealed;
		send_to(b, &b->peer[i], &m);
	}
}

/* ---- receiving -------------------------------------------------------------------------------- */

static void post_intrusion(struct ftt_beat *b, uint32_t kind, uint32_t peer, uint32_t link, uint64_t now)
{
	if (b->intrusion_ns[kind] && now - b->intrusion_ns[kind] < FTT_BEAT_NS)
		return;
	b->intrusion_ns[kind] = now;
	ftt_beat_post(b, FTT_EV_INTRUSION, kind, peer, link);
}

/* Somebody else's beat: which peer it pretends to be from is not known, the endpoint's first link stands for it. */
static void meet_intrusion(struct ftt_beat *b, const struct ftt_endpoint *e, uint32_t kind, uint64_t now)
{
	if (kind != FTT_INTRUSION_VERSION)
		b->intrusions++;
	for (uint32_t i = 0; i < b->n_peers; i++)
		for (uint32_t k = 0; k < b->peer[i].n_links; k++)
			if (b->peer[i].link[k].endpoint == e) {
				post_intrusion(b, kind, i, k, now);
				return;
			}
}

static void learn_boot(struct ftt_beat *b, uint32_t i, const struct ftt_beat_msg *m)
{
	const struct ftt_config *cfg = &b->engine->cfg;
	uint64_t session = ftt_beat_commit_session(cfg->node_id, cfg->boot_id, m->node_id, m->boot_id);

	atomic_store(&b->peer[i].intrusions, m->intrusions);
	atomic_store_explicit(&b->engine->shared.commit_session[i], session, memory_order_release);
	atomic_store_explicit(&b->engine->shared.peer_boot_id[i], m->boot_id, memory_order_release);
}

/* Keeps the body of the newest beat; true when it is not the one kept already. */
static bool keep_body(struct ftt_beat *b, struct ftt_peer *p, const struct ftt_beat_msg *m)
{
	bool changed;

	pthread_mutex_lock(&b->lock);
	changed = p->body_len != m->body_len || p->body_boot != m->boot_id || memcmp(p->body, m->body, m->body_len) != 0;
	if (changed) {
		memcpy(p->body, m->body, m->body_len);
		p->body_len = m->body_len;
		p->body_boot = m->boot_id;
	}
	pthread_mutex_unlock(&b->lock);
	return changed;
}

static void keep_interval(struct ftt_beat *b, struct ftt_peer *p, uint64_t interval)
{
	pthread_mutex_lock(&b->lock);
	p->interval_ns[p->n_intervals++ % FTT_BEAT_INTERVALS] = interval;
	pthread_mutex_unlock(&b->lock);
}

/* The newest beat of all: it speaks for the peer, not only for its link. */
static void hear_peer(struct ftt_beat *b, uint32_t i, const struct ftt_beat_msg *m, bool new_boot, uint64_t now)
{
	struct ftt_peer *p = &b->peer[i];
	bool returned = !atomic_load(&p->alive);
	uint64_t interval = now - atomic_load(&p->last_beat_ns);
	bool changed;

	p->echo_t_ns = m->t_send_ns;
	atomic_store(&p->last_beat_ns, now);
	atomic_store(&p->alive, true);
	if (new_boot)
		learn_boot(b, i, m);
	if (m->flags & FTT_BEAT_GRANT && m->echo_boot_id == b->engine->cfg.boot_id) {
		pthread_mutex_lock(&b->lock);
		ftt_lease_grant(&b->lease, i, m->echo_t_ns, now);
		ftt_beat_publish_lease(b);
		pthread_mutex_unlock(&b->lock);
	}
	changed = keep_body(b, p, m);
	p->suspected = p->quiet = false;
	if (!new_boot && !returned)
		keep_interval(b, p, interval);
	if (new_boot || returned) {
		b->send_now = true; /* let the peer hear its echo without waiting for our tick */
		ftt_beat_post(b, FTT_EV_PEER_UP, m->boot_id, i, m->link);
	}
	if (new_boot || returned || changed)
		ftt_beat_post(b, FTT_EV_PEER_BODY, m->boot_id, i, m->link);
	if (m->intrusions > atomic_load(&p->intrusions)) {
		atomic_store(&p->intrusions, m->intrusions);
		post_intrusion(b, FTT_INTRUSION_AT_PEER, i, m->link, now);
	}
}

static void hear_link(struct ftt_beat *b, uint32_t i, uint32_t link, uint64_t now)
{
	struct ftt_peer *p = &b->peer[i];

	p->link[link].last_ns = now;
	if (p->link[link].up)
		return;
	p->link[link].up = true;
	atomic_fetch_or(&p->links_up, 1u << link);
	ftt_beat_post(b, FTT_EV_LINK_UP, 0, i, link);
}

/* Which peer sent this authentic beat over the link that it names, and that ends here? n_peers: none. */
static uint32_t find_peer(const struct ftt_beat *b, const struct ftt_endpoint *e, const struct ftt_beat_msg *m)
{
	const struct ftt_config *cfg = &b->engine->cfg;
	uint32_t i;

	for (i = 0; i < b->n_peers; i++)
		if (!ftt_beat_check_place(m, cfg->cluster_id, cfg->peer[i].node_id, cfg->node_id) &&
		    m->link < b->peer[i].n_links && b->peer[i].link[m->link].endpoint == e)
			break;
	return i;
}

/* With whichever of our keys it was made. */
static enum ftt_beat_error decode(const struct ftt_beat *b, uint8_t *datagram, size_t len, struct ftt_beat_msg *m)
{
	enum ftt_beat_error error = FTT_BEAT_E_KEY_ID;

	for (uint32_t i = 0; i < b->keys.n && error == FTT_BEAT_E_KEY_ID; i++)
		error = ftt_beat_decode(datagram, len, b->keys.key[i], b->key_id[i], m);
	return error;
}

static void hear(struct ftt_beat *b, struct ftt_endpoint *e, uint8_t *datagram, size_t len)
{
	const struct ftt_config *cfg = &b->engine->cfg;
	struct ftt_counters *c = &b->engine->counters_beat;
	enum ftt_beat_news news = FTT_BEAT_REPLAY;
	enum ftt_beat_error error;
	struct ftt_beat_msg m;
	uint64_t now = ftt_now_ns();
	uint32_t i;

	error = decode(b, datagram, len, &m);
	if (error == FTT_BEAT_E_KEY_ID || error == FTT_BEAT_E_MAC) {
		ftt_beat_count(&c->beats_bad_mac, 1);
		meet_intrusion(b, e, FTT_INTRUSION_MAC, now);
		return;
	}
	if (error) {
		ftt_beat_count(&c->channel_malformed, 1);
		if (error == FTT_BEAT_E_VERSION)
			meet_intrusion(b, e, FTT_INTRUSION_VERSION, now);
		return;
	}
	/* Made with our key but out of place or out of time: someone sends on what he has recorded. */
	i = find_peer(b, e, &m);
	if (i < b->n_peers)
		news = ftt_beat_admit(&b->peer[i].known, &m, cfg->boot_id, atomic_load(&b->peer[i].alive));
	if (news == FTT_BEAT_REPLAY) {
		ftt_beat_count(&c->beats_replay, 1);
		meet_intrusion(b, e, m.cluster_id == cfg->cluster_id ? FTT_INTRUSION_REPLAY : FTT_INTRUSION_CLUSTER, now);
		return;
	}
	ftt_beat_count(&c->beats_received, 1);
	if (news == FTT_BEAT_STALE || news == FTT_BEAT_UNPROVEN) {
		ftt_beat_count(&c->channel_stale, 1);
		return;
	}
	if (news == FTT_BEAT_NEWEST || news == FTT_BEAT_NEW_BOOT)
		hear_peer(b, i, &m, news == FTT_BEAT_NEW_BOOT, now);
	hear_link(b, i, m.link, now);
}

void ftt_beat_drain(struct ftt_beat *b, struct ftt_endpoint *e)
{
	uint8_t datagram[FTT_BEAT_MAX + 1]; /* one more: a longer datagram shows itself */

	for (int k = 0; k < FTT_LINK_DRAIN_MAX; k++) {
		ssize_t n = e->kind->receive(e, datagram, sizeof(datagram));

		if (n >= 0)
			hear(b, e, datagram, (size_t)n);
		else if (errno == EAGAIN)
			return;
		else if (errno == EBADMSG)
			ftt_beat_count(&b->engine->counters_beat.channel_malformed, 1);
		/* else: a pending error of the socket; reading it has cleared it */
	}
}
