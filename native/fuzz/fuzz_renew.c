/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any messages on a new backup's lane: flows that begin again, their logs, sessions. Nothing is read beyond them, memory stays within its
 * bounds, and after each what is counted is what counting anew gives (node_check()).
 *
 * The input is messages: kind u8 | what comes behind it u8 | length u16 | bytes. Behind a message may come an answer of the stack to the SYN,
 * bytes of the server's, time, or the end of the lane.
 */
#define _GNU_SOURCE
#include <stdlib.h>
#include <string.h>
#include "engine/flows/renew.h"
#include "engine/flows/renew_lane.h"
#include "must.h"
#include "tests/model_counts.h"
#include "tests/model_node.h"

#define FLOW_BYTES (1u << 16)
#define ALL_BYTES (1u << 18)

enum { THEN_ANSWER = 1, THEN_SAY = 2, THEN_TIME = 4, THEN_CUT = 8 };

uint64_t model_now;

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* --- the model's world, of which only the node is used -------------------------------------------------- */

uint8_t model_byte(const struct stack *sender, uint32_t offset)
{
	return (uint8_t)(offset + sender->client);
}

bool model_is_right(const struct stack *receiver, uint32_t offset, uint8_t byte)
{
	(void)receiver, (void)offset, (void)byte;
	return true;
}

bool ftt_lane_up(const struct ftt_bulk_lane *l, uint8_t worker)
{
	(void)l, (void)worker;
	return true;
}

uint32_t ftt_lane_room(struct ftt_bulk_lane *l, uint8_t to)
{
	(void)l, (void)to;
	return 1u << 20;
}

void ftt_lane_push(struct ftt_bulk_lane *l, uint8_t to, uint64_t now_ns)
{
	(void)l, (void)to, (void)now_ns;
}

bool ftt_lane_send(struct ftt_bulk_lane *l, uint8_t to, uint8_t kind, const uint8_t *bytes, uint32_t len)
{
	(void)l, (void)to, (void)kind, (void)bytes, (void)len;
	MUST(false); /* a backup has nothing to say there */
	return false;
}

void ftt_lane_resume(struct ftt_bulk_lane *l, uint8_t from)
{
	(void)l, (void)from;
}

/* --- a backup ------------------------------------------------------------------------------------------- */

static struct node node;

static void gone(struct node *n, struct wire *packet)
{
	(void)n;
	free(packet);
}

static void small(struct ftt_plane *p, const uint8_t *packet, size_t len)
{
	struct ftt_pkt k;
	struct ftt_seg s;

	(void)p;
	MUST(ftt_parse(packet, len, len, &k, &s) == FTT_PARSED_TCP || k.proto == 17);
}

static int now(struct ftt_plane *p, const uint8_t *packet, size_t len, bool to_client)
{
	MUST(!to_client);
	small(p, packet, len);
	return 0;
}

/* A segment of our stack's, of the connection that the node found first. */
static void stack_says(uint8_t flags, uint32_t len)
{
	static const uint8_t payload[64];
	struct ftt_tcp *c = node_flow(&node);
	uint8_t bytes[FTT_BARE_MAX + sizeof(payload)];
	struct ftt_bare b;

	if (!c)
		return;
	b = (struct ftt_bare){.src = c->key.local, .dst = c->key.remote, .sport = c->key.local_port, .dport = c->key.remote_port,
			      .seq = flags & TCP_SYN ? 77 : c->flow.local_snd_nxt + c->flow.hard.delta,
			      .ack = flags & TCP_SYN ? c->flow.hard.irs + 1 : c->flow.local_rcv_nxt, .flags = flags, .wnd = 60000};
	wire_push(&node.out, wire_new(bytes, (uint32_t)ftt_build_segment(bytes, &b, payload, len)));
	node_run(&node);
}

static void then(const struct ftt_lane_user *user, uint8_t what)
{
	if (what & THEN_ANSWER)
		stack_says(TCP_SYN | TCP_ACK, 0);
	if (what & THEN_SAY)
		stack_says(TCP_ACK, what >> 4);
	if (what & THEN_TIME) {
		model_now += 60 * MS << (what >> 4);
		ftt_renew_tick(&node.worker, model_now);
	}
	if (what & THEN_CUT)
		user->changed(user->of, 0, false);
	node_run(&node);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct ftt_policy *policy = &node.engine.cfg.policy;
	struct ftt_lane_user user;
	struct ftt_plane_ops does;

	model_now = 1000000 * MS;
	model_seed = 1;
	node_open(&node, "node", FTT_MODE_BACKUP, 4);
	does = *node.plane.does;
	does.small = small;
	does.now = now;
	node.plane.does = &does;
	policy->renew = 1;
	policy->renew_flow = FLOW_BYTES;
	policy->renew_bytes = ALL_BYTES;
	node.to_client = node.to_peer = gone;
	user = ftt_renew_lane_user(&node.worker);
	for (uint32_t len; size >= 4; data += 4 + len, size -= 4 + len) {
		enum ftt_lane_answer answer;
		uint8_t *copy;

		len = get_be16(data + 2) < size - 4 ? get_be16(data + 2) : (uint32_t)size - 4;
		copy = malloc(len ? len : 1); /* of the exact size: a read beyond it is found */
		MUST(copy);
		memcpy(copy, data + 4, len);
		answer = user.message(user.of, 0, (uint8_t)(FTT_LANE_FIRST_KIND + data[0] % 4), copy, len);
		free(copy);
		MUST(answer == FTT_LANE_TAKEN || answer == FTT_LANE_BAD);
		node_run(&node);
		then(&user, data[1]);
		MUST(node.worker.log_bytes <= ALL_BYTES + node.worker.n_logs * sizeof(struct ftt_log));
	}
	node_close(&node);
	return 0;
}
