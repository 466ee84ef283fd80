/* SPDX-License-Identifier: Apache-2.0 */
/* model_node.h - a node: the engine's worker with a modelled kernel around it; see model.h. */
#ifndef FTTCP_MODEL_NODE_H
#define FTTCP_MODEL_NODE_H
#include "model.h"
#include "engine/worker.h"
#include "engine/planes/model/plane_model.h"

struct node {
	struct ftt_engine engine;
	struct ftt_worker worker;
	struct ftt_plane plane;
	unsigned unsent; /* packets of our own since they were sent last */
	struct stack stack;
	const char *name;
	bool alive;
	uint32_t next_id;
	struct wire *queued;               /* packets without a verdict */
	struct wire_queue in, out, to_stack; /* what waits for the worker and for the stack */
	uint8_t records[65536];            /* of the datagram that is being gathered */
	size_t records_len;
	const struct wire *arrived;        /* the datagram being read ... */
	uint8_t from;                      /* ... of which worker of the peer's */
	void (*to_client)(struct node *n, struct wire *w);  /* take the packet */
	void (*to_peer)(struct node *n, struct wire *w);
	void (*given)(struct node *n, const struct wire *w); /* sees what the stack is given; NULL: nobody does */
	void (*choose)(struct ftt_worker *w); /* how much of a packet the plane copies, ftt_worker_choose_copy(); NULL: all of each */
	uint32_t copies[2]; /* at most so many bytes of our stack's packets, of clients' */
	uint64_t cut;       /* packets of clients whose headers alone were copied */
	uint64_t events[FTT_EV_CALLS + 1];
};

void node_open(struct node *n, const char *name, uint32_t mode, uint8_t family);
void node_close(struct node *n);
void model_stack_sends(struct stack *s, struct wire *w); /* its stack's words reach the engine: as it is opened */
void node_role(struct node *n, uint32_t mode, uint64_t session);
void node_from_client(struct node *n, struct wire *w); /* queued; node_run() handles it */
void node_from_peer(struct node *n, const struct wire *w);
void node_hears(struct node *n, const struct ftt_record *r); /* a datagram with one record */
void node_tick(struct node *n);
void node_run(struct node *n); /* until nothing is left to do */
void node_check(struct node *n); /* counters equal what they count; node_run() ends with it */
struct ftt_tcp *node_flow(struct node *n); /* the client's flow, or NULL */

#endif
