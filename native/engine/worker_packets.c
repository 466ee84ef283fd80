/* SPDX-License-Identifier: Apache-2.0 */
/*
 * worker_packets.c - packets of a worker's plane, from their arrival to the verdicts: whose each is, and when what was decided leaves.
 */
#define _GNU_SOURCE
#include "engine/flows/act.h"
#include "engine/flows/calls.h"
#include "engine/flows/cold.h"
#include "engine/flows/hear.h"
#include "engine/flows/history.h"
#include "engine/flows/hold.h"
#include "engine/flows/icmp.h"
#include "engine/flows/log.h"
#include "engine/flows/opens.h"
#include "engine/flows/stored.h"
#include "engine/flows/tcp.h"
#include "engine/liveness/mirror.h"
#include <errno.h>

#define GATHERED 16u /* packets of output that leave together, at most */

/* Is it of a connection with the service, or of one that the service opens? */
static bool of_service(const struct ftt_worker *w, const struct ftt_pkt *k, const struct ftt_seg *s, bool in)
{
	const struct ftt_config *cfg = &w->e->cfg;

	return ftt_port_in(cfg->port, cfg->n_ports, in ? k->dport : k->sport, 6) ||
	       (ftt_opens_to(w, in ? k->sport : k->dport) && !(in && ftt_is_syn(s)));
}

/* What no flow stands for: passes for a primary under its lease, else not at all. */
static void other_packet(struct ftt_worker *w, struct ftt_packet *p, enum ftt_parsed kind, bool in, uint64_t now_ns)
{
	struct ftt_env env = ftt_worker_env_out(w, now_ns);
	bool primary = ftt_flow_emits(env.mode);
	bool accept = primary && (in || !ftt_gate_alone(&env));

	if (!accept)
		++*(kind == FTT_PARSED_MALFORMED ? &w->n.drop_malformed : primary ? &w->n.drop_lease : &w->n.drop_mode);
	else if (kind == FTT_PARSED_MALFORMED)
		w->n.pass_malformed++; /* the kernel knows what to do with it */
	else if (kind == FTT_PARSED_FRAGMENT)
		w->n.pass_fragment++;
	else
		w->n.pass_unmatched++;
	ftt_worker_verdict(w, p, accept, NULL);
}

static void one_packet(struct ftt_worker *w, struct ftt_packet *p, uint64_t now_ns)
{
	bool in = p->from_client;
	const struct ftt_config *cfg = &w->e->cfg;
	struct ftt_pkt k;
	struct ftt_seg s;
	struct ftt_quote q;
	enum ftt_parsed kind = ftt_parse(p->bytes, p->cap, p->len, &k, &s);

	*(in ? &w->n.in_packets : &w->n.out_packets) += 1;
	*(in ? &w->n.in_bytes : &w->n.out_bytes) += p->len;
	/* the port is asked for here, too: no call for each packet */
	if (kind == FTT_PARSED_TCP && in && k.sport == cfg->channel_port && ftt_mirror_probe(w->e, p->bytes, p->cap, &k)) {
		w->n.mirror_probes++;
		ftt_worker_verdict(w, p, false, NULL);
		return;
	}
	if (w->mode == FTT_MODE_IDLE && in && !(kind == FTT_PARSED_UDP && w->udp.on)) {
		w->n.drop_mode++;
		ftt_worker_verdict(w, p, false, NULL);
		return;
	}
	if (kind == FTT_PARSED_UDP && w->stored && ftt_stored_packet(w, p, &k, now_ns))
		return;
	s.dir = in ? FTT_FROM_CLIENT : FTT_FROM_SERVER;
	if (kind == FTT_PARSED_TCP && of_service(w, &k, &s, in)) {
		if (in)
			ftt_tcp_from_client(w, p, &k, &s, now_ns);
		else
			ftt_tcp_from_server(w, p, &k, &s, now_ns);
	} else if (kind == FTT_PARSED_UDP && w->udp.on) {
		if (in)
			ftt_udp_from_client(w, p, &k, now_ns);
		else
			ftt_udp_from_server(w, p, &k, now_ns);
	} else if (kind == FTT_PARSED_OTHER && ftt_parse_quote(p->bytes, p->cap, &k, &q)) {
		ftt_icmp_error_packet(w, p, &k, &q, in, now_ns);
	} else {
		other_packet(w, p, kind, in, now_ns);
	}
}

/* COMMITs whose time has come leave; on a primary OUTPUTs. */
static void commit(struct ftt_worker *w, uint64_t now_ns)
{
	if (!w->table.dirty || (now_ns < w->table.commit_by_ns && !w->told))
		return;
	ftt_tcp_send_commits(w);
	ftt_channel_flush(&w->channel, &w->n);
	w->told = false;
}

void ftt_worker_flush(struct ftt_worker *w)
{
	if (w->told)
		commit(w, w->table.commit_by_ns);
	ftt_tcp_send_injected(w);
	ftt_plane_flush(w->plane);
	ftt_tcp_free_spent(w);
	ftt_udp_free_spent(&w->udp);
	ftt_plane_send(w->plane);
}

/*
 * What was decided leaves. Who gets a backup's COMMITs waits for them, nobody for the verdicts on what it does not let
 * out. A primary's client waits for the verdicts; its OUTPUTs come first where they must (digest.h).
 */
void ftt_worker_answer(struct ftt_worker *w, uint64_t now_ns)
{
	if (w->mode == FTT_MODE_BACKUP)
		commit(w, now_ns);
	ftt_worker_flush(w);
	commit(w, now_ns);
}

/*
 * Do the verdicts wait for those on what comes next? Of a primary's output, where there is more of it, some are decided
 * together: one OUTPUT tells of them all. A client's packets never do, for our stack waits for them.
 */
static bool gathers(struct ftt_worker *w, unsigned lane, bool in, bool full)
{
	return w->mode == FTT_MODE_PAIRED && full && !in && ftt_plane_gathered(w->plane, lane) < GATHERED;
}

void ftt_worker_packets(struct ftt_worker *w, unsigned lane, int rounds)
{
	struct ftt_packet p;
	bool more = true;

	while (more && rounds--) {
		bool in = false, full;
		uint64_t now_ns;
		int n = ftt_plane_receive(w->plane, lane, &full);

		if (n < 0) {
			struct ftt_event ev = {.kind = FTT_EV_ERROR, .value = (uint64_t)errno, .reason = 1};

			ftt_event_post(w->e, &ev);
			w->stop = true;
			return;
		}
		if (!n)
			return;
		now_ns = ftt_now_ns();
		w->looked = w->heard = false;
		if (w->mode == FTT_MODE_PAIRED && ftt_calls_on(w)) { /* what was said depends on what was in the log by then */
			ftt_calls_look(w, now_ns);
			ftt_calls_push(w, now_ns);
		}
		if (w->mode == FTT_MODE_BACKUP && lane == FTT_LANE_FLOWS && w->held_now) /* our stack's next word may release what was refused */
			ftt_hear_records(w, FTT_ON_QUIET, now_ns);
		while (ftt_plane_next(w->plane, lane, &p)) {
			in |= p.from_client;
			one_packet(w, &p, now_ns);
		}
		more = full || in; /* our stack answers while it is given its packet */
		if (!gathers(w, lane, in, full))
			ftt_worker_answer(w, now_ns);
	}
}

/* Whole packets are needed to edit and for UDP, of the server's output also to compare; otherwise headers will do. */
void ftt_worker_choose_copy(struct ftt_worker *w)
{
	bool backup = w->mode == FTT_MODE_BACKUP;
	bool logs = w->e->history_file || (w->e->cfg.policy.renew && (ftt_log_copies(w) || (w->history && !w->history->why))) || ftt_cold(w) ||
		    w->promoting;
	/* a backup edits ports of what its server opens; the kernel's stamp does not. Who took over asks again for one, whole */
	bool edits = w->udp.on || w->stored || w->e->cfg.n_md5 || w->n.kicked || w->whole || !(w->plane->can & FTT_PLANE_HOLDS) ||
		     (backup ? w->e->cfg.n_opens || !(w->plane->can & FTT_PLANE_STAMPS) : w->e->cfg.policy.shift.on);
	bool looks = backup || w->e->cfg.policy.compare;

	ftt_plane_look(w->plane, edits || logs || w->sum_unknown ? FTT_PLANE_WHOLE : FTT_PLANE_HEADERS,
		       edits || looks ? FTT_PLANE_WHOLE : FTT_PLANE_HEADERS);
}

static void make_room(void *w)
{
	ftt_worker_flush(w);
}

static void hear(void *of, uint8_t from, const uint8_t *record, size_t len)
{
	struct ftt_worker *w = of;
	struct ftt_record r;

	if (ftt_record_get(record, len, &r))
		ftt_hear_record(w, &r, from, ftt_now_ns());
}

struct ftt_plane_owner ftt_worker_owner(struct ftt_worker *w)
{
	return (struct ftt_plane_owner){.shared = &w->e->shared, .make_room = make_room, .hear = hear, .of = w};
}
