/* SPDX-License-Identifier: Apache-2.0 */
/* begin.c - a call begins: whether it is followed, and what the leader's returned. */
#define _GNU_SOURCE
#include "calls.h"

static void follow(struct calls_call *c, int64_t most)
{
	while (calls_take(c)) {
		if (c->said.call == CALLS_SIGNAL) {
			calls_deliver_told(c);
			continue;
		}
		if (c->said.call != c->call || c->said.about != c->about)
			calls_break(FTT_CALLS_DIFFERS, c);
		else if (c->said.result > most)
			calls_break(FTT_CALLS_DAMAGED, c);
		else
			return;
		break;
	}
	calls_go_alone();
	c->role = CALLS_ALONE;
}

struct calls_call calls_begin_within(enum calls_number call, uint64_t about, int64_t most)
{
	struct calls_thread *t = &calls_self;
	struct calls_call c = {.call = (uint16_t)call, .about = about};
	int before = errno;

	if (calls_role == CALLS_ALONE && t->pending)
		calls_deliver_pending();
	if (calls_role == CALLS_ALONE || !t->name || !calls_follows(call) || !calls_has_ring(t))
		return c;
	c.role = (uint8_t)calls_role;
	if (c.role == CALLS_LEADS) {
		t->open = 1;
		atomic_signal_fence(memory_order_seq_cst);
		if (t->pending) {
			calls_deliver_pending();
			c.interrupted = true;
		}
	} else {
		follow(&c, most);
	}
	errno = before;
	return c;
}

struct calls_call calls_begin(enum calls_number call, uint64_t about)
{
	return calls_begin_within(call, about, INT64_MAX);
}
