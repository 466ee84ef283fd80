/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The neighbour thread on a real interface: one end of a veth pair in a private network; the test
 * sits at the other end with packet sockets, asks, and sees what comes.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_packet.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <poll.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>
#include "check.h"
#include "fake_engine.h"
#include "core/records/neigh_wire.h"
#include "engine/liveness/neigh.h"

#define MS 1000000ull
#define QUIET_MS 300 /* how long nothing must come when nothing is to come */

static const uint8_t client_mac[6] = {2, 0, 0, 0, 0, 0x0a};
static const uint8_t other_mac[6] = {2, 0, 0, 0, 0, 0x0b};
static const uint8_t client4[4] = {10, 77, 0, 10}, service4[4] = {10, 77, 0, 100}, nobody4[4] = {10, 77, 0, 99},
		     other4[4] = {10, 77, 0, 101};
static const uint8_t client6[16] = {0xfd, 0x77, [15] = 0x10}, service6[16] = {0xfd, 0x77, [14] = 1, [15] = 0};

static struct ftt_engine e;
static struct ftt_neighbours *node;
static int wire = -1; /* a packet socket at the client's end */

static void run(const char *command)
{
	if (system(command)) {
		fprintf(stderr, "failed: %s\n", command);
		exit(1);
	}
}

/* svc0 with the MAC address 02:00:00:00:01:NN, and the client's end of the cable. */
static void plug_in(int nn)
{
	char command[200];
	struct sockaddr_ll where = {.sll_family = AF_PACKET, .sll_protocol = htons(0x0003)};

	snprintf(command, sizeof(command),
		 "ip link add svc0 address 02:00:00:00:01:%02x type veth peer name client0 && "
		 "ip link set client0 up && ip link set svc0 up", nn);
	run(command);
	if (wire >= 0)
		close(wire);
	wire = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	where.sll_ifindex = (int)if_nametoindex("client0");
	CHECK(!bind(wire, (struct sockaddr *)&where, sizeof(where)));
}

static void start(void)
{
	char err[200];

	memset(&e, 0, sizeof(e));
	strcpy(e.cfg.service_interface, "svc0");
	e.cfg.n_service_addrs = 3;
	e.cfg.service_addr[0][10] = e.cfg.service_addr[0][11] = 0xff;
	memcpy(e.cfg.service_addr[0] + 12, service4, 4);
	memcpy(e.cfg.service_addr[1], service6, 16);
	memcpy(e.cfg.service_addr[2], e.cfg.service_addr[0], 16);
	e.cfg.service_addr[2][15] = 101;
	fake_engine_init(&e);
	e.neigh = ftt_neigh_attach(node, &e, err, sizeof(err));
	if (!e.neigh)
		fprintf(stderr, "%s\n", err);
	CHECK(e.neigh);
}

static void hold_lease(bool held)
{
	atomic_store(&e.shared.lease_policy, FTT_LEASE_SELF);
	atomic_store(&e.shared.lease_until_ns, held ? UINT64_MAX : 0);
	fake_set_mode(&e, FTT_MODE_SOLO);
}

static size_t arp(uint8_t *f, uint16_t operation, const uint8_t mac[6], const uint8_t sender[4],
		  const uint8_t target[4])
{
	struct ftt_arp asked = {.operation = operation};

	memcpy(asked.sender_mac, client_mac, 6);
	memcpy(asked.target, sender, 4);
	memcpy(asked.sender, target, 4);
	ftt_arp_reply(f, mac, &asked);
	memset(f, 0xff, 6);
	put_be16(f + 20, operation);
	return FTT_ARP_FRAME;
}

/* A solicitation for the service address; from the unspecified address if it is a probe. */
static size_t solicitation(uint8_t *f, bool probe)
{
	uint8_t *ip = f + FTT_ETH_HEADER, *icmp = f + FTT_ND_ICMP;
	uint32_t len = probe ? FTT_ND_MIN : FTT_ND_MIN + 8;

	memset(f, 0, FTT_ND_REPLY_FRAME);
	ftt_nd_solicited_node(service6, ip + 24);
	ftt_nd_group_mac(ip + 24, f);
	memcpy(f + 6, client_mac, 6);
	put_be16(f + 12, FTT_ETH_IPV6);
	ip[0] = 0x60;
	put_be16(ip + 4, (uint16_t)len);
	ip[6] = 58;
	ip[7] = 255;
	if (!probe)
		memcpy(ip + 8, client6, 16);
	icmp[0] = FTT_ND_SOLICIT;
	memcpy(icmp + 8, service6, 16);
	icmp[24] = icmp[25] = 1;
	memcpy(icmp + 26, client_mac, 6);
	if (probe)
		memset(icmp + 24, 0, 8);
	put_be16(icmp + 2, (uint16_t)~csum_fold(csum_add(csum_pseudo(ip + 8, ip + 24, 16, 58, len), icmp, len)));
	return FTT_ND_ICMP + len;
}

static void put(const uint8_t *f, size_t n)
{
	CHECK_EQ(send(wire, f, n, 0), n);
}

/* The next ARP reply or advertisement for a service address seen by the client; false: none came in time. */
static bool next_answer(uint8_t f[256], size_t *n, int patience_ms)
{
	uint64_t until = ftt_now_ns() + (uint64_t)patience_ms * MS;

	for (;;) {
		struct pollfd fd = {.fd = wire, .events = POLLIN};
		struct sockaddr_ll from;
		socklen_t from_len = sizeof(from);
		uint64_t now = ftt_now_ns();
		struct ftt_arp a;
		struct ftt_nd nd;
		ssize_t got;

		if (now >= until || !poll(&fd, 1, (int)((until - now) / MS + 1)))
			return false;
		got = recvfrom(wire, f, 256, 0, (struct sockaddr *)&from, &from_len);
		if (got < 0 || from.sll_pkttype == PACKET_OUTGOING)
			continue;
		*n = (size_t)got;
		if (!ftt_arp_parse(f, *n, &a) && a.operation == FTT_ARP_REPLY)
			return true;
		if (!ftt_nd_parse(f, *n, &nd) && nd.type == FTT_ND_ADVERT && !memcmp(nd.target, service6, 16))
			return true;
	}
}

/* Sends the frame, again each 100 ms while the interface is still settling, until an answer comes. */
static void ask(const uint8_t *f, size_t n, uint8_t answer[256], size_t *answer_len)
{
	for (int i = 0; i < 100; i++) {
		(void)send(wire, f, n, 0);
		if (next_answer(answer, answer_len, 100))
			return;
	}
	CHECK(!"an answer within ten seconds");
}

static void check_answers_from(int nn)
{
	const uint8_t mac[6] = {2, 0, 0, 0, 1, (uint8_t)nn};
	uint8_t f[256], answer[256];
	struct ftt_arp a;
	struct ftt_nd nd;
	size_t n;

	do /* announcements may be under way */
		ask(f, arp(f, FTT_ARP_REQUEST, client_mac, client4, service4), answer, &n);
	while (answer[0] & 1 || ftt_arp_parse(answer, n, &a));
	CHECK(!memcmp(a.sender_mac, mac, 6) && !memcmp(a.sender, service4, 4) && !memcmp(a.target, client4, 4));
	CHECK(!memcmp(answer, client_mac, 6));
	while (next_answer(answer, &n, 0)) /* to repeated questions */
		;
	do
		ask(f, solicitation(f, false), answer, &n);
	while (answer[0] & 1 || ftt_nd_parse(answer, n, &nd));
	CHECK(!memcmp(nd.mac, mac, 6) && !memcmp(nd.dst, client6, 16));
	CHECK_EQ(nd.flags, FTT_ND_SOLICITED | FTT_ND_OVERRIDE);
	while (next_answer(answer, &n, 0))
		;
}

static void test_answers_under_the_lease_only(void)
{
	uint8_t f[256], answer[256];
	size_t n;

	hold_lease(false);
	put(f, arp(f, FTT_ARP_REQUEST, client_mac, client4, service4));
	put(f, solicitation(f, false));
	CHECK(!next_answer(answer, &n, QUIET_MS));
	hold_lease(true);
	check_answers_from(1);
	fake_set_mode(&e, FTT_MODE_BACKUP);
	put(f, arp(f, FTT_ARP_REQUEST, client_mac, client4, service4));
	put(f, solicitation(f, false));
	CHECK(!next_answer(answer, &n, QUIET_MS));
	hold_lease(true);
	put(f, arp(f, FTT_ARP_REQUEST, client_mac, client4, nobody4));
	CHECK(!next_answer(answer, &n, QUIET_MS));
}

/* Another group of the node has a lease of its own, comes and goes, and needs no thread. */
static void test_groups_are_answered_for_apart(void)
{
	static struct ftt_engine other;
	uint8_t f[256], question[256], answer[256];
	char err[200] = "";
	struct ftt_arp a;
	size_t n, len = arp(question, FTT_ARP_REQUEST, client_mac, client4, nobody4);

	strcpy(other.cfg.service_interface, "svc0");
	other.cfg.n_service_addrs = 1;
	memcpy(other.cfg.service_addr[0], e.cfg.service_addr[0], 12);
	memcpy(other.cfg.service_addr[0] + 12, nobody4, 4);
	fake_engine_init(&other);
	other.neigh = ftt_neigh_attach(node, &other, err, sizeof(err));
	CHECK(other.neigh);
	put(question, len);
	CHECK(!next_answer(answer, &n, QUIET_MS)); /* it has no lease, whatever the other has */
	atomic_store(&other.shared.lease_policy, FTT_LEASE_SELF);
	atomic_store(&other.shared.lease_until_ns, UINT64_MAX);
	fake_set_mode(&other, FTT_MODE_SOLO);
	ask(question, len, answer, &n);
	CHECK_EQ(ftt_arp_parse(answer, n, &a), FTT_NEIGH_OK);
	CHECK(!memcmp(a.sender, nobody4, 4) && !memcmp(a.target, client4, 4));
	CHECK_EQ(fake_counter(&other.counters_neigh.nd_answered), 0);
	hold_lease(false);
	put(f, arp(f, FTT_ARP_REQUEST, client_mac, client4, service4));
	CHECK(!next_answer(answer, &n, QUIET_MS));
	ask(question, len, answer, &n);
	hold_lease(true);
	check_answers_from(1);
	CHECK_EQ(fake_threads_named("ftt-neigh"), 1);
	ftt_neigh_detach(other.neigh);
	put(question, len);
	CHECK(!next_answer(answer, &n, QUIET_MS));
	check_answers_from(1);
	fake_engine_free(&other);
}

static void test_probes_are_answered(void)
{
	static const uint8_t nobody[4] = {0};
	uint8_t f[256], answer[256];
	struct ftt_arp a;
	struct ftt_nd nd;
	size_t n;

	ask(f, arp(f, FTT_ARP_REQUEST, client_mac, nobody, service4), answer, &n);
	CHECK_EQ(ftt_arp_parse(answer, n, &a), FTT_NEIGH_OK);
	CHECK(!memcmp(a.sender, service4, 4) && ftt_all_zero(a.target, 4));
	ask(f, solicitation(f, true), answer, &n);
	CHECK_EQ(ftt_nd_parse(answer, n, &nd), FTT_NEIGH_OK);
	CHECK_EQ(nd.flags, FTT_ND_OVERRIDE);
	CHECK_EQ(nd.dst[0], 0xff);
}

static struct ftt_event wait_claimed(const uint8_t addr[4], uint64_t mac, uint32_t held)
{
	struct ftt_event ev = fake_wait(&e, FTT_EV_CLAIMED);

	CHECK(!memcmp(ev.key.local + 12, addr, 4));
	CHECK_EQ(ev.value, mac);
	CHECK_EQ(ev.reason, held);
	return ev;
}

/*
 * Others' claims to the address: told, never answered, never followed; counted and answered by one
 * announcement in ten seconds while we hold the lease.
 */
static void test_claims_of_others_are_refused(void)
{
	uint64_t *refused = &e.counters_neigh.neighbour_refused;
	struct ftt_nd asked = {.probe = true};
	uint8_t f[256], answer[256];
	size_t n;

	CHECK_EQ(fake_counter(refused), 0);
	hold_lease(false);
	put(f, arp(f, FTT_ARP_REPLY, other_mac, service4, service4));
	wait_claimed(service4, 0x02000000000b, 0);
	CHECK(!next_answer(answer, &n, QUIET_MS));
	CHECK_EQ(fake_counter(refused), 0);
	hold_lease(true);
	put(f, arp(f, FTT_ARP_REQUEST, other_mac, other4, other4));
	wait_claimed(other4, 0x02000000000b, 1);
	CHECK_EQ(fake_wait(&e, FTT_EV_ANNOUNCED).value, 5);
	while (next_answer(answer, &n, QUIET_MS))
		;
	put(f, arp(f, FTT_ARP_REPLY, other_mac, other4, other4));
	CHECK(!next_answer(answer, &n, QUIET_MS)); /* neither told nor fought again so soon */
	CHECK_EQ(fake_counter(refused), 2);
	memcpy(asked.target, service6, 16);
	put(f, ftt_nd_reply(f, other_mac, &asked));
	CHECK(!memcmp(fake_wait(&e, FTT_EV_CLAIMED).key.local, service6, 16));
	CHECK_EQ(fake_wait(&e, FTT_EV_ANNOUNCED).value, 5); /* of another address that is another matter */
	while (next_answer(answer, &n, QUIET_MS))
		;
	CHECK_EQ(fake_counter(refused), 3);
	CHECK_EQ(fake_counter(&e.counters_neigh.neighbour_defended), 2);
	CHECK_EQ(fake_drain(&e, FTT_EV_ANNOUNCED), 0);
}

/* Another interface of this host on the same network is nobody else; who claimed long ago is told again. */
static void test_our_own_interfaces_claim_nothing(void)
{
	static const uint8_t own[6] = {2, 0, 0, 0, 2, 1};
	int claimed = fake_posted(&e, FTT_EV_CLAIMED);
	uint8_t f[256];

	run("ip link add mgmt0 address 02:00:00:00:02:01 type dummy 2>/dev/null || "
	    "ip link add mgmt0 address 02:00:00:00:02:01 type veth peer name mgmt1");
	fake_suspend(11000 * MS);
	CHECK_EQ(fake_drain(&e, FTT_EV_CLAIMED), 0);
	put(f, arp(f, FTT_ARP_REPLY, own, service4, service4));
	put(f, arp(f, FTT_ARP_REPLY, other_mac, service4, service4));
	wait_claimed(service4, 0x02000000000b, 1);
	CHECK_EQ(fake_wait(&e, FTT_EV_ANNOUNCED).value, 5);
	CHECK_EQ(fake_posted(&e, FTT_EV_CLAIMED), claimed + 1);
	while (next_answer(f, &(size_t){0}, QUIET_MS))
		;
}

/* What is made up is told in part; what comes a moment after another claim is told. */
static void test_many_claims_are_told_in_part(void)
{
	uint8_t f[256], made_up[6] = {2, 0, 0, 0, 3};
	int claimed = fake_posted(&e, FTT_EV_CLAIMED), told;

	fake_suspend(11000 * MS);
	put(f, arp(f, FTT_ARP_REPLY, client_mac, service4, service4));
	put(f, arp(f, FTT_ARP_REPLY, other_mac, service4, service4));
	wait_claimed(service4, 0x02000000000a, 1);
	wait_claimed(service4, 0x02000000000b, 1);
	for (int i = 0; i < 100; i++) {
		made_up[5] = (uint8_t)i;
		put(f, arp(f, FTT_ARP_REPLY, made_up, service4, service4));
	}
	put(f, solicitation(f, true)); /* answered when the claims before it have been read, or most of them */
	while (next_answer(f, &(size_t){0}, QUIET_MS))
		;
	told = fake_posted(&e, FTT_EV_CLAIMED) - claimed;
	CHECK(told >= 16 && told < 64);
	fake_drain(&e, FTT_EV_CLAIMED);
	fake_drain(&e, FTT_EV_ANNOUNCED);
}

/* A quiet station that has the address: the holder of the lease asks now and then. */
static void test_the_holder_looks_for_others(void)
{
	uint64_t until = ftt_now_ns() + 30000 * MS;
	bool asked4 = false, asked6 = false;

	fake_suspend(11000 * MS);
	hold_lease(true);
	ftt_neigh_announce(e.neigh, 1, MS); /* wakes the thread, whose timer knows nothing of our suspension */
	while ((!asked4 || !asked6) && ftt_now_ns() < until) {
		uint8_t f[256];
		ssize_t got = recv(wire, f, sizeof(f), 0);
		struct ftt_arp a;
		struct ftt_nd nd;

		if (got > 0 && !ftt_arp_parse(f, (size_t)got, &a))
			asked4 |= ftt_all_zero(a.sender, 4) && !memcmp(a.target, service4, 4);
		else if (got > 0 && !ftt_nd_parse(f, (size_t)got, &nd))
			asked6 |= nd.probe && !memcmp(nd.target, service6, 16);
	}
	CHECK(asked4 && asked6);
	CHECK_EQ(fake_wait(&e, FTT_EV_ANNOUNCED).value, 5);
}

/* The next frame of ours that announces or asks a neighbour; its kind: A, R (ARP request, reply), N, S (ND). */
static char next_announced(uint8_t f[256], size_t *n, int patience_ms)
{
	uint64_t until = ftt_now_ns() + (uint64_t)patience_ms * MS;

	for (;;) {
		struct pollfd fd = {.fd = wire, .events = POLLIN};
		uint64_t now = ftt_now_ns();
		struct ftt_arp a;
		struct ftt_nd nd;
		ssize_t got;

		if (now >= until || !poll(&fd, 1, (int)((until - now) / MS + 1)))
			return 0;
		got = recv(wire, f, 256, 0);
		if (got < 0)
			continue;
		*n = (size_t)got;
		if (!ftt_arp_parse(f, *n, &a) && (!memcmp(a.sender, service4, 4) || !memcmp(a.sender, other4, 4)))
			return a.operation == FTT_ARP_REQUEST ? 'A' : 'R';
		if (!ftt_nd_parse(f, *n, &nd) && !memcmp(nd.src, service6, 16))
			return nd.type == FTT_ND_SOLICIT ? 'S' : 'N';
	}
}

static void expect_announced(const char *kinds)
{
	uint8_t f[256];
	size_t n;

	for (; *kinds; kinds++)
		CHECK_EQ(next_announced(f, &n, 10000), *kinds);
}

/* The client is told by itself: by a question for its own address, from ours. */
static void expect_asked4(const uint8_t from[4], int nn)
{
	const uint8_t mac[6] = {2, 0, 0, 0, 1, (uint8_t)nn};
	uint8_t f[256];
	struct ftt_arp a;
	size_t n;

	CHECK_EQ(next_announced(f, &n, 10000), 'A');
	CHECK(!ftt_arp_parse(f, n, &a) && !memcmp(f, client_mac, 6) && !memcmp(a.sender, from, 4));
	CHECK(!memcmp(a.sender_mac, mac, 6) && !memcmp(a.target, client4, 4) && ftt_all_zero(a.target_mac, 6));
}

static void expect_asked6(int nn)
{
	const uint8_t mac[6] = {2, 0, 0, 0, 1, (uint8_t)nn};
	uint8_t f[256];
	struct ftt_nd nd;
	size_t n;

	CHECK_EQ(next_announced(f, &n, 10000), 'S');
	CHECK(!ftt_nd_parse(f, n, &nd) && !memcmp(f, client_mac, 6) && !nd.probe && n == FTT_ND_REPLY_FRAME);
	CHECK(!memcmp(nd.mac, mac, 6) && !memcmp(nd.target, client6, 16) && !memcmp(nd.dst, client6, 16));
}

/* Those that have asked are known by now: test_answers_under_the_lease_only. */
static void test_announcements(void)
{
	const uint64_t interval = 50 * MS;
	uint64_t before, first_ns;
	uint8_t f[256];
	size_t n;

	hold_lease(false);
	before = fake_counter(&e.counters_neigh.announcements);
	ftt_neigh_announce(e.neigh, 1, interval);
	CHECK_EQ(fake_wait(&e, FTT_EV_ANNOUNCED).value, 0);
	CHECK(!next_announced(f, &n, QUIET_MS));
	hold_lease(true);
	first_ns = ftt_now_ns();
	ftt_neigh_announce(e.neigh, 3, interval);
	CHECK_EQ(fake_wait(&e, FTT_EV_ANNOUNCED).value, 5);
	for (int i = 0; i < 3; i++) {
		expect_announced("ARNAR");
		expect_asked4(service4, 1);
		expect_asked4(other4, 1);
		expect_asked6(1);
	}
	CHECK(ftt_now_ns() - first_ns >= 2 * interval);
	CHECK(!next_announced(f, &n, QUIET_MS));
	CHECK_EQ(fake_counter(&e.counters_neigh.announcements), before + 3 * 8);
	CHECK_EQ(fake_drain(&e, FTT_EV_ANNOUNCED), 0);
}

/* Those that the owner knows of, as many as there may be, once each; one that has asked is not told twice. */
static void test_known_neighbours_are_told(void)
{
	static struct ftt_neighbour known[FTT_MAX_NEIGHBOURS + 1];
	uint8_t f[256];
	size_t n;
	int told = 0;

	for (uint32_t i = 0; i <= FTT_MAX_NEIGHBOURS; i++) {
		known[i] = (struct ftt_neighbour){.addr = {[10] = 0xff, [11] = 0xff, 10, 77, (uint8_t)(i >> 8), (uint8_t)i},
						  .mac = {2, 0, 0, 0, 0, 0x0a}};
	}
	memcpy(known[0].addr + 12, client4, 4);
	ftt_neigh_set_known(e.neigh, known, FTT_MAX_NEIGHBOURS + 1);
	ftt_neigh_announce(e.neigh, 1, MS);
	CHECK_EQ(fake_wait(&e, FTT_EV_ANNOUNCED).value, 5);
	expect_announced("ARNAR");
	for (char kind; (kind = next_announced(f, &n, QUIET_MS)) == 'A' || kind == 'S';)
		told++;
	/* 10.77.0.10 is in the list again, as the eleventh; the client has asked over IPv6, too */
	CHECK_EQ(told, 2 * (FTT_MAX_NEIGHBOURS - 1) + 1);
	ftt_neigh_set_known(e.neigh, NULL, 0);
}

static void test_interface_changes_are_survived(void)
{
	uint8_t f[256];
	size_t n;

	run("ip link set svc0 down");
	ftt_neigh_announce(e.neigh, 1, MS);
	CHECK_EQ(fake_wait(&e, FTT_EV_ANNOUNCED).value, 0);
	run("ip link set svc0 up");
	check_answers_from(1);
	while (next_answer(f, &n, QUIET_MS))
		;
	fake_drain(&e, FTT_EV_ANNOUNCED);
	run("ip link set svc0 address 02:00:00:00:01:02");
	CHECK_EQ(fake_wait(&e, FTT_EV_MAC_CHANGED).value, 0x020000000102);
	CHECK_EQ(fake_wait(&e, FTT_EV_ANNOUNCED).value, 5);
	expect_announced("ARNAR");
	expect_asked4(service4, 2);
	check_answers_from(2);
	run("ip link del svc0");
	ftt_neigh_announce(e.neigh, 1, MS);
	CHECK_EQ(fake_wait(&e, FTT_EV_ANNOUNCED).value, 0);
	plug_in(3);
	check_answers_from(3);
	while (next_announced(f, &n, QUIET_MS)) /* all rounds */
		;
	CHECK_EQ(fake_posted(&e, FTT_EV_ERROR), 0);
	fake_drain(&e, FTT_EV_ANNOUNCED);
}

/* What the kernel says when a bond uses another cable, or a machine was moved: the MAC address stays. */
static void test_the_kernels_wish_is_heard(void)
{
	struct {
		struct nlmsghdr head;
		struct ifinfomsg link;
		struct rtattr attribute;
		uint32_t why;
	} m = {.head = {.nlmsg_len = sizeof(m), .nlmsg_type = RTM_NEWLINK},
	       .link = {.ifi_index = 7},
	       .attribute = {.rta_len = RTA_LENGTH(4), .rta_type = IFLA_EVENT},
	       .why = IFLA_EVENT_NOTIFY_PEERS};

	CHECK(ftt_neigh_wants_notice((uint8_t *)&m, sizeof(m), 7));
	CHECK(!ftt_neigh_wants_notice((uint8_t *)&m, sizeof(m), 8));
	CHECK(!ftt_neigh_wants_notice((uint8_t *)&m, sizeof(m) - 1, 7));
	m.why = IFLA_EVENT_FEATURES;
	CHECK(!ftt_neigh_wants_notice((uint8_t *)&m, sizeof(m), 7));
	m.why = IFLA_EVENT_BONDING_FAILOVER;
	CHECK(ftt_neigh_wants_notice((uint8_t *)&m, sizeof(m), 7));
	m.attribute.rta_len = 200;
	CHECK(!ftt_neigh_wants_notice((uint8_t *)&m, sizeof(m), 7));
	m.head.nlmsg_type = RTM_DELLINK;
	CHECK(!ftt_neigh_wants_notice((uint8_t *)&m, sizeof(m), 7));
}

/* The kernel joined ff02::1:ff00:100 on svc0, and so reports it to switches that snoop. */
static void test_solicited_node_group_is_joined(void)
{
	CHECK(!system("ip -6 maddr show dev svc0 | grep -q ff02::1:ff00:100"));
}

static void test_wrong_interfaces_are_told(void)
{
	static struct ftt_engine wrong;
	char err[200];

	strcpy(wrong.cfg.service_interface, "absent0");
	CHECK(!ftt_neigh_attach(node, &wrong, err, sizeof(err)));
	CHECK(strstr(err, "absent0") && strstr(err, "No such device"));
	strcpy(wrong.cfg.service_interface, "lo");
	CHECK(!ftt_neigh_attach(node, &wrong, err, sizeof(err)));
	CHECK(strstr(err, "not an Ethernet interface"));
}

int main(void)
{
	char err[200];

	if (!fake_private_network() || system("ip link show lo >/dev/null 2>&1")) {
		fprintf(stderr, "needs iproute2 and a network namespace of its own: run as root, or allow user namespaces\n");
		return SKIPPED;
	}
	node = ftt_neighbours_open(err, sizeof(err));
	CHECK(node);
	test_wrong_interfaces_are_told();
	plug_in(1);
	start();
	test_answers_under_the_lease_only();
	test_groups_are_answered_for_apart();
	test_probes_are_answered();
	test_claims_of_others_are_refused();
	test_solicited_node_group_is_joined();
	test_announcements();
	test_known_neighbours_are_told();
	test_the_kernels_wish_is_heard();
	test_interface_changes_are_survived();
	test_solicited_node_group_is_joined();
	test_our_own_interfaces_claim_nothing(); /* timers that run when the clock jumps are late from here on */
	test_the_holder_looks_for_others();
	test_many_claims_are_told_in_part();
	ftt_neigh_detach(e.neigh);
	ftt_neighbours_close(node);
	fake_engine_free(&e);
	close(wire);
	return 0;
}
