/* SPDX-License-Identifier: Apache-2.0 */
/* thread.h - how the threads of an engine begin. */
#ifndef FTTCP_THREAD_H
#define FTTCP_THREAD_H
#include <pthread.h>
#include <signal.h>

/* A thread that no signal interrupts: they are Python's. But a fault of its own is its own (lockstep.c). 0, or errno. */
static inline int ftt_thread_start(pthread_t *thread, const char *name, void *(*body)(void *), void *of)
{
	sigset_t all, before;
	int error;

	sigfillset(&all);
	sigdelset(&all, SIGBUS);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	error = pthread_create(thread, NULL, body, of);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (!error)
		(void)pthread_setname_np(*thread, name);
	return error;
}

#endif
