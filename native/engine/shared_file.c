/* SPDX-License-Identifier: Apache-2.0 */
/* shared_file.c - a file whose memory is shared with a server, which may do with it what it likes: see shared_file.h. */
#define _GNU_SOURCE
#include "engine/shared_file.h"
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/*
 * Who can write the file can also cut it short. Then a touch of what is gone is a SIGBUS, which would end all groups. So that memory
 * is replaced: the engine goes on, and finds zeros there.
 */
#define MAPS 256

static struct {
	_Atomic uintptr_t at; /* 0: free; 1: being changed */
	size_t size;
} maps[MAPS];
static struct sigaction others;

static void on_bus(int signal, siginfo_t *info, void *context)
{
	uintptr_t touched = (uintptr_t)info->si_addr;
	int before = errno;

	for (int i = 0; i < MAPS; i++) {
		uintptr_t at = atomic_load(&maps[i].at);

		if (at > 1 && touched >= at && touched - at < maps[i].size &&
		    mmap((void *)at, maps[i].size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) != MAP_FAILED) {
			errno = before;
			return;
		}
	}
	if (others.sa_flags & SA_SIGINFO)
		others.sa_sigaction(signal, info, context);
	else if (others.sa_handler != SIG_DFL && others.sa_handler != SIG_IGN)
		others.sa_handler(signal);
	else
		sigaction(SIGBUS, &others, NULL); /* it comes again at once */
}

static void catch_bus(void)
{
	struct sigaction ours = {.sa_sigaction = on_bus, .sa_flags = SA_SIGINFO | SA_ONSTACK};

	sigemptyset(&ours.sa_mask);
	sigaction(SIGBUS, &ours, &others);
}

static bool survive(void *at, size_t size)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	pthread_once(&once, catch_bus);
	for (int i = 0; i < MAPS; i++) {
		uintptr_t none = 0;

		if (atomic_compare_exchange_strong(&maps[i].at, &none, 1)) {
			maps[i].size = size;
			atomic_store(&maps[i].at, (uintptr_t)at);
			return true;
		}
	}
	errno = EMFILE;
	return false;
}

void ftt_shared_unmap(void *at, size_t size)
{
	for (int i = 0; i < MAPS; i++)
		if (atomic_load(&maps[i].at) == (uintptr_t)at)
			atomic_store(&maps[i].at, 0);
	munmap(at, size);
}

void *ftt_shared_map(const char *path, size_t *size)
{
	int fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW), error;
	void *at = MAP_FAILED;
	struct stat st;

	if (fd >= 0 && !fstat(fd, &st)) {
		*size = (size_t)st.st_size;
		at = mmap(NULL, *size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	}
	error = errno;
	if (fd >= 0)
		close(fd);
	if (at != MAP_FAILED && !survive(at, *size)) {
		error = errno;
		munmap(at, *size);
		at = MAP_FAILED;
	}
	errno = error;
	return at == MAP_FAILED ? NULL : at;
}
