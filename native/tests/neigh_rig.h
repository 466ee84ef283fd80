/* SPDX-License-Identifier: Apache-2.0 */
/*
 * neigh_rig.h - the neighbour thread on a real interface: one end of a veth pair in a private network; the test
 * sits at the other end with packet sockets, asks, and sees what comes.
 */
#ifndef FTTCP_NEIGH_RIG_H
#define FTTCP_NEIGH_RIG_H
#include <sys/socket.h>
#include "check.h"
#include "fake_engine.h"
#include "core/records/neigh_wire.h"
#include "engine/liveness/neigh.h"

#define MS 1000000ull
#define PATIENCE_MS 10000 /* for what is certain to come */
#define QUIET_MS 300 /* how long nothing must come when nothing is to come */

static const uint8_t client_mac[6] = {2, 0, 0, 0, 0, 0x0a};
static const uint8_t other_mac[6] = {2, 0, 0, 0, 0, 0x0b};
static const uint8_t client4[4] = {10, 77, 0, 10}, service4[4] = {10, 77, 0, 100}, nobody4[4] = {10, 77, 0, 99},
		     other4[4] = {10, 77, 0, 101};
static const uint8_t client6[16] = {0xfd, 0x77, [15] = 0x10}, service6[16] = {0xfd, 0x77, [14] = 1, [15] = 0};

extern struct ftt_engine e;
extern struct ftt_neighbours *node;
extern int wire; /* a packet socket at the client's end */

/* False: there can be no private network here, as is said. */
bool open_neighbours(void);
void close_neighbours(void);

void run(const char *command);
/* svc0 with the MAC address 02:00:00:00:01:NN, and the client's end of the cable. */
void plug_in(int nn);
void start(void);
void hold_lease(bool held);
size_t arp(uint8_t *f, uint16_t operation, const uint8_t mac[6], const uint8_t sender[4], const uint8_t target[4]);
/* A solicitation for the service address; from the unspecified address if it is a probe. */
size_t solicitation(uint8_t *f, bool probe);
void put(const uint8_t *f, size_t n);
/* The next ARP reply or advertisement for a service address seen by the client; false: none came in time. */
bool next_answer(uint8_t f[256], size_t *n, int patience_ms);
/* Sends the frame, again each 100 ms while the interface is still settling, until an answer comes. */
void ask(const uint8_t *f, size_t n, uint8_t answer[256], size_t *answer_len);
/* Returns when the node has read all that was sent before, and its answers are here: they are thrown away. The interface has settled. */
void await_read(void);
void check_answers_from(int nn);

#endif
