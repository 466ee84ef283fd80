/* SPDX-License-Identifier: Apache-2.0 */
/* forward.h - what forward.bpf.c is told before it is loaded: section FTT_BPF_FORWARD of its object. */
#ifndef FTTCP_BPF_FORWARD_H
#define FTTCP_BPF_FORWARD_H
#include <stdbool.h>
#include <stdint.h>

#define FTT_BPF_FORWARD ".rodata.forward"
#define FTT_MAC_BYTES 6u

struct ftt_bpf_forward {
	uint32_t address; /* the service's, network order */
	uint32_t peer;    /* index of the interface to the other node */
	uint8_t peer_mac[FTT_MAC_BYTES]; /* of the other node's end of the peer link */
	bool silent; /* nothing of the address leaves */
	uint8_t pad;
};

#endif
