/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lane_wire.h - what the bulk lane says.
 *
 * Each end says hello once, the one that connects first. Then each sends the header of its stream (libsodium's secretstream), and
 * frames: four bytes in the clear that say how long and of what kind, and the encrypted body with its tag.
 *
 * The version is the commit channel's: what both nodes speak.
 *
 * hello:  0 magic, 4 version, 5 worker, 6 worker of the other end, 7 zero, 8 node, 16 pairing, 24 nonce, 56 MAC
 * frame:  0 kind, 1 length of the message, 4 body
 */
#ifndef FTTCP_LANE_WIRE_H
#define FTTCP_LANE_WIRE_H
#include <stdbool.h>
#include <string.h>
#include "core/packet/bytes.h"
#include "core/types.h"

#define FTT_LANE_MAGIC 0x46544c4eu /* "FTLN" */
#define FTT_LANE_NONCE 32
#define FTT_LANE_MAC 32
#define FTT_LANE_SIGNED 56 /* bytes of a hello before its MAC */
#define FTT_LANE_HELLO (FTT_LANE_SIGNED + FTT_LANE_MAC)

#define FTT_LANE_HEADER 4
#define FTT_LANE_TAG 17
#define FTT_LANE_STREAM 24 /* the header of a stream */
#define FTT_LANE_MAX 65536u /* bytes of a message */
#define FTT_LANE_FRAME_MAX (FTT_LANE_HEADER + FTT_LANE_MAX + FTT_LANE_TAG)

enum ftt_lane_kind {
	FTT_LANE_READY = 0,     /* the first frame, empty: who sends it has the key, and is no recording */
	FTT_LANE_FIRST_KIND = 1, /* the user's */
	FTT_LANE_MAY_SKIP = 0x80 /* of a kind: who does not know it goes on as if it had not come */
};

struct ftt_lane_hello {
	uint8_t version, worker, other;
	uint64_t node, pairing;
	uint8_t nonce[FTT_LANE_NONCE];
};

static inline void ftt_lane_hello_put(uint8_t *p, const struct ftt_lane_hello *h)
{
	put_be32(p, FTT_LANE_MAGIC);
	p[4] = h->version;
	p[5] = h->worker;
	p[6] = h->other;
	p[7] = 0;
	put_be64(p + 8, h->node);
	put_be64(p + 16, h->pairing);
	memcpy(p + 24, h->nonce, FTT_LANE_NONCE);
}

/* From its first eight bytes: 0, or one more than the enum ftt_lane_refusal. Magic and version are there in every version. */
static inline int ftt_lane_hello_begins(const uint8_t *p, uint8_t version)
{
	if (get_be32(p) != FTT_LANE_MAGIC)
		return 1 + FTT_LANE_GARBAGE;
	return p[4] == version ? 0 : 1 + FTT_LANE_VERSION_OTHER;
}

/* Of FTT_LANE_HELLO bytes. 0, or one more than the enum ftt_lane_refusal. */
static inline int ftt_lane_hello_get(const uint8_t *p, uint8_t version, struct ftt_lane_hello *h)
{
	int refused = ftt_lane_hello_begins(p, version);

	if (refused)
		return refused;
	h->version = version;
	h->worker = p[5];
	h->other = p[6];
	h->node = get_be64(p + 8);
	h->pairing = get_be64(p + 16);
	memcpy(h->nonce, p + 24, FTT_LANE_NONCE);
	return p[7] ? 1 + FTT_LANE_GARBAGE : 0;
}

static inline void ftt_lane_frame_put(uint8_t *p, uint8_t kind, uint32_t len)
{
	put_be32(p, (uint32_t)kind << 24 | len);
}

/* Its whole length, from its first FTT_LANE_HEADER bytes; 0: there is no such frame. */
static inline uint32_t ftt_lane_frame_get(const uint8_t *p, uint8_t *kind, uint32_t *len)
{
	*kind = p[0];
	*len = get_be32(p) & 0xffffff;
	return *len > FTT_LANE_MAX ? 0 : FTT_LANE_HEADER + *len + FTT_LANE_TAG;
}

#endif
