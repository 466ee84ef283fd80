/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mac.h - what proves that a commit datagram is the partner's: SipHash-2-4 with a tag of 128 bits.
 *
 * About four are made for each request and its answer, of some hundred bytes each. Keyed BLAKE2b takes longer for one of those than all
 * else that the engine does with it. SipHash is a pseudo-random function with a key of 128 bits (J.-P. Aumasson and
 * D. J. Bernstein, 2012): nobody who lacks the key does better than guess, one of 2^128, and each guess costs a datagram.
 */
#ifndef FTTCP_MAC_H
#define FTTCP_MAC_H
#include <sodium.h>
#include "core/records/channel_wire.h"

_Static_assert(crypto_shorthash_siphashx24_KEYBYTES <= 32, "the beginning of a derived key is the key");
_Static_assert(crypto_shorthash_siphashx24_BYTES == FTT_CHANNEL_MAC, "the tag is the MAC");

static inline void ftt_channel_mac(uint8_t mac[FTT_CHANNEL_MAC], const uint8_t *bytes, size_t len, const uint8_t *key)
{
	crypto_shorthash_siphashx24(mac, bytes, len, key);
}

#endif
