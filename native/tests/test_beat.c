/* SPDX-License-Identifier: Apache-2.0 */
/* Heartbeats as bytes, what counts as new, and the lease: all of it pure, so exact times can be tried. */
#include <string.h>
#include "check.h"
#include "core/records/beat_wire.h"
#include "core/lease.h"

enum { D = 100 };

static uint8_t key[32] = {1, 2, 3};
static const uint8_t text[] = "opaque body";

static const struct ftt_beat_section section = {.group_id = 21, .boot_id = 22, .echo_t_ns = 13, .version = 3, .seen = 4,
						.body_len = sizeof(text), .flags = FTT_BEAT_GRANT | FTT_BEAT_BODY, .body = text};
static uint8_t sections[FTT_BEAT_SECTIONS_MAX];

static struct ftt_beat_msg sample_of(const struct ftt_beat_section *s, int n)
{
	struct ftt_beat_msg m = {.cluster_id = 0x1122334455667788, .node_id = 7, .to_node_id = 8, .boot_id = 9, .counter = 5,
				 .t_send_ns = UINT64_MAX, .echo_boot_id = 11, .intrusions = 17, .key_id = ftt_beat_key_id(key),
				 .link = 2, .n_sections = (uint8_t)n, .sections = sections};
	size_t len = 0;

	for (int i = 0; i < n; i++)
		CHECK(ftt_beat_put_section(sections, sizeof(sections), &len, &s[i]));
	m.sections_len = (uint16_t)len;
	return m;
}

static struct ftt_beat_msg sample(void)
{
	return sample_of(&section, 1);
}

static size_t encode(uint8_t out[FTT_BEAT_MAX], struct ftt_beat_msg m)
{
	size_t n = ftt_beat_encode(out, FTT_BEAT_MAX, &m, key);

	CHECK_EQ(n, FTT_BEAT_HEADER + m.sections_len + FTT_BEAT_MAC);
	return n;
}

/* Of a copy, since decoding opens what is sealed in its place. */
static enum ftt_beat_error decode(const uint8_t *p, size_t n, struct ftt_beat_msg *m)
{
	static uint8_t copy[FTT_BEAT_MAX + 1];

	memcpy(copy, p, n);
	return ftt_beat_decode(copy, n, key, ftt_beat_key_id(key), m);
}

static struct ftt_beat_section next(const struct ftt_beat_msg *m, size_t *at)
{
	struct ftt_beat_section s;

	CHECK(ftt_beat_get_section(m->sections, m->sections_len, at, &s));
	return s;
}

static void check_section(const struct ftt_beat_section *s, const struct ftt_beat_section *want)
{
	CHECK_EQ(s->group_id, want->group_id);
	CHECK_EQ(s->boot_id, want->boot_id);
	CHECK_EQ(s->echo_t_ns, want->echo_t_ns);
	CHECK_EQ(s->version, want->version);
	CHECK_EQ(s->seen, want->seen);
	CHECK_EQ(s->flags, want->flags);
	CHECK_EQ(s->body_len, want->body_len);
	CHECK(!memcmp(s->body, want->body, want->body_len));
}

static void test_round_trip(void)
{
	uint8_t bytes[FTT_BEAT_MAX], big[FTT_BEAT_BODY_MAX];
	struct ftt_beat_section three[3] = {section, section, section}, s;
	struct ftt_beat_msg m, got;
	size_t at = 0;

	memset(big, 0xa5, sizeof(big));
	three[0].flags = three[0].body_len = 0; /* the peer has it */
	three[1].body = big;
	three[1].body_len = sizeof(big);
	three[1].group_id = UINT64_MAX;
	three[2].body_len = 0; /* one without a byte is one all the same */
	m = sample_of(three, 3);
	CHECK_EQ(decode(bytes, encode(bytes, m), &got), FTT_BEAT_OK);
	CHECK_EQ(got.cluster_id, m.cluster_id);
	CHECK_EQ(got.node_id, m.node_id);
	CHECK_EQ(got.to_node_id, m.to_node_id);
	CHECK_EQ(got.intrusions, m.intrusions);
	CHECK_EQ(got.boot_id, m.boot_id);
	CHECK_EQ(got.counter, m.counter);
	CHECK_EQ(got.t_send_ns, m.t_send_ns);
	CHECK_EQ(got.echo_boot_id, m.echo_boot_id);
	CHECK_EQ(got.flags, m.flags);
	CHECK_EQ(got.link, m.link);
	CHECK_EQ(got.n_sections, 3);
	for (int i = 0; i < 3; i++) {
		s = next(&got, &at);
		check_section(&s, &three[i]);
	}
	CHECK(!ftt_beat_get_section(got.sections, got.sections_len, &at, &s));
}

/* Key id and MAC of sample() as another BLAKE2b (Python's hashlib) computes them. */
static void test_known_answer(void)
{
	static const uint8_t key_id[4] = {0x99, 0x7f, 0xb6, 0xd0};
	static const uint8_t mac[FTT_BEAT_MAC] = {0xe7, 0xb8, 0xb5, 0xbb, 0x02, 0x56, 0x2b, 0xec,
						  0xe1, 0x05, 0x4b, 0x2b, 0x06, 0x5c, 0x01, 0xe1};
	uint8_t bytes[FTT_BEAT_MAX];
	size_t n = encode(bytes, sample());

	CHECK(!memcmp(bytes + 8, key_id, sizeof(key_id)));
	CHECK(!memcmp(bytes + n - FTT_BEAT_MAC, mac, sizeof(mac)));
}

static void test_what_does_not_fit_is_refused(void)
{
	uint8_t bytes[FTT_BEAT_MAX];
	struct ftt_beat_msg m = sample();
	struct ftt_beat_section big = section;
	size_t len = 0;

	CHECK_EQ(ftt_beat_encode(bytes, FTT_BEAT_HEADER + FTT_BEAT_MAC + m.sections_len - 1u, &m, key), 0);
	m.sections_len = FTT_BEAT_SECTIONS_MAX + 1;
	CHECK_EQ(ftt_beat_encode(bytes, sizeof(bytes), &m, key), 0);
	CHECK(!ftt_beat_put_section(bytes, FTT_BEAT_SECTION + sizeof(text) - 1, &len, &section));
	big.body_len = FTT_BEAT_BODY_MAX + 1;
	CHECK(!ftt_beat_put_section(bytes, sizeof(bytes), &len, &big));
	CHECK_EQ(len, 0);
}

/* Every malformed shape has its own error, found before any MAC is computed. */
static void test_each_malformed_field_has_its_error(void)
{
	static const struct {
		int offset;
		uint8_t value;
		enum ftt_beat_error error;
	} cases[] = {{0, 'X', FTT_BEAT_E_MAGIC},      {3, 'X', FTT_BEAT_E_MAGIC},     {4, 2, FTT_BEAT_E_VERSION},
		     {4, 0, FTT_BEAT_E_VERSION},      {5, 1, FTT_BEAT_E_FLAGS},       {5, 0x80, FTT_BEAT_E_FLAGS},
		     {6, FTT_MAX_LINKS, FTT_BEAT_E_LINK}, {14, 1, FTT_BEAT_E_RESERVED}, {15, 1, FTT_BEAT_E_RESERVED},
		     {12, 0xff, FTT_BEAT_E_LENGTH},   {13, 0, FTT_BEAT_E_LENGTH},     {13, 255, FTT_BEAT_E_LENGTH},
		     {8, 0xff, FTT_BEAT_E_KEY_ID},    {16, 0, FTT_BEAT_E_MAC},        {FTT_BEAT_HEADER, 1, FTT_BEAT_E_MAC}};
	uint8_t bytes[FTT_BEAT_MAX + 1] = {0}, bad[FTT_BEAT_MAX];
	struct ftt_beat_msg got;
	size_t n = encode(bytes, sample());

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		memcpy(bad, bytes, n);
		bad[cases[i].offset] = cases[i].value;
		CHECK_EQ(decode(bad, n, &got), cases[i].error);
	}
	CHECK_EQ(decode(bytes, 0, &got), FTT_BEAT_E_SHORT);
	CHECK_EQ(decode(bytes, FTT_BEAT_MIN - 1, &got), FTT_BEAT_E_SHORT);
	CHECK_EQ(decode(bytes, n - 1, &got), FTT_BEAT_E_LENGTH);
	CHECK_EQ(decode(bytes, n + 1, &got), FTT_BEAT_E_LENGTH);
	CHECK_EQ(decode(bytes, FTT_BEAT_MAX + 1, &got), FTT_BEAT_E_LONG);
}

/* No single flipped bit goes unnoticed. */
static void test_every_bit_is_covered(uint8_t flags)
{
	uint8_t bytes[FTT_BEAT_MAX];
	struct ftt_beat_msg m = sample(), got;
	size_t n;

	m.flags |= flags;
	n = encode(bytes, m);

	for (size_t bit = 0; bit < n * 8; bit++) {
		bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
		CHECK(decode(bytes, n, &got) != FTT_BEAT_OK);
		bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
	}
	CHECK_EQ(decode(bytes, n, &got), FTT_BEAT_OK);
}

static void test_what_is_sealed_cannot_be_read(void)
{
	uint8_t bytes[FTT_BEAT_MAX], other[FTT_BEAT_MAX];
	struct ftt_beat_msg m = sample(), got;
	struct ftt_beat_section s;
	size_t n, at = 0;

	m.flags |= FTT_BEAT_SEALED;
	n = encode(bytes, m);
	CHECK(memcmp(bytes + FTT_BEAT_HEADER, sections, m.sections_len) != 0);
	CHECK(memcmp(bytes + FTT_BEAT_HEADER + FTT_BEAT_SECTION, text, sizeof(text)) != 0);
	CHECK_EQ(decode(bytes, n, &got), FTT_BEAT_OK);
	s = next(&got, &at);
	check_section(&s, &section);
	m.counter++; /* the same in the next beat looks different */
	CHECK_EQ(encode(other, m), n);
	CHECK(memcmp(bytes + FTT_BEAT_HEADER, other + FTT_BEAT_HEADER, sizeof(text)) != 0);
}

static void test_authentic_nonsense(void)
{
	static const struct {
		int offset;
		uint8_t value;
	} cases[] = {{15, 0}, {35, 1}, {34, 4}, {34, 0}, {27, 0}, {33, sizeof(text) + 1}, {33, sizeof(text) - 1}, {32, 0xff}};
	uint8_t bytes[FTT_BEAT_MAX];
	struct ftt_beat_msg m = sample(), got;

	m.boot_id = 0;
	CHECK_EQ(decode(bytes, encode(bytes, m), &got), FTT_BEAT_E_BOOT);
	m = sample();
	m.counter = 0;
	CHECK_EQ(decode(bytes, encode(bytes, m), &got), FTT_BEAT_E_COUNTER);
	m = sample();
	m.echo_boot_id = 0;
	CHECK_EQ(decode(bytes, encode(bytes, m), &got), FTT_BEAT_E_SECTION);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		m = sample();
		sections[cases[i].offset] = cases[i].value;
		CHECK_EQ(decode(bytes, encode(bytes, m), &got), FTT_BEAT_E_SECTION);
	}
	for (int n = 0; n < 3; n++) {
		m = sample();
		m.n_sections = (uint8_t)n;
		CHECK_EQ(decode(bytes, encode(bytes, m), &got), n == 1 ? FTT_BEAT_OK : FTT_BEAT_E_SECTION);
	}
	m = sample();
	CHECK_EQ(ftt_beat_check_place(&m, m.cluster_id, 7, 8), FTT_BEAT_OK);
	CHECK_EQ(ftt_beat_check_place(&m, 1, 7, 8), FTT_BEAT_E_CLUSTER);
	CHECK_EQ(ftt_beat_check_place(&m, m.cluster_id, 8, 7), FTT_BEAT_E_NODE);
	CHECK_EQ(ftt_beat_check_place(&m, m.cluster_id, 7, 9), FTT_BEAT_E_RECEIVER);
}

static void test_commit_session_is_common_to_both(void)
{
	uint64_t ours = ftt_beat_commit_session(1, 100, 2, 200);

	CHECK(ours != 0);
	CHECK(ours == ftt_beat_commit_session(2, 200, 1, 100));
	CHECK(ours != ftt_beat_commit_session(1, 200, 2, 100));
	CHECK(ours != ftt_beat_commit_session(1, 101, 2, 200));
}

static enum ftt_beat_news admit(struct ftt_beat_peer *p, uint64_t boot, uint64_t counter, int link, bool alive)
{
	struct ftt_beat_msg m = {.boot_id = boot, .counter = counter, .link = (uint8_t)link};

	return ftt_beat_admit(p, &m, 1, alive);
}

static void test_copies_on_other_links_are_no_replays(void)
{
	struct ftt_beat_peer p = {0};

	CHECK_EQ(admit(&p, 50, 10, 0, false), FTT_BEAT_NEW_BOOT);
	CHECK_EQ(admit(&p, 50, 10, 1, true), FTT_BEAT_COPY);
	CHECK_EQ(admit(&p, 50, 10, 0, true), FTT_BEAT_REPLAY);
	CHECK_EQ(admit(&p, 50, 10, 1, true), FTT_BEAT_REPLAY);
	CHECK_EQ(admit(&p, 50, 11, 1, true), FTT_BEAT_NEWEST);
	CHECK_EQ(admit(&p, 50, 11, 0, true), FTT_BEAT_COPY);
}

/* A link that lags far behind (its socket was drained last) is as good as another. */
static void test_lagging_link(void)
{
	struct ftt_beat_peer p = {0};

	CHECK_EQ(admit(&p, 50, 1, 0, false), FTT_BEAT_NEW_BOOT);
	CHECK_EQ(admit(&p, 50, 1000, 0, true), FTT_BEAT_NEWEST);
	for (uint64_t c = 1; c <= 1000; c++)
		CHECK_EQ(admit(&p, 50, c, 1, true), FTT_BEAT_COPY);
}

static void test_window(void)
{
	struct ftt_beat_window w = {0};

	CHECK_EQ(ftt_beat_window_accept(&w, 100), FTT_BEAT_COPY);
	CHECK_EQ(ftt_beat_window_accept(&w, 37), FTT_BEAT_STALE);
	CHECK_EQ(ftt_beat_window_accept(&w, 37), FTT_BEAT_REPLAY);
	CHECK_EQ(ftt_beat_window_accept(&w, 36), FTT_BEAT_REPLAY);
	CHECK_EQ(ftt_beat_window_accept(&w, 99), FTT_BEAT_STALE);
	CHECK_EQ(ftt_beat_window_accept(&w, 101), FTT_BEAT_COPY);
	CHECK_EQ(ftt_beat_window_accept(&w, 99), FTT_BEAT_REPLAY);
	CHECK_EQ(ftt_beat_window_accept(&w, 100), FTT_BEAT_REPLAY);
	CHECK_EQ(ftt_beat_window_accept(&w, 164), FTT_BEAT_COPY);
	CHECK_EQ(ftt_beat_window_accept(&w, 101), FTT_BEAT_REPLAY);
	CHECK_EQ(ftt_beat_window_accept(&w, 102), FTT_BEAT_STALE);
	CHECK_EQ(ftt_beat_window_accept(&w, UINT64_MAX), FTT_BEAT_COPY);
	CHECK_EQ(ftt_beat_window_accept(&w, UINT64_MAX), FTT_BEAT_REPLAY);
	CHECK_EQ(ftt_beat_window_accept(&w, 164), FTT_BEAT_REPLAY);
}

static void test_boots_only_go_forward(void)
{
	struct ftt_beat_msg proven = {.boot_id = 70, .counter = 1, .echo_boot_id = 1};
	struct ftt_beat_peer p = {0};

	CHECK_EQ(admit(&p, 50, 10, 0, false), FTT_BEAT_NEW_BOOT);
	CHECK_EQ(admit(&p, 60, 1, 0, true), FTT_BEAT_UNPROVEN); /* may be a recording */
	CHECK_EQ(admit(&p, 60, 1, 0, false), FTT_BEAT_NEW_BOOT);
	CHECK_EQ(admit(&p, 50, 11, 0, false), FTT_BEAT_REPLAY);
	CHECK_EQ(admit(&p, 50, 11, 1, true), FTT_BEAT_REPLAY);
	CHECK_EQ(ftt_beat_admit(&p, &proven, 1, true), FTT_BEAT_NEW_BOOT); /* it heard us: it is alive now */
	CHECK_EQ(admit(&p, 60, 2, 0, false), FTT_BEAT_REPLAY);
	CHECK_EQ(admit(&p, 70, 2, 0, true), FTT_BEAT_NEWEST);
}

/* A recording of an earlier boot takes the place of a silent one; that is let in again when it speaks, and then the recording is out. */
static void test_a_recording_shuts_nobody_out(void)
{
	struct ftt_beat_msg proven = {.boot_id = 50, .counter = 10, .echo_boot_id = 1}, next = {.boot_id = 60, .counter = 1, .echo_boot_id = 1};
	struct ftt_beat_peer p = {0};

	CHECK_EQ(ftt_beat_admit(&p, &proven, 1, false), FTT_BEAT_NEW_BOOT);
	CHECK_EQ(admit(&p, 40, 99, 0, false), FTT_BEAT_NEW_BOOT);
	proven.counter = 11;
	CHECK_EQ(ftt_beat_admit(&p, &proven, 1, true), FTT_BEAT_NEW_BOOT);
	CHECK_EQ(admit(&p, 40, 100, 0, false), FTT_BEAT_REPLAY);
	CHECK_EQ(admit(&p, 60, 1, 0, false), FTT_BEAT_NEW_BOOT); /* a real one, which has not heard us yet */
	next.counter = 2;
	CHECK_EQ(ftt_beat_admit(&p, &next, 1, true), FTT_BEAT_NEWEST);
	proven.counter = 12;
	CHECK_EQ(ftt_beat_admit(&p, &proven, 1, false), FTT_BEAT_REPLAY); /* now that is past */
}

static void test_granted_lease_counts_from_our_sending(void)
{
	struct ftt_lease l = {.worth_ns = D};

	ftt_lease_set_policy(&l, FTT_LEASE_GRANTED, 1000, 1000);
	CHECK_EQ(l.until_ns, 0);
	CHECK(!ftt_lease_ran_out(&l, 1000)); /* was never open: nothing to tell */
	ftt_lease_grant(&l, 0, 990, 1010);
	CHECK_EQ(l.until_ns, 990 + D);
	ftt_lease_grant(&l, 0, 980, 1010); /* an older echo shortens nothing */
	CHECK_EQ(l.until_ns, 990 + D);
	ftt_lease_grant(&l, 0, 1011, 1010); /* we have not sent that yet */
	CHECK_EQ(l.until_ns, 990 + D);
	ftt_lease_renew(&l, 1020); /* ticks extend SELF only */
	CHECK_EQ(l.until_ns, 990 + D);
	CHECK(!ftt_lease_ran_out(&l, 1089));
	CHECK(ftt_lease_ran_out(&l, 1090));
	CHECK(!ftt_lease_ran_out(&l, 1091)); /* told once */
	ftt_lease_grant(&l, 0, 1080, 1100);
	CHECK_EQ(l.until_ns, 1080 + D);
	CHECK(ftt_lease_ran_out(&l, 1180));
}

static void test_no_lease_reaches_beyond_its_limit(void)
{
	struct ftt_lease l = {.worth_ns = D, .limit_ns = 1150};

	ftt_lease_set_policy(&l, FTT_LEASE_SELF, 1000, 1000);
	CHECK_EQ(l.until_ns, 1000 + D);
	ftt_lease_renew(&l, 1090);
	CHECK_EQ(l.until_ns, 1150);
	ftt_lease_grant(&l, 0, 1100, 1110); /* what a peer grants is noted in full, and cut when it is used */
	ftt_lease_set_policy(&l, FTT_LEASE_GRANTED, 1120, 1120);
	CHECK_EQ(l.until_ns, 1150);
	CHECK(ftt_lease_ran_out(&l, 1150));
	l.limit_ns = 0;
	ftt_lease_set_policy(&l, FTT_LEASE_GRANTED, 1160, 1160);
	CHECK_EQ(l.until_ns, 1100 + D);
}

static void test_self_lease_is_not_renewed_after_it_ran_out(void)
{
	struct ftt_lease l = {.worth_ns = D};

	ftt_lease_set_policy(&l, FTT_LEASE_SELF, 1000, 1000);
	CHECK_EQ(l.until_ns, 1000 + D);
	ftt_lease_renew(&l, 1099);
	CHECK_EQ(l.until_ns, 1099 + D);
	ftt_lease_renew(&l, 1050); /* a clock reading from before: no harm */
	CHECK_EQ(l.until_ns, 1099 + D);
	ftt_lease_renew(&l, 1099 + D); /* stopped for D */
	CHECK_EQ(l.until_ns, 1099 + D);
	CHECK(ftt_lease_ran_out(&l, 1099 + D));
	ftt_lease_renew(&l, 1099 + D);
	CHECK_EQ(l.until_ns, 1099 + D);
	ftt_lease_set_policy(&l, FTT_LEASE_SELF, 5000, 5000);
	CHECK_EQ(l.until_ns, 5000 + D);
}

/* The host was stopped between the decision and the order: what was true then may not be true now. */
static void test_a_self_lease_counts_from_its_decision(void)
{
	struct ftt_lease l = {.worth_ns = D};

	ftt_lease_set_policy(&l, FTT_LEASE_SELF, 1000, 1060);
	CHECK_EQ(l.until_ns, 1000 + D);
	ftt_lease_renew(&l, 1090);
	ftt_lease_set_policy(&l, FTT_LEASE_SELF, 1040, 1095); /* again, and late: it was kept up meanwhile */
	CHECK_EQ(l.until_ns, 1090 + D);
	l.limit_ns = 1150;
	ftt_lease_set_policy(&l, FTT_LEASE_SELF, 1096, 1097);
	CHECK_EQ(l.until_ns, 1150);
	l.limit_ns = 0;
	ftt_lease_set_policy(&l, FTT_LEASE_NONE, 1100, 1100);
	ftt_lease_set_policy(&l, FTT_LEASE_SELF, 1110, 1110 + D);
	ftt_lease_renew(&l, 1110 + D);
	CHECK_EQ(l.until_ns, 1110 + D);
	CHECK(ftt_lease_ran_out(&l, 1110 + D)); /* it is told, so that somebody looks again */
	ftt_lease_set_policy(&l, FTT_LEASE_SELF, 9000, 2000); /* decided in the future: by a wrong caller */
	CHECK_EQ(l.until_ns, 2000 + D);
}

static void test_none_shuts_at_once_and_voids_grants(void)
{
	struct ftt_lease l = {.worth_ns = D};

	ftt_lease_set_policy(&l, FTT_LEASE_SELF, 1000, 1000);
	ftt_lease_grant(&l, 0, 1000, 1001);
	ftt_lease_set_policy(&l, FTT_LEASE_NONE, 1010, 1010);
	CHECK_EQ(l.until_ns, 0);
	CHECK(!ftt_lease_ran_out(&l, 1010)); /* it was taken, it did not lapse */
	ftt_lease_renew(&l, 1011);
	ftt_lease_grant(&l, 0, 1009, 1012); /* the echo of a beat from before */
	ftt_lease_set_policy(&l, FTT_LEASE_GRANTED, 1020, 1020);
	CHECK_EQ(l.until_ns, 0);
	ftt_lease_grant(&l, 0, 1009, 1021);
	CHECK_EQ(l.until_ns, 0);
	ftt_lease_grant(&l, 0, 1015, 1022);
	CHECK_EQ(l.until_ns, 1015 + D);
}

/* The backup's promise binds from the change on, though the SELF lease reached further. */
static void test_self_to_granted_is_what_was_granted(void)
{
	struct ftt_lease l = {.worth_ns = D};

	ftt_lease_set_policy(&l, FTT_LEASE_SELF, 1000, 1000);
	ftt_lease_grant(&l, 0, 960, 1000);
	CHECK_EQ(l.until_ns, 1000 + D);
	ftt_lease_set_policy(&l, FTT_LEASE_GRANTED, 1010, 1010);
	CHECK_EQ(l.until_ns, 960 + D);
	CHECK(ftt_lease_ran_out(&l, 1060));
}

/* Only the partner's promise counts; those of others are kept for the day on which one of them is the partner. */
static void test_grants_of_others_wait_for_their_day(void)
{
	struct ftt_lease l = {.worth_ns = D};

	ftt_lease_set_policy(&l, FTT_LEASE_GRANTED, 1000, 1000);
	ftt_lease_grant(&l, 1, 1000, 1001);
	CHECK_EQ(l.until_ns, 0);
	ftt_lease_grant(&l, 0, 1010, 1011);
	CHECK_EQ(l.until_ns, 1010 + D);
	ftt_lease_set_partner(&l, 1, 1020);
	CHECK_EQ(l.until_ns, 1000 + D);
	ftt_lease_grant(&l, 0, 1030, 1031);
	CHECK_EQ(l.until_ns, 1000 + D);
	ftt_lease_set_partner(&l, 2, 1040);
	CHECK_EQ(l.until_ns, 0);
	CHECK(ftt_lease_ran_out(&l, 1040));
	ftt_lease_set_policy(&l, FTT_LEASE_SELF, 1050, 1050);
	ftt_lease_set_partner(&l, 0, 1060); /* a lease of one's own asks for nobody's grant */
	CHECK_EQ(l.until_ns, 1050 + D);
	ftt_lease_set_policy(&l, FTT_LEASE_GRANTED, 1070, 1070);
	CHECK_EQ(l.until_ns, 1030 + D);
}

int main(void)
{
	CHECK(sodium_init() >= 0);
	test_round_trip();
	test_known_answer();
	test_what_does_not_fit_is_refused();
	test_each_malformed_field_has_its_error();
	test_every_bit_is_covered(0);
	test_every_bit_is_covered(FTT_BEAT_SEALED);
	test_what_is_sealed_cannot_be_read();
	test_authentic_nonsense();
	test_commit_session_is_common_to_both();
	test_copies_on_other_links_are_no_replays();
	test_lagging_link();
	test_window();
	test_boots_only_go_forward();
	test_a_recording_shuts_nobody_out();
	test_granted_lease_counts_from_our_sending();
	test_no_lease_reaches_beyond_its_limit();
	test_self_lease_is_not_renewed_after_it_ran_out();
	test_a_self_lease_counts_from_its_decision();
	test_none_shuts_at_once_and_voids_grants();
	test_self_to_granted_is_what_was_granted();
	test_grants_of_others_wait_for_their_day();
	return 0;
}
