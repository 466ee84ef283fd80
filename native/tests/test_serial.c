/* SPDX-License-Identifier: Apache-2.0 */
/* Datagrams as frames on a serial line, and the way back, also through noise. */
#include <string.h>
#include "check.h"
#include "core/records/serial_frame.h"

/* Feeds bytes in; returns the number of datagrams, the last one's length in *last, and of broken frames. */
static int feed(struct ftt_deframer *d, const uint8_t *bytes, size_t n, int *last, int *broken)
{
	int frames = 0;

	for (size_t i = 0; i < n; i++) {
		int got = ftt_deframe(d, bytes[i]);

		if (got > 0) {
			*last = got;
			frames++;
		} else if (got < 0) {
			++*broken;
		}
	}
	return frames;
}

static void fill(uint8_t *p, size_t n, int pattern)
{
	for (size_t i = 0; i < n; i++)
		p[i] = (uint8_t)(pattern == 0 ? 0 : pattern == 1 ? 0xff : pattern == 2 ? i : i % 3);
}

static void test_every_length_survives(void)
{
	static struct ftt_deframer d;
	uint8_t plain[FTT_BEAT_MAX], frame[FTT_SERIAL_FRAME_MAX];

	for (int pattern = 0; pattern < 4; pattern++)
		for (size_t len = 1; len <= FTT_BEAT_MAX; len++) {
			int last = 0, broken = 0;
			size_t n;

			fill(plain, len, pattern);
			n = ftt_serial_put(frame, plain, len);
			CHECK(n > len + FTT_SERIAL_CRC && n <= FTT_SERIAL_FRAME_MAX);
			CHECK(frame[0] == 0 && frame[n - 1] == 0 && !memchr(frame + 1, 0, n - 2));
			CHECK_EQ(feed(&d, frame, n, &last, &broken), 1);
			CHECK_EQ(last, len);
			CHECK_EQ(broken, 0);
			CHECK(!memcmp(d.plain, plain, len));
		}
	CHECK_EQ(ftt_serial_put(frame, plain, 0), 0);
	CHECK_EQ(ftt_serial_put(frame, plain, FTT_BEAT_MAX + 1), 0);
}

/* The frame of "1" 00 "2", with CRC-32C as Python computes it bit by bit. */
static void test_known_frame(void)
{
	static const uint8_t plain[] = {'1', 0, '2'};
	uint8_t frame[FTT_SERIAL_FRAME_MAX];
	static const uint8_t wanted[] = {0x00, 0x02, 0x31, 0x06, 0x32, 0x85, 0x1b, 0x8e, 0xdc, 0x00};

	CHECK_EQ(ftt_serial_put(frame, plain, sizeof(plain)), sizeof(wanted));
	CHECK(!memcmp(frame, wanted, sizeof(wanted)));
}

static void test_a_flipped_bit_costs_one_frame_at_most(void)
{
	uint8_t plain[100], frames[3 * FTT_SERIAL_FRAME_MAX];
	size_t n;

	fill(plain, sizeof(plain), 3);
	n = ftt_serial_put(frames, plain, sizeof(plain));
	memcpy(frames + n, frames, n);
	memcpy(frames + 2 * n, frames, n);
	for (size_t bit = n * 8; bit < 2 * n * 8; bit++) {
		struct ftt_deframer d = {0};
		int last = 0, broken = 0, got;

		frames[bit / 8] ^= (uint8_t)(1 << bit % 8);
		got = feed(&d, frames, 3 * n, &last, &broken);
		CHECK(got == 2 || got == 3); /* a delimiter more than needed may go */
		CHECK_EQ(last, sizeof(plain));
		CHECK(!memcmp(d.plain, plain, sizeof(plain)));
		CHECK(got == 3 || broken);
		frames[bit / 8] ^= (uint8_t)(1 << bit % 8);
	}
}

static void test_a_receiver_that_begins_in_the_middle_or_lost_bytes(void)
{
	uint8_t plain[100], frames[2 * FTT_SERIAL_FRAME_MAX];
	size_t n;

	fill(plain, sizeof(plain), 2);
	n = ftt_serial_put(frames, plain, sizeof(plain));
	memcpy(frames + n, frames, n);
	for (size_t from = 0; from < n; from++) {
		struct ftt_deframer d = {0};
		int last = 0, broken = 0, got = feed(&d, frames + from, 2 * n - from, &last, &broken);

		CHECK_EQ(got, from < 2 ? 2 : 1);
		CHECK(!memcmp(d.plain, plain, sizeof(plain)));
	}
}

static void test_what_is_too_long_is_thrown_away(void)
{
	static struct ftt_deframer d;
	uint8_t plain[10] = {1, 2, 3}, frame[FTT_SERIAL_FRAME_MAX];
	int last = 0, broken = 0;

	for (int i = 0; i < 100000; i++)
		CHECK_EQ(ftt_deframe(&d, (uint8_t)(i % 255 + 1)), 0);
	CHECK(d.len <= FTT_SERIAL_PLAIN_MAX);
	CHECK_EQ(feed(&d, frame, ftt_serial_put(frame, plain, sizeof(plain)), &last, &broken), 1);
	CHECK_EQ(broken, 1);
	CHECK_EQ(last, sizeof(plain));
}

int main(void)
{
	test_every_length_survives();
	test_known_frame();
	test_a_flipped_bit_costs_one_frame_at_most();
	test_a_receiver_that_begins_in_the_middle_or_lost_bytes();
	test_what_is_too_long_is_thrown_away();
	return 0;
}
