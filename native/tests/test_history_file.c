/* SPDX-License-Identifier: Apache-2.0 */
/* A history on disk: what counts as kept is in the file, by the policy; what goes wrong ends the history, and nobody waits for it. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>
#include "check.h"
#include "core/history.h"
#include "engine/history/file.h"

#define PATIENCE_MS 20000
#define SOME 200u

static char dir[] = "/tmp/fttcp-history-XXXXXX", path[64], err[256];
static uint8_t head[40] = {1, 2, 3}, frame[FTT_HISTORY_FRAME_MAX], payload[32000], *file;
static int told_fd;
static _Atomic uint32_t syncs;
static _Atomic int sync_error;
static sem_t may_sync;
static _Atomic bool syncs_wait;

/* In place of the C library's. */
int fdatasync(int fd)
{
	(void)fd;
	if (atomic_load(&syncs_wait))
		sem_wait(&may_sync);
	atomic_fetch_add(&syncs, 1);
	errno = atomic_load(&sync_error);
	return errno ? -1 : 0;
}

static void told(void *of)
{
	CHECK(of == &told_fd);
	CHECK(!eventfd_write(told_fd, 1));
}

static struct ftt_history_file *fresh(uint32_t policy, uint64_t every_ns, uint64_t most)
{
	struct ftt_history_settings s = {.path = path, .head = head, .head_len = sizeof(head), .fsync = policy, .every_ns = every_ns, .most = most};
	struct ftt_history_file *h = ftt_history_file_open(&s, err, sizeof(err));

	CHECK(h);
	ftt_history_file_tell(h, told, &told_fd);
	return h;
}

static void await(void)
{
	struct pollfd p = {.fd = told_fd, .events = POLLIN};
	eventfd_t n;

	CHECK_EQ(poll(&p, 1, PATIENCE_MS), 1);
	CHECK(!eventfd_read(told_fd, &n));
}

static void await_there(const struct ftt_history_file *h, uint64_t place)
{
	while (ftt_history_file_there(h) < place)
		await();
}

static uint64_t put(struct ftt_history_file *h, uint32_t number, uint32_t len)
{
	struct ftt_history_event x = {.kind = FTT_HISTORY_INPUT, .key = {.proto = 6, .remote = {9}, .local = {8}}, .irs = number,
				      .piece = {.len = (uint16_t)len, .bytes = payload}};

	return ftt_history_file_put(h, frame, ftt_history_put(frame, sizeof(frame), &x));
}

/* How many whole inputs the file has, in order, from the first one on; `done`: and that it ends in good order. Then it is removed. */
static uint32_t read_file(bool *done, enum ftt_history_found *last)
{
	int fd = open(path, O_RDONLY);
	struct stat st;
	uint64_t at = FTT_HISTORY_START;
	uint32_t n = 0, sum = 0, len;
	struct ftt_history_event x;

	CHECK(fd >= 0 && !fstat(fd, &st));
	CHECK_EQ(st.st_mode & 0777, 0600);
	file = malloc((size_t)st.st_size + 1);
	CHECK(file && read(fd, file, (size_t)st.st_size) == st.st_size);
	close(fd);
	CHECK_EQ(ftt_history_version(file), FTT_HISTORY_VERSION);
	*done = false;
	*last = FTT_HISTORY_EVENT;
	for (bool first = true; at < (uint64_t)st.st_size; at += len, first = false) {
		*last = ftt_history_get(file + at, (uint64_t)st.st_size - at, &sum, &x, &len);
		if (*last != FTT_HISTORY_EVENT)
			break;
		CHECK(!*done && first == (x.kind == FTT_HISTORY_HEAD));
		if (first)
			CHECK(x.data_len == sizeof(head) && !memcmp(x.data, head, sizeof(head)));
		*done = x.kind == FTT_HISTORY_DONE;
		if (x.kind == FTT_HISTORY_INPUT)
			CHECK_EQ(x.irs, n++);
	}
	free(file);
	CHECK(!unlink(path));
	return n;
}

static void is_written(uint32_t policy, uint64_t every_ns)
{
	struct ftt_history_file *h = fresh(policy, every_ns, 1ull << 40);
	enum ftt_history_found last;
	uint32_t before = atomic_load(&syncs);
	uint64_t place = 0;
	bool done;

	for (uint32_t i = 0; i < SOME; i++) {
		place = put(h, i, 1 + i * 100);
		CHECK(place);
	}
	await_there(h, place);
	CHECK_EQ(ftt_history_file_there(h), place);
	if (policy == FTT_FSYNC_BATCH)
		CHECK(atomic_load(&syncs) > before);
	if (policy == FTT_FSYNC_EVERY)
		while (atomic_load(&syncs) == before) /* it comes by itself, and is told */
			await();
	CHECK_EQ(ftt_history_file_why(h), 0);
	ftt_history_file_close(h, true);
	if (policy == FTT_FSYNC_NEVER)
		CHECK_EQ(atomic_load(&syncs), before);
	CHECK_EQ(read_file(&done, &last), SOME);
	CHECK(done && last == FTT_HISTORY_EVENT);
}

/* Synced in batches: nothing counts before that has happened, and what comes meanwhile is one batch. */
static void waits_for_the_disk(void)
{
	struct ftt_history_file *h = fresh(FTT_FSYNC_BATCH, 0, 1ull << 40);
	uint64_t first, last_place = 0, before = ftt_history_file_there(h);
	enum ftt_history_found last;
	uint32_t counted;
	bool done;

	atomic_store(&syncs_wait, true);
	first = put(h, 0, 10);
	for (uint32_t i = 1; i < SOME; i++)
		last_place = put(h, i, 10);
	counted = atomic_load(&syncs);
	CHECK_EQ(ftt_history_file_there(h), before);
	sem_post(&may_sync);
	await_there(h, first);
	atomic_store(&syncs_wait, false);
	sem_post(&may_sync);
	await_there(h, last_place);
	CHECK(atomic_load(&syncs) - counted <= 3);
	ftt_history_file_tell(h, NULL, NULL);
	ftt_history_file_close(h, false);
	while (!sem_trywait(&may_sync))
		;
	CHECK_EQ(read_file(&done, &last), SOME);
	CHECK(!done);
}

/* The disk stands still: workers do not wait for it, and the history has a prefix. */
static void disk_too_slow(void)
{
	struct ftt_history_file *h = fresh(FTT_FSYNC_BATCH, 0, 1ull << 40);
	enum ftt_history_found last;
	uint64_t place = 0, next;
	uint32_t n = 0;
	bool done;

	atomic_store(&syncs_wait, true);
	while ((next = put(h, n, sizeof(payload)))) {
		n++;
		place = next;
	}
	CHECK(n > FTT_HISTORY_WAITING / sizeof(frame) && n < 3 * (FTT_HISTORY_WAITING / sizeof(payload)));
	CHECK_EQ(ftt_history_file_why(h), ENOBUFS);
	CHECK(!put(h, n, 1)); /* for good */
	atomic_store(&syncs_wait, false);
	sem_post(&may_sync);
	await_there(h, place);
	ftt_history_file_close(h, true);
	while (!sem_trywait(&may_sync))
		;
	CHECK_EQ(read_file(&done, &last), n);
	CHECK(!done); /* what ended before its time is not in good order */
}

static void bound_reached(void)
{
	struct ftt_history_file *h = fresh(FTT_FSYNC_NEVER, 0, 100000);
	enum ftt_history_found last;
	uint32_t n = 0;
	bool done;

	while (put(h, n, 1000))
		n++;
	CHECK(n > 90 && n < 100);
	while (!ftt_history_file_why(h))
		await();
	CHECK_EQ(ftt_history_file_why(h), EFBIG);
	ftt_history_file_close(h, true);
	CHECK_EQ(read_file(&done, &last), n);
	CHECK(!done);
}

/* The disk is full in the middle of a frame. (A limit of the process stands for that.) */
static void disk_full(void)
{
	struct rlimit small = {.rlim_cur = 50000, .rlim_max = RLIM_INFINITY}, before;
	enum ftt_history_found last;
	struct ftt_history_file *h;
	bool done;

	signal(SIGXFSZ, SIG_IGN);
	CHECK(!getrlimit(RLIMIT_FSIZE, &before) && !setrlimit(RLIMIT_FSIZE, &small));
	h = fresh(FTT_FSYNC_NEVER, 0, 1ull << 40);
	for (uint32_t i = 0; i < 3; i++)
		CHECK(put(h, i, 10000));
	await_there(h, 30000);
	CHECK(put(h, 3, 30000));
	while (!ftt_history_file_why(h))
		await();
	CHECK_EQ(ftt_history_file_why(h), EFBIG); /* as write() said */
	CHECK(!put(h, 4, 10));
	ftt_history_file_close(h, true);
	CHECK(!setrlimit(RLIMIT_FSIZE, &before));
	CHECK_EQ(read_file(&done, &last), 3);
	CHECK(!done && last == FTT_HISTORY_EVENT); /* no half frame is left */
}

static void sync_fails(void)
{
	struct ftt_history_file *h = fresh(FTT_FSYNC_BATCH, 0, 1ull << 40);
	uint64_t before = ftt_history_file_there(h);
	enum ftt_history_found last;
	bool done;

	atomic_store(&sync_error, EIO);
	CHECK(put(h, 0, 10));
	while (!ftt_history_file_why(h))
		await();
	CHECK_EQ(ftt_history_file_why(h), EIO);
	CHECK_EQ(ftt_history_file_there(h), before);
	ftt_history_file_close(h, true);
	atomic_store(&sync_error, 0);
	CHECK_EQ(read_file(&done, &last), 0);
	CHECK(!done);
}

/* It cannot begin: in words, and nothing is left. */
static void not_begun(void)
{
	struct ftt_history_settings s = {.path = path, .head = head, .head_len = sizeof(head), .fsync = FTT_FSYNC_BATCH, .most = 1 << 20};
	struct ftt_history_file *h = fresh(FTT_FSYNC_NEVER, 0, 1 << 20);

	CHECK(!ftt_history_file_open(&s, err, sizeof(err)) && strstr(err, path) && strstr(err, "exists"));
	ftt_history_file_close(h, true);
	CHECK(!unlink(path));
	atomic_store(&sync_error, EIO);
	CHECK(!ftt_history_file_open(&s, err, sizeof(err)) && strstr(err, "Input/output"));
	atomic_store(&sync_error, 0);
	CHECK(access(path, F_OK) && errno == ENOENT);
	s.path = "/proc/nowhere/x";
	CHECK(!ftt_history_file_open(&s, err, sizeof(err)));
	ftt_history_file_close(NULL, true);
}

int main(void)
{
	CHECK(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/x.history", dir);
	told_fd = eventfd(0, EFD_CLOEXEC);
	CHECK(told_fd >= 0 && !sem_init(&may_sync, 0, 0));
	is_written(FTT_FSYNC_NEVER, 0);
	is_written(FTT_FSYNC_BATCH, 0);
	is_written(FTT_FSYNC_EVERY, 1000000);
	waits_for_the_disk();
	disk_too_slow();
	bound_reached();
	disk_full();
	sync_fails();
	not_begun();
	CHECK(!rmdir(dir));
	return 0;
}
