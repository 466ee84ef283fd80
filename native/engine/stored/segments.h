/* SPDX-License-Identifier: Apache-2.0 */
/*
 * segments.h - notes of requests and replies (core/stored.h) on stable storage.
 *
 * A thread has the files (segment_files.h), so nobody else waits for the disk. It reads them first, then writes what has gathered, syncs it, and tells.
 * A start, and trouble with the disk, begin a new segment: none is appended to whose end may be torn. A segment is deleted when all its notes are
 * needed no more. While the disk takes nothing, notes wait in memory, and it is tried again each second.
 */
#ifndef FTTCP_SEGMENTS_H
#define FTTCP_SEGMENTS_H
#include <stddef.h>
#include "core/stored.h"

#define FTT_SEGMENTS_WAITING (16u << 20) /* bytes that may wait for the disk */

struct ftt_segments;

/* What the thread calls, one after the other, and none after the end of ftt_segments_close(). They must not call segments. */
struct ftt_segments_user {
	void *found_of, *of;
	/* While reading: each note, as they were made; it ends with the call. 0, or errno. What was found before may come once more. */
	int (*found)(void *found_of, const struct ftt_stored_note *x);
	/* All is read; `cut`: bytes at the ends of segments that are no notes. */
	void (*read)(void *of, uint64_t cut);
	/* It cannot be read, and is tried again: errno (see FTT_STORED_UNREAD), and the serial number of the segment, or 0. */
	void (*unread)(void *of, int error, uint64_t serial);
	/* ftt_segments_there() has moved, or the trouble changed. */
	void (*told)(void *of);
};

/* Reads the directory, and makes it if its parent is there. NULL with a sentence in err. */
struct ftt_segments *ftt_segments_open(const char *dir, uint64_t segment_bytes, const struct ftt_segments_user *user, char *err, size_t err_len);
/* Is all read? Before, nothing may be put, and what found() fills is the thread's. */
bool ftt_segments_read(const struct ftt_segments *s);
/* A note as ftt_stored_put() has made it; it is copied. False: too much waits. */
bool ftt_segments_put(struct ftt_segments *s, const uint8_t *note, uint32_t len, uint64_t number);
/* The number of the last note that is on stable storage, with all before it. */
uint64_t ftt_segments_there(const struct ftt_segments *s);
/* errno of what keeps the disk from giving or taking notes at the moment; 0: nothing. One that does not answer has none. */
int ftt_segments_trouble(const struct ftt_segments *s);
/* Notes with smaller numbers are needed no more. */
void ftt_segments_forget(struct ftt_segments *s, uint64_t before);
/* Bytes of all segments. */
uint64_t ftt_segments_bytes(const struct ftt_segments *s);
/*
 * Writes what waits, once. A disk that does not answer within 0.2 s is left to the thread, which ends as soon as it does; until then nobody else
 * can open the directory. NULL is allowed.
 */
void ftt_segments_close(struct ftt_segments *s);

#endif
