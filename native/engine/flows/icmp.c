/* SPDX-License-Identifier: Apache-2.0 */
/*
 * icmp.c - ICMP errors about flows of the group; see icmp.h.
 *
 * One that comes in concerns a flow of any worker: the kernel's hash sees only who sent it. It begins at the first
 * worker, and whoever does not have the flow gives it to the next. On a backup, whose kernel must learn the path's MTU
 * while the primary lives, it goes to the stack like a mirrored segment; what the stack says of its own never leaves.
 */
#define _GNU_SOURCE
#include "engine/flows/role.h"
#include "engine/flows/hold.h"
#include "engine/flows/icmp.h"

static void pass(struct ftt_worker *w, const struct ftt_packet *p, bool edited)
{
	*(edited ? &w->n.translated : &w->n.passed) += 1;
	ftt_worker_verdict(w, p, true, edited ? p->bytes : NULL);
}

/* Nobody's here: the next worker's, or nobody's at all. */
static void unknown(struct ftt_worker *w, const struct ftt_packet *p, const struct ftt_quote *q)
{
	if (q->pkt.proto == 6 && w->index + 1u < w->e->cfg.workers)
		ftt_plane_to_next(w->plane, p->queue, p->id);
	else if (!ftt_flow_emits((uint8_t)w->mode))
		ftt_tcp_drop(w, p, &w->n.drop_unknown_flow);
	else
		ftt_tcp_pass(w, p);
}

static void about_segment(struct ftt_worker *w, struct ftt_packet *p, const struct ftt_pkt *k, const struct ftt_quote *q,
			  uint64_t now_ns)
{
	struct ftt_key key;
	struct ftt_tcp *c;
	uint16_t port;
	uint32_t seq;

	ftt_key_of(&key, &q->pkt, false);
	c = ftt_flows_find(w, &key, now_ns);
	if (!c || !(c->flow.bits & FTT_F_MAPPED || c->flow.opener == FTT_OPENED_LOCAL) ||
	    (w->mode == FTT_MODE_BACKUP && c->flow.protection != FTT_PROTECTED)) {
		unknown(w, p, q);
		return;
	}
	ftt_quoted_mtu(&c->flow, q);
	seq = ftt_quoted_seq(&c->flow, (uint8_t)w->mode, q->seq);
	port = (uint16_t)(q->pkt.sport + ftt_flow_port_delta(&c->flow));
	if (seq == q->seq && port == q->pkt.sport) {
		pass(w, p, false);
	} else if (p->cap < p->len) {
		ftt_tcp_drop(w, p, &w->n.drop_truncated);
	} else {
		ftt_quote_put_seq(p->bytes, k, q, seq);
		ftt_quote_put_port(p->bytes, k, q, 0, port);
		pass(w, p, true);
	}
}

/* A datagram's quoted port of the service, as the one side knows it, becomes the one that the other side knows. */
static void about_datagram(struct ftt_worker *w, struct ftt_packet *p, const struct ftt_pkt *k, const struct ftt_quote *q, bool in)
{
	uint16_t port = in ? q->pkt.sport : q->pkt.dport, other;
	struct ftt_udp_session *u = ftt_udp_of(w, &q->pkt, !in);

	if (!u && in) {
		unknown(w, p, q);
		return;
	}
	other = !u ? port : in ? ftt_session_to_local(&u->s, port) : ftt_udp_to_client(u, port);
	if (other != port && p->cap < p->len) {
		ftt_tcp_drop(w, p, &w->n.drop_truncated);
		return;
	}
	if (other != port)
		ftt_quote_put_port(p->bytes, k, q, in ? 0 : 2, other);
	pass(w, p, other != port);
}

void ftt_icmp_error_packet(struct ftt_worker *w, struct ftt_packet *p, const struct ftt_pkt *k, const struct ftt_quote *q,
			   bool in, uint64_t now_ns)
{
	struct ftt_env env = ftt_worker_env_out(w, now_ns);

	if (!in && !ftt_flow_emits(env.mode)) {
		ftt_tcp_drop(w, p, &w->n.drop_mode);
		if (w->mode == FTT_MODE_BACKUP && q->nobody && q->pkt.proto == 17 && w->udp.on)
			ftt_udp_backup_nobody(w, &q->pkt);
	} else if (!in && ftt_gate_alone(&env)) {
		ftt_tcp_drop(w, p, &w->n.drop_lease);
	} else if (!in && q->unreachable) { /* the address is here: it is the mirror's copy that met nobody */
		ftt_tcp_drop(w, p, &w->n.drop_suppressed);
	} else if (q->pkt.proto == 17 && w->udp.on) {
		about_datagram(w, p, k, q, in);
	} else if (in && q->pkt.proto == 6) {
		about_segment(w, p, k, q, now_ns);
	} else if (ftt_flow_emits((uint8_t)w->mode)) {
		ftt_tcp_pass(w, p);
	} else {
		ftt_tcp_drop(w, p, &w->n.drop_mode);
	}
}
