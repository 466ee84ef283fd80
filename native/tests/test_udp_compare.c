/* SPDX-License-Identifier: Apache-2.0 */
/* Replies of two workers' servers to the same datagram, compared. */
#define _GNU_SOURCE
#include <string.h>
#include "engine/flows/udp_renew.h"
#include "udp_rig.h"

static void reply(struct node *n, const char *text, uint64_t now_ns)
{
	give(n, datagram(4, false, SERVER, text, (uint32_t)strlen(text)), false, true, now_ns);
}

/* A pair that compares, one question under way to both servers. */
static void begin_comparing(bool detach)
{
	begin_pair();
	p.engine.cfg.policy.compare = b.engine.cfg.policy.compare = 1;
	b.engine.cfg.policy.detach_divergent = detach;
	ask(&p, MS);
	CHECK_EQ(hear(&p, &b, FTT_REC_EVENT, MS), 1);
	CHECK_EQ(hear(&b, &p, FTT_REC_EVENT_ACK, MS), 1);
}

static void test_same_replies_are_compared_whoever_is_first(void)
{
	begin_comparing(true);
	reply(&b, "one", MS);
	reply(&p, "one", MS);
	CHECK_EQ(hear(&p, &b, FTT_REC_SENT, MS), 1);
	reply(&p, "two", MS);
	CHECK_EQ(hear(&p, &b, FTT_REC_SENT, MS), 1);
	CHECK_EQ(b.worker.n.compared_blocks, 1);
	reply(&b, "two", MS);
	CHECK_EQ(b.worker.n.compared_blocks, 2);
	CHECK_EQ(b.worker.n.divergences, 0);
	end_pair();
}

static void test_a_different_reply_is_told_once(void)
{
	begin_comparing(false);
	reply(&b, "one", MS);
	reply(&p, "eno", MS); /* of the same length */
	CHECK_EQ(hear(&p, &b, FTT_REC_SENT, MS), 1);
	reply(&b, "two", MS);
	reply(&p, "two", MS);
	CHECK_EQ(hear(&p, &b, FTT_REC_SENT, MS), 1);
	CHECK_EQ(b.worker.n.divergences, 1);
	CHECK_EQ(only(&b)->s.divergences, 1);
	CHECK_EQ(only(&p)->s.protection, FTT_PROTECTED);
	end_pair();
}

static void test_a_different_reply_gives_the_session_up_by_policy(void)
{
	begin_comparing(true);
	reply(&p, "one", MS);
	CHECK_EQ(hear(&p, &b, FTT_REC_SENT, MS), 1);
	reply(&b, "eno", MS);
	CHECK_EQ(b.worker.udp.n, 0);
	CHECK_EQ(hear(&b, &p, FTT_REC_DETACHED, MS), 1);
	CHECK_EQ(only(&p)->s.protection, FTT_DETACHED);
	CHECK_EQ(only(&p)->s.reason, FTT_WHY_DIVERGENCE);
	end_pair();
}

/* b comes as a new backup of p, which has served alone, and b's server answers what it is given. */
static void catch_up(uint64_t now)
{
	role(&p, FTT_MODE_PAIRED);
	p.lane_up = b.lane_up = true;
	CHECK_EQ(ftt_udp_renew_find(&p.worker), 1);
	for (int rounds = 0; rounds < 10; rounds++, now += WAIT) {
		ftt_udp_renew_pump(&p.worker, now);
		ftt_udp_renew_tick(&p.worker, now);
		ftt_udp_tick(&p.worker, now);
		hear_lane(&p, &b, now);
		ftt_udp_tick(&b.worker, now);
		for (; b.n_emitted; b.n_emitted--)
			answer(&b, now);
		ftt_udp_renew_tick(&b.worker, now);
		hear(&p, &b, FTT_REC_SENT, now);
		hear(&b, &p, FTT_REC_EVENT_ACK, now);
	}
}

/* Of servers in step nothing is renewed of which not all was compared: two contents under one key must never both leave. */
static void test_renewed_in_step(void)
{
	static uint8_t header[4096];

	for (int twice = 0; twice < 2; twice++) {
		uint64_t now = 1000 * MS;

		begin_order();
		renewals();
		p.engine.cfg.policy.compare = b.engine.cfg.policy.compare = 1;
		p.engine.lockstep.header = b.engine.lockstep.header = (void *)header;
		role(&p, FTT_MODE_SOLO);
		ask(&p, now);
		answer(&p, now);
		if (twice)
			answer(&p, now); /* by a timer */
		ask(&p, now);
		answer(&p, now);
		CHECK_EQ(only(&p)->unrenewable, FTT_RENEWABLE);
		catch_up(now);
		CHECK_EQ(b.worker.udp.n, !twice);
		CHECK_EQ(only(&p)->s.protection == FTT_PROTECTED, !twice);
		CHECK_EQ(only(&p)->unrenewable, twice ? FTT_NOT_REPEATED : FTT_RENEWABLE);
		end_pair();
	}
}

int main(void)
{
	test_same_replies_are_compared_whoever_is_first();
	test_a_different_reply_is_told_once();
	test_a_different_reply_gives_the_session_up_by_policy();
	test_renewed_in_step();
	return 0;
}
