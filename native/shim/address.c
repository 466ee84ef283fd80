/* SPDX-License-Identifier: Apache-2.0 */
/* address.c - what the kernel knows of a socket. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include "next.h"
#include "shim.h"

bool shim_address(const struct sockaddr_storage *from, uint8_t address[16], uint16_t *port)
{
	const struct sockaddr_in *v4 = (const void *)from;
	const struct sockaddr_in6 *v6 = (const void *)from;

	if (from->ss_family == AF_INET) {
		memset(address, 0, 10);
		memset(address + 10, 0xff, 2);
		memcpy(address + 12, &v4->sin_addr, 4);
		*port = ntohs(v4->sin_port);
	} else if (from->ss_family == AF_INET6) {
		memcpy(address, &v6->sin6_addr, 16);
		*port = ntohs(v6->sin6_port);
	} else {
		return false;
	}
	return true;
}

bool shim_own_address(int fd, uint8_t address[16], uint16_t *port)
{
	struct sockaddr_storage own = {0};
	socklen_t len = sizeof(own);

	return !getsockname(fd, (struct sockaddr *)&own, &len) && shim_address(&own, address, port);
}

bool shim_who_is(int fd, const struct sockaddr_storage *peer, struct ftt_ls_addresses *who)
{
	struct sockaddr_storage asked = {0};
	socklen_t asked_len = sizeof(asked);
	int before = errno;
	bool known = (peer || !getpeername(fd, (struct sockaddr *)&asked, &asked_len)) &&
		     shim_address(peer ? peer : &asked, who->remote, &who->remote_port) &&
		     shim_own_address(fd, who->local, &who->local_port);

	errno = before;
	return known;
}

bool shim_has_peer(int fd)
{
	struct sockaddr_storage peer;
	socklen_t len = sizeof(peer);
	int before = errno;
	bool has = !getpeername(fd, (struct sockaddr *)&peer, &len);

	errno = before;
	return has;
}

bool shim_listens(int fd)
{
	struct sockaddr_storage own;
	socklen_t len = sizeof(own), known = sizeof(int);
	int yes = 0, before = errno;
	bool inet = !getsockname(fd, (struct sockaddr *)&own, &len) && (own.ss_family == AF_INET || own.ss_family == AF_INET6);

	if (inet)
		(void)getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &yes, &known);
	errno = before;
	return yes;
}

bool shim_blocks(int fd, int flags)
{
	return !(flags & MSG_DONTWAIT) && !(NEXT(fcntl)(fd, F_GETFL) & O_NONBLOCK);
}
