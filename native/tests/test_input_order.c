/* SPDX-License-Identifier: Apache-2.0 */
/* test_input_order.c - a backup's queue of clients' segments that answer what its server has not said yet. */
#define _GNU_SOURCE
#include "engine/flows/act.h"
#include "flows.h"
#include "engine/flows/hold.h"
#include "engine/planes/model/plane_model.h"

enum { MIRROR = 3, PATIENCE = 1000, HELD = 4 };

/* What became of each packet, by its number. */
static enum { WAITS, STAMPED, ACCEPTED, DROPPED } said[32];
static uint32_t told; /* the last acknowledgement that the kernel was to write */
static uint32_t acted;

static void verdict(struct ftt_plane *q, uint16_t queue, uint32_t id, bool accept, const uint8_t *bytes, uint32_t len)
{
	(void)q, (void)queue, (void)bytes, (void)len;
	CHECK_EQ(said[id], WAITS);
	said[id] = accept ? ACCEPTED : DROPPED;
}

static void stamp(struct ftt_plane *q, uint16_t queue, uint32_t id, uint32_t ack, uint32_t tsecr)
{
	(void)q, (void)queue, (void)tsecr;
	CHECK_EQ(said[id], WAITS);
	said[id] = STAMPED;
	told = ack;
}

static void again(struct ftt_plane *q, uint16_t queue, uint32_t id)
{
	(void)q, (void)queue, (void)id;
	CHECK(false);
}

void ftt_tcp_act(struct ftt_worker *w, struct ftt_tcp *c, uint32_t actions, uint64_t now_ns)
{
	(void)w, (void)c, (void)now_ns;
	acted |= actions;
}

static struct ftt_plane_ops does;
static struct ftt_plane plane = {.does = &does, .can = FTT_PLANE_STAMPS | FTT_PLANE_HOLDS};
static struct ftt_engine engine;
static struct ftt_worker w;
static struct ftt_tcp c;

static void begin(void)
{
	memset(said, 0, sizeof(said));
	does = plane_model;
	does.verdict = verdict;
	does.stamp = stamp;
	does.again = again;
	engine = (struct ftt_engine){.cfg.policy = {.max_held = HELD, .max_held_total = 2 * HELD, .detach_after_ns = PATIENCE * MS}};
	w = (struct ftt_worker){.e = &engine, .mirror_index = MIRROR, .plane = &plane, .mode = FTT_MODE_BACKUP};
	c = (struct ftt_tcp){.held_tail = &c.held};
	make_backup(&c.flow, &plain, MS);
}

/* The client's bytes from `in` on, sent when it had `out` of ours; the engine has the headers only. */
static void mirrored(uint32_t id, uint32_t in, uint32_t out, uint64_t now_ns)
{
	static uint8_t headers[FTT_PLANE_HEADERS];
	const struct ftt_packet p = {.id = id, .in_index = MIRROR, .bytes = headers, .cap = sizeof(headers), .len = 1052};
	const struct arrival s = of_client(&plain, FTT_MODE_BACKUP, in, out, 1000);
	const struct ftt_pkt k = {0};

	if (step(&c.flow, s, now_ns) == FTT_HOLD)
		ftt_tcp_hold(&w, &c, &p, &k, &s.seg, FTT_WAIT_ANSWERED, now_ns);
	else
		ftt_tcp_give(&w, &c, &p, &k, &s.seg, &edit);
}

static void server_says(uint32_t out, uint32_t in, uint32_t len)
{
	CHECK_EQ(step(&c.flow, from_backup(&plain, TCP_ACK, out, in, len), MS), FTT_DROP);
	if (edit.actions & FTT_ACT_RELEASE)
		ftt_tcp_release(&w, &c, MS);
	ftt_tcp_free_spent(&w);
}

static void test_each_goes_when_its_output_is_there(void)
{
	begin();
	mirrored(1, 0, 0, MS);
	CHECK_EQ(said[1], STAMPED);
	mirrored(2, 1000, 50, MS);
	mirrored(3, 2000, 100, MS);
	CHECK(said[2] == WAITS && said[3] == WAITS && w.held_now == 2 && w.n.ordered == 2 && !w.n.held);
	CHECK_EQ(c.bytes_in, 1000);
	server_says(0, 1000, 0);
	CHECK(said[2] == WAITS && said[3] == WAITS);
	server_says(0, 1000, 50);
	CHECK(said[2] == STAMPED && said[3] == WAITS);
	CHECK_EQ(told, plain.backup_iss + 51); /* the acknowledgement is that of now, not of when it came */
	server_says(50, 2000, 50);
	CHECK(said[3] == STAMPED && !c.held && !w.held_now && !c.flow.held_since_ns);
	CHECK_EQ(c.bytes_in, 3000);
	CHECK_EQ(w.n_lag, 0); /* that is of output which waited for COMMITs */
}

/* A segment with an acknowledgement that nobody ever earned stops none of those behind it. */
static void test_a_forged_one_stops_nobody(void)
{
	begin();
	mirrored(1, 0, 1u << 23, MS);
	mirrored(2, 1000, 0, MS);
	CHECK(said[1] == WAITS && said[2] == STAMPED);
	mirrored(3, 2000, 50, MS);
	mirrored(4, 0, 0, MS); /* what the client really wrote there */
	CHECK(said[3] == WAITS && said[4] == STAMPED);
	server_says(0, 3000, 50);
	CHECK(said[3] == STAMPED);
	CHECK_EQ(said[1], DROPPED); /* old by now, and still nobody has sent so much */
}

static void test_waiting_has_its_bounds(void)
{
	begin();
	for (uint32_t i = 1; i <= HELD + 1; i++)
		mirrored(i, 1000 * i, 50, MS);
	CHECK(said[HELD] == WAITS && said[HELD + 1] == DROPPED && w.n.hold_overflow == 1 && w.n.drop_bound == 1);
	CHECK_EQ(c.flow.protection, FTT_PROTECTED); /* it is not for a backup to give it up */
	ftt_tcp_release(&w, &c, (PATIENCE + 1) * MS);
	CHECK_EQ(said[1], WAITS);
	ftt_tcp_release(&w, &c, (PATIENCE + 2) * MS);
	CHECK(said[1] == DROPPED && said[HELD] == DROPPED && !w.held_now);
	ftt_tcp_free_spent(&w);
}

static void test_a_takeover_gives_all_at_once(void)
{
	begin();
	tell_output(&c.flow, &plain, 100);
	mirrored(1, 0, 50, MS);
	mirrored(2, 1000, 100, MS);
	w.mode = FTT_MODE_SOLO;
	ftt_flow_takeover(&c.flow, at(MS));
	ftt_tcp_release(&w, &c, 2 * MS);
	CHECK(said[1] == STAMPED && said[2] == STAMPED && !c.held);
	CHECK_EQ(told, plain.backup_iss + 1); /* the stack has sent nothing */
	ftt_tcp_free_spent(&w);
}

static void test_what_is_let_go_is_dropped(void)
{
	begin();
	mirrored(1, 0, 50, MS);
	mirrored(2, 1000, 100, MS);
	ftt_tcp_drop_held(&w, &c);
	CHECK(said[1] == DROPPED && said[2] == DROPPED && !w.held_now);
	ftt_tcp_free_spent(&w);
}

int main(void)
{
	test_each_goes_when_its_output_is_there();
	test_a_forged_one_stops_nobody();
	test_waiting_has_its_bounds();
	test_a_takeover_gives_all_at_once();
	test_what_is_let_go_is_dropped();
	return 0;
}
