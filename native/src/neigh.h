/* SPDX-License-Identifier: Apache-2.0 */
/*
 * neigh.h - what neigh.c (the thread) and neigh_socket.c (its sockets) share, and nobody else.
 */
#ifndef FTTCP_NEIGH_H
#define FTTCP_NEIGH_H
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include "engine.h"
#include "fttcp/neigh_wire.h"

#define FTT_NEIGH_FRAME_MAX 256 /* an announcement is 42 to 86 octets; options may make it longer */

/* The service interface as it is now, and our sockets on it. */
struct ftt_neigh_port {
	int ifindex; /* 0: it does not exist */
	uint8_t mac[6];
	int arp_fd;  /* ARP about our addresses; -1: not open, or no IPv4 address */
	int nd_fd;   /* neighbour discovery about our addresses; -1: not open, or no IPv6 address */
	int mld_fd;  /* member of the solicited-node groups, so that the kernel reports them (MLD) */
	bool open;
};

struct ftt_frame {
	uint16_t len; /* 0: none */
	uint8_t bytes[FTT_NEIGH_FRAME_MAX];
};

struct ftt_neigh {
	struct ftt_engine *engine;
	int timer_fd, wake_fd, route_fd;
	int direct_fd; /* sends only; for ftt_neigh_announce_now(), in whichever thread */
	pthread_t thread;
	bool lock_made, thread_made;
	atomic_bool stop;

	/* the thread's own */
	struct ftt_neigh_port port;
	uint64_t retry_ns;   /* when to try to open the port again; 0: not waiting */
	uint64_t round_ns;   /* when the next round of announcements is due; 0: none */
	uint64_t announcement; /* the request that the rounds belong to */

	pthread_mutex_t lock; /* guards everything below */
	struct ftt_frame frame[FTT_MAX_FRAMES];
	uint64_t request;    /* counts ftt_neigh_announce() */
	uint32_t rounds_left;
	uint64_t interval_ns;
};

static inline bool ftt_is_v4(const uint8_t addr[16])
{
	static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};

	return memcmp(addr, mapped, 12) == 0;
}

/* Looks up the interface and opens the sockets. 0, or errno and *what: the step that failed. */
int ftt_neigh_port_open(struct ftt_neigh_port *p, const struct ftt_config *cfg, const char **what);
void ftt_neigh_port_close(struct ftt_neigh_port *p);
/* Are the sockets still on the interface of that name? Brings the MAC address up to date. */
bool ftt_neigh_port_current(struct ftt_neigh_port *p, const struct ftt_config *cfg);
/* Sends one whole frame. False when the kernel did not take it. */
bool ftt_neigh_port_send(const struct ftt_neigh_port *p, const uint8_t *frame, size_t len);
int ftt_neigh_open_route(void); /* a socket that hears of every change of a link; -1 and errno */

#endif
