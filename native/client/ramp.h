/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ramp.h - the bytes that are sent and verified: random ones, which repeat with a prime period.
 *
 * The period is prime and longer than any window, so a gap, a repeat or a shift of any length (of segments, pages,
 * blocks) shows at the first byte concerned.
 */
#ifndef FTTCP_RAMP_H
#define FTTCP_RAMP_H
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define RAMP_PERIOD 1000003u
#define RAMP_CHUNK 65536u /* the longest piece at once */

struct ramp {
	uint8_t *bytes; /* RAMP_PERIOD + RAMP_CHUNK of them; ours */
};

/* Steele, Lea, Flood: Fast splittable pseudorandom number generators (2014). */
static inline uint64_t ramp_draw(uint64_t *state)
{
	uint64_t z = *state += 0x9e3779b97f4a7c15ull;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
	z = (z ^ z >> 27) * 0x94d049bb133111ebull;
	return z ^ z >> 31;
}

/* false: out of memory. */
static inline int ramp_make(struct ramp *r, uint64_t seed)
{
	r->bytes = malloc(RAMP_PERIOD + RAMP_CHUNK);
	if (!r->bytes)
		return 0;
	for (uint32_t i = 0; i < RAMP_PERIOD; i++)
		r->bytes[i] = (uint8_t)(ramp_draw(&seed) >> 32);
	memcpy(r->bytes + RAMP_PERIOD, r->bytes, RAMP_CHUNK);
	return 1;
}

/* What the stream has from byte `at` on: RAMP_CHUNK bytes of it. */
static inline const uint8_t *ramp_at(const struct ramp *r, uint64_t at)
{
	return r->bytes + at % RAMP_PERIOD;
}

/* How many of these `n` bytes (at most RAMP_CHUNK) are the stream's from byte `at` on. */
static inline uint32_t ramp_right(const struct ramp *r, uint64_t at, const uint8_t *bytes, uint32_t n)
{
	const uint8_t *wanted = ramp_at(r, at);
	uint32_t i = 0;

	if (!memcmp(wanted, bytes, n))
		return n;
	while (wanted[i] == bytes[i])
		i++;
	return i;
}
#endif
