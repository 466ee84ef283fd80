/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any edit of any packet: a right checksum stays right and a wrong one wrong, what is wanted stands
 * there afterwards, and not a byte outside the header changes.
 */
#include <stdlib.h>
#include "core/tcp/say.h"
#include "must.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { EDIT_BYTES = 25 };

static struct ftt_edit edit_of(const uint8_t *d, const struct ftt_pkt *k)
{
	struct ftt_edit e = {.change = (d[0] & (63 | FTT_EDIT_MPTCP)) | (d[0] & 64 ? FTT_EDIT_NO_SACK : 0u), .seq = get_be32(d + 1), .ack = get_be32(d + 5), .tsval = get_be32(d + 9),
			     .tsecr = get_be32(d + 13), .sack_add = get_be32(d + 17), .wnd = get_be16(d + 21)};

	if (!k->ts_at)
		e.change &= ~(uint32_t)(FTT_EDIT_TSVAL | FTT_EDIT_TSECR);
	if (!k->sack_at)
		e.change &= ~(uint32_t)FTT_EDIT_SACK;
	return e;
}

static void check_edited(const uint8_t *p, uint32_t len, const uint8_t *old, const struct ftt_pkt *k, const struct ftt_edit *e)
{
	const uint8_t *t = p + k->l4, *u = old + k->l4;

	MUST(get_be32(t + 4) == (e->change & FTT_EDIT_SEQ ? e->seq : get_be32(u + 4)));
	MUST(get_be32(t + 8) == (e->change & FTT_EDIT_ACK ? e->ack : get_be32(u + 8)));
	MUST(get_be16(t + 14) == (e->change & FTT_EDIT_WND ? e->wnd : get_be16(u + 14)));
	if (k->ts_at) {
		MUST(get_be32(p + k->ts_at) == (e->change & FTT_EDIT_TSVAL ? e->tsval : get_be32(old + k->ts_at)));
		MUST(get_be32(p + k->ts_at + 4) == (e->change & FTT_EDIT_TSECR ? e->tsecr : get_be32(old + k->ts_at + 4)));
	}
	if (e->change & FTT_EDIT_MPTCP) {
		struct ftt_pkt again;
		struct ftt_seg s;

		MUST(ftt_parse(p, len, len, &again, &s) == FTT_PARSED_TCP && !(s.options & FTT_OPT_MPTCP));
	}
	if (e->change & FTT_EDIT_NO_SACK) {
		struct ftt_pkt again;
		struct ftt_seg s;

		MUST(ftt_parse(p, len, len, &again, &s) == FTT_PARSED_TCP && !again.sack_blocks);
	}
	for (uint32_t at = k->sack_at; !(e->change & FTT_EDIT_NO_SACK) && at < k->sack_at + 8u * k->sack_blocks; at += 4)
		MUST(get_be32(p + at) == get_be32(old + at) + (e->change & FTT_EDIT_SACK ? e->sack_add : 0));
	MUST(!memcmp(p, old, k->l4)); /* the IP header */
	MUST(!memcmp(t, u, 4) && t[12] == u[12] && t[13] == u[13] && get_be16(t + 18) == get_be16(u + 18));
}

/* What has the option is signed, and nothing else of it is another one. */
static void check_sealed(uint8_t *p, const uint8_t *data, const struct ftt_pkt *k)
{
	struct ftt_md5_key key = {.len = (uint8_t)(1 + data[0] % FTT_MD5_KEY_MAX), .key = {data[1]}};

	if (!k->md5_at)
		return;
	MUST((uint32_t)k->md5_at + FTT_MD5_BYTES <= k->payload);
	ftt_seal(p, k, &key);
	MUST(ftt_seal_holds(p, k, &key) && ftt_l4_sum(p, k) == 0xffff);
	key.key[0] ^= 1;
	MUST(!ftt_seal_holds(p, k, &key));
}

/* Data: the edit (EDIT_BYTES; the last one says whether the checksum is made right first), then the packet. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint32_t len = size < EDIT_BYTES ? 0 : (uint32_t)(size - EDIT_BYTES);
	uint8_t *p, *old;
	struct ftt_edit e;
	struct ftt_pkt k;
	struct ftt_seg s;
	uint16_t before, after;

	if (!len || size > 70000 || ftt_parse(data + EDIT_BYTES, len, len, &k, &s) != FTT_PARSED_TCP)
		return 0;
	p = malloc(len);
	old = malloc(len);
	MUST(p && old);
	memcpy(p, data + EDIT_BYTES, len);
	if (data[24] & 1) {
		put_be16(p + k.l4 + 16, 0);
		put_be16(p + k.l4 + 16, (uint16_t)~ftt_l4_sum(p, &k));
	}
	memcpy(old, p, len);
	e = edit_of(data, &k);
	before = ftt_l4_sum(p, &k);
	ftt_apply(p, &k, &e, true);
	after = ftt_l4_sum(p, &k);
	MUST(after % 0xffff == before % 0xffff);
	MUST(!(data[24] & 1) || after == 0xffff);
	check_edited(p, len, old, &k, &e);
	MUST(!memcmp(p + k.payload, old + k.payload, len - k.payload));
	memcpy(p, old, len);
	ftt_apply(p, &k, &e, false);
	MUST(ftt_l4_sum(p, &k) == 0xffff);
	check_edited(p, len, old, &k, &e);
	check_sealed(p, data, &k);
	free(p);
	free(old);
	return 0;
}
