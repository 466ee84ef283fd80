/* SPDX-License-Identifier: Apache-2.0 */
/* test_python_plane.c - the plane whose packets come from functions, and whose verdicts go to them. */
#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include "check.h"
#include "engine/planes/emit.h"
#include "engine/planes/python/hooks.h"
#include "engine/planes/python/python.h"

#define MANY 300u
#define PAST 1

/* What stands for the program that has the packets. */
static struct {
	unsigned waiting;  /* packets, each of as many bytes as its number says */
	uint32_t number;   /* of the next one */
	int64_t answer;    /* of take() */
	uint32_t lane, mode;
	unsigned accepted, dropped, changed, calls;
} them;

static struct ftt_shared shared;
static struct ftt_plane *plane;
static unsigned made_room;

uint64_t ftt_now_ns(void)
{
	return 1000;
}

/* packets of our own are tested elsewhere */
int ftt_emit_open(struct ftt_emit *m, const struct ftt_shared *s, uint32_t mark, char *err, size_t err_len)
{
	(void)m, (void)s, (void)mark, (void)err, (void)err_len;
	return 0;
}

void ftt_emit_close(struct ftt_emit *m)
{
	(void)m;
}

void ftt_raw_bare(struct ftt_plane *p, const struct ftt_bare *b, bool to_client)
{
	(void)p, (void)b, (void)to_client;
}

void ftt_raw_small(struct ftt_plane *p, const uint8_t *packet, size_t len)
{
	(void)p, (void)packet, (void)len;
}

int ftt_raw_now(struct ftt_plane *p, const uint8_t *packet, size_t len, bool to_client)
{
	(void)p, (void)packet, (void)len, (void)to_client;
	return 0;
}

void ftt_raw_send(struct ftt_plane *p)
{
	(void)p;
}

void ftt_raw_count(struct ftt_plane *p, struct ftt_counters *n)
{
	(void)p, (void)n;
}

static int64_t take(void *of, uint32_t lane, uint32_t mode, void *basket)
{
	uint8_t bytes[2000];

	CHECK(of == &them);
	them.lane = lane;
	them.mode = mode;
	for (; them.waiting; them.waiting--, them.number++) {
		memset(bytes, (uint8_t)them.number, sizeof(bytes));
		CHECK(ftt_hand_over(basket, them.number, them.number % 2, bytes, them.number, them.number));
		bytes[0]++; /* it was copied */
	}
	return them.answer;
}

static void give(void *of, const struct ftt_fate *fates, uint32_t n)
{
	CHECK(of == &them && n);
	them.calls++;
	for (uint32_t i = 0; i < n; i++) {
		*(fates[i].accept ? &them.accepted : &them.dropped) += 1;
		CHECK(!fates[i].emits || fates[i].id % 2 == 0); /* those of our stack */
		if (fates[i].bytes) {
			CHECK_EQ(fates[i].len, fates[i].id);
			CHECK_EQ(fates[i].bytes[0], 0xee);
			them.changed++;
		}
	}
}

static void make_room(void *of)
{
	CHECK(of == &shared);
	made_room++;
	ftt_plane_flush(plane);
}

static void lease(bool on)
{
	atomic_store(&shared.mode, FTT_MODE_SOLO);
	atomic_store(&shared.lease_policy, FTT_LEASE_SELF);
	atomic_store(&shared.lease_until_ns, on ? UINT64_MAX : PAST);
}

static bool readable(unsigned lane)
{
	struct pollfd p = {.fd = plane->fd[lane], .events = POLLIN};

	return poll(&p, 1, 0) == 1;
}

/* Receives what waits, and answers it: every third is changed, every fifth dropped. */
static unsigned answer_all(void)
{
	struct ftt_packet k;
	unsigned n = 0;

	while (ftt_plane_next(plane, FTT_LANE_FLOWS, &k)) {
		CHECK_EQ(k.len, k.id);
		CHECK_EQ(k.bytes[0], (uint8_t)k.id);
		CHECK(k.csum_ready && k.csum_unknown && k.from_client == k.id % 2);
		if (k.id % 3 == 0)
			memset(k.bytes, 0xee, k.cap);
		ftt_plane_verdict(plane, k.queue, k.id, k.id % 5, k.id % 3 == 0 && k.id % 5 ? k.bytes : NULL, k.len);
		n++;
	}
	return n;
}

static void test_packets_go_round(void)
{
	bool full;

	lease(true);
	them.waiting = MANY;
	them.number = 1;
	CHECK_EQ(ftt_plane_receive(plane, FTT_LANE_FLOWS, &full), MANY);
	CHECK(full && them.lane == FTT_LANE_FLOWS && them.mode == FTT_MODE_SOLO);
	CHECK_EQ(ftt_plane_gathered(plane, FTT_LANE_FLOWS), 0);
	CHECK_EQ(answer_all(), MANY);
	CHECK(made_room == 2 && them.calls == 2); /* a batch is full before the next verdict */
	CHECK(ftt_plane_gathered(plane, FTT_LANE_FLOWS) > MANY); /* its packets' bytes are still wanted */
	ftt_plane_flush(plane);
	CHECK_EQ(ftt_plane_gathered(plane, FTT_LANE_FLOWS), 0);
	CHECK(them.accepted == MANY / 5 * 4 && them.dropped == MANY / 5 && them.changed == MANY / 3 - MANY / 15);
	CHECK_EQ(ftt_plane_receive(plane, FTT_LANE_HANDSHAKES, &full), 0);
	CHECK(!full && them.lane == FTT_LANE_HANDSHAKES);
	ftt_plane_flush(plane);
	CHECK_EQ(them.calls, 3);
}

static void test_without_the_lease_only_input_goes(void)
{
	struct ftt_counters n = {0};
	bool full;

	lease(true);
	memset(&them, 0, sizeof(them));
	them.waiting = 2;
	them.number = 11; /* and 12 */
	CHECK_EQ(ftt_plane_receive(plane, FTT_LANE_FLOWS, &full), 2);
	CHECK(!full);
	CHECK_EQ(answer_all(), 2);
	lease(false);
	ftt_plane_flush(plane);
	CHECK(them.accepted == 1 && them.dropped == 1);
	ftt_plane_count(plane, &n);
	CHECK_EQ(n.drop_lease, 1);
	CHECK_EQ(n.verdicts, MANY + 2);
}

static void test_trouble_is_told(void)
{
	bool full;

	them.answer = -EIO;
	CHECK_EQ(ftt_plane_receive(plane, FTT_LANE_FLOWS, &full), -1);
	CHECK_EQ(errno, EIO);
	them.answer = 0;
}

/* What is kept back is asked for when its time has come, and in vain no more. */
static void test_it_asks_again_in_time(void)
{
	bool full;

	CHECK(!readable(FTT_LANE_FLOWS));
	them.answer = PAST;
	CHECK_EQ(ftt_plane_receive(plane, FTT_LANE_HANDSHAKES, &full), 0);
	CHECK(readable(FTT_LANE_FLOWS) && !readable(FTT_LANE_HANDSHAKES));
	them.answer = 0;
	CHECK_EQ(ftt_plane_receive(plane, FTT_LANE_FLOWS, &full), 0);
	CHECK(!readable(FTT_LANE_FLOWS));
	them.answer = INT64_MAX;
	CHECK_EQ(ftt_plane_receive(plane, FTT_LANE_FLOWS, &full), 0);
	CHECK(!readable(FTT_LANE_FLOWS));
}

int main(void)
{
	struct ftt_hooks hooks = {.of = &them, .take = take, .give = give};
	struct ftt_config cfg = {.hooks = &hooks};
	uint64_t one = 1;
	char err[256];
	bool full;

	for (unsigned i = 0; i < 4; i++)
		CHECK((hooks.fd[i / 2][i % 2] = eventfd(0, EFD_CLOEXEC)) >= 0);
	plane = ftt_python_open(&cfg, (struct ftt_plane_owner){.shared = &shared, .make_room = make_room, .of = &shared}, err, sizeof(err));
	CHECK(plane);
	test_packets_go_round();
	test_without_the_lease_only_input_goes();
	test_trouble_is_told();
	test_it_asks_again_in_time();
	for (unsigned i = 0; i < 4; i++) {
		CHECK_EQ(readable(i / 2), i % 2);
		CHECK_EQ(write(hooks.fd[i / 2][i % 2], &one, sizeof(one)), sizeof(one));
		CHECK(readable(i / 2));
	}
	them.waiting = 3; /* nobody answers them any more */
	them.number = 1;
	CHECK_EQ(ftt_plane_receive(plane, FTT_LANE_FLOWS, &full), 3);
	ftt_plane_close(plane);
	close(hooks.fd[0][0]);
	CHECK(!ftt_python_open(&cfg, (struct ftt_plane_owner){.shared = &shared, .make_room = make_room, .of = &shared}, err, sizeof(err)));
	CHECK(strstr(err, "descriptors"));
	for (unsigned i = 1; i < 4; i++)
		close(hooks.fd[i / 2][i % 2]);
	return 0;
}
