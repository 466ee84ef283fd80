/* SPDX-License-Identifier: Apache-2.0 */
/* next.c - the C library's own functions, those that this library stands in for. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include "next.h"

struct shim_next shim_next;

#define FIND(name) (*(void **)&shim_next.name = dlsym(RTLD_NEXT, #name))

void shim_find_functions(void)
{
	if (shim_next.close)
		return;
	FIND(accept), FIND(accept4), FIND(connect), FIND(read), FIND(readv), FIND(recv), FIND(recvfrom), FIND(recvmsg);
	FIND(close_range), FIND(closefrom), FIND(dup), FIND(dup2), FIND(dup3), FIND(fcntl), FIND(open), FIND(openat);
	FIND(poll), FIND(ppoll), FIND(select), FIND(pselect), FIND(waitpid);
	FIND(epoll_ctl), FIND(epoll_wait), FIND(epoll_pwait), FIND(epoll_pwait2), FIND(clock_gettime);
	FIND(close);
}
