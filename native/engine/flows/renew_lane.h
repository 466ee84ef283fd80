/* SPDX-License-Identifier: Apache-2.0 */
/* renew_lane.h - input logs on their way to a new backup, over the bulk lane. */
#ifndef FTTCP_FLOWS_RENEW_LANE_H
#define FTTCP_FLOWS_RENEW_LANE_H
#include "engine/flows/renew.h"

/* What a worker does with its lane. */
struct ftt_lane_user ftt_renew_lane_user(struct ftt_worker *w);
/* Primary: what there is to tell, as far as there is room. */
void ftt_renew_pump(struct ftt_worker *w, uint64_t now_ns);
/* Its log cannot be read, or written, any more: it is renewed no further, and a backup that needs it for the flow lets that go. */
void ftt_renew_log_lost(struct ftt_worker *w, struct ftt_tcp *c, enum ftt_unrenewable why, uint64_t now_ns);

#endif
