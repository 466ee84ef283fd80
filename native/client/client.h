/* SPDX-License-Identifier: Apache-2.0 */
/* client.h - what the parts of the measuring client share. */
#ifndef FTTCP_CLIENT_H
#define FTTCP_CLIENT_H
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/socket.h>
#include <time.h>
#include "ramp.h"

#define LINE_MAX_BYTES 128 /* by which a client says what it wants; with its end */
#define ACK_EVERY 65536u   /* bytes of an upload that one byte of the server's answers */

enum mode { MODE_ECHO, MODE_CONNECT, MODE_DOWN, MODE_UP, MODE_BOTH, MODES };

extern const char *const mode_name[];

struct options {
	struct sockaddr_storage to;
	socklen_t to_len;
	enum mode mode;
	bool plain;            /* the server is not ours: no line is sent. Of echo and connect only */
	uint32_t connections;
	uint64_t seed;
	uint64_t bytes;        /* of each connection and direction; 0: until the time is over */
	uint64_t rate;         /* bytes per second of each connection and direction; 0: no limit */
	uint32_t size;         /* of a message of echo and connect */
	uint64_t duration_ns, interval_ns, bucket_ns, gap_ns;
	uint64_t patience_ns;  /* how long a silence may be before the connection counts as dead */
	uint32_t looked_at;    /* connections whose TCP_INFO is summed up in each bucket */
};

static inline uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

/* Serves on a port until a signal ends it. Returns an exit status. */
int serve(const struct sockaddr_storage *at, socklen_t len);

/* Measures, and writes JSON lines to `out`. Returns an exit status: 0, if every byte was right and no connection was lost. */
int measure(const struct options *o, FILE *out);
#endif
