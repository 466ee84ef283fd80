/* SPDX-License-Identifier: Apache-2.0 */
/* log.h - the input logs of a worker's flows: core/log.h with memory and bounds. */
#ifndef FTTCP_FLOWS_LOG_H
#define FTTCP_FLOWS_LOG_H
#include "core/log.h"
#include "engine/worker.h"

/* A connection begins with the SYN that c->syn has, or with this one. */
void ftt_log_begin(struct ftt_worker *w, struct ftt_tcp *c, const uint8_t *syn, size_t len);
/* Our stack is given a client's segment: what is new of it is kept. Without its payload the log ends there. */
void ftt_log_input(struct ftt_worker *w, struct ftt_tcp *c, const struct ftt_packet *p, const struct ftt_pkt *k,
		   const struct ftt_seg *s);
/* A piece that the other node has kept. False: there is no room, or it has too many holes; the log is gone. */
bool ftt_log_append(struct ftt_worker *w, struct ftt_tcp *c, struct ftt_piece *x);
/*
 * Makes room for `need` bytes in a log, at most `most`, within the bound of all; else why not. told: by the primary, in whichever order. There
 * it had its share, so here only the bound of all counts.
 */
enum ftt_unrenewable ftt_log_room(struct ftt_worker *w, uint8_t **bytes, uint32_t *size, uint32_t need, uint32_t most, bool told);
/*
 * A piece's time, and its place among others, decide on what a server in step says. So what our stack would be given is only kept from here
 * on ...
 */
void ftt_log_defer(struct ftt_worker *w, struct ftt_tcp *c);
/* ... until all of before is here: it gets its place. */
void ftt_log_resume(struct ftt_worker *w, struct ftt_tcp *c);
/* The flow cannot be renewed from here on. */
void ftt_log_end(struct ftt_worker *w, struct ftt_tcp *c, enum ftt_unrenewable why);
/* The flow goes, or is let go, and its log with it: neither renewal nor history needs it. Why it could not be renewed stays to be read. */
void ftt_log_forget(struct ftt_worker *w, struct ftt_tcp *c);
/* Is the payload of this segment needed, of which only the headers were copied? Keeps account of what long packets are for. */
bool ftt_log_lacks(struct ftt_worker *w, const struct ftt_tcp *c, const struct ftt_packet *p, const struct ftt_seg *s);

static inline bool ftt_log_defers(const struct ftt_tcp *c)
{
	return c->row && c->log && c->log->later && !c->unrenewable;
}

/* Are clients' packets copied whole for the logs? */
static inline bool ftt_log_copies(const struct ftt_worker *w)
{
	return w->log_whole > 0;
}

#endif
