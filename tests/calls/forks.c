/* SPDX-License-Identifier: Apache-2.0 */
/* forks.c - forks with handlers, while another thread takes the same lock. */
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>
#include <sys/wait.h>
#include <unistd.h>

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static volatile int over;
static int times;

static void draw(const char *who)
{
	uint32_t drawn;

	if (getrandom(&drawn, sizeof(drawn), 0) != sizeof(drawn))
		abort();
	printf("%s %08x after %d\n", who, drawn, times);
	fflush(stdout);
}

static void before(void)
{
	pthread_mutex_lock(&mutex);
	draw("before");
}

static void in_parent(void)
{
	draw("parent");
	pthread_mutex_unlock(&mutex);
}

static void in_child(void)
{
	draw("child");
	pthread_mutex_unlock(&mutex);
}

static void *work(void *none)
{
	for (int more = 1; more;) {
		pthread_mutex_lock(&mutex);
		times++;
		more = !over;
		pthread_mutex_unlock(&mutex);
		usleep(100);
	}
	return none;
}

int main(void)
{
	pthread_t thread;
	int status;

	pthread_atfork(before, in_parent, in_child);
	if (pthread_create(&thread, NULL, work, NULL))
		return 1;
	for (int i = 0; i < 10; i++) {
		pid_t child = fork();

		if (!child) {
			draw("then");
			_exit(i);
		}
		if (waitpid(child, &status, 0) != child)
			abort();
		printf("%d ended with %d\n", child, WEXITSTATUS(status));
	}
	pthread_mutex_lock(&mutex);
	over = 1;
	pthread_mutex_unlock(&mutex);
	pthread_join(thread, NULL);
	printf("%d times\n", times);
	return 0;
}
