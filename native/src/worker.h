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
#include "list.h"
#include "fttcp/digest.h"
#include "fttcp/pair.h"
#include "fttcp/retain.h"
#include "fair.h"
#include "keyed.h"
#include "nfq.h"
#include "udp.h"

#define FTT_LAG_SAMPLES 1024u
#define FTT_TO_INJECT 64u
#define FTT_WORKER_FDS 5 /* queues, those of handshakes, commit channel (2), wake-ups by other threads */
#define FTT_COMMIT_LATER_NS 1000000ull /* how long a COMMIT waits for which nobody waits */

/* A segment that waits in the kernel's queue for a verdict. */
struct ftt_held {
	struct ftt_held *next;
	uint64_t since_ns;
	uint32_t id;
	uint32_t in_index;
	uint16_t queue;
	bool csum_ready;
	struct ftt_seg seg;
	struct ftt_pkt pkt;
	uint32_t len;
	uint8_t *bytes; /* the packet, when its header may have to be edited; else NULL */
	struct ftt_point point; /* the sum of all output up to this packet */
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
	struct ftt_list order;                 /* flows of the same age, the most recently active one first */
	struct ftt_tcp *wait_next, *wait_prev; /* flows that only time will move */
	struct ftt_tcp *dirty_next;            /* flows with a COMMIT to send */
	bool waiting : 1, dirty : 1, closed : 1;
	bool to_inject : 1; /* in the worker's list */
	bool difference_told : 1;
	uint8_t peer_worker;
	uint8_t let_go; /* workers of the peer that answered DETACH */
	uint8_t syn_len;
	uint8_t age;     /* enum ftt_age */
	uint8_t counted; /* as what ftt_table.count has it */
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
	struct ftt_store store;                /* ... its bytes */
};

/* What a flow's state says of how long it may be silent. */
enum ftt_age {
	FTT_AGE_LIVING,
	FTT_AGE_ENDING,    /* one side has ended it */
	FTT_AGE_HALF_OPEN,
	FTT_AGE_LET_GO,    /* only where its client stands is remembered */
	FTT_AGE_CLOSED,
	FTT_AGE_REFUSED,   /* closed before it was established */
	FTT_AGES
};

#define FTT_COUNT_CLOSED (FTT_RESETTING + 1)

/*
 * A worker's flows. Nothing that is done periodically, and nothing that is asked of all, walks over them:
 * each age has a list in the order of activity, whose end is all that expires, and what people are
 * told is counted as it changes. A change of role moves the lists to those behind, from which flows come
 * back as it is carried out on them.
 */
struct ftt_table {
	struct ftt_tcp **bucket;
	uint32_t mask;
	struct ftt_secret secret;
	struct ftt_list list[2 * FTT_AGES]; /* by age; then those on which the last role is not carried out yet */
	uint32_t role;
	uint32_t n;
	uint32_t count[FTT_COUNT_CLOSED + 1]; /* by protection */
	uint32_t of_age[FTT_AGES];
};

/* Handshakes that are not complete, or never were: all of them can make room. */
static inline uint32_t ftt_table_half_open(const struct ftt_table *t)
{
	return t->of_age[FTT_AGE_HALF_OPEN] + t->of_age[FTT_AGE_REFUSED];
}

/* What a worker makes identities of connections from: see lockstep.h. */
struct ftt_identities {
	uint32_t generation; /* of the keys */
	uint32_t n, send;
	uint64_t count;
	uint8_t tag[FTT_MAX_KEYS][4];
	uint8_t secret[FTT_MAX_KEYS][32];
};

struct ftt_worker {
	struct ftt_engine *e;
	uint8_t index;
	_Atomic bool stop;
	pthread_t thread;
	bool thread_started;
	struct ftt_fair lock; /* a whole wake-up has it */
	int wake_fd, epoll_fd;
	uint64_t generation; /* of the role that was last carried out */
	uint32_t mode;       /* that role */
	uint64_t session;
	bool role_open;      /* ... on some flows only, up to now */
	bool takes_over;     /* ... after it was a backup */
	uint32_t role_flows; /* taken over with it */
	struct ftt_nfq nfq;
	struct ftt_nfq handshakes; /* SYNs and the answers to them: a flood of them delays and displaces nothing else */
	struct ftt_channel channel;
	struct ftt_emit emit;
	struct ftt_table table;
	struct ftt_tcp *waiting, *dirty;
	bool stamps; /* the kernel edits the headers of long packets of the mirror: see stamp.h */
	uint32_t mirror_index; /* the interface on which the mirror comes */
	bool whole; /* headers alone were not enough once */
	bool sum_unknown; /* this host verifies no checksums: whole packets are needed to do it here */
	uint64_t busy_until_ns; /* 0: it sleeps when there is no work */
	bool told; /* OUTPUT is to leave before the verdicts */
	bool listens; /* to the channel's quiet lane */
	bool looked; /* since packets were received last: does the server live? */
	uint64_t commit_by_ns; /* when the COMMITs of the dirty ones leave */
	struct ftt_tcp *to_inject[FTT_TO_INJECT]; /* flows whose stack gets an acknowledgement when the verdicts are out */
	uint32_t n_to_inject;
	struct ftt_held *spent; /* to be freed when the verdicts are out */
	uint32_t held_now;
	uint32_t held_bytes; /* of copies */
	uint64_t retained_bytes; /* of rings */
	uint64_t next_sweep_ns;
	struct ftt_udp_table udp;
	struct ftt_identities identities;
	struct ftt_counters n;
	uint64_t lag_ns[FTT_LAG_SAMPLES];
	uint32_t n_lag;
};

/* worker.c */
struct ftt_worker *ftt_worker_open(struct ftt_engine *e, uint8_t index, char *err, size_t err_len);
int ftt_worker_start(struct ftt_worker *w, char *err, size_t err_len);
void ftt_worker_close(struct ftt_worker *w);
void ftt_worker_wake(struct ftt_worker *w);
/* All verdicts leave, and what has to be told before. */
void ftt_worker_flush(struct ftt_worker *w);
/* The socket from which a packet of this queue came, with room for one more verdict. */
static inline struct ftt_nfq *ftt_worker_nfq(struct ftt_worker *w, uint16_t queue)
{
	struct ftt_nfq *q = ftt_nfq_has(&w->handshakes, queue) ? &w->handshakes : &w->nfq;

	if (ftt_nfq_full(q)) /* it would flush by itself, before what has to be told */
		ftt_worker_flush(w);
	return q;
}
/* Gives the verdict on a packet; bytes != NULL replaces it. Counts drops are the caller's. */
static inline void ftt_worker_verdict(struct ftt_worker *w, const struct ftt_nfq_packet *p, bool accept,
				      const uint8_t *edited)
{
	ftt_nfq_verdict(ftt_worker_nfq(w, p->queue), p->queue, p->id, accept, edited, p->len);
}

/* Has the server died, as far as it matters to what was received last? Once for all of it. */
static inline bool ftt_worker_server_gone(struct ftt_worker *w, uint64_t now_ns)
{
	bool asked = w->looked;

	w->looked = true;
	return asked ? ftt_server_known_gone(w->e, now_ns) : ftt_server_gone(w->e, now_ns);
}

/* table.c */
int ftt_table_open(struct ftt_table *t, uint32_t max_flows);
void ftt_table_close(struct ftt_table *t);
struct ftt_tcp *ftt_table_find(struct ftt_table *t, const struct ftt_key *k);
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
void ftt_table_settle(struct ftt_table *t, struct ftt_tcp *c, enum ftt_age age);
/* From here on no flow has carried out its role. */
void ftt_table_new_role(struct ftt_table *t);

static inline void ftt_table_touch(struct ftt_table *t, struct ftt_tcp *c, uint64_t now_ns)
{
	uint32_t recent = (uint32_t)(now_ns >> FTT_RECENT_SHIFT);

	if (c->recent == recent)
		return;
	c->recent = recent;
	ftt_table_to_front(t, c);
}

/* tcp.c, hold.c, act.c */
void ftt_tcp_from_client(struct ftt_worker *w, struct ftt_nfq_packet *p, struct ftt_pkt *k, struct ftt_seg *s,
			 uint64_t now_ns);
void ftt_tcp_from_server(struct ftt_worker *w, struct ftt_nfq_packet *p, struct ftt_pkt *k, struct ftt_seg *s,
			 uint64_t now_ns);
/* A flow begins with the client's SYN `irs`. The half-open and the whole table are bounded: NULL, and counted. */
struct ftt_tcp *ftt_tcp_begin(struct ftt_worker *w, const struct ftt_key *key, uint32_t irs, uint64_t now_ns);
/* Carries out what a decision asked for. */
void ftt_tcp_act(struct ftt_worker *w, struct ftt_tcp *c, uint32_t actions, uint64_t now_ns);
void ftt_tcp_release(struct ftt_worker *w, struct ftt_tcp *c, uint64_t now_ns);
void ftt_tcp_drop_held(struct ftt_worker *w, struct ftt_tcp *c);
/* Forgets a flow; `reset` also ends it in the local stack. */
void ftt_tcp_forget(struct ftt_worker *w, struct ftt_tcp *c, bool reset);
/* Backup: lets a flow go for good. Its copy in the stack is reset; where the client stands is still
 * followed, so that a takeover can tell it. */
void ftt_tcp_let_go(struct ftt_worker *w, struct ftt_tcp *c);
/* Backup: it was reset. Ended in our stack, and kept for packets that are under way. */
void ftt_tcp_aborted(struct ftt_worker *w, struct ftt_tcp *c, const struct ftt_record *r, uint64_t now_ns);
/* After a takeover: the flow is over. It is ended in our stack, whose packets go nowhere from here on; its client
 * is asked where it stands and reset there, see reset.h. */
void ftt_tcp_reset_client(struct ftt_worker *w, struct ftt_tcp *c, uint64_t now_ns);
/* Keeps a copy of the client's SYN; false when it cannot. */
bool ftt_tcp_keep_syn(struct ftt_tcp *c, const uint8_t *bytes, size_t len);
/* After a takeover: a handshake that may have been answered by nobody is given its SYN again. Our stack repeats its answer,
 * and the client need not wait for a timer; one that was answered repeats its acknowledgement (RFC 9293 3.10.7.4). */
void ftt_tcp_syn_again(struct ftt_worker *w, const struct ftt_tcp *c);
/* Is there anything that only time will move? Then it is in the worker's list. */
bool ftt_tcp_waits(const struct ftt_tcp *c);
void ftt_tcp_commit_by(struct ftt_worker *w, struct ftt_tcp *c, uint64_t by_ns);
void ftt_tcp_send_commits(struct ftt_worker *w);
void ftt_tcp_send_injected(struct ftt_worker *w);
void ftt_tcp_free_spent(struct ftt_worker *w);

/* follow.c: what the other node says, time, and changes of role, for all flows of a worker */
/* True if nothing is left: so many are taken at once. */
bool ftt_follow_records(struct ftt_worker *w, unsigned lanes, uint64_t now_ns);
void ftt_follow_tick(struct ftt_worker *w, uint64_t now_ns);
void ftt_follow_sweep(struct ftt_worker *w, uint64_t now_ns);
/* Becomes what the engine's role says; what that means for each flow, ftt_follow_rest() does. Who does not
 * emit has a new role only to begin anew: then that is to forget it, and end its connection in our stack. */
void ftt_follow_role(struct ftt_worker *w, uint32_t mode, uint64_t session, uint64_t now_ns);
/* Carries the role out on some more flows, the most recently active ones first; true when it is on all. */
bool ftt_follow_rest(struct ftt_worker *w, unsigned most, uint64_t now_ns);
/* ... on this one, out of turn; false when that was its end. */
bool ftt_follow_now(struct ftt_worker *w, struct ftt_tcp *c, uint64_t now_ns);
/* The flow of a packet or of a record. A role that is not carried out on it yet is now. */
struct ftt_tcp *ftt_follow_find(struct ftt_worker *w, const struct ftt_key *key, uint64_t now_ns);
/* Would a takeover at this moment go on with it? A backup decides so; a primary knows as much as it has been told. */
bool ftt_follow_continues(const struct ftt_worker *w, const struct ftt_tcp *c, uint64_t now_ns);
enum ftt_age ftt_follow_age(const struct ftt_worker *w, const struct ftt_tcp *c);
/* Makes room for a flow that begins, by what is needed least; false when there is none. */
bool ftt_follow_make_room(struct ftt_worker *w, uint64_t now_ns);

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
/* The longest run of retained bytes from `seq` on, `n` at most, that lies in one piece; valid until more is retained. */
uint32_t ftt_retain_piece(const struct ftt_tcp *c, uint32_t seq, uint32_t n, const uint8_t **at);

/* compare.c: is the output of both servers the same? What is to be done (FTT_ACT_*) comes back. */
/* This one: what is done already. */
void ftt_compare_output(struct ftt_worker *w, struct ftt_tcp *c, const struct ftt_nfq_packet *p,
			    const struct ftt_pkt *k, const struct ftt_seg *s);
/* No points are needed any more. */
void ftt_compare_forget(struct ftt_tcp *c);
/* Tells the backup again how far our server has come. */
void ftt_compare_tell(struct ftt_worker *w, struct ftt_tcp *c);
void ftt_compare_leaves(struct ftt_worker *w, struct ftt_tcp *c, struct ftt_point point, uint64_t now_ns);
void ftt_compare_offer(struct ftt_tcp *c, struct ftt_record *r);
void ftt_compare_commit(struct ftt_worker *w, struct ftt_tcp *c, const struct ftt_record *r, uint64_t now_ns);
void ftt_compare_shifted(struct ftt_worker *w, const struct ftt_tcp *c);
uint32_t ftt_compare_suppressed(struct ftt_worker *w, struct ftt_tcp *c, const struct ftt_nfq_packet *p,
				const struct ftt_pkt *k, const struct ftt_seg *s);
uint32_t ftt_compare_record(struct ftt_worker *w, struct ftt_tcp *c, const struct ftt_record *r, uint64_t now_ns);

#endif
