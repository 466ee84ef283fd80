/* SPDX-License-Identifier: Apache-2.0 */
/*
 * main.c - fttcp-bpf: what is to do with programs for the kernel, whose objects lie beside it.
 *
 *   fttcp-bpf look                                   what this kernel has for a plane of such programs, as JSON
 *   fttcp-bpf forward ADDRESS INTERFACE PEER_INTERFACE PEER_MAC
 *   fttcp-bpf silence ADDRESS INTERFACE              forward.bpf.c, on the node that serves and on the other one
 *   fttcp-bpf lead ADDRESS INTERFACE PEER_INTERFACE PEER_MAC
 *   fttcp-bpf follow ADDRESS INTERFACE PEER_INTERFACE PEER_MAC
 *                                                    lead.bpf.c, follow.bpf.c; at a line of input the backup speaks, `speaks` is written
 *
 * Programs are attached by links (tcx): they go with the process, however it ends. `ready` is written when they are there.
 * The exit status is 0, 1 after an error, which is told, 2 for a wrong command line.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <limits.h>
#include <net/if.h>
#include <netinet/ether.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>
#include "bpf/decide.h"
#include "bpf/follow.h"
#include "bpf/forward.h"

/* linux/bpf.h since 6.6; Debian 12 has older headers. */
enum { TCX_INGRESS = 46, TCX_EGRESS = 47 };

static void die(const char *what, int error)
{
	fprintf(stderr, "fttcp-bpf: %s: %s\n", what, strerror(error));
	exit(1);
}

/* Of libbpf what is wrong is passed on, and the verifier's word with it. */
static int told(enum libbpf_print_level level, const char *format, va_list args)
{
	return level == LIBBPF_WARN ? vfprintf(stderr, format, args) : 0;
}

/* The object `name` beside this program. */
static struct bpf_object *opened(const char *name)
{
	char path[PATH_MAX];
	ssize_t len = readlink("/proc/self/exe", path, sizeof(path) - 1);
	struct bpf_object *object;
	char *end;

	if (len < 0)
		die("/proc/self/exe", errno);
	path[len] = 0;
	end = strrchr(path, '/') + 1;
	snprintf(end, (size_t)(path + sizeof(path) - end), "%s", name);
	object = bpf_object__open_file(path, NULL);
	if (!object)
		die(path, errno);
	return object;
}

/* --- forward, silence ------------------------------------------------------------------------------------ */

static unsigned index_of(const char *interface)
{
	unsigned index = if_nametoindex(interface);

	if (!index)
		die(interface, errno);
	return index;
}

/* The link lasts as long as this process. */
static void attach(struct bpf_object *object, const char *program, unsigned interface, int where)
{
	int fd = bpf_program__fd(bpf_object__find_program_by_name(object, program));

	if (bpf_link_create(fd, (int)interface, (enum bpf_attach_type)where, NULL) < 0)
		die("tcx (the kernel must be 6.6 or later)", errno);
}

static void say(const char *what)
{
	puts(what);
	fflush(stdout);
}

static void wait_for_end(void)
{
	sigset_t ends;
	int which;

	sigemptyset(&ends);
	sigaddset(&ends, SIGINT);
	sigaddset(&ends, SIGTERM);
	sigprocmask(SIG_BLOCK, &ends, NULL);
	sigwait(&ends, &which);
}

static int forward(char **words, bool silent)
{
	struct ftt_bpf_forward wanted = {.silent = silent};
	struct bpf_object *object = opened("fttcp-forward.bpf.o");
	unsigned clients = index_of(words[1]);
	int error;

	if (inet_pton(AF_INET, words[0], &wanted.address) != 1)
		die(words[0], EINVAL);
	if (!silent) {
		const struct ether_addr *mac = ether_aton(words[3]);

		if (!mac)
			die(words[3], EINVAL);
		wanted.peer = index_of(words[2]);
		memcpy(wanted.peer_mac, mac, FTT_MAC_BYTES);
	}
	error = bpf_map__set_initial_value(bpf_object__find_map_by_name(object, FTT_BPF_FORWARD), &wanted, sizeof(wanted));
	error = error ? error : bpf_object__load(object);
	if (error)
		die("fttcp-forward.bpf.o", -error);
	if (!silent)
		attach(object, "from_clients", clients, TCX_INGRESS);
	attach(object, "to_clients", clients, TCX_EGRESS);
	say("ready");
	wait_for_end();
	return 0;
}

/* --- lead, follow ------------------------------------------------------------------------------------------ */

static void read_address(const char *text, uint8_t to[16])
{
	uint8_t v4[4];

	if (inet_pton(AF_INET6, text, to) == 1)
		return;
	if (inet_pton(AF_INET, text, v4) != 1)
		die(text, EINVAL);
	memset(to, 0, 10);
	memset(to + 10, 0xff, 2);
	memcpy(to + 12, v4, 4);
}

static void own_mac(const char *interface, uint8_t to[FTT_MAC_BYTES])
{
	struct ifreq asked = {0};
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	snprintf(asked.ifr_name, sizeof(asked.ifr_name), "%s", interface);
	if (fd < 0 || ioctl(fd, SIOCGIFHWADDR, &asked))
		die(interface, errno);
	memcpy(to, asked.ifr_hwaddr.sa_data, FTT_MAC_BYTES);
	close(fd);
}

/* The backup speaks from a line of input on; `speaks` is written. */
static void wait_for_word(const struct bpf_object *object)
{
	int fd = bpf_map__fd(bpf_object__find_map_by_name(object, "role"));
	uint32_t first = 0, speaks = FTT_BPF_SPEAKS;
	char line[64];

	say("ready");
	if (fgets(line, sizeof(line), stdin)) {
		if (bpf_map_update_elem(fd, &first, &speaks, BPF_ANY))
			die("role", errno);
		say("speaks");
	}
	wait_for_end();
}

/* The object `name`, told of the pair and loaded. */
static struct bpf_object *told_of(const struct ftt_bpf_follow *pair, const char *name)
{
	struct bpf_object *object = opened(name);
	int error = bpf_map__set_initial_value(bpf_object__find_map_by_name(object, FTT_BPF_FOLLOW), pair, sizeof(*pair));

	error = error ? error : bpf_object__load(object);
	if (error)
		die(name, -error);
	return object;
}

/* A node that has its role for good, and whose server lives. */
static void lead(const struct ftt_bpf_follow *pair)
{
	struct ftt_bpf_node node = {.lease_until_ns = UINT64_MAX, .mode = FTT_MODE_PAIRED, .vouched = true, .watched = true};
	struct bpf_object *object = told_of(pair, "fttcp-lead.bpf.o");
	uint32_t first = 0;

	if (bpf_map_update_elem(bpf_map__fd(bpf_object__find_map_by_name(object, "node")), &first, &node, BPF_ANY))
		die("node", errno);
	attach(object, "from_clients", pair->clients, TCX_INGRESS);
	attach(object, "to_clients", pair->clients, TCX_EGRESS);
	attach(object, "from_peer", pair->peer, TCX_INGRESS);
	say("ready");
	wait_for_end();
}

static void follow(const struct ftt_bpf_follow *pair)
{
	struct bpf_object *object = told_of(pair, "fttcp-follow.bpf.o");

	attach(object, "from_peer", pair->peer, TCX_INGRESS);
	attach(object, "from_stack", pair->clients, TCX_EGRESS);
	attach(object, "from_clients_here", pair->clients, TCX_INGRESS);
	wait_for_word(object);
}

static int join(char **words, bool leads)
{
	struct ftt_bpf_follow pair = {.clients = index_of(words[1]), .peer = index_of(words[2])};
	const struct ether_addr *mac = ether_aton(words[3]);

	if (!mac)
		die(words[3], EINVAL);
	memcpy(pair.peer_mac, mac, FTT_MAC_BYTES);
	read_address(words[0], pair.address);
	own_mac(words[2], pair.own_mac);
	if (leads)
		lead(&pair);
	else
		follow(&pair);
	return 0;
}

/* --- look ------------------------------------------------------------------------------------------------ */

static bool has(const struct btf *kernel, const char *name, uint32_t kind)
{
	return kernel && btf__find_by_name_kind(kernel, name, kind) > 0;
}

/* Each program as the verifier took it. */
static void show_programs(const struct bpf_object *object)
{
	struct bpf_program *program;
	const char *comma = "";

	bpf_object__for_each_program(program, object) {
		struct bpf_prog_info info = {0};
		uint32_t size = sizeof(info);

		if (bpf_obj_get_info_by_fd(bpf_program__fd(program), &info, &size))
			die(bpf_program__name(program), errno);
		printf("%s\"%s\": {\"instructions\": %zu, \"verified\": %u}", comma, bpf_program__name(program),
		       (size_t)info.xlated_prog_len / 8, info.verified_insns);
		comma = ", ";
	}
}

/* Whether the core's decisions are taken, and can be attached to the loopback interface of this namespace. */
static int look(void)
{
	struct btf *kernel = btf__load_vmlinux_btf();
	struct bpf_object *object = opened("fttcp-decide.bpf.o");
	int error = bpf_object__load(object), link = -1;

	printf("{\"btf\": %s, \"adopts\": %s, \"holds\": %s, \"programs\": {", kernel ? "true" : "false",
	       has(kernel, "bpf_sk_assign_tcp_reqsk", BTF_KIND_FUNC) ? "true" : "false",
	       has(kernel, "bpf_struct_ops_Qdisc_ops", BTF_KIND_STRUCT) ? "true" : "false");
	if (!error) {
		show_programs(object);
		link = bpf_link_create(bpf_program__fd(bpf_object__find_program_by_name(object, "from_client")),
				       (int)index_of("lo"), (enum bpf_attach_type)TCX_INGRESS, NULL);
	}
	printf("}, \"refused\": \"%s\", \"tcx\": %s}\n", error ? strerror(-error) : "", link >= 0 ? "true" : "false");
	bpf_object__close(object);
	btf__free(kernel);
	return 0;
}

int main(int argc, char **argv)
{
	libbpf_set_print(told);
	if (argc == 2 && !strcmp(argv[1], "look"))
		return look();
	if (argc == 6 && !strcmp(argv[1], "forward"))
		return forward(argv + 2, false);
	if (argc == 4 && !strcmp(argv[1], "silence"))
		return forward(argv + 2, true);
	if (argc == 6 && (!strcmp(argv[1], "lead") || !strcmp(argv[1], "follow")))
		return join(argv + 2, !strcmp(argv[1], "lead"));
	fprintf(stderr, "usage: fttcp-bpf look | forward ADDRESS INTERFACE PEER_INTERFACE PEER_MAC | silence ADDRESS INTERFACE\n"
			"       fttcp-bpf lead ADDRESS INTERFACE PEER_INTERFACE PEER_MAC | follow ADDRESS INTERFACE PEER_INTERFACE PEER_MAC\n");
	return 2;
}
