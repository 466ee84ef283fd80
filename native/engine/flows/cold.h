/* SPDX-License-Identifier: Apache-2.0 */
/* cold.h - a backup that runs no server keeps what clients send. */
#ifndef FTTCP_FLOWS_COLD_H
#define FTTCP_FLOWS_COLD_H
#include "engine/flows/renewal.h"

/* Is there no server behind this backup's flows? Not any more when it is promoted: then there is one. */
static inline bool ftt_cold(const struct ftt_worker *w)
{
	return w->e->cfg.policy.cold && w->mode == FTT_MODE_BACKUP && !w->promoting;
}

/* OPEN, of a flow whose SYN is here. */
void ftt_cold_opened(struct ftt_worker *w, struct ftt_tcp *c, const struct ftt_record *r, uint64_t now_ns);
/* OUTPUT or PROBE was taken in: returns what else is to be done. */
uint32_t ftt_cold_output(struct ftt_worker *w, struct ftt_tcp *c, const struct ftt_record *r);
/* RENEW, of a flow that catches up: before the backup takes it, and after. */
void ftt_cold_word_of(struct ftt_tcp *c, const struct ftt_record *r);
void ftt_cold_taken(struct ftt_tcp *c);
/* More of the log is here. */
void ftt_cold_kept(struct ftt_worker *w, struct ftt_tcp *c, uint64_t now_ns);

#endif
