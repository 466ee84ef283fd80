/* SPDX-License-Identifier: Apache-2.0 */
/* kept.c - see kept.h. */
#define _GNU_SOURCE
#include <stdlib.h>
#include "engine/flows/kept.h"
#include "engine/history/file.h"

#define WORDS 65536u /* that wait; of what is beyond the primary asks again (PROBE) */

struct ftt_word {
	struct ftt_word *next;
	uint64_t place; /* of the file, up to which it has to be kept */
	uint8_t to;
	struct ftt_record r;
};

static bool is_kept(const struct ftt_worker *w, uint64_t place)
{
	return !w->e->history_file || ftt_history_file_why(w->e->history_file) || ftt_history_file_there(w->e->history_file) >= place;
}

void ftt_kept_tell(struct ftt_worker *w, uint8_t to, const struct ftt_record *r)
{
	struct ftt_word *word;

	if (!w->words && is_kept(w, w->filed_place)) {
		ftt_channel_put_record(&w->channel, to, r, &w->n);
		return;
	}
	if (w->n_words == WORDS || !(word = calloc(1, sizeof(*word))))
		return;
	word->place = w->filed_place;
	word->to = to;
	word->r = *r;
	*(w->words ? &w->last_word->next : &w->words) = word;
	w->last_word = word;
	w->n_words++;
	ftt_kept_release(w);
}

static void pop(struct ftt_worker *w)
{
	struct ftt_word *word = w->words;

	w->words = word->next;
	w->n_words--;
	free(word);
}

static void release(struct ftt_worker *w)
{
	while (w->words && is_kept(w, w->words->place)) {
		ftt_channel_put_record(&w->channel, w->words->to, &w->words->r, &w->n);
		pop(w);
	}
}

void ftt_kept_release(struct ftt_worker *w)
{
	release(w);
	if (!w->words)
		return;
	atomic_store(&w->e->file_awaited, true);
	release(w); /* the disk may have been faster than we were to say that we wait: then it has woken nobody */
}

void ftt_kept_anew(struct ftt_worker *w)
{
	w->filed_place = 0;
	for (struct ftt_word *word = w->words; word; word = word->next)
		word->place = 0;
}

void ftt_kept_drop(struct ftt_worker *w)
{
	while (w->words)
		pop(w);
}
