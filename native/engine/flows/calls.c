/* SPDX-License-Identifier: Apache-2.0 */
/* calls.c - the log of calls, what both sides have of it: see calls.h. */
#define _GNU_SOURCE
#include "engine/flows/calls_lead.h"
#include "engine/flows/calls_follow.h"
#include <stdlib.h>

#define BESIDE (1u << 20) /* bytes of a history that waits, and keeps no calls from coming */

static void forget(struct ftt_calls *c)
{
	if (!c)
		return;
	ftt_drain_drop(&c->drain);
	ftt_feed_drop(&c->feed);
	ftt_calls_unmap(&c->drain.memory);
	ftt_calls_unmap(&c->feed.memory);
	free(c);
}

int ftt_calls_anew(struct ftt_worker *w, const struct ftt_calls_memory *memory, uint8_t part)
{
	struct ftt_calls *c = calloc(1, sizeof(*c)), *before = w->calls;

	if (!c)
		return -1;
	c->part = part;
	c->life = before ? before->life + 2 : (uint32_t)ftt_now_ns() | 1;
	ftt_list_init(&c->waiting);
	ftt_feed_begin(&c->feed);
	if (before) {
		c->undo = before->undo || before->attached;
		c->waits = before->waits;
		c->waited_ns = before->waited_ns;
		ftt_list_move(&before->waiting, &c->waiting);
	}
	forget(before);
	w->calls = c;
	w->lane.beside = part == FTT_CALLS_PART_FOLLOWS ? BESIDE : 0;
	if (part == FTT_CALLS_PART_LEADS)
		c->drain.memory = *memory;
	else if (part == FTT_CALLS_PART_FOLLOWS)
		c->feed.memory = *memory;
	return 0;
}

void ftt_calls_close(struct ftt_worker *w)
{
	forget(w->calls);
	w->calls = NULL;
}

void ftt_calls_role(struct ftt_worker *w, uint64_t now_ns)
{
	struct ftt_calls *c = w->calls;

	w->calls_gate = (struct ftt_calls_gate){0};
	if (!c)
		return;
	c->attached = c->joined = c->undo = c->history = c->said = false;
	c->their_behind = c->late_ns = 0;
	if (!c->broken)
		c->broke = (struct ftt_calls_broke){0};
	if (c->part == FTT_CALLS_PART_FOLLOWS && ftt_flow_emits((uint8_t)w->mode)) {
		ftt_calls_finish(w, now_ns);
	} else if (c->part == FTT_CALLS_PART_LEADS && c->drain.cut) { /* nobody can begin with it */
		ftt_calls_part_ways(&c->drain.memory);
		ftt_drain_drop(&c->drain);
	}
}

void ftt_calls_lane(struct ftt_worker *w, bool up, uint64_t now_ns)
{
	struct ftt_calls *c = w->calls;

	if (!ftt_calls_on(w))
		return;
	c->joined = c->said = false;
	if (w->mode == FTT_MODE_BACKUP && up) /* LISTENS may have been lost */
		c->history = false;
	if (up && w->mode == FTT_MODE_BACKUP && c->part == FTT_CALLS_PART_FOLLOWS)
		ftt_calls_follow_tick(w, now_ns);
}

enum ftt_lane_answer ftt_calls_message(struct ftt_worker *w, uint8_t kind, const uint8_t *bytes, uint32_t len, uint64_t now_ns)
{
	const uint32_t wanted = kind == FTT_LANE_CALLS_HELD ? FTT_CALLS_HELD : kind == FTT_LANE_CALLS_BROKEN ? FTT_CALLS_BREAK : 1;
	bool leads = ftt_calls_on(w) && w->calls->part == FTT_CALLS_PART_LEADS && w->mode == FTT_MODE_PAIRED;
	bool follows = ftt_calls_on(w) && w->calls->part == FTT_CALLS_PART_FOLLOWS && w->mode == FTT_MODE_BACKUP;

	if (kind == FTT_LANE_CALLS ? len < FTT_CALLS_HEAD : len != wanted)
		return FTT_LANE_BAD;
	if (kind == FTT_LANE_CALLS)
		return follows ? ftt_calls_take(w, bytes, len, now_ns) : FTT_LANE_TAKEN;
	if (kind == FTT_LANE_CALLS_BROKEN && follows)
		ftt_calls_leader_broke(w, bytes);
	else if (leads)
		ftt_calls_told(w, kind, bytes, now_ns);
	return FTT_LANE_TAKEN;
}

void ftt_calls_push(struct ftt_worker *w, uint64_t now_ns)
{
	if (!ftt_calls_on(w))
		return;
	if (w->calls->push)
		ftt_lane_push(&w->lane, 0, now_ns);
	w->calls->push = false;
	if (w->calls->fed && !w->calls->broken)
		ftt_calls_give(w);
}

void ftt_calls_tick(struct ftt_worker *w, uint64_t now_ns)
{
	if (!ftt_calls_on(w))
		return;
	if (w->calls->part == FTT_CALLS_PART_LEADS)
		ftt_calls_lead_tick(w, now_ns);
	else if (w->calls->part == FTT_CALLS_PART_FOLLOWS)
		ftt_calls_follow_tick(w, now_ns);
}

static enum ftt_calls_stage stage(const struct ftt_calls *c)
{
	if (c->broken || !c->part)
		return c->part ? FTT_CALLS_STAGE_BROKEN : FTT_CALLS_STAGE_NONE;
	if (c->alone)
		return FTT_CALLS_STAGE_ALONE;
	if (c->part == FTT_CALLS_PART_LEADS)
		return c->drain.cut ? FTT_CALLS_STAGE_CUT : FTT_CALLS_STAGE_LEADS;
	return c->caught_up ? FTT_CALLS_STAGE_CAUGHT_UP : FTT_CALLS_STAGE_FOLLOWS;
}

void ftt_calls_show(const struct ftt_worker *w, struct ftt_calls_shown *out)
{
	const struct ftt_calls *c = w->calls;

	if (!c)
		return;
	out->state = stage(c);
	out->theirs = c->theirs;
	out->why = c->broke.why;
	out->pid = c->broke.pid;
	out->thread = c->broke.thread;
	out->made = c->broke.made;
	out->said = c->broke.said;
	out->number = c->broke.number;
	memcpy(out->program, c->broke.program, sizeof(out->program));
	if (c->part == FTT_CALLS_PART_LEADS) {
		out->in_step = c->attached;
		out->log_bytes = c->drain.end;
		out->retained = c->drain.end - c->drain.begin;
		out->sent = c->attached ? c->sent : 0;
		out->held = c->attached ? c->held : 0;
		out->behind = c->their_behind;
	} else if (c->part == FTT_CALLS_PART_FOLLOWS) {
		out->in_step = c->their_life && !c->broken && !c->alone && w->mode == FTT_MODE_BACKUP;
		out->log_bytes = out->held = c->feed.held;
		out->retained = c->feed.bytes;
		out->behind = c->feed.behind;
	}
	out->waits = c->waits;
	out->waited_ns = c->waited_ns;
}
