/* SPDX-License-Identifier: Apache-2.0 */
/* udp_compare.c - sums what the server of a UDP session replies, and tells of differences; see core/udp/compare.h. */
#define _GNU_SOURCE
#include "core/compare/digest.h"
#include "engine/worker.h"

void ftt_udp_sum(struct ftt_worker *w, struct ftt_udp_session *u, const struct ftt_packet *p, const struct ftt_pkt *k)
{
	if (!ftt_session_sums(&u->s, &w->e->cfg.policy))
		return;
	if (p->cap < p->len) {
		ftt_session_unsummed(&u->s);
		w->n.uncompared_blocks++;
		return;
	}
	ftt_session_summed(&u->s, ftt_crc32c(u->s.sums.crc, p->bytes + k->payload, k->payload_len));
}

bool ftt_udp_compared(struct ftt_worker *w, struct ftt_udp_session *u, uint32_t actions)
{
	struct ftt_event ev = {.kind = FTT_EV_DIVERGENCE, .key = u->key, .value = u->s.sums.their_number};

	w->n.compared_blocks += !!(actions & FTT_UDP_COMPARED);
	w->n.uncompared_blocks += !!(actions & FTT_UDP_UNCOMPARED);
	if (actions & FTT_UDP_DIFFER) {
		w->n.divergences++;
		ftt_event_post(w->e, &ev);
	}
	return actions & FTT_UDP_GIVE_UP;
}
