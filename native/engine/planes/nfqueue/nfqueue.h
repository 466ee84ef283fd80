/* SPDX-License-Identifier: Apache-2.0 */
/* nfqueue.h - the plane of NFQUEUE: two queues of a worker's packets, two of its handshakes, and raw sockets. */
#ifndef FTTCP_NFQUEUE_H
#define FTTCP_NFQUEUE_H
#include "engine/planes/plane.h"

struct ftt_plane *ftt_nfqueue_open(const struct ftt_config *cfg, unsigned index, struct ftt_plane_owner owner, char *err,
				   size_t err_len);

#endif
