/* SPDX-License-Identifier: Apache-2.0 */
/*
 * emit.h - packets of our own: into the local stack as if they came from the client, and out to
 * the client as if they came from the stack. Both leave through raw sockets with the engine's
 * mark, by which our own rules know them. What goes to a client leaves only under the lease,
 * asked at the last moment.
 */
#ifndef FTTCP_EMIT_H
#define FTTCP_EMIT_H
#include <netinet/in.h>
#include <stdint.h>
#include <sys/socket.h>
#include "engine/engine.h"
#include "core/records/record.h"
#include "core/tcp/rewrite.h"
#include "engine/planes/plane.h"

#define FTT_EMIT_BATCH 64

struct ftt_emit {
	const struct ftt_shared *shared;
	int fd4, fd6;
	struct {
		uint8_t bytes[FTT_SYN_MAX];
		size_t len;
		bool to_client;
	} packet[FTT_EMIT_BATCH];
	unsigned n;
	uint64_t sent, failed, revoked;
};

int ftt_emit_open(struct ftt_emit *m, const struct ftt_shared *shared, uint32_t mark, char *err, size_t err_len);
void ftt_emit_close(struct ftt_emit *m);
/* Queues a segment without payload; it leaves with the next flush. */
void ftt_emit_bare(struct ftt_emit *m, const struct ftt_bare *b, bool to_client);
/* Queues a whole small packet (up to FTT_SYN_MAX bytes) for the local stack. */
void ftt_emit_small(struct ftt_emit *m, const uint8_t *packet, size_t len);
/* Sends a packet of any size at once (what was queued leaves first); 0 or -1. */
int ftt_emit_now(struct ftt_emit *m, const uint8_t *packet, size_t len, bool to_client);
void ftt_emit_flush(struct ftt_emit *m);

/* What a plane begins with whose packets of our own leave in this way, and those of its functions that they are. */
struct ftt_plane_raw {
	struct ftt_plane plane;
	struct ftt_emit emit;
};

void ftt_raw_bare(struct ftt_plane *p, const struct ftt_bare *b, bool to_client);
void ftt_raw_small(struct ftt_plane *p, const uint8_t *packet, size_t len);
int ftt_raw_now(struct ftt_plane *p, const uint8_t *packet, size_t len, bool to_client);
void ftt_raw_send(struct ftt_plane *p);
void ftt_raw_count(struct ftt_plane *p, struct ftt_counters *n);

#endif
