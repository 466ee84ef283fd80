/* SPDX-License-Identifier: Apache-2.0 */
/*
 * keyring.h - the keys that the threads of an engine share, and how they are changed under them.
 *
 * Each thread works with a copy of its own, and looks at `generation` now and then (an atomic) whether
 * it is still the newest.
 */
#ifndef FTTCP_KEYRING_H
#define FTTCP_KEYRING_H
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include "engine/api/abi.h"

struct ftt_keyring {
	pthread_mutex_t lock;
	_Atomic uint32_t generation; /* 0: empty */
	struct ftt_keys keys;
};

/*
 * A mutex that lends: whoever holds it runs with the priority of the most urgent thread that waits for
 * it. For all that the heartbeat thread shares with threads that have no real-time priority.
 */
static inline bool ftt_lending_mutex(pthread_mutex_t *m)
{
	pthread_mutexattr_t attr;
	bool made;

	if (pthread_mutexattr_init(&attr))
		return false;
	made = !pthread_mutexattr_setprotocol(&attr, PTHREAD_PRIO_INHERIT) && !pthread_mutex_init(m, &attr);
	pthread_mutexattr_destroy(&attr);
	return made;
}

static inline bool ftt_keys_good(const struct ftt_keys *keys)
{
	return keys->n >= 1 && keys->n <= FTT_MAX_KEYS && keys->send < keys->n;
}

static inline void ftt_keyring_set(struct ftt_keyring *r, const struct ftt_keys *keys)
{
	pthread_mutex_lock(&r->lock);
	r->keys = *keys;
	atomic_fetch_add(&r->generation, 1);
	pthread_mutex_unlock(&r->lock);
}

/* Takes the newest keys if *generation is not theirs; false if it is. */
static inline bool ftt_keyring_follow(struct ftt_keyring *r, uint32_t *generation, struct ftt_keys *keys)
{
	if (atomic_load_explicit(&r->generation, memory_order_acquire) == *generation)
		return false;
	pthread_mutex_lock(&r->lock);
	*keys = r->keys;
	*generation = atomic_load(&r->generation);
	pthread_mutex_unlock(&r->lock);
	return true;
}

#endif
