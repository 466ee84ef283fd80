/* SPDX-License-Identifier: Apache-2.0 */
/* Logs that are too long for memory: whatever went to the disk is read back as it was, or not at all. */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <semaphore.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
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

static void told(void *w)
{
	(void)w;
	sem_post(&news);
}

static void gone(struct node *n, struct wire *packet)
{
	(void)n;
	free(packet);
}

static void to_peer(struct node *n, struct wire *packet)
{
	struct ftt_record r;

	(void)n;
	for (size_t at = 0, used; at < packet->len && (used = ftt_record_get(packet->bytes + at, packet->len - at, &r)); at += used)
		n_told[r.type]++;
	free(packet);
}

/* The disk has done something more. */
static void wait_for_disk(void)
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

static struct node *open_node(uint32_t mode, uint64_t spool_bytes)
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

static void close_node(void)
{
	ftt_renew_role(&node.worker);
	node_close(&node);
	CHECK(!node.worker.n_pages);
	ftt_spill_close(&node.worker);
	while (!sem_trywait(&news))
		;
}

static struct ftt_tcp *establish(uint16_t port, enum ftt_protection protection)
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

static void protect(struct ftt_tcp *c, enum ftt_protection protection)
{
	c->flow.protection = (uint8_t)protection;
	ftt_table_settle(&node.worker.table, c, node.worker.mode);
}

static bool keep(struct ftt_tcp *c, uint32_t offset, uint32_t len, uint8_t flags)
{
	struct ftt_piece x = {.offset = offset, .len = (uint16_t)len, .flags = flags, .bytes = stream + offset, .after = offset / 50000};

	return ftt_log_append(&node.worker, c, &x);
}

/* So much of the stream, in order. */
static void keep_all(struct ftt_tcp *c, uint32_t upto)
{
	for (uint32_t at = c->log->end, n; c->log && at < upto && keep(c, at, n = upto - at < 1448 ? upto - at : 1448, 0); at += n)
		;
}

static void written(void)
{
	UNTIL(!ftt_spool_waiting(node.worker.spool));
}

/* The only file without a name there. */
static int spool_fd(void)
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

/* --- tests ------------------------------------------------------------------------------------------------- */

/* The piece there, which may have to be read first. */
static void find(struct ftt_tcp *c, uint32_t offset, struct ftt_log_reader *reader, struct ftt_piece *x)
{
	while (!ftt_log_find(c->log, offset, reader, x)) {
		CHECK(c->log->spooled && c->log->spooled->wanted);
		ftt_spill_fetch(&node.worker, c);
		wait_for_disk();
		CHECK(!c->unrenewable);
	}
}

static void read_again(struct ftt_tcp *c)
{
	struct ftt_log_reader reader = {0};
	struct ftt_piece x;

	for (uint32_t offset = 0; offset < LONG; offset += x.len) {
		if (!model_random(300)) { /* what was lost is read again */
			find(c, offset / 2, &reader, &x);
			CHECK(x.offset == offset / 2 && x.bytes[0] == stream[offset / 2]);
		}
		find(c, offset, &reader, &x);
		CHECK(x.offset == offset && x.len && x.after <= offset / 50000 && !memcmp(x.bytes, stream + offset, x.len));
	}
	find(c, LONG, &reader, &x);
	CHECK(!x.len && x.flags & FTT_PIECE_FIN);
}

/* Pieces in any order and overlap, with holes that stay for a while; memory stays within its bound. */
static void test_any_order(uint64_t seed)
{
	struct node *n = open_node(FTT_MODE_SOLO, 1 << 28);
	struct ftt_tcp *c = establish(1, FTT_UNPROTECTED);
	struct stat there;

	model_seed = seed;
	while (c->log->end < LONG) {
		uint32_t offset = c->log->end + (model_random(4) ? 0 : model_random(20000)), len = 1 + model_random(3000);

		offset -= offset > 1000 ? model_random(1000) : 0;
		if (offset >= LONG)
			continue;
		CHECK(keep(c, offset, len < LONG - offset ? len : LONG - offset, model_random(2) ? FTT_PIECE_PUSH : 0));
		CHECK(c->log->len - c->log->away <= FLOW_BYTES && n->worker.log_bytes < FLOW_BYTES + 1000);
	}
	CHECK(keep(c, LONG, 0, FTT_PIECE_FIN));
	CHECK(c->log->away > LONG - 2 * FLOW_BYTES && !c->log->beyond);
	CHECK(!fstat(spool_fd(), &there) && (there.st_mode & 07777) == 0600 && !there.st_nlink);
	ftt_renewal_begin(&n->worker, c, model_now);
	read_again(c);
	CHECK(n->worker.n_pages && n->worker.n_pages <= FTT_SPOOL_PAGES);
	ftt_renewal_end(&n->worker, c);
	CHECK(!n->worker.n_pages);
	ftt_tcp_forget(&n->worker, c, false);
	UNTIL(!ftt_spool_bytes(n->worker.spool));
	CHECK(!fstat(spool_fd(), &there) && !there.st_blocks);
	close_node();
}

/* A long upload goes to a new backup as it was said; what comes meanwhile as well. */
static void test_told(void)
{
	struct node *n = open_node(FTT_MODE_PAIRED, 1 << 28);
	struct ftt_tcp *c = establish(1, FTT_UNPROTECTED);
	struct ftt_renewal *r;
	struct ftt_piece x;
	uint32_t end = 0;

	keep_all(c, LONG / 2);
	r = ftt_renewal_begin(&n->worker, c, model_now);
	r->sent = c->log->syn_len;
	ftt_renewal_stage(&n->worker, r, FTT_RENEW_CATCHING);
	protect(c, FTT_CATCHING_UP);
	ftt_renew_pump(&n->worker, model_now);
	CHECK(r->sent < c->log->len);
	keep_all(c, LONG);
	ftt_renewal_stage(&n->worker, r, FTT_RENEW_HELD);
	UNTIL(said_all);
	CHECK(!ftt_renewal(c) && !n->worker.n_pages && !c->unrenewable);
	for (uint32_t at = 0, len; at < n_said; at += len) {
		len = ftt_piece_get(said + at, n_said - at, &x);
		CHECK(len && x.offset == end && !memcmp(x.bytes, stream + end, x.len));
		end += x.len;
	}
	CHECK_EQ(end, LONG);
	close_node();
}

static uint32_t given;

static int now(struct ftt_plane *p, const uint8_t *packet, size_t len, bool to_client)
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
static struct ftt_renewal *plays(struct node *n, struct ftt_tcp *c, struct ftt_plane_ops *does)
{
	struct ftt_renewal *r = ftt_renewal_begin(&n->worker, c, model_now);

	does->now = now;
	n->plane.does = does;
	given = 0;
	ftt_renewal_stage(&n->worker, r, FTT_RENEW_CATCHING);
	r->given = IRS + 1;
	return r;
}

static void test_played(void)
{
	struct node *n = open_node(FTT_MODE_BACKUP, 1 << 28);
	struct ftt_tcp *c = establish(1, FTT_CATCHING_UP);
	struct ftt_plane_ops does = *n->plane.does;
	struct ftt_renewal *r = plays(n, c, &does);

	r->heard_ns = model_now;
	c->bytes_out = 1000; /* its server has said all that the client's words answer */
	keep_all(c, LONG);
	while (given < LONG) {
		uint32_t before = given;

		c->flow.local_rcv_nxt = IRS + 1 + given;
		c->flow.local_edge = c->flow.local_rcv_nxt + 60000;
		ftt_renew_play(&n->worker, c, model_now);
		if (given == before)
			wait_for_disk();
	}
	CHECK_EQ(n->worker.n.renew_bytes, LONG);
	close_node();
}

/* At the bound of the file the log ends; its room is another's. */
static void test_the_bound(void)
{
	struct node *n = open_node(FTT_MODE_SOLO, 5 * FTT_BLOCK_MAX);
	struct ftt_tcp *c = establish(1, FTT_UNPROTECTED);

	n->engine.cfg.policy.renew_bytes = 1 << 20;
	keep_all(c, LONG);
	CHECK(!c->log && c->unrenewable == FTT_SPOOL_FULL && n->worker.table.why[FTT_SPOOL_FULL] == 1);
	UNTIL(!ftt_spool_bytes(n->worker.spool));
	c = establish(2, FTT_UNPROTECTED);
	keep_all(c, 3 * FLOW_BYTES);
	CHECK(c->log && c->log->away && !c->unrenewable && !n->worker.spool_error);
	close_node();
}

/* A segment is lost, and a whole window behind it has come before it is sent again. */
static void test_a_hole(void)
{
	struct node *n = open_node(FTT_MODE_SOLO, 1 << 28);
	struct ftt_tcp *c = establish(1, FTT_UNPROTECTED);

	keep_all(c, FLOW_BYTES / 2);
	for (uint32_t at = FLOW_BYTES; at + 1000 <= LONG; at += 1000)
		CHECK(keep(c, at, 1000, 0));
	CHECK(!c->unrenewable && c->log->beyond && c->log->end == FLOW_BYTES / 2);
	keep_all(c, LONG);
	CHECK(!c->unrenewable && !c->log->beyond && c->log->end == LONG);
	CHECK(keep(c, LONG, 0, FTT_PIECE_FIN));
	ftt_renewal_begin(&n->worker, c, model_now);
	read_again(c);
	CHECK(c->log->away && n->worker.log_bytes < FTT_SPILL_MOST);
	close_node();
}

/* All logs together are at their bound of memory: who has much there gives it away, who has little cannot go on. */
static void test_all_memory(void)
{
	struct node *n = open_node(FTT_MODE_SOLO, 1 << 28);
	struct ftt_tcp *large = establish(1, FTT_UNPROTECTED), *small = establish(2, FTT_UNPROTECTED);

	keep_all(small, 1000);
	keep_all(large, FLOW_BYTES / 2);
	n->engine.cfg.policy.renew_bytes = n->worker.log_bytes;
	keep_all(small, 5000);
	CHECK(small->unrenewable == FTT_LOGS_TOO_LONG && !small->log);
	n->engine.cfg.policy.renew_bytes = n->worker.log_bytes;
	keep_all(large, LONG);
	CHECK(!large->unrenewable && large->log->end == LONG && n->worker.log_bytes <= n->engine.cfg.policy.renew_bytes);
	close_node();
}

/* A disk that takes no more ends the log, and people are told once; another log may have more luck later. */
static void test_a_disk_that_is_full(void)
{
	struct node *n = open_node(FTT_MODE_SOLO, 1 << 28);
	struct ftt_tcp *c = establish(1, FTT_UNPROTECTED);
	struct rlimit before, small;

	CHECK(!getrlimit(RLIMIT_FSIZE, &before));
	small = (struct rlimit){.rlim_cur = 2 * FTT_BLOCK_MAX + 100, .rlim_max = before.rlim_max};
	CHECK(!setrlimit(RLIMIT_FSIZE, &small));
	keep_all(c, 10 * FLOW_BYTES);
	UNTIL(c->unrenewable);
	CHECK(!c->log && c->unrenewable == FTT_SPOOL_FAILED && n->worker.spool_error == EFBIG);
	UNTIL(!ftt_spool_bytes(n->worker.spool));
	CHECK_EQ(n->events[FTT_EV_SPOOL], 1);
	CHECK(!setrlimit(RLIMIT_FSIZE, &before));
	c = establish(2, FTT_UNPROTECTED);
	keep_all(c, 10 * FLOW_BYTES);
	written();
	CHECK(c->log && !c->unrenewable && !n->worker.spool_error);
	close_node();
}

static void change_a_byte(int fd)
{
	uint8_t byte;

	CHECK_EQ(pread(fd, &byte, 1, FTT_BLOCK_MAX + 1000), 1);
	byte ^= 1;
	CHECK_EQ(pwrite(fd, &byte, 1, FTT_BLOCK_MAX + 1000), 1);
}

static void cut_it(int fd)
{
	CHECK(!ftruncate(fd, FTT_BLOCK_MAX + 1000));
}

static void exchange_blocks(int fd)
{
	static uint8_t two[2][FTT_BLOCK_MAX];

	CHECK_EQ(pread(fd, two, sizeof(two), 0), sizeof(two));
	CHECK_EQ(pwrite(fd, two[1], FTT_BLOCK_MAX, 0), FTT_BLOCK_MAX);
	CHECK_EQ(pwrite(fd, two[0], FTT_BLOCK_MAX, FTT_BLOCK_MAX), FTT_BLOCK_MAX);
}

/* What does not come back as it was is not told to a backup; the connection goes on. */
static void test_damage_on_a_primary(void (*damage)(int fd), bool held)
{
	struct node *n = open_node(FTT_MODE_PAIRED, 1 << 28);
	struct ftt_tcp *c = establish(1, held ? FTT_PROTECTED : FTT_UNPROTECTED);
	struct ftt_renewal *r = ftt_renewal_begin(&n->worker, c, model_now);

	keep_all(c, LONG / 4);
	written();
	damage(spool_fd());
	r->sent = c->log->syn_len;
	ftt_renewal_stage(&n->worker, r, held ? FTT_RENEW_HELD : FTT_RENEW_CATCHING);
	protect(c, held ? FTT_PROTECTED : FTT_CATCHING_UP);
	ftt_renew_pump(&n->worker, model_now);
	UNTIL(c->unrenewable);
	ftt_renew_tick(&n->worker, model_now);
	node_run(n);
	CHECK(c->unrenewable == FTT_SPOOL_FAILED && !c->log && !c->closed && n_said <= FTT_BLOCK_MAX && !said_all);
	CHECK_EQ(c->flow.protection, held ? FTT_DETACHING : FTT_UNPROTECTED);
	CHECK_EQ(n->events[FTT_EV_SPOOL], 1);
	UNTIL(!ftt_spool_bytes(n->worker.spool));
	close_node();
}

/* ... or played by a backup, which lets the connection go. */
static void test_damage_on_a_backup(void (*damage)(int fd))
{
	struct node *n = open_node(FTT_MODE_BACKUP, 1 << 28);
	struct ftt_tcp *c = establish(1, FTT_CATCHING_UP);
	struct ftt_plane_ops does = *n->plane.does;

	plays(n, c, &does);
	c->bytes_out = 1000;
	c->flow.local_edge = IRS + 1 + LONG;
	keep_all(c, LONG / 4);
	written();
	damage(spool_fd());
	ftt_renew_play(&n->worker, c, model_now);
	UNTIL(c->flow.protection == FTT_DETACHED);
	CHECK(!c->log && n->worker.spool_error && n_told[FTT_REC_DETACHED] == 1);
	CHECK(given < LONG / 8);
	close_node();
}

/* A cold backup has nothing but the log: without it, the primary is to go on alone. */
static void test_a_cold_backup(void)
{
	struct node *n = open_node(FTT_MODE_BACKUP, 1 << 28);
	struct ftt_tcp *c = establish(1, FTT_PROTECTED);
	struct rlimit before, small;

	n->engine.cfg.policy.cold = 1;
	c->flow.bits |= FTT_F_COLD;
	CHECK(!getrlimit(RLIMIT_FSIZE, &before));
	small = (struct rlimit){.rlim_cur = 100, .rlim_max = before.rlim_max};
	CHECK(!setrlimit(RLIMIT_FSIZE, &small));
	keep_all(c, FLOW_BYTES + 1000);
	CHECK_EQ(c->flow.protection, FTT_PROTECTED);
	UNTIL(c->flow.protection == FTT_DETACHED);
	CHECK(!setrlimit(RLIMIT_FSIZE, &before));
	CHECK(!c->log && n->worker.spool_error == EFBIG && n_told[FTT_REC_REFUSED] == 1);
	close_node();
}

/* The disk is behind: the lane waits, and what came over it is not lost. */
static void test_the_lane_waits(void)
{
	struct node *n = open_node(FTT_MODE_BACKUP, 1 << 28);
	struct ftt_tcp *c = establish(1, FTT_CATCHING_UP);
	struct ftt_record head = {.type = FTT_REC_RENEW, .key = c->key, .irs = IRS};
	struct ftt_lane_user user = ftt_renew_lane_user(&n->worker);
	uint8_t bytes[256 + FTT_PIECE_HEADER + 30000];
	struct ftt_piece x = {.len = 30000};
	unsigned waited = 0;
	uint32_t offset = 0, at = (uint32_t)ftt_record_put(bytes, 256, &head);

	ftt_renewal_stage(&n->worker, ftt_renewal_begin(&n->worker, c, model_now), FTT_RENEW_CATCHING);
	c->flow.local_edge = IRS + 1;
	for (; offset < 60u << 20; offset += x.len) {
		x.offset = offset;
		x.bytes = stream + offset % (LONG - 30000);
		ftt_piece_put(bytes + at, &x);
		for (enum ftt_lane_answer answer; (answer = user.message(user.of, 0, FTT_LANE_LOG, bytes, at + FTT_PIECE_HEADER + x.len));) {
			unsigned before = resumed;

			CHECK(answer == FTT_LANE_NOT_NOW && ++waited);
			UNTIL(resumed > before);
		}
		CHECK(!c->unrenewable);
	}
	CHECK(c->log->end == offset && (waited || !ftt_spill_behind(&n->worker, 0)));
	close_node();
}

/* Where there can be none, logs end with memory, and people are told. */
static void test_no_directory(void)
{
	struct node *n = open_node(FTT_MODE_SOLO, 1 << 28);
	struct ftt_tcp *c;

	ftt_spill_close(&n->worker);
	snprintf(n->engine.cfg.spool, sizeof(n->engine.cfg.spool), "%s/none/such", directory);
	ftt_spill_open(&n->worker, told);
	CHECK(!n->worker.spool && n->worker.spool_error == ENOENT && n->events[FTT_EV_SPOOL] == 1);
	c = establish(1, FTT_UNPROTECTED);
	keep_all(c, 2 * FLOW_BYTES);
	CHECK_EQ(c->unrenewable, FTT_LOG_TOO_LONG);
	close_node();
}

int main(void)
{
	void (*const damages[])(int fd) = {change_a_byte, cut_it, exchange_blocks};
	char path[64];

	CHECK(mkdtemp(directory) && !sem_init(&news, 0, 0));
	signal(SIGXFSZ, SIG_IGN);
	for (uint32_t i = 0; i < LONG; i++)
		stream[i] = (uint8_t)(i * 2654435761u >> 24);
	for (uint64_t seed = 1; seed <= 10; seed++)
		test_any_order(seed);
	test_told();
	test_played();
	test_the_bound();
	test_a_hole();
	test_all_memory();
	test_a_disk_that_is_full();
	for (unsigned i = 0; i < sizeof(damages) / sizeof(damages[0]); i++) {
		test_damage_on_a_primary(damages[i], false);
		test_damage_on_a_primary(damages[i], true);
		test_damage_on_a_backup(damages[i]);
	}
	test_a_cold_backup();
	test_the_lane_waits();
	test_no_directory();
	snprintf(path, sizeof(path), "%s/spool", directory);
	CHECK(!rmdir(path) && !rmdir(directory)); /* nothing was left there */
	return 0;
}
