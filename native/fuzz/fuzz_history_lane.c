/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any messages of the bulk lane to a node with a history, in any order, between what clients, its server and time do. Nothing is read
 * beyond a message, the counters stay what they count, and what is kept stays within its bounds.
 */
#include <stdlib.h>
#include "../tests/model_counts.h"
#include "../tests/model_node.h"
#include "../tests/packet.h"
#include "engine/flows/act.h"
#include "engine/flows/renewal.h"
#include "engine/flows/history_play.h"
#include "engine/flows/renew.h"
#include "engine/flows/renew_lane.h"
#include "must.h"

#define PARTS 3u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

uint64_t model_now = 1000000 * MS;

static struct node node;
static struct ftt_plane_ops does;
static uint64_t place;
static uint32_t life;

uint8_t model_byte(const struct stack *sender, uint32_t offset)
{
	(void)sender;
	return (uint8_t)offset;
}

bool model_is_right(const struct stack *receiver, uint32_t offset, uint8_t byte)
{
	(void)receiver, (void)offset, (void)byte;
	return true;
}

bool ftt_lane_up(const struct ftt_bulk_lane *l, uint8_t worker)
{
	(void)l;
	return !worker;
}

uint32_t ftt_lane_room(struct ftt_bulk_lane *l, uint8_t to)
{
	(void)l;
	return to ? 0 : 1u << 20;
}

bool ftt_lane_send(struct ftt_bulk_lane *l, uint8_t to, uint8_t kind, const uint8_t *bytes, uint32_t len)
{
	struct ftt_history_event x;
	uint32_t n;

	(void)l, (void)to;
	for (uint32_t at = 8; kind == FTT_LANE_HISTORY && at < len; at += n) /* whatever came in, what goes out are frames */
		MUST(ftt_history_read(bytes + at, len - at, &x, &n) == FTT_HISTORY_EVENT);
	return true;
}

static void gone(struct node *n, struct wire *w)
{
	(void)n;
	free(w);
}

/* As a kernel would: what has another sum is nothing to a stack. */
static void small(struct ftt_plane *p, const uint8_t *packet, size_t len)
{
	struct node *n = FTT_ENTRY(p, struct node, plane);
	struct ftt_pkt k;
	struct ftt_seg s;

	if (ftt_parse(packet, (uint32_t)len, (uint32_t)len, &k, &s) != FTT_PARSED_TCP ||
	    packet_l4_sum(packet, k.l4, (uint32_t)len, 6) != 0xffff)
		return;
	if (n->stack.state == STACK_RESET) { /* it may have one connection after the other */
		n->stack.state = STACK_LISTEN;
		memset(n->stack.got, 0, sizeof(n->stack.got));
		n->stack.fin_at = 0;
		n->stack.got_fin = false;
	}
	n->stack.peer_port = get_be16(packet + k.l4);
	wire_push(&n->to_stack, wire_new(packet, (uint32_t)len));
}

static void server_starts(void)
{
	atomic_store(&node.engine.server_start_ns, model_now);
	atomic_store(&node.engine.server_life, ++life);
	ftt_history_look(&node.worker);
}

static void begin(bool backup)
{
	struct ftt_policy *policy = &node.engine.cfg.policy;

	model_seed = 1;
	place = 1 << 20;
	life = 0;
	node_open(&node, "node", FTT_MODE_IDLE, 4);
	does = *node.plane.does;
	does.small = small;
	node.plane.does = &does;
	policy->renew = 1;
	policy->renew_flow = 1 << 16;
	policy->renew_bytes = 1 << 18;
	policy->history_bytes = PARTS * sizeof(struct ftt_history_part);
	node.to_client = node.to_peer = gone;
	MUST((node.worker.history = ftt_history_new(model_now)));
	server_starts();
	node_role(&node, backup ? FTT_MODE_BACKUP : FTT_MODE_PAIRED, 2);
	ftt_renew_lane_user(&node.worker).changed(&node.worker, 0, true);
}

static void hear(uint8_t kind, const uint8_t *bytes, uint32_t len)
{
	struct ftt_lane_user user = ftt_renew_lane_user(&node.worker);
	uint8_t *copy = malloc(len ? len : 1); /* of the exact size: a read beyond it is found */
	enum ftt_lane_answer answer = FTT_LANE_NOT_NOW;

	MUST(copy);
	memcpy(copy, bytes, len);
	for (unsigned i = 0; i < 200 && answer == FTT_LANE_NOT_NOW; i++) { /* the lane says it again, until each frame had its time */
		uint32_t before = node.worker.history->in_message;

		answer = user.message(user.of, 0, kind, copy, len);
		i = node.worker.history->in_message != before ? 0 : i;
		MUST(answer <= FTT_LANE_BAD);
		node_run(&node);
		model_now += 100 * MS;
		ftt_history_tick(&node.worker);
		ftt_renew_tick(&node.worker, model_now);
		ftt_renew_pump(&node.worker, model_now);
		node_run(&node);
	}
	free(copy);
	MUST(answer != FTT_LANE_NOT_NOW); /* nobody may hold up the lane for ever */
	if (answer == FTT_LANE_BAD) {
		user.changed(user.of, 0, false);
		user.changed(user.of, 0, true);
	}
	node_run(&node);
}

static struct ftt_key key_of(uint8_t port)
{
	struct ftt_key k = {.remote_port = 1 + port % 4, .local_port = 80, .proto = 6};

	k.remote[10] = k.remote[11] = k.local[10] = k.local[11] = 0xff;
	memcpy(k.remote + 12, (const uint8_t[]){10, 77, 0, 10}, 4); /* as the model's stacks say it */
	memcpy(k.local + 12, (const uint8_t[]){10, 77, 0, 100}, 4);
	return k;
}

static uint32_t segment(uint8_t *bytes, const uint8_t x[4], uint8_t flags, uint32_t seq, uint32_t len)
{
	static const uint8_t payload[256];
	struct ftt_key k = key_of(x[0]);
	struct ftt_bare b = {.src = k.remote, .dst = k.local, .sport = k.remote_port, .dport = 80, .seq = seq,
			     .ack = node.stack.iss + (uint32_t)node.stack.snd_max, .flags = flags, .wnd = 5000};

	return (uint32_t)ftt_build_segment(bytes, &b, payload, len);
}

/* A frame out of four bytes: of which flow, of what kind, where, how much. */
static uint32_t frame(uint8_t *p, const uint8_t x[4])
{
	static const uint8_t payload[256];
	uint8_t syn[FTT_BARE_MAX + 256];
	struct ftt_history_event e = {.kind = 1 + x[1] % 6, .flags = x[1] >> 6, .key = key_of(x[0]), .irs = 1000, .place = x[2], .crc = x[3],
				      .how = 1 + x[2] % 4, .data = payload, .data_len = 0};

	e.piece = (struct ftt_piece){.offset = x[2], .len = x[3] ? x[3] : 1, .after = x[0] >> 4, .bytes = payload, .flags = x[1] >> 3 & 3};
	e.open = (struct ftt_record){.type = FTT_REC_OPEN, .key = e.key, .irs = 1000, .service_iss = 7000, .data = syn};
	e.open.data_len = (uint16_t)segment(syn, x, TCP_SYN, 1000, 0);
	return ftt_history_put(p, 2048, &e);
}

/* A message of frames, which goes on behind the one before; one byte of it may be another. */
static size_t frames(const uint8_t *data, size_t size, uint8_t broken)
{
	uint8_t bytes[16384];
	uint32_t n = 8;
	size_t at = 0;

	for (; at + 4 <= size && data[at] != 0xff && n < sizeof(bytes) - 2048; at += 4)
		n += frame(bytes + n, data + at);
	place += n - 8;
	put_be64(bytes, place);
	if (broken)
		bytes[(broken * 97u) % n] ^= broken;
	hear(FTT_LANE_HISTORY, bytes, n);
	return at;
}

static size_t step(const uint8_t *x, size_t size)
{
	uint8_t bytes[FTT_BARE_MAX + 256], none[8] = {0};

	switch (x[0] % 10) {
	case 0:
		return 4 + frames(x + 4, size - 4, 0);
	case 1:
		return 4 + frames(x + 4, size - 4, x[1]);
	case 2: {
		size_t n = x[2] < size - 4 ? x[2] : size - 4;

		hear((uint8_t)(FTT_LANE_FIRST_KIND + x[1] % 24), x + 4, (uint32_t)n);
		return 4 + n;
	}
	case 3:
		hear(x[1] & 1 ? FTT_LANE_ALIGN : FTT_LANE_MARK, none, 1);
		return 4;
	case 4:
		put_be64(none, x[2]);
		hear(x[1] & 1 ? FTT_LANE_PLAYED : FTT_LANE_ALIGNED, none, 8);
		return 4;
	case 5:
		model_now += x[1] * 10 * MS;
		stack_write(&node.stack, x[2] * 4u, false);
		node_tick(&node);
		return 4;
	case 6:
		wire_push(&node.in, wire_new(bytes, segment(bytes, x + 1, x[1] >> 4 & 0x17, 1000 + x[2], x[3])));
		node_run(&node);
		return 4;
	case 7:
		ftt_renew_lane_user(&node.worker).changed(&node.worker, 0, false);
		ftt_renew_lane_user(&node.worker).changed(&node.worker, 0, true);
		return 4;
	case 8:
		if (x[1] & 1)
			server_starts();
		else
			ftt_renew_pump(&node.worker, model_now);
		return 4;
	default:
		node_role(&node, (uint32_t[]){FTT_MODE_BACKUP, FTT_MODE_PAIRED, FTT_MODE_SOLO, FTT_MODE_IDLE}[x[1] % 4], x[2]);
		return 4;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct ftt_history *h;

	if (size < 5)
		return 0;
	begin(data[0] & 1);
	h = node.worker.history;
	for (size_t at = 1; at + 4 <= size && at < 4096;) {
		at += step(data + at, size - at);
		node_run(&node);
		MUST(h->bytes <= PARTS * sizeof(struct ftt_history_part) && h->kept_bytes <= FTT_HISTORY_KEPT && h->played <= h->sent);
		MUST(h->sent <= h->end || h->why);
	}
	node.engine.cfg.policy.renew = 0;
	ftt_renew_role(&node.worker);
	ftt_history_role(&node.worker);
	node_close(&node);
	ftt_history_free(h);
	return 0;
}
