/* SPDX-License-Identifier: Apache-2.0 */
/*
 * opened.h - a connection that the local end opens.
 *
 * Both servers open it. Their SYNs have numbers and ports of their own; those of the primary are the service space. So the
 * primary's SYN waits until the backup holds one to the same destination, the n-th of the one node's for the n-th of the other's:
 * from then on both know how the spaces are related, but for the number of the remote end. That comes with its answer, which the mirror
 * brings to the backup. The primary's acknowledgement of the answer is output like any other: it waits until the backup's
 * stack has it, too. Loss of the answer is made good by the remote end, which repeats it.
 *
 * A connection that is not to be followed passes, known and shown.
 */
#ifndef FTTCP_OPENED_H
#define FTTCP_OPENED_H
#include "core/tcp/handshake.h"
#include "core/tcp/spaces.h"

/* --- our stack's SYN ---------------------------------------------------------------------------------- */

static inline bool ftt_is_syn(const struct ftt_seg *s)
{
	return (s->flags & (TCP_SYN | TCP_ACK | TCP_RST)) == TCP_SYN;
}

/* It begins the flow. */
static inline void ftt_opened_begin(struct ftt_flow *f, const struct ftt_seg *s, uint64_t now_ns)
{
	ftt_flow_init(f, 0, now_ns);
	f->opener = FTT_OPENED_LOCAL;
	ftt_flow_unprotect(f, FTT_WHY_OPENED_HERE);
	f->bits = FTT_F_SYNACK | (s->options & FTT_OPT_TS ? FTT_F_TS : 0) | (s->options & FTT_OPT_WSCALE ? FTT_F_WSCALE : 0);
	f->local_iss = f->hard.service_iss = s->seq;
	f->local_edge = s->wnd; /* from where on is known when it is answered */
	f->hard.local_wscale = f->hard.service_wscale = s->options & FTT_OPT_WSCALE ? s->wscale : 0;
	f->hard.signer = s->signer;
	f->open_tsval = s->tsval;
	f->synack_ns = now_ns;
	ftt_server_clock(f, s, now_ns);
}

/*
 * Is the stack's SYN another one's than the flow's under its key? Then that one is no more. One that a backup holds
 * is not forgotten for it: that end is its primary's to tell.
 */
static inline bool ftt_opened_renews(const struct ftt_flow *f, const struct ftt_seg *s)
{
	bool same = f->opener == FTT_OPENED_LOCAL && s->seq == f->local_iss;
	bool alone = f->protection == FTT_UNPROTECTED || f->protection == FTT_DETACHED ||
		     (f->protection == FTT_NEW && f->opener == FTT_OPENED_LOCAL);

	return !same && (alone || ftt_flow_ended(f));
}

/* Primary: the flow is to be followed, if there is a backup that can. FTT_ACT_OPEN asks it; the SYN waits meanwhile. */
static inline uint32_t ftt_opened_ask(struct ftt_flow *f, const struct ftt_seg *s, const struct ftt_env *env)
{
	uint8_t odd = s->signer == FTT_SIGNED_ALIEN ? FTT_WHY_SIGNED : s->len ? FTT_WHY_UNSUPPORTED : FTT_WHY_NONE; /* RFC 7413 */
	uint32_t iss = f->local_iss, ts = f->local_tsval;

	if (odd || env->mode != FTT_MODE_PAIRED || env->behind || env->policy->cold) {
		ftt_flow_unprotect(f, odd ? odd : env->mode != FTT_MODE_PAIRED ? FTT_WHY_NO_BACKUP :
				      env->behind ? env->behind : FTT_WHY_OPENED_HERE);
		return odd ? FTT_ACT_REPORT : 0;
	}
	ftt_spaces_choose(&env->policy->shift, f->local_iss, &iss, &ts);
	f->hard.service_iss = iss;
	f->hard.delta = f->local_iss - iss;
	f->hard.ts_delta = f->bits & FTT_F_TS ? f->local_tsval - ts : 0;
	f->open_tsval = ts;
	f->protection = FTT_OPENING;
	f->reason = FTT_WHY_NONE;
	f->tries = 1;
	f->ask_ns = env->now_ns + 5000000;
	return FTT_ACT_OPEN;
}

/* Primary: is it the other server's SYN that the flow waits for? */
static inline bool ftt_opens_alone(const struct ftt_flow *f)
{
	return f->opener == FTT_OPENED_LOCAL && !(f->bits & FTT_F_MAPPED);
}

/* ... for how long it waits for the backup before it goes on without: two servers need not open at the same moment. */
static inline uint64_t ftt_open_patience(const struct ftt_flow *f, const struct ftt_env *env)
{
	return ftt_opens_alone(f) ? env->policy->opens_wait_ns : env->policy->open_timeout_ns;
}

/* Backup: for how long one that has no partner is kept, ns. own: it is our stack's, else what the primary has asked about. */
static inline uint64_t ftt_opened_patience(bool own, const struct ftt_env *env)
{
	return env->policy->opens_wait_ns + (own ? 0 : env->policy->detach_after_ns);
}

#define FTT_OPENED_AGAIN 20u /* a part of opens_wait_ms: 100 ms */

/* Backup: our SYN waits since then. From when on may it be one that opens again what catches up? Before that the primary may ask for it. */
static inline uint64_t ftt_opened_again_at(uint64_t since_ns, const struct ftt_env *env)
{
	return since_ns + env->policy->opens_wait_ns / FTT_OPENED_AGAIN;
}

/* Backup: ours waits for the primary's. */
static inline void ftt_opened_wait(struct ftt_flow *f)
{
	f->protection = FTT_NEW;
	f->reason = FTT_WHY_NONE;
}

/* Did both stacks agree to the same with the remote end, or offer it? They need not: settings differ. What ours signs with another key nobody can go on with. */
static inline bool ftt_flow_alike(const struct ftt_flow *f)
{
	return f->hard.signer != FTT_SIGNED_ALIEN && !(f->bits & FTT_F_TS) == !(f->bits & FTT_F_PEER_TS) && !(f->bits & FTT_F_WSCALE) == !(f->bits & FTT_F_PEER_WSCALE);
}

/* Does our stack offer what the primary's has agreed to? What it offers beyond that the answer, which it is given, does not take up. */
static inline bool ftt_opened_offers(const struct ftt_flow *f)
{
	return f->hard.signer != FTT_SIGNED_ALIEN && (f->bits & FTT_F_TS || !(f->bits & FTT_F_PEER_TS)) && (f->bits & FTT_F_WSCALE || !(f->bits & FTT_F_PEER_WSCALE));
}

/* Backup: our flow stands for the primary's, of which `told` has what OPEN said. Ports are those of either's stack. */
static inline uint32_t ftt_opened_join(struct ftt_flow *f, const struct ftt_flow *told, uint16_t port, uint16_t service_port)
{
	bool again = told->protection == FTT_CATCHING_UP;

	f->hard.service_iss = told->hard.service_iss;
	f->hard.service_wscale = told->hard.service_wscale;
	f->open_tsval = told->open_tsval;
	f->open_ns = told->open_ns;
	if (again) { /* what the primary's clock showed when our stack said its SYN */
		f->open_tsval += (uint32_t)((int64_t)(f->local_ts_ns - told->open_ns) / 1000000);
		f->open_ns = f->local_ts_ns;
	}
	f->bits |= told->bits & ~(uint32_t)(FTT_F_ESTABLISHED | FTT_F_TS);
	f->port_delta = (uint16_t)(port - service_port);
	f->hard.delta = f->local_iss - f->hard.service_iss;
	f->hard.ts_delta = f->bits & FTT_F_TS ? f->local_tsval - f->open_tsval : 0;
	if (again ? !ftt_opened_offers(f) : !ftt_flow_alike(f)) {
		f->bits |= FTT_F_UNLIKE;
		return FTT_ACT_REFUSED | FTT_ACT_LET_GO;
	}
	f->protection = again ? FTT_CATCHING_UP : FTT_PROTECTED;
	return again ? 0 : FTT_ACT_OPENED;
}

/*
 * A backup takes over before the remote end has answered it. Can our stack's SYN be sent again in place of the primary's? Which of the
 * two the remote end was told nobody knows.
 */
static inline bool ftt_opened_continues(const struct ftt_flow *f)
{
	return f->bits & FTT_F_MAPPED || f->hard.local_wscale == f->hard.service_wscale;
}

/* --- the remote end's answer ---------------------------------------------------------------------------- */

/* Is it still to come, as far as our stack has said? */
static inline bool ftt_opened_unanswered(const struct ftt_flow *f)
{
	return f->opener == FTT_OPENED_LOCAL && (!(f->bits & FTT_F_MAPPED) || f->local_rcv_nxt == f->hard.irs);
}

/* The answer out of a log is one to the SYN that our stack has said: it echoes that one's time. Before the step; after it. */
static inline void ftt_opened_replays(const struct ftt_flow *f, struct ftt_seg *s)
{
	s->tsecr = f->local_tsval - f->hard.ts_delta;
}

static inline void ftt_opened_echoes(const struct ftt_flow *f, const struct ftt_seg *s, struct ftt_edit *e)
{
	e->tsecr = f->local_tsval;
	e->change |= s->options & FTT_OPT_TS ? FTT_EDIT_TSECR : 0;
}

/* Options are in use that both have offered, and the remote end answers only such. Our stack has not acknowledged it yet. */
static inline void ftt_opened_answered(struct ftt_flow *f, const struct ftt_seg *s)
{
	bool scales = s->options & FTT_OPT_WSCALE;
	uint32_t told = f->committed, told_edge = f->peer_edge, service_ts = f->open_tsval;

	f->hard.irs = f->local_rcv_nxt = f->told_ack = f->committed = s->seq;
	f->client_nxt = s->seq + 1;
	f->local_edge = f->advertised_edge = f->peer_edge = s->seq + 1 + f->local_edge;
	if (told_edge && told == s->seq + 1) { /* the mirror was faster: the backup's stack has taken it */
		f->committed = told;
		f->peer_edge = told_edge;
	}
	f->hard.service_wscale = scales ? f->hard.service_wscale : 0;
	f->hard.local_wscale = scales ? f->hard.local_wscale : 0;
	f->bits &= ~(uint32_t)(FTT_F_TS | FTT_F_WSCALE);
	f->bits |= FTT_F_ESTABLISHED | (s->options & FTT_OPT_TS ? FTT_F_TS : 0) |
		   (s->options & FTT_OPT_SACK_OK ? FTT_F_SACK : 0) | (scales ? FTT_F_WSCALE : 0);
	ftt_client_begin(f, s->tsval, s->wnd, ftt_client_mss(s), scales ? s->wscale : 0);
	ftt_flow_map(f, f->hard.service_iss);
	f->hard.ts_delta = f->bits & FTT_F_TS ? f->hard.ts_delta : 0;
	f->max_tsecr = service_ts;
}

#endif
