/* SPDX-License-Identifier: Apache-2.0 */
/* hold.h - verdicts on TCP packets, and those that wait for theirs; see hold.c. */
#ifndef FTTCP_HOLD_H
#define FTTCP_HOLD_H
#include "engine/worker.h"

void ftt_tcp_count_drop(struct ftt_worker *w, uint16_t why);
void ftt_tcp_drop(struct ftt_worker *w, const struct ftt_packet *p, uint64_t *counter);
void ftt_tcp_pass(struct ftt_worker *w, const struct ftt_packet *p);
bool ftt_tcp_pass_edited(struct ftt_worker *w, struct ftt_flow *f, const struct ftt_packet *p,
			 const struct ftt_pkt *k, const struct ftt_seg *s, const struct ftt_edit *e);
void ftt_tcp_give(struct ftt_worker *w, struct ftt_tcp *c, const struct ftt_packet *p, const struct ftt_pkt *k,
		  const struct ftt_seg *s, struct ftt_edit *e);
/* `why`: enum ftt_wait. Without room it is dropped. What is to be done (FTT_ACT_*) comes back. */
uint32_t ftt_tcp_hold(struct ftt_worker *w, struct ftt_tcp *c, const struct ftt_packet *p, const struct ftt_pkt *k,
		      const struct ftt_seg *s, uint8_t why, uint64_t now_ns);
/* What may go goes: a server's segments in order, a client's each by itself, for the stack to put them in order. What is to be done comes back. */
uint32_t ftt_tcp_release(struct ftt_worker *w, struct ftt_tcp *c, uint64_t now_ns);
void ftt_tcp_drop_held(struct ftt_worker *w, struct ftt_tcp *c);
void ftt_tcp_free_spent(struct ftt_worker *w);

#endif
