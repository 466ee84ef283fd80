/* SPDX-License-Identifier: Apache-2.0 */
/*
 * serial_frame.h - datagrams on a line that knows only bytes. Pure: no I/O.
 *
 * A frame is 00 | COBS(datagram | CRC-32C, big-endian) | 00. COBS (Cheshire and Baker, "Consistent
 * Overhead Byte Stuffing", 1999) removes every zero from what it encodes and adds one byte for each
 * 254, so a zero is always the end of a frame, and a receiver that starts in the middle, or lost
 * bytes, is in step again at the next one. The zero in front ends what noise may have left behind.
 * The CRC tells noise from forgery: what has a right CRC and a wrong MAC was made by somebody.
 */
#ifndef FTTCP_SERIAL_FRAME_H
#define FTTCP_SERIAL_FRAME_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "core/records/beat_wire.h"
#include "core/packet/bytes.h"
#include "core/compare/digest.h"

#define FTT_SERIAL_CRC 4
#define FTT_SERIAL_PLAIN_MAX (FTT_BEAT_MAX + FTT_SERIAL_CRC)
/* delimiters, and one code byte for each 254 bytes or part of them */
#define FTT_SERIAL_FRAME_MAX (FTT_SERIAL_PLAIN_MAX + FTT_SERIAL_PLAIN_MAX / 254 + 1 + 2)

/* Writes the frame of a datagram; returns its length, 0 when the datagram is too long or empty. */
static inline size_t ftt_serial_put(uint8_t out[FTT_SERIAL_FRAME_MAX], const uint8_t *datagram, size_t len)
{
	uint8_t crc[FTT_SERIAL_CRC];
	size_t at = 2, code = 1;

	if (!len || len > FTT_BEAT_MAX)
		return 0;
	put_be32(crc, ftt_crc32c(0, datagram, len));
	out[0] = 0;
	for (size_t i = 0; i < len + FTT_SERIAL_CRC; i++) {
		uint8_t byte = i < len ? datagram[i] : crc[i - len];

		if (byte)
			out[at++] = byte;
		if (byte && at - code < 255)
			continue;
		out[code] = (uint8_t)(at - code);
		code = at++;
	}
	out[code] = (uint8_t)(at - code);
	out[at++] = 0;
	return at;
}

/* Takes a stream apart. All zero at first. */
struct ftt_deframer {
	uint8_t plain[FTT_SERIAL_PLAIN_MAX];
	size_t len;
	uint8_t left;  /* bytes until the next code byte; 0: the next byte is one */
	bool zero;     /* a zero stands before the next block */
	bool skip;     /* this frame is broken: wait for its end */
	bool begun;    /* something of this frame has come */
};

static inline void ftt_deframe_add(struct ftt_deframer *d, uint8_t byte)
{
	if (d->len < sizeof(d->plain))
		d->plain[d->len++] = byte;
	else
		d->skip = true;
}

static inline void ftt_deframe_byte(struct ftt_deframer *d, uint8_t byte)
{
	d->begun = true;
	if (d->left) {
		d->left--;
		ftt_deframe_add(d, byte);
		return;
	}
	if (d->zero)
		ftt_deframe_add(d, 0);
	d->left = (uint8_t)(byte - 1);
	d->zero = byte != 255;
}

/*
 * Takes in one byte of the line. Above 0: a datagram of that length is in d->plain, until the next
 * byte. 0: nothing yet. -1: a frame ended that was too long, cut short, or damaged.
 */
static inline int ftt_deframe(struct ftt_deframer *d, uint8_t byte)
{
	size_t len = d->len;
	bool whole;

	if (byte) {
		if (!d->skip)
			ftt_deframe_byte(d, byte);
		return 0;
	}
	if (!d->begun)
		return 0; /* between two frames */
	whole = !d->skip && !d->left && len > FTT_SERIAL_CRC &&
		get_be32(d->plain + len - FTT_SERIAL_CRC) == ftt_crc32c(0, d->plain, len - FTT_SERIAL_CRC);
	d->len = 0;
	d->left = 0;
	d->zero = d->skip = d->begun = false;
	return whole ? (int)(len - FTT_SERIAL_CRC) : -1;
}

#endif
