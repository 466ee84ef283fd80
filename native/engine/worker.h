/* SPDX-License-Identifier: Apache-2.0 */
/*
 * worker.h - one worker: its data plane, its flows, its half of the commit channel.
 *
 * A worker owns every flow whose packets its plane brings; nobody else touches them but a status
 * reader, which takes the worker's lock. The lock is held for a whole wake-up, never per packet.
 */
#ifndef FTTCP_WORKER_H
#define FTTCP_WORKER_H
#include <pthread.h>
#include "core/renewal.h"
#include "engine/channel/channel.h"
#include "engine/channel/lane.h"
#include "engine/engine.h"
#include "engine/flows/fair.h"
#include "engine/planes/plane.h"
#include "engine/flows/table.h"
#include "engine/flows/udp.h"

#define FTT_LAG_SAMPLES 1024u
#define FTT_RENEWAL_STAGES 5u
#define FTT_TO_INJECT 64u
#define FTT_MOVED 64u
#define FTT_WORKER_FDS 6 /* queues, those of handshakes, commit channel (2), bulk lane, wake-ups by other threads */
#define FTT_COMMIT_LATER_NS 1000000ull /* how long a COMMIT waits for which nobody waits */

/* Flows whose output has moved since something was told of the worker's flows: see frame.h. */
enum ftt_moved_in { FTT_MOVED_HISTORY = 1, FTT_MOVED_FILE = 2 };

struct ftt_moved {
	uint32_t n;
	struct ftt_tcp *flow[FTT_MOVED];
};

/* What a worker makes identities of connections from: see lockstep.h. */
struct ftt_identities {
	uint32_t generation; /* of the keys */
	uint32_t n, send;
	uint64_t count;
	uint8_t tag[FTT_MAX_KEYS][4];
	uint8_t secret[FTT_MAX_KEYS][32];
};

/* How far the backup holds the log of calls, as the gate asks: see flows/calls.h. */
struct ftt_calls_gate {
	bool on;
	uint32_t there, held;
};

struct ftt_calls;
struct ftt_spool;

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
	bool takes_over;     /* ... and serves, which it did not before */
	uint32_t role_flows; /* taken over with it */
	uint64_t promoted;   /* of the engine's orders to promote, the one that was carried out */
	uint64_t checkpoints; /* of the engine's checkpoints, the one that was heeded */
	bool checkpointed;   /* a primary's backup was told of one in this role */
	bool promoting;      /* a cold backup whose server is up: it is told what clients have sent */
	struct ftt_plane *plane;
	struct ftt_channel channel;
	bool (*odd)(struct ftt_worker *w); /* takes FTT_CHANNEL_ODD; false: it is nothing. NULL: nobody knows such */
	struct ftt_bulk_lane lane;
	struct ftt_table table;
	uint32_t mirror_index; /* the interface on which the mirror comes */
	bool whole; /* headers alone were not enough once */
	bool sum_unknown; /* this host verifies no checksums: whole packets are needed to do it here */
	uint64_t busy_until_ns; /* 0: it sleeps when there is no work */
	bool told; /* OUTPUT is to leave before the verdicts */
	bool listens; /* to the channel's quiet lane */
	bool looked, heard; /* since packets were received last: at whether the server lives; what the primary told */
	struct ftt_tcp *to_inject[FTT_TO_INJECT]; /* flows whose stack gets an acknowledgement when the verdicts are out */
	uint32_t n_to_inject;
	struct ftt_held *spent; /* to be freed when the verdicts are out */
	struct ftt_list opens; /* connections that a server opens, on their way to a partner: see opens.h */
	uint32_t n_opens;
	uint32_t held_now;
	uint32_t held_bytes; /* of copies */
	uint64_t retained_bytes; /* of rings */
	uint64_t log_bytes;      /* of input logs */
	uint32_t n_logs;
	struct ftt_spool *spool; /* where logs go on that are too long for memory; NULL: nowhere. See spill.h */
	uint32_t n_pages;        /* blocks of it that are in memory again */
	int spool_error;         /* errno of the last that it did */
	uint32_t lane_waits;     /* a bit for each worker of the partner's whose message waits for it */
	uint32_t log_whole;      /* clients' long packets are copied whole, for the logs, until so many came that none needs */
	struct ftt_list renew_waiting, reopen_waiting, renew_active, renew_resting; /* see renewal.h */
	uint32_t n_renewing[FTT_RENEWAL_STAGES];
	uint32_t n_reopening[FTT_RENEWAL_STAGES]; /* ... of which a server has opened so many */
	struct ftt_moved filed; /* of filed.h */
	struct ftt_word *words, *last_word; /* see kept.h */
	uint32_t n_words;
	uint64_t filed_place; /* behind the last frame that this worker has put into the file */
	struct ftt_renew_again renew_again;
	bool renewing; /* a new backup was told of flows, and not of the end of it */
	uint64_t stood_ns; /* of a promotion: when its server was first seen to get on with a flow no more; 0: never */
	uint64_t renewed_before, failed_before; /* ... n.renewed and n.renewals_failed when that began */
	struct ftt_history *history; /* of the server that we run; NULL: none is kept. See history.h */
	struct ftt_calls *calls; /* the log of its calls; NULL: there was never one. See flows/calls.h */
	struct ftt_calls_gate calls_gate;
	uint64_t next_tick_ns, next_sweep_ns;
	struct ftt_udp_table udp;
	struct ftt_stored *stored; /* requests whose replies are stored; NULL: none are. See flows/stored.h */
	struct ftt_identities identities;
	struct ftt_counters n;
	uint64_t lag_ns[FTT_LAG_SAMPLES];
	uint32_t n_lag;
};

/* worker_setup.c */
struct ftt_worker *ftt_worker_open(struct ftt_engine *e, uint8_t index, char *err, size_t err_len);
int ftt_worker_start(struct ftt_worker *w, char *err, size_t err_len);
void ftt_worker_close(struct ftt_worker *w);
void ftt_worker_wake(struct ftt_worker *w);

/* worker.c: the thread. */
void *ftt_worker_run(void *worker);

/* worker_packets.c: what waits in a lane, in at most so many receive calls. Their bytes' places are used again by the next one. */
void ftt_worker_packets(struct ftt_worker *w, unsigned lane, int rounds);
/* What was decided leaves, in the order that each role needs. */
void ftt_worker_answer(struct ftt_worker *w, uint64_t now_ns);
/* All verdicts leave, and what has to be told before. */
void ftt_worker_flush(struct ftt_worker *w);
/* Has the plane bring packets whole, or their headers. */
void ftt_worker_choose_copy(struct ftt_worker *w);
/* Whom the worker's plane asks. */
struct ftt_plane_owner ftt_worker_owner(struct ftt_worker *w);

/* What the core is to know of this node for what comes in. What nobody has asked about it has not: no lease, a server that nobody vouches for. */
static inline struct ftt_env ftt_worker_env(const struct ftt_worker *w, uint64_t now_ns)
{
	return (struct ftt_env){.now_ns = now_ns, .policy = &w->e->cfg.policy, .mode = (uint8_t)w->mode};
}

/* ... for what is to go out: the gate asks for the lease. */
static inline struct ftt_env ftt_worker_env_out(const struct ftt_worker *w, uint64_t now_ns)
{
	struct ftt_env env = ftt_worker_env(w, now_ns);

	env.lease = ftt_may_emit(&w->e->shared, now_ns);
	env.calls = w->calls_gate.on;
	env.calls_there = w->calls_gate.there;
	env.calls_held = w->calls_gate.held;
	return env;
}

/* ... for what time and the other node do: with all of it. */
static inline struct ftt_env ftt_worker_look(const struct ftt_worker *w, uint64_t now_ns)
{
	struct ftt_env env = ftt_worker_env_out(w, now_ns);

	env.vouched = ftt_server_vouched(w->e, now_ns);
	env.doubted = now_ns < atomic_load(&w->e->shared.doubted_ns);
	env.watched = !!w->e->n_lives;
	env.in_step = !!w->e->lockstep.header;
	return env;
}

/* The key of this peer's signatures; NULL: there is none. */
static inline const struct ftt_md5_key *ftt_worker_key(const struct ftt_worker *w, const uint8_t *peer)
{
	return ftt_md5_key_of(w->e->cfg.md5, w->e->cfg.n_md5, peer);
}

/* ... of the peer of a packet that has the option. */
static inline const struct ftt_md5_key *ftt_worker_key_of(const struct ftt_worker *w, const struct ftt_pkt *k, bool from_peer)
{
	return k->md5_at ? ftt_worker_key(w, from_peer ? k->src : k->dst) : NULL;
}

/* Finds out who has signed a packet that the peer has sent, or else our stack: all of its bytes are there. */
static inline void ftt_worker_look_at_signer(const struct ftt_worker *w, const uint8_t *p, const struct ftt_pkt *k, bool from_peer,
					     struct ftt_seg *s)
{
	const struct ftt_md5_key *key = ftt_worker_key_of(w, k, from_peer);

	if (key && ftt_seal_holds(p, k, key))
		s->signer = FTT_SIGNED_OURS;
}

/* Edits a packet, from the peer or to it, and signs it anew if it was signed: see ftt_apply(). */
static inline void ftt_worker_edit(const struct ftt_worker *w, uint8_t *p, const struct ftt_pkt *k, bool from_peer, const struct ftt_edit *e,
				   bool csum_ready)
{
	const struct ftt_md5_key *key = ftt_worker_key_of(w, k, from_peer);

	ftt_apply(p, k, e, csum_ready);
	if (key && e->change)
		ftt_seal(p, k, key);
}

/* Gives our stack what was kept of a remote end's first word, a SYN or the answer to one: signed anew, with the key of today. */
static inline void ftt_worker_give_first(struct ftt_worker *w, const uint8_t *first, size_t len)
{
	uint8_t packet[FTT_SYN_MAX];
	const struct ftt_md5_key *key;
	struct ftt_pkt k;
	struct ftt_seg s;

	memcpy(packet, first, len);
	if (ftt_parse(packet, (uint32_t)len, (uint32_t)len, &k, &s) == FTT_PARSED_TCP && (key = ftt_worker_key_of(w, &k, true)))
		ftt_seal(packet, &k, key);
	ftt_plane_small(w->plane, packet, len);
	w->n.injected++;
}

/* Builds a segment of our own, with a payload behind: see ftt_build_segment(). */
static inline size_t ftt_worker_build(const struct ftt_worker *w, uint8_t *p, struct ftt_bare *b, bool to_client, const uint8_t *payload,
				      size_t len)
{
	b->seal = b->sealed ? ftt_worker_key(w, to_client ? b->dst : b->src) : NULL;
	return ftt_build_segment(p, b, payload, len);
}

/* Says one without payload. */
static inline void ftt_worker_say(struct ftt_worker *w, struct ftt_bare *b, bool to_client)
{
	b->seal = b->sealed ? ftt_worker_key(w, to_client ? b->dst : b->src) : NULL;
	ftt_plane_bare(w->plane, b, to_client);
}

/* Gives the verdict on a packet; bytes != NULL replaces it. Counts drops are the caller's. */
static inline void ftt_worker_verdict(struct ftt_worker *w, const struct ftt_packet *p, bool accept,
				      const uint8_t *edited)
{
	ftt_plane_verdict(w->plane, p->queue, p->id, accept, edited, p->len);
}

/* Has the server died, as far as it matters to what was received last? Once for all of it. */
static inline bool ftt_worker_server_gone(struct ftt_worker *w, uint64_t now_ns)
{
	bool asked = w->looked;

	w->looked = true;
	return asked ? ftt_server_known_gone(w->e, now_ns) : ftt_server_gone(w->e, now_ns);
}

#endif
