/* SPDX-License-Identifier: Apache-2.0 */
/* UDP sessions of two workers: letting go of one, replies that wait for time or a lease, changes of role, and checksums. */
#define _GNU_SOURCE
#include <string.h>
#include "udp_rig.h"

/* --- letting go ---------------------------------------------------------------------------------------- */

/* Nothing goes out before the backup has said that it will never continue the session: DETACH until DETACHED. */
static void test_a_lagging_backup_is_asked_until_it_lets_go(void)
{
	uint64_t now = 1000 * MS;

	begin_pair();
	ask(&p, now);
	answer(&p, now);
	CHECK_EQ(p.n_passed, 1); /* the question; the answer waits */
	CHECK_EQ(p.worker.held_now, 1);
	CHECK_EQ(lose(&p, FTT_REC_EVENT), 1);
	for (now += 6 * MS; now <= 1050 * MS; now += 6 * MS) {
		ftt_udp_tick(&p.worker, now);
		CHECK_EQ(lose(&p, FTT_REC_EVENT), 1); /* again and again */
		CHECK_EQ(only(&p)->s.protection, FTT_PROTECTED);
	}
	ftt_udp_tick(&p.worker, 1051 * MS);
	CHECK_EQ(only(&p)->s.protection, FTT_DETACHING);
	CHECK_EQ(lose(&p, FTT_REC_DETACH), 1);
	ask(&p, 1052 * MS); /* the client goes on meanwhile */
	answer(&p, 1052 * MS);
	CHECK_EQ(lose(&p, FTT_REC_DETACH), 0);
	ftt_udp_tick(&p.worker, 1053 * MS);
	CHECK_EQ(p.said_len, 0); /* not at every tick */
	ftt_udp_tick(&p.worker, 1057 * MS);
	CHECK_EQ(p.worker.held_now, 2);
	CHECK_EQ(p.n_detached, 0);
	CHECK_EQ(hear(&p, &b, FTT_REC_DETACH, 1057 * MS), 1); /* the backup never heard of the session */
	CHECK_EQ(hear(&b, &p, FTT_REC_DETACHED, 1057 * MS), 1);
	CHECK_EQ(only(&p)->s.protection, FTT_DETACHED);
	CHECK_EQ(only(&p)->s.reason, FTT_WHY_COMMIT_LAG);
	CHECK_EQ(p.n_detached, 1);
	CHECK_EQ(p.why, FTT_WHY_COMMIT_LAG);
	CHECK_EQ(p.worker.n.flows_detached, 1);
	CHECK_EQ(p.worker.held_now, 0);
	CHECK_EQ(p.n_passed, 4);
	CHECK_EQ(p.passed_id[2], 2); /* the answers, in order */
	CHECK_EQ(p.passed_id[3], 4);
	end_pair();
}

/* From then on the session lives alone: nothing is numbered, held or kept; and only once is it told. */
static void test_a_session_that_was_let_go_is_alone(void)
{
	uint64_t now = 1000 * MS;

	begin_pair();
	ask(&p, now);
	hear(&p, &b, FTT_REC_EVENT, now);
	hear(&b, &p, FTT_REC_EVENT_ACK, now);
	CHECK_EQ(only(&b)->s.protection, FTT_PROTECTED);
	ask(&p, now);
	lose(&p, FTT_REC_EVENT);
	ftt_udp_tick(&p.worker, now + 51 * MS);
	CHECK_EQ(hear(&p, &b, FTT_REC_DETACH, now + 51 * MS), 1);
	CHECK_EQ(b.worker.udp.n, 0); /* the backup has forgotten it */
	CHECK_EQ(lose(&b, FTT_REC_DETACHED), 1);
	ftt_udp_tick(&p.worker, now + 57 * MS);
	CHECK_EQ(hear(&p, &b, FTT_REC_DETACH, now + 57 * MS), 1); /* a lost answer is made good */
	CHECK_EQ(hear(&b, &p, FTT_REC_DETACHED, now + 57 * MS), 1);
	CHECK_EQ(only(&p)->bytes, 0);
	ask(&p, now + 60 * MS);
	answer(&p, now + 60 * MS);
	ftt_udp_tick(&p.worker, now + 200 * MS);
	CHECK_EQ(p.said_len, 0);
	CHECK_EQ(p.worker.held_now, 0);
	CHECK_EQ(p.n_passed, 4);
	CHECK_EQ(p.n_detached, 1);
	end_pair();
}

/* A backup that follows no sessions says DETACHED to the first event. */
static void test_a_backup_may_refuse(void)
{
	struct ftt_record no = {.type = FTT_REC_DETACHED};

	begin_pair();
	ask(&p, MS);
	answer(&p, MS);
	CHECK_EQ(p.worker.held_now, 1);
	no.key = only(&p)->key;
	no.irs = only(&p)->start + 1;
	ftt_udp_record(&p.worker, &no, 0, MS); /* about another session of this client */
	CHECK_EQ(p.worker.held_now, 1);
	no.irs--;
	ftt_udp_record(&p.worker, &no, 0, MS);
	CHECK_EQ(p.worker.held_now, 0);
	CHECK_EQ(p.n_detached, 1);
	CHECK_EQ(p.why, FTT_WHY_REFUSED);
	end_pair();
}

/* --- what waits for time ------------------------------------------------------------------------------- */

/* An answer whose events are confirmed while there is no lease goes when the lease is back: the tick sees to it. */
static void test_a_held_reply_goes_when_the_lease_is_back(void)
{
	begin_pair();
	ask(&p, MS);
	answer(&p, MS);
	hear(&p, &b, FTT_REC_EVENT, MS);
	lease(&p, false);
	CHECK_EQ(hear(&b, &p, FTT_REC_EVENT_ACK, 2 * MS), 1);
	ftt_udp_tick(&p.worker, 3 * MS);
	CHECK_EQ(p.worker.held_now, 1);
	CHECK_EQ(p.worker.udp.waiting, 1); /* it is looked at again */
	ftt_udp_sweep(&p.worker, 5000 * MS);
	CHECK_EQ(p.worker.held_now, 1); /* and not forgotten, however long */
	lease(&p, true);
	ftt_udp_tick(&p.worker, 5001 * MS);
	CHECK_EQ(p.worker.held_now, 0);
	CHECK_EQ(p.n_passed, 2);
	CHECK_EQ(p.worker.udp.waiting, 0);
	ftt_udp_sweep(&p.worker, 5002 * MS);
	CHECK_EQ(p.worker.udp.n, 0); /* silent for too long, nothing waits */
	end_pair();
}

/* An experiment: a reply that does not wait; the backup is told of all that happens as ever. */
static void test_an_eager_reply_does_not_wait(void)
{
	begin_pair();
	p.engine.cfg.policy.eager = 1;
	ask(&p, MS);
	answer(&p, MS);
	CHECK_EQ(p.n_passed, 2);
	CHECK_EQ(p.worker.held_now, 0);
	hear(&p, &b, FTT_REC_EVENT, MS);
	CHECK_EQ(hear(&b, &p, FTT_REC_EVENT_ACK, MS), 1);
	CHECK_EQ(only(&p)->s.acked, 1);
	end_pair();
}

/* What is left of a dead server says nothing more until the takeover; if none comes, its words are like others. */
static void test_last_words_wait_for_a_takeover(void)
{
	begin_pair();
	p.engine.cfg.policy.detach_after_ns = 50 * MS;
	ask(&p, MS);
	answer(&p, MS);
	hear(&p, &b, FTT_REC_EVENT, MS);
	hear(&b, &p, FTT_REC_EVENT_ACK, MS);
	CHECK_EQ(p.n_passed, 2);
	atomic_store(&p.engine.shared.gone_ns, 2 * MS);
	p.worker.looked = false;
	answer(&p, 2 * MS);
	ftt_udp_tick(&p.worker, 52 * MS);
	CHECK_EQ(p.n_passed, 2);
	CHECK_EQ(p.worker.n.last_words, 1);
	CHECK_EQ(only(&p)->s.protection, FTT_PROTECTED);
	CHECK_EQ(p.worker.udp.waiting, 1);
	role(&p, FTT_MODE_IDLE); /* the takeover */
	ftt_udp_tick(&p.worker, 53 * MS);
	CHECK_EQ(p.n_passed, 2);
	end_pair();

	begin_pair();
	ask(&p, MS);
	hear(&p, &b, FTT_REC_EVENT, MS);
	hear(&b, &p, FTT_REC_EVENT_ACK, MS);
	atomic_store(&p.engine.shared.gone_ns, 2 * MS);
	answer(&p, 2 * MS);
	CHECK_EQ(p.worker.held_now, 1);
	atomic_store(&p.engine.shared.gone_ns, 0);
	ftt_udp_tick(&p.worker, 3 * MS);
	CHECK_EQ(p.worker.held_now, 0);
	CHECK_EQ(p.n_passed, 2);
	end_pair();
}

/* --- roles ---------------------------------------------------------------------------------------------- */

enum { CLIENTS = 4 };

/* Sessions of clients 1 to 4, whose last answer the primary has not reported as sent. */
static void talk(void)
{
	begin_pair();
	for (uint16_t client = 1; client <= CLIENTS; client++) {
		ask_as(&p, client, MS);
		hear(&p, &b, FTT_REC_EVENT, MS);
		answer_to(&b, client, MS);
	}
	ftt_udp_tick(&b.worker, 2 * MS); /* nothing is due any more */
	CHECK_EQ(b.n_emitted, CLIENTS);
	b.n_emitted = b.n_dropped = 0;
}

static uint16_t client_of(const struct packet *k)
{
	return get_be16(k->bytes + k->l4 + 2);
}

/* While a takeover is under way, a datagram's session is taken over at once; the others' time comes. */
static void test_takeover_in_steps(void)
{
	struct ftt_worker *w = &b.worker;
	unsigned seen = 0;

	talk();
	new_role(&b, FTT_MODE_SOLO);
	CHECK(!ftt_udp_rest(w, 1, 3 * MS)); /* the one that was active last */
	CHECK_EQ(b.n_emitted, 1);
	CHECK_EQ(client_of(&b.emitted[0]), 4);
	answer_to(&b, 2, 3 * MS);
	CHECK_EQ(b.n_emitted, 2); /* what was kept leaves before what is new */
	CHECK_EQ(client_of(&b.emitted[1]), 2);
	CHECK_EQ(b.n_passed, 1);
	ask_as(&b, 5, 3 * MS); /* a new one has nothing to do with it */
	CHECK_EQ(b.n_emitted, 2);
	CHECK_EQ(w->udp.count[FTT_PROTECTED], 2);
	CHECK_EQ(w->udp.count[FTT_UNPROTECTED], 3);
	for (const struct ftt_udp_session *u = NULL; (u = ftt_udp_next(&w->udp, u));)
		seen++;
	CHECK_EQ(seen, CLIENTS + 1); /* all can be seen meanwhile */
	CHECK(ftt_udp_rest(w, 2, 3 * MS));
	CHECK_EQ(b.n_emitted, CLIENTS);
	CHECK_EQ(w->role_flows, CLIENTS);
	CHECK_EQ(w->udp.count[FTT_UNPROTECTED], CLIENTS + 1);
	end_pair();
}

/* A datagram that waits for its turn at the server still waits behind what a client may not have. */
static void test_time_does_not_move_what_is_not_taken_over(void)
{
	begin_pair();
	ask(&p, MS);
	answer(&p, MS);
	ask(&p, MS);
	hear(&p, &b, FTT_REC_EVENT, MS);
	CHECK_EQ(b.n_emitted, 1); /* the second one waits for an answer to the first */
	new_role(&b, FTT_MODE_SOLO);
	ftt_udp_tick(&b.worker, 200 * MS);
	CHECK_EQ(b.n_emitted, 1);
	CHECK(ftt_udp_rest(&b.worker, 1, 200 * MS));
	CHECK_EQ(b.n_emitted, 2);
	end_pair();
}

/* Who follows another primary, or none, forgets: a session that is met before its turn is forgotten then. */
static void test_forgetting_in_steps(void)
{
	struct ftt_worker *w = &b.worker;
	struct ftt_record event = {.type = FTT_REC_EVENT, .number = 1, .total = 3, .data = (const uint8_t *)"ask", .data_len = 3};

	talk();
	event.key = ftt_udp_next(&w->udp, NULL)->key;
	event.irs = ftt_udp_next(&w->udp, NULL)->start;
	event.port = SERVER;
	new_role(&b, FTT_MODE_BACKUP);
	answer_to(&b, 3, 3 * MS);
	CHECK_EQ(w->udp.n, CLIENTS - 1);
	CHECK_EQ(b.n_dropped, 1);
	ftt_udp_record(w, &event, 0, 3 * MS); /* even by the same name: it begins anew */
	CHECK_EQ(w->udp.n, CLIENTS - 1);
	CHECK_EQ(ftt_udp_next(&w->udp, NULL)->s.outputs, 0);
	CHECK_EQ(b.n_emitted, 1);
	CHECK(!ftt_udp_rest(w, 1, 3 * MS));
	CHECK(ftt_udp_rest(w, 1, 3 * MS));
	CHECK_EQ(only(&b)->s.events, 1);
	CHECK_EQ(w->udp.count[FTT_PROTECTED], 1);
	CHECK_EQ(b.n_passed, 0);
	CHECK(!b.to_client[0]);
	end_pair();
}

static void test_what_is_to_be_forgotten_makes_room(void)
{
	talk();
	b.engine.cfg.policy.max_flows = CLIENTS;
	new_role(&b, FTT_MODE_BACKUP);
	ask_as(&p, 5, 3 * MS);
	hear(&p, &b, FTT_REC_EVENT, 3 * MS);
	CHECK_EQ(b.worker.udp.n, CLIENTS);
	CHECK_EQ(b.worker.n.flows_refused, 0);
	CHECK(ftt_udp_rest(&b.worker, CLIENTS, 3 * MS));
	CHECK_EQ(only(&b)->s.events, 1);
	end_pair();
}

/* A primary without a backup lets go what it held, at once; the rest can wait. A role without any drops it. */
static void test_held_replies_at_a_change_of_role(uint32_t mode)
{
	begin_pair();
	ask_as(&p, 1, MS);
	ftt_udp_tick(&p.worker, 2 * MS);
	ask_as(&p, 2, MS);
	answer_to(&p, 2, MS);
	CHECK_EQ(p.worker.held_now, 1);
	p.n_passed = 0;
	new_role(&p, mode);
	if (mode == FTT_MODE_SOLO)
		ftt_udp_go_solo(&p.worker, 3 * MS);
	CHECK_EQ(p.n_passed, mode == FTT_MODE_SOLO);
	CHECK(ftt_udp_rest(&p.worker, 2, 3 * MS));
	CHECK_EQ(p.worker.held_now, 0);
	CHECK_EQ(p.n_dropped, mode == FTT_MODE_IDLE);
	CHECK_EQ(p.worker.udp.n, mode == FTT_MODE_SOLO ? 2 : 0);
	CHECK_EQ(p.worker.udp.count[FTT_PROTECTED], 0);
	end_pair();
}

/* --- checksums (RFC 768; RFC 8200 8.1: in IPv6 there is always one) ---------------------------------------- */

/* A payload of two bytes that makes the checksum of this datagram come out as 0, which is sent as 0xffff. */
static void zero_sum(int family, bool from_client, uint16_t port, char payload[2])
{
	struct packet k;
	uint16_t sum;

	memset(payload, 0, 2);
	k = datagram(family, from_client, port, payload, 2);
	sum = get_be16(k.bytes + k.l4 + 6);
	payload[0] = (char)(sum >> 8);
	payload[1] = (char)sum;
	k = datagram(family, from_client, port, payload, 2);
	CHECK_EQ(get_be16(k.bytes + k.l4 + 6), 0xffff);
}

/* What a backup builds for its server, and for the client at a takeover, has a checksum that is not 0. */
static void test_a_built_datagram_never_says_that_it_has_no_checksum(int family)
{
	char payload[2];

	begin_pair();
	zero_sum(family, true, SERVER, payload);
	give(&p, datagram(family, true, SERVER, payload, 2), true, true, MS);
	hear(&p, &b, FTT_REC_EVENT, MS);
	CHECK_EQ(b.n_emitted, 1);
	zero_sum(family, false, SERVER, payload);
	give(&b, datagram(family, false, SERVER, payload, 2), false, true, MS);
	new_role(&b, FTT_MODE_SOLO);
	CHECK(ftt_udp_rest(&b.worker, 1, 2 * MS));
	CHECK_EQ(b.worker.role_flows, 1);
	CHECK_EQ(b.n_emitted, 2);
	CHECK(!b.to_client[0] && b.to_client[1]);
	for (uint32_t i = 0; i < 2; i++) {
		const struct packet *k = &b.emitted[i];

		CHECK_EQ(get_be16(k->bytes + k->l4 + 6), 0xffff);
		CHECK_EQ(packet_l4_sum(k->bytes, k->l4, k->len, 17), 0xffff);
	}
	end_pair();
}

/* A session that was taken over, whose client knows port 5000 for the server's 6000. */
static void take_over_with_ports(int family)
{
	begin_pair();
	give(&p, datagram(family, true, SERVER, "ask", 3), true, true, MS);
	give(&p, datagram(family, false, 5000, "from", 4), false, true, MS);
	hear(&p, &b, FTT_REC_EVENT, MS);
	give(&b, datagram(family, false, 6000, "from", 4), false, true, MS);
	hear(&b, &p, FTT_REC_EVENT_ACK, MS);
	hear(&p, &b, FTT_REC_SENT, MS); /* the client has the first answer */
	new_role(&b, FTT_MODE_SOLO);
	ftt_udp_rest(&b.worker, 1, 2 * MS);
	b.n_passed = 0;
}

/* A port is edited: the checksum is right, and where it comes out as 0 it is sent as 0xffff. */
static void test_an_edited_port_leaves_a_right_checksum(int family, bool csum_ready)
{
	const struct packet *k = &b.passed[0];
	struct packet sent;
	char payload[2];

	take_over_with_ports(family);
	zero_sum(family, false, 5000, payload); /* as the client is to see it */
	sent = datagram(family, false, 6000, payload, 2);
	if (!csum_ready) /* the card was to complete it: the pseudo header's sum is there */
		put_be16(sent.bytes + sent.l4 + 6, 0x1234);
	give(&b, sent, false, csum_ready, 3 * MS);
	CHECK_EQ(b.n_passed, 1);
	CHECK_EQ(get_be16(k->bytes + sent.l4), 5000);
	CHECK_EQ(get_be16(k->bytes + sent.l4 + 6), 0xffff);
	CHECK_EQ(packet_l4_sum(k->bytes, sent.l4, k->len, 17), 0xffff);
	end_pair();
}

/* IPv4 allows none: then it stays so, in both directions. */
static void test_no_checksum_stays_none(void)
{
	struct packet sent = datagram(4, false, 6000, "x", 1), heard = datagram(4, true, 5000, "x", 1);

	take_over_with_ports(4);
	put_be16(sent.bytes + sent.l4 + 6, 0);
	put_be16(heard.bytes + heard.l4 + 6, 0);
	give(&b, sent, false, true, 3 * MS);
	give(&b, heard, true, true, 3 * MS);
	CHECK_EQ(b.n_passed, 2);
	CHECK_EQ(get_be16(b.passed[0].bytes + sent.l4), 5000);
	CHECK_EQ(get_be16(b.passed[1].bytes + heard.l4 + 2), 6000);
	for (int i = 0; i < 2; i++)
		CHECK_EQ(get_be16(b.passed[i].bytes + sent.l4 + 6), 0);
	end_pair();
}

/* What the stack will drop is no event: the backup's server would get what the primary's never gets. */
static void test_a_datagram_with_a_wrong_checksum_is_no_event(int family)
{
	struct packet bad = datagram(family, true, SERVER, "bad", 3);

	begin_pair();
	ask(&p, MS);
	lose(&p, FTT_REC_EVENT);
	put_be16(bad.bytes + bad.l4 + 6, get_be16(bad.bytes + bad.l4 + 6) ^ 0x5555);
	give(&p, bad, true, true, MS);
	CHECK_EQ(p.n_passed, 2); /* for the stack to count */
	CHECK_EQ(p.worker.n.pass_malformed, 1);
	CHECK_EQ(lose(&p, FTT_REC_EVENT), 0);
	put_be16(bad.bytes + bad.l4 + 6, 0); /* none: nothing is wrong in IPv4, and IPv6 knows no such thing */
	give(&p, bad, true, true, MS);
	CHECK_EQ(lose(&p, FTT_REC_EVENT), family == 4);
	CHECK_EQ(p.worker.n.pass_malformed, family == 4 ? 1 : 2);
	end_pair();
}

/* A primary that does not understand what was said of a session has it let go, and goes on alone. */
static void test_a_session_is_given_up(void)
{
	uint64_t now = 1000 * MS;
	struct ftt_key key;
	uint32_t start;

	begin_pair();
	converse(1, now);
	key = only(&p)->key;
	start = only(&p)->start;
	ftt_udp_part(&p.worker, &key, start + 1, FTT_WHY_UNSUPPORTED, now); /* an earlier one of that client */
	CHECK_EQ(only(&p)->s.protection, FTT_PROTECTED);
	ftt_udp_part(&p.worker, &key, start, FTT_WHY_UNSUPPORTED, now);
	ftt_udp_tick(&p.worker, now + 6 * MS);
	CHECK_EQ(hear(&p, &b, FTT_REC_DETACH, now + 6 * MS), 1);
	CHECK_EQ(b.worker.udp.n, 0);
	CHECK_EQ(hear(&b, &p, FTT_REC_DETACHED, now + 6 * MS), 1);
	CHECK_EQ(only(&p)->s.protection, FTT_DETACHED);
	CHECK_EQ(p.why, FTT_WHY_UNSUPPORTED);
	end_pair();
}

int main(void)
{
	test_a_session_is_given_up();
	test_a_lagging_backup_is_asked_until_it_lets_go();
	test_a_session_that_was_let_go_is_alone();
	test_a_backup_may_refuse();
	test_a_held_reply_goes_when_the_lease_is_back();
	test_an_eager_reply_does_not_wait();
	test_last_words_wait_for_a_takeover();
	test_takeover_in_steps();
	test_time_does_not_move_what_is_not_taken_over();
	test_forgetting_in_steps();
	test_what_is_to_be_forgotten_makes_room();
	test_held_replies_at_a_change_of_role(FTT_MODE_SOLO);
	test_held_replies_at_a_change_of_role(FTT_MODE_IDLE);
	for (int family = 4; family <= 6; family += 2) {
		test_a_built_datagram_never_says_that_it_has_no_checksum(family);
		test_an_edited_port_leaves_a_right_checksum(family, true);
		test_an_edited_port_leaves_a_right_checksum(family, false);
		test_a_datagram_with_a_wrong_checksum_is_no_event(family);
	}
	test_no_checksum_stays_none();
	return 0;
}
