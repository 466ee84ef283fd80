/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any bytes as frames of a history: nothing is read beyond them, what is read writes back to the same bytes, and a frame whose sum is
 * not the one that goes on from those before is not believed.
 */
#include <stdlib.h>
#include "core/history.h"
#include "must.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool within(const uint8_t *p, uint32_t len, const uint8_t *part, uint32_t n)
{
	return !n || (part >= p && part + n <= p + len);
}

static void check_one(const uint8_t *p, uint32_t len, const struct ftt_history_event *x)
{
	uint8_t *again = malloc(FTT_HISTORY_FRAME_MAX);
	struct ftt_history_event y;
	uint32_t n;

	MUST(again);
	MUST(within(p, len, x->data, x->data_len) && within(p, len, x->open.data, x->open.data_len));
	MUST(within(p, len, x->piece.bytes, x->piece.len));
	n = ftt_history_put(again, FTT_HISTORY_FRAME_MAX, x);
	if (n) { /* a head may be longer than what is written here */
		MUST(n == len && !memcmp(again + 12, p + 12, len - 12));
		MUST(ftt_history_read(again, n, &y, &n) == FTT_HISTORY_EVENT && y.kind == x->kind && y.flags == x->flags);
	}
	free(again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t *copy = malloc(size ? size : 1); /* of the exact size: a read beyond it is found */
	struct ftt_history_event x;
	uint32_t len, sum = 0, sealed;

	MUST(copy);
	if (size)
		memcpy(copy, data, size);
	for (size_t at = 0; at < size; at += len) {
		enum ftt_history_found found = ftt_history_read(copy + at, size - at, &x, &len);

		if (found == FTT_HISTORY_SHORT || found == FTT_HISTORY_BROKEN)
			break;
		MUST(len >= FTT_HISTORY_FRAME + FTT_HISTORY_BODY && len <= size - at && len <= FTT_HISTORY_FRAME_MAX);
		if (found == FTT_HISTORY_EVENT)
			check_one(copy + at, len, &x);
		sealed = ftt_history_seal(sum, copy + at);
		MUST(ftt_history_get(copy + at, size - at, &sum, &x, &len) == found && sum == sealed);
		copy[at + 4] ^= 1;
		MUST(ftt_history_get(copy + at, size - at, &sum, &x, &len) == FTT_HISTORY_BROKEN && sum == sealed);
	}
	free(copy);
	return 0;
}
