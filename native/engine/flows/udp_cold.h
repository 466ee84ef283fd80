/* SPDX-License-Identifier: Apache-2.0 */
/* udp_cold.h - UDP sessions of a backup that runs no server: core/udp/cold.h, carried out. */
#ifndef FTTCP_FLOWS_UDP_COLD_H
#define FTTCP_FLOWS_UDP_COLD_H
#include "engine/flows/udp_log.h"

/* The server has started, or, again, another one: it is given each session from its first datagram on. */
void ftt_udp_promote(struct ftt_worker *w, bool again, uint64_t now_ns);
/* Has it had those whose clients spoke last? One over which it takes too long is forgotten by the takeover. */
bool ftt_udp_is_promoted(const struct ftt_worker *w, uint64_t now_ns);
/* As ftt_checkpoint(): all sessions that there are, are older. */
void ftt_udp_checkpoint(struct ftt_worker *w, uint64_t now_ns);

#endif
