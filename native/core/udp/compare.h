/* SPDX-License-Identifier: Apache-2.0 */
/*
 * compare.h - are the replies of both servers of a UDP session the same?
 *
 * There is no stream: each node sums the payloads of its server's replies, in order. With each word of
 * what went out comes the primary's sum; the backup knows its own after each of its last replies.
 */
#ifndef FTTCP_UDP_COMPARE_H
#define FTTCP_UDP_COMPARE_H
#include "core/udp/session.h"

static inline bool ftt_session_sums(const struct ftt_session *s, const struct ftt_policy *policy)
{
	return policy->compare && !s->sums.broken;
}

/* The last reply was not seen whole. */
static inline void ftt_session_unsummed(struct ftt_session *s)
{
	s->sums.broken = true;
}

/* The sum of all replies up to the last one. */
static inline void ftt_session_summed(struct ftt_session *s, uint32_t crc)
{
	s->sums.crc = crc;
	s->sums.after[s->outputs % FTT_UDP_RETAINED] = crc;
}

static inline uint32_t ftt_session_judge(struct ftt_session *s, uint32_t number, uint32_t crc, const struct ftt_policy *policy)
{
	if (s->sums.after[number % FTT_UDP_RETAINED] == crc)
		return FTT_UDP_COMPARED;
	s->sums.broken = true; /* all later sums differ as well */
	s->divergences++;
	return FTT_UDP_COMPARED | FTT_UDP_DIFFER | (policy->detach_divergent ? FTT_UDP_GIVE_UP : 0);
}

/* The primary told of its replies. */
static inline uint32_t ftt_session_compare(struct ftt_session *s, const struct ftt_record *sent, const struct ftt_policy *policy)
{
	if (!ftt_session_sums(s, policy) || !(sent->flags & FTT_REC_SUM))
		return 0;
	s->sums.waits = seq_gt(sent->number, s->outputs);
	s->sums.their_number = sent->number;
	s->sums.their_crc = sent->crc;
	if (s->sums.waits)
		return 0;
	if (s->outputs - sent->number < FTT_UDP_RETAINED)
		return ftt_session_judge(s, sent->number, sent->crc, policy);
	return FTT_UDP_UNCOMPARED;
}

/* ... when our own server has spoken. */
static inline uint32_t ftt_session_compare_late(struct ftt_session *s, const struct ftt_policy *policy)
{
	if (!s->sums.waits || s->sums.broken || s->outputs != s->sums.their_number)
		return 0;
	s->sums.waits = false;
	return ftt_session_judge(s, s->sums.their_number, s->sums.their_crc, policy);
}

#endif
