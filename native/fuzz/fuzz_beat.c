/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Datagrams as heartbeats: raw, and with a right MAC put under them, since no fuzzer finds that by
 * itself. What is decoded must encode to the same bytes; what is admitted once must not be again.
 */
#include <stdlib.h>
#include <string.h>
#include "core/records/beat_wire.h"

static const uint8_t key[32] = {42};
static uint32_t key_id;

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	if (sodium_init() < 0)
		abort();
	key_id = ftt_beat_key_id(key);
	return 0;
}

static void check_decoded(const uint8_t *bytes, size_t size, struct ftt_beat_peer *peer)
{
	uint8_t again[FTT_BEAT_MAX], sections[FTT_BEAT_SECTIONS_MAX];
	uint8_t *opened = malloc(size ? size : 1); /* of its own: a read beyond its end is seen */
	struct ftt_beat_section s;
	struct ftt_beat_msg m;
	size_t at = 0, len = 0;
	enum ftt_beat_news news;

	if (!opened)
		abort();
	memcpy(opened, bytes, size);
	if (ftt_beat_decode(opened, size, key, key_id, &m)) {
		free(opened);
		return;
	}
	while (ftt_beat_get_section(m.sections, m.sections_len, &at, &s))
		if (!ftt_beat_put_section(sections, sizeof(sections), &len, &s))
			abort();
	if (len != m.sections_len)
		abort();
	m.sections = sections;
	if (ftt_beat_encode(again, sizeof(again), &m, key) != size || memcmp(again, bytes, size) != 0)
		abort();
	(void)ftt_beat_check_place(&m, 1, 2, 3);
	news = ftt_beat_admit(peer, &m, 3, size & 1);
	if (news != FTT_BEAT_UNPROVEN && ftt_beat_admit(peer, &m, 3, size & 1) != FTT_BEAT_REPLAY)
		abort();
	if ((news == FTT_BEAT_NEWEST || news == FTT_BEAT_NEW_BOOT) &&
	    (peer->boot_id != m.boot_id || peer->counter != m.counter))
		abort();
	free(opened);
}

/* Data: any number of (length u16, bytes). Each is tried as it is, then with key id and MAC made right. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct ftt_beat_peer peer = {0};

	while (size >= 2) {
		size_t len = get_be16(data) % (FTT_BEAT_MAX + 2);
		uint8_t *bytes;

		data += 2;
		size -= 2;
		len = len < size ? len : size;
		bytes = malloc(len ? len : 1); /* of its own, so that a read beyond its end is seen */
		if (!bytes)
			abort();
		memcpy(bytes, data, len);
		check_decoded(bytes, len, &peer);
		if (len >= FTT_BEAT_MIN) {
			put_be32(bytes + 8, key_id);
			ftt_beat_seal(bytes, len - FTT_BEAT_HEADER - FTT_BEAT_MAC, key);
			check_decoded(bytes, len, &peer);
		}
		free(bytes);
		data += len;
		size -= len;
	}
	return 0;
}
