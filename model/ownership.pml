/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ownership.pml - who may emit: two nodes, their heartbeats and leases, and an arbiter.
 *
 * docs/model.md says what stands for what; `make model` checks it (check.py). In short:
 *
 * - One line of a process is one step of a daemon or of the arbiter. Any step may come at any time or never, so
 *   delay, loss, and a node that freezes and thaws with stale knowledge need no steps of their own.
 * - Time is what the process Clock does: one tick takes one from every timer. A lease is given the longest that
 *   it can last, on a slow clock; a wait the shortest that it can last, on a fast clock.
 * - An epoch is only ever compared with the one that stands. So 1 is the epoch that stands, 0 is any older one, and
 *   nothing bounds how often the record changes. A node that starts knows no epoch: no disk is needed.
 * - From some moment on the world may be calm (LIVENESS): then a step comes when WHEN(...) says that the daemon takes
 *   it, and time passes only when no step is left.
 * - Words in capitals behind #ifdef, other than LIVENESS, STOPPED and NUMBERS, are mutations: a rule left out.
 */

#ifndef LEASE
#define LEASE 2                 /* D on a slow clock: the longest that a grant can be worth, in ticks */
#endif
#ifndef TERM
#define TERM 3                  /* the arbiter's lease for a solo holder, on a slow clock of the holder */
#endif
#ifdef NO_DRIFT
#define PATIENCE (LEASE - 1)    /* D on a fast clock */
#else
#define PATIENCE LEASE          /* D * (1 + drift) on a fast clock: Settings.patience_ns */
#endif
#ifdef NO_TERM_DRIFT
#define ARBITER_TERM (TERM - 1) /* the same term on a fast clock of the arbiter */
#else
#define ARBITER_TERM TERM       /* with the allowance for drift */
#endif

/* ------------------------------------------------------------------ state */

/*
 * core.model.Phase, as far as the right to emit goes. IDLE neither emits nor grants: listening, joining, silent,
 * stopped. FOLLOWING grants. SOLO emits under a lease of its own, and each of its beats offers a pairing (solo, pairing).
 * PAIRED emits under grants (paired, unpairing). HANDOVER has shut its gate and waits for the backup.
 */
mtype:phase = { DOWN, IDLE, FOLLOWING, SOLO, PAIRED, HANDOVER };
mtype:mode = { NOBODY, ALONE, WITH_BACKUP };            /* core.ownership.Ownership; NOBODY: no record yet */
mtype:ask = { NOTHING, RENEW, TO_SOLO, TO_PAIRED };     /* commands RenewLease and Propose, by what is wanted */

typedef Node {
	mtype:phase phase = DOWN;
	bit epoch;         /* 1: the newest record that this node knows is the one that stands */
	bool bound;        /* PAIRED: it knows that the record says so */
	byte granted;      /* ftt_lease.granted_until_ns */
	byte self;         /* ftt_lease.until_ns under SELF: never beyond the arbiter's lease */
	byte echo;         /* what a grant would be worth that echoes the newest beat heard */
	byte promise;      /* time in which this node must not take over, for it may have granted */
	mtype:ask ask = NOTHING;
	bool won;          /* the answer is on its way */
	byte asked;        /* what a lease would be worth that is counted from the sending */
	bool late_solo;    /* a copy of a proposal of this node that expects the record which stands is still under way. It may */
	bool late_paired;  /* be carried out whenever it likes, also when the sender gave it up, crashed, and started again */
	bool consent;      /* FOLLOWING: the primary said, under the record that stands, that its gate is shut */
	byte offer;        /* number of the offer that is open: made (HANDOVER) or heard (FOLLOWING) */
	byte declined;     /* FOLLOWING: the offer that it will never take */
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
byte holder;           /* the arbiter's record: holder and mode. The backup of a pair is the other node */
mtype:mode mode = NOBODY;
byte term;             /* what is left of the solo holder's lease, as the arbiter counts */

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
#define emits(n) ((under_grants(n) && node[n].granted > 0) || (under_own(n) && node[n].self > 0))

/* I1. It is asserted wherever a right to emit begins or grows; everywhere else rights only end. */
#ifdef ONLY_EPOCHS
#define one_emitter skip
#else
#define one_emitter assert(!(emits(0) && emits(1)))
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

/* ------------------------------------------------------------------ calm: faults have stopped, daemons do what they should */

#ifdef LIVENESS
bool calm;
bool cut;              /* the nodes will never hear each other again */
bool reach[2];         /* the arbiter can be reached from here */
bool beaten[2], tried[2];  /* in this tick: sent a heartbeat, asked the arbiter */
byte quiet[2];         /* how long the node goes on to believe that its partner lives */
#define WHEN(x) (!calm || (x))
#define CALM(x) (calm && (x))
#define FAULT (!calm)
#define can_ask (!calm || (reach[me] && !tried[me]))
#define asking tried[me] = calm
#define partner_heard quiet[me] = (calm -> PATIENCE : 0)
#define alone (quiet[me] == 0)
#else
#define WHEN(x) true
#define CALM(x) false
#define FAULT true
#define can_ask true
#define asking skip
#define partner_heard skip
#define alone true
#endif

/* ------------------------------------------------------------------ rules that mutations leave out */

#ifdef CONSENT
#define leaves_it_to_the_other(n) (node[n].phase == FOLLOWING || node[n].phase == HANDOVER)
#else
#define leaves_it_to_the_other(n) (node[n].phase == FOLLOWING)
#endif
/* State.grantee: a follower that has a claim of its own under way grants nothing. */
#if defined(GRANT_AND_OWN)
#define grants(n) (leaves_it_to_the_other(n) || node[n].phase == SOLO)
#elif defined(GRANT_AND_CLAIM)
#define grants(n) leaves_it_to_the_other(n)
#else
#define grants(n) (leaves_it_to_the_other(n) && node[n].ask != TO_SOLO)
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
#define takes_back true
#endif

/* The arbiter compares. */
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

/* ------------------------------------------------------------------ steps of a daemon */

inline close_request() { ME.ask = NOTHING; ME.won = false; ME.asked = 0 }

/* UNREACHABLE. The change may have been made, or be made later: its sender does not know. */
inline forget_request() {
	ME.epoch = (ME.won && ME.ask != RENEW -> 0 : ME.epoch);
	close_request()
}

/* Propose or RenewLease. From here on the network may have copies of a proposal. */
inline ask_for(what) {
	ME.ask = what; ME.won = false;
	ME.asked = (what == TO_PAIRED -> 0 : TERM);
	ME.late_solo = (ME.late_solo || (what == TO_SOLO && stands(me) && FAULT));
	ME.late_paired = (ME.late_paired || (what == TO_PAIRED && stands(me) && FAULT));
	asking
}

/* ftt_lease_set_policy(NONE): the gate is shut, and grants for beats sent before this moment are void. */
inline shut_gate() {
	ME.self = 0; ME.granted = 0;
	MINE.sent = 0; PEER.echo = 0; HEARD.worth = 0
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

/* Lose all that makes a holder or a follower. A promise given stays given. */
inline give_up() {
	ME.promise = (ME.phase == HANDOVER -> PATIENCE : ME.promise);    /* _publish: a grant that ends binds for a while */
	shut_gate();
	forget_request();
	end_offers();
	ME.phase = IDLE; ME.bound = false; ME.echo = 0
}

/* From here on emit under grants only, with a record that says something else. */
inline rely() {
	end_offers();
	ME.phase = PAIRED; ME.bound = false; ME.self = 0; ME.echo = 0
}

/* The receiving half of beat.c: a grant counts for what is left of it (ftt_lease_grant), a follower grants on what it hears. */
inline take_beat() {
	ME.granted = (HEARD.worth > ME.granted -> HEARD.worth : ME.granted);
	if
	:: grants(me) || leaves_it_to_the_other(me) -> ME.echo = HEARD.sent; ME.promise = PATIENCE
	:: else
	fi;
	if
	:: (ME.phase == PAIRED && HEARD.phase != FOLLOWING) || ME.phase == HANDOVER
	:: else -> partner_heard
	fi;
	ME.consent = (ME.consent && HEARD.phase == HANDOVER);     /* only the newest word counts */
	HEARD.phase = 0; HEARD.epoch = 0; HEARD.sent = 0; HEARD.worth = 0; HEARD.offer = 0; HEARD.declined = 0
}

/* Whoever has no right to emit, and cannot ask for it, does not hold others up by beats of a primary. */
#ifdef CLINGS
#define has_no_right ((ME.phase == FOLLOWING && waited) || (ME.phase == SOLO && ME.self == 0))
#else
#define has_no_right ((ME.phase == FOLLOWING && waited) || (ME.phase == SOLO && ME.self == 0) || \
	((ME.phase == PAIRED && !reach[me] || ME.phase == HANDOVER && takes_back) && alone))
#endif
#ifdef CONSENT
#define beats (up)
#define follows ((HEARD.phase == SOLO || HEARD.phase == PAIRED || HEARD.phase == IDLE) && ME.phase == IDLE && ME.ask == NOTHING)
#else
#define beats (up && ME.phase != IDLE)
#define follows (HEARD.phase == SOLO && ME.phase == IDLE && ME.ask == NOTHING)
#endif
#define pairs (HEARD.phase == FOLLOWING && ME.phase == SOLO)
#define agrees (HEARD.phase == HANDOVER && ME.phase == FOLLOWING && ME.ask == NOTHING && \
	ME.epoch == 1 && HEARD.epoch == 1 && HEARD.offer != ME.declined)
#define resumes (HEARD.phase == FOLLOWING && ME.phase == HANDOVER && ME.ask == NOTHING && \
	ME.epoch == 1 && HEARD.epoch == 1 && HEARD.declined == ME.offer)
#define has_to_yield ((ME.phase == FOLLOWING && HEARD.phase == FOLLOWING) || \
	((ME.phase == PAIRED || ME.phase == HANDOVER) && (HEARD.phase == SOLO || HEARD.phase == PAIRED)))

active [2] proctype Daemon() {
	do
	/* ---- life and death */
	:: d_step { FAULT && !up ->
		printf("node %d starts, and knows nothing: not even what it promised\n", me);
#ifndef NO_START_WAIT
		ME.promise = PATIENCE;                  /* Settings.startup_wait_ns */
#endif
		ME.phase = IDLE; step }
	:: d_step { FAULT && up ->
		printf("node %d crashes\n", me);
		give_up();
#ifdef NUMBERS
		ME.number = 0;
#endif
		ME.phase = DOWN; ME.promise = 0; ME.epoch = 0; step }
	/* _demote, _abandon, _drop, _go_silent, _finish */
	:: d_step { up && ME.phase != IDLE && WHEN(has_no_right) ->
		printf("node %d gives its role up\n", me);
		give_up(); step }

	/* ---- heartbeats: beat.c */
	:: d_step { beats && WHEN(!beaten[me] && !cut) ->
		printf("node %d sends a heartbeat\n", me);
		MINE.phase = ME.phase; MINE.sent = LEASE;        /* an older one that is still under way is lost */
		MINE.epoch = ((ME.phase == HANDOVER && !ME.won) || ME.declined > 0 -> ME.epoch : 0);
		MINE.worth = (grants(me) -> ME.echo : 0);
		MINE.offer = (ME.phase == HANDOVER -> ME.offer : 0);
		MINE.declined = ME.declined;
#ifdef LIVENESS
		beaten[me] = calm;
#endif
		step }
	:: d_step { HEARD.phase > 0 && up && WHEN(!follows && !pairs && !agrees && !resumes) ->
		printf("node %d hears the heartbeat\n", me);
		if
		:: CALM(has_to_yield) -> give_up()               /* _yielded, _orphaned */
		:: else
		fi;
		take_beat(); step;
		one_emitter }
	:: d_step { follows ->                               /* _joining -> _follow */
		printf("node %d hears the heartbeat of an owner and follows\n", me);
		ME.phase = FOLLOWING;
		take_beat(); step }
	:: d_step { pairs ->                                 /* _pairing -> _pair: SetLease(GRANTED), then Propose */
		printf("node %d hears its follower, emits under its grants, and proposes paired\n", me);
		ME.phase = PAIRED;
#ifndef OWN_WHILE_PAIRING
		ME.self = 0;
#endif
		take_beat();
		forget_request();
		if
		:: WHEN(reach[me]) -> ask_for(TO_PAIRED)
		:: else
		fi;
		step;
		one_emitter }

	/* ---- asking the arbiter */
	:: d_step { ME.phase == SOLO && ME.ask == NOTHING && can_ask ->
		printf("node %d wants its lease renewed\n", me);
		ask_for(RENEW); step }
	:: d_step { ME.phase == PAIRED && !ME.bound && ME.ask == NOTHING && can_ask && WHEN(!alone) ->
		printf("node %d proposes paired again\n", me);
		ask_for(TO_PAIRED); step }
	/* _go_solo */
	:: d_step { ME.phase == PAIRED && ME.ask == NOTHING && can_ask && WHEN(alone) ->
		printf("node %d proposes solo, because its backup is lost or does not answer\n", me);
		ask_for(TO_SOLO); step }
	/* _listening, _following, _take */
	:: d_step { (ME.phase == IDLE || ME.phase == FOLLOWING) && ME.ask == NOTHING && can_ask &&
			((waited && WHEN(alone)) || ME.consent) ->
		printf("node %d proposes solo, to take over\n", me);
		ask_for(TO_SOLO); step }
#ifdef CONSENT
	/* Of two nodes one may leave the group to the other, whatever the arbiter says: _consents, _keep_lease */
	:: d_step { ME.phase == FOLLOWING && ME.consent && ME.ask == NOTHING && WHEN(!reach[me]) ->           /* _take */
		printf("node %d accepts the offer, and emits under the grants that come with it\n", me);
		rely(); step;
		one_emitter }
	:: d_step { ME.phase == IDLE && waited && ME.ask == NOTHING && WHEN(!reach[me] && alone) ->           /* _seek */
		printf("node %d relies on the grants of the other one\n", me);
		shut_gate();                                     /* it has listened for longer than any older grant can last: _settled */
		rely(); step }
	:: d_step { ME.phase == SOLO && WHEN(!reach[me] && ME.self == 0) ->                                   /* _keep_lease */
		printf("node %d exchanges its lease for the grants of the other one\n", me);
		forget_request();
		rely(); step;
		one_emitter }
#endif
	/* Inquire. What a slow answer would tell is the same as a record that changed since. */
	:: d_step { up && ME.ask == NOTHING && ME.epoch == 0 && mode != NOBODY && WHEN(reach[me]) ->
		printf("node %d asks what stands\n", me);
		if
		:: ME.phase == IDLE || ME.phase == FOLLOWING
		:: ME.phase == PAIRED && holder == me && mode == WITH_BACKUP -> ME.bound = true
		:: ME.phase == PAIRED && holder == me && mode == ALONE && !ME.bound
		:: else -> give_up()
		fi;
		ME.epoch = 1; knows(me); step }
	:: d_step { ME.ask != NOTHING && WHEN(!ME.won && (!reach[me] || !granted_by_arbiter(me))) ->
		printf("node %d has no answer, or a refusal\n", me);
		forget_request(); step }

	/* ---- what was won */
	:: d_step { ME.won && ME.ask == RENEW ->
		printf("node %d reads: renewed\n", me);
		ME.self = (ME.asked > ME.self -> ME.asked : ME.self);
		close_request(); step;
		one_emitter }
	:: d_step { ME.won && ME.ask == TO_SOLO ->           /* _own, _go_solo: SetLease(SELF) */
		printf("node %d reads: won, and emits under a lease of its own\n", me);
		ME.phase = SOLO; ME.self = ME.asked;
		end_offers(); made;
		ME.bound = false; ME.echo = 0;
		close_request(); step;
		one_emitter }
	:: d_step { ME.won && ME.ask == TO_PAIRED ->
		printf("node %d reads: won, it is paired\n", me);
		ME.bound = true; ME.self = 0; made;
		close_request(); step }

#ifndef NO_SWITCHOVER
	/* ---- switchover by consent */
	:: d_step { FAULT && ME.phase == PAIRED && ME.bound && ME.ask == NOTHING ->    /* _hand_over */
		printf("node %d shuts its gate and offers the role\n", me);
		shut_gate();
		ME.offer = (ME.offer == 1 -> 2 : 1);
		ME.phase = HANDOVER; step }
	:: d_step { agrees ->
		printf("node %d hears the offer\n", me);
		ME.consent = true; ME.offer = HEARD.offer;
		take_beat(); step }
	:: d_step { ME.phase == FOLLOWING && ME.consent && ME.ask == NOTHING && WHEN(!reach[me]) ->    /* _take */
		printf("node %d declines the offer for good\n", me);
		ME.consent = false; ME.declined = ME.offer; ME.offer = 0; step }
	:: d_step { resumes ->                               /* _resume */
		printf("node %d resumes, because its offer was declined\n", me);
		ME.phase = PAIRED;
		take_beat(); step;
		one_emitter }
#endif
	od
}

/* ------------------------------------------------------------------ the arbiter */

#define outdated(n) \
	node[n].epoch = 0; beat[n].epoch = 0; node[n].consent = false; node[n].declined = 0; \
	node[n].late_solo = (node[n].late_solo && stands(n)); node[n].late_paired = (node[n].late_paired && stands(n))

/* The record changes: what the others know, proposed, agreed to and declined is of the past now. */
inline write(by, what, expected) {
	make(by, expected);
	holder = by; mode = what;
	term = (what == ALONE -> ARBITER_TERM : 0);
	outdated(0);
	outdated(1)
}

#define waiting(n, what) (node[n].ask == what && !node[n].won && WHEN(reach[n]))
#define win(n, what) printf("the arbiter: node %d wins\n", n); write(n, what, ITS_NUMBER(n)); node[n].epoch = 1; node[n].won = true

#define serve(n) \
	:: d_step { waiting(n, RENEW) -> \
		if \
		:: node[n].epoch == 1 -> term = ARBITER_TERM; node[n].won = true \
		:: else -> node[n].ask = NOTHING; node[n].asked = 0 \
		fi } \
	:: d_step { waiting(n, TO_SOLO) && stands(n) && may_replace(n) && room -> win(n, ALONE) } \
	:: d_step { waiting(n, TO_PAIRED) && stands(n) && may_replace(n) && room -> win(n, WITH_BACKUP) } \
	:: d_step { FAULT && node[n].late_solo && may_replace(n) && room -> \
		printf("the arbiter carries out a late copy: solo %d\n", n); write(n, ALONE, THIS_NUMBER) } \
	:: d_step { FAULT && node[n].late_paired && may_replace(n) && room -> \
		printf("the arbiter carries out a late copy: paired %d\n", n); write(n, WITH_BACKUP, THIS_NUMBER) }

active proctype Arbiter() {
	do
	serve(0)
	serve(1)
	:: d_step { FAULT && mode == ALONE && term < ARBITER_TERM ->
		printf("the arbiter starts again: leases begin anew\n");
		term = ARBITER_TERM
#ifdef FORGETFUL
		; mode = NOBODY; term = 0
#endif
		}
	od
}

/* ------------------------------------------------------------------ time, and the end of all faults */

#define less(x) x = (x > 0 -> x - 1 : 0)
#ifdef NO_CAP
#define age_own(n) if :: node[n].phase == SOLO :: else -> less(node[n].self) fi
#else
#define age_own(n) less(node[n].self)
#endif
#define age(n) \
	less(node[n].granted); age_own(n); less(node[n].echo); less(node[n].promise); less(node[n].asked); \
	less(beat[n].sent); less(beat[n].worth)

inline tick() {
	printf("a tick\n");
	age(0); age(1); less(term);
#ifdef LIVENESS
	less(quiet[0]); less(quiet[1]);
	beaten[0] = false; beaten[1] = false; tried[0] = false; tried[1] = false;
#endif
#ifdef STOPPED
	stopped = (stopped < TERM -> stopped + 1 : TERM);
	fails_closed
#endif
}

active proctype Clock() {
	do
	:: d_step { FAULT -> tick() }
#ifdef LIVENESS
	:: atomic { calm && timeout -> d_step { tick() } }
#endif
	od
}

#ifdef LIVENESS
#define settled(n) (node[n].ask == NOTHING && !node[n].late_solo && !node[n].late_paired)
#define could_serve(n, r) (r && node[n].phase != DOWN)
#define becalm(c, r0, r1) \
	:: d_step { !calm && settled(0) && settled(1) && (could_serve(0, r0) || could_serve(1, r1)) -> \
		printf("calm: cut %d, arbiter reached by node 0: %d, by node 1: %d\n", c, r0, r1); \
		calm = true; cut = c; reach[0] = r0; reach[1] = r1; \
		quiet[0] = PATIENCE; quiet[1] = PATIENCE; \
		beat[0].phase = 0; beat[0].epoch = 0; beat[0].sent = 0; beat[0].worth = 0; beat[0].offer = 0; beat[0].declined = 0; \
		beat[1].phase = 0; beat[1].epoch = 0; beat[1].sent = 0; beat[1].worth = 0; beat[1].offer = 0; beat[1].declined = 0 }

active proctype World() {
	do
	becalm(0, 1, 1)
	becalm(0, 1, 0)
	becalm(0, 0, 1)
	becalm(1, 1, 1)
	becalm(1, 1, 0)
	becalm(1, 0, 1)
	od
}

ltl served { [] (calm -> <> (emits(0) || emits(1))) }
#endif
