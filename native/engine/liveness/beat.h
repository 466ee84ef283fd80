/* SPDX-License-Identifier: Apache-2.0 */
/*
 * beat.h - what the files of the heartbeat thread share, and nobody else: beat.c (its loop), beat_peer.c
 * (what is said to peers and heard from them), beat_group.c (what a group's other threads ask of it),
 * beat_setup.c (birth and end).
 *
 * A node has one of them (struct ftt_liveness), and each of its groups a part in it (struct ftt_beat).
 */
#ifndef FTTCP_BEAT_H
#define FTTCP_BEAT_H
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include "engine/engine.h"
#include "core/records/beat_wire.h"
#include "core/lease.h"
#include "core/delay.h"
#include "engine/liveness/link.h"

#define FTT_BEAT_NS 1000000000ull
#define FTT_BEAT_INTERVALS 256
#define FTT_BEAT_NEVER UINT64_MAX

struct ftt_liveness;

/* A peer as one group sees it. */
struct ftt_beat_view {
	/* the thread's own */
	struct {
		uint64_t last_ns; /* receipt of the last authentic, new beat that spoke of the group on this link */
		bool up;
	} link[FTT_MAX_LINKS];
	uint64_t counter;   /* newest beat of the node's boot that spoke of the group; 0: none */
	uint64_t boot_id;   /* of the group there; 0: never heard */
	uint64_t echo_t_ns; /* when that beat was sent, by the peer's clock */
	uint32_t seen;      /* the version of our body that the peer has; 0: none */
	bool suspected;
	bool quiet; /* PEER_QUIET was told */

	/* written by the thread, read by all */
	_Atomic uint64_t last_beat_ns;
	_Atomic uint32_t links_up;
	atomic_bool alive;

	/* under the group's lock */
	uint8_t body[FTT_BEAT_BODY_MAX];
	int body_len; /* -1: none yet */
	uint64_t body_boot;
	uint32_t version; /* of the body; 0: none */
	uint64_t interval_ns[FTT_BEAT_INTERVALS];
	uint32_t n_intervals; /* ever; the ring holds the last of them */

	/* set by others: how long this peer's silence may be; 0: the fixed time */
	_Atomic uint64_t patience_ns, suspect_ns;
};

/* A group's part: its lease, its body, its views of the peers. */
struct ftt_beat {
	struct ftt_liveness *node;
	struct ftt_engine *engine;
	bool lock_made;
	uint32_t n_peers;
	uint64_t timeout_ns; /* D * (1 + drift): silence for longer is loss */
	uint64_t judge_after_ns; /* the thread's own: no verdict of silence before: we were stopped ourselves */
	atomic_bool send_now; /* say it at once */
	struct ftt_beat_view view[FTT_MAX_PEERS];

	pthread_mutex_t lock; /* guards everything below */
	struct ftt_lease lease;
	uint8_t body[FTT_BEAT_BODY_MAX];
	uint32_t body_len, version; /* version 0: nothing was published */
	uint32_t grant, withdrawn; /* bit per peer */
};

/* A peer as the node sees it; the thread's own, but for what is atomic. */
struct ftt_beat_node {
	uint32_t n_links;
	bool gone; /* in the thread's turn: neither spoken to nor heard */
	struct {
		struct ftt_endpoint *endpoint;
		struct ftt_destination to;
	} link[FTT_MAX_LINKS];
	struct ftt_beat_peer known;
	uint64_t counter;
	uint32_t first; /* group of whom it is told first: a slow line takes one datagram of several */
	_Atomic uint64_t intrusions; /* as the peer tells */
	struct ftt_delay delay;      /* in the thread's turn */
	_Atomic uint64_t heard_ns; /* when its last authentic, new beat came, of whichever groups it spoke */
};

struct ftt_liveness {
	struct ftt_liveness_config cfg;
	struct ftt_keyring keyring;
	struct ftt_neighbours *neighbours; /* the node's other thread */
	int timer_fd, wake_fd;
	pthread_t thread;
	bool turn_made, ring_made, thread_made;
	uint32_t n_peers, n_endpoints;
	atomic_bool stop;
	_Atomic uint32_t versions; /* of bodies, given out so far */
	_Atomic uint32_t allowed; /* enum ftt_beat_thread */

	struct ftt_endpoint endpoint[FTT_MAX_PEERS * FTT_MAX_LINKS];
	struct ftt_beat_node peer[FTT_MAX_PEERS];

	pthread_mutex_t turn; /* held by the thread but for the time that it waits; guards everything below */
	struct ftt_beat *group[FTT_MAX_GROUPS]; /* by rising id */
	uint32_t n_groups;
	uint64_t interval_ns; /* the shortest of theirs; 0: there is none */
	uint32_t priority; /* the highest of theirs */
	bool ended; /* the thread could not go on */
	struct ftt_keys keys;
	uint32_t key_id[FTT_MAX_KEYS], keys_generation;
	uint64_t next_tick_ns, deadline_ns, attach_ns;
	uint64_t intrusions;      /* met since the start: every beat tells */
	uint64_t intrusion_ns[5]; /* when the last event of each kind was posted */
};

/* Under the lock: what the packet path sees. */
static inline void ftt_beat_publish_lease(struct ftt_beat *b)
{
	atomic_store_explicit(&b->engine->shared.lease_until_ns, b->lease.until_ns, memory_order_release);
}

static inline void ftt_beat_count(uint64_t *counter, uint64_t n)
{
	__atomic_store_n(counter, *counter + n, __ATOMIC_RELAXED);
}

/* What happened to the node happened to each of its groups. */
#define FTT_BEAT_COUNT_ALL(l, name, n)                                          \
	do {                                                                    \
		for (uint32_t at_ = 0; at_ < (l)->n_groups; at_++)              \
			ftt_beat_count(&(l)->group[at_]->engine->counters_beat.name, n); \
	} while (0)

static inline void ftt_beat_post(struct ftt_beat *b, uint32_t kind, uint64_t value, uint32_t peer, uint32_t link)
{
	struct ftt_event ev = {.kind = kind, .value = value, .peer = peer, .link = link};

	ftt_event_post(b->engine, &ev);
}

/* beat.c */
void *ftt_beat_main(void *arg);
void ftt_liveness_wake(struct ftt_liveness *l); /* makes the thread look around */

static inline void ftt_beat_wake(struct ftt_beat *b) /* ... and send a beat of this group at once */
{
	atomic_store(&b->send_now, true);
	ftt_liveness_wake(b->node);
}

/* beat_peer.c */
void ftt_beat_follow_keys(struct ftt_liveness *l);
/* To every peer over every link: of all groups, or of those that have something to say at once. */
void ftt_beat_send(struct ftt_liveness *l, bool all);
void ftt_beat_drain(struct ftt_liveness *l, struct ftt_endpoint *e); /* takes in all that has come */

#endif
