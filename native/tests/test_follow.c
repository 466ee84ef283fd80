/* SPDX-License-Identifier: Apache-2.0 */
/* What the backup decides: nothing goes out, acknowledgements are clamped, numbers and times are translated. */
#include "flows.h"

/* --- joining ----------------------------------------------------------------------------------------- */

/* The primary's OPEN and the backup's own SYN-ACK may come in either order. */
static void test_backup_joins_in_either_order(const struct ends *x)
{
	struct ftt_record open = record_of(x, FTT_REC_OPEN);
	struct ftt_flow early, late;

	make_backup(&late, x, MS);
	ftt_flow_init(&early, x->irs, MS);
	step(&early, syn_of(x, FTT_MODE_BACKUP), MS);
	CHECK_EQ(ftt_backup_open(&early, &open, at(MS)), 0);
	CHECK_EQ(ftt_backup_open(&early, &open, at(3 * MS)), 0); /* asked again */
	CHECK_EQ(step(&early, synack_of(x, FTT_MODE_BACKUP), MS), FTT_DROP);
	CHECK_EQ(edit.actions, FTT_ACT_OPENED);
	step(&early, client_ack_of(x, FTT_MODE_BACKUP), MS);
	CHECK_EQ(early.hard.delta, x->backup_iss - x->service_iss);
	CHECK(!memcmp(&early.hard, &late.hard, sizeof(early.hard)));
	CHECK_EQ(ftt_backup_open(&early, &open, at(9 * MS)), FTT_ACT_OPENED); /* a lost OPENED is made good */
	open.service_iss++;
	CHECK_EQ(ftt_backup_open(&early, &open, at(9 * MS)), 0); /* but not for another handshake */
	CHECK_EQ(early.hard.delta, x->backup_iss - x->service_iss);
}

static void test_nothing_reaches_the_backup_before_both_spaces_are_known(void)
{
	struct ftt_flow f;

	ftt_flow_init(&f, plain.irs, MS);
	step(&f, syn_of(&plain, FTT_MODE_BACKUP), MS);
	CHECK_EQ(step(&f, of_client(&plain, FTT_MODE_BACKUP, 0, 0, 10), MS), FTT_DROP);
	CHECK_EQ(edit.drop, FTT_DROP_UNMAPPED);
	CHECK_EQ(step(&f, synack_of(&plain, FTT_MODE_BACKUP), MS), FTT_DROP);
	CHECK_EQ(step(&f, of_client(&plain, FTT_MODE_BACKUP, 0, 0, 10), MS), FTT_DROP);
	CHECK_EQ(step(&f, from_backup(&plain, TCP_ACK, 0, 0, 0), MS), FTT_DROP);
	CHECK_EQ(edit.actions, 0);
}

/* --- the backup -------------------------------------------------------------------------------------- */

static void test_backup_lets_nothing_out(const struct ends *x)
{
	static const uint8_t flags[] = {TCP_ACK, TCP_ACK | TCP_PSH, TCP_ACK | TCP_FIN, TCP_RST, TCP_RST | TCP_ACK,
					TCP_SYN | TCP_ACK, TCP_SYN, 0, 0x3f};
	struct ftt_flow f;

	for (size_t i = 0; i < sizeof(flags); i++) {
		make_backup(&f, x, MS);
		CHECK_EQ(step(&f, from_backup(x, flags[i], 0, 0, 10), MS), FTT_DROP);
		CHECK_EQ(edit.drop, FTT_DROP_SUPPRESSED);
	}
}

/* Bytes that answer what our server has not said wait until it has said it; nothing else waits. */
static void test_input_waits_for_the_output_that_it_answers(const struct ends *x)
{
	struct arrival early = of_client(x, FTT_MODE_BACKUP, 10, 100, 10), fin = early;
	struct ftt_flow f;

	make_backup(&f, x, MS);
	tell_output(&f, x, 200);
	fin.flags |= TCP_FIN;
	fin.len = 0;
	CHECK_EQ(step(&f, of_client(x, FTT_MODE_BACKUP, 0, 0, 10), MS), FTT_PASS);
	CHECK_EQ(step(&f, early, MS), FTT_HOLD);
	CHECK_EQ(f.client_acked, x->service_iss + 101); /* what it acknowledges is known at once */
	CHECK_EQ(step(&f, fin, MS), FTT_HOLD);
	CHECK_EQ(step(&f, of_client(x, FTT_MODE_BACKUP, 20, 100, 0), MS), FTT_PASS);
	CHECK_EQ(edit.ack, x->backup_iss + 1);
	f.held_since_ns = MS;
	step(&f, from_backup(x, TCP_ACK, 0, 10, 60), MS);
	CHECK(edit.actions & FTT_ACT_RELEASE);
	CHECK_EQ(held_step(&f, early, MS), FTT_HOLD); /* 60 of the 100 */
	CHECK_EQ(step(&f, of_client(x, FTT_MODE_BACKUP, 0, 100, 10), MS), FTT_PASS); /* the stack has them */
	step(&f, from_backup(x, TCP_ACK, 60, 10, 40), MS);
	CHECK_EQ(held_step(&f, early, MS), FTT_PASS);
	CHECK_EQ(step(&f, of_client(x, FTT_MODE_BACKUP, 20, 101, 1), MS), FTT_HOLD);
	step(&f, from_backup(x, TCP_ACK | TCP_FIN, 100, 10, 0), MS);
	CHECK_EQ(step(&f, of_client(x, FTT_MODE_BACKUP, 20, 200, 1), MS), FTT_PASS); /* nothing more will come */
}

/* A takeover ends the waiting; the acknowledgement stays within what our stack has sent. */
static void test_at_a_takeover_nothing_waits_any_more(const struct ends *x)
{
	struct arrival early = of_client(x, FTT_MODE_BACKUP, 0, 100, 10);
	struct ftt_flow f;

	make_backup(&f, x, MS);
	tell_output(&f, x, 100);
	CHECK_EQ(step(&f, early, MS), FTT_HOLD);
	ftt_flow_takeover(&f, at(MS));
	early.mode = FTT_MODE_SOLO;
	CHECK_EQ(held_step(&f, early, MS), FTT_PASS);
	CHECK_EQ(edit.ack, x->backup_iss + 1);
}

static void test_backup_clamps_acknowledgements(const struct ends *x)
{
	struct ftt_flow f;

	make_backup(&f, x, MS);
	tell_output(&f, x, 100);
	CHECK_EQ(step(&f, of_client(x, FTT_MODE_BACKUP, 10, 100, 0), MS), FTT_PASS);
	CHECK_EQ(edit.change & FTT_EDIT_ACK, FTT_EDIT_ACK);
	CHECK_EQ(edit.ack, x->backup_iss + 1); /* our stack has sent nothing */
	CHECK_EQ(f.client_acked, x->service_iss + 101);
	step(&f, from_backup(x, TCP_ACK, 0, 10, 60), MS); /* 60 of the 100 */
	CHECK(edit.actions & FTT_ACT_INJECT);
	CHECK_EQ(ftt_deliverable(&f, FTT_MODE_BACKUP), x->service_iss + 61);
	f.delivered_ack = x->service_iss + 61;
	step(&f, from_backup(x, TCP_ACK, 60, 10, 60), MS); /* 120: a segment of the 100 is kept back */
	CHECK(!(edit.actions & FTT_ACT_INJECT));
	step(&f, of_client(x, FTT_MODE_BACKUP, 10, 118, 0), MS);
	CHECK_EQ(edit.ack, x->backup_iss + 119 - SEGMENT);
	CHECK_EQ(f.delivered_ack, x->service_iss + 119 - SEGMENT);
	step(&f, from_backup(x, TCP_ACK, 120, 10, 60), MS);
	CHECK(!(edit.actions & FTT_ACT_INJECT));
	CHECK_EQ(step(&f, of_client(x, FTT_MODE_BACKUP, 10, 180, 0), MS), FTT_PASS);
	CHECK_EQ(edit.ack, x->backup_iss + 181); /* nothing in flight: nothing to keep back */
}

static void test_old_acknowledgements_stay_old(const struct ends *x)
{
	struct ftt_flow f;

	make_backup(&f, x, MS);
	step(&f, from_backup(x, TCP_ACK, 0, 0, 1000), MS);
	step(&f, of_client(x, FTT_MODE_BACKUP, 0, 500, 0), MS);
	CHECK_EQ(edit.ack, x->backup_iss + 501 - SEGMENT);
	CHECK_EQ(step(&f, of_client(x, FTT_MODE_BACKUP, 0, 200, 0), MS), FTT_PASS);
	CHECK_EQ(edit.ack, x->backup_iss + 201);
	CHECK_EQ(f.client_acked, x->service_iss + 501);
	CHECK_EQ(f.delivered_ack, x->service_iss + 501 - SEGMENT);
}

static void test_commit_is_what_the_stack_acknowledged(const struct ends *x)
{
	struct ftt_flow f;

	make_backup(&f, x, MS);
	CHECK_EQ(step(&f, of_client(x, FTT_MODE_BACKUP, 0, 0, 10), MS), FTT_PASS);
	CHECK_EQ(f.local_rcv_nxt, x->irs + 1); /* seen is not received */
	CHECK_EQ(edit.actions, 0);
	step(&f, from_backup(x, TCP_ACK, 0, 10, 0), MS);
	CHECK(edit.actions & FTT_ACT_COMMIT);
	CHECK_EQ(f.local_rcv_nxt, x->irs + 11);
	step(&f, from_backup(x, TCP_ACK | TCP_FIN, 0, 10, 0), MS);
	CHECK(edit.actions & FTT_ACT_COMMIT);
	CHECK(f.bits & FTT_F_LOCAL_FIN);
	step(&f, from_backup(x, TCP_RST, 1, 0, 0), MS);
	CHECK(edit.actions & FTT_ACT_COMMIT);
	CHECK(f.bits & FTT_F_LOCAL_RST);
}

/* What the backup's server says moves nothing that waits on the primary. */
static void test_output_alone_is_told_later(const struct ends *x)
{
	struct arrival s;
	struct ftt_flow f;

	make_backup(&f, x, MS);
	step(&f, of_client(x, FTT_MODE_BACKUP, 0, 0, 10), MS);
	step(&f, from_backup(x, TCP_ACK, 0, 10, 100), MS); /* with an acknowledgement it is told at once */
	CHECK(edit.actions & FTT_ACT_COMMIT);
	step(&f, from_backup(x, TCP_ACK, 100, 10, 100), MS);
	CHECK_EQ(edit.actions & (FTT_ACT_COMMIT | FTT_ACT_COMMIT_LATER), FTT_ACT_COMMIT_LATER);
	step(&f, from_backup(x, TCP_ACK, 100, 10, 100), MS); /* nothing new */
	CHECK_EQ(edit.actions & (FTT_ACT_COMMIT | FTT_ACT_COMMIT_LATER), 0);
	f.hard.local_wscale = 7;
	s = from_backup(x, TCP_ACK, 200, 10, 0);
	s.wnd = (uint16_t)((f.local_edge - f.local_rcv_nxt + 127) >> 7); /* the edge as it is, or a little more */
	step(&f, s, MS);
	s.wnd += (uint16_t)(((FTT_WINDOW_STEP - 1) >> f.hard.local_wscale));
	step(&f, s, MS); /* so small a growth of the window is worth no acknowledgement to the client */
	CHECK_EQ(edit.actions & (FTT_ACT_COMMIT | FTT_ACT_COMMIT_LATER), FTT_ACT_COMMIT_LATER);
	s.wnd += (uint16_t)((FTT_WINDOW_STEP >> f.hard.local_wscale) + 1);
	step(&f, s, MS);
	CHECK(edit.actions & FTT_ACT_COMMIT);
}

static void test_sack_edges_move_with_the_space(const struct ends *x)
{
	struct arrival s = of_client(x, FTT_MODE_BACKUP, 0, 0, 0);
	struct ftt_flow f;

	make_backup(&f, x, MS);
	s.options |= FTT_OPT_SACK;
	step(&f, s, MS);
	CHECK(edit.change & FTT_EDIT_SACK);
	CHECK_EQ(edit.sack_add, x->backup_iss - x->service_iss);
}

/* --- timestamps ---------------------------------------------------------------------------------------- */

static void test_echoes_reach_the_stack_in_its_own_time(const struct ends *x)
{
	struct arrival s = stamped(of_client(x, FTT_MODE_BACKUP, 0, 0, 1), x->client_ts + 9, x->service_ts);
	struct ftt_flow f;

	make_backup(&f, x, MS);
	step(&f, s, MS);
	CHECK(edit.change & FTT_EDIT_TSECR);
	CHECK_EQ(edit.tsecr, x->backup_ts);
	step(&f, stamped(s, x->client_ts + 9, x->service_ts + 1000), MS); /* the other stack sent it; ours is not there yet */
	CHECK_EQ(edit.tsecr, x->backup_ts);
	step(&f, stamped(from_backup(x, TCP_ACK, 0, 1, 0), x->backup_ts + 2000, 0), MS);
	step(&f, stamped(s, x->client_ts + 9, x->service_ts + 1000), MS);
	CHECK_EQ(edit.tsecr, x->backup_ts + 1000);
}

/*
 * Segments that waited go together. The last one is beyond the window that we know, and the stack takes it all the same, for
 * those before it have moved that. What we say then in the client's name is not older.
 */
static void test_the_stack_echoes_what_it_took(const struct ends *x)
{
	struct arrival late;
	struct ftt_bare b;
	struct ftt_flow f;
	uint32_t beyond;

	make_backup(&f, x, MS);
	beyond = f.local_edge - (x->irs + 1) + 1;
	late = stamped(of_client(x, FTT_MODE_BACKUP, beyond, 0, 10), x->client_ts + 90, x->service_ts);
	step(&f, stamped(of_client(x, FTT_MODE_BACKUP, 0, 0, 10), x->client_ts + 9, x->service_ts), MS);
	CHECK_EQ(step(&f, late, MS), FTT_PASS);
	CHECK_EQ(f.client_tsval, x->client_ts + 9); /* nothing is learnt of what is refused */
	step(&f, stamped(from_backup(x, TCP_ACK, 0, 10, 60), x->backup_ts + 1, x->client_ts + 9), MS);
	CHECK_EQ(f.client_tsval, x->client_ts + 9);
	step(&f, stamped(from_backup(x, TCP_ACK, 60, beyond + 10, 60), x->backup_ts + 1, x->client_ts + 90), MS);
	ftt_bare_for_stack(&f, &(struct ftt_key){0}, f.client_acked, &b);
	CHECK_EQ(b.tsval, x->client_ts + 90);
	step(&f, stamped(from_backup(x, TCP_ACK, 120, beyond + 10, 0), x->backup_ts + 1, x->client_ts + 9), MS); /* overtaken */
	CHECK_EQ(f.client_tsval, x->client_ts + 90);
	CHECK_EQ(f.ts_recent, x->client_ts + 90);
}

static void test_time_never_runs_back_for_the_client(const struct ends *x)
{
	struct arrival s;
	struct ftt_flow f;
	uint32_t shown = 0;

	make_backup(&f, x, MS);
	step(&f, stamped(of_client(x, FTT_MODE_BACKUP, 0, 0, 1), x->client_ts + 9, x->service_ts + 300), MS);
	step(&f, from_backup(x, TCP_ACK, 0, 1, 0), MS);
	ftt_flow_takeover(&f, at(MS));
	for (uint32_t t = 2; t < 2000; t += 7) { /* our clock is far behind what the client has echoed */
		s = stamped(from_backup(x, TCP_ACK, 0, 1, 0), x->backup_ts + t, x->client_ts + 9);
		s.mode = FTT_MODE_SOLO;
		CHECK_EQ(step(&f, s, MS), FTT_PASS);
		CHECK(edit.change & FTT_EDIT_TSVAL);
		CHECK(seq_geq(edit.tsval, x->service_ts + 300));
		CHECK(t == 2 || seq_gt(edit.tsval, shown));
		shown = edit.tsval;
		s = stamped(of_client(x, FTT_MODE_SOLO, 1, 0, 0), x->client_ts + 9 + t, shown);
		CHECK_EQ(step(&f, s, MS), FTT_PASS);
		CHECK_EQ(edit.tsecr, x->backup_ts + t); /* there and back again */
	}
}

static void test_without_timestamps_none_are_touched(void)
{
	struct ends x = plain;
	struct ftt_flow f;

	x.client_ts = 0;
	make_backup(&f, &x, MS);
	CHECK_EQ(f.hard.ts_delta, 0);
	step(&f, of_client(&x, FTT_MODE_BACKUP, 0, 0, 1), MS);
	CHECK_EQ(edit.change & FTT_EDIT_TSECR, 0);
	ftt_flow_takeover(&f, at(MS));
	CHECK_EQ(f.hard.ts_delta, 0);
}

static void test_a_connection_of_the_past_is_ended_in_the_stack(void)
{
	struct ftt_flow f;

	ftt_flow_init(&f, plain.irs, MS);
	CHECK_EQ(step(&f, syn_of(&plain, FTT_MODE_BACKUP), MS), FTT_PASS);
	CHECK_EQ(step(&f, from_server(FTT_MODE_BACKUP, TCP_ACK, 77, 4711, 0), MS), FTT_DROP); /* out of TIME-WAIT */
	CHECK_EQ(edit.actions, FTT_ACT_RESET);
	CHECK_EQ(step(&f, synack_of(&plain, FTT_MODE_BACKUP), MS), FTT_DROP);
	CHECK_EQ(step(&f, from_server(FTT_MODE_BACKUP, TCP_ACK, plain.backup_iss + 1, plain.irs + 1, 0), MS), FTT_DROP);
	CHECK_EQ(edit.actions & FTT_ACT_RESET, 0); /* this one's own */
}

/* The client agreed to something with the primary's stack that ours did not: refused, whichever of OPEN and SYN-ACK is first. */
static void test_a_handshake_with_other_options_is_refused(void)
{
	for (int i = 0; i < 8; i++) {
		bool scaled = i & 1, stamps = i & 2, open_first = i & 4, alike = scaled && stamps;
		struct ftt_record open = record_of(&plain, FTT_REC_OPEN), refused = record_of(&plain, FTT_REC_REFUSED);
		struct arrival answer = synack_of(&plain, FTT_MODE_BACKUP);
		struct ftt_flow f, primary;
		uint32_t actions = 0;

		answer.options &= (uint8_t)~((scaled ? 0 : FTT_OPT_WSCALE) | (stamps ? 0 : FTT_OPT_TS));
		ftt_flow_init(&f, plain.irs, MS);
		step(&f, syn_of(&plain, FTT_MODE_BACKUP), MS);
		if (open_first)
			actions |= ftt_backup_open(&f, &open, at(MS));
		CHECK_EQ(step(&f, answer, MS), FTT_DROP);
		actions |= edit.actions;
		if (!open_first)
			actions |= ftt_backup_open(&f, &open, at(MS));
		CHECK_EQ(actions, alike ? FTT_ACT_OPENED : FTT_ACT_REFUSED | FTT_ACT_LET_GO);
		CHECK_EQ(f.protection == FTT_PROTECTED, alike);
		CHECK_EQ(!!(f.bits & FTT_F_UNLIKE), !alike);
		open_primary(&primary, &plain, MS);
		CHECK_EQ(told_flags(&primary, FTT_REC_OPEN), FTT_REC_TS | FTT_REC_WSCALE);
		refused.flags = FTT_REC_UNLIKE;
		ftt_primary_record(&primary, &refused, at(MS));
		CHECK_EQ(primary.protection, FTT_DETACHED);
		CHECK_EQ(primary.reason, FTT_WHY_UNSUPPORTED);
	}
}

int main(void)
{
	test_a_handshake_with_other_options_is_refused();
	for (size_t i = 0; i < 2; i++) {
		test_backup_joins_in_either_order(all_ends[i]);
		test_backup_lets_nothing_out(all_ends[i]);
		test_input_waits_for_the_output_that_it_answers(all_ends[i]);
		test_at_a_takeover_nothing_waits_any_more(all_ends[i]);
		test_backup_clamps_acknowledgements(all_ends[i]);
		test_old_acknowledgements_stay_old(all_ends[i]);
		test_commit_is_what_the_stack_acknowledged(all_ends[i]);
		test_output_alone_is_told_later(all_ends[i]);
		test_sack_edges_move_with_the_space(all_ends[i]);
		test_echoes_reach_the_stack_in_its_own_time(all_ends[i]);
		test_the_stack_echoes_what_it_took(all_ends[i]);
		test_time_never_runs_back_for_the_client(all_ends[i]);
	}
	test_nothing_reaches_the_backup_before_both_spaces_are_known();
	test_without_timestamps_none_are_touched();
	test_a_connection_of_the_past_is_ended_in_the_stack();
	return 0;
}
