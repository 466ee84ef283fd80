/* SPDX-License-Identifier: Apache-2.0 */
/* The neighbour thread on a real interface: others who have the service's address. */
#define _GNU_SOURCE
#include <string.h>
#include "neigh_rig.h"

static struct ftt_event wait_claimed(const uint8_t addr[4], uint64_t mac, uint32_t held)
{
	struct ftt_event ev = fake_wait(&e, FTT_EV_CLAIMED);

	CHECK(!memcmp(ev.key.local + 12, addr, 4));
	CHECK_EQ(ev.value, mac);
	CHECK_EQ(ev.reason, held);
	return ev;
}

/*
 * Others' claims to the address: told, never answered, never followed; counted and answered by one
 * announcement in ten seconds while we hold the lease.
 */
static void test_claims_of_others_are_refused(void)
{
	uint64_t *refused = &e.counters_neigh.neighbour_refused;
	struct ftt_nd asked = {.probe = true};
	uint8_t f[256], answer[256];
	size_t n;

	CHECK_EQ(fake_counter(refused), 0);
	hold_lease(false);
	put(f, arp(f, FTT_ARP_REPLY, other_mac, service4, service4));
	wait_claimed(service4, 0x02000000000b, 0);
	CHECK(!next_answer(answer, &n, QUIET_MS));
	CHECK_EQ(fake_counter(refused), 0);
	hold_lease(true);
	put(f, arp(f, FTT_ARP_REQUEST, other_mac, other4, other4));
	wait_claimed(other4, 0x02000000000b, 1);
	CHECK_EQ(fake_wait(&e, FTT_EV_ANNOUNCED).value, 5);
	await_read();
	put(f, arp(f, FTT_ARP_REPLY, other_mac, other4, other4));
	CHECK(!next_answer(answer, &n, QUIET_MS)); /* neither told nor fought again so soon */
	CHECK_EQ(fake_counter(refused), 2);
	memcpy(asked.target, service6, 16);
	put(f, ftt_nd_reply(f, other_mac, &asked));
	CHECK(!memcmp(fake_wait(&e, FTT_EV_CLAIMED).key.local, service6, 16));
	CHECK_EQ(fake_wait(&e, FTT_EV_ANNOUNCED).value, 5); /* of another address that is another matter */
	await_read();
	CHECK_EQ(fake_counter(refused), 3);
	CHECK_EQ(fake_counter(&e.counters_neigh.neighbour_defended), 2);
	CHECK_EQ(fake_drain(&e, FTT_EV_ANNOUNCED), 0);
}

/* Another interface of this host on the same network is nobody else; who claimed long ago is told again. */
static void test_our_own_interfaces_claim_nothing(void)
{
	static const uint8_t own[6] = {2, 0, 0, 0, 2, 1};
	int claimed = fake_posted(&e, FTT_EV_CLAIMED);
	uint8_t f[256];

	run("ip link add mgmt0 address 02:00:00:00:02:01 type dummy 2>/dev/null || "
	    "ip link add mgmt0 address 02:00:00:00:02:01 type veth peer name mgmt1");
	fake_suspend(11000 * MS);
	CHECK_EQ(fake_drain(&e, FTT_EV_CLAIMED), 0);
	put(f, arp(f, FTT_ARP_REPLY, own, service4, service4));
	put(f, arp(f, FTT_ARP_REPLY, other_mac, service4, service4));
	wait_claimed(service4, 0x02000000000b, 1);
	CHECK_EQ(fake_wait(&e, FTT_EV_ANNOUNCED).value, 5);
	CHECK_EQ(fake_posted(&e, FTT_EV_CLAIMED), claimed + 1);
	await_read();
}

/* What is made up is told in part; what comes a moment after another claim is told. */
static void test_many_claims_are_told_in_part(void)
{
	uint8_t f[256], made_up[6] = {2, 0, 0, 0, 3};
	int claimed = fake_posted(&e, FTT_EV_CLAIMED), told;

	fake_suspend(11000 * MS);
	put(f, arp(f, FTT_ARP_REPLY, client_mac, service4, service4));
	put(f, arp(f, FTT_ARP_REPLY, other_mac, service4, service4));
	wait_claimed(service4, 0x02000000000a, 1);
	wait_claimed(service4, 0x02000000000b, 1);
	for (int i = 0; i < 100; i++) {
		made_up[5] = (uint8_t)i;
		put(f, arp(f, FTT_ARP_REPLY, made_up, service4, service4));
	}
	await_read();
	told = fake_posted(&e, FTT_EV_CLAIMED) - claimed;
	CHECK(told >= 16 && told < 64);
	fake_drain(&e, FTT_EV_CLAIMED);
	fake_drain(&e, FTT_EV_ANNOUNCED);
}

/* A quiet station that has the address: the holder of the lease asks now and then. */
static void test_the_holder_looks_for_others(void)
{
	uint64_t until = ftt_now_ns() + 30000 * MS;
	bool asked4 = false, asked6 = false;

	fake_suspend(11000 * MS);
	hold_lease(true);
	ftt_neigh_announce(e.neigh, 1, MS); /* wakes the thread, whose timer knows nothing of our suspension */
	while ((!asked4 || !asked6) && ftt_now_ns() < until) {
		uint8_t f[256];
		ssize_t got = recv(wire, f, sizeof(f), 0);
		struct ftt_arp a;
		struct ftt_nd nd;

		if (got > 0 && !ftt_arp_parse(f, (size_t)got, &a))
			asked4 |= ftt_all_zero(a.sender, 4) && !memcmp(a.target, service4, 4);
		else if (got > 0 && !ftt_nd_parse(f, (size_t)got, &nd))
			asked6 |= nd.probe && !memcmp(nd.target, service6, 16);
	}
	CHECK(asked4 && asked6);
	CHECK_EQ(fake_wait(&e, FTT_EV_ANNOUNCED).value, 5);
}

int main(void)
{
	if (!open_neighbours())
		return SKIPPED;
	plug_in(1);
	start();
	hold_lease(true);
	check_answers_from(1); /* the interface has settled */
	test_claims_of_others_are_refused();
	test_our_own_interfaces_claim_nothing(); /* timers that run when the clock jumps are late from here on */
	test_the_holder_looks_for_others();
	test_many_claims_are_told_in_part();
	close_neighbours();
	return 0;
}
