/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A connection that the primary's server has opened, and a new backup, whose server has to open it again: its stack is given the remote
 * end's answer, and all that this has said, out of the primary's log. The lane is a stub.
 */
#define _GNU_SOURCE
#include "core/tcp/renew.h"
#include "engine/flows/opens.h"
#include "engine/flows/spill.h"
#include "packet.h"
#include "renewal_rig.h"

#define DESTINATION 25
#define OWN 41000 /* our stack's port */
#define TICK 5000u /* the primary's clock at BEGIN */

static struct ftt_key opened_key(void)
{
	struct ftt_key k = {.remote_port = DESTINATION, .local_port = 40000, .proto = 6};

	memcpy(k.remote + 10, (uint8_t[]){255, 255, 10, 77, 0, 10}, 6); /* as packet.h has them */
	memcpy(k.local + 10, (uint8_t[]){255, 255, 10, 77, 0, 100}, 6);
	return k;
}

static struct node *open_backup(void)
{
	struct node *n = open_node(FTT_MODE_BACKUP, 1);
	struct stack *s = &n->stack;

	stack_init(s, false, 4);
	s->owner = n;
	s->send = model_stack_sends;
	s->port = OWN;
	s->peer_port = DESTINATION;
	s->minds_ports = true;
	n->engine.cfg.opens[0] = (struct ftt_port){.port = DESTINATION, .proto = 6};
	n->engine.cfg.n_opens = 1;
	n->engine.cfg.policy.opens_wait_ns = 2 * S;
	return n;
}

/* The remote end's answer, as the primary has kept it: long ago, so it echoes a time that is long past. */
static uint32_t answer(uint8_t *bytes, bool stamped)
{
	uint8_t options[20] = {2, 4, 0, MODEL_MSS, 1, 3, 3, 7, 1, 1, 8, 10};
	struct packet_spec p = {.family = 4, .sport = DESTINATION, .dport = 40000, .seq = IRS, .ack = ISS, .flags = TCP_SYN | TCP_ACK,
				.wnd = WINDOW, .options = options, .options_len = stamped ? 20 : 8};
	struct packet built;

	put_be32(options + 12, 800);
	put_be32(options + 16, 17);
	built = packet_tcp(&p);
	memcpy(bytes, built.bytes, built.len);
	return built.len;
}

static enum ftt_lane_answer begins(struct node *n, bool stamped)
{
	struct ftt_lane_user user = ftt_renew_lane_user(&n->worker);
	struct ftt_lane_begin begin = {.attempt = 1};
	struct ftt_record open = {.type = FTT_REC_OPEN, .key = opened_key(), .irs = ISS - 1, .service_iss = ISS - 1, .wscale = 3, .tsval = TICK,
				  .flags = (uint8_t)(FTT_REC_OUTWARD | FTT_REC_WSCALE | (stamped ? FTT_REC_TS : 0))};
	uint8_t bytes[FTT_BEGIN_MAX], syn[FTT_SYN_MAX];

	open.data = syn;
	open.data_len = answer(syn, stamped);
	ftt_lane_begin_put(bytes, &begin);
	return user.message(user.of, 0, FTT_LANE_OUTWARD, bytes,
			    FTT_LANE_BEGIN_HEAD + (uint32_t)ftt_record_put(bytes + FTT_LANE_BEGIN_HEAD, sizeof(bytes) - FTT_LANE_BEGIN_HEAD, &open));
}

static void pass(struct node *n, uint64_t ms)
{
	model_now += ms * MS;
	ftt_opens_tick(&n->worker, model_now);
	node_run(n);
}

/* Its server opens the connection, before it is asked about it, or later. */
static struct ftt_tcp *both(struct node *n, bool asked_first, bool stamped)
{
	for (unsigned i = 0; i < 2; i++) {
		if (asked_first == !i)
			CHECK_EQ(begins(n, stamped), FTT_LANE_TAKEN);
		else
			stack_connect(&n->stack);
		node_run(n);
		pass(n, 110);
	}
	return node_flow(n);
}

static void logged(struct node *n, uint32_t len)
{
	struct ftt_record head = {.type = FTT_REC_RENEW, .key = opened_key(), .irs = ISS - 1, .attempt = 1};
	struct ftt_piece x = {.len = (uint16_t)len, .tsval = 900, .bytes = (const uint8_t[100]){0}};
	struct ftt_lane_user user = ftt_renew_lane_user(&n->worker);
	uint8_t bytes[300];
	size_t at = ftt_record_put(bytes, sizeof(bytes), &head);

	ftt_piece_put(bytes + at, &x);
	CHECK_EQ(user.message(user.of, 0, FTT_LANE_LOG, bytes, (uint32_t)(at + FTT_PIECE_HEADER + len)), FTT_LANE_TAKEN);
	node_run(n);
}

static void test_it_is_opened_again(bool asked_first, bool stamped)
{
	struct node *n = open_backup();
	struct ftt_tcp *c = both(n, asked_first, stamped);
	struct ftt_record word = {.type = FTT_REC_RENEW, .key = opened_key(), .irs = ISS - 1, .attempt = 1, .rcv_nxt = IRS + 1 + 60,
				  .client_acked = ISS, .client_wnd = WINDOW, .snd_nxt = ISS};

	CHECK(c && c->key.local_port == 40000 && ftt_flow_port_delta(&c->flow) == OWN - 40000);
	CHECK_EQ(c->flow.protection, FTT_CATCHING_UP);
	CHECK_EQ(n->stack.state, STACK_OPEN); /* it has taken the answer */
	CHECK_EQ(!(c->flow.bits & FTT_F_TS), !stamped);
	CHECK(was_told(FTT_REC_COMMIT) && told[n_told - 1].irs == ISS - 1 && told[n_told - 1].rcv_nxt == IRS + 1);
	CHECK_EQ(n_said, 0);
	logged(n, 60);
	CHECK_EQ(stack_received(&n->stack), 60);
	word.flags = FTT_REC_FINAL;
	node_hears(n, &word);
	CHECK_EQ(c->flow.protection, FTT_PROTECTED);
	CHECK_EQ(was_told(FTT_REC_OPENED), 1);
	CHECK(c->log && !c->unrenewable && c->log->end == 60);
	if (stamped) /* the clock of the primary's stack goes on, as if it had been ours */
		CHECK((uint32_t)(ftt_flow_clock(&c->flow, model_now) - TICK) <= 200 || asked_first);
	node_role(n, FTT_MODE_SOLO, 2);
	ftt_flows_rest(&n->worker, UINT32_MAX, model_now);
	node_run(n);
	CHECK_EQ(c->flow.protection, FTT_UNPROTECTED);
	CHECK(n_said && said.seq == ISS && said.ack == IRS + 61);
	node_close(n);
}

static void asked(struct node *n, uint16_t port)
{
	struct ftt_record open = {.type = FTT_REC_OPEN, .key = opened_key(), .irs = 500, .service_iss = 500, .wscale = 3,
				  .flags = FTT_REC_OUTWARD | FTT_REC_WSCALE | FTT_REC_TS};

	open.key.local_port = port;
	node_hears(n, &open);
}

static struct ftt_tcp *of_port(struct node *n, uint16_t port)
{
	struct ftt_key k = opened_key();

	k.local_port = port;
	return ftt_table_find(&n->worker.table, &k);
}

/*
 * One waits to be opened again, and both servers open another one. Ours is the faster one, by a little; or by so much that it is taken
 * for who opens it again.
 */
static void test_another_one_is_opened(bool soon)
{
	struct node *n = open_backup();
	struct ftt_tcp *c;

	CHECK_EQ(begins(n, true), FTT_LANE_TAKEN);
	stack_connect(&n->stack);
	node_run(n);
	CHECK_EQ(n->stack.state, STACK_SYN_SENT);
	pass(n, soon ? 50 : 110);
	asked(n, 40001);
	pass(n, 0);
	c = of_port(n, soon ? 40001 : 40000);
	CHECK(c && ftt_flow_port_delta(&c->flow) == (uint16_t)(OWN - c->key.local_port));
	CHECK_EQ(c->flow.protection, soon ? FTT_PROTECTED : FTT_CATCHING_UP);
	CHECK_EQ(was_told(FTT_REC_OPENED), soon);
	c = of_port(n, soon ? 40000 : 40001);
	CHECK(c && !ftt_flow_port_delta(&c->flow)); /* it waits */
	CHECK_EQ(n->worker.n_opens, 1);
	pass(n, 1000);
	CHECK_EQ(n->worker.n_opens, 1);
	node_close(n);
}

/* The stack did not get the answer: it is given it once more. */
static void test_the_answer_is_lost(void)
{
	struct node *n = open_backup();
	struct ftt_tcp *c;

	CHECK_EQ(begins(n, true), FTT_LANE_TAKEN);
	c = node_flow(n);
	CHECK(c && !(c->flow.bits & FTT_F_SYNACK));
	stack_connect(&n->stack);
	n->stack.state = STACK_RESET; /* for a moment it is deaf */
	n->stack.send = unheard;
	node_run(n);
	pass(n, 110);
	c = node_flow(n);
	CHECK(c && c->flow.bits & FTT_F_MAPPED && ftt_opened_unanswered(&c->flow));
	n->stack.state = STACK_SYN_SENT;
	n->stack.send = model_stack_sends;
	tick(n);
	CHECK_EQ(n->stack.state, STACK_SYN_SENT); /* not at once */
	model_now += 1100 * MS;
	tick(n);
	CHECK_EQ(n->stack.state, STACK_OPEN);
	CHECK(!ftt_opened_unanswered(&node_flow(n)->flow));
	node_close(n);
}

/* A takeover before its server has opened it: the remote end is asked where it stands, and is reset there. */
static void test_a_takeover_before_it_is_opened_again(void)
{
	struct node *n = open_backup();
	struct ftt_tcp *c;

	CHECK_EQ(begins(n, true), FTT_LANE_TAKEN);
	node_role(n, FTT_MODE_SOLO, 2);
	ftt_flows_rest(&n->worker, UINT32_MAX, model_now);
	node_run(n);
	c = node_flow(n);
	CHECK(c && c->flow.protection == FTT_RESETTING);
	CHECK_EQ(n_said, 1);
	node_close(n);
}

/* The part of its log that is not in memory goes with it. */
static void test_a_log_that_is_elsewhere(void)
{
	struct node *n = open_backup();
	struct ftt_spilled sp = {0};
	struct ftt_tcp *c;

	CHECK_EQ(begins(n, true), FTT_LANE_TAKEN);
	sp.c = node_flow(n);
	sp.c->log->spooled = &sp.in;
	stack_connect(&n->stack);
	node_run(n);
	pass(n, 110);
	c = of_port(n, 40000);
	CHECK(c && ftt_flow_port_delta(&c->flow) && c->log->spooled == &sp.in);
	CHECK(sp.c == c);
	c->log->spooled = NULL;
	node_close(n);
}

/* Time alone does not end it: that is the primary's to say. */
static void test_it_waits_as_long_as_the_primary_does(void)
{
	struct node *n = open_backup();

	CHECK_EQ(begins(n, true), FTT_LANE_TAKEN);
	pass(n, 9000);
	CHECK(node_flow(n));
	stack_connect(&n->stack);
	node_run(n);
	pass(n, 110);
	CHECK_EQ(n->stack.state, STACK_OPEN);
	node_close(n);
}

/* What is no answer to that SYN, or of a destination that is not to be followed. */
static void test_what_is_no_such_message(void)
{
	struct node *n = open_backup();
	struct ftt_lane_user user = ftt_renew_lane_user(&n->worker);
	uint8_t bytes[FTT_BEGIN_MAX] = {0};

	CHECK_EQ(user.message(user.of, 0, FTT_LANE_OUTWARD, bytes, 13), FTT_LANE_BAD);
	CHECK_EQ(user.message(user.of, 0, FTT_LANE_BEGIN, bytes, 60), FTT_LANE_BAD);
	n->engine.cfg.n_opens = 0;
	CHECK_EQ(begins(n, true), FTT_LANE_TAKEN);
	CHECK(!node_flow(n));
	node_close(n);
}

/* --- the primary -------------------------------------------------------------------------------------- */

/* The new backup's server does not open it: that is told, and this backup is not asked again. */
static void test_it_is_not_opened_again(void)
{
	struct node *n = open_node(FTT_MODE_PAIRED, 1);
	struct ftt_tcp *c = establish(n, FTT_UNPROTECTED);
	struct ftt_lane_user user = ftt_renew_lane_user(&n->worker);

	c->flow.opener = FTT_OPENED_LOCAL;
	user.changed(user.of, 0, true);
	ftt_renew_pump(&n->worker, model_now);
	CHECK_EQ(c->flow.protection, FTT_CATCHING_UP);
	model_now += 11 * S;
	tick(n);
	CHECK_EQ(c->flow.protection, FTT_UNPROTECTED);
	CHECK_EQ(c->unrenewable, FTT_NOT_REOPENED);
	CHECK(c->log && !ftt_renewal(c));
	model_now += 100 * S;
	n->worker.renew_again.at_ns = model_now; /* for the sake of another one */
	ftt_renew_pump(&n->worker, model_now);
	CHECK(!ftt_renewal(c));
	user.changed(user.of, 0, true); /* the next backup */
	CHECK(ftt_renewal(c));
	node_close(n);
}

static struct ftt_tcp *another(struct node *n, const struct ftt_tcp *c, uint16_t port, uint8_t opener)
{
	struct ftt_key k = c->key;
	struct ftt_tcp *x;

	k.remote_port = port;
	CHECK((x = ftt_table_add(&n->worker.table, &k, model_now)));
	x->flow = c->flow;
	x->flow.opener = opener;
	ftt_log_begin(&n->worker, x, c->log->bytes, c->log->syn_len);
	ftt_table_update(&n->worker.table, x, n->worker.mode);
	return x;
}

/* The new backup's server opens none of many, or not yet: clients' connections do not wait for that, and neither does a planned act. */
static void test_many_are_not_opened_again(void)
{
	struct node *n = open_node(FTT_MODE_PAIRED, 1);
	struct ftt_lane_user user = ftt_renew_lane_user(&n->worker);
	const uint32_t *stages = n->worker.n_renewing, *of_a_server = n->worker.n_reopening;
	struct ftt_tcp *c;

	n->engine.cfg.policy.max_flows = 2000;
	c = establish(n, FTT_UNPROTECTED);
	for (uint16_t i = 0; i < 600; i++)
		another(n, c, 100 + i, i % 6 ? FTT_OPENED_LOCAL : FTT_OPENED_REMOTE);
	user.changed(user.of, 0, true);
	CHECK(stages[FTT_RENEW_WAITS] == 601 && of_a_server[FTT_RENEW_WAITS] == 500);
	CHECK_EQ(ftt_renewals_awaited(&n->worker), 101);
	ftt_renew_pump(&n->worker, model_now);
	CHECK(stages[FTT_RENEW_BEGUN] == FTT_RENEW_AT_ONCE + FTT_RENEW_REOPENED && of_a_server[FTT_RENEW_BEGUN] == FTT_RENEW_REOPENED);
	CHECK(stages[FTT_RENEW_WAITS] == 37 + 244 && of_a_server[FTT_RENEW_WAITS] == 244);
	CHECK_EQ(ftt_renewals_awaited(&n->worker), 101);
	model_now += 11 * S; /* no stack has answered, either */
	tick(n);
	ftt_renew_pump(&n->worker, model_now);
	CHECK(stages[FTT_RENEW_BEGUN] == 37 + 244 && !stages[FTT_RENEW_WAITS]);
	node_role(n, FTT_MODE_SOLO, 2);
	for (unsigned i = 0; i < FTT_RENEWAL_STAGES; i++)
		CHECK(!stages[i] && !of_a_server[i]);
	node_close(n);
}

int main(void)
{
	for (unsigned i = 0; i < 4; i++)
		test_it_is_opened_again(i & 1, i & 2);
	test_another_one_is_opened(true);
	test_another_one_is_opened(false);
	test_the_answer_is_lost();
	test_a_takeover_before_it_is_opened_again();
	test_a_log_that_is_elsewhere();
	test_it_waits_as_long_as_the_primary_does();
	test_what_is_no_such_message();
	test_it_is_not_opened_again();
	test_many_are_not_opened_again();
	return 0;
}
