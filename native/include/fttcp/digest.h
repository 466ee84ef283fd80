/* SPDX-License-Identifier: Apache-2.0 */
/*
 * digest.h - is the output of both servers the same, and up to which byte?
 *
 * Both nodes sum what their server says: one running CRC-32C over the whole stream. Before any of
 * it leaves, the primary tells the backup how far it has come and its sum up to there (a *point*). The
 * backup sums its own output just as far, so the borders of segments do not matter, and compares. All before
 * the last point at which both sums were equal is *verified*; how far that is the COMMITs tell the primary.
 *
 * There is a point at the end of each packet and one after each segment of it, so a difference shows near its place.
 *
 * A lost OUTPUT costs little: the primary keeps the points that are not verified, and tells them again when it asks
 * for a COMMIT.
 *
 * After a difference the backup goes on from the primary's sum: whether the streams are equal again shows at
 * the next point, and one difference counts once. A backup that is behind keeps the points that
 * it has not come to; one that is ahead sums later, out of what it retains for a takeover.
 *
 * Offsets count from the first byte of the server's stream, modulo 2^32.
 */
#ifndef FTTCP_DIGEST_H
#define FTTCP_DIGEST_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include "fttcp/state.h"

#define FTT_POINTS 8u        /* for which there is room at first ... */
#define FTT_POINTS_MAX 8192u /* ... and at most; the last one stands for those before it */
#define FTT_TOLD_AGAIN 64u   /* that are told again at once, when the backup seems to lack some */

/* Castagnoli's polynomial (RFC 3720 B.4), of any number of pieces: ftt_crc32c(ftt_crc32c(0, a), b). */
uint32_t ftt_crc32c(uint32_t crc, const uint8_t *p, size_t n);

struct ftt_digest {
	uint32_t next; /* up to here the output is summed */
	uint32_t seen; /* up to here it was seen; the primary sums all at once */
	uint32_t crc;  /* of all before `next` */
	bool broken;   /* bytes were not seen: what comes behind them is never verified */
};

struct ftt_point {
	uint32_t at, crc;
};

/* Points in order. Backup: beyond what its own stack has said. Primary: beyond what the backup has verified. */
struct ftt_points {
	uint32_t n, size;
	struct ftt_point point[];
};

/*
 * Datagrams may overtake each other, so each point is put in its place. False when there is no room: then it is not
 * there, unless it is the last one of all, which always is.
 */
static inline bool ftt_points_put(struct ftt_points *p, uint32_t at, uint32_t crc)
{
	uint32_t i = p->n;
	bool room = p->n < p->size;

	while (i && seq_lt(at, p->point[i - 1].at))
		i--;
	if (i && p->point[i - 1].at == at)
		return true;
	if (!room) {
		if (i == p->n)
			p->point[p->n - 1] = (struct ftt_point){at, crc};
		return false;
	}
	memmove(p->point + i + 1, p->point + i, (p->n++ - i) * sizeof(p->point[0]));
	p->point[i] = (struct ftt_point){at, crc};
	return true;
}

/* Those up to `at` are needed no more: the last of them all will say the same. */
static inline void ftt_points_prune(struct ftt_points *p, uint32_t at)
{
	uint32_t gone = 0;

	while (gone + 1 < p->n && seq_leq(p->point[gone].at, at))
		gone++;
	p->n -= gone;
	memmove(p->point, p->point + gone, p->n * sizeof(p->point[0]));
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
