/* SPDX-License-Identifier: Apache-2.0 */
/*
 * link_udp.c - heartbeats as UDP datagrams between two addresses.
 *
 * Sockets are bound to the link's own address with IP_FREEBIND, so it may come and go, and are never
 * connected. Errors in sending and receiving are a link's normal life (ENETUNREACH, EHOSTUNREACH,
 * ENETDOWN, EINVAL while the address is away...): the heartbeat is lost, silence is what reports it,
 * and the next one tries again. (An IPv6 link-local address is scoped to the index that its interface
 * has now: if the interface is made anew, the daemon must be restarted. Use global or unique local
 * addresses where interfaces come and go.)
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include "link.h"

#define DSCP_CS6 0xc0 /* network control, RFC 4594 */

/* Text to address; an IPv6 link-local one is scoped to the interface. False when it is no address. */
static bool parse_address(const char *text, const char *interface, uint16_t port, struct ftt_destination *out)
{
	union ftt_link_address *a = &out->address;

	memset(out, 0, sizeof(*out));
	if (inet_pton(AF_INET, text, &a->v4.sin_addr) == 1) {
		a->v4.sin_family = AF_INET;
		a->v4.sin_port = htons(port);
		out->len = sizeof(a->v4);
		return true;
	}
	if (inet_pton(AF_INET6, text, &a->v6.sin6_addr) != 1)
		return false;
	a->v6.sin6_family = AF_INET6;
	a->v6.sin6_port = htons(port);
	if (IN6_IS_ADDR_LINKLOCAL(&a->v6.sin6_addr))
		a->v6.sin6_scope_id = if_nametoindex(interface);
	out->len = sizeof(a->v6);
	return true;
}

static bool resolve(const struct ftt_link *l, uint16_t port, struct ftt_destination *to, char *why, size_t why_len)
{
	struct ftt_destination local;

	if (parse_address(l->local, l->interface, port, &local) && parse_address(l->remote, l->interface, port, to) &&
	    local.len == to->len)
		return true;
	snprintf(why, why_len, "local \"%s\" and remote \"%s\" must be two IPv4 or two IPv6 addresses: correct the link",
		 l->local, l->remote);
	return false;
}

static bool same(const struct ftt_link *a, const struct ftt_link *b)
{
	struct ftt_destination x, y;

	return parse_address(a->local, a->interface, 0, &x) && parse_address(b->local, b->interface, 0, &y) &&
	       x.len == y.len && !memcmp(&x.address, &y.address, x.len);
}

/* What a heartbeat socket wants; priority and buffer are wishes, a kernel without them still beats. */
static bool prepare_socket(int fd, int family)
{
	int one = 1, bytes = FTT_LINK_SOCKET_BYTES, tos = DSCP_CS6, priority = 6;

	(void)setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof(bytes));
	(void)setsockopt(fd, SOL_SOCKET, SO_PRIORITY, &priority, sizeof(priority));
	if (family == AF_INET) {
		(void)setsockopt(fd, IPPROTO_IP, IP_TOS, &tos, sizeof(tos));
		return setsockopt(fd, IPPROTO_IP, IP_FREEBIND, &one, sizeof(one)) == 0;
	}
	(void)setsockopt(fd, IPPROTO_IPV6, IPV6_TCLASS, &tos, sizeof(tos));
	return setsockopt(fd, IPPROTO_IPV6, IPV6_FREEBIND, &one, sizeof(one)) == 0;
}

static bool open_socket(struct ftt_endpoint *e, uint16_t port, char *why, size_t why_len)
{
	struct ftt_destination local;

	if (!parse_address(e->link->local, e->link->interface, port, &local)) {
		snprintf(why, why_len, "local \"%s\" is not an IP address: correct the link", e->link->local);
		return false;
	}
	e->fd = socket(local.address.any.sa_family, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (e->fd >= 0 && prepare_socket(e->fd, local.address.any.sa_family) &&
	    !bind(e->fd, &local.address.any, local.len))
		return true;
	snprintf(why, why_len, "cannot listen for heartbeats on %s port %u/udp: %s; %s", e->link->local, port,
		 strerror(errno),
		 errno == EADDRINUSE ? "another program or group has the port: choose another channel_port"
				     : "check the link's address and that its IP version is enabled");
	return false;
}

static bool send_datagram(struct ftt_endpoint *e, const struct ftt_destination *to, const uint8_t *bytes, size_t len)
{
	return sendto(e->fd, bytes, len, MSG_DONTWAIT | MSG_NOSIGNAL, &to->address.any, to->len) == (ssize_t)len;
}

static ssize_t receive(struct ftt_endpoint *e, uint8_t *bytes, size_t room)
{
	return recv(e->fd, bytes, room, MSG_DONTWAIT);
}

const struct ftt_link_kind ftt_link_udp = {
	.resolve = resolve, .same = same, .open = open_socket, .send = send_datagram, .receive = receive,
};
