/* SPDX-License-Identifier: Apache-2.0 */
/*
 * link_ethernet.c - heartbeats as Ethernet frames: they pass while the interface is up, whatever has
 * become of its addresses, routes and firewall.
 *
 * The EtherType is the first of the two that IEEE 802 has set aside for local experiments. The
 * destination is the peer's MAC address, or a group address, which all peers may share.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include "engine/liveness/link.h"

#define ETHERTYPE 0x88b5
#define MAC_LEN 6
#define GROUP_BIT 1 /* of the first byte */

static bool parse_mac(const char *text, uint8_t mac[MAC_LEN])
{
	char rest;

	return sscanf(text, "%2hhx:%2hhx:%2hhx:%2hhx:%2hhx:%2hhx%c", &mac[0], &mac[1], &mac[2], &mac[3], &mac[4], &mac[5],
		      &rest) == MAC_LEN;
}

static bool resolve(const struct ftt_link *l, uint16_t port, struct ftt_destination *to, char *why, size_t why_len)
{
	struct sockaddr_ll *a = &to->address.packet;

	(void)port;
	memset(to, 0, sizeof(*to));
	to->len = sizeof(*a);
	a->sll_family = AF_PACKET;
	a->sll_protocol = htons(ETHERTYPE);
	a->sll_halen = MAC_LEN;
	if (parse_mac(l->remote, a->sll_addr))
		return true;
	snprintf(why, why_len, "remote \"%s\" is not a MAC address such as 02:00:00:00:00:01: correct the link", l->remote);
	return false;
}

static bool same(const struct ftt_link *a, const struct ftt_link *b)
{
	return !strcmp(a->interface, b->interface);
}

static void attach(struct ftt_endpoint *e)
{
	int index = ftt_link_interface(e);
	struct sockaddr_ll where = {.sll_family = AF_PACKET, .sll_protocol = htons(ETHERTYPE), .sll_ifindex = index};
	struct packet_mreq all = {.mr_ifindex = index, .mr_type = PACKET_MR_ALLMULTI};

	if (index == e->interface)
		return;
	e->interface = 0;
	if (!index || bind(e->fd, (struct sockaddr *)&where, sizeof(where)))
		return;
	/* for the group addresses that links may name; a card that cannot still hears frames to itself */
	(void)setsockopt(e->fd, SOL_PACKET, PACKET_ADD_MEMBERSHIP, &all, sizeof(all));
	e->interface = index;
}

static bool open_socket(struct ftt_endpoint *e, const struct ftt_liveness_config *cfg, char *why, size_t why_len)
{
	/* no protocol yet: nothing comes before the filter stands and the interface is known */
	e->fd = socket(AF_PACKET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (e->fd >= 0)
		ftt_link_tune_socket(e->fd, AF_PACKET);
	if (e->fd >= 0 && ftt_link_filter(e->fd, cfg, 0))
		return true;
	snprintf(why, why_len, "cannot open a packet socket: %s; run as root, or allow CAP_NET_RAW", strerror(errno));
	return false;
}

static bool send_frame(struct ftt_endpoint *e, const struct ftt_destination *to, const uint8_t *bytes, size_t len)
{
	struct ftt_destination now = *to;

	now.address.packet.sll_ifindex = e->interface;
	return e->interface && ftt_link_send_datagram(e, &now, bytes, len);
}

const struct ftt_link_kind ftt_link_ethernet = {
	.resolve = resolve, .same = same, .open = open_socket, .attach = attach,
	.send = send_frame, .receive = ftt_link_receive_datagram,
};
