/* SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include "engine/planes/emit.h"
#include <errno.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include "core/packet/fragment.h"

#define SEND_BUFFER (8 << 20)

static int open_raw(int family, uint32_t mark)
{
	int fd = socket(family, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, IPPROTO_RAW);
	int one = 1, size = SEND_BUFFER;

	if (fd < 0)
		return -1;
	if (setsockopt(fd, SOL_SOCKET, SO_MARK, &mark, sizeof(mark)) ||
	    (family == AF_INET && setsockopt(fd, IPPROTO_IP, IP_HDRINCL, &one, sizeof(one))) ||
	    (family == AF_INET6 && setsockopt(fd, IPPROTO_IPV6, IPV6_HDRINCL, &one, sizeof(one)))) {
		close(fd);
		return -1;
	}
	if (setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof(size)))
		setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	return fd;
}

int ftt_emit_open(struct ftt_emit *m, const struct ftt_shared *shared, uint32_t mark, char *err, size_t err_len)
{
	memset(m, 0, sizeof(*m));
	m->shared = shared;
	m->fd4 = open_raw(AF_INET, mark);
	m->fd6 = m->fd4 < 0 ? -1 : open_raw(AF_INET6, mark);
	if (m->fd4 >= 0 && (m->fd6 >= 0 || errno == EAFNOSUPPORT))
		return 0;
	snprintf(err, err_len, "raw socket: %s (root, or CAP_NET_RAW and CAP_NET_ADMIN, is needed)", strerror(errno));
	return -1;
}

void ftt_emit_close(struct ftt_emit *m)
{
	if (m->fd4 >= 0)
		close(m->fd4);
	if (m->fd6 >= 0)
		close(m->fd6);
	m->fd4 = m->fd6 = -1;
}

static socklen_t destination(const uint8_t *packet, struct sockaddr_storage *to)
{
	struct sockaddr_in *v4 = (struct sockaddr_in *)to;
	struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)to;

	if (packet[0] >> 4 == 4) {
		memset(v4, 0, sizeof(*v4));
		v4->sin_family = AF_INET;
		memcpy(&v4->sin_addr, packet + 16, 4);
		return sizeof(*v4);
	}
	memset(v6, 0, sizeof(*v6));
	v6->sin6_family = AF_INET6;
	memcpy(&v6->sin6_addr, packet + 24, 16);
	return sizeof(*v6);
}

/* Where a packet comes from, in the form in which a kernel wants to know it to choose a route. */
union source {
	struct cmsghdr header;
	char bytes[CMSG_SPACE(sizeof(struct in6_pktinfo))];
};

/*
 * Lets a message be routed like what the stack says: by the rules for the service's address. A raw socket's own
 * lookup knows nothing of the source in the header that it is given.
 */
static void route_by_source(struct msghdr *msg, union source *source, const uint8_t *packet)
{
	bool v4 = packet[0] >> 4 == 4;
	struct in_pktinfo info4 = {0};
	struct in6_pktinfo info6 = {0};

	memset(source, 0, sizeof(*source));
	memcpy(&info4.ipi_spec_dst, packet + 12, sizeof(info4.ipi_spec_dst));
	memcpy(&info6.ipi6_addr, packet + 8, sizeof(info6.ipi6_addr));
	source->header.cmsg_level = v4 ? IPPROTO_IP : IPPROTO_IPV6;
	source->header.cmsg_type = v4 ? IP_PKTINFO : IPV6_PKTINFO;
	source->header.cmsg_len = CMSG_LEN(v4 ? sizeof(info4) : sizeof(info6));
	if (v4)
		memcpy(CMSG_DATA(&source->header), &info4, sizeof(info4));
	else
		memcpy(CMSG_DATA(&source->header), &info6, sizeof(info6));
	msg->msg_control = source->bytes;
	msg->msg_controllen = CMSG_SPACE(v4 ? sizeof(info4) : sizeof(info6));
}

/* Fills a message with a packet; what it points to must outlive it. */
static void address(struct msghdr *msg, struct iovec *iov, struct sockaddr_storage *to, union source *source,
		    const uint8_t *packet, size_t len, bool to_client)
{
	memset(msg, 0, sizeof(*msg));
	*iov = (struct iovec){.iov_base = (void *)packet, .iov_len = len};
	msg->msg_name = to;
	msg->msg_namelen = destination(packet, to);
	msg->msg_iov = iov;
	msg->msg_iovlen = 1;
	if (to_client)
		route_by_source(msg, source, packet);
}

void ftt_emit_small(struct ftt_emit *m, const uint8_t *packet, size_t len)
{
	if (len > FTT_SYN_MAX) {
		m->failed++;
		return;
	}
	if (m->n == FTT_EMIT_BATCH)
		ftt_emit_flush(m);
	memcpy(m->packet[m->n].bytes, packet, len);
	m->packet[m->n].to_client = false;
	m->packet[m->n++].len = len;
}

void ftt_emit_bare(struct ftt_emit *m, const struct ftt_bare *b, bool to_client)
{
	if (m->n == FTT_EMIT_BATCH)
		ftt_emit_flush(m);
	m->packet[m->n].len = ftt_build_bare(m->packet[m->n].bytes, b);
	m->packet[m->n++].to_client = to_client;
}

/* 0, or errno. */
static int send_one(struct ftt_emit *m, const uint8_t *packet, size_t len, bool to_client)
{
	struct sockaddr_storage to;
	union source source;
	struct msghdr msg;
	struct iovec iov;

	address(&msg, &iov, &to, &source, packet, len, to_client);
	return sendmsg(packet[0] >> 4 == 4 ? m->fd4 : m->fd6, &msg, 0) < 0 ? errno : 0;
}

static int send_fragments(struct ftt_emit *m, const uint8_t *packet, size_t len, bool to_client)
{
	uint8_t fragment[FTT_FRAGMENT_MAX];
	uint32_t id = randombytes_random() | 1; /* 0 would have the kernel choose one for each */
	size_t at = 0, n;
	int error = 0;

	while (!error && (n = ftt_fragment(packet, len, id, &at, fragment)))
		error = send_one(m, fragment, n, to_client);
	return error;
}

int ftt_emit_now(struct ftt_emit *m, const uint8_t *packet, size_t len, bool to_client)
{
	int error;

	ftt_emit_flush(m);
	if (to_client && !ftt_may_emit(m->shared, ftt_now_ns())) {
		m->revoked++;
		return -1;
	}
	error = send_one(m, packet, len, to_client);
	if (error == EMSGSIZE)
		error = send_fragments(m, packet, len, to_client);
	if (error) {
		m->failed++; /* as if the network had lost it */
		return -1;
	}
	m->sent++;
	return 0;
}

/* Without the lease only what goes to our own stack is kept; returns how many. */
static unsigned keep_for_stack(struct ftt_emit *m, unsigned total)
{
	unsigned kept = 0;

	for (unsigned i = 0; i < total; i++) {
		if (m->packet[i].to_client)
			m->revoked++;
		else
			m->packet[kept++] = m->packet[i];
	}
	return kept;
}

void ftt_emit_flush(struct ftt_emit *m)
{
	struct mmsghdr msgs[FTT_EMIT_BATCH];
	struct iovec iov[FTT_EMIT_BATCH];
	struct sockaddr_storage to[FTT_EMIT_BATCH];
	union source source[FTT_EMIT_BATCH];
	unsigned at = 0, total = m->n;

	m->n = 0;
	if (total && !ftt_may_emit(m->shared, ftt_now_ns()))
		total = keep_for_stack(m, total);
	while (at < total) {
		int fd = m->packet[at].bytes[0] >> 4 == 4 ? m->fd4 : m->fd6, done;
		unsigned n = 0;

		while (at + n < total && (m->packet[at + n].bytes[0] >> 4 == 4 ? m->fd4 : m->fd6) == fd) {
			address(&msgs[n].msg_hdr, &iov[n], &to[n], &source[n], m->packet[at + n].bytes,
				m->packet[at + n].len, m->packet[at + n].to_client);
			n++;
		}
		done = sendmmsg(fd, msgs, n, 0);
		if (done > 0) {
			m->sent += (unsigned)done;
			at += (unsigned)done;
		} else if (errno != EINTR) {
			m->failed++; /* the first one cannot go (no route, filtered): as if lost */
			at++;
		}
	}
}

/* --- of a plane ------------------------------------------------------------------------------------ */

static struct ftt_emit *emit_of(struct ftt_plane *p)
{
	return &((struct ftt_plane_raw *)p)->emit;
}

void ftt_raw_bare(struct ftt_plane *p, const struct ftt_bare *b, bool to_client)
{
	ftt_emit_bare(emit_of(p), b, to_client);
}

void ftt_raw_small(struct ftt_plane *p, const uint8_t *packet, size_t len)
{
	ftt_emit_small(emit_of(p), packet, len);
}

int ftt_raw_now(struct ftt_plane *p, const uint8_t *packet, size_t len, bool to_client)
{
	return ftt_emit_now(emit_of(p), packet, len, to_client);
}

void ftt_raw_send(struct ftt_plane *p)
{
	ftt_emit_flush(emit_of(p));
}

void ftt_raw_count(struct ftt_plane *p, struct ftt_counters *n)
{
	n->drop_lease += emit_of(p)->revoked;
	n->emit_failed += emit_of(p)->failed;
}
