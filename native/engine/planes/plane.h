/* SPDX-License-Identifier: Apache-2.0 */
/*
 * plane.h - what a data plane can do: all that a worker and its flows know of what moves packets.
 *
 * Packets wait in the plane until there is a verdict on them; held ones have theirs later, where it can hold. Verdicts are gathered, and
 * leave by ftt_plane_flush(). The lease is asked once more then: they were decided when their packets were read, and
 * the process may have been stopped since (SIGSTOP, a paused machine). So it is for packets of our own to a client.
 *
 * Planes: nfqueue (the kernel's queues), python (the programmable engine's), and in tests one without a kernel.
 */
#ifndef FTTCP_PLANE_H
#define FTTCP_PLANE_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "core/tcp/rewrite.h"
#include "engine/engine.h"

#define FTT_PLANE_HEADERS 128u /* IP and TCP headers with all options */
#define FTT_PLANE_WHOLE 65531u /* any packet: the largest copy, linux/netfilter/nfnetlink_queue.h */

/* What not every plane can do. */
enum ftt_plane_can {
	FTT_PLANE_STAMPS = 1, /* write two numbers into the header of a long packet of the mirror: see stamp.h */
	FTT_PLANE_HOLDS = 2,  /* keep a packet until there is a verdict on it. Else that has to be given at once: see unheld.h. UDP needs it */
};

/* Where packets wait: a flood of SYNs delays and displaces nothing else. */
enum ftt_plane_lane { FTT_LANE_FLOWS, FTT_LANE_HANDSHAKES, FTT_PLANE_LANES };

struct ftt_packet {
	uint32_t id;        /* with the queue: which it is, for the plane */
	uint16_t queue;
	bool from_client;   /* else of our stack */
	bool csum_ready;    /* the L4 checksum in the bytes is a real one */
	bool csum_unknown;  /* nobody has verified it yet */
	uint32_t in_index;  /* interface on which it came; 0: none */
	uint8_t *bytes;     /* from the IP header; the plane's, until the next ones are received */
	uint32_t cap, len;  /* bytes there, bytes in all */
};

/* Who has the plane. */
struct ftt_plane_owner {
	const struct ftt_shared *shared; /* whose lease is asked */
	void (*make_room)(void *of);     /* asked for when the batch is full: flushes, with what has to be told before */
	void (*hear)(void *of, uint8_t from, const uint8_t *record, size_t len); /* a record that the plane has kept back */
	void *of;
};

struct ftt_plane;

struct ftt_plane_ops {
	void (*close)(struct ftt_plane *p);
	int (*receive)(struct ftt_plane *p, unsigned lane, bool *full);
	bool (*next)(struct ftt_plane *p, unsigned lane, struct ftt_packet *k);
	void (*look)(struct ftt_plane *p, uint32_t in, uint32_t out);
	void (*verdict)(struct ftt_plane *p, uint16_t queue, uint32_t id, bool accept, const uint8_t *bytes, uint32_t len);
	void (*stamp)(struct ftt_plane *p, uint16_t queue, uint32_t id, uint32_t ack, uint32_t tsecr);
	void (*again)(struct ftt_plane *p, uint16_t queue, uint32_t id);
	void (*to_next)(struct ftt_plane *p, uint16_t queue, uint32_t id);
	unsigned (*gathered)(struct ftt_plane *p, unsigned lane);
	void (*flush)(struct ftt_plane *p);
	void (*bare)(struct ftt_plane *p, const struct ftt_bare *b, bool to_client);
	void (*small)(struct ftt_plane *p, const uint8_t *packet, size_t len);
	int (*now)(struct ftt_plane *p, const uint8_t *packet, size_t len, bool to_client);
	void (*send)(struct ftt_plane *p);
	void (*count)(struct ftt_plane *p, struct ftt_counters *n);
	bool (*hear)(struct ftt_plane *p, uint8_t from, const uint8_t *record, size_t len); /* NULL: it does not ask for records */
	bool (*tell)(struct ftt_plane *p, uint8_t to, const uint8_t *record, size_t len);
};

struct ftt_plane {
	const struct ftt_plane_ops *does;
	uint32_t can; /* enum ftt_plane_can */
	int fd[FTT_PLANE_LANES]; /* readable when packets wait there */
};

/* The plane that the configuration asks for, of the worker of that index. NULL with a sentence in err. */
struct ftt_plane *ftt_plane_open(const struct ftt_config *cfg, unsigned index, struct ftt_plane_owner owner, char *err,
				 size_t err_len);

/* Packets that wait are dropped, those that come find nobody: fail closed. NULL is allowed. */
static inline void ftt_plane_close(struct ftt_plane *p)
{
	if (p)
		p->does->close(p);
}

/* --- packets that come ------------------------------------------------------------------------------ */

/* Fetches what is there without waiting: how many, -1 (errno) for trouble. Full: there may be more. */
static inline int ftt_plane_receive(struct ftt_plane *p, unsigned lane, bool *full)
{
	return p->does->receive(p, lane, full);
}

/* The next packet of what was received; false when there is no more. */
static inline bool ftt_plane_next(struct ftt_plane *p, unsigned lane, struct ftt_packet *k)
{
	return p->does->next(p, lane, k);
}

/* How much of each long packet is wanted from now on, FTT_PLANE_HEADERS or FTT_PLANE_WHOLE: of clients', of our stack's. */
static inline void ftt_plane_look(struct ftt_plane *p, uint32_t in, uint32_t out)
{
	p->does->look(p, in, out);
}

/* --- what becomes of them ----------------------------------------------------------------------------- */

/* Lets a packet go or drops it; bytes != NULL replaces it, and must stay valid until the flush. */
static inline void ftt_plane_verdict(struct ftt_plane *p, uint16_t queue, uint32_t id, bool accept, const uint8_t *bytes,
				     uint32_t len)
{
	p->does->verdict(p, queue, id, accept, bytes, len);
}

/* Lets a packet go in whose header the plane is to edit (FTT_PLANE_STAMPS). `ack` 0: it stays as it is. */
static inline void ftt_plane_stamp(struct ftt_plane *p, uint16_t queue, uint32_t id, uint32_t ack, uint32_t tsecr)
{
	p->does->stamp(p, queue, id, ack, tsecr);
}

/* Has a client's packet that came as headers only come once more: whole, as all from now on. */
static inline void ftt_plane_again(struct ftt_plane *p, uint16_t queue, uint32_t id)
{
	p->does->again(p, queue, id);
}

/* Gives a packet to the next worker, behind what waits there. */
static inline void ftt_plane_to_next(struct ftt_plane *p, uint16_t queue, uint32_t id)
{
	p->does->to_next(p, queue, id);
}

/* How many verdicts wait for company; as many as can be, if one of them refers to the bytes of its packet. */
static inline unsigned ftt_plane_gathered(struct ftt_plane *p, unsigned lane)
{
	return p->does->gathered(p, lane);
}

/* All verdicts leave. */
static inline void ftt_plane_flush(struct ftt_plane *p)
{
	p->does->flush(p);
}

/* --- packets of our own --------------------------------------------------------------------------------- */

/* Queues a segment without payload, for our stack or for the client. */
static inline void ftt_plane_bare(struct ftt_plane *p, const struct ftt_bare *b, bool to_client)
{
	p->does->bare(p, b, to_client);
}

/* Queues a whole small packet (up to FTT_SYN_MAX bytes) for our stack. */
static inline void ftt_plane_small(struct ftt_plane *p, const uint8_t *packet, size_t len)
{
	p->does->small(p, packet, len);
}

/* Sends a packet of any size at once (what was queued leaves first); 0 or -1. */
static inline int ftt_plane_now(struct ftt_plane *p, const uint8_t *packet, size_t len, bool to_client)
{
	return p->does->now(p, packet, len, to_client);
}

/* What was queued leaves. */
static inline void ftt_plane_send(struct ftt_plane *p)
{
	p->does->send(p);
}

/* --- records of the commit channel, for a plane that is to see them ---------------------------------------- */

/* A record that a worker of the other node has told. False: it is as if it had not come; the owner may be given it later. */
static inline bool ftt_plane_hear(struct ftt_plane *p, uint8_t from, const uint8_t *record, size_t len)
{
	return !p->does->hear || p->does->hear(p, from, record, len);
}

/* A record that is to be told to that worker. False: it is as if it were lost. */
static inline bool ftt_plane_tell(struct ftt_plane *p, uint8_t to, const uint8_t *record, size_t len)
{
	return !p->does->tell || p->does->tell(p, to, record, len);
}

/* --- for people ------------------------------------------------------------------------------------------- */

static inline void ftt_plane_count(struct ftt_plane *p, struct ftt_counters *n)
{
	p->does->count(p, n);
}

#endif
