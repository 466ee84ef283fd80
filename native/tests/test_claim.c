/* SPDX-License-Identifier: Apache-2.0 */
/* A backup: what a client claims to have is not believed, nor given to the stack, before somebody has confirmed it. */
#include "flows.h"

static void test_a_claim_waits_for_the_primary(const struct ends *x)
{
	struct ftt_flow f, before;

	make_untold_backup(&f, x, MS);
	before = f;
	CHECK_EQ(step(&f, windowed(of_client(x, FTT_MODE_BACKUP, 0, 500, 0), 700), MS), FTT_DROP);
	CHECK_EQ(edit.drop, FTT_DROP_REFUSED);
	same_place(&f, &before);
	CHECK_EQ(tell_output(&f, x, 499), 0);
	same_place(&f, &before);
	CHECK_EQ(tell_output(&f, x, 500), FTT_ACT_INJECT);
	CHECK_EQ(f.client_acked, x->service_iss + 501);
	CHECK_EQ(f.client_wnd, 700);
	CHECK_EQ(tell_output(&f, x, 600), 0);
	CHECK_EQ(step(&f, of_client(x, FTT_MODE_BACKUP, 0, 600, 0), MS), FTT_PASS); /* told before */
	CHECK_EQ(f.client_acked, x->service_iss + 601);
}

/* The client's last acknowledgement may come before the primary's word on the FIN, or be told by a PROBE. */
static void test_the_last_word_of_both_closes(const struct ends *x)
{
	struct ftt_record probe = record_of(x, FTT_REC_PROBE);
	struct ftt_flow f;

	for (int probed = 0; probed < 2; probed++) {
		struct arrival fin = of_client(x, FTT_MODE_BACKUP, 0, 0, 0);

		make_untold_backup(&f, x, MS);
		fin.flags |= TCP_FIN;
		step(&f, fin, MS);
		step(&f, from_backup(x, TCP_ACK | TCP_FIN, 0, 1, 0), MS);
		CHECK(!(edit.actions & FTT_ACT_CLOSED));
		if (probed) {
			probe.client_acked = x->service_iss + 2;
			CHECK(ftt_backup_probe(&f, &probe, NULL) & FTT_ACT_CLOSED);
		} else {
			CHECK_EQ(step(&f, of_client(x, FTT_MODE_BACKUP, 1, 1, 0), MS), FTT_DROP);
			CHECK_EQ(tell_output(&f, x, 1), FTT_ACT_INJECT | FTT_ACT_CLOSED);
		}
	}
}

/* Our own server may be the faster one: when the client said that, it was not sent. */
static void test_our_own_output_confirms_nothing(const struct ends *x)
{
	struct ftt_flow f;

	make_untold_backup(&f, x, MS);
	step(&f, of_client(x, FTT_MODE_BACKUP, 0, 60, 0), MS);
	step(&f, from_backup(x, TCP_ACK, 0, 0, 60), MS);
	CHECK_EQ(f.client_acked, x->service_iss + 1);
	CHECK_EQ(step(&f, of_client(x, FTT_MODE_BACKUP, 0, 60, 4), MS), FTT_HOLD);
	CHECK_EQ(tell_output(&f, x, 60), FTT_ACT_INJECT);
	CHECK_EQ(f.client_acked, x->service_iss + 61);
}

/* Whoever says less afterwards has not said that. */
static void test_a_claim_is_contradicted(const struct ends *x)
{
	struct ftt_flow f;

	make_untold_backup(&f, x, MS);
	step(&f, of_client(x, FTT_MODE_BACKUP, 0, 20000, 0), MS);
	step(&f, of_client(x, FTT_MODE_BACKUP, 0, 0, 10), MS);
	tell_output(&f, x, 30000);
	CHECK_EQ(f.client_acked, x->service_iss + 1);
}

static void test_a_stack_that_repeats_itself_asks_for_the_primarys_place(const struct ends *x)
{
	struct ftt_flow f;

	make_untold_backup(&f, x, MS);
	step(&f, from_backup(x, TCP_ACK, 0, 0, 50), MS);
	step(&f, of_client(x, FTT_MODE_BACKUP, 0, 60, 0), MS);
	CHECK_EQ(f.bits & FTT_F_WHERE, 0);
	step(&f, from_backup(x, TCP_ACK, 0, 0, 50), MS);
	CHECK(f.bits & FTT_F_WHERE && edit.actions & FTT_ACT_COMMIT);
}

/* Bytes with a claim are not given to the stack under another acknowledgement. */
static void test_forged_bytes_do_not_reach_the_stack(const struct ends *x)
{
	struct ftt_flow f;

	make_untold_backup(&f, x, MS);
	step(&f, from_backup(x, TCP_ACK, 0, 0, 50), MS);
	CHECK_EQ(step(&f, of_client(x, FTT_MODE_BACKUP, 0, 500000, 4), MS), FTT_HOLD);
	CHECK_EQ(step(&f, of_client(x, FTT_MODE_BACKUP, 0, 0u - 1, 4), MS), FTT_DROP); /* too old */
	CHECK_EQ(f.client_nxt, x->irs + 1);
}

static enum ftt_verdict again(struct ftt_flow *f, struct arrival s)
{
	return held_step(f, s, MS);
}

/* What waits is let go by the primary's word when our server has spoken, or lost by it; and learnt from when it goes. */
static void test_new_bytes_wait_with_their_claim(const struct ends *x)
{
	struct ftt_record r = record_of(x, FTT_REC_DISCARD);
	struct arrival s = of_client(x, FTT_MODE_BACKUP, 0, 60, 4);
	struct ftt_flow f;

	for (int refused = 0; refused < 2; refused++) {
		make_untold_backup(&f, x, MS);
		step(&f, from_backup(x, TCP_ACK, 0, 0, 50), MS);
		CHECK_EQ(step(&f, s, MS), FTT_HOLD);
		f.held_since_ns = MS;
		CHECK_EQ(again(&f, s), FTT_HOLD);
		r.seq = s.seq;
		r.ack = s.ack;
		r.tsval = s.tsval;
		if (refused)
			CHECK_EQ(ftt_backup_discard(&f, &r), FTT_ACT_RELEASE);
		step(&f, from_backup(x, TCP_ACK, 50, 0, 10), MS);
		CHECK(edit.actions & FTT_ACT_RELEASE);
		if (!refused)
			CHECK_EQ(again(&f, s), FTT_HOLD);
		CHECK(tell_output(&f, x, 60) & FTT_ACT_RELEASE);
		CHECK_EQ(again(&f, s), refused ? FTT_DROP : FTT_PASS);
		CHECK_EQ(f.client_nxt, refused ? x->irs + 1 : x->irs + 5);
		CHECK_EQ(f.client_acked, refused ? x->service_iss + 1 : x->service_iss + 61);
	}
}

/* The primary's word comes before the mirrored segment, which our own server's output would make acceptable. */
static void test_what_the_primary_refused_is_refused(const struct ends *x)
{
	struct ftt_record r = record_of(x, FTT_REC_DISCARD);
	struct arrival s = of_client(x, FTT_MODE_BACKUP, 0, 50, 4);
	struct ftt_flow f;

	make_untold_backup(&f, x, MS);
	tell_output(&f, x, 50);
	step(&f, from_backup(x, TCP_ACK, 0, 0, 50), MS);
	r.seq = s.seq;
	r.ack = s.ack;
	r.tsval = s.tsval;
	ftt_backup_discard(&f, &r);
	CHECK_EQ(step(&f, s, MS), FTT_DROP);
	CHECK_EQ(edit.drop, FTT_DROP_REFUSED);
	CHECK_EQ(step(&f, s, MS), FTT_PASS); /* later the client may say that: told once, refused once */
	make_untold_backup(&f, x, MS);
	step(&f, of_client(x, FTT_MODE_BACKUP, 0, 50, 0), MS);
	ftt_backup_discard(&f, &r);
	tell_output(&f, x, 50);
	CHECK_EQ(f.client_acked, x->service_iss + 1); /* a claim that was refused stays unconfirmed */
}

/* Several at once: the records of all may come before the first of the segments. */
static void test_each_of_several_is_refused(const struct ends *x)
{
	struct ftt_record r = record_of(x, FTT_REC_DISCARD);
	struct ftt_flow f;

	make_untold_backup(&f, x, MS);
	tell_output(&f, x, 50);
	step(&f, from_backup(x, TCP_ACK, 0, 0, 50), MS);
	for (uint32_t i = 0; i < FTT_DISCARDS; i++) {
		struct arrival s = of_client(x, FTT_MODE_BACKUP, 10 * i, 50, 4);

		r.seq = s.seq;
		r.ack = s.ack;
		r.tsval = s.tsval;
		ftt_backup_discard(&f, &r);
	}
	for (uint32_t i = 0; i < FTT_DISCARDS; i++)
		CHECK_EQ(step(&f, of_client(x, FTT_MODE_BACKUP, 10 * i, 50, 4), MS), FTT_DROP);
	for (uint32_t i = 0; i < FTT_DISCARDS; i++)
		CHECK_EQ(step(&f, of_client(x, FTT_MODE_BACKUP, 10 * i, 50, 4), MS), FTT_PASS);
	CHECK_EQ(f.lag_since_ns, 0);
}

/* An old one was refused for its time alone. What the client says next has the same place. */
static void test_what_comes_after_an_old_segment_is_taken(const struct ends *x)
{
	struct ftt_record r = record_of(x, FTT_REC_DISCARD);
	struct arrival s = of_client(x, FTT_MODE_BACKUP, 0, 50, 4);
	struct ftt_flow f;

	if (!x->client_ts)
		return;
	make_untold_backup(&f, x, MS);
	tell_output(&f, x, 50);
	step(&f, from_backup(x, TCP_ACK, 0, 0, 50), MS);
	r.seq = s.seq;
	r.ack = s.ack;
	r.tsval = s.tsval - 86400000;
	ftt_backup_discard(&f, &r);
	CHECK_EQ(step(&f, s, MS), FTT_PASS);
}

/* --- after a takeover --------------------------------------------------------------------------------------------- */

static void taken_at_fifty(struct ftt_flow *f, const struct ends *x)
{
	make_untold_backup(f, x, MS);
	step(f, from_backup(x, TCP_ACK, 0, 0, 100), MS);
	tell_output(f, x, 100);
	step(f, of_client(x, FTT_MODE_BACKUP, 0, 50, 0), MS);
	ftt_flow_takeover(f, at(MS));
}

static void test_a_forged_claim_does_not_survive_the_clients_answer(const struct ends *x)
{
	struct ftt_key k = {.remote_port = 40000, .local_port = 80};
	struct ftt_flow f;
	struct ftt_bare b;

	taken_at_fifty(&f, x);
	for (uint64_t t = 0; t < 5; t++) {
		CHECK_EQ(step(&f, solo(of_client(x, FTT_MODE_SOLO, 0, 20000, 4)), (10 + 300 * t) * MS), FTT_DROP);
		CHECK_EQ(edit.actions, FTT_ACT_ASK_CLIENT);
		CHECK_EQ(f.bits & FTT_F_BEHIND, 0);
		CHECK_EQ(f.client_acked, x->service_iss + 51);
		ftt_bare_ask(&f, &k, FTT_MODE_SOLO, &b);
		CHECK_EQ(b.seq, x->service_iss + 50); /* the client has this byte, so it answers */
		CHECK_EQ(step(&f, solo(of_client(x, FTT_MODE_SOLO, 0, 50, 0)), (20 + 300 * t) * MS), FTT_PASS);
	}
}

/* The old primary had sent more than it could tell us: the client stays with its word. */
static void test_a_claim_that_is_repeated_is_believed(const struct ends *x)
{
	struct ftt_flow f;

	taken_at_fifty(&f, x);
	CHECK_EQ(step(&f, solo(of_client(x, FTT_MODE_SOLO, 0, 150, 4)), 10 * MS), FTT_DROP);
	CHECK_EQ(step(&f, solo(of_client(x, FTT_MODE_SOLO, 0, 150, 4)), 20 * MS), FTT_DROP);
	CHECK_EQ(step(&f, solo(of_client(x, FTT_MODE_SOLO, 0, 150, 4)), 280 * MS), FTT_PASS);
	CHECK(f.bits & FTT_F_BEHIND);
	CHECK_EQ(f.client_acked, x->service_iss + 151);
	CHECK_EQ(edit.ack, x->backup_iss + 101);
}

static void test_a_claim_from_before_the_takeover_is_asked_about(const struct ends *x)
{
	struct ftt_flow f;

	make_untold_backup(&f, x, MS);
	step(&f, of_client(x, FTT_MODE_BACKUP, 0, 50, 0), MS);
	CHECK(ftt_flow_takeover(&f, at(MS)) & FTT_ACT_ASK_CLIENT);
	CHECK_EQ(f.bits & FTT_F_BEHIND, 0);
	make_untold_backup(&f, x, MS);
	CHECK_EQ(ftt_flow_takeover(&f, at(MS)) & FTT_ACT_ASK_CLIENT, 0);
}

/* What was said before the takeover, and waits, repeats nothing. */
static void test_what_waited_is_no_second_word(const struct ends *x)
{
	struct arrival s = of_client(x, FTT_MODE_BACKUP, 0, 50, 4);
	struct ftt_flow f;

	make_untold_backup(&f, x, MS);
	CHECK_EQ(step(&f, s, MS), FTT_HOLD);
	ftt_flow_takeover(&f, at(MS));
	CHECK_EQ(held_step(&f, (struct arrival){.dir = FTT_FROM_CLIENT, .mode = FTT_MODE_SOLO, .flags = TCP_ACK, .seq = s.seq,
						     .ack = s.ack, .len = 4}, 900 * MS), FTT_DROP);
	CHECK_EQ(step(&f, solo(s), 900 * MS), FTT_DROP);
	CHECK_EQ(edit.actions, FTT_ACT_ASK_CLIENT);
	CHECK_EQ(f.client_acked, x->service_iss + 1);
}

int main(void)
{
	for (size_t i = 0; i < 2; i++) {
		test_a_claim_waits_for_the_primary(all_ends[i]);
		test_the_last_word_of_both_closes(all_ends[i]);
		test_our_own_output_confirms_nothing(all_ends[i]);
		test_a_claim_is_contradicted(all_ends[i]);
		test_a_stack_that_repeats_itself_asks_for_the_primarys_place(all_ends[i]);
		test_forged_bytes_do_not_reach_the_stack(all_ends[i]);
		test_new_bytes_wait_with_their_claim(all_ends[i]);
		test_what_the_primary_refused_is_refused(all_ends[i]);
		test_what_comes_after_an_old_segment_is_taken(all_ends[i]);
		test_each_of_several_is_refused(all_ends[i]);
		test_a_forged_claim_does_not_survive_the_clients_answer(all_ends[i]);
		test_a_claim_that_is_repeated_is_believed(all_ends[i]);
		test_a_claim_from_before_the_takeover_is_asked_about(all_ends[i]);
		test_what_waited_is_no_second_word(all_ends[i]);
	}
	return 0;
}
