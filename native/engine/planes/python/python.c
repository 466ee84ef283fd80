/* SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include "engine/planes/python/python.h"
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>
#include "engine/planes/emit.h"
#include "engine/planes/python/hooks.h"

#define BATCH 128u /* verdicts */
#define MANY 64    /* packets at once, behind which there may be more */

enum { QUEUE_IN, QUEUE_OUT };

struct python {
	struct ftt_plane_raw raw;
	struct ftt_plane_owner owner;
	struct ftt_hooks hooks;
	int timer_fd; /* for what Python keeps back: in the first lane's set */
	struct ftt_packet *packet; /* received */
	unsigned received, taken, room;
	struct ftt_fate verdict[BATCH];
	bool carries;      /* one refers to the bytes of its packet */
	unsigned n_verdicts;
	uint64_t batches, verdicts, revoked;
};

static struct python *of(struct ftt_plane *p)
{
	return (struct python *)p; /* its first member */
}

static void empty(struct python *y)
{
	for (unsigned i = 0; i < y->received; i++)
		free(y->packet[i].bytes);
	y->received = y->taken = 0;
}

static void close_it(struct ftt_plane *p)
{
	struct python *y = of(p);

	empty(y);
	free(y->packet);
	for (unsigned lane = 0; lane < FTT_PLANE_LANES; lane++)
		if (p->fd[lane] >= 0)
			close(p->fd[lane]);
	if (y->timer_fd >= 0)
		close(y->timer_fd);
	ftt_emit_close(&y->raw.emit);
	free(y);
}

/* --- packets ------------------------------------------------------------------------------------ */

bool ftt_hand_over(void *basket, uint32_t id, bool from_client, const uint8_t *bytes, uint32_t cap, uint32_t len)
{
	struct python *y = basket;
	struct ftt_packet k = {.id = id, .queue = from_client ? QUEUE_IN : QUEUE_OUT, .from_client = from_client, .csum_ready = true,
			       .csum_unknown = true, .cap = cap, .len = len};

	if (y->received == y->room) {
		unsigned room = y->room ? 2 * y->room : MANY;
		struct ftt_packet *more = reallocarray(y->packet, room, sizeof(*more));

		if (!more)
			return false;
		y->packet = more;
		y->room = room;
	}
	if (!cap || !(k.bytes = malloc(cap)))
		return false;
	memcpy(k.bytes, bytes, cap);
	y->packet[y->received++] = k;
	return true;
}

void ftt_hear_late(void *basket, uint8_t from, const uint8_t *record, size_t len)
{
	struct python *y = basket;

	y->owner.hear(y->owner.of, from, record, len);
}

static int receive(struct ftt_plane *p, unsigned lane, bool *full)
{
	struct python *y = of(p);
	struct itimerspec at = {0};
	int64_t due_ns;

	empty(y);
	due_ns = y->hooks.take(y->hooks.of, lane, atomic_load(&y->owner.shared->mode), y);
	if (due_ns < 0) {
		errno = (int)-due_ns;
		return -1;
	}
	at.it_value.tv_sec = due_ns / 1000000000;
	at.it_value.tv_nsec = due_ns % 1000000000;
	if (timerfd_settime(y->timer_fd, TFD_TIMER_ABSTIME, &at, NULL))
		return -1;
	*full = y->received >= MANY;
	return (int)y->received;
}

static bool next(struct ftt_plane *p, unsigned lane, struct ftt_packet *k)
{
	struct python *y = of(p);

	(void)lane;
	if (y->taken == y->received)
		return false;
	*k = y->packet[y->taken++];
	return true;
}

static void look(struct ftt_plane *p, uint32_t in, uint32_t out)
{
	(void)p, (void)in, (void)out; /* packets are whole */
}

/* --- verdicts ------------------------------------------------------------------------------------- */

static void verdict(struct ftt_plane *p, uint16_t queue, uint32_t id, bool accept, const uint8_t *bytes, uint32_t len)
{
	struct python *y = of(p);

	if (y->n_verdicts == BATCH)
		y->owner.make_room(y->owner.of);
	y->verdict[y->n_verdicts++] = (struct ftt_fate){.id = id, .accept = accept, .emits = accept && queue == QUEUE_OUT,
							.bytes = bytes, .len = bytes ? len : 0};
	y->carries |= bytes != NULL;
}

/* What nobody asks of a plane with whole packets and one worker: as if the network had lost it. */
static void lose(struct ftt_plane *p, uint16_t queue, uint32_t id)
{
	verdict(p, queue, id, false, NULL, 0);
}

static void stamp(struct ftt_plane *p, uint16_t queue, uint32_t id, uint32_t ack, uint32_t tsecr)
{
	(void)ack, (void)tsecr;
	lose(p, queue, id);
}

static unsigned gathered(struct ftt_plane *p, unsigned lane)
{
	(void)lane;
	return of(p)->carries ? UINT_MAX : of(p)->n_verdicts;
}

static void flush(struct ftt_plane *p)
{
	struct python *y = of(p);
	unsigned n = y->n_verdicts;

	if (!n)
		return;
	if (!ftt_may_emit(y->owner.shared, ftt_now_ns())) {
		for (unsigned i = 0; i < n; i++) {
			y->revoked += y->verdict[i].emits;
			y->verdict[i].accept &= !y->verdict[i].emits;
		}
	}
	y->hooks.give(y->hooks.of, y->verdict, n);
	y->batches++;
	y->verdicts += n;
	y->n_verdicts = 0;
	y->carries = false;
}

static void count(struct ftt_plane *p, struct ftt_counters *n)
{
	const struct python *y = of(p);

	n->verdict_batches += y->batches;
	n->verdicts += y->verdicts;
	n->drop_lease += y->revoked;
	ftt_raw_count(p, n);
}

static bool hear(struct ftt_plane *p, uint8_t from, const uint8_t *record, size_t len)
{
	const struct ftt_hooks *hooks = &of(p)->hooks;

	return !hooks->hear || hooks->hear(hooks->of, from, record, len);
}

static bool tell(struct ftt_plane *p, uint8_t to, const uint8_t *record, size_t len)
{
	const struct ftt_hooks *hooks = &of(p)->hooks;

	return !hooks->tell || hooks->tell(hooks->of, to, record, len);
}

static const struct ftt_plane_ops does = {
	.close = close_it, .receive = receive, .next = next, .look = look, .verdict = verdict, .stamp = stamp, .again = lose,
	.to_next = lose, .gathered = gathered, .flush = flush, .bare = ftt_raw_bare, .small = ftt_raw_small, .now = ftt_raw_now,
	.send = ftt_raw_send, .count = count, .hear = hear, .tell = tell,
};

/* --- life ------------------------------------------------------------------------------------------- */

static int open_sets(struct python *y)
{
	struct epoll_event ev = {.events = EPOLLIN};

	y->timer_fd = timerfd_create(CLOCK_BOOTTIME, TFD_CLOEXEC | TFD_NONBLOCK);
	if (y->timer_fd < 0)
		return -1;
	for (unsigned lane = 0; lane < FTT_PLANE_LANES; lane++) {
		int set = y->raw.plane.fd[lane] = epoll_create1(EPOLL_CLOEXEC);

		if (set < 0)
			return -1;
		for (unsigned i = 0; i < 2; i++)
			if (epoll_ctl(set, EPOLL_CTL_ADD, y->hooks.fd[lane][i], &ev))
				return -1;
	}
	return epoll_ctl(y->raw.plane.fd[FTT_LANE_FLOWS], EPOLL_CTL_ADD, y->timer_fd, &ev);
}

struct ftt_plane *ftt_python_open(const struct ftt_config *cfg, struct ftt_plane_owner owner, char *err, size_t err_len)
{
	struct python *y = calloc(1, sizeof(*y));

	if (!y) {
		snprintf(err, err_len, "out of memory for a data plane");
		return NULL;
	}
	y->raw.plane = (struct ftt_plane){.does = &does, .can = FTT_PLANE_HOLDS, .fd = {-1, -1}};
	y->raw.emit.fd4 = y->raw.emit.fd6 = y->timer_fd = -1;
	y->owner = owner;
	y->hooks = *cfg->hooks;
	if (open_sets(y)) {
		snprintf(err, err_len, "descriptors of the programmable engine's queues: %s", strerror(errno));
	} else if (!ftt_emit_open(&y->raw.emit, owner.shared, cfg->mark, err, err_len)) {
		return &y->raw.plane;
	}
	close_it(&y->raw.plane);
	return NULL;
}
