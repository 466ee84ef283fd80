/* SPDX-License-Identifier: Apache-2.0 */
/* A backup's flows that catch up with the primary: what their stack is given, and what is told. The lane is a stub. */
#define _GNU_SOURCE
#include "engine/flows/lockstep.h"
#include "core/tcp/renew.h"
#include "lockstep_file.h"
#include "renewal_rig.h"

/* Short logs came before it, so it would have no share of what is left. On the primary it came first: it has room while all have. */
static void test_a_long_log_comes_last(void)
{
	struct node *n = open_node(FTT_MODE_BACKUP, 1);
	struct ftt_tcp *c = establish(n, FTT_CATCHING_UP);
	struct ftt_lane_user user = ftt_renew_lane_user(&n->worker);
	struct ftt_record head = {.type = FTT_REC_RENEW, .key = c->key, .irs = IRS};
	struct ftt_piece x = {.len = 4000, .bytes = (const uint8_t[4000]){0}};
	uint32_t others = 20000;
	uint8_t bytes[5000];

	ftt_renewal_stage(&n->worker, ftt_renewal_begin(&n->worker, c, model_now), FTT_RENEW_CATCHING);
	n->engine.cfg.policy.renew_bytes = 40000;
	n->worker.log_bytes += others;
	for (unsigned i = 1; i <= 5; i++, x.offset += x.len) {
		size_t at = ftt_record_put(bytes, sizeof(bytes), &head);

		ftt_piece_put(bytes + at, &x);
		CHECK_EQ(user.message(user.of, 0, FTT_LANE_LOG, bytes, (uint32_t)at + FTT_PIECE_HEADER + x.len), FTT_LANE_TAKEN);
		if (i == 3)
			CHECK(c->flow.protection == FTT_CATCHING_UP && !c->unrenewable && c->log->end == 12000);
	}
	CHECK(c->flow.protection != FTT_CATCHING_UP); /* the bound of all holds */
	n->worker.log_bytes -= others;
	node_close(n);
}

/* The client of a flow that catches up begins another connection from the same port: that is followed as any other. */
static void test_a_key_is_used_again(void)
{
	struct node *n = open_node(FTT_MODE_BACKUP, 1);
	struct ftt_tcp *c = establish(n, FTT_CATCHING_UP);
	struct ftt_record open = {.type = FTT_REC_OPEN, .key = c->key, .irs = IRS + 90000, .service_iss = 9000, .tries = 1};
	uint8_t syn[FTT_BARE_MAX];

	ftt_renewal_stage(&n->worker, ftt_renewal_begin(&n->worker, c, model_now), FTT_RENEW_CATCHING);
	open.data = syn;
	open.data_len = (uint16_t)build(syn, true, TCP_SYN, IRS + 90000, 0, 0);
	says(n, true, TCP_SYN, IRS + 90000, 0, 0); /* anybody may say so: only the primary is believed */
	CHECK_EQ(node_flow(n)->flow.hard.irs, IRS);
	node_hears(n, &open);
	CHECK_EQ(n->stack.state, STACK_RESET);
	CHECK(!node_flow(n) && !n->worker.n_renewing[FTT_RENEW_CATCHING]);
	n->stack.state = STACK_LISTEN;
	open.tries = 2;
	node_hears(n, &open);
	CHECK(node_flow(n) && node_flow(n)->flow.hard.irs == IRS + 90000);
	CHECK_EQ(n->stack.state, STACK_SYN_RCVD);
	node_close(n);
}

/* The stack of a backup whose client's window is too small has a timer for that, which each acknowledgement begins anew. */
static void test_what_is_no_news_is_not_injected(void)
{
	struct node *n = open_node(FTT_MODE_BACKUP, 1);
	struct ftt_tcp *c = establish(n, FTT_CATCHING_UP);
	struct ftt_record word = {.type = FTT_REC_RENEW, .key = c->key, .irs = IRS, .rcv_nxt = IRS + 1, .client_acked = ISS,
				  .client_wnd = 0, .place = 1};
	uint64_t before;

	ftt_renewal_stage(&n->worker, ftt_renewal_begin(&n->worker, c, model_now), FTT_RENEW_CATCHING);
	node_hears(n, &word);
	before = n->worker.n.injected;
	for (unsigned i = 0; i < 10; i++)
		node_hears(n, &word);
	CHECK_EQ(n->worker.n.injected, before);
	word.client_wnd = 1000;
	node_hears(n, &word);
	CHECK_EQ(n->worker.n.injected, before + 1);
	node_close(n);
}

/* A server in step is given all that its client says in the primary's order: what comes on the mirror waits for the rest of the log. */
static void test_the_mirror_waits_for_the_log(void)
{
	char path[] = "/tmp/fttcp-renewal-XXXXXX";
	struct node *n = open_node(FTT_MODE_BACKUP, 1);
	struct ftt_ls_map *map = &n->engine.lockstep;
	struct ftt_record head = {.type = FTT_REC_RENEW, .flags = FTT_REC_FINAL, .irs = IRS};
	struct ftt_piece x = {.len = 10, .tsval = 700, .bytes = (const uint8_t[10]){0}};
	struct ftt_lane_user user = ftt_renew_lane_user(&n->worker);
	struct ftt_keys keys = {.n = 1};
	struct ftt_renewal *r;
	struct ftt_ls_own *own;
	uint8_t bytes[300];
	struct ftt_tcp *c;
	size_t size, at;

	CHECK(ftt_ls_take(map, make_file(path, 1, 64, &size), ftt_ls_size(1, 64)));
	map->own = calloc(64, sizeof(*map->own));
	ftt_keyring_set(&n->engine.keyring, &keys);
	c = establish(n, FTT_PROTECTED);
	ftt_lockstep_begin(&n->worker, c, 0);
	own = ftt_lockstep_own(&n->worker, c);
	r = ftt_renewal_begin(&n->worker, c, model_now);
	ftt_renewal_stage(&n->worker, r, FTT_RENEW_HELD);
	r->given = IRS + 1;
	r->told = c->log->syn_len;
	ftt_log_defer(&n->worker, c);
	says(n, true, TCP_ACK | TCP_PSH, IRS + 11, ISS, 10);
	CHECK(own && !own->inputs && c->log->len == c->log->syn_len && r->given == IRS + 1);
	head.key = c->key;
	at = ftt_record_put(bytes, sizeof(bytes), &head);
	ftt_piece_put(bytes + at, &x);
	CHECK_EQ(user.message(user.of, 0, FTT_LANE_FIRST_KIND + 1, bytes, (uint32_t)(at + FTT_PIECE_HEADER + 10)), FTT_LANE_TAKEN);
	CHECK(!c->log->later && r->current && c->log->end == 20);
	CHECK(own->inputs == 1 && ftt_ls_end_of(own) == 20 && own->edges == 1); /* both in one quarter of a second */
	CHECK(ftt_piece_get(c->log->bytes + c->log->syn_len, c->log->len - c->log->syn_len, &x) && !x.offset);
	CHECK_EQ(r->given, IRS + 21);
	says(n, true, TCP_ACK, IRS + 21, ISS, 10);
	CHECK(ftt_ls_end_of(own) == 30 && c->log->end == 30);
	node_close(n);
	free(map->own);
	munmap(map->header, size);
	unlink(path);
	*map = (struct ftt_ls_map){0};
}

/* The primary learns from a COMMIT which worker's stack has the flow. One that is lost is said again: nobody asks for it. */
static void test_the_first_word_is_lost(void)
{
	struct node *n = open_node(FTT_MODE_BACKUP, 1);
	struct ftt_tcp *c = establish(n, FTT_CATCHING_UP);
	struct ftt_record word = {.type = FTT_REC_RENEW, .key = c->key, .irs = IRS, .rcv_nxt = IRS + 1, .client_acked = ISS};

	ftt_renewal_begin(&n->worker, c, model_now)->heard_ns = model_now;
	ftt_renewal_stage(&n->worker, ftt_renewal(c), FTT_RENEW_CATCHING);
	tick(n);
	CHECK_EQ(was_told(FTT_REC_COMMIT), 1);
	model_now += S;
	tick(n);
	CHECK_EQ(was_told(FTT_REC_COMMIT), 2);
	node_hears(n, &word);
	CHECK_EQ(was_told(FTT_REC_COMMIT), 3);
	model_now += S;
	tick(n);
	CHECK_EQ(was_told(FTT_REC_COMMIT), 3); /* what the primary misses from now on it asks for */
	node_close(n);
}

/* The log has the end of the stream: what is counted of such flows is so at once, not when our stack has answered. */
static void test_an_end_from_the_log_is_counted(void)
{
	struct node *n = open_node(FTT_MODE_BACKUP, 1);
	struct ftt_tcp *c = establish(n, FTT_CATCHING_UP);
	struct ftt_renewal *r = ftt_renewal_begin(&n->worker, c, model_now);
	struct ftt_piece x = {.flags = FTT_PIECE_FIN};

	n->stack.state = STACK_LISTEN; /* it does not answer */
	n->stack.send = unheard;
	ftt_renewal_stage(&n->worker, r, FTT_RENEW_CATCHING);
	r->given = IRS + 1;
	CHECK(ftt_log_append(&n->worker, c, &x));
	ftt_renew_play(&n->worker, c, model_now);
	CHECK(c->flow.bits & FTT_F_CLIENT_FIN);
	node_check(n);
	node_close(n);
}

/* DETACH came before BEGIN: what is said last on the lane lets go of the flow. */
static void test_dropped_behind_its_beginning(void)
{
	struct node *n = open_node(FTT_MODE_BACKUP, 1);
	struct ftt_tcp *c = establish(n, FTT_CATCHING_UP);
	struct ftt_record r = {.type = FTT_REC_DETACH, .key = c->key, .irs = IRS + 1};
	struct ftt_lane_user user = ftt_renew_lane_user(&n->worker);
	uint8_t bytes[64];
	uint32_t len;

	ftt_renewal_stage(&n->worker, ftt_renewal_begin(&n->worker, c, model_now), FTT_RENEW_CATCHING);
	len = (uint32_t)ftt_record_put(bytes, sizeof(bytes), &r);
	CHECK_EQ(user.message(&n->worker, 0, FTT_LANE_DROP, bytes, len - 1), FTT_LANE_BAD);
	CHECK_EQ(user.message(&n->worker, 0, FTT_LANE_DROP, bytes, len), FTT_LANE_TAKEN);
	CHECK(node_flow(n)); /* of another connection */
	r.irs = IRS;
	len = (uint32_t)ftt_record_put(bytes, sizeof(bytes), &r);
	CHECK_EQ(user.message(&n->worker, 0, FTT_LANE_DROP, bytes, len), FTT_LANE_TAKEN);
	CHECK(c->flow.protection == FTT_DETACHED && !n->worker.n_renewing[FTT_RENEW_CATCHING]);
	node_close(n);
}

static uint32_t begin_message(uint8_t *bytes, uint8_t attempt)
{
	struct ftt_record open = {.type = FTT_REC_OPEN, .key = flow_key(), .irs = IRS, .service_iss = ISS - 1};
	uint8_t syn[FTT_BARE_MAX];

	open.data = syn;
	open.data_len = (uint32_t)build(syn, true, TCP_SYN, IRS, 0, 0);
	memset(bytes, 0, 12);
	bytes[12] = attempt;
	return 13 + (uint32_t)ftt_record_put(bytes + 13, FTT_BEGIN_MAX - 13, &open);
}

/* What the primary said in an earlier attempt, by datagram or on the lane, is nothing to a backup that is in the next one. */
static void test_orders_of_an_earlier_attempt(void)
{
	struct node *n = open_node(FTT_MODE_BACKUP, 1);
	struct ftt_lane_user user = ftt_renew_lane_user(&n->worker);
	struct ftt_record r = {.type = FTT_REC_DETACH, .key = flow_key(), .irs = IRS, .attempt = 4, .client_acked = ISS, .rcv_nxt = IRS + 1,
			      .client_wnd = WINDOW, .snd_nxt = ISS};
	uint8_t bytes[FTT_BEGIN_MAX];
	struct ftt_tcp *c;

	n->stack.state = STACK_LISTEN;
	CHECK_EQ(user.message(user.of, 0, FTT_LANE_BEGIN, bytes, begin_message(bytes, 5)), FTT_LANE_TAKEN);
	says(n, false, TCP_SYN | TCP_ACK, 90000, IRS + 1, 0);
	c = node_flow(n);
	CHECK(c && c->flow.protection == FTT_CATCHING_UP && c->flow.bits & FTT_F_MAPPED && c->attempt == 5);
	node_hears(n, &r);
	CHECK(was_told(FTT_REC_DETACHED) == 1 && told[n_told - 1].attempt == 4); /* who asked is answered */
	CHECK_EQ(user.message(user.of, 0, FTT_LANE_DROP, bytes, (uint32_t)ftt_record_put(bytes, sizeof(bytes), &r)), FTT_LANE_TAKEN);
	r.type = FTT_REC_RENEW;
	r.flags = FTT_REC_FINAL;
	node_hears(n, &r);
	CHECK_EQ(c->flow.protection, FTT_CATCHING_UP);
	CHECK_EQ(n->worker.n.records_late, 3);
	r.attempt = 5;
	node_hears(n, &r);
	CHECK_EQ(c->flow.protection, FTT_PROTECTED);
	CHECK(was_told(FTT_REC_OPENED) == 1 && told[n_told - 1].attempt == 5);
	node_close(n);
}

/* The mirror has lost the SYN; OPEN has it: the flow has a log as any other, and what comes on the mirror goes into it. */
static void test_a_lost_syn_is_kept(void)
{
	struct node *n = open_node(FTT_MODE_BACKUP, 1);
	struct ftt_record open = {.type = FTT_REC_OPEN, .key = flow_key(), .irs = IRS, .service_iss = ISS - 1, .tries = 2};
	uint8_t syn[FTT_BARE_MAX];
	struct ftt_tcp *c;

	open.data = syn;
	open.data_len = (uint16_t)build(syn, true, TCP_SYN, IRS, 0, 0);
	n->stack.state = STACK_LISTEN;
	node_hears(n, &open);
	c = node_flow(n);
	CHECK(c && c->log && !c->unrenewable);
	CHECK(c->log->syn_len == open.data_len && !memcmp(c->log->bytes, syn, open.data_len));
	says(n, false, TCP_SYN | TCP_ACK, 90000, IRS + 1, 0);
	node_hears(n, &open);
	CHECK_EQ(c->flow.protection, FTT_PROTECTED);
	says(n, true, TCP_ACK | TCP_PSH, IRS + 1, ISS, 10);
	CHECK(c->log->end == 10 && !c->unrenewable);
	node_close(n);
}

/* What the primary keeps of its client is more than this node may: it is let go, and why stays to be read. */
static void test_why_it_was_let_go_stays(void)
{
	struct node *n = open_node(FTT_MODE_BACKUP, 1);
	struct ftt_tcp *c = establish(n, FTT_CATCHING_UP);
	struct ftt_record head = {.type = FTT_REC_RENEW, .key = c->key, .irs = IRS};
	struct ftt_piece x = {.len = 200, .bytes = (const uint8_t[200]){0}};
	struct ftt_lane_user user = ftt_renew_lane_user(&n->worker);
	uint8_t bytes[300];
	size_t at = ftt_record_put(bytes, sizeof(bytes), &head);

	n->engine.cfg.policy.renew_flow = 100;
	ftt_renewal_stage(&n->worker, ftt_renewal_begin(&n->worker, c, model_now), FTT_RENEW_CATCHING);
	ftt_piece_put(bytes + at, &x);
	CHECK_EQ(user.message(user.of, 0, FTT_LANE_LOG, bytes, (uint32_t)(at + FTT_PIECE_HEADER + 200)), FTT_LANE_TAKEN);
	CHECK(c->flow.protection == FTT_DETACHED && !c->log);
	CHECK_EQ(c->unrenewable, FTT_LOG_TOO_LONG);
	CHECK(n->worker.table.why[FTT_LOG_TOO_LONG] == 1 && !n->worker.table.why[FTT_LOG_GAP]);
	node_close(n);
}

/* One that its server did not come to in time keeps that reason, but not its log. */
static void test_why_it_rested_stays(void)
{
	struct node *n = open_node(FTT_MODE_BACKUP, 1);
	struct ftt_tcp *c = establish(n, FTT_CATCHING_UP);

	ftt_log_end(&n->worker, c, FTT_NOT_IN_TIME);
	CHECK(c->log);
	ftt_tcp_let_go(&n->worker, c);
	CHECK(!c->log && c->unrenewable == FTT_NOT_IN_TIME && !n->worker.log_bytes);
	node_close(n);
}

static struct ftt_md5_key today;
static unsigned n_given;

static void is_given(struct node *n, const struct wire *packet)
{
	struct ftt_pkt k;
	struct ftt_seg s;

	(void)n;
	CHECK_EQ(ftt_parse(packet->bytes, packet->len, packet->len, &k, &s), FTT_PARSED_TCP);
	CHECK(k.md5_at && ftt_seal_holds(packet->bytes, &k, &today) && ftt_l4_sum(packet->bytes, &k) == 0xffff);
	n_given++;
}

/* The SYN of a connection that is signed (RFC 2385) is older than the key: our stack would not take it. */
static void test_a_syn_outlives_its_key(void)
{
	const struct ftt_md5_key old = {.len = 3, .key = "old"};
	struct node *n = open_node(FTT_MODE_BACKUP, 1);
	struct ftt_record open = {.type = FTT_REC_OPEN, .key = flow_key(), .irs = IRS, .service_iss = ISS - 1};
	struct ftt_bare b = ftt_bare_inward(&open.key);
	uint8_t syn[FTT_BARE_MAX];

	today = (struct ftt_md5_key){.len = 3, .key = "new", .prefix = 128};
	memcpy(today.peer, open.key.remote, 16);
	n->engine.cfg.md5[0] = today;
	n->engine.cfg.n_md5 = 1;
	n->given = is_given;
	n->stack.state = STACK_LISTEN;
	b.seq = IRS;
	b.flags = TCP_SYN;
	b.seal = &old;
	open.data = syn;
	open.data_len = (uint32_t)ftt_build_bare(syn, &b);
	CHECK(ftt_renew_enter(&n->worker, 0, &open, 0, 0, model_now));
	node_run(n);
	CHECK_EQ(n_given, 1);
	CHECK_EQ(node_flow(n)->flow.hard.signer, FTT_SIGNED_OURS);
	model_now += 2 * S; /* no answer */
	tick(n);
	CHECK_EQ(n_given, 2);
	node_close(n);
}

int main(void)
{
	test_a_long_log_comes_last();
	test_why_it_was_let_go_stays();
	test_why_it_rested_stays();
	test_orders_of_an_earlier_attempt();
	test_a_lost_syn_is_kept();
	test_the_mirror_waits_for_the_log();
	test_dropped_behind_its_beginning();
	test_the_first_word_is_lost();
	test_an_end_from_the_log_is_counted();
	test_what_is_no_news_is_not_injected();
	test_a_key_is_used_again();
	test_a_syn_outlives_its_key();
	return 0;
}
