/* SPDX-License-Identifier: Apache-2.0 */
/* lane_rig.h - two nodes with a bulk lane for each worker, on the loopback of a network of their own, driven by the test's thread. */
#ifndef FTTCP_LANE_RIG_H
#define FTTCP_LANE_RIG_H
#include "engine/channel/lane.h"
#include "fake_engine.h"

enum { LANE_PORT = 7730, LANE_SESSION = 5, LANE_PAIRING = 6, LANE_NODES = 2 };

struct lane_node;

/* One worker, and the user of its lane. */
struct lane_end {
	struct lane_node *node;
	struct ftt_bulk_lane lane;
	struct ftt_counters n;
	uint32_t ups, downs, rooms;
	uint64_t messages, bytes;
	uint8_t last_from, last_kind;
	uint32_t last_len;
	uint8_t last[FTT_LANE_MAX];
	uint32_t next[FTT_MAX_WORKERS]; /* number of the message that must come next; see lane_number() */
	bool numbered; /* messages begin with a number */
	enum ftt_lane_answer answer;
	bool passes;     /* calls are taken, whatever the answer is, and counted apart */
	uint32_t passed;
};

struct lane_node {
	struct ftt_engine e;
	struct lane_end end[FTT_MAX_WORKERS];
};

extern struct lane_node lane_node[LANE_NODES]; /* 0 accepts, at 127.0.0.1; 1 connects, from 127.0.0.2 */

/* Opens both nodes; all lanes are off. False: no private network is allowed here. */
bool lane_open(uint16_t workers);
void lane_close(void);
/* One that is closed, or not open yet. */
void lane_reopen(int node, uint8_t worker);
void lane_follow(int node, enum ftt_lane_role role, uint64_t session, uint64_t pairing);
/* Both are of one pairing, and it stands. */
void lane_pair(void);
/* One look at everything; false if there was nothing to do within so many milliseconds. */
bool lane_step(int ms);

/* Goes on until that is true; the test fails if it is not after ten seconds. */
#define LANE_UNTIL(condition) \
	do { \
		uint64_t until_ = ftt_now_ns() + 10000000000ull; \
		while (!(condition)) { \
			CHECK(ftt_now_ns() < until_); \
			lane_step(20); \
		} \
	} while (0)

#endif
