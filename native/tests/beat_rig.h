/* SPDX-License-Identifier: Apache-2.0 */
/*
 * beat_rig.h - a pair of heartbeat threads to test, or one and a puppet: a peer whose every beat
 * the test writes itself. Over loopback addresses, in a private network.
 */
#ifndef FTTCP_BEAT_RIG_H
#define FTTCP_BEAT_RIG_H
#include "fake_engine.h"
#include "engine/liveness/beat.h"

#define MS 1000000ull
#define PORT 7710
#define LINKS 2
#define TICK (20 * MS)
#define D (300 * MS)
#define EVER (3600 * 1000 * MS)

enum { ALPHA = 1, BETA = 2, GAMMA = 3 };

/* A beat that speaks of one group. */
struct beat {
	struct ftt_beat_msg head;
	struct ftt_beat_section group;
};

struct puppet {
	struct ftt_engine *alpha;
	int fd[LINKS];
	uint64_t boot, counter;
	uint8_t last[FTT_BEAT_MAX];
	size_t last_len;
};

/* Node ALPHA or BETA with two links, TICK and D; changes to e->cfg may follow before start(). */
void configure(struct ftt_engine *e, int node, uint64_t boot);
/* Makes `other` the peer i of `node`. */
void configure_peer(struct ftt_engine *e, uint32_t i, int node, int other);
void start(struct ftt_engine *e);
/* The node alone, as the engine's configuration has it; for start_on(), and to be closed after the last engine was stopped. */
struct ftt_liveness *open_node(const struct ftt_engine *e, bool encrypt);
struct ftt_liveness *try_node(const struct ftt_engine *e, bool encrypt, char *err, size_t err_len);
void start_on(struct ftt_engine *e, struct ftt_liveness *node);
void stop_on(struct ftt_engine *e); /* the node goes on */
void stop(struct ftt_engine *e);
void set_lease(struct ftt_engine *e, uint32_t policy);
void set_partner(struct ftt_engine *e, uint32_t peer);
bool may_emit(struct ftt_engine *e);
void publish(struct ftt_engine *e, const char *body, uint32_t grant_to);
/* Waits until the peer's body is this one. */
void wait_body(struct ftt_engine *e, const char *body);
void wait_body_of(struct ftt_engine *e, uint32_t peer, const char *body);
/* The puppet is beta, boot 222, and speaks only when told to. */
void puppet_open(struct puppet *p, struct ftt_engine *alpha);
void puppet_close(struct puppet *p);
void puppet_send_bytes(struct puppet *p, int link, const uint8_t *bytes, size_t n);
/* Waits for alpha's next beat on the link. */
struct beat puppet_receive(struct puppet *p, int link);
/* Throws away what alpha sent so far. */
void puppet_empty(struct puppet *p);
/* A beat with the next counter, without echo or grant; to be changed at will and sent. */
struct beat puppet_beat(struct puppet *p, const char *body);
void puppet_send(struct puppet *p, int link, struct beat m);
/* Sends a beat with a new body and waits until alpha has it: what was sent before has been handled. */
void puppet_sync(struct puppet *p, int link);

#endif
