/* SPDX-License-Identifier: Apache-2.0 */
/*
 * crc32c.c - CRC-32C (RFC 3720 B.4) with the machine's instruction where there is one.
 *
 * The instruction takes 8 bytes in each cycle, but its result comes three cycles later. So long runs are
 * summed in three lanes side by side, which are joined by a carry-less multiplication each (V. Gopal et al.,
 * "Fast CRC Computation for iSCSI Polynomial Using CRC32 Instruction", Intel, 2011).
 *
 * Where carry-less multiplication comes in vectors of 512 bits, long runs are folded instead: what was read is moved
 * on over what comes next and added to it (V. Gopal et al., "Fast CRC Computation for Generic Polynomials Using
 * PCLMULQDQ Instruction", Intel, 2009). The instruction sums the one vector that remains.
 */
#include <string.h>
#include "core/compare/digest.h"

static uint32_t by_bits(uint32_t crc, const uint8_t *p, size_t n)
{
	while (n--) {
		crc ^= *p++;
		for (int i = 0; i < 8; i++)
			crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78u : 0);
	}
	return crc;
}

#if defined(__x86_64__)
#include <immintrin.h>

#define LANE 1024u
#define OVER_ONE 0x170076fau /* x^(8 * LANE - 33) modulo the polynomial, bits reversed */
#define OVER_TWO 0xa51b6135u /* x^(16 * LANE - 33) */

static inline uint64_t load(const uint8_t *p)
{
	uint64_t v;

	memcpy(&v, p, sizeof(v));
	return v;
}

/* What `crc` becomes by as many zero bytes as `over` stands for. */
__attribute__((target("sse4.2,pclmul"))) static inline uint64_t shift(uint64_t crc, uint32_t over)
{
	__m128i product = _mm_clmulepi64_si128(_mm_cvtsi64_si128((long long)crc), _mm_cvtsi32_si128((int)over), 0);

	return _mm_crc32_u64(0, (uint64_t)_mm_cvtsi128_si64(product));
}

__attribute__((target("sse4.2,pclmul"))) static uint32_t by_lanes(uint32_t crc, const uint8_t *p, size_t n)
{
	uint64_t a = crc;

	for (; n >= 3 * LANE; n -= 3 * LANE, p += 3 * LANE) {
		uint64_t b = 0, c = 0;

		for (size_t i = 0; i < LANE; i += 8) {
			a = _mm_crc32_u64(a, load(p + i));
			b = _mm_crc32_u64(b, load(p + LANE + i));
			c = _mm_crc32_u64(c, load(p + 2 * LANE + i));
		}
		a = shift(a, OVER_TWO) ^ shift(b, OVER_ONE) ^ c;
	}
	for (; n >= 8; n -= 8, p += 8)
		a = _mm_crc32_u64(a, load(p));
	while (n--)
		a = _mm_crc32_u8((uint32_t)a, *p++);
	return (uint32_t)a;
}

#define WIDE "sse4.2,pclmul,avx512f,vpclmulqdq"
#define VECTOR 64u
#define STRIDE (4 * VECTOR)

/* Moves `v` on by the distance that `over` stands for, and adds what lies there. */
__attribute__((target(WIDE))) static inline __m512i fold(__m512i v, __m512i over, __m512i there)
{
	__m512i low = _mm512_clmulepi64_epi128(v, over, 0x00), high = _mm512_clmulepi64_epi128(v, over, 0x11);

	return _mm512_ternarylogic_epi64(low, high, there, 0x96); /* the exclusive or of all three */
}

__attribute__((target(WIDE))) static uint32_t by_vectors(uint32_t crc, const uint8_t *p, size_t n)
{
	/* x^(d + 31) and x^(d - 33) modulo the polynomial, bits reversed, for a distance of d bits */
	const __m512i over_stride = _mm512_broadcast_i32x4(_mm_set_epi64x(0xb9e02b86, 0xdcb17aa4));
	const __m512i over_vector = _mm512_broadcast_i32x4(_mm_set_epi64x(0x9e4addf8, 0x740eef02));
	__m512i sum[4];
	uint8_t rest[VECTOR];

	if (n < STRIDE)
		return by_lanes(crc, p, n);
	for (int i = 0; i < 4; i++)
		sum[i] = _mm512_loadu_si512(p + i * VECTOR);
	sum[0] = _mm512_xor_si512(sum[0], _mm512_zextsi128_si512(_mm_cvtsi32_si128((int)crc)));
	for (p += STRIDE, n -= STRIDE; n >= STRIDE; p += STRIDE, n -= STRIDE)
		for (int i = 0; i < 4; i++)
			sum[i] = fold(sum[i], over_stride, _mm512_loadu_si512(p + i * VECTOR));
	for (int i = 1; i < 4; i++)
		sum[i] = fold(sum[i - 1], over_vector, sum[i]);
	_mm512_storeu_si512(rest, sum[3]);
	return by_lanes(by_lanes(0, rest, VECTOR), p, n);
}
#endif

uint32_t ftt_crc32c(uint32_t crc, const uint8_t *p, size_t n)
{
#if defined(__x86_64__)
	if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("vpclmulqdq"))
		return ~by_vectors(~crc, p, n);
	if (__builtin_cpu_supports("sse4.2") && __builtin_cpu_supports("pclmul"))
		return ~by_lanes(~crc, p, n);
#endif
	return ~by_bits(~crc, p, n);
}
