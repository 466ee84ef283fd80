/* SPDX-License-Identifier: Apache-2.0 */
/*
 * opens.c - connections that our server opens, on their way to a partner.
 *
 * A worker has a list of them, the oldest first. On a primary these are flows whose SYN waits for the backup's word. On a
 * backup these are of two kinds: SYNs of its own stack, which have a key that only that stack knows (FTT_SPACE_STACK); and
 * what the primary has asked about, which has the primary's key. The oldest of the one kind belongs to the oldest of the other
 * with the same destination. All to one destination is the same worker's, for the kernel's hash sees addresses only.
 *
 * Either SYN waits for the other one for opens_wait_ms. Who finds no partner: the primary lets its SYN go, unprotected. What the
 * backup was asked about it remembers for detach_after_ms more: its own server may only be the slower one, and its SYN would else
 * be taken for the next one's. Its own server is then refused, or where the primary has given up (ECONNREFUSED): one that waits for
 * a connection that it cannot have may serve nobody meanwhile.
 *
 * One that catches up waits for our server, too. A SYN is taken for that when it has waited for a little: the primary's server may have
 * opened another one, and ours was the faster one.
 *
 * A takeover lets SYNs go that wait then: their server was the faster one.
 */
#define _GNU_SOURCE
#include <string.h>
#include "core/tcp/catching.h"
#include "core/tcp/rewrite.h"
#include "core/tcp/taken.h"
#include "engine/flows/act.h"
#include "engine/flows/hold.h"
#include "engine/flows/log.h"
#include "engine/flows/opening.h"
#include "engine/flows/opens.h"
#include "engine/flows/renewal.h"

void ftt_opens_begin(struct ftt_worker *w, struct ftt_tcp *c, const struct ftt_seg *s, const struct ftt_env *env)
{
	bool backup = env->mode == FTT_MODE_BACKUP;

	ftt_opened_begin(&c->flow, s, env->now_ns);
	ftt_log_begin(w, c, NULL, 0);
	if (backup)
		ftt_opened_wait(&c->flow);
	else if (ftt_opened_ask(&c->flow, s, env) & FTT_ACT_REPORT)
		ftt_tcp_post_event(w, c, FTT_EV_UNSUPPORTED);
	if ((backup || c->flow.protection == FTT_OPENING) && !ftt_opening_add(w, c, env->now_ns))
		ftt_flow_unprotect(&c->flow, FTT_WHY_BOUND);
}

/* Our server's connection is one that it cannot have. */
static void refuse(struct ftt_worker *w, struct ftt_tcp *c)
{
	w->n.opens_alone++;
	ftt_tcp_forget(w, c, true);
}

/* Ours and what was asked about are one. */
static void pair(struct ftt_worker *w, struct ftt_tcp *own, struct ftt_tcp *asked, uint64_t now_ns)
{
	struct ftt_key key = asked->key;
	uint16_t port = own->key.local_port;
	uint8_t from = asked->peer_worker;
	struct ftt_flow told = asked->flow;
	bool again = told.protection == FTT_CATCHING_UP;
	uint32_t actions;

	if (told.protection == FTT_DETACHED || (again && !ftt_renewal(asked))) { /* the primary goes on without us */
		ftt_opening_leave(w, asked);
		refuse(w, own);
		return;
	}
	if (again)
		ftt_renewal_move(w, own, asked);
	ftt_tcp_forget(w, asked, false);
	ftt_opening_leave(w, own);
	if (!ftt_table_pair(&w->table, own, &key)) {
		refuse(w, own);
		return;
	}
	own->peer_worker = from;
	actions = ftt_opened_join(&own->flow, &told, port, key.local_port);
	ftt_tcp_drop_held(w, own);
	ftt_tcp_act(w, own, actions, now_ns);
	if (own->flow.protection == FTT_CATCHING_UP)
		ftt_opens_answer(w, own, now_ns);
}

void ftt_opens_begun(struct ftt_worker *w, struct ftt_tcp *c, uint64_t now_ns)
{
	struct ftt_tcp *asked;

	if (c->flow.protection == FTT_OPENING)
		ftt_tcp_act(w, c, FTT_ACT_OPEN, now_ns);
	else if (ftt_opening_own(c) && c->flow.protection != FTT_NEW) /* there was no room for it */
		refuse(w, c);
	else if (ftt_opening_own(c) && (asked = ftt_opening_to(w, &c->key, FTT_OPENING_ASKED)))
		pair(w, c, asked, now_ns);
}

bool ftt_opens_heard(struct ftt_worker *w, struct ftt_tcp *c, const struct ftt_record *r, uint64_t now_ns)
{
	if (c->flow.opener != FTT_OPENED_LOCAL || ftt_flow_name(&c->flow) != r->irs)
		return false;
	ftt_tcp_act(w, c, c->flow.protection == FTT_PROTECTED ? FTT_ACT_OPENED : 0, now_ns);
	return true;
}

void ftt_opens_asked(struct ftt_worker *w, struct ftt_tcp *c, const struct ftt_record *r, uint8_t from, uint64_t now_ns)
{
	struct ftt_env env = ftt_worker_env(w, now_ns);
	struct ftt_tcp *own;

	ftt_opened_told(&c->flow, r, &env);
	ftt_log_begin(w, c, NULL, 0);
	c->peer_worker = from;
	if (!ftt_opening_add(w, c, now_ns)) {
		ftt_tcp_forget(w, c, false);
		return;
	}
	ftt_tcp_act(w, c, 0, now_ns);
	if ((own = ftt_opening_to(w, &c->key, FTT_OPENING_OWN)))
		pair(w, own, c, now_ns);
}

void ftt_opens_again(struct ftt_worker *w, struct ftt_tcp *c, uint64_t now_ns)
{
	if (!ftt_opening_add(w, c, now_ns))
		ftt_tcp_forget(w, c, false); /* else the tick pairs it */
}

void ftt_opens_answer(struct ftt_worker *w, struct ftt_tcp *c, uint64_t now_ns)
{
	struct ftt_env env = ftt_worker_env(w, now_ns);
	uint8_t answer[FTT_SYN_MAX];
	uint16_t len = c->log->syn_len;
	struct ftt_edit e;
	struct ftt_pkt k;
	struct ftt_seg s;

	ftt_renewal(c)->next_ns = now_ns + FTT_CATCH_SYN_NS;
	memcpy(answer, c->log->bytes, len);
	if (ftt_parse(answer, len, len, &k, &s) != FTT_PARSED_TCP)
		return; /* the lane has looked at it: ftt_record_answer() */
	ftt_opened_replays(&c->flow, &s);
	if (ftt_segment_step(&c->flow, &s, &env, &e) != FTT_PASS)
		return;
	ftt_opened_echoes(&c->flow, &s, &e);
	ftt_apply(answer, &k, &e, true);
	ftt_worker_give_first(w, answer, len);
	ftt_tcp_act(w, c, e.actions, now_ns);
}

bool ftt_opens_taken(struct ftt_worker *w, struct ftt_tcp *c)
{
	struct ftt_key service = c->key;
	bool own = ftt_opening_own(c);
	enum ftt_fate fate;

	service.space = FTT_SPACE_SERVICE;
	fate = ftt_opened_fate(&c->flow, own, own && ftt_table_find(&w->table, &service));
	ftt_opening_leave(w, c);
	if (fate == FTT_FATE_FORGOTTEN)
		ftt_tcp_forget(w, c, false);
	else if (fate == FTT_FATE_REFUSED)
		refuse(w, c);
	else if (own)
		ftt_table_to_service(&w->table, c);
	return fate == FTT_FATE_GOES_ON;
}

/* What our SYN, if it is one, opens again; NULL: nothing. */
static struct ftt_tcp *opens_again(const struct ftt_worker *w, const struct ftt_opening *o, const struct ftt_env *env)
{
	bool may = ftt_opening_own(o->flow) && ftt_opened_again_at(o->since_ns, env) <= env->now_ns;

	return may ? ftt_opening_to(w, &o->flow->key, FTT_OPENING_AGAIN) : NULL;
}

void ftt_opens_tick(struct ftt_worker *w, uint64_t now_ns)
{
	struct ftt_env env = ftt_worker_env(w, now_ns);
	struct ftt_opening *o, *next;

	for (o = w->mode == FTT_MODE_BACKUP ? ftt_opening_first(w) : NULL; o; o = next) {
		struct ftt_tcp *c = o->flow, *again = opens_again(w, o, &env);
		enum ftt_fate fate = ftt_opening_fate(&c->flow, ftt_opening_own(c), o->since_ns, &env);

		next = ftt_opening_next(w, o);
		if (again) {
			pair(w, c, again, now_ns);
			next = ftt_opening_first(w); /* both have left the list */
		} else if (fate == FTT_FATE_GOES_ON) {
			continue;
		} else if (fate == FTT_FATE_REFUSED) {
			refuse(w, c);
		} else if (fate == FTT_FATE_RESET) {
			ftt_opening_leave(w, c);
		} else {
			ftt_tcp_forget(w, c, false);
		}
	}
}
