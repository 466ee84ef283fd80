/* SPDX-License-Identifier: Apache-2.0 */
/* segments.c - see segments.h. Two buffers: the worker fills one while the thread writes the other. */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include "engine/stored/segments.h"
#include "engine/thread.h"

#define AGAIN_S 1 /* between two attempts to write */
#define NAME "stored-%016" PRIx64
#define NAME_LEN 23

struct segment {
	uint64_t serial; /* its name */
	uint64_t last;   /* the largest number in it */
	uint64_t bytes;
};

struct buffer {
	uint8_t *bytes;
	uint32_t size, len;
	uint64_t last; /* number */
};

struct ftt_segments {
	struct ftt_segments_user user;
	uint64_t most; /* bytes of a segment */
	int dir, fd;   /* of the last segment; negative: a new one is to begin */
	struct segment *list;
	size_t n, room;
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t wake;
	struct buffer fill, out; /* out: the thread's */
	uint64_t before;         /* what is needed no more; forgotten: what was done about that */
	uint64_t forgotten;
	bool closing;
	_Atomic uint64_t there, bytes;
	_Atomic int trouble;
};

/* --- reading ---------------------------------------------------------------------------------------- */

static bool add_segment(struct ftt_segments *s, uint64_t serial)
{
	if (s->n == s->room) {
		size_t room = s->room ? 2 * s->room : 16;
		struct segment *list = realloc(s->list, room * sizeof(*list));

		if (!list)
			return false;
		s->list = list;
		s->room = room;
	}
	s->list[s->n++] = (struct segment){.serial = serial};
	return true;
}

static int by_serial(const void *a, const void *b)
{
	const struct segment *x = a, *y = b;

	return (x->serial > y->serial) - (x->serial < y->serial);
}

/* 0, or errno. */
static int list_segments(struct ftt_segments *s)
{
	int fd = fcntl(s->dir, F_DUPFD_CLOEXEC, 0), error = 0;
	DIR *at = fd < 0 ? NULL : fdopendir(fd);

	if (!at) {
		error = errno;
		if (fd >= 0)
			close(fd);
		return error;
	}
	for (const struct dirent *one; !error && (one = readdir(at));) {
		uint64_t serial;
		char name[NAME_LEN + 1];

		if (sscanf(one->d_name, "stored-%16" SCNx64, &serial) != 1)
			continue;
		snprintf(name, sizeof(name), NAME, serial);
		if (!strcmp(name, one->d_name) && !add_segment(s, serial))
			error = ENOMEM;
	}
	closedir(at);
	if (s->n)
		qsort(s->list, s->n, sizeof(*s->list), by_serial);
	return error;
}

/* All of a file; NULL: errno tells why. */
static uint8_t *read_file(int dir, const char *name, uint64_t *len)
{
	int fd = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC), error = 0;
	uint8_t *bytes = NULL;
	struct stat is;

	*len = 0;
	if (fd < 0)
		return NULL;
	if (fstat(fd, &is))
		error = errno;
	else if (!S_ISREG(is.st_mode))
		error = EINVAL;
	else if (!(bytes = malloc((size_t)is.st_size + 1)))
		error = ENOMEM;
	while (!error && *len < (uint64_t)is.st_size) {
		ssize_t n = read(fd, bytes + *len, (size_t)is.st_size - *len);

		if (!n)
			break;
		error = n < 0 && errno != EINTR ? errno : 0;
		*len += n > 0 ? (uint64_t)n : 0;
	}
	close(fd);
	if (!error)
		return bytes;
	free(bytes);
	errno = error;
	return NULL;
}

/* 0, or errno; EPROTO: of another release, or something else. *cut grows by the bytes that are no notes. */
static int read_segment(struct ftt_segments *s, struct segment *one, uint64_t *cut)
{
	char name[NAME_LEN + 1];
	struct ftt_stored_note x;
	uint64_t len, at;
	uint8_t *bytes;
	uint32_t n;

	snprintf(name, sizeof(name), NAME, one->serial);
	bytes = read_file(s->dir, name, &len);
	if (!bytes)
		return errno;
	if (len >= FTT_STORED_START && ftt_stored_version(bytes) != FTT_STORED_VERSION) {
		free(bytes);
		return EPROTO;
	}
	for (at = FTT_STORED_START; at < len && ftt_stored_get(bytes + at, len - at, &x, &n) == FTT_STORED_FOUND; at += n) {
		one->last = x.number > one->last ? x.number : one->last;
		s->user.found(s->user.of, &x);
	}
	*cut += at < len ? len - at : 0;
	one->bytes = len;
	free(bytes);
	return 0;
}

static int read_all(struct ftt_segments *s, uint64_t *cut, uint64_t *failed)
{
	for (size_t i = 0; i < s->n; i++) {
		int error = read_segment(s, &s->list[i], cut);

		*failed = s->list[i].serial;
		if (error)
			return error;
		s->bytes += s->list[i].bytes;
		s->there = s->list[i].last > s->there ? s->list[i].last : s->there;
	}
	return 0;
}

/* --- the thread --------------------------------------------------------------------------------------- */

/* 0, or errno. */
static int write_all(int fd, const uint8_t *p, size_t n)
{
	while (n) {
		ssize_t one = write(fd, p, n);

		if (one < 0 && errno != EINTR)
			return errno;
		p += one > 0 ? one : 0;
		n -= one > 0 ? (size_t)one : 0;
	}
	return 0;
}

/* 0, or errno: then nothing is left of it, but perhaps a file without notes. */
static int begin_segment(struct ftt_segments *s)
{
	uint64_t serial = s->n ? s->list[s->n - 1].serial + 1 : 1;
	uint8_t start[FTT_STORED_START];
	char name[NAME_LEN + 1];
	int error;

	snprintf(name, sizeof(name), NAME, serial);
	s->fd = openat(s->dir, name, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (s->fd < 0)
		return errno;
	ftt_stored_start_put(start);
	error = write_all(s->fd, start, sizeof(start));
	if (!error && (fsync(s->fd) || fsync(s->dir)))
		error = errno;
	if (!error && !add_segment(s, serial))
		error = ENOMEM;
	if (!error) {
		s->list[s->n - 1].bytes = sizeof(start);
		atomic_fetch_add(&s->bytes, sizeof(start));
		return 0;
	}
	close(s->fd);
	s->fd = -1;
	unlinkat(s->dir, name, 0);
	return error;
}

static void end_segment(struct ftt_segments *s)
{
	close(s->fd);
	s->fd = -1;
}

/* Writes and syncs what is in s->out: 0, or errno. */
static int write_out(struct ftt_segments *s)
{
	int error = s->fd < 0 ? begin_segment(s) : 0;
	struct segment *one;

	if (error)
		return error;
	one = &s->list[s->n - 1];
	error = write_all(s->fd, s->out.bytes, s->out.len);
	if (!error && fdatasync(s->fd))
		error = errno;
	if (error) { /* what was written is cut off; if that fails as well, a note is there twice, or the last one is torn */
		(void)!ftruncate(s->fd, (off_t)one->bytes);
		end_segment(s);
		return error;
	}
	one->bytes += s->out.len;
	one->last = s->out.last;
	atomic_fetch_add(&s->bytes, s->out.len);
	s->out.len = 0;
	if (one->bytes >= s->most)
		end_segment(s);
	return 0;
}

/* Segments that are needed no more. The one that is written stays. */
static void delete_some(struct ftt_segments *s, uint64_t before)
{
	size_t left = 0;

	for (size_t i = 0; i < s->n; i++) {
		char name[NAME_LEN + 1];
		bool written = s->fd >= 0 && i == s->n - 1;

		snprintf(name, sizeof(name), NAME, s->list[i].serial);
		if (!written && s->list[i].last < before && (!unlinkat(s->dir, name, 0) || errno == ENOENT))
			atomic_fetch_sub(&s->bytes, s->list[i].bytes);
		else
			s->list[left++] = s->list[i];
	}
	s->n = left;
}

/* With the lock, which is let go of meanwhile: one attempt. */
static void work(struct ftt_segments *s)
{
	uint64_t before = s->before;
	int error = 0;

	if (!s->out.len) {
		struct buffer full = s->fill;

		s->fill = s->out;
		s->fill.len = 0;
		s->out = full;
	}
	pthread_mutex_unlock(&s->lock);
	if (s->out.len) {
		uint64_t last = s->out.last;

		error = write_out(s);
		atomic_store(&s->trouble, error);
		if (!error)
			atomic_store_explicit(&s->there, last, memory_order_release);
	}
	if (before != s->forgotten)
		delete_some(s, before);
	s->forgotten = before;
	s->user.told(s->user.of);
	pthread_mutex_lock(&s->lock);
}

/* With the lock. */
static void rest(struct ftt_segments *s)
{
	struct timespec until;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += AGAIN_S;
	while (!s->closing && pthread_cond_timedwait(&s->wake, &s->lock, &until) != ETIMEDOUT)
		;
}

static void *run(void *of)
{
	struct ftt_segments *s = of;

	pthread_mutex_lock(&s->lock);
	for (;;) {
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
	pthread_mutex_unlock(&s->lock);
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

static void free_all(struct ftt_segments *s)
{
	if (s->fd >= 0)
		close(s->fd);
	if (s->dir >= 0)
		close(s->dir);
	free(s->list);
	free(s->fill.bytes);
	free(s->out.bytes);
	free(s);
}

static int start(struct ftt_segments *s)
{
	pthread_condattr_t monotonic;
	int error;

	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_mutex_init(&s->lock, NULL);
	pthread_cond_init(&s->wake, &monotonic);
	pthread_condattr_destroy(&monotonic);
	error = ftt_thread_start(&s->thread, "fttcp-stored", run, s);
	if (error) {
		pthread_cond_destroy(&s->wake);
		pthread_mutex_destroy(&s->lock);
	}
	return error;
}

static int open_dir(struct ftt_segments *s, const char *dir)
{
	if (mkdir(dir, 0700) && errno != EEXIST)
		return errno;
	s->dir = open(dir, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	return s->dir < 0 ? errno : list_segments(s);
}

struct ftt_segments *ftt_segments_open(const char *dir, uint64_t segment_bytes, const struct ftt_segments_user *user, uint64_t *cut, char *err,
				       size_t err_len)
{
	struct ftt_segments *s = calloc(1, sizeof(*s));
	uint64_t failed = 0;
	int error;

	*cut = 0;
	if (!s) {
		snprintf(err, err_len, "stored replies: out of memory");
		return NULL;
	}
	s->dir = s->fd = -1;
	s->user = *user;
	s->most = segment_bytes;
	error = open_dir(s, dir);
	if (error)
		snprintf(err, err_len, "stored replies: directory %s: %s", dir, strerror(error));
	else if ((error = read_all(s, cut, &failed)) == EPROTO)
		snprintf(err, err_len, "stored replies: %s/" NAME " is of another release, or something else: move it away, and requests in it may be executed again",
			 dir, failed);
	else if (error)
		snprintf(err, err_len, "stored replies: %s/" NAME ": %s", dir, failed, strerror(error));
	else if ((error = start(s)))
		snprintf(err, err_len, "stored replies: no thread: %s", strerror(error));
	if (!error)
		return s;
	free_all(s);
	return NULL;
}

void ftt_segments_close(struct ftt_segments *s)
{
	if (!s)
		return;
	pthread_mutex_lock(&s->lock);
	s->closing = true;
	pthread_cond_signal(&s->wake);
	pthread_mutex_unlock(&s->lock);
	pthread_join(s->thread, NULL);
	pthread_cond_destroy(&s->wake);
	pthread_mutex_destroy(&s->lock);
	free_all(s);
}
