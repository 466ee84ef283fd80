/* SPDX-License-Identifier: Apache-2.0 */
/*
 * replay_tcp.c - the C engine's TCP (tcp.c, follow.c, compare.c, table.c) driven by a recorded sequence.
 *
 * Reads steps from standard input, one a line, and writes what the engine did in each, closed by a
 * line with a dot: verdicts, packets of its own, records for the other node, events. The same steps
 * are given to the Python engine by tests/unit/test_programmable_differential.py, which compares.
 *
 *   config NAME=NUMBER...            first line; fields of struct ftt_config, and port (one TCP port)
 *   lease 0|1                        may the node emit, as far as the lease goes?
 *   role NOW MODE SESSION
 *   in|out NOW HEX                   a packet from the client, or of the local stack
 *   record NOW HEX                   of the other node
 *   tick NOW VOUCHED
 *   sweep NOW
 */
#define _GNU_SOURCE
#include <stdlib.h>
#include <string.h>
#include "engine/flows/act.h"
#include "engine/flows/follow.h"
#include "engine/flows/hold.h"
#include "engine/flows/tcp.h"
#include "engine/worker.h"
#include "plane_model.h"

static struct ftt_engine engine;
static struct ftt_worker worker;
static struct ftt_plane_ops does;
static struct ftt_plane plane = {.does = &does};
static uint64_t now;
static uint32_t packet_id;
static uint8_t record_bytes[FTT_CHANNEL_MAX];
static size_t record_len;

static void print_hex(const uint8_t *p, size_t n)
{
	while (n--)
		printf("%02x", *p++);
	putchar('\n');
}

/* --- what the engine's parts see instead of queues, sockets and clock ------------------------------ */

uint64_t ftt_now_ns(void)
{
	return now;
}

static void verdict(struct ftt_plane *q, uint16_t queue, uint32_t id, bool accept, const uint8_t *bytes, uint32_t len)
{
	(void)q;
	(void)queue;
	printf("verdict %u %s ", id, accept ? "accept" : "drop");
	print_hex(bytes, bytes ? len : 0);
}

static void small(struct ftt_plane *m, const uint8_t *packet, size_t len)
{
	(void)m;
	printf("emit stack ");
	print_hex(packet, len);
}

static int emit_now(struct ftt_plane *m, const uint8_t *packet, size_t len, bool to_client)
{
	(void)m;
	printf("emit %s ", to_client ? "client" : "stack");
	print_hex(packet, len);
	return 0;
}

void ftt_channel_put_record(struct ftt_channel *c, uint8_t to, const struct ftt_record *r, struct ftt_counters *n)
{
	uint8_t bytes[1024];
	size_t len = ftt_record_put(bytes, sizeof(bytes), r);

	(void)c;
	(void)to;
	(void)n;
	printf("record ");
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
	printf("event %u %u %llu\n", ev->kind, ev->reason, (unsigned long long)ev->value);
}

/* UDP is not replayed */
void ftt_udp_record(struct ftt_worker *w, const struct ftt_record *r, uint8_t from, uint64_t now_ns)
{
	(void)w;
	(void)r;
	(void)from;
	(void)now_ns;
	abort();
}

void ftt_udp_new_role(struct ftt_udp_table *t)
{
	(void)t;
}

void ftt_udp_part(struct ftt_worker *w, const struct ftt_key *key, uint32_t start, uint8_t reason, uint64_t now_ns)
{
	(void)w, (void)key, (void)start, (void)reason, (void)now_ns;
	abort();
}

bool ftt_udp_rest(struct ftt_worker *w, unsigned most, uint64_t now_ns)
{
	(void)w;
	(void)most;
	(void)now_ns;
	return true;
}

void ftt_udp_go_solo(struct ftt_worker *w, uint64_t now_ns)
{
	(void)w;
	(void)now_ns;
}

/* --- steps ------------------------------------------------------------------------------------------- */

static void set(const char *name, uint64_t value)
{
	struct ftt_policy *c = &engine.cfg.policy;
	const struct { const char *name; uint64_t *big; uint32_t *small; uint8_t *flag; } fields[] = {
		{.name = "detach_after_ns", .big = &c->detach_after_ns}, {.name = "end_grace_ns", .big = &c->end_grace_ns},
		{.name = "open_timeout_ns", .big = &c->open_timeout_ns},
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

static void configure(char *line)
{
	engine.cfg.workers = 1;
	for (char *word = strtok(line, " \n"); word; word = strtok(NULL, " \n")) {
		char *value = strchr(word, '=');

		if (!value)
			continue; /* "config" */
		*value++ = 0;
		set(word, strtoull(value, NULL, 10));
	}
	worker.e = &engine;
	does = plane_model;
	does.verdict = verdict;
	does.small = small;
	does.now = emit_now;
	worker.plane = &plane;
	if (ftt_table_open(&worker.table, engine.cfg.policy.max_flows)) {
		fprintf(stderr, "out of memory\n");
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

static void packet(const char *hex, bool in)
{
	static uint8_t bytes[65536];
	struct ftt_packet p = {.id = packet_id++, .from_client = in, .csum_ready = true, .csum_unknown = true, .bytes = bytes};
	struct ftt_pkt k;
	struct ftt_seg s;

	p.cap = p.len = (uint32_t)unhex(hex, bytes, sizeof(bytes));
	if (ftt_parse(bytes, p.cap, p.len, &k, &s) != FTT_PARSED_TCP) {
		fprintf(stderr, "packet %u is no TCP segment\n", p.id);
		exit(2);
	}
	s.dir = in ? FTT_FROM_CLIENT : FTT_FROM_SERVER;
	if (in)
		ftt_tcp_from_client(&worker, &p, &k, &s, now);
	else
		ftt_tcp_from_server(&worker, &p, &k, &s, now);
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
	if (!strcmp(what, "in") || !strcmp(what, "out")) {
		packet(second, *what == 'i');
	} else if (!strcmp(what, "record")) {
		record_len = unhex(second, record_bytes, sizeof(record_bytes));
		ftt_follow_records(&worker, FTT_ON_ANY, now);
	} else if (!strcmp(what, "tick")) {
		atomic_store(&engine.shared.vouched, second && *second == '1');
		ftt_follow_tick(&worker, now);
	} else if (!strcmp(what, "sweep")) {
		ftt_follow_sweep(&worker, now);
	} else if (!strcmp(what, "role")) {
		uint32_t mode = (uint32_t)strtoul(second, NULL, 10);

		atomic_store(&engine.shared.mode, mode);
		ftt_follow_role(&worker, mode, strtoull(third, NULL, 10), now);
		ftt_follow_rest(&worker, UINT32_MAX, now);
	} else {
		fprintf(stderr, "unknown step %s\n", what);
		exit(2);
	}
	ftt_tcp_free_spent(&worker);
	ftt_tcp_send_injected(&worker);
	ftt_tcp_send_commits(&worker);
}

int main(void)
{
	char *line = NULL;
	size_t room = 0;

	while (getline(&line, &room, stdin) > 0) {
		if (!strncmp(line, "config", 6))
			configure(line);
		else
			step(line);
		puts(".");
	}
	free(line);
	return 0;
}
