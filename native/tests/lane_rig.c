/* SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include <poll.h>
#include <string.h>
#include "check.h"
#include "lane_rig.h"

struct lane_node lane_node[LANE_NODES];

static enum ftt_lane_answer message(void *of, uint8_t from, uint8_t kind, const uint8_t *bytes, uint32_t len)
{
	struct lane_end *end = of;

	if (end->passes && kind == FTT_LANE_CALLS) {
		end->passed++;
		return FTT_LANE_TAKEN;
	}
	if (end->answer != FTT_LANE_TAKEN)
		return end->answer;
	if (end->numbered) {
		CHECK(len >= 4);
		CHECK_EQ(get_be32(bytes), end->next[from]);
		end->next[from]++;
	}
	end->messages++;
	end->bytes += len;
	end->last_from = from;
	end->last_kind = kind;
	end->last_len = len;
	memcpy(end->last, bytes, len);
	return FTT_LANE_TAKEN;
}

static void room(void *of, uint8_t to)
{
	struct lane_end *end = of;

	CHECK(ftt_lane_room(&end->lane, to) > 0);
	end->rooms++;
}

static void changed(void *of, uint8_t worker, bool up)
{
	struct lane_end *end = of;

	CHECK_EQ(ftt_lane_up(&end->lane, worker), up);
	CHECK_EQ(ftt_lane_waiting(&end->lane, worker) > FTT_LANE_FIRST, 0);
	end->next[worker] = 0;
	*(up ? &end->ups : &end->downs) += 1;
}

void lane_reopen(int node, uint8_t worker)
{
	struct lane_end *end = &lane_node[node].end[worker];
	struct ftt_lane_user user = {.of = end, .message = message, .room = room, .changed = changed};
	char err[256] = "";

	end->node = &lane_node[node];
	if (ftt_lane_open(&end->lane, &end->node->e, worker, &end->n, &user, err, sizeof(err))) {
		fprintf(stderr, "%s\n", err);
		exit(1);
	}
}

bool lane_open(uint16_t workers)
{
	static const char *const address[LANE_NODES] = {"127.0.0.1", "127.0.0.2"};

	CHECK(sodium_init() >= 0);
	if (!fake_private_network())
		return false;
	memset(lane_node, 0, sizeof(lane_node));
	for (int i = 0; i < LANE_NODES; i++) {
		struct lane_node *node = &lane_node[i];
		struct ftt_config *c = &node->e.cfg;

		*c = (struct ftt_config){.node_id = 10 + (uint64_t)i, .n_peers = 1, .channel_port = LANE_PORT, .workers = workers,
					 .keys = {.key = {{1}}, .n = 1}};
		c->peer[0].node_id = 10 + (uint64_t)!i;
		strcpy(c->peer[0].link[0].local, address[i]);
		strcpy(c->peer[0].link[0].remote, address[!i]);
		fake_engine_init(&node->e);
		CHECK(ftt_lending_mutex(&node->e.keyring.lock));
		ftt_keyring_set(&node->e.keyring, &c->keys);
		for (uint8_t k = 0; k < workers; k++)
			lane_reopen(i, k);
	}
	return true;
}

void lane_close(void)
{
	for (int i = 0; i < LANE_NODES; i++) {
		for (uint16_t k = 0; k < lane_node[i].e.cfg.workers; k++)
			ftt_lane_close(&lane_node[i].end[k].lane);
		fake_engine_free(&lane_node[i].e);
		pthread_mutex_destroy(&lane_node[i].e.keyring.lock);
	}
}

void lane_follow(int node, enum ftt_lane_role role, uint64_t session, uint64_t pairing)
{
	struct ftt_lane_pairing with = {.version = FTT_CHANNEL_VERSION, .commit_session = session, .pairing = pairing};

	for (uint16_t k = 0; k < lane_node[node].e.cfg.workers; k++)
		ftt_lane_follow(&lane_node[node].end[k].lane, role, &with);
}

bool lane_step(int ms)
{
	struct pollfd p[LANE_NODES * FTT_MAX_WORKERS];
	struct lane_end *end[LANE_NODES * FTT_MAX_WORKERS];
	nfds_t n = 0;

	for (int i = 0; i < LANE_NODES; i++)
		for (uint16_t k = 0; k < lane_node[i].e.cfg.workers; k++, n++) {
			end[n] = &lane_node[i].end[k];
			p[n] = (struct pollfd){.fd = end[n]->lane.epoll_fd, .events = POLLIN};
		}
	if (poll(p, n, ms) <= 0)
		return false;
	for (nfds_t i = 0; i < n; i++)
		if (p[i].revents)
			ftt_lane_turn(&end[i]->lane, 65536, ftt_now_ns());
	return true;
}

static bool all_up(void)
{
	for (int i = 0; i < LANE_NODES; i++)
		for (uint16_t k = 0; k < lane_node[i].e.cfg.workers; k++)
			if (ftt_lane_count(&lane_node[i].end[k].lane) != lane_node[i].e.cfg.workers)
				return false;
	return true;
}

void lane_pair(void)
{
	lane_follow(0, FTT_LANE_ACCEPTS, LANE_SESSION, LANE_PAIRING);
	lane_follow(1, FTT_LANE_CONNECTS, LANE_SESSION, LANE_PAIRING);
	LANE_UNTIL(all_up());
}
