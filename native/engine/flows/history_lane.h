/* SPDX-License-Identifier: Apache-2.0 */
/*
 * history_lane.h - how a new backup's server is brought to where ours is, by all that ours was ever sent.
 *
 *   P   HISTORY  end u64 | frames of core/history.h, up to that place
 *   P   BEGIN    the OPEN of a connection that still lives (renew_begin.c)
 *   B   PLAYED   end u64: my server was given all before it, and has said as much
 *   P   ALIGN    you have nearly all: keep what the mirror brings from here on
 *   B   ALIGNED  I do
 *   P   MARK     this was the last frame; what comes after it is on the mirror
 *   B   MARKED   all before it was played, and the mirror goes on. Until then nothing that begins is followed
 *   B   NOT_PLAYED  why u8: I give it up
 *
 * After MARK frames go on of connections that no backup follows: one that shook hands with the primary alone would be missing else.
 *
 * Until MARK the backup's server is given nothing but frames, in their order. What begins meanwhile is served, and not followed:
 * it is in the history as all else. Packets of the mirror that were kept are given to it behind the last frame, then those that
 * come. So it is given everything in the order of the primary, and nothing twice: what is in both, its stack knows already.
 * From MARK on living connections go the way of any renewal.
 */
#ifndef FTTCP_HISTORY_LANE_H
#define FTTCP_HISTORY_LANE_H
#include "engine/flows/renewal.h"

enum { FTT_LANE_HISTORY = FTT_LANE_FIRST_KIND + 16, FTT_LANE_ALIGN, FTT_LANE_MARK, FTT_LANE_PLAYED, FTT_LANE_ALIGNED, FTT_LANE_NOT_PLAYED, FTT_LANE_MARKED };

#endif
