/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fragment.h - one packet as several that fit any link: a raw socket takes none that is larger than its own.
 *
 * IPv4: RFC 791; fragments may be taken apart again on their way. IPv6: RFC 8200 4.5.
 */
#ifndef FTTCP_FRAGMENT_H
#define FTTCP_FRAGMENT_H
#include "core/packet/mem.h"
#include "core/packet/parse.h"

#define FTT_FRAGMENT_MAX 1280u /* the least that each link of IPv6 carries; hardly a path of IPv4 has less */
#define FTT_FRAGMENT_HEADER 8u

/*
 * Writes the fragment that begins at *offset of the payload of a packet without options or extension headers to `out`
 * (FTT_FRAGMENT_MAX bytes), and moves *offset on. Returns its length, 0 at the end.
 */
static inline size_t ftt_fragment(const uint8_t *packet, size_t len, uint32_t id, size_t *offset, uint8_t *out)
{
	bool v4 = packet[0] >> 4 == 4;
	size_t header = v4 ? 20 : 40, before = v4 ? header : header + FTT_FRAGMENT_HEADER;
	size_t left = len - header - *offset, most = (FTT_FRAGMENT_MAX - before) & ~(size_t)7;
	size_t part = left < most ? left : most;
	uint16_t at = (uint16_t)(*offset / 8);
	bool more = part < left;

	if (!left)
		return 0;
	memcpy(out, packet, header);
	if (v4) {
		put_be16(out + 2, (uint16_t)(before + part));
		put_be16(out + 4, (uint16_t)id);
		put_be16(out + 6, (uint16_t)(at | (more ? 0x2000 : 0)));
		put_be16(out + 10, 0);
		put_be16(out + 10, (uint16_t)~csum_fold(csum_add(0, out, 20)));
	} else {
		put_be16(out + 4, (uint16_t)(FTT_FRAGMENT_HEADER + part));
		out[6] = 44;
		out[40] = packet[6];
		out[41] = 0;
		put_be16(out + 42, (uint16_t)(at << 3 | more));
		put_be32(out + 44, id);
	}
	memcpy(out + before, packet + header + *offset, part);
	*offset += part;
	return before + part;
}

#endif
