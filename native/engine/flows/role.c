/* SPDX-License-Identifier: Apache-2.0 */
/* role.c - what time does, and changes of role, for all flows of a worker. The rules are in pair.h; here they meet the tables. */
#define _GNU_SOURCE
#include "engine/flows/act.h"
#include "engine/flows/role.h"
#include "engine/flows/history.h"
#include "engine/flows/lockstep.h"
#include "engine/flows/opens.h"
#include "engine/flows/renew.h"
#include "engine/flows/retain.h"
#include "engine/worker.h"
#include "core/tcp/reset.h"
#include "core/tcp/taken.h"

#define SWEEP_MAX 4096u /* flows of one age that are forgotten at once */

/* --- time ------------------------------------------------------------------------------------ */

/* What its client has of the old primary turned out to be something else, or cannot be verified: then it is gone. */
static bool ends_unverified(struct ftt_worker *w, struct ftt_tcp *c, const struct ftt_env *env)
{
	if (!ftt_flow_hopeless(&c->flow, env))
		return false;
	w->n.unverified_resets++;
	ftt_tcp_reset_client(w, c, env->now_ns);
	return true;
}

void ftt_flows_tick(struct ftt_worker *w, uint64_t now_ns)
{
	bool gone = w->table.waiting && w->mode == FTT_MODE_PAIRED && ftt_server_gone(w->e, now_ns);
	struct ftt_env env = ftt_worker_look(w, now_ns);

	if (w->mode != FTT_MODE_BACKUP && ftt_gate_alone(&env))
		return; /* without a lease nothing is decided; what is held waits for the lease or the end of the role */
	for (struct ftt_tcp *c = w->table.waiting, *next; c; c = next) {
		next = c->wait_next;
		if (c->role != w->table.role)
			continue; /* its turn comes with the others */
		if (c->flow.protection == FTT_RESETTING) {
			uint32_t actions = ftt_reset_tick(&c->flow, &env);

			if (actions) /* there may be many, and most of them wait */
				ftt_tcp_act(w, c, actions, now_ns);
			continue;
		}
		if (ends_unverified(w, c, &env))
			continue;
		if (w->mode == FTT_MODE_PAIRED && !gone) /* who has died gives no flow up: the takeover is to have it */
			ftt_tcp_act(w, c, ftt_flow_tick(&c->flow, &env), now_ns);
		ftt_retain_tick(w, c, now_ns);
		ftt_tcp_act(w, c, c->held ? FTT_ACT_RELEASE : 0, now_ns);
	}
}

/* Those that were silent for longest are at the ends of their lists: no other one is looked at. */
void ftt_flows_sweep(struct ftt_worker *w, uint64_t now_ns)
{
	struct ftt_env env = ftt_worker_env(w, now_ns);

	for (enum ftt_age age = 0; age < FTT_AGES; age++) {
		uint64_t most_ns = ftt_age_idle_ns(age, &env);
		struct ftt_tcp *c;

		for (unsigned i = 0; i < SWEEP_MAX && (c = ftt_table_oldest(&w->table, age)); i++) {
			if (now_ns - c->flow.last_ns <= most_ns)
				break;
			if (c->held) { /* it is not over, and the others need not wait for it */
				ftt_table_to_front(&w->table, c);
				break;
			}
			w->n.flows_expired++;
			ftt_tcp_forget(w, c, false);
		}
	}
}

/* Of those that are given up anyway, one that is forgotten makes room; of the others the oldest one then does. */
static bool forget_one(struct ftt_worker *w, enum ftt_newcomer to, uint64_t now_ns)
{
	bool half_open = to == FTT_COMES_HANDSHAKE;
	uint32_t before = w->table.n;

	for (enum ftt_age age = 0; age < FTT_AGES && !ftt_flow_emits((uint8_t)w->mode); age++) {
		struct ftt_tcp *c = ftt_table_oldest(&w->table, FTT_AGES + age);

		if (!c || (half_open && age != FTT_AGE_HALF_OPEN && age != FTT_AGE_REFUSED))
			continue;
		ftt_flows_now(w, c, now_ns);
		if (half_open || w->table.n < before)
			return true;
	}
	return false;
}

bool ftt_flows_make_room(struct ftt_worker *w, enum ftt_newcomer to, uint64_t now_ns)
{
	struct ftt_env env = ftt_worker_env(w, now_ns);
	bool many = ftt_half_open_full(w->table.of_age[FTT_AGE_STRANGER], &env);

	if (forget_one(w, to, now_ns))
		return true;
	for (unsigned i = 0; i < FTT_YIELDING_AGES; i++) {
		enum ftt_age age = ftt_age_yielding(i, to);
		struct ftt_tcp *c = ftt_table_oldest(&w->table, age);

		if (!c || c->held || !ftt_age_gives_way(age, to, now_ns - c->flow.last_ns, many))
			continue;
		w->n.flows_expired++;
		ftt_tcp_forget(w, c, w->mode == FTT_MODE_BACKUP);
		return true;
	}
	return false;
}

struct ftt_tcp *ftt_flows_begin(struct ftt_worker *w, const struct ftt_key *key, uint32_t irs, uint64_t now_ns)
{
	struct ftt_env env = ftt_worker_env(w, now_ns);
	struct ftt_tcp *c;

	if (ftt_half_open_full(ftt_table_half_open(&w->table), &env) && !ftt_flows_make_room(w, FTT_COMES_HANDSHAKE, now_ns)) {
		w->n.syn_floods++;
		return NULL;
	}
	if ((ftt_flows_full(w->table.n, &env) && !ftt_flows_make_room(w, FTT_COMES_FLOW, now_ns)) ||
	    !(c = ftt_table_add(&w->table, key, now_ns))) {
		w->n.flows_refused++;
		return NULL;
	}
	ftt_flow_init(&c->flow, irs, now_ns);
	w->n.flows_opened++;
	return c;
}

/* --- roles ----------------------------------------------------------------------------------- */

static struct ftt_compared compared(const struct ftt_tcp *c)
{
	return (struct ftt_compared){.broken = c->digest.broken, .differences = c->divergences, .seen = c->digest.seen, .closed = c->closed};
}

bool ftt_flows_continues(const struct ftt_worker *w, const struct ftt_tcp *c, uint64_t now_ns)
{
	struct ftt_compared all = compared(c);
	struct ftt_env env = ftt_worker_look(w, now_ns);

	return ftt_flow_would_go_on(&c->flow, &all, &env);
}

static bool take_over(struct ftt_worker *w, struct ftt_tcp *c, uint64_t now_ns)
{
	struct ftt_env env = ftt_worker_look(w, now_ns);
	struct ftt_compared all = compared(c);
	enum ftt_fate fate;
	uint32_t actions;

	if (c->flow.opener == FTT_OPENED_LOCAL && !ftt_opens_taken(w, c))
		return false;
	fate = ftt_flow_fate(&c->flow, &all, &env);
	w->n.unverified_resets += fate == FTT_FATE_UNVERIFIED;
	if (fate != FTT_FATE_GOES_ON) {
		ftt_tcp_reset_client(w, c, now_ns);
		return true;
	}
	actions = ftt_flow_takeover(&c->flow, &env);
	if (!c->closed)
		ftt_lockstep_ensure(w, c);
	if (c->closed)
		actions = ftt_closed_takeover(&c->flow, &env);
	else if (!(c->flow.bits & FTT_F_UNVERIFIED))
		ftt_retain_release(w, c, now_ns);
	ftt_tcp_syn_again(w, c);
	w->n.kicked += !!actions;
	w->role_flows += !!actions;
	ftt_tcp_act(w, c, actions | FTT_ACT_RELEASE, now_ns); /* what waited for our server does not any more */
	return true;
}

/* Who emits goes on with the flows that there were; whoever else has a new role begins anew, and has but a memory of them. */
bool ftt_flows_now(struct ftt_worker *w, struct ftt_tcp *c, uint64_t now_ns)
{
	bool there = true;

	c->role = w->table.role;
	if (!ftt_flow_emits((uint8_t)w->mode))
		there = ftt_tcp_give_up(w, c, now_ns);
	if (there)
		ftt_table_to_back(&w->table, c); /* those that were more active have their place already */
	if (!ftt_flow_emits((uint8_t)w->mode))
		return there;
	if (w->takes_over)
		return take_over(w, c, now_ns);
	ftt_tcp_act(w, c, ftt_flow_solo(&c->flow), now_ns);
	return true;
}

/* ... as the present role has it; NULL: that has none such any more. */
static struct ftt_tcp *present(struct ftt_worker *w, struct ftt_tcp *c, uint64_t now_ns)
{
	bool there;

	if (!c || c->role == w->table.role)
		return c;
	there = ftt_flows_now(w, c, now_ns);
	if (!ftt_flow_emits((uint8_t)w->mode))
		ftt_plane_send(w->plane); /* our stack has to lose it before it is given what may begin a new one */
	return there ? c : NULL;
}

struct ftt_tcp *ftt_flows_find(struct ftt_worker *w, const struct ftt_key *key, uint64_t now_ns)
{
	return present(w, ftt_table_find(&w->table, key), now_ns);
}

struct ftt_tcp *ftt_flows_find_own(struct ftt_worker *w, const struct ftt_key *key, bool syn, uint64_t now_ns)
{
	struct ftt_tcp *c = ftt_table_find_apart(&w->table, key);

	if (!c && !(syn && w->mode == FTT_MODE_BACKUP && ftt_opens_to(w, key->remote_port))) {
		c = ftt_table_find(&w->table, key);
		if (c && ftt_flow_port_delta(&c->flow)) /* of another port of our stack */
			c = NULL;
	}
	return present(w, c, now_ns);
}

static bool tcp_rest(struct ftt_worker *w, unsigned most, uint64_t now_ns)
{
	for (enum ftt_age age = 0; age < FTT_AGES; age++) {
		struct ftt_tcp *c;

		for (; (c = ftt_table_newest(&w->table, FTT_AGES + age)); most--) {
			if (!most)
				return false;
			__builtin_prefetch(c->order.next);
			ftt_flows_now(w, c, now_ns);
		}
	}
	return true;
}

bool ftt_flows_rest(struct ftt_worker *w, unsigned most, uint64_t now_ns)
{
	bool udp = ftt_udp_rest(w, most, now_ns);

	return tcp_rest(w, most, now_ns) && udp;
}

/* What waits in the kernel goes at once, with the flows that it belongs to. */
static void go_solo(struct ftt_worker *w, uint64_t now_ns)
{
	for (struct ftt_tcp *c = w->table.waiting, *next; c; c = next) {
		next = c->wait_next;
		ftt_flows_now(w, c, now_ns);
	}
	ftt_udp_go_solo(w, now_ns);
}

static void new_role(struct ftt_worker *w)
{
	ftt_table_new_role(&w->table);
	ftt_udp_new_role(&w->udp);
}

void ftt_flows_role(struct ftt_worker *w, uint32_t mode, uint64_t session, uint64_t now_ns)
{
	uint32_t old = w->mode;
	bool same = session == w->session, emits = ftt_flow_emits((uint8_t)mode);

	if (emits) /* of the role before; what is to be forgotten never meets one that emits */
		ftt_flows_rest(w, UINT32_MAX, now_ns);
	if (mode != old || !same) {
		ftt_renew_role(w);
		ftt_history_role(w);
	}
	w->mode = mode;
	w->promoting = w->checkpointed = false;
	w->session = session;
	w->role_flows = 0;
	w->takes_over = !ftt_flow_emits((uint8_t)old) && emits;
	if (mode == FTT_MODE_IDLE || (mode == FTT_MODE_BACKUP && (old != FTT_MODE_BACKUP || !same))) {
		new_role(w);
		while (w->table.dirty) /* what a COMMIT would tell is nothing to the next partner */
			ftt_flows_now(w, w->table.dirty, now_ns);
	} else if (w->takes_over) {
		new_role(w);
	} else if (old == FTT_MODE_PAIRED && (mode == FTT_MODE_SOLO || !same)) {
		new_role(w);
		go_solo(w, now_ns);
	}
}
