/* SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include "engine/channel/lane_stream.h"
#include <stdlib.h>

_Static_assert(FTT_LANE_TAG == crypto_secretstream_xchacha20poly1305_ABYTES, "the tag of a frame");
_Static_assert(FTT_LANE_STREAM == crypto_secretstream_xchacha20poly1305_HEADERBYTES, "the header of a stream");
_Static_assert(crypto_secretstream_xchacha20poly1305_KEYBYTES == 32, "a key has 32 bytes");
_Static_assert(FTT_LANE_HELLO + FTT_LANE_STREAM + FTT_LANE_HEADER + FTT_LANE_TAG <= FTT_LANE_FIRST, "all of it has room");

#define QUEUE_BYTES (2 * FTT_LANE_QUEUE) /* what waits is moved to the front after as many bytes as it may have */
#define REFUSED(why) (-1 - (int)(why))

void ftt_lane_keys(struct ftt_keys *keys, uint64_t commit_session, uint64_t pairing)
{
	uint8_t label[24] = "fttcp/ln", secret[32];

	put_be64(label + 8, commit_session);
	put_be64(label + 16, pairing);
	for (uint32_t i = 0; i < keys->n; i++) {
		memcpy(secret, keys->key[i], sizeof(secret));
		crypto_generichash(keys->key[i], sizeof(keys->key[i]), label, sizeof(label), secret, sizeof(secret));
	}
	sodium_memzero(secret, sizeof(secret));
}

static uint8_t *append(struct ftt_lane_stream *s, uint32_t len)
{
	uint8_t *to;

	if (s->out_at + s->out_len + len > s->out_max) {
		memmove(s->out, s->out + s->out_at, s->out_len);
		s->out_at = 0;
	}
	to = s->out + s->out_at + s->out_len;
	s->out_len += len;
	return to;
}

/* A MAC of the hello of the one that connects, or of both. */
static void sign(const struct ftt_lane_stream *s, int hellos, const uint8_t *key, uint8_t mac[FTT_LANE_MAC])
{
	crypto_generichash(mac, FTT_LANE_MAC, s->hello[0], (size_t)hellos * FTT_LANE_SIGNED, key, 32);
}

static void say_hello(struct ftt_lane_stream *s, const struct ftt_lane_ends *ends)
{
	struct ftt_lane_hello h = {.version = ends->version, .worker = ends->worker, .other = s->worker, .node = ends->node, .pairing = ends->pairing};
	int which = s->connects ? 0 : 1;
	uint8_t *to = append(s, FTT_LANE_HELLO);

	randombytes_buf(h.nonce, sizeof(h.nonce));
	ftt_lane_hello_put(s->hello[which], &h);
	memcpy(to, s->hello[which], FTT_LANE_SIGNED);
	sign(s, which + 1, s->key, to + FTT_LANE_SIGNED);
}

void ftt_lane_stream_begin(struct ftt_lane_stream *s, const struct ftt_lane_ends *ends, uint8_t to)
{
	memset(s, 0, sizeof(*s));
	s->in = s->first_in;
	s->out = s->first_out;
	s->in_max = s->out_max = FTT_LANE_FIRST;
	if (!ends)
		return;
	s->connects = true;
	s->worker = to;
	memcpy(s->key, ends->keys->key[ends->keys->send], sizeof(s->key));
	say_hello(s, ends);
}

static void release(uint8_t *bytes, size_t len, const uint8_t *first)
{
	if (bytes && bytes != first) {
		sodium_memzero(bytes, len);
		free(bytes);
	}
}

void ftt_lane_stream_end(struct ftt_lane_stream *s)
{
	release(s->in, s->in_max, s->first_in);
	release(s->out, s->out_max, s->first_out);
	release(s->message, FTT_LANE_MAX, NULL);
	sodium_memzero(s, sizeof(*s));
}

uint8_t *ftt_lane_stream_space(struct ftt_lane_stream *s, uint32_t *room)
{
	if (s->in_at) {
		memmove(s->in, s->in + s->in_at, s->in_len);
		s->in_at = 0;
	}
	*room = s->in_max - s->in_len;
	return s->in + s->in_len;
}

void ftt_lane_stream_came(struct ftt_lane_stream *s, uint32_t n)
{
	s->in_len += n;
}

static const uint8_t *take(struct ftt_lane_stream *s, uint32_t n)
{
	const uint8_t *at = s->in + s->in_at;

	s->in_at += n;
	s->in_len -= n;
	return at;
}

/* Is it made with a key of ours? That one is the connection's from here on. */
static bool believe(struct ftt_lane_stream *s, const struct ftt_lane_ends *ends, int hellos, const uint8_t *wanted)
{
	uint8_t mac[FTT_LANE_MAC];

	for (uint32_t i = 0; i < ends->keys->n; i++) {
		if (s->connects && sodium_memcmp(s->key, ends->keys->key[i], sizeof(s->key)))
			continue; /* the answer has the key of the question */
		sign(s, hellos, ends->keys->key[i], mac);
		if (!sodium_memcmp(mac, wanted, sizeof(mac))) {
			memcpy(s->key, ends->keys->key[i], sizeof(s->key));
			return true;
		}
	}
	return false;
}

/* The keys of both streams, and ours begins. A hash of 64 bytes of the hellos, which no MAC of them is: those have 32 bytes. */
static void begin_streams(struct ftt_lane_stream *s, uint8_t keys[2][32])
{
	uint8_t *to = append(s, FTT_LANE_STREAM);

	crypto_generichash(keys[0], 64, s->hello[0], sizeof(s->hello), s->key, sizeof(s->key));
	crypto_secretstream_xchacha20poly1305_init_push(&s->push, to, keys[s->connects ? 0 : 1]);
}

static void put_frame(struct ftt_lane_stream *s, uint8_t kind, const uint8_t *bytes, uint32_t len)
{
	uint8_t *to = append(s, FTT_LANE_HEADER + len + FTT_LANE_TAG);

	ftt_lane_frame_put(to, kind, len);
	crypto_secretstream_xchacha20poly1305_push(&s->push, to + FTT_LANE_HEADER, NULL, bytes, len, to, FTT_LANE_HEADER, 0);
}

/* Reads the other end's hello, and says all that follows from it. Zero, or a refusal. */
static int hear_hello(struct ftt_lane_stream *s, const struct ftt_lane_ends *ends)
{
	const uint8_t *p = take(s, FTT_LANE_HELLO);
	uint8_t keys[2][32];
	struct ftt_lane_hello h;
	int refused = ftt_lane_hello_get(p, ends->version, &h);

	if (refused)
		return REFUSED(refused - 1);
	if (h.node != ends->partner || h.pairing != ends->pairing)
		return REFUSED(FTT_LANE_STALE);
	if (h.other != ends->worker || h.worker >= ends->workers || (s->connects && h.worker != s->worker))
		return REFUSED(FTT_LANE_GARBAGE);
	memcpy(s->hello[s->connects ? 1 : 0], p, FTT_LANE_SIGNED);
	if (!believe(s, ends, s->connects ? 2 : 1, p + FTT_LANE_SIGNED))
		return REFUSED(FTT_LANE_WRONG_KEY);
	s->worker = h.worker;
	if (!s->connects)
		say_hello(s, ends);
	begin_streams(s, keys);
	put_frame(s, FTT_LANE_READY, NULL, 0);
	/* the other one's key is kept where its stream will be begun */
	memcpy(s->pull.k, keys[s->connects ? 1 : 0], 32);
	sodium_memzero(keys, sizeof(keys));
	s->step = FTT_LANE_HEARS_STREAM;
	return 0;
}

static void hear_stream(struct ftt_lane_stream *s)
{
	const uint8_t *p = take(s, FTT_LANE_STREAM);
	uint8_t key[32];

	memcpy(key, s->pull.k, sizeof(key));
	crypto_secretstream_xchacha20poly1305_init_pull(&s->pull, p, key);
	sodium_memzero(key, sizeof(key));
	s->step = FTT_LANE_HEARS_READY;
}

/* It is the partner: large buffers, to which goes what waits in the small ones. */
static bool widen(struct ftt_lane_stream *s)
{
	uint8_t *in = malloc(FTT_LANE_FRAME_MAX), *out = malloc(QUEUE_BYTES), *message = malloc(FTT_LANE_MAX);

	if (!in || !out || !message) {
		free(in);
		free(out);
		free(message);
		return false;
	}
	memcpy(in, s->in + s->in_at, s->in_len);
	memcpy(out, s->out + s->out_at, s->out_len);
	s->in = in;
	s->out = out;
	s->message = message;
	s->in_at = s->out_at = 0;
	s->in_max = FTT_LANE_FRAME_MAX;
	s->out_max = QUEUE_BYTES;
	return true;
}

static int hear_frame(struct ftt_lane_stream *s, uint8_t *kind, uint32_t *len)
{
	const uint8_t *p = s->in + s->in_at;
	uint8_t tag, nothing[1], *to = s->message ? s->message : nothing;
	unsigned long long got;
	uint32_t all;

	if (s->in_len < FTT_LANE_HEADER)
		return 0;
	all = ftt_lane_frame_get(p, kind, len);
	if (!all || (*kind == FTT_LANE_READY) != (s->step == FTT_LANE_HEARS_READY) || (*kind == FTT_LANE_READY && *len))
		return REFUSED(FTT_LANE_GARBAGE);
	if (s->in_len < all)
		return 0;
	if (crypto_secretstream_xchacha20poly1305_pull(&s->pull, to, &got, &tag, p + FTT_LANE_HEADER, *len + FTT_LANE_TAG, p,
						       FTT_LANE_HEADER) || tag || got != *len)
		return REFUSED(FTT_LANE_WRONG_KEY);
	take(s, all);
	if (s->step == FTT_LANE_HEARS_READY) {
		s->step = FTT_LANE_IS_UP;
		if (!widen(s))
			return REFUSED(FTT_LANE_NO_MEMORY);
	}
	return 1;
}

int ftt_lane_stream_next(struct ftt_lane_stream *s, const struct ftt_lane_ends *ends, uint8_t *kind, uint32_t *len)
{
	int refused;

	if (s->step == FTT_LANE_HEARS_HELLO) {
		if (s->in_len >= 8 && (refused = ftt_lane_hello_begins(s->in + s->in_at, ends->version))) /* another version's may be longer */
			return REFUSED(refused - 1);
		if (s->in_len < FTT_LANE_HELLO)
			return 0;
		refused = hear_hello(s, ends);
		if (refused)
			return refused;
	}
	if (s->step == FTT_LANE_HEARS_STREAM) {
		if (s->in_len < FTT_LANE_STREAM)
			return 0;
		hear_stream(s);
	}
	return hear_frame(s, kind, len);
}

uint32_t ftt_lane_stream_room(const struct ftt_lane_stream *s)
{
	uint32_t used = s->out_len + FTT_LANE_HEADER + FTT_LANE_TAG;

	if (s->step != FTT_LANE_IS_UP || used >= FTT_LANE_QUEUE)
		return 0;
	return FTT_LANE_QUEUE - used < FTT_LANE_MAX ? FTT_LANE_QUEUE - used : FTT_LANE_MAX;
}

bool ftt_lane_stream_put(struct ftt_lane_stream *s, uint8_t kind, const uint8_t *bytes, uint32_t len)
{
	uint32_t room = ftt_lane_stream_room(s);

	if (!room || len > room)
		return false;
	put_frame(s, kind, bytes, len);
	return true;
}

void ftt_lane_stream_left(struct ftt_lane_stream *s, uint32_t n)
{
	s->out_at += n;
	s->out_len -= n;
	if (!s->out_len)
		s->out_at = 0;
}
