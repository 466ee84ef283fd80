/* SPDX-License-Identifier: Apache-2.0 */
/* children.c - forks, and starts threads; each draws, and says so in its turn. */
#define _GNU_SOURCE
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>
#include <sys/wait.h>
#include <unistd.h>

static uint64_t draw(void)
{
	uint64_t drawn = 0;

	if (getrandom(&drawn, sizeof(drawn), 0) != sizeof(drawn))
		abort();
	return drawn;
}

static void *in_thread(void *out)
{
	*(uint64_t *)out = draw();
	return NULL;
}

/* An argument: how many children and threads, one after the other, before. */
static void pass(int many)
{
	uint64_t drawn;
	pthread_t thread;

	for (int i = 0; i < many; i++) {
		pid_t child = fork();

		if (!child)
			_exit((int)draw() & 0x7f);
		waitpid(child, NULL, 0);
		if (pthread_create(&thread, NULL, in_thread, &drawn))
			abort();
		pthread_join(thread, NULL);
	}
}

int main(int argc, char **argv)
{
	uint64_t drawn[3];
	pthread_t threads[3];
	int status;

	setvbuf(stdout, NULL, _IONBF, 0);
	pass(argc > 1 ? atoi(argv[1]) : 0);
	for (int i = 0; i < 3; i++) {
		pid_t child = fork(), ended;

		if (!child) {
			printf("child %d of %d: %016lx\n", getpid(), getppid(), draw());
			_exit(i);
		}
		ended = waitpid(-1, &status, 0);
		printf("forked %d, ended %d with %d\n", child, ended, WEXITSTATUS(status));
	}
	status = fork();
	if (!status) {
		pause();
		_exit(1);
	}
	kill(status, SIGKILL); /* by the number that it was told */
	printf("killed %d: %d\n", status, wait(NULL));
	for (int i = 0; i < 3; i++)
		if (pthread_create(&threads[i], NULL, in_thread, &drawn[i]))
			return 1;
	for (int i = 0; i < 3; i++) {
		pthread_join(threads[i], NULL);
		printf("thread %016lx\n", drawn[i]);
	}
	return 0;
}
