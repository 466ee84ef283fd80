/* SPDX-License-Identifier: Apache-2.0 */
/* A worker and flows that a new backup catches up with: what goes into their logs, and what ends a renewal. The lane is a stub. */
#define _GNU_SOURCE
#include "engine/flows/act.h"
#include "engine/flows/compare.h"
#include "engine/flows/follow.h"
#include "engine/flows/renew.h"
#include "engine/flows/renew_begin.h"
#include "engine/flows/renew_lane.h"
#include "engine/flows/lockstep.h"
#include "core/tcp/renew.h"
#include "lockstep_file.h"
#include "model_node.h"

#define S (1000 * MS)
#define IRS 1000u
#define ISS 7000u
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
	return (uint8_t)(offset + sender->client);
}

bool model_is_right(const struct stack *receiver, uint32_t offset, uint8_t byte)
{
	(void)receiver, (void)offset, (void)byte; /* all that it is given are zeros */
	return true;
}

/* --- the lane --------------------------------------------------------------------------------------- */

static uint8_t lane_up; /* a bit for each worker of the peer */
static unsigned lane_sent;

bool ftt_lane_up(const struct ftt_bulk_lane *l, uint8_t worker)
{
	(void)l;
	return lane_up >> worker & 1;
}

uint32_t ftt_lane_room(struct ftt_bulk_lane *l, uint8_t to)
{
	return ftt_lane_up(l, to) ? 1u << 20 : 0;
}

bool ftt_lane_send(struct ftt_bulk_lane *l, uint8_t to, uint8_t kind, const uint8_t *bytes, uint32_t len)
{
	(void)kind, (void)bytes, (void)len;
	lane_sent += ftt_lane_up(l, to);
	return ftt_lane_up(l, to);
}

/* --- a node with one flow ---------------------------------------------------------------------------- */

static struct node node;
static struct ftt_seg said; /* the last packet to a client */
static unsigned n_said;
static struct ftt_record told[64]; /* to the peer, since clear_told() */
static unsigned n_told;

static void to_client(struct node *n, struct wire *packet)
{
	struct ftt_pkt k;

	(void)n;
	CHECK_EQ(ftt_parse(packet->bytes, packet->len, packet->len, &k, &said), FTT_PARSED_TCP);
	n_said++;
	free(packet);
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

static void unheard(struct stack *s, struct wire *packet)
{
	(void)s;
	free(packet);
}

/* Was a record of this type told, and how often? */
static unsigned was_told(uint8_t type)
{
	unsigned n = 0;

	for (unsigned i = 0; i < n_told; i++)
		n += told[i].type == type;
	return n;
}

static struct node *open_node(uint32_t mode, uint8_t workers)
{
	struct ftt_policy *policy = &node.engine.cfg.policy;

	node_open(&node, "node", mode, 4);
	policy->renew = 1;
	policy->renew_flow = 1 << 20;
	policy->renew_bytes = 1 << 24;
	node.engine.cfg.workers = workers;
	node.to_client = to_client;
	node.to_peer = to_peer;
	node.stack.send = unheard;
	node.stack.state = STACK_OPEN;
	node.stack.irs = IRS;
	node.stack.rcv_nxt = 1;
	lane_up = (uint8_t)((1 << workers) - 1);
	lane_sent = n_said = n_told = 0;
	return &node;
}

static struct ftt_key flow_key(void)
{
	struct ftt_key k = {.remote_port = 1, .local_port = 80, .proto = 6};

	k.remote[10] = k.remote[11] = k.local[10] = k.local[11] = 0xff;
	k.remote[12] = k.local[12] = 10;
	k.remote[15] = 1;
	k.local[15] = 2;
	return k;
}

static size_t build(uint8_t *bytes, bool client, uint8_t flags, uint32_t seq, uint32_t ack, uint32_t len)
{
	static const uint8_t payload[1000];
	struct ftt_key k = flow_key();
	struct ftt_bare b = {.src = client ? k.remote : k.local, .dst = client ? k.local : k.remote, .sport = client ? 1 : 80,
			     .dport = client ? 80 : 1, .seq = seq, .ack = ack, .flags = flags, .wnd = WINDOW};

	return ftt_build_segment(bytes, &b, payload, len);
}

/* A segment of the client's, or of its server's stack. */
static void says(struct node *n, bool client, uint8_t flags, uint32_t seq, uint32_t ack, uint32_t len)
{
	uint8_t bytes[FTT_BARE_MAX + 1000];

	wire_push(client ? &n->in : &n->out, wire_new(bytes, (uint32_t)build(bytes, client, flags, seq, ack, len)));
	node_run(n);
}

/* An established flow with a log, of which nothing was said yet. */
static struct ftt_tcp *establish(struct node *n, enum ftt_protection protection)
{
	struct ftt_key k = flow_key();
	struct ftt_tcp *c = ftt_table_add(&n->worker.table, &k, model_now);
	uint8_t syn[FTT_BARE_MAX];

	CHECK(c);
	ftt_flow_init(&c->flow, IRS, model_now);
	c->flow.local_iss = ISS - 1;
	ftt_flow_map(&c->flow, c->flow.local_iss);
	c->flow.client_acked = c->flow.local_snd_nxt = c->flow.sent = c->flow.delivered_ack = ISS;
	c->flow.told_ack = c->flow.committed = c->flow.in_order = IRS + 1;
	c->flow.local_edge = c->flow.advertised_edge = IRS + 1 + WINDOW;
	c->flow.max_wnd = c->flow.client_wnd = WINDOW;
	c->flow.mss = 1000;
	c->flow.bits |= FTT_F_SYNACK | FTT_F_ESTABLISHED | (n->engine.cfg.policy.compare ? FTT_F_SUMS : 0);
	c->flow.protection = (uint8_t)protection;
	ftt_log_begin(&n->worker, c, syn, build(syn, true, TCP_SYN, IRS, 0, 0));
	CHECK(c->log);
	ftt_tcp_act(&n->worker, c, 0, model_now);
	return c;
}

/* --- what goes into a log ------------------------------------------------------------------------------ */

/* What the stack refuses is no word of the client's, whatever it looks like: another stack is not told it. */
static void test_what_is_refused_is_not_kept(void)
{
	struct node *n = open_node(FTT_MODE_SOLO, 1);
	struct ftt_tcp *c = establish(n, FTT_UNPROTECTED);

	says(n, true, TCP_ACK, IRS + 1, ISS, 10);
	CHECK_EQ(c->log->end, 10);
	says(n, true, TCP_ACK, IRS + 2 + WINDOW, ISS, 10); /* beyond the window */
	says(n, true, TCP_ACK | TCP_FIN, IRS + 2 + WINDOW, ISS, 0);
	says(n, true, TCP_ACK, IRS + 11, ISS + 1, 10); /* acknowledges what was not sent */
	CHECK(!c->log->fin && !c->log->beyond && c->log->end == 10);
	CHECK(n->worker.log_bytes < c->log->len + sizeof(*c->log) + 16); /* of a short one: no room to spare */
	says(n, true, TCP_ACK | TCP_FIN, IRS + 11, ISS, 10);
	CHECK(c->log->fin && c->log->end == 20 && !c->unrenewable);
	node_close(n);
}

/* Its log ends for a client that says its stream backwards. */
static void test_backwards(void)
{
	struct node *n = open_node(FTT_MODE_SOLO, 1);
	struct ftt_tcp *c = establish(n, FTT_UNPROTECTED);

	for (uint32_t offset = 2000; offset--;)
		says(n, true, TCP_ACK, IRS + 1 + offset, ISS, 1);
	CHECK_EQ(c->unrenewable, FTT_LOG_GAP);
	CHECK(!c->log);
	node_close(n);
}

/* --- the primary ----------------------------------------------------------------------------------------- */

/* A new backup is there: the flow's SYN went to it. */
static struct ftt_renewal *begin(struct node *n, struct ftt_tcp *c)
{
	struct ftt_lane_user user = ftt_renew_lane_user(&n->worker);

	user.changed(user.of, 0, true);
	ftt_renew_pump(&n->worker, model_now);
	CHECK(ftt_renewal(c) && ftt_renewal(c)->stage == FTT_RENEW_BEGUN);
	CHECK_EQ(c->flow.protection, FTT_CATCHING_UP);
	return ftt_renewal(c);
}

/* A backup that took over summed up to what it was told, and its server has said more: the next backup is told of all that. */
static void test_the_sum_is_of_all_output(void)
{
	struct node *n = open_node(FTT_MODE_PAIRED, 1);
	struct ftt_tcp *c = establish(n, FTT_UNPROTECTED);

	c->digest = (struct ftt_digest){.crc = 1, .next = 50, .seen = 80};
	c->seen_crc = 2;
	begin(n, c);
	CHECK(c->digest.next == 80 && c->digest.crc == 2);
	node_close(n);
}

/* The backup says that of the present attempt. */
static void hears(struct node *n, const struct ftt_tcp *c, const struct ftt_record *r)
{
	struct ftt_record now = *r;

	now.attempt = c->attempt;
	node_hears(n, &now);
}

/* The new backup has come to where the client stands, with the same output: it is asked. */
static struct ftt_renewal *ask(struct node *n, struct ftt_tcp *c)
{
	struct ftt_renewal *r = begin(n, c);
	struct ftt_record commit = {.type = FTT_REC_COMMIT, .key = c->key, .irs = IRS, .rcv_nxt = IRS + 1, .edge = IRS + 1 + WINDOW,
				  .snd_nxt = ISS, .flags = FTT_REC_SAME};

	hears(n, c, &commit);
	CHECK_EQ(r->stage, FTT_RENEW_ASKED);
	CHECK_EQ(c->flow.protection, FTT_OPENING);
	n_told = 0;
	return r;
}

/* ... and says yes. */
static void open_at_last(struct node *n, struct ftt_tcp *c)
{
	struct ftt_record opened = {.type = FTT_REC_OPENED, .key = c->key, .irs = IRS, .rcv_nxt = IRS + 1, .edge = IRS + 1 + WINDOW};

	hears(n, c, &opened);
	CHECK_EQ(c->flow.protection, FTT_PROTECTED);
}

static void tick(struct node *n)
{
	ftt_renew_tick(&n->worker, model_now);
	node_run(n);
}

/* The client resets the connection while the backup is asked: that is told, whatever it answers. */
static void test_reset_while_asked(bool answered)
{
	struct node *n = open_node(FTT_MODE_PAIRED, 1);
	struct ftt_tcp *c = establish(n, FTT_UNPROTECTED);

	ask(n, c);
	says(n, true, TCP_RST, IRS + 1, 0, 0);
	CHECK(c->closed);
	if (answered)
		open_at_last(n, c);
	else
		tick(n);
	CHECK_EQ(was_told(answered ? FTT_REC_CLOSE : FTT_REC_DETACH), 1);
	ftt_renew_pump(&n->worker, model_now);
	CHECK(!c->log && n->worker.n_renewing[FTT_RENEW_HELD] == 0);
	node_close(n);
}

/* One that was reset while the backup caught up is not asked about. */
static void test_reset_before(void)
{
	struct node *n = open_node(FTT_MODE_PAIRED, 1);
	struct ftt_tcp *c = establish(n, FTT_UNPROTECTED);
	struct ftt_renewal *r = begin(n, c);
	struct ftt_record commit = {.type = FTT_REC_COMMIT, .key = c->key, .irs = IRS, .rcv_nxt = IRS + 1, .edge = IRS + 1 + WINDOW,
				  .snd_nxt = ISS, .flags = FTT_REC_SAME};

	says(n, true, TCP_RST, IRS + 1, 0, 0);
	hears(n, c, &commit);
	CHECK_EQ(r->stage, FTT_RENEW_CATCHING);
	tick(n);
	CHECK(!c->log && was_told(FTT_REC_DETACH) == 1);
	node_close(n);
}

/* A COMMIT that moves nothing is not answered at once: the backup answers, and both would do nothing else. */
static void test_no_endless_talk(void)
{
	struct node *n = open_node(FTT_MODE_PAIRED, 1);
	struct ftt_tcp *c = establish(n, FTT_UNPROTECTED);
	struct ftt_record commit = {.type = FTT_REC_COMMIT, .key = c->key, .irs = IRS, .rcv_nxt = IRS + 1, .edge = IRS + 1 + WINDOW,
				  .snd_nxt = ISS};

	begin(n, c);
	n_told = 0;
	for (unsigned i = 0; i < 10; i++)
		hears(n, c, &commit);
	CHECK_EQ(was_told(FTT_REC_RENEW), 1);
	model_now += S;
	tick(n);
	tick(n);
	CHECK_EQ(was_told(FTT_REC_RENEW), 2);
	node_close(n);
}

/* A server that paces itself stays behind for ever: it keeps no place from others. */
static void test_who_comes_no_nearer(bool others)
{
	struct node *n = open_node(FTT_MODE_PAIRED, 1);
	struct ftt_tcp *c = establish(n, FTT_UNPROTECTED);
	struct ftt_record commit = {.type = FTT_REC_COMMIT, .key = c->key, .irs = IRS, .rcv_nxt = IRS + 1, .edge = IRS + 1 + WINDOW,
				  .snd_nxt = ISS};

	begin(n, c);
	n->worker.n_renewing[FTT_RENEW_WAITS] += others;
	n->worker.n_renewing[FTT_RENEW_CATCHING] += FTT_RENEW_ACTIVE;
	c->bytes_out += 1000000;
	for (unsigned i = 0; i < 30 && ftt_renewal(c); i++) { /* both get on, by as much */
		commit.snd_nxt += 1000;
		c->bytes_out += 1000;
		hears(n, c, &commit);
		tick(n);
		model_now += S;
	}
	CHECK_EQ(c->unrenewable, others ? FTT_NOT_IN_TIME : FTT_RENEWABLE);
	CHECK_EQ(!ftt_renewal(c), others);
	n->worker.n_renewing[FTT_RENEW_WAITS] -= others;
	n->worker.n_renewing[FTT_RENEW_CATCHING] -= FTT_RENEW_ACTIVE;
	node_close(n);
}

/* Its log becomes too long when the backup has said yes: the renewal ends all the same, on both nodes. */
static void test_held_without_a_log(void)
{
	struct node *n = open_node(FTT_MODE_PAIRED, 1);
	struct ftt_tcp *c = establish(n, FTT_UNPROTECTED);

	ask(n, c);
	open_at_last(n, c);
	ftt_log_end(&n->worker, c, FTT_LOG_TOO_LONG);
	lane_sent = 0;
	ftt_renew_pump(&n->worker, model_now);
	CHECK_EQ(lane_sent, 1);
	CHECK(!c->log && c->unrenewable == FTT_LOG_TOO_LONG && n->worker.n_renewing[FTT_RENEW_HELD] == 0);
	CHECK_EQ(c->flow.protection, FTT_PROTECTED);
	node_close(n);
}

static void lane_lost(struct node *n, uint8_t worker)
{
	struct ftt_lane_user user = ftt_renew_lane_user(&n->worker);

	lane_up &= (uint8_t)~(1u << worker);
	user.changed(user.of, worker, false);
	node_run(n);
}

/* The lane to a worker that does not have the flow is lost: that is nothing to it, once it is known who has it. */
static void test_the_lane_of_another_worker(void)
{
	struct node *n = open_node(FTT_MODE_PAIRED, 2);
	struct ftt_tcp *c = establish(n, FTT_UNPROTECTED);
	struct ftt_renewal *r = begin(n, c);
	struct ftt_record commit = {.type = FTT_REC_COMMIT, .key = c->key, .irs = IRS, .rcv_nxt = IRS + 1, .edge = IRS + 1 + WINDOW,
				  .snd_nxt = ISS};

	n->from = 1;
	hears(n, c, &commit);
	lane_lost(n, 0);
	CHECK_EQ(r->stage, FTT_RENEW_CATCHING);
	CHECK_EQ(c->flow.protection, FTT_CATCHING_UP);
	lane_lost(n, 1);
	CHECK_EQ(r->stage, FTT_RENEW_WAITS);
	CHECK_EQ(c->flow.protection, FTT_UNPROTECTED);
	node_close(n);

	n = open_node(FTT_MODE_BACKUP, 2);
	c = establish(n, FTT_CATCHING_UP);
	c->peer_worker = 1;
	ftt_renewal_stage(&n->worker, ftt_renewal_begin(&n->worker, c, model_now), FTT_RENEW_CATCHING);
	lane_lost(n, 0);
	CHECK_EQ(c->flow.protection, FTT_CATCHING_UP);
	lane_lost(n, 1);
	CHECK(c->flow.protection == FTT_DETACHED && !ftt_renewal(c) && n->stack.state == STACK_RESET);
	node_close(n);
}

/* The primary dies, and its end of the lane before anybody notices: the client of what caught up is reset, also one that only waits. */
static void test_a_takeover_behind_the_end_of_the_lane(void)
{
	struct node *n = open_node(FTT_MODE_BACKUP, 1);
	struct ftt_tcp *c = establish(n, FTT_CATCHING_UP);

	ftt_renewal_stage(&n->worker, ftt_renewal_begin(&n->worker, c, model_now), FTT_RENEW_CATCHING);
	lane_lost(n, 0);
	node_role(n, FTT_MODE_SOLO, 1);
	CHECK(node_flow(n) && node_flow(n)->flow.protection == FTT_RESETTING);
	CHECK(n_said == 1 && said.seq == ISS - 2 && said.len == 1); /* it is asked where it stands */
	says(n, true, TCP_ACK, IRS + 1, ISS, 0);
	CHECK(n_said == 2 && said.flags & TCP_RST && said.seq == ISS);
	node_close(n);
}

/* What was said in the first attempt comes late: the second one goes on as if it had not come. */
static void test_an_earlier_attempt_is_over(void)
{
	const uint8_t late[] = {FTT_REC_COMMIT, FTT_REC_OPENED, FTT_REC_REFUSED, FTT_REC_DETACHED};
	struct node *n = open_node(FTT_MODE_PAIRED, 1);
	struct ftt_tcp *c = establish(n, FTT_UNPROTECTED);
	struct ftt_record r = {.key = c->key, .irs = IRS, .rcv_nxt = IRS + 1, .edge = IRS + 1 + WINDOW, .snd_nxt = ISS,
			      .flags = FTT_REC_SAME};

	begin(n, c);
	r.attempt = c->attempt;
	lane_lost(n, 0);
	CHECK_EQ(ftt_renewal(c)->stage, FTT_RENEW_WAITS);
	lane_up = 1;
	begin(n, c);
	for (unsigned i = 0; i < sizeof(late); i++) {
		r.type = late[i];
		node_hears(n, &r);
		CHECK(ftt_renewal(c) && ftt_renewal(c)->stage == FTT_RENEW_BEGUN);
	}
	r.type = FTT_REC_COMMIT;
	hears(n, c, &r);
	CHECK_EQ(c->flow.protection, FTT_OPENING);
	for (unsigned i = 1; i < sizeof(late); i++) { /* a yes of the first attempt protects nothing in this one */
		r.type = late[i];
		node_hears(n, &r);
		CHECK(ftt_renewal(c) && ftt_renewal(c)->stage == FTT_RENEW_ASKED && c->flow.protection == FTT_OPENING);
	}
	CHECK_EQ(n->worker.n.records_late, 7);
	open_at_last(n, c);
	node_close(n);
}

static void detached_by(struct node *n, const struct ftt_tcp *c, uint8_t worker)
{
	struct ftt_record r = {.type = FTT_REC_DETACHED, .key = c->key, .irs = IRS};

	n->from = worker;
	hears(n, c, &r);
}

/* Of a backup with several workers one has the flow. What others answer does not part it; when it parts all have to answer. */
static void test_another_worker_does_not_have_it(void)
{
	struct node *n = open_node(FTT_MODE_PAIRED, 2);
	struct ftt_tcp *c = establish(n, FTT_UNPROTECTED);

	c->let_go = 3; /* of an earlier backup */
	n->from = 1;
	ask(n, c);
	open_at_last(n, c);
	CHECK_EQ(c->peer_worker, 1);
	detached_by(n, c, 0);
	CHECK(c->flow.protection == FTT_PROTECTED && c->peer_worker == 1);
	ftt_tcp_act(&n->worker, c, ftt_flow_detach(&c->flow, FTT_WHY_BOUND, model_now), model_now);
	detached_by(n, c, 0);
	CHECK_EQ(c->flow.protection, FTT_DETACHING);
	detached_by(n, c, 1);
	CHECK_EQ(c->flow.protection, FTT_DETACHED);
	node_close(n);
}

/* --- the backup ------------------------------------------------------------------------------------------ */

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

/* A backup that does not get on is given up; the log is kept, and after a while all is tried again. */
static void test_what_failed_is_tried_again(void)
{
	struct node *n = open_node(FTT_MODE_PAIRED, 1);
	struct ftt_tcp *c = establish(n, FTT_UNPROTECTED);

	begin(n, c);
	model_now += 11 * S;
	lane_sent = 0;
	tick(n);
	CHECK_EQ(lane_sent, 1); /* let go, behind what was said of it there */
	CHECK(!ftt_renewal(c) && c->unrenewable == FTT_NOT_IN_TIME && n->worker.table.why[FTT_NOT_IN_TIME] == 1);
	says(n, true, TCP_ACK, IRS + 1, ISS, 20);
	CHECK_EQ(c->log->end, 20);
	model_now += 29 * S;
	ftt_renew_pump(&n->worker, model_now);
	CHECK(!ftt_renewal(c));
	model_now += S;
	ftt_renew_pump(&n->worker, model_now);
	CHECK_EQ(ftt_renewal(c)->stage, FTT_RENEW_BEGUN);
	CHECK(!c->unrenewable && !n->worker.table.why[FTT_NOT_IN_TIME]);
	ftt_renew_give_up(&n->worker, c, FTT_STACK_UNLIKE, model_now);
	model_now += 100 * S;
	ftt_renew_pump(&n->worker, model_now);
	CHECK(c->log && !ftt_renewal(c)); /* its stack is what it was; that of the next one may be another */
	ftt_renew_lane_user(&n->worker).changed(&n->worker, 0, true);
	CHECK(ftt_renewal(c));
	node_close(n);
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

int main(void)
{
	test_an_earlier_attempt_is_over();
	test_orders_of_an_earlier_attempt();
	test_a_lost_syn_is_kept();
	test_who_comes_no_nearer(true);
	test_who_comes_no_nearer(false);
	test_the_mirror_waits_for_the_log();
	test_what_failed_is_tried_again();
	test_dropped_behind_its_beginning();
	test_the_first_word_is_lost();
	test_an_end_from_the_log_is_counted();
	test_a_takeover_behind_the_end_of_the_lane();
	test_no_endless_talk();
	test_what_is_no_news_is_not_injected();
	test_a_key_is_used_again();
	test_reset_while_asked(false);
	test_reset_while_asked(true);
	test_reset_before();
	test_held_without_a_log();
	test_another_worker_does_not_have_it();
	test_the_lane_of_another_worker();
	test_the_sum_is_of_all_output();
	test_what_is_refused_is_not_kept();
	test_backwards();
	return 0;
}
