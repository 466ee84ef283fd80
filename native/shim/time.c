/* SPDX-License-Identifier: Apache-2.0 */
/*
 * time.c - the wall clock as a function of the connection; and servers that look at it once for all that waits.
 *
 * Many servers ask epoll what is ready, read the clock, and use that for each connection that they serve then. So they are told of one at a
 * time, and the clock shows the time of that one.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <limits.h>
#include <link.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/time.h>
#include <time.h>
#include "next.h"
#include "shim.h"

#define KNOWN (1u << 18) /* places in which a connection can be found by what epoll says of it */
#define WAYS 4u

static _Atomic uint32_t known[KNOWN]; /* slots, by what their descriptors were registered with */
static _Atomic bool one_by_one;       /* connections of this process wait with epoll */
static int64_t *kept;                 /* lighttpd's seconds */

/*
 * lighttpd looks at the clock when a second of its *monotonic* clock has passed, and shows what it has kept to all: which connection's
 * time that is, and since when, is chance. It exports the variable, for its modules. NULL: this is another program.
 */
static int64_t *find_kept(void)
{
	void *seconds = dlsym(RTLD_DEFAULT, "log_epoch_secs");
	const ElfW(Sym) *symbol = NULL;
	Dl_info where;

	if (!seconds || !dlsym(RTLD_DEFAULT, "log_monotonic_secs") ||
	    !dladdr1(seconds, &where, (void **)&symbol, RTLD_DL_SYMENT) || !symbol || symbol->st_size != sizeof(*kept))
		return NULL;
	return seconds;
}

void shim_find_clocks(void)
{
	kept = find_kept();
}

/* --- clocks --------------------------------------------------------------------------------------- */

/* In place: never backwards for a connection. */
static void show(struct timespec *t)
{
	struct shim_current c = shim_now();
	uint32_t slot = c.slot;
	struct ftt_ls_found found;
	int64_t ns, last;

	if (!shim_found(c, &found) ||
	    !ftt_ls_clock(&shim_map, &found, shim_ahead, (int64_t)t->tv_sec * 1000000000 + t->tv_nsec, &ns))
		return;
	last = atomic_load_explicit(&shim_slots[slot].shown_ns, memory_order_relaxed);
	while (ns > last && !atomic_compare_exchange_weak(&shim_slots[slot].shown_ns, &last, ns))
		;
	ns = ns > last ? ns : last;
	t->tv_sec = ns / 1000000000;
	t->tv_nsec = ns % 1000000000;
}

EXPORT int clock_gettime(clockid_t clock, struct timespec *t)
{
	int rc = NEXT(clock_gettime)(clock, t);

	if (!rc && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE))
		show(t);
	return rc;
}

EXPORT int gettimeofday(struct timeval *restrict tv, void *restrict zone)
{
	struct timespec t;

	if (zone)
		*(struct timezone *)zone = (struct timezone){0};
	if (clock_gettime(CLOCK_REALTIME, &t))
		return -1;
	__asm__("" : "+r"(tv)); /* the header says that it is never NULL; callers do not know */
	if (tv)
		*tv = (struct timeval){.tv_sec = t.tv_sec, .tv_usec = t.tv_nsec / 1000};
	return 0;
}

EXPORT time_t time(time_t *to)
{
	struct timespec t;

	if (clock_gettime(CLOCK_REALTIME, &t))
		return -1;
	if (to)
		*to = t.tv_sec;
	return t.tv_sec;
}

EXPORT int timespec_get(struct timespec *t, int base)
{
	return base == TIME_UTC && !clock_gettime(CLOCK_REALTIME, t) ? base : 0;
}

void shim_keep_time(void)
{
	struct timespec t;
	uint32_t slot = kept && shim_map.header ? shim_now().slot : SHIM_NOBODY;

	if (slot && !clock_gettime(CLOCK_REALTIME, &t))
		*kept = t.tv_sec;
}

/* --- epoll ------------------------------------------------------------------------------------------ */

static uint32_t place_of(uint64_t data)
{
	return (uint32_t)((data * 0x9e3779b97f4a7c15ull) >> 40) & (KNOWN - 1) & ~(WAYS - 1);
}

static void remember(uint32_t slot, uint64_t data)
{
	uint32_t first = place_of(data), at = first + slot % WAYS;

	atomic_store(&shim_slots[slot].data, data);
	for (uint32_t i = first; i < first + WAYS; i++) {
		uint32_t there = atomic_load_explicit(&known[i], memory_order_relaxed);

		if (there == slot)
			return;
		if (!there || !atomic_load(&shim_slots[there].refs))
			at = i;
	}
	atomic_store(&known[at], slot);
	atomic_store_explicit(&one_by_one, true, memory_order_relaxed);
}

/* The server is to look after what this says: of no connection, or of one that did not find its place, it is nobody's. */
static void turn_to(const struct epoll_event *e)
{
	uint32_t first = place_of(e->data.u64);

	shim_current.slot = SHIM_NOBODY;
	for (uint32_t i = first; i < first + WAYS; i++) {
		uint32_t slot = atomic_load_explicit(&known[i], memory_order_relaxed);

		if (!slot || atomic_load_explicit(&shim_slots[slot].data, memory_order_relaxed) != e->data.u64 ||
		    !atomic_load_explicit(&shim_slots[slot].refs, memory_order_relaxed))
			continue;
		shim_current.slot = slot;
		shim_current.epoch = atomic_load_explicit(&shim_slots[slot].epoch, memory_order_relaxed);
		shim_ahead = e->events & EPOLLIN;
		return;
	}
}

EXPORT int epoll_ctl(int epoll, int what, int fd, struct epoll_event *e)
{
	int rc = NEXT(epoll_ctl)(epoll, what, fd, e);
	uint32_t slot = rc || what == EPOLL_CTL_DEL ? SHIM_NOBODY : shim_slot_of(fd);

	if (slot) {
		remember(slot, e->data.u64);
		shim_slots[slot].fd = fd;
		shim_slots[slot].epoll = epoll;
		shim_slots[slot].events = e->events;
	}
	return rc;
}

bool shim_tell_again(int epoll, int fd, uint32_t events, uint64_t data)
{
	struct epoll_event e = {.events = events, .data.u64 = data};

	return !NEXT(epoll_ctl)(epoll, EPOLL_CTL_MOD, fd, &e);
}

static int most(int wanted)
{
	return wanted > 1 && atomic_load_explicit(&one_by_one, memory_order_relaxed) ? 1 : wanted;
}

/* Of none: the server looks after its timers then. */
static int told(int n, const struct epoll_event *e)
{
	shim_new_turn();
	if (atomic_load_explicit(&one_by_one, memory_order_relaxed)) {
		if (n == 1)
			turn_to(e);
		else if (n <= 0)
			shim_current.slot = SHIM_NOBODY;
	}
	return n;
}

EXPORT int epoll_wait(int epoll, struct epoll_event *e, int n, int timeout)
{
	return told(NEXT(epoll_wait)(epoll, e, most(n), timeout), e);
}

EXPORT int epoll_pwait(int epoll, struct epoll_event *e, int n, int timeout, const sigset_t *mask)
{
	return told(NEXT(epoll_pwait)(epoll, e, most(n), timeout, mask), e);
}

EXPORT int epoll_pwait2(int epoll, struct epoll_event *e, int n, const struct timespec *timeout, const sigset_t *mask)
{
	if (!NEXT(epoll_pwait2)) {
		errno = ENOSYS;
		return -1;
	}
	return told(shim_next.epoll_pwait2(epoll, e, most(n), timeout, mask), e);
}

/* --- poll and select ---------------------------------------------------------------------------------- */

/* What is waited for. */
struct wanted {
	unsigned descriptors;
	uint32_t slot; /* a connection among them */
	bool more;     /* than that one */
};

static void want(struct wanted *w, int fd)
{
	uint32_t slot = shim_slot_of(fd);

	w->descriptors++;
	if (!slot)
		return;
	w->more |= w->slot && w->slot != slot;
	w->slot = slot;
}

/*
 * Who waits for many, and is told of none, or of one of several connections, is busy with nobody until it reads. A thread that waits
 * for its own connection, or for that and the server behind, goes on with it; and so does a process that has but one.
 */
static int waited(const struct wanted *w, int n)
{
	struct shim_current c = shim_now();

	shim_new_turn();
	if (c.slot && w->descriptors > 1 && !(n > 0 && !w->more && w->slot == c.slot) && !shim_is_only(c))
		shim_current.slot = SHIM_NOBODY;
	return n;
}

static struct wanted polled(struct pollfd *fds, nfds_t n)
{
	struct wanted w = {0};

	__asm__("" : "+r"(fds)); /* the header says that poll() only writes there */
	for (nfds_t i = 0; shim_current.slot && i < n; i++)
		if (fds[i].fd >= 0)
			want(&w, fds[i].fd);
	return w;
}

EXPORT int poll(struct pollfd *fds, nfds_t n, int timeout)
{
	struct wanted w = polled(fds, n);
	struct timespec t = {timeout / 1000, timeout % 1000 * 1000000l};
	bool hidden;
	int ready;

	if (shim_take_turns(fds, n))
		return waited(&w, shim_poll_in_turn(fds, n, timeout < 0 ? NULL : &t, NULL));
	hidden = shim_bgp_hide(fds, n, timeout);
	ready = NEXT(poll)(fds, n, timeout);
	shim_bgp_show(fds, n, hidden);
	return waited(&w, ready);
}

EXPORT int ppoll(struct pollfd *fds, nfds_t n, const struct timespec *timeout, const sigset_t *mask)
{
	struct wanted w = polled(fds, n);
	bool hidden;
	int ready;

	if (shim_take_turns(fds, n))
		return waited(&w, shim_poll_in_turn(fds, n, timeout, mask));
	hidden = shim_bgp_hide(fds, n, !timeout || timeout->tv_sec || timeout->tv_nsec);
	ready = NEXT(ppoll)(fds, n, timeout, mask);
	shim_bgp_show(fds, n, hidden);
	return waited(&w, ready);
}

EXPORT int __poll_chk(struct pollfd *fds, nfds_t n, int timeout, size_t room)
{
	if (room / sizeof(*fds) < n)
		__builtin_trap();
	return poll(fds, n, timeout);
}

EXPORT int __ppoll_chk(struct pollfd *fds, nfds_t n, const struct timespec *timeout, const sigset_t *mask, size_t room)
{
	if (room / sizeof(*fds) < n)
		__builtin_trap();
	return ppoll(fds, n, timeout, mask);
}

/* Some have sets of more than FD_SETSIZE. */
static bool holds(const fd_set *set, int fd)
{
	const unsigned width = sizeof(long) * CHAR_BIT;

	return set && ((const unsigned long *)(const void *)set)[(unsigned)fd / width] >> (unsigned)fd % width & 1;
}

static struct wanted selected(int n, const fd_set *in, const fd_set *out)
{
	struct wanted w = {0};

	for (int fd = 0; shim_current.slot && fd < n; fd++)
		if (holds(in, fd) || holds(out, fd))
			want(&w, fd);
	return w;
}

EXPORT int select(int n, fd_set *in, fd_set *out, fd_set *other, struct timeval *timeout)
{
	struct wanted w = selected(n, in, out);

	return waited(&w, NEXT(select)(n, in, out, other, timeout));
}

EXPORT int pselect(int n, fd_set *in, fd_set *out, fd_set *other, const struct timespec *timeout, const sigset_t *mask)
{
	struct wanted w = selected(n, in, out);

	return waited(&w, NEXT(pselect)(n, in, out, other, timeout, mask));
}
