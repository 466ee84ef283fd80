/* SPDX-License-Identifier: Apache-2.0 */
/* Two heartbeat threads against each other on real sockets; and one whose process is stopped for a while. */
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include "beat_rig.h"
#include "check.h"

/* ---- two threads ------------------------------------------------------------------------------ */

static void test_pair_finds_itself_grants_and_loses_itself(void)
{
	static struct ftt_engine a, b;
	struct ftt_status status = {0};
	struct ftt_event ev;
	uint64_t boot;

	configure(&a, ALPHA, 111);
	configure(&b, BETA, 222);
	start(&a);
	start(&b);
	CHECK_EQ(fake_wait(&a, FTT_EV_PEER_UP).value, 222);
	CHECK_EQ(fake_wait(&b, FTT_EV_PEER_UP).value, 111);
	fake_wait(&a, FTT_EV_LINK_UP);
	fake_wait(&a, FTT_EV_LINK_UP);
	CHECK(atomic_load(&a.shared.commit_session[0]) != 0);
	CHECK_EQ(atomic_load(&a.shared.commit_session[0]), atomic_load(&b.shared.commit_session[0]));
	CHECK_EQ(atomic_load(&a.shared.peer_boot_id[0]), 222);

	/* the grant is applied before the body that came with it is told */
	fake_set_mode(&a, FTT_MODE_PAIRED);
	set_lease(&a, FTT_LEASE_GRANTED);
	CHECK(!may_emit(&a));
	publish(&b, "in step", true);
	wait_body(&a, "in step");
	CHECK_EQ(ftt_beat_get_peer_body(a.beat, 0, NULL, 0, &boot), 7);
	CHECK_EQ(boot, 222);
	ftt_beat_status(a.beat, &status);
	CHECK_EQ(status.peer_alive, 1);
	CHECK_EQ(status.links_up[0], 3);
	CHECK(may_emit(&a));
	CHECK(atomic_load(&a.shared.lease_until_ns) < ftt_now_ns() + D);

	publish(&b, "withdrawn", false);
	wait_body(&a, "withdrawn");
	fake_wait(&a, FTT_EV_LEASE_LAPSED);
	CHECK(!may_emit(&a));
	publish(&b, "again", true);
	wait_body(&a, "again");
	CHECK(may_emit(&a));

	/* NONE shuts at once, and grants that go on do not open it */
	set_lease(&a, FTT_LEASE_NONE);
	CHECK_EQ(atomic_load(&a.shared.lease_until_ns), 0);
	publish(&b, "still granting", true);
	wait_body(&a, "still granting");
	CHECK_EQ(atomic_load(&a.shared.lease_until_ns), 0);

	stop(&b);
	ev = fake_wait(&a, FTT_EV_PEER_LOST);
	CHECK(ev.value > D + D / 1000);
	fake_wait(&a, FTT_EV_LINK_LOST);
	fake_wait(&a, FTT_EV_LINK_LOST);

	/* the peer returns as a new boot, within the same life of ours */
	configure(&b, BETA, 333);
	start(&b);
	CHECK_EQ(fake_wait(&a, FTT_EV_PEER_UP).value, 333);
	CHECK_EQ(fake_wait(&b, FTT_EV_PEER_UP).value, 111);
	CHECK_EQ(atomic_load(&a.shared.commit_session[0]), atomic_load(&b.shared.commit_session[0]));
	CHECK_EQ(fake_drain(&a, FTT_EV_INTRUSION), 0);
	CHECK_EQ(a.counters_beat.beats_replay, 0);
	stop(&b);
	stop(&a);
}

static void test_changed_body_does_not_wait_for_a_tick(void)
{
	static struct ftt_engine a, b;
	uint64_t before;

	configure(&a, ALPHA, 111);
	configure(&b, BETA, 222);
	a.cfg.beat_interval_ns = b.cfg.beat_interval_ns = EVER;
	a.cfg.lease_ns = b.cfg.lease_ns = EVER;
	start(&a);
	start(&b);
	fake_wait(&a, FTT_EV_PEER_UP);
	before = ftt_now_ns();
	publish(&b, "news", false);
	wait_body(&a, "news");
	CHECK(ftt_now_ns() - before < EVER);
	stop(&b);
	stop(&a);
}

/* Policies change in one thread while another renews: after NONE has returned nothing opens the gate. */
static void test_none_is_final_under_contention(void)
{
	static struct ftt_engine a, b;

	configure(&a, ALPHA, 111);
	configure(&b, BETA, 222);
	a.cfg.beat_interval_ns = b.cfg.beat_interval_ns = MS;
	a.cfg.rt_priority = 1; /* allowed or not */
	start(&a);
	start(&b);
	publish(&b, "granting", true);
	wait_body(&a, "granting");
	fake_set_mode(&a, FTT_MODE_SOLO);
	for (int i = 0; i < 2000; i++) {
		set_lease(&a, i & 1 ? FTT_LEASE_SELF : FTT_LEASE_GRANTED);
		set_lease(&a, FTT_LEASE_NONE);
		for (int k = 0; k < 50; k++)
			CHECK_EQ(atomic_load(&a.shared.lease_until_ns), 0);
	}
	stop(&b);
	stop(&a);
}

/* ---- a stopped process ------------------------------------------------------------------------ */

static void tell(int fd, char what)
{
	CHECK_EQ(write(fd, &what, 1), 1);
}

static void hear(int fd, char what)
{
	char got = 0;

	CHECK_EQ(read(fd, &got, 1), 1);
	CHECK_EQ(got, what);
}

/* The child is alone and solo. It says r: ready, and d: done. */
static void solo_child(int to_parent)
{
	static struct ftt_engine a;
	uint64_t sent;

	configure(&a, ALPHA, 111);
	start(&a);
	fake_set_mode(&a, FTT_MODE_SOLO);
	CHECK(!may_emit(&a));
	set_lease(&a, FTT_LEASE_SELF);
	CHECK(may_emit(&a));
	tell(to_parent, 'r');
	fake_wait(&a, FTT_EV_LEASE_LAPSED);
	sent = fake_counter(&a.counters_beat.beats_sent);
	while (fake_counter(&a.counters_beat.beats_sent) < sent + 3 * LINKS) /* ticks go by */
		CHECK(!may_emit(&a));
	CHECK(fake_counter(&a.counters_beat.beats_late) > 0);
	set_lease(&a, FTT_LEASE_SELF);
	CHECK(may_emit(&a));
	stop(&a);
	tell(to_parent, 'd');
}

/* Stops the child once it has said r, for longer than D; meanwhile() runs while it is stopped. Waits for its end. */
static void freeze(pid_t child, int from_child, void (*meanwhile)(struct puppet *), struct puppet *p)
{
	int status;

	hear(from_child, 'r');
	CHECK(!kill(child, SIGSTOP));
	CHECK_EQ(waitpid(child, &status, WUNTRACED), child);
	CHECK(WIFSTOPPED(status));
	poll(NULL, 0, (int)(2 * D / MS)); /* the passing of time itself is what is tested */
	if (meanwhile)
		meanwhile(p);
	CHECK(!kill(child, SIGCONT));
	CHECK_EQ(waitpid(child, &status, 0), child);
	CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	hear(from_child, 'd');
}

static void test_self_lease_stays_lapsed_after_a_freeze(void)
{
	int to_parent[2];
	pid_t child;

	CHECK(!pipe(to_parent));
	child = fork();
	CHECK(child >= 0);
	if (!child) {
		solo_child(to_parent[1]);
		exit(0);
	}
	freeze(child, to_parent[0], NULL, NULL);
	close(to_parent[0]);
	close(to_parent[1]);
}

static void paired_child(struct ftt_engine *a, int to_parent)
{
	start(a);
	wait_body(a, "before");
	tell(to_parent, 'r');
	wait_body(a, "after");
	CHECK_EQ(fake_posted(a, FTT_EV_PEER_LOST), 0);
	CHECK_EQ(fake_posted(a, FTT_EV_LINK_LOST), 0);
	stop(a);
	tell(to_parent, 'd');
}

static void send_after(struct puppet *p)
{
	puppet_send(p, 0, puppet_beat(p, "after"));
}

/* Beats that wait in the socket are heard before anyone is called silent. */
static void test_thawed_node_does_not_declare_its_peer_lost(void)
{
	static struct ftt_engine a;
	int to_parent[2];
	struct puppet p;
	pid_t child;

	configure(&a, ALPHA, 111);
	CHECK(!pipe(to_parent));
	child = fork();
	CHECK(child >= 0);
	if (!child) {
		paired_child(&a, to_parent[1]);
		exit(0);
	}
	puppet_open(&p, &a);
	puppet_receive(&p, 0); /* it runs */
	puppet_send(&p, 0, puppet_beat(&p, "before"));
	freeze(child, to_parent[0], send_after, &p);
	puppet_close(&p);
	fake_engine_free(&a);
	close(to_parent[0]);
	close(to_parent[1]);
}

/* The clock goes on while the host sleeps: no lease outlives that, and none comes back by itself. */
static void test_a_suspended_host_wakes_without_a_lease(void)
{
	static struct ftt_engine a;

	configure(&a, ALPHA, 111);
	start(&a);
	fake_set_mode(&a, FTT_MODE_SOLO);
	set_lease(&a, FTT_LEASE_SELF);
	CHECK(may_emit(&a));
	fake_suspend(10 * D);
	CHECK(!may_emit(&a)); /* the first packet after it, whether the thread has run or not */
	fake_wait(&a, FTT_EV_LEASE_LAPSED);
	CHECK(!may_emit(&a));
	stop(&a);
}

static void test_wrong_configurations_are_told(void)
{
	static struct ftt_engine a;
	struct ftt_liveness *node;
	char err[200] = "";

	configure(&a, ALPHA, 111);
	strcpy(a.cfg.peer[0].link[1].remote, "::1");
	CHECK(!try_node(&a, false, err, sizeof(err)));
	CHECK(strstr(err, "peer[0].link[1]") && strstr(err, "::1"));
	strcpy(a.cfg.peer[0].link[1].remote, "nonsense");
	CHECK(!try_node(&a, false, err, sizeof(err)));
	CHECK(strstr(err, "nonsense"));
	a.cfg.peer[0].n_links = 0;
	CHECK(!try_node(&a, false, err, sizeof(err)));
	a.cfg.peer[0].n_links = 1;
	node = open_node(&a, false);
	a.cfg.lease_ns = TICK - 1;
	CHECK(!ftt_beat_attach(node, &a, err, sizeof(err)));
	CHECK(strstr(err, "lease time"));
	a.cfg.lease_ns = D;
	a.cfg.peer[0].node_id++;
	CHECK(!ftt_beat_attach(node, &a, err, sizeof(err)));
	CHECK(strstr(err, "other peers"));
	fake_engine_free(&a);
	ftt_liveness_close(node);
}

/* Both address families, and an address that nobody has yet. */
static void test_ipv6_and_absent_addresses(void)
{
	static struct ftt_engine a;

	configure(&a, ALPHA, 111);
	strcpy(a.cfg.peer[0].link[0].local, "fd00::1");
	strcpy(a.cfg.peer[0].link[0].remote, "fd00::2");
	strcpy(a.cfg.peer[0].link[1].local, "192.0.2.1");
	strcpy(a.cfg.peer[0].link[1].remote, "192.0.2.2");
	start(&a);
	publish(&a, "nobody hears", false);
	stop(&a);
	CHECK_EQ(a.counters_beat.beats_sent, 0);
}

int main(void)
{
	if (!fake_private_network()) {
		fprintf(stderr, "needs a network namespace of its own: run as root, or allow user namespaces\n");
		return SKIPPED;
	}
	test_self_lease_stays_lapsed_after_a_freeze(); /* these two fork: before any thread was made */
	test_thawed_node_does_not_declare_its_peer_lost();
	test_wrong_configurations_are_told();
	test_ipv6_and_absent_addresses();
	test_pair_finds_itself_grants_and_loses_itself();
	test_changed_body_does_not_wait_for_a_tick();
	test_none_is_final_under_contention();
	test_a_suspended_host_wakes_without_a_lease(); /* the last: it puts the clock ahead */
	return 0;
}
