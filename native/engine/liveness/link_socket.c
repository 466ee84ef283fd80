/* SPDX-License-Identifier: Apache-2.0 */
/* link_socket.c - what links share that are sockets. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <linux/filter.h>
#include <string.h>
#include <sys/ioctl.h>
#include "engine/liveness/link.h"

#define DSCP_CS6 0xc0 /* network control, RFC 4594 */

/* Text to address; an IPv6 one of link-local scope is bound to the interface. False when it is no address. */
bool ftt_link_parse_address(const char *text, const char *interface, uint16_t port, struct ftt_destination *out)
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
	if (IN6_IS_ADDR_LINKLOCAL(&a->v6.sin6_addr) || IN6_IS_ADDR_MC_LINKLOCAL(&a->v6.sin6_addr))
		a->v6.sin6_scope_id = if_nametoindex(interface);
	out->len = sizeof(a->v6);
	return true;
}

void ftt_link_tune_socket(int fd, int family)
{
	int bytes = FTT_LINK_SOCKET_BYTES, tos = DSCP_CS6, priority = 6;

	(void)setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof(bytes));
	(void)setsockopt(fd, SOL_SOCKET, SO_PRIORITY, &priority, sizeof(priority));
	if (family == AF_INET)
		(void)setsockopt(fd, IPPROTO_IP, IP_TOS, &tos, sizeof(tos));
	else if (family == AF_INET6)
		(void)setsockopt(fd, IPPROTO_IPV6, IPV6_TCLASS, &tos, sizeof(tos));
}

bool ftt_link_filter(int fd, const struct ftt_liveness_config *cfg, uint32_t skip)
{
	/* each pair: load a word of the header (beat_wire.h), go on only if it is the wanted one */
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, skip),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, FTT_BEAT_MAGIC, 0, 9),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, skip + 16),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)(cfg->cluster_id >> 32), 0, 7),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, skip + 20),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)cfg->cluster_id, 0, 5),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, skip + 32),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)(cfg->node_id >> 32), 0, 3),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, skip + 36),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)cfg->node_id, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, 0xffff),
		BPF_STMT(BPF_RET | BPF_K, 0),
	};
	struct sock_fprog program = {.len = sizeof(code) / sizeof(code[0]), .filter = code};

	return !setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof(program));
}

int ftt_link_interface(const struct ftt_endpoint *e)
{
	struct ifreq r = {0};

	memcpy(r.ifr_name, e->link->interface, sizeof(r.ifr_name) - 1);
	return ioctl(e->fd, SIOCGIFINDEX, &r) ? 0 : r.ifr_ifindex;
}

bool ftt_link_send_datagram(struct ftt_endpoint *e, const struct ftt_destination *to, const uint8_t *bytes, size_t len)
{
	return sendto(e->fd, bytes, len, MSG_DONTWAIT | MSG_NOSIGNAL, &to->address.any, to->len) == (ssize_t)len;
}

ssize_t ftt_link_receive_datagram(struct ftt_endpoint *e, uint8_t *bytes, size_t room)
{
	return recv(e->fd, bytes, room, MSG_DONTWAIT);
}
