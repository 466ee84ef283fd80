/* SPDX-License-Identifier: Apache-2.0 */
/* opening.h - a worker's list of connections that a server opens, on their way to a partner: opens.c has what it is for. */
#ifndef FTTCP_FLOWS_OPENING_H
#define FTTCP_FLOWS_OPENING_H
#include "engine/worker.h"

struct ftt_opening {
	struct ftt_list order; /* of ftt_worker.opens, the oldest first */
	struct ftt_tcp *flow;
	uint64_t since_ns;
};

enum ftt_opening_kind {
	FTT_OPENING_OWN,   /* a backup's: a SYN of our own stack */
	FTT_OPENING_ASKED, /* a primary's flow, or what a backup was asked about */
	FTT_OPENING_AGAIN  /* a backup's, of one that catches up: our server is to open it again */
};

static inline enum ftt_opening_kind ftt_opening_kind(const struct ftt_tcp *c)
{
	if (c->key.space == FTT_SPACE_STACK)
		return FTT_OPENING_OWN;
	return c->flow.protection == FTT_CATCHING_UP ? FTT_OPENING_AGAIN : FTT_OPENING_ASKED;
}

/* Is it a SYN of our own stack that waits? */
static inline bool ftt_opening_own(const struct ftt_tcp *c)
{
	return ftt_opening_kind(c) == FTT_OPENING_OWN;
}

/* It is on its way from now on; false: there is no room for it. */
bool ftt_opening_add(struct ftt_worker *w, struct ftt_tcp *c, uint64_t now_ns);
/* ... not any more, if it was. */
void ftt_opening_leave(struct ftt_worker *w, const struct ftt_tcp *c);
/* The oldest of all; the next younger one. NULL: there is none. */
struct ftt_opening *ftt_opening_first(const struct ftt_worker *w);
struct ftt_opening *ftt_opening_next(const struct ftt_worker *w, struct ftt_opening *o);
/* The oldest flow to this destination, of that kind. NULL if there is none. */
struct ftt_tcp *ftt_opening_to(const struct ftt_worker *w, const struct ftt_key *key, enum ftt_opening_kind kind);
/* Primary: is it c's turn to be asked about? One to each destination at a time, so that their order is the same on both nodes. */
bool ftt_opening_turn(const struct ftt_worker *w, const struct ftt_tcp *c);
/* Primary: c may have its answer. Then whose turn is it? NULL: nobody's. */
struct ftt_tcp *ftt_opening_answered(struct ftt_worker *w, struct ftt_tcp *c);

#endif
