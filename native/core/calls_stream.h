/* SPDX-License-Identifier: Apache-2.0 */
/*
 * calls_stream.h - the log of calls on its way to the other node: what threads wrote into their rings (lockstep/calls.h), in the order
 * in which an engine found it, as one stream. Of each thread the order is kept; between threads there is none.
 *
 * frame:   0 name of the ring u64, 8 bytes that follow u32, FTT_CALLS_LAST in it: the thread has ended, 12 these bytes
 * CALLS:   0 life u32: which start of the leader's server this is, 4 end u64: the place behind, 12 frames up to there
 * HELD:    0 life u32: of the last CALLS, 0: none came, 4 held u64: it has all before this place, 12 behind u64: bytes that its server has not read
 * BROKEN:  0 why u32, 4 made u16, 6 said u16, 8 pid u32, 12 thread u32, 16 number u64, 24 program: struct ftt_calls_break
 *
 * The primary's output may depend on all that was in the log when it was seen: it leaves when the backup holds that (gate.h).
 */
#ifndef FTTCP_CALLS_STREAM_H
#define FTTCP_CALLS_STREAM_H
#include <stdbool.h>
#include "core/env.h"
#include "core/packet/bytes.h"
#include "core/packet/mem.h"

#define FTT_CALLS_FRAME 12u
#define FTT_CALLS_FRAME_MAX 16384u /* bytes behind a frame's head */
#define FTT_CALLS_LAST 0x80000000u
#define FTT_CALLS_HEAD 12u
#define FTT_CALLS_HELD 20u
#define FTT_CALLS_BREAK 40u
#define FTT_CALLS_PROGRAM 16

struct ftt_calls_frame {
	uint64_t name; /* not 0 */
	uint32_t len;
	bool last;
	const uint8_t *bytes;
};

/* Where a log broke; numbers as in struct ftt_calls_break. */
struct ftt_calls_broke {
	uint32_t why, pid, thread;
	uint16_t made, said;
	uint64_t number;
	char program[FTT_CALLS_PROGRAM]; /* zeros behind it, if it is shorter */
};

static inline void ftt_calls_frame_put(uint8_t *p, uint64_t name, uint32_t len, bool last)
{
	put_be64(p, name);
	put_be32(p + 8, len | (last ? FTT_CALLS_LAST : 0));
}

/* The frame at p, of n bytes; its length, 0: there is none, or not all of it. */
static inline uint32_t ftt_calls_frame_get(const uint8_t *p, uint32_t n, struct ftt_calls_frame *f)
{
	uint32_t word;

	if (n < FTT_CALLS_FRAME)
		return 0;
	word = get_be32(p + 8);
	f->name = get_be64(p);
	f->len = word & ~FTT_CALLS_LAST;
	f->last = word & FTT_CALLS_LAST;
	f->bytes = p + FTT_CALLS_FRAME;
	return f->name && f->len <= FTT_CALLS_FRAME_MAX && f->len <= n - FTT_CALLS_FRAME ? FTT_CALLS_FRAME + f->len : 0;
}

static inline void ftt_calls_broke_put(uint8_t p[FTT_CALLS_BREAK], const struct ftt_calls_broke *b)
{
	put_be32(p, b->why);
	put_be16(p + 4, b->made);
	put_be16(p + 6, b->said);
	put_be32(p + 8, b->pid);
	put_be32(p + 12, b->thread);
	put_be64(p + 16, b->number);
	memcpy(p + 24, b->program, FTT_CALLS_PROGRAM);
}

static inline void ftt_calls_broke_get(const uint8_t p[FTT_CALLS_BREAK], struct ftt_calls_broke *b)
{
	b->why = get_be32(p);
	b->made = get_be16(p + 4);
	b->said = get_be16(p + 6);
	b->pid = get_be32(p + 8);
	b->thread = get_be32(p + 12);
	b->number = get_be64(p + 16);
	memcpy(b->program, p + 24, FTT_CALLS_PROGRAM);
}

/*
 * A ring that holds `size` bytes, as memory shows it that a server can write: from `at` on, which is our own number, `written` says how much
 * is there. True: n bytes; false: it is damaged.
 */
static inline bool ftt_calls_there(uint64_t at, uint64_t written, uint32_t size, uint32_t *n)
{
	*n = written - at <= size ? (uint32_t)(written - at) : 0;
	return written - at <= size;
}

/* The other way: we have written up to `written`, its reader was at `before`. True: there is room for n bytes; false: it is damaged. */
static inline bool ftt_calls_room(uint64_t before, uint64_t read, uint64_t written, uint32_t size, uint32_t *n)
{
	bool sound = read - before <= written - before;

	*n = sound ? size - (uint32_t)(written - read) : 0;
	return sound;
}

/* May `more` bytes of it be kept beside `kept`? */
static inline bool ftt_calls_may_keep(uint64_t kept, uint64_t more, const struct ftt_policy *policy)
{
	return kept + more <= policy->calls_log;
}

/* Outputs wait since then for the backup to hold what was in the log. Too long, for a service that is to go on? */
static inline bool ftt_calls_late(uint64_t since_ns, const struct ftt_env *env)
{
	return since_ns && env->now_ns - since_ns > env->policy->detach_after_ns;
}

#endif
