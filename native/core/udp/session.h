/* SPDX-License-Identifier: Apache-2.0 */
/*
 * session.h - what a node knows of one UDP session, and decides about it. What the numbers mean is in engine/flows/udp.h.
 *
 * As for TCP, only the core writes it. Datagrams themselves are the caller's, who keeps and sends them.
 */
#ifndef FTTCP_SESSION_H
#define FTTCP_SESSION_H
#include "core/gate.h"
#include "core/packet/mem.h"
#include "core/records/record.h"

#define FTT_UDP_PORTS 8u    /* ports of a server's own choice, latest ones of a session */
#define FTT_UDP_WINDOW 256u /* events that the backup does not hold yet, or its server has not had */
#define FTT_UDP_RETAINED 32u

/* What the caller is to do: a set. */
enum ftt_session_action {
	FTT_UDP_RELEASE = 1,     /* replies may go: ask ftt_session_holds() again */
	FTT_UDP_DETACHED = 2,    /* the session left protection for good: report it */
	FTT_UDP_ASK_DETACH = 4,  /* send DETACH */
	FTT_UDP_ASK_SERVER = 8,  /* send SENT, which asks how far the backup's server is */
	FTT_UDP_RESEND = 16,     /* send again what is not acknowledged */
	FTT_UDP_WAITS = 32,      /* something will move by time alone */
	FTT_UDP_ACKNOWLEDGE = 64, /* send EVENT_ACK */
	FTT_UDP_DIFFER = 128,    /* both servers' replies differ: report it */
	FTT_UDP_GIVE_UP = 256,   /* backup: it is not followed any more */
	FTT_UDP_COMPARED = 512,  /* sums were compared */
	FTT_UDP_UNCOMPARED = 1024 /* ... could not be */
};

struct ftt_session {
	/* numbers, modulo 2^32 */
	uint32_t events;   /* primary: numbered so far; backup: held without a gap */
	uint32_t acked;    /* primary: held by the backup; backup: given to the server */
	uint32_t granted;  /* primary: events whose replies may go */
	uint32_t outputs;  /* replies of our server */
	uint32_t sent;     /* replies that went to the client (backup: as last told) */
	uint32_t followed; /* who took over: events of the old primary that it has */
	uint32_t missing;  /* backup: replies that our server was waited for in vain */
	uint32_t owed;     /* who took over: number of the last reply, which our server has not given yet; 0: none */
	uint32_t answered; /* backup: replies that the primary had given when the client spoke last */
	uint32_t divergences;
	uint8_t protection; /* enum ftt_protection */
	uint8_t reason;     /* enum ftt_reason */
	uint8_t early;      /* backup: what our server was given early since early_ns, in measure of FTT_UDP_EARLY */
	uint16_t nobody;    /* backup: the port that no server has, as our stack said; 0: it has not, or one has spoken from it since */
	uint64_t last_ns, asked_ns;
	uint64_t early_ns;  /* backup: when it began to be given some */
	uint64_t silent_ns; /* backup: since when it is waited for without a single reply; 0: it is not. Primary, FTT_OPENING: since when */
	uint64_t behind_ns; /* backup: since when the primary has to wait for it, again and again; 0: it has not */
	struct ftt_udp_sums {
		uint32_t crc;                     /* of the payloads of all replies (CRC-32C) */
		uint32_t after[FTT_UDP_RETAINED]; /* backup: crc after reply number i */
		uint32_t their_number, their_crc; /* backup: the primary's, for a reply that our server has not given yet */
		bool waits;                       /* ... there is one */
		bool broken;                      /* a reply was not seen whole, or they differed */
	} sums;
	uint16_t client_port_of[FTT_UDP_PORTS]; /* as the client knows them */
	uint16_t local_port_of[FTT_UDP_PORTS];  /* as our stack knows them */
	uint32_t n_client_ports, n_local_ports;
};

static inline void ftt_session_init(struct ftt_session *s, uint64_t now_ns)
{
	memset(s, 0, sizeof(*s));
	s->last_ns = now_ns;
}

/* Is what its client says numbered, for the backup? */
static inline bool ftt_session_is_numbered(const struct ftt_session *s)
{
	return s->protection == FTT_PROTECTED || s->protection == FTT_DETACHING || s->protection == FTT_OPENING;
}

/* A client, or the primary's word of one, begins it. */
static inline void ftt_session_begin(struct ftt_session *s, const struct ftt_env *env)
{
	bool followed = (env->mode == FTT_MODE_PAIRED && !env->behind) || env->mode == FTT_MODE_BACKUP;

	s->protection = followed ? FTT_PROTECTED : FTT_UNPROTECTED;
	s->reason = followed ? FTT_WHY_NONE : env->behind ? env->behind : FTT_WHY_NO_BACKUP;
}

/* From here on nobody follows it. What is numbered is not needed any more, except by who takes over: its own server has not had it all. */
static inline void ftt_session_alone(struct ftt_session *s, bool takes_over)
{
	s->protection = FTT_UNPROTECTED;
	s->reason = FTT_WHY_SOLO;
	if (takes_over)
		s->followed = s->events;
	else
		s->acked = s->events;
}

/* Something came, or was said, at this moment. */
static inline void ftt_session_heard(struct ftt_session *s, uint64_t now_ns)
{
	s->last_ns = now_ns;
}

/* Its client speaks: it asks for something else, or again. */
static inline void ftt_session_called(struct ftt_session *s, uint64_t now_ns)
{
	s->last_ns = now_ns;
	s->owed = 0;
}

/* How long it may be silent before it is forgotten. The backup remembers longer: the primary decides when a session is over. */
static inline uint64_t ftt_session_idle_ns(const struct ftt_env *env)
{
	return env->policy->udp_idle_timeout_ns * (env->mode == FTT_MODE_BACKUP ? 2 : 1);
}

/* May a worker know one more session beside so many? */
static inline bool ftt_session_admitted(uint32_t known, const struct ftt_env *env)
{
	return known < env->policy->max_flows;
}

/* Is there memory for a datagram of so many bytes, where so many are kept? */
static inline bool ftt_session_fits(uint32_t kept, uint32_t len, const struct ftt_env *env)
{
	return kept + len <= env->policy->max_udp_bytes;
}

/* ... and a number for the event that it is? */
static inline bool ftt_session_has_room(const struct ftt_session *s, uint32_t kept, uint32_t len, const struct ftt_env *env)
{
	return s->events - s->acked < FTT_UDP_WINDOW && ftt_session_fits(kept, len, env);
}

/* The next event: returns its number. */
static inline uint32_t ftt_session_number(struct ftt_session *s)
{
	return ++s->events;
}

/* ... of a session that nobody follows: our server has it. */
static inline void ftt_session_note(struct ftt_session *s)
{
	s->acked = ++s->events;
}

/* --- ports of the server's own choice ----------------------------------------------------------------- */

/*
 * The i-th port of the one stands for the i-th of the other. Each side has a ring of its latest ones; of earlier ones nothing is known any
 * more.
 */
/* Which one of the `n` is it? `n`: none that is known. */
static inline uint32_t ftt_session_which(const uint16_t *ports, uint32_t n, uint16_t port)
{
	uint32_t first = n > FTT_UDP_PORTS ? n - FTT_UDP_PORTS : 0;

	for (uint32_t i = n; i-- > first;)
		if (ports[i % FTT_UDP_PORTS] == port)
			return i;
	return n;
}

static inline uint16_t ftt_session_port(const uint16_t *from, uint32_t n_from, const uint16_t *to, uint32_t n_to, uint16_t port)
{
	uint32_t i = ftt_session_which(from, n_from, port);

	return i < n_from && i < n_to && n_to - i <= FTT_UDP_PORTS ? to[i % FTT_UDP_PORTS] : port;
}

/* The port that stands for `port` on the other side of the mapping, itself when there is none. */
static inline uint16_t ftt_session_to_client(const struct ftt_session *s, uint16_t port)
{
	return ftt_session_port(s->local_port_of, s->n_local_ports, s->client_port_of, s->n_client_ports, port);
}

static inline uint16_t ftt_session_to_local(const struct ftt_session *s, uint16_t port)
{
	return ftt_session_port(s->client_port_of, s->n_client_ports, s->local_port_of, s->n_local_ports, port);
}

/* The next one that the client knows. */
static inline void ftt_session_client_port(struct ftt_session *s, uint16_t port)
{
	s->client_port_of[s->n_client_ports++ % FTT_UDP_PORTS] = port;
}

/* ... that our stack knows. */
static inline void ftt_session_local_port(struct ftt_session *s, uint16_t port)
{
	s->local_port_of[s->n_local_ports++ % FTT_UDP_PORTS] = port;
}

/* A port of our server's: of those that the client knows, how many does it learn before the counterpart? UINT32_MAX: it knows that one. */
static inline uint32_t ftt_session_unnamed(const struct ftt_session *s, uint16_t port)
{
	uint32_t i = ftt_session_which(s->local_port_of, s->n_local_ports, port);

	return i < s->n_local_ports && i >= s->n_client_ports ? i - s->n_client_ports : UINT32_MAX;
}

/* A port of the primary's server whose counterpart here has not shown itself yet. */
static inline bool ftt_session_unmapped(const struct ftt_session *s, uint16_t port)
{
	uint32_t i = ftt_session_which(s->client_port_of, s->n_client_ports, port);

	return i < s->n_client_ports && i >= s->n_local_ports;
}

/* Is it no port of the service, and of those that the client was told of, or of their counterparts, not one of the latest ones? */
static inline bool ftt_session_forgot(const struct ftt_session *s, uint16_t port)
{
	uint32_t i = ftt_session_which(s->client_port_of, s->n_client_ports, port);

	return i == s->n_client_ports ? i > FTT_UDP_PORTS : i + FTT_UDP_PORTS < s->n_local_ports;
}

#endif
