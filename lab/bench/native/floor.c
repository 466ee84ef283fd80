/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What any user-space firewall program costs: two NFQUEUE queues, every packet accepted as it is. floor IN OUT
 *
 * Only headers are copied, segments come as the stack made them (GSO), and everything that one wake-up brings
 * is accepted by one batch verdict per queue. Nothing is looked at. Writes "ready" when both queues are bound.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <libmnl/libmnl.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_queue.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>
#include "process.h"

#define HEADER_BYTES 128
#define QUEUE_MAXLEN 65536
#define BATCH 64
#define SLOT_BYTES 4096

static int fd;

static struct nlmsghdr *message(void *space, uint16_t type, uint16_t queue, uint16_t flags)
{
	struct nlmsghdr *nlh = mnl_nlmsg_put_header(space);
	struct nfgenmsg *nfg;

	nlh->nlmsg_type = (uint16_t)(NFNL_SUBSYS_QUEUE << 8 | type);
	nlh->nlmsg_flags = (uint16_t)(NLM_F_REQUEST | flags);
	nfg = mnl_nlmsg_put_extra_header(nlh, sizeof(*nfg));
	nfg->nfgen_family = AF_UNSPEC;
	nfg->version = NFNETLINK_V0;
	nfg->res_id = htons(queue);
	return nlh;
}

static void ask_kernel(struct nlmsghdr *nlh, const char *what)
{
	char space[MNL_SOCKET_BUFFER_SIZE];

	if (send(fd, nlh, nlh->nlmsg_len, 0) < 0)
		die(what);
	for (;;) {
		ssize_t n = recv(fd, space, sizeof(space), 0);
		const struct nlmsghdr *got = (const struct nlmsghdr *)space;
		const struct nlmsgerr *e;

		if (n < 0)
			die(what);
		if (!mnl_nlmsg_ok(got, (int)n) || got->nlmsg_type != NLMSG_ERROR)
			continue;
		e = mnl_nlmsg_get_payload(got);
		errno = -e->error;
		if (e->error)
			die(what);
		return;
	}
}

static void bind_queue(uint16_t queue)
{
	char space[256];
	struct nfqnl_msg_config_cmd cmd = {.command = NFQNL_CFG_CMD_BIND, .pf = htons(AF_UNSPEC)};
	struct nfqnl_msg_config_params params = {.copy_range = htonl(HEADER_BYTES), .copy_mode = NFQNL_COPY_PACKET};
	struct nlmsghdr *nlh = message(space, NFQNL_MSG_CONFIG, queue, NLM_F_ACK);

	mnl_attr_put(nlh, NFQA_CFG_CMD, sizeof(cmd), &cmd);
	ask_kernel(nlh, "bind of a queue (root, and nobody else on it, are needed)");
	nlh = message(space, NFQNL_MSG_CONFIG, queue, NLM_F_ACK);
	mnl_attr_put(nlh, NFQA_CFG_PARAMS, sizeof(params), &params);
	mnl_attr_put_u32(nlh, NFQA_CFG_FLAGS, htonl(NFQA_CFG_F_GSO));
	mnl_attr_put_u32(nlh, NFQA_CFG_MASK, htonl(NFQA_CFG_F_GSO));
	mnl_attr_put_u32(nlh, NFQA_CFG_QUEUE_MAXLEN, htonl(QUEUE_MAXLEN));
	ask_kernel(nlh, "settings of a queue");
}

/* Accept all packets of `queue` up to `id`. */
static void accept_up_to(uint16_t queue, uint32_t id)
{
	char space[128];
	struct nlmsghdr *nlh = message(space, NFQNL_MSG_VERDICT_BATCH, queue, 0);
	struct nfqnl_msg_verdict_hdr verdict = {.verdict = htonl(NF_ACCEPT), .id = htonl(id)};

	mnl_attr_put(nlh, NFQA_VERDICT_HDR, sizeof(verdict), &verdict);
	if (send(fd, nlh, nlh->nlmsg_len, 0) < 0)
		die("verdict");
}

/* The packet's number in its queue; false when the message is none of a packet. */
static bool packet_id(const struct nlmsghdr *nlh, uint32_t *id)
{
	const struct nlattr *attr;

	if ((nlh->nlmsg_type & 0xff) != NFQNL_MSG_PACKET)
		return false;
	mnl_attr_for_each(attr, nlh, sizeof(struct nfgenmsg))
	{
		if (mnl_attr_get_type(attr) == NFQA_PACKET_HDR) {
			const struct nfqnl_msg_packet_hdr *header = mnl_attr_get_payload(attr);

			*id = ntohl(header->packet_id);
			return true;
		}
	}
	return false;
}

int main(int argc, char **argv)
{
	static char slots[BATCH][SLOT_BYTES];
	struct sockaddr_nl self = {.nl_family = AF_NETLINK}, kernel = {.nl_family = AF_NETLINK};
	struct mmsghdr messages[BATCH] = {0};
	struct iovec iov[BATCH];
	int size = 64 << 20, one = 1;
	uint16_t queues[2];

	if (argc != 3) {
		fprintf(stderr, "usage: floor QUEUE_IN QUEUE_OUT\n");
		return 2;
	}
	fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_NETFILTER);
	if (fd < 0 || bind(fd, (struct sockaddr *)&self, sizeof(self)) || connect(fd, (struct sockaddr *)&kernel, sizeof(kernel)))
		die("netlink socket");
	if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size)))
		die("receive buffer");
	for (int i = 0; i < 2; i++)
		bind_queue(queues[i] = (uint16_t)atoi(argv[i + 1]));
	setsockopt(fd, SOL_NETLINK, NETLINK_NO_ENOBUFS, &one, sizeof(one));
	for (int i = 0; i < BATCH; i++) {
		iov[i] = (struct iovec){slots[i], SLOT_BYTES};
		messages[i].msg_hdr.msg_iov = &iov[i];
		messages[i].msg_hdr.msg_iovlen = 1;
	}
	puts("ready");
	fflush(stdout);
	for (;;) {
		int count = recvmmsg(fd, messages, BATCH, MSG_WAITFORONE, NULL);
		uint32_t id, last[2] = {0};
		bool any[2] = {false};

		if (count < 0 && errno != EINTR)
			die("receive");
		for (int i = 0; i < count; i++) {
			const struct nlmsghdr *nlh = (const struct nlmsghdr *)slots[i];
			const struct nfgenmsg *nfg = mnl_nlmsg_get_payload(nlh);
			int which = ntohs(nfg->res_id) == queues[1];

			if (mnl_nlmsg_ok(nlh, (int)messages[i].msg_len) && packet_id(nlh, &id)) {
				last[which] = id;
				any[which] = true;
			}
		}
		for (int which = 0; which < 2; which++)
			if (any[which])
				accept_up_to(queues[which], last[which]);
	}
}
