/* SPDX-License-Identifier: Apache-2.0 */
/* process.h - what programs of the bench have in common: an end with a reason, and more files than one process may have. */
#ifndef BENCH_PROCESS_H
#define BENCH_PROCESS_H
#ifndef _GNU_SOURCE
#error "define _GNU_SOURCE first"
#endif
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

/* What could not be done, and what errno says of it. */
static inline void die(const char *what)
{
	fprintf(stderr, "%s: %s: %s\n", program_invocation_short_name, what, strerror(errno));
	exit(1);
}

/* Raises the limit of open files as far as it goes, and returns it. */
static inline rlim_t all_files(void)
{
	struct rlimit files;

	if (getrlimit(RLIMIT_NOFILE, &files))
		die("RLIMIT_NOFILE");
	files.rlim_cur = files.rlim_max;
	if (setrlimit(RLIMIT_NOFILE, &files))
		die("RLIMIT_NOFILE");
	return files.rlim_max;
}

/* Becomes `count` processes: 0 in the first, 1 and up in the others, which end when it does. */
static inline unsigned become(unsigned count)
{
	for (unsigned i = 1; i < count; i++) {
		pid_t child = fork();

		if (child < 0)
			die("fork");
		if (child)
			continue;
		if (prctl(PR_SET_PDEATHSIG, SIGKILL))
			die("prctl");
		return i;
	}
	return 0;
}

#endif
