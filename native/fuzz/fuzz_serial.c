/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bytes of a serial line: whatever comes, the deframer stays within its bounds, and a whole frame
 * after it arrives as it was sent. What is taken for a datagram must encode to a frame that is
 * taken for the same one.
 */
#include <stdlib.h>
#include <string.h>
#include "core/records/serial_frame.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must_survive(struct ftt_deframer *d, const uint8_t *datagram, size_t len)
{
	uint8_t frame[FTT_SERIAL_FRAME_MAX];
	size_t n = ftt_serial_put(frame, datagram, len);
	int got = 0;

	for (size_t i = 0; i < n; i++) {
		int now = ftt_deframe(d, frame[i]);

		got = now ? now : got;
	}
	if (got != (int)len || memcmp(d->plain, datagram, len) != 0)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct ftt_deframer d = {0}, fresh = {0};

	for (size_t i = 0; i < size; i++) {
		int got = ftt_deframe(&d, data[i]);

		if (d.len > sizeof(d.plain) || got > FTT_BEAT_MAX)
			abort();
		if (got > 0)
			must_survive(&fresh, d.plain, (size_t)got);
	}
	if (size && size <= FTT_BEAT_MAX)
		must_survive(&d, data, size);
	return 0;
}
