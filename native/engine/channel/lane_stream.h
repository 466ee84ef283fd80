/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lane_stream.h - one connection of the bulk lane without its socket: bytes in, messages out, and back.
 *
 * Who has the pair's key may speak. A hello bears a MAC with a key of this pairing; the answer's covers both hellos, and so both
 * nonces; the keys of the two streams are made of them. So nothing of another connection fits into this one. Before the first
 * frame was authentic a stranger costs some hundred bytes; the large buffers come then.
 */
#ifndef FTTCP_LANE_STREAM_H
#define FTTCP_LANE_STREAM_H
#include <sodium.h>
#include "core/records/lane_wire.h"
#include "engine/api/abi.h"

#define FTT_LANE_QUEUE (256u << 10) /* bytes that wait for a connection at most, encrypted */
#define FTT_LANE_FIRST 256u         /* enough for all that is said before the first frame is authentic */

/* Between whom. */
struct ftt_lane_ends {
	uint64_t node, partner, pairing;
	uint8_t version;         /* that both speak */
	uint8_t worker, workers; /* ours; how many each node has */
	const struct ftt_keys *keys; /* of this pairing: ftt_lane_keys() */
};

enum ftt_lane_step { FTT_LANE_HEARS_HELLO, FTT_LANE_HEARS_STREAM, FTT_LANE_HEARS_READY, FTT_LANE_IS_UP };

struct ftt_lane_stream {
	enum ftt_lane_step step;
	bool connects;  /* it is our end that does */
	uint8_t worker; /* the partner's; known from its hello on */
	uint8_t key[32]; /* that both hellos were made with */
	uint8_t hello[2][FTT_LANE_SIGNED]; /* of the one that connects, of the other */
	crypto_secretstream_xchacha20poly1305_state push, pull;
	uint8_t *in, *out, *message;
	uint32_t in_at, in_len, in_max;    /* what came and is not read yet */
	uint32_t out_at, out_len, out_max; /* what has not left yet */
	uint8_t first_in[FTT_LANE_FIRST], first_out[FTT_LANE_FIRST];
};

/* Makes the keys of a pairing out of those of the ring. */
void ftt_lane_keys(struct ftt_keys *keys, uint64_t commit_session, uint64_t pairing);

/* With ends: our end connects, to that worker, and says hello. NULL: it waits for one. */
void ftt_lane_stream_begin(struct ftt_lane_stream *s, const struct ftt_lane_ends *ends, uint8_t to);
void ftt_lane_stream_end(struct ftt_lane_stream *s);

/* Where bytes that come are to be put, and how many have room; then how many did come. */
uint8_t *ftt_lane_stream_space(struct ftt_lane_stream *s, uint32_t *room);
void ftt_lane_stream_came(struct ftt_lane_stream *s, uint32_t n);
/*
 * The next message: 1, at s->message. It is there until the next call. The first one is FTT_LANE_READY. 0: more bytes must come.
 * Negative: the connection is to be ended, -1 - enum ftt_lane_refusal.
 */
int ftt_lane_stream_next(struct ftt_lane_stream *s, const struct ftt_lane_ends *ends, uint8_t *kind, uint32_t *len);

/* How long a message may be now; 0: there is no room, or not yet. */
uint32_t ftt_lane_stream_room(const struct ftt_lane_stream *s);
/* Queues a message if there is room. */
bool ftt_lane_stream_put(struct ftt_lane_stream *s, uint8_t kind, const uint8_t *bytes, uint32_t len);
/* So many of the bytes at out + out_at have left. */
void ftt_lane_stream_left(struct ftt_lane_stream *s, uint32_t n);

#endif
