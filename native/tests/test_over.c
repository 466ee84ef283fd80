/* SPDX-License-Identifier: Apache-2.0 */
/* A worker and the flows that are over for it: what a backup remembers of them, and what a new primary asks and answers. */
#define _GNU_SOURCE
#include "engine/flows/act.h"
#include "engine/flows/compare.h"
#include "engine/flows/follow.h"
#include "model_alone.h"

#define S (1000 * MS)
#define IRS 1000u
#define ACKED 7000u /* where the client stands, as far as the backup has seen */

static struct node node;
static struct ftt_seg said; /* the last packet to a client */
static unsigned n_said;

static void to_client(struct node *n, struct wire *packet)
{
	struct ftt_pkt k;

	(void)n;
	CHECK_EQ(ftt_parse(packet->bytes, packet->len, packet->len, &k, &said), FTT_PARSED_TCP);
	n_said++;
	free(packet);
}

static void discard(struct node *n, struct wire *packet)
{
	(void)n;
	free(packet);
}

static void unheard(struct stack *s, struct wire *packet)
{
	(void)s;
	free(packet);
}

/* A backup whose kernel has a connection of the client's with `rcv_nxt` bytes. */
static struct node *open_backup(uint32_t rcv_nxt)
{
	node_open(&node, "node", FTT_MODE_BACKUP, 4);
	node.to_client = to_client;
	node.to_peer = discard;
	node.stack.send = unheard;
	node.stack.state = STACK_OPEN;
	node.stack.irs = IRS;
	node.stack.rcv_nxt = rcv_nxt;
	n_said = 0;
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

static struct ftt_tcp *find(struct node *n, uint16_t port)
{
	struct ftt_key k = key_of(port);

	return ftt_table_find(&n->worker.table, &k);
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

static struct ftt_tcp *establish(struct node *n, uint16_t port)
{
	struct ftt_key k = key_of(port);
	struct ftt_tcp *c = ftt_table_add(&n->worker.table, &k, model_now);

	CHECK(c);
	ftt_flow_init(&c->flow, IRS, model_now);
	c->flow.local_iss = ACKED - 100;
	ftt_flow_map(&c->flow, c->flow.local_iss);
	c->flow.client_acked = c->flow.local_snd_nxt = ACKED;
	c->flow.mss = 1000;
	c->flow.bits |= FTT_F_SYNACK | FTT_F_ESTABLISHED;
	c->flow.protection = FTT_PROTECTED;
	ftt_tcp_act(&n->worker, c, 0, model_now);
	return c;
}

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
	ftt_follow_sweep(&n->worker, model_now + 61 * S);
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
	ftt_follow_sweep(&n->worker, model_now);
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

/* Each SYN, as Linux does: the packet of the model's has other addresses. */
static void answers(struct stack *s, struct wire *packet)
{
	struct ftt_key k = key_of(1);
	struct ftt_bare b = {.src = k.local, .dst = k.remote, .sport = 80, .dport = 1, .seq = 555, .ack = IRS + 1,
			     .flags = TCP_SYN | TCP_ACK, .wnd = 1000};
	uint8_t bytes[FTT_BARE_MAX];

	free(packet);
	if (s->state == STACK_SYN_RCVD)
		wire_push(&node.out, wire_new(bytes, (uint32_t)ftt_build_bare(bytes, &b)));
}

/* A backup whose stack has answered a SYN. */
static struct node *open_backup_that_answers(void)
{
	struct node *n = open_backup(0);

	n->stack.state = STACK_LISTEN;
	n->stack.send = answers;
	CHECK(says(n, 1, true, TCP_SYN, IRS, 0));
	return n;
}

static void open_flow(struct node *n, struct ftt_tcp *c, const struct ftt_record *r)
{
	struct ftt_env env = ftt_worker_env(&n->worker, model_now);

	ftt_tcp_act(&n->worker, c, ftt_backup_open(&c->flow, r, &env), model_now);
}

/*
 * A SYN that came to the old primary when its gate was shut: its own answer went nowhere, ours was suppressed. The client gets
 * one at the takeover, and not when a timer says so; in the old primary's numbers, if that had told them.
 */
static void test_a_handshake_is_answered_at_once(bool told)
{
	struct ftt_record r = {.type = FTT_REC_OPEN, .irs = IRS, .service_iss = 90000, .key = key_of(1)};
	struct node *n = open_backup_that_answers();
	struct ftt_tcp *c = find(n, 1);

	CHECK(c);
	CHECK(c->flow.bits & FTT_F_SYNACK);
	CHECK(c->syn);
	CHECK_EQ(n_said, 0);
	if (told)
		open_flow(n, c, &r);
	node_role(n, FTT_MODE_SOLO, 1);
	CHECK_EQ(n_said, 1);
	CHECK_EQ(said.flags, TCP_SYN | TCP_ACK);
	CHECK_EQ(said.seq, told ? 90000 : c->flow.local_iss);
	CHECK_EQ(said.ack, IRS + 1);
	CHECK(!c->syn);
	node_close(n);
}

/* Who has answered need not do so again; nothing of the SYN is kept for longer. */
static void test_an_answered_handshake_rests(void)
{
	struct ftt_record r = {.type = FTT_REC_OPEN, .irs = IRS, .service_iss = 90000, .key = key_of(1)};
	struct node *n = open_backup_that_answers();
	struct ftt_tcp *c = find(n, 1);

	open_flow(n, c, &r);
	c->flow.sent = 90001;
	CHECK(says(n, 1, true, TCP_ACK, IRS + 1, 90001));
	CHECK(c->flow.bits & FTT_F_ESTABLISHED && !c->syn);
	node_role(n, FTT_MODE_SOLO, 1);
	CHECK_EQ(n_said, 1);
	CHECK_EQ(said.flags, TCP_ACK);
	node_close(n);
}

/* The client's FIN was answered by nobody when the role went over: it need not ask again. Whoever has long had its answer gets none. */
static void test_a_last_word_is_answered(uint64_t ago_ns, uint32_t bits, bool answered)
{
	struct node *n = open_backup(1);
	struct ftt_tcp *c = establish(n, 1);

	c->flow.bits |= FTT_F_LOCAL_FIN | FTT_F_CLIENT_FIN | bits;
	c->flow.fin_end = ACKED;
	c->flow.local_rcv_nxt = IRS + 7;
	c->flow.last_ns = model_now - ago_ns;
	ftt_tcp_act(&n->worker, c, FTT_ACT_CLOSED, model_now);
	node_role(n, FTT_MODE_SOLO, 1);
	CHECK_EQ(n_said, answered);
	if (answered) {
		CHECK_EQ(said.flags, TCP_ACK);
		CHECK_EQ(said.seq, ACKED);
		CHECK_EQ(said.ack, IRS + 7);
	}
	node_close(n);
}

/* What is said beforehand of a takeover is what it does. */
static void test_what_a_takeover_ends_is_known_before(void)
{
	enum { EQUAL, DIFFERS, UNASSURED, TORN, LET_GO, RESET, CASES };

	for (int i = 0; i < CASES; i++) {
		struct node *n = open_backup(1);
		struct ftt_tcp *c = establish(n, 1);
		struct ftt_flow *f = &c->flow;
		bool continues = i == EQUAL;

		f->bits |= FTT_F_SUMS;
		f->verified = f->told = f->assured = c->digest.seen = ftt_output_offset(f, ACKED);
		f->bits |= i == DIFFERS ? FTT_F_DIFFERS : i == RESET ? FTT_F_LOCAL_RST : 0;
		f->assured -= i == UNASSURED;
		f->differed = ACKED + (i == TORN);
		if (i == LET_GO)
			ftt_tcp_let_go(&n->worker, c);
		CHECK_EQ(ftt_follow_continues(&n->worker, c, model_now), continues);
		node_role(n, FTT_MODE_SOLO, 1);
		CHECK_EQ(c->flow.protection, continues ? FTT_UNPROTECTED : FTT_RESETTING);
		CHECK(!ftt_follow_continues(&n->worker, c, model_now)); /* there is no backup */
		node_close(n);
	}
}

/*
 * A primary that has lost its sums tells what leaves, without one, and before it leaves. The backup has offered more than it was
 * told: that was never compared, and a client which has it is reset.
 */
static void test_a_primary_that_sums_no_more(void)
{
	struct node *n = open_backup(1);
	struct ftt_tcp *c = establish(n, 1);
	struct ftt_flow *f = &c->flow;
	struct ftt_record offer = {.type = FTT_REC_COMMIT}, told;

	f->bits |= FTT_F_SUMS;
	c->digest.seen = c->digest.next = ftt_output_offset(f, ACKED);
	f->verified = f->told = f->assured = c->digest.seen - 50;
	ftt_compare_offer(c, &offer);
	CHECK(offer.flags & FTT_REC_OFFER);
	CHECK(ftt_follow_continues(&n->worker, c, model_now));
	n->worker.mode = FTT_MODE_PAIRED; /* what a primary in this state says */
	c->digest.broken = true;
	n->worker.told = false;
	ftt_compare_leaves(&n->worker, c, (struct ftt_point){f->assured, 1}, model_now);
	CHECK(n->worker.told);
	ftt_compare_tell(&n->worker, c);
	CHECK(ftt_record_get(n->records, n->records_len, &told));
	CHECK_EQ(told.type, FTT_REC_OUTPUT);
	CHECK_EQ(told.flags, 0);
	CHECK_EQ(told.point, c->digest.seen - 50);
	n->worker.mode = FTT_MODE_BACKUP; /* ... and what the backup makes of it */
	c->digest.broken = false;
	CHECK_EQ(ftt_compare_record(&n->worker, c, &told, model_now), 0);
	CHECK(c->digest.broken);
	CHECK_EQ(f->assured, f->told);
	CHECK(!ftt_follow_continues(&n->worker, c, model_now));
	offer.flags = 0;
	ftt_compare_offer(c, &offer);
	CHECK_EQ(offer.flags, 0);
	node_role(n, FTT_MODE_SOLO, 1);
	CHECK_EQ(f->protection, FTT_RESETTING);
	node_close(n);
}

/* A client's reset ends a flow whose output was ahead of what was told; the primary's word of that comes late. */
static void test_told_of_what_is_over(void)
{
	struct node *n = open_backup(1);
	struct ftt_tcp *c = establish(n, 1);
	struct ftt_flow *f = &c->flow;
	struct ftt_record r = {.type = FTT_REC_OUTPUT, .flags = FTT_REC_SUM}, over = {.type = FTT_REC_CLOSE};

	f->bits |= FTT_F_SUMS;
	f->client_acked = ACKED - 50;
	c->digest.next = f->verified = f->told = f->assured = ftt_output_offset(f, f->client_acked);
	c->digest.seen = c->digest.next + 50;
	ftt_tcp_aborted(&n->worker, c, &over, model_now);
	r.point = c->digest.next + 20;
	r.snd_nxt = f->client_acked + 20;
	CHECK_EQ(ftt_compare_record(&n->worker, c, &r, model_now), 0);
	CHECK(c->digest.broken);
	node_close(n);
}

/* Servers that are kept in step encrypt: what could not be compared is not said by another server. */
static void test_what_is_in_step_and_not_compared_ends(void)
{
	static struct ftt_ls_header header;
	static struct ftt_engine e;
	static struct ftt_worker w = {.e = &e, .mode = FTT_MODE_BACKUP};
	static struct ftt_tcp c = {.flow = {.protection = FTT_PROTECTED, .bits = FTT_F_ESTABLISHED | FTT_F_MAPPED | FTT_F_SUMS}};

	for (int in_step = 0; in_step < 2; in_step++) {
		e.lockstep.header = in_step ? &header : NULL;
		c.digest.broken = false;
		CHECK(ftt_follow_continues(&w, &c, 1));
		c.digest.broken = true;
		CHECK_EQ(ftt_follow_continues(&w, &c, 1), !in_step);
		c.digest.broken = false;
		c.flow.bits &= ~(uint32_t)FTT_F_SUMS;
		CHECK_EQ(ftt_follow_continues(&w, &c, 1), !in_step);
		c.flow.bits |= FTT_F_SUMS;
	}
}

int main(void)
{
	test_what_is_in_step_and_not_compared_ends();
	test_told_of_what_is_over();
	test_a_primary_that_sums_no_more();
	test_what_a_takeover_ends_is_known_before();
	test_a_last_word_is_answered(3 * MS, 0, true);
	test_a_last_word_is_answered(30 * MS, 0, false);
	test_a_last_word_is_answered(3 * MS, FTT_F_CLIENT_RST, false);
	test_a_handshake_is_answered_at_once(false);
	test_a_handshake_is_answered_at_once(true);
	test_an_answered_handshake_rests();
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
