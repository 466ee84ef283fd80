/* SPDX-License-Identifier: Apache-2.0 */
/*
 * core_api.h - the pure core for Python: the same decisions as the native engine's, one call each.
 *
 * The header-only core is all inline functions; these are their callable twins, for experiments on packets and
 * for tests in Python. cffi reads this very file after abi.h (native/ffi/build.py strips the
 * preprocessor lines). The part within FTT_CORE_LAYOUTS is for cffi alone: it repeats structs of
 * parse.h, flow.h and record.h, as far as Python reads them; cffi asks the compiler where each field is. Enums it
 * takes from the headers themselves.
 *
 * Verdicts are enum ftt_verdict, results of parsing enum ftt_parsed, what is to be done besides
 * comes as a set of FTT_ACT_*. Nothing here allocates, blocks or reads a clock.
 */
#ifndef FTTCP_CORE_API_H
#define FTTCP_CORE_API_H
#include "core/compare/digest.h"
#include "core/history.h"
#include "core/lockstep/calls.h"
#include "core/records/channel_wire.h"
#include "core/tcp/pair.h"
#include "core/tcp/reset.h"
#include "core/tcp/retain.h"
#include "core/tcp/say.h"
#include "engine/api/abi.h"

#ifdef FTT_CORE_LAYOUTS
#define FTT_HISTORY_VERSION ...
#define FTT_HISTORY_START ...
#define FTT_HISTORY_FRAME ...
#define FTT_HISTORY_FRAME_MAX ...
#define FTT_CHANNEL_MAGIC ...
#define FTT_CHANNEL_HEADER ...
#define FTT_CHANNEL_MAC ...
#define FTT_CHANNEL_QUIET ...
#define FTT_CHANNEL_MAX ...
#define FTT_SYN_MAX ...
#define FTT_BARE_MAX ...
#define FTT_POINTS ...

struct ftt_pkt {
	uint8_t src[16], dst[16];
	uint16_t sport, dport;
	uint16_t l4;
	uint16_t ts_at;
	uint16_t sack_at;
	uint32_t payload;
	uint32_t payload_len;
	uint32_t l4_len;
	uint8_t family;
	uint8_t proto;
	uint8_t sack_blocks;
	...;
};

struct ftt_seg {
	uint32_t seq, ack;
	uint32_t len;
	uint32_t tsval, tsecr;
	uint32_t dsack;
	uint16_t wnd;
	uint16_t mss;
	uint8_t flags;
	uint8_t options;
	uint8_t wscale;
	uint8_t dir;
	bool whole;
	bool orphan;
	...;
};

struct ftt_flow_hard {
	uint32_t irs;
	uint32_t service_iss;
	uint32_t delta;
	uint32_t ts_delta;
	uint8_t local_wscale;
	uint8_t service_wscale;
	uint8_t client_wscale;
	...;
};

struct ftt_flow { /* its size and what Python may look at; only the core changes it */
	struct ftt_flow_hard hard;
	uint8_t protection, reason;
	uint32_t bits;
	uint16_t client_wnd;
	uint32_t client_acked, client_nxt, in_order, advertised_edge;
	uint32_t local_snd_nxt, local_rcv_nxt, local_edge, local_tsval, local_hole_end;
	uint32_t ts_recent, claim;
	uint32_t delivered_ack;
	uint64_t synack_ns;
	uint32_t committed, peer_edge, peer_snd_nxt;
	uint16_t mss;
	uint64_t held_since_ns; /* when the first held segment came, 0 = none is held */
	uint32_t verified, told, assured, sent;
	uint32_t tries;
	uint64_t last_ns;
	...;
};

struct ftt_edit {
	uint32_t change;
	uint32_t seq, ack, tsval, tsecr;
	uint32_t sack_add;
	uint16_t wnd;
	uint16_t drop;
	uint32_t actions;
	...;
};

struct ftt_place {
	uint32_t rcv_nxt, rcv_wup, edge;
	uint32_t snd_first, snd_una, snd_nxt;
	uint32_t max_wnd, ts_recent;
	bool times, fin;
	...;
};

struct ftt_record {
	struct ftt_key key;
	uint32_t irs;
	uint8_t type, flags;
	uint16_t port;
	uint32_t service_iss, tsval, age_ms;
	uint8_t wscale, tries, attempt;
	uint32_t client_acked;
	uint16_t client_wnd;
	uint32_t rcv_nxt, edge, snd_nxt, hole_end;
	uint32_t seq, ack;
	uint32_t verified, differences;
	uint32_t point, crc;
	uint32_t number, outputs;
	uint32_t total, offset;
	const uint8_t *data;
	uint32_t data_len;
	...;
};

struct ftt_piece {
	uint32_t offset, tsval;
	uint16_t len;
	uint8_t flags;
	uint64_t after;
	const uint8_t *bytes;
	...;
};

struct ftt_history_event {
	uint8_t kind, flags, how;
	uint32_t irs;
	struct ftt_key key;
	uint64_t when_ns, place;
	uint32_t crc;
	struct ftt_record open;
	struct ftt_piece piece;
	const uint8_t *data;
	uint32_t data_len;
	...;
};

struct ftt_retained {
	uint32_t seq, n, next, window;
	...;
};

struct ftt_replay {
	uint64_t top;
	uint64_t seen;
};
#endif

/* --- packets: parse, check, edit ---------------------------------------------------------------- */

uint32_t ftt_core_parse(const uint8_t *p, uint32_t cap, uint32_t len, struct ftt_pkt *k, struct ftt_seg *s);
/* The length of a packet by its own IP header's word, 0 when there is no whole IP header. */
uint32_t ftt_core_length(const uint8_t *p, uint32_t cap);
/* Who talks to whom, as flows are named; from_client says which end is the client. */
void ftt_core_key(const struct ftt_pkt *k, bool from_client, struct ftt_key *key);
/* Is the L4 checksum right? Every byte of the packet must be there. */
bool ftt_core_sum_ok(const uint8_t *p, const struct ftt_pkt *k);
void ftt_core_apply(uint8_t *p, const struct ftt_pkt *k, const struct ftt_edit *e, bool csum_ready);

/* Does a kernel that stands there take this segment? enum ftt_judgement, see accept.h. */
uint32_t ftt_core_judge(const struct ftt_place *at, const struct ftt_seg *s);

/* --- flows: see flow.h and pair.h ------------------------------------------------------------------ */

void ftt_core_flow_init(struct ftt_flow *f, uint32_t irs, uint64_t now_ns);
uint32_t ftt_core_segment_step(struct ftt_flow *f, const struct ftt_seg *s, const struct ftt_env *env,
			       struct ftt_edit *e);
/* Asks for a held segment again; e is cleared first. */
uint32_t ftt_core_gate(struct ftt_flow *f, const struct ftt_seg *s, const struct ftt_env *env, struct ftt_edit *e);
uint32_t ftt_core_primary_record(struct ftt_flow *f, const struct ftt_record *r, const struct ftt_env *env);
uint32_t ftt_core_backup_probe(struct ftt_flow *f, const struct ftt_record *r, const struct ftt_retained *kept);
uint32_t ftt_core_backup_output(struct ftt_flow *f, const struct ftt_record *r);
uint32_t ftt_core_backup_discard(struct ftt_flow *f, const struct ftt_record *r);
uint32_t ftt_core_backup_open(struct ftt_flow *f, const struct ftt_record *r, const struct ftt_env *env);
uint32_t ftt_core_flow_tick(struct ftt_flow *f, const struct ftt_env *env);
uint32_t ftt_core_flow_takeover(struct ftt_flow *f, const struct ftt_env *env);
uint32_t ftt_core_flow_solo(struct ftt_flow *f);
uint32_t ftt_core_flow_detach(struct ftt_flow *f, uint8_t reason, uint64_t now_ns);

/* --- segments of our own: written to out (FTT_BARE_MAX bytes), the length is returned ------------- */

/* What the client has acknowledged, for the local stack, as far as it may know; it counts as delivered. */
size_t ftt_core_build_for_stack(struct ftt_flow *f, const struct ftt_retained *r, const struct ftt_key *key, uint8_t mode,
				uint8_t *out);
size_t ftt_core_build_for_client(struct ftt_flow *f, const struct ftt_key *key, uint8_t mode, uint8_t *out);
/* What makes the client send again that only the backup lacks; see ftt_bare_nudge(). */
size_t ftt_core_build_nudge(struct ftt_flow *f, const struct ftt_key *key, uint8_t *out);

/* --- records of the commit channel, comparison of outputs ----------------------------------------- */

size_t ftt_core_record_put(uint8_t *p, size_t room, const struct ftt_record *r);
size_t ftt_core_record_get(const uint8_t *p, size_t room, struct ftt_record *r);
bool ftt_core_replay_accept(struct ftt_replay *w, uint64_t counter);
bool ftt_core_answers_stray(const struct ftt_flow *f, const struct ftt_seg *s);

/* --- histories: see history.h ---------------------------------------------------------------------- */

void ftt_core_history_start(uint8_t *p);
uint32_t ftt_core_history_version(const uint8_t *p);
/* A frame with its sum, which goes on from *sum; 0: there is no room. */
uint32_t ftt_core_history_put(uint8_t *p, uint32_t room, const struct ftt_history_event *x, uint32_t *sum);
/* enum ftt_history_found. */
uint32_t ftt_core_history_get(const uint8_t *p, uint64_t room, uint32_t *sum, struct ftt_history_event *x, uint32_t *len);
uint32_t ftt_core_crc32c(uint32_t crc, const uint8_t *p, size_t n);

#endif
