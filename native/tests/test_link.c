/* SPDX-License-Identifier: Apache-2.0 */
/* The lab's link: which frames are lost, late, twice or early, and the order in which they arrive. */
#include "check.h"
#include "link/decide.h"
#include "link/heap.h"
#include <string.h>

#define MS 1000000ull
#define MANY 100000

static struct link_heap heap;

static struct link_line line_of(struct link_terms terms)
{
	struct link_line l = {0};

	link_set(&l, &terms);
	return l;
}

static void test_a_plain_line_does_nothing(void)
{
	struct link_line l = line_of((struct link_terms){0});
	uint64_t due;

	for (uint64_t now = 0; now < 45; now++) {
		CHECK_EQ(link_admit(&l, now, 1514, &due), 1);
		CHECK_EQ(due, now);
	}
	CHECK_EQ(l.frames, 45);
	CHECK_EQ(l.bytes, 45 * 1514);
	CHECK_EQ(l.lost + l.duplicated + l.reordered + l.queue_full, 0);
}

/* Pinned: figures of an experiment that somebody repeats must not change. */
static void test_a_seed_says_which_frames(void)
{
	static const unsigned lost[] = {3, 14, 15, 29, 34, 39, 47, 58, 68, 71, 79, 86, 95, 96};
	struct link_line l = line_of((struct link_terms){.seed = 7, .loss_ppm = 100000});
	uint64_t due;
	unsigned found = 0;

	for (unsigned number = 0; number < 100; number++)
		if (!link_admit(&l, number, 60, &due))
			CHECK_EQ(number, lost[found++]);
	CHECK_EQ(found, sizeof(lost) / sizeof(*lost));
}

static void test_draws_are_independent(void)
{
	struct link_line a = line_of((struct link_terms){.seed = 3, .delay_ns = 9 * MS, .jitter_ns = 4 * MS});
	struct link_line b = a, c = a;
	unsigned other = 0;

	b.terms.loss_ppm = 300000;
	c.terms.seed = 4;
	for (uint64_t now = 0; now < 1000; now++) {
		uint64_t due_a, due_b, due_c;

		link_admit(&a, now * 20 * MS, 60, &due_a);
		link_admit(&c, now * 20 * MS, 60, &due_c);
		if (link_admit(&b, now * 20 * MS, 60, &due_b))
			CHECK_EQ(due_b, due_a);
		other += due_c != due_a;
	}
	CHECK(b.lost > 200 && other > 990);
}

static void test_chances_are_kept(void)
{
	struct link_line l = line_of((struct link_terms){
		.seed = 11, .delay_ns = MS, .loss_ppm = 1000, .duplicate_ppm = 20000, .reorder_ppm = 300000});
	uint64_t due;
	unsigned arrived = 0;

	for (unsigned i = 0; i < MANY; i++)
		arrived += link_admit(&l, i, 60, &due);
	CHECK(l.lost > 60 && l.lost < 140);
	CHECK(l.duplicated > 1800 && l.duplicated < 2200);
	CHECK(l.reordered > 29000 && l.reordered < 31000);
	CHECK_EQ(arrived, MANY - l.lost + l.duplicated);
	l.terms.loss_ppm = LINK_MILLION;
	for (unsigned i = 0; i < MANY; i++)
		CHECK_EQ(link_admit(&l, i, 60, &due), 0);
}

static void test_jitter_is_even_and_keeps_the_order(void)
{
	struct link_line l = line_of((struct link_terms){.seed = 5, .delay_ns = 10 * MS, .jitter_ns = 10 * MS});
	uint64_t now = 0, due, sum = 0, least = ~0ull, most = 0, before = 0;

	for (unsigned i = 0; i < MANY; i++, now += 30 * MS) { /* so far apart that none waits for another */
		CHECK_EQ(link_admit(&l, now, 60, &due), 1);
		sum += due - now;
		least = due - now < least ? due - now : least;
		most = due - now > most ? due - now : most;
	}
	CHECK(least < MS / 10 && most <= 20 * MS && most > 20 * MS - MS / 10);
	CHECK(sum / MANY > 10 * MS - MS / 10 && sum / MANY < 10 * MS + MS / 10);
	for (unsigned i = 0; i < MANY; i++, now += MS / 10) {
		link_admit(&l, now, 60, &due);
		CHECK(due >= before && due >= now && due <= now + 20 * MS);
		before = due;
	}
}

static void test_reordered_frames_overtake(void)
{
	struct link_line l = line_of((struct link_terms){.seed = 9, .delay_ns = 5 * MS, .reorder_ppm = 250000});
	uint64_t due;

	for (uint64_t i = 0; i < 1000; i++) {
		uint64_t early = l.reordered;

		CHECK_EQ(link_admit(&l, i, 60, &due), 1);
		CHECK_EQ(due, i + (l.reordered > early ? 0 : 5 * MS));
	}
	CHECK(l.reordered > 200 && l.reordered < 300);
}

static void test_a_rate_spaces_frames_and_its_queue_ends(void)
{
	struct link_line l = line_of((struct link_terms){.rate_bps = 8000000, .delay_ns = MS}); /* a byte in 1 us */
	uint64_t due;
	unsigned taken = 0;

	for (; link_admit(&l, 0, 1000, &due); taken++)
		CHECK_EQ(due, (taken + 1) * MS + MS);
	CHECK_EQ(taken, 83); /* 50 ms and 32 KiB, and the one that is more than that */
	CHECK_EQ(l.queue_full, 1);
	CHECK_EQ(link_admit(&l, 10 * MS, 1000, &due), 1);
	CHECK_EQ(due, 85 * MS);
	CHECK_EQ(link_admit(&l, 900 * MS, 1000, &due), 1); /* it was empty */
	CHECK_EQ(due, 902 * MS);
}

static void test_the_same_terms_go_on(void)
{
	struct link_terms same = {.seed = 1, .loss_ppm = 500000, .rate_bps = 8000000};
	struct link_line l = line_of(same), undisturbed = l;
	uint64_t due, expected;

	for (unsigned i = 0; i < 40; i++) {
		unsigned arrives = link_admit(&undisturbed, i, 1000, &expected);

		CHECK_EQ(link_admit(&l, i, 1000, &due), arrives);
		CHECK(!arrives || due == expected);
		link_set(&l, &same);
	}
	CHECK_EQ(l.number, 40);
}

static void test_new_terms_begin_anew_and_keep_the_order(void)
{
	struct link_terms plain = {0};
	struct link_line l = line_of((struct link_terms){.seed = 1, .delay_ns = 50 * MS});
	uint64_t due;

	link_admit(&l, MS, 60, &due);
	CHECK_EQ(due, 51 * MS);
	link_set(&l, &plain);
	CHECK_EQ(l.number, 0);
	link_admit(&l, 2 * MS, 60, &due);
	CHECK_EQ(due, 51 * MS);
	link_admit(&l, 60 * MS, 60, &due);
	CHECK_EQ(due, 60 * MS);
}

static void test_the_heap_gives_frames_as_they_are_due(void)
{
	uint64_t due = 0, order = 0;

	for (uint32_t i = 0; link_room(&heap, 100); i++)
		link_push(&heap, link_drawn(1, i, LINK_LOSS) % 1000, NULL, 100);
	CHECK_EQ(heap.count, LINK_HEAP_FRAMES);
	while (heap.count) {
		struct link_frame frame = link_pop(&heap);

		CHECK(frame.due_ns > due || (frame.due_ns == due && frame.order >= order));
		due = frame.due_ns;
		order = frame.order;
	}
	CHECK_EQ(heap.bytes, 0);
	while (link_room(&heap, 1 << 20))
		link_push(&heap, 0, NULL, 1 << 20);
	CHECK_EQ(heap.bytes, LINK_HEAP_BYTES);
}

int main(void)
{
	test_a_plain_line_does_nothing();
	test_a_seed_says_which_frames();
	test_draws_are_independent();
	test_chances_are_kept();
	test_jitter_is_even_and_keeps_the_order();
	test_reordered_frames_overtake();
	test_a_rate_spaces_frames_and_its_queue_ends();
	test_the_same_terms_go_on();
	test_new_terms_begin_anew_and_keep_the_order();
	test_the_heap_gives_frames_as_they_are_due();
	return 0;
}
