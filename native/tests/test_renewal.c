/* SPDX-License-Identifier: Apache-2.0 */
/* A primary's flows that a new backup catches up with: what goes into their logs, and what ends a renewal. The lane is a stub. */
#define _GNU_SOURCE
#include "engine/flows/compare.h"
#include "renewal_rig.h"

/* --- what goes into a log ------------------------------------------------------------------------------ */

/* What the stack refuses is no word of the client's, whatever it looks like: another stack is not told it. */
static void test_what_is_refused_is_not_kept(void)
{
	struct node *n = open_node(FTT_MODE_SOLO, 1);
	struct ftt_tcp *c = establish(n, FTT_UNPROTECTED);

	says(n, true, TCP_ACK, IRS + 1, ISS, 10);
	CHECK_EQ(c->log->end, 10);
	says(n, true, TCP_ACK, IRS + 2 + WINDOW, ISS, 10); /* beyond the window */
	says(n, true, TCP_ACK | TCP_FIN, IRS + 2 + WINDOW, ISS, 0);
	says(n, true, TCP_ACK, IRS + 11, ISS + 1, 10); /* acknowledges what was not sent */
	CHECK(!c->log->fin && !c->log->beyond && c->log->end == 10);
	CHECK(n->worker.log_bytes < c->log->len + sizeof(*c->log) + 16); /* of a short one: no room to spare */
	says(n, true, TCP_ACK | TCP_FIN, IRS + 11, ISS, 10);
	CHECK(c->log->fin && c->log->end == 20 && !c->unrenewable);
	node_close(n);
}

/* Its log ends for a client that says its stream backwards. */
static void test_backwards(void)
{
	struct node *n = open_node(FTT_MODE_SOLO, 1);
	struct ftt_tcp *c = establish(n, FTT_UNPROTECTED);

	for (uint32_t offset = 2000; offset--;)
		says(n, true, TCP_ACK, IRS + 1 + offset, ISS, 1);
	CHECK_EQ(c->unrenewable, FTT_LOG_GAP);
	CHECK(!c->log);
	node_close(n);
}

/* --- the primary ----------------------------------------------------------------------------------------- */

/* A new backup is there: the flow's SYN went to it. */
static struct ftt_renewal *begin(struct node *n, struct ftt_tcp *c)
{
	struct ftt_lane_user user = ftt_renew_lane_user(&n->worker);

	user.changed(user.of, 0, true);
	ftt_renew_pump(&n->worker, model_now);
	CHECK(ftt_renewal(c) && ftt_renewal(c)->stage == FTT_RENEW_BEGUN);
	CHECK_EQ(c->flow.protection, FTT_CATCHING_UP);
	return ftt_renewal(c);
}

/* A backup that took over summed up to what it was told, and its server has said more: the next backup is told of all that. */
static void test_the_sum_is_of_all_output(void)
{
	struct node *n = open_node(FTT_MODE_PAIRED, 1);
	struct ftt_tcp *c = establish(n, FTT_UNPROTECTED);

	c->digest = (struct ftt_digest){.crc = 1, .next = 50, .seen = 80};
	c->seen_crc = 2;
	begin(n, c);
	CHECK(c->digest.next == 80 && c->digest.crc == 2);
	node_close(n);
}

/* The backup says that of the present attempt. */
static void hears(struct node *n, const struct ftt_tcp *c, const struct ftt_record *r)
{
	struct ftt_record now = *r;

	now.attempt = c->attempt;
	node_hears(n, &now);
}

/* The new backup has come to where the client stands, with the same output: it is asked. */
static struct ftt_renewal *ask(struct node *n, struct ftt_tcp *c)
{
	struct ftt_renewal *r = begin(n, c);
	struct ftt_record commit = {.type = FTT_REC_COMMIT, .key = c->key, .irs = IRS, .rcv_nxt = IRS + 1, .edge = IRS + 1 + WINDOW,
				  .snd_nxt = ISS, .flags = FTT_REC_SAME};

	hears(n, c, &commit);
	CHECK_EQ(r->stage, FTT_RENEW_ASKED);
	CHECK_EQ(c->flow.protection, FTT_OPENING);
	n_told = 0;
	return r;
}

/* ... and says yes. */
static void open_at_last(struct node *n, struct ftt_tcp *c)
{
	struct ftt_record opened = {.type = FTT_REC_OPENED, .key = c->key, .irs = IRS, .rcv_nxt = IRS + 1, .edge = IRS + 1 + WINDOW};

	hears(n, c, &opened);
	CHECK_EQ(c->flow.protection, FTT_PROTECTED);
}

/* The client resets the connection while the backup is asked: that is told, whatever it answers. */
static void test_reset_while_asked(bool answered)
{
	struct node *n = open_node(FTT_MODE_PAIRED, 1);
	struct ftt_tcp *c = establish(n, FTT_UNPROTECTED);

	ask(n, c);
	says(n, true, TCP_RST, IRS + 1, 0, 0);
	CHECK(c->closed);
	if (answered)
		open_at_last(n, c);
	else
		tick(n);
	CHECK_EQ(was_told(answered ? FTT_REC_CLOSE : FTT_REC_DETACH), 1);
	ftt_renew_pump(&n->worker, model_now);
	CHECK(!c->log && n->worker.n_renewing[FTT_RENEW_HELD] == 0);
	node_close(n);
}

/* One that was reset while the backup caught up is not asked about. */
static void test_reset_before(void)
{
	struct node *n = open_node(FTT_MODE_PAIRED, 1);
	struct ftt_tcp *c = establish(n, FTT_UNPROTECTED);
	struct ftt_renewal *r = begin(n, c);
	struct ftt_record commit = {.type = FTT_REC_COMMIT, .key = c->key, .irs = IRS, .rcv_nxt = IRS + 1, .edge = IRS + 1 + WINDOW,
				  .snd_nxt = ISS, .flags = FTT_REC_SAME};

	says(n, true, TCP_RST, IRS + 1, 0, 0);
	hears(n, c, &commit);
	CHECK_EQ(r->stage, FTT_RENEW_CATCHING);
	tick(n);
	CHECK(!c->log && was_told(FTT_REC_DETACH) == 1);
	node_close(n);
}

/* A COMMIT that moves nothing is not answered at once: the backup answers, and both would do nothing else. */
static void test_no_endless_talk(void)
{
	struct node *n = open_node(FTT_MODE_PAIRED, 1);
	struct ftt_tcp *c = establish(n, FTT_UNPROTECTED);
	struct ftt_record commit = {.type = FTT_REC_COMMIT, .key = c->key, .irs = IRS, .rcv_nxt = IRS + 1, .edge = IRS + 1 + WINDOW,
				  .snd_nxt = ISS};

	begin(n, c);
	n_told = 0;
	for (unsigned i = 0; i < 10; i++)
		hears(n, c, &commit);
	CHECK_EQ(was_told(FTT_REC_RENEW), 1);
	model_now += S;
	tick(n);
	tick(n);
	CHECK_EQ(was_told(FTT_REC_RENEW), 2);
	node_close(n);
}

/* A server that paces itself stays behind for ever: it keeps no place from others. */
static void test_who_comes_no_nearer(bool others)
{
	struct node *n = open_node(FTT_MODE_PAIRED, 1);
	struct ftt_tcp *c = establish(n, FTT_UNPROTECTED);
	struct ftt_record commit = {.type = FTT_REC_COMMIT, .key = c->key, .irs = IRS, .rcv_nxt = IRS + 1, .edge = IRS + 1 + WINDOW,
				  .snd_nxt = ISS};

	begin(n, c);
	n->worker.n_renewing[FTT_RENEW_WAITS] += others;
	n->worker.n_renewing[FTT_RENEW_CATCHING] += FTT_RENEW_ACTIVE;
	c->bytes_out += 1000000;
	for (unsigned i = 0; i < 30 && ftt_renewal(c); i++) { /* both get on, by as much */
		commit.snd_nxt += 1000;
		c->bytes_out += 1000;
		hears(n, c, &commit);
		tick(n);
		model_now += S;
	}
	CHECK_EQ(c->unrenewable, others ? FTT_NOT_IN_TIME : FTT_RENEWABLE);
	CHECK_EQ(!ftt_renewal(c), others);
	n->worker.n_renewing[FTT_RENEW_WAITS] -= others;
	n->worker.n_renewing[FTT_RENEW_CATCHING] -= FTT_RENEW_ACTIVE;
	node_close(n);
}

/* Its log becomes too long when the backup has said yes: the renewal ends all the same, on both nodes. */
static void test_held_without_a_log(void)
{
	struct node *n = open_node(FTT_MODE_PAIRED, 1);
	struct ftt_tcp *c = establish(n, FTT_UNPROTECTED);

	ask(n, c);
	open_at_last(n, c);
	ftt_log_end(&n->worker, c, FTT_LOG_TOO_LONG);
	lane_sent = 0;
	ftt_renew_pump(&n->worker, model_now);
	CHECK_EQ(lane_sent, 1);
	CHECK(!c->log && c->unrenewable == FTT_LOG_TOO_LONG && n->worker.n_renewing[FTT_RENEW_HELD] == 0);
	CHECK_EQ(c->flow.protection, FTT_PROTECTED);
	node_close(n);
}

static void lane_lost(struct node *n, uint8_t worker)
{
	struct ftt_lane_user user = ftt_renew_lane_user(&n->worker);

	lane_up &= (uint8_t)~(1u << worker);
	user.changed(user.of, worker, false);
	node_run(n);
}

/* The lane to a worker that does not have the flow is lost: that is nothing to it, once it is known who has it. */
static void test_the_lane_of_another_worker(void)
{
	struct node *n = open_node(FTT_MODE_PAIRED, 2);
	struct ftt_tcp *c = establish(n, FTT_UNPROTECTED);
	struct ftt_renewal *r = begin(n, c);
	struct ftt_record commit = {.type = FTT_REC_COMMIT, .key = c->key, .irs = IRS, .rcv_nxt = IRS + 1, .edge = IRS + 1 + WINDOW,
				  .snd_nxt = ISS};

	n->from = 1;
	hears(n, c, &commit);
	lane_lost(n, 0);
	CHECK_EQ(r->stage, FTT_RENEW_CATCHING);
	CHECK_EQ(c->flow.protection, FTT_CATCHING_UP);
	lane_lost(n, 1);
	CHECK_EQ(r->stage, FTT_RENEW_WAITS);
	CHECK_EQ(c->flow.protection, FTT_UNPROTECTED);
	node_close(n);

	n = open_node(FTT_MODE_BACKUP, 2);
	c = establish(n, FTT_CATCHING_UP);
	c->peer_worker = 1;
	ftt_renewal_stage(&n->worker, ftt_renewal_begin(&n->worker, c, model_now), FTT_RENEW_CATCHING);
	lane_lost(n, 0);
	CHECK_EQ(c->flow.protection, FTT_CATCHING_UP);
	lane_lost(n, 1);
	CHECK(c->flow.protection == FTT_DETACHED && !ftt_renewal(c) && n->stack.state == STACK_RESET);
	node_close(n);
}

/* The primary dies, and its end of the lane before anybody notices: the client of what caught up is reset, also one that only waits. */
static void test_a_takeover_behind_the_end_of_the_lane(void)
{
	struct node *n = open_node(FTT_MODE_BACKUP, 1);
	struct ftt_tcp *c = establish(n, FTT_CATCHING_UP);

	ftt_renewal_stage(&n->worker, ftt_renewal_begin(&n->worker, c, model_now), FTT_RENEW_CATCHING);
	lane_lost(n, 0);
	node_role(n, FTT_MODE_SOLO, 1);
	CHECK(node_flow(n) && node_flow(n)->flow.protection == FTT_RESETTING);
	CHECK(n_said == 1 && said.seq == ISS - 2 && said.len == 1); /* it is asked where it stands */
	says(n, true, TCP_ACK, IRS + 1, ISS, 0);
	CHECK(n_said == 2 && said.flags & TCP_RST && said.seq == ISS);
	node_close(n);
}

/* What was said in the first attempt comes late: the second one goes on as if it had not come. */
static void test_an_earlier_attempt_is_over(void)
{
	const uint8_t late[] = {FTT_REC_COMMIT, FTT_REC_OPENED, FTT_REC_REFUSED, FTT_REC_DETACHED};
	struct node *n = open_node(FTT_MODE_PAIRED, 1);
	struct ftt_tcp *c = establish(n, FTT_UNPROTECTED);
	struct ftt_record r = {.key = c->key, .irs = IRS, .rcv_nxt = IRS + 1, .edge = IRS + 1 + WINDOW, .snd_nxt = ISS,
			      .flags = FTT_REC_SAME};

	begin(n, c);
	r.attempt = c->attempt;
	lane_lost(n, 0);
	CHECK_EQ(ftt_renewal(c)->stage, FTT_RENEW_WAITS);
	lane_up = 1;
	begin(n, c);
	for (unsigned i = 0; i < sizeof(late); i++) {
		r.type = late[i];
		node_hears(n, &r);
		CHECK(ftt_renewal(c) && ftt_renewal(c)->stage == FTT_RENEW_BEGUN);
	}
	r.type = FTT_REC_COMMIT;
	hears(n, c, &r);
	CHECK_EQ(c->flow.protection, FTT_OPENING);
	for (unsigned i = 1; i < sizeof(late); i++) { /* a yes of the first attempt protects nothing in this one */
		r.type = late[i];
		node_hears(n, &r);
		CHECK(ftt_renewal(c) && ftt_renewal(c)->stage == FTT_RENEW_ASKED && c->flow.protection == FTT_OPENING);
	}
	CHECK_EQ(n->worker.n.records_late, 7);
	open_at_last(n, c);
	node_close(n);
}

static void detached_by(struct node *n, const struct ftt_tcp *c, uint8_t worker)
{
	struct ftt_record r = {.type = FTT_REC_DETACHED, .key = c->key, .irs = IRS};

	n->from = worker;
	hears(n, c, &r);
}

/* Of a backup with several workers one has the flow. What others answer does not part it; when it parts all have to answer. */
static void test_another_worker_does_not_have_it(void)
{
	struct node *n = open_node(FTT_MODE_PAIRED, 2);
	struct ftt_tcp *c = establish(n, FTT_UNPROTECTED);

	c->let_go = 3; /* of an earlier backup */
	n->from = 1;
	ask(n, c);
	open_at_last(n, c);
	CHECK_EQ(c->peer_worker, 1);
	detached_by(n, c, 0);
	CHECK(c->flow.protection == FTT_PROTECTED && c->peer_worker == 1);
	ftt_tcp_act(&n->worker, c, ftt_flow_detach(&c->flow, FTT_WHY_BOUND, model_now), model_now);
	detached_by(n, c, 0);
	CHECK_EQ(c->flow.protection, FTT_DETACHING);
	detached_by(n, c, 1);
	CHECK_EQ(c->flow.protection, FTT_DETACHED);
	node_close(n);
}

/* A backup that does not get on is given up; the log is kept, and after a while all is tried again. */
static void test_what_failed_is_tried_again(void)
{
	struct node *n = open_node(FTT_MODE_PAIRED, 1);
	struct ftt_tcp *c = establish(n, FTT_UNPROTECTED);

	begin(n, c);
	model_now += 11 * S;
	lane_sent = 0;
	tick(n);
	CHECK_EQ(lane_sent, 1); /* let go, behind what was said of it there */
	CHECK(!ftt_renewal(c) && c->unrenewable == FTT_NOT_IN_TIME && n->worker.table.why[FTT_NOT_IN_TIME] == 1);
	says(n, true, TCP_ACK, IRS + 1, ISS, 20);
	CHECK_EQ(c->log->end, 20);
	model_now += 29 * S;
	ftt_renew_pump(&n->worker, model_now);
	CHECK(!ftt_renewal(c));
	model_now += S;
	ftt_renew_pump(&n->worker, model_now);
	CHECK_EQ(ftt_renewal(c)->stage, FTT_RENEW_BEGUN);
	CHECK(!c->unrenewable && !n->worker.table.why[FTT_NOT_IN_TIME]);
	ftt_renew_give_up(&n->worker, c, FTT_STACK_UNLIKE, model_now);
	model_now += 100 * S;
	ftt_renew_pump(&n->worker, model_now);
	CHECK(c->log && !ftt_renewal(c)); /* its stack is what it was; that of the next one may be another */
	ftt_renew_lane_user(&n->worker).changed(&n->worker, 0, true);
	CHECK(ftt_renewal(c));
	node_close(n);
}

/* A connection that no other stack takes up waits for no turn: who waits for the renewals to end would wait for ever. */
static void test_what_is_unfit_does_not_wait(uint8_t why)
{
	struct node *n = open_node(FTT_MODE_PAIRED, 1);
	struct ftt_tcp *c = establish(n, FTT_UNPROTECTED);

	c->flow.reason = why;
	ftt_renew_lane_user(&n->worker).changed(&n->worker, 0, true);
	CHECK(c->log && !ftt_renewal(c));
	CHECK_EQ(n->worker.n_renewing[FTT_RENEW_WAITS], 0);
	c->flow.reason = FTT_WHY_SOLO;
	ftt_renew_lane_user(&n->worker).changed(&n->worker, 0, true);
	CHECK(ftt_renewal(c));
	c->flow.reason = why; /* it shows while it waits */
	if (ftt_renewal(c)->stage == FTT_RENEW_WAITS)
		ftt_renew_pump(&n->worker, model_now);
	CHECK_EQ(n->worker.n_renewing[FTT_RENEW_WAITS], 0);
	node_close(n);
}

int main(void)
{
	test_what_is_unfit_does_not_wait(FTT_WHY_SIGNED);
	test_what_is_unfit_does_not_wait(FTT_WHY_UNSUPPORTED);
	test_an_earlier_attempt_is_over();
	test_who_comes_no_nearer(true);
	test_who_comes_no_nearer(false);
	test_what_failed_is_tried_again();
	test_a_takeover_behind_the_end_of_the_lane();
	test_no_endless_talk();
	test_reset_while_asked(false);
	test_reset_while_asked(true);
	test_reset_before();
	test_held_without_a_log();
	test_another_worker_does_not_have_it();
	test_the_lane_of_another_worker();
	test_the_sum_is_of_all_output();
	test_what_is_refused_is_not_kept();
	test_backwards();
	return 0;
}
