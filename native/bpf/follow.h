/* SPDX-License-Identifier: Apache-2.0 */
/*
 * follow.h - what lead.bpf.c and follow.bpf.c are told: section FTT_BPF_FOLLOW of each object, before it is loaded; of follow.bpf.c map
 * `role` at any time.
 */
#ifndef FTTCP_BPF_FOLLOW_H
#define FTTCP_BPF_FOLLOW_H
#include <stdbool.h>
#include <stdint.h>

#define FTT_BPF_FOLLOW ".rodata.follow"
#define FTT_MAC_BYTES 6u

struct ftt_bpf_follow {
	uint8_t address[16]; /* the service's, IPv4 as ::ffff:a.b.c.d */
	uint32_t peer;       /* index of the interface to the other node */
	uint32_t clients;    /* ... to clients */
	uint8_t own_mac[FTT_MAC_BYTES], peer_mac[FTT_MAC_BYTES]; /* of both ends of the peer link */
};

enum ftt_bpf_role { FTT_BPF_SILENT = 0, FTT_BPF_SPEAKS = 1 };

/* A connection whose handshake was seen on the peer link. Sequence numbers are the service's own: there are no others. */
struct ftt_bpf_followed {
	uint32_t irs, iss;         /* of the client's SYN and the primary's SYN-ACK */
	uint32_t client_acked;     /* the furthest that the client has acknowledged */
	uint32_t client_tsval;     /* its latest */
	uint16_t mss, client_wnd;  /* of the SYN; field of the last segment */
	uint8_t options, client_options; /* FTT_OPT_* of the SYN-ACK and of the SYN */
	uint8_t client_wscale, service_wscale;
	bool answered;             /* the SYN-ACK was seen as well */
	uint8_t pad[3];
};

#endif
