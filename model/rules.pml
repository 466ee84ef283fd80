/* SPDX-License-Identifier: Apache-2.0 */
/* rules.pml - the rules that make ownership safe and live, each with the mutation that leaves it out. */

#ifdef CONSENT
#define leaves_it_to_the_other(n) (node[n].phase == FOLLOWING || node[n].phase == HANDOVER)
#else
#define leaves_it_to_the_other(n) (node[n].phase == FOLLOWING)
#endif
/*
 * With more than two nodes: a follower grants nothing to an owner that may be replaced by a proposal of its own, or
 * was, as far as it knows: a third node could serve while the old owner emits under the grants. Register.replaces.
 */
#ifdef GRANT_IN_DOUBT
#define in_doubt(n) false
#else
#define in_doubt(n) node[n].doubt
#endif
#ifdef GRANT_TO_REPLACED
#define replaced(n) false
#else
#define replaced(n) node[n].newer
#endif
#ifdef THIRD
#define certain(n) (!in_doubt(n) && !replaced(n))
#else
#define certain(n) true
#endif
/* State.grantee: a follower that has a claim of its own under way grants nothing. */
#if defined(GRANT_AND_OWN)
#define granting(n) (leaves_it_to_the_other(n) || node[n].phase == SOLO)
#elif defined(GRANT_AND_CLAIM)
#define granting(n) leaves_it_to_the_other(n)
#else
#define granting(n) (leaves_it_to_the_other(n) && node[n].ask != TO_SOLO && certain(n))
#endif
#ifdef HALTS
#define grants(n) (granting(n) && (!node[n].forced || node[n].grants_on))
#define refreshes (leaves_it_to_the_other(me) && !ME.forced)    /* the core counts from the withdrawal, it hears no beats */
#else
#define grants(n) granting(n)
#define refreshes leaves_it_to_the_other(me)
#endif

#ifdef NO_LEASE_WAIT
#define waited true
#else
#define waited (ME.promise == 0)
#endif

/* A primary that offered its role takes it back by itself, when nobody answers. */
#ifdef NO_TAKING_BACK
#define takes_back false
#else
#define takes_back waited_in_vain
#endif

/* Whoever has no right to emit, and cannot ask for it, does not hold others up by beats of a primary. */
#ifdef CLINGS
#define gives_up_in_the_end false
#else
#define gives_up_in_the_end waited_in_vain
#endif

/*
 * _make_way: a node that cannot serve ends the pair that the record names, for only its members may; anybody may
 * replace the solo record that comes of it, since nobody renews that.
 */
#if defined(LIVENESS) && defined(THIRD) && !defined(NO_MAKING_WAY)
#define makes_way (third && mode == WITH_BACKUP && ME.epoch == 1)
#else
#define makes_way false
#endif

/* ------------------------------------------------------------------ the arbiter's */

#define current(n) (node[n].epoch == 1 || mode == NOBODY)
#ifdef NO_CAS
#define stands(n) true
#else
#define stands(n) current(n)
#endif

#if defined(NO_SOLO_WAIT)
#define lapsed true
#elif defined(NEVER_LAPSES)
#define lapsed false
#else
#define lapsed (term == 0)
#endif
/* Who may replace the record: its holder, the backup of a pair, anybody when a solo holder's lease has lapsed. */
#define may_replace(n) (mode == NOBODY || holder == n || mode == WITH_BACKUP || lapsed)
#define granted_by_arbiter(n) (node[n].ask == RENEW || (stands(n) && may_replace(n)))
