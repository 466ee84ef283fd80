/* SPDX-License-Identifier: Apache-2.0 */
/* A node that gives its role up, and serves again later: the clients that it had are asked for their place, and reset. */
#define _GNU_SOURCE
#include "old_backup.h"

static void check_asked_and_reset(struct node *n, uint16_t port)
{
	unsigned before = n_said;

	CHECK_EQ(find(n, port)->flow.protection, FTT_RESETTING);
	CHECK(!says(n, port, true, TCP_ACK, IRS + 1, ACKED + 1474)); /* further than this node saw */
	CHECK_EQ(n_said, before + 1);
	CHECK_EQ(said.flags, TCP_RST);
	CHECK_EQ(said.seq, ACKED + 1474);
	CHECK(!says(n, port, true, TCP_RST, IRS + 1, 0));
	CHECK(find(n, port)->closed);
}

/* Whatever it was, and whatever it is in between: a client that only listens is asked as soon as it serves. */
static void test_a_role_given_up(uint32_t was, uint32_t between, uint32_t then)
{
	struct node *n = open_backup(1);
	unsigned sessions = 1;

	node_role(n, FTT_MODE_PAIRED, sessions);
	establish(n, 1);
	if (was != FTT_MODE_PAIRED)
		node_role(n, was, was == FTT_MODE_BACKUP ? ++sessions : sessions);
	if (was == FTT_MODE_BACKUP)
		establish(n, 2);
	n_said = 0;
	node_role(n, FTT_MODE_IDLE, 0);
	CHECK_EQ(n->stack.state, STACK_RESET); /* ours has ended there and then */
	if (between != FTT_MODE_IDLE)
		node_role(n, between, ++sessions);
	CHECK_EQ(n_said, 0);
	CHECK_EQ(n->worker.table.count[FTT_DETACHED], was == FTT_MODE_BACKUP ? 2 : 1);
	CHECK_EQ(n->worker.n.flows_remembered, was == FTT_MODE_BACKUP ? 2 : 1);
	node_role(n, then, sessions);
	CHECK_EQ(n_said, was == FTT_MODE_BACKUP ? 2 : 1);
	CHECK_EQ(said.flags, TCP_ACK);
	CHECK_EQ(said.len, 1);
	CHECK(seq_lt(said.seq + said.len, ACKED));
	check_asked_and_reset(n, 1);
	if (was == FTT_MODE_BACKUP)
		check_asked_and_reset(n, 2);
	node_close(n);
}

/* What is given up while it is being reset is reset the next time. */
static void test_given_up_twice(void)
{
	struct node *n = open_backup(1);

	establish(n, 1);
	for (int i = 0; i < 3; i++) {
		node_role(n, FTT_MODE_IDLE, 0);
		n_said = 0;
		node_role(n, FTT_MODE_SOLO, 1);
		CHECK_EQ(n_said, 1);
	}
	check_asked_and_reset(n, 1);
	node_role(n, FTT_MODE_IDLE, 0); /* its client knows */
	n_said = 0;
	node_role(n, FTT_MODE_SOLO, 1);
	CHECK_EQ(n_said, 0);
	CHECK_EQ(n->worker.table.n, 0);
	node_close(n);
}

/* One that has ended, or that our stack never answered, has no client that waits. */
static void test_who_waits_for_nothing_is_forgotten(void)
{
	struct node *n = open_backup(1);
	struct ftt_tcp *c = establish(n, 1);

	c->flow.bits |= FTT_F_CLIENT_FIN | FTT_F_LOCAL_FIN;
	c->flow.fin_end = ACKED;
	ftt_tcp_act(&n->worker, c, FTT_ACT_CLOSED, model_now);
	c = establish(n, 2);
	c->flow.bits |= FTT_F_CLIENT_RST;
	ftt_tcp_act(&n->worker, c, 0, model_now);
	n->stack.state = STACK_LISTEN;
	CHECK(says(n, 3, true, TCP_SYN, IRS, 0));
	CHECK_EQ(n->worker.table.n, 3);
	node_role(n, FTT_MODE_IDLE, 0);
	CHECK_EQ(n->worker.table.n, 0);
	CHECK_EQ(n->worker.n.flows_remembered, 0);
	node_close(n);
}

/* Nothing but the numbers of the flow is kept, and nothing of the client reaches our stack, or of that the client. */
static void test_only_the_place_is_kept(void)
{
	struct node *n = open_backup(1);
	struct ftt_tcp *c;

	node_role(n, FTT_MODE_PAIRED, 1);
	c = establish(n, 1);
	CHECK(!says(n, 1, false, TCP_ACK, ACKED, IRS + 500)); /* the backup has not got so far */
	CHECK_EQ(n->worker.held_now, 1);
	node_role(n, FTT_MODE_IDLE, 0);
	CHECK_EQ(n->worker.held_now, 0);
	CHECK_EQ(n->worker.retained_bytes, 0);
	CHECK(!n->worker.table.waiting && !n->worker.table.dirty && !c->held && !c->log && !c->points && !c->store && !c->syn);
	CHECK(!says(n, 1, false, TCP_ACK, ACKED, IRS + 1));
	CHECK(!says(n, 1, true, TCP_ACK, IRS + 1, ACKED));
	CHECK_EQ(n_said, 0);
	ftt_flows_sweep(&n->worker, model_now + 3599 * S);
	CHECK_EQ(n->worker.table.n, 1);
	ftt_flows_sweep(&n->worker, model_now + 3601 * S);
	CHECK_EQ(n->worker.table.n, 0);
	node_close(n);
}

/* The next connection under that key, and the same one renewed, are what they would be without. */
static void test_a_new_connection_replaces_it(void)
{
	struct node *n = open_backup(1);

	establish(n, 1);
	node_role(n, FTT_MODE_IDLE, 0);
	node_role(n, FTT_MODE_BACKUP, 2);
	n->stack.state = STACK_LISTEN;
	CHECK(says(n, 1, true, TCP_SYN, IRS + 90000, 0));
	CHECK_EQ(find(n, 1)->flow.hard.irs, IRS + 90000);
	CHECK_EQ(find(n, 1)->flow.protection, FTT_NEW);
	CHECK_EQ(n->worker.table.n, 1);
	node_close(n);
}

/* They are as many as flows may be, and each gives way to a flow that may be protected. */
static void test_they_give_way(void)
{
	struct node *n = open_backup(1);
	unsigned most = n->engine.cfg.policy.max_flows;

	for (unsigned port = 1; port <= most; port++)
		establish(n, (uint16_t)port);
	node_role(n, FTT_MODE_IDLE, 0);
	CHECK_EQ(n->worker.table.n, most);
	node_role(n, FTT_MODE_BACKUP, 2);
	n->stack.state = STACK_LISTEN;
	for (unsigned port = 1001; port <= 1010; port++)
		CHECK(says(n, (uint16_t)port, true, TCP_SYN, IRS, 0));
	CHECK_EQ(n->worker.table.n, most);
	CHECK_EQ(n->worker.n.flows_refused, 0);
	CHECK_EQ(n->worker.table.count[FTT_DETACHED], most - 10);
	node_close(n);
}

/* A backup whose table is full of memories meets one that its primary serves now: the oldest one goes. Flows that it follows do not. */
static void test_a_memory_gives_way_to_a_stranger(void)
{
	struct node *n = open_backup(1);
	uint16_t most = (uint16_t)n->engine.cfg.policy.max_flows;

	node_role(n, FTT_MODE_PAIRED, 1);
	for (uint16_t port = 1; port < most; port++, model_now += MS)
		establish(n, port);
	node_role(n, FTT_MODE_BACKUP, 2);
	CHECK_EQ(n->worker.table.count[FTT_DETACHED], most - 1u);
	establish(n, most);
	CHECK_EQ(n->worker.table.n, most);
	says(n, 1000, true, TCP_ACK, IRS + 1, ACKED);
	CHECK(find(n, 1000) && !find(n, 1) && find(n, 2) && find(n, most));
	CHECK_EQ(find(n, 1000)->flow.protection, FTT_DETACHED);
	for (uint16_t port = 2; port < most; port++)
		says(n, 1000 + port, true, TCP_ACK, IRS + 1, ACKED);
	CHECK(find(n, most)); /* which is protected */
	CHECK_EQ(find(n, most)->flow.protection, FTT_PROTECTED);
	CHECK_EQ(n->worker.table.n, most);
	n_said = 0;
	node_role(n, FTT_MODE_SOLO, 2);
	check_asked_and_reset(n, 1000);
	node_close(n);
}

/*
 * Acknowledgements of no connection are easily forged, and so is a handshake that the primary tells nothing of: they cost as many memories
 * as there may be handshakes, and then each other's. Who begins a connection has the place of one of them first.
 */
static void test_forged_strangers_forget_each_other(void)
{
	struct node *n = open_backup(1);
	uint16_t most = (uint16_t)n->engine.cfg.policy.max_flows;

	n->engine.cfg.policy.max_half_open = 2;
	node_role(n, FTT_MODE_PAIRED, 1);
	for (uint16_t port = 1; port <= most; port++, model_now += MS)
		establish(n, port);
	node_role(n, FTT_MODE_BACKUP, 2);
	for (uint16_t port = 1001; port <= 1100; port++, model_now += MS) {
		says(n, port, true, TCP_ACK, IRS + 1, ACKED);
		if (port % 10 == 0) /* ... and its end */
			says(n, port, true, TCP_RST, IRS + 1, 0);
	}
	says(n, 1100, true, TCP_ACK, IRS + 1, ACKED);
	CHECK(!find(n, 2) && !find(n, 1098) && find(n, 1099) && find(n, 1100));
	n->stack.state = STACK_LISTEN;
	for (uint16_t port = 2001; port <= 2100; port++, model_now += MS) {
		CHECK(says(n, port, true, TCP_SYN, IRS, 0));
		says(n, port, true, TCP_ACK, IRS + 1, ACKED);
		CHECK_EQ(find(n, port)->flow.protection, FTT_DETACHED);
	}
	CHECK(!find(n, 1100) && !find(n, 2098) && find(n, 2100));
	for (uint16_t port = 3; port <= most; port++)
		CHECK(find(n, port));
	CHECK_EQ(n->worker.table.n, most);
	n_said = 0;
	node_role(n, FTT_MODE_SOLO, 2);
	check_asked_and_reset(n, 3);
	check_asked_and_reset(n, 2100);
	node_close(n);
}

int main(void)
{
	test_forged_strangers_forget_each_other();
	test_a_memory_gives_way_to_a_stranger();
	test_a_role_given_up(FTT_MODE_PAIRED, FTT_MODE_IDLE, FTT_MODE_SOLO);
	test_a_role_given_up(FTT_MODE_SOLO, FTT_MODE_IDLE, FTT_MODE_SOLO);
	test_a_role_given_up(FTT_MODE_BACKUP, FTT_MODE_IDLE, FTT_MODE_SOLO);
	test_a_role_given_up(FTT_MODE_PAIRED, FTT_MODE_BACKUP, FTT_MODE_SOLO);
	test_given_up_twice();
	test_who_waits_for_nothing_is_forgotten();
	test_only_the_place_is_kept();
	test_a_new_connection_replaces_it();
	test_they_give_way();
	return 0;
}
