/* SPDX-License-Identifier: Apache-2.0 */
/* udp_cold.c - see udp_cold.h. */
#define _GNU_SOURCE
#include "core/udp/cold.h"
#include "core/udp/renew.h"
#include "engine/flows/udp_cold.h"

/* Of one whose client has rested for longer than others, nobody waits for that before the takeover. */
static void begin_again(struct ftt_worker *w, struct ftt_udp_session *u, bool fresh, uint64_t now_ns)
{
	while (u->replies) /* of a server that has died since */
		ftt_udp_free_reply(u);
	ftt_udp_drop_last(u);
	for (uint32_t i = 0; i < FTT_UDP_WINDOW; i++) /* what came behind a gap: the client has no answer to it */
		ftt_udp_free_event(u, i);
	ftt_session_begin_again(&u->s);
	if (!fresh)
		ftt_session_caught_up(&u->s);
	ftt_udp_update(&w->udp, u);
	u->log->at = 0;
	u->log->left = u->s.events;
	u->log->moved_ns = now_ns;
	u->log->burst.given = 0;
	u->log->rests = true;
	ftt_list_remove(&u->due);
	ftt_list_add(&u->due, w->udp.due.prev); /* the most recently active one is the first */
	w->udp.waiting++;
}

void ftt_udp_promote(struct ftt_worker *w, bool again, uint64_t now_ns)
{
	struct ftt_udp_session *u = ftt_udp_next(&w->udp, NULL), *next;
	uint64_t latest_ns = u ? u->s.last_ns : 0;

	w->udp.promoted_ns = now_ns;
	for (; u; u = next) {
		next = ftt_udp_next(&w->udp, u);
		if (u->role != w->udp.role || !ftt_udp_notes(u) || (u->s.protection == FTT_CATCHING_UP && !again)) /* not all is here */
			ftt_udp_forget(w, u);
		else
			begin_again(w, u, u->s.last_ns + FTT_UDP_FRESH_NS >= latest_ns, now_ns);
	}
}

bool ftt_udp_is_promoted(const struct ftt_worker *w, uint64_t now_ns)
{
	return !w->udp.count[FTT_CATCHING_UP] || ftt_renewal_stalls(w->udp.promoted_ns, now_ns); /* clients of others wait as well */
}

static void part_on_primary(struct ftt_worker *w, struct ftt_udp_session *u, uint64_t now_ns)
{
	struct ftt_udp_session *heard = ftt_udp_heard(w, &u->key, now_ns);

	if (!heard)
		return;
	ftt_udp_log_end(w, heard, FTT_BEFORE_CHECKPOINT);
	if (ftt_session_is_numbered(&heard->s))
		ftt_session_detach(&heard->s, FTT_WHY_BEFORE_CHECKPOINT); /* the next tick asks for it */
	ftt_udp_update(&w->udp, heard);
}

void ftt_udp_checkpoint(struct ftt_worker *w, uint64_t now_ns)
{
	struct ftt_udp_session *u = ftt_udp_next(&w->udp, NULL), *next;

	for (; u; u = next) {
		next = ftt_udp_next(&w->udp, u);
		if (ftt_flow_emits((uint8_t)w->mode))
			part_on_primary(w, u, now_ns);
		else
			ftt_udp_backup_give_up(w, u, FTT_REC_BEFORE);
	}
}
