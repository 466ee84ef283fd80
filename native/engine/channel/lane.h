/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lane.h - the bulk lane of one worker: what is too much for datagrams (logs, state) goes over TCP on the peer link.
 *
 * It is reliable and in order as long as a connection lasts, encrypted, and slower than live traffic on purpose. Each worker
 * of the backup has a connection with each worker of the primary: a flow's workers differ between the nodes.
 * The backup connects, and again when a connection ends; the primary accepts. A connection belongs to one pairing.
 *
 * What was in a connection that ended may have arrived or not. Both ends are told by changed(): the user begins anew, or asks
 * for what is missing. Lane and user run in the worker's thread; the user's functions are called by
 * ftt_lane_turn(), ftt_lane_push() and ftt_lane_follow(), and by nothing else.
 */
#ifndef FTTCP_LANE_H
#define FTTCP_LANE_H
#include <netinet/in.h>
#include <stdbool.h>
#include "engine/channel/lane_stream.h"
#include "engine/engine.h"

#define FTT_LANE_STRANGERS 4
#define FTT_LANE_SLOTS (FTT_MAX_WORKERS + FTT_LANE_STRANGERS)

/* What the user says to a message. */
enum ftt_lane_answer {
	FTT_LANE_TAKEN = 0,
	FTT_LANE_NOT_NOW = 1, /* it is kept, and given again after ftt_lane_resume(); what comes behind it waits, but for what ftt_lane_of_calls() */
	FTT_LANE_BAD = 2      /* no such message: the connection ends, counted and told as garbage; unless it may be skipped */
};

/* Who uses the lane. All three must be set. */
struct ftt_lane_user {
	void *of;
	/* A message came from the partner's worker `from`; bytes are valid during the call. */
	enum ftt_lane_answer (*message)(void *of, uint8_t from, uint8_t kind, const uint8_t *bytes, uint32_t len);
	/* Half of the queue to that worker is free again. Called only after ftt_lane_send() said no, or ftt_lane_room() less than all. */
	void (*room)(void *of, uint8_t to);
	/* A connection with that worker began, with empty queues, or ended. */
	void (*changed)(void *of, uint8_t worker, bool up);
};

/* With whom, and of what. */
struct ftt_lane_pairing {
	uint32_t partner;
	uint8_t version; /* of the commit channel; 0: not known yet, and there is no lane */
	uint64_t commit_session, pairing; /* 0: as well */
};

enum ftt_lane_role { FTT_LANE_OFF = 0, FTT_LANE_CONNECTS = 1, FTT_LANE_ACCEPTS = 2 };

struct ftt_lane_conn;

struct ftt_bulk_lane {
	int epoll_fd; /* readable when there is something to do: for the worker's own epoll */
	int listen_fd, timer_fd;
	struct ftt_engine *e;
	struct ftt_counters *n;
	struct ftt_lane_user user;
	uint8_t worker;
	enum ftt_lane_role role;
	struct ftt_lane_pairing with;
	uint32_t keys_generation;
	struct ftt_keys keys; /* made from those of the ring for this commit_session and pairing */
	struct ftt_lane_conn *conn[FTT_MAX_WORKERS]; /* with the partner's workers; NULL: none */
	struct ftt_lane_conn *stranger[FTT_LANE_STRANGERS]; /* accepted, and not known to be the partner yet */
	uint64_t retry_ns[FTT_MAX_WORKERS]; /* when to connect again; 0: not waiting for that */
	uint64_t wait_ns[FTT_MAX_WORKERS];  /* how long that was the last time */
	uint64_t armed_ns; /* when the timer fires */
	uint32_t beside; /* bytes of messages that may wait while such as pass them are read; 0: nothing is */
	int why; /* errno of what ended last */
	uint64_t down_since_ns; /* no connection was up since then; 0: one is, or none should be */
	uint32_t told; /* a bit for each enum ftt_lane_refusal, and for being down: once in a pairing */
};

/* Listens beside the commit channel: TCP, the same port. 0, or -1 with a sentence in err. */
int ftt_lane_open(struct ftt_bulk_lane *l, struct ftt_engine *e, uint8_t worker, struct ftt_counters *n,
		  const struct ftt_lane_user *user, char *err, size_t err_len);
void ftt_lane_close(struct ftt_bulk_lane *l);

/* With whom, and who connects. Another pairing or role ends all connections. Cheap if nothing changed. */
void ftt_lane_follow(struct ftt_bulk_lane *l, enum ftt_lane_role role, const struct ftt_lane_pairing *with);

/*
 * Does what there is to do, when epoll_fd is readable: of a connection at most `budget` bytes each way, so that packets get
 * their turn. What is left makes epoll_fd readable again.
 */
void ftt_lane_turn(struct ftt_bulk_lane *l, uint32_t budget, uint64_t now_ns);

/* Is there a connection with that worker of the partner? */
bool ftt_lane_up(const struct ftt_bulk_lane *l, uint8_t worker);
/* How many there are. */
uint32_t ftt_lane_count(const struct ftt_bulk_lane *l);
/* How long a message to that worker may be now; 0: none may be sent, or there is no connection. */
uint32_t ftt_lane_room(struct ftt_bulk_lane *l, uint8_t to);
/*
 * Queues a message of up to FTT_LANE_MAX bytes; they are copied. kind is the user's, from FTT_LANE_FIRST_KIND on. False: there is no
 * room, or no connection (ask ftt_lane_up()), and nothing was queued. It leaves with the next turns.
 */
bool ftt_lane_send(struct ftt_bulk_lane *l, uint8_t to, uint8_t kind, const uint8_t *bytes, uint32_t len);
/* What is queued to that worker leaves at once, as far as the link takes it. Not in a function of the user's. */
void ftt_lane_push(struct ftt_bulk_lane *l, uint8_t to, uint64_t now_ns);
/* It said FTT_LANE_NOT_NOW: the message is given again, with the next turn. */
void ftt_lane_resume(struct ftt_bulk_lane *l, uint8_t from);
/* Bytes that wait to leave to that worker. */
uint32_t ftt_lane_waiting(const struct ftt_bulk_lane *l, uint8_t to);

#endif
