/* SPDX-License-Identifier: Apache-2.0 */
/* Records of the other node, and time: what they do to a flow. */
#include "flows.h"

static uint32_t primary_record(struct ftt_flow *f, uint8_t type)
{
	struct ftt_record r = record_of(&plain, type);

	return ftt_primary_record(f, &r, at(MS));
}

/* --- opening ------------------------------------------------------------------------------------------ */

static void test_open_is_asked_again_and_less_and_less_often(void)
{
	struct ftt_flow f;
	uint64_t last = 0, gap = 0;
	int asked = 0;

	open_primary(&f, &plain, MS);
	f.opened_ns = MS;
	for (uint64_t t = MS; t <= 500 * MS; t += MS / 2) {
		uint32_t actions = ftt_flow_tick(&f, at(t));

		if (!actions)
			continue;
		CHECK_EQ(actions, FTT_ACT_OPEN);
		CHECK(!last || t - last + MS >= gap);
		gap = last ? t - last : 0;
		last = t;
		asked++;
	}
	CHECK(asked >= 4 && asked <= 12);
	CHECK(last > 300 * MS);
}

static void test_open_timeout_detaches_and_never_releases_first(void)
{
	struct ftt_flow f;

	open_primary(&f, &plain, MS);
	CHECK_EQ(ftt_flow_tick(&f, at(501 * MS + 1)), FTT_ACT_DETACH);
	CHECK_EQ(f.protection, FTT_DETACHING);
	CHECK_EQ(f.reason, FTT_WHY_OPEN_TIMEOUT);
	CHECK_EQ(gate(&f, synack_of(&plain, FTT_MODE_PAIRED), 502 * MS), FTT_HOLD);
	CHECK_EQ(step(&f, synack_of(&plain, FTT_MODE_PAIRED), 502 * MS), FTT_DROP); /* sent again by the stack */
	CHECK_EQ(primary_record(&f, FTT_REC_OPENED), 0); /* too late: it was asked to let go */
	CHECK_EQ(primary_record(&f, FTT_REC_COMMIT), 0);
	CHECK_EQ(gate(&f, synack_of(&plain, FTT_MODE_PAIRED), 502 * MS), FTT_HOLD);
	CHECK_EQ(primary_record(&f, FTT_REC_DETACHED), FTT_ACT_RELEASE | FTT_ACT_DETACHED);
	CHECK_EQ(f.protection, FTT_DETACHED);
	CHECK_EQ(f.reason, FTT_WHY_OPEN_TIMEOUT);
	CHECK_EQ(gate(&f, synack_of(&plain, FTT_MODE_PAIRED), 502 * MS), FTT_PASS);
	CHECK_EQ(primary_record(&f, FTT_REC_OPENED), 0); /* there is no way back */
	CHECK_EQ(f.protection, FTT_DETACHED);
}

static void test_detach_is_asked_until_answered(void)
{
	struct ftt_flow f;
	int asked = 0;

	make_primary(&f, &plain, MS);
	CHECK_EQ(ftt_flow_detach(&f, FTT_WHY_DIVERGENCE, MS), FTT_ACT_DETACH);
	for (uint64_t t = MS; t < 1000 * MS; t += MS) {
		uint32_t actions = ftt_flow_tick(&f, at(t));

		CHECK(actions == 0 || actions == FTT_ACT_DETACH);
		asked += actions != 0;
	}
	CHECK(asked >= 9); /* at least every 100 ms */
	CHECK(ftt_flow_waits(&f));
}

static void test_refused_by_the_backups_stack(void)
{
	struct ftt_flow f;

	open_primary(&f, &plain, MS);
	CHECK_EQ(primary_record(&f, FTT_REC_REFUSED), FTT_ACT_RELEASE | FTT_ACT_DETACHED);
	CHECK_EQ(f.protection, FTT_DETACHED);
	CHECK_EQ(gate(&f, synack_of(&plain, FTT_MODE_PAIRED), MS), FTT_PASS);
}

static void test_backup_that_knows_nothing_of_a_protected_flow(void)
{
	struct ftt_flow f;

	make_primary(&f, &plain, MS);
	CHECK_EQ(primary_record(&f, FTT_REC_DETACHED), FTT_ACT_RELEASE | FTT_ACT_DETACHED);
	CHECK_EQ(f.reason, FTT_WHY_PEER_END);
}

static void test_records_that_a_primary_does_not_take(void)
{
	static const uint8_t types[] = {FTT_REC_OPEN, FTT_REC_PROBE, FTT_REC_DETACH, FTT_REC_CLOSE, FTT_REC_OUTPUT,
					FTT_REC_EVENT, FTT_REC_EVENT_ACK, FTT_REC_SENT, 0, 255};
	struct ftt_flow f, before;

	make_primary(&f, &plain, MS);
	before = f;
	for (size_t i = 0; i < sizeof(types); i++)
		CHECK_EQ(primary_record(&f, types[i]), 0);
	CHECK(!memcmp(&f, &before, sizeof(f)));
}

/* --- commits ------------------------------------------------------------------------------------------- */

static void test_commits_of_any_order_only_grow(const struct ends *x)
{
	static const uint32_t ins[] = {0, 10, 5, 10, 3000, 2999, 0};
	struct ftt_flow f;
	uint32_t most = 0;

	make_primary(&f, x, MS);
	for (size_t i = 0; i < sizeof(ins) / sizeof(*ins); i++) {
		struct ftt_record r = commit_of(x, ins[i], 70000, ins[i]);

		ftt_primary_record(&f, &r, at(MS));
		most = ins[i] > most ? ins[i] : most;
		CHECK_EQ(f.committed, x->irs + 1 + most);
		CHECK_EQ(f.peer_snd_nxt, x->service_iss + 1 + most);
		CHECK_EQ(f.peer_edge, x->irs + 1 + most + 70000);
	}
}

/* A window that only the backup kept small: when it opens nobody but us tells the client. */
static void test_window_update_of_the_backup(void)
{
	struct ends x = plain;
	struct ftt_record r;
	struct ftt_flow f;
	struct ftt_bare b;
	struct ftt_key k = {0};

	x.backup_wnd = x.service_wnd = 1000;
	make_primary(&f, &x, MS);
	step(&f, of_client(&x, FTT_MODE_PAIRED, 0, 0, 1000), MS);
	r = commit_of(&x, 1000, 0, 0);
	ftt_primary_record(&f, &r, at(MS));
	CHECK_EQ(step(&f, from_primary(&x, TCP_ACK, 0, 1000, 0), MS), FTT_PASS);
	r = commit_of(&x, 1000, 70000, 0);
	CHECK(ftt_primary_record(&f, &r, at(MS)) & FTT_ACT_ACK_CLIENT);
	ftt_bare_for_client(&f, &k, FTT_MODE_PAIRED, &b);
	CHECK_EQ(b.ack, x.irs + 1001);
	CHECK(((uint32_t)b.wnd << x.service_wscale) + 1000 >= 64000);
	CHECK_EQ(ftt_primary_record(&f, &r, at(MS)), 0); /* once is enough */
}

/* A client that has room needs no word for each COMMIT of its upload: the acknowledgement of what it sends next says the same. */
static void test_no_window_update_for_a_client_that_has_room(void)
{
	const uint32_t edge = 40000, more = edge + 2 * FTT_WINDOW_STEP;
	uint32_t begin = plain.irs + 1;
	struct ftt_record r = commit_of(&plain, 1000, more - 1000, 0);
	struct ftt_flow f;

	make_primary(&f, &plain, MS);
	f.advertised_edge = begin + edge;
	f.local_edge = begin + 2 * edge;
	f.client_nxt = begin + 1000;
	CHECK_EQ(ftt_primary_record(&f, &r, at(MS)), 0);
	f.client_nxt = begin + edge - 2 * FTT_WINDOW_STEP; /* it has as much left as it would get more: now that is a half */
	CHECK_EQ(ftt_primary_record(&f, &r, at(MS)), FTT_ACT_ACK_CLIENT);
	f.mss = 1460;
	f.client_nxt = begin + edge - f.mss + 1; /* it may wait for room for a whole segment (RFC 9293 3.8.6.2.1) */
	r = commit_of(&plain, edge - f.mss, f.mss + FTT_WINDOW_STEP, 0);
	CHECK_EQ(ftt_primary_record(&f, &r, at(MS)), FTT_ACT_ACK_CLIENT);
	f.client_nxt = begin + 1000; /* what the backup has may be on its way to us */
	r = commit_of(&plain, edge, FTT_WINDOW_STEP, 0);
	CHECK_EQ(ftt_primary_record(&f, &r, at(MS)), FTT_ACT_ACK_CLIENT);
	r = commit_of(&plain, edge, FTT_WINDOW_STEP - 1, 0);
	f.peer_edge = begin + edge;
	CHECK_EQ(ftt_primary_record(&f, &r, at(MS)), 0);
}

/* I2 for segments of our own: never beyond what the backup has, though our stack has more. */
static void test_own_acknowledgement_stays_within_the_commit(void)
{
	struct ftt_record r = commit_of(&plain, 60, 5000, 0);
	struct ftt_key k = {0};
	struct ftt_bare b;
	struct ftt_flow f;

	make_primary(&f, &plain, MS);
	step(&f, of_client(&plain, FTT_MODE_PAIRED, 0, 0, 100), MS);
	step(&f, from_primary(&plain, TCP_ACK, 0, 100, 0), MS);
	ftt_primary_record(&f, &r, at(MS));
	ftt_bare_for_client(&f, &k, FTT_MODE_PAIRED, &b);
	CHECK_EQ(b.ack, plain.irs + 61);
	ftt_flow_solo(&f);
	ftt_bare_for_client(&f, &k, FTT_MODE_SOLO, &b);
	CHECK_EQ(b.ack, plain.irs + 101);
}

/* --- lag ------------------------------------------------------------------------------------------------- */

static void test_commit_lag_detaches(void)
{
	struct ftt_flow f;
	bool probed = false;

	make_primary(&f, &plain, MS);
	f.held_since_ns = 100 * MS;
	for (uint64_t t = 100 * MS; t <= 2100 * MS; t += MS) {
		uint32_t actions = ftt_flow_tick(&f, at(t));

		CHECK(actions == 0 || actions == FTT_ACT_PROBE);
		probed = probed || actions;
	}
	CHECK(probed);
	CHECK_EQ(ftt_flow_tick(&f, at(2100 * MS + 1)), FTT_ACT_DETACH);
	CHECK_EQ(f.reason, FTT_WHY_COMMIT_LAG);
	CHECK_EQ(f.protection, FTT_DETACHING);
}

/* The backup's server answers slowly but moves: no reason to let go. One that stands still is one. */
static void test_output_lag_is_measured_by_progress(void)
{
	struct ftt_flow f;
	struct ftt_record r;
	uint64_t t;

	make_primary(&f, &plain, MS);
	step(&f, from_primary(&plain, TCP_ACK, 0, 0, 20000), MS);
	step(&f, of_client(&plain, FTT_MODE_PAIRED, 0, 20000, 0), MS);
	for (t = MS; t < 10000 * MS; t += 1000 * MS) { /* always behind, always moving */
		CHECK_EQ(ftt_flow_tick(&f, at(t)) & FTT_ACT_DETACH, 0);
		r = commit_of(&plain, 0, 1000, 20000);
		ftt_primary_record(&f, &r, at(t));
		step(&f, from_primary(&plain, TCP_ACK, 20000, 0, 1000), t);
		CHECK_EQ(f.protection, FTT_PROTECTED);
	}
	step(&f, of_client(&plain, FTT_MODE_PAIRED, 0, 21000, 0), t);
	CHECK_EQ(ftt_flow_tick(&f, at(t)) & FTT_ACT_DETACH, 0);
	CHECK_EQ(ftt_flow_tick(&f, at(t + 2000 * MS)) & FTT_ACT_DETACH, 0);
	CHECK_EQ(ftt_flow_tick(&f, at(t + 2001 * MS)), FTT_ACT_DETACH);
	CHECK_EQ(f.reason, FTT_WHY_OUTPUT_LAG);
}

/* A server that the backup's is ahead of: a reason when it is silent, not when it is on its way to a slow client. */
static void test_being_behind_the_backup_is_measured_at_rest(void)
{
	struct ftt_flow f;
	struct ftt_record r = commit_of(&plain, 0, 100000, 20000);
	struct ftt_env doubted;
	uint64_t t;

	make_primary(&f, &plain, MS);
	ftt_primary_record(&f, &r, at(MS));
	for (t = MS; t < 10000 * MS; t += 500 * MS) { /* far behind, and something always in flight */
		step(&f, from_primary(&plain, TCP_ACK, (uint32_t)(t / MS), 0, 1000), t);
		CHECK_EQ(ftt_flow_tick(&f, at(t)) & FTT_ACT_DETACH, 0);
		step(&f, of_client(&plain, FTT_MODE_PAIRED, 0, (uint32_t)(t / MS), 0), t);
		CHECK_EQ(ftt_flow_tick(&f, at(t + MS)) & FTT_ACT_DETACH, 0);
	}
	step(&f, of_client(&plain, FTT_MODE_PAIRED, 0, f.local_snd_nxt - plain.service_iss - 1, 0), t); /* and now nothing */
	CHECK_EQ(f.client_acked, f.local_snd_nxt);
	CHECK_EQ(ftt_flow_tick(&f, unvouched(t + 9000 * MS)) & FTT_ACT_DETACH, 0); /* not alive: no argument */
	doubted = *at(t + 10500 * MS);
	doubted.doubted = true;
	CHECK_EQ(ftt_flow_tick(&f, &doubted) & FTT_ACT_DETACH, 0); /* not known to be */
	CHECK_EQ(ftt_flow_tick(&f, at(t + 12500 * MS)) & FTT_ACT_DETACH, 0);
	CHECK_EQ(ftt_flow_tick(&f, at(t + 12501 * MS)), FTT_ACT_DETACH);
	CHECK_EQ(f.reason, FTT_WHY_OUTPUT_AHEAD);
}

/* A window of less than a segment: each kernel sends what fits by its own persist timer, one of them first. */
static void test_a_narrow_window_is_nobodys_lag(void)
{
	struct ftt_flow f;
	struct ftt_record r = commit_of(&plain, 0, 1080, 20000); /* the backup's has sent them */
	uint64_t t;

	make_primary(&f, &plain, MS);
	step(&f, from_primary(&plain, TCP_ACK, 0, 0, 500), MS);
	step(&f, of_client(&plain, FTT_MODE_PAIRED, 0, 500, 0), MS); /* it has shown a wide one */
	step(&f, from_primary(&plain, TCP_ACK, 500, 0, 500), MS);
	step(&f, windowed(of_client(&plain, FTT_MODE_PAIRED, 0, 1000, 0), 1), MS);
	CHECK_EQ(1 << f.hard.client_wscale, 128);
	f.mss = 150;
	ftt_primary_record(&f, &r, at(MS));
	for (t = MS; t < 10000 * MS; t += 500 * MS)
		CHECK_EQ(ftt_flow_tick(&f, at(t)) & FTT_ACT_DETACH, 0);
	CHECK(f.bits & FTT_F_AHEAD);
	step(&f, of_client(&plain, FTT_MODE_PAIRED, 0, 1000, 0), t); /* room: now it is for our server to speak */
	CHECK_EQ(ftt_flow_tick(&f, at(t)) & FTT_ACT_DETACH, 0);
	CHECK_EQ(ftt_flow_tick(&f, at(t + 2001 * MS)), FTT_ACT_DETACH);
	CHECK_EQ(f.reason, FTT_WHY_OUTPUT_AHEAD);

	make_primary(&f, &plain, MS); /* ours first, and the client has acknowledged it */
	r = commit_of(&plain, 0, 1000, 20000);
	ftt_primary_record(&f, &r, at(MS));
	step(&f, from_primary(&plain, TCP_ACK, 0, 0, 1080), MS);
	step(&f, windowed(of_client(&plain, FTT_MODE_PAIRED, 0, 1080, 0), 0), MS);
	for (t = MS; t < 10000 * MS; t += 500 * MS)
		CHECK_EQ(ftt_flow_tick(&f, at(t)) & FTT_ACT_DETACH, 0);
	CHECK(f.lag_since_ns);
}

/* Servers whose timers drift apart: what one has not said yet is waited for longer than what the backup's kernel lacks. */
static void test_a_longer_lag_may_be_allowed(void)
{
	struct ftt_flow f;
	struct ftt_record r;

	policy.output_lag_ns = 30000 * MS;
	make_primary(&f, &plain, MS);
	step(&f, from_primary(&plain, TCP_ACK, 0, 0, 1000), MS);
	step(&f, of_client(&plain, FTT_MODE_PAIRED, 0, 1000, 0), MS); /* more than the backup's server has said */
	f.held_since_ns = 2 * MS;
	for (uint64_t t = 2 * MS; t <= 20000 * MS; t += 100 * MS)
		CHECK_EQ(ftt_flow_tick(&f, at(t)) & FTT_ACT_DETACH, 0);
	r = commit_of(&plain, 0, 1000, 20000);
	ftt_primary_record(&f, &r, at(20000 * MS)); /* now it has; what it waited with is on its way */
	CHECK_EQ(ftt_flow_tick(&f, at(20001 * MS)) & FTT_ACT_DETACH, 0);
	CHECK_EQ(ftt_flow_tick(&f, at(21900 * MS)) & FTT_ACT_DETACH, 0);
	CHECK_EQ(ftt_flow_tick(&f, at(22100 * MS)), FTT_ACT_DETACH); /* or not */
	CHECK_EQ(f.reason, FTT_WHY_COMMIT_LAG);

	make_primary(&f, &plain, MS);
	step(&f, from_primary(&plain, TCP_ACK, 0, 0, 1000), MS);
	step(&f, of_client(&plain, FTT_MODE_PAIRED, 0, 1000, 0), MS);
	CHECK_EQ(ftt_flow_tick(&f, at(30001 * MS)) & FTT_ACT_DETACH, 0);
	CHECK_EQ(ftt_flow_tick(&f, at(30002 * MS)), FTT_ACT_DETACH);
	CHECK_EQ(f.reason, FTT_WHY_OUTPUT_LAG);

	make_primary(&f, &plain, MS); /* a kernel that lacks input is no lag */
	f.held_since_ns = 2 * MS;
	CHECK_EQ(ftt_flow_tick(&f, at(2003 * MS)), FTT_ACT_DETACH);
	CHECK_EQ(f.reason, FTT_WHY_COMMIT_LAG);
	policy.output_lag_ns = 0;
}

/* --- ends -------------------------------------------------------------------------------------------------- */

static void test_own_end_counts_only_when_the_server_lives(void)
{
	struct arrival fin = from_primary(&plain, TCP_ACK | TCP_FIN, 0, 0, 0);
	struct ftt_flow f;

	make_primary(&f, &plain, MS);
	CHECK_EQ(step(&f, fin, 10 * MS), FTT_HOLD);
	f.held_since_ns = 10 * MS;
	CHECK_EQ(ftt_flow_tick(&f, at(210 * MS)) & FTT_ACT_DETACH, 0); /* within the grace */
	for (uint64_t t = 211 * MS; t < 5000 * MS; t += 50 * MS) /* its process may have died: takeover answers that */
		CHECK_EQ(ftt_flow_tick(&f, unvouched(t)) & FTT_ACT_DETACH, 0);
	CHECK_EQ(ftt_flow_tick(&f, at(5000 * MS)), FTT_ACT_DETACH);
	CHECK_EQ(f.reason, FTT_WHY_END);
	CHECK_EQ(gate(&f, fin, 5000 * MS), FTT_HOLD); /* first the answer */
	CHECK(primary_record(&f, FTT_REC_DETACHED) & FTT_ACT_RELEASE);
	CHECK_EQ(gate(&f, fin, 5000 * MS), FTT_PASS);
}

static void test_backups_end_alone_detaches_after_a_grace(uint8_t flag)
{
	struct ftt_record r = commit_of(&plain, 0, 1000, 1);
	struct ftt_flow f;

	make_primary(&f, &plain, MS);
	step(&f, from_primary(&plain, TCP_ACK, 0, 0, 50), MS); /* ours goes on */
	r.flags = flag;
	ftt_primary_record(&f, &r, at(2 * MS));
	CHECK(ftt_flow_waits(&f));
	CHECK_EQ(ftt_flow_tick(&f, unvouched(2 * MS)), 0);
	CHECK_EQ(ftt_flow_tick(&f, unvouched(202 * MS)) & FTT_ACT_DETACH, 0);
	CHECK_EQ(ftt_flow_tick(&f, unvouched(203 * MS)), FTT_ACT_DETACH);
	CHECK_EQ(f.reason, FTT_WHY_PEER_END);
}

/* The backup is merely ahead: its end comes where ours will come, too. */
static void test_backups_end_ahead_of_ours_is_no_difference(void)
{
	struct ftt_record r = commit_of(&plain, 0, 1000, 101);
	struct ftt_flow f;

	make_primary(&f, &plain, MS);
	step(&f, from_primary(&plain, TCP_ACK, 0, 0, 50), MS);
	r.flags = FTT_REC_FIN;
	ftt_primary_record(&f, &r, at(2 * MS));
	CHECK_EQ(ftt_flow_tick(&f, at(3 * MS)), 0);
	CHECK_EQ(ftt_flow_tick(&f, at(1000 * MS)) & FTT_ACT_DETACH, 0);
	CHECK_EQ(step(&f, from_primary(&plain, TCP_ACK | TCP_FIN, 50, 0, 50), 1001 * MS), FTT_PASS);
}

/* The backup's server ended the flow, and it is certain that ours did not, or elsewhere: nothing is waited for. */
static void test_an_end_that_ours_contradicts_is_no_wait(const struct ends *x)
{
	const struct { uint8_t flags; uint32_t peer, ours; bool fin, parts; } cases[] = {
		{FTT_REC_FIN, 24, 23, false, false}, /* 23 bytes and FIN; ours has said 23 and may end there, too */
		{FTT_REC_FIN, 24, 24, false, true},
		{FTT_REC_FIN, 24, 10, false, false},
		{FTT_REC_FIN, 24, 23, true, false},
		{FTT_REC_FIN, 24, 10, true, true},
		{FTT_REC_FIN | FTT_REC_RST, 24, 23, true, false},
		{FTT_REC_RST, 24, 24, false, false}, /* ours may reset it as well */
		{FTT_REC_RST, 24, 25, false, true},
		{FTT_REC_RST, 24, 24, true, false}, /* both have said 24, and ended it */
		{FTT_REC_RST, 24, 23, true, true},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct ftt_record r = commit_of(x, 10, 1000, cases[i].peer);
		struct ftt_flow f, before;

		make_primary(&f, x, MS);
		step(&f, of_client(x, FTT_MODE_PAIRED, 0, 0, 10), MS);
		r.flags = cases[i].flags;
		ftt_primary_record(&f, &r, at(MS));
		step(&f, from_primary(x, TCP_ACK | (cases[i].fin ? TCP_FIN : 0), 0, 10, cases[i].ours), MS);
		before = f;
		CHECK_EQ(ftt_flow_part(&f, unvouched(MS)), 0); /* our server is dead: what it said is no argument */
		CHECK(!memcmp(&f, &before, sizeof(f)));
		CHECK_EQ(ftt_flow_part(&f, at(MS)), cases[i].parts ? FTT_ACT_DETACH : 0);
		CHECK_EQ(f.protection, cases[i].parts ? FTT_DETACHING : FTT_PROTECTED);
		CHECK_EQ(f.reason, cases[i].parts ? FTT_WHY_PEER_END : FTT_WHY_NONE);
	}
}

int main(void)
{
	test_open_is_asked_again_and_less_and_less_often();
	test_open_timeout_detaches_and_never_releases_first();
	test_detach_is_asked_until_answered();
	test_refused_by_the_backups_stack();
	test_backup_that_knows_nothing_of_a_protected_flow();
	test_records_that_a_primary_does_not_take();
	test_window_update_of_the_backup();
	test_no_window_update_for_a_client_that_has_room();
	test_own_acknowledgement_stays_within_the_commit();
	test_commit_lag_detaches();
	test_output_lag_is_measured_by_progress();
	test_being_behind_the_backup_is_measured_at_rest();
	test_a_narrow_window_is_nobodys_lag();
	test_a_longer_lag_may_be_allowed();
	test_own_end_counts_only_when_the_server_lives();
	test_backups_end_alone_detaches_after_a_grace(FTT_REC_FIN);
	test_backups_end_alone_detaches_after_a_grace(FTT_REC_RST);
	test_backups_end_ahead_of_ours_is_no_difference();
	for (size_t i = 0; i < 2; i++) {
		test_an_end_that_ours_contradicts_is_no_wait(all_ends[i]);
		test_commits_of_any_order_only_grow(all_ends[i]);
	}
	return 0;
}
