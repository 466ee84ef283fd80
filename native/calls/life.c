/* SPDX-License-Identifier: Apache-2.0 */
/* life.c - the start of a process with the library, its threads and its children. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include "calls.h"
#include "locks.h"
#include "next.h"

#define PLACE "FTTCP_CALLS"     /* the file */
#define ROLE "FTTCP_CALLS_ROLE" /* leader or follower */

/* --- its log ------------------------------------------------------------------------------------------ */

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

/* --- threads and children ----------------------------------------------------------------------------- */

struct start {
	void *(*run)(void *);
	void *argument;
	uint64_t name;
};

static pthread_key_t last_key;

/* The last of all destructors of a thread's own: the others may still make calls. */
static void end_thread(void *round)
{
	if ((intptr_t)round < PTHREAD_DESTRUCTOR_ITERATIONS)
		pthread_setspecific(last_key, (void *)((intptr_t)round + 1));
	else
		calls_leave_ring(&calls_self);
}

static void *begin_thread(void *given)
{
	struct start s = *(struct start *)given;

	free(given);
	calls_self = (struct calls_thread){.name = s.name};
	make_room_for_signals(&calls_self);
	pthread_setspecific(last_key, (void *)1);
	return s.run(s.argument);
}

/* Python's threads ask for its lock after some time by a word that is no lock: here they get it when it is given back. */
static void keep_python_in_turn(void)
{
	void (*set)(unsigned long) = (void (*)(unsigned long))dlsym(RTLD_DEFAULT, "_PyEval_SetSwitchInterval");

	if (set && calls_follows(CALLS_MUTEX))
		set(1ul << 40); /* microseconds */
}

EXPORT int pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*run)(void *), void *argument)
{
	struct start *s;
	int error;

	if (!calls_log || calls_role == CALLS_ALONE || !calls_self.name)
		return NEXT(pthread_create)(thread, attributes, run, argument);
	calls_threads = 1;
	keep_python_in_turn();
	s = malloc(sizeof(*s));
	if (!s)
		return EAGAIN;
	*s = (struct start){run, argument, calls_name_child(&calls_self)};
	error = NEXT(pthread_create)(thread, attributes, begin_thread, s);
	if (error)
		free(s);
	return error;
}

/* The last of a server's own handlers before a process is made, and the first of those after. */
static void begin_fork(void)
{
	calls_hold_stash();
	calls_hold_watched();
}

static void end_fork(void)
{
	calls_free_watched();
	calls_free_stash();
}

static void become_child(void)
{
	uint64_t name = calls_self.child;

	end_fork();
	if (!name)
		calls_role = CALLS_ALONE;
	calls_self = (struct calls_thread){.name = name};
	make_room_for_signals(&calls_self); /* a thread that was made alone has none */
	memset(calls_self.waiting, 0, CALLS_SIGNALS * sizeof(*calls_self.waiting));
	calls_forget_self();
}

/* The child is made before the leader's is heard of: a server's handlers of forks make calls before that. */
EXPORT pid_t fork(void)
{
	struct calls_call c;
	pid_t child;

	calls_self.child = calls_role != CALLS_ALONE && calls_self.name && calls_follows(CALLS_FORK) ? calls_name_child(&calls_self) : 0;
	child = NEXT(fork)();
	if (!child)
		return 0;
	c = calls_begin(CALLS_FORK, 0);
	if (c.role != CALLS_FOLLOWS)
		return (pid_t)calls_tell(&c, child, NULL, 0);
	if (child > 0 && c.said.result > 0)
		calls_know_child((int)c.said.result, child);
	else if (child > 0 || c.said.result > 0)
		calls_break(FTT_CALLS_ENDED, &c);
	calls_end(&c);
	return child > 0 && c.said.result > 0 ? (pid_t)c.said.result : child;
}

/* A child of vfork() shares the memory of its parent, and would change what that knows of its descriptors. */
EXPORT pid_t vfork(void)
{
	return fork();
}

/* --- a process begins with the library ------------------------------------------------------------------- */

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
	calls_find_allocator();
	pthread_key_create(&last_key, end_thread);
	pthread_atfork(begin_fork, end_fork, become_child);
	find_place(strcmp(role, "leader") ? CALLS_FOLLOWS : CALLS_LEADS);
	errno = before;
}
