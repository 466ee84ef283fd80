/* SPDX-License-Identifier: Apache-2.0 */
/* spool.c - see spool.h. The lock is held for two lists, never while the disk is waited for. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include "core/compare/digest.h"
#include "engine/spool/spool.h"
#include "engine/thread.h"

struct list {
	struct ftt_spool_order *first, **tail;
};

struct ftt_spool {
	int fd;
	void (*told)(void *of);
	void *of;
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t wake;
	struct list orders, done; /* under the lock, as the next one */
	bool closing;
	/* the worker's */
	uint32_t *free_slot, n_free, n_slots, room;
	uint32_t waiting;
};

static void add(struct list *l, struct ftt_spool_order *o)
{
	o->next = NULL;
	*l->tail = o;
	l->tail = &o->next;
}

static struct ftt_spool_order *take(struct list *l)
{
	struct ftt_spool_order *all = l->first;

	l->first = NULL;
	l->tail = &l->first;
	return all;
}

/* --- the thread ------------------------------------------------------------------------------------ */

static off_t place(uint32_t slot)
{
	return (off_t)slot * FTT_BLOCK_MAX;
}

static int move(int fd, const struct ftt_spool_order *o)
{
	for (uint32_t at = 0; at < o->len;) {
		off_t where = place(o->slot) + at;
		ssize_t n = o->kind == FTT_SPOOL_WRITE ? pwrite(fd, o->bytes + at, o->len - at, where) :
							 pread(fd, o->bytes + at, o->len - at, where);

		if (n < 0 && errno != EINTR)
			return errno;
		if (!n)
			return ENODATA;
		at += n > 0 ? (uint32_t)n : 0;
	}
	return 0;
}

static void carry_out(int fd, struct ftt_spool_order *o)
{
	if (o->kind != FTT_SPOOL_FREE) {
		o->error = move(fd, o);
		o->sum = ftt_crc32c(o->sum, o->bytes, o->len);
		return;
	}
	for (uint32_t i = 0; i < o->n_slots && !o->error; i++) /* where that is not to be had, their space is used again */
		o->error = fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, place(o->slots[i]), FTT_BLOCK_MAX) ? errno : 0;
}

static void *run(void *of)
{
	struct ftt_spool *s = of;

	pthread_mutex_lock(&s->lock);
	while (s->orders.first || !s->closing) {
		struct ftt_spool_order *o = s->orders.first;

		if (!o) {
			pthread_cond_wait(&s->wake, &s->lock);
			continue;
		}
		s->orders.first = o->next;
		if (!o->next)
			s->orders.tail = &s->orders.first;
		if (!s->closing) { /* else nobody will read it */
			pthread_mutex_unlock(&s->lock);
			carry_out(s->fd, o);
			pthread_mutex_lock(&s->lock);
		}
		add(&s->done, o);
		s->told(s->of);
	}
	pthread_mutex_unlock(&s->lock);
	return NULL;
}

/* --- the worker ------------------------------------------------------------------------------------- */

uint32_t ftt_spool_slot(struct ftt_spool *s, uint64_t most)
{
	if (ftt_spool_bytes(s) + FTT_BLOCK_MAX > most)
		return UINT32_MAX;
	if (s->n_free)
		return s->free_slot[--s->n_free];
	if (s->n_slots == s->room) { /* each may be free some day */
		uint32_t room = s->room ? s->room * 2 : 64, *more = realloc(s->free_slot, room * sizeof(*more));

		if (!more)
			return UINT32_MAX;
		s->free_slot = more;
		s->room = room;
	}
	return s->n_slots++;
}

void ftt_spool_put(struct ftt_spool *s, struct ftt_spool_order *o)
{
	s->waiting += o->kind == FTT_SPOOL_WRITE ? o->len : 0;
	pthread_mutex_lock(&s->lock);
	add(&s->orders, o);
	pthread_cond_signal(&s->wake);
	pthread_mutex_unlock(&s->lock);
}

struct ftt_spool_order *ftt_spool_done(struct ftt_spool *s)
{
	struct ftt_spool_order *all;

	pthread_mutex_lock(&s->lock);
	all = take(&s->done);
	pthread_mutex_unlock(&s->lock);
	for (const struct ftt_spool_order *o = all; o; o = o->next) {
		s->waiting -= o->kind == FTT_SPOOL_WRITE ? o->len : 0;
		for (uint32_t i = 0; o->kind == FTT_SPOOL_FREE && i < o->n_slots; i++)
			s->free_slot[s->n_free++] = o->slots[i];
	}
	return all;
}

uint64_t ftt_spool_bytes(const struct ftt_spool *s)
{
	return (uint64_t)(s->n_slots - s->n_free) * FTT_BLOCK_MAX;
}

uint32_t ftt_spool_waiting(const struct ftt_spool *s)
{
	return s->waiting;
}

/* --- life -------------------------------------------------------------------------------------------- */

static int begin(struct ftt_spool *s, const char *directory)
{
	int error;

	if (mkdir(directory, 0700) && errno != EEXIST)
		return errno;
	s->fd = open(directory, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	if (s->fd < 0)
		return errno;
	pthread_mutex_init(&s->lock, NULL);
	pthread_cond_init(&s->wake, NULL);
	error = ftt_thread_start(&s->thread, "fttcp-spool", run, s);
	if (!error)
		return 0;
	pthread_cond_destroy(&s->wake);
	pthread_mutex_destroy(&s->lock);
	close(s->fd);
	return error;
}

struct ftt_spool *ftt_spool_open(const char *directory, void (*told)(void *of), void *of)
{
	struct ftt_spool *s = calloc(1, sizeof(*s));
	int error = ENOMEM;

	if (s) {
		s->told = told;
		s->of = of;
		s->orders.tail = &s->orders.first;
		s->done.tail = &s->done.first;
		error = begin(s, directory);
	}
	if (!error)
		return s;
	free(s);
	errno = error;
	return NULL;
}

struct ftt_spool_order *ftt_spool_close(struct ftt_spool *s)
{
	struct ftt_spool_order *all;

	pthread_mutex_lock(&s->lock);
	s->closing = true;
	pthread_cond_signal(&s->wake);
	pthread_mutex_unlock(&s->lock);
	pthread_join(s->thread, NULL);
	all = ftt_spool_done(s);
	close(s->fd);
	pthread_cond_destroy(&s->wake);
	pthread_mutex_destroy(&s->lock);
	free(s->free_slot);
	free(s);
	return all;
}
