/* SPDX-License-Identifier: Apache-2.0 */
/* udp_packet.c - single datagrams: what the stack would drop, one of our own, one with another port. */
#define _GNU_SOURCE
#include <string.h>
#include "engine/worker.h"

bool ftt_udp_refused(const struct ftt_packet *p, const struct ftt_pkt *k)
{
	if (!p->csum_ready)
		return false;
	if (!get_be16(p->bytes + k->l4 + 6))
		return k->family == 6; /* over IPv4 it says that there is none (RFC 768, RFC 8200 8.1) */
	return p->csum_unknown && p->cap == p->len && ftt_l4_sum(p->bytes, k) != 0xffff;
}

size_t ftt_udp_build(struct ftt_udp_table *t, const uint8_t *src, uint16_t sport, const uint8_t *dst, uint16_t dport,
		     const uint8_t *payload, uint32_t len)
{
	uint16_t l4_len = (uint16_t)(8 + len), sum;
	size_t ip = ftt_put_ip(t->scratch, src, dst, 17, l4_len), alen = ip == 20 ? 4 : 16;
	uint8_t *l4 = t->scratch + ip;

	if (ip == 20) { /* may be larger than the link, and be fragmented (emit.c) */
		put_be16(t->scratch + 6, 0);
		put_be16(t->scratch + 10, 0);
		put_be16(t->scratch + 10, (uint16_t)~csum_fold(csum_add(0, t->scratch, 20)));
	}
	put_be16(l4, sport);
	put_be16(l4 + 2, dport);
	put_be16(l4 + 4, l4_len);
	put_be16(l4 + 6, 0);
	memcpy(l4 + 8, payload, len);
	sum = (uint16_t)~csum_fold(csum_add(csum_pseudo(src + 16 - alen, dst + 16 - alen, alen, 17, l4_len), l4, l4_len));
	put_be16(l4 + 6, sum ? sum : 0xffff);
	return ip + l4_len;
}

/* The checksum may be absent (IPv4) or not ready. */
static void put_port(struct ftt_packet *p, const struct ftt_pkt *k, uint32_t at, uint16_t port)
{
	uint8_t *l4 = p->bytes + k->l4;
	bool has_csum = !p->csum_ready || get_be16(l4 + 6);
	if (p->csum_ready && has_csum)
		csum_replace16(l4 + 6, get_be16(l4 + at), port);
	put_be16(l4 + at, port);
	if (!p->csum_ready) {
		put_be16(l4 + 6, 0);
		put_be16(l4 + 6, (uint16_t)~ftt_l4_sum(p->bytes, k));
	}
	if (has_csum && !get_be16(l4 + 6))
		put_be16(l4 + 6, 0xffff); /* RFC 768: 0 means that there is none */
}

enum ftt_udp_edit ftt_udp_edit(struct ftt_packet *p, const struct ftt_pkt *k, uint32_t at, uint16_t port)
{
	if (get_be16(p->bytes + k->l4 + at) == port)
		return FTT_UDP_AS_IT_IS;
	if (p->cap < p->len)
		return FTT_UDP_CUT;
	put_port(p, k, at, port);
	return FTT_UDP_EDITED;
}

void ftt_udp_pass(struct ftt_worker *w, struct ftt_packet *p, const struct ftt_pkt *k, uint32_t at, uint16_t port)
{
	enum ftt_udp_edit edit = ftt_udp_edit(p, k, at, port);

	*(edit == FTT_UDP_CUT ? &w->n.drop_truncated : edit == FTT_UDP_EDITED ? &w->n.translated : &w->n.passed) += 1;
	ftt_worker_verdict(w, p, edit != FTT_UDP_CUT, edit == FTT_UDP_EDITED ? p->bytes : NULL);
}
