/* SPDX-License-Identifier: Apache-2.0 */
/*
 * udp_again.c - the reply that the client had last, said again by a new owner.
 *
 * What the client says while nobody owns the service is lost, and it waits for a timer of its own before it
 * says it again: a second, in TFTP. A reply that comes again asks for it at once: a client has to bear that, for
 * networks double datagrams, and one that is in step answers it as it did before (RFC 1350: each DATA is acknowledged; RFC 1123
 * 4.2.3.1: an acknowledgement that comes twice is not answered). So the backup keeps the last reply of each session that
 * is in use. Once, at a takeover, it is said again, if as far as we know the client has said nothing since. If our server has not
 * given it yet, it leaves when it comes: the old primary told of it, and may have lost its lease before it left.
 */
#define _GNU_SOURCE
#include <stdlib.h>
#include "engine/worker.h"

void ftt_udp_keep_last(struct ftt_worker *w, struct ftt_udp_session *u, struct ftt_udp_reply *r, uint64_t now_ns)
{
	ftt_udp_drop_last(u);
	r->since_ns = now_ns;
	u->last = r;
	ftt_list_add(&u->fresh, &w->udp.fresh);
}

bool ftt_udp_say(struct ftt_worker *w, const struct ftt_udp_session *u, const struct ftt_udp_reply *r, uint64_t now_ns)
{
	struct ftt_env env = ftt_worker_env_out(w, now_ns);
	size_t len;

	if (ftt_gate_alone(&env)) {
		w->n.drop_lease++;
		return false;
	}
	len = ftt_udp_build(&w->udp, u->key.local, ftt_udp_to_client(u, r->port), u->key.remote, u->key.remote_port,
			    r->bytes, r->len);
	return !ftt_plane_now(w->plane, w->udp.scratch, len, true);
}

void ftt_udp_say_again(struct ftt_worker *w, struct ftt_udp_session *u, uint64_t now_ns)
{
	struct ftt_env env = ftt_worker_env(w, now_ns);
	const struct ftt_udp_reply *r = u->last;

	if (ftt_session_says_again(&u->s, r ? r->since_ns : 0, r ? r->number : 0, &env))
		w->n.udp_said_again += ftt_udp_say(w, u, r, now_ns);
	ftt_udp_drop_last(u);
}

void ftt_udp_sweep_last(struct ftt_worker *w, uint64_t now_ns)
{
	while (!ftt_list_empty(&w->udp.fresh)) {
		struct ftt_udp_session *u = FTT_ENTRY(w->udp.fresh.prev, struct ftt_udp_session, fresh);

		if (now_ns - u->last->since_ns <= FTT_UDP_FRESH_NS)
			return;
		ftt_udp_drop_last(u);
	}
}
