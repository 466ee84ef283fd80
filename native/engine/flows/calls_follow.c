/* SPDX-License-Identifier: Apache-2.0 */
/* calls_follow.c - the backup's side of calls.h: what comes of the primary's server is given to ours. */
#define _GNU_SOURCE
#include "engine/flows/act.h"
#include "engine/flows/calls_follow.h"
#include "engine/flows/history_play.h"

#define TOLD_BEHIND 65536u /* bytes that our server has read before the primary is told, if nothing else is to be told */

static void news(struct ftt_worker *w, enum ftt_calls_news what, bool theirs)
{
	ftt_event_post(w->e, &(struct ftt_event){.kind = FTT_EV_CALLS, .value = what, .reason = theirs});
}

static void tell_break(struct ftt_worker *w)
{
	uint8_t bytes[FTT_CALLS_BREAK];

	ftt_calls_broke_put(bytes, &w->calls->broke);
	w->calls->said = ftt_lane_send(&w->lane, 0, FTT_LANE_CALLS_BROKEN, bytes, sizeof(bytes));
	w->calls->push |= w->calls->said;
}

static void tell_held(struct ftt_worker *w)
{
	struct ftt_calls *c = w->calls;
	uint8_t bytes[FTT_CALLS_HELD];

	put_be32(bytes, c->their_life);
	put_be64(bytes + 4, c->feed.held);
	put_be64(bytes + 12, c->feed.behind);
	if (!ftt_lane_send(&w->lane, 0, FTT_LANE_CALLS_HELD, bytes, sizeof(bytes)))
		return;
	c->told_behind = c->feed.behind;
	c->said = c->push = true;
}

/*
 * What clients were told may depend on calls that our server has not made, and will not: nothing goes on with it. Whoever has yet to take
 * over lets go, and does not wait for the primary to ask for it.
 */
static void let_all_go(struct ftt_worker *w)
{
	uint64_t now_ns = ftt_now_ns();

	for (struct ftt_tcp *c = ftt_table_next(&w->table, NULL), *next; c; c = next) {
		next = ftt_table_next(&w->table, c);
		if (c->closed)
			continue;
		if (ftt_flow_emits((uint8_t)w->mode))
			ftt_tcp_reset_client(w, c, now_ns);
		else if (w->mode == FTT_MODE_BACKUP && (c->flow.protection == FTT_PROTECTED || c->flow.protection == FTT_OPENING))
			ftt_tcp_let_go(w, c);
	}
}

/* Our server goes on by itself, and is of no use as a copy. */
static void broke(struct ftt_worker *w)
{
	struct ftt_calls *c = w->calls;

	c->broken = true;
	let_all_go(w);
	c->theirs = c->finishes = false;
	ftt_calls_broken_at(&c->feed.memory, &c->broke);
	ftt_feed_drop(&c->feed);
	c->feed.behind = 0;
	tell_break(w);
	news(w, FTT_CALLS_NEWS_BROKEN, false);
}

static void full(struct ftt_worker *w)
{
	ftt_calls_break_it(&w->calls->feed.memory, FTT_CALLS_FULL, UINT32_MAX);
	broke(w);
}

void ftt_calls_leader_broke(struct ftt_worker *w, const uint8_t bytes[FTT_CALLS_BREAK])
{
	struct ftt_calls *c = w->calls;

	if (c->broken)
		return;
	ftt_calls_broke_get(bytes, &c->broke);
	c->broken = c->theirs = true;
	let_all_go(w);
	ftt_calls_part_ways(&c->feed.memory);
	ftt_feed_drop(&c->feed);
	c->feed.behind = 0;
	news(w, c->broke.why ? FTT_CALLS_NEWS_BROKEN : FTT_CALLS_NEWS_TOO_LONG, true);
}

void ftt_calls_give(struct ftt_worker *w)
{
	struct ftt_calls *c = w->calls;

	c->fed = false;
	if (ftt_feed_look(&c->feed) == FTT_FEED_BROKEN) {
		broke(w);
		return;
	}
	if (!c->joins || c->caught_up || c->feed.got - c->feed.behind < c->goal)
		return;
	c->caught_up = true;
	news(w, FTT_CALLS_NEWS_CAUGHT_UP, false);
}

/* The primary may begin to tell what clients have sent: our server can be given it. */
static void listen_for_history(struct ftt_worker *w, uint64_t now_ns)
{
	struct ftt_calls *c = w->calls;
	uint8_t none = 0;

	if (c->history || !c->listens || c->broken || !c->their_life || w->mode != FTT_MODE_BACKUP || !ftt_lane_up(&w->lane, 0))
		return;
	c->history = ftt_lane_send(&w->lane, 0, FTT_LANE_CALLS_LISTENS, &none, 1);
	c->push |= c->history;
	if (c->history && w->history)
		ftt_history_play_lane(w, true, now_ns);
}

enum ftt_lane_answer ftt_calls_take(struct ftt_worker *w, const uint8_t *bytes, uint32_t len, uint64_t now_ns)
{
	struct ftt_calls *c = w->calls;
	uint32_t life = get_be32(bytes);
	uint64_t end = get_be64(bytes + 4);

	if (c->broken)
		return FTT_LANE_TAKEN;
	if (!life || end < len - FTT_CALLS_HEAD || (c->their_life && life != c->their_life))
		return FTT_LANE_BAD;
	if (!c->their_life && end != len - FTT_CALLS_HEAD) /* for the follower before, which had the beginning */
		return FTT_LANE_TAKEN;
	switch (ftt_feed_frames(&c->feed, end, bytes + FTT_CALLS_HEAD, len - FTT_CALLS_HEAD, &w->e->cfg.policy)) {
	case FTT_FEED_BAD:
		return FTT_LANE_BAD;
	case FTT_FEED_FULL:
		full(w);
		return FTT_LANE_TAKEN;
	case FTT_FEED_BROKEN:
		broke(w);
		return FTT_LANE_TAKEN;
	default:
		break;
	}
	c->their_life = life;
	if (!c->joins)
		c->goal = c->feed.got;
	c->joins = c->fed = true;
	tell_held(w);
	listen_for_history(w, now_ns);
	return FTT_LANE_TAKEN;
}

void ftt_calls_finish(struct ftt_worker *w, uint64_t now_ns)
{
	struct ftt_calls *c = w->calls;

	if (c->broken || c->alone)
		return;
	c->finishes = true;
	c->moved_ns = now_ns;
	c->moved_behind = UINT64_MAX;
}

/* It has done all, or does not get on. */
static void finish(struct ftt_worker *w, uint64_t now_ns)
{
	struct ftt_calls *c = w->calls;

	if (c->feed.behind != c->moved_behind) {
		c->moved_behind = c->feed.behind;
		c->moved_ns = now_ns;
	}
	if (c->feed.behind && now_ns - c->moved_ns <= w->e->cfg.policy.detach_after_ns)
		return;
	c->finishes = false;
	if (ftt_feed_waits(&c->feed)) { /* what is in the rings our server still reads when it is alone */
		ftt_calls_break_it(&c->feed.memory, FTT_CALLS_ENDED, UINT32_MAX);
		broke(w);
		return;
	}
	c->alone = true;
	ftt_calls_part_ways(&c->feed.memory);
	news(w, FTT_CALLS_NEWS_ALONE, false);
}

void ftt_calls_follow_tick(struct ftt_worker *w, uint64_t now_ns)
{
	struct ftt_calls *c = w->calls;

	bool speaks = w->mode == FTT_MODE_BACKUP && ftt_lane_up(&w->lane, 0);

	if (c->broken && !c->theirs && !c->said && speaks)
		tell_break(w);
	if (c->broken || c->alone)
		return;
	ftt_calls_give(w);
	if (c->broken)
		return;
	if (c->finishes)
		finish(w, now_ns);
	else if (speaks && (!c->said || c->told_behind > c->feed.behind + TOLD_BEHIND || (c->told_behind && !c->feed.behind)))
		tell_held(w);
	listen_for_history(w, now_ns);
}
