/* SPDX-License-Identifier: Apache-2.0 */
/* A backup without a server: what it keeps and tells. */
#define _GNU_SOURCE
#include "engine/flows/checkpoint.h"
#include "engine/flows/kept.h"
#include "engine/flows/promote.h"
#include "cold_rig.h"

/* --- what it keeps -------------------------------------------------------------------------------------- */

/* What the client says is told as committed as it is kept, and reaches no stack. */
static void test_it_keeps_what_clients_say(void)
{
	struct node *n = open_node();
	struct ftt_tcp *c = open_flow(n);

	client_says(n, TCP_ACK, IRS + 1, ISS, 100);
	CHECK(c->log->end == 100 && last_told(FTT_REC_COMMIT)->rcv_nxt == IRS + 101);
	client_says(n, TCP_ACK, IRS + 201, ISS, 100); /* behind a hole */
	CHECK_EQ(last_told(FTT_REC_COMMIT)->rcv_nxt, IRS + 101);
	CHECK(last_told(FTT_REC_COMMIT)->flags & FTT_REC_HOLE && last_told(FTT_REC_COMMIT)->hole_end == IRS + 201);
	client_says(n, TCP_ACK, IRS + 101, ISS, 100);
	CHECK_EQ(last_told(FTT_REC_COMMIT)->rcv_nxt, IRS + 301);
	CHECK(!(last_told(FTT_REC_COMMIT)->flags & FTT_REC_HOLE));
	CHECK_EQ(n->stack.state, STACK_LISTEN);
	node_close(n);
}

/* What answers more than the primary has told of waits for its word; what a kernel would refuse is not kept. */
static void test_it_waits_for_the_primary(void)
{
	struct node *n = open_node();
	struct ftt_tcp *c = open_flow(n);

	client_says(n, TCP_ACK, IRS + 1, ISS + 50, 10);
	CHECK(!c->log->end && c->n_held == 1);
	primary_sent(n, 50, false);
	CHECK(c->log->end == 10 && !c->n_held && c->bytes_out == 50);
	CHECK_EQ(last_told(FTT_REC_COMMIT)->snd_nxt, ISS + 50);
	client_says(n, TCP_ACK, IRS + 12 + FTT_COLD_WINDOW, ISS + 50, 10);
	CHECK(c->log->end == 10 && !c->log->beyond);
	node_close(n);
}

/* A SYN that only OPEN brings is enough; and both ends are known when both have said so. */
static void test_ends(void)
{
	struct node *n = open_node();
	struct ftt_tcp *c = open_flow(n);

	client_says(n, TCP_ACK | TCP_FIN, IRS + 1, ISS, 5);
	CHECK(c->log->fin && last_told(FTT_REC_COMMIT)->rcv_nxt == IRS + 7 && !c->closed);
	primary_sent(n, 20, true);
	CHECK(last_told(FTT_REC_COMMIT)->flags & FTT_REC_FIN && last_told(FTT_REC_COMMIT)->snd_nxt == ISS + 21);
	client_says(n, TCP_ACK, IRS + 7, ISS + 21, 0);
	CHECK(c->closed && !c->log);
	node_close(n);
}

/* No room for what its client says: the primary is told, and the flow is let go. */
static void test_a_log_that_is_full(void)
{
	struct node *n = open_node();
	struct ftt_tcp *c = open_flow(n);

	n->engine.cfg.policy.renew_flow = 150;
	client_says(n, TCP_ACK, IRS + 1, ISS, 500);
	CHECK(last_told(FTT_REC_REFUSED) && last_told(FTT_REC_REFUSED)->flags == FTT_REC_FULL);
	CHECK_EQ(c->flow.protection, FTT_DETACHED);
	node_close(n);
}

/* With a history on disk it says that it has something when the file has: in order, and at once when the file has ended. */
static void test_it_waits_for_the_disk(void)
{
	struct ftt_history_settings s = {.path = "build/test_cold.history", .head = (const uint8_t *)"h", .head_len = 1, .most = 1 << 20};
	struct node *n = open_node();
	char err[128];

	open_flow(n);
	remove(s.path);
	n->engine.history_file = ftt_history_file_open(&s, err, sizeof(err));
	CHECK(n->engine.history_file);
	n->worker.filed_place = 1 << 19; /* as if so much had been put into it, and had not been written */
	client_says(n, TCP_ACK, IRS + 1, ISS, 100);
	client_says(n, TCP_ACK, IRS + 101, ISS, 100);
	CHECK(!last_told(FTT_REC_COMMIT) && n->worker.n_words == 2 && n->engine.file_awaited);
	n->worker.filed_place = 0; /* what comes later does not overtake */
	client_says(n, TCP_ACK, IRS + 201, ISS, 100);
	CHECK(!last_told(FTT_REC_COMMIT) && n->worker.n_words == 3);
	ftt_history_file_close(n->engine.history_file, true);
	n->engine.history_file = NULL;
	ftt_kept_release(&n->worker);
	node_run(n);
	CHECK(last_told(FTT_REC_COMMIT) && last_told(FTT_REC_COMMIT)->rcv_nxt == IRS + 301 && !n->worker.words);
	node_close(n);
	remove(s.path);
}

/* Another file begins: what waits for a place of the one before does not wait for that of this one. */
static void test_the_file_changes(void)
{
	struct ftt_history_settings s = {.path = "build/test_cold.other", .head = (const uint8_t *)"h", .head_len = 1, .most = 1 << 20};
	struct node *n = open_node();
	char err[128];

	open_flow(n);
	remove(s.path);
	n->engine.history_file = ftt_history_file_open(&s, err, sizeof(err));
	CHECK(n->engine.history_file);
	n->worker.filed_place = 1 << 19;
	client_says(n, TCP_ACK, IRS + 1, ISS, 100);
	CHECK(!last_told(FTT_REC_COMMIT));
	ftt_kept_anew(&n->worker); /* as ftt_engine_record() does; the file is as good as another one */
	ftt_kept_release(&n->worker);
	node_run(n);
	CHECK(last_told(FTT_REC_COMMIT) && last_told(FTT_REC_COMMIT)->rcv_nxt == IRS + 101 && !n->worker.words);
	client_says(n, TCP_ACK, IRS + 101, ISS, 100);
	CHECK_EQ(last_told(FTT_REC_COMMIT)->rcv_nxt, IRS + 201);
	ftt_history_file_close(n->engine.history_file, true);
	n->engine.history_file = NULL;
	node_close(n);
	remove(s.path);
}

/* --- warm ------------------------------------------------------------------------------------------------ */

/* A checkpoint has what was said up to then: a backup lets go of that, also of what the primary sent before it. What begins later is kept. */
static void test_a_backup_hears_of_a_checkpoint(void)
{
	struct node *n = open_node();
	struct ftt_tcp *c = open_flow(n);

	client_says(n, TCP_ACK, IRS + 1, ISS, 100);
	ftt_checkpoint(&n->worker, true, model_now);
	node_run(n);
	CHECK(last_told(FTT_REC_REFUSED) && last_told(FTT_REC_REFUSED)->flags == FTT_REC_OLDER);
	CHECK_EQ(c->flow.protection, FTT_DETACHED);
	ftt_promote(&n->worker, model_now);
	CHECK(n->events[FTT_EV_PROMOTED] == 1 && n->stack.state == STACK_LISTEN);
	node_close(n);
	open_node();
	ftt_checkpoint(&n->worker, true, model_now);
	open_flow(n);
	node_close(n);
}

static void test_a_primary_detaches_what_is_older(void)
{
	struct node *n = open_node();
	struct ftt_env paired = {.policy = &n->engine.cfg.policy, .mode = FTT_MODE_PAIRED, .behind = FTT_WHY_BEFORE_CHECKPOINT};
	struct ftt_record refused = record(FTT_REC_REFUSED);
	struct ftt_seg syn = {.flags = TCP_SYN};
	struct ftt_tcp *c = open_flow(n);
	struct ftt_flow later = c->flow, early = {0};

	n->engine.cfg.policy.warm = 1;
	n->worker.mode = FTT_MODE_PAIRED;
	CHECK(ftt_checkpoint_awaited(&n->worker));
	ftt_checkpoint(&n->worker, false, model_now);
	CHECK(c->flow.protection == FTT_DETACHING && c->flow.reason == FTT_WHY_BEFORE_CHECKPOINT);
	CHECK(c->unrenewable == FTT_BEFORE_CHECKPOINT && !c->log && ftt_checkpoint_awaited(&n->worker));
	ftt_checkpoint(&n->worker, true, model_now);
	CHECK(!ftt_checkpoint_awaited(&n->worker));
	ftt_flow_begin(&early, &syn, &paired);
	CHECK(early.protection == FTT_UNPROTECTED && early.reason == FTT_WHY_BEFORE_CHECKPOINT);
	refused.flags = FTT_REC_OLDER;
	ftt_primary_record(&later, &refused, &paired);
	CHECK(later.protection == FTT_DETACHED && later.reason == FTT_WHY_BEFORE_CHECKPOINT);
	node_close(n);
}

int main(void)
{
	test_it_keeps_what_clients_say();
	test_it_waits_for_the_primary();
	test_ends();
	test_a_log_that_is_full();
	test_it_waits_for_the_disk();
	test_the_file_changes();
	test_a_backup_hears_of_a_checkpoint();
	test_a_primary_detaches_what_is_older();
	return 0;
}
