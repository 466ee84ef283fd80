/* SPDX-License-Identifier: Apache-2.0 */
/* The input log: whatever order and overlap pieces come in, the stream that is read again is the one that was written. */
#include <stdlib.h>
#include <string.h>
#include "check.h"
#include "core/log.h"

#define STREAM 5000u

static uint8_t stream[STREAM], room[STREAM * 64], wire[FTT_PIECE_HEADER + STREAM];

static bool put(struct ftt_log *l, uint32_t offset, uint32_t len, uint8_t flags, uint64_t after, bool apart)
{
	struct ftt_piece x = {.offset = offset, .len = (uint16_t)len, .flags = flags, .after = after, .bytes = stream + offset};
	uint32_t before = l->len, growth;

	bool whole;

	if (!ftt_log_fresh(l, &x))
		return true;
	growth = ftt_log_growth(l, &x, apart);
	CHECK(l->len + growth <= l->size);
	whole = ftt_log_put(l, &x, apart);
	CHECK(l->len == before + growth);
	return whole;
}

static void add(struct ftt_log *l, uint32_t offset, uint32_t len, uint8_t flags, uint64_t after, bool apart)
{
	CHECK(put(l, offset, len, flags, after, apart));
}

static struct ftt_log fresh(void)
{
	struct ftt_log l = {.bytes = room, .size = sizeof(room), .len = 60, .syn_len = 60};

	memset(room, 0xaa, sizeof(room));
	return l;
}

static uint32_t read_again(const struct ftt_log *l, uint64_t *last_after)
{
	struct ftt_log_reader reader = {0};
	struct ftt_piece x;
	uint32_t offset = 0;

	while (offset < l->end) {
		if (offset % 7 == 3) /* what was lost is read again */
			CHECK(ftt_log_find(l, offset / 2, &reader, &x) && x.offset == offset / 2);
		CHECK(ftt_log_find(l, offset, &reader, &x));
		CHECK(x.offset == offset && x.len && !memcmp(x.bytes, stream + offset, x.len));
		offset += x.len;
		*last_after = x.after;
	}
	return offset;
}

static void in_order(void)
{
	struct ftt_log l = fresh();
	struct ftt_piece x;
	struct ftt_log_reader reader = {0};
	uint64_t after;

	add(&l, 0, 100, 0, 0, false);
	add(&l, 100, 100, 0, 0, false);
	CHECK(l.len == 60 + FTT_PIECE_HEADER + 200); /* one piece */
	add(&l, 200, 10, 0, 50, false); /* the client had more of the server's */
	CHECK(l.len == 60 + 2 * FTT_PIECE_HEADER + 210);
	add(&l, 150, 40, 0, 70, false); /* sent again: nothing is new */
	CHECK(l.end == 210 && l.len == 60 + 2 * FTT_PIECE_HEADER + 210);
	CHECK(read_again(&l, &after) == 210 && after == 50);
	add(&l, 210, 0, FTT_PIECE_FIN, 50, false);
	CHECK(l.fin && ftt_log_find(&l, 210, &reader, &x) && !x.len && x.flags & FTT_PIECE_FIN);
	add(&l, 210, 0, FTT_PIECE_FIN, 50, false);
	CHECK(l.len == 60 + 2 * FTT_PIECE_HEADER + 210); /* the FIN is a part of the last piece, once */
}

static void apart(void)
{
	struct ftt_log l = fresh();

	add(&l, 0, 10, 0, 0, true);
	add(&l, 10, 10, 0, 0, true);
	CHECK(l.len == 60 + 2 * (FTT_PIECE_HEADER + 10));
}

static void any_order(unsigned seed)
{
	struct ftt_log l = fresh();
	uint64_t after;

	srand(seed);
	while (l.end < STREAM) {
		uint32_t offset = l.end + (rand() % 4 ? (uint32_t)rand() % 400 : 0), len = 1 + (uint32_t)rand() % 200;

		offset -= offset > 100 ? (uint32_t)rand() % 100 : 0;
		if (offset >= STREAM)
			continue;
		add(&l, offset, len < STREAM - offset ? len : STREAM - offset, rand() % 2 ? FTT_PIECE_PUSH : 0, (uint64_t)rand() % 3,
		    rand() % 2);
	}
	CHECK_EQ(l.beyond, 0);
	CHECK_EQ(l.end, STREAM);
	CHECK_EQ(read_again(&l, &after), STREAM);
}

/* A client that says its stream backwards would have every piece looked at for each byte: its log ends before. */
static void backwards(void)
{
	struct ftt_log l = fresh();
	uint32_t offset = 2000;

	while (--offset)
		CHECK(put(&l, offset, 1, 0, offset, false));
	CHECK(!put(&l, 0, 1, 0, 0, false));
	CHECK_EQ(l.reads, 0);
}

/* ... and in pairs, behind one that stays ahead of all: each pair has all looked at that came since. */
static void pairs_backwards(void)
{
	struct ftt_log l = fresh();
	uint32_t pairs = 0;

	CHECK(put(&l, STREAM - 1, 1, 0, 0, false));
	while (pairs < STREAM / 2 - 2 && put(&l, 2 * pairs + 1, 1, 0, 2 * pairs + 1, false) && put(&l, 2 * pairs, 1, 0, 2 * pairs, false))
		pairs++;
	CHECK(pairs > 50 && pairs < 500);
}

/* One piece that stays ahead costs nothing while the rest comes in order; nor does a window of small ones behind one that was lost. */
static void honest(bool lost)
{
	struct ftt_log_reader reader = {0};
	struct ftt_log l = fresh();
	struct ftt_piece x;

	CHECK(put(&l, STREAM - 1, 1, 0, 0, true));
	for (uint32_t offset = lost; offset < STREAM - 1; offset++)
		CHECK(put(&l, offset, 1, 0, 0, true));
	CHECK_EQ(l.reads, FTT_LOG_READS_MAX - (lost ? 0 : STREAM)); /* looked at once, when the last one came */
	CHECK(!lost || put(&l, 0, 1, 0, 0, true));
	CHECK_EQ(l.end, STREAM);
	for (uint32_t offset = 0; offset < STREAM; offset++)
		CHECK(ftt_log_find(&l, offset, &reader, &x) && x.offset == offset);
	CHECK(reader.low < l.syn_len + 2 * (FTT_PIECE_HEADER + 1)); /* the first is the last */
}

/* What comes over the lane is looked at: a piece that does not fit, or with what no release writes, is none. */
static void malformed(void)
{
	struct ftt_piece x = {.offset = 7, .len = 100, .after = 1ull << 40, .tsval = 9, .flags = FTT_PIECE_PUSH, .bytes = stream}, got;

	ftt_piece_put(wire, &x);
	CHECK(ftt_piece_get(wire, FTT_PIECE_HEADER + 100, &got) == FTT_PIECE_HEADER + 100);
	CHECK(got.offset == 7 && got.len == 100 && got.after == 1ull << 40 && got.tsval == 9 && got.flags == FTT_PIECE_PUSH);
	for (uint32_t n = 0; n < FTT_PIECE_HEADER + 100; n++)
		CHECK(!ftt_piece_get(wire, n, &got));
	wire[7] = 1;
	CHECK(!ftt_piece_get(wire, FTT_PIECE_HEADER + 100, &got));
	wire[7] = 0;
	wire[6] = 4;
	CHECK(!ftt_piece_get(wire, FTT_PIECE_HEADER + 100, &got));
	x.flags = x.len = 0;
	ftt_piece_put(wire, &x);
	CHECK(!ftt_piece_get(wire, FTT_PIECE_HEADER, &got)); /* it says nothing */
}

int main(void)
{
	for (uint32_t i = 0; i < STREAM; i++)
		stream[i] = (uint8_t)(i * 2654435761u >> 24);
	in_order();
	apart();
	malformed();
	backwards();
	pairs_backwards();
	honest(false);
	honest(true);
	for (unsigned seed = 1; seed <= 300; seed++)
		any_order(seed);
	return 0;
}
