/* SPDX-License-Identifier: Apache-2.0 */
/*
 * neigh_announce.c - tells neighbours where the service addresses are.
 *
 * Theory of operation
 * -------------------
 * ftt_neigh_announce() wakes the thread; a round tells all stations (gratuitous ARP request and reply, an
 * unsolicited advertisement), the first at once, the others on a grid of interval_ns. A new request
 * replaces the rounds that are left, if it has not fewer. FTT_EV_ANNOUNCED follows the first round, value = frames sent:
 * fewer than there were, when the lease or the interface was gone. Later, as long as we hold the lease, a round comes
 * each refresh_ns: for those that all rounds missed, as behind a port that forwards only after the 30 s of
 * a spanning tree, or a switch that was started anew.
 *
 * What goes to all does not reach everybody: ports that suppress ARP let none through, and an
 * advertisement neither makes an entry nor mends a FAILED one. So each neighbour is told by itself, too,
 * by a question in the service's name for the neighbour's own address: whoever answers it has noted
 * who asked (RFC 826, RFC 4861 7.2.3). Known are those that asked for us lately (every node on the
 * network hears that, the backup as well), and those that the owner has found in the kernel's table. Refreshes
 * do so for BY_ITSELF_NS only: who has left is still known, and switches flood what is sent to it.
 *
 * All but a first round leaves in a *pass*: STEP frames in a millisecond for all groups together, or one for
 * each if there are more. A pass that is under way when a round is due goes on. So neither many addresses nor
 * many neighbours make a burst.
 */
#define _GNU_SOURCE
#include <linux/if_packet.h>
#include <net/if.h>
#include <string.h>
#include <sys/socket.h>
#include "engine/liveness/neigh.h"

#define STEP 32
#define STEP_NS 1000000ull
#define BY_ITSELF_NS (5 * 60 * 1000000000ull) /* a switch starts anew in some minutes, a spanning tree in one */

/* Sends one frame under the lease; through direct_fd (any thread) or the thread's own port. */
static bool send_one(struct ftt_neigh *n, const uint8_t *frame, size_t len, int direct_ifindex)
{
	struct sockaddr_ll to = {.sll_family = AF_PACKET, .sll_ifindex = direct_ifindex};

	if (!ftt_neigh_may_emit(n)) {
		ftt_neigh_count(&n->engine->counters_neigh.drop_lease);
		return false;
	}
	if (!(direct_ifindex ? sendto(n->node->direct_fd, frame, len, 0, (struct sockaddr *)&to, sizeof(to)) > 0
			     : ftt_neigh_port_send(&n->port, frame, len)))
		return false;
	ftt_neigh_count(&n->engine->counters_neigh.announcements);
	return true;
}

/* Tells all stations of one address. Returns how many frames were sent. */
static uint32_t tell_of(struct ftt_neigh *n, const uint8_t mac[6], const uint8_t addr[16], int direct_ifindex)
{
	uint8_t frame[FTT_ND_REPLY_FRAME];
	uint32_t sent;

	if (!ftt_is_v4(addr))
		return send_one(n, frame, ftt_nd_announce(frame, mac, addr), direct_ifindex);
	sent = send_one(n, frame, ftt_arp_announce(frame, FTT_ARP_REQUEST, mac, addr + 12), direct_ifindex);
	return sent + send_one(n, frame, ftt_arp_announce(frame, FTT_ARP_REPLY, mac, addr + 12), direct_ifindex);
}

static uint32_t tell_all(struct ftt_neigh *n, int direct_ifindex)
{
	uint32_t sent = 0;
	uint8_t mac[6];

	pthread_mutex_lock(&n->lock);
	memcpy(mac, n->mac, 6);
	pthread_mutex_unlock(&n->lock);
	for (uint32_t i = 0; i < n->engine->cfg.n_service_addrs; i++)
		sent += tell_of(n, mac, n->engine->cfg.service_addr[i], direct_ifindex);
	return sent;
}

void ftt_neigh_announce_now(struct ftt_neigh *n)
{
	struct ftt_event ev = {.kind = FTT_EV_ANNOUNCED};
	char interface[IF_NAMESIZE];
	int ifindex;

	ftt_neigh_interface(n, interface);
	ifindex = (int)if_nametoindex(interface);
	ev.value = ifindex ? tell_all(n, ifindex) : 0;
	ftt_event_post(n->engine, &ev);
}

/* ---- each by itself --------------------------------------------------------------------------- */

/* Is it a service address of a group of this node? Its owner, us or a peer, asks neighbours in its name. */
static bool is_a_service(const struct ftt_neighbours *all, const uint8_t addr[16])
{
	for (uint32_t g = 0; g < all->n_groups; g++) {
		const struct ftt_config *cfg = &all->group[g]->engine->cfg;

		for (uint32_t i = 0; i < cfg->n_service_addrs; i++)
			if (!memcmp(cfg->service_addr[i], addr, 16))
				return true;
	}
	return false;
}

/* The place of one that is known already, else of one that was heard longest ago. */
void ftt_neigh_heard_asker(struct ftt_neigh *n, const uint8_t addr[16], const uint8_t mac[6], uint64_t now)
{
	struct ftt_neigh_rounds *r = &n->rounds;
	uint32_t place = 0;

	if (is_a_service(n->node, addr))
		return;
	for (uint32_t i = 0; i < FTT_MAX_NEIGHBOURS; i++) {
		if (r->asked_ns[i] && !memcmp(r->asker[i].addr, addr, 16)) {
			place = i;
			break;
		}
		if (r->asked_ns[i] < r->asked_ns[place])
			place = i;
	}
	memcpy(r->asker[place].addr, addr, 16);
	memcpy(r->asker[place].mac, mac, 6);
	r->asked_ns[place] = now;
}

static bool is_told(const struct ftt_neigh_rounds *r, const struct ftt_neighbour *one)
{
	for (uint32_t i = 0; i < r->n_told; i++)
		if (!memcmp(&r->told[i], one, sizeof(*one)))
			return true;
	return false;
}

/* Begins a pass; by_itself: over all that are known, too, those that have asked us first. */
static void begin_pass(struct ftt_neigh *n, bool by_itself)
{
	struct ftt_neigh_rounds *r = &n->rounds;

	r->passing = true;
	r->at = r->n_told = 0;
	if (!by_itself)
		return;
	for (uint32_t i = 0; i < FTT_MAX_NEIGHBOURS; i++)
		if (r->asked_ns[i])
			r->told[r->n_told++] = r->asker[i];
	pthread_mutex_lock(&n->lock);
	for (uint32_t i = 0; i < n->n_known; i++)
		if (!is_told(r, &n->known[i]))
			r->told[r->n_told++] = n->known[i];
	pthread_mutex_unlock(&n->lock);
}

/* at counts through neighbours, and through our addresses for each. */
static void step_pass(struct ftt_neigh *n, uint32_t most)
{
	const struct ftt_config *cfg = &n->engine->cfg;
	struct ftt_neigh_rounds *r = &n->rounds;
	uint8_t frame[FTT_ND_REPLY_FRAME];
	uint32_t sent = 0;

	for (; r->all < cfg->n_service_addrs && sent < most; r->all++)
		sent += tell_of(n, n->port.mac, cfg->service_addr[r->all], 0);
	for (; r->at < r->n_told * cfg->n_service_addrs && sent < most; r->at++) {
		const struct ftt_neighbour *to = &r->told[r->at / cfg->n_service_addrs];
		const uint8_t *addr = cfg->service_addr[r->at % cfg->n_service_addrs];
		size_t len;

		if (ftt_is_v4(addr) != ftt_is_v4(to->addr))
			continue;
		len = ftt_is_v4(addr) ? ftt_arp_ask(frame, n->port.mac, addr + 12, to->mac, to->addr + 12)
				      : ftt_nd_ask(frame, n->port.mac, addr, to->mac, to->addr);
		if (send_one(n, frame, len, 0))
			ftt_neigh_count(&n->engine->counters_neigh.neighbours_told);
		sent++;
	}
	r->passing = r->all < cfg->n_service_addrs || r->at < r->n_told * cfg->n_service_addrs;
}

void ftt_neigh_step(struct ftt_neighbours *all, uint64_t now)
{
	uint32_t passing = 0;

	if (now < all->step_ns)
		return;
	for (uint32_t g = 0; g < all->n_groups; g++) {
		struct ftt_neigh *n = all->group[g];

		n->rounds.passing = n->rounds.passing && ftt_neigh_may_emit(n); /* else the next round begins anew */
		passing += n->rounds.passing;
	}
	for (uint32_t g = 0; g < all->n_groups; g++)
		if (all->group[g]->rounds.passing)
			step_pass(all->group[g], passing < STEP ? STEP / passing : 1);
	all->step_ns = passing ? now + STEP_NS : 0;
}

/* ---- rounds ----------------------------------------------------------------------------------- */

uint64_t ftt_neigh_next_round(const struct ftt_neigh *n)
{
	const struct ftt_neigh_rounds *r = &n->rounds;
	uint64_t every = atomic_load(&n->refresh_ns);

	return r->round_ns || !every ? r->round_ns : r->last_ns + every;
}

void ftt_neigh_announce_if_due(struct ftt_neigh *n, uint64_t now)
{
	uint64_t due = ftt_neigh_next_round(n);
	struct ftt_event ev = {.kind = FTT_EV_ANNOUNCED};
	struct ftt_neigh_rounds *r = &n->rounds;
	bool first, refresh;

	pthread_mutex_lock(&n->lock);
	first = n->request != r->request;
	if (!first && (!due || now < due)) {
		pthread_mutex_unlock(&n->lock);
		return;
	}
	refresh = !first && !r->round_ns;
	r->request = n->request;
	r->last_ns = now;
	if (first)
		r->first_ns = now;
	r->round_ns = n->rounds_left > 1 ? (first ? now : r->round_ns) + n->interval_ns : 0;
	if (n->rounds_left)
		n->rounds_left--;
	pthread_mutex_unlock(&n->lock);
	if (refresh && !ftt_neigh_may_emit(n))
		return;
	if (refresh)
		ftt_neigh_count(&n->engine->counters_neigh.announce_refreshes);
	if (first) {
		ev.value = tell_all(n, 0);
		ftt_event_post(n->engine, &ev);
	}
	if (first || !r->passing)
		begin_pass(n, !refresh || now - r->first_ns < BY_ITSELF_NS);
	r->all = first ? n->engine->cfg.n_service_addrs : 0;
}

/* rounds 0 is taken as 1: an announcement was asked for. */
void ftt_neigh_ask(struct ftt_neigh *n, uint32_t rounds, uint64_t interval_ns)
{
	pthread_mutex_lock(&n->lock);
	n->request++;
	rounds = rounds ? rounds : 1;
	if (rounds >= n->rounds_left) { /* a defence does not cut the rounds of a takeover short */
		n->rounds_left = rounds;
		n->interval_ns = interval_ns;
	}
	pthread_mutex_unlock(&n->lock);
}

void ftt_neigh_look(struct ftt_neigh *n)
{
	ftt_neigh_wake(n->node);
}

void ftt_neigh_announce(struct ftt_neigh *n, uint32_t rounds, uint64_t interval_ns)
{
	ftt_neigh_ask(n, rounds, interval_ns);
	ftt_neigh_look(n);
}

void ftt_neigh_refresh(struct ftt_neigh *n, uint64_t every_ns)
{
	atomic_store(&n->refresh_ns, every_ns);
	ftt_neigh_wake(n->node);
}
