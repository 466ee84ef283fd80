/* SPDX-License-Identifier: Apache-2.0 */
/* heap.h - frames on their way, by arrival; those of one moment in the order in which they came. Bounded. */
#ifndef FTTCP_LINK_HEAP_H
#define FTTCP_LINK_HEAP_H
#include <stdbool.h>
#include <stdint.h>

#define LINK_HEAP_FRAMES 32768u
#define LINK_HEAP_BYTES (256ull << 20)

struct link_frame {
	uint64_t due_ns, order;
	void *data;
	uint32_t bytes;
};

struct link_heap {
	struct link_frame frames[LINK_HEAP_FRAMES];
	uint32_t count;
	uint64_t bytes, orders;
};

static inline bool link_before(const struct link_frame *a, const struct link_frame *b)
{
	return a->due_ns != b->due_ns ? a->due_ns < b->due_ns : a->order < b->order;
}

static inline bool link_room(const struct link_heap *h, uint32_t bytes)
{
	return h->count < LINK_HEAP_FRAMES && h->bytes + bytes <= LINK_HEAP_BYTES;
}

/* Only when there is room. */
static inline void link_push(struct link_heap *h, uint64_t due_ns, void *data, uint32_t bytes)
{
	struct link_frame frame = {due_ns, h->orders++, data, bytes};
	uint32_t i = h->count++;

	h->bytes += bytes;
	for (; i && link_before(&frame, &h->frames[(i - 1) / 2]); i = (i - 1) / 2)
		h->frames[i] = h->frames[(i - 1) / 2];
	h->frames[i] = frame;
}

/* The first that is due; only when there is one. */
static inline struct link_frame link_pop(struct link_heap *h)
{
	struct link_frame first = h->frames[0], last = h->frames[--h->count];
	uint32_t i = 0, child;

	h->bytes -= first.bytes;
	while ((child = 2 * i + 1) < h->count) {
		child += child + 1 < h->count && link_before(&h->frames[child + 1], &h->frames[child]);
		if (!link_before(&h->frames[child], &last))
			break;
		h->frames[i] = h->frames[child];
		i = child;
	}
	h->frames[i] = last;
	return first;
}

#endif
