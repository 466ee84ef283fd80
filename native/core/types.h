/* SPDX-License-Identifier: Apache-2.0 */
/*
 * types.h - the words that the core, the engine and Python share: limits, modes, what protects a flow, keys.
 *
 * cffi reads this very file, so it holds only plain numbers, enums and structs. Addresses are 16 bytes in network order,
 * IPv4 as ::ffff:a.b.c.d; ports are in host order.
 */
#ifndef FTTCP_TYPES_H
#define FTTCP_TYPES_H
#include <stdint.h>

#define FTT_MAX_ADDRS 16
#define FTT_MAX_PORTS 32
#define FTT_MAX_LINKS 8
#define FTT_MAX_PEERS 7
#define FTT_MAX_GROUPS 128 /* of a node: as many as a configuration may have, and as many to take their place */
#define FTT_MAX_KEYS 4
#define FTT_IDENTITY 20 /* of a connection: 16 bytes that no other one has, and which key its seed is made with */
#define FTT_MAX_WORKERS 8
#define FTT_MAX_PIDS 32 /* main processes of a server */
#define FTT_HANDSHAKE_QUEUES 8
#define FTT_MAX_NEIGHBOURS 256
#define FTT_BEAT_BODY_MAX 512
#define FTT_STAMPED_MAX 32
/* Keys of peers that a group may have, and bytes of one, as Linux (TCP_MD5SIG_MAXKEYLEN). */
#define FTT_MAX_MD5 64
#define FTT_MD5_KEY_MAX 80
/* The newest and the oldest version of what engines write to each other. Two nodes speak the newest one that both know. */
#define FTT_CHANNEL_VERSION 5
#define FTT_CHANNEL_OLDEST 5

/* What the engine of one node does for one group. Only Python changes it, with ftt_engine_set_mode(). */
enum ftt_mode {
	FTT_MODE_IDLE = 0,    /* no role: nothing of the group is let in or out */
	FTT_MODE_BACKUP = 1,  /* follows: mirrored input goes in, nothing goes out */
	FTT_MODE_PAIRED = 2,  /* primary, output waits for the backup's commit */
	FTT_MODE_SOLO = 3     /* primary without a backup: output does not wait */
};

/* Where the right to emit comes from; checked for every packet (a lapsed lease is silence). */
enum ftt_lease_policy {
	FTT_LEASE_NONE = 0,    /* never: the gate is shut */
	FTT_LEASE_GRANTED = 1, /* the partner's heartbeats grant it, counted from our own send time */
	FTT_LEASE_SELF = 2     /* the beat thread renews it while it runs (solo) */
};

enum ftt_protection {
	FTT_NEW = 0,         /* SYN seen, no SYN-ACK yet */
	FTT_OPENING = 1,     /* SYN-ACK held until the backup holds the flow */
	FTT_PROTECTED = 2,
	FTT_DETACHING = 3,   /* backup asked to let go; nothing is released until it has */
	FTT_DETACHED = 4,    /* was protected, is not any more */
	FTT_UNPROTECTED = 5, /* never was */
	FTT_RESETTING = 6,   /* over for this node after a takeover: its client is asked where it stands, and reset there */
	FTT_CATCHING_UP = 7  /* a new backup's stack is brought to where the client stands: renew.h */
};

enum ftt_reason {
	FTT_WHY_NONE = 0,
	FTT_WHY_COMMIT_LAG = 1,   /* the backup did not confirm input within detach_after */
	FTT_WHY_OUTPUT_LAG = 2,   /* the backup's server is too far behind in its output */
	FTT_WHY_END = 3,          /* the primary's server ended the flow, the backup's did not */
	FTT_WHY_PEER_END = 4,     /* the backup's server ended the flow, the primary's did not */
	FTT_WHY_REFUSED = 5,      /* the backup's stack refused the connection */
	FTT_WHY_OPEN_TIMEOUT = 6, /* the backup did not confirm the handshake in time */
	FTT_WHY_DIVERGENCE = 7,   /* the outputs differ: not in equal length, or the policy says detach */
	FTT_WHY_BOUND = 8,        /* a limit on held packets or memory was reached */
	FTT_WHY_SOLO = 9,         /* the backup was lost */
	FTT_WHY_NO_BACKUP = 10,   /* there was no backup when the flow began */
	FTT_WHY_UNSUPPORTED = 11, /* data in a SYN cannot be followed; or both stacks have agreed to other options */
	FTT_WHY_OUTPUT_AHEAD = 12, /* the backup's server has said more than ours */
	FTT_WHY_OPENED_HERE = 13,  /* our server has opened it: no backup follows such */
	FTT_WHY_HISTORY = 14,     /* the backup's server does not know yet, or will not, what ours was told before */
	FTT_WHY_BEFORE_CHECKPOINT = 15, /* what it said is in the checkpoint with which the backup's server would begin */
	FTT_WHY_NOT_OPENED = 16,  /* our server has opened it, the backup's has not */
	FTT_WHY_SIGNED = 17,      /* TCP-MD5 (RFC 2385) without a key of ours, TCP-AO (RFC 5925): only its ends can make a segment of it */
	FTT_WHY_CALLS = 18        /* the backup's server does not follow the calls of ours any more */
};

/* Which end of a connection has opened it. */
enum ftt_opener { FTT_OPENED_REMOTE = 0, FTT_OPENED_LOCAL = 1 };

/* Why a connection cannot be renewed. */
enum ftt_unrenewable {
	FTT_RENEWABLE = 0,
	FTT_NO_RENEWAL = 1,     /* it is switched off */
	FTT_LOG_TOO_LONG = 2,   /* its client has sent more than the bound of one connection */
	FTT_LOGS_TOO_LONG = 3,  /* all logs together have reached their bound, or there is no memory */
	FTT_LOG_GAP = 4,        /* its beginning, or something later, was not seen here */
	FTT_NOT_REPEATED = 5,   /* the new backup's server said something else */
	FTT_NOT_IN_TIME = 6,    /* ... or did not come as far in time */
	FTT_STACK_UNLIKE = 7,   /* the new backup's stack took no such connection, or with other options */
	FTT_BEFORE_CHECKPOINT = 8, /* see FTT_WHY_BEFORE_CHECKPOINT */
	FTT_SPOOL_FULL = 9,     /* the file of logs that are too long for memory is at its bound, or slower than clients */
	FTT_SPOOL_FAILED = 10,  /* ... could not be written or read, or had something else */
	FTT_MANY_PORTS = 11,    /* UDP: its client speaks to a port of the server's own choice that is not one of its latest ones */
	FTT_NOT_REOPENED = 12,  /* our server has opened it, and the new backup's did not do so again */
	FTT_SERVER_OPENED = 13  /* ... to where no backup follows such */
};

/* No reason has so large a number. */
#define FTT_UNRENEWABLES 14

/* Whose word a key is. */
#define FTT_SPACE_SERVICE 0 /* the remote end's; of a connection that our server opens the primary's, too */
#define FTT_SPACE_STACK 1   /* a backup's stack's, of a connection that it opens: nobody else knows of that port */

/* The two ends of a flow, as the remote one knows them: a backup's stack has the same pair, but for the port of what it opens. */
struct ftt_key {
	uint8_t remote[16];
	uint8_t local[16]; /* the service's */
	uint16_t remote_port;
	uint16_t local_port;
	uint8_t proto; /* 6 or 17 */
	uint8_t space; /* FTT_SPACE_ */
	uint8_t pad[2];
};

/* The key with which segments from and to a peer are signed (TCP-MD5, RFC 2385): all peers whose address begins with these bits. */
struct ftt_md5_key {
	uint8_t peer[16]; /* IPv4 mapped */
	uint8_t prefix;   /* bits of it: 96 and more for IPv4 */
	uint8_t len;      /* bytes of the key, 1 or more */
	uint8_t key[FTT_MD5_KEY_MAX];
	uint8_t pad[2];
};

/* Experiments: a service space that differs from the local one on the node that shakes hands; see spaces.h. */
struct ftt_shift {
	uint8_t on;
	uint8_t pad[3];
	uint32_t iss, ts; /* of every flow, without a seed */
	uint32_t seed;    /* not 0: for each flow others are drawn from it */
};

/* What people decided about all flows of a group. */
struct ftt_policy {
	uint64_t detach_after_ns;
	uint64_t output_lag_ns; /* one server's output may stay behind the other's for so long; detach_after_ns, if that is more */
	uint64_t end_grace_ns;
	uint64_t open_timeout_ns;
	uint64_t opens_wait_ns; /* connections that a server opens: for the SYN of the other node's */
	uint64_t idle_timeout_ns;     /* TCP flows that are being closed are forgotten when silent for longer */
	uint64_t udp_idle_timeout_ns;
	uint64_t renew_bytes;   /* input logs of all flows of a worker, bytes */
	uint64_t spool_bytes;   /* ... that are in a file, of a worker */
	uint64_t history_bytes; /* what all clients have sent since the server started, bytes; 0: it is not kept */
	uint64_t calls_log;   /* of a server with a log of calls (lockstep/calls.h), so many bytes are kept of it; 0: there is none */
	uint64_t max_retained;  /* backup: output kept for a takeover, bytes per worker; 0 keeps none */
	uint32_t max_flows;     /* per worker */
	uint32_t max_half_open;
	uint32_t max_held;      /* packets held per flow */
	uint32_t max_held_total;
	uint32_t renew_flow;    /* ... of one flow; beyond that it cannot be renewed */
	uint32_t max_udp_bytes; /* datagrams kept per session, bytes */
	uint8_t compare;           /* checksum both outputs and compare */
	uint8_t detach_divergent;  /* a difference detaches the flow (else it is only counted) */
	uint8_t continue_unverified; /* a takeover goes on with flows whose outputs are not known to be equal */
	uint8_t order_service; /* flows that begin: no client has output that the backup's server has not given */
	uint8_t eager;         /* an experiment: output does not wait for COMMITs. A takeover may then break connections */
	uint8_t renew; /* what clients send is kept, so that a new backup can catch up */
	uint8_t cold;  /* the backup runs no server: see core/tcp/cold.h */
	uint8_t warm;  /* ... and that begins with a checkpoint: see flows/checkpoint.h */
	uint8_t pad[4];
	struct ftt_shift shift;
};

#define FTT_STORED_ID 8 /* bytes of an id, at most */

/* Requests by UDP whose replies are stored: core/stored.h. */
struct ftt_stored_config {
	char dir[256];      /* of its own; empty: none are */
	uint64_t bytes;     /* of all that is known of requests, in memory */
	uint64_t answer_ns; /* a server answers within that, or not at all */
	uint32_t keep_s;    /* a request is known for so long after its last note */
	uint32_t id_at;     /* where in their payloads a request and its reply have the same id; id_len bytes, 0 to FTT_STORED_ID */
	uint8_t id_len;
	uint8_t by_id;      /* it names the request; else its whole payload does */
	uint8_t again;      /* what was begun and is not known to be answered is executed again; else never */
	uint8_t go_on;      /* without room or disk: older ones are forgotten, and none waits; else new ones are dropped */
	uint8_t pad[4];
};

/* What FTT_EV_STORED tells. */
enum ftt_stored_news {
	FTT_STORED_TROUBLE = 0, /* the disk takes no notes; value = errno, ETIMEDOUT: it does not answer */
	FTT_STORED_GOOD = 1,    /* ... it does again */
	FTT_STORED_NO_ROOM = 2, /* there is no room for more */
	FTT_STORED_CUT = 3,     /* while reading: the ends of segments were no notes; value = bytes */
	FTT_STORED_IN_STEP = 4, /* the backup has stored all; value = requests */
	FTT_STORED_BEHIND = 5,  /* nothing waits for the backup until it has stored all again; link = enum ftt_stored_lag, value = errno of its disk */
	FTT_STORED_READ = 6,    /* what is stored has been read: the engine may start; value = requests */
	FTT_STORED_UNREAD = 7   /* it cannot be, and is tried again; link = errno, EPROTO: of another release, EWOULDBLOCK: another process has it;
				   value = the number of the segment, if it is one */
};

/* Primary: why its backup is not in step with what is stored. */
enum ftt_stored_lag {
	FTT_STORED_NO_LAG = 0,
	FTT_STORED_CATCHES_UP = 1,   /* it is sent what there is, and stores it */
	FTT_STORED_LATE = 2,         /* it had not stored a note within detach_after_ns */
	FTT_STORED_NO_LANE = 3,      /* the bulk lane is down */
	FTT_STORED_SAYS_NOTHING = 4, /* ... is up, and it has not said what it has stored: one of another release */
	FTT_STORED_ITS_DISK = 5      /* it cannot store */
};

/* The surroundings of a decision; see env.h. */
struct ftt_env {
	uint64_t now_ns;
	const struct ftt_policy *policy;
	uint8_t mode;    /* enum ftt_mode of this node */
	uint8_t lease;   /* it may emit: what leaves is asked once more as it does */
	uint8_t vouched; /* the local server is known to live */
	uint8_t doubted; /* ... but looks as if it hung */
	uint8_t watched; /* its main processes are looked at: the death of one is known before an end that it causes */
	uint8_t in_step; /* it is kept in step with the other node's, see lockstep.h */
	uint8_t behind;  /* enum ftt_reason: a primary's backup has yet to hear what our server was told before, or of a checkpoint */
	uint8_t calls;   /* the backup's server follows the calls of ours: */
	uint8_t pad[1];
	uint32_t calls_there, calls_held; /* so much is in the log, and the backup holds so much of it, modulo 2^32: calls_stream.h */
};

/* Why a connection of the bulk lane was refused or cut. */
enum ftt_lane_refusal {
	FTT_LANE_GARBAGE = 0, /* no hello, no frame, or none that belongs there */
	FTT_LANE_VERSION_OTHER = 1,
	FTT_LANE_STALE = 2,   /* another pairing, or another node: it is told anew when both know of each other */
	FTT_LANE_WRONG_KEY = 3,
	FTT_LANE_LATE = 4,    /* did not say hello, or what follows it, in time: a recording cannot */
	FTT_LANE_NO_MEMORY = 5
};

/* Shared secrets of the nodes: what is made with any of them is believed, what we send is made with one. */
struct ftt_keys {
	uint8_t key[FTT_MAX_KEYS][32];
	uint32_t n;
	uint32_t send; /* index */
};

#endif
