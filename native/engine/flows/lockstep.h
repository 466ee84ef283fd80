/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lockstep.h - identities of connections for the group's server, agreed with the other node: see core/lockstep/lockstep.h.
 *
 * The node that shakes hands draws one for each connection, tells it with OPEN, and both write the seed that comes of it
 * into the memory that they share with their servers.
 */
#ifndef FTTCP_SRC_LOCKSTEP_H
#define FTTCP_SRC_LOCKSTEP_H
#include "engine/worker.h"
#include "core/lockstep/lockstep_input.h"

/* Maps the file that cfg.lockstep names, if it names one; 0, or -1 with a sentence in err. */
int ftt_lockstep_open(struct ftt_engine *e, char *err, size_t err_len);
void ftt_lockstep_close(struct ftt_engine *e);
/* A connection begins, on a node that serves: it gets an identity that no other one has, or ever had. */
void ftt_lockstep_begin(struct ftt_worker *w, struct ftt_tcp *c, uint32_t tick);
/* ... and on the backup the one that its primary tells, which its server finds once our stack has answered. */
void ftt_lockstep_join(struct ftt_worker *w, struct ftt_tcp *c, const struct ftt_record *open);
/* ... that began before, and which our server, on a backup that catches up, is told all of again. */
void ftt_lockstep_again(struct ftt_worker *w, struct ftt_tcp *c, const struct ftt_record *open);
/*
 * Our server is told when the log's pieces came, from the one at *told on and in their order, until all bytes before the stream offset `upto`
 * are among them. False: it has to read first; unless it does not, while the client goes on (`anyway`).
 */
bool ftt_lockstep_replay(struct ftt_worker *w, const struct ftt_tcp *c, uint32_t *told, uint32_t upto, bool anyway);
/* It has caught up. */
void ftt_lockstep_caught_up(struct ftt_worker *w, const struct ftt_tcp *c);
/* Our stack has answered the SYN here. */
void ftt_lockstep_answered(struct ftt_worker *w, struct ftt_tcp *c);
/* This node serves now: does a connection that began before have one? */
void ftt_lockstep_ensure(struct ftt_worker *w, struct ftt_tcp *c);
/* Puts its identity into OPEN. */
void ftt_lockstep_tell(struct ftt_worker *w, const struct ftt_tcp *c, struct ftt_record *open);
/* The connection is over, or another one has its addresses. */
void ftt_lockstep_end(struct ftt_worker *w, struct ftt_tcp *c);

static inline struct ftt_ls_row *ftt_lockstep_row(const struct ftt_worker *w, const struct ftt_tcp *c)
{
	return c->row ? w->e->lockstep.rows + c->row - 1 : NULL;
}

static inline struct ftt_ls_own *ftt_lockstep_own(const struct ftt_worker *w, const struct ftt_tcp *c)
{
	return c->row ? w->e->lockstep.own + c->row - 1 : NULL;
}

/* Our server has read as much as it needs to, before it can be told more. */
static inline bool ftt_lockstep_keeps_up(const struct ftt_worker *w, const struct ftt_tcp *c)
{
	const struct ftt_ls_own *own = ftt_lockstep_own(w, c);

	return !own || ftt_ls_keeps_up(own, ftt_lockstep_row(w, c));
}

/* How long ago it was opened, in milliseconds. */
static inline uint32_t ftt_lockstep_age(const struct ftt_worker *w, const struct ftt_tcp *c, uint64_t now_ns)
{
	const struct ftt_ls_own *own = ftt_lockstep_own(w, c);

	return (uint32_t)((now_ns - (own ? own->began_ns : c->flow.opened_ns)) / 1000000);
}

/* What the log is to keep of the time of a segment that our stack was given: see struct ftt_piece. */
static inline uint32_t ftt_lockstep_tsval(const struct ftt_worker *w, const struct ftt_tcp *c, const struct ftt_seg *s)
{
	const struct ftt_ls_own *own = ftt_lockstep_own(w, c);

	if (own)
		return own->origin.tick + ftt_ls_shown(own);
	return s->options & FTT_OPT_TS ? s->tsval : 0;
}

/* Our stack is given a segment of the client's: the connection's clock goes on. */
static inline void ftt_lockstep_input(const struct ftt_worker *w, const struct ftt_tcp *c, const struct ftt_seg *s)
{
	struct ftt_ls_own *own = ftt_lockstep_own(w, c);
	uint32_t lived;

	if (!own || !s->len)
		return;
	lived = (uint32_t)((ftt_now_ns() - own->began_ns) / 1000000);
	ftt_ls_input(own, ftt_lockstep_row(w, c), s->seq + s->len - (c->flow.hard.irs + 1),
		     ftt_ls_elapsed(s->tsval - own->origin.tick, c->flow.bits & FTT_F_TS, lived), s->flags & TCP_PSH);
}

#endif
