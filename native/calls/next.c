/* SPDX-License-Identifier: Apache-2.0 */
/* next.c - the C library's own functions, those that this library stands in for. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include "next.h"

struct calls_next calls_next;

void calls_find_functions(void)
{
#define FIND(name) *(void **)&calls_next.name = dlsym(RTLD_NEXT, #name);
	CALLS_NEXT(FIND) /* writev is the last: then all are there */
#undef FIND
}
