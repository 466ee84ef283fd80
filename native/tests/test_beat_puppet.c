/* SPDX-License-Identifier: Apache-2.0 */
/* The heartbeat thread against a puppet: what it believes, refuses, grants and calls silent. */
#include <string.h>
#include "beat_rig.h"
#include "check.h"

static void test_forged_and_replayed_beats(void)
{
	static struct ftt_engine a;
	struct ftt_counters *c = &a.counters_beat;
	struct beat m;
	struct puppet p;
	uint8_t bytes[FTT_BEAT_MAX + 1] = {0};
	struct ftt_event ev;

	configure(&a, ALPHA, 111);
	a.cfg.lease_ns = EVER;
	puppet_open(&p, &a);
	start(&a);
	puppet_sync(&p, 0);
	puppet_send_bytes(&p, 0, p.last, p.last_len); /* the very same bytes */
	ev = fake_wait(&a, FTT_EV_INTRUSION);
	CHECK_EQ(ev.value, 1);
	CHECK_EQ(fake_counter(&c->beats_replay), 1);
	puppet_send_bytes(&p, 1, p.last, p.last_len); /* on the link that it was not made for */
	m = puppet_beat(&p, "reflected");
	m.head.node_id = ALPHA;
	puppet_send(&p, 0, m);
	m = puppet_beat(&p, "for another node");
	m.head.to_node_id = GAMMA;
	puppet_send(&p, 0, m);
	m = puppet_beat(&p, "other group");
	m.head.cluster_id = 6;
	puppet_send(&p, 0, m);
	puppet_sync(&p, 0);
	puppet_sync(&p, 1);
	CHECK_EQ(fake_counter(&c->beats_replay), 5);
	memcpy(bytes, p.last, p.last_len);
	bytes[20] ^= 1;
	puppet_send_bytes(&p, 1, bytes, p.last_len);
	ev = fake_wait(&a, FTT_EV_INTRUSION);
	CHECK_EQ(ev.value, 0);
	CHECK_EQ(fake_counter(&c->beats_bad_mac), 1);
	puppet_send_bytes(&p, 1, bytes, 0);
	puppet_send_bytes(&p, 1, bytes, 10);
	puppet_send_bytes(&p, 1, bytes, sizeof(bytes));
	puppet_sync(&p, 1);
	CHECK_EQ(fake_counter(&c->channel_malformed), 3);
	for (int i = 0; i < 100; i++) /* told at most once a second */
		puppet_send_bytes(&p, 1, bytes, p.last_len);
	puppet_sync(&p, 1);
	CHECK_EQ(fake_counter(&c->beats_bad_mac), 101);
	CHECK(fake_drain(&a, FTT_EV_INTRUSION) <= 1);
	puppet_empty(&p);
	CHECK_EQ(puppet_receive(&p, 0).head.intrusions, 106); /* and all nodes hear of it */
	stop(&a);
	puppet_close(&p);
}

static void test_links_are_judged_apart(void)
{
	static struct ftt_engine a;
	struct beat m;
	struct puppet p;
	bool lost = false;

	configure(&a, ALPHA, 111);
	puppet_open(&p, &a);
	start(&a);
	m = puppet_beat(&p, "both");
	puppet_send(&p, 0, m);
	puppet_send(&p, 1, m); /* the same counter: a copy, no replay */
	CHECK_EQ(fake_wait(&a, FTT_EV_LINK_UP).link, 0);
	CHECK_EQ(fake_wait(&a, FTT_EV_LINK_UP).link, 1);
	CHECK_EQ(fake_counter(&a.counters_beat.beats_replay), 0);
	while (!lost) { /* link 1 goes on, answering each beat of alpha's */
		struct ftt_status status = {0};

		puppet_receive(&p, 1);
		puppet_send(&p, 1, puppet_beat(&p, "both"));
		ftt_beat_status(a.beat, &status);
		CHECK_EQ(status.peer_alive, 1);
		lost = status.links_up[0] == 2;
	}
	CHECK_EQ(fake_wait(&a, FTT_EV_LINK_LOST).link, 0);
	CHECK_EQ(fake_drain(&a, FTT_EV_PEER_LOST), 0);
	stop(&a);
	puppet_close(&p);
}

static void test_older_boot_never_comes_back(void)
{
	static struct ftt_engine a;
	struct beat m;
	struct puppet p;

	configure(&a, ALPHA, 111);
	a.cfg.lease_ns = EVER;
	puppet_open(&p, &a);
	start(&a);
	puppet_sync(&p, 0);
	p.boot = 333; /* unknown, and does not echo us, while 222 is alive: not believed */
	puppet_send(&p, 0, puppet_beat(&p, "unproven"));
	p.boot = 222;
	puppet_sync(&p, 0);
	CHECK_EQ(atomic_load(&a.shared.peer_boot_id[0]), 222);
	p.boot = 333;
	m = puppet_beat(&p, "proven");
	m.head.echo_boot_id = 111;
	m.group.echo_t_ns = ftt_now_ns();
	puppet_send(&p, 0, m);
	CHECK_EQ(fake_wait(&a, FTT_EV_PEER_UP).value, 333);
	wait_body(&a, "proven");
	p.boot = 222;
	puppet_send(&p, 0, puppet_beat(&p, "from the grave"));
	CHECK_EQ(fake_wait(&a, FTT_EV_INTRUSION).value, 1);
	CHECK_EQ(atomic_load(&a.shared.peer_boot_id[0]), 333);
	stop(&a);
	puppet_close(&p);
}

/* Only an echo of our own boot, of a time that has been, with the flag, is a grant. */
static void test_what_is_no_grant(void)
{
	static struct ftt_engine a;
	struct beat m;
	struct puppet p;
	uint64_t t;

	configure(&a, ALPHA, 111);
	a.cfg.lease_ns = EVER;
	puppet_open(&p, &a);
	start(&a);
	fake_set_mode(&a, FTT_MODE_PAIRED);
	set_lease(&a, FTT_LEASE_GRANTED);
	puppet_empty(&p);
	t = puppet_receive(&p, 0).head.t_send_ns;
	m = puppet_beat(&p, "no flag");
	m.head.echo_boot_id = 111;
	m.group.echo_t_ns = t;
	puppet_send(&p, 0, m);
	m = puppet_beat(&p, "other boot");
	m.group.flags |= FTT_BEAT_GRANT;
	m.head.echo_boot_id = 110;
	m.group.echo_t_ns = t;
	puppet_send(&p, 0, m);
	m = puppet_beat(&p, "future");
	m.group.flags |= FTT_BEAT_GRANT;
	m.head.echo_boot_id = 111;
	m.group.echo_t_ns = t + EVER;
	puppet_send(&p, 0, m);
	puppet_sync(&p, 0);
	CHECK_EQ(atomic_load(&a.shared.lease_until_ns), 0);
	m = puppet_beat(&p, "grant");
	m.group.flags |= FTT_BEAT_GRANT;
	m.head.echo_boot_id = 111;
	m.group.echo_t_ns = t;
	puppet_send(&p, 0, m);
	wait_body(&a, "grant");
	CHECK_EQ(atomic_load(&a.shared.lease_until_ns), t + EVER);
	stop(&a);
	puppet_close(&p);
}

/* From PEER_LOST on nothing is granted until the owner has taken note: published without, then with. */
static void test_grants_stop_at_peer_lost(void)
{
	static struct ftt_engine a;
	struct puppet p;

	configure(&a, ALPHA, 111);
	puppet_open(&p, &a);
	start(&a);
	publish(&a, "granting", true);
	puppet_sync(&p, 0);
	puppet_empty(&p);
	CHECK(puppet_receive(&p, 0).group.flags & FTT_BEAT_GRANT);
	fake_wait(&a, FTT_EV_PEER_LOST);
	puppet_sync(&p, 0); /* the peer is back */
	publish(&a, "owner knows nothing yet", true);
	puppet_empty(&p);
	CHECK(!(puppet_receive(&p, 0).group.flags & FTT_BEAT_GRANT));
	publish(&a, "owner knows", false);
	publish(&a, "and grants anew", true);
	puppet_empty(&p);
	puppet_receive(&p, 0);
	CHECK(puppet_receive(&p, 0).group.flags & FTT_BEAT_GRANT);
	stop(&a);
	puppet_close(&p);
}

/* What was learnt may lengthen a node's patience, never shorten it; a suspicion comes before a loss. */
static void test_patience_is_never_shorter_than_what_was_promised(void)
{
	static struct ftt_engine a;
	uint64_t intervals[8];
	struct ftt_event ev;
	struct puppet p;

	configure(&a, ALPHA, 111);
	a.cfg.quiet_ahead_ns = D / 4;
	puppet_open(&p, &a);
	start(&a);
	ftt_beat_change_patience(a.beat, 0, 2 * D, D / 2);
	puppet_sync(&p, 0);
	puppet_sync(&p, 0);
	CHECK_EQ(ftt_beat_get_intervals(a.beat, 0, intervals, 8), 1);
	CHECK(intervals[0] > 0);
	CHECK_EQ(ftt_beat_get_intervals(a.beat, 0, intervals, 8), 0);
	ev = fake_wait(&a, FTT_EV_PEER_SUSPECTED);
	CHECK(ev.value > D / 2);
	CHECK_EQ(fake_posted(&a, FTT_EV_PEER_LOST), 0);
	ev = fake_wait(&a, FTT_EV_PEER_QUIET);
	CHECK(ev.value > 2 * D - D / 4);
	CHECK_EQ(fake_posted(&a, FTT_EV_PEER_LOST), 0);
	ev = fake_wait(&a, FTT_EV_PEER_LOST);
	CHECK(ev.value > 2 * D);
	CHECK_EQ(fake_posted(&a, FTT_EV_PEER_SUSPECTED), 1);
	CHECK_EQ(fake_posted(&a, FTT_EV_PEER_QUIET), 1);
	ftt_beat_change_patience(a.beat, 0, D / 10, 0);
	puppet_sync(&p, 0);
	ev = fake_wait(&a, FTT_EV_PEER_LOST);
	CHECK(ev.value > D + D / 1000);
	CHECK_EQ(fake_posted(&a, FTT_EV_PEER_SUSPECTED), 1);
	stop(&a);
	puppet_close(&p);
}

int main(void)
{
	if (!fake_private_network()) {
		fprintf(stderr, "needs a network namespace of its own: run as root, or allow user namespaces\n");
		return SKIPPED;
	}
	test_forged_and_replayed_beats();
	test_links_are_judged_apart();
	test_older_boot_never_comes_back();
	test_what_is_no_grant();
	test_grants_stop_at_peer_lost();
	test_patience_is_never_shorter_than_what_was_promised();
	return 0;
}
