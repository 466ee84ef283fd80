/* SPDX-License-Identifier: Apache-2.0 */
/* Many groups on one node: they share a thread, sockets and datagrams, and nothing else. */
#define _GNU_SOURCE
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include "beat_rig.h"
#include "check.h"

enum { MANY = 50 };

static struct ftt_engine group[MANY];

static void configure_group(struct ftt_engine *e, int node, uint64_t id, uint64_t boot)
{
	configure(e, node, boot);
	e->cfg.cluster_id = id;
}

static struct ftt_liveness *open_of(int node)
{
	static struct ftt_engine described;
	struct ftt_liveness *l;

	configure(&described, node, node == ALPHA ? 1111 : 2222);
	l = open_node(&described, false);
	fake_engine_free(&described);
	return l;
}

/* Each says something else, as long as may be. */
static void body_of(char body[FTT_BEAT_BODY_MAX + 1], int k)
{
	memset(body, 'a' + k % 26, FTT_BEAT_BODY_MAX);
	snprintf(body, 20, "group %d", k);
	body[strlen(body)] = '.';
	body[FTT_BEAT_BODY_MAX] = 0;
}

/* UDP sockets of this network, whosever they are, and how many of them have the port. */
static int sockets_on(int port, int *all)
{
	FILE *f = fopen("/proc/net/udp", "r");
	char line[256];
	int n = 0;

	CHECK(f);
	*all = 0;
	while (fgets(line, sizeof(line), f)) {
		unsigned int addr, at;

		if (sscanf(line, " %*d: %x:%x", &addr, &at) != 2)
			continue;
		++*all;
		n += (int)at == port;
	}
	fclose(f);
	return n;
}

/* ---- fifty groups, and a crash ---------------------------------------------------------------- */

/* Beta with all groups, granting, until it is killed. */
static void be_beta(void)
{
	struct ftt_liveness *beta = open_of(BETA);
	char body[FTT_BEAT_BODY_MAX + 1];

	for (int k = 0; k < MANY; k++) {
		configure_group(&group[k], BETA, 1000 - (uint64_t)k * 7, 500 + (uint64_t)k); /* in whichever order */
		body_of(body, k);
		start_on(&group[k], beta);
		publish(&group[k], body, 1);
	}
	for (;;)
		pause();
}

static void test_fifty_groups_cost_one_thread_and_lose_a_peer_together(void)
{
	char body[FTT_BEAT_BODY_MAX + 1];
	struct ftt_liveness *alpha;
	pid_t child = fork();
	int all;

	CHECK(child >= 0);
	if (!child)
		be_beta();
	alpha = open_of(ALPHA);
	for (int k = 0; k < MANY; k++) {
		configure_group(&group[k], ALPHA, 1000 - (uint64_t)k * 7, 100 + (uint64_t)k);
		start_on(&group[k], alpha);
		fake_set_mode(&group[k], FTT_MODE_PAIRED);
		set_lease(&group[k], FTT_LEASE_GRANTED);
	}
	for (int k = 0; k < MANY; k++) {
		body_of(body, k);
		CHECK_EQ(fake_wait(&group[k], FTT_EV_PEER_UP).value, 500 + (uint64_t)k);
		wait_body(&group[k], body);
	}
	for (int k = 0; k < MANY; k++)
		while (!may_emit(&group[k])) /* the grant that echoes a beat of now comes a little later than the first */
			poll(NULL, 0, 1);
	CHECK_EQ(fake_threads_named("ftt-beat"), 1);
	CHECK_EQ(fake_threads_named("ftt-neigh"), 1);
	CHECK_EQ(sockets_on(PORT, &all), 2 * LINKS); /* alpha's and beta's */
	CHECK_EQ(all, 2 * LINKS);

	CHECK(!kill(child, SIGKILL));
	CHECK_EQ(waitpid(child, NULL, 0), child);
	for (int k = 0; k < MANY; k++) {
		CHECK(fake_wait(&group[k], FTT_EV_PEER_LOST).value > D + D / 1000);
		CHECK(!may_emit(&group[k])); /* its lease was shorter than that */
		CHECK_EQ(fake_posted(&group[k], FTT_EV_PEER_LOST), 1);
		CHECK_EQ(group[k].counters_beat.beats_replay + group[k].counters_beat.beats_bad_mac, 0);
		stop_on(&group[k]);
	}
	ftt_liveness_close(alpha);
}

/* ---- coming and going ------------------------------------------------------------------------- */

static void test_a_group_comes_and_goes_and_the_others_do_not_notice(void)
{
	static struct ftt_engine a[3], b[3];
	struct ftt_liveness *alpha = open_of(ALPHA), *beta = open_of(BETA);

	for (int k = 0; k < 3; k++) {
		configure_group(&a[k], ALPHA, 10 + (uint64_t)k, 100);
		configure_group(&b[k], BETA, 10 + (uint64_t)k, 200);
		start_on(&a[k], alpha);
		start_on(&b[k], beta);
		publish(&b[k], "at first", 1);
		wait_body(&a[k], "at first");
	}
	stop_on(&b[1]);
	CHECK_EQ(fake_wait(&a[1], FTT_EV_PEER_LOST).peer, 0);
	for (int link = 0; link < LINKS; link++)
		fake_wait(&a[1], FTT_EV_LINK_LOST);
	configure_group(&b[1], BETA, 11, 201); /* begins anew, in the same life of the daemon */
	start_on(&b[1], beta);
	CHECK_EQ(fake_wait(&a[1], FTT_EV_PEER_UP).value, 201);
	CHECK_EQ(atomic_load(&a[1].shared.peer_boot_id[0]), 201);
	CHECK_EQ(fake_wait(&b[1], FTT_EV_PEER_UP).value, 100);
	publish(&b[1], "anew", 0);
	wait_body(&a[1], "anew");
	CHECK_EQ(atomic_load(&a[1].shared.commit_session[0]), atomic_load(&b[1].shared.commit_session[0]));
	CHECK(atomic_load(&a[0].shared.commit_session[0]) == atomic_load(&b[0].shared.commit_session[0]));
	for (int k = 0; k < 3; k += 2) {
		publish(&b[k], "later", 1);
		wait_body(&a[k], "later");
		CHECK_EQ(fake_posted(&a[k], FTT_EV_PEER_LOST) + fake_posted(&a[k], FTT_EV_LINK_LOST), 0);
		CHECK_EQ(fake_posted(&a[k], FTT_EV_PEER_UP), 1);
	}
	for (int k = 0; k < 3; k++) {
		CHECK_EQ(a[k].counters_beat.beats_replay + b[k].counters_beat.beats_replay, 0);
		stop_on(&a[k]);
		stop_on(&b[k]);
	}
	ftt_liveness_close(alpha);
	ftt_liveness_close(beta);
}

/* A promise to a group as it was before is none to one that begins anew under its name. */
static void test_no_grant_outlives_its_group(void)
{
	static struct ftt_engine a;
	struct ftt_liveness *alpha = open_of(ALPHA);
	struct puppet p;
	struct beat m;
	uint64_t t;

	configure_group(&a, ALPHA, 5, 100);
	a.cfg.lease_ns = EVER;
	puppet_open(&p, &a);
	start_on(&a, alpha);
	t = puppet_receive(&p, 0).head.t_send_ns; /* the old one's */
	stop_on(&a);
	configure_group(&a, ALPHA, 5, 101);
	a.cfg.lease_ns = EVER;
	fake_set_mode(&a, FTT_MODE_PAIRED);
	atomic_store(&a.shared.lease_policy, FTT_LEASE_GRANTED);
	start_on(&a, alpha);
	m = puppet_beat(&p, "late grant");
	m.head.echo_boot_id = 1111;
	m.group.flags |= FTT_BEAT_GRANT;
	m.group.echo_t_ns = t;
	puppet_send(&p, 0, m);
	wait_body(&a, "late grant");
	CHECK_EQ(atomic_load(&a.shared.lease_until_ns), 0);
	stop_on(&a);
	ftt_liveness_close(alpha);
	puppet_close(&p);
}

/* The slow one is heard as often as the fast one wants, and goes on when that has left. */
static void test_the_fastest_group_sets_the_pace(void)
{
	static struct ftt_engine slow, fast, there;
	struct ftt_liveness *alpha = open_of(ALPHA), *beta = open_of(BETA);
	uint64_t sent;

	configure_group(&slow, ALPHA, 10, 100);
	configure_group(&fast, ALPHA, 11, 100);
	configure_group(&there, BETA, 10, 200);
	slow.cfg.beat_interval_ns = slow.cfg.lease_ns = there.cfg.beat_interval_ns = there.cfg.lease_ns = EVER;
	fast.cfg.beat_interval_ns = MS;
	start_on(&there, beta);
	start_on(&slow, alpha);
	CHECK_EQ(fake_wait(&there, FTT_EV_PEER_UP).value, 100);
	start_on(&fast, alpha);
	sent = fake_counter(&there.counters_beat.beats_received);
	while (fake_counter(&there.counters_beat.beats_received) < sent + 20)
		poll(NULL, 0, 1);
	stop_on(&fast);
	publish(&slow, "still here", 0);
	wait_body(&there, "still here");
	stop_on(&slow);
	stop_on(&there);
	ftt_liveness_close(alpha);
	ftt_liveness_close(beta);
}

static void test_what_cannot_be_attached_is_told(void)
{
	static struct ftt_engine a, again;
	struct ftt_liveness *alpha = open_of(ALPHA);
	char err[200] = "";

	configure_group(&a, ALPHA, 10, 100);
	configure_group(&again, ALPHA, 10, 101);
	start_on(&a, alpha);
	CHECK(!ftt_beat_attach(alpha, &again, err, sizeof(err)));
	CHECK(strstr(err, "there already"));
	again.cfg.cluster_id = 11;
	again.cfg.boot_id = 0;
	CHECK(!ftt_beat_attach(alpha, &again, err, sizeof(err)));
	CHECK(strstr(err, "boot_id"));
	fake_engine_free(&again);
	stop_on(&a);
	ftt_liveness_close(alpha);
}

/* ---- what is said of which group -------------------------------------------------------------- */

static struct ftt_beat_section hear_of(struct puppet *p, uint64_t id)
{
	for (int n = 0; n < 1000; n++) {
		struct ftt_beat_msg m = puppet_receive(p, 0).head;
		struct ftt_beat_section s;
		size_t at = 0;

		while (ftt_beat_get_section(m.sections, m.sections_len, &at, &s))
			if (s.group_id == id)
				return s;
	}
	CHECK(!"the group is never spoken of");
	return (struct ftt_beat_section){0};
}

static struct beat beat_of(struct puppet *p, uint64_t id, const char *body)
{
	struct beat m = puppet_beat(p, body);

	m.group.group_id = id;
	return m;
}

/* An echo of a beat that did not speak of the group would be worth more than what this node waits for. */
static void test_each_group_has_an_echo_of_its_own(void)
{
	static struct ftt_engine a, b;
	struct ftt_liveness *alpha = open_of(ALPHA);
	struct beat of_five, of_six;
	struct ftt_event ev;
	struct puppet p;

	configure_group(&a, ALPHA, 5, 100);
	configure_group(&b, ALPHA, 6, 101);
	a.cfg.lease_ns = b.cfg.lease_ns = EVER;
	puppet_open(&p, &a);
	start_on(&a, alpha);
	start_on(&b, alpha);
	of_five = beat_of(&p, 5, "five");
	of_six = beat_of(&p, 6, "six");
	of_five.head.t_send_ns = 50;
	of_six.head.t_send_ns = 60;
	puppet_send(&p, 0, of_six); /* the later one first: it overtakes on its own link, and is news of another group */
	wait_body(&b, "six");
	puppet_send(&p, 0, of_five);
	wait_body(&a, "five");
	CHECK(ftt_beat_get_heard_ns(a.beat, 0) > ftt_beat_get_heard_ns(b.beat, 0));
	CHECK_EQ(ftt_beat_get_node_heard_ns(b.beat, 0), ftt_beat_get_heard_ns(a.beat, 0));
	puppet_empty(&p);
	CHECK_EQ(hear_of(&p, 5).echo_t_ns, 50);
	CHECK_EQ(hear_of(&p, 6).echo_t_ns, 60);
	CHECK_EQ(fake_counter(&a.counters_beat.beats_replay), 0);
	puppet_send(&p, 0, of_five); /* and once is enough */
	ev = fake_wait(&a, FTT_EV_INTRUSION);
	CHECK(ev.value == FTT_INTRUSION_REPLAY && !ev.reason);
	ev = fake_wait(&b, FTT_EV_INTRUSION);
	CHECK(ev.value == FTT_INTRUSION_REPLAY && ev.reason); /* people have heard of it */
	CHECK_EQ(fake_counter(&a.counters_beat.beats_replay), 1);
	CHECK_EQ(fake_counter(&b.counters_beat.beats_replay), 1); /* what befell the node befell each group */
	stop_on(&a);
	stop_on(&b);
	ftt_liveness_close(alpha);
	puppet_close(&p);
}

/* Fifty do not fit into one datagram: two of them, and nobody is left out. */
static void test_each_tick_speaks_of_all(void)
{
	enum { FIT = FTT_BEAT_SECTIONS_MAX / FTT_BEAT_SECTION };
	struct ftt_liveness *alpha = open_of(ALPHA);
	struct puppet p;

	for (int k = 0; k < MANY; k++)
		configure_group(&group[k], ALPHA, (uint64_t)k + 1, 100);
	puppet_open(&p, &group[0]);
	for (int k = 0; k < MANY; k++)
		start_on(&group[k], alpha);
	for (int n = 0; puppet_receive(&p, 0).head.n_sections != FIT || puppet_receive(&p, 0).head.n_sections != MANY - FIT; n++)
		CHECK(n < 200); /* so much is said while they come */
	for (int tick = 0; tick < 3; tick++) {
		uint64_t of = 0;

		for (int part = 0; part < 2; part++) {
			struct ftt_beat_msg m = puppet_receive(&p, 0).head;
			struct ftt_beat_section s;
			size_t at = 0;

			CHECK_EQ(m.n_sections, part ? MANY - FIT : FIT);
			while (ftt_beat_get_section(m.sections, m.sections_len, &at, &s))
				of |= 1ull << s.group_id;
		}
		CHECK_EQ(of, ((1ull << MANY) - 1) << 1);
	}
	for (int k = 0; k < MANY; k++)
		stop_on(&group[k]);
	ftt_liveness_close(alpha);
	puppet_close(&p);
}

/* Of each tick a slow line takes the first datagram: that speaks of all, and of each has the body in its turn. */
static void test_the_first_datagram_speaks_of_all(void)
{
	enum { SOME = 10 };
	struct ftt_liveness *alpha = open_of(ALPHA);
	char body[FTT_BEAT_BODY_MAX + 1];
	uint64_t told = 0;
	struct puppet p;

	for (int k = 0; k < SOME; k++) {
		configure_group(&group[k], ALPHA, (uint64_t)k + 1, 100);
		group[k].cfg.lease_ns = EVER;
	}
	puppet_open(&p, &group[0]);
	for (int k = 0; k < SOME; k++)
		start_on(&group[k], alpha);
	for (int k = 0; k < SOME; k++) {
		body_of(body, k);
		publish(&group[k], body, 0);
	}
	puppet_empty(&p);
	for (int n = 0; told != ((1ull << SOME) - 1) << 1; n++) {
		struct ftt_beat_msg m = puppet_receive(&p, 0).head;
		struct ftt_beat_section s;
		uint32_t bodies = 0;
		size_t at = 0;

		CHECK(n < 1000);
		if (m.n_sections != SOME) /* the other bodies */
			continue;
		while (ftt_beat_get_section(m.sections, m.sections_len, &at, &s)) {
			bodies += !!(s.flags & FTT_BEAT_BODY);
			told |= s.flags & FTT_BEAT_BODY ? 1ull << s.group_id : 0;
		}
		CHECK(bodies <= 1);
	}
	for (int k = 0; k < SOME; k++)
		stop_on(&group[k]);
	ftt_liveness_close(alpha);
	puppet_close(&p);
}

/* A body that the peer has is not sent again; one that it has of another life is. */
static void test_a_body_is_sent_until_the_peer_has_it(void)
{
	static struct ftt_engine a;
	struct ftt_liveness *alpha = open_of(ALPHA);
	struct ftt_beat_section s;
	struct puppet p;
	struct beat m;

	configure_group(&a, ALPHA, 5, 100);
	a.cfg.lease_ns = EVER;
	puppet_open(&p, &a);
	start_on(&a, alpha);
	CHECK_EQ(hear_of(&p, 5).flags, 0); /* there is none yet */
	publish(&a, "said", 0);
	do
		s = hear_of(&p, 5);
	while (!s.version);
	CHECK(s.flags & FTT_BEAT_BODY && s.body_len == 4 && !memcmp(s.body, "said", 4));
	m = puppet_beat(&p, "have it");
	m.group.seen = s.version;
	puppet_send(&p, 0, m); /* without an echo of this life: it may be a number of another one */
	wait_body(&a, "have it");
	puppet_empty(&p);
	CHECK(hear_of(&p, 5).flags & FTT_BEAT_BODY);
	m = puppet_beat(&p, "have it now");
	m.group.seen = s.version;
	m.head.echo_boot_id = 1111;
	puppet_send(&p, 0, m);
	wait_body(&a, "have it now");
	puppet_empty(&p);
	puppet_receive(&p, 0); /* perhaps made before */
	CHECK_EQ(hear_of(&p, 5).flags, 0);
	CHECK_EQ(hear_of(&p, 5).version, s.version);
	publish(&a, "said anew", 0);
	do
		s = hear_of(&p, 5);
	while (!(s.flags & FTT_BEAT_BODY));
	CHECK(s.body_len == 9 && !memcmp(s.body, "said anew", 9));
	stop_on(&a);
	ftt_liveness_close(alpha);
	puppet_close(&p);
}

int main(void)
{
	if (!fake_private_network()) {
		fprintf(stderr, "needs a network namespace of its own: run as root, or allow user namespaces\n");
		return SKIPPED;
	}
	test_fifty_groups_cost_one_thread_and_lose_a_peer_together(); /* forks: before any thread was made */
	test_a_group_comes_and_goes_and_the_others_do_not_notice();
	test_no_grant_outlives_its_group();
	test_the_fastest_group_sets_the_pace();
	test_what_cannot_be_attached_is_told();
	test_each_group_has_an_echo_of_its_own();
	test_each_tick_speaks_of_all();
	test_the_first_datagram_speaks_of_all();
	test_a_body_is_sent_until_the_peer_has_it();
	return 0;
}
