/* SPDX-License-Identifier: Apache-2.0 */
/*
 * worker.c - the loop of a worker: wait, take what is there, decide, and answer in batches (worker_packets.c).
 *
 * One wake-up: carry out a change of role if there was one; packets of both queues, in the order
 * in which the kernel queued them, and some handshakes; records of the other node; time. Then everything
 * gathered leaves: records, verdicts, injected packets. The order matters: a commit record tells what the stack has
 * acknowledged, never what a verdict is about to give it, and takeover opens before it kicks.
 */
#define _GNU_SOURCE
#include "engine/flows/calls.h"
#include "engine/flows/checkpoint.h"
#include "engine/flows/cold.h"
#include "engine/flows/role.h"
#include "engine/flows/hear.h"
#include "engine/flows/history_play.h"
#include "engine/flows/kept.h"
#include "engine/flows/opens.h"
#include "engine/flows/promote.h"
#include "engine/flows/renew.h"
#include "engine/flows/renew_lane.h"
#include "engine/flows/spill.h"
#include "engine/flows/stored.h"
#include <net/if.h>
#include <sched.h>
#include <sys/epoll.h>
#include <unistd.h>

#define TICK_NS 2000000ull        /* while something is held */
#define IDLE_TICK_NS 100000000ull
#define CALLS_TICK_NS 10000000ull /* where our server writes or reads a log of calls, which wakes nobody */
#define EMPTY_TICK_NS 1000000000ull /* while there is no flow */
#define SWEEP_NS 100000000ull
#define ROLE_FLOWS 64             /* to which a new role is carried out before packets get their turn */
#define ROUNDS 24                 /* receive calls per wake-up, so that records and time get their turn */
#define REST_ROUNDS 2048          /* ... that empty a full queue */
#define LAST_ROUNDS 64            /* ... and the channel, before a role ends */
#define LANE_ALONE 65536u         /* bytes of the bulk lane each way, and connection, between two looks at packets: some 0.1 ms */
#define LANE_BESIDE 8192u         /* ... while there are packets */
#define HANDSHAKE_ROUNDS 2        /* of them for handshakes: a SYN, and what the stack answers to it */

/*
 * What is to be forgotten is, before a role begins that emits; and what our stack said of it up to then is
 * dropped as ever: none of it may reach a client.
 */
static void forget_rest(struct ftt_worker *w)
{
	ftt_flows_rest(w, UINT32_MAX, ftt_now_ns());
	ftt_worker_flush(w);
	ftt_worker_packets(w, FTT_LANE_FLOWS, REST_ROUNDS);
	ftt_worker_packets(w, FTT_LANE_HANDSHAKES, REST_ROUNDS);
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
	for (int rounds = LAST_ROUNDS; rounds && ftt_cold(w) && !ftt_hear_records(w, FTT_ON_ANY, ftt_now_ns()); rounds--)
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
		for (int rounds = LAST_ROUNDS; rounds && !ftt_hear_records(w, FTT_ON_ANY, ftt_now_ns()); rounds--)
			;
	ftt_channel_follow(&w->channel, partner, atomic_load(&sh->commit_session[partner]), atomic_load(&sh->session),
			   atomic_load(&sh->channel_version[partner]));
	if (generation != w->generation) {
		uint32_t mode = atomic_load(&sh->mode);
		uint64_t session = atomic_load(&sh->session);

		if (w->role_open && !ftt_flow_emits((uint8_t)w->mode) && ftt_flow_emits((uint8_t)mode))
			forget_rest(w);
		ftt_calls_tick(w, ftt_now_ns()); /* a follower whose log is broken takes over no connection */
		w->generation = generation;
		w->role_open = true;
		ftt_kept_drop(w);
		ftt_flows_role(w, mode, session, ftt_now_ns());
		ftt_calls_role(w, ftt_now_ns());
		ftt_stored_role(w);
		ftt_udp_strays(w, ftt_now_ns());
		find_mirror(w);
	}
	follow_lane(w, partner);
	heed_checkpoint(w);
	promote(w);
	if (!w->role_open)
		return;
	if (ftt_flows_rest(w, ROLE_FLOWS, ftt_now_ns())) {
		w->role_open = false;
		ftt_engine_role_done(w->e, w->role_flows, generation);
	}
	ftt_worker_flush(w);
}

/* Nothing that it has grows old or waits: what begins wakes it. It looks at links and interfaces only. */
static bool is_empty(const struct ftt_worker *w)
{
	return !w->table.n && !w->udp.on && !w->stored && !w->history && !w->renewing && !w->promoting;
}

/*
 * For how long it waits for work. The limit of epoll_wait() costs some microseconds, which a timer that stays set does not; but with
 * many connections these let packets gather, and a worker that is woken less often gets more done (docs/bench/budget.md).
 */
static int wait_ms(const struct ftt_worker *w)
{
	uint64_t ns = w->table.waiting || w->held_now || w->n_opens || w->udp.waiting || !ftt_list_empty(&w->renew_active) ||
		      w->n_renewing[FTT_RENEW_WAITS] || w->udp.n_renewed || ftt_history_moves(w) || ftt_calls_moves(w)
			      ? TICK_NS : ftt_calls_on(w) ? CALLS_TICK_NS : is_empty(w) ? EMPTY_TICK_NS : IDLE_TICK_NS;

	return w->role_open ? 0 : (int)((w->table.dirty ? FTT_COMMIT_LATER_NS : ns) / 1000000);
}

/*
 * Waits for work, in `got`. Where something came a moment ago more may come soon: then it looks again and again,
 * giving way to whoever wants the core, before it sleeps. Waking a thread costs more than that, and so does waking a core.
 */
static int wait_for_work(struct ftt_worker *w, struct epoll_event *got)
{
	while (w->busy_until_ns && !w->role_open) {
		int n = epoll_wait(w->epoll_fd, got, FTT_WORKER_FDS, 0);
		uint64_t now_ns = ftt_now_ns();

		if (n || now_ns >= w->next_tick_ns)
			return n;
		if (now_ns >= w->busy_until_ns)
			w->busy_until_ns = 0;
		sched_yield();
	}
	return epoll_wait(w->epoll_fd, got, FTT_WORKER_FDS, wait_ms(w));
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

/* Packets, and what the other node says. */
static void hear_all(struct ftt_worker *w, const struct epoll_event *got, int n)
{
	bool backup = w->mode == FTT_MODE_BACKUP, flows = has(got, n, w->plane->fd[FTT_LANE_FLOWS]);
	bool handshakes = has(got, n, w->plane->fd[FTT_LANE_HANDSHAKES]);
	unsigned loud = has(got, n, w->channel.fd[FTT_LOUD]) || ftt_channel_has(&w->channel, FTT_LOUD) ? FTT_ON_LOUD : 0;

	if (backup) {
		/* in the order in which the primary caused them: a SYN, the OPEN that asks for it, output that is told, answers to it */
		if (handshakes)
			ftt_worker_packets(w, FTT_LANE_HANDSHAKES, HANDSHAKE_ROUNDS);
		if (loud || !flows) /* else ftt_worker_packets() asks the quiet lane */
			ftt_hear_records(w, FTT_ON_QUIET | loud, ftt_now_ns());
	}
	if (flows)
		ftt_worker_packets(w, FTT_LANE_FLOWS, ROUNDS);
	if (handshakes && !backup)
		ftt_worker_packets(w, FTT_LANE_HANDSHAKES, HANDSHAKE_ROUNDS);
	if (w->held_now || (!backup && loud))
		ftt_hear_records(w, backup ? FTT_ON_ANY : FTT_ON_LOUD, ftt_now_ns()); /* a primary has no quiet lane */
}

static void tick(struct ftt_worker *w, uint64_t now_ns)
{
	if (w->mode == FTT_MODE_BACKUP) /* it may not have been asked for: see ftt_tcp_from_client() */
		ftt_hear_records(w, FTT_ON_QUIET, now_ns);
	ftt_calls_tick(w, now_ns);
	ftt_flows_tick(w, now_ns);
	ftt_promote_tick(w, now_ns);
	if (w->history && w->mode == FTT_MODE_BACKUP)
		ftt_history_tick(w);
	ftt_opens_tick(w, now_ns);
	ftt_renew_tick(w, now_ns);
	ftt_renew_pump(w, now_ns);
	ftt_udp_tick(w, now_ns);
}

static void sweep(struct ftt_worker *w, uint64_t now_ns)
{
	find_mirror(w);
	ftt_flows_sweep(w, now_ns);
	ftt_udp_sweep(w, now_ns);
	ftt_stored_sweep(w);
}

/* One wake-up, by the first n of `got`. */
static void turn(struct ftt_worker *w, const struct epoll_event *got, int n)
{
	uint64_t now_ns, counter;

	w->n.wakeups++;
	if (has(got, n, w->wake_fd) && read(w->wake_fd, &counter, sizeof(counter)) < 0)
		n = 0; /* nothing to read: another wake-up took it */
	ftt_history_look(w);
	follow_role(w);
	ftt_worker_choose_copy(w);
	hear_all(w, got, n);
	now_ns = ftt_now_ns();
	if (now_ns >= w->next_tick_ns) {
		w->next_tick_ns = now_ns + TICK_NS;
		tick(w, now_ns);
	}
	if (now_ns >= w->next_sweep_ns) {
		w->next_sweep_ns = now_ns + SWEEP_NS;
		sweep(w, now_ns);
	}
	ftt_spill_done(w, now_ns);
	if (w->history && w->history->stirred)
		ftt_history_tick(w);
	if (has(got, n, w->lane.epoll_fd)) /* packets have been answered by now */
		ftt_lane_turn(&w->lane, has(got, n, w->plane->fd[FTT_LANE_FLOWS]) ? LANE_BESIDE : LANE_ALONE, now_ns);
	ftt_calls_push(w, now_ns);
	ftt_stored_turn(w, now_ns);
	ftt_worker_answer(w, now_ns);
	ftt_kept_release(w);
	ftt_channel_flush(&w->channel, &w->n);
	if (n > 0 && w->e->cfg.busy_poll_ns)
		w->busy_until_ns = now_ns + w->e->cfg.busy_poll_ns;
}

void *ftt_worker_run(void *arg)
{
	struct ftt_worker *w = arg;

	while (!w->stop) {
		struct epoll_event got[FTT_WORKER_FDS];
		int n;

		listen_for_word(w);
		n = wait_for_work(w, got);
		ftt_fair_lock(&w->lock);
		turn(w, got, n);
		ftt_fair_unlock(&w->lock);
	}
	return NULL;
}
