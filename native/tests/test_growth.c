/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Many flows on one worker: what one of them costs in memory, that nothing walks over all of them, that the most
 * recently active ones are taken over first, and what makes room when a bound is reached.
 */
#define _GNU_SOURCE
#include "many_flows.h"

/* A bare acknowledgement of the client's. */
static void client_speaks(struct node *n, uint16_t port)
{
	struct ftt_bare b;
	uint8_t bytes[FTT_BARE_MAX];
	struct ftt_tcp *c = find(n, port);

	ftt_bare_for_stack(&c->flow, &c->key, c->flow.client_acked, &b);
	node_from_client(n, wire_new(bytes, (uint32_t)ftt_build_bare(bytes, &b)));
	node_run(n);
}

/* An idle flow: its entry, its share of a full table's buckets, and what the allocator adds. */
static void test_memory_of_an_idle_flow(void)
{
	struct ftt_tcp *c;
	struct node *n = open_node(FTT_MODE_PAIRED);

	c = establish(n, 1);
	CHECK(!c->syn && !c->points && !c->held && !c->store);
	CHECK(sizeof(*c) + sizeof(*n->worker.table.bucket) + 2 * sizeof(size_t) <= 512);
	CHECK(sizeof(struct ftt_udp_session) + 3 * sizeof(size_t) <= 512);
	node_close(n);
}

static void test_order_of_activity(void)
{
	struct node *n = open_node(FTT_MODE_BACKUP);
	static const uint16_t wanted[] = {3, 1, 5, 4, 2};

	for (uint16_t port = 1; port <= 5; port++)
		establish(n, port);
	model_now += S;
	client_speaks(n, 1);
	model_now += S;
	client_speaks(n, 3);
	node_role(n, FTT_MODE_SOLO, 1);
	CHECK_EQ(n_told, 5);
	for (unsigned i = 0; i < 5; i++)
		CHECK_EQ(told[i], wanted[i]);
	CHECK_EQ(n->worker.role_flows, 5);
	node_close(n);
}

/* While a takeover is under way, packets of a flow find it taken over. */
static void test_takeover_in_steps(void)
{
	struct node *n = open_node(FTT_MODE_BACKUP);
	struct ftt_worker *w = &n->worker;

	for (uint16_t port = 1; port <= 6; port++)
		establish(n, port);
	atomic_store(&n->engine.shared.lease_policy, FTT_LEASE_SELF);
	atomic_store(&n->engine.shared.lease_until_ns, UINT64_MAX);
	atomic_store(&n->engine.shared.mode, FTT_MODE_SOLO);
	ftt_flows_role(w, FTT_MODE_SOLO, 1, model_now);
	CHECK(!ftt_flows_rest(w, 2, model_now)); /* 6 and 5 */
	CHECK_EQ(n_told, 2);
	client_speaks(n, 2);
	CHECK_EQ(n_told, 3);
	CHECK_EQ(told[2], 2);
	CHECK(find(n, 2)->flow.bits & FTT_F_TAKEN && !(find(n, 1)->flow.bits & FTT_F_TAKEN));
	CHECK_EQ(w->table.count[FTT_PROTECTED], 3);
	CHECK_EQ(w->table.count[FTT_UNPROTECTED], 3);
	ftt_flows_role(w, FTT_MODE_PAIRED, 2, model_now); /* the next role does not begin before that */
	CHECK_EQ(n_told, 6);
	CHECK_EQ(w->table.count[FTT_UNPROTECTED], 6);
	node_close(n);
}

/* The primary asks for the second time: it has the client's SYN with it. */
static void offer(struct node *n, uint16_t port)
{
	uint8_t syn[FTT_BARE_MAX];
	struct ftt_record r = {.type = FTT_REC_OPEN, .key = key_of(port), .irs = 5000, .tries = 2, .data = syn};
	struct ftt_bare b = {.src = r.key.remote, .dst = r.key.local, .sport = port, .dport = 80, .seq = 5000, .flags = TCP_SYN};

	r.data_len = (uint8_t)ftt_build_bare(syn, &b);
	node_hears(n, &r);
}

/* Handshakes whose SYN came with the primary's OPEN are bounded like the others. */
static void test_offered_handshakes_are_bounded(void)
{
	struct node *n = open_node(FTT_MODE_BACKUP);
	struct ftt_worker *w = &n->worker;

	n->engine.cfg.policy.max_half_open = 2;
	CHECK(says(n, 1, true, TCP_SYN, 5000, 0));
	offer(n, 2);
	CHECK_EQ(ftt_table_half_open(&w->table), 2);
	offer(n, 3);
	CHECK(find(n, 2) && !find(n, 3));
	CHECK_EQ(ftt_table_half_open(&w->table), 2);
	CHECK_EQ(w->n.syn_floods, 1);
	model_now += 2 * S; /* an honest client would have asked again */
	offer(n, 3);
	CHECK(find(n, 3) && !find(n, 1));
	CHECK_EQ(ftt_table_half_open(&w->table), 2);
	node_close(n);
}

/* An offered handshake under the key of an earlier connection: there is one flow, and our stack decides which. */
static void test_an_offered_handshake_under_an_old_key(void)
{
	struct node *n = open_node(FTT_MODE_BACKUP);
	struct ftt_tcp *c = establish(n, 1);

	offer(n, 1);
	CHECK_EQ(n->worker.table.n, 1);
	CHECK(find(n, 1) == c && c->flow.hard.irs == 1000 && c->flow.bits & FTT_F_SYN_AGAIN);
	CHECK_EQ(c->flow.next_irs, 5000);
	CHECK_EQ(n->worker.n.injected, 1);
	c->flow.protection = FTT_DETACHED; /* what was let go is remembered for its client only */
	ftt_tcp_act(&n->worker, c, 0, model_now);
	offer(n, 1);
	CHECK_EQ(n->worker.table.n, 1);
	CHECK_EQ(find(n, 1)->flow.hard.irs, 5000);
	CHECK_EQ(find(n, 1)->flow.protection, FTT_NEW);
	CHECK_EQ(ftt_table_half_open(&n->worker.table), 1);
	node_close(n);
}

/* Only those at the ends of the lists are looked at: the others' times do not matter. */
static void test_sweep_takes_the_oldest(void)
{
	struct node *n = open_node(FTT_MODE_PAIRED);
	struct ftt_tcp *c;

	for (uint16_t port = 1; port <= 3; port++) {
		c = establish(n, port);
		c->closed = true;
		ftt_tcp_act(&n->worker, c, 0, model_now);
		model_now += 25 * S;
	}
	establish(n, 4);
	model_now += S;
	ftt_flows_sweep(&n->worker, model_now);
	CHECK(!find(n, 1) && find(n, 2) && find(n, 3) && find(n, 4));
	CHECK_EQ(n->worker.n.flows_expired, 1);
	model_now += 3600 * S;
	ftt_flows_sweep(&n->worker, model_now);
	CHECK(!find(n, 2) && !find(n, 3) && find(n, 4));
	CHECK_EQ(n->worker.table.count[FTT_COUNT_CLOSED], 0);
	CHECK_EQ(n->worker.table.count[FTT_PROTECTED], 1);
	node_close(n);
}

/* Handshakes that get on keep their place for a second; then others have it. Flows never make room. */
static void test_flood_of_handshakes(void)
{
	struct node *n = open_node(FTT_MODE_PAIRED);
	struct ftt_worker *w = &n->worker;

	n->engine.cfg.policy.max_half_open = 4;
	establish(n, 100);
	for (uint16_t port = 1; port <= 4; port++)
		begin(n, port);
	CHECK(!ftt_flows_make_room(w, FTT_COMES_HANDSHAKE, model_now));
	CHECK(!ftt_flows_make_room(w, FTT_COMES_STRANGER, model_now));
	model_now += S + 1;
	CHECK(!ftt_flows_make_room(w, FTT_COMES_STRANGER, model_now));
	begin(n, 5);
	CHECK(ftt_flows_make_room(w, FTT_COMES_HANDSHAKE, model_now));
	CHECK(!find(n, 1) && find(n, 2) && find(n, 5) && find(n, 100));
	CHECK_EQ(ftt_table_half_open(&w->table), 4);
	node_close(n);
}

/* A backup learns of a handshake's end from the client, or from a PROBE when the mirror lost that. Either way it is none any more. */
static void test_handshakes_that_a_probe_completes(void)
{
	struct node *n = open_node(FTT_MODE_BACKUP);
	struct ftt_worker *w = &n->worker;

	n->engine.cfg.policy.max_half_open = 4;
	for (uint16_t port = 1; port <= 4; port++) {
		struct ftt_tcp *c = begin(n, port);

		ftt_flow_map(&c->flow, c->flow.local_iss);
		c->flow.protection = FTT_PROTECTED;
		ftt_tcp_act(w, c, 0, model_now);
		CHECK_EQ(ftt_table_half_open(&w->table), 1);
		ask(n, FTT_REC_PROBE, port, c->flow.client_acked + 1);
		CHECK_EQ(ftt_table_half_open(&w->table), 0);
		ask(n, FTT_REC_CLOSE, port, 0);
	}
	CHECK_EQ(w->table.count[FTT_COUNT_CLOSED], 4);
	CHECK_EQ(ftt_table_half_open(&w->table), 0);
	CHECK(says(n, 5, true, TCP_SYN, 5000, 0));
	CHECK_EQ(w->n.syn_floods, 0);
	node_close(n);
}

/* Connections of the past make room for new ones. */
static void test_closed_flows_make_room(void)
{
	struct node *n = open_node(FTT_MODE_PAIRED);
	struct ftt_tcp *c;

	establish(n, 1);
	c = establish(n, 2);
	c->closed = true;
	ftt_tcp_act(&n->worker, c, 0, model_now);
	CHECK(ftt_flows_make_room(&n->worker, FTT_COMES_FLOW, model_now));
	CHECK(find(n, 1) && !find(n, 2));
	CHECK(!ftt_flows_make_room(&n->worker, FTT_COMES_FLOW, model_now));
	node_close(n);
}

int main(void)
{
	test_memory_of_an_idle_flow();
	test_order_of_activity();
	test_takeover_in_steps();
	test_offered_handshakes_are_bounded();
	test_an_offered_handshake_under_an_old_key();
	test_sweep_takes_the_oldest();
	test_flood_of_handshakes();
	test_handshakes_that_a_probe_completes();
	test_closed_flows_make_room();
	return 0;
}
