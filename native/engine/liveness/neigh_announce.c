/* SPDX-License-Identifier: Apache-2.0 */
/*
 * neigh_announce.c - tells neighbours where the service addresses are.
 *
 * Theory of operation
 * -------------------
 * ftt_neigh_announce() wakes the thread; a round tells all stations (gratuitous ARP request and reply, an
 * unsolicited advertisement), the first at once, the others on a grid of interval_ns. A new request
 * replaces the rounds that are left, if it has not fewer. FTT_EV_ANNOUNCED follows the first round, value = frames sent:
 * fewer than there were, when the lease or the interface was gone.
 *
 * What goes to all does not reach everybody: ports that suppress ARP let none through, and an
 * advertisement neither makes an entry nor mends a FAILED one. So each neighbour is told by itself, too,
 * by a question in the service's name for the neighbour's own address: whoever answers it has noted
 * who asked (RFC 826, RFC 4861 7.2.3). Known are those that asked for us lately (every node on the
 * network hears that, the backup as well), and those that the owner has found in the kernel's table.
 * STEP frames leave in a millisecond, and a pass that is under way when a round is due goes
 * on, so many neighbours make no burst.
 */
#define _GNU_SOURCE
#include <linux/if_packet.h>
#include <net/if.h>
#include <string.h>
#include <sys/socket.h>
#include "engine/liveness/neigh.h"

#define STEP 32
#define STEP_NS 1000000ull

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

static uint32_t tell_all(struct ftt_neigh *n, int direct_ifindex)
{
	const struct ftt_config *cfg = &n->engine->cfg;
	uint8_t mac[6], frame[FTT_ND_REPLY_FRAME];
	uint32_t sent = 0;

	pthread_mutex_lock(&n->lock);
	memcpy(mac, n->mac, 6);
	pthread_mutex_unlock(&n->lock);
	for (uint32_t i = 0; i < cfg->n_service_addrs; i++) {
		const uint8_t *addr = cfg->service_addr[i];

		if (!ftt_is_v4(addr)) {
			sent += send_one(n, frame, ftt_nd_announce(frame, mac, addr), direct_ifindex);
			continue;
		}
		sent += send_one(n, frame, ftt_arp_announce(frame, FTT_ARP_REQUEST, mac, addr + 12), direct_ifindex);
		sent += send_one(n, frame, ftt_arp_announce(frame, FTT_ARP_REPLY, mac, addr + 12), direct_ifindex);
	}
	return sent;
}

void ftt_neigh_announce_now(struct ftt_neigh *n)
{
	int ifindex = (int)if_nametoindex(n->engine->cfg.service_interface);
	struct ftt_event ev = {.kind = FTT_EV_ANNOUNCED};

	ev.value = ifindex ? tell_all(n, ifindex) : 0;
	ftt_event_post(n->engine, &ev);
}

/* ---- each by itself --------------------------------------------------------------------------- */

/* The place of one that is known already, else of one that was heard longest ago. */
void ftt_neigh_heard_asker(struct ftt_neigh *n, const uint8_t addr[16], const uint8_t mac[6], uint64_t now)
{
	struct ftt_neigh_rounds *r = &n->rounds;
	uint32_t place = 0;

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

/* Begins a pass over all that are known, those that have asked us first. */
static void begin_pass(struct ftt_neigh *n, uint64_t now)
{
	struct ftt_neigh_rounds *r = &n->rounds;

	r->at = r->n_told = 0;
	for (uint32_t i = 0; i < FTT_MAX_NEIGHBOURS; i++)
		if (r->asked_ns[i])
			r->told[r->n_told++] = r->asker[i];
	pthread_mutex_lock(&n->lock);
	for (uint32_t i = 0; i < n->n_known; i++)
		if (!is_told(r, &n->known[i]))
			r->told[r->n_told++] = n->known[i];
	pthread_mutex_unlock(&n->lock);
	r->step_ns = r->n_told ? now : 0;
}

/* at counts through neighbours, and through our addresses for each. */
static void step_pass(struct ftt_neigh *n, uint64_t now)
{
	const struct ftt_config *cfg = &n->engine->cfg;
	struct ftt_neigh_rounds *r = &n->rounds;
	uint8_t frame[FTT_ND_REPLY_FRAME];
	int sent = 0;

	if (!ftt_neigh_may_emit(n)) { /* the next round begins anew */
		r->step_ns = 0;
		return;
	}
	for (; r->at < r->n_told * cfg->n_service_addrs && sent < STEP; r->at++) {
		const struct ftt_neighbour *to = &r->told[r->at / cfg->n_service_addrs];
		const uint8_t *addr = cfg->service_addr[r->at % cfg->n_service_addrs];
		size_t len;

		if (ftt_is_v4(addr) != ftt_is_v4(to->addr))
			continue;
		len = ftt_is_v4(addr) ? ftt_arp_ask(frame, n->port.mac, addr + 12, to->mac, to->addr + 12)
				      : ftt_nd_ask(frame, n->port.mac, addr, to->mac, to->addr);
		send_one(n, frame, len, 0);
		sent++;
	}
	r->step_ns = r->at < r->n_told * cfg->n_service_addrs ? now + STEP_NS : 0;
}

/* ---- rounds ----------------------------------------------------------------------------------- */

static void round_if_due(struct ftt_neigh *n, uint64_t now)
{
	struct ftt_event ev = {.kind = FTT_EV_ANNOUNCED};
	struct ftt_neigh_rounds *r = &n->rounds;
	uint64_t interval;
	bool first, more;

	pthread_mutex_lock(&n->lock);
	first = n->request != r->request;
	if (!first && (!r->round_ns || now < r->round_ns)) {
		pthread_mutex_unlock(&n->lock);
		return;
	}
	r->request = n->request;
	more = n->rounds_left > 1;
	if (n->rounds_left)
		n->rounds_left--;
	interval = n->interval_ns;
	pthread_mutex_unlock(&n->lock);
	if (first)
		r->round_ns = now;
	r->round_ns = more ? r->round_ns + interval : 0;
	ev.value = tell_all(n, 0);
	if (first)
		ftt_event_post(n->engine, &ev);
	if (first || !r->step_ns)
		begin_pass(n, now);
}

void ftt_neigh_announce_if_due(struct ftt_neigh *n, uint64_t now)
{
	round_if_due(n, now);
	if (n->rounds.step_ns && now >= n->rounds.step_ns)
		step_pass(n, now);
}

/* rounds 0 is taken as 1: an announcement was asked for. */
void ftt_neigh_announce(struct ftt_neigh *n, uint32_t rounds, uint64_t interval_ns)
{
	pthread_mutex_lock(&n->lock);
	n->request++;
	rounds = rounds ? rounds : 1;
	if (rounds >= n->rounds_left) { /* a defence does not cut the rounds of a takeover short */
		n->rounds_left = rounds;
		n->interval_ns = interval_ns;
	}
	pthread_mutex_unlock(&n->lock);
	ftt_neigh_wake(n->node);
}
