/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The client of the bench for many connections: one thread, one epoll.
 *
 *   load echo ADDRESS PORT FLOWS BYTES WINDOW SECONDS     round trips of BYTES bytes over FLOWS connections
 *   load ask ADDRESS PORT FLOWS BYTES WINDOW SECONDS      answers of BYTES bytes to questions of 4
 *   load connect ADDRESS PORT 0 BYTES WINDOW SECONDS      connect, one echo of BYTES bytes, close; again
 *   load hold ADDRESS PORT FLOWS BYTES WINDOW 0           open FLOWS connections, one echo on each; then wait
 *
 * WINDOW connections are busy at any time; they take turns, so every flow is used equally often. "hold" asks
 * on all its connections at once for each line on stdin, until that ends. Writes "started" on stderr when all
 * FLOWS connections are open and have answered, and one JSON object on stdout at the end (hold: for each line
 * of stdin): trips, seconds, flows, lost, open_s, and of the round trips p50_us, p99_us, p999_us, max_us.
 * More words are IPv4 addresses of this host from which connections are opened in turn: where most ports of an
 * address are taken, connect() looks long for a free one. Where one process may not have so many files, several
 * share the flows, the window and the report.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>
#include "process.h"

#define EVENTS 256
#define MAX_BYTES (1u << 20)
#define OPENING_AT_ONCE 128
#define PATIENCE_NS 10000000000ll /* nothing happens for so long: what is under way is lost */
#define MAX_TIMES (1u << 21) /* of one process; the newest are kept */
#define MAX_PROCESSES 8
#define SPARE_FILES 64
#define MAX_SOURCES 16

enum state { ABSENT, CONNECTING, IDLE, BUSY };

struct flow {
	int fd;
	enum state state;
	uint32_t left;	  /* bytes of the answer */
	uint32_t unsent;  /* bytes of the question */
	int64_t begin_ns; /* of the trip */
};

static struct flow *flows;
static uint32_t flow_count, own_flows, bytes, window;
static uint32_t turn, busy, open_count;
static bool asks, reconnects; /* the verbs ask, and connect */
static int epoll_fd;
static struct sockaddr_in6 server;
static socklen_t server_len;
static struct sockaddr_in sources[MAX_SOURCES];
static uint32_t source_count, next_source;
static char buffer[MAX_BYTES];

/* What one process has seen, where all can read it. */
struct share {
	uint64_t trips;
	uint32_t lost;
	double seconds, open_s;
	float times_us[MAX_TIMES];
};

static struct {
	pthread_barrier_t barrier; /* all processes meet here: flows are open, a line has come, a part is done */
	bool more;		   /* of stdin, in "hold" */
	struct share shares[MAX_PROCESSES];
} *all;
static struct share *own;
static uint32_t process, processes;

static int64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000ll + t.tv_nsec;
}

static void close_flow(struct flow *f)
{
	struct linger reset = {1, 0}; /* no TIME_WAIT: the ports are needed again */

	if (!reconnects || f->state != BUSY || f->left)
		setsockopt(f->fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
	close(f->fd);
	if (f->state == BUSY || f->state == CONNECTING)
		busy--;
	f->state = ABSENT;
}

static void lose(struct flow *f)
{
	close_flow(f);
	own->lost++;
}

static void watch(struct flow *f, int op, uint32_t events)
{
	struct epoll_event event = {.events = events, .data.ptr = f};

	if (epoll_ctl(epoll_fd, op, f->fd, &event))
		die("epoll");
}

static void send_rest(struct flow *f)
{
	while (f->unsent) {
		ssize_t n = send(f->fd, buffer, f->unsent, MSG_NOSIGNAL);

		if (n < 0 && errno == EAGAIN) {
			watch(f, EPOLL_CTL_MOD, EPOLLIN | EPOLLOUT);
			return;
		}
		if (n < 0) {
			lose(f);
			return;
		}
		f->unsent -= (uint32_t)n;
	}
}

/* Begin a trip on an idle flow. (A question of "ask" is too short to be split by a socket that is empty.) */
static void ask(struct flow *f)
{
	uint32_t word = htonl(bytes);

	f->state = BUSY;
	f->left = bytes;
	f->begin_ns = now_ns();
	busy++;
	if (asks) {
		if (send(f->fd, &word, sizeof(word), MSG_NOSIGNAL) != sizeof(word))
			lose(f);
	} else {
		f->unsent = bytes;
		send_rest(f);
	}
}

static void open_flow(struct flow *f)
{
	const struct sockaddr_in *from = source_count ? &sources[next_source++ % source_count] : NULL;
	int one = 1;

	f->fd = socket(server.sin6_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (f->fd < 0)
		die("socket");
	if (from && (setsockopt(f->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof(one)) ||
		     bind(f->fd, (const struct sockaddr *)from, sizeof(*from))))
		die("bind to an address of this host");
	f->state = CONNECTING;
	f->begin_ns = now_ns();
	busy++;
	if (connect(f->fd, (struct sockaddr *)&server, server_len) && errno != EINPROGRESS)
		die("connect");
	watch(f, EPOLL_CTL_ADD, EPOLLOUT);
}

static void connected(struct flow *f)
{
	const char *verb = asks ? "ask\n" : "echo\n";
	int one = 1, error = 0;
	socklen_t len = sizeof(error);
	int64_t begin_ns = f->begin_ns;

	getsockopt(f->fd, SOL_SOCKET, SO_ERROR, &error, &len);
	setsockopt(f->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	if (error || send(f->fd, verb, strlen(verb), MSG_NOSIGNAL) < 0) {
		lose(f);
		return;
	}
	watch(f, EPOLL_CTL_MOD, EPOLLIN);
	busy--;
	f->state = IDLE;
	ask(f);
	if (reconnects)
		f->begin_ns = begin_ns; /* the trip of "connect" has the handshake in it */
}

static void answered(struct flow *f)
{
	own->times_us[own->trips++ % MAX_TIMES] = (float)(now_ns() - f->begin_ns) / 1000;
	if (reconnects) {
		close_flow(f);
		return;
	}
	f->state = IDLE;
	busy--;
}

static void receive(struct flow *f)
{
	while (f->state == BUSY) {
		ssize_t n = recv(f->fd, buffer, f->left < sizeof(buffer) ? f->left : sizeof(buffer), 0);

		if (n < 0 && errno == EAGAIN)
			return;
		if (n <= 0) {
			lose(f);
			return;
		}
		f->left -= (uint32_t)n;
		if (!f->left)
			answered(f);
	}
}

static void handle(struct flow *f, uint32_t events)
{
	if (f->state == CONNECTING) {
		connected(f);
		return;
	}
	if (f->state == BUSY && f->unsent && (events & EPOLLOUT)) {
		send_rest(f);
		if (f->state == BUSY && !f->unsent)
			watch(f, EPOLL_CTL_MOD, EPOLLIN);
	}
	if (f->state == BUSY && (events & ~(uint32_t)EPOLLOUT))
		receive(f);
	else if (f->state == IDLE && (events & (EPOLLERR | EPOLLHUP | EPOLLIN)))
		lose(f); /* nothing was asked, so it is an end */
}

/* Wait for what happens, until `deadline_ns` at most. False when it passed, or nothing has happened for long. */
static bool turn_once(int64_t deadline_ns)
{
	struct epoll_event events[EVENTS];
	static int64_t last_ns;
	int64_t now = now_ns();
	int64_t wait_ms = (deadline_ns - now) / 1000000 + 1;
	int count;

	if (!last_ns)
		last_ns = now;
	if (now >= deadline_ns)
		return false;
	count = epoll_wait(epoll_fd, events, EVENTS, (int)(wait_ms < 1000 ? wait_ms : 1000));
	for (int i = 0; i < count; i++)
		handle(events[i].data.ptr, events[i].events);
	if (count > 0)
		last_ns = now_ns();
	return now_ns() - last_ns < PATIENCE_NS;
}

/* Open all flows, each with one answer; returns the seconds that it took. */
static double open_all(void)
{
	int64_t begin = now_ns();

	for (;;) {
		while (busy < OPENING_AT_ONCE && open_count < own_flows)
			open_flow(&flows[open_count++]);
		if (!busy)
			break;
		if (!turn_once(INT64_MAX)) {
			own->lost += busy;
			break;
		}
	}
	return (double)(now_ns() - begin) / 1e9;
}

/* Keep WINDOW flows busy until the time is over, then let the last answers come in. */
static double run(double seconds)
{
	int64_t begin = now_ns(), end = begin + (int64_t)(seconds * 1e9), counted;
	uint64_t at_end;

	do {
		for (uint32_t tried = 0; busy < window && tried < own_flows; tried++, turn = (turn + 1) % own_flows) {
			struct flow *f = &flows[turn];

			if (f->state == ABSENT && reconnects)
				open_flow(f);
			else if (f->state == IDLE)
				ask(f);
		}
	} while (turn_once(end));
	counted = now_ns();
	at_end = own->trips;
	while (busy && turn_once(INT64_MAX))
		;
	own->lost += busy;
	own->trips = at_end;
	return (double)(counted - begin) / 1e9;
}

static int compare(const void *a, const void *b)
{
	float x = *(const float *)a, y = *(const float *)b;

	return (x > y) - (x < y);
}

/* The report on all processes, by the first of them. */
static void report(void)
{
	static const double percents[] = {50, 99, 99.9, 100};
	static const char *const names[] = {"p50_us", "p99_us", "p999_us", "max_us"};
	uint64_t trips = 0;
	uint32_t lost = 0;
	double seconds = 0, open_s = 0;
	size_t count = 0;
	float *times_us = malloc(sizeof(*times_us) * MAX_TIMES * processes);

	if (!times_us)
		die("memory");
	for (uint32_t i = 0; i < processes; i++) {
		const struct share *s = &all->shares[i];
		size_t kept = s->trips < MAX_TIMES ? s->trips : MAX_TIMES;

		memcpy(times_us + count, s->times_us, kept * sizeof(*times_us));
		count += kept;
		trips += s->trips;
		lost += s->lost;
		seconds = s->seconds > seconds ? s->seconds : seconds;
		open_s = s->open_s > open_s ? s->open_s : open_s;
	}
	qsort(times_us, count, sizeof(*times_us), compare);
	printf("{\"trips\": %lu, \"seconds\": %.6f, \"flows\": %u, \"lost\": %u, \"open_s\": %.6f", trips, seconds, flow_count, lost,
	       open_s);
	for (size_t i = 0; i < sizeof(percents) / sizeof(*percents) && count; i++) {
		size_t rank = (size_t)((double)count * percents[i] / 100);

		printf(", \"%s\": %.1f", names[i], (double)times_us[rank < count ? rank : count - 1]);
	}
	puts("}");
	fflush(stdout);
	free(times_us);
}

/* One question on every flow at once; the times are those from the beginning on. */
static void ask_all(void)
{
	int64_t begin = now_ns();

	own->trips = 0;
	for (uint32_t i = 0; i < own_flows; i++)
		if (flows[i].state == IDLE)
			ask(&flows[i]);
	for (uint32_t i = 0; i < own_flows; i++)
		if (flows[i].state == BUSY)
			flows[i].begin_ns = begin;
	while (busy && turn_once(begin + PATIENCE_NS))
		;
	for (uint32_t i = 0; i < own_flows; i++)
		if (flows[i].state == BUSY)
			lose(&flows[i]);
	own->seconds = (double)(now_ns() - begin) / 1e9;
}

static void meet(void)
{
	pthread_barrier_wait(&all->barrier);
}

/* For each line of stdin, which the first process reads: ask_all() in every process, and a report. */
static void hold(void)
{
	char line[64];

	for (;;) {
		if (!process)
			all->more = fgets(line, sizeof(line), stdin) != NULL;
		meet();
		if (!all->more)
			return;
		ask_all();
		meet();
		if (!process)
			report();
	}
}

static void parse_address(const char *address, const char *port)
{
	struct sockaddr_in *v4 = (struct sockaddr_in *)&server;

	server.sin6_port = htons((uint16_t)atoi(port)); /* at the same place as sin_port */
	if (inet_pton(AF_INET6, address, &server.sin6_addr) == 1) {
		server.sin6_family = AF_INET6;
		server_len = sizeof(server);
	} else if (inet_pton(AF_INET, address, &v4->sin_addr) == 1) {
		server.sin6_family = AF_INET;
		server_len = sizeof(*v4);
	} else {
		errno = EINVAL;
		die(address);
	}
}

static void parse_sources(int count, char **addresses)
{
	if (count > MAX_SOURCES) {
		fprintf(stderr, "load: at most %d addresses to connect from\n", MAX_SOURCES);
		exit(2);
	}
	for (source_count = 0; source_count < (uint32_t)count; source_count++) {
		sources[source_count].sin_family = AF_INET;
		if (inet_pton(AF_INET, addresses[source_count], &sources[source_count].sin_addr) != 1) {
			errno = EINVAL;
			die(addresses[source_count]);
		}
	}
}

/* Share flows and window among as many processes as the limit of files asks for; returns in each of them. */
static void split(void)
{
	pthread_barrierattr_t shared;
	rlim_t files = all_files();

	processes = flow_count / (uint32_t)(files - SPARE_FILES) + 1;
	if (processes > MAX_PROCESSES) {
		fprintf(stderr, "load: %u flows: the limit of open files, %lu, is too low\n", flow_count, files);
		exit(2);
	}
	all = mmap(NULL, sizeof(*all), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (all == MAP_FAILED || pthread_barrierattr_init(&shared) ||
	    pthread_barrierattr_setpshared(&shared, PTHREAD_PROCESS_SHARED) ||
	    pthread_barrier_init(&all->barrier, &shared, processes))
		die("shared memory");
	process = become(processes);
	own = &all->shares[process];
	own_flows = flow_count / processes + (process < flow_count % processes);
	window = window / processes + (process < window % processes);
	if (!window)
		window = 1;
}

int main(int argc, char **argv)
{
	const char *verb = argc > 1 ? argv[1] : "";

	asks = !strcmp(verb, "ask");
	reconnects = !strcmp(verb, "connect");
	if (argc < 8 || !(asks || reconnects || !strcmp(verb, "echo") || !strcmp(verb, "hold"))) {
		fprintf(stderr, "usage: load echo|ask|connect|hold ADDRESS PORT FLOWS BYTES WINDOW SECONDS [FROM...]\n");
		return 2;
	}
	parse_address(argv[2], argv[3]);
	parse_sources(argc - 8, argv + 8);
	flow_count = (uint32_t)atoi(argv[4]);
	bytes = (uint32_t)atoi(argv[5]);
	window = (uint32_t)atoi(argv[6]);
	if (reconnects)
		flow_count = window;
	if (!flow_count || !bytes || bytes > MAX_BYTES || !window) {
		fprintf(stderr, "load: FLOWS, BYTES (at most %u) and WINDOW must be more than 0\n", MAX_BYTES);
		return 2;
	}
	split();
	flows = calloc(own_flows, sizeof(*flows));
	epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (!flows || epoll_fd < 0)
		die("start");
	if (!reconnects)
		own->open_s = open_all();
	own->trips = 0;
	meet();
	if (!process)
		fprintf(stderr, "started\n");
	if (!strcmp(verb, "hold")) {
		hold();
		return 0;
	}
	own->seconds = run(atof(argv[7]));
	meet();
	if (!process)
		report();
	return 0;
}
