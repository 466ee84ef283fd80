/* SPDX-License-Identifier: Apache-2.0 */
/* A connection of the bulk lane on a hostile wire: what comes out is what went in, from the partner, in this connection, or nothing. */
#include "check.h"
#include "lane_streams.h"

#define REFUSED(why) (-1 - (int)FTT_LANE_##why)

static struct lane_streams p;

static int next(int who, uint8_t *kind, uint32_t *len)
{
	return ftt_lane_stream_next(&p.s[who], &p.ends[who], kind, len);
}

/* What that end makes of what has come: the last answer that is no message; *messages counts those. */
static int read_all(int who, uint32_t *messages)
{
	uint8_t kind;
	uint32_t len;
	int got;

	while ((got = next(who, &kind, &len)) == 1)
		*messages += kind != FTT_LANE_READY;
	return got;
}

static void shake_hands(uint32_t most)
{
	uint32_t messages = 0;

	while (p.s[0].step != FTT_LANE_IS_UP || p.s[1].step != FTT_LANE_IS_UP) {
		uint32_t moved = streams_carry(&p, 0, most) + streams_carry(&p, 1, most);

		CHECK_EQ(read_all(0, &messages), 0);
		CHECK_EQ(read_all(1, &messages), 0);
		CHECK(moved);
	}
	CHECK_EQ(messages, 0);
}

static void test_any_cut(void)
{
	static uint8_t text[3000];

	for (uint32_t most = 1; most < 300; most += most < 30 ? 1 : 37) {
		uint8_t kind;
		uint32_t len, sent = 0, got = 0;

		streams_open(&p);
		shake_hands(most);
		while (got < 20) {
			randombytes_buf_deterministic(text, sizeof(text), (const unsigned char[32]){(unsigned char)sent});
			if (sent < 20 && ftt_lane_stream_put(&p.s[0], (uint8_t)(1 + sent), text, sent * 149))
				sent++;
			streams_carry(&p, 0, most * 10);
			while (next(1, &kind, &len) == 1) {
				randombytes_buf_deterministic(text, sizeof(text), (const unsigned char[32]){(unsigned char)got});
				CHECK_EQ(kind, 1 + got);
				CHECK_EQ(len, got * 149);
				CHECK(!memcmp(p.s[1].message, text, len));
				got++;
			}
		}
		streams_close(&p);
	}
}

/* All that end 0 says in a connection with three messages. */
static uint32_t record(uint8_t *wire)
{
	uint32_t n = 0, messages = 0;

	streams_open(&p);
	while (p.s[0].step != FTT_LANE_IS_UP) {
		memcpy(wire + n, p.s[0].out + p.s[0].out_at, p.s[0].out_len);
		n += p.s[0].out_len;
		streams_carry(&p, 0, UINT32_MAX);
		CHECK_EQ(read_all(1, &messages), 0);
		streams_carry(&p, 1, UINT32_MAX);
		CHECK_EQ(read_all(0, &messages), 0);
	}
	for (uint32_t i = 0; i < 3; i++)
		CHECK(ftt_lane_stream_put(&p.s[0], 1, (const uint8_t *)"some words", 10));
	memcpy(wire + n, p.s[0].out + p.s[0].out_at, p.s[0].out_len);
	n += p.s[0].out_len;
	streams_carry(&p, 0, UINT32_MAX);
	CHECK_EQ(read_all(1, &messages), 0);
	CHECK_EQ(messages, 3);
	streams_close(&p);
	return n;
}

/* A recorded connection, whole or in part, is nothing to a new one: its other end draws other numbers. */
static void test_recording(void)
{
	uint8_t wire[1024];
	uint32_t n = record(wire), messages = 0;

	streams_open(&p);
	CHECK(streams_feed(&p.s[1], wire, FTT_LANE_HELLO));
	CHECK_EQ(read_all(1, &messages), 0); /* the hello is one */
	CHECK(p.s[1].message == NULL);       /* no room for messages yet */
	CHECK(streams_feed(&p.s[1], wire + FTT_LANE_HELLO, n - FTT_LANE_HELLO));
	CHECK_EQ(read_all(1, &messages), REFUSED(WRONG_KEY));
	CHECK_EQ(messages, 0);
	streams_close(&p);
}

/* Ends that are up, with `first` on its way to end 1; what it delivers of it before the wire was touched is counted by the caller. */
static void open_up(uint32_t frames)
{
	streams_open(&p);
	shake_hands(UINT32_MAX);
	for (uint32_t i = 0; i < frames; i++)
		CHECK(ftt_lane_stream_put(&p.s[0], (uint8_t)(1 + i), (const uint8_t *)"some words", 10));
}

/* Each bit of what is said is changed once: no message comes out from there on, and what follows is not believed either. */
static void test_changed_bits(void)
{
	enum { FRAME = FTT_LANE_HEADER + 10 + FTT_LANE_TAG };

	for (uint32_t bit = 0; bit < 8 * 2 * FRAME; bit++) {
		uint32_t messages = 0;
		int got;

		open_up(4);
		p.s[0].out[p.s[0].out_at + bit / 8] ^= (uint8_t)(1u << bit % 8);
		streams_carry(&p, 0, UINT32_MAX);
		got = read_all(1, &messages);
		CHECK_EQ(messages, bit / 8 / FRAME);
		CHECK(got == REFUSED(WRONG_KEY) || got == REFUSED(GARBAGE) || !got); /* 0: it waits for a longer one, and is cut then */
		streams_close(&p);
	}
}

static void test_changed_hellos(void)
{
	for (int who = 0; who < 2; who++)
		for (uint32_t bit = 0; bit < 8 * FTT_LANE_HELLO; bit++) {
			uint32_t messages = 0;

			streams_open(&p);
			if (who) {
				streams_carry(&p, 0, UINT32_MAX);
				CHECK_EQ(read_all(1, &messages), 0);
			}
			p.s[who].out[p.s[who].out_at + bit / 8] ^= (uint8_t)(1u << bit % 8);
			streams_carry(&p, who, UINT32_MAX);
			CHECK(read_all(!who, &messages) < 0);
			CHECK(p.s[!who].step == FTT_LANE_HEARS_HELLO);
			streams_close(&p);
		}
}

/* Frames that are left out, said twice, or in another order. */
static void test_order(void)
{
	enum { FRAME = FTT_LANE_HEADER + 10 + FTT_LANE_TAG };
	static const uint8_t order[][3] = {{1, 2, 3}, {0, 0, 1}, {1, 0, 2}, {0, 2, 1}, {0, 1, 1}};

	for (size_t i = 0; i < sizeof(order) / sizeof(order[0]); i++) {
		uint32_t messages = 0, good = 0;

		open_up(4);
		while (good < 3 && order[i][good] == good)
			good++;
		for (int k = 0; k < 3; k++)
			CHECK(streams_feed(&p.s[1], p.s[0].out + p.s[0].out_at + order[i][k] * FRAME, FRAME));
		CHECK_EQ(read_all(1, &messages), REFUSED(WRONG_KEY));
		CHECK_EQ(messages, good);
		streams_close(&p);
	}
}

/* What an end says comes back to it. */
static void test_reflection(void)
{
	uint32_t messages = 0;

	streams_open(&p);
	CHECK(streams_feed(&p.s[0], p.s[0].out + p.s[0].out_at, p.s[0].out_len));
	CHECK_EQ(read_all(0, &messages), REFUSED(STALE));
	streams_close(&p);
	open_up(1);
	CHECK(streams_feed(&p.s[0], p.s[0].out + p.s[0].out_at, p.s[0].out_len));
	CHECK_EQ(read_all(0, &messages), REFUSED(WRONG_KEY));
	CHECK_EQ(messages, 0);
	streams_close(&p);
}

static int answer_to(const uint8_t *bytes, uint32_t n)
{
	uint32_t messages = 0;
	int got;

	streams_open(&p);
	CHECK(streams_feed(&p.s[1], bytes, n));
	got = read_all(1, &messages);
	CHECK_EQ(messages, 0);
	streams_close(&p);
	return got;
}

static void test_hellos_of_others(void)
{
	static const struct ftt_keys one = {.key = {{1}}, .n = 1}, two = {.key = {{2}}, .n = 1},
				     both = {.key = {{2}, {1}}, .n = 2, .send = 0};
	uint8_t zeros[FTT_LANE_FIRST] = {0}, newer[8] = {'F', 'T', 'L', 'N', FTT_CHANNEL_VERSION + 1};
	struct {
		const struct ftt_keys *keys;
		uint64_t session, pairing;
		int answer;
	} others[] = {
		{&two, STREAM_SESSION, STREAM_PAIRING, REFUSED(WRONG_KEY)},
		{&both, STREAM_SESSION, STREAM_PAIRING, REFUSED(WRONG_KEY)}, /* it speaks with the one that we do not know */
		{&one, STREAM_SESSION + 1, STREAM_PAIRING, REFUSED(WRONG_KEY)},
		{&one, STREAM_SESSION, STREAM_PAIRING + 1, REFUSED(STALE)},
		{&one, STREAM_SESSION, STREAM_PAIRING, 0},
	};

	CHECK_EQ(answer_to(zeros, 7), 0);
	CHECK_EQ(answer_to(zeros, 8), REFUSED(GARBAGE)); /* at once */
	CHECK_EQ(answer_to(newer, 8), REFUSED(VERSION_OTHER));
	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
		uint32_t messages = 0;

		streams_open(&p);
		ftt_lane_stream_end(&p.s[0]);
		streams_know(&p, 0, others[i].keys, others[i].session, others[i].pairing);
		ftt_lane_stream_begin(&p.s[0], &p.ends[0], 0);
		streams_carry(&p, 0, UINT32_MAX);
		CHECK_EQ(read_all(1, &messages), others[i].answer);
		streams_close(&p);
	}
	/* while keys are exchanged each end may send with another one */
	streams_open(&p);
	ftt_lane_stream_end(&p.s[0]);
	streams_know(&p, 0, &both, STREAM_SESSION, STREAM_PAIRING);
	streams_know(&p, 1, &both, STREAM_SESSION, STREAM_PAIRING);
	p.keys[1].send = 1;
	ftt_lane_stream_begin(&p.s[0], &p.ends[0], 0);
	shake_hands(UINT32_MAX);
	CHECK(!memcmp(p.s[0].key, p.keys[0].key[0], 32) && !memcmp(p.s[1].key, p.keys[0].key[0], 32));
	streams_close(&p);
}

/* To a worker that is not ours, and from one that the partner cannot have. */
static void test_workers(void)
{
	for (int i = 0; i < 2; i++) {
		uint32_t messages = 0;

		streams_open(&p);
		ftt_lane_stream_end(&p.s[0]);
		p.ends[0].worker = i ? 2 : 0;
		ftt_lane_stream_begin(&p.s[0], &p.ends[0], i ? 0 : 1);
		streams_carry(&p, 0, UINT32_MAX);
		CHECK_EQ(read_all(1, &messages), REFUSED(GARBAGE));
		streams_close(&p);
	}
}

/* Who has the key, and does not keep to what may be said. */
static void test_frames_that_are_none(void)
{
	static const uint8_t frame[][FTT_LANE_HEADER] = {
		{FTT_LANE_FIRST_KIND, 1, 0, 1},       /* one byte too long */
		{FTT_LANE_FIRST_KIND, 255, 255, 255},
		{FTT_LANE_READY, 0, 0, 0},            /* again */
		{FTT_LANE_READY, 0, 0, 1},
	};

	for (size_t i = 0; i < sizeof(frame) / sizeof(frame[0]); i++) {
		uint32_t messages = 0;

		open_up(0);
		CHECK(streams_feed(&p.s[1], frame[i], FTT_LANE_HEADER));
		CHECK_EQ(read_all(1, &messages), REFUSED(GARBAGE));
		streams_close(&p);
	}
	streams_open(&p); /* a message before the end has shown that it has the key */
	streams_carry(&p, 0, UINT32_MAX);
	{
		uint32_t messages = 0;

		CHECK_EQ(read_all(1, &messages), 0);
		streams_carry(&p, 1, UINT32_MAX);
		CHECK_EQ(read_all(0, &messages), 0);
		p.s[0].out[p.s[0].out_at + FTT_LANE_STREAM] = FTT_LANE_FIRST_KIND;
		streams_carry(&p, 0, UINT32_MAX);
		CHECK_EQ(read_all(1, &messages), REFUSED(GARBAGE));
	}
	streams_close(&p);
}

/* The queue is bounded, whatever leaves of it and when. */
static void test_bounds(void)
{
	static uint8_t text[FTT_LANE_MAX];
	uint32_t messages = 0, sent = 0;

	open_up(0);
	CHECK_EQ(ftt_lane_stream_room(&p.s[0]), FTT_LANE_MAX);
	for (uint32_t i = 0; i < 3000; i++) {
		uint32_t len = i * 2654435761u % FTT_LANE_MAX, room = ftt_lane_stream_room(&p.s[0]);
		bool put = ftt_lane_stream_put(&p.s[0], 1, text, len);

		CHECK_EQ(put, room && len <= room);
		sent += put;
		CHECK(p.s[0].out_len <= FTT_LANE_QUEUE);
		if (!put) {
			streams_carry(&p, 0, i * 48271u % 40000);
			CHECK_EQ(read_all(1, &messages), 0);
		}
	}
	while (streams_carry(&p, 0, UINT32_MAX))
		CHECK_EQ(read_all(1, &messages), 0);
	CHECK_EQ(messages, sent);
	CHECK(sent > 500);
	streams_close(&p);
}

int main(void)
{
	CHECK(sodium_init() >= 0);
	test_any_cut();
	test_recording();
	test_changed_bits();
	test_changed_hellos();
	test_order();
	test_reflection();
	test_hellos_of_others();
	test_workers();
	test_frames_that_are_none();
	test_bounds();
	return 0;
}
