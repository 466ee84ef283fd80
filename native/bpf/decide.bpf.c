/* SPDX-License-Identifier: Apache-2.0 */
/*
 * decide.bpf.c - the core's decisions about a TCP segment, in the kernel: parse, ftt_segment_step(), the edit.
 *
 * Two programs for tcx, one for each direction. What is of no flow of the map passes. A segment that would have to wait is lowered or
 * lost, as by core/tcp/unheld.h: tcx keeps no packets.
 */
#include "bpf/deciding.h"

static __always_inline int decide(struct __sk_buff *skb, enum ftt_dir dir)
{
	uint32_t first = 0;
	struct ftt_bpf_decided *d = bpf_map_lookup_elem(&decided, &first);
	struct ftt_bpf_node *n = bpf_map_lookup_elem(&node, &first);
	struct ftt_bpf_flow *f;
	struct ftt_env env;
	struct ftt_key key;

	if (!d || !n)
		return FTT_TCX_DROP;
	d->known = false;
	d->parsed = look_at(skb, d);
	if (d->parsed != FTT_PARSED_TCP)
		return FTT_TCX_NEXT;
	d->seg.dir = dir;
	ftt_key_of(&key, &d->pkt, dir == FTT_FROM_CLIENT);
	f = bpf_map_lookup_elem(&flows, &key);
	if (!f)
		return FTT_TCX_NEXT;
	d->known = true;
	d->now_ns = bpf_ktime_get_boot_ns();
	env = env_of(n, d->now_ns);
	bpf_spin_lock(&f->lock);
	d->verdict = ftt_unheld_segment(&f->flow, &d->seg, &env, &d->edit);
	bpf_spin_unlock(&f->lock);
	if (d->verdict != FTT_PASS || (d->edit.change && !write_edit(skb, d)))
		return dir == FTT_FROM_CLIENT ? FTT_TCX_DROP : ftt_tcx_swallow();
	return FTT_TCX_NEXT;
}

SEC("tc")
int from_client(struct __sk_buff *skb)
{
	return decide(skb, FTT_FROM_CLIENT);
}

SEC("tc")
int from_server(struct __sk_buff *skb)
{
	return decide(skb, FTT_FROM_SERVER);
}

char terms[] SEC("license") = "Dual BSD/GPL";
