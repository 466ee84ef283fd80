/* SPDX-License-Identifier: Apache-2.0 */
/* disk.h - what threads that write files share. */
#ifndef FTTCP_DISK_H
#define FTTCP_DISK_H
#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <unistd.h>

/* Writes all of it to a regular file; waits for the disk. 0, or errno: then some of it may be written. */
static inline int ftt_write_all(int fd, const uint8_t *p, size_t n)
{
	while (n) {
		ssize_t one = write(fd, p, n);

		if (one < 0 && errno != EINTR)
			return errno;
		p += one > 0 ? one : 0;
		n -= one > 0 ? (size_t)one : 0;
	}
	return 0;
}

#endif
