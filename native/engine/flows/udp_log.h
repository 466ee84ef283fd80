/* SPDX-License-Identifier: Apache-2.0 */
/* udp_log.h - the events of a UDP session, kept for a new backup: core/udp/log.h with memory and bounds. */
#ifndef FTTCP_FLOWS_UDP_LOG_H
#define FTTCP_FLOWS_UDP_LOG_H
#include "core/log.h"
#include "core/udp/log.h"
#include "core/udp/renew.h"
#include "engine/worker.h"

enum ftt_udp_stage {
	FTT_UDP_STILL,    /* nothing is done with it */
	FTT_UDP_TO_RENEW, /* primary: its turn comes */
	FTT_UDP_CATCHING, /* the backup's server gets on */
	FTT_UDP_ASKED     /* primary: all was said */
};

struct ftt_udp_log {
	struct ftt_list order; /* of the sessions that are renewed; without a stage alone */
	struct ftt_udp_session *u;
	uint8_t *bytes;
	uint32_t size, len;
	uint32_t at;      /* primary: bytes that were handed to the lane; backup: that its server was given */
	uint32_t left;    /* backup: events of the lane that its server was not given yet */
	uint64_t moved_ns; /* primary: when the backup got on; backup: when the next event became the next */
	bool rests;       /* a server that has started is told of it when its turn comes, or its client speaks */
	uint32_t told;    /* backup: events given, as the primary was told last, */
	uint64_t told_ns; /* ... when */
	struct ftt_burst burst; /* backup */
	uint8_t stage;    /* enum ftt_udp_stage */
};

/* A session begins. */
void ftt_udp_log_begin(struct ftt_worker *w, struct ftt_udp_session *u);
/* Its next event. False: there is no room, and the log is of no use any more. */
bool ftt_udp_note(struct ftt_worker *w, struct ftt_udp_session *u, const struct ftt_noted *x);
/* Why it cannot be renewed: the one place where that is counted. */
void ftt_udp_log_why(struct ftt_udp_table *t, struct ftt_udp_session *u, enum ftt_unrenewable why);
/* It cannot be renewed from here on. */
void ftt_udp_log_end(struct ftt_worker *w, struct ftt_udp_session *u, enum ftt_unrenewable why);
/* The session goes, and its log with it. */
void ftt_udp_log_forget(struct ftt_worker *w, struct ftt_udp_session *u);
/* It goes on in this stage. A log that is of no use any more goes with the last one. */
void ftt_udp_log_stage(struct ftt_worker *w, struct ftt_udp_session *u, enum ftt_udp_stage stage);

static inline enum ftt_udp_stage ftt_udp_stage(const struct ftt_udp_session *u)
{
	return u->log ? (enum ftt_udp_stage)u->log->stage : FTT_UDP_STILL;
}

/* Of servers in step all is compared, or nothing goes on: what is encrypted must not be said in two ways. */
static inline bool ftt_udp_unsure(const struct ftt_worker *w, const struct ftt_udp_session *u)
{
	return w->e->lockstep.header && u->s.sums.broken;
}

/* Are events to be noted? */
static inline bool ftt_udp_notes(const struct ftt_udp_session *u)
{
	return u->log && !ftt_unrenewable(u->unrenewable);
}

#endif
