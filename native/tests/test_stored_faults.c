/* SPDX-License-Identifier: Apache-2.0 */
/* Two nodes with stored replies where a disk is full or hangs, or the other node is not heard: nothing waits for ever, and what is promised holds. */
#define _GNU_SOURCE
#include "stored_rig.h"

/* A disk that does not answer says nothing of itself. */
static void test_a_disk_that_hangs_is_told_of(void)
{
	struct ftt_stored_config small = usual;

	for (small.go_on = 0; small.go_on < 2; small.go_on++) {
		begin_one(&small);
		turn(&p);
		pthread_mutex_lock(&disk);
		now += BOUND_NS + 1; /* before it had nothing to do: that is no trouble */
		ask(&p, CLIENT, "one");
		turn(&p);
		now += BOUND_NS;
		turn(&p);
		CHECK(!p.n_passed && !p.worker.stored->trouble && !p.news[FTT_STORED_TROUBLE]);
		now++;
		turn(&p);
		CHECK(p.worker.stored->trouble == ETIMEDOUT && p.news[FTT_STORED_TROUBLE] == 1);
		CHECK_EQ(p.n_passed, small.go_on);
		pthread_mutex_unlock(&disk);
		settle();
		CHECK(p.n_passed == 1 && !p.worker.stored->trouble && p.news[FTT_STORED_GOOD] == 1);
		end(&p);
	}
}

/* What the disk was not given, since too much waited for it, is not waited for. */
static void test_what_is_in_memory_only_is_no_trouble(void)
{
	static uint8_t reply[60000];
	struct ftt_stored_config large = usual;
	struct ftt_stored_note x = {.kind = FTT_STORED_ANSWERED, .reply = reply, .reply_len = sizeof(reply)};
	struct ftt_replies *t;

	large.bytes = 1 << 30;
	large.go_on = 1;
	begin_one(&large);
	t = &p.worker.stored->t;
	pthread_mutex_lock(&disk);
	while (t->given == t->number) {
		memcpy(x.name, &t->number, sizeof(t->number));
		CHECK(ftt_replies_note(t, &x, true));
	}
	CHECK(!ftt_replies_note(t, &x, false));
	pthread_mutex_unlock(&disk);
	while (ftt_segments_there(t->segments) < t->given)
		await_word();
	turn(&p);
	now += BOUND_NS + 1;
	turn(&p);
	CHECK(!p.worker.stored->trouble && t->given == t->number - 1);
	end(&p);
}

static void hear_backup(void)
{
	turn(&p);
	carry(&p, &b);
	turn(&b);
	carry(&b, &p);
	turn(&p);
}

/* What a backup has no room for is asked for again now and then, and not all the time. */
static void test_a_backup_that_takes_no_more_rests(void)
{
	static uint8_t reply[60000], note[FTT_STORED_NOTE_MAX];
	struct ftt_stored_note x = {.kind = FTT_STORED_ANSWERED, .reply = reply, .reply_len = sizeof(reply)};
	enum ftt_lane_answer answer;

	begin_pair(&usual);
	settle();
	pthread_mutex_lock(&disk);
	do {
		x.number++;
		memcpy(x.name, &x.number, sizeof(x.number));
		answer = ftt_stored_message(&b.worker, FTT_LANE_STORED, note, ftt_stored_put(note, &x));
	} while (answer == FTT_LANE_TAKEN);
	CHECK_EQ(answer, FTT_LANE_NOT_NOW);
	turn(&b);
	CHECK(!b.resumed);
	ftt_stored_sweep(&b.worker);
	CHECK(b.resumed);
	pthread_mutex_unlock(&disk);
	await_disk(&b);
	CHECK_EQ(ftt_stored_message(&b.worker, FTT_LANE_STORED, note, ftt_stored_put(note, &x)), FTT_LANE_TAKEN);
	await_disk(&b);
	end(&p);
	end(&b);
}

/* Its own disk is not waited for while the backup's has all. */
static void test_a_primary_whose_disk_hangs(void)
{
	begin_pair(&usual);
	settle();
	pthread_mutex_lock(&disk);
	ask(&p, CLIENT, "one");
	ask(&p, CLIENT + 1, "one");
	turn(&p);
	carry(&p, &b);
	ftt_stored_pair_word(&p.worker.stored->pair, 1, 0, now); /* the other disk is quicker */
	now += BOUND_NS;
	turn(&p);
	CHECK(in_step() && !p.n_passed);
	now++;
	p.worker.stored->moved_ns -= 2;
	turn(&p);
	CHECK(p.worker.stored->trouble == ETIMEDOUT && p.n_passed == 1);
	pthread_mutex_unlock(&disk);
	settle();
	CHECK(p.n_passed == 2 && !p.worker.stored->trouble);
	end(&p);
	end(&b);
}

/* It is waited for as long as the bound says. Then the primary goes on with its own disk, tells why, and takes it back when it has all. */
static void test_a_backup_that_does_not_store_holds_nothing_up(void)
{
	begin_pair(&usual);
	settle();
	ask(&p, CLIENT, "one");
	await_disk(&p);
	pthread_mutex_lock(&disk); /* the backup's: the primary's has it stored */
	hear_backup();
	now += BOUND_NS;
	hear_backup();
	CHECK(in_step() && !p.n_passed);
	now++;
	turn(&p);
	CHECK(!in_step() && p.n_passed == 1 && p.worker.n.stored_alone == 1);
	CHECK(p.news[FTT_STORED_BEHIND] == 1 && p.lag == FTT_STORED_LATE);
	hear_backup();
	CHECK(p.news[FTT_STORED_BEHIND] == 2 && p.lag == FTT_STORED_ITS_DISK);
	CHECK(b.worker.stored->trouble == ETIMEDOUT && p.worker.stored->pair.trouble == ETIMEDOUT);
	pthread_mutex_unlock(&disk);
	settle();
	CHECK(!in_step() && !p.worker.stored->pair.unwell_ns); /* it has all; but it may fail again soon */
	answer(&p, CLIENT, "first");
	await_disk(&p);
	turn(&p);
	CHECK_EQ(p.n_passed, 2);
	now += FTT_STORED_AGAIN_NS;
	settle();
	CHECK(in_step() && p.news[FTT_STORED_IN_STEP] == 2);
	role(&b, FTT_MODE_SOLO);
	ask(&b, CLIENT, "one");
	CHECK(has_said(&b, "first"));
	end(&p);
	end(&b);
}

/* A disk that refuses is known before anything waits for it. */
static void test_a_backup_whose_disk_is_full(void)
{
	begin_pair(&usual);
	settle();
	ask(&p, CLIENT, "one");
	await_disk(&p);
	atomic_store(&sync_error, ENOSPC);
	turn(&p);
	carry(&p, &b);
	await_trouble(&b, ENOSPC);
	hear_backup();
	CHECK(in_step() && p.worker.stored->pair.trouble == ENOSPC);
	now += BOUND_NS + 1;
	hear_backup();
	CHECK(!in_step() && p.n_passed == 1 && p.lag == FTT_STORED_ITS_DISK);
	atomic_store(&sync_error, 0);
	await_disk(&b);
	now += FTT_STORED_AGAIN_NS;
	settle();
	CHECK(in_step() && b.worker.stored->t.n == 1);
	end(&p);
	end(&b);
}

/* One that is lost on the way is waited for as well; a node of another release says nothing, and is never in step. */
static void test_a_backup_that_is_not_heard(void)
{
	begin_pair(&usual);
	settle();
	lanes(false);
	ask(&p, CLIENT, "one");
	await_disk(&p);
	turn(&p);
	CHECK(in_step() && !p.n_passed);
	now += BOUND_NS + 1;
	turn(&p);
	CHECK(!in_step() && p.n_passed == 1 && p.lag == FTT_STORED_NO_LANE);
	end(&b);
	role(&p, FTT_MODE_PAIRED);
	p.lane_up = true;
	ftt_stored_lane(&p.worker, true);
	answer(&p, CLIENT, "first");
	await_disk(&p);
	turn(&p);
	CHECK(!in_step() && p.n_passed == 2);
	now += BOUND_NS + 1;
	turn(&p);
	CHECK(!in_step() && p.lag == FTT_STORED_SAYS_NOTHING && p.news[FTT_STORED_BEHIND] == 2);
	end(&p);
}

/* Each failure that follows soon on another costs clients the bound: they become rare. */
static void test_a_backup_that_fails_again_and_again_is_waited_for_less_often(void)
{
	unsigned failures;
	uint16_t client = 1000;
	uint64_t until;

	begin_pair(&usual);
	settle();
	for (until = now + 600000 * MS; now < until; now += 100 * MS) {
		if (!p.worker.stored->n_waits)
			ask(&p, client++, "one");
		await_disk(&p);
		turn(&p);
		if (p.worker.stored->pair.stage == FTT_STORED_ALONE) /* it stores what nobody waits for */
			settle();
	}
	failures = p.news[FTT_STORED_BEHIND];
	CHECK(failures > 6 && failures < 20);
	end(&p);
	end(&b);
}

/* What a wall clock says in another place, or later, makes no note older. */
static void test_clocks_of_nodes_differ(void)
{
	const struct ftt_request *r;

	begin_pair(&usual);
	b.worker.stored->ahead_s += 5000;
	ask(&p, CLIENT, "one");
	settle();
	now += 600000 * MS;
	ask(&p, CLIENT + 1, "two");
	settle();
	ftt_stored_sweep(&b.worker);
	CHECK_EQ(b.worker.stored->t.n, 2);
	r = FTT_ENTRY(b.worker.stored->t.order.next, struct ftt_request, order);
	CHECK_EQ(ftt_stored_now_s(b.worker.stored, now) - r->when_s, 600);
	now += 401000 * MS;
	ftt_stored_sweep(&b.worker);
	ftt_stored_sweep(&p.worker);
	CHECK(b.worker.stored->t.n == 1 && p.worker.stored->t.n == 1);
	end(&p);
	end(&b);
}

int main(void)
{
	CHECK(sodium_init() >= 0 && mkdtemp(top));
	woken_fd = eventfd(0, EFD_CLOEXEC);
	CHECK(woken_fd >= 0);
	test_a_disk_that_hangs_is_told_of();
	test_what_is_in_memory_only_is_no_trouble();
	test_a_backup_that_takes_no_more_rests();
	test_a_backup_that_does_not_store_holds_nothing_up();
	test_a_primary_whose_disk_hangs();
	test_a_backup_whose_disk_is_full();
	test_a_backup_that_is_not_heard();
	test_a_backup_that_fails_again_and_again_is_waited_for_less_often();
	test_clocks_of_nodes_differ();
	CHECK(!rmdir(top));
	return 0;
}
