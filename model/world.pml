/* SPDX-License-Identifier: Apache-2.0 */
/* world.pml - time, and the end of all faults. */

#define less(x) x = (x > 0 -> x - 1 : 0)
#ifdef NO_CAP
#define age_own(n) if :: node[n].phase == SOLO :: else -> less(node[n].self) fi
#else
#define age_own(n) less(node[n].self)
#endif
#if defined(HALTS) && !defined(OPENS_LATE)
#define age_order(n) less(node[n].ordered)      /* the limit of an order ages, whenever that is carried out */
#else
#define age_order(n) skip
#endif
#define age(n) \
	less(node[n].granted); age_own(n); less(node[n].echo); less(node[n].promise); less(node[n].asked); \
	age_order(n); less(beat[n].sent); less(beat[n].worth)

inline tick() {
	printf("a tick\n");
	age(0); age(1); less(term);
#ifdef LIVENESS
	less(quiet[0]); less(quiet[1]); less(left[0]); less(left[1]);
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
#define silence(n) \
	beat[n].phase = 0; beat[n].epoch = 0; beat[n].sent = 0; beat[n].worth = 0; beat[n].offer = 0; beat[n].declined = 0; \
	quiet[n] = PATIENCE; left[n] = LIMIT
/* A node that can serve and reaches the arbiter; or a third one, if the record lets it in or a member can ask for that. */
#define could_serve(n, r, a) (r && a && node[n].phase != DOWN)
#define lets_in(n, r) (r && node[n].phase != DOWN)
#define servable(r0, a0, r1, a1, t) (could_serve(0, r0, a0) || could_serve(1, r1, a1) || \
	(t && (mode != WITH_BACKUP || lets_in(0, r0) || lets_in(1, r1))))

#define becalm(c, r0, a0, r1, a1, t) \
	:: d_step { !calm && settled(0) && settled(1) && servable(r0, a0, r1, a1, t) -> \
		printf("calm: cut %d, node 0 reaches the arbiter %d and can serve %d, node 1 %d and %d, third node %d\n", \
			c, r0, a0, r1, a1, t); \
		calm = true; cut = c; reach[0] = r0; reach[1] = r1; able[0] = a0; able[1] = a1; third = t; \
		silence(0); silence(1) }
#define whole_or_cut(r0, a0, r1, a1, t) becalm(0, r0, a0, r1, a1, t) becalm(1, r0, a0, r1, a1, t)

/* The nodes are alike: what is lost at node 1 might as well be lost at node 0. */
active proctype World() {
	do
	whole_or_cut(1, 1, 1, 1, 0)
	whole_or_cut(1, 1, 1, 0, 0)
	whole_or_cut(1, 1, 0, 1, 0)
	whole_or_cut(1, 1, 0, 0, 0)
#ifdef THIRD
	whole_or_cut(1, 0, 1, 0, 1)
	whole_or_cut(1, 0, 0, 1, 1)
	whole_or_cut(1, 0, 0, 0, 1)
	whole_or_cut(1, 1, 0, 0, 1)
#endif
	od
}

ltl served { [] (calm -> <> (emits(0) || emits(1) || third_emits)) }
#endif
