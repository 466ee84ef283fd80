/* SPDX-License-Identifier: Apache-2.0 */
/* turns.c - whose turn it is. */
#define _GNU_SOURCE
#include <limits.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include "locks.h"
#include "next.h"

#define LATE_MS 1000 /* after the end a turn that has not come until then does not come: its record was lost with the leader */

static uint16_t new_name(void)
{
	uint64_t x = (calls_self.name ^ ++calls_self.locks) * 0x9e3779b97f4a7c15ull >> 48;

	return x ? (uint16_t)x : 1;
}

static uint16_t told_name(const struct calls_call *c)
{
	return (uint16_t)(c->said.result >> 32);
}

/* It is another lock than the leader's, or was taken without the leader's having done so. */
static bool is_other(const struct calls_call *c, struct calls_turn *turn, uint32_t at)
{
	uint16_t name = atomic_load(&turn->name);

	return (int32_t)(at - (uint32_t)c->said.result) > 0 || (name && told_name(c) && name != told_name(c));
}

/* How long it may stay like this. */
static int64_t patience_ms(void)
{
	if (calls_still())
		return calls_log->patience_ms;
	return atomic_load(&calls_log->state) == FTT_CALLS_ALONE ? LATE_MS : 0;
}

/* False: it does not come. */
static bool await(struct calls_call *c, struct calls_turn *turn)
{
	struct timespec most = {.tv_nsec = CALLS_LOOK_MS * 1000000l};
	int64_t since = 0, patience = 0;
	uint32_t at, seen = 0;

	while ((at = atomic_load(&turn->count)) != (uint32_t)c->said.result || is_other(c, turn, at)) {
		if (at != seen || patience != patience_ms())
			since = 0;
		since = since ? since : calls_now_ms();
		seen = at;
		patience = patience_ms();
		if (is_other(c, turn, at) || calls_now_ms() - since > patience) {
			calls_break(is_other(c, turn, at) ? FTT_CALLS_DIFFERS : FTT_CALLS_ENDED, c);
			return false;
		}
		atomic_fetch_add(&turn->waits, 1);
		if (atomic_load(&turn->count) == at)
			NEXT(syscall)(SYS_futex, &turn->count, FUTEX_WAIT, at, &most, NULL, 0);
		atomic_fetch_sub(&turn->waits, 1);
	}
	return true;
}

int calls_await_turn(struct calls_call *c, struct calls_turn *turn)
{
	int before = errno;

	if (c->said.result < 0) {
		calls_end(c);
		errno = before;
		return c->said.error ? c->said.error : EINVAL;
	}
	if (!await(c, turn))
		calls_go_alone();
	calls_end(c);
	errno = before;
	return 0;
}

int calls_pass_turn(struct calls_call *c, struct calls_turn *turn, int error)
{
	int before = errno;
	uint64_t count;

	if (c->role == CALLS_ALONE)
		return error;
	if (error && c->role == CALLS_LEADS) {
		errno = error;
		calls_tell(c, -1, NULL, 0);
	} else if (!error) {
		count = atomic_fetch_add(&turn->count, 1);
		if (!count)
			atomic_store(&turn->name, c->role == CALLS_LEADS ? new_name() : told_name(c));
		errno = c->error;
		calls_tell(c, (int64_t)((uint64_t)atomic_load(&turn->name) << 32 | count), NULL, 0);
		if (atomic_load(&turn->waits))
			NEXT(syscall)(SYS_futex, &turn->count, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
	}
	errno = before;
	return error;
}

const struct timespec *calls_own_limit(clockid_t clock, const struct timespec *limit, struct timespec *own)
{
	int64_t apart = calls_ahead(clock), ns = calls_ns(limit) - apart;

	if (!apart)
		return limit;
	*own = (struct timespec){ns > 0 ? ns / CALLS_NS : 0, ns > 0 ? ns % CALLS_NS : 0};
	return own;
}
