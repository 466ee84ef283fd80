/* SPDX-License-Identifier: Apache-2.0 */
/* stored_lane.c - notes of requests and replies on their way to the backup, and what that says of them; see stored.h. */
#define _GNU_SOURCE
#include "engine/flows/stored.h"

#define WORD 12u  /* bytes of an FTT_LANE_STORED_TO */
#define SAME_S 2u /* ages of one note, told twice, differ by less */

/* --- primary ------------------------------------------------------------------------------------------------ */

void ftt_stored_pump(struct ftt_worker *w)
{
	struct ftt_stored *s = w->stored;
	uint64_t now_s;
	uint32_t len;

	if (!s || w->mode != FTT_MODE_PAIRED || !ftt_lane_up(&w->lane, 0))
		return;
	now_s = ftt_stored_now_s(s, ftt_now_ns());
	while ((len = ftt_replies_next(&s->t, now_s))) {
		if (ftt_lane_room(&w->lane, 0) < len || !ftt_lane_send(&w->lane, 0, FTT_LANE_STORED, s->t.note, len))
			return;
		ftt_stored_pair_sent(&s->pair, ftt_replies_told(&s->t));
	}
}

static enum ftt_lane_answer heard(struct ftt_worker *w, const uint8_t *bytes, uint32_t len)
{
	if (len != WORD)
		return FTT_LANE_BAD;
	if (w->mode == FTT_MODE_PAIRED)
		ftt_stored_pair_word(&w->stored->pair, get_be64(bytes), get_be32(bytes + 8), ftt_now_ns());
	return FTT_LANE_TAKEN;
}

/* --- backup --------------------------------------------------------------------------------------------------- */

/* While the disk is busy notes gather; the last of them is asked about next. */
static void look_how_far(struct ftt_stored *s)
{
	for (;;) {
		if (!s->theirs_asked) {
			s->mine_asked = s->mine;
			s->theirs_asked = s->theirs;
		}
		if (!s->theirs_asked || ftt_segments_there(s->t.segments) < s->mine_asked)
			return;
		s->theirs_stored = s->theirs_asked;
		if (s->theirs == s->theirs_asked)
			s->mine = s->theirs = 0;
		s->theirs_asked = 0;
	}
}

void ftt_stored_say(struct ftt_worker *w)
{
	struct ftt_stored *s = w->stored;
	uint8_t word[WORD];

	if (w->mode != FTT_MODE_BACKUP || !ftt_lane_up(&w->lane, 0))
		return;
	look_how_far(s);
	if (s->said == (int64_t)s->theirs_stored && s->said_trouble == s->trouble)
		return;
	put_be64(word, s->theirs_stored);
	put_be32(word + 8, (uint32_t)s->trouble);
	if (!ftt_lane_send(&w->lane, 0, FTT_LANE_STORED_TO, word, sizeof(word)))
		return;
	s->said = (int64_t)s->theirs_stored;
	s->said_trouble = s->trouble;
}

/* What is known already needs no new note. */
static struct ftt_request *known(const struct ftt_stored *s, const struct ftt_stored_note *x)
{
	struct ftt_request *r = ftt_replies_find(&s->t, x->name);
	uint64_t apart_s = r ? (r->when_s > x->when_s ? r->when_s - x->when_s : x->when_s - r->when_s) : 0;
	bool same = r && r->kind == x->kind && apart_s <= SAME_S && r->reply_len == x->reply_len;

	return same && (!x->reply_len || !memcmp(r->reply, x->reply, x->reply_len)) ? r : NULL;
}

static enum ftt_lane_answer noted(struct ftt_worker *w, const uint8_t *bytes, uint32_t len)
{
	struct ftt_stored *s = w->stored;
	uint64_t theirs, now_s = ftt_stored_now_s(s, ftt_now_ns());
	struct ftt_stored_note x;
	const struct ftt_request *r;
	uint32_t n;

	if (ftt_stored_get(bytes, len, &x, &n) != FTT_STORED_FOUND || n != len)
		return FTT_LANE_BAD;
	if (w->mode != FTT_MODE_BACKUP)
		return FTT_LANE_TAKEN;
	theirs = x.number;
	x.when_s = now_s - (x.when_s < now_s ? x.when_s : now_s);
	r = known(s, &x);
	if (!r) {
		ftt_replies_room(&s->t, x.reply_len, true);
		r = ftt_replies_note(&s->t, &x, false);
	}
	s->refused = !r;
	if (!r)
		return FTT_LANE_NOT_NOW;
	s->mine = r->number > s->mine ? r->number : s->mine;
	s->theirs = theirs;
	return FTT_LANE_TAKEN;
}

/* --- both ------------------------------------------------------------------------------------------------------- */

enum ftt_lane_answer ftt_stored_message(struct ftt_worker *w, uint8_t kind, const uint8_t *bytes, uint32_t len)
{
	if (!w->stored) /* the other node's settings differ: told by the terms of both */
		return FTT_LANE_TAKEN;
	return kind == FTT_LANE_STORED ? noted(w, bytes, len) : heard(w, bytes, len);
}

void ftt_stored_lane(struct ftt_worker *w, bool up)
{
	struct ftt_stored *s = w->stored;

	if (!s)
		return;
	ftt_stored_pair_lane(&s->pair, up, ftt_now_ns());
	ftt_replies_tell_behind(&s->t, s->pair.acked);
	s->refused = false;
	s->mine = s->theirs = s->mine_asked = s->theirs_asked = s->theirs_stored = 0;
	s->said = -1;
	ftt_stored_say(w);
	ftt_stored_pump(w);
}
