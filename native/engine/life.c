/* SPDX-License-Identifier: Apache-2.0 */
/*
 * life.c - does the main process of the local server live?
 *
 * Its children learn of its death when the kernel closes its files, which is before it is dead for those who wait for it: up to
 * milliseconds before a pidfd tells. What they then say would pass. But the kernel takes a process's memory away before
 * it closes its files (do_exit() in kernel/exit.c). Whoever has memory has told nobody of its death.
 *
 * Of the files in /proc that show it, coredump_filter does least: it takes no lock of the memory and counts no pages, which on
 * large machines would mean to ask each processor. It is empty when there is no memory, and gives ESRCH when the process is reaped.
 *
 * A process whose first thread has ended before the others shows no memory either; that is why a death counts for a bounded time.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "engine/engine.h"

static bool has_ended(int fd)
{
	char first;
	ssize_t n = pread(fd, &first, 1, 0);

	return n < 0 ? errno == ESRCH : !n;
}

bool ftt_server_gone(struct ftt_engine *e, uint64_t now_ns)
{
	uint64_t none = 0;

	for (uint32_t i = 0; i < e->n_lives && !atomic_load(&e->shared.gone_ns); i++)
		if (has_ended(e->life_fd[i]))
			atomic_compare_exchange_strong(&e->shared.gone_ns, &none, now_ns);
	return ftt_server_known_gone(e, now_ns);
}

static int watch(struct ftt_engine *e, int32_t pid)
{
	char path[48];
	int fd;

	if (e->n_lives == FTT_MAX_PIDS)
		return E2BIG;
	snprintf(path, sizeof(path), "/proc/%d/coredump_filter", pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return errno;
	e->life_pid[e->n_lives] = pid;
	e->life_fd[e->n_lives++] = fd;
	return 0;
}

/* When the process began, as exactly as the kernel tells (proc(5), starttime); 0: nobody knows. */
static uint64_t began_ns(int32_t pid)
{
	char path[40], text[1024], *at;
	long hz = sysconf(_SC_CLK_TCK);
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
	if (fd >= 0)
		close(fd);
	if (n <= 0 || hz <= 0)
		return 0;
	text[n] = 0;
	at = strrchr(text, ')'); /* a name may have anything in it */
	for (int field = 2; at && field < 22; field++)
		at = strchr(at + 1, ' ');
	return at ? (uint64_t)strtoull(at, NULL, 10) * (1000000000ull / (uint64_t)hz) : 0;
}

/* Is one of these new? Then a server has begun: when the oldest of its processes did, unless that was before this engine. */
static void note_life(struct ftt_engine *e, const int32_t *old, uint32_t n_old)
{
	uint64_t tick_ns = 1000000000ull / (uint64_t)sysconf(_SC_CLK_TCK), first_ns = UINT64_MAX;
	bool news = false;

	for (uint32_t i = 0; i < e->n_lives; i++) {
		uint64_t began = began_ns(e->life_pid[i]);
		bool known = false;

		for (uint32_t k = 0; k < n_old; k++)
			known |= old[k] == e->life_pid[i];
		news |= !known;
		first_ns = began < first_ns ? began : first_ns;
	}
	if (!news)
		return;
	atomic_store(&e->server_start_ns, first_ns + tick_ns > e->opened_ns ? first_ns : 0);
	atomic_fetch_add(&e->server_life, 1);
}

int ftt_server_watch(struct ftt_engine *e, const int32_t *pids, uint32_t n)
{
	int32_t old[FTT_MAX_PIDS];
	uint32_t n_old = e->n_lives;
	int failed = 0;

	memcpy(old, e->life_pid, sizeof(old));
	while (e->n_lives)
		close(e->life_fd[--e->n_lives]);
	atomic_store(&e->shared.gone_ns, 0);
	for (uint32_t i = 0; i < n; i++) {
		int rc = watch(e, pids[i]);

		failed = failed ? failed : rc;
	}
	note_life(e, old, n_old);
	return failed;
}
