/* SPDX-License-Identifier: Apache-2.0 */
/* A cold backup takes over: how its flows begin anew when there is a server. */
#define _GNU_SOURCE
#include "engine/flows/promote.h"
#include "cold_rig.h"

static void tick(struct node *n)
{
	model_now += 2 * MS;
	ftt_promote_tick(&n->worker, model_now);
	ftt_renew_tick(&n->worker, model_now);
	node_run(n);
}

/* Our stack says this, in its own numbers. */
static void stack_says(struct node *n, uint8_t flags, uint32_t offset, uint32_t ack, uint32_t len)
{
	uint8_t bytes[FTT_BARE_MAX + 1000];

	wire_push(&n->out, wire_new(bytes, (uint32_t)build(bytes, false, flags, OURS + offset, ack, len)));
	node_run(n);
}

static void unheard(struct stack *s, struct wire *packet)
{
	(void)s;
	free(packet);
}

/* The server has started, and our stack has answered the SYN. */
static void promote(struct node *n)
{
	n->stack.send = unheard;
	ftt_promote(&n->worker, model_now);
	node_run(n);
	CHECK_EQ(n->stack.state, STACK_SYN_RCVD);
	stack_says(n, TCP_SYN | TCP_ACK, UINT32_MAX, IRS + 1, 0);
}

/* The server is given what was kept, none of it before it has said as much as the client had then; then the flow goes on. */
static void test_a_server_is_told_everything(void)
{
	struct node *n = open_node();
	struct ftt_tcp *c = open_flow(n);

	client_says(n, TCP_ACK, IRS + 1, ISS, 100);
	primary_sent(n, 30, false);
	client_says(n, TCP_ACK, IRS + 101, ISS + 30, 100);
	primary_sent(n, 70, false);
	client_says(n, TCP_ACK, IRS + 201, ISS + 60, 0);
	promote(n);
	tick(n);
	CHECK_EQ(c->flow.protection, FTT_CATCHING_UP);
	CHECK_EQ(c->log->renewal->given, IRS + 101); /* the rest answers 30 bytes that our server has not said */
	stack_says(n, TCP_ACK, 0, IRS + 101, 30);
	tick(n);
	CHECK_EQ(c->log->renewal->given, IRS + 201);
	stack_says(n, TCP_ACK, 30, IRS + 201, 20);
	tick(n);
	CHECK_EQ(c->flow.protection, FTT_CATCHING_UP); /* the client has 10 bytes more */
	CHECK_EQ(n->events[FTT_EV_PROMOTED], 0);
	stack_says(n, TCP_ACK, 50, IRS + 201, 20);
	tick(n);
	CHECK_EQ(c->flow.protection, FTT_PROTECTED);
	CHECK(c->bytes_out == 70 && c->flow.client_acked == ISS + 60 && c->flow.hard.delta == OURS - ISS);
	tick(n);
	CHECK(n->events[FTT_EV_PROMOTED] == 1 && n->worker.n.renewed == 1 && !n->worker.n.renewals_failed);
	CHECK(!c->log->renewal);
	node_close(n);
}

/* The client has the end of the server's stream as well, and goes on talking: ours has to have come to its end. */
static void test_the_client_has_the_end(void)
{
	struct node *n = open_node();
	struct ftt_tcp *c = open_flow(n);

	client_says(n, TCP_ACK, IRS + 1, ISS, 100);
	primary_sent(n, 30, true);
	client_says(n, TCP_ACK, IRS + 101, ISS + 31, 100);
	promote(n);
	tick(n);
	stack_says(n, TCP_ACK, 0, IRS + 101, 30);
	tick(n);
	CHECK_EQ(c->log->renewal->given, IRS + 101); /* the rest answers the end */
	stack_says(n, TCP_ACK | TCP_FIN, 30, IRS + 101, 0);
	tick(n);
	CHECK_EQ(c->log->renewal->given, IRS + 201);
	CHECK_EQ(c->flow.protection, FTT_CATCHING_UP);
	stack_says(n, TCP_ACK, 31, IRS + 201, 0);
	tick(n);
	CHECK(c->flow.protection == FTT_PROTECTED && c->flow.client_acked == ISS + 31);
	node_close(n);
}

/* The lane of the old primary ends while the server is told: that is nothing to it. */
static void test_the_lane_ends(void)
{
	struct node *n = open_node();
	struct ftt_lane_user user = ftt_renew_lane_user(&n->worker);

	open_flow(n);
	client_says(n, TCP_ACK, IRS + 1, ISS, 100);
	promote(n);
	user.changed(user.of, 0, false);
	CHECK(node_flow(n) && node_flow(n)->flow.protection == FTT_CATCHING_UP);
	CHECK_EQ(user.message(user.of, 0, FTT_LANE_FIRST_KIND, NULL, 0), FTT_LANE_TAKEN);
	tick(n);
	stack_says(n, TCP_ACK, 0, IRS + 101, 0);
	tick(n);
	CHECK_EQ(node_flow(n)->flow.protection, FTT_PROTECTED);
	node_close(n);
}

/* Our server resets it, or stands still: the takeover has one flow less, and waits no longer for it. */
static void test_a_server_that_does_not_come_there(bool resets)
{
	struct node *n = open_node();
	struct ftt_tcp *c = open_flow(n);

	client_says(n, TCP_ACK, IRS + 1, ISS, 100);
	primary_sent(n, 30, false);
	client_says(n, TCP_ACK, IRS + 101, ISS + 30, 0);
	promote(n);
	tick(n);
	if (resets)
		stack_says(n, TCP_RST | TCP_ACK, 0, IRS + 101, 0);
	else
		model_now += 11 * S;
	tick(n);
	tick(n);
	CHECK_EQ(c->flow.protection, FTT_DETACHED);
	CHECK(n->events[FTT_EV_PROMOTED] == 1 && n->worker.n.renewals_failed == 1);
	node_close(n);
}

/* It dies when a flow stands where its client does: what the kernel says for it is no end, and another server cannot go on. */
static void test_the_server_dies_while_it_is_told(void)
{
	struct node *n = open_node();
	struct ftt_tcp *c = open_flow(n);

	client_says(n, TCP_ACK, IRS + 1, ISS, 100);
	promote(n);
	tick(n);
	atomic_store(&n->engine.shared.vouched, 0);
	stack_says(n, TCP_ACK, 0, IRS + 101, 0);
	tick(n);
	stack_says(n, TCP_ACK | TCP_FIN, 0, IRS + 101, 0);
	tick(n);
	tick(n);
	CHECK(c->flow.protection == FTT_PROTECTED && c->flow.bits & FTT_F_LOCAL_FIN);
	CHECK_EQ(n->events[FTT_EV_PROMOTED], 0);
	atomic_store(&n->engine.shared.vouched, 1);
	ftt_promote(&n->worker, model_now);
	tick(n);
	CHECK_EQ(c->flow.protection, FTT_DETACHED);
	CHECK(n->events[FTT_EV_PROMOTED] == 1 && n->worker.n.renewals_failed == 1);
	node_close(n);
}

/* It dies before a flow has its turn: that is kept for the next one, and so is what its client says meanwhile: no stack knows of it. */
static void test_the_server_dies_before_it_is_told(void)
{
	struct node *n = open_node();
	struct ftt_tcp *c = open_flow(n);

	client_says(n, TCP_ACK, IRS + 1, ISS, 100);
	atomic_store(&n->engine.shared.vouched, 0);
	ftt_promote(&n->worker, model_now);
	tick(n);
	CHECK(c->log->renewal->stage == FTT_RENEW_WAITS && !n->events[FTT_EV_PROMOTED]);
	client_says(n, TCP_ACK, IRS + 101, ISS, 100);
	CHECK(c->log->end == 200 && !n->worker.n.passed && !n->worker.n.translated);
	atomic_store(&n->engine.shared.vouched, 1);
	promote(n);
	tick(n);
	stack_says(n, TCP_ACK, 0, IRS + 201, 0);
	tick(n);
	CHECK_EQ(c->flow.protection, FTT_PROTECTED);
	tick(n);
	CHECK(n->events[FTT_EV_PROMOTED] == 1 && !n->worker.n.renewals_failed);
	node_close(n);
}

/* Not for as long as that for each of many: they are let go, and the gate opens. */
static void test_a_server_that_does_not_come_there_with_many(void)
{
	const unsigned flows = 600;
	struct node *n = open_node();
	uint64_t began = model_now;

	n->engine.cfg.policy.max_flows = n->engine.cfg.policy.max_half_open = flows;
	ftt_table_close(&n->worker.table);
	CHECK(!ftt_table_open(&n->worker.table, flows));
	for (client_port = 1; client_port <= flows; client_port++) {
		struct ftt_record open = record(FTT_REC_OPEN);
		uint8_t syn[FTT_BARE_MAX];

		open.service_iss = ISS - 1;
		open.data = syn;
		open.data_len = (uint32_t)build(syn, true, TCP_SYN, IRS, 0, 0);
		node_hears(n, &open);
	}
	client_port = 1;
	n->stack.send = unheard;
	ftt_promote(&n->worker, model_now);
	CHECK_EQ(n->worker.n_renewing[FTT_RENEW_CATCHING], FTT_RENEW_AT_ONCE);
	CHECK_EQ(n->worker.n_renewing[FTT_RENEW_WAITS], flows - FTT_RENEW_AT_ONCE);
	while (!n->events[FTT_EV_PROMOTED] && model_now - began < 100 * S) {
		model_now += 98 * MS;
		tick(n);
	}
	CHECK(n->events[FTT_EV_PROMOTED] && model_now - began < 25 * S);
	CHECK_EQ(n->worker.n.renewals_failed, flows);
	node_close(n);
}

/* ... nor for all of them, if even that is too long. */
static void test_a_promotion_ends(void)
{
	struct node *n = open_node();

	open_flow(n);
	atomic_store(&n->engine.shared.vouched, 0);
	ftt_promote(&n->worker, model_now);
	n->worker.stood_ns = model_now;
	model_now += 31 * S;
	atomic_store(&n->engine.shared.vouched, 1);
	tick(n);
	CHECK(n->events[FTT_EV_PROMOTED] == 1 && n->worker.n.renewals_failed == 1);
	node_close(n);
}

/* One that was never told anything is taken over by itself; and who follows nobody has nothing to tell. */
static void test_nothing_to_tell(void)
{
	struct node *n = open_node();

	ftt_promote(&n->worker, model_now);
	CHECK_EQ(n->events[FTT_EV_PROMOTED], 1);
	ftt_promote(&n->worker, model_now); /* its server was started again */
	CHECK_EQ(n->events[FTT_EV_PROMOTED], 2);
	node_close(n);
}

int main(void)
{
	test_a_server_is_told_everything();
	test_the_client_has_the_end();
	test_the_lane_ends();
	test_a_server_that_does_not_come_there(true);
	test_a_server_that_does_not_come_there(false);
	test_the_server_dies_while_it_is_told();
	test_the_server_dies_before_it_is_told();
	test_a_server_that_does_not_come_there_with_many();
	test_a_promotion_ends();
	test_nothing_to_tell();
	return 0;
}
