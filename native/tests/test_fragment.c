/* SPDX-License-Identifier: Apache-2.0 */
/* A packet in fragments: each fits, has its place, and together they are the packet. */
#include "core/packet/fragment.h"
#include "check.h"

static uint8_t packet[65576], whole[65576], fragment[FTT_FRAGMENT_MAX];

static void fragmented(bool v4, size_t payload)
{
	size_t header = v4 ? 20 : 40, at = 0, n, end = 0;
	bool last = false;

	for (size_t i = 0; i < header + payload; i++)
		packet[i] = (uint8_t)(i * 7 + i / 256);
	packet[0] = v4 ? 0x45 : 0x60;
	packet[6] = v4 ? 0 : 17;
	while ((n = ftt_fragment(packet, header + payload, 0x12345679, &at, fragment))) {
		size_t before = v4 ? 20 : 48, offset = v4 ? (get_be16(fragment + 6) & 0x1fffu) * 8 : get_be16(fragment + 42) & ~7u;
		bool more = v4 ? get_be16(fragment + 6) & 0x2000 : fragment[43] & 1;

		CHECK(!last);
		CHECK(n <= FTT_FRAGMENT_MAX);
		CHECK_EQ(offset, end);
		CHECK(!more || (n - before) % 8 == 0);
		CHECK_EQ(v4 ? get_be16(fragment + 2) : get_be16(fragment + 4) + 40u, n);
		CHECK_EQ(v4 ? get_be16(fragment + 4) : get_be32(fragment + 44), v4 ? 0x5679u : 0x12345679u);
		CHECK(!memcmp(v4 ? fragment + 12 : fragment + 8, v4 ? packet + 12 : packet + 8, v4 ? 8 : 32));
		if (v4)
			CHECK_EQ(csum_fold(csum_add(0, fragment, 20)), 0xffff);
		else
			CHECK(fragment[6] == 44 && fragment[40] == 17);
		memcpy(whole + offset, fragment + before, n - before);
		end = offset + n - before;
		last = !more;
	}
	CHECK(last);
	CHECK_EQ(end, payload);
	CHECK(!memcmp(whole, packet + header, payload));
}

int main(void)
{
	static const size_t payloads[] = {1, 8, 1232, 1256, 1257, 1264, 1480, 2512, 8204, 65508};

	for (size_t i = 0; i < sizeof(payloads) / sizeof(payloads[0]); i++) {
		fragmented(true, payloads[i] > 65515 ? 65515 : payloads[i]);
		fragmented(false, payloads[i]);
	}
	return 0;
}
