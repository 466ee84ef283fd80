/* SPDX-License-Identifier: Apache-2.0 */
/* life.c - the start of a process with the library, its threads and its children. */
#define _GNU_SOURCE
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include "calls.h"
#include "next.h"

#define PLACE "FTTCP_CALLS"     /* the file */
#define ROLE "FTTCP_CALLS_ROLE" /* leader or follower */

/* --- the start ---------------------------------------------------------------------------------------- */

static struct ftt_calls_log *map_file(void)
{
	const char *path = getenv(PLACE);
	struct ftt_calls_log *at = MAP_FAILED;
	struct stat st;
	int fd = path ? NEXT(open)(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW) : -1;

	if (fd < 0)
		return NULL;
	if (!NEXT(fstat)(fd, &st) && S_ISREG(st.st_mode) && st.st_size >= (off_t)(2 * FTT_CALLS_PAGE))
		at = mmap(NULL, (size_t)st.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	NEXT(close)(fd);
	if (at == MAP_FAILED)
		return NULL;
	if (at->magic == FTT_CALLS_MAGIC && at->ring_size >= FTT_CALLS_PAGE && !(at->ring_size & (at->ring_size - 1)) &&
	    st.st_size >= (off_t)(2 * FTT_CALLS_PAGE + (uint64_t)FTT_CALLS_RINGS * at->ring_size))
		return at;
	munmap(at, (size_t)st.st_size);
	return NULL;
}

/*
 * A program that replaces this one goes on in its ring; a server's first process is given the first one. Any other program that
 * a server executes is none of ours.
 */
static void find_place(enum calls_role role)
{
	struct ftt_calls_ring *first = ftt_calls_rings(calls_log);
	uint32_t own = (uint32_t)NEXT(getpid)();

	for (struct ftt_calls_ring *r = first; r < first + FTT_CALLS_RINGS; r++)
		if (atomic_load(role == CALLS_LEADS ? &r->leader : &r->follower) == own) {
			calls_role = (sig_atomic_t)role;
			calls_self.name = atomic_load(&r->name);
			calls_map_ring(&calls_self, r);
			return;
		}
	if (role == CALLS_LEADS ? atomic_load(&first->name) != 0 : atomic_load(&first->follower) != 0)
		return;
	calls_role = (sig_atomic_t)role;
	calls_self.name = FTT_CALLS_FIRST;
}

static void make_room_for_signals(struct calls_thread *t)
{
	static _Thread_local siginfo_t waiting[CALLS_SIGNALS] __attribute__((tls_model("initial-exec")));

	t->waiting = waiting;
}

__attribute__((constructor)) static void begin(void)
{
	const char *role = getenv(ROLE);
	int before = errno;

	calls_find_functions();
	if (!role || (strcmp(role, "leader") && strcmp(role, "follower")) || !(calls_log = map_file())) {
		errno = before;
		return;
	}
	make_room_for_signals(&calls_self);
	find_place(strcmp(role, "leader") ? CALLS_FOLLOWS : CALLS_LEADS);
	errno = before;
}

/* --- threads and children ----------------------------------------------------------------------------- */

struct start {
	void *(*run)(void *);
	void *argument;
	uint64_t name;
};

static void end_thread(void *self)
{
	calls_leave_ring(self);
}

static void *begin_thread(void *given)
{
	struct start s = *(struct start *)given;
	void *result;

	free(given);
	calls_self = (struct calls_thread){.name = s.name};
	make_room_for_signals(&calls_self);
	pthread_cleanup_push(end_thread, &calls_self);
	result = s.run(s.argument);
	pthread_cleanup_pop(1);
	return result;
}

EXPORT int pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*run)(void *), void *argument)
{
	struct start *s;
	int error;

	if (!calls_log || calls_role == CALLS_ALONE || !calls_self.name)
		return NEXT(pthread_create)(thread, attributes, run, argument);
	s = malloc(sizeof(*s));
	if (!s)
		return EAGAIN;
	*s = (struct start){run, argument, calls_name_child(&calls_self)};
	error = NEXT(pthread_create)(thread, attributes, begin_thread, s);
	if (error)
		free(s);
	return error;
}

static void become_child(uint64_t name, bool own)
{
	if (!own)
		calls_role = CALLS_ALONE;
	calls_self = (struct calls_thread){.name = name};
	make_room_for_signals(&calls_self); /* a thread that was made alone has none */
	memset(calls_self.waiting, 0, CALLS_SIGNALS * sizeof(*calls_self.waiting));
	calls_forget_self();
}

EXPORT pid_t fork(void)
{
	struct calls_call c = calls_begin(CALLS_FORK, 0);
	uint64_t name = c.role != CALLS_ALONE ? calls_name_child(&calls_self) : 0;
	pid_t child = c.role != CALLS_FOLLOWS || c.said.result > 0 ? NEXT(fork)() : -1;

	if (!child) {
		if (calls_log)
			become_child(name, name != 0);
		return 0;
	}
	if (c.role != CALLS_FOLLOWS)
		return (pid_t)calls_tell(&c, child, NULL, 0);
	if (c.said.result > 0 && child < 0)
		calls_break(FTT_CALLS_ENDED, &c);
	else if (child > 0)
		calls_know_child((int)c.said.result, child);
	return (pid_t)calls_end(&c);
}

/* A child of vfork() shares the memory of its parent, and would change what that knows of its descriptors. */
EXPORT pid_t vfork(void)
{
	return fork();
}
