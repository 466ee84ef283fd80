/* SPDX-License-Identifier: Apache-2.0 */
/* ICMP errors: what is read of them, which number a quotation gets, and that every checksum stays right. */
#include "check.h"
#include "flows.h"
#include "core/packet/icmp.h"
#include "packet.h"

/* An error of this type about p, of which `n` bytes from the IP header on are quoted. */
static struct packet error_about(const struct packet *p, int family, uint8_t type, uint8_t code, uint32_t word, uint32_t n)
{
	uint8_t body[1200] = {type, code};
	struct packet_spec w = {.family = family, .proto = family == 4 ? 1 : 58};
	struct packet e = {0};

	put_be32(body + 4, word);
	CHECK(n <= p->len && n + 8 <= sizeof(body));
	memcpy(body + 8, p->bytes, n);
	e.l4 = packet_ip(e.bytes, &w, 8 + n);
	e.len = e.l4 + 8 + n;
	memcpy(e.bytes + e.l4, body, 8 + n);
	put_be16(e.bytes + e.l4 + 2, (uint16_t)~(family == 4 ? packet_sum(0, e.bytes + e.l4, 8 + n)
							     : packet_l4_sum(e.bytes, e.l4, e.len, 58)));
	return e;
}

static uint32_t icmp_sum(const struct packet *e, int family)
{
	return family == 4 ? packet_sum(0, e->bytes + e->l4, e->len - e->l4) : packet_l4_sum(e->bytes, e->l4, e->len, 58);
}

/* A segment of 5 bytes, and a datagram, of the service. */
static struct packet segment(int family)
{
	const struct packet_spec w = {.family = family, .sport = 80, .dport = 40000, .seq = 0x11223344, .ack = 7,
				      .flags = TCP_ACK, .payload = (const uint8_t *)"hello", .payload_len = 5};

	return packet_tcp(&w);
}

static struct packet datagram(int family, bool summed)
{
	struct packet_spec w = {.family = family, .proto = 17};
	struct packet p = {0};

	p.l4 = packet_ip(p.bytes, &w, 12);
	p.len = p.l4 + 12;
	put_be16(p.bytes + p.l4, 69);
	put_be16(p.bytes + p.l4 + 2, 5000);
	put_be16(p.bytes + p.l4 + 4, 12);
	if (summed)
		put_be16(p.bytes + p.l4 + 6, (uint16_t)~packet_l4_sum(p.bytes, p.l4, p.len, 17));
	return p;
}

static bool quoted(const struct packet *e, uint32_t cap, struct ftt_pkt *k, struct ftt_quote *q)
{
	struct ftt_seg s;
	enum ftt_parsed kind = ftt_parse(e->bytes, cap, e->len, k, &s);

	return kind == FTT_PARSED_OTHER && ftt_parse_quote(e->bytes, cap, k, q);
}

static void test_sequence_numbers(int family)
{
	struct packet p = segment(family);
	uint8_t type = family == 4 ? 3 : 2, code = family == 4 ? 4 : 0;

	for (uint32_t n = p.l4 + 8; n <= p.len; n++) { /* routers quote 8 bytes of the transport header, or more (RFC 1812) */
		struct packet e = error_about(&p, family, type, code, 1400, n);
		struct ftt_quote q;
		struct ftt_pkt k;

		CHECK(quoted(&e, e.len, &k, &q));
		CHECK_EQ(q.pkt.proto, 6);
		CHECK_EQ(q.pkt.sport, 80);
		CHECK_EQ(q.pkt.dport, 40000);
		CHECK_EQ(q.seq, 0x11223344);
		CHECK_EQ(q.mtu, 1400);
		CHECK(!q.unreachable);
		ftt_quote_put_seq(e.bytes, &k, &q, 0xfedcba98);
		CHECK_EQ(get_be32(e.bytes + q.pkt.l4 + 4), 0xfedcba98);
		CHECK_EQ(icmp_sum(&e, family), 0xffff);
		if (n == p.len)
			CHECK_EQ(packet_l4_sum(e.bytes + e.l4 + 8, p.l4, p.len, 6), 0xffff);
	}
}

static void test_ports(int family, bool summed)
{
	struct packet p = datagram(family, summed), e;
	struct ftt_quote q;
	struct ftt_pkt k;

	for (uint32_t at = 0; at <= 2; at += 2) {
		e = error_about(&p, family, family == 4 ? 3 : 1, family == 4 ? 3 : 4, 0, p.len);
		CHECK(quoted(&e, e.len, &k, &q));
		CHECK_EQ(q.pkt.proto, 17);
		CHECK_EQ(q.mtu, 0);
		ftt_quote_put_port(e.bytes, &k, &q, at, 0xbeef);
		CHECK_EQ(get_be16(e.bytes + q.pkt.l4 + at), 0xbeef);
		CHECK_EQ(icmp_sum(&e, family), 0xffff);
		if (summed)
			CHECK_EQ(packet_l4_sum(e.bytes + e.l4 + 8, p.l4, p.len, 17), 0xffff);
		else
			CHECK_EQ(get_be16(e.bytes + q.pkt.l4 + 6), 0);
	}
}

static void test_what_is_no_quotation(int family)
{
	struct packet p = segment(family), e;
	struct ftt_quote q;
	struct ftt_pkt k;

	e = error_about(&p, family, family == 4 ? 8 : 128, 0, 0, p.len); /* an echo request */
	CHECK(!quoted(&e, e.len, &k, &q));
	e = error_about(&p, family, family == 4 ? 5 : 137, 0, 0, p.len); /* a redirect */
	CHECK(!quoted(&e, e.len, &k, &q));
	e = error_about(&p, family, family == 4 ? 3 : 1, 1, 0, p.len);
	for (uint32_t cap = 0; cap < e.l4 + 8 + p.l4 + 8; cap++)
		CHECK(!quoted(&e, cap, &k, &q));
	CHECK(quoted(&e, e.l4 + 8 + p.l4 + 8, &k, &q));
	CHECK_EQ(q.unreachable, family == 4);
	e.bytes[e.l4 + 8] ^= 0x20; /* another version within */
	CHECK(!quoted(&e, e.len, &k, &q));
}

static void test_a_fragment_names_no_port(void)
{
	struct packet p = segment(4), e;
	struct ftt_quote q;
	struct ftt_pkt k;

	put_be16(p.bytes + 6, 0x00b9);
	e = error_about(&p, 4, 3, 4, 1400, p.len);
	CHECK(!quoted(&e, e.len, &k, &q));
}

/* Which number the stack is shown: it believes those from what it has last been told to what it has sent. */
static void test_numbers(const struct ends *x)
{
	struct ftt_flow f;
	uint32_t first = x->service_iss + 1, local = x->backup_iss + 1;

	make_backup(&f, x, MS);
	step(&f, from_backup(x, TCP_ACK, 0, 0, 100), MS); /* our stack has sent 100 bytes */
	CHECK_EQ(ftt_quoted_seq(&f, FTT_MODE_BACKUP, first + 50), local + 50);
	CHECK_EQ(ftt_quoted_seq(&f, FTT_MODE_BACKUP, first + 300), local + 100); /* the primary is ahead */
	CHECK_EQ(ftt_quoted_seq(&f, FTT_MODE_BACKUP, first - 1), local - 1);     /* old, and so refused */
	CHECK_EQ(ftt_quoted_seq(&f, FTT_MODE_BACKUP, first + (1u << 30)), local + (1u << 30));
	CHECK_EQ(ftt_quoted_seq(&f, FTT_MODE_SOLO, first + 300), local + 300); /* forged: the stack refuses it */
	f.bits |= FTT_F_BEHIND;
	CHECK_EQ(ftt_quoted_seq(&f, FTT_MODE_SOLO, first + 300), local + 100);
}

static void test_copies_fit_the_path(void)
{
	struct ftt_quote q = {.pkt = {.family = 4}, .mtu = 1400, .seq = plain.service_iss + 1};
	struct ftt_flow f;

	make_backup(&f, &plain, MS);
	f.mss = 1448;
	ftt_quoted_mtu(&f, &q);
	CHECK_EQ(f.mss, 1400 - 40 - 12);
	q.mtu = 1500;
	ftt_quoted_mtu(&f, &q);
	CHECK_EQ(f.mss, 1400 - 40 - 12);
	q.mtu = 68; /* below what Linux heeds: forged, or a path that nobody uses */
	ftt_quoted_mtu(&f, &q);
	CHECK_EQ(f.mss, 552 - 40 - 12);
	f.mss = 1448;
	f.hard.signer = FTT_SIGNED_OURS;
	ftt_quoted_mtu(&f, &q);
	CHECK_EQ(f.mss, 552 - 40 - 12 - 20);
	f.mss = 1448;
	q.seq = plain.service_iss - 5000; /* not in flight */
	ftt_quoted_mtu(&f, &q);
	CHECK_EQ(f.mss, 1448);
}

int main(void)
{
	for (int family = 4; family <= 6; family += 2) {
		test_sequence_numbers(family);
		test_ports(family, true);
		test_what_is_no_quotation(family);
	}
	test_ports(4, false);
	test_a_fragment_names_no_port();
	test_numbers(&plain);
	test_numbers(&wrapping);
	test_copies_fit_the_path();
	return 0;
}
