/* SPDX-License-Identifier: Apache-2.0 */
/* lane_streams.h - both ends of a connection of the bulk lane, and what lies between them, for tests and the fuzzer. */
#ifndef FTTCP_LANE_STREAMS_H
#define FTTCP_LANE_STREAMS_H
#include <string.h>
#include "engine/channel/lane_stream.h"

enum { STREAM_SESSION = 5, STREAM_PAIRING = 6 };

struct lane_streams {
	struct ftt_keys keys[2];
	struct ftt_lane_ends ends[2]; /* 0 connects */
	struct ftt_lane_stream s[2];
};

static inline void streams_know(struct lane_streams *p, int who, const struct ftt_keys *keys, uint64_t session, uint64_t pairing)
{
	p->keys[who] = *keys;
	ftt_lane_keys(&p->keys[who], session, pairing);
	p->ends[who] = (struct ftt_lane_ends){.node = 10 + (uint64_t)who, .partner = 11 - (uint64_t)who, .pairing = pairing,
					      .version = FTT_CHANNEL_VERSION, .workers = 2, .keys = &p->keys[who]};
}

/* Both say what they say first. */
static inline void streams_begin(struct lane_streams *p)
{
	ftt_lane_stream_begin(&p->s[0], &p->ends[0], 0);
	ftt_lane_stream_begin(&p->s[1], NULL, 0);
}

static inline void streams_open(struct lane_streams *p)
{
	static const struct ftt_keys one = {.key = {{1}}, .n = 1};

	memset(p, 0, sizeof(*p));
	for (int who = 0; who < 2; who++)
		streams_know(p, who, &one, STREAM_SESSION, STREAM_PAIRING);
	streams_begin(p);
}

static inline void streams_close(struct lane_streams *p)
{
	ftt_lane_stream_end(&p->s[0]);
	ftt_lane_stream_end(&p->s[1]);
}

/* Up to `most` bytes that `from` has to say go to the other one; how many did. */
static inline uint32_t streams_carry(struct lane_streams *p, int from, uint32_t most)
{
	struct ftt_lane_stream *a = &p->s[from], *b = &p->s[!from];
	uint32_t room, n = a->out_len < most ? a->out_len : most;
	uint8_t *to = ftt_lane_stream_space(b, &room);

	n = n < room ? n : room;
	memcpy(to, a->out + a->out_at, n);
	ftt_lane_stream_left(a, n);
	ftt_lane_stream_came(b, n);
	return n;
}

/* Bytes from nowhere; false: they have no room. */
static inline bool streams_feed(struct ftt_lane_stream *s, const uint8_t *bytes, uint32_t n)
{
	uint32_t room;
	uint8_t *to = ftt_lane_stream_space(s, &room);

	if (n > room)
		return false;
	memcpy(to, bytes, n);
	ftt_lane_stream_came(s, n);
	return true;
}

#endif
