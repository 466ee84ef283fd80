/* SPDX-License-Identifier: Apache-2.0 */
/*
 * beat_setup.c - birth and end of the heartbeat thread. beat.c tells how it works.
 *
 * Whatever the configuration can have wrong is found here, before a thread runs, and told in one
 * sentence. A link whose interface or address is missing at the moment is not an error: sockets are
 * bound with IP_FREEBIND and work as soon as the address is there. (An IPv6 link-local address is
 * scoped to the index that its interface has now: if the interface is made anew, the daemon must be
 * restarted. Use global or unique local addresses where interfaces come and go.)
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <unistd.h>
#include "beat.h"

#define DSCP_CS6 0xc0 /* network control, RFC 4594 */

/* Text to address; an IPv6 link-local one is scoped to the interface. False when it is no address. */
static bool parse_address(const char *text, const char *interface, uint16_t port, union ftt_beat_address *out,
			  socklen_t *len)
{
	memset(out, 0, sizeof(*out));
	if (inet_pton(AF_INET, text, &out->v4.sin_addr) == 1) {
		out->v4.sin_family = AF_INET;
		out->v4.sin_port = htons(port);
		*len = sizeof(out->v4);
		return true;
	}
	if (inet_pton(AF_INET6, text, &out->v6.sin6_addr) != 1)
		return false;
	out->v6.sin6_family = AF_INET6;
	out->v6.sin6_port = htons(port);
	if (IN6_IS_ADDR_LINKLOCAL(&out->v6.sin6_addr))
		out->v6.sin6_scope_id = if_nametoindex(interface);
	*len = sizeof(out->v6);
	return true;
}

/* What a heartbeat socket wants; priority and buffer are wishes, a kernel without them still beats. */
static bool prepare_socket(int fd, int family)
{
	int one = 1, bytes = FTT_BEAT_SOCKET_BYTES, tos = DSCP_CS6, priority = 6;

	(void)setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof(bytes));
	(void)setsockopt(fd, SOL_SOCKET, SO_PRIORITY, &priority, sizeof(priority));
	if (family == AF_INET) {
		(void)setsockopt(fd, IPPROTO_IP, IP_TOS, &tos, sizeof(tos));
		return setsockopt(fd, IPPROTO_IP, IP_FREEBIND, &one, sizeof(one)) == 0;
	}
	(void)setsockopt(fd, IPPROTO_IPV6, IPV6_TCLASS, &tos, sizeof(tos));
	return setsockopt(fd, IPPROTO_IPV6, IPV6_FREEBIND, &one, sizeof(one)) == 0;
}

static bool open_link(struct ftt_beat *b, uint32_t i, char *err, size_t err_len)
{
	const struct ftt_link *l = &b->engine->cfg.link[i];
	uint16_t port = b->engine->cfg.channel_port;
	union ftt_beat_address local;
	socklen_t len;

	if (!parse_address(l->local, l->interface, port, &local, &len) ||
	    !parse_address(l->remote, l->interface, port, &b->link[i].remote, &b->link[i].address_len) ||
	    len != b->link[i].address_len) {
		snprintf(err, err_len,
			 "link[%u]: local \"%s\" and remote \"%s\" must be two IPv4 or two IPv6 addresses: correct the link",
			 i, l->local, l->remote);
		return false;
	}
	b->link[i].fd = socket(local.any.sa_family, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (b->link[i].fd < 0 || !prepare_socket(b->link[i].fd, local.any.sa_family) ||
	    bind(b->link[i].fd, &local.any, len)) {
		snprintf(err, err_len, "link[%u]: cannot listen for heartbeats on %s port %u/udp: %s; %s", i, l->local, port,
			 strerror(errno),
			 errno == EADDRINUSE ? "another program or group has the port: choose another channel_port"
					     : "check the link's address and that its IP version is enabled");
		return false;
	}
	return true;
}

static bool check_config(const struct ftt_config *cfg, char *err, size_t err_len)
{
	const char *what = NULL;

	if (cfg->n_links < 1 || cfg->n_links > FTT_MAX_LINKS)
		what = "the number of links must be 1 to 4";
	else if (!cfg->beat_interval_ns || cfg->lease_ns < cfg->beat_interval_ns)
		what = "the heartbeat interval must be above 0 and at most the lease time";
	else if (cfg->lease_ns > 3600 * FTT_BEAT_NS || cfg->drift_ppm > 1000000)
		what = "the lease time must be at most one hour and drift_ppm at most 1000000";
	else if (!cfg->boot_id || cfg->node_id == cfg->peer_node_id)
		what = "boot_id must not be 0, and the two nodes of a pair must have different names";
	if (what)
		snprintf(err, err_len, "heartbeats: %s: correct the configuration", what);
	return !what;
}

/* A Python thread that holds the lock lends its holder's place to this real-time thread. */
static bool make_lock(struct ftt_beat *b)
{
	pthread_mutexattr_t attr;

	if (pthread_mutexattr_init(&attr))
		return false;
	b->lock_made = !pthread_mutexattr_setprotocol(&attr, PTHREAD_PRIO_INHERIT) && !pthread_mutex_init(&b->lock, &attr);
	pthread_mutexattr_destroy(&attr);
	return b->lock_made;
}

static int start_thread(struct ftt_beat *b)
{
	struct sched_param param = {.sched_priority = (int)b->engine->cfg.rt_priority};
	sigset_t all, before;
	int error;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before); /* signals are Python's */
	error = pthread_create(&b->thread, NULL, ftt_beat_main, b);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (error)
		return error;
	b->thread_made = true;
	(void)pthread_setname_np(b->thread, "ftt-beat");
	if (param.sched_priority > 0)
		(void)pthread_setschedparam(b->thread, SCHED_FIFO, &param); /* a wish: works as well without, less evenly */
	return 0;
}

struct ftt_beat *ftt_beat_start(struct ftt_engine *e, char *err, size_t err_len)
{
	const struct ftt_config *cfg = &e->cfg;
	struct ftt_beat *b;
	int error = 0;

	if (!check_config(cfg, err, err_len))
		return NULL;
	b = calloc(1, sizeof(*b));
	if (!b || sodium_init() < 0) {
		snprintf(err, err_len, "heartbeats: %s", b ? "libsodium does not start: reinstall it" : "out of memory");
		free(b);
		return NULL;
	}
	b->engine = e;
	b->n_links = cfg->n_links;
	b->key_id = ftt_beat_key_id(cfg->key);
	b->timeout_ns = cfg->lease_ns + cfg->lease_ns / 1000000 * cfg->drift_ppm +
			(cfg->lease_ns % 1000000 * cfg->drift_ppm + 999999) / 1000000;
	b->peer_body_len = -1;
	b->lease.worth_ns = cfg->lease_ns;
	b->next_tick_ns = ftt_now_ns();
	for (uint32_t i = 0; i < FTT_MAX_LINKS; i++)
		b->link[i].fd = -1;
	b->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	b->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (!make_lock(b) || b->timer_fd < 0 || b->wake_fd < 0) {
		snprintf(err, err_len, "heartbeats: no timer, eventfd or mutex: %s; raise the limit on open files", strerror(errno));
		goto fail;
	}
	for (uint32_t i = 0; i < b->n_links; i++)
		if (!open_link(b, i, err, err_len))
			goto fail;
	ftt_lease_set_policy(&b->lease, atomic_load(&e->shared.lease_policy), ftt_now_ns());
	ftt_beat_publish_lease(b);
	error = start_thread(b);
	if (!error)
		return b;
	snprintf(err, err_len, "heartbeats: cannot start a thread: %s; raise the limit on threads", strerror(error));
fail:
	ftt_beat_stop(b);
	return NULL;
}

void ftt_beat_stop(struct ftt_beat *b)
{
	if (!b)
		return;
	if (b->thread_made) {
		atomic_store(&b->stop, true);
		ftt_beat_wake(b);
		pthread_join(b->thread, NULL);
	}
	atomic_store_explicit(&b->engine->shared.lease_until_ns, 0, memory_order_release);
	for (uint32_t i = 0; i < FTT_MAX_LINKS; i++)
		if (b->link[i].fd >= 0)
			close(b->link[i].fd);
	if (b->timer_fd >= 0)
		close(b->timer_fd);
	if (b->wake_fd >= 0)
		close(b->wake_fd);
	if (b->lock_made)
		pthread_mutex_destroy(&b->lock);
	sodium_memzero(b, sizeof(*b));
	free(b);
}
