/* SPDX-License-Identifier: Apache-2.0 */
/* The bulk lane between two nodes: what goes in comes out, slowly if need be, and all of it belongs to one pairing. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>
#include "check.h"
#include "lane_rig.h"

static uint8_t text[FTT_LANE_MAX];

static struct lane_end *end_of(int node, int worker)
{
	return &lane_node[node].end[worker];
}

static void send_number(struct lane_end *from, uint8_t to, uint32_t number, uint32_t len)
{
	put_be32(text, number);
	LANE_UNTIL(ftt_lane_send(&from->lane, to, FTT_LANE_FIRST_KIND, text, len));
}

/* Every length arrives, with its kind and its bytes. */
static void test_lengths(void)
{
	static const uint32_t lengths[] = {0, 1, 2, 16, 17, 1399, 16384, FTT_LANE_MAX - 1, FTT_LANE_MAX};

	for (int node = 0; node < LANE_NODES; node++) {
		struct lane_end *from = end_of(node, 0), *to = end_of(!node, 0);

		for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
			uint64_t before = to->messages;

			randombytes_buf(text, lengths[i]);
			LANE_UNTIL(ftt_lane_send(&from->lane, 0, (uint8_t)(FTT_LANE_FIRST_KIND + i), text, lengths[i]));
			LANE_UNTIL(to->messages == before + 1);
			CHECK_EQ(to->last_kind, FTT_LANE_FIRST_KIND + i);
			CHECK_EQ(to->last_len, lengths[i]);
			CHECK(!memcmp(to->last, text, lengths[i]));
		}
		CHECK(!ftt_lane_send(&from->lane, 0, FTT_LANE_FIRST_KIND, text, FTT_LANE_MAX + 1));
		CHECK(!ftt_lane_send(&from->lane, 0, FTT_LANE_READY, text, 0));
		CHECK(!ftt_lane_send(&from->lane, 1, FTT_LANE_FIRST_KIND, text, 1)); /* no such worker */
		CHECK(!ftt_lane_send(&from->lane, 255, FTT_LANE_FIRST_KIND, text, 1));
	}
}

/* Who does not read stops who sends; nothing is lost, and memory is bounded. */
static void test_back_pressure(void)
{
	struct lane_end *from = end_of(0, 0), *to = end_of(1, 0);
	uint32_t sent = 0, rooms = from->rooms;
	uint64_t before = to->messages;

	to->answer = FTT_LANE_NOT_NOW;
	to->numbered = true;
	to->next[0] = 0;
	for (;;) { /* until nothing moves any more */
		put_be32(text, sent);
		if (ftt_lane_send(&from->lane, 0, FTT_LANE_FIRST_KIND, text, 9999))
			sent++;
		else if (!lane_step(100))
			break;
	}
	CHECK(ftt_lane_waiting(&from->lane, 0) > FTT_LANE_QUEUE / 2);
	CHECK(ftt_lane_waiting(&from->lane, 0) <= FTT_LANE_QUEUE);
	CHECK_EQ(to->messages, before);
	rooms = from->rooms;
	to->answer = FTT_LANE_TAKEN;
	CHECK(!lane_step(0)); /* it was not asked for */
	ftt_lane_resume(&to->lane, 0);
	LANE_UNTIL(to->messages == before + sent);
	CHECK_EQ(from->rooms, rooms + 1);
	CHECK_EQ(ftt_lane_waiting(&from->lane, 0), 0);
	CHECK_EQ(ftt_lane_room(&from->lane, 0), FTT_LANE_MAX);
	ftt_lane_resume(&to->lane, 0); /* nothing is kept */
	to->numbered = false;
}

/* What waits does not keep calls from coming, up to a bound; then all of it comes in its order. */
static void test_what_passes(void)
{
	struct lane_end *from = &lane_node[0].end[0], *to = &lane_node[1].end[0];
	uint8_t text[1000] = {0};
	uint64_t before = to->messages;
	uint32_t n;

	to->lane.beside = 10 * sizeof(text);
	to->answer = FTT_LANE_NOT_NOW;
	to->passes = true;
	for (n = 0; n < 5; n++) {
		put_be32(text, n);
		CHECK(ftt_lane_send(&from->lane, 0, FTT_LANE_FIRST_KIND, text, sizeof(text)));
		CHECK(ftt_lane_send(&from->lane, 0, FTT_LANE_CALLS, text, sizeof(text)));
	}
	LANE_UNTIL(to->passed == 5);
	CHECK_EQ(to->messages, before);
	for (; n < 20; n++) {
		put_be32(text, n);
		CHECK(ftt_lane_send(&from->lane, 0, FTT_LANE_FIRST_KIND, text, sizeof(text)));
	}
	CHECK(ftt_lane_send(&from->lane, 0, FTT_LANE_CALLS, text, sizeof(text)));
	while (lane_step(100))
		;
	CHECK_EQ(to->passed, 5);
	to->answer = FTT_LANE_TAKEN;
	to->numbered = true;
	to->next[0] = 0;
	ftt_lane_resume(&to->lane, 0);
	LANE_UNTIL(to->messages == before + 20 && to->passed == 6);
	to->numbered = to->passes = false;
	to->lane.beside = 0;
}

/* Both directions at once, and more than fits into any buffer. */
static void test_stream(void)
{
	uint32_t sent[LANE_NODES] = {0};

	for (int i = 0; i < LANE_NODES; i++) {
		end_of(i, 0)->numbered = true;
		end_of(i, 0)->next[0] = 0;
	}
	while (sent[0] < 2000 || sent[1] < 2000) {
		for (int i = 0; i < LANE_NODES; i++) {
			put_be32(text, sent[i]);
			while (sent[i] < 2000 && ftt_lane_send(&end_of(i, 0)->lane, 0, FTT_LANE_FIRST_KIND, text, 4 + sent[i] * 7 % 20000)) {
				sent[i]++;
				put_be32(text, sent[i]);
			}
		}
		lane_step(20);
	}
	LANE_UNTIL(end_of(0, 0)->next[0] == 2000 && end_of(1, 0)->next[0] == 2000);
	end_of(0, 0)->numbered = end_of(1, 0)->numbered = false;
}

/* A message that the user does not know is skipped if it says so, else it ends the connection; there is a new one soon. */
static void test_bad_message(void)
{
	struct lane_end *from = end_of(0, 0), *to = end_of(1, 0);
	uint64_t refused = to->n.lane_refused;
	uint32_t downs = from->downs;

	to->answer = FTT_LANE_BAD;
	CHECK(ftt_lane_send(&from->lane, 0, FTT_LANE_MAY_SKIP | 99, text, 4));
	LANE_UNTIL(to->n.records_skipped == 1);
	CHECK_EQ(to->n.lane_refused, refused);
	CHECK(ftt_lane_up(&to->lane, 0));
	send_number(from, 0, 0, 4);
	LANE_UNTIL(to->downs && from->downs == downs + 1);
	to->answer = FTT_LANE_TAKEN;
	CHECK_EQ(to->n.lane_refused, refused + 1);
	CHECK_EQ(fake_drain(&lane_node[1].e, FTT_EV_LANE_REFUSED), 1);
	LANE_UNTIL(ftt_lane_up(&from->lane, 0) && ftt_lane_up(&to->lane, 0));
}

/* The pairing ends, the lane with it; the next one has a new one, and nothing of the old. */
static void test_pairings(void)
{
	struct lane_end *from = end_of(0, 0), *to = end_of(1, 0);
	uint64_t before = to->messages;

	CHECK(ftt_lane_send(&from->lane, 0, FTT_LANE_FIRST_KIND, text, 1000));
	lane_follow(0, FTT_LANE_OFF, LANE_SESSION, LANE_PAIRING);
	CHECK(!ftt_lane_up(&from->lane, 0));
	CHECK(!ftt_lane_send(&from->lane, 0, FTT_LANE_FIRST_KIND, text, 1));
	LANE_UNTIL(!ftt_lane_up(&to->lane, 0));
	lane_follow(1, FTT_LANE_CONNECTS, LANE_SESSION, LANE_PAIRING + 1); /* the first to hear of it waits for the other */
	while (lane_step(50))
		;
	lane_follow(0, FTT_LANE_ACCEPTS, LANE_SESSION, LANE_PAIRING + 1);
	LANE_UNTIL(ftt_lane_up(&from->lane, 0) && ftt_lane_up(&to->lane, 0));
	CHECK_EQ(to->messages, before);
	lane_follow(1, FTT_LANE_CONNECTS, LANE_SESSION + 1, LANE_PAIRING + 1); /* another life of one of them */
	lane_follow(0, FTT_LANE_ACCEPTS, LANE_SESSION + 1, LANE_PAIRING + 1);
	CHECK(!ftt_lane_up(&from->lane, 0));
	LANE_UNTIL(ftt_lane_up(&from->lane, 0) && ftt_lane_up(&to->lane, 0));
	lane_follow(0, FTT_LANE_CONNECTS, LANE_SESSION, LANE_PAIRING + 2); /* roles change */
	lane_follow(1, FTT_LANE_ACCEPTS, LANE_SESSION, LANE_PAIRING + 2);
	LANE_UNTIL(ftt_lane_up(&from->lane, 0) && ftt_lane_up(&to->lane, 0));
	lane_follow(0, FTT_LANE_ACCEPTS, LANE_SESSION, LANE_PAIRING);
	lane_pair();
}

/* Keys change under it: who has both goes on; a key that is taken out takes its connections along. */
static void test_keys(void)
{
	struct ftt_keys both = {.key = {{1}, {2}}, .n = 2, .send = 1}, second = {.key = {{2}}, .n = 1};
	uint32_t ups = end_of(0, 0)->ups;

	for (int i = 0; i < LANE_NODES; i++)
		ftt_keyring_set(&lane_node[i].e.keyring, &both);
	lane_pair();
	while (lane_step(20))
		;
	CHECK_EQ(end_of(0, 0)->ups, ups);
	ftt_keyring_set(&lane_node[1].e.keyring, &second); /* first on one node: it takes the new key by itself */
	lane_pair();
	LANE_UNTIL(end_of(0, 0)->ups == ups + 1 && ftt_lane_up(&end_of(1, 0)->lane, 0));
	ftt_keyring_set(&lane_node[0].e.keyring, &second);
	lane_pair();
	while (lane_step(20))
		;
	CHECK_EQ(end_of(0, 0)->ups, ups + 1);
}

static void set_loopback(bool up)
{
	struct ifreq r = {.ifr_name = "lo", .ifr_flags = up ? IFF_UP | IFF_LOOPBACK | IFF_RUNNING : IFF_LOOPBACK};
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	CHECK(fd >= 0 && !ioctl(fd, SIOCSIFFLAGS, &r));
	close(fd);
}

/*
 * The link is dead, and nobody is told: the end that sends finds out. When the link is back there is a new connection; the other
 * end, for which the old one still stands, believes the new one.
 */
static void test_dead_link(void)
{
	struct lane_end *from = end_of(1, 0), *to = end_of(0, 0);
	uint32_t downs = from->downs, ups = to->ups;

	set_loopback(false);
	CHECK(ftt_lane_send(&from->lane, 0, FTT_LANE_FIRST_KIND, text, 100));
	LANE_UNTIL(from->downs == downs + 1);
	CHECK(ftt_lane_up(&to->lane, 0) || to->downs);
	set_loopback(true);
	LANE_UNTIL(ftt_lane_up(&from->lane, 0) && to->ups == ups + 1);
	CHECK_EQ(to->ups, to->downs + 1);
}

/* No connection for a while is told once, and once that there is one again. */
static void test_down(void)
{
	fake_drain(&lane_node[1].e, FTT_EV_LANE_DOWN);
	ftt_lane_close(&end_of(0, 0)->lane); /* the other node's engine does not listen */
	LANE_UNTIL(!ftt_lane_up(&end_of(1, 0)->lane, 0) && end_of(1, 0)->lane.why == ECONNREFUSED);
	CHECK_EQ(fake_posted(&lane_node[1].e, FTT_EV_LANE_DOWN), 0);
	fake_suspend(4000000000ull);
	LANE_UNTIL(fake_posted(&lane_node[1].e, FTT_EV_LANE_DOWN));
	CHECK_EQ(fake_wait(&lane_node[1].e, FTT_EV_LANE_DOWN).value, ECONNREFUSED);
	fake_suspend(4000000000ull);
	lane_step(20);
	lane_step(20);
	CHECK_EQ(fake_posted(&lane_node[1].e, FTT_EV_LANE_DOWN), 1);
	CHECK_EQ(fake_posted(&lane_node[1].e, FTT_EV_LANE_UP), 0);
}

/* Somebody at that address says so much to the lane that accepts. */
static int stranger_at(const char *address, const void *bytes, size_t len)
{
	struct sockaddr_in from = {.sin_family = AF_INET}, to = {.sin_family = AF_INET, .sin_port = htons(LANE_PORT + 1)};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	inet_pton(AF_INET, address, &from.sin_addr);
	inet_pton(AF_INET, "127.0.0.1", &to.sin_addr);
	CHECK(fd >= 0 && !bind(fd, (struct sockaddr *)&from, sizeof(from)) && !connect(fd, (struct sockaddr *)&to, sizeof(to)));
	CHECK_EQ(send(fd, bytes, len, MSG_NOSIGNAL), len);
	return fd;
}

static bool is_closed(int fd)
{
	char bytes[FTT_LANE_FIRST];
	ssize_t n = recv(fd, bytes, sizeof(bytes), MSG_DONTWAIT);

	return n == 0 || (n < 0 && errno == ECONNRESET);
}

/* Strangers are shut out, counted, and told of once; the partner's connection lives, and new ones of the partner come through. */
static void test_strangers(void)
{
	enum { SILENT = 20 };
	struct lane_end *to = end_of(0, 0);
	uint64_t refused = to->n.lane_refused;
	uint32_t ups = to->ups, downs = to->downs;
	int fd[SILENT];

	fake_drain(&lane_node[0].e, 0);
	CHECK(!(to->lane.told & 1u << FTT_LANE_GARBAGE));
	fd[0] = stranger_at("127.0.0.3", "", 0); /* no partner: not even listened to */
	LANE_UNTIL(is_closed(fd[0]));
	CHECK_EQ(to->n.lane_refused, refused + 1);
	fd[1] = stranger_at("127.0.0.2", "GET / HTTP/1.1\r\n\r\n", 18);
	LANE_UNTIL(is_closed(fd[1]));
	CHECK_EQ(to->n.lane_refused, refused + 2);
	CHECK_EQ(fake_drain(&lane_node[0].e, FTT_EV_LANE_REFUSED), 1);
	close(fd[0]);
	close(fd[1]);

	for (int i = 0; i < SILENT; i++) /* more than there is room for */
		fd[i] = stranger_at("127.0.0.2", "FTLN", 4);
	LANE_UNTIL(to->n.lane_refused == refused + 2 + SILENT - FTT_LANE_STRANGERS);
	ftt_lane_close(&end_of(1, 0)->lane); /* the partner begins anew among them */
	lane_reopen(1, 0);
	lane_follow(1, FTT_LANE_CONNECTS, LANE_SESSION, LANE_PAIRING);
	LANE_UNTIL(ftt_lane_up(&end_of(1, 0)->lane, 0) && to->ups == ups + 1 && to->downs == downs + 1);
	for (int i = 0; i < SILENT; i++)
		close(fd[i]);
	while (lane_step(20))
		;
	CHECK(ftt_lane_up(&to->lane, 0) && to->downs == downs + 1);
}

/* Who says nothing has three seconds. That is counted, and not told: it may be the partner's. */
static void test_late(void)
{
	struct lane_end *to = end_of(0, 0);
	uint64_t refused = to->n.lane_refused;
	int fd[2];

	lane_reopen(0, 0);
	lane_follow(0, FTT_LANE_ACCEPTS, LANE_SESSION, LANE_PAIRING + 7); /* a pairing of its own */
	fd[0] = stranger_at("127.0.0.2", "FTLN", 4);
	while (lane_step(20))
		;
	CHECK(!is_closed(fd[0]));
	fake_suspend(4000000000ull);
	fd[1] = stranger_at("127.0.0.2", "FTLN", 4);
	LANE_UNTIL(is_closed(fd[0]));
	CHECK(!is_closed(fd[1]));
	CHECK(to->n.lane_refused > refused);
	CHECK_EQ(fake_drain(&lane_node[0].e, FTT_EV_LANE_REFUSED), 0);
	close(fd[0]);
	close(fd[1]);
}

/* Each worker of one node speaks with each of the other. */
static void test_workers(void)
{
	enum { WORKERS = 3 };

	for (int node = 0; node < LANE_NODES; node++)
		for (int k = 0; k < WORKERS; k++)
			for (uint8_t to = 0; to < WORKERS; to++) {
				struct lane_end *other = end_of(!node, to);
				uint64_t before = other->messages;

				send_number(end_of(node, k), to, (uint32_t)k, 4);
				LANE_UNTIL(other->messages == before + 1);
				CHECK_EQ(other->last_from, k);
				CHECK_EQ(get_be32(other->last), k);
			}
}

int main(void)
{
	if (!lane_open(1)) {
		printf("test_bulk_lane: a network namespace of its own is not allowed here\n");
		return SKIPPED;
	}
	lane_pair();
	test_lengths();
	test_back_pressure();
	test_what_passes();
	test_stream();
	test_pairings();
	test_keys();
	test_bad_message();
	test_dead_link();
	for (int i = 0; i < LANE_NODES; i++)
		CHECK_EQ(fake_posted(&lane_node[i].e, FTT_EV_LANE_REFUSED), i); /* test_bad_message */
	test_strangers();
	test_down();
	test_late();
	lane_close();
	CHECK(lane_open(3));
	lane_pair();
	test_workers();
	lane_close();
	return 0;
}
