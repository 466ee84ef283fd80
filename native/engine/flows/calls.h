/* SPDX-License-Identifier: Apache-2.0 */
/*
 * calls.h - the log of calls on its way from the primary's server to the backup's: of the first worker, which is the only one of a group
 * with a history.
 *
 * The primary takes what its server has written out of its memory (engine/calls/drain.h), whenever output is seen and now and then, and
 * sends it; the backup gives it to its own (engine/calls/feed.h). P: primary, B: backup (core/calls_stream.h has the forms):
 *
 *   B   HELD     when the lane begins: so far I have it, of that start of your server; 0: nothing yet
 *   P   CALLS    what comes behind that
 *   B   HELD     so much of it is in my memory: output that depends on it may leave
 *   B   LISTENS  my server can be given what clients have sent: a history may begin
 *   x   BROKEN   it is broken here, at this call; why 0: my log has no beginning any more
 *
 * What a HISTORY tells leaves behind the calls that go with it.
 */
#ifndef FTTCP_FLOWS_CALLS_H
#define FTTCP_FLOWS_CALLS_H
#include "engine/calls/drain.h"
#include "engine/calls/feed.h"
#include "engine/worker.h"

struct ftt_calls {
	uint8_t part;   /* enum ftt_calls_part, of our server */
	uint32_t life;  /* not 0: this start of it */
	struct ftt_drain drain; /* it leads */
	struct ftt_feed feed;   /* it follows */
	bool listens;           /* backup: it can be given what clients have sent */
	bool broken, theirs, alone; /* the log is broken here; the break that we know of is the partner's */
	struct ftt_calls_broke broke;
	struct ftt_list waiting; /* the first output of each flow that waits for the backup, by the place of the log that they wait for */
	uint64_t waits, waited_ns; /* outputs that have; and for how long, together */
	bool history; /* of this pairing it may be told */
	bool push;    /* something is to leave at once */
	/* primary, of the pairing */
	bool attached; /* the backup follows */
	bool joined;   /* ... and has said on this connection of the lane where it is */
	bool undo;     /* our server is another one, and the backup's follows the one before */
	uint64_t sent, their_behind;
	uint64_t held; /* the backup has all before this place */
	uint64_t late_ns; /* since when outputs wait, and the backup has not got on; 0: none waits */
	/* backup */
	uint32_t their_life;       /* of what we have; 0: nothing */
	bool fed;  /* something has come; the primary, whose output waits, is told before our server is given it */
	bool said; /* on this connection of the lane, where we are */
	uint64_t told_behind;
	bool joins, caught_up;     /* the first CALLS tells where it is to come to */
	uint64_t goal;             /* bytes of rings that came until then */
	bool finishes;             /* nothing more comes: it does what is there */
	uint64_t moved_ns, moved_behind;
};

/* Our server starts with this log, which is ours from now on; an empty one: with none. 0, or -1: no memory. The worker stands still. */
int ftt_calls_anew(struct ftt_worker *w, const struct ftt_calls_memory *memory, uint8_t part);
void ftt_calls_close(struct ftt_worker *w);
/* The worker has another role, or pairing. */
void ftt_calls_role(struct ftt_worker *w, uint64_t now_ns);
/* The lane to the partner's worker is there, or gone. */
void ftt_calls_lane(struct ftt_worker *w, bool up, uint64_t now_ns);
/* A message of FTT_LANE_CALLS and its like. */
enum ftt_lane_answer ftt_calls_message(struct ftt_worker *w, uint8_t kind, const uint8_t *bytes, uint32_t len, uint64_t now_ns);
/* Primary: what is in the log now is taken, and sent: output was seen, or time passed. */
void ftt_calls_look(struct ftt_worker *w, uint64_t now_ns);
/* What is to leave at once leaves; then our server gets what has come. */
void ftt_calls_push(struct ftt_worker *w, uint64_t now_ns);
void ftt_calls_tick(struct ftt_worker *w, uint64_t now_ns);
void ftt_calls_show(const struct ftt_worker *w, struct ftt_calls_shown *out);

/* Is there such a log? */
static inline bool ftt_calls_on(const struct ftt_worker *w)
{
	return w->calls && w->calls->part;
}

/* May nothing of a history be told yet? */
static inline bool ftt_calls_delays(const struct ftt_worker *w)
{
	return ftt_calls_on(w) && !w->calls->history;
}

/* Primary: calls that go with what a history tells have yet to leave. */
static inline bool ftt_calls_behind(const struct ftt_worker *w)
{
	const struct ftt_calls *c = w->calls;

	return ftt_calls_on(w) && c->attached && (!c->joined || c->sent != c->drain.end);
}

/* Primary: the backup's server does not follow ours, and will not. */
static inline bool ftt_calls_lost(const struct ftt_worker *w)
{
	return ftt_calls_on(w) && w->mode == FTT_MODE_PAIRED && !w->calls->attached && w->calls->broke.why;
}

/* Backup: our server is no copy of the primary's any more, and no connection is followed with it. */
static inline bool ftt_calls_apart(const struct ftt_worker *w)
{
	return ftt_calls_on(w) && w->calls->part == FTT_CALLS_PART_FOLLOWS && w->calls->broken;
}

/* Is there something that is to get on? */
static inline bool ftt_calls_moves(const struct ftt_worker *w)
{
	const struct ftt_calls *c = w->calls;

	return ftt_calls_on(w) && (c->finishes || c->feed.behind || c->undo || w->calls_gate.held != w->calls_gate.there);
}

/* Primary: output of the flow waits for the backup to hold what is in the log. */
static inline void ftt_calls_wait(struct ftt_worker *w, struct ftt_tcp *c, struct ftt_held *h)
{
	h->of = c;
	if (w->calls && !h->calls_order.next)
		ftt_list_add(&h->calls_order, w->calls->waiting.prev);
}

/* ... it does not any more. */
static inline void ftt_calls_go_on(struct ftt_held *h)
{
	if (h->calls_order.next)
		ftt_list_remove(&h->calls_order);
	h->calls_order.next = NULL;
}

#endif
