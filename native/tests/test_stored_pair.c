/* SPDX-License-Identifier: Apache-2.0 */
/* Whether a primary waits for its backup's disk, whatever that says and does: never for longer than the bound, and never without need. */
#include <stdlib.h>
#include "check.h"
#include "core/stored_pair.h"

#define MS 1000000ull
#define BOUND_NS (2000 * MS)
#define WAITING 64u

/* A primary's notes and packets, and time. */
static struct ftt_stored_pair p;
static uint64_t now, here, number;      /* our disk has stored up to `here` */
static uint64_t since[WAITING], released; /* when note n was made; up to which packets have left */

static uint64_t waits_ns(void)
{
	uint64_t first = released + 1;

	return first <= number && first > p.acked ? since[first % WAITING] : 0;
}

static void look(void)
{
	uint8_t before = p.stage;
	uint64_t waits = waits_ns(), unwell = p.unwell_ns, again = p.again_ns;
	bool owes = (waits && now - waits > BOUND_NS) || (unwell && now - unwell > BOUND_NS);

	ftt_stored_pair_look(&p, p.sent == number, waits, BOUND_NS, now);
	if (before != FTT_STORED_ALONE && owes)
		CHECK(p.stage == FTT_STORED_ALONE && p.again_ns >= now + FTT_STORED_AGAIN_NS && p.again_ns <= now + FTT_STORED_AGAIN_MOST_NS);
	else
		CHECK(p.stage >= before); /* without need nobody is let go of */
	if (before == FTT_STORED_ALONE && p.stage != FTT_STORED_ALONE)
		CHECK(now >= again && !p.unwell_ns);
	if (before != FTT_STORED_BOTH && p.stage == FTT_STORED_BOTH)
		CHECK(p.acked >= released); /* what has left is there */
	CHECK((p.lag == FTT_STORED_NO_LAG) == (p.stage == FTT_STORED_BOTH));
}

static void release(void)
{
	uint64_t to = ftt_stored_pair_kept(&p, here);

	CHECK(to <= here && (p.stage == FTT_STORED_ALONE || to <= p.acked || to <= released));
	if (p.stage == FTT_STORED_BOTH)
		CHECK(released <= p.acked);
	released = to > released ? to : released;
}

static void act(void)
{
	uint64_t said = p.sent ? p.acked + (uint64_t)rand() % (p.sent - p.acked + 2) : 0;

	switch (rand() % 8) {
	case 0:
	case 1:
		if (number - released < WAITING - 1)
			since[++number % WAITING] = now;
		break;
	case 2:
		if (p.up)
			ftt_stored_pair_sent(&p, number);
		break;
	case 3:
		here = number;
		break;
	case 4:
		if (p.up)
			ftt_stored_pair_word(&p, rand() % 2 ? p.sent : said, rand() % 16 ? 0 : 28, now);
		break;
	case 5:
		if (!(rand() % 32) || !p.up)
			ftt_stored_pair_lane(&p, !p.up, now);
		break;
	default:
		now += (uint64_t)(rand() % 16 ? rand() % 50 : rand() % 5000) * MS;
	}
	CHECK(p.acked <= p.sent && p.sent <= number);
}

int main(void)
{
	unsigned both = 0, alone = 0, joins = 0;

	for (unsigned seed = 1; seed <= 300; seed++) {
		srand(seed);
		now = MS;
		here = number = released = 0;
		ftt_stored_pair_begin(&p, 1, now);
		for (int i = 0; i < 5000; i++) {
			act();
			look();
			release();
			both += p.stage == FTT_STORED_BOTH;
			alone += p.stage == FTT_STORED_ALONE;
			joins += p.stage == FTT_STORED_JOINS;
		}
	}
	CHECK(both > 10000 && alone > 10000 && joins > 100);
	return 0;
}
