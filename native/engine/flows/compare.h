/* SPDX-License-Identifier: Apache-2.0 */
/* compare.h - is the output of both servers the same? What is to be done (FTT_ACT_*) comes back. */
#ifndef FTTCP_COMPARE_H
#define FTTCP_COMPARE_H
#include "engine/worker.h"

/* The primary: sums what is new. */
void ftt_compare_output(struct ftt_worker *w, struct ftt_tcp *c, const struct ftt_packet *p,
			    const struct ftt_pkt *k, const struct ftt_seg *s);
/* No points are needed any more. */
void ftt_compare_forget(struct ftt_tcp *c);
/* Tells the backup again how far our server has come. */
void ftt_compare_tell(struct ftt_worker *w, struct ftt_tcp *c);
void ftt_compare_leaves(struct ftt_worker *w, struct ftt_tcp *c, struct ftt_point point, uint64_t now_ns);
void ftt_compare_offer(struct ftt_tcp *c, struct ftt_record *r);
uint32_t ftt_compare_commit(struct ftt_worker *w, struct ftt_tcp *c, const struct ftt_record *r, uint64_t now_ns);
void ftt_compare_shifted(struct ftt_worker *w, const struct ftt_tcp *c);
uint32_t ftt_compare_suppressed(struct ftt_worker *w, struct ftt_tcp *c, const struct ftt_packet *p,
				const struct ftt_pkt *k, const struct ftt_seg *s);
uint32_t ftt_compare_record(struct ftt_worker *w, struct ftt_tcp *c, const struct ftt_record *r, uint64_t now_ns);

/* A flow that is to be renewed: the sum at hand is that of all its output. */
void ftt_compare_whole(struct ftt_worker *w, struct ftt_tcp *c);
/* Output of a flow that nobody follows, which may be renewed: it is summed all the same. */
void ftt_compare_alone(struct ftt_worker *w, struct ftt_tcp *c, const struct ftt_packet *p, const struct ftt_pkt *k,
		       const struct ftt_seg *s);
/* Backup, catching up: the client has more. */
void ftt_compare_acked(struct ftt_worker *w, struct ftt_tcp *c);
/* ... the primary tells its sum of all its output. */
uint32_t ftt_compare_renewal(struct ftt_worker *w, struct ftt_tcp *c, const struct ftt_record *r);

#endif
