/* SPDX-License-Identifier: Apache-2.0 */
/* renewal_rig.h - a node with one flow that is, or is to be, renewed, and a lane that is a stub. Included once. */
#ifndef FTTCP_RENEWAL_RIG_H
#define FTTCP_RENEWAL_RIG_H
#include "engine/flows/act.h"
#include "engine/flows/role.h"
#include "engine/flows/renew.h"
#include "engine/flows/renew_begin.h"
#include "engine/flows/renew_lane.h"
#include "last_said.h"
#include "model_counts.h"
#include "model_node.h"

#define S (1000 * MS)
#define IRS 1000u
#define ISS 7000u
#define WINDOW 5000u

uint64_t model_now = 1000 * S;

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
static struct ftt_record told[64]; /* to the peer, since clear_told() */
static unsigned n_told;

static inline void to_peer(struct node *n, struct wire *packet)
{
	size_t len = 0, used;

	(void)n;
	while (n_told < 64 && len < packet->len && (used = ftt_record_get(packet->bytes + len, packet->len - len, told + n_told))) {
		len += used;
		n_told++;
	}
	free(packet);
}

static inline void unheard(struct stack *s, struct wire *packet)
{
	(void)s;
	free(packet);
}

/* Was a record of this type told, and how often? */
static inline unsigned was_told(uint8_t type)
{
	unsigned n = 0;

	for (unsigned i = 0; i < n_told; i++)
		n += told[i].type == type;
	return n;
}

static inline struct node *open_node(uint32_t mode, uint8_t workers)
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

static inline struct ftt_key flow_key(void)
{
	struct ftt_key k = {.remote_port = 1, .local_port = 80, .proto = 6};

	k.remote[10] = k.remote[11] = k.local[10] = k.local[11] = 0xff;
	k.remote[12] = k.local[12] = 10;
	k.remote[15] = 1;
	k.local[15] = 2;
	return k;
}

static inline size_t build(uint8_t *bytes, bool client, uint8_t flags, uint32_t seq, uint32_t ack, uint32_t len)
{
	static const uint8_t payload[1000];
	struct ftt_key k = flow_key();
	struct ftt_bare b = {.src = client ? k.remote : k.local, .dst = client ? k.local : k.remote, .sport = client ? 1 : 80,
			     .dport = client ? 80 : 1, .seq = seq, .ack = ack, .flags = flags, .wnd = WINDOW};

	return ftt_build_segment(bytes, &b, payload, len);
}

/* A segment of the client's, or of its server's stack. */
static inline void says(struct node *n, bool client, uint8_t flags, uint32_t seq, uint32_t ack, uint32_t len)
{
	uint8_t bytes[FTT_BARE_MAX + 1000];

	wire_push(client ? &n->in : &n->out, wire_new(bytes, (uint32_t)build(bytes, client, flags, seq, ack, len)));
	node_run(n);
}

/* An established flow with a log, of which nothing was said yet. */
static inline struct ftt_tcp *establish(struct node *n, enum ftt_protection protection)
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

static inline void tick(struct node *n)
{
	ftt_renew_tick(&n->worker, model_now);
	node_run(n);
}

#endif
