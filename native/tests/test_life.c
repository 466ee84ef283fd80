/* SPDX-License-Identifier: Apache-2.0 */
/* A process's children hear of its death before anybody who waits for it: the engine must not be later than they are. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include "check.h"
#include "engine/engine.h"

#define RUNS 200
#define NOW 1000000ull
#define CHILDREN 4

static struct ftt_engine engine = {.cfg.policy = {.detach_after_ns = 2000}};

/* A main process: each of its children is told of its death by the end of a pipe, asks the engine's question and tells what it got. */
static pid_t begin(int told)
{
	pid_t pid = fork();
	int life[2];
	char byte;

	if (pid)
		return pid;
	CHECK(!pipe(life));
	pid = getpid();
	for (int i = 0; i < CHILDREN; i++) {
		if (fork())
			continue;
		close(life[1]);
		CHECK_EQ(ftt_server_watch(&engine, &pid, 1), 0);
		byte = ftt_server_gone(&engine, NOW) ? 'e' : 'r'; /* ready */
		CHECK_EQ(write(told, &byte, 1), 1);
		CHECK_EQ(read(life[0], &byte, 1), 0);
		byte = ftt_server_gone(&engine, NOW) ? 'd' : 'l'; /* dead, or living */
		CHECK_EQ(write(told, &byte, 1), 1);
		_exit(0);
	}
	for (;;)
		pause();
}

static void count(int told, char wanted)
{
	for (int i = 0; i < CHILDREN; i++) {
		char byte;

		CHECK_EQ(read(told, &byte, 1), 1);
		CHECK_EQ(byte, wanted);
	}
}

static void test_nobody_who_knows_of_it_is_earlier(void)
{
	for (int run = 0; run < RUNS; run++) {
		int told[2];
		pid_t pid;

		CHECK(!pipe(told));
		pid = begin(told[1]);
		count(told[0], 'r');
		CHECK(!kill(pid, SIGKILL));
		count(told[0], 'd');
		CHECK_EQ(waitpid(pid, NULL, 0), pid);
		close(told[0]);
		close(told[1]);
	}
}

static void test_what_is_seen(void)
{
	pid_t pids[] = {getpid(), 0};

	pids[1] = fork();
	if (!pids[1])
		for (;;)
			pause();
	CHECK_EQ(ftt_server_watch(&engine, pids, 2), 0);
	CHECK(!ftt_server_gone(&engine, NOW));
	CHECK(!kill(pids[1], SIGKILL) && waitpid(pids[1], NULL, 0) == pids[1]);
	CHECK(!ftt_server_known_gone(&engine, NOW)); /* nobody has looked */
	CHECK(ftt_server_gone(&engine, NOW));       /* also when it was reaped; one of them is enough */
	CHECK(ftt_server_known_gone(&engine, NOW - 5)); /* of another worker, whose time is a little older */
	CHECK(ftt_server_known_gone(&engine, NOW + 2000));
	CHECK(!ftt_server_gone(&engine, NOW + 2001)); /* no takeover came */
	CHECK_EQ(ftt_server_watch(&engine, pids, 1), 0);
	CHECK(!ftt_server_gone(&engine, NOW));
	CHECK(ftt_server_watch(&engine, pids, 2)); /* there is no such process; the other one is looked at */
	CHECK_EQ(engine.n_lives, 1);
	CHECK_EQ(ftt_server_watch(&engine, NULL, 0), 0);
	CHECK(!ftt_server_gone(&engine, NOW));
}

int main(void)
{
	test_what_is_seen();
	test_nobody_who_knows_of_it_is_earlier();
	return 0;
}
