/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any bytes as a packet, cut anywhere: nothing is read beyond the cut, what is reported lies within
 * the packet, and a cut packet is either the same as the whole one or said to be truncated.
 */
#include <stdlib.h>
#include "core/packet/parse.h"
#include "must.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Parses a copy of exactly cap bytes. */
static enum ftt_parsed parse(const uint8_t *p, uint32_t cap, uint32_t len, struct ftt_pkt *k, struct ftt_seg *s)
{
	uint8_t *exact = malloc(cap ? cap : 1);
	enum ftt_parsed got;

	MUST(exact);
	memcpy(exact, p, cap);
	got = ftt_parse(exact, cap, len, k, s);
	if (cap == len && (got == FTT_PARSED_TCP || got == FTT_PARSED_UDP))
		(void)ftt_l4_sum(exact, k);
	free(exact);
	return got;
}

static void check_within(const struct ftt_pkt *k, const struct ftt_seg *s, uint32_t cap, uint32_t len)
{
	MUST(k->l4 + k->l4_len <= len);
	MUST(k->payload <= cap && k->payload + k->payload_len <= len);
	MUST(!(s->options & FTT_OPT_TS) == !k->ts_at && !(s->options & FTT_OPT_SACK) == !k->sack_at);
	if (k->ts_at)
		MUST(k->ts_at >= k->l4 + 22u && k->ts_at + 8u <= k->payload);
	if (k->sack_at)
		MUST(k->sack_blocks >= 1 && k->sack_blocks <= 4 && k->sack_at + 8u * k->sack_blocks <= k->payload);
	if (k->proto == 6)
		MUST(s->len == k->payload_len && s->wscale <= 14);
}

/* Data: cap u16, then the packet. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct ftt_pkt whole, cut;
	struct ftt_seg s, s2;
	enum ftt_parsed got, got2;
	uint32_t cap, len;

	if (size < 2 || size > 70000)
		return 0;
	len = (uint32_t)(size - 2);
	cap = len ? get_be16(data) % (len + 1) : 0;
	got = parse(data + 2, len, len, &whole, &s);
	MUST(got != FTT_PARSED_TRUNCATED); /* nothing was cut */
	if (got == FTT_PARSED_TCP || got == FTT_PARSED_UDP)
		check_within(&whole, &s, len, len);
	got2 = parse(data + 2, cap, len, &cut, &s2);
	MUST(got2 == got || got2 == FTT_PARSED_TRUNCATED || cap == 0);
	if (got2 == got && got == FTT_PARSED_TCP) {
		check_within(&cut, &s2, cap, len);
		s2.whole = s.whole;
		MUST(!memcmp(&whole, &cut, sizeof(cut)) && !memcmp(&s, &s2, sizeof(s)));
	}
	return 0;
}
