/* SPDX-License-Identifier: Apache-2.0 */
/*
 * segments.h - notes of requests and replies (core/stored.h) on stable storage.
 *
 * A directory of files, `stored-` and 16 hex digits each. Who puts a note never waits for the disk: a thread writes what has gathered, syncs it,
 * and tells. A start, and trouble with the disk, begin a new segment: none is appended to whose end may be torn. A segment is deleted when all its
 * notes are needed no more. While the disk takes nothing, notes wait in memory, and it is tried again each second.
 */
#ifndef FTTCP_SEGMENTS_H
#define FTTCP_SEGMENTS_H
#include <stddef.h>
#include "core/stored.h"

#define FTT_SEGMENTS_WAITING (16u << 20) /* bytes that may wait for the disk */

struct ftt_segments;

struct ftt_segments_user {
	void *of;
	void (*found)(void *of, const struct ftt_stored_note *x); /* while opening: each note, as they were made. It ends with the call */
	void (*told)(void *of); /* by the thread, without a lock: ftt_segments_there() has moved, or the trouble changed */
};

/* Opens the directory, which is made if its parent is there, and reads it. NULL with a sentence in err. *cut: bytes at ends of segments that are no notes. */
struct ftt_segments *ftt_segments_open(const char *dir, uint64_t segment_bytes, const struct ftt_segments_user *user, uint64_t *cut, char *err,
				       size_t err_len);
/* A note as ftt_stored_put() has made it; it is copied. False: too much waits. */
bool ftt_segments_put(struct ftt_segments *s, const uint8_t *note, uint32_t len, uint64_t number);
/* The number of the last note that is on stable storage, with all before it. */
uint64_t ftt_segments_there(const struct ftt_segments *s);
/* errno of what keeps the disk from taking notes at the moment; 0: nothing. */
int ftt_segments_trouble(const struct ftt_segments *s);
/* Notes with smaller numbers are needed no more. */
void ftt_segments_forget(struct ftt_segments *s, uint64_t before);
/* Bytes of all segments. */
uint64_t ftt_segments_bytes(const struct ftt_segments *s);
/* Writes what waits, once. NULL is allowed. */
void ftt_segments_close(struct ftt_segments *s);

#endif
