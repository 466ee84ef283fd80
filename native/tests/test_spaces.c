/* SPDX-License-Identifier: Apache-2.0 */
/* Drawn spaces: the same for the same flow, and among some hundred flows each kind of distance. */
#include "flows.h"

#define FLOWS 400u

static const struct ftt_shift drawn = {.on = true, .seed = 7};

struct seen {
	uint32_t as_it_is, wraps_soon, negative_soon, far_ahead, far_behind, opposite;
};

static void look(struct seen *n, uint32_t local, uint32_t service, uint32_t near)
{
	uint32_t delta = local - service;

	n->as_it_is += !delta;
	n->wraps_soon += service > UINT32_MAX - near;
	n->negative_soon += service <= INT32_MAX && service > INT32_MAX - near;
	n->far_behind += delta - 0x40000000u < 0x30000000u;
	n->far_ahead += -delta - 0x40000000u < 0x30000000u;
	n->opposite += delta - 0x80000000u + near < 2 * near;
}

static void check_seen(const struct seen *n)
{
	CHECK(n->as_it_is > FLOWS / 20 && n->as_it_is < FLOWS / 4);
	CHECK(n->wraps_soon > FLOWS / 20 && n->negative_soon > FLOWS / 20);
	CHECK(n->far_ahead > FLOWS / 20 && n->far_behind > FLOWS / 20 && n->opposite > FLOWS / 20);
}

static void test_each_kind_of_distance(void)
{
	struct seen iss_seen = {0}, ts_seen = {0};
	uint32_t other = 0;

	for (uint32_t irs = 1; irs <= FLOWS; irs++) {
		uint32_t iss = 900000, ts = 80000, iss2 = iss, ts2 = ts, iss3 = iss, ts3 = ts;
		struct ftt_shift another = {.on = true, .seed = 8};

		ftt_spaces_choose(&drawn, irs, &iss, &ts);
		ftt_spaces_choose(&drawn, irs, &iss2, &ts2);
		ftt_spaces_choose(&another, irs, &iss3, &ts3);
		CHECK(iss == iss2 && ts == ts2);
		other += iss != iss3;
		look(&iss_seen, 900000, iss, FTT_NEAR_BYTES);
		look(&ts_seen, 80000, ts, FTT_NEAR_MS);
	}
	CHECK(other > FLOWS / 2);
	check_seen(&iss_seen);
	check_seen(&ts_seen);
}

static void test_off(void)
{
	static const struct ftt_shift off;
	uint32_t iss = 1, ts = 2;

	ftt_spaces_choose(&off, 5, &iss, &ts);
	CHECK(iss == 1 && ts == 2);
}

/* The primary tells the backup what the client will see, and shows it to the client. */
static void test_the_client_sees_what_the_backup_is_told(void)
{
	for (uint32_t irs = 1; irs <= FLOWS; irs++) {
		struct ends x = plain;
		struct ftt_record opened = record_of(&x, FTT_REC_OPENED);
		struct arrival s;
		struct ftt_flow f;

		x.irs = irs;
		ftt_flow_init(&f, irs, MS);
		CHECK_EQ(step(&f, syn_of(&x, FTT_MODE_PAIRED), MS), FTT_PASS);
		s = synack_of(&x, FTT_MODE_PAIRED);
		policy.shift = drawn;
		CHECK_EQ(step(&f, s, MS), FTT_HOLD);
		CHECK_EQ(edit.actions, FTT_ACT_OPEN);
		ftt_primary_record(&f, &opened, at(MS));
		CHECK_EQ(gate(&f, s, MS), FTT_PASS);
		CHECK_EQ(edit.change & FTT_EDIT_SEQ ? edit.seq : s.seq, f.hard.service_iss);
		CHECK_EQ(edit.change & FTT_EDIT_TSVAL ? edit.tsval : s.tsval, s.tsval - f.hard.ts_delta);
	}
}

int main(void)
{
	test_each_kind_of_distance();
	test_off();
	test_the_client_sees_what_the_backup_is_told();
	return 0;
}
