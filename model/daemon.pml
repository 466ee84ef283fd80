/* SPDX-License-Identifier: Apache-2.0 */
/* daemon.pml - a node: one line is one step. */

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
		ME.phase = DOWN; ME.promise = 0; ME.epoch = 0; is_unsure; step }
	/* _demote, _abandon, _drop, _go_silent, _finish */
	:: d_step { up && ME.phase != IDLE && carried_out && WHEN(has_no_right) ->
		printf("node %d gives its role up\n", me);
		give_up_or_wait(); step }

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
		:: CALM(has_to_yield) -> give_up()
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
#if !defined(OWN_WHILE_PAIRING) && !defined(THIRD)
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
	:: d_step { ME.phase == SOLO && ME.ask == NOTHING && can_ask && carried_out ->
		printf("node %d wants its lease renewed\n", me);
		ask_for(RENEW); step }
	:: d_step { ME.phase == PAIRED && !ME.bound && ME.ask == NOTHING && can_ask && WHEN(!alone) ->
		printf("node %d proposes paired again\n", me);
		ask_for(TO_PAIRED); step }
	/* _go_solo, _silent_asking */
	:: d_step { (ME.phase == PAIRED || (ME.phase == SILENT && waited)) && ME.ask == NOTHING && can_ask &&
			WHEN((alone || ME.phase == SILENT) && able[me]) ->
		printf("node %d proposes solo, because its backup is lost or does not answer\n", me);
		ask_for(TO_SOLO); step }
	/* _listening, _following, _take, _make_way */
	:: d_step { (ME.phase == IDLE || ME.phase == FOLLOWING) && ME.ask == NOTHING && can_ask && carried_out &&
			((waited && WHEN(alone)) || ME.consent) && WHEN(able[me] || (ME.phase == IDLE && makes_way)) ->
		printf("node %d proposes solo, to take over\n", me);
		ask_for(TO_SOLO); step }
#ifdef LIMIT_LATER
	:: d_step { ME.phase == PAIRED && ME.ask == TO_SOLO && ME.bound ->
		printf("node %d limits its grants after it has asked\n", me);
		ME.self = TERM; ME.bound = false; step }
#endif
#ifdef HALTS
	/* An operator wants the backup to take over without the primary's consent: _absorb_failover, _force */
	:: d_step { ME.phase == FOLLOWING && !ME.forced && ME.ask == NOTHING ->
		printf("node %d decides to grant nothing more\n", me);
		ME.forced = true; ME.grants_on = true; ME.promise = PATIENCE; step }
	:: d_step { ME.forced && ME.grants_on ->
		printf("node %d withdraws its grant\n", me);
		ME.grants_on = false;
#ifndef BOUND_EARLY
		ME.promise = PATIENCE;                           /* _bind: only now is it known to end */
#endif
		step }
	:: d_step { ME.forced && !ME.grants_on && ME.ask == NOTHING ->
		printf("node %d grants again\n", me);
		ME.forced = false; ME.promise = PATIENCE; step }
	:: d_step { ME.phase == SOLO && ME.ordered > 0 ->
		printf("node %d opens its gate\n", me);
		ME.self = ME.ordered; ME.ordered = 0; step;
		one_emitter }
#endif
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
	:: d_step { up && ME.ask == NOTHING && mode != NOBODY && WHEN(reach[me]) && (ME.epoch == 0 || unsure ||
			(ME.phase == PAIRED && !ME.bound && holder == me && mode == WITH_BACKUP)) ->
		printf("node %d asks what stands\n", me);
		if
		:: ME.phase == IDLE || ME.phase == FOLLOWING
		:: ME.phase == PAIRED && holder == me && mode == WITH_BACKUP -> ME.bound = true
		:: ME.phase == PAIRED && holder == me && mode == ALONE && !ME.bound
		:: else -> give_up()
		fi;
		older_are_void(me); learns;
		ME.epoch = 1; knows(me); step }
	:: d_step { ME.ask != NOTHING && WHEN(!ME.won && (!reach[me] || !granted_by_arbiter(me))) ->
		printf("node %d has no answer, or a refusal\n", me);
		forget_request(); step }

	/* ---- what was won */
	:: d_step { ME.won && ME.ask == RENEW && carried_out ->
		printf("node %d reads: renewed\n", me);
		ME.self = (ME.asked > ME.self -> ME.asked : ME.self);
		close_request(); step;
		one_emitter }
	:: d_step { ME.won && ME.ask == TO_SOLO && WHEN(able[me]) ->           /* SetLease(SELF) */
		printf("node %d reads: won, and emits under a lease of its own\n", me);
		serve_alone(); step;
		one_emitter }
#ifdef THIRD
	:: d_step { ME.won && ME.ask == TO_SOLO && ME.phase == IDLE && WHEN(!able[me]) ->
		printf("node %d reads: won, and lets it lapse, for it cannot serve\n", me);
		is_sure; close_request(); step }
#endif
	:: d_step { ME.won && ME.ask == TO_PAIRED ->
		printf("node %d reads: won, it is paired\n", me);
		ME.bound = true; ME.self = 0; made; is_sure;
		close_request(); step }

#ifndef NO_SWITCHOVER
	/* ---- switchover by consent */
	:: d_step { (FAULT || CALM(wants_to_leave)) && ME.phase == PAIRED && ME.bound && ME.ask == NOTHING ->    /* _hand_over */
		printf("node %d shuts its gate and offers the role\n", me);
		shut_gate();
		ME.offer = (ME.offer == 1 -> 2 : 1);
		waits;
		ME.phase = HANDOVER; step }
	:: d_step { agrees ->
		printf("node %d hears the offer\n", me);
		ME.consent = true; ME.offer = HEARD.offer;
		take_beat(); step }
	:: d_step { ME.phase == FOLLOWING && ME.consent && ME.ask == NOTHING && WHEN(!able[me]) ->    /* _take */
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
