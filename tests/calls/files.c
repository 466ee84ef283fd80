/* SPDX-License-Identifier: Apache-2.0 */
/* files.c - says what it is told of the files here, and in which order. */
#define _GNU_SOURCE
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static void say(const char *how, const struct stat *st)
{
	printf("%s %lu %ld.%09ld %ld\n", how, st->st_ino, st->st_mtim.tv_sec, st->st_mtim.tv_nsec, st->st_size);
}

int main(void)
{
	DIR *here = opendir(".");
	struct dirent *one;
	struct statx x;
	struct stat st;
	char text[200];
	int fd = open("one", O_RDONLY), proc = open("/proc/self/stat", O_RDONLY);
	ssize_t n;

	if (!here || stat("one", &st))
		return 1;
	say("stat", &st);
	if (lstat("two", &st))
		return 1;
	say("lstat", &st);
	if (fstat(fd, &st))
		return 1;
	say("fstat", &st);
	if (fstatat(AT_FDCWD, "three", &st, 0))
		return 1;
	say("fstatat", &st);
	if (statx(AT_FDCWD, "four", 0, STATX_BASIC_STATS, &x))
		return 1;
	printf("statx %llu %lld.%09u\n", x.stx_ino, (long long)x.stx_mtime.tv_sec, x.stx_mtime.tv_nsec);
	while ((one = readdir(here)))
		printf("%s %lu\n", one->d_name, one->d_ino);
	closedir(here);
	n = read(proc, text, sizeof(text) - 1);
	text[n > 0 ? n : 0] = 0;
	printf("%s\n", text);
	n = read(fd, text, sizeof(text) - 1);
	text[n > 0 ? n : 0] = 0;
	printf("%s\n", text);
	return 0;
}
