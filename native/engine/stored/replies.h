/* SPDX-License-Identifier: Apache-2.0 */
/*
 * replies.h - the requests that a worker knows, with their replies: all in memory, each note of them in segments.h.
 *
 * They stand in the order of their notes. So what is kept, what the backup has and what is too old ends at one place of that order each.
 */
#ifndef FTTCP_REPLIES_H
#define FTTCP_REPLIES_H
#include "engine/flows/keyed.h"
#include "engine/flows/list.h"
#include "engine/stored/segments.h"

struct ftt_request {
	struct ftt_request *same_next, *runs_next; /* of its buckets */
	struct ftt_list order; /* by number */
	struct ftt_list waits; /* with its packet, until its note is kept; else alone */
	struct ftt_list running; /* while it runs */
	struct ftt_key key;
	uint8_t name[FTT_STORED_NAME];
	uint8_t id[FTT_STORED_ID];
	uint64_t number, when_s; /* of its last note */
	uint64_t since_ns;       /* when it began to run; 0: it does not */
	uint64_t waits_ns;       /* since when its packet waits */
	uint8_t *reply;
	uint32_t reply_len;
	uint32_t packet; /* that waits */
	uint16_t queue;
	uint8_t kind;
};

struct ftt_replies {
	struct ftt_stored_config cfg;
	struct ftt_segments *segments;
	struct ftt_secret secret;
	struct ftt_request **same, **runs; /* buckets, by name and by who runs */
	uint32_t mask, n;
	uint64_t bytes, number;
	uint64_t given; /* the number of the last note that the disk was given */
	uint64_t opened_s; /* by the clock of notes */
	struct ftt_list order, waits, running; /* heads */
	struct ftt_list *next; /* in the order: what the backup is to be told next; the head: nothing */
	uint8_t *note; /* room for one */
};

/*
 * Has what is stored read by another thread: until ftt_segments_read() nothing else may be asked. 0, or -1 with a sentence in err. `user`: what it calls,
 * but found(). now_s: by the clock of notes, as all times of that name. ftt_replies_close() in either case; it gives no packets back.
 */
int ftt_replies_open(struct ftt_replies *t, const struct ftt_stored_config *cfg, const struct ftt_segments_user *user, uint64_t now_s, char *err,
		     size_t err_len);
void ftt_replies_close(struct ftt_replies *t);

/* What names a request with this payload. */
void ftt_replies_name(const struct ftt_replies *t, const struct ftt_key *key, const uint8_t *payload, uint32_t len, uint8_t name[FTT_STORED_NAME]);
struct ftt_request *ftt_replies_find(const struct ftt_replies *t, const uint8_t name[FTT_STORED_NAME]);
/* The one that runs, of this port and id: what the server says to that port answers it. */
struct ftt_request *ftt_replies_running(const struct ftt_replies *t, const struct ftt_key *key, const uint8_t id[FTT_STORED_ID]);

/* Is there room for one more, with a reply of that length? With `forgets` older ones make room: any may be gone. */
bool ftt_replies_room(struct ftt_replies *t, uint32_t reply_len, bool forgets);
/*
 * Notes it, in memory and for the disk: x has all but the number. What is known of that name already is changed. NULL: no memory, or too much waits
 * for the disk; then all is as before. With `go_on` it is in memory only in place of that.
 */
struct ftt_request *ftt_replies_note(struct ftt_replies *t, const struct ftt_stored_note *x, bool go_on);
/* It runs from here on, or does not (0). */
void ftt_replies_runs(struct ftt_replies *t, struct ftt_request *r, uint64_t since_ns);
/* None does. */
void ftt_replies_rest(struct ftt_replies *t);
/* What is too old goes, some at once. */
void ftt_replies_expire(struct ftt_replies *t, uint64_t now_s);
/* The backup is to be told all notes behind that number, from here on. */
void ftt_replies_tell_behind(struct ftt_replies *t, uint64_t number);
/* The next of them, at t->note, with its age; 0: there is none. It stays the next one until it is told: returns its number. */
uint32_t ftt_replies_next(struct ftt_replies *t, uint64_t now_s);
uint64_t ftt_replies_told(struct ftt_replies *t);

#endif
