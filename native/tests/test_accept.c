/* SPDX-License-Identifier: Apache-2.0 */
/* What a kernel refuses teaches nothing, and the backup's stack is not made to take it. */
#include "flows.h"

static const struct ends *const all_ends[] = {&plain, &wrapping};

/* --- the table --------------------------------------------------------------------------------------- */

static const struct ftt_place place = {.rcv_nxt = 1000, .rcv_wup = 900, .edge = 2000, .snd_first = 100, .snd_una = 5000,
				       .snd_nxt = 6000, .max_wnd = 3000, .ts_recent = 500, .times = true};

static enum ftt_judgement judge(uint8_t flags, uint32_t seq, uint32_t len, uint32_t ack)
{
	struct arrival s = from_client(FTT_MODE_PAIRED, flags, seq, ack, len);

	return ftt_judge(&place, &s.seg);
}

static void test_sequence_window(void)
{
	static const struct { uint32_t seq, len; enum ftt_judgement judged; } rows[] = {
		{1000, 0, FTT_TAKEN}, {1000, 10, FTT_TAKEN}, {2000, 0, FTT_TAKEN}, {2001, 0, FTT_REFUSED_SEQ},
		{2001, 10, FTT_REFUSED_SEQ}, {1990, 20, FTT_TAKEN}, {899, 0, FTT_REFUSED_SEQ}, {899, 1, FTT_TAKEN},
		{900, 0, FTT_TAKEN}, {890, 9, FTT_REFUSED_SEQ}, {0x80000400, 0, FTT_REFUSED_SEQ}};

	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++)
		CHECK_EQ(judge(TCP_ACK, rows[i].seq, rows[i].len, 5500), rows[i].judged);
}

static void test_acknowledgement_window(void)
{
	struct ftt_place young = place;
	struct arrival s = from_client(FTT_MODE_PAIRED, TCP_ACK, 1000, 99, 0);

	CHECK_EQ(judge(TCP_ACK, 1000, 10, 6000), FTT_TAKEN);
	CHECK_EQ(judge(TCP_ACK, 1000, 10, 6001), FTT_REFUSED_UNSENT);
	CHECK_EQ(judge(TCP_ACK, 1000, 10, 2000), FTT_TAKEN);
	CHECK_EQ(judge(TCP_ACK, 1000, 10, 1999), FTT_REFUSED_OLD_ACK);
	CHECK_EQ(judge(TCP_ACK, 1000, 10, 6000 + (1u << 31)), FTT_REFUSED_OLD_ACK);
	young.snd_una = 150; /* never of bytes that were not sent, however wide the window is */
	CHECK_EQ(ftt_judge(&young, &s.seg), FTT_REFUSED_OLD_ACK);
	s.ack = 100;
	CHECK_EQ(ftt_judge(&young, &s.seg), FTT_TAKEN);
}

static void test_flags(void)
{
	struct ftt_place ended = place;
	struct arrival s = from_client(FTT_MODE_PAIRED, TCP_RST, 999, 0, 0);

	CHECK_EQ(judge(TCP_RST, 1000, 0, 0), FTT_ENDS);
	CHECK_EQ(judge(TCP_RST | TCP_SYN, 1000, 0, 0), FTT_ENDS);
	CHECK_EQ(judge(TCP_RST, 999, 0, 0), FTT_REFUSED_RST);
	CHECK_EQ(judge(TCP_RST, 1001, 0, 0), FTT_REFUSED_RST);
	CHECK_EQ(judge(TCP_RST | TCP_ACK, 2001, 0, 99999), FTT_REFUSED_SEQ);
	ended.fin = true;
	CHECK_EQ(ftt_judge(&ended, &s.seg), FTT_ENDS);
	CHECK_EQ(judge(TCP_SYN | TCP_ACK, 1000, 0, 5500), FTT_REFUSED_SYN);
	CHECK_EQ(judge(TCP_SYN, 1u << 30, 0, 5500), FTT_REFUSED_SYN);
	CHECK_EQ(judge(TCP_PSH, 1000, 10, 5500), FTT_REFUSED_NO_ACK);
	CHECK_EQ(judge(0, 1000, 10, 5500), FTT_REFUSED_NO_ACK);
}

static enum ftt_judgement at_time(const struct ftt_place *at, uint8_t flags, uint32_t len, uint32_t ack, uint32_t tsval)
{
	struct arrival s = stamped(from_client(FTT_MODE_PAIRED, flags, 1000, ack, len), tsval, 0);

	return ftt_judge(at, &s.seg);
}

static void test_time(void)
{
	struct ftt_place at = place;

	CHECK_EQ(at_time(&at, TCP_ACK, 10, 5500, 500), FTT_TAKEN);
	CHECK_EQ(at_time(&at, TCP_ACK, 10, 5500, 499), FTT_TAKEN); /* a tick of tolerance */
	CHECK_EQ(at_time(&at, TCP_ACK, 10, 5500, 498), FTT_REFUSED_TIME);
	CHECK_EQ(at_time(&at, TCP_ACK, 0, 5500, 498), FTT_REFUSED_TIME);
	CHECK_EQ(at_time(&at, TCP_ACK, 0, 5000, 498), FTT_REFUSED_TIME);
	CHECK_EQ(at_time(&at, 0, 10, 5500, 498), FTT_REFUSED_NO_ACK);
	CHECK_EQ(at_time(&at, TCP_ACK, 10, 5500, 501 + (1u << 31)), FTT_REFUSED_TIME);
	CHECK_EQ(at_time(&at, TCP_SYN, 0, 0, 1), FTT_REFUSED_SYN);
	CHECK_EQ(at_time(&at, TCP_RST, 0, 0, 1), FTT_ENDS); /* a reset needs no time */
	at.ts_recent = 0; /* some send no time with their SYN */
	CHECK_EQ(at_time(&at, TCP_ACK, 10, 5500, 0xfffffff0), FTT_TAKEN);
	at.ts_recent = 500;
	at.times = false;
	CHECK_EQ(at_time(&at, TCP_ACK, 10, 5500, 1), FTT_TAKEN);
}

/* --- a primary: what the kernel refuses is not learnt, what the backup must not take it is told ------------ */

static void same_place(const struct ftt_flow *f, const struct ftt_flow *before)
{
	CHECK_EQ(f->client_acked, before->client_acked);
	CHECK_EQ(f->client_nxt, before->client_nxt);
	CHECK_EQ(f->client_tsval, before->client_tsval);
	CHECK_EQ(f->max_tsecr, before->max_tsecr);
	CHECK_EQ(f->ts_recent, before->ts_recent);
	CHECK_EQ(f->max_wnd, before->max_wnd);
	CHECK_EQ(f->delivered_ack, before->delivered_ack);
	CHECK_EQ(f->bits & (FTT_F_CLIENT_FIN | FTT_F_CLIENT_RST | FTT_F_BEHIND), 0);
}

static struct arrival newer(struct arrival s)
{
	s.tsval += 100;
	s.wnd = 60000;
	s.flags |= TCP_FIN;
	return s;
}

/* A primary whose server has said 100 bytes, of which the client has 50. */
static void at_fifty(struct ftt_flow *f, const struct ends *x)
{
	make_primary(f, x, MS);
	step(f, from_primary(x, TCP_ACK, 0, 0, 100), MS);
	step(f, stamped(of_client(x, FTT_MODE_PAIRED, 0, 50, 0), x->client_ts + 3, x->service_ts + 1), MS); /* 0 proves nothing */
	CHECK_EQ(f->client_acked, x->service_iss + 51);
}

static void test_nothing_is_learnt_from_what_the_kernel_refuses(const struct ends *x)
{
	const struct { struct arrival seg; enum ftt_verdict verdict; uint32_t actions; } rows[] = {
		{newer(of_client(x, FTT_MODE_PAIRED, 0, 101, 4)), FTT_DROP, FTT_ACT_DISCARD},
		{newer(of_client(x, FTT_MODE_PAIRED, 0, 100000, 0)), FTT_DROP, FTT_ACT_DISCARD},
		{newer(of_client(x, FTT_MODE_PAIRED, 0, 0u - 1, 4)), FTT_DROP, FTT_ACT_DISCARD},
		{newer(of_client(x, FTT_MODE_PAIRED, 65001, 80, 4)), FTT_PASS, FTT_ACT_DISCARD},
		{newer(of_client(x, FTT_MODE_PAIRED, 0u - 10, 80, 4)), FTT_PASS, 0},
		{stamped(of_client(x, FTT_MODE_PAIRED, 0, 80, 4), x->client_ts - 5, x->service_ts), FTT_PASS, FTT_ACT_DISCARD},
	};
	struct ftt_flow f, before;

	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		at_fifty(&f, x);
		before = f;
		CHECK_EQ(step(&f, rows[i].seg, 2 * MS), rows[i].verdict);
		CHECK_EQ(edit.actions, rows[i].actions);
		CHECK_EQ(edit.change, 0);
		same_place(&f, &before);
		CHECK_EQ(step(&f, stamped(of_client(x, FTT_MODE_PAIRED, 0, 100, 4), x->client_ts + 4, x->service_ts + 1), 3 * MS), FTT_PASS);
		CHECK_EQ(f.client_acked, x->service_iss + 101);
	}
	for (uint8_t flags = TCP_SYN | TCP_ACK; flags; flags = flags == (TCP_SYN | TCP_ACK) ? TCP_SYN | TCP_ACK | TCP_FIN : 0) {
		struct arrival s = newer(of_client(x, FTT_MODE_PAIRED, 0, 80, 0));

		at_fifty(&f, x);
		before = f;
		s.flags = flags;
		CHECK_EQ(step(&f, s, 2 * MS), FTT_DROP); /* no client says so, and a stack that still shakes hands would reset it */
		same_place(&f, &before);
	}
}

/* A backup's stack may still shake hands when the primary's does not: what the latter challenges must not reach it. */
static void test_nothing_ends_the_handshake_of_a_backup(const struct ends *x)
{
	struct arrival syn = syn_of(x, FTT_MODE_BACKUP), rst = of_client(x, FTT_MODE_BACKUP, 5, 0, 0);
	struct ftt_flow f;

	make_backup(&f, x, MS);
	rst.flags = TCP_RST;
	CHECK_EQ(step(&f, rst, MS), FTT_DROP);
	rst.flags |= TCP_ACK;
	CHECK_EQ(step(&f, rst, MS), FTT_DROP);
	CHECK_EQ(step(&f, syn, MS), FTT_PASS); /* sent again */
	syn.seq += 9;
	CHECK_EQ(step(&f, syn, MS), FTT_DROP);
	CHECK_EQ(edit.drop, FTT_DROP_REFUSED);
	CHECK(!(f.bits & (FTT_F_CLIENT_RST | FTT_F_SYN_AGAIN)));
	syn.mode = FTT_MODE_SOLO;
	CHECK_EQ(step(&f, syn, MS), FTT_PASS); /* challenged by the stack that serves */
	rst.seq = x->irs + 1;
	CHECK_EQ(step(&f, rst, MS), FTT_PASS);
	CHECK(f.bits & FTT_F_CLIENT_RST);
	syn.mode = FTT_MODE_BACKUP;
	CHECK_EQ(step(&f, syn, MS), FTT_PASS); /* a new connection */
}

static void test_a_time_that_was_not_sent_is_no_echo(const struct ends *x)
{
	struct ftt_flow f;
	uint32_t ts_delta;

	at_fifty(&f, x);
	ts_delta = f.hard.ts_delta;
	step(&f, stamped(of_client(x, FTT_MODE_PAIRED, 0, 60, 4), x->client_ts + 9, x->service_ts + 5000000), 2 * MS);
	CHECK_EQ(f.client_acked, x->service_iss + 61); /* the kernel takes it */
	CHECK_EQ(step(&f, from_primary(x, TCP_ACK, 100, 0, 10), 2 * MS), FTT_PASS);
	CHECK_EQ(f.hard.ts_delta, ts_delta); /* or our clock would run ahead of itself */
}

static void test_a_handshake_that_is_acknowledged_wrongly_is_for_the_stack_to_reset(void)
{
	struct ftt_record opened = record_of(&plain, FTT_REC_OPENED);
	struct ftt_flow f;

	open_primary(&f, &plain, MS);
	ftt_primary_record(&f, &opened, at(MS));
	CHECK_EQ(step(&f, of_client(&plain, FTT_MODE_PAIRED, 0, 700, 0), MS), FTT_PASS);
	CHECK_EQ(f.bits & FTT_F_ESTABLISHED, 0);
}

/* --- a backup: a claim is not believed before somebody has confirmed it ---------------------------------------- */

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

/* Our own server may be the faster one: when the client said that, it was not sent. */
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

static void test_a_primary_that_is_asked_tells(void)
{
	struct ftt_record r = commit_of(&plain, 0, 1000, 0);
	struct ftt_flow f;

	at_fifty(&f, &plain);
	CHECK_EQ(ftt_primary_record(&f, &r, at(MS)) & FTT_ACT_PROBE, 0);
	r.flags = FTT_REC_WHERE;
	CHECK(ftt_primary_record(&f, &r, at(MS)) & FTT_ACT_PROBE);
	step(&f, from_primary(&plain, TCP_ACK, 100, 0, 10), MS);
	CHECK(edit.actions & FTT_ACT_COMMIT); /* and of itself, when more has left */
	step(&f, from_primary(&plain, TCP_ACK, 100, 0, 10), MS);
	CHECK_EQ(edit.actions & FTT_ACT_COMMIT, 0);
}

/* What waits for the backup has not been said to anybody: the client cannot have it, nor is the backup told of it. */
static void test_what_is_held_was_not_sent(void)
{
	struct ftt_record r = commit_of(&plain, 1, 1000, 0);
	struct arrival answer = from_primary(&plain, TCP_ACK, 100, 1, 10);
	struct ftt_flow f;

	at_fifty(&f, &plain);
	CHECK_EQ(step(&f, of_client(&plain, FTT_MODE_PAIRED, 0, 100, 1), MS), FTT_PASS);
	CHECK_EQ(step(&f, answer, MS), FTT_HOLD);
	CHECK_EQ(edit.actions & FTT_ACT_COMMIT, 0);
	CHECK_EQ(f.sent, plain.service_iss + 101);
	CHECK_EQ(f.local_snd_nxt, plain.service_iss + 111);
	CHECK_EQ(step(&f, of_client(&plain, FTT_MODE_PAIRED, 1, 110, 1), MS), FTT_DROP);
	CHECK(edit.actions & FTT_ACT_DISCARD);
	CHECK(ftt_primary_record(&f, &r, at(MS)) & FTT_ACT_RELEASE || !f.held_since_ns);
	CHECK_EQ(held_step(&f, answer, MS), FTT_PASS);
	CHECK(edit.actions & FTT_ACT_COMMIT);
	CHECK_EQ(f.sent, plain.service_iss + 111);
	CHECK_EQ(step(&f, of_client(&plain, FTT_MODE_PAIRED, 1, 110, 1), MS), FTT_PASS);
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

static struct arrival solo(struct arrival s)
{
	s.mode = FTT_MODE_SOLO;
	return s;
}

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
	test_sequence_window();
	test_acknowledgement_window();
	test_flags();
	test_time();
	for (size_t i = 0; i < 2; i++) {
		test_nothing_is_learnt_from_what_the_kernel_refuses(all_ends[i]);
		test_nothing_ends_the_handshake_of_a_backup(all_ends[i]);
		test_a_time_that_was_not_sent_is_no_echo(all_ends[i]);
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
	test_a_handshake_that_is_acknowledged_wrongly_is_for_the_stack_to_reset();
	test_a_primary_that_is_asked_tells();
	test_what_is_held_was_not_sent();
	return 0;
}
