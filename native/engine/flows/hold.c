/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hold.c - verdicts on TCP packets, and those that wait for theirs.
 *
 * A held packet stays in the kernel's queue until ftt_tcp_release() asks the gate again: on a primary its stack's,
 * on a backup clients' that answer what its server has not said yet. A flow has those of one kind only.
 */
#define _GNU_SOURCE
#include <stdlib.h>
#include <string.h>
#include "core/tcp/cold.h"
#include "core/tcp/hold.h"
#include "core/tcp/unheld.h"
#include "engine/flows/calls.h"
#include "engine/flows/cold.h"
#include "engine/flows/compare.h"
#include "engine/flows/hold.h"
#include "engine/flows/lockstep.h"
#include "engine/flows/log.h"
#include "engine/flows/filed.h"
#include "engine/flows/renewal.h"

/* --- verdicts -------------------------------------------------------------------------------- */

void ftt_tcp_count_drop(struct ftt_worker *w, uint16_t why)
{
	switch (why) {
	case FTT_DROP_SUPPRESSED:
		w->n.drop_suppressed++;
		break;
	case FTT_DROP_ACKED:
		w->n.drop_acked++;
		break;
	case FTT_DROP_REPEATED:
		w->n.drop_repeated++;
		break;
	case FTT_DROP_REFUSED:
		w->n.drop_refused++;
		break;
	case FTT_DROP_UNVERIFIED:
		w->n.drop_unverified++;
		break;
	case FTT_DROP_LEASE:
		w->n.drop_lease++;
		break;
	default:
		w->n.drop_unknown_flow++;
		break;
	}
}

void ftt_tcp_drop(struct ftt_worker *w, const struct ftt_packet *p, uint64_t *counter)
{
	++*counter;
	ftt_worker_verdict(w, p, false, NULL);
}

void ftt_tcp_pass(struct ftt_worker *w, const struct ftt_packet *p)
{
	w->n.passed++;
	ftt_worker_verdict(w, p, true, NULL);
}

/*
 * See stamp.h. Some come here right after a takeover, of what was mirrored before it. An acknowledgement
 * of 0 cannot be told: the one before it says hardly less.
 */
static void stamp(struct ftt_worker *w, const struct ftt_packet *p, const struct ftt_seg *s, const struct ftt_edit *e)
{
	uint32_t ack = e->change & FTT_EDIT_ACK ? e->ack : s->ack;

	if (e->change) {
		w->n.translated++;
		w->n.stamped++;
		ack -= !ack;
	} else {
		w->n.passed++;
		ack = 0;
	}
	ftt_plane_stamp(w->plane, p->queue, p->id, ack, e->change & FTT_EDIT_TSECR ? e->tsecr : s->tsecr);
}

/*
 * Lets a packet go with its edit. Without all its bytes it cannot be edited: a window is then left
 * as it is (the commit rule does not depend on it), anything else is dropped for the stack to send again.
 * On a backup, the kernel edits for us what came of the mirror; true when that leaves a window to be shown to the stack.
 * What clients send us directly right after a takeover it does not edit, nor does it sign: that is copied once more, whole.
 */
bool ftt_tcp_pass_edited(struct ftt_worker *w, struct ftt_flow *f, const struct ftt_packet *p,
			const struct ftt_pkt *k, const struct ftt_seg *s, const struct ftt_edit *e)
{
	bool headers = p->cap < p->len && p->cap <= FTT_PLANE_HEADERS && s->dir == FTT_FROM_CLIENT;

	if (headers && w->plane->can & FTT_PLANE_STAMPS && !k->md5_at && !(e->change & FTT_EDIT_DPORT) && p->in_index == w->mirror_index &&
	    (w->mode == FTT_MODE_BACKUP || e->change)) {
		stamp(w, p, s, e);
		return e->change & FTT_EDIT_WND;
	}
	if (headers && e->change) {
		w->whole = true;
		ftt_plane_again(w->plane, p->queue, p->id);
	} else if (!e->change) {
		ftt_tcp_pass(w, p);
	} else if (p->bytes && p->cap == p->len) {
		ftt_worker_edit(w, p->bytes, k, s->dir == FTT_FROM_CLIENT, e, p->csum_ready);
		w->n.translated++;
		w->n.window_limited += !!(e->change & FTT_EDIT_WND);
		ftt_worker_verdict(w, p, true, p->bytes);
	} else if (e->change == FTT_EDIT_WND && s->dir == FTT_FROM_SERVER) {
		ftt_promised(f, s);
		ftt_tcp_pass(w, p);
	} else {
		w->whole = true;
		ftt_tcp_drop(w, p, &w->n.drop_truncated);
	}
	return false;
}

/* A client's segment that our stack would take, if there were a server, or had been told of it: it is kept. */
static void keep(struct ftt_worker *w, struct ftt_tcp *c, const struct ftt_packet *p, const struct ftt_pkt *k, const struct ftt_seg *s,
		 struct ftt_edit *e)
{
	c->bytes_in += s->len;
	if (e->taken && ftt_filed(w, c))
		ftt_filed_input(w, c, p, k, s);
	if (e->taken)
		ftt_log_input(w, c, p, k, s);
	ftt_tcp_drop(w, p, &w->n.drop_suppressed);
	if (!(c->flow.bits & FTT_F_MAPPED) || c->closed)
		return;
	if (c->log && !ftt_unrenewable(c->unrenewable))
		e->actions |= ftt_cold_keeps(&c->flow, c->log);
	else if (!ftt_flow_ended(&c->flow))
		e->actions |= ftt_cold_refuse(&c->flow);
}

/* A client's segment, for our stack. */
void ftt_tcp_give(struct ftt_worker *w, struct ftt_tcp *c, const struct ftt_packet *p, const struct ftt_pkt *k,
		  const struct ftt_seg *s, struct ftt_edit *e)
{
	bool later = ftt_log_defers(c) && (s->len || s->flags & TCP_FIN);

	if (ftt_cold(w) || (w->promoting && ftt_renewal(c) && ftt_renewal(c)->stage == FTT_RENEW_WAITS)) {
		keep(w, c, p, k, s, e);
		return;
	}
	if (!later) {
		c->bytes_in += s->len;
		ftt_lockstep_input(w, c, s);
	}
	if (e->taken) /* what the stack refuses, another one might take */
		ftt_log_input(w, c, p, k, s);
	if (later) { /* the stack is given it from the log */
		ftt_tcp_drop(w, p, &w->n.drop_suppressed);
		return;
	}
	if (e->taken && ftt_filed(w, c))
		ftt_filed_input(w, c, p, k, s);
	ftt_retained_limit(&c->retained, &c->flow, s, e);
	if (ftt_tcp_pass_edited(w, &c->flow, p, k, s, e))
		e->actions |= FTT_ACT_INJECT;
}

/* --- a plane that keeps no packets ----------------------------------------------------------------- */

/* The verdict now, on one that would wait. */
static uint32_t not_held(struct ftt_worker *w, struct ftt_tcp *c, const struct ftt_packet *p, const struct ftt_pkt *k,
			 const struct ftt_seg *s, uint64_t now_ns)
{
	struct ftt_env env = ftt_worker_look(w, now_ns);
	struct ftt_edit e;

	if (ftt_unheld_step(&c->flow, s, &env, &e) != FTT_PASS) {
		ftt_tcp_drop(w, p, &w->n.drop_bound); /* there is room for none */
		return e.actions;
	}
	if (w->mode == FTT_MODE_PAIRED && e.actions & FTT_ACT_COMMIT) {
		ftt_compare_leaves(w, c, (struct ftt_point){c->digest.next, c->digest.crc}, now_ns);
		w->told = true; /* of one that is sent again the sum was told before, how far it goes was not */
	}
	ftt_tcp_pass_edited(w, &c->flow, p, k, s, &e);
	return e.actions;
}

/* What was dropped meanwhile our stack sends again; its answer to a SYN at once, if it is given that again. */
static uint32_t release_unheld(struct ftt_worker *w, struct ftt_tcp *c, uint64_t now_ns)
{
	struct ftt_env env = ftt_worker_env(w, now_ns);

	if (c->syn && !c->closed && !(c->flow.bits & FTT_F_ESTABLISHED) && c->flow.protection != FTT_OPENING)
		ftt_worker_give_first(w, c->syn, c->syn_len);
	return ftt_unheld_release(&c->flow, &env);
}

/* --- holding --------------------------------------------------------------------------------- */

static void wait_for_calls(struct ftt_worker *w, struct ftt_tcp *c, struct ftt_held *h)
{
	ftt_calls_wait(w, c, h);
	w->calls->waits += !h->calls;
	h->calls = true;
}

uint32_t ftt_tcp_hold(struct ftt_worker *w, struct ftt_tcp *c, const struct ftt_packet *p, const struct ftt_pkt *k,
		      const struct ftt_seg *s, uint8_t why, uint64_t now_ns)
{
	struct ftt_env env = ftt_worker_env_out(w, now_ns);
	struct ftt_held *h;

	if (!(w->plane->can & FTT_PLANE_HOLDS))
		return not_held(w, c, p, k, s, now_ns);
	if (!ftt_may_hold(c->n_held, w->held_now, &env) || !(h = calloc(1, sizeof(*h)))) {
		w->n.hold_overflow++;
		ftt_tcp_drop(w, p, &w->n.drop_bound);
		return ftt_flow_overflows(&c->flow, s, c->n_held, &env);
	}
	h->since_ns = now_ns;
	h->id = p->id;
	h->queue = p->queue;
	h->in_index = p->in_index;
	h->csum_ready = p->csum_ready;
	h->wait = why;
	h->seg = *s;
	h->after = ftt_segment_after(&c->flow, s, &env);
	h->point = (struct ftt_point){c->digest.next, c->digest.crc};
	h->pkt = *k;
	h->len = p->len;
	/* its header may have to be edited when it goes; without a copy, see ftt_tcp_pass_edited() */
	if (p->cap == p->len && p->len <= FTT_PLANE_HEADERS)
		h->bytes = h->small;
	else if (p->cap == p->len && ftt_may_copy(w->held_bytes, p->len) && (h->bytes = malloc(p->len)))
		w->held_bytes += p->len;
	h->seg.whole = h->bytes;
	if (h->bytes)
		memcpy(h->bytes, p->bytes, p->len);
	*c->held_tail = h;
	c->held_tail = &h->next;
	if (!c->n_held++)
		ftt_flow_holds(&c->flow, now_ns);
	if (why == FTT_WAIT_CALLS)
		wait_for_calls(w, c, h);
	w->held_now++;
	++*(s->dir == FTT_FROM_CLIENT ? &w->n.ordered : &w->n.held);
	return 0;
}

static void unlink_held(struct ftt_worker *w, struct ftt_tcp *c, struct ftt_held **at, uint64_t now_ns)
{
	struct ftt_held *h = *at;

	*at = h->next;
	if (!*at)
		c->held_tail = at;
	c->n_held--;
	w->held_now--;
	if (h->seg.dir == FTT_FROM_SERVER)
		w->lag_ns[w->n_lag++ % FTT_LAG_SAMPLES] = now_ns - h->since_ns;
	if (h->calls && w->calls)
		w->calls->waited_ns += now_ns - h->since_ns;
	ftt_calls_go_on(h);
	ftt_flow_holds(&c->flow, c->held ? c->held->since_ns : 0);
	h->next = w->spent; /* its bytes may be part of a verdict that is not sent yet */
	w->spent = h;
}

void ftt_tcp_free_spent(struct ftt_worker *w)
{
	while (w->spent) {
		struct ftt_held *h = w->spent;

		w->spent = h->next;
		if (h->bytes && h->bytes != h->small) {
			w->held_bytes -= h->len;
			free(h->bytes);
		}
		free(h);
	}
}

/* What may go goes; a server's segments in order, a client's each by itself: it is for the stack to put them in order. */
uint32_t ftt_tcp_release(struct ftt_worker *w, struct ftt_tcp *c, uint64_t now_ns)
{
	struct ftt_env env = ftt_worker_env_out(w, now_ns);
	struct ftt_held **at = &c->held, *h;
	uint32_t actions = 0;

	if (!(w->plane->can & FTT_PLANE_HOLDS))
		return release_unheld(w, c, now_ns);
	while ((h = *at)) {
		struct ftt_packet p = {.id = h->id, .queue = h->queue, .in_index = h->in_index, .csum_ready = h->csum_ready,
					   .bytes = h->bytes, .cap = h->bytes ? h->len : 0, .len = h->len};
		bool input = h->seg.dir == FTT_FROM_CLIENT;
		enum ftt_verdict v;
		struct ftt_edit e;

		if (h->seg.orphan && !ftt_server_known_gone(w->e, now_ns)) /* no takeover came: they are words like others */
			h->seg.orphan = false;
		v = ftt_held_step(&c->flow, &h->seg, &h->after, &env, &e);
		h->wait = e.wait;
		if (v == FTT_HOLD && e.wait == FTT_WAIT_CALLS)
			wait_for_calls(w, c, h);
		if (v == FTT_HOLD && !input)
			break;
		if (v == FTT_HOLD && !ftt_held_enough(&h->seg, h->since_ns, &env)) {
			at = &h->next;
			continue;
		}
		if (v == FTT_HOLD) {
			ftt_tcp_drop(w, &p, &w->n.drop_bound);
		} else if (v == FTT_DROP) {
			ftt_tcp_count_drop(w, e.drop);
			ftt_worker_verdict(w, &p, false, NULL);
		} else if (input) {
			ftt_tcp_give(w, c, &p, &h->pkt, &h->seg, &e);
		} else {
			w->n.released++;
			if (e.actions & FTT_ACT_COMMIT)
				ftt_compare_leaves(w, c, h->point, now_ns);
			ftt_tcp_pass_edited(w, &c->flow, &p, &h->pkt, &h->seg, &e);
		}
		actions |= e.actions;
		unlink_held(w, c, at, now_ns);
	}
	return actions;
}

void ftt_tcp_drop_held(struct ftt_worker *w, struct ftt_tcp *c)
{
	while (c->held) {
		w->n.drop_mode++;
		ftt_plane_verdict(w->plane, c->held->queue, c->held->id, false, NULL, 0);
		unlink_held(w, c, &c->held, c->held->since_ns);
	}
}
