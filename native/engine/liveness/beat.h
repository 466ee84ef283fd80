/* SPDX-License-Identifier: Apache-2.0 */
/*
 * beat.h - what the files of the heartbeat thread share, and nobody else: beat.c (its loop),
 * beat_peer.c (what is said to peers and heard from them), beat_setup.c (birth and end).
 */
#ifndef FTTCP_BEAT_H
#define FTTCP_BEAT_H
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include "engine/engine.h"
#include "core/records/beat_wire.h"
#include "core/lease.h"
#include "engine/liveness/link.h"

#define FTT_BEAT_NS 1000000000ull
#define FTT_BEAT_INTERVALS 256

struct ftt_beat_link {
	struct ftt_endpoint *endpoint;
	struct ftt_destination to;
	uint64_t last_ns; /* receipt of its last authentic, new beat */
	bool up;
};

struct ftt_peer {
	/* the thread's own */
	uint32_t n_links;
	struct ftt_beat_link link[FTT_MAX_LINKS];
	struct ftt_beat_peer known;
	uint64_t counter, echo_t_ns;
	bool suspected;
	bool quiet; /* PEER_QUIET was told */

	/* written by the thread, read by all */
	_Atomic uint64_t last_beat_ns;
	_Atomic uint64_t intrusions; /* as the peer tells */
	_Atomic uint32_t links_up;
	atomic_bool alive;

	/* under the lock */
	uint8_t body[FTT_BEAT_BODY_MAX];
	int body_len; /* -1: none yet */
	uint64_t body_boot;
	uint64_t interval_ns[FTT_BEAT_INTERVALS];
	uint32_t n_intervals; /* ever; the ring holds the last of them */

	/* set by others: how long this peer's silence may be; 0: the fixed time */
	_Atomic uint64_t patience_ns, suspect_ns;
};

struct ftt_beat {
	struct ftt_engine *engine;
	int timer_fd, wake_fd;
	pthread_t thread;
	bool lock_made, thread_made;
	uint32_t n_peers, n_endpoints;
	uint64_t timeout_ns; /* D * (1 + drift): silence for longer is loss */
	atomic_bool stop;
	_Atomic uint32_t allowed; /* enum ftt_beat_thread */

	struct ftt_endpoint endpoint[FTT_MAX_PEERS * FTT_MAX_LINKS];
	struct ftt_peer peer[FTT_MAX_PEERS];

	/* the thread's own */
	struct ftt_keys keys;
	uint32_t key_id[FTT_MAX_KEYS], keys_generation;
	uint64_t next_tick_ns, deadline_ns, attach_ns;
	uint64_t judge_after_ns;    /* no verdict of silence before: we were stopped ourselves */
	uint64_t intrusions;        /* met since the start: every beat tells */
	uint64_t intrusion_ns[5];   /* when the last event of each kind was posted */
	bool send_now;

	pthread_mutex_t lock; /* guards everything below */
	struct ftt_lease lease;
	uint8_t body[FTT_BEAT_BODY_MAX];
	uint32_t body_len;
	uint32_t grant, withdrawn; /* bit per peer */
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

static inline void ftt_beat_post(struct ftt_beat *b, uint32_t kind, uint64_t value, uint32_t peer, uint32_t link)
{
	struct ftt_event ev = {.kind = kind, .value = value, .peer = peer, .link = link};

	ftt_event_post(b->engine, &ev);
}

/* beat.c */
void *ftt_beat_main(void *arg);
void ftt_beat_wake(struct ftt_beat *b); /* makes the thread look around and send a beat at once */

/* beat_peer.c */
void ftt_beat_follow_keys(struct ftt_beat *b);
void ftt_beat_send(struct ftt_beat *b);                               /* one beat to every peer over every link */
void ftt_beat_drain(struct ftt_beat *b, struct ftt_endpoint *e);      /* takes in all that has come */

#endif
