/* SPDX-License-Identifier: Apache-2.0 */
/* tcp.h - a worker's TCP, packet by packet; see tcp.c. */
#ifndef FTTCP_TCP_H
#define FTTCP_TCP_H
#include "engine/worker.h"

void ftt_tcp_from_client(struct ftt_worker *w, struct ftt_packet *p, struct ftt_pkt *k, struct ftt_seg *s,
			 uint64_t now_ns);
void ftt_tcp_from_server(struct ftt_worker *w, struct ftt_packet *p, struct ftt_pkt *k, struct ftt_seg *s,
			 uint64_t now_ns);

#endif
