/* SPDX-License-Identifier: Apache-2.0 */
/* udp_role.c - what a new role makes of sessions, and which of them somebody speaks in; see udp.h. */
#define _GNU_SOURCE
#include <string.h>
#include "engine/flows/checkpoint.h"
#include "engine/flows/role.h"
#include "engine/flows/udp_log.h"

static void go_solo(struct ftt_worker *w, struct ftt_udp_session *u, uint64_t now_ns)
{
	uint32_t acked = u->s.acked;

	if (!ftt_session_is_numbered(&u->s))
		return;
	ftt_session_alone(&u->s, false);
	ftt_udp_update(&w->udp, u);
	ftt_udp_free_acked(u, acked);
	ftt_udp_primary_release(w, u, now_ns);
}

static void take_over(struct ftt_worker *w, struct ftt_udp_session *u, uint64_t now_ns)
{
	ftt_session_alone(&u->s, true);
	ftt_udp_update(&w->udp, u);
	w->role_flows++;
	ftt_udp_backup_take_over(w, u, now_ns);
}

bool ftt_udp_knows(struct ftt_worker *w, struct ftt_udp_session *u, uint16_t port)
{
	bool numbered = ftt_session_is_numbered(&u->s);

	if ((!numbered && u->s.acked != u->s.events) || !ftt_udp_forgot_port(w, u, port))
		return true; /* or its event waits for its turn */
	ftt_udp_log_end(w, u, FTT_MANY_PORTS);
	if (numbered && u->s.protection != FTT_DETACHING) {
		ftt_session_detach(&u->s, FTT_WHY_UNSUPPORTED); /* the next tick asks for it */
		ftt_udp_update(&w->udp, u);
	}
	return !u->s.followed;
}

/* Our server is given a datagram of a session that nobody follows. */
static void note(struct ftt_worker *w, struct ftt_udp_session *u, const uint8_t *payload, uint32_t len, uint16_t port)
{
	struct ftt_noted x = {.outputs = u->s.outputs + u->s.missing, .len = (uint16_t)len, .port = port, .bytes = payload};

	if (!ftt_udp_notes(u))
		return;
	if (!payload || len > FTT_NOTED_MOST)
		ftt_udp_log_end(w, u, payload ? FTT_LOG_TOO_LONG : FTT_LOG_GAP);
	else if (ftt_udp_note(w, u, &x))
		ftt_session_note(&u->s);
}

/* As ftt_flows_now(). */
static bool carry_out(struct ftt_worker *w, struct ftt_udp_session *u, uint64_t now_ns)
{
	if (!ftt_flow_emits((uint8_t)w->mode)) {
		ftt_udp_forget(w, u);
		return false;
	}
	if (u->s.protection == FTT_CATCHING_UP) { /* it has not come to where the client is */
		ftt_udp_forget(w, u);
		return false;
	}
	u->role = w->udp.role;
	ftt_list_remove(&u->order);
	ftt_list_add(&u->order, w->udp.order.prev);
	(w->takes_over ? take_over : go_solo)(w, u, now_ns);
	return true;
}

void ftt_udp_new_role(struct ftt_udp_table *t)
{
	t->role++;
	ftt_list_move(&t->order, &t->rest);
}

bool ftt_udp_rest(struct ftt_worker *w, unsigned most, uint64_t now_ns)
{
	for (; !ftt_list_empty(&w->udp.rest); most--) {
		if (!most)
			return false;
		carry_out(w, FTT_ENTRY(w->udp.rest.next, struct ftt_udp_session, order), now_ns);
	}
	return true;
}

void ftt_udp_go_solo(struct ftt_worker *w, uint64_t now_ns)
{
	for (struct ftt_list *at = w->udp.due.next; at != &w->udp.due; at = at->next)
		carry_out(w, FTT_ENTRY(at, struct ftt_udp_session, due), now_ns);
}

struct ftt_udp_session *ftt_udp_heard(struct ftt_worker *w, const struct ftt_key *key, uint64_t now_ns)
{
	struct ftt_udp_session *u = ftt_udp_find(&w->udp, key);
	uint32_t recent = (uint32_t)(now_ns >> FTT_RECENT_SHIFT);

	if (!u || (u->role != w->udp.role && !carry_out(w, u, now_ns)))
		return NULL;
	if (ftt_list_empty(&u->due))
		ftt_list_add(&u->due, &w->udp.due);
	if (u->recent != recent) {
		u->recent = recent;
		ftt_list_remove(&u->order);
		ftt_list_add(&u->order, &w->udp.order);
	}
	return u;
}

struct ftt_udp_session *ftt_udp_begin(struct ftt_worker *w, const struct ftt_key *key, uint32_t start, uint64_t now_ns)
{
	struct ftt_env env = ftt_worker_env(w, now_ns);
	struct ftt_udp_session *u;

	if (!ftt_session_admitted(w->udp.n, &env) && !ftt_flow_emits((uint8_t)w->mode))
		ftt_udp_rest(w, 1, now_ns); /* what is to be forgotten anyway makes room */
	env.behind = ftt_checkpoint_awaited(w) ? FTT_WHY_BEFORE_CHECKPOINT : FTT_WHY_NONE;
	if ((u = ftt_udp_add(w, key, start, now_ns))) {
		ftt_session_begin(&u->s, &env);
		ftt_udp_update(&w->udp, u);
		ftt_udp_log_begin(w, u);
	}
	return u;
}

struct ftt_udp_session *ftt_udp_called(struct ftt_worker *w, const struct ftt_key *key, uint16_t port, uint64_t now_ns)
{
	struct ftt_udp_session *u = ftt_udp_heard(w, key, now_ns);

	if (!u && !ftt_udp_new_port(w, NULL, 0, port))
		u = ftt_udp_begin(w, key, ++w->udp.next_start, now_ns);
	return u;
}

bool ftt_udp_said(struct ftt_worker *w, struct ftt_udp_session *u, const uint8_t *payload, uint32_t len, uint16_t port,
		  uint64_t now_ns)
{
	ftt_session_called(&u->s, now_ns);
	u->bytes_in += len;
	if (ftt_session_is_numbered(&u->s))
		return ftt_udp_primary_in(w, u, payload, len, port, now_ns);
	if (u->s.acked == u->s.events) {
		note(w, u, payload, len, port);
		return true;
	}
	ftt_udp_backup_later(w, u, payload, len, port, now_ns);
	return false;
}
