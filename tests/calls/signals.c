/* SPDX-License-Identifier: Apache-2.0 */
/* signals.c - counts what it does, and says at which number each signal came. It ends by SIGTERM. */
#define _GNU_SOURCE
#include <signal.h>
#include <stdio.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static volatile unsigned long count;
static volatile sig_atomic_t over;

static void hear(int n, siginfo_t *info, void *context)
{
	char text[80];
	struct timespec now;

	(void)context;
	clock_gettime(CLOCK_MONOTONIC, &now); /* followed, too */
	(void)!write(1, text, (size_t)snprintf(text, sizeof(text), "signal %d from %d at %lu, %ld\n", n, info->si_pid, count,
					       now.tv_nsec));
	if (n == SIGTERM)
		over = 1;
}

int main(void)
{
	struct sigaction act = {.sa_sigaction = hear, .sa_flags = SA_SIGINFO};
	struct itimerval timer = {{0, 7000}, {0, 7000}};
	struct timespec now;

	sigaction(SIGUSR1, &act, NULL);
	sigaction(SIGTERM, &act, NULL);
	sigaction(SIGALRM, &act, NULL);
	(void)!write(1, "ready\n", 6);
	setitimer(ITIMER_REAL, &timer, NULL);
	while (!over) {
		for (volatile int i = 0; i < 1000; i++) /* a moment in which no handler may run */
			;
		count++;
		clock_gettime(CLOCK_REALTIME, &now);
	}
	return 0;
}
