/* SPDX-License-Identifier: Apache-2.0 */
/*
 * link_multicast.c - heartbeats as UDP datagrams to a group, on one interface, hop limit 1.
 *
 * The socket is bound to the group's address, so that nothing else comes in. Our own are not brought
 * back by the kernel. Several nodes may listen to one group's port on
 * one host (SO_REUSEADDR).
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include "engine/liveness/link.h"

#define UDP_HEADER 8

static bool is_group(const struct ftt_destination *d)
{
	if (d->address.any.sa_family == AF_INET)
		return IN_MULTICAST(ntohl(d->address.v4.sin_addr.s_addr));
	return IN6_IS_ADDR_MULTICAST(&d->address.v6.sin6_addr);
}

static bool resolve(const struct ftt_link *l, uint16_t port, struct ftt_destination *to, char *why, size_t why_len)
{
	if (ftt_link_parse_address(l->remote, l->interface, port, to) && is_group(to))
		return true;
	snprintf(why, why_len, "remote \"%s\" is not a multicast address: take one such as 239.255.77.1 or ff15::77", l->remote);
	return false;
}

static bool same(const struct ftt_link *a, const struct ftt_link *b)
{
	return !strcmp(a->interface, b->interface) && !strcmp(a->remote, b->remote);
}

static bool set(int fd, int level, int name, int value)
{
	return !setsockopt(fd, level, name, &value, sizeof(value));
}

static bool prepare(int fd, int family)
{
	if (!set(fd, SOL_SOCKET, SO_REUSEADDR, 1))
		return false;
	if (family == AF_INET)
		return set(fd, IPPROTO_IP, IP_MULTICAST_TTL, 1) && set(fd, IPPROTO_IP, IP_MULTICAST_LOOP, 0) &&
		       set(fd, IPPROTO_IP, IP_MULTICAST_ALL, 0);
	return set(fd, IPPROTO_IPV6, IPV6_MULTICAST_HOPS, 1) && set(fd, IPPROTO_IPV6, IPV6_MULTICAST_LOOP, 0) &&
	       set(fd, IPPROTO_IPV6, IPV6_MULTICAST_ALL, 0);
}

/* Tells the kernel through which interface the group is sent to, and listened to. */
static void attach(struct ftt_endpoint *e)
{
	int index = ftt_link_interface(e);
	struct ftt_destination group;

	if (index == e->interface || !ftt_link_parse_address(e->link->remote, e->link->interface, 0, &group))
		return;
	e->interface = 0;
	if (!index)
		return; /* the kernel has left the group with the interface */
	if (group.address.any.sa_family == AF_INET) {
		struct ip_mreqn m = {.imr_multiaddr = group.address.v4.sin_addr, .imr_ifindex = index};

		if (setsockopt(e->fd, IPPROTO_IP, IP_MULTICAST_IF, &m, sizeof(m)) ||
		    (setsockopt(e->fd, IPPROTO_IP, IP_ADD_MEMBERSHIP, &m, sizeof(m)) && errno != EADDRINUSE))
			return;
	} else {
		struct ipv6_mreq m = {.ipv6mr_multiaddr = group.address.v6.sin6_addr, .ipv6mr_interface = (unsigned int)index};

		if (!set(e->fd, IPPROTO_IPV6, IPV6_MULTICAST_IF, index) ||
		    (setsockopt(e->fd, IPPROTO_IPV6, IPV6_ADD_MEMBERSHIP, &m, sizeof(m)) && errno != EADDRINUSE))
			return;
	}
	e->interface = index;
}

static bool open_socket(struct ftt_endpoint *e, const struct ftt_liveness_config *cfg, char *why, size_t why_len)
{
	struct ftt_destination group;
	int family;

	if (!ftt_link_parse_address(e->link->remote, e->link->interface, cfg->port, &group))
		return false; /* resolve() has looked */
	family = group.address.any.sa_family;
	e->fd = socket(family, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (e->fd >= 0)
		ftt_link_tune_socket(e->fd, family);
	if (e->fd >= 0 && prepare(e->fd, family) && ftt_link_filter(e->fd, cfg, UDP_HEADER) &&
	    !bind(e->fd, &group.address.any, group.len))
		return true;
	snprintf(why, why_len, "cannot listen to multicast group %s port %u/udp: %s; %s", e->link->remote, cfg->port,
		 strerror(errno),
		 errno == EADDRINUSE ? "another program has the port: choose another heartbeat_port, on all nodes"
				     : "check that the IP version is enabled");
	return false;
}

const struct ftt_link_kind ftt_link_multicast = {
	.resolve = resolve, .same = same, .open = open_socket, .attach = attach,
	.send = ftt_link_send_datagram, .receive = ftt_link_receive_datagram,
};
