/* SPDX-License-Identifier: Apache-2.0 */
/* Connections that are signed, from whose first word on: before our stack has answered, of strangers, with keys of another day. */
#define _GNU_SOURCE
#include "packet.h"
#include "signed_node.h"

static unsigned n_again, n_passed, n_dropped;

static void counts_again(struct ftt_plane *p, uint16_t queue, uint32_t id)
{
	(void)p, (void)queue, (void)id;
	n_again++;
}

static void counts_verdict(struct ftt_plane *p, uint16_t queue, uint32_t id, bool accept, const uint8_t *bytes, uint32_t len)
{
	(void)p, (void)queue, (void)id, (void)bytes, (void)len;
	n_passed += accept;
	n_dropped += !accept;
}

/* Of a packet that is longer than any copy nobody can look at the signature: it is not asked for again. */
static void test_longer_than_a_copy(uint32_t mode)
{
	static uint8_t bytes[65535], data[65535 - 60];
	struct node *n = open_signed(mode);
	struct ftt_plane_ops does = *n->plane.does;
	struct ftt_key key = key_of(PORT);
	struct ftt_bare b = {.src = key.remote, .dst = key.local, .sport = PORT, .dport = 80, .flags = TCP_ACK, .seal = &shared};
	struct ftt_packet p = {.bytes = bytes, .cap = 65531, .csum_ready = true, .from_client = true};
	struct ftt_pkt k;
	struct ftt_seg s;

	p.len = (uint32_t)ftt_build_segment(bytes, &b, data, sizeof(data));
	CHECK_EQ(p.len, 65535);
	does.again = counts_again;
	does.verdict = counts_verdict;
	n->plane.does = &does;
	n_again = n_passed = n_dropped = 0;
	CHECK_EQ(ftt_parse(p.bytes, p.cap, p.len, &k, &s), FTT_PARSED_TCP);
	ftt_tcp_from_client(&n->worker, &p, &k, &s, model_now);
	CHECK_EQ(n_again, 0);
	CHECK_EQ(n->worker.n.bad_signatures, 1);
	CHECK_EQ(n_passed, mode == FTT_MODE_PAIRED);
	CHECK_EQ(n_dropped, mode == FTT_MODE_BACKUP);
	CHECK(!find(n, PORT)); /* nothing is learnt of it */
	p.cap = FTT_PLANE_HEADERS;
	ftt_tcp_from_client(&n->worker, &p, &k, &s, model_now);
	CHECK_EQ(n_again, 1);
	node_close(n);
}

/* A SYN that is signed begins a flow that is: before our stack answers nobody else ends it, and what we say of it is signed. */
static void test_before_our_stack_answers(void)
{
	struct node *n = open_signed(FTT_MODE_BACKUP);
	struct ftt_tcp *c;
	struct ftt_seg s;

	push(n, true, TCP_SYN, IRS, 0, &shared, "");
	CHECK_EQ(handled(n, &s), 1);
	push(n, true, TCP_ACK, IRS + 1, 77, NULL, ""); /* as if the primary had let it go */
	CHECK_EQ(handled(n, &s), 0);
	c = find(n, PORT);
	CHECK(c && c->flow.protection == FTT_NEW);
	CHECK_EQ(n->worker.n.bad_signatures, 1);
	push(n, true, TCP_ACK, IRS + 1, OURS + 1, &shared, "hello");
	n->given = NULL;
	node_run(n);
	c = find(n, PORT);
	CHECK(c && c->flow.protection == FTT_DETACHED);
	node_role(n, FTT_MODE_SOLO, 1);
	CHECK(n_heard && heard_sealed && heard.len == 1); /* where does it stand? */
	n_heard = 0;
	push(n, true, TCP_ACK, IRS + 6, OURS + 1, &shared, "");
	node_run(n);
	CHECK(n_heard && heard_sealed && heard.flags == TCP_RST && heard.seq == OURS + 1);
	node_close(n);
}

/* Of a connection whose beginning was not seen, a signed word counts, whatever was said without a signature before; then no other one. */
static void test_a_stranger_that_signs(bool before)
{
	struct node *n = open_signed(FTT_MODE_BACKUP);
	struct ftt_tcp *c;

	push(n, true, TCP_ACK, IRS + 800000000, 77, NULL, "");
	node_run(n);
	c = find(n, PORT);
	CHECK(c && c->flow.protection == FTT_DETACHED && c->flow.hard.signer == FTT_SIGNED_NOT);
	if (before) {
		push(n, true, TCP_ACK, IRS + 1, OURS + 1, &shared, "x");
		push(n, true, TCP_ACK, IRS + 7, OURS + 70, NULL, "");
		node_run(n);
		CHECK(c->flow.hard.signer == FTT_SIGNED_OURS && c->flow.client_nxt == IRS + 2 && c->flow.client_acked == OURS + 1);
	}
	node_role(n, FTT_MODE_SOLO, 1);
	CHECK(n_heard && heard_sealed == before);
	n_heard = 0;
	push(n, true, TCP_ACK, IRS + 2, OURS + 1, &shared, "");
	node_run(n);
	CHECK(n_heard && heard_sealed && heard.flags == TCP_RST && heard.seq == OURS + 1);
	node_close(n);
}

/* A SYN that was kept is given to our stack with the key of today. */
static void test_a_syn_outlives_its_key(void)
{
	struct ftt_record open = {.type = FTT_REC_OPEN, .irs = IRS, .service_iss = OURS, .key = key_of(PORT), .tries = 2};
	struct node *n = open_signed(FTT_MODE_BACKUP);
	struct ftt_seg s;
	struct wire *syn;

	push(n, true, TCP_SYN, IRS, 0, &wrong, "");
	syn = wire_pop(&n->in);
	open.data = syn->bytes;
	open.data_len = syn->len;
	n_given = 0;
	node_hears(n, &open);
	CHECK_EQ(n_given, 1);
	CHECK_EQ(find(n, PORT)->flow.hard.signer, FTT_SIGNED_OURS);
	free(syn);
	node_close(n);

	n = open_signed(FTT_MODE_BACKUP);
	push(n, true, TCP_SYN, IRS, 0, &shared, "");
	CHECK_EQ(handled(n, &s), 1);
	n->engine.cfg.md5[0] = shared = key_with(shared.peer, 128, "another");
	n_given = 0;
	node_role(n, FTT_MODE_SOLO, 1);
	CHECK_EQ(n_given, 1);
	CHECK(ftt_is_syn(&given));
	node_close(n);
}

/* TCP-AO (RFC 5925): KeyID 1, RNextKeyID 2, a MAC of 12 octets; a SYN of the client, or our stack's answer to one. */
static void push_ao(struct node *n, bool client)
{
	static const uint8_t ao[] = {29, 16, 1, 2, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12};
	struct packet_spec w = {.family = 4, .sport = client ? PORT : 80, .dport = client ? 80 : PORT, .wnd = 502, .seq = client ? IRS : OURS,
				.ack = client ? 0 : IRS + 1, .flags = client ? TCP_SYN : TCP_SYN | TCP_ACK, .options = ao, .options_len = sizeof(ao)};
	struct packet p = packet_tcp(&w);
	uint8_t swapped[4];

	if (!client) { /* packet_tcp() writes from client to service; the sums do not see the order */
		memcpy(swapped, p.bytes + 12, 4);
		memmove(p.bytes + 12, p.bytes + 16, 4);
		memcpy(p.bytes + 16, swapped, 4);
	}
	wire_push(client ? &n->in : &n->out, wire_new(p.bytes, p.len));
	node_run(n);
}

/* It is served, and told to be unprotected, under its own reason; a backup does not follow it. */
static void test_tcp_ao(bool with_keys)
{
	struct ftt_key key = key_of(PORT);
	struct ftt_record open = {.type = FTT_REC_OPEN, .irs = IRS, .service_iss = OURS};
	struct node *n = open_signed(FTT_MODE_PAIRED);
	struct ftt_tcp *c;

	memcpy(key.remote + 12, (uint8_t[]){10, 77, 0, 10}, 4);
	memcpy(key.local + 12, (uint8_t[]){10, 77, 0, 100}, 4);
	n->given = NULL;
	n->engine.cfg.n_md5 = with_keys; /* of somebody else */
	push_ao(n, true);
	c = ftt_table_find(&n->worker.table, &key);
	CHECK(c && c->flow.protection == FTT_UNPROTECTED && c->flow.reason == FTT_WHY_SIGNED);
	CHECK_EQ(n->events[FTT_EV_UNSUPPORTED], 1);
	push_ao(n, false);
	CHECK_EQ(n_heard, 1);
	CHECK_EQ(heard.seq, OURS);
	CHECK_EQ(n->worker.n.bad_signatures, 0);
	node_close(n);

	n = open_signed(FTT_MODE_BACKUP);
	n->given = NULL;
	n->engine.cfg.n_md5 = with_keys;
	push_ao(n, true);
	push_ao(n, false);
	open.key = key;
	told = 0;
	node_hears(n, &open);
	CHECK_EQ(told, FTT_REC_REFUSED);
	CHECK_EQ(n_heard, 0);
	node_close(n);
}

int main(void)
{
	test_longer_than_a_copy(FTT_MODE_PAIRED);
	test_longer_than_a_copy(FTT_MODE_BACKUP);
	test_before_our_stack_answers();
	test_a_stranger_that_signs(true);
	test_a_stranger_that_signs(false);
	test_a_syn_outlives_its_key();
	test_tcp_ao(false);
	test_tcp_ao(true);
	return 0;
}
