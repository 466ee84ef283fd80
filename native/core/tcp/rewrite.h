/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rewrite.h - applies an edit to the bytes of a packet, and builds small segments of our own: those for the local stack here, those for
 * clients in say.h.
 */
#ifndef FTTCP_REWRITE_H
#define FTTCP_REWRITE_H
#include "core/tcp/flow.h"
#include "core/tcp/seal.h"

static inline void ftt_replace32(uint8_t *p, const struct ftt_pkt *k, uint32_t at, uint32_t value)
{
	uint8_t *field = p + ftt_at(at);

	csum_replace32(p + ftt_at(k->l4) + 16, get_be32(field), value, (int)(at - k->l4) & 1);
	put_be32(field, value);
}

/* Overwrites every TCP option of this kind by padding. */
static inline void ftt_blank_option(uint8_t *p, const struct ftt_pkt *k, uint8_t kind)
{
	uint32_t hlen = k->payload - k->l4, at = 20;
	uint8_t *t = p + ftt_at(k->l4);
	uint64_t blank = 0; /* a bit for each byte of the header */

	for (uint32_t i = 20; i < FTT_TCP_HEADER_MAX && at < hlen; i++) { /* each option has a byte or more */
		const uint8_t *o = t + ftt_at(at);
		uint32_t size = o[0] == TCPOPT_NOOP ? 1 : at + 2 > hlen ? 0 : o[1];

		if (o[0] == TCPOPT_END || at + size > hlen || (o[0] != TCPOPT_NOOP && size < 2))
			break; /* as ftt_parse_tcp_options() */
		if (o[0] == kind)
			blank |= ((1ull << size) - 1) << at;
		at += size;
	}
	for (at = 20; at < FTT_TCP_HEADER_MAX; at++) {
		uint8_t *word = t + (at & ~1u);
		uint16_t old;

		if (!(blank >> at & 1))
			continue;
		old = get_be16(word);
		t[at] = TCPOPT_NOOP;
		csum_replace16(t + 16, old, get_be16(word));
	}
}

/*
 * Makes the packet at p what `e` says; its TCP checksum is brought up to date. csum_ready: the
 * checksum in the packet covers its payload (else it is computed whole, which needs every byte).
 */
static inline void ftt_apply(uint8_t *p, const struct ftt_pkt *k, const struct ftt_edit *e, bool csum_ready)
{
	uint8_t *t = p + ftt_at(k->l4);

	if (e->change & FTT_EDIT_SEQ)
		ftt_replace32(p, k, k->l4 + 4u, e->seq);
	if (e->change & FTT_EDIT_ACK)
		ftt_replace32(p, k, k->l4 + 8u, e->ack);
	if (e->change & FTT_EDIT_TSVAL)
		ftt_replace32(p, k, k->ts_at, e->tsval);
	if (e->change & FTT_EDIT_TSECR)
		ftt_replace32(p, k, k->ts_at + 4u, e->tsecr);
	if (e->change & FTT_EDIT_SACK)
		for (uint32_t i = 0; i < 2 * FTT_SACK_BLOCKS && i < 2u * k->sack_blocks; i++)
			ftt_replace32(p, k, k->sack_at + 4 * i, get_be32(p + ftt_at(k->sack_at + 4 * i)) + e->sack_add);
	if (e->change & FTT_EDIT_WND) {
		csum_replace16(t + 16, get_be16(t + 14), e->wnd);
		put_be16(t + 14, e->wnd);
	}
	if (e->change & FTT_EDIT_FIN) {
		uint16_t word = get_be16(t + 12);

		csum_replace16(t + 16, word, word & (uint16_t)~TCP_FIN);
		t[13] &= (uint8_t)~TCP_FIN;
	}
	if (e->change & FTT_EDIT_MPTCP)
		ftt_blank_option(p, k, TCPOPT_MPTCP);
	if (e->change & FTT_EDIT_NO_SACK)
		ftt_blank_option(p, k, TCPOPT_SACK_BLOCKS);
	if (e->change & (FTT_EDIT_SPORT | FTT_EDIT_DPORT)) {
		uint8_t *port = t + (e->change & FTT_EDIT_DPORT ? 2 : 0);
		uint16_t old = get_be16(port);

		put_be16(port, (uint16_t)(old + e->port_add));
		csum_replace16(t + 16, old, get_be16(port));
	}
	if (!csum_ready) {
		put_be16(t + 16, 0);
		put_be16(t + 16, (uint16_t)~ftt_l4_sum(p, k));
	}
}

/* A segment of our own, to be built: numbers as they are to stand on the wire. */
struct ftt_bare {
	const uint8_t *src, *dst; /* 16 bytes, IPv4 mapped */
	uint16_t sport, dport;
	uint32_t seq, ack, tsval, tsecr;
	uint16_t wnd;
	uint8_t flags;
	bool timestamps;
	bool octet; /* with one octet, 0, of payload */
	bool sealed; /* it is to be signed ... */
	const struct ftt_md5_key *seal; /* ... with this key; NULL: nobody has it any more, and it is not */
	uint32_t sack_left, sack_right; /* a SACK block when they differ; without room for it there is none */
};

#define FTT_BARE_MAX 93 /* IPv6 40 + TCP 20 + signature 20 + timestamps 12, or SACK + octet */

#define FTT_HOP_LIMIT 255 /* GTSM (RFC 5082): either end may take only what comes from next door */

static inline size_t ftt_put_ip(uint8_t *p, const uint8_t *src, const uint8_t *dst, uint8_t proto, uint16_t l4_len)
{
	bool v4 = src[10] == 0xff && src[11] == 0xff && !get_be64(src) && !get_be16(src + 8);

	if (v4) {
		memset(p, 0, 20);
		p[0] = 0x45;
		put_be16(p + 2, (uint16_t)(20 + l4_len));
		put_be16(p + 6, 0x4000); /* do not fragment */
		p[8] = FTT_HOP_LIMIT;
		p[9] = proto;
		memcpy(p + 12, src + 12, 4);
		memcpy(p + 16, dst + 12, 4);
		put_be16(p + 10, (uint16_t)~csum_fold(csum_add(0, p, 20)));
		return 20;
	}
	put_be32(p, 0x60000000);
	put_be16(p + 4, l4_len);
	p[6] = proto;
	p[7] = FTT_HOP_LIMIT;
	memcpy(p + 8, src, 16);
	memcpy(p + 24, dst, 16);
	return 40;
}

/* Builds it at p with a payload behind (FTT_BARE_MAX bytes, of which one is for that); returns the length. */
static inline size_t ftt_build_segment(uint8_t *p, const struct ftt_bare *b, const uint8_t *payload, size_t len)
{
	bool sack = b->sack_left != b->sack_right && !(b->seal && b->timestamps);
	size_t hlen = 20 + (b->seal ? FTT_SEAL_OPTION : 0) + (b->timestamps ? 12 : 0) + (sack ? 12 : 0), l4_len = hlen + len;
	size_t ip = ftt_put_ip(p, b->src, b->dst, 6, (uint16_t)l4_len), alen = ip == 20 ? 4 : 16;
	uint8_t *t = p + ip, *o = t + 20;

	memset(t, 0, hlen);
	put_be16(t, b->sport);
	put_be16(t + 2, b->dport);
	put_be32(t + 4, b->seq);
	put_be32(t + 8, b->ack);
	t[12] = (uint8_t)(hlen / 4 << 4);
	t[13] = b->flags;
	put_be16(t + 14, b->wnd);
	if (b->seal) {
		o[0] = o[1] = TCPOPT_NOOP;
		o[2] = TCPOPT_MD5;
		o[3] = 18;
		o += FTT_SEAL_OPTION;
	}
	if (b->timestamps) {
		o[0] = o[1] = TCPOPT_NOOP;
		o[2] = TCPOPT_TIMESTAMPS;
		o[3] = 10;
		put_be32(o + 4, b->tsval);
		put_be32(o + 8, b->tsecr);
		o += 12;
	}
	if (sack) {
		o[0] = o[1] = TCPOPT_NOOP;
		o[2] = TCPOPT_SACK_BLOCKS;
		o[3] = 10;
		put_be32(o + 4, b->sack_left);
		put_be32(o + 8, b->sack_right);
	}
	if (len)
		memcpy(t + hlen, payload, len);
	if (b->seal)
		ftt_seal_digest(b->seal, b->src + 16 - alen, b->dst + 16 - alen, alen, t, (uint32_t)hlen, (uint32_t)l4_len, t + 24);
	put_be16(t + 16, (uint16_t)~csum_fold(csum_add(
		csum_pseudo(b->src + 16 - alen, b->dst + 16 - alen, alen, 6, (uint32_t)l4_len), t, l4_len)));
	return ip + l4_len;
}

static inline size_t ftt_build_bare(uint8_t *p, const struct ftt_bare *b)
{
	static const uint8_t octet;

	return ftt_build_segment(p, b, &octet, b->octet);
}

/* From the client to our stack, with nothing in it. */
static inline struct ftt_bare ftt_bare_inward(const struct ftt_key *k)
{
	return (struct ftt_bare){.src = k->remote, .dst = k->local, .sport = k->remote_port, .dport = k->local_port};
}

/* ... and to the client. */
static inline struct ftt_bare ftt_bare_outward(const struct ftt_key *k)
{
	return (struct ftt_bare){.src = k->local, .dst = k->remote, .sport = k->local_port, .dport = k->remote_port};
}

/* The client's acknowledgement of all that the local stack may know of, in local space. */
static inline void ftt_bare_for_stack(const struct ftt_flow *f, const struct ftt_key *k, uint32_t ack, struct ftt_bare *b)
{
	*b = ftt_bare_inward(k);
	b->dport = (uint16_t)(k->local_port + ftt_flow_port_delta(f));
	/* what the client would write, but within the window: else the stack refuses it (RFC 9293 3.10.7.4) */
	b->seq = seq_max(f->local_rcv_nxt, seq_min(f->client_nxt, f->local_edge));
	b->ack = ack + f->hard.delta;
	b->wnd = ftt_client_window(f, f->client_acked, f->client_wnd, ack);
	b->flags = TCP_ACK;
	b->sealed = f->hard.signer;
	b->timestamps = f->bits & FTT_F_TS;
	b->tsval = f->client_tsval;
	b->tsecr = f->local_tsval;
}

/* The client's reset of a connection in the local stack, which is sealed or not and takes an exact sequence number (RFC 5961 3.2). */
static inline void ftt_bare_reset_stack(const struct ftt_key *k, uint32_t rcv_nxt, bool sealed, struct ftt_bare *b)
{
	*b = ftt_bare_inward(k);
	b->seq = rcv_nxt;
	b->sealed = sealed;
	b->flags = TCP_RST;
}

/* ... of a flow; of one that our stack has opened the answer to its SYN, in case that has had none (RFC 9293 3.10.7.3). */
static inline void ftt_bare_end(const struct ftt_flow *f, const struct ftt_key *k, struct ftt_bare *b)
{
	ftt_bare_reset_stack(k, f->local_rcv_nxt, f->hard.signer, b);
	b->dport = (uint16_t)(k->local_port + ftt_flow_port_delta(f));
	if (!ftt_opened_unanswered(f))
		return;
	b->seq = f->bits & FTT_F_MAPPED ? f->hard.irs + 1 : 0;
	b->ack = f->local_iss + 1;
	b->flags = TCP_RST | TCP_ACK;
}

/* Our stack's SYN is refused: the key is as it has it. */
static inline void ftt_bare_refuse(const struct ftt_key *k, const struct ftt_seg *syn, struct ftt_bare *b)
{
	ftt_bare_reset_stack(k, 0, syn->signer, b);
	b->ack = ftt_seg_end(syn);
	b->flags = TCP_RST | TCP_ACK;
}

#endif
