/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/liveness/mirror.h"
#include "core/records/mirror_probe.h"

static void tell(struct ftt_engine *e, const struct ftt_event *ev)
{
	bool news;

	pthread_mutex_lock(&e->probes_lock);
	news = ftt_probe_news(&e->probes, ev->value, ftt_now_ns());
	pthread_mutex_unlock(&e->probes_lock);
	if (news)
		ftt_event_post(e, ev);
}

bool ftt_mirror_datagram(struct ftt_engine *e, struct ftt_channel *c)
{
	struct ftt_event ev = {.kind = FTT_EV_MIRROR_SEEN};
	uint8_t next[FTT_PROBE_DATAGRAM] = {0};
	struct ftt_keys keys;
	uint32_t generation = 0;
	bool ours;

	if (!ftt_keyring_follow(&e->keyring, &generation, &keys))
		return false;
	ours = ftt_mirror_probe_read(c->odd + FTT_PROBE_PAD, e->cfg.cluster_id, &keys, &ev.value);
	if (ours && ftt_mirror_probe_next(next + FTT_PROBE_PAD, e->cfg.cluster_id, ev.value, &keys)) {
		ftt_channel_answer(c, next, sizeof(next));
	} else if (ours && ev.value >> FTT_PROBE_WAY_SHIFT == FTT_PROBE_LAST_WAY) {
		ev.value &= (UINT64_C(1) << FTT_PROBE_WAY_SHIFT) - 1;
		tell(e, &ev);
	}
	sodium_memzero(&keys, sizeof(keys));
	return ours;
}

bool ftt_mirror_probe(struct ftt_engine *e, const uint8_t *packet, uint32_t cap, const struct ftt_pkt *k)
{
	struct ftt_event ev = {.kind = FTT_EV_MIRROR_SEEN};
	struct ftt_keys keys;
	uint32_t generation = 0;
	bool ours;

	if (k->sport != e->cfg.channel_port || k->payload_len != FTT_MIRROR_PROBE || k->payload + FTT_MIRROR_PROBE > cap)
		return false;
	if (!ftt_keyring_follow(&e->keyring, &generation, &keys))
		return false;
	ours = ftt_mirror_probe_read(packet + k->payload, e->cfg.cluster_id, &keys, &ev.value);
	sodium_memzero(&keys, sizeof(keys));
	if (ours)
		tell(e, &ev);
	return ours;
}
