/* SPDX-License-Identifier: Apache-2.0 */
/* The neighbour thread on a real interface: what it answers, and whom it tells where the service is. */
#define _GNU_SOURCE
#include <poll.h>
#include <string.h>
#include <arpa/inet.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <unistd.h>
#include "neigh_rig.h"

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

/* One more group of the node, with this address. */
static void attach(struct ftt_engine *other, const uint8_t addr4[4])
{
	char err[200] = "";

	strcpy(other->cfg.service_interface, "svc0");
	other->cfg.n_service_addrs = 1;
	memcpy(other->cfg.service_addr[0], e.cfg.service_addr[0], 12);
	memcpy(other->cfg.service_addr[0] + 12, addr4, 4);
	fake_engine_init(other);
	other->neigh = ftt_neigh_attach(node, other, err, sizeof(err));
	CHECK(other->neigh);
}

/* Another group of the node has a lease of its own, comes and goes, and needs no thread. */
static void test_groups_are_answered_for_apart(void)
{
	static struct ftt_engine other;
	uint8_t f[256], question[256], answer[256];
	struct ftt_arp a;
	size_t n, len = arp(question, FTT_ARP_REQUEST, client_mac, client4, nobody4);

	attach(&other, nobody4);
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

/* A group with a MAC address of its own answers from that, whatever the interface's is; the interface takes what comes for it. */
static void test_a_group_may_have_its_own_mac_address(void)
{
	static const uint8_t own[6] = {2, 0x11, 0x22, 0x33, 0x44, 0x55};
	static struct ftt_engine other;
	uint8_t question[256], answer[256];
	size_t n, len = arp(question, FTT_ARP_REQUEST, client_mac, client4, nobody4);
	struct ftt_arp a;

	memcpy(other.cfg.service_mac, own, 6);
	attach(&other, nobody4);
	atomic_store(&other.shared.lease_policy, FTT_LEASE_SELF);
	atomic_store(&other.shared.lease_until_ns, UINT64_MAX);
	fake_set_mode(&other, FTT_MODE_SOLO);
	ask(question, len, answer, &n);
	CHECK_EQ(ftt_arp_parse(answer, n, &a), FTT_NEIGH_OK);
	CHECK(!memcmp(a.sender_mac, own, 6) && !memcmp(answer + 6, own, 6));
	check_answers_from(1); /* the other group, as ever */
	run("ip link set svc0 down && ip link set svc0 address 02:00:00:00:01:07 && ip link set svc0 up");
	do /* the other group announces itself */
		ask(question, len, answer, &n);
	while (ftt_arp_parse(answer, n, &a) || memcmp(a.sender, nobody4, 4));
	CHECK(!memcmp(a.sender_mac, own, 6) && !memcmp(answer + 6, own, 6));
	check_answers_from(7);
	CHECK_EQ(fake_posted(&other, FTT_EV_MAC_CHANGED), 0);
	run("ip link set svc0 address 02:00:00:00:01:01");
	CHECK_EQ(fake_wait(&e, FTT_EV_MAC_CHANGED).value, 0x020000000107);
	CHECK_EQ(fake_wait(&e, FTT_EV_MAC_CHANGED).value, 0x020000000101);
	check_answers_from(1);
	ftt_neigh_detach(other.neigh);
	fake_engine_free(&other);
	while (next_answer(answer, &n, QUIET_MS)) /* all rounds */
		;
	fake_drain(&e, FTT_EV_ANNOUNCED);
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

static uint8_t speaker = 1; /* the last octet of our MAC address; what is late comes from an older one */

/* The next frame that we sent. */
static bool next_frame(uint8_t f[256], size_t *n, int patience_ms)
{
	uint64_t until = ftt_now_ns() + (uint64_t)patience_ms * MS;

	for (;;) {
		struct pollfd fd = {.fd = wire, .events = POLLIN};
		uint64_t now = ftt_now_ns();
		ssize_t got;

		if (now >= until || !poll(&fd, 1, (int)((until - now) / MS + 1)))
			return false;
		got = recv(wire, f, 256, 0);
		if (got < 12 || f[11] != speaker)
			continue;
		*n = (size_t)got;
		return true;
	}
}

/* The next frame of ours that announces or asks a neighbour; its kind: A, R (ARP request, reply), N, S (ND). */
static char next_announced(uint8_t f[256], size_t *n, int patience_ms)
{
	struct ftt_arp a;
	struct ftt_nd nd;

	for (;;) {
		if (!next_frame(f, n, patience_ms))
			return 0;
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

/* Groups of a node are no neighbours of each other: with fifty of them, each would tell forty-nine. */
static void test_groups_do_not_tell_each_other(void)
{
	static struct ftt_engine other;
	uint8_t f[256];
	size_t n;

	attach(&other, nobody4);
	put(f, arp(f, FTT_ARP_REQUEST, other_mac, nobody4, service4)); /* a peer that owns it now */
	await_read();
	ftt_neigh_announce(e.neigh, 1, MS);
	CHECK_EQ(fake_wait(&e, FTT_EV_ANNOUNCED).value, 5);
	expect_announced("ARNAR");
	expect_asked4(service4, 1);
	expect_asked4(other4, 1);
	expect_asked6(1);
	CHECK(!next_announced(f, &n, QUIET_MS));
	ftt_neigh_detach(other.neigh);
	fake_engine_free(&other);
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

static void await_refreshes(uint32_t more)
{
	uint64_t until = fake_counter(&e.counters_neigh.announce_refreshes) + more;
	uint8_t f[256];
	size_t n;

	while (fake_counter(&e.counters_neigh.announce_refreshes) < until)
		CHECK(next_announced(f, &n, PATIENCE_MS));
}

/* Again and again, as long as the lease is held and nobody has switched it off; nothing is told of it. */
static void test_the_holder_announces_itself_again(void)
{
	uint64_t *refreshes = &e.counters_neigh.announce_refreshes, told = fake_counter(&e.counters_neigh.neighbours_told);
	uint64_t before = ftt_now_ns();
	uint8_t f[256];
	size_t n;

	ftt_neigh_refresh(e.neigh, 50 * MS);
	for (int i = 0; i < 3; i++) {
		expect_announced("ARNAR");
		expect_asked4(service4, 1);
		expect_asked4(other4, 1);
		expect_asked6(1);
	}
	CHECK(ftt_now_ns() - before >= 2 * 50 * MS);
	await_refreshes(1); /* what was sent is counted */
	CHECK(fake_counter(refreshes) >= 3 && fake_counter(&e.counters_neigh.neighbours_told) >= told + 3 * 3);
	hold_lease(false);
	while (next_announced(f, &n, QUIET_MS)) /* what was under way */
		;
	told = fake_counter(refreshes);
	CHECK(!next_announced(f, &n, QUIET_MS));
	CHECK_EQ(fake_counter(refreshes), told);
	hold_lease(true);
	expect_announced("ARNAR");
	ftt_neigh_refresh(e.neigh, 0);
	while (next_announced(f, &n, QUIET_MS))
		;
	CHECK(!next_announced(f, &n, QUIET_MS));
	CHECK_EQ(fake_drain(&e, FTT_EV_ANNOUNCED), 0);
}

/* Who is known may have left: some minutes after a takeover refreshes tell all stations together only. */
static void test_refreshes_end_for_neighbours_by_themselves(void)
{
	uint64_t told;
	uint8_t f[256];
	size_t n;

	ftt_neigh_refresh(e.neigh, 50 * MS);
	pthread_mutex_lock(&node->turn);
	e.neigh->rounds.first_ns -= 10 * 60 * 1000 * MS;
	pthread_mutex_unlock(&node->turn);
	await_refreshes(2); /* what was under way has ended */
	told = fake_counter(&e.counters_neigh.neighbours_told);
	await_refreshes(3);
	CHECK_EQ(fake_counter(&e.counters_neigh.neighbours_told), told);
	ftt_neigh_refresh(e.neigh, 0);
	while (next_announced(f, &n, QUIET_MS))
		;
	ftt_neigh_announce(e.neigh, 1, MS);
	CHECK_EQ(fake_wait(&e, FTT_EV_ANNOUNCED).value, 5);
	expect_announced("ARNAR");
	expect_asked4(service4, 1);
	expect_asked4(other4, 1);
	expect_asked6(1);
}

static uint64_t told_by(const struct ftt_engine *engines, int n)
{
	uint64_t sum = 0;

	for (int g = 0; g < n; g++)
		sum += fake_counter(&engines[g].counters_neigh.neighbours_told);
	return sum;
}

/* All groups of a node together: each address at once, neighbours by themselves 32 in a millisecond. The thread waits meanwhile. */
static void test_many_groups_make_no_burst(void)
{
	enum { GROUPS = 8, ALL = GROUPS * FTT_MAX_NEIGHBOURS };
	static struct ftt_neighbour known[FTT_MAX_NEIGHBOURS];
	static struct ftt_engine other[GROUPS];
	uint64_t now;

	for (uint32_t i = 0; i < FTT_MAX_NEIGHBOURS; i++)
		known[i] = (struct ftt_neighbour){.addr = {[10] = 0xff, [11] = 0xff, 10, 77, 1, (uint8_t)i}, .mac = {2, 0, 0, 0, 0, 0x0a}};
	for (int g = 0; g < GROUPS; g++) {
		attach(&other[g], (const uint8_t[]){10, 77, 2, (uint8_t)g});
		atomic_store(&other[g].shared.lease_policy, FTT_LEASE_SELF);
		atomic_store(&other[g].shared.lease_until_ns, UINT64_MAX);
		fake_set_mode(&other[g], FTT_MODE_SOLO);
		ftt_neigh_set_known(other[g].neigh, known, FTT_MAX_NEIGHBOURS);
	}
	pthread_mutex_lock(&node->turn);
	now = ftt_now_ns();
	for (int g = 0; g < GROUPS; g++) {
		ftt_neigh_announce(other[g].neigh, 1, MS);
		ftt_neigh_announce_if_due(other[g].neigh, now);
		CHECK_EQ(fake_wait(&other[g], FTT_EV_ANNOUNCED).value, 2);
	}
	CHECK_EQ(told_by(other, GROUPS), 0);
	for (int step = 1; step <= ALL / 32; step++, now += MS) {
		ftt_neigh_step(node, now);
		ftt_neigh_step(node, now + MS - 1);
		CHECK_EQ(told_by(other, GROUPS), 32 * step);
	}
	ftt_neigh_step(node, now);
	pthread_mutex_unlock(&node->turn);
	CHECK_EQ(told_by(other, GROUPS), ALL);
	for (int g = 0; g < GROUPS; g++) {
		ftt_neigh_detach(other[g].neigh);
		fake_engine_free(&other[g]);
	}
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
	speaker = 2;
	run("ip link set svc0 address 02:00:00:00:01:02");
	CHECK_EQ(fake_wait(&e, FTT_EV_MAC_CHANGED).value, 0x020000000102);
	CHECK_EQ(fake_wait(&e, FTT_EV_ANNOUNCED).value, 5);
	expect_announced("ARNAR");
	expect_asked4(service4, 2);
	check_answers_from(2);
	run("ip link del svc0");
	ftt_neigh_announce(e.neigh, 1, MS);
	CHECK_EQ(fake_wait(&e, FTT_EV_ANNOUNCED).value, 0);
	speaker = 3;
	plug_in(3);
	check_answers_from(3);
	while (next_announced(f, &n, QUIET_MS)) /* all rounds */
		;
	CHECK_EQ(fake_posted(&e, FTT_EV_ERROR), 0);
	fake_drain(&e, FTT_EV_ANNOUNCED);
}

/* The call itself tells neighbours; the thread answers there next, and in the rounds that follow. */
static void test_the_service_moves_to_another_interface(void)
{
	struct sockaddr_ll where = {.sll_family = AF_PACKET, .sll_protocol = htons(0x0003)};
	const char svc1[IF_NAMESIZE] = "svc1", absent[IF_NAMESIZE] = "absent0", loopback[IF_NAMESIZE] = "lo";
	int before = wire;

	run("ip link add svc1 address 02:00:00:00:01:04 type veth peer name client1 && ip link set client1 up && "
	    "ip link set svc1 up && until ip link show svc1 | grep -q 'state UP'; do sleep 0.01; done");
	wire = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	where.sll_ifindex = (int)if_nametoindex("client1");
	CHECK(!bind(wire, (struct sockaddr *)&where, sizeof(where)));
	fake_drain(&e, FTT_EV_ANNOUNCED);
	speaker = 4;
	ftt_neigh_use_interface(e.neigh, svc1);
	CHECK_EQ(fake_wait(&e, FTT_EV_ANNOUNCED).value, 5);
	CHECK_EQ(fake_wait(&e, FTT_EV_MAC_CHANGED).value, 0x020000000104);
	expect_announced("ARNAR");
	check_answers_from(4);
	ftt_neigh_use_interface(e.neigh, absent);
	ftt_neigh_use_interface(e.neigh, svc1);
	check_answers_from(4);
	CHECK_EQ(fake_drain(&e, FTT_EV_ADAPTER_FAILED), 0);
	ftt_neigh_use_interface(e.neigh, loopback);
	CHECK_EQ(fake_wait(&e, FTT_EV_ADAPTER_FAILED).value, EPROTOTYPE);
	run("ip link set svc1 mtu 1400"); /* it is looked at again, and told no more */
	ftt_neigh_use_interface(e.neigh, svc1);
	check_answers_from(4);
	CHECK_EQ(fake_drain(&e, FTT_EV_ADAPTER_FAILED), 0);
	close(before);
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
	if (!open_neighbours())
		return SKIPPED;
	test_wrong_interfaces_are_told();
	plug_in(1);
	start();
	test_answers_under_the_lease_only();
	test_groups_are_answered_for_apart();
	test_a_group_may_have_its_own_mac_address();
	test_probes_are_answered();
	test_solicited_node_group_is_joined();
	test_announcements();
	test_groups_do_not_tell_each_other();
	test_known_neighbours_are_told();
	test_the_holder_announces_itself_again();
	test_refreshes_end_for_neighbours_by_themselves();
	test_many_groups_make_no_burst();
	test_interface_changes_are_survived();
	test_solicited_node_group_is_joined();
	test_the_service_moves_to_another_interface();
	close_neighbours();
	return 0;
}
