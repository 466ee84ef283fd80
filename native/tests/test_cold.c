/* SPDX-License-Identifier: Apache-2.0 */
/* A backup without a server: what it keeps and tells, and how its flows begin anew when there is one. */
#define _GNU_SOURCE
#include "engine/flows/act.h"
#include "engine/flows/checkpoint.h"
#include "engine/flows/kept.h"
#include "engine/flows/promote.h"
#include "engine/flows/renew.h"
#include "engine/flows/renew_lane.h"
#include "core/tcp/cold.h"
#include "model_node.h"

#define S (1000 * MS)
#define IRS 1000u
#define ISS 7000u    /* the first byte of the old primary's server has this number */
#define OURS 90001u  /* ... of ours */
#define WINDOW 5000u

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
	(void)sender;
	return (uint8_t)offset;
}

bool model_is_right(const struct stack *receiver, uint32_t offset, uint8_t byte)
{
	(void)receiver;
	return byte == (uint8_t)offset;
}

/* --- a node ------------------------------------------------------------------------------------------ */

static struct node node;
static struct ftt_record told[64]; /* to the primary */
static unsigned n_told;

static void nobody(struct node *n, struct wire *packet)
{
	(void)n;
	free(packet);
	CHECK(!"a backup says nothing to a client");
}

static void to_peer(struct node *n, struct wire *packet)
{
	size_t len = 0, used;

	(void)n;
	while (n_told < 64 && len < packet->len && (used = ftt_record_get(packet->bytes + len, packet->len - len, told + n_told))) {
		len += used;
		n_told++;
	}
	free(packet);
}

static const struct ftt_record *last_told(uint8_t type)
{
	for (unsigned i = n_told; i--;)
		if (told[i].type == type)
			return told + i;
	return NULL;
}

static struct node *open_node(void)
{
	struct ftt_policy *policy = &node.engine.cfg.policy;

	node_open(&node, "node", FTT_MODE_BACKUP, 4);
	policy->renew = policy->cold = 1;
	policy->renew_flow = 1 << 20;
	policy->renew_bytes = 1 << 24;
	node.to_client = nobody;
	node.to_peer = to_peer;
	n_told = 0;
	return &node;
}

static uint16_t client_port = 1;

static struct ftt_key flow_key(void)
{
	struct ftt_key k = {.remote_port = client_port, .local_port = 80, .proto = 6};

	k.remote[10] = k.remote[11] = k.local[10] = k.local[11] = 0xff;
	k.remote[12] = k.local[12] = 10;
	k.remote[15] = 1;
	k.local[15] = 2;
	return k;
}

static uint8_t payload[1000];

static size_t build(uint8_t *bytes, bool client, uint8_t flags, uint32_t seq, uint32_t ack, uint32_t len)
{
	struct ftt_key k = flow_key();
	struct ftt_bare b = {.src = client ? k.remote : k.local, .dst = client ? k.local : k.remote, .sport = client ? client_port : 80,
			     .dport = client ? 80 : client_port, .seq = seq, .ack = ack, .flags = flags, .wnd = WINDOW};
	uint32_t first = client ? IRS + 1 : ISS;

	for (uint32_t i = 0; i < len; i++)
		payload[i] = (uint8_t)(seq - first + i);
	return ftt_build_segment(bytes, &b, payload, len);
}

static void client_says(struct node *n, uint8_t flags, uint32_t seq, uint32_t ack, uint32_t len)
{
	uint8_t bytes[FTT_BARE_MAX + 1000];

	wire_push(&n->in, wire_new(bytes, (uint32_t)build(bytes, true, flags, seq, ack, len)));
	node_run(n);
}

static struct ftt_record record(uint8_t type)
{
	return (struct ftt_record){.type = type, .key = flow_key(), .irs = IRS};
}

/* The primary has answered the client's SYN. */
static struct ftt_tcp *open_flow(struct node *n)
{
	struct ftt_record open = record(FTT_REC_OPEN);
	uint8_t syn[FTT_BARE_MAX];

	open.service_iss = ISS - 1;
	open.data = syn;
	open.data_len = (uint32_t)build(syn, true, TCP_SYN, IRS, 0, 0);
	node_hears(n, &open);
	CHECK(node_flow(n) && last_told(FTT_REC_OPENED));
	CHECK_EQ(node_flow(n)->flow.protection, FTT_PROTECTED);
	return node_flow(n);
}

/* So much of its server's output has left. */
static void primary_sent(struct node *n, uint32_t bytes, bool fin)
{
	struct ftt_record output = record(FTT_REC_OUTPUT);

	output.snd_nxt = ISS + bytes + fin;
	output.flags = fin ? FTT_REC_ENDED : 0;
	node_hears(n, &output);
}

/* --- what it keeps -------------------------------------------------------------------------------------- */

/* What the client says is told as committed as it is kept, and reaches no stack. */
static void test_it_keeps_what_clients_say(void)
{
	struct node *n = open_node();
	struct ftt_tcp *c = open_flow(n);

	client_says(n, TCP_ACK, IRS + 1, ISS, 100);
	CHECK(c->log->end == 100 && last_told(FTT_REC_COMMIT)->rcv_nxt == IRS + 101);
	client_says(n, TCP_ACK, IRS + 201, ISS, 100); /* behind a hole */
	CHECK_EQ(last_told(FTT_REC_COMMIT)->rcv_nxt, IRS + 101);
	CHECK(last_told(FTT_REC_COMMIT)->flags & FTT_REC_HOLE && last_told(FTT_REC_COMMIT)->hole_end == IRS + 201);
	client_says(n, TCP_ACK, IRS + 101, ISS, 100);
	CHECK_EQ(last_told(FTT_REC_COMMIT)->rcv_nxt, IRS + 301);
	CHECK(!(last_told(FTT_REC_COMMIT)->flags & FTT_REC_HOLE));
	CHECK_EQ(n->stack.state, STACK_LISTEN);
	node_close(n);
}

/* What answers more than the primary has told of waits for its word; what a kernel would refuse is not kept. */
static void test_it_waits_for_the_primary(void)
{
	struct node *n = open_node();
	struct ftt_tcp *c = open_flow(n);

	client_says(n, TCP_ACK, IRS + 1, ISS + 50, 10);
	CHECK(!c->log->end && c->n_held == 1);
	primary_sent(n, 50, false);
	CHECK(c->log->end == 10 && !c->n_held && c->bytes_out == 50);
	CHECK_EQ(last_told(FTT_REC_COMMIT)->snd_nxt, ISS + 50);
	client_says(n, TCP_ACK, IRS + 12 + FTT_COLD_WINDOW, ISS + 50, 10);
	CHECK(c->log->end == 10 && !c->log->beyond);
	node_close(n);
}

/* A SYN that only OPEN brings is enough; and both ends are known when both have said so. */
static void test_ends(void)
{
	struct node *n = open_node();
	struct ftt_tcp *c = open_flow(n);

	client_says(n, TCP_ACK | TCP_FIN, IRS + 1, ISS, 5);
	CHECK(c->log->fin && last_told(FTT_REC_COMMIT)->rcv_nxt == IRS + 7 && !c->closed);
	primary_sent(n, 20, true);
	CHECK(last_told(FTT_REC_COMMIT)->flags & FTT_REC_FIN && last_told(FTT_REC_COMMIT)->snd_nxt == ISS + 21);
	client_says(n, TCP_ACK, IRS + 7, ISS + 21, 0);
	CHECK(c->closed && !c->log);
	node_close(n);
}

/* No room for what its client says: the primary is told, and the flow is let go. */
static void test_a_log_that_is_full(void)
{
	struct node *n = open_node();
	struct ftt_tcp *c = open_flow(n);

	n->engine.cfg.policy.renew_flow = 150;
	client_says(n, TCP_ACK, IRS + 1, ISS, 500);
	CHECK(last_told(FTT_REC_REFUSED) && last_told(FTT_REC_REFUSED)->flags == FTT_REC_FULL);
	CHECK_EQ(c->flow.protection, FTT_DETACHED);
	node_close(n);
}

/* With a history on disk it says that it has something when the file has: in order, and at once when the file has ended. */
static void test_it_waits_for_the_disk(void)
{
	struct ftt_history_settings s = {.path = "build/test_cold.history", .head = (const uint8_t *)"h", .head_len = 1, .most = 1 << 20};
	struct node *n = open_node();
	char err[128];

	open_flow(n);
	remove(s.path);
	n->engine.record = ftt_history_file_open(&s, err, sizeof(err));
	CHECK(n->engine.record);
	n->worker.record_place = 1 << 19; /* as if so much had been put into it, and had not been written */
	client_says(n, TCP_ACK, IRS + 1, ISS, 100);
	client_says(n, TCP_ACK, IRS + 101, ISS, 100);
	CHECK(!last_told(FTT_REC_COMMIT) && n->worker.n_words == 2 && n->engine.record_awaited);
	n->worker.record_place = 0; /* what comes later does not overtake */
	client_says(n, TCP_ACK, IRS + 201, ISS, 100);
	CHECK(!last_told(FTT_REC_COMMIT) && n->worker.n_words == 3);
	ftt_history_file_close(n->engine.record, true);
	n->engine.record = NULL;
	ftt_kept_release(&n->worker);
	node_run(n);
	CHECK(last_told(FTT_REC_COMMIT) && last_told(FTT_REC_COMMIT)->rcv_nxt == IRS + 301 && !n->worker.words);
	node_close(n);
	remove(s.path);
}

/* Another file begins: what waits for a place of the one before does not wait for that of this one. */
static void test_the_file_changes(void)
{
	struct ftt_history_settings s = {.path = "build/test_cold.other", .head = (const uint8_t *)"h", .head_len = 1, .most = 1 << 20};
	struct node *n = open_node();
	char err[128];

	open_flow(n);
	remove(s.path);
	n->engine.record = ftt_history_file_open(&s, err, sizeof(err));
	CHECK(n->engine.record);
	n->worker.record_place = 1 << 19;
	client_says(n, TCP_ACK, IRS + 1, ISS, 100);
	CHECK(!last_told(FTT_REC_COMMIT));
	ftt_kept_anew(&n->worker); /* as ftt_engine_record() does; the file is as good as another one */
	ftt_kept_release(&n->worker);
	node_run(n);
	CHECK(last_told(FTT_REC_COMMIT) && last_told(FTT_REC_COMMIT)->rcv_nxt == IRS + 101 && !n->worker.words);
	client_says(n, TCP_ACK, IRS + 101, ISS, 100);
	CHECK_EQ(last_told(FTT_REC_COMMIT)->rcv_nxt, IRS + 201);
	ftt_history_file_close(n->engine.record, true);
	n->engine.record = NULL;
	node_close(n);
	remove(s.path);
}

/* --- warm ------------------------------------------------------------------------------------------------ */

/* A checkpoint has what was said up to then: a backup lets go of that, also of what the primary sent before it. What begins later is kept. */
static void test_a_backup_hears_of_a_checkpoint(void)
{
	struct node *n = open_node();
	struct ftt_tcp *c = open_flow(n);

	client_says(n, TCP_ACK, IRS + 1, ISS, 100);
	ftt_checkpoint(&n->worker, true, model_now);
	node_run(n);
	CHECK(last_told(FTT_REC_REFUSED) && last_told(FTT_REC_REFUSED)->flags == FTT_REC_OLDER);
	CHECK_EQ(c->flow.protection, FTT_DETACHED);
	ftt_promote(&n->worker, model_now);
	CHECK(n->events[FTT_EV_PROMOTED] == 1 && n->stack.state == STACK_LISTEN);
	node_close(n);
	open_node();
	ftt_checkpoint(&n->worker, true, model_now);
	open_flow(n);
	node_close(n);
}

static void test_a_primary_detaches_what_is_older(void)
{
	struct node *n = open_node();
	struct ftt_env paired = {.policy = &n->engine.cfg.policy, .mode = FTT_MODE_PAIRED, .behind = FTT_WHY_BEFORE_CHECKPOINT};
	struct ftt_record refused = record(FTT_REC_REFUSED);
	struct ftt_seg syn = {.flags = TCP_SYN};
	struct ftt_tcp *c = open_flow(n);
	struct ftt_flow later = c->flow, early = {0};

	n->engine.cfg.policy.warm = 1;
	n->worker.mode = FTT_MODE_PAIRED;
	CHECK(ftt_checkpoint_awaited(&n->worker));
	ftt_checkpoint(&n->worker, false, model_now);
	CHECK(c->flow.protection == FTT_DETACHING && c->flow.reason == FTT_WHY_BEFORE_CHECKPOINT);
	CHECK(c->unrenewable == FTT_BEFORE_CHECKPOINT && !c->log && ftt_checkpoint_awaited(&n->worker));
	ftt_checkpoint(&n->worker, true, model_now);
	CHECK(!ftt_checkpoint_awaited(&n->worker));
	ftt_flow_begin(&early, &syn, &paired);
	CHECK(early.protection == FTT_UNPROTECTED && early.reason == FTT_WHY_BEFORE_CHECKPOINT);
	refused.flags = FTT_REC_OLDER;
	ftt_primary_record(&later, &refused, &paired);
	CHECK(later.protection == FTT_DETACHED && later.reason == FTT_WHY_BEFORE_CHECKPOINT);
	node_close(n);
}

/* --- a takeover ------------------------------------------------------------------------------------------- */

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
	test_it_keeps_what_clients_say();
	test_it_waits_for_the_primary();
	test_ends();
	test_a_log_that_is_full();
	test_it_waits_for_the_disk();
	test_the_file_changes();
	test_a_backup_hears_of_a_checkpoint();
	test_a_primary_detaches_what_is_older();
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
