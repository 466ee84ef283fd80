/* SPDX-License-Identifier: Apache-2.0 */
/* Records of the commit channel: round trips, every cut, what must be refused, and the replay window. */
#include <string.h>
#include "check.h"
#include "core/records/channel_wire.h"
#include "core/records/record.h"

static const uint8_t v4_client[16] = {[10] = 0xff, 0xff, 10, 77, 0, 10}, v4_service[16] = {[10] = 0xff, 0xff, 10, 77, 0, 100};
static const uint8_t v6_client[16] = {0xfd, 0x77, [15] = 0x10}, v6_service[16] = {0xfd, 0x77, [14] = 1};
static uint8_t data[FTT_PART_MAX];

static const uint8_t types[] = {FTT_REC_OPEN, FTT_REC_OPENED, FTT_REC_REFUSED, FTT_REC_COMMIT, FTT_REC_PROBE,
				FTT_REC_DETACH, FTT_REC_DETACHED, FTT_REC_CLOSE, FTT_REC_OUTPUT, FTT_REC_RENEW, FTT_REC_EVENT,
				FTT_REC_EVENT_ACK, FTT_REC_SENT, FTT_REC_STRAY};

static struct ftt_record sample(uint8_t type, bool v6)
{
	struct ftt_record r = {.type = type, .flags = 0xa5, .irs = 0xfffffffe};

	memcpy(r.key.remote, v6 ? v6_client : v4_client, 16);
	memcpy(r.key.local, v6 ? v6_service : v4_service, 16);
	r.key.remote_port = 40000;
	r.key.local_port = 80;
	r.key.proto = 6;
	r.attempt = ftt_record_attempted(type) ? 200 : 0;
	switch (type) {
	case FTT_REC_OPEN:
		r.service_iss = 0xffffffff;
		r.tsval = 0x80000000;
		r.age_ms = 7;
		r.wscale = 14;
		r.tries = 255;
		r.data = data;
		r.data_len = 60;
		break;
	case FTT_REC_COMMIT:
		r.snd_nxt = 3;
		r.verified = 4;
		r.differences = 5;
		r.point = 7;
		r.crc = 8;
		/* fall through */
	case FTT_REC_OPENED:
		r.rcv_nxt = 0x7fffffff;
		r.edge = 0x80000001;
		break;
	case FTT_REC_OUTPUT:
		r.point = 6;
		r.crc = 0xcafebabe;
		break;
	case FTT_REC_EVENT:
	case FTT_REC_STRAY:
		r.total = 65507;
		r.offset = 32768;
		r.port = 69;
		r.data = data;
		r.data_len = 32739;
		/* fall through */
	case FTT_REC_EVENT_ACK:
		r.number = 0xffffffff;
		r.outputs = 1;
		break;
	case FTT_REC_SENT:
		r.number = 0xffffffff;
		r.crc = 1;
		break;
	default:
		break;
	}
	return r;
}

static void check_same(const struct ftt_record *a, const struct ftt_record *b)
{
	CHECK(!memcmp(&a->key, &b->key, sizeof(a->key)));
	CHECK_EQ(a->type, b->type);
	CHECK_EQ(a->flags, b->flags);
	CHECK_EQ(a->irs, b->irs);
	CHECK_EQ(a->port, b->port);
	CHECK_EQ(a->service_iss, b->service_iss);
	CHECK_EQ(a->tsval, b->tsval);
	CHECK_EQ(a->age_ms, b->age_ms);
	CHECK_EQ(a->wscale, b->wscale);
	CHECK_EQ(a->tries, b->tries);
	CHECK_EQ(a->attempt, b->attempt);
	CHECK_EQ(a->rcv_nxt, b->rcv_nxt);
	CHECK_EQ(a->edge, b->edge);
	CHECK_EQ(a->snd_nxt, b->snd_nxt);
	CHECK_EQ(a->point, b->point);
	CHECK_EQ(a->verified, b->verified);
	CHECK_EQ(a->differences, b->differences);
	CHECK_EQ(a->crc, b->crc);
	CHECK_EQ(a->number, b->number);
	CHECK_EQ(a->outputs, b->outputs);
	CHECK_EQ(a->total, b->total);
	CHECK_EQ(a->offset, b->offset);
	CHECK_EQ(a->data_len, b->data_len);
	CHECK(!a->data_len || !memcmp(a->data, b->data, a->data_len));
}

static void test_round_trip_of_every_type(void)
{
	static uint8_t wire[65536], again[65536];

	for (size_t i = 0; i < 2 * sizeof(types); i++) {
		struct ftt_record r = sample(types[i / 2], i & 1), got;
		size_t n = ftt_record_put(wire, sizeof(wire), &r);

		CHECK(n > 0);
		CHECK_EQ(get_be16(wire + 2), n);
		CHECK_EQ(ftt_record_get(wire, n, &got), n);
		check_same(&r, &got);
		CHECK_EQ(ftt_record_get(wire, sizeof(wire), &got), n); /* others may follow */
		CHECK_EQ(ftt_record_put(again, n, &got), n);
		CHECK(!memcmp(wire, again, n));
		CHECK_EQ(ftt_record_put(again, n - 1, &got), 0);
		for (size_t room = 0; room < n; room += n > 1000 ? 97 : 1) {
			uint8_t *exact = malloc(room ? room : 1);

			CHECK(exact);
			memcpy(exact, wire, room);
			CHECK_EQ(ftt_record_get(exact, room, &got), 0);
			free(exact);
		}
	}
}

/* A length that lies: below the fixed part, or with data where none belongs. */
static void test_wrong_lengths(void)
{
	static uint8_t wire[65536];

	for (size_t i = 0; i < sizeof(types); i++) {
		struct ftt_record r = sample(types[i], false), got;
		size_t n, fixed = 22 + (size_t)ftt_record_fixed(types[i]);

		r.data_len = 0;
		r.total = r.offset = 0;
		n = ftt_record_put(wire, sizeof(wire), &r);
		CHECK_EQ(n, fixed);
		for (size_t len = 0; len < fixed; len++) {
			put_be16(wire + 2, (uint16_t)len);
			CHECK_EQ(ftt_record_get(wire, sizeof(wire), &got), 0);
		}
		put_be16(wire + 2, (uint16_t)(fixed + 1));
		CHECK_EQ(ftt_record_get(wire, sizeof(wire), &got), types[i] == FTT_REC_OPEN ? fixed + 1 : 0);
	}
}

/* OPEN with the identity of a connection, which stands before the SYN; cut short it is none. */
static void test_identity(void)
{
	struct ftt_record r = sample(FTT_REC_OPEN, true), got;
	uint8_t wire[512];
	size_t n, plain = ftt_record_put(wire, sizeof(wire), &r);

	r.flags |= FTT_REC_IDENTITY;
	memset(r.identity, 0xab, sizeof(r.identity));
	r.opened_ns = 0x8123456789abcdef;
	r.tick = 0xfedcba98;
	n = ftt_record_put(wire, sizeof(wire), &r);
	CHECK_EQ(n, plain + FTT_IDENTITY + 12);
	CHECK_EQ(ftt_record_get(wire, n, &got), n);
	CHECK(!memcmp(got.identity, r.identity, FTT_IDENTITY));
	CHECK_EQ(got.opened_ns, r.opened_ns);
	CHECK_EQ(got.tick, r.tick);
	CHECK_EQ(got.data_len, r.data_len);
	CHECK(!memcmp(got.data, r.data, r.data_len));
	put_be16(wire + 2, (uint16_t)(n - r.data_len - 1));
	CHECK_EQ(ftt_record_get(wire, n, &got), 0);
}

/* Of a type that another release has made the head is read, and what follows can be found; nothing of it can be written. */
static void test_unknown_types(void)
{
	uint8_t wire[512];
	struct ftt_record r = sample(FTT_REC_OPEN, true), got;
	size_t n = ftt_record_put(wire, sizeof(wire), &r);

	for (int type = 1; type < 256; type++) {
		if (ftt_record_known((uint8_t)type))
			continue;
		wire[0] = (uint8_t)type;
		CHECK_EQ(ftt_record_get(wire, n, &got), n);
		CHECK(got.type == type && got.irs == r.irs && !got.data_len && !memcmp(&got.key, &r.key, sizeof(r.key)));
		CHECK_EQ(ftt_record_get(wire, n - 1, &got), 0);
		CHECK_EQ(ftt_record_put(wire, sizeof(wire), &got), 0);
	}
}

static void test_refused(void)
{
	uint8_t wire[512];
	struct ftt_record r = sample(FTT_REC_OPEN, false), got;
	size_t n = ftt_record_put(wire, sizeof(wire), &r);

	wire[0] = 0;
	CHECK_EQ(ftt_record_get(wire, n, &got), 0);
	wire[0] = FTT_REC_OPEN;
	for (int family = 0; family < 256; family++) {
		wire[4] = (uint8_t)family;
		CHECK_EQ(ftt_record_get(wire, n, &got) != 0, family == 4); /* as 6, its bytes make no sense */
	}
	wire[4] = 4;
	wire[4] = 4;
	wire[22 + 12] = 15; /* no such window scale */
	CHECK_EQ(ftt_record_get(wire, n, &got), 0);
	r.data_len = FTT_SYN_MAX;
	CHECK(ftt_record_get(wire, ftt_record_put(wire, sizeof(wire), &r), &got) > 0);
	r.data_len = FTT_SYN_MAX + 1;
	CHECK_EQ(ftt_record_get(wire, ftt_record_put(wire, sizeof(wire), &r), &got), 0);
	r = sample(FTT_REC_PROBE, true);
	memcpy(r.key.remote, v4_client, 16); /* IPv4 in the long spelling: a second name of the same flow */
	n = ftt_record_put(wire, sizeof(wire), &r);
	CHECK_EQ(n, 29);
	r = sample(FTT_REC_PROBE, true);
	n = ftt_record_put(wire, sizeof(wire), &r);
	memcpy(wire + 10, v4_client, 16);
	CHECK_EQ(ftt_record_get(wire, n, &got), 0);
}

static void test_parts_of_a_datagram(void)
{
	static uint8_t wire[65536];
	static const struct { uint32_t total, offset, len; bool good; } part[] = {
		{0, 0, 0, true},	 {65507, 0, 32768, true},   {65507, 32768, 32739, true}, {65508, 0, 1, false},
		{10, 11, 0, false},      {10, 10, 0, true},	 {10, 0, 10, true},	  {10, 0, 11, false},
		{10, 0xfffffff8, 12, false}, {0xffffffff, 0, 1, false}, {65507, 65507, 1, false}};

	for (size_t i = 0; i < sizeof(part) / sizeof(*part); i++) {
		struct ftt_record r = sample(FTT_REC_EVENT, false), got;
		size_t n;

		r.total = part[i].total;
		r.offset = part[i].offset;
		r.data_len = part[i].len;
		n = ftt_record_put(wire, sizeof(wire), &r);
		CHECK(n > 0);
		CHECK_EQ(ftt_record_get(wire, n, &got) != 0, part[i].good);
	}
}

static void test_put_refuses_what_does_not_fit(void)
{
	static uint8_t wire[70000], big[70000];
	struct ftt_record r = sample(FTT_REC_EVENT, false);

	r.data = big;
	r.data_len = 65535; /* with the header longer than a length field can say */
	CHECK_EQ(ftt_record_put(wire, sizeof(wire), &r), 0);
	r.data_len = 0xffffffff;
	CHECK_EQ(ftt_record_put(wire, sizeof(wire), &r), 0);
	r = sample(99, false);
	CHECK_EQ(ftt_record_put(wire, sizeof(wire), &r), 0);
	r = sample(FTT_REC_COMMIT, false);
	CHECK_EQ(ftt_record_put(wire, 0, &r), 0);
}

static void test_header(void)
{
	struct ftt_channel_header h = {.version = FTT_CHANNEL_VERSION, .worker = 7, .count = 0xfffe, .pairing = 1ull << 63, .sender = 2,
				       .counter = UINT64_MAX};
	struct ftt_channel_header got;
	uint8_t p[FTT_CHANNEL_HEADER + FTT_CHANNEL_MAC] = {0};

	ftt_channel_put(p, &h);
	CHECK_EQ(ftt_channel_get(p, sizeof(p), &got), 0);
	CHECK(got.worker == 7 && !got.quiet);
	for (int version = 0; version < 256; version++) {
		p[4] = (uint8_t)version;
		CHECK_EQ(ftt_channel_get(p, sizeof(p), &got), version >= FTT_CHANNEL_OLDEST && version <= FTT_CHANNEL_VERSION ? 0 : -1);
		CHECK(got.version >= FTT_CHANNEL_OLDEST && got.version <= FTT_CHANNEL_VERSION);
	}
	p[4] = h.version;
	CHECK_EQ(got.count, 0xfffe);
	CHECK(got.pairing == h.pairing && got.sender == 2 && got.counter == UINT64_MAX);
	for (size_t len = 0; len < sizeof(p); len++)
		CHECK_EQ(ftt_channel_get(p, len, &got), -1);
	for (int at = 0; at < FTT_CHANNEL_WORKER_AT; at++) {
		p[at] ^= 0x80;
		CHECK_EQ(ftt_channel_get(p, sizeof(p), &got), -1);
		p[at] ^= 0x80;
	}
	p[FTT_CHANNEL_WORKER_AT] ^= FTT_CHANNEL_QUIET;
	CHECK_EQ(ftt_channel_get(p, sizeof(p), &got), 0);
	CHECK(got.worker == 7 && got.quiet);
	p[5] = FTT_MAX_WORKERS;
	CHECK_EQ(ftt_channel_get(p, sizeof(p), &got), -1);
}

static void test_replay_window(void)
{
	struct ftt_replay w = {0};

	CHECK(!ftt_replay_accept(&w, 0));
	CHECK(ftt_replay_accept(&w, 1));
	CHECK(!ftt_replay_accept(&w, 1));
	CHECK(ftt_replay_accept(&w, 64));
	CHECK(ftt_replay_accept(&w, 2));
	CHECK(!ftt_replay_accept(&w, 1));
	CHECK(ftt_replay_accept(&w, 65)); /* 1 leaves the window */
	CHECK(!ftt_replay_accept(&w, 1));
	CHECK(!ftt_replay_accept(&w, 2));
	CHECK(ftt_replay_accept(&w, 3));
	CHECK(ftt_replay_accept(&w, 65 + 63)); /* a shift by 63 keeps 65 and nothing older */
	CHECK(!ftt_replay_accept(&w, 65));
	CHECK(ftt_replay_accept(&w, 66));
	CHECK(!ftt_replay_accept(&w, 64));
	CHECK(ftt_replay_accept(&w, 128 + 64)); /* a shift by the whole width */
	CHECK(!ftt_replay_accept(&w, 128));
	CHECK(ftt_replay_accept(&w, 129));
	CHECK(ftt_replay_accept(&w, UINT64_MAX));
	CHECK(!ftt_replay_accept(&w, UINT64_MAX));
	CHECK(ftt_replay_accept(&w, UINT64_MAX - 63));
	CHECK(!ftt_replay_accept(&w, UINT64_MAX - 64));
}

/* Each counter at most once, whatever the order; every one that is not older than the window. */
static void test_replay_against_a_plain_list(void)
{
	uint32_t state = 7;

	for (int round = 0; round < 50; round++) {
		struct ftt_replay w = {0};
		bool had[600] = {false};
		uint64_t top = 0, base = 0;

		for (int i = 0; i < 400; i++) {
			uint64_t c;

			state = state * 1664525 + 1013904223;
			base += (state >> 8) % 2;
			c = 1 + base + (state >> 16) % 150;
			CHECK_EQ(ftt_replay_accept(&w, c), !had[c] && (c > top || top - c < 64));
			had[c] = had[c] || c > top || top - c < 64;
			top = c > top ? c : top;
		}
	}
}

int main(void)
{
	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = (uint8_t)(i * 31 + (i >> 8));
	test_round_trip_of_every_type();
	test_wrong_lengths();
	test_identity();
	test_unknown_types();
	test_refused();
	test_parts_of_a_datagram();
	test_put_refuses_what_does_not_fit();
	test_header();
	test_replay_window();
	test_replay_against_a_plain_list();
	return 0;
}
