/* SPDX-License-Identifier: Apache-2.0 */
/* UDP sessions with more ports of their server's own choice than a node remembers: nothing is said to, or by, another port. */
#define _GNU_SOURCE
#include <string.h>
#include "engine/flows/udp_cold.h"
#include "engine/flows/udp_renew.h"
#include "udp_rig.h"

#define CLIENTS 2000 /* ports that the client knows; the i-th transfer has the i-th */
#define OWN 5000     /* ... of b's server */
#define MANY 20u

static uint64_t now;

static void begin(void)
{
	now = 1000 * MS;
	begin_order();
	renewals();
	p.engine.cfg.policy.compare = b.engine.cfg.policy.compare = 1;
}

static void says_from(struct node *n, uint16_t port)
{
	give(n, datagram(4, false, port, "answer", 6), false, true, now);
}

static void speaks_to(struct node *n, uint16_t port)
{
	give(n, datagram(4, true, port, "on", 2), true, true, now);
}

/* All are IPv4's. */
static uint16_t sport(const struct packet *k)
{
	return get_be16(k->bytes + 20);
}

static uint16_t dport(const struct packet *k)
{
	return get_be16(k->bytes + 22);
}

/* It went as it was: nothing of it was written down. */
static bool as_it_was(const struct packet *k)
{
	return !k->len;
}

static void none_passed(struct node *n)
{
	memset(n->passed, 0, sizeof(n->passed));
	n->n_passed = 0;
}

/* All is heard, both ways. */
static void hear_all(void)
{
	hear(&p, &b, FTT_REC_EVENT, now);
	hear(&b, &p, FTT_REC_EVENT_ACK, now);
	hear(&p, &b, FTT_REC_SENT, now);
}

/* One transfer of p's server: a question, an answer from a port of its own, two words there, each answered. */
static void transfer(unsigned number)
{
	none_passed(&p);
	ask(&p, now);
	says_from(&p, (uint16_t)(CLIENTS + number));
	for (int i = 0; i < 2; i++) {
		speaks_to(&p, (uint16_t)(CLIENTS + number));
		says_from(&p, (uint16_t)(CLIENTS + number));
	}
}

/* b's server has been given this much, and answers it from the port that it was said to, or a new one. Returns how much. */
static unsigned serve(unsigned *transfers, unsigned *words)
{
	unsigned n = b.n_emitted;
	uint16_t to[16];

	CHECK(n <= 16);
	for (unsigned i = 0; i < n; i++) {
		CHECK(!b.to_client[i]);
		to[i] = dport(&b.emitted[i]);
	}
	b.n_emitted = 0;
	for (unsigned i = 0; i < n; i++) {
		if (to[i] == SERVER) {
			++*transfers;
			*words = 0;
		} else {
			CHECK_EQ(to[i], OWN + *transfers);
			++*words;
		}
		says_from(&b, (uint16_t)(OWN + *transfers));
	}
	return n;
}

static void tick(struct node *n)
{
	now += 2 * MS;
	ftt_udp_renew_tick(&n->worker, now);
	ftt_udp_renew_pump(&n->worker, now);
	ftt_udp_tick(&n->worker, now);
}

/* b's server has had all, and what comes now goes to the ports of the last transfer. */
static void goes_on_at_b(void)
{
	CHECK_EQ(b.worker.n.divergences, 0);
	new_role(&b, FTT_MODE_SOLO);
	CHECK(ftt_udp_rest(&b.worker, 8, now));
	b.n_emitted = 0;
	none_passed(&b);
	speaks_to(&b, CLIENTS + MANY);
	CHECK_EQ(dport(&b.passed[0]), OWN + MANY);
	says_from(&b, OWN + MANY);
	CHECK_EQ(sport(&b.passed[1]), CLIENTS + MANY);
	speaks_to(&b, CLIENTS + MANY - 7);
	CHECK_EQ(dport(&b.passed[2]), OWN + MANY - 7);
	CHECK_EQ(only(&b)->unrenewable, FTT_RENEWABLE);
}

/* One transfer after the other, of one client's port: a new backup is told of all, and each word goes where it belongs. */
static void test_many_transfers_are_renewed(void)
{
	unsigned transfers = 0, words = 0, given = 0;

	begin();
	role(&p, FTT_MODE_SOLO);
	for (unsigned i = 1; i <= MANY; i++)
		transfer(i);
	role(&p, FTT_MODE_PAIRED);
	p.lane_up = b.lane_up = true;
	CHECK_EQ(ftt_udp_renew_find(&p.worker), 1);
	tick(&p);
	for (int rounds = 0; rounds < 200 && only(&p)->s.protection != FTT_PROTECTED; rounds++) {
		hear_lane(&p, &b, now);
		while (b.n_emitted)
			given += serve(&transfers, &words);
		tick(&b);
		hear_all();
		tick(&p);
	}
	CHECK_EQ(given, 3 * MANY);
	CHECK(transfers == MANY && words == 2);
	CHECK_EQ(only(&p)->s.protection, FTT_PROTECTED);
	goes_on_at_b();
	end_pair();
}

/* The same of a server that a cold backup starts. */
static void test_many_transfers_are_told_a_server_that_starts(void)
{
	unsigned transfers = 0, words = 0, given = 0;

	begin();
	p.engine.cfg.policy.cold = b.engine.cfg.policy.cold = 1;
	for (unsigned i = 1; i <= MANY; i++) {
		transfer(i);
		hear_all();
	}
	CHECK_EQ(b.n_emitted, 0);
	b.worker.promoting = true;
	ftt_udp_promote(&b.worker, false, now);
	for (int rounds = 0; rounds < 200 && !ftt_udp_is_promoted(&b.worker, now); rounds++) {
		tick(&b);
		while (b.n_emitted)
			given += serve(&transfers, &words);
	}
	CHECK_EQ(given, 3 * MANY);
	b.worker.promoting = false;
	goes_on_at_b();
	end_pair();
}

/* So many transfers at once, of which both servers' ports are known: the latest ones are told apart. */
static void begin_at_once(unsigned n)
{
	begin();
	for (unsigned i = 1; i <= n; i++)
		ask(&p, now);
	none_passed(&p); /* the rig keeps a few only */
	for (unsigned i = 1; i <= n; i++)
		says_from(&p, (uint16_t)(CLIENTS + i));
	hear_all();
	for (unsigned i = 1; i <= n; i++)
		says_from(&b, (uint16_t)(OWN + i));
	hear_all();
	b.n_emitted = 0;
	none_passed(&p);
}

/* ... and who speaks to an earlier one is not followed any more, but served. */
static void test_a_port_that_is_not_known_any_more(void)
{
	begin_at_once(FTT_UDP_PORTS + 2);
	speaks_to(&p, CLIENTS + FTT_UDP_PORTS + 2);
	speaks_to(&p, CLIENTS + 3);
	hear_all();
	CHECK_EQ(b.n_emitted, 2);
	CHECK_EQ(dport(&b.emitted[0]), OWN + FTT_UDP_PORTS + 2);
	CHECK_EQ(dport(&b.emitted[1]), OWN + 3);
	CHECK_EQ(only(&p)->s.protection, FTT_PROTECTED);
	CHECK_EQ(p.n_passed, 2);
	speaks_to(&p, CLIENTS + 2);
	CHECK(p.n_passed == 3 && as_it_was(&p.passed[2]));
	CHECK_EQ(only(&p)->unrenewable, FTT_MANY_PORTS);
	b.n_emitted = 0;
	hear(&p, &b, FTT_REC_EVENT, now);
	CHECK_EQ(b.n_emitted, 0); /* no server of b has it */
	now += 6 * MS;
	ftt_udp_tick(&p.worker, now);
	hear(&b, &p, FTT_REC_EVENT_ACK, now);
	CHECK_EQ(hear(&p, &b, FTT_REC_DETACH, now), 1);
	CHECK_EQ(hear(&b, &p, FTT_REC_DETACHED, now), 1);
	CHECK(only(&p)->s.protection == FTT_DETACHED && only(&p)->s.reason == FTT_WHY_UNSUPPORTED);
	end_pair();
}

/* Who took over does not know whose it is: nobody gets it. */
static void test_a_port_of_the_other_node_that_is_not_known_any_more(void)
{
	begin_at_once(FTT_UDP_PORTS + 2);
	new_role(&b, FTT_MODE_SOLO);
	CHECK(ftt_udp_rest(&b.worker, 8, now));
	b.n_dropped = 0;
	none_passed(&b);
	speaks_to(&b, CLIENTS + 3);
	CHECK(b.n_passed == 1 && dport(&b.passed[0]) == OWN + 3);
	speaks_to(&b, CLIENTS + 2);
	CHECK(b.n_passed == 1 && b.n_dropped == 1);
	CHECK_EQ(only(&b)->unrenewable, FTT_MANY_PORTS);
	end_pair();
}

/* The primary is lost before it has said anything: the client knows the port of b's server by its own number, and the next one as well. */
static void test_a_port_of_which_the_primary_has_not_told(void)
{
	unsigned transfers = 0;

	begin();
	ask(&p, now);
	hear_all();
	says_from(&b, OWN + 1);
	b.n_emitted = 0;
	new_role(&b, FTT_MODE_SOLO);
	CHECK(ftt_udp_rest(&b.worker, 8, now));
	CHECK(b.n_emitted == 1 && sport(&b.emitted[0]) == OWN + 1);
	none_passed(&b);
	speaks_to(&b, OWN + 1);
	ask(&b, now);
	says_from(&b, OWN + 2);
	speaks_to(&b, OWN + 2);
	speaks_to(&b, OWN + 1);
	CHECK_EQ(b.n_passed, 5);
	for (int i = 0; i < 5; i++)
		CHECK(as_it_was(&b.passed[i]));
	CHECK_EQ(only(&b)->unrenewable, FTT_RENEWABLE);

	ftt_udp_forget_all(&p.worker); /* its host is begun anew, and told */
	role(&p, FTT_MODE_BACKUP);
	p.said_len = b.said_len = p.lane_len = p.n_emitted = 0;
	role(&b, FTT_MODE_PAIRED);
	p.lane_up = b.lane_up = true;
	CHECK_EQ(ftt_udp_renew_find(&b.worker), 1);
	for (int rounds = 0; rounds < 20; rounds++) {
		tick(&b);
		hear_lane(&b, &p, now);
		for (uint32_t i = 0; i < p.n_emitted; i++)
			if (dport(&p.emitted[i]) == SERVER)
				says_from(&p, (uint16_t)(CLIENTS + ++transfers));
			else
				CHECK(dport(&p.emitted[i]) > CLIENTS && dport(&p.emitted[i]) <= CLIENTS + transfers);
		p.n_emitted = 0;
		tick(&p);
		hear(&p, &b, FTT_REC_EVENT_ACK, now);
	}
	CHECK_EQ(transfers, 2);
	CHECK_EQ(only(&b)->s.protection, FTT_PROTECTED);
	end_pair();
}

/* ... or has told, but of it comes the turn later: the client knows the port by the primary's number. */
static void test_a_port_whose_turn_has_not_come(void)
{
	begin();
	ask(&p, now);
	for (int i = 0; i < 3; i++)
		says_from(&p, SERVER);
	ask(&p, now); /* behind these answers */
	says_from(&p, CLIENTS + 1);
	says_from(&p, CLIENTS + 2);
	CHECK_EQ(hear(&p, &b, FTT_REC_EVENT, now), 4);
	says_from(&b, OWN + 1);
	CHECK_EQ(b.n_emitted, 1);
	b.n_emitted = 0;
	new_role(&b, FTT_MODE_SOLO);
	CHECK(ftt_udp_rest(&b.worker, 8, now));
	CHECK(b.n_emitted == 1 && b.to_client[0] && sport(&b.emitted[0]) == CLIENTS + 1);
	none_passed(&b);
	says_from(&b, OWN + 2);
	CHECK(b.n_emitted == 1 && sport(&b.passed[0]) == CLIENTS + 2);
	says_from(&b, OWN + 1);
	CHECK(b.n_emitted == 2 && sport(&b.passed[1]) == CLIENTS + 1);
	speaks_to(&b, CLIENTS + 2);
	CHECK(b.n_passed == 3 && dport(&b.passed[2]) == OWN + 2);
	end_pair();
}

/* The client speaks to a port that our server has just used, of its own, and both wait for their turn. */
static void test_a_port_that_is_named_later(void)
{
	begin_at_once(FTT_UDP_PORTS + 2);
	ask(&p, now);
	says_from(&p, SERVER);
	says_from(&p, SERVER);
	ask(&p, now);
	CHECK_EQ(hear(&p, &b, FTT_REC_EVENT, now), 2);
	CHECK_EQ(b.n_emitted, 1);
	new_role(&b, FTT_MODE_SOLO);
	CHECK(ftt_udp_rest(&b.worker, 8, now));
	none_passed(&b);
	says_from(&b, OWN + 50);
	CHECK(b.n_passed == 1 && as_it_was(&b.passed[0]));
	b.n_emitted = 0;
	speaks_to(&b, OWN + 50);
	CHECK_EQ(b.n_emitted, 0);
	says_from(&b, SERVER);
	CHECK(b.n_emitted == 2 && dport(&b.emitted[0]) == SERVER && dport(&b.emitted[1]) == OWN + 50);
	CHECK_EQ(b.worker.n.drop_bound, 0);
	end_pair();
}

int main(void)
{
	test_many_transfers_are_renewed();
	test_many_transfers_are_told_a_server_that_starts();
	test_a_port_that_is_not_known_any_more();
	test_a_port_of_the_other_node_that_is_not_known_any_more();
	test_a_port_of_which_the_primary_has_not_told();
	test_a_port_whose_turn_has_not_come();
	test_a_port_that_is_named_later();
	return 0;
}
