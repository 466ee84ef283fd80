/* SPDX-License-Identifier: Apache-2.0 */
/*
 * freestanding.c - what the core decides of a packet, a record and a tick, as code for BPF: there is neither a heap, nor a
 * loop without an end, nor a call of anything outside.
 *
 * It is never run: `make freestanding` compiles it, and all functions of the core without any header of the system.
 */
#include "core/history.h"
#include "core/lease.h"
#include "core/packet/icmp.h"
#include "core/tcp/age.h"
#include "core/tcp/catching.h"
#include "core/tcp/cold.h"
#include "core/tcp/flow.h"
#include "core/tcp/heed.h"
#include "core/tcp/hold.h"
#include "core/tcp/opened.h"
#include "core/tcp/pair.h"
#include "core/tcp/renew.h"
#include "core/tcp/reset.h"
#include "core/tcp/retain.h"
#include "core/tcp/rewrite.h"
#include "core/tcp/say.h"
#include "core/tcp/taken.h"
#include "core/tcp/unheld.h"
#include "core/udp/backup.h"
#include "core/udp/compare.h"
#include "core/udp/primary.h"
#include "core/udp/renew.h"
#include "core/udp/stray.h"

struct all {
	struct ftt_flow flow;
	struct ftt_session session;
	struct ftt_session_waits waits;
	struct ftt_seg seg;
	struct ftt_pkt pkt;
	struct ftt_quote quote;
	struct ftt_edit edit;
	struct ftt_record record;
	struct ftt_retained retained;
	struct ftt_log log;
	struct ftt_piece piece;
	struct ftt_lease lease;
	struct ftt_compared compared;
	struct ftt_burst burst;
	struct ftt_catching catching;
	struct ftt_pace pace;
	struct ftt_caught caught;
	struct ftt_renew_again again;
	enum ftt_unrenewable why;
	struct ftt_key key;
	struct ftt_bare bare;
	struct ftt_env env;
	uint8_t bytes[128];
};

#define DECIDES(name, what) \
	uint32_t name(struct all *a); \
	uint32_t name(struct all *a) { return (uint32_t)(what); }

DECIDES(parse, ftt_parse(a->bytes, sizeof(a->bytes), sizeof(a->bytes), &a->pkt, &a->seg))
DECIDES(quoted, ftt_parse_quote(a->bytes, sizeof(a->bytes), &a->pkt, &a->quote))
DECIDES(told, ftt_record_get(a->bytes, sizeof(a->bytes), &a->record))
DECIDES(segment, ftt_segment_step(&a->flow, &a->seg, &a->env, &a->edit))
DECIDES(held, ftt_held_step(&a->flow, &a->seg, &(struct ftt_places){0}, &a->env, &a->edit))
DECIDES(edited, (ftt_apply(a->bytes, &a->pkt, &a->edit, true), 0))
DECIDES(signed_well, ftt_signed_well(&a->flow, &a->seg, true))
DECIDES(primary, ftt_primary_record(&a->flow, &a->record, &a->env))
DECIDES(opened, ftt_backup_open(&a->flow, &a->record, &a->env))
DECIDES(probed, ftt_backup_probe(&a->flow, &a->record, &a->retained))
DECIDES(output, ftt_backup_output(&a->flow, &a->record))
DECIDES(closed, ftt_backup_close(&a->flow, &a->record))
DECIDES(ticked, ftt_flow_tick(&a->flow, &a->env))
DECIDES(solo, ftt_flow_solo(&a->flow))
DECIDES(takeover, ftt_flow_takeover(&a->flow, &a->env))
DECIDES(fate, ftt_flow_fate(&a->flow, &a->compared, &a->env))
DECIDES(opened_fate, ftt_opened_fate(&a->flow, true, false))
DECIDES(heeded, ftt_backup_heeds(&a->flow, a->record.type))
DECIDES(resetting, ftt_reset_step(&a->flow, &a->seg, &a->env))
DECIDES(replies, ftt_session_holds(&a->session, (struct ftt_places){.input = 1}, false, &a->env))
DECIDES(session_told, ftt_session_record(&a->session, &a->record))
DECIDES(session_ticked, ftt_session_tick(&a->session, &a->waits, false, &a->env))
DECIDES(turn, ftt_session_turn(&a->session, 1, 2, 3, 4, &a->env))
DECIDES(followed, ftt_session_follows(&a->session, true, 1, 2))
DECIDES(compared, ftt_session_compare(&a->session, &a->record, a->env.policy))
DECIDES(alone, ftt_session_speaks_alone(&a->session, &a->env))
DECIDES(said, ftt_flow_says(&a->flow, &a->key, FTT_SAY_NUDGE, &a->env, &a->bare))
DECIDES(unheld, ftt_unheld_step(&a->flow, &a->seg, &a->env, &a->edit))
DECIDES(unheld_segment, ftt_unheld_segment(&a->flow, &a->seg, &a->env, &a->edit))
DECIDES(unheld_waits, ftt_unheld_waits(&a->flow, &a->env))
DECIDES(unheld_released, ftt_unheld_release(&a->flow, &a->env))
DECIDES(overflows, ftt_flow_overflows(&a->flow, &a->seg, false, &a->env))
DECIDES(waited, ftt_held_enough(&a->seg, 1, &a->env))
DECIDES(aged, ftt_age_idle_ns(ftt_flow_age(&a->flow, false, a->env.mode), &a->env))
DECIDES(asked, ftt_opened_ask(&a->flow, &a->seg, &a->env))
DECIDES(answered, (ftt_opened_answered(&a->flow, &a->seg), 0))
DECIDES(renewed, ftt_renew_commit(&a->flow, &a->record))
DECIDES(renewed_wholly, ftt_renew_hold(&a->flow, true, 1, 2, a->env.now_ns))
DECIDES(catching, ftt_catching_tick(&a->flow, &a->retained, &a->catching, &a->pace, &a->env, &a->why))
DECIDES(caught, ftt_caught_tick(&a->flow, &a->caught, &a->env))
DECIDES(again, ftt_again_due(&a->again, a->env.now_ns))
DECIDES(renewal_told, ftt_renew_take(&a->flow, &a->record))
DECIDES(cold_opened, ftt_cold_open(&a->flow, &a->record, &a->env))
DECIDES(cold_kept, ftt_cold_keeps(&a->flow, &a->log))
DECIDES(cold_reached, ftt_cold_reached(&a->flow, &a->record, 1))
DECIDES(log_room, ftt_log_room_for(1, 2, 3, 4, true, a->env.policy, &a->record.seq))
DECIDES(log_block, ftt_log_block(&a->log, 1).len)
DECIDES(history_room, ftt_history_may_grow(1, 2, a->env.policy))
DECIDES(retain_room, ftt_store_size(1, 2, 3, a->env.policy))
DECIDES(opening, ftt_opening_fate(&a->flow, true, 1, &a->env))
DECIDES(stray, ftt_stray_of_peer(&a->record, true, false, &a->env))
DECIDES(stray_kept, ftt_stray_kept(true, 1, &a->env))
DECIDES(logged, ftt_log_growth(&a->log, &a->piece, false))
DECIDES(granted, (ftt_lease_grant(&a->lease, 1, 2, a->env.now_ns), 0))
DECIDES(lease_out, ftt_lease_ran_out(&a->lease, a->env.now_ns))
DECIDES(burst, ftt_burst_takes(&a->burst, 1, a->env.now_ns))
DECIDES(session_renewed, ftt_session_gets_on(&a->session, &a->record))
