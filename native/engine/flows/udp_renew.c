/* SPDX-License-Identifier: Apache-2.0 */
/* udp_renew.c - UDP sessions that a new backup catches up with: the lane, records, time; see core/udp/renew.h. */
#define _GNU_SOURCE
#include <string.h>
#include "core/udp/renew.h"
#include "engine/flows/cold.h"
#include "engine/flows/udp_renew.h"

#define LANE 0          /* all UDP is the first worker's, on both nodes */
#define RECORD_MAX 64u
#define MESSAGE 32768u  /* of events in one message, about */

static void put(struct ftt_worker *w, const struct ftt_udp_session *u, uint8_t type)
{
	struct ftt_record r = {.type = type, .key = u->key, .irs = u->start, .attempt = u->attempt};

	ftt_channel_put_record(&w->channel, u->peer_worker, &r, &w->n);
}

/* --- primary ------------------------------------------------------------------------------------ */

/* Events that were not handed to the lane yet, in one message. False: there is no room. */
static bool send_events(struct ftt_worker *w, struct ftt_udp_session *u, uint8_t flags)
{
	struct ftt_record head = {.type = FTT_REC_SENT, .flags = flags, .key = u->key, .irs = u->start, .attempt = u->attempt,
				 .number = u->s.sent, .crc = u->s.sums.crc};
	uint8_t bytes[FTT_LANE_MAX];
	struct ftt_udp_log *l = u->log;
	uint32_t len, n = 0, more;
	struct ftt_noted x;

	if (ftt_session_sums(&u->s, &w->e->cfg.policy) && u->s.sent == u->s.outputs)
		head.flags |= FTT_REC_SUM;
	len = (uint32_t)ftt_record_put(bytes, sizeof(bytes), &head);
	while (n < MESSAGE && (more = ftt_noted_get(l->bytes + l->at + n, l->len - l->at - n, &x)) && len + n + more <= sizeof(bytes))
		n += more;
	if (n)
		memcpy(bytes + len, l->bytes + l->at, n);
	if (ftt_lane_room(&w->lane, LANE) < len + n || !ftt_lane_send(&w->lane, LANE, FTT_LANE_SESSION, bytes, len + n))
		return false;
	l->at += n;
	return true;
}

static void fail(struct ftt_worker *w, struct ftt_udp_session *u, enum ftt_unrenewable why, uint64_t now_ns)
{
	ftt_session_renewed_not(&u->s);
	ftt_udp_update(&w->udp, u);
	ftt_renewal_failed(w, why, now_ns);
	ftt_udp_log_end(w, u, why);
	ftt_udp_log_stage(w, u, FTT_UDP_STILL);
}

static void give_up(struct ftt_worker *w, struct ftt_udp_session *u, enum ftt_unrenewable why, uint64_t now_ns)
{
	struct ftt_record r = {.type = FTT_REC_DETACH, .key = u->key, .irs = u->start, .attempt = u->attempt};
	uint8_t bytes[RECORD_MAX];

	put(w, u, FTT_REC_DETACH); /* it may overtake what waits on the lane */
	ftt_lane_send(&w->lane, LANE, FTT_LANE_DROP, bytes, (uint32_t)ftt_record_put(bytes, sizeof(bytes), &r));
	fail(w, u, why, now_ns);
}

static void begin(struct ftt_worker *w, struct ftt_udp_session *u, uint64_t now_ns)
{
	if (u->role != w->udp.role) /* not yet */
		return;
	if (u->unrenewable || u->s.protection == FTT_PROTECTED) {
		ftt_udp_log_stage(w, u, FTT_UDP_STILL);
		return;
	}
	if (u->replies || !ftt_session_renewable(&u->s, now_ns))
		return;
	u->log->at = 0;
	u->log->moved_ns = now_ns;
	u->peer_worker = LANE;
	u->attempt++;
	if (!send_events(w, u, FTT_REC_FIRST))
		return;
	ftt_session_renews(&u->s);
	ftt_udp_update(&w->udp, u);
	ftt_udp_log_stage(w, u, FTT_UDP_CATCHING);
}

static void go_on(struct ftt_worker *w, struct ftt_udp_session *u, uint64_t now_ns)
{
	if (u->unrenewable)
		return;
	while (u->log->at < u->log->len)
		if (!send_events(w, u, 0))
			return;
	if (ftt_udp_unsure(w, u)) {
		give_up(w, u, FTT_NOT_REPEATED, now_ns);
		return;
	}
	if (!ftt_session_near(&u->s) || u->replies || !send_events(w, u, FTT_REC_ALL))
		return;
	ftt_session_asked(&u->s, now_ns);
	ftt_udp_update(&w->udp, u);
	ftt_udp_log_stage(w, u, FTT_UDP_ASKED);
	ftt_udp_heard(w, &u->key, now_ns); /* the tick asks until there is an answer */
}

void ftt_udp_renew_pump(struct ftt_worker *w, uint64_t now_ns)
{
	uint32_t active = 0;

	if (w->mode != FTT_MODE_PAIRED || !ftt_lane_up(&w->lane, LANE))
		return;
	for (struct ftt_list *at = w->udp.renewed.next, *next; at != &w->udp.renewed; at = next) {
		struct ftt_udp_log *l = FTT_ENTRY(at, struct ftt_udp_log, order);
		bool last = l->order.next == &w->udp.renewed;

		next = at->next;
		active += l->stage == FTT_UDP_CATCHING;
		if (l->stage == FTT_UDP_CATCHING)
			go_on(w, l->u, now_ns);
		else if (l->stage == FTT_UDP_TO_RENEW && active < FTT_RENEW_SESSIONS)
			begin(w, l->u, now_ns);
		if (last)
			return; /* what went to the end of the list was looked at */
	}
}

uint32_t ftt_udp_renew_find(struct ftt_worker *w)
{
	uint32_t n = 0;

	for (struct ftt_udp_session *u = NULL; (u = ftt_udp_next(&w->udp, u));) {
		if (ftt_udp_stage(u) || !ftt_udp_notes(u) || (u->role == w->udp.role && u->s.protection == FTT_PROTECTED))
			continue;
		ftt_udp_log_why(&w->udp, u, FTT_RENEWABLE); /* what was in the way the last time may not be any more */
		ftt_udp_log_stage(w, u, FTT_UDP_TO_RENEW);
		n++;
	}
	return n;
}

bool ftt_udp_renew_told(struct ftt_worker *w, struct ftt_udp_session *u, const struct ftt_record *r, uint64_t now_ns)
{
	if (ftt_session_is_numbered(&u->s))
		return false;
	if (ftt_udp_stage(u) != FTT_UDP_CATCHING) {
		if (r->type == FTT_REC_EVENT_ACK) /* it was given up, which the backup has not heard */
			put(w, u, FTT_REC_DETACH);
	} else if (r->type == FTT_REC_DETACHED) {
		fail(w, u, r->flags & FTT_REC_DIVERGED ? FTT_NOT_REPEATED : FTT_NOT_IN_TIME, now_ns);
	} else if (r->type == FTT_REC_EVENT_ACK && r->flags & FTT_REC_CATCHING && ftt_session_gets_on(&u->s, r)) {
		w->n.renewal_steps++;
		u->log->moved_ns = now_ns;
		go_on(w, u, now_ns);
	}
	return true;
}

static void primary_tick(struct ftt_worker *w, struct ftt_udp_session *u, uint64_t now_ns)
{
	if (u->log->stage == FTT_UDP_ASKED) {
		if (u->s.protection == FTT_OPENING || u->s.protection == FTT_DETACHING)
			return;
		if (u->s.protection != FTT_PROTECTED) {
			fail(w, u, u->unrenewable ? (enum ftt_unrenewable)u->unrenewable :
				   u->s.reason == FTT_WHY_DIVERGENCE ? FTT_NOT_REPEATED : FTT_NOT_IN_TIME, now_ns);
			return;
		}
		w->n.renewed++;
		ftt_udp_log_stage(w, u, FTT_UDP_STILL);
	} else if (u->log->stage == FTT_UDP_CATCHING && (u->unrenewable || ftt_renewal_stalls(u->log->moved_ns, now_ns))) {
		give_up(w, u, u->unrenewable ? (enum ftt_unrenewable)u->unrenewable : FTT_NOT_IN_TIME, now_ns);
	}
}

/* --- backup ------------------------------------------------------------------------------------- */

/* The session that a message begins; NULL: it does not. */
static struct ftt_udp_session *begin_again(struct ftt_worker *w, const struct ftt_record *head, uint8_t from, uint64_t now_ns)
{
	struct ftt_udp_session *u = ftt_udp_heard(w, &head->key, now_ns);

	if (u && u->s.protection == FTT_PROTECTED) /* the client's port serves another one since */
		return NULL;
	if (u)
		ftt_udp_forget(w, u);
	u = ftt_udp_begin(w, &head->key, head->irs, now_ns);
	if (u && !u->log) {
		ftt_udp_forget(w, u);
		u = NULL;
	}
	if (!u)
		return NULL;
	u->peer_worker = from;
	u->attempt = head->attempt;
	ftt_session_catches_up(&u->s);
	ftt_udp_update(&w->udp, u);
	ftt_udp_log_stage(w, u, FTT_UDP_CATCHING);
	return u;
}

/* Events of the message. False: the session is given up. */
static bool take(struct ftt_worker *w, struct ftt_udp_session *u, const uint8_t *bytes, uint32_t len, uint64_t now_ns)
{
	struct ftt_noted x;

	for (uint32_t at = 0, n; at < len && (n = ftt_noted_get(bytes + at, len - at, &x)); at += n) {
		if (!ftt_udp_note(w, u, &x) || !ftt_session_follows(&u->s, x.is_port, x.port, x.outputs)) {
			ftt_udp_backup_give_up(w, u, 0);
			return false;
		}
		if (ftt_cold(w))
			ftt_session_given(&u->s);
		else if (!u->log->left++)
			u->log->moved_ns = now_ns;
	}
	return true;
}

static bool is_well_formed(const uint8_t *bytes, uint32_t len)
{
	struct ftt_noted x;
	uint32_t at = 0, n;

	while (at < len && (n = ftt_noted_get(bytes + at, len - at, &x)))
		at += n;
	return at == len;
}

enum ftt_lane_answer ftt_udp_renew_message(struct ftt_worker *w, uint8_t from, const uint8_t *bytes, uint32_t len, uint64_t now_ns)
{
	struct ftt_record head, gone = {.type = FTT_REC_DETACHED};
	uint32_t at = (uint32_t)ftt_record_get(bytes, len, &head);
	struct ftt_udp_session *u;

	if (!at || head.type != FTT_REC_SENT || head.key.proto != 17 || !is_well_formed(bytes + at, len - at))
		return FTT_LANE_BAD;
	if (w->mode != FTT_MODE_BACKUP)
		return FTT_LANE_TAKEN;
	u = !w->udp.on ? NULL : head.flags & FTT_REC_FIRST ? begin_again(w, &head, from, now_ns) : ftt_udp_heard(w, &head.key, now_ns);
	if (!u && head.flags & FTT_REC_FIRST) { /* it has no place here */
		gone.key = head.key;
		gone.irs = head.irs;
		gone.attempt = head.attempt;
		ftt_channel_put_record(&w->channel, from, &gone, &w->n);
	}
	if (!u || u->start != head.irs || u->s.protection != FTT_CATCHING_UP || !u->log || ftt_udp_is_late(w, u, &head))
		return FTT_LANE_TAKEN;
	ftt_session_heard(&u->s, now_ns);
	if (!take(w, u, bytes + at, len - at, now_ns))
		return FTT_LANE_TAKEN;
	if (head.flags & FTT_REC_ALL) {
		w->n.renewed++;
		ftt_session_caught_up(&u->s);
		ftt_udp_update(&w->udp, u);
		ftt_udp_log_stage(w, u, FTT_UDP_STILL);
		head.flags |= FTT_REC_ASK;
	}
	if (ftt_udp_backup_more(w, u, now_ns))
		ftt_udp_backup_record(w, u, &head, now_ns);
	return FTT_LANE_TAKEN;
}

static void backup_tick(struct ftt_worker *w, struct ftt_udp_session *u, uint64_t now_ns)
{
	if (u->unrenewable || ftt_renewal_deserted(u->s.last_ns, now_ns)) {
		ftt_udp_backup_give_up(w, u, FTT_REC_LAGS);
	} else if (ftt_session_word_is_due(&u->s, u->log->told, u->log->told_ns, now_ns)) {
		u->log->told = u->s.acked;
		u->log->told_ns = now_ns;
		ftt_udp_backup_acknowledge(w, u);
	}
}

void ftt_udp_renew_drop(struct ftt_worker *w, const struct ftt_record *r)
{
	struct ftt_udp_session *u = ftt_udp_find(&w->udp, &r->key);

	if (u && u->start == r->irs && u->s.protection == FTT_CATCHING_UP && !ftt_udp_is_late(w, u, r))
		ftt_udp_forget(w, u);
}

/* --- both --------------------------------------------------------------------------------------- */

void ftt_udp_renew_tick(struct ftt_worker *w, uint64_t now_ns)
{
	for (struct ftt_list *at = w->udp.renewed.next, *next; at != &w->udp.renewed; at = next) {
		struct ftt_udp_session *u = FTT_ENTRY(at, struct ftt_udp_log, order)->u;

		next = at->next;
		(w->mode == FTT_MODE_BACKUP ? backup_tick : primary_tick)(w, u, now_ns);
	}
}

/* What it carried begins anew with the next one, also what it may have carried. Of what was asked the answer may be on its way. */
void ftt_udp_renew_cut(struct ftt_worker *w)
{
	struct ftt_list cut;

	ftt_list_init(&cut);
	ftt_list_move(&w->udp.renewed, &cut);
	while (!ftt_list_empty(&cut)) {
		struct ftt_udp_session *u = FTT_ENTRY(cut.next, struct ftt_udp_log, order)->u;

		if (w->mode == FTT_MODE_BACKUP) {
			ftt_udp_forget(w, u);
			continue;
		}
		if (u->log->stage == FTT_UDP_ASKED && u->s.protection == FTT_OPENING)
			ftt_session_detach(&u->s, FTT_WHY_COMMIT_LAG); /* the next tick asks for it */
		ftt_session_renewed_not(&u->s);
		ftt_udp_update(&w->udp, u);
		ftt_udp_log_stage(w, u, FTT_UDP_STILL); /* the next lane finds it */
	}
}

void ftt_udp_renew_role(struct ftt_worker *w)
{
	while (!ftt_list_empty(&w->udp.renewed)) {
		struct ftt_udp_session *u = FTT_ENTRY(w->udp.renewed.next, struct ftt_udp_log, order)->u;

		if (w->mode == FTT_MODE_PAIRED) { /* the mode that ends */
			ftt_session_renewed_not(&u->s);
			ftt_udp_update(&w->udp, u);
		}
		ftt_udp_log_stage(w, u, FTT_UDP_STILL);
	}
}
