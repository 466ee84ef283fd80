/* SPDX-License-Identifier: Apache-2.0 */
/* files.c - what is known of files: numbers, times, the order of a directory. Their bytes are alike on both hosts. */
#define _GNU_SOURCE
#include <string.h>
#include "calls.h"
#include "next.h"

#define LISTINGS 64

static uint64_t sum_of(const char *path)
{
	uint64_t sum = 14695981039346656037ull;

	for (; *path; path++)
		sum = (sum ^ (uint8_t)*path) * 1099511628211ull;
	return sum;
}

/* `real` is evaluated by who does not follow. */
#define FOLLOW_STAT(about, st, real)                                              \
	struct calls_call c = calls_begin(CALLS_STAT, about);                     \
	int rc;                                                                   \
	if (c.role == CALLS_FOLLOWS) {                                            \
		calls_hear(&c, st, sizeof(*st));                                  \
		return (int)calls_end(&c);                                        \
	}                                                                         \
	rc = (real);                                                              \
	return (int)calls_tell(&c, rc, st, rc ? 0 : sizeof(*st))

EXPORT int stat(const char *restrict path, struct stat *restrict st)
{
	FOLLOW_STAT(sum_of(path), st, NEXT(stat)(path, st));
}

EXPORT int lstat(const char *restrict path, struct stat *restrict st)
{
	FOLLOW_STAT(sum_of(path), st, NEXT(lstat)(path, st));
}

EXPORT int fstat(int fd, struct stat *st)
{
	FOLLOW_STAT((uint64_t)fd, st, NEXT(fstat)(fd, st));
}

EXPORT int fstatat(int at, const char *restrict path, struct stat *restrict st, int flags)
{
	FOLLOW_STAT(sum_of(path), st, NEXT(fstatat)(at, path, st, flags));
}

EXPORT int statx(int at, const char *restrict path, int flags, unsigned mask, struct statx *restrict st)
{
	FOLLOW_STAT(sum_of(path), st, NEXT(statx)(at, path, flags, mask, st));
}

EXPORT int stat64(const char *restrict path, struct stat64 *restrict st)
{
	return stat(path, (struct stat *)st);
}

EXPORT int lstat64(const char *restrict path, struct stat64 *restrict st)
{
	return lstat(path, (struct stat *)st);
}

EXPORT int fstat64(int fd, struct stat64 *st)
{
	return fstat(fd, (struct stat *)st);
}

EXPORT int fstatat64(int at, const char *restrict path, struct stat64 *restrict st, int flags)
{
	return fstatat(at, path, (struct stat *)st, flags);
}

/* --- directories ---------------------------------------------------------------------------------------- */

/* Of the follower: the entry that a directory's reader was given last. */
static struct {
	DIR *_Atomic of;
	struct dirent entry;
} listings[LISTINGS];

static struct dirent *entry_of(DIR *of)
{
	for (int i = 0; i < LISTINGS; i++) {
		DIR *none = NULL;

		if (atomic_load(&listings[i].of) == of || atomic_compare_exchange_strong(&listings[i].of, &none, of))
			return &listings[i].entry;
	}
	return NULL;
}

EXPORT int closedir(DIR *of)
{
	for (int i = 0; i < LISTINGS; i++) {
		DIR *own = of;

		atomic_compare_exchange_strong(&listings[i].of, &own, NULL);
	}
	calls_unwatch(dirfd(of));
	calls_fresh(dirfd(of));
	return NEXT(closedir)(of);
}

EXPORT struct dirent *readdir(DIR *of)
{
	struct calls_call c = calls_begin(CALLS_READDIR, (uint64_t)dirfd(of));
	struct dirent *entry;

	if (c.role == CALLS_FOLLOWS) {
		entry = entry_of(of);
		if (!entry) {
			calls_break(FTT_CALLS_REFUSED, &c); /* more directories at once than there is room for */
			calls_end(&c);
			return NEXT(readdir)(of);
		}
		calls_hear(&c, entry, sizeof(*entry));
		return calls_end(&c) > 0 ? entry : NULL;
	}
	errno = 0;
	entry = NEXT(readdir)(of);
	calls_tell(&c, entry ? 1 : errno ? -1 : 0, entry, entry ? offsetof(struct dirent, d_name) + strlen(entry->d_name) + 1 : 0);
	return entry;
}

EXPORT struct dirent64 *readdir64(DIR *of)
{
	return (struct dirent64 *)readdir(of);
}
