/* SPDX-License-Identifier: Apache-2.0 */
/*
 * opens.c - connections that the server opens to the ports of the group's `opens`: only from a service address are they protected.
 *
 * A program that has not chosen an address itself gets the service's, if the group's `opens_bind` says so. People are told of all
 * that leave from another address.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "next.h"
#include "shim.h"

#define BGP 179

/* A connection that is about to begin, to where `opens` says. */
struct opening {
	struct ftt_ls_addresses who;
	int family;
};

static bool is_mapped(const uint8_t address[16])
{
	static const uint8_t prefix[12] = {[10] = 0xff, [11] = 0xff};

	return !memcmp(address, prefix, sizeof(prefix));
}

static bool is_any(const uint8_t address[16])
{
	static const uint8_t none[16];

	return !memcmp(address, none, 16) || (is_mapped(address) && !memcmp(address + 12, none, 4));
}

static bool is_near(const uint8_t address[16])
{
	const struct in6_addr *v6 = (const void *)address;

	return IN6_IS_ADDR_LOOPBACK(v6) || IN6_IS_ADDR_LINKLOCAL(v6) || (is_mapped(address) && address[12] == 127);
}

static bool is_service(const struct ftt_ls_opens *o, const uint8_t address[16])
{
	for (uint32_t i = 0; i < o->addresses && i < FTT_MAX_ADDRS; i++)
		if (!memcmp(o->address[i], address, 16))
			return true;
	return false;
}

static bool has_port(const struct ftt_ls_opens *o, uint16_t port)
{
	for (uint32_t i = 0; i < o->ports && i < FTT_MAX_PORTS; i++)
		if (o->port[i].first <= port && port <= o->port[i].last)
			return true;
	return false;
}

/* A stream that is on its way to nobody yet. */
static bool is_fresh(int fd)
{
	struct tcp_info info;
	socklen_t len = sizeof(info);

	return !getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len) && info.tcpi_state == TCP_CLOSE;
}

static bool is_ours(int fd, const struct sockaddr *to, socklen_t len, struct opening *o)
{
	struct sockaddr_storage there = {0};

	if (!shim_map.header || !shim_map.header->opens.ports || !to || len < sizeof(struct sockaddr_in) || len > sizeof(there))
		return false;
	memcpy(&there, to, len);
	o->family = to->sa_family;
	return shim_address(&there, o->who.remote, &o->who.remote_port) && has_port(&shim_map.header->opens, o->who.remote_port) &&
	       !is_near(o->who.remote) && !is_service(&shim_map.header->opens, o->who.remote) && is_fresh(fd) &&
	       shim_own_address(fd, o->who.local, &o->who.local_port);
}

/* The first service address of that family; what cannot be bound stays as it is, and is told of. */
static void bind_to_service(int fd, const struct opening *o)
{
	const struct ftt_ls_opens *service = &shim_map.header->opens;
	struct sockaddr_in v4 = {.sin_family = AF_INET};
	struct sockaddr_in6 v6 = {.sin6_family = AF_INET6};
	int yes = 1;

	for (uint32_t i = 0; i < service->addresses && i < FTT_MAX_ADDRS; i++) {
		if (is_mapped(service->address[i]) != is_mapped(o->who.remote))
			continue;
		memcpy(&v4.sin_addr, service->address[i] + 12, 4);
		memcpy(&v6.sin6_addr, service->address[i], 16);
		(void)setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &yes, sizeof(yes));
		if (!(o->family == AF_INET ? bind(fd, (void *)&v4, sizeof(v4)) : bind(fd, (void *)&v6, sizeof(v6))))
			shim_count(FTT_LS_BOUND);
		return;
	}
}

/* It is on its way: where from? */
static void look(int fd, struct opening *o)
{
	struct ftt_ls_header *h = shim_map.header;
	struct ftt_ls_stranger *s;
	uint64_t number;

	if (!shim_own_address(fd, o->who.local, &o->who.local_port))
		return;
	if (is_service(&h->opens, o->who.local)) {
		if (o->who.remote_port == BGP)
			shim_meet_peer(fd);
		return;
	}
	number = atomic_fetch_add(&h->count[FTT_LS_OUTWARD], 1) + 1;
	s = &h->outward[number % FTT_LS_OUTWARDS];
	s->who = o->who;
	s->pid = (uint32_t)getpid();
	s->number = number;
}

EXPORT int connect(int fd, const struct sockaddr *to, socklen_t len)
{
	int before = errno, rc, error;
	struct opening o;
	bool ours = is_ours(fd, to, len, &o);

	if (ours && shim_map.header->opens.bind && !o.who.local_port && is_any(o.who.local))
		bind_to_service(fd, &o);
	errno = before;
	rc = NEXT(connect)(fd, to, len);
	error = errno;
	if (ours && (!rc || error == EINPROGRESS))
		look(fd, &o);
	errno = error;
	return rc;
}
