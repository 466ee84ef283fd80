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

/* What a message is; `none`: one byte, 0. What is renewed: renew.h, of a history: history.h. */
enum ftt_lane_kind {
	FTT_LANE_READY = 0,   /* the first frame, empty: who sends it has the key, and is no recording */
	FTT_LANE_BEGIN = 1,   /* acknowledged u64 | age u32, ms | attempt u8 | an OPEN record with the SYN: a flow begins again */
	FTT_LANE_LOG = 2,     /* a RENEW record, for its key | pieces (log.h): what its client has sent; FINAL: this is all */
	FTT_LANE_DROP = 3,    /* a DETACH record: let go of it; it comes behind all that was said of it */
	FTT_LANE_OUTWARD = 0x85, /* as BEGIN, of one that the server opened: OPEN has the remote end's answer */
	FTT_LANE_SESSION = 4, /* a SENT record | events (udp/log.h): of a UDP session. Flags: FTT_REC_FIRST, FTT_REC_ALL */
	FTT_LANE_HISTORY = 17, /* end u64 | frames (history.h), up to that place */
	FTT_LANE_ALIGN = 18,   /* none */
	FTT_LANE_MARK = 19,    /* none */
	FTT_LANE_PLAYED = 20,  /* end u64 */
	FTT_LANE_ALIGNED = 21, /* 0 u64 */
	FTT_LANE_NOT_PLAYED = 22, /* enum ftt_unrenewable u8 */
	FTT_LANE_MARKED = 23,     /* none */
	FTT_LANE_CALLS = 24,      /* calls_stream.h has the form of this and the next two */
	FTT_LANE_CALLS_HELD = 25,
	FTT_LANE_CALLS_BROKEN = 26,
	FTT_LANE_CALLS_LISTENS = 27, /* none */
	FTT_LANE_STORED = 0x9a,   /* a note (stored.h) of the primary, with its age in place of when it was made. 0x98, 0x99: a form of before */
	FTT_LANE_STORED_TO = 0x9b /* number u64 | errno u32: up to there the backup has stored the primary's, and that is wrong with its disk */
};

#define FTT_LANE_FIRST_KIND 1u  /* the user's */
#define FTT_LANE_MAY_SKIP 0x80u /* of a kind: who does not know it goes on as if it had not come */
#define FTT_LANE_BEGIN_HEAD 13u /* bytes of a BEGIN before its record */

/* Has a message of this kind, of those of a history, the right length? What a HISTORY carries is looked at where it is played. */
static inline bool ftt_lane_fits(uint8_t kind, uint32_t len)
{
	return kind == FTT_LANE_HISTORY || len == (kind == FTT_LANE_PLAYED || kind == FTT_LANE_ALIGNED ? 8 : 1);
}

static inline bool ftt_lane_of_calls(uint8_t kind)
{
	return kind >= FTT_LANE_CALLS && kind <= FTT_LANE_CALLS_LISTENS;
}

struct ftt_lane_begin {
	uint64_t acked; /* bytes of the server's that the client has acknowledged */
	uint32_t age_ms; /* of the connection */
	uint8_t attempt;
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

static inline void ftt_lane_begin_put(uint8_t p[FTT_LANE_BEGIN_HEAD], const struct ftt_lane_begin *b)
{
	put_be64(p, b->acked);
	put_be32(p + 8, b->age_ms);
	p[12] = b->attempt;
}

static inline void ftt_lane_begin_get(const uint8_t p[FTT_LANE_BEGIN_HEAD], struct ftt_lane_begin *b)
{
	b->acked = get_be64(p);
	b->age_ms = get_be32(p + 8);
	b->attempt = p[12];
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
