/* SPDX-License-Identifier: Apache-2.0 */
/*
 * record.h - what the flows of a worker add to the history on disk (engine/history/file.h), if there is one.
 *
 * A flow is in a file from its beginning on, or not at all: one that began before the file did is not. It stays in it up to its end,
 * or to where something of it was not seen; the file says so.
 */
#ifndef FTTCP_FLOWS_RECORD_H
#define FTTCP_FLOWS_RECORD_H
#include "engine/worker.h"

/* Our stack has begun the flow. */
void ftt_record_begin(struct ftt_worker *w, struct ftt_tcp *c);
/* Our stack is given a segment of the client's. */
void ftt_record_input(struct ftt_worker *w, struct ftt_tcp *c, const struct ftt_packet *p, const struct ftt_pkt *k, const struct ftt_seg *s);
/* ... a piece of what it has said before. */
void ftt_record_piece(struct ftt_worker *w, struct ftt_tcp *c, const struct ftt_piece *x);
/* Our server has said more. */
void ftt_record_said(struct ftt_worker *w, struct ftt_tcp *c);
/* The flow ends, or nothing is known of it any more. */
void ftt_record_over(struct ftt_worker *w, struct ftt_tcp *c, bool ended);

/* Is it in the file that is written now? */
static inline bool ftt_recorded(const struct ftt_worker *w, const struct ftt_tcp *c)
{
	return w->e->record && c->recorded == w->e->record_number && !c->record_over;
}

/* Is the payload needed of this segment, of which only the headers were copied? */
static inline bool ftt_record_lacks(const struct ftt_worker *w, const struct ftt_tcp *c, const struct ftt_packet *p, const struct ftt_seg *s)
{
	return ftt_recorded(w, c) && s->len && p->cap < p->len && p->cap <= FTT_PLANE_HEADERS;
}

#endif
