/* SPDX-License-Identifier: Apache-2.0 */
/* Two workers with a history: what is written of a server, how another one is brought to it, and what a lane may say of it. */
#define _GNU_SOURCE
#include <stdlib.h>
#include "engine/flows/act.h"
#include "engine/flows/history_lane.h"
#include "engine/flows/renew_lane.h"
#include "engine/flows/renewal.h"
#include "model_node.h"

#define S (1000 * MS)
#define IRS 1000u
#define WINDOW 50000u

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
	return (uint8_t)(offset * 7);
}

bool model_is_right(const struct stack *receiver, uint32_t offset, uint8_t byte)
{
	(void)receiver;
	return byte == (uint8_t)offset;
}

/* --- two nodes, and what is between them --------------------------------------------------------------- */

struct message {
	struct message *next;
	uint8_t kind;
	uint32_t len;
	uint8_t bytes[];
};

static struct node primary, backup;
static struct message *waits[2], **tail[2] = {&waits[0], &waits[1]}; /* to the primary, to the backup */
static struct wire_queue records[2];
static unsigned n_kind[256];                                       /* messages of each kind that were sent */
static bool lane_up, crossing, mirrored;                            /* records, and packets, go to the other node */
static uint64_t first_had;                                          /* bytes that the backup's server was given on its first connection */
static uint32_t client_acks;                                        /* what the primary's server has said to the client */

static int of_lane(const struct ftt_bulk_lane *l)
{
	return FTT_ENTRY(l, struct node, worker.lane) == &primary;
}

bool ftt_lane_up(const struct ftt_bulk_lane *l, uint8_t worker)
{
	(void)l;
	return lane_up && !worker;
}

uint32_t ftt_lane_room(struct ftt_bulk_lane *l, uint8_t to)
{
	return ftt_lane_up(l, to) ? 1u << 20 : 0;
}

bool ftt_lane_send(struct ftt_bulk_lane *l, uint8_t to, uint8_t kind, const uint8_t *bytes, uint32_t len)
{
	struct message *m = ftt_lane_up(l, to) ? malloc(sizeof(*m) + len) : NULL;
	int there = of_lane(l);

	if (!m)
		return false;
	m->next = NULL;
	m->kind = kind;
	m->len = len;
	memcpy(m->bytes, bytes, len);
	*tail[there] = m;
	tail[there] = &m->next;
	n_kind[kind]++;
	return true;
}

static enum ftt_lane_answer hears(struct node *n, uint8_t kind, const uint8_t *bytes, uint32_t len)
{
	struct ftt_lane_user user = ftt_renew_lane_user(&n->worker);
	uint8_t *copy = malloc(len ? len : 1); /* of the exact size: a read beyond it is found */
	enum ftt_lane_answer answer;

	CHECK(copy);
	memcpy(copy, bytes, len);
	answer = user.message(user.of, 0, kind, copy, len);
	free(copy);
	node_run(n);
	return answer;
}

static void lose_messages(void)
{
	for (int i = 0; i < 2; i++) {
		for (struct message *m; (m = waits[i]);) {
			waits[i] = m->next;
			free(m);
		}
		tail[i] = &waits[i];
	}
}

/* One message to that node. False: there is none, or it waits. */
static bool carry(int to)
{
	struct message *m = waits[to];

	if (!m || hears(to ? &backup : &primary, m->kind, m->bytes, m->len) == FTT_LANE_NOT_NOW)
		return false;
	waits[to] = m->next;
	if (!waits[to])
		tail[to] = &waits[to];
	free(m);
	return true;
}

/* All datagrams to that node. */
static bool tell(int to)
{
	struct wire *w;
	bool any = false;

	for (; (w = wire_pop(&records[to])); any = true) {
		node_from_peer(to ? &backup : &primary, w);
		free(w);
	}
	return any;
}

/* Until nothing more happens by itself. */
static void settle(void)
{
	bool any = true;

	for (unsigned i = 0; any; i++) {
		CHECK(i < 10000);
		ftt_renew_pump(&primary.worker, model_now);
		node_run(&primary);
		node_run(&backup);
		any = tell(1) || tell(0) || carry(1) || carry(0) || backup.worker.history->stirred;
		ftt_history_tick(&backup.worker); /* as a worker does */
	}
}

static void set_lane(bool up)
{
	lane_up = up;
	lose_messages();
	ftt_renew_lane_user(&primary.worker).changed(&primary.worker, 0, up);
	ftt_renew_lane_user(&backup.worker).changed(&backup.worker, 0, up);
	node_run(&primary);
	node_run(&backup);
}

static void to_client(struct node *n, struct wire *packet)
{
	struct ftt_pkt k;
	struct ftt_seg s;

	CHECK(n == &primary);
	CHECK_EQ(ftt_parse(packet->bytes, packet->len, packet->len, &k, &s), FTT_PARSED_TCP);
	if (seq_gt(ftt_seg_end(&s), client_acks) || s.flags & TCP_SYN)
		client_acks = ftt_seg_end(&s);
	free(packet);
}

static void to_peer(struct node *n, struct wire *packet)
{
	if (crossing)
		wire_push(&records[n == &primary], packet);
	else
		free(packet);
}

/* A stack of the model has one connection at a time: this one. */
static void listens(struct node *n, uint16_t port)
{
	void (*send)(struct stack *, struct wire *) = n->stack.send;

	stack_init(&n->stack, false, 4);
	n->stack.send = send;
	n->stack.owner = n;
	n->stack.peer_port = port;
	n->stack.rcvbuf = 60000;
	n->stack.wscale = 0;
}

/* The first connection of the backup's server has ended. */
static void second(struct stack *s)
{
	first_had = stack_received(s);
	listens(&backup, 2);
}

static void server_starts(struct node *n)
{
	atomic_store(&n->engine.server_start_ns, model_now);
	atomic_fetch_add(&n->engine.server_life, 1);
	ftt_history_look(&n->worker);
}

static void open_node(struct node *n, uint32_t mode)
{
	struct ftt_policy *policy = &n->engine.cfg.policy;

	node_open(n, n == &primary ? "primary" : "backup", FTT_MODE_IDLE, 4);
	policy->renew = 1;
	policy->renew_flow = 1 << 20;
	policy->renew_bytes = policy->history_bytes = 1 << 24;
	n->to_client = to_client;
	n->to_peer = to_peer;
	listens(n, 1);
	CHECK((n->worker.history = ftt_history_new(model_now)));
	node_role(n, mode, 1);
	model_now += S;
	server_starts(n);
}

/* A primary whose server has started; a backup with another, fresh one. */
static void open_both(void)
{
	lane_up = crossing = mirrored = false;
	memset(n_kind, 0, sizeof(n_kind));
	open_node(&primary, FTT_MODE_SOLO);
	open_node(&backup, FTT_MODE_BACKUP);
	backup.stack.over = second;
	first_had = 0;
}

static void close_both(void)
{
	struct node *nodes[] = {&primary, &backup};

	crossing = false;
	lose_messages();
	for (unsigned i = 0; i < 2; i++) {
		wire_clear(&records[i]);
		struct node *n = nodes[i];

		ftt_renew_role(&n->worker);
		ftt_history_drop_kept(&n->worker);
		node_close(n);
		CHECK(!n->worker.history->kept_bytes);
		ftt_history_free(n->worker.history);
	}
}

/* --- a client ------------------------------------------------------------------------------------------- */

static struct ftt_key key_of(uint16_t port)
{
	struct ftt_key k = {.remote_port = port, .local_port = 80, .proto = 6};

	k.remote[10] = k.remote[11] = k.local[10] = k.local[11] = 0xff;
	memcpy(k.remote + 12, (const uint8_t[]){10, 77, 0, 10}, 4); /* as the model's stacks say it */
	memcpy(k.local + 12, (const uint8_t[]){10, 77, 0, 100}, 4);
	return k;
}

/* On the mirror, too, where there is one. */
static void says(uint16_t port, uint8_t flags, uint32_t offset, uint32_t len)
{
	struct ftt_key k = key_of(port);
	struct ftt_bare b = {.src = k.remote, .dst = k.local, .sport = port, .dport = 80, .seq = IRS + offset, .ack = client_acks,
			     .flags = flags, .wnd = WINDOW};
	uint8_t bytes[FTT_BARE_MAX + 8000], payload[8000];
	uint32_t n;

	for (uint32_t i = 0; i < len; i++)
		payload[i] = (uint8_t)(offset - 1 + i);
	n = (uint32_t)ftt_build_segment(bytes, &b, payload, len);
	wire_push(&primary.in, wire_new(bytes, n));
	node_run(&primary);
	if (mirrored) {
		wire_push(&backup.in, wire_new(bytes, n));
		node_run(&backup);
	}
}

static struct ftt_tcp *opens(uint16_t port)
{
	struct ftt_key k = key_of(port);

	listens(&primary, port);
	says(port, TCP_SYN, 0, 0);
	says(port, TCP_ACK, 1, 0);
	CHECK_EQ(primary.stack.state, STACK_OPEN);
	return ftt_table_find(&primary.worker.table, &k);
}

static void answers(struct node *n, uint64_t upto)
{
	stack_write(&n->stack, upto, false);
	node_run(n);
}

/* --- what is written ---------------------------------------------------------------------------------------- */

/* Each frame as a letter, in a string that is used again. */
static const char *written(const struct node *n)
{
	static char text[256];
	const struct ftt_history *h = n->worker.history;
	struct ftt_history_event x;
	uint32_t i = 0, len;

	for (const struct ftt_history_part *p = h->first; p; p = p->next)
		for (uint32_t at = 0; at < p->len && i < sizeof(text) - 1; at += len) {
			CHECK_EQ(ftt_history_read(p->bytes + at, p->len - at, &x, &len), FTT_HISTORY_EVENT);
			text[i++] = "?HOIWED"[x.kind];
		}
	text[i] = 0;
	return text;
}

static void expect(const struct node *n, const char *wanted)
{
	const char *found = written(n);

	if (strcmp(found, wanted))
		fprintf(stderr, "%s has %s, wanted %s\n", n->name, found, wanted);
	CHECK(!strcmp(found, wanted));
}

/* Outputs (W) stand before what follows them. A handshake alone is nothing that a server is told of twice. */
static void test_what_is_written(void)
{
	open_both();
	says(9, TCP_SYN, 0, 0);
	says(9, TCP_RST, 1, 0);
	expect(&primary, "");
	opens(1);
	expect(&primary, "O");
	says(1, TCP_ACK | TCP_PSH, 1, 10);
	says(1, TCP_ACK | TCP_PSH, 1, 10); /* again: it is there */
	answers(&primary, 20);
	answers(&primary, 30);
	says(1, TCP_ACK, 6, 10);
	expect(&primary, "OIWI");
	says(1, TCP_RST, 16, 0);
	expect(&primary, "OIWIE");
	CHECK_EQ(ftt_history_behind(&primary.worker), true);
	close_both();
}

/* What was written before the server started is of the one before. */
static void test_another_life(void)
{
	open_both();
	opens(1);
	says(1, TCP_ACK, 1, 10);
	says(1, TCP_RST, 11, 0);
	model_now += S;
	atomic_store(&primary.engine.server_start_ns, model_now);
	model_now += MS;
	opens(2); /* before the engine hears of it */
	says(2, TCP_ACK, 1, 10);
	atomic_fetch_add(&primary.engine.server_life, 1);
	ftt_history_look(&primary.worker);
	expect(&primary, "OI");
	atomic_store(&primary.engine.server_start_ns, 0); /* one that nobody saw start */
	atomic_fetch_add(&primary.engine.server_life, 1);
	ftt_history_look(&primary.worker);
	CHECK(primary.worker.history->why == FTT_LOG_GAP && !primary.worker.history->bytes);
	model_now += S;
	atomic_store(&primary.engine.server_start_ns, model_now);
	model_now += MS;
	opens(3); /* in that moment there is no history */
	says(3, TCP_ACK, 1, 10);
	atomic_fetch_add(&primary.engine.server_life, 1);
	ftt_history_look(&primary.worker);
	says(3, TCP_ACK, 11, 10);
	expect(&primary, "OII");
	close_both();
}

/* Its bound is reached: it ends, with a reason, and the server is served as ever. So until there is another server. */
static void test_the_bound(void)
{
	struct ftt_history *h;
	uint32_t at = 1;

	open_both();
	h = primary.worker.history;
	primary.engine.cfg.policy.history_bytes = primary.engine.cfg.policy.renew_bytes = sizeof(struct ftt_history_part) + 8000;
	opens(1);
	for (; !h->why && at < MODEL_STREAM_MAX; at++) {
		says(1, TCP_ACK, at, 1);
		CHECK(h->bytes + primary.worker.log_bytes <= primary.engine.cfg.policy.history_bytes); /* logs are within it */
	}
	CHECK(h->why == FTT_LOGS_TOO_LONG && at > 1000 && !h->bytes && !h->first);
	CHECK_EQ(h->stage, FTT_HISTORY_FAILED);
	says(1, TCP_ACK, at, 10);
	answers(&primary, 50);
	says(1, TCP_RST, at + 10, 0);
	opens(2);
	says(2, TCP_ACK, 1, 10);
	CHECK_EQ(stack_received(&primary.stack), 10);
	expect(&primary, "");
	node_role(&primary, FTT_MODE_PAIRED, 2);
	crossing = true;
	set_lane(true);
	settle();
	CHECK_EQ(n_kind[FTT_LANE_HISTORY] + n_kind[FTT_LANE_MARK], 0);
	CHECK(ftt_history_behind(&primary.worker) && ftt_history_waits(&backup.worker));
	model_now += S;
	server_starts(&primary);
	CHECK(!h->why);
	opens(3);
	says(3, TCP_ACK, 1, 10);
	expect(&primary, "OI");
	close_both();
}

/* --- how another server is brought to it ------------------------------------------------------------------------ */

static void pair(void)
{
	node_role(&primary, FTT_MODE_PAIRED, 2);
	crossing = mirrored = true;
	set_lane(true);
}

/* A connection that has ended, with an answer, and one that lives. */
static struct ftt_tcp *live_a_little(void)
{
	struct ftt_tcp *c;

	open_both();
	opens(1);
	says(1, TCP_ACK | TCP_PSH, 1, 10);
	says(1, TCP_RST, 11, 0);
	c = opens(2);
	says(2, TCP_ACK | TCP_PSH, 1, 10);
	answers(&primary, 20);
	says(2, TCP_ACK, 11, 5);
	expect(&primary, "OIEOIWI");
	return c;
}

/* Up to where the backup's server has to say something itself. */
static void play_all(void)
{
	settle();
	CHECK_EQ(first_had, 10);
	CHECK_EQ(backup.stack.state, STACK_OPEN);
}

static void test_a_new_backup(void)
{
	const struct ftt_tcp *c = live_a_little();
	const struct ftt_history *h = backup.worker.history;
	struct ftt_key key = key_of(2);

	pair();
	CHECK(ftt_history_waits(&backup.worker) && ftt_history_behind(&primary.worker));
	play_all();
	CHECK_EQ(stack_received(&backup.stack), 10); /* what follows its answer waits for that */
	CHECK(h->blocked && !h->live);
	answers(&backup, 20);
	ftt_history_tick(&backup.worker);
	settle();
	CHECK_EQ(stack_received(&backup.stack), 15);
	CHECK(h->live && n_kind[FTT_LANE_MARK] == 1);
	for (unsigned i = 0; i < 50 && c->flow.protection != FTT_PROTECTED; i++) {
		model_now += 50 * MS;
		ftt_renew_tick(&primary.worker, model_now);
		ftt_renew_tick(&backup.worker, model_now);
		settle();
	}
	CHECK_EQ(c->flow.protection, FTT_PROTECTED);
	CHECK_EQ(ftt_table_find(&backup.worker.table, &key)->flow.protection, FTT_PROTECTED);
	expect(&backup, "OIEOIWI"); /* it has the same of its own server */
	close_both();
}

/* What comes on the mirror meanwhile is given behind the last frame, once. */
static void test_what_the_mirror_brings_waits(void)
{
	const struct ftt_history *h;

	live_a_little();
	h = backup.worker.history;
	pair();
	play_all();
	CHECK_EQ(hears(&backup, FTT_LANE_ALIGN, (const uint8_t[1]){0}, 1), FTT_LANE_TAKEN);
	CHECK(h->aligns);
	says(2, TCP_ACK, 16, 7);
	CHECK(h->kept && h->kept_bytes > 7);
	CHECK_EQ(stack_received(&backup.stack), 10);
	answers(&backup, 20);
	ftt_history_tick(&backup.worker);
	settle();
	CHECK(h->live && !h->kept && !h->kept_bytes);
	CHECK_EQ(stack_received(&backup.stack), 22);
	close_both();
}

/* A server that does not say what the other one said: nothing goes on with it. */
static void test_who_does_not_say_it(void)
{
	live_a_little();
	pair();
	play_all();
	for (unsigned i = 0; i < 12; i++) {
		model_now += S;
		ftt_history_tick(&backup.worker);
		settle();
	}
	CHECK(backup.worker.history->failed && !backup.worker.history->live && backup.events[FTT_EV_HISTORY_FAILED] == 1);
	CHECK(primary.worker.history->stage == FTT_HISTORY_FAILED && ftt_history_behind(&primary.worker));
	CHECK_EQ(backup.worker.n_renewing[FTT_RENEW_CATCHING], 0);
	close_both();
}

/* It ends in the middle: how much the other server was given nobody knows. */
static void test_a_lane_that_is_cut(void)
{
	const struct ftt_history *h;

	live_a_little();
	h = backup.worker.history;
	pair();
	play_all();
	CHECK_EQ(hears(&backup, FTT_LANE_ALIGN, (const uint8_t[1]){0}, 1), FTT_LANE_TAKEN);
	says(2, TCP_ACK, 16, 7);
	CHECK(h->kept && h->blocked);
	set_lane(false);
	CHECK(h->failed && !h->kept && !h->kept_bytes && !h->blocked && !h->in_message);
	CHECK_EQ(primary.worker.history->stage, FTT_HISTORY_FAILED);
	CHECK_EQ(primary.worker.n_renewing[FTT_RENEW_BEGUN] + primary.worker.n_renewing[FTT_RENEW_CATCHING], 0);
	set_lane(true);
	settle();
	CHECK(!n_kind[FTT_LANE_MARK] && !h->live);
	says(2, TCP_ACK, 23, 7);
	CHECK_EQ(stack_received(&primary.stack), 29); /* served all the same */
	close_both();
}

/* Behind MARK frames may be lost on the way, or be there without having been told so: they come again, and are given once. */
static void test_what_was_under_way(void)
{
	const struct ftt_history *h;

	open_both();
	h = backup.worker.history;
	pair();
	mirrored = false;
	says(1, TCP_SYN, 0, 0);
	settle();
	CHECK(h->live && primary.worker.history->stage == FTT_HISTORY_MARKED);
	says(1, TCP_ACK, 1, 0);
	says(1, TCP_ACK, 1, 10);
	expect(&primary, "OI");
	ftt_renew_pump(&primary.worker, model_now);
	CHECK_EQ(n_kind[FTT_LANE_HISTORY], 1);
	set_lane(false); /* it is not there */
	set_lane(true);
	ftt_renew_pump(&primary.worker, model_now);
	CHECK(!carry(1) && h->blocked && h->appended); /* ... its first frame is */
	set_lane(false);
	set_lane(true);
	settle();
	CHECK_EQ(stack_received(&backup.stack), 10);
	CHECK(!h->blocked);
	says(1, TCP_ACK, 11, 5);
	ftt_renew_pump(&primary.worker, model_now);
	for (unsigned i = 0; i < 10 && waits[1]; i++) {
		ftt_history_tick(&backup.worker);
		carry(1);
	}
	CHECK(waits[0] && !waits[1]); /* all of it is, and nobody was told */
	set_lane(false);
	says(1, TCP_ACK, 16, 3);
	set_lane(true);
	settle();
	CHECK_EQ(stack_received(&backup.stack), 18);
	CHECK_EQ(backup.stack.state, STACK_OPEN);
	expect(&backup, "OIII");
	CHECK_EQ(primary.worker.history->played, primary.worker.history->sent);
	close_both();
}

/* A backup whose server was told something before is none to begin with. */
static void test_a_server_that_is_not_fresh(void)
{
	live_a_little();
	backup.worker.history->why = FTT_LOG_GAP;
	pair();
	settle();
	CHECK(backup.worker.history->failed && primary.worker.history->stage == FTT_HISTORY_FAILED);
	CHECK_EQ(backup.stack.state, STACK_LISTEN);
	close_both();
}

/* --- what a lane may say ------------------------------------------------------------------------------------------- */

static uint32_t put_event(uint8_t *p, uint8_t kind, uint16_t port)
{
	struct ftt_history_event x = {.kind = kind, .key = key_of(port), .irs = IRS, .how = FTT_HISTORY_CLOSED,
				      .piece = {.len = 10, .bytes = (const uint8_t[10]){0}}};

	return ftt_history_put(p, 2048, &x);
}

static void test_strange_messages(void)
{
	static const uint8_t kinds[] = {FTT_LANE_ALIGN, FTT_LANE_MARK, FTT_LANE_PLAYED, FTT_LANE_ALIGNED, FTT_LANE_NOT_PLAYED};
	static const uint32_t wanted[] = {1, 1, 8, 8, 1};
	static const uint8_t none[32];
	uint8_t bytes[4096] = {0};
	uint32_t n;

	open_both();
	pair();
	lose_messages();
	for (unsigned i = 0; i < sizeof(kinds); i++)
		for (uint32_t len = 0; len < sizeof(none); len++)
			if (len != wanted[i]) {
				CHECK_EQ(hears(&backup, kinds[i], none, len), FTT_LANE_BAD);
				CHECK_EQ(hears(&primary, kinds[i], none, len), FTT_LANE_BAD);
			}
	CHECK_EQ(hears(&backup, FTT_LANE_NOT_PLAYED + 1, none, 8), FTT_LANE_BAD);
	for (uint32_t len = 0; len < 8; len++)
		CHECK_EQ(hears(&backup, FTT_LANE_HISTORY, none, len), FTT_LANE_BAD);
	n = put_event(bytes + 8, FTT_HISTORY_INPUT, 1);
	CHECK_EQ(hears(&backup, FTT_LANE_HISTORY, bytes, 8 + n), FTT_LANE_BAD); /* it would begin before the beginning */
	bytes[0] = 1;
	for (uint32_t len = 9; len < sizeof(none); len++)
		CHECK_EQ(hears(&backup, FTT_LANE_HISTORY, none, len), FTT_LANE_BAD);
	for (uint32_t len = 1; len < n; len++)
		CHECK_EQ(hears(&backup, FTT_LANE_HISTORY, bytes, 8 + len), FTT_LANE_BAD);
	bytes[8 + FTT_HISTORY_FRAME] = 99;
	CHECK_EQ(hears(&backup, FTT_LANE_HISTORY, bytes, 8 + n), FTT_LANE_BAD);
	CHECK(!node_flow(&backup) && !backup.worker.history->live && backup.stack.state == STACK_LISTEN);
	close_both();
}

/* Of a connection that nobody knows nothing is done; what it says is taken, and told to be. */
static void test_flows_that_nobody_knows(void)
{
	uint8_t bytes[4096] = {1}; /* far on */
	uint32_t n = 8;

	open_both();
	pair();
	lose_messages();
	n_kind[FTT_LANE_PLAYED] = 0;
	for (uint8_t kind = FTT_HISTORY_INPUT; kind <= FTT_HISTORY_DONE; kind++)
		n += put_event(bytes + n, kind, 7);
	CHECK_EQ(hears(&backup, FTT_LANE_HISTORY, bytes, n), FTT_LANE_TAKEN);
	CHECK(n_kind[FTT_LANE_PLAYED] == 1 && !backup.worker.history->blocked && !node_flow(&backup));
	close_both();
}

/* Each at a time, or to a node, where nobody would say it. */
static void test_the_wrong_order(void)
{
	struct ftt_history *p, *b;
	uint8_t far[8], one = 0;

	live_a_little();
	p = primary.worker.history;
	b = backup.worker.history;
	pair();
	lose_messages();
	p->stage = FTT_HISTORY_SENDS; /* as if there were more of it */
	CHECK_EQ(hears(&backup, FTT_LANE_MARK, &one, 1), FTT_LANE_TAKEN);
	CHECK(!b->live); /* it was not asked to keep what comes */
	put_be64(far, UINT64_MAX);
	CHECK_EQ(hears(&primary, FTT_LANE_PLAYED, far, 8), FTT_LANE_TAKEN);
	CHECK(p->played <= p->sent);
	put_be64(far, 0);
	CHECK_EQ(hears(&primary, FTT_LANE_ALIGNED, far, 8), FTT_LANE_TAKEN);
	CHECK_EQ(p->stage, FTT_HISTORY_SENDS);
	CHECK_EQ(hears(&primary, FTT_LANE_ALIGN, &one, 1), FTT_LANE_TAKEN);
	CHECK_EQ(hears(&primary, FTT_LANE_MARK, &one, 1), FTT_LANE_TAKEN);
	CHECK(!p->aligns && !p->live && p->stage == FTT_HISTORY_SENDS);
	CHECK_EQ(hears(&backup, FTT_LANE_PLAYED, far, 8), FTT_LANE_TAKEN);
	CHECK_EQ(hears(&backup, FTT_LANE_NOT_PLAYED, &one, 1), FTT_LANE_TAKEN);
	CHECK_EQ(b->stage, FTT_HISTORY_IDLE);
	one = 255; /* a reason that there is not */
	CHECK_EQ(hears(&primary, FTT_LANE_NOT_PLAYED, &one, 1), FTT_LANE_TAKEN);
	CHECK_EQ(p->stage, FTT_HISTORY_FAILED);
	CHECK(!primary.worker.n_renewing[FTT_RENEW_BEGUN] && !primary.worker.n_renewing[FTT_RENEW_WAITS]);
	close_both();
}

int main(void)
{
	test_what_is_written();
	test_another_life();
	test_the_bound();
	test_a_new_backup();
	test_what_the_mirror_brings_waits();
	test_who_does_not_say_it();
	test_a_lane_that_is_cut();
	test_what_was_under_way();
	test_a_server_that_is_not_fresh();
	test_strange_messages();
	test_flows_that_nobody_knows();
	test_the_wrong_order();
	return 0;
}
