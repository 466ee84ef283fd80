/* SPDX-License-Identifier: Apache-2.0 */
/* model_world.h - the world of test_model.c: who is in it, what happens to them, and what is under way between them. Included once. */
#ifndef FTTCP_MODEL_WORLD_H
#define FTTCP_MODEL_WORLD_H
#include <stdlib.h>
#include "model.h"
#include "model_node.h"

enum fate { FATE_NONE, FATE_CRASH, FATE_SWITCHOVER, FATE_BACKUP_LOST, FATE_SERVER_DIES, FATES };
enum bound_for { TO_SERVICE, TO_CLIENT, MIRRORED, RECORDS_TO_P, RECORDS_TO_B };

struct event {
	uint64_t at, order;
	enum bound_for what;
	struct wire *wire;
};

static struct world {
	struct node p, b;
	struct stack client;
	uint64_t chance; /* state of model_random() */
	/* what is to be carried: count requests of req bytes, each answered with resp bytes */
	uint32_t req, resp, count;
	bool lockstep, client_ends_early, server_ends_first;
	bool service; /* the order of the service */
	/* where the backup's server says something else, and how much of it */
	enum difference { SAME, OTHER, LONGER, SHORTER } differs;
	uint32_t differ_at, differ_by;
	bool not_p, not_b; /* what the client has is not the primary's stream, not the backup's */
	uint32_t read_speed[2], write_speed[2], client_speed; /* bytes per tick; 0 = p, 1 = b */
	/* networks: per mille, and ns */
	uint32_t lose_service, lose_mirror, lose_records;
	uint64_t delay_service, delay_peer;
	/* what happens */
	enum fate fate;
	uint64_t fate_at, takeover_at, join_at; /* join_at: a third node makes it a pair again */
	bool fallen, taken_over, joined;
	bool late; /* what the primary said last of its output had not arrived at the takeover */
	uint64_t last_words; /* of the primary's server: 1 + the offset where they begin; 0: it lives */
	uint8_t protection; /* of the primary's flow when it fell */
	bool had_flow;
	/* the client's view */
	uint8_t told_wscale;
	uint32_t told_edge, first_edge; /* first: of the SYN-ACK */
	bool told;
	/* what it had of the server's stream when it first sent each byte of its own, as offsets; and up to where that is checked */
	uint32_t spoke_after[MODEL_STREAM_MAX + 2];
	uint64_t spoken, in_order;
	/* events under way: a heap */
	struct event *heap;
	size_t n, room;
	uint64_t order;
} *w;

static inline bool earlier(const struct event *a, const struct event *b)
{
	return a->at != b->at ? a->at < b->at : a->order < b->order;
}

static inline void heap_push(struct event e)
{
	size_t i = w->n++;

	if (w->n > w->room) {
		w->room = w->room ? 2 * w->room : 64;
		w->heap = realloc(w->heap, w->room * sizeof(*w->heap));
		CHECK(w->heap);
	}
	for (; i && earlier(&e, &w->heap[(i - 1) / 2]); i = (i - 1) / 2)
		w->heap[i] = w->heap[(i - 1) / 2];
	w->heap[i] = e;
}

static inline struct event heap_pop(void)
{
	struct event top = w->heap[0], last = w->heap[--w->n];
	size_t i = 0;

	for (size_t child = 1; child < w->n; child = 2 * i + 1) {
		child += child + 1 < w->n && earlier(&w->heap[child + 1], &w->heap[child]);
		if (!earlier(&w->heap[child], &last))
			break;
		w->heap[i] = w->heap[child];
		i = child;
	}
	if (w->n)
		w->heap[i] = last;
	return top;
}

/* Sends over a network that may lose it, and delays each by chance, so that order is not kept. */
static inline void carry(struct wire *packet, enum bound_for what, uint32_t lose, uint64_t delay)
{
	struct event e = {.order = ++w->order, .what = what, .wire = packet};

	if (model_chance(lose)) {
		free(packet);
		return;
	}
	e.at = model_now + delay + (model_chance(30) ? delay * model_random(8) : model_random((uint32_t)delay / 16 + 1));
	heap_push(e);
}

#endif
