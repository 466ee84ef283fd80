/* SPDX-License-Identifier: Apache-2.0 */
/*
 * turns.c - a process between its connection and programs, as a session of sshd is: who speaks next.
 *
 * Such a server passes on what its programs say in the pieces in which it finds them, and reads from its client in between. Both depend on the
 * moment, so two copies differ. In a process that has but one connection, and waits with poll() for that and for others, they take
 * turns:
 *
 *  1. what the server has not sent yet goes out;
 *  2. the programs speak: a whole piece, or what is there when they have ended, or when all of them sleep and so have no more to say;
 *  3. then the client: what it sent at once, up to the next edge (struct ftt_ls_row). That a program has ended is told before.
 *
 * So what is said depends on the client's words and on the programs, and not on the moment. Nothing is kept back for longer than programs
 * work for HOLD_NS or CLIENT_NS, or for LONG_NS in all. Then both copies may differ, as before. A client without a terminal has no key to
 * interrupt what is poured out to it, whole piece after whole piece: it waits for POUR_NS, in which its window is full, and all sleep. It
 * waits even where nothing moves for LONG_NS: the connection rests so at a takeover, and a program that gets no processor.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include "next.h"
#include "shim.h"

#define HOLD_NS 50000000ll     /* what programs say; */
#define CLIENT_NS 500000000ll  /* what the client says: a shell that starts has much to do */
#define LONG_NS 3000000000ll /* programs that get no processor do not work meanwhile */
#define POUR_NS 60000000000ll
#define LOOK_NS 300000ll    /* between two looks at programs that work */
#define CALM_NS 2000000ll /* a terminal passes on what was typed, and a server behind answers, later than one can see */
#define PIECE 32768         /* what sshd reads at once, and half of what a pipe holds */
#define TERMINAL_PIECE 2048 /* half of what a terminal holds */
#define MOST_STREAMS 32 /* more than sshd lets one connection have by itself; who has more is left alone */

enum kind { PIPE = 1, TERMINAL, OTHER };

/* What is not the connection, and may have something to say. */
struct stream {
	int fd;
	enum kind kind;
	bool ripe, hungry; /* as it was seen last */
};

static _Thread_local struct {
	struct stream stream[MOST_STREAMS];
	unsigned streams;
	int64_t client_ns;   /* when the client had its last turn */
	int64_t unripe_ns;   /* since when something is kept back: of the programs; 0: nothing is */
	int64_t waiting_ns;  /* ... of the client */
	int64_t progress_ns; /* when programs last spoke, or something went out */
	bool pours;          /* what they said then was a whole piece */
	int64_t ended_ns;    /* since when the end of a program is kept back */
	int64_t worked_ns;   /* programs have, since something is kept back */
	int64_t looked_ns, ran_ns; /* when one looked at them last, and how long they had run by then */
	int last;            /* what OTHER said by the last look, */
	int64_t changed_ns;  /* and since when */
} turn;

static int64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static int waits(int fd)
{
	int n = 0;

	return ioctl(fd, FIONREAD, &n) ? -1 : n;
}

/* --- what is there ------------------------------------------------------------------------------ */

static enum kind kind_of(int fd)
{
	struct stat st;

	if (fstat(fd, &st))
		return OTHER;
	return S_ISFIFO(st.st_mode) ? PIPE : S_ISCHR(st.st_mode) ? TERMINAL : OTHER;
}

static bool is_connection(int fd)
{
	uint32_t slot = shim_slot_of(fd);

	return slot && shim_is_only((struct shim_current){slot, atomic_load(&shim_slots[slot].epoch)});
}

/* Returns how many streams there are beside the connection; 0 if there are no turns to take. */
static unsigned streams_of(const struct pollfd *fds, nfds_t n)
{
	bool connection = false;
	unsigned streams = 0;

	for (nfds_t i = 0; i < n; i++) {
		if (fds[i].fd < 0)
			continue;
		if (is_connection(fds[i].fd))
			connection = true;
		else
			turn.stream[streams++] = (struct stream){.fd = fds[i].fd, .kind = kind_of(fds[i].fd)};
	}
	return connection ? streams : 0;
}

static struct stream *stream_of(int fd)
{
	for (unsigned i = 0; i < turn.streams; i++)
		if (turn.stream[i].fd == fd)
			return &turn.stream[i];
	return NULL;
}

static bool has(enum kind kind)
{
	for (unsigned i = 0; i < turn.streams; i++)
		if (turn.stream[i].kind == kind)
			return true;
	return false;
}

struct seen {
	bool unsent, sent;  /* the server has something to send; and can */
	bool client;        /* has something to say */
	bool spoken, ripe;  /* a program has; and it is a whole piece, or its last one */
	bool fed, full;     /* a program takes more; it would, but has not taken yet what it was given */
};

static bool is_ripe(const struct pollfd *p, enum kind kind)
{
	int n = waits(p->fd);

	return p->revents & (POLLHUP | POLLERR | POLLNVAL) || n < 0 || n >= (kind == TERMINAL ? TERMINAL_PIECE : PIECE);
}

/*
 * A program that has not taken yet what it was given gets no more: so it is given the same amounts in both copies. A terminal echoes at once:
 * not before a program that works has spoken.
 */
static bool is_hungry(const struct pollfd *p, enum kind kind)
{
	if (p->revents & (POLLHUP | POLLERR | POLLNVAL) || kind == OTHER)
		return true;
	return kind == TERMINAL ? !shim_look().awake : waits(p->fd) <= 0;
}

static struct seen see(const struct pollfd *fds, nfds_t n)
{
	struct seen s = {0};

	for (nfds_t i = 0; i < n; i++) {
		struct stream *stream = fds[i].fd < 0 ? NULL : stream_of(fds[i].fd);

		if (fds[i].fd < 0)
			continue;
		if (!stream) {
			s.unsent |= fds[i].events & POLLOUT;
			s.sent |= fds[i].revents & POLLOUT;
			s.client |= fds[i].revents & ~POLLOUT;
		} else if (fds[i].revents & ~POLLOUT && fds[i].events & POLLIN) {
			stream->ripe = is_ripe(&fds[i], stream->kind);
			s.spoken = true;
			s.ripe |= stream->ripe;
		} else if (fds[i].revents) {
			stream->hungry = is_hungry(&fds[i], stream->kind);
			s.fed |= stream->hungry;
			s.full |= !stream->hungry;
		}
	}
	return s;
}

/* --- whose turn it is -------------------------------------------------------------------------- */

enum { NOBODY = 0, SERVER = 1, FOOD = 2, PROGRAMS = 4, REST = 8, CLIENT = 16 };

/* What is said by those that one cannot look at is seen only by waiting for it. */
static bool others_rest(int64_t now)
{
	int all = 0;

	for (unsigned i = 0; i < turn.streams; i++) {
		int n = waits(turn.stream[i].fd);

		all += n > 0 ? n : 0;
	}
	if (all != turn.last) {
		turn.last = all;
		turn.changed_ns = now;
	}
	return now - (turn.changed_ns > turn.client_ns ? turn.changed_ns : turn.client_ns) >= CALM_NS;
}

static int64_t since(int64_t *start, int64_t now)
{
	if (!*start)
		*start = now;
	return now - *start;
}

static bool all_is_said(int64_t now, bool *ended)
{
	struct shim_look l = shim_look();
	int64_t ran = l.awake && !l.runs ? now - turn.looked_ns : l.ran_ns - turn.ran_ns;

	if (turn.looked_ns && ran > 0)
		turn.worked_ns += ran;
	turn.looked_ns = now;
	turn.ran_ns = l.ran_ns;
	*ended = l.ended;
	if (l.awake || (has(TERMINAL) && now - turn.client_ns < CALM_NS))
		return false;
	return (!l.blind && !has(OTHER)) || others_rest(now);
}

/* What speaks sleeps again by the time it is looked at, for it has filled its pipe since the wait has found nothing there. */
static bool has_spoken(const struct pollfd *fds, nfds_t n)
{
	struct pollfd p[MOST_STREAMS];
	unsigned asked = 0;

	for (nfds_t i = 0; i < n; i++)
		if (fds[i].fd >= 0 && fds[i].events & POLLIN && stream_of(fds[i].fd))
			p[asked++] = (struct pollfd){.fd = fds[i].fd, .events = POLLIN};
	return asked && NEXT(ppoll)(p, asked, &(struct timespec){0}, NULL) > 0;
}

static unsigned whose(const struct pollfd *fds, nfds_t n, const struct seen *s, int64_t now)
{
	int64_t held, idle = now - turn.progress_ns;
	bool pours = turn.pours && idle <= LONG_NS && !has(TERMINAL), quiet, ended = false;

	if (s->sent || s->fed)
		return SERVER | FOOD;
	if (s->ripe && !s->unsent)
		return PROGRAMS;
	quiet = !s->unsent && all_is_said(now, &ended);
	if ((s->spoken || s->full) && !s->unsent && (quiet || turn.worked_ns > HOLD_NS || since(&turn.unripe_ns, now) > LONG_NS))
		return PROGRAMS | REST;
	if (!s->client)
		return NOBODY;
	if (quiet && !s->spoken && has_spoken(fds, n))
		return NOBODY;
	held = since(&turn.waiting_ns, now);
	if ((quiet && !ended) || held > (pours ? POUR_NS : LONG_NS) || (idle > CLIENT_NS && turn.worked_ns > CLIENT_NS) ||
	    (s->unsent && idle > LONG_NS && held > HOLD_NS))
		return CLIENT;
	return NOBODY;
}

/* Leaves only what has its turn; returns how many descriptors. */
static int tell(struct pollfd *fds, nfds_t n, unsigned who)
{
	int told = 0;

	for (nfds_t i = 0; i < n; i++) {
		const struct stream *stream = fds[i].fd < 0 ? NULL : stream_of(fds[i].fd);
		short all = fds[i].revents, kept = 0;

		if (!all)
			continue;
		if (!stream)
			kept = all & (short)((who & SERVER ? POLLOUT : 0) | (who & CLIENT ? ~POLLOUT : 0));
		else if (all & ~POLLOUT && fds[i].events & POLLIN)
			kept = who & REST || (who & PROGRAMS && stream->ripe) ? all : 0;
		else
			kept = who & REST || (who & FOOD && stream->hungry) ? all : 0;
		fds[i].revents = kept;
		told += !!kept;
	}
	return told;
}

static void forget_work(void)
{
	turn.worked_ns = turn.looked_ns = 0;
}

static void note(unsigned who, const struct seen *s, int64_t now)
{
	forget_work();
	if (who & PROGRAMS && s->spoken)
		turn.pours = s->ripe;
	if (who & (SERVER | PROGRAMS))
		turn.progress_ns = now, turn.unripe_ns = 0;
	if (who & CLIENT)
		turn.client_ns = now, turn.waiting_ns = 0;
}

static bool programs_talk(void)
{
	struct pollfd p[MOST_STREAMS];
	unsigned n = 0;

	for (unsigned i = 0; i < turn.streams; i++)
		if (turn.stream[i].kind != OTHER)
			p[n++] = (struct pollfd){.fd = turn.stream[i].fd, .events = POLLIN};
	if (!n || NEXT(ppoll)(p, n, &(struct timespec){0}, NULL) <= 0)
		return false;
	for (unsigned i = 0; i < n; i++)
		if (p[i].revents & (POLLIN | POLLHUP) && !(p[i].revents & POLLNVAL))
			return true;
	return false;
}

/* Waits for those who have not said anything yet: a little, if it may soon be the turn of one who has. */
static int wait_for_turn(struct pollfd *fds, nfds_t n, const struct timespec *timeout, const sigset_t *mask)
{
	int fd[MOST_STREAMS], rc;

	for (nfds_t i = 0; i < n; i++) {
		fd[i] = fds[i].fd;
		if (fds[i].revents)
			fds[i].fd = -1;
	}
	rc = NEXT(ppoll)(fds, n, timeout, mask);
	for (nfds_t i = 0; i < n; i++)
		fds[i].fd = fd[i];
	return rc;
}

/* All is said by now, so it may be told that a program has ended: the server asks for that at this signal. */
static void tell_of_end(void)
{
	if (!turn.ended_ns)
		return;
	turn.ended_ns = 0;
	raise(SIGCHLD);
}

bool shim_take_turns(struct pollfd *fds, nfds_t n)
{
	if (!shim_has_one())
		return false;
	turn.streams = n > 1 && n <= MOST_STREAMS ? streams_of(fds, n) : 0;
	if (!turn.streams)
		tell_of_end();
	return turn.streams;
}

static int poll_in_turn(struct pollfd *fds, nfds_t n, const struct timespec *timeout, const sigset_t *mask)
{
	for (;;) {
		int rc = NEXT(ppoll)(fds, n, &(struct timespec){0}, NULL);
		int64_t now = now_ns();
		unsigned who;
		struct seen s;

		if (rc < 0)
			return rc;
		s = see(fds, n);
		if (!s.spoken)
			tell_of_end();
		if (!rc) {
			turn.waiting_ns = turn.unripe_ns = 0;
			forget_work();
		}
		who = rc ? whose(fds, n, &s, now) : NOBODY;
		if (who != NOBODY && (rc = tell(fds, n, who))) {
			note(who, &s, now);
			return rc;
		}
		if (!rc || (s.unsent && !s.client)) {
			rc = wait_for_turn(fds, n, timeout, mask);
			if (rc <= 0)
				return rc;
		} else {
			int64_t first = turn.unripe_ns ? turn.unripe_ns : turn.waiting_ns ? turn.waiting_ns : now;
			int64_t longer = (now - first) / 4;
			struct timespec little = {.tv_nsec = LOOK_NS + (longer < HOLD_NS ? longer : HOLD_NS)};

			if (wait_for_turn(fds, n, &little, mask) < 0)
				return -1;
		}
	}
}

/* A signal that comes between two waits ends the next one, as it would have ended the server's. */
int shim_poll_in_turn(struct pollfd *fds, nfds_t n, const struct timespec *timeout, const sigset_t *mask)
{
	sigset_t all, before;
	int rc, error;

	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, &before);
	rc = poll_in_turn(fds, n, timeout, mask ? mask : &before);
	error = errno;
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	errno = error;
	return rc;
}

size_t shim_piece(int fd, size_t n)
{
	const struct stream *stream;
	struct ftt_ls_found found;
	uint32_t slot;

	if (!shim_has_one())
		return n;
	slot = shim_slot_of(fd);
	if (slot && shim_found((struct shim_current){slot, atomic_load(&shim_slots[slot].epoch)}, &found))
		return ftt_ls_piece(found.row, n);
	stream = stream_of(fd);
	return stream && stream->kind == TERMINAL && n > TERMINAL_PIECE ? TERMINAL_PIECE : n;
}

/* That a program has ended is told when all has been read that it said. */
EXPORT pid_t waitpid(pid_t pid, int *status, int options)
{
	if (options & WNOHANG && turn.streams && programs_talk() && since(&turn.ended_ns, now_ns()) < LONG_NS)
		return 0;
	turn.ended_ns = 0;
	return NEXT(waitpid)(pid, status, options);
}
