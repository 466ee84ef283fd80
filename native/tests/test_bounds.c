/* SPDX-License-Identifier: Apache-2.0 */
/* Tables of bounds and ages: the last that has room, and the first that has not; the last moment, and the first that is too late. */
#include "core/history.h"
#include "core/log.h"
#include "core/tcp/hold.h"
#include "core/tcp/taken.h"
#include "core/udp/stray.h"
#include "flows.h"

#define ROWS(of) (sizeof(of) / sizeof((of)[0]))
#define KIB 1024u

/* Logs: of one flow, of all, of any; short ones have no room to spare, long ones half as much again, up to their bound. */
static void test_room_of_a_log(void)
{
	static const struct ftt_policy rule = {.renew_flow = 64 * KIB, .renew_bytes = 1000 * KIB};
	static const struct {
		uint32_t size, need, most;
		uint64_t used;
		enum ftt_unrenewable why;
		uint32_t to;
	} rows[] = {
		{100, 100, 64 * KIB, 0, FTT_RENEWABLE, 100},
		{100, 90, 0, UINT64_MAX, FTT_RENEWABLE, 100}, /* it has it */
		{0, 1, 64 * KIB, 0, FTT_RENEWABLE, 8},
		{0, 17, 64 * KIB, 0, FTT_RENEWABLE, 24},
		{0, 4095, 64 * KIB, 0, FTT_RENEWABLE, 4104},
		{0, 4096, 64 * KIB, 0, FTT_RENEWABLE, 6144},
		{40 * KIB, 44 * KIB, 64 * KIB, 0, FTT_RENEWABLE, 64 * KIB}, /* not 66 */
		{64 * KIB, 64 * KIB + 1, 64 * KIB, 0, FTT_LOG_TOO_LONG, 64 * KIB},
		{64 * KIB, 64 * KIB + 1, FTT_SPILL_MOST, 0, FTT_RENEWABLE, 64 * KIB + 1}, /* until the spool takes it */
		{0, FTT_LOG_MAX + 1, UINT32_MAX, 0, FTT_LOG_TOO_LONG, 0},
		{8 * KIB, 16 * KIB, 64 * KIB, (1000 - 16) * KIB, FTT_RENEWABLE, 24 * KIB},
		{8 * KIB, 16 * KIB, 64 * KIB, (1000 - 16) * KIB + 1, FTT_LOGS_TOO_LONG, 24 * KIB},
	};
	struct ftt_log l = {.len = FTT_LOG_MAX - 10};

	for (size_t i = 0; i < ROWS(rows); i++) {
		uint32_t to;

		CHECK_EQ(ftt_log_room_for(rows[i].size, rows[i].need, rows[i].most, rows[i].used, false, &rule, &to), rows[i].why);
		CHECK_EQ(to, rows[i].to);
	}
	for (uint32_t left = 40 * KIB, to, i = 0; i < 2; i++) /* a quarter of what is left, and more */
		CHECK_EQ(ftt_log_room_for(0, left / FTT_LOG_SHARE + i, 64 * KIB, 1000 * KIB - left, true, &rule, &to), i ? FTT_LOGS_TOO_LONG : 0);
	CHECK(ftt_log_may_begin(1000 * KIB - 64, 64, &rule) && !ftt_log_may_begin(1000 * KIB - 63, 64, &rule));
	CHECK(ftt_log_has_place(&l, 10) && !ftt_log_has_place(&l, 11));
}

/* The spool: what may wait for the disk, and pages that are read back. */
static void test_spool(void)
{
	uint8_t memory;
	struct ftt_spooled s = {.page = {{.bytes = &memory, .used = 3}, {.used = 1}, {.bytes = &memory, .used = 2}}};

	CHECK(ftt_spool_takes(FTT_SPOOL_WAITING - 10, 10) && !ftt_spool_takes(FTT_SPOOL_WAITING - 9, 10));
	CHECK(!ftt_spool_lags(FTT_SPOOL_WAITING / 2) && ftt_spool_lags(FTT_SPOOL_WAITING / 2 + 1));
	CHECK(ftt_spool_is_near(FTT_SPOOL_WAITING / 4) && !ftt_spool_is_near(FTT_SPOOL_WAITING / 4 + 1));
	CHECK(ftt_spooled_oldest(&s, FTT_SPILL_PAGES - 1) == &s.page[1]);
	CHECK(!ftt_spooled_oldest(&s, FTT_SPILL_PAGES)); /* it would need memory */
	s.page[1].used = 9;
	CHECK(ftt_spooled_oldest(&s, FTT_SPILL_PAGES) == &s.page[2]);
}

/* A block has whole pieces, none behind a hole, and knows where in the stream they are. */
static void test_block_of_a_log(void)
{
	static uint8_t memory[1 << 18], bytes[FTT_PIECE_MAX];
	struct ftt_log l = {.bytes = memory, .size = sizeof(memory), .len = 40, .syn_len = 40};
	struct ftt_piece x = {.len = FTT_PIECE_MAX, .bytes = bytes};
	struct ftt_block b;

	for (unsigned i = 0; i < 3; i++, x.offset += x.len)
		CHECK(ftt_log_put(&l, &x, true));
	b = ftt_log_block(&l, 40);
	CHECK_EQ(b.len, 2 * (FTT_PIECE_HEADER + FTT_PIECE_MAX)); /* three do not fit */
	CHECK(b.at == 40 && b.low == 0 && b.high == 2 * FTT_PIECE_MAX);
	x.len = 5;
	x.flags = FTT_PIECE_FIN;
	CHECK(ftt_log_put(&l, &x, true));
	b = ftt_log_block(&l, b.at + b.len);
	CHECK_EQ(b.high, 3 * FTT_PIECE_MAX + 5 + 1); /* the stream's end takes one */
	x.offset += 50;
	x.flags = 0;
	l.fin = false;
	CHECK(ftt_log_put(&l, &x, true));
	CHECK_EQ(ftt_log_block(&l, b.at).len, b.len); /* what lies behind a hole stays */
	CHECK_EQ(ftt_log_block(&l, b.at + b.len).len, 0);
}

/* Histories, output that is retained, packets that are held. */
static void test_other_memory(void)
{
	static const struct ftt_policy rule = {.history_bytes = 1000, .max_retained = 24 * KIB};
	static const struct {
		uint32_t had, need;
		uint64_t used;
		uint32_t size;
	} rows[] = {
		{0, 1, 0, 4096}, {0, 4096, 0, 4096}, {4096, 4097, 4096, 8192}, {0, 9000, 8 * KIB, 16 * KIB}, {0, 9000, 8 * KIB + 1, 0},
		{8 * KIB, 9000, 16 * KIB, 16 * KIB}, {0, FTT_RETAIN_MAX + 1, 0, 0},
	};

	for (size_t i = 0; i < ROWS(rows); i++)
		CHECK_EQ(ftt_store_size(rows[i].had, rows[i].need, rows[i].used, &rule), rows[i].size);
	CHECK(ftt_history_may_grow(900, 100, &rule) && !ftt_history_may_grow(901, 100, &rule));
	CHECK(ftt_history_keeps(FTT_HISTORY_KEPT - 9, 9) && !ftt_history_keeps(FTT_HISTORY_KEPT - 9, 10));
	CHECK(ftt_may_copy(FTT_COPIES_MAX - 9, 9) && !ftt_may_copy(FTT_COPIES_MAX - 9, 10));
}

/* Connections that our server opens: what becomes of one without a partner. */
static void test_openings(void)
{
	static const struct {
		bool own, known, late;
		enum ftt_fate fate;
	} rows[] = {
		{true, false, false, FTT_FATE_GOES_ON}, {true, false, true, FTT_FATE_REFUSED}, {false, false, false, FTT_FATE_GOES_ON},
		{false, false, true, FTT_FATE_FORGOTTEN}, {false, true, true, FTT_FATE_RESET},
	};

	for (size_t i = 0; i < ROWS(rows); i++) {
		struct ftt_flow f = {.bits = rows[i].known ? FTT_F_ESTABLISHED : 0};
		const struct ftt_env *env = node_at(FTT_MODE_BACKUP, MS + policy.opens_wait_ns + (rows[i].own ? 0 : policy.detach_after_ns) + rows[i].late);

		CHECK_EQ(ftt_opening_fate(&f, rows[i].own, MS, env), rows[i].fate);
	}
	CHECK(ftt_opening_fits(FTT_OPENING_MAX - 1) && !ftt_opening_fits(FTT_OPENING_MAX));
}

/* A datagram at the wrong node. expects: it serves in a moment. */
static void test_strays(void)
{
	static const enum ftt_stray_fate ON = FTT_STRAY_PASSED_ON, KEPT = FTT_STRAY_KEPT, GIVEN = FTT_STRAY_GIVEN, STALE = FTT_STRAY_STALE;
	const struct {
		uint8_t mode;
		bool expects;
		enum ftt_stray_fate of_client, whole, part, known;
	} rows[] = {
		{FTT_MODE_IDLE, false, ON, STALE, STALE, STALE},
		{FTT_MODE_IDLE, true, KEPT, KEPT, KEPT, STALE},
		{FTT_MODE_BACKUP, false, ON, KEPT, KEPT, STALE},
		{FTT_MODE_BACKUP, true, KEPT, KEPT, KEPT, STALE},
		{FTT_MODE_PAIRED, true, ON, GIVEN, KEPT, STALE},
		{FTT_MODE_SOLO, true, ON, GIVEN, KEPT, STALE},
		{FTT_MODE_SOLO, false, ON, GIVEN, KEPT, STALE}, /* it gives the role up */
	};
	struct ftt_strays_late late = {.since_ns = MS};

	for (size_t i = 0; i < ROWS(rows); i++) {
		const struct ftt_env *env = node_at(rows[i].mode, MS + FTT_STRAY_PARTS_NS);
		struct ftt_record whole = {.type = FTT_REC_STRAY, .total = 9, .data_len = 9}, part = {.type = FTT_REC_EVENT, .total = 9, .data_len = 8};
		struct ftt_record port = {.type = FTT_REC_EVENT, .flags = FTT_REC_PORT};
		bool serves = rows[i].mode == FTT_MODE_PAIRED || rows[i].mode == FTT_MODE_SOLO;

		CHECK_EQ(ftt_stray_of_client(rows[i].expects, env), rows[i].of_client);
		CHECK_EQ(ftt_stray_of_peer(&whole, rows[i].expects, true, env), rows[i].whole); /* of a STRAY nothing is known */
		CHECK_EQ(ftt_stray_of_peer(&part, rows[i].expects, false, env), rows[i].part);
		CHECK_EQ(ftt_stray_of_peer(&part, rows[i].expects, true, env), rows[i].known);
		CHECK_EQ(ftt_stray_of_peer(&port, rows[i].expects, false, env), STALE);
		CHECK_EQ(ftt_stray_kept(true, MS, env), serves ? GIVEN : KEPT);
		CHECK_EQ(ftt_stray_kept(false, MS, env), KEPT);
		CHECK_EQ(ftt_stray_kept(true, MS - 1, env), STALE);
	}
	CHECK(ftt_strays_have_room(FTT_STRAYS - 1) && !ftt_strays_have_room(FTT_STRAYS));
	for (unsigned i = 0; i < FTT_STRAY_LATE; i++)
		CHECK(ftt_strays_take(&late, MS));
	CHECK(!ftt_strays_take(&late, MS + FTT_STRAY_LATE_NS - 1) && ftt_strays_take(&late, MS + FTT_STRAY_LATE_NS));
}

int main(void)
{
	test_room_of_a_log();
	test_spool();
	test_block_of_a_log();
	test_other_memory();
	test_openings();
	test_strays();
	return 0;
}
