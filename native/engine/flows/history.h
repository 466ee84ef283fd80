/* SPDX-License-Identifier: Apache-2.0 */
/*
 * history.h - what all clients of the service have sent since the server started, in order: core/history.h, in memory.
 *
 * Each worker that keeps one writes a frame for what its flows do, as primary and as backup: so a node has the history of its own
 * server, whichever role it had. It is whole from the start of that server on, or it is of no use: `why` then tells.
 *
 * How a new backup's server is brought to where ours is, by all that ours was ever sent (P: primary, B: backup):
 *
 *   P   HISTORY  end u64 | frames of core/history.h, up to that place
 *   P   BEGIN    the OPEN of a connection that still lives (renew_begin.c)
 *   B   PLAYED   end u64: my server was given all before it, and has said as much
 *   P   ALIGN    you have nearly all: keep what the mirror brings from here on
 *   B   ALIGNED  I do
 *   P   MARK     this was the last frame; what comes after it is on the mirror
 *   B   MARKED   all before it was played, and the mirror goes on. Until then nothing that begins is followed
 *   B   NOT_PLAYED  why u8: I give it up
 *
 * After MARK frames go on of connections that no backup follows: one that shook hands with the primary alone would be missing else.
 *
 * Until MARK the backup's server is given nothing but frames, in their order. What begins meanwhile is served, and not followed:
 * it is in the history as all else. Packets of the mirror that were kept are given to it behind the last frame, then those that
 * come. So it is given everything in the order of the primary, and nothing twice: what is in both, its stack knows already.
 * From MARK on living connections go the way of any renewal.
 */
#ifndef FTTCP_FLOWS_HISTORY_H
#define FTTCP_FLOWS_HISTORY_H
#include "core/history.h"
#include "engine/worker.h"

#define FTT_HISTORY_PART (128u << 10) /* bytes of memory at once */

struct ftt_history_part {
	struct ftt_history_part *next;
	uint32_t len;
	uint8_t bytes[FTT_HISTORY_PART];
};

/* A packet of the mirror that waits until all before it was played. */
struct ftt_history_kept {
	struct ftt_history_kept *next;
	struct ftt_packet packet;
	uint8_t bytes[];
};

struct ftt_history {
	struct ftt_history_part *first, *last;
	uint64_t bytes;     /* of memory: with the logs of living connections, at most history_bytes */
	uint64_t end;       /* bytes of frames, also of those that were dropped with a server before */
	uint64_t began_ns;
	uint64_t start_ns;  /* of the server; 0: not known */
	uint32_t life;      /* of the server, as the engine counts them */
	uint8_t why;        /* enum ftt_unrenewable: 0: it is whole */
	struct ftt_moved moved;
	/* primary, of the pairing */
	enum ftt_history_stage stage;
	struct ftt_history_part *at_part; /* what was sent last is in it; NULL: nothing was */
	uint32_t at;                      /* ... before that place of it */
	uint64_t sent, played;            /* as `end` */
	bool undo; /* what is protected in this pairing goes on without */
	/* backup */
	bool live;          /* it has all, and goes on with the mirror */
	bool aligns;        /* what the mirror brings is kept */
	bool blocked, appended; /* a frame waits; its piece is in the flow's log */
	bool stirred;       /* our stack has said something since */
	bool failed;        /* told so */
	uint64_t taken;         /* as `end`: what is before that place was played */
	uint32_t in_message;    /* before that place, the message that waits is done */
	uint64_t moved_ns;      /* when something was played last */
	struct ftt_history_kept *kept, **kept_tail;
	uint64_t kept_bytes;
};

/* NULL with errno: no memory. */
struct ftt_history *ftt_history_new(uint64_t now_ns);
void ftt_history_free(struct ftt_history *h);
/* Has another life of the server begun? Then so does its history. */
void ftt_history_look(struct ftt_worker *w);
/* Another role, or pairing. What is kept of the mirror is dropped. */
void ftt_history_role(struct ftt_worker *w);
/* Backup: a packet of the mirror waits until all before it was played. */
void ftt_history_keep(struct ftt_worker *w, const struct ftt_packet *p);
void ftt_history_drop_kept(struct ftt_worker *w);
/* It is not whole any more. */
void ftt_history_lose(struct ftt_worker *w, enum ftt_unrenewable why);

/* The flow is established. */
void ftt_history_open(struct ftt_worker *w, struct ftt_tcp *c);
/* Our stack is given a piece that it was not given before. */
void ftt_history_input(struct ftt_worker *w, struct ftt_tcp *c, const struct ftt_piece *x);
/* Our server has said more. */
void ftt_history_said(struct ftt_worker *w, struct ftt_tcp *c);
/* The flow ends; or nothing is known of it any more. */
void ftt_history_over(struct ftt_worker *w, struct ftt_tcp *c, enum ftt_history_end how);

/* Is it time for that? A handshake is nothing that a server is told of. */
static inline void ftt_history_enter(struct ftt_worker *w, struct ftt_tcp *c, bool spoke)
{
	const uint32_t there = FTT_F_MAPPED | (spoke ? 0 : FTT_F_ESTABLISHED);
	bool gone = c->flow.protection == FTT_RESETTING || (w->mode == FTT_MODE_BACKUP && c->flow.protection == FTT_DETACHED);

	if (w->history && !c->in_history && !c->closed && !gone && (c->flow.bits & there) == there)
		ftt_history_open(w, c);
}

/* Is this flow in it, and not at its end there? One that was told to a server before is in that one's, which is no more. */
static inline bool ftt_history_has(const struct ftt_history *h, const struct ftt_tcp *c)
{
	return h && c->in_history && !c->history_over && c->flow.opened_ns >= h->start_ns;
}

/* ... so that all of its input must be? */
static inline bool ftt_history_needs(const struct ftt_worker *w, const struct ftt_tcp *c)
{
	return ftt_history_has(w->history, c) && !w->history->why;
}

/* Primary: nothing that begins now can be followed. */
static inline bool ftt_history_behind(const struct ftt_worker *w)
{
	return w->history && w->history->stage != FTT_HISTORY_MARKED;
}

/* Where the first frame is that is there, as `end`. */
static inline uint64_t ftt_history_begin(const struct ftt_history *h)
{
	uint64_t begin = h->end;

	for (const struct ftt_history_part *p = h->first; p; p = p->next)
		begin -= p->len;
	return begin;
}

/* Is there something that is to get on? */
static inline bool ftt_history_moves(const struct ftt_worker *w)
{
	const struct ftt_history *h = w->history;

	return h && (h->blocked || (w->mode == FTT_MODE_PAIRED && h->stage >= FTT_HISTORY_SENDS && h->stage <= FTT_HISTORY_MARKS));
}

/* Backup: what the mirror brings is nothing for our server yet. */
static inline bool ftt_history_waits(const struct ftt_worker *w)
{
	return w->history && w->mode == FTT_MODE_BACKUP && !w->history->live;
}

#endif
