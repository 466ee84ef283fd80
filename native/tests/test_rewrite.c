/* SPDX-License-Identifier: Apache-2.0 */
/* Edits on real packets: the checksum stays right (or as wrong as it was), and a bare segment is whole. */
#include "check.h"
#include "core/tcp/say.h"
#include "packet.h"

static const uint8_t body[] = {1, 2, 3, 4, 5, 6, 7};

static const uint8_t aligned[] = {1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2, 1, 1, 5, 18, 0, 0, 0, 9, 0, 0, 0, 10,
				  0xff, 0xff, 0xff, 0xff, 0, 0, 0, 8};
/* The same at odd offsets: a NOP shifts each by one. */
static const uint8_t odd[] = {1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2, 5, 18, 0, 0, 0, 9, 0, 0, 0, 10,
			      0xff, 0xff, 0xff, 0xff, 0, 0, 0, 8, 1, 1, 1};
static const uint8_t timestamps_odd_sack_even[] = {1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2, 1, 5, 18, 0, 0, 0, 9, 0, 0, 0, 10,
						   0xff, 0xff, 0xff, 0xff, 0, 0, 0, 8, 1, 1};

static struct packet build(int family, const uint8_t *options, uint32_t n)
{
	struct packet_spec w = {.family = family, .sport = 80, .dport = 40000, .wnd = 0xffff, .seq = 0xffffffff,
				.ack = 0x7fffffff, .flags = TCP_ACK | TCP_FIN, .options = options, .options_len = n,
				.payload = body, .payload_len = sizeof(body)};

	return packet_tcp(&w);
}

static const struct ftt_edit all = {.change = FTT_EDIT_SEQ | FTT_EDIT_ACK | FTT_EDIT_TSVAL | FTT_EDIT_TSECR |
					      FTT_EDIT_SACK | FTT_EDIT_WND | FTT_EDIT_FIN,
				    .seq = 0x12345678, .ack = 0xfedcba98, .tsval = 0x80000000, .tsecr = 0xffff0000,
				    .sack_add = 0xfffffff8, .wnd = 1};

static void check_edited(const uint8_t *p, const struct ftt_pkt *k)
{
	static const uint32_t edges[4] = {1, 2, 0xfffffff7, 0};

	CHECK_EQ(get_be32(p + k->l4 + 4), all.seq);
	CHECK_EQ(get_be32(p + k->l4 + 8), all.ack);
	CHECK_EQ(get_be16(p + k->l4 + 14), all.wnd);
	CHECK_EQ(p[k->l4 + 13], TCP_ACK);
	CHECK_EQ(get_be32(p + k->ts_at), all.tsval);
	CHECK_EQ(get_be32(p + k->ts_at + 4), all.tsecr);
	for (int i = 0; i < 4; i++)
		CHECK_EQ(get_be32(p + k->sack_at + 4 * i), edges[i]);
	CHECK(!memcmp(p + k->payload, body, sizeof(body)));
}

static void test_all_edits(const uint8_t *options, uint32_t n)
{
	for (int family = 4; family <= 6; family += 2) {
		for (int ready = 0; ready < 2; ready++) {
			struct packet p = build(family, options, n);
			struct ftt_pkt k;
			struct ftt_seg s;

			CHECK_EQ(ftt_parse(p.bytes, p.len, p.len, &k, &s), FTT_PARSED_TCP);
			if (!ready) /* as a stack with checksum offload leaves it */
				put_be16(p.bytes + p.l4 + 16, 0xabcd);
			ftt_apply(p.bytes, &k, &all, ready);
			check_edited(p.bytes, &k);
			CHECK_EQ(packet_l4_sum(p.bytes, p.l4, p.len, 6), 0xffff);
		}
	}
}

static void test_each_edit_alone(void)
{
	for (uint32_t bit = 1; bit <= FTT_EDIT_FIN; bit <<= 1) {
		struct packet p = build(6, odd, sizeof(odd)), damaged, before;
		struct ftt_edit e = all;
		struct ftt_pkt k;
		struct ftt_seg s;
		uint32_t wrong;

		e.change = bit;
		CHECK_EQ(ftt_parse(p.bytes, p.len, p.len, &k, &s), FTT_PARSED_TCP);
		before = damaged = p;
		ftt_apply(p.bytes, &k, &e, true);
		CHECK_EQ(packet_l4_sum(p.bytes, p.l4, p.len, 6), 0xffff);
		CHECK(memcmp(p.bytes, before.bytes, p.len) != 0);
		damaged.bytes[damaged.len - 1] ^= 0x10; /* damage on the way must still be seen behind us */
		wrong = packet_l4_sum(damaged.bytes, damaged.l4, damaged.len, 6);
		ftt_apply(damaged.bytes, &k, &e, true);
		CHECK_EQ(packet_l4_sum(damaged.bytes, damaged.l4, damaged.len, 6), wrong);
	}
}

/* Multipath TCP's options, at even and odd places, twice, and cut short at the end: padding, and the sum right or as wrong. */
static void test_multipath_tcp_is_blotted_out(void)
{
	static const uint8_t list[][16] = {
		{2, 4, 5, 0xb4, 30, 4, 0x01, 0x81, 4, 2, 3, 3, 7, 1, 1, 0},                  /* MP_CAPABLE */
		{1, 30, 12, 0x10, 0x01, 0xde, 0xad, 0xbe, 0xef, 0xca, 0xfe, 0xba, 0xbe, 3, 3, 7}, /* MP_JOIN, odd */
		{30, 3, 0x41, 30, 5, 0xff, 0xff, 0xff, 4, 2, 30, 2, 1, 30, 30, 30},          /* the last one is no option */
	};
	static const uint8_t left[][16] = {
		{2, 4, 5, 0xb4, 1, 1, 1, 1, 4, 2, 3, 3, 7, 1, 1, 0},
		{1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 3, 3, 7},
		{1, 1, 1, 1, 1, 1, 1, 1, 4, 2, 1, 1, 1, 30, 30, 30},
	};
	const struct ftt_edit e = {.change = FTT_EDIT_MPTCP};

	for (size_t i = 0; i < sizeof(list) / sizeof(list[0]); i++) {
		for (int damage = 0; damage < 2; damage++) {
			struct packet p = build(i & 1 ? 6 : 4, list[i], 16);
			struct ftt_pkt k;
			struct ftt_seg s;
			uint32_t sum;

			p.bytes[p.len - 1] ^= (uint8_t)(damage << 4);
			sum = packet_l4_sum(p.bytes, p.l4, p.len, 6);
			CHECK_EQ(ftt_parse(p.bytes, p.len, p.len, &k, &s), FTT_PARSED_TCP);
			CHECK(s.options & FTT_OPT_MPTCP);
			ftt_apply(p.bytes, &k, &e, true);
			CHECK(!memcmp(p.bytes + p.l4 + 20, left[i], 16));
			CHECK_EQ(packet_l4_sum(p.bytes, p.l4, p.len, 6), sum);
			CHECK_EQ(ftt_parse(p.bytes, p.len, p.len, &k, &s), FTT_PARSED_TCP);
			CHECK(!(s.options & FTT_OPT_MPTCP));
		}
	}
}

/* Blocks of a SACK go, and what stands beside them stays. */
static void test_sack_blocks_are_blotted_out(void)
{
	static const uint8_t list[] = {1, 1, 5, 10, 0, 0, 0, 1, 0, 0, 0, 2, 1, 1, 3, 3};
	static const uint8_t left[] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 3, 3};
	const struct ftt_edit e = {.change = FTT_EDIT_NO_SACK};
	struct packet p = build(4, list, sizeof(list));
	struct ftt_pkt k;
	struct ftt_seg s;
	uint32_t sum = packet_l4_sum(p.bytes, p.l4, p.len, 6);

	CHECK_EQ(ftt_parse(p.bytes, p.len, p.len, &k, &s), FTT_PARSED_TCP);
	CHECK(s.options & FTT_OPT_SACK);
	ftt_apply(p.bytes, &k, &e, true);
	CHECK(!memcmp(p.bytes + p.l4 + 20, left, sizeof(left)));
	CHECK_EQ(packet_l4_sum(p.bytes, p.l4, p.len, 6), sum);
	CHECK_EQ(ftt_parse(p.bytes, p.len, p.len, &k, &s), FTT_PARSED_TCP);
	CHECK(!(s.options & FTT_OPT_SACK));
}

static void test_no_edit_leaves_every_byte(void)
{
	struct packet p = build(4, aligned, sizeof(aligned)), before = p;
	struct ftt_edit none = {0};
	struct ftt_pkt k;
	struct ftt_seg s;

	CHECK_EQ(ftt_parse(p.bytes, p.len, p.len, &k, &s), FTT_PARSED_TCP);
	ftt_apply(p.bytes, &k, &none, true);
	CHECK(!memcmp(p.bytes, before.bytes, p.len));
	ftt_apply(p.bytes, &k, &none, false);
	CHECK(!memcmp(p.bytes, before.bytes, p.len)); /* the right checksum is what was there */
}

static void check_bare(const struct ftt_bare *b, uint8_t proto_version)
{
	uint8_t *p = malloc(FTT_BARE_MAX);
	struct ftt_pkt k;
	struct ftt_seg s;
	size_t n;

	CHECK(p);
	n = ftt_build_bare(p, b);
	CHECK(n <= FTT_BARE_MAX);
	CHECK_EQ(ftt_parse(p, (uint32_t)n, (uint32_t)n, &k, &s), FTT_PARSED_TCP);
	CHECK_EQ(k.family, proto_version);
	CHECK(!memcmp(k.src, b->src, 16) && !memcmp(k.dst, b->dst, 16));
	CHECK_EQ(k.sport, b->sport);
	CHECK_EQ(k.dport, b->dport);
	CHECK_EQ(s.seq, b->seq);
	CHECK_EQ(s.ack, b->ack);
	CHECK_EQ(s.wnd, b->wnd);
	CHECK_EQ(s.flags, b->flags);
	CHECK_EQ(s.len, 0);
	CHECK_EQ(s.options, b->timestamps ? FTT_OPT_TS : 0);
	CHECK_EQ(s.tsval, b->timestamps ? b->tsval : 0);
	CHECK_EQ(s.tsecr, b->timestamps ? b->tsecr : 0);
	CHECK_EQ(packet_l4_sum(p, k.l4, (uint32_t)n, 6), 0xffff);
	if (proto_version == 4)
		CHECK_EQ(packet_sum(0, p, 20), 0xffff);
	free(p);
}

static void test_bare_segments(void)
{
	static const uint8_t c4[16] = {[10] = 0xff, 0xff, 10, 77, 0, 10}, s4[16] = {[10] = 0xff, 0xff, 10, 77, 0, 100};
	static const uint8_t c6[16] = {0xfd, 0x77, [15] = 0x10}, s6[16] = {0xfd, 0x77, [14] = 1};
	struct ftt_bare b = {.src = c4, .dst = s4, .sport = 40000, .dport = 80, .seq = 0xffffffff, .ack = 0x80000000,
			     .tsval = 0xdeadbeef, .tsecr = 0x7fffffff, .wnd = 0xffff, .flags = TCP_ACK};

	for (int i = 0; i < 4; i++) {
		b.src = i & 1 ? c6 : c4;
		b.dst = i & 1 ? s6 : s4;
		b.timestamps = i & 2;
		b.flags = i == 3 ? TCP_RST : TCP_ACK;
		check_bare(&b, i & 1 ? 6 : 4);
	}
}

int main(void)
{
	test_all_edits(aligned, sizeof(aligned));
	test_all_edits(odd, sizeof(odd));
	test_all_edits(timestamps_odd_sack_even, sizeof(timestamps_odd_sack_even));
	test_each_edit_alone();
	test_multipath_tcp_is_blotted_out();
	test_sack_blocks_are_blotted_out();
	test_no_edit_leaves_every_byte();
	test_bare_segments();
	return 0;
}
