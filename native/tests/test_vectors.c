/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The wire format, byte for byte, against tests/vectors: what a channel sends on a real socket, what
 * it reads back from the same bytes, and heartbeats, alone and on a serial line. What the lane says:
 * lane_vectors.h. README.md there tells where they come from.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <string.h>
#include <unistd.h>
#include "engine/channel/channel.h"
#include "engine/channel/lane_stream.h"
#include "check.h"
#include "fake_engine.h"
#include "core/records/beat_wire.h"
#include "core/records/mirror_probe.h"
#include "core/records/serial_frame.h"
#include "lane_vectors.h"

enum { PORT = 7710 };

static const uint64_t session = 0x1122334455667788, pairing = 7ull << 32 | 3, sender = 0xa1b2c3d4e5f60718;
static const uint8_t v4_client[16] = {[10] = 0xff, 0xff, 10, 77, 0, 10}, v4_service[16] = {[10] = 0xff, 0xff, 10, 77, 0, 100};
static const uint8_t v6_client[16] = {0xfd, 0x77, [15] = 0x10}, v6_service[16] = {0xfd, 0x77, [14] = 1};
static uint8_t part[40000 - 32768];

static const struct vector {
	const char *name;
	bool v6;
	struct ftt_record r;
} vectors[] = {
	{"open", false, {.type = FTT_REC_OPEN, .service_iss = 0x80000001, .tsval = 0x7fffffff, .age_ms = 3, .wscale = 7,
			 .tries = 2, .data = syn, .data_len = sizeof(syn)}},
	{"opened", false, {.type = FTT_REC_OPENED, .rcv_nxt = 0xffffffff, .edge = 0xfffe}},
	{"refused", true, {.type = FTT_REC_REFUSED}},
	{"commit", false, {.type = FTT_REC_COMMIT, .flags = FTT_REC_FIN | FTT_REC_DIFFERS | FTT_REC_HOLE, .rcv_nxt = 0x10,
			   .edge = 0x10000, .snd_nxt = 0x80000100, .verified = 0x12345, .differences = 3,
			   .hole_end = 0x20}},
	{"probe", false, {.type = FTT_REC_PROBE, .client_acked = 0x80000100, .client_wnd = 0xfff0}},
	{"detach", false, {.type = FTT_REC_DETACH, .attempt = 2}},
	{"detached", true, {.type = FTT_REC_DETACHED, .attempt = 2}},
	{"close", false, {.type = FTT_REC_CLOSE}},
	{"output", false, {.type = FTT_REC_OUTPUT, .flags = FTT_REC_SUM, .snd_nxt = 0x80000100, .point = 0x20000, .crc = 0xdeadbeef, .quiet = true}},
	{"event", false, {.type = FTT_REC_EVENT, .irs = 5, .number = 0x80000000, .outputs = 5, .total = 40000,
			  .offset = 32768, .port = 69, .data = part, .data_len = sizeof(part)}},
	{"event-ack", true, {.type = FTT_REC_EVENT_ACK, .irs = 5, .number = 0xffffffff, .outputs = 9}},
	{"sent", false, {.type = FTT_REC_SENT, .irs = 5, .number = 12}},
	{"offer", false, {.type = FTT_REC_COMMIT, .flags = FTT_REC_OFFER, .rcv_nxt = 0x10, .edge = 0x10000,
			  .snd_nxt = 0x80000100, .verified = 0x12345, .point = 0x12385, .crc = 0xcafebabe}},
	{"identity", false, {.type = FTT_REC_OPEN, .flags = FTT_REC_IDENTITY, .service_iss = 0x80000001, .tsval = 0x7fffffff, .age_ms = 3,
			     .wscale = 7, .tries = 2, .opened_ns = 1234567890123456789, .tick = 0x01020304, .data = syn,
			     .data_len = sizeof(syn),
			     .identity = {0x40, 0x41, 0x42, 0x43, 0x44, 0x45, 0x46, 0x47, 0x48, 0x49,
					  0x4a, 0x4b, 0x4c, 0x4d, 0x4e, 0x4f, 0x50, 0x51, 0x52, 0x53}}},
	{"discard", false, {.type = FTT_REC_DISCARD, .seq = 0x11, .ack = 0x80000101, .tsval = 0x7fffffff}},
	{"stray", false, {.type = FTT_REC_STRAY, .irs = 5, .total = 32, .port = 69, .data = part, .data_len = 32}},
	{"renew", false, {.type = FTT_REC_RENEW, .attempt = 2, .flags = FTT_REC_SUM | FTT_REC_FINAL, .client_acked = 0x80000100, .client_wnd = 0xfff0,
			  .rcv_nxt = 0x10, .snd_nxt = 0x80000200, .point = 0x20000, .crc = 0xdeadbeef, .place = 0x100020000,
			  .tsval = 0x7fffffff}},
};

static struct ftt_record record_of(const struct vector *v)
{
	struct ftt_record r = v->r;
	bool udp = r.type == FTT_REC_EVENT || r.type == FTT_REC_EVENT_ACK || r.type == FTT_REC_SENT || r.type == FTT_REC_STRAY;

	memcpy(r.key.remote, v->v6 ? v6_client : v4_client, 16);
	memcpy(r.key.local, v->v6 ? v6_service : v4_service, 16);
	r.key.remote_port = 40000;
	r.key.local_port = udp ? 0 : 80;
	r.key.proto = udp ? 17 : 6;
	r.irs = r.irs ? r.irs : 0xfffffffe;
	return r;
}

static struct ftt_config config(bool first)
{
	struct ftt_config c = {.node_id = first ? sender : 1, .n_peers = 1, .channel_port = PORT, .workers = 1};

	c.keys.n = 1;
	for (int i = 0; i < 32; i++)
		c.keys.key[0][i] = (uint8_t)i;
	c.peer[0].node_id = first ? 1 : sender;
	strcpy(c.peer[0].link[0].local, first ? "127.0.0.1" : "127.0.0.2");
	strcpy(c.peer[0].link[0].remote, first ? "127.0.0.2" : "127.0.0.1");
	return c;
}

static void check_nothing_more(struct ftt_channel *c, struct ftt_counters *n)
{
	struct ftt_channel_header h;
	const uint8_t *records;
	size_t len;

	CHECK_EQ(ftt_channel_receive(c, FTT_ON_ANY, &h, &records, &len, n), 0);
}

static void test_what_a_channel_sends_and_reads(void)
{
	static struct ftt_channel a, b;
	static struct ftt_keyring ring;
	struct ftt_config ca = config(true), cb = config(false);
	struct ftt_counters n = {0};
	static uint8_t bytes[ROOM];
	char err[256] = "";

	CHECK(ftt_lending_mutex(&ring.lock));
	ftt_keyring_set(&ring, &ca.keys);
	CHECK(!ftt_channel_open(&a, &ca, &ring, 0, err, sizeof(err)) && !ftt_channel_open(&b, &cb, &ring, 0, err, sizeof(err)));
	ftt_channel_follow(&a, 0, session, pairing, FTT_CHANNEL_VERSION);
	ftt_channel_follow(&b, 0, session, pairing, FTT_CHANNEL_VERSION);
	for (size_t i = 0; i < sizeof(vectors) / sizeof(*vectors); i++) {
		struct ftt_record r = record_of(&vectors[i]), got;
		struct ftt_channel_header h;
		const uint8_t *records;
		size_t len;
		ssize_t sent;

		ftt_channel_put_record(&a, 0, &r, &n);
		ftt_channel_flush(&a, &n);
		sent = recv(b.fd[r.quiet], bytes, sizeof(bytes), MSG_PEEK);
		CHECK(sent > 0);
		check_bytes(vectors[i].name, bytes, (size_t)sent);
		CHECK_EQ(ftt_channel_receive(&b, FTT_ON_ANY, &h, &records, &len, &n), 1);
		check_nothing_more(&b, &n);
		CHECK_EQ(h.counter, i + 1);
		CHECK(h.count == 1 && h.quiet == r.quiet);
		CHECK_EQ(ftt_record_get(records, len, &got), len);
		CHECK_EQ(got.type, r.type);
		CHECK(!memcmp(&got.key, &r.key, sizeof(r.key)) && got.irs == r.irs && got.flags == r.flags);
		CHECK(got.rcv_nxt == r.rcv_nxt && got.edge == r.edge && got.snd_nxt == r.snd_nxt && got.point == r.point);
		CHECK(got.verified == r.verified && got.differences == r.differences && got.hole_end == r.hole_end && got.crc == r.crc);
		CHECK(got.seq == r.seq && got.ack == r.ack && got.tsval == r.tsval && got.client_acked == r.client_acked);
		CHECK(got.opened_ns == r.opened_ns && got.tick == r.tick && !memcmp(got.identity, r.identity, sizeof(r.identity)));
		CHECK(got.place == r.place && got.number == r.number && got.outputs == r.outputs && got.port == r.port && got.data_len == r.data_len);
	}
	CHECK_EQ(n.channel_datagrams_received, sizeof(vectors) / sizeof(*vectors));
	ftt_channel_close(&a);
	ftt_channel_close(&b);
}

static void test_every_type_has_a_vector(void)
{
	for (unsigned type = 0; type < 256; type++) {
		bool found = false;

		for (size_t i = 0; i < sizeof(vectors) / sizeof(*vectors); i++)
			found |= vectors[i].r.type == type;
		if (found != ftt_record_known((uint8_t)type)) {
			fprintf(stderr, "type %u: a vector is missing, or one too many\n", type);
			exit(1);
		}
	}
}

/* A probe of the mirror that comes to the channel's port, on its second way, and what goes on from there. */
static void test_mirror_probe(void)
{
	static const uint64_t cluster = 0x0102030405060708, probe = 1ull << FTT_PROBE_WAY_SHIFT | 0x0123456789ab;
	struct ftt_config c = config(true);
	uint8_t bytes[FTT_PROBE_DATAGRAM] = {0};
	uint64_t number;

	CHECK(ftt_mirror_probe_next(bytes + FTT_PROBE_PAD, cluster, probe - (1ull << FTT_PROBE_WAY_SHIFT), &c.keys));
	check_bytes("mirror-probe", bytes, sizeof(bytes));
	CHECK(ftt_mirror_probe_read(bytes + FTT_PROBE_PAD, cluster, &c.keys, &number));
	CHECK_EQ(number, probe);
}

/* What is random is a row of the same byte: 1, 2 ... */
static uint32_t calls;

static const char *counted_name(void)
{
	return "counted";
}

static uint32_t counted_one(void)
{
	return ++calls;
}

static void counted(void *const to, const size_t len)
{
	memset(to, (int)++calls, len);
}

/* Moves all that `from` has to say to `to`, and compares it with a vector; returns how many messages came of it. */
static int carry(struct ftt_lane_stream *from, struct ftt_lane_stream *to, const struct ftt_lane_ends *ends, const char *name)
{
	uint32_t n, room, len;
	int messages = 0, got = 0;
	uint8_t *space, kind;

	check_bytes(name, from->out + from->out_at, from->out_len);
	while (from->out_len) {
		space = ftt_lane_stream_space(to, &room);
		n = room < from->out_len ? room : from->out_len;
		CHECK(n);
		memcpy(space, from->out + from->out_at, n);
		ftt_lane_stream_left(from, n);
		ftt_lane_stream_came(to, n);
		while ((got = ftt_lane_stream_next(to, ends, &kind, &len)) == 1) {
			if (messages++)
				lane_vector_read(kind, to->message, len);
			else
				CHECK_EQ(kind, FTT_LANE_READY);
		}
		CHECK_EQ(got, 0);
	}
	return messages;
}

static void test_bulk_lane(void)
{
	static const struct randombytes_implementation by_counting = {
		.implementation_name = counted_name, .random = counted_one, .buf = counted};
	struct ftt_config c = config(true);
	struct ftt_lane_ends a = {.node = sender, .partner = 1, .pairing = pairing, .version = FTT_CHANNEL_VERSION, .worker = 1, .workers = 3,
				  .keys = &c.keys};
	struct ftt_lane_ends b = {.node = 1, .partner = sender, .pairing = pairing, .version = FTT_CHANNEL_VERSION, .worker = 2, .workers = 3,
				  .keys = &c.keys};
	struct ftt_lane_stream from, to;
	uint8_t message[ROOM];
	uint32_t len;
	int n = 1;

	ftt_lane_keys(&c.keys, session, pairing);
	CHECK(!randombytes_close() && !randombytes_set_implementation((struct randombytes_implementation *)&by_counting));
	ftt_lane_stream_begin(&from, &a, 2);
	ftt_lane_stream_begin(&to, NULL, 0);
	CHECK_EQ(carry(&from, &to, &b, "lane-hello"), 0);
	CHECK_EQ(carry(&to, &from, &a, "lane-answer"), 1);
	for (unsigned kind = FTT_LANE_FIRST_KIND; kind < FTT_LANE_MAY_SKIP; kind++) {
		len = lane_vector_write((enum ftt_lane_kind)kind, message);
		CHECK(!len || ftt_lane_stream_put(&from, (uint8_t)kind, message, len));
		n += len != 0;
	}
	CHECK_EQ(carry(&from, &to, &b, "lane-frames"), n);
	ftt_lane_stream_end(&from);
	ftt_lane_stream_end(&to);
	CHECK(!randombytes_close() && !randombytes_set_implementation(&randombytes_sysrandom_implementation));
}

static void test_heartbeat(void)
{
	static const uint8_t body[] = "\x83\xa5group\xa3web\xa5" "epoch\x07\xa4role\x02";
	/* of one group, whose body the peer does not have, and of another, whose body it has */
	static const struct ftt_beat_section said[] = {
		{.group_id = 0x2122232425262728, .boot_id = 0x3132333435363738, .echo_t_ns = 987654321, .version = 7, .seen = 5,
		 .body_len = sizeof(body) - 1, .flags = FTT_BEAT_GRANT | FTT_BEAT_BODY, .body = body},
		{.group_id = 0x4142434445464748, .boot_id = 0x5152535455565758, .echo_t_ns = 987650000, .version = 6, .seen = 9}};
	uint8_t bytes[FTT_BEAT_MAX], sections[FTT_BEAT_SECTIONS_MAX];
	struct ftt_config c = config(true);
	struct ftt_beat_msg got, m = {.cluster_id = 0x0102030405060708, .node_id = sender, .to_node_id = 1, .boot_id = 0xfedcba9876543210,
				      .counter = 41, .t_send_ns = 1234567890123456789, .echo_boot_id = 0x1111111111111111, .intrusions = 2,
				      .key_id = ftt_beat_key_id(c.keys.key[0]), .link = 1, .n_sections = 2, .sections = sections};
	size_t n, len = 0;

	for (int i = 0; i < 2; i++)
		CHECK(ftt_beat_put_section(sections, sizeof(sections), &len, &said[i]));
	m.sections_len = (uint16_t)len;
	n = ftt_beat_encode(bytes, sizeof(bytes), &m, c.keys.key[0]);
	check_bytes("heartbeat", bytes, n);
	m.flags |= FTT_BEAT_SEALED;
	n = ftt_beat_encode(bytes, sizeof(bytes), &m, c.keys.key[0]);
	check_bytes("heartbeat-sealed", bytes, n);
	CHECK_EQ(ftt_beat_decode(bytes, n, c.keys.key[0], m.key_id, &got), FTT_BEAT_OK);
	CHECK_EQ(got.counter, 41);
	CHECK_EQ(got.n_sections, 2);
	CHECK(got.sections_len == len && !memcmp(got.sections, sections, len));
}

/* On a line that begins and ends with noise. */
static void check_frame(const char *name, const uint8_t *datagram, size_t len)
{
	static const uint8_t noise[] = {3, 0xff};
	static struct ftt_deframer d;
	uint8_t line[sizeof(noise) + FTT_SERIAL_FRAME_MAX] = {0}, *frame = line + sizeof(noise);
	size_t n = ftt_serial_put(frame, datagram, len);
	int got = 0, broken = 0;

	check_bytes(name, frame, n);
	memset(&d, 0, sizeof(d));
	memcpy(line, noise, sizeof(noise));
	for (size_t i = 0; i < sizeof(noise) + n; i++) {
		got = ftt_deframe(&d, line[i]);
		broken += got < 0;
		CHECK(got <= 0 || i == sizeof(noise) + n - 1);
	}
	CHECK_EQ(broken, 1);
	CHECK(got == (int)len && !memcmp(d.plain, datagram, len));
}

static void test_serial_frames(void)
{
	uint8_t bytes[ROOM], many[300];

	check_frame("serial-frame", bytes, read_vector("heartbeat", bytes));
	memset(many, 'Z', sizeof(many));
	check_frame("serial-long", many, sizeof(many));
}

int main(void)
{
	for (size_t i = 0; i < sizeof(part); i++)
		part[i] = i < 32 ? (uint8_t)i : '?';
	CHECK(sodium_init() >= 0);
	test_every_type_has_a_vector();
	test_mirror_probe();
	test_bulk_lane();
	test_heartbeat();
	test_serial_frames();
	if (!fake_private_network()) {
		printf("test_vectors: a network namespace of its own is not allowed here: the channel's datagrams were not checked\n");
		return SKIPPED;
	}
	test_what_a_channel_sends_and_reads();
	return 0;
}
