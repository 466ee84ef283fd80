/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lease.h - the right to emit, as a pure state machine. Times are ns of CLOCK_BOOTTIME,
 * so a lease does not outlast a suspended host.
 *
 * What until_ns is follows from the policy alone:
 *
 *   NONE     0
 *   GRANTED  t + D, t being the send time of our newest beat that the partner echoed with a grant. The
 *            partner promised not to take over before D * (1 + drift) after it received that beat,
 *            which was later than t. Grants are recorded under every policy and of every peer, but
 *            used only here, and only the partner's: so a solo primary that gets a backup (SELF ->
 *            GRANTED) has at once exactly what that backup promised: not a moment more, though its
 *            SELF lease, or what another backup granted, may have reached further.
 *   SELF     last renewal + D, the first being the moment at which the lease was decided, not the one at
 *            which the order came here: between the two the host may have been stopped. A lease that
 *            ran out is not renewed: whoever was stopped for longer than D cannot know what happened
 *            meanwhile, so it stays silent until the policy is set again by someone who has looked.
 *
 * limit_ns cuts SELF and GRANTED short: an arbiter's word ends by itself, whoever renews or grants.
 *
 * NONE voids all grants for beats sent before it: one who gave the service away does not get it
 * back through an old promise.
 */
#ifndef FTTCP_LEASE_H
#define FTTCP_LEASE_H
#include <stdbool.h>
#include <stdint.h>
#include "core/env.h"
#include "core/types.h"

/* May a node of this mode speak now, by a lease of this policy that reaches so far? The one question of I1 and I4. */
static inline bool ftt_lease_lets_speak(uint8_t mode, uint32_t policy, uint64_t until_ns, uint64_t now_ns)
{
	return ftt_flow_emits(mode) && policy != FTT_LEASE_NONE && now_ns < until_ns;
}

struct ftt_lease {
	uint64_t worth_ns;         /* D */
	uint64_t until_ns;
	uint64_t granted_until_ns[FTT_MAX_PEERS];
	uint64_t floor_ns;         /* beats sent before this moment grant nothing */
	uint64_t limit_ns;         /* no lease reaches further; 0: no limit */
	uint32_t policy;           /* enum ftt_lease_policy */
	uint32_t partner;          /* whose grants count */
	bool open;                 /* was valid when last looked at: its end is worth telling */
};

static inline uint64_t ftt_lease_cut(const struct ftt_lease *l, uint64_t until_ns)
{
	return l->limit_ns && l->limit_ns < until_ns ? l->limit_ns : until_ns;
}

static inline void ftt_lease_use_grants(struct ftt_lease *l, uint64_t now_ns)
{
	l->until_ns = ftt_lease_cut(l, l->granted_until_ns[l->partner]);
	l->open = l->open || now_ns < l->until_ns;
}

/* A group's first: of D, with this partner. What was promised to the group as it was before is not for this one. */
static inline void ftt_lease_init(struct ftt_lease *l, uint64_t worth_ns, uint32_t partner, uint64_t now_ns)
{
	*l = (struct ftt_lease){.worth_ns = worth_ns, .floor_ns = now_ns, .partner = partner};
}

/* Before the policy that it belongs to. */
static inline void ftt_lease_set_limit(struct ftt_lease *l, uint64_t limit_ns)
{
	l->limit_ns = limit_ns;
}

static inline void ftt_lease_set_policy(struct ftt_lease *l, uint32_t policy, uint64_t decided_ns, uint64_t now_ns)
{
	bool kept_up = l->policy == FTT_LEASE_SELF && l->open && now_ns < l->until_ns;
	uint64_t until_ns = (decided_ns < now_ns ? decided_ns : now_ns) + l->worth_ns;

	l->policy = policy;
	switch (policy) {
	case FTT_LEASE_SELF: /* another limit for a lease that is kept up does not shorten it otherwise */
		l->until_ns = ftt_lease_cut(l, kept_up && l->until_ns > until_ns ? l->until_ns : until_ns);
		l->open = true;
		break;
	case FTT_LEASE_GRANTED:
		ftt_lease_use_grants(l, now_ns);
		break;
	default:
		l->until_ns = 0;
		for (uint32_t i = 0; i < FTT_MAX_PEERS; i++)
			l->granted_until_ns[i] = 0;
		l->floor_ns = now_ns;
		l->open = false;
	}
}

/* From here on the grants of this peer count, and no other's. */
static inline void ftt_lease_set_partner(struct ftt_lease *l, uint32_t partner, uint64_t now_ns)
{
	l->partner = partner;
	if (l->policy == FTT_LEASE_GRANTED)
		ftt_lease_use_grants(l, now_ns);
}

/* The peer granted, and echoed our beat sent at sent_ns. An echo from the future is nobody's echo. */
static inline void ftt_lease_grant(struct ftt_lease *l, uint32_t peer, uint64_t sent_ns, uint64_t now_ns)
{
	if (sent_ns < l->floor_ns || sent_ns > now_ns)
		return;
	if (sent_ns + l->worth_ns > l->granted_until_ns[peer])
		l->granted_until_ns[peer] = sent_ns + l->worth_ns;
	if (l->policy == FTT_LEASE_GRANTED && peer == l->partner)
		ftt_lease_use_grants(l, now_ns);
}

/* One beat of the thread that keeps a SELF lease alive. */
static inline void ftt_lease_renew(struct ftt_lease *l, uint64_t now_ns)
{
	if (l->policy == FTT_LEASE_SELF && l->open && now_ns < l->until_ns && now_ns + l->worth_ns > l->until_ns)
		l->until_ns = ftt_lease_cut(l, now_ns + l->worth_ns);
}

/* True exactly once for each time the lease ran out by itself. */
static inline bool ftt_lease_ran_out(struct ftt_lease *l, uint64_t now_ns)
{
	if (!l->open || now_ns < l->until_ns)
		return false;
	l->open = false;
	return true;
}

#endif
