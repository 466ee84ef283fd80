/* SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include "engine/channel/channel.h"
#include <arpa/inet.h>
#include <errno.h>
#include <linux/filter.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "core/records/mac.h"
#include "core/records/mirror_probe.h"
#include "engine/planes/plane.h"

#define SOCKET_BUFFER (32 << 20)

_Static_assert(FTT_PROBE_DATAGRAM < FTT_CHANNEL_HEADER + FTT_CHANNEL_MAC, "a probe is shorter than all else on the channel");
_Static_assert(FTT_PROBE_PAD > FTT_CHANNEL_WORKER_AT, "... and on the loud lane");

socklen_t ftt_sockaddr(const char *text, uint16_t port, struct sockaddr_storage *out)
{
	struct sockaddr_in *v4 = (struct sockaddr_in *)out;
	struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)out;

	memset(out, 0, sizeof(*out));
	if (inet_pton(AF_INET, text, &v4->sin_addr) == 1) {
		v4->sin_family = AF_INET;
		v4->sin_port = htons(port);
		return sizeof(*v4);
	}
	if (inet_pton(AF_INET6, text, &v6->sin6_addr) == 1) {
		v6->sin6_family = AF_INET6;
		v6->sin6_port = htons(port);
		return sizeof(*v6);
	}
	return 0;
}

bool ftt_channel_find_peer(struct ftt_channel *c, uint32_t i, char *err, size_t err_len)
{
	const char *local = c->cfg->peer[0].link[0].local;
	const struct ftt_link *l = &c->cfg->peer[i].link[0];
	struct sockaddr_storage any;

	c->remote_len[i] = ftt_sockaddr(l->remote, (uint16_t)(c->cfg->channel_port + 1), &c->remote[i]);
	if (c->remote_len[i] && ftt_sockaddr(local, 0, &any) == c->remote_len[i] && !strcmp(l->local, local))
		return true;
	snprintf(err, err_len, "peer[%u].link[0]: %s -> %s: not a pair of IP addresses, or not from %s", i, l->local, l->remote,
		 local);
	return false;
}

static int open_lane(const struct sockaddr_storage *local, socklen_t len)
{
	int size = SOCKET_BUFFER, one = 1, fd = socket(local->ss_family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof(one)) || bind(fd, (const struct sockaddr *)local, len))
		return fd < 0 ? fd : (close(fd), -1);
	if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size)))
		setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
	if (setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof(size)))
		setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	return fd;
}

/* The header says on which lane a datagram is; sockets of a port are numbered as they were bound. */
static int tell_lanes_apart(int fd)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_B | BPF_ABS, FTT_CHANNEL_WORKER_AT),
		BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, FTT_CHANNEL_QUIET, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, FTT_QUIET),
		BPF_STMT(BPF_RET | BPF_K, FTT_LOUD),
	};
	struct sock_fprog program = {.len = sizeof(code) / sizeof(code[0]), .filter = code};

	return setsockopt(fd, SOL_SOCKET, SO_ATTACH_REUSEPORT_CBPF, &program, sizeof(program));
}

static bool make_room(struct ftt_channel *c)
{
	bool made = true;

	for (int lane = 0; lane < FTT_LANES; lane++) {
		for (int i = 0; i < FTT_CHANNEL_AT_ONCE; i++)
			made &= (c->in[lane].bytes[i] = malloc(FTT_CHANNEL_MAX + 1)) != NULL;
		for (int k = 0; k < c->cfg->workers; k++)
			made &= (c->out[lane][k].bytes = malloc(FTT_CHANNEL_MAX)) != NULL;
	}
	return made;
}

int ftt_channel_open(struct ftt_channel *c, const struct ftt_config *cfg, struct ftt_keyring *keyring, uint8_t worker,
		     char *err, size_t err_len)
{
	struct sockaddr_storage local;
	uint16_t port = (uint16_t)(cfg->channel_port + 1 + worker);
	socklen_t len = ftt_sockaddr(cfg->peer[0].link[0].local, port, &local);

	memset(c, 0, sizeof(*c));
	c->cfg = cfg;
	c->keyring = keyring;
	c->worker = worker;
	/* starts anywhere, but never below an earlier life's: the key changes with the boot id */
	c->counter = 0;
	c->fd[FTT_LOUD] = c->fd[FTT_QUIET] = -1;
	for (uint32_t i = 0; i < cfg->n_peers; i++)
		if (!ftt_channel_find_peer(c, i, err, err_len))
			return -1;
	if (!make_room(c)) {
		snprintf(err, err_len, "commit channel: out of memory");
		return -1;
	}
	for (int lane = 0; lane < FTT_LANES; lane++)
		c->fd[lane] = open_lane(&local, len);
	if (c->fd[FTT_LOUD] < 0 || c->fd[FTT_QUIET] < 0 || tell_lanes_apart(c->fd[FTT_LOUD])) {
		snprintf(err, err_len, "commit channel on %s port %u: %s (is the peer link's address up, the port free?)",
			 cfg->peer[0].link[0].local, port, strerror(errno));
		return -1;
	}
	return 0;
}

void ftt_channel_close(struct ftt_channel *c)
{
	for (int lane = 0; lane < FTT_LANES; lane++) {
		if (c->fd[lane] >= 0)
			close(c->fd[lane]);
		c->fd[lane] = -1;
		for (int k = 0; k < FTT_MAX_WORKERS; k++)
			free(c->out[lane][k].bytes);
		for (int i = 0; i < FTT_CHANNEL_AT_ONCE; i++)
			free(c->in[lane].bytes[i]);
	}
	sodium_memzero(&c->keys, sizeof(c->keys));
}

/* Makes the channel's keys out of the ring's. */
static void derive(struct ftt_channel *c)
{
	uint8_t label[16] = "fttcp/cm", secret[32];

	put_be64(label + 8, c->key_session);
	for (uint32_t i = 0; i < c->keys.n; i++) {
		memcpy(secret, c->keys.key[i], sizeof(secret));
		crypto_generichash(c->keys.key[i], sizeof(c->keys.key[i]), label, sizeof(label), secret, sizeof(secret));
	}
	sodium_memzero(secret, sizeof(secret));
}

void ftt_channel_follow(struct ftt_channel *c, uint32_t partner, uint64_t commit_session, uint64_t pairing, uint32_t version)
{
	bool changed = commit_session != c->key_session;

	c->partner = partner;
	c->pairing = pairing;
	c->version = (uint8_t)version;
	if (changed) {
		c->keys_generation = 0;
		c->key_session = commit_session;
		memset(c->replay, 0, sizeof(c->replay));
		for (int lane = 0; lane < FTT_LANES; lane++)
			c->in[lane].n = c->in[lane].next = 0;
		for (int k = 0; k < FTT_MAX_WORKERS; k++)
			for (int lane = 0; lane < FTT_LANES; lane++)
				c->out[lane][k].len = c->out[lane][k].count = 0;
	}
	if (ftt_keyring_follow(c->keyring, &c->keys_generation, &c->keys))
		derive(c); /* the counters go on: the pair of boots is the same */
}

/* Where the partner's worker `to` listens. */
static struct sockaddr_storage place_of(const struct ftt_channel *c, uint8_t to)
{
	struct sockaddr_storage place = c->remote[c->partner];
	struct sockaddr_in *v4 = (struct sockaddr_in *)&place;
	struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&place;
	in_port_t port = htons((uint16_t)(c->cfg->channel_port + 1 + to));

	if (place.ss_family == AF_INET)
		v4->sin_port = port;
	else
		v6->sin6_port = port;
	return place;
}

/* True if it left. */
static bool send_buffer(struct ftt_channel *c, enum ftt_lane lane, uint8_t to, struct ftt_counters *n)
{
	uint8_t *bytes = c->out[lane][to].bytes;
	size_t len = c->out[lane][to].len;
	struct sockaddr_storage place = place_of(c, to);
	struct ftt_channel_header h = {
		.version = c->version,
		.worker = c->worker,
		.quiet = lane == FTT_QUIET,
		.count = c->out[lane][to].count,
		.pairing = c->pairing,
		.sender = c->cfg->node_id,
		.counter = ++c->counter,
	};

	c->out[lane][to].len = c->out[lane][to].count = 0;
	ftt_channel_put(bytes, &h);
	ftt_channel_mac(bytes + len, bytes, len, c->keys.key[c->keys.send]);
	/* a full buffer or a dead link is a lost datagram: records are cumulative or asked for again */
	if (sendto(c->fd[FTT_LOUD], bytes, len + FTT_CHANNEL_MAC, 0, (struct sockaddr *)&place, c->remote_len[c->partner]) < 0)
		return false;
	n->channel_datagrams_sent++;
	return true;
}

void ftt_channel_put_record(struct ftt_channel *c, uint8_t to, const struct ftt_record *r, struct ftt_counters *n)
{
	enum ftt_lane lane = r->quiet ? FTT_QUIET : FTT_LOUD;
	size_t len, room;

	if (!c->key_session || !c->version || to >= c->cfg->workers)
		return;
	if (c->out[lane][to].len > FTT_CHANNEL_FULL && c->out[FTT_QUIET][to].count) /* it is read first, so it leaves first */
		send_buffer(c, FTT_QUIET, to, n);
	if (c->out[lane][to].len > FTT_CHANNEL_FULL)
		send_buffer(c, lane, to, n);
	if (!c->out[lane][to].len)
		c->out[lane][to].len = FTT_CHANNEL_HEADER;
	room = FTT_CHANNEL_MAX - FTT_CHANNEL_MAC - c->out[lane][to].len;
	len = ftt_record_put(c->out[lane][to].bytes + c->out[lane][to].len, room, r);
	if (c->plane && !ftt_plane_tell(c->plane, to, c->out[lane][to].bytes + c->out[lane][to].len, len))
		return;
	c->out[lane][to].len += len;
	c->out[lane][to].count++;
}

bool ftt_channel_send_apart(struct ftt_channel *c, uint8_t to, const struct ftt_record *r, struct ftt_counters *n)
{
	uint64_t pairing = c->pairing;
	bool left;

	if (to >= c->cfg->workers)
		return false;
	for (int lane = FTT_LANES - 1; lane >= 0; lane--) /* what waits is of this pairing; the quiet one is read first */
		if (c->out[lane][to].count)
			send_buffer(c, (enum ftt_lane)lane, to, n);
	c->pairing = 0;
	ftt_channel_put_record(c, to, r, n);
	left = c->out[FTT_LOUD][to].count && send_buffer(c, FTT_LOUD, to, n);
	c->pairing = pairing;
	return left;
}

void ftt_channel_flush(struct ftt_channel *c, struct ftt_counters *n)
{
	for (uint8_t k = 0; k < c->cfg->workers; k++) {
		if (c->out[FTT_QUIET][k].count)
			send_buffer(c, FTT_QUIET, k, n);
		if (c->out[FTT_LOUD][k].count)
			send_buffer(c, FTT_LOUD, k, n);
	}
}

void ftt_channel_answer(struct ftt_channel *c, const void *bytes, size_t len)
{
	/* what is lost is asked for again */
	(void)!sendto(c->fd[FTT_LOUD], bytes, len, 0, (const struct sockaddr *)c->odd_from,
		      c->odd_from->ss_family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6));
}

static bool authentic(const struct ftt_channel *c, const uint8_t *in, size_t body)
{
	uint8_t mac[FTT_CHANNEL_MAC];

	for (uint32_t i = 0; c->key_session && i < c->keys.n; i++) {
		ftt_channel_mac(mac, in, body, c->keys.key[i]);
		if (!sodium_memcmp(mac, in + body, sizeof(mac)))
			return true;
	}
	return false;
}

static void fetch(struct ftt_channel *c, enum ftt_lane lane)
{
	struct ftt_fetched *f = &c->in[lane];
	struct mmsghdr msgs[FTT_CHANNEL_AT_ONCE];
	struct iovec iov[FTT_CHANNEL_AT_ONCE];
	int n;

	if (f->next < f->n)
		return;
	memset(msgs, 0, sizeof(msgs));
	for (int i = 0; i < FTT_CHANNEL_AT_ONCE; i++) {
		msgs[i].msg_hdr.msg_name = &f->from[i];
		msgs[i].msg_hdr.msg_namelen = sizeof(f->from[i]);
		iov[i] = (struct iovec){.iov_base = f->bytes[i], .iov_len = FTT_CHANNEL_MAX + 1};
		msgs[i].msg_hdr.msg_iov = &iov[i];
		msgs[i].msg_hdr.msg_iovlen = 1;
	}
	n = recvmmsg(c->fd[lane], msgs, FTT_CHANNEL_AT_ONCE, MSG_DONTWAIT, NULL);
	f->next = 0;
	f->n = n < 0 ? 0 : n;
	f->all = n < FTT_CHANNEL_AT_ONCE;
	for (int i = 0; i < f->n; i++)
		f->len[i] = msgs[i].msg_len;
}

/*
 * The next datagram; NULL when there is nothing more. The loud lane is asked first, so that what left on
 * the quiet one before is there when that is asked; all of that comes first.
 */
static const uint8_t *next_of(struct ftt_channel *c, unsigned lanes, size_t *len, const struct sockaddr_storage **source)
{
	struct ftt_fetched *quiet = &c->in[FTT_QUIET], *loud = &c->in[FTT_LOUD], *from = NULL;
	bool more = !c->asked;

	for (;;) {
		if (lanes & FTT_ON_QUIET && quiet->next < quiet->n)
			from = quiet;
		else if (lanes & FTT_ON_LOUD && loud->next < loud->n && (!(lanes & FTT_ON_QUIET) || (c->asked && quiet->all)))
			from = loud;
		if (from) {
			*len = from->len[from->next];
			*source = &from->from[from->next];
			return from->bytes[from->next++];
		}
		more |= (lanes & FTT_ON_QUIET && !quiet->all) || (lanes & FTT_ON_LOUD && !loud->all);
		if (!more)
			break;
		if (lanes & FTT_ON_LOUD)
			fetch(c, FTT_LOUD);
		if (lanes & FTT_ON_QUIET)
			fetch(c, FTT_QUIET);
		c->asked = true;
		more = false;
	}
	c->asked = false;
	return NULL;
}

int ftt_channel_receive(struct ftt_channel *c, unsigned lanes, struct ftt_channel_header *h, const uint8_t **records, size_t *len,
			struct ftt_counters *n)
{
	size_t got, body;
	const uint8_t *in = next_of(c, lanes, &got, &c->odd_from);

	if (!in)
		return 0;
	if (got == FTT_PROBE_DATAGRAM) {
		c->odd = in;
		return FTT_CHANNEL_ODD;
	}
	if (ftt_channel_get(in, got, h) || h->version != c->version || got > FTT_CHANNEL_MAX) {
		n->channel_malformed++;
		return -1;
	}
	body = got - FTT_CHANNEL_MAC;
	if (h->sender != c->cfg->peer[c->partner].node_id || !authentic(c, in, body)) {
		n->channel_bad_mac++;
		return -1;
	}
	if (!ftt_replay_accept(&c->replay[h->quiet][h->worker], h->counter)) {
		n->channel_replay++;
		return -1;
	}
	if (h->pairing && h->pairing != c->pairing) {
		n->channel_stale++;
		return -1;
	}
	n->channel_datagrams_received++;
	*records = in + FTT_CHANNEL_HEADER;
	*len = body - FTT_CHANNEL_HEADER;
	return 1;
}
