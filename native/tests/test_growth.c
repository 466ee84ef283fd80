/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Many flows on one worker: what one of them costs in memory, that nothing walks over all of them, that the most
 * recently active ones are taken over first, what is forgotten in steps, and what makes room when a bound is reached.
 */
#define _GNU_SOURCE
#include <string.h>
#include "engine/flows/act.h"
#include "engine/flows/follow.h"
#include "model_node.h"

#define S (1000 * MS)

uint64_t model_seed, model_now = 1000 * S;

uint32_t model_random(uint32_t below)
{
	return (uint32_t)(model_seed++ % below);
}

bool model_chance(uint32_t per_mille)
{
	return model_random(1000) < per_mille;
}

uint8_t model_byte(const struct stack *sender, uint32_t offset)
{
	return (uint8_t)(offset + sender->client);
}

bool model_is_right(const struct stack *receiver, uint32_t offset, uint8_t byte)
{
	return byte == (uint8_t)(offset + !receiver->client);
}

static struct node node;
static uint16_t told[64]; /* ports of clients that were sent something, in order */
static unsigned n_told;

static void to_client(struct node *n, struct wire *packet)
{
	struct ftt_pkt k;
	struct ftt_seg s;

	(void)n;
	CHECK_EQ(ftt_parse(packet->bytes, packet->len, packet->len, &k, &s), FTT_PARSED_TCP);
	CHECK(n_told < sizeof(told) / sizeof(told[0]));
	told[n_told++] = k.dport;
	free(packet);
}

static void to_peer(struct node *n, struct wire *packet)
{
	(void)n;
	free(packet);
}

/* What the stack says of connections that only the engine knows. */
static void unheard(struct stack *s, struct wire *packet)
{
	(void)s;
	free(packet);
}

static struct node *open_node(uint32_t mode)
{
	node_open(&node, "node", mode, 4);
	node.to_client = to_client;
	node.to_peer = to_peer;
	node.stack.send = unheard;
	n_told = 0;
	return &node;
}

static struct ftt_key key_of(uint16_t port)
{
	struct ftt_key k = {.remote_port = port, .local_port = 80, .proto = 6};

	k.remote[10] = k.remote[11] = k.local[10] = k.local[11] = 0xff;
	k.remote[12] = k.local[12] = 10;
	k.remote[15] = 1;
	k.local[15] = 2;
	return k;
}

static struct ftt_tcp *begin(struct node *n, uint16_t port)
{
	struct ftt_key k = key_of(port);
	struct ftt_tcp *c = ftt_table_add(&n->worker.table, &k, model_now);

	CHECK(c);
	ftt_flow_init(&c->flow, 1000, model_now);
	c->flow.bits = FTT_F_SYNACK;
	ftt_tcp_act(&n->worker, c, 0, model_now);
	return c;
}

static struct ftt_tcp *establish(struct node *n, uint16_t port)
{
	struct ftt_tcp *c = begin(n, port);

	ftt_flow_map(&c->flow, c->flow.local_iss);
	c->flow.mss = 1000;
	c->flow.bits |= FTT_F_ESTABLISHED;
	c->flow.protection = FTT_PROTECTED;
	ftt_tcp_act(&n->worker, c, 0, model_now);
	return c;
}

static struct ftt_tcp *find(struct node *n, uint16_t port)
{
	struct ftt_key k = key_of(port);

	return ftt_table_find(&n->worker.table, &k);
}

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
	ftt_follow_role(w, FTT_MODE_SOLO, 1, model_now);
	CHECK(!ftt_follow_rest(w, 2, model_now)); /* 6 and 5 */
	CHECK_EQ(n_told, 2);
	client_speaks(n, 2);
	CHECK_EQ(n_told, 3);
	CHECK_EQ(told[2], 2);
	CHECK(find(n, 2)->flow.bits & FTT_F_TAKEN && !(find(n, 1)->flow.bits & FTT_F_TAKEN));
	CHECK_EQ(w->table.count[FTT_PROTECTED], 3);
	CHECK_EQ(w->table.count[FTT_UNPROTECTED], 3);
	ftt_follow_role(w, FTT_MODE_PAIRED, 2, model_now); /* the next role does not begin before that */
	CHECK_EQ(n_told, 6);
	CHECK_EQ(w->table.count[FTT_UNPROTECTED], 6);
	node_close(n);
}

/* A packet of the client's, or of its server's stack; true when the engine let it pass. */
static bool says(struct node *n, uint16_t port, bool client, uint8_t flags, uint32_t seq, uint32_t ack)
{
	struct ftt_key k = key_of(port);
	struct ftt_bare b = {.src = client ? k.remote : k.local, .dst = client ? k.local : k.remote,
			     .sport = client ? port : 80, .dport = client ? 80 : port, .seq = seq, .ack = ack, .flags = flags};
	uint64_t before = n->worker.n.passed + n->worker.n.translated;
	uint8_t bytes[FTT_BARE_MAX];

	wire_push(client ? &n->in : &n->out, wire_new(bytes, (uint32_t)ftt_build_bare(bytes, &b)));
	node_run(n);
	return n->worker.n.passed + n->worker.n.translated > before;
}

/* A record of the primary's, with how far the client has acknowledged. */
static void ask(struct node *n, uint8_t type, uint16_t port, uint32_t client_acked)
{
	struct ftt_record r = {.type = type, .key = key_of(port), .irs = 1000, .client_acked = client_acked};

	node_hears(n, &r);
}

/* RSTs that the stack was sent since the last call. */
static unsigned resets(struct node *n)
{
	unsigned sent = 0;

	for (struct wire *w; (w = wire_pop(&n->to_stack)); free(w))
		sent += w->bytes[33] == TCP_RST;
	return sent;
}

static unsigned n_records;
static uint8_t record_type; /* of the last one */

static void count_records(struct node *n, struct wire *records)
{
	struct ftt_record r;

	(void)n;
	CHECK(ftt_record_get(records->bytes, records->len, &r));
	n_records++;
	record_type = r.type;
	free(records);
}

/* A backup of a new pairing forgets the flows of the old one, some at a time; one that is met before its turn at once. */
static void test_forgetting_in_steps(void)
{
	struct node *n = open_node(FTT_MODE_BACKUP);
	struct ftt_worker *w = &n->worker;

	n->to_peer = count_records;
	n_records = 0;
	for (uint16_t port = 1; port <= 8; port++)
		establish(n, port);
	begin(n, 9);
	CHECK((find(n, 8)->store = malloc(sizeof(struct ftt_store) + 64)));
	w->retained_bytes = find(n, 8)->store->size = 64;
	ftt_tcp_act(w, find(n, 7), FTT_ACT_COMMIT_LATER, model_now);
	ftt_follow_role(w, FTT_MODE_BACKUP, 2, model_now);
	CHECK(!find(n, 7)); /* the new primary hears nothing of it */
	CHECK(!ftt_follow_rest(w, 2, model_now)); /* 8 and 6 */
	CHECK_EQ(resets(n), 3);
	CHECK_EQ(w->table.n, 6);
	CHECK_EQ(w->retained_bytes, 0);

	CHECK(!says(n, 5, true, TCP_ACK, 1001, 1)); /* the client, to whom the new primary belongs */
	CHECK_EQ(find(n, 5)->flow.protection, FTT_DETACHED); /* from here on one that nobody here has */
	CHECK(!says(n, 4, false, TCP_ACK, 1, 1001)); /* its connection still speaks */
	CHECK(!find(n, 4));
	CHECK_EQ(n_records, 0);
	ask(n, FTT_REC_PROBE, 3, 0);
	CHECK(!find(n, 3));
	CHECK_EQ(n_records, 1);
	CHECK_EQ(record_type, FTT_REC_DETACHED);
	CHECK(says(n, 2, true, TCP_SYN, 5000, 0)); /* a new connection */
	CHECK_EQ(find(n, 2)->flow.hard.irs, 5000);
	CHECK_EQ(find(n, 2)->flow.protection, FTT_NEW);
	CHECK_EQ(w->table.n, 4); /* 1, 2, 9, and 5 anew */
	CHECK_EQ(ftt_table_half_open(&w->table), 2);

	CHECK(ftt_follow_rest(w, 2, model_now));
	CHECK_EQ(w->table.n, 2);
	CHECK_EQ(ftt_table_half_open(&w->table), 1);
	CHECK_EQ(w->table.count[FTT_NEW], 1);
	CHECK_EQ(w->table.count[FTT_DETACHED], 1);
	CHECK_EQ(w->table.count[FTT_PROTECTED], 0);
	CHECK_EQ(n_told, 0);
	node_close(n);
}

/* Each connection is reset in the stack before the packet that found it out of turn gets there. */
static void test_a_new_connection_finds_none_of_the_past(void)
{
	struct node *n = open_node(FTT_MODE_BACKUP);

	establish(n, 1);
	establish(n, 2);
	ftt_follow_role(&n->worker, FTT_MODE_BACKUP, 2, model_now);
	n->stack.state = STACK_OPEN;
	n->stack.irs = 1000;
	n->stack.rcv_nxt = 1;
	CHECK(says(n, 1, true, TCP_SYN, 5000, 0));
	CHECK(n->stack.state != STACK_OPEN);
	CHECK_EQ(n->unsent, 0); /* the engine's verdicts leave before its segments, unless these are flushed */
	CHECK(ftt_follow_rest(&n->worker, 1, model_now));
	CHECK(find(n, 1) && !find(n, 2));
	node_close(n);
}

/* What is held is dropped, and nothing is said to a client. */
static void test_held_packets_are_forgotten(void)
{
	struct node *n = open_node(FTT_MODE_PAIRED);
	struct ftt_worker *w = &n->worker;

	for (uint16_t port = 1; port <= 3; port++) {
		establish(n, port);
		CHECK(!says(n, port, false, TCP_ACK, 1, 1500)); /* the backup has not got so far */
	}
	CHECK_EQ(w->held_now, 3);
	atomic_store(&n->engine.shared.mode, FTT_MODE_IDLE);
	ftt_follow_role(w, FTT_MODE_IDLE, 0, model_now);
	CHECK(!ftt_follow_rest(w, 1, model_now));
	CHECK_EQ(w->held_now, 2);
	CHECK(!says(n, 1, false, TCP_ACK, 1, 1600));
	CHECK_EQ(w->held_now, 1);
	ftt_follow_tick(w, model_now);
	ftt_follow_sweep(w, model_now + 1000 * S);
	CHECK_EQ(w->table.n, 1);
	CHECK(ftt_follow_rest(w, 1, model_now));
	CHECK_EQ(w->held_now, 0);
	CHECK_EQ(n->worker.n.drop_mode, 3);
	CHECK(!n->queued && !w->table.waiting);
	CHECK_EQ(n_told, 0);
	node_close(n);
}

/* The next role: who does not emit goes on forgetting, who does has forgotten all before it begins. */
static void test_roles_while_flows_are_forgotten(void)
{
	struct node *n = open_node(FTT_MODE_BACKUP);
	struct ftt_worker *w = &n->worker;

	for (uint16_t port = 1; port <= 6; port++)
		establish(n, port);
	atomic_store(&n->engine.shared.mode, FTT_MODE_SOLO);
	atomic_store(&n->engine.shared.lease_policy, FTT_LEASE_SELF);
	atomic_store(&n->engine.shared.lease_until_ns, UINT64_MAX);
	ftt_follow_role(w, FTT_MODE_SOLO, 1, model_now);
	CHECK(!ftt_follow_rest(w, 2, model_now));
	CHECK_EQ(n_told, 2);
	atomic_store(&n->engine.shared.mode, FTT_MODE_IDLE);
	ftt_follow_role(w, FTT_MODE_IDLE, 0, model_now); /* what was not taken over yet never is */
	CHECK(!ftt_follow_rest(w, 1, model_now));
	CHECK_EQ(w->table.n, 5);
	ftt_follow_role(w, FTT_MODE_BACKUP, 2, model_now);
	CHECK_EQ(w->table.n, 5);
	establish(n, 10);
	ftt_follow_role(w, FTT_MODE_BACKUP, 2, model_now); /* the same */
	CHECK(!ftt_follow_rest(w, 1, model_now));
	CHECK_EQ(w->table.n, 5);
	CHECK_EQ(n_told, 2);
	atomic_store(&n->engine.shared.mode, FTT_MODE_SOLO);
	ftt_follow_role(w, FTT_MODE_SOLO, 2, model_now);
	CHECK_EQ(w->table.n, 1);
	CHECK(find(n, 10) && !(find(n, 10)->flow.bits & FTT_F_TAKEN));
	CHECK(ftt_follow_rest(w, 1, model_now));
	CHECK_EQ(n_told, 3);
	CHECK_EQ(told[2], 10);
	CHECK_EQ(w->role_flows, 1);
	node_close(n);
}

/* A full table of flows that are to be forgotten is none. */
static void test_what_is_to_be_forgotten_makes_room(void)
{
	struct node *n = open_node(FTT_MODE_BACKUP);
	struct ftt_worker *w = &n->worker;

	n->engine.cfg.policy.max_half_open = 2;
	n->engine.cfg.policy.max_flows = 6;
	for (uint16_t port = 1; port <= 4; port++)
		establish(n, port);
	begin(n, 5);
	begin(n, 6);
	ftt_follow_role(w, FTT_MODE_BACKUP, 2, model_now);
	CHECK(says(n, 7, true, TCP_SYN, 5000, 0));
	CHECK_EQ(ftt_table_half_open(&w->table), 2);
	CHECK(says(n, 8, true, TCP_SYN, 5000, 0));
	CHECK_EQ(ftt_table_half_open(&w->table), 2);
	CHECK(find(n, 7) && find(n, 8) && find(n, 1) && !find(n, 5) && !find(n, 6));
	CHECK(!says(n, 9, true, TCP_SYN, 5000, 0)); /* handshakes of now */
	n->engine.cfg.policy.max_half_open = 16;
	for (uint16_t port = 9; port <= 12; port++)
		CHECK(says(n, port, true, TCP_SYN, 5000, 0));
	CHECK_EQ(w->table.n, 6);
	CHECK(!find(n, 1) && !find(n, 4));
	CHECK(!says(n, 13, true, TCP_SYN, 5000, 0));
	CHECK(ftt_follow_rest(w, 0, model_now)); /* nothing is left */
	node_close(n);
}

/* The primary asks for the second time: it has the client's SYN with it. */
static void offer(struct node *n, uint16_t port)
{
	uint8_t syn[FTT_BARE_MAX];
	struct ftt_record r = {.type = FTT_REC_OPEN, .key = key_of(port), .irs = 5000, .attempt = 2, .data = syn};
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
	ftt_follow_sweep(&n->worker, model_now);
	CHECK(!find(n, 1) && find(n, 2) && find(n, 3) && find(n, 4));
	CHECK_EQ(n->worker.n.flows_expired, 1);
	model_now += 3600 * S;
	ftt_follow_sweep(&n->worker, model_now);
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
	CHECK(!ftt_follow_make_room(w, model_now));
	model_now += S + 1;
	begin(n, 5);
	CHECK(ftt_follow_make_room(w, model_now));
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
	CHECK(ftt_follow_make_room(&n->worker, model_now));
	CHECK(find(n, 1) && !find(n, 2));
	CHECK(!ftt_follow_make_room(&n->worker, model_now));
	node_close(n);
}

int main(void)
{
	test_memory_of_an_idle_flow();
	test_order_of_activity();
	test_takeover_in_steps();
	test_forgetting_in_steps();
	test_a_new_connection_finds_none_of_the_past();
	test_held_packets_are_forgotten();
	test_roles_while_flows_are_forgotten();
	test_what_is_to_be_forgotten_makes_room();
	test_offered_handshakes_are_bounded();
	test_an_offered_handshake_under_an_old_key();
	test_sweep_takes_the_oldest();
	test_flood_of_handshakes();
	test_handshakes_that_a_probe_completes();
	test_closed_flows_make_room();
	return 0;
}
