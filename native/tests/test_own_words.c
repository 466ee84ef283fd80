/* SPDX-License-Identifier: Apache-2.0 */
/* A primary's own words, while its backup is asked to let go of the flow: nothing is acknowledged that only this node has. */
#define _GNU_SOURCE
#include "last_said.h"
#include "one_node.h"

#define IRS 1000u
#define ISS 7000u

/* A primary whose client has said 100 bytes, of which the backup has none: our stack's acknowledgement is held. */
static struct ftt_tcp *open_primary(void)
{
	struct ftt_key k = key_of(1);
	struct ftt_tcp *c;

	node_open(&node, "node", FTT_MODE_PAIRED, 4);
	node.to_client = to_client;
	node.to_peer = discard;
	node.stack.send = unheard;
	node.stack.state = STACK_OPEN;
	node.stack.irs = IRS;
	n_said = 0;
	c = ftt_table_add(&node.worker.table, &k, model_now);
	CHECK(c);
	ftt_flow_init(&c->flow, IRS, model_now);
	c->flow.local_iss = ISS;
	ftt_flow_map(&c->flow, ISS);
	c->flow.peer_snd_nxt = c->flow.local_snd_nxt = ISS + 11;
	c->flow.told_ack = IRS + 1;
	c->flow.mss = 1000;
	c->flow.bits |= FTT_F_SYNACK | FTT_F_ESTABLISHED;
	c->flow.protection = FTT_PROTECTED;
	ftt_tcp_act(&node.worker, c, 0, model_now);
	CHECK(!says(&node, 1, false, TCP_ACK, ISS + 11, IRS + 101));
	CHECK(c->flow.held_since_ns && !n_said);
	return c;
}

static struct ftt_record lacking(uint8_t flags)
{
	return (struct ftt_record){.type = FTT_REC_COMMIT, .key = key_of(1), .irs = IRS, .flags = flags, .rcv_nxt = IRS + 1,
				   .edge = IRS + 60000, .snd_nxt = ISS + 11, .hole_end = IRS + 51};
}

static void hears(struct ftt_record r)
{
	model_now += 20 * MS;
	node_hears(&node, &r);
}

/* The backup lacks something, and follows: its client is asked to say that again. */
static void test_a_backup_that_lacks_something(void)
{
	struct ftt_tcp *c = open_primary();

	hears(lacking(FTT_REC_HOLE));
	CHECK_EQ(c->flow.protection, FTT_PROTECTED);
	CHECK_EQ(n_said, 3);
	CHECK_EQ(said.ack, IRS + 1);
	CHECK_EQ(node.worker.n.nudges, 1);
	node_close(&node);
}

/* ... and its server has ended what ours goes on with: asked to let go, it may take over before it has. */
static void test_a_backup_that_is_asked_to_let_go(void)
{
	struct ftt_tcp *c = open_primary();
	struct ftt_record gone = {.type = FTT_REC_DETACHED, .key = key_of(1), .irs = IRS};
	struct ftt_record ended = lacking(FTT_REC_HOLE | FTT_REC_FIN);

	c->flow.peer_snd_nxt = ended.snd_nxt = ISS + 6; /* where ours has said more */
	hears(ended);
	CHECK_EQ(c->flow.protection, FTT_DETACHING);
	CHECK_EQ(n_said, 0);
	CHECK_EQ(node.worker.n.nudges, 0);
	CHECK_EQ(c->flow.told_ack, IRS + 1);
	hears(gone);
	CHECK_EQ(c->flow.protection, FTT_DETACHED);
	CHECK_EQ(n_said, 1); /* what was held */
	CHECK_EQ(said.ack, IRS + 101);
	node_close(&node);
}

int main(void)
{
	test_a_backup_that_lacks_something();
	test_a_backup_that_is_asked_to_let_go();
	return 0;
}
