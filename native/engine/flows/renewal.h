/* SPDX-License-Identifier: Apache-2.0 */
/* renewal.h - flows of a worker that a new backup catches up with: which they are. What is done with them: renew.h. */
#ifndef FTTCP_FLOWS_RENEWAL_H
#define FTTCP_FLOWS_RENEWAL_H
#include "core/tcp/catching.h"
#include "engine/flows/log.h"

/* Of a flow that has a log, while it lasts. */
struct ftt_renewal {
	struct ftt_list order; /* of the worker's list */
	struct ftt_tcp *c;
	uint64_t moved_ns; /* when the other node (primary), or our stack (backup) last got on */
	uint64_t heard_ns; /* backup: the primary's last word. Primary: outputs differ since; 0: they do not */
	uint64_t next_ns;  /* when to ask, or to try, again */
	uint64_t opened_ns; /* primary: of the flow, while it is asked */
	uint64_t said;     /* primary: bytes that the backup's server has said */
	struct ftt_pace pace; /* ... how fast that comes nearer */
	uint64_t acked;    /* bytes that the client had acknowledged, as the primary last said */
	uint32_t sent;     /* primary: bytes of the log that were handed to the lane */
	uint32_t given;    /* backup: up to here our stack was given the client's stream */
	struct ftt_log_reader reader; /* backup: ... from the log */
	struct ftt_record *word; /* a takeover with a server that was started for it: the last of the old primary. NULL: it is no such one */
	uint32_t verified; /* primary: as the backup last told */
	uint64_t full_ns;  /* backup: since when a server in step is told nothing more, for it does not read; 0: it does */
	uint32_t told;     /* backup: up to here in the log a server in step knows when the pieces came */
	uint8_t stage;     /* enum ftt_renewal_stage */
	uint8_t tries;
	bool reopens;      /* primary: the backup's server has to open it again; until it does that is all that is waited for */
	bool same;         /* outputs were equal somewhere */
	bool found;        /* backup: the primary knows that our stack has the flow */
	bool whole;        /* backup: all of the log is here */
	bool current;      /* ... and a server in step knows of it: what comes from now on comes as ever */
	bool past, over;   /* backup: nobody waits for it, it belongs to a history; ... and is at its end there */
	bool resting;      /* time alone does nothing to it: it is in a list that no tick walks over */
};

static inline struct ftt_renewal *ftt_renewal(const struct ftt_tcp *c)
{
	return c->log ? c->log->renewal : NULL;
}

/* Primary: has the backup's server not opened it again yet? Perhaps it never will: nobody waits for that. */
static inline bool ftt_renewal_is_unopened(const struct ftt_renewal *r)
{
	return r->reopens && r->stage <= FTT_RENEW_BEGUN;
}

/* Primary: flows whose stack has not answered. */
static inline uint32_t ftt_renewals_unanswered(const struct ftt_worker *w)
{
	return w->n_renewing[FTT_RENEW_BEGUN] - w->n_reopening[FTT_RENEW_BEGUN];
}

/* Flows that catch up. */
static inline uint32_t ftt_renewals_active(const struct ftt_worker *w)
{
	return ftt_renewals_unanswered(w) + w->n_renewing[FTT_RENEW_CATCHING] + w->n_renewing[FTT_RENEW_ASKED];
}

/* ... or are about to: without those that are unopened. */
static inline uint32_t ftt_renewals_awaited(const struct ftt_worker *w)
{
	return ftt_renewals_active(w) + w->n_renewing[FTT_RENEW_WAITS] - w->n_reopening[FTT_RENEW_WAITS];
}

/* Has no further one its turn before another ends? */
static inline bool ftt_renewals_full(const struct ftt_worker *w)
{
	return !ftt_renewal_may_begin(0, ftt_renewals_active(w));
}

/* One of all of them; those first whose turn has not come. NULL: there is none. What rests is none of them. */
struct ftt_renewal *ftt_renewals_first(struct ftt_worker *w);
/* No flow is. */
void ftt_renewals_open(struct ftt_worker *w);
/* The flow is to be renewed; NULL without memory. */
struct ftt_renewal *ftt_renewal_begin(struct ftt_worker *w, struct ftt_tcp *c, uint64_t now_ns);
/* ... and goes on in this stage. */
void ftt_renewal_stage(struct ftt_worker *w, struct ftt_renewal *r, enum ftt_renewal_stage stage);
/* Nothing but what happens to it will move it: no tick looks at it from here on ... */
void ftt_renewal_rest(struct ftt_worker *w, struct ftt_renewal *r);
/* ... until something has happened. */
void ftt_renewal_stir(struct ftt_worker *w, struct ftt_renewal *r);
/* ... to all of them. */
void ftt_renewals_stir(struct ftt_worker *w);
/* It is over, in whichever way. */
void ftt_renewal_end(struct ftt_worker *w, struct ftt_tcp *c);
/* ... without success; for some reasons it is tried again. */
static inline void ftt_renewal_failed(struct ftt_worker *w, enum ftt_unrenewable why, uint64_t now_ns)
{
	w->n.renewals_failed += why != FTT_RENEWABLE;
	ftt_again_failed(&w->renew_again, why, now_ns);
}

/* The flow `from`, which is about to go, is the same connection: its log and its renewal are that one's, which has none. */
void ftt_renewal_move(struct ftt_worker *w, struct ftt_tcp *to, struct ftt_tcp *from);
/* The flow goes, and its log with it. */
void ftt_renewal_forget(struct ftt_worker *w, struct ftt_tcp *c);

#endif
