/* SPDX-License-Identifier: Apache-2.0 */
/*
 * renewal.h - a new backup catches up: with how much at once, for how long it may stand still, and when what failed is tried again. TCP,
 * UDP and histories alike.
 */
#ifndef FTTCP_RENEWAL_H
#define FTTCP_RENEWAL_H
#include <stdbool.h>
#include <stdint.h>
#include "core/types.h"

#define FTT_RENEW_AT_ONCE 64u      /* flows whose stack has not answered yet: no more than fit where a server accepts */
#define FTT_RENEW_ACTIVE 1024u     /* flows in all */
#define FTT_RENEW_REOPENED 256u    /* that its server has yet to open again: others have room where such wait as well (taken.h) */
#define FTT_RENEW_SESSIONS 256u    /* sessions of UDP */
#define FTT_RENEW_STALL_NS 10000000000ull /* who has not got on for so long does not catch up */
#define FTT_RENEW_UNREAD_NS 1000000000ull /* a server that has not read for so long did not read in its first life either */
#define FTT_RENEW_AGAIN_NS 30000000000ull /* after a failure all that rests is tried again ... */
#define FTT_RENEW_AGAIN_MOST_NS (60 * FTT_RENEW_AGAIN_NS) /* ... then less and less often: it costs the backup's server another run */

/* May one more flow begin, where so many have not answered, and so many do catch up? */
static inline bool ftt_renewal_may_begin(uint32_t unanswered, uint32_t active)
{
	return unanswered < FTT_RENEW_AT_ONCE && active < FTT_RENEW_ACTIVE;
}

/* ... that its server has to open again? */
static inline bool ftt_renewal_may_reopen(uint32_t unopened, uint32_t active)
{
	return unopened < FTT_RENEW_REOPENED && active < FTT_RENEW_ACTIVE;
}

static inline bool ftt_renewal_stalls(uint64_t moved_ns, uint64_t now_ns)
{
	return now_ns - moved_ns > FTT_RENEW_STALL_NS;
}

/* Backup: has the primary said nothing of it for so long that it is nobody's? */
static inline bool ftt_renewal_deserted(uint64_t heard_ns, uint64_t now_ns)
{
	return now_ns - heard_ns > 3 * FTT_RENEW_STALL_NS;
}

/* --- again ---------------------------------------------------------------------------------------- */

/* Of all that was not renewed in time. */
struct ftt_renew_again {
	uint64_t at_ns;   /* 0: nothing waits for it */
	uint64_t wait_ns; /* how long what fails next waits */
};

/* A backup comes: it knows nothing of earlier failures. */
static inline void ftt_again_anew(struct ftt_renew_again *a)
{
	*a = (struct ftt_renew_again){.wait_ns = FTT_RENEW_AGAIN_NS};
}

/* For some reasons it would fail again. */
static inline void ftt_again_failed(struct ftt_renew_again *a, enum ftt_unrenewable why, uint64_t now_ns)
{
	if (why == FTT_NOT_IN_TIME && !a->at_ns)
		a->at_ns = now_ns + a->wait_ns;
}

/* Is it time to? Then the next time is later. */
static inline bool ftt_again_due(struct ftt_renew_again *a, uint64_t now_ns)
{
	if (!a->at_ns || now_ns < a->at_ns)
		return false;
	a->at_ns = 0;
	a->wait_ns = a->wait_ns < FTT_RENEW_AGAIN_MOST_NS / 2 ? a->wait_ns * 2 : FTT_RENEW_AGAIN_MOST_NS;
	return true;
}

/* --- a server that was started for a takeover ----------------------------------------------------------- */

/*
 * One that does not get on with a connection may not with any other, and nobody is served meanwhile: from the first one on it is borne
 * for less, and after FTT_PROMOTE_ALL_NS no more connections are told.
 */
#define FTT_PROMOTE_LESS_NS 1000000000ull
#define FTT_PROMOTE_ALL_NS 30000000000ull

/* since_ns: when it was first seen to stand still; 0: never. Now it may have been. */
static inline uint64_t ftt_promote_stands(uint64_t since_ns, uint64_t moved_ns, uint64_t now_ns)
{
	return since_ns || !ftt_renewal_stalls(moved_ns, now_ns) ? since_ns : now_ns;
}

/* Is a connection given up with which it last got on then? */
static inline bool ftt_promote_gives_up(uint64_t since_ns, uint64_t moved_ns, uint64_t now_ns)
{
	return now_ns - moved_ns > (since_ns ? FTT_PROMOTE_LESS_NS : FTT_RENEW_STALL_NS);
}

/* ... and all that it has not been told of? */
static inline bool ftt_promote_is_over(uint64_t since_ns, uint64_t now_ns)
{
	return since_ns && now_ns - since_ns > FTT_PROMOTE_ALL_NS;
}

#endif
