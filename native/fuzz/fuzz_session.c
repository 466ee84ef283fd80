/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One UDP session on both nodes, driven by a byte string: any order of datagrams, replies, records that are lost, doubled
 * and reordered, time, leases, and the end of either node. After each step:
 *
 *   - no reply has left a primary that is followed before the backup holds all events that it depends on (I3), nor without a lease
 *   - the backup holds no event that the primary has not numbered, and is believed to hold none that it does not hold
 *   - its server is given events in order, none before as many replies as the primary's had given, unless they are missed
 *   - what is kept lies within the window
 *   - who takes over says no reply twice
 *
 * Numbers begin anywhere, so that all of them turn.
 */
#include <string.h>
#include "core/udp/backup.h"
#include "core/udp/compare.h"
#include "core/udp/primary.h"
#include "must.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { FLYING_MAX = 32, REPLIES_MAX = 64, PORT = 6969 };

static const struct ftt_policy policy = {.detach_after_ns = 2000000000, .udp_idle_timeout_ns = 30000000000, .max_udp_bytes = 1 << 20,
					 .compare = 1};

struct event {
	uint32_t number, outputs, len;
	uint64_t since_ns;
	bool here;
};

struct air { /* records on their way */
	struct ftt_record r[FLYING_MAX];
	uint32_t n;
};

static struct {
	const uint8_t *data;
	size_t left;
	uint64_t now;
	struct ftt_session p, b;
	bool p_serves, b_follows, b_serves, lease;
	struct event sent[FTT_UDP_WINDOW], kept[FTT_UDP_WINDOW]; /* at the primary, at the backup */
	struct { uint32_t number; struct ftt_places after; } reply[REPLIES_MAX];
	uint32_t n_replies;
	struct air to_backup, to_primary;
	uint32_t said; /* by who took over: number of its last reply */
} w;

static uint8_t byte(void)
{
	w.left -= !!w.left;
	return w.left ? *w.data++ : 0;
}

static struct ftt_env node(uint8_t mode)
{
	return (struct ftt_env){.now_ns = w.now, .policy = &policy, .mode = mode, .lease = w.lease, .vouched = true};
}

static void fly(struct air *air, const struct ftt_record *r)
{
	if (air->n < FLYING_MAX)
		air->r[air->n++] = *r;
}

static bool land(struct air *air, struct ftt_record *r)
{
	uint8_t how = byte();
	uint32_t at;

	if (!air->n)
		return false;
	at = how % air->n;
	*r = air->r[at];
	if (!(how & 64)) /* else it comes once more */
		air->r[at] = air->r[--air->n];
	return !(how & 128);
}

/* --- the primary ----------------------------------------------------------------------------------------- */

static void release(void)
{
	struct ftt_env env = node(FTT_MODE_PAIRED);
	uint32_t n = 0, before = w.p.sent;

	while (n < w.n_replies && !ftt_session_holds(&w.p, w.reply[n].after, false, &env)) {
		MUST(w.lease);
		MUST(!ftt_session_is_numbered(&w.p) || seq_geq(w.b.events, w.reply[n].after.input));
		MUST(seq_gt(w.reply[n].number, w.p.sent));
		ftt_session_leaves(&w.p, w.reply[n++].number);
	}
	memmove(w.reply, w.reply + n, (w.n_replies -= n) * sizeof(w.reply[0]));
	if (w.p.sent != before)
		fly(&w.to_backup, &(struct ftt_record){.type = FTT_REC_SENT, .number = w.p.sent});
}

static void tell(uint32_t number)
{
	const struct event *e = &w.sent[number % FTT_UDP_WINDOW];

	MUST(e->number == number);
	fly(&w.to_backup, &(struct ftt_record){.type = FTT_REC_EVENT, .number = number, .outputs = e->outputs, .total = e->len});
}

static void client_speaks(void)
{
	struct ftt_env env = node(FTT_MODE_PAIRED);
	uint32_t len = byte() * 8u, number;

	if (!w.p_serves || !ftt_session_is_numbered(&w.p) || !ftt_session_has_room(&w.p, 0, len, &env))
		return;
	ftt_session_called(&w.p, w.now);
	number = ftt_session_number(&w.p);
	w.sent[number % FTT_UDP_WINDOW] = (struct event){.number = number, .outputs = w.p.outputs, .len = len, .since_ns = w.now};
	tell(number);
}

static void primary_replies(void)
{
	if (!w.p_serves || w.n_replies == REPLIES_MAX)
		return;
	w.reply[w.n_replies].number = ftt_session_speaks(&w.p);
	w.reply[w.n_replies++].after = ftt_session_after(&w.p);
	release();
}

static void primary_hears(void)
{
	uint32_t acked = w.p.acked, granted = w.p.granted;
	struct ftt_record r;

	if (!land(&w.to_primary, &r) || !w.p_serves)
		return;
	if (ftt_session_record(&w.p, &r) & FTT_UDP_RELEASE)
		release();
	MUST(seq_geq(w.p.acked, acked) && seq_geq(w.p.granted, granted)); /* what was overtaken on its way moves nothing back */
}

static void primary_waits(void)
{
	struct ftt_env env = node(FTT_MODE_PAIRED);
	bool events = w.p.acked != w.p.events;
	struct ftt_session_waits waits = {.event_ns = events ? w.sent[(w.p.acked + 1) % FTT_UDP_WINDOW].since_ns : 0,
					  .reply_ns = w.n_replies ? w.now : 0, .after = w.n_replies ? w.reply[0].after : (struct ftt_places){0}};
	uint32_t actions = ftt_session_tick(&w.p, &waits, false, &env);

	if (actions & FTT_UDP_RELEASE)
		release();
	if (actions & FTT_UDP_ASK_DETACH)
		fly(&w.to_backup, &(struct ftt_record){.type = FTT_REC_DETACH});
	for (uint32_t i = w.p.acked + 1; actions & FTT_UDP_RESEND && seq_leq(i, w.p.events); i++)
		tell(i);
}

/* --- the backup, and who took over ------------------------------------------------------------------------- */

static void acknowledge(void)
{
	fly(&w.to_primary, &(struct ftt_record){.type = FTT_REC_EVENT_ACK, .number = w.b.events, .outputs = ftt_session_grants(&w.b)});
}

static void give_up(void)
{
	w.b_follows = false;
	fly(&w.to_primary, &(struct ftt_record){.type = FTT_REC_DETACHED, .flags = FTT_REC_LAGS});
}

static void deliver(void)
{
	struct ftt_env env = node(w.b_serves ? FTT_MODE_SOLO : FTT_MODE_BACKUP);
	uint32_t before = w.b.acked;
	bool waited = ftt_session_behind(&w.b);

	while (w.b.acked != w.b.events) {
		struct event *e = &w.kept[(w.b.acked + 1) % FTT_UDP_WINDOW];

		MUST(e->here && e->number == w.b.acked + 1);
		if (!ftt_session_turn(&w.b, e->outputs, e->len, PORT, e->since_ns, &env))
			break;
		MUST(seq_leq(e->outputs, w.b.outputs + w.b.missing));
		e->here = false;
		ftt_session_given(&w.b);
	}
	if (ftt_session_delivered(&w.b, before, waited, &env) & FTT_UDP_ACKNOWLEDGE)
		acknowledge();
}

static void event_comes(const struct ftt_record *r)
{
	struct event *e = &w.kept[r->number % FTT_UDP_WINDOW];

	ftt_session_heard(&w.b, w.now);
	if (!ftt_session_wants(&w.b, r->number)) {
		acknowledge();
		return;
	}
	MUST(!e->here || e->number == r->number);
	*e = (struct event){.number = r->number, .outputs = r->outputs, .len = r->total, .since_ns = w.now, .here = true};
	while (ftt_session_wants(&w.b, w.b.events + 1) && (e = &w.kept[(w.b.events + 1) % FTT_UDP_WINDOW])->here && e->number == w.b.events + 1)
		ftt_session_follows(&w.b, false, PORT, e->outputs);
	acknowledge();
	deliver();
}

static void backup_hears(void)
{
	struct ftt_record r;

	if (!land(&w.to_backup, &r) || !w.b_follows)
		return;
	if (r.type == FTT_REC_EVENT) {
		event_comes(&r);
	} else if (r.type == FTT_REC_SENT) {
		ftt_session_sent(&w.b, r.number);
	} else {
		w.b_follows = false;
		fly(&w.to_primary, &(struct ftt_record){.type = FTT_REC_DETACHED});
	}
}

static void backup_replies(void)
{
	struct ftt_env env = node(FTT_MODE_SOLO);
	enum ftt_session_reply reply;
	uint32_t sent = w.b.sent;

	if (w.b_follows) {
		ftt_session_murmurs(&w.b, PORT);
		deliver();
	}
	if (!w.b_serves)
		return;
	reply = ftt_session_speaks_alone(&w.b, &env);
	MUST(w.lease || reply == FTT_REPLY_SILENT);
	if (reply == FTT_REPLY_LEAVES || reply == FTT_REPLY_OWED) {
		MUST(reply == FTT_REPLY_OWED ? w.b.sent == sent : seq_gt(w.b.sent, sent)); /* what was told is said once, and only if it is owed */
		MUST(w.b.sent != w.said);
		w.said = w.b.sent;
	}
	deliver();
}

/* --- the world --------------------------------------------------------------------------------------------- */

static void time_passes(void)
{
	struct ftt_env env = node(FTT_MODE_BACKUP);

	w.now += (byte() & 127) * 5000000ull;
	if (w.p_serves)
		primary_waits();
	if (w.b_follows && ftt_session_lags(&w.b, &env))
		give_up();
	else if (w.b_follows || w.b_serves)
		deliver();
}

static void role_changes(void)
{
	uint8_t how = byte();
	struct ftt_env env = node(FTT_MODE_SOLO);

	if (how & 1 && w.b_follows) {
		w.p_serves = w.b_follows = false;
		w.b_serves = true;
		ftt_session_alone(&w.b, true);
		ftt_session_says_again(&w.b, 0, 0, &env);
		deliver();
	} else if (how & 2 && w.p_serves && ftt_session_is_numbered(&w.p)) {
		w.b_follows = false;
		ftt_session_alone(&w.p, false);
		release();
	} else if (how & 4) {
		w.lease = !w.lease;
	}
}

static void begin(void)
{
	struct ftt_env primary, backup;
	uint32_t events = 0u - byte(), outputs = 0u - byte();

	w.now = 1000000000;
	w.lease = w.p_serves = w.b_follows = true;
	primary = node(FTT_MODE_PAIRED);
	backup = node(FTT_MODE_BACKUP);
	ftt_session_init(&w.p, w.now);
	ftt_session_begin(&w.p, &primary);
	w.p.events = w.p.acked = w.p.granted = events;
	w.p.outputs = w.p.sent = w.said = outputs;
	w.b = w.p;
	ftt_session_begin(&w.b, &backup);
}

static void check(void)
{
	MUST(w.p.events - w.p.acked <= FTT_UDP_WINDOW && w.b.events - w.b.acked <= FTT_UDP_WINDOW);
	MUST(w.b_serves || seq_leq(w.b.events, w.p.events));
	MUST(!ftt_session_is_numbered(&w.p) || (seq_leq(w.p.acked, w.b.events) && seq_leq(w.p.granted, w.b.events)));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static void (*const steps[])(void) = {client_speaks, primary_replies, backup_hears, primary_hears,
					      backup_replies, time_passes, role_changes, backup_hears};

	memset(&w, 0, sizeof(w));
	w.data = data;
	w.left = size;
	begin();
	while (w.left) {
		steps[byte() & 7]();
		check();
	}
	return 0;
}
