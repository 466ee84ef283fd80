/* SPDX-License-Identifier: Apache-2.0 */
/* A worker and the flows that are over for it: what a backup remembers of them, and what a new primary asks and answers. */
#define _GNU_SOURCE
#include "old_backup.h"

static void tick_for(struct node *n, uint64_t ns)
{
	for (uint64_t until = model_now + ns; model_now < until; model_now += 2 * MS)
		node_tick(n);
}

static void check_question(const struct ftt_seg *s, uint32_t acked)
{
	CHECK_EQ(s->flags, TCP_ACK);
	CHECK_EQ(s->len, 1);
	CHECK(seq_lt(s->seq + s->len, acked));
}

/* A flow that was let go: the client is asked, answered where it says that it stands, and forgotten when it knows. */
static void test_asked_then_reset(void)
{
	struct node *n = open_backup(1);

	ftt_tcp_let_go(&n->worker, establish(n, 1));
	node_run(n);
	CHECK_EQ(n->stack.state, STACK_RESET); /* ours has ended there and then */
	CHECK(!says(n, 1, true, TCP_ACK, IRS + 1, ACKED + 50));
	node_role(n, FTT_MODE_SOLO, 1);
	CHECK_EQ(n_said, 1);
	check_question(&said, ACKED + 50);
	CHECK(!says(n, 1, true, TCP_ACK, IRS + 1, ACKED + 1474)); /* further than the backup saw */
	CHECK_EQ(n_said, 2);
	CHECK_EQ(said.flags, TCP_RST);
	CHECK_EQ(said.seq, ACKED + 1474);
	tick_for(n, 60 * MS); /* that may be lost: asked again */
	CHECK_EQ(n_said, 3);
	check_question(&said, ACKED + 1474);
	CHECK_EQ(n->worker.table.count[FTT_RESETTING], 1);
	CHECK(!says(n, 1, true, TCP_RST, said.ack, 0)); /* it knows of no connection */
	CHECK(find(n, 1)->closed && !n->worker.table.waiting);
	tick_for(n, 60 * S);
	CHECK_EQ(n_said, 3);
	CHECK_EQ(n->worker.n.resets_asked, 2);
	CHECK_EQ(n->worker.n.resets_sent, 1);
	CHECK_EQ(n->worker.n.resets_unanswered, 0);
	ftt_flows_sweep(&n->worker, model_now + 61 * S);
	CHECK(!find(n, 1));
	node_close(n);
}

/* The client that never answers is given up and counted; when it speaks in the end it is answered all the same. */
static void test_given_up(void)
{
	struct node *n = open_backup(1);

	ftt_tcp_let_go(&n->worker, establish(n, 1));
	node_role(n, FTT_MODE_PAIRED, 1);
	tick_for(n, 30 * S);
	CHECK_EQ(n->worker.n.resets_unanswered, 1);
	CHECK_EQ(n->worker.n.resets_asked, n_said);
	CHECK(find(n, 1)->closed && !n->worker.table.waiting);
	CHECK(!says(n, 1, true, TCP_ACK, IRS + 1, ACKED + 9));
	CHECK_EQ(said.flags, TCP_RST);
	CHECK_EQ(said.seq, ACKED + 9);
	node_close(n);
}

/* One that our stack still carries, and that must not go on: it ends there, and nothing of it gets out or in. */
static void test_a_living_flow_is_reset(void)
{
	struct node *n = open_backup(1);
	struct ftt_tcp *c = establish(n, 1);

	node_role(n, FTT_MODE_SOLO, 1);
	n_said = 0;
	n->stack.rcv_nxt = 20; /* of which we know nothing yet */
	ftt_tcp_reset_client(&n->worker, c, model_now);
	node_run(n);
	CHECK_EQ(n_said, 1);
	check_question(&said, ACKED);
	CHECK_EQ(n->stack.state, STACK_OPEN);
	CHECK(!says(n, 1, false, TCP_ACK | TCP_FIN, ACKED, IRS + 20)); /* the stack tells where it is, and is believed */
	CHECK_EQ(n->stack.state, STACK_RESET);
	CHECK_EQ(n_said, 1);
	CHECK(!says(n, 1, false, TCP_RST | TCP_ACK, ACKED, IRS + 20));
	CHECK(!says(n, 1, true, TCP_ACK, IRS + 1, ACKED));
	CHECK_EQ(said.flags, TCP_RST);
	ftt_tcp_reset_client(&n->worker, c, model_now); /* it is on its way already */
	CHECK_EQ(n_said, 2);
	CHECK(says(n, 1, true, TCP_SYN, IRS + 90000, 0)); /* another connection under the same key */
	CHECK_EQ(find(n, 1)->flow.protection, FTT_UNPROTECTED);
	CHECK_EQ(find(n, 1)->flow.hard.irs, IRS + 90000);
	node_close(n);
}

/* A connection that is older than this backup: its client may wait for ever, so it is remembered. */
static void test_a_stranger_is_remembered_and_reset(void)
{
	struct node *n = open_backup(1);

	CHECK(!says(n, 1, true, TCP_RST, IRS + 1, 0)); /* these are none */
	CHECK(!says(n, 1, true, TCP_FIN, IRS + 1, 0));
	CHECK(!find(n, 1));
	CHECK(!says(n, 1, true, TCP_ACK, IRS + 1, ACKED));
	CHECK(find(n, 1) && find(n, 1)->flow.protection == FTT_DETACHED);
	CHECK_EQ(ftt_table_half_open(&n->worker.table), 0);
	CHECK(!says(n, 1, true, TCP_ACK, IRS + 30, ACKED + 600));
	CHECK(!says(n, 2, true, TCP_ACK, IRS + 1, ACKED));
	CHECK(!says(n, 2, true, TCP_RST, IRS + 1, 0)); /* its client has ended that one */
	node_role(n, FTT_MODE_SOLO, 1);
	CHECK_EQ(n_said, 1);
	check_question(&said, ACKED + 600);
	CHECK_EQ(said.ack, IRS + 30);
	node_close(n);
}

static void close_told(struct node *n, uint16_t port)
{
	struct ftt_record r = {.type = FTT_REC_CLOSE, .key = key_of(port), .irs = IRS};

	node_hears(n, &r);
}

/* The word that a client has reset its connection overtakes the last segments of that: they are no stranger's. */
static void test_a_reset_is_told_before_it_is_seen(void)
{
	struct node *n = open_backup(1);

	establish(n, 1);
	close_told(n, 1);
	node_run(n);
	CHECK_EQ(n->stack.state, STACK_RESET);
	says(n, 1, true, TCP_ACK, IRS + 1, ACKED);
	says(n, 1, true, TCP_RST, IRS + 1, ACKED);
	CHECK_EQ(n->worker.table.count[FTT_DETACHED], 0);
	CHECK_EQ(n->worker.table.count[FTT_COUNT_CLOSED], 1);
	says(n, 2, true, TCP_ACK, IRS + 1, ACKED); /* a stranger that ends is forgotten, too */
	CHECK(!says(n, 2, true, TCP_RST, IRS + 1, 0));
	model_now += 61 * S;
	ftt_flows_sweep(&n->worker, model_now);
	CHECK_EQ(n->worker.table.n, 0);
	establish(n, 3);
	close_told(n, 3);
	node_role(n, FTT_MODE_SOLO, 1);
	tick_for(n, 60 * MS);
	CHECK_EQ(n_said, 0);
	CHECK(says(n, 3, true, TCP_SYN, IRS + 90000, 0)); /* another connection under the same key */
	CHECK(says(n, 3, false, TCP_SYN | TCP_ACK, 555, IRS + 90001));
	CHECK_EQ(find(n, 3)->flow.hard.irs, IRS + 90000);
	CHECK(!find(n, 3)->closed);
	node_close(n);
}

/* A host that has but one ISN connects again from the port of a connection that has ended. */
static void test_the_same_numbers_again(void)
{
	struct node *n = open_backup(1);
	struct ftt_tcp *c = establish(n, 1);

	c->flow.bits |= FTT_F_CLIENT_FIN | FTT_F_LOCAL_FIN;
	c->flow.fin_end = ACKED;
	ftt_tcp_act(&n->worker, c, FTT_ACT_CLOSED, model_now);
	node_role(n, FTT_MODE_SOLO, 1);
	n->stack.state = STACK_LISTEN;
	CHECK(says(n, 1, true, TCP_SYN, IRS, 0));
	says(n, 1, false, TCP_SYN | TCP_ACK, ACKED + 5000, IRS + 1);
	CHECK(!c->closed);
	CHECK(!(c->flow.bits & (FTT_F_LOCAL_FIN | FTT_F_TAKEN)));
	n_said = 0;
	CHECK(says(n, 1, true, TCP_ACK, IRS + 1, ACKED + 5001));
	CHECK_EQ(c->flow.protection, FTT_UNPROTECTED);
	CHECK_EQ(n_said, 0);
	node_close(n);
}

/* ... while the backup follows: what it knows of the old one answers no OPEN of the new one. */
static void test_the_same_numbers_at_a_backup(void)
{
	struct node *n = open_backup(1);
	struct ftt_tcp *c = establish(n, 1);
	struct ftt_record open = {.type = FTT_REC_OPEN, .key = key_of(1), .irs = IRS, .service_iss = 9000};

	c->flow.bits |= FTT_F_CLIENT_FIN | FTT_F_LOCAL_FIN;
	c->flow.fin_end = ACKED;
	ftt_tcp_act(&n->worker, c, FTT_ACT_CLOSED, model_now);
	node_hears(n, &open);
	CHECK(!(c->flow.bits & FTT_F_OPEN_SEEN));
	CHECK(says(n, 1, true, TCP_SYN, IRS, 0));
	says(n, 1, false, TCP_SYN | TCP_ACK, 555, IRS + 1);
	CHECK(!c->closed && !(c->flow.bits & FTT_F_MAPPED));
	node_hears(n, &open);
	CHECK_EQ(c->flow.protection, FTT_PROTECTED);
	CHECK_EQ(c->flow.hard.delta, (uint32_t)(555 - 9000));
	node_close(n);
}

/* No more than there is room for, and all of them give way to what may be protected. */
static void test_strangers_displace_nobody(void)
{
	struct node *n = open_backup(1);

	for (uint16_t port = 1; port <= 2 * n->engine.cfg.policy.max_flows; port++)
		says(n, port, true, TCP_ACK, IRS + 1, ACKED);
	CHECK_EQ(n->worker.table.n, n->engine.cfg.policy.max_flows);
	CHECK(says(n, 1000, true, TCP_SYN, IRS, 0));
	CHECK(find(n, 1000) && !find(n, 1));
	CHECK_EQ(n->worker.n.flows_refused, 0);
	node_close(n);
}

/* Data in the SYN, which only the primary's stack took: our stack's own answer is no beginning of anything. */
static void test_answered_elsewhere(void)
{
	struct node *n = open_backup(0);

	n->stack.state = STACK_LISTEN;
	CHECK(says(n, 1, true, TCP_SYN, IRS, 0));
	CHECK(!says(n, 1, false, TCP_SYN | TCP_ACK, 555, IRS + 1));
	CHECK(!says(n, 1, true, TCP_ACK, IRS + 6, ACKED));
	CHECK_EQ(find(n, 1)->flow.protection, FTT_DETACHED);
	node_role(n, FTT_MODE_SOLO, 1);
	CHECK_EQ(n_said, 1);
	check_question(&said, ACKED);
	CHECK(!says(n, 1, false, TCP_SYN | TCP_ACK, 555, IRS + 1));
	CHECK_EQ(n_said, 1);
	node_close(n);
}

int main(void)
{
	test_asked_then_reset();
	test_given_up();
	test_a_living_flow_is_reset();
	test_a_stranger_is_remembered_and_reset();
	test_a_reset_is_told_before_it_is_seen();
	test_the_same_numbers_again();
	test_the_same_numbers_at_a_backup();
	test_strangers_displace_nobody();
	test_answered_elsewhere();
	return 0;
}
