/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lane_vectors.h - what is said over the bulk lane, a message of each kind, against tests/vectors: as the engine writes it, by
 * core's functions, and as it reads it.
 */
#ifndef FTTCP_LANE_VECTORS_H
#define FTTCP_LANE_VECTORS_H
#include <stdio.h>
#include <stdlib.h>
#include "check.h"
#include "core/history.h"
#include "core/log.h"
#include "core/records/lane_wire.h"
#include "core/records/record.h"
#include "core/udp/log.h"

enum { ROOM = 16384 };

/* Reads a file of hexadecimal digits, lines that begin with # aside. */
static size_t read_vector(const char *name, uint8_t *out)
{
	char path[128], line[256];
	size_t n = 0;
	FILE *f;

	snprintf(path, sizeof(path), "../../tests/vectors/%s.hex", name);
	f = fopen(path, "r");
	if (!f) {
		fprintf(stderr, "%s: not there; run this test in native/tests\n", path);
		exit(1);
	}
	while (fgets(line, sizeof(line), f)) {
		unsigned byte;

		for (char *at = line; line[0] != '#' && sscanf(at, "%2x", &byte) == 1; at += 2) {
			CHECK(n < ROOM);
			out[n++] = (uint8_t)byte;
		}
	}
	fclose(f);
	return n;
}

static void check_bytes(const char *name, const uint8_t *got, size_t got_len)
{
	static uint8_t wanted[ROOM];
	size_t n = read_vector(name, wanted);

	for (size_t i = 0; i < n && i < got_len; i++) {
		if (got[i] != wanted[i]) {
			fprintf(stderr, "%s: byte %zu is %02x, not %02x\n", name, i, got[i], wanted[i]);
			exit(1);
		}
	}
	CHECK_EQ(got_len, n);
}

static const uint8_t lane_call[] = "GET / HTTP/1.0\r\n\r\n";
enum { LANE_CALL = sizeof(lane_call) - 1 };

static const struct ftt_lane_begin lane_begin = {.acked = 0x100020000, .age_ms = 5000, .attempt = 2};
static const uint64_t lane_end = 0x100000000;
static const struct ftt_piece lane_piece = {.offset = 0x20000, .tsval = 77, .len = LANE_CALL, .flags = FTT_PIECE_FIN | FTT_PIECE_PUSH,
					    .after = 0x100000005, .bytes = lane_call};
static const struct ftt_noted lane_noted[] = {{.len = LANE_CALL, .port = 69, .bytes = lane_call}, {.outputs = 1, .port = 40001, .is_port = true}};
static const uint8_t syn[40] = {0x45, 0, 0, 40, 0, 1, 0x40, 0, 64, 6, 0, 0, 10, 77, 0, 10, 10, 77, 0, 100,
				0x9c, 0x40, 0, 80, 0xff, 0xff, 0xff, 0xfe, 0, 0, 0, 0, 0x50, 2, 0xfa, 0xf0};

/* The record in a message of this kind. */
static struct ftt_record lane_record(enum ftt_lane_kind kind)
{
	struct ftt_record r = {.irs = 0xfffffffe};
	struct ftt_key key = {.remote = {[10] = 0xff, 0xff, 10, 77, 0, 10}, .local = {[10] = 0xff, 0xff, 10, 77, 0, 100},
			      .remote_port = 40000, .local_port = 80, .proto = 6};

	r.attempt = 2;
	if (kind == FTT_LANE_BEGIN) {
		r = (struct ftt_record){.type = FTT_REC_OPEN, .irs = r.irs, .service_iss = 0x80000001, .tsval = 0x7fffffff, .age_ms = 3,
					.wscale = 7, .tries = 2, .data = syn, .data_len = sizeof(syn)};
	} else if (kind == FTT_LANE_LOG) {
		r.type = FTT_REC_RENEW;
		r.flags = FTT_REC_FINAL;
	} else if (kind == FTT_LANE_DROP) {
		r.type = FTT_REC_DETACH;
	} else {
		r.type = FTT_REC_SENT;
		r.flags = FTT_REC_FIRST | FTT_REC_ALL;
		r.irs = 5;
		r.number = 12;
		r.crc = 0xcafebabe;
		key.local_port = 0;
		key.proto = 17;
	}
	r.key = key;
	return r;
}

/* The i-th event of the history; false: it has no more. */
static bool lane_event(unsigned i, struct ftt_history_event *x)
{
	struct ftt_history_event events[] = {
		{.kind = FTT_HISTORY_INPUT, .flags = FTT_HISTORY_ALONE,
		 .piece = {.tsval = 0x7fffffff, .len = LANE_CALL, .flags = FTT_PIECE_PUSH, .bytes = lane_call}},
		{.kind = FTT_HISTORY_OUTPUT, .flags = FTT_HISTORY_SUM, .place = 0x100000005, .crc = 0xdeadbeef},
		{.kind = FTT_HISTORY_END, .how = FTT_HISTORY_CLOSED},
	};

	if (i >= sizeof(events) / sizeof(*events))
		return false;
	*x = events[i];
	x->when_ns = (i + 1) * 1000000ull;
	x->key = lane_record(FTT_LANE_DROP).key;
	x->irs = 0xfffffffe;
	return true;
}

static uint32_t lane_history(uint8_t *p)
{
	struct ftt_history_event x;
	uint32_t len = 8, sum = 0;

	put_be64(p, lane_end);
	for (unsigned i = 0; lane_event(i, &x); i++) {
		uint32_t n = ftt_history_put(p + len, ROOM - len, &x);

		CHECK(n);
		sum = ftt_history_seal(sum, p + len);
		len += n;
	}
	return len;
}

/* The name of a kind's vector; NULL: there is no such kind. A kind without a line here does not compile. */
static const char *lane_vector(enum ftt_lane_kind kind)
{
	switch (kind) {
	case FTT_LANE_READY:
		return NULL; /* in lane-answer and lane-frames */
	case FTT_LANE_BEGIN:
		return "lane-begin";
	case FTT_LANE_OUTWARD:
		return NULL; /* its head is lane-begin's, its record open's; test_opens_again.c says the rest */
	case FTT_LANE_CALLS:
	case FTT_LANE_CALLS_HELD:
	case FTT_LANE_CALLS_BROKEN:
	case FTT_LANE_CALLS_LISTENS:
		return NULL; /* test_calls_stream.c, test_calls_lane.c */
	case FTT_LANE_STORED:
	case FTT_LANE_STORED_TO:
		return NULL; /* a note as on the disk, and its number: test_segments.c, test_stored.c */
	case FTT_LANE_LOG:
		return "lane-log";
	case FTT_LANE_DROP:
		return "lane-drop";
	case FTT_LANE_SESSION:
		return "lane-session";
	case FTT_LANE_HISTORY:
		return "lane-history";
	case FTT_LANE_ALIGN:
		return "lane-align";
	case FTT_LANE_MARK:
		return "lane-mark";
	case FTT_LANE_PLAYED:
		return "lane-played";
	case FTT_LANE_ALIGNED:
		return "lane-aligned";
	case FTT_LANE_NOT_PLAYED:
		return "lane-not-played";
	case FTT_LANE_MARKED:
		return "lane-marked";
	}
	return NULL;
}

/* Writes the message, and compares it, behind its header, with its vector; returns its length, 0: there is no such kind. */
static uint32_t lane_vector_write(enum ftt_lane_kind kind, uint8_t *p)
{
	struct ftt_record r = lane_record(kind);
	const char *name = lane_vector(kind);
	uint32_t len = 1, head = kind == FTT_LANE_BEGIN ? FTT_LANE_BEGIN_HEAD : 0;
	uint8_t frame[FTT_LANE_HEADER + ROOM];

	if (!name)
		return 0;
	p[0] = kind == FTT_LANE_NOT_PLAYED ? FTT_NOT_IN_TIME : 0;
	if (kind == FTT_LANE_BEGIN)
		ftt_lane_begin_put(p, &lane_begin);
	if (kind == FTT_LANE_HISTORY)
		len = lane_history(p);
	else if (kind <= FTT_LANE_SESSION)
		len = head + (uint32_t)ftt_record_put(p + head, ROOM - head, &r);
	if (kind == FTT_LANE_LOG) {
		ftt_piece_put(p + len, &lane_piece);
		len += FTT_PIECE_HEADER + lane_piece.len;
	}
	for (unsigned i = 0; kind == FTT_LANE_SESSION && i < 2; i++) {
		ftt_noted_put(p + len, &lane_noted[i]);
		len += FTT_NOTED_HEADER + lane_noted[i].len;
	}
	if (kind == FTT_LANE_PLAYED || kind == FTT_LANE_ALIGNED) {
		put_be64(p, kind == FTT_LANE_PLAYED ? lane_end : 0);
		len = 8;
	}
	ftt_lane_frame_put(frame, (uint8_t)kind, len);
	memcpy(frame + FTT_LANE_HEADER, p, len);
	check_bytes(name, frame, FTT_LANE_HEADER + len);
	return len;
}

static void lane_read_events(const uint8_t *p, uint32_t len)
{
	struct ftt_history_event x, wanted;
	uint32_t sum = 0, n;
	unsigned i = 0;

	CHECK_EQ(get_be64(p), lane_end);
	for (uint32_t at = 8; at < len; at += n) {
		CHECK_EQ(ftt_history_get(p + at, len - at, &sum, &x, &n), FTT_HISTORY_EVENT);
		CHECK(lane_event(i++, &wanted));
		CHECK(x.kind == wanted.kind && x.flags == wanted.flags && x.when_ns == wanted.when_ns && x.how == wanted.how);
		CHECK(x.irs == wanted.irs && !memcmp(&x.key, &wanted.key, sizeof(x.key)) && x.place == wanted.place && x.crc == wanted.crc);
		CHECK(x.piece.len == wanted.piece.len && x.piece.flags == wanted.piece.flags && x.piece.tsval == wanted.piece.tsval);
	}
	CHECK(!lane_event(i, &wanted));
}

/* Reads a message that came over the lane. */
static void lane_vector_read(enum ftt_lane_kind kind, const uint8_t *p, uint32_t len)
{
	uint32_t at = kind == FTT_LANE_BEGIN ? FTT_LANE_BEGIN_HEAD : 0;
	struct ftt_record r, wanted = lane_record(kind);
	struct ftt_lane_begin begin;
	struct ftt_piece piece = {0};
	struct ftt_noted noted = {0};

	CHECK(lane_vector(kind) != NULL);
	if (kind == FTT_LANE_HISTORY) {
		lane_read_events(p, len);
		return;
	}
	if (kind > FTT_LANE_HISTORY) {
		CHECK(ftt_lane_fits((uint8_t)kind, len) && !ftt_lane_fits((uint8_t)kind, len + 1));
		return;
	}
	if (kind == FTT_LANE_BEGIN) {
		ftt_lane_begin_get(p, &begin);
		CHECK(begin.acked == lane_begin.acked && begin.age_ms == lane_begin.age_ms && begin.attempt == lane_begin.attempt);
	}
	at += (uint32_t)ftt_record_get(p + at, len - at, &r);
	CHECK(r.type == wanted.type && r.flags == wanted.flags && r.irs == wanted.irs && !memcmp(&r.key, &wanted.key, sizeof(r.key)));
	CHECK(r.attempt == wanted.attempt && r.number == wanted.number && r.crc == wanted.crc && r.data_len == wanted.data_len);
	CHECK(r.service_iss == wanted.service_iss && r.tsval == wanted.tsval);
	if (kind == FTT_LANE_LOG) {
		at += ftt_piece_get(p + at, len - at, &piece);
		CHECK(piece.offset == lane_piece.offset && piece.flags == lane_piece.flags && piece.after == lane_piece.after &&
		      piece.tsval == lane_piece.tsval && piece.len == LANE_CALL && !memcmp(piece.bytes, lane_call, LANE_CALL));
	}
	for (unsigned i = 0; kind == FTT_LANE_SESSION && i < 2; i++) {
		at += ftt_noted_get(p + at, len - at, &noted);
		CHECK(noted.outputs == lane_noted[i].outputs && noted.port == lane_noted[i].port && noted.len == lane_noted[i].len &&
		      noted.is_port == lane_noted[i].is_port);
	}
	CHECK_EQ(at, len);
}

#endif
