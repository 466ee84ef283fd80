/* SPDX-License-Identifier: Apache-2.0 */
/* test_delay.c - by how much later than sent a peer's words come: core/delay.h. */
#include "check.h"
#include "core/delay.h"

#define S 1000000000ull

static int64_t least(const struct ftt_delay *d, uint64_t now_ns)
{
	int64_t ns;

	CHECK(ftt_delay_least(d, now_ns, &ns));
	return ns;
}

static void test_the_least_counts_for_one_window_and_the_next(void)
{
	struct ftt_delay d = {0};
	int64_t ns;

	CHECK(!ftt_delay_least(&d, 100 * S, &ns));
	ftt_delay_heard(&d, 100 * S - 500, 100 * S);
	CHECK_EQ(least(&d, 100 * S), 500);
	ftt_delay_heard(&d, 101 * S - 300, 101 * S);
	ftt_delay_heard(&d, 102 * S - 900, 102 * S);
	CHECK_EQ(least(&d, 102 * S), 300);
	ftt_delay_heard(&d, 111 * S - 800, 111 * S); /* the next window: 300 still counts */
	CHECK_EQ(least(&d, 111 * S), 300);
	ftt_delay_heard(&d, 112 * S - 700, 112 * S);
	ftt_delay_heard(&d, 121 * S - 950, 121 * S); /* ... and now it does not */
	CHECK_EQ(least(&d, 121 * S), 700);
}

static void test_silence_is_no_delay(void)
{
	struct ftt_delay d = {0};
	int64_t ns;

	ftt_delay_heard(&d, 100 * S - 5, 100 * S);
	CHECK_EQ(least(&d, 119 * S), 5);
	CHECK(!ftt_delay_least(&d, 120 * S, &ns));
	ftt_delay_heard(&d, 300 * S - 9, 300 * S); /* of what was heard so long ago nothing is left */
	CHECK_EQ(least(&d, 300 * S), 9);
}

static void test_a_clock_may_be_before_ours(void)
{
	struct ftt_delay d = {0};

	ftt_delay_heard(&d, 900 * S, 100 * S);
	CHECK_EQ(least(&d, 100 * S), -800 * (int64_t)S);
	ftt_delay_heard(&d, 901 * S + 7, 101 * S);
	CHECK_EQ(least(&d, 101 * S), -800 * (int64_t)S - 7);
}

int main(void)
{
	test_the_least_counts_for_one_window_and_the_next();
	test_silence_is_no_delay();
	test_a_clock_may_be_before_ours();
	return 0;
}
