/* SPDX-License-Identifier: Apache-2.0 */
/*
 * link.h - ways on which heartbeats travel: one kind of link, one table of functions.
 *
 * An endpoint is what this node has open: a socket, a tty. A destination is where, behind it, a peer
 * is. Links to several peers share an endpoint when they name the same place on this node (the same
 * local address, say), so an endpoint never knows whose heartbeat it has got: the heartbeat tells.
 *
 * No function blocks, and none allocates once the endpoint is open. A heartbeat that cannot be sent
 * now is lost, as if on the wire.
 */
#ifndef FTTCP_LINK_H
#define FTTCP_LINK_H
#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>
#include "fttcp/abi.h"

union ftt_link_address {
	struct sockaddr any;
	struct sockaddr_in v4;
	struct sockaddr_in6 v6;
};

struct ftt_destination {
	union ftt_link_address address;
	socklen_t len;
};

struct ftt_endpoint {
	const struct ftt_link_kind *kind;
	const struct ftt_link *link; /* the first one that uses it */
	int fd;                      /* readable when something has come */
};

struct ftt_link_kind {
	/* Finds the peer's place. False: the link is not described as it must be; why gets a sentence without a full stop. */
	bool (*resolve)(const struct ftt_link *l, uint16_t port, struct ftt_destination *to, char *why, size_t why_len);
	/* May both use one endpoint? */
	bool (*same)(const struct ftt_link *a, const struct ftt_link *b);
	/* Opens e->link into e->fd. False: as above. */
	bool (*open)(struct ftt_endpoint *e, uint16_t port, char *why, size_t why_len);
	bool (*send)(struct ftt_endpoint *e, const struct ftt_destination *to, const uint8_t *bytes, size_t len);
	/* Takes one datagram: its length, which may be `room` or more if it was longer. -1 with EAGAIN: there is none;
	 * -1 with another errno: something was thrown away, ask again. */
	ssize_t (*receive)(struct ftt_endpoint *e, uint8_t *bytes, size_t room);
};

/* Receive buffer asked for. The kernel doubles it and charges each datagram 512 bytes or more, so a
 * full socket holds at most FTT_LINK_DRAIN_MAX: one drain empties what had arrived, even under a flood. */
#define FTT_LINK_SOCKET_BYTES (256 * 1024)
#define FTT_LINK_DRAIN_MAX 1024

extern const struct ftt_link_kind ftt_link_udp;

#endif
