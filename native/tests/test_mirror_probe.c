/* SPDX-License-Identifier: Apache-2.0 */
/* Probes of the mirror: only what was made with a key, for this cluster, with this number, is one. */
#include "fttcp/mirror_probe.h"
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
	return 0;
}
