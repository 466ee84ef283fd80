/* SPDX-License-Identifier: Apache-2.0 */
/*
 * channel_wire.h - a datagram of the commit channel: one header, records (record.h), one MAC (mac.h).
 *
 *   magic u32 | version u8 | worker u8 | count u16 | pairing u64 | sender u64 | counter u64 | records | MAC 16
 *
 * Everything is big-endian. `version` is the newest one that both nodes speak (FTT_CHANNEL_OLDEST to FTT_CHANNEL_VERSION, types.h).
 * `pairing` names the session of the pair (records of another pairing are stale), `sender` the node, `counter` rises with each
 * datagram of that sender's worker.
 */
#ifndef FTTCP_CHANNEL_WIRE_H
#define FTTCP_CHANNEL_WIRE_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "core/types.h"
#include "core/packet/bytes.h"

#define FTT_CHANNEL_MAGIC 0x46545443u /* "FTTC" */
#define FTT_CHANNEL_HEADER 32
#define FTT_CHANNEL_MAC 16
#define FTT_CHANNEL_WORKER_AT 5
#define FTT_CHANNEL_QUIET 0x80u /* of the worker's byte: it is on the quiet lane, see channel.h */
#define FTT_CHANNEL_MAX 65507 /* UDP over IPv4 */

struct ftt_channel_header {
	uint8_t version, worker;
	bool quiet;
	uint16_t count;
	uint64_t pairing, sender, counter;
};

static inline void ftt_channel_put(uint8_t *p, const struct ftt_channel_header *h)
{
	put_be32(p, FTT_CHANNEL_MAGIC);
	p[4] = h->version;
	p[FTT_CHANNEL_WORKER_AT] = h->worker | (h->quiet ? FTT_CHANNEL_QUIET : 0);
	put_be16(p + 6, h->count);
	put_be64(p + 8, h->pairing);
	put_be64(p + 16, h->sender);
	put_be64(p + 24, h->counter);
}

/* 0, or -1 when p is no header of a version that is spoken here. */
static inline int ftt_channel_get(const uint8_t *p, size_t len, struct ftt_channel_header *h)
{
	if (len < FTT_CHANNEL_HEADER + FTT_CHANNEL_MAC || get_be32(p) != FTT_CHANNEL_MAGIC ||
	    p[4] < FTT_CHANNEL_OLDEST || p[4] > FTT_CHANNEL_VERSION || (p[FTT_CHANNEL_WORKER_AT] & ~FTT_CHANNEL_QUIET) >= FTT_MAX_WORKERS)
		return -1;
	h->version = p[4];
	h->worker = p[FTT_CHANNEL_WORKER_AT] & ~FTT_CHANNEL_QUIET;
	h->quiet = p[FTT_CHANNEL_WORKER_AT] & FTT_CHANNEL_QUIET;
	h->count = get_be16(p + 6);
	h->pairing = get_be64(p + 8);
	h->sender = get_be64(p + 16);
	h->counter = get_be64(p + 24);
	return 0;
}

/* --- replay window of one sending worker (RFC 4303 3.4.3 has the idea) -------------------------- */

struct ftt_replay {
	uint64_t top;  /* highest counter accepted */
	uint64_t seen; /* bit i: top - i was accepted */
};

/* True when counter is new; it is then remembered. */
static inline bool ftt_replay_accept(struct ftt_replay *w, uint64_t counter)
{
	uint64_t back;

	if (counter == 0)
		return false;
	if (counter > w->top) {
		uint64_t ahead = counter - w->top;

		w->seen = ahead < 64 ? w->seen << ahead | 1 : 1;
		w->top = counter;
		return true;
	}
	back = w->top - counter;
	if (back >= 64 || w->seen >> back & 1)
		return false;
	w->seen |= 1ull << back;
	return true;
}

#endif
