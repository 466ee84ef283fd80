/* SPDX-License-Identifier: Apache-2.0 */
/* udp_renew.h - a new backup catches up with the UDP sessions that there are: core/udp/renew.h, carried out. */
#ifndef FTTCP_FLOWS_UDP_RENEW_H
#define FTTCP_FLOWS_UDP_RENEW_H
#include "engine/flows/renewal.h"
#include "engine/flows/udp_log.h"

/* Primary: all sessions that nobody follows, and that began where this node has seen it. How many? */
uint32_t ftt_udp_renew_find(struct ftt_worker *w);
/* ... what there is to send, is handed to the lane. */
void ftt_udp_renew_pump(struct ftt_worker *w, uint64_t now_ns);
/* ... a record about a session; true when there is nothing left to do with it. */
bool ftt_udp_renew_told(struct ftt_worker *w, struct ftt_udp_session *u, const struct ftt_record *r, uint64_t now_ns);
/* Backup: a message of the lane. */
enum ftt_lane_answer ftt_udp_renew_message(struct ftt_worker *w, uint8_t from, const uint8_t *bytes, uint32_t len, uint64_t now_ns);
/* ... the primary has given this one up. */
void ftt_udp_renew_drop(struct ftt_worker *w, const struct ftt_record *r);
/* Both: the lane is gone. */
void ftt_udp_renew_cut(struct ftt_worker *w);
void ftt_udp_renew_tick(struct ftt_worker *w, uint64_t now_ns);
/* Another role: what is not done is over. */
void ftt_udp_renew_role(struct ftt_worker *w);

#endif
