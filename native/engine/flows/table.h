/* SPDX-License-Identifier: Apache-2.0 */
/* table.h - the flows of a worker, by key and by age; see table.c. */
#ifndef FTTCP_TABLE_H
#define FTTCP_TABLE_H
#include <stdbool.h>
#include <stdint.h>
#include "core/compare/digest.h"
#include "core/log.h"
#include "core/tcp/age.h"
#include "core/tcp/pair.h"
#include "core/tcp/retain.h"
#include "engine/flows/keyed.h"
#include "engine/flows/list.h"
#include "engine/planes/plane.h"

/* A segment that waits in the kernel's queue for a verdict. */
struct ftt_held {
	struct ftt_held *next;
	uint64_t since_ns;
	uint32_t id;
	uint32_t in_index;
	uint16_t queue;
	bool csum_ready;
	uint8_t wait; /* enum ftt_wait, when the gate was asked last */
	bool calls;   /* it was that for the backup to hold our server's calls */
	struct ftt_list calls_order; /* those that wait for that: calls.h */
	struct ftt_tcp *of;          /* ... of which it is the first */
	struct ftt_seg seg;
	struct ftt_places after; /* a server's: what it depends on, see gate.h */
	struct ftt_pkt pkt;
	uint32_t len;
	uint8_t *bytes; /* the packet, when its header may have to be edited; else NULL */
	struct ftt_point point; /* the sum of all output up to this packet */
	uint8_t small[FTT_PLANE_HEADERS];
};

struct ftt_tcp {
	struct ftt_key key;
	struct ftt_flow flow;
	struct ftt_tcp *hash_next;
	struct ftt_list order;                 /* flows of the same age, the most recently active one first */
	struct ftt_tcp *wait_next, *wait_prev; /* flows that only time will move */
	struct ftt_tcp *dirty_next;            /* flows with a COMMIT to send */
	bool waiting : 1, dirty : 1, closed : 1;
	bool to_inject : 1; /* in the worker's list */
	bool difference_told : 1;
	bool in_history : 1, history_over : 1; /* see history.h */
	bool filed_over : 1; /* see filed.h: nothing more of it is told there */
	uint8_t moved : 2; /* enum ftt_moved_in: lists that it is in, see frame.h */
	uint8_t filed : 6; /* number of the file that it is in; 0: it is not known yet */
	uint8_t peer_worker;
	uint8_t attempt; /* of following it, see record.h */
	uint8_t let_go; /* workers of the peer that answered DETACH */
	uint8_t syn_len;
	uint8_t age : 4; /* enum ftt_age */
	uint8_t counted : 4; /* as what ftt_table.count has it */
	uint8_t unrenewable : 4; /* enum ftt_unrenewable: why there is no log, or why it was of no use up to now */
	uint8_t counted_why : 4; /* ... as ftt_table.why has it */
	uint32_t recent; /* when its place in the order was last looked at, in FTT_RECENT_SHIFT */
	uint32_t role;   /* of the worker that was last carried out on it */
	uint32_t n_held;
	uint32_t row;    /* of the memory that is shared with the server, + 1: see lockstep.h */
	uint8_t *syn;                          /* the client's SYN: primary, until the backup has answered; backup, until the client has */
	struct ftt_held *held, **held_tail;
	uint64_t bytes_in, bytes_out;
	struct ftt_digest digest;
	uint32_t divergences;
	union {
		uint32_t told_crc; /* primary: the sum at flow.told */
		uint32_t seen_crc; /* backup: at digest.seen */
	};
	struct ftt_point offer;                /* primary: the backup's last sum, if our server has not come so far */
	struct ftt_points *points;             /* backup: see digest.h */
	struct ftt_retained retained;          /* backup: output that the client does not have */
	struct ftt_store *store;               /* ... its bytes; NULL: there are none */
	struct ftt_log *log;                   /* what its client has sent; NULL: it cannot be renewed */
};

/* A flow whose stack has another port than its key. */
struct ftt_paired {
	struct ftt_paired *next;
	struct ftt_tcp *flow;
};

#define FTT_COUNT_CLOSED (FTT_CATCHING_UP + 1)

/*
 * A worker's flows. Nothing that is done periodically, and nothing that is asked of all, walks over them:
 * each age has a list in the order of activity, whose end is all that expires, and what people are
 * told is counted as it changes. A change of role moves the lists to those behind, from which flows come
 * back as it is carried out on them.
 */
struct ftt_table {
	struct ftt_tcp **bucket;
	struct ftt_paired **by_stack; /* by our stack's key, flows whose port the remote end knows by another number; NULL: there were none */
	uint32_t mask;
	uint32_t n_apart; /* those, and flows of FTT_SPACE_STACK */
	struct ftt_secret secret;
	struct ftt_list list[2 * FTT_AGES]; /* by age; then those on which the last role is not carried out yet */
	uint32_t role;
	struct ftt_tcp *waiting, *dirty; /* flows that only time will move; those with a COMMIT to send */
	uint64_t commit_by_ns; /* when the COMMITs of the dirty ones leave */
	uint32_t n;
	uint32_t count[FTT_COUNT_CLOSED + 1]; /* by protection */
	uint32_t why[FTT_UNRENEWABLES]; /* living ones by enum ftt_unrenewable; those that can be renewed with all closed ones */
	uint32_t of_age[FTT_AGES];
};

/* Handshakes that are not complete, or never were: all of them can make room. */
static inline uint32_t ftt_table_half_open(const struct ftt_table *t)
{
	return t->of_age[FTT_AGE_HALF_OPEN] + t->of_age[FTT_AGE_REFUSED];
}

int ftt_table_open(struct ftt_table *t, uint32_t max_flows);
void ftt_table_close(struct ftt_table *t);
struct ftt_tcp *ftt_table_find(struct ftt_table *t, const struct ftt_key *k);
/* The flow that our stack knows by k, if it is one apart from those of k: opened by a backup's server. */
struct ftt_tcp *ftt_table_find_apart(struct ftt_table *t, const struct ftt_key *k);
/* A flow of FTT_SPACE_STACK has a key of the service's from here on, and is found by its stack's as well until ftt_table_part().
 * False: there is no memory. */
bool ftt_table_pair(struct ftt_table *t, struct ftt_tcp *c, const struct ftt_key *k);
void ftt_table_part(struct ftt_table *t, struct ftt_tcp *c);
/* ... has the same key in the service's space, in which nobody else has it. */
void ftt_table_to_service(struct ftt_table *t, struct ftt_tcp *c);
struct ftt_tcp *ftt_table_add(struct ftt_table *t, const struct ftt_key *k, uint64_t now_ns);
void ftt_table_remove(struct ftt_table *t, struct ftt_tcp *c);
/* The first flow of all (NULL), or the one behind c; NULL at the end. */
struct ftt_tcp *ftt_table_next(const struct ftt_table *t, const struct ftt_tcp *c);
/* The most recently active flow of a list, or the one that was silent for longest; NULL when it is empty. */
struct ftt_tcp *ftt_table_newest(const struct ftt_table *t, unsigned list);
struct ftt_tcp *ftt_table_oldest(const struct ftt_table *t, unsigned list);
/* Puts c in front of, or behind, all others of its age. */
void ftt_table_to_front(struct ftt_table *t, struct ftt_tcp *c);
void ftt_table_to_back(struct ftt_table *t, struct ftt_tcp *c);
/* Takes up what c has become: the one place where flows are counted, by what they are. */
void ftt_table_update(struct ftt_table *t, struct ftt_tcp *c, uint32_t mode);
/* From here on no flow has carried out its role. */
void ftt_table_new_role(struct ftt_table *t);
/* Is there anything that only time will move? Then it is in the list of those. */
bool ftt_table_waits(const struct ftt_tcp *c);
void ftt_table_set_waiting(struct ftt_table *t, struct ftt_tcp *c, bool waits);
/* A COMMIT of the flow, or on a primary an OUTPUT, is to leave by then; those of others leave with it. */
void ftt_table_commit_by(struct ftt_table *t, struct ftt_tcp *c, uint64_t by_ns);
/* ... never does. */
void ftt_table_forget_dirty(struct ftt_table *t, struct ftt_tcp *c);

/* It can be renewed, or not any more. */
static inline void ftt_table_count_why(struct ftt_table *t, struct ftt_tcp *c)
{
	t->why[c->counted_why]--;
	c->counted_why = c->closed ? FTT_RENEWABLE : c->unrenewable;
	t->why[c->counted_why]++;
}

static inline void ftt_table_touch(struct ftt_table *t, struct ftt_tcp *c, uint64_t now_ns)
{
	uint32_t recent = (uint32_t)(now_ns >> FTT_RECENT_SHIFT);

	if (c->recent == recent)
		return;
	c->recent = recent;
	ftt_table_to_front(t, c);
}

#endif
