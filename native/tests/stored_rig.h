/* SPDX-License-Identifier: Apache-2.0 */
/* stored_rig.h - two nodes with stored replies, on real files; what is on the lane between them waits to be carried. For one program. */
#ifndef FTTCP_STORED_RIG_H
#define FTTCP_STORED_RIG_H
#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include "check.h"
#include "core/records/lane_wire.h"
#include "engine/flows/stored.h"
#include "engine/planes/model/plane_model.h"
#include "packet.h"

#define MS 1000000ull
#define SERVER 5000
#define CLIENT 40000
#define QUEUE_IN 1
#define QUEUE_OUT 2
#define PATIENCE_MS 20000
#define BOUND_NS (2000 * MS) /* for which a node waits for the other one */
#define ROOM 65536u

struct node {
	struct ftt_engine engine;
	struct ftt_worker worker;
	struct ftt_plane plane;
	uint32_t next_id;
	uint32_t passed, dropped; /* the last packets of which it was so */
	unsigned n_passed, n_dropped, n_said;
	uint8_t said[2048];       /* the last packet of its own to a client */
	uint32_t said_len;
	uint8_t lane[ROOM];
	uint32_t lane_len;
	bool lane_up, lane_full, resumed;
	unsigned news[FTT_STORED_UNREAD + 1];
	uint32_t lag; /* with BEHIND */
	char dir[64];
};

static char top[] = "/tmp/fttcp-stored-XXXXXX", err[256];
static struct node p, b;
static struct ftt_plane_ops does;
static int woken_fd;
static _Atomic int sync_error;
static pthread_mutex_t disk = PTHREAD_MUTEX_INITIALIZER; /* who has it keeps the disk from syncing */
static uint64_t now = MS, sessions;

/* --- what the code under test calls ------------------------------------------------------------------------ */

int fdatasync(int fd)
{
	(void)fd;
	pthread_mutex_lock(&disk);
	pthread_mutex_unlock(&disk);
	errno = atomic_load(&sync_error);
	return errno ? -1 : 0;
}

uint64_t ftt_now_ns(void)
{
	return now;
}

static void verdict(struct ftt_plane *plane, uint16_t queue, uint32_t id, bool accept, const uint8_t *bytes, uint32_t len)
{
	struct node *n = FTT_ENTRY(plane, struct node, plane);

	(void)len;
	CHECK((queue == QUEUE_IN || queue == QUEUE_OUT) && !bytes);
	*(accept ? &n->passed : &n->dropped) = id;
	*(accept ? &n->n_passed : &n->n_dropped) += 1;
}

static int emit_now(struct ftt_plane *plane, const uint8_t *packet, size_t len, bool to_client)
{
	struct node *n = FTT_ENTRY(plane, struct node, plane);

	CHECK(to_client && len <= sizeof(n->said));
	memcpy(n->said, packet, len);
	n->said_len = (uint32_t)len;
	n->n_said++;
	return 0;
}

bool ftt_lane_up(const struct ftt_bulk_lane *l, uint8_t worker)
{
	return !worker && FTT_ENTRY(l, struct node, worker.lane)->lane_up;
}

uint32_t ftt_lane_room(struct ftt_bulk_lane *l, uint8_t to)
{
	const struct node *n = FTT_ENTRY(l, struct node, worker.lane);

	return ftt_lane_up(l, to) && !n->lane_full ? ROOM - n->lane_len - 8 : 0;
}

bool ftt_lane_send(struct ftt_bulk_lane *l, uint8_t to, uint8_t kind, const uint8_t *bytes, uint32_t len)
{
	struct node *n = FTT_ENTRY(l, struct node, worker.lane);

	if (ftt_lane_room(l, to) < len)
		return false;
	put_be32(n->lane + n->lane_len, (uint32_t)kind << 24 | len);
	memcpy(n->lane + n->lane_len + 4, bytes, len);
	n->lane_len += 4 + len;
	return true;
}

void ftt_lane_resume(struct ftt_bulk_lane *l, uint8_t from)
{
	(void)from;
	FTT_ENTRY(l, struct node, worker.lane)->resumed = true;
}

static void wake(void *w)
{
	(void)w;
	CHECK(!eventfd_write(woken_fd, 1));
}

void ftt_event_post(struct ftt_engine *e, const struct ftt_event *ev)
{
	struct node *n = FTT_ENTRY(e, struct node, engine);

	CHECK_EQ(ev->kind, FTT_EV_STORED);
	n->news[ev->reason]++;
	n->lag = ev->reason == FTT_STORED_BEHIND ? ev->link : n->lag;
	if (ev->reason == FTT_STORED_READ)
		wake(NULL);
}

/* --- nodes --------------------------------------------------------------------------------------------------- */

static void role(struct node *n, uint32_t mode)
{
	n->worker.mode = mode;
	n->worker.session = ++sessions;
	atomic_store(&n->engine.shared.mode, mode);
	atomic_store(&n->engine.shared.lease_policy, FTT_LEASE_SELF);
	atomic_store(&n->engine.shared.lease_until_ns, ftt_flow_emits((uint8_t)mode) ? UINT64_MAX : 0);
	if (n->worker.stored)
		ftt_stored_role(&n->worker);
}

/* Until the thread of a disk has said something. */
static void await_word(void)
{
	struct pollfd poll_one = {.fd = woken_fd, .events = POLLIN};
	eventfd_t woken;

	CHECK_EQ(poll(&poll_one, 1, PATIENCE_MS), 1);
	CHECK(!eventfd_read(woken_fd, &woken));
}

static void open_node(struct node *n)
{
	if (ftt_stored_open(&n->worker, wake, err, sizeof(err))) {
		fprintf(stderr, "%s\n", err);
		CHECK(false);
	}
	while (!ftt_stored_ready(&n->worker))
		await_word();
	ftt_stored_role(&n->worker);
}

static void begin(struct node *n, const char *name, uint32_t mode, const struct ftt_stored_config *cfg)
{
	memset(n, 0, sizeof(*n));
	snprintf(n->dir, sizeof(n->dir), "%s/%s", top, name);
	n->engine.cfg.port[0] = (struct ftt_port){.port = SERVER, .proto = 17};
	n->engine.cfg.n_ports = 1;
	n->engine.cfg.policy.max_held_total = 64;
	n->engine.cfg.policy.detach_after_ns = BOUND_NS;
	n->engine.cfg.stored = *cfg;
	snprintf(n->engine.cfg.stored.dir, sizeof(n->engine.cfg.stored.dir), "%s", n->dir);
	n->worker.e = &n->engine;
	does = plane_model;
	does.verdict = verdict;
	does.now = emit_now;
	n->plane.does = &does;
	n->worker.plane = &n->plane;
	CHECK((n->worker.udp.scratch = malloc(70000)));
	role(n, mode);
	open_node(n);
}

static void end(struct node *n)
{
	DIR *at;

	ftt_stored_close(&n->worker);
	free(n->worker.udp.scratch);
	at = opendir(n->dir);
	CHECK(at);
	for (const struct dirent *one; (one = readdir(at));)
		if (one->d_name[0] != '.')
			CHECK(!unlinkat(dirfd(at), one->d_name, 0));
	closedir(at);
	CHECK(!rmdir(n->dir));
}

static const struct ftt_stored_config usual = {.bytes = 1 << 20, .answer_ns = 1000 * MS, .keep_s = 1000};

static void begin_one(const struct ftt_stored_config *cfg)
{
	begin(&p, "p", FTT_MODE_SOLO, cfg);
}

static void lanes(bool up)
{
	p.lane_len = b.lane_len = 0;
	p.lane_up = b.lane_up = up;
	ftt_stored_lane(&p.worker, up);
	ftt_stored_lane(&b.worker, up);
}

static void begin_pair(const struct ftt_stored_config *cfg)
{
	begin(&p, "p", FTT_MODE_PAIRED, cfg);
	begin(&b, "b", FTT_MODE_BACKUP, cfg);
	lanes(true);
}

/* --- what happens ------------------------------------------------------------------------------------------------ */

/* What is on the lane of one comes to the other; false if it was not taken, and is kept. */
static bool carry(struct node *from, struct node *to)
{
	static uint8_t bytes[ROOM];
	uint32_t len = from->lane_len, one;

	memcpy(bytes, from->lane, len);
	from->lane_len = 0;
	for (uint32_t at = 0; at < len; at += 4 + one) {
		enum ftt_lane_answer answer;

		one = get_be32(bytes + at) & 0xffffff;
		answer = ftt_stored_message(&to->worker, bytes[at], bytes + at + 4, one);
		if (answer == FTT_LANE_NOT_NOW) {
			memcpy(from->lane, bytes + at, len - at);
			from->lane_len = len - at;
			return false;
		}
		CHECK_EQ(answer, FTT_LANE_TAKEN);
	}
	return true;
}

static void await_disk(const struct node *n)
{
	const struct ftt_replies *t = &n->worker.stored->t;

	while (ftt_segments_there(t->segments) < t->number)
		await_word();
}

static void turn(struct node *n)
{
	ftt_stored_turn(&n->worker, now);
}

/* All disks and lanes have done what they can. */
static void settle(void)
{
	for (int i = 0; i < 4; i++) {
		await_disk(&p);
		turn(&p);
		if (!b.worker.stored)
			continue;
		carry(&p, &b);
		await_disk(&b);
		turn(&b);
		carry(&b, &p);
	}
}

static uint32_t give(struct node *n, bool from_client, uint16_t client, const char *payload, uint32_t payload_len)
{
	static struct packet k;
	struct packet_spec s = {.family = 4, .proto = 17};
	uint8_t src[4];
	struct ftt_packet q;
	struct ftt_pkt pkt;
	struct ftt_seg seg;

	memset(&k, 0, sizeof(k));
	k.l4 = packet_ip(k.bytes, &s, 8 + payload_len);
	k.len = k.l4 + 8 + payload_len;
	if (!from_client) {
		memcpy(src, k.bytes + 12, 4);
		memcpy(k.bytes + 12, k.bytes + 16, 4);
		memcpy(k.bytes + 16, src, 4);
	}
	put_be16(k.bytes + k.l4, from_client ? client : SERVER);
	put_be16(k.bytes + k.l4 + 2, from_client ? SERVER : client);
	put_be16(k.bytes + k.l4 + 4, (uint16_t)(8 + payload_len));
	memcpy(k.bytes + k.l4 + 8, payload, payload_len);
	q = (struct ftt_packet){.id = ++n->next_id, .queue = from_client ? QUEUE_IN : QUEUE_OUT, .from_client = from_client, .bytes = k.bytes,
				.cap = k.len, .len = k.len};
	CHECK_EQ(ftt_parse(q.bytes, q.cap, q.len, &pkt, &seg), FTT_PARSED_UDP);
	CHECK(ftt_stored_packet(&n->worker, &q, &pkt, now));
	return q.id;
}

static uint32_t ask(struct node *n, uint16_t client, const char *payload)
{
	return give(n, true, client, payload, (uint32_t)strlen(payload));
}

static uint32_t answer(struct node *n, uint16_t client, const char *payload)
{
	return give(n, false, client, payload, (uint32_t)strlen(payload));
}

static bool has_said(const struct node *n, const char *payload)
{
	uint32_t len = (uint32_t)strlen(payload);

	return n->said_len == 28 + len && !memcmp(n->said + 28, payload, len) && get_be16(n->said + 20) == SERVER;
}

static bool in_step(void)
{
	return p.worker.stored->pair.stage == FTT_STORED_BOTH;
}

static void await_trouble(struct node *n, int trouble)
{
	while (ftt_segments_trouble(n->worker.stored->t.segments) != trouble)
		await_word();
	turn(n);
}

#endif
