/* SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include "engine/planes/nfqueue/nfq.h"
#include <arpa/inet.h>
#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_queue.h>
#include <linux/netlink.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SLOT_SIZE (68 * 1024)
#define RECEIVE_BUFFER (64 << 20)
#define SEND_BUFFER (16 << 20)

static struct nlmsghdr *queue_message(void *buf, uint16_t type, uint16_t queue, uint16_t flags)
{
	struct nlmsghdr *nlh = mnl_nlmsg_put_header(buf);
	struct nfgenmsg *nfg;

	nlh->nlmsg_type = (uint16_t)(NFNL_SUBSYS_QUEUE << 8 | type);
	nlh->nlmsg_flags = (uint16_t)(NLM_F_REQUEST | flags);
	nfg = mnl_nlmsg_put_extra_header(nlh, sizeof(*nfg));
	nfg->nfgen_family = AF_UNSPEC;
	nfg->version = NFNETLINK_V0;
	nfg->res_id = htons(queue);
	return nlh;
}

/* Sends a configuration message and waits for its acknowledgement. */
static int configure(struct ftt_nfq *q, struct nlmsghdr *nlh)
{
	char buf[MNL_SOCKET_BUFFER_SIZE];
	struct sockaddr_nl kernel = {.nl_family = AF_NETLINK};
	ssize_t n;

	nlh->nlmsg_flags |= NLM_F_ACK;
	if (sendto(q->fd, nlh, nlh->nlmsg_len, 0, (struct sockaddr *)&kernel, sizeof(kernel)) < 0)
		return -1;
	for (;;) {
		const struct nlmsghdr *got;

		n = recv(q->fd, buf, sizeof(buf), 0);
		if (n < 0)
			return -1;
		got = (const struct nlmsghdr *)buf;
		if (mnl_nlmsg_ok(got, (int)n) && got->nlmsg_type == NLMSG_ERROR) {
			const struct nlmsgerr *e = mnl_nlmsg_get_payload(got);

			errno = -e->error;
			return e->error ? -1 : 0;
		} /* else a packet of a queue that is bound already: its verdict is lost, the kernel drops it */
	}
}

static int bind_queue(struct ftt_nfq *q, uint16_t queue, uint32_t maxlen)
{
	char buf[256];
	struct nlmsghdr *nlh = queue_message(buf, NFQNL_MSG_CONFIG, queue, 0);
	struct nfqnl_msg_config_cmd cmd = {.command = NFQNL_CFG_CMD_BIND, .pf = htons(AF_UNSPEC)};
	struct nfqnl_msg_config_params params = {.copy_range = htonl(FTT_PLANE_WHOLE), .copy_mode = NFQNL_COPY_PACKET};

	mnl_attr_put(nlh, NFQA_CFG_CMD, sizeof(cmd), &cmd);
	if (configure(q, nlh))
		return -1;
	nlh = queue_message(buf, NFQNL_MSG_CONFIG, queue, 0);
	mnl_attr_put(nlh, NFQA_CFG_PARAMS, sizeof(params), &params);
	mnl_attr_put_u32(nlh, NFQA_CFG_FLAGS, htonl(NFQA_CFG_F_GSO));
	mnl_attr_put_u32(nlh, NFQA_CFG_MASK, htonl(NFQA_CFG_F_GSO | NFQA_CFG_F_FAIL_OPEN));
	mnl_attr_put_u32(nlh, NFQA_CFG_QUEUE_MAXLEN, htonl(maxlen));
	return configure(q, nlh);
}

static void prepare_slots(struct ftt_nfq *q)
{
	for (int i = 0; i < FTT_NFQ_SLOTS; i++) {
		q->iov_in[i].iov_base = q->slots + (size_t)i * SLOT_SIZE;
		q->iov_in[i].iov_len = SLOT_SIZE;
		memset(&q->msgs[i].msg_hdr, 0, sizeof(q->msgs[i].msg_hdr));
		q->msgs[i].msg_hdr.msg_iov = &q->iov_in[i];
		q->msgs[i].msg_hdr.msg_iovlen = 1;
	}
}

int ftt_nfq_open(struct ftt_nfq *q, struct ftt_plane_owner owner, uint16_t queue_in, uint16_t queue_out, uint32_t maxlen,
		 char *err, size_t err_len)
{
	struct sockaddr_nl self = {.nl_family = AF_NETLINK};
	socklen_t self_len = sizeof(self);
	int size = RECEIVE_BUFFER, one = 1;

	memset(q, 0, sizeof(*q));
	q->owner = owner;
	q->queue[FTT_NFQ_IN] = queue_in;
	q->queue[FTT_NFQ_OUT] = queue_out;
	q->copy_range[0] = q->copy_range[1] = FTT_PLANE_WHOLE;
	q->at_once = FTT_NFQ_SLOTS;
	q->slots = malloc((size_t)FTT_NFQ_SLOTS * SLOT_SIZE);
	q->fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_NETFILTER);
	if (!q->slots || q->fd < 0 || bind(q->fd, (struct sockaddr *)&self, sizeof(self)) ||
	    getsockname(q->fd, (struct sockaddr *)&self, &self_len)) {
		snprintf(err, err_len, "netfilter netlink socket: %s (root or CAP_NET_ADMIN is needed)", strerror(errno));
		return -1;
	}
	q->portid = self.nl_pid;
	if (setsockopt(q->fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size)))
		setsockopt(q->fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
	size = SEND_BUFFER;
	if (setsockopt(q->fd, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof(size)))
		setsockopt(q->fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	prepare_slots(q);
	for (int i = 0; i < 2; i++) {
		if (bind_queue(q, q->queue[i], maxlen)) {
			snprintf(err, err_len, "NFQUEUE %u: %s (%s)", q->queue[i], strerror(errno),
				 errno == EPERM || errno == EBUSY ? "another program holds this queue: choose another `queue`"
								  : "does the kernel have CONFIG_NETFILTER_NETLINK_QUEUE?");
			return -1;
		}
	}
	/* overruns are seen as lost packets, which TCP repairs; an error return would only cost a call */
	setsockopt(q->fd, SOL_NETLINK, NETLINK_NO_ENOBUFS, &one, sizeof(one));
	return 0;
}

void ftt_nfq_close(struct ftt_nfq *q)
{
	if (q->fd > 0)
		close(q->fd);
	free(q->slots);
	memset(q, 0, sizeof(*q));
}

int ftt_nfq_copy_range(struct ftt_nfq *q, uint32_t in, uint32_t out)
{
	struct sockaddr_nl kernel = {.nl_family = AF_NETLINK};
	const uint32_t range[2] = {in, out};
	char buf[256];

	for (int i = 0; i < 2; i++) {
		struct nfqnl_msg_config_params params = {.copy_range = htonl(range[i]), .copy_mode = NFQNL_COPY_PACKET};
		struct nlmsghdr *nlh;

		if (range[i] == q->copy_range[i])
			continue;
		nlh = queue_message(buf, NFQNL_MSG_CONFIG, q->queue[i], 0);
		mnl_attr_put(nlh, NFQA_CFG_PARAMS, sizeof(params), &params);
		if (sendto(q->fd, nlh, nlh->nlmsg_len, 0, (struct sockaddr *)&kernel, sizeof(kernel)) < 0)
			return -1;
		q->copy_range[i] = range[i];
	}
	return 0;
}

/* Many small packets at a time; of large ones so few that they stay in the cache until they have been looked at. */
static int slots_at_once(const struct ftt_nfq *q)
{
	uint32_t bytes = 0, each;

	for (int i = 0; i < q->received; i++)
		bytes += q->msgs[i].msg_len;
	each = bytes / (uint32_t)q->received;
	return each > FTT_NFQ_HOT / FTT_NFQ_SLOTS ? (int)(FTT_NFQ_HOT / each) : FTT_NFQ_SLOTS;
}

int ftt_nfq_receive(struct ftt_nfq *q)
{
	int n = recvmmsg(q->fd, q->msgs, (unsigned)q->at_once, MSG_DONTWAIT, NULL);

	q->taken = q->received = 0;
	if (n < 0) {
		if (errno == ENOBUFS)
			q->overruns++;
		return errno == EAGAIN || errno == EINTR || errno == ENOBUFS ? 0 : -1;
	}
	q->received = n;
	if (n)
		q->at_once = slots_at_once(q);
	return n;
}

static bool parse_packet(const struct ftt_nfq *q, const struct nlmsghdr *nlh, struct ftt_packet *p)
{
	const struct nfgenmsg *nfg = mnl_nlmsg_get_payload(nlh);
	const struct nlattr *attr;
	bool have_header = false;
	uint32_t info = 0;

	memset(p, 0, sizeof(*p));
	p->queue = ntohs(nfg->res_id);
	p->from_client = p->queue == q->queue[FTT_NFQ_IN];
	mnl_attr_for_each(attr, nlh, sizeof(*nfg)) {
		uint16_t size = mnl_attr_get_payload_len(attr);

		switch (mnl_attr_get_type(attr)) {
		case NFQA_PACKET_HDR:
			if (size >= sizeof(struct nfqnl_msg_packet_hdr)) {
				const struct nfqnl_msg_packet_hdr *h = mnl_attr_get_payload(attr);

				p->id = ntohl(h->packet_id);
				have_header = true;
			}
			break;
		case NFQA_PAYLOAD:
			p->bytes = mnl_attr_get_payload(attr);
			p->cap = size;
			break;
		case NFQA_CAP_LEN:
			p->len = ntohl(mnl_attr_get_u32(attr));
			break;
		case NFQA_IFINDEX_INDEV:
			p->in_index = ntohl(mnl_attr_get_u32(attr));
			break;
		case NFQA_SKB_INFO:
			info = ntohl(mnl_attr_get_u32(attr));
			break;
		default:
			break;
		}
	}
	if (!p->len)
		p->len = p->cap;
	p->csum_ready = !(info & NFQA_SKB_CSUMNOTREADY);
	p->csum_unknown = info & NFQA_SKB_CSUM_NOTVERIFIED;
	return have_header;
}

bool ftt_nfq_next(struct ftt_nfq *q, struct ftt_packet *p)
{
	while (q->taken < q->received) {
		int i = q->taken++;
		const struct nlmsghdr *nlh = q->iov_in[i].iov_base;

		if (!mnl_nlmsg_ok(nlh, (int)q->msgs[i].msg_len))
			continue;
		if (nlh->nlmsg_type == (NFNL_SUBSYS_QUEUE << 8 | NFQNL_MSG_PACKET) && parse_packet(q, nlh, p))
			return true;
	}
	return false;
}

/* Begins the next verdict. */
static struct nlmsghdr *verdict(struct ftt_nfq *q, uint16_t queue, uint32_t id, uint32_t what)
{
	struct nfqnl_msg_verdict_hdr vh = {.verdict = htonl(what), .id = htonl(id)};
	struct ftt_nfq_verdict *v;
	struct nlmsghdr *nlh;

	if (q->n_verdicts == FTT_NFQ_BATCH || q->out_bytes > FTT_NFQ_BATCH_BYTES)
		q->owner.make_room(q->owner.of);
	v = &q->verdict[q->n_verdicts++];
	v->emits = what == NF_ACCEPT && queue == q->queue[FTT_NFQ_OUT];
	memset(v->head, 0, sizeof(v->head));
	nlh = queue_message(v->head, NFQNL_MSG_VERDICT, queue, 0);
	mnl_attr_put(nlh, NFQA_VERDICT_HDR, sizeof(vh), &vh);
	return nlh;
}

/* One that brings no bytes. */
static void put_verdict(struct ftt_nfq *q, struct nlmsghdr *nlh)
{
	q->iov_out[q->n_iov++] = (struct iovec){.iov_base = nlh, .iov_len = nlh->nlmsg_len};
	q->out_bytes += nlh->nlmsg_len;
	q->verdicts++;
}

void ftt_nfq_stamp(struct ftt_nfq *q, uint16_t queue, uint32_t id, uint32_t ack, uint32_t tsecr)
{
	struct nlmsghdr *nlh = verdict(q, queue, id, NF_ACCEPT);

	/* the attributes are in network order, and what they set is to lie in memory as it lies in the header */
	mnl_attr_put_u32(nlh, NFQA_MARK, htonl(htonl(ack)));
	mnl_attr_put_u32(nlh, NFQA_PRIORITY, htonl(htonl(ack ? tsecr : 0)));
	put_verdict(q, nlh);
}

void ftt_nfq_again(struct ftt_nfq *q, uint16_t queue, uint32_t id)
{
	ftt_nfq_copy_range(q, FTT_PLANE_WHOLE, q->copy_range[FTT_NFQ_OUT]); /* before the verdict, so it holds for this packet */
	put_verdict(q, verdict(q, queue, id, NF_REPEAT));
}

void ftt_nfq_requeue(struct ftt_nfq *q, uint16_t queue, uint32_t id, uint16_t to)
{
	put_verdict(q, verdict(q, queue, id, NF_QUEUE_NR(to)));
}

void ftt_nfq_verdict(struct ftt_nfq *q, uint16_t queue, uint32_t id, bool accept, const uint8_t *bytes, uint32_t len)
{
	static const uint8_t zeros[4];
	struct nlmsghdr *nlh = verdict(q, queue, id, accept ? NF_ACCEPT : NF_DROP);
	uint8_t *head = (uint8_t *)nlh;
	struct nlattr *attr;
	uint32_t pad = bytes ? MNL_ALIGN(len) - len : 0;

	q->iov_out[q->n_iov].iov_base = head;
	q->iov_out[q->n_iov].iov_len = nlh->nlmsg_len;
	q->carries |= bytes != NULL;
	if (bytes) {
		attr = (struct nlattr *)(head + nlh->nlmsg_len);
		attr->nla_type = NFQA_PAYLOAD;
		attr->nla_len = (uint16_t)(MNL_ATTR_HDRLEN + len);
		q->iov_out[q->n_iov].iov_len += MNL_ATTR_HDRLEN;
		nlh->nlmsg_len += (uint32_t)MNL_ATTR_HDRLEN + len + pad;
		q->iov_out[++q->n_iov] = (struct iovec){.iov_base = (void *)(uintptr_t)bytes, .iov_len = len};
		if (pad)
			q->iov_out[++q->n_iov] = (struct iovec){.iov_base = (void *)(uintptr_t)zeros, .iov_len = pad};
	}
	q->n_iov++;
	q->out_bytes += nlh->nlmsg_len;
	q->verdicts++;
}

/* The lease ran out since these verdicts were decided: what would have gone out is dropped. */
static void revoke_emission(struct ftt_nfq *q)
{
	for (unsigned i = 0; i < q->n_verdicts; i++) {
		struct nfqnl_msg_verdict_hdr *vh;

		if (!q->verdict[i].emits)
			continue;
		vh = (struct nfqnl_msg_verdict_hdr *)(q->verdict[i].head + MNL_NLMSG_HDRLEN + sizeof(struct nfgenmsg) +
						      MNL_ATTR_HDRLEN);
		vh->verdict = htonl(NF_DROP);
		q->revoked++;
	}
}

void ftt_nfq_flush(struct ftt_nfq *q)
{
	struct sockaddr_nl kernel = {.nl_family = AF_NETLINK};
	struct msghdr msg = {.msg_name = &kernel, .msg_namelen = sizeof(kernel), .msg_iov = q->iov_out, .msg_iovlen = q->n_iov};

	if (!q->n_verdicts)
		return;
	if (!ftt_may_emit(q->owner.shared, ftt_now_ns()))
		revoke_emission(q);
	/* EINTR and ENOBUFS pass; a message that the kernel refuses would leave its packets queued */
	while (sendmsg(q->fd, &msg, 0) < 0 && (errno == EINTR || errno == ENOBUFS || errno == EAGAIN))
		;
	q->batches++;
	q->n_verdicts = q->n_iov = 0;
	q->out_bytes = 0;
	q->carries = false;
}
