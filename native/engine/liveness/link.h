/* SPDX-License-Identifier: Apache-2.0 */
/*
 * link.h - ways on which heartbeats travel: one kind of link, one table of functions.
 *
 * An endpoint is what this node has open: a socket, a tty. A destination is where, behind it, a peer
 * is. Links to several peers share an endpoint when they name the same place on this node (the same
 * local address, say), so an endpoint never knows whose heartbeat it has got: the heartbeat tells.
 *
 * No function blocks, and none allocates. A heartbeat that cannot be sent now is lost, as if on the
 * wire. An interface or a device that is not there, or goes away, is not an error: attach(), called
 * about once a second, finds it when it is there (again).
 *
 * On a medium that many share (a multicast group, an Ethernet) a filter in the kernel lets only
 * those heartbeats in that are made for this node of this cluster; what comes through is judged alike everywhere.
 */
#ifndef FTTCP_LINK_H
#define FTTCP_LINK_H
#include <linux/if_packet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>
#include "engine/api/abi.h"
#include "core/records/serial_frame.h"

union ftt_link_address {
	struct sockaddr any;
	struct sockaddr_in v4;
	struct sockaddr_in6 v6;
	struct sockaddr_ll packet;
};

struct ftt_destination {
	union ftt_link_address address;
	socklen_t len;
};

/* What a serial line has brought and not been asked for. */
struct ftt_serial_line {
	struct ftt_deframer deframer;
	uint8_t in[256];
	size_t at, end;
};

struct ftt_endpoint {
	const struct ftt_link_kind *kind;
	const struct ftt_link *link; /* the first one that uses it */
	int fd;                      /* readable when something has come; -1: not there at the moment */
	int interface;               /* index of the interface that it is attached to; 0: none */
	struct ftt_serial_line line;
};

struct ftt_link_kind {
	/* Finds the peer's place. False: the link is not described as it must be; why gets a sentence without a full stop. */
	bool (*resolve)(const struct ftt_link *l, uint16_t port, struct ftt_destination *to, char *why, size_t why_len);
	/* May both use one endpoint? */
	bool (*same)(const struct ftt_link *a, const struct ftt_link *b);
	/* Opens e->link into e->fd. False: as above. */
	bool (*open)(struct ftt_endpoint *e, const struct ftt_liveness_config *cfg, char *why, size_t why_len);
	/* Finds interface or device if they are new. May be NULL. */
	void (*attach)(struct ftt_endpoint *e);
	bool (*send)(struct ftt_endpoint *e, const struct ftt_destination *to, const uint8_t *bytes, size_t len);
	/* Takes one datagram: its length, which may be `room` if it was longer. -1 with EAGAIN: there is none; -1 with
	 * EBADMSG: a damaged one was thrown away; -1 with another errno: ask again. */
	ssize_t (*receive)(struct ftt_endpoint *e, uint8_t *bytes, size_t room);
};

/* Receive buffer asked for. The kernel doubles it and charges each datagram 512 bytes or more, so a
 * full socket holds at most FTT_LINK_DRAIN_MAX: one drain empties what had arrived, even under a flood. */
#define FTT_LINK_SOCKET_BYTES (256 * 1024)
#define FTT_LINK_DRAIN_MAX 1024

extern const struct ftt_link_kind ftt_link_udp, ftt_link_multicast, ftt_link_ethernet, ftt_link_serial;

/* link_socket.c: what the kinds that are sockets share */
bool ftt_link_parse_address(const char *text, const char *interface, uint16_t port, struct ftt_destination *out);
/* Buffer and priority; wishes, a kernel without them still beats. */
void ftt_link_tune_socket(int fd, int family);
/* Lets only heartbeats for this node of this cluster in; `skip` bytes of header stand before them. */
bool ftt_link_filter(int fd, const struct ftt_liveness_config *cfg, uint32_t skip);
/* The index of the link's interface now; 0: it is not there. */
int ftt_link_interface(const struct ftt_endpoint *e);
bool ftt_link_send_datagram(struct ftt_endpoint *e, const struct ftt_destination *to, const uint8_t *bytes, size_t len);
ssize_t ftt_link_receive_datagram(struct ftt_endpoint *e, uint8_t *bytes, size_t room);

#endif
