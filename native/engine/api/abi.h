/* SPDX-License-Identifier: Apache-2.0 */
/*
 * abi.h - what the native core shows to Python.
 *
 * cffi reads this very file (native/ffi/build.py strips the preprocessor lines), so it holds only
 * plain enums, structs and prototypes, and so does core/types.h. Times are nanoseconds of CLOCK_BOOTTIME, which no step
 * of the wall clock touches, and which goes on while the host is suspended. Addresses are 16 bytes in network order, IPv4 as ::ffff:a.b.c.d. Sequence numbers and ports are in host order.
 */
#ifndef FTTCP_ABI_H
#define FTTCP_ABI_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/types.h"

enum ftt_event_kind {
	FTT_EV_NONE = 0,
	FTT_EV_PEER_UP = 1,        /* first authentic heartbeat of a peer's boot; value = peer boot id */
	FTT_EV_PEER_LOST = 2,      /* no heartbeat on any link for the lease time; value = ns since the last */
	FTT_EV_PEER_BODY = 3,      /* the peer's published body changed: fetch it with ftt_beat_peer_body() */
	FTT_EV_LINK_UP = 4,        /* link = index among the links to that peer */
	FTT_EV_LINK_LOST = 5,      /* the same; value = ns since its last heartbeat */
	FTT_EV_INTRUSION = 6,      /* value = enum ftt_intrusion; who sent it is unknown: peer and link tell where it came in;
				      reason = 1: another group of this node tells people */
	FTT_EV_LEASE_LAPSED = 7,   /* emission stopped because the lease ran out */
	FTT_EV_GATE_OPEN = 8,      /* first moment at which a new primary may emit; when_ns tells */
	FTT_EV_ANNOUNCED = 9,      /* first round of announcements is out */
	FTT_EV_TAKEOVER_DONE = 10, /* every flow was kicked; value = number of flows */
	FTT_EV_FLOW_DETACHED = 11, /* key and reason are set */
	FTT_EV_DIVERGENCE = 12,    /* key is set; value = stream offset up to which outputs are equal; reason:
				      FTT_WHY_NONE = then they differ in equal length, FTT_WHY_DIVERGENCE = else */
	FTT_EV_UNSUPPORTED = 13,   /* key is set: this flow cannot be protected */
	FTT_EV_PEER_SUSPECTED = 15, /* silent for longer than ftt_beat_set_patience() said, not lost yet; value = ns */
	FTT_EV_PEER_QUIET = 16,    /* quiet_ahead_ns before PEER_LOST, if nothing is heard until then; value = ns */
	FTT_EV_WHOLE_PACKETS = 17, /* once, at the start; value = whole_packets of struct ftt_status */
	FTT_EV_MAC_CHANGED = 18,   /* of the service interface; value = the new address as a number */
	FTT_EV_CLAIMED = 19,       /* another station says that it has an address: key.local; value = its MAC address as a
				      number; reason = 1: we hold the lease */
	FTT_EV_MIRROR_SEEN = 20,   /* a probe of the mirror came in; value = its number */
	FTT_EV_LANE_REFUSED = 22,  /* a connection of the bulk lane; value = enum ftt_lane_refusal; of the three link = our worker */
	FTT_EV_LANE_DOWN = 23,     /* no connection of the bulk lane for a while; value = errno of the last attempt, or 0 */
	FTT_EV_LANE_UP = 24,       /* ... there is one again */
	FTT_EV_CATCHING_UP = 25,   /* a new backup begins to catch up; value = flows that can be renewed */
	FTT_EV_RENEWED = 26,       /* it has come to an end; value = flows that are protected again, reason = how many could not be */
	FTT_EV_PROMOTED = 27,      /* the server was told what clients have sent; value, reason: as of FTT_EV_RENEWED */
	FTT_EV_HISTORY = 30,       /* a new backup's server is told the history of ours; value = its bytes, reason = enum ftt_unrenewable: it is not */
	FTT_EV_HISTORY_FAILED = 31, /* backup: it came to nothing; value = enum ftt_history_failure, reason = enum ftt_unrenewable */
	FTT_EV_SPOOL = 33,         /* logs could not be written to the spool, or read there; value = errno, EBADMSG: something else was read */
	FTT_EV_STORED = 34,        /* of requests whose replies are stored; reason = enum ftt_stored_news */
	FTT_EV_ADAPTER_FAILED = 35, /* neighbours cannot be answered on the service interface: value = errno; it is tried again */
	FTT_EV_CALLS = 36, /* of the log of calls; value = enum ftt_calls_news, reason = 1: of the partner's */
	FTT_EV_ERROR = 14          /* value = errno, reason = where: the engine cannot go on */
};

/* Primary: how far a new backup's server is with the history of ours. */
enum ftt_history_stage {
	FTT_HISTORY_IDLE,    /* there is no lane, or nothing to be told */
	FTT_HISTORY_SENDS,   /* frames are on their way */
	FTT_HISTORY_ALIGNS,  /* it was asked to keep what the mirror brings from here on */
	FTT_HISTORY_LAST,    /* it does: it gets the rest */
	FTT_HISTORY_MARKS,   /* it was told that this is all, and has not said yet that it is there */
	FTT_HISTORY_MARKED,  /* it has all, and goes on with the mirror */
	FTT_HISTORY_FAILED   /* it does not, in this pairing */
};

/* Why a backup's server was not brought to where the primary's is. */
enum ftt_history_failure {
	FTT_HISTORY_NOT_SAID = 0, /* it does not say what that said */
	FTT_HISTORY_CUT = 1,      /* the lane ended: how much it was told does not show. Another one may have more luck */
	FTT_HISTORY_NOT_FRESH = 2, /* it was told something before */
	FTT_HISTORY_NO_ROOM = 3   /* its bounds are too small for what the other one was told */
};

/* What the group's server is that starts with a log of calls (lockstep/calls.h). */
enum ftt_calls_part { FTT_CALLS_PART_NONE = 0, FTT_CALLS_PART_LEADS = 1, FTT_CALLS_PART_FOLLOWS = 2 };

/* How it is with that log. */
enum ftt_calls_stage {
	FTT_CALLS_STAGE_NONE = 0,
	FTT_CALLS_STAGE_LEADS = 1,     /* all of it is kept: a new follower can begin with it */
	FTT_CALLS_STAGE_CUT = 2,       /* it grew too long, and none can. One that follows goes on */
	FTT_CALLS_STAGE_FOLLOWS = 3,
	FTT_CALLS_STAGE_CAUGHT_UP = 4, /* ... and has come to where the leader was when it began to */
	FTT_CALLS_STAGE_BROKEN = 5,
	FTT_CALLS_STAGE_ALONE = 6      /* each server goes on by itself */
};

/* What FTT_EV_CALLS tells. */
enum ftt_calls_news {
	FTT_CALLS_NEWS_CAUGHT_UP = 1, /* the follower is where the leader was when it began to follow */
	FTT_CALLS_NEWS_BROKEN = 2,
	FTT_CALLS_NEWS_TOO_LONG = 3,  /* its beginning is not kept any more: a new follower needs a new start of the leader's server */
	FTT_CALLS_NEWS_ALONE = 4 /* the new owner's server has done all that was in the log, and goes on by itself */
};

struct ftt_calls_shown {
	uint32_t state;   /* enum ftt_calls_stage */
	uint32_t in_step; /* primary: output waits for the backup to hold the log; backup: it holds one */
	uint32_t theirs;  /* the break is the partner's */
	uint32_t why;     /* where it broke, as in struct ftt_calls_break; 0: it did not */
	uint32_t pid, thread, made, said;
	uint64_t number;
	char program[16];
	uint64_t log_bytes; /* that there ever were */
	uint64_t retained;  /* of them, so many are kept in memory */
	uint64_t sent, held; /* up to there it was sent to the partner; and is held by it, or by us */
	uint64_t behind;    /* bytes that the follower has not read */
	uint64_t waits, waited_ns; /* outputs that waited for the partner to hold it; and for how long, together */
};

enum ftt_intrusion {
	FTT_INTRUSION_MAC = 0,     /* not made with our key */
	FTT_INTRUSION_REPLAY = 1,  /* made with our key, but out of its time or place */
	FTT_INTRUSION_AT_PEER = 2, /* the peer tells that it met a wrong MAC, a replay or another cluster */
	FTT_INTRUSION_VERSION = 3, /* in a format of another release; not counted, for it proves nothing */
	FTT_INTRUSION_CLUSTER = 4  /* made with our key, but for another cluster */
};

/* A station on the service network; an IPv4 address is mapped. */
struct ftt_neighbour {
	uint8_t addr[16];
	uint8_t mac[6];
	uint8_t pad[2];
};

struct ftt_event {
	uint64_t when_ns;
	uint64_t value;
	struct ftt_key key;
	uint32_t kind;   /* enum ftt_event_kind */
	uint32_t reason; /* enum ftt_reason */
	uint32_t link;
	uint32_t peer;   /* index in struct ftt_config, of the first six kinds */
};

struct ftt_port {
	uint16_t port;
	uint16_t last; /* of a range that begins with port; 0: port alone */
	uint8_t proto;
	uint8_t pad[3];
};

/* On what heartbeats travel; the peer link (commits, mirror) is always UDP. */
enum ftt_transport {
	FTT_UDP = 0,
	FTT_MULTICAST = 1, /* UDP to a group, hop limit 1 */
	FTT_ETHERNET = 2,  /* frames of an EtherType of our own: no IP is needed */
	FTT_SERIAL = 3     /* a tty; one peer for each */
};

struct ftt_link {
	uint32_t transport; /* enum ftt_transport */
	uint32_t baud;      /* serial; 0 leaves the speed alone */
	char interface[16]; /* all but serial */
	char local[46];     /* UDP: our address on this link, text */
	char remote[46];    /* the peer's address, text: UDP; the group: multicast; a MAC address: Ethernet */
	char device[64];    /* serial */
};

/* One of the other nodes of the group. Both ends list the links between them in the same order. */
struct ftt_peer_config {
	uint64_t node_id;
	struct ftt_link link[FTT_MAX_LINKS]; /* link[0] is the peer link: commit channel and mirror */
	uint32_t n_links;
	uint32_t pad;
};

/* What a node has once, for all of its groups: heartbeats and the links that they travel on. */
struct ftt_liveness_config {
	struct ftt_keys keys;  /* at the start; later: ftt_liveness_set_keys() */
	uint64_t cluster_id;   /* hash of the cluster's name */
	uint64_t node_id;      /* hash of the node's name */
	uint64_t boot_id;      /* random, new for each start of the daemon */
	struct ftt_peer_config peer[FTT_MAX_PEERS];
	uint32_t n_peers;
	uint16_t port;         /* UDP */
	uint8_t encrypt;       /* what our heartbeats say */
	uint8_t pad;
};

struct ftt_hooks;

struct ftt_config {
	/* identity and authentication */
	struct ftt_keys keys;  /* at the start; later: ftt_engine_set_keys() */
	uint64_t cluster_id;   /* hash of cluster and group name: the group's id */
	uint64_t node_id;      /* hash of the node's name */
	uint64_t boot_id;      /* random, new for each start of the group */
	/* places, those of the node's heartbeats; the local address of link[0] is the same for all peers */
	struct ftt_peer_config peer[FTT_MAX_PEERS];
	uint32_t n_peers;
	char service_interface[16]; /* at the start; later: ftt_engine_use_interface() */
	char peer_interface[16];
	uint8_t service_mac[6]; /* where neighbours find the service; all zero: at the interface's own MAC address */
	uint8_t service_addr[FTT_MAX_ADDRS][16];
	uint32_t n_service_addrs;
	struct ftt_port port[FTT_MAX_PORTS];
	uint32_t n_ports;
	struct ftt_port opens[FTT_MAX_PORTS]; /* of others: connections of our server to these are protected, too */
	uint32_t n_opens;
	struct ftt_md5_key md5[FTT_MAX_MD5]; /* of peers whose segments are signed; longer prefixes first */
	uint32_t n_md5;
	uint16_t channel_port; /* UDP: worker k's commit channel on channel_port + 1 + k */
	uint16_t queue_in;     /* NFQUEUE numbers queue_in + k and queue_out + k for worker k; + FTT_HANDSHAKE_QUEUES: its handshakes */
	uint16_t queue_out;
	uint16_t workers;
	uint32_t mark;         /* fwmark of packets that our own rules must let by */
	/* timings */
	uint64_t beat_interval_ns; /* the shortest of all groups counts */
	uint64_t lease_ns;     /* D: what a grant is worth, and how long silence means loss */
	uint64_t quiet_ahead_ns; /* so long before PEER_LOST comes PEER_QUIET; 0: not at all */
	uint64_t announce_refresh_ns; /* who may emit announces itself so often; 0: only when it took over or moved */
	uint32_t drift_ppm;    /* assumed bound on the clocks' rate difference */
	uint32_t rt_priority;  /* SCHED_FIFO priority of the beat thread, 0 = leave alone; the highest of all groups counts */
	uint32_t busy_poll_ns; /* a worker that had packets looks for more for so long before it sleeps */
	uint32_t queue_maxlen;
	struct ftt_policy policy;
	const struct ftt_hooks *hooks; /* packets come from these functions (hooks.h), for one worker; NULL: from the kernel's queues */
	char spool[256];       /* the directory of logs that are too long for memory; empty: none */
	char lockstep[108];    /* the file that is shared with the server, see lockstep.h; empty: none */
	struct ftt_stored_config stored; /* with a directory all ports are UDP, of requests whose replies are stored: no session is followed */
};

struct ftt_counters {
	uint64_t in_packets, in_bytes, out_packets, out_bytes;
	uint64_t passed, translated, injected, emitted;
	uint64_t emit_failed; /* packets of our own that the kernel did not take: lost, as on a network */
	uint64_t stamped; /* of the translated: headers that the kernel edited for a backup */
	uint64_t held, released, held_now, hold_overflow;
	uint64_t mirror_probes; /* of the mirror: taken out, and told of */
	uint64_t last_words; /* of a server that had died: held for the takeover */
	uint64_t ordered; /* backup: segments of clients that waited for the server's output which they answer */
	uint64_t order_waits; /* primary: PROBEs for output that waited for the backup's server, see order_service */
	uint64_t acked_ahead; /* backup: acknowledgements to our stack of what it said then, which the client did not have */
	uint64_t drop_mode, drop_lease, drop_suppressed, drop_unknown_flow, drop_malformed, drop_truncated;
	uint64_t drop_acked, drop_bound, drop_repeated, drop_unverified;
	uint64_t drop_refused; /* segments of clients that a kernel would refuse: accept.h */
	uint64_t bad_signatures; /* ... for what they are signed with, or are not: seal.h */
	uint64_t pass_malformed, pass_unmatched, pass_fragment;
	uint64_t window_limited;
	uint64_t syn_floods;           /* SYNs not tracked because the half-open table was full */
	uint64_t flows_opened, flows_closed, flows_detached;
	uint64_t flows_refused;        /* not tracked because the table was full: served, but not protected */
	uint64_t flows_expired;
	uint64_t flows_remembered; /* given up with the role: their clients are reset if this node serves again */
	uint64_t opens_alone; /* backup: connections of its server that the primary's did not open: refused */
	uint64_t commits_sent, commits_received, probes_sent, opens_sent, channel_bad_mac, channel_replay;
	uint64_t channel_malformed, channel_stale, channel_datagrams_sent, channel_datagrams_received;
	uint64_t records_skipped, records_refused; /* of types that are not known here; a flow was given up for each of the latter */
	uint64_t records_late; /* of another attempt to follow the flow: dropped */
	uint64_t compared_blocks, divergences, uncompared_blocks;
	uint64_t unverified_resets; /* flows that a takeover ended: outputs were not known to be equal */
	uint64_t udp_sessions, udp_events, udp_resent, udp_retained_released, udp_said_again, udp_truncated;
	uint64_t udp_strays_sent, udp_strays_taken; /* clients' datagrams that came to the wrong node, and went to the owner */
	uint64_t stored_begun, stored_replies, stored_said; /* requests noted as begun; their replies; those that a retry was answered with */
	uint64_t stored_running, stored_unanswered, stored_busy, stored_refused; /* dropped requests, see enum ftt_stored_step; refused: replies, too */
	uint64_t stored_alone;   /* packets of them that a primary let out, and its backup had not stored */
	uint64_t stored_unasked; /* datagrams of the server that answer no request that runs: let out, and not stored */
	uint64_t verdict_batches, verdicts, wakeups, queue_overruns;
	uint64_t retained, retained_released, retain_overflow, kicked, nudges;
	uint64_t resets_asked, resets_sent; /* questions to clients of flows that are over, and RSTs that answer them */
	uint64_t resets_unanswered;         /* such flows whose client never answered */
	uint64_t identities, identities_refused; /* of connections, for the server; without room for it in the shared memory, or with an unknown key */
	uint64_t arp_answered, nd_answered, announcements;
	uint64_t neighbours_told, announce_refreshes; /* announcements to one neighbour by itself; rounds that nothing but time has asked for */
	uint64_t neighbour_refused, neighbour_defended; /* claims of others while we hold the lease; announcements against them */
	uint64_t unrecorded; /* flows that are not in the history on disk, or not up to their end */
	uint64_t renewed, renewals_failed; /* flows with which a new backup has caught up; has not */
	uint64_t renewal_steps; /* primary: words of a new backup that it has got on with one of them */
	uint64_t renew_bytes; /* backup: of clients' bytes that its stack was given out of logs */
	uint64_t lane_begun, lane_ended, lane_refused; /* connections of the bulk lane; lane_wire.h has the reasons */
	uint64_t lane_bytes_sent, lane_bytes_received, lane_messages_sent, lane_messages_received;
	uint64_t beats_sent, beats_received, beats_bad_mac, beats_replay, beats_late;
};

/* What the heartbeat thread was allowed to have. */
enum ftt_beat_thread {
	FTT_BEAT_REALTIME = 1, /* SCHED_FIFO with the configured priority */
	FTT_BEAT_LOCKED = 2    /* memory that is not swapped out */
};

struct ftt_status {
	uint32_t mode;
	uint32_t lease_policy;
	uint64_t session;
	int64_t lease_left_ns;  /* negative: lapsed */
	uint32_t flows_protected, flows_unprotected, flows_detached, flows_opening;
	uint32_t flows_ending; /* a takeover at this moment would end them, of a backup's flows at least so many; see ftt_flow_info.continues */
	uint32_t udp_sessions;
	uint64_t flow_bytes;    /* memory of what is known of flows, without what of theirs waits or is retained */
	uint32_t held_now;
	uint32_t flows_unverified; /* protected ones among them: they may well go on a moment later */
	uint32_t ends_held;     /* flows that our server has ended and the backup's, as far as we know, has not */
	uint64_t commit_lag_p50_ns, commit_lag_p99_ns; /* over the last 1,024 held packets */
	uint32_t beat_thread;   /* enum ftt_beat_thread, or-ed */
	uint32_t strict_commit; /* output waits for COMMITs: always, but for an experiment */
	uint32_t whole_packets; /* errno: why the kernel edits no headers for a backup, see ftt_stamp_try(); else 0 */
	uint32_t flows_catching; /* of those without protection: a new backup catches up with them, or will */
	uint32_t flows_renewable; /* whose input is kept from their beginning on */
	uint32_t flows_unrenewable[FTT_UNRENEWABLES]; /* living ones, by enum ftt_unrenewable */
	uint64_t log_memory_bytes; /* of that input, in memory */
	uint64_t spool_bytes;    /* ... and in the spool */
	uint32_t spool_error;    /* errno of the last that was written or read there */
	uint64_t history_bytes;  /* what all clients have sent since the server started */
	uint64_t history_sent, history_played; /* of what a new backup is told of it, bytes */
	uint32_t history_why;    /* enum ftt_unrenewable: why there is none */
	uint32_t history_stage;  /* enum ftt_history_stage */
	uint32_t stored_requests; /* that are known, with their replies if these are */
	uint32_t stored_waiting;  /* packets that wait until their notes are kept */
	uint64_t stored_bytes;    /* in memory */
	uint64_t stored_file_bytes;
	uint32_t stored_trouble;  /* errno of what keeps the disk from giving or taking notes; ETIMEDOUT: it does not answer */
	uint32_t stored_in_step;  /* a primary's backup has all of them */
	uint32_t stored_lag;      /* a primary's: enum ftt_stored_lag */
	uint32_t stored_peer_trouble; /* errno of what is wrong with its backup's disk, as it told */
	uint32_t partner;       /* index of the peer that the last mode was set with */
	uint32_t lanes_up, lanes; /* connections of the bulk lane; how many there should be */
	uint32_t peer_alive;    /* bit per peer */
	uint32_t links_up[FTT_MAX_PEERS];      /* bit per link */
	uint64_t peer_intrusions[FTT_MAX_PEERS]; /* how many the peer tells that it met */
};

struct ftt_flow_info {
	struct ftt_key key;
	uint32_t protection; /* enum ftt_protection */
	uint32_t reason;
	uint32_t delta, ts_delta;
	uint32_t client_acked, local_snd_nxt, local_rcv_nxt, committed, peer_snd_nxt; /* service space */
	uint32_t held;
	uint32_t divergences;
	uint32_t closed;
	uint32_t unrenewable; /* enum ftt_unrenewable */
	uint32_t opener;      /* enum ftt_opener */
	uint32_t catching;    /* a new backup catches up with it, or will */
	uint64_t log_memory_bytes; /* of its input that is kept, in memory */
	uint64_t spool_bytes;      /* ... and in the spool */
	uint32_t continues; /* a takeover at this moment would not reset it; of a primary: as far as it has been told */
	uint64_t verified;  /* bytes of output, from the first on, known to be equal on both nodes */
	uint64_t bytes_in, bytes_out;
	uint64_t age_ns, idle_ns;
};

enum ftt_fsync {
	FTT_FSYNC_NEVER = 0, /* the kernel writes when it likes: a loss of power takes what came in the last half a minute */
	FTT_FSYNC_BATCH = 1, /* whatever waits is written and synced at once, then it counts */
	FTT_FSYNC_EVERY = 2  /* synced every so often: a loss of power takes what came since */
};

struct ftt_history_settings {
	const char *path;    /* is made; nothing must be there */
	const uint8_t *head; /* what HEAD has: core/history.h */
	uint32_t head_len;
	uint32_t fsync;      /* enum ftt_fsync */
	uint64_t every_ns;   /* FTT_FSYNC_EVERY */
	uint64_t most;       /* bytes of the file */
};

struct ftt_engine;
struct ftt_history_file;
struct ftt_liveness;

/* Heartbeats of a node: opened before its engines start, closed when all of them are. err: as below. set_keys: other keys from here on; 0, or EINVAL. */
struct ftt_liveness *ftt_liveness_open(const struct ftt_liveness_config *cfg, char *err, size_t err_len);
int ftt_liveness_set_keys(struct ftt_liveness *l, const struct ftt_keys *keys);
/* By how much the peer's heartbeats of the last 10 to 20 s came later than they were sent, at least: ns, by our CLOCK_BOOTTIME and by its
 * own, so it may be negative. False: there was none. */
bool ftt_liveness_delay(struct ftt_liveness *l, uint32_t peer, int64_t *least_ns);
void ftt_liveness_close(struct ftt_liveness *l);

/* Life. err gets a sentence that names what failed and what to do. NULL / non-zero on failure. Heartbeats,
 * leases and announcements exist from the start on; before it their calls do nothing or return an error. */
struct ftt_engine *ftt_engine_open(const struct ftt_config *cfg, char *err, size_t err_len);
int ftt_engine_start(struct ftt_engine *e, struct ftt_liveness *l, char *err, size_t err_len);
void ftt_engine_close(struct ftt_engine *e);

/*
 * Role. session names one pairing; flows of another pairing are not continued. peer is the index of
 * the partner: its grants alone count for FTT_LEASE_GRANTED, and the commit channel speaks with it.
 * IDLE leaves the partner as it was. Towards a new partner set the
 * mode first, then the lease: a lease that the partner of before has granted ends with the mode.
 */
void ftt_engine_set_mode(struct ftt_engine *e, uint32_t mode, uint64_t session, uint32_t peer);
/* In which version the commit channel writes to this peer, and reads of it; 0, as at the start: it does neither. */
void ftt_engine_speak(struct ftt_engine *e, uint32_t peer, uint32_t version);
/* limit_ns: when the right to emit ends whoever renews or grants it; 0: never. decided_ns: when this was
 * decided; a SELF lease counts from then, so an order that comes too late opens nothing. */
void ftt_engine_set_lease(struct ftt_engine *e, uint32_t policy, uint64_t limit_ns, uint64_t decided_ns);
/*
 * Orders of several engines in a row, all by one thread: between these two an order decides at once who may emit and what heartbeats
 * say; threads are woken, and a takeover is announced, at the release. So no gate waits for what follows from another one.
 */
void ftt_engine_hold(struct ftt_engine *e);
void ftt_engine_release(struct ftt_engine *e);
/* How long this node may still emit; negative: no more. Waits for nobody. */
int64_t ftt_engine_lease_left_ns(struct ftt_engine *e);
/* Health vouches for the local server: ends of flows are real ends (not its death). */
void ftt_engine_vouch(struct ftt_engine *e, int alive);
/* The local server looks as if it hung, and it is known in for_ns at the latest whether it does; 0: it does not look so. That it is
 * silent meanwhile is no reason to let a flow go. */
void ftt_engine_doubt(struct ftt_engine *e, uint64_t for_ns);
/* A backup that ran no server (policy.cold): it is up by now, and is to be told what clients have sent. FTT_EV_PROMOTED: it was.
 * Again for each server that is started meanwhile, and only then. */
void ftt_engine_promote(struct ftt_engine *e);
/* A warm group (policy.warm): a checkpoint is complete, all connections that there are, are older. told: a primary's backup is told of it,
 * what begins from here on is protected. On a backup: it was told. */
void ftt_engine_checkpoint(struct ftt_engine *e, int told);
/* These are the main processes of the local server: when one has ended, what its children still say is held until
 * a takeover, or until other ones are named; none: nobody looks. 0, or errno of the first that cannot be looked at: the others are. */
int ftt_engine_watch_server(struct ftt_engine *e, const int32_t *pids, uint32_t n);

/*
 * The group's server is about to start with this file as its log of calls, as this part of two (enum ftt_calls_part): the one before is over.
 * FTT_CALLS_PART_NONE: without any; path is not looked at. 0, or -1 with a sentence in err, and there is no log.
 */
int ftt_engine_calls(struct ftt_engine *e, const char *path, uint8_t part, char *err, size_t err_len);
/* Backup: the follower listens on its ports, so it can be given what clients have sent. */
void ftt_engine_calls_listens(struct ftt_engine *e);
void ftt_engine_calls_shown(struct ftt_engine *e, struct ftt_calls_shown *out);

/* Other keys from here on: those of the commit channel. 0, or EINVAL. */
int ftt_engine_set_keys(struct ftt_engine *e, const struct ftt_keys *keys);

/*
 * The policy, announce_refresh_ns and peers' keys of *cfg from now on, but for what tables were made for and flows begin with: that stays. A bound below what is in
 * use takes no more, and drops nothing.
 */
void ftt_engine_tune(struct ftt_engine *e, const struct ftt_config *cfg);

/*
 * Another node, with the next index: the node's part first, which may fail and leaves it gone, then that of each group. Then part_with() lets
 * it be heard. 0, or -1 with a sentence: too many, or its links cannot be. Both copy *peer. The local address of its link[0] is that of the others.
 */
int ftt_engine_add_peer(struct ftt_engine *e, const struct ftt_peer_config *peer, char *err, size_t err_len);
int ftt_liveness_add_peer(struct ftt_liveness *l, const struct ftt_peer_config *peer, char *err, size_t err_len);
/* A peer is not spoken to or heard any more (gone), or again: it is lost, and returns, as any other one. Its index stays its own. */
void ftt_liveness_part_with(struct ftt_liveness *l, uint32_t peer, bool gone);

/*
 * A history on stable storage (core/history.h; file.h tells how). open and close wait for the disk; none of the others does.
 * record: from here on the history of the local server goes there; returns the file before it, which is the caller's to close. NULL: nowhere.
 */
struct ftt_history_file *ftt_history_file_open(const struct ftt_history_settings *s, char *err, size_t err_len);
struct ftt_history_file *ftt_engine_record(struct ftt_engine *e, struct ftt_history_file *h);
/* What is before this place counts as kept, as far as the policy goes: synced (BATCH), or handed to the kernel. */
uint64_t ftt_history_file_there(const struct ftt_history_file *h);
/* Why it has ended: 0: it has not; ENOBUFS: the disk is too slow; EFBIG: its bound; or what else writing met. */
int ftt_history_file_why(const struct ftt_history_file *h);
/* Writes what waits. `done`: and that the history ends here in good order. NULL is allowed. */
void ftt_history_file_close(struct ftt_history_file *h, bool done);

/* Observation. events: returns how many were written; the fd becomes readable when there are some. */
int ftt_engine_event_fd(struct ftt_engine *e);
int ftt_engine_events(struct ftt_engine *e, struct ftt_event *out, int max);
void ftt_engine_counters(struct ftt_engine *e, struct ftt_counters *out);
void ftt_engine_status(struct ftt_engine *e, struct ftt_status *out);
int ftt_engine_flows(struct ftt_engine *e, struct ftt_flow_info *out, int max, int with_closed);
/* A TCP flow, if it is known: for a function of hooks.h. */
bool ftt_engine_flow(struct ftt_engine *e, const struct ftt_key *key, struct ftt_flow_info *out);
uint64_t ftt_now_ns(void);
/* 0 if this kernel could edit the headers of long mirrored packets, in the caller's network namespace; else errno. An
 * engine also does without when the mirror shares its interface with clients (ENOTUNIQ), or with more than
 * FTT_STAMPED_MAX pairs of address and port (E2BIG): each packet of the mirror would pass a rule for each. A
 * group with UDP needs whole packets anyway. */
int ftt_stamp_try(void);

/* Heartbeats. body is opaque to the native side and travels to every peer, sent at once
 * when it changes and until the peer has it. grant_to has a bit for each peer to which this node promises not to take over before
 * lease_ns have passed since each beat that it receives from it. peer_body returns the length (or -1
 * when none came yet, or there is no such peer). */
void ftt_beat_publish(struct ftt_engine *e, const uint8_t *body, uint32_t len, uint32_t grant_to);
int ftt_beat_peer_body(struct ftt_engine *e, uint32_t peer, uint8_t *out, uint32_t max, uint64_t *boot_id);
/* When the last authentic heartbeat of a peer came that spoke of this group; 0: none. Waits for nobody. */
uint64_t ftt_beat_heard_ns(struct ftt_engine *e, uint32_t peer);
/* The same of whichever groups it spoke. */
uint64_t ftt_beat_node_heard_ns(struct ftt_engine *e, uint32_t peer);

/*
 * For a detector that learns: the times between newest beats of a peer since the last call, up to 256 (ns,
 * oldest first; returns how many), and what it makes of them. lost_ns: silence after which the peer is lost, while this node does not
 * own the group; less than D * (1 + drift) is taken as that. suspect_ns: silence that is told before; 0: none.
 */
int ftt_beat_intervals(struct ftt_engine *e, uint32_t peer, uint64_t *out, int max);
void ftt_beat_set_patience(struct ftt_engine *e, uint32_t peer, uint64_t lost_ns, uint64_t suspect_ns);

/* Announcements, sent on the service interface when a takeover opens the gate, and repeated (rounds times, interval
 * apart), each under the lease check: to all, and to those by themselves that have asked for the service addresses
 * lately, or that are given here (the first FTT_MAX_NEIGHBOURS). Then again each announce_refresh_ns, after five minutes to all only. */
void ftt_engine_set_neighbours(struct ftt_engine *e, const struct ftt_neighbour *known, uint32_t n);
void ftt_engine_announce(struct ftt_engine *e, uint32_t rounds, uint64_t interval_ns);
/* The service is behind this interface from now on, where the same neighbours are: under the lease they are told so before the call
 * returns, and in rounds. It need not exist yet. 0, or EINVAL: no name of an interface. */
int ftt_engine_use_interface(struct ftt_engine *e, const char *interface);

#endif
