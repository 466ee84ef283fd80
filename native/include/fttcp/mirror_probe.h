/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mirror_probe.h - a segment by which a primary asks whether what it mirrors arrives. Pure.
 *
 * It takes the way of a client's segment: to a service address and port, through the mirror's rule, over the
 * peer link, through the backup's rules, to its engine, which takes it out. Its source port is the commit
 * channel's, its payload
 *
 *    0 number u64 | 8 MAC[16]: keyed BLAKE2b of "fttcp mirror probe", cluster_id, number
 *
 * The MAC proves the key, and no more: who looks at the number knows which ones are new.
 */
#ifndef FTTCP_MIRROR_PROBE_H
#define FTTCP_MIRROR_PROBE_H
#include <sodium.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include "fttcp/abi.h"
#include "fttcp/bytes.h"

/*
 * One to the commit channel's port goes there and back and there again, for that carries both ways: its two
 * highest bits say which way it is on. What comes in at the end of the third has come in. Before the payload stand
 * bytes of 0 in the place of the channel's header: no magic number, and the loud lane.
 */
#define FTT_PROBE_PAD 8u
#define FTT_PROBE_DATAGRAM (FTT_PROBE_PAD + FTT_MIRROR_PROBE)
#define FTT_PROBE_WAY_SHIFT 62
#define FTT_PROBE_LAST_WAY 2u

#define FTT_MIRROR_PROBE 24u /* bytes of payload */
#define FTT_MIRROR_PROBE_MAC 16u

static inline void ftt_mirror_probe_mac(uint8_t mac[FTT_MIRROR_PROBE_MAC], uint64_t cluster_id, uint64_t number,
					const uint8_t key[32])
{
	static const char purpose[] = "fttcp mirror probe";
	enum { label = sizeof(purpose) - 1 };
	uint8_t in[label + 16];

	memcpy(in, purpose, label);
	put_be64(in + label, cluster_id);
	put_be64(in + label + 8, number);
	crypto_generichash(mac, FTT_MIRROR_PROBE_MAC, in, sizeof(in), key, 32);
}

/* True if a payload of FTT_MIRROR_PROBE bytes was made with one of the keys; then *number is its number. */
static inline bool ftt_mirror_probe_read(const uint8_t *payload, uint64_t cluster_id, const struct ftt_keys *keys,
					 uint64_t *number)
{
	uint8_t mac[FTT_MIRROR_PROBE_MAC];

	*number = get_be64(payload);
	for (uint32_t i = 0; i < keys->n; i++) {
		ftt_mirror_probe_mac(mac, cluster_id, *number, keys->key[i]);
		if (!sodium_memcmp(mac, payload + 8, sizeof(mac)))
			return true;
	}
	return false;
}

/* Makes the payload that goes on from the end of a way; false at the end of the last one, and for a way that there is not. */
static inline bool ftt_mirror_probe_next(uint8_t payload[FTT_MIRROR_PROBE], uint64_t cluster_id, uint64_t number,
					 const struct ftt_keys *keys)
{
	if (number >> FTT_PROBE_WAY_SHIFT >= FTT_PROBE_LAST_WAY)
		return false;
	number += UINT64_C(1) << FTT_PROBE_WAY_SHIFT;
	put_be64(payload, number);
	ftt_mirror_probe_mac(payload + 8, cluster_id, number, keys->key[keys->send]);
	return true;
}

#endif
