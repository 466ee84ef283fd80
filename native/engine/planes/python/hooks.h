/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hooks.h - a data plane of functions that another program gives: see python.h. cffi reads this very file.
 *
 * They are called in the worker's thread, one at a time, while nobody else looks at its flows.
 */
#ifndef FTTCP_HOOKS_H
#define FTTCP_HOOKS_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct ftt_fate {
	uint32_t id;          /* as it was handed over */
	bool accept;          /* else it is dropped */
	bool emits;           /* ... and is one of our stack's */
	const uint8_t *bytes; /* what it is now; NULL: as it was handed over */
	uint32_t len;
};

struct ftt_hooks {
	int fd[2][2]; /* of each lane (see plane.h) two, readable when packets wait there */
	void *of;
	/* Hands over what waits in a lane, by ftt_hand_over(), in this mode (enum ftt_mode). Returns when it wants to be asked again
	 * for the first lane although nothing comes (0: not at all), or a negative errno. */
	int64_t (*take)(void *of, uint32_t lane, uint32_t mode, void *basket);
	/* What becomes of packets. The lease allows what emits, now: who takes long asks for it again. */
	void (*give)(void *of, const struct ftt_fate *verdicts, uint32_t n);
	/* A record of the commit channel (record.h), which that worker of the other node has told. False: it is as if it had not come.
	 * NULL: nobody asks. */
	bool (*hear)(void *of, uint8_t from, const uint8_t *record, size_t len);
	/* ... that is to be told. False: it is as if it were lost. */
	bool (*tell)(void *of, uint8_t to, const uint8_t *record, size_t len);
};

/* A packet, from its IP header: `cap` bytes of it, `len` in all. They are copied. False: there is no room, and no verdict will come. */
bool ftt_hand_over(void *basket, uint32_t id, bool from_client, const uint8_t *bytes, uint32_t cap, uint32_t len);
/* A record that `hear` kept back comes now, before the packets. Of the pairing of now, or it must not come. */
void ftt_hear_late(void *basket, uint8_t from, const uint8_t *record, size_t len);

#endif
