/* SPDX-License-Identifier: Apache-2.0 */
/* hear.c - what the other node says on the commit channel, to each flow that it is about. The rules are in pair.h. */
#define _GNU_SOURCE
#include "core/tcp/heed.h"
#include "engine/flows/act.h"
#include "engine/flows/calls.h"
#include "engine/flows/cold.h"
#include "engine/flows/compare.h"
#include "engine/flows/role.h"
#include "engine/flows/hear.h"
#include "engine/flows/history.h"
#include "engine/flows/lockstep.h"
#include "engine/flows/opens.h"
#include "engine/flows/renew.h"
#include "engine/worker.h"

/*
 * The primary told of a flow whose SYN we have not seen (the mirror lost it, or it is under way), or that
 * our stack has not answered (it met a connection of the past). `c` may be of an earlier connection, too.
 */
static void inject_syn(struct ftt_worker *w, struct ftt_tcp *c, const struct ftt_record *r, uint8_t from, uint64_t now_ns)
{
	struct ftt_pkt k;
	struct ftt_seg s;

	/* who has it injects, also an earlier one of that key, and the first worker; the stack's answer shows whose it is */
	if (ftt_history_waits(w) || (!ftt_cold(w) && (r->tries < 2 || (!c && w->index))))
		return;
	if (!ftt_record_syn(r, &k, &s))
		return;
	if (c && c->flow.protection == FTT_DETACHED) { /* an earlier one that was let go */
		ftt_tcp_forget(w, c, false);
		c = NULL;
	}
	if (!c) {
		c = ftt_flows_begin(w, &r->key, r->irs, now_ns);
		if (!c)
			return;
		ftt_flow_told_signed(&c->flow, &s, ftt_worker_key(w, r->key.remote));
		c->peer_worker = from;
	}
	ftt_client_syn(&c->flow, &s);
	ftt_tcp_keep_syn(c, r->data, r->data_len);
	if (ftt_cold(w)) {
		ftt_cold_opened(w, c, r, now_ns);
		return;
	}
	if (!c->log) /* the mirror has lost it: what comes now is kept all the same */
		ftt_log_begin(w, c, r->data, r->data_len);
	ftt_worker_give_first(w, r->data, r->data_len);
}

/* The primary told of a connection that its server opens. */
static void outward_open(struct ftt_worker *w, struct ftt_tcp *c, const struct ftt_record *r, uint8_t from, uint64_t now_ns)
{
	if (c && ftt_opens_heard(w, c, r, now_ns))
		return;
	if (c)
		ftt_tcp_forget(w, c, true); /* the primary's stack uses the port again */
	if (ftt_opens_to(w, r->key.remote_port) && (c = ftt_flows_begin(w, &r->key, 0, now_ns)))
		ftt_opens_asked(w, c, r, from, now_ns);
}

static void backup_open(struct ftt_worker *w, struct ftt_tcp *c, const struct ftt_record *r, uint8_t from, uint64_t now_ns)
{
	struct ftt_env env = ftt_worker_env(w, now_ns);
	bool same = c && ftt_flow_name(&c->flow) == r->irs && !ftt_flow_is_past(&c->flow, c->closed);

	if (r->flags & FTT_REC_OUTWARD) {
		outward_open(w, c, r, from, now_ns);
		return;
	}
	if (same && ftt_cold(w)) {
		ftt_cold_opened(w, c, r, now_ns);
		return;
	}
	if (same) {
		ftt_lockstep_join(w, c, r);
		ftt_tcp_act(w, c, ftt_backup_open(&c->flow, r, &env), now_ns);
	}
	if (c && !same && (c->flow.protection == FTT_CATCHING_UP || ftt_cold(w))) { /* its client has begun another one: that is over */
		ftt_tcp_forget(w, c, true);
		ftt_plane_send(w->plane); /* our stack has to lose it before it is given the new SYN */
		c = NULL;
	}
	if (!same || !(c->flow.bits & FTT_F_SYNACK))
		inject_syn(w, c, r, from, now_ns);
}

static void probed(struct ftt_worker *w, struct ftt_tcp *c, const struct ftt_record *r, uint64_t now_ns)
{
	uint32_t delivered = c->flow.delivered_ack, actions;

	ftt_output_even(&c->flow, c->digest.seen, now_ns); /* the COMMIT tells */
	actions = ftt_backup_probe(&c->flow, r, &c->retained);
	if (ftt_cold(w))
		actions |= ftt_cold_output(w, c, r);
	w->n.acked_ahead += c->flow.delivered_ack != delivered;
	ftt_tcp_act(w, c, actions, now_ns);
}

static void output(struct ftt_worker *w, struct ftt_tcp *c, const struct ftt_record *r, uint64_t now_ns)
{
	uint32_t actions = ftt_backup_output(&c->flow, r);

	actions |= ftt_cold(w) ? ftt_cold_output(w, c, r) : ftt_compare_record(w, c, r, now_ns);
	ftt_tcp_act(w, c, actions, now_ns);
}

/* A record, but OPEN, about a flow of this backup's. */
static void heed(struct ftt_worker *w, struct ftt_tcp *c, const struct ftt_record *r, uint64_t now_ns)
{
	switch (r->type) {
	case FTT_REC_PROBE:
		probed(w, c, r, now_ns);
		break;
	case FTT_REC_OUTPUT:
		output(w, c, r, now_ns);
		break;
	case FTT_REC_RENEW:
		ftt_renew_word_of(w, c, r, now_ns);
		break;
	case FTT_REC_DISCARD:
		ftt_tcp_act(w, c, ftt_backup_discard(&c->flow, r), now_ns);
		break;
	case FTT_REC_DETACH:
		if (c->flow.protection == FTT_CATCHING_UP && !(c->flow.bits & FTT_F_SYNACK))
			ftt_tcp_forget(w, c, false); /* another worker has it */
		else
			ftt_tcp_let_go(w, c);
		break;
	case FTT_REC_CLOSE:
		ftt_tcp_aborted(w, c, r, now_ns);
		break;
	default:
		w->n.channel_malformed++;
		break;
	}
}

static void backup_record(struct ftt_worker *w, struct ftt_tcp *c, const struct ftt_record *r, uint8_t from,
			  uint64_t now_ns)
{
	struct ftt_record answer = {.type = FTT_REC_DETACHED, .key = r->key, .irs = r->irs, .attempt = r->attempt};
	struct ftt_tcp *any = c;
	unsigned heeds;

	if (c && (ftt_flow_name(&c->flow) != r->irs || (r->type == FTT_REC_OPEN && ftt_flow_is_past(&c->flow, c->closed))))
		c = NULL; /* another connection with the same addresses and ports */
	if (c && ftt_record_late(r, c->attempt)) {
		w->n.records_late++;
		if (r->type == FTT_REC_DETACH) /* we do not hold it in that attempt */
			ftt_channel_put_record(&w->channel, from, &answer, &w->n);
		return;
	}
	if (c)
		c->peer_worker = from;
	heeds = ftt_backup_heeds(c ? &c->flow : NULL, r->type);
	if (heeds & FTT_ANSWERED)
		ftt_channel_put_record(&w->channel, from, &answer, &w->n);
	if (r->type == FTT_REC_OPEN && heeds & FTT_HEEDED && ftt_calls_apart(w)) {
		answer.type = FTT_REC_REFUSED;
		ftt_channel_put_record(&w->channel, from, &answer, &w->n);
	} else if (r->type == FTT_REC_OPEN && heeds & FTT_HEEDED)
		backup_open(w, any, r, from, now_ns);
	else if (heeds & FTT_HEEDED)
		heed(w, c, r, now_ns);
}

static void one_record(struct ftt_worker *w, const struct ftt_record *r, uint8_t from, uint64_t now_ns)
{
	struct ftt_env env;
	struct ftt_tcp *c;
	uint32_t actions;

	if (w->promoting && r->type != FTT_REC_STRAY) /* of one that does not serve any more */
		return;
	if (r->key.proto == 17) {
		ftt_udp_record(w, r, from, now_ns);
		return;
	}
	c = ftt_flows_find(w, &r->key, now_ns);
	if (w->mode == FTT_MODE_BACKUP) {
		backup_record(w, c, r, from, now_ns);
		return;
	}
	if (w->mode != FTT_MODE_PAIRED || !c || ftt_flow_name(&c->flow) != r->irs) {
		w->n.channel_stale++;
		return;
	}
	if (ftt_record_late(r, c->attempt)) {
		w->n.records_late++;
		return;
	}
	if (ftt_renew_told(w, c, r, from, now_ns))
		return;
	if (r->type != FTT_REC_DETACHED)
		c->peer_worker = from;
	else if (c->flow.protection != FTT_DETACHING && from != c->peer_worker)
		return; /* one that never had it: DETACH of a renewal went to all but who has */
	w->n.commits_received += r->type == FTT_REC_COMMIT;
	if (r->type == FTT_REC_COMMIT && (actions = ftt_compare_commit(w, c, r, now_ns)))
		ftt_tcp_act(w, c, actions, now_ns);
	if (r->type == FTT_REC_DETACHED) { /* DETACH went to all its workers: any of them may have held the flow */
		c->let_go |= (uint8_t)(1u << from);
		if (c->flow.protection == FTT_DETACHING && c->let_go != (1u << w->e->cfg.workers) - 1)
			return;
	}
	env = ftt_worker_env(w, now_ns);
	ftt_tcp_act(w, c, ftt_primary_record(&c->flow, r, &env), now_ns);
}

/*
 * A record of a type that another release has made. What may be skipped is; else this flow is one of which this node does not
 * know what it should: it is let go, as if the primary had asked for it, or given up.
 */
static void strange_record(struct ftt_worker *w, const struct ftt_record *r, uint8_t from, uint64_t now_ns)
{
	struct ftt_record order = {.type = FTT_REC_DETACH, .key = r->key, .irs = r->irs};
	bool udp = r->key.proto == 17;
	struct ftt_udp_session *u = udp ? ftt_udp_heard(w, &r->key, now_ns) : NULL;
	struct ftt_tcp *c = udp ? NULL : ftt_flows_find(w, &r->key, now_ns);

	if (r->type & FTT_REC_MAY_SKIP) {
		w->n.records_skipped++;
		return;
	}
	w->n.records_refused++;
	if (w->mode == FTT_MODE_BACKUP) {
		order.attempt = u ? u->attempt : c ? c->attempt : 0;
		one_record(w, &order, from, now_ns);
	} else if (w->mode == FTT_MODE_PAIRED && udp) {
		ftt_udp_part(w, &r->key, r->irs, FTT_WHY_UNSUPPORTED, now_ns);
	} else if (w->mode == FTT_MODE_PAIRED && c && ftt_flow_name(&c->flow) == r->irs &&
		   (c->flow.protection == FTT_PROTECTED || c->flow.protection == FTT_OPENING)) {
		c->peer_worker = from;
		ftt_tcp_act(w, c, ftt_flow_detach(&c->flow, FTT_WHY_UNSUPPORTED, now_ns), now_ns);
	}
}

void ftt_hear_record(struct ftt_worker *w, const struct ftt_record *r, uint8_t from, uint64_t now_ns)
{
	if (ftt_record_known(r->type))
		one_record(w, r, from, now_ns);
	else
		strange_record(w, r, from, now_ns);
}

bool ftt_hear_records(struct ftt_worker *w, unsigned lanes, uint64_t now_ns)
{
	struct ftt_channel_header h;
	const uint8_t *records;
	size_t len;

	ftt_channel_begin(&w->channel);
	for (int budget = 256; budget > 0; budget--) {
		int got = ftt_channel_receive(&w->channel, lanes, &h, &records, &len, &w->n);

		if (!got)
			return true;
		if (got == FTT_CHANNEL_ODD) {
			if (!w->odd || !w->odd(w))
				w->n.channel_malformed++;
		}
		if (got != 1)
			continue;
		while (len) {
			struct ftt_record r;
			size_t used = ftt_record_get(records, len, &r);

			if (!used) {
				w->n.channel_malformed++;
				break;
			}
			if (!ftt_record_belongs(r.type, h.pairing, w->channel.pairing))
				w->n.channel_malformed++; /* of no pairing */
			else if (ftt_plane_hear(w->plane, h.worker, records, used))
				ftt_hear_record(w, &r, h.worker, now_ns);
			records += used;
			len -= used;
		}
	}
	return false;
}
