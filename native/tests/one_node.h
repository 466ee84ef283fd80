/* SPDX-License-Identifier: Apache-2.0 */
/* one_node.h - a node that a test drives by hand, with many flows: each is named by its client's port. Included once. */
#ifndef FTTCP_ONE_NODE_H
#define FTTCP_ONE_NODE_H
#include <string.h>
#include "engine/flows/act.h"
#include "engine/flows/role.h"
#include "model_alone.h"

#define S (1000 * MS)

static struct node node;

static inline void discard(struct node *n, struct wire *packet)
{
	(void)n;
	free(packet);
}

/* What the stack says of connections that only the engine knows. */
static inline void unheard(struct stack *s, struct wire *packet)
{
	(void)s;
	free(packet);
}

static inline struct ftt_key key_of(uint16_t port)
{
	struct ftt_key k = {.remote_port = port, .local_port = 80, .proto = 6};

	k.remote[10] = k.remote[11] = k.local[10] = k.local[11] = 0xff;
	k.remote[12] = k.local[12] = 10;
	k.remote[15] = 1;
	k.local[15] = 2;
	return k;
}

static inline struct ftt_tcp *find(struct node *n, uint16_t port)
{
	struct ftt_key k = key_of(port);

	return ftt_table_find(&n->worker.table, &k);
}

/* A packet of the client's, or of its server's stack; true when the engine let it pass. */
static inline bool says(struct node *n, uint16_t port, bool client, uint8_t flags, uint32_t seq, uint32_t ack)
{
	struct ftt_key k = key_of(port);
	struct ftt_bare b = {.src = client ? k.remote : k.local, .dst = client ? k.local : k.remote,
			     .sport = client ? port : 80, .dport = client ? 80 : port, .seq = seq, .ack = ack, .flags = flags};
	uint64_t before = n->worker.n.passed + n->worker.n.translated;
	uint8_t bytes[FTT_BARE_MAX];

	wire_push(client ? &n->in : &n->out, wire_new(bytes, (uint32_t)ftt_build_bare(bytes, &b)));
	node_run(n);
	return n->worker.n.passed + n->worker.n.translated > before;
}

#endif
