/* SPDX-License-Identifier: Apache-2.0 */
/* What two nodes with stored replies do with a request, a reply and a retry, and what the backup knows at a takeover. */
#define _GNU_SOURCE
#include "stored_rig.h"

static void test_one_is_executed_once_and_answered_as_often_as_it_comes(void)
{
	uint32_t id;

	begin_one(&usual);
	pthread_mutex_lock(&disk);
	id = ask(&p, CLIENT, "add 1");
	turn(&p);
	CHECK(!p.n_passed && !p.n_dropped); /* it waits for the disk */
	ask(&p, CLIENT, "add 1");
	CHECK(p.n_dropped == 1 && p.worker.n.stored_running == 1);
	pthread_mutex_unlock(&disk);
	settle();
	CHECK(p.n_passed == 1 && p.passed == id);
	ask(&p, CLIENT, "add 1"); /* the server has it */
	CHECK(p.n_dropped == 2 && p.n_passed == 1);
	pthread_mutex_lock(&disk);
	id = answer(&p, CLIENT, "it is 1");
	turn(&p);
	ask(&p, CLIENT, "add 1"); /* its reply is not kept yet */
	CHECK(p.n_dropped == 3 && p.n_passed == 1 && !p.n_said);
	pthread_mutex_unlock(&disk);
	settle();
	CHECK(p.n_passed == 2 && p.passed == id && !p.n_said);
	ask(&p, CLIENT, "add 1");
	CHECK(p.n_dropped == 4 && p.n_said == 1 && has_said(&p, "it is 1"));
	ask(&p, CLIENT, "add 1");
	CHECK(p.n_said == 2 && p.worker.n.stored_said == 2 && p.worker.n.stored_begun == 1);
	id = ask(&p, CLIENT + 1, "add 1"); /* of somebody else it is another one */
	settle();
	CHECK_EQ(p.passed, id);
	answer(&p, CLIENT, "unasked");
	CHECK(p.worker.n.stored_unasked == 1 && p.n_passed == 4);
	end(&p);
}

static void test_it_is_known_after_a_start(void)
{
	struct ftt_stored_config again = usual;

	for (again.again = 0; again.again < 2; again.again++) {
		begin_one(&again);
		ask(&p, CLIENT, "one");
		settle();
		answer(&p, CLIENT, "first");
		settle();
		ask(&p, CLIENT, "two"); /* begun, and no more */
		settle();
		ftt_stored_close(&p.worker);
		open_node(&p);
		p.n_passed = p.n_dropped = 0;
		ask(&p, CLIENT, "one");
		CHECK(p.n_dropped == 1 && has_said(&p, "first"));
		ask(&p, CLIENT, "two");
		settle();
		CHECK_EQ(p.n_passed, again.again);
		CHECK_EQ(p.worker.n.stored_unanswered, !again.again);
		end(&p);
	}
}

static void test_replies_that_could_not_be_told_apart(void)
{
	struct ftt_stored_config by = usual;

	begin_one(&usual);
	ask(&p, CLIENT, "one");
	settle();
	ask(&p, CLIENT, "two");
	CHECK(p.n_dropped == 1 && p.worker.n.stored_busy == 1);
	now += 1001 * MS; /* the first is not answered any more */
	ask(&p, CLIENT, "two");
	settle();
	CHECK_EQ(p.n_passed, 2);
	ask(&p, CLIENT, "one");
	CHECK_EQ(p.worker.n.stored_unanswered, 1);
	end(&p);

	by.id_at = 1;
	by.id_len = 2;
	begin_one(&by);
	ask(&p, CLIENT, "qAAone");
	ask(&p, CLIENT, "qBBtwo");
	settle();
	CHECK_EQ(p.n_passed, 2);
	answer(&p, CLIENT, "rBBto two");
	answer(&p, CLIENT, "rAAto one");
	settle();
	ask(&p, CLIENT, "qAAone");
	CHECK(has_said(&p, "rAAto one"));
	ask(&p, CLIENT, "qBBtwo");
	CHECK(has_said(&p, "rBBto two"));
	ask(&p, CLIENT, "qAAnew");
	settle();
	CHECK_EQ(p.n_passed, 5); /* another payload */
	end(&p);

	by.by_id = 1;
	begin_one(&by);
	ask(&p, CLIENT, "qAAone");
	settle();
	answer(&p, CLIENT, "rAA1");
	settle();
	ask(&p, CLIENT, "qAAand a time that a retry has anew");
	CHECK(has_said(&p, "rAA1"));
	end(&p);
}

static void test_nothing_leaves_before_the_backup_has_it(void)
{
	uint32_t id;

	begin_pair(&usual);
	settle();
	CHECK(in_step() && p.news[FTT_STORED_IN_STEP] == 1);
	id = ask(&p, CLIENT, "one");
	await_disk(&p);
	turn(&p);
	CHECK(!p.n_passed);
	carry(&p, &b);
	await_disk(&b);
	turn(&b);
	CHECK(!p.n_passed);
	carry(&b, &p);
	turn(&p);
	CHECK(p.n_passed == 1 && p.passed == id);
	id = answer(&p, CLIENT, "first");
	await_disk(&p);
	turn(&p);
	CHECK_EQ(p.n_passed, 1);
	settle();
	CHECK(p.n_passed == 2 && p.passed == id);
	ask(&p, CLIENT, "two");
	settle();
	CHECK_EQ(p.n_passed, 3);

	role(&b, FTT_MODE_SOLO); /* the primary is dead */
	ask(&b, CLIENT, "one");
	CHECK(has_said(&b, "first") && b.n_dropped == 1);
	ask(&b, CLIENT, "two");
	CHECK(b.n_dropped == 2 && b.worker.n.stored_unanswered == 1);
	id = ask(&b, CLIENT, "three");
	await_disk(&b);
	turn(&b);
	CHECK(b.n_passed == 1 && b.passed == id);
	end(&p);
	end(&b);
}

/* What was stored before, also while the lane is slower than clients; and what both have is written once. */
static void test_a_backup_catches_up(void)
{
	uint64_t number;

	begin_pair(&usual);
	lanes(false);
	role(&p, FTT_MODE_SOLO);
	for (uint16_t i = 0; i < 20; i++)
		ask(&p, CLIENT + i, "one");
	settle();
	CHECK_EQ(p.n_passed, 20);
	for (uint16_t i = 0; i < 10; i++)
		answer(&p, CLIENT + i, "first");
	settle();
	role(&p, FTT_MODE_PAIRED);
	p.lane_full = true;
	lanes(true);
	turn(&p);
	CHECK(!p.lane_len);
	answer(&p, CLIENT + 10, "first"); /* nothing waits for it yet */
	await_disk(&p);
	turn(&p);
	CHECK(p.n_passed == 31 && !in_step() && p.worker.n.stored_alone == 1);
	p.lane_full = false;
	settle();
	CHECK(in_step() && b.worker.stored->t.n == 20);
	number = b.worker.stored->t.number;
	lanes(false); /* what it has stored it has */
	turn(&p);
	CHECK(in_step() && !p.news[FTT_STORED_BEHIND]);
	lanes(true);
	settle();
	CHECK(in_step() && b.worker.stored->t.number == number && p.news[FTT_STORED_IN_STEP] == 1);
	role(&p, FTT_MODE_PAIRED); /* of another pairing it is not known */
	CHECK(!in_step());
	lanes(true);
	settle();
	CHECK(in_step() && b.worker.stored->t.number == number && p.news[FTT_STORED_IN_STEP] == 2);
	role(&b, FTT_MODE_SOLO);
	ask(&b, CLIENT + 10, "one");
	CHECK(has_said(&b, "first"));
	end(&p);
	end(&b);
}

static void test_a_node_that_does_not_serve_lets_nothing_pass(void)
{
	begin_one(&usual);
	pthread_mutex_lock(&disk);
	ask(&p, CLIENT, "one");
	role(&p, FTT_MODE_BACKUP);
	CHECK(p.n_dropped == 1 && !p.worker.stored->n_waits);
	pthread_mutex_unlock(&disk);
	ask(&p, CLIENT, "two");
	answer(&p, CLIENT, "first");
	CHECK(p.n_dropped == 3 && !p.n_passed);
	role(&p, FTT_MODE_SOLO);
	ask(&p, CLIENT, "three");
	settle();
	CHECK_EQ(p.n_passed, 1);
	ask(&p, CLIENT + 1, "four");
	atomic_store(&p.engine.shared.lease_until_ns, 0);
	answer(&p, CLIENT, "third"); /* without the lease it is stored, and nothing leaves */
	settle();
	ask(&p, CLIENT, "three");
	CHECK(p.n_passed == 1 && !p.n_said && p.worker.stored->n_waits == 2);
	atomic_store(&p.engine.shared.lease_until_ns, UINT64_MAX);
	ask(&p, CLIENT, "three");
	CHECK(has_said(&p, "third"));
	turn(&p);
	CHECK(p.n_passed == 3 && !p.worker.stored->n_waits); /* what was begun is executed */
	answer(&p, CLIENT + 1, "fourth");
	settle();
	CHECK_EQ(p.n_passed, 4);
	end(&p);
}

static void test_bounds_and_a_full_disk(void)
{
	struct ftt_stored_config small = usual;
	char request[24];

	small.bytes = 8 * FTT_STORED_COST;
	for (small.go_on = 0; small.go_on < 2; small.go_on++) {
		begin_one(&small);
		for (int i = 0; i < 12; i++) {
			snprintf(request, sizeof(request), "number %d", i);
			ask(&p, (uint16_t)(CLIENT + i), request);
			settle();
		}
		CHECK_EQ(p.n_passed, small.go_on ? 12 : 8);
		CHECK_EQ(p.worker.n.stored_refused, small.go_on ? 0 : 4);
		CHECK_EQ(p.news[FTT_STORED_NO_ROOM], !small.go_on);
		CHECK_EQ(p.worker.stored->t.n, 8);
		answer(&p, CLIENT + 7, "with no room for it");
		settle();
		CHECK_EQ(p.n_passed, small.go_on ? 13 : 8);
		end(&p);
	}
	small.bytes = usual.bytes;
	for (small.go_on = 0; small.go_on < 2; small.go_on++) {
		begin_one(&small);
		atomic_store(&sync_error, ENOSPC);
		ask(&p, CLIENT, "one");
		await_trouble(&p, ENOSPC);
		CHECK_EQ(p.n_passed, small.go_on);
		CHECK_EQ(p.news[FTT_STORED_TROUBLE], 1);
		atomic_store(&sync_error, 0);
		await_trouble(&p, 0);
		settle();
		CHECK(p.n_passed == 1 && p.news[FTT_STORED_GOOD] == 1);
		end(&p);
	}
}

static void test_strange_words_of_the_other_node(void)
{
	uint8_t bytes[FTT_STORED_HEAD + 8];
	struct ftt_stored_note x = {.number = 1, .kind = FTT_STORED_BEGUN};
	uint32_t len = ftt_stored_put(bytes, &x);

	begin_pair(&usual);
	CHECK_EQ(ftt_stored_message(&b.worker, FTT_LANE_STORED, bytes, len - 1), FTT_LANE_BAD);
	bytes[20] ^= 1;
	CHECK_EQ(ftt_stored_message(&b.worker, FTT_LANE_STORED, bytes, len), FTT_LANE_BAD);
	bytes[20] ^= 1;
	CHECK_EQ(ftt_stored_message(&b.worker, FTT_LANE_STORED, bytes, len), FTT_LANE_TAKEN);
	CHECK_EQ(ftt_stored_message(&p.worker, FTT_LANE_STORED, bytes, len), FTT_LANE_TAKEN); /* it has no primary */
	CHECK(!p.worker.stored->t.n && b.worker.stored->t.n == 1);
	CHECK_EQ(ftt_stored_message(&p.worker, FTT_LANE_STORED_TO, bytes, 11), FTT_LANE_BAD);
	memset(bytes, 0, sizeof(bytes));
	bytes[0] = 0x7f; /* what it was not sent it has not stored */
	CHECK(ftt_stored_message(&p.worker, FTT_LANE_STORED_TO, bytes, 12) == FTT_LANE_TAKEN && !p.worker.stored->pair.acked);
	end(&p);
	end(&b);
}

int main(void)
{
	CHECK(sodium_init() >= 0 && mkdtemp(top));
	woken_fd = eventfd(0, EFD_CLOEXEC);
	CHECK(woken_fd >= 0);
	test_one_is_executed_once_and_answered_as_often_as_it_comes();
	test_it_is_known_after_a_start();
	test_replies_that_could_not_be_told_apart();
	test_bounds_and_a_full_disk();
	test_nothing_leaves_before_the_backup_has_it();
	test_a_backup_catches_up();
	test_a_node_that_does_not_serve_lets_nothing_pass();
	test_strange_words_of_the_other_node();
	CHECK(!rmdir(top));
	return 0;
}
