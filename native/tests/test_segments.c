/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Notes on stable storage: what was said to be there is found again, whenever the process dies and wherever a file is torn; a disk that takes
 * nothing for a while loses none.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include "check.h"
#include "engine/stored/replies.h"

#define PATIENCE_MS 20000
#define NAMES 40u /* of requests */
#define NOTES 400u
#define KEEP_S 100u
#define FOR_EVER_S 1000000u
#define LATE_S 5000u /* behind all notes */
#define LONG (1u << 20) /* bytes of a segment */

static char top[] = "/tmp/fttcp-stored-XXXXXX", dir[64], err[256];
static struct ftt_stored_config cfg;
static int told_fd;
static _Atomic uint64_t cut;        /* bytes that were no notes when it was read last */
static _Atomic int unread_error;    /* why it could not be */
static _Atomic int sync_error;
static pthread_mutex_t disk = PTHREAD_MUTEX_INITIALIZER; /* who has it keeps the disk from syncing */

/* In place of the C library's. */
int fdatasync(int fd)
{
	(void)fd;
	pthread_mutex_lock(&disk);
	pthread_mutex_unlock(&disk);
	errno = atomic_load(&sync_error);
	return errno ? -1 : 0;
}

static void told(void *of)
{
	CHECK(of == &told_fd);
	CHECK(!eventfd_write(told_fd, 1));
}

static void has_read(void *of, uint64_t bytes)
{
	cut = bytes;
	told(of);
}

static void has_not_read(void *of, int error, uint64_t serial)
{
	(void)serial;
	unread_error = error;
	told(of);
}

/* Until the thread has said something. */
static void await_word(void)
{
	struct pollfd p = {.fd = told_fd, .events = POLLIN};
	eventfd_t n;

	CHECK_EQ(poll(&p, 1, PATIENCE_MS), 1);
	CHECK(!eventfd_read(told_fd, &n));
}

static void await_there(const struct ftt_replies *t, uint64_t number)
{
	while (ftt_segments_there(t->segments) < number)
		await_word();
}

static void await_read(const struct ftt_replies *t)
{
	while (!ftt_segments_read(t->segments))
		await_word();
}

static void begin_at(struct ftt_replies *t, uint64_t now_s)
{
	const struct ftt_segments_user user = {.of = &told_fd, .read = has_read, .unread = has_not_read, .told = told};

	if (ftt_replies_open(t, &cfg, &user, now_s, err, sizeof(err))) {
		fprintf(stderr, "%s\n", err);
		CHECK(false);
	}
}

static void open_at(struct ftt_replies *t, uint64_t now_s)
{
	begin_at(t, now_s);
	await_read(t);
}

/* Note `number` of a life: which request, what of it, and what its reply is, follow from the number. */
static struct ftt_stored_note note(uint64_t number)
{
	static uint8_t reply[3000];
	uint64_t draw = number * 2654435761u;
	struct ftt_stored_note x = {.number = number, .when_s = 1000 + number / 10, .key = {.proto = 17, .remote_port = 1, .local_port = 2}};

	x.name[0] = (uint8_t)((draw >> 8) % NAMES);
	x.id_len = 2;
	x.id[0] = x.name[0];
	x.kind = (draw >> 20) % 2 ? FTT_STORED_ANSWERED : FTT_STORED_BEGUN;
	x.reply_len = x.kind == FTT_STORED_ANSWERED ? (uint32_t)((draw >> 24) % sizeof(reply)) : 0;
	memset(reply, (int)number, sizeof(reply));
	x.reply = reply;
	return x;
}

static void put(struct ftt_replies *t, uint64_t number)
{
	struct ftt_stored_note x = note(number);

	CHECK(ftt_replies_note(t, &x, false) && t->number == number);
}

/* What is known is what the notes up to the last one say, and nothing else. */
static void check(const struct ftt_replies *t, uint64_t last)
{
	uint64_t of[NAMES] = {0}, bytes = 0, before = 0;
	uint32_t n = 0;

	for (uint64_t number = 1; number <= last; number++)
		of[note(number).name[0]] = number;
	for (unsigned i = 0; i < NAMES; i++) {
		uint8_t name[FTT_STORED_NAME] = {(uint8_t)i};
		const struct ftt_request *r = ftt_replies_find(t, name);
		struct ftt_stored_note x = note(of[i]);

		CHECK(!r == !of[i]);
		if (!r)
			continue;
		n++;
		CHECK(r->number == of[i] && r->when_s == x.when_s && r->kind == x.kind && r->reply_len == x.reply_len);
		CHECK(!x.reply_len || !memcmp(r->reply, x.reply, x.reply_len));
		bytes += FTT_STORED_COST + r->reply_len;
	}
	CHECK_EQ(t->n, n);
	CHECK_EQ(t->bytes, bytes);
	CHECK_EQ(t->number, last);
	for (const struct ftt_list *at = t->order.next; at != &t->order; at = at->next, n--) {
		const struct ftt_request *r = FTT_ENTRY(at, struct ftt_request, order);

		CHECK(r->number > before);
		before = r->number;
	}
	CHECK_EQ(n, 0);
}

/* The files of the directory, the last one by name in `path`; removes all if wanted. */
static unsigned files(char *path, size_t len, bool removes)
{
	DIR *at = opendir(dir);
	char last[300] = "";
	unsigned n = 0;

	CHECK(at);
	for (const struct dirent *one; (one = readdir(at));) {
		if (one->d_name[0] == '.')
			continue;
		n++;
		if (strcmp(one->d_name, last) > 0)
			snprintf(last, sizeof(last), "%s", one->d_name);
		if (removes)
			CHECK(!unlinkat(dirfd(at), one->d_name, 0));
	}
	closedir(at);
	if (path)
		snprintf(path, len, "%s/%s", dir, last);
	return n;
}

static void a_life(uint64_t from, uint64_t to)
{
	struct ftt_replies t;

	open_at(&t, LATE_S);
	check(&t, from - 1);
	for (uint64_t number = from; number <= to; number++)
		put(&t, number);
	check(&t, to);
	await_there(&t, to);
	ftt_replies_close(&t);
}

static void test_what_was_noted_is_found_again(void)
{
	struct ftt_replies t;

	a_life(1, NOTES / 2);
	a_life(NOTES / 2 + 1, NOTES);
	open_at(&t, LATE_S);
	check(&t, NOTES);
	CHECK_EQ(cut, 0);
	ftt_replies_close(&t);
	files(NULL, 0, true);
}

static size_t read_whole(const char *path, uint8_t *bytes, size_t room)
{
	int fd = open(path, O_RDONLY);
	ssize_t n = read(fd, bytes, room);

	CHECK(fd >= 0 && n >= 0 && (size_t)n < room);
	close(fd);
	return (size_t)n;
}

static void write_whole(const char *path, const uint8_t *bytes, size_t n)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600); /* one without notes is deleted when it is met */

	CHECK(fd >= 0 && write(fd, bytes, n) == (ssize_t)n);
	close(fd);
}

/* The last whole note before `end`, if that many bytes are good; `behind`: where it ends. */
static uint64_t last_before(const uint8_t *bytes, size_t end, uint64_t before, size_t *behind)
{
	struct ftt_stored_note x;
	uint32_t len;

	for (*behind = FTT_STORED_START; ftt_stored_get(bytes + *behind, end - *behind, &x, &len) == FTT_STORED_FOUND; *behind += len)
		before = x.number;
	return before;
}

/* Any beginning of the last file, and any byte of it changed: all notes up to there, and none behind. */
static void test_a_torn_end_costs_what_is_torn(void)
{
	static uint8_t bytes[1 << 20];
	char path[400];
	size_t n, behind;

	a_life(1, 30);
	a_life(31, 50);
	CHECK_EQ(files(path, sizeof(path), false), 2);
	n = read_whole(path, bytes, sizeof(bytes));
	CHECK_EQ(last_before(bytes, n, 30, &behind), 50);
	for (size_t end = 0; end <= n; end += end < 200 ? 1 : 131) {
		struct ftt_replies t;
		uint64_t last = end < FTT_STORED_START ? 30 : last_before(bytes, end, 30, &behind);

		write_whole(path, bytes, end);
		open_at(&t, LATE_S);
		check(&t, last);
		CHECK_EQ(cut, end > FTT_STORED_START ? end - behind : 0);
		ftt_replies_close(&t);
	}
	for (size_t at = FTT_STORED_START; at < n; at += 97) {
		struct ftt_replies t;

		bytes[at] ^= 0x10;
		write_whole(path, bytes, n);
		open_at(&t, LATE_S);
		check(&t, last_before(bytes, n, 30, &behind));
		CHECK(behind <= at && cut == n - behind);
		ftt_replies_close(&t);
		bytes[at] ^= 0x10;
	}
	files(NULL, 0, true);
}

/* Without its first bytes a segment still has its notes. */
static void test_a_lost_start_costs_no_note(void)
{
	static uint8_t bytes[1 << 20];
	struct ftt_replies t;
	char path[400];
	size_t n;

	a_life(1, 30);
	files(path, sizeof(path), false);
	n = read_whole(path, bytes, sizeof(bytes));
	memset(bytes, 0, FTT_STORED_START);
	write_whole(path, bytes, n);
	open_at(&t, LATE_S);
	check(&t, 30);
	CHECK_EQ(cut, FTT_STORED_START);
	ftt_replies_close(&t);
	files(NULL, 0, true);
}

static void test_another_release_is_not_overlooked(void)
{
	uint8_t bytes[FTT_STORED_START + 1];
	struct ftt_replies t;
	char path[400];

	a_life(1, 1);
	files(path, sizeof(path), false);
	ftt_stored_start_put(bytes);
	bytes[11]++;
	write_whole(path, bytes, sizeof(bytes));
	begin_at(&t, LATE_S);
	while (unread_error != EPROTO)
		await_word();
	CHECK(!ftt_segments_read(t.segments) && ftt_segments_trouble(t.segments) == EPROTO);
	CHECK(!unlink(path)); /* as somebody does who has read the event: then it goes on by itself */
	await_read(&t);
	CHECK_EQ(t.n, 0);
	ftt_replies_close(&t);
	files(NULL, 0, true);
}

/* It says what it was told to be there, and is killed at some moment. */
static void test_what_is_there_outlives_a_kill(void)
{
	srand(7);
	for (unsigned run = 0; run < 20; run++) {
		uint64_t last = 0, one;
		struct ftt_replies t;
		int said[2], status;
		pid_t child;

		CHECK(!pipe(said));
		child = fork();
		if (!child) {
			open_at(&t, LATE_S);
			for (uint64_t number = 1;; number++) {
				put(&t, number);
				one = ftt_segments_there(t.segments);
				if (write(said[1], &one, sizeof(one)) != sizeof(one))
					_exit(1);
			}
		}
		close(said[1]);
		for (int reports = 1 + rand() % 3000; reports && read(said[0], &one, sizeof(one)) == sizeof(one); reports--)
			last = one;
		CHECK(!kill(child, SIGKILL) && waitpid(child, &status, 0) == child && WIFSIGNALED(status));
		close(said[0]);
		open_at(&t, LATE_S);
		CHECK(t.number >= last);
		check(&t, t.number);
		ftt_replies_close(&t);
		files(NULL, 0, true);
	}
}

static void test_nothing_counts_before_it_is_synced(void)
{
	struct ftt_replies t;

	open_at(&t, LATE_S);
	pthread_mutex_lock(&disk);
	put(&t, 1);
	put(&t, 2);
	CHECK_EQ(ftt_segments_there(t.segments), 0);
	pthread_mutex_unlock(&disk);
	await_there(&t, 2);
	ftt_replies_close(&t);
	files(NULL, 0, true);
}

static void await_trouble(const struct ftt_replies *t, int trouble)
{
	while (ftt_segments_trouble(t->segments) != trouble)
		await_word();
}

static void test_a_full_disk_loses_no_note(void)
{
	struct ftt_replies t;

	open_at(&t, LATE_S);
	put(&t, 1);
	await_there(&t, 1);
	atomic_store(&sync_error, ENOSPC);
	put(&t, 2);
	await_trouble(&t, ENOSPC);
	put(&t, 3);
	CHECK_EQ(ftt_segments_there(t.segments), 1);
	await_word();
	await_word(); /* what was said before does not count */
	atomic_store(&sync_error, 0);
	await_there(&t, 3);
	CHECK_EQ(ftt_segments_trouble(t.segments), 0);
	CHECK_EQ(files(NULL, 0, false), 2); /* none is appended to that had trouble, and it leaves no empty ones */
	ftt_replies_close(&t);
	open_at(&t, LATE_S);
	check(&t, 3);
	ftt_replies_close(&t);
	files(NULL, 0, true);
}

/* A disk that does not answer holds nobody up who closes; while it may still write, nobody else has the directory. */
static void test_a_disk_that_hangs_is_left_to_itself(void)
{
	struct ftt_replies t;

	open_at(&t, LATE_S);
	put(&t, 1);
	await_there(&t, 1);
	pthread_mutex_lock(&disk);
	put(&t, 2);
	ftt_replies_close(&t);
	begin_at(&t, LATE_S);
	while (unread_error != EWOULDBLOCK)
		await_word();
	pthread_mutex_unlock(&disk);
	await_read(&t);
	CHECK(t.number >= 1);
	check(&t, t.number);
	ftt_replies_close(&t);
	files(NULL, 0, true);
}

/* At a start nothing is taken up that is too old, nor more than there is room for; and a wall clock that was ahead makes nothing last longer. */
static void test_what_is_read_is_bounded(void)
{
	uint64_t bytes = cfg.bytes, since = note(NOTES).when_s - 3;
	struct ftt_replies t;

	a_life(1, NOTES);
	cfg.keep_s = KEEP_S;
	open_at(&t, since + KEEP_S);
	CHECK(t.n && t.n < NAMES && FTT_ENTRY(t.order.next, struct ftt_request, order)->when_s >= since);
	CHECK_EQ(t.number, NOTES);
	ftt_replies_close(&t);
	open_at(&t, 1);
	CHECK_EQ(FTT_ENTRY(t.order.prev, struct ftt_request, order)->when_s, 1);
	ftt_replies_close(&t);
	cfg.keep_s = FOR_EVER_S;
	cfg.bytes = 20 * FTT_STORED_COST;
	open_at(&t, LATE_S);
	CHECK(t.n && t.bytes <= cfg.bytes && FTT_ENTRY(t.order.prev, struct ftt_request, order)->number == NOTES);
	ftt_replies_close(&t);
	cfg.bytes = bytes;
	files(NULL, 0, true);
}

/* What is too old is gone, from the disk as well; what is too much is refused, or takes the place of the oldest. */
static void test_bounds(void)
{
	struct ftt_stored_note x = note(1);
	struct ftt_replies t;
	uint64_t number = 0, bytes;

	open_at(&t, LATE_S);
	x.kind = FTT_STORED_ANSWERED;
	x.reply_len = 2000;
	while (ftt_replies_room(&t, x.reply_len, false)) {
		memcpy(x.name, &number, sizeof(number));
		x.when_s = 1000 + number++;
		CHECK(ftt_replies_note(&t, &x, false));
		await_there(&t, number);
	}
	CHECK(t.bytes <= cfg.bytes && t.bytes > cfg.bytes - 4096);
	bytes = ftt_segments_bytes(t.segments);
	CHECK(bytes > cfg.bytes / 2 && files(NULL, 0, false) > 2);
	CHECK(ftt_replies_room(&t, x.reply_len, true) && t.n == number - 1);
	ftt_replies_expire(&t, 1000 + number + KEEP_S + 1);
	CHECK(!t.n && !t.bytes);
	x.name[15] = 1;
	while (ftt_segments_bytes(t.segments) > LONG + 4096) /* the thread deletes them */
		await_word();
	CHECK(files(NULL, 0, false) <= 1);
	ftt_replies_close(&t);
	files(NULL, 0, true);
}

int main(void)
{
	CHECK(sodium_init() >= 0);
	CHECK(mkdtemp(top));
	snprintf(dir, sizeof(dir), "%s/stored-web", top);
	snprintf(cfg.dir, sizeof(cfg.dir), "%s", dir);
	cfg.bytes = 4 << 20;
	cfg.keep_s = FOR_EVER_S; /* but where age matters */
	cfg.id_len = 2;
	told_fd = eventfd(0, EFD_CLOEXEC);
	CHECK(told_fd >= 0);
	test_what_was_noted_is_found_again();
	test_a_torn_end_costs_what_is_torn();
	test_another_release_is_not_overlooked();
	test_what_is_there_outlives_a_kill();
	test_nothing_counts_before_it_is_synced();
	test_a_full_disk_loses_no_note();
	test_a_lost_start_costs_no_note();
	test_a_disk_that_hangs_is_left_to_itself();
	test_what_is_read_is_bounded();
	cfg.keep_s = KEEP_S;
	test_bounds();
	CHECK(!rmdir(dir) && !rmdir(top));
	return 0;
}
