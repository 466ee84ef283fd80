/* SPDX-License-Identifier: Apache-2.0 */
/*
 * filed.h - what the flows of a worker add to the history on disk (engine/history/file.h), if there is one.
 *
 * A flow is in a file from its beginning on, or not at all: one that began before the file did is not. It stays in it up to its end,
 * or to where something of it was not seen; the file says so.
 */
#ifndef FTTCP_FLOWS_FILED_H
#define FTTCP_FLOWS_FILED_H
#include "engine/worker.h"

/* Our stack has begun the flow. */
void ftt_filed_begin(struct ftt_worker *w, struct ftt_tcp *c);
/* Our stack is given a segment of the client's. */
void ftt_filed_input(struct ftt_worker *w, struct ftt_tcp *c, const struct ftt_packet *p, const struct ftt_pkt *k, const struct ftt_seg *s);
/* ... a piece of what it has said before. */
void ftt_filed_piece(struct ftt_worker *w, struct ftt_tcp *c, const struct ftt_piece *x);
/* Our server has said more. */
void ftt_filed_said(struct ftt_worker *w, struct ftt_tcp *c);
/* The flow ends, or nothing is known of it any more. */
void ftt_filed_over(struct ftt_worker *w, struct ftt_tcp *c, bool ended);

/* Is it in the file that is written now? */
static inline bool ftt_filed(const struct ftt_worker *w, const struct ftt_tcp *c)
{
	return w->e->history_file && c->filed == w->e->file_number && !c->filed_over;
}

/* Is the payload needed of this segment, of which only the headers were copied? */
static inline bool ftt_filed_lacks(const struct ftt_worker *w, const struct ftt_tcp *c, const struct ftt_packet *p, const struct ftt_seg *s)
{
	return ftt_filed(w, c) && s->len && p->cap < p->len && p->cap <= FTT_PLANE_HEADERS;
}

#endif
