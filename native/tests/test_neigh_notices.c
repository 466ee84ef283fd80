/* SPDX-License-Identifier: Apache-2.0 */
/* Which of the kernel's words about an interface ask for an announcement. */
#define _GNU_SOURCE
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include "neigh_rig.h"

/* What the kernel says when a bond uses another cable, or a machine was moved: the MAC address stays. */
static void test_the_kernels_wish_is_heard(void)
{
	struct {
		struct nlmsghdr head;
		struct ifinfomsg link;
		struct rtattr attribute;
		uint32_t why;
	} m = {.head = {.nlmsg_len = sizeof(m), .nlmsg_type = RTM_NEWLINK},
	       .link = {.ifi_index = 7},
	       .attribute = {.rta_len = RTA_LENGTH(4), .rta_type = IFLA_EVENT},
	       .why = IFLA_EVENT_NOTIFY_PEERS};

	CHECK(ftt_neigh_wants_notice((uint8_t *)&m, sizeof(m), 7));
	CHECK(!ftt_neigh_wants_notice((uint8_t *)&m, sizeof(m), 8));
	CHECK(!ftt_neigh_wants_notice((uint8_t *)&m, sizeof(m) - 1, 7));
	m.why = IFLA_EVENT_FEATURES;
	CHECK(!ftt_neigh_wants_notice((uint8_t *)&m, sizeof(m), 7));
	m.why = IFLA_EVENT_BONDING_FAILOVER;
	CHECK(ftt_neigh_wants_notice((uint8_t *)&m, sizeof(m), 7));
	m.attribute.rta_len = 200;
	CHECK(!ftt_neigh_wants_notice((uint8_t *)&m, sizeof(m), 7));
	m.head.nlmsg_type = RTM_DELLINK;
	CHECK(!ftt_neigh_wants_notice((uint8_t *)&m, sizeof(m), 7));
}

int main(void)
{
	test_the_kernels_wish_is_heard();
	return 0;
}
