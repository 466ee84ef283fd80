/* SPDX-License-Identifier: Apache-2.0 */
/* Sequence number arithmetic where it wraps, and big-endian reads and writes. */
#include "check.h"
#include "core/packet/bytes.h"
#include "core/tcp/seq.h"

static const uint32_t origins[] = {0, 1, 0x7fffffff, 0x80000000, 0x80000001, 0xfffffffe, 0xffffffff, 0xdeadbeef};

static void check_order(uint32_t a, uint32_t ahead)
{
	uint32_t b = a + ahead;

	CHECK(seq_lt(a, b) && seq_leq(a, b) && !seq_gt(a, b) && !seq_geq(a, b));
	CHECK(!seq_lt(b, a) && !seq_leq(b, a) && seq_gt(b, a) && seq_geq(b, a));
	CHECK_EQ(seq_max(a, b), b);
	CHECK_EQ(seq_max(b, a), b);
	CHECK_EQ(seq_min(a, b), a);
	CHECK_EQ(seq_min(b, a), a);
}

static void test_order_around_every_wrap(void)
{
	static const uint32_t ahead[] = {1, 2, 0xffff, 0x10000, 1u << 30, 0x7ffffffe, 0x7fffffff};

	for (size_t i = 0; i < sizeof(origins) / sizeof(*origins); i++)
		for (size_t j = 0; j < sizeof(ahead) / sizeof(*ahead); j++)
			check_order(origins[i], ahead[j]);
}

static void test_equal(void)
{
	for (size_t i = 0; i < sizeof(origins) / sizeof(*origins); i++) {
		uint32_t a = origins[i];

		CHECK(!seq_lt(a, a) && !seq_gt(a, a) && seq_leq(a, a) && seq_geq(a, a));
		CHECK_EQ(seq_max(a, a), a);
		CHECK_EQ(seq_min(a, a), a);
	}
}

/* Half the space apart there is no order: what matters is that max and min still name one of both. */
static void test_half_the_space_apart(void)
{
	for (size_t i = 0; i < sizeof(origins) / sizeof(*origins); i++) {
		uint32_t a = origins[i], b = a + 0x80000000u;

		CHECK(seq_max(a, b) == a || seq_max(a, b) == b);
		CHECK(seq_min(a, b) == a || seq_min(a, b) == b);
		CHECK_EQ(seq_lt(a, b), seq_lt(b, a));
	}
}

static void test_bytes(void)
{
	uint8_t b[11] = {0};

	for (int at = 0; at < 3; at++) { /* any alignment */
		put_be64(b + at, 0x8001fffe7f0280ffull);
		CHECK_EQ(get_be64(b + at), 0x8001fffe7f0280ffull);
		CHECK_EQ(get_be32(b + at), 0x8001fffeu);
		CHECK_EQ(get_be16(b + at + 6), 0x80ff);
		CHECK_EQ(b[at], 0x80);
		CHECK_EQ(b[at + 7], 0xff);
	}
}

int main(void)
{
	test_order_around_every_wrap();
	test_equal();
	test_half_the_space_apart();
	test_bytes();
	return 0;
}
