/* SPDX-License-Identifier: Apache-2.0 */
/*
 * signals.c - handlers run at the same call in both copies.
 *
 * The leader runs a handler while it is in a followed call, and tells of it before that call's result. A signal that comes at another
 * moment waits for the next call. The follower runs handlers when it is told of them; what comes from its own kernel (a timer,
 * a child's end) is the leader's business. Signals by which a program is told of its own faults are left alone.
 */
#define _GNU_SOURCE
#include <string.h>
#include "calls.h"
#include "next.h"

static struct sigaction handlers[CALLS_SIGNALS]; /* the server's */

static bool is_fault(int n)
{
	return n == SIGSEGV || n == SIGBUS || n == SIGILL || n == SIGFPE || n == SIGTRAP || n == SIGABRT || n == SIGSYS;
}

static void run(int n, siginfo_t *info, void *context)
{
	struct sigaction *h = &handlers[n];
	int before = errno;

	if (h->sa_flags & SA_SIGINFO)
		h->sa_sigaction(n, info, context);
	else if (h->sa_handler != SIG_DFL && h->sa_handler != SIG_IGN)
		h->sa_handler(n);
	errno = before;
}

/* In a call: its record comes before the call's, and so do those of the calls that the handler makes. */
static void deliver(int n, siginfo_t *info, void *context)
{
	struct calls_thread *t = &calls_self;
	sig_atomic_t open = t->open;

	t->open = 0;
	if (calls_role == CALLS_LEADS)
		calls_put_record(CALLS_SIGNAL, n, info, sizeof(*info));
	run(n, info, context);
	t->open = open;
}

void calls_deliver_pending(void)
{
	struct calls_thread *t = &calls_self;

	t->pending = 0;
	atomic_signal_fence(memory_order_seq_cst);
	for (int n = 1; n < CALLS_SIGNALS; n++) {
		siginfo_t info = t->waiting[n];

		t->waiting[n].si_signo = 0;
		if (info.si_signo)
			deliver(n, &info, NULL);
	}
}

void calls_deliver_told(struct calls_call *c)
{
	siginfo_t info = {0};
	int n;

	calls_hear(c, &info, sizeof(info));
	n = (int)calls_end(c);
	if (n > 0 && n < CALLS_SIGNALS)
		run(n, &info, NULL);
}

static void came(int n, siginfo_t *info, void *context)
{
	struct calls_thread *t = &calls_self;
	struct calls_call none = {.call = CALLS_SIGNAL, .about = (uint64_t)n};

	if (calls_role == CALLS_FOLLOWS && t->name) {
		if (info->si_code > 0 || info->si_code == SI_TIMER || info->si_pid == NEXT(getpid)() || calls_is_family(info->si_pid))
			return;
		calls_break(FTT_CALLS_ASKED, &none); /* somebody wants this copy to do something by itself */
	}
	if (calls_role != CALLS_LEADS || !t->name) {
		run(n, info, context);
	} else if (t->open) {
		deliver(n, info, context);
	} else {
		t->waiting[n] = *info;
		t->pending = 1;
	}
}

EXPORT int sigaction(int n, const struct sigaction *restrict wish, struct sigaction *restrict old)
{
	struct sigaction own, before;
	int rc;

	if (n <= 0 || n >= CALLS_SIGNALS || is_fault(n) || !calls_self.name || !calls_follows(CALLS_SIGNAL))
		return NEXT(sigaction)(n, wish, old);
	before = handlers[n];
	if (wish) {
		own = *wish;
		if (wish->sa_flags & SA_SIGINFO || (wish->sa_handler != SIG_DFL && wish->sa_handler != SIG_IGN)) {
			handlers[n] = *wish;
			own.sa_sigaction = came;
			own.sa_flags |= SA_SIGINFO;
		}
	}
	rc = NEXT(sigaction)(n, wish ? &own : NULL, old);
	if (!rc && old && old->sa_sigaction == came)
		*old = before;
	return rc;
}

EXPORT sighandler_t signal(int n, sighandler_t handler)
{
	struct sigaction wish = {.sa_handler = handler, .sa_flags = SA_RESTART}, old;

	sigemptyset(&wish.sa_mask);
	return sigaction(n, &wish, &old) ? SIG_ERR : old.sa_handler;
}
