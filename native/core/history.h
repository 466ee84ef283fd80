/* SPDX-License-Identifier: Apache-2.0 */
/*
 * history.h - what all clients of a service have sent since its server started, in the order in which it was given them: enough to
 * bring another server where this one is.
 *
 * A history is a file, or a part of one in memory:
 *
 *   "FTTHIST\n" | version u32 | 0 u32 | frames
 *   frame: length of the body u32 | sum u32 | body
 *   body:  kind u8 | flags u8 | 0 u16 | when u64 (ns since the history began) | what the kind has
 *
 *   HEAD    life 16 | began u64 (ns, wall clock) | texts, each length u16 and UTF-8: group, node, release, build id of the server's
 *           program, its command, the checkpoint that it goes on from (none: since the server's start)
 *   OPEN    the record of that name (record.h), with the client's SYN; of UDP without one
 *   INPUT   flow | TCP: a piece (log.h); UDP: after u64 | the datagram's payload
 *   OUTPUT  flow | place u64 | sum of all output before it u32
 *   END     flow | how u8
 *   DONE    nothing: the history ends here in good order
 *
 *   flow:   family u8 | proto u8 | client port u16 | service port u16 | client, service 4 or 16 each | irs u32
 *
 * The sum is the CRC-32C of length and body, and goes on from the frame before: no frame can be missing, or be another history's.
 * An OUTPUT tells that the flow's server had said so much before what follows, whichever flow that is of. It stands there for each
 * flow whose output has moved: who plays a history gives a server nothing before it has said as much again.
 */
#ifndef FTTCP_HISTORY_H
#define FTTCP_HISTORY_H
#include "core/compare/digest.h"
#include "core/log.h"
#include "core/records/record.h"

#define FTT_HISTORY_MAGIC "FTTHIST\n"
#define FTT_HISTORY_VERSION 1u
#define FTT_HISTORY_START 16u       /* bytes before the first frame */
#define FTT_HISTORY_FRAME 8u        /* ... of a frame before its body */
#define FTT_HISTORY_BODY 12u        /* ... of a body before what its kind has */
#define FTT_HISTORY_FLOW_MAX 42u
#define FTT_HISTORY_FRAME_MAX 66560u /* a datagram with all that is around it */
#define FTT_HISTORY_KEPT (4u << 20) /* bytes of the mirror that wait for the last frames */
#define FTT_HISTORY_MAY_SKIP 0x80u  /* of a kind: who does not know it goes on as if it were not there */

enum ftt_history_kind {
	FTT_HISTORY_HEAD = 1,
	FTT_HISTORY_OPEN = 2,
	FTT_HISTORY_INPUT = 3,
	FTT_HISTORY_OUTPUT = 4,
	FTT_HISTORY_END = 5,
	FTT_HISTORY_DONE = 6
};

/* May it take so much more, where it and the logs of living connections have `used`? */
static inline bool ftt_history_may_grow(uint64_t used, uint64_t more, const struct ftt_policy *policy)
{
	return used + more <= policy->history_bytes;
}

/* May one more packet of the mirror wait beside so many bytes? */
static inline bool ftt_history_keeps(uint64_t kept, uint32_t len)
{
	return kept + len <= FTT_HISTORY_KEPT;
}

enum {
	FTT_HISTORY_SUM = 1,  /* flags of OUTPUT: the sum is known; */
	FTT_HISTORY_ALONE = 2 /* ... of any: no backup followed the flow then */
};

enum ftt_history_end {
	FTT_HISTORY_CLOSED = 1,    /* FIN on both sides */
	FTT_HISTORY_CLIENT_RST = 2,
	FTT_HISTORY_SERVER_RST = 3,
	FTT_HISTORY_FORGOTTEN = 4  /* it is not known how */
};

/* What reading finds. */
enum ftt_history_found {
	FTT_HISTORY_EVENT = 0,
	FTT_HISTORY_SKIPPED = 1, /* a frame of a kind that may be */
	FTT_HISTORY_SHORT = 2,   /* the frame goes on behind these bytes */
	FTT_HISTORY_BROKEN = 3,  /* its sum is wrong */
	FTT_HISTORY_STRANGE = 4  /* its sum is right, and it makes no sense here */
};

struct ftt_history_event {
	uint8_t kind, flags;
	uint8_t how;             /* END: enum ftt_history_end */
	uint32_t irs;
	struct ftt_key key;      /* of the flow: all but HEAD and DONE */
	uint64_t when_ns;
	uint64_t place;          /* OUTPUT; INPUT of UDP: replies that the server had sent */
	uint32_t crc;            /* OUTPUT */
	struct ftt_record open;  /* OPEN; key and irs are there as well */
	struct ftt_piece piece;  /* INPUT of TCP */
	const uint8_t *data;     /* HEAD: all of it. INPUT of UDP: the payload. Points into the frame */
	uint32_t data_len;
};

/* --- the file's beginning ------------------------------------------------------------------------- */

static inline void ftt_history_start_put(uint8_t p[FTT_HISTORY_START])
{
	memcpy(p, FTT_HISTORY_MAGIC, 8);
	put_be32(p + 8, FTT_HISTORY_VERSION);
	put_be32(p + 12, 0);
}

/* The version of the history that begins so; 0: it is none. */
static inline uint32_t ftt_history_version(const uint8_t p[FTT_HISTORY_START])
{
	return memcmp(p, FTT_HISTORY_MAGIC, 8) ? 0 : get_be32(p + 8);
}

/* --- flows ---------------------------------------------------------------------------------------- */

static inline uint32_t ftt_history_flow_put(uint8_t *p, const struct ftt_key *key, uint32_t irs)
{
	uint32_t alen = ftt_is_v4(key->remote) ? 4 : 16;

	p[0] = alen == 4 ? 4 : 6;
	p[1] = key->proto;
	put_be16(p + 2, key->remote_port);
	put_be16(p + 4, key->local_port);
	memcpy(p + 6, key->remote + 16 - alen, alen);
	memcpy(p + 6 + alen, key->local + 16 - alen, alen);
	put_be32(p + 6 + 2 * alen, irs);
	return 10 + 2 * alen;
}

/* Its length; 0: there is none. */
static inline uint32_t ftt_history_flow_get(const uint8_t *p, uint32_t room, struct ftt_key *key, uint32_t *irs)
{
	uint32_t alen = room && p[0] == 4 ? 4 : 16;

	if (room < 10 + 2 * alen || (p[0] != 4 && p[0] != 6) || (p[1] != 6 && p[1] != 17))
		return 0;
	memset(key, 0, sizeof(*key));
	key->proto = p[1];
	key->remote_port = get_be16(p + 2);
	key->local_port = get_be16(p + 4);
	if (alen == 4) {
		ftt_map4(key->remote, p + 6);
		ftt_map4(key->local, p + 10);
	} else {
		memcpy(key->remote, p + 6, 16);
		memcpy(key->local, p + 22, 16);
		if (ftt_is_v4(key->remote)) /* one spelling for each address */
			return 0;
	}
	*irs = get_be32(p + 6 + 2 * alen);
	return 10 + 2 * alen;
}

/* --- frames --------------------------------------------------------------------------------------- */

/* What the kind has, at p, where there is room for it. */
static inline size_t ftt_history_rest_put(uint8_t *p, size_t room, const struct ftt_history_event *x)
{
	uint32_t at = 0;

	if (x->kind == FTT_HISTORY_OPEN)
		return ftt_record_put(p, room, &x->open);
	if (x->kind != FTT_HISTORY_HEAD && x->kind != FTT_HISTORY_DONE)
		at = ftt_history_flow_put(p, &x->key, x->irs);
	if (x->kind == FTT_HISTORY_OUTPUT) {
		put_be64(p + at, x->place);
		put_be32(p + at + 8, x->crc);
		at += 12;
	} else if (x->kind == FTT_HISTORY_END) {
		p[at++] = x->how;
	} else if (x->kind == FTT_HISTORY_INPUT && x->key.proto == 6) {
		ftt_piece_put(p + at, &x->piece);
		at += FTT_PIECE_HEADER + x->piece.len;
	} else if (x->kind == FTT_HISTORY_INPUT) {
		put_be64(p + at, x->place);
		at += 8;
	}
	if (x->data_len && (x->kind == FTT_HISTORY_HEAD || (x->kind == FTT_HISTORY_INPUT && x->key.proto != 6))) {
		memcpy(p + at, x->data, x->data_len);
		at += x->data_len;
	}
	return at;
}

/*
 * Writes the frame, still without its sum; returns its length, 0 when there is no room: it needs what it carries, and less than
 * FTT_HISTORY_FRAME_MAX - 65536 around it.
 */
static inline uint32_t ftt_history_put(uint8_t *p, uint32_t room, const struct ftt_history_event *x)
{
	uint32_t most = FTT_HISTORY_FRAME_MAX - 65536 + x->data_len + (x->kind == FTT_HISTORY_INPUT && x->key.proto == 6 ? x->piece.len : 0);
	uint32_t before = FTT_HISTORY_FRAME + FTT_HISTORY_BODY, n;

	if (most > room || most > FTT_HISTORY_FRAME_MAX)
		return 0;
	n = (uint32_t)ftt_history_rest_put(p + before, room - before, x);
	if (!n && x->kind != FTT_HISTORY_DONE)
		return 0;
	put_be32(p, FTT_HISTORY_BODY + n);
	put_be32(p + 4, 0);
	p[8] = x->kind;
	p[9] = x->flags;
	put_be16(p + 10, 0);
	put_be64(p + 12, x->when_ns);
	return before + n;
}

static inline uint32_t ftt_history_length(const uint8_t *frame)
{
	return FTT_HISTORY_FRAME + get_be32(frame);
}

/* The sum of the frame that comes behind those with this sum. */
static inline uint32_t ftt_history_sum(uint32_t sum, const uint8_t *frame)
{
	return ftt_crc32c(ftt_crc32c(sum, frame, 4), frame + FTT_HISTORY_FRAME, get_be32(frame));
}

static inline uint32_t ftt_history_seal(uint32_t sum, uint8_t *frame)
{
	sum = ftt_history_sum(sum, frame);
	put_be32(frame + 4, sum);
	return sum;
}

static inline bool ftt_history_rest_get(const uint8_t *p, uint32_t len, struct ftt_history_event *x)
{
	uint32_t at;

	if (x->kind == FTT_HISTORY_DONE)
		return !len;
	if (x->kind == FTT_HISTORY_HEAD) {
		x->data = p;
		x->data_len = len;
		return len >= 24;
	}
	if (x->kind == FTT_HISTORY_OPEN) {
		if (ftt_record_get(p, len, &x->open) != len || x->open.type != FTT_REC_OPEN)
			return false;
		x->key = x->open.key;
		x->irs = x->open.irs;
		return x->key.proto == 17 || (x->key.proto == 6 && x->open.data_len);
	}
	at = ftt_history_flow_get(p, len, &x->key, &x->irs);
	p += at;
	len -= at;
	if (!at)
		return false;
	if (x->kind == FTT_HISTORY_OUTPUT) {
		if (len != 12)
			return false;
		x->place = get_be64(p);
		x->crc = get_be32(p + 8);
		return true;
	}
	if (x->kind == FTT_HISTORY_END) {
		x->how = len ? p[0] : 0;
		return len == 1 && x->how >= FTT_HISTORY_CLOSED && x->how <= FTT_HISTORY_FORGOTTEN;
	}
	if (x->key.proto == 6)
		return ftt_piece_get(p, len, &x->piece) == len;
	if (len < 8)
		return false;
	x->place = get_be64(p);
	x->data = p + 8;
	x->data_len = len - 8;
	return true;
}

/* Reads the frame at p, whose sum nobody asks for: it is in memory, or came where nothing can be wrong. `*len`: its length. */
static inline enum ftt_history_found ftt_history_read(const uint8_t *p, uint64_t room, struct ftt_history_event *x, uint32_t *len)
{
	uint32_t body;

	memset(x, 0, sizeof(*x));
	if (room < FTT_HISTORY_FRAME)
		return FTT_HISTORY_SHORT;
	body = get_be32(p);
	if (body < FTT_HISTORY_BODY || body > FTT_HISTORY_FRAME_MAX - FTT_HISTORY_FRAME)
		return FTT_HISTORY_BROKEN;
	*len = FTT_HISTORY_FRAME + body;
	if (room < *len)
		return FTT_HISTORY_SHORT;
	x->kind = p[8];
	x->flags = p[9];
	x->when_ns = get_be64(p + 12);
	if (x->kind & FTT_HISTORY_MAY_SKIP)
		return FTT_HISTORY_SKIPPED;
	if (x->kind < FTT_HISTORY_HEAD || x->kind > FTT_HISTORY_DONE)
		return FTT_HISTORY_STRANGE;
	return ftt_history_rest_get(p + FTT_HISTORY_FRAME + FTT_HISTORY_BODY, body - FTT_HISTORY_BODY, x) ? FTT_HISTORY_EVENT
													  : FTT_HISTORY_STRANGE;
}

/*
 * Reads the frame at p, which comes behind those with the sum `*sum`; then that is the sum with it, and `*len` its length. Of a
 * frame that is SHORT or BROKEN nothing is believed.
 */
static inline enum ftt_history_found ftt_history_get(const uint8_t *p, uint64_t room, uint32_t *sum, struct ftt_history_event *x,
						     uint32_t *len)
{
	enum ftt_history_found found = ftt_history_read(p, room, x, len);
	uint32_t wanted;

	if (found == FTT_HISTORY_SHORT || found == FTT_HISTORY_BROKEN)
		return found;
	wanted = ftt_history_sum(*sum, p);
	if (wanted != get_be32(p + 4)) {
		memset(x, 0, sizeof(*x));
		return FTT_HISTORY_BROKEN;
	}
	*sum = wanted;
	return found;
}

#endif
