/* SPDX-License-Identifier: Apache-2.0 */
/*
 * record.h - what two engines write to each other on the commit channel, in datagrams of channel_wire.h.
 *
 * A record, big-endian:
 *
 *   type u8 | flags u8 | len u16 (whole record) | family u8 | proto u8 | client port u16 |
 *   service port u16 | client address 4 or 16 | service address 4 or 16 | irs u32 | body
 *
 * Records are cumulative or repeated until answered, so a lost datagram costs time only.
 *
 * A flow may be given up and followed again: each time is an attempt. What asks for the other node's state of the flow, or tells of
 * it, ends its fixed part with the number of that attempt, u8: 0 is the flow's own handshake, each renewal counts one more. What
 * belongs to another attempt is dropped. OUTPUT, DISCARD and CLOSE tell of the connection itself: that is true in each attempt.
 *
 * Within a version of the channel no record changes its layout; a type may be added. A reader that does not know it skips it if
 * FTT_REC_MAY_SKIP is set in the type, else it lets the flow go that the record names. So this head of a record, up to irs, is the
 * same in all versions. Flags that a reader does not know mean nothing to it: what must be understood is a type of its own.
 */
#ifndef FTTCP_RECORD_H
#define FTTCP_RECORD_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "core/types.h"
#include "core/packet/address.h"
#include "core/packet/bytes.h"
#include "core/packet/parse.h"

#define FTT_SYN_MAX 128       /* a SYN with all its options: 60 + 60 bytes, IPv6 40 + 60 */
#define FTT_PART_MAX 32768    /* of a datagram, in one record */
#define FTT_DATAGRAM_MAX_V4 65507u /* payload of UDP: lengths have 16 bits, IPv4's with its header */
#define FTT_DATAGRAM_MAX_V6 65527u

enum ftt_record_type {
	FTT_REC_OPEN = 1,     /* P: my stack answered this SYN so; do you follow? */
	FTT_REC_OPENED = 2,   /* B: yes */
	FTT_REC_REFUSED = 3,  /* B: my stack refused it */
	FTT_REC_COMMIT = 4,   /* B: my stack stands here */
	FTT_REC_PROBE = 5,    /* P: where do you stand? */
	FTT_REC_DETACH = 6,   /* P: let go of this flow */
	FTT_REC_DETACHED = 7, /* B: I shall never continue it */
	FTT_REC_CLOSE = 8,    /* P: it was reset */
	FTT_REC_OUTPUT = 9,   /* P: so much has left, and this is its sum */
	FTT_REC_DISCARD = 10, /* P: I refused this segment of the client's */
	FTT_REC_RENEW = 11,   /* P: here stands the client of a flow that you catch up with */
	FTT_REC_EVENT = 16,   /* P: a UDP session's next event (part of it) */
	FTT_REC_EVENT_ACK = 17, /* B: I hold all events up to here; replies to so many of them may go */
	FTT_REC_SENT = 18,    /* P: so many replies of the session went out, with this sum */
	FTT_REC_STRAY = 19    /* who serves no more: a client's datagram that came to me (part of it). In datagrams of no pairing */
};

#define FTT_REC_MAY_SKIP 0x80u /* of a type: who does not know it goes on as if it had not come */

enum { /* struct ftt_record.flags */
	FTT_REC_FIN = 1, FTT_REC_RST = 2, FTT_REC_DIFFERS = 4, FTT_REC_HOLE = 8, /* COMMIT */
	FTT_REC_WHERE = 16,                                  /* COMMIT: how far have you sent? */
	FTT_REC_OFFER = 32,                                  /* COMMIT: point and crc are of my own output */
	FTT_REC_WAITS = 64,                                  /* COMMIT: I have more, which my server is not ready for */
	FTT_REC_SAME = 128,                                  /* COMMIT: catching up, my server has said the same as yours somewhere */
	FTT_REC_FINAL = 2,                                   /* RENEW: output waits for you from here on: do you hold the flow? (FTT_REC_SUM: compare) */
	FTT_REC_TS = 1, FTT_REC_WSCALE = 4,                  /* OPEN: the client and I have agreed to it */
	FTT_REC_SUMS = 2,                                    /* OPEN: OUTPUT will tell of its output */
	FTT_REC_SERVICE = 8,                                 /* OPEN: my output will wait for yours */
	FTT_REC_OUTWARD = 32,                                /* OPEN: my server opens it; does yours? In place of a SYN of the client's stands its answer, if there is one yet */
	FTT_REC_IDENTITY = 16,                               /* OPEN: what both servers draw numbers from; it comes before the SYN */
	FTT_REC_NEEDS = 1,                                   /* PROBE: it does, and for more than a moment */
	FTT_REC_OURS = 1,                                    /* CLOSE: by my stack, not by the client */
	FTT_REC_UNLIKE = 1,                                  /* REFUSED: my stack agreed to other options */
	FTT_REC_FULL = 2,                                    /* REFUSED: I have no room for what its client sends */
	FTT_REC_OLDER = 4,                                   /* REFUSED: it is older than the checkpoint that I would begin with */
	FTT_REC_ENDED = 2,                                   /* OUTPUT: with snd_nxt my server's FIN has left */
	FTT_REC_PORT = 1,                                    /* EVENT: a server port appeared */
	FTT_REC_SUM = 1, FTT_REC_ASK = 2,                    /* SENT: crc is known; say again how far you are */
	FTT_REC_FIRST = 4, FTT_REC_ALL = 8,                  /* SENT on the bulk lane: the session begins; these are all events, replies wait for you */
	FTT_REC_CATCHING = 1,                                /* EVENT_ACK: I do not follow yet; outputs are events that my server was given */
	FTT_REC_DIVERGED = 1, FTT_REC_LAGS = 2,              /* DETACHED: because our replies differ, or stay away */
	FTT_REC_NO_ROOM = 4, FTT_REC_BEFORE = 8              /* DETACHED: my log has no room for it, or my server begins with a later checkpoint */
};

struct ftt_record {
	struct ftt_key key;
	uint32_t irs; /* names the incarnation of the flow; of a UDP session its start number */
	uint8_t type, flags;
	uint8_t attempt;   /* of following the flow, see above */
	bool quiet;        /* nobody waits for it: on which lane it goes, no part of it */
	uint16_t port;     /* EVENT: server port */
	/* OPEN */
	uint32_t service_iss, tsval, age_ms;
	uint8_t wscale, tries;
	uint8_t identity[FTT_IDENTITY]; /* with FTT_REC_IDENTITY, as the next two */
	uint64_t opened_ns;             /* by the primary's wall clock */
	uint32_t tick;                  /* the TSval of the SYN, if there are timestamps */
	/* PROBE: how far the client has acknowledged, and its window field, for a backup that missed it */
	uint32_t client_acked;
	uint16_t client_wnd;
	/* COMMIT, OPENED; OUTPUT: snd_nxt */
	uint32_t rcv_nxt, edge, snd_nxt;
	uint32_t seq, ack;         /* DISCARD, and tsval */
	uint64_t place;            /* RENEW: bytes of the server's that the client has acknowledged; and tsval of the client's */
	uint32_t hole_end;         /* COMMIT with FTT_REC_HOLE: my stack lacks what is between rcv_nxt and this */
	uint32_t verified;         /* COMMIT: outputs are equal up to this stream offset */
	uint32_t differences;      /* COMMIT: places at which they are not, up to now */
	uint32_t point, crc;      /* OUTPUT, COMMIT: stream offset; OUTPUT, COMMIT, SENT: sum of all output before it */
	/* EVENT, EVENT_ACK, SENT, STRAY */
	uint32_t number, outputs; /* event number; replies seen by then, EVENT_ACK: events whose replies may go */
	uint32_t total, offset;   /* of the datagram's payload */
	const uint8_t *data;      /* OPEN: the SYN; EVENT, STRAY: payload part. Points into the message. */
	uint32_t data_len;
};

/* Does it belong to one attempt of following its flow? */
static inline bool ftt_record_attempted(uint8_t type)
{
	switch (type) {
	case FTT_REC_OPENED:
	case FTT_REC_REFUSED:
	case FTT_REC_COMMIT:
	case FTT_REC_PROBE:
	case FTT_REC_DETACH:
	case FTT_REC_DETACHED:
	case FTT_REC_RENEW:
	case FTT_REC_EVENT:
	case FTT_REC_EVENT_ACK:
	case FTT_REC_SENT:
		return true;
	default:
		return false;
	}
}

/* ... and to another one than this? */
static inline bool ftt_record_late(const struct ftt_record *r, uint8_t attempt)
{
	return ftt_record_attempted(r->type) && r->attempt != attempt;
}

/* Fixed part of each type's body; -1: not known here. */
static inline int ftt_record_fixed(uint8_t type)
{
	int attempt = ftt_record_attempted(type);

	switch (type) {
	case FTT_REC_OPEN:
		return 14;
	case FTT_REC_OPENED:
		return 8 + attempt;
	case FTT_REC_COMMIT:
		return 32 + attempt;
	case FTT_REC_OUTPUT:
		return 12;
	case FTT_REC_EVENT:
	case FTT_REC_STRAY:
		return 18 + attempt;
	case FTT_REC_EVENT_ACK:
	case FTT_REC_SENT:
		return 8 + attempt;
	case FTT_REC_PROBE:
		return 6 + attempt;
	case FTT_REC_RENEW:
		return 34 + attempt;
	case FTT_REC_DISCARD:
		return 12;
	case FTT_REC_REFUSED:
	case FTT_REC_DETACH:
	case FTT_REC_DETACHED:
	case FTT_REC_CLOSE:
		return attempt;
	default:
		return -1;
	}
}

static inline bool ftt_record_known(uint8_t type)
{
	return ftt_record_fixed(type) >= 0;
}

/* Behind the fixed part of OPEN, if its flags say so. */
static inline size_t ftt_record_extra(uint8_t type, uint8_t flags)
{
	return type == FTT_REC_OPEN && flags & FTT_REC_IDENTITY ? FTT_IDENTITY + 12 : 0;
}

static inline void ftt_record_put_extra(uint8_t *b, const struct ftt_record *r)
{
	memcpy(b, r->identity, FTT_IDENTITY);
	put_be64(b + FTT_IDENTITY, r->opened_ns);
	put_be32(b + FTT_IDENTITY + 8, r->tick);
}

static inline void ftt_record_get_extra(const uint8_t *b, struct ftt_record *r)
{
	memcpy(r->identity, b, FTT_IDENTITY);
	r->opened_ns = get_be64(b + FTT_IDENTITY);
	r->tick = get_be32(b + FTT_IDENTITY + 8);
}

static inline void ftt_record_put_body(uint8_t *b, const struct ftt_record *r)
{
	switch (r->type) {
	case FTT_REC_OPEN:
		put_be32(b, r->service_iss);
		put_be32(b + 4, r->tsval);
		put_be32(b + 8, r->age_ms);
		b[12] = r->wscale;
		b[13] = r->tries;
		break;
	case FTT_REC_COMMIT:
		put_be32(b + 8, r->snd_nxt);
		put_be32(b + 12, r->verified);
		put_be32(b + 16, r->differences);
		put_be32(b + 20, r->hole_end);
		put_be32(b + 24, r->point);
		put_be32(b + 28, r->crc);
		/* fall through */
	case FTT_REC_OPENED:
		put_be32(b, r->rcv_nxt);
		put_be32(b + 4, r->edge);
		break;
	case FTT_REC_PROBE:
		put_be32(b, r->client_acked);
		put_be16(b + 4, r->client_wnd);
		break;
	case FTT_REC_RENEW:
		put_be32(b, r->client_acked);
		put_be16(b + 4, r->client_wnd);
		put_be32(b + 6, r->rcv_nxt);
		put_be32(b + 10, r->snd_nxt);
		put_be32(b + 14, r->point);
		put_be32(b + 18, r->crc);
		put_be64(b + 22, r->place);
		put_be32(b + 30, r->tsval);
		break;
	case FTT_REC_OUTPUT:
		put_be32(b, r->snd_nxt);
		put_be32(b + 4, r->point);
		put_be32(b + 8, r->crc);
		break;
	case FTT_REC_DISCARD:
		put_be32(b, r->seq);
		put_be32(b + 4, r->ack);
		put_be32(b + 8, r->tsval);
		break;
	case FTT_REC_EVENT:
	case FTT_REC_STRAY:
		put_be32(b + 8, r->total);
		put_be32(b + 12, r->offset);
		put_be16(b + 16, r->port);
		/* fall through */
	case FTT_REC_EVENT_ACK:
		put_be32(b, r->number);
		put_be32(b + 4, r->outputs);
		break;
	case FTT_REC_SENT:
		put_be32(b, r->number);
		put_be32(b + 4, r->crc);
		break;
	default:
		break;
	}
}

static inline void ftt_record_get_body(const uint8_t *b, struct ftt_record *r)
{
	switch (r->type) {
	case FTT_REC_OPEN:
		r->service_iss = get_be32(b);
		r->tsval = get_be32(b + 4);
		r->age_ms = get_be32(b + 8);
		r->wscale = b[12];
		r->tries = b[13];
		break;
	case FTT_REC_COMMIT:
		r->snd_nxt = get_be32(b + 8);
		r->verified = get_be32(b + 12);
		r->differences = get_be32(b + 16);
		r->hole_end = get_be32(b + 20);
		r->point = get_be32(b + 24);
		r->crc = get_be32(b + 28);
		/* fall through */
	case FTT_REC_OPENED:
		r->rcv_nxt = get_be32(b);
		r->edge = get_be32(b + 4);
		break;
	case FTT_REC_PROBE:
		r->client_acked = get_be32(b);
		r->client_wnd = get_be16(b + 4);
		break;
	case FTT_REC_RENEW:
		r->client_acked = get_be32(b);
		r->client_wnd = get_be16(b + 4);
		r->rcv_nxt = get_be32(b + 6);
		r->snd_nxt = get_be32(b + 10);
		r->point = get_be32(b + 14);
		r->crc = get_be32(b + 18);
		r->place = get_be64(b + 22);
		r->tsval = get_be32(b + 30);
		break;
	case FTT_REC_OUTPUT:
		r->snd_nxt = get_be32(b);
		r->point = get_be32(b + 4);
		r->crc = get_be32(b + 8);
		break;
	case FTT_REC_DISCARD:
		r->seq = get_be32(b);
		r->ack = get_be32(b + 4);
		r->tsval = get_be32(b + 8);
		break;
	case FTT_REC_EVENT:
	case FTT_REC_STRAY:
		r->total = get_be32(b + 8);
		r->offset = get_be32(b + 12);
		r->port = get_be16(b + 16);
		/* fall through */
	case FTT_REC_EVENT_ACK:
		r->number = get_be32(b);
		r->outputs = get_be32(b + 4);
		break;
	case FTT_REC_SENT:
		r->number = get_be32(b);
		r->crc = get_be32(b + 4);
		break;
	default:
		break;
	}
}

/* Writes r at p; returns its length, 0 when `room` is too small or the type unknown. */
static inline size_t ftt_record_put(uint8_t *p, size_t room, const struct ftt_record *r)
{
	bool v4 = ftt_is_v4(r->key.remote);
	size_t alen = v4 ? 4 : 16, at = 10 + 2 * alen + 4;
	int fixed = ftt_record_fixed(r->type);
	size_t extra = ftt_record_extra(r->type, r->flags), len = at + (size_t)(fixed < 0 ? 0 : fixed) + extra + r->data_len;

	if (fixed < 0 || len > room || len > 0xffff)
		return 0;
	p[0] = r->type;
	p[1] = r->flags;
	put_be16(p + 2, (uint16_t)len);
	p[4] = v4 ? 4 : 6;
	p[5] = r->key.proto;
	put_be16(p + 6, r->key.remote_port);
	put_be16(p + 8, r->key.local_port);
	memcpy(p + 10, r->key.remote + 16 - alen, alen);
	memcpy(p + 10 + alen, r->key.local + 16 - alen, alen);
	put_be32(p + 10 + 2 * alen, r->irs);
	ftt_record_put_body(p + at, r);
	if (ftt_record_attempted(r->type))
		p[at + (size_t)fixed - 1] = r->attempt;
	if (extra)
		ftt_record_put_extra(p + at + fixed, r);
	if (r->data_len)
		memcpy(p + at + fixed + extra, r->data, r->data_len);
	return len;
}

/* Reads the record at p, of a type that is not known only its head; returns its length, 0 when it is malformed. */
static inline size_t ftt_record_get(const uint8_t *p, size_t room, struct ftt_record *r)
{
	size_t alen, at, len, extra;
	int fixed;
	bool part;

	memset(r, 0, sizeof(*r));
	if (room < 10)
		return 0;
	len = get_be16(p + 2);
	fixed = ftt_record_fixed(p[0]);
	if (len > room || !p[0] || (p[4] != 4 && p[4] != 6))
		return 0;
	alen = p[4] == 4 ? 4 : 16;
	at = 10 + 2 * alen + 4;
	extra = ftt_record_extra(p[0], p[1]);
	if (len < at + (size_t)(fixed < 0 ? 0 : fixed) + extra)
		return 0;
	r->type = p[0];
	r->flags = p[1];
	r->key.proto = p[5];
	r->key.remote_port = get_be16(p + 6);
	r->key.local_port = get_be16(p + 8);
	if (alen == 4) {
		ftt_map4(r->key.remote, p + 10);
		ftt_map4(r->key.local, p + 14);
	} else {
		memcpy(r->key.remote, p + 10, 16);
		memcpy(r->key.local, p + 26, 16);
		if (ftt_is_v4(r->key.remote)) /* one spelling for each address */
			return 0;
	}
	r->irs = get_be32(p + at - 4);
	if (fixed < 0)
		return len;
	ftt_record_get_body(p + at, r);
	if (ftt_record_attempted(r->type))
		r->attempt = p[at + (size_t)fixed - 1];
	if (extra)
		ftt_record_get_extra(p + at + fixed, r);
	r->data = p + at + fixed + extra;
	r->data_len = (uint32_t)(len - at - (size_t)fixed - extra);
	part = r->type == FTT_REC_EVENT || r->type == FTT_REC_STRAY;
	if (r->data_len && r->type != FTT_REC_OPEN && !part)
		return 0;
	if (r->type == FTT_REC_OPEN && (r->data_len > FTT_SYN_MAX || r->wscale > 14))
		return 0;
	if (part &&
	    (r->total > (alen == 4 ? FTT_DATAGRAM_MAX_V4 : FTT_DATAGRAM_MAX_V6) || r->offset > r->total || r->data_len > r->total - r->offset ||
	     r->data_len > FTT_PART_MAX))
		return 0;
	return len;
}

/* Cuts the part at r->offset from a payload of r->total bytes. */
static inline void ftt_part_cut(struct ftt_record *r, const uint8_t *payload)
{
	r->data = payload + r->offset;
	r->data_len = r->total - r->offset < FTT_PART_MAX ? r->total - r->offset : FTT_PART_MAX;
}

/* Is it a part as datagrams are cut: full, or the last one? */
static inline bool ftt_part_good(const struct ftt_record *r)
{
	return !(r->offset % FTT_PART_MAX) && (r->data_len == FTT_PART_MAX || r->offset + r->data_len == r->total);
}

/* Puts it where it belongs among r->total bytes; true when all parts have come. */
static inline bool ftt_part_put(uint8_t *bytes, uint8_t *parts, const struct ftt_record *r)
{
	uint32_t n = r->total ? (r->total + FTT_PART_MAX - 1) / FTT_PART_MAX : 1;

	if (r->data_len)
		memcpy(bytes + r->offset, r->data, r->data_len);
	*parts |= (uint8_t)(1u << r->offset / FTT_PART_MAX);
	return *parts == (1u << n) - 1;
}

/* Is a record that came in a datagram of this pairing for a node of the pairing `ours`? What is of none are strays alone. */
static inline bool ftt_record_belongs(uint8_t type, uint64_t pairing, uint64_t ours)
{
	return pairing == ours || (!pairing && type == FTT_REC_STRAY);
}

/* OPEN: is what it brings a segment of the remote end's? */
static inline bool ftt_record_brings(const struct ftt_record *r, struct ftt_pkt *k, struct ftt_seg *s)
{
	return r->data_len && ftt_parse(r->data, r->data_len, r->data_len, k, s) == FTT_PARSED_TCP &&
	       ftt_same_address(k->src, r->key.remote) && ftt_same_address(k->dst, r->key.local) && k->sport == r->key.remote_port &&
	       k->dport == r->key.local_port;
}

/* ... its SYN. False: there is none, or not of this flow. */
static inline bool ftt_record_syn(const struct ftt_record *r, struct ftt_pkt *k, struct ftt_seg *s)
{
	return ftt_record_brings(r, k, s) && (s->flags & (TCP_SYN | TCP_ACK)) == TCP_SYN && s->seq == r->irs;
}

/* ... of one that our server opened, its answer to that SYN. */
static inline bool ftt_record_answer(const struct ftt_record *r, struct ftt_pkt *k, struct ftt_seg *s)
{
	return r->flags & FTT_REC_OUTWARD && ftt_record_brings(r, k, s) && r->irs == r->service_iss &&
	       (s->flags & (TCP_SYN | TCP_ACK | TCP_RST)) == (TCP_SYN | TCP_ACK) && s->ack == r->service_iss + 1;
}

#endif
