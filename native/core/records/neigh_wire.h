/* SPDX-License-Identifier: Apache-2.0 */
/*
 * neigh_wire.h - ARP and neighbour discovery as Ethernet frames. Pure: no I/O, no clock.
 *
 * Parsed: ARP requests and replies for IPv4 over Ethernet (RFC 826), neighbour solicitations and
 * advertisements (RFC 4861, 7.1.1 and 7.1.2) that sit directly behind the IPv6 header; RFC 6980
 * forbids them in fragments, and nobody sends them behind other extension headers.
 * Built: what answers (an ARP reply, an advertisement), what announces (to all; and by a question to
 * one neighbour, which is heeded in every state of its entry for us), and what asks without claiming.
 * All addresses are bytes in network order. Frames start at the Ethernet header.
 */
#ifndef FTTCP_NEIGH_WIRE_H
#define FTTCP_NEIGH_WIRE_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include "core/packet/bytes.h"
#include "core/packet/csum.h"

#define FTT_ETH_HEADER 14
#define FTT_ETH_ARP 0x0806
#define FTT_ETH_IPV6 0x86dd
#define FTT_ARP_FRAME (FTT_ETH_HEADER + 28)
#define FTT_ARP_REQUEST 1
#define FTT_ARP_REPLY 2
#define FTT_ND_ICMP (FTT_ETH_HEADER + 40) /* where the ICMPv6 message starts */
#define FTT_ND_MIN 24                     /* header, flags, target */
#define FTT_ND_REPLY_FRAME (FTT_ND_ICMP + FTT_ND_MIN + 8)
#define FTT_ND_SOLICIT 135
#define FTT_ND_ADVERT 136
#define FTT_ND_SOLICITED 0x40 /* advertisement flags, RFC 4861 4.4 */
#define FTT_ND_OVERRIDE 0x20
#define FTT_NEIGH_REPLY_MAX FTT_ND_REPLY_FRAME

enum ftt_neigh_error {
	FTT_NEIGH_OK = 0,
	FTT_NEIGH_E_SHORT = 1,       /* the frame ends before its fixed part */
	FTT_NEIGH_E_ETHERTYPE = 2,
	FTT_ARP_E_HARDWARE = 3,      /* not Ethernet */
	FTT_ARP_E_PROTOCOL = 4,      /* not IPv4 */
	FTT_ARP_E_LENGTHS = 5,       /* address lengths are not 6 and 4 */
	FTT_ARP_E_OPERATION = 6,     /* neither request nor reply */
	FTT_ARP_E_SENDER_MAC = 7,    /* all zero, or a group address: nobody can be answered there */
	FTT_ND_E_VERSION = 8,        /* IP version is not 6 */
	FTT_ND_E_NEXT_HEADER = 9,    /* not ICMPv6 directly behind the header */
	FTT_ND_E_PAYLOAD = 10,       /* payload length below 24 octets, or beyond the frame */
	FTT_ND_E_HOP_LIMIT = 11,     /* not 255: it may have come through a router */
	FTT_ND_E_TYPE = 12,
	FTT_ND_E_CODE = 13,
	FTT_ND_E_CHECKSUM = 14,
	FTT_ND_E_SOURCE = 15,        /* source address is multicast, or that of an advertisement unspecified */
	FTT_ND_E_TARGET = 16,        /* target is multicast */
	FTT_ND_E_DESTINATION = 17,   /* probe not to a solicited-node address; solicited advertisement to a group */
	FTT_ND_E_OPTION_ZERO = 18,   /* an option of length 0 */
	FTT_ND_E_OPTION_LENGTH = 19, /* an option reaches beyond the packet, or a link-layer one is not 8 octets */
	FTT_ND_E_PROBE_SOURCE = 20,  /* a probe (unspecified source) with a source link-layer address */
	FTT_ND_E_LINK_ADDRESS = 21   /* the sender's link-layer address is zero or a group: nobody can be answered there */
};

struct ftt_arp {
	uint16_t operation;
	uint8_t sender_mac[6], sender[4], target_mac[6], target[4];
};

struct ftt_nd {
	uint8_t type;         /* FTT_ND_SOLICIT or FTT_ND_ADVERT */
	uint8_t flags;        /* of an advertisement */
	bool probe;           /* a solicitation from the unspecified address: duplicate detection */
	uint8_t mac[6];       /* sender's: its link-layer option, else the frame's source */
	uint8_t src[16], dst[16], target[16];
};

static inline bool ftt_all_zero(const uint8_t *p, size_t n)
{
	uint8_t any = 0;

	while (n--)
		any |= *p++;
	return !any;
}

/* Can a frame be sent to exactly one station there? */
static inline bool ftt_mac_is_station(const uint8_t mac[6])
{
	return !(mac[0] & 1) && !ftt_all_zero(mac, 6);
}

/* As a number, first octet highest. */
static inline uint64_t ftt_mac_number(const uint8_t mac[6])
{
	return (uint64_t)get_be16(mac) << 32 | get_be32(mac + 2);
}

/* The solicited-node group of an address, ff02::1:ffXX:XXXX (RFC 4291 2.7.1). */
static inline void ftt_nd_solicited_node(const uint8_t addr[16], uint8_t group[16])
{
	static const uint8_t prefix[13] = {0xff, 0x02, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x01, 0xff};

	memcpy(group, prefix, 13);
	memcpy(group + 13, addr + 13, 3);
}

/* The Ethernet address of an IPv6 group (RFC 2464, 7). */
static inline void ftt_nd_group_mac(const uint8_t group[16], uint8_t mac[6])
{
	mac[0] = mac[1] = 0x33;
	memcpy(mac + 2, group + 12, 4);
}

static inline enum ftt_neigh_error ftt_arp_parse(const uint8_t *frame, size_t len, struct ftt_arp *a)
{
	const uint8_t *p = frame + FTT_ETH_HEADER;

	if (len < FTT_ARP_FRAME)
		return FTT_NEIGH_E_SHORT;
	if (get_be16(frame + 12) != FTT_ETH_ARP)
		return FTT_NEIGH_E_ETHERTYPE;
	if (get_be16(p) != 1)
		return FTT_ARP_E_HARDWARE;
	if (get_be16(p + 2) != 0x0800)
		return FTT_ARP_E_PROTOCOL;
	if (p[4] != 6 || p[5] != 4)
		return FTT_ARP_E_LENGTHS;
	a->operation = get_be16(p + 6);
	if (a->operation != FTT_ARP_REQUEST && a->operation != FTT_ARP_REPLY)
		return FTT_ARP_E_OPERATION;
	memcpy(a->sender_mac, p + 8, 6);
	memcpy(a->sender, p + 14, 4);
	memcpy(a->target_mac, p + 18, 6);
	memcpy(a->target, p + 24, 4);
	return ftt_mac_is_station(a->sender_mac) ? FTT_NEIGH_OK : FTT_ARP_E_SENDER_MAC;
}

/* out: FTT_ARP_FRAME bytes. Returns the length. */
static inline size_t ftt_arp_build(uint8_t *out, const uint8_t to[6], uint16_t operation, const uint8_t mac[6],
				   const uint8_t sender[4], const uint8_t target_mac[6], const uint8_t target[4])
{
	uint8_t *p = out + FTT_ETH_HEADER;

	memcpy(out, to, 6);
	memcpy(out + 6, mac, 6);
	put_be16(out + 12, FTT_ETH_ARP);
	put_be16(p, 1);
	put_be16(p + 2, 0x0800);
	p[4] = 6;
	p[5] = 4;
	put_be16(p + 6, operation);
	memcpy(p + 8, mac, 6);
	memcpy(p + 14, sender, 4);
	memcpy(p + 18, target_mac, 6);
	memcpy(p + 24, target, 4);
	return FTT_ARP_FRAME;
}

/* "target is at mac", to the one who asked. Answers a probe (sender 0.0.0.0, RFC 5227 2.1.1) too. */
static inline size_t ftt_arp_reply(uint8_t *out, const uint8_t mac[6], const struct ftt_arp *request)
{
	return ftt_arp_build(out, request->sender_mac, FTT_ARP_REPLY, mac, request->target, request->sender_mac,
			     request->sender);
}

/*
 * "addr is at mac", to all: as a request, or as a reply (some switches and hosts heed only one of them).
 * Linux takes a reply at once only if it names the sender as the target too.
 */
static inline size_t ftt_arp_announce(uint8_t *out, uint16_t operation, const uint8_t mac[6], const uint8_t addr[4])
{
	static const uint8_t nobody[6] = {0}, all[6] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};

	return ftt_arp_build(out, all, operation, mac, addr, operation == FTT_ARP_REPLY ? mac : nobody, addr);
}

/* Asks one neighbour, in the name of addr, for its own address: it learns where addr is. */
static inline size_t ftt_arp_ask(uint8_t *out, const uint8_t mac[6], const uint8_t addr[4], const uint8_t to_mac[6],
				 const uint8_t to[4])
{
	static const uint8_t nobody[6] = {0};

	return ftt_arp_build(out, to_mac, FTT_ARP_REQUEST, mac, addr, nobody, to);
}

/* Asks all who has addr, without claiming it (RFC 5227 2.1.1). */
static inline size_t ftt_arp_probe(uint8_t *out, const uint8_t mac[6], const uint8_t addr[4])
{
	static const uint8_t nobody[6] = {0}, all[6] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};

	return ftt_arp_build(out, all, FTT_ARP_REQUEST, mac, nobody, nobody, addr);
}

/* Finds the sender's link-layer address among the options: *mac stays NULL when there is none. */
static inline enum ftt_neigh_error ftt_nd_options(const uint8_t *p, size_t len, uint8_t wanted, const uint8_t **mac)
{
	*mac = NULL;
	while (len) {
		size_t option;

		if (len < 2)
			return FTT_ND_E_OPTION_LENGTH;
		option = (size_t)p[1] * 8;
		if (!option)
			return FTT_ND_E_OPTION_ZERO;
		if (option > len)
			return FTT_ND_E_OPTION_LENGTH;
		if (p[0] == wanted) {
			if (option != 8)
				return FTT_ND_E_OPTION_LENGTH;
			*mac = p + 2;
		}
		p += option;
		len -= option;
	}
	return FTT_NEIGH_OK;
}

/* The rules about addresses in RFC 4861 7.1.1 (solicitation) and 7.1.2 (advertisement). */
static inline enum ftt_neigh_error ftt_nd_check_addresses(const struct ftt_nd *nd, bool has_mac)
{
	uint8_t group[16];

	if (nd->src[0] == 0xff)
		return FTT_ND_E_SOURCE;
	if (nd->target[0] == 0xff)
		return FTT_ND_E_TARGET;
	if (nd->type == FTT_ND_ADVERT) {
		if (ftt_all_zero(nd->src, 16))
			return FTT_ND_E_SOURCE;
		return nd->dst[0] == 0xff && nd->flags & FTT_ND_SOLICITED ? FTT_ND_E_DESTINATION : FTT_NEIGH_OK;
	}
	if (!nd->probe)
		return FTT_NEIGH_OK;
	ftt_nd_solicited_node(nd->target, group);
	if (memcmp(nd->dst, group, 13) != 0)
		return FTT_ND_E_DESTINATION;
	return has_mac ? FTT_ND_E_PROBE_SOURCE : FTT_NEIGH_OK;
}

/* The IPv6 and ICMPv6 headers of a frame of len octets; *icmp_len: length of the ICMPv6 message. */
static inline enum ftt_neigh_error ftt_nd_check_headers(const uint8_t *frame, size_t len, size_t *icmp_len)
{
	const uint8_t *ip = frame + FTT_ETH_HEADER, *icmp = frame + FTT_ND_ICMP;

	if (len < FTT_ND_ICMP + FTT_ND_MIN)
		return FTT_NEIGH_E_SHORT;
	if (get_be16(frame + 12) != FTT_ETH_IPV6)
		return FTT_NEIGH_E_ETHERTYPE;
	if (ip[0] >> 4 != 6)
		return FTT_ND_E_VERSION;
	if (ip[6] != 58)
		return FTT_ND_E_NEXT_HEADER;
	*icmp_len = get_be16(ip + 4);
	if (*icmp_len < FTT_ND_MIN || *icmp_len > len - FTT_ND_ICMP)
		return FTT_ND_E_PAYLOAD;
	if (ip[7] != 255)
		return FTT_ND_E_HOP_LIMIT;
	if (icmp[0] != FTT_ND_SOLICIT && icmp[0] != FTT_ND_ADVERT)
		return FTT_ND_E_TYPE;
	if (icmp[1] != 0)
		return FTT_ND_E_CODE;
	if (csum_fold(csum_add(csum_pseudo(ip + 8, ip + 24, 16, 58, (uint32_t)*icmp_len), icmp, *icmp_len)) != 0xffff)
		return FTT_ND_E_CHECKSUM;
	return FTT_NEIGH_OK;
}

static inline enum ftt_neigh_error ftt_nd_parse(const uint8_t *frame, size_t len, struct ftt_nd *nd)
{
	const uint8_t *ip = frame + FTT_ETH_HEADER, *icmp = frame + FTT_ND_ICMP, *mac;
	enum ftt_neigh_error error;
	size_t icmp_len;

	error = ftt_nd_check_headers(frame, len, &icmp_len);
	if (error)
		return error;
	nd->type = icmp[0];
	nd->flags = nd->type == FTT_ND_ADVERT ? icmp[4] : 0;
	memcpy(nd->src, ip + 8, 16);
	memcpy(nd->dst, ip + 24, 16);
	memcpy(nd->target, icmp + 8, 16);
	nd->probe = nd->type == FTT_ND_SOLICIT && ftt_all_zero(nd->src, 16);
	/* option 1: source link-layer address (solicitation), 2: target's (advertisement) */
	error = ftt_nd_options(icmp + FTT_ND_MIN, icmp_len - FTT_ND_MIN, nd->type == FTT_ND_SOLICIT ? 1 : 2, &mac);
	if (error)
		return error;
	memcpy(nd->mac, mac ? mac : frame + 6, 6);
	if (!ftt_mac_is_station(nd->mac))
		return FTT_ND_E_LINK_ADDRESS;
	return ftt_nd_check_addresses(nd, mac != NULL);
}

static const uint8_t ftt_all_nodes[16] = {0xff, 0x02, [15] = 0x01};

/*
 * A solicitation or an advertisement; option: 1 or 2 with mac, 0 for none. A group's Ethernet address
 * follows from dst. out: FTT_ND_REPLY_FRAME bytes. Returns the length.
 */
static inline size_t ftt_nd_build(uint8_t *out, const uint8_t to[6], const uint8_t mac[6], const uint8_t src[16],
				  const uint8_t dst[16], uint8_t type, uint8_t flags, const uint8_t target[16],
				  uint8_t option)
{
	const uint32_t icmp_len = option ? FTT_ND_MIN + 8 : FTT_ND_MIN;
	uint8_t *ip = out + FTT_ETH_HEADER, *icmp = out + FTT_ND_ICMP;

	memset(out, 0, FTT_ND_REPLY_FRAME);
	if (dst[0] == 0xff)
		ftt_nd_group_mac(dst, out);
	else
		memcpy(out, to, 6);
	memcpy(out + 6, mac, 6);
	put_be16(out + 12, FTT_ETH_IPV6);
	ip[0] = 0x60;
	put_be16(ip + 4, (uint16_t)icmp_len);
	ip[6] = 58;
	ip[7] = 255;
	memcpy(ip + 8, src, 16);
	memcpy(ip + 24, dst, 16);
	icmp[0] = type;
	icmp[4] = flags;
	memcpy(icmp + 8, target, 16);
	if (option) {
		icmp[24] = option;
		icmp[25] = 1; /* in units of 8 octets */
		memcpy(icmp + 26, mac, 6);
	}
	put_be16(icmp + 2, (uint16_t)~csum_fold(csum_add(csum_pseudo(ip + 8, ip + 24, 16, 58, icmp_len), icmp, icmp_len)));
	return FTT_ND_ICMP + icmp_len;
}

/*
 * "target is at mac" (RFC 4861 7.2.4): to the one who asked, solicited; to all nodes, when a prober
 * asked from the unspecified address: not solicited then, or it would be ignored (7.1.2).
 */
static inline size_t ftt_nd_reply(uint8_t *out, const uint8_t mac[6], const struct ftt_nd *solicitation)
{
	return ftt_nd_build(out, solicitation->mac, mac, solicitation->target,
			    solicitation->probe ? ftt_all_nodes : solicitation->src, FTT_ND_ADVERT,
			    solicitation->probe ? FTT_ND_OVERRIDE : FTT_ND_SOLICITED | FTT_ND_OVERRIDE,
			    solicitation->target, 2);
}

/* "addr is at mac", to all nodes (RFC 4861 7.2.6). */
static inline size_t ftt_nd_announce(uint8_t *out, const uint8_t mac[6], const uint8_t addr[16])
{
	return ftt_nd_build(out, mac, mac, addr, ftt_all_nodes, FTT_ND_ADVERT, FTT_ND_OVERRIDE, addr, 2);
}

/* Asks one neighbour, in the name of addr, for its own address. Unlike an advertisement this makes an entry. */
static inline size_t ftt_nd_ask(uint8_t *out, const uint8_t mac[6], const uint8_t addr[16], const uint8_t to_mac[6],
				const uint8_t to[16])
{
	return ftt_nd_build(out, to_mac, mac, addr, to, FTT_ND_SOLICIT, 0, to, 1);
}

/* Asks all who has addr, without claiming it (RFC 4862 5.4.2). */
static inline size_t ftt_nd_probe(uint8_t *out, const uint8_t mac[6], const uint8_t addr[16])
{
	static const uint8_t nobody[16] = {0};
	uint8_t group[16];

	ftt_nd_solicited_node(addr, group);
	return ftt_nd_build(out, mac, mac, nobody, group, FTT_ND_SOLICIT, 0, addr, 0);
}

#endif
