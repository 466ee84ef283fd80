/* SPDX-License-Identifier: Apache-2.0 */
/* clock.c - says what each clock shows, and what it has used. An argument: how often; a line for each time. */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	clockid_t clocks[] = {CLOCK_REALTIME, CLOCK_MONOTONIC, CLOCK_MONOTONIC_RAW, CLOCK_BOOTTIME, CLOCK_REALTIME_COARSE,
			      CLOCK_MONOTONIC_COARSE, CLOCK_PROCESS_CPUTIME_ID};
	int times = argc > 1 ? atoi(argv[1]) : 1;

	setvbuf(stdout, NULL, _IOLBF, 0);
	for (int i = 0; i < times; i++) {
		struct timespec t;
		struct timeval now;
		struct rusage used;

		for (size_t c = 0; c < sizeof(clocks) / sizeof(*clocks); c++) {
			clock_gettime(clocks[c], &t);
			printf("%ld.%09ld ", t.tv_sec, t.tv_nsec);
		}
		gettimeofday(&now, NULL);
		getrusage(RUSAGE_SELF, &used);
		printf("%ld.%06ld %ld %ld.%06ld\n", now.tv_sec, now.tv_usec, time(NULL), used.ru_utime.tv_sec, used.ru_utime.tv_usec);
		usleep(1000);
	}
	return 0;
}
