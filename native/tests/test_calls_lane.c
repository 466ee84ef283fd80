/* SPDX-License-Identifier: Apache-2.0 */
/* A primary whose server leads, a backup whose server follows: the log between them, what waits for it, and how it ends. */
#define _GNU_SOURCE
#include "calls_rig.h"

/* A follower that joins gets all of it; and only when its server listens it is told what clients have sent. */
static void test_it_joins(void)
{
	begin();
	calls(100);
	CHECK(shown(&primary).state == FTT_CALLS_STAGE_LEADS && shown(&primary).retained > 100 && !shown(&primary).in_step);
	CHECK(shown(&backup).state == FTT_CALLS_STAGE_FOLLOWS && !shown(&backup).log_bytes);
	joins();
	CHECK(shown(&primary).in_step && shown(&backup).in_step && shown(&primary).held == shown(&primary).log_bytes);
	CHECK(shown(&backup).log_bytes == shown(&primary).log_bytes && shown(&backup).behind == 100);
	CHECK_EQ(backup.events[FTT_EV_CALLS], 0);
	CHECK_EQ(calls_read(&followed, THREAD, &heard, 1000), 100);
	calls(10); /* it is not behind any more, though there is always something new */
	go_on();
	CHECK(backup.events[FTT_EV_CALLS] == 1 && shown(&backup).state == FTT_CALLS_STAGE_CAUGHT_UP && shown(&primary).behind == 10);
	CHECK(primary.worker.history->stage == FTT_HISTORY_IDLE && !backup.worker.history->live);
	backup_listens();
	CHECK(backup.worker.history->live && primary.worker.history->stage == FTT_HISTORY_MARKED);
	CHECK_EQ(n_kind[FTT_LANE_CALLS_LISTENS], 1);
	end();
}

/* Output leaves when the backup holds what was in the log by then, at once; an acknowledgement alone waits for nothing. */
static void test_output_waits(void)
{
	struct ftt_tcp *c = in_step();
	uint32_t before = client_acks;

	calls(50);
	answers(&primary, 20);
	CHECK(c->n_held == 1 && c->held->wait == FTT_WAIT_CALLS && client_acks == before);
	says(3, TCP_ACK, 11, 5); /* what acknowledges it is behind in the queue, in order */
	CHECK_EQ(client_acks, before);
	calls(50);
	answers(&primary, 40);
	CHECK(carry(1) && carry(1) && carry(0)); /* CALLS, of both; HELD of the first */
	CHECK_EQ(client_acks, before + 20);
	go_on();
	CHECK(client_acks == before + 40 && !c->held);
	CHECK_EQ(shown(&primary).waits, 2);
	answers(&backup, 40);
	says(3, TCP_ACK, 16, 5);
	go_on(); /* nothing new is in the log: nothing waits */
	answers(&primary, 60);
	CHECK_EQ(client_acks, before + 60);
	end();
}

/* The backup's server is slow, which is no matter, as long as its engine has all. */
static void test_a_slow_follower(void)
{
	uint32_t before, i;

	in_step();
	before = client_acks;
	for (i = 1; i <= 30; i++) {
		calls(1000);
		go_on();
		answers(&primary, 20 * i);
		go_on();
		says(3, TCP_ACK, 11, 0);
		CHECK_EQ(client_acks, before + 20 * i);
	}
	CHECK(shown(&primary).behind >= 30000 - 4096);
	while (heard < said) {
		CHECK(calls_read(&followed, THREAD, &heard, 3000));
		go_on();
	}
	CHECK_EQ(shown(&primary).behind, 0);
	end();
}

static void drop(struct node *n, struct wire *packet)
{
	(void)n;
	free(packet);
}

/* The backup serves now. */
static void takes_over(void)
{
	set_lane(false);
	backup.to_client = drop;
	role(&backup, FTT_MODE_SOLO, 3);
}

static void is_over(struct ftt_tcp *c, uint32_t before, uint64_t answered)
{
	go_on();
	CHECK(c->flow.protection == FTT_DETACHED && c->flow.reason == FTT_WHY_CALLS);
	CHECK(!shown(&primary).in_step && primary.worker.history->stage == FTT_HISTORY_FAILED);
	answers(&primary, answered); /* the service goes on */
	go_on();
	CHECK_EQ(client_acks, before + answered);
}

/* LISTENS is lost with a lane that ends: it is said again. And CALLS that are for a follower before are nothing. */
static void test_said_again(void)
{
	uint8_t bytes[FTT_CALLS_HEAD + FTT_CALLS_FRAME + 8] = {0};

	begin();
	calls(100);
	joins();
	put_be32(bytes, 77);
	put_be64(bytes + 4, 1000);
	backup.worker.calls->their_life = 0;
	CHECK_EQ(hears(&backup, FTT_LANE_CALLS, bytes, sizeof(bytes)), FTT_LANE_TAKEN);
	CHECK_EQ(backup.worker.calls->their_life, 0);
	backup.worker.calls->their_life = primary.worker.calls->life;
	calls_read(&followed, THREAD, &heard, 1000);
	backup.worker.calls->listens = true;
	ftt_calls_tick(&backup.worker, model_now);
	CHECK_EQ(n_kind[FTT_LANE_CALLS_LISTENS], 1);
	set_lane(false);
	CHECK_EQ(primary.worker.history->stage, FTT_HISTORY_IDLE);
	set_lane(true);
	go_on();
	CHECK_EQ(n_kind[FTT_LANE_CALLS_LISTENS], 2);
	end();
}

/* A follower that has started anew in the pairing is none of the connections that are protected. */
static void test_another_follower(void)
{
	struct ftt_tcp *c = in_step();
	uint32_t before = client_acks;

	calls(50);
	go_on();
	heard = 0;
	another_life(&backup, &followed, FTT_CALLS_PART_FOLLOWS);
	go_on();
	CHECK(c->flow.protection == FTT_DETACHED && c->flow.reason == FTT_WHY_CALLS && shown(&primary).in_step);
	CHECK_EQ(calls_read(&followed, THREAD, &heard, 1000), 150);
	answers(&primary, 20);
	go_on();
	CHECK_EQ(client_acks, before + 20);
	end();
}

static void test_the_leader_breaks(void)
{
	struct ftt_tcp *c = in_step();
	uint32_t before = client_acks;

	calls(50);
	answers(&primary, 20);
	led.log->first = (struct ftt_calls_break){.why = FTT_CALLS_REFUSED, .made = 5, .pid = 77, .number = 9, .program = "redis"};
	led.log->state = FTT_CALLS_BROKEN;
	ftt_calls_look(&primary.worker, model_now);
	is_over(c, before, 40);
	CHECK(shown(&primary).state == FTT_CALLS_STAGE_BROKEN && !shown(&primary).theirs && shown(&primary).pid == 77);
	CHECK(shown(&backup).state == FTT_CALLS_STAGE_BROKEN && shown(&backup).theirs && shown(&backup).why == FTT_CALLS_REFUSED);
	CHECK(!strcmp(shown(&backup).program, "redis") && followed.log->state == FTT_CALLS_ALONE);
	CHECK(primary.events[FTT_EV_CALLS] == 1 && backup.events[FTT_EV_CALLS] == 2); /* it had caught up */
	end();
}

/* ... the follower: the log stays, and another one may begin with it, in another pairing. */
static void test_the_follower_breaks(void)
{
	struct ftt_tcp *c = in_step();
	uint32_t before = client_acks;

	calls(50);
	answers(&primary, 20);
	followed.log->first = (struct ftt_calls_break){.why = FTT_CALLS_DIFFERS, .made = 5, .said = 6, .thread = 3};
	followed.log->state = FTT_CALLS_BROKEN;
	ftt_calls_tick(&backup.worker, model_now);
	CHECK(!backup.worker.table.count[FTT_PROTECTED] && c->flow.protection == FTT_PROTECTED); /* a takeover at this moment resets it */
	is_over(c, before, 40);
	CHECK(shown(&primary).state == FTT_CALLS_STAGE_LEADS && shown(&primary).theirs && shown(&primary).why == FTT_CALLS_DIFFERS);
	CHECK(shown(&primary).said == 6 && led.log->state == FTT_CALLS_RUNS && shown(&backup).state == FTT_CALLS_STAGE_BROKEN);
	calls(50);
	role(&backup, FTT_MODE_IDLE, 0);
	heard = 0;
	another_life(&backup, &followed, FTT_CALLS_PART_FOLLOWS);
	role(&backup, FTT_MODE_BACKUP, 3);
	role(&primary, FTT_MODE_PAIRED, 3);
	CHECK(!shown(&primary).why);
	set_lane(true);
	go_on();
	CHECK(calls_read(&followed, THREAD, &heard, 1000) == said && shown(&primary).in_step);
	end();
}

/* ... and the primary has yet to be told: what begins meanwhile is not followed. */
static void test_what_begins_after_a_break(void)
{
	struct ftt_key key = key_of(4);
	struct ftt_tcp *c;

	in_step();
	set_lane(false);
	followed.log->state = FTT_CALLS_BROKEN;
	ftt_calls_tick(&backup.worker, model_now);
	listens(&backup, 4);
	listens(&primary, 4);
	says(4, TCP_SYN, 0, 0);
	go_on();
	says(4, TCP_ACK, 1, 0);
	go_on();
	CHECK((c = ftt_table_find(&primary.worker.table, &key)));
	CHECK(c->flow.protection == FTT_DETACHED && c->flow.reason == FTT_WHY_REFUSED);
	CHECK(!backup.worker.table.count[FTT_PROTECTED] && !backup.worker.table.count[FTT_OPENING]);
	end();
}

/* What was under way when the lane ended comes again. */
static void test_the_lane_is_cut(void)
{
	struct ftt_tcp *c = in_step();
	uint32_t before = client_acks;

	calls(50);
	answers(&primary, 20);
	CHECK(carry(1)); /* the backup has it, its word is lost */
	calls(60);
	set_lane(false);
	calls(70);
	answers(&primary, 40);
	go_on();
	CHECK(c->n_held == 2 && client_acks == before);
	set_lane(true);
	go_on();
	CHECK(client_acks == before + 40 && c->flow.protection == FTT_PROTECTED);
	CHECK_EQ(calls_read(&followed, THREAD, &heard, 1000), 180);
	end();
}

/* It does not come back: the service waits for detach_after, and no longer. */
static void test_too_late(void)
{
	struct ftt_tcp *c = in_step();
	uint32_t before = client_acks;

	calls(50);
	answers(&primary, 20);
	set_lane(false);
	go_on();
	model_now += primary.engine.cfg.policy.detach_after_ns;
	go_on();
	CHECK(client_acks == before && c->flow.protection == FTT_PROTECTED);
	model_now += MS;
	is_over(c, before, 40);
	CHECK(shown(&primary).state == FTT_CALLS_STAGE_BROKEN && shown(&primary).why == FTT_CALLS_FULL && led.log->state == FTT_CALLS_BROKEN);
	set_lane(true);
	go_on();
	CHECK(shown(&backup).state == FTT_CALLS_STAGE_BROKEN && shown(&backup).theirs && shown(&backup).why == FTT_CALLS_FULL);
	end();
}

/* The primary is gone: what is in the log is done first, however slowly, then the server goes on by itself. */
static void test_a_takeover(void)
{
	in_step();
	for (int i = 0; i < 4; i++) {
		calls(CALLS_RING / 2);
		go_on();
	}
	takes_over();
	for (int i = 0; heard < said; i++) {
		model_now += backup.engine.cfg.policy.detach_after_ns;
		CHECK_EQ(followed.log->state, FTT_CALLS_RUNS);
		CHECK(calls_read(&followed, THREAD, &heard, 500));
		ftt_calls_tick(&backup.worker, model_now);
	}
	CHECK(followed.log->state == FTT_CALLS_ALONE && shown(&backup).state == FTT_CALLS_STAGE_ALONE && !shown(&backup).in_step && backup.events[FTT_EV_CALLS] == 2);
	end();
}

/* ... and its server waits for what does not come. */
static void test_a_takeover_that_waits(uint32_t messages)
{
	bool lost = messages > 1;

	in_step();
	while (messages--) {
		calls(CALLS_RING);
		go_on();
	}
	takes_over();
	ftt_calls_tick(&backup.worker, model_now);
	model_now += backup.engine.cfg.policy.detach_after_ns;
	ftt_calls_tick(&backup.worker, model_now);
	CHECK_EQ(followed.log->state, FTT_CALLS_RUNS);
	model_now += MS;
	CHECK(!backup.worker.table.count[FTT_RESETTING]);
	ftt_calls_tick(&backup.worker, model_now);
	CHECK(followed.log->state == (lost ? FTT_CALLS_BROKEN : FTT_CALLS_ALONE) && shown(&backup).why == (lost ? FTT_CALLS_ENDED : 0));
	CHECK_EQ(backup.worker.table.count[FTT_RESETTING], lost); /* its client may have what our server never says */
	end();
}

/* The primary's server starts anew in the pairing: the follower is of the one before. */
static void test_another_leader(void)
{
	struct ftt_tcp *c = in_step();
	uint32_t before = client_acks;

	calls(50);
	answers(&primary, 20);
	another_life(&primary, &led, FTT_CALLS_PART_LEADS);
	is_over(c, before, 40);
	CHECK(shown(&backup).state == FTT_CALLS_STAGE_BROKEN && shown(&backup).theirs && shown(&backup).why == FTT_CALLS_ENDED);
	CHECK(shown(&primary).state == FTT_CALLS_STAGE_LEADS && followed.log->state == FTT_CALLS_ALONE);
	end();
}

/* More than may be kept: who follows goes on, nobody can begin. Without a follower there is no log any more. */
static void test_too_long(void)
{
	struct ftt_tcp *c = in_step();

	primary.engine.cfg.policy.calls_log = 3 * sizeof(struct ftt_drain_part);
	for (int i = 0; i < 300; i++) {
		calls(CALLS_RING / 2);
		go_on();
		calls_read(&followed, THREAD, &heard, UINT32_MAX);
	}
	CHECK(shown(&primary).state == FTT_CALLS_STAGE_CUT && shown(&primary).in_step && c->flow.protection == FTT_PROTECTED);
	CHECK(primary.events[FTT_EV_CALLS] == 1 && led.log->state == FTT_CALLS_RUNS);
	set_lane(false);
	role(&backup, FTT_MODE_IDLE, 0);
	another_life(&backup, &followed, FTT_CALLS_PART_FOLLOWS);
	role(&backup, FTT_MODE_BACKUP, 3);
	role(&primary, FTT_MODE_PAIRED, 3);
	CHECK_EQ(led.log->state, FTT_CALLS_ALONE);
	set_lane(true);
	go_on();
	CHECK(shown(&primary).state == FTT_CALLS_STAGE_CUT && !shown(&primary).in_step);
	CHECK(shown(&backup).state == FTT_CALLS_STAGE_BROKEN && shown(&backup).theirs && !shown(&backup).why);
	end();
}

static void test_too_long_alone(void)
{
	begin();
	primary.engine.cfg.policy.calls_log = 3 * sizeof(struct ftt_drain_part);
	while (led.log->state == FTT_CALLS_RUNS)
		calls(CALLS_RING / 2);
	CHECK(led.log->state == FTT_CALLS_ALONE && shown(&primary).state == FTT_CALLS_STAGE_CUT && !shown(&primary).retained);
	CHECK_EQ(primary.events[FTT_EV_CALLS], 1);
	end();
}

/* A follower that takes more than may be kept is of no use any more. */
static void test_the_follower_is_full(void)
{
	struct ftt_tcp *c = in_step();
	uint32_t before = client_acks;

	backup.engine.cfg.policy.calls_log = 1 << 17;
	for (int i = 0; i < 1000 && shown(&backup).state != FTT_CALLS_STAGE_BROKEN; i++) {
		calls(CALLS_RING / 2);
		go_on();
	}
	CHECK(shown(&backup).state == FTT_CALLS_STAGE_BROKEN && shown(&backup).why == FTT_CALLS_FULL);
	is_over(c, before, 40);
	CHECK(shown(&primary).theirs && shown(&primary).state == FTT_CALLS_STAGE_LEADS);
	end();
}

/* A node without such a log says and hears nothing of one; nor does one in another role. */
static void test_without(void)
{
	uint8_t bytes[FTT_CALLS_BREAK] = {0};

	begin();
	CHECK(!ftt_calls_anew(&backup.worker, &(struct ftt_calls_memory){0}, FTT_CALLS_PART_NONE));
	joins();
	CHECK(!n_kind[FTT_LANE_CALLS_HELD] && !shown(&primary).in_step && shown(&backup).state == FTT_CALLS_STAGE_NONE);
	CHECK_EQ(hears(&backup, FTT_LANE_CALLS, bytes, FTT_CALLS_HEAD), FTT_LANE_TAKEN);
	for (uint32_t len = 0; len <= FTT_CALLS_BREAK; len++) {
		CHECK_EQ(hears(&backup, FTT_LANE_CALLS, bytes, len), len < FTT_CALLS_HEAD ? FTT_LANE_BAD : FTT_LANE_TAKEN);
		CHECK_EQ(hears(&primary, FTT_LANE_CALLS_HELD, bytes, len), len == FTT_CALLS_HELD ? FTT_LANE_TAKEN : FTT_LANE_BAD);
		CHECK_EQ(hears(&backup, FTT_LANE_CALLS_BROKEN, bytes, len), len == FTT_CALLS_BREAK ? FTT_LANE_TAKEN : FTT_LANE_BAD);
		CHECK_EQ(hears(&backup, FTT_LANE_CALLS_LISTENS, bytes, len), len == 1 ? FTT_LANE_TAKEN : FTT_LANE_BAD);
	}
	end();
}

/* Whatever the partner says, with our key: a place that is none is nothing. */
static void test_strange_words(void)
{
	struct ftt_calls *c;
	uint8_t bytes[64] = {0};

	in_step();
	c = primary.worker.calls;
	for (uint64_t held = c->sent - 20; held < c->sent + 20; held++) {
		uint64_t before = c->held;

		put_be32(bytes, c->life);
		put_be64(bytes + 4, held);
		CHECK_EQ(hears(&primary, FTT_LANE_CALLS_HELD, bytes, FTT_CALLS_HELD), FTT_LANE_TAKEN);
		CHECK_EQ(c->held, held <= c->sent && held > before ? held : before);
	}
	c = backup.worker.calls;
	put_be32(bytes, c->their_life + 2);
	CHECK_EQ(hears(&backup, FTT_LANE_CALLS, bytes, FTT_CALLS_HEAD), FTT_LANE_BAD);
	put_be32(bytes, c->their_life);
	put_be64(bytes + 4, UINT64_MAX);
	CHECK_EQ(hears(&backup, FTT_LANE_CALLS, bytes, sizeof(bytes)), FTT_LANE_BAD);
	CHECK_EQ(hears(&primary, FTT_LANE_CALLS_LISTENS, none, 1), FTT_LANE_TAKEN); /* again */
	end();
}

int main(void)
{
	test_it_joins();
	test_output_waits();
	test_a_slow_follower();
	test_said_again();
	test_another_follower();
	test_the_leader_breaks();
	test_the_follower_breaks();
	test_what_begins_after_a_break();
	test_the_lane_is_cut();
	test_too_late();
	test_a_takeover();
	test_a_takeover_that_waits(1);
	test_a_takeover_that_waits(2);
	test_another_leader();
	test_too_long();
	test_too_long_alone();
	test_the_follower_is_full();
	test_without();
	test_strange_words();
	return 0;
}
