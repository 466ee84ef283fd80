/* SPDX-License-Identifier: Apache-2.0 */
/*
 * worker.c - the loop of a worker: wait, take what is there, decide, and answer in batches.
 *
 * One wake-up: carry out a change of role if there was one; packets of both queues, in the order
 * in which the kernel queued them, and some handshakes; records of the other node; time. Then everything
 * gathered leaves: records, verdicts, injected packets. The order matters: a commit record tells what the stack has
 * acknowledged, never what a verdict is about to give it, and takeover opens before it kicks.
 */
#define _GNU_SOURCE
#include "engine/flows/act.h"
#include "engine/flows/checkpoint.h"
#include "engine/flows/cold.h"
#include "engine/flows/follow.h"
#include "engine/flows/history_lane.h"
#include "engine/flows/hold.h"
#include "engine/flows/icmp.h"
#include "engine/liveness/mirror.h"
#include "engine/flows/kept.h"
#include "engine/flows/opens.h"
#include "engine/flows/promote.h"
#include "engine/flows/renew_lane.h"
#include "engine/flows/spill.h"
#include "engine/flows/tcp.h"
#include "engine/thread.h"
#include <errno.h>
#include <net/if.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define TICK_NS 2000000ull        /* while something is held */
#define IDLE_TICK_NS 100000000ull
#define SWEEP_NS 100000000ull
#define ROLE_FLOWS 64             /* to which a new role is carried out before packets get their turn */
#define ROUNDS 24                 /* receive calls per wake-up, so that records and time get their turn */
#define REST_ROUNDS 2048          /* ... that empty a full queue */
#define LAST_ROUNDS 64            /* ... and the channel, before a role ends */
#define GATHERED 16u              /* packets of output that leave together, at most */
#define LANE_ALONE 65536u         /* bytes of the bulk lane each way, and connection, between two looks at packets: some 0.1 ms */
#define LANE_BESIDE 8192u         /* ... while there are packets */
#define HANDSHAKE_ROUNDS 2        /* of them for handshakes: a SYN, and what the stack answers to it */

/* Is it of a connection with the service, or of one that the service opens? */
static bool of_service(const struct ftt_worker *w, const struct ftt_pkt *k, const struct ftt_seg *s, bool in)
{
	const struct ftt_config *cfg = &w->e->cfg;

	return ftt_port_in(cfg->port, cfg->n_ports, in ? k->dport : k->sport, 6) ||
	       (ftt_opens_to(w, in ? k->sport : k->dport) && !(in && ftt_is_syn(s)));
}

static bool mirror_datagram(struct ftt_worker *w)
{
	bool ours = ftt_mirror_datagram(w->e, &w->channel);

	w->n.mirror_probes += ours;
	return ours;
}

/* What no flow stands for: passes for a primary under its lease, else not at all. */
static void other_packet(struct ftt_worker *w, struct ftt_packet *p, enum ftt_parsed kind, bool in, uint64_t now_ns)
{
	bool primary = ftt_flow_emits((uint8_t)w->mode);
	bool accept = in ? primary : primary && ftt_may_emit(&w->e->shared, now_ns);

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

/* All verdicts leave, and what has to be told before. */
static void flush(struct ftt_worker *w)
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
static void answer(struct ftt_worker *w, uint64_t now_ns)
{
	if (w->mode == FTT_MODE_BACKUP)
		commit(w, now_ns);
	flush(w);
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

/* What waits in a lane, in at most so many receive calls. Their bytes' places are used again by the next one. */
static void packets(struct ftt_worker *w, unsigned lane, int rounds)
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
		if (w->mode == FTT_MODE_BACKUP && lane == FTT_LANE_FLOWS && w->held_now) /* our stack's next word may release what was refused */
			ftt_follow_records(w, FTT_ON_QUIET, now_ns);
		while (ftt_plane_next(w->plane, lane, &p)) {
			in |= p.from_client;
			one_packet(w, &p, now_ns);
		}
		more = full || in; /* our stack answers while it is given its packet */
		if (!gathers(w, lane, in, full))
			answer(w, now_ns);
	}
}

/* Whole packets are needed to edit and for UDP, of the server's output also to compare; otherwise headers will do. */
static void choose_copy(struct ftt_worker *w)
{
	bool backup = w->mode == FTT_MODE_BACKUP;
	bool logs = w->e->record || (w->e->cfg.policy.renew && (ftt_log_copies(w) || (w->history && !w->history->why))) || ftt_cold(w) ||
		    w->promoting;
	bool edits = w->udp.on || w->e->cfg.n_opens || w->n.kicked || w->whole || !(w->plane->can & FTT_PLANE_HOLDS) ||
		     (backup ? !(w->plane->can & FTT_PLANE_STAMPS) : w->e->cfg.policy.shift.on);
	bool looks = backup || w->e->cfg.policy.compare;

	ftt_plane_look(w->plane, edits || logs || w->sum_unknown ? FTT_PLANE_WHOLE : FTT_PLANE_HEADERS,
		       edits || looks ? FTT_PLANE_WHOLE : FTT_PLANE_HEADERS);
}

/*
 * What is to be forgotten is, before a role begins that emits; and what our stack said of it up to then is
 * dropped as ever: none of it may reach a client.
 */
static void forget_rest(struct ftt_worker *w)
{
	ftt_follow_rest(w, UINT32_MAX, ftt_now_ns());
	flush(w);
	packets(w, FTT_LANE_FLOWS, REST_ROUNDS);
	packets(w, FTT_LANE_HANDSHAKES, REST_ROUNDS);
}

/* On a backup, since a takeover has no time for it: the interface may be made anew, with another index. */
static void find_mirror(struct ftt_worker *w)
{
	uint32_t index = w->mode == FTT_MODE_BACKUP ? if_nametoindex(w->e->cfg.peer_interface) : 0;

	if (index)
		w->mirror_index = index;
}

/* The backup connects. Who serves alone has nobody to speak with. */
static enum ftt_lane_role lane_role(uint32_t mode)
{
	return mode == FTT_MODE_BACKUP ? FTT_LANE_CONNECTS : mode == FTT_MODE_PAIRED ? FTT_LANE_ACCEPTS : FTT_LANE_OFF;
}

static void follow_lane(struct ftt_worker *w, uint32_t partner)
{
	struct ftt_lane_pairing with = {
		.partner = partner,
		.version = (uint8_t)atomic_load(&w->e->shared.channel_version[partner]),
		.commit_session = w->channel.key_session,
		.pairing = w->session,
	};

	ftt_lane_follow(&w->lane, lane_role(w->mode), &with);
}

/* An order to promote is about the role as it is; what the primary has told decides what its clients have. */
static void promote(struct ftt_worker *w)
{
	uint64_t promoted = atomic_load(&w->e->shared.promoted);

	if (promoted == w->promoted)
		return;
	w->promoted = promoted;
	for (int rounds = LAST_ROUNDS; rounds && ftt_cold(w) && !ftt_follow_records(w, FTT_ON_ANY, ftt_now_ns()); rounds--)
		;
	ftt_promote(w, ftt_now_ns());
}

/* About the role as it is, and before the order to promote: what is let go is not played. */
static void heed_checkpoint(struct ftt_worker *w)
{
	uint64_t checkpoints = atomic_load(&w->e->shared.checkpoints);

	if (checkpoints == w->checkpoints)
		return;
	w->checkpoints = checkpoints;
	ftt_checkpoint(w, atomic_load(&w->e->shared.checkpoint_told), ftt_now_ns());
}

static void follow_role(struct ftt_worker *w)
{
	struct ftt_shared *sh = &w->e->shared;
	uint64_t generation = atomic_load(&sh->generation);
	uint32_t partner = atomic_load(&sh->partner);

	if (w->mode == FTT_MODE_BACKUP && generation != w->generation) /* what the primary has told decides what goes on */
		for (int rounds = LAST_ROUNDS; rounds && !ftt_follow_records(w, FTT_ON_ANY, ftt_now_ns()); rounds--)
			;
	ftt_channel_follow(&w->channel, partner, atomic_load(&sh->commit_session[partner]), atomic_load(&sh->session),
			   atomic_load(&sh->channel_version[partner]));
	if (generation != w->generation) {
		uint32_t mode = atomic_load(&sh->mode);
		uint64_t session = atomic_load(&sh->session);

		if (w->role_open && !ftt_flow_emits((uint8_t)w->mode) && ftt_flow_emits((uint8_t)mode))
			forget_rest(w);
		w->generation = generation;
		w->role_open = true;
		ftt_kept_drop(w);
		ftt_follow_role(w, mode, session, ftt_now_ns());
		ftt_udp_strays(w, ftt_now_ns());
		find_mirror(w);
	}
	follow_lane(w, partner);
	heed_checkpoint(w);
	promote(w);
	if (!w->role_open)
		return;
	if (ftt_follow_rest(w, ROLE_FLOWS, ftt_now_ns())) {
		w->role_open = false;
		ftt_engine_role_done(w->e, w->role_flows, generation);
	}
	flush(w);
}

/*
 * For how long it waits for work. The limit of epoll_wait() costs some microseconds, which a timer that stays set does not; but with
 * many connections these let packets gather, and a worker that is woken less often gets more done (docs/budget.md).
 */
static int patience_ms(const struct ftt_worker *w)
{
	uint64_t ns = w->table.waiting || w->held_now || w->n_opens || w->udp.waiting || !ftt_list_empty(&w->renew_active) ||
		      !ftt_list_empty(&w->renew_waiting) || w->udp.n_renewed || ftt_history_moves(w) ? TICK_NS : IDLE_TICK_NS;

	return w->role_open ? 0 : (int)((w->table.dirty ? FTT_COMMIT_LATER_NS : ns) / 1000000);
}

/*
 * Waits for work, in `got`. Where something came a moment ago more may come soon: then it looks again and again,
 * giving way to whoever wants the core, before it sleeps. Waking a thread costs more than that, and so does waking a core.
 */
static int wait_for_work(struct ftt_worker *w, struct epoll_event *got, uint64_t next_tick)
{
	while (w->busy_until_ns && !w->role_open) {
		int n = epoll_wait(w->epoll_fd, got, FTT_WORKER_FDS, 0);
		uint64_t now_ns = ftt_now_ns();

		if (n || now_ns >= next_tick)
			return n;
		if (now_ns >= w->busy_until_ns)
			w->busy_until_ns = 0;
		sched_yield();
	}
	return epoll_wait(w->epoll_fd, got, FTT_WORKER_FDS, patience_ms(w));
}

/* A backup is woken for the quiet lane while a client's segment waits for the primary's word. */
static void listen_for_word(struct ftt_worker *w)
{
	struct epoll_event ev = {.events = EPOLLIN, .data.fd = w->channel.fd[FTT_QUIET]};
	bool waits = w->mode == FTT_MODE_BACKUP && w->held_now;

	if (waits != w->listens && !epoll_ctl(w->epoll_fd, waits ? EPOLL_CTL_ADD : EPOLL_CTL_DEL, ev.data.fd, &ev))
		w->listens = waits;
}

static bool has(const struct epoll_event *got, int n, int fd)
{
	for (int i = 0; i < n; i++)
		if (got[i].data.fd == fd)
			return true;
	return false;
}

static void *run(void *arg)
{
	struct ftt_worker *w = arg;
	uint64_t next_tick = 0;

	while (!w->stop) {
		struct epoll_event got[FTT_WORKER_FDS];
		uint64_t now_ns, counter;
		bool handshakes;
		unsigned loud;
		int n;

		listen_for_word(w);
		n = wait_for_work(w, got, next_tick);

		ftt_fair_lock(&w->lock);
		w->n.wakeups++;
		if (has(got, n, w->wake_fd) && read(w->wake_fd, &counter, sizeof(counter)) < 0)
			n = 0; /* nothing to read: another wake-up took it */
		ftt_history_look(w);
		follow_role(w);
		choose_copy(w);
		handshakes = has(got, n, w->plane->fd[FTT_LANE_HANDSHAKES]);
		loud = has(got, n, w->channel.fd[FTT_LOUD]) || ftt_channel_has(&w->channel, FTT_LOUD) ? FTT_ON_LOUD : 0;
		if (w->mode == FTT_MODE_BACKUP) {
			/* in the order in which the primary caused them: a SYN, the OPEN that asks for it, output that is told, answers to it */
			if (handshakes)
				packets(w, FTT_LANE_HANDSHAKES, HANDSHAKE_ROUNDS);
			if (loud || !has(got, n, w->plane->fd[FTT_LANE_FLOWS])) /* else packets() asks the quiet lane */
				ftt_follow_records(w, FTT_ON_QUIET | loud, ftt_now_ns());
		}
		if (has(got, n, w->plane->fd[FTT_LANE_FLOWS]))
			packets(w, FTT_LANE_FLOWS, ROUNDS);
		if (handshakes && w->mode != FTT_MODE_BACKUP)
			packets(w, FTT_LANE_HANDSHAKES, HANDSHAKE_ROUNDS);
		now_ns = ftt_now_ns();
		if (w->held_now || (w->mode != FTT_MODE_BACKUP && loud))
			ftt_follow_records(w, w->mode == FTT_MODE_BACKUP ? FTT_ON_ANY : FTT_ON_LOUD, now_ns); /* a primary has no quiet lane */
		if (now_ns >= next_tick) {
			next_tick = now_ns + TICK_NS;
			if (w->mode == FTT_MODE_BACKUP) /* it may not have been asked for: see ftt_tcp_from_client() */
				ftt_follow_records(w, FTT_ON_QUIET, now_ns);
			ftt_follow_tick(w, now_ns);
			ftt_promote_tick(w, now_ns);
			if (w->history && w->mode == FTT_MODE_BACKUP)
				ftt_history_tick(w);
			ftt_opens_tick(w, now_ns);
			ftt_renew_tick(w, now_ns);
			ftt_renew_pump(w, now_ns);
			ftt_udp_tick(w, now_ns);
		}
		if (now_ns >= w->next_sweep_ns) {
			w->next_sweep_ns = now_ns + SWEEP_NS;
			find_mirror(w);
			ftt_follow_sweep(w, now_ns);
			ftt_udp_sweep(w, now_ns);
		}
		ftt_spill_done(w, now_ns);
		if (w->history && w->history->stirred)
			ftt_history_tick(w);
		if (has(got, n, w->lane.epoll_fd)) /* packets have been answered by now */
			ftt_lane_turn(&w->lane, has(got, n, w->plane->fd[FTT_LANE_FLOWS]) ? LANE_BESIDE : LANE_ALONE, now_ns);
		answer(w, now_ns);
		ftt_kept_release(w);
		ftt_channel_flush(&w->channel, &w->n);
		if (n > 0 && w->e->cfg.busy_poll_ns)
			w->busy_until_ns = now_ns + w->e->cfg.busy_poll_ns;
		ftt_fair_unlock(&w->lock);
	}
	return NULL;
}

static int watch(int epoll_fd, int fd)
{
	struct epoll_event ev = {.events = EPOLLIN, .data.fd = fd};

	return epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &ev);
}

static void wake(void *w)
{
	ftt_worker_wake(w);
}

static void make_room(void *w)
{
	flush(w);
}

static void hear(void *of, uint8_t from, const uint8_t *record, size_t len)
{
	struct ftt_worker *w = of;
	struct ftt_record r;

	if (ftt_record_get(record, len, &r))
		ftt_follow_record(w, &r, from, ftt_now_ns());
}

struct ftt_worker *ftt_worker_open(struct ftt_engine *e, uint8_t index, char *err, size_t err_len)
{
	const struct ftt_config *cfg = &e->cfg;
	struct ftt_worker *w = calloc(1, sizeof(*w));
	struct ftt_lane_user user = ftt_renew_lane_user(w);

	if (!w) {
		snprintf(err, err_len, "worker %u: out of memory", index);
		return NULL;
	}
	w->e = e;
	w->index = index;
	w->odd = mirror_datagram;
	w->channel.fd[FTT_LOUD] = w->channel.fd[FTT_QUIET] = w->epoll_fd = w->wake_fd = -1;
	ftt_fair_init(&w->lock);
	ftt_renewals_open(w);
	ftt_list_init(&w->opens);
	if (cfg->policy.history_bytes && !(w->history = ftt_history_new(e->opened_ns))) {
		snprintf(err, err_len, "worker %u: out of memory", index);
		goto fail;
	}
	if (ftt_table_open(&w->table, cfg->policy.max_flows) || ftt_udp_open(&w->udp, cfg)) {
		snprintf(err, err_len, "worker %u: out of memory for %u flows", index, cfg->policy.max_flows);
		goto fail;
	}
	/* the plane first: nobody else has its queues, so the channel's port has no sockets of another engine */
	w->plane = ftt_plane_open(cfg, index, (struct ftt_plane_owner){&e->shared, make_room, hear, w}, err, err_len);
	if (!w->plane || ftt_channel_open(&w->channel, cfg, &e->keyring, index, err, err_len) ||
	    ftt_lane_open(&w->lane, e, index, &w->n, &user, err, err_len))
		goto fail;
	w->channel.plane = w->plane;
	w->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	w->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (w->wake_fd < 0 || w->epoll_fd < 0 || watch(w->epoll_fd, w->wake_fd) || watch(w->epoll_fd, w->plane->fd[FTT_LANE_FLOWS]) ||
	    watch(w->epoll_fd, w->plane->fd[FTT_LANE_HANDSHAKES]) || watch(w->epoll_fd, w->channel.fd[FTT_LOUD]) ||
	    watch(w->epoll_fd, w->lane.epoll_fd)) {
		snprintf(err, err_len, "worker %u: epoll: %s", index, strerror(errno));
		goto fail;
	}
	ftt_spill_open(w, wake);
	return w;
fail:
	ftt_worker_close(w);
	return NULL;
}

int ftt_worker_start(struct ftt_worker *w, char *err, size_t err_len)
{
	int rc = ftt_thread_start(&w->thread, "ftt-worker", run, w);

	if (rc) {
		snprintf(err, err_len, "worker %u: cannot start its thread: %s", w->index, strerror(rc));
		return -1;
	}
	w->thread_started = true;
	return 0;
}

void ftt_worker_wake(struct ftt_worker *w)
{
	uint64_t one = 1;

	if (write(w->wake_fd, &one, sizeof(one)) < 0)
		return; /* EAGAIN: the counter is full, so a wake-up is pending anyway */
}

void ftt_worker_close(struct ftt_worker *w)
{
	if (!w)
		return;
	if (w->thread_started) {
		ftt_fair_lock(&w->lock);
		w->stop = true;
		ftt_fair_unlock(&w->lock);
		ftt_worker_wake(w);
		pthread_join(w->thread, NULL);
	}
	if (w->table.bucket) {
		struct ftt_tcp *c;

		if (w->plane && !ftt_flow_emits((uint8_t)w->mode)) { /* our stack loses its connections all the same */
			ftt_follow_rest(w, UINT32_MAX, ftt_now_ns());
			flush(w);
		}
		while ((c = ftt_table_next(&w->table, NULL)))
			ftt_tcp_forget(w, c, false);
		ftt_udp_forget_all(w);
		ftt_tcp_free_spent(w);
		ftt_udp_free_spent(&w->udp);
		ftt_udp_close(&w->udp);
	}
	ftt_spill_close(w);
	ftt_kept_drop(w);
	ftt_plane_close(w->plane);
	ftt_lane_close(&w->lane);
	ftt_channel_close(&w->channel);
	if (w->wake_fd >= 0)
		close(w->wake_fd);
	if (w->epoll_fd >= 0)
		close(w->epoll_fd);
	ftt_table_close(&w->table);
	ftt_history_free(w->history);
	ftt_fair_destroy(&w->lock);
	free(w);
}
