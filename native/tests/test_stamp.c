/* SPDX-License-Identifier: Apache-2.0 */
/* The rules of stamp.h: when there are none, and that they go with the socket that they were made by. */
#include <errno.h>
#include <string.h>
#include <unistd.h>
#include "check.h"
#include "fake_engine.h"
#include "engine/planes/nfqueue/stamp.h"

static struct ftt_config config(uint32_t addresses, uint32_t ports)
{
	struct ftt_config cfg = {.service_interface = "svc0", .peer_interface = "peer0", .queue_in = 7700,
				 .n_service_addrs = addresses, .n_ports = ports};

	for (uint32_t a = 0; a < addresses; a++)
		cfg.service_addr[a][15] = (uint8_t)(a + 1);
	for (uint32_t i = 0; i < ports; i++)
		cfg.port[i] = (struct ftt_port){.port = (uint16_t)(80 + i), .proto = 6};
	return cfg;
}

static void test_when_there_are_none(void)
{
	struct ftt_config cfg = config(3, 11);

	CHECK_EQ(ftt_stamp_open(&cfg, 0), -E2BIG);
	strcpy(cfg.peer_interface, cfg.service_interface);
	CHECK_EQ(ftt_stamp_open(&cfg, 0), -ENOTUNIQ);
}

static void test_they_go_with_their_socket(void)
{
	struct ftt_config cfg = config(2, FTT_STAMPED_MAX / 2);
	int fd = ftt_stamp_open(&cfg, 0);

	CHECK(fd >= 0);
	CHECK_EQ(ftt_stamp_open(&cfg, 0), -EPERM); /* somebody's own */
	CHECK_EQ(ftt_stamp_try(), 0); /* another table */
	close(fd);
	fd = ftt_stamp_open(&cfg, 0);
	CHECK(fd >= 0);
	close(fd);
	cfg.port[0].last = 65535; /* a range is one rule, too */
	fd = ftt_stamp_open(&cfg, 0);
	CHECK(fd >= 0);
	close(fd);
}

static void test_ranges_of_ports(void)
{
	const struct ftt_port one = {.port = 80, .proto = 6}, many = {.port = 80, .last = 90, .proto = 6};

	CHECK(ftt_port_is(&one, 80, 6) && !ftt_port_is(&one, 81, 6) && !ftt_port_is(&one, 79, 6));
	CHECK(!ftt_port_is(&one, 80, 17) && !ftt_port_is(&many, 80, 17));
	CHECK(ftt_port_is(&many, 80, 6) && ftt_port_is(&many, 85, 6) && ftt_port_is(&many, 90, 6));
	CHECK(!ftt_port_is(&many, 79, 6) && !ftt_port_is(&many, 91, 6));
}

int main(void)
{
	test_when_there_are_none();
	test_ranges_of_ports();
	if (!fake_private_network()) {
		fprintf(stderr, "no network of its own is allowed here\n");
		return SKIPPED;
	}
	if (ftt_stamp_try()) {
		fprintf(stderr, "this kernel edits no headers: %s\n", strerror(ftt_stamp_try()));
		return SKIPPED;
	}
	test_they_go_with_their_socket();
	return 0;
}
