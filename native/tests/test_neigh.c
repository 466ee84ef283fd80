/* SPDX-License-Identifier: Apache-2.0 */
/* ARP and neighbour discovery frames: what is refused and why, and the answers octet for octet. */
#include <string.h>
#include "check.h"
#include "core/records/neigh_wire.h"

static const uint8_t own_mac[6] = {2, 0, 0, 0, 0, 1};

/* "Who has 10.77.0.100? Tell 10.77.0.10", as Linux sends it. */
static const uint8_t arp_request[FTT_ARP_FRAME] = {
	0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 0x0a, 0x08, 0x06,
	0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, 0x0a, 10, 77, 0, 10, 0, 0, 0, 0, 0, 0, 10, 77, 0, 100};

/* Solicitation fd77::10 -> ff02::1:ff00:100 for fd77::100, with source link-layer address. */
static void make_solicitation(uint8_t f[FTT_ND_REPLY_FRAME])
{
	static const uint8_t head[FTT_ND_ICMP + FTT_ND_MIN + 8] = {
		0x33, 0x33, 0xff, 0, 1, 0, 2, 0, 0, 0, 0, 0x0a, 0x86, 0xdd,
		0x60, 0, 0, 0, 0, 32, 58, 255,
		0xfd, 0x77, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
		0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, 0, 1, 0,
		135, 0, 0, 0, 0, 0, 0, 0,
		0xfd, 0x77, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0,
		1, 1, 2, 0, 0, 0, 0, 0x0a};

	memcpy(f, head, sizeof(head));
}

/* Sets the length to that of a frame of n octets, and the checksum. */
static void seal(uint8_t *f, size_t n)
{
	uint8_t *ip = f + FTT_ETH_HEADER, *icmp = f + FTT_ND_ICMP;
	uint32_t len = (uint32_t)(n - FTT_ND_ICMP);

	put_be16(ip + 4, (uint16_t)len);
	put_be16(icmp + 2, 0);
	put_be16(icmp + 2, (uint16_t)~csum_fold(csum_add(csum_pseudo(ip + 8, ip + 24, 16, 58, len), icmp, len)));
}

static void test_arp_request_and_reply(void)
{
	static const uint8_t wanted[FTT_ARP_FRAME] = {
		2, 0, 0, 0, 0, 0x0a, 2, 0, 0, 0, 0, 1, 0x08, 0x06, 0, 1, 8, 0, 6, 4, 0, 2,
		2, 0, 0, 0, 0, 1, 10, 77, 0, 100, 2, 0, 0, 0, 0, 0x0a, 10, 77, 0, 10};
	uint8_t padded[60] = {0}, reply[FTT_ARP_FRAME];
	struct ftt_arp a;

	memcpy(padded, arp_request, sizeof(arp_request));
	CHECK_EQ(ftt_arp_parse(padded, sizeof(padded), &a), FTT_NEIGH_OK);
	CHECK_EQ(a.operation, FTT_ARP_REQUEST);
	CHECK_EQ(ftt_arp_reply(reply, own_mac, &a), sizeof(wanted));
	CHECK(!memcmp(reply, wanted, sizeof(wanted)));
	CHECK_EQ(ftt_arp_parse(reply, sizeof(reply), &a), FTT_NEIGH_OK);
	CHECK_EQ(a.operation, FTT_ARP_REPLY);
}

/* RFC 5227: sender 0.0.0.0. The answer goes to the prober's station, with target 0.0.0.0. */
static void test_arp_probe(void)
{
	uint8_t probe[FTT_ARP_FRAME], reply[FTT_ARP_FRAME];
	struct ftt_arp a;

	memcpy(probe, arp_request, sizeof(probe));
	memset(probe + 28, 0, 4);
	CHECK_EQ(ftt_arp_parse(probe, sizeof(probe), &a), FTT_NEIGH_OK);
	ftt_arp_reply(reply, own_mac, &a);
	CHECK(!memcmp(reply, probe + 6, 6));
	CHECK(ftt_all_zero(reply + 38, 4));
}

static void test_each_bad_arp_field_has_its_error(void)
{
	static const struct {
		int offset;
		uint8_t value;
		enum ftt_neigh_error error;
	} cases[] = {{12, 0x86, FTT_NEIGH_E_ETHERTYPE}, {15, 6, FTT_ARP_E_HARDWARE},   {16, 0x86, FTT_ARP_E_PROTOCOL},
		     {18, 8, FTT_ARP_E_LENGTHS},        {19, 16, FTT_ARP_E_LENGTHS},   {21, 0, FTT_ARP_E_OPERATION},
		     {21, 3, FTT_ARP_E_OPERATION},      {20, 1, FTT_ARP_E_OPERATION},  {22, 3, FTT_ARP_E_SENDER_MAC}};
	uint8_t bad[FTT_ARP_FRAME];
	struct ftt_arp a;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		memcpy(bad, arp_request, sizeof(bad));
		bad[cases[i].offset] = cases[i].value;
		CHECK_EQ(ftt_arp_parse(bad, sizeof(bad), &a), cases[i].error);
	}
	memcpy(bad, arp_request, sizeof(bad));
	memset(bad + 22, 0, 6);
	CHECK_EQ(ftt_arp_parse(bad, sizeof(bad), &a), FTT_ARP_E_SENDER_MAC);
	for (size_t n = 0; n < FTT_ARP_FRAME; n++)
		CHECK_EQ(ftt_arp_parse(arp_request, n, &a), FTT_NEIGH_E_SHORT);
}

static void test_solicitation_and_advertisement(void)
{
	uint8_t f[FTT_ND_REPLY_FRAME], reply[FTT_ND_REPLY_FRAME];
	struct ftt_nd nd, answer;

	make_solicitation(f);
	seal(f, sizeof(f));
	CHECK_EQ(get_be16(f + FTT_ND_ICMP + 2), 0x7a95); /* summed apart from this code */
	CHECK_EQ(ftt_nd_parse(f, sizeof(f), &nd), FTT_NEIGH_OK);
	CHECK_EQ(nd.type, FTT_ND_SOLICIT);
	CHECK(!nd.probe);
	CHECK(!memcmp(nd.mac, f + 6, 6));
	CHECK_EQ(ftt_nd_reply(reply, own_mac, &nd), sizeof(reply));
	CHECK(!memcmp(reply, f + 6, 6) && !memcmp(reply + 6, own_mac, 6));
	CHECK_EQ(ftt_nd_parse(reply, sizeof(reply), &answer), FTT_NEIGH_OK);
	CHECK_EQ(answer.type, FTT_ND_ADVERT);
	CHECK_EQ(answer.flags, FTT_ND_SOLICITED | FTT_ND_OVERRIDE);
	CHECK(!memcmp(answer.src, nd.target, 16) && !memcmp(answer.dst, nd.src, 16));
	CHECK(!memcmp(answer.target, nd.target, 16) && !memcmp(answer.mac, own_mac, 6));
	CHECK_EQ(reply[FTT_ETH_HEADER + 7], 255);
}

/* Without the option the answer goes to where the frame came from. */
static void test_solicitation_without_option(void)
{
	uint8_t f[FTT_ND_REPLY_FRAME];
	struct ftt_nd nd;

	make_solicitation(f);
	f[6 + 5] = 0x0b;
	seal(f, FTT_ND_ICMP + FTT_ND_MIN);
	CHECK_EQ(ftt_nd_parse(f, sizeof(f), &nd), FTT_NEIGH_OK); /* the frame is longer: padding */
	CHECK(!memcmp(nd.mac, f + 6, 6));
}

/* RFC 4862 duplicate detection: answered to all nodes, not solicited. */
static void test_probe(void)
{
	uint8_t f[FTT_ND_REPLY_FRAME], reply[FTT_ND_REPLY_FRAME];
	struct ftt_nd nd, answer;

	make_solicitation(f);
	memset(f + FTT_ETH_HEADER + 8, 0, 16);
	seal(f, sizeof(f));
	CHECK_EQ(ftt_nd_parse(f, sizeof(f), &nd), FTT_ND_E_PROBE_SOURCE);
	seal(f, FTT_ND_ICMP + FTT_ND_MIN);
	CHECK_EQ(ftt_nd_parse(f, FTT_ND_ICMP + FTT_ND_MIN, &nd), FTT_NEIGH_OK);
	CHECK(nd.probe);
	ftt_nd_reply(reply, own_mac, &nd);
	CHECK_EQ(ftt_nd_parse(reply, sizeof(reply), &answer), FTT_NEIGH_OK);
	CHECK_EQ(answer.flags, FTT_ND_OVERRIDE);
	CHECK_EQ(reply[0], 0x33);
	CHECK_EQ(reply[5], 1);
	CHECK_EQ(answer.dst[15], 1);
	memset(f + FTT_ETH_HEADER + 24, 0xfd, 16); /* a probe to an address that is no solicited-node group */
	seal(f, FTT_ND_ICMP + FTT_ND_MIN);
	CHECK_EQ(ftt_nd_parse(f, FTT_ND_ICMP + FTT_ND_MIN, &nd), FTT_ND_E_DESTINATION);
}

static void test_each_bad_nd_field_has_its_error(void)
{
	enum { IP = FTT_ETH_HEADER, ICMP = FTT_ND_ICMP };
	static const struct {
		int offset;
		uint8_t value;
		enum ftt_neigh_error error;
	} cases[] = {{12, 0x08, FTT_NEIGH_E_ETHERTYPE},   {IP, 0x40, FTT_ND_E_VERSION},
		     {IP + 6, 0, FTT_ND_E_NEXT_HEADER},   {IP + 7, 254, FTT_ND_E_HOP_LIMIT},
		     {IP + 8, 0xff, FTT_ND_E_SOURCE},     {ICMP, 133, FTT_ND_E_TYPE},
		     {ICMP + 1, 1, FTT_ND_E_CODE},        {ICMP + 8, 0xff, FTT_ND_E_TARGET},
		     {ICMP + 25, 0, FTT_ND_E_OPTION_ZERO}, {ICMP + 25, 2, FTT_ND_E_OPTION_LENGTH},
		     {ICMP + 25, 255, FTT_ND_E_OPTION_LENGTH}, {ICMP + 26, 3, FTT_ND_E_LINK_ADDRESS}};
	uint8_t f[FTT_ND_REPLY_FRAME];
	struct ftt_nd nd;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		make_solicitation(f);
		f[cases[i].offset] = cases[i].value;
		seal(f, sizeof(f));
		CHECK_EQ(ftt_nd_parse(f, sizeof(f), &nd), cases[i].error);
	}
	make_solicitation(f);
	seal(f, sizeof(f));
	for (size_t n = 0; n < sizeof(f); n++)
		CHECK_EQ(ftt_nd_parse(f, n, &nd), n < FTT_ND_ICMP + FTT_ND_MIN ? FTT_NEIGH_E_SHORT : FTT_ND_E_PAYLOAD);
	f[FTT_ND_ICMP + 3] ^= 1;
	CHECK_EQ(ftt_nd_parse(f, sizeof(f), &nd), FTT_ND_E_CHECKSUM);
	put_be16(f + FTT_ETH_HEADER + 4, FTT_ND_MIN - 1);
	CHECK_EQ(ftt_nd_parse(f, sizeof(f), &nd), FTT_ND_E_PAYLOAD);
	seal(f, sizeof(f) - 7); /* one octet of an option */
	CHECK_EQ(ftt_nd_parse(f, sizeof(f), &nd), FTT_ND_E_OPTION_LENGTH);
}

static void test_bad_advertisements(void)
{
	uint8_t f[FTT_ND_REPLY_FRAME];
	struct ftt_nd nd;

	make_solicitation(f);
	f[FTT_ND_ICMP] = FTT_ND_ADVERT;
	f[FTT_ND_ICMP + 4] = FTT_ND_SOLICITED;
	seal(f, sizeof(f));
	CHECK_EQ(ftt_nd_parse(f, sizeof(f), &nd), FTT_ND_E_DESTINATION);
	f[FTT_ND_ICMP + 4] = FTT_ND_OVERRIDE;
	seal(f, sizeof(f));
	CHECK_EQ(ftt_nd_parse(f, sizeof(f), &nd), FTT_NEIGH_OK);
	memset(f + FTT_ETH_HEADER + 8, 0, 16);
	seal(f, sizeof(f));
	CHECK_EQ(ftt_nd_parse(f, sizeof(f), &nd), FTT_ND_E_SOURCE);
}

int main(void)
{
	test_arp_request_and_reply();
	test_arp_probe();
	test_each_bad_arp_field_has_its_error();
	test_solicitation_and_advertisement();
	test_solicitation_without_option();
	test_probe();
	test_each_bad_nd_field_has_its_error();
	test_bad_advertisements();
	return 0;
}
