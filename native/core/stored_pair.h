/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stored_pair.h - primary: how far its backup is with what is stored (stored.h), and whether anything waits for that.
 *
 * A backup that has stored all that there was is in step: from then on a packet leaves when its note is stored on both nodes. One that owes its
 * word for longer than a bound is let go of: the primary goes on alone, with its own disk. It is in step again when it has stored all, but not at
 * once: after each such failure that follows soon on another the primary waits for longer, since each costs clients that bound.
 */
#ifndef FTTCP_STORED_PAIR_H
#define FTTCP_STORED_PAIR_H
#include <stdbool.h>
#include <stdint.h>
#include "core/packet/mem.h"
#include "core/types.h"

#define FTT_STORED_AGAIN_NS 1000000000ull /* after a failure it is in step again no sooner */
#define FTT_STORED_AGAIN_MOST_NS 64000000000ull

enum ftt_stored_stage {
	FTT_STORED_ALONE = 0, /* nothing waits for it */
	FTT_STORED_JOINS = 1, /* it has stored what there was; what left meanwhile is on its way, and nothing leaves without it from here on */
	FTT_STORED_BOTH = 2   /* it is in step */
};

struct ftt_stored_pair {
	uint64_t pairing;   /* all of this is of that one */
	uint64_t sent;      /* the number of the last note that it was sent */
	uint64_t acked;     /* ... up to which it has stored */
	uint64_t goal;      /* ... up to which it has to store for the next stage, once that is known */
	uint64_t unwell_ns; /* since when there is no connection, no word on that, or trouble with its disk; 0: all is well */
	uint64_t step_ns;   /* since when it is in step */
	uint64_t again_ns;  /* no sooner is it in step again */
	uint64_t wait_ns;   /* between its last failure and that */
	uint32_t trouble;   /* errno of its disk, as it told */
	uint8_t stage;      /* enum ftt_stored_stage */
	uint8_t lag;        /* enum ftt_stored_lag: why it is not in step */
	bool up, spoken;    /* there is a connection; it has said something on that */
	bool aimed;         /* the goal is known */
};

/* Another pairing begins; 0: there is none. */
static inline void ftt_stored_pair_begin(struct ftt_stored_pair *p, uint64_t pairing, uint64_t now_ns)
{
	memset(p, 0, sizeof(*p));
	p->pairing = pairing;
	p->unwell_ns = now_ns;
	p->lag = pairing ? FTT_STORED_CATCHES_UP : FTT_STORED_NO_LAG;
}

static inline void ftt_stored_pair_look_well(struct ftt_stored_pair *p, uint64_t now_ns)
{
	bool well = p->up && p->spoken && !p->trouble;

	p->unwell_ns = well ? 0 : p->unwell_ns ? p->unwell_ns : now_ns;
}

/* A connection begins or ends. What it has stored it has, in the same pairing: what is behind that is sent again. */
static inline void ftt_stored_pair_lane(struct ftt_stored_pair *p, bool up, uint64_t now_ns)
{
	p->up = up;
	p->spoken = p->aimed = false;
	p->trouble = 0;
	ftt_stored_pair_look_well(p, now_ns);
}

/* It says up to which number it has stored, and what is wrong with its disk. */
static inline void ftt_stored_pair_word(struct ftt_stored_pair *p, uint64_t number, uint32_t trouble, uint64_t now_ns)
{
	p->spoken = true;
	p->trouble = trouble;
	if (number > p->acked && number <= p->sent)
		p->acked = number;
	ftt_stored_pair_look_well(p, now_ns);
}

static inline void ftt_stored_pair_sent(struct ftt_stored_pair *p, uint64_t number)
{
	p->sent = number > p->sent ? number : p->sent;
}

/* The number up to which notes are kept by all that are waited for; `here`: by this node. */
static inline uint64_t ftt_stored_pair_kept(const struct ftt_stored_pair *p, uint64_t here)
{
	return p->stage != FTT_STORED_ALONE && p->acked < here ? p->acked : here;
}

static inline enum ftt_stored_lag ftt_stored_pair_lag(const struct ftt_stored_pair *p, uint64_t bound_ns, uint64_t now_ns)
{
	bool long_since = p->unwell_ns && now_ns - p->unwell_ns > bound_ns;

	if (p->stage == FTT_STORED_BOTH)
		return FTT_STORED_NO_LAG;
	if (long_since && !p->up)
		return FTT_STORED_NO_LANE;
	if (p->trouble)
		return FTT_STORED_ITS_DISK;
	if (long_since)
		return FTT_STORED_SAYS_NOTHING;
	return now_ns < p->again_ns ? FTT_STORED_LATE : FTT_STORED_CATCHES_UP;
}

static inline void ftt_stored_pair_let_go(struct ftt_stored_pair *p, uint64_t now_ns)
{
	bool lasted = p->stage == FTT_STORED_BOTH && now_ns - p->step_ns > FTT_STORED_AGAIN_MOST_NS;
	uint64_t wait_ns = lasted || !p->wait_ns ? FTT_STORED_AGAIN_NS : 2 * p->wait_ns;

	p->wait_ns = wait_ns < FTT_STORED_AGAIN_MOST_NS ? wait_ns : FTT_STORED_AGAIN_MOST_NS;
	p->again_ns = now_ns + p->wait_ns;
	p->stage = FTT_STORED_ALONE;
	p->aimed = false;
}

/* It has stored all that there was when it was looked at first; `told`: it was sent all that there is. */
static inline bool ftt_stored_pair_there(struct ftt_stored_pair *p, bool told)
{
	if (told && !p->aimed) {
		p->goal = p->sent;
		p->aimed = true;
	}
	return p->aimed && !p->unwell_ns && p->acked >= p->goal;
}

/*
 * What time, words and notes have changed. waits_ns: since when a packet waits whose note it has not stored; 0: none does. True: `lag` is another
 * one.
 */
static inline bool ftt_stored_pair_look(struct ftt_stored_pair *p, bool told, uint64_t waits_ns, uint64_t bound_ns, uint64_t now_ns)
{
	uint64_t owes_ns = waits_ns && (!p->unwell_ns || waits_ns < p->unwell_ns) ? waits_ns : p->unwell_ns;
	uint8_t before = p->lag;

	if (p->stage != FTT_STORED_ALONE && owes_ns && now_ns - owes_ns > bound_ns)
		ftt_stored_pair_let_go(p, now_ns);
	if (p->stage == FTT_STORED_ALONE && now_ns >= p->again_ns && ftt_stored_pair_there(p, told)) {
		p->stage = FTT_STORED_JOINS;
		p->aimed = false;
	}
	if (p->stage == FTT_STORED_JOINS && ftt_stored_pair_there(p, told)) {
		p->stage = FTT_STORED_BOTH;
		p->step_ns = now_ns;
	}
	p->lag = (uint8_t)ftt_stored_pair_lag(p, bound_ns, now_ns);
	return p->lag != before;
}

#endif
