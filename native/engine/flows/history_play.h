/* SPDX-License-Identifier: Apache-2.0 */
/* history_play.h - backup: the primary's history is played to our server; see history.h. Of a worker that keeps one. */
#ifndef FTTCP_HISTORY_PLAY_H
#define FTTCP_HISTORY_PLAY_H
#include "engine/flows/history.h"

/* What the primary says: HISTORY, ALIGN, MARK. May it be taken now? Without a history, or of another kind: FTT_LANE_BAD. */
enum ftt_lane_answer ftt_history_play_message(struct ftt_worker *w, uint8_t from, uint8_t kind, const uint8_t *bytes, uint32_t len,
					      uint64_t now_ns);
/* The lane to the primary is there, or gone. */
void ftt_history_play_lane(struct ftt_worker *w, bool up, uint64_t now_ns);
/* A frame that waits may wait no more. */
void ftt_history_tick(struct ftt_worker *w);

#endif
