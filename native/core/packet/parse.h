/* SPDX-License-Identifier: Apache-2.0 */
/*
 * parse.h - from the bytes of an IP packet to the few numbers that the decisions need.
 *
 * Input is what NFQUEUE shows: the packet from its IP header on, perhaps cut short (`cap` bytes of
 * it are there, `len` is its true length). Nothing is written, nothing is read past `cap`, every
 * loop is bounded. Offsets in struct ftt_pkt are from the IP header.
 */
#ifndef FTTCP_PARSE_H
#define FTTCP_PARSE_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "core/types.h"
#include "core/packet/address.h"
#include "core/packet/bytes.h"
#include "core/packet/csum.h"

enum ftt_parsed {
	FTT_PARSED_TCP,
	FTT_PARSED_UDP,
	FTT_PARSED_OTHER,     /* some other protocol */
	FTT_PARSED_FRAGMENT,  /* not the whole datagram: ports cannot be trusted */
	FTT_PARSED_MALFORMED, /* lengths contradict each other; the kernel drops such input */
	FTT_PARSED_TRUNCATED  /* headers reach beyond the copied bytes */
};

enum { /* TCP flags (RFC 9293 3.1) */
	TCP_FIN = 1, TCP_SYN = 2, TCP_RST = 4, TCP_PSH = 8, TCP_ACK = 16, TCP_URG = 32
};

enum { /* TCP option kinds (IANA) */
	TCPOPT_END = 0, TCPOPT_NOOP = 1, TCPOPT_MSS = 2, TCPOPT_WSCALE = 3, TCPOPT_SACK_OK = 4,
	TCPOPT_SACK_BLOCKS = 5, TCPOPT_TIMESTAMPS = 8, TCPOPT_MD5 = 19, TCPOPT_AUTH = 29, TCPOPT_MPTCP = 30
};

#define FTT_TCP_HEADER_MAX 60u
#define FTT_SACK_BLOCKS 4u /* as many have room in it (RFC 2018) */

enum { /* struct ftt_seg.options */
	FTT_OPT_TS = 1, FTT_OPT_WSCALE = 2, FTT_OPT_SACK_OK = 4, FTT_OPT_SACK = 8,
	FTT_OPT_BAD = 32, /* an option with an impossible length: nothing behind it was read */
	FTT_OPT_DSACK = 64, FTT_OPT_MPTCP = 128
};

/* Who has signed a segment. */
enum ftt_signer {
	FTT_SIGNED_NOT = 0,
	FTT_SIGNED_ALIEN = 1, /* somebody whose key is not ours, as far as anybody has looked: TCP-AO, or TCP-MD5 */
	FTT_SIGNED_OURS = 2   /* TCP-MD5, with the key that we have of that peer */
};

struct ftt_pkt {
	uint8_t src[16], dst[16]; /* network order, IPv4 as ::ffff:a.b.c.d */
	uint16_t sport, dport;
	uint16_t l4;          /* offset of the TCP or UDP header */
	uint16_t ts_at;       /* offset of TSval, 0 = none */
	uint16_t sack_at;     /* offset of the first SACK edge, 0 = none */
	uint16_t md5_at;      /* offset of the digest of TCP-MD5, 0 = none, or another signature as well */
	uint32_t payload;     /* offset of the payload */
	uint32_t payload_len; /* bytes, by the headers' word */
	uint32_t l4_len;      /* L4 header and payload */
	uint8_t family;       /* 4 or 6 */
	uint8_t proto;
	uint8_t sack_blocks;
	uint8_t pad;
};

/* A segment as decisions see it. Sequence numbers as on the wire, in host order. */
struct ftt_seg {
	uint32_t seq, ack;
	uint32_t len;   /* payload bytes, without SYN and FIN */
	uint32_t tsval, tsecr;
	uint32_t sack_left; /* with FTT_OPT_SACK: lowest left edge beyond ack (RFC 2018), ack itself when there is none */
	uint32_t dsack; /* with FTT_OPT_DSACK: left edge of what came twice (RFC 2883) */
	uint16_t wnd;   /* the field, unscaled */
	uint16_t mss;   /* of a SYN, 0 = no option */
	uint8_t flags;  /* TCP_* */
	uint8_t options; /* FTT_OPT_* */
	uint8_t wscale; /* of a SYN */
	uint8_t dir;    /* enum ftt_dir */
	uint8_t signer; /* enum ftt_signer */
	bool whole;     /* every byte of the packet is at hand, so it can be edited */
	bool orphan;    /* of the primary's server, whose main process had ended when this was looked at */
};

static inline uint32_t ftt_seg_end(const struct ftt_seg *s)
{
	return s->seq + s->len + !!(s->flags & TCP_SYN) + !!(s->flags & TCP_FIN);
}

/* IP headers only: fills addresses, family, proto, l4, l4_len. OTHER means "go on with L4". */
static inline enum ftt_parsed ftt_parse_ip4(const uint8_t *p, uint32_t cap, uint32_t len, struct ftt_pkt *k)
{
	uint32_t ihl, total;

	if (cap < 20)
		return len < 20 ? FTT_PARSED_MALFORMED : FTT_PARSED_TRUNCATED;
	ihl = (uint32_t)(p[0] & 15) * 4;
	total = get_be16(p + 2);
	if (ihl < 20 || total < ihl || total > len)
		return FTT_PARSED_MALFORMED;
	if (cap < ihl)
		return FTT_PARSED_TRUNCATED;
	k->family = 4;
	k->proto = p[9];
	k->l4 = (uint16_t)ihl;
	k->l4_len = total - ihl;
	ftt_map4(k->src, p + 12);
	ftt_map4(k->dst, p + 16);
	if (get_be16(p + 6) & 0x3fff) /* more fragments, or an offset */
		return FTT_PARSED_FRAGMENT;
	return FTT_PARSED_OTHER;
}

static inline enum ftt_parsed ftt_parse_ip6(const uint8_t *p, uint32_t cap, uint32_t len, struct ftt_pkt *k)
{
	uint32_t at = 40, total;
	uint8_t next;

	if (cap < 40)
		return len < 40 ? FTT_PARSED_MALFORMED : FTT_PARSED_TRUNCATED;
	total = 40u + get_be16(p + 4);
	if (total > len)
		return FTT_PARSED_MALFORMED;
	k->family = 6;
	memcpy(k->src, p + 8, 16);
	memcpy(k->dst, p + 24, 16);
	next = p[6];
	for (int i = 0; i < 8 && (next == 0 || next == 43 || next == 60 || next == 44); i++) {
		uint32_t size;

		if (at + 8 > total)
			return FTT_PARSED_MALFORMED;
		if (at + 8 > cap)
			return FTT_PARSED_TRUNCATED;
		if (next == 44) {
			k->proto = p[ftt_at(at)];
			k->l4 = (uint16_t)(at + 8);
			return FTT_PARSED_FRAGMENT;
		}
		size = ((uint32_t)p[ftt_at(at + 1)] + 1) * 8;
		next = p[ftt_at(at)];
		at += size;
	}
	if (at > total)
		return FTT_PARSED_MALFORMED;
	k->proto = next;
	k->l4 = (uint16_t)at;
	k->l4_len = total - at;
	return FTT_PARSED_OTHER;
}

/* Options of a TCP header of `hlen` bytes at p, as far as Linux reads them (tcp_parse_options). */
static inline void ftt_parse_tcp_options(const uint8_t *p, uint32_t hlen, struct ftt_pkt *k, struct ftt_seg *s)
{
	uint32_t at = 20;

	while (at < hlen) {
		const uint8_t *o = p + ftt_at(at);
		uint8_t kind = o[0], size;

		if (kind == TCPOPT_END)
			return;
		if (kind == TCPOPT_NOOP) {
			at++;
			continue;
		}
		size = at + 2 > hlen ? 0 : o[1];
		if (size < 2 || at + size > hlen) {
			s->options |= FTT_OPT_BAD;
			return;
		}
		if (kind == TCPOPT_TIMESTAMPS && size == 10) {
			s->options |= FTT_OPT_TS;
			s->tsval = get_be32(o + 2);
			s->tsecr = get_be32(o + 6);
			k->ts_at = (uint16_t)(k->l4 + at + 2);
		} else if (kind == TCPOPT_SACK_BLOCKS && size >= 10 && (size - 2) % 8 == 0) {
			s->options |= FTT_OPT_SACK;
			k->sack_at = (uint16_t)(k->l4 + at + 2);
			k->sack_blocks = (uint8_t)((size - 2) / 8);
		} else if (kind == TCPOPT_WSCALE && size == 3 && (s->flags & TCP_SYN)) {
			s->options |= FTT_OPT_WSCALE;
			s->wscale = o[2] > 14 ? 14 : o[2]; /* RFC 7323 2.3 */
		} else if (kind == TCPOPT_MSS && size == 4 && (s->flags & TCP_SYN)) {
			s->mss = get_be16(o + 2);
		} else if (kind == TCPOPT_SACK_OK && size == 2) {
			s->options |= FTT_OPT_SACK_OK;
		} else if (kind == TCPOPT_MD5 || kind == TCPOPT_AUTH) {
			k->md5_at = kind == TCPOPT_MD5 && size == 18 && !s->signer ? (uint16_t)(k->l4 + at + 2) : 0;
			s->signer = FTT_SIGNED_ALIEN;
		} else if (kind == TCPOPT_MPTCP) {
			s->options |= FTT_OPT_MPTCP;
		}
		at += size;
	}
}

/* The client has what is beyond ack in pieces; a first block below ack is of what came twice (RFC 2018, RFC 2883). */
static inline void ftt_parse_sack(const uint8_t *p, const struct ftt_pkt *k, struct ftt_seg *s)
{
	s->sack_left = s->ack;
	for (uint32_t i = 0; i < FTT_SACK_BLOCKS && i < k->sack_blocks; i++) {
		uint32_t left = get_be32(p + ftt_at(k->sack_at + 8 * i)), right = get_be32(p + ftt_at(k->sack_at + 8 * i) + 4);

		if ((int32_t)(left - s->ack) > 0 && (s->sack_left == s->ack || (int32_t)(left - s->sack_left) < 0))
			s->sack_left = left;
		if (!i && (int32_t)(right - s->ack) <= 0) {
			s->options |= FTT_OPT_DSACK;
			s->dsack = left;
		}
	}
}

static inline enum ftt_parsed ftt_parse_tcp(const uint8_t *p, uint32_t cap, struct ftt_pkt *k, struct ftt_seg *s)
{
	const uint8_t *t = p + ftt_at(k->l4);
	uint32_t hlen;

	if (k->l4_len < 20)
		return FTT_PARSED_MALFORMED;
	if (k->l4 + 20u > cap)
		return FTT_PARSED_TRUNCATED;
	hlen = (uint32_t)(t[12] >> 4) * 4;
	if (hlen < 20 || hlen > k->l4_len)
		return FTT_PARSED_MALFORMED;
	if (k->l4 + hlen > cap)
		return FTT_PARSED_TRUNCATED;
	k->sport = get_be16(t);
	k->dport = get_be16(t + 2);
	k->payload = k->l4 + hlen;
	k->payload_len = k->l4_len - hlen;
	s->seq = get_be32(t + 4);
	s->ack = get_be32(t + 8);
	s->flags = t[13] & 0x3f;
	s->wnd = get_be16(t + 14);
	s->len = k->payload_len;
	ftt_parse_tcp_options(t, hlen, k, s);
	ftt_parse_sack(p, k, s);
	return FTT_PARSED_TCP;
}

static inline enum ftt_parsed ftt_parse(const uint8_t *p, uint32_t cap, uint32_t len, struct ftt_pkt *k,
					struct ftt_seg *s)
{
	enum ftt_parsed got;

	memset(k, 0, sizeof(*k));
	memset(s, 0, sizeof(*s));
	s->whole = cap == len;
	if (cap < 1)
		return FTT_PARSED_MALFORMED;
	if (p[0] >> 4 == 4)
		got = ftt_parse_ip4(p, cap, len, k);
	else if (p[0] >> 4 == 6)
		got = ftt_parse_ip6(p, cap, len, k);
	else
		return FTT_PARSED_MALFORMED;
	if (got != FTT_PARSED_OTHER)
		return got;
	if (k->proto == 6)
		return ftt_parse_tcp(p, cap, k, s);
	if (k->proto != 17)
		return FTT_PARSED_OTHER;
	if (k->l4_len < 8)
		return FTT_PARSED_MALFORMED;
	if (k->l4 + 8u > cap)
		return FTT_PARSED_TRUNCATED;
	k->sport = get_be16(p + ftt_at(k->l4));
	k->dport = get_be16(p + ftt_at(k->l4) + 2);
	k->payload = k->l4 + 8u;
	k->payload_len = k->l4_len - 8u;
	if (get_be16(p + ftt_at(k->l4) + 4) < 8 || get_be16(p + ftt_at(k->l4) + 4) > k->l4_len)
		return FTT_PARSED_MALFORMED;
	k->payload_len = get_be16(p + ftt_at(k->l4) + 4) - 8u;
	return FTT_PARSED_UDP;
}

/* Sum over pseudo header and L4 bytes; 0xffff when the checksum within is right. All bytes must be there. */
static inline uint16_t ftt_l4_sum(const uint8_t *p, const struct ftt_pkt *k)
{
	const uint8_t *src = k->family == 4 ? k->src + 12 : k->src, *dst = k->family == 4 ? k->dst + 12 : k->dst;
	size_t alen = k->family == 4 ? 4 : 16;

	return csum_fold(csum_add(csum_pseudo(src, dst, alen, k->proto, k->l4_len), p + k->l4, k->l4_len));
}

/* Names the flow of a packet; from_client says which end is the client. */
static inline void ftt_key_of(struct ftt_key *key, const struct ftt_pkt *k, bool from_client)
{
	memset(key, 0, sizeof(*key));
	memcpy(key->remote, from_client ? k->src : k->dst, 16);
	memcpy(key->local, from_client ? k->dst : k->src, 16);
	key->remote_port = from_client ? k->sport : k->dport;
	key->local_port = from_client ? k->dport : k->sport;
	key->proto = k->proto;
}

#endif
