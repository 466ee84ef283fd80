/* SPDX-License-Identifier: Apache-2.0 */
/* calls_lead.c - the primary's side of calls.h: its server's log leaves, and what waits for the backup to hold it. */
#define _GNU_SOURCE
#include "engine/flows/act.h"
#include "engine/flows/calls_lead.h"
#include "engine/flows/history_send.h"
#include "engine/flows/hold.h"

static void news(struct ftt_worker *w, enum ftt_calls_news what, bool theirs)
{
	ftt_event_post(w->e, &(struct ftt_event){.kind = FTT_EV_CALLS, .value = what, .reason = theirs});
}

static void tell_break(struct ftt_worker *w)
{
	uint8_t bytes[FTT_CALLS_BREAK];

	ftt_calls_broke_put(bytes, &w->calls->broke);
	w->calls->push |= ftt_lane_send(&w->lane, 0, FTT_LANE_CALLS_BROKEN, bytes, sizeof(bytes));
}

/* Flows whose output has waited, and may leave. */
static void release(struct ftt_worker *w, uint64_t now_ns)
{
	struct ftt_calls *c = w->calls;
	struct ftt_tcp *flow;

	while (!ftt_list_empty(&c->waiting)) {
		struct ftt_held *h = FTT_ENTRY(c->waiting.next, struct ftt_held, calls_order);

		if (c->attached && seq_gt(h->after.calls, (uint32_t)c->held))
			return;
		flow = h->of;
		ftt_calls_go_on(h);
		ftt_tcp_act(w, flow, ftt_tcp_release(w, flow, now_ns), now_ns);
	}
}

/* No output waits for it any more, and no flow is protected with it. */
static void part_ways(struct ftt_worker *w, uint64_t now_ns)
{
	struct ftt_calls *c = w->calls;
	bool attached = c->attached || c->undo;

	c->attached = c->joined = c->undo = c->history = false;
	c->held = c->late_ns = 0;
	w->calls_gate = (struct ftt_calls_gate){0};
	if (attached && w->mode == FTT_MODE_PAIRED)
		ftt_history_undo(w, FTT_WHY_CALLS, now_ns);
	release(w, now_ns);
}

/* Our server goes on as if there were no log. */
static void broke(struct ftt_worker *w, uint64_t now_ns)
{
	struct ftt_calls *c = w->calls;

	c->broken = true;
	c->theirs = false;
	ftt_calls_broken_at(&c->drain.memory, &c->broke);
	ftt_drain_drop(&c->drain);
	tell_break(w);
	news(w, FTT_CALLS_NEWS_BROKEN, false);
	part_ways(w, now_ns);
}

/* It cannot be kept. */
static void full(struct ftt_worker *w, uint64_t now_ns)
{
	struct ftt_calls *c = w->calls;

	if (c->attached) {
		ftt_calls_break_it(&c->drain.memory, FTT_CALLS_FULL, UINT32_MAX);
		broke(w, now_ns);
		return;
	}
	ftt_calls_part_ways(&c->drain.memory);
	ftt_drain_drop(&c->drain);
}

static void take(struct ftt_worker *w, uint64_t now_ns)
{
	struct ftt_calls *c = w->calls;
	bool cut = c->drain.cut;

	if (c->broken || (cut && !c->attached))
		return;
	switch (ftt_drain(&c->drain, c->attached ? c->held : 0, &w->e->cfg.policy)) {
	case FTT_DRAIN_BROKEN:
		broke(w, now_ns);
		return;
	case FTT_DRAIN_FULL:
		full(w, now_ns);
		if (c->broken)
			return;
		break;
	default:
		break;
	}
	if (c->drain.cut && !cut)
		news(w, FTT_CALLS_NEWS_TOO_LONG, false);
	if (c->attached)
		w->calls_gate = (struct ftt_calls_gate){.on = true, .there = (uint32_t)c->drain.end, .held = (uint32_t)c->held};
}

static void send_some(struct ftt_worker *w)
{
	struct ftt_calls *c = w->calls;
	uint8_t bytes[FTT_LANE_MAX];

	while (c->joined && c->sent != c->drain.end) {
		uint32_t room = ftt_lane_room(&w->lane, 0), most = room < sizeof(bytes) ? room : (uint32_t)sizeof(bytes), len;
		const uint8_t *from = most > FTT_CALLS_HEAD ? ftt_drain_frames(&c->drain, c->sent, most - FTT_CALLS_HEAD, &len) : NULL;

		if (!from)
			return;
		put_be32(bytes, c->life);
		put_be64(bytes + 4, c->sent + len);
		memcpy(bytes + FTT_CALLS_HEAD, from, len);
		if (!ftt_lane_send(&w->lane, 0, FTT_LANE_CALLS, bytes, FTT_CALLS_HEAD + len))
			return;
		c->sent += len;
		c->push = true;
	}
}

void ftt_calls_look(struct ftt_worker *w, uint64_t now_ns)
{
	if (!ftt_calls_on(w) || w->calls->part != FTT_CALLS_PART_LEADS || w->calls->undo)
		return;
	take(w, now_ns);
	send_some(w);
}

/* Does a frame begin at that place, or what comes next? */
static bool begins(const struct ftt_drain *d, uint64_t place)
{
	uint32_t len;

	return place == d->end || (place >= d->begin && ftt_drain_frames(d, place, FTT_LANE_MAX, &len));
}

/* The backup tells on a connection of the lane where it is. */
static void join(struct ftt_worker *w, uint32_t life, uint64_t held)
{
	struct ftt_calls *c = w->calls;

	if (c->broken) {
		tell_break(w);
		return;
	}
	if ((life && life != c->life) || !begins(&c->drain, held) || (!held && c->drain.cut)) {
		c->broke = (struct ftt_calls_broke){.why = life && life != c->life ? FTT_CALLS_ENDED : 0};
		c->theirs = false;
		tell_break(w);
		return;
	}
	c->broke = (struct ftt_calls_broke){0};
	c->theirs = false;
	c->attached = c->joined = true;
	c->sent = c->held = held;
	w->calls_gate = (struct ftt_calls_gate){.on = true, .there = (uint32_t)c->drain.end, .held = (uint32_t)held};
}

static void holds(struct ftt_worker *w, const uint8_t *bytes, uint64_t now_ns)
{
	struct ftt_calls *c = w->calls;
	uint32_t life = get_be32(bytes);
	uint64_t held = get_be64(bytes + 4);

	if (c->undo)
		return;
	if (c->attached && (life == c->life ? !c->joined && held < c->held : c->held > 0)) /* of a server that has started anew */
		part_ways(w, now_ns);
	if (!c->joined) {
		join(w, life, held);
		ftt_calls_look(w, now_ns);
	} else if (life == c->life && held >= c->held && held <= c->sent) {
		c->late_ns = held > c->held ? 0 : c->late_ns;
		c->held = held;
		w->calls_gate.held = (uint32_t)held;
	}
	c->their_behind = get_be64(bytes + 12) + (c->drain.end - c->held);
	release(w, now_ns);
}

void ftt_calls_told(struct ftt_worker *w, uint8_t kind, const uint8_t *bytes, uint64_t now_ns)
{
	struct ftt_calls *c = w->calls;

	if (kind == FTT_LANE_CALLS_HELD) {
		holds(w, bytes, now_ns);
	} else if (kind == FTT_LANE_CALLS_LISTENS && c->attached && !c->history) {
		c->history = true;
		if (w->history)
			ftt_history_send_lane(w, true, now_ns);
	} else if (kind == FTT_LANE_CALLS_BROKEN && c->attached) {
		ftt_calls_broke_get(bytes, &c->broke);
		c->theirs = true;
		news(w, FTT_CALLS_NEWS_BROKEN, true);
		part_ways(w, now_ns);
	}
}

void ftt_calls_lead_tick(struct ftt_worker *w, uint64_t now_ns)
{
	struct ftt_calls *c = w->calls;
	struct ftt_env env = ftt_worker_env(w, now_ns);

	if (c->undo) {
		c->broke = (struct ftt_calls_broke){.why = FTT_CALLS_ENDED};
		tell_break(w);
		part_ways(w, now_ns);
	}
	ftt_calls_look(w, now_ns);
	if (ftt_list_empty(&c->waiting))
		c->late_ns = 0;
	else if (!c->late_ns)
		c->late_ns = now_ns;
	if (!c->attached || !ftt_calls_late(c->late_ns, &env))
		return;
	ftt_calls_break_it(&c->drain.memory, FTT_CALLS_FULL, UINT32_MAX);
	broke(w, now_ns);
}
