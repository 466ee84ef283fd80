/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Connections that both servers open, through a pair whose primary (or backup) is lost at a random moment, over networks
 * that lose and reorder: their ports, sequence numbers and clocks have nothing in common. Checked at every packet: only the owner
 * speaks, under the port and in the numbers that the remote end knows; nothing is acknowledged to it that the backup's kernel does not
 * have, its answer included; every byte of both streams. At the end: who was protected has come to its end, any other one to that or to
 * a reset; and a server whose connection has no partner was refused.
 *
 *   test_opens [SEED [COUNT]]
 */
#define _GNU_SOURCE
#include <string.h>
#include "engine/flows/opens.h"
#include "model_world.h"

#define RUNS 1000u
#define PATIENCE (120 * 1000 * MS)
#define DESTINATION 25
#define WAIT 4000u /* opens_wait_ms: neither node's detach_after_ms */

uint64_t model_seed, model_now;

static uint64_t opens_at[2];  /* when either server opens; 0: never */
static bool followed;         /* it was protected in this run */
static uint32_t bytes_out, bytes_in; /* of the service's stream, of the remote end's */
static uint32_t carried_on, cut_short, refused; /* of all runs */
static uint64_t copied_short; /* packets of the remote end of which the primary was shown the headers, of all runs */

uint32_t model_random(uint32_t below)
{
	return model_draw(&w->chance, below);
}

bool model_chance(uint32_t per_mille)
{
	return model_random(1000) < per_mille;
}

static uint8_t byte_at(bool remote, uint32_t offset)
{
	return (uint8_t)((offset + (remote ? 0x10000 : 0) + (uint32_t)model_seed * 31) * 2654435761u >> 24);
}

uint8_t model_byte(const struct stack *sender, uint32_t offset)
{
	return byte_at(sender->client, offset);
}

bool model_is_right(const struct stack *receiver, uint32_t offset, uint8_t byte)
{
	return byte == byte_at(!receiver->client, offset);
}

/* The model sends records by itself, and probes no mirror. */
void ftt_channel_flush(struct ftt_channel *c, struct ftt_counters *n)
{
	(void)c, (void)n;
	abort();
}

bool ftt_mirror_probe(struct ftt_engine *e, const uint8_t *packet, uint32_t cap, const struct ftt_pkt *k)
{
	(void)e, (void)packet, (void)cap, (void)k;
	return false;
}

/* --- what is sent ------------------------------------------------------------------------------------ */

/* It is the backup's word, too: all that is acknowledged its kernel has. */
static void check_commit(const struct ftt_seg *g)
{
	const struct ftt_tcp *c = node_flow(&w->p);

	if (!c || c->flow.protection != FTT_PROTECTED || w->p.worker.mode != FTT_MODE_PAIRED || !(g->flags & TCP_ACK) || g->flags & TCP_RST)
		return;
	MODEL_CHECK(w->b.stack.state == STACK_OPEN && g->ack - w->client.iss <= w->b.stack.rcv_nxt, "byte %u was acknowledged",
		    g->ack - w->client.iss);
}

static void to_client(struct node *n, struct wire *packet)
{
	struct ftt_pkt k;
	struct ftt_seg g;

	MODEL_CHECK(n->alive && ftt_may_emit(&n->engine.shared, model_now), "%s spoke out of turn", n->name);
	MODEL_CHECK(ftt_parse(packet->bytes, packet->len, packet->len, &k, &g) == FTT_PARSED_TCP, "%s", n->name);
	if (n == &w->p)
		check_commit(&g);
	carry(packet, TO_CLIENT, w->lose_service, w->delay_service);
}

static void to_peer(struct node *n, struct wire *records)
{
	carry(records, n == &w->p ? RECORDS_TO_B : RECORDS_TO_P, w->lose_records, w->delay_peer);
}

static void remote_sends(struct stack *s, struct wire *packet)
{
	(void)s;
	carry(packet, TO_SERVICE, w->lose_service, w->delay_service);
}

/* The remote end knows one connection: of the port that it heard of first. */
static void to_remote(struct wire *packet)
{
	struct ftt_pkt k;
	struct ftt_seg g;

	MODEL_CHECK(ftt_parse(packet->bytes, packet->len, packet->len, &k, &g) == FTT_PARSED_TCP, "the service");
	MODEL_CHECK(k.dport == DESTINATION, "port %u", k.dport);
	if (w->client.state == STACK_LISTEN && g.flags == TCP_SYN)
		w->client.peer_port = k.sport;
	if (w->client.state == STACK_SYN_RCVD && (g.flags & (TCP_ACK | TCP_RST)) == TCP_ACK) /* Linux resets it */
		MODEL_CHECK(k.sport != w->client.peer_port || g.ack == w->client.iss + 1, "acknowledges %u", g.ack - w->client.iss);
	if (k.sport == w->client.peer_port)
		stack_receive(&w->client, packet);
	free(packet);
}

static void to_service(struct wire *packet)
{
	struct node *n = w->p.alive ? &w->p : &w->b;

	if (w->p.alive)
		carry(wire_new(packet->bytes, packet->len), MIRRORED, w->lose_mirror, w->delay_peer);
	else if (!w->taken_over) {
		free(packet);
		return;
	}
	node_from_client(n, packet);
	node_run(n);
}

static void handle(struct event e)
{
	struct node *n = e.what == RECORDS_TO_P ? &w->p : &w->b;

	if (e.what == TO_SERVICE) {
		to_service(e.wire);
	} else if (e.what == TO_CLIENT) {
		to_remote(e.wire);
	} else if (e.what == MIRRORED && w->b.alive) {
		node_from_client(&w->b, e.wire);
		node_run(&w->b);
	} else {
		if (e.what != MIRRORED && n->alive)
			node_from_peer(n, e.wire);
		free(e.wire);
	}
}

/* --- the world --------------------------------------------------------------------------------------- */

/* Writes and reads some; ends its stream when it has the other one. */
static void use(struct stack *s, uint32_t total)
{
	uint64_t received = stack_received(s), read = s->read + model_random(400), written = s->written + model_random(400);

	if (s->state != STACK_OPEN)
		return;
	stack_read(s, read < received ? read : received);
	written = written < total ? written : total;
	stack_write(s, written, written == total && (s->client || s->got_fin));
}

static void serve(struct node *n, unsigned which)
{
	const struct ftt_tcp *c = n->alive ? node_flow(n) : NULL;

	if (!n->alive)
		return;
	followed |= c && c->flow.protection == FTT_PROTECTED;
	if (n->stack.state == STACK_LISTEN && opens_at[which] && model_now >= opens_at[which])
		stack_connect(&n->stack);
	use(&n->stack, bytes_out);
	node_tick(n);
	ftt_opens_tick(&n->worker, model_now);
	node_run(n);
}

static void fall(void)
{
	const struct ftt_tcp *c = node_flow(&w->p);

	w->fallen = true;
	w->had_flow = c;
	w->protection = c ? c->flow.protection : FTT_NEW;
	if (w->fate == FATE_CRASH) {
		w->p.alive = false;
		w->takeover_at = model_now + 20 * MS;
	} else {
		w->b.alive = false;
		node_role(&w->p, FTT_MODE_SOLO, 2);
	}
}

static void open_node(struct node *n, const char *name, uint32_t mode, uint8_t family)
{
	node_open(n, name, mode, family);
	n->engine.cfg.opens[0] = (struct ftt_port){.port = DESTINATION, .proto = 6};
	n->engine.cfg.n_opens = 1;
	n->engine.cfg.policy.opens_wait_ns = WAIT * MS;
	n->to_client = to_client;
	n->to_peer = to_peer;
	n->stack.port = (uint16_t)(40000 + model_random(3));
	n->stack.peer_port = DESTINATION;
	n->stack.minds_ports = true;
	n->choose = ftt_worker_choose_copy;
}

static void open_world(void)
{
	uint8_t family = model_random(2) ? 4 : 6;

	open_node(&w->p, "primary", FTT_MODE_PAIRED, family);
	open_node(&w->b, "backup", FTT_MODE_BACKUP, family);
	w->b.stack.wscale = model_random(4) ? w->p.stack.wscale : w->b.stack.wscale;
	stack_init(&w->client, true, family);
	w->client.send = remote_sends;
	w->client.port = DESTINATION;
	w->client.peer_port = 0;
	w->lose_service = model_random(3) ? 0 : model_random(100);
	w->lose_mirror = model_random(3) ? 0 : model_random(200);
	w->lose_records = model_random(3) ? 0 : model_random(200);
	w->delay_service = MS / 10 + model_random(20 * MS);
	w->delay_peer = MS / 20 + model_random(2 * MS);
	w->fate = model_random(4) ? FATE_CRASH : model_random(2) ? FATE_BACKUP_LOST : FATE_NONE;
	w->fate_at = model_now + 5 * MS + model_random(model_random(2) ? 200 : 2 * WAIT) * MS;
	for (unsigned i = 0; i < 2; i++) /* by timers of their own they are seconds apart */
		opens_at[i] = model_random(10) ? model_now + MS + model_random(model_random(4) ? 60 : WAIT - 500) * MS : 0;
	followed = false;
	bytes_out = model_random(6000);
	bytes_in = model_random(6000);
}

static bool complete(const struct stack *service)
{
	return stack_received(&w->client) == bytes_out && w->client.got_fin && stack_received(service) == bytes_in && service->got_fin;
}

/* What has become of it: a run may end when nothing more can. */
static bool is_over(void)
{
	const struct stack *s = w->fallen && w->fate == FATE_CRASH ? &w->b.stack : &w->p.stack;

	if (w->fate != FATE_NONE && !w->fallen)
		return false;
	return complete(s) || w->client.state == STACK_RESET || (w->client.state == STACK_LISTEN && s->state == STACK_RESET);
}

static void check_end(void)
{
	const struct stack *s = w->fate == FATE_CRASH ? &w->b.stack : &w->p.stack;
	bool wide = w->p.stack.wscale != w->b.stack.wscale; /* a handshake in the middle of which that changes is reset */

	if (w->fate != FATE_CRASH) {
		MODEL_CHECK(complete(s) || !opens_at[0], "the primary's connection: %u", s->state);
		if (opens_at[1] && !opens_at[0] && w->fate == FATE_NONE)
			MODEL_CHECK(w->b.stack.state == STACK_RESET, "the backup's server was not refused");
		if (opens_at[0] && opens_at[1] && w->fate == FATE_NONE)
			MODEL_CHECK(followed, "both have opened it, %llu ms apart", (unsigned long long)(opens_at[1] - opens_at[0]) / MS);
		refused += w->b.stack.state == STACK_RESET;
		return;
	}
	carried_on += w->had_flow && w->protection == FTT_PROTECTED && complete(s);
	cut_short += w->client.state == STACK_RESET;
	if (w->had_flow && w->protection == FTT_PROTECTED && w->b.stack.state != STACK_RESET)
		MODEL_CHECK(complete(s), "protected, and ours is in state %u, the remote's in %u", s->state, w->client.state);
	if (w->had_flow && w->protection == FTT_PROTECTED && w->b.stack.state == STACK_RESET)
		MODEL_CHECK(wide && w->client.state != STACK_OPEN, "protected, and reset");
	if (!opens_at[1])
		MODEL_CHECK(w->client.state == STACK_RESET || w->client.state == STACK_LISTEN || w->client.state == STACK_SYN_RCVD || complete(&w->p.stack),
			    "nobody carries on what the remote end has: %u", w->client.state);
}

static void run(uint64_t seed)
{
	static struct world world;
	uint64_t began = model_now = 1000000 * MS;

	memset(&world, 0, sizeof(world));
	w = &world;
	model_seed = seed;
	w->chance = seed * 0x9e3779b97f4a7c15ull | 1;
	open_world();
	while (!is_over() && model_now - began < PATIENCE) {
		model_now += MS;
		while (w->n && w->heap[0].at <= model_now)
			handle(heap_pop());
		if (w->fate != FATE_NONE && !w->fallen && model_now >= w->fate_at)
			fall();
		if (w->takeover_at && !w->taken_over && model_now >= w->takeover_at) {
			w->taken_over = true;
			node_role(&w->b, FTT_MODE_SOLO, 2);
		}
		serve(&w->p, 0);
		serve(&w->b, 1);
		stack_tick(&w->client);
		use(&w->client, bytes_in);
		if (w->fate == FATE_NONE && !opens_at[0] && model_now - began > 2 * WAIT * MS)
			break;
		if (w->taken_over && !opens_at[0] && !opens_at[1])
			break;
		if (w->client.state != STACK_OPEN && w->taken_over && model_now > w->takeover_at + 30 * 1000 * MS)
			break;
	}
	check_end();
	while (w->n)
		free(heap_pop().wire);
	free(w->heap);
	w->p.alive = w->b.alive = true;
	copied_short += w->p.cut;
	node_close(&w->p);
	node_close(&w->b);
}

int main(int argc, char **argv)
{
	uint64_t first = argc > 1 ? strtoull(argv[1], NULL, 0) : 1, n = argc > 2 ? strtoull(argv[2], NULL, 0) : argc > 1 ? 1 : RUNS;

	for (uint64_t seed = first; seed < first + n; seed++)
		run(seed);
	if (n >= RUNS)
		CHECK(carried_on > n / 4 && cut_short > n / 200 && refused > n / 200 && copied_short > n);
	if (argc > 1)
		printf("%u carried on, %u cut short, %u refused, %llu copied short\n", carried_on, cut_short, refused, (unsigned long long)copied_short);
	return 0;
}
