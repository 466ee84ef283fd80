/* SPDX-License-Identifier: Apache-2.0 */
/*
 * md5.h - MD5 (RFC 1321), which signatures of TCP segments are made with (RFC 2385). It is used for nothing else: as a hash it is broken.
 */
#ifndef FTTCP_MD5_H
#define FTTCP_MD5_H
#include <stddef.h>
#include <stdint.h>
#include "core/packet/mem.h"

#define FTT_MD5_BYTES 16

struct ftt_md5 {
	uint32_t state[4];
	uint64_t bytes; /* so far */
	uint8_t block[64];
};

static inline void ftt_md5_begin(struct ftt_md5 *m)
{
	*m = (struct ftt_md5){.state = {0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476}};
}

static inline uint32_t ftt_md5_word(const uint8_t *p)
{
	return p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

/* One block of 64 bytes (RFC 1321 3.4). */
static inline void ftt_md5_block(uint32_t state[4], const uint8_t *p)
{
	static const uint8_t turn[4][4] = {{7, 12, 17, 22}, {5, 9, 14, 20}, {4, 11, 16, 23}, {6, 10, 15, 21}};
	static const uint32_t sine[64] = { /* 2^32 * abs(sin(i + 1)) */
		0xd76aa478, 0xe8c7b756, 0x242070db, 0xc1bdceee, 0xf57c0faf, 0x4787c62a, 0xa8304613, 0xfd469501,
		0x698098d8, 0x8b44f7af, 0xffff5bb1, 0x895cd7be, 0x6b901122, 0xfd987193, 0xa679438e, 0x49b40821,
		0xf61e2562, 0xc040b340, 0x265e5a51, 0xe9b6c7aa, 0xd62f105d, 0x02441453, 0xd8a1e681, 0xe7d3fbc8,
		0x21e1cde6, 0xc33707d6, 0xf4d50d87, 0x455a14ed, 0xa9e3e905, 0xfcefa3f8, 0x676f02d9, 0x8d2a4c8a,
		0xfffa3942, 0x8771f681, 0x6d9d6122, 0xfde5380c, 0xa4beea44, 0x4bdecfa9, 0xf6bb4b60, 0xbebfbc70,
		0x289b7ec6, 0xeaa127fa, 0xd4ef3085, 0x04881d05, 0xd9d4d039, 0xe6db99e5, 0x1fa27cf8, 0xc4ac5665,
		0xf4292244, 0x432aff97, 0xab9423a7, 0xfc93a039, 0x655b59c3, 0x8f0ccc92, 0xffeff47d, 0x85845dd1,
		0x6fa87e4f, 0xfe2ce6e0, 0xa3014314, 0x4e0811a1, 0xf7537e82, 0xbd3af235, 0x2ad7d2bb, 0xeb86d391};
	uint32_t a = state[0], b = state[1], c = state[2], d = state[3];

	for (unsigned i = 0; i < 64; i++) {
		unsigned round = i / 16, turns = turn[round][i % 4];
		uint32_t mixed, old = d;
		unsigned word;

		switch (round) {
		case 0:
			mixed = (b & c) | (~b & d);
			word = i;
			break;
		case 1:
			mixed = (b & d) | (c & ~d);
			word = 5 * i + 1;
			break;
		case 2:
			mixed = b ^ c ^ d;
			word = 3 * i + 5;
			break;
		default:
			mixed = c ^ (b | ~d);
			word = 7 * i;
		}
		mixed += a + sine[i] + ftt_md5_word(p + 4 * (word % 16));
		a = old;
		d = c;
		c = b;
		b += mixed << turns | mixed >> (32 - turns);
	}
	state[0] += a;
	state[1] += b;
	state[2] += c;
	state[3] += d;
}

static inline void ftt_md5_add(struct ftt_md5 *m, const uint8_t *p, size_t n)
{
	while (n) {
		size_t at = m->bytes % 64, room = 64 - at, part = n < room ? n : room;

		memcpy(m->block + at, p, part);
		m->bytes += part;
		p += part;
		n -= part;
		if (part == room)
			ftt_md5_block(m->state, m->block);
	}
}

static inline void ftt_md5_end(struct ftt_md5 *m, uint8_t digest[FTT_MD5_BYTES])
{
	static const uint8_t padding[64] = {0x80};
	uint64_t bits = m->bytes * 8;
	uint8_t length[8];

	for (int i = 0; i < 8; i++)
		length[i] = (uint8_t)(bits >> 8 * i);
	ftt_md5_add(m, padding, 1 + (119 - m->bytes % 64) % 64);
	ftt_md5_add(m, length, 8);
	for (int i = 0; i < FTT_MD5_BYTES; i++)
		digest[i] = (uint8_t)(m->state[i / 4] >> 8 * (i % 4));
}

#endif
