/* SPDX-License-Identifier: Apache-2.0 */
/*
 * state.h - what a node knows of one TCP flow, and what a decision about a segment can be.
 */
#ifndef FTTCP_STATE_H
#define FTTCP_STATE_H
#include <stdbool.h>
#include <stdint.h>
#include "core/gate.h"
#include "core/packet/mem.h"
#include "core/env.h"
#include "core/types.h"
#include "core/tcp/accept.h"
#include "core/packet/parse.h"
#include "core/tcp/seq.h"

enum ftt_dir { FTT_FROM_CLIENT = 0, FTT_FROM_SERVER = 1 };

enum ftt_verdict { FTT_PASS = 0, FTT_DROP = 1, FTT_HOLD = 2 };

/* Why a segment is dropped: which counter moves. */
enum ftt_drop {
	FTT_DROP_NONE = 0,
	FTT_DROP_SUPPRESSED, /* the backup's output */
	FTT_DROP_UNMAPPED,   /* mirrored before the handshake was agreed */
	FTT_DROP_ACKED,      /* the client has it from the old primary */
	FTT_DROP_REPEATED,   /* a SYN-ACK that is held already */
	FTT_DROP_REFUSED,    /* the client cannot have said that: accept.h */
	FTT_DROP_UNVERIFIED, /* after a takeover: the client may have other bytes of the old primary there */
	FTT_DROP_LEASE       /* there is no lease, and it is not queued: our stack says it again */
};

/* What the caller is to do besides the verdict: a set. */
enum ftt_action {
	FTT_ACT_OPEN = 1,       /* send OPEN: may the backup follow? */
	FTT_ACT_OPENED = 2,     /* send OPENED: this backup holds the flow */
	FTT_ACT_REFUSED = 4,    /* send REFUSED: this backup's stack does not take it */
	FTT_ACT_COMMIT = 8,     /* a backup tells where its stack stands (COMMIT), a primary what has left (OUTPUT) */
	FTT_ACT_INJECT = 16,    /* hand ftt_deliverable() to the local stack as an acknowledgement */
	FTT_ACT_RELEASE = 32,   /* held segments may go: ask ftt_gate() again */
	FTT_ACT_DETACH = 64,    /* send DETACH */
	FTT_ACT_DETACHED = 128, /* the flow left protection for good: report it */
	FTT_ACT_PROBE = 256,    /* send PROBE: where does the backup stand? */
	FTT_ACT_ACK_CLIENT = 512, /* send the client our current acknowledgement */
	FTT_ACT_CLOSED = 1024,  /* the flow has ended on this node */
	FTT_ACT_REPORT = 2048,  /* tell Python that the flow cannot be protected */
	FTT_ACT_ABORT = 4096,   /* send CLOSE: the flow was reset */
	FTT_ACT_NUDGE = 8192,   /* make the client send again what only the backup lacks */
	FTT_ACT_FIN = 16384,    /* send the client the FIN that was kept back */
	FTT_ACT_RESET = 32768,  /* end a connection of the past in the local stack, whose number it told */
	FTT_ACT_COMMIT_LATER = 65536, /* as FTT_ACT_COMMIT, but nothing waits for it: with the next one, or soon */
	FTT_ACT_DISCARD = 131072, /* send DISCARD: the backup is not to take this segment either */
	FTT_ACT_ASK_CLIENT = 262144, /* make the client say where it stands: is its claim true? */
	FTT_ACT_LET_GO = 1 << 20,     /* a backup lets the flow go: only where its client stands is followed */
	FTT_ACT_ASK_PLACE = 1 << 21, /* ask the client of a flow that is over where it stands */
	FTT_ACT_RST_CLIENT = 1 << 22, /* ... and reset it there */
	FTT_ACT_UNREACHED = 1 << 23   /* it never answered: count that */
};

#define FTT_DISCARDS 6u /* refused segments that a backup remembers until it has met them */
#define FTT_NUDGE_SHIFT 20 /* 2^20 ns, about a millisecond */
#define FTT_REPAIRED 1000u /* so long, in FTT_NUDGE_SHIFT, a client's copies may come that it was asked for */
#define FTT_WINDOW_STEP 2920u /* a window that grew by two segments is worth an update (RFC 9293 3.8.6.2.2) */

#define FTT_F_COLD 0x80000000u /* the backup has no stack for it, only numbers: cold.h. (The last bit: no enum has it.) */

enum { /* struct ftt_flow.bits */
	FTT_F_SYNACK = 1,      /* the local stack has answered the SYN, or said its own: local_iss is known */
	FTT_F_MAPPED = 2,      /* delta is known: both spaces are related */
	FTT_F_OPEN_SEEN = 4,   /* backup: the primary told its side of the handshake */
	FTT_F_TS = 8,          /* timestamps in use */
	FTT_F_CLIENT_FIN = 16,
	FTT_F_LOCAL_FIN = 32,
	FTT_F_LOCAL_RST = 64,
	FTT_F_CLIENT_RST = 128,
	FTT_F_PEER_FIN = 256,
	FTT_F_PEER_RST = 512,
	FTT_F_BEHIND = 1024,   /* after takeover: the client has more than our stack has sent */
	FTT_F_SYN_AGAIN = 2048, /* a SYN with another ISN, or after the end, was seen: next_irs */
	FTT_F_ESTABLISHED = 4096, /* the client has acknowledged the SYN-ACK */
	FTT_F_TAKEN = 8192,    /* taken over: the client may know of bytes that our stack has not sent */
	FTT_F_HOLE = 16384,    /* the local stack has data behind a hole that ends at local_hole_end */
	FTT_F_SACK = 32768,    /* the client understands SACK */
	FTT_F_FIN_OWED = 65536, /* data went to the client without the FIN behind it */
	FTT_F_CLAIM = 1 << 17,  /* an acknowledgement of what nobody is known to have sent: claim */
	FTT_F_SERVICE = 1 << 18, /* order = "service": no client has output that the backup's server has not given */
	FTT_F_WHERE = 1 << 19,  /* backup: the next COMMIT asks how far the primary's stack has sent */
	FTT_F_SUMS = 1 << 20,   /* both nodes sum the server's output: see digest.h */
	FTT_F_DIFFERS = 1 << 21, /* at the last point the sums were not equal */
	FTT_F_UNVERIFIED = 1 << 22, /* after takeover: the old primary has said more than is verified yet */
	FTT_F_AHEAD = 1 << 23,  /* the lag is ours: the backup's server has said more */
	FTT_F_END_REAL = 1 << 24, /* our server has ended the flow, and lived on */
	FTT_F_TOLD = 1 << 25,  /* resetting: the client got a RST with the number that it told */
	FTT_F_WSCALE = 1 << 26, /* windows are scaled */
	FTT_F_PEER_TS = 1 << 27, FTT_F_PEER_WSCALE = 1 << 28, /* backup: the primary's stack agreed to ... */
	FTT_F_DIFFERS_ON = 1 << 30, /* primary: ... and the backup's server has said more since */
	FTT_F_UNLIKE = 1 << 29 /* backup: ... and ours to something else, so the flow cannot be followed */
};

/* What a node must know to carry the flow on; the rest can be found again. */
struct ftt_flow_hard {
	uint32_t irs;          /* the client's ISN */
	uint32_t service_iss;
	uint32_t delta;        /* local_iss - service_iss */
	uint32_t ts_delta;     /* local TSval - service TSval */
	uint8_t local_wscale;  /* of our stack's windows */
	uint8_t service_wscale; /* what the client was told */
	uint8_t client_wscale;
	uint8_t signer; /* enum ftt_signer, of our stack's SYN or SYN-ACK */
};

struct ftt_flow {
	struct ftt_flow_hard hard;
	uint8_t protection; /* enum ftt_protection */
	uint8_t reason;     /* enum ftt_reason, why it is not protected */
	uint16_t mss;       /* largest payload of our segments to the client */
	uint32_t bits;      /* FTT_F_* */

	/* the client's side */
	uint32_t client_acked; /* highest acknowledgement seen */
	uint32_t client_nxt;   /* end of the furthest segment seen */
	uint32_t client_tsval; /* latest */
	uint32_t max_tsecr;    /* latest of our timestamps that it echoed, service space */
	uint16_t client_wnd;   /* field of its last segment */
	uint16_t next_wnd;     /* with FTT_F_SYN_AGAIN: the new SYN's ... */
	uint16_t max_wnd;      /* the largest that it has shown */
	uint16_t claim_wnd;    /* with FTT_F_CLAIM: the field of that segment ... */
	uint32_t claim;        /* ... and what it acknowledged; used for nothing until it is confirmed */
	uint32_t ts_recent;    /* the TSval that our stack compares others with (RFC 7323 4.3) */
	uint32_t advertised_edge; /* right edge that it was promised */
	uint32_t told_ack;     /* highest acknowledgement that it was sent */
	uint32_t sent;         /* end of what it was sent: by our verdicts, on a backup by the primary's word */
	uint32_t assured;      /* stream offset up to which output may leave before the primary tells of it: see digest.h */

	/* our own stack */
	uint32_t local_iss;    /* local space */
	uint32_t local_snd_nxt;
	uint32_t local_rcv_nxt;
	uint32_t local_edge;   /* right edge of its receive window */
	uint32_t local_tsval;  /* local space, of its last segment */
	uint32_t local_hole_end;
	uint32_t delivered_ack; /* highest acknowledgement given to it */
	uint64_t synack_ns;
	uint64_t local_ts_ns;  /* when local_tsval was seen */
	uint32_t fin_end;      /* sequence number behind its FIN */
	uint32_t next_irs;     /* with FTT_F_SYN_AGAIN: the new SYN's numbers */
	uint32_t next_tsval;
	union {
		uint16_t next_mss;
		uint16_t port_delta; /* opened by the local end: the port of our stack - the one that the remote end knows */
	};
	uint8_t next_wscale;
	uint8_t opener;        /* enum ftt_opener */

	/* the backup, as it last told */
	uint32_t committed;    /* its stack's rcv_nxt; on the backup itself, too */
	uint32_t peer_edge;
	union {
		uint32_t peer_snd_nxt; /* how far its stack has sent */
		uint32_t differed;     /* backup: end of what differed last; a client with a part of it has neither server's */
	};
	union {
		uint32_t open_tsval; /* backup, before the spaces are related: TSval of the primary's SYN-ACK, or SYN */
		uint32_t in_order;   /* ... then: end of the client's bytes that our stack was given without a hole; or any number before local_rcv_nxt */
	};
	union {
		uint64_t open_ns;    /* backup: when that was sent, at the latest */
		uint64_t differs_ns; /* primary: outputs differ since, and it is not known how; 0 = they do not */
	};

	/* waiting */
	uint64_t held_since_ns; /* the first held segment waits since; 0 = none held */
	uint64_t end_since_ns;  /* a FIN or RST waits for the backup's since; 0 = none */
	uint64_t lag_since_ns;  /* the backup's output (FTT_F_AHEAD: ours) is behind lag_mark since; 0 = it is not.
				   Backup: with FTT_F_DIFFERS, both servers rest since */
	union {
		struct { /* primary */
			uint64_t ask_ns;        /* when to ask again; 0 = nothing asked */
			uint32_t lag_mark;
			uint32_t tries;         /* requests sent without an answer */
			uint32_t peer_hole_end; /* where something begins that the backup has beyond committed, as far as is known */
			uint32_t owed;          /* when its server was last seen to owe what output waits for, in FTT_OWED_SHIFT; 0 = never */
		};
		uint32_t discards[FTT_DISCARDS]; /* backup: sums of what the primary refused, the latest first; 0 = none */
	};
	uint32_t verified;      /* stream offset up to which both outputs are known to be equal */
	uint32_t told;          /* up to which the primary has told its sum: of all that has left, and no more */
	union {
		struct { /* primary */
			uint32_t nudged;     /* when the client was last made to send again, in FTT_NUDGE_SHIFT; 0 = never */
			uint32_t repair_end; /* ... and the end of what it had sent by then */
		};
		uint64_t claim_ns; /* after a takeover: when the claim was first heard */
	};
	uint64_t opened_ns;     /* start of the handshake */
	uint64_t last_ns;       /* last segment seen */
};

_Static_assert(sizeof(struct ftt_flow_hard) == 20, "what survives a failover is 20 bytes");
_Static_assert(sizeof(struct ftt_flow) <= 256, "a flow's state is four cache lines");

enum { /* struct ftt_edit.change */
	FTT_EDIT_SEQ = 1, FTT_EDIT_ACK = 2, FTT_EDIT_TSVAL = 4, FTT_EDIT_TSECR = 8, FTT_EDIT_SACK = 16,
	FTT_EDIT_WND = 32,
	FTT_EDIT_FIN = 64, /* the FIN flag goes */
	FTT_EDIT_MPTCP = 128, /* options of Multipath TCP become padding */
	FTT_EDIT_SPORT = 256, FTT_EDIT_DPORT = 512,
	FTT_EDIT_NO_SACK = 1024 /* SACK blocks become padding */
};

struct ftt_edit {
	uint32_t change; /* FTT_EDIT_* */
	uint32_t seq, ack, tsval, tsecr; /* new values */
	uint32_t sack_add;               /* added to every edge */
	uint16_t wnd;
	uint16_t port_add;               /* to the port that is edited */
	uint16_t drop;    /* enum ftt_drop */
	uint8_t wait;     /* enum ftt_wait */
	bool taken;       /* the stack takes it, of what a client says: else it is none of its words */
	uint32_t actions; /* enum ftt_action */
};

static inline enum ftt_verdict ftt_hold(struct ftt_edit *e, enum ftt_wait why)
{
	e->wait = (uint8_t)why;
	return FTT_HOLD;
}

/* A flow whose client shows ISN `irs`. */
static inline void ftt_flow_init(struct ftt_flow *f, uint32_t irs, uint64_t now_ns)
{
	memset(f, 0, sizeof(*f));
	f->hard.irs = irs;
	f->client_nxt = f->committed = f->local_rcv_nxt = irs + 1;
	f->opened_ns = f->last_ns = now_ns;
}

/* What tells a flow from another one with the same key: the number with which its opener began. Both nodes know it before all else. */
static inline uint32_t ftt_flow_name(const struct ftt_flow *f)
{
	return f->opener == FTT_OPENED_LOCAL ? f->hard.service_iss : f->hard.irs;
}

/* Primary: a backup follows it, and output waits for that. */
static inline bool ftt_flow_in_step(const struct ftt_flow *f, uint8_t mode)
{
	return mode == FTT_MODE_PAIRED && f->protection == FTT_PROTECTED;
}

/* How long ago was the client made to send again, in FTT_NUDGE_SHIFT? */
static inline uint32_t ftt_since_nudge(const struct ftt_flow *f, uint64_t now_ns)
{
	return (uint32_t)(now_ns >> FTT_NUDGE_SHIFT) - f->nudged;
}

/*
 * Does the client repair what the backup alone lacked? Our stack had it by the first copy, and echoes that one's time. By that (RFC 3522),
 * or by a D-SACK for the second copy (RFC 3708), the client would take its repair for spurious, and undo it: Linux then repairs what
 * else it had found lost by its timer only. So no time is echoed until all is acknowledged that had been sent (0 is none, RFC 7323 3.2),
 * and no D-SACK is passed on for a while.
 */
static inline bool ftt_client_repairs(const struct ftt_flow *f, uint8_t mode)
{
	return ftt_flow_in_step(f, mode) && f->nudged && seq_gt(f->repair_end, f->told_ack);
}

static inline bool ftt_repaired_lately(const struct ftt_flow *f, const struct ftt_env *env)
{
	return ftt_flow_in_step(f, env->mode) && f->nudged && ftt_since_nudge(f, env->now_ns) < FTT_REPAIRED;
}

/* The port of our stack - the one that the remote end knows. */
static inline uint16_t ftt_flow_port_delta(const struct ftt_flow *f)
{
	return f->opener == FTT_OPENED_LOCAL ? f->port_delta : 0;
}

/* This node does not, or can not, have the flow followed. */
static inline void ftt_flow_unprotect(struct ftt_flow *f, uint8_t reason)
{
	f->protection = FTT_UNPROTECTED;
	f->reason = reason;
}

/* A segment waits since then; 0: none does any more. */
static inline void ftt_flow_holds(struct ftt_flow *f, uint64_t since_ns)
{
	f->held_since_ns = since_ns;
}

/* Backup: only where its client stands is followed from now on. */
static inline void ftt_flow_let_go(struct ftt_flow *f)
{
	f->protection = FTT_DETACHED;
}

/* Does the flow need every header edited? Not on the node that shook hands. */
static inline bool ftt_flow_shifted(const struct ftt_flow *f)
{
	return f->hard.delta || f->hard.ts_delta || f->hard.local_wscale != f->hard.service_wscale;
}

/* What our stack's clock shows now, as a TSval in service space: it ticks in ms (net/ipv4/tcp_output.c). */
static inline uint32_t ftt_flow_clock(const struct ftt_flow *f, uint64_t now_ns)
{
	return f->local_tsval - f->hard.ts_delta + (uint32_t)((now_ns - f->local_ts_ns) / 1000000);
}

/*
 * How far the client can have acknowledged: what it was sent, as far as this node knows. What a stack has sent that
 * still waits here proves nothing. A backup has the primary's word, behind its word on what it refused until then. Who
 * took over has both stacks' output.
 */
static inline uint32_t ftt_flow_sent(const struct ftt_flow *f)
{
	return f->bits & FTT_F_TAKEN ? seq_max(f->local_snd_nxt, f->sent) : f->sent;
}

/*
 * How far the local stack may be told that the client has acknowledged: never beyond what it has
 * sent (the kernel drops such an ACK, RFC 9293 3.10.7.4, and the flow would wedge); as a backup
 * with data in flight one segment less, see above.
 */
static inline uint32_t ftt_deliverable(const struct ftt_flow *f, uint8_t mode)
{
	uint32_t ack = seq_min(f->client_acked, f->local_snd_nxt);

	if (f->bits & FTT_F_UNVERIFIED) /* what it says is kept, and sent when all is verified: it is to go on */
		return seq_max(f->local_snd_nxt - !!(f->bits & FTT_F_LOCAL_FIN), f->delivered_ack);
	if (mode == FTT_MODE_BACKUP && seq_lt(ack, f->local_snd_nxt))
		ack -= f->mss;
	return seq_max(ack, f->delivered_ack);
}

/* It is told that now, and so far: returns what the acknowledgement says. */
static inline uint32_t ftt_flow_delivers(struct ftt_flow *f, uint8_t mode)
{
	return f->delivered_ack = ftt_deliverable(f, mode);
}

/*
 * Our stack was told that the client has more than it has. What is missing we send; and of the client's window the
 * stack learns from us, for an acknowledgement that it takes for an old one tells it nothing.
 */
static inline bool ftt_flow_owes(const struct ftt_flow *f)
{
	return seq_gt(f->delivered_ack, f->client_acked);
}

/* The end of our own server's stream as far as it has come, as an offset: a FIN is no part of it. */
static inline uint32_t ftt_output_end(const struct ftt_flow *f)
{
	return f->local_snd_nxt - (f->hard.service_iss + 1) - !!(f->bits & FTT_F_LOCAL_FIN);
}

/* Primary: ... and of the backup's, as it last told. */
static inline uint32_t ftt_peer_end(const struct ftt_flow *f)
{
	return f->peer_snd_nxt - (f->hard.service_iss + 1) - !!(f->bits & FTT_F_PEER_FIN);
}

/*
 * Primary: have both stacks reset the connection, without a FIN? Each may have thrown away what it had not sent. So neither
 * will say more, and where they stand does not matter.
 */
static inline bool ftt_both_reset(const struct ftt_flow *f)
{
	return f->bits & FTT_F_LOCAL_RST && f->bits & FTT_F_PEER_RST && !(f->bits & (FTT_F_LOCAL_FIN | FTT_F_PEER_FIN));
}

/*
 * Primary: have both servers ended their output at one place? Each may have done it by a FIN or by a RST: a stack that has bytes
 * which its server did not read before it closed, or that gets such later, resets the connection (RFC 9293 3.6, RFC 1122
 * 4.2.2.13). Which of the two happens is a race between client and server, and says nothing about what either has said.
 */
static inline bool ftt_ends_alike(const struct ftt_flow *f)
{
	if (ftt_both_reset(f))
		return true;
	return f->bits & (FTT_F_LOCAL_FIN | FTT_F_LOCAL_RST) && f->bits & (FTT_F_PEER_FIN | FTT_F_PEER_RST) &&
	       ftt_output_end(f) == ftt_peer_end(f);
}

/* Backup: our server has ended its stream before the place to which the primary's has come. */
static inline bool ftt_output_short(const struct ftt_flow *f)
{
	return f->bits & FTT_F_SUMS && f->bits & FTT_F_LOCAL_FIN && seq_gt(f->told, ftt_output_end(f));
}

/* Both directions are over, on this node. */
static inline bool ftt_flow_ended(const struct ftt_flow *f)
{
	if (f->bits & (FTT_F_CLIENT_RST | FTT_F_LOCAL_RST))
		return true;
	/* beyond fin_end is an end of the other node's server, whose stream is a longer one */
	return f->bits & FTT_F_CLIENT_FIN && f->bits & FTT_F_LOCAL_FIN && f->client_acked == f->fin_end && !ftt_output_short(f);
}

/* It is closed, and not by a RST: our server, which had to take it before, says no word of it any more. */
static inline bool ftt_flow_rests(const struct ftt_flow *f)
{
	return f->bits & FTT_F_CLIENT_FIN && f->bits & FTT_F_LOCAL_FIN && !(f->bits & (FTT_F_CLIENT_RST | FTT_F_LOCAL_RST));
}

/* Whatever moves one of the two ends asks for this. */
static inline uint32_t ftt_close_if_ended(const struct ftt_flow *f)
{
	return ftt_flow_ended(f) ? FTT_ACT_CLOSED : 0;
}

/*
 * The window field that goes with an acknowledgement lowered to `ack`: the client's right edge stays
 * where it is. What lies between it has, so our stack may "send" it even into a closed window: to the last byte, so that is
 * rounded up to the window's unit.
 */
static inline uint16_t ftt_client_window(const struct ftt_flow *f, uint32_t client_ack, uint16_t wnd, uint32_t ack)
{
	int64_t room = ((int64_t)wnd << f->hard.client_wscale) + (int32_t)(client_ack - ack);

	if (f->bits & FTT_F_UNVERIFIED) { /* what the old primary has said: there was room for it */
		int64_t said = (int32_t)(f->hard.service_iss + 1 + f->told - ack);

		room = room > said ? room : said;
	}
	if (f->bits & FTT_F_UNVERIFIED || client_ack != ack)
		room += (1 << f->hard.client_wscale) - 1;
	room = room < 0 ? 0 : room >> f->hard.client_wscale;
	return room > 0xffff ? 0xffff : (uint16_t)room;
}

#endif
