/* SPDX-License-Identifier: Apache-2.0 */
/* events.c - what the threads of an engine tell Python: a ring, and an eventfd that wakes it. Beside it their clock. */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>
#include "engine/engine.h"

#define RING 4096

struct ftt_events {
	pthread_mutex_t lock;
	int fd;
	uint32_t head, tail; /* next to read, next to write */
	uint64_t lost;
	struct ftt_event ring[RING];
};

uint64_t ftt_now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_BOOTTIME, &ts);
	return (uint64_t)ts.tv_sec * 1000000000ull + (uint64_t)ts.tv_nsec;
}

struct ftt_events *ftt_events_open(void)
{
	struct ftt_events *v = calloc(1, sizeof(*v));

	if (!v)
		return NULL;
	v->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (v->fd >= 0 && ftt_lending_mutex(&v->lock))
		return v;
	if (v->fd >= 0)
		close(v->fd);
	free(v);
	return NULL;
}

void ftt_events_close(struct ftt_events *v)
{
	if (!v)
		return;
	close(v->fd);
	pthread_mutex_destroy(&v->lock);
	free(v);
}

void ftt_event_post(struct ftt_engine *e, const struct ftt_event *ev)
{
	struct ftt_events *v = e->events;
	uint64_t one = 1;
	bool full;

	pthread_mutex_lock(&v->lock);
	full = v->tail - v->head == RING;
	if (full) {
		v->lost++;
	} else {
		v->ring[v->tail % RING] = *ev;
		if (!ev->when_ns)
			v->ring[v->tail % RING].when_ns = ftt_now_ns();
		v->tail++;
	}
	pthread_mutex_unlock(&v->lock);
	if (write(v->fd, &one, sizeof(one)) < 0)
		return; /* EAGAIN: readable anyway */
}

int ftt_engine_event_fd(struct ftt_engine *e)
{
	return e->events->fd;
}

int ftt_engine_events(struct ftt_engine *e, struct ftt_event *out, int max)
{
	struct ftt_events *v = e->events;
	uint64_t count;
	int n = 0;
	bool more;

	if (read(v->fd, &count, sizeof(count)) < 0 && errno != EAGAIN)
		return 0;
	pthread_mutex_lock(&v->lock);
	while (n < max && v->head != v->tail)
		out[n++] = v->ring[v->head++ % RING];
	more = v->head != v->tail;
	pthread_mutex_unlock(&v->lock);
	count = 1;
	if (more && write(v->fd, &count, sizeof(count)) < 0)
		return n; /* readable anyway */
	return n;
}

/* A worker has carried out the role of this generation; the last one reports a takeover done. */
void ftt_engine_role_done(struct ftt_engine *e, uint32_t flows, uint64_t generation)
{
	struct ftt_event ev = {.kind = FTT_EV_TAKEOVER_DONE};

	if (generation != atomic_load(&e->shared.generation))
		return; /* overtaken by another change */
	atomic_fetch_add(&e->role_flows, flows);
	if (atomic_fetch_sub(&e->role_pending, 1) == 1 && atomic_load(&e->role_takeover)) {
		ev.value = atomic_load(&e->role_flows);
		ftt_event_post(e, &ev);
	}
}
