/* SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "beat_rig.h"
#include "check.h"

static const char *const addr[4][LINKS] = {
	{0}, {"127.0.0.1", "127.0.1.1"}, {"127.0.0.2", "127.0.1.2"}, {"127.0.0.3", "127.0.1.3"}};

void configure_peer(struct ftt_engine *e, uint32_t i, int node, int other)
{
	struct ftt_peer_config *p = &e->cfg.peer[i];

	p->node_id = (uint64_t)other;
	p->n_links = LINKS;
	for (int k = 0; k < LINKS; k++) {
		strcpy(p->link[k].interface, "lo");
		strcpy(p->link[k].local, addr[node][k]);
		strcpy(p->link[k].remote, addr[other][k]);
	}
	if (e->cfg.n_peers <= i)
		e->cfg.n_peers = i + 1;
}

void configure(struct ftt_engine *e, int node, uint64_t boot)
{
	memset(e, 0, sizeof(*e));
	e->cfg = (struct ftt_config){.keys = {.key = {{42}}, .n = 1}, .cluster_id = 5, .node_id = (uint64_t)node,
				     .boot_id = boot, .n_peers = 1, .channel_port = PORT, .beat_interval_ns = TICK, .lease_ns = D, .drift_ppm = 1000};
	configure_peer(e, 0, node, node == ALPHA ? BETA : ALPHA);
	fake_engine_init(e);
}

struct ftt_liveness *try_node(const struct ftt_engine *e, bool encrypt, char *err, size_t err_len)
{
	struct ftt_liveness_config c = {.keys = e->cfg.keys, .cluster_id = e->cfg.cluster_id, .node_id = e->cfg.node_id,
					.boot_id = e->cfg.boot_id, .n_peers = e->cfg.n_peers, .port = e->cfg.channel_port,
					.encrypt = encrypt};

	memcpy(c.peer, e->cfg.peer, sizeof(c.peer));
	return ftt_liveness_open(&c, err, err_len);
}

struct ftt_liveness *open_node(const struct ftt_engine *e, bool encrypt)
{
	char err[200] = "";
	struct ftt_liveness *node = try_node(e, encrypt, err, sizeof(err));

	if (!node)
		fprintf(stderr, "%s\n", err);
	CHECK(node);
	return node;
}

void start_on(struct ftt_engine *e, struct ftt_liveness *node)
{
	char err[200] = "";

	e->beat = ftt_beat_attach(node, e, err, sizeof(err));
	if (!e->beat)
		fprintf(stderr, "%s\n", err);
	CHECK(e->beat);
}

void start(struct ftt_engine *e)
{
	start_on(e, open_node(e, false));
}

void stop_on(struct ftt_engine *e)
{
	ftt_beat_detach(e->beat);
	fake_engine_free(e);
}

void stop(struct ftt_engine *e)
{
	struct ftt_liveness *node = e->beat->node;

	stop_on(e);
	ftt_liveness_close(node);
}

void set_lease(struct ftt_engine *e, uint32_t policy)
{
	atomic_store(&e->shared.lease_policy, policy);
	ftt_beat_lease_changed(e->beat, ftt_now_ns());
}

void set_partner(struct ftt_engine *e, uint32_t peer)
{
	atomic_store(&e->shared.partner, peer);
	ftt_beat_partner_changed(e->beat);
}

bool may_emit(struct ftt_engine *e)
{
	return ftt_may_emit(&e->shared, ftt_now_ns());
}

void publish(struct ftt_engine *e, const char *body, uint32_t grant_to)
{
	ftt_beat_set_body(e->beat, (const uint8_t *)body, (uint32_t)strlen(body), grant_to);
}

void wait_body(struct ftt_engine *e, const char *body)
{
	wait_body_of(e, 0, body);
}

void wait_body_of(struct ftt_engine *e, uint32_t peer, const char *body)
{
	char got[FTT_BEAT_BODY_MAX + 1] = "";

	while (strcmp(got, body)) {
		int n;

		fake_wait(e, FTT_EV_PEER_BODY);
		n = ftt_beat_get_peer_body(e->beat, peer, (uint8_t *)got, FTT_BEAT_BODY_MAX, NULL);
		CHECK(n >= 0);
		got[n] = 0;
	}
}

void puppet_open(struct puppet *p, struct ftt_engine *alpha)
{
	memset(p, 0, sizeof(*p));
	p->alpha = alpha;
	p->boot = 222;
	for (int i = 0; i < LINKS; i++) {
		struct sockaddr_in from = {.sin_family = AF_INET, .sin_port = htons(PORT)};

		CHECK_EQ(inet_pton(AF_INET, addr[BETA][i], &from.sin_addr), 1);
		p->fd[i] = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
		CHECK(!bind(p->fd[i], (struct sockaddr *)&from, sizeof(from)));
	}
}

void puppet_close(struct puppet *p)
{
	for (int i = 0; i < LINKS; i++)
		close(p->fd[i]);
}

void puppet_send_bytes(struct puppet *p, int link, const uint8_t *bytes, size_t n)
{
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(PORT)};

	CHECK_EQ(inet_pton(AF_INET, addr[ALPHA][link], &to.sin_addr), 1);
	CHECK_EQ(sendto(p->fd[link], bytes, n, 0, (struct sockaddr *)&to, sizeof(to)), n);
}

/* Waits for alpha's next beat on the link. */
struct beat puppet_receive(struct puppet *p, int link)
{
	static uint8_t bytes[FTT_BEAT_MAX];
	struct pollfd fd = {.fd = p->fd[link], .events = POLLIN};
	const uint8_t *key = p->alpha->cfg.keys.key[0];
	struct beat m = {0};
	size_t at = 0;
	ssize_t n;

	CHECK_EQ(poll(&fd, 1, 10000), 1);
	n = recv(p->fd[link], bytes, sizeof(bytes), 0);
	CHECK(n > 0);
	CHECK_EQ(ftt_beat_decode(bytes, (size_t)n, key, ftt_beat_key_id(key), &m.head), FTT_BEAT_OK);
	CHECK(ftt_beat_get_section(m.head.sections, m.head.sections_len, &at, &m.group));
	return m;
}

void puppet_empty(struct puppet *p)
{
	uint8_t bytes[FTT_BEAT_MAX];

	for (int i = 0; i < LINKS; i++)
		while (recv(p->fd[i], bytes, sizeof(bytes), MSG_DONTWAIT) >= 0)
			;
}

struct beat puppet_beat(struct puppet *p, const char *body)
{
	return (struct beat){.head = {.cluster_id = 5, .node_id = BETA, .to_node_id = ALPHA, .boot_id = p->boot, .counter = ++p->counter,
				      .t_send_ns = ftt_now_ns(), .key_id = ftt_beat_key_id(p->alpha->cfg.keys.key[0]), .n_sections = 1},
			     .group = {.group_id = 5, .boot_id = p->boot, .version = (uint32_t)p->counter, .flags = FTT_BEAT_BODY,
				       .body = (const uint8_t *)body, .body_len = (uint16_t)strlen(body)}};
}

void puppet_send(struct puppet *p, int link, struct beat m)
{
	uint8_t sections[FTT_BEAT_SECTIONS_MAX];
	size_t len = 0;

	CHECK(ftt_beat_put_section(sections, sizeof(sections), &len, &m.group));
	m.head.link = (uint8_t)link;
	m.head.sections = sections;
	m.head.sections_len = (uint16_t)len;
	p->last_len = ftt_beat_encode(p->last, sizeof(p->last), &m.head, p->alpha->cfg.keys.key[0]);
	puppet_send_bytes(p, link, p->last, p->last_len);
}

/* Sends a beat with a new body and waits until alpha has it: what was sent before has been handled. */
void puppet_sync(struct puppet *p, int link)
{
	static int n;
	char body[32];

	snprintf(body, sizeof(body), "sync %d", ++n);
	puppet_send(p, link, puppet_beat(p, body));
	wait_body(p->alpha, body);
}
