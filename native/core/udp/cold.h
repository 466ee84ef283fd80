/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cold.h - UDP, a backup that runs no server: a session is the log of its events, and the sum of the replies that the client has.
 *
 * What is in the log counts as given, so the primary never waits for a server that there is not. At a takeover one is started, which is
 * behind by all events: from there on the rules of backup.h hold as they are.
 */
#ifndef FTTCP_UDP_COLD_H
#define FTTCP_UDP_COLD_H
#include "core/udp/backup.h"

/* All events are in the log. */
static inline void ftt_session_keeps(struct ftt_session *s)
{
	s->acked = s->events;
}

/* A server has started. It has had nothing, has said nothing, and knows none of the ports that the client does. */
static inline void ftt_session_begin_again(struct ftt_session *s)
{
	s->protection = FTT_CATCHING_UP;
	s->acked = s->outputs = s->missing = 0;
	s->early = 0;
	s->nobody = 0;
	s->silent_ns = s->behind_ns = 0;
	s->n_local_ports = s->n_client_ports = 0;
	s->sums.crc = 0;
	s->sums.broken = false;
	s->sums.waits = s->sums.their_number; /* the primary has told of some */
}

#endif
