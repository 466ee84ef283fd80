/* SPDX-License-Identifier: Apache-2.0 */
/*
 * segment_files.h - the files of segments (core/stored.h) in their directory: read at a start, written, deleted.
 *
 * Each is named `stored-` and 16 hex digits, its serial number. All of it waits for the disk, and is one thread's. Whoever has the directory open
 * has it for itself: two that wrote would delete each other's notes.
 */
#ifndef FTTCP_SEGMENT_FILES_H
#define FTTCP_SEGMENT_FILES_H
#include <stddef.h>
#include "core/stored.h"

struct ftt_segment {
	uint64_t serial; /* its name */
	uint64_t last;   /* the largest number in it; 0: it has no notes */
	uint64_t bytes;
};

struct ftt_segment_files {
	int dir, fd; /* of the last segment; negative: a new one is to begin */
	struct ftt_segment *list;
	size_t n, room;
};

/* All below: 0, or errno. */

/*
 * Opens the directory, which is made if its parent is there, and lists what is in it. EWOULDBLOCK: another process has it. ftt_segment_files_close() in
 * either case.
 */
int ftt_segment_files_open(struct ftt_segment_files *f, const char *dir);
void ftt_segment_files_close(struct ftt_segment_files *f);
/*
 * Gives each note of the segment to found(), as they were made: 0, or errno, which ends it. EPROTO: the segment is of another release. *cut grows by
 * the bytes at its end that are no notes.
 */
int ftt_segment_read(const struct ftt_segment_files *f, struct ftt_segment *one, int (*found)(void *of, const struct ftt_stored_note *x), void *of,
		     uint64_t *cut);
/* Writes notes up to number `last`, and syncs them, to the last segment or a new one. After an error the next ones go to a new one. */
int ftt_segment_write(struct ftt_segment_files *f, const uint8_t *notes, uint32_t len, uint64_t last);
/* The last segment is long enough. */
void ftt_segment_end(struct ftt_segment_files *f);
/* Deletes segments that have no note from number `before` on; but the one that is written. */
void ftt_segments_delete(struct ftt_segment_files *f, uint64_t before);
/* Bytes of all. */
uint64_t ftt_segment_files_bytes(const struct ftt_segment_files *f);

#endif
