/* SPDX-License-Identifier: Apache-2.0 */
/* steps.pml - what the steps of a daemon are made of. */

inline close_request() { ME.ask = NOTHING; ME.won = false; ME.asked = 0 }

/* UNREACHABLE. The change may have been made, or be made later: its sender does not know. */
inline forget_request() {
	ME.epoch = (ME.won && ME.ask != RENEW -> 0 : ME.epoch);
	close_request()
}

/* With more than two nodes: grants count no longer than the solo record would that a proposal may bring. */
#if defined(THIRD) && !defined(LIMIT_LATER)
#define limit_grants(what) \
	ME.self = (what == TO_SOLO && ME.phase == PAIRED && ME.bound -> TERM : ME.self); \
	ME.bound = ME.bound && what != TO_SOLO
#else
#define limit_grants(what) skip
#endif
/* Arbiters answer a node's requests in order: what it hears is later than all that it asked for before. */
#ifdef THIRD
#define older_are_void(n) node[n].late_solo = false; node[n].late_paired = false
#define is_sure ME.doubt = false; ME.newer = (ME.epoch == 1 || holder == THE_THIRD)
#define is_unsure ME.doubt = true
#define unsure ME.doubt
#define learns ME.doubt = false; ME.newer = (holder != 1 - me)
#else
#define older_are_void(n) skip
#define is_sure skip
#define is_unsure skip
#define unsure false
#define learns skip
#endif

/* Propose or RenewLease. From here on the network may have copies of a proposal. */
inline ask_for(what) {
	limit_grants(what);
	if
	:: what == RENEW
	:: else -> is_unsure
	fi;
	ME.ask = what; ME.won = false;
	ME.asked = (what == TO_PAIRED -> 0 : TERM);
	ME.late_solo = (ME.late_solo || (what == TO_SOLO && stands(me) && FAULT));
	ME.late_paired = (ME.late_paired || (what == TO_PAIRED && stands(me) && FAULT));
	asking
}

/* ftt_lease_set_policy(NONE): the gate is shut, and grants for beats sent before this moment are void. */
inline shut_gate() {
	ME.self = 0; ME.granted = 0;
#ifndef NO_FLOOR
	MINE.sent = 0; PEER.echo = 0; HEARD.worth = 0
#endif
}

/* No later offer has the number of an earlier one: _number. What is said about the old ones gets a number of its own. */
#define OLD_OFFER 3
#define rename(x) x = (x > 0 -> OLD_OFFER : 0)
inline end_offers() {
	rename(MINE.offer); rename(HEARD.declined);
	if
	:: PEER.phase == FOLLOWING -> rename(PEER.offer); rename(PEER.declined)
	:: else
	fi;
	ME.offer = 0; ME.declined = 0; ME.consent = false
}

#ifdef HALTS
#define no_orders ME.ordered = 0; ME.forced = false; ME.grants_on = false
#define carried_out (ME.ordered == 0 && !ME.grants_on)    /* decisions come after the orders of the one before */
#else
#define no_orders skip
#define carried_out true
#endif

/* Lose all that makes a holder or a follower. A promise given stays given. */
inline give_up() {
	ME.promise = (ME.phase == HANDOVER -> PATIENCE : ME.promise);    /* _publish: a grant that ends binds for a while */
	shut_gate();
	forget_request();
	end_offers();
	no_orders;
	ME.phase = IDLE; ME.bound = false; ME.echo = 0
}

/* _go_silent: the same, but go on to be called primary. Only to liveness is that another thing. */
#ifdef LIVENESS
#define stays_primary (ME.phase == SOLO || ME.phase == PAIRED || ME.phase == HANDOVER)
inline give_up_or_wait() {
	if
	:: stays_primary -> give_up(); ME.phase = SILENT; waits
	:: else -> give_up()
	fi
}
#else
#define give_up_or_wait give_up
#endif

/* From here on emit under grants only, with a record that says something else. */
inline rely() {
	end_offers();
	ME.phase = PAIRED; ME.bound = false; ME.self = 0; ME.echo = 0
}

/* The receiving half of beat.c: a grant counts for what is left of it (ftt_lease_grant), a follower grants on what it hears. */
inline take_beat() {
	ME.granted = (HEARD.worth > ME.granted -> HEARD.worth : ME.granted);
	if
	:: grants(me) || leaves_it_to_the_other(me) ->
		ME.echo = HEARD.sent;
		ME.promise = (refreshes || ME.phase != FOLLOWING -> PATIENCE : ME.promise)
	:: else
	fi;
	if
	:: (ME.phase == PAIRED && (HEARD.phase != FOLLOWING || HEARD.worth == 0)) || ME.phase == HANDOVER    /* _grants_low */
	:: else -> partner_heard
	fi;
	ME.consent = (ME.consent && HEARD.phase == HANDOVER);     /* only the newest word counts */
	HEARD.phase = 0; HEARD.epoch = 0; HEARD.sent = 0; HEARD.worth = 0; HEARD.offer = 0; HEARD.declined = 0
}

/* Own the group, or serve alone: _own, _go_solo. The order SetLease(SELF) has the lease's end, so that it may come late. */
inline serve_alone() {
	ME.phase = SOLO;
#ifdef HALTS
	no_orders;
	ME.ordered = ME.asked; ME.self = 0;
#else
	ME.self = ME.asked;
#endif
	end_offers(); made; is_sure;
	ME.bound = false; ME.echo = 0;
	close_request()
}

/* ------------------------------------------------------------------ when a daemon takes them, in calm */

/* _arbiter_ends, and a lease that lapsed while pairing: the limit of its grants is over, though its backup is there. */
#if defined(THIRD) && !defined(STAYS_PAIRED)
#define ends_with_limit (!within_limit(me))
#else
#define ends_with_limit false
#endif
/* A follower whose primary is gone, and who cannot take over; an owner without lease or cable; one without backup and arbiter;
   one whose offer nobody takes; a silent one that waited in vain. */
#define has_no_right ( \
	(ME.phase == FOLLOWING && waited) || \
	(ME.phase == SOLO && (ME.self == 0 || !able[me])) || \
	(ME.phase == PAIRED && alone && (!reach[me] || !able[me])) || \
	(ME.phase == PAIRED && ends_with_limit && !reach[me]) || \
	(ME.phase == HANDOVER && takes_back) || \
	(ME.phase == SILENT && gives_up_in_the_end && (!reach[me] || !able[me])))
/* _wish_to_leave */
#define wants_to_leave (!able[me] && able[1 - me] && !alone)

#ifdef CONSENT
#define beats (up)
#define follows ((HEARD.phase == SOLO || HEARD.phase == PAIRED || HEARD.phase == IDLE) && ME.phase == IDLE && ME.ask == NOTHING)
#else
#define beats (up && ME.phase != IDLE)
#define follows (HEARD.phase == SOLO && ME.phase == IDLE && ME.ask == NOTHING && certain(me))
#endif
#define pairs (HEARD.phase == FOLLOWING && ME.phase == SOLO && carried_out)
#define agrees (HEARD.phase == HANDOVER && ME.phase == FOLLOWING && ME.ask == NOTHING && \
	ME.epoch == 1 && HEARD.epoch == 1 && HEARD.offer != ME.declined)
#define resumes (HEARD.phase == FOLLOWING && ME.phase == HANDOVER && ME.ask == NOTHING && \
	ME.epoch == 1 && HEARD.epoch == 1 && HEARD.declined == ME.offer)
/* _yielded, _orphaned, _drop */
#define has_to_yield ((ME.phase == FOLLOWING && (HEARD.phase == FOLLOWING || HEARD.phase == SILENT)) || \
	((ME.phase == PAIRED || ME.phase == HANDOVER || ME.phase == SILENT) && (HEARD.phase == SOLO || HEARD.phase == PAIRED)))
