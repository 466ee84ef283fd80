/* SPDX-License-Identifier: Apache-2.0 */
/* opens.h - connections that our server opens find their partner; see opens.c and core/tcp/opened.h. */
#ifndef FTTCP_FLOWS_OPENS_H
#define FTTCP_FLOWS_OPENS_H
#include "engine/worker.h"

/* Are connections to this port of others to be protected? (A plane that keeps no packets cannot have a SYN wait.) */
static inline bool ftt_opens_to(const struct ftt_worker *w, uint16_t port)
{
	const struct ftt_config *cfg = &w->e->cfg;

	return cfg->n_opens && w->plane->can & FTT_PLANE_HOLDS && ftt_port_in(cfg->opens, cfg->n_opens, port, 6);
}

/* The new flow c is that of our stack's SYN, which is decided on next. */
void ftt_opens_begin(struct ftt_worker *w, struct ftt_tcp *c, const struct ftt_seg *s, const struct ftt_env *env);
/* ... it has been, and waits. A primary asks its backup, a backup looks whether it was asked. */
void ftt_opens_begun(struct ftt_worker *w, struct ftt_tcp *c, uint64_t now_ns);
/* Backup: was the primary's OPEN (FTT_REC_OUTWARD) about c, and heard before? It may have missed the answer. */
bool ftt_opens_heard(struct ftt_worker *w, struct ftt_tcp *c, const struct ftt_record *r, uint64_t now_ns);
/* Backup: the new flow c is what the OPEN of that worker is about. */
void ftt_opens_asked(struct ftt_worker *w, struct ftt_tcp *c, const struct ftt_record *r, uint8_t from, uint64_t now_ns);
/* Backup: ... of one that catches up. */
void ftt_opens_again(struct ftt_worker *w, struct ftt_tcp *c, uint64_t now_ns);
/* Backup: our stack is given the remote end's answer to the SYN of c, which catches up; if it has not taken it, once more. */
void ftt_opens_answer(struct ftt_worker *w, struct ftt_tcp *c, uint64_t now_ns);
/* A takeover; false: c is gone. */
bool ftt_opens_taken(struct ftt_worker *w, struct ftt_tcp *c);
/* Backup: those go that have waited for too long. */
void ftt_opens_tick(struct ftt_worker *w, uint64_t now_ns);

#endif
