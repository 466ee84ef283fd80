/* SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include "bpf_rig.h"
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <limits.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include "check.h"
#include "core/tcp/rewrite.h"
#include "core/tcp/unheld.h"

enum { MAC_HEADER = 14, PACKET_ROOM = 4096, TIMES = 100000, SWALLOWED = 7, DROPPED = 2 }; /* the last two: TCX_REDIRECT, TCX_DROP */

static const char *const names[] = {[FTT_FROM_CLIENT] = "from_client", [FTT_FROM_SERVER] = "from_server"};
static struct bpf_object *object;
static int programs[2], node_map, flows_map, decided_map;
static struct ftt_bpf_decided *decided; /* of each processor */
static int processor;
struct bpf_counts bpf_counts;

static int map_of(const char *name)
{
	int fd = bpf_object__find_map_fd_by_name(object, name);

	CHECK(fd >= 0);
	return fd;
}

/* The object is built beside the tests. */
static struct bpf_object *opened(void)
{
	char path[PATH_MAX];
	ssize_t len = readlink("/proc/self/exe", path, sizeof(path) - 1);

	CHECK(len > 0);
	path[len] = 0;
	strcpy(strrchr(path, '/') + 1, "fttcp-decide.bpf.o");
	return bpf_object__open_file(path, NULL);
}

/* One processor: it is its scratch that is looked at. */
static void stay_here(void)
{
	cpu_set_t one;

	processor = sched_getcpu();
	CPU_ZERO(&one);
	CPU_SET((size_t)processor, &one);
	CHECK_EQ(sched_setaffinity(0, sizeof(one), &one), 0);
}

bool bpf_begin(void)
{
	int error;

	object = opened();
	CHECK(object);
	error = bpf_object__load(object);
	if (error == -EPERM) {
		printf("programs for the kernel need root\n");
		bpf_end();
		return false;
	}
	CHECK_EQ(error, 0); /* the verifier's word stands above */
	for (int dir = 0; dir < 2; dir++)
		programs[dir] = bpf_program__fd(bpf_object__find_program_by_name(object, names[dir]));
	node_map = map_of("node");
	flows_map = map_of("flows");
	decided_map = map_of("decided");
	decided = calloc((size_t)libbpf_num_possible_cpus(), sizeof(*decided));
	CHECK(decided);
	stay_here();
	return true;
}

void bpf_end(void)
{
	bpf_object__close(object);
	free(decided);
}

uint64_t bpf_now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_BOOTTIME, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static enum ftt_parsed parse(const uint8_t *packet, uint32_t len, struct ftt_pkt *k, struct ftt_seg *s)
{
	return ftt_parse(packet, len < FTT_HEADERS_MAX ? len : FTT_HEADERS_MAX, len, k, s);
}

/* The node and the flow, in the kernel's maps. Returns whether there is a flow: only a TCP packet has one. */
static bool put(const struct ftt_bpf_node *n, const struct ftt_flow *f, const uint8_t *packet, uint32_t len, enum ftt_dir dir, struct ftt_key *key)
{
	struct ftt_bpf_flow value = {0};
	const uint32_t first = 0;
	struct ftt_pkt k;
	struct ftt_seg s;

	CHECK_EQ(bpf_map_update_elem(node_map, &first, n, BPF_ANY), 0);
	if (!f || parse(packet, len, &k, &s) != FTT_PARSED_TCP)
		return false;
	ftt_key_of(key, &k, dir == FTT_FROM_CLIENT);
	value.flow = *f;
	CHECK_EQ(bpf_map_update_elem(flows_map, key, &value, BPF_ANY), 0);
	return true;
}

static int run(uint8_t *frame, uint32_t *len, enum ftt_dir dir, int times, uint32_t *duration_ns)
{
	static uint8_t out[PACKET_ROOM];
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = frame, .data_size_in = *len, .data_out = out, .data_size_out = sizeof(out), .repeat = times);

	CHECK_EQ(bpf_prog_test_run_opts(programs[dir], &opts), 0);
	memcpy(frame, out, opts.data_size_out);
	*len = opts.data_size_out;
	*duration_ns = opts.duration;
	return (int)opts.retval;
}

static void make_frame(uint8_t *frame, const uint8_t *packet, uint32_t len)
{
	CHECK(len + MAC_HEADER <= PACKET_ROOM);
	memset(frame, 0, MAC_HEADER);
	put_be16(frame + 12, packet[0] >> 4 == 6 ? 0x86dd : 0x0800);
	memcpy(frame + MAC_HEADER, packet, len);
}

static struct ftt_env env_of(const struct ftt_bpf_node *n, uint64_t now_ns)
{
	return (struct ftt_env){.now_ns = now_ns, .policy = &n->policy, .mode = n->mode, .lease = now_ns < n->lease_until_ns,
				.vouched = n->vouched, .doubted = n->doubted, .watched = n->watched, .in_step = n->in_step, .behind = n->behind};
}

/* What the kernel did with a packet that was given to no flow. */
static enum ftt_verdict unknown(const struct ftt_bpf_decided *d, int returned, enum ftt_parsed parsed, bool same)
{
	CHECK_EQ(d->parsed, parsed);
	CHECK(!d->known && same);
	CHECK_EQ(returned, -1);
	bpf_counts.unknown++;
	return FTT_PASS;
}

static void count(const struct ftt_edit *e, enum ftt_verdict v)
{
	bpf_counts.tcp++;
	bpf_counts.passed += v == FTT_PASS;
	bpf_counts.edited += v == FTT_PASS && e->change;
	bpf_counts.dropped += v == FTT_DROP;
}

enum ftt_verdict bpf_decide(const struct ftt_bpf_node *n, struct ftt_flow *f, const uint8_t *packet, uint32_t len, enum ftt_dir dir)
{
	static uint8_t frame[PACKET_ROOM], wanted[PACKET_ROOM];
	const uint32_t first = 0;
	const struct ftt_bpf_decided *d = &decided[processor];
	uint32_t size = len + MAC_HEADER, ns;
	struct ftt_bpf_flow after;
	struct ftt_key key;
	struct ftt_edit e;
	struct ftt_pkt k;
	struct ftt_seg s;
	struct ftt_env env;
	enum ftt_verdict v;
	enum ftt_parsed parsed = parse(packet, len, &k, &s);
	bool known = put(n, f, packet, len, dir, &key);
	int returned;

	make_frame(frame, packet, len);
	make_frame(wanted, packet, len);
	returned = run(frame, &size, dir, 1, &ns);
	CHECK_EQ(bpf_map_lookup_elem(decided_map, &first, decided), 0);
	bpf_counts.packets++;
	CHECK_EQ(size, len + MAC_HEADER);
	if (!known)
		return unknown(d, returned, parsed, !memcmp(frame, wanted, size));
	s.dir = (uint8_t)dir;
	s.whole = true;
	env = env_of(n, d->now_ns);
	v = ftt_unheld_segment(f, &s, &env, &e);
	if (v == FTT_PASS)
		ftt_apply(wanted + MAC_HEADER, &k, &e, true);
	CHECK_EQ(bpf_map_lookup_elem(flows_map, &key, &after), 0);
	CHECK_EQ(bpf_map_delete_elem(flows_map, &key), 0);
	CHECK_EQ(d->parsed, parsed);
	CHECK(d->known);
	CHECK(!memcmp(&d->pkt, &k, sizeof(k)) && !memcmp(&d->seg, &s, sizeof(s)));
	CHECK_EQ(d->verdict, v);
	CHECK_EQ(d->edit.actions, e.actions);
	CHECK_EQ(d->edit.change, e.change);
	CHECK(!memcmp(&d->edit, &e, sizeof(e)));
	CHECK(!memcmp(&after.flow, f, sizeof(*f)));
	CHECK_EQ(returned, v == FTT_PASS ? -1 : dir == FTT_FROM_CLIENT ? DROPPED : SWALLOWED);
	CHECK(!memcmp(frame, wanted, size));
	count(&e, v);
	return v;
}

uint32_t bpf_cost_ns(const struct ftt_bpf_node *n, const struct ftt_flow *f, const uint8_t *packet, uint32_t len, enum ftt_dir dir)
{
	static uint8_t frame[PACKET_ROOM];
	uint32_t size = len + MAC_HEADER, ns;
	struct ftt_key key;
	bool known = put(n, f, packet, len, dir, &key);

	make_frame(frame, packet, len);
	run(frame, &size, dir, TIMES, &ns);
	if (known)
		CHECK_EQ(bpf_map_delete_elem(flows_map, &key), 0);
	return ns;
}

uint32_t bpf_verified(enum ftt_dir dir, uint32_t *size)
{
	struct bpf_prog_info info = {0};
	uint32_t len = sizeof(info);

	CHECK_EQ(bpf_obj_get_info_by_fd(programs[dir], &info, &len), 0);
	*size = info.xlated_prog_len / 8;
	return info.verified_insns;
}
