/* SPDX-License-Identifier: Apache-2.0 */
/* signed_node.h - a node with the key of a client that signs (RFC 2385), and what both of them are told. Included once. */
#ifndef FTTCP_SIGNED_NODE_H
#define FTTCP_SIGNED_NODE_H
#include "core/tcp/seal.h"
#include "engine/flows/tcp.h"
#include "old_backup.h"

#define PORT 4000

static inline struct ftt_md5_key key_with(const uint8_t *peer, uint8_t prefix, const char *text)
{
	struct ftt_md5_key k = {.prefix = prefix, .len = (uint8_t)strlen(text)};

	memcpy(k.peer, peer, 16);
	memcpy(k.key, text, k.len);
	return k;
}

static struct ftt_md5_key shared, wrong;
static struct ftt_seg heard; /* the last that left for the client */
static bool heard_sealed;
static unsigned n_heard;

static inline bool is_sealed(const struct wire *packet, struct ftt_seg *s)
{
	struct ftt_pkt k;

	CHECK_EQ(ftt_parse(packet->bytes, packet->len, packet->len, &k, s), FTT_PARSED_TCP);
	CHECK_EQ(ftt_l4_sum(packet->bytes, &k), 0xffff);
	return k.md5_at && ftt_seal_holds(packet->bytes, &k, &shared);
}

static inline void leaves(struct node *n, struct wire *packet)
{
	(void)n;
	heard_sealed = is_sealed(packet, &heard);
	n_heard++;
	free(packet);
}

static struct ftt_seg given; /* the last that our stack was given */
static unsigned n_given;

static inline void is_given(struct node *n, const struct wire *packet)
{
	(void)n;
	CHECK(is_sealed(packet, &given));
	n_given++;
}

static uint8_t told; /* the type of the first record of the last datagram to the other node */

static inline void tells(struct node *n, struct wire *datagram)
{
	struct ftt_record r;

	(void)n;
	CHECK(ftt_record_get(datagram->bytes, datagram->len, &r));
	told = r.type;
	free(datagram);
}

static inline void push(struct node *n, bool client, uint8_t flags, uint32_t seq, uint32_t ack, const struct ftt_md5_key *seal, const char *data)
{
	struct ftt_key k = key_of(PORT);
	struct ftt_bare b = {.src = client ? k.remote : k.local, .dst = client ? k.local : k.remote, .sport = client ? PORT : 80,
			     .dport = client ? 80 : PORT, .seq = seq, .ack = ack, .flags = flags, .wnd = 500, .seal = seal};
	uint8_t bytes[FTT_BARE_MAX + 64];

	wire_push(client ? &n->in : &n->out, wire_new(bytes, (uint32_t)ftt_build_segment(bytes, &b, (const uint8_t *)data, strlen(data))));
}

static inline struct node *open_signed(uint32_t mode)
{
	struct ftt_key k = key_of(PORT);

	shared = key_with(k.remote, 128, "shared");
	wrong = key_with(k.remote, 128, "other");
	node_open(&node, "node", mode, 4);
	node.engine.cfg.md5[0] = shared;
	node.engine.cfg.n_md5 = 1;
	node.to_client = leaves;
	node.to_peer = tells;
	node.given = is_given;
	node.stack.send = unheard;
	n_heard = 0;
	return &node;
}

/* How much our stack is given of what waits, each with its signature; `last` is the last of it. */
static inline unsigned handled(struct node *n, struct ftt_seg *last)
{
	n_given = 0;
	node_run(n);
	*last = given;
	return n_given;
}

#define OURS 5000u     /* the ISN of the primary's stack */
#define LOCAL 900000u  /* ... and of the backup's */

#endif
