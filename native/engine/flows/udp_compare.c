/* SPDX-License-Identifier: Apache-2.0 */
/*
 * udp_compare.c - sums what both servers of a UDP session reply, and compares the sums on the backup.
 *
 * There is no stream: each node sums the payloads of its server's replies, in order. With each word of
 * what went out comes the primary's sum; the backup knows its own after each of its last replies.
 */
#define _GNU_SOURCE
#include "core/compare/digest.h"
#include "engine/worker.h"

void ftt_udp_sum(struct ftt_worker *w, struct ftt_udp_session *u, const struct ftt_packet *p, const struct ftt_pkt *k)
{
	struct ftt_udp_sums *s = &u->sums;

	if (!w->e->cfg.policy.compare || s->broken)
		return;
	s->broken = p->cap < p->len;
	if (s->broken) {
		w->n.uncompared_blocks++;
		return;
	}
	s->crc = ftt_crc32c(s->crc, p->bytes + k->payload, k->payload_len);
	s->after[u->outputs % FTT_UDP_RETAINED] = s->crc;
}

static bool differ(struct ftt_worker *w, struct ftt_udp_session *u, uint32_t number, uint32_t crc)
{
	struct ftt_event ev = {.kind = FTT_EV_DIVERGENCE, .key = u->key, .value = number};

	w->n.compared_blocks++;
	if (u->sums.after[number % FTT_UDP_RETAINED] == crc)
		return false;
	u->sums.broken = true; /* all later sums differ as well */
	u->divergences++;
	w->n.divergences++;
	ftt_event_post(w->e, &ev);
	return w->e->cfg.policy.detach_divergent;
}

bool ftt_udp_compare(struct ftt_worker *w, struct ftt_udp_session *u, const struct ftt_record *sent)
{
	struct ftt_udp_sums *s = &u->sums;

	if (!w->e->cfg.policy.compare || s->broken || !(sent->flags & FTT_REC_SUM))
		return false;
	s->waits = seq_gt(sent->number, u->outputs);
	s->their_number = sent->number;
	s->their_crc = sent->crc;
	if (s->waits)
		return false;
	if (u->outputs - sent->number < FTT_UDP_RETAINED)
		return differ(w, u, sent->number, sent->crc);
	w->n.uncompared_blocks++;
	return false;
}

bool ftt_udp_compare_late(struct ftt_worker *w, struct ftt_udp_session *u)
{
	struct ftt_udp_sums *s = &u->sums;

	if (!s->waits || s->broken || u->outputs != s->their_number)
		return false;
	s->waits = false;
	return differ(w, u, s->their_number, s->their_crc);
}
