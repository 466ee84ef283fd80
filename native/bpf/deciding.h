/* SPDX-License-Identifier: Apache-2.0 */
/* deciding.h - for programs: the maps of decide.h, and what each does with a packet around a decision of the core. */
#ifndef FTTCP_BPF_DECIDING_H
#define FTTCP_BPF_DECIDING_H
#include "bpf/decide.h"
#include "bpf/tcx.h"
#include "core/tcp/rewrite.h"
#include "core/tcp/unheld.h"

#define MAC_HEADER 14u

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, uint32_t);
	__type(value, struct ftt_bpf_node);
} node SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, FTT_BPF_FLOWS);
	__type(key, struct ftt_key);
	__type(value, struct ftt_bpf_flow);
} flows SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, uint32_t);
	__type(value, struct ftt_bpf_decided);
} decided SEC(".maps");

static __always_inline struct ftt_env env_of(const struct ftt_bpf_node *n, uint64_t now_ns)
{
	return (struct ftt_env){.now_ns = now_ns, .policy = &n->policy, .mode = n->mode, .lease = now_ns < n->lease_until_ns,
				.vouched = n->vouched, .doubted = n->doubted, .watched = n->watched, .in_step = n->in_step,
				.behind = n->behind};
}

/* The packet's headers, parsed; all of its bytes can be edited. */
static __always_inline enum ftt_parsed look_at(struct __sk_buff *skb, struct ftt_bpf_decided *d)
{
	uint32_t len = skb->len - MAC_HEADER, cap = len < FTT_HEADERS_MAX ? len : FTT_HEADERS_MAX;
	enum ftt_parsed parsed;

	if (skb->len <= MAC_HEADER || !cap || bpf_skb_load_bytes(skb, MAC_HEADER, d->headers, cap))
		return FTT_PARSED_MALFORMED;
	parsed = ftt_parse(d->headers, cap, len, &d->pkt, &d->seg);
	d->seg.whole = true;
	return parsed;
}

static __always_inline uint8_t *sum_of(struct ftt_bpf_decided *d)
{
	return d->headers + ftt_at(d->pkt.l4 + 16u);
}

/*
 * The headers in the packet, whose checksum was `before`. Of one whose checksum a device will add, the kernel leaves the field
 * alone.
 */
static __always_inline bool write_headers(struct __sk_buff *skb, struct ftt_bpf_decided *d, uint16_t before)
{
	uint32_t l4 = ftt_at(d->pkt.l4), size = d->pkt.payload - d->pkt.l4;
	uint16_t after = get_be16(sum_of(d));

	put_be16(sum_of(d), before);
	if (size < 20 || size > 60 || bpf_skb_store_bytes(skb, MAC_HEADER + l4, d->headers + l4, size, 0))
		return false;
	return !bpf_l4_csum_replace(skb, MAC_HEADER + l4 + 16, 0, __builtin_bswap16(csum_fold((uint64_t)before + (uint16_t)~after)), 0);
}

static __always_inline bool write_edit(struct __sk_buff *skb, struct ftt_bpf_decided *d)
{
	uint16_t before = get_be16(sum_of(d));

	ftt_apply(d->headers, &d->pkt, &d->edit, true);
	return write_headers(skb, d, before);
}

#endif
