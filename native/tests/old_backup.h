/* SPDX-License-Identifier: Apache-2.0 */
/* old_backup.h - a backup with flows whose clients stand at ACKED, and what is said to these. Included once. */
#ifndef FTTCP_OLD_BACKUP_H
#define FTTCP_OLD_BACKUP_H
#include "last_said.h"
#include "one_node.h"

#define IRS 1000u
#define ACKED 7000u /* where the client stands, as far as the backup has seen */


/* A backup whose kernel has a connection of the client's with `rcv_nxt` bytes. */
static inline struct node *open_backup(uint32_t rcv_nxt)
{
	node_open(&node, "node", FTT_MODE_BACKUP, 4);
	node.to_client = to_client;
	node.to_peer = discard;
	node.stack.send = unheard;
	node.stack.state = STACK_OPEN;
	node.stack.irs = IRS;
	node.stack.rcv_nxt = rcv_nxt;
	n_said = 0;
	return &node;
}

static inline struct ftt_tcp *establish(struct node *n, uint16_t port)
{
	struct ftt_key k = key_of(port);
	struct ftt_tcp *c = ftt_table_add(&n->worker.table, &k, model_now);

	CHECK(c);
	ftt_flow_init(&c->flow, IRS, model_now);
	c->flow.local_iss = ACKED - 100;
	ftt_flow_map(&c->flow, c->flow.local_iss);
	c->flow.client_acked = c->flow.local_snd_nxt = ACKED;
	c->flow.mss = 1000;
	c->flow.bits |= FTT_F_SYNACK | FTT_F_ESTABLISHED;
	c->flow.protection = FTT_PROTECTED;
	ftt_tcp_act(&n->worker, c, 0, model_now);
	return c;
}

#endif
