/* SPDX-License-Identifier: Apache-2.0 */
/*
 * file.h - a history (core/history.h) on stable storage.
 *
 * Workers put frames into memory, and never wait for the disk: a thread adds their sums and writes them. If the disk is slower than
 * clients for so long that FTT_HISTORY_WAITING is not enough, if the file comes to its bound, or if it cannot be written, then
 * the history has ended there. What it has is good up to that place, and the service goes on.
 */
#ifndef FTTCP_HISTORY_FILE_H
#define FTTCP_HISTORY_FILE_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FTT_HISTORY_WAITING (32u << 20) /* bytes that may wait for the disk */

enum ftt_fsync {
	FTT_FSYNC_NEVER = 0, /* the kernel writes when it likes: a loss of power takes what came in the last half a minute */
	FTT_FSYNC_BATCH = 1, /* whatever waits is written and synced at once, then it counts */
	FTT_FSYNC_EVERY = 2  /* synced every so often: a loss of power takes what came since */
};

struct ftt_history_settings {
	const char *path;    /* is made; nothing must be there */
	const uint8_t *head; /* what HEAD has: core/history.h */
	uint32_t head_len;
	uint32_t fsync;      /* enum ftt_fsync */
	uint64_t every_ns;   /* FTT_FSYNC_EVERY */
	uint64_t most;       /* bytes of the file */
	void (*told)(void *of); /* by the thread, whenever ftt_history_file_there() has moved or the history has ended; NULL: nobody is */
	void *of;
};

struct ftt_history_file;

/* NULL with a sentence in err. */
struct ftt_history_file *ftt_history_file_open(const struct ftt_history_settings *s, char *err, size_t err_len);
/* A frame as ftt_history_put() has made it: the place behind it, 0 when the history has ended. Any thread may. */
uint64_t ftt_history_file_put(struct ftt_history_file *h, const uint8_t *frame, uint32_t len);
/* What is before this place counts as kept, as far as the policy goes: synced (BATCH), or handed to the kernel. */
uint64_t ftt_history_file_there(const struct ftt_history_file *h);
/* Why it has ended: 0: it has not; ENOBUFS: the disk is too slow; EFBIG: its bound; or what else writing met. */
int ftt_history_file_why(const struct ftt_history_file *h);
/* Writes what waits. `done`: and that the history ends here in good order. NULL is allowed. */
void ftt_history_file_close(struct ftt_history_file *h, bool done);

#endif
