/* SPDX-License-Identifier: Apache-2.0 */
/* list.h - a ring of things around a head: what is in it can be taken out without knowing the head. */
#ifndef FTTCP_LIST_H
#define FTTCP_LIST_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct ftt_list {
	struct ftt_list *next, *prev; /* of a head: its first and its last one */
};

#define FTT_ENTRY(at, type, member) ((type *)((char *)(uintptr_t)(at) - offsetof(type, member)))
#define FTT_RECENT_SHIFT 24 /* order of activity is kept to within 17 ms: who is busy is moved no more often */

static inline void ftt_list_init(struct ftt_list *at)
{
	at->next = at->prev = at;
}

static inline bool ftt_list_empty(const struct ftt_list *head)
{
	return head->next == head;
}

static inline void ftt_list_remove(struct ftt_list *at)
{
	at->prev->next = at->next;
	at->next->prev = at->prev;
}

static inline void ftt_list_add(struct ftt_list *at, struct ftt_list *behind)
{
	at->prev = behind;
	at->next = behind->next;
	behind->next->prev = at;
	behind->next = at;
}

/* All that is in `from` goes to the front of `to`. */
static inline void ftt_list_move(struct ftt_list *from, struct ftt_list *to)
{
	if (ftt_list_empty(from))
		return;
	from->prev->next = to->next;
	to->next->prev = from->prev;
	to->next = from->next;
	to->next->prev = to;
	ftt_list_init(from);
}

#endif
