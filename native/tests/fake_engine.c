/* SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include <dirent.h>
#include <net/if.h>
#include <pthread.h>
#include <sched.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#include "check.h"
#include "fake_engine.h"

#define EVENTS_MAX 4096
#define PATIENCE_S 10

struct ftt_events {
	pthread_mutex_t lock;
	pthread_cond_t more;
	struct ftt_event event[EVENTS_MAX];
	size_t first, end;
};

static _Atomic uint64_t slept_ns;

void fake_suspend(uint64_t ns)
{
	atomic_fetch_add(&slept_ns, ns);
}

uint64_t ftt_now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_BOOTTIME, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec + atomic_load(&slept_ns);
}

void ftt_event_post(struct ftt_engine *e, const struct ftt_event *ev)
{
	struct ftt_events *q = e->events;

	pthread_mutex_lock(&q->lock);
	CHECK(q->end < EVENTS_MAX);
	q->event[q->end] = *ev;
	if (!ev->when_ns)
		q->event[q->end].when_ns = ftt_now_ns();
	q->end++;
	pthread_cond_signal(&q->more);
	pthread_mutex_unlock(&q->lock);
}

void fake_engine_init(struct ftt_engine *e)
{
	pthread_condattr_t attr;

	e->events = calloc(1, sizeof(*e->events));
	CHECK(e->events);
	pthread_mutex_init(&e->events->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&e->events->more, &attr);
	pthread_condattr_destroy(&attr);
}

void fake_engine_free(struct ftt_engine *e)
{
	pthread_cond_destroy(&e->events->more);
	pthread_mutex_destroy(&e->events->lock);
	free(e->events);
	e->events = NULL;
}

struct ftt_event fake_wait(struct ftt_engine *e, uint32_t kind)
{
	struct ftt_events *q = e->events;
	struct ftt_event found = {0};
	struct timespec until;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += PATIENCE_S;
	pthread_mutex_lock(&q->lock);
	while (found.kind != kind) {
		int error = 0;

		while (!error && q->first == q->end)
			error = pthread_cond_timedwait(&q->more, &q->lock, &until);
		if (error) {
			fprintf(stderr, "event %u did not come within %d s\n", kind, PATIENCE_S);
			exit(1);
		}
		found = q->event[q->first++];
	}
	pthread_mutex_unlock(&q->lock);
	return found;
}

int fake_drain(struct ftt_engine *e, uint32_t kind)
{
	struct ftt_events *q = e->events;
	int n = 0;

	pthread_mutex_lock(&q->lock);
	while (q->first < q->end)
		n += q->event[q->first++].kind == kind;
	pthread_mutex_unlock(&q->lock);
	return n;
}

int fake_posted(struct ftt_engine *e, uint32_t kind)
{
	struct ftt_events *q = e->events;
	int n = 0;

	pthread_mutex_lock(&q->lock);
	for (size_t i = 0; i < q->end; i++)
		n += q->event[i].kind == kind;
	pthread_mutex_unlock(&q->lock);
	return n;
}

void fake_set_mode(struct ftt_engine *e, uint32_t mode)
{
	atomic_store(&e->shared.mode, mode);
}

uint64_t fake_counter(const uint64_t *counter)
{
	return __atomic_load_n(counter, __ATOMIC_RELAXED);
}

bool fake_private_network(void)
{
	struct ifreq r = {.ifr_name = "lo", .ifr_flags = IFF_UP | IFF_LOOPBACK | IFF_RUNNING};
	int fd, error;

	if (unshare(CLONE_NEWNET) && unshare(CLONE_NEWUSER | CLONE_NEWNET))
		return false;
	fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	CHECK(fd >= 0);
	error = ioctl(fd, SIOCSIFFLAGS, &r);
	close(fd);
	return !error;
}

int fake_threads_named(const char *name)
{
	DIR *tasks = opendir("/proc/self/task");
	struct dirent *one;
	int n = 0;

	CHECK(tasks);
	while ((one = readdir(tasks))) {
		char path[300], got[32] = "";
		FILE *f;

		snprintf(path, sizeof(path), "/proc/self/task/%s/comm", one->d_name);
		f = fopen(path, "r");
		if (f) {
			n += fgets(got, sizeof(got), f) && !strncmp(got, name, strlen(name));
			fclose(f);
		}
	}
	closedir(tasks);
	return n;
}
