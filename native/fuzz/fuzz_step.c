/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One connection on both nodes, driven by a byte string: any client, any order of segments, records,
 * ticks and changes of role, but stacks that keep to TCP. After each step:
 *
 *   - a backup lets nothing out; a primary in step lets nothing out that acknowledges what the
 *     backup's stack does not have, and nothing at all while it asks the backup to let go (I2, I3)
 *   - a stack that may be behind is never told of bytes that it has not sent, and what is
 *     injected lies within its window
 *   - the client is never believed to have more than one of both stacks has sent (RFC 5961 5.2), a primary's own
 *     if it shook hands; nothing is learnt from what a kernel refuses
 *   - service space -> local space -> service space is the identity
 *   - the right edge shown to the client never moves back, and its time never runs back
 *
 * Everything is in offsets: `in` counts the client's bytes, `out` the server's, from the SYNs on.
 */
#include <string.h>
#include "step_must.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* --- what the engine does with decisions ------------------------------------------------------------------ */

static void act(struct side *s, uint32_t actions);

/* The node that a side is. */
static const struct ftt_env *node(const struct side *s)
{
	static const struct ftt_policy policy = {.detach_after_ns = 2000000000, .end_grace_ns = 200000000, .open_timeout_ns = 500000000, .opens_wait_ns = 2000000000};
	static struct ftt_env env;

	env = (struct ftt_env){.now_ns = w.now, .policy = &policy, .mode = s->mode, .lease = true, .vouched = s->vouched, .watched = true};
	return &env;
}

static void fly(struct side *s, uint8_t type)
{
	const struct ftt_flow *f = &s->flow;
	struct ftt_record r = {.type = type, .irs = f->hard.irs, .service_iss = f->hard.service_iss,
			       .wscale = f->hard.service_wscale, .tsval = f->local_tsval - f->hard.ts_delta,
			       .rcv_nxt = f->local_rcv_nxt, .edge = f->local_edge, .snd_nxt = f->local_snd_nxt};

	if (type == FTT_REC_DISCARD) {
		r.seq = s->refused.seq;
		r.ack = s->refused.ack;
		r.tsval = s->refused.options & FTT_OPT_TS ? s->refused.tsval : 0;
	}
	r.hole_end = f->local_rcv_nxt + 100;
	if (type == FTT_REC_COMMIT)
		r.flags = (s->sent & 1 ? FTT_REC_HOLE : 0) | (f->bits & FTT_F_LOCAL_FIN ? FTT_REC_FIN : 0) |
			  (f->bits & FTT_F_LOCAL_RST ? FTT_REC_RST : 0);
	else if (type == FTT_REC_OPEN)
		ftt_open_tell(&s->flow, &r, node(s));
	else if (type == FTT_REC_PROBE)
		ftt_flow_tell(f, &r);
	r.client_acked = f->client_acked;
	r.client_wnd = f->client_wnd;
	if (s->n_flying < FLYING_MAX)
		s->flying[s->n_flying++] = r;
}

static void release(struct side *s)
{
	while (s->n_held) {
		struct ftt_edit e = {0};
		struct ftt_places after = ftt_segment_after(&s->flow, &s->held[0], node(s));
		enum ftt_verdict v;

		v = ftt_gate(&s->flow, &s->held[0], &after, node(s), &e);
		if (v == FTT_HOLD)
			break;
		if (v == FTT_PASS)
			shown_to_client(s, &s->held[0], &e);
		memmove(s->held, s->held + 1, --s->n_held * sizeof(s->held[0]));
		act(s, e.actions & ~(uint32_t)FTT_ACT_RELEASE);
	}
	s->flow.held_since_ns = s->n_held ? w.now : 0;
}

/* A segment of our own for the client: what it acknowledges and selects is there. */
static void own_segment(struct side *s, const struct ftt_bare *b)
{
	struct ftt_seg g = {.flags = b->flags, .seq = b->seq + s->flow.hard.delta, .ack = b->ack, .wnd = b->wnd};

	MUST(s->flow.protection == FTT_PROTECTED || s->mode == FTT_MODE_SOLO || s->taken || b->flags & TCP_FIN);
	MUST((b->flags & ~TCP_FIN) == TCP_ACK && seq_leq(b->ack - w.irs, s->has));
	if (b->flags & TCP_FIN)
		MUST(s->flow.bits & FTT_F_LOCAL_FIN && b->seq + 1 == s->flow.fin_end && end_is_free(s));
	if (b->sack_left != b->sack_right)
		MUST(seq_gt(b->sack_left, b->ack) && seq_gt(b->sack_right, b->sack_left) && seq_leq(b->sack_right - w.irs, s->has));
	shown_to_client(s, &g, &(struct ftt_edit){.change = FTT_EDIT_SEQ, .seq = b->seq});
}

static void say(struct side *s, enum ftt_say what)
{
	struct ftt_key k = key();
	struct ftt_bare b;

	if (!ftt_flow_says(&s->flow, &k, what, node(s), &b))
		own_segment(s, &b);
}

static void act(struct side *s, uint32_t actions)
{
	static const struct { uint32_t action; uint8_t record; } sends[] = {
		{FTT_ACT_OPEN, FTT_REC_OPEN}, {FTT_ACT_OPENED, FTT_REC_OPENED}, {FTT_ACT_REFUSED, FTT_REC_REFUSED},
		{FTT_ACT_DISCARD, FTT_REC_DISCARD}, {FTT_ACT_PROBE, FTT_REC_PROBE}, {FTT_ACT_DETACH, FTT_REC_DETACH}};
	struct ftt_key k = key();
	struct ftt_bare b;

	if (s->mode == FTT_MODE_PAIRED)
		actions |= ftt_flow_part(&s->flow, node(s));
	for (size_t i = 0; i < sizeof(sends) / sizeof(*sends); i++)
		if (actions & sends[i].action)
			fly(s, sends[i].record);
	if (actions & (FTT_ACT_COMMIT | FTT_ACT_COMMIT_LATER))
		fly(s, s->mode == FTT_MODE_BACKUP ? FTT_REC_COMMIT : FTT_REC_OUTPUT);
	if (actions & FTT_ACT_INJECT) {
		uint32_t ack = ftt_deliverable(&s->flow, s->mode);

		s->flow.delivered_ack = ack;
		ftt_bare_for_stack(&s->flow, &k, ack, &b);
		told_to_stack(s, b.ack, true);
		/* where the stack stands, or at the end of the window that it is known to have shown */
		MUST(seq_geq(b.seq - w.irs, seq_min(s->has, s->flow.local_edge - w.irs)) && seq_leq(b.seq - w.irs, seq_max(s->edge, s->has)));
	}
	MUST(!(actions & FTT_ACT_ASK_CLIENT) || s->taken);
	MUST(!(actions & FTT_ACT_NUDGE) || s->mode == FTT_MODE_PAIRED);
	if (actions & FTT_ACT_ACK_CLIENT)
		say(s, FTT_SAY_ACK);
	if (actions & FTT_ACT_ASK_CLIENT)
		say(s, FTT_SAY_ASK);
	if (actions & FTT_ACT_NUDGE)
		say(s, FTT_SAY_NUDGE);
	if (actions & FTT_ACT_FIN)
		say(s, FTT_SAY_FIN);
	if (actions & FTT_ACT_LET_GO) /* nothing of it reaches the stack any more, nothing of the stack the client */
		s->alive = false;
	if (actions & FTT_ACT_RELEASE)
		release(s);
}

/* --- steps ----------------------------------------------------------------------------------------------- */

static enum ftt_verdict step(struct side *s, struct ftt_seg *g, struct ftt_edit *e)
{
	uint32_t irs = s->flow.hard.irs;
	enum ftt_verdict v;

	v = ftt_segment_step(&s->flow, g, node(s), e);
	MUST(s->flow.hard.irs == irs); /* one connection only */
	if (v == FTT_HOLD && g->dir == FTT_FROM_CLIENT) { /* lost to the stack here: it has to come again */
		MUST(s->mode == FTT_MODE_BACKUP && (g->len || g->flags & TCP_FIN));
		MUST(seq_gt(g->ack, s->flow.local_snd_nxt) || seq_gt(g->ack, s->flow.peer_snd_nxt));
	}
	MUST(v != FTT_HOLD || g->dir == FTT_FROM_CLIENT || s->mode == FTT_MODE_PAIRED || s->n_held);
	return v;
}

static void deliver(struct side *s, struct ftt_seg g)
{
	bool clamp = s->mode == FTT_MODE_BACKUP || s->taken;
	uint32_t end = g.seq + g.len - w.irs;
	uint32_t acked = s->flow.client_acked;
	bool mapped = s->flow.bits & FTT_F_MAPPED, taken;
	enum ftt_verdict v;
	struct ftt_place at;
	struct ftt_edit e;

	if (!s->alive)
		return;
	s->refused = g;
	at = ftt_flow_place(&s->flow, w.now - s->flow.last_ns);
	taken = !mapped || ftt_judge(&at, &g) == FTT_TAKEN; /* the stack is where it said that it is */
	v = step(s, &g, &e);
	if (mapped && s->flow.client_acked != acked) /* after a takeover a client that insists is believed */
		MUST(v != FTT_DROP && (s->taken || seq_leq(g.ack - s->flow.hard.service_iss, seq_max(w.p.sent, w.b.sent))));
	if (v != FTT_PASS) {
		act(s, e.actions);
		return;
	}
	MUST(!(e.change & (FTT_EDIT_SEQ | FTT_EDIT_TSVAL | FTT_EDIT_FIN)));
	if (e.change & FTT_EDIT_WND) { /* the acknowledgement is lowered, the client's edge stays, or shrinks by what the field cannot say */
		uint64_t lowered = (uint32_t)(g.ack - ((e.change & FTT_EDIT_ACK ? e.ack : g.ack) - s->flow.hard.delta));

		MUST(clamp && e.wnd > g.wnd);
		MUST((uint64_t)e.wnd << s->flow.hard.client_wscale <= ((uint64_t)g.wnd << s->flow.hard.client_wscale) + lowered);
	}
	if (g.flags & TCP_ACK && s->flow.bits & FTT_F_MAPPED) {
		uint32_t ack = e.change & FTT_EDIT_ACK ? e.ack : g.ack;

		told_to_stack(s, ack, clamp && !(g.flags & (TCP_RST | TCP_SYN)));
		if (!clamp && !s->flow.hard.delta)
			MUST(ack == g.ack);
		if (g.options & FTT_OPT_SACK)
			MUST((e.change & FTT_EDIT_SACK ? e.sack_add : 0) == s->flow.hard.delta);
	}
	if (s->synack && taken && !(g.flags & (TCP_SYN | TCP_RST)) && seq_leq(g.seq - w.irs, s->has) && seq_gt(end, s->has) &&
	    seq_leq(end, s->edge))
		s->has = end;
	act(s, e.actions);
}

static void client_sends(bool mirror_only)
{
	uint32_t kind = byte();
	struct side *s = w.p.alive && !mirror_only ? &w.p : &w.b;
	uint32_t base = w.p.alive ? w.p.sent : w.b.sent;
	struct ftt_seg g = {.dir = FTT_FROM_CLIENT, .flags = TCP_ACK, .wnd = (uint16_t)near(500)};

	g.seq = w.irs + near(s->has);
	g.ack = w.iss + near(base);
	g.len = byte() * (1 + kind % 5);
	g.options = FTT_OPT_TS | (kind & 1 ? FTT_OPT_SACK : 0);
	g.tsval = w.client_ts + byte();
	g.tsecr = w.shown_ts - byte() % 64;
	if (kind > 250)
		g.tsecr = word();
	w.plain_echo = w.plain_echo && kind <= 250;
	if (kind > 240)
		g.flags = kind & 2 ? TCP_RST : TCP_ACK | TCP_FIN;
	if (kind < 10 || !w.established) { /* an open connection needs a SYN-ACK that was shown */
		g.flags = TCP_SYN;
		g.seq = w.irs;
		g.len = 0;
		g.mss = 1460;
	}
	if (!mirror_only && !(kind & 4) && w.p.alive)
		deliver(&w.b, g);
	deliver(s, g);
}

/* The stack says something; numbers as a stack would choose them. */
static void stack_sends(struct side *s)
{
	uint32_t kind = byte(), back = byte() * 2, from, unit = 1u << s->wscale, room = byte() * 16, want;
	struct ftt_seg g = {.dir = FTT_FROM_SERVER, .flags = TCP_ACK, .options = FTT_OPT_TS};
	struct ftt_edit e;
	enum ftt_verdict v;

	if (!s->alive || (!s->synack && kind >= 128))
		return;
	from = kind & 1 && s->sent > back ? s->sent - back : s->sent;
	s->ts += kind & 7;
	g.len = kind & 8 ? byte() * 4 : 0;
	g.whole = !(kind & 4);
	if (!s->spoke && (!s->synack || (kind & 0xf0) == 0x70)) {
		s->syn_wnd = s->synack ? s->syn_wnd : (uint16_t)room;
		s->synack = true;
		s->sent = s->sent ? s->sent : 1;
		g.flags |= TCP_SYN;
		g.options |= FTT_OPT_WSCALE | FTT_OPT_SACK_OK;
		g.wscale = s->wscale;
		g.len = from = 0;
	} else if ((kind & 0xf0) == 0x80) {
		g.flags |= kind & 2 ? TCP_FIN : TCP_RST;
		from = g.flags & TCP_RST ? s->sent : from;
	}
	s->spoke = s->spoke || !(g.flags & TCP_SYN);
	g.seq = s->iss + from;
	g.ack = w.irs + (g.flags & TCP_SYN ? 1 : s->has);
	g.tsval = s->ts;
	want = s->has + room / unit * unit;
	if (g.flags & TCP_SYN)
		g.wnd = s->syn_wnd;
	else /* as Linux: whole units, and no less than was promised */
		g.wnd = (uint16_t)((seq_max(want, s->edge) - s->has + unit - 1) >> s->wscale);
	s->edge = seq_max(s->edge, g.ack - w.irs + ((uint32_t)g.wnd << (g.flags & TCP_SYN ? 0 : s->wscale)));
	s->sent = seq_max(s->sent, ftt_seg_end(&g) - s->iss);
	v = step(s, &g, &e);
	MUST(s->mode != FTT_MODE_BACKUP || v == FTT_DROP);
	if (v == FTT_PASS)
		shown_to_client(s, &g, &e);
	else if (v == FTT_HOLD && s->n_held < HELD_MAX)
		s->held[s->n_held++] = g;
	s->flow.held_since_ns = s->n_held ? (s->flow.held_since_ns ? s->flow.held_since_ns : w.now) : 0;
	act(s, e.actions);
}

static void backup_record(struct side *s, const struct ftt_record *r)
{
	switch (r->type) {
	case FTT_REC_OPEN:
		act(s, ftt_backup_open(&s->flow, r, node(s)));
		break;
	case FTT_REC_OUTPUT:
		if (s->flow.bits & FTT_F_MAPPED)
			act(s, ftt_backup_output(&s->flow, r));
		break;
	case FTT_REC_DISCARD:
		act(s, ftt_backup_discard(&s->flow, r));
		break;
	case FTT_REC_PROBE: { /* all is retained */
		const struct ftt_flow *f = &s->flow;
		uint32_t kept = f->local_snd_nxt - !!(f->bits & FTT_F_LOCAL_FIN) - f->client_acked;

		if (f->bits & FTT_F_MAPPED)
			act(s, ftt_backup_probe(&s->flow, r, &(struct ftt_retained){.seq = f->client_acked, .n = kept < 1u << 30 ? kept : 0}));
		else
			fly(s, FTT_REC_DETACHED);
		break;
	}
	case FTT_REC_DETACH:
		fly(s, FTT_REC_DETACHED);
		s->alive = false; /* it forgets the flow, for good */
		break;
	default:
		break;
	}
}

static void record_arrives(struct side *to)
{
	struct side *from = other(to);
	struct ftt_record r;
	uint32_t i = byte(), at;

	if (!from->n_flying)
		return;
	at = i % from->n_flying;
	r = from->flying[at];
	from->flying[at] = from->flying[--from->n_flying];
	if (i & 128) /* lost */
		return;
	if (to->alive && to->mode == FTT_MODE_BACKUP)
		backup_record(to, &r);
	else if (to->alive && to->mode == FTT_MODE_PAIRED)
		act(to, ftt_primary_record(&to->flow, &r, node(to)));
}

static void role_changes(void)
{
	uint32_t how = byte();

	if (how & 1 && w.p.alive && w.b.alive && w.b.mode == FTT_MODE_BACKUP) {
		bool kept = w.b.flow.protection == FTT_PROTECTED;

		w.p.alive = false;
		w.b.mode = FTT_MODE_SOLO;
		w.b.taken = w.b.synack; /* else the handshake is its own */
		w.edge_known = false; /* the dead primary's promises were its own kernel's, too */
		act(&w.b, ftt_flow_takeover(&w.b.flow, node(&w.b)));
		w.b.alive = !(w.b.flow.bits & FTT_F_LOCAL_RST); /* else its stack has no such connection, and the client is reset */
		MUST(!kept || w.b.flow.hard.service_iss == w.iss);
	} else if (how & 2 && w.p.alive && w.p.mode == FTT_MODE_PAIRED) {
		w.p.mode = FTT_MODE_SOLO;
		w.b.alive = false;
		act(&w.p, ftt_flow_solo(&w.p.flow));
		release(&w.p);
		MUST(!w.p.n_held);
	} else if (how & 4 && w.p.alive && w.p.flow.protection == FTT_PROTECTED && w.p.mode == FTT_MODE_PAIRED) {
		act(&w.p, ftt_flow_detach(&w.p.flow, FTT_WHY_DIVERGENCE, w.now));
	} else if (how & 8 && w.b.alive && w.b.mode == FTT_MODE_SOLO) {
		w.b.mode = FTT_MODE_PAIRED; /* another node has joined: this flow stays as it is */
	}
}

static void time_passes(void)
{
	uint32_t how = byte();

	w.now += (uint64_t)(how & 63) * (how & 64 ? 20000000 : 500000);
	w.client_ts += how & 63;
	w.p.vouched = how & 128;
	if (w.p.alive && w.p.mode == FTT_MODE_PAIRED)
		act(&w.p, ftt_flow_tick(&w.p.flow, node(&w.p)));
}

static void begin(struct side *s, uint8_t mode)
{
	struct ftt_seg syn = {.dir = FTT_FROM_CLIENT, .flags = TCP_SYN, .options = FTT_OPT_TS | FTT_OPT_SACK_OK, .mss = 1460,
			      .seq = w.irs, .tsval = w.client_ts, .wnd = 500};

	memset(s, 0, sizeof(*s));
	s->mode = mode;
	s->alive = true;
	s->iss = mode == FTT_MODE_PAIRED ? w.iss : word();
	s->ts = word();
	s->wscale = (uint8_t)(byte() % 15);
	s->has = 1;
	ftt_flow_init(&s->flow, w.irs, w.now);
	s->flow.bits |= mode == FTT_MODE_PAIRED && w.irs & 1 ? FTT_F_SERVICE : 0;
	deliver(s, syn);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	memset(&w, 0, sizeof(w));
	w.data = data;
	w.left = size;
	w.now = 1000000000;
	w.plain_echo = true;
	w.irs = word();
	w.iss = word();
	w.client_ts = word();
	begin(&w.p, FTT_MODE_PAIRED);
	begin(&w.b, FTT_MODE_BACKUP);
	for (int steps = 0; w.left && steps < 400; steps++) {
		switch (byte() % 10) {
		case 0:
		case 1:
			client_sends(false);
			break;
		case 2:
			client_sends(true);
			break;
		case 3:
		case 4:
			stack_sends(&w.p);
			break;
		case 5:
		case 6:
			stack_sends(&w.b);
			break;
		case 7:
			record_arrives(&w.p);
			break;
		case 8:
			record_arrives(&w.b);
			break;
		default:
			if (byte() & 1)
				time_passes();
			else
				role_changes();
			break;
		}
	}
	return 0;
}
