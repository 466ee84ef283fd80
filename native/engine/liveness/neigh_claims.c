/* SPDX-License-Identifier: Apache-2.0 */
/*
 * neigh_claims.c - another station says that it has our address.
 *
 * Theory of operation
 * -------------------
 * A claim is ARP with our address as the sender's, or an advertisement for it, from a MAC address that no
 * interface of this host has. It is never followed. The owner is told (FTT_EV_CLAIMED), whether we hold
 * the lease or not: it knows which of them are peers, whose claims are their right. While we hold the
 * lease we defend an address as RFC 5227 2.4 says: by an announcement at once, and by no more than one
 * in DEFEND_NS, so that two which both defend do not flood the network. One that is due is kept back,
 * not left out: the last word is ours.
 *
 * A station that has the address and keeps quiet answers our clients all the same. So the holder of the
 * lease asks for its own address now and then, as one that does not have it yet would (a probe, RFC
 * 5227 2.1.1, RFC 4862 5.4.2): such questions claim nothing, and our peers do not answer them.
 */
#define _GNU_SOURCE
#include <ifaddrs.h>
#include <linux/if_packet.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include "engine/liveness/neigh.h"

#define NS 1000000000ull
#define DEFEND_NS (10 * NS) /* DEFEND_INTERVAL of RFC 5227 */
#define PROBE_NS (10 * NS)
#define OWN_NS NS /* for so long an interface's MAC address is taken for ours without asking the kernel */
#define TELL_AGAIN_NS (10 * NS)  /* of one claimant */
#define TELL_MOST 16             /* in a second, of whichever: MAC addresses are easily made up */

/* Asked of the kernel: interfaces come and go. */
static bool is_of_this_host(const uint8_t mac[6])
{
	struct ifaddrs *all, *one;
	bool found = false;

	if (getifaddrs(&all))
		return false;
	for (one = all; one && !found; one = one->ifa_next) {
		const struct sockaddr_ll *at = (const struct sockaddr_ll *)one->ifa_addr;

		found = at && at->sll_family == AF_PACKET && at->sll_halen == 6 && !memcmp(at->sll_addr, mac, 6);
	}
	freeifaddrs(all);
	return found;
}

/* The place to note it at, if the owner is to be told; -1: it was lately, of this one, or often of others. A
 * peer's announcement against a foreign claim is a claim, too, and may be read before that. */
static int news(const struct ftt_neigh_claims *c, const uint8_t addr[16], const uint8_t mac[6], uint64_t now)
{
	int place = 0;

	if (now - c->second_ns < NS && c->n_events >= TELL_MOST)
		return -1;
	for (int i = 0; i < FTT_NEIGH_CLAIMS; i++) {
		if (c->told[i].told_ns && !memcmp(c->told[i].addr, addr, 16) && !memcmp(c->told[i].mac, mac, 6))
			return now - c->told[i].told_ns < TELL_AGAIN_NS ? -1 : i;
		if (c->told[i].told_ns < c->told[place].told_ns)
			place = i;
	}
	return place;
}

static void tell(struct ftt_neigh *n, int place, const uint8_t addr[16], const uint8_t mac[6], bool held, uint64_t now)
{
	struct ftt_event ev = {.kind = FTT_EV_CLAIMED, .value = ftt_mac_number(mac), .reason = held};
	struct ftt_neigh_claims *c = &n->claims;

	memcpy(c->told[place].addr, addr, 16);
	memcpy(c->told[place].mac, mac, 6);
	c->told[place].told_ns = now;
	if (now - c->second_ns >= NS) {
		c->second_ns = now;
		c->n_events = 0;
	}
	c->n_events++;
	memcpy(ev.key.local, addr, 16);
	ftt_event_post(n->engine, &ev);
}

void ftt_neigh_claimed(struct ftt_neigh *n, uint32_t which, const uint8_t mac[6], uint64_t now)
{
	struct ftt_neigh_claims *c = &n->claims;
	const uint8_t *addr = n->engine->cfg.service_addr[which];
	uint64_t *due = &c->due_ns[which], before = c->defended_ns[which];
	bool held = ftt_neigh_may_emit(n);
	int place;

	if (!memcmp(mac, n->port.mac, 6) || (c->own_ns && now - c->own_ns < OWN_NS && !memcmp(mac, c->own, 6)))
		return;
	place = news(c, addr, mac, now);
	if (held)
		ftt_neigh_count(&n->engine->counters_neigh.neighbour_refused);
	if (place < 0 && (!held || *due))
		return;
	if (is_of_this_host(mac)) {
		memcpy(c->own, mac, 6);
		c->own_ns = now;
		return;
	}
	if (place >= 0)
		tell(n, place, addr, mac, held, now);
	if (held && !*due) {
		*due = before && now - before < DEFEND_NS ? before + DEFEND_NS : now;
		c->next_ns = ftt_sooner(c->next_ns, *due);
	}
}

static void probe(struct ftt_neigh *n)
{
	const struct ftt_config *cfg = &n->engine->cfg;
	uint8_t frame[FTT_ND_REPLY_FRAME];

	for (uint32_t i = 0; i < cfg->n_service_addrs; i++) {
		const uint8_t *addr = cfg->service_addr[i];
		size_t len = ftt_is_v4(addr) ? ftt_arp_probe(frame, n->port.mac, addr + 12)
					     : ftt_nd_probe(frame, n->port.mac, addr);

		if (ftt_neigh_may_emit(n))
			ftt_neigh_port_send(&n->port, frame, len);
	}
}

/* An announcement is of all addresses: one does for all that are due. */
static void defend(struct ftt_neigh *n, uint64_t now)
{
	struct ftt_neigh_claims *c = &n->claims;

	c->next_ns = 0;
	for (uint32_t i = 0; i < n->engine->cfg.n_service_addrs; i++) {
		if (c->due_ns[i] && now >= c->due_ns[i]) {
			c->due_ns[i] = 0;
			c->defended_ns[i] = now;
		}
		c->next_ns = ftt_sooner(c->next_ns, c->due_ns[i]);
	}
	if (!ftt_neigh_may_emit(n))
		return;
	ftt_neigh_count(&n->engine->counters_neigh.neighbour_defended);
	if (!n->rounds.round_ns) /* else one is about to leave */
		ftt_neigh_announce(n, 1, FTT_NEIGH_INTERVAL_NS);
}

void ftt_neigh_defend_if_due(struct ftt_neigh *n, uint64_t now)
{
	struct ftt_neigh_claims *c = &n->claims;

	if (c->next_ns && now >= c->next_ns)
		defend(n, now);
	if (now >= c->probe_ns) {
		if (c->probe_ns)
			probe(n);
		c->probe_ns = now + PROBE_NS;
	}
}
