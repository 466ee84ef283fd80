/* SPDX-License-Identifier: Apache-2.0 */
/* core_api.c - the inline core as functions; see core_api.h. */
#include <stdlib.h>
#include "core/records/mac.h"
#include "engine/api/core_api.h"
#include "engine/engine.h"
#include "engine/liveness/mirror.h"

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

uint32_t ftt_core_crc32c(uint32_t crc, const uint8_t *p, size_t n)
{
	return ftt_crc32c(crc, p, n);
}

void ftt_core_channel_mac(uint8_t *mac, const uint8_t *bytes, size_t len, const uint8_t *key)
{
	ftt_channel_mac(mac, bytes, len, key);
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

void ftt_core_unprotect(struct ftt_flow *f, uint8_t reason)
{
	ftt_flow_unprotect(f, reason);
}

uint32_t ftt_core_segment_step(struct ftt_flow *f, const struct ftt_seg *s, const struct ftt_env *env,
			       struct ftt_edit *e)
{
	return ftt_segment_step(f, s, env, e);
}

uint32_t ftt_core_gate(struct ftt_flow *f, const struct ftt_seg *s, const struct ftt_env *env, struct ftt_edit *e)
{
	return ftt_held_step(f, s, env, e);
}

uint32_t ftt_core_primary_record(struct ftt_flow *f, const struct ftt_record *r, const struct ftt_env *env)
{
	return ftt_primary_record(f, r, env);
}

void ftt_core_open_tell(struct ftt_flow *f, struct ftt_record *r, const struct ftt_env *env)
{
	ftt_open_tell(f, r, env);
}

void ftt_core_commit_tell(struct ftt_flow *f, struct ftt_record *r)
{
	ftt_commit_tell(f, r);
}

void ftt_core_flow_tell(const struct ftt_flow *f, struct ftt_record *r)
{
	ftt_flow_tell(f, r);
}

uint32_t ftt_core_backup_probe(struct ftt_flow *f, const struct ftt_record *r, const struct ftt_retained *kept)
{
	return ftt_backup_probe(f, r, kept);
}

uint32_t ftt_core_backup_output(struct ftt_flow *f, const struct ftt_record *r)
{
	return ftt_backup_output(f, r);
}

bool ftt_core_end_held(const struct ftt_flow *f)
{
	return ftt_end_held(f);
}

uint32_t ftt_core_backup_close(struct ftt_flow *f, const struct ftt_record *r)
{
	return ftt_backup_close(f, r);
}

uint32_t ftt_core_backup_discard(struct ftt_flow *f, const struct ftt_record *r)
{
	return ftt_backup_discard(f, r);
}

uint32_t ftt_core_backup_open(struct ftt_flow *f, const struct ftt_record *r, const struct ftt_env *env)
{
	return ftt_backup_open(f, r, env);
}

uint32_t ftt_core_closed_takeover(const struct ftt_flow *f, const struct ftt_env *env)
{
	return ftt_closed_takeover(f, env);
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

uint32_t ftt_core_flow_part(struct ftt_flow *f, const struct ftt_env *env)
{
	return ftt_flow_part(f, env);
}

uint32_t ftt_core_flow_detach(struct ftt_flow *f, uint8_t reason, uint64_t now_ns)
{
	return ftt_flow_detach(f, reason, now_ns);
}

bool ftt_core_flow_waits(const struct ftt_flow *f)
{
	return ftt_flow_waits(f);
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

size_t ftt_core_build_ask(struct ftt_flow *f, const struct ftt_key *key, uint8_t mode, uint8_t *out)
{
	struct ftt_bare b;

	ftt_bare_ask(f, key, mode, &b);
	return ftt_build_bare(out, &b);
}

size_t ftt_core_build_nudge(struct ftt_flow *f, const struct ftt_key *key, uint8_t *out)
{
	struct ftt_bare b;

	ftt_bare_nudge(f, key, &b);
	return ftt_build_bare(out, &b);
}

size_t ftt_core_build_fin(struct ftt_flow *f, const struct ftt_key *key, uint8_t mode, uint8_t *out)
{
	struct ftt_bare b;

	ftt_bare_fin(f, key, mode, &b);
	return ftt_build_bare(out, &b);
}

size_t ftt_core_build_data(struct ftt_flow *f, const struct ftt_key *key, uint8_t mode, uint32_t seq,
			   const uint8_t *payload, uint32_t len, uint64_t now_ns, uint8_t *out)
{
	struct ftt_bare b;

	ftt_bare_data(f, key, mode, seq, len, now_ns, &b);
	return ftt_build_segment(out, &b, payload, len);
}

uint32_t ftt_core_retained_add(struct ftt_retained *r, uint32_t acked, uint32_t seq, uint32_t len)
{
	return ftt_retained_add(r, acked, seq, len, FTT_RETAIN_MAX);
}

uint32_t ftt_core_retained_ack(struct ftt_retained *r, uint32_t acked)
{
	return ftt_retained_ack(r, acked);
}

uint32_t ftt_core_retained_begin(struct ftt_retained *r, const struct ftt_flow *f, uint64_t now_ns)
{
	return ftt_retained_begin(r, f, now_ns);
}

uint32_t ftt_core_retained_more(struct ftt_retained *r, const struct ftt_flow *f, const struct ftt_seg *s, uint32_t gone,
				uint64_t now_ns)
{
	return ftt_retained_more(r, f, s, gone, now_ns);
}

uint32_t ftt_core_retained_tick(struct ftt_retained *r, const struct ftt_flow *f, uint64_t now_ns)
{
	return ftt_retained_tick(r, f, now_ns);
}

void ftt_core_retained_limit(struct ftt_retained *r, const struct ftt_flow *f, const struct ftt_seg *s, struct ftt_edit *e)
{
	ftt_retained_limit(r, f, s, e);
}

bool ftt_core_retained_superseded(const struct ftt_retained *r, uint32_t seq, uint64_t now_ns)
{
	return ftt_retained_superseded(r, seq, now_ns);
}

void ftt_core_retained_stop(struct ftt_retained *r)
{
	ftt_retained_stop(r);
}

size_t ftt_core_build_reset(const struct ftt_key *key, uint32_t rcv_nxt, uint8_t *out)
{
	struct ftt_bare b;

	ftt_bare_reset_stack(key, rcv_nxt, &b);
	return ftt_build_bare(out, &b);
}

size_t ftt_core_build_ask_place(const struct ftt_flow *f, const struct ftt_key *key, uint8_t *out)
{
	struct ftt_bare b;

	ftt_bare_ask_place(f, key, &b);
	return ftt_build_bare(out, &b);
}

size_t ftt_core_build_reset_client(const struct ftt_key *key, uint32_t ack, uint8_t *out)
{
	struct ftt_bare b;

	ftt_bare_reset_client(key, ack, &b);
	return ftt_build_bare(out, &b);
}

/* --- flows that are over ------------------------------------------------------------------------------ */

bool ftt_core_detached_step(struct ftt_flow *f, const struct ftt_seg *s, const struct ftt_env *env)
{
	return ftt_detached_step(f, s, env);
}

void ftt_core_stranger_init(struct ftt_flow *f, const struct ftt_seg *s, const struct ftt_env *env)
{
	ftt_stranger_init(f, s, env);
}

uint32_t ftt_core_reset_begin(struct ftt_flow *f, const struct ftt_env *env)
{
	return ftt_reset_begin(f, env);
}

uint32_t ftt_core_reset_tick(struct ftt_flow *f, const struct ftt_env *env)
{
	return ftt_reset_tick(f, env);
}

uint32_t ftt_core_reset_step(struct ftt_flow *f, const struct ftt_seg *s, const struct ftt_env *env)
{
	return ftt_reset_step(f, s, env);
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

uint32_t ftt_core_output_judge(struct ftt_flow *f, uint32_t at, uint32_t ours, uint32_t theirs)
{
	return ftt_output_judge(f, at, ours, theirs);
}

bool ftt_core_output_tell(struct ftt_flow *f, uint32_t at)
{
	return ftt_output_tell(f, at);
}

bool ftt_core_answers_stray(const struct ftt_flow *f, const struct ftt_seg *s)
{
	return ftt_answers_stray(f, s);
}

bool ftt_core_output_leaves(struct ftt_flow *f, uint32_t at)
{
	return ftt_output_leaves(f, at);
}

bool ftt_core_output_settle(struct ftt_flow *f, uint32_t seen, uint64_t now_ns)
{
	return ftt_output_settle(f, seen, now_ns);
}

bool ftt_core_output_continues(const struct ftt_flow *f)
{
	return ftt_output_continues(f);
}

bool ftt_core_output_covered(const struct ftt_flow *f)
{
	return ftt_output_covered(f);
}

bool ftt_core_output_done(struct ftt_flow *f)
{
	return ftt_output_done(f);
}

uint32_t ftt_core_output_end(const struct ftt_flow *f)
{
	return ftt_output_end(f);
}

uint32_t ftt_core_output_acked(const struct ftt_flow *f)
{
	return ftt_output_acked(f);
}

bool ftt_core_flow_hopeless(struct ftt_flow *f, const struct ftt_env *env)
{
	return ftt_flow_hopeless(f, env);
}

bool ftt_core_is_last_word(const struct ftt_flow *f, const struct ftt_seg *s, const struct ftt_env *env)
{
	return ftt_is_last_word(f, s, env);
}

/* --- beside an engine without workers ----------------------------------------------------------------- */

void ftt_core_role(struct ftt_engine *e, struct ftt_core_role *out)
{
	struct ftt_shared *sh = &e->shared;

	/* generation first: a change in between is then seen again, never missed */
	out->generation = atomic_load(&sh->generation);
	out->session = atomic_load(&sh->session);
	out->partner = atomic_load(&sh->partner);
	out->commit_session = atomic_load(&sh->commit_session[out->partner]);
	out->mode = atomic_load(&sh->mode);
	out->vouched = atomic_load(&sh->vouched);
}

bool ftt_core_may_emit(struct ftt_engine *e, uint64_t now_ns)
{
	return ftt_may_emit(&e->shared, now_ns);
}

bool ftt_core_server_gone(struct ftt_engine *e, uint64_t now_ns)
{
	return ftt_server_gone(e, now_ns);
}

bool ftt_core_mirror_probe(struct ftt_engine *e, const uint8_t *packet, uint32_t cap, const struct ftt_pkt *k)
{
	return ftt_mirror_probe(e, packet, cap, k);
}

bool ftt_core_watches(const struct ftt_engine *e)
{
	return e->n_lives;
}

void ftt_core_post(struct ftt_engine *e, const struct ftt_event *ev)
{
	ftt_event_post(e, ev);
}

void ftt_core_role_done(struct ftt_engine *e, uint32_t flows, uint64_t generation)
{
	ftt_engine_role_done(e, flows, generation);
}
