/* SPDX-License-Identifier: Apache-2.0 */
/* renew_begin.h - BEGIN: a flow begins again, with a new backup; see renew_lane.c. */
#ifndef FTTCP_RENEW_BEGIN_H
#define FTTCP_RENEW_BEGIN_H
#include "engine/flows/renewal.h"

#define FTT_BEGIN_MAX 269u /* of the message: addresses, a SYN, an identity */

/* Primary: to all workers of the peer: which of them its kernel gives the flow to, shows with the answer to the SYN. There is room. */
void ftt_renew_send_begin(struct ftt_worker *w, struct ftt_renewal *r, uint64_t now_ns);
/* Backup: our stack is given the SYN of this OPEN, in `open->attempt`. Its client had acknowledged so much then, and it began that long ago. NULL: it is not. */
struct ftt_renewal *ftt_renew_enter(struct ftt_worker *w, uint8_t from, const struct ftt_record *open, uint64_t acked, uint32_t age_ms,
				    uint64_t now_ns);
/* Is this an OPEN with a SYN of its flow? */
bool ftt_renew_opens(const struct ftt_record *open, struct ftt_seg *syn);
/* The messages BEGIN and OUTWARD. */
enum ftt_lane_answer ftt_renew_begin_message(struct ftt_worker *w, uint8_t from, uint8_t kind, const uint8_t *bytes, uint32_t len,
					     uint64_t now_ns);

#endif
