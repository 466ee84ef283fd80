/* SPDX-License-Identifier: Apache-2.0 */
/* sleep.c - do the programs that a process has started sleep? The kernel tells it in /proc. */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "shim.h"

#define MOST_TASKS 64u /* to be looked at; who has more works, as far as is known */

static bool read_file(int at, const char *name, char *to, size_t room)
{
	int fd = openat(at, name, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, to, room - 1);

	if (fd >= 0)
		close(fd);
	to[n > 0 ? n : 0] = 0;
	return n >= 0;
}

static void add(struct shim_look *l, const char *text)
{
	for (; *text; text++)
		l->sum = (l->sum ^ (uint8_t)*text) * 0x100000001b3ull;
}

static void look_at_process(struct shim_look *l, long pid, int depth);

static void look_at_children(struct shim_look *l, int task, int depth)
{
	char text[1024], *at = text, *end;

	if (!read_file(task, "children", text, sizeof(text))) {
		l->blind |= !depth; /* else it has just ended */
		return;
	}
	add(l, text);
	for (long pid; (pid = strtol(at, &end, 10)) > 0 && end != at; at = end)
		look_at_process(l, pid, depth + 1);
}

/* One thread: `state` is the third field of its stat; schedstat counts how often it ran. */
static void look_at_task(struct shim_look *l, int tasks, const char *name, int depth)
{
	char text[512], *state;
	int task;

	if (++l->tasks > MOST_TASKS) {
		l->awake = true;
		return;
	}
	task = openat(tasks, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (task < 0)
		return;
	if (depth && read_file(task, "stat", text, sizeof(text)) && (state = strrchr(text, ')')) && state[1]) {
		l->awake |= state[2] == 'R' || state[2] == 'D';
		l->runs |= state[2] == 'R';
		l->ended |= state[2] == 'Z' && depth == 1;
		add(l, name);
		state[3] = 0;
		add(l, state);
		if (read_file(task, "schedstat", text, sizeof(text))) {
			add(l, text);
			l->ran_ns += strtoll(text, NULL, 10);
		}
	}
	look_at_children(l, task, depth);
	close(task);
}

static void look_at_process(struct shim_look *l, long pid, int depth)
{
	_Alignas(struct dirent64) char found[2048];
	char path[48];
	ssize_t n = 0;
	int tasks;

	snprintf(path, sizeof(path), "/proc/%ld/task", pid);
	tasks = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	while (tasks >= 0 && l->tasks <= MOST_TASKS && (n = getdents64(tasks, found, sizeof(found))) > 0) {
		for (ssize_t at = 0; at < n;) {
			struct dirent64 *d = (void *)(found + at);

			if (d->d_name[0] != '.')
				look_at_task(l, tasks, d->d_name, depth);
			at += d->d_reclen;
		}
	}
	if (tasks >= 0)
		close(tasks);
	else
		l->blind |= !depth;
}

/* Two looks, for one may be woken by another one that had been looked at, or not. */
struct shim_look shim_look(void)
{
	struct shim_look once = {0}, again = {0};
	int before = errno;

	look_at_process(&once, getpid(), 0);
	if (!once.awake)
		look_at_process(&again, getpid(), 0);
	errno = before;
	once.awake |= again.awake || (!once.awake && once.sum != again.sum);
	return once;
}
