/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pour.c - says to one client as much as its socket takes, and how much that was each time.
 *
 *	pour PORT BYTES
 */
#define _GNU_SOURCE
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	static char bytes[1 << 18];
	long left = argc == 3 ? atol(argv[2]) : 0;
	int yes = 1, listener = socket(AF_INET, SOCK_STREAM, 0), fd;

	setvbuf(stdout, NULL, _IONBF, 0);
	at.sin_port = htons((uint16_t)atoi(argv[1]));
	setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes));
	if (bind(listener, (struct sockaddr *)&at, sizeof(at)) || listen(listener, 16))
		return 1;
	fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
	for (int turn = 0; left > 0; turn++) {
		struct iovec parts[2] = {{bytes, 1000}, {bytes + 1000, sizeof(bytes) - 1000}};
		ssize_t n = turn % 3 == 0 ? write(fd, bytes, sizeof(bytes))
			    : turn % 3 == 1 ? send(fd, bytes, sizeof(bytes), MSG_NOSIGNAL) : writev(fd, parts, 2);

		printf("%zd %s\n", n, n < 0 ? strerrorname_np(errno) : "");
		if (n > 0)
			left -= n;
		else if (errno != EAGAIN || poll(&(struct pollfd){.fd = fd, .events = POLLOUT}, 1, -1) < 0)
			return 1;
	}
	close(fd);
	return 0;
}
