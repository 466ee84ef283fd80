/* SPDX-License-Identifier: Apache-2.0 */
/* neigh_rig.c - see neigh_rig.h. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>
#include "neigh_rig.h"

struct ftt_engine e;
struct ftt_neighbours *node;
int wire = -1;

bool open_neighbours(void)
{
	char err[200];

	if (!fake_private_network() || system("ip link show lo >/dev/null 2>&1")) {
		fprintf(stderr, "needs iproute2 and a network namespace of its own: run as root, or allow user namespaces\n");
		return false;
	}
	node = ftt_neighbours_open(err, sizeof(err));
	CHECK(node);
	return true;
}

void close_neighbours(void)
{
	ftt_neigh_detach(e.neigh);
	ftt_neighbours_close(node);
	fake_engine_free(&e);
	close(wire);
}

void run(const char *command)
{
	if (system(command)) {
		fprintf(stderr, "failed: %s\n", command);
		exit(1);
	}
}

void plug_in(int nn)
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

void start(void)
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

void hold_lease(bool held)
{
	atomic_store(&e.shared.lease_policy, FTT_LEASE_SELF);
	atomic_store(&e.shared.lease_until_ns, held ? UINT64_MAX : 0);
	fake_set_mode(&e, FTT_MODE_SOLO);
}

size_t arp(uint8_t *f, uint16_t operation, const uint8_t mac[6], const uint8_t sender[4],
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

static size_t solicitation_of(uint8_t *f, bool probe, const uint8_t mac[6])
{
	uint8_t *ip = f + FTT_ETH_HEADER, *icmp = f + FTT_ND_ICMP;
	uint32_t len = probe ? FTT_ND_MIN : FTT_ND_MIN + 8;

	memset(f, 0, FTT_ND_REPLY_FRAME);
	ftt_nd_solicited_node(service6, ip + 24);
	ftt_nd_group_mac(ip + 24, f);
	memcpy(f + 6, mac, 6);
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
	memcpy(icmp + 26, mac, 6);
	if (probe)
		memset(icmp + 24, 0, 8);
	put_be16(icmp + 2, (uint16_t)~csum_fold(csum_add(csum_pseudo(ip + 8, ip + 24, 16, 58, len), icmp, len)));
	return FTT_ND_ICMP + len;
}

size_t solicitation(uint8_t *f, bool probe)
{
	return solicitation_of(f, probe, client_mac);
}

void put(const uint8_t *f, size_t n)
{
	CHECK_EQ(send(wire, f, n, 0), n);
}

bool next_answer(uint8_t f[256], size_t *n, int patience_ms)
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

void ask(const uint8_t *f, size_t n, uint8_t answer[256], size_t *answer_len)
{
	for (int i = 0; i < 100; i++) {
		(void)send(wire, f, n, 0);
		if (next_answer(answer, answer_len, 100))
			return;
	}
	CHECK(!"an answer within ten seconds");
}

/* The next advertisement to that station alone. */
static void await_advert(const uint8_t mac[6])
{
	uint8_t f[256];
	struct ftt_nd nd;
	size_t n;

	do
		CHECK(next_answer(f, &n, PATIENCE_MS));
	while (ftt_nd_parse(f, n, &nd) || memcmp(f, mac, 6));
}

/* A question that nothing else asks is answered last. The client's own one has the node know its station again. */
void await_read(void)
{
	static const uint8_t last_mac[6] = {2, 0, 0, 0, 0, 0x0f};
	uint8_t f[256];
	struct ftt_arp a;
	size_t n;

	put(f, arp(f, FTT_ARP_REQUEST, client_mac, client4, other4));
	do
		CHECK(next_answer(f, &n, PATIENCE_MS));
	while (ftt_arp_parse(f, n, &a) || memcmp(f, client_mac, 6) || memcmp(a.sender, other4, 4));
	put(f, solicitation_of(f, false, last_mac));
	await_advert(last_mac);
	put(f, solicitation(f, false));
	await_advert(client_mac);
}

void check_answers_from(int nn)
{
	const uint8_t mac[6] = {2, 0, 0, 0, 1, (uint8_t)nn};
	uint8_t f[256], answer[256];
	struct ftt_arp a;
	struct ftt_nd nd;
	size_t n;

	do /* announcements may be under way, and more answers to questions about another address */
		ask(f, arp(f, FTT_ARP_REQUEST, client_mac, client4, service4), answer, &n);
	while (answer[0] & 1 || ftt_arp_parse(answer, n, &a) || memcmp(a.sender, service4, 4));
	CHECK(!memcmp(a.sender_mac, mac, 6) && !memcmp(a.target, client4, 4));
	CHECK(!memcmp(answer, client_mac, 6));
	do
		ask(f, solicitation(f, false), answer, &n);
	while (answer[0] & 1 || ftt_nd_parse(answer, n, &nd));
	CHECK(!memcmp(nd.mac, mac, 6) && !memcmp(nd.dst, client6, 16));
	CHECK_EQ(nd.flags, FTT_ND_SOLICITED | FTT_ND_OVERRIDE);
	await_read(); /* repeated questions are answered, too */
}
