/* SPDX-License-Identifier: Apache-2.0 */
/* replies.c - see replies.h. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include "engine/stored/replies.h"

#define SEGMENTS 8u /* that the bytes of all notes fill, about */
#define SEGMENT_LEAST (1u << 20)
#define EXPIRE_AT_ONCE 4096u /* so that packets get their turn */

/* --- buckets -------------------------------------------------------------------------------------------- */

static uint32_t hash(const struct ftt_replies *t, const void *of, size_t len)
{
	uint8_t out[crypto_shorthash_BYTES];
	uint32_t h;

	crypto_shorthash(out, of, len, t->secret.bytes);
	memcpy(&h, out, sizeof(h));
	return h & t->mask;
}

static struct ftt_request **bucket_same(const struct ftt_replies *t, const uint8_t name[FTT_STORED_NAME])
{
	return &t->same[hash(t, name, FTT_STORED_NAME)];
}

static struct ftt_request **bucket_runs(const struct ftt_replies *t, const struct ftt_key *key, const uint8_t id[FTT_STORED_ID])
{
	uint8_t of[sizeof(*key) + FTT_STORED_ID];

	memcpy(of, key, sizeof(*key));
	memcpy(of + sizeof(*key), id, FTT_STORED_ID);
	return &t->runs[hash(t, of, sizeof(of))];
}

void ftt_replies_name(const struct ftt_replies *t, const struct ftt_key *key, const uint8_t *payload, uint32_t len, uint8_t name[FTT_STORED_NAME])
{
	crypto_generichash_state state;
	uint8_t ports[5], id[FTT_STORED_ID];

	put_be16(ports, key->remote_port);
	put_be16(ports + 2, key->local_port);
	ports[4] = t->cfg.by_id;
	crypto_generichash_init(&state, NULL, 0, FTT_STORED_NAME);
	crypto_generichash_update(&state, key->remote, sizeof(key->remote));
	crypto_generichash_update(&state, key->local, sizeof(key->local));
	crypto_generichash_update(&state, ports, sizeof(ports));
	ftt_stored_id(&t->cfg, payload, len, id);
	if (t->cfg.by_id)
		crypto_generichash_update(&state, id, sizeof(id));
	else
		crypto_generichash_update(&state, payload, len);
	crypto_generichash_final(&state, name, FTT_STORED_NAME);
}

struct ftt_request *ftt_replies_find(const struct ftt_replies *t, const uint8_t name[FTT_STORED_NAME])
{
	struct ftt_request *r = *bucket_same(t, name);

	while (r && memcmp(r->name, name, FTT_STORED_NAME))
		r = r->same_next;
	return r;
}

struct ftt_request *ftt_replies_running(const struct ftt_replies *t, const struct ftt_key *key, const uint8_t id[FTT_STORED_ID])
{
	struct ftt_request *r = *bucket_runs(t, key, id);

	while (r && (memcmp(&r->key, key, sizeof(*key)) || memcmp(r->id, id, FTT_STORED_ID)))
		r = r->runs_next;
	return r;
}

void ftt_replies_runs(struct ftt_replies *t, struct ftt_request *r, uint64_t since_ns)
{
	struct ftt_request **at = bucket_runs(t, &r->key, r->id);

	if (!r->since_ns == !since_ns) {
		r->since_ns = since_ns;
		return;
	}
	if (since_ns) {
		r->runs_next = *at;
		*at = r;
		ftt_list_add(&r->running, t->running.prev);
	} else {
		while (*at != r)
			at = &(*at)->runs_next;
		*at = r->runs_next;
		ftt_list_remove(&r->running);
	}
	r->since_ns = since_ns;
}

void ftt_replies_rest(struct ftt_replies *t)
{
	while (!ftt_list_empty(&t->running))
		ftt_replies_runs(t, FTT_ENTRY(t->running.next, struct ftt_request, running), 0);
}

/* --- requests --------------------------------------------------------------------------------------------- */

/* Takes it out of the order; what is told next goes on behind it. */
static void leave_order(struct ftt_replies *t, struct ftt_request *r)
{
	if (t->next == &r->order)
		t->next = r->order.next;
	ftt_list_remove(&r->order);
}

static void enter_order(struct ftt_replies *t, struct ftt_request *r)
{
	ftt_list_add(&r->order, t->order.prev);
	if (t->next == &t->order)
		t->next = &r->order;
}

/* It has no packet that waits. */
static void forget(struct ftt_replies *t, struct ftt_request *r)
{
	struct ftt_request **at = bucket_same(t, r->name);

	ftt_replies_runs(t, r, 0);
	while (*at != r)
		at = &(*at)->same_next;
	*at = r->same_next;
	leave_order(t, r);
	t->bytes -= FTT_STORED_COST + r->reply_len;
	t->n--;
	free(r->reply);
	free(r);
}

/* The oldest one; NULL: there is none, or it waits for the disk. */
static struct ftt_request *oldest(const struct ftt_replies *t)
{
	struct ftt_request *r = ftt_list_empty(&t->order) ? NULL : FTT_ENTRY(t->order.next, struct ftt_request, order);

	return r && ftt_list_empty(&r->waits) ? r : NULL;
}

static bool fits(const struct ftt_replies *t, uint32_t more)
{
	return t->bytes + more <= t->cfg.bytes;
}

bool ftt_replies_room(struct ftt_replies *t, uint32_t reply_len, bool forgets)
{
	struct ftt_request *r;

	while (!fits(t, FTT_STORED_COST + reply_len) && forgets && (r = oldest(t)))
		forget(t, r);
	return fits(t, FTT_STORED_COST + reply_len);
}

static struct ftt_request *new_request(struct ftt_replies *t, const struct ftt_stored_note *x)
{
	struct ftt_request *r = calloc(1, sizeof(*r)), **at = bucket_same(t, x->name);

	if (!r)
		return NULL;
	memcpy(r->name, x->name, sizeof(r->name));
	r->key = x->key;
	ftt_list_init(&r->waits);
	r->same_next = *at;
	*at = r;
	enter_order(t, r);
	t->bytes += FTT_STORED_COST;
	t->n++;
	return r;
}

/* Takes a note up in memory; NULL: there is no memory, and nothing has changed. */
static struct ftt_request *take(struct ftt_replies *t, const struct ftt_stored_note *x)
{
	uint8_t *reply = x->reply_len ? malloc(x->reply_len) : NULL;
	struct ftt_request *r = NULL;

	if (!x->reply_len || reply)
		r = ftt_replies_find(t, x->name);
	if ((x->reply_len && !reply) || (!r && !(r = new_request(t, x)))) {
		free(reply);
		return NULL;
	}
	if (reply)
		memcpy(reply, x->reply, x->reply_len);
	leave_order(t, r);
	enter_order(t, r);
	ftt_replies_runs(t, r, 0); /* by the id of before */
	memcpy(r->id, x->id, sizeof(r->id));
	t->bytes += (uint64_t)x->reply_len - r->reply_len;
	free(r->reply);
	r->reply = reply;
	r->reply_len = x->reply_len;
	r->kind = x->kind;
	r->number = x->number;
	r->when_s = x->when_s;
	return r;
}

static bool is_old(const struct ftt_replies *t, uint64_t when_s, uint64_t now_s)
{
	return when_s + t->cfg.keep_s < now_s;
}

/* At a start: what is too old, or too much, is not taken up. Nothing is younger than now, whatever the clock was. */
static int found(void *of, const struct ftt_stored_note *x)
{
	struct ftt_stored_note y = *x;
	struct ftt_replies *t = of;

	t->number = x->number > t->number ? x->number : t->number;
	t->given = t->number;
	y.when_s = x->when_s < t->opened_s ? x->when_s : t->opened_s;
	if (is_old(t, y.when_s, t->opened_s))
		return 0;
	ftt_replies_room(t, x->reply_len, true);
	return take(t, &y) ? 0 : ENOMEM;
}

struct ftt_request *ftt_replies_note(struct ftt_replies *t, const struct ftt_stored_note *x, bool go_on)
{
	struct ftt_stored_note numbered = *x;
	uint32_t len;
	bool given;

	numbered.number = t->number + 1;
	len = ftt_stored_put(t->note, &numbered);
	given = ftt_segments_put(t->segments, t->note, len, numbered.number);
	if (!given && !go_on)
		return NULL;
	t->given = given ? numbered.number : t->given;
	t->number++; /* even if memory lacks: a later start finds what is written */
	return take(t, &numbered);
}

void ftt_replies_expire(struct ftt_replies *t, uint64_t now_s)
{
	struct ftt_request *r;

	for (unsigned most = EXPIRE_AT_ONCE; most && (r = oldest(t)) && is_old(t, r->when_s, now_s); most--)
		forget(t, r);
	ftt_segments_forget(t->segments, ftt_list_empty(&t->order) ? t->number + 1 : FTT_ENTRY(t->order.next, struct ftt_request, order)->number);
}

/* --- for the backup ------------------------------------------------------------------------------------------ */

void ftt_replies_tell_behind(struct ftt_replies *t, uint64_t number)
{
	t->next = number ? &t->order : t->order.next;
	while (number && t->next->prev != &t->order && FTT_ENTRY(t->next->prev, struct ftt_request, order)->number > number)
		t->next = t->next->prev;
}

uint32_t ftt_replies_next(struct ftt_replies *t, uint64_t now_s)
{
	const struct ftt_request *r;
	struct ftt_stored_note x;

	if (t->next == &t->order)
		return 0;
	r = FTT_ENTRY(t->next, struct ftt_request, order);
	x = (struct ftt_stored_note){.number = r->number, .when_s = now_s - r->when_s, .key = r->key, .kind = r->kind, .id_len = t->cfg.id_len,
				     .reply = r->reply, .reply_len = r->reply_len};
	memcpy(x.name, r->name, sizeof(x.name));
	memcpy(x.id, r->id, sizeof(x.id));
	return ftt_stored_put(t->note, &x);
}

uint64_t ftt_replies_told(struct ftt_replies *t)
{
	uint64_t number = FTT_ENTRY(t->next, struct ftt_request, order)->number;

	t->next = t->next->next;
	return number;
}

/* --- life ------------------------------------------------------------------------------------------------------ */

int ftt_replies_open(struct ftt_replies *t, const struct ftt_stored_config *cfg, const struct ftt_segments_user *user, uint64_t now_s, char *err,
		     size_t err_len)
{
	struct ftt_segments_user ours = *user;
	uint64_t segment = cfg->bytes / SEGMENTS;
	uint32_t buckets = 1024;

	memset(t, 0, sizeof(*t));
	t->cfg = *cfg;
	t->opened_s = now_s;
	ftt_list_init(&t->order);
	ftt_list_init(&t->waits);
	ftt_list_init(&t->running);
	t->next = &t->order;
	while (buckets < 1u << 22 && (uint64_t)buckets * FTT_STORED_COST < cfg->bytes)
		buckets *= 2;
	t->mask = buckets - 1;
	randombytes_buf(t->secret.bytes, sizeof(t->secret.bytes));
	t->same = calloc(buckets, sizeof(*t->same));
	t->runs = calloc(buckets, sizeof(*t->runs));
	t->note = malloc(FTT_STORED_NOTE_MAX);
	if (!t->same || !t->runs || !t->note) {
		snprintf(err, err_len, "stored replies: out of memory");
		return -1;
	}
	ours.found_of = t;
	ours.found = found;
	t->segments = ftt_segments_open(cfg->dir, segment > SEGMENT_LEAST ? segment : SEGMENT_LEAST, &ours, err, err_len);
	return t->segments ? 0 : -1;
}

void ftt_replies_close(struct ftt_replies *t)
{
	struct ftt_request *r;

	ftt_segments_close(t->segments);
	while (t->order.next && !ftt_list_empty(&t->order)) {
		r = FTT_ENTRY(t->order.next, struct ftt_request, order);
		ftt_list_init(&r->waits);
		forget(t, r);
	}
	free(t->same);
	free(t->runs);
	free(t->note);
	memset(t, 0, sizeof(*t));
}
