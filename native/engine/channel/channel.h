/* SPDX-License-Identifier: Apache-2.0 */
/*
 * channel.h - the commit channel of one worker: authenticated datagrams full of records.
 *
 * It speaks with one peer at a time, the partner. The key is derived from the nodes' secret and both
 * daemons' boot ids, so nothing of an earlier life or of another pair can be replayed; a counter per
 * sender and worker does the rest. Records are gathered
 * during a wake-up, one buffer for each worker of the peer and lane, and leave together.
 *
 * There are two lanes. Nobody is woken for what comes on the quiet one, which costs both nodes as much as all else that
 * a record does: it is read with the next wake-up, before what came on the other. Both have the same port;
 * a filter on it tells the lanes apart (SO_ATTACH_REUSEPORT_CBPF, socket(7)).
 */
#ifndef FTTCP_CHANNEL_H
#define FTTCP_CHANNEL_H
#include <netinet/in.h>
#include <stdbool.h>
#include "engine/engine.h"
#include "core/records/channel_wire.h"
#include "core/records/record.h"

#define FTT_CHANNEL_AT_ONCE 8 /* datagrams that one call fetches */
#define FTT_CHANNEL_FULL 1400 /* a buffer beyond this is sent: most datagrams fit a frame */

enum ftt_lane { FTT_LOUD = 0, FTT_QUIET = 1, FTT_LANES = 2 };
enum { FTT_ON_LOUD = 1 << FTT_LOUD, FTT_ON_QUIET = 1 << FTT_QUIET, FTT_ON_ANY = FTT_ON_LOUD | FTT_ON_QUIET };

/* Datagrams of one lane that were fetched. */
struct ftt_fetched {
	uint8_t *bytes[FTT_CHANNEL_AT_ONCE];
	size_t len[FTT_CHANNEL_AT_ONCE];
	struct sockaddr_storage from[FTT_CHANNEL_AT_ONCE];
	int n, next;
	bool all; /* there were no more */
};

struct ftt_channel {
	int fd[FTT_LANES];
	const struct ftt_config *cfg;
	struct ftt_plane *plane; /* is shown what is told; NULL: nobody is */
	uint8_t worker;
	uint32_t partner;
	struct sockaddr_storage remote[FTT_MAX_PEERS]; /* port of worker 0 */
	socklen_t remote_len[FTT_MAX_PEERS];
	struct ftt_keyring *keyring;
	uint32_t keys_generation;
	struct ftt_keys keys; /* made from those of the ring for key_session */
	uint64_t key_session; /* commit_session that the keys were made for; 0 = none yet */
	uint64_t pairing;
	uint8_t version; /* in which both nodes speak; 0 = not known yet */
	uint64_t counter;
	struct ftt_replay replay[FTT_LANES][FTT_MAX_WORKERS];
	struct {
		uint8_t *bytes;
		size_t len;
		uint16_t count;
	} out[FTT_LANES][FTT_MAX_WORKERS];
	struct ftt_fetched in[FTT_LANES];
	bool asked; /* the kernel, for what was fetched last */
	const uint8_t *odd; /* see ftt_channel_receive() */
	const struct sockaddr_storage *odd_from;
};

int ftt_channel_open(struct ftt_channel *c, const struct ftt_config *cfg, struct ftt_keyring *keyring, uint8_t worker,
		     char *err, size_t err_len);
void ftt_channel_close(struct ftt_channel *c);
/* Finds a peer's place: commits leave from one address of ours, so all must be reached from that. False with a sentence. */
bool ftt_channel_find_peer(struct ftt_channel *c, uint32_t i, char *err, size_t err_len);
/*
 * Follows the role and the keys; a new commit_session makes new keys. Records not yet sent are dropped with the old ones. `version`: in which
 * to speak with the partner; 0: not at all, yet.
 */
void ftt_channel_follow(struct ftt_channel *c, uint32_t partner, uint64_t commit_session, uint64_t pairing, uint32_t version);
/* Gathers a record for one worker of the peer. */
void ftt_channel_put_record(struct ftt_channel *c, uint8_t peer_worker, const struct ftt_record *r,
			    struct ftt_counters *n);
/* Sends one at once, in a datagram that belongs to no pairing; true if it left. */
bool ftt_channel_send_apart(struct ftt_channel *c, uint8_t peer_worker, const struct ftt_record *r, struct ftt_counters *n);
void ftt_channel_flush(struct ftt_channel *c, struct ftt_counters *n);
/* The kernel is to be asked for what came since the last time. */
static inline void ftt_channel_begin(struct ftt_channel *c)
{
	c->asked = false;
}

/* Are there datagrams that were fetched, and for which there was no time? The socket tells nothing of them. */
static inline bool ftt_channel_has(const struct ftt_channel *c, enum ftt_lane lane)
{
	return c->in[lane].next < c->in[lane].n;
}

/*
 * One authentic datagram of this pairing or of none, from `lanes` (FTT_ON_*), without waiting, from the quiet one first: what left on it before a loud one is
 * read before that. Its records start at *records (of *len bytes). 1: got one; 0: nothing more; -1: something was dropped (counted),
 * ask again. The kernel is asked for several at a time: ask until there is nothing more. FTT_CHANNEL_ODD: it has the length of a probe of
 * the mirror, and is for those who know these (c->odd).
 */
#define FTT_CHANNEL_ODD 2
int ftt_channel_receive(struct ftt_channel *c, unsigned lanes, struct ftt_channel_header *h, const uint8_t **records, size_t *len,
			struct ftt_counters *n);
/* Sends to whom the last FTT_CHANNEL_ODD came from. */
void ftt_channel_answer(struct ftt_channel *c, const void *bytes, size_t len);

/* A text address and port as a socket address; 0 on failure, else its length. */
socklen_t ftt_sockaddr(const char *text, uint16_t port, struct sockaddr_storage *out);

#endif
