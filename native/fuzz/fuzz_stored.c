/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any bytes as notes of stored replies, on disk or from the other node: nothing is read beyond them, what is found writes back to the same
 * bytes, and a note that is changed or cut is none.
 */
#include <stdlib.h>
#include "core/stored.h"
#include "must.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_one(uint8_t *p, uint32_t len, const struct ftt_stored_note *x)
{
	uint8_t *again = malloc(len);
	struct ftt_stored_note y;
	uint32_t n;

	MUST(again);
	MUST(x->reply == p + FTT_STORED_HEAD && x->reply_len == len - FTT_STORED_HEAD);
	MUST(ftt_stored_put(again, x) == len);
	again[30] = p[30]; /* which nobody reads */
	again[31] = p[31];
	MUST(!memcmp(again + 4, p + 4, len - 4));
	MUST(ftt_stored_get(p, len - 1, &y, &n) == FTT_STORED_SHORT);
	p[len - 1] ^= 1;
	MUST(ftt_stored_get(p, len, &y, &n) == FTT_STORED_BROKEN);
	free(again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t *copy = malloc(size ? size : 1); /* of the exact size: a read beyond it is found */
	struct ftt_stored_note x;
	uint32_t len;

	MUST(copy);
	if (size)
		memcpy(copy, data, size);
	for (size_t at = 0; at < size; at += len) {
		uint32_t claimed = size - at >= FTT_STORED_HEAD ? get_be32(copy + at + 4) : 0;

		/* a sum that fits is hardly guessed */
		if (claimed >= FTT_STORED_HEAD && claimed <= size - at && claimed <= FTT_STORED_NOTE_MAX)
			put_be32(copy + at, ftt_crc32c(0, copy + at + 4, claimed - 4));
		if (ftt_stored_get(copy + at, size - at, &x, &len) != FTT_STORED_FOUND)
			break;
		MUST(len == claimed);
		check_one(copy + at, len, &x);
	}
	free(copy);
	return 0;
}
