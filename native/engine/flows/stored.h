/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stored.h - requests by UDP whose replies are stored (core/stored.h), and the packets with which they come and go.
 *
 * A request waits in the kernel until it is noted as begun, its reply until that is noted; on stable storage here, and on the
 * backup's as long as that is in step (core/stored_pair.h): it is sent all notes over the bulk lane. All UDP of a group is the first worker's.
 */
#ifndef FTTCP_FLOWS_STORED_H
#define FTTCP_FLOWS_STORED_H
#include "core/stored_pair.h"
#include "engine/stored/replies.h"
#include "engine/worker.h"

struct ftt_stored {
	struct ftt_replies t;
	uint64_t ahead_s; /* the clock of notes: what the wall clock was ahead of CLOCK_BOOTTIME at the start. So no step of it makes notes old */
	uint32_t n_waits;
	bool full;        /* it was told that there is no room */
	/* of this node's disk */
	int trouble;      /* errno, as it was told; ETIMEDOUT: it does not answer */
	uint64_t there;   /* what was stored when it got on last, and when that was */
	uint64_t moved_ns;
	bool busy;        /* it had something to store when it was looked at last */
	struct ftt_stored_pair pair; /* primary: of the backup */
	/* backup: of the primary's notes, by our numbers and by its own */
	uint64_t mine, theirs;           /* the last one */
	uint64_t mine_asked, theirs_asked; /* one that it is told of when it is stored; 0: none */
	uint64_t theirs_stored;          /* the last one that is, and what was said of it and of our disk; -1: nothing yet */
	int64_t said;
	int said_trouble;
	bool refused;     /* a message waits in the lane */
};

/* Of the first worker, if the settings want it: another thread reads what is stored. 0, or -1 with a sentence in err. */
int ftt_stored_open(struct ftt_worker *w, void (*wake)(void *w), char *err, size_t err_len);
void ftt_stored_close(struct ftt_worker *w); /* before the worker cannot be woken */
/* May the worker start? True once all is read that is stored. */
bool ftt_stored_ready(const struct ftt_worker *w);
/* A datagram that is whole. False: it is none of a stored service. */
bool ftt_stored_packet(struct ftt_worker *w, struct ftt_packet *p, const struct ftt_pkt *k, uint64_t now_ns);
/* The worker has another role. */
void ftt_stored_role(struct ftt_worker *w);
/* What is stored by now may go. */
void ftt_stored_turn(struct ftt_worker *w, uint64_t now_ns);
void ftt_stored_sweep(struct ftt_worker *w);

/* --- stored_lane.c: what nodes tell each other ---------------------------------------------------------- */

/* The lane to the partner's first worker begins or ends; a message on it; there is room. */
void ftt_stored_lane(struct ftt_worker *w, bool up);
enum ftt_lane_answer ftt_stored_message(struct ftt_worker *w, uint8_t kind, const uint8_t *bytes, uint32_t len);
void ftt_stored_pump(struct ftt_worker *w);
/* Backup: tells what is stored here, and what is wrong with the disk, if that is new. */
void ftt_stored_say(struct ftt_worker *w);

static inline uint64_t ftt_stored_now_s(const struct ftt_stored *s, uint64_t now_ns)
{
	return s->ahead_s + now_ns / 1000000000u;
}

static inline void ftt_stored_status(const struct ftt_stored *s, struct ftt_status *out)
{
	if (!ftt_segments_read(s->t.segments)) {
		out->stored_trouble = (uint32_t)ftt_segments_trouble(s->t.segments);
		return;
	}
	out->stored_requests = s->t.n;
	out->stored_waiting = s->n_waits;
	out->stored_bytes = s->t.bytes;
	out->stored_file_bytes = ftt_segments_bytes(s->t.segments);
	out->stored_trouble = (uint32_t)s->trouble;
	out->stored_in_step = s->pair.stage == FTT_STORED_BOTH;
	out->stored_lag = s->pair.lag;
	out->stored_peer_trouble = s->pair.trouble;
}

#endif
