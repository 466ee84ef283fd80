/* SPDX-License-Identifier: Apache-2.0 */
/* promote.c - flows of a cold backup begin anew, with a server; see promote.h and core/tcp/cold.h. */
#define _GNU_SOURCE
#include <stdlib.h>
#include "engine/flows/act.h"
#include "engine/flows/cold.h"
#include "engine/flows/compare.h"
#include "engine/flows/hold.h"
#include "engine/flows/promote.h"
#include "engine/flows/filed.h"
#include "engine/flows/renew.h"
#include "engine/flows/udp_cold.h"
#include "core/tcp/cold.h"

/* Its log is told to the server from the beginning, as soon as it is its turn. */
static bool wants(const struct ftt_tcp *c)
{
	return !c->closed && c->flow.bits & FTT_F_COLD && c->flow.protection == FTT_PROTECTED && c->log && !c->unrenewable;
}

/* Ours is, or was, told of it: it is nothing to another one. */
static bool was_told(const struct ftt_tcp *c)
{
	uint8_t protection = c->flow.protection;

	return !c->closed && c->flow.bits & FTT_F_MAPPED && !(c->flow.bits & FTT_F_COLD) &&
	       (protection == FTT_PROTECTED || protection == FTT_CATCHING_UP);
}

/* While it does not, flows that wait are kept for the next one; and an end that the kernel tells for it is none. */
static bool server_lives(struct ftt_worker *w, uint64_t now_ns)
{
	return !ftt_server_gone(w->e, now_ns) && ftt_server_vouched(w->e, now_ns);
}

static bool is_promoted(const struct ftt_worker *w, uint64_t now_ns)
{
	return ftt_list_empty(&w->renew_waiting) && !w->n_renewing[FTT_RENEW_CATCHING] && ftt_udp_is_promoted(w, now_ns);
}

static void tell_promoted(struct ftt_worker *w)
{
	struct ftt_event ev = {.kind = FTT_EV_PROMOTED, .value = w->n.renewed - w->renewed_before,
			       .reason = (uint32_t)(w->n.renewals_failed - w->failed_before)};

	w->renewing = false;
	ftt_event_post(w->e, &ev);
}

/* Our stack, which has never heard of the flow, is given its SYN. */
static bool begin_again(struct ftt_worker *w, struct ftt_tcp *c, struct ftt_renewal *r, uint64_t now_ns)
{
	struct ftt_env env = ftt_worker_env(w, now_ns);
	struct ftt_record open;
	struct ftt_pkt k;
	struct ftt_seg s;

	if (ftt_parse(c->log->bytes, c->log->syn_len, c->log->syn_len, &k, &s) != FTT_PARSED_TCP || !(r->word = calloc(1, sizeof(*r->word))))
		return false;
	ftt_cold_last_word(&c->flow, c->log, c->bytes_out, c->seen_crc, c->flow.bits & FTT_F_SUMS && !c->digest.broken, r->word);
	ftt_tcp_drop_held(w, c);
	ftt_filed_over(w, c, false); /* it is in the history of the server that has started, from its beginning */
	c->filed = 0;
	ftt_compare_forget(c);
	ftt_digest_begin(&c->digest);
	c->seen_crc = 0;
	c->bytes_in = c->bytes_out = 0;
	c->filed = 0; /* with the server begins another history */
	ftt_cold_begin_again(&c->flow, &s, &env, &open);
	r->acked = r->word->place;
	r->given = c->flow.hard.irs + 1;
	r->whole = true;
	r->moved_ns = r->heard_ns = now_ns;
	r->next_ns = now_ns + 1000000000ull;
	ftt_renewal_stage(w, r, FTT_RENEW_CATCHING);
	ftt_table_update(&w->table, c, w->mode);
	ftt_worker_give_first(w, c->log->bytes, c->log->syn_len);
	return true;
}

static void give_up(struct ftt_worker *w, struct ftt_tcp *c)
{
	w->n.renewals_failed++;
	ftt_renewal_end(w, c);
	ftt_tcp_let_go(w, c); /* the takeover resets its client */
}

static void pump(struct ftt_worker *w, uint64_t now_ns)
{
	if ((!w->renewing && ftt_list_empty(&w->renew_waiting)) || !server_lives(w, now_ns))
		return;
	while (!ftt_list_empty(&w->renew_waiting) && ftt_renewal_may_begin(w->n_renewing[FTT_RENEW_CATCHING], 0)) {
		struct ftt_renewal *r = FTT_ENTRY(w->renew_waiting.next, struct ftt_renewal, order);

		if (!wants(r->c))
			ftt_renewal_end(w, r->c);
		else if (ftt_promote_is_over(w->stood_ns, now_ns) || !begin_again(w, r->c, r, now_ns))
			give_up(w, r->c);
	}
	if (w->renewing && is_promoted(w, now_ns))
		tell_promoted(w);
}

void ftt_promote(struct ftt_worker *w, uint64_t now_ns)
{
	bool cold = ftt_cold(w), again = w->promoting; /* neither: it follows nobody */

	w->promoting |= cold;
	w->stood_ns = 0;
	w->renewing = true;
	w->renewed_before = w->n.renewed;
	if (!again)
		w->failed_before = w->n.renewals_failed;
	if (cold || again)
		ftt_udp_promote(w, again, now_ns);
	for (struct ftt_tcp *c = NULL; again && (c = ftt_table_next(&w->table, c));)
		if (was_told(c)) /* also if it was done with: then its end may be the death of the server before */
			give_up(w, c);
	for (struct ftt_tcp *c = NULL; cold && (c = ftt_table_next(&w->table, c));) {
		if (ftt_renewal(c)) /* it caught up, or did: what is here is all that its client was told of */
			ftt_renewal_end(w, c);
		if (wants(c) && !ftt_renewal_begin(w, c, now_ns))
			w->n.renewals_failed++;
	}
	pump(w, now_ns);
}

static void play(struct ftt_worker *w, struct ftt_renewal *r, uint64_t now_ns)
{
	struct ftt_tcp *c = r->c;
	struct ftt_flow *f = &c->flow;
	uint64_t place = c->bytes_out + (f->local_rcv_nxt - f->hard.irs);
	struct ftt_record word = *r->word;

	if (place != r->said) {
		r->said = place;
		r->moved_ns = now_ns;
	}
	w->stood_ns = ftt_promote_stands(w->stood_ns, r->moved_ns, now_ns);
	if (c->closed || f->bits & FTT_F_LOCAL_RST || ftt_promote_gives_up(w->stood_ns, r->moved_ns, now_ns)) {
		give_up(w, c);
		return;
	}
	if (!(f->bits & FTT_F_MAPPED))
		return;
	if (ftt_cold_reached(f, &word, c->bytes_out))
		word.flags |= FTT_REC_FINAL;
	ftt_renew_word_of(w, c, &word, now_ns);
}

void ftt_promote_tick(struct ftt_worker *w, uint64_t now_ns)
{
	for (struct ftt_list *at = w->renew_active.next, *next; w->promoting && at != &w->renew_active; at = next) {
		struct ftt_renewal *r = FTT_ENTRY(at, struct ftt_renewal, order);

		next = at->next;
		if (r->word && r->stage == FTT_RENEW_CATCHING)
			play(w, r, now_ns);
	}
	if (w->promoting)
		pump(w, now_ns);
}
