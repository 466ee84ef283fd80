/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kept.h - what a cold backup says that it has waits until it is in the history on disk, if there is one.
 *
 * A word for the primary (OPENED, COMMIT) tells of what was put into the file before it. It leaves, in order, when the file's policy
 * counts that as kept (engine/history/file.h). So the output rule means the disk. A history that has ended keeps nothing back.
 */
#ifndef FTTCP_FLOWS_KEPT_H
#define FTTCP_FLOWS_KEPT_H
#include "engine/worker.h"

void ftt_kept_tell(struct ftt_worker *w, uint8_t to, const struct ftt_record *r);
/* What may leave does. */
void ftt_kept_release(struct ftt_worker *w);
/* Another file begins, or none: a place of the one before says nothing of it. That is written to its end by who has changed it. */
void ftt_kept_anew(struct ftt_worker *w);
/* Nobody waits for it any more. */
void ftt_kept_drop(struct ftt_worker *w);

#endif
