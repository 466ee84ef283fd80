/* SPDX-License-Identifier: Apache-2.0 */
/* udp_rig.h - UDP of two workers, primary and backup, whose surroundings only write down what is asked of them. */
#ifndef FTTCP_UDP_RIG_H
#define FTTCP_UDP_RIG_H
#include "packet.h"
#include "engine/worker.h"
#include "engine/planes/model/plane_model.h"

#define MS 1000000ull
#define SERVER 69
#define WAIT (100 * MS) /* a backup's for replies of its server that may never come */

struct node {
	struct ftt_engine engine;
	struct ftt_worker worker;
	struct ftt_plane plane;
	uint8_t said[65536]; /* records for the other node */
	size_t said_len;
	bool cut; /* what is sent apart does not leave */
	bool lane_up;
	uint32_t lane_room; /* 0: as a lane has when it is empty */
	uint8_t lane[1 << 20]; /* messages for the other node: kind, length, bytes */
	uint32_t lane_len;
	bool dropped; /* ... a session, by the lane */
	struct packet passed[16]; /* by verdict, as edited */
	uint32_t passed_id[16], n_passed, n_dropped;
	struct packet emitted[16];
	bool to_client[16];
	uint32_t n_emitted, n_detached, why;
	uint32_t next_id;
};

extern struct node p, b; /* primary, backup */

void begin_pair(void);
void begin_order(void); /* as begin_pair(), with the patience that a configuration has */
/* Sessions have logs from here on. */
void renewals(void);
void end_pair(void);
void lease(struct node *n, bool on);
void role(struct node *n, uint32_t mode);
/* As ftt_flows_role() does it: another role than before, which is carried out on no session yet. */
void new_role(struct node *n, uint32_t mode);
/* Hands over what `from` has said; returns how many records of that type were among it. */
int hear(struct node *from, struct node *to, uint8_t type, uint64_t now_ns);
/* ... by the lane; returns how many messages. */
int hear_lane(struct node *from, struct node *to, uint64_t now_ns);
/* What is lost on the way. */
int lose(struct node *from, uint8_t type);
struct packet datagram(int family, bool from_client, uint16_t server_port, const char *payload, uint32_t len);
void give(struct node *n, struct packet k, bool from_client, bool csum_ready, uint64_t now_ns);
void ask(struct node *n, uint64_t now_ns);    /* the client sends "ask" */
void answer(struct node *n, uint64_t now_ns); /* its server sends "answer" */
/* As ask() and answer(), with another client. */
void ask_as(struct node *n, uint16_t client, uint64_t now_ns);
void answer_to(struct node *n, uint16_t client, uint64_t now_ns);
/* So many questions, each after the answer to the one before, and an answer to the last; all is heard. */
void converse(unsigned n, uint64_t now_ns);
/* The one session that there is. */
struct ftt_udp_session *only(struct node *n);

#endif
