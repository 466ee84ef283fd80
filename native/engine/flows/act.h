/* SPDX-License-Identifier: Apache-2.0 */
/* act.h - carries out what decisions about TCP flows ask for; see act.c. */
#ifndef FTTCP_ACT_H
#define FTTCP_ACT_H
#include "engine/worker.h"

/* Carries out what a decision asked for. */
void ftt_tcp_act(struct ftt_worker *w, struct ftt_tcp *c, uint32_t actions, uint64_t now_ns);
/* Forgets a flow; `reset` also ends it in the local stack. */
void ftt_tcp_forget(struct ftt_worker *w, struct ftt_tcp *c, bool reset);
/* The role is given up: of a flow whose client may wait for a word only the place is kept, any other is forgotten. Either ends in the
 * local stack. False: it is forgotten. */
bool ftt_tcp_give_up(struct ftt_worker *w, struct ftt_tcp *c, uint64_t now_ns);
/* Backup: lets a flow go for good. Its copy in the stack is reset; where the client stands is still
 * followed, so that a takeover can tell it. */
void ftt_tcp_let_go(struct ftt_worker *w, struct ftt_tcp *c);
/* Backup: it was reset. Ended in our stack, and kept for packets that are under way. */
void ftt_tcp_aborted(struct ftt_worker *w, struct ftt_tcp *c, const struct ftt_record *r, uint64_t now_ns);
/* After a takeover: the flow is over. It is ended in our stack, whose packets go nowhere from here on; its client
 * is asked where it stands and reset there, see reset.h. */
void ftt_tcp_reset_client(struct ftt_worker *w, struct ftt_tcp *c, uint64_t now_ns);
/* Keeps a copy of the client's SYN; false when it cannot. */
bool ftt_tcp_keep_syn(struct ftt_tcp *c, const uint8_t *bytes, size_t len);
/* After a takeover: a handshake that may have been answered by nobody is given its SYN again. Our stack repeats its answer,
 * and the client need not wait for a timer; one that was answered repeats its acknowledgement (RFC 9293 3.10.7.4). */
void ftt_tcp_syn_again(struct ftt_worker *w, const struct ftt_tcp *c);
void ftt_tcp_send_commits(struct ftt_worker *w);
void ftt_tcp_send_injected(struct ftt_worker *w);
/* RENEW, with what else these flags tell. */
void ftt_tcp_tell_renewal(struct ftt_worker *w, struct ftt_tcp *c, uint8_t flags);
void ftt_tcp_discard(struct ftt_worker *w, struct ftt_tcp *c, const struct ftt_seg *s);
/* A flow that is over, let go of or resetting: false for a SYN that begins another one, else the segment is dealt with. */
bool ftt_tcp_over_from_client(struct ftt_worker *w, struct ftt_tcp *c, const struct ftt_seg *s, uint64_t now_ns);
void ftt_tcp_post_event(struct ftt_worker *w, const struct ftt_tcp *c, uint32_t kind);

#endif
