/* SPDX-License-Identifier: Apache-2.0 */
/* address.h - an address of either family in 16 bytes: IPv4's as IPv6 maps them (RFC 4291 2.5.5.2). */
#ifndef FTTCP_ADDRESS_H
#define FTTCP_ADDRESS_H
#include <stdbool.h>
#include <stdint.h>
#include "core/packet/bytes.h"
#include "core/packet/mem.h"

static const uint8_t ftt_v4_prefix[12] = {[10] = 0xff, [11] = 0xff};

static inline bool ftt_is_v4(const uint8_t address[16])
{
	return !get_be64(address) && get_be32(address + 8) == 0xffff;
}

static inline bool ftt_same_address(const uint8_t a[16], const uint8_t b[16])
{
	return get_be64(a) == get_be64(b) && get_be64(a + 8) == get_be64(b + 8); /* BPF has no memcmp() to call */
}

static inline void ftt_map4(uint8_t out[16], const uint8_t in[4])
{
	memcpy(out, ftt_v4_prefix, 12);
	memcpy(out + 12, in, 4);
}

#endif
