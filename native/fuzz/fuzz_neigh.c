/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Frames as ARP and neighbour discovery: raw, and with the ICMPv6 checksum made right. Every answer
 * that they draw must itself be a valid message that says "target is at our address".
 */
#include <stdlib.h>
#include <string.h>
#include "core/records/neigh_wire.h"

static const uint8_t own_mac[6] = {2, 0, 0, 0, 0, 1};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void try_arp(const uint8_t *frame, size_t size)
{
	uint8_t reply[FTT_ARP_FRAME];
	struct ftt_arp a, answer;

	if (ftt_arp_parse(frame, size, &a))
		return;
	if (ftt_arp_reply(reply, own_mac, &a) != sizeof(reply) || ftt_arp_parse(reply, sizeof(reply), &answer))
		abort();
	if (answer.operation != FTT_ARP_REPLY || memcmp(answer.sender, a.target, 4) || memcmp(reply, a.sender_mac, 6) ||
	    memcmp(answer.sender_mac, own_mac, 6))
		abort();
}

static void try_nd(const uint8_t *frame, size_t size)
{
	uint8_t reply[FTT_ND_REPLY_FRAME];
	struct ftt_nd nd, answer;

	if (ftt_nd_parse(frame, size, &nd) || nd.type != FTT_ND_SOLICIT)
		return;
	if (nd.target[0] == 0xff || nd.src[0] == 0xff || frame[FTT_ETH_HEADER + 7] != 255)
		abort();
	if (ftt_all_zero(nd.target, 16)) /* nobody's address: no valid answer, and none is asked for */
		return;
	if (ftt_nd_reply(reply, own_mac, &nd) != sizeof(reply) || ftt_nd_parse(reply, sizeof(reply), &answer))
		abort();
	if (answer.type != FTT_ND_ADVERT || memcmp(answer.target, nd.target, 16) || memcmp(answer.mac, own_mac, 6))
		abort();
}

static void fix_checksum(uint8_t *frame, size_t size)
{
	uint8_t *ip = frame + FTT_ETH_HEADER, *icmp = frame + FTT_ND_ICMP;
	size_t len = get_be16(ip + 4);

	if (len < FTT_ND_MIN || len > size - FTT_ND_ICMP)
		return;
	put_be16(icmp + 2, 0);
	put_be16(icmp + 2, (uint16_t)~csum_fold(csum_add(csum_pseudo(ip + 8, ip + 24, 16, 58, (uint32_t)len), icmp, len)));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t *frame = malloc(size ? size : 1); /* of its own, so that a read beyond its end is seen */

	if (!frame)
		abort();
	memcpy(frame, data, size);
	try_arp(frame, size);
	try_nd(frame, size);
	if (size >= FTT_ND_ICMP + FTT_ND_MIN) {
		fix_checksum(frame, size);
		try_nd(frame, size);
	}
	free(frame);
	return 0;
}
