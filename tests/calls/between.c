/* SPDX-License-Identifier: Apache-2.0 */
/* between.c - a signal comes between two calls, and what is called next would wait for ever. */
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/select.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static volatile sig_atomic_t came;

static void note(int n)
{
	came = n;
}

int main(void)
{
	struct sigaction wish = {.sa_handler = note};
	struct itimerval soon = {.it_value.tv_usec = 5000};

	sigaction(SIGALRM, &wish, NULL);
	for (int turn = 0; turn < 4; turn++) {
		clock_t begin;

		came = 0;
		setitimer(ITIMER_REAL, &soon, NULL);
		for (begin = clock(); clock() - begin < CLOCKS_PER_SEC / 20;) /* no calls that are followed */
			continue;
		if (!came && turn == 0)
			poll(NULL, 0, -1);
		if (!came && turn == 1)
			select(0, NULL, NULL, NULL, NULL);
		if (!came && turn == 2)
			sleep(1000);
		if (!came && turn == 3)
			pause();
		printf("turn %d: %d\n", turn, came);
	}
	return 0;
}
