/* SPDX-License-Identifier: Apache-2.0 */
/* spill_rig.h - a node whose logs go on in a spool, in a directory of the test's own. Included once. */
#ifndef FTTCP_SPILL_RIG_H
#define FTTCP_SPILL_RIG_H
#include <dirent.h>
#include <limits.h>
#include <semaphore.h>
#include <time.h>
#include <unistd.h>
#include "engine/flows/act.h"
#include "engine/flows/renew.h"
#include "engine/flows/renew_lane.h"
#include "engine/flows/spill.h"
#include "model_node.h"

#define S (1000 * MS)
#define IRS 0xfffff000u /* the stream passes the turn of its numbers */
#define ISS 7000u
#define FLOW_BYTES (100u << 10)
#define LONG (3u << 20) /* bytes of a stream */

uint64_t model_seed, model_now = 1000 * S;

uint32_t model_random(uint32_t below)
{
	model_seed = model_seed * 6364136223846793005u + 1442695040888963407u;
	return (uint32_t)(model_seed >> 33) % below;
}

bool model_chance(uint32_t per_mille)
{
	return model_random(1000) < per_mille;
}

uint8_t model_byte(const struct stack *sender, uint32_t offset)
{
	(void)sender, (void)offset;
	return 0;
}

bool model_is_right(const struct stack *receiver, uint32_t offset, uint8_t byte)
{
	(void)receiver, (void)offset, (void)byte;
	return true;
}

/* --- the lane: what was said of logs ------------------------------------------------------------------ */

static uint8_t said[LONG + (1u << 20)];
static uint32_t n_said;
static bool said_all;
static unsigned resumed;

bool ftt_lane_up(const struct ftt_bulk_lane *l, uint8_t worker)
{
	(void)l;
	return !worker;
}

uint32_t ftt_lane_room(struct ftt_bulk_lane *l, uint8_t to)
{
	(void)l, (void)to;
	return 1u << 20;
}

bool ftt_lane_send(struct ftt_bulk_lane *l, uint8_t to, uint8_t kind, const uint8_t *bytes, uint32_t len)
{
	struct ftt_record head;
	uint32_t at;

	(void)l, (void)to;
	if (kind != FTT_LANE_LOG)
		return true;
	at = (uint32_t)ftt_record_get(bytes, len, &head);
	CHECK(at && n_said + len - at <= sizeof(said));
	memcpy(said + n_said, bytes + at, len - at);
	n_said += len - at;
	said_all |= head.flags & FTT_REC_FINAL;
	return true;
}

void ftt_lane_resume(struct ftt_bulk_lane *l, uint8_t from)
{
	(void)l, (void)from;
	resumed++;
}

/* --- a node with a spool --------------------------------------------------------------------------------- */

static struct node node;
static char directory[] = "/tmp/fttcp-spill-XXXXXX";
static sem_t news;
static uint8_t stream[LONG];
static unsigned n_told[256]; /* records to the peer, by type */

static inline void told(void *w)
{
	(void)w;
	sem_post(&news);
}

static inline void gone(struct node *n, struct wire *packet)
{
	(void)n;
	free(packet);
}

static inline void to_peer(struct node *n, struct wire *packet)
{
	struct ftt_record r;

	(void)n;
	for (size_t at = 0, used; at < packet->len && (used = ftt_record_get(packet->bytes + at, packet->len - at, &r)); at += used)
		n_told[r.type]++;
	free(packet);
}

/* The disk has done something more. */
static inline void wait_for_disk(void)
{
	struct timespec until;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += 60;
	CHECK(!sem_timedwait(&news, &until));
	ftt_spill_done(&node.worker, model_now);
	node_run(&node);
}

#define UNTIL(condition) \
	do { \
		while (!(condition)) \
			wait_for_disk(); \
	} while (0)

static inline struct node *open_node(uint32_t mode, uint64_t spool_bytes)
{
	struct ftt_policy *policy = &node.engine.cfg.policy;

	node_open(&node, "node", mode, 4);
	policy->renew = 1;
	policy->renew_flow = FLOW_BYTES;
	policy->renew_bytes = 1 << 24;
	policy->spool_bytes = spool_bytes;
	node.to_client = gone;
	node.to_peer = to_peer;
	snprintf(node.engine.cfg.spool, sizeof(node.engine.cfg.spool), "%s/spool", directory);
	ftt_spill_open(&node.worker, told);
	CHECK(node.worker.spool);
	n_said = resumed = 0;
	said_all = false;
	memset(n_told, 0, sizeof(n_told));
	return &node;
}

static inline void close_node(void)
{
	ftt_renew_role(&node.worker);
	node_close(&node);
	CHECK(!node.worker.n_pages);
	ftt_spill_close(&node.worker);
	while (!sem_trywait(&news))
		;
}

static inline struct ftt_tcp *establish(uint16_t port, enum ftt_protection protection)
{
	struct ftt_key k = {.remote_port = port, .local_port = 80, .proto = 6};
	struct ftt_tcp *c;
	uint8_t syn[FTT_BARE_MAX];
	struct ftt_bare b = {.src = k.remote, .dst = k.local, .sport = port, .dport = 80, .seq = IRS, .flags = TCP_SYN, .wnd = 5000};

	k.remote[10] = k.remote[11] = k.local[10] = k.local[11] = 0xff;
	k.remote[15] = 1;
	k.local[15] = 2;
	c = ftt_table_add(&node.worker.table, &k, model_now);
	CHECK(c);
	ftt_flow_init(&c->flow, IRS, model_now);
	c->flow.local_iss = ISS - 1;
	ftt_flow_map(&c->flow, c->flow.local_iss);
	c->flow.client_acked = c->flow.local_snd_nxt = c->flow.sent = c->flow.delivered_ack = ISS;
	c->flow.told_ack = c->flow.committed = c->flow.in_order = c->flow.local_rcv_nxt = IRS + 1;
	c->flow.local_edge = c->flow.advertised_edge = IRS + 1 + 60000;
	c->flow.bits |= FTT_F_SYNACK | FTT_F_ESTABLISHED;
	c->flow.protection = (uint8_t)protection;
	ftt_log_begin(&node.worker, c, syn, ftt_build_segment(syn, &b, NULL, 0));
	CHECK(c->log);
	ftt_tcp_act(&node.worker, c, 0, model_now);
	return c;
}

static inline void protect(struct ftt_tcp *c, enum ftt_protection protection)
{
	c->flow.protection = (uint8_t)protection;
	ftt_table_update(&node.worker.table, c, node.worker.mode);
}

static inline bool keep(struct ftt_tcp *c, uint32_t offset, uint32_t len, uint8_t flags)
{
	struct ftt_piece x = {.offset = offset, .len = (uint16_t)len, .flags = flags, .bytes = stream + offset, .after = offset / 50000};

	return ftt_log_append(&node.worker, c, &x);
}

/* So much of the stream, in order. */
static inline void keep_all(struct ftt_tcp *c, uint32_t upto)
{
	for (uint32_t at = c->log->end, n; c->log && at < upto && keep(c, at, n = upto - at < 1448 ? upto - at : 1448, 0); at += n)
		;
}

static inline void written(void)
{
	UNTIL(!ftt_spool_waiting(node.worker.spool));
}

/* The only file without a name there. */
static inline int spool_fd(void)
{
	DIR *all = opendir("/proc/self/fd");
	int found = -1;

	CHECK(all);
	for (const struct dirent *one; (one = readdir(all));) {
		char path[PATH_MAX], target[PATH_MAX];
		ssize_t n;

		snprintf(path, sizeof(path), "/proc/self/fd/%s", one->d_name);
		n = readlink(path, target, sizeof(target) - 1);
		target[n > 0 ? n : 0] = 0;
		if (strstr(target, directory)) {
			CHECK(found < 0);
			found = atoi(one->d_name);
		}
	}
	closedir(all);
	CHECK(found >= 0);
	return found;
}

static uint32_t given;

static inline int now(struct ftt_plane *p, const uint8_t *packet, size_t len, bool to_client)
{
	struct ftt_pkt k;
	struct ftt_seg s;

	(void)p;
	CHECK(!to_client && ftt_parse(packet, len, len, &k, &s) == FTT_PARSED_TCP);
	CHECK(s.seq == IRS + 1 + given && !memcmp(packet + k.payload, stream + given, s.len));
	given += s.len;
	return 0;
}

/* The backup plays it to its stack; `does` is its plane's, which looks at what is given. */
static inline struct ftt_renewal *plays(struct node *n, struct ftt_tcp *c, struct ftt_plane_ops *does)
{
	struct ftt_renewal *r = ftt_renewal_begin(&n->worker, c, model_now);

	does->now = now;
	n->plane.does = does;
	given = 0;
	ftt_renewal_stage(&n->worker, r, FTT_RENEW_CATCHING);
	r->given = IRS + 1;
	return r;
}

/* A directory of its own, and a stream that a client says. */
static inline void begin(void)
{
	CHECK(mkdtemp(directory) && !sem_init(&news, 0, 0));
	for (uint32_t i = 0; i < LONG; i++)
		stream[i] = (uint8_t)(i * 2654435761u >> 24);
}

/* Nothing was left there. */
static inline void end(void)
{
	char path[64];

	snprintf(path, sizeof(path), "%s/spool", directory);
	CHECK(!rmdir(path) && !rmdir(directory));
}

#endif
