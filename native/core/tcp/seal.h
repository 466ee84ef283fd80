/* SPDX-License-Identifier: Apache-2.0 */
/*
 * seal.h - segments that are signed (TCP-MD5, RFC 2385).
 *
 * A peer has one key, and both ends sign each segment with it. So a node that has the key can look at a signature as a kernel does, and
 * make it anew for a segment that it has changed. Each segment that this node writes itself is one of two kinds: a packet that was edited
 * is signed again where it has the option (ftt_seal), one of our own where its flow is sealed (ftt_build_segment).
 *
 * Whether a flow is sealed the stack's own SYN or SYN-ACK says: nobody else can have made that.
 */
#ifndef FTTCP_SEAL_H
#define FTTCP_SEAL_H
#include <stdbool.h>
#include "core/packet/md5.h"
#include "core/packet/parse.h"
#include "core/tcp/state.h"
#include "core/types.h"

#define FTT_SEAL_OPTION 20 /* bytes of a header: two of padding, as Linux writes it */

/* The signature of the segment whose TCP header is at t: `len` bytes, of which hlen are header (RFC 2385 2.0). alen is 4 or 16. */
static inline void ftt_seal_digest(const struct ftt_md5_key *key, const uint8_t *src, const uint8_t *dst, size_t alen, const uint8_t *t,
				   uint32_t hlen, uint32_t len, uint8_t digest[FTT_MD5_BYTES])
{
	uint8_t header[20], tail[8] = {0};
	struct ftt_md5 m;

	if (alen == 4) { /* RFC 9293 3.1: zero, protocol, length in 16 bits; RFC 8200 8.1: length in 32 bits, zeros, next header */
		tail[1] = 6;
		put_be16(tail + 2, (uint16_t)len);
	} else {
		put_be32(tail, len);
		tail[7] = 6;
	}
	memcpy(header, t, 20);
	put_be16(header + 16, 0);
	ftt_md5_begin(&m);
	ftt_md5_add(&m, src, alen);
	ftt_md5_add(&m, dst, alen);
	ftt_md5_add(&m, tail, alen == 4 ? 4 : 8);
	ftt_md5_add(&m, header, 20);
	ftt_md5_add(&m, t + hlen, len - hlen);
	ftt_md5_add(&m, key->key, key->len);
	ftt_md5_end(&m, digest);
}

/* ... of a packet, of which every byte is there. */
static inline void ftt_seal_of(const uint8_t *p, const struct ftt_pkt *k, const struct ftt_md5_key *key, uint8_t digest[FTT_MD5_BYTES])
{
	size_t alen = k->family == 4 ? 4 : 16;

	ftt_seal_digest(key, k->src + 16 - alen, k->dst + 16 - alen, alen, p + k->l4, k->payload - k->l4, k->l4_len, digest);
}

/* Is it signed with this key? It has the option, and every byte is there. */
static inline bool ftt_seal_holds(const uint8_t *p, const struct ftt_pkt *k, const struct ftt_md5_key *key)
{
	uint8_t digest[FTT_MD5_BYTES], differs = 0;

	ftt_seal_of(p, k, key, digest);
	for (int i = 0; i < FTT_MD5_BYTES; i++)
		differs |= digest[i] ^ p[k->md5_at + i];
	return !differs;
}

/* Signs a packet that has the option, after its edit. Its checksum is computed anew. */
static inline void ftt_seal(uint8_t *p, const struct ftt_pkt *k, const struct ftt_md5_key *key)
{
	ftt_seal_of(p, k, key, p + k->md5_at);
	put_be16(p + k->l4 + 16, 0);
	put_be16(p + k->l4 + 16, (uint16_t)~ftt_l4_sum(p, k));
}

/*
 * Does a kernel take a client's segment of this flow (NULL: of none that goes on) for what it is signed with? has_key: we have one of its
 * peer. A flow that signs with another key than ours nobody follows: of that everything is taken.
 */
static inline bool ftt_signed_well(const struct ftt_flow *f, const struct ftt_seg *s, bool has_key)
{
	if (f && f->hard.signer == FTT_SIGNED_ALIEN)
		return true;
	if (f && f->hard.signer == FTT_SIGNED_OURS)
		return s->signer == FTT_SIGNED_OURS;
	if (s->signer == FTT_SIGNED_OURS)
		return !f || f->protection != FTT_PROTECTED;
	return s->signer == FTT_SIGNED_NOT || !has_key;
}

/* The other node tells of a flow, with its remote end's first word. has_key: as above. Until our stack answers, what holds of that one holds. */
static inline void ftt_flow_told_signed(struct ftt_flow *f, const struct ftt_seg *first, bool has_key)
{
	f->hard.signer = first->signer && has_key ? FTT_SIGNED_OURS : FTT_SIGNED_NOT;
}

/* A network of IPv6 has no address of IPv4 in it, which are mapped. */
static inline bool ftt_md5_key_fits(const struct ftt_md5_key *key, const uint8_t *peer)
{
	uint8_t whole = key->prefix / 8, rest = key->prefix % 8;

	return (key->prefix >= 96 || !ftt_is_v4(peer)) && !memcmp(key->peer, peer, whole) && (!rest || !((key->peer[whole] ^ peer[whole]) >> (8 - rest)));
}

/* The key of this peer (16 bytes, IPv4 mapped) among n, of which longer prefixes come first. NULL: it has none. */
static inline const struct ftt_md5_key *ftt_md5_key_of(const struct ftt_md5_key *keys, uint32_t n, const uint8_t *peer)
{
	for (uint32_t i = 0; i < n; i++)
		if (ftt_md5_key_fits(&keys[i], peer))
			return &keys[i];
	return NULL;
}

#endif
