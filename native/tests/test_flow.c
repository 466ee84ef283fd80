/* SPDX-License-Identifier: Apache-2.0 */
/* What the primary decides for each segment of a flow: handshake, output rule, ends, windows. */
#include "flows.h"

/* --- the handshake -------------------------------------------------------------------------------- */

/* On every node and in every mode that is given a SYN; of all else the option is the stack's business. */
static void test_no_stack_is_offered_multipath_tcp(void)
{
	static const uint8_t modes[] = {FTT_MODE_PAIRED, FTT_MODE_SOLO, FTT_MODE_BACKUP};

	for (unsigned i = 0; i < sizeof(modes); i++) {
		struct arrival syn = syn_of(&plain, modes[i]), other = of_client(&plain, modes[i], 0, 0, 1);
		struct ftt_flow f;

		ftt_flow_init(&f, plain.irs, MS);
		CHECK_EQ(step(&f, syn, MS), FTT_PASS);
		CHECK_EQ(edit.change, 0);
		syn.options |= FTT_OPT_MPTCP;
		CHECK_EQ(step(&f, syn, MS), FTT_PASS);
		CHECK_EQ(edit.change, FTT_EDIT_MPTCP);
		other.options |= FTT_OPT_MPTCP;
		step(&f, other, MS);
		CHECK(!(edit.change & FTT_EDIT_MPTCP));
	}
}

static void test_synack_waits_for_the_backup(const struct ends *x)
{
	struct ftt_flow f;

	open_primary(&f, x, MS);
	CHECK_EQ(gate(&f, synack_of(x, FTT_MODE_PAIRED), 2 * MS), FTT_HOLD);
	CHECK_EQ(step(&f, synack_of(x, FTT_MODE_PAIRED), 3 * MS), FTT_DROP);
	CHECK_EQ(edit.drop, FTT_DROP_REPEATED);
	CHECK(!ftt_flow_shifted(&f));
}

static void test_primary_translates_nothing_of_its_own_handshake(const struct ends *x)
{
	struct ftt_flow f;
	struct arrival s = of_client(x, FTT_MODE_PAIRED, 0, 0, 1);

	make_primary(&f, x, MS);
	s.options |= FTT_OPT_SACK;
	CHECK_EQ(step(&f, s, MS), FTT_PASS);
	CHECK_EQ(edit.change, 0);
	CHECK_EQ(step(&f, windowed(from_primary(x, TCP_ACK, 0, 0, 1), 0), MS), FTT_PASS);
	CHECK_EQ(edit.change & ~FTT_EDIT_WND, 0);
}

static void test_alone_a_handshake_is_not_held(void)
{
	struct ftt_flow f;

	ftt_flow_init(&f, plain.irs, MS);
	CHECK_EQ(step(&f, syn_of(&plain, FTT_MODE_SOLO), MS), FTT_PASS);
	CHECK_EQ(step(&f, synack_of(&plain, FTT_MODE_SOLO), MS), FTT_PASS);
	CHECK_EQ(edit.actions, 0);
	CHECK_EQ(f.protection, FTT_UNPROTECTED);
	CHECK_EQ(f.reason, FTT_WHY_NO_BACKUP);
	CHECK_EQ(step(&f, from_primary(&plain, TCP_ACK, 0, 50, 100), MS), FTT_PASS);
}

/* Experiments: the service space may differ from the local one on the node that shook hands, too. */
static void test_shifted_space_on_the_primary(void)
{
	static const struct ftt_shift shift = {.on = true, .iss = 0xffffff00, .ts = 0x7fffffff};
	struct arrival s = synack_of(&plain, FTT_MODE_SOLO);
	struct ftt_flow f;

	ftt_flow_init(&f, plain.irs, MS);
	step(&f, syn_of(&plain, FTT_MODE_SOLO), MS);
	policy.shift = shift;
	CHECK_EQ(step(&f, s, MS), FTT_PASS);
	policy.shift.on = false;
	CHECK_EQ(edit.change & (FTT_EDIT_SEQ | FTT_EDIT_TSVAL), FTT_EDIT_SEQ | FTT_EDIT_TSVAL);
	CHECK_EQ(edit.seq, shift.iss);
	CHECK_EQ(edit.tsval, shift.ts);
	s = stamped(from_client(FTT_MODE_SOLO, TCP_ACK, plain.irs + 1, shift.iss + 1, 0), 101, shift.ts);
	CHECK_EQ(step(&f, s, MS), FTT_PASS);
	CHECK_EQ(edit.ack, plain.service_iss + 1);
	CHECK_EQ(edit.tsecr, plain.service_ts);
}

static void test_reset_of_a_closed_port(void)
{
	struct ftt_flow f;

	ftt_flow_init(&f, plain.irs, MS);
	step(&f, syn_of(&plain, FTT_MODE_PAIRED), MS);
	CHECK_EQ(step(&f, from_server(FTT_MODE_PAIRED, TCP_RST | TCP_ACK, 0, plain.irs + 1, 0), MS), FTT_PASS);
	CHECK_EQ(edit.actions, FTT_ACT_CLOSED);
	ftt_flow_init(&f, plain.irs, MS);
	step(&f, syn_of(&plain, FTT_MODE_BACKUP), MS);
	CHECK_EQ(step(&f, from_server(FTT_MODE_BACKUP, TCP_RST | TCP_ACK, 0, plain.irs + 1, 0), MS), FTT_DROP);
	CHECK_EQ(edit.actions, FTT_ACT_REFUSED | FTT_ACT_CLOSED);
}

static void test_syn_of_a_new_connection_under_an_old_key(const struct ends *x)
{
	struct ends next = *x;
	struct arrival syn;
	struct ftt_flow f;

	next.irs += 1u << 31;
	next.service_iss += 12345;
	next.client_ts = 0x90000000;
	syn = windowed(syn_of(&next, FTT_MODE_PAIRED), 4321);
	syn.wscale = 3;
	make_primary(&f, x, MS);
	CHECK_EQ(step(&f, syn, MS), FTT_PASS);
	CHECK_EQ(f.hard.irs, x->irs); /* the stack decides whether the old one is over */
	CHECK_EQ(f.protection, FTT_PROTECTED);
	CHECK_EQ(step(&f, from_primary(x, TCP_ACK, 0, 0, 0), MS), FTT_PASS); /* it is not: a challenge */
	CHECK_EQ(step(&f, synack_of(&next, FTT_MODE_PAIRED), MS), FTT_HOLD); /* it is */
	CHECK_EQ(edit.actions, FTT_ACT_OPEN);
	CHECK_EQ(f.hard.irs, next.irs);
	CHECK_EQ(f.protection, FTT_OPENING);
	CHECK_EQ(f.committed, next.irs + 1);
	CHECK_EQ(f.local_rcv_nxt, next.irs + 1);
	CHECK_EQ(f.client_tsval, next.client_ts); /* a time of the old connection, or 0, would poison the stack */
	CHECK_EQ(f.client_wnd, 4321);
	CHECK_EQ(f.hard.client_wscale, 3);
}

/* --- the output rule -------------------------------------------------------------------------------- */

static void test_output_waits_for_the_commit(const struct ends *x)
{
	struct arrival hasty = from_primary(x, TCP_ACK, 5, 10, 0);
	struct ftt_flow f;
	struct ftt_record r;

	make_primary(&f, x, MS);
	step(&f, of_client(x, FTT_MODE_PAIRED, 0, 0, 10), MS);
	CHECK_EQ(step(&f, from_primary(x, TCP_ACK, 0, 0, 5), MS), FTT_PASS); /* depends on nothing new */
	CHECK_EQ(step(&f, from_primary(x, TCP_ACK, 5, 10, 0), MS), FTT_HOLD);
	policy.eager = true;
	CHECK_EQ(gate(&f, hasty, MS), FTT_PASS); /* an experiment */
	policy.eager = false;
	r = commit_of(x, 9, 1000, 0);
	ftt_primary_record(&f, &r, at(MS));
	CHECK_EQ(gate(&f, from_primary(x, TCP_ACK, 5, 10, 0), MS), FTT_HOLD); /* one byte is missing */
	r = commit_of(x, 10, 1000, 0);
	f.held_since_ns = MS;
	CHECK(ftt_primary_record(&f, &r, at(MS)) & FTT_ACT_RELEASE);
	CHECK_EQ(gate(&f, from_primary(x, TCP_ACK, 5, 10, 0), MS), FTT_PASS);
	r = commit_of(x, 4, 1000, 0); /* overtaken on the way: commits only grow */
	ftt_primary_record(&f, &r, at(MS));
	CHECK_EQ(gate(&f, from_primary(x, TCP_ACK, 5, 10, 0), MS), FTT_PASS);
	CHECK_EQ(f.committed, x->irs + 11);
}

static void test_nothing_overtakes_what_is_held(void)
{
	struct arrival s = from_primary(&plain, TCP_ACK, 0, 0, 5);
	struct ftt_flow f;

	make_primary(&f, &plain, MS);
	f.held_since_ns = MS;
	CHECK_EQ(step(&f, s, MS), FTT_HOLD);
	CHECK_EQ(f.local_snd_nxt, plain.service_iss + 6); /* it was sent all the same */
}

/* What is said without a lease waits, and is known to have been said. */
static void test_not_a_word_without_a_lease(void)
{
	struct arrival s = from_primary(&plain, TCP_ACK, 0, 0, 5);
	struct ftt_env *env = node_at(FTT_MODE_PAIRED, MS);
	struct ftt_flow f;

	make_primary(&f, &plain, MS);
	env->lease = false;
	CHECK_EQ(ftt_segment_step(&f, &s.seg, env, &edit), FTT_HOLD);
	CHECK_EQ(f.local_snd_nxt, plain.service_iss + 6);
}

/* Alone, letting go and let go: only the first and the last do not wait. */
static void test_output_by_protection(void)
{
	struct arrival s = from_primary(&plain, TCP_ACK, 0, 10, 5);
	struct ftt_flow f;

	make_primary(&f, &plain, MS);
	CHECK_EQ(ftt_flow_detach(&f, FTT_WHY_COMMIT_LAG, MS), FTT_ACT_DETACH);
	CHECK_EQ(step(&f, s, MS), FTT_HOLD);
	CHECK_EQ(step(&f, from_primary(&plain, TCP_ACK, 0, 0, 5), MS), FTT_HOLD); /* even what is committed */
	s.mode = FTT_MODE_SOLO;
	CHECK_EQ(gate(&f, s, MS), FTT_PASS);
	s.mode = FTT_MODE_PAIRED;
	f.protection = FTT_DETACHED;
	CHECK_EQ(gate(&f, s, MS), FTT_PASS);
	f.protection = FTT_UNPROTECTED;
	CHECK_EQ(gate(&f, s, MS), FTT_PASS);
}

/* --- ends ------------------------------------------------------------------------------------------- */

static void test_fin_waits_for_the_backups_server(const struct ends *x)
{
	struct arrival fin = from_primary(x, TCP_ACK | TCP_FIN, 5, 0, 3);
	struct ftt_record r = commit_of(x, 0, 1000, 8);
	struct ftt_flow f;

	make_primary(&f, x, MS);
	CHECK_EQ(step(&f, fin, 2 * MS), FTT_HOLD);
	CHECK_EQ(f.end_since_ns, 2 * MS);
	ftt_primary_record(&f, &r, at(3 * MS));
	CHECK_EQ(gate(&f, fin, 4 * MS), FTT_HOLD); /* all bytes, but no end */
	CHECK_EQ(f.end_since_ns, 3 * MS); /* it came nearer */
	r.flags = FTT_REC_FIN;
	ftt_primary_record(&f, &r, at(4 * MS));
	CHECK_EQ(gate(&f, fin, 4 * MS), FTT_HOLD); /* an end, but elsewhere */
	CHECK_EQ(f.end_since_ns, 3 * MS);
	r.snd_nxt++;
	ftt_primary_record(&f, &r, at(4 * MS));
	CHECK_EQ(gate(&f, fin, 5 * MS), FTT_PASS);
	CHECK_EQ(edit.change & FTT_EDIT_FIN, 0);
	CHECK_EQ(f.end_since_ns, 0);
	CHECK_EQ(edit.actions, FTT_ACT_COMMIT); /* it is told; the client has not ended its side */
}

/* A primary whose last data went to the client without the FIN that came with it. */
static void owe_a_fin(struct ftt_flow *f, const struct ends *x)
{
	struct arrival last = from_primary(x, TCP_ACK | TCP_FIN, 5, 0, 3);

	last.whole = true;
	make_primary(f, x, MS);
	CHECK_EQ(step(f, last, 2 * MS), FTT_PASS);
	CHECK(edit.change & FTT_EDIT_FIN);
	CHECK_EQ(f->end_since_ns, 2 * MS);
}

static void test_data_goes_ahead_of_its_fin(const struct ends *x)
{
	struct arrival again = from_primary(x, TCP_ACK | TCP_FIN, 5, 0, 3);
	struct ftt_record r = commit_of(x, 0, 1000, 9);
	struct ftt_key key = {.proto = 6};
	struct ftt_flow f;
	struct ftt_bare b;

	owe_a_fin(&f, x);
	again.whole = true;
	CHECK_EQ(step(&f, again, 3 * MS), FTT_PASS); /* sent again: the same */
	CHECK(edit.change & FTT_EDIT_FIN);
	r.flags = FTT_REC_FIN;
	CHECK(ftt_primary_record(&f, &r, at(4 * MS)) & FTT_ACT_FIN);
	CHECK_EQ(f.end_since_ns, 0);
	CHECK_EQ(ftt_primary_record(&f, &r, at(4 * MS)) & FTT_ACT_FIN, 0); /* once */
	ftt_bare_fin(&f, &key, FTT_MODE_PAIRED, &b);
	CHECK_EQ(b.seq, x->service_iss + 1 + 8);
	CHECK_EQ(b.flags, TCP_FIN | TCP_ACK);
	CHECK_EQ(step(&f, again, 5 * MS), FTT_PASS);
	CHECK_EQ(edit.change & FTT_EDIT_FIN, 0);
}

static void test_owed_fin_is_paid_when_the_flow_goes_on_alone(void)
{
	struct ftt_record detached = record_of(&plain, FTT_REC_DETACHED);
	struct ftt_flow f;

	owe_a_fin(&f, &plain);
	CHECK(ftt_flow_solo(&f) & FTT_ACT_FIN);
	owe_a_fin(&f, &plain);
	CHECK_EQ(ftt_flow_tick(&f, at(203 * MS)), FTT_ACT_DETACH); /* the server lives: a real end */
	CHECK(ftt_primary_record(&f, &detached, at(204 * MS)) & FTT_ACT_FIN);
}

static void test_data_goes_ahead_of_its_fin_only_under_the_output_rule(void)
{
	struct arrival last = from_primary(&plain, TCP_ACK | TCP_FIN, 0, 10, 3);
	struct ftt_record r = commit_of(&plain, 9, 1000, 0);
	struct ftt_flow f;

	last.whole = true;
	make_primary(&f, &plain, MS);
	CHECK_EQ(step(&f, last, MS), FTT_HOLD);
	CHECK_EQ(f.bits & FTT_F_FIN_OWED, 0);
	r.rcv_nxt++;
	ftt_primary_record(&f, &r, at(MS));
	CHECK_EQ(gate(&f, last, MS), FTT_PASS);
	CHECK(edit.change & FTT_EDIT_FIN);
}

static void test_fin_still_obeys_the_output_rule(void)
{
	struct arrival fin = from_primary(&plain, TCP_ACK | TCP_FIN, 0, 10, 0);
	struct ftt_record r = commit_of(&plain, 9, 1000, 1);
	struct ftt_flow f;

	make_primary(&f, &plain, MS);
	r.flags = FTT_REC_FIN;
	ftt_primary_record(&f, &r, at(MS));
	CHECK_EQ(step(&f, fin, MS), FTT_HOLD);
	r.rcv_nxt++;
	ftt_primary_record(&f, &r, at(MS));
	CHECK_EQ(gate(&f, fin, MS), FTT_PASS);
}

static void test_reset_waits_for_the_backups_server(void)
{
	struct arrival rst = from_primary(&plain, TCP_RST, 0, 0, 0);
	struct ftt_record r = commit_of(&plain, 0, 1000, 2);
	struct ftt_flow f;

	make_primary(&f, &plain, MS);
	CHECK_EQ(step(&f, rst, MS), FTT_HOLD);
	r.flags = FTT_REC_FIN;
	ftt_primary_record(&f, &r, at(MS));
	CHECK_EQ(gate(&f, rst, MS), FTT_HOLD); /* behind a byte more is another end */
	make_primary(&f, &plain, MS);
	CHECK_EQ(step(&f, rst, MS), FTT_HOLD);
	r = commit_of(&plain, 0, 1000, 0);
	r.flags = FTT_REC_RST;
	ftt_primary_record(&f, &r, at(MS));
	CHECK_EQ(gate(&f, rst, MS), FTT_PASS);
	CHECK(edit.actions & FTT_ACT_CLOSED);
}

/* The stack answers a stray segment with that one's number, and goes on. */
static void test_a_reset_with_a_strays_number_ends_nothing(const struct ends *x)
{
	static const uint32_t strays[] = {0u - 1, 0u - 100, 0u - 5000, 1u << 20};
	struct ftt_flow f;

	for (size_t i = 0; i < 4; i++) {
		make_primary(&f, x, MS);
		f.bits |= FTT_F_FIN_OWED;
		CHECK_EQ(step(&f, from_primary(x, TCP_RST, strays[i], 0, 0), MS), FTT_PASS);
		CHECK_EQ(step(&f, from_primary(x, TCP_RST | TCP_ACK, strays[i], 170, 0), MS), FTT_PASS); /* acknowledges a SYN only */
		CHECK_EQ(edit.actions, 0);
		CHECK(f.bits & FTT_F_FIN_OWED && !(f.bits & FTT_F_LOCAL_RST));
		make_backup(&f, x, MS);
		CHECK_EQ(step(&f, from_backup(x, TCP_RST, strays[i], 0, 0), MS), FTT_DROP);
		CHECK_EQ(edit.actions, 0);
		CHECK(!(f.bits & FTT_F_LOCAL_RST));
	}
	/* wherever the client may stand it is the end */
	for (uint32_t at = 0; at <= 100; at += 50) {
		make_backup(&f, x, MS);
		step(&f, from_backup(x, TCP_ACK, 0, 0, 100), MS);
		CHECK_EQ(step(&f, from_backup(x, TCP_RST, at, 0, 0), MS), FTT_DROP);
		CHECK(edit.actions & FTT_ACT_COMMIT && f.bits & FTT_F_LOCAL_RST);
	}
}

static void test_clients_reset_must_be_exact(const struct ends *x)
{
	struct ftt_flow f;

	for (int off = -1; off <= 1; off++) {
		make_primary(&f, x, MS);
		CHECK_EQ(step(&f, from_client(FTT_MODE_PAIRED, TCP_RST, x->irs + 1 + (uint32_t)off, 0, 0), MS), FTT_PASS);
		CHECK_EQ(edit.actions, off ? 0 : FTT_ACT_CLOSED | FTT_ACT_ABORT);
	}
	CHECK_EQ(step(&f, from_primary(x, TCP_RST, 0, 0, 0), MS), FTT_HOLD);
	make_backup(&f, x, MS);
	CHECK_EQ(step(&f, from_client(FTT_MODE_BACKUP, TCP_RST, x->irs + 1, 0, 0), MS), FTT_PASS);
	CHECK_EQ(edit.actions, FTT_ACT_CLOSED);
}

static void test_closed_when_both_ends_are_acknowledged(void)
{
	struct ftt_record r = commit_of(&plain, 0, 1000, 1);
	struct arrival fin = of_client(&plain, FTT_MODE_PAIRED, 0, 0, 0), last;
	struct ftt_flow f;

	make_primary(&f, &plain, MS);
	r.flags = FTT_REC_FIN;
	ftt_primary_record(&f, &r, at(MS));
	CHECK_EQ(step(&f, from_primary(&plain, TCP_ACK | TCP_FIN, 0, 0, 0), MS), FTT_PASS);
	fin.flags |= TCP_FIN;
	step(&f, fin, MS);
	r.rcv_nxt++;
	ftt_primary_record(&f, &r, at(MS));
	CHECK_EQ(step(&f, from_primary(&plain, TCP_ACK, 1, 1, 0), MS), FTT_PASS);
	CHECK_EQ(edit.actions, 0); /* our FIN is not acknowledged */
	last = of_client(&plain, FTT_MODE_PAIRED, 1, 1, 0);
	step(&f, last, MS);
	CHECK_EQ(step(&f, from_primary(&plain, TCP_ACK, 1, 1, 0), MS), FTT_PASS);
	CHECK_EQ(edit.actions, FTT_ACT_CLOSED);
}

/* --- windows ------------------------------------------------------------------------------------------ */

/* The client's edge after a segment that acknowledges `in` bytes and shows a window of its own. */
static uint32_t shown_edge(struct ftt_flow *f, const struct ends *x, uint32_t in, uint16_t wnd)
{
	CHECK_EQ(step(f, windowed(from_primary(x, TCP_ACK, 0, in, 0), wnd), MS), FTT_PASS);
	wnd = edit.change & FTT_EDIT_WND ? edit.wnd : wnd;
	return in + ((uint32_t)wnd << x->service_wscale);
}

static void test_smaller_window_of_both_at_each_scale(void)
{
	for (uint8_t scale = 0; scale <= 14; scale++) {
		struct ends x = plain;
		uint32_t unit = 1u << scale, far = 65000 + 100 * unit;
		struct ftt_record r;
		struct ftt_flow f;

		x.service_wscale = scale;
		x.service_wnd = 100; /* of the SYN-ACK, which is a promise too */
		make_primary(&f, &x, MS);
		CHECK_EQ(shown_edge(&f, &x, 0, (uint16_t)(65000 >> scale)), 65000 / unit * unit);
		r = commit_of(&x, 0, far, 0);
		ftt_primary_record(&f, &r, at(MS));
		CHECK(shown_edge(&f, &x, 0, 0xffff) <= far); /* ours would be more, if scaled */
		CHECK_EQ(shown_edge(&f, &x, 0, 0), far > (0xffffu << scale) ? 0xffffu << scale : far / unit * unit);
	}
}

/*
 * The backup's edge advances byte by byte, the acknowledgements in other steps. What was promised once stays promised, but
 * for what the scale cuts off; and nothing is promised beyond the backup's edge, however many acknowledgements there are.
 */
static void test_window_keeps_to_the_backups_edge(uint8_t scale)
{
	const uint32_t first = 4 << 14; /* whole units at each scale */
	uint32_t unit = 1u << scale, before = 0;
	struct ends x = plain;
	struct ftt_flow f;

	x.service_wscale = scale;
	x.service_wnd = x.backup_wnd = 65535;
	make_primary(&f, &x, MS);
	for (uint32_t in = 0; in < 2 * first; in += 37) {
		struct ftt_record r = commit_of(&x, in, first - in / 2, 0);
		uint32_t most = in + first - in / 2, edge;

		step(&f, of_client(&x, FTT_MODE_PAIRED, in, 0, 37), MS);
		ftt_primary_record(&f, &r, at(MS));
		edge = shown_edge(&f, &x, in, 0xffff);
		CHECK(edge <= most);
		CHECK(edge + unit > before);
		CHECK(edge + unit > most || edge == in + (0xffffu << scale));
		before = edge;
	}
}

/* --- plausibility ---------------------------------------------------------------------------------------- */

static void test_nothing_is_learnt_from_nonsense(const struct ends *x)
{
	static const uint32_t far[] = {1u << 25, 1u << 30, 0x7fffffff, 0x80000000};
	struct ftt_flow f, before;

	for (size_t i = 0; i < sizeof(far) / sizeof(*far); i++) {
		make_primary(&f, x, MS);
		before = f;
		step(&f, of_client(x, FTT_MODE_PAIRED, far[i], 0, 10), MS); /* far from the window */
		CHECK_EQ(f.client_nxt, before.client_nxt);
		step(&f, of_client(x, FTT_MODE_PAIRED, 0, far[i], 10), MS); /* acknowledges what was never sent */
		CHECK_EQ(f.client_acked, before.client_acked);
		CHECK_EQ(f.max_tsecr, before.max_tsecr);
	}
	make_primary(&f, x, MS);
	CHECK_EQ(step(&f, of_client(x, FTT_MODE_PAIRED, 0, 1, 10), MS), FTT_DROP); /* by one byte */
	CHECK_EQ(edit.drop, FTT_DROP_REFUSED);
	CHECK_EQ(f.client_acked, x->service_iss + 1);
}

int main(void)
{
	test_no_stack_is_offered_multipath_tcp();
	for (size_t i = 0; i < 2; i++) {
		test_synack_waits_for_the_backup(all_ends[i]);
		test_primary_translates_nothing_of_its_own_handshake(all_ends[i]);
		test_syn_of_a_new_connection_under_an_old_key(all_ends[i]);
		test_output_waits_for_the_commit(all_ends[i]);
		test_fin_waits_for_the_backups_server(all_ends[i]);
		test_data_goes_ahead_of_its_fin(all_ends[i]);
		test_a_reset_with_a_strays_number_ends_nothing(all_ends[i]);
		test_clients_reset_must_be_exact(all_ends[i]);
		test_nothing_is_learnt_from_nonsense(all_ends[i]);
	}
	test_alone_a_handshake_is_not_held();
	test_shifted_space_on_the_primary();
	test_reset_of_a_closed_port();
	test_nothing_overtakes_what_is_held();
	test_not_a_word_without_a_lease();
	test_output_by_protection();
	test_fin_still_obeys_the_output_rule();
	test_owed_fin_is_paid_when_the_flow_goes_on_alone();
	test_data_goes_ahead_of_its_fin_only_under_the_output_rule();
	test_reset_waits_for_the_backups_server();
	test_closed_when_both_ends_are_acknowledged();
	test_smaller_window_of_both_at_each_scale();
	for (uint8_t scale = 0; scale <= 14; scale++)
		test_window_keeps_to_the_backups_edge(scale);
	return 0;
}
