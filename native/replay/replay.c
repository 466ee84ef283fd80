/* SPDX-License-Identifier: Apache-2.0 */
/*
 * replay.c - a worker (worker_packets.c and all flows) that is given a sequence of steps, without kernel, clock and threads.
 *
 * As a program (fttcp-replay, which `fttcp explain` runs) it reads steps from standard input, one a line, and writes what was
 * done in each, closed by a line with a dot. As a library it is given the same steps with a plane of hooks.h; tests/replay.py
 * compares the two. What only a worker's loop, its beginning and its end call is not there: it is linked without.
 *
 *   config NAME=NUMBER...            first line; fields of struct ftt_policy
 *   lease 0|1                        may the node emit, as far as the lease goes?
 *   role NOW MODE SESSION
 *   in|out NOW HEX                   a packet from the client, or of the local stack: the n-th has number n, from 0
 *   record NOW HEX                   of the other node
 *   tick NOW VOUCHED
 *   sweep NOW
 *   look NOW HEX                     at the flow of a struct ftt_key, and at what was counted
 *
 * What is done:
 *
 *   verdict NUMBER accept|drop HEX   on a packet; HEX: what it is now, if that differs
 *   emit client|stack HEX            a packet of the worker's own
 *   record HEX                       for the other node
 *   event KIND REASON VALUE
 *   flow HEX, held NUMBER WHY, counters HEX    struct ftt_flow_info (not there: no such flow), enum ftt_wait, struct ftt_counters
 */
#define _GNU_SOURCE
#include "engine/flows/act.h"
#include "engine/flows/role.h"
#include "engine/flows/hear.h"
#include "engine/flows/hold.h"
#include "engine/flows/renewal.h"
#include "engine/worker.h"
#include "engine/liveness/beat.h"
#include "engine/planes/emit.h"
#include "engine/planes/python/python.h"
#include "engine/planes/model/plane_model.h"
#include <stdio.h>

#define LIBRARY __attribute__((visibility("default")))

static struct ftt_engine engine;
static struct ftt_worker worker;
static struct ftt_plane_ops does;
static struct ftt_plane model = {.does = &does, .can = FTT_PLANE_HOLDS};
static FILE *done; /* what was done */
static struct ftt_packet given; /* for the plane of the tests; no bytes: none */
static uint64_t now;
static uint32_t packet_id;
static uint8_t record_bytes[FTT_CHANNEL_MAX];
static size_t record_len;

static void print_hex(const uint8_t *p, size_t n)
{
	while (n--)
		fprintf(done, "%02x", *p++);
	fputc('\n', done);
}

/* --- what the engine's parts see instead of queues, sockets and clock ------------------------------ */

uint64_t ftt_now_ns(void)
{
	return now;
}

static int receive(struct ftt_plane *p, unsigned lane, bool *full)
{
	(void)p, (void)lane;
	*full = false;
	return !!given.bytes;
}

static bool next(struct ftt_plane *p, unsigned lane, struct ftt_packet *k)
{
	(void)p, (void)lane;
	*k = given;
	given.bytes = NULL;
	return k->bytes;
}

static unsigned gathered(struct ftt_plane *p, unsigned lane)
{
	(void)p, (void)lane;
	return 0;
}

static void verdict(struct ftt_plane *p, uint16_t queue, uint32_t id, bool accept, const uint8_t *bytes, uint32_t len)
{
	(void)p, (void)queue;
	fprintf(done, "verdict %u %s ", id, accept ? "accept" : "drop");
	print_hex(bytes, bytes ? len : 0);
}

void ftt_raw_small(struct ftt_plane *p, const uint8_t *packet, size_t len)
{
	(void)p;
	fprintf(done, "emit stack ");
	print_hex(packet, len);
}

int ftt_raw_now(struct ftt_plane *p, const uint8_t *packet, size_t len, bool to_client)
{
	(void)p;
	fprintf(done, "emit %s ", to_client ? "client" : "stack");
	print_hex(packet, len);
	return 0;
}

void ftt_raw_bare(struct ftt_plane *p, const struct ftt_bare *b, bool to_client)
{
	uint8_t bytes[FTT_BARE_MAX];

	ftt_raw_now(p, bytes, ftt_build_bare(bytes, b), to_client);
}

void ftt_raw_send(struct ftt_plane *p)
{
	(void)p;
}

void ftt_raw_count(struct ftt_plane *p, struct ftt_counters *n)
{
	(void)p, (void)n;
}

int ftt_emit_open(struct ftt_emit *m, const struct ftt_shared *shared, uint32_t mark, char *err, size_t err_len)
{
	(void)m, (void)shared, (void)mark, (void)err, (void)err_len;
	return 0;
}

void ftt_emit_close(struct ftt_emit *m)
{
	(void)m;
}

void ftt_channel_put_record(struct ftt_channel *c, uint8_t to, const struct ftt_record *r, struct ftt_counters *n)
{
	uint8_t bytes[1024] = {0};
	size_t len = ftt_record_put(bytes, sizeof(bytes), r);

	(void)c;
	(void)n;
	if (!ftt_plane_tell(worker.plane, to, bytes, len))
		return;
	fprintf(done, "record ");
	print_hex(bytes, len);
}

int ftt_channel_receive(struct ftt_channel *c, unsigned lanes, struct ftt_channel_header *h, const uint8_t **records, size_t *len,
			struct ftt_counters *n)
{
	(void)lanes;
	(void)c;
	(void)n;
	if (!record_len)
		return 0;
	memset(h, 0, sizeof(*h));
	*records = record_bytes;
	*len = record_len;
	record_len = 0;
	return 1;
}

void ftt_event_post(struct ftt_engine *e, const struct ftt_event *ev)
{
	(void)e;
	fprintf(done, "event %u %u %llu\n", ev->kind, ev->reason, (unsigned long long)ev->value);
}

bool ftt_channel_send_apart(struct ftt_channel *c, uint8_t to, const struct ftt_record *r, struct ftt_counters *n)
{
	ftt_channel_put_record(c, to, r, n);
	return true;
}

void ftt_channel_flush(struct ftt_channel *c, struct ftt_counters *n)
{
	(void)c, (void)n;
}

/* There is no bulk lane. */
uint32_t ftt_lane_room(struct ftt_bulk_lane *l, uint8_t to)
{
	(void)l, (void)to;
	return 0;
}

void ftt_lane_push(struct ftt_bulk_lane *l, uint8_t to, uint64_t now_ns)
{
	(void)l, (void)to, (void)now_ns;
}

bool ftt_lane_send(struct ftt_bulk_lane *l, uint8_t to, uint8_t kind, const uint8_t *bytes, uint32_t len)
{
	(void)l, (void)to, (void)kind, (void)bytes, (void)len;
	return false;
}

bool ftt_mirror_probe(struct ftt_engine *e, const uint8_t *packet, uint32_t cap, const struct ftt_pkt *k)
{
	(void)e, (void)packet, (void)cap, (void)k;
	return false;
}

/* --- steps ------------------------------------------------------------------------------------------- */

static void set(const char *name, uint64_t value)
{
	struct ftt_policy *c = &engine.cfg.policy;
	const struct { const char *name; uint64_t *big; uint32_t *small; uint8_t *flag; } fields[] = {
		{.name = "detach_after_ns", .big = &c->detach_after_ns}, {.name = "end_grace_ns", .big = &c->end_grace_ns},
		{.name = "open_timeout_ns", .big = &c->open_timeout_ns},
		{.name = "opens_wait_ns", .big = &c->opens_wait_ns},
		{.name = "max_retained", .big = &c->max_retained}, {.name = "idle_timeout_ns", .big = &c->idle_timeout_ns}, {.name = "max_flows", .small = &c->max_flows},
		{.name = "max_half_open", .small = &c->max_half_open}, {.name = "max_held", .small = &c->max_held},
		{.name = "max_held_total", .small = &c->max_held_total}, {.name = "force_iss", .small = &c->shift.iss},
		{.name = "force_ts", .small = &c->shift.ts}, {.name = "space_seed", .small = &c->shift.seed}, {.name = "compare", .flag = &c->compare},
		{.name = "detach_divergent", .flag = &c->detach_divergent}, {.name = "order_service", .flag = &c->order_service}, {.name = "shift_spaces", .flag = &c->shift.on},
	};

	for (size_t i = 0; i < sizeof(fields) / sizeof(*fields); i++) {
		if (strcmp(name, fields[i].name))
			continue;
		if (fields[i].big)
			*fields[i].big = value;
		else if (fields[i].small)
			*fields[i].small = (uint32_t)value;
		else
			*fields[i].flag = (uint8_t)value;
		return;
	}
	fprintf(stderr, "config: there is no %s\n", name);
	exit(2);
}

static void open_model(void)
{
	does = plane_model;
	does.receive = receive;
	does.next = next;
	does.gathered = gathered;
	does.verdict = verdict;
	does.small = ftt_raw_small;
	does.now = ftt_raw_now;
	worker.plane = &model;
}

static void forget(void)
{
	struct ftt_tcp *c;

	if (!worker.e)
		return;
	done = fopen("/dev/null", "w"); /* what waits is dropped, and that is no step */
	if (!done)
		abort();
	while ((c = ftt_table_next(&worker.table, NULL)))
		ftt_tcp_forget(&worker, c, false);
	ftt_udp_forget_all(&worker);
	ftt_tcp_free_spent(&worker);
	ftt_table_close(&worker.table);
	ftt_udp_close(&worker.udp);
	ftt_plane_close(worker.plane);
	fclose(done);
	memset(&worker, 0, sizeof(worker));
	memset(&engine, 0, sizeof(engine));
	packet_id = 0;
	now = 0;
	record_len = 0;
}

/* Every TCP port is the group's and of UDP. */
static void configure(char *line, const struct ftt_hooks *hooks)
{
	char err[256] = "out of memory";

	forget();
	engine.cfg.workers = 1;
	engine.cfg.port[0] = (struct ftt_port){.port = 1, .last = 65535, .proto = 6};
	engine.cfg.port[1] = (struct ftt_port){.port = 1, .last = 65535, .proto = 17};
	engine.cfg.n_ports = 2;
	engine.cfg.hooks = hooks;
	for (char *word = strtok(line, " \n"); word; word = strtok(NULL, " \n")) {
		char *value = strchr(word, '=');

		if (!value)
			continue; /* "config" */
		*value++ = 0;
		set(word, strtoull(value, NULL, 10));
	}
	worker.e = &engine;
	ftt_renewals_open(&worker);
	worker.channel.fd[FTT_LOUD] = worker.channel.fd[FTT_QUIET] = -1;
	atomic_store(&engine.shared.vouched, 1);
	atomic_store(&engine.shared.lease_policy, FTT_LEASE_SELF);
	atomic_store(&engine.shared.lease_until_ns, UINT64_MAX);
	if (hooks)
		worker.plane = ftt_python_open(&engine.cfg, ftt_worker_owner(&worker), err, sizeof(err));
	else
		open_model();
	if (!worker.plane || ftt_table_open(&worker.table, engine.cfg.policy.max_flows) || ftt_udp_open(&worker.udp, &engine.cfg)) {
		fprintf(stderr, "%s\n", err);
		exit(2);
	}
}

static size_t unhex(const char *text, uint8_t *out, size_t room)
{
	size_t n = 0;
	unsigned byte;

	while (n < room && sscanf(text + 2 * n, "%2x", &byte) == 1)
		out[n++] = (uint8_t)byte;
	return n;
}

/* One that the plane has by now, or that it is given. */
static void packet(const char *hex, bool in)
{
	static uint8_t bytes[65536];

	if (!engine.cfg.hooks) {
		given = (struct ftt_packet){.id = packet_id++, .from_client = in, .csum_ready = true, .csum_unknown = true,
					    .bytes = bytes};
		given.cap = given.len = (uint32_t)unhex(hex, bytes, sizeof(bytes));
	}
	ftt_worker_packets(&worker, FTT_LANE_FLOWS, 1);
}

LIBRARY bool replay_flow(const struct ftt_key *key, struct ftt_flow_info *out)
{
	engine.worker[0] = &worker;
	return ftt_engine_flow(&engine, key, out);
}

LIBRARY void replay_counters(struct ftt_counters *out)
{
	*out = worker.n;
	out->held_now = worker.held_now;
}

static void look(const char *hex)
{
	struct ftt_counters counters;
	struct ftt_flow_info info;
	struct ftt_key key = {0};
	struct ftt_tcp *c;

	unhex(hex, (uint8_t *)&key, sizeof(key));
	if (replay_flow(&key, &info)) {
		fprintf(done, "flow ");
		print_hex((const uint8_t *)&info, sizeof(info));
	}
	c = ftt_table_find(&worker.table, &key);
	for (const struct ftt_held *h = c ? c->held : NULL; h; h = h->next)
		fprintf(done, "held %u %u\n", h->id, h->wait);
	replay_counters(&counters);
	fprintf(done, "counters ");
	print_hex((const uint8_t *)&counters, sizeof(counters));
}

static void step(char *line)
{
	char *what = strtok(line, " \n"), *first = strtok(NULL, " \n"), *second = strtok(NULL, " \n");
	char *third = strtok(NULL, " \n");

	if (!strcmp(what, "lease")) {
		atomic_store(&engine.shared.lease_policy, FTT_LEASE_SELF);
		atomic_store(&engine.shared.lease_until_ns, *first == '1' ? UINT64_MAX : 0);
		return;
	}
	now = strtoull(first, NULL, 10);
	if (!strcmp(what, "look")) {
		look(second);
		return;
	}
	if (!strcmp(what, "in") || !strcmp(what, "out")) {
		packet(second, *what == 'i');
	} else if (!strcmp(what, "record")) {
		record_len = unhex(second, record_bytes, sizeof(record_bytes));
		ftt_hear_records(&worker, FTT_ON_ANY, now);
	} else if (!strcmp(what, "tick")) {
		atomic_store(&engine.shared.vouched, second && *second == '1');
		ftt_flows_tick(&worker, now);
	} else if (!strcmp(what, "sweep")) {
		ftt_flows_sweep(&worker, now);
	} else if (!strcmp(what, "role")) {
		uint32_t mode = (uint32_t)strtoul(second, NULL, 10);

		atomic_store(&engine.shared.mode, mode);
		ftt_flows_role(&worker, mode, strtoull(third, NULL, 10), now);
		ftt_flows_rest(&worker, UINT32_MAX, now);
	} else {
		fprintf(stderr, "unknown step %s\n", what);
		exit(2);
	}
	ftt_worker_flush(&worker);
	ftt_tcp_send_commits(&worker);
}

/* --- a library ----------------------------------------------------------------------------------------- */

/* Begins anew, with the first line of a recording; `hooks` must stay where they are. */
LIBRARY void replay_open(const char *line, const struct ftt_hooks *hooks)
{
	char copy[4096];

	snprintf(copy, sizeof(copy), "%s", line);
	configure(copy, hooks);
}

/* Does one step; returns what was done, for free(). */
LIBRARY char *replay_step(const char *line)
{
	char *copy = strdup(line), *text = NULL;
	size_t size = 0;

	done = open_memstream(&text, &size);
	if (!copy || !done)
		abort();
	step(copy);
	fclose(done);
	free(copy);
	return text;
}

int main(void)
{
	char *line = NULL;
	size_t room = 0;

	done = stdout;
	while (getline(&line, &room, stdin) > 0) {
		if (!strncmp(line, "config", 6))
			configure(line, NULL);
		else
			step(line);
		puts(".");
		fflush(stdout);
	}
	forget();
	free(line);
	return 0;
}
