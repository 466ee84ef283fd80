/* SPDX-License-Identifier: Apache-2.0 */
/*
 * udp.h - UDP sessions: the order of events instead of sequence numbers.
 *
 * A session is all that one client address and port says to a service address. Its primary
 * numbers what happens to its server: a datagram came in (with how many replies the server had
 * given by then), or the server spoke from a port of its own (TFTP's transfer id). Each event is
 * kept and sent to the backup until it is acknowledged; replies wait until all earlier events
 * are. The backup gives its server the same datagrams in the same order, each once as many
 * replies were seen as the primary had, also after a takeover; it keeps the replies that the primary may not
 * have sent.
 *
 * Ports of the server's own choice differ between the nodes: the i-th of one is the i-th of the
 * other, and the client only ever sees those of the node that began the session.
 */
#ifndef FTTCP_UDP_H
#define FTTCP_UDP_H
#include <stdbool.h>
#include <stdint.h>
#include "engine/engine.h"
#include "core/packet/parse.h"
#include "core/records/record.h"
#include "core/udp/backup.h"
#include "core/udp/compare.h"
#include "core/udp/primary.h"
#include "core/udp/stray.h"
#include "engine/flows/keyed.h"
#include "engine/flows/list.h"
#include "engine/planes/plane.h"

struct ftt_worker;

struct ftt_udp_event {
	uint8_t *bytes;    /* payload; of a port none */
	uint32_t len;
	uint32_t outputs;
	uint16_t port;
	bool is_port;
	uint8_t parts;     /* backup: parts that have come */
	bool whole;
	uint64_t since_ns; /* primary: first sent; backup: complete */
	uint64_t sent_ns;  /* primary: last sent */
};

struct ftt_udp_reply {
	struct ftt_udp_reply *next;
	uint32_t number;  /* of the server's replies */
	uint32_t crc;     /* of all replies up to this one */
	struct ftt_places after; /* primary: what it depends on */
	uint32_t id;      /* primary: packet in the queue */
	uint16_t queue;
	uint16_t port;    /* backup: the server's port */
	uint32_t len;
	uint8_t *edited;  /* primary: the packet with another port, as the client knows it; NULL: as it is, of packet_len bytes */
	uint32_t packet_len;
	bool orphan;      /* primary: of a server that had died; see ftt_is_last_word() */
	uint64_t since_ns;
	uint8_t *bytes;   /* backup: payload */
};

/* A client's datagram that came too late to the old owner, or too early to the new one; see udp_stray.c. */
struct ftt_udp_stray {
	struct ftt_udp_stray *next;
	struct ftt_key key; /* of its session */
	uint32_t irs, number;
	uint32_t len;
	uint16_t port;
	uint8_t parts; /* that have come */
	bool whole;
	uint64_t since_ns;
	uint8_t *bytes;
};

struct ftt_udp_session {
	struct ftt_key key; /* local_port 0 */
	struct ftt_session s; /* what is decided: written by the core alone */
	struct ftt_udp_session *hash_next;
	struct ftt_list order; /* the most recently active one first */
	struct ftt_list due;   /* those to be looked at by the next tick; else alone */
	uint32_t recent;       /* when its place in the order was last looked at, in FTT_RECENT_SHIFT */
	uint32_t role;         /* of the worker that was last carried out on it */
	uint32_t start;        /* names this session among those of the same client port */
	uint8_t counted;       /* as what ftt_udp_table.count has it */
	uint8_t peer_worker;
	uint8_t attempt;       /* of following it, see record.h */
	uint8_t unrenewable;   /* enum ftt_unrenewable: why there is no log */
	uint64_t created_ns;
	uint32_t bytes;        /* kept in events and replies */
	struct ftt_udp_event **ring; /* FTT_UDP_WINDOW of them, by number; NULL when there is none */
	uint32_t n_events;           /* in it */
	struct ftt_udp_reply *replies, **replies_tail;
	uint32_t n_replies;
	struct ftt_udp_log *log;    /* its events, from the first on; NULL: it cannot be renewed */
	struct ftt_udp_reply *last; /* backup: the last one that the client has, while it is fresh */
	struct ftt_list fresh;      /* with it: the freshest first */
	uint64_t bytes_in, bytes_out;
};

struct ftt_udp_table {
	bool on; /* the group has a UDP port */
	struct ftt_udp_session **bucket;
	uint32_t mask;
	struct ftt_secret secret;
	struct ftt_list order, due; /* heads */
	struct ftt_list fresh;      /* ... of those whose last reply is kept */
	struct ftt_list rest;       /* ... of those on which the last role is not carried out yet */
	uint32_t role;
	uint32_t n;
	uint32_t count[FTT_CATCHING_UP + 1]; /* by protection */
	uint32_t why[FTT_UNRENEWABLES];      /* by enum ftt_unrenewable */
	uint32_t next_start;
	uint64_t promoted_ns; /* a cold backup: when its server had started */
	uint32_t waiting; /* sessions with something unacknowledged or held, as of the last tick */
	uint8_t *scratch; /* one packet */
	struct ftt_udp_stray *strays, **strays_tail;
	uint32_t n_strays;
	uint32_t strays_sent;
	struct ftt_strays_late strays_late;
	struct ftt_list renewed; /* head: sessions that a new backup catches up with */
	uint32_t n_renewed;      /* in it */
	struct ftt_udp_reply *spent; /* to be freed when the verdicts are out */
};

static inline void ftt_udp_key_of(struct ftt_key *key, const struct ftt_pkt *k, bool from_client)
{
	ftt_key_of(key, k, from_client);
	key->local_port = 0; /* a server may answer from any port */
}

void ftt_udp_from_client(struct ftt_worker *w, struct ftt_packet *p, struct ftt_pkt *k, uint64_t now_ns);
void ftt_udp_from_server(struct ftt_worker *w, struct ftt_packet *p, struct ftt_pkt *k, uint64_t now_ns);
void ftt_udp_record(struct ftt_worker *w, const struct ftt_record *r, uint8_t from, uint64_t now_ns);
/* A primary asks the backup to let this session go. */
void ftt_udp_part(struct ftt_worker *w, const struct ftt_key *key, uint32_t start, uint8_t reason, uint64_t now_ns);
void ftt_udp_tick(struct ftt_worker *w, uint64_t now_ns);
void ftt_udp_sweep(struct ftt_worker *w, uint64_t now_ns);

/* udp_role.c */
/* From here on no session has carried out its role. */
void ftt_udp_new_role(struct ftt_udp_table *t);
/* Carries it out on some more; true when it is on all. */
bool ftt_udp_rest(struct ftt_worker *w, unsigned most, uint64_t now_ns);
/* ... on those for which something waits in the kernel. */
void ftt_udp_go_solo(struct ftt_worker *w, uint64_t now_ns);
/* The session of which something was heard: it may have to wait for something now. A role that is not carried out on it yet is now. */
struct ftt_udp_session *ftt_udp_heard(struct ftt_worker *w, const struct ftt_key *key, uint64_t now_ns);
/* Begins a session; NULL, and counted, when the table is full. */
struct ftt_udp_session *ftt_udp_begin(struct ftt_worker *w, const struct ftt_key *key, uint32_t start, uint64_t now_ns);
/* The session of what a client says to this port, which may begin it; NULL if there is none. */
struct ftt_udp_session *ftt_udp_called(struct ftt_worker *w, const struct ftt_key *key, uint16_t port, uint64_t now_ns);
/* A client says that: true if the server is to have it now. Else it waits, or is dropped and counted. */
bool ftt_udp_said(struct ftt_worker *w, struct ftt_udp_session *u, const uint8_t *payload, uint32_t len, uint16_t port,
		  uint64_t now_ns);
/*
 * May our server have what its client says to this port? Not if that is one of the other node's, which is not known any more. Whoever
 * speaks to one of so many is not followed from here on.
 */
bool ftt_udp_knows(struct ftt_worker *w, struct ftt_udp_session *u, uint16_t port);

/* udp_session.c */
/* Does it belong to another attempt to follow the session? Then it is counted, and nothing else. */
bool ftt_udp_is_late(struct ftt_worker *w, const struct ftt_udp_session *u, const struct ftt_record *r);
int ftt_udp_open(struct ftt_udp_table *t, const struct ftt_config *cfg);
void ftt_udp_close(struct ftt_udp_table *t);
void ftt_udp_forget_all(struct ftt_worker *w);
struct ftt_udp_session *ftt_udp_find(struct ftt_udp_table *t, const struct ftt_key *k);
/* That of a packet that only quotes one of its datagrams: it says nothing of the session. */
struct ftt_udp_session *ftt_udp_of(struct ftt_worker *w, const struct ftt_pkt *k, bool from_client);
struct ftt_udp_session *ftt_udp_add(struct ftt_worker *w, const struct ftt_key *k, uint32_t start, uint64_t now_ns);
void ftt_udp_forget(struct ftt_worker *w, struct ftt_udp_session *u);
/* The first session of all (NULL), or the one behind u; NULL at the end. */
struct ftt_udp_session *ftt_udp_next(const struct ftt_udp_table *t, const struct ftt_udp_session *u);
/* Takes up what it has become: the one place where sessions are counted, by their protection. */
void ftt_udp_update(struct ftt_udp_table *t, struct ftt_udp_session *u);
/* Where event `number` is kept, or is to be; NULL without memory. */
struct ftt_udp_event **ftt_udp_slot(struct ftt_udp_session *u, uint32_t number);
void ftt_udp_free_event(struct ftt_udp_session *u, uint32_t number);
/* ... those behind `before` that are acknowledged now. */
void ftt_udp_free_acked(struct ftt_udp_session *u, uint32_t before);
struct ftt_udp_reply *ftt_udp_take_reply(struct ftt_udp_session *u); /* the first */
void ftt_udp_free_reply(struct ftt_udp_session *u);
void ftt_udp_append_reply(struct ftt_udp_session *u, struct ftt_udp_reply *r);
void ftt_udp_drop_last(struct ftt_udp_session *u); /* see udp_again.c */
void ftt_udp_drop_stray(struct ftt_udp_table *t, struct ftt_udp_stray **at);
/* Frees a reply that was taken; the edited ones that went into verdicts when these are out. */
void ftt_udp_drop_reply(struct ftt_udp_reply *r);
void ftt_udp_free_spent(struct ftt_udp_table *t);
/* Is this port of the server's own choice not yet among the latest ones of `ports`? */
bool ftt_udp_new_port(const struct ftt_worker *w, const uint16_t *ports, uint32_t n, uint16_t port);
/* Is it one that the session has had, perhaps, and does not know any more? */
bool ftt_udp_forgot_port(const struct ftt_worker *w, const struct ftt_udp_session *u, uint16_t port);
/* The number by which the client knows this port of our server's, also if the event that tells of it waits for its turn. */
uint16_t ftt_udp_to_client(const struct ftt_udp_session *u, uint16_t port);

/* udp_packet.c */
/* Will our stack drop this datagram of the client, for its checksum? Then it is no event. */
bool ftt_udp_refused(const struct ftt_packet *p, const struct ftt_pkt *k);
/* Builds a datagram in t->scratch; returns its length. */
size_t ftt_udp_build(struct ftt_udp_table *t, const uint8_t *src, uint16_t sport, const uint8_t *dst, uint16_t dport,
		     const uint8_t *payload, uint32_t len);
/* Puts this port at `at` of its UDP header. */
enum ftt_udp_edit { FTT_UDP_AS_IT_IS, FTT_UDP_EDITED, FTT_UDP_CUT /* its end was not copied */ };
enum ftt_udp_edit ftt_udp_edit(struct ftt_packet *p, const struct ftt_pkt *k, uint32_t at, uint16_t port);
/* Lets a datagram go so. */
void ftt_udp_pass(struct ftt_worker *w, struct ftt_packet *p, const struct ftt_pkt *k, uint32_t at, uint16_t port);

/* udp_compare.c: both servers' replies */
void ftt_udp_sum(struct ftt_worker *w, struct ftt_udp_session *u, const struct ftt_packet *p, const struct ftt_pkt *k);
/* Counts and tells what comparing has found; true: the session is to be given up. */
bool ftt_udp_compared(struct ftt_worker *w, struct ftt_udp_session *u, uint32_t actions);

/* udp_again.c: the reply that the client had last */
void ftt_udp_keep_last(struct ftt_worker *w, struct ftt_udp_session *u, struct ftt_udp_reply *r, uint64_t now_ns);
/* Gives the client a kept reply; true if it left. */
bool ftt_udp_say(struct ftt_worker *w, const struct ftt_udp_session *u, const struct ftt_udp_reply *r, uint64_t now_ns);
/* After a takeover, if the client has not answered it. */
void ftt_udp_say_again(struct ftt_worker *w, struct ftt_udp_session *u, uint64_t now_ns);
void ftt_udp_sweep_last(struct ftt_worker *w, uint64_t now_ns);

/* udp_stray.c */
/* Gives to their sessions, by a new role, what came before it. */
void ftt_udp_strays(struct ftt_worker *w, uint64_t now_ns);
/* A client's datagram came here, and this node does not serve. */
void ftt_udp_stray(struct ftt_worker *w, const struct ftt_key *key, const struct ftt_packet *p, const struct ftt_pkt *k,
		   uint64_t now_ns);
/* ... to the other node: a STRAY, or an EVENT that this node took over too early for. */
void ftt_udp_stray_record(struct ftt_worker *w, const struct ftt_record *r, uint64_t now_ns);
void ftt_udp_sweep_strays(struct ftt_worker *w, uint64_t now_ns);

/* udp_primary.c */
/* Numbers what the client says. False: a bound is reached. */
bool ftt_udp_primary_in(struct ftt_worker *w, struct ftt_udp_session *u, const uint8_t *payload, uint32_t len, uint16_t port,
			uint64_t now_ns);
void ftt_udp_primary_out(struct ftt_worker *w, struct ftt_udp_session *u, struct ftt_packet *p,
			 struct ftt_pkt *k, uint64_t now_ns);
void ftt_udp_primary_record(struct ftt_worker *w, struct ftt_udp_session *u, const struct ftt_record *r,
			    uint64_t now_ns);
bool ftt_udp_primary_tick(struct ftt_worker *w, struct ftt_udp_session *u, const struct ftt_env *env);
void ftt_udp_primary_release(struct ftt_worker *w, struct ftt_udp_session *u, uint64_t now_ns);

/* udp_backup.c */
void ftt_udp_backup_out(struct ftt_worker *w, struct ftt_udp_session *u, const struct ftt_packet *p,
			const struct ftt_pkt *k, uint64_t now_ns);
void ftt_udp_backup_record(struct ftt_worker *w, struct ftt_udp_session *u, const struct ftt_record *r,
			   uint64_t now_ns);
/* Gives the server what is its turn; true while something waits. */
bool ftt_udp_backup_tick(struct ftt_worker *w, struct ftt_udp_session *u, uint64_t now_ns);
/* After a takeover: a datagram of the client goes behind those that wait. */
void ftt_udp_backup_later(struct ftt_worker *w, struct ftt_udp_session *u, const uint8_t *payload, uint32_t len, uint16_t port,
			  uint64_t now_ns);
/* Backup: says what it holds, and what its server has had. */
void ftt_udp_backup_acknowledge(struct ftt_worker *w, struct ftt_udp_session *u);
/* ... events have come by the lane: those behind them may be here. False: the session is given up. */
bool ftt_udp_backup_more(struct ftt_worker *w, struct ftt_udp_session *u, uint64_t now_ns);
/* The stack of a backup found no server at the port of a datagram. */
void ftt_udp_backup_nobody(struct ftt_worker *w, const struct ftt_pkt *k);
/* Tells the primary why (FTT_REC_DIVERGED, FTT_REC_LAGS), and forgets the session. */
void ftt_udp_backup_give_up(struct ftt_worker *w, struct ftt_udp_session *u, uint8_t why);
/*
 * Ports from which our server has spoken, and of which the old primary has not told: the client knows them by their own numbers, once
 * nothing waits that could tell of them. `late`: it may have spoken to them since.
 */
void ftt_udp_name_ports(struct ftt_worker *w, struct ftt_udp_session *u, bool late);
void ftt_udp_backup_take_over(struct ftt_worker *w, struct ftt_udp_session *u, uint64_t now_ns);

#endif
