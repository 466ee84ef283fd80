/* SPDX-License-Identifier: Apache-2.0 */
/* packet.h - TCP packets for tests, byte by byte: built without the code under test, checksums too. */
#ifndef FTTCP_PACKET_H
#define FTTCP_PACKET_H
#include <stdint.h>
#include <string.h>
#include "check.h"
#include "core/packet/bytes.h"

#define PACKET_MAX 4096u

struct packet {
	uint32_t len, l4; /* l4: offset of the TCP header */
	uint8_t bytes[PACKET_MAX];
};

/* What to build. between: IPv4 options (a multiple of 4) or IPv6 extension headers (of 8). */
struct packet_spec {
	int family;
	uint8_t proto; /* of the header behind IP, 0 = TCP */
	const uint8_t *between;
	uint32_t between_len;
	uint16_t sport, dport, wnd;
	uint32_t seq, ack;
	uint8_t flags;
	const uint8_t *options; /* a multiple of 4 bytes */
	uint32_t options_len;
	const uint8_t *payload;
	uint32_t payload_len;
};

/* The Internet checksum's sum, one byte at a time (RFC 1071 4.1); right data with its checksum sum to 0xffff. */
static inline uint32_t packet_sum(uint32_t sum, const uint8_t *p, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		sum += i & 1 ? p[i] : (uint32_t)p[i] << 8;
		sum = (sum & 0xffff) + (sum >> 16);
	}
	return sum;
}

/* Sum over pseudo header and everything from l4 on. */
static inline uint32_t packet_l4_sum(const uint8_t *p, uint32_t l4, uint32_t len, uint8_t proto)
{
	uint8_t tail[8] = {0};
	uint32_t sum = p[0] >> 4 == 4 ? packet_sum(0, p + 12, 8) : packet_sum(0, p + 8, 32);

	put_be32(tail, len - l4);
	tail[7] = proto;
	return packet_sum(packet_sum(sum, tail, 8), p + l4, len - l4);
}

static inline uint32_t packet_ip(uint8_t *p, const struct packet_spec *s, uint32_t l4_len)
{
	static const uint8_t src4[4] = {10, 77, 0, 10}, dst4[4] = {10, 77, 0, 100};
	uint8_t proto = s->proto ? s->proto : 6;
	uint32_t l4 = (s->family == 4 ? 20 : 40) + s->between_len;

	if (s->family == 4) {
		p[0] = (uint8_t)(0x40 | l4 / 4);
		put_be16(p + 2, (uint16_t)(l4 + l4_len));
		p[8] = 64;
		p[9] = proto;
		memcpy(p + 12, src4, 4);
		memcpy(p + 16, dst4, 4);
		if (s->between_len)
			memcpy(p + 20, s->between, s->between_len);
		put_be16(p + 10, (uint16_t)~packet_sum(0, p, l4));
		return l4;
	}
	p[0] = 0x60;
	put_be16(p + 4, (uint16_t)(l4 - 40 + l4_len));
	p[6] = proto;
	p[7] = 64;
	p[8] = p[24] = 0xfd;
	p[9] = p[25] = 0x77;
	p[23] = 0x10;
	p[38] = 1;
	if (s->between_len) /* the caller chains the headers, and sets byte 6 to the kind of the first */
		memcpy(p + 40, s->between, s->between_len);
	return l4;
}

static inline struct packet packet_tcp(const struct packet_spec *s)
{
	struct packet k = {0};
	uint32_t hlen = 20 + s->options_len;
	uint8_t *t;

	CHECK(hlen <= 60 && 100 + s->between_len + hlen + s->payload_len < PACKET_MAX);
	k.l4 = packet_ip(k.bytes, s, hlen + s->payload_len);
	k.len = k.l4 + hlen + s->payload_len;
	t = k.bytes + k.l4;
	put_be16(t, s->sport);
	put_be16(t + 2, s->dport);
	put_be32(t + 4, s->seq);
	put_be32(t + 8, s->ack);
	t[12] = (uint8_t)(hlen / 4 << 4);
	t[13] = s->flags;
	put_be16(t + 14, s->wnd);
	if (s->options_len)
		memcpy(t + 20, s->options, s->options_len);
	if (s->payload_len)
		memcpy(t + hlen, s->payload, s->payload_len);
	put_be16(t + 16, (uint16_t)~packet_l4_sum(k.bytes, k.l4, k.len, 6));
	return k;
}

#endif
