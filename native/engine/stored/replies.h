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
	struct ftt_key key;
	uint8_t name[FTT_STORED_NAME];
	uint8_t id[FTT_STORED_ID];
	uint64_t number, when_s; /* of its last note */
	uint64_t since_ns;       /* when it began to run; 0: it does not */
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
	uint64_t bytes, number, cut;
	struct ftt_list order, waits; /* heads */
	struct ftt_list *next; /* in the order: what the backup is to be told next; the head: nothing */
	uint8_t *note; /* room for one */
	bool failed;   /* while opening: there was no memory */
	void (*told)(void *of);
	void *told_of;
};

/* 0, or -1 with a sentence in err. told(of): see segments.h. ftt_replies_close() in either case; it gives no packets back. */
int ftt_replies_open(struct ftt_replies *t, const struct ftt_stored_config *cfg, void (*told)(void *of), void *of, uint64_t now_s, char *err,
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
 * for the disk; then all is as before, unless the settings say that the service goes on: it is in memory only.
 */
struct ftt_request *ftt_replies_note(struct ftt_replies *t, const struct ftt_stored_note *x);
/* It runs from here on, or does not (0). */
void ftt_replies_runs(struct ftt_replies *t, struct ftt_request *r, uint64_t since_ns);
/* None does. */
void ftt_replies_rest(struct ftt_replies *t);
/* The number up to which notes are on stable storage here. */
uint64_t ftt_replies_there(const struct ftt_replies *t);
/* What is too old goes. */
void ftt_replies_expire(struct ftt_replies *t, uint64_t now_s);
/* The next note that the backup is to be told, at t->note; 0: there is none. It stays the next one until it is told. */
uint32_t ftt_replies_next(struct ftt_replies *t);
void ftt_replies_told(struct ftt_replies *t);

#endif
