/* SPDX-License-Identifier: Apache-2.0 */
/*
 * calls.h - a library that is loaded into both copies of a server, so that the follower's calls return what the leader's did.
 * The log is described in core/lockstep/calls.h.
 *
 *   life.c         the start of a process with the library, its threads and children
 *   place.c        a thread's place in the log
 *   list.c         the calls, their families and their names
 *   begin.c        a call begins
 *   ring.c         records, told and heard
 *   end.c          how following ends
 *   next.c         the C library's own functions
 *   chance.c       random numbers
 *   clock.c        time; ahead.c: how it goes on
 *   self.c         numbers of processes, names, addresses; children.c: whom the follower means by a number
 *   waits.c        children that have ended, and programs that are started
 *   events.c       epoll, poll, select; watched.c: what is registered with epoll
 *   descriptors.c  descriptors come and go; fds.c: what they are
 *   accept.c       connections that come
 *   reads.c        bytes that come
 *   writes.c       bytes that go
 *   files.c        stat and readdir
 *   signals.c      handlers, at the same call; pauses.c: waits for one
 *   locks.c        mutexes, conditions, locks of readers and writers; turns.c: whose turn it is;
 *                  allocator.c: whose locks are left alone
 *   semaphores.c   semaphores, barriers, what is done once, threads that end
 *   refused.c      what cannot be followed
 *
 * A function that is followed is written
 *
 *	struct calls_call c = calls_begin(CALLS_X, about);
 *	if (c.role == CALLS_FOLLOWS) { calls_hear(&c, what it wrote); return calls_end(&c); }
 *	result = NEXT(x)(...);
 *	return calls_tell(&c, result, what it wrote);
 *
 * where CALLS_ALONE makes the rest of it a plain call. What was not asked for is left alone: errno too.
 */
#ifndef FTTCP_CALLS_H
#define FTTCP_CALLS_H
#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/uio.h>
#include <time.h>
#include "core/lockstep/calls.h"

#define EXPORT __attribute__((visibility("default")))
#define CALLS_LOOK_MS 50 /* who waits looks so often whether the log has ended */
#define CALLS_SIGNALS 65

/* Each call, its name, and its family: fttcp/server/calls.py finds the names in the library. */
#define CALLS_LIST(X)                                                                                                   \
	X(NONE, FTT_CALLS_SELF) X(SIGNAL, FTT_CALLS_SIGNALS)                                                                \
	X(GETRANDOM, FTT_CALLS_CHANCE) X(GETENTROPY, FTT_CALLS_CHANCE) X(ARC4RANDOM, FTT_CALLS_CHANCE)                      \
	X(CLOCK_GETTIME, FTT_CALLS_TIME) X(GETTIMEOFDAY, FTT_CALLS_TIME) X(TIME, FTT_CALLS_TIME)                            \
	X(NANOSLEEP, FTT_CALLS_TIME) X(GETRUSAGE, FTT_CALLS_TIME)                                                           \
	X(GETPID, FTT_CALLS_SELF) X(GETPPID, FTT_CALLS_SELF) X(GETHOSTNAME, FTT_CALLS_SELF) X(UNAME, FTT_CALLS_SELF)        \
	X(GETSOCKNAME, FTT_CALLS_SELF)                                                                                      \
	X(EPOLL_WAIT, FTT_CALLS_EVENTS) X(POLL, FTT_CALLS_EVENTS) X(SELECT, FTT_CALLS_EVENTS)                               \
	X(CONNECT, FTT_CALLS_EVENTS) X(GETSOCKOPT, FTT_CALLS_EVENTS)                                                        \
	X(ACCEPT, FTT_CALLS_ACCEPT) X(READ, FTT_CALLS_READ) X(WRITE, FTT_CALLS_WRITE)                                       \
	X(STAT, FTT_CALLS_FILES) X(READDIR, FTT_CALLS_FILES)                                                                \
	X(FORK, FTT_CALLS_CHILDREN) X(WAIT, FTT_CALLS_CHILDREN) X(IO_URING, FTT_CALLS_SELF)           \
	X(RECVMMSG, FTT_CALLS_READ) X(SENDMMSG, FTT_CALLS_WRITE) X(SPLICE, FTT_CALLS_WRITE)                                 \
	X(SIGWAIT, FTT_CALLS_SIGNALS)                                                                                       \
	X(MUTEX, FTT_CALLS_LOCKS) X(CONDITION, FTT_CALLS_LOCKS) X(RWLOCK, FTT_CALLS_LOCKS) X(SEMAPHORE, FTT_CALLS_LOCKS)    \
	X(BARRIER, FTT_CALLS_LOCKS) X(ONCE, FTT_CALLS_LOCKS) X(JOIN, FTT_CALLS_LOCKS) X(CANCEL, FTT_CALLS_LOCKS)            \
	X(SPIN, FTT_CALLS_LOCKS) X(FUTEX, FTT_CALLS_LOCKS) X(PAUSE, FTT_CALLS_SIGNALS)                                            \
	X(KILL, FTT_CALLS_SELF) X(GETTID, FTT_CALLS_SELF) X(SYSINFO, FTT_CALLS_SELF) X(SPAWN, FTT_CALLS_CHILDREN)

#define CALLS_NUMBER(name, family) CALLS_##name,
enum calls_number { CALLS_LIST(CALLS_NUMBER) CALLS_COUNT };
#undef CALLS_NUMBER

enum calls_role { CALLS_ALONE = 0, CALLS_LEADS, CALLS_FOLLOWS };

/* A thread's place in the log. */
struct calls_thread {
	uint64_t name;                  /* 0: none; it is alone */
	uint64_t child;                 /* the name of the process that it is about to make; 0: that is alone */
	struct ftt_calls_ring *ring;    /* NULL: not looked for yet */
	uint8_t *bytes;                 /* of the ring */
	uint64_t at, number;            /* position; calls until now */
	uint32_t children;              /* threads and processes that it has made */
	uint32_t locks;                 /* those that it was the first to take */
	volatile sig_atomic_t open;     /* it is in a call: a handler may run */
	volatile sig_atomic_t pending;  /* a signal came when it was not */
	siginfo_t *waiting;             /* [CALLS_SIGNALS]; si_signo 0: none */
};

extern _Thread_local struct calls_thread calls_self __attribute__((tls_model("initial-exec")));
extern struct ftt_calls_log *calls_log; /* NULL: the library does nothing */
extern volatile sig_atomic_t calls_role; /* enum calls_role, of this process */
extern volatile sig_atomic_t calls_threads; /* this process, or its parent, has made a thread */

/* A call. */
struct calls_call {
	uint64_t about, next;
	struct ftt_calls_record said; /* of the leader, for the follower */
	uint32_t heard;               /* of said.size */
	uint16_t call;                /* enum calls_number */
	uint16_t error;               /* the leader tells it beside a result */
	uint8_t role;                 /* enum calls_role: what this call is */
	bool interrupted;             /* a handler has run since the call before: a wait ends at once */
};

/* place.c */
void calls_map_ring(struct calls_thread *t, struct ftt_calls_ring *ring);
/* True: the thread has a ring. It is claimed by the leader, and waited for by the follower. */
bool calls_has_ring(struct calls_thread *t);
/* This thread has ended; this child has, with its threads. */
void calls_leave_ring(struct calls_thread *t);
void calls_leave_rings_of(int pid);
bool calls_has_followed(int pid); /* it has taken all that its rings have */
/* The name of the next thread or process that it makes. */
uint64_t calls_name_child(struct calls_thread *parent);

/* list.c */
bool calls_follows(enum calls_number call); /* its family is followed */

/* begin.c */
/* The result of a wait that a handler has ended before it began: it may have begun when the signal came. */
static inline int calls_interrupted(void)
{
	errno = EINTR;
	return -1;
}
struct calls_call calls_begin(enum calls_number call, uint64_t about);
/* Its result is `most` or less, for it counts what the server has room for. */
struct calls_call calls_begin_within(enum calls_number call, uint64_t about, int64_t most);

/* ring.c */
/* The leader's result, and what the call has written; nothing if it is alone. It keeps errno, and returns the result. */
int64_t calls_tell(struct calls_call *c, int64_t result, const void *wrote, size_t n);
int64_t calls_tell_parts(struct calls_call *c, int64_t result, const struct iovec *parts, int n);
void calls_put_record(enum calls_number call, int64_t result, const void *bytes, size_t n);
/* The follower waits for the next record; false: there is none, the log has ended. */
bool calls_take(struct calls_call *c);
/* It copies up to n bytes of what the leader's call has written, on from what it has heard; how much it was. */
size_t calls_hear(struct calls_call *c, void *to, size_t n);
/* ... and has the result; errno is the leader's. */
int64_t calls_end(struct calls_call *c);

/* end.c */
/* Still so: else the log has ended, and who waits for the leader's bytes is alone. */
bool calls_still(void);
/* The first one is kept. The leader's process is alone from now on; the follower's thread is, and others when they have nothing left. */
void calls_break(enum ftt_calls_end why, const struct calls_call *c);
void calls_go_alone(void);

/* refused.c */
void calls_refuse(enum calls_number call); /* it cannot be followed */

/* ahead.c */
#define CALLS_NS 1000000000ll
static inline int64_t calls_ns(const struct timespec *t)
{
	return t->tv_sec * CALLS_NS + t->tv_nsec;
}
void calls_note_time(unsigned clock, int64_t ns);
void calls_keep_time(void); /* a thread is alone from now on: clocks do not run back */
int calls_own_time(clockid_t clock, struct timespec *now);
int64_t calls_ahead(clockid_t clock); /* of this host's clock */
int64_t calls_now_ms(void); /* of this host, for what the library itself waits for */

/* children.c */
/* On the follower, the number that this process or child of it has here, of what the leader calls `number`; 0: none such. */
int calls_own_pid(int number);
int calls_told_pid(int own); /* the leader's number of it; its own if there is none */
void calls_know_child(int leader, int own);
void calls_forget_child(int own); /* it was waited for */
bool calls_is_family(int own);
void calls_forget_self(void); /* in a child */

/* fds.c */
enum calls_kind { CALLS_UNKNOWN = 0, CALLS_SOCKET, CALLS_PIPE, CALLS_FILE, CALLS_TOLD /* what is read differs */ };
enum calls_kind calls_kind(int fd);
int calls_fresh(int fd); /* it is a new one; returned as it is */
/* False: the log has ended. */
bool calls_await(int fd, short events);

/* accept.c */
void calls_forget_stashed(int listener);
void calls_hold_stash(void); /* while a process is made */
void calls_free_stash(void);

/* watched.c */
void calls_unwatch(int fd);
/* Translates what epoll has reported; *fds: their descriptors. Returns how many are known. */
int calls_watched(struct epoll_event *events, int n, int *fds);
/* False: not registered. */
bool calls_registered(int epoll, int fd, uint64_t *data);
void calls_rearm(void);
void calls_hold_watched(void); /* while a process is made */
void calls_free_watched(void);

/* signals.c */
void calls_deliver_pending(void);
void calls_deliver_told(struct calls_call *c);

#endif
