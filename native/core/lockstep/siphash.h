/* SPDX-License-Identifier: Apache-2.0 */
/*
 * siphash.h - SipHash-2-4 (J.-P. Aumasson, D. J. Bernstein, "SipHash: a fast short-input PRF", 2012): where a connection is to be found.
 * Who does not know the key does not choose the place. For a library that is loaded into servers: see chacha.h.
 */
#ifndef FTTCP_SIPHASH_H
#define FTTCP_SIPHASH_H
#include <stddef.h>
#include <stdint.h>

#define FTT_SIPHASH_KEY 16

static inline uint64_t ftt_siphash_get(const uint8_t *p, size_t n)
{
	uint64_t v = 0;

	for (size_t i = 0; i < n; i++)
		v |= (uint64_t)p[i] << 8 * i;
	return v;
}

static inline uint64_t ftt_siphash_rotate(uint64_t v, int by)
{
	return v << by | v >> (64 - by);
}

static inline void ftt_siphash_rounds(uint64_t v[4], int n)
{
	while (n--) {
		v[0] += v[1], v[1] = ftt_siphash_rotate(v[1], 13) ^ v[0], v[0] = ftt_siphash_rotate(v[0], 32);
		v[2] += v[3], v[3] = ftt_siphash_rotate(v[3], 16) ^ v[2];
		v[0] += v[3], v[3] = ftt_siphash_rotate(v[3], 21) ^ v[0];
		v[2] += v[1], v[1] = ftt_siphash_rotate(v[1], 17) ^ v[2], v[2] = ftt_siphash_rotate(v[2], 32);
	}
}

static inline uint64_t ftt_siphash(const uint8_t key[FTT_SIPHASH_KEY], const void *input, size_t len)
{
	uint64_t k0 = ftt_siphash_get(key, 8), k1 = ftt_siphash_get(key + 8, 8);
	uint64_t v[4] = {k0 ^ 0x736f6d6570736575ull, k1 ^ 0x646f72616e646f6dull, k0 ^ 0x6c7967656e657261ull, k1 ^ 0x7465646279746573ull};
	const uint8_t *p = input;

	for (size_t left = len;; p += 8, left -= 8) {
		uint64_t word = left >= 8 ? ftt_siphash_get(p, 8) : ftt_siphash_get(p, left) | (uint64_t)len << 56;

		v[3] ^= word;
		ftt_siphash_rounds(v, 2);
		v[0] ^= word;
		if (left < 8)
			break;
	}
	v[2] ^= 0xff;
	ftt_siphash_rounds(v, 4);
	return v[0] ^ v[1] ^ v[2] ^ v[3];
}

#endif
