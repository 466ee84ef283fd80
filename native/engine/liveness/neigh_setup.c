/* SPDX-License-Identifier: Apache-2.0 */
/* neigh_setup.c - birth and end of the neighbour thread, and groups that come and go. neigh.c tells how it works. */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/if_packet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>
#include "engine/liveness/neigh.h"
#include "engine/thread.h"

static int open_parts(struct ftt_neighbours *all)
{
	all->timer_fd = timerfd_create(CLOCK_BOOTTIME, TFD_CLOEXEC | TFD_NONBLOCK);
	all->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	all->route_fd = ftt_neigh_open_route();
	all->direct_fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (all->timer_fd < 0 || all->wake_fd < 0 || all->route_fd < 0 || all->direct_fd < 0)
		return errno;
	all->turn_made = !pthread_mutex_init(&all->turn, NULL);
	return all->turn_made ? 0 : ENOMEM;
}

struct ftt_neighbours *ftt_neighbours_open(char *err, size_t err_len)
{
	struct ftt_neighbours *all = calloc(1, sizeof(*all));
	int error = ENOMEM;

	if (all)
		error = open_parts(all);
	if (!error) {
		error = ftt_thread_start(&all->thread, "ftt-neigh", ftt_neigh_main, all);
		all->thread_made = !error;
	}
	if (!error)
		return all;
	snprintf(err, err_len, "neighbours: no timer, eventfd, socket or thread: %s", strerror(error));
	ftt_neighbours_close(all);
	return NULL;
}

void ftt_neighbours_close(struct ftt_neighbours *all)
{
	if (!all)
		return;
	if (all->thread_made) {
		atomic_store(&all->stop, true);
		ftt_neigh_wake(all);
		pthread_join(all->thread, NULL);
	}
	for (int k = 0; k < 4; k++) {
		int fd = (const int[]){all->timer_fd, all->wake_fd, all->route_fd, all->direct_fd}[k];

		if (fd >= 0)
			close(fd);
	}
	if (all->turn_made)
		pthread_mutex_destroy(&all->turn);
	free(all);
}

/* ---- groups ----------------------------------------------------------------------------------- */

/* 0, or errno and *what: what failed. */
static int enter(struct ftt_neighbours *all, struct ftt_neigh *n, const char **what)
{
	int error;

	*what = "go on: there are too many groups, or the thread has ended";
	pthread_mutex_lock(&all->turn);
	error = all->ended || all->n_groups == FTT_MAX_GROUPS ? ENOSPC : 0;
	if (!error) {
		all->group[all->n_groups++] = n;
		all->changes++;
	}
	pthread_mutex_unlock(&all->turn);
	if (!error)
		ftt_neigh_wake(all);
	return error;
}

struct ftt_neigh *ftt_neigh_attach(struct ftt_neighbours *all, struct ftt_engine *e, char *err, size_t err_len)
{
	struct ftt_neigh *n = calloc(1, sizeof(*n));
	const char *what;
	int error;

	if (!n || pthread_mutex_init(&n->lock, NULL)) {
		snprintf(err, err_len, "neighbours: out of memory");
		free(n);
		return NULL;
	}
	n->node = all;
	n->engine = e;
	memcpy(n->interface, e->cfg.service_interface, sizeof(n->interface));
	error = ftt_neigh_port_open(&n->port, &e->cfg, n->interface, &what);
	memcpy(n->mac, n->port.mac, 6);
	n->retry_ns = n->rounds.last_ns = ftt_now_ns(); /* what has changed before the thread knows of it */
	n->refresh_ns = e->cfg.announce_refresh_ns;
	if (!error)
		error = enter(all, n, &what);
	if (!error)
		return n;
	snprintf(err, err_len, "neighbours: service_interface \"%s\": cannot %s: %s", e->cfg.service_interface, what,
		 error == EPROTOTYPE ? "it is not an Ethernet interface: choose another" : strerror(error));
	ftt_neigh_detach(n);
	return NULL;
}

void ftt_neigh_detach(struct ftt_neigh *n)
{
	struct ftt_neighbours *all;

	if (!n)
		return;
	all = n->node;
	pthread_mutex_lock(&all->turn);
	for (uint32_t g = 0; g < all->n_groups; g++)
		if (all->group[g] == n) {
			all->group[g] = all->group[--all->n_groups];
			all->changes++;
			break;
		}
	pthread_mutex_unlock(&all->turn);
	ftt_neigh_wake(all); /* it waits for its sockets, which are closed now */
	ftt_neigh_port_close(&n->port);
	if (n->left.open)
		ftt_neigh_port_close(&n->left);
	pthread_mutex_destroy(&n->lock);
	free(n);
}

/* The first announcement does not wait for the thread, which opens sockets there. */
void ftt_neigh_use_interface(struct ftt_neigh *n, const char interface[IF_NAMESIZE])
{
	uint8_t mac[6];
	bool there = !ftt_neigh_mac_on(n->node->direct_fd, &n->engine->cfg, interface, mac);

	pthread_mutex_lock(&n->lock);
	memcpy(n->interface, interface, sizeof(n->interface));
	if (there)
		memcpy(n->mac, mac, sizeof(n->mac));
	pthread_mutex_unlock(&n->lock);
	if (there && ftt_neigh_may_emit(n))
		ftt_neigh_announce_now(n);
	atomic_store(&n->moving, true);
	ftt_neigh_wake(n->node);
}

void ftt_neigh_set_known(struct ftt_neigh *n, const struct ftt_neighbour *known, uint32_t count)
{
	pthread_mutex_lock(&n->lock);
	n->n_known = count < FTT_MAX_NEIGHBOURS ? count : FTT_MAX_NEIGHBOURS;
	if (n->n_known)
		memcpy(n->known, known, n->n_known * sizeof(*known));
	pthread_mutex_unlock(&n->lock);
}
