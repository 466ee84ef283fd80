/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bgp.c - a router is given what its peers say (RFC 4271) message by message, when it has nothing else to do.
 *
 * A router sends a table in pieces, each as large as the table is by then, and packs what it passes on as it has come. Both depend on
 * when it reads, so two copies pack otherwise. One that asks poll() not to wait has work left: it is not told of its peers, for
 * BUSY_NS at most. When it has waited it may read one message of each peer, and no more until it waits again. One that asks for a single
 * descriptor is told the truth: BIRD asks so, before it ends a session, whether its peer has said something.
 *
 * This is for servers that wait with poll(), and whose sockets do not block.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <sys/socket.h>
#include <time.h>
#include "next.h"
#include "shim.h"

#define HEAD SHIM_BGP_HEAD
#define MARKER 16u
#define OPEN 1
#define BUSY_NS 1000000000ll

static _Atomic bool routes; /* this process has had a peer */
static _Thread_local uint32_t turn __attribute__((tls_model("initial-exec"))); /* how often poll() told of peers; 0: this thread never asked */
static _Thread_local int64_t told_ns __attribute__((tls_model("initial-exec"))); /* ... and when it last did */

static int64_t now_ns(void)
{
	struct timespec t;

	(void)NEXT(clock_gettime)(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* Peers have waited for long enough. */
static bool is_late(void)
{
	return now_ns() - told_ns > BUSY_NS;
}

static bool makes_sense(const struct shim_bgp *b, unsigned length)
{
	for (unsigned i = 0; i < MARKER; i++)
		if (b->head[i] != 0xff)
			return false;
	return length >= HEAD && (b->state == SHIM_BGP || b->head[HEAD - 1] == OPEN);
}

/* Goes on with these bytes; returns how many of them there are up to the end of a message, all if it is not there. */
static size_t advance(struct shim_bgp *b, const uint8_t *bytes, size_t n)
{
	size_t at = 0;

	while (at < n && b->state != SHIM_NO_BGP) {
		if (b->have < HEAD) {
			unsigned length;

			b->head[b->have++] = bytes[at++];
			if (b->have < HEAD)
				continue;
			length = (unsigned)b->head[MARKER] << 8 | b->head[MARKER + 1];
			b->state = makes_sense(b, length) ? SHIM_BGP : SHIM_NO_BGP;
			b->left = length - HEAD;
		} else {
			size_t part = n - at < b->left ? n - at : b->left;

			at += part;
			b->left -= (uint32_t)part;
		}
		if (b->state == SHIM_BGP && !b->left) {
			b->have = 0;
			return at;
		}
	}
	return n;
}

void shim_bgp_took(uint32_t slot, const void *bytes, size_t n)
{
	struct shim_bgp b = shim_slots[slot].bgp; /* of its own: threads that read at once shall not get beyond its ends */
	const uint8_t *from = bytes;

	if (!bytes) /* they are in several places */
		b.state = SHIM_NO_BGP;
	for (size_t part; n && b.state != SHIM_NO_BGP; from += part, n -= part)
		part = advance(&b, from, n);
	if (b.state == SHIM_BGP)
		atomic_store_explicit(&routes, true, memory_order_relaxed);
	if (!b.have)
		b.turn = turn;
	shim_slots[slot].bgp = b;
}

bool shim_bgp_waits(uint32_t slot, int fd, int flags)
{
	return shim_slots[slot].bgp.state == SHIM_BGP && turn && !(flags & ~(MSG_DONTWAIT | MSG_NOSIGNAL)) && !shim_blocks(fd, flags);
}

ssize_t shim_bgp_read(uint32_t slot, int fd, void *to, size_t n, int flags)
{
	struct shim_bgp ahead = shim_slots[slot].bgp;
	ssize_t got;

	if (!ahead.have && ahead.turn == turn && !is_late()) { /* it has had one */
		errno = EAGAIN;
		return -1;
	}
	got = NEXT(recv)(fd, to, n, flags | MSG_PEEK);
	if (got <= 0)
		return got;
	return NEXT(recv)(fd, to, advance(&ahead, to, (size_t)got), flags);
}

/* --- poll ------------------------------------------------------------------------------------------- */

#define HIDDEN(fd) (-2 - (fd))

bool shim_bgp_hide(struct pollfd *fds, nfds_t n, bool waits)
{
	if (waits || n == 1 || !atomic_load_explicit(&routes, memory_order_relaxed) || is_late())
		return false;
	for (nfds_t i = 0; i < n; i++)
		if (fds[i].fd < -1) /* it is not known whose */
			return false;
	for (nfds_t i = 0; i < n; i++)
		if (fds[i].fd >= 0 && shim_slots[shim_slot_of(fds[i].fd)].bgp.state == SHIM_BGP)
			fds[i].fd = HIDDEN(fds[i].fd);
	return true;
}

void shim_bgp_show(struct pollfd *fds, nfds_t n, bool hidden)
{
	if (!hidden && shim_map.header) {
		turn += turn != UINT32_MAX ? 1 : 2;
		told_ns = now_ns();
	}
	for (nfds_t i = 0; hidden && i < n; i++)
		if (fds[i].fd < -1)
			fds[i].fd = HIDDEN(fds[i].fd);
}
