/* SPDX-License-Identifier: Apache-2.0 */
/*
 * worker.h - one worker: two queues, its flows, its half of the commit channel.
 *
 * A worker owns every flow whose packets its queues carry; nobody else touches them but a status
 * reader, which takes the worker's lock. The lock is held for a whole wake-up, never per packet.
 */
#ifndef FTTCP_WORKER_H
#define FTTCP_WORKER_H
#include <pthread.h>
#include "channel.h"
#include "emit.h"
#include "engine.h"
#include "fttcp/digest.h"
#include "fttcp/pair.h"
#include "fttcp/retain.h"
#include "nfq.h"
#include "udp.h"

#define FTT_LAG_SAMPLES 1024u
#define FTT_TO_INJECT 64u
#define FTT_WORKER_FDS 3 /* queues, commit channel, wake-ups by other threads */
#define FTT_COMMIT_LATER_NS 1000000ull /* how long a COMMIT waits for which nobody waits */

/* A segment that waits in the kernel's queue for a verdict. */
struct ftt_held {
	struct ftt_held *next;
	uint64_t since_ns;
	uint32_t id;
	uint16_t queue;
	bool csum_ready;
	struct ftt_seg seg;
	struct ftt_pkt pkt;
	uint32_t len;
	uint8_t *bytes; /* the packet, when its header may have to be edited; else NULL */
	uint8_t small[FTT_NFQ_HEADERS];
};

/* Bytes of a stream in a ring, each at its sequence number modulo the size. */
struct ftt_store {
	uint8_t *bytes;
	uint32_t size; /* a power of two, or 0 */
};

struct ftt_tcp {
	struct ftt_key key;
	struct ftt_flow flow;
	struct ftt_tcp *hash_next;
	struct ftt_tcp *next, *prev;           /* all flows of the worker */
	struct ftt_tcp *wait_next, *wait_prev; /* flows that only time will move */
	struct ftt_tcp *dirty_next;            /* flows with a COMMIT to send */
	bool waiting, dirty, closed;
	bool to_inject; /* in the worker's list */
	uint8_t peer_worker;
	uint8_t let_go; /* workers of the peer that answered DETACH */
	uint8_t syn_len;
	uint8_t *syn;                          /* the client's SYN, until the backup has answered */
	struct ftt_held *held, **held_tail;
	uint32_t n_held;
	uint64_t created_ns;
	uint64_t bytes_in, bytes_out;
	uint32_t divergences;
	struct ftt_digest digest;
	struct ftt_ring *ring;                 /* primary with comparison on */
	struct ftt_retained retained;          /* backup: output that the client does not have */
	struct ftt_store store;                /* ... its bytes */
};

struct ftt_table {
	struct ftt_tcp **bucket;
	uint32_t mask;
	uint32_t seed;
	struct ftt_tcp *all;
	uint32_t n, half_open;
};

struct ftt_worker {
	struct ftt_engine *e;
	uint8_t index;
	_Atomic bool stop;
	pthread_t thread;
	bool thread_started;
	pthread_mutex_t lock;
	int wake_fd, epoll_fd;
	uint64_t generation; /* of the role that was last carried out */
	uint32_t mode;       /* that role */
	uint64_t session;
	struct ftt_nfq nfq;
	struct ftt_channel channel;
	struct ftt_emit emit;
	struct ftt_table table;
	struct ftt_tcp *waiting, *dirty;
	bool stamps; /* the kernel edits the headers of long packets of the mirror: see stamp.h */
	bool sum_unknown; /* this host verifies no checksums: whole packets are needed to do it here */
	uint64_t busy_until_ns; /* 0: it sleeps when there is no work */
	uint64_t commit_by_ns; /* when the COMMITs of the dirty ones leave */
	struct ftt_tcp *to_inject[FTT_TO_INJECT]; /* flows whose stack gets an acknowledgement when the verdicts are out */
	uint32_t n_to_inject;
	struct ftt_held *spent; /* to be freed when the verdicts are out */
	uint32_t held_now;
	uint32_t held_bytes; /* of copies */
	uint64_t retained_bytes; /* of rings */
	uint64_t next_sweep_ns;
	struct ftt_udp_table udp;
	struct ftt_counters n;
	uint64_t lag_ns[FTT_LAG_SAMPLES];
	uint32_t n_lag;
};

/* worker.c */
struct ftt_worker *ftt_worker_open(struct ftt_engine *e, uint8_t index, char *err, size_t err_len);
int ftt_worker_start(struct ftt_worker *w, char *err, size_t err_len);
void ftt_worker_close(struct ftt_worker *w);
void ftt_worker_wake(struct ftt_worker *w);
/* Gives the verdict on a packet; bytes != NULL replaces it. Counts drops are the caller's. */
static inline void ftt_worker_verdict(struct ftt_worker *w, const struct ftt_nfq_packet *p, bool accept,
				      const uint8_t *edited)
{
	ftt_nfq_verdict(&w->nfq, p->queue, p->id, accept, edited, p->len);
}

/* table.c */
int ftt_table_open(struct ftt_table *t, uint32_t max_flows);
void ftt_table_close(struct ftt_table *t);
struct ftt_tcp *ftt_table_find(struct ftt_table *t, const struct ftt_key *k);
struct ftt_tcp *ftt_table_add(struct ftt_table *t, const struct ftt_key *k, uint64_t now_ns);
void ftt_table_remove(struct ftt_table *t, struct ftt_tcp *c);

/* tcp.c, hold.c, act.c */
void ftt_tcp_from_client(struct ftt_worker *w, struct ftt_nfq_packet *p, struct ftt_pkt *k, struct ftt_seg *s,
			 uint64_t now_ns);
void ftt_tcp_from_server(struct ftt_worker *w, struct ftt_nfq_packet *p, struct ftt_pkt *k, struct ftt_seg *s,
			 uint64_t now_ns);
/* Carries out what a decision asked for. */
void ftt_tcp_act(struct ftt_worker *w, struct ftt_tcp *c, uint32_t actions, uint64_t now_ns);
void ftt_tcp_release(struct ftt_worker *w, struct ftt_tcp *c, uint64_t now_ns);
void ftt_tcp_drop_held(struct ftt_worker *w, struct ftt_tcp *c);
/* Forgets a flow; `reset` also ends it in the local stack. */
void ftt_tcp_forget(struct ftt_worker *w, struct ftt_tcp *c, bool reset);
/* Backup: lets a flow go for good. Its copy in the stack is reset; where the client stands is still
 * followed, so that a takeover can tell it. */
void ftt_tcp_let_go(struct ftt_worker *w, struct ftt_tcp *c);
/* After a takeover: the client of a flow that was let go learns that it is over. Forgets the flow. */
void ftt_tcp_reset_client(struct ftt_worker *w, struct ftt_tcp *c, uint64_t now_ns);
void ftt_tcp_send_commits(struct ftt_worker *w);
void ftt_tcp_send_injected(struct ftt_worker *w);
void ftt_tcp_free_spent(struct ftt_worker *w);

/* follow.c: what the other node says, time, and changes of role, for all flows of a worker */
void ftt_follow_records(struct ftt_worker *w, uint64_t now_ns);
void ftt_follow_tick(struct ftt_worker *w, uint64_t now_ns);
void ftt_follow_sweep(struct ftt_worker *w, uint64_t now_ns);
/* Becomes what the engine's role says; returns the number of flows taken over. */
uint32_t ftt_follow_role(struct ftt_worker *w, uint32_t mode, uint64_t session, uint64_t now_ns);

/* retain.c: a backup's output, for a takeover */
void ftt_retain_output(struct ftt_worker *w, struct ftt_tcp *c, const struct ftt_nfq_packet *p, const struct ftt_pkt *k,
		       const struct ftt_seg *s);
/* What the client has is dropped; after a takeover more is sent. `s`: the segment that told, or NULL. */
void ftt_retain_acked(struct ftt_worker *w, struct ftt_tcp *c, const struct ftt_seg *s, uint64_t now_ns);
/* A takeover: begins to send. */
void ftt_retain_release(struct ftt_worker *w, struct ftt_tcp *c, uint64_t now_ns);
void ftt_retain_tick(struct ftt_worker *w, struct ftt_tcp *c, uint64_t now_ns);
/* The stack repairs by itself. */
void ftt_retain_stop(struct ftt_worker *w, struct ftt_tcp *c);
void ftt_retain_drop(struct ftt_worker *w, struct ftt_tcp *c);

/* compare.c: output checksums */
void ftt_compare_output(struct ftt_worker *w, struct ftt_tcp *c, const struct ftt_nfq_packet *p,
			const struct ftt_pkt *k, const struct ftt_seg *s);
void ftt_compare_record(struct ftt_worker *w, struct ftt_tcp *c, const struct ftt_record *r);

#endif
