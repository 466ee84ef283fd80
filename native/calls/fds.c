/* SPDX-License-Identifier: Apache-2.0 */
/* fds.c - what a descriptor is: its bytes are both hosts' own, or differ and are told. */
#define _GNU_SOURCE
#include <linux/magic.h>
#include <sys/vfs.h>
#include "calls.h"
#include "next.h"

#define FDS (1 << 20) /* those above are looked at each time */

static _Atomic uint8_t kinds[FDS]; /* enum calls_kind */

static enum calls_kind look(int fd)
{
	struct stat st;
	struct statfs fs;
	int type;
	socklen_t n = sizeof(type);

	if (NEXT(fstat)(fd, &st))
		return CALLS_UNKNOWN;
	if (S_ISSOCK(st.st_mode)) /* datagrams come as they like */
		return !NEXT(getsockopt)(fd, SOL_SOCKET, SO_TYPE, &type, &n) && type == SOCK_STREAM ? CALLS_SOCKET : CALLS_TOLD;
	if (S_ISFIFO(st.st_mode))
		return CALLS_PIPE;
	if (!S_ISREG(st.st_mode) || fstatfs(fd, &fs) || fs.f_type == PROC_SUPER_MAGIC || fs.f_type == SYSFS_MAGIC)
		return CALLS_TOLD;
	return CALLS_FILE;
}

enum calls_kind calls_kind(int fd)
{
	bool kept = (unsigned)fd < FDS;
	enum calls_kind kind = kept ? (enum calls_kind)atomic_load_explicit(&kinds[fd], memory_order_relaxed) : CALLS_UNKNOWN;
	int before = errno;

	if (kind != CALLS_UNKNOWN)
		return kind;
	kind = look(fd);
	errno = before;
	if (kept)
		atomic_store_explicit(&kinds[fd], (uint8_t)kind, memory_order_relaxed);
	return kind;
}

int calls_fresh(int fd)
{
	if ((unsigned)fd < FDS)
		atomic_store_explicit(&kinds[fd], CALLS_UNKNOWN, memory_order_relaxed);
	return fd;
}

bool calls_await(int fd, short events)
{
	struct pollfd p = {.fd = fd, .events = events};
	int before = errno;
	bool came;

	do
		came = NEXT(poll)(&p, 1, CALLS_LOOK_MS) > 0;
	while (!came && calls_still());
	errno = before;
	return came;
}
