/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Heartbeats over each kind of link. Two networks, one node in each, with a cable between them (veth)
 * and a serial line (two ptys, and a thread that carries bytes from one to the other).
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>
#include "beat_rig.h"
#include "check.h"

static struct ftt_engine a, b;
static int network[2];

static void run(const char *command)
{
	if (system(command)) {
		fprintf(stderr, "failed: %s\n", command);
		exit(1);
	}
}

static void enter(int which)
{
	CHECK(!setns(network[which], CLONE_NEWNET));
}

static void plug_in(void)
{
	char command[200];

	enter(1);
	snprintf(command, sizeof(command),
		 "ip link add w0 address 02:00:00:00:00:02 type veth peer name w0 address 02:00:00:00:00:01 netns /proc/%d/fd/%d",
		 (int)getpid(), network[0]);
	run(command);
	run("ip link set w0 up && ip addr add 10.9.0.2/24 dev w0");
	enter(0);
	run("ip link set w0 up && ip addr add 10.9.0.1/24 dev w0");
}

static bool make_networks(void)
{
	for (int i = 0; i < 2; i++) {
		if (!fake_private_network())
			return false;
		network[i] = open("/proc/self/ns/net", O_RDONLY); /* children of run() must see it */
		CHECK(network[i] >= 0);
	}
	plug_in();
	return true;
}

/* Both nodes with a dead first link (nobody has its addresses) and a second one to be described. */
static struct ftt_link *describe(struct ftt_engine *e, int node, uint32_t transport)
{
	struct ftt_peer_config *p = &e->cfg.peer[0];

	configure(e, node, node == ALPHA ? 111 : 222);
	strcpy(p->link[0].local, node == ALPHA ? "192.0.2.1" : "192.0.2.2");
	strcpy(p->link[0].remote, node == ALPHA ? "192.0.2.2" : "192.0.2.1");
	memset(&p->link[1], 0, sizeof(p->link[1]));
	p->link[1].transport = transport;
	strcpy(p->link[1].interface, "w0");
	return &p->link[1];
}

static void start_both(void)
{
	enter(0);
	start(&a);
	enter(1);
	start(&b);
	enter(0);
}

/* And another cable: a frame that is still under way would be heard by those who start next, as one of their peer's life. */
static void stop_both(void)
{
	stop(&b);
	stop(&a);
	enter(0);
	run("ip link del w0");
	plug_in();
}

static void talk(void)
{
	CHECK_EQ(fake_wait(&a, FTT_EV_PEER_UP).value, 222);
	CHECK_EQ(fake_wait(&a, FTT_EV_LINK_UP).link, 1);
	CHECK_EQ(fake_wait(&b, FTT_EV_LINK_UP).link, 1);
	set_lease(&a, FTT_LEASE_GRANTED);
	fake_set_mode(&a, FTT_MODE_PAIRED);
	publish(&b, "granting", 1);
	wait_body(&a, "granting");
	CHECK(may_emit(&a));
	CHECK_EQ(a.counters_beat.beats_replay + a.counters_beat.beats_bad_mac + a.counters_beat.channel_malformed, 0);
}

static void test_multicast(const char *group)
{
	strcpy(describe(&a, ALPHA, FTT_MULTICAST)->remote, group);
	strcpy(describe(&b, BETA, FTT_MULTICAST)->remote, group);
	start_both();
	talk();
	stop_both();
}

static void test_ethernet(const char *of_alpha, const char *of_beta)
{
	strcpy(describe(&a, ALPHA, FTT_ETHERNET)->remote, of_beta);
	strcpy(describe(&b, BETA, FTT_ETHERNET)->remote, of_alpha);
	start_both();
	talk();
	stop_both();
}

/* Addresses go, frames pass; the cable goes, and comes again as another interface of the same name. */
static void test_ethernet_needs_no_ip_and_follows_its_interface(void)
{
	strcpy(describe(&a, ALPHA, FTT_ETHERNET)->remote, "02:00:00:00:00:02");
	strcpy(describe(&b, BETA, FTT_ETHERNET)->remote, "02:00:00:00:00:01");
	start_both();
	talk();
	run("ip addr flush dev w0 && iptables -I OUTPUT -j DROP && iptables -I INPUT -j DROP");
	publish(&a, "without an address", 0);
	wait_body(&b, "without an address");
	run("ip link del w0");
	fake_wait(&a, FTT_EV_PEER_LOST);
	fake_wait(&b, FTT_EV_PEER_LOST);
	plug_in();
	fake_wait(&a, FTT_EV_PEER_UP);
	fake_wait(&b, FTT_EV_PEER_UP);
	stop_both();
	run("iptables -F");
}

/* Beats of another cluster, and for another node, do not even wake the thread. */
static void test_shared_medium_is_filtered(void)
{
	static struct ftt_engine c;

	strcpy(describe(&a, ALPHA, FTT_ETHERNET)->remote, "03:00:00:00:00:01");
	strcpy(describe(&b, BETA, FTT_ETHERNET)->remote, "03:00:00:00:00:01");
	strcpy(describe(&c, BETA, FTT_ETHERNET)->remote, "03:00:00:00:00:01");
	c.cfg.cluster_id = 6;
	c.cfg.boot_id = 555;
	c.cfg.channel_port = PORT + 20;
	enter(1);
	start(&c);
	start_both();
	talk();
	while (fake_counter(&c.counters_beat.beats_sent) < 5)
		poll(NULL, 0, 5);
	publish(&b, "later", 1);
	wait_body(&a, "later");
	CHECK_EQ(a.counters_beat.beats_replay + a.counters_beat.beats_bad_mac + a.counters_beat.channel_malformed, 0);
	CHECK_EQ(c.counters_beat.beats_received, 0);
	enter(1);
	stop(&c);
	enter(0);
	stop_both();
}

/* ---- the serial line -------------------------------------------------------------------------- */

struct wire {
	int master[2];
	char slave[2][64];
	_Atomic int noise;  /* that many bytes are spoilt */
	atomic_bool cut;
	pthread_t thread;
};

static void *carry(void *arg)
{
	struct wire *w = arg;
	uint8_t bytes[256];

	while (!atomic_load(&w->cut)) {
		struct pollfd fds[2] = {{.fd = w->master[0], .events = POLLIN}, {.fd = w->master[1], .events = POLLIN}};

		poll(fds, 2, 20);
		for (int i = 0; i < 2; i++) {
			ssize_t n = fds[i].revents & POLLIN ? read(w->master[i], bytes, sizeof(bytes)) : 0;

			for (ssize_t k = 0; k < n && atomic_load(&w->noise) > 0; k++, atomic_fetch_sub(&w->noise, 1))
				bytes[k] ^= 0x55;
			if (n > 0)
				CHECK(write(w->master[1 - i], bytes, (size_t)n) >= 0 || errno == EAGAIN);
		}
	}
	return NULL;
}

/* A pty that nobody has made raw yet echoes what comes, which no cable does: its writer would read its own beats, spoilt. */
static void lay(struct wire *w)
{
	struct termios t;

	memset(w, 0, sizeof(*w));
	for (int i = 0; i < 2; i++) {
		w->master[i] = posix_openpt(O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
		CHECK(w->master[i] >= 0 && !grantpt(w->master[i]) && !unlockpt(w->master[i]));
		CHECK(!ptsname_r(w->master[i], w->slave[i], sizeof(w->slave[i])));
		CHECK(!tcgetattr(w->master[i], &t));
		cfmakeraw(&t);
		CHECK(!tcsetattr(w->master[i], TCSANOW, &t));
	}
	CHECK(!pthread_create(&w->thread, NULL, carry, w));
}

static void cut(struct wire *w)
{
	atomic_store(&w->cut, true);
	pthread_join(w->thread, NULL);
	close(w->master[0]);
	close(w->master[1]);
}

static void start_on_line(struct wire *w)
{
	struct ftt_link *la = describe(&a, ALPHA, FTT_SERIAL), *lb = describe(&b, BETA, FTT_SERIAL);

	strcpy(la->device, w->slave[0]);
	strcpy(lb->device, w->slave[1]);
	la->baud = lb->baud = 115200;
	start_both();
}

static void test_serial(void)
{
	struct wire w;

	lay(&w);
	start_on_line(&w);
	talk();
	/* noise costs beats, is counted, and is no intrusion */
	atomic_store(&w.noise, 300);
	while (atomic_load(&w.noise) > 0)
		poll(NULL, 0, 5);
	publish(&b, "after the noise", 1);
	wait_body(&a, "after the noise");
	CHECK(fake_counter(&a.counters_beat.channel_malformed) + fake_counter(&b.counters_beat.channel_malformed) > 0);
	CHECK_EQ(a.counters_beat.beats_bad_mac + b.counters_beat.beats_bad_mac, 0);
	CHECK_EQ(fake_drain(&a, FTT_EV_INTRUSION), 0);
	cut(&w);
	CHECK_EQ(fake_wait(&a, FTT_EV_LINK_LOST).link, 1);
	stop_both();
}

/* Nobody reads at the other end: beats are dropped, the thread goes on. */
static void test_full_line_drops(void)
{
	uint64_t sent = 0;
	struct wire w;

	lay(&w);
	atomic_store(&w.cut, true);
	pthread_join(w.thread, NULL);
	describe(&a, ALPHA, FTT_SERIAL);
	strcpy(a.cfg.peer[0].link[1].device, w.slave[0]);
	a.cfg.beat_interval_ns = MS;
	enter(0);
	start(&a);
	for (int ticks = 0; ticks < 100; ticks++) { /* until nothing has been taken for half a second */
		uint64_t now = fake_counter(&a.counters_beat.beats_sent);

		ticks = now == sent ? ticks : 0;
		sent = now;
		poll(NULL, 0, 5);
	}
	CHECK(sent > 0);
	set_lease(&a, FTT_LEASE_SELF);
	fake_set_mode(&a, FTT_MODE_SOLO);
	poll(NULL, 0, (int)(2 * D / MS));
	CHECK(may_emit(&a)); /* its ticks go on */
	stop(&a);
	close(w.master[0]);
	close(w.master[1]);
}

/* ---- loss -------------------------------------------------------------------------------------- */

/* Two good links: the loss of one is told, and is no loss of the peer. */
static void test_one_lost_link_is_no_lost_peer(void)
{
	struct wire w;

	lay(&w);
	for (int node = ALPHA; node <= BETA; node++) {
		struct ftt_engine *e = node == ALPHA ? &a : &b;
		struct ftt_link *l = describe(e, node, FTT_SERIAL);

		strcpy(l->device, w.slave[node - ALPHA]);
		strcpy(e->cfg.peer[0].link[0].local, node == ALPHA ? "10.9.0.1" : "10.9.0.2");
		strcpy(e->cfg.peer[0].link[0].remote, node == ALPHA ? "10.9.0.2" : "10.9.0.1");
	}
	start_both();
	fake_wait(&a, FTT_EV_LINK_UP);
	fake_wait(&a, FTT_EV_LINK_UP);
	run("ip link set w0 down");
	CHECK_EQ(fake_wait(&a, FTT_EV_LINK_LOST).link, 0);
	publish(&b, "by the other way", 0);
	wait_body(&a, "by the other way");
	run("ip link set w0 up");
	CHECK_EQ(fake_wait(&a, FTT_EV_LINK_UP).link, 0);
	cut(&w);
	CHECK_EQ(fake_wait(&a, FTT_EV_LINK_LOST).link, 1);
	publish(&b, "by the first way", 0);
	wait_body(&a, "by the first way");
	CHECK_EQ(fake_posted(&a, FTT_EV_PEER_LOST) + fake_posted(&b, FTT_EV_PEER_LOST), 0);
	stop_both();
}

static void test_wrong_descriptions_are_told(void)
{
	static const struct {
		uint32_t transport;
		const char *remote, *device, *told;
	} cases[] = {{FTT_MULTICAST, "10.9.0.2", "", "not a multicast address"}, {FTT_ETHERNET, "02:00", "", "not a MAC address"},
		     {FTT_ETHERNET, "02:00:00:00:00:01:02", "", "not a MAC address"}, {FTT_SERIAL, "", "ttyS0", "must be a path"},
		     {FTT_SERIAL, "", "/dev/null", "/dev/null"}, {9, "", "", "transport"}};
	char err[400];

	enter(0);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct ftt_link *l = describe(&a, ALPHA, cases[i].transport);

		strcpy(l->remote, cases[i].remote);
		strcpy(l->device, cases[i].device);
		CHECK(!try_node(&a, false, err, sizeof(err)));
		CHECK(strstr(err, cases[i].told));
		fake_engine_free(&a);
	}
}

int main(void)
{
	if (!make_networks()) {
		fprintf(stderr, "needs network namespaces of its own: run as root, or allow user namespaces\n");
		return SKIPPED;
	}
	test_wrong_descriptions_are_told();
	test_multicast("239.255.77.1");
	test_multicast("ff15::77");
	test_multicast("ff12::77");
	test_ethernet("02:00:00:00:00:01", "02:00:00:00:00:02");
	test_ethernet("03:00:00:00:00:01", "03:00:00:00:00:01");
	test_ethernet_needs_no_ip_and_follows_its_interface();
	test_shared_medium_is_filtered();
	test_serial();
	test_full_line_drops();
	test_one_lost_link_is_no_lost_peer();
	return 0;
}
