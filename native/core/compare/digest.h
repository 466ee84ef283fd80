/* SPDX-License-Identifier: Apache-2.0 */
/*
 * digest.h - is the output of both servers the same, and up to which byte?
 *
 * Both nodes sum what their server says: one running CRC-32C over the whole stream. When output
 * leaves, the primary tells the backup up to where, and its sum of all before (a *point*). The
 * backup sums its own output just as far, so the borders of segments do not matter, and compares. All before
 * the last point at which both sums were equal is *verified*; how far that is the COMMITs tell the primary. A lost
 * OUTPUT costs little: the sums are cumulative, and when the primary asks for a COMMIT it tells the last one again.
 *
 * The backup has to know a sum before the client may have the bytes: if the primary dies in between, nobody else can
 * tell whether they are its own. So the OUTPUT leaves before the verdict, with one exception that spares a request
 * and its answer that time. A COMMIT that acknowledges input *offers* the backup's own sum, of the answer
 * that it acknowledges with. The primary's answer waits for that COMMIT anyway; if its sum is the same, the
 * OUTPUT may follow behind. The backup counts on that, for where it were not so it would have been told before. (A
 * server that had said something else before that input, an OUTPUT that was lost, and a crash before it was
 * repeated would deceive it.)
 *
 * After a difference the backup goes on from the primary's sum: whether the streams are equal again shows at
 * the next point, and one difference counts once. A backup that is behind keeps the points that
 * it has not come to; one that is ahead keeps its own sums at the ends of its packets; from the last one before a
 * point that is told later it goes on with what it retains for a takeover.
 *
 * Offsets count from the first byte of the server's stream, modulo 2^32.
 */
#ifndef FTTCP_DIGEST_H
#define FTTCP_DIGEST_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "core/packet/mem.h"
#include "core/tcp/state.h"

#define FTT_POINTS 62u        /* that a backup keeps; the last one stands for those for which there is no room */

/* Castagnoli's polynomial (RFC 3720 B.4), of any number of pieces: ftt_crc32c(ftt_crc32c(0, a), b). */
uint32_t ftt_crc32c(uint32_t crc, const uint8_t *p, size_t n);

struct ftt_digest {
	uint32_t next; /* up to here the output is summed and, on a backup, compared */
	uint32_t seen; /* up to here it was seen; the primary sums all at once */
	uint32_t crc;  /* of all before `next` */
	bool broken;   /* bytes were not seen: what comes behind them is never verified */
};

struct ftt_point {
	uint32_t at, crc;
};

/* In order. Of the primary's output, beyond what the backup's stack has said; or `own`, beyond what the primary has told. */
struct ftt_points {
	uint32_t n;
	bool own;
	struct ftt_point point[FTT_POINTS];
};

/* Of another connection, or of another server's output: nothing is summed yet. */
static inline void ftt_digest_begin(struct ftt_digest *d)
{
	memset(d, 0, sizeof(*d));
}

/* So many bytes are new, and summed next. */
static inline void ftt_digest_sees(struct ftt_digest *d, uint32_t n)
{
	d->seen += n;
}

/* Up to the last of them the sum is this. */
static inline void ftt_digest_sums(struct ftt_digest *d, uint32_t n, uint32_t crc)
{
	d->crc = crc;
	d->next += n;
}

/* Something was not seen, or not told. True: all was before. */
static inline bool ftt_digest_breaks(struct ftt_digest *d)
{
	bool whole = !d->broken;

	d->broken = true;
	return whole;
}

/*
 * Datagrams may overtake each other, so each point is put in its place. When there is no room it is not there, unless
 * it is the last one of all, which always is.
 */
static inline void ftt_points_put(struct ftt_points *p, uint32_t at, uint32_t crc)
{
	uint32_t i = p->n;

	while (i && seq_lt(at, p->point[i - 1].at))
		i--;
	if (i && p->point[i - 1].at == at)
		return;
	if (p->n == FTT_POINTS) {
		if (i == p->n)
			p->point[p->n - 1] = (struct ftt_point){at, crc};
		return;
	}
	memmove(p->point + i + 1, p->point + i, (p->n++ - i) * sizeof(p->point[0]));
	p->point[i] = (struct ftt_point){at, crc};
}

static inline void ftt_points_pop(struct ftt_points *p)
{
	memmove(p->point, p->point + 1, --p->n * sizeof(p->point[0]));
}

/* A sequence number of the server's, service space, as an offset of its stream. */
static inline uint32_t ftt_output_offset(const struct ftt_flow *f, uint32_t seq)
{
	return seq - (f->hard.service_iss + 1);
}

static inline uint32_t ftt_output_seq(const struct ftt_flow *f, uint32_t offset)
{
	return f->hard.service_iss + 1 + offset;
}

/*
 * The backup's bytes before this one are still needed: the client has not acknowledged them, or they are not summed. (After
 * a takeover nothing is told any more, so what was told is all that is summed.)
 */
static inline uint32_t ftt_output_needed(const struct ftt_flow *f, const struct ftt_digest *d)
{
	uint32_t summed = ftt_output_seq(f, d->next);
	bool sums = f->bits & FTT_F_SUMS && !d->broken && (!(f->bits & FTT_F_TAKEN) || f->bits & FTT_F_UNVERIFIED);

	return sums ? seq_min(f->client_acked, summed) : f->client_acked;
}

#endif
