/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Thousands of connections through a pair whose primary (or backup) is lost at a random moment,
 * over networks that lose and reorder. Checked at every packet: I1 (only the owner speaks), I2
 * (nothing is acknowledged that the backup's kernel does not have), I3 (every byte of both
 * streams, and that a protected flow comes to its end, any other one to its end or to a reset), that the backup's server hears nothing which answers
 * what it has not said, windows that never shrink; with order = "service", on a third of the seeds, that no client has output which the
 * backup's server has not given.
 *
 *   test_model             the usual runs
 *   test_model SEED        one run, told in short
 *   test_model SEED COUNT  COUNT runs from SEED on
 */
#define _GNU_SOURCE
#include <string.h>
#include "model_checks.h"
#include "packet.h"

#define RUNS 3000u
#define PATIENCE (240 * 1000 * MS)
#define TICK MS

uint64_t model_seed, model_now;

enum end { END_COMPLETE, END_RESET, END_STUCK, ENDS };

uint32_t model_random(uint32_t below)
{
	return model_draw(&w->chance, below);
}

bool model_chance(uint32_t per_mille)
{
	return model_random(1000) < per_mille;
}

static uint8_t byte_at(bool from_client, uint32_t offset)
{
	uint32_t h = (offset + (from_client ? 0x10000 : 0) + (uint32_t)model_seed * 31) * 2654435761u;

	return (uint8_t)(h >> 24);
}

/* What the backup's server says, which is something else on some seeds. */
static uint8_t backup_byte(uint32_t offset)
{
	uint32_t beyond = offset - w->differ_at;

	if (w->differs == SAME || offset < w->differ_at)
		return byte_at(false, offset);
	if (w->differs == OTHER)
		return byte_at(false, offset) ^ (beyond < w->differ_by ? 0x55 : 0);
	if (w->differs == SHORTER)
		return byte_at(false, offset + w->differ_by);
	return beyond < w->differ_by ? 0xee : byte_at(false, offset - w->differ_by);
}

uint8_t model_byte(const struct stack *sender, uint32_t offset)
{
	if (sender == &w->p.stack && w->last_words && offset + 1 >= w->last_words)
		return ~byte_at(false, offset);
	return sender == &w->b.stack ? backup_byte(offset) : byte_at(sender->client, offset);
}

/*
 * A client's stream is that of one server; only where both differ in equal length may it be of one and then of
 * the other, but never within the difference.
 */
bool model_is_right(const struct stack *receiver, uint32_t offset, uint8_t byte)
{
	bool p = byte == byte_at(!receiver->client, offset), b = byte == backup_byte(offset);

	if (!receiver->client)
		return p;
	w->not_p |= !p;
	w->not_b |= !b;
	return (!w->not_p || !w->not_b) || (w->differs == OTHER && p && b);
}

/* How much a server says in answer to `read` bytes of requests. */
static uint64_t answers(const struct stack *s, uint64_t read)
{
	uint64_t n = read / w->req * w->resp;

	if (s != &w->b.stack || w->differs <= OTHER || n <= w->differ_at)
		return n;
	if (w->differs == LONGER)
		return n + w->differ_by;
	return n < w->differ_at + w->differ_by ? w->differ_at : n - w->differ_by;
}

/* --- what is sent ------------------------------------------------------------------------------------ */

static void to_client(struct node *n, struct wire *packet)
{
	struct ftt_pkt k;
	struct ftt_seg g;

	MODEL_CHECK(n->alive && ftt_may_emit(&n->engine.shared, model_now), "%s spoke out of turn", n->name);
	MODEL_CHECK(ftt_parse(packet->bytes, packet->len, packet->len, &k, &g) == FTT_PARSED_TCP, "%s", n->name);
	if (n == &w->p)
		check_commit(n, &g);
	if (n == &w->p && w->service)
		check_service(n, &g);
	if (!w->taken_over)
		check_window(&g);
	carry(packet, TO_CLIENT, w->lose_service, w->delay_service);
}

static void to_peer(struct node *n, struct wire *records)
{
	carry(records, n == &w->p ? RECORDS_TO_B : RECORDS_TO_P, w->lose_records, w->delay_peer);
}

static void client_sends(struct stack *s, struct wire *packet)
{
	struct ftt_pkt k;
	struct ftt_seg g;
	uint32_t end;

	MODEL_CHECK(ftt_parse(packet->bytes, packet->len, packet->len, &k, &g) == FTT_PARSED_TCP, "the client");
	end = ftt_seg_end(&g) - s->iss;
	for (; !(g.flags & TCP_SYN) && w->spoken < end; w->spoken++)
		w->spoke_after[w->spoken] = g.ack - s->irs;
	carry(packet, TO_SERVICE, w->lose_service, w->delay_service);
}

/* --- the world --------------------------------------------------------------------------------------- */

static void to_service(struct wire *packet)
{
	if (w->p.alive && w->p.worker.mode != FTT_MODE_IDLE) {
		carry(wire_new(packet->bytes, packet->len), MIRRORED, w->lose_mirror, w->delay_peer);
		node_from_client(&w->p, packet);
		node_run(&w->p);
	} else if (w->taken_over) {
		node_from_client(&w->b, packet);
		node_run(&w->b);
	} else {
		free(packet);
	}
}

static void handle(struct event e)
{
	struct node *n = e.what == RECORDS_TO_P ? &w->p : &w->b;

	switch (e.what) {
	case TO_SERVICE:
		to_service(e.wire);
		return;
	case TO_CLIENT:
		stack_receive(&w->client, e.wire);
		break;
	case MIRRORED:
		if (w->b.alive) {
			node_from_client(&w->b, e.wire);
			node_run(&w->b);
			check_order();
			return;
		}
		break;
	default:
		if (n->alive)
			node_from_peer(n, e.wire);
		check_order();
		break;
	}
	free(e.wire);
}

static uint64_t least(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static void serve(struct node *n, int which)
{
	struct stack *s = &n->stack;
	uint64_t read = least(stack_received(s), s->read + model_random(w->read_speed[which] + 1));
	uint64_t due = answers(s, read), written;

	if (!n->alive || s->state != STACK_OPEN || (!which && w->last_words))
		return;
	stack_read(s, read);
	written = least(due, s->written + model_random(w->write_speed[which] + 1));
	stack_write(s, written, written == answers(s, (uint64_t)w->req * w->count) && (w->server_ends_first || s->got_fin));
	node_run(n);
}

static void use(struct stack *s)
{
	uint64_t read = least(stack_received(s), s->read + model_random(w->client_speed + 1));
	uint64_t total = (uint64_t)w->req * w->count, due = total;

	stack_read(s, read);
	if (w->lockstep)
		due = least(total, (w->resp ? read / w->resp + 1 : w->count) * w->req);
	due = least(due, s->written + model_random(w->client_speed + 1));
	stack_write(s, due, due == total && (w->client_ends_early || read == (uint64_t)w->resp * w->count));
	stack_tick(s);
}

/* Its main process is dead, which the engine sees; what it had forked says so to the client, and ends. */
static void die(struct node *n)
{
	struct stack *s = &n->stack;

	atomic_store(&n->engine.shared.gone_ns, model_now);
	w->last_words = s->written + 1;
	if (s->state == STACK_OPEN && !s->fin_written)
		stack_write(s, s->written + 1 + model_random(60), true);
	node_run(n);
}

static void fall(void)
{
	struct ftt_tcp *c = node_flow(&w->p);

	w->fallen = true;
	w->had_flow = c;
	w->protection = c ? c->flow.protection : FTT_NEW;
	switch (w->fate) {
	case FATE_CRASH:
		w->p.alive = false;
		break;
	case FATE_SWITCHOVER:
		node_role(&w->p, FTT_MODE_IDLE, 1);
		w->p.alive = false;
		break;
	case FATE_SERVER_DIES:
		die(&w->p);
		break;
	default:
		w->b.alive = false;
		break;
	}
}

/* Is a record under way to the backup that tells of more output than it knows of? Then the client may have that already. */
static bool output_comes_late(void)
{
	const struct ftt_tcp *c = node_flow(&w->b);
	struct ftt_record r;

	for (size_t i = 0; c && i < w->n; i++)
		for (size_t at = 0, used; w->heap[i].what == RECORDS_TO_B && at < w->heap[i].wire->len; at += used) {
			used = ftt_record_get(w->heap[i].wire->bytes + at, w->heap[i].wire->len - at, &r);
			CHECK(used);
			if (r.type == FTT_REC_OUTPUT && seq_gt(r.snd_nxt, c->flow.sent))
				return true;
		}
	return false;
}

static void survive(void)
{
	w->taken_over = true;
	w->late = output_comes_late();
	if (w->fate == FATE_SERVER_DIES) {
		node_role(&w->p, FTT_MODE_IDLE, 1);
		w->p.alive = false;
	}
	if (w->fate == FATE_BACKUP_LOST)
		node_role(&w->p, FTT_MODE_SOLO, 2);
	else
		node_role(&w->b, FTT_MODE_SOLO, 1);
}

/* From now on new flows would be protected; the one that was taken over goes on as it is. */
static void join(void)
{
	struct ftt_tcp *c = node_flow(&w->b);

	w->joined = true;
	if (w->b.alive && c && c->flow.bits & FTT_F_MAPPED)
		node_role(&w->b, FTT_MODE_PAIRED, 2);
}

static void tick(void)
{
	if (w->fate != FATE_NONE && !w->fallen && model_now >= w->fate_at)
		fall();
	if (w->fallen && !w->taken_over && model_now >= w->takeover_at)
		survive();
	if (w->taken_over && !w->joined && w->fate != FATE_BACKUP_LOST && model_now >= w->join_at)
		join();
	use(&w->client);
	serve(&w->p, 0);
	serve(&w->b, 1);
	if (w->p.alive)
		node_tick(&w->p);
	if (w->b.alive)
		node_tick(&w->b);
	check_order();
}

static bool served(const struct node *n)
{
	return n->stack.got_fin && stack_received(&n->stack) == (uint64_t)w->req * w->count;
}

static bool complete(void)
{
	uint64_t asked = (uint64_t)w->req * w->count, got = stack_received(&w->client);

	return w->client.got_fin && (got == answers(&w->p.stack, asked) || got == answers(&w->b.stack, asked)) &&
	       ((w->p.alive && served(&w->p)) || (w->b.alive && w->taken_over && served(&w->b)));
}

static void prepare_networks(void)
{
	static const uint32_t speeds[] = {10, 60, 300, 2000, 20000};

	w->lose_service = model_chance(500) ? 0 : model_random(80);
	w->lose_mirror = model_chance(500) ? 0 : model_random(150);
	w->lose_records = model_chance(500) ? 0 : model_random(200);
	w->delay_service = MS / 20 + model_random(20000000) / (1 + model_random(40));
	w->delay_peer = MS / 20 + model_random(1000000);
	for (int i = 0; i < 2; i++) {
		w->read_speed[i] = speeds[model_random(5)];
		w->write_speed[i] = speeds[model_random(5)];
	}
	w->client_speed = speeds[1 + model_random(4)];
}

static void prepare(uint64_t seed)
{
	uint8_t family = seed & 1 ? 4 : 6;

	model_seed = seed;
	model_now = 1000000 * MS;
	w->chance = (seed + 1) * 0x9e3779b97f4a7c15ull;
	for (int i = 0; i < 8; i++)
		model_random(2);
	w->count = 1 + model_random(6);
	w->req = 1 + (model_chance(500) ? model_random(100) : model_random(3000));
	w->resp = model_chance(500) ? model_random(100) : model_random(3000);
	w->lockstep = model_chance(500);
	w->client_ends_early = model_chance(300);
	w->server_ends_first = model_chance(500);
	if (w->resp && model_chance(250)) {
		w->differs = OTHER + model_random(3);
		w->differ_at = model_random(w->resp * w->count);
		w->differ_by = 1 + model_random(model_chance(500) ? 3 : 300);
		if (w->differ_by > w->resp - w->differ_at % w->resp) /* within one answer */
			w->differ_by = w->resp - w->differ_at % w->resp;
	}
	prepare_networks();
	node_open(&w->p, "primary", FTT_MODE_PAIRED, family);
	node_open(&w->b, "backup", FTT_MODE_BACKUP, family);
	if (model_chance(200)) /* hardly any patience: flows are detached */
		w->p.engine.cfg.policy.detach_after_ns = (5 + model_random(60)) * MS;
	w->p.to_client = w->b.to_client = to_client;
	w->p.to_peer = w->b.to_peer = to_peer;
	w->b.stack.rto_min = 5 * MS;
	stack_init(&w->client, true, family);
	w->client.send = client_sends;
	w->p.stack.peer = w->b.stack.peer = &w->client;
	w->service = seed / 8 % 3 == 0;
	w->p.engine.cfg.policy.order_service = w->b.engine.cfg.policy.order_service = w->service;
	if (w->service) /* packets of several segments, of which the backup's stack cannot send all at once */
		w->p.stack.burst = 1 + (uint32_t)(seed / 24 % MODEL_BURST_MAX);
	if (seed / 2 / FATES % 8 == 5) /* a plane that keeps no packets */
		w->p.plane.can = w->b.plane.can = 0;
	w->fate = (enum fate)(seed / 2 % FATES);
	w->fate_at = model_now + model_random(1000) * model_random(1000) * 2 * MS / 1000;
	w->join_at = w->fate_at + (model_chance(300) ? 150 + model_random(500) : 1000000) * MS;
	w->takeover_at = w->fate_at + (w->fate == FATE_SWITCHOVER || w->fate == FATE_SERVER_DIES ? (1 + model_random(5)) * MS : (20 + model_random(130)) * MS);
}

static enum end run(uint64_t seed)
{
	uint64_t next_tick, until;

	prepare(seed);
	next_tick = model_now;
	until = w->fate_at + PATIENCE;
	stack_connect(&w->client);
	while (model_now < until && !complete() && w->client.state != STACK_RESET) {
		if (w->n && w->heap[0].at <= next_tick) {
			model_now = w->heap[0].at;
			handle(heap_pop());
		} else {
			model_now = next_tick;
			next_tick += TICK;
			tick();
		}
	}
	return complete() ? END_COMPLETE : w->client.state == STACK_RESET ? END_RESET : END_STUCK;
}

static void tell(enum end end)
{
	static const char *const fates[] = {"none", "crash", "switchover", "backup lost", "server dies"};
	static const char *const ends[] = {"complete", "reset", "stuck"};
	const struct ftt_tcp *c = node_flow(&w->b);

	printf("seed %llu: %u x %u bytes in, %u out; fate %s%s, flow was %u; %s after %llu ms\n",
	       (unsigned long long)model_seed, w->count, w->req, w->resp, fates[w->fate], w->fallen ? "" : " (later)",
	       w->protection, ends[end], (unsigned long long)(model_now / MS - 1000000));
	printf("  client: sent %llu, acknowledged %llu, received %llu; discarded for unsent: client %llu, p %llu, b %llu\n",
	       (unsigned long long)w->client.snd_max, (unsigned long long)w->client.snd_una,
	       (unsigned long long)stack_received(&w->client), (unsigned long long)w->client.discarded_unsent,
	       (unsigned long long)w->p.stack.discarded_unsent, (unsigned long long)w->b.stack.discarded_unsent);
	printf("  backup: state %d, received %llu, sent %llu, acknowledged %llu, written %llu\n", w->b.stack.state,
	       (unsigned long long)stack_received(&w->b.stack), (unsigned long long)w->b.stack.snd_max,
	       (unsigned long long)w->b.stack.snd_una, (unsigned long long)w->b.stack.written);
	if (c)
		printf("  backup's flow: protection %u, bits %x, client_acked +%u, snd_nxt +%u, rcv_nxt +%u\n",
		       c->flow.protection, c->flow.bits, c->flow.client_acked - c->flow.hard.service_iss,
		       c->flow.local_snd_nxt - c->flow.hard.service_iss, c->flow.local_rcv_nxt - c->flow.hard.irs);
}

static bool must_complete(void)
{
	if (w->fate == FATE_NONE || !w->fallen || w->fate == FATE_BACKUP_LOST)
		return true;
	if ((w->differs || w->lose_records || w->late) && w->b.worker.n.unverified_resets)
		return false; /* it was not known, or not true, that what the client had was the backup's as well */
	if (!(w->b.plane.can & FTT_PLANE_HOLDS) && w->b.worker.n.unverified_resets)
		return false; /* the client had output for input that was lost on the mirror, and did not say it again in time */
	return !w->had_flow || w->protection == FTT_NEW || w->protection == FTT_OPENING || w->protection == FTT_PROTECTED;
}

/* The client has all that one server said, which is not what it asked for. */
static bool may_be_stuck(void)
{
	return w->differs > OTHER && w->taken_over && stack_received(&w->client) == w->b.stack.written;
}

static void clear(void)
{
	while (w->n)
		free(heap_pop().wire);
	free(w->heap);
	node_close(&w->p);
	node_close(&w->b);
	memset(w, 0, sizeof(*w));
}

/* Once there were wrong bytes: OUTPUT was lost, the client's mirrored word of what it has was not. */
static const uint64_t wrong_once[] = {605558, 605559};

int main(int argc, char **argv)
{
	uint64_t first = argc > 1 ? strtoull(argv[1], NULL, 0) : 1;
	uint64_t count = argc > 2 ? strtoull(argv[2], NULL, 0) : argc > 1 ? 1 : RUNS;
	uint32_t ends[ENDS] = {0}, failed = 0, survived = 0;

	w = calloc(1, sizeof(*w));
	CHECK(w);
	for (uint64_t i = 0; i < count + (argc > 1 ? 0 : sizeof(wrong_once) / sizeof(wrong_once[0])); i++) {
		uint64_t seed = i < count ? first + i : wrong_once[i - count];
		enum end end = run(seed);

		ends[end]++;
		survived += end == END_COMPLETE && w->taken_over;
		if (end == END_STUCK ? !may_be_stuck() : end == END_RESET && must_complete()) {
			failed++;
			if (failed <= 5)
				tell(end);
		} else if (count == 1) {
			tell(end);
		}
		clear();
	}
	free(w);
	printf("seeds %llu to %llu: %u complete (%u of them beyond a loss), %u reset, %u stuck, %u against the rules\n",
	       (unsigned long long)first, (unsigned long long)(first + count - 1), ends[END_COMPLETE], survived,
	       ends[END_RESET], ends[END_STUCK], failed);
	return failed != 0;
}
