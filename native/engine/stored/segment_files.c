/* SPDX-License-Identifier: Apache-2.0 */
/* segment_files.c - see segment_files.h. */
#define _GNU_SOURCE
#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include "engine/disk.h"
#include "engine/stored/segment_files.h"

#define NAME "stored-%016" PRIx64
#define NAME_LEN 23
#define AT_ONCE (4 * FTT_STORED_NOTE_MAX) /* bytes of a segment that are in memory while it is read */

/* --- the directory ------------------------------------------------------------------------------------ */

static bool add_segment(struct ftt_segment_files *f, uint64_t serial, uint64_t bytes)
{
	if (f->n == f->room) {
		size_t room = f->room ? 2 * f->room : 16;
		struct ftt_segment *list = realloc(f->list, room * sizeof(*list));

		if (!list)
			return false;
		f->list = list;
		f->room = room;
	}
	f->list[f->n++] = (struct ftt_segment){.serial = serial, .bytes = bytes};
	return true;
}

static int by_serial(const void *a, const void *b)
{
	const struct ftt_segment *x = a, *y = b;

	return (x->serial > y->serial) - (x->serial < y->serial);
}

static int list_segments(struct ftt_segment_files *f)
{
	int fd = fcntl(f->dir, F_DUPFD_CLOEXEC, 0), error = 0;
	DIR *at = fd < 0 ? NULL : fdopendir(fd);

	if (!at) {
		error = errno;
		if (fd >= 0)
			close(fd);
		return error;
	}
	while (!error) {
		const struct dirent *one;
		uint64_t serial;
		char name[NAME_LEN + 1];

		errno = 0;
		one = readdir(at);
		if (!one) {
			error = errno; /* 0 at the end */
			break;
		}
		if (sscanf(one->d_name, "stored-%16" SCNx64, &serial) != 1)
			continue;
		snprintf(name, sizeof(name), NAME, serial);
		if (!strcmp(name, one->d_name) && !add_segment(f, serial, 0))
			error = ENOMEM;
	}
	closedir(at);
	if (f->n)
		qsort(f->list, f->n, sizeof(*f->list), by_serial);
	return error;
}

/* The directory's own name is stored as well. */
static int sync_parent(int dir)
{
	int parent = openat(dir, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC), error = parent < 0 || fsync(parent) ? errno : 0;

	if (parent >= 0)
		close(parent);
	return error;
}

int ftt_segment_files_open(struct ftt_segment_files *f, const char *dir)
{
	int error;

	*f = (struct ftt_segment_files){.dir = -1, .fd = -1};
	if (mkdir(dir, 0700) && errno != EEXIST)
		return errno;
	f->dir = open(dir, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (f->dir < 0 || flock(f->dir, LOCK_EX | LOCK_NB))
		return errno;
	error = sync_parent(f->dir);
	return error ? error : list_segments(f);
}

void ftt_segment_files_close(struct ftt_segment_files *f)
{
	if (f->fd >= 0)
		close(f->fd);
	if (f->dir >= 0)
		close(f->dir);
	free(f->list);
	*f = (struct ftt_segment_files){.dir = -1, .fd = -1};
}

uint64_t ftt_segment_files_bytes(const struct ftt_segment_files *f)
{
	uint64_t bytes = 0;

	for (size_t i = 0; i < f->n; i++)
		bytes += f->list[i].bytes;
	return bytes;
}

/* --- reading -------------------------------------------------------------------------------------------- */

/* A segment that is read. */
struct reading {
	int fd;
	uint8_t *bytes; /* AT_ONCE of them, of which `len` are read and not taken */
	uint32_t len;
	bool begun, broken, ended; /* behind its start; at bytes that are no note; at its end */
};

static int read_more(struct reading *r)
{
	ssize_t n;

	do
		n = read(r->fd, r->bytes + r->len, AT_ONCE - r->len);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return errno;
	r->ended = !n;
	r->len += (uint32_t)n;
	return 0;
}

/* What begins otherwise than a segment has lost its first bytes, and the notes behind speak for themselves. */
static int take_start(struct reading *r, uint32_t *at, uint64_t *cut)
{
	uint32_t version;

	if (r->begun || r->len < FTT_STORED_START)
		return 0;
	r->begun = true;
	version = ftt_stored_version(r->bytes);
	*at = FTT_STORED_START;
	*cut += version ? 0 : FTT_STORED_START;
	return version && version != FTT_STORED_VERSION ? EPROTO : 0;
}

/* Takes the whole notes among what is read. */
static int take_notes(struct reading *r, struct ftt_segment *one, int (*found)(void *of, const struct ftt_stored_note *x), void *of, uint64_t *cut)
{
	enum ftt_stored_found is = FTT_STORED_SHORT;
	struct ftt_stored_note x;
	uint32_t at = 0, len;
	int error = take_start(r, &at, cut);

	while (!error && r->begun && (is = ftt_stored_get(r->bytes + at, r->len - at, &x, &len)) == FTT_STORED_FOUND) {
		one->last = x.number > one->last ? x.number : one->last;
		error = found(of, &x);
		at += len;
	}
	r->broken = is == FTT_STORED_BROKEN;
	r->len -= at;
	memmove(r->bytes, r->bytes + at, r->len);
	one->bytes += at;
	return error;
}

static int open_regular(int dir, const char *name, uint64_t *size)
{
	int fd = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC), error;
	struct stat is;

	if (fd < 0)
		return -errno;
	error = fstat(fd, &is) ? errno : S_ISREG(is.st_mode) ? 0 : EINVAL;
	if (error)
		close(fd);
	*size = error ? 0 : (uint64_t)is.st_size;
	return error ? -error : fd;
}

int ftt_segment_read(const struct ftt_segment_files *f, struct ftt_segment *one, int (*found)(void *of, const struct ftt_stored_note *x), void *of,
		     uint64_t *cut)
{
	struct reading r = {.bytes = malloc(AT_ONCE)};
	char name[NAME_LEN + 1];
	uint64_t size = 0;
	int error = r.bytes ? 0 : ENOMEM;

	snprintf(name, sizeof(name), NAME, one->serial);
	one->bytes = one->last = 0;
	r.fd = error ? -1 : open_regular(f->dir, name, &size);
	if (!error && r.fd < 0)
		error = -r.fd;
	while (!error && !r.ended && !r.broken) {
		error = read_more(&r);
		if (!error)
			error = take_notes(&r, one, found, of, cut);
	}
	if (!error && r.begun)
		*cut += size > one->bytes ? size - one->bytes : 0;
	one->bytes = size;
	if (r.fd >= 0)
		close(r.fd);
	free(r.bytes);
	return error;
}

/* --- writing -------------------------------------------------------------------------------------------- */

/* On an error nothing is left of it, but perhaps a file without notes. */
static int begin_segment(struct ftt_segment_files *f)
{
	uint64_t serial = f->n ? f->list[f->n - 1].serial + 1 : 1;
	uint8_t start[FTT_STORED_START];
	char name[NAME_LEN + 1];
	int error;

	snprintf(name, sizeof(name), NAME, serial);
	f->fd = openat(f->dir, name, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (f->fd < 0)
		return errno;
	ftt_stored_start_put(start);
	error = ftt_write_all(f->fd, start, sizeof(start));
	if (!error && (fsync(f->fd) || fsync(f->dir)))
		error = errno;
	if (!error && !add_segment(f, serial, sizeof(start)))
		error = ENOMEM;
	if (!error)
		return 0;
	ftt_segment_end(f);
	unlinkat(f->dir, name, 0);
	return error;
}

void ftt_segment_end(struct ftt_segment_files *f)
{
	close(f->fd);
	f->fd = -1;
}

/* It is needed no more: true, unless it cannot be deleted. */
static bool delete_one(const struct ftt_segment_files *f, const struct ftt_segment *one)
{
	char name[NAME_LEN + 1];

	snprintf(name, sizeof(name), NAME, one->serial);
	return !unlinkat(f->dir, name, 0) || errno == ENOENT;
}

/* What was written is cut off; if that fails as well, a note is there twice, or the last one is torn. A disk in trouble is not filled with empty files. */
static void take_back(struct ftt_segment_files *f, const struct ftt_segment *one)
{
	(void)!ftruncate(f->fd, (off_t)one->bytes);
	ftt_segment_end(f);
	if (!one->last && delete_one(f, one))
		f->n--;
}

int ftt_segment_write(struct ftt_segment_files *f, const uint8_t *notes, uint32_t len, uint64_t last)
{
	int error = f->fd < 0 ? begin_segment(f) : 0;
	struct ftt_segment *one;

	if (error)
		return error;
	one = &f->list[f->n - 1];
	error = ftt_write_all(f->fd, notes, len);
	if (!error && fdatasync(f->fd))
		error = errno;
	if (error) {
		take_back(f, one);
		return error;
	}
	one->bytes += len;
	one->last = last;
	return 0;
}

void ftt_segments_delete(struct ftt_segment_files *f, uint64_t before)
{
	size_t left = 0;

	for (size_t i = 0; i < f->n; i++) {
		bool written = f->fd >= 0 && i == f->n - 1;

		if (written || f->list[i].last >= before || !delete_one(f, &f->list[i]))
			f->list[left++] = f->list[i];
	}
	f->n = left;
}
