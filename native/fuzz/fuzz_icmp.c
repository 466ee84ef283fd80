/* SPDX-License-Identifier: Apache-2.0 */
/* Any packet as an ICMP error: a quotation lies within it, and a number written into it changes no byte beyond its place. */
#include <stdlib.h>
#include "core/packet/icmp.h"
#include "must.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { HEAD = 6 };

static uint32_t sum_of(const uint8_t *p, const struct ftt_pkt *k)
{
	return csum_fold(csum_add(0, p + k->l4, k->l4_len)) % 0xffff;
}

/* Data: what is written (4), where (1), padding (1), then the packet. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint32_t len = size <= HEAD || size > 70000 ? 0 : (uint32_t)(size - HEAD), before;
	struct ftt_quote q;
	struct ftt_pkt k;
	struct ftt_seg s;
	uint8_t *p;

	if (!len || ftt_parse(data + HEAD, len, len, &k, &s) != FTT_PARSED_OTHER ||
	    !ftt_parse_quote(data + HEAD, len, &k, &q))
		return 0;
	MUST(q.pkt.l4 >= k.l4 + 8u + (q.pkt.family == 4 ? 20 : 40) && q.pkt.l4 + 8u <= q.end && q.end <= len);
	p = malloc(len);
	MUST(p);
	memcpy(p, data + HEAD, len);
	before = sum_of(p, &k);
	if (q.pkt.proto == 6)
		ftt_quote_put_seq(p, &k, &q, get_be32(data));
	else
		ftt_quote_put_port(p, &k, &q, data[4] & 2u, get_be16(data));
	MUST(sum_of(p, &k) == before);
	MUST(!memcmp(p, data + HEAD, k.l4 + 2) && !memcmp(p + k.l4 + 4, data + HEAD + k.l4 + 4, q.pkt.l4 - k.l4 - 4u));
	free(p);
	return 0;
}
