/* SPDX-License-Identifier: Apache-2.0 */
/* icmp.h - a packet that quotes one of the group's; see icmp.c. */
#ifndef FTTCP_ENGINE_ICMP_H
#define FTTCP_ENGINE_ICMP_H
#include "core/packet/icmp.h"
#include "engine/worker.h"

/* `q`: what it quotes. */
void ftt_icmp_error_packet(struct ftt_worker *w, struct ftt_packet *p, const struct ftt_pkt *k, const struct ftt_quote *q,
			   bool in, uint64_t now_ns);

#endif
