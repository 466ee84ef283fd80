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
#include "engine/api/abi.h"

#define FTT_HISTORY_WAITING (32u << 20) /* bytes that may wait for the disk */

/* A frame as ftt_history_put() has made it: the place behind it, 0 when the history has ended. Any thread may. */
uint64_t ftt_history_file_put(struct ftt_history_file *h, const uint8_t *frame, uint32_t len);
/* Who is told, by the thread, whenever ftt_history_file_there() has moved or the history has ended. When it returns, nobody else is. */
void ftt_history_file_tell(struct ftt_history_file *h, void (*told)(void *of), void *of);

#endif
