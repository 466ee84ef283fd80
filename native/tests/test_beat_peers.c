/* SPDX-License-Identifier: Apache-2.0 */
/* Three heartbeat threads, each with two peers on the same sockets: what is said to one is not said to the other. */
#include <string.h>
#include "beat_rig.h"
#include "check.h"

static struct ftt_engine a, b, c;

static void wait_both_up(struct ftt_engine *e, uint64_t boot0, uint64_t boot1)
{
	uint32_t heard = 0;

	while (heard != 3) {
		struct ftt_event ev = fake_wait(e, FTT_EV_PEER_UP);

		CHECK_EQ(ev.value, ev.peer ? boot1 : boot0);
		heard |= 1u << ev.peer;
	}
}

/* Alpha's peers are beta (0) and gamma (1); beta's are alpha, gamma; gamma's are alpha, beta. */
static void start_three(void)
{
	configure(&a, ALPHA, 111);
	configure_peer(&a, 1, ALPHA, GAMMA);
	configure(&b, BETA, 222);
	configure_peer(&b, 1, BETA, GAMMA);
	configure(&c, GAMMA, 333);
	configure_peer(&c, 1, GAMMA, BETA);
	start(&a);
	start(&b);
	start(&c);
	wait_both_up(&a, 222, 333);
	wait_both_up(&b, 111, 333);
	wait_both_up(&c, 111, 222);
}

static void stop_three(void)
{
	stop(&c);
	stop(&b);
	stop(&a);
}

static void test_three_find_each_other(void)
{
	struct ftt_status status = {0};

	start_three();
	CHECK_EQ(a.shared.commit_session[0], b.shared.commit_session[0]);
	CHECK_EQ(a.shared.commit_session[1], c.shared.commit_session[0]);
	CHECK_EQ(b.shared.commit_session[1], c.shared.commit_session[1]);
	CHECK(a.shared.commit_session[0] != a.shared.commit_session[1]);
	publish(&a, "to all", 0);
	wait_body_of(&b, 0, "to all");
	wait_body_of(&c, 0, "to all");
	publish(&b, "by beta", 0);
	wait_body_of(&a, 0, "by beta");
	publish(&c, "by gamma", 0);
	wait_body_of(&a, 1, "by gamma");
	CHECK_EQ(ftt_beat_get_peer_body(a.beat, 2, NULL, 0, NULL), -1);
	stop(&b);
	CHECK_EQ(fake_wait(&a, FTT_EV_PEER_LOST).peer, 0);
	CHECK_EQ(fake_wait(&c, FTT_EV_PEER_LOST).peer, 1);
	ftt_beat_status(a.beat, &status);
	CHECK_EQ(status.peer_alive, 2);
	CHECK(status.links_up[1] != 0);
	CHECK_EQ(a.counters_beat.beats_replay + c.counters_beat.beats_replay, 0);
	stop(&c);
	stop(&a);
}

/* A grant is for one; and only the partner's counts. */
static void test_grants_are_personal(void)
{
	start_three();
	fake_set_mode(&a, FTT_MODE_PAIRED);
	set_lease(&a, FTT_LEASE_GRANTED);
	publish(&b, "to gamma", 2);
	wait_body_of(&a, 0, "to gamma");
	CHECK(!may_emit(&a));
	publish(&c, "to alpha", 1);
	wait_body_of(&a, 1, "to alpha");
	CHECK(!may_emit(&a)); /* not the partner */
	set_partner(&a, 1);
	CHECK(may_emit(&a));
	set_partner(&a, 0);
	CHECK(!may_emit(&a));
	publish(&b, "to both", 3);
	wait_body_of(&a, 0, "to both");
	CHECK(may_emit(&a));
	stop_three();
}

/* Loss of one peer takes the grant from that one alone. */
static void test_grants_stop_for_the_lost_peer_only(void)
{
	start_three();
	publish(&a, "to both", 3);
	wait_body_of(&c, 0, "to both");
	set_lease(&c, FTT_LEASE_GRANTED);
	fake_set_mode(&c, FTT_MODE_PAIRED);
	stop(&b);
	CHECK_EQ(fake_wait(&a, FTT_EV_PEER_LOST).peer, 0);
	configure(&b, BETA, 444);
	start(&b);
	set_lease(&b, FTT_LEASE_GRANTED);
	fake_set_mode(&b, FTT_MODE_PAIRED);
	CHECK_EQ(fake_wait(&a, FTT_EV_PEER_UP).value, 444);
	publish(&a, "owner knows nothing yet", 3);
	wait_body_of(&b, 0, "owner knows nothing yet");
	wait_body_of(&c, 0, "owner knows nothing yet");
	CHECK(!may_emit(&b));
	CHECK(may_emit(&c));
	publish(&a, "owner knows", 2);
	publish(&a, "and grants anew", 3);
	wait_body_of(&b, 0, "and grants anew");
	CHECK(may_emit(&b));
	stop_three();
}

/* Whoever meets a forger tells all the others. */
static void test_intrusion_is_told_to_all(void)
{
	struct ftt_status status = {0};
	struct ftt_event ev;
	struct puppet p;

	configure(&a, ALPHA, 111);
	configure_peer(&a, 1, ALPHA, GAMMA);
	configure(&c, GAMMA, 333);
	puppet_open(&p, &a); /* where beta should be */
	start(&a);
	start(&c);
	fake_wait(&c, FTT_EV_PEER_UP);
	puppet_send(&p, 1, puppet_beat(&p, "recorded"));
	puppet_send_bytes(&p, 1, p.last, p.last_len);
	ev = fake_wait(&a, FTT_EV_INTRUSION);
	CHECK_EQ(ev.value, FTT_INTRUSION_REPLAY);
	CHECK_EQ(ev.link, 1);
	ev = fake_wait(&c, FTT_EV_INTRUSION);
	CHECK_EQ(ev.value, FTT_INTRUSION_AT_PEER);
	CHECK_EQ(ev.peer, 0);
	ftt_beat_status(c.beat, &status);
	CHECK_EQ(status.peer_intrusions[0], 1);
	stop(&c);
	stop(&a);
	puppet_close(&p);
}

/* A third node comes to two that run, leaves, and is there again; nobody else notices. */
static void test_a_peer_is_added_parted_with_and_back(void)
{
	struct ftt_status status = {0};
	char err[200] = "";

	configure(&a, ALPHA, 111);
	configure(&b, BETA, 222);
	configure(&c, GAMMA, 333);
	start(&a);
	start(&b);
	start(&c); /* names alpha alone, which does not know it */
	CHECK_EQ(fake_wait(&a, FTT_EV_PEER_UP).value, 222);
	CHECK_EQ(fake_wait(&b, FTT_EV_PEER_UP).value, 111);
	fake_set_mode(&b, FTT_MODE_PAIRED);
	set_lease(&b, FTT_LEASE_GRANTED);
	publish(&a, "for both", 1);
	wait_body_of(&b, 0, "for both");
	CHECK(may_emit(&b));

	configure_peer(&a, 1, ALPHA, GAMMA);
	CHECK_EQ(ftt_liveness_add_peer(a.beat->node, &a.cfg.peer[1], err, sizeof(err)), 0);
	publish(&a, "not for gamma", 1);
	wait_body_of(&b, 0, "not for gamma");
	CHECK_EQ(fake_posted(&a, FTT_EV_PEER_UP), 1); /* beta's: gamma, which speaks all the time, is not heard before it is wanted */
	publish(&a, "for both", 1);
	ftt_liveness_part_with(a.beat->node, 1, false);
	CHECK_EQ(fake_wait(&a, FTT_EV_PEER_UP).peer, 1);
	wait_body_of(&c, 0, "for both");
	publish(&c, "by gamma", 0);
	wait_body_of(&a, 1, "by gamma");
	CHECK(may_emit(&b));
	CHECK_EQ(ftt_liveness_add_peer(a.beat->node, &a.cfg.peer[1], err, sizeof(err)), -1);
	CHECK(strstr(err, "name of another node"));

	ftt_liveness_part_with(a.beat->node, 1, true);
	CHECK_EQ(fake_wait(&a, FTT_EV_PEER_LOST).peer, 1);
	CHECK_EQ(fake_wait(&c, FTT_EV_PEER_LOST).peer, 0);
	publish(&c, "unheard", 0);
	publish(&a, "still there", 1);
	wait_body_of(&b, 0, "still there");
	CHECK(may_emit(&b));
	ftt_beat_status(a.beat, &status);
	CHECK_EQ(status.peer_alive, 1);

	CHECK_EQ(fake_drain(&a, FTT_EV_INTRUSION), 0); /* that it spoke before it was named, and after */

	ftt_liveness_part_with(a.beat->node, 1, false);
	wait_body_of(&c, 0, "still there");
	wait_body_of(&a, 1, "unheard");
	CHECK(may_emit(&b));
	stop_three();
}

/* What cannot be opened leaves nothing behind, and the next one is served. */
static void test_a_peer_whose_links_cannot_be_is_refused_whole(void)
{
	struct ftt_peer_config wrong;
	char err[200] = "";

	configure(&a, ALPHA, 111);
	configure(&c, GAMMA, 333);
	start(&a);
	start(&c);
	configure_peer(&a, 1, ALPHA, GAMMA);
	wrong = a.cfg.peer[1];
	strcpy(wrong.link[1].remote, "nonsense");
	CHECK_EQ(ftt_liveness_add_peer(a.beat->node, &wrong, err, sizeof(err)), -1);
	CHECK(strstr(err, "peer[1].link[1]") && strstr(err, "nonsense"));
	CHECK_EQ(ftt_liveness_add_peer(a.beat->node, &a.cfg.peer[1], err, sizeof(err)), 0);
	ftt_liveness_part_with(a.beat->node, 1, false);
	CHECK_EQ(fake_wait(&a, FTT_EV_PEER_UP).value, 333);
	stop(&c);
	stop(&a);
}

int main(void)
{
	if (!fake_private_network()) {
		fprintf(stderr, "needs a network namespace of its own: run as root, or allow user namespaces\n");
		return SKIPPED;
	}
	test_three_find_each_other();
	test_grants_are_personal();
	test_grants_stop_for_the_lost_peer_only();
	test_intrusion_is_told_to_all();
	test_a_peer_is_added_parted_with_and_back();
	test_a_peer_whose_links_cannot_be_is_refused_whole();
	return 0;
}
