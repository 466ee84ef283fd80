/* SPDX-License-Identifier: Apache-2.0 */
/*
 * model.h - a client, two servers and the networks between them, in simulated time.
 *
 * The two nodes run the engine's own tcp.c, role.c and what they need; kernels are small models
 * of TCP that keep the rules of Linux on which a takeover depends: an acknowledgement of what was
 * never sent is thrown away with its segment, timestamps are checked (PAWS), a window does not
 * shrink, a segment for no connection is answered with a reset. Queue, channel and raw sockets are
 * replaced by model_node.c. Every byte of both streams is known beforehand, so each receiver
 * checks what it gets; one number, the seed, decides everything else.
 */
#ifndef FTTCP_MODEL_H
#define FTTCP_MODEL_H
#include <stdbool.h>
#include <stdint.h>
#include "check.h"
#include "core/packet/parse.h"
#include "core/tcp/seq.h"

#define MS 1000000ull
#define MODEL_MSS 100u
#define MODEL_STREAM_MAX 20000u
#define MODEL_BURST_MAX 8u /* segments in one packet of a stack's */

extern uint64_t model_seed, model_now; /* of the present run; now in ns */

#define MODEL_CHECK(condition, ...) \
	do { \
		if (!(condition)) { \
			fprintf(stderr, "%s:%d: seed %llu at %llu us: not true: %s: ", __FILE__, __LINE__, \
				(unsigned long long)model_seed, (unsigned long long)model_now / 1000, #condition); \
			fprintf(stderr, __VA_ARGS__); \
			fputc('\n', stderr); \
			exit(1); \
		} \
	} while (0)

struct stack;

/* --- chance ---------------------------------------------------------------------------------- */

uint32_t model_random(uint32_t below); /* 0 .. below - 1 */
bool model_chance(uint32_t per_mille);

/* For worlds with a seed (xorshift64*): the next number of a state that is not 0. */
static inline uint32_t model_draw(uint64_t *state, uint32_t below)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return (uint32_t)((*state * 0x2545f4914f6cdd1dull >> 32) * below >> 32);
}

uint8_t model_byte(const struct stack *sender, uint32_t offset); /* what it says there */
/* Is this a byte that the receiver may be given, behind what it has? */
bool model_is_right(const struct stack *receiver, uint32_t offset, uint8_t byte);

/* --- a packet ----------------------------------------------------------------------------------- */

struct wire {
	struct wire *next;
	uint64_t at; /* when it arrives */
	uint32_t id, len;
	uint8_t bytes[];
};

struct wire *wire_new(const uint8_t *bytes, uint32_t len);

struct wire_queue {
	struct wire *first, **tail;
};

void wire_push(struct wire_queue *q, struct wire *w);
struct wire *wire_pop(struct wire_queue *q);
void wire_clear(struct wire_queue *q);

/* --- an endpoint ---------------------------------------------------------------------------------- */

enum stack_state { STACK_LISTEN, STACK_SYN_SENT, STACK_SYN_RCVD, STACK_OPEN, STACK_RESET };

/* Numbers are 64-bit offsets from the ISS (the SYN is 0, data starts at 1) unless they say seq. */
struct stack {
	bool client;
	enum stack_state state;
	uint16_t port, peer_port;
	uint8_t family;
	bool minds_ports; /* what comes for others is answered as for no connection */
	uint32_t iss, irs, ts_offset;
	uint8_t wscale, peer_wscale;
	bool sack; /* of the handshake: both, or none */
	uint64_t rto_min;
	void (*send)(struct stack *s, struct wire *w); /* takes the packet */
	void (*over)(struct stack *s);                 /* NULL, or told of a reset: it may begin another connection */
	void *owner;
	const struct stack *peer; /* NULL, or who must have what is said to have been received */

	uint64_t snd_una, snd_nxt, snd_max, snd_edge; /* snd_max: end of the furthest segment sent */
	uint64_t written, to_write; /* bytes that the application gave, and will give in all */
	bool fin_written;
	uint32_t cwnd, cwnd_max; /* segments */
	uint32_t burst;          /* ... in one packet, at most */
	uint32_t duplicates;     /* acknowledgements since snd_una moved */
	uint64_t fast_retransmits;
	uint64_t rto, rto_at;    /* rto_at 0: no timer */

	uint64_t rcv_nxt, rcv_edge, read; /* read: bytes that the application took */
	uint32_t rcvbuf, fin_at;          /* fin_at: offset of the peer's FIN, 0 unknown */
	bool got[MODEL_STREAM_MAX + 2];   /* by offset, beyond rcv_nxt */
	bool got_fin;
	uint32_t ts_recent;
	uint64_t discarded_unsent; /* segments thrown away for acknowledging what was not sent */
};

void stack_init(struct stack *s, bool client, uint8_t family);
void stack_connect(struct stack *s);
void stack_receive(struct stack *s, const struct wire *w);
void stack_write(struct stack *s, uint64_t upto, bool fin); /* the application wrote so much in all */
void stack_read(struct stack *s, uint64_t upto);
void stack_tick(struct stack *s);
void stack_keep_alive(struct stack *s); /* is the peer there? (RFC 9293 3.8.4) */
static inline uint64_t stack_received(const struct stack *s) /* bytes in order, without SYN and FIN */
{
	return s->rcv_nxt ? s->rcv_nxt - 1 - s->got_fin : 0;
}

#endif
