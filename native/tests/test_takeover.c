/* SPDX-License-Identifier: Apache-2.0 */
/* Changes of role: what a takeover, and the loss of the backup, do to a flow. */
#include "flows.h"

static void test_takeover_in_step(const struct ends *x)
{
	struct ftt_flow f;
	struct arrival s;
	uint32_t actions;

	make_backup(&f, x, MS);
	step(&f, of_client(x, FTT_MODE_BACKUP, 0, 0, 10), MS);
	step(&f, from_backup(x, TCP_ACK, 0, 10, 3 * SEGMENT), MS);
	step(&f, of_client(x, FTT_MODE_BACKUP, 10, 2 * SEGMENT, 0), MS);
	CHECK_EQ(f.delivered_ack, x->service_iss + 1 + SEGMENT); /* a segment is kept back */
	actions = ftt_flow_takeover(&f, at(MS));
	CHECK_EQ(actions, FTT_ACT_ACK_CLIENT | FTT_ACT_INJECT);
	CHECK_EQ(ftt_deliverable(&f, FTT_MODE_SOLO), x->service_iss + 1 + 2 * SEGMENT);
	CHECK_EQ(f.protection, FTT_UNPROTECTED);
	CHECK_EQ(f.bits & FTT_F_BEHIND, 0);
	s = solo(from_backup(x, TCP_ACK, 3 * SEGMENT, 10, 7));
	CHECK_EQ(step(&f, s, MS), FTT_PASS);
	CHECK_EQ(edit.seq, x->service_iss + 1 + 3 * SEGMENT);
	CHECK_EQ(edit.change & FTT_EDIT_ACK, 0); /* client numbers are the same everywhere */
	s = solo(of_client(x, FTT_MODE_SOLO, 10, 3 * SEGMENT + 7, 0));
	CHECK_EQ(step(&f, s, MS), FTT_PASS);
	CHECK_EQ(edit.ack, x->backup_iss + 1 + 3 * SEGMENT + 7);
}

/* The client has more than our stack has sent: clamp, inject and drop until the stack has caught up. */
static void test_takeover_while_behind(const struct ends *x)
{
	struct ftt_flow f;
	uint32_t sent = 0;

	make_backup(&f, x, MS);
	tell_output(&f, x, 1000);
	step(&f, of_client(x, FTT_MODE_BACKUP, 0, 1000, 10), MS);
	step(&f, from_backup(x, TCP_ACK, 0, 10, 0), MS);
	CHECK(ftt_flow_takeover(&f, at(MS)) & FTT_ACT_ACK_CLIENT);
	CHECK(f.bits & FTT_F_BEHIND);
	while (sent + SEGMENT <= 1000) {
		CHECK_EQ(step(&f, solo(of_client(x, FTT_MODE_SOLO, 10, 1000, 0)), MS), FTT_PASS);
		CHECK_EQ(edit.ack, x->backup_iss + 1 + sent);
		step(&f, solo(from_backup(x, TCP_ACK, sent, 10, SEGMENT)), MS);
		sent += SEGMENT;
		CHECK(edit.actions & FTT_ACT_INJECT); /* nobody but us acknowledges it */
		CHECK_EQ(ftt_deliverable(&f, FTT_MODE_SOLO), x->service_iss + 1 + sent);
		f.delivered_ack = x->service_iss + 1 + sent;
	}
	CHECK_EQ(f.bits & FTT_F_BEHIND, 0);
	CHECK_EQ(step(&f, solo(from_backup(x, TCP_ACK, sent, 10, SEGMENT)), MS), FTT_PASS);
	CHECK_EQ(edit.seq, x->service_iss + 1 + 1000);
}

static void test_behind_passes_only_what_the_client_lacks(void)
{
	struct ftt_flow f;

	make_backup(&f, &plain, MS);
	tell_output(&f, &plain, 1000);
	step(&f, of_client(&plain, FTT_MODE_BACKUP, 0, 1000, 0), MS);
	ftt_flow_takeover(&f, at(MS));
	CHECK_EQ(step(&f, solo(from_backup(&plain, TCP_ACK, 0, 0, 999)), MS), FTT_DROP);
	CHECK_EQ(edit.drop, FTT_DROP_ACKED);
	CHECK(f.bits & FTT_F_BEHIND);
	CHECK_EQ(step(&f, solo(from_backup(&plain, TCP_ACK, 999, 0, 0)), MS), FTT_PASS); /* a bare acknowledgement is news */
	CHECK_EQ(step(&f, solo(from_backup(&plain, TCP_ACK, 999, 0, 2)), MS), FTT_PASS);
	CHECK_EQ(f.bits & FTT_F_BEHIND, 0);
}

/* The old primary died with the client's last acknowledgements: only after the takeover it shows that it has more. */
static void test_client_ahead_without_our_knowing(const struct ends *x)
{
	struct ftt_flow f;

	make_backup(&f, x, MS);
	tell_output(&f, x, 5000);
	step(&f, from_backup(x, TCP_ACK, 0, 0, 2 * SEGMENT), MS);
	step(&f, of_client(x, FTT_MODE_BACKUP, 0, SEGMENT, 0), MS);
	ftt_flow_takeover(&f, at(MS));
	CHECK_EQ(f.bits & FTT_F_BEHIND, 0);
	CHECK_EQ(step(&f, solo(of_client(x, FTT_MODE_SOLO, 0, 5000, 0)), MS), FTT_PASS);
	CHECK_EQ(edit.ack, x->backup_iss + 1 + 2 * SEGMENT);
	CHECK(f.bits & FTT_F_BEHIND);
	CHECK_EQ(step(&f, solo(from_backup(x, TCP_ACK, 2 * SEGMENT, 0, SEGMENT)), MS), FTT_DROP);
	CHECK(edit.actions & FTT_ACT_INJECT);
}

/* A returning node makes it a pair again while a flow still catches up: nobody else acknowledges for the client. */
static void test_paired_again_while_behind(void)
{
	struct arrival s = from_backup(&plain, TCP_ACK, 0, 0, SEGMENT);
	struct ftt_flow f;

	make_backup(&f, &plain, MS);
	tell_output(&f, &plain, 1000);
	step(&f, of_client(&plain, FTT_MODE_BACKUP, 0, 1000, 0), MS);
	ftt_flow_takeover(&f, at(MS));
	s.mode = FTT_MODE_PAIRED;
	CHECK_EQ(step(&f, s, MS), FTT_DROP);
	CHECK(edit.actions & FTT_ACT_INJECT);
	CHECK_EQ(f.protection, FTT_UNPROTECTED);
}

/* A zero-window probe with a byte, or a stray segment: what we inject must stay acceptable to the stack. */
static void test_injection_lies_within_the_window(const struct ends *x)
{
	static const uint32_t at[] = {0, 1, 10, 1000, 64000, 100000, 1u << 23};
	struct ftt_key k = {0};
	struct ftt_bare b;
	struct ftt_flow f;

	for (size_t i = 0; i < sizeof(at) / sizeof(*at); i++) {
		make_backup(&f, x, MS);
		step(&f, windowed(from_backup(x, TCP_ACK, 0, 0, 50), 4), MS);
		step(&f, of_client(x, FTT_MODE_BACKUP, at[i], 0, 1), MS);
		ftt_bare_for_stack(&f, &k, ftt_deliverable(&f, FTT_MODE_BACKUP), &b);
		CHECK(seq_geq(b.seq, f.local_rcv_nxt) && seq_leq(b.seq, f.local_edge));
	}
}

static void test_takeover_kick_tells_the_client_where_it_stands(const struct ends *x)
{
	struct ftt_key k = {.remote_port = 40000, .local_port = 80};
	struct ftt_bare b;
	struct ftt_flow f;

	make_backup(&f, x, MS);
	step(&f, stamped(of_client(x, FTT_MODE_BACKUP, 0, 0, 10), x->client_ts + 5, x->service_ts + 50), MS);
	step(&f, from_backup(x, TCP_ACK, 0, 10, 20), MS);
	ftt_flow_takeover(&f, at(MS));
	ftt_bare_for_client(&f, &k, FTT_MODE_SOLO, &b);
	CHECK_EQ(b.seq, x->service_iss + 21);
	CHECK_EQ(b.ack, x->irs + 11);
	CHECK_EQ(b.flags, TCP_ACK);
	CHECK(b.timestamps && seq_geq(b.tsval, x->service_ts + 50)); /* or PAWS drops it */
	CHECK_EQ(b.tsecr, x->client_ts + 5);
	CHECK_EQ(b.sport, 80);
	ftt_bare_for_stack(&f, &k, ftt_deliverable(&f, FTT_MODE_SOLO), &b);
	CHECK_EQ(b.sport, 40000);
	CHECK_EQ(b.ack, x->backup_iss + 1);
	CHECK_EQ(b.seq, x->irs + 11);
	CHECK_EQ(b.tsval, x->client_ts + 5);
}

static void test_takeover_of_handshakes(void)
{
	struct ftt_record open = record_of(&plain, FTT_REC_OPEN);
	struct ftt_flow f;

	ftt_flow_init(&f, plain.irs, MS);
	CHECK_EQ(ftt_flow_takeover(&f, at(MS)), 0); /* only a SYN: our stack will answer */
	CHECK_EQ(f.bits & FTT_F_MAPPED, 0);
	ftt_flow_init(&f, plain.irs, MS);
	step(&f, syn_of(&plain, FTT_MODE_BACKUP), MS);
	step(&f, synack_of(&plain, FTT_MODE_BACKUP), MS);
	CHECK_EQ(ftt_flow_takeover(&f, at(MS)), 0); /* the client knows of no SYN-ACK: ours counts */
	CHECK_EQ(f.hard.delta, 0);
	CHECK_EQ(f.hard.service_iss, plain.backup_iss);
	ftt_flow_init(&f, plain.irs, MS);
	step(&f, syn_of(&plain, FTT_MODE_BACKUP), MS);
	step(&f, synack_of(&plain, FTT_MODE_BACKUP), MS);
	CHECK_EQ(ftt_backup_open(&f, &open, at(MS)), FTT_ACT_OPENED);
	CHECK_EQ(ftt_flow_takeover(&f, at(MS)), 0); /* confirmed: the client may have the old primary's */
	CHECK_EQ(f.hard.service_iss, plain.service_iss);
}

static void test_loss_of_the_backup(void)
{
	struct ftt_flow f;

	make_primary(&f, &plain, MS);
	CHECK_EQ(ftt_flow_solo(&f), FTT_ACT_RELEASE);
	CHECK_EQ(f.protection, FTT_UNPROTECTED);
	CHECK_EQ(f.reason, FTT_WHY_SOLO);
	open_primary(&f, &plain, MS);
	CHECK_EQ(ftt_flow_solo(&f), FTT_ACT_RELEASE);
	make_primary(&f, &plain, MS);
	ftt_flow_detach(&f, FTT_WHY_COMMIT_LAG, MS);
	CHECK_EQ(ftt_flow_solo(&f), FTT_ACT_RELEASE);
	f.protection = FTT_DETACHED;
	CHECK_EQ(ftt_flow_solo(&f), 0);
	CHECK_EQ(f.protection, FTT_DETACHED);
	ftt_flow_init(&f, plain.irs, MS);
	CHECK_EQ(ftt_flow_solo(&f), 0);
}

/* A backup's server that reset the flow, or ended before what the client has: that client is told after a takeover. */
static void test_what_our_server_has_ended_is_cut(const struct ends *x)
{
	struct ftt_flow f;

	make_backup(&f, x, MS);
	step(&f, from_backup(x, TCP_ACK | TCP_FIN, 0, 0, 23), MS);
	CHECK(!ftt_flow_cut(&f));
	f.sent = x->service_iss + 101; /* as the primary told */
	step(&f, of_client(x, FTT_MODE_BACKUP, 0, 24, 0), MS);
	CHECK(!ftt_flow_cut(&f)); /* it has our end, or one byte in its place: sums will tell */
	step(&f, of_client(x, FTT_MODE_BACKUP, 0, 25, 0), MS);
	CHECK(ftt_flow_cut(&f));
	make_backup(&f, x, MS);
	step(&f, from_backup(x, TCP_RST | TCP_ACK, 0, 0, 0), MS);
	CHECK(ftt_flow_cut(&f));
	f.bits |= FTT_F_CLIENT_RST;
	CHECK(!ftt_flow_cut(&f));
}

int main(void)
{
	for (size_t i = 0; i < 2; i++) {
		test_what_our_server_has_ended_is_cut(all_ends[i]);
		test_takeover_in_step(all_ends[i]);
		test_takeover_while_behind(all_ends[i]);
		test_client_ahead_without_our_knowing(all_ends[i]);
		test_injection_lies_within_the_window(all_ends[i]);
		test_takeover_kick_tells_the_client_where_it_stands(all_ends[i]);
	}
	test_behind_passes_only_what_the_client_lacks();
	test_paired_again_while_behind();
	test_takeover_of_handshakes();
	test_loss_of_the_backup();
	return 0;
}
