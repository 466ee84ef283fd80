/* SPDX-License-Identifier: Apache-2.0 */
/* model_checks.h - what test_model.c checks at every packet. Included once. */
#ifndef FTTCP_MODEL_CHECKS_H
#define FTTCP_MODEL_CHECKS_H
#include "model_world.h"

static inline void check_window(const struct ftt_seg *g)
{
	uint32_t edge = g->ack + ((uint32_t)g->wnd << (g->flags & TCP_SYN ? 0 : w->told_wscale));

	if (g->flags & TCP_RST || !(g->flags & TCP_ACK))
		return;
	if (g->flags & TCP_SYN) {
		w->told_wscale = g->wscale;
		w->first_edge = edge;
	}
	/* but for what the scale cuts off (RFC 7323 2.4) */
	MODEL_CHECK(!w->told || seq_gt(edge + (1u << w->told_wscale), w->told_edge), "the window shrank by %u", w->told_edge - edge);
	w->told_edge = w->told ? seq_max(w->told_edge, edge) : edge;
	w->told = true;
}

static inline void check_commit(struct node *n, const struct ftt_seg *g)
{
	const struct ftt_tcp *c = node_flow(n);
	const struct stack *follower = &w->b.stack;
	uint32_t has = follower->irs + (uint32_t)follower->rcv_nxt;
	uint32_t edge = g->ack + ((uint32_t)g->wnd << w->told_wscale);

	if (n->worker.mode != FTT_MODE_PAIRED || !c || c->flow.protection != FTT_PROTECTED || !(g->flags & TCP_ACK))
		return;
	MODEL_CHECK(follower->state != STACK_LISTEN, "the backup's kernel knows nothing of the flow");
	MODEL_CHECK(seq_leq(g->ack, has), "acknowledged %u bytes that the backup does not have", g->ack - has);
	if (!(g->flags & (TCP_SYN | TCP_RST)) && seq_gt(edge, w->first_edge))
		MODEL_CHECK(seq_leq(edge, follower->irs + (uint32_t)follower->rcv_edge), "the window ends beyond the backup's");
	MODEL_CHECK(node_flow(&w->b) && node_flow(&w->b)->flow.bits & FTT_F_MAPPED, "the backup does not hold the flow");
}

/* No server is told what answers something that it has not said. */
static inline void check_order(void)
{
	const struct ftt_tcp *c = w->b.alive && w->b.worker.mode == FTT_MODE_BACKUP ? node_flow(&w->b) : NULL;
	const struct stack *s = &w->b.stack;

	if (!c || c->flow.protection != FTT_PROTECTED || c->flow.bits & FTT_F_LOCAL_FIN)
		return;
	for (; w->in_order < s->rcv_nxt; w->in_order++)
		MODEL_CHECK(w->spoke_after[w->in_order] <= s->snd_max, "the backup has byte %llu, spoken after %u of its %llu",
			    (unsigned long long)w->in_order, w->spoke_after[w->in_order], (unsigned long long)s->snd_max);
}

/* With the order of the service, nobody is told what the backup's server has not said. */
static inline void check_service(struct node *n, const struct ftt_seg *g)
{
	const struct ftt_tcp *c = node_flow(n);
	uint32_t end = g->seq + g->len - n->stack.iss;

	if (n->worker.mode != FTT_MODE_PAIRED || !c || c->flow.protection != FTT_PROTECTED || !g->len || g->flags & TCP_RST)
		return;
	MODEL_CHECK(end <= w->b.stack.snd_max, "the client is told byte %u, the backup has said %llu", end,
		    (unsigned long long)w->b.stack.snd_max);
}

#endif
