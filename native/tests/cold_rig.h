/* SPDX-License-Identifier: Apache-2.0 */
/* cold_rig.h - a cold backup with one client, and what the primary tells it. Included once. */
#ifndef FTTCP_COLD_RIG_H
#define FTTCP_COLD_RIG_H
#include "engine/flows/act.h"
#include "engine/flows/renew.h"
#include "engine/flows/renew_lane.h"
#include "core/tcp/cold.h"
#include "model_counts.h"
#include "model_node.h"

#define S (1000 * MS)
#define IRS 1000u
#define ISS 7000u    /* the first byte of the old primary's server has this number */
#define OURS 90001u  /* ... of ours */
#define WINDOW 5000u

uint64_t model_now = 1000 * S;

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

static inline void nobody(struct node *n, struct wire *packet)
{
	(void)n;
	free(packet);
	CHECK(!"a backup says nothing to a client");
}

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

static inline const struct ftt_record *last_told(uint8_t type)
{
	for (unsigned i = n_told; i--;)
		if (told[i].type == type)
			return told + i;
	return NULL;
}

static inline struct node *open_node(void)
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

static inline struct ftt_key flow_key(void)
{
	struct ftt_key k = {.remote_port = client_port, .local_port = 80, .proto = 6};

	k.remote[10] = k.remote[11] = k.local[10] = k.local[11] = 0xff;
	k.remote[12] = k.local[12] = 10;
	k.remote[15] = 1;
	k.local[15] = 2;
	return k;
}

static uint8_t payload[1000];

static inline size_t build(uint8_t *bytes, bool client, uint8_t flags, uint32_t seq, uint32_t ack, uint32_t len)
{
	struct ftt_key k = flow_key();
	struct ftt_bare b = {.src = client ? k.remote : k.local, .dst = client ? k.local : k.remote, .sport = client ? client_port : 80,
			     .dport = client ? 80 : client_port, .seq = seq, .ack = ack, .flags = flags, .wnd = WINDOW};
	uint32_t first = client ? IRS + 1 : ISS;

	for (uint32_t i = 0; i < len; i++)
		payload[i] = (uint8_t)(seq - first + i);
	return ftt_build_segment(bytes, &b, payload, len);
}

static inline void client_says(struct node *n, uint8_t flags, uint32_t seq, uint32_t ack, uint32_t len)
{
	uint8_t bytes[FTT_BARE_MAX + 1000];

	wire_push(&n->in, wire_new(bytes, (uint32_t)build(bytes, true, flags, seq, ack, len)));
	node_run(n);
}

static inline struct ftt_record record(uint8_t type)
{
	return (struct ftt_record){.type = type, .key = flow_key(), .irs = IRS};
}

/* The primary has answered the client's SYN. */
static inline struct ftt_tcp *open_flow(struct node *n)
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
static inline void primary_sent(struct node *n, uint32_t bytes, bool fin)
{
	struct ftt_record output = record(FTT_REC_OUTPUT);

	output.snd_nxt = ISS + bytes + fin;
	output.flags = fin ? FTT_REC_ENDED : 0;
	node_hears(n, &output);
}

#endif
