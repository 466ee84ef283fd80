/* SPDX-License-Identifier: Apache-2.0 */
/*
 * spill.h - logs that are too long for memory go on in the worker's spool (engine/spool/spool.h), if it has one.
 *
 * What is in memory of such a log goes there as blocks of whole pieces, but for what lies behind a hole: a client may have a whole window
 * on its way when one of its segments is lost. Who reads it, to tell it a new backup or to play it, has it read back a block at a time,
 * and goes on when that is here. A block that cannot be written, or that comes back as another, ends the log: nothing of it is played,
 * and the service goes on.
 */
#ifndef FTTCP_FLOWS_SPILL_H
#define FTTCP_FLOWS_SPILL_H
#include "engine/spool/spool.h"
#include "engine/worker.h"

/* Of one log. It outlives that until its slots are free. */
struct ftt_spilled {
	struct ftt_spooled in; /* what the log shows of it */
	struct ftt_tcp *c;     /* NULL: the log is gone */
	struct ftt_page *reads; /* where a block is read to; NULL: none is */
	struct ftt_spool_order read, free;
};

/* Moves what it can of a log out of memory. FTT_RENEWABLE: something was; `why`: nothing can be; else why the log has to end. */
enum ftt_unrenewable ftt_spill(struct ftt_worker *w, struct ftt_tcp *c, enum ftt_unrenewable why);
/* The block that was looked for last and is not here (core/spool.h) is read. */
void ftt_spill_fetch(struct ftt_worker *w, struct ftt_tcp *c);
/* Memory of one of them goes. */
void ftt_spill_drop(struct ftt_worker *w, struct ftt_page *p);
/* Nobody reads the log any more: memory of its blocks goes. */
void ftt_spill_unread(struct ftt_worker *w, struct ftt_log *l);
/* The log is that flow's from here on. */
void ftt_spill_move(struct ftt_tcp *c);
/* The log goes. */
void ftt_spill_forget(struct ftt_worker *w, struct ftt_log *l);
/* What the disk has done since: who waited for it goes on. */
void ftt_spill_done(struct ftt_worker *w, uint64_t now_ns);
/* Is the disk so far behind that no more should be asked for? Then the worker's lane is resumed when it is not. */
bool ftt_spill_behind(struct ftt_worker *w, uint8_t from);

/*
 * Opens the spool that the engine is configured to have; told(w) is called, by another thread, when ftt_spill_done() has something to do.
 * If it cannot be, logs end with memory, and people are told.
 */
void ftt_spill_open(struct ftt_worker *w, void (*told)(void *w));
/* After all flows are gone. */
void ftt_spill_close(struct ftt_worker *w);

#endif
