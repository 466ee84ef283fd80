/* SPDX-License-Identifier: Apache-2.0 */
/* stamp.c - the rules of stamp.h, told to nf_tables (linux/netfilter/nf_tables.h) in one transaction. */
#define _GNU_SOURCE
#include "engine/planes/nfqueue/stamp.h"
#include "core/packet/address.h"
#include <arpa/inet.h>
#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define BATCH_BYTES (64 << 10)
#define BEHIND_INPUT (-148) /* one after the chain that asks the engine (tables.py), two after iptables' mangle */
#define CHAIN "mirrored"
#define TCP_ACK_AT 8
#define TCP_SUM_AT 16
#define OPTION_SACK 5
#define OPTION_TIMESTAMPS 8
#define TSECR_AT 6

struct batch {
	char *bytes;
	size_t len;
	uint32_t seq, asked;
	char table[32];
};

/* --- messages -------------------------------------------------------------------------------- */

static struct nlmsghdr *message(struct batch *b, uint16_t type, uint16_t flags, uint8_t family, uint16_t res_id)
{
	struct nlmsghdr *nlh = mnl_nlmsg_put_header(b->bytes + b->len);
	struct nfgenmsg *nfg = mnl_nlmsg_put_extra_header(nlh, sizeof(*nfg));

	nlh->nlmsg_type = type;
	nlh->nlmsg_flags = (uint16_t)(NLM_F_REQUEST | flags);
	nlh->nlmsg_seq = ++b->seq;
	nfg->nfgen_family = family;
	nfg->version = NFNETLINK_V0;
	nfg->res_id = htons(res_id);
	return nlh;
}

static void done(struct batch *b, const struct nlmsghdr *nlh)
{
	b->len += MNL_ALIGN(nlh->nlmsg_len);
	b->asked += !!(nlh->nlmsg_flags & NLM_F_ACK);
}

static struct nlmsghdr *tables_message(struct batch *b, uint16_t type)
{
	return message(b, (uint16_t)(NFNL_SUBSYS_NFTABLES << 8 | type), NLM_F_ACK | NLM_F_CREATE | NLM_F_APPEND, NFPROTO_INET, 0);
}

static void put_be32_attr(struct nlmsghdr *nlh, uint16_t type, uint32_t value)
{
	mnl_attr_put_u32(nlh, type, htonl(value));
}

/* --- expressions: what an `nft --debug=netlink` shows ------------------------------------------ */

struct expression {
	struct nlattr *element, *data;
};

static struct expression begin(struct nlmsghdr *nlh, const char *name)
{
	struct expression e = {.element = mnl_attr_nest_start(nlh, NFTA_LIST_ELEM)};

	mnl_attr_put_strz(nlh, NFTA_EXPR_NAME, name);
	e.data = mnl_attr_nest_start(nlh, NFTA_EXPR_DATA);
	return e;
}

static void end(struct nlmsghdr *nlh, struct expression e)
{
	mnl_attr_nest_end(nlh, e.data);
	mnl_attr_nest_end(nlh, e.element);
}

static void load_meta(struct nlmsghdr *nlh, uint32_t key)
{
	struct expression e = begin(nlh, "meta");

	put_be32_attr(nlh, NFTA_META_DREG, NFT_REG_1);
	put_be32_attr(nlh, NFTA_META_KEY, key);
	end(nlh, e);
}

static void clear_meta(struct nlmsghdr *nlh, uint32_t key)
{
	struct expression e = begin(nlh, "immediate");
	const uint32_t zero = 0;
	struct nlattr *data;

	put_be32_attr(nlh, NFTA_IMMEDIATE_DREG, NFT_REG_1);
	data = mnl_attr_nest_start(nlh, NFTA_IMMEDIATE_DATA);
	mnl_attr_put(nlh, NFTA_DATA_VALUE, sizeof(zero), &zero);
	mnl_attr_nest_end(nlh, data);
	end(nlh, e);
	e = begin(nlh, "meta");
	put_be32_attr(nlh, NFTA_META_KEY, key);
	put_be32_attr(nlh, NFTA_META_SREG, NFT_REG_1);
	end(nlh, e);
}

static void load_payload(struct nlmsghdr *nlh, uint32_t base, uint32_t offset, uint32_t len)
{
	struct expression e = begin(nlh, "payload");

	put_be32_attr(nlh, NFTA_PAYLOAD_DREG, NFT_REG_1);
	put_be32_attr(nlh, NFTA_PAYLOAD_BASE, base);
	put_be32_attr(nlh, NFTA_PAYLOAD_OFFSET, offset);
	put_be32_attr(nlh, NFTA_PAYLOAD_LEN, len);
	end(nlh, e);
}

static void compare(struct nlmsghdr *nlh, uint32_t op, const void *value, size_t len)
{
	struct expression e = begin(nlh, "cmp");
	struct nlattr *data;

	put_be32_attr(nlh, NFTA_CMP_SREG, NFT_REG_1);
	put_be32_attr(nlh, NFTA_CMP_OP, op);
	data = mnl_attr_nest_start(nlh, NFTA_CMP_DATA);
	mnl_attr_put(nlh, NFTA_DATA_VALUE, len, value);
	mnl_attr_nest_end(nlh, data);
	end(nlh, e);
}

/* Numbers of the host's order compare from their first byte on: turn them. */
static void to_network_order(struct nlmsghdr *nlh)
{
	struct expression e = begin(nlh, "byteorder");

	put_be32_attr(nlh, NFTA_BYTEORDER_SREG, NFT_REG_1);
	put_be32_attr(nlh, NFTA_BYTEORDER_DREG, NFT_REG_1);
	put_be32_attr(nlh, NFTA_BYTEORDER_OP, NFT_BYTEORDER_HTON);
	put_be32_attr(nlh, NFTA_BYTEORDER_LEN, 4);
	put_be32_attr(nlh, NFTA_BYTEORDER_SIZE, 4);
	end(nlh, e);
}

static void write_acknowledgement(struct nlmsghdr *nlh)
{
	struct expression e = begin(nlh, "payload");

	put_be32_attr(nlh, NFTA_PAYLOAD_SREG, NFT_REG_1);
	put_be32_attr(nlh, NFTA_PAYLOAD_BASE, NFT_PAYLOAD_TRANSPORT_HEADER);
	put_be32_attr(nlh, NFTA_PAYLOAD_OFFSET, TCP_ACK_AT);
	put_be32_attr(nlh, NFTA_PAYLOAD_LEN, 4);
	put_be32_attr(nlh, NFTA_PAYLOAD_CSUM_TYPE, NFT_PAYLOAD_CSUM_INET);
	put_be32_attr(nlh, NFTA_PAYLOAD_CSUM_OFFSET, TCP_SUM_AT);
	end(nlh, e);
}

/* Does nothing to a segment without the option. */
static void write_echoed_time(struct nlmsghdr *nlh)
{
	struct expression e = begin(nlh, "exthdr");

	put_be32_attr(nlh, NFTA_EXTHDR_SREG, NFT_REG_1);
	mnl_attr_put_u8(nlh, NFTA_EXTHDR_TYPE, OPTION_TIMESTAMPS);
	put_be32_attr(nlh, NFTA_EXTHDR_OFFSET, TSECR_AT);
	put_be32_attr(nlh, NFTA_EXTHDR_LEN, 4);
	put_be32_attr(nlh, NFTA_EXTHDR_OP, NFT_EXTHDR_OP_TCPOPT);
	end(nlh, e);
}

/* Since Linux 5.18, like the priority that a verdict sets. */
static void blot_out_sack(struct nlmsghdr *nlh)
{
	struct expression e = begin(nlh, "exthdr");

	mnl_attr_put_u8(nlh, NFTA_EXTHDR_TYPE, OPTION_SACK);
	put_be32_attr(nlh, NFTA_EXTHDR_OP, NFT_EXTHDR_OP_TCPOPT);
	end(nlh, e);
}

/* --- the table ------------------------------------------------------------------------------- */

static void put_table(struct batch *b)
{
	struct nlmsghdr *nlh = tables_message(b, NFT_MSG_NEWTABLE);
	struct nlattr *hook;

	mnl_attr_put_strz(nlh, NFTA_TABLE_NAME, b->table);
	put_be32_attr(nlh, NFTA_TABLE_FLAGS, NFT_TABLE_F_OWNER);
	done(b, nlh);
	nlh = tables_message(b, NFT_MSG_NEWCHAIN);
	mnl_attr_put_strz(nlh, NFTA_CHAIN_TABLE, b->table);
	mnl_attr_put_strz(nlh, NFTA_CHAIN_NAME, CHAIN);
	hook = mnl_attr_nest_start(nlh, NFTA_CHAIN_HOOK);
	put_be32_attr(nlh, NFTA_HOOK_HOOKNUM, NF_INET_LOCAL_IN);
	put_be32_attr(nlh, NFTA_HOOK_PRIORITY, (uint32_t)BEHIND_INPUT);
	mnl_attr_nest_end(nlh, hook);
	mnl_attr_put_strz(nlh, NFTA_CHAIN_TYPE, "filter");
	done(b, nlh);
}

static void put_rule(struct batch *b, const struct ftt_config *cfg, const uint8_t *address, const struct ftt_port *ports, uint32_t longer_than)
{
	const uint8_t tcp = IPPROTO_TCP, v4 = NFPROTO_IPV4, v6 = NFPROTO_IPV6;
	bool is_v4 = ftt_is_v4(address);
	struct nlmsghdr *nlh = tables_message(b, NFT_MSG_NEWRULE);
	uint32_t limit = htonl(longer_than);
	const uint16_t first = htons(ports->port), last = htons(ports->last);
	const uint32_t no_mark = 0;
	struct nlattr *list;

	mnl_attr_put_strz(nlh, NFTA_RULE_TABLE, b->table);
	mnl_attr_put_strz(nlh, NFTA_RULE_CHAIN, CHAIN);
	list = mnl_attr_nest_start(nlh, NFTA_RULE_EXPRESSIONS);
	load_meta(nlh, NFT_META_MARK); /* first: few packets have one, and all of the host are asked */
	compare(nlh, NFT_CMP_NEQ, &no_mark, sizeof(no_mark));
	load_meta(nlh, NFT_META_IIFNAME);
	compare(nlh, NFT_CMP_EQ, cfg->peer_interface, sizeof(cfg->peer_interface));
	load_meta(nlh, NFT_META_LEN);
	to_network_order(nlh);
	compare(nlh, NFT_CMP_GT, &limit, sizeof(limit));
	load_meta(nlh, NFT_META_NFPROTO);
	compare(nlh, NFT_CMP_EQ, is_v4 ? &v4 : &v6, 1);
	load_meta(nlh, NFT_META_L4PROTO);
	compare(nlh, NFT_CMP_EQ, &tcp, 1);
	load_payload(nlh, NFT_PAYLOAD_NETWORK_HEADER, is_v4 ? 16 : 24, is_v4 ? 4 : 16);
	compare(nlh, NFT_CMP_EQ, is_v4 ? address + 12 : address, is_v4 ? 4 : 16);
	load_payload(nlh, NFT_PAYLOAD_TRANSPORT_HEADER, 2, 2);
	compare(nlh, last ? NFT_CMP_GTE : NFT_CMP_EQ, &first, 2);
	if (last)
		compare(nlh, NFT_CMP_LTE, &last, 2);
	load_meta(nlh, NFT_META_MARK);
	write_acknowledgement(nlh);
	load_meta(nlh, NFT_META_PRIORITY);
	write_echoed_time(nlh);
	blot_out_sack(nlh);
	clear_meta(nlh, NFT_META_MARK);
	clear_meta(nlh, NFT_META_PRIORITY);
	mnl_attr_nest_end(nlh, list);
	done(b, nlh);
}

/* 0 when all that was asked for has been done, else the first error. */
static int commit(int fd, const struct batch *b)
{
	char buf[BATCH_BYTES];
	int error = 0;

	if (send(fd, b->bytes, b->len, 0) < 0)
		return errno;
	for (uint32_t answers = 0; answers < b->asked && !error;) {
		ssize_t n = recv(fd, buf, sizeof(buf), 0);
		int left = (int)n;

		if (n < 0)
			return errno;
		for (const struct nlmsghdr *nlh = (void *)buf; mnl_nlmsg_ok(nlh, left); nlh = mnl_nlmsg_next(nlh, &left)) {
			if (nlh->nlmsg_type != NLMSG_ERROR)
				continue;
			answers++;
			if (!error)
				error = -((const struct nlmsgerr *)mnl_nlmsg_get_payload(nlh))->error;
		}
	}
	return error;
}

static void put_all(struct batch *b, const struct ftt_config *cfg, uint32_t longer_than)
{
	done(b, message(b, NFNL_MSG_BATCH_BEGIN, 0, AF_UNSPEC, NFNL_SUBSYS_NFTABLES));
	put_table(b);
	for (uint32_t a = 0; a < cfg->n_service_addrs; a++)
		for (uint32_t i = 0; i < cfg->n_ports; i++)
			if (cfg->port[i].proto == IPPROTO_TCP)
				put_rule(b, cfg, cfg->service_addr[a], &cfg->port[i], longer_than);
	done(b, message(b, NFNL_MSG_BATCH_END, 0, AF_UNSPEC, NFNL_SUBSYS_NFTABLES));
}

int ftt_stamp_open(const struct ftt_config *cfg, uint32_t longer_than)
{
	struct sockaddr_nl self = {.nl_family = AF_NETLINK};
	struct batch b = {0};
	int fd, error;

	if (!strcmp(cfg->service_interface, cfg->peer_interface))
		return -ENOTUNIQ; /* somebody's own marks could meet the rules */
	if (cfg->n_service_addrs * cfg->n_ports > FTT_STAMPED_MAX)
		return -E2BIG;
	b.bytes = calloc(1, BATCH_BYTES);
	if (!b.bytes)
		return -ENOMEM;
	snprintf(b.table, sizeof(b.table), "fttcp-%u", cfg->queue_in); /* no other group of this host has the queue */
	put_all(&b, cfg, longer_than);
	fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_NETFILTER);
	error = fd < 0 || bind(fd, (struct sockaddr *)&self, sizeof(self)) ? errno : commit(fd, &b);
	free(b.bytes);
	if (!error)
		return fd;
	if (fd >= 0)
		close(fd);
	return -error;
}

int ftt_stamp_try(void)
{
	const struct ftt_config cfg = {.service_interface = "service", .peer_interface = "peer", .n_service_addrs = 1,
				       .port = {{.port = 1, .proto = IPPROTO_TCP}}, .n_ports = 1};
	int fd = ftt_stamp_open(&cfg, 0);

	if (fd < 0)
		return -fd;
	close(fd);
	return 0;
}
