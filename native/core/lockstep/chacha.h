/* SPDX-License-Identifier: Apache-2.0 */
/*
 * chacha.h - ChaCha20 (RFC 8439 2.3) as a pseudo-random function, and what is made of it.
 *
 * For a library that is loaded into servers: no libraries, no allocation, no system call, nothing that a fork could
 * meet half done.
 */
#ifndef FTTCP_CHACHA_H
#define FTTCP_CHACHA_H
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define FTT_CHACHA_KEY 32
#define FTT_CHACHA_NONCE 12
#define FTT_CHACHA_BLOCK 64

static inline uint32_t ftt_chacha_get(const uint8_t *p)
{
	return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static inline void ftt_chacha_put(uint8_t *p, uint32_t v)
{
	p[0] = (uint8_t)v;
	p[1] = (uint8_t)(v >> 8);
	p[2] = (uint8_t)(v >> 16);
	p[3] = (uint8_t)(v >> 24);
}

static inline void ftt_chacha_quarter(uint32_t *a, uint32_t *b, uint32_t *c, uint32_t *d)
{
	*a += *b, *d ^= *a, *d = *d << 16 | *d >> 16;
	*c += *d, *b ^= *c, *b = *b << 12 | *b >> 20;
	*a += *b, *d ^= *a, *d = *d << 8 | *d >> 24;
	*c += *d, *b ^= *c, *b = *b << 7 | *b >> 25;
}

/* Secrets that are not needed any more; a compiler may not leave this out. */
static inline void ftt_wipe(void *p, size_t n)
{
	memset(p, 0, n);
	__asm__ __volatile__("" : : "r"(p) : "memory");
}

static inline void ftt_chacha_block(uint8_t out[FTT_CHACHA_BLOCK], const uint8_t key[FTT_CHACHA_KEY], uint32_t counter,
				    const uint8_t nonce[FTT_CHACHA_NONCE])
{
	uint32_t s[16] = {0x61707865, 0x3320646e, 0x79622d32, 0x6b206574}, x[16];

#pragma GCC unroll 8
	for (int i = 0; i < 8; i++)
		s[4 + i] = ftt_chacha_get(key + 4 * i);
	s[12] = counter;
#pragma GCC unroll 3
	for (int i = 0; i < 3; i++)
		s[13 + i] = ftt_chacha_get(nonce + 4 * i);
	memcpy(x, s, sizeof(x));
	for (int round = 0; round < 10; round++) { /* places that a compiler knows are registers */
#pragma GCC unroll 4
		for (int i = 0; i < 4; i++)
			ftt_chacha_quarter(x + i, x + 4 + i, x + 8 + i, x + 12 + i);
#pragma GCC unroll 4
		for (int i = 0; i < 4; i++)
			ftt_chacha_quarter(x + i, x + 4 + (i + 1) % 4, x + 8 + (i + 2) % 4, x + 12 + (i + 3) % 4);
	}
#pragma GCC unroll 16
	for (int i = 0; i < 16; i++)
		ftt_chacha_put(out + 4 * i, x[i] + s[i]);
	ftt_wipe(x, sizeof(x));
	ftt_wipe(s, sizeof(s));
}

/* n bytes of the key stream of this nonce; n is below 2^38. */
static inline void ftt_chacha_stream(uint8_t *out, size_t n, const uint8_t key[FTT_CHACHA_KEY],
				     const uint8_t nonce[FTT_CHACHA_NONCE])
{
	uint8_t block[FTT_CHACHA_BLOCK];

	for (uint32_t counter = 0; n; counter++) {
		size_t part = n < sizeof(block) ? n : sizeof(block);

		ftt_chacha_block(block, key, counter, nonce);
		memcpy(out, block, part);
		out += part;
		n -= part;
	}
	ftt_wipe(block, sizeof(block));
}

/*
 * A key for a purpose, from a key: a cascade. Each 12 bytes of the input choose the next key from the one before. The first
 * step takes purpose and length, so no input is the beginning of another one, which such a cascade needs
 * (M. Bellare, R. Canetti, H. Krawczyk, "Pseudorandom functions revisited: the cascade construction", 1996).
 */
static inline void ftt_chacha_derive(uint8_t out[FTT_CHACHA_KEY], const uint8_t key[FTT_CHACHA_KEY], uint32_t purpose,
				     const void *input, size_t len)
{
	uint8_t state[FTT_CHACHA_KEY], block[FTT_CHACHA_BLOCK], nonce[FTT_CHACHA_NONCE] = {0};
	const uint8_t *p = input;

	ftt_chacha_put(nonce, purpose);
	ftt_chacha_put(nonce + 4, (uint32_t)len);
	ftt_chacha_block(block, key, 0, nonce);
	memcpy(state, block, sizeof(state));
	for (uint32_t step = 1; len; step++) {
		size_t part = len < sizeof(nonce) ? len : sizeof(nonce);

		memset(nonce, 0, sizeof(nonce));
		memcpy(nonce, p, part);
		ftt_chacha_block(block, state, step, nonce);
		memcpy(state, block, sizeof(state));
		p += part;
		len -= part;
	}
	memcpy(out, state, sizeof(state));
	ftt_wipe(state, sizeof(state));
	ftt_wipe(block, sizeof(block));
}

#endif
