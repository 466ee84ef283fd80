/* SPDX-License-Identifier: Apache-2.0 */
/* worker_setup.c - birth and end of a worker, and what wakes it. worker.c tells how it works. */
#define _GNU_SOURCE
#include "engine/flows/act.h"
#include "engine/flows/calls.h"
#include "engine/flows/role.h"
#include "engine/flows/history.h"
#include "engine/flows/hold.h"
#include "engine/flows/kept.h"
#include "engine/flows/renew_lane.h"
#include "engine/flows/spill.h"
#include "engine/flows/stored.h"
#include "engine/liveness/mirror.h"
#include "engine/thread.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

static bool mirror_datagram(struct ftt_worker *w)
{
	bool ours = ftt_mirror_datagram(w->e, &w->channel);

	w->n.mirror_probes += ours;
	return ours;
}

static int watch(int epoll_fd, int fd)
{
	struct epoll_event ev = {.events = EPOLLIN, .data.fd = fd};

	return epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &ev);
}

void ftt_worker_wake(struct ftt_worker *w)
{
	uint64_t one = 1;

	if (write(w->wake_fd, &one, sizeof(one)) < 0)
		return; /* EAGAIN: the counter is full, so a wake-up is pending anyway */
}

static void wake(void *w)
{
	ftt_worker_wake(w);
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
	w->plane = ftt_plane_open(cfg, index, ftt_worker_owner(w), err, err_len);
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
	if (ftt_stored_open(w, wake, err, err_len))
		goto fail;
	ftt_spill_open(w, wake);
	return w;
fail:
	ftt_worker_close(w);
	return NULL;
}

int ftt_worker_start(struct ftt_worker *w, char *err, size_t err_len)
{
	int rc = ftt_stored_ready(w) ? ftt_thread_start(&w->thread, "ftt-worker", ftt_worker_run, w) : EAGAIN;

	if (rc) {
		snprintf(err, err_len, "worker %u: cannot start its thread: %s", w->index, strerror(rc));
		return -1;
	}
	w->thread_started = true;
	return 0;
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
			ftt_flows_rest(w, UINT32_MAX, ftt_now_ns());
			ftt_worker_flush(w);
		}
		while ((c = ftt_table_next(&w->table, NULL)))
			ftt_tcp_forget(w, c, false);
		ftt_udp_forget_all(w);
		ftt_tcp_free_spent(w);
		ftt_udp_free_spent(&w->udp);
		ftt_udp_close(&w->udp);
	}
	ftt_spill_close(w);
	ftt_stored_close(w);
	ftt_kept_drop(w);
	ftt_plane_close(w->plane);
	ftt_lane_close(&w->lane);
	ftt_channel_close(&w->channel);
	if (w->wake_fd >= 0)
		close(w->wake_fd);
	if (w->epoll_fd >= 0)
		close(w->epoll_fd);
	ftt_table_close(&w->table);
	ftt_calls_close(w);
	ftt_history_free(w->history);
	ftt_fair_destroy(&w->lock);
	free(w);
}
