/* SPDX-License-Identifier: Apache-2.0 */
/*
 * csum.h - the Internet checksum (RFC 1071): whole, and brought up to date after an edit (RFC 1624).
 */
#ifndef FTTCP_CSUM_H
#define FTTCP_CSUM_H
#include <stddef.h>
#include <stdint.h>
#include "core/packet/mem.h"
#include "core/packet/bytes.h"

static inline uint16_t csum_fold(uint64_t sum)
{
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)sum;
}

/*
 * One's complement sum of n bytes in big-endian 16-bit words, added to `sum`. The bulk is summed
 * in the machine's byte order, 8 bytes at a time; swapping the folded result gives the same sum
 * (RFC 1071 2.B), so this needs a little-endian machine, which the build checks.
 */
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "csum_add swaps its result");
static inline uint64_t csum_add(uint64_t sum, const uint8_t *p, size_t n)
{
	uint64_t even = 0, odd = 0;
	uint32_t tail = 0;
	uint16_t folded;

	for (; n >= 16; n -= 16, p += 16) {
		uint64_t a, b;

		memcpy(&a, p, 8);
		memcpy(&b, p + 8, 8);
		even += (a & 0xffffffff) + (b & 0xffffffff);
		odd += (a >> 32) + (b >> 32);
	}
	for (; n >= 2; n -= 2, p += 2)
		tail += (uint32_t)(p[0] | p[1] << 8);
	if (n)
		tail += p[0];
	folded = csum_fold((even & 0xffffffff) + (even >> 32) + (odd & 0xffffffff) + (odd >> 32) + tail);
	return sum + (uint16_t)(folded << 8 | folded >> 8);
}

/* Replaces a 32-bit field in a checksummed area. `odd`: the field starts at an odd offset of it. */
static inline void csum_replace32(uint8_t *csum_be, uint32_t from, uint32_t to, int odd)
{
	uint64_t sum = (uint16_t)~get_be16(csum_be);

	if (odd) { /* bytes of an odd field fall into the other half of each word: rotate by 8 */
		from = from << 24 | from >> 8;
		to = to << 24 | to >> 8;
	}
	sum += (uint16_t)~(from >> 16) + (uint32_t)(uint16_t)~from + (to >> 16) + (to & 0xffff);
	put_be16(csum_be, (uint16_t)~csum_fold(sum));
}

static inline void csum_replace16(uint8_t *csum_be, uint16_t from, uint16_t to)
{
	put_be16(csum_be, (uint16_t)~csum_fold((uint64_t)(uint16_t)~get_be16(csum_be) + (uint16_t)~from + to));
}

/* Pseudo-header sum (RFC 9293 3.1, RFC 8200 8.1). alen is 4 or 16. */
static inline uint64_t csum_pseudo(const uint8_t *src, const uint8_t *dst, size_t alen, uint8_t proto, uint32_t len)
{
	return csum_add(csum_add((uint64_t)proto + (len >> 16) + (len & 0xffff), src, alen), dst, alen);
}

#endif
