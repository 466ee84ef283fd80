/* SPDX-License-Identifier: Apache-2.0 */
/* locks.c - threads that get a lock in turn, and say who got it when. Arguments: which kind, and which threads are slow. */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define THREADS 4
#define TURNS 200

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_rwlock_t rwlock = PTHREAD_RWLOCK_INITIALIZER;
static pthread_cond_t condition = PTHREAD_COND_INITIALIZER;
static pthread_once_t once[TURNS];
static pthread_barrier_t barrier;
static sem_t semaphore;
static const char *kind;
static int slow, missed, whose, current, done[TURNS];
static char order[2 * THREADS * TURNS + 1]; /* who got it */
static char ended[THREADS + 1];
static size_t at, ends;

static void linger(int number, int turn)
{
	for (int i = 0; i < (slow ? number : THREADS - 1 - number) * (turn % 7); i++)
		sched_yield();
}

static struct timespec soon(long ns)
{
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	t.tv_nsec += ns;
	return (struct timespec){t.tv_sec + t.tv_nsec / 1000000000, t.tv_nsec % 1000000000};
}

static void note(int number)
{
	order[at++] = (char)('a' + number);
	sched_yield();
}

static void by_mutex(int number, int turn)
{
	struct timespec limit = soon(1000);
	int error;

	if (turn % 3 == 0)
		error = pthread_mutex_lock(&mutex);
	else if (turn % 3 == 1)
		error = pthread_mutex_trylock(&mutex);
	else
		error = pthread_mutex_timedlock(&mutex, &limit);
	if (error) {
		__atomic_fetch_add(&missed, 1, __ATOMIC_RELAXED);
		return;
	}
	note(number);
	pthread_mutex_unlock(&mutex);
}

/* Readers note themselves in an order of their own, by a mutex. */
static void by_rwlock(int number, int turn)
{
	if (turn % 2 || pthread_rwlock_tryrdlock(&rwlock)) {
		pthread_rwlock_wrlock(&rwlock);
		note(number);
	} else {
		pthread_mutex_lock(&mutex);
		note(number);
		pthread_mutex_unlock(&mutex);
	}
	pthread_rwlock_unlock(&rwlock);
}

/* Whoever is waited for, and others for some time only. */
static void by_condition(int number, int turn)
{
	struct timespec limit;

	pthread_mutex_lock(&mutex);
	while (whose && turn % 2)
		pthread_cond_wait(&condition, &mutex);
	limit = soon(200000);
	if (whose && pthread_cond_timedwait(&condition, &mutex, &limit) == ETIMEDOUT)
		missed++;
	whose = !whose;
	note(number);
	pthread_cond_broadcast(&condition);
	if (turn == TURNS - 1)
		whose = 0;
	pthread_mutex_unlock(&mutex);
}

static void by_semaphore(int number, int turn)
{
	struct timespec limit = soon(1000);

	if (turn % 3 == 0)
		while (sem_wait(&semaphore))
			continue;
	else if (turn % 3 == 1 ? sem_trywait(&semaphore) : sem_timedwait(&semaphore, &limit)) {
		__atomic_fetch_add(&missed, 1, __ATOMIC_RELAXED);
		return;
	}
	note(number);
	sem_post(&semaphore);
}

static _Thread_local int self;

static void first(void)
{
	done[current] = 1 + self;
	note(self);
}

/* All come to it at once. */
static void by_once(int number, int turn)
{
	self = number;
	if (pthread_barrier_wait(&barrier) == PTHREAD_BARRIER_SERIAL_THREAD)
		current = turn;
	pthread_barrier_wait(&barrier);
	linger(number, turn);
	pthread_once(&once[turn], first);
	if (!done[turn])
		abort();
}

static void by_barrier(int number, int turn)
{
	linger(number, turn);
	if (pthread_barrier_wait(&barrier) == PTHREAD_BARRIER_SERIAL_THREAD)
		note(number);
}

static void take_turn(int number, int turn)
{
	static const struct {
		const char *name;
		void (*take)(int, int);
	} kinds[] = {{"mutex", by_mutex}, {"rwlock", by_rwlock}, {"condition", by_condition},
		     {"semaphore", by_semaphore}, {"once", by_once}, {"barrier", by_barrier}};

	for (size_t i = 0; i < sizeof(kinds) / sizeof(*kinds); i++)
		if (!strcmp(kind, kinds[i].name))
			kinds[i].take(number, turn);
}

/* Its destructor is the last that a thread does. */
static void end(void *number)
{
	pthread_mutex_lock(&mutex);
	ended[ends++] = (char)('a' + (int)(long)number - 1);
	pthread_mutex_unlock(&mutex);
}

static pthread_key_t key;

static void *work(void *argument)
{
	int number = (int)(long)argument;

	pthread_setspecific(key, (void *)(long)(number + 1));
	for (int turn = 0; turn < TURNS; turn++) {
		linger(number, turn);
		take_turn(number, turn);
	}
	if (number % 2)
		pthread_exit(NULL);
	return NULL;
}

int main(int argc, char **argv)
{
	pthread_t threads[THREADS];

	if (argc < 3)
		return 1;
	kind = argv[1];
	slow = atoi(argv[2]);
	sem_init(&semaphore, 0, 1);
	pthread_barrier_init(&barrier, NULL, THREADS);
	pthread_key_create(&key, end);
	for (long i = 0; i < THREADS; i++)
		if (pthread_create(&threads[i], NULL, work, (void *)i))
			return 1;
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	printf("%s\nmissed %d, ended %s\n", order, missed, ended);
	return 0;
}
