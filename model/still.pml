/* SPDX-License-Identifier: Apache-2.0 */
/*
 * still.pml - two nodes without an arbiter, of which each may stand still at any time: who goes on, and who gives way.
 *
 * A node that stood still does not know whether its partner has served alone meanwhile. It takes nothing for 2 D. If it hears its
 * partner in the same pairing, nobody has served, and all goes on; else it gives way. docs/protocol.md: "who owns a group".
 *
 * Nodes that run hear each other (a partition of all links is not survived without an arbiter). In a tick each node that runs takes
 * one step: it reads its newest heartbeat, judges, and sends one. What comes to a node that stands still waits in a buffer, which is
 * full after 2 D: then all of it may be lost.
 *
 *   PRIMARY, BACKUP    Phase paired, following; a primary emits under grants
 *   ALONE              solo, with the flows; OUT: they are dropped
 *   silent; still      PeerLost.silent_ns; State._gap_ns
 *   alert; doubt, late State._alert_until_ns; State._doubt, Peer.stalled
 *
 * Words behind #ifdef are mutations: a rule left out.
 */
#ifndef D
#define D 2             /* in ticks */
#endif
#define MOST (2 * D + 1)  /* no timer counts further */

#ifdef GIVES_WAY_AT_ONCE
#define WAIT 0
#else
#define WAIT (2 * D)    /* _hears_soon, Settings.settle_ns */
#endif
#ifdef STILLNESS_UNNOTICED
#define stood_still(n) false
#else
#define stood_still(n) (node[n].doubt || node[n].late)
#endif

mtype:phase = { PRIMARY, BACKUP, ALONE, OUT };

typedef Node {
	mtype:phase phase;
	bool runs = true;
	bool stepped;   /* in this tick */
	byte still;     /* for so long it has not run since its last step */
	byte silent;    /* so long ago is the heartbeat that it took in last */
	byte alert;     /* for so long it takes nothing */
	bool doubt;     /* primary: it stood still, and has not outlasted its alert with its backup */
	bool late;      /* it found its partner lost so late that it stood still itself */
	byte lease;     /* primary: what is left of its grants */
	byte up;        /* for so long it runs */
	bool stale;     /* the other one has served alone: its flows are worth nothing */
};

typedef Beat {
	mtype:phase phase;  /* 0: none */
	byte worth;         /* backup: of the grant in it */
};

Node node[2];
Beat inbox[2];          /* what has come to node n, and was not read yet: the newest */

#define other (1 - n)
#define ME node[n]
#define PEER node[other]
#define less(x) x = (x > 0 -> x - 1 : 0)
#define more(x) x = (x < MOST -> x + 1 : x)
#define emits(n) (node[n].runs && (node[n].phase == ALONE || (node[n].phase == PRIMARY && node[n].lease > 0)))

/* I1, and I3: nobody goes on with flows that another one has served meanwhile. */
#define sound assert(!(emits(0) && emits(1)) && !(emits(n) && ME.stale))
/* Nobody gives way to a partner that is there, in the same pairing, and has not served alone. */
#define needed assert(!(PEER.runs && PEER.up >= D && (PEER.phase == PRIMARY || PEER.phase == BACKUP) && !ME.stale))

inline give_way() { ME.phase = OUT; ME.lease = 0 }
inline serve_alone() { ME.phase = ALONE; ME.lease = 0; PEER.stale = true }

inline hear() {
	ME.silent = 0; ME.late = false;
	if
	:: inbox[n].phase == ALONE && ME.phase != ALONE -> give_way()
	:: inbox[n].phase == OUT && ME.phase != ALONE && ME.phase != OUT ->    /* _backup_left, _orphaned */
		if
		:: stood_still(n) -> give_way()
		:: else -> serve_alone()
		fi
	:: inbox[n].phase == BACKUP && ME.phase == PRIMARY ->
		ME.lease = (inbox[n].worth > ME.lease -> inbox[n].worth : ME.lease);
		ME.doubt = ME.doubt && ME.alert > 0
	:: else
	fi;
	inbox[n].phase = 0; inbox[n].worth = 0
}

/* _backup_lost, _following. A loss that is found in time is one: the partner's grants, and ours, are over. */
inline judge() {
	if
	:: ME.silent > D && (ME.phase == PRIMARY || ME.phase == BACKUP) ->
		ME.late = ME.late || ME.silent >= 2 * D && ME.still > 0;
		if
		:: ME.alert > 0
		:: ME.alert == 0 && stood_still(n) -> needed; give_way()
		:: else -> serve_alone()
		fi
	:: else
	fi
}

inline take_step() {
	if
	:: ME.still > D -> ME.alert = WAIT; ME.doubt = (ME.phase == PRIMARY)
	:: else
	fi;
	if
	:: inbox[n].phase > 0 -> hear()
	:: else
	fi;
	judge();
	ME.still = 0; ME.stepped = true;
	inbox[other].phase = ME.phase;
	inbox[other].worth = (ME.phase == BACKUP && ME.silent <= D -> D - ME.silent : 0);
	sound
}

inline age() {
	less(node[n].alert); less(node[n].lease); less(inbox[n].worth);
	more(node[n].silent);
	if
	:: node[n].runs -> more(node[n].up)
	:: else -> more(node[n].still)
	fi;
	node[n].stepped = false
}

proctype Life(byte n) {
	do
	:: d_step { ME.runs && !ME.stepped ->
		printf("node %d takes a step, as %e\n", n, ME.phase);
		take_step() }
	:: d_step { ME.runs -> printf("node %d stands still\n", n); ME.runs = false; ME.up = 0 }
	:: d_step { !ME.runs -> printf("node %d goes on\n", n); ME.runs = true }
	:: d_step { !ME.runs && ME.still >= 2 * D && inbox[n].phase > 0 ->
		printf("node %d: its buffer was full\n", n);
		inbox[n].phase = 0; inbox[n].worth = 0 }
	od
}

proctype Clock() {
	byte n;
	do
	:: d_step { (!node[0].runs || node[0].stepped) && (!node[1].runs || node[1].stepped) ->
		printf("a tick\n");
		n = 0; age(); n = 1; age() }
	od
}

init {
	atomic {
		node[0].phase = PRIMARY; node[1].phase = BACKUP;
		run Life(0); run Life(1); run Clock()
	}
}
