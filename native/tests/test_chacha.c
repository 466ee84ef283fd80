/* SPDX-License-Identifier: Apache-2.0 */
/* test_chacha.c - what servers draw from: ChaCha20, and keys for purposes. */
#include "check.h"
#include "core/lockstep/chacha.h"

/* RFC 8439 2.3.2 and 2.4.2: block and key stream */
static void test_chacha(void)
{
	static const uint8_t block[16] = {0x10, 0xf1, 0xe7, 0xe4, 0xd1, 0x3b, 0x59, 0x15, 0x50, 0x0f, 0xdd, 0x1f, 0xa3, 0x20, 0x71, 0xc4};
	static const uint8_t zeros[16] = {0x76, 0xb8, 0xe0, 0xad, 0xa0, 0xf1, 0x3d, 0x90, 0x40, 0x5d, 0x6a, 0xe5, 0x53, 0x86, 0xbd, 0x28};
	static const uint8_t second[8] = {0x9f, 0x07, 0xe7, 0xbe, 0x55, 0x51, 0x38, 0x7a};
	uint8_t key[32], nonce[12] = {0, 0, 0, 9, 0, 0, 0, 0x4a}, out[100];

	for (int i = 0; i < 32; i++)
		key[i] = (uint8_t)i;
	ftt_chacha_block(out, key, 1, nonce);
	CHECK(!memcmp(out, block, sizeof(block)));
	memset(key, 0, sizeof(key));
	memset(nonce, 0, sizeof(nonce));
	ftt_chacha_stream(out, sizeof(out), key, nonce); /* appendix A.1, vectors 1 and 2 */
	CHECK(!memcmp(out, zeros, sizeof(zeros)));
	CHECK(!memcmp(out + 64, second, sizeof(second)));
}

/* Each input of each purpose has a key of its own, also one that is the beginning of another. */
static void test_derive(void)
{
	static uint8_t made[400][32];
	uint8_t key[32] = {7}, again[32], input[64] = {0};
	int n = 0;

	for (uint32_t purpose = 1; purpose <= 5; purpose++)
		for (size_t len = 0; len <= sizeof(input); len++)
			ftt_chacha_derive(made[n++], key, purpose, input, len);
	for (int i = 0; i < 64; i++) {
		input[i] = 1;
		ftt_chacha_derive(made[n++], key, 1, input, sizeof(input));
		input[i] = 0;
	}
	for (int i = 0; i < n; i++)
		for (int j = 0; j < i; j++)
			CHECK(memcmp(made[i], made[j], 32));
	ftt_chacha_derive(again, key, 3, input, 5);
	CHECK(!memcmp(again, made[2 * 65 + 5], 32));
}

int main(void)
{
	test_chacha();
	test_derive();
	return 0;
}
