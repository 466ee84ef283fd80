/* SPDX-License-Identifier: Apache-2.0 */
/*
 * neigh.h - what neigh.c (the thread), neigh_setup.c (birth and end), neigh_socket.c (its sockets), neigh_announce.c (who is told where
 * we are) and neigh_claims.c (who says that it has our address) share, and nobody else.
 *
 * A node has one thread (struct ftt_neighbours), and each of its groups a part in it (struct ftt_neigh).
 */
#ifndef FTTCP_NEIGH_H
#define FTTCP_NEIGH_H
#include <errno.h>
#include <net/if.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>
#include <unistd.h>
#include "engine/engine.h"
#include "core/packet/address.h"
#include "core/records/neigh_wire.h"

#define FTT_NEIGH_ROUNDS 5 /* of an announcement that nobody asked for, this far apart: */
#define FTT_NEIGH_INTERVAL_NS 200000000ull
#define FTT_NEIGH_CLAIMS 8

/* The service interface as it is now, and our sockets on it. */
struct ftt_neigh_port {
	int ifindex; /* 0: it does not exist */
	uint8_t mac[6];
	int arp_fd;  /* ARP about our addresses; -1: not open, or no IPv4 address */
	int nd_fd;   /* neighbour discovery about our addresses; -1: not open, or no IPv6 address */
	int mld_fd;  /* member of the solicited-node groups, so that the kernel reports them (MLD) */
	bool running; /* up, with a carrier */
	bool open;
};

/* Announcements in progress, and who has asked for us; the thread's own. */
struct ftt_neigh_rounds {
	uint64_t request;    /* the one that the rounds belong to */
	uint64_t round_ns;   /* when the next one is due; 0: none */
	uint64_t first_ns;   /* when the first one began */
	uint64_t last_ns;    /* when the last one, or a refresh, began */
	bool passing;        /* a pass is under way: first all stations, then neighbours by themselves */
	uint32_t all;        /* so many of our addresses have been told to all in it */
	uint32_t at, n_told; /* ... to neighbours */
	struct ftt_neighbour told[2 * FTT_MAX_NEIGHBOURS];
	struct ftt_neighbour asker[FTT_MAX_NEIGHBOURS];
	uint64_t asked_ns[FTT_MAX_NEIGHBOURS]; /* 0: a free place */
};

/* Others that say that they have our address; the thread's own. */
struct ftt_neigh_claims {
	struct {
		uint8_t addr[16], mac[6];
		uint64_t told_ns;
	} told[FTT_NEIGH_CLAIMS];
	uint8_t own[6];       /* another interface's of this host, that claimed last */
	uint64_t own_ns;      /* when */
	uint64_t second_ns;   /* when the second began in which the owner was told of so many: */
	uint32_t n_events;
	uint64_t defended_ns[FTT_MAX_ADDRS]; /* when we last announced ourselves against a claim of each; 0: never */
	uint64_t due_ns[FTT_MAX_ADDRS];      /* when to do it next; 0: no need */
	uint64_t next_ns;     /* the soonest of these */
	uint64_t probe_ns;    /* when to ask next whether somebody else answers */
};

struct ftt_neigh {
	struct ftt_neighbours *node;
	struct ftt_engine *engine;

	/* the thread's own */
	struct ftt_neigh_port port;
	struct ftt_neigh_port left; /* the one before it, while it is open still */
	uint64_t retry_ns;   /* when to look at the interface again; 0: not waiting */
	int failed;          /* errno that was told: the interface is there, and its sockets cannot be opened; 0: none */
	bool notice;         /* the kernel wishes that its stations make themselves known */
	struct ftt_neigh_rounds rounds;
	struct ftt_neigh_claims claims;

	_Atomic uint64_t refresh_ns; /* the holder of the lease announces itself so often; 0: not at all */
	atomic_bool moving;   /* `interface` is another one than the port's */
	pthread_mutex_t lock; /* guards everything below */
	char interface[IF_NAMESIZE]; /* where the service is */
	uint8_t mac[6];       /* what it has there, for other threads */
	struct ftt_neighbour known[FTT_MAX_NEIGHBOURS];
	uint32_t n_known;
	uint64_t request;    /* counts ftt_neigh_announce() */
	uint32_t rounds_left;
	uint64_t interval_ns;
};

struct ftt_neighbours {
	int timer_fd, wake_fd, route_fd;
	int direct_fd; /* sends only; for ftt_neigh_announce_now(), in whichever thread */
	pthread_t thread;
	bool turn_made, thread_made;
	atomic_bool stop;

	pthread_mutex_t turn; /* held by the thread but for the time that it waits; guards everything below */
	struct ftt_neigh *group[FTT_MAX_GROUPS];
	uint32_t n_groups, changes; /* of the list, counted */
	uint64_t step_ns; /* when passes go on; 0: there is none */
	bool ended; /* the thread could not go on */
};

/* Looks up the interface and opens the sockets. 0, or errno and *what: the step that failed. */
int ftt_neigh_port_open(struct ftt_neigh_port *p, const struct ftt_config *cfg, const char *interface, const char **what);
void ftt_neigh_port_close(struct ftt_neigh_port *p); /* waits for the kernel, some ms for each socket */
/* Are the sockets still on the interface of that name? Brings the MAC address and the carrier up to date. */
bool ftt_neigh_port_current(struct ftt_neigh_port *p, const struct ftt_config *cfg, const char *interface);
/* The MAC address that the service has on an interface, asked by any socket. 0 or errno. */
int ftt_neigh_mac_on(int fd, const struct ftt_config *cfg, const char *interface, uint8_t mac[6]);
/* Sends one whole frame. False when the kernel did not take it. */
bool ftt_neigh_port_send(const struct ftt_neigh_port *p, const uint8_t *frame, size_t len);
int ftt_neigh_open_route(void); /* a socket that hears of every change of a link; -1 and errno */
/* Does one of these messages of rtnetlink ask the stations on that interface to make themselves known? */
bool ftt_neigh_wants_notice(const uint8_t *messages, size_t len, int ifindex);

static inline void ftt_neigh_interface(struct ftt_neigh *n, char name[IF_NAMESIZE])
{
	pthread_mutex_lock(&n->lock);
	memcpy(name, n->interface, IF_NAMESIZE);
	pthread_mutex_unlock(&n->lock);
}

static inline void ftt_neigh_count(uint64_t *counter)
{
	__atomic_store_n(counter, *counter + 1, __ATOMIC_RELAXED);
}

static inline bool ftt_neigh_may_emit(const struct ftt_neigh *n)
{
	return ftt_may_emit(&n->engine->shared, ftt_now_ns());
}

static inline uint64_t ftt_sooner(uint64_t a, uint64_t b) /* 0: never */
{
	return !a || (b && b < a) ? b : a;
}

/* neigh.c */
void *ftt_neigh_main(void *arg);
/* neigh_announce.c */
void ftt_neigh_heard_asker(struct ftt_neigh *n, const uint8_t addr[16], const uint8_t mac[6], uint64_t now);
void ftt_neigh_announce_if_due(struct ftt_neigh *n, uint64_t now);
uint64_t ftt_neigh_next_round(const struct ftt_neigh *n); /* when; 0: never */
void ftt_neigh_step(struct ftt_neighbours *all, uint64_t now); /* passes of all groups */
/* neigh_claims.c */
void ftt_neigh_claimed(struct ftt_neigh *n, uint32_t which, const uint8_t mac[6], uint64_t now);
void ftt_neigh_defend_if_due(struct ftt_neigh *n, uint64_t now);

static inline void ftt_neigh_wake(struct ftt_neighbours *all)
{
	uint64_t one = 1;
	ssize_t done;

	do
		done = write(all->wake_fd, &one, sizeof(one));
	while (done < 0 && errno == EINTR); /* EAGAIN: wake-ups enough are waiting already */
}

#endif
