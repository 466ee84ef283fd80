/* SPDX-License-Identifier: Apache-2.0 */
/* What is decided while a new backup catches up: how far its stack may be told, when it is asked, and when it may say yes. */
#include <string.h>
#include "check.h"
#include "core/tcp/renew.h"

static struct ftt_flow flow(void)
{
	struct ftt_flow f;

	ftt_flow_init(&f, 1000, 1);
	f.bits |= FTT_F_SYNACK;
	f.local_iss = 5000;
	ftt_flow_map(&f, 70000);
	f.bits |= FTT_F_ESTABLISHED;
	f.protection = FTT_UNPROTECTED;
	return f;
}

/* 3 GB of output: 32-bit numbers of client and new server are on both sides of a turn, and must never be compared. */
static void a_long_way(void)
{
	const uint64_t all = 3000000000u;
	struct ftt_flow f = flow();
	uint64_t said = 0;

	f.protection = FTT_CATCHING_UP;
	while (said < all) {
		ftt_renew_feed(&f, all, said);
		CHECK(seq_geq(f.client_acked, f.local_snd_nxt));
		CHECK_EQ(ftt_deliverable(&f, FTT_MODE_BACKUP), f.local_snd_nxt); /* all that it says is acknowledged at once */
		said += 100000000;
		f.local_snd_nxt += 100000000;
		f.delivered_ack = f.local_snd_nxt - 100000000;
		CHECK_EQ(ftt_output_place(&f, said, ftt_output_end(&f) - 7), said - 7);
	}
	ftt_renew_feed(&f, all, said);
	CHECK_EQ(f.client_acked, f.hard.service_iss + 1 + (uint32_t)all);
}

static void what_is_renewed(void)
{
	struct ftt_flow f = flow();

	CHECK(ftt_flow_renewable(&f));
	f.bits |= FTT_F_UNVERIFIED;
	CHECK(!ftt_flow_renewable(&f));
	f = flow();
	f.bits |= FTT_F_LOCAL_FIN;
	CHECK(!ftt_flow_renewable(&f));
	f = flow();
	f.protection = FTT_PROTECTED;
	CHECK(!ftt_flow_renewable(&f));
	f = flow();
	f.reason = FTT_WHY_SIGNED;
	CHECK(!ftt_flow_renewable(&f));
	f.reason = FTT_WHY_UNSUPPORTED;
	CHECK(!ftt_flow_renewable(&f));
}

/* The backup is asked when it has all that the client was told of, and has said all that the client has. */
static void asked_in_time(void)
{
	struct ftt_flow f = flow();
	struct ftt_record r = {.type = FTT_REC_COMMIT, .rcv_nxt = 1001, .edge = 60000, .snd_nxt = 70001};

	f.local_rcv_nxt = f.told_ack = 1051;
	f.local_snd_nxt = 70501;
	f.client_acked = 70401;
	ftt_renew_begin(&f);
	CHECK_EQ(ftt_renew_commit(&f, &r), 0);
	CHECK(!ftt_renew_reached(&f));
	r.rcv_nxt = 1051;
	CHECK_EQ(ftt_renew_commit(&f, &r), 0);
	CHECK(!ftt_renew_reached(&f)); /* its server has not said what the client has */
	r.snd_nxt = 70401;
	CHECK_EQ(ftt_renew_commit(&f, &r), 400);
	CHECK(ftt_renew_reached(&f));
	r.rcv_nxt = 1020; /* overtaken: nothing goes back */
	r.snd_nxt = 70100;
	CHECK_EQ(ftt_renew_commit(&f, &r), 0);
	CHECK(ftt_renew_reached(&f));
	f.bits |= FTT_F_TAKEN;
	CHECK_EQ(ftt_renew_hold(&f, true, 500, 400, 9), FTT_ACT_OPEN);
	CHECK(f.protection == FTT_OPENING && !(f.bits & FTT_F_TAKEN) && f.sent == 70501 && f.told == 500 && f.verified == 400);
	CHECK(ftt_renew_unasked(&f, 1) & FTT_ACT_RELEASE);
	CHECK(f.protection == FTT_UNPROTECTED && f.opened_ns == 1);
}

/* The server of a backup that catches up has ended the flow, otherwise than ours: a later death of ours is not taken for an end. */
static void an_end_elsewhere(void)
{
	struct ftt_flow f = flow();
	struct ftt_record r = {.type = FTT_REC_COMMIT, .rcv_nxt = 1001, .edge = 60000, .snd_nxt = 70001, .flags = FTT_REC_FIN};

	ftt_renew_begin(&f);
	ftt_renew_commit(&f, &r);
	CHECK(!ftt_end_is_real(&f));
	f.bits |= FTT_F_END_REAL;
	CHECK(ftt_end_is_real(&f)); /* health's word counts as ever */
	f.bits &= ~(uint32_t)FTT_F_END_REAL;
	ftt_renew_cancel(&f);
	CHECK(f.protection == FTT_UNPROTECTED && !ftt_end_is_real(&f));
}

/* A backup that lacks input that the client was told of never says yes. */
static void taken_when_whole(void)
{
	struct ftt_flow f = flow();
	struct ftt_record r = {.type = FTT_REC_RENEW, .rcv_nxt = 1051, .client_acked = 70001, .snd_nxt = 70001};

	f.protection = FTT_CATCHING_UP;
	f.local_rcv_nxt = 1050;
	CHECK(!ftt_renew_take(&f, &r) && f.protection == FTT_CATCHING_UP);
	f.local_rcv_nxt = 1051;
	r.client_acked = 70002;
	CHECK(!ftt_renew_take(&f, &r)); /* it has not been told where the client stands */
	r.client_acked = 70001;
	CHECK(ftt_renew_take(&f, &r) && f.protection == FTT_PROTECTED);
}

int main(void)
{
	a_long_way();
	what_is_renewed();
	asked_in_time();
	an_end_elsewhere();
	taken_when_whole();
	return 0;
}
