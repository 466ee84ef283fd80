/* SPDX-License-Identifier: Apache-2.0 */
/* Both servers end a flow, each by FIN, by RST, or by a RST behind its FIN, in whatever order, while the client says something. */
#include "flows.h"

enum how { BY_FIN, BY_RST, BY_BOTH, HOWS };

#define SAID 24u  /* bytes of output */
#define INPUT 10u /* bytes of the client's that both have */
#define LATE 7u   /* ... and that it says while both servers close */

/* Time passes: nobody gives the flow up. */
static void check_rests(struct ftt_flow *f, bool rests)
{
	uint32_t actions = 0;

	ftt_lag_mark(f, 3 * MS);
	for (uint64_t now = 3 * MS; now < 10000 * MS && !(actions & FTT_ACT_DETACH); now += 10 * MS)
		actions |= ftt_flow_tick(f, at(now)) | ftt_flow_part(f, at(now));
	CHECK_EQ(!(actions & FTT_ACT_DETACH), rests);
	CHECK_EQ(f->protection, rests ? FTT_PROTECTED : FTT_DETACHING);
}

static struct ftt_record end_of_backup(const struct ends *x, enum how how, uint32_t said, uint32_t in)
{
	struct ftt_record r = commit_of(x, in, 1000, said + (how != BY_RST));

	r.flags = (how != BY_RST ? FTT_REC_FIN : 0) | (how != BY_FIN ? FTT_REC_RST : 0);
	return r;
}

/* What our stack says at the end; returns how many segments. A stack that has thrown the late bytes away tells nothing of them. */
static uint32_t end_of_primary(const struct ends *x, enum how how, uint32_t in, struct arrival *out)
{
	uint32_t n = 0;

	out[n++] = from_primary(x, TCP_ACK, SAID - 5, in, 5);
	if (how != BY_RST)
		out[n++] = from_primary(x, TCP_ACK | TCP_FIN, SAID, in, 0);
	if (how != BY_FIN)
		out[n++] = from_primary(x, TCP_RST | (how == BY_RST ? TCP_ACK : 0), SAID, in, 0);
	return n;
}

static void begin(struct ftt_flow *f, const struct ends *x, bool client_fin)
{
	struct ftt_record r = commit_of(x, INPUT, 1000, SAID - 5);
	struct arrival late = of_client(x, FTT_MODE_PAIRED, INPUT, SAID - 5, LATE);

	make_primary(f, x, MS);
	step(f, of_client(x, FTT_MODE_PAIRED, 0, 0, INPUT), MS);
	ftt_primary_record(f, &r, at(MS));
	CHECK_EQ(step(f, from_primary(x, TCP_ACK, 0, INPUT, SAID - 5), MS), FTT_PASS);
	late.flags |= client_fin ? TCP_FIN : 0;
	step(f, late, MS);
}

/* Whatever each of them does: as soon as both are known to have ended at one place, all leaves, and nobody waits. */
static void test_ends_at_one_place_are_one_end(const struct ends *x, enum how ours, enum how theirs, bool first, bool client_fin)
{
	uint32_t late = LATE + client_fin, ours_in = INPUT + (ours == BY_BOTH ? 0 : late), n;
	struct ftt_record r = end_of_backup(x, theirs, SAID, INPUT + (theirs == BY_FIN ? late : 0));
	struct arrival said[3];
	struct ftt_flow f;
	bool aborts = false;

	begin(&f, x, client_fin);
	n = end_of_primary(x, ours, ours_in, said);
	if (first)
		ftt_primary_record(&f, &r, at(2 * MS));
	for (uint32_t i = 0; i < n; i++) {
		enum ftt_verdict v = step(&f, said[i], 2 * MS);

		CHECK(!first || v == FTT_PASS);
		aborts |= first && edit.actions & FTT_ACT_ABORT;
	}
	if (!first) {
		f.held_since_ns = 2 * MS;
		CHECK(ftt_primary_record(&f, &r, at(2 * MS)) & FTT_ACT_RELEASE);
		for (uint32_t i = 0; i < n; i++) {
			CHECK_EQ(gate(&f, said[i], 2 * MS), FTT_PASS);
			CHECK(!(edit.change & FTT_EDIT_FIN));
			aborts |= edit.actions & FTT_ACT_ABORT;
		}
		f.held_since_ns = 0;
	}
	CHECK_EQ(aborts, ours != BY_FIN); /* then our stack will say no more, and the backup is to know */
	CHECK_EQ(told_flags(&f, FTT_REC_CLOSE), FTT_REC_OURS);
	CHECK_EQ(f.end_since_ns, 0);
	if (ours == BY_FIN && theirs != BY_FIN) /* a stack that has closed answers what the client says again */
		CHECK_EQ(step(&f, from_primary(x, TCP_ACK, SAID + 1, INPUT + late, 0), 2 * MS), FTT_PASS);
	check_rests(&f, true);
}

/* One byte more is another end. */
static void test_ends_elsewhere_are_two(const struct ends *x, enum how ours, enum how theirs, int32_t more)
{
	struct ftt_record r = end_of_backup(x, theirs, SAID + (uint32_t)more, INPUT + LATE);
	struct arrival said[3];
	struct ftt_flow f;
	uint32_t n;

	begin(&f, x, false);
	n = end_of_primary(x, ours, INPUT, said);
	ftt_primary_record(&f, &r, at(2 * MS));
	for (uint32_t i = 0; i < n; i++) {
		enum ftt_verdict v = step(&f, said[i], 2 * MS);
		bool end = said[i].flags & (TCP_FIN | TCP_RST);

		CHECK_EQ(v, end ? FTT_HOLD : FTT_PASS);
	}
	f.held_since_ns = 2 * MS;
	check_rests(&f, false);
}

/* Where both stacks have only reset the connection, neither will say more, whatever the one has said beyond the other. */
static void test_two_resets_are_one_end(const struct ends *x, uint32_t theirs)
{
	struct ftt_record r = end_of_backup(x, BY_RST, theirs, INPUT);
	struct arrival said[3];
	struct ftt_flow f;

	begin(&f, x, true);
	CHECK_EQ(end_of_primary(x, BY_RST, INPUT + LATE + 1, said), 2);
	CHECK_EQ(step(&f, said[0], 2 * MS), FTT_HOLD);
	CHECK_EQ(step(&f, said[1], 2 * MS), FTT_HOLD);
	f.held_since_ns = 2 * MS;
	CHECK(ftt_primary_record(&f, &r, at(2 * MS)) & FTT_ACT_RELEASE);
	CHECK_EQ(gate(&f, said[0], 2 * MS), FTT_PASS);
	CHECK_EQ(gate(&f, said[1], 2 * MS), FTT_PASS);
	f.held_since_ns = 0;
	check_rests(&f, true);
}

/* A client that is gone answers each segment by the number that it acknowledges: old for the one stack, exact for the slower one. */
static void test_an_old_reset_ends_no_slower_copy(const struct ends *x, bool fin)
{
	struct arrival late = of_client(x, FTT_MODE_BACKUP, INPUT, SAID, LATE);
	struct ftt_flow f;

	make_untold_backup(&f, x, MS);
	tell_output(&f, x, SAID);
	step(&f, of_client(x, FTT_MODE_BACKUP, 0, 0, INPUT), MS);
	late.flags |= fin ? TCP_FIN : 0;
	CHECK_EQ(step(&f, late, MS), FTT_HOLD);
	CHECK_EQ(step(&f, from_client(FTT_MODE_BACKUP, TCP_RST, x->irs + 1 + INPUT, 0, 0), MS), FTT_DROP);
	CHECK(!(f.bits & FTT_F_CLIENT_RST));
}

/* The backup's connection is gone, ours goes on: what both have said leaves; what only ours says does not, before it is detached. */
static void test_what_nobody_can_commit_holds_up_what_both_have_said(const struct ends *x, enum how theirs)
{
	struct ftt_record r = end_of_backup(x, theirs, SAID, INPUT);
	struct ftt_flow f;

	begin(&f, x, false);
	CHECK_EQ(step(&f, from_primary(x, TCP_ACK, SAID - 5, INPUT + LATE, 5), 2 * MS), FTT_HOLD);
	f.held_since_ns = 2 * MS;
	ftt_primary_record(&f, &r, at(2 * MS));
	CHECK_EQ(gate(&f, from_primary(x, TCP_ACK, SAID - 5, INPUT + LATE, 5), 2 * MS), FTT_PASS);
	CHECK_EQ(gate(&f, from_primary(x, TCP_ACK, SAID, INPUT + LATE, 1), 2 * MS), FTT_HOLD);
	CHECK_EQ(gate(&f, from_primary(x, TCP_ACK | TCP_FIN, SAID - 5, INPUT + LATE, 6), 2 * MS), FTT_HOLD);
	step(&f, from_primary(x, TCP_ACK, SAID, INPUT + LATE, 1), 2 * MS);
	CHECK_EQ(ftt_flow_part(&f, at(2 * MS)), FTT_ACT_DETACH);
}

/* A client that closes with something unread resets the connection right behind its last bytes, which our stack takes in one go. */
static void test_a_client_that_quits(const struct ends *x, uint8_t mode)
{
	struct ftt_flow f;

	for (int off = -1; off <= 1; off++) {
		if (mode == FTT_MODE_BACKUP)
			make_backup(&f, x, MS);
		else
			make_primary(&f, x, MS);
		step(&f, of_client(x, mode, 0, 0, INPUT), MS);
		step(&f, from_client(mode, TCP_RST | TCP_ACK, x->irs + 1 + INPUT + (uint32_t)off, x->service_iss + 1, 0), MS);
		CHECK_EQ(!!(f.bits & FTT_F_CLIENT_RST), !off);
		CHECK_EQ(edit.actions, off ? 0 : FTT_ACT_CLOSED | (mode == FTT_MODE_PAIRED ? FTT_ACT_ABORT : 0));
	}
}

/* A bare acknowledgement brings nothing, what comes behind a hole is not taken before it is filled, and beyond the window nothing may be. */
static void test_a_reset_behind_what_is_not_there(const struct ends *x)
{
	const struct arrival sent[] = {of_client(x, FTT_MODE_PAIRED, 20, 0, 0), of_client(x, FTT_MODE_PAIRED, 20, 0, INPUT),
				       of_client(x, FTT_MODE_PAIRED, 0, 0, x->service_wnd + INPUT)};
	struct ftt_flow f;

	for (size_t i = 0; i < sizeof(sent) / sizeof(sent[0]); i++) {
		make_primary(&f, x, MS);
		CHECK_EQ(step(&f, sent[i], MS), FTT_PASS);
		CHECK_EQ(f.client_nxt, ftt_seg_end(&sent[i].seg));
		step(&f, from_client(FTT_MODE_PAIRED, TCP_RST, ftt_seg_end(&sent[i].seg), 0, 0), MS);
		CHECK(!(f.bits & FTT_F_CLIENT_RST));
	}
}

/* Then nothing waits for the backup, which closes its own, and nobody gives the flow up. */
static void test_a_client_that_is_gone_is_not_waited_for(const struct ends *x)
{
	struct arrival said[3];
	struct ftt_flow f;

	begin(&f, x, false);
	end_of_primary(x, BY_BOTH, INPUT + LATE, said);
	for (uint32_t i = 0; i < 3; i++)
		CHECK_EQ(step(&f, said[i], 2 * MS), FTT_HOLD);
	f.held_since_ns = 2 * MS;
	step(&f, from_client(FTT_MODE_PAIRED, TCP_RST, x->irs + 1 + INPUT + LATE, 0, 0), 2 * MS);
	CHECK(edit.actions & FTT_ACT_RELEASE && edit.actions & FTT_ACT_ABORT);
	CHECK_EQ(told_flags(&f, FTT_REC_CLOSE), 0);
	for (uint32_t i = 0; i < 3; i++)
		CHECK_EQ(gate(&f, said[i], 2 * MS), FTT_PASS);
	CHECK_EQ(ftt_flow_tick(&f, at(5000 * MS)), 0);
	check_rests(&f, true);
}

/* A backup whose stack was reset, at a takeover: who has the primary's FIN lacks nothing; who has not is told. */
static void test_who_has_the_whole_is_not_reset(const struct ends *x, enum how how)
{
	struct ftt_flow f;

	make_backup(&f, x, MS);
	f.bits |= FTT_F_SUMS;
	if (how != BY_RST)
		step(&f, from_backup(x, TCP_ACK | TCP_FIN, 0, 0, SAID), MS);
	else
		step(&f, from_backup(x, TCP_ACK, 0, 0, SAID), MS);
	step(&f, from_backup(x, TCP_RST, SAID, 0, 0), MS);
	f.told = f.verified = SAID;
	step(&f, of_client(x, FTT_MODE_BACKUP, 0, SAID, 0), MS);
	CHECK(ftt_flow_cut(&f));
	step(&f, of_client(x, FTT_MODE_BACKUP, 0, SAID + 1, 0), MS);
	CHECK(!ftt_flow_cut(&f));
	f.told = SAID + 1; /* that was a byte of a longer stream */
	CHECK(ftt_flow_cut(&f));
}

/* The record is faster than the mirror: what comes behind it waits for no server, which will never say more. */
static void test_nothing_waits_behind_a_close(const struct ends *x, uint8_t flags)
{
	struct arrival late = of_client(x, FTT_MODE_BACKUP, INPUT, SAID, LATE);
	struct ftt_record r = record_of(x, FTT_REC_CLOSE);
	struct ftt_flow f;

	make_untold_backup(&f, x, MS);
	tell_output(&f, x, SAID);
	CHECK_EQ(step(&f, late, MS), FTT_HOLD); /* else it waits for that */
	r.flags = flags;
	ftt_backup_close(&f, &r);
	CHECK(step(&f, late, MS) != FTT_HOLD);
	late.ack += 100; /* nor for the word that so much was sent */
	CHECK_EQ(step(&f, late, MS), FTT_DROP);
}

/* Whose RST it was decides what a takeover owes: a client that said it waits for nothing, another one may not have heard it. */
static void test_a_close_tells_who_reset(const struct ends *x)
{
	struct ftt_record r = record_of(x, FTT_REC_CLOSE);
	struct ftt_flow f;

	make_backup(&f, x, MS);
	CHECK_EQ(ftt_backup_close(&f, &r), FTT_ACT_CLOSED);
	CHECK(!ftt_flow_cut(&f));
	make_backup(&f, x, MS);
	r.flags = FTT_REC_OURS;
	CHECK_EQ(ftt_backup_close(&f, &r), FTT_ACT_CLOSED);
	CHECK(ftt_flow_cut(&f));
}

int main(void)
{
	for (size_t i = 0; i < 2; i++) {
		for (enum how ours = 0; ours < HOWS; ours++) {
			for (enum how theirs = 0; theirs < HOWS; theirs++) {
				for (unsigned k = 0; k < 4; k++)
					test_ends_at_one_place_are_one_end(all_ends[i], ours, theirs, k & 1, k & 2);
				if (ours == BY_RST && theirs == BY_RST)
					continue;
				test_ends_elsewhere_are_two(all_ends[i], ours, theirs, 1);
			}
			test_who_has_the_whole_is_not_reset(all_ends[i], ours == BY_FIN ? BY_BOTH : ours);
		}
		test_what_nobody_can_commit_holds_up_what_both_have_said(all_ends[i], BY_RST);
		test_what_nobody_can_commit_holds_up_what_both_have_said(all_ends[i], BY_BOTH);
		test_a_client_that_quits(all_ends[i], FTT_MODE_PAIRED);
		test_a_client_that_quits(all_ends[i], FTT_MODE_SOLO);
		test_a_client_that_quits(all_ends[i], FTT_MODE_BACKUP);
		test_a_reset_behind_what_is_not_there(all_ends[i]);
		test_a_client_that_is_gone_is_not_waited_for(all_ends[i]);
		test_two_resets_are_one_end(all_ends[i], 2);
		test_two_resets_are_one_end(all_ends[i], SAID + 2);
		test_an_old_reset_ends_no_slower_copy(all_ends[i], false);
		test_an_old_reset_ends_no_slower_copy(all_ends[i], true);
		test_a_close_tells_who_reset(all_ends[i]);
		test_nothing_waits_behind_a_close(all_ends[i], 0);
		test_nothing_waits_behind_a_close(all_ends[i], FTT_REC_OURS);
	}
	return 0;
}
