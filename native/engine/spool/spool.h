/* SPDX-License-Identifier: Apache-2.0 */
/*
 * spool.h - the file in which a worker's flows keep what of their logs (core/spool.h) is too much for memory.
 *
 * The file has no name: nobody else opens it, and it goes with its process, however that ends. It has slots of FTT_BLOCK_MAX bytes, one for
 * each block. A thread of its own reads and writes, in the order of the orders; the worker, which owns all that is in memory, is told, and
 * never waits. What lies in a slot is believed only with the sum that the worker has kept.
 */
#ifndef FTTCP_ENGINE_SPOOL_H
#define FTTCP_ENGINE_SPOOL_H
#include <stddef.h>
#include <stdint.h>
#include "core/spool.h"

enum ftt_spool_kind {
	FTT_SPOOL_WRITE, /* bytes, len, sum as begun */
	FTT_SPOOL_READ,  /* the same, of a block that was written */
	FTT_SPOOL_FREE   /* slot, n_slots: nobody needs them */
};

/* An order. The memory of all that it points to is whose it was; nobody touches it until the order is done. */
struct ftt_spool_order {
	struct ftt_spool_order *next;
	void *of;       /* the user's */
	uint8_t *bytes;
	uint32_t *slots; /* of FREE */
	uint32_t n_slots;
	uint32_t slot, len;
	uint32_t sum;   /* CRC-32C: what it begins with, then that of all bytes */
	uint32_t block; /* the user's */
	int error;      /* when it is done: 0, or errno; ENODATA: the file ends before */
	uint8_t kind;   /* enum ftt_spool_kind */
};

struct ftt_spool;

/*
 * Makes the file, in a directory that is made if it is not there; told(of) is called by the thread when something is done.
 * NULL with errno; EOPNOTSUPP: files without names are none on that file system.
 */
struct ftt_spool *ftt_spool_open(const char *directory, void (*told)(void *of), void *of);
/* Ends the thread. All orders are returned, for their memory, as by ftt_spool_done(); what was not begun is not carried out. */
struct ftt_spool_order *ftt_spool_close(struct ftt_spool *s);
/* Worker: a slot for a block, within this many bytes of the file; UINT32_MAX: there is none, or no memory. */
uint32_t ftt_spool_slot(struct ftt_spool *s, uint64_t most);
/* Worker: an order. */
void ftt_spool_put(struct ftt_spool *s, struct ftt_spool_order *o);
/* Worker: all that is done, in its order; slots that were freed are free. */
struct ftt_spool_order *ftt_spool_done(struct ftt_spool *s);
/* Worker: bytes that are in use, in whole slots; that wait to be written. */
uint64_t ftt_spool_bytes(const struct ftt_spool *s);
uint32_t ftt_spool_waiting(const struct ftt_spool *s);

#endif
