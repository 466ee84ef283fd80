/* SPDX-License-Identifier: Apache-2.0 */
/* CRC-32C with the answers of RFC 3720, and the points that a backup keeps. */
#include <string.h>
#include <stdlib.h>
#include "check.h"
#include "core/compare/digest.h"
#include "engine/channel/crc32c.c"

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

/* A backup that is behind keeps so many points; of more, the last one counts. */
static void test_points_are_bounded_and_the_last_one_stays(void)
{
	struct ftt_points *p = calloc(1, sizeof(*p));

	CHECK(p);
	for (uint32_t i = 2; i <= 2 * FTT_POINTS; i++) /* in pairs, the later one first */
		ftt_points_put(p, 100 * (i ^ 1), i ^ 1);
	ftt_points_put(p, 300, 3); /* it is there */
	CHECK_EQ(p->n, FTT_POINTS);
	CHECK_EQ(p->point[FTT_POINTS - 1].at, 100 * (2 * FTT_POINTS + 1));
	for (uint32_t last = 0; p->n; ftt_points_pop(p)) {
		CHECK(p->point[0].at > last && p->point[0].crc * 100 == p->point[0].at);
		last = p->point[0].at;
	}
	free(p);
}

int main(void)
{
	test_known_answers();
	test_pieces();
	test_long_runs();
	test_points_are_bounded_and_the_last_one_stays();
	return 0;
}
