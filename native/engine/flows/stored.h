/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stored.h - requests by UDP whose replies are stored (core/stored.h), and the packets with which they come and go.
 *
 * A request waits in the kernel until it is noted as begun, its reply until that is noted; on stable storage here, and on the
 * backup's once it is in step: then it has had all notes, over the bulk lane. All UDP of a group is the first worker's.
 */
#ifndef FTTCP_FLOWS_STORED_H
#define FTTCP_FLOWS_STORED_H
#include "engine/stored/replies.h"
#include "engine/worker.h"

struct ftt_stored {
	struct ftt_replies t;
	uint32_t n_waits;
	int trouble;      /* that was told */
	bool full;        /* ... that there is no room */
	/* primary: of the backup */
	bool all_told;    /* it was sent all that there was */
	bool in_step;     /* ... and has stored it */
	uint64_t goal;    /* the number up to which that was */
	uint64_t acked;   /* up to which it has stored */
	/* backup: of the primary's notes, by our numbers and by its own */
	uint64_t mine, theirs;           /* the last one */
	uint64_t mine_asked, theirs_asked; /* one that it is told of when it is stored; 0: none */
	bool refused;     /* a message waits in the lane */
};

/* Of the first worker, if the settings want it; wake is called by another thread. 0, or -1 with a sentence in err. */
int ftt_stored_open(struct ftt_worker *w, void (*wake)(void *w), char *err, size_t err_len);
void ftt_stored_close(struct ftt_worker *w); /* before the worker cannot be woken */
/* A datagram that is whole. False: it is none of a stored service. */
bool ftt_stored_packet(struct ftt_worker *w, struct ftt_packet *p, const struct ftt_pkt *k, uint64_t now_ns);
/* The worker has another role. */
void ftt_stored_role(struct ftt_worker *w);
/* What is stored by now may go. */
void ftt_stored_turn(struct ftt_worker *w, uint64_t now_ns);
void ftt_stored_sweep(struct ftt_worker *w);
/* The lane to the partner's first worker begins or ends; a message on it; there is room. */
void ftt_stored_lane(struct ftt_worker *w, bool up);
enum ftt_lane_answer ftt_stored_message(struct ftt_worker *w, uint8_t kind, const uint8_t *bytes, uint32_t len);
void ftt_stored_pump(struct ftt_worker *w);

static inline void ftt_stored_status(const struct ftt_stored *s, struct ftt_status *out)
{
	out->stored_requests = s->t.n;
	out->stored_waiting = s->n_waits;
	out->stored_bytes = s->t.bytes;
	out->stored_file_bytes = ftt_segments_bytes(s->t.segments);
	out->stored_trouble = (uint32_t)ftt_segments_trouble(s->t.segments);
	out->stored_in_step = s->in_step;
}

#endif
