/* SPDX-License-Identifier: Apache-2.0 */
/* end.c - how following ends: the first reason is kept, and each copy goes on by itself. */
#define _GNU_SOURCE
#include <string.h>
#include "calls.h"
#include "next.h"

#define NOBODY UINT32_MAX /* no process has that number */

bool calls_still(void)
{
	return calls_role != CALLS_ALONE && atomic_load_explicit(&calls_log->state, memory_order_acquire) == FTT_CALLS_RUNS;
}

void calls_go_alone(void)
{
	if (calls_role != CALLS_FOLLOWS) {
		calls_role = CALLS_ALONE;
		return;
	}
	calls_keep_time();
	calls_self.name = 0;
	if (calls_self.ring) /* a program that replaces this one does not go on here */
		atomic_store(&calls_self.ring->follower, NOBODY);
	calls_rearm();
}

void calls_break(enum ftt_calls_end why, const struct calls_call *c)
{
	struct ftt_calls_break *first = &calls_log->first;
	uint32_t none = 0, runs = FTT_CALLS_RUNS;
	int before = errno;

	if (calls_role == CALLS_ALONE)
		return;
	if (calls_still() && atomic_compare_exchange_strong(&calls_log->breaking, &none, 1)) {
		first->why = why;
		first->made = c->call;
		first->made_about = c->about;
		first->said = c->said.call;
		first->said_about = c->said.about;
		first->pid = (uint32_t)NEXT(getpid)();
		first->thread = calls_self.ring ? (uint32_t)(calls_self.ring - ftt_calls_rings(calls_log)) : UINT32_MAX;
		first->number = calls_self.number;
		memcpy(first->program, program_invocation_short_name, strnlen(program_invocation_short_name, sizeof(first->program) - 1));
		atomic_compare_exchange_strong(&calls_log->state, &runs, FTT_CALLS_BROKEN);
	}
	calls_go_alone();
	errno = before;
}
