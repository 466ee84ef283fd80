/* SPDX-License-Identifier: Apache-2.0 */
/* Keys are exchanged in three stages under running heartbeats and commits, and nothing is lost on the way. */
#include <string.h>
#include "beat_rig.h"
#include "engine/channel/channel.h"
#include "check.h"

static struct ftt_engine a, b;
static const struct ftt_keys old = {.key = {{42}}, .n = 1};
static const struct ftt_keys both = {.key = {{42}, {43}}, .n = 2, .send = 0};
static const struct ftt_keys turned = {.key = {{42}, {43}}, .n = 2, .send = 1};
static const struct ftt_keys new = {.key = {{43}}, .n = 1};
/* What alpha and beta have, step by step: at no time do both have to change at once. */
static const struct ftt_keys *const steps[][2] = {{&old, &old}, {&both, &old}, {&both, &both}, {&turned, &both},
						  {&turned, &turned}, {&turned, &new}, {&new, &new}};
enum { STEPS = sizeof(steps) / sizeof(steps[0]) };

static void test_beats_know_no_gap(bool encrypt)
{
	configure(&a, ALPHA, 111);
	configure(&b, BETA, 222);
	start_on(&a, open_node(&a, encrypt)); /* beta need not know */
	start(&b);
	fake_wait(&a, FTT_EV_PEER_UP);
	fake_wait(&b, FTT_EV_PEER_UP);
	set_lease(&a, FTT_LEASE_GRANTED);
	fake_set_mode(&a, FTT_MODE_PAIRED);
	publish(&b, "granting", 1);
	wait_body(&a, "granting");
	for (int i = 0; i < STEPS; i++) {
		char body[32];

		CHECK(!ftt_liveness_set_keys(a.beat->node, steps[i][0]));
		CHECK(!ftt_liveness_set_keys(b.beat->node, steps[i][1]));
		snprintf(body, sizeof(body), "step %d", i);
		publish(&a, body, 0);
		publish(&b, body, 1);
		wait_body(&a, body);
		wait_body(&b, body);
	}
	CHECK_EQ(fake_posted(&a, FTT_EV_INTRUSION) + fake_posted(&b, FTT_EV_INTRUSION), 0);
	CHECK_EQ(fake_posted(&a, FTT_EV_LEASE_LAPSED) + fake_posted(&a, FTT_EV_PEER_LOST), 0);
	CHECK_EQ(a.counters_beat.beats_bad_mac + b.counters_beat.beats_bad_mac, 0);
	/* and the old key is worth nothing any more */
	CHECK(!ftt_liveness_set_keys(b.beat->node, &old));
	CHECK_EQ(fake_wait(&a, FTT_EV_INTRUSION).value, FTT_INTRUSION_MAC);
	fake_wait(&a, FTT_EV_PEER_LOST);
	stop(&b);
	stop(&a);
}

static void open_channel(struct ftt_channel *c, struct ftt_engine *e)
{
	char err[200];

	CHECK(ftt_lending_mutex(&e->keyring.lock));
	ftt_keyring_set(&e->keyring, &old);
	e->cfg.workers = 1;
	CHECK(!ftt_channel_open(c, &e->cfg, &e->keyring, 0, err, sizeof(err)));
}

/* One record from each to the other. */
static void exchange(struct ftt_channel *from, struct ftt_channel *to, bool believed)
{
	struct ftt_record r = {.type = FTT_REC_PROBE, .key.proto = 6, .irs = 9};
	struct ftt_counters n = {0};
	struct ftt_channel_header h;
	const uint8_t *records;
	size_t len;

	ftt_channel_put_record(from, 0, &r, &n);
	ftt_channel_flush(from, &n);
	CHECK_EQ(n.channel_datagrams_sent, 1);
	CHECK_EQ(ftt_channel_receive(to, FTT_ON_ANY, &h, &records, &len, &n), believed ? 1 : -1);
	CHECK_EQ(ftt_channel_receive(to, FTT_ON_ANY, &h, &records, &len, &n), 0);
	CHECK_EQ(n.channel_bad_mac, believed ? 0 : 1);
}

static void test_commits_know_no_gap(void)
{
	static struct ftt_channel ca, cb;

	configure(&a, ALPHA, 111);
	configure(&b, BETA, 222);
	open_channel(&ca, &a);
	open_channel(&cb, &b);
	for (int i = 0; i < STEPS; i++) {
		ftt_keyring_set(&a.keyring, steps[i][0]);
		ftt_keyring_set(&b.keyring, steps[i][1]);
		ftt_channel_follow(&ca, 0, 77, 5, FTT_CHANNEL_VERSION);
		ftt_channel_follow(&cb, 0, 77, 5, FTT_CHANNEL_VERSION);
		exchange(&ca, &cb, true);
		exchange(&cb, &ca, true);
	}
	ftt_keyring_set(&b.keyring, &old);
	ftt_channel_follow(&cb, 0, 77, 5, FTT_CHANNEL_VERSION);
	exchange(&cb, &ca, false);
	ftt_channel_close(&ca);
	ftt_channel_close(&cb);
	fake_engine_free(&a);
	fake_engine_free(&b);
}

int main(void)
{
	if (!fake_private_network()) {
		fprintf(stderr, "needs a network namespace of its own: run as root, or allow user namespaces\n");
		return SKIPPED;
	}
	test_beats_know_no_gap(false);
	test_beats_know_no_gap(true);
	test_commits_know_no_gap();
	return 0;
}
