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
#include "core/types.h"
#include "core/packet/bytes.h"

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

/*
 * Each probe is sent in some copies, and somebody may say again what he has heard. Who waits for probes is woken once for each, and only
 * by so many rounds in a while: those of all peers are a few in each second.
 */
#define FTT_PROBE_TARGET_BITS 6 /* the lowest ones of a number: for which place it is (fttcp/planes/mirror.py) */
#define FTT_PROBE_ROUNDS 16u
#define FTT_PROBE_ROUNDS_NS 100000000ull

struct ftt_probe_memory {
	struct {
		uint64_t number, came; /* a bit for each target; 0: nothing here */
	} round[FTT_PROBE_ROUNDS]; /* the last ones */
	uint64_t since_ns;
	uint32_t begun; /* of the rounds: since then */
	uint32_t next;
};

/* Is this number to be told of? */
static inline bool ftt_probe_news(struct ftt_probe_memory *m, uint64_t number, uint64_t now_ns)
{
	uint64_t round = number >> FTT_PROBE_TARGET_BITS, bit = UINT64_C(1) << (number & ((1u << FTT_PROBE_TARGET_BITS) - 1));
	uint32_t at = 0;

	while (at < FTT_PROBE_ROUNDS && (!m->round[at].came || m->round[at].number != round))
		at++;
	if (at == FTT_PROBE_ROUNDS) {
		if (now_ns - m->since_ns >= FTT_PROBE_ROUNDS_NS) {
			m->since_ns = now_ns;
			m->begun = 0;
		}
		if (m->begun == FTT_PROBE_ROUNDS)
			return false;
		m->begun++;
		at = m->next++ % FTT_PROBE_ROUNDS;
		m->round[at].number = round;
		m->round[at].came = 0;
	}
	if (m->round[at].came & bit)
		return false;
	m->round[at].came |= bit;
	return true;
}

#endif
