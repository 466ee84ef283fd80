/* SPDX-License-Identifier: Apache-2.0 */
/*
 * beat_wire.h - the heartbeat as bytes, and which heartbeats are new. Pure: no I/O, no clock.
 *
 * Layout, big-endian:
 *
 *    0 magic u32 | 4 version u8 | 5 flags u8 | 6 link u8 | 7 n_sections u8
 *    8 key_id u32 | 12 sections_len u16 | 14 zero u16
 *   16 cluster_id u64 | 24 node_id u64 | 32 to_node_id u64 | 40 boot_id u64 | 48 counter u64
 *   56 t_send_ns u64 | 64 echo_boot_id u64 | 72 intrusions u64
 *   80 sections[sections_len] | MAC[16]: keyed BLAKE2b (RFC 7693) of everything before it
 *
 * and a section for each group that the beat speaks of:
 *
 *    0 group_id u64 | 8 boot_id u64 | 16 echo_t_ns u64 | 24 version u32 | 28 seen u32
 *   32 body_len u16 | 34 flags u8 | 35 zero u8 | 36 body[body_len]
 *
 * With the flag FTT_BEAT_SEALED sections and MAC are XChaCha20-Poly1305 (draft-irtf-cfrg-xchacha) instead:
 * the header is its additional data, so it is authenticated as well, but readable. The key is
 * keyed BLAKE2b-256 of "fttcp beat body", the nonce BLAKE2b-192 of the header, which holds sender,
 * receiver, boot, counter and link: never twice the same.
 *
 * A beat is made for one peer, since echo and grant are for that one alone; node_id is its sender,
 * to_node_id its receiver. It goes over every link between the two with one counter; `link` is the
 * sender's index of the link, so the copies differ and a copy recorded on one link proves nothing on
 * another. Both nodes therefore list their links in the same order. t_send_ns is the sender's
 * CLOCK_BOOTTIME and means nothing to the receiver, which hands it back; echo_boot_id says whose clock it was.
 * intrusions: how many forged or repeated beats the sender has met since its boot, so that every node can tell of
 * what happens to one.
 *
 * A beat need not speak of all groups: what does not fit into one datagram goes into another, with a counter of its own.
 * So what is newest is asked for each group, and each section has its own echo: echo_t_ns is the t_send_ns of the newest
 * beat *that spoke of this group*. (A grant that echoed another group's beat would be worth more than was promised: the
 * silence of this group is counted from its own.) A section without the flag FTT_BEAT_BODY has no body, because the
 * receiver has it already: version numbers the sender's body, 0 before there is one; seen is the version that the
 * sender holds of the receiver's. Versions count in a node, over all its groups, and are of its boot, so a group that begins anew
 * begins with another one. The section's boot_id names that beginning: random, and another one each time.
 */
#ifndef FTTCP_BEAT_WIRE_H
#define FTTCP_BEAT_WIRE_H
#include <sodium.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include "core/types.h"
#include "core/packet/bytes.h"

#define FTT_BEAT_MAGIC 0x46544842u /* "FTHB" */
#define FTT_BEAT_VERSION 3
#define FTT_BEAT_SEALED 0x02u /* of the header */
#define FTT_BEAT_GRANT 0x01u  /* of a section: the sender will not take over within lease_ns of the beat it echoes */
#define FTT_BEAT_BODY 0x02u   /* of a section: the body is in it */
#define FTT_BEAT_HEADER 80
#define FTT_BEAT_SECTION 36
#define FTT_BEAT_MAC 16
#define FTT_BEAT_MIN (FTT_BEAT_HEADER + FTT_BEAT_SECTION + FTT_BEAT_MAC)
#define FTT_BEAT_MAX 1232 /* what every IPv6 link carries whole, less the headers of IPv6 and UDP */
#define FTT_BEAT_SECTIONS_MAX (FTT_BEAT_MAX - FTT_BEAT_HEADER - FTT_BEAT_MAC)
#define FTT_BEAT_RETIRED 16 /* boots that the peer has left behind and that we remember */

/* Why a datagram is not a heartbeat (decode), or not one for us (ftt_beat_check_place). */
enum ftt_beat_error {
	FTT_BEAT_OK = 0,
	FTT_BEAT_E_SHORT = 1,     /* shorter than header, one section and MAC */
	FTT_BEAT_E_LONG = 2,      /* longer than the longest beat */
	FTT_BEAT_E_MAGIC = 3,
	FTT_BEAT_E_VERSION = 4,
	FTT_BEAT_E_FLAGS = 5,     /* a flag that this version does not know */
	FTT_BEAT_E_LINK = 6,      /* link index beyond FTT_MAX_LINKS */
	FTT_BEAT_E_RESERVED = 7,  /* a field that must be zero is not */
	FTT_BEAT_E_LENGTH = 9,    /* datagram length does not fit sections_len */
	FTT_BEAT_E_KEY_ID = 10,   /* made with another key */
	FTT_BEAT_E_MAC = 11,
	FTT_BEAT_E_BOOT = 12,     /* from here on the MAC was right. boot_id 0 */
	FTT_BEAT_E_COUNTER = 13,  /* counter 0 */
	FTT_BEAT_E_SECTION = 14,  /* a section that is none, or not as many as were told */
	FTT_BEAT_E_CLUSTER = 15,  /* another cluster's beat */
	FTT_BEAT_E_NODE = 16,     /* not the peer's: a stranger's, or our own reflected */
	FTT_BEAT_E_RECEIVER = 17  /* made for another node */
};

/* What is said of one group, in host order. body points into the caller's bytes, and counts with the flag FTT_BEAT_BODY only. */
struct ftt_beat_section {
	uint64_t group_id, boot_id, echo_t_ns;
	uint32_t version, seen;
	uint16_t body_len;
	uint8_t flags;
	const uint8_t *body;
};

/* A beat's fields in host order. sections points into the caller's bytes. */
struct ftt_beat_msg {
	uint64_t cluster_id, node_id, to_node_id, boot_id, counter;
	uint64_t t_send_ns, echo_boot_id, intrusions;
	uint32_t key_id;
	uint16_t sections_len;
	uint8_t flags, link, n_sections;
	const uint8_t *sections;
};

/* Names a key without telling anything about it: both nodes see at once that their keys differ. */
static inline uint32_t ftt_beat_key_id(const uint8_t key[32])
{
	static const char purpose[] = "fttcp key id";
	uint8_t h[16];

	crypto_generichash(h, sizeof(h), (const uint8_t *)purpose, sizeof(purpose) - 1, key, 32);
	return get_be32(h);
}

/* Names one pair of boots, the same on both nodes; never 0. No secret: the channel's key is made of it and of one. */
static inline uint64_t ftt_beat_commit_session(uint64_t node_a, uint64_t boot_a, uint64_t node_b, uint64_t boot_b)
{
	static const char purpose[] = "fttcp commit session";
	enum { label = sizeof(purpose) - 1 };
	bool in_order = node_a < node_b;
	uint8_t in[label + 32], h[16];
	uint64_t session;

	memcpy(in, purpose, label);
	put_be64(in + label, in_order ? node_a : node_b);
	put_be64(in + label + 8, in_order ? boot_a : boot_b);
	put_be64(in + label + 16, in_order ? node_b : node_a);
	put_be64(in + label + 24, in_order ? boot_b : boot_a);
	crypto_generichash(h, sizeof(h), in, sizeof(in), NULL, 0);
	session = get_be64(h);
	return session ? session : 1;
}

static inline void ftt_beat_body_secrets(const uint8_t *header, const uint8_t key[32], uint8_t secret[32], uint8_t nonce[24])
{
	static const char purpose[] = "fttcp beat body";

	crypto_generichash(secret, 32, (const uint8_t *)purpose, sizeof(purpose) - 1, key, 32);
	crypto_generichash(nonce, 24, header, FTT_BEAT_HEADER, NULL, 0);
}

/* Puts MAC, or cipher text and tag, under a header and sections that are written already. */
static inline void ftt_beat_seal(uint8_t *out, size_t sections_len, const uint8_t key[32])
{
	uint8_t *sections = out + FTT_BEAT_HEADER, secret[32], nonce[24];

	if (!(out[5] & FTT_BEAT_SEALED)) {
		crypto_generichash(sections + sections_len, FTT_BEAT_MAC, out, FTT_BEAT_HEADER + sections_len, key, 32);
		return;
	}
	ftt_beat_body_secrets(out, key, secret, nonce);
	crypto_aead_xchacha20poly1305_ietf_encrypt(sections, NULL, sections, sections_len, out, FTT_BEAT_HEADER, NULL, nonce, secret);
	sodium_memzero(secret, sizeof(secret));
}

/* Checks what ftt_beat_seal() made; what was sealed is in clear afterwards. */
static inline bool ftt_beat_unseal(uint8_t *p, size_t sections_len, const uint8_t key[32])
{
	uint8_t *sections = p + FTT_BEAT_HEADER, secret[32], nonce[24], mac[FTT_BEAT_MAC];
	bool good;

	if (!(p[5] & FTT_BEAT_SEALED)) {
		crypto_generichash(mac, sizeof(mac), p, FTT_BEAT_HEADER + sections_len, key, 32);
		return !sodium_memcmp(mac, sections + sections_len, FTT_BEAT_MAC);
	}
	ftt_beat_body_secrets(p, key, secret, nonce);
	good = !crypto_aead_xchacha20poly1305_ietf_decrypt(sections, NULL, NULL, sections, sections_len + FTT_BEAT_MAC, p, FTT_BEAT_HEADER,
							   nonce, secret);
	sodium_memzero(secret, sizeof(secret));
	return good;
}

/* Appends a section to the *len bytes that are there. False: it does not fit, or its body is too long; nothing is changed. */
static inline bool ftt_beat_put_section(uint8_t *out, size_t room, size_t *len, const struct ftt_beat_section *s)
{
	size_t body_len = s->flags & FTT_BEAT_BODY ? s->body_len : 0;
	uint8_t *p = out + *len;

	if (body_len > FTT_BEAT_BODY_MAX || *len + FTT_BEAT_SECTION + body_len > room)
		return false;
	put_be64(p, s->group_id);
	put_be64(p + 8, s->boot_id);
	put_be64(p + 16, s->echo_t_ns);
	put_be32(p + 24, s->version);
	put_be32(p + 28, s->seen);
	put_be16(p + 32, (uint16_t)body_len);
	p[34] = s->flags;
	p[35] = 0;
	if (body_len)
		memcpy(p + FTT_BEAT_SECTION, s->body, body_len);
	*len += FTT_BEAT_SECTION + body_len;
	return true;
}

/* Reads the section at *at and moves on. False: there is none, or it is not as a section must be. */
static inline bool ftt_beat_get_section(const uint8_t *sections, size_t len, size_t *at, struct ftt_beat_section *s)
{
	const uint8_t *p = sections + *at;

	if (len - *at < FTT_BEAT_SECTION)
		return false;
	s->group_id = get_be64(p);
	s->boot_id = get_be64(p + 8);
	s->echo_t_ns = get_be64(p + 16);
	s->version = get_be32(p + 24);
	s->seen = get_be32(p + 28);
	s->body_len = get_be16(p + 32);
	s->flags = p[34];
	s->body = p + FTT_BEAT_SECTION;
	if (!s->boot_id || s->flags & ~(FTT_BEAT_GRANT | FTT_BEAT_BODY) || p[35] || s->body_len > FTT_BEAT_BODY_MAX ||
	    (s->flags & FTT_BEAT_BODY ? !s->version : s->body_len) || len - *at - FTT_BEAT_SECTION < s->body_len)
		return false;
	*at += FTT_BEAT_SECTION + (size_t)s->body_len;
	return true;
}

static inline bool ftt_beat_sections_good(const struct ftt_beat_msg *m)
{
	struct ftt_beat_section s;
	uint32_t n = 0;
	size_t at = 0;

	while (ftt_beat_get_section(m->sections, m->sections_len, &at, &s))
		if (++n > m->n_sections || (!m->echo_boot_id && s.echo_t_ns)) /* an echoed time is of some boot */
			return false;
	return at == m->sections_len && n == m->n_sections;
}

/*
 * Writes a whole beat, MAC included, to out. key_id is filled in from m.
 * Returns its length in bytes; 0 when it is too long or room does not suffice.
 */
static inline size_t ftt_beat_encode(uint8_t *out, size_t room, const struct ftt_beat_msg *m, const uint8_t key[32])
{
	size_t signed_len = FTT_BEAT_HEADER + (size_t)m->sections_len;

	if (m->sections_len > FTT_BEAT_SECTIONS_MAX || room < signed_len + FTT_BEAT_MAC)
		return 0;
	put_be32(out, FTT_BEAT_MAGIC);
	out[4] = FTT_BEAT_VERSION;
	out[5] = m->flags;
	out[6] = m->link;
	out[7] = m->n_sections;
	put_be32(out + 8, m->key_id);
	put_be16(out + 12, m->sections_len);
	put_be16(out + 14, 0);
	put_be64(out + 16, m->cluster_id);
	put_be64(out + 24, m->node_id);
	put_be64(out + 32, m->to_node_id);
	put_be64(out + 40, m->boot_id);
	put_be64(out + 48, m->counter);
	put_be64(out + 56, m->t_send_ns);
	put_be64(out + 64, m->echo_boot_id);
	put_be64(out + 72, m->intrusions);
	memcpy(out + FTT_BEAT_HEADER, m->sections, m->sections_len);
	ftt_beat_seal(out, m->sections_len, key);
	return signed_len + FTT_BEAT_MAC;
}

static inline enum ftt_beat_error ftt_beat_check_shape(const uint8_t *p, size_t len)
{
	if (len < FTT_BEAT_HEADER)
		return FTT_BEAT_E_SHORT;
	if (len > FTT_BEAT_MAX)
		return FTT_BEAT_E_LONG;
	if (get_be32(p) != FTT_BEAT_MAGIC)
		return FTT_BEAT_E_MAGIC;
	if (p[4] != FTT_BEAT_VERSION)
		return FTT_BEAT_E_VERSION;
	if (len < FTT_BEAT_MIN)
		return FTT_BEAT_E_SHORT;
	if (p[5] & ~FTT_BEAT_SEALED)
		return FTT_BEAT_E_FLAGS;
	if (p[6] >= FTT_MAX_LINKS)
		return FTT_BEAT_E_LINK;
	if (p[14] || p[15])
		return FTT_BEAT_E_RESERVED;
	return len == FTT_BEAT_HEADER + (size_t)get_be16(p + 12) + FTT_BEAT_MAC ? FTT_BEAT_OK : FTT_BEAT_E_LENGTH;
}

/*
 * Reads and authenticates a datagram: shape first, then the MAC, then the fields and sections.
 * *m is meaningful only after FTT_BEAT_OK; m->sections points into p, where what was sealed is opened, and each of
 * them can be read. key_id: of our own key. After FTT_BEAT_E_KEY_ID p is untouched, and another key may be tried.
 */
static inline enum ftt_beat_error ftt_beat_decode(uint8_t *p, size_t len, const uint8_t key[32],
						  uint32_t key_id, struct ftt_beat_msg *m)
{
	enum ftt_beat_error error = ftt_beat_check_shape(p, len);

	if (error)
		return error;
	m->key_id = get_be32(p + 8);
	if (m->key_id != key_id)
		return FTT_BEAT_E_KEY_ID;
	m->sections_len = get_be16(p + 12);
	if (!ftt_beat_unseal(p, m->sections_len, key))
		return FTT_BEAT_E_MAC;
	m->flags = p[5];
	m->link = p[6];
	m->n_sections = p[7];
	m->cluster_id = get_be64(p + 16);
	m->node_id = get_be64(p + 24);
	m->to_node_id = get_be64(p + 32);
	m->boot_id = get_be64(p + 40);
	m->counter = get_be64(p + 48);
	m->t_send_ns = get_be64(p + 56);
	m->echo_boot_id = get_be64(p + 64);
	m->intrusions = get_be64(p + 72);
	m->sections = p + FTT_BEAT_HEADER;
	if (!m->boot_id)
		return FTT_BEAT_E_BOOT;
	if (!m->counter)
		return FTT_BEAT_E_COUNTER;
	return ftt_beat_sections_good(m) ? FTT_BEAT_OK : FTT_BEAT_E_SECTION;
}

/* Is this authentic beat of our cluster, and made by `from` for `to`? Which link it belongs to, the link's owner knows. */
static inline enum ftt_beat_error ftt_beat_check_place(const struct ftt_beat_msg *m, uint64_t cluster_id,
						       uint64_t from, uint64_t to)
{
	if (m->cluster_id != cluster_id)
		return FTT_BEAT_E_CLUSTER;
	if (m->node_id != from)
		return FTT_BEAT_E_NODE;
	return m->to_node_id == to ? FTT_BEAT_OK : FTT_BEAT_E_RECEIVER;
}

/* What an authentic beat brings, given those that came before it. */
enum ftt_beat_news {
	FTT_BEAT_REPLAY,   /* seen before on this link, too old to tell, or of a boot long left behind */
	FTT_BEAT_UNPROVEN, /* of an unknown boot while the known one is alive, and it does not echo us */
	FTT_BEAT_STALE,    /* overtaken on its own link: genuine, and perhaps news of a group that the later one did not speak of */
	FTT_BEAT_COPY,     /* proves its link; another link brought the same or a later beat before */
	FTT_BEAT_NEWEST,   /* the newest beat of the known boot */
	FTT_BEAT_NEW_BOOT  /* the first beat of a new boot */
};

struct ftt_beat_window {
	uint64_t top;  /* highest counter seen on the link */
	uint64_t seen; /* bit k: top - k was seen */
};

/* What is remembered of the peer to tell new beats from old ones. All zero at first. */
struct ftt_beat_peer {
	uint64_t boot_id; /* 0: never heard */
	uint64_t counter; /* newest over all links */
	struct ftt_beat_window window[FTT_MAX_LINKS];
	uint64_t retired[FTT_BEAT_RETIRED];
	uint32_t n_retired; /* ever; the ring holds the last of them */
	bool proven;        /* the known boot has echoed ours: it is no recording of an earlier one */
	uint64_t doubted;   /* a proven boot that one took the place of which is not */
};

/* Anti-replay window in the manner of RFC 4303, 3.4.3, 64 wide. */
static inline enum ftt_beat_news ftt_beat_window_accept(struct ftt_beat_window *w, uint64_t counter)
{
	uint64_t back;

	if (counter > w->top) {
		w->seen = counter - w->top < 64 ? w->seen << (counter - w->top) | 1 : 1;
		w->top = counter;
		return FTT_BEAT_COPY;
	}
	back = w->top - counter;
	if (back >= 64 || w->seen >> back & 1)
		return FTT_BEAT_REPLAY;
	w->seen |= (uint64_t)1 << back;
	return FTT_BEAT_STALE;
}

static inline void ftt_beat_retire(struct ftt_beat_peer *peer, uint64_t boot_id)
{
	if (boot_id)
		peer->retired[peer->n_retired++ % FTT_BEAT_RETIRED] = boot_id;
}

/* A boot that proved itself is left behind for good only by one that does, too: else a recording could shut it out. */
static inline void ftt_beat_adopt_boot(struct ftt_beat_peer *peer, uint64_t boot_id)
{
	if (peer->proven)
		peer->doubted = peer->boot_id;
	else
		ftt_beat_retire(peer, peer->boot_id);
	peer->boot_id = boot_id;
	peer->proven = false;
	peer->counter = 0;
	memset(peer->window, 0, sizeof(peer->window));
}

static inline void ftt_beat_prove(struct ftt_beat_peer *peer)
{
	if (peer->doubted != peer->boot_id)
		ftt_beat_retire(peer, peer->doubted);
	peer->doubted = 0;
	peer->proven = true;
}

/*
 * Decides what the beat m, authentic and in its place, brings, and remembers it.
 *
 * Boot ids are random, so an older boot cannot be told from a newer one by its number: boots that
 * were left behind are remembered. A boot that nobody here has heard of is believed when the known
 * one is silent (alive == false), or when it echoes own_boot_id: no recording of an earlier boot
 * can do that. (A recording of a boot that ended before this node started can look like a living
 * peer while the real one is silent; it cannot grant a lease, since that takes the echo.)
 */
static inline enum ftt_beat_news ftt_beat_admit(struct ftt_beat_peer *peer, const struct ftt_beat_msg *m,
						uint64_t own_boot_id, bool alive)
{
	bool new_boot = m->boot_id != peer->boot_id, proof = m->echo_boot_id == own_boot_id;
	enum ftt_beat_news news;

	if (new_boot) {
		for (uint32_t i = 0; i < FTT_BEAT_RETIRED; i++)
			if (peer->retired[i] == m->boot_id)
				return FTT_BEAT_REPLAY;
		if (alive && !proof)
			return FTT_BEAT_UNPROVEN;
		ftt_beat_adopt_boot(peer, m->boot_id);
	}
	if (proof && !peer->proven)
		ftt_beat_prove(peer);
	news = ftt_beat_window_accept(&peer->window[m->link], m->counter);
	if (news != FTT_BEAT_COPY || m->counter <= peer->counter)
		return news;
	peer->counter = m->counter;
	return new_boot ? FTT_BEAT_NEW_BOOT : FTT_BEAT_NEWEST;
}

#endif
