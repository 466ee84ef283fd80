/* SPDX-License-Identifier: Apache-2.0 */
/* Packets of every shape, cut at every point; options as clients may send them. */
#include <stdlib.h>
#include "check.h"
#include "core/packet/parse.h"
#include "packet.h"

static const uint8_t ts_sack[] = {1, 1, 8, 10, 0x80, 0, 0, 1, 0xff, 0xff, 0xff, 0xff,
				  1, 1, 5, 18, 0xff, 0xff, 0xff, 0xf0, 0, 0, 0, 0x10, 0, 0, 1, 0, 0, 0, 2, 0};
static const uint8_t payload[] = "GET / HTTP/1.0\r\n\r\n";

static struct packet_spec spec(int family)
{
	return (struct packet_spec){.family = family, .sport = 40000, .dport = 80, .wnd = 502, .seq = 0xfffffff0,
				    .ack = 0x80000000, .flags = TCP_ACK | TCP_PSH, .options = ts_sack,
				    .options_len = sizeof(ts_sack), .payload = payload,
				    .payload_len = sizeof(payload)};
}

/* Parses an exact copy of cap bytes, so that a read beyond them is seen. */
static enum ftt_parsed parse_cut(const uint8_t *p, uint32_t cap, uint32_t len, struct ftt_pkt *k, struct ftt_seg *s)
{
	uint8_t *exact = malloc(cap ? cap : 1);
	enum ftt_parsed got;

	CHECK(exact);
	memcpy(exact, p, cap);
	got = ftt_parse(exact, cap, len, k, s);
	free(exact);
	return got;
}

static enum ftt_parsed parse(const struct packet *p, struct ftt_pkt *k, struct ftt_seg *s)
{
	return parse_cut(p->bytes, p->len, p->len, k, s);
}

/* A cut capture shows all of what matters or says that it does not; a cut packet is never taken for whole. */
static void check_cuts(const struct packet *p, enum ftt_parsed whole)
{
	struct ftt_pkt k, k2;
	struct ftt_seg s, s2;

	CHECK_EQ(parse(p, &k, &s), whole);
	for (uint32_t cap = 1; cap < p->len; cap++) {
		enum ftt_parsed got = parse_cut(p->bytes, cap, p->len, &k2, &s2);

		CHECK(got == whole || got == FTT_PARSED_TRUNCATED);
		if (got != whole || whole == FTT_PARSED_FRAGMENT)
			continue;
		CHECK(cap >= k.payload);
		CHECK(!memcmp(&k, &k2, sizeof(k)));
		CHECK(s.whole && !s2.whole);
		s2.whole = true;
		CHECK(!memcmp(&s, &s2, sizeof(s)));
	}
	for (uint32_t len = 0; len < p->len; len++) {
		enum ftt_parsed got = parse_cut(p->bytes, len, len, &k2, &s2);

		CHECK(got == FTT_PARSED_MALFORMED);
	}
}

static void test_fields(int family)
{
	struct packet_spec want = spec(family);
	struct packet p = packet_tcp(&want);
	struct ftt_pkt k;
	struct ftt_seg s;

	CHECK_EQ(parse(&p, &k, &s), FTT_PARSED_TCP);
	CHECK_EQ(k.family, family);
	CHECK_EQ(k.proto, 6);
	CHECK_EQ(k.sport, 40000);
	CHECK_EQ(k.dport, 80);
	CHECK_EQ(k.l4, family == 4 ? 20 : 40);
	CHECK_EQ(k.payload, k.l4 + 20 + sizeof(ts_sack));
	CHECK_EQ(k.payload_len, sizeof(payload));
	CHECK_EQ(k.ts_at, k.l4 + 24);
	CHECK_EQ(k.sack_at, k.l4 + 36);
	CHECK_EQ(k.sack_blocks, 2);
	CHECK_EQ(s.seq, 0xfffffff0);
	CHECK_EQ(s.ack, 0x80000000);
	CHECK_EQ(s.wnd, 502);
	CHECK_EQ(s.flags, TCP_ACK | TCP_PSH);
	CHECK_EQ(s.len, sizeof(payload));
	CHECK_EQ(s.tsval, 0x80000001);
	CHECK_EQ(s.tsecr, 0xffffffff);
	CHECK_EQ(s.options, FTT_OPT_TS | FTT_OPT_SACK | FTT_OPT_DSACK);
	CHECK_EQ(ftt_seg_end(&s), sizeof(payload) - 16); /* beyond the wrap */
	CHECK_EQ(ftt_l4_sum(p.bytes, &k), 0xffff);
	p.bytes[p.len - 1] ^= 1;
	CHECK(ftt_l4_sum(p.bytes, &k) != 0xffff);
	if (family == 4)
		CHECK(k.src[10] == 0xff && k.src[11] == 0xff && !memcmp(k.src + 12, p.bytes + 12, 4));
	else
		CHECK(!memcmp(k.dst, p.bytes + 24, 16));
}

static void test_seg_end_counts_syn_and_fin(void)
{
	struct ftt_seg s = {.seq = 0xffffffff, .flags = TCP_SYN};

	CHECK_EQ(ftt_seg_end(&s), 0);
	s.flags = TCP_FIN;
	s.len = 1;
	CHECK_EQ(ftt_seg_end(&s), 1);
	s.flags = TCP_RST;
	CHECK_EQ(ftt_seg_end(&s), 0);
}

static void test_cuts(void)
{
	static const uint8_t ip_options[40] = {[0] = 148, 4, [4] = 7, 35, 4};
	static const uint8_t extensions[32] = {60, 0, 1, 4, [8] = 43, 1, 1, 12, [24] = 6, 0, 1, 4};
	struct packet_spec w = spec(4);
	struct packet p = packet_tcp(&w);

	check_cuts(&p, FTT_PARSED_TCP);
	w.between = ip_options;
	w.between_len = sizeof(ip_options); /* 60 bytes of IP header and 52 of TCP */
	p = packet_tcp(&w);
	check_cuts(&p, FTT_PARSED_TCP);
	w = spec(6);
	p = packet_tcp(&w);
	check_cuts(&p, FTT_PARSED_TCP);
	w.between = extensions;
	w.between_len = sizeof(extensions);
	p = packet_tcp(&w);
	p.bytes[6] = 0; /* hop-by-hop, destination, routing, TCP */
	check_cuts(&p, FTT_PARSED_TCP);
}

static void test_fragments(void)
{
	static const uint8_t fragment[8] = {6, 0, 0, 1, 1, 2, 3, 4};
	struct packet_spec w = spec(4);
	struct packet p = packet_tcp(&w);
	struct ftt_pkt k;
	struct ftt_seg s;

	p.bytes[6] = 0x20; /* more fragments */
	CHECK_EQ(parse(&p, &k, &s), FTT_PARSED_FRAGMENT);
	check_cuts(&p, FTT_PARSED_FRAGMENT);
	p.bytes[6] = 0;
	p.bytes[7] = 1; /* the last one */
	CHECK_EQ(parse(&p, &k, &s), FTT_PARSED_FRAGMENT);
	p.bytes[6] = 0x1f;
	p.bytes[7] = 0xff;
	CHECK_EQ(parse(&p, &k, &s), FTT_PARSED_FRAGMENT);
	p.bytes[6] = 0x40; /* "do not fragment" is none */
	p.bytes[7] = 0;
	CHECK_EQ(parse(&p, &k, &s), FTT_PARSED_TCP);
	w = spec(6);
	w.between = fragment;
	w.between_len = 8;
	p = packet_tcp(&w);
	p.bytes[6] = 44;
	CHECK_EQ(parse(&p, &k, &s), FTT_PARSED_FRAGMENT);
	CHECK_EQ(k.proto, 6);
}

static void test_extension_headers_are_bounded(void)
{
	uint8_t chain[80] = {0};
	struct packet_spec w = spec(6);
	struct packet p;
	struct ftt_pkt k;
	struct ftt_seg s;

	for (int i = 0; i < 10; i++)
		chain[8 * i] = 60;
	w.between = chain;
	for (uint32_t n = 1; n <= 10; n++) {
		enum ftt_parsed got;

		w.between_len = 8 * n;
		p = packet_tcp(&w);
		p.bytes[6] = 60;
		p.bytes[40 + 8 * (n - 1)] = 6;
		got = parse(&p, &k, &s);
		CHECK_EQ(got, n <= 8 ? FTT_PARSED_TCP : FTT_PARSED_OTHER);
	}
	w.between_len = 8;
	p = packet_tcp(&w);
	p.bytes[6] = 60;
	p.bytes[41] = 255; /* reaches beyond the packet */
	CHECK_EQ(parse(&p, &k, &s), FTT_PARSED_MALFORMED);
	p.bytes[6] = 59; /* no next header */
	CHECK_EQ(parse(&p, &k, &s), FTT_PARSED_OTHER);
}

/* A segment with these options; the result of parsing, k and s filled in. */
static enum ftt_parsed with_options(const uint8_t *options, uint32_t n, uint8_t flags, struct ftt_pkt *k, struct ftt_seg *s)
{
	struct packet_spec w = spec(4);
	struct packet p;

	w.options = options;
	w.options_len = n;
	w.flags = flags;
	p = packet_tcp(&w);
	check_cuts(&p, parse(&p, k, s));
	return parse(&p, k, s);
}

/* Linux stops reading options there, and takes the segment: so must we. */
static void test_impossible_option_lengths(void)
{
	static const uint8_t bad[][16] = {
		{8, 0, 1, 1}, {8, 1, 1, 1}, {1, 1, 8, 18}, {254, 255}, {5, 18, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 5, 3}};
	static const uint8_t before[16] = {8, 10, 0, 0, 0, 1, 0, 0, 0, 2, 5, 7, 0, 0, 0, 0}, no_room[4] = {1, 1, 1, 8};
	static const uint8_t behind[16] = {3, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2}, fits[4] = {254, 4, 0, 0};
	static const uint8_t after_end[8] = {0, 8, 0, 0, 8, 1, 0, 0};
	struct ftt_pkt k;
	struct ftt_seg s;

	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		CHECK_EQ(with_options(bad[i], 16, TCP_ACK, &k, &s), FTT_PARSED_TCP);
		CHECK_EQ(s.options, FTT_OPT_BAD);
		CHECK(!k.ts_at && !k.sack_at);
	}
	CHECK_EQ(with_options(no_room, 4, TCP_ACK, &k, &s), FTT_PARSED_TCP);
	CHECK_EQ(s.options, FTT_OPT_BAD);
	CHECK_EQ(with_options(before, 16, TCP_ACK, &k, &s), FTT_PARSED_TCP);
	CHECK_EQ(s.options, FTT_OPT_BAD | FTT_OPT_TS);
	CHECK_EQ(s.tsecr, 2);
	CHECK_EQ(with_options(behind, 16, TCP_SYN, &k, &s), FTT_PARSED_TCP);
	CHECK_EQ(s.options, FTT_OPT_BAD);
	CHECK_EQ(with_options(fits, 4, TCP_ACK, &k, &s), FTT_PARSED_TCP);
	CHECK_EQ(s.options, 0);
	CHECK_EQ(with_options(after_end, 8, TCP_ACK, &k, &s), FTT_PARSED_TCP); /* what follows END is padding */
	CHECK_EQ(s.options, 0);
}

static void test_options_of_a_syn(void)
{
	static const uint8_t syn[20] = {2, 4, 0x05, 0xb4, 4, 2, 8, 10, 1, 2, 3, 4, 0, 0, 0, 0, 1, 3, 3, 7};
	static const uint8_t huge[4] = {3, 3, 255, 0}, fourteen[4] = {3, 3, 14, 0}, wrong[8] = {3, 4, 7, 7, 2, 3, 1, 1};
	struct ftt_pkt k;
	struct ftt_seg s;

	CHECK_EQ(with_options(syn, 20, TCP_SYN, &k, &s), FTT_PARSED_TCP);
	CHECK_EQ(s.options, FTT_OPT_TS | FTT_OPT_WSCALE | FTT_OPT_SACK_OK);
	CHECK_EQ(s.mss, 1460);
	CHECK_EQ(s.wscale, 7);
	CHECK_EQ(s.tsval, 0x01020304);
	CHECK_EQ(with_options(syn, 20, TCP_ACK, &k, &s), FTT_PARSED_TCP); /* scale and MSS mean nothing later */
	CHECK_EQ(s.options, FTT_OPT_TS | FTT_OPT_SACK_OK);
	CHECK_EQ(s.wscale, 0);
	CHECK_EQ(s.mss, 0);
	CHECK_EQ(with_options(huge, 4, TCP_SYN, &k, &s), FTT_PARSED_TCP);
	CHECK_EQ(s.wscale, 14);
	CHECK_EQ(with_options(fourteen, 4, TCP_SYN | TCP_ACK, &k, &s), FTT_PARSED_TCP);
	CHECK_EQ(s.wscale, 14);
	CHECK_EQ(with_options(wrong, 8, TCP_SYN, &k, &s), FTT_PARSED_TCP); /* of a wrong length: not that option */
	CHECK_EQ(s.options, 0);
	CHECK_EQ(s.mss, 0);
}

static void test_sack_and_timestamps_of_wrong_length(void)
{
	static const uint8_t sack_lengths[] = {2, 3, 9, 10, 11, 17, 18, 26, 34};

	for (size_t i = 0; i < sizeof(sack_lengths); i++) {
		uint8_t o[40] = {5, sack_lengths[i]};
		struct ftt_pkt k;
		struct ftt_seg s;
		bool whole = sack_lengths[i] >= 10 && (sack_lengths[i] - 2) % 8 == 0;

		memset(o + sack_lengths[i], 1, sizeof(o) - sack_lengths[i]);
		CHECK_EQ(with_options(o, 40, TCP_ACK, &k, &s), FTT_PARSED_TCP);
		CHECK_EQ(s.options & FTT_OPT_SACK, whole ? FTT_OPT_SACK : 0);
		CHECK_EQ(k.sack_blocks, whole ? (sack_lengths[i] - 2) / 8 : 0);
	}
	for (uint8_t n = 2; n <= 12; n++) {
		uint8_t o[12] = {8, n};
		struct ftt_pkt k;
		struct ftt_seg s;

		memset(o + n, 1, sizeof(o) - n);
		CHECK_EQ(with_options(o, 12, TCP_ACK, &k, &s), FTT_PARSED_TCP);
		CHECK_EQ(s.options, n == 10 ? FTT_OPT_TS : 0);
		CHECK_EQ(k.ts_at, n == 10 ? 42 : 0);
	}
}

static void test_what_came_twice(void)
{
	static const struct { uint32_t left, right; bool twice; } block[] = {
		{0x80000000 - 200, 0x80000000 - 100, true}, /* `ack` of with_options() is 0x80000000 */
		{0x80000000 - 200, 0x80000000, true},
		{0x80000000 - 200, 0x80000001, false},
		{0x80000000 + 100, 0x80000000 + 200, false},
	};

	for (size_t i = 0; i < sizeof(block) / sizeof(block[0]); i++) {
		uint8_t o[20] = {5, 18};
		struct ftt_pkt k;
		struct ftt_seg s;

		put_be32(o + 2, block[i].left);
		put_be32(o + 6, block[i].right);
		put_be32(o + 10, 0x80000000 - 50); /* only the first block may tell of it */
		put_be32(o + 14, 0x80000000 - 40);
		o[18] = o[19] = 1;
		CHECK_EQ(with_options(o, sizeof(o), TCP_ACK, &k, &s), FTT_PARSED_TCP);
		CHECK_EQ(!!(s.options & FTT_OPT_DSACK), block[i].twice);
		CHECK(!block[i].twice || s.dsack == block[i].left);
	}
}

static void test_signed_segments(void)
{
	uint8_t md5[20] = {19, 18, [18] = 1, 1}, twice[36] = {19, 18, [18] = 19, 18}, shorter[20] = {19, 17, [17] = 1, 1, 1};
	uint8_t ao[20] = {29, 16, 1, 2, [16] = 1, 1, 1, 1};
	struct ftt_pkt k;
	struct ftt_seg s;

	CHECK_EQ(with_options(md5, 20, TCP_SYN, &k, &s), FTT_PARSED_TCP);
	CHECK_EQ(s.signer, FTT_SIGNED_ALIEN);
	CHECK_EQ(k.md5_at, k.l4 + 22);
	CHECK_EQ(with_options(ao, 20, TCP_ACK, &k, &s), FTT_PARSED_TCP);
	CHECK_EQ(s.signer, FTT_SIGNED_ALIEN);
	CHECK_EQ(k.md5_at, 0);
	CHECK_EQ(with_options(twice, 36, TCP_ACK, &k, &s), FTT_PARSED_TCP); /* a kernel refuses that */
	CHECK_EQ(s.signer, FTT_SIGNED_ALIEN);
	CHECK_EQ(k.md5_at, 0);
	CHECK_EQ(with_options(shorter, 20, TCP_ACK, &k, &s), FTT_PARSED_TCP);
	CHECK_EQ(s.signer, FTT_SIGNED_ALIEN);
	CHECK_EQ(k.md5_at, 0);
}

static void test_contradicting_lengths(void)
{
	struct packet_spec w = spec(4);
	struct packet good = packet_tcp(&w), p = good;
	struct ftt_pkt k;
	struct ftt_seg s;

	for (int nibble = 0; nibble < 16; nibble++) { /* TCP header length: 20 to the whole segment */
		uint32_t hlen = (uint32_t)nibble * 4;

		p = good;
		p.bytes[p.l4 + 12] = (uint8_t)(nibble << 4);
		if (hlen < 20 || p.l4 + hlen > p.len)
			CHECK_EQ(parse(&p, &k, &s), FTT_PARSED_MALFORMED);
		else
			check_cuts(&p, parse(&p, &k, &s));
	}
	for (int ihl = 0; ihl < 5; ihl++) {
		p = good;
		p.bytes[0] = (uint8_t)(0x40 | ihl);
		CHECK_EQ(parse(&p, &k, &s), FTT_PARSED_MALFORMED);
	}
	p = good;
	put_be16(p.bytes + 2, (uint16_t)(p.len + 1));
	CHECK_EQ(parse(&p, &k, &s), FTT_PARSED_MALFORMED);
	put_be16(p.bytes + 2, 39); /* no room for a TCP header */
	CHECK_EQ(parse(&p, &k, &s), FTT_PARSED_MALFORMED);
	put_be16(p.bytes + 2, 19);
	CHECK_EQ(parse(&p, &k, &s), FTT_PARSED_MALFORMED);
	put_be16(p.bytes + 2, (uint16_t)(p.len - 5)); /* padding of a short frame is no payload */
	CHECK_EQ(parse(&p, &k, &s), FTT_PARSED_TCP);
	CHECK_EQ(s.len, sizeof(payload) - 5);
	for (int version = 0; version < 16; version++) {
		p = good;
		p.bytes[0] = (uint8_t)(version << 4 | 5);
		if (version != 4 && version != 6)
			CHECK_EQ(parse(&p, &k, &s), FTT_PARSED_MALFORMED);
	}
	CHECK_EQ(ftt_parse(good.bytes, 0, 0, &k, &s), FTT_PARSED_MALFORMED);
}

static void test_udp(void)
{
	uint8_t p[40] = {0x45, 0, 0, 40, [8] = 64, 17, [12] = 10, 77, 0, 10, 10, 77, 0, 100,
			 [20] = 0x9c, 0x40, 0, 69, 0, 20, 0, 0};
	struct ftt_pkt k;
	struct ftt_seg s;

	CHECK_EQ(parse_cut(p, 40, 40, &k, &s), FTT_PARSED_UDP);
	CHECK_EQ(k.sport, 40000);
	CHECK_EQ(k.dport, 69);
	CHECK_EQ(k.payload, 28);
	CHECK_EQ(k.payload_len, 12);
	for (uint32_t cap = 1; cap < 28; cap++)
		CHECK_EQ(parse_cut(p, cap, 40, &k, &s), FTT_PARSED_TRUNCATED);
	p[25] = 7;
	CHECK_EQ(parse_cut(p, 40, 40, &k, &s), FTT_PARSED_MALFORMED);
	p[25] = 21;
	CHECK_EQ(parse_cut(p, 40, 40, &k, &s), FTT_PARSED_MALFORMED);
	p[25] = 8; /* shorter than IP says: the rest is no payload */
	CHECK_EQ(parse_cut(p, 40, 40, &k, &s), FTT_PARSED_UDP);
	CHECK_EQ(k.payload_len, 0);
	p[9] = 1;
	CHECK_EQ(parse_cut(p, 40, 40, &k, &s), FTT_PARSED_OTHER);
}

int main(void)
{
	test_fields(4);
	test_fields(6);
	test_seg_end_counts_syn_and_fin();
	test_cuts();
	test_fragments();
	test_extension_headers_are_bounded();
	test_impossible_option_lengths();
	test_options_of_a_syn();
	test_sack_and_timestamps_of_wrong_length();
	test_what_came_twice();
	test_signed_segments();
	test_contradicting_lengths();
	test_udp();
	return 0;
}
