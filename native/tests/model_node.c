/* SPDX-License-Identifier: Apache-2.0 */
/* model_node.c - the engine's sources on a modelled kernel: queue, channel and raw sockets; see model.h. */
#define _GNU_SOURCE
#include <stdlib.h>
#include <string.h>
#include "engine/flows/act.h"
#include "engine/flows/role.h"
#include "engine/flows/hear.h"
#include "engine/flows/hold.h"
#include "engine/flows/renew.h"
#include "engine/flows/renewal.h"
#include "model_node.h"
#include "engine/flows/tcp.h"

enum { QUEUE_IN = 1, QUEUE_OUT = 2 };

/* --- packets -------------------------------------------------------------------------------------- */

struct wire *wire_new(const uint8_t *bytes, uint32_t len)
{
	struct wire *w = malloc(sizeof(*w) + len);

	CHECK(w);
	w->next = NULL;
	w->at = 0;
	w->id = 0;
	w->len = len;
	memcpy(w->bytes, bytes, len);
	return w;
}

void wire_push(struct wire_queue *q, struct wire *w)
{
	if (!q->first)
		q->tail = &q->first;
	w->next = NULL;
	*q->tail = w;
	q->tail = &w->next;
}

struct wire *wire_pop(struct wire_queue *q)
{
	struct wire *w = q->first;

	if (w)
		q->first = w->next;
	return w;
}

void wire_clear(struct wire_queue *q)
{
	struct wire *w;

	while ((w = wire_pop(q)))
		free(w);
}

/* --- what the engine calls ------------------------------------------------------------------------ */

uint64_t ftt_now_ns(void)
{
	return model_now;
}

void ftt_event_post(struct ftt_engine *e, const struct ftt_event *ev)
{
	FTT_ENTRY(e, struct node, engine)->events[ev->kind]++;
}

static void verdict(struct ftt_plane *p, uint16_t queue, uint32_t id, bool accept, const uint8_t *bytes, uint32_t len)
{
	struct node *n = FTT_ENTRY(p, struct node, plane);
	struct wire **at = &n->queued, *w;

	while (*at && (*at)->id != id)
		at = &(*at)->next;
	w = *at;
	MODEL_CHECK(w, "%s: a verdict for packet %u, which waits for none", n->name, id);
	*at = w->next;
	if (accept && bytes) {
		MODEL_CHECK(len == w->len, "%s: a packet became %u bytes instead of %u", n->name, len, w->len);
		memcpy(w->bytes, bytes, len);
	}
	if (!accept)
		free(w);
	else if (queue == QUEUE_IN)
		wire_push(&n->to_stack, w);
	else
		n->to_client(n, w);
}

static void small(struct ftt_plane *p, const uint8_t *packet, size_t len)
{
	struct node *n = FTT_ENTRY(p, struct node, plane);

	n->unsent++;
	wire_push(&n->to_stack, wire_new(packet, (uint32_t)len));
}

static int now(struct ftt_plane *p, const uint8_t *packet, size_t len, bool to_client)
{
	struct node *n = FTT_ENTRY(p, struct node, plane);

	n->unsent++;
	if (to_client)
		n->to_client(n, wire_new(packet, (uint32_t)len));
	else
		wire_push(&n->to_stack, wire_new(packet, (uint32_t)len));
	return 0;
}

static void look(struct ftt_plane *p, uint32_t in, uint32_t out)
{
	struct node *n = FTT_ENTRY(p, struct node, plane);

	n->copies[true] = in;
	n->copies[false] = out;
}

/* The packet comes again, behind the others. */
static void again(struct ftt_plane *p, uint16_t queue, uint32_t id)
{
	struct node *n = FTT_ENTRY(p, struct node, plane);
	struct wire **at = &n->queued, *w;

	while (*at && (*at)->id != id)
		at = &(*at)->next;
	w = *at;
	MODEL_CHECK(w, "%s: packet %u is to come again, and waits no more", n->name, id);
	*at = w->next;
	wire_push(queue == QUEUE_IN ? &n->in : &n->out, w);
}

static void send_queued(struct ftt_plane *p)
{
	FTT_ENTRY(p, struct node, plane)->unsent = 0;
}

static struct ftt_plane_ops does;

static void open_plane(struct node *n)
{
	does = plane_model;
	does.verdict = verdict;
	does.small = small;
	does.now = now;
	does.send = send_queued;
	does.look = look;
	does.again = again;
	n->plane.does = &does;
	n->plane.can = FTT_PLANE_HOLDS;
	n->worker.plane = &n->plane;
}

bool ftt_channel_send_apart(struct ftt_channel *c, uint8_t to, const struct ftt_record *r, struct ftt_counters *n)
{
	(void)c;
	(void)to;
	(void)r;
	(void)n;
	abort(); /* nobody speaks UDP here */
}

void ftt_channel_put_record(struct ftt_channel *c, uint8_t to, const struct ftt_record *r, struct ftt_counters *counters)
{
	struct node *n = FTT_ENTRY(c, struct node, worker.channel);
	size_t len = ftt_record_put(n->records + n->records_len, sizeof(n->records) - n->records_len, r);

	(void)counters;
	MODEL_CHECK(len && to < n->engine.cfg.workers, "%s: record of type %u for worker %u", n->name, r->type, to);
	n->records_len += len;
}

int ftt_channel_receive(struct ftt_channel *c, unsigned lanes, struct ftt_channel_header *h, const uint8_t **records, size_t *len,
			struct ftt_counters *counters)
{
	struct node *n = FTT_ENTRY(c, struct node, worker.channel);

	(void)lanes;
	(void)counters;
	if (!n->arrived)
		return 0;
	memset(h, 0, sizeof(*h));
	h->worker = n->from;
	*records = n->arrived->bytes;
	*len = n->arrived->len;
	n->arrived = NULL;
	return 1;
}

/* --- the node ------------------------------------------------------------------------------------- */

void model_stack_sends(struct stack *s, struct wire *w)
{
	wire_push(&((struct node *)s->owner)->out, w);
}

void node_open(struct node *n, const char *name, uint32_t mode, uint8_t family)
{
	struct ftt_config *cfg = &n->engine.cfg;

	memset(n, 0, sizeof(*n));
	n->name = name;
	n->alive = true;
	cfg->workers = 1;
	cfg->n_ports = 1;
	cfg->port[0] = (struct ftt_port){.port = 80, .proto = 6};
	cfg->policy.detach_after_ns = 2000 * MS;
	cfg->policy.end_grace_ns = 200 * MS;
	cfg->policy.open_timeout_ns = 500 * MS;
	cfg->policy.opens_wait_ns = 2000 * MS;
	cfg->policy.idle_timeout_ns = cfg->policy.udp_idle_timeout_ns = 7200000 * MS;
	cfg->policy.max_flows = cfg->policy.max_half_open = 16;
	cfg->policy.max_held = cfg->policy.max_held_total = 256;
	cfg->policy.max_retained = 1 << 20;
	cfg->policy.compare = 1;
	atomic_store(&n->engine.shared.vouched, 1);
	n->worker.e = &n->engine;
	open_plane(n);
	ftt_renewals_open(&n->worker);
	ftt_list_init(&n->worker.opens);
	CHECK(!ftt_table_open(&n->worker.table, cfg->policy.max_flows) && !ftt_udp_open(&n->worker.udp, cfg));
	stack_init(&n->stack, false, family);
	n->stack.send = model_stack_sends;
	n->stack.owner = n;
	node_role(n, mode, 1);
}

void node_close(struct node *n)
{
	struct ftt_tcp *c;

	while ((c = node_flow(n)))
		ftt_tcp_forget(&n->worker, c, false);
	ftt_tcp_free_spent(&n->worker);
	ftt_table_close(&n->worker.table);
	ftt_udp_close(&n->worker.udp);
	wire_clear(&n->in);
	wire_clear(&n->out);
	wire_clear(&n->to_stack);
	while (n->queued) {
		struct wire *w = n->queued;

		n->queued = w->next;
		free(w);
	}
}

void node_role(struct node *n, uint32_t mode, uint64_t session)
{
	struct ftt_shared *sh = &n->engine.shared;

	atomic_store(&sh->lease_policy, mode == FTT_MODE_BACKUP ? FTT_LEASE_NONE : FTT_LEASE_SELF);
	atomic_store(&sh->lease_until_ns, mode == FTT_MODE_BACKUP ? 0 : UINT64_MAX);
	atomic_store(&sh->mode, mode);
	ftt_flows_role(&n->worker, mode, session, model_now);
	while (!ftt_flows_rest(&n->worker, 1, model_now))
		;
	node_run(n);
}

#define SAME(counted, found) \
	MODEL_CHECK((counted) == (found), "%s: counted %llu, found %llu", n->name, (unsigned long long)(counted), \
		    (unsigned long long)(found))

/* What a worker counts of its flows, counted anew. */
struct found {
	uint32_t n, count[FTT_COUNT_CLOSED + 1], of_age[FTT_AGES], waiting, dirty, held, held_bytes, why[FTT_UNRENEWABLES], logs;
	uint64_t retained_bytes, log_bytes;
};

static uint32_t held_bytes(const struct ftt_held *h)
{
	return h->bytes && h->bytes != h->small ? h->len : 0;
}

static void check_flow(const struct node *n, const struct ftt_tcp *c, struct found *found)
{
	const struct ftt_worker *w = &n->worker;
	uint32_t held = 0;

	for (const struct ftt_held *h = c->held; h; h = h->next, held++)
		found->held_bytes += held_bytes(h);
	SAME(c->n_held, held);
		if (n->plane.can & FTT_PLANE_HOLDS) /* else it says since when something would be held */
			SAME(c->flow.held_since_ns, c->held ? c->held->since_ns : 0);
	found->n++;
	found->held += held;
	found->retained_bytes += c->store ? c->store->size : 0;
	found->count[c->counted]++;
	found->why[c->counted_why]++;
	found->logs += !!c->log;
	found->log_bytes += c->log ? sizeof(*c->log) + c->log->size + (c->log->later ? c->log->later->size : 0) : 0;
	found->of_age[c->age]++;
	found->waiting += c->waiting;
	found->dirty += c->dirty;
	if (c->role != w->table.role) /* what the new role makes of it is taken up later */
		return;
	SAME(c->counted_why, c->closed ? FTT_RENEWABLE : c->unrenewable);
	SAME(c->counted, c->closed ? FTT_COUNT_CLOSED : c->flow.protection);
	SAME(c->age, ftt_flow_age(&c->flow, c->closed, (uint8_t)w->mode));
	SAME(c->waiting, ftt_table_waits(c));
}

void node_check(struct node *n)
{
	const struct ftt_worker *w = &n->worker;
	struct found found = {0};
	uint32_t waiting = 0, dirty = 0;

	for (const struct ftt_tcp *c = NULL; (c = ftt_table_next(&w->table, c));)
		check_flow(n, c, &found);
	for (const struct ftt_held *h = w->spent; h; h = h->next)
		found.held_bytes += held_bytes(h);
	for (const struct ftt_tcp *c = w->table.waiting; c; c = c->wait_next, waiting++)
		MODEL_CHECK(c->waiting, "%s: one waits that does not", n->name);
	for (const struct ftt_tcp *c = w->table.dirty; c; c = c->dirty_next, dirty++)
		MODEL_CHECK(c->dirty, "%s: one has a COMMIT to send that has none", n->name);
	SAME(waiting, found.waiting);
	SAME(dirty, found.dirty);
	SAME(w->table.n, found.n);
	SAME(w->held_now, found.held);
	SAME(w->held_bytes, found.held_bytes);
	SAME(w->retained_bytes, found.retained_bytes);
	for (unsigned i = 0; i <= FTT_COUNT_CLOSED; i++)
		SAME(w->table.count[i], found.count[i]);
	for (unsigned i = 0; i < FTT_AGES; i++)
		SAME(w->table.of_age[i], found.of_age[i]);
	for (unsigned i = 0; i < FTT_UNRENEWABLES; i++)
		SAME(w->table.why[i], found.why[i]);
	SAME(w->n_logs, found.logs);
	SAME(w->log_bytes, found.log_bytes);
}

static void one_packet(struct node *n, struct wire *w, bool in)
{
	struct ftt_packet p = {.id = ++n->next_id, .queue = in ? QUEUE_IN : QUEUE_OUT, .from_client = in, .csum_ready = true,
			       .csum_unknown = in && !n->choose, .cap = w->len, .len = w->len};
	struct ftt_pkt k;
	struct ftt_seg s;

	if (n->choose) {
		n->choose(&n->worker);
		p.cap = w->len < n->copies[in] ? w->len : n->copies[in];
		n->cut += in && p.cap < w->len;
	}

	w->id = p.id;
	w->next = n->queued;
	n->queued = w;
	p.bytes = malloc(p.cap);
	CHECK(p.bytes);
	memcpy(p.bytes, w->bytes, p.cap);
	MODEL_CHECK(ftt_parse(p.bytes, p.cap, p.len, &k, &s) == FTT_PARSED_TCP, "%s: %u bytes", n->name, p.len);
	s.dir = in ? FTT_FROM_CLIENT : FTT_FROM_SERVER;
	(in ? ftt_tcp_from_client : ftt_tcp_from_server)(&n->worker, &p, &k, &s, model_now);
	free(p.bytes); /* a slot is used again: whoever holds the packet must have copied it */
}

void node_run(struct node *n)
{
	struct wire *w;

	while (n->alive) {
		if ((w = wire_pop(&n->to_stack))) {
			if (n->given)
				n->given(n, w);
			stack_receive(&n->stack, w);
			free(w);
		} else if ((w = wire_pop(&n->out))) {
			one_packet(n, w, false);
		} else if ((w = wire_pop(&n->in))) {
			one_packet(n, w, true);
		} else if (n->worker.n_to_inject) {
			ftt_tcp_send_injected(&n->worker);
		} else {
			break;
		}
	}
	ftt_tcp_free_spent(&n->worker);
	ftt_tcp_send_commits(&n->worker);
	if (n->records_len)
		n->to_peer(n, wire_new(n->records, (uint32_t)n->records_len));
	n->records_len = 0;
	node_check(n);
}

void node_from_client(struct node *n, struct wire *w)
{
	wire_push(&n->in, w);
}

void node_from_peer(struct node *n, const struct wire *w)
{
	n->arrived = w;
	ftt_hear_records(&n->worker, FTT_ON_ANY, model_now);
	node_run(n);
}

void node_hears(struct node *n, const struct ftt_record *r)
{
	uint8_t bytes[256];
	struct wire *datagram = wire_new(bytes, (uint32_t)ftt_record_put(bytes, sizeof(bytes), r));

	node_from_peer(n, datagram);
	free(datagram);
}

void node_tick(struct node *n)
{
	ftt_flows_tick(&n->worker, model_now);
	stack_tick(&n->stack);
	node_run(n);
}

struct ftt_tcp *node_flow(struct node *n)
{
	return ftt_table_next(&n->worker.table, NULL);
}
