/* SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include "engine/planes/model/plane_model.h"
#include <stdlib.h>

static void close_it(struct ftt_plane *p)
{
	(void)p;
}

static int receive(struct ftt_plane *p, unsigned lane, bool *full)
{
	(void)p, (void)lane, (void)full;
	abort(); /* tests hand packets to the flows themselves */
}

static bool next(struct ftt_plane *p, unsigned lane, struct ftt_packet *k)
{
	(void)p, (void)lane, (void)k;
	abort();
}

static void look(struct ftt_plane *p, uint32_t in, uint32_t out)
{
	(void)p, (void)in, (void)out;
	abort();
}

static void verdict(struct ftt_plane *p, uint16_t queue, uint32_t id, bool accept, const uint8_t *bytes, uint32_t len)
{
	(void)p, (void)queue, (void)id, (void)accept, (void)bytes, (void)len;
	abort();
}

static void stamp(struct ftt_plane *p, uint16_t queue, uint32_t id, uint32_t ack, uint32_t tsecr)
{
	(void)p, (void)queue, (void)id, (void)ack, (void)tsecr;
	abort();
}

static void by_id(struct ftt_plane *p, uint16_t queue, uint32_t id)
{
	(void)p, (void)queue, (void)id;
	abort();
}

static unsigned gathered(struct ftt_plane *p, unsigned lane)
{
	(void)p, (void)lane;
	abort();
}

static void bare(struct ftt_plane *p, const struct ftt_bare *b, bool to_client)
{
	uint8_t bytes[FTT_BARE_MAX];
	size_t len = ftt_build_bare(bytes, b);

	if (to_client)
		p->does->now(p, bytes, len, true);
	else
		p->does->small(p, bytes, len);
}

static void small(struct ftt_plane *p, const uint8_t *packet, size_t len)
{
	(void)p, (void)packet, (void)len;
	abort();
}

static int now(struct ftt_plane *p, const uint8_t *packet, size_t len, bool to_client)
{
	(void)p, (void)packet, (void)len, (void)to_client;
	abort();
}

static void nothing(struct ftt_plane *p)
{
	(void)p; /* nothing is gathered: it has been given */
}

static void count(struct ftt_plane *p, struct ftt_counters *n)
{
	(void)p, (void)n;
	abort();
}

const struct ftt_plane_ops plane_model = {
	.close = close_it, .receive = receive, .next = next, .look = look, .verdict = verdict, .stamp = stamp, .again = by_id,
	.to_next = by_id, .gathered = gathered, .flush = nothing, .bare = bare, .small = small, .now = now, .send = nothing,
	.count = count,
};
