/* SPDX-License-Identifier: Apache-2.0 */
/* Datagrams are fetched several at a time: none is lost, and what left on the quiet lane before a loud one is read before it. */
#define _GNU_SOURCE
#include <sodium.h>
#include <string.h>
#include "engine/channel/channel.h"
#include "check.h"
#include "fake_engine.h"

enum { PORT = 7730, SESSION = 5, PAIRING = 6 };

static struct ftt_keyring ring;
static struct ftt_counters n;

static void config(struct ftt_config *c, uint64_t me, uint64_t other, const char *local, const char *remote)
{
	*c = (struct ftt_config){.node_id = me, .n_peers = 1, .channel_port = PORT, .workers = 1, .keys = {.key = {{1}}, .n = 1}};
	c->peer[0].node_id = other;
	strcpy(c->peer[0].link[0].local, local);
	strcpy(c->peer[0].link[0].remote, remote);
}

static void put(struct ftt_channel *c, bool quiet, uint32_t number)
{
	struct ftt_record r = {.type = quiet ? FTT_REC_OUTPUT : FTT_REC_PROBE, .key.proto = 6, .irs = number, .quiet = quiet};

	ftt_channel_put_record(c, 0, &r, &n);
	ftt_channel_flush(c, &n);
}

/* The number of the next one; 0: there is none. */
static uint32_t get(struct ftt_channel *c, unsigned lanes, bool *quiet)
{
	struct ftt_channel_header h;
	struct ftt_record r;
	const uint8_t *records;
	size_t len;
	int got = ftt_channel_receive(c, lanes, &h, &records, &len, &n);

	CHECK(got >= 0);
	if (!got)
		return 0;
	CHECK_EQ(ftt_record_get(records, len, &r), len);
	*quiet = h.quiet;
	return r.irs;
}

/* `before` quiet ones, a loud one, `after` quiet ones, and so again. */
static void test_order(struct ftt_channel *a, struct ftt_channel *b, uint32_t before, uint32_t after, uint32_t times)
{
	uint32_t number = 0, seen = 0, told = 0, got;
	bool quiet = false;

	for (uint32_t k = 0; k < times; k++) {
		for (uint32_t i = 0; i < before; i++)
			put(a, true, ++number);
		put(a, false, ++number);
		for (uint32_t i = 0; i < after; i++)
			put(a, true, ++number);
	}
	while ((got = get(b, FTT_ON_ANY, &quiet))) {
		if (quiet) {
			CHECK(got > told);
			told = got;
		} else { /* all before it was read */
			CHECK(seen >= got - 1);
		}
		seen++;
	}
	CHECK_EQ(seen, number);
}

/* A primary asks the loud lane alone. */
static void test_one_lane(struct ftt_channel *a, struct ftt_channel *b)
{
	bool quiet = false;

	put(a, true, 1);
	for (uint32_t i = 2; i < 40; i++)
		put(a, false, i);
	for (uint32_t i = 2; i < 40; i++)
		CHECK_EQ(get(b, FTT_ON_LOUD, &quiet), i);
	CHECK_EQ(get(b, FTT_ON_LOUD, &quiet), 0);
	CHECK_EQ(get(b, FTT_ON_QUIET, &quiet), 1);
	CHECK_EQ(get(b, FTT_ON_ANY, &quiet), 0);
	for (uint32_t i = 1; i < 40; i++) { /* nothing more was said: the next one is asked for anew */
		put(a, i & 1, i);
		CHECK_EQ(get(b, FTT_ON_ANY, &quiet), i);
		CHECK_EQ(get(b, FTT_ON_ANY, &quiet), 0);
	}
}

/* What was fetched belongs to its session. */
static void test_session(struct ftt_channel *a, struct ftt_channel *b)
{
	bool quiet = false;

	put(a, false, 1);
	put(a, false, 2);
	CHECK_EQ(get(b, FTT_ON_ANY, &quiet), 1);
	ftt_channel_follow(a, 0, SESSION + 1, PAIRING, FTT_CHANNEL_VERSION);
	ftt_channel_follow(b, 0, SESSION + 1, PAIRING, FTT_CHANNEL_VERSION);
	CHECK_EQ(get(b, FTT_ON_ANY, &quiet), 0);
	put(a, false, 3);
	CHECK_EQ(get(b, FTT_ON_ANY, &quiet), 3);
	CHECK_EQ(get(b, FTT_ON_ANY, &quiet), 0);
	CHECK_EQ(n.channel_bad_mac + n.channel_replay + n.channel_stale + n.channel_malformed, 0);
}

/* Between two pairings a stray arrives, and nothing else does; what waited before it leaves before it, in its own pairing. */
static void test_apart(struct ftt_channel *a, struct ftt_channel *b)
{
	struct ftt_record quiet = {.type = FTT_REC_OUTPUT, .key.proto = 6, .irs = 1, .quiet = true};
	struct ftt_record stray = {.type = FTT_REC_STRAY, .key.proto = 17, .irs = 2};
	struct ftt_record commit = {.type = FTT_REC_COMMIT, .key.proto = 6, .irs = 3};
	const struct ftt_record *sent[] = {&quiet, &stray, &commit};
	uint64_t stale = n.channel_stale, pairing;
	bool on_quiet;

	memset(stray.key.remote + 10, 0xff, 2);
	ftt_channel_put_record(a, 0, &quiet, &n);
	CHECK(ftt_channel_send_apart(a, 0, &stray, &n));
	CHECK(ftt_channel_send_apart(a, 0, &commit, &n)); /* nobody does so */
	CHECK(!ftt_channel_send_apart(a, 1, &stray, &n)); /* no such worker */
	for (int i = 0; i < 3; i++) {
		struct ftt_channel_header h;
		struct ftt_record r;
		const uint8_t *records;
		size_t len;

		CHECK_EQ(ftt_channel_receive(b, FTT_ON_ANY, &h, &records, &len, &n), 1);
		CHECK_EQ(h.count, 1);
		CHECK_EQ(ftt_record_get(records, len, &r), len);
		CHECK_EQ(r.irs, sent[i]->irs);
		pairing = i ? 0 : PAIRING;
		CHECK_EQ(h.pairing, pairing);
		CHECK_EQ(ftt_record_belongs(r.type, h.pairing, PAIRING), r.type != FTT_REC_COMMIT);
	}
	CHECK_EQ(get(b, FTT_ON_ANY, &on_quiet), 0);
	ftt_channel_follow(b, 0, SESSION + 1, PAIRING + 1, FTT_CHANNEL_VERSION); /* the other node is in the next one already */
	CHECK(ftt_channel_send_apart(a, 0, &stray, &n));
	CHECK_EQ(get(b, FTT_ON_ANY, &on_quiet), 2);
	CHECK_EQ(get(b, FTT_ON_ANY, &on_quiet), 0);
	put(a, false, 4);
	{
		struct ftt_channel_header h;
		const uint8_t *records;
		size_t len;

		CHECK_EQ(ftt_channel_receive(b, FTT_ON_ANY, &h, &records, &len, &n), -1);
	}
	CHECK_EQ(n.channel_stale, stale + 1);
}

/* Before it is known in which version to speak nothing leaves; what comes in another one is none of ours. */
static void test_versions(struct ftt_channel *a, struct ftt_channel *b)
{
	uint64_t sent = n.channel_datagrams_sent, malformed = n.channel_malformed;
	struct ftt_channel_header h;
	const uint8_t *records;
	size_t len;
	bool quiet;

	ftt_channel_follow(a, 0, SESSION + 1, PAIRING, 0);
	ftt_channel_follow(b, 0, SESSION + 1, PAIRING, FTT_CHANNEL_VERSION);
	put(a, false, 5);
	CHECK_EQ(n.channel_datagrams_sent, sent);
	ftt_channel_follow(a, 0, SESSION + 1, PAIRING, FTT_CHANNEL_VERSION + 1);
	put(a, false, 6);
	ftt_channel_begin(b);
	CHECK_EQ(ftt_channel_receive(b, FTT_ON_ANY, &h, &records, &len, &n), -1);
	ftt_channel_follow(a, 0, SESSION + 1, PAIRING, FTT_CHANNEL_VERSION);
	put(a, false, 7);
	ftt_channel_follow(b, 0, SESSION + 1, PAIRING, 0); /* is not told yet */
	ftt_channel_begin(b);
	CHECK_EQ(ftt_channel_receive(b, FTT_ON_ANY, &h, &records, &len, &n), -1);
	CHECK_EQ(n.channel_malformed, malformed + 2);
	ftt_channel_follow(b, 0, SESSION + 1, PAIRING, FTT_CHANNEL_VERSION);
	put(a, false, 8);
	ftt_channel_begin(b);
	CHECK_EQ(get(b, FTT_ON_ANY, &quiet), 8);
}

int main(void)
{
	static struct ftt_channel a, b;
	struct ftt_config ca, cb;
	char err[256] = "";

	CHECK(sodium_init() >= 0);
	if (!fake_private_network()) {
		printf("test_lanes: a network namespace of its own is not allowed here\n");
		return 77;
	}
	config(&ca, 1, 2, "127.0.0.1", "127.0.0.2");
	config(&cb, 2, 1, "127.0.0.2", "127.0.0.1");
	CHECK(ftt_lending_mutex(&ring.lock));
	ftt_keyring_set(&ring, &ca.keys);
	CHECK(!ftt_channel_open(&a, &ca, &ring, 0, err, sizeof(err)) && !ftt_channel_open(&b, &cb, &ring, 0, err, sizeof(err)));
	ftt_channel_follow(&a, 0, SESSION, PAIRING, FTT_CHANNEL_VERSION);
	ftt_channel_follow(&b, 0, SESSION, PAIRING, FTT_CHANNEL_VERSION);
	for (uint32_t before = 0; before < 20; before += 3)
		for (uint32_t after = 0; after < 10; after += 4)
			for (uint32_t times = 1; times < 12; times += 5)
				test_order(&a, &b, before, after, times);
	test_one_lane(&a, &b);
	test_session(&a, &b);
	test_apart(&a, &b);
	test_versions(&a, &b);
	ftt_channel_close(&a);
	ftt_channel_close(&b);
	return 0;
}
