/* SPDX-License-Identifier: Apache-2.0 */
/* tcp.h - what the files of a worker's TCP (tcp.c, hold.c, act.c) share. */
#ifndef FTTCP_TCP_H
#define FTTCP_TCP_H
#include "fttcp/icmp.h"
#include "worker.h"

/* hold.c */
void ftt_tcp_count_drop(struct ftt_worker *w, uint16_t why);
void ftt_tcp_drop(struct ftt_worker *w, const struct ftt_nfq_packet *p, uint64_t *counter);
void ftt_tcp_pass(struct ftt_worker *w, const struct ftt_nfq_packet *p);
bool ftt_tcp_pass_edited(struct ftt_worker *w, struct ftt_flow *f, const struct ftt_nfq_packet *p,
			 const struct ftt_pkt *k, const struct ftt_seg *s, const struct ftt_edit *e);
void ftt_tcp_give(struct ftt_worker *w, struct ftt_tcp *c, const struct ftt_nfq_packet *p, const struct ftt_pkt *k,
		  const struct ftt_seg *s, struct ftt_edit *e);
void ftt_tcp_discard(struct ftt_worker *w, struct ftt_tcp *c, const struct ftt_seg *s);
void ftt_tcp_hold(struct ftt_worker *w, struct ftt_tcp *c, const struct ftt_nfq_packet *p, const struct ftt_pkt *k,
		  const struct ftt_seg *s, uint64_t now_ns);

/* icmp.c: a packet that quotes one of the group's, q */
void ftt_icmp_error_packet(struct ftt_worker *w, struct ftt_nfq_packet *p, const struct ftt_pkt *k, const struct ftt_quote *q,
			   bool in, uint64_t now_ns);

/* act.c */
/* A flow that is over, let go of or resetting: false for a SYN that begins another one, else the segment is dealt with. */
bool ftt_tcp_over_from_client(struct ftt_worker *w, struct ftt_tcp *c, const struct ftt_seg *s, uint64_t now_ns);
void ftt_tcp_post_event(struct ftt_worker *w, const struct ftt_tcp *c, uint32_t kind);

#endif
