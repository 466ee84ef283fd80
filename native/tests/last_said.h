/* SPDX-License-Identifier: Apache-2.0 */
/* last_said.h - a client that only notes what it is sent. */
#ifndef FTTCP_LAST_SAID_H
#define FTTCP_LAST_SAID_H
#include <stdlib.h>
#include "check.h"
#include "model_node.h"

static struct ftt_seg said; /* the last packet to a client */
static unsigned n_said;

static inline void to_client(struct node *n, struct wire *packet)
{
	struct ftt_pkt k;

	(void)n;
	CHECK_EQ(ftt_parse(packet->bytes, packet->len, packet->len, &k, &said), FTT_PARSED_TCP);
	n_said++;
	free(packet);
}

#endif
