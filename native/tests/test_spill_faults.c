/* SPDX-License-Identifier: Apache-2.0 */
/* Logs that are too long for memory, and a disk that is full, damaged or not there: what is not as it was is told to nobody. */
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <sys/resource.h>
#include "spill_rig.h"

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

	begin();
	signal(SIGXFSZ, SIG_IGN);
	test_a_disk_that_is_full();
	for (unsigned i = 0; i < sizeof(damages) / sizeof(damages[0]); i++) {
		test_damage_on_a_primary(damages[i], false);
		test_damage_on_a_primary(damages[i], true);
		test_damage_on_a_backup(damages[i]);
	}
	test_a_cold_backup();
	test_no_directory();
	end();
	return 0;
}
