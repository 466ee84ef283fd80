/* SPDX-License-Identifier: Apache-2.0 */
/*
 * feed.h - the follower's log: what comes of the leader's stream (core/calls_stream.h) is put into rings for the threads that read it.
 *
 * What has no room waits here, of each thread by itself: a thread that is behind may wait for another one, which has to get on.
 */
#ifndef FTTCP_CALLS_FEED_H
#define FTTCP_CALLS_FEED_H
#include "engine/calls/memory.h"

#define FTT_FEED_PART (32u << 10) /* bytes of memory at once */

struct ftt_feed_part {
	struct ftt_feed_part *next;
	uint32_t at, len; /* what is before `at` is in the ring */
	uint8_t bytes[FTT_FEED_PART];
};

/* A thread of the leader. */
struct ftt_feed_thread {
	struct ftt_feed_thread *next;
	uint64_t name;
	struct ftt_feed_part *first, *last; /* what waits */
	int ring;                           /* negative: none is free yet */
	bool over;                          /* no more comes */
};

struct ftt_feed_ring {
	uint64_t name; /* 0: not ours at present */
	uint64_t written, read;
};

struct ftt_feed {
	struct ftt_calls_memory memory;
	struct ftt_feed_ring ring[FTT_CALLS_RINGS];
	struct ftt_feed_thread *threads, **tail; /* the first that came first */
	uint64_t held;   /* of the stream */
	uint64_t bytes;  /* of memory that wait */
	uint64_t got;    /* bytes of rings that came; of these, `behind` are not read yet */
	uint64_t behind;
};

enum ftt_fed {
	FTT_FEED_GOOD = 0,
	FTT_FEED_BAD = 1,   /* they are no frames, or not the next ones */
	FTT_FEED_FULL = 2,  /* there is no room or memory for more */
	FTT_FEED_BROKEN = 3 /* its state says so; or it is damaged, and says so now */
};

void ftt_feed_begin(struct ftt_feed *f);
/* Frames up to that place; what was there before is skipped. */
enum ftt_fed ftt_feed_frames(struct ftt_feed *f, uint64_t end, const uint8_t *bytes, uint32_t len, const struct ftt_policy *policy);
/* Puts into rings what there is room for, and looks at how far the follower is. */
enum ftt_fed ftt_feed_look(struct ftt_feed *f);
/* What waits is forgotten. */
void ftt_feed_drop(struct ftt_feed *f);

/* Does something wait that no thread can read yet? */
static inline bool ftt_feed_waits(const struct ftt_feed *f)
{
	const struct ftt_feed_thread *t = f->threads;

	while (t && !t->first)
		t = t->next;
	return t;
}

#endif
