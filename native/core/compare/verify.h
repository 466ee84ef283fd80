/* SPDX-License-Identifier: Apache-2.0 */
/*
 * verify.h - both servers' outputs are equal up to where? What follows from that for a flow; see digest.h.
 *
 * The backup knows it first, and needs it: a flow goes on after a takeover only if all that its client may have of
 * the old primary is verified (I3). The primary hears of it with the COMMITs, to tell people, and to let go
 * in time of a flow that would not go on.
 *
 * A difference has two kinds. Where the streams are equal again behind it, or both servers have come to rest at the
 * same place, it was one of equal length: a date, a random token. Anything else has shifted the stream, and what comes
 * behind it would reach the client at a wrong place.
 */
#ifndef FTTCP_VERIFY_H
#define FTTCP_VERIFY_H
#include "core/compare/digest.h"

#define FTT_REST_NS 20000000ull  /* a server that says nothing for so long, and could, has come to the end of an answer */
#define FTT_SORT_NS 200000000ull /* a difference that has not shown to be of equal length until then has shifted the stream */

enum ftt_judged { FTT_EQUAL, FTT_DIFFERENT, FTT_DIFFERENT_STILL };

/* Both sums of all output before stream offset `at`. */
static inline enum ftt_judged ftt_output_judge(struct ftt_flow *f, uint32_t at, uint32_t ours, uint32_t theirs)
{
	bool before = f->bits & FTT_F_DIFFERS;

	if (ours == theirs) {
		f->verified = at;
		f->differed = seq_max(f->differed, f->client_acked); /* what it has all of does not matter any more */
		f->bits &= ~(uint32_t)FTT_F_DIFFERS;
		return FTT_EQUAL;
	}
	f->bits |= FTT_F_DIFFERS;
	f->differed = ftt_output_seq(f, at);
	return before ? FTT_DIFFERENT_STILL : FTT_DIFFERENT;
}

/* Backup: output up to stream offset `at` has left the primary. False when that is nothing new. */
static inline bool ftt_output_tell(struct ftt_flow *f, uint32_t at)
{
	if (!(f->bits & FTT_F_SUMS) || !seq_gt(at, f->told))
		return false;
	f->told = at;
	f->assured = seq_max(f->assured, at);
	return true;
}

/*
 * Primary: output up to stream offset `at` leaves, of which the backup is to know. True when it has to know before;
 * false where it has told us the same sum, and counts on it.
 */
static inline bool ftt_output_leaves(struct ftt_flow *f, uint32_t at)
{
	if (seq_gt(at, f->told))
		f->told = at;
	if (seq_leq(at, f->assured))
		return false;
	f->assured = at;
	return true;
}

/* Primary: the backup has offered the sum of all before `at`, and it is ours. */
static inline void ftt_output_assured(struct ftt_flow *f, uint32_t at)
{
	f->assured = seq_max(f->assured, at);
}

/* Backup: it offers its own sum of all before `at`. False where that is nothing new. */
static inline bool ftt_output_offers(struct ftt_flow *f, uint32_t at)
{
	if (!(f->bits & FTT_F_SUMS) || seq_leq(at, f->assured))
		return false;
	f->assured = at;
	return true;
}

/* Backup: the primary can compare no more. What was offered proves nothing then. */
static inline void ftt_output_unoffered(struct ftt_flow *f)
{
	f->assured = f->told;
}

/* Output is not at hand that may have to be sent: it cannot be vouched for. */
static inline void ftt_output_lost(struct ftt_flow *f)
{
	f->bits |= FTT_F_DIFFERS;
}

/* Up to where the client has acknowledged the stream; a FIN is no part of it. */
static inline uint32_t ftt_output_acked(const struct ftt_flow *f)
{
	bool fin = f->bits & FTT_F_LOCAL_FIN && f->client_acked == f->fin_end;

	return ftt_output_offset(f, f->client_acked) - fin;
}

/* Backup: do both servers stand at one place, of which the client has all, with room for more? */
static inline bool ftt_output_rests(const struct ftt_flow *f, uint32_t seen)
{
	return f->bits & FTT_F_DIFFERS && f->told == seen && ftt_output_acked(f) == seen && f->client_wnd;
}

/* If they have stood there for a while, what differed had the same length. True when that is found. */
static inline bool ftt_output_even(struct ftt_flow *f, uint32_t seen, uint64_t now_ns)
{
	if (!ftt_output_rests(f, seen)) {
		f->lag_since_ns = 0;
		return false;
	}
	if (!f->lag_since_ns)
		f->lag_since_ns = now_ns;
	if (now_ns - f->lag_since_ns < FTT_REST_NS)
		return false;
	f->verified = seen;
	f->bits &= ~(uint32_t)FTT_F_DIFFERS;
	return true;
}

/* Primary: the backup's server has said all that has left here, and it is not known to be the same. */
static inline bool ftt_output_open(const struct ftt_flow *f)
{
	return f->bits & FTT_F_SUMS && f->protection == FTT_PROTECTED &&
	       (f->bits & FTT_F_DIFFERS || (f->verified != f->told && seq_geq(f->peer_snd_nxt, f->sent)));
}

/*
 * Primary: what a COMMIT tells of it, and whether the backup's server has said more. One that stands at the difference,
 * being slower, has not shown yet of which kind it is; one that is beyond our own place there has said something longer.
 * The time counts from the difference, and anew from when its kind shows.
 */
static inline void ftt_output_commit(struct ftt_flow *f, uint32_t verified, bool differs, bool more, uint64_t now_ns)
{
	bool differed = f->bits & FTT_F_DIFFERS, shown = f->bits & FTT_F_DIFFERS_ON;
	bool shows = differed ? shown || more : seq_gt(f->peer_snd_nxt, f->local_snd_nxt);

	f->bits &= ~(uint32_t)(FTT_F_DIFFERS | FTT_F_DIFFERS_ON);
	if (seq_gt(verified, f->verified)) {
		f->verified = verified;
		f->differs_ns = 0;
	}
	if (differs) {
		f->bits |= FTT_F_DIFFERS | (shows ? FTT_F_DIFFERS_ON : 0);
		if (!differed || shows != shown)
			f->differs_ns = now_ns;
	}
	if (!ftt_output_open(f))
		f->differs_ns = 0;
}

/* Primary: has it been open for too long? `most_ns` when nothing is known of a difference. */
static inline bool ftt_output_overdue(struct ftt_flow *f, uint64_t now_ns, uint64_t most_ns)
{
	bool rests = f->local_snd_nxt == f->peer_snd_nxt && f->client_acked == f->local_snd_nxt;
	bool shows = f->bits & FTT_F_DIFFERS_ON && !rests;

	if (!ftt_output_open(f)) {
		f->differs_ns = 0;
		return false;
	}
	if (!f->differs_ns)
		f->differs_ns = now_ns;
	return now_ns - f->differs_ns > (shows ? FTT_SORT_NS : most_ns);
}

/*
 * Primary: would the backup go on with it at this moment, as far as this node knows? All that has left was told before
 * (ftt_output_leaves), so it does not matter what is not verified yet: only a difference does.
 */
static inline bool ftt_output_covered(const struct ftt_flow *f)
{
	return !(f->bits & FTT_F_SUMS && f->bits & FTT_F_DIFFERS);
}

/*
 * May the client have a part of what differed, and not all? It was of equal length, but with the rest of it from this
 * server it would be neither server's (a date of two days).
 */
static inline bool ftt_output_torn(const struct ftt_flow *f)
{
	return f->bits & FTT_F_SUMS && seq_lt(f->client_acked, f->differed);
}

/*
 * Backup: does the client say that it has more than was told? Nobody has contradicted (FTT_REC_DISCARD), so it may have it of a primary
 * whose word is lost, and it need not be ours.
 */
static inline bool ftt_output_claimed(const struct ftt_flow *f)
{
	bool fin = f->bits & FTT_F_LOCAL_FIN && f->claim == f->fin_end; /* no byte of the stream */

	return f->bits & FTT_F_CLAIM && seq_gt(ftt_output_offset(f, f->claim) - fin, f->assured);
}

/* Backup, at a takeover: may the client be given this server's stream from where it stands? */
static inline bool ftt_output_continues(const struct ftt_flow *f)
{
	return !(f->bits & FTT_F_SUMS) || (!(f->bits & FTT_F_DIFFERS) && !ftt_output_short(f) && !ftt_output_torn(f) &&
					   seq_leq(ftt_output_acked(f), f->assured) && !ftt_output_claimed(f));
}

/* What both nodes' sums have come to, beyond what the flow knows. */
struct ftt_compared {
	uint32_t differences; /* each counted once */
	uint32_t seen;        /* backup: end of our server's output that was summed, a stream offset */
	bool broken;          /* bytes were not seen, so nothing behind them is compared */
	bool closed;          /* the flow has ended on this node */
};

/* May a flow be carried on by this server, as far as the outputs tell? `same`: they are equal up to where its client stands. */
static inline bool ftt_output_goes_on(const struct ftt_flow *f, const struct ftt_compared *c, bool same, const struct ftt_env *env)
{
	if (env->policy->continue_unverified || c->closed || !(f->bits & FTT_F_ESTABLISHED))
		return true;
	/* what is encrypted in step has one content under one key, or it does not leave */
	if (env->in_step && (c->broken || !(f->bits & FTT_F_SUMS)))
		return false;
	return same && !(env->policy->detach_divergent && c->differences);
}

/* After a takeover: what the old primary has said is verified as a whole, so nothing waits for that any more. */
static inline bool ftt_output_done(struct ftt_flow *f)
{
	if (!(f->bits & FTT_F_UNVERIFIED) || f->bits & FTT_F_DIFFERS || f->verified != f->told || ftt_output_torn(f))
		return false;
	f->bits &= ~(uint32_t)FTT_F_UNVERIFIED;
	return true;
}

#endif
