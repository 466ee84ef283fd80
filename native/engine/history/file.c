/* SPDX-License-Identifier: Apache-2.0 */
/* file.c - see file.h. Two buffers: workers fill one while the thread writes the other. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include "core/history.h"
#include "engine/disk.h"
#include "engine/history/file.h"
#include "engine/thread.h"

#define FIRST (64u << 10) /* bytes of a buffer in the beginning */

struct buffer {
	uint8_t *bytes;
	uint32_t size, len;
};

struct ftt_history_file {
	struct ftt_history_settings set;
	int fd;
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t wake, has_told;
	void (*told)(void *of); /* under the lock, as all up to `done` */
	void *of;
	bool telling;
	struct buffer fill;
	uint64_t end;       /* of what was put */
	bool closing, done;
	struct buffer out;  /* the thread's, as the next three */
	uint32_t sum;
	uint64_t sync_ns;   /* when to sync; 0: all is */
	bool dead;          /* the disk takes no more */
	_Atomic uint64_t there;
	_Atomic int why;
};

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000ull + (uint64_t)t.tv_nsec;
}

/* --- workers -------------------------------------------------------------------------------------- */

static bool make_room(struct buffer *b, uint32_t more)
{
	uint32_t size = b->size ? b->size : FIRST;
	uint8_t *bytes;

	while (size < b->len + more && size < FTT_HISTORY_WAITING)
		size *= 2;
	if (size < b->len + more)
		return false;
	if (size == b->size)
		return true;
	bytes = realloc(b->bytes, size);
	if (!bytes)
		return false;
	b->bytes = bytes;
	b->size = size;
	return true;
}

uint64_t ftt_history_file_put(struct ftt_history_file *h, const uint8_t *frame, uint32_t len)
{
	uint64_t end = 0;

	pthread_mutex_lock(&h->lock);
	if (!atomic_load(&h->why)) {
		int why = h->end + len > h->set.most ? EFBIG : make_room(&h->fill, len) ? 0 : ENOBUFS;

		if (why) {
			atomic_store(&h->why, why);
		} else {
			memcpy(h->fill.bytes + h->fill.len, frame, len);
			h->fill.len += len;
			end = h->end += len;
		}
		pthread_cond_signal(&h->wake);
	}
	pthread_mutex_unlock(&h->lock);
	return end;
}

void ftt_history_file_tell(struct ftt_history_file *h, void (*told)(void *of), void *of)
{
	pthread_mutex_lock(&h->lock);
	h->told = told;
	h->of = of;
	while (h->telling)
		pthread_cond_wait(&h->has_told, &h->lock);
	pthread_mutex_unlock(&h->lock);
}

uint64_t ftt_history_file_there(const struct ftt_history_file *h)
{
	return atomic_load_explicit(&h->there, memory_order_acquire);
}

int ftt_history_file_why(const struct ftt_history_file *h)
{
	return atomic_load_explicit(&h->why, memory_order_acquire);
}

/* --- the thread ------------------------------------------------------------------------------------ */

/* The disk takes no more. What was half written goes; should that fail as well, its reader sees a frame that is cut. */
static void give_up(struct ftt_history_file *h, int why)
{
	int none = 0;

	h->dead = true;
	h->sync_ns = 0;
	atomic_compare_exchange_strong(&h->why, &none, why);
	(void)!ftruncate(h->fd, (off_t)atomic_load(&h->there));
}

static void sync_now(struct ftt_history_file *h)
{
	h->sync_ns = 0;
	if (fdatasync(h->fd))
		give_up(h, errno);
}

/* What waits is in h->out. */
static void write_out(struct ftt_history_file *h)
{
	int error;

	for (uint32_t at = 0; at < h->out.len; at += ftt_history_length(h->out.bytes + at))
		h->sum = ftt_history_seal(h->sum, h->out.bytes + at);
	error = ftt_write_all(h->fd, h->out.bytes, h->out.len);
	if (error)
		give_up(h, error);
	else if (h->set.fsync == FTT_FSYNC_BATCH)
		sync_now(h);
	else if (h->set.fsync == FTT_FSYNC_EVERY && !h->sync_ns)
		h->sync_ns = now_ns() + h->set.every_ns;
	if (!h->dead)
		atomic_fetch_add(&h->there, h->out.len);
}

/* Waits for work, with the lock; false: there will be none. */
static bool wait_for_work(struct ftt_history_file *h, int told_of)
{
	while (!h->fill.len && !h->closing && atomic_load(&h->why) == told_of) {
		struct timespec until = {.tv_sec = (time_t)(h->sync_ns / 1000000000ull), .tv_nsec = (long)(h->sync_ns % 1000000000ull)};

		if (!h->sync_ns)
			pthread_cond_wait(&h->wake, &h->lock);
		else if (pthread_cond_timedwait(&h->wake, &h->lock, &until) == ETIMEDOUT)
			return true;
	}
	return h->fill.len || !h->closing;
}

/* With the lock, which is let go of meanwhile. */
static void tell(struct ftt_history_file *h)
{
	void (*told)(void *of) = h->told;
	void *of = h->of;

	if (!told)
		return;
	h->telling = true;
	pthread_mutex_unlock(&h->lock);
	told(of);
	pthread_mutex_lock(&h->lock);
	h->telling = false;
	pthread_cond_broadcast(&h->has_told);
}

static void *run(void *of)
{
	struct ftt_history_file *h = of;
	int told_of = 0; /* the end that was told */

	pthread_mutex_lock(&h->lock);
	while (wait_for_work(h, told_of)) {
		struct buffer full = h->fill;

		h->fill = h->out;
		h->fill.len = 0;
		h->out = full;
		pthread_mutex_unlock(&h->lock);
		if (h->out.len && !h->dead)
			write_out(h);
		if (h->sync_ns && now_ns() >= h->sync_ns)
			sync_now(h);
		told_of = atomic_load(&h->why);
		pthread_mutex_lock(&h->lock);
		tell(h);
	}
	pthread_mutex_unlock(&h->lock);
	return NULL;
}

/* --- life ------------------------------------------------------------------------------------------ */

static int write_head(struct ftt_history_file *h)
{
	struct ftt_history_event head = {.kind = FTT_HISTORY_HEAD, .data = h->set.head, .data_len = h->set.head_len};
	uint32_t room = FTT_HISTORY_START + FTT_HISTORY_FRAME_MAX, n;
	uint8_t *bytes = malloc(room);
	int error = ENOMEM;

	if (bytes) {
		ftt_history_start_put(bytes);
		n = ftt_history_put(bytes + FTT_HISTORY_START, FTT_HISTORY_FRAME_MAX, &head);
		if (n)
			h->sum = ftt_history_seal(0, bytes + FTT_HISTORY_START);
		h->end = FTT_HISTORY_START + n;
		error = n ? ftt_write_all(h->fd, bytes, h->end) : E2BIG;
	}
	free(bytes);
	if (!error && h->set.fsync != FTT_FSYNC_NEVER && fdatasync(h->fd))
		error = errno;
	atomic_store(&h->there, h->end);
	return error;
}

/* A file is there after a loss of power only if its directory is synced as well. */
static int sync_directory(const char *path)
{
	char *copy = strdup(path);
	int fd = copy ? open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1, error = fd < 0 || fsync(fd) ? errno : 0;

	if (fd >= 0)
		close(fd);
	free(copy);
	return error;
}

static int begin(struct ftt_history_file *h)
{
	pthread_condattr_t monotonic;
	int error;

	h->fd = open(h->set.path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (h->fd < 0)
		return errno;
	error = write_head(h);
	if (!error && h->set.fsync != FTT_FSYNC_NEVER)
		error = sync_directory(h->set.path);
	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_mutex_init(&h->lock, NULL);
	pthread_cond_init(&h->wake, &monotonic);
	pthread_cond_init(&h->has_told, NULL);
	pthread_condattr_destroy(&monotonic);
	if (!error)
		error = ftt_thread_start(&h->thread, "fttcp-history", run, h);
	if (!error)
		return 0;
	unlink(h->set.path);
	close(h->fd);
	pthread_cond_destroy(&h->has_told);
	pthread_cond_destroy(&h->wake);
	pthread_mutex_destroy(&h->lock);
	return error;
}

struct ftt_history_file *ftt_history_file_open(const struct ftt_history_settings *s, char *err, size_t err_len)
{
	struct ftt_history_file *h = calloc(1, sizeof(*h));
	int error = ENOMEM;

	if (h) {
		h->set = *s;
		error = begin(h);
		h->set.path = NULL; /* the caller's, as */
		h->set.head = NULL;
	}
	if (!error)
		return h;
	snprintf(err, err_len, "history file %s: %s", s->path, strerror(error));
	free(h);
	return NULL;
}

void ftt_history_file_close(struct ftt_history_file *h, bool done)
{
	struct ftt_history_event last = {.kind = FTT_HISTORY_DONE};
	uint8_t frame[FTT_HISTORY_FRAME_MAX - 65536];

	if (!h)
		return;
	if (done)
		ftt_history_file_put(h, frame, ftt_history_put(frame, sizeof(frame), &last));
	pthread_mutex_lock(&h->lock);
	h->closing = true;
	pthread_cond_signal(&h->wake);
	pthread_mutex_unlock(&h->lock);
	pthread_join(h->thread, NULL);
	if (h->sync_ns)
		sync_now(h);
	close(h->fd);
	pthread_cond_destroy(&h->has_told);
	pthread_cond_destroy(&h->wake);
	pthread_mutex_destroy(&h->lock);
	free(h->fill.bytes);
	free(h->out.bytes);
	free(h);
}
