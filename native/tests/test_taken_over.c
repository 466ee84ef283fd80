/* SPDX-License-Identifier: Apache-2.0 */
/* A worker that takes over: which clients it answers at once, and which connections end, as was said beforehand. */
#define _GNU_SOURCE
#include "engine/flows/compare.h"
#include "old_backup.h"

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
		CHECK_EQ(ftt_flows_continues(&n->worker, c, model_now), continues);
		node_role(n, FTT_MODE_SOLO, 1);
		CHECK_EQ(c->flow.protection, continues ? FTT_UNPROTECTED : FTT_RESETTING);
		CHECK(!ftt_flows_continues(&n->worker, c, model_now)); /* there is no backup */
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
	CHECK(ftt_flows_continues(&n->worker, c, model_now));
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
	CHECK(!ftt_flows_continues(&n->worker, c, model_now));
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
		CHECK(ftt_flows_continues(&w, &c, 1));
		c.digest.broken = true;
		CHECK_EQ(ftt_flows_continues(&w, &c, 1), !in_step);
		c.digest.broken = false;
		c.flow.bits &= ~(uint32_t)FTT_F_SUMS;
		CHECK_EQ(ftt_flows_continues(&w, &c, 1), !in_step);
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
	return 0;
}
