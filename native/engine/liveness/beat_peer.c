/* SPDX-License-Identifier: Apache-2.0 */
/* beat_peer.c - what the heartbeat thread says to peers and hears from them. beat.c tells how it works. */
#define _GNU_SOURCE
#include <errno.h>
#include <string.h>
#include "engine/liveness/beat.h"

void ftt_beat_follow_keys(struct ftt_liveness *l)
{
	if (!ftt_keyring_follow(&l->keyring, &l->keys_generation, &l->keys))
		return;
	for (uint32_t i = 0; i < l->keys.n; i++)
		l->key_id[i] = ftt_beat_key_id(l->keys.key[i]);
}

/* ---- sending ---------------------------------------------------------------------------------- */

/* A beat that is being filled, and who is in it. */
struct draft {
	uint8_t sections[FTT_BEAT_SECTIONS_MAX];
	size_t len;
	struct ftt_beat *group[FTT_MAX_GROUPS];
	uint8_t n;
};

/* Sends what is in the draft over every link, and empties it. */
static void send_draft(struct ftt_liveness *l, uint32_t i, struct draft *d)
{
	struct ftt_beat_node *p = &l->peer[i];
	struct ftt_beat_msg m = {.cluster_id = l->cfg.cluster_id,
				 .node_id = l->cfg.node_id,
				 .to_node_id = l->cfg.peer[i].node_id,
				 .boot_id = l->cfg.boot_id,
				 .counter = ++p->counter,
				 .t_send_ns = ftt_now_ns(),
				 .echo_boot_id = p->known.boot_id,
				 .intrusions = l->intrusions,
				 .key_id = l->key_id[l->keys.send],
				 .flags = l->cfg.encrypt ? FTT_BEAT_SEALED : 0,
				 .sections = d->sections,
				 .sections_len = (uint16_t)d->len,
				 .n_sections = d->n};
	uint8_t out[FTT_BEAT_MAX];

	for (uint32_t k = 0; k < p->n_links; k++) {
		size_t len;

		m.link = (uint8_t)k;
		len = ftt_beat_encode(out, sizeof(out), &m, l->keys.key[l->keys.send]);
		if (!p->link[k].endpoint->kind->send(p->link[k].endpoint, &p->link[k].to, out, len))
			continue;
		for (uint32_t g = 0; g < d->n; g++)
			ftt_beat_count(&d->group[g]->engine->counters_beat.beats_sent, 1);
	}
	d->len = 0;
	d->n = 0;
}

/* What there is to say of a group to a peer; its body unless the peer has it. */
static struct ftt_beat_section section_of(struct ftt_beat *b, uint32_t i, uint8_t body[FTT_BEAT_BODY_MAX])
{
	const struct ftt_beat_view *v = &b->view[i];
	struct ftt_beat_section s = {.group_id = b->engine->cfg.cluster_id,
				     .boot_id = b->engine->cfg.boot_id,
				     .echo_t_ns = v->echo_t_ns,
				     .body = body};

	pthread_mutex_lock(&b->lock);
	s.seen = v->version;
	s.version = b->version;
	if ((b->grant & ~b->withdrawn) >> i & 1)
		s.flags |= FTT_BEAT_GRANT;
	if (b->version && b->version != v->seen) {
		s.flags |= FTT_BEAT_BODY;
		s.body_len = (uint16_t)b->body_len;
		memcpy(body, b->body, b->body_len);
	}
	pthread_mutex_unlock(&b->lock);
	return s;
}

/* In this draft, or the next one. */
static void put(struct ftt_liveness *l, uint32_t i, struct draft *d, struct ftt_beat *b, const struct ftt_beat_section *s)
{
	if (!ftt_beat_put_section(d->sections, sizeof(d->sections), &d->len, s)) {
		send_draft(l, i, d);
		ftt_beat_put_section(d->sections, sizeof(d->sections), &d->len, s); /* into an empty one each fits */
	}
	d->group[d->n++] = b;
}

/*
 * Of the datagrams of a tick a slow line takes the first one. So that speaks of as many groups as it can, and has one body;
 * the other bodies follow. Who is first in it moves on, by those of whom it spoke.
 */
static void send_to(struct ftt_liveness *l, uint32_t i, const bool *wanted, bool all)
{
	bool owed[FTT_MAX_GROUPS] = {false}, told = false;
	uint8_t body[FTT_BEAT_BODY_MAX];
	uint32_t first = l->peer[i].first % l->n_groups, spoken = 0;
	struct ftt_beat_section s;
	struct draft d;

	d.len = 0;
	d.n = 0;
	for (uint32_t k = 0; k < l->n_groups; k++) {
		uint32_t at = (first + k) % l->n_groups;

		if (!wanted[at])
			continue;
		s = section_of(l->group[at], i, body);
		owed[at] = told && s.flags & FTT_BEAT_BODY;
		if (owed[at])
			s.flags &= (uint8_t)~FTT_BEAT_BODY;
		told |= s.flags & FTT_BEAT_BODY;
		put(l, i, &d, l->group[at], &s);
		spoken += d.n == k + 1;
	}
	if (d.n)
		send_draft(l, i, &d);
	for (uint32_t k = 0; k < l->n_groups; k++) {
		if (!owed[k])
			continue;
		s = section_of(l->group[k], i, body);
		put(l, i, &d, l->group[k], &s);
	}
	if (d.n)
		send_draft(l, i, &d);
	if (all)
		l->peer[i].first = (first + (spoken < l->n_groups ? spoken : 1)) % l->n_groups;
}

void ftt_beat_send(struct ftt_liveness *l, bool all)
{
	bool wanted[FTT_MAX_GROUPS], any = false;

	for (uint32_t k = 0; k < l->n_groups; k++)
		any |= wanted[k] = atomic_exchange(&l->group[k]->send_now, false) || all;
	for (uint32_t i = 0; any && i < l->n_peers; i++)
		if (!l->peer[i].gone)
			send_to(l, i, wanted, all);
}

/* ---- receiving -------------------------------------------------------------------------------- */

/* Each group is to know it, and one of them to tell people. */
static void post_intrusion(struct ftt_liveness *l, uint32_t kind, uint32_t peer, uint32_t link, uint64_t now)
{
	if (l->intrusion_ns[kind] && now - l->intrusion_ns[kind] < FTT_BEAT_NS)
		return;
	l->intrusion_ns[kind] = now;
	for (uint32_t k = 0; k < l->n_groups; k++) {
		struct ftt_event ev = {.kind = FTT_EV_INTRUSION, .value = kind, .peer = peer, .link = link, .reason = k > 0};

		ftt_event_post(l->group[k]->engine, &ev);
	}
}

/* Somebody else's beat: which peer it pretends to be from is not known, the endpoint's first link stands for it. */
static void meet_intrusion(struct ftt_liveness *l, const struct ftt_endpoint *e, uint32_t kind, uint64_t now)
{
	if (kind != FTT_INTRUSION_VERSION)
		l->intrusions++;
	for (uint32_t i = 0; i < l->n_peers; i++)
		for (uint32_t k = 0; k < l->peer[i].n_links; k++)
			if (l->peer[i].link[k].endpoint == e) {
				post_intrusion(l, kind, i, k, now);
				return;
			}
}

/* The peer's daemon has begun anew: its counters do, and of bodies and times of before nothing holds. */
static void forget_node(struct ftt_liveness *l, uint32_t i, const struct ftt_beat_msg *m)
{
	atomic_store(&l->peer[i].intrusions, m->intrusions);
	l->peer[i].delay = (struct ftt_delay){0};
	for (uint32_t k = 0; k < l->n_groups; k++) {
		struct ftt_beat *b = l->group[k];
		struct ftt_beat_view *v = &b->view[i];

		v->counter = v->echo_t_ns = 0;
		v->seen = 0;
		pthread_mutex_lock(&b->lock);
		v->version = 0;
		pthread_mutex_unlock(&b->lock);
	}
}

static void learn_boot(struct ftt_beat *b, uint32_t i, const struct ftt_beat_section *s)
{
	const struct ftt_liveness_config *node = &b->node->cfg;
	struct ftt_shared *shared = &b->engine->shared;
	uint64_t session = ftt_beat_commit_session(node->node_id, b->engine->cfg.boot_id, node->peer[i].node_id, s->boot_id);

	b->view[i].boot_id = s->boot_id;
	atomic_store(&shared->commit_session[i], session);
	atomic_store(&shared->peer_boot_id[i], s->boot_id);
}

/* True if the body is another than before. */
static bool keep_body(struct ftt_beat *b, struct ftt_beat_view *v, const struct ftt_beat_section *s)
{
	bool changed;

	if (!(s->flags & FTT_BEAT_BODY))
		return false;
	pthread_mutex_lock(&b->lock);
	changed = v->body_boot != s->boot_id || v->body_len != s->body_len || memcmp(v->body, s->body, s->body_len) != 0;
	if (changed) {
		memcpy(v->body, s->body, s->body_len);
		v->body_len = s->body_len;
		v->body_boot = s->boot_id;
	}
	v->version = s->version;
	pthread_mutex_unlock(&b->lock);
	return changed;
}

static void keep_interval(struct ftt_beat *b, struct ftt_beat_view *v, uint64_t interval)
{
	pthread_mutex_lock(&b->lock);
	v->interval_ns[v->n_intervals++ % FTT_BEAT_INTERVALS] = interval;
	pthread_mutex_unlock(&b->lock);
}

/* The newest beat that speaks of the group: it speaks for the peer, not only for its link. */
static void hear_group(struct ftt_beat *b, uint32_t i, const struct ftt_beat_msg *m, const struct ftt_beat_section *s, uint64_t now)
{
	struct ftt_beat_view *v = &b->view[i];
	bool returned = !atomic_load(&v->alive), new_boot = s->boot_id != v->boot_id, echoed = m->echo_boot_id == b->node->cfg.boot_id;
	uint64_t interval = now - atomic_load(&v->last_beat_ns);
	bool changed;

	v->counter = m->counter;
	v->echo_t_ns = m->t_send_ns;
	v->seen = echoed ? s->seen : 0;
	atomic_store(&v->last_beat_ns, now);
	atomic_store(&v->alive, true);
	if (new_boot)
		learn_boot(b, i, s);
	if (s->flags & FTT_BEAT_GRANT && echoed) {
		pthread_mutex_lock(&b->lock);
		ftt_lease_grant(&b->lease, i, s->echo_t_ns, now);
		ftt_beat_publish_lease(b);
		pthread_mutex_unlock(&b->lock);
	}
	changed = keep_body(b, v, s);
	v->suspected = v->quiet = false;
	if (!new_boot && !returned)
		keep_interval(b, v, interval);
	if (new_boot || returned) {
		atomic_store(&b->send_now, true); /* let the peer hear its echo without waiting for our tick */
		ftt_beat_post(b, FTT_EV_PEER_UP, s->boot_id, i, m->link);
	}
	if (changed || (returned && v->version))
		ftt_beat_post(b, FTT_EV_PEER_BODY, s->boot_id, i, m->link);
}

static void hear_link(struct ftt_beat *b, uint32_t i, uint32_t link, uint64_t now)
{
	struct ftt_beat_view *v = &b->view[i];

	v->link[link].last_ns = now;
	if (v->link[link].up)
		return;
	v->link[link].up = true;
	atomic_fetch_or(&v->links_up, 1u << link);
	ftt_beat_post(b, FTT_EV_LINK_UP, 0, i, link);
}

static struct ftt_beat *find_group(const struct ftt_liveness *l, uint64_t id)
{
	uint32_t low = 0, high = l->n_groups;

	while (low < high) {
		uint32_t middle = (low + high) / 2;
		uint64_t here = l->group[middle]->engine->cfg.cluster_id;

		if (here == id)
			return l->group[middle];
		if (here < id)
			low = middle + 1;
		else
			high = middle;
	}
	return NULL;
}

/* What an authentic beat says of each group that is here; of others it may speak as well. */
static void hear_sections(struct ftt_liveness *l, uint32_t i, const struct ftt_beat_msg *m, bool overtaken, uint64_t now)
{
	struct ftt_beat_section s;
	size_t at = 0;

	while (ftt_beat_get_section(m->sections, m->sections_len, &at, &s)) {
		struct ftt_beat *b = find_group(l, s.group_id);
		bool news = b && m->counter > b->view[i].counter;

		if (!b)
			continue;
		ftt_beat_count(&b->engine->counters_beat.beats_received, 1);
		if (news)
			hear_group(b, i, m, &s, now);
		if (news || !overtaken)
			hear_link(b, i, m->link, now);
		else
			ftt_beat_count(&b->engine->counters_beat.channel_stale, 1);
	}
}

/* Which peer sent this authentic beat over the link that it names, and that ends here? n_peers: none. */
static uint32_t find_peer(const struct ftt_liveness *l, const struct ftt_endpoint *e, const struct ftt_beat_msg *m)
{
	uint32_t i;

	for (i = 0; i < l->n_peers; i++)
		if (!l->peer[i].gone && !ftt_beat_check_place(m, l->cfg.cluster_id, l->cfg.peer[i].node_id, l->cfg.node_id) &&
		    m->link < l->peer[i].n_links && l->peer[i].link[m->link].endpoint == e)
			break;
	return i;
}

/* A node of our cluster speaks to us, and we do not name it: it is to come, or was parted with. */
static bool is_unnamed(const struct ftt_liveness *l, const struct ftt_beat_msg *m)
{
	for (uint32_t i = 0; i < l->n_peers; i++)
		if (!l->peer[i].gone && l->cfg.peer[i].node_id == m->node_id)
			return false;
	return m->node_id != l->cfg.node_id && !ftt_beat_check_place(m, l->cfg.cluster_id, m->node_id, l->cfg.node_id);
}

static bool lives_for_any(const struct ftt_liveness *l, uint32_t peer)
{
	for (uint32_t k = 0; k < l->n_groups; k++)
		if (atomic_load(&l->group[k]->view[peer].alive))
			return true;
	return false;
}

/* With whichever of our keys it was made. */
static enum ftt_beat_error decode(const struct ftt_liveness *l, uint8_t *datagram, size_t len, struct ftt_beat_msg *m)
{
	enum ftt_beat_error error = FTT_BEAT_E_KEY_ID;

	for (uint32_t i = 0; i < l->keys.n && error == FTT_BEAT_E_KEY_ID; i++)
		error = ftt_beat_decode(datagram, len, l->keys.key[i], l->key_id[i], m);
	return error;
}

static void hear_refused(struct ftt_liveness *l, struct ftt_endpoint *e, enum ftt_beat_error error, uint64_t now)
{
	if (error == FTT_BEAT_E_KEY_ID || error == FTT_BEAT_E_MAC) {
		FTT_BEAT_COUNT_ALL(l, beats_bad_mac, 1);
		meet_intrusion(l, e, FTT_INTRUSION_MAC, now);
		return;
	}
	FTT_BEAT_COUNT_ALL(l, channel_malformed, 1);
	if (error == FTT_BEAT_E_VERSION)
		meet_intrusion(l, e, FTT_INTRUSION_VERSION, now);
}

static void hear(struct ftt_liveness *l, struct ftt_endpoint *e, uint8_t *datagram, size_t len)
{
	enum ftt_beat_news news = FTT_BEAT_REPLAY;
	enum ftt_beat_error error;
	struct ftt_beat_msg m;
	uint64_t now = ftt_now_ns();
	uint32_t i;

	error = decode(l, datagram, len, &m);
	if (error) {
		hear_refused(l, e, error, now);
		return;
	}
	/* Made with our key but out of place or out of time: someone sends on what he has recorded. */
	i = find_peer(l, e, &m);
	if (is_unnamed(l, &m))
		news = FTT_BEAT_UNPROVEN;
	else if (i < l->n_peers)
		news = ftt_beat_admit(&l->peer[i].known, &m, l->cfg.boot_id, lives_for_any(l, i));
	if (news == FTT_BEAT_REPLAY) {
		FTT_BEAT_COUNT_ALL(l, beats_replay, 1);
		meet_intrusion(l, e, m.cluster_id == l->cfg.cluster_id ? FTT_INTRUSION_REPLAY : FTT_INTRUSION_CLUSTER, now);
		return;
	}
	if (news == FTT_BEAT_UNPROVEN) {
		FTT_BEAT_COUNT_ALL(l, channel_stale, 1);
		return;
	}
	if (news == FTT_BEAT_NEW_BOOT)
		forget_node(l, i, &m);
	atomic_store(&l->peer[i].heard_ns, now);
	ftt_delay_heard(&l->peer[i].delay, m.t_send_ns, now);
	hear_sections(l, i, &m, news == FTT_BEAT_STALE, now);
	if (m.intrusions > atomic_load(&l->peer[i].intrusions)) {
		atomic_store(&l->peer[i].intrusions, m.intrusions);
		post_intrusion(l, FTT_INTRUSION_AT_PEER, i, m.link, now);
	}
}

void ftt_beat_drain(struct ftt_liveness *l, struct ftt_endpoint *e)
{
	uint8_t datagram[FTT_BEAT_MAX + 1]; /* one more: a longer datagram shows itself */

	for (int k = 0; k < FTT_LINK_DRAIN_MAX; k++) {
		ssize_t n = e->kind->receive(e, datagram, sizeof(datagram));

		if (n >= 0)
			hear(l, e, datagram, (size_t)n);
		else if (errno == EAGAIN)
			return;
		else if (errno == EBADMSG)
			FTT_BEAT_COUNT_ALL(l, channel_malformed, 1);
		/* else: a pending error of the socket; reading it has cleared it */
	}
}
