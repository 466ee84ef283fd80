/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bytes of the bulk lane. Without the key nothing becomes a message, whatever comes. With it, and somebody on the wire who cuts,
 * changes and puts in bytes, what comes out is a beginning of what went in.
 */
#include <stdlib.h>
#include "../tests/lane_streams.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct lane_streams p;
static uint32_t sent, got;

static void fill(uint8_t *text, uint32_t number, uint32_t len)
{
	for (uint32_t i = 0; i < len; i++)
		text[i] = (uint8_t)(number + i);
}

/* False: the connection is over. */
static bool read_all(int who, bool counted)
{
	static uint8_t wanted[FTT_LANE_MAX];
	uint8_t kind;
	uint32_t len;
	int answer;

	while ((answer = ftt_lane_stream_next(&p.s[who], &p.ends[who], &kind, &len)) == 1) {
		if (kind == FTT_LANE_READY)
			continue;
		if (!counted || got >= sent || kind != (uint8_t)(1 + got % 200))
			abort();
		fill(wanted, got, len);
		if (memcmp(wanted, p.s[who].message, len) != 0)
			abort();
		got++;
	}
	return !answer;
}

/* A stranger says it to an end that waits for a hello, or for the answer to its own; in two parts. */
static void stranger(int who, const uint8_t *data, size_t size)
{
	uint32_t first = size ? data[0] : 0;

	streams_open(&p);
	for (size_t at = 0; at < size;) {
		uint32_t room, n = first ? first : 64;
		uint8_t *to = ftt_lane_stream_space(&p.s[who], &room);

		n = n < room ? n : room;
		n = n < size - at ? n : (uint32_t)(size - at);
		if (!n)
			abort(); /* it reads no more, and has not said so */
		memcpy(to, data + at, n);
		ftt_lane_stream_came(&p.s[who], n);
		at += n;
		if (!read_all(who, false))
			break;
		if (p.s[who].step == FTT_LANE_IS_UP)
			abort();
	}
	streams_close(&p);
}

/* Two bytes for each step: what happens, and how much. */
static void wire(const uint8_t *data, size_t size)
{
	static uint8_t text[FTT_LANE_MAX];
	bool alive = true;

	streams_open(&p);
	sent = got = 0;
	for (size_t at = 0; alive && at + 1 < size; at += 2) {
		uint32_t n = data[at + 1], len = n * n;
		struct ftt_lane_stream *a = &p.s[0];

		switch (data[at] % 5) {
		case 0:
			fill(text, sent, len);
			sent += ftt_lane_stream_put(a, (uint8_t)(1 + sent % 200), text, len);
			break;
		case 1:
			streams_carry(&p, 0, len);
			break;
		case 2:
			streams_carry(&p, 1, len);
			break;
		case 3:
			if (n < a->out_len)
				a->out[a->out_at + n] ^= data[at] | 1;
			break;
		default:
			streams_feed(&p.s[1], data, n < size ? n : (uint32_t)size);
			break;
		}
		alive = read_all(0, false) && read_all(1, true);
		if (p.s[0].out_len > FTT_LANE_QUEUE || p.s[1].in_len > FTT_LANE_FRAME_MAX)
			abort();
	}
	streams_close(&p);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static bool begun;

	if (!begun && sodium_init() < 0)
		abort();
	begun = true;
	if (!size)
		return 0;
	if (data[0] % 3 < 2)
		stranger(data[0] % 3, data + 1, size - 1);
	else
		wire(data + 1, size - 1);
	return 0;
}
