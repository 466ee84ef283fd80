/* SPDX-License-Identifier: Apache-2.0 */
/* role.h - time, and changes of role, for all flows of a worker; see role.c. */
#ifndef FTTCP_FLOWS_ROLE_H
#define FTTCP_FLOWS_ROLE_H
#include "engine/worker.h"

/* A flow begins with the client's SYN `irs`. The half-open and the whole table are bounded: NULL, and counted. */
struct ftt_tcp *ftt_flows_begin(struct ftt_worker *w, const struct ftt_key *key, uint32_t irs, uint64_t now_ns);
/* Makes room for what comes, by what is needed least; false when there is none. */
bool ftt_flows_make_room(struct ftt_worker *w, enum ftt_newcomer to, uint64_t now_ns);
void ftt_flows_tick(struct ftt_worker *w, uint64_t now_ns);
void ftt_flows_sweep(struct ftt_worker *w, uint64_t now_ns);
/* Becomes what the engine's role says; what that means for each flow, ftt_flows_rest() does. Who does not
 * emit has a new role only to begin anew: then that is to give it up, and end its connection in our stack. */
void ftt_flows_role(struct ftt_worker *w, uint32_t mode, uint64_t session, uint64_t now_ns);
/* Carries the role out on some more flows, the most recently active ones first; true when it is on all. */
bool ftt_flows_rest(struct ftt_worker *w, unsigned most, uint64_t now_ns);
/* ... on this one, out of turn; false when it is forgotten. */
bool ftt_flows_now(struct ftt_worker *w, struct ftt_tcp *c, uint64_t now_ns);
/* The flow of a packet or of a record. A role that is not carried out on it yet is now. */
struct ftt_tcp *ftt_flows_find(struct ftt_worker *w, const struct ftt_key *key, uint64_t now_ns);
/* ... that our stack knows by this key. `syn`: it begins one that a backup's server opens, and can be no other's. */
struct ftt_tcp *ftt_flows_find_own(struct ftt_worker *w, const struct ftt_key *key, bool syn, uint64_t now_ns);
/* Would a takeover at this moment go on with it? A backup decides so; a primary knows as much as it has been told. */
bool ftt_flows_continues(const struct ftt_worker *w, const struct ftt_tcp *c, uint64_t now_ns);

#endif
