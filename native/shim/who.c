/* SPDX-License-Identifier: Apache-2.0 */
/*
 * who.c - which connection a thread is busy with: the one whose bytes it read last.
 *
 * What accept() returns is looked up once, by its addresses. After that nothing but memory is asked: a process in a sandbox may
 * not be allowed to ask the kernel.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netinet/in.h>
#include <stdarg.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>
#include "next.h"
#include "shim.h"

#define INHERITED 256

static uint32_t busy_with(int fd)
{
	uint32_t slot = shim_slot_of(fd);

	if (!slot || shim_slots[slot].opened)
		return SHIM_NOBODY;
	shim_current.slot = slot;
	shim_current.epoch = atomic_load_explicit(&shim_slots[slot].epoch, memory_order_relaxed);
	return slot;
}

static bool in_records(uint32_t slot)
{
	return slot && shim_slots[slot].records.state != SHIM_NO_RECORDS;
}

/* The thread has read bytes of it: what it does next is about them. `bytes` is NULL if they are in several places. */
static ssize_t has_read(uint32_t slot, const void *bytes, ssize_t n)
{
	struct ftt_ls_found found;

	if (!slot)
		return n;
	shim_ahead = false;
	if (n > 0 && in_records(slot) && shim_still(shim_current))
		shim_took(slot, bytes, (size_t)n);
	if (n > 0 && shim_found(shim_current, &found) && ftt_ls_still(&found))
		atomic_fetch_add_explicit(&found.row->consumed, (uint32_t)n, memory_order_relaxed);
	shim_keep_time();
	return n;
}

/* ... and it may be a router's, also if this one has opened it. */
static ssize_t has_heard(uint32_t peer, const void *bytes, ssize_t n)
{
	if (n > 0 && peer && shim_slots[peer].bgp.state != SHIM_NO_BGP)
		shim_bgp_took(peer, bytes, (size_t)n);
	return n;
}

/* --- who is it? ----------------------------------------------------------------------------------- */

/* It has no identity: people are told. */
static void note_stranger(const struct ftt_ls_addresses *who)
{
	uint64_t number = atomic_fetch_add(&shim_map.header->count[FTT_LS_UNKNOWN], 1) + 1;
	struct ftt_ls_stranger *s = &shim_map.header->stranger[number % FTT_LS_STRANGERS];

	s->who = *who;
	s->pid = (uint32_t)getpid();
	s->number = number;
}

/* Nothing was said on it yet. */
static void begin(uint32_t slot, const struct ftt_ls_found *found)
{
	struct shim_slot *s = &shim_slots[slot];

	s->found = *found;
	atomic_store(&s->shown_ns, 0);
	atomic_store(&s->data, 0);
	s->events = 0;
	s->opened = false;
	s->records = (struct shim_records){.state = SHIM_NO_RECORDS};
	s->bgp = (struct shim_bgp){.state = SHIM_NO_BGP};
}

void shim_meet_peer(int fd)
{
	uint32_t slot;

	shim_let_go(fd);
	slot = shim_take_slot();
	if (!slot)
		return;
	begin(slot, &(struct ftt_ls_found){0});
	shim_slots[slot].opened = true;
	shim_slots[slot].bgp.state = SHIM_BGP_UNKNOWN;
	shim_give(fd, slot);
}

enum how { ACCEPTED, PASSED, INHERITS };

/*
 * This descriptor is a connection that the thread begins with. One that was accepted and has no name (any more: its client has reset
 * it) is nobody's, and not that of before either. peer: its client, if accept() has said it.
 */
static void meet(int fd, enum how how, const struct sockaddr_storage *peer)
{
	struct ftt_ls_addresses who;
	struct ftt_ls_found found = {0};
	bool named, accepted = how == ACCEPTED;
	uint32_t slot;

	if (!shim_map.header || (unsigned)fd >= SHIM_FDS)
		return;
	shim_let_go(fd);
	named = shim_who_is(fd, peer, &who);
	if (named && accepted && shim_map.header->flags & FTT_LS_BY_ADDRESS)
		ftt_ls_admit(&shim_map, &who);
	if (!named || !ftt_ls_find(&shim_map, &who, &found))
		found.row = NULL;
	if (named && !shim_has_peer(fd)) /* reset meanwhile: the row may be the next one's of these addresses */
		named = false, found.row = NULL;
	if (named || accepted) {
		atomic_store(&shim_serves, true);
		how == INHERITS ? shim_came_with(&found) : shim_meets_others();
	}
	if (!accepted && !found.row)
		return;
	if (accepted) {
		shim_count(FTT_LS_ACCEPTED);
		if (named && !found.row)
			note_stranger(&who);
	}
	slot = shim_take_slot();
	shim_current = (struct shim_current){0};
	shim_ahead = false;
	if (!slot)
		return;
	begin(slot, &found);
	if (accepted && found.row)
		shim_slots[slot].records = shim_expected(who.local_port);
	if (accepted)
		shim_slots[slot].bgp.state = SHIM_BGP_UNKNOWN;
	shim_give(fd, slot);
	(void)busy_with(fd);
	shim_keep_time();
}

void shim_look_at_descriptors(void)
{
	for (int fd = 0; fd < INHERITED; fd++) {
		meet(fd, INHERITS, NULL);
		if (shim_listens(fd))
			shim_meets_others();
	}
}

/* --- connections come --------------------------------------------------------------------------- */

/* What accept() is to say for us, and what the server asked for. */
struct client {
	struct sockaddr_storage address;
	socklen_t len;
};

static int accepted(int got, const struct client *c, struct sockaddr *address, socklen_t *len)
{
	if (got < 0)
		return got;
	if (address) {
		memcpy(address, &c->address, *len < c->len ? *len : c->len);
		*len = c->len;
	}
	meet(got, ACCEPTED, &c->address);
	return got;
}

/* Arguments that the kernel refuses are left to it. */
static bool refused(const struct sockaddr *address, const socklen_t *len)
{
	return address && (!len || *len > INT_MAX);
}

EXPORT int accept(int fd, struct sockaddr *address, socklen_t *len)
{
	struct client c = {.len = sizeof(c.address)};

	if (refused(address, len))
		return NEXT(accept)(fd, address, len);
	return accepted(NEXT(accept)(fd, (struct sockaddr *)&c.address, &c.len), &c, address, len);
}

EXPORT int accept4(int fd, struct sockaddr *address, socklen_t *len, int flags)
{
	struct client c = {.len = sizeof(c.address)};

	if (refused(address, len))
		return NEXT(accept4)(fd, address, len, flags);
	return accepted(NEXT(accept4)(fd, (struct sockaddr *)&c.address, &c.len, flags), &c, address, len);
}

/* Descriptors that another process passed on. */
static void look_at_passed(struct msghdr *m)
{
	for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c; c = CMSG_NXTHDR(m, c)) {
		size_t n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);

		for (size_t i = 0; c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS && i < n; i++) {
			int fd;

			memcpy(&fd, CMSG_DATA(c) + i * sizeof(fd), sizeof(fd));
			meet(fd, PASSED, NULL);
		}
	}
}

/* --- bytes of connections ------------------------------------------------------------------------ */

EXPORT ssize_t read(int fd, void *to, size_t n)
{
	uint32_t slot, peer = shim_slot_of(fd);
	ssize_t got;

	if (shim_is_device(fd) && shim_draw_device(to, n))
		return (ssize_t)n;
	slot = busy_with(fd);
	if (shim_bgp_waits(peer, fd, 0))
		got = shim_bgp_read(peer, fd, to, n, 0);
	else
		got = in_records(slot) ? shim_read(slot, fd, to, n, 0) : NEXT(read)(fd, to, shim_piece(fd, n));
	return has_heard(peer, to, has_read(slot, to, got));
}

EXPORT ssize_t __read_chk(int fd, void *to, size_t n, size_t room)
{
	if (n > room)
		__builtin_trap();
	return read(fd, to, n);
}

EXPORT ssize_t readv(int fd, const struct iovec *to, int n)
{
	uint32_t peer = shim_slot_of(fd), slot = busy_with(fd);

	return has_heard(peer, NULL, has_read(slot, NULL, NEXT(readv)(fd, to, n)));
}

EXPORT ssize_t recv(int fd, void *to, size_t n, int flags)
{
	uint32_t peer = shim_slot_of(fd), slot = busy_with(fd);
	ssize_t got;

	if (flags & MSG_PEEK)
		return NEXT(recv)(fd, to, n, flags);
	if (shim_bgp_waits(peer, fd, flags))
		got = shim_bgp_read(peer, fd, to, n, flags);
	else
		got = in_records(slot) ? shim_read(slot, fd, to, n, flags) : NEXT(recv)(fd, to, n, flags);
	return has_heard(peer, to, has_read(slot, to, got));
}

EXPORT ssize_t __recv_chk(int fd, void *to, size_t n, size_t room, int flags)
{
	if (n > room)
		__builtin_trap();
	return recv(fd, to, n, flags);
}

EXPORT ssize_t recvfrom(int fd, void *to, size_t n, int flags, struct sockaddr *from, socklen_t *len)
{
	uint32_t peer = shim_slot_of(fd), slot = busy_with(fd);
	ssize_t got = NEXT(recvfrom)(fd, to, n, flags, from, len);

	return flags & MSG_PEEK ? got : has_heard(peer, to, has_read(slot, to, got));
}

EXPORT ssize_t __recvfrom_chk(int fd, void *to, size_t n, size_t room, int flags, struct sockaddr *from, socklen_t *len)
{
	if (n > room)
		__builtin_trap();
	return recvfrom(fd, to, n, flags, from, len);
}

EXPORT ssize_t recvmsg(int fd, struct msghdr *m, int flags)
{
	uint32_t peer = shim_slot_of(fd), slot = busy_with(fd);
	ssize_t got = NEXT(recvmsg)(fd, m, flags);

	if (!(flags & MSG_PEEK))
		has_heard(peer, NULL, has_read(slot, NULL, got));
	if (got >= 0 && shim_map.header && m->msg_controllen)
		look_at_passed(m);
	return got;
}

/* --- descriptors ---------------------------------------------------------------------------------- */

EXPORT int close(int fd)
{
	shim_let_go(fd);
	return NEXT(close)(fd);
}

EXPORT int close_range(unsigned first, unsigned last, int flags)
{
	if (!(flags & CLOSE_RANGE_CLOEXEC))
		shim_let_go_range(first, last);
	if (!NEXT(close_range)) {
		errno = ENOSYS;
		return -1;
	}
	return shim_next.close_range(first, last, flags);
}

EXPORT void closefrom(int first)
{
	shim_let_go_range(first < 0 ? 0 : (unsigned)first, SHIM_FDS - 1);
	if (NEXT(closefrom)) {
		shim_next.closefrom(first);
		return;
	}
	for (long fd = first < 0 ? 0 : first, end = sysconf(_SC_OPEN_MAX); fd < end; fd++) /* a C library of before 2.34 */
		shim_next.close((int)fd);
}

EXPORT int dup(int fd)
{
	return shim_also(fd, NEXT(dup)(fd));
}

EXPORT int dup2(int fd, int to)
{
	return shim_also(fd, NEXT(dup2)(fd, to));
}

EXPORT int dup3(int fd, int to, int flags)
{
	return shim_also(fd, NEXT(dup3)(fd, to, flags));
}

EXPORT int fcntl(int fd, int command, ...)
{
	va_list list;
	void *argument;
	int got;

	va_start(list, command);
	argument = va_arg(list, void *); /* an int, a pointer, or nothing: the kernel knows which */
	va_end(list);
	got = NEXT(fcntl)(fd, command, argument);
	return command == F_DUPFD || command == F_DUPFD_CLOEXEC ? shim_also(fd, got) : got;
}

EXPORT int fcntl64(int fd, int command, ...) __attribute__((alias("fcntl")));

/* --- the devices that give random numbers ------------------------------------------------------- */

static int opened(const char *path, int fd)
{
	if (fd < 0)
		return fd;
	shim_let_go(fd); /* of one that was closed behind our back */
	if (shim_map.header && (unsigned)fd < SHIM_FDS && (!strcmp(path, "/dev/urandom") || !strcmp(path, "/dev/random")))
		shim_give(fd, SHIM_DEVICE);
	return fd;
}

static mode_t mode_of(int flags, va_list list)
{
	return flags & (O_CREAT | __O_TMPFILE) ? va_arg(list, mode_t) : 0;
}

EXPORT int open(const char *path, int flags, ...)
{
	va_list list;
	mode_t mode;

	va_start(list, flags);
	mode = mode_of(flags, list);
	va_end(list);
	return opened(path, NEXT(open)(path, flags, mode));
}

EXPORT int open64(const char *path, int flags, ...) __attribute__((alias("open")));

EXPORT int openat(int at, const char *path, int flags, ...)
{
	va_list list;
	mode_t mode;

	va_start(list, flags);
	mode = mode_of(flags, list);
	va_end(list);
	return opened(path, NEXT(openat)(at, path, flags, mode));
}

EXPORT int openat64(int at, const char *path, int flags, ...) __attribute__((alias("openat")));
