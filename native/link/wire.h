/* SPDX-License-Identifier: Apache-2.0 */
/* wire.h - one direction of a link: frames of one interface go out at another, when they are due. */
#ifndef FTTCP_LINK_WIRE_H
#define FTTCP_LINK_WIRE_H
#include "decide.h"
#include "heap.h"
#include <pthread.h>

struct wire {
	int in, out, timer; /* packet sockets, a timer of the monotonic clock */
	unsigned in_index, out_index; /* their interfaces */
	pthread_mutex_t lock; /* of all below */
	struct link_line line;
	struct link_heap heap;
	uint64_t armed_ns, sent, overflow, failed, late_ns, latest_ns;
	unsigned missed; /* the kernel had no room for them */
	bool realtime;
};

int wire_socket(const char *interface); /* -1: errno says why */
void wire_count_missed(struct wire *w);
void *wire_run(void *wire); /* a thread; the process ends when an interface is gone */

#endif
