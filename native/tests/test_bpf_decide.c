/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Decisions in the kernel are those of user space: parsed, verdict, edit, actions, flow and packet are compared byte for byte
 * (bpf_rig.c), for random packets of random flows, for stories that one flow lives through, and for packets that were recorded.
 *
 *   build/.../test_bpf_decide cost     prints what the verifier went through, and what a packet costs in the kernel
 */
#include <dirent.h>
#include <string.h>
#include "bpf_rig.h"
#include "flows.h"
#include "packet.h"

enum { STRANGE = 30000, STORIES = 600, STEPS = 60 };

static uint64_t state = 0x9e3779b97f4a7c15; /* xorshift64: every run is the same, but for the clock */
static struct ftt_bpf_node node;

static uint32_t draw(void)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return (uint32_t)(state >> 32);
}

static uint32_t below(uint32_t n)
{
	return draw() % n;
}

static uint32_t pick(const uint32_t *numbers, uint32_t n)
{
	return numbers[below(n)];
}

/* --- packets --------------------------------------------------------------------------------------------- */

/* Any number, one of the flow's, or near to it. */
static uint32_t number_near(const struct ftt_flow *f, enum ftt_dir dir, bool ack)
{
	const uint32_t client[] = {f->client_nxt, f->committed, f->local_rcv_nxt, f->hard.irs, f->local_edge, f->in_order};
	const uint32_t server[] = {f->local_snd_nxt, f->client_acked, f->sent, f->peer_snd_nxt, f->hard.service_iss, f->delivered_ack};
	bool clients = (dir == FTT_FROM_CLIENT) != ack;
	uint32_t base = clients ? pick(client, 6) : pick(server, 6);

	base += dir == FTT_FROM_SERVER && !clients ? f->hard.delta : 0;
	switch (below(8)) {
	case 0:
		return draw();
	case 1:
		return base + below(200) - 100;
	default:
		return base + below(3) - below(2);
	}
}

static uint32_t put_times(uint8_t *o, const struct ftt_flow *f, enum ftt_dir dir)
{
	uint32_t val = dir == FTT_FROM_CLIENT ? f->client_tsval : f->local_tsval, echo = dir == FTT_FROM_CLIENT ? f->max_tsecr : f->client_tsval;

	o[0] = TCPOPT_TIMESTAMPS;
	o[1] = 10;
	put_be32(o + 2, below(9) ? val + below(50) - below(5) : draw());
	put_be32(o + 6, below(9) ? echo + below(5) - below(3) : draw());
	return 10;
}

static uint32_t put_blocks(uint8_t *o, const struct ftt_flow *f, uint32_t blocks)
{
	o[0] = TCPOPT_SACK_BLOCKS;
	o[1] = (uint8_t)(2 + 8 * blocks);
	for (uint32_t i = 0; i < 2 * blocks; i++)
		put_be32(o + 2 + 4 * i, f->client_acked + below(3000) - 200);
	return o[1];
}

/* Some options, as they come, in at most 40 bytes: right ones, and at times what is none. Returns their length. */
static uint32_t put_options(uint8_t *o, const struct ftt_flow *f, enum ftt_dir dir)
{
	static const uint8_t small[][4] = {{TCPOPT_MSS, 4, 5, 0xb4}, {TCPOPT_WSCALE, 3, 7, TCPOPT_NOOP}, {TCPOPT_SACK_OK, 2, TCPOPT_NOOP, TCPOPT_NOOP},
					   {TCPOPT_MPTCP, 4, 0, 1}, {253, 4, 1, 2}, {TCPOPT_NOOP, TCPOPT_NOOP, 77, 2}};
	uint32_t len = 0;

	while (len < 40 && below(5)) {
		uint32_t what = below(12), left = 40 - len;

		if (what < 5 && left >= 10) {
			len += put_times(o + len, f, dir);
		} else if (what < 7 && left >= 10) {
			len += put_blocks(o + len, f, 1 + below((left - 2) / 8));
		} else if (what == 7 && left >= 18) {
			o[len] = below(2) ? TCPOPT_MD5 : TCPOPT_AUTH;
			o[len + 1] = 18;
			len += 18;
		} else if (what < 11 && left >= 4) {
			memcpy(o + len, small[below(6)], 4);
			len += 4;
		} else {
			o[len++] = (uint8_t)(below(4) ? TCPOPT_NOOP : draw());
		}
	}
	while (len % 4)
		o[len++] = TCPOPT_NOOP;
	return len;
}

static struct packet packet_of(const struct ftt_flow *f, enum ftt_dir dir)
{
	static const uint8_t payload[1400], options4[8] = {7, 7, 4}, headers6[16] = {6, 0, 1, 4};
	static const uint8_t flags[] = {TCP_ACK, TCP_ACK, TCP_ACK, TCP_ACK | TCP_PSH, TCP_ACK | TCP_FIN, TCP_RST, TCP_RST | TCP_ACK, TCP_SYN, TCP_SYN | TCP_ACK};
	static const uint32_t sizes[] = {0, 0, 1, 64, 1400};
	uint8_t options[44] = {0};
	struct packet_spec spec = {.family = below(3) ? 4 : 6, .sport = 40000, .dport = 80, .wnd = (uint16_t)(below(4) ? 500 : draw()),
				   .seq = number_near(f, dir, false), .ack = number_near(f, dir, true), .options = options, .payload = payload};
	struct packet p;

	spec.flags = below(30) ? flags[below(sizeof(flags))] : (uint8_t)draw();
	spec.payload_len = pick(sizes, 5);
	spec.options_len = put_options(options, f, dir);
	if (!below(8)) {
		spec.between = spec.family == 4 ? options4 : headers6;
		spec.between_len = 8;
	}
	p = packet_tcp(&spec);
	if (spec.family == 6 && spec.between)
		p.bytes[6] = 60;
	if (!below(40))
		p.bytes[below(p.len)] ^= (uint8_t)(1 << below(8));
	return p;
}

/* --- flows and nodes ------------------------------------------------------------------------------------- */

static struct ends some_ends(void)
{
	struct ends x = *all_ends[below(2)];

	if (below(2))
		return x;
	x.irs = draw();
	x.service_iss = draw();
	x.backup_iss = draw();
	x.client_ts = below(4) ? draw() | 1 : 0;
	x.service_ts = draw();
	x.backup_ts = draw();
	x.service_wscale = (uint8_t)below(15);
	x.backup_wscale = (uint8_t)below(15);
	return x;
}

static void some_node(uint8_t mode)
{
	node = (struct ftt_bpf_node){.policy = policy, .mode = mode, .lease_until_ns = below(8) ? UINT64_MAX : 0, .vouched = below(4), .watched = below(2),
				     .doubted = !below(8), .in_step = !below(4)};
	node.policy.eager = !below(16);
	node.policy.shift = (struct ftt_shift){.on = !below(8), .iss = draw(), .ts = draw(), .seed = below(2) ? draw() : 0};
}

/* A flow as far as one may have come, and the node of it. */
static struct ftt_flow some_flow(void)
{
	static const uint8_t modes[] = {FTT_MODE_PAIRED, FTT_MODE_BACKUP, FTT_MODE_SOLO};
	const struct ends x = some_ends();
	uint64_t now = bpf_now();
	struct ftt_flow f;

	switch (below(5)) {
	case 0:
		ftt_flow_init(&f, x.irs, now);
		some_node(modes[below(3)]);
		return f;
	case 1:
		open_primary(&f, &x, now);
		break;
	case 2:
		make_backup(&f, &x, now);
		some_node(FTT_MODE_BACKUP);
		return f;
	case 3:
		make_backup(&f, &x, now);
		ftt_flow_takeover(&f, node_at(FTT_MODE_SOLO, now));
		some_node(FTT_MODE_SOLO);
		return f;
	default:
		make_primary(&f, &x, now);
		f.bits |= below(4) ? 0 : FTT_F_SERVICE;
		break;
	}
	some_node(FTT_MODE_PAIRED);
	return f;
}

/* What no story leads to, within what the types of its fields allow. */
static void twist(struct ftt_flow *f)
{
	uint32_t *words[] = {&f->bits, &f->client_acked, &f->client_nxt, &f->sent, &f->local_snd_nxt, &f->local_rcv_nxt, &f->local_edge, &f->committed,
			     &f->peer_snd_nxt, &f->delivered_ack, &f->claim, &f->ts_recent, &f->told, &f->fin_end, &f->hard.delta, &f->told_ack};

	for (uint32_t i = below(4); i; i--)
		*words[below(16)] += below(3) ? below(2000) - 1000 : draw();
	if (!below(4))
		f->bits ^= 1u << below(32);
	if (!below(4))
		f->protection = (uint8_t)below(FTT_CATCHING_UP + 1);
	if (!below(8))
		f->held_since_ns = bpf_now();
	if (!below(8))
		f->end_since_ns = bpf_now();
}

/* --- the tests ------------------------------------------------------------------------------------------- */

static void test_strange_flows(void)
{
	for (uint32_t i = 0; i < STRANGE; i++) {
		enum ftt_dir dir = below(2) ? FTT_FROM_CLIENT : FTT_FROM_SERVER;
		struct ftt_flow f = some_flow();
		struct packet p;

		twist(&f);
		p = packet_of(&f, dir);
		bpf_decide(&node, below(20) ? &f : NULL, p.bytes, p.len, dir);
	}
}

/* What the other node tells meanwhile. */
static void hear(struct ftt_flow *f)
{
	struct ftt_record r = {.irs = f->hard.irs, .service_iss = f->hard.service_iss};
	const struct ftt_env *env = node_at(node.mode, bpf_now());

	r.rcv_nxt = f->client_nxt;
	r.edge = r.rcv_nxt + 60000;
	r.snd_nxt = f->local_snd_nxt + below(2) * below(2000);
	r.type = f->protection == FTT_OPENING ? FTT_REC_OPENED : node.mode == FTT_MODE_PAIRED ? FTT_REC_COMMIT : FTT_REC_OUTPUT;
	if (node.mode == FTT_MODE_PAIRED)
		ftt_primary_record(f, &r, env);
	else if (node.mode == FTT_MODE_BACKUP)
		ftt_backup_output(f, &r);
}

static void test_stories(void)
{
	for (uint32_t i = 0; i < STORIES; i++) {
		struct ftt_flow f = some_flow();

		for (uint32_t step = 0; step < STEPS; step++) {
			enum ftt_dir dir = below(2) ? FTT_FROM_CLIENT : FTT_FROM_SERVER;
			struct packet p = packet_of(&f, dir);

			bpf_decide(&node, &f, p.bytes, p.len, dir);
			if (!below(3))
				hear(&f);
		}
	}
}

static uint32_t read_hex(const char *text, uint8_t *bytes, uint32_t room)
{
	uint32_t n = 0;
	unsigned byte;

	while (n < room && sscanf(text + 2 * n, "%2x", &byte) == 1)
		bytes[n++] = (uint8_t)byte;
	return n;
}

/* A recording of one node (tests/vectors/README.md): its packets, with what the other node may have told in between. */
static void live_through(const char *name, uint8_t mode, uint32_t service_iss)
{
	char command[128], *line = NULL, way[8];
	static uint8_t bytes[PACKET_MAX];
	struct ftt_flow f = {0};
	unsigned found = bpf_counts.tcp;
	size_t room = 0;
	FILE *steps;
	int at;

	some_node(mode);
	node.lease_until_ns = UINT64_MAX;
	snprintf(command, sizeof(command), "exec zcat ../../tests/vectors/%s.steps.gz", name);
	CHECK((steps = popen(command, "r")));
	while (getline(&line, &room, steps) > 0) {
		struct ftt_record open = {.type = FTT_REC_OPEN, .flags = FTT_REC_TS | FTT_REC_WSCALE, .service_iss = service_iss, .tsval = 5000, .wscale = 10};
		uint32_t len;

		if (sscanf(line, "%7s %*u %n", way, &at) != 1 || (strcmp(way, "in") && strcmp(way, "out")))
			continue;
		len = read_hex(line + at, bytes, PACKET_MAX);
		if (!f.opened_ns)
			ftt_flow_init(&f, get_be32(bytes + 24), bpf_now());
		bpf_decide(&node, &f, bytes, len, way[0] == 'i' ? FTT_FROM_CLIENT : FTT_FROM_SERVER);
		if (mode == FTT_MODE_BACKUP && f.bits & FTT_F_SYNACK && !(f.bits & FTT_F_MAPPED))
			ftt_backup_open(&f, &open, node_at(mode, bpf_now()));
		hear(&f);
	}
	CHECK_EQ(pclose(steps), 0);
	free(line);
	CHECK(bpf_counts.tcp - found > 100 && f.bits & FTT_F_MAPPED);
}

static void test_recordings(void)
{
	live_through("crash-alpha", FTT_MODE_PAIRED, 0);
	live_through("shifted-alpha", FTT_MODE_PAIRED, 0);
	live_through("crash-beta", FTT_MODE_BACKUP, 0xf9847687);
	live_through("shifted-beta", FTT_MODE_BACKUP, 0xffff2030);
}

/* The seeds of the fuzzer, packets of any kind behind two bytes of its own; and what is cut short. */
static void test_odd_packets(void)
{
	DIR *seeds = opendir("../fuzz/corpus/parse");
	static uint8_t bytes[PACKET_MAX];
	const struct dirent *entry;
	unsigned n = 0;

	CHECK(seeds);
	while ((entry = readdir(seeds))) {
		char path[512];
		FILE *file;
		size_t len;

		snprintf(path, sizeof(path), "../fuzz/corpus/parse/%s", entry->d_name);
		if (entry->d_name[0] == '.' || !(file = fopen(path, "rb")))
			continue;
		len = fread(bytes, 1, sizeof(bytes), file);
		fclose(file);
		for (uint32_t cut = (uint32_t)len - 2; cut >= (bytes[2] >> 4 == 4 ? 20 : 40); cut--) { /* a shorter one the kernel does not try */
			struct ftt_flow f = some_flow();

			bpf_decide(&node, &f, bytes + 2, cut, cut & 1 ? FTT_FROM_CLIENT : FTT_FROM_SERVER);
		}
		n++;
	}
	closedir(seeds);
	CHECK(n > 8);
}

static void print_cost(const char *what, const struct ftt_flow *f, const struct packet *p, enum ftt_dir dir)
{
	printf("%s: %u ns\n", what, bpf_cost_ns(&node, f, p->bytes, p->len, dir));
}

/* Packets that leave the flow as it is, so that each turn decides alike: the backup's client echoes a time that is edited to the same. */
static void print_costs(void)
{
	static const uint8_t times[12] = {TCPOPT_NOOP, TCPOPT_NOOP, TCPOPT_TIMESTAMPS, 10, 0, 0, 0, 200, 0, 1, 0, 0};
	struct ends x = plain;
	struct packet_spec in = {.family = 4, .sport = 40000, .dport = 80, .wnd = 500, .flags = TCP_ACK, .seq = x.irs + 1, .ack = x.service_iss + 1,
				 .options = times, .options_len = sizeof(times)};
	struct packet_spec out = {.family = 4, .sport = 80, .dport = 40000, .wnd = 500, .flags = TCP_ACK, .seq = x.service_iss + 1, .ack = x.irs + 1};
	struct packet asks = packet_tcp(&in), answers = packet_tcp(&out);
	struct ftt_flow f;

	for (int dir = 0; dir < 2; dir++) {
		uint32_t size, verified = bpf_verified((enum ftt_dir)dir, &size);

		printf("%s: %u instructions, %u verified\n", dir == FTT_FROM_CLIENT ? "from_client" : "from_server", size, verified);
	}
	x.backup_iss = x.service_iss;
	node = (struct ftt_bpf_node){.policy = policy, .mode = FTT_MODE_PAIRED, .lease_until_ns = UINT64_MAX, .vouched = true, .watched = true};
	make_primary(&f, &x, bpf_now());
	print_cost("of no flow", NULL, &asks, FTT_FROM_CLIENT);
	print_cost("primary, of its client", &f, &asks, FTT_FROM_CLIENT);
	print_cost("primary, of its server", &f, &answers, FTT_FROM_SERVER);
	make_backup(&f, &x, bpf_now());
	node.mode = FTT_MODE_BACKUP;
	print_cost("backup, of its client, edited", &f, &asks, FTT_FROM_CLIENT);
	print_cost("backup, of its server", &f, &answers, FTT_FROM_SERVER);
	bpf_decide(&node, &f, asks.bytes, asks.len, FTT_FROM_CLIENT);
	CHECK_EQ(bpf_counts.edited, 1);
}

int main(int argc, char **argv)
{
	if (!bpf_begin())
		return SKIPPED;
	if (argc > 1 && !strcmp(argv[1], "cost")) {
		print_costs();
	} else {
		test_strange_flows();
		test_stories();
		test_recordings();
		test_odd_packets();
		CHECK(bpf_counts.passed > 10000 && bpf_counts.edited > 5000 && bpf_counts.dropped > 10000 && bpf_counts.unknown > 1000);
	}
	bpf_end();
	return 0;
}
