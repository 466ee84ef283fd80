/* SPDX-License-Identifier: Apache-2.0 */
/* many_flows.h - many flows on one worker, and which of their clients are told something. Included once. */
#ifndef FTTCP_MANY_FLOWS_H
#define FTTCP_MANY_FLOWS_H
#include "one_node.h"

static uint16_t told[64]; /* ports of clients that were sent something, in order */
static unsigned n_told;

static inline void to_client(struct node *n, struct wire *packet)
{
	struct ftt_pkt k;
	struct ftt_seg s;

	(void)n;
	CHECK_EQ(ftt_parse(packet->bytes, packet->len, packet->len, &k, &s), FTT_PARSED_TCP);
	CHECK(n_told < sizeof(told) / sizeof(told[0]));
	told[n_told++] = k.dport;
	free(packet);
}

static inline struct node *open_node(uint32_t mode)
{
	node_open(&node, "node", mode, 4);
	node.to_client = to_client;
	node.to_peer = discard;
	node.stack.send = unheard;
	n_told = 0;
	return &node;
}

static inline struct ftt_tcp *begin(struct node *n, uint16_t port)
{
	struct ftt_key k = key_of(port);
	struct ftt_tcp *c = ftt_table_add(&n->worker.table, &k, model_now);

	CHECK(c);
	ftt_flow_init(&c->flow, 1000, model_now);
	c->flow.bits = FTT_F_SYNACK;
	ftt_tcp_act(&n->worker, c, 0, model_now);
	return c;
}

static inline struct ftt_tcp *establish(struct node *n, uint16_t port)
{
	struct ftt_tcp *c = begin(n, port);

	ftt_flow_map(&c->flow, c->flow.local_iss);
	c->flow.mss = 1000;
	c->flow.bits |= FTT_F_ESTABLISHED;
	c->flow.protection = FTT_PROTECTED;
	ftt_tcp_act(&n->worker, c, 0, model_now);
	return c;
}

/* A record of the primary's, with how far the client has acknowledged. */
static inline void ask(struct node *n, uint8_t type, uint16_t port, uint32_t client_acked)
{
	struct ftt_record r = {.type = type, .key = key_of(port), .irs = 1000, .client_acked = client_acked};

	node_hears(n, &r);
}

#endif
