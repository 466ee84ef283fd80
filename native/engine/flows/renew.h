/* SPDX-License-Identifier: Apache-2.0 */
/* renew.h - a new backup catches up with the flows that there are: core/tcp/renew.h, carried out. */
#ifndef FTTCP_FLOWS_RENEW_H
#define FTTCP_FLOWS_RENEW_H
#include "engine/flows/renewal.h"

/* Primary: a record about a flow; true when there is nothing left to do with it. */
bool ftt_renew_told(struct ftt_worker *w, struct ftt_tcp *c, const struct ftt_record *r, uint8_t from, uint64_t now_ns);
/* Backup: where the client stands, by the primary's word (RENEW). */
void ftt_renew_word_of(struct ftt_worker *w, struct ftt_tcp *c, const struct ftt_record *r, uint64_t now_ns);
/* Backup: more of the log is here, or our stack has got on: it is given what it may have. */
void ftt_renew_play(struct ftt_worker *w, struct ftt_tcp *c, uint64_t now_ns);
/* Backup: before a segment of our stack is looked at. */
void ftt_renew_ahead(struct ftt_worker *w, struct ftt_tcp *c);
/* Primary: the flow is not to be renewed, or not any more. */
void ftt_renew_give_up(struct ftt_worker *w, struct ftt_tcp *c, enum ftt_unrenewable why, uint64_t now_ns);
void ftt_renew_tick(struct ftt_worker *w, uint64_t now_ns);
/* Another role: what is not done is over. */
void ftt_renew_role(struct ftt_worker *w);

#endif
