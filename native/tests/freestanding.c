/* SPDX-License-Identifier: Apache-2.0 */
/*
 * freestanding.c - what the core decides of a flow, as code that needs no C library and no kernel but what it is given.
 *
 * It is never run: `make freestanding` compiles it without any header of the system, and for BPF, where there is neither a
 * heap, nor a loop without an end, nor a call of anything outside.
 */
#include "core/tcp/flow.h"
#include "core/packet/icmp.h"
#include "core/tcp/pair.h"
#include "core/tcp/reset.h"
#include "core/tcp/retain.h"
#include "core/tcp/rewrite.h"
#include "core/udp/backup.h"
#include "core/udp/compare.h"
#include "core/udp/primary.h"

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
DECIDES(held, ftt_held_step(&a->flow, &a->seg, &a->env, &a->edit))
DECIDES(edited, (ftt_apply(a->bytes, &a->pkt, &a->edit, true), 0))
DECIDES(primary, ftt_primary_record(&a->flow, &a->record, &a->env))
DECIDES(opened, ftt_backup_open(&a->flow, &a->record, &a->env))
DECIDES(probed, ftt_backup_probe(&a->flow, &a->record, &a->retained))
DECIDES(output, ftt_backup_output(&a->flow, &a->record))
DECIDES(closed, ftt_backup_close(&a->flow, &a->record))
DECIDES(ticked, ftt_flow_tick(&a->flow, &a->env))
DECIDES(solo, ftt_flow_solo(&a->flow))
DECIDES(takeover, ftt_flow_takeover(&a->flow, &a->env))
DECIDES(resetting, ftt_reset_step(&a->flow, &a->seg, &a->env))
DECIDES(replies, ftt_session_holds(&a->session, 1, false, &a->env))
DECIDES(session_told, ftt_session_record(&a->session, &a->record))
DECIDES(session_ticked, ftt_session_tick(&a->session, &a->waits, false, &a->env))
DECIDES(turn, ftt_session_turn(&a->session, 1, 2, 3, 4, &a->env))
DECIDES(followed, ftt_session_follows(&a->session, true, 1, 2))
DECIDES(compared, ftt_session_compare(&a->session, &a->record, a->env.policy))
DECIDES(alone, ftt_session_speaks_alone(&a->session, &a->env))
