/* SPDX-License-Identifier: Apache-2.0 */
/*
 * beat.h - what beat.c (the thread) and beat_setup.c (its birth and end) share, and nobody else.
 */
#ifndef FTTCP_BEAT_H
#define FTTCP_BEAT_H
#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/socket.h>
#include "engine.h"
#include "fttcp/beat_wire.h"
#include "fttcp/lease.h"

#define FTT_BEAT_NS 1000000000ull
/* Receive buffer asked for. The kernel doubles it and charges each datagram 512 bytes or more, so a
 * full socket holds at most FTT_BEAT_DRAIN_MAX: one drain empties what had arrived, even under a flood. */
#define FTT_BEAT_SOCKET_BYTES (256 * 1024)
#define FTT_BEAT_DRAIN_MAX 1024

union ftt_beat_address {
	struct sockaddr any;
	struct sockaddr_in v4;
	struct sockaddr_in6 v6;
};

struct ftt_beat_link {
	int fd;
	union ftt_beat_address remote;
	socklen_t address_len;
	uint64_t last_ns; /* receipt of its last authentic, new beat */
	bool up;
};

struct ftt_beat {
	struct ftt_engine *engine;
	int timer_fd, wake_fd;
	pthread_t thread;
	bool lock_made, thread_made;
	uint32_t n_links, key_id;
	uint64_t timeout_ns; /* D * (1 + drift): silence for longer is loss */
	atomic_bool stop;

	/* the thread's own */
	struct ftt_beat_link link[FTT_MAX_LINKS];
	struct ftt_beat_peer peer;
	uint64_t counter, next_tick_ns, deadline_ns;
	uint64_t judge_after_ns;    /* no verdict of silence before: we were stopped ourselves */
	uint64_t echo_t_ns;
	uint64_t intrusion_ns[2];   /* when the last event of each kind was posted */
	bool send_now;

	/* written by the thread, read by all */
	_Atomic uint64_t last_beat_ns;
	_Atomic uint32_t links_up;
	atomic_bool alive;

	pthread_mutex_t lock; /* guards everything below */
	struct ftt_lease lease;
	uint8_t body[FTT_BEAT_BODY_MAX], peer_body[FTT_BEAT_BODY_MAX];
	uint32_t body_len;
	int peer_body_len; /* -1: none yet */
	uint64_t peer_body_boot;
	bool grant, grant_withdrawn;
};

/* Under the lock: what the packet path sees. */
static inline void ftt_beat_publish_lease(struct ftt_beat *b)
{
	atomic_store_explicit(&b->engine->shared.lease_until_ns, b->lease.until_ns, memory_order_release);
}

void *ftt_beat_main(void *arg);
void ftt_beat_wake(struct ftt_beat *b); /* makes the thread look around and send a beat at once */

#endif
