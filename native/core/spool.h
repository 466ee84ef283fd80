/* SPDX-License-Identifier: Apache-2.0 */
/*
 * spool.h - the part of a log (log.h) that is not in memory: which of its bytes are where, and what was read back of them.
 *
 * It is blocks of whole pieces, the oldest first. A block knows which part of the client's stream its pieces lie in, so who looks for a
 * byte reads no block in vain while pieces came in order. Memory, and what moves blocks, are the caller's.
 */
#ifndef FTTCP_SPOOL_CORE_H
#define FTTCP_SPOOL_CORE_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FTT_BLOCK_MAX 69632u /* bytes of a block: two of the longest pieces, in whole pages of 4 KiB */
#define FTT_BLOCK_LEAST 4096u /* a log with less in memory gives nothing away: it would be a block each */
#define FTT_SPOOL_WAITING (16u << 20) /* bytes that may wait for the disk */
#define FTT_SPILL_MOST (32u << 20) /* bytes of a log in memory while they cannot go: behind a hole, or the disk is behind */
#define FTT_SPILL_PAGES 1024u /* blocks that all logs of a worker have in memory again */
#define FTT_SPOOL_PAGES 3u   /* blocks that a log has in memory again: two for who reads out of order, one for times of lock step */

struct ftt_block {
	uint32_t at, len;   /* in the log, bytes */
	uint32_t low, high; /* of the stream: the lowest offset in it, and the one behind its last byte; the stream's end takes one */
	uint32_t slot;      /* where it is kept */
	uint32_t sum;       /* CRC-32C, begun with `at` */
};

/* A block in memory again. */
struct ftt_page {
	uint8_t *bytes; /* FTT_BLOCK_MAX; NULL: none */
	uint32_t block; /* its number + 1; 0: none */
	uint32_t used;  /* when it was looked at last, by the clock of all */
};

struct ftt_spooled {
	struct ftt_block *block;
	uint32_t n, size;
	uint32_t away;   /* bytes of the log that are in blocks alone: those behind its SYN */
	uint32_t wanted; /* number + 1 of the block that was looked for last, and was not there; 0: none */
	uint32_t clock;
	struct ftt_page page[FTT_SPOOL_PAGES];
};

/* May a block of so many bytes go, where so many wait for the disk? */
static inline bool ftt_spool_takes(uint32_t waiting, uint32_t len)
{
	return waiting + len <= FTT_SPOOL_WAITING;
}

/* Is the disk so far behind that no more should be asked for ... */
static inline bool ftt_spool_lags(uint32_t waiting)
{
	return waiting > FTT_SPOOL_WAITING / 2;
}

/* ... until it has come so near again? */
static inline bool ftt_spool_is_near(uint32_t waiting)
{
	return waiting <= FTT_SPOOL_WAITING / 4;
}

/* The page that was not looked at for longest: the next block comes there. NULL: it has no memory, and all pages of all logs are in use. */
static inline struct ftt_page *ftt_spooled_oldest(struct ftt_spooled *s, uint32_t in_use)
{
	struct ftt_page *oldest = &s->page[0];

	for (uint32_t i = 1; i < FTT_SPOOL_PAGES; i++)
		if (s->page[i].used < oldest->used)
			oldest = &s->page[i];
	return oldest->bytes || in_use < FTT_SPILL_PAGES ? oldest : NULL;
}

/* The number of the block that has this place of the log, which one of them has. */
static inline uint32_t ftt_spooled_block(const struct ftt_spooled *s, uint32_t at)
{
	uint32_t low = 0, high = s->n - 1;

	while (low < high) {
		uint32_t middle = low + (high - low + 1) / 2;

		if (s->block[middle].at <= at)
			low = middle;
		else
			high = middle - 1;
	}
	return low;
}

/* Its page; NULL: it is not in memory, and wanted from here on. */
static inline const uint8_t *ftt_spooled_page(struct ftt_spooled *s, uint32_t block)
{
	for (uint32_t i = 0; i < FTT_SPOOL_PAGES; i++)
		if (s->page[i].block == block + 1) {
			s->page[i].used = ++s->clock;
			return s->page[i].bytes;
		}
	s->wanted = block + 1;
	return NULL;
}

/* What is there from this place to the end of its block, in `room`. NULL: as above. */
static inline const uint8_t *ftt_spooled_at(struct ftt_spooled *s, uint32_t at, uint32_t *room)
{
	uint32_t block = ftt_spooled_block(s, at), skip = at - s->block[block].at;
	const uint8_t *bytes = ftt_spooled_page(s, block);

	*room = bytes ? s->block[block].len - skip : 0;
	return bytes ? bytes + skip : NULL;
}

#endif
