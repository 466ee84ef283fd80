/* SPDX-License-Identifier: Apache-2.0 */
/* history_lane.h - a new backup's server is brought to where ours is, by all that ours was ever sent; see history_lane.c. */
#ifndef FTTCP_HISTORY_LANE_H
#define FTTCP_HISTORY_LANE_H
#include "engine/flows/history.h"

enum { FTT_LANE_HISTORY = FTT_LANE_FIRST_KIND + 16, FTT_LANE_ALIGN, FTT_LANE_MARK, FTT_LANE_PLAYED, FTT_LANE_ALIGNED, FTT_LANE_NOT_PLAYED, FTT_LANE_MARKED };

/* A message of one of these kinds, or of a BEGIN's turn: may it be taken now? */
enum ftt_lane_answer ftt_history_message(struct ftt_worker *w, uint8_t from, uint8_t kind, const uint8_t *bytes, uint32_t len,
					 uint64_t now_ns);
/* The lane to the other node is there, or gone. */
void ftt_history_lane(struct ftt_worker *w, bool up, uint64_t now_ns);
/* Primary: as much as there is room for. */
void ftt_history_pump(struct ftt_worker *w, uint64_t now_ns);
/* Backup: a frame that waits may wait no more. */
void ftt_history_tick(struct ftt_worker *w);

#endif
