/* SPDX-License-Identifier: Apache-2.0 */
/* state.pml - what nodes, heartbeats and the arbiter consist of, and what must hold. */

/*
 * core.model.Phase, as far as the right to emit goes. IDLE neither emits nor grants: listening, joining, stopped.
 * FOLLOWING grants. SOLO emits under a lease of its own, and each of its beats offers a pairing (solo, pairing).
 * PAIRED emits under grants (paired, unpairing). HANDOVER has shut its gate and waits for the backup. SILENT has
 * shut it as well, and still calls itself primary: that matters to liveness only, elsewhere it is idle.
 */
mtype:phase = { DOWN, IDLE, FOLLOWING, SOLO, PAIRED, HANDOVER, SILENT };
mtype:mode = { NOBODY, ALONE, WITH_BACKUP };            /* core.ownership.Ownership; NOBODY: no record yet */
mtype:ask = { NOTHING, RENEW, TO_SOLO, TO_PAIRED };     /* commands RenewLease and Propose, by what is wanted */

typedef Node {
	mtype:phase phase = DOWN;
	bit epoch;         /* 1: the newest record that this node knows is the one that stands */
	bool bound;        /* PAIRED: it knows that the record says so, and has asked for nothing else since */
	byte granted;      /* ftt_lease.granted_until_ns */
	byte self;         /* ftt_lease.until_ns under SELF: never beyond the arbiter's lease. PAIRED: ftt_lease.limit_ns */
	byte echo;         /* what a grant would be worth that echoes the newest beat heard */
	byte promise;      /* time in which this node must not take over, for it may have granted */
	mtype:ask ask = NOTHING;
	bool won;          /* the answer is on its way */
	byte asked;        /* what a lease would be worth that is counted from the sending */
	bool late_solo;    /* a copy of a proposal of this node that expects the record which stands is still under way. It may */
	bool late_paired;  /* be carried out whenever it likes, also when the sender gave it up, crashed, and started again */
#ifdef THIRD
	bool doubt = true; /* what the record is may depend on a proposal of its own, or of an earlier life: Register.certain */
	bool newer;        /* it knows of a record newer than all of the other node's */
#endif
	bool consent;      /* FOLLOWING: the primary said, under the record that stands, that its gate is shut */
	byte offer;        /* number of the offer that is open: made (HANDOVER) or heard (FOLLOWING) */
	byte declined;     /* FOLLOWING: the offer that it will never take */
#ifdef HALTS
	byte ordered;      /* SOLO: what the lease is worth that was decided on, and not ordered yet; 0 without one */
	bool forced;       /* FOLLOWING: an operator wants it to take over, it has decided to grant nothing more */
	bool grants_on;    /* and the beat thread does not know yet */
#endif
#ifdef NUMBERS
	byte number;       /* the epoch itself */
#endif
};

/* The newest heartbeat of a node that is under way: beat_wire.h and core.model.Body. An older one is dropped by its counter. */
typedef Beat {
	mtype:phase phase; /* 0: none */
	bit epoch;         /* 1: the record that the sender knew is the one that stands */
	byte sent;         /* what a grant would be worth that echoes this beat */
	byte worth;        /* what the grant in it is worth; 0 without one */
	byte offer;
	byte declined;
};

Node node[2];
Beat beat[2];          /* beat[n] was sent by node n */
byte holder;           /* the arbiter's record: holder and mode. The backup of a pair is the other node; 2: the third one */
mtype:mode mode = NOBODY;
byte term;             /* what is left of the solo holder's lease, as the arbiter counts */

#define THE_THIRD 2
#define me _pid
#define ME node[_pid]
#define PEER node[1 - _pid]
#define MINE beat[_pid]
#define HEARD beat[1 - _pid]
#define up (ME.phase != DOWN)

/* ------------------------------------------------------------------ what must hold */

/* ftt_may_emit: asked for each packet. Time alone makes it false, whatever the daemon does or does not do. */
#ifdef OWN_WHILE_PAIRING
#define under_grants(n) (node[n].phase == PAIRED && node[n].bound)
#define under_own(n) (node[n].phase == SOLO || (node[n].phase == PAIRED && !node[n].bound))
#else
#define under_grants(n) (node[n].phase == PAIRED)
#define under_own(n) (node[n].phase == SOLO)
#endif
/* Where there is a third node it may replace a solo record; without one a grant of the only other node is enough. */
#if defined(THIRD) && !defined(NO_LIMIT)
#define within_limit(n) (node[n].bound || node[n].self > 0)
#else
#define within_limit(n) true
#endif
#ifdef HALTS                    /* until the new order is carried out, the old one stands */
#define by_old_order(n) (node[n].phase == SOLO && node[n].ordered > 0 && node[n].granted > 0)
#else
#define by_old_order(n) false
#endif
#define emits(n) ((under_grants(n) && node[n].granted > 0 && within_limit(n)) || (under_own(n) && node[n].self > 0) || by_old_order(n))
#ifdef THIRD
#define third_emits (mode == ALONE && holder == THE_THIRD && term > 0)    /* it does no more than claim, renew, and end */
#else
#define third_emits false
#endif

/* I1. It is asserted wherever a right to emit begins or grows; everywhere else rights only end. */
#ifdef ONLY_EPOCHS
#define one_emitter skip
#else
#define one_emitter assert(!(emits(0) && emits(1)) && !(third_emits && (emits(0) || emits(1))))
#endif

/* I4, looked at on node 0: how long its daemon has not taken a step, frozen or crashed. */
#ifdef STOPPED
byte stopped;
#define step if :: me == 0 -> stopped = 0 :: else fi
#define fails_closed assert(!(stopped >= TERM && emits(0)) && !(stopped >= LEASE && under_grants(0) && emits(0)))
#else
#define step skip
#endif

/* No epoch belongs to two holders. */
#ifdef NUMBERS
byte number;           /* the epoch of the record */
byte maker[NUMBERS + 1];
#define knows(n) node[n].number = number
#define room (number < NUMBERS)
#define make(n, expected) number = expected + 1; assert(maker[number] == 0 || maker[number] == n + 1); maker[number] = n + 1
#define made ME.number = ME.number + 1
#define ITS_NUMBER(n) node[n].number
#define THIS_NUMBER number
#else
#define knows(n) skip
#define room true
#define make(n, expected) skip
#define made skip
#define ITS_NUMBER(n) 0
#define THIS_NUMBER 0
#endif
