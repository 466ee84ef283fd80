/* SPDX-License-Identifier: Apache-2.0 */
/* Tables of what is done next with a flow that a new backup catches up with, and of how long that may take. */
#include <stddef.h>
#include "core/tcp/catching.h"
#include "flows.h"

#define ROWS(of) (sizeof(of) / sizeof((of)[0]))
#define S (1000 * MS)
#define NOW (1000 * S)

static const struct ftt_retained nothing; /* is retained */

/* A primary's flow; the backup's stack and server are where its client is, unless a row says otherwise. */
static struct ftt_flow flow_in(uint8_t protection)
{
	struct ftt_flow f;

	make_primary(&f, &plain, MS);
	f.protection = protection;
	return f;
}

static struct ftt_catching at_the_end(void)
{
	return (struct ftt_catching){.stage = FTT_RENEW_CATCHING, .told = true, .same = true, .said = 500, .peer_said = 500, .client = 500,
				     .word = 500, .moved_ns = NOW - S, .next_ns = NOW + 1};
}

#define IS(name) offsetof(struct ftt_catching, name), sizeof(((struct ftt_catching *)0)->name)

/* One field of what is known is something else than at the end. */
static void test_primary(void)
{
	static const struct {
		size_t at, size;
		uint64_t value;
		uint8_t protection;
		enum ftt_catching_next next;
		enum ftt_unrenewable why;
	} rows[] = {
		{IS(same), true, FTT_CATCHING_UP, FTT_CATCH_ASK, 0},
		{IS(same), false, FTT_CATCHING_UP, FTT_CATCH_NOTHING, 0},
		{IS(told), false, FTT_CATCHING_UP, FTT_CATCH_NOTHING, 0},
		{IS(behind), true, FTT_CATCHING_UP, FTT_CATCH_NOTHING, 0},
		{IS(differs_ns), NOW - FTT_CATCH_DIFFERS_NS, FTT_CATCHING_UP, FTT_CATCH_NOTHING, 0},
		{IS(differs_ns), NOW - FTT_CATCH_DIFFERS_NS - 1, FTT_CATCHING_UP, FTT_CATCH_GIVE_UP, FTT_NOT_REPEATED},
		{IS(peer_said), 500 - (uint64_t)FTT_RENEW_AHEAD, FTT_CATCHING_UP, FTT_CATCH_NOTHING, 0}, /* too far to be told by 32 bits */
		{IS(moved_ns), NOW - FTT_RENEW_STALL_NS, FTT_CATCHING_UP, FTT_CATCH_ASK, 0},
		{IS(moved_ns), NOW - FTT_RENEW_STALL_NS - 1, FTT_CATCHING_UP, FTT_CATCH_GIVE_UP, FTT_NOT_IN_TIME},
		{IS(closed), true, FTT_CATCHING_UP, FTT_CATCH_GIVE_UP, FTT_RENEWABLE},
		{IS(unrenewable), FTT_LOG_TOO_LONG, FTT_CATCHING_UP, FTT_CATCH_GIVE_UP, FTT_LOG_TOO_LONG},
		{IS(stage), FTT_RENEW_BEGUN, FTT_CATCHING_UP, FTT_CATCH_NOTHING, 0},
		{IS(stage), FTT_RENEW_ASKED, FTT_OPENING, FTT_CATCH_NOTHING, 0},
		{IS(stage), FTT_RENEW_ASKED, FTT_DETACHING, FTT_CATCH_LOST, FTT_NOT_IN_TIME},
		{IS(stage), FTT_RENEW_HELD, FTT_PROTECTED, FTT_CATCH_NOTHING, 0},
	};

	for (size_t i = 0; i < ROWS(rows); i++) {
		struct ftt_policy rule = policy;
		struct ftt_env env = *at(NOW);
		struct ftt_flow f = flow_in(rows[i].protection);
		struct ftt_catching x = at_the_end();
		enum ftt_unrenewable why = FTT_RENEWABLE;
		struct ftt_pace pace = {0};

		rule.compare = true;
		env.policy = &rule;
		memcpy((char *)&x + rows[i].at, &rows[i].value, rows[i].size);
		CHECK_EQ(ftt_catching_tick(&f, &nothing, &x, &pace, &env, &why), rows[i].next);
		CHECK_EQ(why, rows[i].why);
	}
}

/* What this node has still to do itself is no fault of the backup's. */
static void test_who_is_waited_for(void)
{
	struct ftt_catching x = at_the_end();
	struct ftt_retained kept = {.n = 10};
	struct ftt_flow f = flow_in(FTT_CATCHING_UP);
	enum ftt_unrenewable why;
	struct ftt_pace pace = {0};

	x.moved_ns = 0;
	CHECK_EQ(ftt_catching_tick(&f, &kept, &x, &pace, at(NOW), &why), FTT_CATCH_NOTHING);
	CHECK_EQ(x.moved_ns, NOW);
	x.moved_ns = 0;
	CHECK_EQ(ftt_catching_tick(&f, &nothing, &x, &pace, at(NOW), &why), FTT_CATCH_GIVE_UP);
	x.behind = true;
	CHECK_EQ(ftt_catching_tick(&f, &nothing, &x, &pace, at(NOW), &why), FTT_CATCH_NOTHING);
}

/* A backup that does not come nearer gives its place to others, if there are any. */
static void test_pace(void)
{
	static const struct {
		uint64_t lacked, lacks, after_ns;
		bool crowded, goes_on;
	} rows[] = {
		{1000, 1000, FTT_RENEW_STALL_NS - 1, true, true}, /* it is too early to tell */
		{1000, 751, FTT_RENEW_STALL_NS, true, false},
		{1000, 750, FTT_RENEW_STALL_NS, true, true},
		{1000, 1000, FTT_RENEW_STALL_NS, false, true},
		{0, 0, FTT_RENEW_STALL_NS, true, true},
	};

	for (size_t i = 0; i < ROWS(rows); i++) {
		struct ftt_catching x = at_the_end();
		struct ftt_pace pace = {.behind = rows[i].lacked, .at_ns = NOW};

		x.crowded = rows[i].crowded;
		x.client = 5000;
		x.peer_said = 5000 - rows[i].lacks;
		CHECK_EQ(ftt_catching_comes_near(&x, &pace, NOW + rows[i].after_ns), rows[i].goes_on);
	}
}

/* A COMMIT is answered when it brings the flow to its end, when it moves something, and when the client has moved on. */
static void test_commit(void)
{
	static const struct {
		bool told, moved, first, news, detach;
		uint32_t differences;
		enum ftt_catching_next next;
	} rows[] = {
		{.told = true, .next = FTT_CATCH_ASK},
		{.next = FTT_CATCH_NOTHING},
		{.moved = true, .next = FTT_CATCH_TELL},
		{.first = true, .next = FTT_CATCH_TELL},
		{.news = true, .next = FTT_CATCH_TELL},
		{.told = true, .differences = 1, .next = FTT_CATCH_ASK}, /* policy: count */
		{.told = true, .differences = 1, .detach = true, .next = FTT_CATCH_GIVE_UP},
	};

	for (size_t i = 0; i < ROWS(rows); i++) {
		struct ftt_policy rule = policy;
		struct ftt_env env = *at(NOW);
		struct ftt_catching x = at_the_end();
		struct ftt_flow f = flow_in(FTT_CATCHING_UP);

		rule.detach_divergent = rows[i].detach;
		env.policy = &rule;
		x.told = rows[i].told;
		x.next_ns = !rows[i].first;
		x.client += rows[i].news;
		CHECK_EQ(ftt_catching_heard(&f, &nothing, &x, rows[i].moved, rows[i].differences, &env), rows[i].next);
	}
}

/* A word is said again less and less often, and waits for ever while a history is told. */
static void test_asking(void)
{
	struct ftt_catching x = at_the_end();

	for (uint8_t tries = 0; tries <= FTT_CATCH_ASKS; tries++)
		CHECK_EQ(ftt_catching_ask_ns(tries, NOW), NOW + (FTT_CATCH_ASK_NS << tries));
	CHECK_EQ(ftt_catching_ask_ns(200, NOW), ftt_catching_ask_ns(FTT_CATCH_ASKS, NOW));
	CHECK(!ftt_catching_rests(&x));
	x.behind = true;
	CHECK(!ftt_catching_rests(&x));
	x.tries = FTT_CATCH_ASKS;
	CHECK(ftt_catching_rests(&x));
	x.client++;
	CHECK(!ftt_catching_rests(&x));
	x.stage = FTT_RENEW_BEGUN;
	CHECK(ftt_catching_rests(&x));
	x.closed = true;
	CHECK(!ftt_catching_rests(&x));
}

/* Of a backup: `lacks` bytes of the log are not in its stack. */
static void test_backup(void)
{
	static const uint32_t KNOWN = FTT_F_SYNACK | FTT_F_MAPPED;
	const struct {
		uint8_t protection, unrenewable;
		uint32_t bits, lacks;
		bool closed, current, expected, begins, silent, due;
		enum ftt_caught_next next;
	} rows[] = {
		{.protection = FTT_CATCHING_UP, .bits = KNOWN, .due = true, .next = FTT_CAUGHT_AGAIN},
		{.protection = FTT_CATCHING_UP, .bits = KNOWN, .next = FTT_CAUGHT_NOTHING},
		{.protection = FTT_CATCHING_UP, .due = true, .begins = true, .next = FTT_CAUGHT_SYN},
		{.protection = FTT_CATCHING_UP, .due = true, .next = FTT_CAUGHT_NOTHING},
		{.protection = FTT_CATCHING_UP, .bits = FTT_F_SYNACK, .due = true, .begins = true, .next = FTT_CAUGHT_NOTHING},
		{.protection = FTT_CATCHING_UP, .bits = KNOWN, .expected = true, .next = FTT_CAUGHT_NOTHING},
		{.protection = FTT_CATCHING_UP, .bits = KNOWN, .expected = true, .silent = true, .next = FTT_CAUGHT_LET_GO},
		{.protection = FTT_CATCHING_UP, .bits = KNOWN, .silent = true, .next = FTT_CAUGHT_NOTHING},
		{.protection = FTT_CATCHING_UP, .bits = KNOWN, .current = true, .next = FTT_CAUGHT_NOTHING},
		{.protection = FTT_PROTECTED, .bits = KNOWN, .current = true, .next = FTT_CAUGHT_END},
		{.protection = FTT_PROTECTED, .bits = KNOWN, .current = true, .lacks = 1, .next = FTT_CAUGHT_NOTHING},
		{.protection = FTT_PROTECTED, .bits = KNOWN, .expected = true, .silent = true, .next = FTT_CAUGHT_NOTHING},
		{.protection = FTT_CATCHING_UP, .bits = KNOWN, .closed = true, .next = FTT_CAUGHT_END},
		{.protection = FTT_CATCHING_UP, .bits = KNOWN, .unrenewable = FTT_LOG_GAP, .next = FTT_CAUGHT_END},
	};

	for (size_t i = 0; i < ROWS(rows); i++) {
		struct ftt_flow f = {.protection = rows[i].protection, .bits = rows[i].bits, .hard.irs = 99, .local_rcv_nxt = 200};
		struct ftt_caught x = {.closed = rows[i].closed, .unrenewable = rows[i].unrenewable, .current = rows[i].current,
				       .expected = rows[i].expected, .begins = rows[i].begins, .end = 100 + rows[i].lacks,
				       .heard_ns = NOW - 3 * FTT_RENEW_STALL_NS - rows[i].silent, .next_ns = NOW + !rows[i].due};

		CHECK_EQ(ftt_caught_tick(&f, &x, node_at(FTT_MODE_BACKUP, NOW)), rows[i].next);
	}
}

/* What was not in time is tried again, ever later; a new backup begins anew. */
static void test_again(void)
{
	struct ftt_renew_again a;
	uint64_t now_ns = NOW, wait_ns = FTT_RENEW_AGAIN_NS;

	ftt_again_anew(&a);
	ftt_again_failed(&a, FTT_NOT_REPEATED, now_ns);
	CHECK(!ftt_again_due(&a, UINT64_MAX));
	for (unsigned i = 0; i < 10; i++) {
		ftt_again_failed(&a, FTT_NOT_IN_TIME, now_ns);
		ftt_again_failed(&a, FTT_NOT_IN_TIME, now_ns + 1); /* with the one before */
		CHECK(!ftt_again_due(&a, now_ns + wait_ns - 1) && ftt_again_due(&a, now_ns + wait_ns) && !ftt_again_due(&a, UINT64_MAX));
		now_ns += wait_ns;
		wait_ns = wait_ns * 2 < FTT_RENEW_AGAIN_MOST_NS ? wait_ns * 2 : FTT_RENEW_AGAIN_MOST_NS;
	}
	CHECK_EQ(wait_ns, FTT_RENEW_AGAIN_MOST_NS);
	ftt_again_anew(&a);
	CHECK_EQ(a.wait_ns, FTT_RENEW_AGAIN_NS);
}

static void test_how_many_and_how_long(void)
{
	CHECK(ftt_renewal_may_begin(FTT_RENEW_AT_ONCE - 1, FTT_RENEW_ACTIVE - 1));
	CHECK(!ftt_renewal_may_begin(FTT_RENEW_AT_ONCE, 0) && !ftt_renewal_may_begin(0, FTT_RENEW_ACTIVE));
	CHECK_EQ(ftt_promote_stands(0, NOW - FTT_RENEW_STALL_NS, NOW), 0);
	CHECK_EQ(ftt_promote_stands(0, NOW - FTT_RENEW_STALL_NS - 1, NOW), NOW);
	CHECK_EQ(ftt_promote_stands(7, NOW, NOW), 7);
	CHECK(!ftt_promote_gives_up(0, NOW - FTT_RENEW_STALL_NS, NOW) && ftt_promote_gives_up(0, NOW - FTT_RENEW_STALL_NS - 1, NOW));
	CHECK(!ftt_promote_gives_up(7, NOW - FTT_PROMOTE_LESS_NS, NOW) && ftt_promote_gives_up(7, NOW - FTT_PROMOTE_LESS_NS - 1, NOW));
	CHECK(!ftt_promote_is_over(0, NOW) && !ftt_promote_is_over(NOW - FTT_PROMOTE_ALL_NS, NOW));
	CHECK(ftt_promote_is_over(NOW - FTT_PROMOTE_ALL_NS - 1, NOW));
}

int main(void)
{
	test_primary();
	test_who_is_waited_for();
	test_pace();
	test_commit();
	test_asking();
	test_backup();
	test_again();
	test_how_many_and_how_long();
	return 0;
}
