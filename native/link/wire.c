/* SPDX-License-Identifier: Apache-2.0 */
/* wire.c - one direction of a link: see wire.h. Frames are taken and given whole, with the kernel's own head before them
 * (virtio_net_hdr): a checksum that is still to be made, or a segment that is still to be cut, stays so. */
#define _GNU_SOURCE
#include "wire.h"
#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_packet.h>
#include <linux/virtio_net.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#define HEAD sizeof(struct virtio_net_hdr)
#define LARGEST (HEAD + 65536 + 64)
#define BATCH 32
#define SOCKET_BYTES (16 << 20)

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * LINK_SECOND_NS + (uint64_t)t.tv_nsec;
}

int wire_socket(const char *interface)
{
	struct sockaddr_ll address = {.sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL)};
	int on = 1, room = SOCKET_BYTES, fd = socket(AF_PACKET, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	address.sll_ifindex = (int)if_nametoindex(interface);
	if (fd < 0 || !address.sll_ifindex)
		return -1;
	if (setsockopt(fd, SOL_PACKET, PACKET_VNET_HDR, &on, sizeof(on)) ||
	    setsockopt(fd, SOL_PACKET, PACKET_IGNORE_OUTGOING, &on, sizeof(on)) ||
	    (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof(room)) &&
	     setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &room, sizeof(room))) ||
	    (setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &room, sizeof(room)) &&
	     setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &room, sizeof(room))) ||
	    bind(fd, (struct sockaddr *)&address, sizeof(address)))
		return -1;
	return fd;
}

static void keep(struct wire *w, uint64_t due_ns, const void *data, uint32_t bytes)
{
	void *copy = link_room(&w->heap, bytes) ? malloc(bytes) : NULL;

	if (!copy) {
		w->overflow++;
		return;
	}
	memcpy(copy, data, bytes);
	link_push(&w->heap, due_ns, copy, bytes);
}

/* Take what has come; if there is more, the socket stays readable. */
static void take(struct wire *w, unsigned char (*frames)[LARGEST])
{
	struct mmsghdr messages[BATCH] = {0};
	struct iovec parts[BATCH];
	int got;

	for (int i = 0; i < BATCH; i++) {
		parts[i] = (struct iovec){frames[i], LARGEST};
		messages[i].msg_hdr.msg_iov = &parts[i];
		messages[i].msg_hdr.msg_iovlen = 1;
	}
	got = recvmmsg(w->in, messages, BATCH, 0, NULL);
	for (int i = 0; i < got; i++) {
		uint64_t due_ns, now = now_ns();
		uint32_t bytes = messages[i].msg_len;

		if (bytes <= HEAD)
			continue;
		for (unsigned copies = link_admit(&w->line, now, bytes - HEAD, &due_ns); copies; copies--)
			keep(w, due_ns, frames[i], bytes);
	}
}

static void give(struct wire *w)
{
	while (w->heap.count && w->heap.frames[0].due_ns <= now_ns()) {
		struct link_frame frame = link_pop(&w->heap);
		uint64_t late_ns = now_ns() - frame.due_ns;

		if (send(w->out, frame.data, frame.bytes, 0) == (ssize_t)frame.bytes) {
			w->sent++;
			w->late_ns += late_ns;
			if (late_ns > w->latest_ns)
				w->latest_ns = late_ns;
		} else {
			w->failed++; /* the other end is down, or its queue is full */
		}
		free(frame.data);
	}
}

static void arm(struct wire *w)
{
	uint64_t due_ns = w->heap.count ? w->heap.frames[0].due_ns : 0;
	struct itimerspec at = {.it_value = {(time_t)(due_ns / LINK_SECOND_NS), (long)(due_ns % LINK_SECOND_NS)}};

	if (due_ns == w->armed_ns)
		return;
	timerfd_settime(w->timer, TFD_TIMER_ABSTIME, &at, NULL);
	w->armed_ns = due_ns;
}

/* A link that is down comes up again; one whose interface is gone does not. */
static void look_after(const struct wire *w)
{
	char name[IF_NAMESIZE];

	if (!if_indextoname(w->in_index, name) || !if_indextoname(w->out_index, name))
		exit(0);
}

void wire_count_missed(struct wire *w)
{
	struct tpacket_stats stats;
	socklen_t length = sizeof(stats);

	if (!getsockopt(w->in, SOL_PACKET, PACKET_STATISTICS, &stats, &length))
		w->missed += stats.tp_drops;
}

void *wire_run(void *wire)
{
	static const struct sched_param least = {.sched_priority = 1};
	unsigned char(*frames)[LARGEST] = malloc(BATCH * sizeof(*frames));
	struct wire *w = wire;
	struct pollfd ready[] = {{.fd = w->in, .events = POLLIN}, {.fd = w->timer, .events = POLLIN}};

	if (!frames)
		abort();
	w->realtime = !pthread_setschedparam(pthread_self(), SCHED_RR, &least);
	prctl(PR_SET_TIMERSLACK, 1ul, 0, 0, 0);
	for (;;) {
		uint64_t expired;

		pthread_mutex_lock(&w->lock);
		take(w, frames);
		give(w);
		arm(w);
		pthread_mutex_unlock(&w->lock);
		poll(ready, 2, -1);
		if (ready[0].revents & (POLLERR | POLLHUP | POLLNVAL))
			look_after(w);
		if (ready[1].revents & POLLIN && read(w->timer, &expired, sizeof(expired)) == sizeof(expired))
			w->armed_ns = 0;
	}
	return NULL;
}
