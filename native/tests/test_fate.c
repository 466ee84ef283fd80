/* SPDX-License-Identifier: Apache-2.0 */
/* Tables of what a node makes of a flow: at a takeover, by the primary's word, and when something is full. */
#include "core/tcp/age.h"
#include "core/tcp/heed.h"
#include "core/tcp/taken.h"
#include "core/udp/primary.h"
#include "core/udp/renew.h"
#include "flows.h"

#define ROWS(of) (sizeof(of) / sizeof((of)[0]))

/* A backup's flow, of which its client has all: what is known of both outputs, and what becomes of it. */
static void test_fate_at_a_takeover(void)
{
	static const struct {
		uint8_t protection;
		uint32_t bits;
		struct ftt_compared compared;
		bool in_step, continues; /* policy: unverified = "continue" */
		enum ftt_fate fate;
	} rows[] = {
		{FTT_PROTECTED, 0, {0}, false, false, FTT_FATE_GOES_ON},
		{FTT_NEW, 0, {0}, false, false, FTT_FATE_GOES_ON},
		{FTT_DETACHED, 0, {0}, false, false, FTT_FATE_RESET},
		{FTT_DETACHED, 0, {0}, false, true, FTT_FATE_RESET},
		{FTT_CATCHING_UP, 0, {0}, false, false, FTT_FATE_RESET},
		{FTT_PROTECTED, FTT_F_SUMS, {0}, false, false, FTT_FATE_GOES_ON},
		{FTT_PROTECTED, FTT_F_SUMS | FTT_F_DIFFERS, {0}, false, false, FTT_FATE_UNVERIFIED},
		{FTT_PROTECTED, FTT_F_SUMS | FTT_F_DIFFERS, {0}, false, true, FTT_FATE_GOES_ON},
		{FTT_PROTECTED, FTT_F_SUMS, {.differences = 1}, false, false, FTT_FATE_UNVERIFIED},
		{FTT_PROTECTED, FTT_F_SUMS, {.differences = 1, .closed = true}, false, false, FTT_FATE_GOES_ON},
		{FTT_PROTECTED, FTT_F_SUMS, {.broken = true}, false, false, FTT_FATE_GOES_ON},
		{FTT_PROTECTED, FTT_F_SUMS, {.broken = true}, true, false, FTT_FATE_UNVERIFIED},
		{FTT_PROTECTED, 0, {0}, true, false, FTT_FATE_UNVERIFIED}, /* in step, and without a sum */
		{FTT_PROTECTED, FTT_F_LOCAL_RST, {0}, false, true, FTT_FATE_UNVERIFIED}, /* our server has ended it */
		{FTT_PROTECTED, FTT_F_LOCAL_RST | FTT_F_CLIENT_RST, {0}, false, false, FTT_FATE_GOES_ON},
	};

	for (size_t i = 0; i < ROWS(rows); i++) {
		struct ftt_policy rule = policy;
		struct ftt_env env = *node_at(FTT_MODE_SOLO, 2 * MS);
		bool asked = rows[i].protection != FTT_DETACHED && rows[i].protection != FTT_CATCHING_UP;
		struct ftt_flow f;

		rule.detach_divergent = true;
		rule.continue_unverified = rows[i].continues;
		env.policy = &rule;
		env.in_step = rows[i].in_step;
		make_backup(&f, &plain, MS);
		f.protection = rows[i].protection;
		f.bits = (f.bits & ~(uint32_t)FTT_F_SUMS) | rows[i].bits;
		env.mode = FTT_MODE_BACKUP;
		CHECK_EQ(ftt_flow_would_go_on(&f, &rows[i].compared, &env), asked && rows[i].fate == FTT_FATE_GOES_ON);
		env.mode = FTT_MODE_SOLO;
		CHECK_EQ(ftt_flow_fate(&f, &rows[i].compared, &env), rows[i].fate);
	}
}

/* A connection that the server opens. own: our stack's, without a partner; known: another one has its addresses and ports. */
static void test_fate_of_what_is_opened(void)
{
	static const struct {
		uint32_t bits;
		uint8_t protection, wscale;
		bool own, known;
		enum ftt_fate fate;
	} rows[] = {
		{0, FTT_OPENING, 0, false, false, FTT_FATE_FORGOTTEN}, /* the primary has asked, and its SYN has not left */
		{0, FTT_DETACHED, 0, false, false, FTT_FATE_GOES_ON},  /* it went on alone: its remote end is told */
		{FTT_F_SYNACK, FTT_NEW, 0, true, false, FTT_FATE_GOES_ON},
		{FTT_F_SYNACK, FTT_NEW, 0, true, true, FTT_FATE_REFUSED},
		{FTT_F_SYNACK, FTT_PROTECTED, 0, false, false, FTT_FATE_GOES_ON},
		{FTT_F_SYNACK, FTT_PROTECTED, 3, false, false, FTT_FATE_REFUSED}, /* nobody knows which of two scales it was told */
		{FTT_F_SYNACK | FTT_F_MAPPED, FTT_PROTECTED, 3, false, false, FTT_FATE_GOES_ON},
		{FTT_F_SYNACK, FTT_DETACHED, 3, false, false, FTT_FATE_GOES_ON},
	};

	for (size_t i = 0; i < ROWS(rows); i++) {
		struct ftt_flow f = {.bits = rows[i].bits, .protection = rows[i].protection, .opener = FTT_OPENED_LOCAL};

		f.hard.local_wscale = rows[i].wscale;
		CHECK_EQ(ftt_opened_fate(&f, rows[i].own, rows[i].known), rows[i].fate);
	}
}

/* Of a flow that a backup does not know, has half, holds, or has let go. */
static void test_what_a_backup_heeds(void)
{
	static const unsigned H = FTT_HEEDED, A = FTT_ANSWERED;
	const struct {
		uint8_t type;
		unsigned unknown, opening, holds, gone;
	} rows[] = {
		{FTT_REC_OPEN, H, H, H, A},
		{FTT_REC_PROBE, A, A, H, A},
		{FTT_REC_OUTPUT, 0, 0, H, 0},
		{FTT_REC_RENEW, A, H, H, A},
		{FTT_REC_DISCARD, 0, 0, H, H},
		{FTT_REC_DETACH, A, A | H, A | H, A},
		{FTT_REC_CLOSE, 0, H, H, H},
		{FTT_REC_COMMIT, H, H, H, H}, /* none for a backup: it is counted, whatever it is about */
	};
	struct ftt_flow opening = {.protection = FTT_NEW}, holds = {.protection = FTT_PROTECTED, .bits = FTT_F_MAPPED};
	struct ftt_flow gone = {.protection = FTT_DETACHED, .bits = FTT_F_MAPPED}, half = {.protection = FTT_PROTECTED};

	for (size_t i = 0; i < ROWS(rows); i++) {
		CHECK_EQ(ftt_backup_heeds(NULL, rows[i].type), rows[i].unknown);
		CHECK_EQ(ftt_backup_heeds(&opening, rows[i].type), rows[i].opening);
		CHECK_EQ(ftt_backup_heeds(&holds, rows[i].type), rows[i].holds);
		CHECK_EQ(ftt_backup_heeds(&gone, rows[i].type), rows[i].gone);
	}
	CHECK_EQ(ftt_backup_heeds(&half, FTT_REC_PROBE), 0); /* opened by our server, and not answered yet */
	half.bits = FTT_F_ESTABLISHED;
	CHECK(ftt_flow_is_past(&half, true) && !ftt_flow_is_past(&half, false) && !ftt_flow_is_past(&holds, true));
}

/* The last one that has room, and the first that has not. */
static void test_bounds(void)
{
	struct ftt_policy rule = {.max_flows = 3, .max_half_open = 2, .max_held = 4, .max_udp_bytes = 100};
	struct ftt_env env = {.policy = &rule};
	struct ftt_burst b = {0};
	struct ftt_session s;

	ftt_session_init(&s, MS);
	CHECK(!ftt_flows_full(2, &env) && ftt_flows_full(3, &env));
	CHECK(!ftt_half_open_full(1, &env) && ftt_half_open_full(2, &env));
	CHECK(ftt_session_admitted(2, &env) && !ftt_session_admitted(3, &env));
	CHECK(ftt_session_may_hold(3, &env) && !ftt_session_may_hold(4, &env));
	CHECK(ftt_session_fits(60, 40, &env) && !ftt_session_fits(60, 41, &env));
	s.events = FTT_UDP_WINDOW - 1;
	CHECK(ftt_session_has_room(&s, 60, 40, &env) && !ftt_session_has_room(&s, 60, 41, &env));
	s.events = FTT_UDP_WINDOW;
	CHECK(!ftt_session_has_room(&s, 0, 1, &env));
	for (unsigned i = 0; i < FTT_UDP_BURST; i++)
		CHECK(ftt_burst_takes(&b, 100, 5 * MS));
	CHECK(!ftt_burst_takes(&b, 100, 5 * MS + FTT_UDP_BURST_NS - 1));
	CHECK(ftt_burst_takes(&b, 7 * 1024, 5 * MS + FTT_UDP_BURST_NS)); /* counts as eight */
	CHECK(!ftt_burst_takes(&b, 0, 5 * MS + FTT_UDP_BURST_NS));
}

/* Who makes room for whom. stands: it has not got on for a second. */
static void test_who_gives_way(void)
{
	static const struct {
		enum ftt_age age;
		bool stands, flow, handshake, stranger, one_of_many;
	} rows[] = {
		{FTT_AGE_REFUSED, false, true, true, true, true},
		{FTT_AGE_CLOSED, false, true, false, true, false},
		{FTT_AGE_LET_GO, false, true, false, true, false},
		{FTT_AGE_STRANGER, false, true, false, true, true},
		{FTT_AGE_HALF_OPEN, false, false, false, false, false},
		{FTT_AGE_HALF_OPEN, true, true, true, false, false},
	};

	for (size_t i = 0; i < ROWS(rows); i++) {
		uint64_t silent_ns = rows[i].stands ? FTT_HANDSHAKE_NS : FTT_HANDSHAKE_NS - 1;

		CHECK_EQ(ftt_age_gives_way(rows[i].age, FTT_COMES_FLOW, silent_ns, true), rows[i].flow);
		CHECK_EQ(ftt_age_gives_way(rows[i].age, FTT_COMES_HANDSHAKE, silent_ns, true), rows[i].handshake);
		CHECK_EQ(ftt_age_gives_way(rows[i].age, FTT_COMES_STRANGER, silent_ns, false), rows[i].stranger);
		CHECK_EQ(ftt_age_gives_way(rows[i].age, FTT_COMES_STRANGER, silent_ns, true), rows[i].one_of_many);
	}
	for (enum ftt_newcomer to = FTT_COMES_FLOW; to <= FTT_COMES_STRANGER; to++) {
		unsigned ages = 0;

		for (unsigned i = 0; i < FTT_YIELDING_AGES; i++)
			ages |= 1u << ftt_age_yielding(i, to);
		CHECK_EQ(ages, (1u << FTT_AGES) - 1 - (1u << FTT_AGE_LIVING) - (1u << FTT_AGE_ENDING));
	}
	CHECK_EQ(ftt_age_yielding(3, FTT_COMES_FLOW), FTT_AGE_STRANGER);
	CHECK_EQ(ftt_age_yielding(3, FTT_COMES_STRANGER), FTT_AGE_LET_GO);
}

int main(void)
{
	test_fate_at_a_takeover();
	test_who_gives_way();
	test_fate_of_what_is_opened();
	test_what_a_backup_heeds();
	test_bounds();
	return 0;
}
