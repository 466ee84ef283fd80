/* SPDX-License-Identifier: Apache-2.0 */
/*
 * frame.h - what a history tells of a flow, be it in memory (history.h) or on disk (record.h).
 *
 * Before all else that is told stands how far the output of each flow has come that has moved since: who writes a history has a list of
 * these, and a bit of c->moved that says which of them are in it.
 */
#ifndef FTTCP_FLOWS_FRAME_H
#define FTTCP_FLOWS_FRAME_H
#include "core/history.h"
#include "core/tcp/renew.h"
#include "engine/worker.h"

/* Puts the flow into the list; false: it is full. */
static inline bool ftt_moved_add(struct ftt_moved *m, struct ftt_tcp *c, enum ftt_moved_in in)
{
	if (c->moved & in)
		return true;
	if (m->n == FTT_MOVED)
		return false;
	c->moved |= in;
	m->flow[m->n++] = c;
	return true;
}

/* Takes one out; NULL: it is empty. The order is that of their first words. */
static inline struct ftt_tcp *ftt_moved_next(struct ftt_moved *m, uint32_t *at, enum ftt_moved_in in)
{
	struct ftt_tcp *c = *at < m->n ? m->flow[(*at)++] : NULL;

	if (c)
		c->moved &= ~in;
	else
		m->n = *at = 0;
	return c;
}

static inline void ftt_moved_forget(struct ftt_moved *m, struct ftt_tcp *c, enum ftt_moved_in in)
{
	for (uint32_t i = 0; c->moved & in && i < m->n; i++)
		if (m->flow[i] == c) {
			memmove(m->flow + i, m->flow + i + 1, (m->n - i - 1) * sizeof(m->flow[0]));
			m->n--;
			c->moved &= ~in;
		}
}

static inline struct ftt_history_event ftt_frame_of(const struct ftt_tcp *c, enum ftt_history_kind kind)
{
	return (struct ftt_history_event){.kind = (uint8_t)kind, .key = c->key, .irs = c->flow.hard.irs};
}

/* It begins with this SYN, of which the event has no copy. */
static inline struct ftt_history_event ftt_frame_open(const struct ftt_worker *w, const struct ftt_tcp *c, const uint8_t *syn, uint32_t len)
{
	struct ftt_history_event x = ftt_frame_of(c, FTT_HISTORY_OPEN);
	struct ftt_env env = ftt_worker_env(w, ftt_now_ns());
	struct ftt_flow f = c->flow; /* to tell of it changes nothing of what was agreed */

	x.open = (struct ftt_record){.type = FTT_REC_OPEN, .key = x.key, .irs = x.irs, .data = syn, .data_len = len};
	ftt_renew_open(&f, &x.open, &env);
	return x;
}

/* So much has its server said; with the sum of all of it, if that is known. */
static inline struct ftt_history_event ftt_frame_output(const struct ftt_worker *w, const struct ftt_tcp *c)
{
	uint32_t said = (uint32_t)c->bytes_out;
	bool summed = c->digest.next == said, seen = w->mode == FTT_MODE_BACKUP && c->digest.seen == said;
	struct ftt_history_event x = ftt_frame_of(c, FTT_HISTORY_OUTPUT);

	x.place = c->bytes_out;
	if (!c->digest.broken && (summed || seen)) {
		x.flags = FTT_HISTORY_SUM;
		x.crc = summed ? c->digest.crc : c->seen_crc;
	}
	return x;
}

static inline struct ftt_history_event ftt_frame_input(const struct ftt_tcp *c, const struct ftt_piece *piece)
{
	struct ftt_history_event x = ftt_frame_of(c, FTT_HISTORY_INPUT);

	x.piece = *piece;
	return x;
}

static inline struct ftt_history_event ftt_frame_end(const struct ftt_tcp *c, enum ftt_history_end how)
{
	struct ftt_history_event x = ftt_frame_of(c, FTT_HISTORY_END);

	x.how = (uint8_t)how;
	return x;
}

/* How a flow has ended that is closed. */
static inline enum ftt_history_end ftt_frame_how(const struct ftt_flow *f)
{
	return f->bits & FTT_F_CLIENT_RST ? FTT_HISTORY_CLIENT_RST : f->bits & FTT_F_LOCAL_RST ? FTT_HISTORY_SERVER_RST : FTT_HISTORY_CLOSED;
}

#endif
