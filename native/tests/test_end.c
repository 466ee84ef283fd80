/* SPDX-License-Identifier: Apache-2.0 */
/* The end of a flow that no backup carries on: a real one, or the death of its server? And what resets its client. */
#include "flows.h"
#include "core/tcp/reset.h"

/* --- ends ------------------------------------------------------------------------------------------- */

/* Whoever lets a flow go for another reason does not know whether its server has ended it or died. */
static void test_owed_fin_waits_for_word_of_the_server(void)
{
	struct arrival last = from_primary(&plain, TCP_ACK | TCP_FIN, 0, 0, 8);
	struct ftt_record detached = record_of(&plain, FTT_REC_DETACHED);
	struct ftt_flow f;

	make_primary(&f, &plain, MS);
	last.whole = true;
	CHECK_EQ(step(&f, last, 2 * MS), FTT_PASS);
	CHECK(edit.change & FTT_EDIT_FIN);
	ftt_flow_detach(&f, FTT_WHY_OUTPUT_LAG, 3 * MS);
	CHECK_EQ(ftt_primary_record(&f, &detached, at(4 * MS)), FTT_ACT_RELEASE | FTT_ACT_DETACHED);
	CHECK(ftt_flow_waits(&f));
	CHECK_EQ(ftt_flow_tick(&f, unvouched(203 * MS)), 0);
	CHECK_EQ(ftt_flow_tick(&f, at(204 * MS)), FTT_ACT_RELEASE | FTT_ACT_FIN);
	CHECK(!ftt_flow_waits(&f));
}

/* The kernel of a server that died ends its connections before anybody knows of the death. */
static void test_the_end_of_a_flow_that_nobody_follows(const struct ends *x, uint8_t protection, uint8_t flags)
{
	struct arrival end = from_primary(x, flags | TCP_ACK, 0, 0, 0);
	struct ftt_flow f;

	make_primary(&f, x, MS);
	f.protection = protection;
	CHECK_EQ(step(&f, from_primary(x, TCP_ACK, 0, 0, 5), MS), FTT_PASS);
	CHECK(!ftt_flow_waits(&f));
	end.seq += 5;
	CHECK_EQ(step(&f, end, 2 * MS), FTT_HOLD);
	CHECK(ftt_flow_waits(&f));
	CHECK_EQ(ftt_flow_tick(&f, at(22 * MS)), 0); /* who has died is not known at once */
	CHECK_EQ(ftt_flow_tick(&f, unvouched(300 * MS)), 0); /* no word that it lives */
	CHECK_EQ(gate(&f, end, 300 * MS), FTT_HOLD);
	CHECK_EQ(ftt_flow_tick(&f, at(301 * MS)), FTT_ACT_RELEASE);
	CHECK_EQ(gate(&f, end, 301 * MS), FTT_PASS);
	CHECK(!ftt_flow_waits(&f));

	make_primary(&f, x, MS);
	f.protection = protection;
	end.seq -= 5;
	CHECK_EQ(step(&f, end, 2 * MS), FTT_HOLD);
	CHECK(ftt_flow_solo(&f) & FTT_ACT_RELEASE); /* nobody would take over */
	end.mode = FTT_MODE_SOLO;
	CHECK_EQ(gate(&f, end, 2 * MS), FTT_PASS);

	make_primary(&f, x, MS);
	f.protection = protection;
	end.mode = FTT_MODE_PAIRED;
	CHECK_EQ(step(&f, end, 2 * MS), FTT_HOLD);
	CHECK_EQ(ftt_flow_tick(&f, at(23 * MS)), FTT_ACT_RELEASE); /* nobody is to come to the same end */

	make_primary(&f, x, MS); /* the backup's server has ended it, too, although elsewhere */
	f.bits |= FTT_F_PEER_FIN;
	f.protection = protection;
	end.mode = FTT_MODE_PAIRED;
	CHECK_EQ(step(&f, end, 2 * MS), FTT_PASS);
}

/* The same of one whose spaces were never related: data in its SYN was acknowledged (RFC 7413). */
static void test_the_end_of_a_flow_that_cannot_be_followed(void)
{
	struct arrival syn = syn_of(&plain, FTT_MODE_PAIRED), synack = synack_of(&plain, FTT_MODE_PAIRED);
	struct ftt_flow f;

	syn.len = 5;
	synack.ack += 5;
	ftt_flow_init(&f, plain.irs, MS);
	CHECK_EQ(step(&f, syn, MS), FTT_PASS);
	CHECK_EQ(step(&f, synack, MS), FTT_PASS);
	CHECK_EQ(f.reason, FTT_WHY_UNSUPPORTED);
	CHECK_EQ(step(&f, from_primary(&plain, TCP_RST, 0, 0, 0), MS), FTT_PASS); /* of a handshake */
	CHECK_EQ(step(&f, of_client(&plain, FTT_MODE_PAIRED, 5, 0, 0), MS), FTT_PASS);
	CHECK_EQ(step(&f, from_primary(&plain, TCP_ACK | TCP_FIN, 0, 5, 9), 2 * MS), FTT_HOLD);
	CHECK_EQ(ftt_flow_tick(&f, at(203 * MS)), FTT_ACT_RELEASE);
	CHECK_EQ(gate(&f, from_primary(&plain, TCP_ACK | TCP_FIN, 0, 5, 9), 203 * MS), FTT_PASS);
	CHECK_EQ(edit.change, 0);
}

/* --- last words ------------------------------------------------------------------------------------- */

/* Where deaths are seen, an end that no backup has to confirm need not wait for long. */
static void test_an_end_waits_for_less_where_deaths_are_seen(void)
{
	struct ftt_policy less = {.end_grace_ns = MS};
	struct ftt_env *env = node_at(FTT_MODE_PAIRED, MS);

	CHECK_EQ(ftt_alone_grace(env), 20 * MS);
	env->watched = false;
	CHECK_EQ(ftt_alone_grace(env), 200 * MS);
	env->policy = &less;
	CHECK_EQ(ftt_alone_grace(env), MS);
	env->watched = true;
	CHECK_EQ(ftt_alone_grace(env), MS);
}

static bool is_last_word(const struct ftt_flow *f, struct arrival s)
{
	return ftt_is_last_word(f, &s.seg, node_at(s.mode, MS));
}

static struct arrival spoken_by_orphans(struct arrival s)
{
	s.orphan = true;
	return s;
}

/* Nothing of it leaves before the takeover, wherever the backup's server has come to: that one answers the client instead. */
static void test_last_words_are_held(const struct ends *x)
{
	struct ftt_record commit = commit_of(x, 10, 1000, 500);
	struct arrival said = from_primary(x, TCP_ACK, 5, 10, 30), fin = from_primary(x, TCP_ACK | TCP_FIN, 35, 10, 0);
	struct arrival ack = from_primary(x, TCP_ACK, 36, 10, 0);
	struct ftt_flow f;

	make_primary(&f, x, MS);
	CHECK_EQ(step(&f, from_primary(x, TCP_ACK, 0, 0, 5), MS), FTT_PASS);
	CHECK_EQ(step(&f, of_client(x, FTT_MODE_PAIRED, 0, 5, 10), MS), FTT_PASS);
	ftt_primary_record(&f, &commit, at(2 * MS));
	CHECK(is_last_word(&f, said) && is_last_word(&f, fin));
	CHECK_EQ(step(&f, spoken_by_orphans(said), 3 * MS), FTT_HOLD);
	CHECK_EQ(step(&f, spoken_by_orphans(fin), 3 * MS), FTT_HOLD);
	CHECK_EQ(step(&f, spoken_by_orphans(from_primary(x, TCP_RST | TCP_ACK, 35, 10, 0)), 3 * MS), FTT_HOLD);
	commit.flags = FTT_REC_FIN; /* also when it ends where ours does */
	commit.snd_nxt = x->service_iss + 1 + 36;
	ftt_primary_record(&f, &commit, at(4 * MS));
	CHECK_EQ(gate(&f, spoken_by_orphans(fin), 4 * MS), FTT_HOLD);
	CHECK(!is_last_word(&f, ack)); /* it says nothing */
	CHECK_EQ(gate(&f, said, 5 * MS), FTT_PASS); /* no takeover came, and who has died is not looked at any more */
}

/* Nobody listens any more: "refused" is no answer while another node is about to take over. */
static void test_a_dead_server_refuses_nobody(void)
{
	struct arrival refusal = from_primary(&plain, TCP_RST | TCP_ACK, 0, 0, 0);
	struct ftt_flow f;

	ftt_flow_init(&f, plain.irs, MS);
	CHECK_EQ(step(&f, syn_of(&plain, FTT_MODE_PAIRED), MS), FTT_PASS);
	CHECK_EQ(step(&f, spoken_by_orphans(refusal), MS), FTT_HOLD);
	CHECK_EQ(gate(&f, refusal, 2 * MS), FTT_PASS);
	CHECK(edit.actions & FTT_ACT_CLOSED);
	refusal.mode = FTT_MODE_SOLO;
	CHECK(!is_last_word(&f, refusal));
}

/* Of a flow that nobody follows the words may go; but its end is none, whatever has become of it on the backup. */
static void test_an_orphan_ends_no_download(void)
{
	struct arrival fin = from_primary(&plain, TCP_ACK | TCP_FIN, 0, 0, 0), said = from_primary(&plain, TCP_ACK, 0, 0, 9);
	struct ftt_flow f;

	make_primary(&f, &plain, MS);
	f.protection = FTT_DETACHED;
	f.bits |= FTT_F_PEER_FIN;
	CHECK(is_last_word(&f, fin) && !is_last_word(&f, said));
	CHECK_EQ(step(&f, spoken_by_orphans(fin), 2 * MS), FTT_HOLD);
	CHECK_EQ(gate(&f, fin, 3 * MS), FTT_PASS);
}

/* --- what becomes of it on the backup ------------------------------------------------------------------ */

/* Data in the SYN, that only the primary's stack took: our stack's answer never counts. */
static void test_a_client_that_was_answered_elsewhere_is_let_go(const struct ends *x)
{
	struct ftt_flow f;

	ftt_flow_init(&f, x->irs, MS);
	step(&f, syn_of(x, FTT_MODE_BACKUP), MS);
	step(&f, synack_of(x, FTT_MODE_BACKUP), MS);
	CHECK_EQ(step(&f, of_client(x, FTT_MODE_BACKUP, 5, 700, 10), 2 * MS), FTT_DROP);
	CHECK(edit.actions & FTT_ACT_LET_GO);
	f.protection = FTT_DETACHED;
	CHECK(ftt_reset_begin(&f, at(3 * MS)) & FTT_ACT_ASK_PLACE);
	CHECK_EQ(f.client_acked, x->service_iss + 701);
	CHECK_EQ(f.client_nxt, x->irs + 16);
}

static void test_a_segment_of_another_connection_lets_nothing_go(void)
{
	struct arrival s = of_client(&plain, FTT_MODE_BACKUP, 0, 0, 0);
	struct ftt_flow f;

	ftt_flow_init(&f, plain.irs, MS);
	step(&f, syn_of(&plain, FTT_MODE_BACKUP), MS);
	s.seq -= 1u << 25; /* late, of one before it with the same ports */
	CHECK_EQ(step(&f, s, MS), FTT_DROP);
	CHECK_EQ(edit.actions, 0);
	s.seq = plain.irs + 1;
	s.flags = TCP_RST | TCP_ACK;
	step(&f, s, MS);
	CHECK_EQ(edit.actions, 0);
}

/* --- asking and resetting -------------------------------------------------------------------------------- */

static struct ftt_flow over(const struct ends *x)
{
	struct ftt_flow f;

	make_backup(&f, x, MS);
	step(&f, from_backup(x, TCP_ACK, 0, 0, 100), MS);
	step(&f, of_client(x, FTT_MODE_BACKUP, 0, 100, 10), MS);
	CHECK_EQ(ftt_reset_begin(&f, at(2 * MS)), FTT_ACT_ASK_PLACE);
	CHECK_EQ(f.protection, FTT_RESETTING);
	return f;
}

static void test_the_question_cannot_be_taken_for_data(const struct ends *x)
{
	struct ftt_flow f = over(x);
	struct ftt_key key = {.proto = 6, .remote_port = 1, .local_port = 2};
	struct ftt_bare b;

	ftt_bare_ask_place(&f, &key, &b);
	CHECK(b.octet);
	CHECK(seq_lt(b.seq + 1, x->service_iss + 101)); /* all of it lies before what the client acknowledged */
	CHECK_EQ(b.ack, x->irs + 1 + 10);
	CHECK_EQ(b.timestamps, true);
	CHECK_EQ(b.tsval, x->service_ts + 1); /* what it echoed: PAWS lets that by */
	CHECK_EQ(b.sport, 2);
}

static void test_whatever_it_says_is_answered_where_it_stands(const struct ends *x)
{
	struct ftt_flow f = over(x);
	struct ftt_key key = {.proto = 6};
	struct arrival s = of_client(x, FTT_MODE_SOLO, 10, 5000, 0);
	struct ftt_bare b;

	CHECK_EQ(ftt_reset_step(&f, &s.seg, at(3 * MS)), FTT_ACT_RST_CLIENT);
	ftt_bare_reset_client(&f, &key, s.ack, &b);
	CHECK_EQ(b.seq, s.ack);
	CHECK_EQ(b.flags, TCP_RST);
	CHECK_EQ(f.client_acked, s.ack);
	s.ack -= 1000; /* an older one, late: its own number is no use, and moves nothing */
	CHECK_EQ(ftt_reset_step(&f, &s.seg, at(3 * MS)), FTT_ACT_RST_CLIENT);
	CHECK_EQ(f.client_acked, s.ack + 1000);
	s.flags = TCP_RST;
	s.seq = f.client_nxt - 1;
	CHECK_EQ(ftt_reset_step(&f, &s.seg, at(4 * MS)), 0); /* a forged one must not keep the end from the client */
	s.seq = f.client_nxt;
	CHECK_EQ(ftt_reset_step(&f, &s.seg, at(4 * MS)), FTT_ACT_CLOSED);
}

static void test_it_is_asked_less_and_less_often_and_given_up(bool answers)
{
	struct arrival s = of_client(&plain, FTT_MODE_SOLO, 10, 5000, 0);
	struct ftt_flow f = over(&plain);
	uint64_t last = 2 * MS, gap = 0, now;
	uint32_t actions = 0, asked = 1;

	for (now = 2 * MS; now < 60000 * MS && !(actions & FTT_ACT_CLOSED); now += MS) {
		actions = ftt_reset_tick(&f, at(now));
		if (!(actions & FTT_ACT_ASK_PLACE))
			continue;
		CHECK(now - last >= gap);
		gap = now - last;
		last = now;
		if (answers && ++asked == 3)
			ftt_reset_step(&f, &s.seg, at(now));
	}
	CHECK_EQ(actions, FTT_ACT_CLOSED | (answers ? 0 : FTT_ACT_UNREACHED));
	CHECK(now > 10000 * MS && now < 60000 * MS);
}

/* Let go during the handshake: only what the primary told of it is known; or nothing at all. */
static void test_a_client_that_was_never_heard(void)
{
	struct ftt_record open = record_of(&plain, FTT_REC_OPEN);
	struct ftt_flow f;

	ftt_flow_init(&f, plain.irs, MS);
	step(&f, syn_of(&plain, FTT_MODE_BACKUP), MS);
	ftt_backup_open(&f, &open, at(MS));
	f.protection = FTT_DETACHED;
	CHECK_EQ(ftt_reset_begin(&f, at(2 * MS)), FTT_ACT_ASK_PLACE);
	CHECK_EQ(f.client_acked, plain.service_iss + 1);
	ftt_flow_init(&f, plain.irs, MS);
	f.protection = FTT_DETACHED;
	CHECK_EQ(ftt_reset_begin(&f, at(2 * MS)), FTT_ACT_CLOSED);
	make_backup(&f, &plain, MS);
	f.bits |= FTT_F_CLIENT_RST; /* it has ended it itself */
	CHECK_EQ(ftt_reset_begin(&f, at(2 * MS)), FTT_ACT_CLOSED);
}

static void test_no_change_of_role_revives_it(void)
{
	struct ftt_record r = record_of(&plain, FTT_REC_OPENED);
	struct ftt_flow f = over(&plain);

	CHECK_EQ(ftt_flow_solo(&f), 0);
	CHECK_EQ(ftt_primary_record(&f, &r, at(3 * MS)), 0);
	CHECK_EQ(f.protection, FTT_RESETTING);
	CHECK(ftt_flow_waits(&f));
}

int main(void)
{
	static const uint8_t alone[] = {FTT_DETACHED, FTT_UNPROTECTED};

	for (size_t i = 0; i < 2; i++) {
		for (size_t j = 0; j < 2; j++) {
			test_the_end_of_a_flow_that_nobody_follows(all_ends[i], alone[j], TCP_FIN);
			test_the_end_of_a_flow_that_nobody_follows(all_ends[i], alone[j], TCP_RST);
		}
		test_last_words_are_held(all_ends[i]);
		test_a_client_that_was_answered_elsewhere_is_let_go(all_ends[i]);
		test_the_question_cannot_be_taken_for_data(all_ends[i]);
		test_whatever_it_says_is_answered_where_it_stands(all_ends[i]);
	}
	test_owed_fin_waits_for_word_of_the_server();
	test_the_end_of_a_flow_that_cannot_be_followed();
	test_a_dead_server_refuses_nobody();
	test_an_orphan_ends_no_download();
	test_an_end_waits_for_less_where_deaths_are_seen();
	test_a_segment_of_another_connection_lets_nothing_go();
	test_it_is_asked_less_and_less_often_and_given_up(true);
	test_it_is_asked_less_and_less_often_and_given_up(false);
	test_a_client_that_was_never_heard();
	test_no_change_of_role_revives_it();
	return 0;
}
