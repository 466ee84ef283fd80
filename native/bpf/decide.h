/* SPDX-License-Identifier: Apache-2.0 */
/*
 * decide.h - what decide.bpf.c and user space share: the node, its flows, and what was decided of a packet.
 *
 * Maps: `node`, one struct ftt_bpf_node, written by user space; `flows`, struct ftt_key to struct ftt_bpf_flow, of which user space
 * begins and ends entries; `decided`, one struct ftt_bpf_decided for each CPU, of the packet that was decided there last.
 */
#ifndef FTTCP_BPF_DECIDE_H
#define FTTCP_BPF_DECIDE_H
#include <linux/bpf.h>
#include "core/tcp/flow.h"

#define FTT_BPF_FLOWS 65536u

/* What struct ftt_env is made of, packet by packet. */
struct ftt_bpf_node {
	struct ftt_policy policy;
	uint64_t lease_until_ns; /* CLOCK_BOOTTIME: it may emit until then */
	uint8_t mode;            /* enum ftt_mode */
	uint8_t vouched, doubted, watched, in_step, behind; /* as in struct ftt_env */
	uint8_t pad[2];
};

struct ftt_bpf_flow {
	struct bpf_spin_lock lock; /* its packets of both directions may be decided at once */
	uint32_t pad;
	struct ftt_flow flow;
};

/* Where a packet is decided: too large for BPF's stack. */
struct ftt_bpf_decided {
	uint64_t now_ns;  /* CLOCK_BOOTTIME, of the decision */
	uint8_t parsed;   /* enum ftt_parsed */
	bool known;       /* it is of a flow of the map, and all below is set */
	uint8_t verdict;  /* FTT_PASS or FTT_DROP */
	uint8_t pad[5];
	struct ftt_edit edit;
	struct ftt_pkt pkt;
	struct ftt_seg seg;
	uint8_t headers[FTT_HEADERS_ROOM]; /* of the packet, from IP on; as they leave */
};

#endif
