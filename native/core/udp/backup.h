/* SPDX-License-Identifier: Apache-2.0 */
/* backup.h - UDP, the backup, and who took over: when its server is given what, and when it is behind for too long. */
#ifndef FTTCP_UDP_BACKUP_H
#define FTTCP_UDP_BACKUP_H
#include "core/udp/session.h"

#define FTT_UDP_ORDER_NS 100000000ull /* how long a datagram waits for replies that may never come */
#define FTT_UDP_EARLY 8 /* small datagrams that it is given in that time all the same; one of 1,468 bytes takes 2,304 of a socket's 212,992 */
#define FTT_UDP_BEHIND (FTT_UDP_WINDOW / 2) /* events that a server may not have had yet, for the primary's replies to go */
#define FTT_UDP_FRESH_NS 1000000000ull /* a client has timers, too: it has asked again, or waits for nothing */

/* Is our server so far behind that the primary has to wait, with its replies, for it? */
static inline bool ftt_session_behind(const struct ftt_session *s)
{
	return s->events - s->acked > FTT_UDP_BEHIND;
}

/* What an EVENT_ACK tells: events whose replies may go. */
static inline uint32_t ftt_session_grants(const struct ftt_session *s)
{
	return ftt_session_behind(s) ? s->acked + FTT_UDP_BEHIND : s->events;
}

/*
 * Has our server given the replies that the primary's had given (`outputs`) when this datagram came? One that is silent for
 * long may have none to give: then it gets the datagram, and is not waited for for those replies again. But it does not get
 * all that have come since: a server that did not run has a socket that holds only so many.
 */
static inline bool ftt_session_turn(struct ftt_session *s, uint32_t outputs, uint32_t len, uint16_t port, uint64_t since_ns,
				    const struct ftt_env *env)
{
	uint32_t given = s->outputs + s->missing, cost = 1 + len / 1024;
	bool absent = ftt_session_unmapped(s, port); /* nobody would get it */

	if (!absent && !seq_lt(given, outputs))
		return true;
	if (!s->silent_ns)
		s->silent_ns = env->now_ns;
	if (env->now_ns - since_ns < (absent ? env->policy->detach_after_ns : FTT_UDP_ORDER_NS))
		return false;
	if (env->now_ns - s->early_ns >= FTT_UDP_ORDER_NS) {
		s->early_ns = env->now_ns;
		s->early = 0;
	}
	if (s->early && s->early + cost > FTT_UDP_EARLY)
		return false;
	s->early += (uint8_t)cost;
	if (seq_lt(given, outputs))
		s->missing += outputs - given;
	return true;
}

/* It was given the next event, or that is a port of the other one, whose turn it is: returns its number. */
static inline uint32_t ftt_session_given(struct ftt_session *s)
{
	return ++s->acked;
}

/* All whose turn it is was given. `before`, `waited`: how far it was, and whether the primary waited for it. */
static inline uint32_t ftt_session_delivered(struct ftt_session *s, uint32_t before, bool waited, const struct ftt_env *env)
{
	if (s->events - s->acked < FTT_UDP_BEHIND / 2 || s->protection == FTT_CATCHING_UP)
		s->behind_ns = 0;
	else if (ftt_session_behind(s) && !s->behind_ns)
		s->behind_ns = env->now_ns;
	return waited && s->acked != before && env->mode == FTT_MODE_BACKUP ? FTT_UDP_ACKNOWLEDGE : 0;
}

/* Can event `number` be kept? The ring also holds what the server has not had yet. */
static inline bool ftt_session_wants(const struct ftt_session *s, uint32_t number)
{
	uint32_t ahead = number - s->events;

	return ahead && ahead <= FTT_UDP_WINDOW && number - s->acked <= FTT_UDP_WINDOW;
}

/*
 * A port that nobody has is no fault where the session has ended on both nodes, as a transfer after its last datagram. But here
 * the primary's server has said more than ours, which is gone and will never say it. What is said to another port says nothing of it.
 */
static inline bool ftt_session_deserted(const struct ftt_session *s, uint16_t local_port)
{
	return s->nobody && s->nobody == local_port && seq_lt(s->outputs, s->answered);
}

/* The next event is here without a gap. False: the session is not followed any more. */
static inline bool ftt_session_follows(struct ftt_session *s, bool is_port, uint16_t port, uint32_t outputs)
{
	uint32_t fewer = seq_lt(s->outputs, outputs) ? outputs - s->outputs : 0;

	s->events++;
	if (s->missing > fewer) /* a server that was only slow is waited for again when it has caught up */
		s->missing = fewer;
	if (is_port)
		return true;
	s->answered = outputs;
	return !ftt_session_deserted(s, ftt_session_to_local(s, port));
}

/* A datagram could not be given to our server: what is said to that port is lost. */
static inline void ftt_session_lacks(struct ftt_session *s, uint16_t port)
{
	s->nobody = port;
}

/* Our stack found no server at this port. False: the session is not followed any more. */
static inline bool ftt_session_nobody(struct ftt_session *s, uint16_t port)
{
	ftt_session_lacks(s, port);
	return !ftt_session_deserted(s, port);
}

/* Our server speaks, from this port, and nothing goes out. */
static inline void ftt_session_murmurs(struct ftt_session *s, uint16_t port)
{
	s->outputs++;
	if (s->nobody == port)
		s->nobody = 0;
	s->silent_ns = 0;
}

/* The primary told that replies up to this one have gone to the client. */
static inline void ftt_session_sent(struct ftt_session *s, uint32_t number)
{
	s->sent = seq_max(s->sent, number);
}

/* Has our server been behind for so long that the session is not to be followed any more? */
static inline bool ftt_session_lags(const struct ftt_session *s, const struct ftt_env *env)
{
	uint64_t limit_ns = env->policy->detach_after_ns;

	return s->acked != s->events && ((s->silent_ns && env->now_ns - s->silent_ns > limit_ns) ||
					 (s->behind_ns && env->now_ns - s->behind_ns > limit_ns));
}

/* --- who took over ----------------------------------------------------------------------------------------- */

/*
 * The reply that the client had last, of which `kept_ns` tells when it left (0: it is not kept) and `number` which it is: is it to be said
 * again? If as far as we know the client has said nothing since. If our server has not given it yet, it is owed.
 */
static inline bool ftt_session_says_again(struct ftt_session *s, uint64_t kept_ns, uint32_t number, const struct ftt_env *env)
{
	if (kept_ns && env->now_ns - kept_ns <= FTT_UDP_FRESH_NS && seq_gt(number, s->answered) && !s->divergences)
		return true;
	if (seq_lt(s->outputs + s->missing, s->sent) && seq_gt(s->sent, s->answered) && env->now_ns - s->last_ns <= FTT_UDP_FRESH_NS)
		s->owed = s->sent;
	return false;
}

/* Is nothing left that could tell of a port of the old primary's server? */
static inline bool ftt_session_names(const struct ftt_session *s)
{
	return s->acked == s->events || seq_geq(s->acked, s->followed);
}

/* Has it had this event of the old primary? If not it has it now, when this is the last part. */
static inline bool ftt_session_has_had(struct ftt_session *s, uint32_t number, bool last)
{
	if (seq_leq(number, s->followed))
		return true;
	if (last)
		s->followed = number;
	return false;
}

/* What becomes of a reply in a session that nobody follows. */
enum ftt_session_reply { FTT_REPLY_LEAVES, FTT_REPLY_OWED, FTT_REPLY_ACKED, FTT_REPLY_SILENT };

/* After a takeover our server may still give those that the client has of the old primary. */
static inline enum ftt_session_reply ftt_session_speaks_alone(struct ftt_session *s, const struct ftt_env *env)
{
	uint32_t number = ++s->outputs + s->missing;
	bool has = seq_leq(number, s->sent), owed = has && s->owed && number == s->owed && !s->divergences;

	s->silent_ns = 0;
	if (ftt_gate_alone(env))
		return FTT_REPLY_SILENT;
	if (has && !owed)
		return FTT_REPLY_ACKED;
	s->sent = number;
	s->owed = owed ? 0 : s->owed;
	return owed ? FTT_REPLY_OWED : FTT_REPLY_LEAVES;
}

#endif
