/* SPDX-License-Identifier: Apache-2.0 */
/* Logs that are too long for memory: whatever went to the disk is read back as it was. */
#define _GNU_SOURCE
#include <sys/stat.h>
#include "spill_rig.h"

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
		CHECK(c->log->len - ftt_log_away(c->log) <= FLOW_BYTES && n->worker.log_bytes < FLOW_BYTES + 1000);
	}
	CHECK(keep(c, LONG, 0, FTT_PIECE_FIN));
	CHECK(ftt_log_away(c->log) > LONG - 2 * FLOW_BYTES && !c->log->beyond);
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
	CHECK(c->log && ftt_log_away(c->log) && !c->unrenewable && !n->worker.spool_error);
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
	CHECK(ftt_log_away(c->log) && n->worker.log_bytes < FTT_SPILL_MOST);
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

/* An engine of which only flows are looked at has none of these. */
void ftt_beat_status(struct ftt_beat *b, struct ftt_status *out)
{
	(void)b, (void)out;
	abort();
}

int64_t ftt_engine_lease_left_ns(struct ftt_engine *e)
{
	(void)e;
	abort();
}

uint32_t ftt_lane_count(const struct ftt_bulk_lane *l)
{
	(void)l;
	abort();
}

/* What is told of memory, and of the disk, is counted once. */
static void test_what_is_told_of_a_log(void)
{
	struct node *n = open_node(FTT_MODE_SOLO, 1 << 28);
	struct ftt_tcp *c = establish(1, FTT_UNPROTECTED);
	struct ftt_flow_info flow;

	n->engine.worker[0] = &n->worker;
	keep_all(c, LONG / 2);
	written();
	CHECK(ftt_engine_flow(&n->engine, &c->key, &flow));
	CHECK(flow.spool_bytes > LONG / 4);
	CHECK_EQ(flow.log_memory_bytes, n->worker.log_bytes - sizeof(*c->log));
	close_node();
}

int main(void)
{
	begin();
	for (uint64_t seed = 1; seed <= 10; seed++)
		test_any_order(seed);
	test_told();
	test_what_is_told_of_a_log();
	test_played();
	test_the_bound();
	test_a_hole();
	test_all_memory();
	test_the_lane_waits();
	end();
	return 0;
}
