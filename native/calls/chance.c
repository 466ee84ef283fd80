/* SPDX-License-Identifier: Apache-2.0 */
/* chance.c - random numbers of the kernel, and what is built on these. Reads of devices are in reads.c. */
#define _GNU_SOURCE
#include <string.h>
#include "calls.h"
#include "core/lockstep/uniform.h"
#include "next.h"

EXPORT ssize_t getrandom(void *out, size_t n, unsigned flags)
{
	struct calls_call c = calls_begin_within(CALLS_GETRANDOM, n, (int64_t)n);
	ssize_t got;

	if (c.role == CALLS_FOLLOWS) {
		calls_hear(&c, out, n);
		return calls_end(&c);
	}
	got = NEXT(getrandom)(out, n, flags);
	return calls_tell(&c, got, out, got > 0 ? (size_t)got : 0);
}

EXPORT int getentropy(void *out, size_t n)
{
	struct calls_call c = calls_begin(CALLS_GETENTROPY, n);
	int rc;

	if (c.role == CALLS_FOLLOWS) {
		calls_hear(&c, out, n);
		return (int)calls_end(&c);
	}
	rc = NEXT(getentropy)(out, n);
	return (int)calls_tell(&c, rc, out, rc ? 0 : n);
}

static void from_kernel(uint8_t *out, size_t n)
{
	while (n) {
		ssize_t got = NEXT(getrandom)(out, n, 0);

		if (got < 0 && errno != EINTR)
			__builtin_trap(); /* it has no way to fail */
		out += got > 0 ? got : 0;
		n -= got > 0 ? (size_t)got : 0;
	}
}

EXPORT void arc4random_buf(void *out, size_t n)
{
	struct calls_call c = calls_begin(CALLS_ARC4RANDOM, n);

	if (c.role == CALLS_FOLLOWS) {
		calls_hear(&c, out, n);
		calls_end(&c);
		return;
	}
	from_kernel(out, n);
	calls_tell(&c, 0, out, n);
}

EXPORT uint32_t arc4random(void)
{
	uint32_t drawn;

	arc4random_buf(&drawn, sizeof(drawn));
	return drawn;
}

EXPORT uint32_t arc4random_uniform(uint32_t below)
{
	return ftt_uniform(below, arc4random);
}

/* --- a device that is read by way of stdio, whose own calls nobody can stand in for ------------------------------- */

static ssize_t read_device(void *cookie, char *to, size_t n)
{
	return read((int)(intptr_t)cookie, to, n);
}

static int close_device(void *cookie)
{
	return close((int)(intptr_t)cookie);
}

EXPORT FILE *fopen(const char *path, const char *mode)
{
	static const cookie_io_functions_t device = {.read = read_device, .close = close_device};
	FILE *file;
	int fd;

	if (calls_role == CALLS_ALONE || mode[0] != 'r' || (strcmp(path, "/dev/urandom") && strcmp(path, "/dev/random")))
		return NEXT(fopen)(path, mode);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return NULL;
	file = fopencookie((void *)(intptr_t)fd, mode, device);
	if (!file)
		close(fd);
	return file;
}

EXPORT FILE *fopen64(const char *path, const char *mode)
{
	return fopen(path, mode);
}
