/* SPDX-License-Identifier: Apache-2.0 */
/* main.c - the measuring client's command line. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <getopt.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include "client.h"

const char *const mode_name[] = {"echo", "connect", "down", "up", "both"};

static const char usage[] =
	"usage: fttcp-client [OPTIONS] ADDRESS PORT\n"
	"       fttcp-client --listen [ADDRESS] PORT\n"
	"\n"
	"Measures TCP connections: verifies every byte, times every silence, and writes JSON lines.\n"
	"\n"
	"  --mode MODE               echo: each message comes back; connect: each on a connection of its own;\n"
	"                            down, up, both: streams of bytes (echo)\n"
	"  --plain                   the server is any that sends back what it gets, not this program\n"
	"  --connections N           at once (1)\n"
	"  --seconds S               how long new bytes are sent, 0: until --bytes (5)\n"
	"  --bytes N                 of each connection and direction, 0: no limit (0)\n"
	"  --rate N                  bytes per second of each connection and direction, 0: no limit (0)\n"
	"  --size N                  bytes of a message (64)\n"
	"  --interval MS             between an answer and the next message (0)\n"
	"  --gap MS                  a longer silence is told (10)\n"
	"  --bucket MS               throughput is told so often (100)\n"
	"  --patience S              a connection that is silent for longer is lost (30)\n"
	"  --look N                  connections whose TCP_INFO is told (1)\n"
	"  --seed N                  of the bytes (1)\n"
	"  --listen                  serve\n"
	"\n"
	"Exit status: 0 every byte was right and no connection was lost, 1 not so, 2 it could not begin.\n";

static _Noreturn void refuse(const char *what, const char *given)
{
	fprintf(stderr, "fttcp-client: %s: %s; see --help\n", given, what);
	exit(2);
}

static double number(const char *text, double least, double most, const char *what)
{
	char *end;
	double value = strtod(text, &end);

	if (end == text || *end || !(value >= least && value <= most)) {
		fprintf(stderr, "fttcp-client: --%s %s: allowed are %g to %g\n", what, text, least, most);
		exit(2);
	}
	return value;
}

static enum mode mode_of(const char *text)
{
	for (int i = 0; i < MODES; i++)
		if (!strcmp(text, mode_name[i]))
			return (enum mode)i;
	refuse("--mode is one of echo, connect, down, up, both", text);
}

/* Numbers only: what a name means is for others to look up. */
static socklen_t resolve(const char *host, const char *port, struct sockaddr_storage *at)
{
	uint16_t number_of_port = htons((uint16_t)number(port, 1, 65535, "port"));
	struct sockaddr_in *v4 = (struct sockaddr_in *)at;
	struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)at;

	memset(at, 0, sizeof(*at));
	if (inet_pton(AF_INET, host, &v4->sin_addr) == 1) {
		v4->sin_family = AF_INET;
		v4->sin_port = number_of_port;
		return sizeof(*v4);
	}
	if (inet_pton(AF_INET6, host, &v6->sin6_addr) != 1)
		refuse("not an IP address", host);
	v6->sin6_family = AF_INET6;
	v6->sin6_port = number_of_port;
	return sizeof(*v6);
}

static void raise_limits(uint32_t connections)
{
	struct rlimit files;

	if (getrlimit(RLIMIT_NOFILE, &files))
		return;
	files.rlim_cur = files.rlim_max;
	setrlimit(RLIMIT_NOFILE, &files);
	if (files.rlim_cur < connections + 16u)
		fprintf(stderr, "fttcp-client: at most %llu files may be open: not all connections will be\n", (unsigned long long)files.rlim_cur);
}

enum { MODE = 1, PLAIN, CONNECTIONS, SECONDS, BYTES, RATE, SIZE, INTERVAL, GAP, BUCKET, PATIENCE, LOOK, SEED, LISTEN, HELP };

static const struct option longs[] = {
	{"mode", 1, NULL, MODE},         {"plain", 0, NULL, PLAIN},       {"connections", 1, NULL, CONNECTIONS}, {"seconds", 1, NULL, SECONDS},
	{"bytes", 1, NULL, BYTES},       {"rate", 1, NULL, RATE},         {"size", 1, NULL, SIZE},               {"interval", 1, NULL, INTERVAL},
	{"gap", 1, NULL, GAP},           {"bucket", 1, NULL, BUCKET},     {"patience", 1, NULL, PATIENCE},       {"look", 1, NULL, LOOK},
	{"seed", 1, NULL, SEED},         {"listen", 0, NULL, LISTEN},     {"help", 0, NULL, HELP},               {0},
};

static uint64_t ms(const char *text, double least, const char *what)
{
	return (uint64_t)(number(text, least, 3600e3, what) * 1e6);
}

/* One option; true: it asks to serve. */
static bool take(struct options *o, int which)
{
	switch (which) {
	case MODE: o->mode = mode_of(optarg); break;
	case PLAIN: o->plain = true; break;
	case CONNECTIONS: o->connections = (uint32_t)number(optarg, 1, 1e6, "connections"); break;
	case SECONDS: o->duration_ns = (uint64_t)(number(optarg, 0, 1e6, "seconds") * 1e9); break;
	case BYTES: o->bytes = (uint64_t)number(optarg, 0, 1e15, "bytes"); break;
	case RATE: o->rate = (uint64_t)number(optarg, 0, 1e12, "rate"); break;
	case SIZE: o->size = (uint32_t)number(optarg, 1, RAMP_CHUNK, "size"); break;
	case INTERVAL: o->interval_ns = ms(optarg, 0, "interval"); break;
	case GAP: o->gap_ns = ms(optarg, 0.001, "gap"); break;
	case BUCKET: o->bucket_ns = ms(optarg, 1, "bucket"); break;
	case PATIENCE: o->patience_ns = (uint64_t)(number(optarg, 0.01, 1e6, "patience") * 1e9); break;
	case LOOK: o->looked_at = (uint32_t)number(optarg, 0, 1e6, "look"); break;
	case SEED: o->seed = (uint64_t)number(optarg, 0, 9e15, "seed"); break;
	case LISTEN: return true;
	case HELP: fputs(usage, stdout); exit(0);
	default: exit(2);
	}
	return false;
}

int main(int argc, char **argv)
{
	struct options o = {
		.connections = 1, .seed = 1, .size = 64, .duration_ns = 5000000000u, .bucket_ns = 100000000u, .gap_ns = 10000000u,
		.patience_ns = 30000000000u, .looked_at = 1,
	};
	bool listens = false;

	for (int which; (which = getopt_long(argc, argv, "", longs, NULL)) != -1;)
		listens |= take(&o, which);
	signal(SIGPIPE, SIG_IGN);
	if (argc - optind != 2 && !(listens && argc - optind == 1)) {
		fputs(usage, stderr);
		return 2;
	}
	o.to_len = resolve(argc - optind == 2 ? argv[optind] : "::", argv[argc - 1], &o.to);
	if (listens)
		return serve(&o.to, o.to_len);
	if (o.plain && o.mode != MODE_ECHO && o.mode != MODE_CONNECT)
		refuse("it goes with --mode echo and connect only: other servers do not know what to send", "--plain");
	if (!o.duration_ns && !o.bytes)
		refuse("without --bytes it would never end", "--seconds 0");
	raise_limits(o.connections);
	return measure(&o, stdout);
}
