/* SPDX-License-Identifier: Apache-2.0 */
/* A leader's log becomes a stream, and that the log of a follower: whatever the order, the room, and what servers write into either. */
#define _GNU_SOURCE
#include "calls_file.h"

static struct ftt_policy policy = {.calls_log = 1 << 22};
static struct calls_file led, followed;
static struct ftt_drain drain;
static struct ftt_feed feed;
static uint32_t seed;
static bool damaged;

enum { MESSAGE = 65536 }; /* bytes */

static uint32_t draw(uint32_t below)
{
	seed = seed * 1664525 + 1013904223;
	return (seed >> 8) % below;
}

static void begin(uint32_t from)
{
	seed = from;
	policy.calls_log = 1 << 22;
	memset(&drain, 0, sizeof(drain));
	memset(&feed, 0, sizeof(feed));
	calls_file_make(&led);
	calls_file_make(&followed);
	calls_file_map(&led, &drain.memory);
	calls_file_map(&followed, &feed.memory);
	ftt_feed_begin(&feed);
}

static void end(void)
{
	ftt_drain_drop(&drain);
	ftt_feed_drop(&feed);
	CHECK(!feed.bytes && !drain.bytes);
	ftt_calls_unmap(&drain.memory);
	ftt_calls_unmap(&feed.memory);
	calls_file_end(&led);
	calls_file_end(&followed);
}

/* Messages from that place on; false: there is none. */
static bool carry(uint64_t *sent, uint32_t most)
{
	uint32_t len;
	const uint8_t *from = ftt_drain_frames(&drain, *sent, most, &len);

	if (!from)
		return false;
	*sent += len;
	if (ftt_feed_frames(&feed, *sent, from, len, &policy) != FTT_FEED_GOOD) {
		CHECK(damaged);
		return false;
	}
	CHECK_EQ(feed.held, *sent);
	return true;
}

/* Threads come, say something, and end, at any moment; the follower's do as well. */
static void test_threads(uint32_t from)
{
	enum { THREADS = 200, AT_ONCE = 20 };
	static struct { uint64_t said, heard; uint32_t all; bool over, left; } t[THREADS + 1];
	uint64_t sent = 0;
	uint32_t first = 1, next = 1;

	begin(from);
	memset(t, 0, sizeof(t));
	while (first <= THREADS) {
		uint32_t who = first + draw(AT_ONCE);

		if (next <= THREADS && next - first < AT_ONCE)
			t[next++].all = draw(3 * CALLS_RING);
		if (who < next && !t[who].over) {
			calls_write(&led, who, &t[who].said, 1 + draw(t[who].all - (uint32_t)t[who].said + 1) / 2);
			if (t[who].said >= t[who].all)
				t[who].over = calls_leave(&led, who);
		}
		if (!draw(3))
			CHECK(ftt_drain(&drain, 0, &policy) <= FTT_DRAIN_MORE);
		if (!draw(3))
			carry(&sent, FTT_CALLS_FRAME + FTT_CALLS_FRAME_MAX + draw(40000));
		if (!draw(2))
			CHECK_EQ(ftt_feed_look(&feed), FTT_FEED_GOOD);
		who = first + draw(AT_ONCE);
		if (who < next && !t[who].left) {
			calls_read(&followed, who, &t[who].heard, 1 + draw(2 * CALLS_RING));
			CHECK(t[who].heard <= t[who].said);
			if (t[who].over && t[who].heard == t[who].said)
				t[who].left = calls_leave(&followed, who);
		}
		while (first < next && t[first].left)
			first++;
	}
	CHECK(ftt_drain(&drain, 0, &policy) <= FTT_DRAIN_MORE);
	while (carry(&sent, MESSAGE))
		;
	CHECK(ftt_feed_look(&feed) == FTT_FEED_GOOD && !feed.behind && sent == drain.end && !feed.threads);
	for (uint32_t i = 0; i < FTT_CALLS_RINGS; i++)
		CHECK(!ftt_calls_rings(led.log)[i].name && !ftt_calls_rings(followed.log)[i].name);
	end();
}

/* A thread that nobody reads does not keep another one from getting on. */
static void test_one_waits(void)
{
	uint64_t a = 0, b = 0, heard = 0, sent = 0;

	begin(1);
	for (int i = 0; i < 10; i++) {
		CHECK_EQ(calls_write(&led, 7, &a, CALLS_RING), CALLS_RING);
		CHECK_EQ(ftt_drain(&drain, 0, &policy), FTT_DRAIN_MORE);
	}
	CHECK_EQ(ftt_drain(&drain, 0, &policy), FTT_DRAIN_SAME);
	calls_write(&led, 8, &b, 100);
	ftt_drain(&drain, 0, &policy);
	while (carry(&sent, MESSAGE))
		;
	CHECK_EQ(ftt_feed_look(&feed), FTT_FEED_GOOD);
	CHECK_EQ(calls_read(&followed, 8, &heard, 100), 100);
	CHECK(ftt_feed_look(&feed) == FTT_FEED_GOOD && feed.behind == 10 * CALLS_RING);
	end();
}

/* One that begins later has all of it, as long as it is kept; beyond the bound what is held goes, and then nothing more has room. */
static void test_the_bound(void)
{
	uint64_t said = 0, heard = 0, sent = 0;
	uint32_t len;

	begin(2);
	policy.calls_log = 4 * sizeof(struct ftt_drain_part);
	while (drain.bytes + sizeof(struct ftt_drain_part) <= policy.calls_log) {
		CHECK_EQ(calls_write(&led, 1, &said, CALLS_RING), CALLS_RING);
		CHECK_EQ(ftt_drain(&drain, 0, &policy), FTT_DRAIN_MORE);
	}
	CHECK(!drain.cut && !drain.begin);
	while (carry(&sent, MESSAGE)) {
		ftt_feed_look(&feed);
		calls_read(&followed, 1, &heard, UINT32_MAX);
	}
	while (!drain.cut) {
		calls_write(&led, 1, &said, CALLS_RING);
		CHECK_EQ(ftt_drain(&drain, sent, &policy), FTT_DRAIN_MORE);
	}
	CHECK(drain.begin && drain.begin <= sent && !ftt_drain_frames(&drain, 0, MESSAGE, &len));
	while (carry(&sent, MESSAGE)) {
		ftt_feed_look(&feed);
		calls_read(&followed, 1, &heard, UINT32_MAX);
	}
	while (heard < said && ftt_feed_look(&feed) == FTT_FEED_GOOD)
		calls_read(&followed, 1, &heard, UINT32_MAX);
	CHECK_EQ(heard, said);
	do
		calls_write(&led, 1, &said, CALLS_RING);
	while (ftt_drain(&drain, sent, &policy) == FTT_DRAIN_MORE);
	CHECK_EQ(ftt_drain(&drain, sent, &policy), FTT_DRAIN_FULL);
	CHECK(drain.bytes <= policy.calls_log);
	end();
}

/* What comes again on another connection is there; a gap is none of ours, and neither is anything that is no frame. */
static void test_what_comes(void)
{
	uint64_t said = 0, heard = 0;
	uint8_t bytes[4096];
	uint32_t len;
	const uint8_t *from;

	begin(3);
	calls_write(&led, 1, &said, 1000);
	ftt_drain(&drain, 0, &policy);
	calls_write(&led, 1, &said, 1000);
	ftt_drain(&drain, 0, &policy);
	from = ftt_drain_frames(&drain, 0, sizeof(bytes), &len);
	CHECK(from && len == 2 * (FTT_CALLS_FRAME + 1000));
	memcpy(bytes, from, len);
	CHECK_EQ(ftt_feed_frames(&feed, len, bytes + len / 2, len / 2, &policy), FTT_FEED_BAD); /* a gap */
	CHECK_EQ(ftt_feed_frames(&feed, len / 2, bytes, len / 2, &policy), FTT_FEED_GOOD);
	CHECK_EQ(ftt_feed_frames(&feed, len, bytes, len, &policy), FTT_FEED_GOOD); /* half of it again */
	CHECK_EQ(ftt_feed_frames(&feed, len, bytes, len, &policy), FTT_FEED_GOOD);
	CHECK_EQ(feed.held, len);
	ftt_feed_look(&feed);
	CHECK_EQ(calls_read(&followed, 1, &heard, UINT32_MAX), 2000);
	CHECK_EQ(ftt_feed_frames(&feed, len - 1, bytes, len, &policy), FTT_FEED_BAD);
	for (uint32_t n = 1; n < len / 2; n++) /* cut short */
		CHECK_EQ(ftt_feed_frames(&feed, len + n, bytes, n, &policy), FTT_FEED_BAD);
	memset(bytes, 0, 8);
	CHECK_EQ(ftt_feed_frames(&feed, len + len / 2, bytes, len / 2, &policy), FTT_FEED_BAD); /* no name */
	end();
}

/* The servers write anything anywhere, also what their threads never would; the engines go on, and say that it is damaged. */
static void test_damage(uint32_t from)
{
	uint64_t said[40] = {0}, sent = 0;

	begin(from);
	damaged = true;
	for (int round = 0; round < 300; round++) {
		struct calls_file *of = draw(2) ? &led : &followed;
		uint32_t who = 1 + draw(39);

		calls_write(&led, who, &said[who], draw(300));
		if (!draw(4))
			calls_leave(&led, who);
		if (draw(3)) /* a word of a head: a position near by, or anything */
			((uint64_t *)ftt_calls_rings(of->log))[draw(FTT_CALLS_PAGE / 8)] = draw(2) ? draw(2 * CALLS_RING) : (uint64_t)draw(1 << 24) << 41;
		if (!draw(10))
			((uint8_t *)of->log)[draw(80)] = (uint8_t)draw(256);
		ftt_drain(&drain, 0, &policy);
		while (carry(&sent, MESSAGE))
			;
		ftt_feed_look(&feed);
	}
	CHECK(drain.bytes <= policy.calls_log);
	damaged = false;
	end();
}

/* Positions that no thread has are found at once, and its memory says so; what was taken before stays. */
static void test_damage_is_told(void)
{
	struct ftt_calls_broke b;
	uint64_t said = 0;

	begin(5);
	calls_write(&led, 1, &said, 100);
	CHECK_EQ(ftt_drain(&drain, 0, &policy), FTT_DRAIN_MORE);
	calls_ring_of(&led, 1)->written += CALLS_RING + 1;
	CHECK_EQ(ftt_drain(&drain, 0, &policy), FTT_DRAIN_BROKEN);
	ftt_calls_broken_at(&drain.memory, &b);
	CHECK(led.log->state == FTT_CALLS_BROKEN && b.why == FTT_CALLS_DAMAGED && drain.end == FTT_CALLS_FRAME + 100);
	led.log->first.why = 99;
	ftt_calls_broken_at(&drain.memory, &b);
	CHECK_EQ(b.why, FTT_CALLS_DAMAGED);
	end();
}

/* Whoever cuts the file short ends nobody. */
static void test_cut_short(void)
{
	uint64_t said = 0;

	begin(6);
	calls_write(&led, 1, &said, 100);
	CHECK_EQ(ftt_drain(&drain, 0, &policy), FTT_DRAIN_MORE);
	CHECK(!truncate(led.path, 0) && !truncate(followed.path, 0));
	CHECK_EQ(ftt_drain(&drain, 0, &policy), FTT_DRAIN_BROKEN);
	ftt_feed_look(&feed);
	CHECK(!truncate(led.path, (off_t)led.size) && !truncate(followed.path, (off_t)followed.size));
	end();
}

static void test_no_log(void)
{
	struct ftt_calls_memory m = {0};
	struct calls_file f;
	char err[200] = "";

	calls_file_make(&f);
	for (int i = 0; i < 3; i++) {
		f.log->magic = i ? FTT_CALLS_MAGIC : 1;
		f.log->ring_size = i == 1 ? 3 * FTT_CALLS_PAGE : i == 2 ? 2 * CALLS_RING : CALLS_RING;
		CHECK(ftt_calls_map(&m, f.path, err, sizeof(err)) && strstr(err, "none of ours") && !m.log);
	}
	calls_file_end(&f);
	CHECK(ftt_calls_map(&m, f.path, err, sizeof(err)) && strstr(err, "No such file"));
}

int main(void)
{
	for (uint32_t i = 1; i <= 40; i++)
		test_threads(i);
	test_one_waits();
	test_the_bound();
	test_what_comes();
	for (uint32_t i = 1; i <= 400; i++)
		test_damage(i);
	test_damage_is_told();
	test_cut_short();
	test_no_log();
	return 0;
}
