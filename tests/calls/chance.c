/* SPDX-License-Identifier: Apache-2.0 */
/* chance.c - draws random numbers in each way that a C program has, and says them. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>
#include <sys/syscall.h>
#include <unistd.h>

static uint64_t drawn;

static void say(const char *how)
{
	printf("%s %016lx\n", how, drawn);
}

int main(void)
{
	int fd = open("/dev/urandom", O_RDONLY);
	FILE *device = fopen("/dev/random", "r");

	if (fd < 0 || !device || getrandom(&drawn, sizeof(drawn), 0) != sizeof(drawn))
		return 1;
	say("getrandom");
	if (getentropy(&drawn, sizeof(drawn)))
		return 1;
	say("getentropy");
	if (syscall(SYS_getrandom, &drawn, sizeof(drawn), 0) != sizeof(drawn))
		return 1;
	say("syscall");
	if (read(fd, &drawn, sizeof(drawn)) != sizeof(drawn))
		return 1;
	say("read");
	if (fread(&drawn, sizeof(drawn), 1, device) != 1)
		return 1;
	say("fread");
	arc4random_buf(&drawn, sizeof(drawn));
	say("arc4random_buf");
	drawn = arc4random_uniform(1000000000);
	say("arc4random_uniform");
	return 0;
}
