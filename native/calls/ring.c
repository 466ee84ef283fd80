/* SPDX-License-Identifier: Apache-2.0 */
/* ring.c - records, told and heard. */
#define _GNU_SOURCE
#include <limits.h>
#include <linux/futex.h>
#include <string.h>
#include <sys/syscall.h>
#include "calls.h"
#include "next.h"

static uint64_t filled(uint64_t n)
{
	return (n + 7) & ~7ull;
}

/* --- waiting for the other side ------------------------------------------------------------------ */

static void sleep_on(_Atomic uint64_t *position, uint64_t seen)
{
	struct timespec most = {.tv_nsec = CALLS_LOOK_MS * 1000000l};

	NEXT(syscall)(SYS_futex, position, FUTEX_WAIT, (uint32_t)seen, &most, NULL, 0); /* its lower half */
}

static void publish(_Atomic uint64_t *position, uint64_t to, _Atomic uint32_t *waits)
{
	atomic_store(position, to);
	if (atomic_load(waits))
		NEXT(syscall)(SYS_futex, position, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
}

/* The leader: n bytes more have room. */
static bool has_room(struct calls_thread *t, uint64_t n, const struct calls_call *c)
{
	uint64_t size = calls_log->ring_size, read = atomic_load_explicit(&t->ring->read, memory_order_acquire);
	int64_t since = 0;

	while (calls_still() && (n > size / 2 || read > t->at || t->at - read > size || t->at + n - read > size)) {
		if (read > t->at || t->at - read > size) {
			calls_break(FTT_CALLS_DAMAGED, c);
			return false;
		}
		if (!since)
			since = calls_now_ms();
		if (n > size / 2 || calls_now_ms() - since > calls_log->patience_ms) {
			calls_break(FTT_CALLS_FULL, c);
			return false;
		}
		atomic_store(&t->ring->leader_waits, 1);
		if (atomic_load(&t->ring->read) == read)
			sleep_on(&t->ring->read, read);
		atomic_store(&t->ring->leader_waits, 0);
		read = atomic_load(&t->ring->read);
	}
	return calls_still();
}

/* The follower: n bytes from `at` on are there. After the end those that are there count still. */
static bool is_there(struct calls_thread *t, uint64_t at, uint64_t n, const struct calls_call *c)
{
	for (;;) {
		bool still = calls_still(); /* what was there before the end is seen after it */
		uint64_t written = atomic_load_explicit(&t->ring->written, memory_order_acquire);

		if (written < t->at || written - t->at > calls_log->ring_size) {
			calls_break(FTT_CALLS_DAMAGED, c);
			return false;
		}
		if (written >= at && written - at >= n)
			return true;
		if (!still)
			return false;
		atomic_store(&t->ring->follower_waits, 1);
		if (atomic_load(&t->ring->written) == written)
			sleep_on(&t->ring->written, written);
		atomic_store(&t->ring->follower_waits, 0);
	}
}

/* --- bytes of the ring ---------------------------------------------------------------------------- */

static void put(struct calls_thread *t, uint64_t at, const void *from, size_t n)
{
	uint64_t size = calls_log->ring_size, place = at & (size - 1), first = n < size - place ? n : size - place;

	memcpy(t->bytes + place, from, first);
	memcpy(t->bytes, (const uint8_t *)from + first, n - first);
}

static void get(struct calls_thread *t, uint64_t at, void *to, size_t n)
{
	uint64_t size = calls_log->ring_size, place = at & (size - 1), first = n < size - place ? n : size - place;

	memcpy(to, t->bytes + place, first);
	memcpy((uint8_t *)to + first, t->bytes, n - first);
}

/* --- the leader ------------------------------------------------------------------------------------- */

int64_t calls_tell_parts(struct calls_call *c, int64_t result, const struct iovec *parts, int n)
{
	struct calls_thread *t = &calls_self;
	struct ftt_calls_record r = {.call = c->call, .error = (uint16_t)errno, .result = result, .about = c->about};
	int before = errno;
	uint64_t at;

	if (c->role != CALLS_LEADS)
		return result;
	t->open = 0;
	for (int i = 0; i < n; i++)
		r.size += (uint32_t)parts[i].iov_len;
	if (!has_room(t, sizeof(r) + filled(r.size), c)) {
		calls_go_alone();
		errno = before;
		return result;
	}
	at = t->at;
	put(t, at, &r, sizeof(r));
	at += sizeof(r);
	for (int i = 0; i < n; at += parts[i++].iov_len)
		if (parts[i].iov_len)
			put(t, at, parts[i].iov_base, parts[i].iov_len);
	t->at += sizeof(r) + filled(r.size);
	t->number++;
	atomic_store_explicit(&t->ring->records, t->number, memory_order_relaxed);
	publish(&t->ring->written, t->at, &t->ring->follower_waits);
	errno = before;
	return result;
}

int64_t calls_tell(struct calls_call *c, int64_t result, const void *wrote, size_t n)
{
	struct iovec part = {(void *)wrote, n};

	return calls_tell_parts(c, result, &part, n ? 1 : 0);
}

void calls_put_record(enum calls_number call, int64_t result, const void *bytes, size_t n)
{
	struct calls_call c = {.call = (uint16_t)call, .role = CALLS_LEADS};

	calls_tell(&c, result, bytes, n);
}

/* --- the follower ----------------------------------------------------------------------------------- */

bool calls_take(struct calls_call *c)
{
	struct calls_thread *t = &calls_self;

	if (!is_there(t, t->at, sizeof(c->said), c))
		return false;
	get(t, t->at, &c->said, sizeof(c->said));
	c->heard = 0;
	c->next = t->at + sizeof(c->said) + filled(c->said.size);
	if (c->said.size > calls_log->ring_size / 2 || c->said.call >= CALLS_COUNT) {
		calls_break(FTT_CALLS_DAMAGED, c);
		return false;
	}
	if (!is_there(t, t->at, c->next - t->at, c))
		return false;
	t->number++;
	return true;
}

size_t calls_hear(struct calls_call *c, void *to, size_t n)
{
	size_t left = c->said.size - c->heard, part = n < left ? n : left;

	if (part)
		get(&calls_self, calls_self.at + sizeof(c->said) + c->heard, to, part);
	c->heard += (uint32_t)part;
	return part;
}

int64_t calls_end(struct calls_call *c)
{
	calls_self.at = c->next;
	publish(&calls_self.ring->read, c->next, &calls_self.ring->leader_waits);
	if (c->said.result < 0)
		errno = c->said.error;
	return c->said.result;
}

