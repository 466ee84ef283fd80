/* SPDX-License-Identifier: Apache-2.0 */
/*
 * follow.bpf.c - a backup whose stack takes the primary's sequence numbers, so that nothing is translated, ever.
 *
 * The primary's programs send the other node a clone of what clients send (from_clients), and of its own SYN-ACKs (to_clients). The
 * backup keeps SYN and SYN-ACK from its stack. When the client's next segment comes, the stack is told to build the
 * connection of it as if it had answered with a SYN cookie (bpf_sk_assign_tcp_reqsk, Linux 6.9): with the primary's ISS, options and clock.
 *
 * What the client acknowledges beyond what this stack has sent is lowered to that; once the stack sends it, that very packet becomes the
 * client's acknowledgement and goes back (from_stack). So it never waits for its retransmission timer. Nothing else leaves before it speaks.
 *
 * With IPv4 the node needs arp_announce = 2: its stack asks for a client's MAC with another address, or has none, and what it says never comes here.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <bpf/bpf_endian.h>
#include "bpf/pair.h"
#include "core/packet/parse.h"
#include "core/tcp/seq.h"

#define MAC_HEADER 14u
#define FLOWS 65536u
#define ARP_SENDER (MAC_HEADER + 14) /* the protocol address of who speaks */
#define IP4_SOURCE (MAC_HEADER + 12)
#define IP6_SOURCE (MAC_HEADER + 8)
#define IP6_PAYLOAD (MAC_HEADER + 40)
#define ND_ADVERTISES 136

/* Of the kernel, as its BTF has them. */
struct sock { uint8_t unknown; };
struct tcp_sock;
struct bpf_tcp_req_attrs {
	uint32_t rcv_tsval, rcv_tsecr;
	uint16_t mss;
	uint8_t rcv_wscale, snd_wscale, ecn_ok, wscale_ok, sack_ok, tstamp_ok, usec_ts_ok, reserved[3];
};
extern int bpf_sk_assign_tcp_reqsk(struct __sk_buff *skb, struct sock *listener, struct bpf_tcp_req_attrs *attrs, int size) __ksym;

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, uint32_t);
	__type(value, uint32_t);
} role SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, FLOWS);
	__type(key, struct ftt_key);
	__type(value, struct ftt_bpf_followed);
} followed SEC(".maps");

/* A packet that is looked at: too large for BPF's stack. */
struct sight {
	struct ftt_pkt pkt;
	struct ftt_seg seg;
	struct ftt_key key;
	uint8_t headers[FTT_HEADERS_ROOM];
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, uint32_t);
	__type(value, struct sight);
} sights SEC(".maps");

/* A segment from, or to, the service; NULL: it is none. */
static __always_inline struct sight *look_at(struct __sk_buff *skb, bool from_client)
{
	uint32_t first = 0, len = skb->len - MAC_HEADER, cap = len < FTT_HEADERS_MAX ? len : FTT_HEADERS_MAX;
	struct sight *s = bpf_map_lookup_elem(&sights, &first);
	const uint8_t *service;

	if (!s || skb->len <= MAC_HEADER || !cap || bpf_skb_load_bytes(skb, MAC_HEADER, s->headers, cap))
		return NULL;
	if (ftt_parse(s->headers, cap, len, &s->pkt, &s->seg) != FTT_PARSED_TCP)
		return NULL;
	service = from_client ? s->pkt.dst : s->pkt.src;
	if (!ftt_bpf_is_service(service))
		return NULL;
	ftt_key_of(&s->key, &s->pkt, from_client);
	return s;
}

static __always_inline void note_syn(const struct sight *s)
{
	struct ftt_bpf_followed f = {.irs = s->seg.seq, .client_tsval = s->seg.tsval, .mss = s->seg.mss ? s->seg.mss : 536,
				     .client_options = s->seg.options, .client_wscale = s->seg.wscale};
	const struct ftt_bpf_followed *known = bpf_map_lookup_elem(&followed, &s->key);

	if (!known || known->irs != f.irs) /* else it came again */
		bpf_map_update_elem(&followed, &s->key, &f, BPF_ANY);
}

static __always_inline void note_syn_ack(struct sight *s)
{
	struct ftt_bpf_followed *f;

	ftt_key_of(&s->key, &s->pkt, false);
	f = bpf_map_lookup_elem(&followed, &s->key);
	if (!f || f->answered || s->seg.ack != f->irs + 1)
		return;
	f->iss = s->seg.seq;
	f->options = s->seg.options & f->client_options;
	f->service_wscale = s->seg.wscale;
	f->client_acked = f->iss;
	f->answered = true;
}

static __always_inline struct bpf_sock *find(struct __sk_buff *skb, const struct sight *s)
{
	struct bpf_sock_tuple tuple = {0};

	if (s->pkt.family == 4) {
		__builtin_memcpy(&tuple.ipv4.saddr, s->pkt.src + 12, 4);
		__builtin_memcpy(&tuple.ipv4.daddr, s->pkt.dst + 12, 4);
		tuple.ipv4.sport = bpf_htons(s->pkt.sport);
		tuple.ipv4.dport = bpf_htons(s->pkt.dport);
		return bpf_skc_lookup_tcp(skb, &tuple, sizeof(tuple.ipv4), BPF_F_CURRENT_NETNS, 0);
	}
	__builtin_memcpy(tuple.ipv6.saddr, s->pkt.src, 16);
	__builtin_memcpy(tuple.ipv6.daddr, s->pkt.dst, 16);
	tuple.ipv6.sport = bpf_htons(s->pkt.sport);
	tuple.ipv6.dport = bpf_htons(s->pkt.dport);
	return bpf_skc_lookup_tcp(skb, &tuple, sizeof(tuple.ipv6), BPF_F_CURRENT_NETNS, 0);
}

static __always_inline bool acknowledge(struct __sk_buff *skb, const struct sight *s, uint32_t to)
{
	uint32_t l4 = MAC_HEADER + s->pkt.l4, old = bpf_htonl(s->seg.ack), new = bpf_htonl(to);

	return !bpf_l4_csum_replace(skb, l4 + 16, old, new, sizeof(new)) && !bpf_skb_store_bytes(skb, l4 + 8, &new, sizeof(new), 0);
}

/* The client's first segment behind its SYN: the stack builds the connection of it. */
static __always_inline int adopt(struct __sk_buff *skb, const struct sight *s, const struct ftt_bpf_followed *f, struct bpf_sock *listener)
{
	struct bpf_tcp_req_attrs attrs = {.mss = f->mss, .rcv_wscale = f->service_wscale, .snd_wscale = f->client_wscale,
					  .wscale_ok = !!(f->options & FTT_OPT_WSCALE), .sack_ok = !!(f->options & FTT_OPT_SACK_OK),
					  .tstamp_ok = !!(f->options & FTT_OPT_TS), .rcv_tsval = s->seg.tsval, .rcv_tsecr = s->seg.tsecr};
	struct tcp_sock *tcp = s->seg.seq == f->irs + 1 ? bpf_skc_to_tcp_sock(listener) : NULL;
	int error = -1;

	if (tcp && (s->seg.ack == f->iss + 1 || acknowledge(skb, s, f->iss + 1))) /* our ISS is taken from it */
		error = bpf_sk_assign_tcp_reqsk(skb, (struct sock *)tcp, &attrs, sizeof(attrs));
	return error ? FTT_TCX_DROP : FTT_TCX_NEXT;
}

/* The stack is not told of an acknowledgement of what it has not sent: it would refuse the segment (RFC 9293 3.10.7.4). */
static __always_inline int lower(struct __sk_buff *skb, const struct sight *s, struct bpf_sock *sk)
{
	struct bpf_tcp_sock *tcp = bpf_tcp_sock(sk);
	uint32_t sent = s->seg.ack;

	if (tcp)
		sent = *(volatile uint32_t *)&tcp->snd_nxt; /* the verifier wants no address in place of the field */
	if (!(s->seg.flags & TCP_ACK) || seq_leq(s->seg.ack, sent))
		return FTT_TCX_NEXT;
	return acknowledge(skb, s, sent) ? FTT_TCX_NEXT : FTT_TCX_DROP;
}

/* A segment of a connection that has begun, for our stack. */
static __always_inline int deliver(struct __sk_buff *skb, const struct sight *s, const struct ftt_bpf_followed *f)
{
	struct bpf_sock *sk = find(skb, s);
	int verdict;

	if (!sk)
		return FTT_TCX_DROP;
	verdict = sk->state == BPF_TCP_LISTEN ? adopt(skb, s, f, sk) : lower(skb, s, sk);
	bpf_sk_release(sk);
	return verdict;
}

static __always_inline void note_client(struct ftt_bpf_followed *f, const struct ftt_seg *s)
{
	if (s->flags & TCP_ACK && seq_geq(s->ack, f->client_acked)) {
		f->client_acked = s->ack;
		f->client_wnd = s->wnd;
	}
	f->client_tsval = s->tsval;
}

SEC("tc")
int from_peer(struct __sk_buff *skb)
{
	struct sight *s = look_at(skb, true);
	struct ftt_bpf_followed *f;

	if (!s) {
		s = look_at(skb, false);
		if (!s)
			return FTT_TCX_NEXT;
		note_syn_ack(s);
		return FTT_TCX_DROP;
	}
	if (s->seg.flags & TCP_SYN) {
		note_syn(s);
		return FTT_TCX_DROP;
	}
	f = bpf_map_lookup_elem(&followed, &s->key);
	if (!f || !f->answered)
		return FTT_TCX_DROP;
	note_client(f, &s->seg);
	return deliver(skb, s, f);
}

/* Since it speaks: of connections that began before. */
SEC("tc")
int from_clients_here(struct __sk_buff *skb)
{
	struct sight *s = look_at(skb, true);
	struct ftt_bpf_followed *f = s ? bpf_map_lookup_elem(&followed, &s->key) : NULL;

	if (!f || s->seg.flags & TCP_SYN)
		return FTT_TCX_NEXT;
	note_client(f, &s->seg);
	return deliver(skb, s, f);
}

static __always_inline bool store(struct __sk_buff *skb, const struct sight *s)
{
	uint32_t headers = s->pkt.payload;

	return headers >= 40 && headers <= 100 && !bpf_skb_store_bytes(skb, MAC_HEADER, s->headers, headers, 0);
}

/*
 * The headers alone, and the end of what was said in place of its begin: where our stack stands. The device adds the checksum (the kernel leaves that
 * to it for all that TCP sends), of which the length is a part.
 */
static __always_inline bool cut(struct __sk_buff *skb, struct sight *s)
{
	uint32_t l4 = s->pkt.l4, headers = s->pkt.payload, ip = s->pkt.family == 4 ? 20 : 40;
	uint16_t before = bpf_htons((uint16_t)s->pkt.l4_len), after = bpf_htons((uint16_t)(headers - l4));
	uint8_t *p = s->headers, *tcp = p + ftt_at(l4);

	if (headers > FTT_HEADERS_MAX || l4 != ip || bpf_skb_change_tail(skb, MAC_HEADER + headers, 0))
		return false;
	if (s->pkt.family == 4) {
		put_be16(p + 2, (uint16_t)headers);
		put_be16(p + 10, 0);
		put_be16(p + 10, (uint16_t)~csum_fold(csum_add(0, p, 20)));
	} else {
		put_be16(p + 4, (uint16_t)(headers - 40));
	}
	put_be32(tcp + 4, s->seg.seq + s->seg.len);
	return store(skb, s) && !bpf_l4_csum_replace(skb, MAC_HEADER + l4 + 16, before, after, BPF_F_PSEUDO_HDR | sizeof(after));
}

/* What the stack says becomes the acknowledgement that the client has given for it already. Its headers are cut. */
static __always_inline int give_back(struct __sk_buff *skb, struct sight *s, const struct ftt_bpf_followed *f)
{
	uint8_t *p = s->headers, *tcp = p + ftt_at(s->pkt.l4), ends[16];

	if (s->pkt.family == 4) {
		__builtin_memcpy(ends, p + 12, 4);
		__builtin_memcpy(p + 12, p + 16, 4);
		__builtin_memcpy(p + 16, ends, 4);
	} else {
		__builtin_memcpy(ends, p + 8, 16);
		__builtin_memcpy(p + 8, p + 24, 16);
		__builtin_memcpy(p + 24, ends, 16);
	}
	put_be16(tcp, s->pkt.dport);
	put_be16(tcp + 2, s->pkt.sport);
	put_be32(tcp + 4, s->seg.ack);
	put_be32(tcp + 8, ftt_seg_end(&s->seg));
	tcp[13] = TCP_ACK;
	put_be16(tcp + 14, f->client_wnd);
	if (s->pkt.ts_at) {
		put_be32(p + ftt_at(s->pkt.ts_at), f->client_tsval);
		put_be32(p + ftt_at(s->pkt.ts_at) + 4, s->seg.tsval);
	}
	if (bpf_skb_load_bytes(skb, MAC_HEADER + s->pkt.l4 + 16, tcp + 16, 2) || !store(skb, s))
		return ftt_tcx_swallow();
	ftt_bpf_give_mac(skb, follow.own_mac);
	return (int)bpf_redirect(follow.peer, BPF_F_INGRESS);
}

/* What claims the address in ARP (RFC 826), in neighbour discovery (RFC 4861 4.3, 4.4), or by any other packet. */
static __always_inline bool claims(struct __sk_buff *skb)
{
	uint8_t said[24], found[16] = {[10] = 0xff, [11] = 0xff};
	uint32_t at = skb->protocol == bpf_htons(ETH_P_ARP) ? ARP_SENDER : skb->protocol == bpf_htons(ETH_P_IP) ? IP4_SOURCE : 0;

	if (at)
		return !bpf_skb_load_bytes(skb, at, found + 12, 4) && ftt_bpf_is_service(found);
	if (skb->protocol != bpf_htons(ETH_P_IPV6))
		return false;
	if (!bpf_skb_load_bytes(skb, IP6_SOURCE, found, sizeof(found)) && ftt_bpf_is_service(found))
		return true;
	return !bpf_skb_load_bytes(skb, IP6_PAYLOAD, said, sizeof(said)) && said[0] == ND_ADVERTISES && ftt_bpf_is_service(said + 8);
}

SEC("tc")
int from_stack(struct __sk_buff *skb)
{
	uint32_t first = 0, *speaks = bpf_map_lookup_elem(&role, &first);
	struct sight *s = look_at(skb, false);
	bool silent = !speaks || *speaks != FTT_BPF_SPEAKS, back;
	struct ftt_bpf_followed *f;

	if (!s)
		return silent && claims(skb) ? ftt_tcx_swallow() : FTT_TCX_NEXT;
	f = bpf_map_lookup_elem(&followed, &s->key);
	back = f && (s->seg.len || s->seg.flags & TCP_FIN) && seq_leq(ftt_seg_end(&s->seg), f->client_acked);
	if (!silent && !back)
		return FTT_TCX_NEXT;
	if (!f || !cut(skb, s))
		return ftt_tcx_swallow();
	if (silent)
		ftt_bpf_clone_to_peer(skb);
	return back ? give_back(skb, s, f) : ftt_tcx_swallow();
}

char terms[] SEC("license") = "Dual BSD/GPL";
