/* SPDX-License-Identifier: Apache-2.0 */
/* life.c - the start of a process with the library, and its forks. All memory is there before the program's first line. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include "next.h"
#include "shim.h"

#define PLACE "FTTCP_LOCKSTEP"       /* the file */
#define FIRST "FTTCP_LOCKSTEP_FIRST" /* the server's first process, when it began, and how many programs it has been */

static _Atomic uint32_t forks;            /* of this process */
static _Thread_local struct {
	struct shim_current to;
	bool has;
	uint8_t key[FTT_CHACHA_KEY];
} given; /* to a child, by the thread that forks: a lineage of the connection that it is busy with, or a start of its own */

static void *map_file(size_t *size)
{
	const char *path = getenv(PLACE);
	void *at = MAP_FAILED;
	struct stat st;
	int fd = path ? open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW) : -1;

	if (fd < 0)
		return NULL;
	if (!fstat(fd, &st) && S_ISREG(st.st_mode) && st.st_size >= FTT_LS_PAGE) {
		*size = (size_t)st.st_size;
		at = mmap(NULL, *size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	}
	close(fd);
	return at == MAP_FAILED ? NULL : at;
}

static bool make_secrets(void)
{
	size_t size = SHIM_SLOTS * sizeof(struct shim_secret);
	void *at = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (at == MAP_FAILED)
		return false;
	if (madvise(at, size, MADV_WIPEONFORK) || madvise(at, size, MADV_DONTDUMP)) {
		munmap(at, size);
		return false;
	}
	shim_secrets = at;
	return true;
}

/* When this process began, in ticks since the start of the machine: pids come again. 0: not known. */
static unsigned long long began(void)
{
	char text[1024], *at;
	unsigned long long ticks = 0;
	int fd = open("/proc/self/stat", O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);

	if (fd >= 0)
		close(fd);
	text[n > 0 ? n : 0] = 0;
	at = strrchr(text, ')'); /* the name may hold anything; behind it comes field 3 */
	for (int field = 2; at && field < 22; field++)
		at = strchr(at + 1, ' ');
	return at && sscanf(at, "%llu", &ticks) == 1 ? ticks : 0;
}

/*
 * Only the first process of a server draws the same at each start, and what it forks. A program that it executes later does
 * not: there may be one for each request, and all would draw the same. One that replaces the first (a shell's `exec`) is counted.
 */
static void know_first(int argc, char **argv)
{
	char text[80], *known = getenv(FIRST);
	uint8_t key[FTT_CHACHA_KEY];
	unsigned long long ticks = 0, own = began();
	long pid = 0, programs = 0;

	if (!own || (known && (sscanf(known, "%ld:%llu:%ld", &pid, &ticks, &programs) != 3 || pid != getpid() || ticks != own)))
		return;
	programs++;
	snprintf(text, sizeof(text), "%ld:%llu:%ld", (long)getpid(), own, programs);
	if (setenv(FIRST, text, 1))
		return;
	ftt_chacha_derive(key, shim_map.secrets[0], FTT_LS_START, &programs, sizeof(programs));
	for (int i = 0; i < argc; i++) /* another program, or another command, draws something else */
		ftt_chacha_derive(key, key, FTT_LS_START, argv[i], strlen(argv[i]));
	shim_set_key((struct shim_current){0}, key); /* what it draws from until it serves */
	ftt_wipe(key, sizeof(key));
}

/* --- forks ------------------------------------------------------------------------------------------ */

static void before_fork(void)
{
	uint32_t number = atomic_fetch_add(&forks, 1) + 1;
	struct ftt_ls_found found;

	given.to = shim_now();
	if (given.to.slot) {
		given.has = shim_keyed(given.to) && shim_found(given.to, &found) && shim_context(&found, given.key);
		shim_number_child(given.to);
	} else {
		given.has = !atomic_load(&shim_serves) && shim_start_key(given.key);
		if (given.has) /* a process without a start of its own has none to give */
			ftt_chacha_derive(given.key, given.key, FTT_LS_FORK, &number, sizeof(number));
	}
}

static void after_fork_in_parent(void)
{
	ftt_wipe(&given, sizeof(given));
}

static void after_fork_in_child(void)
{
	struct ftt_ls_found found;

	if (given.has && shim_still(given.to))
		shim_set_key(given.to, given.key);
	if (shim_found(given.to, &found)) /* a server that forks for each of its connections */
		shim_made_for(&found);
	ftt_wipe(&given, sizeof(given));
	atomic_store(&forks, 0);
}

__attribute__((constructor)) static void begin(int argc, char **argv)
{
	size_t size = 0;
	int before = errno;
	void *at = map_file(&size);
	struct ftt_ls_map map;

	shim_find_functions();
	shim_find_clocks();
	if (at && ftt_ls_take(&map, at, size) && make_secrets() &&
	    !pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child)) {
		shim_map = map;
		know_first(argc, argv);
		shim_know_chance(argc, argv);
		shim_know_pids();
		shim_look_at_descriptors();
		shim_keep_own_seed();
	} else if (at) {
		munmap(at, size);
	}
	errno = before;
}

/* A child of vfork() shares the memory of its parent, and would change what that knows of its descriptors. */
EXPORT pid_t vfork(void)
{
	return fork();
}

EXPORT pid_t __vfork(void)
{
	return fork();
}
