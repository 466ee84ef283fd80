/* SPDX-License-Identifier: Apache-2.0 */
/* What a node of a new pairing gives up of the old one: in steps, and at once what is met before its turn. */
#define _GNU_SOURCE
#include "many_flows.h"

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

/* A backup of a new pairing keeps but the place of the old one's flows, some at a time; of one that is met before its turn at once. */
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
	ftt_flows_role(w, FTT_MODE_BACKUP, 2, model_now);
	CHECK_EQ(find(n, 7)->flow.protection, FTT_DETACHED); /* the new primary hears nothing of it */
	CHECK(!w->table.dirty);
	CHECK(!ftt_flows_rest(w, 2, model_now)); /* 8 and 6 */
	CHECK_EQ(resets(n), 3);
	CHECK_EQ(w->table.n, 9);
	CHECK_EQ(w->table.count[FTT_DETACHED], 3);
	CHECK_EQ(w->retained_bytes, 0);

	CHECK(!says(n, 5, true, TCP_ACK, 1001, 1)); /* the client, to whom the new primary belongs */
	CHECK_EQ(find(n, 5)->flow.protection, FTT_DETACHED); /* from here on one that nobody here has */
	CHECK(!says(n, 4, false, TCP_ACK, 1, 1001)); /* its connection still speaks */
	CHECK_EQ(find(n, 4)->flow.protection, FTT_DETACHED);
	CHECK_EQ(n_records, 0);
	ask(n, FTT_REC_PROBE, 3, 0);
	CHECK_EQ(find(n, 3)->flow.protection, FTT_DETACHED);
	CHECK_EQ(n_records, 1);
	CHECK_EQ(record_type, FTT_REC_DETACHED);
	CHECK(says(n, 2, true, TCP_SYN, 5000, 0)); /* a new connection */
	CHECK_EQ(find(n, 2)->flow.hard.irs, 5000);
	CHECK_EQ(find(n, 2)->flow.protection, FTT_NEW);
	CHECK_EQ(w->table.n, 9);
	CHECK_EQ(ftt_table_half_open(&w->table), 2);

	CHECK(ftt_flows_rest(w, 2, model_now));
	CHECK_EQ(w->table.n, 8); /* nobody waits for the handshake of 9 */
	CHECK_EQ(ftt_table_half_open(&w->table), 1);
	CHECK_EQ(w->table.count[FTT_NEW], 1);
	CHECK_EQ(w->table.count[FTT_DETACHED], 7);
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
	ftt_flows_role(&n->worker, FTT_MODE_BACKUP, 2, model_now);
	n->stack.state = STACK_OPEN;
	n->stack.irs = 1000;
	n->stack.rcv_nxt = 1;
	CHECK(says(n, 1, true, TCP_SYN, 5000, 0));
	CHECK(n->stack.state != STACK_OPEN);
	CHECK_EQ(n->unsent, 0); /* the engine's verdicts leave before its segments, unless these are flushed */
	CHECK(ftt_flows_rest(&n->worker, 1, model_now));
	CHECK_EQ(find(n, 1)->flow.hard.irs, 5000);
	CHECK_EQ(find(n, 2)->flow.protection, FTT_DETACHED);
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
	ftt_flows_role(w, FTT_MODE_IDLE, 0, model_now);
	CHECK(!ftt_flows_rest(w, 1, model_now));
	CHECK_EQ(w->held_now, 2);
	CHECK(!says(n, 1, false, TCP_ACK, 1, 1600));
	CHECK_EQ(w->held_now, 1);
	ftt_flows_tick(w, model_now);
	ftt_flows_sweep(w, model_now + 1000 * S);
	CHECK_EQ(w->table.n, 3);
	CHECK(ftt_flows_rest(w, 1, model_now));
	CHECK_EQ(w->held_now, 0);
	CHECK_EQ(n->worker.n.drop_mode, 3);
	CHECK(!n->queued && !w->table.waiting);
	CHECK_EQ(n_told, 0);
	node_close(n);
}

/* The next role: who does not emit goes on giving up, who does has given up all before it begins, and resets their clients. */
static void test_roles_while_flows_are_forgotten(void)
{
	struct node *n = open_node(FTT_MODE_BACKUP);
	struct ftt_worker *w = &n->worker;

	for (uint16_t port = 1; port <= 6; port++)
		establish(n, port);
	atomic_store(&n->engine.shared.mode, FTT_MODE_SOLO);
	atomic_store(&n->engine.shared.lease_policy, FTT_LEASE_SELF);
	atomic_store(&n->engine.shared.lease_until_ns, UINT64_MAX);
	ftt_flows_role(w, FTT_MODE_SOLO, 1, model_now);
	CHECK(!ftt_flows_rest(w, 2, model_now));
	CHECK_EQ(n_told, 2);
	atomic_store(&n->engine.shared.mode, FTT_MODE_IDLE);
	ftt_flows_role(w, FTT_MODE_IDLE, 0, model_now); /* what was not taken over yet never is */
	CHECK(!ftt_flows_rest(w, 1, model_now));
	CHECK_EQ(w->table.count[FTT_DETACHED], 1);
	ftt_flows_role(w, FTT_MODE_BACKUP, 2, model_now);
	CHECK_EQ(w->table.count[FTT_DETACHED], 1);
	establish(n, 10);
	ftt_flows_role(w, FTT_MODE_BACKUP, 2, model_now); /* the same */
	CHECK(!ftt_flows_rest(w, 1, model_now));
	CHECK_EQ(w->table.count[FTT_DETACHED], 2);
	CHECK_EQ(n_told, 2);
	atomic_store(&n->engine.shared.mode, FTT_MODE_SOLO);
	ftt_flows_role(w, FTT_MODE_SOLO, 2, model_now);
	CHECK_EQ(w->table.count[FTT_DETACHED], 6);
	CHECK(find(n, 10) && !(find(n, 10)->flow.bits & FTT_F_TAKEN));
	CHECK(!ftt_flows_rest(w, 1, model_now));
	CHECK_EQ(n_told, 3);
	CHECK_EQ(told[2], 10);
	CHECK(ftt_flows_rest(w, 6, model_now));
	CHECK_EQ(n_told, 9);
	CHECK_EQ(w->table.count[FTT_RESETTING], 6);
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
	ftt_flows_role(w, FTT_MODE_BACKUP, 2, model_now);
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
	CHECK(ftt_flows_rest(w, 0, model_now)); /* nothing is left */
	node_close(n);
}

int main(void)
{
	test_forgetting_in_steps();
	test_a_new_connection_finds_none_of_the_past();
	test_held_packets_are_forgotten();
	test_roles_while_flows_are_forgotten();
	test_what_is_to_be_forgotten_makes_room();
	return 0;
}
