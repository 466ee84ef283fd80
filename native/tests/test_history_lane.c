/* SPDX-License-Identifier: Apache-2.0 */
/* Two workers with a history: what is written of a server, how another one is brought to it, and what a lane may say of it. */
#define _GNU_SOURCE
#include "history_rig.h"

#define MANY 12u /* connections at once */

/* --- what is written ---------------------------------------------------------------------------------------- */

/* Outputs (W) stand before what follows them. A handshake alone is nothing that a server is told of twice. */
static void test_what_is_written(void)
{
	open_both();
	says(9, TCP_SYN, 0, 0);
	says(9, TCP_RST, 1, 0);
	expect(&primary, "");
	opens(1);
	expect(&primary, "O");
	says(1, TCP_ACK | TCP_PSH, 1, 10);
	says(1, TCP_ACK | TCP_PSH, 1, 10); /* again: it is there */
	answers(&primary, 20);
	answers(&primary, 30);
	says(1, TCP_ACK, 6, 10);
	expect(&primary, "OIWI");
	says(1, TCP_RST, 16, 0);
	expect(&primary, "OIWIE");
	CHECK_EQ(ftt_history_behind(&primary.worker), true);
	close_both();
}

/* What was written before the server started is of the one before. */
static void test_another_life(void)
{
	uint32_t of_nine, now;

	open_both();
	opens(1);
	says(1, TCP_ACK, 1, 10);
	says(1, TCP_RST, 11, 0);
	opens(9);
	says(9, TCP_ACK, 1, 10);
	of_nine = client_acks;
	model_now += S;
	atomic_store(&primary.engine.server_start_ns, model_now);
	model_now += MS;
	says(9, TCP_ACK, 11, 10); /* to the server before, in its last moment */
	opens(2); /* before the engine hears of it */
	says(2, TCP_ACK, 1, 10);
	atomic_fetch_add(&primary.engine.server_life, 1);
	ftt_history_look(&primary.worker);
	expect(&primary, "OI");
	now = client_acks;
	client_acks = of_nine;
	says(9, TCP_ACK, 21, 10); /* to the server before: of no history that there is */
	says(9, TCP_RST, 21, 0);
	client_acks = now;
	expect(&primary, "OI");
	atomic_store(&primary.engine.server_start_ns, 0); /* one that nobody saw start */
	atomic_fetch_add(&primary.engine.server_life, 1);
	ftt_history_look(&primary.worker);
	CHECK(primary.worker.history->why == FTT_LOG_GAP && !primary.worker.history->bytes);
	model_now += S;
	atomic_store(&primary.engine.server_start_ns, model_now);
	model_now += MS;
	opens(3); /* in that moment there is no history */
	says(3, TCP_ACK, 1, 10);
	atomic_fetch_add(&primary.engine.server_life, 1);
	ftt_history_look(&primary.worker);
	says(3, TCP_ACK, 11, 10);
	expect(&primary, "OII");
	close_both();
}

/* Its bound is reached: it ends, with a reason, and the server is served as ever. So until there is another server. */
static void test_the_bound(void)
{
	struct ftt_history *h;
	uint32_t at = 1;

	open_both();
	h = primary.worker.history;
	primary.engine.cfg.policy.history_bytes = primary.engine.cfg.policy.renew_bytes = sizeof(struct ftt_history_part) + 8000;
	opens(1);
	for (; !h->why && at < MODEL_STREAM_MAX; at++) {
		says(1, TCP_ACK, at, 1);
		CHECK(h->bytes + primary.worker.log_bytes <= primary.engine.cfg.policy.history_bytes); /* logs are within it */
	}
	CHECK(h->why == FTT_LOGS_TOO_LONG && at > 1000 && !h->bytes && !h->first);
	CHECK_EQ(h->stage, FTT_HISTORY_FAILED);
	says(1, TCP_ACK, at, 10);
	answers(&primary, 50);
	says(1, TCP_RST, at + 10, 0);
	opens(2);
	says(2, TCP_ACK, 1, 10);
	CHECK_EQ(stack_received(&primary.stack), 10);
	expect(&primary, "");
	node_role(&primary, FTT_MODE_PAIRED, 2);
	crossing = true;
	set_lane(true);
	settle();
	CHECK_EQ(n_kind[FTT_LANE_HISTORY] + n_kind[FTT_LANE_MARK], 0);
	CHECK(ftt_history_behind(&primary.worker) && ftt_history_waits(&backup.worker));
	model_now += S;
	server_starts(&primary);
	CHECK(!h->why);
	opens(3);
	says(3, TCP_ACK, 1, 10);
	expect(&primary, "OI");
	close_both();
}

/* --- how another server is brought to it ------------------------------------------------------------------------ */

/* ... of which the history tells. */
static struct ftt_tcp *live_as_written(void)
{
	struct ftt_tcp *c = live_a_little();

	expect(&primary, "OIEOIWI");
	return c;
}

/* Up to where the backup's server has to say something itself. */
static void play_all(void)
{
	settle();
	CHECK_EQ(first_had, 10);
	CHECK_EQ(backup.stack.state, STACK_OPEN);
}

/* ... which it does. */
static void says_it(void)
{
	answers(&backup, 20);
	ftt_history_tick(&backup.worker);
	settle();
}

static void test_a_new_backup(void)
{
	const struct ftt_tcp *c = live_as_written();
	const struct ftt_history *h = backup.worker.history;
	struct ftt_key key = key_of(2);

	pair();
	CHECK(ftt_history_waits(&backup.worker) && ftt_history_behind(&primary.worker));
	play_all();
	CHECK_EQ(stack_received(&backup.stack), 10); /* what follows its answer waits for that */
	CHECK(h->blocked && !h->live);
	says_it();
	CHECK_EQ(stack_received(&backup.stack), 15);
	CHECK(h->live && n_kind[FTT_LANE_MARK] == 1);
	catches_up(c);
	CHECK_EQ(ftt_table_find(&backup.worker.table, &key)->flow.protection, FTT_PROTECTED);
	expect(&backup, "OIEOIWI"); /* it has the same of its own server */
	close_both();
}

/* What comes on the mirror meanwhile is given behind the last frame, once. */
static void test_what_the_mirror_brings_waits(void)
{
	const struct ftt_history *h;

	live_as_written();
	h = backup.worker.history;
	pair();
	play_all();
	CHECK_EQ(hears(&backup, FTT_LANE_ALIGN, (const uint8_t[1]){0}, 1), FTT_LANE_TAKEN);
	CHECK(h->aligns);
	says(2, TCP_ACK, 16, 7);
	CHECK(h->kept && h->kept_bytes > 7);
	CHECK_EQ(stack_received(&backup.stack), 10);
	answers(&backup, 20);
	ftt_history_tick(&backup.worker);
	settle();
	CHECK(h->live && !h->kept && !h->kept_bytes);
	CHECK_EQ(stack_received(&backup.stack), 22);
	close_both();
}

/* A server that does not say what the other one said: nothing goes on with it. */
static void test_who_does_not_say_it(void)
{
	live_as_written();
	pair();
	play_all();
	for (unsigned i = 0; i < 12; i++) {
		model_now += S;
		ftt_history_tick(&backup.worker);
		settle();
	}
	CHECK(backup.worker.history->failed && !backup.worker.history->live && backup.events[FTT_EV_HISTORY_FAILED] == 1);
	CHECK(primary.worker.history->stage == FTT_HISTORY_FAILED && ftt_history_behind(&primary.worker));
	CHECK_EQ(backup.worker.n_renewing[FTT_RENEW_CATCHING], 0);
	close_both();
}

/* It ends in the middle: how much the other server was given nobody knows. */
static void test_a_lane_that_is_cut(void)
{
	const struct ftt_history *h;

	live_as_written();
	h = backup.worker.history;
	pair();
	play_all();
	CHECK_EQ(hears(&backup, FTT_LANE_ALIGN, (const uint8_t[1]){0}, 1), FTT_LANE_TAKEN);
	says(2, TCP_ACK, 16, 7);
	CHECK(h->kept && h->blocked);
	set_lane(false);
	CHECK(h->failed && !h->kept && !h->kept_bytes && !h->blocked && !h->in_message);
	CHECK_EQ(primary.worker.history->stage, FTT_HISTORY_FAILED);
	CHECK_EQ(primary.worker.n_renewing[FTT_RENEW_BEGUN] + primary.worker.n_renewing[FTT_RENEW_CATCHING], 0);
	set_lane(true);
	settle();
	CHECK(!n_kind[FTT_LANE_MARK] && !h->live);
	says(2, TCP_ACK, 23, 7);
	CHECK_EQ(stack_received(&primary.stack), 29); /* served all the same */
	close_both();
}

/* Behind MARK frames may be lost on the way, or be there without having been told so: they come again, and are given once. */
static void test_what_was_under_way(void)
{
	const struct ftt_history *h;

	open_both();
	h = backup.worker.history;
	pair();
	mirrored = false;
	says(1, TCP_SYN, 0, 0);
	settle();
	CHECK(h->live && primary.worker.history->stage == FTT_HISTORY_MARKED);
	says(1, TCP_ACK, 1, 0);
	says(1, TCP_ACK, 1, 10);
	expect(&primary, "OI");
	ftt_renew_pump(&primary.worker, model_now);
	CHECK_EQ(n_kind[FTT_LANE_HISTORY], 1);
	set_lane(false); /* it is not there */
	set_lane(true);
	ftt_renew_pump(&primary.worker, model_now);
	CHECK(!carry(1) && h->blocked && h->appended); /* ... its first frame is */
	set_lane(false);
	set_lane(true);
	settle();
	CHECK_EQ(stack_received(&backup.stack), 10);
	CHECK(!h->blocked);
	says(1, TCP_ACK, 11, 5);
	ftt_renew_pump(&primary.worker, model_now);
	for (unsigned i = 0; i < 10 && waits[1]; i++) {
		ftt_history_tick(&backup.worker);
		carry(1);
	}
	CHECK(waits[0] && !waits[1]); /* all of it is, and nobody was told */
	set_lane(false);
	says(1, TCP_ACK, 16, 3);
	set_lane(true);
	settle();
	CHECK_EQ(stack_received(&backup.stack), 18);
	CHECK_EQ(backup.stack.state, STACK_OPEN);
	expect(&backup, "OIII");
	CHECK_EQ(primary.worker.history->played, primary.worker.history->sent);
	close_both();
}

/* A backup whose server was told something before is none to begin with. */
static void test_a_server_that_is_not_fresh(void)
{
	const struct ftt_tcp *c = live_as_written();

	backup.worker.history->why = FTT_LOG_GAP;
	pair();
	settle();
	CHECK(backup.worker.history->failed && primary.worker.history->stage == FTT_HISTORY_FAILED);
	CHECK_EQ(backup.stack.state, STACK_LISTEN);
	set_lane(false);
	server_starts(&backup);
	listens(&backup, 1);
	backup.stack.over = second;
	node_role(&backup, FTT_MODE_BACKUP, 3); /* as fresh as it is, it is told all of those that live, too */
	node_role(&primary, FTT_MODE_SOLO, 3);
	pair();
	play_all();
	says_it();
	CHECK(backup.worker.history->live);
	catches_up(c);
	close_both();
}

/* --- what a lane may say ------------------------------------------------------------------------------------------- */

static uint32_t put_event(uint8_t *p, uint8_t kind, uint16_t port)
{
	struct ftt_history_event x = {.kind = kind, .key = key_of(port), .irs = IRS, .how = FTT_HISTORY_CLOSED,
				      .piece = {.len = 10, .bytes = (const uint8_t[10]){0}}};

	return ftt_history_put(p, 2048, &x);
}

static void test_strange_messages(void)
{
	static const uint8_t kinds[] = {FTT_LANE_ALIGN, FTT_LANE_MARK, FTT_LANE_PLAYED, FTT_LANE_ALIGNED, FTT_LANE_NOT_PLAYED};
	static const uint32_t wanted[] = {1, 1, 8, 8, 1};
	static const uint8_t none[32];
	uint8_t bytes[4096] = {0};
	uint32_t n;

	open_both();
	pair();
	lose_messages();
	for (unsigned i = 0; i < sizeof(kinds); i++)
		for (uint32_t len = 0; len < sizeof(none); len++)
			if (len != wanted[i]) {
				CHECK_EQ(hears(&backup, kinds[i], none, len), FTT_LANE_BAD);
				CHECK_EQ(hears(&primary, kinds[i], none, len), FTT_LANE_BAD);
			}
	CHECK_EQ(hears(&backup, FTT_LANE_NOT_PLAYED + 1, none, 8), FTT_LANE_BAD);
	for (uint32_t len = 0; len < 8; len++)
		CHECK_EQ(hears(&backup, FTT_LANE_HISTORY, none, len), FTT_LANE_BAD);
	n = put_event(bytes + 8, FTT_HISTORY_INPUT, 1);
	CHECK_EQ(hears(&backup, FTT_LANE_HISTORY, bytes, 8 + n), FTT_LANE_BAD); /* it would begin before the beginning */
	bytes[0] = 1;
	for (uint32_t len = 9; len < sizeof(none); len++)
		CHECK_EQ(hears(&backup, FTT_LANE_HISTORY, none, len), FTT_LANE_BAD);
	for (uint32_t len = 1; len < n; len++)
		CHECK_EQ(hears(&backup, FTT_LANE_HISTORY, bytes, 8 + len), FTT_LANE_BAD);
	bytes[8 + FTT_HISTORY_FRAME] = 99;
	CHECK_EQ(hears(&backup, FTT_LANE_HISTORY, bytes, 8 + n), FTT_LANE_BAD);
	CHECK(!node_flow(&backup) && !backup.worker.history->live && backup.stack.state == STACK_LISTEN);
	close_both();
}

/* Of a connection that nobody knows nothing is done; what it says is taken, and told to be. */
static void test_flows_that_nobody_knows(void)
{
	uint8_t bytes[4096] = {1}; /* far on */
	uint32_t n = 8;

	open_both();
	pair();
	lose_messages();
	n_kind[FTT_LANE_PLAYED] = 0;
	for (uint8_t kind = FTT_HISTORY_INPUT; kind <= FTT_HISTORY_DONE; kind++)
		n += put_event(bytes + n, kind, 7);
	CHECK_EQ(hears(&backup, FTT_LANE_HISTORY, bytes, n), FTT_LANE_TAKEN);
	CHECK(n_kind[FTT_LANE_PLAYED] == 1 && !backup.worker.history->blocked && !node_flow(&backup));
	close_both();
}

/* Each at a time, or to a node, where nobody would say it. */
static void test_the_wrong_order(void)
{
	struct ftt_history *p, *b;
	uint8_t far[8], one = 0;

	live_as_written();
	p = primary.worker.history;
	b = backup.worker.history;
	pair();
	lose_messages();
	p->stage = FTT_HISTORY_SENDS; /* as if there were more of it */
	CHECK_EQ(hears(&backup, FTT_LANE_MARK, &one, 1), FTT_LANE_TAKEN);
	CHECK(!b->live); /* it was not asked to keep what comes */
	put_be64(far, UINT64_MAX);
	CHECK_EQ(hears(&primary, FTT_LANE_PLAYED, far, 8), FTT_LANE_TAKEN);
	CHECK(p->played <= p->sent);
	put_be64(far, 0);
	CHECK_EQ(hears(&primary, FTT_LANE_ALIGNED, far, 8), FTT_LANE_TAKEN);
	CHECK_EQ(p->stage, FTT_HISTORY_SENDS);
	CHECK_EQ(hears(&primary, FTT_LANE_ALIGN, &one, 1), FTT_LANE_TAKEN);
	CHECK_EQ(hears(&primary, FTT_LANE_MARK, &one, 1), FTT_LANE_TAKEN);
	CHECK(!p->aligns && !p->live && p->stage == FTT_HISTORY_SENDS);
	CHECK_EQ(hears(&backup, FTT_LANE_PLAYED, far, 8), FTT_LANE_TAKEN);
	CHECK_EQ(hears(&backup, FTT_LANE_NOT_PLAYED, &one, 1), FTT_LANE_TAKEN);
	CHECK_EQ(b->stage, FTT_HISTORY_IDLE);
	one = 255; /* a reason that there is not */
	CHECK_EQ(hears(&primary, FTT_LANE_NOT_PLAYED, &one, 1), FTT_LANE_TAKEN);
	CHECK_EQ(p->stage, FTT_HISTORY_FAILED);
	CHECK(!primary.worker.n_renewing[FTT_RENEW_BEGUN] && !primary.worker.n_renewing[FTT_RENEW_WAITS]);
	close_both();
}

static unsigned count(const struct ftt_list *head)
{
	unsigned n = 0;

	for (const struct ftt_list *at = head->next; at != head; at = at->next)
		n++;
	return n;
}

/* Messages for the backup, whose stack has one connection at a time. None comes back. */
static void tell_backup(void)
{
	while (waits[1]) {
		if (waits[1]->kind == FTT_LANE_BEGIN)
			listens(&backup, get_be16(waits[1]->bytes + 13 + 6));
		CHECK(carry(1));
	}
}

static void look(unsigned times)
{
	for (unsigned i = 0; i < times; i++) {
		model_now += 100 * MS;
		ftt_renew_tick(&primary.worker, model_now);
		ftt_renew_tick(&backup.worker, model_now);
		node_run(&primary);
		node_run(&backup);
		tell(0);
		tell(1);
	}
}

/* Many connections live while a history is told. A tick looks at those with which something happens. */
static void test_the_work_of_a_tick(void)
{
	const struct ftt_list *told = &primary.worker.renew_active, *hears_it = &backup.worker.renew_active;
	uint32_t of_seven = 0;

	open_both();
	for (uint16_t port = 1; port <= MANY; port++) {
		opens(port);
		says(port, TCP_ACK | TCP_PSH, 1, 10);
		of_seven = port == 7 ? client_acks : of_seven;
	}
	node_role(&primary, FTT_MODE_PAIRED, 2);
	crossing = true;
	set_lane(true);
	tell_backup();
	CHECK_EQ(backup.worker.n_renewing[FTT_RENEW_CATCHING], MANY);
	CHECK_EQ(count(hears_it), MANY);
	look(20);
	CHECK_EQ(primary.worker.n_renewing[FTT_RENEW_CATCHING], MANY);
	CHECK(!count(told) && !count(hears_it));
	client_acks = of_seven;
	says(7, TCP_ACK | TCP_PSH, 11, 5);
	ftt_renew_pump(&primary.worker, model_now);
	tell_backup();
	CHECK(count(told) == 1 && count(hears_it) == 2); /* the model's stack answers as the connection that it has */
	look(20);
	CHECK(!count(told) && count(hears_it) == 2); /* its stack does not take it, and is given it again and again */
	model_now += 20 * S; /* it takes that long */
	primary.worker.history->stage = FTT_HISTORY_MARKS;
	hears(&primary, FTT_LANE_MARKED, (const uint8_t[]){0}, 1);
	CHECK(primary.worker.history->stage == FTT_HISTORY_MARKED && count(told) == MANY);
	ftt_renew_tick(&primary.worker, model_now);
	CHECK(count(told) == MANY && !primary.worker.n.renewals_failed); /* now the backup is waited for, and not since the beginning */
	close_both();
}

int main(void)
{
	test_the_work_of_a_tick();
	test_what_is_written();
	test_another_life();
	test_the_bound();
	test_a_new_backup();
	test_what_the_mirror_brings_waits();
	test_who_does_not_say_it();
	test_a_lane_that_is_cut();
	test_what_was_under_way();
	test_a_server_that_is_not_fresh();
	test_strange_messages();
	test_flows_that_nobody_knows();
	test_the_wrong_order();
	return 0;
}
