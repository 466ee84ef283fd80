/* SPDX-License-Identifier: Apache-2.0 */
/* A history is read as it was written, up to where it is whole; cut, damaged or mixed it is refused from there on. */
#include <string.h>
#include "check.h"
#include "core/history.h"

static uint8_t file[200000], damaged[200000];
static uint32_t size;
static uint32_t starts[32], n_starts;

static const struct ftt_key key4 = {.remote = {[10] = 0xff, 0xff, 10, 77, 0, 10}, .local = {[10] = 0xff, 0xff, 10, 77, 0, 100},
				    .remote_port = 40000, .local_port = 80, .proto = 6};
static const struct ftt_key key6 = {.remote = {0xfd, 0x77, [15] = 0x10}, .local = {0xfd, 0x77, [14] = 1}, .remote_port = 40001,
				    .local_port = 69, .proto = 17};
static uint8_t bytes[65527];

static uint32_t put(uint32_t sum, const struct ftt_history_event *x)
{
	uint32_t n = ftt_history_put(file + size, sizeof(file) - size, x);

	CHECK(n);
	CHECK_EQ(ftt_history_length(file + size), n);
	starts[n_starts++] = size;
	sum = ftt_history_seal(sum, file + size);
	size += n;
	return sum;
}

static void write_one(void)
{
	struct ftt_history_event open = {.kind = FTT_HISTORY_OPEN, .when_ns = 5, .open = {.type = FTT_REC_OPEN, .key = key4, .irs = 7, .service_iss = 9,
					 .data = bytes, .data_len = 40}};
	struct ftt_history_event input = {.kind = FTT_HISTORY_INPUT, .when_ns = 6, .key = key4, .irs = 7,
					  .piece = {.offset = 11, .len = FTT_PIECE_MAX, .flags = FTT_PIECE_FIN, .after = 1ull << 40, .tsval = 3, .bytes = bytes}};
	struct ftt_history_event udp = {.kind = FTT_HISTORY_INPUT, .key = key6, .irs = 1, .place = 4, .data = bytes, .data_len = sizeof(bytes)};
	struct ftt_history_event output = {.kind = FTT_HISTORY_OUTPUT, .flags = FTT_HISTORY_SUM, .key = key4, .irs = 7, .place = 1ull << 40, .crc = 0xdeadbeef};
	struct ftt_history_event end = {.kind = FTT_HISTORY_END, .key = key4, .irs = 7, .how = FTT_HISTORY_CLIENT_RST};
	struct ftt_history_event head = {.kind = FTT_HISTORY_HEAD, .data = bytes, .data_len = 60}, done = {.kind = FTT_HISTORY_DONE};
	uint32_t sum;

	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)(i * 7 + i / 251);
	ftt_history_start_put(file);
	size = FTT_HISTORY_START;
	sum = put(0, &head);
	sum = put(sum, &open);
	sum = put(sum, &output);
	sum = put(sum, &input);
	sum = put(sum, &udp);
	sum = put(sum, &end);
	put(sum, &done);
}

/* How many frames are good; `last` is what came then. */
static uint32_t read_all(const uint8_t *p, uint32_t len, enum ftt_history_found *last, struct ftt_history_event *events)
{
	uint32_t at = FTT_HISTORY_START, sum = 0, n = 0, one;

	for (*last = FTT_HISTORY_SHORT; at < len; at += one, n++) {
		*last = ftt_history_get(p + at, len - at, &sum, &events[n], &one);
		if (*last != FTT_HISTORY_EVENT && *last != FTT_HISTORY_SKIPPED)
			break;
	}
	return n;
}

static void as_written(void)
{
	struct ftt_history_event x[32];
	enum ftt_history_found last;

	CHECK_EQ(ftt_history_version(file), FTT_HISTORY_VERSION);
	CHECK_EQ(read_all(file, size, &last, x), 7);
	CHECK(x[0].kind == FTT_HISTORY_HEAD && x[0].data_len == 60 && !memcmp(x[0].data, bytes, 60));
	CHECK(x[1].kind == FTT_HISTORY_OPEN && x[1].irs == 7 && !memcmp(&x[1].key, &key4, sizeof(key4)) && x[1].open.service_iss == 9);
	CHECK(x[1].when_ns == 5 && x[1].open.data_len == 40 && !memcmp(x[1].open.data, bytes, 40));
	CHECK(x[2].place == 1ull << 40 && x[2].crc == 0xdeadbeef && x[2].flags == FTT_HISTORY_SUM);
	CHECK(x[3].piece.offset == 11 && x[3].piece.len == FTT_PIECE_MAX && x[3].piece.after == 1ull << 40 && x[3].when_ns == 6);
	CHECK(!memcmp(x[3].piece.bytes, bytes, FTT_PIECE_MAX));
	CHECK(x[4].place == 4 && x[4].data_len == sizeof(bytes) && !memcmp(x[4].data, bytes, sizeof(bytes)));
	CHECK(!memcmp(&x[4].key, &key6, sizeof(key6)));
	CHECK(x[5].how == FTT_HISTORY_CLIENT_RST && x[6].kind == FTT_HISTORY_DONE);
}

/* Wherever it is cut, what is before is there, and what is cut is not. */
static void cut(void)
{
	struct ftt_history_event x[32];
	enum ftt_history_found last;

	for (uint32_t len = FTT_HISTORY_START; len < size; len += len > 2000 && len + 2000 < size ? 997 : 1) {
		uint32_t whole = 0;

		while (whole < 7 && (whole + 1 == 7 ? size : starts[whole + 1]) <= len)
			whole++;
		CHECK_EQ(read_all(file, len, &last, x), whole);
		CHECK(len == starts[whole] || last == FTT_HISTORY_SHORT);
	}
}

/* No changed bit goes unseen; nothing before it is lost. */
static void changed(void)
{
	struct ftt_history_event x[32];
	enum ftt_history_found last;

	for (uint32_t at = FTT_HISTORY_START; at < size; at += at > 2000 && at + 2000 < size ? 499 : 1) {
		uint32_t frame = 0, n;

		while (frame < 6 && starts[frame + 1] <= at)
			frame++;
		memcpy(damaged, file, size);
		damaged[at] ^= (uint8_t)(1u << at % 8);
		n = read_all(damaged, size, &last, x);
		CHECK_EQ(n, frame);
		CHECK(last == FTT_HISTORY_BROKEN || last == FTT_HISTORY_SHORT);
	}
}

/* A frame that is missing, twice there, or in another place. */
static void moved(void)
{
	struct ftt_history_event x[32];
	enum ftt_history_found last;
	uint32_t len = starts[3] - starts[2];

	memcpy(damaged, file, starts[2]);
	memcpy(damaged + starts[2], file + starts[3], size - starts[3]);
	CHECK_EQ(read_all(damaged, size - len, &last, x), 2);
	CHECK_EQ(last, FTT_HISTORY_BROKEN);
	memcpy(damaged, file, starts[3]);
	memcpy(damaged + starts[3], file + starts[2], size - starts[2]);
	CHECK_EQ(read_all(damaged, size + len, &last, x), 3);
	CHECK_EQ(last, FTT_HISTORY_BROKEN);
}

/* What this release does not know: skipped if that is allowed, else refused. Its sum counts either way. */
static void unknown(void)
{
	struct ftt_history_event x[32], done = {.kind = FTT_HISTORY_DONE};
	enum ftt_history_found last;
	uint32_t n, sum;

	for (int may_skip = 0; may_skip < 2; may_skip++) {
		memcpy(damaged, file, starts[1]);
		n = ftt_history_put(damaged + starts[1], 4096, &done);
		damaged[starts[1] + 8] = may_skip ? 0xfe : 0x7e;
		sum = ftt_history_seal(get_be32(file + starts[0] + 4), damaged + starts[1]);
		n += ftt_history_put(damaged + starts[1] + n, 4096, &done);
		ftt_history_seal(sum, damaged + starts[1] + n / 2);
		CHECK_EQ(read_all(damaged, starts[1] + n, &last, x), may_skip ? 3 : 1);
		CHECK_EQ(last, may_skip ? FTT_HISTORY_EVENT : FTT_HISTORY_STRANGE);
	}
}

/* Frames with good sums that make no sense. */
static void senseless(void)
{
	static const struct { uint32_t frame, at; uint8_t value; } wrong[] = {
		{1, 20, 4}, {2, 20, 5}, {2, 21, 1}, {3, 20 + 18 + 4, 0}, {5, 20 + 18, 0}, {5, 20 + 18, 9},
	};

	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		uint32_t from = starts[wrong[i].frame], before = get_be32(file + starts[wrong[i].frame - 1] + 4), len, sum = before;
		struct ftt_history_event x;

		memcpy(damaged, file, size);
		damaged[from + wrong[i].at] = wrong[i].value;
		ftt_history_seal(before, damaged + from);
		CHECK_EQ(ftt_history_get(damaged + from, size - from, &sum, &x, &len), FTT_HISTORY_STRANGE);
	}
}

int main(void)
{
	write_one();
	as_written();
	cut();
	changed();
	moved();
	unknown();
	senseless();
	return 0;
}
