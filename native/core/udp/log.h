/* SPDX-License-Identifier: Apache-2.0 */
/*
 * log.h - what happened to the server of a UDP session, from its first datagram on: its events, in their order.
 *
 * Event number i is the i-th of the log. Each is written in the same way in memory and on the lane:
 *
 *   outputs u32 | length u16 | port u16 | flags u8 | 0 | payload
 */
#ifndef FTTCP_UDP_LOG_H
#define FTTCP_UDP_LOG_H
#include <stdbool.h>
#include "core/packet/bytes.h"
#include "core/packet/mem.h"

#define FTT_NOTED_HEADER 10u
#define FTT_NOTED_MOST 65000u /* bytes of a datagram: with what is around it, it fits into a message of the lane */

struct ftt_noted {
	uint32_t outputs; /* replies that the server had given by then */
	uint16_t len, port;
	bool is_port;     /* the server has spoken from a port of its own choice, for the first time */
	const uint8_t *bytes;
};

static inline void ftt_noted_put(uint8_t *p, const struct ftt_noted *x)
{
	put_be32(p, x->outputs);
	put_be16(p + 4, x->len);
	put_be16(p + 6, x->port);
	p[8] = x->is_port;
	p[9] = 0;
	if (x->len)
		memcpy(p + FTT_NOTED_HEADER, x->bytes, x->len);
}

/* Reads the event at p; returns its length in all, 0 when it is none. */
static inline uint32_t ftt_noted_get(const uint8_t *p, uint32_t room, struct ftt_noted *x)
{
	if (room < FTT_NOTED_HEADER || p[8] > 1 || p[9])
		return 0;
	x->outputs = get_be32(p);
	x->len = get_be16(p + 4);
	x->port = get_be16(p + 6);
	x->is_port = p[8];
	x->bytes = p + FTT_NOTED_HEADER;
	if (x->len > room - FTT_NOTED_HEADER || (x->is_port && x->len))
		return 0;
	return FTT_NOTED_HEADER + x->len;
}

#endif
