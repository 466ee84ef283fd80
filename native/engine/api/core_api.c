/* SPDX-License-Identifier: Apache-2.0 */
/* core_api.c - the inline core as functions; see core_api.h. */
#include "engine/api/core_api.h"

/* --- packets ----------------------------------------------------------------------------------- */

uint32_t ftt_core_parse(const uint8_t *p, uint32_t cap, uint32_t len, struct ftt_pkt *k, struct ftt_seg *s)
{
	return ftt_parse(p, cap, len, k, s);
}

uint32_t ftt_core_length(const uint8_t *p, uint32_t cap)
{
	if (cap >= 20 && p[0] >> 4 == 4)
		return get_be16(p + 2);
	if (cap >= 40 && p[0] >> 4 == 6)
		return 40u + get_be16(p + 4);
	return 0;
}

void ftt_core_key(const struct ftt_pkt *k, bool from_client, struct ftt_key *key)
{
	ftt_key_of(key, k, from_client);
}

bool ftt_core_sum_ok(const uint8_t *p, const struct ftt_pkt *k)
{
	return ftt_l4_sum(p, k) == 0xffff;
}

void ftt_core_apply(uint8_t *p, const struct ftt_pkt *k, const struct ftt_edit *e, bool csum_ready)
{
	ftt_apply(p, k, e, csum_ready);
}

uint32_t ftt_core_judge(const struct ftt_place *at, const struct ftt_seg *s)
{
	return ftt_judge(at, s);
}

/* --- flows --------------------------------------------------------------------------------------- */

void ftt_core_flow_init(struct ftt_flow *f, uint32_t irs, uint64_t now_ns)
{
	ftt_flow_init(f, irs, now_ns);
}

uint32_t ftt_core_segment_step(struct ftt_flow *f, const struct ftt_seg *s, const struct ftt_env *env,
			       struct ftt_edit *e)
{
	return ftt_segment_step(f, s, env, e);
}

uint32_t ftt_core_gate(struct ftt_flow *f, const struct ftt_seg *s, const struct ftt_env *env, struct ftt_edit *e)
{
	struct ftt_places after = ftt_segment_after(f, s, env);

	return ftt_held_step(f, s, &after, env, e);
}

uint32_t ftt_core_primary_record(struct ftt_flow *f, const struct ftt_record *r, const struct ftt_env *env)
{
	return ftt_primary_record(f, r, env);
}

uint32_t ftt_core_backup_probe(struct ftt_flow *f, const struct ftt_record *r, const struct ftt_retained *kept)
{
	return ftt_backup_probe(f, r, kept);
}

uint32_t ftt_core_backup_output(struct ftt_flow *f, const struct ftt_record *r)
{
	return ftt_backup_output(f, r);
}

uint32_t ftt_core_backup_discard(struct ftt_flow *f, const struct ftt_record *r)
{
	return ftt_backup_discard(f, r);
}

uint32_t ftt_core_backup_open(struct ftt_flow *f, const struct ftt_record *r, const struct ftt_env *env)
{
	return ftt_backup_open(f, r, env);
}

uint32_t ftt_core_flow_tick(struct ftt_flow *f, const struct ftt_env *env)
{
	return ftt_flow_tick(f, env);
}

uint32_t ftt_core_flow_takeover(struct ftt_flow *f, const struct ftt_env *env)
{
	return ftt_flow_takeover(f, env);
}

uint32_t ftt_core_flow_solo(struct ftt_flow *f)
{
	return ftt_flow_solo(f);
}

uint32_t ftt_core_flow_detach(struct ftt_flow *f, uint8_t reason, uint64_t now_ns)
{
	return ftt_flow_detach(f, reason, now_ns);
}

/* --- segments of our own -------------------------------------------------------------------------- */

size_t ftt_core_build_for_stack(struct ftt_flow *f, const struct ftt_retained *r, const struct ftt_key *key, uint8_t mode,
				uint8_t *out)
{
	struct ftt_bare b;

	ftt_bare_for_stack(f, key, ftt_flow_delivers(f, mode), &b);
	b.wnd = ftt_retained_wnd(r, f, b.wnd);
	return ftt_build_bare(out, &b);
}

size_t ftt_core_build_for_client(struct ftt_flow *f, const struct ftt_key *key, uint8_t mode, uint8_t *out)
{
	struct ftt_bare b;

	ftt_bare_for_client(f, key, mode, &b);
	return ftt_build_bare(out, &b);
}

size_t ftt_core_build_nudge(struct ftt_flow *f, const struct ftt_key *key, uint8_t *out)
{
	struct ftt_bare b;

	ftt_bare_nudge(f, key, &b);
	return ftt_build_bare(out, &b);
}

/* --- records, comparison ---------------------------------------------------------------------------- */

size_t ftt_core_record_put(uint8_t *p, size_t room, const struct ftt_record *r)
{
	return ftt_record_put(p, room, r);
}

size_t ftt_core_record_get(const uint8_t *p, size_t room, struct ftt_record *r)
{
	return ftt_record_get(p, room, r);
}

bool ftt_core_replay_accept(struct ftt_replay *w, uint64_t counter)
{
	return ftt_replay_accept(w, counter);
}

bool ftt_core_answers_stray(const struct ftt_flow *f, const struct ftt_seg *s)
{
	return ftt_answers_stray(f, s);
}

/* --- histories ----------------------------------------------------------------------------------- */

void ftt_core_history_start(uint8_t *p)
{
	ftt_history_start_put(p);
}

uint32_t ftt_core_history_version(const uint8_t *p)
{
	return ftt_history_version(p);
}

uint32_t ftt_core_history_put(uint8_t *p, uint32_t room, const struct ftt_history_event *x, uint32_t *sum)
{
	uint32_t n = ftt_history_put(p, room, x);

	if (n)
		*sum = ftt_history_seal(*sum, p);
	return n;
}

uint32_t ftt_core_history_get(const uint8_t *p, uint64_t room, uint32_t *sum, struct ftt_history_event *x, uint32_t *len)
{
	return ftt_history_get(p, room, sum, x, len);
}

uint32_t ftt_core_crc32c(uint32_t crc, const uint8_t *p, size_t n)
{
	return ftt_crc32c(crc, p, n);
}
