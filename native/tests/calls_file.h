/* SPDX-License-Identifier: Apache-2.0 */
/* calls_file.h - logs of calls in files, and threads of a leader and of a follower that write and read them as native/calls does. */
#ifndef FTTCP_TESTS_CALLS_FILE_H
#define FTTCP_TESTS_CALLS_FILE_H
#include <sys/mman.h>
#include <unistd.h>
#include "check.h"
#include "engine/calls/drain.h"
#include "engine/calls/feed.h"

#define CALLS_RING 4096u

struct calls_file {
	char path[40];
	size_t size;
	struct ftt_calls_log *log; /* as its server sees it */
};

static inline void calls_file_make(struct calls_file *f)
{
	int fd;

	strcpy(f->path, "/tmp/fttcp-calls-XXXXXX");
	f->size = 2 * FTT_CALLS_PAGE + FTT_CALLS_RINGS * CALLS_RING;
	fd = mkstemp(f->path);
	CHECK(fd >= 0 && !ftruncate(fd, (off_t)f->size));
	f->log = mmap(NULL, f->size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	CHECK(f->log != MAP_FAILED);
	close(fd);
	f->log->magic = FTT_CALLS_MAGIC;
	f->log->ring_size = CALLS_RING;
}

static inline void calls_file_map(const struct calls_file *f, struct ftt_calls_memory *m)
{
	char err[200] = "";

	CHECK(!ftt_calls_map(m, f->path, err, sizeof(err)));
}

static inline void calls_file_end(struct calls_file *f)
{
	CHECK(!munmap(f->log, f->size) && !unlink(f->path));
}

static inline uint8_t *calls_ring_bytes(const struct calls_file *f, const struct ftt_calls_ring *r)
{
	return (uint8_t *)f->log + 2 * FTT_CALLS_PAGE + (size_t)(r - ftt_calls_rings(f->log)) * CALLS_RING;
}

static inline struct ftt_calls_ring *calls_ring_of(const struct calls_file *f, uint64_t name)
{
	struct ftt_calls_ring *r = ftt_calls_rings(f->log);

	for (int i = 0; i < (int)FTT_CALLS_RINGS; i++)
		if (r[i].name == name)
			return &r[i];
	return NULL;
}

/* What the thread of that name says at that place. */
static inline uint8_t calls_byte(uint64_t name, uint64_t at)
{
	return (uint8_t)(name * 131 + at * 7 + (at >> 8));
}

/* The leader's thread writes n bytes, of what it says in all; how many had room. `said`: how many it has said before. */
static inline uint32_t calls_write(const struct calls_file *f, uint64_t name, uint64_t *said, uint32_t n)
{
	struct ftt_calls_ring *r = calls_ring_of(f, name);
	uint32_t room;

	if (!r) {
		if (!(r = calls_ring_of(f, 0)))
			return 0;
		r->name = name;
		r->leader = 1;
	}
	room = CALLS_RING - (uint32_t)(r->written - r->read);
	n = n < room ? n : room;
	for (uint32_t i = 0; i < n; i++)
		calls_ring_bytes(f, r)[(r->written + i) & (CALLS_RING - 1)] = calls_byte(name, (*said)++);
	r->written += n;
	return n;
}

/* The follower's thread reads up to n bytes, which must be what it is told. */
static inline uint32_t calls_read(const struct calls_file *f, uint64_t name, uint64_t *heard, uint32_t n)
{
	struct ftt_calls_ring *r = calls_ring_of(f, name);
	uint32_t there = r ? (uint32_t)(r->written - r->read) : 0;

	n = n < there ? n : there;
	for (uint32_t i = 0; i < n; i++)
		CHECK_EQ(calls_ring_bytes(f, r)[(r->read + i) & (CALLS_RING - 1)], calls_byte(name, (*heard)++));
	if (r) {
		r->follower = 1;
		r->read += n;
	}
	return n;
}

/* As leave() of native/calls/place.c: a thread has ended. */
static inline bool calls_leave(const struct calls_file *f, uint64_t name)
{
	struct ftt_calls_ring *r = calls_ring_of(f, name);

	if (!r)
		return false;
	if (atomic_fetch_add(&r->over, 1)) {
		r->read = r->written;
		r->over = 0;
		r->name = 0;
	}
	return true;
}

#endif
