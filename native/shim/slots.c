/* SPDX-License-Identifier: Apache-2.0 */
/* slots.c - connections of this process, and which descriptors are theirs. */
#define _GNU_SOURCE
#include <errno.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include "shim.h"

static _Atomic uint32_t owner[SHIM_FDS]; /* of a descriptor: its slot, or SHIM_DEVICE */
static _Atomic int top; /* no descriptor above has an owner */

/*
 * Slots that are free: the last one that was given back is taken first, for its memory is there, and in the cache. Each names the one
 * below it. The upper half of the word counts changes: who has looked at one that came back meanwhile looks again.
 */
static _Atomic uint64_t returned;
static _Atomic uint32_t untouched = 1; /* from here on no slot was ever taken */

static void push_slot(uint32_t slot)
{
	uint64_t head = atomic_load(&returned);

	do
		atomic_store_explicit(&shim_slots[slot].below, (uint32_t)head, memory_order_relaxed);
	while (!atomic_compare_exchange_weak(&returned, &head, ((head >> 32) + 1) << 32 | slot));
}

static uint32_t pop_slot(void)
{
	uint64_t head = atomic_load(&returned);
	uint32_t next;

	while ((uint32_t)head) {
		uint64_t below = atomic_load_explicit(&shim_slots[(uint32_t)head].below, memory_order_relaxed);

		if (atomic_compare_exchange_weak(&returned, &head, ((head >> 32) + 1) << 32 | below))
			return (uint32_t)head;
	}
	next = atomic_load(&untouched);
	while (next < SHIM_SLOTS && !atomic_compare_exchange_weak(&untouched, &next, next + 1))
		;
	return next < SHIM_SLOTS ? next : SHIM_NOBODY;
}

uint32_t shim_take_slot(void)
{
	uint32_t slot = pop_slot(), other;

	if (!slot)
		return SHIM_NOBODY;
	if (shim_begin_key((struct shim_current){slot, atomic_fetch_add(&shim_slots[slot].epoch, 1) + 1})) {
		atomic_store(&shim_slots[slot].refs, 1);
		return slot;
	}
	other = shim_take_slot(); /* a thread of its last connection is not through yet */
	push_slot(slot);
	return other;
}

static void put_slot(uint32_t slot)
{
	uint32_t refs, epoch;

	if (!slot || slot == SHIM_DEVICE)
		return;
	refs = atomic_load(&shim_slots[slot].refs);
	do
		if (!refs || refs == SHIM_CLOSING)
			return;
	while (!atomic_compare_exchange_weak(&shim_slots[slot].refs, &refs, refs == 1 ? SHIM_CLOSING : refs - 1));
	if (refs > 1)
		return;
	epoch = atomic_fetch_add(&shim_slots[slot].epoch, 1); /* threads that were busy with it are with nobody */
	shim_forget_key((struct shim_current){slot, epoch});
	atomic_store(&shim_slots[slot].refs, 0);
	push_slot(slot);
}

/* One descriptor more; false: another thread has just closed it. */
static bool hold_slot(uint32_t slot)
{
	uint32_t refs = atomic_load(&shim_slots[slot].refs);

	do
		if (!refs || refs == SHIM_CLOSING)
			return false;
	while (!atomic_compare_exchange_weak(&shim_slots[slot].refs, &refs, refs + 1));
	return true;
}

void shim_let_go(int fd)
{
	if ((unsigned)fd < SHIM_FDS && atomic_load_explicit(&owner[fd], memory_order_relaxed))
		put_slot(atomic_exchange(&owner[fd], SHIM_NOBODY));
}

static void reach(int fd)
{
	int most = atomic_load_explicit(&top, memory_order_relaxed);

	while (fd > most && !atomic_compare_exchange_weak(&top, &most, fd))
		;
}

void shim_give(int fd, uint32_t slot)
{
	if ((unsigned)fd >= SHIM_FDS) {
		put_slot(slot);
		return;
	}
	reach(fd);
	put_slot(atomic_exchange(&owner[fd], slot));
}

uint32_t shim_slot_of(int fd)
{
	uint32_t slot = (unsigned)fd < SHIM_FDS ? atomic_load_explicit(&owner[fd], memory_order_relaxed) : SHIM_NOBODY;

	return slot == SHIM_DEVICE ? SHIM_NOBODY : slot;
}

bool shim_is_device(int fd)
{
	struct stat st;
	int before = errno;
	bool yes;

	if ((unsigned)fd >= SHIM_FDS || atomic_load_explicit(&owner[fd], memory_order_relaxed) != SHIM_DEVICE)
		return false;
	yes = !fstat(fd, &st) && S_ISCHR(st.st_mode) && major(st.st_rdev) == 1 && (minor(st.st_rdev) == 8 || minor(st.st_rdev) == 9);
	errno = before;
	if (!yes)
		shim_let_go(fd);
	return yes;
}

void shim_let_go_range(unsigned first, unsigned last)
{
	unsigned most = (unsigned)atomic_load(&top);

	for (unsigned fd = first; fd <= last && fd <= most; fd++)
		shim_let_go((int)fd);
}

int shim_also(int from, int to)
{
	uint32_t slot;

	if (to < 0 || from == to || (unsigned)from >= SHIM_FDS)
		return to;
	slot = atomic_load(&owner[from]);
	if (slot && slot != SHIM_DEVICE && !hold_slot(slot))
		slot = SHIM_NOBODY;
	shim_give(to, slot);
	return to;
}
