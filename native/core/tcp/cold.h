/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cold.h - a backup that runs no server: its stack is nothing but numbers.
 *
 * Such a backup keeps what a client sends in the flow's log (log.h), and gives nothing to its kernel. The numbers say what those of a
 * stack would that takes all bytes at once, and of a server that has said all that the primary's has told of. So the rules of client.h
 * and pair.h hold as they are: what a kernel would refuse is not kept, and what answers more than was told waits for the primary's word.
 *
 * At a takeover the server is started, and each flow begins anew, as FTT_CATCHING_UP: our stack is given the log (renew.h), by the word
 * that was kept of where its client stood. When it has come there, the flow is an ordinary one of a backup, and is taken over.
 *
 * On the primary an end of its server needs no other server's: health's word for it is enough, as where there is no backup.
 */
#ifndef FTTCP_COLD_H
#define FTTCP_COLD_H
#include "core/log.h"
#include "core/tcp/renew.h"

#define FTT_COLD_WINDOW (4u << 20) /* that this backup would take beyond what it has: the client is shown no more */

/* The primary's side of the handshake, of a flow whose SYN is kept. */
static inline uint32_t ftt_cold_open(struct ftt_flow *f, const struct ftt_record *r, const struct ftt_env *env)
{
	if (f->bits & FTT_F_MAPPED)
		return f->hard.service_iss == r->service_iss ? FTT_ACT_OPENED : 0;
	f->bits |= FTT_F_COLD | FTT_F_SYNACK | FTT_F_OPEN_SEEN | (r->flags & FTT_REC_TS ? FTT_F_TS | FTT_F_PEER_TS : 0) |
		   (r->flags & FTT_REC_WSCALE ? FTT_F_WSCALE | FTT_F_PEER_WSCALE : 0) | (r->flags & FTT_REC_SUMS ? FTT_F_SUMS : 0);
	f->local_iss = r->service_iss;
	f->hard.local_wscale = f->hard.service_wscale = r->wscale;
	if (!(r->flags & FTT_REC_WSCALE)) /* both sides or none (RFC 7323 2.2) */
		f->hard.client_wscale = 0;
	f->local_rcv_nxt = f->told_ack = f->hard.irs + 1;
	f->local_edge = f->advertised_edge = f->local_rcv_nxt + FTT_COLD_WINDOW;
	f->local_tsval = r->tsval;
	f->local_ts_ns = f->synack_ns = env->now_ns - (uint64_t)r->age_ms * 1000000;
	ftt_flow_map(f, r->service_iss);
	ftt_flow_map_ts(f, r->tsval, r->tsval);
	if (f->protection == FTT_CATCHING_UP)
		return FTT_ACT_COMMIT;
	f->protection = FTT_PROTECTED;
	return FTT_ACT_OPENED;
}

/* There is no room for what its client sends: the primary is to go on without us. */
static inline uint32_t ftt_cold_refuse(struct ftt_flow *f)
{
	f->bits |= FTT_F_COLD; /* which says why: see ftt_flow_tell() */
	return FTT_ACT_REFUSED | FTT_ACT_LET_GO;
}

/* What it said is in the checkpoint with which our server would begin: the primary is to go on without us. */
static inline uint32_t ftt_cold_outlived(struct ftt_flow *f)
{
	f->reason = FTT_WHY_BEFORE_CHECKPOINT; /* see ftt_flow_tell() */
	return FTT_ACT_REFUSED | FTT_ACT_LET_GO;
}

/* So much of the client's stream is kept: that is what this stack has acknowledged. */
static inline uint32_t ftt_cold_keeps(struct ftt_flow *f, const struct ftt_log *l)
{
	uint32_t rcv_nxt = f->hard.irs + 1 + l->end + (l->fin && !l->beyond), had = f->local_rcv_nxt, bits = f->bits;

	f->local_rcv_nxt = seq_max(had, rcv_nxt);
	f->local_edge = f->local_rcv_nxt + FTT_COLD_WINDOW;
	f->bits &= ~(uint32_t)FTT_F_HOLE;
	if (l->beyond) {
		f->bits |= FTT_F_HOLE;
		f->local_hole_end = f->hard.irs + 1 + l->nearest;
	}
	return (f->local_rcv_nxt != had || f->bits != bits ? FTT_ACT_COMMIT : 0) | ftt_close_if_ended(f);
}

/* All that has left the primary, its server has said: so has ours, which is none. Returns by how much it has got on. */
static inline uint32_t ftt_cold_said(struct ftt_flow *f, bool ended)
{
	uint32_t before = ftt_output_end(f);

	f->local_snd_nxt = seq_max(f->local_snd_nxt, f->sent);
	if (ended && !(f->bits & FTT_F_LOCAL_FIN)) {
		f->bits |= FTT_F_LOCAL_FIN;
		f->fin_end = f->local_snd_nxt;
	}
	f->delivered_ack = f->client_acked;
	return ftt_output_end(f) - before;
}

/* The primary's sum of all its output up to `at` is taken for ours until a server of our own has said it, after a takeover. */
static inline void ftt_cold_told(struct ftt_flow *f, uint32_t at)
{
	f->told = f->assured = f->verified = at;
}

/* Catching up: here stands the client, by the primary's word, and so far has its server come. */
static inline void ftt_cold_word(struct ftt_flow *f, const struct ftt_record *r)
{
	f->client_acked = f->local_snd_nxt = f->delivered_ack = f->sent = r->client_acked;
	f->bits |= FTT_F_ESTABLISHED;
}

/* What is known of where its client stands, for the server that is started: as a primary would tell it. */
static inline void ftt_cold_last_word(const struct ftt_flow *f, const struct ftt_log *l, uint64_t said, uint32_t crc, bool sums,
				      struct ftt_record *r)
{
	r->type = FTT_REC_RENEW;
	r->irs = f->hard.irs;
	r->client_acked = f->client_acked;
	r->client_wnd = f->client_wnd;
	r->tsval = f->client_tsval;
	r->rcv_nxt = f->hard.irs + 1 + l->end + (l->fin && !l->beyond);
	r->snd_nxt = f->sent;
	r->place = ftt_output_place(f, said, ftt_output_offset(f, f->client_acked) - (f->bits & FTT_F_LOCAL_FIN && f->client_acked == f->fin_end));
	r->point = f->told;
	r->crc = crc;
	r->flags = sums ? FTT_REC_SUM : 0;
}

/* Does it say that the client has the end of the server's stream, too? */
static inline bool ftt_cold_fin_acked(const struct ftt_flow *f, const struct ftt_record *word)
{
	return word->client_acked - (f->hard.service_iss + 1) != (uint32_t)word->place;
}

/* Does our stack stand where the client does? `said`: bytes of our server's. */
static inline bool ftt_cold_reached(const struct ftt_flow *f, const struct ftt_record *word, uint64_t said)
{
	return seq_geq(f->local_rcv_nxt, word->rcv_nxt) && said >= word->place && (f->bits & FTT_F_LOCAL_FIN || !ftt_cold_fin_acked(f, word));
}

/* ... and its OPEN, by our stack's clock. */
static inline void ftt_cold_begin_again(struct ftt_flow *f, const struct ftt_seg *syn, const struct ftt_env *env, struct ftt_record *open)
{
	const struct ftt_flow was = *f;

	*open = (struct ftt_record){.type = FTT_REC_OPEN, .irs = was.hard.irs, .service_iss = was.hard.service_iss, .wscale = was.hard.service_wscale,
				    .tsval = seq_max(ftt_flow_clock(&was, env->now_ns), was.max_tsecr),
				    .flags = (was.bits & FTT_F_TS ? FTT_REC_TS : 0) | (was.bits & FTT_F_WSCALE ? FTT_REC_WSCALE : 0) |
					     (was.bits & FTT_F_SUMS ? FTT_REC_SUMS : 0)};
	ftt_flow_init(f, was.hard.irs, was.opened_ns);
	f->last_ns = was.last_ns;
	ftt_renew_follow(f, syn);
	ftt_backup_open(f, open, env);
}

#endif
