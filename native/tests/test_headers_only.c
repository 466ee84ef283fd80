/* SPDX-License-Identifier: Apache-2.0 */
/* test_headers_only.c - long segments of clients, of which the engine has the headers: who edits them? */
#define _GNU_SOURCE
#include <stdlib.h>
#include "engine/flows/act.h"
#include "check.h"
#include "engine/flows/hold.h"
#include "engine/planes/model/plane_model.h"

enum { MIRROR = 3, SERVICE = 4 };

static uint16_t md5_at; /* of the segments that come */
static enum { NOTHING, STAMPED, AGAIN, ACCEPTED, DROPPED } said;
static uint32_t told;

static void verdict(struct ftt_plane *q, uint16_t queue, uint32_t id, bool accept, const uint8_t *bytes, uint32_t len)
{
	(void)q, (void)queue, (void)id, (void)bytes, (void)len;
	said = accept ? ACCEPTED : DROPPED;
}

static void stamp(struct ftt_plane *q, uint16_t queue, uint32_t id, uint32_t ack, uint32_t tsecr)
{
	(void)q, (void)queue, (void)id, (void)tsecr;
	said = STAMPED;
	told = ack;
}

static void again(struct ftt_plane *q, uint16_t queue, uint32_t id)
{
	(void)q, (void)queue, (void)id;
	said = AGAIN;
}

static struct ftt_plane_ops does;
static struct ftt_plane plane = {.does = &does, .can = FTT_PLANE_STAMPS | FTT_PLANE_HOLDS};

void ftt_tcp_act(struct ftt_worker *w, struct ftt_tcp *c, uint32_t actions, uint64_t now_ns)
{
	(void)w, (void)c, (void)actions, (void)now_ns;
	abort(); /* nothing is released here */
}

/* A segment of 1,000 bytes, headers only, that came on an interface; its acknowledgement is to become `ack`, 0: it may stay. */
static void pass(struct ftt_worker *w, uint32_t in_index, uint32_t ack)
{
	static uint8_t headers[FTT_PLANE_HEADERS];
	const struct ftt_packet p = {.in_index = in_index, .bytes = headers, .cap = sizeof(headers), .len = 1052};
	const struct ftt_seg s = {.dir = FTT_FROM_CLIENT, .flags = TCP_ACK, .ack = 7, .len = 1000};
	const struct ftt_edit e = {.change = ack ? FTT_EDIT_ACK : 0, .ack = ack};
	const struct ftt_pkt k = {.md5_at = md5_at};
	struct ftt_flow f = {0};

	said = NOTHING;
	told = 0;
	ftt_tcp_pass_edited(w, &f, &p, &k, &s, &e);
}

int main(void)
{
	static struct ftt_worker w = {.mirror_index = MIRROR, .plane = &plane, .mode = FTT_MODE_BACKUP};

	does = plane_model;
	does.verdict = verdict;
	does.stamp = stamp;
	does.again = again;
	pass(&w, MIRROR, 9);
	CHECK(said == STAMPED && told == 9);
	pass(&w, MIRROR, 0);
	CHECK(said == STAMPED && !told && !w.whole);
	md5_at = 44;
	pass(&w, MIRROR, 9); /* the kernel's rule does not sign */
	CHECK(said == AGAIN && w.whole);
	w.whole = false;
	md5_at = 0;

	/* after a takeover some of the mirror still come, and the first that are meant for us */
	w.mode = FTT_MODE_SOLO;
	pass(&w, MIRROR, 9);
	CHECK(said == STAMPED && told == 9);
	pass(&w, SERVICE, 0);
	CHECK(said == ACCEPTED && !w.whole);
	pass(&w, SERVICE, 9); /* no rule edits it: unedited, it would acknowledge what the client does not have */
	CHECK(said == AGAIN && w.whole);

	/* an interface that was made anew has another index; and a kernel without such rules */
	w.mode = FTT_MODE_BACKUP;
	w.mirror_index = 0;
	pass(&w, MIRROR, 9);
	CHECK(said == AGAIN);
	w.mirror_index = MIRROR;
	plane.can = FTT_PLANE_HOLDS;
	pass(&w, MIRROR, 9);
	CHECK(said == AGAIN);
	return 0;
}
