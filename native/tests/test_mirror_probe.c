/* SPDX-License-Identifier: Apache-2.0 */
/* Probes of the mirror: only what was made with a key, for this cluster, with this number, is one. */
#include "core/records/mirror_probe.h"
#include "check.h"

static struct ftt_keys keys = {.n = 2};

static void made(uint8_t *payload, uint64_t cluster_id, uint64_t number, const uint8_t key[32])
{
	put_be64(payload, number);
	ftt_mirror_probe_mac(payload + 8, cluster_id, number, key);
}

static void every_key_that_is_believed_will_do(void)
{
	uint8_t payload[FTT_MIRROR_PROBE];
	uint64_t number;

	for (uint32_t i = 0; i < keys.n; i++) {
		made(payload, 7, 77 + i, keys.key[i]);
		CHECK(ftt_mirror_probe_read(payload, 7, &keys, &number) && number == 77 + i);
	}
}

static void nothing_else_will(void)
{
	uint8_t payload[FTT_MIRROR_PROBE], other[32] = {9};
	uint64_t number;

	made(payload, 7, 77, other);
	CHECK(!ftt_mirror_probe_read(payload, 7, &keys, &number));
	made(payload, 7, 77, keys.key[0]);
	CHECK(!ftt_mirror_probe_read(payload, 8, &keys, &number));
	for (unsigned bit = 0; bit < 8 * FTT_MIRROR_PROBE; bit++) {
		payload[bit / 8] ^= (uint8_t)(1u << bit % 8);
		CHECK(!ftt_mirror_probe_read(payload, 7, &keys, &number));
		payload[bit / 8] ^= (uint8_t)(1u << bit % 8);
	}
}

static void it_goes_there_and_back_and_there_again(void)
{
	uint8_t payload[FTT_MIRROR_PROBE];
	uint64_t number, way;

	made(payload, 7, 77, keys.key[0]);
	for (way = 0; way < FTT_PROBE_LAST_WAY; way++) {
		CHECK(ftt_mirror_probe_read(payload, 7, &keys, &number));
		CHECK(number == (way << FTT_PROBE_WAY_SHIFT | 77));
		CHECK(ftt_mirror_probe_next(payload, 7, number, &keys));
	}
	CHECK(ftt_mirror_probe_read(payload, 7, &keys, &number) && number >> FTT_PROBE_WAY_SHIFT == FTT_PROBE_LAST_WAY);
	CHECK(!ftt_mirror_probe_next(payload, 7, number, &keys));
	CHECK(!ftt_mirror_probe_next(payload, 7, 3ull << FTT_PROBE_WAY_SHIFT | 77, &keys));
}

static void each_is_told_once(void)
{
	static struct ftt_probe_memory m;
	uint64_t now = 1, told = 0;

	for (uint64_t round = 1000; round < 1000 + FTT_PROBE_ROUNDS; round++)
		for (uint64_t target = 0; target < 64; target++)
			for (int copy = 0; copy < 3; copy++)
				CHECK_EQ(ftt_probe_news(&m, round << FTT_PROBE_TARGET_BITS | target, now), !copy);
	/* said again, by somebody who has heard more of them than are remembered */
	for (int i = 0; i < 1000; i++)
		for (uint64_t round = 1; round < 1000; round++)
			told += ftt_probe_news(&m, round << FTT_PROBE_TARGET_BITS, now + 1);
	CHECK_EQ(told, 0);
	now += FTT_PROBE_ROUNDS_NS;
	for (int i = 0; i < 1000; i++)
		for (uint64_t round = 1; round < 1000; round++)
			told += ftt_probe_news(&m, round << FTT_PROBE_TARGET_BITS, now);
	CHECK_EQ(told, FTT_PROBE_ROUNDS);
	/* a round that has begun comes in whole, whatever others say meanwhile */
	now += FTT_PROBE_ROUNDS_NS;
	CHECK(ftt_probe_news(&m, 5000 << FTT_PROBE_TARGET_BITS, now));
	for (uint64_t round = 1; round < 1000; round++)
		told += ftt_probe_news(&m, round << FTT_PROBE_TARGET_BITS, now);
	CHECK_EQ(told, 2 * FTT_PROBE_ROUNDS - 1);
	CHECK(ftt_probe_news(&m, 5000 << FTT_PROBE_TARGET_BITS | 1, now));
}

int main(void)
{
	CHECK(sodium_init() >= 0);
	for (unsigned i = 0; i < 32; i++) {
		keys.key[0][i] = (uint8_t)i;
		keys.key[1][i] = (uint8_t)(100 + i);
	}
	every_key_that_is_believed_will_do();
	nothing_else_will();
	it_goes_there_and_back_and_there_again();
	each_is_told_once();
	return 0;
}
