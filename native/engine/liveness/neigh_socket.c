/* SPDX-License-Identifier: Apache-2.0 */
/*
 * neigh_socket.c - packet sockets on the service interface, and its comings and goings.
 *
 * One packet socket for each protocol, so that the kernel hands us none of the service's own
 * traffic, each with a classic BPF filter that lets only frames about our addresses through: the
 * thread sleeps while the rest of a large segment resolves each other. The filter is attached
 * before the socket is bound to its protocol; nothing gets in unfiltered.
 *
 * Solicitations for an address go to its solicited-node group. The service address is not an address
 * of this interface (it sits on the loopback), so the kernel has not joined that group: we do, for
 * the network card (PACKET_ADD_MEMBERSHIP) and for switches that snoop MLD (IPV6_JOIN_GROUP makes
 * the kernel report it). Both survive the interface going down and up; not its removal.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <linux/filter.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>
#include "engine/liveness/neigh.h"

#define PROGRAM_MAX (2 * FTT_MAX_ADDRS + 12)

struct program {
	struct sock_filter code[PROGRAM_MAX];
	unsigned short len;
};

static void add(struct program *p, uint16_t code, uint8_t jump_true, uint8_t jump_false, uint32_t k)
{
	p->code[p->len++] = (struct sock_filter){.code = code, .jt = jump_true, .jf = jump_false, .k = k};
}

static void add_load_word(struct program *p, uint32_t offset)
{
	add(p, BPF_LD | BPF_W | BPF_ABS, 0, 0, offset);
}

/* Goes on when the octet at offset is one of the two; else the frame is refused. */
static void add_want_byte(struct program *p, uint32_t offset, uint8_t one, uint8_t other)
{
	add(p, BPF_LD | BPF_B | BPF_ABS, 0, 0, offset);
	add(p, BPF_JMP | BPF_JEQ | BPF_K, 2, 0, one);
	add(p, BPF_JMP | BPF_JEQ | BPF_K, 1, 0, other);
	add(p, BPF_RET | BPF_K, 0, 0, 0);
}

/* Takes the frame if the loaded word is the last word of one of our addresses of that version. */
static void add_take_if_ours(struct program *p, const struct ftt_config *cfg, bool v4, unsigned int skip_after)
{
	unsigned int left = 0;

	for (uint32_t i = 0; i < cfg->n_service_addrs; i++)
		left += ftt_is_v4(cfg->service_addr[i]) == v4;
	for (uint32_t i = 0; i < cfg->n_service_addrs; i++)
		if (ftt_is_v4(cfg->service_addr[i]) == v4)
			add(p, BPF_JMP | BPF_JEQ | BPF_K, (uint8_t)(--left + skip_after), 0, get_be32(cfg->service_addr[i] + 12));
}

/* A frame that is too short for a load is refused by the kernel. */
static void build_filter(struct program *p, const struct ftt_config *cfg, bool v4)
{
	unsigned int n = 0;

	for (uint32_t i = 0; i < cfg->n_service_addrs; i++)
		n += ftt_is_v4(cfg->service_addr[i]) == v4;
	p->len = 0;
	if (v4) {
		add_load_word(p, FTT_ETH_HEADER + 24); /* target */
		add_take_if_ours(p, cfg, true, 1 + n + 1);
		add_load_word(p, FTT_ETH_HEADER + 14); /* sender: a conflict */
		add_take_if_ours(p, cfg, true, 1);
	} else {
		add_want_byte(p, FTT_ETH_HEADER + 6, 58, 58);
		add_want_byte(p, FTT_ND_ICMP, FTT_ND_SOLICIT, FTT_ND_ADVERT);
		add_load_word(p, FTT_ND_ICMP + 20); /* end of the target */
		add_take_if_ours(p, cfg, false, 1);
	}
	add(p, BPF_RET | BPF_K, 0, 0, 0);
	add(p, BPF_RET | BPF_K, 0, 0, 0xffff);
}

/* A packet socket for one ethertype, or -1 and errno. */
static int open_packet(const struct ftt_config *cfg, int ifindex, bool v4)
{
	struct sockaddr_ll where = {.sll_family = AF_PACKET, .sll_ifindex = ifindex};
	struct program program;
	struct sock_fprog attached = {.filter = program.code};
	int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	int error;

	build_filter(&program, cfg, v4);
	attached.len = program.len;
	where.sll_protocol = htons(v4 ? FTT_ETH_ARP : FTT_ETH_IPV6);
	if (fd < 0)
		return -1;
	if (!setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &attached, sizeof(attached)) &&
	    !bind(fd, (struct sockaddr *)&where, sizeof(where)))
		return fd;
	error = errno;
	close(fd);
	errno = error;
	return -1;
}

/* Joins the solicited-node groups of our IPv6 addresses. 0 or errno. */
static int join_groups(const struct ftt_neigh_port *p, const struct ftt_config *cfg)
{
	for (uint32_t i = 0; i < cfg->n_service_addrs; i++) {
		struct packet_mreq station = {.mr_ifindex = p->ifindex, .mr_type = PACKET_MR_MULTICAST, .mr_alen = 6};
		struct ipv6_mreq group = {.ipv6mr_interface = (unsigned int)p->ifindex};

		if (ftt_is_v4(cfg->service_addr[i]))
			continue;
		ftt_nd_solicited_node(cfg->service_addr[i], group.ipv6mr_multiaddr.s6_addr);
		ftt_nd_group_mac(group.ipv6mr_multiaddr.s6_addr, station.mr_address);
		if (setsockopt(p->nd_fd, SOL_PACKET, PACKET_ADD_MEMBERSHIP, &station, sizeof(station)))
			return errno;
		/* two addresses may share a group */
		if (setsockopt(p->mld_fd, IPPROTO_IPV6, IPV6_JOIN_GROUP, &group, sizeof(group)) && errno != EADDRINUSE)
			return errno;
	}
	return 0;
}

/* Has the network card take what is sent to the group's own MAC address. 0 or errno. */
static int take_own_mac(const struct ftt_neigh_port *p, const struct ftt_config *cfg)
{
	struct packet_mreq station = {.mr_ifindex = p->ifindex, .mr_type = PACKET_MR_UNICAST, .mr_alen = 6};
	int fd = p->arp_fd >= 0 ? p->arp_fd : p->nd_fd;

	memcpy(station.mr_address, cfg->service_mac, 6);
	if (ftt_all_zero(cfg->service_mac, 6))
		return 0;
	return setsockopt(fd, SOL_PACKET, PACKET_ADD_MEMBERSHIP, &station, sizeof(station)) ? errno : 0;
}

int ftt_neigh_mac_on(int fd, const struct ftt_config *cfg, const char *interface, uint8_t mac[6])
{
	struct ifreq r = {0};

	memcpy(r.ifr_name, interface, sizeof(r.ifr_name));
	if (ioctl(fd, SIOCGIFHWADDR, &r))
		return errno;
	if (r.ifr_hwaddr.sa_family != ARPHRD_ETHER)
		return EPROTOTYPE;
	memcpy(mac, ftt_all_zero(cfg->service_mac, 6) ? (const uint8_t *)r.ifr_hwaddr.sa_data : cfg->service_mac, 6);
	return 0;
}

/* Index and carrier of the interface, and the MAC address that the service has there. 0 or errno. */
static int look_up(int fd, const struct ftt_config *cfg, const char *interface, int *ifindex, struct ftt_neigh_port *p)
{
	struct ifreq r = {0};
	int error;

	memcpy(r.ifr_name, interface, sizeof(r.ifr_name));
	if (ioctl(fd, SIOCGIFINDEX, &r))
		return errno;
	*ifindex = r.ifr_ifindex;
	error = ftt_neigh_mac_on(fd, cfg, interface, p->mac);
	if (error)
		return error;
	if (ioctl(fd, SIOCGIFFLAGS, &r))
		return errno;
	p->running = (r.ifr_flags & (IFF_UP | IFF_RUNNING)) == (IFF_UP | IFF_RUNNING);
	return 0;
}

static int open_all(struct ftt_neigh_port *p, const struct ftt_config *cfg, const char *interface, bool v4, bool v6, const char **what)
{
	int error, fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	*what = "look up the interface";
	if (fd < 0)
		return errno;
	error = look_up(fd, cfg, interface, &p->ifindex, p);
	close(fd);
	if (error)
		return error;
	*what = "open a packet socket (CAP_NET_RAW is needed)";
	if (v4)
		p->arp_fd = open_packet(cfg, p->ifindex, true);
	if (v6)
		p->nd_fd = open_packet(cfg, p->ifindex, false);
	if ((v4 && p->arp_fd < 0) || (v6 && p->nd_fd < 0))
		return errno;
	*what = "take the group's own MAC address";
	error = take_own_mac(p, cfg);
	if (error)
		return error;
	*what = "join the solicited-node groups (IPv6 must be enabled on the interface)";
	if (!v6)
		return 0;
	p->mld_fd = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	return p->mld_fd < 0 ? errno : join_groups(p, cfg);
}

int ftt_neigh_port_open(struct ftt_neigh_port *p, const struct ftt_config *cfg, const char *interface, const char **what)
{
	bool v4 = false, v6 = false;
	int error;

	for (uint32_t i = 0; i < cfg->n_service_addrs; i++)
		*(ftt_is_v4(cfg->service_addr[i]) ? &v4 : &v6) = true;
	*p = (struct ftt_neigh_port){.arp_fd = -1, .nd_fd = -1, .mld_fd = -1};
	error = open_all(p, cfg, interface, v4, v6, what);
	if (error)
		ftt_neigh_port_close(p);
	else
		p->open = true;
	return error;
}

void ftt_neigh_port_close(struct ftt_neigh_port *p)
{
	int *fds[] = {&p->arp_fd, &p->nd_fd, &p->mld_fd};

	for (size_t i = 0; i < sizeof(fds) / sizeof(fds[0]); i++) {
		if (*fds[i] >= 0)
			close(*fds[i]);
		*fds[i] = -1;
	}
	p->open = false;
	p->ifindex = 0;
}

bool ftt_neigh_port_current(struct ftt_neigh_port *p, const struct ftt_config *cfg, const char *interface)
{
	int fd = p->arp_fd >= 0 ? p->arp_fd : p->nd_fd;
	struct sockaddr_ll where;
	socklen_t len = sizeof(where);
	int ifindex;

	if (!p->open || look_up(fd, cfg, interface, &ifindex, p))
		return false;
	/* An interface may have left and come back under its old index; the socket was unbound then. */
	return ifindex == p->ifindex && !getsockname(fd, (struct sockaddr *)&where, &len) &&
	       where.sll_ifindex == ifindex;
}

bool ftt_neigh_port_send(const struct ftt_neigh_port *p, const uint8_t *frame, size_t len)
{
	struct sockaddr_ll to = {.sll_family = AF_PACKET, .sll_ifindex = p->ifindex, .sll_halen = 6};
	int fd = p->arp_fd >= 0 ? p->arp_fd : p->nd_fd;

	memcpy(&to.sll_protocol, frame + 12, 2);
	memcpy(to.sll_addr, frame, 6);
	return p->open &&
	       sendto(fd, frame, len, MSG_DONTWAIT | MSG_NOSIGNAL, (struct sockaddr *)&to, sizeof(to)) == (ssize_t)len;
}

int ftt_neigh_open_route(void)
{
	struct sockaddr_nl groups = {.nl_family = AF_NETLINK, .nl_groups = RTMGRP_LINK};
	int error, fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_ROUTE);

	if (fd < 0 || !bind(fd, (struct sockaddr *)&groups, sizeof(groups)))
		return fd;
	error = errno;
	close(fd);
	errno = error;
	return -1;
}

bool ftt_neigh_wants_notice(const uint8_t *messages, size_t len, int ifindex)
{
	const struct nlmsghdr *m = (const struct nlmsghdr *)messages;

	for (int left = (int)len; NLMSG_OK(m, left); m = NLMSG_NEXT(m, left)) {
		const struct ifinfomsg *link = NLMSG_DATA(m);
		const struct rtattr *a = IFLA_RTA(link);
		int attributes = (int)m->nlmsg_len - (int)NLMSG_SPACE(sizeof(*link));

		if (m->nlmsg_type != RTM_NEWLINK || attributes < 0 || link->ifi_index != ifindex)
			continue;
		for (; RTA_OK(a, attributes); a = RTA_NEXT(a, attributes)) {
			uint32_t why = 0;

			if (a->rta_type == IFLA_EVENT && RTA_PAYLOAD(a) >= sizeof(why))
				memcpy(&why, RTA_DATA(a), sizeof(why));
			if (why == IFLA_EVENT_NOTIFY_PEERS || why == IFLA_EVENT_BONDING_FAILOVER)
				return true;
		}
	}
	return false;
}
