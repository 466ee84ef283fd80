/* SPDX-License-Identifier: Apache-2.0 */
/*
 * neigh.c - answers ARP and neighbour discovery for the service addresses, and announces them.
 *
 * Theory of operation
 * -------------------
 * The kernel never answers for a service address: it sits on the loopback and arp_ignore is set, for
 * a dead daemon must not leave a kernel that draws clients to it. This thread answers, and the lease
 * that gates the service's packets gates its frames: ftt_may_emit() is asked immediately before each
 * send, with the clock read there, so a stopped thread that goes on later sends nothing (I4).
 *
 * The same answer goes to everyone who asks: a neighbour, and a prober (ARP from 0.0.0.0, RFC 5227;
 * a solicitation from the unspecified address, RFC 4862), who learns that way that the address is
 * taken. Claims of others: neigh_claims.c; announcements: neigh_announce.c.
 *
 * A node has one such thread. Its groups share nothing but the thread: each has sockets of its own, with a filter for its
 * addresses, and in each round every group gets its turn. They come and go while the thread waits (`turn`).
 *
 * The interface may go down, vanish, return under another index or change its MAC address. Any
 * message of rtnetlink about any link makes the thread look whether its sockets are still on the
 * interface of that name, and open new ones if not; a failure to open is told, and tried again each
 * second as long as the interface exists. A new MAC address or index, a carrier that is back, and the kernel's
 * wish (a bond that changed its cable) make a holder of the lease announce itself anew. So does another
 * interface that the service is to use from now on (ftt_neigh_use_interface). Errors in sending and receiving are part of such a change: a frame
 * is lost, as if on the wire.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>
#include "engine/liveness/neigh.h"

#define NS 1000000000ull
#define BATCH 64          /* frames taken from a socket before the others get their turn */
#define CAPTURE_MAX 2048  /* a longer frame is no neighbour message that anyone sends */

/* ---- answering -------------------------------------------------------------------------------- */

/* Which of ours it is; -1: none. */
static int which(const struct ftt_config *cfg, const uint8_t addr[16])
{
	for (uint32_t i = 0; i < cfg->n_service_addrs; i++)
		if (!memcmp(cfg->service_addr[i], addr, 16))
			return (int)i;
	return -1;
}

static int which_v4(const struct ftt_config *cfg, const uint8_t addr[4])
{
	uint8_t mapped[16];

	ftt_map4(mapped, addr);
	return which(cfg, mapped);
}

static void hear_arp(struct ftt_neigh *n, const uint8_t *frame, size_t len, uint64_t now)
{
	uint8_t reply[FTT_ARP_FRAME], sender[16];
	struct ftt_arp arp;
	int claimed;

	if (ftt_arp_parse(frame, len, &arp)) {
		ftt_neigh_count(&n->engine->counters_neigh.drop_malformed);
		return;
	}
	ftt_map4(sender, arp.sender);
	claimed = which(&n->engine->cfg, sender);
	if (claimed >= 0) {
		ftt_neigh_claimed(n, (uint32_t)claimed, arp.sender_mac, now);
		return;
	}
	if (arp.operation != FTT_ARP_REQUEST || which_v4(&n->engine->cfg, arp.target) < 0)
		return;
	if (!ftt_all_zero(arp.sender, 4))
		ftt_neigh_heard_asker(n, sender, arp.sender_mac, now);
	len = ftt_arp_reply(reply, n->port.mac, &arp);
	if (ftt_neigh_may_emit(n) && ftt_neigh_port_send(&n->port, reply, len))
		ftt_neigh_count(&n->engine->counters_neigh.arp_answered);
}

static void hear_nd(struct ftt_neigh *n, const uint8_t *frame, size_t len, uint64_t now)
{
	uint8_t reply[FTT_ND_REPLY_FRAME];
	struct ftt_nd nd;
	int target;

	if (ftt_nd_parse(frame, len, &nd)) {
		ftt_neigh_count(&n->engine->counters_neigh.drop_malformed);
		return;
	}
	target = which(&n->engine->cfg, nd.target);
	if (target < 0)
		return;
	if (nd.type == FTT_ND_ADVERT) {
		ftt_neigh_claimed(n, (uint32_t)target, nd.mac, now);
		return;
	}
	if (!nd.probe)
		ftt_neigh_heard_asker(n, nd.src, nd.mac, now);
	len = ftt_nd_reply(reply, n->port.mac, &nd);
	if (ftt_neigh_may_emit(n) && ftt_neigh_port_send(&n->port, reply, len))
		ftt_neigh_count(&n->engine->counters_neigh.nd_answered);
}

static void drain(struct ftt_neigh *n, int fd, uint64_t now,
		  void (*hear)(struct ftt_neigh *, const uint8_t *, size_t, uint64_t))
{
	uint8_t frame[CAPTURE_MAX];

	for (int k = 0; k < BATCH; k++) {
		struct sockaddr_ll from;
		socklen_t from_len = sizeof(from);
		ssize_t len = recvfrom(fd, frame, sizeof(frame), MSG_DONTWAIT, (struct sockaddr *)&from, &from_len);

		if (len < 0 && errno == EAGAIN)
			return;
		/* below 0: the interface's error, cleared by reading it. Another VLAN's frames, and those
		 * to other stations, come as OTHERHOST. */
		if (len >= 0 && from.sll_pkttype != PACKET_OTHERHOST && from.sll_pkttype != PACKET_OUTGOING)
			hear(n, frame, (size_t)len, now);
	}
}

/* ---- the interface ---------------------------------------------------------------------------- */

/* Neighbours must hear it: the address has moved to another station, or to another port of a switch. */
static void moved(struct ftt_neigh *n, const uint8_t before[6])
{
	struct ftt_event ev = {.kind = FTT_EV_MAC_CHANGED};

	pthread_mutex_lock(&n->lock);
	memcpy(n->mac, n->port.mac, 6);
	pthread_mutex_unlock(&n->lock);
	if (memcmp(before, n->port.mac, 6)) {
		ev.value = ftt_mac_number(n->port.mac);
		ftt_event_post(n->engine, &ev);
	}
	if (ftt_neigh_may_emit(n))
		ftt_neigh_announce(n, FTT_NEIGH_ROUNDS, FTT_NEIGH_INTERVAL_NS);
}

/* Its sockets are closed when neighbours have been told: that waits for the kernel. */
static void leave(struct ftt_neigh *n)
{
	if (n->left.open)
		ftt_neigh_port_close(&n->left);
	n->left = n->port;
}

/* One in a round, so that others need not wait for all. */
static void close_what_was_left(struct ftt_neighbours *all)
{
	for (uint32_t g = 0; g < all->n_groups; g++)
		if (all->group[g]->left.open) {
			ftt_neigh_port_close(&all->group[g]->left);
			ftt_neigh_wake(all);
			return;
		}
}

/* Tells once that an interface that is there cannot be used. That it is not there (ENODEV) others tell. */
static void tell_failure(struct ftt_neigh *n, int error)
{
	struct ftt_event ev = {.kind = FTT_EV_ADAPTER_FAILED, .value = (uint64_t)error};

	if (error && error != ENODEV && error != n->failed)
		ftt_event_post(n->engine, &ev);
	n->failed = error;
}

static void follow_interface(struct ftt_neigh *n, uint64_t now)
{
	const struct ftt_config *cfg = &n->engine->cfg;
	struct ftt_neigh_port before = n->port;
	bool notice = n->notice;
	char interface[IF_NAMESIZE];
	const char *what;
	int error = 0;

	n->notice = false;
	n->retry_ns = 0;
	ftt_neigh_interface(n, interface);
	if (!ftt_neigh_port_current(&n->port, cfg, interface)) {
		leave(n);
		error = ftt_neigh_port_open(&n->port, cfg, interface, &what);
		n->retry_ns = error && error != ENODEV ? now + NS : 0; /* ENODEV: its return will be told to us */
	}
	tell_failure(n, error);
	if (error)
		memcpy(n->port.mac, before.mac, 6);
	else if (notice || memcmp(before.mac, n->port.mac, 6) || before.ifindex != n->port.ifindex ||
		 n->port.running > before.running)
		moved(n, before.mac);
}

/* What the messages tell is asked of the kernel, but for one thing: whether neighbours are to be told (a bond
 * that uses another of its cables, a machine that was moved). An overflow (ENOBUFS) may have lost that. */
static bool links_changed(struct ftt_neighbours *all)
{
	_Alignas(8) uint8_t message[8192];
	bool any = false;

	for (int k = 0; k < BATCH; k++) {
		ssize_t len = recv(all->route_fd, message, sizeof(message), MSG_DONTWAIT);

		if (len < 0 && errno == EAGAIN)
			break;
		any = true;
		for (uint32_t g = 0; g < all->n_groups; g++)
			all->group[g]->notice |= len < 0 || ftt_neigh_wants_notice(message, (size_t)len, all->group[g]->port.ifindex);
	}
	return any;
}

/* ---- the loop --------------------------------------------------------------------------------- */

/* Sets the timer to the next thing that is due for any group, or to nothing. 0 or errno. */
static int arm(const struct ftt_neighbours *all)
{
	struct itimerspec when = {0};
	uint64_t at = all->step_ns;

	for (uint32_t g = 0; g < all->n_groups; g++) {
		const struct ftt_neigh *n = all->group[g];

		at = ftt_sooner(at, ftt_neigh_next_round(n));
		at = ftt_sooner(at, ftt_sooner(n->retry_ns, ftt_sooner(n->claims.next_ns, n->claims.probe_ns)));
	}
	when.it_value.tv_sec = (time_t)(at / NS);
	when.it_value.tv_nsec = (long)(at % NS);
	return timerfd_settime(all->timer_fd, TFD_TIMER_ABSTIME, &when, NULL) ? errno : 0;
}

/* What a group has to do now. True if it looked at its interface, and may have to announce itself next. */
static bool attend(struct ftt_neigh *n, uint64_t now, bool arp, bool nd, bool changed)
{
	bool look;

	ftt_neigh_announce_if_due(n, now);
	if (arp)
		drain(n, n->port.arp_fd, now, hear_arp);
	if (nd)
		drain(n, n->port.nd_fd, now, hear_nd);
	ftt_neigh_defend_if_due(n, now);
	look = atomic_exchange(&n->moving, false) || changed || (n->retry_ns && now >= n->retry_ns);
	if (look)
		follow_interface(n, now);
	return look;
}

/* One wait, in which others may have their turn, and what followed from it. Returns 0 or an errno that cannot be survived. */
static int neigh_round(struct ftt_neighbours *all)
{
	struct pollfd fds[3 + 2 * FTT_MAX_GROUPS] = {{.fd = all->wake_fd, .events = POLLIN},
						     {.fd = all->timer_fd, .events = POLLIN},
						     {.fd = all->route_fd, .events = POLLIN}};
	uint32_t n_fds = 3, changes = all->changes;
	int error = arm(all), ready;
	uint64_t now, ignored;
	bool changed, looked = false;

	if (error)
		return error;
	for (uint32_t g = 0; g < all->n_groups; g++) { /* poll() skips negative descriptors: what is not open is not waited for */
		fds[n_fds++] = (struct pollfd){.fd = all->group[g]->port.arp_fd, .events = POLLIN};
		fds[n_fds++] = (struct pollfd){.fd = all->group[g]->port.nd_fd, .events = POLLIN};
	}
	pthread_mutex_unlock(&all->turn);
	ready = poll(fds, n_fds, -1);
	error = ready < 0 && errno != EINTR ? errno : 0;
	pthread_mutex_lock(&all->turn);
	if (ready <= 0)
		return error;
	now = ftt_now_ns();
	for (int i = 0; i < 2; i++)
		if (fds[i].revents && read(fds[i].fd, &ignored, sizeof(ignored)) < 0 && errno != EAGAIN)
			return errno;
	changed = fds[2].revents && links_changed(all);
	for (uint32_t g = 0; g < all->n_groups; g++) {
		bool known = changes == all->changes; /* else the sockets may be another group's: the next round looks at them */

		looked |= attend(all->group[g], now, known && fds[3 + 2 * g].revents, known && fds[4 + 2 * g].revents, changed);
	}
	ftt_neigh_step(all, now);
	if (!looked)
		close_what_was_left(all);
	return 0;
}

void *ftt_neigh_main(void *arg)
{
	struct ftt_neighbours *all = arg;
	int error = 0;

	pthread_mutex_lock(&all->turn);
	while (!error && !atomic_load(&all->stop))
		error = neigh_round(all);
	all->ended = true;
	for (uint32_t g = 0; error && g < all->n_groups; g++) {
		struct ftt_event ev = {.kind = FTT_EV_ERROR, .value = (uint64_t)error};

		ftt_event_post(all->group[g]->engine, &ev);
	}
	pthread_mutex_unlock(&all->turn);
	return NULL;
}
