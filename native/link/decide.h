/* SPDX-License-Identifier: Apache-2.0 */
/* decide.h - what becomes of a frame on a link with delay, loss and the like: pure, no clock, no memory.
 *
 * A link is a queue with a rate, and then a wire. What is drawn depends on seed and number of the frame only, and each draw
 * is for itself: with another loss, the same frames are late by the same time.
 */
#ifndef FTTCP_LINK_DECIDE_H
#define FTTCP_LINK_DECIDE_H
#include <stdbool.h>
#include <stdint.h>

#define LINK_MILLION 1000000u
#define LINK_SECOND_NS 1000000000ull
#define LINK_QUEUE_BYTES 32768u /* a queue holds so much, and what goes out in so long */
#define LINK_QUEUE_NS 50000000ull
#define LINK_FULL UINT64_MAX

struct link_terms {
	uint64_t seed;
	uint64_t delay_ns, jitter_ns; /* jitter: even, from delay - jitter to delay + jitter */
	uint64_t rate_bps; /* 0: no limit */
	uint32_t loss_ppm, duplicate_ppm, reorder_ppm; /* of a million frames */
};

struct link_line {
	struct link_terms terms;
	uint64_t number; /* of the next frame, since the terms are these */
	uint64_t free_ns; /* all that came before is out of the queue */
	uint64_t last_ns; /* the latest arrival of a frame that keeps its place */
	uint64_t frames, bytes, lost, duplicated, reordered, queue_full;
};

enum link_draw { LINK_LOSS, LINK_DUPLICATE, LINK_REORDER, LINK_JITTER, LINK_DRAWS };

static inline uint64_t link_mixed(uint64_t x)
{
	x += 0x9e3779b97f4a7c15ull; /* splitmix64 */
	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9ull;
	x = (x ^ x >> 27) * 0x94d049bb133111ebull;
	return x ^ x >> 31;
}

static inline uint64_t link_drawn(uint64_t seed, uint64_t number, enum link_draw what)
{
	return link_mixed(link_mixed(seed) + number * LINK_DRAWS + what);
}

static inline bool link_chance(const struct link_line *l, enum link_draw what, uint32_t ppm)
{
	return ppm && link_drawn(l->terms.seed, l->number, what) % LINK_MILLION < ppm;
}

static inline bool link_same(const struct link_terms *a, const struct link_terms *b)
{
	return a->seed == b->seed && a->delay_ns == b->delay_ns && a->jitter_ns == b->jitter_ns && a->rate_bps == b->rate_bps &&
	       a->loss_ppm == b->loss_ppm && a->duplicate_ppm == b->duplicate_ppm && a->reorder_ppm == b->reorder_ppm;
}

/* Other terms begin with their first frame. The same ones go on: it is the other direction that has got others. */
static inline void link_set(struct link_line *l, const struct link_terms *terms)
{
	if (link_same(&l->terms, terms))
		return;
	l->terms = *terms;
	l->number = 0;
	l->free_ns = 0;
}

/* The moment at which a frame of this length that comes now has left the queue; LINK_FULL: it is lost there. */
static inline uint64_t link_queued(struct link_line *l, uint64_t now_ns, uint32_t bytes)
{
	uint64_t rate = l->terms.rate_bps, from_ns = l->free_ns > now_ns ? l->free_ns : now_ns;

	if (!rate)
		return now_ns;
	if (from_ns - now_ns > LINK_QUEUE_NS + 8ull * LINK_QUEUE_BYTES * LINK_SECOND_NS / rate)
		return LINK_FULL;
	return l->free_ns = from_ns + 8ull * bytes * LINK_SECOND_NS / rate;
}

static inline uint64_t link_travel(const struct link_line *l)
{
	const struct link_terms *t = &l->terms;
	uint64_t least = t->delay_ns > t->jitter_ns ? t->delay_ns - t->jitter_ns : 0;

	if (!t->jitter_ns)
		return t->delay_ns;
	return least + link_drawn(t->seed, l->number, LINK_JITTER) % (t->delay_ns + t->jitter_ns - least + 1);
}

/* A frame comes. Returns how many of it arrive (0, 1, 2), and when. Frames keep their order, whatever the jitter; those that
 * are to be reordered do not travel at all, and so overtake. */
static inline unsigned link_admit(struct link_line *l, uint64_t now_ns, uint32_t bytes, uint64_t *due_ns)
{
	uint64_t out_ns = link_queued(l, now_ns, bytes);
	bool lost = link_chance(l, LINK_LOSS, l->terms.loss_ppm);
	bool twice = link_chance(l, LINK_DUPLICATE, l->terms.duplicate_ppm);
	bool early = link_chance(l, LINK_REORDER, l->terms.reorder_ppm);
	uint64_t travel_ns = early ? 0 : link_travel(l);

	l->number++;
	l->frames++;
	l->bytes += bytes;
	if (out_ns == LINK_FULL) {
		l->queue_full++;
		return 0;
	}
	if (lost) {
		l->lost++;
		return 0;
	}
	*due_ns = out_ns + travel_ns;
	if (early) {
		l->reordered++;
	} else {
		if (*due_ns < l->last_ns)
			*due_ns = l->last_ns;
		l->last_ns = *due_ns;
	}
	l->duplicated += twice;
	return twice ? 2 : 1;
}

#endif
