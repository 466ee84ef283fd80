/* SPDX-License-Identifier: Apache-2.0 */
/* lane_conn.h - connections of the bulk lane: how they begin and end, and when. Their bytes and messages are lane.c's. */
#ifndef FTTCP_LANE_CONN_H
#define FTTCP_LANE_CONN_H
#include <sys/epoll.h>
#include "engine/channel/lane.h"

enum { FTT_SLOT_LISTEN = 100, FTT_SLOT_TIMER = 101 }; /* what epoll tells beside slots */

#define FTT_LANE_DOWN_NS 3000000000ull /* told when no connection was up for so long */
#define FTT_LANE_TOLD_DOWN (1u << 31)  /* among the bits of what was told */

/* A message that the user does not want now, or one behind it. */
struct ftt_lane_kept {
	struct ftt_lane_kept *next;
	uint8_t kind;
	uint32_t len;
	uint8_t bytes[];
};

/* A slot of the lane: the partner's worker, or FTT_MAX_WORKERS + the number of a stranger. */
struct ftt_lane_conn {
	int fd;
	uint32_t events;  /* that epoll looks for */
	bool connecting;
	bool full;        /* the user was told that there is no room */
	struct ftt_lane_kept *kept, **kept_tail;
	uint32_t kept_bytes;
	bool resumed;
	uint64_t deadline_ns; /* 0: none */
	uint64_t since_ns;    /* up */
	struct ftt_lane_stream s;
};

static inline struct ftt_lane_conn **ftt_lane_slot(struct ftt_bulk_lane *l, unsigned slot)
{
	return slot < FTT_MAX_WORKERS ? &l->conn[slot] : &l->stranger[slot - FTT_MAX_WORKERS];
}

static inline bool ftt_lane_is_up(const struct ftt_lane_conn *c)
{
	return c && c->s.step == FTT_LANE_IS_UP;
}

/* Is more read of it? */
static inline bool ftt_lane_reads(const struct ftt_bulk_lane *l, const struct ftt_lane_conn *c)
{
	return !c->kept || c->kept_bytes < l->beside;
}

/* Who speaks with whom, for a stream. */
struct ftt_lane_ends ftt_lane_ends_of(const struct ftt_bulk_lane *l);
/* Where that worker listens. */
uint16_t ftt_lane_port(const struct ftt_bulk_lane *l, uint8_t worker);
/* epoll is to look for this. */
bool ftt_lane_poll(struct ftt_bulk_lane *l, int operation, int fd, uint32_t events, unsigned slot);
/* What a connection waits for now. */
void ftt_lane_look(struct ftt_bulk_lane *l, unsigned slot);
/* Sets the timer to what comes first. */
void ftt_lane_arm(struct ftt_bulk_lane *l);
void ftt_lane_connect(struct ftt_bulk_lane *l, uint8_t worker, uint64_t now_ns);
void ftt_lane_accept(struct ftt_bulk_lane *l, uint64_t now_ns);
/* Its first frame was authentic. Returns its slot from now on. */
unsigned ftt_lane_begin(struct ftt_bulk_lane *l, unsigned slot, uint64_t now_ns);
/* The connection is no more, if there was one. */
void ftt_lane_drop(struct ftt_bulk_lane *l, unsigned slot);
/* ... it ended by itself, or has to: who connects tries again. */
void ftt_lane_lose(struct ftt_bulk_lane *l, unsigned slot, uint64_t now_ns);
/* ... for this reason, which is counted, and told where it matters. */
void ftt_lane_refuse(struct ftt_bulk_lane *l, unsigned slot, enum ftt_lane_refusal why, uint64_t now_ns);
void ftt_lane_tell(struct ftt_bulk_lane *l, uint32_t kind, uint32_t bit, uint64_t value);

#endif
