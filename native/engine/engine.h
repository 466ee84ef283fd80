/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine.h - what the parts of the native engine share.
 *
 * One struct ftt_engine serves one group on one node. Its threads:
 *
 *   worker 0..n-1   own their flows: data plane, commit channel, bulk lane   worker.c
 *
 * and two that all groups of the node have together (struct ftt_liveness):
 *
 *   beat            heartbeats, the leases, loss of a peer                   beat.c
 *   neighbour       ARP/ND answers and announcements, under the lease        neigh.c
 *
 * They share only what struct ftt_shared holds, all of it atomic: a role and a lease to be read
 * for every packet, never a lock. Python is told through a ring of events.
 */
#ifndef FTTCP_ENGINE_H
#define FTTCP_ENGINE_H
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include "engine/api/abi.h"
#include "core/lease.h"
#include "core/lockstep/lockstep.h"
#include "engine/channel/keyring.h"
#include "core/records/mirror_probe.h"

struct ftt_beat;
struct ftt_neigh;
struct ftt_neighbours;
struct ftt_worker;
struct ftt_events;
struct ftt_history_file;

#define FTT_FILE_NONE 63u /* it has six bits in a flow */

struct ftt_shared {
	_Atomic uint32_t mode;           /* enum ftt_mode */
	_Atomic uint32_t lease_policy;   /* enum ftt_lease_policy */
	_Atomic uint64_t lease_limit_ns; /* no lease reaches further; 0: no limit. Written with the policy */
	_Atomic uint64_t lease_until_ns; /* written by the beat thread only */
	_Atomic uint64_t session;
	_Atomic uint32_t partner;        /* index of the peer whose grants count, and with whom commits are exchanged */
	/* written by the beat thread, per peer */
	_Atomic uint64_t commit_session[FTT_MAX_PEERS]; /* of both boots: part of the channel key; 0 = not heard yet */
	_Atomic uint64_t peer_boot_id[FTT_MAX_PEERS];   /* 0 = never heard */
	_Atomic uint32_t channel_version[FTT_MAX_PEERS]; /* that both speak; 0 = not known yet */
	_Atomic uint32_t vouched;        /* health says that the local server lives */
	_Atomic uint64_t doubted_ns;     /* until then it is in doubt */
	_Atomic uint64_t gone_ns;        /* since when a main process of it is seen to have ended; 0: none has */
	_Atomic uint64_t generation;     /* counts mode and session changes: workers compare and act */
	_Atomic uint64_t promoted;       /* counts orders to promote a backup whose server is up by now: as well */
	_Atomic uint64_t checkpoints;    /* counts those of a warm group */
	_Atomic bool checkpoint_told;    /* the backup knows the last one */
};

struct ftt_engine {
	struct ftt_config cfg;
	struct ftt_shared shared;
	struct ftt_keyring keyring;
	struct ftt_counters counters_beat;  /* beat thread's own */
	struct ftt_counters counters_neigh; /* neighbour thread's own */
	struct ftt_beat *beat;
	struct ftt_neigh *neigh;
	struct ftt_worker *worker[FTT_MAX_WORKERS];
	struct ftt_events *events;
	pthread_mutex_t probes_lock;
	struct ftt_probe_memory probes; /* of the mirror, that were told */
	int life_fd[FTT_MAX_PIDS]; /* of the server's main processes; see life.c */
	int32_t life_pid[FTT_MAX_PIDS];
	uint32_t n_lives;
	uint64_t opened_ns;
	_Atomic uint32_t server_life;     /* counts servers: one begins with a main process that was not there before */
	_Atomic uint64_t server_start_ns; /* when the first of its main processes began; 0: before this engine */
	struct ftt_ls_map lockstep; /* shared with the server; .header NULL: it is not */
	int stamp_fd; /* the rules of stamp.h live with it; negative: there are none */
	struct ftt_history_file *history_file; /* where the history of the server goes; NULL: nowhere. Workers stand still while it changes */
	uint8_t file_number; /* of that file, or of the last one; FTT_FILE_NONE is none's */
	uint64_t file_began_ns;
	_Atomic bool file_awaited; /* a worker waits until more of it is kept */
	uint32_t whole_packets; /* see struct ftt_status */
	_Atomic uint32_t role_pending;  /* workers that have not carried out the present role yet */
	_Atomic uint32_t role_flows;    /* flows they took over */
	_Atomic bool role_takeover;
	/* of the thread that gives orders */
	bool held;     /* see ftt_engine_hold() */
	uint32_t owed; /* enum ftt_owed */
};

/* What follows from orders, and can wait. */
enum ftt_owed { FTT_OWED_WORKERS = 1, FTT_OWED_ROLE = 2, FTT_OWED_BEAT = 4, FTT_OWED_NEIGH = 8 };

/* True if it waits for ftt_engine_release(). */
static inline bool ftt_owe(struct ftt_engine *e, uint32_t what)
{
	if (e->held)
		e->owed |= what;
	return e->held;
}

uint64_t ftt_now_ns(void); /* CLOCK_BOOTTIME: see abi.h */

/* Whether it is one of these ports. */
static inline bool ftt_port_is(const struct ftt_port *p, uint16_t port, uint8_t proto)
{
	return p->proto == proto && (p->last ? p->port <= port && port <= p->last : p->port == port);
}

static inline bool ftt_port_in(const struct ftt_port *of, uint32_t n, uint16_t port, uint8_t proto)
{
	for (uint32_t i = 0; i < n; i++)
		if (ftt_port_is(&of[i], port, proto))
			return true;
	return false;
}

/*
 * May this node emit at `now`? What it is then, struct ftt_env tells the core, whose gate every packet to a client passes (gate.h); a plane
 * asks once more as packets leave, and the neighbour thread for what it says.
 */
static inline bool ftt_may_emit(const struct ftt_shared *s, uint64_t now_ns)
{
	uint32_t mode = atomic_load_explicit(&s->mode, memory_order_acquire);
	uint32_t policy = atomic_load_explicit(&s->lease_policy, memory_order_acquire);

	return ftt_lease_lets_speak((uint8_t)mode, policy, atomic_load_explicit(&s->lease_until_ns, memory_order_acquire), now_ns);
}

/*
 * Has a main process of the local server ended? Asked of the kernel, after what it may have said was received. It counts for
 * detach_after_ns: in that time a takeover comes, or none does.
 */
bool ftt_server_gone(struct ftt_engine *e, uint64_t now_ns);
/* These are the ones to ask about; none: it never has. Workers stand still. 0, or errno of the first that cannot be asked about. */
int ftt_server_watch(struct ftt_engine *e, const int32_t *pids, uint32_t n);
/* ... as far as it was asked before. */
static inline bool ftt_server_known_gone(const struct ftt_engine *e, uint64_t now_ns)
{
	uint64_t since_ns = atomic_load_explicit(&e->shared.gone_ns, memory_order_acquire);

	return since_ns && (int64_t)(now_ns - since_ns) <= (int64_t)e->cfg.policy.detach_after_ns;
}

/* Health says that the server lives, and nobody has seen yet that it does not. */
static inline bool ftt_server_vouched(const struct ftt_engine *e, uint64_t now_ns)
{
	return atomic_load(&e->shared.vouched) && !ftt_server_known_gone(e, now_ns);
}

/* Has every worker stand still between two wake-ups, so that what they read can be changed; and go on. */
void ftt_engine_pause(struct ftt_engine *e);
void ftt_engine_resume(struct ftt_engine *e);

/* A worker has carried out the role of this generation, taking over so many flows. */
void ftt_engine_role_done(struct ftt_engine *e, uint32_t flows, uint64_t generation);

/* events.c */
struct ftt_events *ftt_events_open(void); /* NULL: errno tells why */
void ftt_events_close(struct ftt_events *v); /* NULL is allowed */
/* Thread-safe; when the ring is full the oldest are kept and the loss is counted. Stamps when_ns if 0. */
void ftt_event_post(struct ftt_engine *e, const struct ftt_event *ev);

/* The neighbour thread of a node. */
struct ftt_neighbours *ftt_liveness_neighbours(struct ftt_liveness *l);
/* beat_setup.c: a group's part in the heartbeats of its node; failure -> NULL with a sentence in err. */
struct ftt_beat *ftt_beat_attach(struct ftt_liveness *l, struct ftt_engine *e, char *err, size_t err_len);
void ftt_beat_detach(struct ftt_beat *b); /* when it returns, the thread does not know of it any more; NULL is allowed */
/* called by ftt_engine_set_lease() after the policy was stored: a SELF lease that was decided just now is open when
 * the call returns; NONE zeroes lease_until_ns before it returns */
void ftt_beat_lease_changed(struct ftt_beat *b, uint64_t decided_ns);
/* called by ftt_engine_set_mode() after the partner was stored: grants of the one before count no more when it returns */
void ftt_beat_partner_changed(struct ftt_beat *b);
void ftt_beat_set_body(struct ftt_beat *b, const uint8_t *body, uint32_t len, uint32_t grant_to);
int ftt_beat_get_peer_body(struct ftt_beat *b, uint32_t peer, uint8_t *out, uint32_t max, uint64_t *boot_id);
uint64_t ftt_beat_get_heard_ns(const struct ftt_beat *b, uint32_t peer);
uint64_t ftt_beat_get_node_heard_ns(const struct ftt_beat *b, uint32_t peer);
int ftt_beat_get_intervals(struct ftt_beat *b, uint32_t peer, uint64_t *out, int max);
void ftt_beat_look(struct ftt_beat *b); /* what was owed: the thread looks around, and sends a beat of this group at once */
void ftt_beat_change_patience(struct ftt_beat *b, uint32_t peer, uint64_t lost_ns, uint64_t suspect_ns);
void ftt_beat_status(struct ftt_beat *b, struct ftt_status *out); /* what is per peer */

/* neigh.c: answers ARP requests and neighbour solicitations for the group's addresses on the service
 * interface while ftt_may_emit(); sends announcements, each under the same check. */
struct ftt_neighbours *ftt_neighbours_open(char *err, size_t err_len); /* once for a node; NULL with a sentence in err */
void ftt_neighbours_close(struct ftt_neighbours *all); /* after all groups have left; NULL is allowed */
struct ftt_neigh *ftt_neigh_attach(struct ftt_neighbours *all, struct ftt_engine *e, char *err, size_t err_len);
void ftt_neigh_detach(struct ftt_neigh *n); /* when it returns, the thread does not know of it any more; NULL is allowed */
void ftt_neigh_set_known(struct ftt_neigh *n, const struct ftt_neighbour *known, uint32_t count);
void ftt_neigh_use_interface(struct ftt_neigh *n, const char interface[16]); /* zeros behind the name */
void ftt_neigh_announce(struct ftt_neigh *n, uint32_t rounds, uint64_t interval_ns); /* both of these: */
void ftt_neigh_ask(struct ftt_neigh *n, uint32_t rounds, uint64_t interval_ns);
void ftt_neigh_look(struct ftt_neigh *n); /* the thread looks what it was asked */
void ftt_neigh_refresh(struct ftt_neigh *n, uint64_t every_ns); /* 0: never */
/* One round to all in the caller's thread: when it returns, the frames are out. */
void ftt_neigh_announce_now(struct ftt_neigh *n);

#endif
