/* SPDX-License-Identifier: Apache-2.0 */
/*
 * renew.h - a UDP session whose backup is gone gets a new one: what is decided while it catches up.
 *
 * The primary has all events of the session (core/udp/log.h). They go to the new backup over the bulk lane, which gives its server each
 * in its turn, as it gives those that come one by one. Both nodes have the session as FTT_CATCHING_UP meanwhile; the primary serves
 * it as an unprotected one.
 *
 *   P   SESSION (lane), first                  the session, how many replies went out, their sum; then events
 *   B   EVENT_ACK, catching                    how far its server is
 *   P   SESSION (lane), all                    it is near: from here on events are numbered, and replies wait (FTT_OPENING)
 *   B   EVENT_ACK                              it holds all that replies up to now came from: FTT_PROTECTED, on both
 *
 * A backup that has to take over before it has `all` knows nothing of the session. The primary lets no reply out between `all` and the
 * answer, so one that has it knows of all that the client has seen.
 */
#ifndef FTTCP_UDP_RENEW_H
#define FTTCP_UDP_RENEW_H
#include "core/renewal.h"
#include "core/udp/backup.h"

#define FTT_UDP_NEAR (FTT_UDP_WINDOW / 4) /* events that the new backup's server may not have had yet, when it is asked */
#define FTT_UDP_WORD_NS 20000000ull
#define FTT_UDP_AT_ONCE 8u /* sessions of which a server that has started is told at once */
#define FTT_UDP_BURST 8u /* small datagrams that a server which says nothing is given at once from a log; see FTT_UDP_EARLY */
#define FTT_UDP_BURST_NS 2000000ull /* ... a tick later the next ones */

/* What a server was given from a log, since then, without a word of its own: in measure of FTT_UDP_BURST. */
struct ftt_burst {
	uint64_t since_ns;
	uint8_t given;
};

/* Does it get one more of so many bytes? Its socket holds only so much. */
static inline bool ftt_burst_takes(struct ftt_burst *b, uint32_t len, uint64_t now_ns)
{
	if (now_ns - b->since_ns >= FTT_UDP_BURST_NS)
		*b = (struct ftt_burst){.since_ns = now_ns};
	if (b->given >= FTT_UDP_BURST)
		return false;
	b->given += (uint8_t)(1 + len / 1024);
	return true;
}

/* --- primary ------------------------------------------------------------------------------------ */

/*
 * Does nobody follow it, and has our server had all that there is, and said as much as the client has? After a takeover it soon
 * will, or will not.
 */
static inline bool ftt_session_renewable(const struct ftt_session *s, uint64_t now_ns)
{
	bool owes = seq_lt(s->outputs + s->missing, s->sent) && now_ns - s->last_ns <= FTT_UDP_FRESH_NS;

	return (s->protection == FTT_UNPROTECTED || s->protection == FTT_DETACHED) && s->acked == s->events && s->events && !owes;
}

/* A reply that our server was waited for in vain has a number, and no part in the sum. */
static inline void ftt_session_renews(struct ftt_session *s)
{
	uint32_t outputs = seq_max(s->outputs + s->missing, s->sent);

	s->protection = FTT_CATCHING_UP;
	s->sums.broken |= s->outputs != outputs;
	s->outputs = outputs;
	s->missing = s->owed = 0;
	s->granted = 0;
}

/* The new backup's server has been given so many: has it got on? */
static inline bool ftt_session_gets_on(struct ftt_session *s, const struct ftt_record *r)
{
	if (s->protection != FTT_CATCHING_UP || r->outputs > s->events || r->outputs <= s->granted)
		return false;
	s->granted = r->outputs;
	return true;
}

static inline bool ftt_session_near(const struct ftt_session *s)
{
	return s->protection == FTT_CATCHING_UP && s->events - s->granted <= FTT_UDP_NEAR;
}

/* All is on its way: what our server says from here on waits for the new backup. */
static inline void ftt_session_asked(struct ftt_session *s, uint64_t now_ns)
{
	s->protection = FTT_OPENING;
	s->granted = s->events - 1;
	s->silent_ns = now_ns;
}

/* It comes to nothing. */
static inline void ftt_session_renewed_not(struct ftt_session *s)
{
	if (s->protection != FTT_CATCHING_UP)
		return;
	s->protection = FTT_UNPROTECTED;
	s->reason = FTT_WHY_SOLO;
}

/* --- backup ------------------------------------------------------------------------------------- */

static inline void ftt_session_catches_up(struct ftt_session *s)
{
	s->protection = FTT_CATCHING_UP;
	s->reason = FTT_WHY_NONE;
}

/* How far its server is, is said as that changes, and again: the word may be lost. */
static inline bool ftt_session_word_is_due(const struct ftt_session *s, uint32_t told, uint64_t told_ns, uint64_t now_ns)
{
	return told != s->acked || now_ns - told_ns > FTT_UDP_WORD_NS;
}

/* Everything is here. */
static inline void ftt_session_caught_up(struct ftt_session *s)
{
	s->protection = FTT_PROTECTED;
}

#endif
