/* SPDX-License-Identifier: Apache-2.0 */
/* Signatures: MD5 against its own vectors, segments against a kernel's, and what an engine does with peers that sign. */
#define _GNU_SOURCE
#include "signed_node.h"

static void from_hex(uint8_t *to, const char *hex, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		unsigned byte;

		CHECK_EQ(sscanf(hex + 2 * i, "%2x", &byte), 1);
		to[i] = (uint8_t)byte;
	}
}

/* RFC 1321 A.5 */
static void test_md5_vectors(void)
{
	static const struct {
		const char *text, *digest;
	} vector[] = {
		{"", "d41d8cd98f00b204e9800998ecf8427e"},
		{"a", "0cc175b9c0f1b6a831c399e269772661"},
		{"abc", "900150983cd24fb0d6963f7d28e17f72"},
		{"message digest", "f96b697d7cb7938d525a2f31aaf161d0"},
		{"abcdefghijklmnopqrstuvwxyz", "c3fcd3d76192e4007dfb496cca67e13b"},
		{"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789", "d174ab98d277d9f5a5611c2c9f419d9f"},
		{"12345678901234567890123456789012345678901234567890123456789012345678901234567890", "57edf4a22be3c955ac49da2e2107b67a"},
	};

	for (size_t i = 0; i < sizeof(vector) / sizeof(*vector); i++) {
		uint8_t want[FTT_MD5_BYTES], got[FTT_MD5_BYTES];
		const uint8_t *text = (const uint8_t *)vector[i].text;
		size_t n = strlen(vector[i].text);

		from_hex(want, vector[i].digest, sizeof(want));
		for (size_t cut = 0; cut <= n; cut++) { /* in whichever pieces */
			struct ftt_md5 m;

			ftt_md5_begin(&m);
			ftt_md5_add(&m, text, cut);
			ftt_md5_add(&m, text + cut, n - cut);
			ftt_md5_end(&m, got);
			CHECK(!memcmp(got, want, sizeof(got)));
		}
	}
}

/* Segments that Linux 6.18 has sent over its loopback interface, with the key "secret of both". */
static const char *const of_linux[] = {
	"45000048c7264000400675877f0000017f000001da9400b356c3987b00000000d002ffd7fe3c000001011312cd500862b169a395219a7653682d43f1"
	"0204ffd7010104020103030a",
	"45000045c7284000400675887f0000017f000001da9400b356c3987cdc8210a6a0180040fe39000001011312f9ace1999d48af4482094179e3b1aa00"
	"6b656570616c697665",
	"6004f113003406400000000000000000000000000000000100000000000000000000000000000001d9de00b30483546300000000d002ffc4003c0000"
	"01011312e1600916daceadc0b8fe059b848cd88d0204ffc4010104020103030a",
	"6004f113003106400000000000000000000000000000000100000000000000000000000000000001d9de00b3048354640a14732aa018004000390000"
	"010113124cc2c642e7a37696fc66f34b5dedb90a6b656570616c697665",
};

static void test_segments_of_a_kernel(void)
{
	const struct ftt_md5_key key = key_with((uint8_t[16]){0}, 0, "secret of both"), other = key_with((uint8_t[16]){0}, 0, "secret of none");

	for (size_t i = 0; i < sizeof(of_linux) / sizeof(*of_linux); i++) {
		const struct ftt_edit edit = {.change = FTT_EDIT_SEQ | FTT_EDIT_WND, .seq = 77, .wnd = 5};
		uint8_t p[256], before[256];
		uint32_t len = (uint32_t)strlen(of_linux[i]) / 2;
		struct ftt_pkt k;
		struct ftt_seg s;

		from_hex(p, of_linux[i], len);
		memcpy(before, p, len);
		CHECK_EQ(ftt_parse(p, len, len, &k, &s), FTT_PARSED_TCP);
		CHECK(ftt_seal_holds(p, &k, &key));
		CHECK(!ftt_seal_holds(p, &k, &other));
		ftt_apply(p, &k, &edit, false);
		CHECK(!ftt_seal_holds(p, &k, &key));
		ftt_seal(p, &k, &key);
		CHECK(ftt_seal_holds(p, &k, &key));
		CHECK_EQ(ftt_l4_sum(p, &k), 0xffff);
		CHECK(!memcmp(p + k.payload, before + k.payload, k.payload_len));
		if (k.payload_len) {
			p[k.payload] ^= 1;
			CHECK(!ftt_seal_holds(p, &k, &key));
		}
	}
}

/* Segments of our own have the option where their flow does, and never more options than a header holds. */
static void test_own_segments(void)
{
	static const uint8_t data[] = "data";
	uint8_t ends[2][16] = {{[10] = 0xff, 0xff, 10, 0, 0, 1}, {0xfd, [15] = 1}};

	for (int family = 0; family < 2; family++) {
		const struct ftt_md5_key key = key_with(ends[family], 128, "k");

		for (int i = 0; i < 8; i++) {
			struct ftt_bare b = {.src = ends[family], .dst = ends[family], .sport = 1, .dport = 2, .seq = 3, .ack = 4, .flags = TCP_ACK,
					     .timestamps = i & 1, .tsval = 5, .tsecr = 6, .sack_left = 7, .sack_right = i & 2 ? 9 : 7,
					     .seal = i & 4 ? &key : NULL};
			uint8_t p[FTT_BARE_MAX + sizeof(data)];
			uint32_t len = (uint32_t)ftt_build_segment(p, &b, data, sizeof(data));
			struct ftt_pkt k;
			struct ftt_seg s;

			CHECK(len <= sizeof(p));
			CHECK_EQ(ftt_parse(p, len, len, &k, &s), FTT_PARSED_TCP);
			CHECK_EQ(ftt_l4_sum(p, &k), 0xffff);
			CHECK_EQ(k.payload_len, sizeof(data));
			CHECK_EQ(!!k.md5_at, !!(i & 4));
			CHECK(!k.md5_at || ftt_seal_holds(p, &k, &key));
			CHECK_EQ(!!(s.options & FTT_OPT_TS), i & 1);
			CHECK(!(s.options & FTT_OPT_TS) || (s.tsval == 5 && s.tsecr == 6));
			CHECK_EQ(!!(s.options & FTT_OPT_SACK), (i & 2) && (i & 5) != 5);
			CHECK(!(s.options & FTT_OPT_BAD));
		}
	}
}

/* The longest without data: with all options that fit, and the octet that asks. */
static void test_room_of_a_bare_one(void)
{
	static const uint8_t end[16] = {0xfd, [15] = 1};
	const struct ftt_md5_key key = key_with(end, 128, "k");
	const struct ftt_bare b = {.src = end, .dst = end, .flags = TCP_ACK, .timestamps = true, .octet = true, .sack_right = 9, .seal = &key};
	uint8_t p[FTT_BARE_MAX + 8];

	CHECK_EQ(ftt_build_bare(p, &b), FTT_BARE_MAX);
}

static void test_whose_key(void)
{
	uint8_t peer[16] = {[10] = 0xff, 0xff, 10, 1, 2, 3}, other[16] = {[10] = 0xff, 0xff, 10, 1, 3, 3}, v6[16] = {0xfd, 0x77, [15] = 9};
	struct ftt_md5_key keys[] = {key_with(peer, 128, "host"), key_with(peer, 118, "net"), key_with(v6, 16, "v6"), key_with(v6, 0, "all")};

	CHECK_EQ(ftt_md5_key_of(keys, 4, peer), &keys[0]);
	CHECK_EQ(ftt_md5_key_of(keys, 4, other), &keys[1]); /* 10.1.0.0/22 */
	other[14] = 4;
	CHECK_EQ(ftt_md5_key_of(keys, 4, other), NULL); /* not of ::/0 */
	v6[15] = 8;
	CHECK_EQ(ftt_md5_key_of(keys, 4, v6), &keys[2]);
	v6[0] = 0xfe;
	CHECK_EQ(ftt_md5_key_of(keys, 4, v6), &keys[3]);
	CHECK_EQ(ftt_md5_key_of(keys, 3, v6), NULL);
	keys[3] = key_with((uint8_t[16]){[10] = 0xff, 0xff}, 96, "all of IPv4");
	CHECK_EQ(ftt_md5_key_of(keys, 4, other), &keys[3]);
	CHECK_EQ(ftt_md5_key_of(keys, 4, v6), NULL);
	CHECK_EQ(ftt_md5_key_of(keys, 0, v6), NULL);
}

/* As tcp_inbound_hash() of Linux (net/ipv4/tcp.c): expected and not there, there and not expected, wrong. */
static void test_who_is_taken(void)
{
	struct ftt_flow none = {.protection = FTT_PROTECTED}, plain = {.protection = FTT_UNPROTECTED}, ours = none, alien = plain;

	ours.hard.signer = FTT_SIGNED_OURS;
	alien.hard.signer = FTT_SIGNED_ALIEN;
	for (uint8_t signer = FTT_SIGNED_NOT; signer <= FTT_SIGNED_OURS; signer++) {
		struct ftt_seg s = {.signer = signer};

		for (int has_key = signer == FTT_SIGNED_OURS; has_key < 2; has_key++) {
			CHECK(ftt_signed_well(&alien, &s, has_key));
			CHECK_EQ(ftt_signed_well(&ours, &s, has_key), signer == FTT_SIGNED_OURS);
			CHECK_EQ(ftt_signed_well(NULL, &s, has_key), signer != FTT_SIGNED_ALIEN || !has_key);
			CHECK_EQ(ftt_signed_well(&plain, &s, has_key), signer != FTT_SIGNED_ALIEN || !has_key);
			CHECK_EQ(ftt_signed_well(&none, &s, has_key), signer == FTT_SIGNED_NOT || (signer == FTT_SIGNED_ALIEN && !has_key));
		}
	}
}

/* --- the engine ------------------------------------------------------------------------------------- */

/* A backup's stack has other numbers: what it is given is signed anew, and so is what it says after a takeover. */
static void test_a_backup_that_takes_over(void)
{
	struct ftt_record open = {.type = FTT_REC_OPEN, .irs = IRS, .service_iss = OURS, .key = key_of(PORT)};
	struct node *n = open_signed(FTT_MODE_BACKUP);
	struct ftt_seg s;
	struct ftt_tcp *c;

	push(n, true, TCP_SYN, IRS, 0, &wrong, "");
	CHECK_EQ(handled(n, &s), 0);
	CHECK(!find(n, PORT));
	CHECK_EQ(n->worker.n.bad_signatures, 1);
	push(n, true, TCP_SYN, IRS, 0, &shared, "");
	CHECK_EQ(handled(n, &s), 1);
	push(n, false, TCP_SYN | TCP_ACK, LOCAL, IRS + 1, &shared, "");
	CHECK_EQ(handled(n, &s), 0);
	node_hears(n, &open);
	c = find(n, PORT);
	CHECK(c && c->flow.protection == FTT_PROTECTED && c->flow.hard.signer == FTT_SIGNED_OURS);
	CHECK_EQ(c->flow.mss, 536 - 20);
	c->flow.sent = OURS + 1;
	push(n, true, TCP_ACK, IRS + 1, OURS + 1, &shared, "hello");
	CHECK_EQ(handled(n, &s), 1);
	CHECK_EQ(s.ack, LOCAL + 1);
	CHECK_EQ(s.len, 5);
	push(n, true, TCP_ACK, IRS + 6, OURS + 1, &wrong, "forged"); /* to whom knows every number, but not the key */
	push(n, true, TCP_ACK, IRS + 6, OURS + 1, NULL, "forged");
	push(n, true, TCP_RST, IRS + 6, 0, NULL, "");
	CHECK_EQ(handled(n, &s), 0);
	CHECK_EQ(n->worker.n.bad_signatures, 4);
	CHECK_EQ(c->flow.client_nxt, IRS + 6);
	CHECK(!(c->flow.bits & FTT_F_CLIENT_RST));
	push(n, false, TCP_ACK, LOCAL + 1, IRS + 6, &shared, "");
	CHECK_EQ(handled(n, &s), 0);
	CHECK_EQ(n_heard, 0);
	node_role(n, FTT_MODE_SOLO, 1);
	CHECK(n_heard >= 1 && heard_sealed); /* our own word to the client */
	CHECK_EQ(heard.seq, OURS + 1);
	n_heard = 0;
	push(n, false, TCP_ACK | TCP_PSH, LOCAL + 1, IRS + 6, &shared, "answer");
	handled(n, &s);
	CHECK_EQ(n_heard, 1);
	CHECK(heard_sealed);
	CHECK_EQ(heard.seq, OURS + 1);
	push(n, true, TCP_ACK, IRS + 6, OURS + 7, &wrong, "forged"); /* with numbers of the service space it is nothing for this stack */
	CHECK_EQ(handled(n, &s), 0);
	CHECK_EQ(n->worker.n.bad_signatures, 5);
	ftt_tcp_reset_client(&n->worker, c, model_now);
	CHECK_EQ(c->flow.protection, FTT_RESETTING);
	CHECK(heard_sealed && heard.len == 1); /* asked for its place */
	push(n, true, TCP_ACK, IRS + 6, OURS + 7, &wrong, "");
	n_heard = 0;
	handled(n, &s);
	CHECK_EQ(n_heard, 0); /* whoever answers in its name tells nothing of it */
	push(n, true, TCP_ACK, IRS + 6, OURS + 7, &shared, "");
	handled(n, &s);
	CHECK(n_heard && heard_sealed && heard.flags == TCP_RST && heard.seq == OURS + 7);
	node_close(n);
}

/* Without the key it is as ever: known, and told to be unprotected. With another one than the kernel's, too. */
static void test_keys_that_are_none(void)
{
	struct node *n = open_signed(FTT_MODE_PAIRED);
	struct ftt_tcp *c;

	n->given = NULL;
	push(n, true, TCP_SYN, IRS, 0, &wrong, ""); /* its kernel may know that key */
	node_run(n);
	CHECK(!find(n, PORT));
	push(n, false, TCP_SYN | TCP_ACK, OURS, IRS + 1, &wrong, "");
	node_run(n);
	CHECK_EQ(n->events[FTT_EV_UNSUPPORTED], 1);
	CHECK_EQ(n_heard, 1); /* it is served */
	n->engine.cfg.n_md5 = 0;
	push(n, true, TCP_SYN, IRS, 0, &shared, "");
	node_run(n);
	c = find(n, PORT);
	CHECK(c && c->flow.protection == FTT_UNPROTECTED && c->flow.reason == FTT_WHY_SIGNED);
	CHECK_EQ(n->events[FTT_EV_UNSUPPORTED], 2);
	node_close(n);
}

/* A primary whose backup would sign with another key is told that it does not follow. */
static void test_a_backup_without_the_key(void)
{
	struct ftt_record open = {.type = FTT_REC_OPEN, .irs = IRS, .service_iss = OURS, .key = key_of(PORT)};
	struct node *n = open_signed(FTT_MODE_BACKUP);

	n->given = NULL;
	n->engine.cfg.n_md5 = 0;
	push(n, true, TCP_SYN, IRS, 0, &shared, "");
	node_run(n);
	push(n, false, TCP_SYN | TCP_ACK, LOCAL, IRS + 1, &shared, "");
	node_run(n);
	told = 0;
	node_hears(n, &open);
	CHECK_EQ(told, FTT_REC_REFUSED);
	node_close(n);
}

int main(void)
{
	test_md5_vectors();
	test_segments_of_a_kernel();
	test_own_segments();
	test_room_of_a_bare_one();
	test_whose_key();
	test_who_is_taken();
	test_a_backup_that_takes_over();
	test_keys_that_are_none();
	test_a_backup_without_the_key();
	return 0;
}
