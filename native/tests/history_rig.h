/* SPDX-License-Identifier: Apache-2.0 */
/* history_rig.h - a primary and a backup with histories, in one process, and the lane between them. */
#ifndef FTTCP_HISTORY_RIG_H
#define FTTCP_HISTORY_RIG_H
#include <stdlib.h>
#include "engine/flows/act.h"
#include "engine/flows/history_play.h"
#include "engine/flows/renew_lane.h"
#include "engine/flows/renewal.h"
#include "model_counts.h"
#include "model_node.h"

#define S (1000 * MS)
#define IRS 1000u
#define WINDOW 50000u

uint64_t model_now = 1000 * S;

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
static uint8_t last_why;                                            /* of a NOT_PLAYED */
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
	if (kind == FTT_LANE_NOT_PLAYED)
		last_why = bytes[0];
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

/* A connection that lives goes the way of any renewal, until it is protected. */
static inline void catches_up(const struct ftt_tcp *c)
{
	for (unsigned i = 0; i < 50 && c->flow.protection != FTT_PROTECTED; i++) {
		model_now += 50 * MS;
		ftt_renew_tick(&primary.worker, model_now);
		ftt_renew_tick(&backup.worker, model_now);
		settle();
	}
	CHECK_EQ(c->flow.protection, FTT_PROTECTED);
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
	uint8_t bytes[FTT_BARE_MAX + FTT_PIECE_MAX], payload[FTT_PIECE_MAX];
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

/* Its server resets the connection. */
static inline void aborts(struct node *n)
{
	struct ftt_key k = key_of(n->stack.peer_port);
	struct ftt_bare b = {.src = k.local, .dst = k.remote, .sport = 80, .dport = n->stack.peer_port, .flags = TCP_RST | TCP_ACK,
			     .seq = n->stack.iss + (uint32_t)n->stack.snd_max, .ack = n->stack.irs + (uint32_t)n->stack.rcv_nxt};
	uint8_t bytes[FTT_BARE_MAX];

	n->stack.state = STACK_RESET;
	n->stack.send(&n->stack, wire_new(bytes, (uint32_t)ftt_build_segment(bytes, &b, NULL, 0)));
	node_run(n);
}

static inline void pair(void)
{
	node_role(&primary, FTT_MODE_PAIRED, 2);
	crossing = mirrored = true;
	set_lane(true);
}

/* A connection that has ended, and one that lives, with an answer. */
static inline struct ftt_tcp *live_a_little(void)
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
	return c;
}

/* What a node has written: each frame as a letter, in a string that is used again. */
static inline const char *written(const struct node *n)
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

static inline void expect(const struct node *n, const char *wanted)
{
	const char *found = written(n);

	if (strcmp(found, wanted))
		fprintf(stderr, "%s has %s, wanted %s\n", n->name, found, wanted);
	CHECK(!strcmp(found, wanted));
}

#endif
