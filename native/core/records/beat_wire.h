/* SPDX-License-Identifier: Apache-2.0 */
/*
 * beat_wire.h - the heartbeat as bytes, and which heartbeats are new. Pure: no I/O, no clock.
 *
 * Layout, big-endian:
 *
 *    0 magic u32 | 4 version u8 | 5 flags u8 | 6 link u8 | 7 zero u8
 *    8 key_id u32 | 12 body_len u16 | 14 zero u16
 *   16 cluster_id u64 | 24 node_id u64 | 32 to_node_id u64 | 40 boot_id u64 | 48 counter u64
 *   56 t_send_ns u64 | 64 echo_boot_id u64 | 72 echo_t_ns u64 | 80 intrusions u64
 *   88 body[body_len] | MAC[16]: keyed BLAKE2b (RFC 7693) of everything before it
 *
 * With the flag FTT_BEAT_SEALED body and MAC are XChaCha20-Poly1305 (draft-irtf-cfrg-xchacha) instead:
 * the header is its additional data, so it is authenticated as well, but readable. The key is
 * keyed BLAKE2b-256 of "fttcp beat body", the nonce BLAKE2b-192 of the header, which holds sender,
 * receiver, boot, counter and link: never twice the same.
 *
 * A beat is made for one peer, since echo and grant are for that one alone; node_id is its sender,
 * to_node_id its receiver. It goes over every link between the two with one counter; `link` is the
 * sender's index of the link, so the copies differ and a copy recorded on one link proves nothing on
 * another. Both nodes therefore list their links in the same order. t_send_ns is the sender's
 * CLOCK_BOOTTIME and means nothing to the receiver, which hands it back as echo_t_ns; echo_boot_id
 * says whose clock it was. intrusions: how many forged or repeated beats the sender has met since its
 * boot, so that every node can tell of what happens to one.
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
#define FTT_BEAT_VERSION 2
#define FTT_BEAT_GRANT 0x01u /* the sender will not take over within lease_ns of the beat it echoes */
#define FTT_BEAT_SEALED 0x02u
#define FTT_BEAT_HEADER 88
#define FTT_BEAT_MAC 16
#define FTT_BEAT_MIN (FTT_BEAT_HEADER + FTT_BEAT_MAC)
#define FTT_BEAT_MAX (FTT_BEAT_HEADER + FTT_BEAT_BODY_MAX + FTT_BEAT_MAC)
#define FTT_BEAT_RETIRED 16 /* boots that the peer has left behind and that we remember */

/* Why a datagram is not a heartbeat (decode), or not one for us (ftt_beat_check_place). */
enum ftt_beat_error {
	FTT_BEAT_OK = 0,
	FTT_BEAT_E_SHORT = 1,     /* shorter than header and MAC */
	FTT_BEAT_E_LONG = 2,      /* longer than the longest beat */
	FTT_BEAT_E_MAGIC = 3,
	FTT_BEAT_E_VERSION = 4,
	FTT_BEAT_E_FLAGS = 5,     /* a flag that this version does not know */
	FTT_BEAT_E_LINK = 6,      /* link index beyond FTT_MAX_LINKS */
	FTT_BEAT_E_RESERVED = 7,  /* a field that must be zero is not */
	FTT_BEAT_E_BODY_LEN = 8,  /* body_len beyond FTT_BEAT_BODY_MAX */
	FTT_BEAT_E_LENGTH = 9,    /* datagram length does not fit body_len */
	FTT_BEAT_E_KEY_ID = 10,   /* made with another key */
	FTT_BEAT_E_MAC = 11,
	FTT_BEAT_E_BOOT = 12,     /* from here on the MAC was right. boot_id 0 */
	FTT_BEAT_E_COUNTER = 13,  /* counter 0 */
	FTT_BEAT_E_ECHO = 14,     /* an echoed time without the boot that it belongs to */
	FTT_BEAT_E_CLUSTER = 15,  /* another group's beat */
	FTT_BEAT_E_NODE = 16,     /* not the peer's: a stranger's, or our own reflected */
	FTT_BEAT_E_RECEIVER = 17  /* made for another node */
};

/* A beat's fields in host order. body points into the caller's bytes, and may be NULL when body_len is 0. */
struct ftt_beat_msg {
	uint64_t cluster_id, node_id, to_node_id, boot_id, counter;
	uint64_t t_send_ns, echo_boot_id, echo_t_ns, intrusions;
	uint32_t key_id;
	uint16_t body_len;
	uint8_t flags, link;
	const uint8_t *body;
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

/* Puts MAC, or cipher text and tag, under a header and body that are written already. */
static inline void ftt_beat_seal(uint8_t *out, size_t body_len, const uint8_t key[32])
{
	uint8_t *body = out + FTT_BEAT_HEADER, secret[32], nonce[24];

	if (!(out[5] & FTT_BEAT_SEALED)) {
		crypto_generichash(body + body_len, FTT_BEAT_MAC, out, FTT_BEAT_HEADER + body_len, key, 32);
		return;
	}
	ftt_beat_body_secrets(out, key, secret, nonce);
	crypto_aead_xchacha20poly1305_ietf_encrypt(body, NULL, body, body_len, out, FTT_BEAT_HEADER, NULL, nonce, secret);
	sodium_memzero(secret, sizeof(secret));
}

/* Checks what ftt_beat_seal() made; a sealed body is in clear afterwards. */
static inline bool ftt_beat_unseal(uint8_t *p, size_t body_len, const uint8_t key[32])
{
	uint8_t *body = p + FTT_BEAT_HEADER, secret[32], nonce[24], mac[FTT_BEAT_MAC];
	bool good;

	if (!(p[5] & FTT_BEAT_SEALED)) {
		crypto_generichash(mac, sizeof(mac), p, FTT_BEAT_HEADER + body_len, key, 32);
		return !sodium_memcmp(mac, body + body_len, FTT_BEAT_MAC);
	}
	ftt_beat_body_secrets(p, key, secret, nonce);
	good = !crypto_aead_xchacha20poly1305_ietf_decrypt(body, NULL, NULL, body, body_len + FTT_BEAT_MAC, p, FTT_BEAT_HEADER,
							   nonce, secret);
	sodium_memzero(secret, sizeof(secret));
	return good;
}

/*
 * Writes a whole beat, MAC included, to out. key_id is filled in from m.
 * Returns its length in bytes; 0 when the body is too long or room does not suffice.
 */
static inline size_t ftt_beat_encode(uint8_t *out, size_t room, const struct ftt_beat_msg *m, const uint8_t key[32])
{
	size_t signed_len = FTT_BEAT_HEADER + (size_t)m->body_len;

	if (m->body_len > FTT_BEAT_BODY_MAX || room < signed_len + FTT_BEAT_MAC)
		return 0;
	put_be32(out, FTT_BEAT_MAGIC);
	out[4] = FTT_BEAT_VERSION;
	out[5] = m->flags;
	out[6] = m->link;
	out[7] = 0;
	put_be32(out + 8, m->key_id);
	put_be16(out + 12, m->body_len);
	put_be16(out + 14, 0);
	put_be64(out + 16, m->cluster_id);
	put_be64(out + 24, m->node_id);
	put_be64(out + 32, m->to_node_id);
	put_be64(out + 40, m->boot_id);
	put_be64(out + 48, m->counter);
	put_be64(out + 56, m->t_send_ns);
	put_be64(out + 64, m->echo_boot_id);
	put_be64(out + 72, m->echo_t_ns);
	put_be64(out + 80, m->intrusions);
	if (m->body_len)
		memcpy(out + FTT_BEAT_HEADER, m->body, m->body_len);
	ftt_beat_seal(out, m->body_len, key);
	return signed_len + FTT_BEAT_MAC;
}

static inline enum ftt_beat_error ftt_beat_check_shape(const uint8_t *p, size_t len)
{
	size_t body_len;

	if (len < FTT_BEAT_MIN)
		return FTT_BEAT_E_SHORT;
	if (len > FTT_BEAT_MAX)
		return FTT_BEAT_E_LONG;
	if (get_be32(p) != FTT_BEAT_MAGIC)
		return FTT_BEAT_E_MAGIC;
	if (p[4] != FTT_BEAT_VERSION)
		return FTT_BEAT_E_VERSION;
	if (p[5] & ~(FTT_BEAT_GRANT | FTT_BEAT_SEALED))
		return FTT_BEAT_E_FLAGS;
	if (p[6] >= FTT_MAX_LINKS)
		return FTT_BEAT_E_LINK;
	if (p[7] || p[14] || p[15])
		return FTT_BEAT_E_RESERVED;
	body_len = get_be16(p + 12);
	if (body_len > FTT_BEAT_BODY_MAX)
		return FTT_BEAT_E_BODY_LEN;
	return len == FTT_BEAT_MIN + body_len ? FTT_BEAT_OK : FTT_BEAT_E_LENGTH;
}

/*
 * Reads and authenticates a datagram: shape first, then the MAC, then the fields.
 * *m is meaningful only after FTT_BEAT_OK; m->body points into p, where a sealed body is opened.
 * key_id: of our own key. After FTT_BEAT_E_KEY_ID p is untouched, and another key may be tried.
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
	if (!ftt_beat_unseal(p, get_be16(p + 12), key))
		return FTT_BEAT_E_MAC;
	m->flags = p[5];
	m->link = p[6];
	m->body_len = get_be16(p + 12);
	m->cluster_id = get_be64(p + 16);
	m->node_id = get_be64(p + 24);
	m->to_node_id = get_be64(p + 32);
	m->boot_id = get_be64(p + 40);
	m->counter = get_be64(p + 48);
	m->t_send_ns = get_be64(p + 56);
	m->echo_boot_id = get_be64(p + 64);
	m->echo_t_ns = get_be64(p + 72);
	m->intrusions = get_be64(p + 80);
	m->body = p + FTT_BEAT_HEADER;
	if (!m->boot_id)
		return FTT_BEAT_E_BOOT;
	if (!m->counter)
		return FTT_BEAT_E_COUNTER;
	return !m->echo_boot_id && m->echo_t_ns ? FTT_BEAT_E_ECHO : FTT_BEAT_OK;
}

/* Is this authentic beat of our group, and made by `from` for `to`? Which link it belongs to, the link's owner knows. */
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
	FTT_BEAT_STALE,    /* overtaken on its own link: genuine, but says nothing new */
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

static inline void ftt_beat_adopt_boot(struct ftt_beat_peer *peer, uint64_t boot_id)
{
	if (peer->boot_id)
		peer->retired[peer->n_retired++ % FTT_BEAT_RETIRED] = peer->boot_id;
	peer->boot_id = boot_id;
	peer->counter = 0;
	memset(peer->window, 0, sizeof(peer->window));
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
	bool new_boot = m->boot_id != peer->boot_id;
	enum ftt_beat_news news;

	if (new_boot) {
		for (uint32_t i = 0; i < FTT_BEAT_RETIRED; i++)
			if (peer->retired[i] == m->boot_id)
				return FTT_BEAT_REPLAY;
		if (alive && m->echo_boot_id != own_boot_id)
			return FTT_BEAT_UNPROVEN;
		ftt_beat_adopt_boot(peer, m->boot_id);
	}
	news = ftt_beat_window_accept(&peer->window[m->link], m->counter);
	if (news != FTT_BEAT_COPY || m->counter <= peer->counter)
		return news;
	peer->counter = m->counter;
	return new_boot ? FTT_BEAT_NEW_BOOT : FTT_BEAT_NEWEST;
}

#endif
