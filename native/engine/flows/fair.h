/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fair.h - a lock that a busy thread takes again and again, and others now and then.
 *
 * A worker that always finds packets gives its lock back and takes it again before anybody who waits for it has
 * woken up: a mutex is not fair. Here one waits with the turn in its hand, and nobody takes the lock without a turn.
 */
#ifndef FTTCP_FAIR_H
#define FTTCP_FAIR_H
#include <pthread.h>

struct ftt_fair {
	pthread_mutex_t turn, lock;
};

static inline void ftt_fair_init(struct ftt_fair *f)
{
	pthread_mutex_init(&f->turn, NULL);
	pthread_mutex_init(&f->lock, NULL);
}

static inline void ftt_fair_destroy(struct ftt_fair *f)
{
	pthread_mutex_destroy(&f->lock);
	pthread_mutex_destroy(&f->turn);
}

static inline void ftt_fair_lock(struct ftt_fair *f)
{
	pthread_mutex_lock(&f->turn);
	pthread_mutex_lock(&f->lock);
	pthread_mutex_unlock(&f->turn);
}

static inline void ftt_fair_unlock(struct ftt_fair *f)
{
	pthread_mutex_unlock(&f->lock);
}

#endif
