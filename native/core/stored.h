/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stored.h - requests by UDP that were begun, and the replies to them: what is decided about one, and how it is written.
 *
 * A request is named by its client's address and port, the service's, and its payload, or an id in that. It is noted as begun
 * before the server is given it, and its reply before that leaves. So whoever knows all notes executes none twice.
 *
 * A segment is a file of notes, as they were made:
 *
 *   "FTTREPL\n" | version u32 | 0 u32 | notes
 *   note: sum u32 | length u32 | number u64 | when u64 (s, wall clock) | kind u8 | length of the id u8 | client port u16 |
 *         service port u16 | 0 u16 | client 16 | service 16 | name 16 | id 8 | the reply's payload
 *
 * The sum is the CRC-32C of all that comes behind it in the note, which is so long in all. Numbers grow. Of two notes of one name the
 * later one counts. The bulk lane carries notes in the same form, but `when` is the note's age: clocks of nodes differ.
 */
#ifndef FTTCP_STORED_H
#define FTTCP_STORED_H
#include <stdbool.h>
#include "core/compare/digest.h"
#include "core/packet/bytes.h"
#include "core/packet/mem.h"
#include "core/types.h"

#define FTT_STORED_MAGIC "FTTREPL\n"
#define FTT_STORED_VERSION 1u
#define FTT_STORED_START 16u
#define FTT_STORED_HEAD 88u /* bytes of a note before the reply */
#define FTT_STORED_NAME 16u
#define FTT_STORED_REPLY_MAX 65000u /* with its head it is a message of the bulk lane */
#define FTT_STORED_NOTE_MAX (FTT_STORED_HEAD + FTT_STORED_REPLY_MAX)
#define FTT_STORED_COST 256u /* bytes of memory that a request counts, beside its reply */

enum ftt_stored_kind {
	FTT_STORED_NONE = 0,
	FTT_STORED_BEGUN = 1,
	FTT_STORED_ANSWERED = 2
};

struct ftt_stored_note {
	uint64_t number, when_s;
	struct ftt_key key; /* proto 17 */
	uint8_t kind;       /* enum ftt_stored_kind */
	uint8_t id_len;     /* 0 to FTT_STORED_ID */
	uint8_t name[FTT_STORED_NAME];
	uint8_t id[FTT_STORED_ID]; /* zeros behind id_len */
	const uint8_t *reply; /* points into what was read; of ANSWERED */
	uint32_t reply_len;
};

/* What reading finds. */
enum ftt_stored_found {
	FTT_STORED_FOUND = 0,
	FTT_STORED_SHORT = 1,  /* the note goes on behind these bytes */
	FTT_STORED_BROKEN = 2  /* it is none */
};

static inline void ftt_stored_start_put(uint8_t p[FTT_STORED_START])
{
	memcpy(p, FTT_STORED_MAGIC, 8);
	put_be32(p + 8, FTT_STORED_VERSION);
	put_be32(p + 12, 0);
}

/* The version of the segment that begins so; 0: it is none. */
static inline uint32_t ftt_stored_version(const uint8_t p[FTT_STORED_START])
{
	return memcmp(p, FTT_STORED_MAGIC, 8) ? 0 : get_be32(p + 8);
}

/* Writes a note, where there is room for FTT_STORED_HEAD and the reply; returns its length. */
static inline uint32_t ftt_stored_put(uint8_t *p, const struct ftt_stored_note *x)
{
	uint32_t len = FTT_STORED_HEAD + x->reply_len;

	put_be32(p + 4, len);
	put_be64(p + 8, x->number);
	put_be64(p + 16, x->when_s);
	p[24] = x->kind;
	p[25] = x->id_len;
	put_be16(p + 26, x->key.remote_port);
	put_be16(p + 28, x->key.local_port);
	put_be16(p + 30, 0);
	memcpy(p + 32, x->key.remote, 16);
	memcpy(p + 48, x->key.local, 16);
	memcpy(p + 64, x->name, FTT_STORED_NAME);
	memcpy(p + 80, x->id, FTT_STORED_ID);
	if (x->reply_len)
		memcpy(p + FTT_STORED_HEAD, x->reply, x->reply_len);
	put_be32(p, ftt_crc32c(0, p + 4, len - 4));
	return len;
}

/* Reads the note at p. `*len`: its length. Of one that is not FOUND nothing is believed. */
static inline enum ftt_stored_found ftt_stored_get(const uint8_t *p, uint64_t room, struct ftt_stored_note *x, uint32_t *len)
{
	memset(x, 0, sizeof(*x));
	*len = 0;
	if (room < FTT_STORED_HEAD)
		return FTT_STORED_SHORT;
	*len = get_be32(p + 4);
	if (*len < FTT_STORED_HEAD || *len > FTT_STORED_NOTE_MAX)
		return FTT_STORED_BROKEN;
	if (room < *len)
		return FTT_STORED_SHORT;
	if (get_be32(p) != ftt_crc32c(0, p + 4, *len - 4))
		return FTT_STORED_BROKEN;
	x->number = get_be64(p + 8);
	x->when_s = get_be64(p + 16);
	x->kind = p[24];
	x->id_len = p[25];
	x->key.proto = 17;
	x->key.remote_port = get_be16(p + 26);
	x->key.local_port = get_be16(p + 28);
	memcpy(x->key.remote, p + 32, 16);
	memcpy(x->key.local, p + 48, 16);
	memcpy(x->name, p + 64, FTT_STORED_NAME);
	memcpy(x->id, p + 80, FTT_STORED_ID);
	x->reply = p + FTT_STORED_HEAD;
	x->reply_len = *len - FTT_STORED_HEAD;
	if (x->id_len > FTT_STORED_ID || (x->kind == FTT_STORED_BEGUN ? x->reply_len : x->kind != FTT_STORED_ANSWERED))
		return FTT_STORED_BROKEN;
	return FTT_STORED_FOUND;
}

/* The id of a datagram: zeros where it is too short. */
static inline void ftt_stored_id(const struct ftt_stored_config *cfg, const uint8_t *payload, uint32_t len, uint8_t id[FTT_STORED_ID])
{
	memset(id, 0, FTT_STORED_ID);
	for (uint32_t i = 0; i < cfg->id_len && i < FTT_STORED_ID && cfg->id_at + i < len; i++)
		id[i] = payload[cfg->id_at + i];
}

/* --- what becomes of a request ---------------------------------------------------------------------- */

enum ftt_stored_step {
	FTT_STORED_BEGIN,      /* it is noted, then the server is given it */
	FTT_STORED_SAY,        /* its reply is said again */
	FTT_STORED_RUNS,       /* dropped: the server has it, or one of both notes is not kept yet */
	FTT_STORED_UNANSWERED, /* dropped: it was begun, and nobody knows what came of it */
	FTT_STORED_BUSY,       /* dropped: another one runs, and replies to them could not be told apart */
	FTT_STORED_FULL        /* dropped: there is no room for a note */
};

/* What is known of a request. */
struct ftt_stored_past {
	uint8_t kind; /* enum ftt_stored_kind */
	bool runs;    /* the server was given it lately enough to answer, or is about to be */
	bool kept;    /* its note is: here, and on the backup */
};

/* `busy`: another one from the same port, with the same id if there are ids, runs. */
static inline enum ftt_stored_step ftt_stored_asked(const struct ftt_stored_past *same, bool busy, bool room,
						    const struct ftt_stored_config *cfg)
{
	if (same->kind == FTT_STORED_ANSWERED)
		return same->kept ? FTT_STORED_SAY : FTT_STORED_RUNS;
	if (same->runs)
		return FTT_STORED_RUNS;
	if (same->kind == FTT_STORED_BEGUN && !cfg->again)
		return FTT_STORED_UNANSWERED;
	if (busy)
		return FTT_STORED_BUSY;
	return room || same->kind == FTT_STORED_BEGUN ? FTT_STORED_BEGIN : FTT_STORED_FULL;
}

#endif
