/* SPDX-License-Identifier: Apache-2.0 */
/*
 * keyed.h - which bucket of a table a flow's key belongs to.
 *
 * Clients choose keys: they must not choose buckets. A seeded checksum does not prevent that: it is linear, so keys
 * with equal sums under one seed have equal sums under each. SipHash is made for this (J.-P. Aumasson and
 * D. J. Bernstein, "SipHash: a fast short-input PRF", 2012).
 */
#ifndef FTTCP_KEYED_H
#define FTTCP_KEYED_H
#include <sodium.h>
#include <string.h>
#include "engine/api/abi.h"

/* Drawn anew for each table. */
struct ftt_secret {
	uint8_t bytes[crypto_shorthash_KEYBYTES];
};

static inline uint32_t ftt_key_hash(const struct ftt_secret *secret, const struct ftt_key *k)
{
	uint8_t out[crypto_shorthash_BYTES];
	uint32_t h;

	crypto_shorthash(out, (const uint8_t *)k, sizeof(*k), secret->bytes);
	memcpy(&h, out, sizeof(h));
	return h;
}

#endif
