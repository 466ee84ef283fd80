/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lead.bpf.c - the primary of a pair in the kernel (follow.bpf.c is its backup): the core decides, as in decide.bpf.c.
 *
 * The backup needs no OPEN: its stack builds the connection of the handshake that it sees, with our numbers. Until its first word it
 * has committed nothing, so nothing is acknowledged to the client. Its words are what its stack says: the headers of that come here
 * in place of going to the client, and are a COMMIT. If the client waits for it, the frame becomes our acknowledgement.
 */
#include "bpf/deciding.h"
#include "bpf/pair.h"
#include "core/tcp/say.h"

struct nothing {
	uint8_t zero[sizeof(struct ftt_bpf_flow)];
};

struct { /* what a flow begins as: too large for BPF's stack, and a lock may not be copied */
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, uint32_t);
	__type(value, struct nothing);
} none SEC(".maps");

struct { /* what the backup has said: too large as well */
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, uint32_t);
	__type(value, struct ftt_record);
} records SEC(".maps");

/* What a program is asked about: a segment of the service's, and the flow that it belongs to. */
struct asked {
	struct ftt_bpf_decided *d;
	struct ftt_bpf_flow *f; /* NULL: of none */
	struct ftt_record *r;   /* zeroed */
	struct ftt_env env;
	struct ftt_key key;
};

/* False: the packet is not the service's. */
static __always_inline bool ask(struct __sk_buff *skb, enum ftt_dir dir, struct asked *a)
{
	uint32_t first = 0;
	struct ftt_bpf_node *n = bpf_map_lookup_elem(&node, &first);

	a->d = bpf_map_lookup_elem(&decided, &first);
	a->r = bpf_map_lookup_elem(&records, &first);
	if (!a->d || !a->r || !n || look_at(skb, a->d) != FTT_PARSED_TCP ||
	    !ftt_bpf_is_service(dir == FTT_FROM_CLIENT ? a->d->pkt.dst : a->d->pkt.src))
		return false;
	memset(a->r, 0, sizeof(*a->r));
	a->d->seg.dir = dir;
	a->env = env_of(n, bpf_ktime_get_boot_ns());
	ftt_key_of(&a->key, &a->d->pkt, dir == FTT_FROM_CLIENT);
	a->f = bpf_map_lookup_elem(&flows, &a->key);
	return true;
}

static __always_inline void begin(struct asked *a)
{
	uint32_t first = 0;
	const struct nothing *empty = bpf_map_lookup_elem(&none, &first);

	if (!empty || bpf_map_update_elem(&flows, &a->key, empty, BPF_NOEXIST))
		return;
	a->f = bpf_map_lookup_elem(&flows, &a->key);
	if (!a->f)
		return;
	bpf_spin_lock(&a->f->lock);
	ftt_flow_init(&a->f->flow, a->d->seg.seq, a->env.now_ns);
	bpf_spin_unlock(&a->f->lock);
}

SEC("tc")
int from_clients(struct __sk_buff *skb)
{
	struct asked a;

	if (!ask(skb, FTT_FROM_CLIENT, &a))
		return FTT_TCX_NEXT;
	ftt_bpf_clone_to_peer(skb);
	if (!a.f && (a.d->seg.flags & (TCP_SYN | TCP_ACK)) == TCP_SYN)
		begin(&a);
	if (!a.f)
		return FTT_TCX_NEXT;
	bpf_spin_lock(&a.f->lock);
	a.d->verdict = ftt_unheld_segment(&a.f->flow, &a.d->seg, &a.env, &a.d->edit);
	bpf_spin_unlock(&a.f->lock);
	return a.d->verdict == FTT_PASS && (!a.d->edit.change || write_edit(skb, a.d)) ? FTT_TCX_NEXT : FTT_TCX_DROP;
}

/* It has our numbers, and follows once it sees the handshake: what its OPENED would say. */
static __always_inline void open_unasked(struct asked *a)
{
	struct ftt_flow *f = &a->f->flow;

	a->r->type = FTT_REC_OPENED;
	a->r->rcv_nxt = f->hard.irs + 1;
	a->r->edge = f->peer_edge;
	a->r->snd_nxt = f->local_iss + 1;
	ftt_primary_record(f, a->r, &a->env);
	ftt_flow_holds(f, 0);
}

SEC("tc")
int to_clients(struct __sk_buff *skb)
{
	struct asked a;

	if (!ask(skb, FTT_FROM_SERVER, &a))
		return FTT_TCX_NEXT;
	if (a.d->seg.flags & TCP_SYN)
		ftt_bpf_clone_to_peer(skb);
	if (!a.f)
		return FTT_TCX_NEXT;
	bpf_spin_lock(&a.f->lock);
	a.d->verdict = ftt_unheld_segment(&a.f->flow, &a.d->seg, &a.env, &a.d->edit);
	if (a.f->flow.protection == FTT_OPENING) {
		open_unasked(&a);
		a.d->verdict = FTT_PASS;
		a.d->edit.change = 0;
	}
	bpf_spin_unlock(&a.f->lock);
	return a.d->verdict == FTT_PASS && (!a.d->edit.change || write_edit(skb, a.d)) ? FTT_TCX_NEXT : ftt_tcx_swallow();
}

/* One block of SACK in place of those that the frame has. */
static __always_inline void put_sack(struct ftt_bpf_decided *d, uint32_t left, uint32_t right)
{
	uint32_t at = d->pkt.sack_at;
	uint8_t *length = d->headers + ftt_at(at - 2u);
	uint16_t before = get_be16(length);

	length[1] = 10; /* RFC 2018 3 */
	csum_replace16(sum_of(d), before, get_be16(length));
	for (uint32_t i = 0; i < 2 * FTT_SACK_BLOCKS && i < 2u * d->pkt.sack_blocks; i++)
		ftt_replace32(d->headers, &d->pkt, at + 4 * i, i == 0 ? left : i == 1 ? right : TCPOPT_NOOP * 0x01010101u);
}

/* In place of those that the frame has. */
static __always_inline void put_flags(struct ftt_bpf_decided *d, uint8_t flags)
{
	uint8_t *word = d->headers + ftt_at(d->pkt.l4 + 12u);
	uint16_t before = get_be16(word);

	word[1] = flags;
	csum_replace16(sum_of(d), before, get_be16(word));
}

/* What the client is to be told now; FTT_SAY_PLACE: nothing. */
static __always_inline enum ftt_say word_of(uint32_t actions, const struct ftt_seg *s)
{
	if (actions & FTT_ACT_FIN)
		return s->flags & TCP_FIN ? FTT_SAY_FIN : FTT_SAY_PLACE;
	if (actions & FTT_ACT_NUDGE && s->options & FTT_OPT_SACK)
		return FTT_SAY_NUDGE;
	return actions & FTT_ACT_ACK_CLIENT ? FTT_SAY_ACK : FTT_SAY_PLACE;
}

/* ... as an edit of the frame that has come; false: nothing. */
static __always_inline bool answers(const struct asked *a)
{
	struct ftt_flow *f = &a->f->flow;
	enum ftt_say say = word_of(ftt_primary_record(f, a->r, &a->env) | ftt_unheld_release(f, &a->env), &a->d->seg);
	struct ftt_edit *e = &a->d->edit;
	struct ftt_bare b;

	if (say == FTT_SAY_PLACE || ftt_say_waits(f, &a->env))
		return false;
	ftt_bare_for_client(f, &a->key, a->env.mode, &b);
	if (say == FTT_SAY_FIN)
		b.seq = f->fin_end - 1;
	if (say == FTT_SAY_NUDGE)
		ftt_bare_hole(f, &b);
	e->seq = b.seq;
	e->ack = b.ack;
	e->wnd = b.wnd;
	e->tsval = b.tsval;
	e->tsecr = b.tsecr;
	e->change = FTT_EDIT_SEQ | FTT_EDIT_ACK | FTT_EDIT_WND;
	if (b.sack_left != b.sack_right && a->d->pkt.sack_at)
		put_sack(a->d, b.sack_left, b.sack_right);
	else
		e->change |= FTT_EDIT_NO_SACK;
	if (a->d->pkt.ts_at)
		e->change |= FTT_EDIT_TSVAL | FTT_EDIT_TSECR;
	put_flags(a->d, say == FTT_SAY_FIN ? TCP_FIN | TCP_ACK : TCP_ACK);
	return true;
}

SEC("tc")
int from_peer(struct __sk_buff *skb)
{
	struct asked a;
	uint16_t before;
	bool told;

	if (!ask(skb, FTT_FROM_SERVER, &a))
		return FTT_TCX_NEXT;
	if (!a.f || !(a.d->seg.flags & TCP_ACK))
		return FTT_TCX_DROP;
	a.r->type = FTT_REC_COMMIT;
	a.r->rcv_nxt = a.d->seg.ack;
	a.r->snd_nxt = ftt_seg_end(&a.d->seg);
	a.r->flags = (a.d->seg.flags & TCP_FIN ? FTT_REC_FIN : 0) | (a.d->seg.flags & TCP_RST ? FTT_REC_RST : 0);
	if (a.d->seg.options & FTT_OPT_SACK && a.d->seg.sack_left != a.d->seg.ack) {
		a.r->flags |= FTT_REC_HOLE;
		a.r->hole_end = a.d->seg.sack_left;
	}
	memset(&a.d->edit, 0, sizeof(a.d->edit));
	before = get_be16(sum_of(a.d));
	bpf_spin_lock(&a.f->lock);
	a.r->edge = a.d->seg.ack + ((uint32_t)a.d->seg.wnd << a.f->flow.hard.service_wscale);
	told = answers(&a);
	bpf_spin_unlock(&a.f->lock);
	if (!told)
		return FTT_TCX_DROP;
	ftt_apply(a.d->headers, &a.d->pkt, &a.d->edit, true);
	if (!write_headers(skb, a.d, before))
		return FTT_TCX_DROP;
	return (int)bpf_redirect_neigh(follow.clients, NULL, 0, 0);
}

char terms[] SEC("license") = "Dual BSD/GPL";
