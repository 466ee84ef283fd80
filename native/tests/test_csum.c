/* SPDX-License-Identifier: Apache-2.0 */
/* The Internet checksum against a plain one, and every incremental edit against a whole computation. */
#include <stdlib.h>
#include "check.h"
#include "core/packet/csum.h"
#include "packet.h"

static uint32_t random_state = 12345;

static uint32_t random32(void)
{
	random_state = random_state * 1664525 + 1013904223;
	return random_state ^ random_state >> 15;
}

static void fill(uint8_t *p, size_t n)
{
	for (size_t i = 0; i < n; i++)
		p[i] = (uint8_t)random32();
}

static void test_every_length_and_alignment(void)
{
	for (size_t n = 0; n <= 130; n++) {
		for (size_t at = 0; at < 8; at++) {
			uint8_t *exact = malloc(at + n + 1); /* its own, so that a read beyond its end is seen */

			CHECK(exact);
			fill(exact, at + n);
			exact = realloc(exact, at + n ? at + n : 1);
			CHECK(exact);
			CHECK_EQ(csum_fold(csum_add(0, exact + at, n)) % 0xffff, packet_sum(0, exact + at, n) % 0xffff);
			CHECK_EQ(csum_fold(csum_add(0x1234, exact + at, n)) % 0xffff,
				 packet_sum(0x1234, exact + at, n) % 0xffff);
			free(exact);
		}
	}
}

/* As many carries as there can be: a jumbo of ones. */
static void test_largest(void)
{
	size_t n = 65535 + 40;
	uint8_t *p = malloc(n);

	CHECK(p);
	memset(p, 0xff, n);
	CHECK_EQ(csum_fold(csum_add(0, p, n - 1)), 0xffff);
	CHECK_EQ(csum_fold(csum_add(0, p, n)), packet_sum(0, p, n));
	memset(p, 0, n);
	CHECK_EQ(csum_fold(csum_add(0, p, n)), 0);
	free(p);
	CHECK_EQ(csum_fold(UINT64_MAX), 0xffff);
	CHECK_EQ(csum_fold(0xffffffffull), 0xffff);
	CHECK_EQ(csum_fold(0x1fffeull), 0xffff);
	CHECK_EQ(csum_fold(0x10000ull), 1);
}

/* RFC 1071 3: the example. */
static void test_known_answer(void)
{
	static const uint8_t p[] = {0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7};

	CHECK_EQ(csum_fold(csum_add(0, p, sizeof(p))), 0xddf2);
}

enum { AREA = 48 };

static void seal(uint8_t *p)
{
	put_be16(p, 0);
	put_be16(p, (uint16_t)~packet_sum(0, p, AREA));
}

static void check_replace32(size_t at, uint32_t from, uint32_t to)
{
	uint8_t p[AREA];

	fill(p, AREA);
	put_be32(p + at, from);
	seal(p);
	csum_replace32(p, from, to, (int)at & 1);
	put_be32(p + at, to);
	CHECK_EQ(packet_sum(0, p, AREA), 0xffff);
}

static void test_replace32_at_even_and_odd_offsets(void)
{
	static const uint32_t edge[] = {0, 1, 0xff, 0xff00, 0xffff, 0x10000, 0xff0000, 0xffff0000, 0x80000000,
					0x7fffffff, 0xffffffff, 0x01020304};
	size_t n = sizeof(edge) / sizeof(*edge);

	for (size_t at = 2; at <= AREA - 4; at++)
		for (size_t i = 0; i < n; i++)
			for (size_t j = 0; j < n; j++)
				check_replace32(at, edge[i], edge[j]);
	for (int i = 0; i < 20000; i++)
		check_replace32(2 + random32() % (AREA - 5), random32(), random32());
}

static void test_replace16(void)
{
	static const uint16_t edge[] = {0, 1, 0xff, 0x100, 0x7fff, 0x8000, 0xfffe, 0xffff};
	uint8_t p[AREA];

	for (size_t i = 0; i < 8; i++) {
		for (size_t j = 0; j < 8; j++) {
			fill(p, AREA);
			put_be16(p + 14, edge[i]);
			seal(p);
			csum_replace16(p, edge[i], edge[j]);
			put_be16(p + 14, edge[j]);
			CHECK_EQ(packet_sum(0, p, AREA), 0xffff);
		}
	}
}

/* A wrong checksum must stay wrong, by as much: or an edit would bless what was damaged on the way. */
static void test_replace_keeps_the_error(void)
{
	for (int i = 0; i < 5000; i++) {
		uint8_t p[AREA];
		uint32_t from = random32(), to = random32(), at = 2 + random32() % (AREA - 5), before;

		fill(p, AREA);
		put_be32(p + at, from);
		before = packet_sum(0, p, AREA);
		csum_replace32(p, from, to, (int)at & 1);
		put_be32(p + at, to);
		CHECK_EQ(packet_sum(0, p, AREA) % 0xffff, before % 0xffff);
	}
}

static void test_pseudo_header(void)
{
	uint8_t a[16], b[16];
	uint8_t flat[40] = {0};

	fill(a, 16);
	fill(b, 16);
	for (size_t alen = 4; alen <= 16; alen += 12) {
		for (uint32_t len = 0; len < 0x30000; len += 0x7fff) {
			memcpy(flat, a, alen);
			memcpy(flat + alen, b, alen);
			put_be32(flat + 2 * alen, len);
			put_be32(flat + 2 * alen + 4, 6);
			CHECK_EQ(csum_fold(csum_pseudo(a, b, alen, 6, len)) % 0xffff,
				 packet_sum(0, flat, 2 * alen + 8) % 0xffff);
		}
	}
}

int main(void)
{
	test_every_length_and_alignment();
	test_largest();
	test_known_answer();
	test_replace32_at_even_and_odd_offsets();
	test_replace16();
	test_replace_keeps_the_error();
	test_pseudo_header();
	return 0;
}
