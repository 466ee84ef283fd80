/* SPDX-License-Identifier: Apache-2.0 */
/* bytes.h - unaligned big-endian reads and writes, and offsets into headers; what every parser and builder here uses. */
#ifndef FTTCP_BYTES_H
#define FTTCP_BYTES_H
#include <stdint.h>

static inline uint16_t get_be16(const uint8_t *p)
{
	return (uint16_t)(p[0] << 8 | p[1]);
}

static inline uint32_t get_be32(const uint8_t *p)
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static inline uint64_t get_be64(const uint8_t *p)
{
	return (uint64_t)get_be32(p) << 32 | get_be32(p + 4);
}

static inline void put_be16(uint8_t *p, uint16_t v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
}

static inline void put_be32(uint8_t *p, uint32_t v)
{
	put_be16(p, (uint16_t)(v >> 16));
	put_be16(p + 2, (uint16_t)v);
}

static inline void put_be64(uint8_t *p, uint64_t v)
{
	put_be32(p, (uint32_t)(v >> 32));
	put_be32(p + 4, (uint32_t)v);
}

/*
 * An offset into the headers of a packet, which was compared with their length before. The kernel's verifier does not follow such a
 * comparison to where a byte is read, so for BPF an offset is cut to what is copied of a packet; such a copy has FTT_HEADERS_ROOM.
 */
#define FTT_HEADERS_MAX 256u
#define FTT_HEADERS_ROOM (2 * FTT_HEADERS_MAX + 64u)

static inline uint32_t ftt_at(uint32_t at)
{
#ifdef __bpf__
	__asm__ volatile("" : "+r"(at)); /* the compiler may know that it is less, and would leave the cut out */
	at &= FTT_HEADERS_MAX - 1;
#endif
	return at;
}

#endif
