/* SPDX-License-Identifier: Apache-2.0 */
/*
 * icmp.h - ICMP errors: what they quote of a connection (RFC 792, RFC 4443), and in whose numbers.
 *
 * An error for one of our segments quotes it as the network saw it, in service space. The stack believes it only
 * if the quoted sequence number is within what it has in flight (RFC 5927 4.1), so that number is turned into
 * local space. An error that our stack sends quotes a client's packet; of that only a UDP server's own port differs.
 */
#ifndef FTTCP_ICMP_H
#define FTTCP_ICMP_H
#include "core/tcp/seal.h"

enum { FTT_ICMP4 = 1, FTT_ICMP6 = 58 }; /* protocol numbers */

struct ftt_quote {
	struct ftt_pkt pkt; /* of the quoted packet; l4 is its place in the one that quotes */
	uint32_t seq;       /* TCP */
	uint32_t end;       /* of what is there of the quotation */
	uint32_t mtu;       /* of the next hop, 0 = not told */
	bool unreachable;   /* no host or network of that address, says the sender */
	bool nobody;        /* no such port */
	uint8_t pad[2];
};

/* Is the type an error that quotes a packet, and what does it say besides? p: the ICMP header. */
static inline bool ftt_icmp_error(const uint8_t *p, const struct ftt_pkt *k, struct ftt_quote *q)
{
	uint8_t type = p[0], code = p[1];

	if (k->family == 4 && k->proto == FTT_ICMP4) {
		q->mtu = type == 3 && code == 4 ? get_be16(p + 6) : 0;
		q->unreachable = type == 3 && code <= 1;
		q->nobody = type == 3 && code == 3;
		return type == 3 || type == 11 || type == 12;
	}
	if (k->family == 6 && k->proto == FTT_ICMP6) {
		q->mtu = type == 2 ? get_be32(p + 4) : 0;
		q->unreachable = type == 1 && (code == 0 || code == 3);
		q->nobody = type == 1 && code == 4;
		return type >= 1 && type <= 4;
	}
	return false;
}

/* The packet at p, parsed as FTT_PARSED_OTHER: does it quote the head of a TCP or UDP packet? */
static inline bool ftt_parse_quote(const uint8_t *p, uint32_t cap, const struct ftt_pkt *k, struct ftt_quote *q)
{
	uint32_t at = k->l4 + 8u, l4;
	enum ftt_parsed got;

	memset(q, 0, sizeof(*q));
	q->end = k->l4 + k->l4_len < cap ? k->l4 + k->l4_len : cap;
	if (at >= q->end || !ftt_icmp_error(p + k->l4, k, q))
		return false;
	got = p[at] >> 4 == 4 && k->family == 4 ? ftt_parse_ip4(p + at, q->end - at, UINT32_MAX, &q->pkt) :
	      p[at] >> 4 == 6 && k->family == 6 ? ftt_parse_ip6(p + at, q->end - at, UINT32_MAX, &q->pkt) :
						  FTT_PARSED_MALFORMED;
	l4 = at + q->pkt.l4;
	if (got != FTT_PARSED_OTHER || l4 + 8 > q->end || (q->pkt.proto != 6 && q->pkt.proto != 17))
		return false;
	q->pkt.l4 = (uint16_t)l4; /* both headers are far below 64 KiB: see the bound of ftt_parse_ip6() */
	q->pkt.sport = get_be16(p + l4);
	q->pkt.dport = get_be16(p + l4 + 2);
	q->seq = q->pkt.proto == 6 ? get_be32(p + l4 + 4) : 0;
	return true;
}

/*
 * The number that our stack knows a quoted one of its segments by. What the old primary, or the primary whose backup
 * this is, had in flight may be more than our stack has sent: then the end of that is in the same place. Anything that
 * the client's window does not allow stays as wrong as it is.
 */
static inline uint32_t ftt_quoted_seq(const struct ftt_flow *f, uint8_t mode, uint32_t seq)
{
	uint32_t room = (uint32_t)f->client_wnd << f->hard.client_wscale;

	if ((mode == FTT_MODE_BACKUP || f->bits & FTT_F_BEHIND) && seq - f->client_acked <= room)
		seq = seq_min(seq, f->local_snd_nxt);
	return seq + f->hard.delta;
}

/* The path takes less than our copies of retained output would be: make them smaller. */
static inline void ftt_quoted_mtu(struct ftt_flow *f, const struct ftt_quote *q)
{
	uint32_t least = q->pkt.family == 4 ? 552 : 1280, headers = q->pkt.family == 4 ? 40 : 60;
	uint32_t room = (uint32_t)f->client_wnd << f->hard.client_wscale;
	uint32_t mss = (q->mtu > least ? q->mtu : least) - headers - (f->bits & FTT_F_TS ? 12 : 0) - (f->hard.signer ? FTT_SEAL_OPTION : 0);

	if (q->mtu && q->seq - f->client_acked <= room && mss < f->mss)
		f->mss = (uint16_t)mss;
}

/* Writes a number into the quoted header; its checksum, if it is quoted, and the ICMP message's follow. */
static inline void ftt_quote_put_seq(uint8_t *p, const struct ftt_pkt *k, const struct ftt_quote *q, uint32_t seq)
{
	uint8_t *sum = p + k->l4 + 2, *l4 = p + q->pkt.l4;

	if (q->pkt.l4 + 18u <= q->end) {
		uint16_t old = get_be16(l4 + 16);

		csum_replace32(l4 + 16, get_be32(l4 + 4), seq, 0);
		csum_replace16(sum, old, get_be16(l4 + 16));
	}
	csum_replace32(sum, get_be32(l4 + 4), seq, 0);
	put_be32(l4 + 4, seq);
}

/* `at`: 0 for the quoted source port, 2 for the destination's. */
static inline void ftt_quote_put_port(uint8_t *p, const struct ftt_pkt *k, const struct ftt_quote *q, uint32_t at, uint16_t port)
{
	uint8_t *sum = p + k->l4 + 2, *l4 = p + q->pkt.l4, *own = l4 + (q->pkt.proto == 6 ? 16 : 6);
	bool quoted = q->pkt.proto != 6 || q->pkt.l4 + 18u <= q->end;
	uint16_t old = quoted ? get_be16(own) : 0;

	if (old || (quoted && q->pkt.proto == 6)) { /* 0: the datagram has none (RFC 768) */
		csum_replace16(own, get_be16(l4 + at), port);
		if (!get_be16(own) && q->pkt.proto != 6)
			put_be16(own, 0xffff);
		csum_replace16(sum, old, get_be16(own));
	}
	csum_replace16(sum, get_be16(l4 + at), port);
	put_be16(l4 + at, port);
}

#endif
