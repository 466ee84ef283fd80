/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pids.c - the number of a process that is forked for a connection: the same in both copies, if the server's environment asks for it.
 *
 * Some servers tell their clients this number (PostgreSQL, for a query to be cancelled), or make names of it (Exim's messages). It cannot be
 * answered by a library: processes are signalled by it. So the kernel is told which one to take. It may be another one's by then; the
 * kernel takes the next one, and that connection differs.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "shim.h"

#define WANTED "FTTCP_LOCKSTEP_PIDS"
#define LAST "/proc/sys/kernel/ns_last_pid" /* who may write it has CAP_CHECKPOINT_RESTORE */
#define MOST "/proc/sys/kernel/pid_max"
#define RESERVED 300u /* the kernel begins here when it begins again */

static uint32_t most; /* 0: not wanted */

void shim_know_pids(void)
{
	char text[16] = "", *wanted = getenv(WANTED);
	int fd = wanted && !strcmp(wanted, "1") ? open(MOST, O_RDONLY | O_CLOEXEC) : -1;

	if (fd < 0)
		return;
	if (read(fd, text, sizeof(text) - 1) > 0)
		most = (uint32_t)strtoul(text, NULL, 10);
	close(fd);
	if (most <= 2 * RESERVED)
		most = 0;
}

void shim_number_child(struct shim_current c)
{
	char text[16];
	uint32_t drawn;
	int before = errno, fd, n;

	/* not in a process of one connection: it may be in a sandbox, and what it forks is known to nobody */
	if (!most || shim_is_only(c) || !shim_draw_pid(c, &drawn))
		return;
	fd = open(LAST, O_WRONLY | O_CLOEXEC);
	if (fd >= 0) {
		n = snprintf(text, sizeof(text), "%u", RESERVED + drawn % (most - RESERVED - 1));
		(void)!write(fd, text, (size_t)n); /* refused: the number differs, as it would without */
		close(fd);
	}
	errno = before;
}
