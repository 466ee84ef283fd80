/* SPDX-License-Identifier: Apache-2.0 */
/* retain.h - a backup's output, for a takeover; see retain.c. */
#ifndef FTTCP_ENGINE_RETAIN_H
#define FTTCP_ENGINE_RETAIN_H
#include "engine/worker.h"

void ftt_retain_output(struct ftt_worker *w, struct ftt_tcp *c, const struct ftt_packet *p, const struct ftt_pkt *k,
		       const struct ftt_seg *s);
/* What the client has is dropped; after a takeover more is sent. `s`: the segment that told, or NULL. */
void ftt_retain_acked(struct ftt_worker *w, struct ftt_tcp *c, const struct ftt_seg *s, uint64_t now_ns);
/* A takeover: begins to send. */
void ftt_retain_release(struct ftt_worker *w, struct ftt_tcp *c, uint64_t now_ns);
void ftt_retain_tick(struct ftt_worker *w, struct ftt_tcp *c, uint64_t now_ns);
/* The stack repairs by itself. */
void ftt_retain_stop(struct ftt_worker *w, struct ftt_tcp *c);
void ftt_retain_drop(struct ftt_worker *w, struct ftt_tcp *c);

#endif
