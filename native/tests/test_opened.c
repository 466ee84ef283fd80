/* SPDX-License-Identifier: Apache-2.0 */
/* A connection that our server opens out of a port of the service: it is known, passes, and no backup follows it. */
#define _GNU_SOURCE
#include "engine/flows/act.h"
#include "engine/flows/role.h"
#include "flows.h"
#include "model_alone.h"

/* --- the flow --------------------------------------------------------------------------------------- */

/* Our stack's SYN, the remote end's answer; `irs` is that end's number, as ever. */
static struct arrival own_syn(const struct ends *x)
{
	struct arrival s = from_server(FTT_MODE_PAIRED, TCP_SYN, x->service_iss, 0, 0);

	s.options = FTT_OPT_WSCALE | FTT_OPT_SACK_OK;
	s.wscale = x->service_wscale;
	s.wnd = x->service_wnd;
	return x->client_ts ? stamped(s, x->service_ts, 0) : s;
}

static struct arrival answer(const struct ends *x)
{
	struct arrival s = from_client(FTT_MODE_PAIRED, TCP_SYN | TCP_ACK, x->irs, x->service_iss + 1, 0);

	s.options = FTT_OPT_WSCALE | FTT_OPT_SACK_OK;
	s.wscale = 7;
	s.mss = SEGMENT + (x->client_ts ? 12 : 0);
	return x->client_ts ? stamped(s, x->client_ts, x->service_ts) : s;
}

static void open_flow(struct ftt_flow *f, const struct ends *x)
{
	struct arrival syn = own_syn(x);

	ftt_opened_begin(f, &syn.seg, MS);
	CHECK_EQ(step(f, syn, MS), FTT_PASS);
	CHECK_EQ(edit.actions, 0); /* no backup is asked, and it is not another one */
	CHECK_EQ(step(f, answer(x), MS), FTT_PASS);
	CHECK_EQ(step(f, from_primary(x, TCP_ACK, 0, 0, 0), MS), FTT_PASS);
}

static void test_both_ends_are_followed_from_the_handshake_on(const struct ends *x)
{
	struct ftt_flow f;

	open_flow(&f, x);
	CHECK_EQ(f.opener, FTT_OPENED_LOCAL);
	CHECK_EQ(f.protection, FTT_UNPROTECTED);
	CHECK_EQ(f.reason, FTT_WHY_OPENED_HERE);
	CHECK_EQ(f.hard.irs, x->irs);
	CHECK_EQ(f.hard.delta, 0);
	CHECK_EQ(f.mss, SEGMENT);
	CHECK(f.bits & FTT_F_MAPPED && f.bits & FTT_F_ESTABLISHED && f.bits & FTT_F_SACK);
	CHECK_EQ(step(&f, from_primary(x, TCP_ACK, 0, 0, 30), 2 * MS), FTT_PASS);
	CHECK_EQ(edit.change & ~(uint32_t)FTT_EDIT_WND, 0); /* the window that its SYN has promised stays */
	CHECK_EQ(step(&f, of_client(x, FTT_MODE_PAIRED, 0, 30, 20), 3 * MS), FTT_PASS);
	CHECK(edit.taken);
	CHECK_EQ(f.client_acked, x->service_iss + 31);
	CHECK_EQ(f.client_nxt, x->irs + 21);
	CHECK_EQ(ftt_output_end(&f), 30);
}

/* What our stack did not ask is none of its answers; it may be forged, and teaches nothing. */
static void test_only_its_own_answer_counts(const struct ends *x)
{
	struct arrival syn = own_syn(x), forged = answer(x);
	struct ftt_flow f;

	ftt_opened_begin(&f, &syn.seg, MS);
	forged.ack++;
	CHECK_EQ(step(&f, forged, MS), FTT_PASS); /* our stack answers with a RST */
	CHECK(!(f.bits & (FTT_F_MAPPED | FTT_F_ESTABLISHED)));
	CHECK_EQ(step(&f, answer(x), MS), FTT_PASS);
	CHECK(f.bits & FTT_F_MAPPED);
}

/* Our acknowledgement was lost: the remote end repeats its answer, and if that did not come through both would wait for ever. */
static void test_an_answer_that_is_repeated_comes_through(const struct ends *x)
{
	struct arrival other = answer(x);
	struct ftt_flow f;

	open_flow(&f, x);
	CHECK_EQ(step(&f, answer(x), 2 * MS), FTT_PASS);
	CHECK_EQ(f.client_nxt, x->irs + 1);
	other.seq += 1000;
	CHECK_EQ(step(&f, other, 2 * MS), FTT_DROP);
}

/* As of any flow that nobody follows: who has died does not look like who is done. */
static void test_its_end_waits_for_word_of_the_server(const struct ends *x)
{
	struct arrival fin = from_primary(x, TCP_ACK | TCP_FIN, 0, 0, 5);
	struct ftt_flow f;

	open_flow(&f, x);
	CHECK_EQ(step(&f, fin, 2 * MS), FTT_HOLD);
	CHECK_EQ(ftt_flow_tick(&f, unvouched(300 * MS)), 0);
	CHECK_EQ(ftt_flow_tick(&f, at(301 * MS)), FTT_ACT_RELEASE);
	CHECK_EQ(gate(&f, fin, 301 * MS), FTT_PASS);
	f.held_since_ns = 0;
	CHECK_EQ(step(&f, of_client(x, FTT_MODE_PAIRED, 0, 6, 0), 302 * MS), FTT_PASS);
	fin = of_client(x, FTT_MODE_PAIRED, 0, 6, 0);
	fin.flags |= TCP_FIN;
	CHECK_EQ(step(&f, fin, 303 * MS), FTT_PASS);
	CHECK(edit.actions & FTT_ACT_CLOSED);
}

/* One that is signed no backup can follow: that is told, and by its own name. */
static void test_one_that_is_signed(const struct ends *x)
{
	struct arrival syn = own_syn(x), accepted = syn_of(x, FTT_MODE_PAIRED);
	struct ftt_flow f;

	syn.signer = FTT_SIGNED_ALIEN;
	ftt_opened_begin(&f, &syn.seg, MS);
	CHECK_EQ(ftt_opened_ask(&f, &syn.seg, at(MS)), FTT_ACT_REPORT);
	CHECK(f.protection == FTT_UNPROTECTED && f.reason == FTT_WHY_SIGNED);
	accepted.signer = FTT_SIGNED_ALIEN;
	ftt_flow_init(&f, x->irs, MS);
	CHECK_EQ(ftt_flow_begin(&f, &accepted.seg, at(MS)), FTT_ACT_REPORT);
	CHECK(f.protection == FTT_UNPROTECTED && f.reason == FTT_WHY_SIGNED);
}

/* --- the engine ------------------------------------------------------------------------------------- */

static struct node node;
static uint32_t left_seq; /* of the last packet that left */
static unsigned n_left;

static void to_client(struct node *n, struct wire *packet)
{
	(void)n;
	left_seq = get_be32(packet->bytes + 24);
	n_left++;
	free(packet);
}

static void to_peer(struct node *n, struct wire *datagram)
{
	(void)n;
	free(datagram);
}

/* The stack's words are the test's. */
static void unheard(struct stack *s, struct wire *packet)
{
	(void)s;
	free(packet);
}

static struct ftt_key key_of(void)
{
	struct ftt_key k = {.remote_port = 21000, .local_port = 20, .proto = 6};

	k.remote[10] = k.remote[11] = k.local[10] = k.local[11] = 0xff;
	k.remote[12] = k.local[12] = 10;
	k.remote[15] = 1;
	k.local[15] = 2;
	return k;
}

static void open_node(uint32_t mode)
{
	node_open(&node, "node", mode, 4);
	node.to_client = to_client;
	node.to_peer = to_peer;
	node.stack.send = unheard;
	n_left = 0;
}

static void says(bool remote, uint8_t flags, uint32_t seq, uint32_t ack)
{
	struct ftt_key k = key_of();
	struct ftt_bare b = {.src = remote ? k.remote : k.local, .dst = remote ? k.local : k.remote, .sport = remote ? 21000 : 20,
			     .dport = remote ? 20 : 21000, .seq = seq, .ack = ack, .flags = flags, .wnd = 500};
	uint8_t bytes[FTT_BARE_MAX];

	wire_push(remote ? &node.in : &node.out, wire_new(bytes, (uint32_t)ftt_build_bare(bytes, &b)));
	node_run(&node);
}

static struct ftt_tcp *flow(void)
{
	struct ftt_key k = key_of();

	return ftt_table_find(&node.worker.table, &k);
}

static void test_a_primary_knows_it(uint32_t mode)
{
	open_node(mode);
	says(false, TCP_SYN, 5000, 0);
	CHECK_EQ(n_left, 1);
	CHECK(flow());
	CHECK_EQ(flow()->flow.opener, FTT_OPENED_LOCAL);
	CHECK_EQ(flow()->unrenewable, FTT_NO_RENEWAL);
	says(true, TCP_SYN | TCP_ACK, 1000, 5001);
	says(false, TCP_ACK, 5001, 1001);
	CHECK_EQ(n_left, 2);
	CHECK_EQ(node.worker.table.of_age[FTT_AGE_LIVING], 1);
	says(true, TCP_RST | TCP_ACK, 1001, 5001);
	CHECK(flow()->closed);
	says(false, TCP_SYN, 777000, 0); /* the port is used again */
	CHECK_EQ(n_left, 3);
	CHECK(!flow()->closed);
	CHECK_EQ(flow()->flow.local_iss, 777000);
	CHECK_EQ(node.worker.n.flows_opened, 2);
	node_close(&node);
}

static void test_who_may_not_speak_opens_nothing(void)
{
	open_node(FTT_MODE_BACKUP);
	says(false, TCP_SYN, 5000, 0);
	CHECK(!flow() && !n_left);
	node_close(&node);
	open_node(FTT_MODE_PAIRED);
	node.engine.shared.lease_until_ns = 0;
	says(false, TCP_SYN, 5000, 0);
	CHECK(!flow() && !n_left);
	CHECK_EQ(node.worker.n.drop_lease, 1);
	node_close(&node);
}

/* A flow that a client has opened, on a node that took it over: its numbers are edited. */
static struct ftt_tcp *add_accepted(uint8_t protection)
{
	struct ftt_key k = key_of();
	struct ftt_tcp *c = ftt_table_add(&node.worker.table, &k, model_now);

	CHECK(c);
	ftt_flow_init(&c->flow, 1000, model_now);
	c->flow.local_iss = 70000;
	ftt_flow_map(&c->flow, 5000);
	c->flow.bits |= FTT_F_SYNACK | FTT_F_ESTABLISHED;
	c->flow.protection = protection;
	ftt_tcp_act(&node.worker, c, 0, model_now);
	return c;
}

/* Once its SYN went out with the numbers of the connection that had that key before. */
static void test_a_key_that_was_a_clients(void)
{
	open_node(FTT_MODE_PAIRED);
	add_accepted(FTT_UNPROTECTED);
	says(false, TCP_SYN, 777000, 0);
	CHECK_EQ(left_seq, 777000);
	CHECK_EQ(flow()->flow.opener, FTT_OPENED_LOCAL);
	CHECK_EQ(flow()->flow.hard.delta, 0);
	node_close(&node);
	open_node(FTT_MODE_PAIRED);
	add_accepted(FTT_PROTECTED); /* the backup holds it: its end is told, not guessed */
	says(false, TCP_SYN, 777000, 0);
	CHECK_EQ(left_seq, 777000);
	CHECK_EQ(flow()->flow.opener, FTT_OPENED_REMOTE);
	CHECK_EQ(flow()->flow.protection, FTT_PROTECTED);
	node_close(&node);
}

int main(void)
{
	for (unsigned i = 0; i < 2; i++) {
		test_both_ends_are_followed_from_the_handshake_on(all_ends[i]);
		test_only_its_own_answer_counts(all_ends[i]);
		test_an_answer_that_is_repeated_comes_through(all_ends[i]);
		test_its_end_waits_for_word_of_the_server(all_ends[i]);
		test_one_that_is_signed(all_ends[i]);
	}
	test_a_primary_knows_it(FTT_MODE_PAIRED);
	test_a_primary_knows_it(FTT_MODE_SOLO);
	test_who_may_not_speak_opens_nothing();
	test_a_key_that_was_a_clients();
	return 0;
}
