/* SPDX-License-Identifier: Apache-2.0 */
/* What a kernel refuses teaches nothing. */
#include "flows.h"

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
	}
	test_a_handshake_that_is_acknowledged_wrongly_is_for_the_stack_to_reset();
	test_a_primary_that_is_asked_tells();
	test_what_is_held_was_not_sent();
	return 0;
}
