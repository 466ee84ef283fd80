/* SPDX-License-Identifier: Apache-2.0 */
/* segments.c - see segments.h. Two buffers: the worker fills one while the thread writes the other. */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include "engine/disk.h"
#include "engine/stored/segment_files.h"
#include "engine/stored/segments.h"
#include "engine/thread.h"

#define AGAIN_MS 1000 /* between two attempts to read, or to write */
#define CLOSE_MS 200 /* for which the end waits for the disk */

struct buffer {
	uint8_t *bytes;
	uint32_t size, len;
	uint64_t last; /* number */
};

struct ftt_segments {
	struct ftt_segments_user user;
	char *dir;
	uint64_t most; /* bytes of a segment */
	struct ftt_segment_files files; /* the thread's */
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t wake;
	struct buffer fill, out; /* out: the thread's */
	uint64_t before;         /* what is needed no more; forgotten: what was done about that */
	uint64_t forgotten;
	bool closing, ended;
	bool left; /* nobody waits for the thread: it frees all */
	_Atomic bool read;
	_Atomic uint64_t there, bytes;
	_Atomic int trouble;
};

static void free_all(struct ftt_segments *s)
{
	ftt_segment_files_close(&s->files);
	pthread_cond_destroy(&s->wake);
	pthread_mutex_destroy(&s->lock);
	free(s->dir);
	free(s->fill.bytes);
	free(s->out.bytes);
	free(s);
}

/* --- reading ---------------------------------------------------------------------------------------- */

/* By the lock the user's memory is the thread's; and not any more once it closes. */
static int found(void *of, const struct ftt_stored_note *x)
{
	struct ftt_segments *s = of;
	int error;

	pthread_mutex_lock(&s->lock);
	error = s->closing ? ECANCELED : s->user.found(s->user.found_of, x);
	pthread_mutex_unlock(&s->lock);
	return error;
}

/* 0, or errno, and of which segment. */
static int read_all(struct ftt_segments *s, uint64_t *cut, uint64_t *serial)
{
	int error = ftt_segment_files_open(&s->files, s->dir);
	uint64_t there = 0;

	*cut = *serial = 0;
	for (size_t i = 0; !error && i < s->files.n; i++) {
		struct ftt_segment *one = &s->files.list[i];

		*serial = one->serial;
		error = ftt_segment_read(&s->files, one, found, s, cut);
		there = one->last > there ? one->last : there;
	}
	if (error) {
		ftt_segment_files_close(&s->files);
		return error;
	}
	atomic_store(&s->bytes, ftt_segment_files_bytes(&s->files));
	atomic_store(&s->there, there);
	return 0;
}

static struct timespec in(long ms)
{
	struct timespec until;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_nsec += ms % 1000 * 1000000;
	until.tv_sec += ms / 1000 + until.tv_nsec / 1000000000;
	until.tv_nsec %= 1000000000;
	return until;
}

/* With the lock. */
static void rest(struct ftt_segments *s)
{
	struct timespec until = in(AGAIN_MS);

	while (!s->closing && pthread_cond_timedwait(&s->wake, &s->lock, &until) != ETIMEDOUT)
		;
}

/* With the lock, which is let go of meanwhile. */
static void read_until_it_is(struct ftt_segments *s)
{
	while (!s->closing && !atomic_load(&s->read)) {
		uint64_t cut, serial;
		int error;

		pthread_mutex_unlock(&s->lock);
		error = read_all(s, &cut, &serial);
		pthread_mutex_lock(&s->lock);
		if (s->closing)
			return;
		if (!error) {
			atomic_store(&s->trouble, 0);
			atomic_store_explicit(&s->read, true, memory_order_release);
			s->user.read(s->user.of, cut);
			return;
		}
		if (atomic_exchange(&s->trouble, error) != error)
			s->user.unread(s->user.of, error, serial);
		rest(s);
	}
}

/* --- writing ------------------------------------------------------------------------------------------ */

/* With the lock, which is let go of meanwhile: one attempt. */
static void work(struct ftt_segments *s)
{
	uint64_t before = s->before;
	bool writes;
	int error = 0;

	if (!s->out.len) {
		struct buffer full = s->fill;

		s->fill = s->out;
		s->fill.len = 0;
		s->out = full;
	}
	writes = s->out.len;
	pthread_mutex_unlock(&s->lock);
	if (writes) {
		error = ftt_segment_write(&s->files, s->out.bytes, s->out.len, s->out.last);
		if (!error && s->files.list[s->files.n - 1].bytes >= s->most)
			ftt_segment_end(&s->files);
	}
	if (before != s->forgotten)
		ftt_segments_delete(&s->files, before);
	s->forgotten = before;
	atomic_store(&s->bytes, ftt_segment_files_bytes(&s->files));
	pthread_mutex_lock(&s->lock);
	if (writes)
		atomic_store(&s->trouble, error);
	if (writes && !error) {
		s->out.len = 0;
		atomic_store_explicit(&s->there, s->out.last, memory_order_release);
	}
	if (!s->closing)
		s->user.told(s->user.of);
}

static void *run(void *of)
{
	struct ftt_segments *s = of;
	bool left;

	pthread_mutex_lock(&s->lock);
	read_until_it_is(s);
	while (atomic_load(&s->read)) {
		while (!s->fill.len && !s->out.len && !s->closing && s->before == s->forgotten)
			pthread_cond_wait(&s->wake, &s->lock);
		if (s->closing && !s->fill.len && !s->out.len)
			break;
		work(s);
		if (s->out.len && s->closing)
			break;
		if (s->out.len)
			rest(s);
	}
	s->ended = true;
	left = s->left;
	pthread_cond_broadcast(&s->wake);
	pthread_mutex_unlock(&s->lock);
	if (left)
		free_all(s);
	return NULL;
}

/* --- for the worker ------------------------------------------------------------------------------------- */

static bool make_room(struct buffer *b, uint32_t more)
{
	uint32_t size = b->size ? b->size : 64u << 10;
	uint8_t *bytes;

	if (b->len + more > FTT_SEGMENTS_WAITING)
		return false;
	while (size < b->len + more)
		size *= 2;
	if (size == b->size)
		return true;
	bytes = realloc(b->bytes, size);
	if (!bytes)
		return false;
	b->bytes = bytes;
	b->size = size;
	return true;
}

bool ftt_segments_put(struct ftt_segments *s, const uint8_t *note, uint32_t len, uint64_t number)
{
	bool room;

	pthread_mutex_lock(&s->lock);
	room = make_room(&s->fill, len);
	if (room) {
		memcpy(s->fill.bytes + s->fill.len, note, len);
		s->fill.len += len;
		s->fill.last = number;
		pthread_cond_signal(&s->wake);
	}
	pthread_mutex_unlock(&s->lock);
	return room;
}

bool ftt_segments_read(const struct ftt_segments *s)
{
	return atomic_load_explicit(&s->read, memory_order_acquire);
}

uint64_t ftt_segments_there(const struct ftt_segments *s)
{
	return atomic_load_explicit(&s->there, memory_order_acquire);
}

int ftt_segments_trouble(const struct ftt_segments *s)
{
	return atomic_load(&s->trouble);
}

uint64_t ftt_segments_bytes(const struct ftt_segments *s)
{
	return atomic_load(&s->bytes);
}

void ftt_segments_forget(struct ftt_segments *s, uint64_t before)
{
	pthread_mutex_lock(&s->lock);
	if (before != s->before)
		pthread_cond_signal(&s->wake);
	s->before = before;
	pthread_mutex_unlock(&s->lock);
}

/* --- life ------------------------------------------------------------------------------------------------- */

struct ftt_segments *ftt_segments_open(const char *dir, uint64_t segment_bytes, const struct ftt_segments_user *user, char *err, size_t err_len)
{
	struct ftt_segments *s = calloc(1, sizeof(*s));
	pthread_condattr_t monotonic;
	int error;

	if (!s || !(s->dir = strdup(dir))) {
		free(s);
		snprintf(err, err_len, "stored replies: out of memory");
		return NULL;
	}
	s->files.dir = s->files.fd = -1;
	s->user = *user;
	s->most = segment_bytes;
	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_mutex_init(&s->lock, NULL);
	pthread_cond_init(&s->wake, &monotonic);
	pthread_condattr_destroy(&monotonic);
	error = ftt_thread_start(&s->thread, "fttcp-stored", run, s);
	if (!error)
		return s;
	snprintf(err, err_len, "stored replies: no thread: %s", strerror(error));
	free_all(s);
	return NULL;
}

void ftt_segments_close(struct ftt_segments *s)
{
	struct timespec until = in(CLOSE_MS);
	pthread_t thread;
	bool left;

	if (!s)
		return;
	pthread_mutex_lock(&s->lock);
	s->closing = true;
	pthread_cond_broadcast(&s->wake);
	while (!s->ended && pthread_cond_timedwait(&s->wake, &s->lock, &until) != ETIMEDOUT)
		;
	left = s->left = !s->ended;
	thread = s->thread;
	pthread_mutex_unlock(&s->lock);
	if (left) { /* s is the thread's */
		pthread_detach(thread);
		return;
	}
	pthread_join(thread, NULL);
	free_all(s);
}
