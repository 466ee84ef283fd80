/* SPDX-License-Identifier: Apache-2.0 */
/*
 * forward.bpf.c - what any plane in the kernel has to do, and nothing else: the floor of the bench.
 *
 * IPv4. What clients send to the address goes to our stack, and a clone of it to the other node, as if it had been sent there. What has
 * the address as source passes; on the other node, which is silent, it is taken away, and so are answers to ARP. Nothing is kept in step.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/ip.h>
#include <stddef.h>
#include <bpf/bpf_endian.h>
#include "bpf/forward.h"
#include "bpf/tcx.h"

#define ARP_SENDER (ETH_HLEN + 14) /* the protocol address of who speaks (RFC 826) */

const volatile struct ftt_bpf_forward forward SEC(FTT_BPF_FORWARD) = {0};

static __always_inline bool is_address(struct __sk_buff *skb, uint32_t at)
{
	uint32_t found;

	return !bpf_skb_load_bytes(skb, at, &found, sizeof(found)) && found == forward.address;
}

SEC("tc")
int from_clients(struct __sk_buff *skb)
{
	uint8_t own[ETH_ALEN], peer[ETH_ALEN];

	if (skb->protocol != bpf_htons(ETH_P_IP) || !is_address(skb, ETH_HLEN + offsetof(struct iphdr, daddr)))
		return FTT_TCX_NEXT;
	for (uint32_t i = 0; i < ETH_ALEN; i++)
		peer[i] = forward.peer_mac[i];
	if (bpf_skb_load_bytes(skb, 0, own, sizeof(own)) || bpf_skb_store_bytes(skb, 0, peer, sizeof(peer), 0))
		return FTT_TCX_NEXT;
	bpf_clone_redirect(skb, forward.peer, 0);
	bpf_skb_store_bytes(skb, 0, own, sizeof(own), 0);
	return FTT_TCX_NEXT;
}

SEC("tc")
int to_clients(struct __sk_buff *skb)
{
	bool said = (skb->protocol == bpf_htons(ETH_P_IP) && is_address(skb, ETH_HLEN + offsetof(struct iphdr, saddr))) ||
		    (skb->protocol == bpf_htons(ETH_P_ARP) && is_address(skb, ARP_SENDER));

	return said && forward.silent ? ftt_tcx_swallow() : FTT_TCX_NEXT;
}

char terms[] SEC("license") = "Dual BSD/GPL";
