/* SPDX-License-Identifier: Apache-2.0 */
/* model_stack.c - the model of a kernel's TCP; see model.h. */
#include <stdlib.h>
#include <string.h>
#include "model.h"
#include "packet.h"

static const uint8_t sack_room = 3; /* blocks beside timestamps (RFC 2018 3) */

static uint32_t now_ts(const struct stack *s)
{
	return s->ts_offset + (uint32_t)(model_now / MS);
}

static uint8_t *put_block(uint8_t *o, uint32_t from, uint32_t to)
{
	put_be32(o, from);
	put_be32(o + 4, to);
	return o + 8;
}

/* What was received beyond rcv_nxt, as SACK blocks; returns the options' length. */
static uint32_t put_sack(const struct stack *s, uint8_t *o)
{
	uint8_t *at = o + 4, blocks = 0;

	for (uint64_t i = s->rcv_nxt; i < MODEL_STREAM_MAX && i < s->rcv_edge && blocks < sack_room; i++) {
		uint64_t from = i;

		while (i < MODEL_STREAM_MAX && s->got[i])
			i++;
		if (i == from)
			continue;
		at = put_block(at, s->irs + (uint32_t)from, s->irs + (uint32_t)i);
		blocks++;
	}
	if (!blocks)
		return 0;
	o[0] = o[1] = 1;
	o[2] = 5;
	o[3] = (uint8_t)(2 + 8 * blocks);
	return (uint32_t)(at - o);
}

/* The window as Linux chooses it: in whole units, never less than was promised (tcp_select_window). */
static uint16_t window(struct stack *s, bool syn)
{
	uint64_t used = stack_received(s) - s->read, unit = 1ull << s->wscale;
	uint64_t wnd = (used < s->rcvbuf ? s->rcvbuf - used : 0) / unit * unit, promised = s->rcv_edge - s->rcv_nxt;

	if (syn)
		wnd = wnd > 0xffff ? 0xffff : wnd;
	else if (s->rcv_edge > s->rcv_nxt && wnd < promised)
		wnd = (promised + unit - 1) / unit * unit;
	if (!syn && wnd >> s->wscale > 0xffff)
		wnd = 0xffffull << s->wscale;
	if (s->rcv_nxt + wnd > s->rcv_edge)
		s->rcv_edge = s->rcv_nxt + wnd;
	return (uint16_t)(syn ? wnd : wnd >> s->wscale);
}

static void transmit(struct stack *s, uint64_t from, uint32_t len, uint8_t flags)
{
	uint8_t options[40] = {0}, payload[MODEL_BURST_MAX * MODEL_MSS];
	struct packet_spec p = {.family = s->family, .sport = s->port, .dport = s->peer_port,
				.seq = s->iss + (uint32_t)from, .flags = flags, .options = options,
				.payload = payload, .payload_len = len};
	struct packet built;
	uint32_t swap;

	if (flags & TCP_ACK)
		p.ack = s->irs + (uint32_t)s->rcv_nxt;
	p.wnd = window(s, flags & TCP_SYN);
	options[0] = options[1] = 1;
	options[2] = 8;
	options[3] = 10;
	put_be32(options + 4, now_ts(s));
	put_be32(options + 8, s->ts_recent);
	p.options_len = 12;
	if (flags & TCP_SYN) {
		memcpy(options + 12, (uint8_t[]){2, 4, 0, MODEL_MSS, 1, 3, 3, s->wscale, 4, 2, 1, 1}, 12);
		p.options_len = s->sack ? 24 : 20;
	} else if (s->sack) {
		p.options_len += put_sack(s, options + 12);
	}
	for (uint32_t i = 0; i < len; i++)
		payload[i] = model_byte(s, (uint32_t)from - 1 + i);
	built = packet_tcp(&p);
	if (!s->client) { /* the packet's builder makes them from the client */
		uint32_t at = s->family == 4 ? 12 : 8, n = s->family == 4 ? 4 : 16;

		for (uint32_t i = 0; i < n; i++) {
			swap = built.bytes[at + i];
			built.bytes[at + i] = built.bytes[at + n + i];
			built.bytes[at + n + i] = (uint8_t)swap;
		}
	}
	if (from + len + !!(flags & (TCP_SYN | TCP_FIN)) > s->snd_max)
		s->snd_max = from + len + !!(flags & (TCP_SYN | TCP_FIN));
	s->send(s, wire_new(built.bytes, built.len));
}

static void ack_now(struct stack *s)
{
	transmit(s, s->snd_max, 0, TCP_ACK);
}

static uint64_t end_of_stream(const struct stack *s)
{
	return 1 + s->written + s->fin_written;
}

static void arm(struct stack *s)
{
	bool waits = s->snd_una < s->snd_max || s->snd_una < end_of_stream(s);

	s->rto_at = waits ? model_now + s->rto : 0;
}

/* Sends what window, cwnd and data allow, from snd_nxt on. */
static void push(struct stack *s)
{
	uint64_t limit = s->snd_una + (uint64_t)s->cwnd * MODEL_MSS;

	if (s->state != STACK_OPEN)
		return;
	while (s->snd_nxt < end_of_stream(s)) {
		uint64_t data_end = 1 + s->written, end = s->snd_nxt + s->burst * MODEL_MSS;
		uint8_t flags = TCP_ACK;

		end = end > data_end ? data_end : end;
		end = end > s->snd_edge ? s->snd_edge : end;
		end = end > limit ? limit : end;
		if (end < s->snd_nxt || (end == s->snd_nxt && end < data_end))
			break;
		if (end == data_end && s->fin_written && s->snd_edge >= end)
			flags |= TCP_FIN;
		if (end == s->snd_nxt && !(flags & TCP_FIN))
			break;
		transmit(s, s->snd_nxt, (uint32_t)(end - s->snd_nxt), flags);
		s->snd_nxt = end + !!(flags & TCP_FIN);
	}
	if (!s->rto_at)
		arm(s);
}

void stack_init(struct stack *s, bool client, uint8_t family)
{
	memset(s, 0, sizeof(*s));
	s->client = client;
	s->family = family;
	s->iss = model_random(4) ? model_random(0xffffffff) : 0u - model_random(MODEL_STREAM_MAX);
	s->ts_offset = model_random(4) ? model_random(0xffffffff) : 0x80000000u - model_random(2000);
	s->wscale = (uint8_t)model_random(9);
	s->sack = !client || model_random(4);
	s->rcvbuf = 500 + model_random(8000);
	s->burst = 1;
	s->cwnd_max = 4 + model_random(60);
	s->cwnd = s->cwnd_max < 10 ? s->cwnd_max : 10;
	s->rto = s->rto_min = 200 * MS;
	s->port = client ? 40000 : 80;
	s->peer_port = client ? 80 : 40000;
}

void stack_connect(struct stack *s)
{
	s->state = STACK_SYN_SENT;
	transmit(s, 0, 0, TCP_SYN);
	s->snd_nxt = 1;
	arm(s);
}

/* --- receiving ----------------------------------------------------------------------------------- */

static void reset_answer(struct stack *s, const struct ftt_seg *g)
{
	uint32_t iss = s->iss, ts_recent = s->ts_recent;
	uint64_t edge = s->rcv_edge;

	if (g->flags & TCP_RST)
		return;
	s->iss = g->flags & TCP_ACK ? g->ack : 0; /* RFC 9293 3.10.7.1 */
	s->irs = 0;
	s->rcv_nxt = ftt_seg_end(g);
	s->ts_recent = g->tsval;
	transmit(s, 0, 0, g->flags & TCP_ACK ? TCP_RST : TCP_RST | TCP_ACK);
	s->iss = iss;
	s->rcv_nxt = 0;
	s->rcv_edge = edge;
	s->ts_recent = ts_recent;
}

/* As a host answers what belongs to no connection. */
static void answer_for(struct stack *s, const struct ftt_pkt *k, const struct ftt_seg *g)
{
	struct stack nobody = *s;

	nobody.port = k->dport;
	nobody.peer_port = k->sport;
	reset_answer(&nobody, g);
}

static void learn_syn(struct stack *s, const struct ftt_seg *g)
{
	s->irs = g->seq;
	s->rcv_nxt = 1;
	s->ts_recent = g->tsval;
	s->peer_wscale = g->wscale;
	s->sack = s->sack && g->options & FTT_OPT_SACK_OK;
	s->snd_edge = 1 + g->wnd;
}

static void receive_syn(struct stack *s, const struct ftt_seg *g)
{
	if (s->state == STACK_LISTEN && (g->flags & (TCP_SYN | TCP_ACK | TCP_RST)) == TCP_SYN) {
		learn_syn(s, g);
		s->state = STACK_SYN_RCVD;
		transmit(s, 0, 0, TCP_SYN | TCP_ACK);
		s->snd_nxt = 1;
		arm(s);
	} else if (s->state == STACK_SYN_RCVD && g->seq == s->irs) {
		transmit(s, 0, 0, TCP_SYN | TCP_ACK);
	} else if (s->state == STACK_SYN_SENT && (g->flags & (TCP_SYN | TCP_ACK)) == (TCP_SYN | TCP_ACK)) {
		if (g->ack != s->iss + 1)
			return;
		MODEL_CHECK(seq_leq(g->tsecr, now_ts(s)), "an answer echoes a time to come");
		learn_syn(s, g);
		s->state = STACK_OPEN;
		s->snd_una = 1;
		arm(s);
		ack_now(s);
	} else if (s->state == STACK_SYN_SENT) { /* RFC 9293 3.10.7.3 */
		if ((g->flags & (TCP_RST | TCP_ACK)) == (TCP_RST | TCP_ACK) && g->ack == s->iss + 1)
			s->state = STACK_RESET;
	} else if (s->state == STACK_OPEN) {
		ack_now(s);
	} else if (s->state == STACK_LISTEN || s->state == STACK_RESET) {
		reset_answer(s, g);
	}
}

/* Whatever space it was said in, a block tells what the peer has, and nothing that it has not. */
static void check_sack(const struct stack *s, const uint8_t *edges, uint32_t blocks)
{
	for (uint32_t i = 0; s->peer && i < blocks; i++) {
		uint32_t from = get_be32(edges + 8 * i) - s->iss, to = get_be32(edges + 8 * i + 4) - s->iss;

		MODEL_CHECK(from < to && to <= MODEL_STREAM_MAX + 2, "SACK block %u to %u", from, to);
		for (uint32_t at = from; at < to; at++)
			MODEL_CHECK(at < s->peer->rcv_nxt || s->peer->got[at], "SACK of byte %u, which is not there", at);
	}
}

/* SACK, or three duplicates without it, tell of a loss: the first segment is sent again, once. */
static void duplicate(struct stack *s, const struct ftt_seg *g)
{
	uint64_t data_end = 1 + s->written, end = s->snd_una + MODEL_MSS;
	uint32_t enough = g->options & FTT_OPT_SACK ? 1 : 3;

	if (g->len || g->flags & TCP_FIN || s->snd_una == s->snd_max || s->snd_una >= data_end || ++s->duplicates != enough)
		return;
	end = end > data_end ? data_end : end;
	end = end > s->snd_max ? s->snd_max : end;
	s->fast_retransmits++;
	transmit(s, s->snd_una, (uint32_t)(end - s->snd_una), TCP_ACK);
}

/* False: the segment acknowledges what was not sent, and is thrown away. */
static bool take_ack(struct stack *s, const struct ftt_seg *g)
{
	uint64_t ack = s->snd_una + (uint64_t)(int64_t)(int32_t)(g->ack - (s->iss + (uint32_t)s->snd_una));

	if ((int64_t)ack > (int64_t)s->snd_max) {
		s->discarded_unsent++;
		return false;
	}
	if ((int64_t)ack < (int64_t)s->snd_una)
		return true;
	if (ack + ((uint64_t)g->wnd << s->peer_wscale) > s->snd_edge || ack > s->snd_una)
		s->snd_edge = ack + ((uint64_t)g->wnd << s->peer_wscale);
	if (ack == s->snd_una)
		duplicate(s, g);
	if (ack > s->snd_una) {
		s->snd_una = ack;
		s->duplicates = 0;
		s->snd_nxt = s->snd_nxt < ack ? ack : s->snd_nxt;
		s->cwnd += s->cwnd < s->cwnd_max;
		s->rto = s->rto_min;
		arm(s);
	}
	return true;
}

static void take_data(struct stack *s, const struct ftt_seg *g, const uint8_t *payload, uint64_t from)
{
	if (g->flags & TCP_FIN)
		s->fin_at = (uint32_t)(from + g->len);
	for (uint32_t i = 0; i < g->len; i++) {
		uint64_t at = from + i;

		if ((int64_t)at < (int64_t)s->rcv_nxt || at >= s->rcv_edge)
			continue;
		MODEL_CHECK(at <= MODEL_STREAM_MAX, "%s got a byte at %llu", s->client ? "client" : "server",
			    (unsigned long long)at);
		if (s->got[at])
			continue; /* a copy: it is not looked at again */
		MODEL_CHECK(model_is_right(s, (uint32_t)at - 1, payload[i]), "wrong byte at %llu for the %s",
			    (unsigned long long)at, s->client ? "client" : "server");
		s->got[at] = true;
	}
	while (s->rcv_nxt <= MODEL_STREAM_MAX && s->got[s->rcv_nxt])
		s->rcv_nxt++;
	if (s->fin_at && s->rcv_nxt == s->fin_at && !s->got_fin) {
		s->got_fin = true;
		s->rcv_nxt++;
	}
	ack_now(s);
}

static bool acceptable(struct stack *s, const struct ftt_seg *g, uint64_t from)
{
	uint64_t end = from + g->len + !!(g->flags & TCP_FIN);

	if (g->options & FTT_OPT_TS && (int32_t)(g->tsval - s->ts_recent) < 0)
		return false; /* PAWS */
	if ((int64_t)(from + g->len) > (int64_t)s->rcv_edge && stack_received(s) > s->read)
		return false; /* since Linux 6.17, of what ends beyond the window nothing is taken (tcp_sequence) */
	return (int64_t)end >= (int64_t)s->rcv_nxt && (int64_t)from <= (int64_t)s->rcv_edge;
}

void stack_receive(struct stack *s, const struct wire *w)
{
	struct ftt_pkt k;
	struct ftt_seg g;
	uint64_t from;

	MODEL_CHECK(ftt_parse(w->bytes, w->len, w->len, &k, &g) == FTT_PARSED_TCP, "%u bytes", w->len);
	MODEL_CHECK(packet_l4_sum(w->bytes, k.l4, w->len, 6) == 0xffff, "checksum towards the %s",
		    s->client ? "client" : "server");
	if (s->minds_ports && (k.sport != s->peer_port || k.dport != s->port)) {
		answer_for(s, &k, &g);
		return;
	}
	if (g.flags & TCP_SYN || s->state == STACK_LISTEN || s->state == STACK_RESET || s->state == STACK_SYN_SENT) {
		receive_syn(s, &g);
		return;
	}
	if (s->state == STACK_SYN_RCVD) {
		if (g.flags & TCP_ACK && g.ack != s->iss + 1) {
			s->discarded_unsent++;
			return;
		}
		if (g.options & FTT_OPT_TS)
			MODEL_CHECK(seq_leq(g.tsecr, now_ts(s)), "handshake echoes a time to come");
		s->state = STACK_OPEN;
	}
	from = s->rcv_nxt + (uint64_t)(int64_t)(int32_t)(g.seq - (s->irs + (uint32_t)s->rcv_nxt));
	if (g.flags & TCP_RST) {
		if (from == s->rcv_nxt) {
			s->state = STACK_RESET;
			if (s->over)
				s->over(s);
		}
		return;
	}
	if (!acceptable(s, &g, from)) {
		ack_now(s);
		return;
	}
	check_sack(s, w->bytes + k.sack_at, k.sack_blocks);
	if (!(g.flags & TCP_ACK) || !take_ack(s, &g))
		return;
	if (g.options & FTT_OPT_TS && (int64_t)from <= (int64_t)s->rcv_nxt)
		s->ts_recent = g.tsval;
	if (g.len || g.flags & TCP_FIN)
		take_data(s, &g, w->bytes + k.payload, from);
	else if (from < s->rcv_nxt)
		ack_now(s); /* old, e.g. a window probe: tell where we are */
	push(s);
}

/* --- the application, and time -------------------------------------------------------------------- */

void stack_write(struct stack *s, uint64_t upto, bool fin)
{
	if (s->state != STACK_OPEN || s->fin_written)
		return;
	s->written = upto > s->written ? upto : s->written;
	s->fin_written = fin;
	push(s);
}

void stack_read(struct stack *s, uint64_t upto)
{
	uint64_t room;

	s->read = upto > s->read ? upto : s->read;
	room = s->rcvbuf - (stack_received(s) - s->read);
	if (s->state == STACK_OPEN && s->rcv_nxt + room >= s->rcv_edge + 2 * MODEL_MSS + (1u << s->wscale))
		ack_now(s);
}

void stack_tick(struct stack *s)
{
	if (!s->rto_at || model_now < s->rto_at || s->state == STACK_RESET || s->state == STACK_LISTEN)
		return;
	s->rto = s->rto * 2 > 3000 * MS ? 3000 * MS : s->rto * 2;
	s->rto_at = model_now + s->rto;
	if (s->state == STACK_SYN_SENT) {
		transmit(s, 0, 0, TCP_SYN);
		return;
	}
	if (s->state == STACK_SYN_RCVD) {
		transmit(s, 0, 0, TCP_SYN | TCP_ACK);
		return;
	}
	if (s->snd_una == s->snd_max || s->snd_edge <= s->snd_una) { /* the window is shut: probe it */
		if (s->snd_una < end_of_stream(s))
			transmit(s, s->snd_una - 1, 0, TCP_ACK);
		if (s->snd_edge <= s->snd_una)
			return;
	}
	s->cwnd = 1;
	s->snd_nxt = s->snd_una;
	push(s);
}

void stack_keep_alive(struct stack *s)
{
	if (s->state == STACK_OPEN)
		transmit(s, s->snd_una - 1, 0, TCP_ACK);
}
