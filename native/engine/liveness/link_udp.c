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
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include "engine/liveness/link.h"

static bool resolve(const struct ftt_link *l, uint16_t port, struct ftt_destination *to, char *why, size_t why_len)
{
	struct ftt_destination local;

	if (ftt_link_parse_address(l->local, l->interface, port, &local) && ftt_link_parse_address(l->remote, l->interface, port, to) &&
	    local.len == to->len)
		return true;
	snprintf(why, why_len, "local \"%s\" and remote \"%s\" must be two IPv4 or two IPv6 addresses: correct the link",
		 l->local, l->remote);
	return false;
}

static bool same(const struct ftt_link *a, const struct ftt_link *b)
{
	struct ftt_destination x, y;

	return ftt_link_parse_address(a->local, a->interface, 0, &x) && ftt_link_parse_address(b->local, b->interface, 0, &y) &&
	       x.len == y.len && !memcmp(&x.address, &y.address, x.len);
}

static bool allow_absent_address(int fd, int family)
{
	int one = 1;

	if (family == AF_INET)
		return !setsockopt(fd, IPPROTO_IP, IP_FREEBIND, &one, sizeof(one));
	return !setsockopt(fd, IPPROTO_IPV6, IPV6_FREEBIND, &one, sizeof(one));
}

static bool open_socket(struct ftt_endpoint *e, const struct ftt_liveness_config *cfg, char *why, size_t why_len)
{
	uint16_t port = cfg->port;
	struct ftt_destination local;

	if (!ftt_link_parse_address(e->link->local, e->link->interface, port, &local)) {
		snprintf(why, why_len, "local \"%s\" is not an IP address: correct the link", e->link->local);
		return false;
	}
	e->fd = socket(local.address.any.sa_family, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (e->fd >= 0)
		ftt_link_tune_socket(e->fd, local.address.any.sa_family);
	if (e->fd >= 0 && allow_absent_address(e->fd, local.address.any.sa_family) &&
	    !bind(e->fd, &local.address.any, local.len))
		return true;
	snprintf(why, why_len, "cannot listen for heartbeats on %s port %u/udp: %s; %s", e->link->local, port,
		 strerror(errno),
		 errno == EADDRINUSE ? "another program has the port: choose another heartbeat_port, on all nodes"
				     : "check the link's address and that its IP version is enabled");
	return false;
}

const struct ftt_link_kind ftt_link_udp = {
	.resolve = resolve, .same = same, .open = open_socket,
	.send = ftt_link_send_datagram, .receive = ftt_link_receive_datagram,
};
