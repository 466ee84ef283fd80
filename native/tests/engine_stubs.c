/* SPDX-License-Identifier: Apache-2.0 */
/* engine_stubs.c - what stands for nfq.c, emit.c and the worker wherever TCP is driven without a kernel. */
#define _GNU_SOURCE
#include <stdlib.h>
#include "engine/planes/nfqueue/emit.h"
#include "engine/liveness/mirror.h"
#include "engine/planes/nfqueue/nfq.h"
#include "engine/worker.h"

void ftt_nfq_stamp(struct ftt_nfq *q, uint16_t queue, uint32_t id, uint32_t ack, uint32_t tsecr)
{
	(void)q;
	(void)queue;
	(void)id;
	(void)ack;
	(void)tsecr;
	abort(); /* every packet is whole here */
}

void ftt_nfq_again(struct ftt_nfq *q, uint16_t queue, uint32_t id)
{
	(void)q;
	(void)queue;
	(void)id;
	abort();
}

bool ftt_mirror_datagram(struct ftt_engine *e, struct ftt_channel *c)
{
	(void)e;
	(void)c;
	abort(); /* nobody probes */
}

void ftt_emit_flush(struct ftt_emit *m)
{
	m->n = 0;
}

void ftt_emit_bare(struct ftt_emit *m, const struct ftt_bare *b, bool to_client)
{
	uint8_t bytes[FTT_BARE_MAX];
	size_t len = ftt_build_bare(bytes, b);

	if (to_client)
		ftt_emit_now(m, bytes, len, true);
	else
		ftt_emit_small(m, bytes, len);
	m->n++; /* how many there are since the last flush is all that is kept */
}
