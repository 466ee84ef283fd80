/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any bytes as a datagram's records: what is read must write back to the same bytes, and what is
 * read of it again must be the same. Nothing is read beyond the datagram.
 */
#include <stdlib.h>
#include "core/records/channel_wire.h"
#include "core/records/record.h"
#include "must.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_one(const uint8_t *p, size_t used, const struct ftt_record *r)
{
	uint8_t *again = malloc(used);
	struct ftt_record r2;

	MUST(again);
	MUST(used == get_be16(p + 2) && r->type);
	if (!ftt_record_known(r->type)) {
		MUST(!r->data_len);
		free(again);
		return;
	}
	MUST(r->data_len <= used && (!r->data_len || (r->data >= p && r->data + r->data_len == p + used)));
	MUST(r->type != FTT_REC_OPEN || (r->data_len <= FTT_SYN_MAX && r->wscale <= 14));
	MUST((r->type != FTT_REC_EVENT && r->type != FTT_REC_STRAY) || (uint64_t)r->offset + r->data_len <= r->total);
	MUST(ftt_record_put(again, used - 1, r) == 0);
	MUST(ftt_record_put(again, used, r) == used);
	MUST(!memcmp(again, p, used));
	MUST(ftt_record_get(again, used, &r2) == used);
	MUST(!memcmp(&r->key, &r2.key, sizeof(r->key)) && r->irs == r2.irs && r->flags == r2.flags);
	free(again);
}

static void check_replay(const uint8_t *data, size_t size)
{
	struct ftt_replay w = {0};

	for (; size >= 2; data += 2, size -= 2) {
		uint64_t top = w.top, c = data[0] & 0x80 ? get_be16(data) & 0x7fff : top + 64 - get_be16(data) % 192;
		bool got = ftt_replay_accept(&w, c);

		MUST(!got || c > top || top - c < 64);
		MUST(c <= top || got); /* newer than all: always taken, but see 0 */
		MUST(w.top >= top && !ftt_replay_accept(&w, c));
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct ftt_channel_header h;
	uint8_t *exact = malloc(size ? size : 1), *p = exact;
	size_t left = size;

	MUST(exact);
	memcpy(exact, data, size);
	if (!ftt_channel_get(exact, size, &h)) {
		uint8_t again[FTT_CHANNEL_HEADER];

		ftt_channel_put(again, &h);
		MUST(!memcmp(again, exact, sizeof(again)));
		p += FTT_CHANNEL_HEADER;
		left -= FTT_CHANNEL_HEADER + FTT_CHANNEL_MAC;
	}
	while (left) {
		struct ftt_record r;
		size_t used = ftt_record_get(p, left, &r);

		MUST(used <= left);
		if (!used)
			break;
		check_one(p, used, &r);
		p += used;
		left -= used;
	}
	check_replay(data, size);
	free(exact);
	return 0;
}
