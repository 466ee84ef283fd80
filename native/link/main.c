/* SPDX-License-Identifier: Apache-2.0 */
/* main.c - fttcp-link: stands between two interfaces and makes of them a link with delay, jitter, loss, duplicates,
 * reordering and a rate, for each direction. For machines of a lab; what it is like is said over a socket:
 *
 *   set SEED DELAY JITTER RATE LOSS DUPLICATE REORDER  SEED ...     first A to B, then B to A
 *   show
 *
 * Times in nanoseconds, rate in bits per second (0: no limit), chances in millionths. Each line is answered by one of JSON.
 */
#define _GNU_SOURCE
#include "wire.h"
#include <errno.h>
#include <inttypes.h>
#include <net/if.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <sys/un.h>
#include <unistd.h>

#define MOST_NS (60 * LINK_SECOND_NS)
#define LIMIT_S 2

static struct wire wires[2];

static int fail(const char *what)
{
	fprintf(stderr, "fttcp-link: %s: %s\n", what, strerror(errno));
	return 1;
}

static bool valid(const struct link_terms *t)
{
	return t->delay_ns <= MOST_NS && t->jitter_ns <= t->delay_ns && (!t->rate_bps || t->rate_bps >= 1000) &&
	       t->loss_ppm <= LINK_MILLION && t->duplicate_ppm <= LINK_MILLION && t->reorder_ppm <= LINK_MILLION;
}

static int read_terms(const char *line, struct link_terms *t)
{
	int used = 0;

	if (sscanf(line, " %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu32 " %" SCNu32 " %" SCNu32 "%n", &t->seed,
		   &t->delay_ns, &t->jitter_ns, &t->rate_bps, &t->loss_ppm, &t->duplicate_ppm, &t->reorder_ppm, &used) != 7)
		return 0;
	return valid(t) ? used : 0;
}

static bool set(const char *line)
{
	struct link_terms terms[2];
	int first = read_terms(line, &terms[0]);

	if (!first || !read_terms(line + first, &terms[1]))
		return false;
	for (int i = 0; i < 2; i++) {
		pthread_mutex_lock(&wires[i].lock);
		link_set(&wires[i].line, &terms[i]);
		pthread_mutex_unlock(&wires[i].lock);
	}
	return true;
}

static void show(FILE *to)
{
	fprintf(to, "{\"wires\":[");
	for (int i = 0; i < 2; i++) {
		struct wire *w = &wires[i];
		const struct link_line *l = &w->line;

		pthread_mutex_lock(&w->lock);
		wire_count_missed(w);
		fprintf(to,
			"%s{\"frames\":%" PRIu64 ",\"bytes\":%" PRIu64 ",\"sent\":%" PRIu64 ",\"waiting\":%" PRIu32 ",\"lost\":%" PRIu64
			",\"duplicated\":%" PRIu64 ",\"reordered\":%" PRIu64 ",\"queue_full\":%" PRIu64 ",\"overflow\":%" PRIu64
			",\"failed\":%" PRIu64 ",\"missed\":%u,\"late_ns\":%" PRIu64 ",\"late_ns_most\":%" PRIu64 ",\"realtime\":%s}",
			i ? "," : "", l->frames, l->bytes, w->sent, w->heap.count, l->lost, l->duplicated, l->reordered, l->queue_full,
			w->overflow, w->failed, w->missed, w->late_ns, w->latest_ns,
			w->realtime ? "true" : "false");
		pthread_mutex_unlock(&w->lock);
	}
	fprintf(to, "]}\n");
}

static void answer(int fd)
{
	char line[512];
	FILE *asked = fdopen(fd, "r"), *to = fdopen(dup(fd), "w");

	if (asked && to && fgets(line, sizeof(line), asked)) {
		if (!strcmp(line, "show\n") || (!strncmp(line, "set ", 4) && set(line + 4)))
			show(to);
		else
			fprintf(to, "{\"error\":\"not understood\"}\n");
	}
	if (to)
		fclose(to);
	if (asked)
		fclose(asked);
}

static int listen_at(const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (strlen(path) >= sizeof(address.sun_path)) {
		errno = ENAMETOOLONG;
		return -1;
	}
	strcpy(address.sun_path, path);
	unlink(path);
	return fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof(address)) || listen(fd, 8) ? -1 : fd;
}

int main(int argc, char **argv)
{
	struct timeval limit = {.tv_sec = LIMIT_S};
	pthread_t thread;
	int sockets[2], control;

	if (argc != 4) {
		fprintf(stderr, "usage: fttcp-link SOCKET INTERFACE_A INTERFACE_B\n");
		return 2;
	}
	signal(SIGPIPE, SIG_IGN);
	for (int i = 0; i < 2; i++)
		if ((sockets[i] = wire_socket(argv[2 + i])) < 0)
			return fail(argv[2 + i]);
	for (int i = 0; i < 2; i++) {
		struct wire *w = &wires[i];

		w->in = sockets[i];
		w->out = sockets[!i];
		pthread_mutex_init(&w->lock, NULL);
		w->in_index = if_nametoindex(argv[2 + i]);
		w->out_index = if_nametoindex(argv[2 + !i]);
		w->timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
		if (w->timer < 0 || pthread_create(&thread, NULL, wire_run, w))
			return fail("a thread");
	}
	if ((control = listen_at(argv[1])) < 0)
		return fail(argv[1]);
	for (;;) {
		int fd = accept4(control, NULL, NULL, SOCK_CLOEXEC);

		if (fd < 0)
			continue;
		setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
		answer(fd);
	}
}
