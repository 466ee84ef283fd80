/* SPDX-License-Identifier: Apache-2.0 */
/* pair.h - for programs of a pair: what both are told, and how a packet is given to the other node. */
#ifndef FTTCP_BPF_PAIR_H
#define FTTCP_BPF_PAIR_H
#include <linux/bpf.h>
#include "bpf/follow.h"
#include "bpf/tcx.h"
#include "core/packet/parse.h"

const volatile struct ftt_bpf_follow follow SEC(FTT_BPF_FOLLOW) = {0};

/* Is it the service's address (IPv4 mapped)? */
static __always_inline bool ftt_bpf_is_service(const uint8_t *address)
{
	for (int i = 0; i < 16; i++)
		if (address[i] != follow.address[i])
			return false;
	return true;
}

static __always_inline void ftt_bpf_give_mac(struct __sk_buff *skb, const volatile uint8_t *from)
{
	uint8_t mac[FTT_MAC_BYTES];

	for (uint32_t i = 0; i < FTT_MAC_BYTES; i++)
		mac[i] = from[i];
	bpf_skb_store_bytes(skb, 0, mac, sizeof(mac), 0);
}

/* A clone goes to the other node, as if it had been sent there. */
static __always_inline void ftt_bpf_clone_to_peer(struct __sk_buff *skb)
{
	uint8_t own[FTT_MAC_BYTES];

	if (bpf_skb_load_bytes(skb, 0, own, sizeof(own)))
		return;
	ftt_bpf_give_mac(skb, follow.peer_mac);
	bpf_clone_redirect(skb, follow.peer, 0);
	bpf_skb_store_bytes(skb, 0, own, sizeof(own), 0);
}

#endif
