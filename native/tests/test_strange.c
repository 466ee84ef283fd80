/* SPDX-License-Identifier: Apache-2.0 */
/* Records of types that another release has made: what may be skipped is, and of what may not the flow is let go. */
#define _GNU_SOURCE
#include "engine/flows/act.h"
#include "engine/flows/role.h"
#include "model_alone.h"

#define S (1000 * MS)
#define IRS 1000u
#define ACKED 7000u
#define MUST 90u /* no type of this release; nor is it with FTT_REC_MAY_SKIP */

static struct node node;
static uint8_t last; /* type of the last record for the other node */
static unsigned n_told;

static void to_client(struct node *n, struct wire *packet)
{
	(void)n;
	free(packet);
}

static void to_peer(struct node *n, struct wire *datagram)
{
	struct ftt_record r;

	(void)n;
	for (size_t at = 0; at < datagram->len; at += ftt_record_get(datagram->bytes + at, datagram->len - at, &r)) {
		CHECK(ftt_record_get(datagram->bytes + at, datagram->len - at, &r));
		last = r.type;
		n_told++;
	}
	free(datagram);
}

static void unheard(struct stack *s, struct wire *packet)
{
	(void)s;
	free(packet);
}

static struct ftt_key key_of(void)
{
	struct ftt_key k = {.remote_port = 40000, .local_port = 80, .proto = 6};

	k.remote[10] = k.remote[11] = k.local[10] = k.local[11] = 0xff;
	k.remote[12] = k.local[12] = 10;
	k.remote[15] = 1;
	k.local[15] = 2;
	return k;
}

/* A node in this mode with one connection that is protected. */
static struct ftt_tcp *open_node(uint32_t mode)
{
	struct ftt_key k = key_of();
	struct ftt_tcp *c;

	node_open(&node, "node", mode, 4);
	node.to_client = to_client;
	node.to_peer = to_peer;
	node.stack.send = unheard;
	node.stack.state = STACK_OPEN;
	node.stack.irs = IRS;
	c = ftt_table_add(&node.worker.table, &k, model_now);
	CHECK(c);
	ftt_flow_init(&c->flow, IRS, model_now);
	c->flow.local_iss = ACKED - 100;
	ftt_flow_map(&c->flow, c->flow.local_iss);
	c->flow.client_acked = c->flow.local_snd_nxt = ACKED;
	c->flow.mss = 1000;
	c->flow.bits |= FTT_F_SYNACK | FTT_F_ESTABLISHED;
	c->flow.protection = FTT_PROTECTED;
	ftt_tcp_act(&node.worker, c, 0, model_now);
	n_told = last = 0;
	return c;
}

static size_t put_strange(uint8_t *p, size_t room, uint8_t type, uint32_t irs)
{
	struct ftt_record r = {.type = FTT_REC_OUTPUT, .key = key_of(), .irs = irs}; /* with a body: of whatever form */
	size_t len = ftt_record_put(p, room, &r);

	CHECK(len);
	p[0] = type;
	return len;
}

/* One datagram: a record of this type, and behind it one that every release knows. */
static void hear(uint8_t type, uint32_t irs, uint8_t known)
{
	struct ftt_record r = {.type = known, .key = key_of(), .irs = IRS, .client_acked = ACKED};
	uint8_t bytes[256];
	size_t len = put_strange(bytes, sizeof(bytes), type, irs);
	struct wire *datagram;

	if (known)
		len += ftt_record_put(bytes + len, sizeof(bytes) - len, &r);
	datagram = wire_new(bytes, (uint32_t)len);
	node_from_peer(&node, datagram);
	free(datagram);
}

static void test_what_may_be_skipped_changes_nothing(void)
{
	struct ftt_tcp *c = open_node(FTT_MODE_BACKUP);

	hear(MUST | FTT_REC_MAY_SKIP, IRS, FTT_REC_PROBE);
	CHECK_EQ(c->flow.protection, FTT_PROTECTED);
	CHECK_EQ(last, FTT_REC_COMMIT); /* what stands behind it was read */
	CHECK_EQ(node.worker.n.records_skipped, 1);
	CHECK_EQ(node.worker.n.records_refused + node.worker.n.channel_malformed, 0);
	node_close(&node);
}

static void test_a_backup_lets_go_what_it_does_not_understand(void)
{
	struct ftt_tcp *c = open_node(FTT_MODE_BACKUP);

	hear(MUST, IRS + 1, 0); /* of an earlier connection with that key */
	CHECK_EQ(c->flow.protection, FTT_PROTECTED);
	CHECK_EQ(last, FTT_REC_DETACHED);
	hear(MUST, IRS, FTT_REC_PROBE);
	CHECK_EQ(c->flow.protection, FTT_DETACHED);
	CHECK_EQ(last, FTT_REC_DETACHED);
	CHECK_EQ(n_told, 3);
	CHECK_EQ(node.worker.n.records_refused, 2);
	CHECK_EQ(node.worker.n.records_skipped + node.worker.n.channel_malformed, 0);
	node_close(&node);
}

static void test_a_primary_gives_up_what_it_does_not_understand(void)
{
	struct ftt_tcp *c = open_node(FTT_MODE_PAIRED);

	hear(MUST, IRS + 1, 0);
	CHECK_EQ(c->flow.protection, FTT_PROTECTED);
	CHECK_EQ(n_told, 0);
	hear(MUST, IRS, 0);
	CHECK_EQ(c->flow.protection, FTT_DETACHING);
	CHECK_EQ(c->flow.reason, FTT_WHY_UNSUPPORTED);
	CHECK_EQ(last, FTT_REC_DETACH);
	hear(MUST, IRS, FTT_REC_DETACHED); /* once is enough */
	CHECK_EQ(c->flow.protection, FTT_DETACHED);
	CHECK_EQ(n_told, 1);
	CHECK_EQ(node.worker.n.records_refused, 3);
	node_close(&node);
}

/* What is cut, or of a family that there is not, is no record of any release. */
static void test_what_is_malformed_is_not_strange(void)
{
	struct ftt_tcp *c = open_node(FTT_MODE_BACKUP);
	uint8_t bytes[256];
	size_t len = put_strange(bytes, sizeof(bytes), MUST, IRS);

	for (size_t cut = 1; cut < len; cut++) {
		struct wire *datagram = wire_new(bytes, (uint32_t)cut);

		node_from_peer(&node, datagram);
		free(datagram);
	}
	CHECK_EQ(node.worker.n.channel_malformed, len - 1);
	CHECK_EQ(node.worker.n.records_refused, 0);
	CHECK_EQ(c->flow.protection, FTT_PROTECTED);
	CHECK_EQ(n_told, 0);
	node_close(&node);
}

int main(void)
{
	CHECK(!ftt_record_known(MUST) && !ftt_record_known(MUST | FTT_REC_MAY_SKIP));
	test_what_may_be_skipped_changes_nothing();
	test_a_backup_lets_go_what_it_does_not_understand();
	test_a_primary_gives_up_what_it_does_not_understand();
	test_what_is_malformed_is_not_strange();
	return 0;
}
