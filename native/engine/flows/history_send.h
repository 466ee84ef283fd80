/* SPDX-License-Identifier: Apache-2.0 */
/* history_send.h - primary: a new backup is sent our server's history; see history.h. Of a worker that keeps one. */
#ifndef FTTCP_HISTORY_SEND_H
#define FTTCP_HISTORY_SEND_H
#include "engine/flows/history.h"

/* What the backup says: PLAYED, ALIGNED, MARKED, NOT_PLAYED. Without a history, or of another kind: FTT_LANE_BAD. */
enum ftt_lane_answer ftt_history_send_message(struct ftt_worker *w, uint8_t kind, const uint8_t *bytes, uint32_t len, uint64_t now_ns);
/* The lane to the backup is there, or gone. */
void ftt_history_send_lane(struct ftt_worker *w, bool up, uint64_t now_ns);
/* Nothing goes on with that server in this pairing: its flows have no protection any more, for this reason. */
void ftt_history_undo(struct ftt_worker *w, enum ftt_reason why, uint64_t now_ns);
/* As much as there is room for. */
void ftt_history_pump(struct ftt_worker *w, uint64_t now_ns);

#endif
