/* SPDX-License-Identifier: Apache-2.0 */
/* stored.c - see stored.h. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdlib.h>
#include <time.h>
#include "core/gate.h"
#include "engine/flows/stored.h"

static void tell(struct ftt_worker *w, enum ftt_stored_news news, uint64_t value)
{
	struct ftt_event ev = {.kind = FTT_EV_STORED, .reason = news, .value = value};

	ftt_event_post(w->e, &ev);
}

/*
 * The number up to which notes are kept: here, and by a backup that is in step; by that alone while our disk is in trouble. Without one nothing is
 * then, unless the settings say that the service goes on.
 */
static uint64_t kept(const struct ftt_stored *s)
{
	bool ours = !s->trouble || (s->pair.stage == FTT_STORED_ALONE && !s->t.cfg.go_on);

	return ftt_stored_pair_kept(&s->pair, ours ? ftt_segments_there(s->t.segments) : UINT64_MAX);
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
static void wait_kept(struct ftt_worker *w, struct ftt_request *r, const struct ftt_packet *p, uint64_t now_ns)
{
	r->waits_ns = now_ns;
	r->packet = p->id;
	r->queue = p->queue;
	ftt_list_add(&r->waits, w->stored->t.waits.prev);
	w->stored->n_waits++;
	w->n.held++;
}

static struct ftt_stored_note note_of(const struct ftt_stored *s, uint8_t kind, const struct ftt_key *key, const uint8_t *name, const uint8_t *id,
				      uint64_t now_ns)
{
	struct ftt_stored_note x = {.kind = kind, .key = *key, .id_len = s->t.cfg.id_len, .when_s = ftt_stored_now_s(s, now_ns)};

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
	struct ftt_request *r = w->stored->n_waits < w->e->cfg.policy.max_held_total ? ftt_replies_note(&w->stored->t, x, w->stored->t.cfg.go_on) : NULL;

	if (!r) {
		drop(w, p, &w->n.stored_refused);
		return;
	}
	w->n.stored_begun++;
	ftt_replies_runs(&w->stored->t, r, now_ns);
	wait_kept(w, r, p, now_ns);
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
		past = (struct ftt_stored_past){.kind = same->kind, .runs = still(s, same, now_ns), .kept = same->number <= kept(s)};
	x = note_of(s, FTT_STORED_BEGUN, key, name, id, now_ns);
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
	x = note_of(s, FTT_STORED_ANSWERED, key, r->name, id, now_ns);
	x.reply = payload;
	x.reply_len = len;
	if (len <= FTT_STORED_REPLY_MAX)
		room = ftt_replies_room(&s->t, len, s->t.cfg.go_on); /* even its request may make room */
	r = room && s->n_waits < w->e->cfg.policy.max_held_total ? ftt_replies_note(&s->t, &x, s->t.cfg.go_on) : NULL;
	if (r) {
		w->n.stored_replies++;
		wait_kept(w, r, p, now_ns);
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

/* The one that waits longest; NULL: none does. */
static struct ftt_request *first_waiting(const struct ftt_stored *s)
{
	return ftt_list_empty(&s->t.waits) ? NULL : FTT_ENTRY(s->t.waits.next, struct ftt_request, waits);
}

/* Without the lease all waits on: a request that is noted, and then not given to the server, would never be executed. */
static void release(struct ftt_worker *w, uint64_t now_ns)
{
	struct ftt_stored *s = w->stored;
	struct ftt_env env = ftt_worker_env_out(w, now_ns);
	uint64_t to = ftt_gate_alone(&env) ? 0 : kept(s);

	for (struct ftt_request *r; (r = first_waiting(s)) && r->number <= to;) {
		take_waiting(s);
		if (r->kind == FTT_STORED_BEGUN) {
			w->lag_ns[w->n_lag++ % FTT_LAG_SAMPLES] = now_ns - r->since_ns;
			ftt_replies_runs(&s->t, r, now_ns);
		}
		w->n.stored_alone += w->mode == FTT_MODE_PAIRED && r->number > s->pair.acked;
		w->n.released++;
		ftt_plane_verdict(w->plane, r->queue, r->packet, true, NULL, 0);
	}
}

void ftt_stored_role(struct ftt_worker *w)
{
	struct ftt_stored *s = w->stored;

	if (!s)
		return;
	if (w->mode != FTT_MODE_PAIRED || w->session != s->pair.pairing) {
		ftt_stored_pair_begin(&s->pair, w->mode == FTT_MODE_PAIRED ? w->session : 0, ftt_now_ns());
		ftt_replies_tell_behind(&s->t, 0);
	}
	s->mine_asked = s->theirs_asked = s->mine = s->theirs = s->theirs_stored = 0;
	if (ftt_flow_emits((uint8_t)w->mode))
		return;
	while (!ftt_list_empty(&s->t.waits)) {
		const struct ftt_request *r = take_waiting(s);

		w->n.drop_mode++;
		ftt_plane_verdict(w->plane, r->queue, r->packet, false, NULL, 0);
	}
	ftt_replies_rest(&s->t); /* its server is stopped */
}

/* A disk that has not got on for as long as a backup may take is told of, whatever it does. */
static void look_at_disk(struct ftt_worker *w, uint64_t now_ns)
{
	struct ftt_stored *s = w->stored;
	uint64_t there = ftt_segments_there(s->t.segments);
	int trouble = ftt_segments_trouble(s->t.segments);

	if (there != s->there || !s->busy) { /* or what it is to store came since */
		s->there = there;
		s->moved_ns = now_ns;
	}
	s->busy = there < s->t.given;
	if (!trouble && now_ns - s->moved_ns > w->e->cfg.policy.detach_after_ns)
		trouble = ETIMEDOUT;
	if (trouble == s->trouble)
		return;
	s->trouble = trouble;
	tell(w, trouble ? FTT_STORED_TROUBLE : FTT_STORED_GOOD, (uint64_t)trouble);
}

static void look_at_backup(struct ftt_worker *w, uint64_t now_ns)
{
	struct ftt_stored *s = w->stored;
	struct ftt_event ev = {.kind = FTT_EV_STORED, .reason = FTT_STORED_BEHIND, .value = s->pair.trouble};
	const struct ftt_request *r = first_waiting(s);
	uint64_t waits_ns = r && r->number > s->pair.acked ? r->waits_ns : 0;

	if (w->mode != FTT_MODE_PAIRED ||
	    !ftt_stored_pair_look(&s->pair, s->t.next == &s->t.order, waits_ns, w->e->cfg.policy.detach_after_ns, now_ns))
		return;
	ev.link = s->pair.lag;
	if (s->pair.stage == FTT_STORED_BOTH)
		tell(w, FTT_STORED_IN_STEP, s->t.n);
	else if (s->pair.lag != FTT_STORED_CATCHES_UP)
		ftt_event_post(w->e, &ev);
}

void ftt_stored_sweep(struct ftt_worker *w)
{
	struct ftt_stored *s = w->stored;

	if (!s)
		return;
	ftt_replies_expire(&s->t, ftt_stored_now_s(s, ftt_now_ns()));
	if (s->full && ftt_replies_room(&s->t, s->t.cfg.bytes / 8, false))
		s->full = false;
	if (s->refused) { /* not with each turn: while the disk takes nothing it would be refused at once */
		s->refused = false;
		ftt_lane_resume(&w->lane, 0);
	}
}

void ftt_stored_turn(struct ftt_worker *w, uint64_t now_ns)
{
	if (!w->stored)
		return;
	look_at_disk(w, now_ns);
	ftt_stored_say(w);
	ftt_stored_pump(w);
	look_at_backup(w, now_ns);
	release(w, now_ns);
}

/* --- life --------------------------------------------------------------------------------------------------------- */

static void read_all(void *of, uint64_t cut)
{
	struct ftt_worker *w = of;

	if (cut)
		tell(w, FTT_STORED_CUT, cut);
	tell(w, FTT_STORED_READ, w->stored->t.n);
}

static void not_read(void *of, int error, uint64_t serial)
{
	struct ftt_event ev = {.kind = FTT_EV_STORED, .reason = FTT_STORED_UNREAD, .link = (uint32_t)error, .value = serial};
	const struct ftt_worker *w = of;

	ftt_event_post(w->e, &ev);
}

bool ftt_stored_ready(const struct ftt_worker *w)
{
	return !w->stored || ftt_segments_read(w->stored->t.segments);
}

int ftt_stored_open(struct ftt_worker *w, void (*wake)(void *w), char *err, size_t err_len)
{
	const struct ftt_segments_user user = {.of = w, .read = read_all, .unread = not_read, .told = wake};
	const struct ftt_stored_config *cfg = &w->e->cfg.stored;
	struct ftt_stored *s;
	struct timespec wall;

	if (!cfg->dir[0] || w->index)
		return 0;
	s = w->stored = calloc(1, sizeof(*s));
	if (!s) {
		snprintf(err, err_len, "stored replies: out of memory");
		return -1;
	}
	clock_gettime(CLOCK_REALTIME, &wall);
	s->moved_ns = ftt_now_ns();
	s->ahead_s = (uint64_t)wall.tv_sec - s->moved_ns / 1000000000u;
	s->said = -1;
	ftt_stored_pair_begin(&s->pair, 0, s->moved_ns);
	return ftt_replies_open(&s->t, cfg, &user, ftt_stored_now_s(s, s->moved_ns), err, err_len);
}

void ftt_stored_close(struct ftt_worker *w)
{
	if (!w->stored)
		return;
	ftt_replies_close(&w->stored->t);
	free(w->stored);
	w->stored = NULL;
}
