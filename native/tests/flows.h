/* SPDX-License-Identifier: Apache-2.0 */
/* flows.h - segments by the word, and flows brought to where a test wants to begin. */
#ifndef FTTCP_FLOWS_H
#define FTTCP_FLOWS_H
#include <string.h>
#include "check.h"
#include "core/tcp/pair.h"
#include "core/tcp/say.h"

#define MS 1000000ull
#define SEGMENT 50u /* the largest payload of a server's segment */

/* Both ends of a connection as numbers. The primary's local space is the service space. */
struct ends {
	uint32_t irs, service_iss, backup_iss;
	uint32_t client_ts, service_ts, backup_ts; /* TSval of each one's SYN or SYN-ACK; 0: no timestamps */
	uint8_t service_wscale, backup_wscale;
	uint16_t service_wnd, backup_wnd; /* of the SYN-ACKs */
};

static const struct ends plain = {.irs = 1000, .service_iss = 5000, .backup_iss = 900000, .client_ts = 100,
				  .service_ts = 7000, .backup_ts = 80000, .service_wscale = 7, .backup_wscale = 7,
				  .service_wnd = 65000, .backup_wnd = 65000};
/* Everything wraps within the first few bytes. */
static const struct ends wrapping = {.irs = 0xfffffffe, .service_iss = 0x7ffffffe, .backup_iss = 0xfffffffc,
				     .client_ts = 0xfffffffe, .service_ts = 0x7ffffffe, .backup_ts = 0xfffffffd,
				     .service_wscale = 0, .backup_wscale = 14, .service_wnd = 65000, .backup_wnd = 65000};

static const struct ends *const all_ends[] = {&plain, &wrapping};

static struct ftt_policy policy = {.detach_after_ns = 2000 * MS, .end_grace_ns = 200 * MS, .open_timeout_ns = 500 * MS, .opens_wait_ns = 2000 * MS};
static struct ftt_edit edit; /* of the last step(), gate() or held_step() */

/* A segment, and the role of the node to which it comes. */
struct arrival {
	union {
		struct ftt_seg seg;
		struct ftt_seg;
	};
	uint8_t mode;
};

/* The surroundings of what is decided next: a node that has a lease, and whose server lives. */
static inline struct ftt_env *node_at(uint8_t mode, uint64_t now_ns)
{
	static struct ftt_env env;

	env = (struct ftt_env){.now_ns = now_ns, .policy = &policy, .mode = mode, .lease = true, .vouched = true, .watched = true};
	return &env;
}

static inline const struct ftt_env *at(uint64_t now_ns)
{
	return node_at(FTT_MODE_PAIRED, now_ns);
}

/* ... whose server is not known to live. */
static inline const struct ftt_env *unvouched(uint64_t now_ns)
{
	struct ftt_env *env = node_at(FTT_MODE_PAIRED, now_ns);

	env->vouched = false;
	return env;
}

static inline struct arrival from_client(uint8_t mode, uint8_t flags, uint32_t seq, uint32_t ack, uint32_t len)
{
	return (struct arrival){.dir = FTT_FROM_CLIENT, .mode = mode, .flags = flags, .seq = seq, .ack = ack, .len = len,
				.wnd = 500};
}

static inline struct arrival from_server(uint8_t mode, uint8_t flags, uint32_t seq, uint32_t ack, uint32_t len)
{
	return (struct arrival){.dir = FTT_FROM_SERVER, .mode = mode, .flags = flags, .seq = seq, .ack = ack, .len = len,
				.wnd = 500};
}

static inline struct arrival stamped(struct arrival s, uint32_t tsval, uint32_t tsecr)
{
	s.options |= FTT_OPT_TS;
	s.tsval = tsval;
	s.tsecr = tsecr;
	return s;
}

static inline struct arrival windowed(struct arrival s, uint16_t wnd)
{
	s.wnd = wnd;
	return s;
}

static inline struct arrival solo(struct arrival s)
{
	s.mode = FTT_MODE_SOLO;
	return s;
}

static inline enum ftt_verdict step(struct ftt_flow *f, struct arrival s, uint64_t now_ns)
{
	return ftt_segment_step(f, &s.seg, node_at(s.mode, now_ns), &edit);
}

static inline enum ftt_verdict held_step(struct ftt_flow *f, struct arrival s, uint64_t now_ns)
{
	struct ftt_places after = ftt_segment_after(f, &s.seg, node_at(s.mode, now_ns));

	return ftt_held_step(f, &s.seg, &after, node_at(s.mode, now_ns), &edit);
}

static inline enum ftt_verdict gate(struct ftt_flow *f, struct arrival s, uint64_t now_ns)
{
	struct ftt_places after = ftt_segment_after(f, &s.seg, node_at(s.mode, now_ns));

	memset(&edit, 0, sizeof(edit));
	return ftt_gate(f, &s.seg, &after, node_at(s.mode, now_ns), &edit);
}

/* Nothing was learnt of the client. */
static inline void same_place(const struct ftt_flow *f, const struct ftt_flow *before)
{
	CHECK_EQ(f->client_acked, before->client_acked);
	CHECK_EQ(f->client_nxt, before->client_nxt);
	CHECK_EQ(f->client_tsval, before->client_tsval);
	CHECK_EQ(f->max_tsecr, before->max_tsecr);
	CHECK_EQ(f->ts_recent, before->ts_recent);
	CHECK_EQ(f->max_wnd, before->max_wnd);
	CHECK_EQ(f->delivered_ack, before->delivered_ack);
	CHECK_EQ(f->bits & (FTT_F_CLIENT_FIN | FTT_F_CLIENT_RST | FTT_F_BEHIND), 0);
}

/* What a record of this type would tell in its flags. */
static inline uint8_t told_flags(const struct ftt_flow *f, uint8_t type)
{
	struct ftt_record r = {.type = type};
	struct ftt_flow asked = *f;

	if (type == FTT_REC_OPEN)
		ftt_open_tell(&asked, &r, at(f->synack_ns));
	else
		ftt_flow_tell(&asked, &r);
	return r.flags;
}

static inline struct arrival syn_of(const struct ends *x, uint8_t mode)
{
	struct arrival s = from_client(mode, TCP_SYN, x->irs, 0, 0);

	s.options = FTT_OPT_WSCALE | FTT_OPT_SACK_OK;
	s.wscale = 7;
	s.mss = SEGMENT + (x->client_ts ? 12 : 0);
	return x->client_ts ? stamped(s, x->client_ts, 0) : s;
}

static inline struct arrival synack_of(const struct ends *x, uint8_t mode)
{
	bool backup = mode == FTT_MODE_BACKUP;
	struct arrival s = from_server(mode, TCP_SYN | TCP_ACK, backup ? x->backup_iss : x->service_iss, x->irs + 1, 0);

	s.options = FTT_OPT_WSCALE | FTT_OPT_SACK_OK;
	s.wscale = backup ? x->backup_wscale : x->service_wscale;
	s.wnd = backup ? x->backup_wnd : x->service_wnd;
	return x->client_ts ? stamped(s, backup ? x->backup_ts : x->service_ts, x->client_ts) : s;
}

static inline struct ftt_record record_of(const struct ends *x, uint8_t type)
{
	uint8_t agreed = FTT_REC_WSCALE | (x->client_ts ? FTT_REC_TS : 0);

	return (struct ftt_record){.type = type, .flags = type == FTT_REC_OPEN ? agreed : 0, .irs = x->irs, .service_iss = x->service_iss, .tsval = x->service_ts,
				   .wscale = x->service_wscale, .rcv_nxt = x->irs + 1,
				   .edge = x->irs + 1 + x->backup_wnd, .snd_nxt = x->service_iss + 1};
}

/* A COMMIT: in bytes of the client's stream, bytes of window beyond, bytes of the server's stream. */
static inline struct ftt_record commit_of(const struct ends *x, uint32_t in, uint32_t room, uint32_t out)
{
	struct ftt_record r = record_of(x, FTT_REC_COMMIT);

	r.rcv_nxt += in;
	r.edge = r.rcv_nxt + room;
	r.snd_nxt += out;
	return r;
}

static inline struct arrival client_ack_of(const struct ends *x, uint8_t mode)
{
	struct arrival s = from_client(mode, TCP_ACK, x->irs + 1, x->service_iss + 1, 0);

	return x->client_ts ? stamped(s, x->client_ts + 1, x->service_ts) : s;
}

/* The primary's flow, SYN-ACK held and OPEN asked for. */
static inline void open_primary(struct ftt_flow *f, const struct ends *x, uint64_t now_ns)
{
	ftt_flow_init(f, x->irs, now_ns);
	CHECK_EQ(step(f, syn_of(x, FTT_MODE_PAIRED), now_ns), FTT_PASS);
	CHECK_EQ(step(f, synack_of(x, FTT_MODE_PAIRED), now_ns), FTT_HOLD);
	CHECK_EQ(edit.actions, FTT_ACT_OPEN);
	CHECK_EQ(f->protection, FTT_OPENING);
}

/* ... confirmed, released, and acknowledged by the client. */
static inline void make_primary(struct ftt_flow *f, const struct ends *x, uint64_t now_ns)
{
	struct ftt_record opened = record_of(x, FTT_REC_OPENED);

	open_primary(f, x, now_ns);
	CHECK(ftt_primary_record(f, &opened, at(now_ns)) & FTT_ACT_RELEASE);
	CHECK_EQ(f->protection, FTT_PROTECTED);
	CHECK_EQ(gate(f, synack_of(x, FTT_MODE_PAIRED), now_ns), FTT_PASS);
	f->held_since_ns = 0; /* the engine's doing: nothing is held any more */
	CHECK_EQ(step(f, client_ack_of(x, FTT_MODE_PAIRED), now_ns), FTT_PASS);
}

/* The primary tells that its stack has sent so much. */
static inline uint32_t tell_output(struct ftt_flow *f, const struct ends *x, uint32_t out)
{
	struct ftt_record r = record_of(x, FTT_REC_OUTPUT);

	r.snd_nxt += out;
	return ftt_backup_output(f, &r);
}

/* The backup's flow of the same connection, in step; the primary has told nothing yet. */
static inline void make_untold_backup(struct ftt_flow *f, const struct ends *x, uint64_t now_ns)
{
	struct ftt_record open = record_of(x, FTT_REC_OPEN);

	ftt_flow_init(f, x->irs, now_ns);
	CHECK_EQ(step(f, syn_of(x, FTT_MODE_BACKUP), now_ns), FTT_PASS);
	CHECK_EQ(step(f, synack_of(x, FTT_MODE_BACKUP), now_ns), FTT_DROP);
	CHECK_EQ(ftt_backup_open(f, &open, at(now_ns)), FTT_ACT_OPENED);
	CHECK_EQ(f->protection, FTT_PROTECTED);
	CHECK_EQ(step(f, client_ack_of(x, FTT_MODE_BACKUP), now_ns), FTT_PASS);
}

/* ... and the primary has told of more output than a test has. */
static inline void make_backup(struct ftt_flow *f, const struct ends *x, uint64_t now_ns)
{
	make_untold_backup(f, x, now_ns);
	CHECK_EQ(tell_output(f, x, 1u << 22), 0);
}

/* A segment of the backup's stack, given in service space. */
static inline struct arrival from_backup(const struct ends *x, uint8_t flags, uint32_t out, uint32_t in, uint32_t len)
{
	struct arrival s = from_server(FTT_MODE_BACKUP, flags, x->backup_iss + 1 + out, x->irs + 1 + in, len);

	return x->client_ts ? stamped(s, x->backup_ts + 1, x->client_ts) : s;
}

/* A segment of the primary's stack: out and in are bytes of both streams before it. */
static inline struct arrival from_primary(const struct ends *x, uint8_t flags, uint32_t out, uint32_t in, uint32_t len)
{
	struct arrival s = from_server(FTT_MODE_PAIRED, flags, x->service_iss + 1 + out, x->irs + 1 + in, len);

	return x->client_ts ? stamped(s, x->service_ts + 1, x->client_ts) : s;
}

/* A segment of the client: in and out are bytes of its stream before it, and of the server's acknowledged. */
static inline struct arrival of_client(const struct ends *x, uint8_t mode, uint32_t in, uint32_t out, uint32_t len)
{
	struct arrival s = from_client(mode, TCP_ACK, x->irs + 1 + in, x->service_iss + 1 + out, len);

	return x->client_ts ? stamped(s, x->client_ts + 2, x->service_ts + 1) : s;
}

#endif
