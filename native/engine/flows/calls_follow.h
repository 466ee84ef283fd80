/* SPDX-License-Identifier: Apache-2.0 */
/* calls_follow.h - the backup's side of calls.h. Of a worker whose server follows. */
#ifndef FTTCP_CALLS_FOLLOW_H
#define FTTCP_CALLS_FOLLOW_H
#include "engine/flows/calls.h"

/* CALLS, with its head. */
enum ftt_lane_answer ftt_calls_take(struct ftt_worker *w, const uint8_t *bytes, uint32_t len, uint64_t now_ns);
/* Our server is given what has come, and may be woken by it. */
void ftt_calls_give(struct ftt_worker *w);
void ftt_calls_leader_broke(struct ftt_worker *w, const uint8_t bytes[FTT_CALLS_BREAK]);
/* This node is the owner now: our server does what is in the log, and goes on by itself. */
void ftt_calls_finish(struct ftt_worker *w, uint64_t now_ns);
void ftt_calls_follow_tick(struct ftt_worker *w, uint64_t now_ns);

#endif
