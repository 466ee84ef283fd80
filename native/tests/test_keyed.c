/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Clients choose keys, and not buckets: a thousand addresses of one IPv6 /64, chosen so that their keys have one and
 * the same CRC under every seed, spread over a table like any others.
 */
#define _GNU_SOURCE
#include <string.h>
#include "core/compare/digest.h"
#include "udp_rig.h"

#define BITS 64u     /* of an address that its owner may choose */
#define FREE 10u
#define KEYS (1u << FREE)
#define LONGEST 12u  /* of 1,024 in as many buckets; a chain of 13 comes once in ten million tables */

static struct ftt_key keys[KEYS];

static struct ftt_key key_of(uint64_t host)
{
	struct ftt_key k = {.remote = {0x20, 1, 0xd, 0xb8}, .local = {0xfd, 1}, .remote_port = 40000, .local_port = 80,
			    .proto = 6};

	memcpy(k.remote + 8, &host, sizeof(host));
	return k;
}

static uint32_t sum(uint32_t seed, const struct ftt_key *k)
{
	return ftt_crc32c(seed, (const uint8_t *)k, sizeof(*k));
}

/* Gauss: which sets of address bits, changed together, change nothing of the sum. */
static void choose_keys(void)
{
	struct ftt_key base = key_of(0);
	uint64_t made_of[32] = {0}, nothing[FREE];
	uint32_t row[32] = {0}, found = 0;

	for (unsigned bit = 0; bit < BITS && found < FREE; bit++) {
		struct ftt_key k = key_of(1ull << bit);
		uint32_t change = sum(0, &base) ^ sum(0, &k);
		uint64_t bits = 1ull << bit;

		for (int i = 31; i >= 0 && change; i--) {
			if (!(change >> i & 1))
				continue;
			if (!row[i]) {
				row[i] = change;
				made_of[i] = bits;
				break;
			}
			change ^= row[i];
			bits ^= made_of[i];
		}
		if (!change)
			nothing[found++] = bits;
	}
	CHECK_EQ(found, FREE);
	for (uint32_t i = 0; i < KEYS; i++) {
		uint64_t host = 0;

		for (unsigned j = 0; j < FREE; j++)
			host ^= i >> j & 1 ? nothing[j] : 0;
		keys[i] = key_of(host);
		for (uint32_t seed = 0; seed < 4; seed++)
			CHECK_EQ(sum(seed * 0x9e3779b9u, &keys[i]), sum(seed * 0x9e3779b9u, &keys[0]));
	}
}

static void test_tcp(void)
{
	struct ftt_table t;
	uint32_t longest = 0;

	CHECK(!ftt_table_open(&t, KEYS));
	for (uint32_t i = 0; i < KEYS; i++)
		CHECK(ftt_table_add(&t, &keys[i], MS));
	for (uint32_t i = 0; i <= t.mask; i++) {
		uint32_t chain = 0;

		for (const struct ftt_tcp *c = t.bucket[i]; c; c = c->hash_next)
			chain++;
		longest = chain > longest ? chain : longest;
	}
	CHECK(longest <= LONGEST);
	for (uint32_t i = 0; i < KEYS; i++) {
		struct ftt_tcp *c = ftt_table_find(&t, &keys[i]);

		CHECK(c && !memcmp(&c->key, &keys[i], sizeof(c->key)));
		ftt_table_remove(&t, c);
		CHECK(!ftt_table_find(&t, &keys[i]));
	}
	ftt_table_close(&t);
}

static void test_udp(void)
{
	struct ftt_udp_table *t = &p.worker.udp;
	uint32_t longest = 0;

	p.worker.e = &p.engine;
	p.engine.cfg.policy.max_flows = KEYS;
	p.engine.cfg.n_ports = 1;
	p.engine.cfg.port[0].proto = 17;
	role(&p, FTT_MODE_SOLO);
	CHECK(!ftt_udp_open(t, &p.engine.cfg));
	for (uint32_t i = 0; i < KEYS; i++)
		CHECK(ftt_udp_add(&p.worker, &keys[i], 0, MS));
	for (uint32_t i = 0; i <= t->mask; i++) {
		uint32_t chain = 0;

		for (const struct ftt_udp_session *u = t->bucket[i]; u; u = u->hash_next)
			chain++;
		longest = chain > longest ? chain : longest;
	}
	CHECK(longest <= LONGEST);
	for (uint32_t i = 0; i < KEYS; i++) {
		struct ftt_udp_session *u = ftt_udp_find(t, &keys[i]);

		CHECK(u && !memcmp(&u->key, &keys[i], sizeof(u->key)));
		ftt_udp_forget(&p.worker, u);
		CHECK(!ftt_udp_find(t, &keys[i]));
	}
	CHECK_EQ(t->n, 0);
	ftt_udp_close(t);
}

int main(void)
{
	choose_keys();
	test_tcp();
	test_udp();
	return 0;
}
