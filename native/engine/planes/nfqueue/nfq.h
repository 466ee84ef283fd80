/* SPDX-License-Identifier: Apache-2.0 */
/*
 * nfq.h - two NFQUEUE queues, of either direction, on one netlink socket: packets in, verdicts out.
 *
 * Packets are received many at a time into slots that stay valid until the next receive, so that
 * a packet can be edited in place and given back without a copy of ours. Verdicts are gathered
 * and sent together; they are single verdicts, for a batch verdict would cover held packets too.
 */
#ifndef FTTCP_NFQ_H
#define FTTCP_NFQ_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include "engine/planes/plane.h"

#define FTT_NFQ_SLOTS 32
#define FTT_NFQ_BATCH 128
#define FTT_NFQ_BATCH_BYTES (4u << 20)
#define FTT_NFQ_HOT (256u << 10) /* bytes that one receive brings, about: they should be in the cache when they are read */

struct ftt_nfq_verdict {
	uint8_t head[48];
	bool emits; /* lets a packet of the outgoing queue go */
};

enum { FTT_NFQ_IN, FTT_NFQ_OUT };

struct ftt_nfq {
	struct ftt_plane_owner owner;
	int fd;
	uint32_t portid;
	uint16_t queue[2]; /* FTT_NFQ_IN, FTT_NFQ_OUT */
	uint32_t copy_range[2]; /* as the kernel was told, of either queue */
	uint8_t *slots;
	struct mmsghdr msgs[FTT_NFQ_SLOTS];
	struct iovec iov_in[FTT_NFQ_SLOTS];
	int received, taken;
	int at_once; /* slots that the next receive may fill */
	struct ftt_nfq_verdict verdict[FTT_NFQ_BATCH];
	struct iovec iov_out[3 * FTT_NFQ_BATCH];
	bool carries; /* a verdict of the batch refers to the bytes of its packet */
	unsigned n_verdicts, n_iov;
	size_t out_bytes;
	uint64_t batches, verdicts, overruns, revoked;
};

/* Binds both queues (creating them); -1 with a sentence in err. maxlen: packets the kernel may queue. */
int ftt_nfq_open(struct ftt_nfq *q, struct ftt_plane_owner owner, uint16_t queue_in, uint16_t queue_out, uint32_t maxlen,
		 char *err, size_t err_len);
void ftt_nfq_close(struct ftt_nfq *q);
/* Is this one of its queues? */
static inline bool ftt_nfq_has(const struct ftt_nfq *q, uint16_t queue)
{
	return queue == q->queue[FTT_NFQ_IN] || queue == q->queue[FTT_NFQ_OUT];
}
/* How many bytes of each packet are copied from now on, per queue: FTT_PLANE_HEADERS or FTT_PLANE_WHOLE. */
int ftt_nfq_copy_range(struct ftt_nfq *q, uint32_t in, uint32_t out);
/* Fetches what is there without waiting; the number of messages, 0 for none, -1 (errno) for trouble. */
int ftt_nfq_receive(struct ftt_nfq *q);
/* Next packet of what was received; false when there is no more. */
bool ftt_nfq_next(struct ftt_nfq *q, struct ftt_packet *p);
/* Gathers a verdict; bytes != NULL replaces the packet and must stay valid until the flush. */
void ftt_nfq_verdict(struct ftt_nfq *q, uint16_t queue, uint32_t id, bool accept, const uint8_t *bytes, uint32_t len);
/* Lets a packet in whose header the kernel is to edit: see stamp.h. `ack` 0: it stays as it is. */
void ftt_nfq_stamp(struct ftt_nfq *q, uint16_t queue, uint32_t id, uint32_t ack, uint32_t tsecr);
/* Has a packet of the incoming queue, of which only the headers were copied, queued once more: whole, as all from now on. */
void ftt_nfq_again(struct ftt_nfq *q, uint16_t queue, uint32_t id);
/* Gives the packet to another queue, behind what waits there. */
void ftt_nfq_requeue(struct ftt_nfq *q, uint16_t queue, uint32_t id, uint16_t to);
void ftt_nfq_flush(struct ftt_nfq *q);
#endif
