/* SPDX-License-Identifier: Apache-2.0 */
/* arbiter.pml - the arbiter: fttcp/arbiter/register.py. And a third node, of which it is the only trace. */

#define outdated(n) \
	node[n].epoch = 0; beat[n].epoch = 0; node[n].consent = false; node[n].declined = 0; \
	node[n].late_solo = (node[n].late_solo && stands(n)); node[n].late_paired = (node[n].late_paired && stands(n))

#ifdef THIRD
#define outdoes(by) node[0].newer = node[0].newer && by != 1; node[1].newer = node[1].newer && by != 0
#else
#define outdoes(by) skip
#endif

/* The record changes: what the others know, proposed, agreed to and declined is of the past now. */
inline write(by, what, expected) {
	make(by, expected);
	holder = by; mode = what;
	term = (what == ALONE -> ARBITER_TERM : 0);
	outdated(0);
	outdated(1);
	outdoes(by)
}

#define waiting(n, what) (node[n].ask == what && !node[n].won && WHEN(reach[n]))
#define win(n, what) printf("the arbiter: node %d wins\n", n); write(n, what, ITS_NUMBER(n)); node[n].epoch = 1; node[n].won = true

#define serve(n) \
	:: d_step { waiting(n, RENEW) -> \
		older_are_void(n); \
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

#ifdef THIRD
/* It waits while it hears a primary, or one that follows another and may know more. */
#define knows_an_owner(n) (node[n].phase != DOWN && node[n].phase != IDLE)

active proctype Third() {
	do
	:: d_step { (mode == NOBODY || (mode == ALONE && holder != THE_THIRD && lapsed)) &&
			WHEN(third && !knows_an_owner(0) && !knows_an_owner(1)) ->
		printf("a third node takes over\n");
		write(THE_THIRD, ALONE, 0);
		one_emitter }
	:: d_step { mode == ALONE && holder == THE_THIRD && term < ARBITER_TERM && WHEN(third) ->
		printf("the third node renews its lease\n");
		term = ARBITER_TERM;
		one_emitter }
	od
}
#endif
