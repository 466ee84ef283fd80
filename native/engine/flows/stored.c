/* SPDX-License-Identifier: Apache-2.0 */
/* stored.c - see stored.h. */
#define _GNU_SOURCE
#include <stdlib.h>
#include <time.h>
#include "core/gate.h"
#include "engine/flows/stored.h"

static uint64_t wall_s(void)
{
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	return (uint64_t)t.tv_sec;
}

static void tell(struct ftt_worker *w, enum ftt_stored_news news, uint64_t value)
{
	struct ftt_event ev = {.kind = FTT_EV_STORED, .reason = news, .value = value};

	ftt_event_post(w->e, &ev);
}

/* The number up to which notes are kept: here, and by a backup that is in step. */
static uint64_t kept(const struct ftt_worker *w)
{
	const struct ftt_stored *s = w->stored;
	uint64_t here = ftt_replies_there(&s->t);

	return s->in_step && s->acked < here ? s->acked : here;
}

/* --- packets ---------------------------------------------------------------------------------------------- */

static void drop(struct ftt_worker *w, const struct ftt_packet *p, uint64_t *counter)
{
	++*counter;
	ftt_worker_verdict(w, p, false, NULL);
}

/* Without room for a note: once, until there is room. */
static void tell_full(struct ftt_worker *w)
{
	if (!w->stored->full)
		tell(w, FTT_STORED_NO_ROOM, 0);
	w->stored->full = true;
}

/* Its packet waits until its note is kept. */
static void wait_kept(struct ftt_worker *w, struct ftt_request *r, const struct ftt_packet *p)
{
	r->packet = p->id;
	r->queue = p->queue;
	ftt_list_add(&r->waits, w->stored->t.waits.prev);
	w->stored->n_waits++;
	w->n.held++;
}

static struct ftt_stored_note note_of(const struct ftt_stored *s, uint8_t kind, const struct ftt_key *key, const uint8_t *name, const uint8_t *id)
{
	struct ftt_stored_note x = {.kind = kind, .key = *key, .id_len = s->t.cfg.id_len, .when_s = wall_s()};

	memcpy(x.name, name, sizeof(x.name));
	memcpy(x.id, id, sizeof(x.id));
	return x;
}

static void say(struct ftt_worker *w, const struct ftt_request *r)
{
	size_t len = ftt_udp_build(&w->udp, r->key.local, r->key.local_port, r->key.remote, r->key.remote_port, r->reply, r->reply_len);

	w->n.stored_said += !ftt_plane_now(w->plane, w->udp.scratch, len, true);
}

/* Those that have run for longer than a server may take do not any more. */
static struct ftt_request *still(struct ftt_stored *s, struct ftt_request *r, uint64_t now_ns)
{
	if (r && r->since_ns && ftt_list_empty(&r->waits) && now_ns - r->since_ns > s->t.cfg.answer_ns)
		ftt_replies_runs(&s->t, r, 0);
	return r && r->since_ns ? r : NULL;
}

static void begin(struct ftt_worker *w, const struct ftt_packet *p, const struct ftt_stored_note *x, uint64_t now_ns)
{
	struct ftt_request *r = w->stored->n_waits < w->e->cfg.policy.max_held_total ? ftt_replies_note(&w->stored->t, x) : NULL;

	if (!r) {
		drop(w, p, &w->n.stored_refused);
		return;
	}
	w->n.stored_begun++;
	ftt_replies_runs(&w->stored->t, r, now_ns);
	wait_kept(w, r, p);
}

static void from_client(struct ftt_worker *w, const struct ftt_packet *p, const struct ftt_key *key, const uint8_t *payload, uint32_t len,
			uint64_t now_ns)
{
	struct ftt_stored *s = w->stored;
	uint8_t name[FTT_STORED_NAME], id[FTT_STORED_ID];
	struct ftt_stored_past past = {0};
	struct ftt_stored_note x;
	struct ftt_request *same;
	bool room;

	ftt_replies_name(&s->t, key, payload, len, name);
	ftt_stored_id(&s->t.cfg, payload, len, id);
	same = ftt_replies_find(&s->t, name);
	room = same || ftt_replies_room(&s->t, 0, s->t.cfg.go_on);
	if (same)
		past = (struct ftt_stored_past){.kind = same->kind, .runs = still(s, same, now_ns), .kept = same->number <= kept(w)};
	x = note_of(s, FTT_STORED_BEGUN, key, name, id);
	switch (ftt_stored_asked(&past, still(s, ftt_replies_running(&s->t, key, id), now_ns), room, &s->t.cfg)) {
	case FTT_STORED_BEGIN:
		begin(w, p, &x, now_ns);
		break;
	case FTT_STORED_SAY:
		say(w, same);
		ftt_worker_verdict(w, p, false, NULL);
		break;
	case FTT_STORED_RUNS:
		drop(w, p, &w->n.stored_running);
		break;
	case FTT_STORED_UNANSWERED:
		drop(w, p, &w->n.stored_unanswered);
		break;
	case FTT_STORED_BUSY:
		drop(w, p, &w->n.stored_busy);
		break;
	case FTT_STORED_FULL:
		tell_full(w);
		drop(w, p, &w->n.stored_refused);
		break;
	}
}

/* Nothing keeps it: it passes as what no flow stands for does. */
static void pass(struct ftt_worker *w, const struct ftt_packet *p, uint64_t now_ns, uint64_t *counter)
{
	struct ftt_env env = ftt_worker_env_out(w, now_ns);

	if (ftt_gate_alone(&env)) {
		drop(w, p, &w->n.drop_lease);
		return;
	}
	++*counter;
	ftt_worker_verdict(w, p, true, NULL);
}

static void from_server(struct ftt_worker *w, const struct ftt_packet *p, const struct ftt_key *key, const uint8_t *payload, uint32_t len,
			uint64_t now_ns)
{
	struct ftt_stored *s = w->stored;
	uint8_t id[FTT_STORED_ID];
	bool room = false;
	struct ftt_stored_note x;
	struct ftt_request *r;

	ftt_stored_id(&s->t.cfg, payload, len, id);
	r = still(s, ftt_replies_running(&s->t, key, id), now_ns);
	if (!r || !ftt_list_empty(&r->waits)) {
		pass(w, p, now_ns, &w->n.stored_unasked);
		return;
	}
	x = note_of(s, FTT_STORED_ANSWERED, key, r->name, id);
	x.reply = payload;
	x.reply_len = len;
	if (len <= FTT_STORED_REPLY_MAX)
		room = ftt_replies_room(&s->t, len, s->t.cfg.go_on); /* even its request may make room */
	r = room && s->n_waits < w->e->cfg.policy.max_held_total ? ftt_replies_note(&s->t, &x) : NULL;
	if (r) {
		w->n.stored_replies++;
		wait_kept(w, r, p);
	} else if (s->t.cfg.go_on) {
		pass(w, p, now_ns, &w->n.stored_refused);
	} else {
		tell_full(w);
		drop(w, p, &w->n.stored_refused);
	}
}

bool ftt_stored_packet(struct ftt_worker *w, struct ftt_packet *p, const struct ftt_pkt *k, uint64_t now_ns)
{
	const struct ftt_config *cfg = &w->e->cfg;
	struct ftt_env env = ftt_worker_env_out(w, now_ns);
	const uint8_t *payload = p->bytes + k->payload;
	struct ftt_key key;

	if (!ftt_port_in(cfg->port, cfg->n_ports, p->from_client ? k->dport : k->sport, 17))
		return false;
	ftt_key_of(&key, k, p->from_client);
	if (!ftt_flow_emits((uint8_t)w->mode)) {
		drop(w, p, p->from_client ? &w->n.drop_mode : &w->n.drop_suppressed);
	} else if (p->cap < p->len) {
		drop(w, p, &w->n.drop_truncated);
	} else if (!p->from_client) {
		from_server(w, p, &key, payload, k->payload_len, now_ns); /* even without the lease: then it is said again */
	} else if (ftt_udp_refused(p, k)) {
		w->n.pass_malformed++;
		ftt_worker_verdict(w, p, true, NULL);
	} else if (ftt_gate_alone(&env)) {
		drop(w, p, &w->n.drop_lease);
	} else {
		from_client(w, p, &key, payload, k->payload_len, now_ns);
	}
	return true;
}

/* --- what waits ---------------------------------------------------------------------------------------------- */

static struct ftt_request *take_waiting(struct ftt_stored *s)
{
	struct ftt_request *r = FTT_ENTRY(s->t.waits.next, struct ftt_request, waits);

	ftt_list_remove(&r->waits);
	ftt_list_init(&r->waits);
	s->n_waits--;
	return r;
}

/* A request that the server is not given does not run; a reply that does not leave is said again to who asks. */
static void release(struct ftt_worker *w, uint64_t now_ns)
{
	struct ftt_stored *s = w->stored;
	struct ftt_env env = ftt_worker_env_out(w, now_ns);
	bool lease = !ftt_gate_alone(&env);
	uint64_t to = kept(w);

	while (!ftt_list_empty(&s->t.waits) && FTT_ENTRY(s->t.waits.next, struct ftt_request, waits)->number <= to) {
		struct ftt_request *r = take_waiting(s);

		if (r->kind == FTT_STORED_BEGUN) {
			w->lag_ns[w->n_lag++ % FTT_LAG_SAMPLES] = now_ns - r->since_ns;
			ftt_replies_runs(&s->t, r, lease ? now_ns : 0);
		}
		*(lease ? &w->n.released : &w->n.drop_lease) += 1;
		ftt_plane_verdict(w->plane, r->queue, r->packet, lease, NULL, 0);
	}
}

void ftt_stored_role(struct ftt_worker *w)
{
	struct ftt_stored *s = w->stored;

	if (!s)
		return;
	s->mine_asked = s->theirs_asked = s->mine = s->theirs = 0;
	if (ftt_flow_emits((uint8_t)w->mode))
		return;
	while (!ftt_list_empty(&s->t.waits)) {
		const struct ftt_request *r = take_waiting(s);

		w->n.drop_mode++;
		ftt_plane_verdict(w->plane, r->queue, r->packet, false, NULL, 0);
	}
	ftt_replies_rest(&s->t); /* its server is stopped */
}

static void tell_trouble(struct ftt_worker *w)
{
	struct ftt_stored *s = w->stored;
	int trouble = ftt_segments_trouble(s->t.segments);

	if (trouble == s->trouble)
		return;
	s->trouble = trouble;
	tell(w, trouble ? FTT_STORED_TROUBLE : FTT_STORED_GOOD, (uint64_t)trouble);
}

void ftt_stored_sweep(struct ftt_worker *w)
{
	struct ftt_stored *s = w->stored;

	if (!s)
		return;
	ftt_replies_expire(&s->t, wall_s());
	if (s->full && ftt_replies_room(&s->t, s->t.cfg.bytes / 8, false))
		s->full = false;
}

/* --- the other node --------------------------------------------------------------------------------------------- */

void ftt_stored_pump(struct ftt_worker *w)
{
	struct ftt_stored *s = w->stored;
	uint32_t len;

	if (!s || w->mode != FTT_MODE_PAIRED || !ftt_lane_up(&w->lane, 0))
		return;
	while ((len = ftt_replies_next(&s->t))) {
		if (ftt_lane_room(&w->lane, 0) < len || !ftt_lane_send(&w->lane, 0, FTT_LANE_STORED, s->t.note, len))
			return;
		s->goal = s->all_told ? s->goal : FTT_ENTRY(s->t.next, struct ftt_request, order)->number;
		ftt_replies_told(&s->t);
	}
	if (!s->all_told && s->acked >= s->goal) {
		s->in_step = true;
		tell(w, FTT_STORED_IN_STEP, s->t.n);
	}
	s->all_told = true;
}

static enum ftt_lane_answer acknowledged(struct ftt_worker *w, const uint8_t *bytes, uint32_t len)
{
	struct ftt_stored *s = w->stored;

	if (len != 8)
		return FTT_LANE_BAD;
	if (w->mode != FTT_MODE_PAIRED)
		return FTT_LANE_TAKEN;
	s->acked = get_be64(bytes);
	if (!s->in_step && s->all_told && s->acked >= s->goal) {
		s->in_step = true;
		tell(w, FTT_STORED_IN_STEP, s->t.n);
	}
	release(w, ftt_now_ns());
	return FTT_LANE_TAKEN;
}

/* Tells the primary what is stored here. While the disk is busy notes gather; the last of them is asked about next. */
static void acknowledge(struct ftt_worker *w)
{
	struct ftt_stored *s = w->stored;
	uint8_t to[8];

	for (;;) {
		if (!s->theirs_asked) {
			s->mine_asked = s->mine;
			s->theirs_asked = s->theirs;
		}
		if (!s->theirs_asked || ftt_replies_there(&s->t) < s->mine_asked)
			return;
		put_be64(to, s->theirs_asked);
		if (!ftt_lane_send(&w->lane, 0, FTT_LANE_STORED_TO, to, sizeof(to)))
			return;
		if (s->theirs == s->theirs_asked)
			s->mine = s->theirs = 0;
		s->theirs_asked = 0;
	}
}

/* What is known already needs no new note. */
static struct ftt_request *known(const struct ftt_stored *s, const struct ftt_stored_note *x)
{
	struct ftt_request *r = ftt_replies_find(&s->t, x->name);
	bool same = r && r->kind == x->kind && r->when_s == x->when_s && r->reply_len == x->reply_len;

	return same && (!x->reply_len || !memcmp(r->reply, x->reply, x->reply_len)) ? r : NULL;
}

static enum ftt_lane_answer noted(struct ftt_worker *w, const uint8_t *bytes, uint32_t len)
{
	struct ftt_stored *s = w->stored;
	struct ftt_stored_note x;
	const struct ftt_request *r;
	uint64_t theirs;
	uint32_t n;

	if (ftt_stored_get(bytes, len, &x, &n) != FTT_STORED_FOUND || n != len)
		return FTT_LANE_BAD;
	if (w->mode != FTT_MODE_BACKUP)
		return FTT_LANE_TAKEN;
	theirs = x.number;
	r = known(s, &x);
	if (!r) {
		ftt_replies_room(&s->t, x.reply_len, true);
		r = ftt_replies_note(&s->t, &x);
	}
	s->refused = !r;
	if (!r)
		return FTT_LANE_NOT_NOW;
	s->mine = r->number > s->mine ? r->number : s->mine;
	s->theirs = theirs;
	acknowledge(w);
	return FTT_LANE_TAKEN;
}

enum ftt_lane_answer ftt_stored_message(struct ftt_worker *w, uint8_t kind, const uint8_t *bytes, uint32_t len)
{
	if (!w->stored) /* the other node's settings differ: told by the terms of both */
		return FTT_LANE_TAKEN;
	return kind == FTT_LANE_STORED ? noted(w, bytes, len) : acknowledged(w, bytes, len);
}

void ftt_stored_lane(struct ftt_worker *w, bool up)
{
	struct ftt_stored *s = w->stored;

	if (!s)
		return;
	if (s->in_step)
		tell(w, FTT_STORED_BEHIND, 0);
	s->in_step = s->all_told = s->refused = false;
	s->goal = s->acked = s->mine = s->theirs = s->mine_asked = s->theirs_asked = 0;
	s->t.next = s->t.order.next;
	if (up)
		ftt_stored_pump(w);
}

void ftt_stored_turn(struct ftt_worker *w, uint64_t now_ns)
{
	if (!w->stored)
		return;
	tell_trouble(w);
	if (w->stored->refused) {
		w->stored->refused = false;
		ftt_lane_resume(&w->lane, 0);
	}
	if (w->mode == FTT_MODE_BACKUP)
		acknowledge(w);
	ftt_stored_pump(w);
	release(w, now_ns);
}

/* --- life --------------------------------------------------------------------------------------------------------- */

int ftt_stored_open(struct ftt_worker *w, void (*wake)(void *w), char *err, size_t err_len)
{
	const struct ftt_stored_config *cfg = &w->e->cfg.stored;
	struct ftt_stored *s;

	if (!cfg->dir[0] || w->index)
		return 0;
	s = w->stored = calloc(1, sizeof(*s));
	if (!s) {
		snprintf(err, err_len, "stored replies: out of memory");
		return -1;
	}
	if (ftt_replies_open(&s->t, cfg, wake, w, wall_s(), err, err_len))
		return -1;
	if (s->t.cut)
		tell(w, FTT_STORED_CUT, s->t.cut);
	return 0;
}

void ftt_stored_close(struct ftt_worker *w)
{
	if (!w->stored)
		return;
	ftt_replies_close(&w->stored->t);
	free(w->stored);
	w->stored = NULL;
}
