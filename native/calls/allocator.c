/* SPDX-License-Identifier: Apache-2.0 */
/* allocator.c - a library that has malloc() instead of the C library: jemalloc, tcmalloc. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <link.h>
#include <stdlib.h>
#include "locks.h"
#include "next.h"

static uintptr_t begin, end;

struct looked {
	uintptr_t has, not; /* what it has, and what the C library has */
};

static bool is_in(uintptr_t place, uintptr_t from, size_t n)
{
	return place >= from && place - from < n;
}

/* The program itself has no name: who has malloc() in there is not known apart. */
static int look(struct dl_phdr_info *object, size_t size, void *given)
{
	struct looked *looked = given;

	(void)size;
	for (int i = 0; i < object->dlpi_phnum && *object->dlpi_name; i++) {
		uintptr_t from = object->dlpi_addr + object->dlpi_phdr[i].p_vaddr;
		size_t n = object->dlpi_phdr[i].p_memsz;

		if (object->dlpi_phdr[i].p_flags & PF_X && is_in(looked->has, from, n) && !is_in(looked->not, from, n)) {
			begin = from;
			end = from + n;
		}
	}
	return 0;
}

void calls_find_allocator(void)
{
	struct looked looked = {(uintptr_t)dlsym(RTLD_DEFAULT, "malloc"), (uintptr_t)NEXT(getpid)};

	dl_iterate_phdr(look, &looked);
}

bool calls_is_allocators(const void *code)
{
	return (uintptr_t)code - begin < end - begin;
}
