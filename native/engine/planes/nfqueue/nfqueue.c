/* SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include "engine/planes/nfqueue/nfqueue.h"
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include "engine/planes/emit.h"
#include "engine/planes/nfqueue/nfq.h"

#define SYNS 4096u /* that wait at most, and as many answers to them */

struct nfqueue {
	struct ftt_plane_raw raw;
	struct ftt_nfq nfq[FTT_PLANE_LANES];
};

static struct nfqueue *of(struct ftt_plane *p)
{
	return (struct nfqueue *)p; /* its first member */
}

/* The socket from which a packet of this queue came. */
static struct ftt_nfq *socket_of(struct ftt_plane *p, uint16_t queue)
{
	struct ftt_nfq *handshakes = &of(p)->nfq[FTT_LANE_HANDSHAKES];

	return ftt_nfq_has(handshakes, queue) ? handshakes : &of(p)->nfq[FTT_LANE_FLOWS];
}

static void close_it(struct ftt_plane *p)
{
	ftt_nfq_close(&of(p)->nfq[FTT_LANE_HANDSHAKES]);
	ftt_nfq_close(&of(p)->nfq[FTT_LANE_FLOWS]); /* closing drops what the queues still hold */
	ftt_emit_close(&of(p)->raw.emit);
	free(p);
}

static int receive(struct ftt_plane *p, unsigned lane, bool *full)
{
	struct ftt_nfq *q = &of(p)->nfq[lane];
	int room = q->at_once, n = ftt_nfq_receive(q);

	*full = n == room;
	return n;
}

static bool next(struct ftt_plane *p, unsigned lane, struct ftt_packet *k)
{
	return ftt_nfq_next(&of(p)->nfq[lane], k);
}

static void look(struct ftt_plane *p, uint32_t in, uint32_t out)
{
	ftt_nfq_copy_range(&of(p)->nfq[FTT_LANE_FLOWS], in, out); /* handshakes are short */
}

static void verdict(struct ftt_plane *p, uint16_t queue, uint32_t id, bool accept, const uint8_t *bytes, uint32_t len)
{
	ftt_nfq_verdict(socket_of(p, queue), queue, id, accept, bytes, len);
}

static void stamp(struct ftt_plane *p, uint16_t queue, uint32_t id, uint32_t ack, uint32_t tsecr)
{
	ftt_nfq_stamp(socket_of(p, queue), queue, id, ack, tsecr);
}

static void again(struct ftt_plane *p, uint16_t queue, uint32_t id)
{
	ftt_nfq_again(socket_of(p, queue), queue, id);
}

static void to_next(struct ftt_plane *p, uint16_t queue, uint32_t id)
{
	ftt_nfq_requeue(socket_of(p, queue), queue, id, (uint16_t)(queue + 1));
}

static unsigned gathered(struct ftt_plane *p, unsigned lane)
{
	const struct ftt_nfq *q = &of(p)->nfq[lane];

	return q->carries ? UINT_MAX : q->n_verdicts;
}

static void flush(struct ftt_plane *p)
{
	ftt_nfq_flush(&of(p)->nfq[FTT_LANE_FLOWS]);
	ftt_nfq_flush(&of(p)->nfq[FTT_LANE_HANDSHAKES]);
}

static void count(struct ftt_plane *p, struct ftt_counters *n)
{
	for (unsigned lane = 0; lane < FTT_PLANE_LANES; lane++) {
		const struct ftt_nfq *q = &of(p)->nfq[lane];

		n->verdict_batches += q->batches;
		n->verdicts += q->verdicts;
		n->queue_overruns += q->overruns;
		n->drop_lease += q->revoked;
	}
	ftt_raw_count(p, n);
}

static const struct ftt_plane_ops does = {
	.close = close_it, .receive = receive, .next = next, .look = look, .verdict = verdict, .stamp = stamp, .again = again,
	.to_next = to_next, .gathered = gathered, .flush = flush, .bare = ftt_raw_bare, .small = ftt_raw_small, .now = ftt_raw_now,
	.send = ftt_raw_send, .count = count,
};

/* The worker's queues among those from `first` on. */
static int open_queues(struct nfqueue *n, unsigned lane, const struct ftt_config *cfg, unsigned first, uint32_t maxlen,
		       struct ftt_plane_owner owner, char *err, size_t err_len)
{
	int rc = ftt_nfq_open(&n->nfq[lane], owner, (uint16_t)(cfg->queue_in + first), (uint16_t)(cfg->queue_out + first), maxlen,
			      err, err_len);

	n->raw.plane.fd[lane] = n->nfq[lane].fd;
	return rc;
}

struct ftt_plane *ftt_nfqueue_open(const struct ftt_config *cfg, unsigned index, struct ftt_plane_owner owner, char *err,
				   size_t err_len)
{
	struct nfqueue *n = calloc(1, sizeof(*n));
	uint32_t syns = cfg->queue_maxlen < SYNS ? cfg->queue_maxlen : SYNS;

	if (!n) {
		snprintf(err, err_len, "worker %u: out of memory", index);
		return NULL;
	}
	n->raw.plane.does = &does;
	n->raw.plane.can = FTT_PLANE_HOLDS;
	n->raw.emit.fd4 = n->raw.emit.fd6 = -1;
	if (!open_queues(n, FTT_LANE_FLOWS, cfg, index, cfg->queue_maxlen, owner, err, err_len) &&
	    !open_queues(n, FTT_LANE_HANDSHAKES, cfg, FTT_HANDSHAKE_QUEUES + index, syns, owner, err, err_len) &&
	    !ftt_emit_open(&n->raw.emit, owner.shared, cfg->mark, err, err_len))
		return &n->raw.plane;
	close_it(&n->raw.plane);
	return NULL;
}
