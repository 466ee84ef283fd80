/* SPDX-License-Identifier: Apache-2.0 */
/* CRC-32C with the answers of RFC 3720, and the ring in which both nodes' sums meet. */
#include <string.h>
#include "check.h"
#include "../src/crc32c.c"

static void test_known_answers(void)
{
	uint8_t p[32];

	CHECK_EQ(ftt_crc32c(0, (const uint8_t *)"123456789", 9), 0xe3069283);
	memset(p, 0, sizeof(p));
	CHECK_EQ(ftt_crc32c(0, p, sizeof(p)), 0x8a9136aa);
	memset(p, 0xff, sizeof(p));
	CHECK_EQ(ftt_crc32c(0, p, sizeof(p)), 0x62a8ab43);
	for (int i = 0; i < 32; i++)
		p[i] = (uint8_t)i;
	CHECK_EQ(ftt_crc32c(0, p, sizeof(p)), 0x46dd794e);
	for (int i = 0; i < 32; i++)
		p[i] = (uint8_t)(31 - i);
	CHECK_EQ(ftt_crc32c(0, p, sizeof(p)), 0x113fdb5c);
	CHECK_EQ(ftt_crc32c(0x12345678, p, 0), 0x12345678);
}

/* Segment boundaries differ between the nodes: pieces must sum to the whole, at any alignment. */
static void test_pieces(void)
{
	uint8_t p[80];

	for (size_t i = 0; i < sizeof(p); i++)
		p[i] = (uint8_t)(i * 37 + 11);
	for (size_t from = 0; from < 9; from++)
		for (size_t a = 0; a <= 40; a++)
			CHECK_EQ(ftt_crc32c(ftt_crc32c(0, p + from, a), p + from + a, 70 - a), ftt_crc32c(0, p + from, 70));
}

/* Each way that this machine has comes to the same. */
static void check_all_ways(const uint8_t *p, size_t n)
{
	uint32_t expected = by_bits(0x31415926, p, n);

	CHECK_EQ(~ftt_crc32c(~0x31415926u, p, n), expected);
#if defined(__x86_64__)
	if (__builtin_cpu_supports("sse4.2") && __builtin_cpu_supports("pclmul"))
		CHECK_EQ(by_lanes(0x31415926, p, n), expected);
	if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("vpclmulqdq"))
		CHECK_EQ(by_vectors(0x31415926, p, n), expected);
#endif
}

/* Every length up to some strides of the vectors, and all around the lanes', at any alignment. */
static void test_long_runs(void)
{
	static uint8_t p[4 * 3072 + 64];

	for (size_t i = 0; i < sizeof(p); i++)
		p[i] = (uint8_t)(i * i >> 3 ^ i * 131);
	for (size_t n = 0; n < 1100; n++)
		check_all_ways(p + n % 61, n);
	for (size_t n = 3072 - 9; n < sizeof(p) - 8; n += n % 3072 < 9 || n % 3072 > 3060 ? 1 : 509)
		check_all_ways(p + n % 8, n);
}

static void test_sums_meet_in_any_order(void)
{
	struct ftt_ring *r = NULL;
	uint64_t lost = 0;

	CHECK_EQ(ftt_ring_put(&r, 0, 0, 1, &lost), FTT_LATER); /* a sum of 0 is a sum */
	CHECK_EQ(ftt_ring_put(&r, 0, 0, 2, &lost), FTT_SAME);
	CHECK_EQ(ftt_ring_put(&r, 1, 5, 2, &lost), FTT_LATER);
	CHECK_EQ(ftt_ring_put(&r, 2, 6, 2, &lost), FTT_LATER);
	CHECK_EQ(ftt_ring_put(&r, 1, 4, 1, &lost), FTT_DIFFERENT);
	CHECK_EQ(ftt_ring_put(&r, 2, 6, 1, &lost), FTT_SAME);
	CHECK_EQ(lost, 0);
	CHECK_EQ(ftt_ring_put(&r, 2, 6, 1, &lost), FTT_LATER); /* a repeated record meets nothing by itself */
	CHECK_EQ(ftt_ring_put(&r, 2, 6, 1, &lost), FTT_LATER);
	CHECK_EQ(lost, 0);
	free(r);
}

static void test_one_side_far_ahead(void)
{
	struct ftt_ring *r = NULL;
	uint64_t lost = 0;

	for (uint32_t b = 0; b < 3 * FTT_RING; b++)
		CHECK_EQ(ftt_ring_put(&r, b, b, 1, &lost), FTT_LATER);
	CHECK_EQ(r->size, 4 * FTT_RING);
	for (uint32_t b = 0; b < 3 * FTT_RING; b++)
		CHECK_EQ(ftt_ring_put(&r, b, b + (b == 300), 2, &lost), b == 300 ? FTT_DIFFERENT : FTT_SAME);
	CHECK_EQ(r->used, 0);
	CHECK_EQ(lost, 0);
	free(r);
}

static void test_one_side_too_far_ahead(void)
{
	struct ftt_ring *r = NULL;
	uint64_t lost = 0;

	for (uint32_t b = 0; b < FTT_RING_MAX; b++)
		CHECK_EQ(ftt_ring_put(&r, b, b, 1, &lost), FTT_LATER);
	CHECK_EQ(lost, 0);
	CHECK_EQ(ftt_ring_put(&r, FTT_RING_MAX, 9, 1, &lost), FTT_LATER); /* overtakes block 0 */
	CHECK_EQ(lost, 1);
	CHECK_EQ(ftt_ring_put(&r, 0, 77, 2, &lost), FTT_LATER); /* too late, and no false alarm */
	CHECK_EQ(lost, 2);
	CHECK_EQ(ftt_ring_put(&r, FTT_RING_MAX, 9, 2, &lost), FTT_SAME);
	for (uint32_t b = 1; b < FTT_RING_MAX; b++)
		CHECK_EQ(ftt_ring_put(&r, b, b, 2, &lost), FTT_SAME);
	CHECK_EQ(lost, 2);
	free(r);
}

/* Of every other block the other side has no sum, nor will it: those are not worth a wider ring. */
static void test_sums_that_nothing_waits_for(void)
{
	struct ftt_ring *r = NULL;
	uint64_t lost = 0;

	for (uint32_t b = 0; b < 10 * FTT_RING; b++) {
		CHECK_EQ(ftt_ring_put(&r, b, b, 1, &lost), FTT_LATER);
		if (b % 2)
			CHECK_EQ(ftt_ring_put(&r, b, b, 2, &lost), FTT_SAME);
	}
	CHECK_EQ(r->size, FTT_RING);
	CHECK_EQ(lost, 9 * FTT_RING / 2);
	free(r);
}

static void test_block_numbers_wrap(void)
{
	struct ftt_ring *r = NULL;
	uint64_t lost = 0;
	uint32_t old = 0u - FTT_RING;

	CHECK_EQ(ftt_ring_put(&r, old - 1, 1, 2, &lost), FTT_LATER);
	CHECK_EQ(ftt_ring_put(&r, old, 1, 1, &lost), FTT_LATER);
	CHECK_EQ(ftt_ring_put(&r, 0, 2, 1, &lost), FTT_LATER); /* the same slot at first, newer across the wrap */
	CHECK_EQ(ftt_ring_put(&r, old, 1, 2, &lost), FTT_SAME);
	CHECK_EQ(ftt_ring_put(&r, 0, 3, 2, &lost), FTT_DIFFERENT);
	CHECK_EQ(lost, 0);
	free(r);
}

int main(void)
{
	test_known_answers();
	test_pieces();
	test_long_runs();
	test_sums_meet_in_any_order();
	test_one_side_far_ahead();
	test_one_side_too_far_ahead();
	test_sums_that_nothing_waits_for();
	test_block_numbers_wrap();
	return 0;
}
