/* SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include <stdlib.h>
#include <string.h>
#include "engine/flows/udp_renew.h"
#include "udp_rig.h"

#define QUEUE_IN 1
#define QUEUE_OUT 2
#define CLIENT_PORT 40000

/* --- what the code under test calls: all is written down ---------------------------------------------- */

static void verdict(struct ftt_plane *plane, uint16_t queue, uint32_t id, bool accept, const uint8_t *bytes, uint32_t len)
{
	struct node *n = FTT_ENTRY(plane, struct node, plane);

	CHECK(queue == QUEUE_IN || queue == QUEUE_OUT);
	if (!accept) {
		n->n_dropped++;
		return;
	}
	CHECK(n->n_passed < 16);
	if (bytes) {
		memcpy(n->passed[n->n_passed].bytes, bytes, len);
		n->passed[n->n_passed].len = len;
	}
	n->passed_id[n->n_passed++] = id;
}

void ftt_channel_put_record(struct ftt_channel *c, uint8_t to, const struct ftt_record *r, struct ftt_counters *counters)
{
	struct node *n = FTT_ENTRY(c, struct node, worker.channel);
	size_t len = ftt_record_put(n->said + n->said_len, sizeof(n->said) - n->said_len, r);

	(void)counters;
	CHECK(len && to == 0);
	n->said_len += len;
}

bool ftt_channel_send_apart(struct ftt_channel *c, uint8_t to, const struct ftt_record *r, struct ftt_counters *counters)
{
	ftt_channel_put_record(c, to, r, counters);
	return !FTT_ENTRY(c, struct node, worker.channel)->cut;
}

bool ftt_lane_up(const struct ftt_bulk_lane *l, uint8_t worker)
{
	return !worker && FTT_ENTRY(l, struct node, worker.lane)->lane_up;
}

uint32_t ftt_lane_room(struct ftt_bulk_lane *l, uint8_t to)
{
	const struct node *n = FTT_ENTRY(l, struct node, worker.lane);

	if (!ftt_lane_up(l, to))
		return 0;
	return n->lane_room ? n->lane_room : FTT_LANE_MAX;
}

bool ftt_lane_send(struct ftt_bulk_lane *l, uint8_t to, uint8_t kind, const uint8_t *bytes, uint32_t len)
{
	struct node *n = FTT_ENTRY(l, struct node, worker.lane);

	if (kind == FTT_LANE_DROP)
		return n->dropped = true;
	CHECK_EQ(kind, FTT_LANE_SESSION);
	CHECK(n->lane_len + 4 + len <= sizeof(n->lane));
	if (ftt_lane_room(l, to) < len)
		return false;
	put_be32(n->lane + n->lane_len, len);
	memcpy(n->lane + n->lane_len + 4, bytes, len);
	n->lane_len += 4 + len;
	return true;
}

static int emit_now(struct ftt_plane *plane, const uint8_t *packet, size_t len, bool to_client)
{
	struct node *n = FTT_ENTRY(plane, struct node, plane);

	if (to_client && !ftt_may_emit(&n->engine.shared, MS))
		return -1;
	CHECK(n->n_emitted < 16);
	memcpy(n->emitted[n->n_emitted].bytes, packet, len < PACKET_MAX ? len : PACKET_MAX);
	n->emitted[n->n_emitted].len = (uint32_t)len;
	n->emitted[n->n_emitted].l4 = packet[0] >> 4 == 4 ? 20 : 40;
	n->to_client[n->n_emitted++] = to_client;
	return 0;
}

void ftt_event_post(struct ftt_engine *e, const struct ftt_event *ev)
{
	struct node *n = FTT_ENTRY(e, struct node, engine);

	if (ev->kind == FTT_EV_DIVERGENCE)
		return;
	CHECK_EQ(ev->kind, FTT_EV_FLOW_DETACHED);
	n->n_detached++;
	n->why = ev->reason;
}

/* --- two nodes --------------------------------------------------------------------------------------- */

struct node p, b;
static struct ftt_plane_ops does;

void lease(struct node *n, bool on)
{
	atomic_store(&n->engine.shared.lease_policy, FTT_LEASE_SELF);
	atomic_store(&n->engine.shared.lease_until_ns, on ? UINT64_MAX : 0);
}

void role(struct node *n, uint32_t mode)
{
	n->worker.mode = mode;
	atomic_store(&n->engine.shared.mode, mode);
	lease(n, mode != FTT_MODE_BACKUP);
}

void new_role(struct node *n, uint32_t mode)
{
	n->worker.takes_over = n->worker.mode == FTT_MODE_BACKUP && ftt_flow_emits((uint8_t)mode);
	role(n, mode);
	ftt_udp_new_role(&n->worker.udp);
}

static void begin(struct node *n, uint32_t mode)
{
	struct ftt_config *cfg = &n->engine.cfg;

	memset(n, 0, sizeof(*n));
	cfg->port[0] = (struct ftt_port){.port = SERVER, .proto = 17};
	cfg->n_ports = 1;
	cfg->policy.max_flows = 64;
	cfg->policy.max_held = 8;
	cfg->policy.max_udp_bytes = 4096;
	cfg->policy.detach_after_ns = 50 * MS;
	cfg->policy.udp_idle_timeout_ns = 1000 * MS;
	n->worker.e = &n->engine;
	does = plane_model;
	does.verdict = verdict;
	does.now = emit_now;
	n->plane.does = &does;
	n->worker.plane = &n->plane;
	CHECK(!ftt_udp_open(&n->worker.udp, cfg));
	role(n, mode);
}

void begin_pair(void)
{
	begin(&p, FTT_MODE_PAIRED);
	begin(&b, FTT_MODE_BACKUP);
}

static void check_session(const struct ftt_udp_session *u)
{
	uint32_t bytes = 0, events = 0, replies = 0;

	for (uint32_t i = 0; u->ring && i < FTT_UDP_WINDOW; i++) {
		bytes += u->ring[i] ? u->ring[i]->len : 0;
		events += !!u->ring[i];
	}
	for (const struct ftt_udp_reply *r = u->replies; r; r = r->next, replies++)
		bytes += r->bytes ? r->len : 0;
	CHECK_EQ(u->bytes, bytes);
	CHECK_EQ(u->n_events, events);
	CHECK_EQ(u->n_replies, replies);
}

/* What is counted as it changes is what counting it anew gives. */
static void check_counts(const struct node *n)
{
	const struct ftt_udp_table *t = &n->worker.udp;
	uint32_t sessions = 0, count[FTT_CATCHING_UP + 1] = {0}, held = 0, logs = 0, renewed = 0;
	uint32_t why[FTT_UNRENEWABLES] = {0};
	uint64_t log_bytes = 0;

	for (const struct ftt_udp_session *u = NULL; (u = ftt_udp_next(t, u)); sessions++) {
		check_session(u);
		count[u->s.protection]++;
		logs += !!u->log;
		why[u->unrenewable]++;
		renewed += ftt_udp_stage(u) != FTT_UDP_STILL;
		log_bytes += u->log ? sizeof(*u->log) + u->log->size : 0;
		CHECK(!u->log == ftt_unrenewable(u->unrenewable) || ftt_udp_stage(u) || u->log->left);
		for (const struct ftt_udp_reply *r = u->replies; r; r = r->next)
			held += !r->bytes;
	}
	CHECK_EQ(t->n, sessions);
	for (unsigned i = 0; i <= FTT_CATCHING_UP; i++)
		CHECK_EQ(t->count[i], count[i]);
	CHECK_EQ(n->worker.held_now, held);
	CHECK_EQ(n->worker.log_bytes, log_bytes);
	CHECK_EQ(n->worker.n_logs, logs);
	CHECK_EQ(t->n_renewed, renewed);
	for (unsigned i = 0; i < FTT_UNRENEWABLES; i++)
		CHECK_EQ(t->why[i], why[i]);
}

static void end(struct node *n)
{
	check_counts(n);
	ftt_udp_free_spent(&n->worker.udp);
	ftt_udp_forget_all(&n->worker);
	CHECK_EQ(n->worker.held_now, 0);
	ftt_udp_close(&n->worker.udp);
}

void end_pair(void)
{
	end(&p);
	end(&b);
}

int hear(struct node *from, struct node *to, uint8_t type, uint64_t now_ns)
{
	static uint8_t said[sizeof(p.said)];
	size_t len = from->said_len, at = 0;
	int n = 0;

	memcpy(said, from->said, len);
	from->said_len = 0;
	while (at < len) {
		struct ftt_record r;
		size_t used = ftt_record_get(said + at, len - at, &r);

		CHECK(used);
		at += used;
		n += r.type == type;
		if (to)
			ftt_udp_record(&to->worker, &r, 0, now_ns);
	}
	if (to)
		check_counts(to);
	return n;
}

int lose(struct node *from, uint8_t type)
{
	return hear(from, NULL, type, 0);
}

struct packet datagram(int family, bool from_client, uint16_t server_port, const char *payload, uint32_t len)
{
	struct packet_spec s = {.family = family, .proto = 17};
	struct packet k = {0};
	uint16_t sum;

	k.l4 = packet_ip(k.bytes, &s, 8 + len);
	k.len = k.l4 + 8 + len;
	if (!from_client) { /* the other way round; the sums do not change */
		uint32_t at = family == 4 ? 12 : 8, size = family == 4 ? 4 : 16;
		uint8_t src[16];

		memcpy(src, k.bytes + at, size);
		memcpy(k.bytes + at, k.bytes + at + size, size);
		memcpy(k.bytes + at + size, src, size);
	}
	put_be16(k.bytes + k.l4, from_client ? CLIENT_PORT : server_port);
	put_be16(k.bytes + k.l4 + 2, from_client ? server_port : CLIENT_PORT);
	put_be16(k.bytes + k.l4 + 4, (uint16_t)(8 + len));
	memcpy(k.bytes + k.l4 + 8, payload, len);
	sum = (uint16_t)~packet_l4_sum(k.bytes, k.l4, k.len, 17);
	put_be16(k.bytes + k.l4 + 6, sum ? sum : 0xffff);
	return k;
}

void give(struct node *n, struct packet k, bool from_client, bool csum_ready, uint64_t now_ns)
{
	struct ftt_packet q = {.id = ++n->next_id, .queue = from_client ? QUEUE_IN : QUEUE_OUT, .from_client = from_client,
			       .csum_ready = csum_ready, .csum_unknown = true, .bytes = k.bytes, .cap = k.len, .len = k.len};
	struct ftt_pkt pkt;
	struct ftt_seg seg;

	CHECK_EQ(ftt_parse(q.bytes, q.cap, q.len, &pkt, &seg), FTT_PARSED_UDP);
	if (from_client)
		ftt_udp_from_client(&n->worker, &q, &pkt, now_ns);
	else
		ftt_udp_from_server(&n->worker, &q, &pkt, now_ns);
	check_counts(n);
}

void ask_as(struct node *n, uint16_t client, uint64_t now_ns)
{
	struct packet k = datagram(4, true, SERVER, "ask", 3);

	csum_replace16(k.bytes + k.l4 + 6, CLIENT_PORT, client);
	put_be16(k.bytes + k.l4, client);
	give(n, k, true, true, now_ns);
}

void answer_to(struct node *n, uint16_t client, uint64_t now_ns)
{
	struct packet k = datagram(4, false, SERVER, "answer", 6);

	csum_replace16(k.bytes + k.l4 + 6, CLIENT_PORT, client);
	put_be16(k.bytes + k.l4 + 2, client);
	give(n, k, false, true, now_ns);
}

void ask(struct node *n, uint64_t now_ns)
{
	ask_as(n, CLIENT_PORT, now_ns);
}

void answer(struct node *n, uint64_t now_ns)
{
	answer_to(n, CLIENT_PORT, now_ns);
}

struct ftt_udp_session *only(struct node *n)
{
	CHECK_EQ(n->worker.udp.n, 1);
	return ftt_udp_next(&n->worker.udp, NULL);
}

int hear_lane(struct node *from, struct node *to, uint64_t now_ns)
{
	uint32_t at = 0;
	int n = 0;

	for (uint32_t len; at < from->lane_len; at += len, n++) {
		len = get_be32(from->lane + at);
		at += 4;
		CHECK_EQ(ftt_udp_renew_message(&to->worker, 0, from->lane + at, len, now_ns), FTT_LANE_TAKEN);
		check_counts(to);
	}
	from->lane_len = 0;
	return n;
}

void renewals(void)
{
	struct node *nodes[] = {&p, &b};

	for (int i = 0; i < 2; i++) {
		nodes[i]->engine.cfg.policy.renew = 1;
		nodes[i]->engine.cfg.policy.renew_flow = 1 << 20;
		nodes[i]->engine.cfg.policy.renew_bytes = 1 << 20;
	}
}

void begin_order(void)
{
	begin_pair();
	p.engine.cfg.policy.detach_after_ns = b.engine.cfg.policy.detach_after_ns = 2000 * MS;
}

void converse(unsigned n, uint64_t now)
{
	for (unsigned i = 0; i < n; i++) {
		p.n_passed = 0; /* the rig keeps a few only */
		ask(&p, now);
		answer(&p, now);
		hear(&p, &b, FTT_REC_EVENT, now);
		hear(&b, &p, FTT_REC_EVENT_ACK, now);
		hear(&p, &b, FTT_REC_SENT, now);
	}
}
